//! What one dialect is shown of a topic: its newest stored messages, as far back as the dialect's reach goes.

use crate::exchange::Reach;
use crate::hub::topic::Topic;
use crate::message::{Message, Stamp};
use std::sync::Arc;

/// What lies beyond it counts as evicted.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub topic: &'a Topic,
    /// The index in the log of the oldest message that is shown.
    pub first: usize,
}

impl<'a> View<'a> {
    pub fn new(topic: &'a Topic, reach: Reach, micros: u64) -> View<'a> {
        View { topic, first: topic.log.first_within(reach, micros) }
    }

    /// How many messages are shown.
    pub fn len(&self) -> usize {
        self.topic.log.len() - self.first
    }

    /// The last stored message that is not shown any more, or the head at which the topic was created.
    pub fn floor(&self) -> Stamp {
        let hidden = self.first.checked_sub(1).and_then(|before| self.topic.log.at(before));
        hidden.map_or(self.topic.floor, |message| message.stamp)
    }

    /// `floor` is a stored message.
    pub fn has_evicted(&self) -> bool {
        self.first > 0 || self.topic.has_evicted()
    }

    /// The messages that are shown, from this place in the log.
    pub fn from(&self, index: usize) -> impl Iterator<Item = &'a Arc<Message>> + use<'a> {
        self.topic.log.from(index.max(self.first))
    }
}
