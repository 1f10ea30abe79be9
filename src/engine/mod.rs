//! The gate between "stamped" and "released": who orders what the hub wants to happen, and makes it durable.

pub mod durable;
pub mod local;

use crate::exchange::{Grant, Revocation, TokenDigest, TopicId};
use crate::message::{Message, Stamp, TopicName};
use crate::record::Record;
use crate::storage::Key;
use durable::Durable;
use smallvec::SmallVec;
use std::num::NonZeroU32;
use std::sync::Arc;

/// One change of one topic, of the tokens, or of an endpoint's records.
#[derive(Clone, Debug)]
pub enum Change {
    /// A message reaches the topic: its log if it is stored, its listeners in any case.
    Append { topic: TopicId, message: Arc<Message>, kept: Option<Box<Kept>> },
    /// The topic ends, and the message tells its listeners. `stored`: what is kept of it, if that is durable.
    Remove { topic: TopicId, message: Arc<Message>, stored: Box<[Stamp]> },
    /// A token stands for somebody. Boxed, as these are rare: every message is moved as what is largest here.
    Issue(Box<(TokenDigest, Grant)>),
    /// Tokens stand for nobody any more.
    Revoke(Box<Revocation>),
    /// Records of an endpoint come, change or go; the message about it follows.
    Alter { endpoint: TopicName, records: Box<[RecordChange]> },
}

/// What becomes of a record.
#[derive(Clone, Debug)]
pub enum RecordChange {
    Create(Arc<Record>),
    /// Both have one id, place and owner.
    Replace {
        before: Arc<Record>,
        after: Arc<Record>,
    },
    Delete(Arc<Record>),
}

impl RecordChange {
    pub fn before(&self) -> Option<&Arc<Record>> {
        match self {
            RecordChange::Create(_) => None,
            RecordChange::Replace { before, .. } | RecordChange::Delete(before) => Some(before),
        }
    }

    pub fn after(&self) -> Option<&Arc<Record>> {
        match self {
            RecordChange::Create(after) | RecordChange::Replace { after, .. } => Some(after),
            RecordChange::Delete(_) => None,
        }
    }

    /// As it is told of: of one that goes, the last.
    pub fn record(&self) -> &Arc<Record> {
        match self {
            RecordChange::Create(record) | RecordChange::Replace { after: record, .. } | RecordChange::Delete(record) => record,
        }
    }
}

/// What has to outlive the process of a message, beside itself.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The stored message of its topic before it, or the topic's floor.
    pub previous: Stamp,
    /// Its topic is a document, and so many bytes of its name are that of its group.
    pub group: Option<NonZeroU32>,
    /// Its idempotency key.
    pub key: Option<Key>,
}

/// Changes that take effect together or not at all, in this order.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// The newest stamp given when it was submitted: the released head once it is applied.
    pub head: Stamp,
    pub unix_micros: u64,
    pub changes: SmallVec<[Change; 1]>,
}

/// Takes transactions in the order of their stamps and gives them back in that order once they count.
///
/// The hub changes nothing that can be seen from outside before `ordered` has returned it.
pub trait Engine: Send {
    fn submit(&mut self, transaction: Transaction);

    /// The next transaction that may be applied, if there is one already.
    fn ordered(&mut self) -> Option<Transaction>;

    /// The engine that makes durable, if this is one.
    fn durable(&mut self) -> Option<&mut Durable> {
        None
    }
}
