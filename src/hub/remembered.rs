//! What the hub remembers for a while: found by a key, forgotten by age, and beyond a bound the oldest first.

use hashbrown::HashMap;
use std::borrow::Borrow;
use std::collections::VecDeque;
use std::hash::Hash;
use std::time::Duration;

#[derive(Debug)]
pub struct Remembered<K, V> {
    /// With the monotonic microsecond at which it was added.
    known: HashMap<K, (V, u64)>,
    /// In order of time. What was taken out, or added once more, is here for longer than it counts.
    queue: VecDeque<(K, u64)>,
}

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Remembered<K, V> {
        Remembered { known: HashMap::default(), queue: VecDeque::new() }
    }
}

impl<K: Clone + Eq + Hash, V: Copy> Remembered<K, V> {
    /// What was added last under this key, while it counts.
    pub fn find<Q: Eq + Hash + ?Sized>(&self, key: &Q, age: Duration, micros: u64) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let &(value, since) = self.known.get(key)?;
        (since.saturating_add(age.as_micros() as u64) > micros).then_some(value)
    }

    /// The same, and nothing is left under this key.
    pub fn take<Q: Eq + Hash + ?Sized>(&mut self, key: &Q, age: Duration, micros: u64) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let value = self.find(key, age, micros);
        self.known.remove(key);
        value
    }

    /// Adds what may replace an earlier value; the oldest goes to `forgotten` when there are more than `most`.
    pub fn add(&mut self, key: K, value: V, micros: u64, most: usize, mut forgotten: impl FnMut(K, V)) {
        self.known.insert(key.clone(), (value, micros));
        self.queue.push_back((key, micros));
        while self.queue.len() > most {
            if let Some((key, value)) = self.forget_oldest() {
                forgotten(key, value);
            }
        }
        debug_assert!(self.known.len() <= self.queue.len());
    }

    /// Forgets what has reached the age, at most `budget` of it, and hands it to `forgotten`.
    pub fn expire(&mut self, age: Duration, micros: u64, mut budget: usize, mut forgotten: impl FnMut(K, V)) {
        while budget > 0 && self.is_due(age, micros) {
            if let Some((key, value)) = self.forget_oldest() {
                forgotten(key, value);
            }
            budget -= 1;
        }
    }

    /// Nothing is left under this key.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.known.remove(key);
    }

    /// Whether the oldest has reached the age.
    pub fn is_due(&self, age: Duration, micros: u64) -> bool {
        self.due(age).is_some_and(|due| due <= micros)
    }

    /// When the oldest reaches the age, in monotonic microseconds.
    pub fn due(&self, age: Duration) -> Option<u64> {
        self.queue.front().map(|(_, since)| since.saturating_add(age.as_micros() as u64))
    }

    fn forget_oldest(&mut self) -> Option<(K, V)> {
        let (key, since) = self.queue.pop_front()?;
        let &(value, newest) = self.known.get(&key)?;
        if newest != since {
            return None;
        }
        self.known.remove(&key);
        Some((key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_micros(5);

    #[test]
    fn a_value_counts_for_its_key_and_until_its_age() {
        let mut remembered = Remembered::default();
        remembered.add("a", 1, 10, 9, |_, _| panic!("there is room"));
        assert_eq!((remembered.find("a", AGE, 14), remembered.find("b", AGE, 14)), (Some(1), None));
        assert_eq!((remembered.find("a", AGE, 15), remembered.due(AGE)), (None, Some(15)));
        remembered.expire(AGE, 14, 9, |_, _| panic!("it counts"));
        assert_eq!(remembered.known.len(), 1);
        let mut forgotten = Vec::new();
        remembered.expire(AGE, 15, 9, |key, value| forgotten.push((key, value)));
        assert_eq!((remembered.known.len(), remembered.due(AGE), forgotten), (0, None, vec![("a", 1)]));
    }

    #[test]
    fn what_is_added_again_after_its_age_begins_anew() {
        let mut remembered = Remembered::default();
        remembered.add("a", 1, 10, 9, |_, _| panic!("there is room"));
        remembered.add("a", 2, 16, 9, |_, _| panic!("there is room"));
        remembered.expire(AGE, 16, 9, |_, _| panic!("it was added again"));
        assert_eq!(remembered.find("a", AGE, 20), Some(2));
        remembered.expire(AGE, 21, 9, |key, value| assert_eq!((key, value), ("a", 2)));
        assert_eq!((remembered.known.len(), remembered.due(AGE)), (0, None));
    }

    #[test]
    fn what_is_taken_is_gone_and_a_second_one_outlives_the_first() {
        let mut remembered = Remembered::default();
        remembered.add("a", 1, 10, 9, |_, _| panic!("there is room"));
        assert_eq!((remembered.take("a", AGE, 11), remembered.take("a", AGE, 11)), (Some(1), None));
        remembered.add("a", 2, 12, 9, |_, _| panic!("there is room"));
        remembered.expire(AGE, 15, 9, |_, _| panic!("it was taken"));
        assert_eq!((remembered.find("a", AGE, 16), remembered.due(AGE)), (Some(2), Some(17)));
        assert_eq!(remembered.take("a", AGE, 17), None, "too old");
        assert_eq!(remembered.known.len(), 0);
    }

    #[test]
    fn beyond_the_bound_the_oldest_is_forgotten_first() {
        let mut remembered = Remembered::default();
        for (micros, key) in ["x", "y", "z"].into_iter().enumerate() {
            remembered.add(key, 1, micros as u64, 2, |forgotten, _| assert_eq!((key, forgotten), ("z", "x")));
        }
        assert_eq!(["x", "y", "z"].map(|key| remembered.find(key, AGE, 3).is_some()), [false, true, true]);
        let mut forgotten = Vec::new();
        remembered.add("none", 1, 3, 0, |key, _| forgotten.push(key));
        assert_eq!(forgotten, ["y", "z", "none"]);
        assert_eq!(remembered.known.len(), 0);
    }
}
