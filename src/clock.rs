//! What time it is, handed to everything that would otherwise look at a clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One reading of both clocks. Pure code gets it passed in; only threads of ours take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// Microseconds on the monotonic clock since the process started.
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

    /// The monotonic instant, in microseconds, that lies `wait` after this one.
    pub fn after(&self, wait: Duration) -> u64 {
        self.micros + wait.as_micros() as u64
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
        // Monotonic 0 would make "never" and "at the start" look alike.
        Clock(Source::Hands(Arc::new(Hands { micros: AtomicU64::new(1_000_000), unix_micros: AtomicU64::new(unix_micros) })))
    }

    pub fn now(&self) -> Now {
        match &self.0 {
            Source::Real { started } => Now {
                micros: started.elapsed().as_micros() as u64,
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
