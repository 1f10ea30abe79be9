//! Clients that are cut at any byte and resume read exactly the log, whatever is reloaded meanwhile.

use crate::client::{Client, EPOCH, Message, masked};
use crate::{Xorshift, dev, start, wait_for_subscribers};
use fanwire::config::Config;
use fanwire::server::Running;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const CHANNELS: [&str; 5] = ["a", "b", "c", "d", "e"];
const SUBSCRIBERS: u64 = 12;
const POSTS: usize = 1_200;
const ARRAYS: usize = 150;
/// An even number, so that the last one leaves the configuration as it was.
const RELOADS: usize = 100;

/// How a subscriber listens.
#[derive(Clone, Copy, Debug)]
enum Mode {
    WebSocket,
    /// With a receive buffer so small that the server's side fills up.
    NarrowWebSocket,
    LongPoll,
    /// Resumes by the id of the last event alone, as browsers do.
    EventSource,
}

#[test]
fn random_disconnect_and_resume_under_load() {
    for seed in [20_261_120, 77] {
        let mut config = dev();
        config.push_stream.max_stored_messages = 100_000;
        config.push_stream.send_queue_bytes = 16 * 1024;
        // Shorter than most connections last.
        config.push_stream.poll_max_bytes = 30_000;
        let server = start(config.clone());
        resume_under_load(&server, &config, seed);
        let metrics = server.metrics();
        assert_eq!(metrics.sum(fanwire::metrics::Counter::Panics), 0);
        assert_eq!(metrics.sum(fanwire::metrics::Counter::DroppedTooSlow), 0);
    }
}

fn resume_under_load(server: &Running, config: &Config, seed: u64) {
    let address = server.address();
    // What each publisher is going to send is known before, so that each subscriber knows when it has everything.
    let posts = posts(&mut Xorshift(seed));
    let arrays = arrays(&mut Xorshift(seed + 1));
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (channels, _) in &posts {
        channels.split('/').for_each(|channel| *counts.entry(CHANNELS[index(channel)]).or_default() += 1);
    }
    for (channel, _) in arrays.iter().flatten() {
        *counts.entry(channel).or_default() += 1;
    }
    let cuts = AtomicUsize::new(0);
    let logs: Vec<(Vec<&str>, Mode, Vec<Message>)> = std::thread::scope(|scope| {
        let subscribers: Vec<_> = (0..SUBSCRIBERS)
            .map(|number| {
                let mut random = Xorshift(seed * 1_000 + number);
                let mut channels = CHANNELS.to_vec();
                while channels.len() > 3 + number as usize % 3 {
                    channels.remove(random.below(channels.len()));
                }
                let mode = match number % 6 {
                    0 | 1 => Mode::WebSocket,
                    2 => Mode::NarrowWebSocket,
                    3 => Mode::EventSource,
                    _ => Mode::LongPoll,
                };
                let expected = channels.iter().map(|channel| counts[channel]).sum();
                let (names, cuts) = (channels.join("/"), &cuts);
                let listening = scope.spawn(move || match mode {
                    Mode::WebSocket | Mode::NarrowWebSocket => websocket(address, mode, &names, expected, random, cuts),
                    Mode::EventSource => event_source(address, &names, expected, random, cuts),
                    Mode::LongPoll => long_poll(address, &names, expected, random, cuts),
                });
                (channels, mode, listening)
            })
            .collect();
        scope.spawn(|| {
            let mut client = Client::connect(address);
            posts.iter().for_each(|(channels, data)| client.publish("dev", channels, data));
        });
        scope.spawn(|| publish_arrays(address, &arrays));
        // A reload in the middle of everything disturbs nobody.
        scope.spawn(|| {
            for number in 0..RELOADS {
                Client::connect(address).publish("dev", "elsewhere", "1");
                let mut config = config.clone();
                config.push_stream.message_separator = if number % 2 == 0 { "\r\n" } else { "\n" }.to_owned();
                server.reload(config).unwrap();
            }
        });
        subscribers.into_iter().map(|(channels, mode, log)| (channels, mode, log.join().unwrap())).collect()
    });
    let truth = stored_log(address);
    assert_eq!(truth.len(), counts.values().sum::<usize>());
    for (channels, mode, log) in logs {
        let expected: Vec<&Message> = truth.iter().filter(|message| channels.contains(&&*message.channel)).collect();
        let difference = log.iter().zip(&expected).position(|(came, expected)| came != *expected);
        assert_eq!((log.len(), difference), (expected.len(), None), "seed {seed}: {mode:?} of {channels:?}");
        // Nothing more comes after the last one.
        let query = &log.last().unwrap().cursor;
        let answer = Client::connect(address).get(&format!("/shortpoll/{}?auth_token=dev&{query}", channels.join("/")));
        assert_eq!(answer.status, 304, "{answer:?}");
    }
    assert!(cuts.load(Relaxed) > 100, "seed {seed}: only {cuts:?} cuts");
    let mut client = Client::connect(address);
    CHANNELS.iter().for_each(|channel| wait_for_subscribers(&mut client, "dev", channel, 0));
}

fn index(channel: &str) -> usize {
    CHANNELS.iter().position(|&known| known == channel).expect("one of ours")
}

