//! The hub: one thread that orders everything. A pure state machine: requests in, replies out.
//!
//! ```text
//!  ToHub ─▶ handle ─▶ judge ─▶ stamp ─▶ Engine::submit … Engine::ordered ─▶ apply ─▶ Deliver, Removed ─┐
//!             │                                                                                         ├─▶ replies per reactor
//!             ├─▶ join, leave, ask (against the released head) ─────────────────▶ Joined, Answer ───────┤
//!             └─▶ reads queue ─▶ serve_reads ───────────────────────────────────▶ Backlog ──────────────┘
//! ```

mod ages;
#[cfg(any(test, fuzzing))]
mod check;
mod conversations;
mod cursor;
mod documents;
mod events;
mod history;
mod join;
mod lifetime;
mod log;
mod publish;
mod read;
mod records;
mod remembered;
mod report;
pub mod request;
mod restore;
mod sequencer;
mod storing;
#[cfg(test)]
mod testing;
pub mod thread;
mod tokens;
mod topic;
mod view;

use crate::clock::Now;
use crate::engine::local::Local;
use crate::engine::{Change, Engine, Transaction};
use crate::exchange::{
    AlterRefusal, Answer, ConversationId, EndpointSettings, Grant, Legacy, NewRecord, Notice, Published, Question, Reach,
    Refusal, Revocation, Selection, TokenDigest, WriteRefusal, Written,
};
use crate::message::{Seq, Stamp, TopicName};
use crate::metrics::Metrics;
use crate::record::Record;
use crate::storage::Key;
use ages::{Ages, Aging};
use conversations::{Conversations, Resumption};
use documents::Documents;
use read::WaitingRead;
use records::Records;
use remembered::Remembered;
use request::{Origin, ToHub, ToReactor, Token};
use sequencer::Sequencer;
use smallvec::{SmallVec, smallvec};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokens::Tokens;
use topic::{Past, Topics};

/// How much that has ended is cleared away along with a request, and in one tick.
const EXPIRED_PER_REQUEST: usize = 64;
const EXPIRED_PER_TICK: usize = 4_096;

/// What the hub is told by the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What each topic keeps: the largest window of all dialects.
    pub window: Window,
    /// How much of it statistics show.
    pub reported: Reach,
    /// A topic without messages and subscribers is forgotten after this time; its ids restart.
    pub topic_idle: Duration,
    /// The server's own topics (`$…`) don't count. 0 = unlimited.
    pub topics_max: u64,
    /// Topics whose name begins so are counted as wildcard topics; `""` = none.
    pub wildcard_prefix: Box<str>,
    /// 0 = unlimited.
    pub wildcard_topics_max: u64,
    /// Gets a stored message when topics and subscriptions come and go.
    pub events_topic: Option<TopicName>,
    pub heartbeats: Vec<Heartbeat>,
    /// Bytes of all logs and records; a publication or an alteration that would exceed it is refused.
    pub log_bytes_max: u64,
    /// How long unstored messages wait for readers that lag.
    pub unstored_age: Duration,
    /// Idempotency keys: how long they count, and how many are remembered.
    pub key_age: Duration,
    pub keys_max: usize,
    /// How far the histories of forgotten topics had come: how long a topic of the same name goes on with it, and how many
    /// are remembered.
    pub positions_age: Duration,
    pub positions_max: usize,
    /// Conversations whose connection has ended, and the bytes they left; the one that would expire first is forgotten first.
    pub conversations_max: usize,
    pub conversation_bytes_max: usize,
    /// How long it is known of a document that nobody subscribes to that it was deleted.
    pub tombstone_age: Duration,
    /// Tokens that are issued and have not expired.
    pub tokens_max: usize,
    /// Those that may have records.
    pub endpoints: Vec<EndpointSettings>,
}

