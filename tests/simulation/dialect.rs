//! A small dialect that shows everything: which message reached whom, when a subscription began and ended.
//!
//! `/ws/NAME` is a WebSocket that subscribes, publishes and deletes; `/poll/NAME`, `/post/NAME` and `/head/NAME` are requests.

use crate::Planted;
use fanwire::exchange;
use fanwire::exchange::{Answer, Cursor, Entry, Group, Join, JoinTopic, Joined, Question, Refusal, StartAt, SubscriptionId};
use fanwire::http::body::BodyError;
use fanwire::http::head::HeadError;
use fanwire::http::response::Response;
use fanwire::message::{Encoder, EncodingId, Message, TopicName};
use fanwire::session::{
    Actions, BodyMode, ConnectionLimits, Delivery, Dialect, Encoders, HeadLimits, Inbound, Opening, Request, Session,
};
use fanwire::websocket::{encoder, handshake::accept_key};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Shared encodings; a delivery of this number is [`Delivery::PerSubscriber`].
pub const ENCODINGS: usize = 3;
/// From this number on a delivery is [`Delivery::Prefixed`]. They differ in number only, so that one connection may have
/// several of one topic.
pub const PREFIXED: usize = ENCODINGS + 1;
pub const DELIVERIES: usize = PREFIXED + 3;
/// Documents `$d/0` and so on.
pub const DOCUMENTS: usize = 4;
const GROUP: Group = Group { bytes: 3, documents_max: 3, awaited_max: 2 };
pub const OUTBOX_BYTES: usize = 700;
pub const NO_PROGRESS: Duration = Duration::from_secs(4);

/// What the sessions have seen, for the judges.
#[derive(Default)]
pub struct Witness {
    /// Connections that were told that they are too slow.
    pub too_slow: BTreeMap<String, u64>,
    pub violations: Vec<String>,
    pub gaps: u64,
    pub refused: u64,
    pub removed: u64,
    pub resumed: u64,
    pub woken: u64,
    pub drained: u64,
    pub reviewed: u64,
}

pub struct Simulated {
    shared: Arc<Shared>,
}

struct Shared {
    limits: ConnectionLimits,
    encodings: Vec<EncodingId>,
    tail: EncodingId,
    planted: Planted,
    witness: Arc<Mutex<Witness>>,
}

struct Marked(usize);

/// What follows the prefix.
struct Tail;

/// What a client is told of one message; `kind` is the delivery.
fn line(kind: usize, message: &Message) -> String {
    let stamp = message.stamp;
    if message.id < 0 {
        return format!("R {kind} {} {}", message.topic, stamp.seq.0);
    }
    let payload = String::from_utf8_lossy(&message.payload);
    if message.topic.is_reserved() {
        return format!("E {} {} {payload}", message.topic, message.id);
    }
    format!("M {kind} {} {} {} {} {} {payload}", message.topic, stamp.seq.0, stamp.seconds, stamp.tag, u8::from(message.stored))
}

impl Encoder for Marked {
    fn encode(&self, message: &Message, out: &mut Vec<u8>) {
        let line = line(self.0, message);
        encoder::text_header(line.len(), out);
        out.extend_from_slice(line.as_bytes());
    }
}

impl Encoder for Tail {
    fn encode(&self, message: &Message, out: &mut Vec<u8>) {
        out.extend_from_slice(line(PREFIXED, message).as_bytes());
    }
}

impl Simulated {
    pub fn new(encoders: &mut Encoders, planted: Planted, witness: Arc<Mutex<Witness>>) -> Simulated {
        let encodings = (0..ENCODINGS).map(|kind| encoders.add(format!("simulated {kind}"), Arc::new(Marked(kind)))).collect();
        let tail = encoders.add("simulated tail".to_owned(), Arc::new(Tail));
        let limits = ConnectionLimits {
            message_bytes_max: 4096,
            message_fragments_max: 16,
            outbox_bytes_max: OUTBOX_BYTES,
            no_progress: NO_PROGRESS,
            close_time: Duration::from_secs(1),
            user_timeout: None,
        };
        Simulated { shared: Arc::new(Shared { limits, encodings, tail, planted, witness }) }
    }
}

