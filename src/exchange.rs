//! What a session may ask of the hub, and what the hub answers: the words that both sides share.

mod records;

use crate::message::{EventFields, Message, Seq, Stamp, TopicName};
use crate::record::{Record, RecordId, RecordList};
pub use records::{
    Alter, AlterRefusal, Alteration, EndpointLog, EndpointSettings, JoinRecords, NewRecord, SEPARATOR, endpoint_topic,
    is_of_endpoint, is_of_owner, owner_topic, token_group, token_group_of,
};
use smallvec::SmallVec;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// Names one subscription of one connection. Chosen by its session, unique within the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(pub u16);

/// The hub's handle of a topic. A topic that is forgotten and comes back has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId {
    pub index: u32,
    pub generation: u32,
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// After the released head of the moment it is joined.
    Now,
    /// After the cursor of the [`Join`]; like `Now` if that has none.
    Cursor,
    /// With the last so many stored messages, whatever the cursor says.
    Last(u32),
    /// After this place in the order, if every stored message since then is still there; else like `Now`, and that is a gap.
    After(Seq),
}

/// "I have everything up to here", said once for all topics of a [`Join`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Unix seconds and tag; without a tag everything of that second counts as seen. Seconds 0 is the epoch:
    /// everything stored, and never a gap.
    pub stamp: Option<(u64, Option<u64>)>,
    pub event: Option<EventCursor>,
}

/// A cursor by event id. With a stamp beside it the smaller of both wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventCursor {
    /// The oldest stored message of the joined topics with this event id names the stamp.
    pub id: Box<[u8]>,
    /// The stamp if no such message is stored; without one the id is unknown, which is a gap.
    pub otherwise: Option<(u64, u64)>,
}

/// How far back a dialect shows what a topic keeps: the log has the largest window of all dialects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The newest so many stored messages.
    pub count: usize,
    /// Not older than this.
    pub age: Duration,
}

impl Reach {
    /// Everything that is kept.
    pub const EVERYTHING: Reach = Reach { count: usize::MAX, age: Duration::MAX };
}

impl Default for Reach {
    fn default() -> Reach {
        Reach::EVERYTHING
    }
}

/// All topics of one request. The hub attaches all or none, at one instant.
#[derive(Clone, Debug, Default)]
pub struct Join {
    pub topics: Vec<JoinTopic>,
    pub cursor: Cursor,
    /// What is stored beyond it counts as gone.
    pub reach: Reach,
    /// Refuse when a topic already has this many subscriptions; 0 = no limit.
    pub subscribers_max: u32,
    /// Answered with [`Joined::replay`]: what these topics have missed, all of it or nothing.
    pub history: Option<Vec<Missed>>,
    /// There is exactly one topic, it starts `Now`, and it is a document, which counts in this group. Refused with
    /// [`Refusal::TooManyTopics`] if too many are awaited there.
    pub document: Option<Group>,
    /// Its topics are those of an endpoint or of owners there. Whether what comes after a [`StartAt::After`] is still there is
    /// judged by what the endpoint's topic keeps: it has all that the others have.
    pub records: Option<JoinRecords>,
}

/// What documents are counted in, and how many there may be. A document is a topic that keeps its newest message only: a state,
/// whose `id` is its version. The payload `null` says that it was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// So many bytes of the topic's name are the name of the group. Not 0, and the same for every request about that topic.
    pub bytes: usize,
    /// Documents that may exist in it.
    pub documents_max: u64,
    /// Documents that may be subscribed to without existing.
    pub awaited_max: u64,
}

/// A new state of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub topic: TopicName,
    /// `null` deletes a document, which has to exist for that.
    pub value: Arc<[u8]>,
    pub group: Group,
    /// Refuse unless the document exists.
    pub must_exist: bool,
    pub condition: Option<Condition>,
    /// A value equal to the present one changes nothing.
    pub skip_equal: bool,
}

/// What a document has to be before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Absent,
    Present,
    /// It exists with this version.
    Version(i64),
}

/// A document has this state now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Unix milliseconds; grows with each write of the document, whatever the clock does.
    pub version: i64,
    /// It did not exist before.
    pub created: bool,
}

/// Why a document was not written; the first that holds, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteRefusal {
    /// It does not exist.
    Missing,
    /// The condition does not hold.
    Mismatch,
    /// The group has as many documents as it may have.
    TooMany,
    /// The budget for stored messages is used up, or a queue is at its bound.
    Unavailable,
}

/// A conversation that goes on over several connections, named by 128 random bits: a credential, so it is never shown.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConversationId(pub u128);

