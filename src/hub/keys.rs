//! Idempotency keys: what was published under a name lately, so that a retried publication happens once.

use crate::message::{Stamp, TopicName};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A key counts within its topic.
type Key = Arc<(TopicName, Box<str>)>;

#[derive(Debug, Default)]
pub struct Keys {
    /// With the monotonic microsecond at which the key was added.
    stamps: HashMap<Key, (Stamp, u64)>,
    /// In order of time. A key that was added again after its age is here twice for a moment.
    queue: VecDeque<(Key, u64)>,
}

impl Keys {
    /// The stamp that this key got first, while it counts.
    pub fn find(&self, topic: &TopicName, key: &str, age: Duration, micros: u64) -> Option<Stamp> {
        // A key is short, and the look-up needs an owned pair: cheaper than a second hash layout.
        let (stamp, since) = *self.stamps.get(&(topic.clone(), Box::<str>::from(key)))?;
        (since.saturating_add(age.as_micros() as u64) > micros).then_some(stamp)
    }

    /// Remembers a key that `find` does not know; the oldest is forgotten when there are more than `keys_max`.
    pub fn add(&mut self, topic: TopicName, key: Box<str>, stamp: Stamp, micros: u64, keys_max: usize) {
        let key = Arc::new((topic, key));
        self.stamps.insert(key.clone(), (stamp, micros));
        self.queue.push_back((key, micros));
        while self.queue.len() > keys_max {
            self.forget_oldest();
        }
        debug_assert!(self.stamps.len() <= self.queue.len());
    }

    /// Forgets the keys that have reached the age, at most `budget` of them.
    pub fn expire(&mut self, age: Duration, micros: u64, mut budget: usize) {
        while budget > 0 && self.due(age).is_some_and(|due| due <= micros) {
            self.forget_oldest();
            budget -= 1;
        }
    }

    /// When the oldest key reaches the age, in monotonic microseconds.
    pub fn due(&self, age: Duration) -> Option<u64> {
        self.queue.front().map(|(_, since)| since.saturating_add(age.as_micros() as u64))
    }

    fn forget_oldest(&mut self) {
        if let Some((key, since)) = self.queue.pop_front()
            && self.stamps.get(&key).is_some_and(|&(_, newest)| newest == since)
        {
            self.stamps.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Seq;

    const AGE: Duration = Duration::from_micros(5);

    fn stamp(seq: u64) -> Stamp {
        Stamp { seq: Seq(seq), seconds: 1, tag: 1 }
    }

    #[test]
    fn a_key_counts_for_its_topic_and_until_its_age() {
        let mut keys = Keys::default();
        keys.add("a".into(), "k".into(), stamp(1), 10, 9);
        assert_eq!(keys.find(&"a".into(), "k", AGE, 14), Some(stamp(1)));
        assert_eq!(keys.find(&"b".into(), "k", AGE, 14), None);
        assert_eq!(keys.find(&"a".into(), "k", AGE, 15), None);
        assert_eq!(keys.due(AGE), Some(15));
        keys.expire(AGE, 14, 9);
        assert_eq!(keys.stamps.len(), 1);
        keys.expire(AGE, 15, 9);
        assert_eq!(keys.stamps.len(), 0);
    }

    #[test]
    fn a_key_that_is_used_again_after_its_age_begins_a_new_one() {
        let mut keys = Keys::default();
        keys.add("a".into(), "k".into(), stamp(1), 10, 9);
        keys.add("a".into(), "k".into(), stamp(2), 16, 9);
        keys.expire(AGE, 16, 9);
        assert_eq!(keys.find(&"a".into(), "k", AGE, 20), Some(stamp(2)));
        keys.expire(AGE, 21, 9);
        assert_eq!((keys.stamps.len(), keys.due(AGE)), (0, None));
    }

    #[test]
    fn beyond_the_bound_the_oldest_is_forgotten_first() {
        let mut keys = Keys::default();
        for (micros, key) in ["x", "y", "z"].into_iter().enumerate() {
            keys.add("a".into(), key.into(), stamp(1), micros as u64, 2);
        }
        assert_eq!(["x", "y", "z"].map(|key| keys.find(&"a".into(), key, AGE, 3).is_some()), [false, true, true]);
    }
}
