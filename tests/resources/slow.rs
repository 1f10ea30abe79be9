//! RS-49 to RS-54: order, clients that do not read, and what is shared.

use crate::support::realtime::{DEV, GAME, Listener, PATH, PROJECT, WORLD, Writer, document, missing, version_of};
use crate::support::{Client, Door, REACTORS, START, Server, Xorshift};
use fanwire::metrics::Counter;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Barrier;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Everything that one client sees, judged as it comes.
#[derive(Default)]
struct Witness {
    newest: HashMap<String, String>,
    /// Documents that it is subscribed to now.
    listens: Vec<String>,
}

impl Witness {
    fn saw(&mut self, frame: &Value, is_reply: bool, context: &str) {
        let id = frame["resource"]["id"].as_str().expect("an id").to_owned();
        let version = frame["version"].as_str().expect("a version").to_owned();
        if let Some(before) = self.newest.get(&id) {
            assert!(*before < version || is_reply && *before == version, "{context}: {version} after {before}");
        }
        self.newest.insert(id, version);
    }

    /// Sends a request and takes everything up to its reply.
    fn ask(&mut self, listener: &mut Listener, action: &str, name: &str, number: u64, context: &str) {
        listener.request(action, ("liveConfig", name), &format!(",\"ref\":{number}"));
        loop {
            let text = listener.text();
            let frame: Value = serde_json::from_str(&text).expect("frames are JSON");
            let is_reply = frame["ref"] == number;
            assert!(is_reply || frame.get("ref").is_none(), "{context}: {text}");
            if frame.get("data").is_some() {
                self.saw(&frame, is_reply, context);
                assert!(is_reply || self.listens.iter().any(|known| frame["resource"]["id"] == **known), "{context}: {text}");
            }
            if is_reply {
                break;
            }
        }
        self.listens.retain(|known| known != name);
        if action == "subscribe" {
            self.listens.push(name.to_owned());
        }
    }
}

fn client(door: Door, reactor: usize, seed: u64, written: &Barrier) -> HashMap<String, String> {
    let context = format!("seed {seed}, reactor {reactor}");
    let mut random = Xorshift(seed * 977 + reactor as u64 + 1);
    let mut listener = Listener::open(&door, reactor);
    let mut witness = Witness::default();
    for number in 0..150 {
        let name = NAMES[random.below(3) as usize];
        let action = if random.below(3) == 0 { "unsubscribe" } else { "subscribe" };
        witness.ask(&mut listener, action, name, number, &context);
    }
    // What is subscribed to now ends at the newest by itself; the question behind it sees that.
    witness.ask(&mut listener, "subscribe", "a", 1_000, &context);
    written.wait();
    witness.ask(&mut listener, "unsubscribe", "nothing", 1_001, &context);
    for name in ["b", "c"] {
        witness.ask(&mut listener, "subscribe", name, 1_002, &context);
    }
    witness.newest
}

#[test]
fn rs_50_whatever_happens_at_once_clients_end_at_the_newest_and_see_nothing_twice() {
    const WRITERS: usize = 2;
    let server = Server::with_resources("limits.messages_burst = 1000");
    for seed in 1..4 {
        let written = Barrier::new(REACTORS + WRITERS);
        let door = *server;
        let (seen, newest) = std::thread::scope(|threads| {
            let clients: Vec<_> = (0..REACTORS)
                .map(|reactor| {
                    let written = &written;
                    threads.spawn(move || client(door, reactor, seed, written))
                })
                .collect();
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let written = &written;
                    threads.spawn(move || {
                        let mut random = Xorshift(seed * 31 + writer as u64 + 1);
                        let mut out = Writer::on(&door, writer + 1);
                        let mut newest = HashMap::new();
                        for number in 0..200 {
                            let name = NAMES[random.below(3) as usize];
                            let version = out.put(("liveConfig", name), &number.to_string());
                            newest.insert(name.to_owned(), version);
                        }
                        written.wait();
                        newest
                    })
                })
                .collect();
            let seen: Vec<_> = clients.into_iter().map(|client| client.join().expect("no client failed")).collect();
            let all = writers.into_iter().map(|writer| writer.join().expect("no writer failed"));
            let mut newest: HashMap<String, String> = HashMap::new();
            for (name, version) in all.flatten() {
                let known = newest.entry(name).or_default();
                *known = version.max(std::mem::take(known));
            }
            (seen, newest)
        });
        for (reactor, seen) in seen.iter().enumerate() {
            assert_eq!(*seen, newest, "seed {seed}, reactor {reactor}");
        }
    }
}