impl fmt::Debug for ConversationId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ConversationId(…)")
    }
}

/// What somebody has not seen of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    pub topic: TopicName,
    pub after: After,
    /// Stored messages after this one are not wanted: they were sent already. Those after the head of the instant never are.
    pub until: Seq,
}

/// The last that somebody has of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The message with this place in the topic's history, counted in its epoch.
    Offset { epoch: u64, offset: u64 },
    /// Everything of the seconds before this Unix second.
    Before(u64),
    /// Everything up to this place in the order.
    Seq(Seq),
}

/// The stored messages that were missed, of all topics asked for, in order; `None`: not all of them are there any more.
pub type Replay = Option<Vec<Arc<Message>>>;

/// The SHA-256 digest of a token that the server has issued. Never shown: who knows many could tell which are in use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenDigest(pub [u8; 32]);

impl fmt::Debug for TokenDigest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("TokenDigest(…)")
    }
}

/// Whom an issued token stands for.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    /// The name of the group.
    pub group: Box<str>,
    pub user: Box<str>,
    /// Unix milliseconds from which on it counts no longer.
    pub until: u64,
}

impl fmt::Debug for Grant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Grant(until {})", self.until)
    }
}

/// Which issued tokens count no longer.
#[derive(Clone, PartialEq, Eq)]
pub enum Revocation {
    Token(TokenDigest),
    /// All of this user of the group, but for this one.
    User {
        group: Box<str>,
        user: Box<str>,
        except: Option<TokenDigest>,
    },
}

impl Revocation {
    /// Whether this token counts no longer. `stands_for` says whether it is one of a user, whose group comes first.
    pub fn covers(&self, token: TokenDigest, stands_for: impl FnOnce(&str, &str) -> bool) -> bool {
        match self {
            Revocation::Token(revoked) => *revoked == token,
            Revocation::User { group, user, except } => *except != Some(token) && stands_for(group, user),
        }
    }
}

impl fmt::Debug for Revocation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Revocation::Token(_) => "Revocation::Token(…)",
            Revocation::User { .. } => "Revocation::User(…)",
        })
    }
}

#[derive(Clone, Debug)]
pub struct JoinTopic {
    pub id: SubscriptionId,
    pub name: TopicName,
    pub start: StartAt,
    /// Refuse unless the topic exists and has stored messages.
    pub must_have_messages: bool,
}

/// The hub attached every topic of a [`Join`].
#[derive(Clone, Debug)]
pub struct Joined {
    /// The released head of that instant: the now cursor.
    pub head: Stamp,
    pub topics: Vec<JoinedTopic>,
    /// The stamp that the replay starts after, resolved from the cursor; `None` if there is none to start after.
    pub start: Option<(u64, u32)>,
    /// Stored messages newer than the cursor are gone, or the cursor means nothing here.
    pub gap: bool,
    /// The cursor, or a [`StartAt::After`], was newer than anything this server has stamped. It counts as none; `gap` is set too.
    pub foreign: bool,
    /// Answers [`Join::history`]; messages up to `head`. `None` also where none was asked for.
    pub replay: Replay,
    /// The newest message of the document that was joined, also one that says it was deleted; `None`: never written.
    pub document: Option<Arc<Message>>,
    /// Answers [`JoinRecords::snapshot`]: what the messages up to `head` have made of the records.
    pub records: Option<RecordList>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinedTopic {
    pub id: SubscriptionId,
    pub topic: TopicId,
    /// The subscription takes messages after this one.
    pub from: Seq,
}

/// One message to be published. A list of them is all or nothing, and consecutive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub topic: TopicName,
    pub payload: Arc<[u8]>,
    /// `false`: reaches only those who listen now.
    pub store: bool,
    pub event: Option<Box<EventFields>>,
    /// Idempotency key: the same (topic, key) within two minutes publishes nothing and answers as the first time.
    pub key: Option<Box<str>>,
    /// The connection of this conversation does not get it.
    pub except: Option<ConversationId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    pub stamp: Stamp,
    /// Answered from the first publication with the same idempotency key.
    pub duplicate: bool,
}

/// Why the hub did not do what was asked. Nothing was changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A topic is missing or holds no stored message, and the join asked for one that does.
    TopicMissing,
    /// A topic has as many subscribers as the join allows.
    TopicFull,
    /// The server has as many topics, or wildcard topics, as it may have.
    TooManyTopics,
    /// The budget for stored messages is used up.
    OutOfMemory,
    /// A queue is at its bound: try again.
    Busy,
    /// What has to outlive the process can't be kept now: try again.
    StorageUnavailable,
}

