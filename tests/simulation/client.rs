//! Model clients: they speak real bytes, parse strictly, and know at every moment what they may be sent.

use crate::dialect::{DELIVERIES, DOCUMENTS, PREFIXED, Witness};
use crate::ledger::Ledger;
use crate::network::Wire;
use crate::random::Random;
use crate::world::TOPICS;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::rc::Rc;

/// What a client and its judge look at together.
pub struct View<'a> {
    pub ledger: &'a Ledger,
    pub witness: &'a Witness,
    pub micros: u64,
    /// Connections that were told to be too slow while their socket had taken nothing for long enough.
    pub stalled: &'a BTreeMap<String, ()>,
    /// The server says goodbye.
    pub draining: bool,
    /// Publish so much that a page of history does not hold it.
    pub deep: bool,
    /// Write and watch documents most of the time.
    pub of_documents: bool,
    pub next_number: &'a mut u64,
}

/// A topic and a delivery: a client has each pair of them once at most.
type Key = (usize, usize);

/// One subscription of a live connection, as its client knows it.
enum Subscription {
    Asked { id: u32 },
    Joined { id: u32, from: u64, head: u64, last: u64 },
}

impl Subscription {
    fn id(&self) -> u32 {
        match self {
            Subscription::Asked { id } | Subscription::Joined { id, .. } => *id,
        }
    }
}

/// A request that the server owes an answer to.
enum Owed {
    Poll { cursor: Option<(u64, u32)> },
    Head { at_least: u64 },
    Post { numbers: Vec<u64> },
}

/// What a publishing socket waits for.
enum Asked {
    Publish(Vec<u64>),
    Delete,
    Write { document: usize, value: String },
}

/// A document that a client watches.
#[derive(Default)]
struct Watched {
    id: u32,
    confirmed: bool,
    /// The newest state that it was sent since.
    version: i64,
}

enum Kind {
    Socket(Socket),
    Web(Web),
}

#[derive(Default)]
struct Socket {
    upgraded: bool,
    subscriptions: BTreeMap<Key, Subscription>,
    watched: BTreeMap<usize, Watched>,
    /// The newest version of each document that the connection was ever sent.
    versions: [i64; DOCUMENTS],
    asked: VecDeque<Asked>,
    next_id: u32,
    /// Per topic, the newest message since the last replay began.
    last: Vec<u64>,
    pings: u64,
    pongs: u64,
    said_close: bool,
    heard_close: bool,
}

struct Web {
    topics: Vec<usize>,
    cursor: Option<(u64, u32)>,
    owed: VecDeque<Owed>,
    newest: u64,
}

impl Socket {
    /// The subscription whose prefix a text begins with, if it is one that must have one, and the rest.
    fn strip_prefix<'a>(&self, name: &str, text: &'a str) -> Result<(Option<Key>, &'a str), String> {
        let Some(prefixed) = text.strip_prefix('@') else {
            let bare = text.starts_with(&format!("M {PREFIXED} "));
            return if bare { Err("a tail without its prefix".to_owned()) } else { Ok((None, text)) };
        };
        let (prefix, tail) = prefixed.split_once(' ').ok_or("a prefix without a tail")?;
        let (owner, id) = prefix.split_once('#').ok_or("a prefix of nobody")?;
        let mine = self.subscriptions.iter().find(|(_, subscription)| id == subscription.id().to_string());
        match mine {
            Some((&key, _)) if owner == name && key.1 >= PREFIXED => Ok((Some(key), tail)),
            Some(_) | None => Err("somebody else's prefix".to_owned()),
        }
    }

    /// The subscriptions with these ids are no more.
    fn forget(&mut self, ids: &[&str]) {
        let ids: Vec<u32> = ids.iter().map(|id| id.parse().unwrap()).collect();
        self.subscriptions.retain(|_, subscription| !ids.contains(&subscription.id()));
        self.watched.retain(|_, watched| !ids.contains(&watched.id));
    }

    /// Prefixed subscriptions of one topic get each message in the order in which they were made.
    fn judge_turn(&self, key: Key, seq: u64, stored: bool) -> Result<u64, String> {
        let mine = self.subscriptions[&key].id();
        let others = self.subscriptions.iter().filter(|(other, _)| other.0 == key.0 && other.1 >= PREFIXED && **other != key);
        let mut turns = 0;
        for (_, other) in others {
            let Subscription::Joined { id, from, head, last } = other else { continue };
            if seq <= *from || !stored && seq <= *head {
                continue;
            }
            turns += 1;
            if *id > mine && *last >= seq {
                return Err(format!("the newer subscription {id} had its turn before it"));
            }
        }
        Ok(turns)
    }
}