/// Mostly short, some longer than a write of the server.
fn data(random: &mut Xorshift, from: &str, number: usize) -> String {
    let length = if random.below(50) == 0 { 20_000 } else { random.below(300) };
    format!(r#"{{"from":"{from}","number":{number},"fill":"{}"}}"#, "x".repeat(length))
}

/// Channels of each POST, and its body.
fn posts(random: &mut Xorshift) -> Vec<(String, String)> {
    (0..POSTS)
        .map(|number| {
            let first = random.below(CHANNELS.len());
            let second = random.below(CHANNELS.len());
            let channels =
                if first == second { CHANNELS[first].to_owned() } else { format!("{}/{}", CHANNELS[first], CHANNELS[second]) };
            (channels, data(random, "post", number))
        })
        .collect()
}

/// Arrays for the native ingest.
fn arrays(random: &mut Xorshift) -> Vec<Vec<(&'static str, String)>> {
    (0..ARRAYS)
        .map(|number| {
            let count = 1 + random.below(16);
            (0..count).map(|_| (CHANNELS[random.below(CHANNELS.len())], number.to_string())).collect()
        })
        .collect()
}

fn publish_arrays(address: SocketAddr, arrays: &[Vec<(&str, String)>]) {
    let mut client = Client::connect(address);
    client.upgrade("/publish", "Authorization: Bearer dev\r\n");
    for array in arrays {
        let objects: Vec<String> =
            array.iter().map(|(channel, data)| format!(r#"{{"topic":"{channel}","data":{data}}}"#)).collect();
        client.send(masked(0x81, format!("[{}]", objects.join(",")).as_bytes()));
    }
    for _ in arrays {
        assert!(client.text().starts_with(r#"[{"topic":"#));
    }
}

/// Everything that is stored, by as many short polls as it takes.
fn stored_log(address: SocketAddr) -> Vec<Message> {
    let mut client = Client::connect(address);
    let mut query = EPOCH.to_owned();
    let mut log = Vec::new();
    loop {
        let answer = client.get(&format!("/shortpoll/{}?auth_token=dev&{query}", CHANNELS.join("/")));
        if answer.status == 304 {
            return log;
        }
        query = answer.cursor();
        log.extend(Message::all(&answer.body));
    }
}

/// Where the next connection is cut: within the head of the answer, soon, or late.
fn cut(random: &mut Xorshift) -> usize {
    match random.below(4) {
        0 => 1 + random.below(400),
        1 => 1 + random.below(8_000),
        _ => 1 + random.below(100_000),
    }
}

fn connect(address: SocketAddr, mode: Mode, random: &mut Xorshift, cuts: &AtomicUsize) -> Client {
    let mut client = match mode {
        Mode::NarrowWebSocket => Client::narrow(address),
        Mode::WebSocket | Mode::LongPoll | Mode::EventSource => Client::connect(address),
    };
    client.cut_after(cut(random));
    if random.below(3) == 0 {
        client.reset_on_close();
    }
    cuts.fetch_add(1, Relaxed);
    client
}

fn websocket(
    address: SocketAddr,
    mode: Mode,
    channels: &str,
    expected: usize,
    mut random: Xorshift,
    cuts: &AtomicUsize,
) -> Vec<Message> {
    let mut log: Vec<Message> = Vec::new();
    while log.len() < expected {
        let query = log.last().map_or(EPOCH, |message| &message.cursor);
        let mut client = connect(address, mode, &mut random, cuts);
        client.ask_upgrade(&format!("/websocket/{channels}?auth_token=dev&{query}"), "");
        match client.try_answer() {
            Some(answer) => assert_eq!(answer.status, 101, "{answer:?}"),
            None => {
                assert!(client.was_cut(), "the server ended it");
                continue;
            }
        }
        while log.len() < expected {
            let Some(frame) = client.try_frame() else {
                assert!(client.was_cut(), "the server ended it");
                break;
            };
            assert_eq!(frame.first, 0x81, "{frame:?}");
            log.push(Message::parse(&String::from_utf8(frame.payload).unwrap()));
        }
    }
    log
}

fn event_source(address: SocketAddr, channels: &str, expected: usize, mut random: Xorshift, cuts: &AtomicUsize) -> Vec<Message> {
    let mut log: Vec<Message> = Vec::new();
    let mut id = String::new();
    while log.len() < expected {
        let (query, field) = match &*id {
            "" => (EPOCH, String::new()),
            id => ("", format!("Last-Event-ID: {id}\r\n")),
        };
        let mut client = connect(address, Mode::EventSource, &mut random, cuts);
        client.ask("GET", &format!("/ev/{channels}?auth_token=dev&{query}"), &field, "");
        if let Some(answer) = client.try_answer() {
            assert_eq!((answer.status, answer.field("X-Fanwire-Gap")), (200, None), "{answer:?}");
            while log.len() < expected
                && let Some(chunk) = client.try_chunk()
            {
                if chunk != ": \n" {
                    let (name, data) = chunk.split_once("\ndata: ").expect("an id and then the data");
                    id = name.strip_prefix("id: ").expect("an id").to_owned();
                    log.push(Message::parse(data.strip_suffix("\n\n").expect("a whole event")));
                }
            }
        }
        assert!(client.was_cut() || log.len() == expected, "the server ended it");
    }
    log
}

fn long_poll(address: SocketAddr, channels: &str, expected: usize, mut random: Xorshift, cuts: &AtomicUsize) -> Vec<Message> {
    let mut log: Vec<Message> = Vec::new();
    let mut query = EPOCH.to_owned();
    while log.len() < expected {
        let mut client = connect(address, Mode::LongPoll, &mut random, cuts);
        while log.len() < expected {
            client.ask("GET", &format!("/longpoll/{channels}?auth_token=dev&{query}"), "", "");
            if random.below(20) == 0 {
                // Gone before the answer.
                break;
            }
            let Some(answer) = client.try_answer() else {
                assert!(client.was_cut(), "the server ended it");
                break;
            };
            assert_eq!(answer.status, 200, "{answer:?}");
            log.extend(Message::all(&answer.body));
            let last = &log.last().expect("a poll with news has a message").cursor;
            query = if random.below(2) == 0 { answer.cursor() } else { last.clone() };
        }
    }
    log
}