/// Those of a server without endpoints that nobody has told anything.
impl Default for Settings {
    fn default() -> Settings {
        Settings {
            window: Window { count: 1_000, bytes: 64 << 20, age: Duration::from_secs(1_800) },
            reported: Reach::EVERYTHING,
            topic_idle: Duration::from_secs(30),
            topics_max: 0,
            wildcard_prefix: "".into(),
            wildcard_topics_max: 0,
            events_topic: None,
            heartbeats: Vec::new(),
            log_bytes_max: 1 << 30,
            unstored_age: Duration::from_secs(30),
            key_age: Duration::from_secs(120),
            keys_max: 1_000_000,
            positions_age: Duration::from_secs(3_000),
            positions_max: 1_000_000,
            conversations_max: 1_000_000,
            conversation_bytes_max: 256 << 20,
            tombstone_age: Duration::from_secs(60),
            tokens_max: 1_000_000,
            endpoints: Vec::new(),
        }
    }
}

/// Bounds of a topic's log; whichever is reached first evicts the oldest message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub count: usize,
    pub bytes: u64,
    pub age: Duration,
}

impl Window {
    /// Grows to hold everything that a dialect shows.
    pub fn union(self, reach: Reach) -> Window {
        Window { count: self.count.max(reach.count), age: self.age.max(reach.age), ..self }
    }

    /// Holds whatever one of both does.
    fn largest(self, other: Window) -> Window {
        let Window { count, bytes, age } = other;
        Window { count: self.count.max(count), bytes: self.bytes.max(bytes), age: self.age.max(age) }
    }
}

/// An unstored message published at an interval while its topic has subscribers.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    pub topic: TopicName,
    pub every: Duration,
    pub payload: Arc<[u8]>,
}

/// Owns every topic, log, count and stamp.
pub struct Hub {
    settings: Settings,
    /// What the topics of endpoints keep.
    endpoint_window: Window,
    now: Now,
    started: u64,
    sequencer: Sequencer,
    engine: Box<dyn Engine>,
    /// What the engine makes durable; `None`: nothing.
    storing: Option<storing::Storing>,
    /// When each transaction was submitted that the engine has not returned yet, and what follows it, in their order.
    waiting: VecDeque<(u64, Waiting)>,
    /// The newest stamp that may be seen from outside.
    released: Stamp,
    /// Messages with a smaller stamp were of an earlier process.
    history_begins: Stamp,
    /// The epoch of what was stored up to here: that process had delivered more of it than there is.
    renewed: Seq,
    /// The greatest stamp of a stored message whose topic is no more.
    removed: Stamp,
    topics: Topics,
    totals: Totals,
    /// Idempotency keys: what was published under a name lately, so that a retried publication happens once.
    keys: Remembered<Key, Stamp>,
    /// What forgotten topics left: one that comes back in time goes on counting where it stopped.
    positions: Remembered<TopicName, Past>,
    conversations: Conversations,
    documents: Documents,
    tokens: Tokens,
    records: Records,
    stored: Ages,
    /// The same of the topics of endpoints.
    changes: Ages,
    unstored: Ages,
    idle: Ages,
    /// Idle documents that were deleted.
    tombstones: Ages,
    /// The next place of the slab to be fitted to new settings.
    sweep: Option<usize>,
    /// When each heartbeat is due, in monotonic microseconds.
    heartbeats: Vec<u64>,
    reads: VecDeque<WaitingRead>,
    reactors: Vec<Reactor>,
    acknowledgements: Vec<(usize, ToReactor)>,
    metrics: Arc<Metrics>,
}

/// What happens when a transaction has been applied.
enum Waiting {
    Nothing,
    /// `kept`: it has something that has to outlive the process, or had it before.
    Published {
        origin: Origin,
        published: SmallVec<[Published; 1]>,
        report: Option<Box<Selection>>,
        kept: bool,
    },
    Deleted {
        origin: Origin,
        topics: usize,
    },
    Refused {
        origin: Origin,
        refusal: Refusal,
    },
    Announced {
        origin: Origin,
        notice: Arc<Notice>,
    },
    Written {
        origin: Origin,
        result: Result<Written, WriteRefusal>,
    },
    /// And what every session hears of tokens that were revoked along with it.
    Altered {
        origin: Origin,
        result: Result<Vec<Arc<Record>>, AlterRefusal>,
        notice: Option<Arc<Notice>>,
    },
    Issued {
        origin: Origin,
        revoked: Vec<TokenDigest>,
    },
    /// Of users who go with their endpoint.
    Revoked(Vec<TokenDigest>),
    /// A user that the settings name, and its endpoint.
    User(Box<(TopicName, NewRecord)>),
}

