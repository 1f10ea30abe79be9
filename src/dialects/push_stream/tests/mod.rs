//! The dialect driven without sockets: heads in, actions out, shown as the transcripts show them.

mod opening;
mod polls;
mod publishing;
mod streams;
mod websockets;

use super::PushStream;
use super::options::Options;
use crate::access::{Access, Grant, Key, Pattern, Right, SharedAccess, digest};
use crate::clock::Now;
use crate::exchange::{Answer, Joined, JoinedTopic, Question, StartAt, SubscriptionId, TopicId};
use crate::http::head::{BodyLength, Head, Version};
use crate::http::response::{Framing, Response};
use crate::message::{Message, Seq, Stamp, TopicName};
use crate::session::{Action, Actions, BodyMode, Delivery, Dialect, Door, Encoders, Inbound, Opening, Request, Session};
use arc_swap::ArcSwap;
use std::sync::Arc;

/// Fri, 20 Nov 2026 16:17:46 GMT.
const NOON: u64 = 1_795_191_466;
const NOON_QUERY: &str = "time=Fri%2C%2020%20Nov%202026%2016%3A17%3A46%20GMT";
const UPGRADE: [(&str, &str); 4] = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
];

struct Server {
    dialect: PushStream,
    access: SharedAccess,
    door: Door,
    version: Version,
    now: Now,
}

fn access(changed: impl FnOnce(&mut Vec<Arc<Grant>>)) -> Access {
    let topics = |topics: &[&str]| topics.iter().map(|text| Pattern::parse(text).unwrap()).collect();
    let grant = |secret: &str, patterns: &[&str], expires| {
        Arc::new(Grant { name: secret.into(), digest: digest(secret.as_bytes()), topics: topics(patterns), expires })
    };
    let key = |secret: &str, may: &[Right], patterns: &[&str]| {
        let digest = digest(secret.as_bytes());
        Arc::new(Key { name: secret.into(), digest, may: may.to_vec(), topics: topics(patterns) })
    };
    let mut tokens = vec![grant("XXX", &["*"], None), grant("limited", &["public*"], None), grant("old", &["*"], Some(NOON))];
    changed(&mut tokens);
    let all = [Right::Publish, Right::Statistics];
    let keys =
        vec![key("key", &all, &["*"]), key("narrow", &[Right::Publish], &["a*"]), key("stats", &[Right::Statistics], &["*"])];
    Access { keys, tokens }
}

fn server(configure: impl FnOnce(&mut Options)) -> Server {
    let mut options = Options::default();
    configure(&mut options);
    assert_eq!(options.check(), Ok(()));
    let access: SharedAccess = Arc::new(ArcSwap::from_pointee(access(|_| ())));
    let dialect = PushStream::new(options, "vm".into(), access.clone(), &mut Encoders::default());
    let now = Now { micros: 1_000_000_000, unix_micros: NOON * 1_000_000 };
    Server { dialect, access, door: Door::Public, version: Version::Http11, now }
}

/// Nobody is asked for a token.
fn open_server(configure: impl FnOnce(&mut Options)) -> Server {
    server(|options| {
        options.auth = super::options::Auth::Off;
        configure(options);
    })
}

