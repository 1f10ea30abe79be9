//! The contract between the reactor and a dialect: bytes of a client come in as [`Inbound`], wishes go out as [`Action`]s.

use crate::access::SharedAccess;
use crate::clock::Now;
use crate::exchange::{
    Alter, Answer, ConversationId, Entry, Join, Joined, Legacy, Notice, Question, Refusal, Selection, SubscriptionId, Write,
};
use crate::http::body::BodyError;
use crate::http::head::{Head, HeadError};
use crate::http::response::Response;
use crate::message::{Encoder, EncodingId, Frame, Message, TopicName};
use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// Which of the server's doors a request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Public,
    Admin,
    /// `fanwire dev`: everything is on the one port.
    Both,
}

/// A complete request head and where it came from.
pub struct Request<'a> {
    pub head: &'a Head<'a>,
    pub door: Door,
    pub peer: IpAddr,
    /// Index of the reactor that serves it: shown by `/health`.
    pub reactor: u16,
    pub now: Now,
    /// The server is about to stop: who asks now had better ask another one.
    pub draining: bool,
    /// The server has all the connections that it may have: whoever asks now is turned away, and its connection ends.
    pub full: bool,
}

/// One of the protocols that are spoken here.
pub trait Dialect: Send + Sync {
    /// Under which its connections are counted.
    fn name(&self) -> &'static str;

    /// Takes the request, or says `None`: not a path of this dialect.
    ///
    /// What is asked of `actions` is carried out as soon as the session stands.
    fn open(&self, request: &Request<'_>, actions: &mut Actions) -> Option<Opening>;

    /// In place of that when the server is [full](Request::full).
    fn turn_away(&self, request: &Request<'_>, _actions: &mut Actions) -> Option<Opening> {
        self.head_limits(request.head.path()).map(|_| Opening::full())
    }

    /// The limits for the rest of the head once its request line is known; `None`: not a path of this dialect.
    fn head_limits(&self, path: &str) -> Option<HeadLimits>;
}

/// What a dialect allows a request of one of its paths.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of the request line.
    pub line_bytes_max: usize,
    /// Bytes after the request line.
    pub field_bytes_max: usize,
    /// A larger body is refused as soon as that is known, but for one that is taken in [parts](BodyMode::Parts); what
    /// [`Dialect::open`] answers at once comes before that.
    pub body_bytes_max: u64,
    /// That refusal, and that of a body that breaks a rule, in the dialect's words; the connection ends after it.
    pub body_refused: fn(BodyError) -> Response,
    /// The answer to a head that is too large or breaks a rule; the connection ends after it.
    pub head_refused: fn(HeadError) -> Response,
}

/// How a request goes on.
pub enum Opening {
    /// `upgrade` is the 101 that [`Actions::accept`] sends. Until then, or a [`Actions::respond`], the socket only buffers.
    WebSocket {
        session: Box<dyn Session>,
        upgrade: Response,
    },
    /// The session answers in its own time.
    Hold {
        session: Box<dyn Session>,
        body: BodyMode,
    },
    Respond(Response),
}

impl Opening {
    /// The server is full, for a dialect that has no words of its own for it.
    pub fn full() -> Opening {
        Opening::Respond(Response::new(503).field("Retry-After", "1").closing())
    }
}

/// What a session gets of the body of its request.
///
/// While it does not [accept input](Session::accepts_input) it gets none of it, not even its end; the rest stays in the
/// kernel, and a client that waits for a 100 is not told to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyMode {
    Dropped,
    /// One [`Inbound::Body`], empty if there is none.
    Whole,
    /// Any number of [`Inbound::Part`]s as they arrive, then [`Inbound::End`]. No limit but the session's own: what the client
    /// announces stands in [`Head::body`]. Of what is left when it responds, [`HeadLimits::body_bytes_max`] is dropped; a
    /// connection with more to come ends.
    Parts,
}

/// One client's conversation: pure, and small if it may idle, since beside its slot it is what such a connection costs.
pub trait Session: Send {
    fn limits(&self) -> &ConnectionLimits;

