//! Storage: what was answered outlives `kill -9`, once, with the same stamp, and clients go on where they were.

use crate::Xorshift;
use crate::client::{Client, EPOCH, Message, masked};
use crate::process::{Process, directory, run};
use nix::sys::signal::Signal;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

const KEY: &str = "publisher-key-0123456789";
const TOKEN: &str = "listener-token-0123456789";
const FIELDS: &str = "Authorization: Bearer publisher-key-0123456789\r\nContent-Type: application/json\r\n";

/// A directory with a configuration and the data of its server.
struct House {
    directory: PathBuf,
    file: String,
}

impl House {
    fn new(test: &str) -> House {
        let directory = directory(test);
        let file = directory.join("fanwire.toml");
        let configuration = format!(
            r#"[server]
listen = "127.0.0.1:0"
reactors = 4

[admin]
listen = "127.0.0.1:0"

[storage]
path = "data"

[push_stream]
max_stored_messages = 1000000
poll_max_bytes = "64MiB"

[action_cable]
check_origin = false
public_streams = true
public_prefixes = ["s"]
history_limit = 100000
broadcast_path = "/_broadcast"
publish_key = "{KEY}"

[[access.keys]]
name = "backend"
key = "{KEY}"
may = ["publish", "statistics"]
topics = ["*"]

[[access.tokens]]
name = "listener"
token = "{TOKEN}"
topics = ["*"]
"#
        );
        std::fs::write(&file, configuration).unwrap();
        House { file: file.to_str().unwrap().to_owned(), directory }
    }

    fn start(&self) -> (Process, SocketAddr) {
        let process = Process::start(&["serve", "-c", &self.file]);
        let (address, _) = process.addresses();
        (process, address)
    }

    fn database(&self) -> PathBuf {
        self.directory.join("data").join("fanwire.redb")
    }

    fn remove(self) {
        std::fs::remove_dir_all(self.directory).unwrap();
    }
}

fn kill(mut process: Process) {
    process.signal(Signal::SIGKILL);
    assert_eq!(process.wait(), None);
}

/// What a publisher has read as answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Acknowledged {
    topic: String,
    data: String,
    seq: u64,
    time: u64,
    tag: u64,
}

