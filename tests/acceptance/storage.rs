//! Storage: what was answered outlives `kill -9`, once, with the same stamp, and clients go on where they were.

use crate::Xorshift;
use crate::client::{Client, EPOCH, Message, masked};
use crate::process::{Process, directory, run};
use nix::sys::signal::Signal;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const KEY: &str = "publisher-key-0123456789";
const TOKEN: &str = "listener-token-0123456789";
const FIELDS: &str = "Authorization: Bearer publisher-key-0123456789\r\nContent-Type: application/json\r\n";

/// A directory with a configuration and the data of its server.
pub struct House {
    directory: PathBuf,
    file: String,
}

impl House {
    pub fn new(test: &str) -> House {
        House::delivering(test, "after_commit")
    }

    pub fn delivering(test: &str, deliver: &str) -> House {
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
deliver = "{deliver}"

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

[resources]
writes = "public"

[[resources.projects]]
organization = "o"
project = "p"
public = ["liveConfig"]
service_keys = [{{ name = "backend", key = "service-key-0123456789" }}]

[[access.keys]]
name = "backend"
key = "{KEY}"
may = ["publish", "statistics"]
topics = ["*"]

[[access.tokens]]
name = "listener"
token = "{TOKEN}"
topics = ["*"]
{}"#,
            crate::records::configuration()
        );
        std::fs::write(&file, configuration).unwrap();
        House { file: file.to_str().unwrap().to_owned(), directory }
    }

    pub fn start(&self) -> (Process, SocketAddr) {
        let process = Process::start(&["serve", "-c", &self.file]);
        let (address, _) = process.addresses();
        (process, address)
    }

    fn database(&self) -> PathBuf {
        self.directory.join("data").join("fanwire.redb")
    }

    pub fn remove(self) {
        std::fs::remove_dir_all(self.directory).unwrap();
    }
}

