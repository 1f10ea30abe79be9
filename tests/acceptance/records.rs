//! Records, users and sessions of `endpoints` outlive `kill -9`: what was answered, and what anybody was sent.

use crate::Xorshift;
use crate::client::Client;
use crate::process::Process;
use crate::storage::{House, kill};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

pub const KEY: &str = "d59eb2859c284168ac48aef65046d5dd";
const MASTER: &str = "master-key-of-examples";
pub const OPEN: &str = "examples/open";
pub const NOTES: &str = "examples/notes";
pub const USERS: &str = "examples/users";
const ROUNDS: usize = 8;

/// The tables of the configuration.
pub fn configuration() -> String {
    format!(
        r#"
[endpoints.rested]
log_messages = 100000
sessions_per_user_max = 10000
limits.failures_per_minute_per_address = 1000000

[[endpoints.rested.projects]]
name = "examples"
key = "{KEY}"
master_key = "{MASTER}"
cookie_from_any_origin = true

[[endpoints.rested.projects.endpoints]]
name = "{OPEN}"

[[endpoints.rested.projects.endpoints]]
name = "{NOTES}"
secure = true

[[endpoints.rested.projects.endpoints]]
name = "{USERS}"
auth = true
"#
    )
}

/// What one comes with.
#[derive(Clone, Debug)]
pub struct Caller {
    key: &'static str,
    pub endpoint: &'static str,
    query: String,
    /// Whole lines.
    fields: String,
}

impl Caller {
    pub fn anybody(endpoint: &'static str) -> Caller {
        Caller { key: KEY, endpoint, query: String::new(), fields: String::new() }
    }

    pub fn master(endpoint: &'static str) -> Caller {
        Caller { query: format!("&masterKey={MASTER}"), ..Caller::anybody(endpoint) }
    }

    pub fn user(endpoint: &'static str, token: &str) -> Caller {
        Caller { fields: format!("Authorization: Bearer {token}\r\n"), ..Caller::anybody(endpoint) }
    }

    pub fn with_key(self, key: &'static str) -> Caller {
        Caller { key, ..self }
    }

    fn target(&self, query: &str) -> String {
        format!("/api/1/ce/{}?key={}{}{query}", self.endpoint, self.key, self.query)
    }

    /// Status, head and body; `None`: the connection broke before the answer.
    pub fn call(&self, client: &mut Client, method: &str, query: &str, body: &str) -> Option<(u16, String, String)> {
        let fields = format!("{}Content-Type: application/json\r\n", self.fields);
        let answer = client.try_ask(method, &self.target(query), &fields, body)?;
        Some((answer.status, answer.head, answer.body))
    }

    /// A call that has to succeed if it is answered.
    pub fn changes(&self, client: &mut Client, method: &str, query: &str, body: &str) -> Option<String> {
        let (status, head, body) = self.call(client, method, query, body)?;
        assert!((200..300).contains(&status), "{method} {query}: {head}{body}");
        Some(body)
    }

    fn list(&self, address: SocketAddr) -> Records {
        let body = self.changes(&mut Client::connect(address), "GET", "", "").expect("a server that lives");
        let list: Vec<Value> = serde_json::from_str(&body).unwrap();
        list.iter().map(Record::of).map(|record| (record.id.clone(), record)).collect()
    }

    pub fn listen(&self, address: SocketAddr, query: &str) -> Client {
        let mut client = Client::connect(address);
        client.upgrade(&self.target(query), &self.fields);
        client
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub id: String,
    data: String,
    created: String,
    updated: String,
}

type Records = BTreeMap<String, Record>;

impl Record {
    fn of(value: &Value) -> Record {
        let text = |name: &str| value[name].as_str().unwrap_or_else(|| panic!("{name} of {value}")).to_owned();
        Record { id: text("uniqueId"), data: value["data"].to_string(), created: text("createdAt"), updated: text("updatedAt") }
    }