    fn received(&mut self, inbound: Inbound<'_>, actions: &mut Actions);

    /// So many frames of a message came, but for its last one, which is received as the message.
    fn fragments(&mut self, _count: u32, _actions: &mut Actions) {}

    /// The hub attached every topic of a join. Backlog and live messages follow.
    fn joined(&mut self, _joined: &Joined, _actions: &mut Actions) {}

    fn refused(&mut self, _refusal: Refusal, _actions: &mut Actions) {}

    /// A live message of a [`Delivery::PerSubscriber`] subscription.
    fn delivered(&mut self, _id: SubscriptionId, _message: &Arc<Message>, _actions: &mut Actions) {}

    /// A page of missed messages of [`Delivery::PerSubscriber`] subscriptions; the next one follows unless `complete`.
    /// After each join of such subscriptions there is exactly one `complete` page, at once and empty if nothing was missed.
    fn page(&mut self, _messages: &[Arc<Message>], _complete: bool, _actions: &mut Actions) {}

    /// The topic of this subscription was deleted; `message` says so. A shared subscription has been sent it already.
    /// `remaining` subscriptions are left.
    fn removed(&mut self, _id: SubscriptionId, _message: &Arc<Message>, _remaining: usize, _actions: &mut Actions) {}

    fn answered(&mut self, _answer: Answer, _actions: &mut Actions) {}

    /// What [`Actions::work`] asked for is done.
    fn worked(&mut self, _result: Box<dyn Any + Send>, _actions: &mut Actions) {}

    /// Something was announced to every session, or to this one.
    fn noticed(&mut self, _notice: &Notice, _actions: &mut Actions) {}

    /// The connection ends: what a later one of the same conversation may ask for.
    fn legacy(&self) -> Option<Legacy> {
        None
    }

    /// The time asked for with [`Actions::wake_at`] has come.
    fn woken(&mut self, _actions: &mut Actions) {}

    /// The client took nothing for too long, or the log no longer reaches back to it.
    fn too_slow(&mut self, actions: &mut Actions);

    /// The [refusal](HeadLimits::body_refused) of the body that is arriving, with the fields that all answers of this session have.
    fn dressed(&self, refusal: Response) -> Response {
        refusal
    }

    /// What the close says with this code when the client breaks a rule of the protocol.
    fn violation(&self, _code: u16) -> &'static str {
        ""
    }

    /// The server stops: say goodbye.
    fn draining(&mut self, actions: &mut Actions);

    /// The access rules changed: end what they no longer allow. `topics` are the joined ones.
    fn review(&mut self, _topics: &[(SubscriptionId, TopicName)], _actions: &mut Actions) {}

    /// Bytes that it has collected of a body that it takes in [parts](BodyMode::Parts): they count among those of unfinished
    /// requests, whose sum is bounded.
    fn collected_bytes(&self) -> usize {
        0
    }

    /// False: read no more of this client until an answer has come (back-pressure by TCP).
    fn accepts_input(&self) -> bool {
        true
    }
}

/// The session of one who is told why it may not come in: it waits for the answer to our close.
pub struct TurnedAway(pub ConnectionLimits);

impl Session for TurnedAway {
    fn limits(&self) -> &ConnectionLimits {
        &self.0
    }

    fn received(&mut self, _inbound: Inbound<'_>, _actions: &mut Actions) {}

    fn too_slow(&mut self, actions: &mut Actions) {
        actions.hangup();
    }

    fn draining(&mut self, _actions: &mut Actions) {}
}

/// What one kind of session allows its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// WebSocket message, announced or summed over fragments; beyond it the connection is closed with 1009.
    pub message_bytes_max: usize,
    pub message_fragments_max: u32,
    /// Bytes waiting for a socket that refuses; beyond it the log is the queue.
    pub outbox_bytes_max: usize,
    /// How long bytes may wait without one of them being taken.
    pub no_progress: Duration,
    /// How long to wait for the peer after our close. With none at all it does not get what it does not take at once, either.
    pub close_time: Duration,
    /// How long what a WebSocket was sent may stay unacknowledged before the kernel ends it; `None`: as long as on any other
    /// connection.
    pub user_timeout: Option<Duration>,
}

/// The limits of one kind of session, which differ only in how long to wait for the answer to our close.
#[derive(Clone, Debug)]
pub struct LimitsByEnd {
    pub usual: ConnectionLimits,
    /// While the server stops.
    pub stop: ConnectionLimits,
    /// Of one who has fallen silent: it is not waited for.
    pub silence: ConnectionLimits,
}

impl LimitsByEnd {
    /// `answering` is what an answer may take while the server stops.
    pub fn new(usual: ConnectionLimits, answering: Duration) -> LimitsByEnd {
        let within = |close_time| ConnectionLimits { close_time, ..usual.clone() };
        LimitsByEnd { stop: within(answering), silence: within(Duration::ZERO), usual }
    }
}

/// What came from the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Inbound<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    /// Already answered with a pong.
    Ping,
    Pong,
    /// The peer closes; answer with [`Actions::close`].
    Close(Option<u16>),
    /// The whole body of a request that takes one.
    Body(Vec<u8>),
    /// The next bytes of a body that is taken in parts; never empty.
    Part(&'a [u8]),
    /// No part follows.
    End,
}

/// How messages of a subscription reach its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The same frame for every subscriber; the session is not asked.
    Shared(EncodingId),
    /// A text frame of `prefix`, which is the subscriber's own, and what the encoder makes, which everybody shares.
    Prefixed { encoding: EncodingId, prefix: Frame },
    /// The session gets each message.
    PerSubscriber,
}