/// What a session may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The released head, which is the now cursor.
    Head,
    /// The server's sums, and the rows of some topics.
    Report(Selection),
    History {
        missed: Vec<Missed>,
        reach: Reach,
    },
    /// Takes over what an earlier connection of a conversation left, once. One that is still open hears
    /// [`Notice::TakenOver`] first.
    Resume(ConversationId),
    /// Has every session of the server hear it; answered when all of them are about to.
    Announce(Notice),
    /// The newest message of this document, also one that says it was deleted.
    Document(TopicName),
    /// From now on this token stands for somebody. [`Refusal::OutOfMemory`]: there are too many.
    Issue {
        token: TokenDigest,
        grant: Grant,
        /// Tokens that the user may have in the group: with more of them those that end first are revoked, and announced so.
        /// 0 = no limit.
        user_max: u32,
    },
    /// Whom a token stands for, if it counts.
    Grant(TokenDigest),
    /// Answered when every session is about to hear [`Notice::Revoked`], whether or not there was such a token.
    Revoke(Revocation),
    /// The records of this owner, or all of the endpoint, in order of creation.
    Records {
        endpoint: TopicName,
        of: Option<RecordId>,
    },
    /// Those of these that exist (and are of this owner), in this order.
    RecordsById {
        endpoint: TopicName,
        ids: Vec<RecordId>,
        of: Option<RecordId>,
    },
    /// The record whose account has this name.
    RecordNamed {
        endpoint: TopicName,
        name: Box<str>,
    },
}

/// What a session hears that concerns it beside its topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The conversation goes on over a newer connection.
    TakenOver,
    /// Connections that are known under this name end; `reconnect`: they may come back.
    Disconnect { name: Box<str>, reconnect: bool },
    /// These tokens count no longer: who came with one of them has to go.
    Revoked(Revocation),
}

/// What a conversation leaves when its connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Legacy {
    pub conversation: ConversationId,
    /// And how long somebody may ask for it; `None`: nothing.
    pub state: Option<(State, Duration)>,
}

/// What only a dialect understands. It may hold its client's keys, so it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct State(Arc<[u8]>);

impl Deref for State {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for State {
    fn from(bytes: &[u8]) -> State {
        State(bytes.into())
    }
}

impl fmt::Debug for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("State(…)")
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Nothing but the sums.
    Sums,
    /// Those of these that exist, in this order.
    Names(Vec<TopicName>),
    /// Every topic whose name begins so, in the order of names; `""` is every topic. The server's own are left out.
    Prefix(Box<str>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRow {
    pub name: TopicName,
    /// Messages since the topic exists, unstored ones too.
    pub published: u64,
    pub stored: u64,
    pub subscribers: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReactorRow {
    /// Operating-system thread id.
    pub thread: u32,
    /// Connections with at least one subscription.
    pub subscribers: u64,
    pub uptime_seconds: u64,
}

/// The server's sums at one instant. The server's own topics (`$…`) are not counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub unix_seconds: u64,
    pub uptime_seconds: u64,
    pub topics: u64,
    pub wildcard_topics: u64,
    /// Sums over the topics that exist.
    pub published: u64,
    pub stored: u64,
    /// Documents that exist, and subscriptions of documents.
    pub documents: u64,
    pub document_subscriptions: u64,
    pub reactors: Vec<ReactorRow>,
    pub rows: Vec<TopicRow>,
}

/// The hub's answer to a question, a publication, a deletion, a write or an alteration.
#[derive(Clone, Debug)]
pub enum Answer {
    Head(Stamp),
    Report(Box<Report>),
    /// In the order of the entries; with the report that the publication asked for, taken just after it.
    Published {
        published: SmallVec<[Published; 1]>,
        report: Option<Box<Report>>,
    },
    /// How many of the named topics existed.
    Deleted(usize),
    History(Replay),
    /// With the released head of that instant; `None`: nothing was left under that name.
    Resumed(Option<(State, Stamp)>),
    Announced,
    Written(Result<Written, WriteRefusal>),
    /// `None`: never written.
    Document(Option<Arc<Message>>),
    Issued,
    /// `None`: unknown, expired or revoked.
    Grant(Option<Grant>),
    /// The records as they are now: the last one of a record that was deleted.
    Altered(Result<Vec<Arc<Record>>, AlterRefusal>),
    /// With the released head of that instant.
    Records(RecordList, Stamp),
    RecordsById(Vec<Arc<Record>>),
    RecordNamed(Option<Arc<Record>>),
    Refused(Refusal),
}
