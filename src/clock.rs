//! What time it is, handed to everything that would otherwise look at a clock.

use std::time::Duration;

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

    /// The monotonic instant, in microseconds, that lies `wait` after this one.
    pub fn after(&self, wait: Duration) -> u64 {
        self.micros + wait.as_micros() as u64
    }
}

/// The two real clocks of the process, read together.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: std::time::Instant,
}

impl Clock {
    pub fn start() -> Clock {
        Clock { started: std::time::Instant::now() }
    }

    pub fn now(&self) -> Now {
        let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now { micros: self.started.elapsed().as_micros() as u64, unix_micros: unix.as_micros() as u64 }
    }
}