pub struct Client {
    pub number: usize,
    incarnation: u64,
    pub node: usize,
    pub wire: Option<Rc<RefCell<Wire>>>,
    input: Vec<u8>,
    /// Reads nothing.
    pub stalled: bool,
    /// It ended the connection itself, or half of it.
    left: bool,
    /// The process at the other end is no more.
    cut: bool,
    /// The newest stamp it has seen.
    seen: Option<(u64, u32)>,
    kind: Kind,
    pub coverage: Coverage,
}

#[derive(Default)]
pub struct Coverage {
    pub messages: u64,
    pub confirmed: u64,
    pub left: u64,
    pub polls: u64,
    pub replays: u64,
    pub busy: u64,
    pub removals: u64,
    pub pongs: u64,
    pub resets: u64,
    pub half_closes: u64,
    pub doubled_topics: u64,
    pub prefixed: u64,
    /// Prefixed messages that another subscription of the connection gets, too.
    pub turns: u64,
    pub states: u64,
    /// The first states after a confirmation.
    pub states_shown: u64,
    /// States that were replaced before they were sent.
    pub states_skipped: u64,
    pub deletions: u64,
    pub writes_refused: u64,
    pub documents_at_rest: u64,
}

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

impl Client {
    pub fn socket(number: usize) -> Client {
        Client::new(number, Kind::Socket(Socket::default()))
    }

    pub fn web(number: usize, topics: Vec<usize>) -> Client {
        Client::new(number, Kind::Web(Web { topics, cursor: None, owed: VecDeque::new(), newest: 0 }))
    }

    fn new(number: usize, kind: Kind) -> Client {
        Client {
            number,
            incarnation: 0,
            node: 0,
            wire: None,
            input: Vec::new(),
            stalled: false,
            left: false,
            cut: false,
            seen: None,
            kind,
            coverage: Coverage::default(),
        }
    }

    pub fn name(&self) -> String {
        format!("{}.{}", self.number, self.incarnation)
    }

    pub fn connect(&mut self, node: usize, wire: Rc<RefCell<Wire>>, random: &mut Random) {
        self.incarnation += 1;
        self.node = node;
        self.wire = Some(wire);
        self.input.clear();
        (self.stalled, self.left, self.cut) = (false, false, false);
        let name = self.name();
        match &mut self.kind {
            Kind::Socket(socket) => {
                *socket = Socket { last: vec![0; TOPICS], ..Socket::default() };
                let late = if random.percent(20) { "?late" } else { "" };
                self.send(
                    format!(
                        "GET /ws/{name}{late} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
                    )
                    .as_bytes(),
                );
            }
            Kind::Web(web) => web.owed.clear(),
        }
    }

    fn send(&self, bytes: &[u8]) {
        if let Some(wire) = &self.wire {
            wire.borrow_mut().flight.extend(bytes);
        }
    }

