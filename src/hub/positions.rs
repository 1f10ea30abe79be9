//! Positions of forgotten topics: a topic that comes back in time goes on counting where it stopped.

use crate::hub::topic::Past;
use crate::message::TopicName;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::time::Duration;

#[derive(Debug, Default)]
pub struct Positions {
    /// With the monotonic microsecond at which the topic was forgotten.
    known: HashMap<TopicName, (Past, u64)>,
    /// In order of time. Some may be stale: their topic has come back.
    queue: VecDeque<(TopicName, u64)>,
}

impl Positions {
    /// What a topic of this name left, while it counts.
    pub fn find(&self, name: &TopicName, age: Duration, micros: u64) -> Option<Past> {
        let &(past, since) = self.known.get(name)?;
        (since.saturating_add(age.as_micros() as u64) > micros).then_some(past)
    }

    /// A topic of this name begins, or must not come back: it leaves nothing here.
    pub fn take(&mut self, name: &TopicName, age: Duration, micros: u64) -> Option<Past> {
        let past = self.find(name, age, micros);
        self.known.remove(name);
        past
    }

    /// Remembers what a topic leaves; the oldest is forgotten when there are more than `positions_max`.
    pub fn add(&mut self, name: TopicName, past: Past, micros: u64, positions_max: usize) {
        self.known.insert(name.clone(), (past, micros));
        self.queue.push_back((name, micros));
        while self.queue.len() > positions_max {
            self.forget_oldest();
        }
        debug_assert!(self.known.len() <= self.queue.len());
    }

    /// Forgets what has reached the age, at most `budget` of it.
    pub fn expire(&mut self, age: Duration, micros: u64, mut budget: usize) {
        while budget > 0 && self.due(age).is_some_and(|due| due <= micros) {
            self.forget_oldest();
            budget -= 1;
        }
    }

    /// When the oldest reaches the age, in monotonic microseconds.
    pub fn due(&self, age: Duration) -> Option<u64> {
        self.queue.front().map(|(_, since)| since.saturating_add(age.as_micros() as u64))
    }

    fn forget_oldest(&mut self) {
        if let Some((name, since)) = self.queue.pop_front()
            && self.known.get(&name).is_some_and(|&(_, newest)| newest == since)
        {
            self.known.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::topic::Position;
    use crate::message::{Seq, Stamp};

    const AGE: Duration = Duration::from_micros(5);

    fn past(offset: u64) -> Past {
        Past { position: Position { epoch: 1, offset }, newest: Stamp { seq: Seq(offset), seconds: 1, tag: 1 } }
    }

    #[test]
    fn a_position_counts_until_its_age_and_for_one_topic() {
        let mut positions = Positions::default();
        positions.add("a".into(), past(1), 10, 9);
        assert_eq!(positions.find(&"a".into(), AGE, 14), Some(past(1)));
        assert_eq!(positions.find(&"b".into(), AGE, 14), None);
        assert_eq!(positions.take(&"a".into(), AGE, 15), None);
        positions.add("a".into(), past(2), 16, 9);
        assert_eq!(positions.take(&"a".into(), AGE, 16), Some(past(2)));
        assert_eq!(positions.take(&"a".into(), AGE, 16), None);
    }

    #[test]
    fn what_a_topic_leaves_a_second_time_outlives_the_first() {
        let mut positions = Positions::default();
        positions.add("a".into(), past(1), 10, 9);
        positions.take(&"a".into(), AGE, 11);
        positions.add("a".into(), past(2), 12, 9);
        positions.expire(AGE, 15, 9);
        assert_eq!(positions.find(&"a".into(), AGE, 16), Some(past(2)));
        assert_eq!(positions.due(AGE), Some(17));
        positions.expire(AGE, 17, 9);
        assert_eq!((positions.known.len(), positions.due(AGE)), (0, None));
    }

    #[test]
    fn beyond_the_bound_the_oldest_is_forgotten_first() {
        let mut positions = Positions::default();
        for (micros, name) in ["x", "y", "z"].into_iter().enumerate() {
            positions.add(name.into(), past(1), micros as u64, 2);
        }
        let found = ["x", "y", "z"].map(|name| positions.find(&name.into(), AGE, 3).is_some());
        assert_eq!(found, [false, true, true]);
        assert_eq!(positions.known.len(), 2);
        positions.add("none".into(), past(1), 3, 0);
        assert_eq!(positions.known.len(), 0);
    }
}
