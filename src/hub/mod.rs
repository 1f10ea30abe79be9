//! The hub: one thread that orders everything. A pure state machine: requests in, replies out.

pub mod request;

use crate::message::TopicName;
use std::sync::Arc;
use std::time::Duration;

/// What the hub is told by the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What each topic keeps.
    pub window: Window,
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
    /// Bytes of all logs; a publication that would exceed it is refused.
    pub log_bytes_max: u64,
    /// How long unstored messages wait for readers that lag.
    pub unstored_age: Duration,
    /// Idempotency keys: how long they count, and how many are remembered.
    pub key_age: Duration,
    pub keys_max: usize,
}

/// Bounds of a topic's log; whichever is reached first evicts the oldest message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub count: usize,
    pub bytes: u64,
    pub age: Duration,
}

/// An unstored message published at an interval while its topic has subscribers.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    pub topic: TopicName,
    pub every: Duration,
    pub payload: Arc<[u8]>,
}