    /// One message, masked, in some number of fragments.
    fn frame(&self, opcode: u8, payload: &[u8], random: &mut Random) {
        let mut parts: Vec<&[u8]> = Vec::new();
        let mut rest = payload;
        while opcode == 1 && random.percent(15) && parts.len() < 4 {
            let (part, after) = rest.split_at(random.below(rest.len() + 1));
            parts.push(part);
            rest = after;
        }
        parts.push(rest);
        let last = parts.len() - 1;
        for (at, part) in parts.iter().enumerate() {
            let mut bytes = vec![if at == 0 { opcode } else { 0 } | if at == last { 0x80 } else { 0 }];
            match part.len() {
                short @ 0..126 => bytes.push(0x80 | short as u8),
                long => {
                    bytes.push(0x80 | 126);
                    bytes.extend_from_slice(&(long as u16).to_be_bytes());
                }
            }
            let mask = (random.next() as u32).to_be_bytes();
            bytes.extend_from_slice(&mask);
            bytes.extend(part.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
            self.send(&bytes);
        }
    }

    /// Subscribes to one topic from now on.
    pub fn subscribe(&mut self, topic: usize, kind: usize, random: &mut Random) {
        let Kind::Socket(socket) = &mut self.kind else { return };
        socket.next_id += 1;
        let id = socket.next_id;
        socket.subscriptions.insert((topic, kind), Subscription::Asked { id });
        self.frame(1, format!("S {kind} now 0 {id}=t{topic}=n").as_bytes(), random);
    }

    /// Publishes one short message.
    pub fn publish(&mut self, topic: usize, random: &mut Random, view: &mut View<'_>) {
        *view.next_number += 1;
        let number = *view.next_number;
        let Kind::Socket(socket) = &mut self.kind else { return };
        socket.asked.push_back(Asked::Publish(vec![number]));
        self.frame(1, format!("P {number} t{topic} 1 {}", "x".repeat(60)).as_bytes(), random);
    }

    /// Does something. Says what.
    pub fn act(&mut self, random: &mut Random, view: &mut View<'_>) -> String {
        let Some(wire) = self.wire.clone() else { return "nothing".to_owned() };
        if self.left || wire.borrow().flight.len() > 4_000 {
            return "nothing".to_owned();
        }
        if random.percent(1) {
            self.left = true;
            self.coverage.resets += 1;
            wire.borrow_mut().break_off();
            return "reset".to_owned();
        }
        if random.percent(1) {
            self.left = true;
            self.coverage.half_closes += 1;
            wire.borrow_mut().finishing = true;
            return "half-close".to_owned();
        }
        if random.percent(4) {
            self.stalled = true;
            return "stall".to_owned();
        }
        if random.percent(25) {
            self.stalled = false;
        }
        match &self.kind {
            Kind::Socket(socket) if socket.said_close || socket.heard_close => "nothing".to_owned(),
            Kind::Socket(_) => self.act_on_socket(random, view),
            Kind::Web(_) => self.act_on_web(random, view),
        }
    }

    fn act_on_socket(&mut self, random: &mut Random, view: &mut View<'_>) -> String {
        let cursor = self.some_cursor(random, view);
        let topics = view.ledger.names.len();
        let Kind::Socket(socket) = &mut self.kind else { return String::new() };
        let wish = if view.of_documents && random.percent(80) { 42 + random.below(20) } else { random.below(100) };
        let text = match wish {
            0..30 => {
                let kind = random.below(DELIVERIES);
                let max = if random.percent(15) { 1 + random.below(3) } else { 0 };
                let mut text = format!("S {kind} {cursor} {max}");
                let mut count = 0;
                for _ in 0..1 + random.below(3) {
                    let topic = random.below(topics);
                    if socket.subscriptions.contains_key(&(topic, kind)) {
                        continue;
                    }
                    let start = match random.below(4) {
                        0 => "n".to_owned(),
                        1 => format!("l{}", random.below(6)),
                        _ => "c".to_owned(),
                    };
                    socket.next_id += 1;
                    self.coverage.doubled_topics += u64::from(socket.subscriptions.keys().any(|key| key.0 == topic));
                    socket.subscriptions.insert((topic, kind), Subscription::Asked { id: socket.next_id });
                    write!(text, " {}=t{topic}={start}", socket.next_id).unwrap();
                    count += 1;
                }
                if count == 0 {
                    return "nothing".to_owned();
                }
                text
            }
            30..42 => {
                let ids: Vec<String> = socket.subscriptions.values().map(|subscription| subscription.id().to_string()).collect();
                if ids.is_empty() {
                    return "nothing".to_owned();
                }
                let first = random.below(ids.len());
                let end = ids.len().min(first + 1 + random.below(2));
                format!("U {}", ids[first..end].join(" "))
            }
            42..47 => {
                let document = random.below(DOCUMENTS);
                if socket.watched.contains_key(&document) {
                    return "nothing".to_owned();
                }
                socket.next_id += 1;
                socket.watched.insert(document, Watched { id: socket.next_id, ..Watched::default() });
                format!("O {} $d/{document}", socket.next_id)
            }
            47..49 => match socket.watched.values().nth(random.below(DOCUMENTS)) {
                Some(watched) => format!("U {}", watched.id),
                None => return "nothing".to_owned(),
            },
            49..62 => {
                let document = random.below(DOCUMENTS);
                *view.next_number += 1;
                let value = match random.below(5) {
                    0 => "null".to_owned(),
                    _ => format!("{}{}", view.next_number, "x".repeat(random.below(60))),
                };
                socket.asked.push_back(Asked::Write { document, value: value.clone() });
                format!("W $d/{document} {value}")
            }
            62..82 => {
                let (text, numbers) = publication(random, topics, view);
                socket.asked.push_back(Asked::Publish(numbers));
                format!("P {text}")
            }
            82..85 => {
                socket.asked.push_back(Asked::Delete);
                format!("D t{}", random.below(topics))
            }
            85..97 => {
                let count = if random.percent(10) { 45 } else { 1 };
                let first = socket.pings + 1;
                socket.pings += count;
                (first..first + count).for_each(|ping| self.frame(9, ping.to_string().as_bytes(), random));
                return format!("{count} pings");
            }
            97..98 => {
                socket.said_close = true;
                self.frame(8, &1000u16.to_be_bytes(), random);
                return "close".to_owned();
            }
            _ => {
                self.frame(10, b"", random);
                return "pong".to_owned();
            }
        };
        self.frame(1, text.as_bytes(), random);
        text
    }

    fn act_on_web(&mut self, random: &mut Random, view: &mut View<'_>) -> String {
        let name = self.name();
        let topics = view.ledger.names.len();
        let Kind::Web(web) = &mut self.kind else { return String::new() };
        if web.owed.len() >= 4 {
            return "nothing".to_owned();
        }
        let polls = web.owed.iter().any(|owed| matches!(owed, Owed::Poll { .. }));
        let text = match random.below(10) {
            0..6 if !polls => {
                let names: Vec<&str> = web.topics.iter().map(|&topic| &*view.ledger.names[topic]).collect();
                let cursor = web.cursor.map_or("now".to_owned(), |(seconds, tag)| format!("{seconds}.{tag}"));
                web.owed.push_back(Owed::Poll { cursor: web.cursor });
                format!("GET /poll/{name}?{}&{cursor} HTTP/1.1\r\nHost: a\r\n\r\n", names.join(","))
            }
            6..8 => {
                web.owed.push_back(Owed::Head { at_least: web.newest });
                format!("GET /head/{name} HTTP/1.1\r\nHost: a\r\n\r\n")
            }
            8..10 => {
                let (body, numbers) = publication(random, topics, view);
                web.owed.push_back(Owed::Post { numbers });
                format!("POST /post/{name} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            }
            _ => return "nothing".to_owned(),
        };
        self.send(text.as_bytes());
        text.replace("\r\n", " ")
    }

    fn some_cursor(&self, random: &mut Random, view: &View<'_>) -> String {
        let list = &view.ledger.topics[random.below(view.ledger.names.len())];
        let written = |(seconds, tag): (u64, u32)| format!("{seconds}.{tag}");
        match random.below(8) {
            0 => "now".to_owned(),
            1 => "0.0".to_owned(),
            2..6 => self.seen.map_or("now".to_owned(), written),
            _ => {
                let back = random.below(20) + 1;
                list.len().checked_sub(back).map_or("now".to_owned(), |at| written(list[at].position))
            }
        }
    }

    /// The server's process was killed: what it wrote can still be read, then the connection is over.
    pub fn server_died(&mut self) {
        self.cut = self.wire.is_some();
    }

    /// Reads up to so many bytes and judges what they say. True: something happened.
    pub fn read(&mut self, at_most: usize, view: &mut View<'_>) -> Result<bool, String> {
        let Some(wire) = self.wire.clone() else { return Ok(false) };
        let bytes = wire.borrow_mut().take(at_most);
        self.input.extend_from_slice(&bytes);
        if !self.left || !wire.borrow().reset {
            while self.understand(view)? {}
        }
        if let Some(rule) = wire.borrow().broken_rule {
            return Err(rule.to_owned());
        }
        if wire.borrow().is_over() {
            self.over(view)?;
            return Ok(true);
        }
        Ok(!bytes.is_empty())
    }

    /// The connection is over: somebody must have had a reason.
    fn over(&mut self, view: &View<'_>) -> Result<(), String> {
        let name = self.name();
        self.wire = None;
        let expected = self.left
            || self.cut
            || view.draining
            || view.witness.too_slow.contains_key(&name)
            || matches!(&self.kind, Kind::Socket(socket) if socket.said_close || socket.heard_close);
        if expected { Ok(()) } else { Err("the connection ended for no reason".to_owned()) }
    }

    /// One response or frame of the input; false: it is not complete.
    fn understand(&mut self, view: &mut View<'_>) -> Result<bool, String> {
        if self.input.is_empty() {
            return Ok(false);
        }
        match &mut self.kind {
            Kind::Socket(socket) if !socket.upgraded => {
                let expected = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
                );
                let common = self.input.len().min(expected.len());
                if self.input[..common] != expected.as_bytes()[..common] {
                    return Err(format!("no 101, but {:?}", String::from_utf8_lossy(&self.input)));
                }
                if common < expected.len() {
                    return Ok(false);
                }
                socket.upgraded = true;
                self.input.drain(..common);
                Ok(true)
            }
            Kind::Socket(_) => self.understand_frame(view),
            Kind::Web(_) => self.understand_response(view),
        }
    }

    fn understand_frame(&mut self, view: &mut View<'_>) -> Result<bool, String> {
        let Kind::Socket(socket) = &mut self.kind else { return Ok(false) };
        if socket.heard_close {
            return Err("bytes behind the close frame".to_owned());
        }
        let [first, second, ..] = self.input[..] else { return Ok(false) };
        let (start, len) = match second {
            0..126 => (2, usize::from(second)),
            126 if self.input.len() >= 4 => (4, usize::from(u16::from_be_bytes([self.input[2], self.input[3]]))),
            126 => return Ok(false),
            _ => return Err(format!("a frame of the second byte {second}")),
        };
        if !matches!(first, 0x81 | 0x88 | 0x8a) {
            return Err(format!("a frame of the first byte {first:#x}"));
        }
        if self.input.len() < start + len {
            return Ok(false);
        }
        let frame: Vec<u8> = self.input.drain(..start + len).skip(start).collect();
        match first {
            0x8a => {
                let pong: u64 = String::from_utf8_lossy(&frame).parse().map_err(|_| "a pong for no ping".to_owned())?;
                if pong <= socket.pongs || pong > socket.pings {
                    return Err(format!("pong {pong} after {}, with {} pings", socket.pongs, socket.pings));
                }
                socket.pongs = pong;
                self.coverage.pongs += 1;
            }
            0x88 => {
                socket.heard_close = true;
                let code = frame.first_chunk().map(|code| u16::from_be_bytes(*code));
                self.judge_close(code, view)?;
            }
            _ => {
                let text = String::from_utf8(frame).map_err(|_| "a text frame that is no text".to_owned())?;
                self.judge_text(&text, view).map_err(|why| format!("{why} in {text:?}"))?;
            }
        }
        Ok(true)
    }

    fn judge_close(&mut self, code: Option<u16>, view: &View<'_>) -> Result<(), String> {
        let Kind::Socket(socket) = &self.kind else { return Ok(()) };
        match code {
            Some(1000) if socket.said_close => Ok(()),
            Some(1001) if view.draining => Ok(()),
            Some(1008) if view.witness.too_slow.contains_key(&self.name()) => {
                if view.stalled.contains_key(&self.name()) {
                    return Ok(());
                }
                let lost = socket.subscriptions.iter().any(|(&(topic, _), subscription)| match subscription {
                    Subscription::Asked { .. } => false,
                    Subscription::Joined { head, last, .. } => view
                        .ledger
                        .after(topic, *last)
                        .filter(|(_, record)| record.stored || record.seq > *head)
                        .any(|(index, _)| view.ledger.is_gone(topic, index, view.micros)),
                });
                if lost { Ok(()) } else { Err("declared too slow although nothing was lost".to_owned()) }
            }
            code => Err(format!("closed with {code:?}")),
        }
    }

    fn judge_text(&mut self, text: &str, view: &mut View<'_>) -> Result<(), String> {
        let name = self.name();
        let Kind::Socket(socket) = &mut self.kind else { return Ok(()) };
        let (prefixed, text) = socket.strip_prefix(&name, text)?;
        let fields: Vec<&str> = text.split(' ').collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).ok_or("too few fields".to_owned());
        match fields[0] {
            "T" => {}
            "A" => match (fields[1], socket.asked.pop_front()) {
                ("deleted", Some(Asked::Delete)) => {}
                ("no", Some(Asked::Delete)) if fields[2] == "StorageUnavailable" => {}
                (outcome, Some(Asked::Publish(numbers))) => {
                    self.coverage.busy += u64::from(fields.get(2) == Some(&"Busy"));
                    judge_outcome(outcome, fields[2], &numbers, view.ledger)?;
                }
                _ => return Err("an answer to no question".to_owned()),
            },
            "J" => {
                let head = number(2)?;
                for pair in &fields[4..] {
                    let (id, from) = pair.split_once(':').ok_or("no pair")?;
                    let (id, from): (u32, u64) = (id.parse().unwrap(), from.parse().unwrap());
                    let subscription = socket.subscriptions.values_mut().find(|subscription| subscription.id() == id);
                    match subscription {
                        Some(subscription @ Subscription::Asked { .. }) => {
                            *subscription = Subscription::Joined { id, from, head, last: from };
                        }
                        Some(Subscription::Joined { .. }) => return Err("confirmed twice".to_owned()),
                        None => return Err("confirmed after it was left".to_owned()),
                    }
                    self.coverage.confirmed += 1;
                    if socket.last.iter().any(|&last| from < last) {
                        // The history may be older than what was sent.
                        socket.last.iter_mut().for_each(|last| *last = from.min(*last));
                        self.coverage.replays += 1;
                    }
                }
            }
            "W" => {
                let Some(Asked::Write { document, value }) = socket.asked.pop_front() else {
                    return Err("an answer to no question".to_owned());
                };
                let version = fields[2].parse::<i64>();
                let wrote = |(known, written): &(i64, String)| Ok(*known) == version && *written == value;
                if fields[1] == "ok" && !view.ledger.documents[document].iter().any(wrote) {
                    return Err("that was not written".to_owned());
                }
                self.coverage.writes_refused += u64::from(fields[1] == "no");
            }
            "O" => {
                let id = number(1)? as u32;
                match socket.watched.values_mut().find(|watched| watched.id == id) {
                    Some(watched) if !watched.confirmed => watched.confirmed = true,
                    Some(_) => return Err("confirmed twice".to_owned()),
                    None => return Err("confirmed after it was left".to_owned()),
                }
            }
            "E" => {
                let document: usize = fields[1].trim_start_matches("$d/").parse().map_err(|_| "no document")?;
                let version = number(2)? as i64;
                let states = &view.ledger.documents[document];
                let at = states.iter().position(|(known, _)| *known == version).ok_or("a state that nobody wrote")?;
                if states[at].1 != fields[3] {
                    return Err("a state unlike the one that was written".to_owned());
                }
                let Some(watched) = socket.watched.get_mut(&document).filter(|watched| watched.confirmed) else {
                    return Err("a state before the confirmation or after the end of its subscription".to_owned());
                };
                if version <= watched.version || version < socket.versions[document] {
                    return Err(format!("version {} was sent before", watched.version.max(socket.versions[document])));
                }
                self.coverage.states += 1;
                self.coverage.deletions += u64::from(states[at].1 == "null");
                match watched.version {
                    0 => self.coverage.states_shown += 1,
                    last => {
                        let passed = states[..at].iter().filter(|(version, _)| *version > last).count();
                        self.coverage.states_skipped += passed as u64;
                    }
                }
                (watched.version, socket.versions[document]) = (version, version);
            }
            "U" => {
                self.coverage.left += 1;
                socket.forget(&fields[1..]);
            }
            "X" => socket.forget(&fields[1..]),
            "R" => {
                let key = (view.ledger.topic(fields[2]), number(1)? as usize);
                let seq = number(3)?;
                match socket.subscriptions.remove(&key) {
                    Some(Subscription::Joined { head, last, .. }) => {
                        let unread = view.ledger.after(key.0, last).take_while(|(_, record)| record.seq < seq);
                        if let Some((_, record)) = unread.into_iter().find(|(_, record)| record.stored || record.seq > head) {
                            return Err(format!("message {} was lost with its topic", record.seq));
                        }
                    }
                    Some(Subscription::Asked { .. }) | None => return Err("a deletion for nobody".to_owned()),
                }
                let others = socket.last.iter().enumerate().filter(|(other, _)| *other != key.0);
                if let Some((_, last)) = others.into_iter().find(|(_, last)| seq < **last) {
                    return Err(format!("a deletion after message {last}"));
                }
                self.coverage.removals += 1;
            }
            "M" => {
                let key = prefixed.unwrap_or((view.ledger.topic(fields[2]), number(1)? as usize));
                let seq = number(3)?;
                let (topic, record) = view.ledger.find(seq).ok_or("a message that nobody published")?;
                if topic != key.0 || record.position != (number(4)?, number(5)? as u32) || record.number != number(7)? {
                    return Err("a message unlike the one that was published".to_owned());
                }
                let Some(Subscription::Joined { from, head, last, .. }) = socket.subscriptions.get_mut(&key) else {
                    return Err("a message before the confirmation or after the end of its subscription".to_owned());
                };
                if seq <= *from || !record.stored && seq <= *head {
                    return Err(format!("older than the subscription, which began after {from} at {head}"));
                }
                if seq <= *last {
                    return Err(format!("doubled or out of its order: {last} was sent"));
                }
                let skipped = view.ledger.after(topic, *last).take_while(|(_, record)| record.seq < seq);
                if let Some((_, lost)) = skipped.into_iter().find(|(_, record)| record.stored || record.seq > *head) {
                    return Err(format!("message {} is missing before it", lost.seq));
                }
                *last = seq;
                if prefixed.is_some() {
                    self.coverage.prefixed += 1;
                    self.coverage.turns += socket.judge_turn(key, seq, record.stored)?;
                }
                // Two subscriptions of one topic take turns within a run.
                let others = socket.last.iter().enumerate().filter(|(other, _)| *other != topic);
                if let Some((_, last)) = others.into_iter().find(|(_, last)| seq < **last) {
                    return Err(format!("message {last} was sent before it"));
                }
                socket.last[topic] = socket.last[topic].max(seq);
                self.seen = self.seen.max(Some(record.position));
                self.coverage.messages += 1;
            }
            _ => return Err("nothing that the server says".to_owned()),
        }
        Ok(())
    }

    fn understand_response(&mut self, view: &mut View<'_>) -> Result<bool, String> {
        let Some(end) = self.input.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(false) };
        let head = String::from_utf8(self.input[..end].to_vec()).map_err(|_| "a head that is no text")?;
        let goodbye = view.draining && head.starts_with("HTTP/1.1 503 Service Unavailable\r\n");
        if !goodbye && !head.starts_with("HTTP/1.1 200 OK\r\n") {
            return Err(format!("the answer {head:?}"));
        }
        let length = head.split("\r\n").find_map(|line| line.strip_prefix("Content-Length: "));
        let length: usize = length.and_then(|length| length.parse().ok()).ok_or("no length")?;
        if self.input.len() < end + 4 + length {
            return Ok(false);
        }
        let body: Vec<u8> = self.input.drain(..end + 4 + length).skip(end + 4).collect();
        let body = String::from_utf8(body).map_err(|_| "a body that is no text")?;
        let Kind::Web(web) = &mut self.kind else { return Ok(false) };
        let fields: Vec<&str> = body.split([' ', '\n']).collect();
        match (web.owed.pop_front().ok_or(format!("an answer to nothing: {body}"))?, fields[0]) {
            (Owed::Head { at_least }, "H") => {
                let head: u64 = fields[1].parse().unwrap();
                if head < at_least {
                    return Err(format!("the head {head} is older than {at_least}, which was answered before"));
                }
                web.newest = web.newest.max(head);
            }
            (Owed::Post { numbers }, "A") => {
                judge_outcome(fields[1], fields[2], &numbers, view.ledger)?;
                self.coverage.busy += u64::from(fields[2] == "Busy");
                if fields[1] == "ok" {
                    web.newest = fields[2].split(',').map(|seq| seq.parse().unwrap()).fold(web.newest, u64::max);
                }
            }
            // Deleted, or declared lost: the cursor says the rest.
            (Owed::Poll { .. }, "R" | "L") => {}
            (_, "") if goodbye => {}
            (Owed::Poll { cursor }, "G") => {
                self.coverage.polls += 1;
                let mut lines = body.lines();
                let first: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
                let gap = first[1] == "1";
                let joined = first[2].split_once('.').ok_or("no head")?;
                let start = cursor.unwrap_or((joined.0.parse().unwrap(), joined.1.parse().unwrap()));
                let mut received: Vec<u64> = Vec::new();
                let mut last = start;
                for line in lines {
                    let seq: u64 = line.split(' ').nth(3).and_then(|seq| seq.parse().ok()).ok_or("no message")?;
                    let (topic, record) = view.ledger.find(seq).ok_or("a message that nobody published")?;
                    if !web.topics.contains(&topic) {
                        return Err(format!("message {seq} of a foreign topic"));
                    }
                    if record.position <= last {
                        return Err(format!("message {seq} is not newer than {last:?}"));
                    }
                    last = record.position;
                    received.push(seq);
                }
                for &topic in &web.topics {
                    let newer =
                        view.ledger.topics[topic].iter().enumerate().rev().take_while(|(_, record)| record.position > start);
                    for (index, record) in newer.filter(|(_, record)| record.stored && record.position < last) {
                        let lost = gap && view.ledger.is_gone(topic, index, view.micros);
                        if !lost && !received.contains(&record.seq) {
                            return Err(format!("message {} is missing between {start:?} and {last:?}", record.seq));
                        }
                    }
                }
                web.newest = received.last().map_or(web.newest, |&seq| web.newest.max(seq));
                web.cursor = Some(last);
                self.seen = self.seen.max(Some(last));
            }
            (_, other) => return Err(format!("the answer {other} to another question")),
        }
        Ok(true)
    }

