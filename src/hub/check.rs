//! What must hold of a hub between two requests, counted anew: for tests and fuzzing.

use crate::exchange::{is_of_endpoint, is_of_owner};
use crate::hub::documents::is_deletion;
use crate::hub::{Hub, Totals};

impl Hub {
    /// Walks over everything, so not for a hub that serves somebody.
    pub fn check(&self) {
        let mut counted = Totals {
            messages_in: self.totals.messages_in,
            bytes_in: self.totals.bytes_in,
            evicted: self.totals.evicted,
            refused: self.totals.refused,
            coming_bytes: if self.waiting.is_empty() { 0 } else { self.totals.coming_bytes },
            ..Totals::default()
        };
        for (id, topic) in self.topics.iter() {
            assert_eq!(self.topics.find(&topic.name), Some(id));
            assert_eq!(topic.is_idle(), topic.is_unused(), "{}", topic.name);
            assert!(topic.log.oldest().is_none_or(|oldest| oldest.stamp > topic.floor));
            let most = match topic.is_document() {
                true => 1,
                false if is_of_endpoint(&topic.name) => self.endpoint_window.count,
                false => self.settings.window.count,
            };
            assert!(topic.log.len() <= most || self.sweep.is_some());
            if let Some(oldest) = topic.log.oldest().filter(|_| is_of_owner(&topic.name)) {
                let leads =
                    self.topics.find(&oldest.topic).and_then(|id| self.topics.get(id)).and_then(|leads| leads.log.oldest());
                assert!(leads.is_some_and(|leads| leads.stamp <= oldest.stamp), "the endpoint's topic has what an owner's has");
            }
            assert!(!topic.is_document() || topic.for_laggards() == (0, 0));
            assert!(topic.pending == 0 || !self.waiting.is_empty());
            let released = topic.released();
            for (index, newer) in (0..topic.log.len()).rev().zip(0..) {
                let message = topic.log.at(index).expect("there are so many");
                assert_eq!(message.place_in(&topic.name), (released.epoch, released.offset - newer));
            }
            assert!(released.epoch <= topic.last_stored().map_or(0, |stamp| stamp.seq.0).max(self.renewed.0));
            assert!(topic.ring.is_none() || topic.subscribers > 0);
            counted.logged += topic.log.len() as u64;
            counted.log_bytes += topic.log.bytes();
            counted.idle += u64::from(topic.is_idle());
            counted.subscriptions += u64::from(topic.subscribers);
            assert!(topic.tail.is_none() || topic.subscribers > 0);
            if let Some(tail) = &topic.tail {
                assert!(tail.log.newest().is_none_or(|newest| newest.stamp <= topic.floor));
                counted.unstored += tail.log.len() as u64;
                counted.unstored_bytes += tail.log.bytes();
            }
            if let Some(ring) = &topic.ring {
                counted.unstored += ring.log.len() as u64;
                counted.unstored_bytes += ring.log.bytes();
            }
            if topic.is_document() {
                counted.document_subscriptions += u64::from(topic.subscribers);
                let newest = topic.log.newest().map(|message| is_deletion(message));
                counted.documents += u64::from(newest == Some(false));
                counted.tombstones += u64::from(newest == Some(true));
            }
            if !topic.name.is_reserved() {
                counted.topics += 1;
                counted.wildcard_topics += u64::from(self.is_wildcard(&topic.name));
                counted.published += topic.published;
                counted.stored += topic.log.len() as u64;
            }
        }
        self.conversations.check_all();
        self.documents.check_all(self.topics.iter());
        self.tokens.check_all(self.waiting.len());
        (counted.records, counted.record_bytes) = self.records.check_all(self.waiting.is_empty());
        assert_eq!(self.totals, counted);
        // Only a commit is waited for.
        assert!(self.waiting.is_empty() || self.storing.is_some());
        assert!(!self.waiting.is_empty() || self.released == self.sequencer.last());
    }
}