/// Who waits behind whom: each has threads of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkQueue {
    /// Hashes that are slow on purpose.
    Passwords,
    /// Merges of large documents, and long lists.
    Documents,
}

/// What a session has done elsewhere, since it would keep its reactor too long.
pub struct Job(Box<dyn FnOnce() -> Box<dyn Any + Send> + Send>);

impl Job {
    pub fn new<R: Any + Send>(job: impl FnOnce() -> R + Send + 'static) -> Job {
        Job(Box::new(move || Box::new(job())))
    }

    /// `None`: it panicked.
    pub fn run(self) -> Option<Box<dyn Any + Send>> {
        catch_unwind(AssertUnwindSafe(self.0)).ok()
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Job(…)")
    }
}

/// What is large is boxed: each is moved as the largest of them.
#[derive(Debug)]
pub enum Action {
    Accept,
    Respond(Response),
    Begin(Response),
    Send(Frame),
    Ping(Frame),
    Replay { encoding: EncodingId, prefix: Frame, messages: Vec<Arc<Message>> },
    Introduce(ConversationId),
    Finish,
    Discard,
    Close { code: Option<u16>, reason: String },
    Hangup,
    Join { join: Box<Join>, delivery: Delivery },
    Leave(Vec<SubscriptionId>),
    Publish { entries: Vec<Entry>, report: Option<Selection> },
    Delete { topics: Vec<TopicName>, payload: Arc<[u8]> },
    Write(Write),
    Alter(Box<Alter>),
    Show { encoding: EncodingId, message: Arc<Message> },
    Shown(Arc<Message>),
    Ask(Question),
    Work { queue: WorkQueue, job: Job },
    WakeAt(u64),
}

const _: () = assert!(size_of::<Action>() <= 112, "a wish is moved several times");

/// The wishes of a session, carried out in order after it returns; and what it may know of its connection.
#[derive(Debug, Default)]
pub struct Actions {
    pub now: Now,
    /// Monotonic microseconds at which the connection was last given something to send (0.1 s resolution).
    pub sent_at: u64,
    /// Whether any byte came from the client since the last [`Actions::wake_at`].
    pub heard: bool,
    /// The connection is still reading what it missed.
    pub catching_up: bool,
    /// Numbers the connections of a reactor, small numbers first: spreads what would else happen at one instant.
    pub index: u32,
    list: Vec<Action>,
}

impl Actions {
    pub fn new(now: Now) -> Actions {
        Actions { now, ..Actions::default() }
    }

    /// Sends the 101 of [`Opening::WebSocket`].
    pub fn accept(&mut self) {
        self.list.push(Action::Accept);
    }

    /// The whole answer to the request, which ends its session and every subscription of it.
    pub fn respond(&mut self, response: Response) {
        self.list.push(Action::Respond(response));
    }

    /// Sends the head of an endless answer: chunked, or until close for HTTP/1.0.
    pub fn begin(&mut self, response: Response) {
        self.list.push(Action::Begin(response));
    }

    /// Sends bytes as they are, between two frames.
    pub fn send(&mut self, frame: impl Into<Frame>) {
        self.list.push(Action::Send(frame.into()));
    }

    /// Sends bytes behind everything that is queued; takes the place of an earlier ping that still waits for the socket.
    pub fn ping(&mut self, frame: Frame) {
        self.list.push(Action::Ping(frame));
    }

    /// Sends messages as [`Delivery::Prefixed`] does, whenever they were published.
    pub fn replay(&mut self, encoding: EncodingId, prefix: Frame, messages: Vec<Arc<Message>>) {
        self.list.push(Action::Replay { encoding, prefix, messages });
    }

    /// Until it ends, this connection is that of the conversation: see [`Entry::except`], [`Question::Resume`] and
    /// [`Session::legacy`].
    pub fn introduce(&mut self, conversation: ConversationId) {
        self.list.push(Action::Introduce(conversation));
    }

    /// Ends an endless answer (the last chunk is written for the session) and the session with it.
    pub fn finish(&mut self) {
        self.list.push(Action::Finish);
    }

    /// Gives up what is queued for a WebSocket, but for a frame that is partly sent: what it may no longer see.
    pub fn discard(&mut self) {
        self.list.push(Action::Discard);
    }

    /// Sends a WebSocket close and ends the session; nothing follows. Before the 101 it accepts first.
    pub fn close(&mut self, code: Option<u16>, reason: impl Into<String>) {
        self.list.push(Action::Close { code, reason: reason.into() });
    }

    /// Ends TCP without a word, after what is queued.
    pub fn hangup(&mut self) {
        self.list.push(Action::Hangup);
    }