impl Dialect for Simulated {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn open(&self, request: &Request<'_>, actions: &mut Actions) -> Option<Opening> {
        let mut parts = request.head.path().split('/').skip(1);
        let (what, name) = (parts.next()?, parts.next()?.to_owned());
        let shared = self.shared.clone();
        match what {
            "ws" => {
                let accept = match accept_key(request.head, &["13"]) {
                    Ok(accept) => accept,
                    Err(_) => return Some(Opening::Respond(Response::new(400))),
                };
                let upgrade = Response::new(101)
                    .field("Upgrade", "websocket")
                    .field("Connection", "Upgrade")
                    .field("Sec-WebSocket-Accept", accept);
                let late = request.head.query() == "late";
                if late {
                    actions.ask(Question::Head);
                } else {
                    actions.accept();
                }
                let wake_at = actions.now.micros + 700_000;
                actions.wake_at(wake_at);
                let session = SocketSession {
                    shared,
                    name,
                    late,
                    wake_at,
                    pending: VecDeque::new(),
                    wanted: BTreeMap::new(),
                    documents: BTreeSet::new(),
                    unanswered: 0,
                };
                Some(Opening::WebSocket { session: Box::new(session), upgrade })
            }
            "poll" => {
                let (topics, cursor) = request.head.query().split_once('&')?;
                let topics = topics.split(',').enumerate().map(|(id, name)| join_topic(id as u16, name, "c")).collect();
                shared.witness.lock().unwrap().resumed += u64::from(cursor != "now");
                actions.join(Join { topics, cursor: read_cursor(cursor), ..Join::default() }, Delivery::PerSubscriber);
                let session = PollSession { shared, name, gap: false, joined: None, collected: Vec::new() };
                Some(Opening::Hold { session: Box::new(session), body: BodyMode::Dropped })
            }
            "head" => {
                actions.ask(Question::Head);
                Some(Opening::Hold { session: Box::new(RequestSession { shared, name }), body: BodyMode::Dropped })
            }
            "post" => Some(Opening::Hold { session: Box::new(RequestSession { shared, name }), body: BodyMode::Whole }),
            _ => None,
        }
    }

    fn head_limits(&self, _: &str) -> Option<HeadLimits> {
        Some(HeadLimits {
            line_bytes_max: 1024,
            field_bytes_max: 2048,
            body_bytes_max: 4096,
            body_refused: BodyError::response,
            head_refused: HeadError::response,
        })
    }
}

fn join_topic(id: u16, name: &str, start: &str) -> JoinTopic {
    let start = match start.split_at(1) {
        ("c", _) => StartAt::Cursor,
        ("l", count) => StartAt::Last(count.parse().unwrap()),
        _ => StartAt::Now,
    };
    JoinTopic { id: SubscriptionId(id), name: name.into(), start, must_have_messages: false }
}

pub fn read_cursor(text: &str) -> Cursor {
    let stamp = text.split_once('.').map(|(seconds, tag)| (seconds.parse().unwrap(), Some(tag.parse().unwrap())));
    Cursor { stamp, event: None }
}