pub fn kill(mut process: Process) {
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
    let answer = client.try_ask("POST", "/publish", FIELDS, &body)?;
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
const ROUNDS: usize = 40;

/// Publishes until the server dies. The client is connected: whoever knocks at a dead server has not seen it die.
fn publish_until_the_end(mut client: Client, round: usize, publisher: usize, seed: u64) -> Vec<Acknowledged> {
    let mut random = Xorshift(seed);
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
    survives_kills(&house, ROUNDS);
    house.remove();
}

#[test]
fn pb_13_it_does_so_if_it_is_delivered_before_the_commit_too() {
    let house = House::delivering("storage-kills-ahead", "before_commit");
    survives_kills(&house, ROUNDS / 2);
    house.remove();
}

fn survives_kills(house: &House, rounds: usize) {
    let mut random = Xorshift(20_261_128);
    let mut acknowledged: Vec<Acknowledged> = Vec::new();
    let mut before: Vec<Message> = Vec::new();
    for round in 0..rounds {
        let (process, address) = house.start();
        let replayed = check_replay(address, &acknowledged);
        assert_eq!(replayed[..before.len()], before[..], "round {round}: what was there before stays as it was");
        check_duplicates(address, acknowledged.last());
        before = replay(address, &TOPICS.join("/"), EPOCH);
        let wait = Duration::from_millis(20 + random.below(180) as u64);
        let clients: Vec<(Client, u64)> =
            (0..PUBLISHERS).map(|_| (Client::connect(address), 1 + random.below(1 << 40) as u64)).collect();
        std::thread::scope(|scope| {
            let publishers: Vec<_> = clients
                .into_iter()
                .enumerate()
                .map(|(number, (client, seed))| scope.spawn(move || publish_until_the_end(client, round, number, seed)))
                .collect();
            std::thread::sleep(wait);
            kill(process);
            for publisher in publishers {
                acknowledged.extend(publisher.join().unwrap());
            }
        });
        acknowledged.sort_by_key(|message| message.seq);
    }
    assert!(acknowledged.len() > 20 * rounds, "only {} were published", acknowledged.len());
    let (process, address) = house.start();
    check_replay(address, &acknowledged);
    kill(process);
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

const CHANNEL: &str = r#"{\"channel\":\"$pubsub\",\"stream_name\":\"s\"}"#;

/// A client of Action Cable's extended protocol, welcomed.
fn cable(address: SocketAddr) -> Client {
    let mut client = Client::connect(address);
    client.upgrade("/cable", "Sec-WebSocket-Protocol: actioncable-v1-ext-json\r\n");
    assert!(client.text().starts_with(r#"{"type":"welcome""#));
    client
}

/// Subscribes to the stream `s`; `history` is a further member of the command.
fn subscribe(client: &mut Client, history: &str) {
    client.send(masked(0x81, format!(r#"{{"command":"subscribe","identifier":"{CHANNEL}"{history}}}"#).as_bytes()));
}

/// The next frame that is not a ping.
fn next(client: &mut Client) -> serde_json::Value {
    loop {
        let frame: serde_json::Value = serde_json::from_str(&client.text()).unwrap();
        if frame["type"] != "ping" {
            return frame;
        }
    }
}

fn broadcast(address: SocketAddr, text: &str) {
    let mut client = Client::connect(address);
    let body = format!(r#"{{"stream":"s","data":"{text}"}}"#);
    client.ask("POST", "/_broadcast", FIELDS, &body);
    let answer = client.answer();
    assert_eq!(answer.status, 201, "{answer:?}");
}

#[test]
fn an_extended_cable_goes_on_after_kill_9_with_the_position_that_it_had() {
    let house = House::new("storage-cable");
    let (process, address) = house.start();
    let mut client = cable(address);
    subscribe(&mut client, "");
    assert_eq!(next(&mut client)["type"], "confirm_subscription");
    (1..=3).for_each(|number| broadcast(address, &number.to_string()));
    let first = next(&mut client);
    assert_eq!((first["message"].as_u64(), first["offset"].as_u64()), (Some(1), Some(1)));
    let epoch = first["epoch"].as_str().unwrap().to_owned();
    kill(process);
    let (process, address) = house.start();
    broadcast(address, "4");
    let history =
        |epoch: &str, offset: u64| format!(r#","history":{{"streams":{{"s":{{"epoch":"{epoch}","offset":{offset}}}}}}}"#);
    let mut client = cable(address);
    subscribe(&mut client, &history(&epoch, 1));
    assert_eq!(next(&mut client)["type"], "confirm_subscription");
    for offset in 2..=4 {
        let frame = next(&mut client);
        let place = (frame["message"].as_u64(), frame["epoch"].as_str(), frame["offset"].as_u64());
        assert_eq!(place, (Some(offset), Some(epoch.as_str()), Some(offset)));
    }
    assert_eq!(next(&mut client)["type"], "confirm_history");
    // A position that never was is told so.
    let mut client = cable(address);
    subscribe(&mut client, &history(&epoch, 9));
    assert_eq!(next(&mut client)["type"], "confirm_subscription");
    assert_eq!(next(&mut client)["type"], "reject_history");
    kill(process);
    house.remove();
}

#[test]
fn what_is_delivered_before_the_commit_has_positions_that_outlive_a_stop_but_no_crash() {
    let house = House::delivering("storage-cable-ahead", "before_commit");
    let (mut process, mut address) = house.start();
    let mut client = cable(address);
    subscribe(&mut client, "");
    assert_eq!(next(&mut client)["type"], "confirm_subscription");
    broadcast(address, "1");
    let mut place = next(&mut client);
    for (signal, expected) in [(Signal::SIGTERM, "confirm_history"), (Signal::SIGKILL, "reject_history")] {
        process.signal(signal);
        process.wait();
        (process, address) = house.start();
        let mut client = cable(address);
        let history = format!(r#","history":{{"streams":{{"s":{{"epoch":{},"offset":{}}}}}}}"#, place["epoch"], place["offset"]);
        subscribe(&mut client, &history);
        assert_eq!(next(&mut client)["type"], "confirm_subscription");
        assert_eq!(next(&mut client)["type"], expected);
        broadcast(address, "2");
        let then = next(&mut client);
        assert_eq!(then["offset"].as_u64(), place["offset"].as_u64().map(|offset| offset + 1));
        assert_eq!(then["epoch"] == place["epoch"], signal == Signal::SIGTERM);
        place = then;
    }
    kill(process);
    house.remove();
}

#[test]
fn a_stop_keeps_what_was_stored_and_one_server_at_a_time_has_it() {
    let house = House::new("storage-stop");
    let (mut process, address) = house.start();
    let entry = [("sa".to_owned(), "1".to_owned(), "id".to_owned())];
    let acknowledged = publish(&mut Client::connect(address), &entry).unwrap();
    let second = run(&["serve", "-c", &house.file]);
    assert_eq!(second.code, Some(2), "{second:?}");
    assert!(second.stderr.contains("is in use by another process"), "{second:?}");
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait(), Some(0));
    let (process, address) = house.start();
    check_replay(address, &acknowledged);
    check_gap(address, &acknowledged[0]);
    drop(process);
    house.remove();
}

/// A cursor of before the first process is a gap; one of the last process is none.
fn check_gap(address: SocketAddr, acknowledged: &Acknowledged) {
    let gap = |cursor: &str| {
        let answer = Client::connect(address).get(&format!("/shortpoll/sa?auth_token={TOKEN}&{cursor}"));
        answer.field("X-Fanwire-Gap").is_some()
    };
    assert!(!gap(&cursor_of(acknowledged)));
    assert!(gap(&cursor_of(&Acknowledged { time: acknowledged.time - 3_600, ..acknowledged.clone() })));
}

#[test]
fn a_file_that_cannot_be_used_ends_the_start_with_2_and_is_left_as_it_is() {
    let house = House::new("storage-refused");
    let (process, address) = house.start();
    let entries: Vec<_> = (0..50).map(|number| ("sa".to_owned(), number.to_string(), format!("id{number}"))).collect();
    publish(&mut Client::connect(address), &entries).unwrap();
    kill(process);
    let file = house.database();
    let whole = std::fs::read(&file).unwrap();
    let foreign = b"SQLite format 3\0".repeat(9);
    let cases = [
        (whole[..whole.len() / 2].to_vec(), "is damaged"),
        (Vec::new(), "is damaged"),
        (foreign, "is not a database of fanwire"),
    ];
    for (content, expected) in cases {
        std::fs::write(&file, &content).unwrap();
        let ended = run(&["serve", "-c", &house.file]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let says = |text: &str| ended.stderr.contains(text);
        assert!(says(expected) && says(file.to_str().unwrap()) && says("move it away"), "{ended:?}");
        assert_eq!(std::fs::read(&file).unwrap(), content);
        assert_eq!(run(&["check", "-c", &house.file]).code, Some(0), "a check opens no storage");
    }
    std::fs::write(&file, &whole).unwrap();
    let (process, address) = house.start();
    assert_eq!(replay(address, "sa", EPOCH).len(), entries.len());
    kill(process);
    std::fs::remove_dir_all(house.directory.join("data")).unwrap();
    std::fs::write(house.directory.join("data"), "no directory").unwrap();
    let ended = run(&["serve", "-c", &house.file]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("can't be used") && ended.stderr.contains("storage.path"), "{ended:?}");
    house.remove();
}

#[test]
fn a_process_that_dies_before_anything_is_stored_has_its_stamps_to_itself() {
    let house = House::new("storage-young");
    let (mut last, mut position) = (0, (0, 0));
    for round in 0..4 {
        let (process, address) = house.start();
        // The first one leaves something; for the others nothing has to be committed before they answer.
        let body = format!(r#"{{"topic":"sa","data":1,"store":{}}}"#, round == 0);
        let mut client = Client::connect(address);
        client.ask("POST", "/publish", FIELDS, &body);
        let answer = client.answer();
        kill(process);
        let answer: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        let number = |name: &str| answer[name].as_u64().unwrap();
        assert!(number("seq") > last, "round {round}: {answer} after {last}");
        assert!((number("time"), number("tag")) > position, "round {round}: {answer} after {position:?}");
        (last, position) = (number("seq"), (number("time"), number("tag")));
    }
    house.remove();
}
