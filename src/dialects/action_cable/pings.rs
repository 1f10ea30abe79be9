//! When a connection is pinged: at its own phase of the interval, whether data flows or not.

use super::shared::Live;
use crate::clock::Now;
use crate::message::Frame;
use crate::pace::Phase;
use std::time::Duration;

/// What a ping counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Millis,
    Nanos,
}

/// The pings of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Pings {
    /// Ticks between two pings.
    every: u16,
    unit: Unit,
    next: Phase,
}

impl Pings {
    /// `index` numbers the connections of a reactor.
    pub fn new(interval: Duration, unit: Unit, index: u32, now: Now) -> Pings {
        let every = Phase::every(interval);
        Pings { every, unit, next: Phase::new(every, index, now.micros) }
    }

    /// When the next one is due, in monotonic microseconds.
    pub fn due(&self) -> u64 {
        self.next.due()
    }

    /// The ping that is due, if one is. Those that were missed are not made up for.
    pub fn take(&mut self, live: &Live, now: Now) -> Option<Frame> {
        self.next.take(self.every, now.micros).then(|| match self.unit {
            Unit::Seconds => live.ping(now),
            Unit::Millis => super::frames::ping(now.unix_micros / 1_000),
            Unit::Nanos => super::frames::ping(now.unix_micros.saturating_mul(1_000)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::Rules;
    use super::*;

    fn at(micros: u64) -> Now {
        Now { micros, unix_micros: 1_795_191_434_000_000 + micros }
    }

    fn live() -> Live {
        Live::new(Rules::new(&toml::from_str("").unwrap()).unwrap(), [7; 32])
    }

    #[test]
    fn ac_12_the_first_ping_comes_within_an_interval_and_phases_are_even() {
        for begins in [0, 1, 99_999, 100_000, 12_345_678] {
            let mut slots = [0; 30];
            for index in 0..300 {
                let pings = Pings::new(Duration::from_secs(3), Unit::Seconds, index, at(begins));
                assert!(pings.due() > begins && pings.due() <= begins + 3_000_000, "{index} at {begins}");
                slots[(pings.due() / 100_000 % 30) as usize] += 1;
            }
            assert_eq!(slots, [10; 30]);
        }
    }

    #[test]
    fn pings_keep_their_phase_and_missed_ones_are_left_out() {
        let live = live();
        let mut pings = Pings::new(Duration::from_secs(3), Unit::Seconds, 5, at(0));
        assert_eq!(pings.due(), 500_000);
        assert!(pings.take(&live, at(499_999)).is_none());
        assert_eq!(*pings.take(&live, at(580_000)).unwrap(), *super::super::frames::ping(1_795_191_434));
        assert_eq!(pings.due(), 3_500_000);
        assert!(pings.take(&live, at(9_600_000)).is_some());
        assert_eq!(pings.due(), 12_500_000);
    }

    #[test]
    fn everybody_shares_the_ping_of_a_second() {
        let live = live();
        let take = |index, micros| Pings::new(Duration::from_secs(1), Unit::Seconds, index, at(0)).take(&live, at(micros));
        let (one, other) = (take(1, 1_000_000).unwrap(), take(9, 1_900_000).unwrap());
        assert!(std::sync::Arc::ptr_eq(&one, &other));
        assert!(!std::sync::Arc::ptr_eq(&one, &take(1, 2_000_000).unwrap()));
        let mut millis = Pings::new(Duration::from_secs(1), Unit::Millis, 1, at(0));
        assert_eq!(*millis.take(&live, at(1_000_000)).unwrap(), *super::super::frames::ping(1_795_191_435_000));
    }
}