/// What the hub knows of one reactor.
#[derive(Default)]
struct Reactor {
    thread: u32,
    started: u64,
    /// Connections with at least one subscription.
    subscribers: u64,
    /// Messages and payload bytes on the way to it.
    queued: (usize, usize),
    replies: Vec<ToReactor>,
}

/// Sums, kept so that nobody has to walk over the topics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    /// These four leave out the server's own topics.
    topics: u64,
    wildcard_topics: u64,
    published: u64,
    stored: u64,
    /// Everything that is kept, of every topic.
    logged: u64,
    log_bytes: u64,
    unstored: u64,
    unstored_bytes: u64,
    /// Of messages to be kept that are on their way through the engine.
    coming_bytes: u64,
    idle: u64,
    subscriptions: u64,
    /// Documents that exist, and those of which it is known that they were deleted.
    documents: u64,
    tombstones: u64,
    document_subscriptions: u64,
    /// Records that are released, and what those take that are ordered.
    records: u64,
    record_bytes: u64,
    messages_in: u64,
    bytes_in: u64,
    evicted: u64,
    refused: u64,
}

impl Totals {
    /// What is kept for good, in bytes: logs and records.
    fn kept_bytes(&self) -> u64 {
        self.log_bytes + self.record_bytes
    }
}

impl Hub {
    /// History begins now; `metrics` gets the hub's numbers.
    pub fn new(settings: Settings, reactors: usize, now: Now, metrics: Arc<Metrics>) -> Hub {
        let sequencer = Sequencer::start(now);
        let first = sequencer.last();
        let mut hub = Hub {
            endpoint_window: settings.window,
            settings,
            now,
            started: now.micros,
            sequencer,
            engine: Box::new(Local::default()),
            storing: None,
            waiting: VecDeque::new(),
            released: first,
            history_begins: first,
            renewed: Seq(0),
            removed: Stamp::default(),
            topics: Topics::default(),
            totals: Totals::default(),
            keys: Remembered::default(),
            positions: Remembered::default(),
            conversations: Conversations::default(),
            documents: Documents::default(),
            tokens: Tokens::default(),
            records: Records::default(),
            stored: Ages::default(),
            changes: Ages::default(),
            unstored: Ages::default(),
            idle: Ages::default(),
            tombstones: Ages::default(),
            sweep: None,
            heartbeats: Vec::new(),
            reads: VecDeque::new(),
            reactors: (0..reactors).map(|_| Reactor { started: now.micros, ..Reactor::default() }).collect(),
            acknowledgements: Vec::new(),
            metrics,
        };
        hub.restart_heartbeats();
        hub.configure_endpoints();
        hub
    }

    /// Does what is asked; a read is only queued.
    pub fn handle(&mut self, request: ToHub, now: Now) {
        self.enter(now);
        self.release();
        self.expire(EXPIRED_PER_REQUEST);
        self.create_users();
        match request {
            ToHub::Started { reactor, thread } => {
                let reactor = &mut self.reactors[usize::from(reactor)];
                reactor.thread = thread;
                reactor.started = self.now.micros;
            }
            ToHub::Join { origin, join, first } => self.join(origin, &join, first),
            ToHub::Leave { reactor, topics, last } => self.leave(reactor, &topics, last),
            ToHub::Read { origin, after, topics } => self.reads.push_back(WaitingRead { origin, after, topics }),
            request @ (ToHub::Publish { .. } | ToHub::Delete { .. } | ToHub::Write { .. } | ToHub::Alter { .. })
                if self.must_hold() =>
            {
                self.hold(request);
            }
            ToHub::Publish { origin, entries, report } => self.publish(origin, entries, report),
            ToHub::Delete { origin, topics, payload } => self.delete(origin, topics, payload),
            ToHub::Write { origin, write } => self.write(origin, write),
            ToHub::Alter { origin, alter } => self.alter(origin, *alter),
            ToHub::Ask { origin, question } => self.ask(origin, question),
            ToHub::Settings(settings) => self.change_settings(*settings),
            ToHub::Introduce { reactor, connection, conversation } => {
                if let Some(waited) = self.conversations.introduce(conversation, reactor, connection) {
                    self.reply(waited, Answer::Resumed(None));
                }
            }
            ToHub::Part { reactor, connection, legacy } => self.part(reactor, connection, legacy),
            ToHub::Storage(report) => self.hear(report),
            ToHub::Turned(_) | ToHub::Stop => {}
        }
        self.count();
    }

