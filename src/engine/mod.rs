//! The gate between "stamped" and "released": who orders what the hub wants to happen, and makes it durable.

pub mod local;

use crate::exchange::{Grant, Revocation, TokenDigest, TopicId};
use crate::message::{Message, Stamp};
use smallvec::SmallVec;
use std::sync::Arc;

/// One change of one topic, or of the tokens.
#[derive(Clone, Debug)]
pub enum Change {
    /// A message reaches the topic: its log if it is stored, its listeners in any case.
    Append { topic: TopicId, message: Arc<Message> },
    /// The topic ends, and the message tells its listeners.
    Remove { topic: TopicId, message: Arc<Message> },
    /// A token stands for somebody.
    Issue { token: TokenDigest, grant: Grant },
    /// Tokens stand for nobody any more.
    Revoke(Revocation),
}

/// Changes that take effect together or not at all, in this order.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// The newest stamp given when it was submitted: the released head once it is applied.
    pub head: Stamp,
    pub changes: SmallVec<[Change; 1]>,
}

/// Takes transactions in the order of their stamps and gives them back in that order once they count.
///
/// The hub changes nothing that can be seen from outside before `ordered` has returned it.
pub trait Engine: Send {
    fn submit(&mut self, transaction: Transaction);

    /// The next transaction that may be applied, if there is one already.
    fn ordered(&mut self) -> Option<Transaction>;
}
