//! A hub with a hand-turned clock, for its unit tests.

use crate::clock::Now;
use crate::engine::durable::Durable;
use crate::engine::local::Local;
use crate::engine::{Engine, Transaction};
use crate::exchange::{
    Alter, AlterRefusal, Alteration, Answer, Cursor, EndpointSettings, Entry, Group, Join, JoinTopic, Joined, NewRecord,
    Published, Question, Refusal, Report, Selection, StartAt, SubscriptionId, Write, WriteRefusal, Written,
};
use crate::hub::request::{Backlog, Origin, ReadTopic, ToHub, ToReactor, Token};
use crate::hub::{Hub, Settings};
use crate::message::{Message, Seq, Stamp};
use crate::metrics::Metrics;
use crate::record::{Account, ChangeKind, Record, RecordId};
use crate::storage::thread::Unit;
use crate::storage::{Batch, Deliver, Loaded};
use crossbeam_channel::{Receiver, unbounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// The wall clock when a bench begins: a whole second.
pub const BEGIN: u64 = 1_000;

pub fn settings() -> Settings {
    Settings::default()
}

pub fn topic(name: &str, start: StartAt) -> JoinTopic {
    JoinTopic { id: SubscriptionId(7), name: name.into(), start, must_have_messages: false }
}

pub fn entry(topic: &str, payload: &str) -> Entry {
    Entry { topic: topic.into(), payload: payload.as_bytes().into(), store: true, event: None, key: None, except: None }
}

/// The group of the documents whose names begin with `$r/` and a letter.
pub const GROUP: Group = Group { bytes: 4, documents_max: 3, awaited_max: 2 };

/// A new state of a document, on no condition.
pub fn state(topic: &str, value: &str) -> Write {
    Write {
        topic: topic.into(),
        value: value.as_bytes().into(),
        group: GROUP,
        must_exist: false,
        condition: None,
        skip_equal: false,
    }
}

/// An endpoint of the service `s`.
pub const ENDPOINT: &str = "$endpoint\u{1f}s\u{1f}p\u{1f}notes";

/// With this generation of the endpoint.
pub fn with_endpoint(generation: u64) -> Settings {
    let removed_ttl = Duration::from_secs(100);
    Settings {
        endpoints: vec![EndpointSettings { name: ENDPOINT.into(), generation, users: Vec::new(), removed_ttl, log: None }],
        ..settings()
    }
}

pub fn alter(what: Alteration) -> Alter {
    Alter { endpoint: ENDPOINT.into(), what, records_max: 1_000, revoke: None }
}

pub fn new_record(id: u128, owner: Option<u128>, data: &str) -> NewRecord {
    NewRecord { id: RecordId(id), owner: owner.map(RecordId), data: data.as_bytes().into(), account: None }
}

pub fn account(names: &[&str]) -> Option<Box<Account>> {
    Some(Box::new(Account { names: names.iter().map(|&name| name.into()).collect(), password: "phc".into() }))
}

pub fn create(id: u128, owner: Option<u128>, data: &str) -> Alter {
    alter(Alteration::Create(vec![new_record(id, owner, data)]))
}

pub fn put(id: u128, data: &str) -> Alter {
    let (data, kind) = (data.as_bytes().into(), ChangeKind::Put);
    alter(Alteration::Replace { id: RecordId(id), by: None, kind, data, unchanged_since: None, account: None })
}

pub fn delete(id: u128) -> Alter {
    alter(Alteration::Delete { id: RecordId(id), by: None })
}

pub fn text(message: &Message) -> String {
    format!("{}:{}", message.topic, String::from_utf8_lossy(&message.payload))
}

/// `id:data`
pub fn shown(record: &Record) -> String {
    format!("{}:{}", record.id.0, String::from_utf8_lossy(&record.data))
}

/// A cursor as a client has it that remembered the stamp of a message.
pub fn after(stamp: Stamp) -> Cursor {
    Cursor { stamp: Some((stamp.seconds, Some(u64::from(stamp.tag)))), event: None }
}

/// An engine that returns as many transactions as the test allows.
pub struct Gate {
    local: Local,
    allowed: Arc<AtomicUsize>,
}

impl Gate {
    /// With what it allows, which is nothing yet.
    pub fn shut() -> (Gate, Arc<AtomicUsize>) {
        let allowed = Arc::new(AtomicUsize::new(0));
        (Gate { local: Local::default(), allowed: allowed.clone() }, allowed)
    }
}

impl Engine for Gate {
    fn submit(&mut self, transaction: Transaction) {
        self.local.submit(transaction);
    }

    fn ordered(&mut self) -> Option<Transaction> {
        let allowed = self.allowed.load(Relaxed).checked_sub(1)?;
        let transaction = self.local.ordered()?;
        self.allowed.store(allowed, Relaxed);
        Some(transaction)
    }
}

/// A hub with two reactors, whose replies are collected.
pub struct Bench {
    pub hub: Hub,
    pub now: Now,
    pub metrics: Arc<Metrics>,
    inboxes: [Vec<ToReactor>; 2],
}

impl Bench {
    pub fn new(settings: Settings) -> Bench {
        let now = Now { micros: 0, unix_micros: BEGIN * 1_000_000 };
        let metrics = Arc::new(Metrics::new(2));
        Bench { hub: Hub::new(settings, 2, now, metrics.clone()), now, metrics, inboxes: Default::default() }
    }

    /// A hub that goes on where another one stopped, what has to be committed first, and what it wants to be committed.
    pub fn restored(settings: Settings, loaded: Loaded, deliver: Deliver, now: Now) -> (Bench, Batch, Receiver<Unit>) {
        let metrics = Arc::new(Metrics::new(2));
        let (sender, units) = unbounded();
        let mut hub = Hub::new(settings, 2, now, metrics.clone());
        let first = hub.restore(loaded, Durable::new(sender, deliver));
        hub.check();
        (Bench { hub, now, metrics, inboxes: Default::default() }, first, units)
    }

    /// Turns both clocks on, without a tick.
    pub fn pass(&mut self, time: Duration) {
        self.now.micros += time.as_micros() as u64;
        self.now.unix_micros += time.as_micros() as u64;
    }

    pub fn tick(&mut self) {
        self.hub.tick(self.now);
        self.collect();
    }

    /// Turns the clock on, with every tick that the hub wishes for on the way.
    pub fn live(&mut self, time: Duration) {
        let end = self.now.after(time);
        while let Some(at) = self.hub.next_tick().filter(|&at| at <= end) {
            self.pass(Duration::from_micros(at.saturating_sub(self.now.micros)));
            self.tick();
        }
        self.pass(Duration::from_micros(end - self.now.micros));
    }

    pub fn handle(&mut self, request: ToHub) {
        self.hub.handle(request, self.now);
        self.collect();
    }

    fn collect(&mut self) {
        for (reactor, inbox) in self.inboxes.iter_mut().enumerate() {
            self.hub.take_replies(reactor, inbox);
        }
        for (reactor, reply) in self.hub.take_acknowledgements() {
            self.inboxes[reactor].push(reply);
        }
        self.hub.check();
    }

    pub fn origin(reactor: u16) -> Origin {
        Origin { reactor, connection: Token::new(1, 1), ticket: 9 }
    }

    /// Everything that reactor was told and that nobody looked at yet.
    pub fn inbox(&mut self, reactor: u16) -> Vec<ToReactor> {
        std::mem::take(&mut self.inboxes[usize::from(reactor)])
    }

    /// `topic:payload` of the messages delivered to that reactor.
    pub fn delivered(&mut self, reactor: u16) -> Vec<String> {
        let inbox = self.inbox(reactor).into_iter();
        let delivered = inbox.filter_map(|reply| match reply {
            ToReactor::Deliver { message, .. } => Some(text(&message)),
            _ => None,
        });
        delivered.collect()
    }

    /// Takes the newest reply out of an inbox.
    fn newest(&mut self, reactor: u16, is_it: impl Fn(&ToReactor) -> bool) -> ToReactor {
        let inbox = &mut self.inboxes[usize::from(reactor)];
        let at = inbox.iter().rposition(is_it).expect("it was answered");
        inbox.remove(at)
    }

    pub fn try_join(&mut self, reactor: u16, join: Join) -> Result<Joined, Refusal> {
        self.handle(ToHub::Join { origin: Bench::origin(reactor), join: Box::new(join), first: true });
        match self.newest(reactor, |reply| matches!(reply, ToReactor::Joined { .. } | ToReactor::Refused { .. })) {
            ToReactor::Joined { joined, .. } => Ok(*joined),
            ToReactor::Refused { refusal, .. } => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    pub fn join(&mut self, reactor: u16, topics: Vec<JoinTopic>, cursor: Cursor) -> Result<Joined, Refusal> {
        self.try_join(reactor, Join { topics, cursor, ..Join::default() })
    }

    pub fn leave(&mut self, reactor: u16, joined: &Joined) {
        let topics = joined.topics.iter().map(|topic| topic.topic).collect();
        self.handle(ToHub::Leave { reactor, topics, last: true });
    }

    fn answer(&mut self) -> Answer {
        match self.newest(0, |reply| matches!(reply, ToReactor::Answer { .. })) {
            ToReactor::Answer { answer, .. } => *answer,
            other => panic!("{other:?}"),
        }
    }

    pub fn publish_all(&mut self, entries: Vec<Entry>) -> Result<Vec<Published>, Refusal> {
        self.handle(ToHub::Publish { origin: Bench::origin(0), entries, report: None });
        match self.answer() {
            Answer::Published { published, .. } => Ok(published.into_vec()),
            Answer::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    pub fn publish(&mut self, topic: &str, payload: &str) -> Stamp {
        self.publish_all(vec![entry(topic, payload)]).unwrap()[0].stamp
    }

    pub fn publish_unstored(&mut self, topic: &str, payload: &str) -> Stamp {
        self.publish_all(vec![Entry { store: false, ..entry(topic, payload) }]).unwrap()[0].stamp
    }

    pub fn write(&mut self, write: Write) -> Result<Written, WriteRefusal> {
        self.handle(ToHub::Write { origin: Bench::origin(0), write });
        match self.answer() {
            Answer::Written(result) => result,
            other => panic!("{other:?}"),
        }
    }

    pub fn alter(&mut self, alter: Alter) -> Result<Vec<Arc<Record>>, AlterRefusal> {
        self.handle(ToHub::Alter { origin: Bench::origin(0), alter: Box::new(alter) });
        match self.answer() {
            Answer::Altered(result) => result,
            other => panic!("{other:?}"),
        }
    }

    /// `id:data` of the records of an owner, or of all.
    pub fn records(&mut self, of: Option<u128>) -> Vec<String> {
        match self.ask(Question::Records { endpoint: ENDPOINT.into(), of: of.map(RecordId) }) {
            Answer::Records(records, _) => records.iter().map(|record| shown(record)).collect(),
            other => panic!("{other:?}"),
        }
    }

    pub fn delete(&mut self, topics: &[&str]) -> usize {
        let topics = topics.iter().map(|&name| name.into()).collect();
        self.handle(ToHub::Delete { origin: Bench::origin(0), topics, payload: b"gone"[..].into() });
        match self.answer() {
            Answer::Deleted(count) => count,
            other => panic!("{other:?}"),
        }
    }

    pub fn ask(&mut self, question: Question) -> Answer {
        self.handle(ToHub::Ask { origin: Bench::origin(0), question });
        self.answer()
    }

    pub fn head(&mut self) -> Stamp {
        match self.ask(Question::Head) {
            Answer::Head(head) => head,
            other => panic!("{other:?}"),
        }
    }

    pub fn report(&mut self, prefix: &str) -> Report {
        match self.ask(Question::Report(Selection::Prefix(prefix.into()))) {
            Answer::Report(report) => *report,
            other => panic!("{other:?}"),
        }
    }

    /// One page for a subscription that joined so.
    pub fn read(&mut self, joined: &Joined, after: Seq) -> Backlog {
        let topics = joined.topics.iter();
        let topics = topics.map(|topic| ReadTopic { topic: topic.topic, from: topic.from, joined: joined.head.seq }).collect();
        self.read_topics(topics, after)
    }

    pub fn read_topics(&mut self, topics: Vec<ReadTopic>, after: Seq) -> Backlog {
        self.handle(ToHub::Read { origin: Bench::origin(0), after, topics });
        assert!(!self.hub.serve_reads(self.now, || true));
        self.collect();
        match self.newest(0, |reply| matches!(reply, ToReactor::Backlog { .. })) {
            ToReactor::Backlog { backlog, .. } => *backlog,
            other => panic!("{other:?}"),
        }
    }

    /// What somebody with this cursor is shown of these topics.
    pub fn resume(&mut self, topics: &[&str], cursor: Cursor) -> Vec<String> {
        let topics = topics.iter().map(|name| topic(name, StartAt::Cursor)).collect();
        let joined = self.join(0, topics, cursor).unwrap();
        let shown = self.read(&joined, Seq(0)).messages.iter().map(|(_, message)| text(message)).collect();
        self.leave(0, &joined);
        shown
    }

    /// Whether a join of these topics with this cursor signals a gap.
    pub fn gap(&mut self, topics: &[&str], cursor: Cursor) -> bool {
        let topics = topics.iter().map(|name| topic(name, StartAt::Cursor)).collect();
        let joined = self.join(0, topics, cursor).unwrap();
        self.leave(0, &joined);
        joined.gap
    }
}