    /// Lets time pass: ages, idle topics, heartbeats, keys, positions, conversations, endpoints. The work of one call is bounded.
    pub fn tick(&mut self, now: Now) {
        self.enter(now);
        self.release();
        self.expire(EXPIRED_PER_TICK);
        self.expire_records();
        self.sweep(EXPIRED_PER_TICK);
        self.beat();
        self.create_users();
        self.settle();
        self.count();
    }

    /// What is on the way to a reactor, in messages and payload bytes: told before a batch, since an overfull
    /// queue makes the hub refuse publications to it.
    pub fn set_queued(&mut self, reactor: usize, messages: usize, bytes: usize) {
        self.reactors[reactor].queued = (messages, bytes);
    }

    /// Moves what this reactor must be told to the end of `into`, in order.
    pub fn take_replies(&mut self, reactor: usize, into: &mut Vec<ToReactor>) {
        into.append(&mut self.reactors[reactor].replies);
    }

    /// Answers to publications, deletions and writes. They are handed over after the replies to all reactors, so that
    /// whoever has read one finds the messages everywhere.
    pub fn take_acknowledgements(&mut self) -> impl Iterator<Item = (usize, ToReactor)> {
        std::mem::take(&mut self.acknowledgements).into_iter()
    }

    /// Nobody is there any more who could ask.
    pub fn close(&mut self, now: Now) {
        self.enter(now);
        self.release();
        let head = self.sequencer.last();
        if let Some(durable) = self.durable() {
            durable.close(head);
        }
    }

    fn enter(&mut self, now: Now) {
        debug_assert!(now.micros >= self.now.micros, "the monotonic clock went back");
        self.now = now;
    }

    fn ask(&mut self, origin: Origin, question: Question) {
        self.advance();
        let answer = match question {
            Question::Head => Answer::Head(self.released),
            Question::Report(selection) => Answer::Report(Box::new(self.report(&selection))),
            Question::History { missed, reach } => Answer::History(self.history(&missed, reach)),
            Question::Resume(conversation) => return self.resume(conversation, origin),
            // Through the gate, so that it passes no message that was ordered before it.
            Question::Announce(notice) => {
                return self.submit(SmallVec::new(), Waiting::Announced { origin, notice: Arc::new(notice) });
            }
            Question::Document(name) => Answer::Document(self.document(&name)),
            Question::Issue { token, grant, user_max } => return self.issue(origin, token, grant, user_max),
            Question::Grant(token) => Answer::Grant(self.tokens.find(token, self.now.unix_millis())),
            Question::Records { endpoint, of } => Answer::Records(self.records.list(&endpoint, of), self.released),
            Question::RecordsById { endpoint, ids, of } => Answer::RecordsById(self.records.by_id(&endpoint, &ids, of)),
            Question::RecordNamed { endpoint, name } => Answer::RecordNamed(self.records.named(&endpoint, &name)),
            Question::Revoke(revocation) => {
                if let Some(refusal) = self.storage_refusal() {
                    return self.reply(origin, Answer::Refused(refusal));
                }
                let notice = Arc::new(Notice::Revoked(revocation.clone()));
                self.tokens.order_revocation(&revocation);
                return self.submit(smallvec![Change::Revoke(Box::new(revocation))], Waiting::Announced { origin, notice });
            }
        };
        self.reply(origin, answer);
    }

    fn issue(&mut self, origin: Origin, token: TokenDigest, grant: Grant, user_max: u32) {
        let fits = |hub: &mut Hub| hub.tokens.reserve(hub.settings.tokens_max);
        let refusal = self.storage_refusal().or_else(|| {
            // Expired ones may make room.
            let room = fits(self) || {
                self.expire_tokens(EXPIRED_PER_TICK);
                fits(self)
            };
            (!room).then_some(Refusal::OutOfMemory)
        });
        match refusal {
            None => {
                let revoked = self.tokens.order_issue(token, &grant, user_max);
                let mut changes = smallvec![Change::Issue(Box::new((token, grant)))];
                changes.extend(revoked.iter().map(|&token| Change::Revoke(Box::new(Revocation::Token(token)))));
                self.submit(changes, Waiting::Issued { origin, revoked });
            }
            Some(refusal) => self.reply(origin, Answer::Refused(refusal)),
        }
    }