    pub fn join(&mut self, join: Join, delivery: Delivery) {
        self.list.push(Action::Join { join: Box::new(join), delivery });
    }

    pub fn leave(&mut self, ids: Vec<SubscriptionId>) {
        self.list.push(Action::Leave(ids));
    }

    /// All or nothing; answered with [`Answer::Published`] or [`Answer::Refused`].
    pub fn publish(&mut self, entries: Vec<Entry>, report: Option<Selection>) {
        self.list.push(Action::Publish { entries, report });
    }

    /// Answered with [`Answer::Deleted`].
    pub fn delete(&mut self, topics: Vec<TopicName>, payload: Arc<[u8]>) {
        self.list.push(Action::Delete { topics, payload });
    }

    /// Answered with [`Answer::Written`].
    pub fn write(&mut self, write: Write) {
        self.list.push(Action::Write(write));
    }

    /// Answered with [`Answer::Altered`].
    pub fn alter(&mut self, alter: Alter) {
        self.list.push(Action::Alter(Box::new(alter)));
    }

    /// Sends the frame of one message, which everybody shares who is sent that message in this encoding, and counts as [shown](Actions::shown).
    pub fn show(&mut self, encoding: EncodingId, message: Arc<Message>) {
        self.list.push(Action::Show { encoding, message });
    }

    /// What was just sent shows this message: a connection that lags does not read it once more.
    pub fn shown(&mut self, message: Arc<Message>) {
        self.list.push(Action::Shown(message));
    }

    pub fn ask(&mut self, question: Question) {
        self.list.push(Action::Ask(question));
    }

    /// Has something slow done on another thread. [`Session::worked`] hears what it returns, unless this session has ended by then;
    /// if it panics, the connection ends. When the queue is full, it is answered with [`Answer::Refused`] and [`Refusal::Busy`].
    pub fn work<R: Any + Send>(&mut self, queue: WorkQueue, job: impl FnOnce() -> R + Send + 'static) {
        self.list.push(Action::Work { queue, job: Job::new(job) });
    }

    /// Calls [`Session::woken`] at this monotonic microsecond or up to 0.1 s later, once; replaces an earlier wish.
    pub fn wake_at(&mut self, micros: u64) {
        self.list.push(Action::WakeAt(micros));
    }

    /// What was asked for, in order; empties the list.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Action> {
        self.list.drain(..)
    }

    /// The same as a list, which may [come back](Actions::reuse).
    pub fn take(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.list)
    }

    /// The memory of a list that is carried out is for the next one.
    pub fn reuse(&mut self, list: Vec<Action>) {
        if self.list.is_empty() && list.is_empty() {
            self.list = list;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// Everything that is spoken here, of one generation of the configuration.
pub struct Registry {
    dialects: Vec<Arc<dyn Dialect>>,
    encoders: Encoders,
    access: SharedAccess,
}

impl Registry {
    pub fn new(dialects: Vec<Arc<dyn Dialect>>, encoders: Encoders, access: SharedAccess) -> Registry {
        Registry { dialects, encoders, access }
    }

    /// The next second after this one at which a token expires: subscriptions have to be reviewed then.
    pub fn next_expiry(&self, unix_seconds: u64) -> Option<u64> {
        self.access.load().next_expiry(unix_seconds)
    }

    /// The first dialect that knows the path opens it, or turns it away.
    pub fn open(&self, request: &Request<'_>, actions: &mut Actions) -> Option<(&'static str, Opening)> {
        self.dialects.iter().find_map(|dialect| {
            let opening = if request.full { dialect.turn_away(request, actions) } else { dialect.open(request, actions) };
            Some((dialect.name(), opening?))
        })
    }

    pub fn head_limits(&self, path: &str) -> Option<HeadLimits> {
        self.dialects.iter().find_map(|dialect| dialect.head_limits(path))
    }

    pub fn encoder(&self, encoding: EncodingId) -> &dyn Encoder {
        &*self.encoders.list[usize::from(encoding.0)]
    }
}

/// The encoders of all dialects. Survives reloads, so that a session of an older configuration still finds its own.
#[derive(Clone, Default)]
pub struct Encoders {
    list: Vec<Arc<dyn Encoder>>,
    keys: HashMap<String, EncodingId>,
}

impl Encoders {
    /// Registers an encoder once per `key`: two with one key must write the same bytes.
    pub fn add(&mut self, key: String, encoder: Arc<dyn Encoder>) -> EncodingId {
        if let Some(&known) = self.keys.get(&key) {
            return known;
        }
        let id = EncodingId(u16::try_from(self.list.len()).expect("fewer than 65,536 different templates in one process"));
        self.list.push(encoder);
        self.keys.insert(key, id);
        id
    }
}
