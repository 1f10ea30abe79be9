//! One queue in order of time for what ends by itself, so that nothing ever scans a million topics.

use crate::exchange::TopicId;
use crate::message::Seq;
use std::collections::VecDeque;
use std::time::Duration;

/// Something of a topic that ends some time after `since`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aging {
    pub topic: TopicId,
    pub seq: Seq,
    /// Monotonic microseconds.
    pub since: u64,
}

/// Entries in the order they were made. Some may be stale: what they stand for has ended earlier.
#[derive(Debug, Default)]
pub struct Ages {
    queue: VecDeque<Aging>,
    /// So many entries have to come before it is worth looking for stale ones again.
    not_before: usize,
}

impl Ages {
    pub fn push(&mut self, aging: Aging) {
        debug_assert!(self.queue.back().is_none_or(|last| last.since <= aging.since));
        self.queue.push_back(aging);
        self.not_before = self.not_before.saturating_sub(1);
    }

    pub fn oldest(&self) -> Option<Aging> {
        self.queue.front().copied()
    }

    /// Takes the oldest entry out if it is as old as `age`.
    pub fn take_due(&mut self, age: Duration, micros: u64) -> Option<Aging> {
        let oldest = self.queue.front()?;
        if oldest.since.saturating_add(micros_of(age)) > micros {
            return None;
        }
        self.queue.pop_front()
    }

    /// Drops stale entries once they are the greater part: `alive` is about how many are not stale.
    ///
    /// However wrong that estimate is, an entry that is pushed pays for looking at two at most.
    pub fn compact(&mut self, alive: usize, is_alive: impl Fn(&Aging) -> bool) {
        if self.queue.len() <= 2 * alive + 1_024 || self.not_before > 0 {
            return;
        }
        self.queue.retain(is_alive);
        self.queue.shrink_to(2 * self.queue.len());
        self.not_before = self.queue.len();
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.queue.len()
    }
}

pub fn micros_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aging(since: u64) -> Aging {
        Aging { topic: TopicId { index: 0, generation: 0 }, seq: Seq(since), since }
    }

    #[test]
    fn entries_fall_due_in_order_at_their_age() {
        let mut ages = Ages::default();
        ages.push(aging(10));
        ages.push(aging(15));
        assert_eq!(ages.take_due(Duration::from_micros(5), 14), None);
        assert_eq!(ages.take_due(Duration::from_micros(5), 15), Some(aging(10)));
        assert_eq!(ages.take_due(Duration::from_micros(5), 15), None);
        assert_eq!(ages.oldest(), Some(aging(15)));
    }

    #[test]
    fn stale_entries_never_outnumber_the_living_by_much() {
        let mut ages = Ages::default();
        for since in 0..100_000 {
            ages.push(aging(since));
            ages.compact(10, |entry| entry.since + 10 > since);
            assert!(ages.len() <= 2 * 10 + 1_025);
        }
    }

    #[test]
    fn entries_that_are_all_alive_are_not_looked_at_again_and_again() {
        let mut ages = Ages::default();
        let looks = std::cell::Cell::new(0_usize);
        for since in 0..20_000 {
            ages.push(aging(since));
            ages.compact(0, |_| {
                looks.set(looks.get() + 1);
                true
            });
        }
        assert_eq!(ages.len(), 20_000);
        assert!(looks.get() < 2 * 20_000, "{}", looks.get());
    }
}