    /// Everything has come to rest: what is owed must have arrived.
    pub fn judge_rest(&mut self, view: &View<'_>) -> Result<(), String> {
        if self.wire.is_none() || self.left {
            return Ok(());
        }
        if !self.input.is_empty() {
            return Err(format!("a cut frame or answer: {:?}", String::from_utf8_lossy(&self.input)));
        }
        match &self.kind {
            Kind::Socket(socket) if socket.said_close || socket.heard_close => Ok(()),
            Kind::Socket(socket) => {
                if !socket.upgraded {
                    return Err("the handshake was never answered".to_owned());
                }
                if !socket.asked.is_empty() {
                    return Err(format!("{} publications were never answered", socket.asked.len()));
                }
                if socket.pongs != socket.pings {
                    return Err(format!("ping {} was never answered, {} was", socket.pings, socket.pongs));
                }
                for (&document, watched) in &socket.watched {
                    if !watched.confirmed {
                        return Err(format!("the subscription of document {document} was never answered"));
                    }
                    match view.ledger.documents[document].last() {
                        Some((newest, _)) if *newest == watched.version => self.coverage.documents_at_rest += 1,
                        None => {}
                        // Deleted so long ago that nobody knows.
                        Some((_, value)) if value == "null" && watched.version == 0 => {}
                        Some((newest, _)) => {
                            return Err(format!("document {document} is at {newest}, but {} was sent last", watched.version));
                        }
                    }
                }
                for (&(topic, kind), subscription) in &socket.subscriptions {
                    match subscription {
                        Subscription::Asked { id } => return Err(format!("subscription {id} was never answered")),
                        Subscription::Joined { id, head, last, .. } => {
                            let owed = view.ledger.after(topic, *last).find(|(_, record)| record.stored || record.seq > *head);
                            if let Some((_, record)) = owed {
                                let seq = record.seq;
                                return Err(format!("message {seq} of t{topic} never reached subscription {id} ({kind}): lost"));
                            }
                        }
                    }
                }
                Ok(())
            }
            Kind::Web(web) => {
                let cursor = match web.owed.front() {
                    Some(Owed::Poll { cursor: Some(cursor) }) => cursor,
                    Some(Owed::Poll { cursor: None }) | None => return Ok(()),
                    Some(Owed::Head { .. } | Owed::Post { .. }) => return Err("a request was never answered".to_owned()),
                };
                for &topic in &web.topics {
                    let list = view.ledger.topics[topic].iter().enumerate();
                    let mut newer = list.filter(|(_, record)| record.stored && record.position > *cursor);
                    if let Some((_, record)) = newer.find(|(index, _)| !view.ledger.is_gone(topic, *index, view.micros)) {
                        return Err(format!("message {} never reached the poll: lost", record.seq));
                    }
                }
                Ok(())
            }
        }
    }

