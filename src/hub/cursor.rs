//! Where a cursor points to, and whether something newer is already gone.

use crate::exchange::{Cursor, StartAt, TopicId};
use crate::hub::Hub;
use crate::hub::topic::Topic;
use crate::message::Seq;

/// Seconds and tag as a client says them; a second as a whole ends with the greatest tag.
type Position = (u64, u64);

/// A cursor, understood. The default is "none".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Replay what is newer than this.
    pub start: Option<Position>,
    /// The cursor means nothing here, so nobody knows what its owner missed.
    pub unknown: bool,
    pub foreign: bool,
}

impl Resolved {
    /// What the session is told. Tags in use fit into 32 bits; a greater one is past all of its second.
    pub fn start(&self) -> Option<(u64, u32)> {
        self.start.map(|(seconds, tag)| (seconds, u32::try_from(tag).unwrap_or(u32::MAX)))
    }
}

impl Hub {
    /// Finds out where the cursor points to; `topics` are the existing ones of the join, trimmed.
    pub(super) fn resolve(&self, cursor: &Cursor, topics: &[TopicId]) -> Resolved {
        let newest = self.sequencer.last();
        let stamp = cursor.stamp.map(|(seconds, tag)| {
            let foreign =
                seconds > newest.seconds || seconds == newest.seconds && tag.is_some_and(|tag| tag > u64::from(newest.tag));
            let position = match tag {
                Some(tag) => (seconds, tag),
                // All of the newest second has been seen: all that there is, and what follows is newer.
                None if seconds == newest.seconds => (seconds, u64::from(newest.tag)),
                None => (seconds, u64::MAX),
            };
            (position, foreign)
        });
        let (event, unknown) = match &cursor.event {
            None => (None, false),
            Some(event) => match self.oldest_with_event(&event.id, topics).or(event.otherwise) {
                Some(position) => (Some((position, position > (newest.seconds, u64::from(newest.tag)))), false),
                None => (None, true),
            },
        };
        let smaller = match (stamp, event) {
            (Some(stamp), Some(event)) => Some(stamp.min(event)),
            (one, other) => one.or(other),
        };
        match smaller {
            Some((_, true)) => Resolved { start: None, unknown: true, foreign: true },
            // The epoch: everything stored.
            Some(((0, _), false)) => Resolved { start: Some((0, 0)), unknown, foreign: false },
            Some((position, false)) => Resolved { start: Some(position), unknown, foreign: false },
            None => Resolved { start: None, unknown, foreign: false },
        }
    }

    fn oldest_with_event(&self, id: &[u8], topics: &[TopicId]) -> Option<Position> {
        let found = topics.iter().filter_map(|&topic| {
            let mut messages = self.topics.get(topic)?.log.iter();
            messages.find(|message| message.event_id() == Some(id)).map(|message| message.stamp)
        });
        found.min().map(|stamp| (stamp.seconds, u64::from(stamp.tag)))
    }

    /// Whether a stored message of this topic that is newer than `start` may be gone (push_stream, section 4.3).
    pub(super) fn has_gap(&self, start: Position, topic: &Topic) -> bool {
        let before = |stamp: crate::message::Stamp| start < (stamp.seconds, u64::from(stamp.tag));
        if start.0 == 0 {
            return false;
        }
        before(self.history_begins) || before(topic.floor) && (topic.evicted || before(self.removed))
    }

    /// After which message the topic's subscription begins.
    pub(super) fn from(&self, start_at: StartAt, start: Option<Position>, topic: &Topic) -> Seq {
        let first = match (start_at, start) {
            (StartAt::Now, _) | (StartAt::Cursor, None) => return self.released.seq,
            (StartAt::Cursor, Some(start)) => topic.log.after_position(start),
            (StartAt::Last(count), _) => topic.log.len().saturating_sub(count as usize),
        };
        if first == topic.log.len() {
            // Nothing to replay: a connection that is live stays live.
            return self.released.seq;
        }
        match first.checked_sub(1).and_then(|before| topic.log.at(before)) {
            Some(message) => message.stamp.seq,
            None => topic.floor.seq,
        }
    }
}
