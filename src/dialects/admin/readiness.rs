//! Whether the server takes new work: set by whoever starts and stops it, read by `/ready`.

use std::sync::atomic::{AtomicU8, Ordering};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Starting,
    Ready,
    Draining,
}

/// Starting, then ready, then draining; never back.
#[derive(Debug, Default)]
pub struct Readiness(AtomicU8);

impl Readiness {
    /// Every door is open.
    pub fn started(&self) {
        self.0.fetch_max(1, Ordering::Relaxed);
    }

    /// The stop has begun.
    pub fn draining(&self) {
        self.0.fetch_max(2, Ordering::Relaxed);
    }

    pub fn read(&self) -> State {
        match self.0.load(Ordering::Relaxed) {
            0 => State::Starting,
            1 => State::Ready,
            _ => State::Draining,
        }
    }
}