impl Server {
    fn open(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> (Option<Opening>, Actions) {
        let head = Head {
            method,
            target,
            version: self.version,
            fields: fields.to_vec(),
            body: BodyLength::None,
            keep_alive: true,
            expects_continue: false,
        };
        let peer = std::net::IpAddr::from([127, 0, 0, 1]);
        let request = Request { head: &head, door: self.door, peer, reactor: 0, now: self.now, draining: false, full: false };
        let mut actions = Actions::new(self.now);
        (self.dialect.open(&request, &mut actions), actions)
    }

    fn request(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> Client {
        let (opening, actions) = self.open(method, target, fields);
        let mut client = Client { session: None, upgrade: None, takes_body: false, actions, opened: Vec::new() };
        client.opened = client.shown();
        match opening {
            None => client.opened = vec!["not ours".into()],
            Some(Opening::Respond(response)) => client.opened.push(shown(&response, Framing::Length)),
            Some(Opening::Hold { session, body }) => {
                (client.session, client.takes_body) = (Some(session), body == BodyMode::Whole);
            }
            Some(Opening::WebSocket { session, upgrade }) => {
                (client.session, client.upgrade) = (Some(session), Some(upgrade));
            }
        }
        client
    }

    fn get(&self, target: &str) -> Client {
        self.request("GET", target, &[])
    }

    /// The one answer to a request that needs no session.
    fn answer(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> String {
        let client = self.request(method, target, fields);
        assert!(client.session.is_none(), "{target} was held");
        client.opened.join(" ; ")
    }

    fn upgrade(&self, target: &str) -> Client {
        self.request("GET", target, &UPGRADE)
    }
}

/// One request and its session.
struct Client {
    session: Option<Box<dyn Session>>,
    upgrade: Option<Response>,
    takes_body: bool,
    actions: Actions,
    /// What was asked for while opening.
    opened: Vec<String>,
}

impl Client {
    fn act(&mut self, act: impl FnOnce(&mut dyn Session, &mut Actions)) -> Vec<String> {
        let session = self.session.as_deref_mut().expect("the request has a session");
        act(session, &mut self.actions);
        self.shown()
    }

    fn shown(&mut self) -> Vec<String> {
        let start = self.actions.now.micros;
        let list: Vec<Action> = self.actions.drain().collect();
        list.into_iter().map(|action| show(action, start)).collect()
    }

    /// Turns both clocks forward.
    fn after(&mut self, millis: u64) -> &mut Client {
        self.actions.now.micros += millis * 1000;
        self.actions.now.unix_micros += millis * 1000;
        self
    }

    fn joined(&mut self, joined: &Joined) -> Vec<String> {
        self.act(|session, actions| session.joined(joined, actions))
    }

    fn page(&mut self, messages: &[Arc<Message>]) -> Vec<String> {
        self.act(|session, actions| session.page(messages, true, actions))
    }

    fn delivered(&mut self, message: &Arc<Message>) -> Vec<String> {
        self.act(|session, actions| session.delivered(SubscriptionId(0), message, actions))
    }

    fn received(&mut self, inbound: Inbound<'_>) -> Vec<String> {
        self.act(|session, actions| session.received(inbound, actions))
    }

    fn answered(&mut self, answer: Answer) -> Vec<String> {
        self.act(|session, actions| session.answered(answer, actions))
    }

    fn woken(&mut self) -> Vec<String> {
        self.act(|session, actions| session.woken(actions))
    }

    fn draining(&mut self) -> Vec<String> {
        self.act(|session, actions| session.draining(actions))
    }

    fn review(&mut self, topics: &[&str]) -> Vec<String> {
        let topics: Vec<_> = topics.iter().map(|&name| (SubscriptionId(0), TopicName::from(name))).collect();
        self.act(|session, actions| session.review(&topics, actions))
    }

    fn removed(&mut self, message: &Arc<Message>, remaining: usize) -> Vec<String> {
        self.act(|session, actions| session.removed(SubscriptionId(0), message, remaining, actions))
    }
}

fn show(action: Action, now: u64) -> String {
    match action {
        Action::Accept => "accept".into(),
        Action::Respond(response) => shown(&response, Framing::Length),
        Action::Begin(response) => format!("begin {}", shown(&response, Framing::Chunked)),
        Action::Send(frame) => format!("send {}", String::from_utf8_lossy(&frame)),
        Action::Finish => "finish".into(),
        Action::Close { code: None, reason } => format!("close {reason}").trim_end().into(),
        Action::Close { code: Some(code), reason } => format!("close {code} {reason}").trim_end().into(),
        Action::Hangup => "hangup".into(),
        Action::Join { join, delivery } => {
            let topics = join.topics.iter().map(|topic| match topic.start {
                StartAt::Now => format!("{}@now", topic.name),
                StartAt::Cursor => format!("{}{}", topic.name, if topic.must_have_messages { "!" } else { "" }),
                StartAt::Last(count) => format!("{}-{count}", topic.name),
                StartAt::After(seq) => format!("{}>{}", topic.name, seq.0),
            });
            let topics = topics.collect::<Vec<_>>().join(" ");
            let cursor = join.cursor.stamp.map_or(String::new(), |stamp| format!(" after {stamp:?}"));
            let delivery = if matches!(delivery, Delivery::Shared(_)) { "shared" } else { "single" };
            format!("join {topics}{cursor} {delivery}")
        }
        Action::Leave(_) => "leave".into(),
        Action::Publish { entries, report } => {
            let entries = entries.iter().map(|entry| {
                let event = entry.event.as_ref().map_or(String::new(), |event| format!(" {event:?}"));
                let stored = if entry.store { "" } else { " unstored" };
                format!("{}={}{stored}{event}", entry.topic, String::from_utf8_lossy(&entry.payload))
            });
            let asks = report.map_or(String::new(), |selection| format!(" ? Report({selection:?})"));
            format!("publish {}{asks}", entries.collect::<Vec<_>>().join(", "))
        }
        Action::Delete { topics, payload } => format!("delete {topics:?} {}", String::from_utf8_lossy(&payload)),
        Action::Ask(Question::Head) => "ask head".into(),
        Action::Ask(question) => format!("ask {question:?}"),
        Action::Ping(_)
        | Action::Discard
        | Action::Replay { .. }
        | Action::Introduce(_)
        | Action::Write(_)
        | Action::Show { .. }
        | Action::Shown(_) => "nothing of this dialect".into(),
        Action::Work { queue, job } => format!("{queue:?}: {job:?}"),
        Action::Alter(_) => "alter".to_owned(),
        Action::WakeAt(micros) => format!("wake in {} ms", (micros - now) / 1000),
    }
}

/// A response as the transcripts show it: without the fields that repeat.
fn shown(response: &Response, framing: Framing) -> String {
    let mut out = Vec::new();
    response.write(&mut out, 0, framing, true);
    let text = String::from_utf8(out).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let repeats = ["Date: ", "Connection: keep-alive", "Expires: ", "Cache-Control: "];
    let lines = head.split("\r\n").filter(|line| !repeats.iter().any(|start| line.starts_with(start)));
    let head = lines.collect::<Vec<_>>().join(" | ");
    if body.is_empty() { head } else { format!("{head}\n{body}") }
}

fn stamp(seconds: u64, tag: u32) -> Stamp {
    Stamp { seq: Seq(seconds * 1000 + u64::from(tag)), seconds, tag }
}

/// Joined without anything missed.
fn joined(head: Stamp) -> Joined {
    let topic = JoinedTopic { id: SubscriptionId(0), topic: TopicId { index: 0, generation: 0 }, from: head.seq };
    Joined { head, topics: vec![topic], start: None, gap: false, foreign: false, replay: None, document: None, records: None }
}

fn message(topic: &str, id: i64, at: Stamp, text: &str) -> Arc<Message> {
    Arc::new(Message::new(at, topic.into(), id, Arc::from(text.as_bytes())))
}