    pub fn parse(text: &str) -> Record {
        Record::of(&serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }
}

/// What was asked for and not answered.
#[derive(Clone, Debug)]
enum Attempt {
    Create(String),
    Change(String, String),
    Delete(String),
    /// Nothing that a record shows.
    Nothing,
}

impl Attempt {
    /// The records are those that were answered, or these after the attempt. Returns whether it came to pass.
    #[track_caller]
    fn check(&self, known: &Records, there: &Records) -> bool {
        if known == there {
            return false;
        }
        let mut after = known.clone();
        match self {
            Attempt::Create(data) => {
                let created = there.values().find(|record| record.data == *data).cloned();
                let created = created.unwrap_or_else(|| panic!("not {data} was added to {known:?}, but: {there:?}"));
                assert_eq!(created.created, created.updated);
                after.insert(created.id.clone(), created);
            }
            Attempt::Change(id, data) => {
                let (before, now) = (&known[id], there.get(id).unwrap_or_else(|| panic!("{id} is lost")));
                assert!(now.updated > before.updated, "{before:?} {now:?}");
                after.insert(id.clone(), Record { data: data.clone(), updated: now.updated.clone(), ..before.clone() });
            }
            Attempt::Delete(id) => drop(after.remove(id)),
            Attempt::Nothing => {}
        }
        assert_eq!(*there, after, "after {self:?}");
        true
    }
}

/// Creates, changes and deletes records of its own until the server dies.
fn write_until_the_end(
    mut client: Client,
    caller: &Caller,
    name: &str,
    known: &mut Records,
    seed: u64,
    answered: &AtomicUsize,
) -> Attempt {
    let mut random = Xorshift(seed);
    for number in 0.. {
        let data = format!("\"{name}n{number} {}\"", "x".repeat(random.below(300)));
        let id = (!known.is_empty()).then(|| known.keys().nth(random.below(known.len())).unwrap().clone());
        let (method, attempt) = match (random.below(6), id) {
            (0, Some(id)) => ("PUT", Attempt::Change(id, data.clone())),
            (1, Some(id)) => ("PATCH", Attempt::Change(id, data.clone())),
            (2, Some(id)) => ("DELETE", Attempt::Delete(id)),
            _ => ("POST", Attempt::Create(data.clone())),
        };
        let of = match &attempt {
            Attempt::Change(id, _) | Attempt::Delete(id) => format!("&uniqueId={id}"),
            Attempt::Create(_) | Attempt::Nothing => String::new(),
        };
        let body = if method == "DELETE" { "" } else { &data };
        let Some(answer) = caller.changes(&mut client, method, &of, body) else { return attempt };
        answered.fetch_add(1, Relaxed);
        let record = Record::parse(&answer);
        match attempt {
            Attempt::Delete(id) => assert_eq!(known.remove(&id), Some(record), "the last record"),
            _ => drop(known.insert(record.id.clone(), record)),
        }
    }
    unreachable!("a server that never dies")
}

/// What somebody was sent: the records that this makes, and the number of the last message.
#[derive(Default)]
struct Heard {
    records: Records,
    at: u64,
}

impl Heard {
    /// Takes one message in. Returns the id of a record that was created.
    fn take(&mut self, text: &str) -> Option<String> {
        let message: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let seq = message["seq"].as_u64().unwrap_or_else(|| panic!("{text}"));
        let kind = message["type"].as_str().unwrap_or_default();
        assert_ne!(kind, "RESET", "it was told of what is lost, or its log is");
        assert!(seq > self.at || kind == "SNAPSHOT", "{text} after {}", self.at);
        self.at = seq;
        if kind == "SNAPSHOT" {
            let records = message["records"].as_array().expect("records").iter().map(Record::of);
            self.records = records.map(|record| (record.id.clone(), record)).collect();
            return None;
        }
        let record = Record::of(&message["record"]);
        let created = (kind == "POST").then(|| record.id.clone());
        match kind {
            "DELETE" => assert_eq!(self.records.remove(&record.id), Some(record), "the record as it was last"),
            "POST" | "PUT" | "PATCH" => drop(self.records.insert(record.id.clone(), record)),
            _ => panic!("{text}"),
        }
        created
    }
}

/// The next message, which is no ping; `None`: there comes no more.
pub fn next(client: &mut Client) -> Option<String> {
    loop {
        let frame = client.try_frame()?;
        if frame.first != 0x89 {
            assert_eq!(frame.first, 0x81, "{frame:?}");
            return Some(String::from_utf8(frame.payload).unwrap());
        }
    }
}

fn listen_until_the_end(mut client: Client) -> Heard {
    let mut heard = Heard::default();
    while let Some(message) = next(&mut client) {
        heard.take(&message);
    }
    heard
}

/// What was sent before the end and what was missed are together what is there. `last` is created to see where it ends.
fn check_heard(address: SocketAddr, caller: &Caller, mut heard: Heard, last: &str) {
    let mut client = caller.listen(address, &format!("&fw_since={}", heard.at));
    let mut writer = Client::connect(address);
    let last = Record::parse(&caller.changes(&mut writer, "POST", "", last).expect("a server that lives"));
    while heard.take(&next(&mut client).expect("a server that lives")).as_ref() != Some(&last.id) {}
    assert_eq!(heard.records, caller.list(address), "{caller:?}");
    caller.changes(&mut writer, "DELETE", &format!("&uniqueId={}", last.id), "").expect("a server that lives");
}

pub fn credentials(name: &str, password: &str) -> String {
    format!(r#"{{"username":"{name}","password":"{password}"}}"#)
}

pub const PASSWORD: &str = "correct horse battery";

/// The token of a new session.
fn login(client: &mut Client, name: &str, password: &str) -> Option<String> {
    let (status, head, body) =
        Caller::anybody(USERS).call(client, "POST", "&login=true&noATCookie=true", &credentials(name, password))?;
    assert_eq!(status, 200, "{head}{body}");
    Some(head.lines().find_map(|line| line.strip_prefix("Authorization: Bearer ")).expect("a token").to_owned())
}

#[test]
fn ep_79_ep_80_ep_82_records_that_were_answered_or_sent_outlive_kill_9() {
    let house = House::new("storage-records");
    let (sent, answered) = survive_kills(&house, true);
    assert!(answered > 10 * ROUNDS && sent > 10 * ROUNDS, "{sent} {answered}");
    house.remove();
}

#[test]
fn ep_79_answered_records_do_so_if_they_are_delivered_before_the_commit_too() {
    let house = House::delivering("storage-records-ahead", "before_commit");
    let (_, answered) = survive_kills(&house, false);
    assert!(answered > 10 * ROUNDS, "{answered}");
    house.remove();
}

/// Kills the server while it is used, some time after so many changes were answered.
fn kill_within(process: Process, answered: &AtomicUsize, count: usize, random: &mut Xorshift) {
    crate::eventually("changes are answered", || answered.load(Relaxed) >= count);
    std::thread::sleep(Duration::from_micros(random.below(20_000) as u64));
    kill(process);
}

/// How many records were sent and how many changes answered. `sent` says whether what was sent has to be there.
fn survive_kills(house: &House, sent: bool) -> (usize, usize) {
    let mut random = Xorshift(20_261_130);
    let (process, address) = house.start();
    let mut client = Client::connect(address);
    let [anna, bert] = ["anna", "bert"].map(|name| {
        Caller::anybody(USERS).changes(&mut client, "POST", "", &credentials(name, PASSWORD)).unwrap();
        Caller::user(NOTES, &login(&mut client, name, PASSWORD).unwrap())
    });
    kill(process);
    let writers = [Caller::anybody(OPEN), Caller::anybody(OPEN), anna.clone(), bert];
    let listeners = [Caller::anybody(OPEN), anna, Caller::master(NOTES)];
    let mut known: [Records; 4] = Default::default();
    let mut last: Option<Vec<Attempt>> = None;
    let mut heard: Vec<Heard> = Vec::new();
    let (mut told, mut answered) = (0, 0);
    for round in 0..=ROUNDS {
        let (process, address) = house.start();
        let all = [Caller::anybody(OPEN), Caller::master(NOTES)].map(|caller| caller.list(address));
        for (writer, attempt) in last.take().into_iter().flatten().enumerate() {
            let mark = format!("\"w{writer}r");
            let there = all.iter().flatten().filter(|(_, record)| record.data.starts_with(&mark));
            let there: Records = there.map(|(id, record)| (id.clone(), record.clone())).collect();
            attempt.check(&known[writer], &there);
            known[writer] = there;
        }
        assert_eq!(all.iter().map(Records::len).sum::<usize>(), known.iter().map(Records::len).sum::<usize>(), "nobody else's");
        for (caller, heard) in listeners.iter().zip(heard.drain(..)) {
            told += heard.records.len();
            if sent {
                check_heard(address, caller, heard, "\"the end of it\"");
            }
        }
        if round == ROUNDS {
            kill(process);
            break;
        }
        let clients = listeners.each_ref().map(|caller| caller.listen(address, "&fw_snapshot=1"));
        let (total, kill_after) = (AtomicUsize::new(0), 20 + random.below(100));
        let seeds = writers.each_ref().map(|_| 1 + random.below(1 << 40) as u64);
        std::thread::scope(|scope| {
            let listening = clients.map(|client| scope.spawn(|| listen_until_the_end(client)));
            let writing: Vec<_> = writers
                .iter()
                .zip(&mut known)
                .zip(seeds)
                .enumerate()
                .map(|(number, ((caller, known), seed))| {
                    let (client, total) = (Client::connect(address), &total);
                    scope.spawn(move || write_until_the_end(client, caller, &format!("w{number}r{round}"), known, seed, total))
                })
                .collect();
            kill_within(process, &total, kill_after, &mut random);
            last = Some(writing.into_iter().map(|writer| writer.join().unwrap()).collect());
            heard.extend(listening.map(|listener| listener.join().unwrap()));
        });
        answered += total.into_inner();
    }
    (told, answered)
}

/// Users of one writer, and their sessions.
#[derive(Default)]
struct Accounts {
    records: Records,
    /// By the id of its record: name and password of a user, and the one that it had before.
    users: BTreeMap<String, (String, String, Option<String>)>,
    /// Tokens and the ids of their users.
    sessions: BTreeMap<String, String>,
    ended: Vec<String>,
}

/// How somebody who uses its accounts was cut off.
struct Cut {
    attempt: Attempt,
    /// Whose password it would be.
    password: Option<(String, String)>,
    /// Sessions that it would end.
    ends: Vec<String>,
}

impl Accounts {
    fn sessions_of(&self, user: &str) -> Vec<String> {
        self.sessions.iter().filter(|(_, of)| *of == user).map(|(token, _)| token.clone()).collect()
    }

    fn end(&mut self, tokens: &[String]) {
        for token in tokens {
            self.sessions.remove(token).expect("a session");
            self.ended.push(token.clone());
        }
    }

    fn change_password(&mut self, user: &str, password: String) {
        let (_, current, former) = self.users.get_mut(user).expect("a user");
        *former = Some(std::mem::replace(current, password));
    }

    /// Registers, logs in and out, changes passwords and deletes users until the server dies.
    fn use_until_the_end(&mut self, mut client: Client, name: &str, seed: u64, answered: &AtomicUsize) -> Cut {
        let mut random = Xorshift(seed);
        for number in 0.. {
            answered.fetch_add(usize::from(number > 0), Relaxed);
            let (user, session) = (random.below(self.users.len().max(1)), random.below(self.sessions.len().max(1)));
            let session = self.sessions.iter().nth(session).map(|(token, user)| (token.clone(), user.clone()));
            let cut = |attempt, ends: &[String]| Cut { attempt, password: None, ends: ends.into() };
            match (random.below(8), session) {
                (0, Some((token, id))) => {
                    let (username, ..) = &self.users[&id];
                    let (data, password) = (self.records[&id].data.clone(), format!("password {name}n{number}"));
                    let others: Vec<String> = self.sessions_of(&id).into_iter().filter(|other| *other != token).collect();
                    let body = credentials(username, &password);
                    let caller = Caller::user(USERS, &token);
                    let Some(answer) = caller.changes(&mut client, "PUT", &format!("&uniqueId={id}"), &body) else {
                        return Cut { password: Some((id.clone(), password)), ..cut(Attempt::Change(id, data), &others) };
                    };
                    self.records.insert(id.clone(), Record::parse(&answer));
                    self.change_password(&id, password);
                    self.end(&others);
                }
                (1, Some((token, id))) => {
                    let all = self.sessions_of(&id);
                    let caller = Caller::user(USERS, &token);
                    let Some(answer) = caller.changes(&mut client, "DELETE", &format!("&uniqueId={id}"), "") else {
                        return cut(Attempt::Delete(id), &all);
                    };
                    assert_eq!(self.records.remove(&id), Some(Record::parse(&answer)));
                    self.users.remove(&id);
                    self.end(&all);
                }
                (2 | 3, Some((token, _))) => {
                    if Caller::user(USERS, &token).changes(&mut client, "POST", "&logout=true", "").is_none() {
                        return cut(Attempt::Nothing, &[token]);
                    }
                    self.end(&[token]);
                }
                (4..=6, _) if !self.users.is_empty() => {
                    let (id, (username, password, _)) = self.users.iter().nth(user).expect("a user");
                    let Some(token) = login(&mut client, username, password) else { return cut(Attempt::Nothing, &[]) };
                    self.sessions.insert(token, id.clone());
                }
                _ => {
                    let username = format!("{name}n{number}");
                    let data = format!("{{\"username\":\"{username}\"}}");
                    let body = credentials(&username, PASSWORD);
                    let Some(answer) = Caller::anybody(USERS).changes(&mut client, "POST", "", &body) else {
                        return cut(Attempt::Create(data), &[]);
                    };
                    let record = Record::parse(&answer);
                    assert_eq!(record.data, data);
                    self.users.insert(record.id.clone(), (username, PASSWORD.to_owned(), None));
                    self.records.insert(record.id.clone(), record);
                }
            }
        }
        unreachable!("a server that never dies")
    }

    /// Everything that was answered is there, and of what was not either all or nothing.
    fn check(&mut self, address: SocketAddr, there: Records, cut: Cut, told: &[String]) {
        let Cut { attempt, password, ends } = cut;
        let mut client = Client::connect(address);
        let mut status = |token: &String| Caller::user(NOTES, token).call(&mut client, "GET", "", "").expect("an answer").0;
        let came_to_pass = attempt.check(&self.records, &there);
        let tokens: Vec<String> = self.sessions.keys().cloned().collect();
        for token in tokens {
            let status = status(&token);
            match (ends.contains(&token), &attempt) {
                (false, _) => assert_eq!(status, 200, "a session is lost"),
                (true, Attempt::Nothing) => assert!([200, 401].contains(&status), "{status}"),
                (true, _) => assert_eq!(status, if came_to_pass { 401 } else { 200 }, "{attempt:?} by halves"),
            }
            if status == 401 {
                self.end(&[token]);
            }
        }
        assert!(self.ended.iter().all(|token| status(token) == 401), "what was ended is ended");
        assert!(told.iter().all(|token| status(token) == 401), "whoever was told of its end has ended");
        match (&attempt, password) {
            (Attempt::Create(_), _) => {
                for id in there.keys().filter(|id| !self.records.contains_key(*id)) {
                    let data: Value = serde_json::from_str(&there[id].data).unwrap();
                    let name = data["username"].as_str().expect("a name").to_owned();
                    self.users.insert(id.clone(), (name, PASSWORD.to_owned(), None));
                }
            }
            (_, Some((id, password))) if came_to_pass => self.change_password(&id, password),
            _ => self.users.retain(|id, _| there.contains_key(id)),
        }
        self.records = there;
        // Their passwords are there, too.
        let some = self.users.iter().rev().take(2);
        let changed = self.users.iter().rev().filter(|(_, (_, _, former))| former.is_some()).take(2);
        let mut sessions = Vec::new();
        for (id, (name, password, former)) in some.chain(changed) {
            sessions.push((login(&mut client, name, password).expect("a server that lives"), id.clone()));
            if let Some(former) = former {
                let body = credentials(name, former);
                let answer = Caller::anybody(USERS).call(&mut client, "POST", "&login=true", &body);
                assert_eq!(answer.expect("a server that lives").0, 401, "another password");
            }
        }
        self.sessions.extend(sessions);
    }
}

/// Whether the end of its session is the last that this listener was sent.
fn was_told_of_its_end(mut client: Client) -> bool {
    while let Some(frame) = client.try_frame() {
        if frame.first == 0x88 {
            assert_eq!(frame.payload, [&1000u16.to_be_bytes()[..], b"Access token expired."].concat());
            return true;
        }
    }
    false
}

#[test]
fn ep_79_ep_80_users_sessions_and_logouts_that_were_answered_or_told_outlive_kill_9() {
    let house = House::new("storage-users");
    let mut random = Xorshift(20_261_131);
    let mut accounts: [Accounts; 2] = Default::default();
    let mut last: Option<[(Cut, Vec<String>); 2]> = None;
    let mut heard: Option<Heard> = None;
    let (mut answered, mut told) = (0, 0);
    for round in 0..=ROUNDS {
        let (process, address) = house.start();
        let all = Caller::master(USERS).list(address);
        for (number, (cut, ends)) in last.take().into_iter().flatten().enumerate() {
            told += ends.len();
            let mark = format!("\"w{number}r");
            let there = all.iter().filter(|(_, record)| record.data.contains(&mark));
            accounts[number].check(address, there.map(|(id, record)| (id.clone(), record.clone())).collect(), cut, &ends);
        }
        assert_eq!(all.len(), accounts.iter().map(|accounts| accounts.records.len()).sum::<usize>(), "nobody else's");
        if let Some(heard) = heard.take() {
            check_heard(address, &Caller::master(USERS), heard, &credentials("the last of them", PASSWORD));
        }
        if round == ROUNDS {
            kill(process);
            break;
        }
        let listener = Caller::master(USERS).listen(address, "&fw_snapshot=1");
        let sockets = accounts.each_ref().map(|accounts| {
            let tokens = accounts.sessions.keys();
            tokens.map(|token| (token.clone(), Caller::user(NOTES, token).listen(address, ""))).collect::<Vec<_>>()
        });
        let (total, kill_after) = (AtomicUsize::new(0), 6 + random.below(20));
        let seeds = [(); 2].map(|()| 1 + random.below(1 << 40) as u64);
        std::thread::scope(|scope| {
            let listening = scope.spawn(|| listen_until_the_end(listener));
            let mut number = 0;
            let using = accounts.each_mut().map(|accounts| {
                let (name, seed) = (format!("w{number}r{round}"), seeds[number]);
                number += 1;
                let (client, total) = (Client::connect(address), &total);
                scope.spawn(move || accounts.use_until_the_end(client, &name, seed, total))
            });
            kill_within(process, &total, kill_after, &mut random);
            let mut ends = sockets.into_iter().map(|sockets| {
                let ended = sockets.into_iter().filter_map(|(token, client)| was_told_of_its_end(client).then_some(token));
                ended.collect::<Vec<_>>()
            });
            last = Some(using.map(|user| (user.join().unwrap(), ends.next().expect("one for each"))));
            heard = Some(listening.join().unwrap());
        });
        answered += total.into_inner();
    }
    assert!(answered > 5 * ROUNDS && told > ROUNDS / 2, "{answered} {told}");
    house.remove();
}
