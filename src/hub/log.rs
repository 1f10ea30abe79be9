//! What a topic keeps: messages in order, with their size.

use crate::exchange::Reach;
use crate::hub::Window;
use crate::message::{EventFields, Message, Seq};
use std::collections::VecDeque;
use std::collections::vec_deque::Iter;
use std::num::NonZeroU32;
use std::sync::Arc;

/// What a kept message costs beside its payload and event fields: the structure, two reference counts, its places in queues,
/// and what the allocator rounds up (measured with a million messages of 100 and 128 bytes).
const MESSAGE_BYTES: u64 = 224;

/// The memory that keeping such a message takes, in bytes.
pub fn kept_bytes(payload: &[u8], event: Option<&EventFields>) -> u64 {
    let length = |field: &Option<Box<[u8]>>| field.as_ref().map_or(0, |bytes| bytes.len());
    let event = event.map_or(0, |event| length(&event.id) + length(&event.kind));
    MESSAGE_BYTES + payload.len() as u64 + event as u64
}

/// Which messages a log keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Those within a window: events.
    #[default]
    Window,
    /// The newest one, for ever: the state of a document. So many bytes of the topic's name are that of its group.
    Newest { group: NonZeroU32 },
}

/// Messages of one topic in order of `Seq`. Allocates nothing while it is empty.
#[derive(Debug, Default)]
pub struct Log {
    messages: VecDeque<Arc<Message>>,
    bytes: u64,
    /// How many of them have an event id.
    event_ids: u32,
    keep: Keep,
}

impl Log {
    pub fn new(keep: Keep) -> Log {
        Log { keep, ..Log::default() }
    }

    pub fn keep(&self) -> Keep {
        self.keep
    }

    pub fn len(&self) -> usize {
        self.messages.len()
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn oldest(&self) -> Option<&Arc<Message>> {
        self.messages.front()
    }

    pub fn newest(&self) -> Option<&Arc<Message>> {
        self.messages.back()
    }

    pub fn at(&self, index: usize) -> Option<&Arc<Message>> {
        self.messages.get(index)
    }

    /// From this index to the newest.
    pub fn from(&self, index: usize) -> Iter<'_, Arc<Message>> {
        self.messages.range(index..)
    }

    /// The index of the oldest message that somebody is shown who looks back so far.
    pub fn first_within(&self, reach: Reach, micros: u64) -> usize {
        if self.keep != Keep::Window {
            return 0;
        }
        let first = self.len().saturating_sub(reach.count);
        let age = u64::try_from(reach.age.as_micros()).unwrap_or(u64::MAX);
        let is_too_old = |message: &Arc<Message>| message.ordered_micros.saturating_add(age) <= micros;
        // Most logs are asked by a dialect that is shown all that they keep.
        if self.at(first).is_none_or(|oldest| !is_too_old(oldest)) {
            return first;
        }
        self.messages.partition_point(is_too_old)
    }

    /// The oldest message from this index on with this event id. Costs nothing in a log without any, which is nearly every
    /// log that is asked: whoever resumes a stream of events sends an id that the server made up from a stamp.
    pub fn oldest_with_event(&self, first: usize, id: &[u8]) -> Option<&Arc<Message>> {
        let named = self.from(first).filter(|message| message.event_id().is_some());
        named.take(self.event_ids as usize).find(|message| message.event_id() == Some(id))
    }

    /// The index of the first message after `seq`.
    pub fn after(&self, seq: Seq) -> usize {
        // A reader that is nearly up to date is the common one.
        if self.newest().is_none_or(|newest| newest.stamp.seq <= seq) {
            return self.messages.len();
        }
        self.messages.partition_point(|message| message.stamp.seq <= seq)
    }

    /// The index of the first message whose `(seconds, tag)` is greater.
    pub fn after_position(&self, position: (u64, u64)) -> usize {
        self.messages.partition_point(|message| {
            let (seconds, tag) = message.stamp.position();
            (seconds, u64::from(tag)) <= position
        })
    }

    pub fn push(&mut self, message: Arc<Message>) {
        self.bytes += kept_bytes(&message.payload, message.event.as_deref());
        self.event_ids += u32::from(message.event_id().is_some());
        self.messages.push_back(message);
        self.check();
    }

    /// Takes the oldest message out if the window has no place for it any more, or a newer one has taken its place.
    pub fn evict(&mut self, window: &Window, micros: u64) -> Option<Arc<Message>> {
        let oldest = self.messages.front()?;
        let expired = oldest.ordered_micros.saturating_add(window.age.as_micros() as u64) <= micros;
        let is_kept = match self.keep {
            Keep::Window => !expired && self.messages.len() <= window.count && self.bytes <= window.bytes,
            Keep::Newest { .. } => self.messages.len() == 1,
        };
        if is_kept {
            return None;
        }
        let message = self.messages.pop_front()?;
        self.bytes -= kept_bytes(&message.payload, message.event.as_deref());
        self.event_ids -= u32::from(message.event_id().is_some());
        if self.messages.is_empty() {
            self.messages = VecDeque::new();
        } else if self.messages.len() < self.messages.capacity() / 4 {
            self.messages.shrink_to(self.messages.len() * 2);
        }
        self.check();
        Some(message)
    }