    /// Answered now, or when the conversation's connection has ended. If the resumer's own has ended by then, his reactor
    /// drops the answer, and what was left is lost.
    fn resume(&mut self, conversation: ConversationId, origin: Origin) {
        match self.conversations.resume(conversation, origin, self.now.micros) {
            Resumption::Unknown => self.reply(origin, Answer::Resumed(None)),
            Resumption::Left(state) => self.reply(origin, Answer::Resumed(Some((state, self.released)))),
            Resumption::Waits { tell, in_vain } => {
                if let Some((reactor, connection)) = tell {
                    let notice = Box::new(Notice::TakenOver);
                    self.reactors[usize::from(reactor)].replies.push(ToReactor::Notice { connection, notice });
                }
                if let Some(origin) = in_vain {
                    self.reply(origin, Answer::Resumed(None));
                }
            }
        }
    }

    fn part(&mut self, reactor: u16, connection: Token, legacy: Legacy) {
        self.advance();
        let Legacy { conversation, state } = legacy;
        let left = state.clone().map(|(state, time)| (state, self.now.after(time)));
        if let Some(resumer) = self.conversations.part(conversation, reactor, connection, left) {
            self.reply(resumer, Answer::Resumed(state.map(|(state, _)| (state, self.released))));
        }
        self.conversations.bound(self.settings.conversations_max, self.settings.conversation_bytes_max);
    }

    fn reply(&mut self, origin: Origin, answer: Answer) {
        let reply = ToReactor::Answer { connection: origin.connection, ticket: origin.ticket, answer: Box::new(answer) };
        self.reactors[usize::from(origin.reactor)].replies.push(reply);
    }

    /// `kept`: the answer says of something that it is, for which a commit may have to be awaited.
    fn acknowledge(&mut self, origin: Origin, kept: bool, answer: Answer) {
        if let Some(storing) = &mut self.storing
            && let Some(unit) = self.engine.durable().and_then(|durable| durable.uncommitted())
        {
            return storing.answer_after(unit, storing::Late { origin, kept, answer });
        }
        self.acknowledge_now(origin, answer);
    }

    fn acknowledge_now(&mut self, origin: Origin, answer: Answer) {
        let reply = ToReactor::Answer { connection: origin.connection, ticket: origin.ticket, answer: Box::new(answer) };
        self.acknowledgements.push((usize::from(origin.reactor), reply));
    }

    /// Brings the released head into the second of the clock, if nothing is on its way that would do so.
    fn advance(&mut self) {
        if self.waiting.is_empty() && self.sequencer.enter_second(self.now).is_some() {
            self.submit(SmallVec::new(), Waiting::Nothing);
        }
    }

    fn submit(&mut self, changes: SmallVec<[Change; 1]>, then: Waiting) {
        self.engine.submit(Transaction { head: self.sequencer.last(), unix_micros: self.now.unix_micros, changes });
        self.unsettle();
        if self.waiting.is_empty()
            && let Some(transaction) = self.engine.ordered()
        {
            // Most are applied at once, and what follows need not queue.
            return self.apply(transaction, then);
        }
        self.waiting.push_back((self.now.micros, then));
        self.release();
    }

    /// Applies what the engine returns. Nothing else changes what can be seen from outside.
    fn release(&mut self) {
        // The engine has none that nothing follows on.
        while !self.waiting.is_empty()
            && let Some(transaction) = self.engine.ordered()
        {
            let (_, then) = self.waiting.pop_front().expect("each transaction was submitted with what follows it");
            self.apply(transaction, then);
        }
    }