#[test]
fn rs_49_versions_grow_within_a_millisecond_and_when_the_clock_steps_back() {
    let server = Server::with_resources("");
    let mut writer = Writer::on(&server, 3);
    let mut listener = Listener::open(&server, 1);
    listener.await_document(WORLD);
    let mut newest = String::new();
    let mut write = |number: usize| {
        let version = writer.put(WORLD, &number.to_string());
        assert!(version > newest, "{version} after {newest}");
        listener.expect(&document("World", WORLD, &number.to_string(), &version));
        newest = version;
    };
    // The clock stands still.
    (0..1_000).for_each(&mut write);
    server.set_wall((START - 3_600) * 1_000_000);
    (0..100).for_each(&mut write);
    // And of a document that is deleted, or another time written, too.
    drop(listener);
    let deleted = writer.delete(WORLD);
    assert!(deleted > newest && writer.put(WORLD, "1") > deleted);
}

/// A document of so many bytes with this number in it.
fn value(number: usize, bytes: usize) -> String {
    format!("{{\"number\":{number},\"filler\":\"{}\"}}", "x".repeat(bytes))
}

fn number_of(frame: &str) -> u64 {
    let frame: Value = serde_json::from_str(frame).expect("frames are JSON");
    frame["data"]["number"].as_u64().unwrap_or_else(|| panic!("a number: {frame}"))
}

/// A subscriber of [`WORLD`] that reads nothing behind its first reply.
fn never_reading(server: &Server, reactor: usize) -> Listener {
    let mut slow = Listener::asking(Client::with_small_buffer(server, reactor, 2_048), PROJECT);
    slow.await_document(WORLD);
    slow
}

#[test]
fn rs_51_who_stops_reading_holds_bounded_memory_and_next_gets_the_newest() {
    const UPDATES: usize = 10_000;
    let server = Server::with_resources("");
    let mut writer = Writer::on(&server, 3);
    let mut slow = never_reading(&server, 1);
    let mut newest = String::new();
    for number in 0..UPDATES {
        newest = writer.put(WORLD, &value(number, 1_000));
    }
    server.settle();
    assert_eq!((server.count(Counter::Lagging), server.count(Counter::LagEnded)), (1, 0));
    assert_eq!(server.count(Counter::DroppedTooSlow), 0);
    // One document is all that is kept.
    let stored = server.metrics().hub.stored_bytes.load(std::sync::atomic::Ordering::Relaxed);
    assert!(stored < 4_096, "{stored}");
    slow.enlarge_buffer();
    let mut bytes = 0;
    for number in 0.. {
        let text = slow.text();
        bytes += text.len();
        if number_of(&text) != number {
            assert_eq!(text, document("World", WORLD, &value(UPDATES - 1, 1_000), &newest));
            break;
        }
    }
    // What waited in the kernel and in the window, and not ten megabytes.
    assert!(bytes < 3_000_000, "{bytes}");
    server.expect_silence(&mut slow);
    // It is live again.
    let version = writer.put(WORLD, "1");
    slow.expect(&document("World", WORLD, "1", &version));
    assert_eq!(server.count(Counter::LagEnded), 1);
}

#[test]
fn rs_51_of_several_documents_each_comes_once_in_its_newest_state() {
    let server = Server::with_resources("");
    let mut writer = Writer::on(&server, 3);
    let mut slow = never_reading(&server, 2);
    slow.request("subscribe", GAME, "");
    let mut written = 0;
    while server.count(Counter::Lagging) == 0 {
        writer.put(WORLD, &value(written, 20_000));
        server.settle();
        written += 1;
        assert!(written < 500, "more than the kernel holds");
    }
    for number in 0..50 {
        writer.put(GAME, &value(number, 10));
        writer.put(WORLD, &value(1_000_000 + number, 10));
    }
    server.settle();
    slow.enlarge_buffer();
    let mut frames = Vec::new();
    while frames.len() < 2 {
        let text = slow.text();
        if text == missing("LiveConfig") || number_of(&text) < 1_000 && !text.contains("liveConfig") {
            continue;
        }
        frames.push(text);
    }
    frames.sort();
    assert!(frames[0].contains("\"id\":\"game\"") && number_of(&frames[0]) == 49, "{frames:?}");
    assert!(frames[1].contains("World:") && number_of(&frames[1]) == 1_000_049, "{frames:?}");
    server.expect_silence(&mut slow);
}