    fn check(&self) {
        debug_assert_eq!(self.messages.is_empty(), self.bytes == 0);
        debug_assert!(self.event_ids as usize <= self.messages.len());
        let last = self.messages.len().wrapping_sub(2);
        debug_assert!(self.at(last).is_none_or(|before| Some(before.stamp.seq) < self.newest().map(|newest| newest.stamp.seq)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Stamp;
    use std::time::Duration;

    const WINDOW: Window = Window { count: 3, bytes: u64::MAX, age: Duration::from_micros(100) };

    fn message(seq: u64, payload: &str) -> Arc<Message> {
        let stamp = Stamp { seq: Seq(seq), seconds: seq / 10, tag: (seq % 10) as u32 };
        let mut message = Message::new(stamp, "a".into(), 1, payload.as_bytes().into());
        message.ordered_micros = seq;
        Arc::new(message)
    }

    fn log(seqs: &[u64]) -> Log {
        let mut log = Log::default();
        seqs.iter().for_each(|&seq| log.push(message(seq, "x")));
        log
    }

    fn seqs(log: &Log) -> Vec<u64> {
        log.messages.iter().map(|message| message.stamp.seq.0).collect()
    }

    #[test]
    fn the_oldest_goes_when_there_are_more_than_the_window_counts() {
        let mut log = log(&[1, 4, 6, 9, 12]);
        while log.evict(&WINDOW, 20).is_some() {}
        assert_eq!(seqs(&log), [6, 9, 12]);
    }

    #[test]
    fn the_oldest_goes_when_it_has_reached_the_age() {
        let mut log = log(&[1, 4]);
        assert!(log.evict(&WINDOW, 100).is_none());
        assert_eq!(log.evict(&WINDOW, 101).unwrap().stamp.seq, Seq(1));
        assert!(log.evict(&WINDOW, 101).is_none());
        assert!(log.evict(&WINDOW, 104).is_some());
        assert!(log.is_empty());
        assert_eq!(log.bytes(), 0);
    }

    #[test]
    fn the_oldest_goes_when_the_bytes_are_too_many() {
        let mut log = Log::default();
        log.push(message(1, "0123456789"));
        log.push(message(2, "0"));
        let window = Window { count: 9, bytes: 2 * MESSAGE_BYTES + 10, age: Duration::from_secs(9) };
        assert_eq!(log.evict(&window, 3).unwrap().stamp.seq, Seq(1));
        assert!(log.evict(&window, 3).is_none());
        assert_eq!(log.bytes(), MESSAGE_BYTES + 1);
    }

    #[test]
    fn event_ids_are_counted_and_the_oldest_is_found_until_it_goes() {
        let mut log = Log::default();
        for (seq, id) in [(1, None), (2, Some("x")), (3, Some("y")), (4, Some("x")), (5, None)] {
            let mut message = message(seq, "1");
            let id = id.map(|id| id.as_bytes().into());
            Arc::get_mut(&mut message).unwrap().event = Some(Box::new(EventFields { id, kind: Some(b"k"[..].into()) }));
            log.push(message);
        }
        let find = |log: &Log, id: &str| log.oldest_with_event(0, id.as_bytes()).map(|message| message.stamp.seq.0);
        assert_eq!(["x", "y", "k", ""].map(|id| find(&log, id)), [Some(2), Some(3), None, None]);
        while log.evict(&WINDOW, 6).is_some() {}
        assert_eq!((log.event_ids, ["x", "y"].map(|id| find(&log, id))), (2, [Some(4), Some(3)]));
        while log.evict(&WINDOW, 104).is_some() {}
        assert_eq!((log.event_ids, ["x", "y"].map(|id| find(&log, id))), (0, [None, None]));
    }

    #[test]
    fn the_oldest_within_reach_is_bounded_by_count_and_age() {
        let log = log(&[10, 14, 25]);
        let first = |count, age, micros| log.first_within(Reach { count, age: Duration::from_micros(age) }, micros);
        assert_eq!([0, 1, 2, 3, 4].map(|count| first(count, 100, 30)), [3, 2, 1, 0, 0]);
        assert_eq!([19, 20, 23, 24, 34, 35, 99].map(|micros| first(9, 10, micros)), [0, 1, 1, 2, 2, 3, 3]);
        assert_eq!([first(2, 10, 23), first(2, 10, 24), first(2, 10, 35)], [1, 2, 3], "whichever is nearer");
        assert_eq!(log.first_within(Reach::EVERYTHING, u64::MAX - 1), 0);
        assert_eq!(log.from(1).count(), 2);
    }

    #[test]
    fn positions_are_found_between_messages_too() {
        let log = log(&[10, 14, 25]);
        assert_eq!([9, 10, 13, 14, 24, 25, 99].map(|seq| log.after(Seq(seq))), [0, 1, 1, 2, 2, 3, 3]);
        assert_eq!([(0, 0), (1, 0), (1, 3), (1, u64::MAX), (2, 4), (2, 5)].map(|at| log.after_position(at)), [0, 1, 1, 2, 2, 3]);
    }
}