    fn apply(&mut self, transaction: Transaction, then: Waiting) {
        debug_assert!(transaction.head >= self.released);
        for change in transaction.changes {
            match change {
                Change::Append { topic, message, .. } => self.append(topic, message),
                Change::Remove { topic, message, .. } => self.remove(topic, &message),
                Change::Issue(issued) => self.tokens.issue(issued.0, issued.1),
                Change::Revoke(revocation) => self.tokens.revoke(*revocation),
                Change::Alter { endpoint, records } => self.altered(&endpoint, &records),
            }
        }
        self.released = transaction.head;
        match then {
            Waiting::Nothing | Waiting::User(_) => {}
            Waiting::Published { origin, published, report, kept } => {
                let report = report.map(|selection| Box::new(self.report(&selection)));
                self.acknowledge(origin, kept, Answer::Published { published, report });
            }
            Waiting::Deleted { origin, topics } => self.acknowledge(origin, topics > 0, Answer::Deleted(topics)),
            Waiting::Refused { origin, refusal } => self.acknowledge(origin, false, Answer::Refused(refusal)),
            Waiting::Announced { origin, notice } => {
                self.announce(&notice);
                self.acknowledge(origin, matches!(*notice, Notice::Revoked(_)), Answer::Announced);
            }
            Waiting::Written { origin, result } => self.acknowledge(origin, result.is_ok(), Answer::Written(result)),
            Waiting::Altered { origin, result, notice } => {
                notice.iter().for_each(|notice| self.announce(notice));
                self.acknowledge(origin, result.is_ok(), Answer::Altered(result));
            }
            Waiting::Revoked(revoked) => self.announce_revoked(revoked),
            Waiting::Issued { origin, revoked } => {
                self.announce_revoked(revoked);
                self.acknowledge(origin, true, Answer::Issued);
            }
        }
    }

    fn announce_revoked(&mut self, tokens: Vec<TokenDigest>) {
        for token in tokens {
            self.announce(&Arc::new(Notice::Revoked(Revocation::Token(token))));
        }
    }

    fn announce(&mut self, notice: &Arc<Notice>) {
        for reactor in &mut self.reactors {
            reactor.replies.push(ToReactor::Announce(notice.clone()));
        }
    }