/// Publishes one array through the native ingest; `None`: the connection broke before the answer.
fn publish(client: &mut Client, entries: &[(String, String, String)]) -> Option<Vec<Acknowledged>> {
    let body: Vec<String> =
        entries.iter().map(|(topic, data, id)| format!(r#"{{"topic":"{topic}","data":{data},"id":"{id}"}}"#)).collect();
    let body = format!("[{}]", body.join(","));
    let request = format!("POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{FIELDS}\r\n{body}", body.len());
    if !client.try_send(request) {
        return None;
    }
    let answer = client.try_answer()?;
    assert_eq!(answer.status, 200, "{answer:?}");
    Some(parse(&answer.body, entries))
}

fn parse(body: &str, entries: &[(String, String, String)]) -> Vec<Acknowledged> {
    let answers: Vec<serde_json::Value> = serde_json::from_str(body).unwrap();
    assert_eq!(answers.len(), entries.len());
    let number = |answer: &serde_json::Value, name: &str| answer[name].as_u64().unwrap();
    let read = entries.iter().zip(&answers).map(|((topic, data, _), answer)| Acknowledged {
        topic: topic.clone(),
        data: data.clone(),
        seq: number(answer, "seq"),
        time: number(answer, "time"),
        tag: number(answer, "tag"),
    });
    read.collect()
}

/// Everything that is stored of these channels, after this cursor.
fn replay(address: SocketAddr, channels: &str, cursor: &str) -> Vec<Message> {
    let answer = Client::connect(address).get(&format!("/shortpoll/{channels}?auth_token={TOKEN}&{cursor}"));
    match answer.status {
        200 => Message::all(&answer.body),
        304 => Vec::new(),
        other => panic!("{other}: {answer:?}"),
    }
}

fn cursor_of(acknowledged: &Acknowledged) -> String {
    let time = httpdate_of(acknowledged.time);
    crate::client::cursor(&acknowledged.tag.to_string(), &time)
}

fn httpdate_of(seconds: u64) -> String {
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(seconds))
}

const TOPICS: [&str; 3] = ["sa", "sb", "sc"];
const PUBLISHERS: usize = 3;
const ROUNDS: usize = 20;

/// Publishes until the server dies.
fn publish_until_the_end(address: SocketAddr, round: usize, publisher: usize, seed: u64) -> Vec<Acknowledged> {
    let mut random = Xorshift(seed);
    let mut client = Client::connect(address);
    let mut all = Vec::new();
    for number in 0.. {
        let entries: Vec<_> = (0..1 + random.below(5))
            .map(|element| {
                let name = format!("r{round}p{publisher}n{number}e{element}");
                let fill = "x".repeat(random.below(200));
                (TOPICS[random.below(TOPICS.len())].to_owned(), format!(r#"{{"name":"{name}","fill":"{fill}"}}"#), name)
            })
            .collect();
        match publish(&mut client, &entries) {
            Some(acknowledged) => all.extend(acknowledged),
            None => return all,
        }
    }
    all
}

#[test]
fn pb_13_what_was_answered_outlives_kill_9_once_and_with_its_stamp() {
    let house = House::new("storage-kills");
    let mut random = Xorshift(20_261_128);
    let mut acknowledged: Vec<Acknowledged> = Vec::new();
    let mut before: Vec<Message> = Vec::new();
    for round in 0..ROUNDS {
        let (process, address) = house.start();
        let replayed = check_replay(address, &acknowledged);
        assert_eq!(replayed[..before.len()], before[..], "round {round}: what was there before stays as it was");
        check_duplicates(address, acknowledged.last());
        before = replay(address, &TOPICS.join("/"), EPOCH);
        let wait = Duration::from_millis(20 + random.below(180) as u64);
        let seeds: Vec<u64> = (0..PUBLISHERS).map(|_| 1 + random.below(1 << 40) as u64).collect();
        std::thread::scope(|scope| {
            let publishers: Vec<_> = seeds
                .iter()
                .enumerate()
                .map(|(number, &seed)| scope.spawn(move || publish_until_the_end(address, round, number, seed)))
                .collect();
            std::thread::sleep(wait);
            kill(process);
            for publisher in publishers {
                acknowledged.extend(publisher.join().unwrap());
            }
        });
        acknowledged.sort_by_key(|message| message.seq);
    }
    assert!(acknowledged.len() > 20 * ROUNDS, "only {} were published", acknowledged.len());
    let (process, address) = house.start();
    check_replay(address, &acknowledged);
    kill(process);
    house.remove();
}

/// Every acknowledged message is there, once, with its stamp, in order; whatever cursor a client has goes on from there.
fn check_replay(address: SocketAddr, acknowledged: &[Acknowledged]) -> Vec<Message> {
    let channels = TOPICS.join("/");
    let all = replay(address, &channels, EPOCH);
    let by_data: HashMap<&str, &Message> = all.iter().map(|message| (message.data.as_str(), message)).collect();
    assert_eq!(by_data.len(), all.len(), "nothing is there twice");
    for message in acknowledged {
        let found = by_data.get(message.data.as_str()).unwrap_or_else(|| panic!("{message:?} is lost"));
        assert_eq!((&found.channel, &found.cursor), (&message.topic, &cursor_of(message)));
    }
    let known: HashSet<&str> = acknowledged.iter().map(|message| message.data.as_str()).collect();
    let order: Vec<&str> = all.iter().map(|message| message.data.as_str()).filter(|data| known.contains(data)).collect();
    assert_eq!(order, acknowledged.iter().map(|message| message.data.as_str()).collect::<Vec<_>>(), "in the order of the stamps");
    for place in [0, all.len() / 3, all.len() / 2, all.len().saturating_sub(2)] {
        if let Some(message) = all.get(place) {
            let rest = replay(address, &channels, &message.cursor);
            assert_eq!(rest, all[place + 1..], "after {}", message.cursor);
        }
    }
    all
}

/// The same `id` publishes nothing, and answers as the first time.
fn check_duplicates(address: SocketAddr, last: Option<&Acknowledged>) {
    let Some(last) = last else { return };
    let data: serde_json::Value = serde_json::from_str(&last.data).unwrap();
    let entry = (last.topic.clone(), last.data.clone(), data["name"].as_str().unwrap().to_owned());
    let mut client = Client::connect(address);
    let body = format!(r#"{{"topic":"{}","data":{},"id":"{}"}}"#, entry.0, entry.1, entry.2);
    client.ask("POST", "/publish", FIELDS, &body);
    let answer = client.answer();
    let Acknowledged { topic, seq, time, tag, .. } = last;
    assert_eq!(
        (answer.status, answer.body),
        (200, format!(r#"{{"topic":"{topic}","seq":{seq},"time":{time},"tag":{tag},"duplicate":true}}"#))
    );
}