    /// Goes away for good, one way or the other.
    pub fn leave(&mut self, random: &mut Random) {
        let Some(wire) = &self.wire else { return };
        self.left = true;
        self.stalled = false;
        if random.percent(50) {
            wire.borrow_mut().break_off();
        } else {
            wire.borrow_mut().finishing = true;
        }
    }
}

/// Text and numbers of one to three messages that are published together.
fn publication(random: &mut Random, topics: usize, view: &mut View<'_>) -> (String, Vec<u64>) {
    let mut numbers = Vec::new();
    let mut texts = Vec::new();
    let count = match random.below(100) {
        0..25 if view.deep => 60 + random.below(60),
        25..40 => 2 + random.below(2),
        _ => 1,
    };
    for _ in 0..count {
        *view.next_number += 1;
        numbers.push(*view.next_number);
        let stored = u8::from(random.percent(75));
        let long = match count {
            0..4 if random.percent(5) => 1_300,
            0..4 => 60,
            _ => 4,
        };
        let padding = "x".repeat(random.below(long));
        texts.push(format!("{} t{} {stored} {padding}", view.next_number, random.below(topics)));
    }
    (texts.join(";"), numbers)
}

/// An acknowledged publication was made as it was meant, a refused one was not made.
fn judge_outcome(outcome: &str, list: &str, numbers: &[u64], ledger: &Ledger) -> Result<(), String> {
    match outcome {
        "ok" => {
            let seqs: Vec<u64> = list.split(',').map(|seq| seq.parse().unwrap()).collect();
            let made: Vec<u64> = seqs.iter().filter_map(|&seq| ledger.find(seq)).map(|(_, record)| record.number).collect();
            if made == numbers { Ok(()) } else { Err(format!("{numbers:?} was acknowledged, but {made:?} was published")) }
        }
        "no" => match numbers.iter().find(|&&number| ledger.was_published(number)) {
            Some(number) => Err(format!("{number} was refused and published")),
            None => Ok(()),
        },
        other => Err(format!("the outcome {other}")),
    }
}
