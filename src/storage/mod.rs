//! What outlives the process: stored messages, documents among them, records, idempotency keys, issued tokens, how far each topic
//! had come, and the newest stamp.
//!
//! ```text
//!  Hub ─ submit ─▶ engine::durable ─ Unit ─▶ thread ─ one transaction for many ─▶ Storage (redb)
//!   ▲                   ▲                      │
//!   └── release ────────┴──────── Report ──────┘
//! ```

mod cautious;
#[cfg(any(test, fuzzing))]
pub mod faulty;
#[cfg(any(test, fuzzing))]
pub mod model;
mod record;
pub mod redb;
#[cfg(test)]
mod tests;
pub mod thread;

use crate::exchange::{Grant, Revocation, TokenDigest};
use crate::message::{Message, Seq, Stamp, TopicName};
use crate::record::Record;
use hashbrown::HashMap;
use serde::Deserialize;
use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

/// When subscribers get what has to outlive the process. Its publisher is answered after the commit in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deliver {
    #[default]
    AfterCommit,
    /// At once: a crash may take back what they have seen.
    BeforeCommit,
}

/// An idempotency key counts within its topic.
pub type Key = Arc<(TopicName, Box<str>)>;

/// A stored message, with what it takes to give it back its place.
#[derive(Clone, Debug)]
pub struct Stored {
    pub message: Arc<Message>,
    /// When it was ordered.
    pub unix_micros: u64,
    /// The stored message of its topic before it; before the first one, the floor of the topic.
    pub previous: Stamp,
    /// The topic is a document, and so many bytes of its name are that of its group.
    pub group: Option<NonZeroU32>,
}

/// What becomes of the tokens that the server has issued.
#[derive(Clone, Debug)]
pub enum TokenChange {
    Issue(TokenDigest, Grant),
    Revoke(Revocation),
}

/// What becomes of a record, which is known by its place.
#[derive(Clone, Debug)]
pub enum RecordRow {
    /// It is this one of that endpoint.
    Put(TopicName, Arc<Record>),
    Delete(Seq),
}

/// An endpoint that has records although it is not configured any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemovedEndpoint {
    /// Unix milliseconds.
    pub since: u64,
    /// So long its records are kept.
    pub kept_millis: u64,
}

impl RemovedEndpoint {
    /// Unix milliseconds from which on its records go.
    pub fn until(&self) -> u64 {
        self.since.saturating_add(self.kept_millis)
    }
}

/// What was published under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownKey {
    pub key: Key,
    pub stamp: Stamp,
    pub unix_micros: u64,
}

/// What is known of a topic that keeps no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remains {
    /// The last stored message that is gone.
    pub floor: Stamp,
    pub epoch: u64,
    pub offset: u64,
    /// Messages so far, unstored ones too.
    pub published: u64,
    /// The topic is no more since then (Unix microseconds); one of its name goes on with its history.
    pub forgotten: Option<u64>,
}

/// What followed from transactions that count already. A failed commit does not undo it: it goes with a later one.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// What is there, although a commit that failed may have deleted or changed it: messages, records, and changes of tokens in
    /// their order.
    pub again: Vec<Stored>,
    pub records: Vec<RecordRow>,
    pub tokens: Vec<TokenChange>,
    pub begins: Option<Stamp>,
    pub evicted: Vec<Seq>,
    pub topics: HashMap<TopicName, Option<Remains>>,
    /// Idempotency keys of stamps up to this one are forgotten.
    pub keys_until: Seq,
    /// The greatest stamp of a stored message whose topic is no more.
    pub removed: Stamp,
    /// The greatest version of a document that is no more.
    pub forgotten: u64,
    pub expired: Vec<TokenDigest>,
    /// Whether there is somebody from now on who delivers before the commit.
    pub ahead: Option<bool>,
    /// Epochs of what was stored up to here count no more: this is the new one.
    pub renewed: Seq,
    /// The places of records that are no more.
    pub gone: Vec<Seq>,
    /// `None`: it is configured, or has no records any more.
    pub endpoints: HashMap<TopicName, Option<RemovedEndpoint>>,
    /// Up to this place the records of an endpoint are on their way out, whatever becomes of it. `None`: they are gone.
    pub leaving: HashMap<TopicName, Option<Seq>>,
}

impl Notes {
    pub fn add(&mut self, later: Notes) {
        self.again.extend(later.again);
        self.records.extend(later.records);
        self.tokens.extend(later.tokens);
        self.begins = self.begins.or(later.begins);
        self.evicted.extend(later.evicted);
        self.topics.extend(later.topics);
        self.keys_until = self.keys_until.max(later.keys_until);
        self.removed = self.removed.max(later.removed);
        self.forgotten = self.forgotten.max(later.forgotten);
        self.expired.extend(later.expired);
        self.ahead = later.ahead.or(self.ahead);
        self.renewed = self.renewed.max(later.renewed);
        self.gone.extend(later.gone);
        self.endpoints.extend(later.endpoints);
        self.leaving.extend(later.leaving);
    }
}

