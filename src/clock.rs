//! What time it is, handed to everything that would otherwise look at a clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What the monotonic clock shows when the process starts, in microseconds: 400 days, so that what an earlier process left
/// has its age, too. Whatever is older counts as that old.
pub const BEGINS: u64 = 400 * 24 * 3_600 * 1_000_000;

/// One reading of both clocks. Pure code gets it passed in; only threads of ours take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// Microseconds on the monotonic clock, which stands at [`BEGINS`] when the process starts.
    pub micros: u64,
    /// Microseconds since the Unix epoch on the wall clock, which may step.
    pub unix_micros: u64,
}

impl Now {
    /// Whole seconds since the Unix epoch.
    pub fn unix_seconds(&self) -> u64 {
        self.unix_micros / 1_000_000
    }

    /// Whole milliseconds since the Unix epoch.
    pub fn unix_millis(&self) -> u64 {
        self.unix_micros / 1_000
    }

    /// Milliseconds since the process started.
    pub fn uptime_millis(&self) -> u64 {
        self.micros.saturating_sub(BEGINS) / 1_000
    }

    /// The monotonic instant, in microseconds, that lies `wait` after this one.
    pub fn after(&self, wait: Duration) -> u64 {
        self.micros + wait.as_micros() as u64
    }

    /// The monotonic instant, in microseconds, at which the wall clock showed that: now if that is still to come.
    pub fn at_unix(&self, unix_micros: u64) -> u64 {
        self.micros.saturating_sub(self.unix_micros.saturating_sub(unix_micros))
    }

    /// The monotonic instant, in microseconds, at which the wall clock will show that if it does not step: now if it did already.
    pub fn until_unix(&self, unix_micros: u64) -> u64 {
        self.micros.saturating_add(unix_micros.saturating_sub(self.unix_micros))
    }
}

/// Both clocks of the process, read together: the real ones, or hands that a test turns.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Real { started: Instant },
    Hands(Arc<Hands>),
}

#[derive(Debug)]
struct Hands {
    micros: AtomicU64,
    unix_micros: AtomicU64,
}

impl Clock {
    pub fn start() -> Clock {
        Clock(Source::Real { started: Instant::now() })
    }

    /// A clock that stands still until it is turned. Its copies share the hands.
    pub fn by_hand(unix_micros: u64) -> Clock {
        Clock(Source::Hands(Arc::new(Hands { micros: AtomicU64::new(BEGINS), unix_micros: AtomicU64::new(unix_micros) })))
    }

    pub fn now(&self) -> Now {
        match &self.0 {
            Source::Real { started } => Now {
                micros: BEGINS + started.elapsed().as_micros() as u64,
                unix_micros: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_micros() as u64,
            },
            Source::Hands(hands) => Now { micros: hands.micros.load(SeqCst), unix_micros: hands.unix_micros.load(SeqCst) },
        }
    }

    /// Turns both hands of a [`Clock::by_hand`]; the real clocks turn by themselves.
    pub fn turn(&self, by: Duration) {
        if let Source::Hands(hands) = &self.0 {
            hands.micros.fetch_add(by.as_micros() as u64, SeqCst);
            hands.unix_micros.fetch_add(by.as_micros() as u64, SeqCst);
        }
    }

    /// Steps the wall clock of a [`Clock::by_hand`], as an administrator or NTP would.
    pub fn set_wall(&self, unix_micros: u64) {
        if let Source::Hands(hands) = &self.0 {
            hands.unix_micros.store(unix_micros, SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_before_the_process_has_its_place_on_the_monotonic_clock() {
        let now = Now { micros: BEGINS + 5, unix_micros: 2_000_000_000_000_000 };
        assert_eq!(now.at_unix(now.unix_micros - 7), BEGINS - 2);
        assert_eq!(now.at_unix(now.unix_micros + 7), now.micros);
        assert_eq!(now.at_unix(0), 0);
    }

    #[test]
    fn hands_move_only_when_they_are_turned_and_the_wall_steps_alone() {
        let clock = Clock::by_hand(5_000_000);
        let copy = clock.clone();
        let before = copy.now();
        clock.turn(Duration::from_secs(2));
        assert_eq!(copy.now().micros - before.micros, 2_000_000);
        assert_eq!(copy.now().unix_seconds(), 7);
        clock.set_wall(1_000_000);
        assert_eq!((copy.now().micros - before.micros, copy.now().unix_seconds()), (2_000_000, 1));
    }
}
