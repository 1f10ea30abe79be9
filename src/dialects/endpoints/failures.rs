//! How often something may fail within a minute: per address, or per name of a user.

use crate::pace::Lately;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

const MINUTE: u64 = 60_000_000;
/// Keys that are known at a time. While all of them have failed within the last minute, every other one counts as one that did so
/// too often.
const KEYS_MAX: usize = 16_384;
/// Failures that are known of all keys; beyond them it is the same.
const FAILURES_MAX: usize = 1 << 20;

/// Failures of the last minute. All times are monotonic microseconds.
pub struct Failures<K> {
    known: Mutex<Known<K>>,
}

struct Known<K> {
    /// How often each key has failed; none is empty.
    times: HashMap<K, Lately>,
    /// Of all of them.
    failures: usize,
    /// When what is older than a minute was last looked for.
    swept: u64,
}

impl<K> Default for Failures<K> {
    fn default() -> Failures<K> {
        Failures { known: Mutex::new(Known { times: HashMap::new(), failures: 0, swept: 0 }) }
    }
}

impl<K: Hash + Eq> Failures<K> {
    /// Whether this key has failed so often within a minute.
    pub fn is_full(&self, key: &K, most: u32, now: u64) -> bool {
        self.lock().of(key, now) >= most as usize
    }

    /// One more failure of this key. False: it is one too many, and does not count.
    pub fn count(&self, key: K, most: u32, now: u64) -> bool {
        let mut known = self.lock();
        if known.of(&key, now) >= most as usize || !known.has_room(&key, now) {
            return false;
        }
        known.failures += 1;
        known.times.entry(key).or_default().count(now, MINUTE);
        true
    }

    fn lock(&self) -> MutexGuard<'_, Known<K>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq> Known<K> {
    /// Failures of this key within the last minute; older ones are forgotten.
    fn of(&mut self, key: &K, now: u64) -> usize {
        let Some(times) = self.times.get_mut(key) else { return 0 };
        self.failures -= times.forget(now, MINUTE);
        let left = times.len();
        if left == 0 {
            self.times.remove(key);
        }
        left
    }

    fn has_room(&mut self, key: &K, now: u64) -> bool {
        let has_room =
            |known: &Known<K>| known.failures < FAILURES_MAX && (known.times.len() < KEYS_MAX || known.times.contains_key(key));
        // A sweep looks at everything: now and then.
        if !has_room(self) && now >= self.swept + 1_000_000 {
            self.swept = now;
            let failures = &mut self.failures;
            self.times.retain(|_, times| {
                *failures -= times.forget(now, MINUTE);
                !times.is_empty()
            });
        }
        has_room(self)
    }
}

/// Whom the failures of this address are counted for: an IPv6 network of 64 bits is one customer's.
pub fn origin_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    const BEGIN: u64 = 1_000 * SECOND;

    #[test]
    fn ep_26_the_61st_failure_within_any_minute_is_one_too_many() {
        let failures = Failures::default();
        for number in 0..60 {
            assert!(failures.count("a", 60, BEGIN + number * SECOND / 2), "{number}");
        }
        for at in [BEGIN + 30 * SECOND, BEGIN + MINUTE - 1] {
            assert!(!failures.count("a", 60, at) && failures.is_full(&"a", 60, at));
        }
        assert!(failures.count("b", 60, BEGIN) && !failures.is_full(&"b", 60, BEGIN), "each on its own");
        // The first of them is a minute old: room for one, not for two.
        let at = BEGIN + MINUTE;
        assert!(!failures.is_full(&"a", 60, at) && failures.count("a", 60, at) && !failures.count("a", 60, at));
        assert!(failures.count("a", 60, at + SECOND / 2));
    }

    #[test]
    fn nothing_is_remembered_of_what_is_older_than_a_minute() {
        let failures = Failures::default();
        assert!(failures.count(1, 60, BEGIN));
        assert!(!failures.is_full(&1, 1, BEGIN + MINUTE));
        let known = failures.lock();
        assert_eq!((known.times.len(), known.failures), (0, 0));
    }

    #[test]
    fn many_addresses_take_bounded_room_and_who_finds_none_is_told_to_wait() {
        let failures = Failures::default();
        for key in 0..KEYS_MAX {
            assert!(failures.count(key, 60, BEGIN));
        }
        assert!(!failures.count(KEYS_MAX, 60, BEGIN + SECOND), "no room");
        assert!(failures.count(0, 60, BEGIN + SECOND), "one that is known");
        assert_eq!(failures.lock().times.len(), KEYS_MAX);
        assert!(failures.count(KEYS_MAX, 60, BEGIN + MINUTE));
        let known = failures.lock();
        assert_eq!((known.times.len(), known.failures), (2, 2));
    }

    #[test]
    fn a_limit_of_many_failures_takes_bounded_room_too() {
        let failures = Failures::default();
        assert!((0..FAILURES_MAX).all(|_| failures.count(1, u32::MAX, BEGIN)));
        assert!(!failures.count(1, u32::MAX, BEGIN) && !failures.count(2, u32::MAX, BEGIN));
        assert!(failures.count(2, u32::MAX, BEGIN + MINUTE));
    }

    #[test]
    fn addresses_of_one_customer_are_one() {
        let of = |text: &str| origin_of(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