/// What is committed together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The newest stamp given.
    pub head: Stamp,
    pub messages: Vec<Stored>,
    pub keys: Vec<KnownKey>,
    /// Messages of topics that are deleted, and those topics.
    pub deleted: Vec<Seq>,
    pub ended: Vec<TopicName>,
    /// In their order.
    pub tokens: Vec<TokenChange>,
    pub records: Vec<RecordRow>,
    pub notes: Notes,
}

impl Batch {
    /// Adds what comes after it.
    pub fn add(&mut self, later: Batch) {
        self.head = self.head.max(later.head);
        self.messages.extend(later.messages);
        self.keys.extend(later.keys);
        self.deleted.extend(later.deleted);
        for name in &later.ended {
            self.notes.topics.remove(name);
        }
        self.ended.extend(later.ended);
        self.tokens.extend(later.tokens);
        self.records.extend(later.records);
        self.notes.add(later.notes);
    }

    /// How many rows it writes or deletes.
    pub fn rows(&self) -> usize {
        let Notes { again, records, tokens, evicted, topics, expired, gone, endpoints, leaving, .. } = &self.notes;
        let kept = again.len() + records.len() + tokens.len() + topics.len() + endpoints.len() + leaving.len();
        let notes = kept + evicted.len() + expired.len() + gone.len();
        let own = self.messages.len() + self.keys.len() + self.tokens.len() + self.records.len();
        own + self.deleted.len() + self.ended.len() + notes
    }

    /// About how many bytes it writes.
    pub fn bytes(&self) -> usize {
        let messages: usize = self.notes.again.iter().chain(&self.messages).map(record::message_bytes).sum();
        let tokens: usize = self.notes.tokens.iter().chain(&self.tokens).map(record::token_bytes).sum();
        let records: usize = self.notes.records.iter().chain(&self.records).map(record::record_bytes).sum();
        messages + self.keys.iter().map(record::key_bytes).sum::<usize>() + tokens + records + 64
    }
}

/// Everything that an earlier process left.
#[derive(Debug, Default)]
pub struct Loaded {
    /// One of the newest stamps that were given; `None`: there was no earlier process.
    pub head: Option<Stamp>,
    pub begins: Option<Stamp>,
    pub removed: Stamp,
    /// In order of `Seq`.
    pub messages: Vec<Stored>,
    /// In order of `Seq`.
    pub keys: Vec<KnownKey>,
    pub topics: Vec<(TopicName, Remains)>,
    pub tokens: Vec<(TokenDigest, Grant)>,
    /// In order of their places, with their endpoints.
    pub records: Vec<(TopicName, Arc<Record>)>,
    pub endpoints: Vec<(TopicName, RemovedEndpoint)>,
    /// As [`Notes::leaving`].
    pub leaving: Vec<(TopicName, Seq)>,
    /// The greatest version of a document that is no more.
    pub forgotten: u64,
    /// Its process delivered before the commit, and did not come to its end: subscribers may have more than this.
    pub ahead: bool,
    pub renewed: Seq,
}

/// Where batches are committed. A commit that returns is synced.
pub trait Storage: Send {
    /// # Errors
    /// Nothing is committed to this storage any more then, until [`Storage::recover`] has worked.
    fn commit(&mut self, batch: &Batch) -> Result<(), Failure>;

    /// Closes it, opens it anew, deletes every message, key and new record after `last`, and commits the batch.
    ///
    /// # Errors
    /// It can be tried again.
    fn recover(&mut self, last: Seq, batch: &Batch) -> Result<(), Failure>;
}

/// Why a commit failed.
#[derive(Debug)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Why the server can't start with a file.
#[derive(Debug)]
pub struct Unusable {
    pub file: PathBuf,
    pub why: Why,
}

#[derive(Debug)]
pub enum Why {
    /// It is one of ours, or was, and not as it was left.
    Damaged(String),
    /// It is none of ours.
    Foreign,
    /// A later version wrote it.
    Newer(String),
    InUse,
    System(std::io::Error),
}

impl fmt::Display for Unusable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match &self.why {
            Why::Damaged(what) => write!(
                out,
                "{file} is damaged ({what}); nothing was changed: restore it from a backup, or move it away to begin without history"
            ),
            Why::Foreign => write!(
                out,
                "{file} is not a database of fanwire; nothing was changed: move it away, or name another directory in storage.path"
            ),
            Why::Newer(format) => write!(
                out,
                "{file} was written by a later version of fanwire ({format}); nothing was changed: run that version, \
                 or name another directory in storage.path"
            ),
            Why::InUse => write!(out, "{file} is in use by another process: one server at a time can have it"),
            Why::System(error) => write!(
                out,
                "{file} can't be used: {error}; the directory in storage.path has to be one that this user may write to"
            ),
        }
    }
}

impl std::error::Error for Unusable {}

/// What the storage's thread tells the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Every unit up to this number is committed.
    Committed(u64),
    /// What was not reported as committed never will be, and neither will units of this generation that are on their way;
    /// what is delivered before the commit is committed with the recovery, or behind it.
    Failed { generation: u64 },
    /// Commits work again.
    Recovered,
}