#[test]
fn rs_30_a_duplicate_subscribe_of_who_lags_shows_the_newest_once() {
    for more in ["", ",\"ref\":7"] {
        let server = Server::with_resources("");
        let mut writer = Writer::on(&server, 3);
        let mut slow = never_reading(&server, 1);
        while server.count(Counter::Lagging) == 0 {
            writer.put(WORLD, &value(0, 1_000));
            server.settle();
        }
        let newest = writer.put(WORLD, "1");
        slow.request("subscribe", WORLD, more);
        server.settle();
        // It was read and answered, although what came before it still waits.
        slow.request("subscribe", GAME, "");
        server.settle();
        assert_eq!((server.count(Counter::Joined), server.count(Counter::LagEnded)), (2, 0));
        slow.enlarge_buffer();
        let mut of_newest = 0;
        loop {
            let text = slow.text();
            of_newest += usize::from(text.contains(&newest));
            if text == missing("LiveConfig") {
                break;
            }
        }
        server.expect_silence(&mut slow);
        assert_eq!(of_newest, 1, "{more}");
        let version = writer.put(WORLD, "2");
        slow.expect(&document("World", WORLD, "2", &version));
    }
}

#[test]
fn rs_52_who_stops_reading_delays_nobody() {
    let server = Server::with_project("silence_timeout = \"10h\"\nping_interval = \"5h\"", DEV, "");
    let mut writer = Writer::on(&server, 3);
    let mut fast = Listener::open(&server, 1);
    fast.await_document(WORLD);
    let slow = never_reading(&server, 1);
    for number in 0..300 {
        let text = value(number, 10_000);
        let version = writer.put(WORLD, &text);
        assert_eq!(fast.text(), document("World", WORLD, &text, &version), "{number}");
    }
    assert_eq!(server.count(Counter::Lagging), 1);
    // However long that lasts, slowness is no reason to close.
    server.advance(3_600.0);
    assert_eq!((server.count(Counter::DroppedTooSlow), server.count(Counter::WebSocketEnded)), (0, 0));
    drop(slow);
}

#[test]
fn rs_53_one_write_is_serialised_once() {
    const EACH: usize = 5;
    let server = Server::with_resources("");
    let mut writer = Writer::on(&server, 3);
    writer.put(WORLD, "0");
    server.settle();
    let before = server.count(Counter::Encodings);
    let mut listeners: Vec<Listener> = (0..EACH * REACTORS).map(|number| Listener::open(&server, number % REACTORS)).collect();
    let snapshots: Vec<String> = listeners.iter_mut().map(|listener| listener.subscribe(WORLD)).collect();
    assert!(snapshots.iter().all(|snapshot| *snapshot == snapshots[0]));
    assert_eq!(server.count(Counter::Encodings) - before, 1, "the snapshots of all are one frame");
    for number in 1..=3 {
        let version = writer.put(WORLD, &number.to_string());
        let expected = document("World", WORLD, &number.to_string(), &version);
        listeners.iter_mut().for_each(|listener| listener.expect(&expected));
        // And whoever asks now gets that frame, too.
        assert_eq!(listeners[0].subscribe(WORLD), expected);
        assert_eq!(server.count(Counter::Encodings) - before, 1 + number);
    }
}

#[test]
fn rs_54_nothing_is_counted_once_all_sockets_are_closed() {
    let server = Server::with_resources("");
    let counted = || {
        let status = server.caller(0).get(&format!("{PATH}/status")).json();
        let number = |name: &str| status[name].as_u64().unwrap_or_else(|| panic!("{name} in {status}"));
        (number("connections"), number("subscriptions"))
    };
    let mut listeners: Vec<Listener> = (0..8).map(|number| Listener::open(&server, number % REACTORS)).collect();
    for listener in &mut listeners {
        listener.await_document(WORLD);
        listener.await_document(WORLD);
        listener.await_document(GAME);
    }
    assert_eq!(counted(), (8, 16));
    listeners[0].unsubscribe(GAME);
    listeners[0].finish();
    assert_eq!(counted(), (8, 15));
    // One is closed in order, one is reset, and one goes while it asks.
    let mut first = listeners.pop().expect("eight");
    first.client.send(crate::support::masked(0x88, &1000u16.to_be_bytes()));
    first.expect_close(1000, "");
    listeners[1].reset_on_drop();
    listeners[2].request("subscribe", ("liveConfig", "last"), "");
    drop(listeners);
    server.wait_until("nothing is counted any more", |_| counted() == (0, 0));
    assert_eq!(server.count(Counter::Joined), server.count(Counter::Left));
    // A document that is deleted, or was never written, leaves nothing either.
    let version = Writer::on(&server, 1).put(WORLD, "1");
    let mut listener = Listener::open(&server, 2);
    assert_eq!(version_of(&listener.subscribe(WORLD)), version);
    drop(listener);
    server.wait_until("nothing is counted any more", |_| counted() == (0, 0));
}
