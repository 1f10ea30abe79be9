//! How much a client may say: so many per second, and what some seconds allow at once.

const MICROS: u64 = 1_000_000;

/// One bucket of the generic cell rate algorithm.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flood {
    /// When all that was said so far is forgotten, in monotonic microseconds.
    forgotten_at: u64,
}

impl Flood {
    /// Counts one more; false if it is one too many. 0 per second = no limit.
    pub fn take(&mut self, now_micros: u64, per_second: u64, burst_seconds: u64) -> bool {
        if per_second == 0 {
            return true;
        }
        // Each costs its share of a second.
        self.forgotten_at = self.forgotten_at.max(now_micros) + MICROS / per_second;
        self.forgotten_at <= now_micros + burst_seconds * MICROS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_at_once_and_then_the_rate() {
        let mut flood = Flood::default();
        let start = 77_000_000;
        assert!((0..100).all(|_| flood.take(start, 20, 5)));
        assert!(!flood.take(start, 20, 5));
        let mut flood = Flood::default();
        assert!((0..100).all(|_| flood.take(start, 20, 5)));
        assert!((1..=20).all(|step| flood.take(start + step * 50_000, 20, 5)));
        assert!(!flood.take(start + 1_000_000, 20, 5));
    }

    #[test]
    fn silence_is_forgiven_but_not_saved_up() {
        let mut flood = Flood::default();
        assert!(flood.take(1_000_000, 1, 2) && flood.take(90_000_000, 1, 2) && flood.take(90_000_000, 1, 2));
        assert!(!flood.take(90_000_000, 1, 2));
    }

    #[test]
    fn no_rate_is_no_limit() {
        let mut flood = Flood::default();
        assert!((0..10_000).all(|_| flood.take(0, 0, 5)));
    }
}