/// `NUMBER TOPIC STORED PADDING`, several with `;` between them.
fn entries(text: &str) -> Vec<Entry> {
    let entry = |text: &str| {
        let mut parts = text.splitn(4, ' ');
        let (number, topic, stored, padding) =
            (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        let payload = format!("{number} {padding}").into_bytes().into();
        Entry { topic: topic.into(), payload, store: stored == "1", event: None, key: None, except: None }
    };
    text.split(';').map(entry).collect()
}

fn answer_text(answer: &Answer) -> String {
    match answer {
        Answer::Published { published, .. } => {
            let list: Vec<String> = published.iter().map(|published| published.stamp.seq.0.to_string()).collect();
            format!("A ok {}", list.join(","))
        }
        Answer::Refused(refusal) => format!("A no {refusal:?}"),
        Answer::Written(Ok(written)) => format!("W ok {}", written.version),
        Answer::Written(Err(refusal)) => format!("W no {refusal:?}"),
        Answer::Deleted(count) => format!("A deleted {count}"),
        Answer::Head(stamp) => format!("H {} {}.{}", stamp.seq.0, stamp.seconds, stamp.tag),
        Answer::Report(_)
        | Answer::History(_)
        | Answer::Resumed(_)
        | Answer::Announced
        | Answer::Document(_)
        | Answer::Issued
        | Answer::Grant(_)
        | Answer::Altered(_)
        | Answer::Records(..)
        | Answer::RecordsById(_)
        | Answer::RecordNamed(_) => "nobody asked".to_owned(),
    }
}

struct SocketSession {
    shared: Arc<Shared>,
    name: String,
    /// Not accepted before the hub has answered.
    late: bool,
    wake_at: u64,
    /// The subscriptions of joins that the hub has not answered, oldest first.
    pending: VecDeque<Vec<u16>>,
    /// Subscriptions that the client has not left, and their delivery.
    wanted: BTreeMap<u16, usize>,
    /// Those that are of documents, also ones that were left.
    documents: BTreeSet<u16>,
    unanswered: usize,
}

impl SocketSession {
    fn prefixed(&self, id: SubscriptionId) -> Delivery {
        let id = match self.shared.planted {
            Planted::ForeignPrefix => id.0 - 1,
            _ => id.0,
        };
        Delivery::Prefixed { encoding: self.shared.tail, prefix: format!("@{}#{id} ", self.name).into_bytes().into() }
    }

    fn say(&self, text: &str, actions: &mut Actions) {
        actions.send(encoder::text(text.as_bytes()));
    }

    fn complain(&self, text: &str) {
        self.shared.witness.lock().unwrap().violations.push(format!("{}: {text}", self.name));
    }
}

impl Session for SocketSession {
    fn limits(&self) -> &ConnectionLimits {
        &self.shared.limits
    }

    fn received(&mut self, inbound: Inbound<'_>, actions: &mut Actions) {
        let text = match inbound {
            Inbound::Text(text) => text,
            Inbound::Close(code) => return actions.close(code, ""),
            Inbound::Binary(_) | Inbound::Ping | Inbound::Pong | Inbound::Body(_) | Inbound::Part(_) | Inbound::End => return,
        };
        match text.split_at(2) {
            // S DELIVERY CURSOR MAX ID=TOPIC=START …
            ("S ", rest) => {
                let mut parts = rest.split(' ');
                let kind: usize = parts.next().unwrap().parse().unwrap();
                let cursor = parts.next().unwrap();
                let max = parts.next().unwrap();
                let topics: Vec<JoinTopic> = parts
                    .map(|part| {
                        let mut fields = part.split('=');
                        let id = fields.next().unwrap().parse().unwrap();
                        join_topic(id, fields.next().unwrap(), fields.next().unwrap())
                    })
                    .collect();
                self.wanted.extend(topics.iter().map(|topic| (topic.id.0, kind)));
                self.shared.witness.lock().unwrap().resumed += u64::from(cursor != "now");
                let join = Join { cursor: read_cursor(cursor), subscribers_max: max.parse().unwrap(), ..Join::default() };
                if kind >= PREFIXED {
                    // Each has a prefix of its own, and so a join of its own.
                    for topic in topics {
                        let delivery = self.prefixed(topic.id);
                        self.pending.push_back(vec![topic.id.0]);
                        actions.join(Join { topics: vec![topic], ..join.clone() }, delivery);
                    }
                    return;
                }
                let delivery =
                    self.shared.encodings.get(kind).map_or(Delivery::PerSubscriber, |&encoding| Delivery::Shared(encoding));
                self.pending.push_back(topics.iter().map(|topic| topic.id.0).collect());
                actions.join(Join { topics, ..join }, delivery);
            }
            ("U ", rest) => {
                let ids: Vec<u16> = rest.split(' ').map(|id| id.parse().unwrap()).collect();
                self.wanted.retain(|id, _| !ids.contains(id));
                actions.leave(ids.into_iter().map(SubscriptionId).collect());
                self.say(text, actions);
            }
            // O ID DOCUMENT
            ("O ", rest) => {
                let (id, name) = rest.split_once(' ').unwrap();
                let id: u16 = id.parse().unwrap();
                self.wanted.insert(id, 0);
                self.documents.insert(id);
                self.pending.push_back(vec![id]);
                let join = Join { topics: vec![join_topic(id, name, "n")], document: Some(GROUP), ..Join::default() };
                actions.join(join, Delivery::Shared(self.shared.encodings[0]));
            }
            ("W ", rest) => {
                let (name, value) = rest.split_once(' ').unwrap();
                self.unanswered += 1;
                actions.write(exchange::Write {
                    topic: name.into(),
                    value: value.as_bytes().into(),
                    group: GROUP,
                    must_exist: value == "null",
                    condition: None,
                    skip_equal: false,
                });
            }
            ("P ", rest) => {
                self.unanswered += 1;
                actions.publish(entries(rest), None);
            }
            ("D ", rest) => {
                self.unanswered += 1;
                actions.delete(vec![TopicName::from(rest)], Arc::from(&b"gone"[..]));
            }
            _ => self.complain("a command that no client sends"),
        }
    }

    fn joined(&mut self, joined: &Joined, actions: &mut Actions) {
        let expected = self.pending.pop_front().unwrap_or_default();
        if expected != joined.topics.iter().map(|topic| topic.id.0).collect::<Vec<_>>() {
            self.complain("a join was answered out of order");
        }
        if let [topic] = &joined.topics[..]
            && self.documents.contains(&topic.id.0)
        {
            if self.wanted.contains_key(&topic.id.0) {
                self.say(&format!("O {}", topic.id.0), actions);
                let shows = self.shared.planted != Planted::MissingSnapshot;
                joined.document.iter().filter(|_| shows).for_each(|it| actions.show(self.shared.encodings[0], it.clone()));
            }
            return;
        }
        self.shared.witness.lock().unwrap().gaps += u64::from(joined.gap);
        let head = joined.head;
        let mut text = format!("J {} {} {}.{}", u8::from(joined.gap), head.seq.0, head.seconds, head.tag);
        for topic in joined.topics.iter().filter(|topic| self.wanted.contains_key(&topic.id.0)) {
            write!(text, " {}:{}", topic.id.0, topic.from.0).unwrap();
        }
        self.say(&text, actions);
    }

    fn refused(&mut self, _: Refusal, actions: &mut Actions) {
        let ids = self.pending.pop_front().unwrap_or_default();
        self.wanted.retain(|id, _| !ids.contains(id));
        self.shared.witness.lock().unwrap().refused += 1;
        let ids: Vec<String> = ids.iter().map(u16::to_string).collect();
        self.say(&format!("X {}", ids.join(" ")), actions);
    }

    fn delivered(&mut self, id: SubscriptionId, message: &Arc<Message>, actions: &mut Actions) {
        if self.wanted.get(&id.0) != Some(&ENCODINGS) {
            self.complain("a message for a subscription that was left");
        }
        self.say(&line(ENCODINGS, message), actions);
    }

    fn page(&mut self, messages: &[Arc<Message>], _: bool, actions: &mut Actions) {
        for message in messages {
            self.say(&line(ENCODINGS, message), actions);
        }
    }

    fn removed(&mut self, id: SubscriptionId, message: &Arc<Message>, _: usize, actions: &mut Actions) {
        self.shared.witness.lock().unwrap().removed += 1;
        match self.wanted.remove(&id.0) {
            Some(kind) if kind >= ENCODINGS => self.say(&line(kind, message), actions),
            Some(_) => {}
            None => self.complain("a deletion for a subscription that was left"),
        }
    }

    fn answered(&mut self, answer: Answer, actions: &mut Actions) {
        if self.late {
            self.late = false;
            actions.accept();
            return;
        }
        self.unanswered -= 1;
        self.say(&answer_text(&answer), actions);
    }

    fn woken(&mut self, actions: &mut Actions) {
        if actions.now.micros < self.wake_at {
            self.complain("woken too early");
        }
        self.shared.witness.lock().unwrap().woken += 1;
        self.wake_at = actions.now.micros + 700_000;
        actions.wake_at(self.wake_at);
        if !self.late {
            self.say("T", actions);
        }
    }

    fn too_slow(&mut self, actions: &mut Actions) {
        self.shared.witness.lock().unwrap().too_slow.insert(self.name.clone(), actions.now.micros);
        actions.close(Some(1008), "too slow");
    }

    fn draining(&mut self, actions: &mut Actions) {
        self.shared.witness.lock().unwrap().drained += 1;
        actions.close(Some(1001), "");
    }

    fn review(&mut self, topics: &[(SubscriptionId, TopicName)], _: &mut Actions) {
        self.shared.witness.lock().unwrap().reviewed += 1;
        if topics.iter().any(|(id, _)| !self.wanted.contains_key(&id.0)) {
            self.complain("a review of a subscription that was left");
        }
    }

    fn accepts_input(&self) -> bool {
        self.unanswered < 6
    }
}

/// Answers with everything that it can, as soon as there is something.
struct PollSession {
    shared: Arc<Shared>,
    name: String,
    gap: bool,
    joined: Option<String>,
    collected: Vec<Arc<Message>>,
}

impl PollSession {
    fn respond(&mut self, actions: &mut Actions) {
        let mut text = format!("G {} {}", u8::from(self.gap), self.joined.as_deref().unwrap_or("0.0"));
        for message in &self.collected {
            write!(text, "\n{}", line(ENCODINGS, message)).unwrap();
        }
        actions.respond(Response::new(200).body(text));
    }
}

impl Session for PollSession {
    fn limits(&self) -> &ConnectionLimits {
        &self.shared.limits
    }

    fn received(&mut self, _: Inbound<'_>, _: &mut Actions) {}

    fn joined(&mut self, joined: &Joined, _: &mut Actions) {
        self.gap = joined.gap;
        self.shared.witness.lock().unwrap().gaps += u64::from(joined.gap);
        self.joined = Some(format!("{}.{}", joined.head.seconds, joined.head.tag));
    }

    fn page(&mut self, messages: &[Arc<Message>], complete: bool, actions: &mut Actions) {
        self.collected.extend_from_slice(messages);
        if complete && !self.collected.is_empty() {
            self.respond(actions);
        }
    }

    fn delivered(&mut self, _: SubscriptionId, message: &Arc<Message>, actions: &mut Actions) {
        self.collected.push(message.clone());
        self.respond(actions);
    }

    fn removed(&mut self, _: SubscriptionId, _: &Arc<Message>, _: usize, actions: &mut Actions) {
        if self.collected.is_empty() {
            actions.respond(Response::new(200).body("R"));
        } else {
            self.respond(actions);
        }
    }

    fn too_slow(&mut self, actions: &mut Actions) {
        self.shared.witness.lock().unwrap().too_slow.insert(self.name.clone(), actions.now.micros);
        actions.respond(Response::new(200).body("L"));
    }

    fn draining(&mut self, actions: &mut Actions) {
        actions.respond(Response::new(503));
    }
}

/// One publication, or the question where the head is.
struct RequestSession {
    shared: Arc<Shared>,
    name: String,
}

impl Session for RequestSession {
    fn limits(&self) -> &ConnectionLimits {
        &self.shared.limits
    }

    fn received(&mut self, inbound: Inbound<'_>, actions: &mut Actions) {
        if let Inbound::Body(body) = inbound {
            actions.publish(entries(&String::from_utf8(body).unwrap()), None);
        }
    }

    fn answered(&mut self, answer: Answer, actions: &mut Actions) {
        actions.respond(Response::new(200).body(answer_text(&answer)));
    }

    fn too_slow(&mut self, actions: &mut Actions) {
        self.shared.witness.lock().unwrap().too_slow.insert(self.name.clone(), actions.now.micros);
        actions.hangup();
    }

    fn draining(&mut self, _: &mut Actions) {}
}