    /// Writes the sums to where the metrics are read.
    fn count(&mut self) {
        let pending = self.durable().map_or(0, |durable| durable.pending_bytes());
        let metrics = &self.metrics.hub;
        metrics.storage_pending_bytes.store(pending as u64, Relaxed);
        metrics.messages_in.store(self.totals.messages_in, Relaxed);
        metrics.bytes_in.store(self.totals.bytes_in, Relaxed);
        metrics.topics.store(self.totals.topics, Relaxed);
        metrics.stored.store(self.totals.logged, Relaxed);
        metrics.stored_bytes.store(self.totals.log_bytes, Relaxed);
        metrics.subscriptions.store(self.totals.subscriptions, Relaxed);
        metrics.documents.store(self.totals.documents, Relaxed);
        metrics.records.store(self.totals.records, Relaxed);
        metrics.endpoints.store(self.records.endpoints() as u64, Relaxed);
        metrics.evicted.store(self.totals.evicted, Relaxed);
        metrics.refused.store(self.totals.refused, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Cursor, StartAt};
    use crate::hub::testing::{BEGIN, Bench, Gate, entry, settings, text, topic};
    use crate::message::Seq;

    #[test]
    fn nothing_is_delivered_answered_or_read_before_the_engine_returns_it() {
        let mut bench = Bench::new(settings());
        let joined = bench.join(1, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
        let before = bench.head();
        let (gate, allowed) = Gate::shut();
        bench.hub.engine = Box::new(gate);
        let (now, mut replies) = (bench.now, Vec::new());
        for payload in ["1", "2"] {
            let entries = vec![entry("a", payload)];
            bench.hub.handle(ToHub::Publish { origin: Bench::origin(0), entries, report: None }, now);
        }
        bench.pass(Duration::from_secs(1));
        let now = bench.now;
        bench.hub.handle(ToHub::Ask { origin: Bench::origin(0), question: Question::Head }, now);
        assert_eq!(bench.hub.waiting.len(), 2, "a second is entered when nothing waits before it");
        bench.hub.take_replies(1, &mut replies);
        assert!(replies.is_empty());
        assert_eq!(bench.hub.take_acknowledgements().count(), 0);
        bench.hub.take_replies(0, &mut replies);
        let Some(ToReactor::Answer { answer, .. }) = replies.pop() else { panic!("the head is known") };
        assert!(matches!(*answer, Answer::Head(head) if head == before));

        allowed.store(1, Relaxed);
        bench.hub.tick(now);
        bench.hub.take_replies(1, &mut replies);
        assert!(matches!(&replies[..], [ToReactor::Deliver { message, .. }] if text(message) == "a:1"));
        let acknowledgements: Vec<_> = bench.hub.take_acknowledgements().collect();
        let [(0, ToReactor::Answer { answer, .. })] = &acknowledgements[..] else { panic!("{acknowledgements:?}") };
        let Answer::Published { published, .. } = &**answer else { panic!("{answer:?}") };
        assert_eq!(bench.hub.released, published[0].stamp);

        allowed.store(9, Relaxed);
        let page = bench.read(&joined, Seq(0));
        assert_eq!(page.messages.iter().map(|(_, message)| text(message)).collect::<Vec<_>>(), ["a:1", "a:2"]);
    }

    #[test]
    fn an_announcement_reaches_every_reactor_behind_the_messages_before_it_and_then_its_author() {
        let mut bench = Bench::new(settings());
        bench.join(1, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
        bench.inbox(1);
        let (gate, allowed) = Gate::shut();
        bench.hub.engine = Box::new(gate);
        let (now, origin) = (bench.now, Bench::origin(0));
        bench.hub.handle(ToHub::Publish { origin, entries: vec![entry("a", "1")], report: None }, now);
        let notice = Notice::Disconnect { name: "somebody".into(), reconnect: true };
        bench.hub.handle(ToHub::Ask { origin, question: Question::Announce(notice.clone()) }, now);
        let mut replies = Vec::new();
        bench.hub.take_replies(1, &mut replies);
        assert!(replies.is_empty());
        assert_eq!(bench.hub.take_acknowledgements().count(), 0);
        allowed.store(2, Relaxed);
        bench.hub.tick(now);
        bench.hub.take_replies(1, &mut replies);
        assert!(matches!(&replies[..], [ToReactor::Deliver { .. }, ToReactor::Announce(told)] if **told == notice));
        bench.hub.take_replies(0, &mut replies);
        assert!(matches!(&replies[2..], [ToReactor::Announce(told)] if **told == notice));
        let answers: Vec<_> = bench.hub.take_acknowledgements().collect();
        let [_, (0, ToReactor::Answer { answer, .. })] = &answers[..] else { panic!("{answers:?}") };
        assert!(matches!(**answer, Answer::Announced));
    }

    #[test]
    fn the_first_stamps_come_from_the_clock() {
        let now = Now { micros: 5, unix_micros: BEGIN * 1_000_000 + 250 };
        let mut hub = Hub::new(settings(), 1, now, Arc::new(Metrics::new(1)));
        hub.handle(ToHub::Publish { origin: Bench::origin(0), entries: vec![entry("a", "1")], report: None }, now);
        assert_eq!(hub.history_begins, Stamp { seq: Seq(now.unix_micros), seconds: BEGIN, tag: 250_000 });
        assert_eq!(hub.released.position(), (BEGIN, 250_001));
    }

    #[test]
    fn the_metrics_show_the_sums() {
        let mut bench = Bench::new(settings());
        bench.join(0, vec![topic("a", StartAt::Now), topic("b", StartAt::Now)], Cursor::default()).unwrap();
        bench.publish("a", "12345");
        bench.publish_unstored("c", "1");
        bench.delete(&["b"]);
        let metrics = &bench.metrics.hub;
        let read = [&metrics.messages_in, &metrics.bytes_in, &metrics.topics, &metrics.stored, &metrics.subscriptions];
        assert_eq!(read.map(|number| number.load(Relaxed)), [2, 6, 2, 1, 1]);
        assert_eq!(metrics.stored_bytes.load(Relaxed), log::kept_bytes(b"12345", None));
        bench.delete(&["a"]);
        let metrics = &bench.metrics.hub;
        let read = [&metrics.topics, &metrics.stored, &metrics.stored_bytes, &metrics.subscriptions, &metrics.evicted];
        assert_eq!(read.map(|number| number.load(Relaxed)), [1, 0, 0, 0, 1]);
    }
}
