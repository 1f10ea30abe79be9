//! Times and rates of a connection, packed so that an idle session stays small.

use std::time::Duration;

/// How many frames a client may still send: the generic cell rate algorithm on one wrapping microsecond counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRate {
    /// When the bucket will be empty again, in microseconds, modulo 2^32.
    empty_at: u32,
}

/// A burst is what ten seconds allow.
const WINDOW_MICROS: u32 = 10_000_000;

/// [`FrameRate::settle`] must be called at least this often: the counter wraps after 71 minutes.
pub const SETTLE_EVERY: Duration = Duration::from_secs(30 * 60);

impl FrameRate {
    pub fn new(now_micros: u64) -> FrameRate {
        FrameRate { empty_at: now_micros as u32 }
    }

    /// Counts a frame; false if it is one too many. `per_second` is at most 100,000; 0 = no limit.
    pub fn take(&mut self, now_micros: u64, per_second: u32) -> bool {
        if per_second == 0 {
            return true;
        }
        let filled = self.filled(now_micros) + 1_000_000 / per_second;
        if filled > WINDOW_MICROS {
            return false;
        }
        self.empty_at = (now_micros as u32).wrapping_add(filled);
        true
    }

    /// Forgets a time that has passed, before the counter wraps around to it.
    pub fn settle(&mut self, now_micros: u64) {
        self.empty_at = (now_micros as u32).wrapping_add(self.filled(now_micros));
    }

    fn filled(&self, now_micros: u64) -> u32 {
        let ahead = self.empty_at.wrapping_sub(now_micros as u32);
        if ahead > WINDOW_MICROS { 0 } else { ahead }
    }
}

/// When a connection began, kept in sixteen bits: tenths of a second, or coarser for a long time to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun(u16);

impl Begun {
    pub fn new(now_micros: u64, ttl: Duration) -> Begun {
        Begun(now_micros.div_ceil(unit(ttl)) as u16)
    }

    /// The microsecond at which the time to live is over, at most one unit late. To be asked while it is not long over.
    pub fn ends_at(self, now_micros: u64, ttl: Duration) -> u64 {
        let unit = unit(ttl);
        let here = now_micros.div_ceil(unit);
        let age = u64::from((here as u16).wrapping_sub(self.0));
        (here - age.min(here)) * unit + ttl.as_micros() as u64
    }
}

/// The sixteen bits cover more than twice the time to live.
fn unit(ttl: Duration) -> u64 {
    (ttl.as_micros() as u64 / 30_000).max(100_000)
}

/// Since when a ping waits for a sign of life: tenths of a second in sixteen bits, 0 = none waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Unanswered(u16);

impl Unanswered {
    const TENTHS: u64 = 65_535;

    /// A ping was sent; an earlier unanswered one counts on.
    pub fn sent(&mut self, now_micros: u64) {
        if self.0 == 0 {
            self.0 = (now_micros.div_ceil(100_000) % Unanswered::TENTHS) as u16 + 1;
        }
    }

    pub fn heard(&mut self) {
        self.0 = 0;
    }

    /// The microsecond at which patience (at most an hour) ends; `None` if nothing waits.
    pub fn ends_at(self, now_micros: u64, patience: Duration) -> Option<u64> {
        let since = u64::from(self.0.checked_sub(1)?);
        let here = now_micros.div_ceil(100_000);
        let age = (here % Unanswered::TENTHS + Unanswered::TENTHS - since) % Unanswered::TENTHS;
        Some((here - age.min(here)) * 100_000 + patience.as_micros() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn a_burst_is_ten_times_the_rate_and_refills() {
        for start in [0, 7 * SECOND, u64::from(u32::MAX) - 3, 1 << 40] {
            let mut rate = FrameRate::new(start);
            assert_eq!((0..300).filter(|_| rate.take(start, 20)).count(), 200);
            assert_eq!((0..300).filter(|_| rate.take(start + SECOND, 20)).count(), 20);
            assert_eq!((0..300).filter(|_| rate.take(start + 100 * SECOND, 20)).count(), 200);
        }
    }

    #[test]
    fn the_exact_rate_is_never_refused() {
        let mut rate = FrameRate::new(0);
        assert!((0..100_000u64).all(|frame| rate.take(frame * 50_000, 20)));
        assert!((0..1_000_000).all(|_| rate.take(0, 0)));
    }

    #[test]
    fn a_settled_rate_does_not_remember_after_the_counter_wrapped() {
        let mut rate = FrameRate::new(0);
        (0..200).for_each(|_| assert!(rate.take(0, 20)));
        for turn in 1..=3 {
            rate.settle(turn * SETTLE_EVERY.as_micros() as u64);
        }
        assert_eq!((0..300).filter(|_| rate.take(1 << 32, 20)).count(), 200);
    }

    #[test]
    fn a_time_to_live_ends_when_it_should_at_any_uptime() {
        for ttl in [4, 3600, 86_400 * 30].map(Duration::from_secs) {
            for start in [0, 50_000, 123_456_789, 86_400 * 400 * SECOND + 1] {
                let begun = Begun::new(start, ttl);
                let exact = start + ttl.as_micros() as u64;
                for asked in [start, start + ttl.as_micros() as u64 / 2, exact] {
                    let ends = begun.ends_at(asked, ttl);
                    assert!((exact..=exact + unit(ttl)).contains(&ends), "{ttl:?} {start} {asked}: {ends}");
                }
            }
        }
    }

    #[test]
    fn an_unanswered_ping_ends_patience_counted_from_the_first() {
        let patience = Duration::from_secs(30);
        for start in [0, 99_999, 6_553_500_000, 1 << 45] {
            let mut waits = Unanswered::default();
            assert_eq!(waits.ends_at(start, patience), None);
            waits.sent(start);
            waits.sent(start + 10 * SECOND);
            let ends = waits.ends_at(start + 20 * SECOND, patience).unwrap();
            assert!((start + 30 * SECOND..=start + 30 * SECOND + 100_000).contains(&ends), "{start}: {ends}");
            waits.heard();
            assert_eq!(waits.ends_at(start, patience), None);
        }
    }
}
