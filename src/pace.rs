//! When things happen that must not happen to everybody at once, and how often a client may do something.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The timers of sessions count in these.
pub const TICK_MICROS: u64 = 100_000;

const MICROS: u64 = 1_000_000;

/// When something comes round next that each connection of a reactor has at a phase of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    tick: u32,
}

impl Phase {
    /// The longest interval there is: 6553.5 seconds.
    pub const LONGEST: Duration = Duration::from_millis(u16::MAX as u64 * TICK_MICROS / 1_000);

    /// An interval in ticks, as the methods take it.
    pub fn every(interval: Duration) -> u16 {
        (interval.as_micros() as u64 / TICK_MICROS).clamp(1, u64::from(u16::MAX)) as u16
    }

    /// The first time comes within one interval; `index` numbers the connections of a reactor and spreads them over it.
    pub fn new(every: u16, index: u32, now_micros: u64) -> Phase {
        let every = u32::from(every);
        let tick = (now_micros / TICK_MICROS) as u32;
        let ahead = (index % every + every - tick % every - 1) % every + 1;
        Phase { tick: tick + ahead }
    }

    /// In monotonic microseconds.
    pub fn due(self) -> u64 {
        u64::from(self.tick) * TICK_MICROS
    }

    /// Whether the time has come; then the next one is due. Those that were missed are not made up for.
    pub fn take(&mut self, every: u16, now_micros: u64) -> bool {
        if now_micros < self.due() {
            return false;
        }
        let behind = (now_micros / TICK_MICROS) as u32 - self.tick;
        self.tick += (behind / u32::from(every) + 1) * u32::from(every);
        true
    }
}

/// An instant as a small session keeps it: monotonic, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(u32);

impl Tick {
    /// What never comes.
    pub const NEVER: Tick = Tick(u32::MAX);

    /// The one that lasts now.
    pub fn at(micros: u64) -> Tick {
        Tick(u32::try_from(micros / TICK_MICROS).unwrap_or(u32::MAX))
    }

    /// The first that has not begun.
    pub fn after(micros: u64) -> Tick {
        Tick(Tick::at(micros).0.saturating_add(1))
    }

    /// When it begins.
    pub fn micros(self) -> u64 {
        if self == Tick::NEVER { u64::MAX } else { u64::from(self.0) * TICK_MICROS }
    }
}

/// Whether a client is still there: it is pinged now and then, and has to let something be heard.
#[derive(Clone, Copy, Debug)]
pub struct Pulse {
    ping: Phase,
    /// Before it something complete came from the client.
    heard: Tick,
}

/// What a client's pulse asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    Nothing,
    Ping,
    /// It has been silent for too long.
    Gone,
}

impl Pulse {
    /// `every` is [`Phase::every`] of the interval between pings.
    pub fn new(every: u16, index: u32, now_micros: u64) -> Pulse {
        Pulse { ping: Phase::new(every, index, now_micros), heard: Tick::after(now_micros) }
    }

    /// Something complete came from the client.
    pub fn hear(&mut self, now_micros: u64) {
        self.heard = Tick::after(now_micros);
    }

    /// When to look next.
    pub fn due(&self, silence: Duration) -> u64 {
        self.ping.due().min(self.silent_at(silence))
    }

    fn silent_at(&self, silence: Duration) -> u64 {
        self.heard.micros().saturating_add(silence.as_micros() as u64)
    }

    /// Looks. `any` says that bytes came since the last look, of whatever.
    pub fn look(&mut self, every: u16, silence: Duration, any: bool, now_micros: u64) -> Beat {
        let last_ping = self.ping.due().saturating_sub(u64::from(every) * TICK_MICROS);
        if any && self.heard.micros() < last_ping {
            // Of something that is not complete yet.
            self.hear(now_micros);
        }
        if self.silent_at(silence) <= now_micros {
            return Beat::Gone;
        }
        if self.ping.take(every, now_micros) { Beat::Ping } else { Beat::Nothing }
    }
}

/// The goodbyes of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goodbyes {
    /// Over how long they are spread.
    pub spread: Duration,
    /// How long the peer may take to answer its own.
    pub answering: Duration,
}

impl Goodbyes {
    /// They take `drain_time`, unless `stop`, which is what the whole server has, is too short for it and the last answer:
    /// who is told to go last has to be gone in time, too.
    pub fn new(drain_time: Duration, close_time: Duration, stop: Duration) -> Goodbyes {
        let answering = close_time.min(stop / 5);
        Goodbyes { spread: drain_time.min(stop - answering), answering }
    }

    /// When this connection says its own. Neighbours in the slab are far from each other (Knuth's multiplicative hash).
    pub fn due(&self, index: u32, now_micros: u64) -> u64 {
        let share = index.wrapping_mul(0x9E37_79B1);
        now_micros + ((self.spread.as_micros() as u64 * u64::from(share)) >> 32)
    }
}

/// Closes that come in slices: so many connections at once, the next ones an interval later.
#[derive(Debug, Default)]
pub struct Slices {
    closed: AtomicU64,
}

impl Slices {
    /// How long the next connection has to wait.
    pub fn delay(&self, connections: u32, interval: Duration) -> Duration {
        let slice = self.closed.fetch_add(1, Relaxed) / u64::from(connections.max(1));
        interval.saturating_mul(u32::try_from(slice).unwrap_or(u32::MAX))
    }
}

/// How often something has happened lately: each time within a window that slides, in monotonic microseconds.
#[derive(Clone, Debug, Default)]
pub struct Lately(VecDeque<u64>);

impl Lately {
    /// It has happened once more. Returns how often it has within the window.
    pub fn count(&mut self, now_micros: u64, window: u64) -> usize {
        self.forget(now_micros, window);
        self.0.push_back(now_micros);
        self.0.len()
    }

    /// Forgets what lies before the window; returns how much that was.
    pub fn forget(&mut self, now_micros: u64, window: u64) -> usize {
        let gone = self.0.partition_point(|&at| at + window <= now_micros);
        self.0.drain(..gone).count()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How much a client may do: one bucket of the generic cell rate algorithm.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    /// When all that was done so far is forgotten, in monotonic microseconds.
    forgotten_at: u64,
}

impl Rate {
    /// Counts one more, or says that it is one too many, which then does not count. 0 per second = no limit.
    pub fn take(&mut self, now_micros: u64, per_second: u64, burst: u64) -> bool {
        if per_second == 0 {
            return true;
        }
        // Each costs its share of a second.
        let each = MICROS / per_second;
        let forgotten_at = self.forgotten_at.max(now_micros) + each;
        let holds = forgotten_at <= now_micros + burst * each;
        if holds {
            self.forgotten_at = forgotten_at;
        }
        holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_comes_within_an_interval_and_phases_are_even() {
        let every = Phase::every(Duration::from_secs(3));
        for begins in [0, 1, 99_999, 100_000, 12_345_678] {
            let mut slots = [0; 30];
            for index in 0..300 {
                let phase = Phase::new(every, index, begins);
                assert!(phase.due() > begins && phase.due() <= begins + 3_000_000, "{index} at {begins}");
                slots[(phase.tick % 30) as usize] += 1;
            }
            assert_eq!(slots, [10; 30]);
        }
    }

    #[test]
    fn phases_stay_and_missed_times_are_left_out() {
        let every = Phase::every(Duration::from_secs(3));
        let mut phase = Phase::new(every, 5, 0);
        assert_eq!(phase.due(), 500_000);
        assert!(!phase.take(every, 499_999));
        assert!(phase.take(every, 580_000));
        assert_eq!(phase.due(), 3_500_000);
        assert!(phase.take(every, 9_600_000));
        assert_eq!(phase.due(), 12_500_000);
    }

    #[test]
    fn an_interval_has_a_tick_at_least() {
        assert_eq!(Phase::every(Duration::ZERO), 1);
        assert_eq!(Phase::every(Duration::from_secs(86_400)), u16::MAX);
        assert_eq!(Phase::every(Phase::LONGEST), u16::MAX);
    }

    #[test]
    fn ticks_begin_at_tenths_of_a_second() {
        assert_eq!((Tick::at(99_999).micros(), Tick::at(100_000).micros(), Tick::after(100_000).micros()), (0, 100_000, 200_000));
        assert_eq!((Tick::at(u64::MAX), Tick::after(u64::MAX), Tick::NEVER.micros()), (Tick::NEVER, Tick::NEVER, u64::MAX));
    }

    #[test]
    fn a_client_is_pinged_at_its_phase_and_gone_after_its_silence() {
        let (every, silence) = (Phase::every(Duration::from_secs(30)), Duration::from_secs(75));
        let mut pulse = Pulse::new(every, 99, 0);
        let mut beats = Vec::new();
        for second in 1..=75 {
            let beat = pulse.look(every, silence, false, second * 1_000_000);
            if beat != Beat::Nothing {
                beats.push((second, beat));
            }
        }
        // Its phase is ten seconds; what came before a tenth of a second was over counts from its end.
        assert_eq!(beats, [(10, Beat::Ping), (40, Beat::Ping), (70, Beat::Ping)]);
        assert_eq!(pulse.due(silence), 75_100_000);
        let mut heard = pulse;
        assert_eq!(pulse.look(every, silence, false, 75_100_000), Beat::Gone);
        heard.hear(74_000_000);
        assert_eq!(heard.look(every, silence, false, 75_100_000), Beat::Nothing);
        assert_eq!(heard.due(silence), 99_900_000);
    }

    #[test]
    fn bytes_of_something_incomplete_are_signs_of_life() {
        let (every, silence) = (Phase::every(Duration::from_secs(30)), Duration::from_secs(75));
        let mut pulse = Pulse::new(every, 0, 0);
        for second in 1..=200 {
            assert_ne!(pulse.look(every, silence, second % 50 == 0, second * 1_000_000), Beat::Gone, "{second}");
        }
    }

    #[test]
    fn goodbyes_take_their_drain_time_unless_the_servers_is_too_short_for_it() {
        let of = |stop| {
            let goodbyes = Goodbyes::new(Duration::from_secs(30), Duration::from_secs(5), Duration::from_secs(stop));
            (goodbyes.spread.as_secs(), goodbyes.answering.as_secs())
        };
        assert_eq!((of(35), of(100), of(10)), ((30, 5), (30, 5), (8, 2)));
    }

    #[test]
    fn goodbyes_are_spread_evenly() {
        let goodbyes = Goodbyes { spread: Duration::from_secs(10), answering: Duration::ZERO };
        let mut seconds = [0; 10];
        for index in 0..1_000 {
            seconds[(goodbyes.due(index, 7_000_000) - 7_000_000) as usize / 1_000_000] += 1;
        }
        assert!(seconds.iter().all(|count| (99..=101).contains(count)), "{seconds:?}");
    }

    #[test]
    fn slices_follow_each_other_at_their_interval() {
        let slices = Slices::default();
        let delays: Vec<u128> = (0..5).map(|_| slices.delay(2, Duration::from_millis(10)).as_millis()).collect();
        assert_eq!(delays, [0, 0, 10, 10, 20]);
        assert_eq!(Slices::default().delay(0, Duration::MAX), Duration::ZERO);
    }

    #[test]
    fn what_has_happened_lately_is_forgotten_when_its_window_is_over() {
        let mut lately = Lately::default();
        assert_eq!([10, 15, 19].map(|now| lately.count(now, 10)), [1, 2, 3]);
        assert_eq!((lately.forget(19, 10), lately.len()), (0, 3));
        assert_eq!(lately.count(20, 10), 3, "the first is as old as the window");
        assert_eq!((lately.forget(29, 10), lately.len(), lately.is_empty()), (2, 1, false));
        assert_eq!((lately.forget(30, 10), lately.is_empty()), (1, true));
    }

    #[test]
    fn a_burst_is_taken_at_once_and_then_the_rate() {
        let start = 77_000_000;
        let mut rate = Rate::default();
        assert!((0..100).all(|_| rate.take(start, 20, 100)));
        assert!(!rate.take(start, 20, 100));
        assert!((1..=20).all(|step| rate.take(start + step * 50_000, 20, 100)));
        assert!(!rate.take(start + 1_000_000, 20, 100));
    }

    #[test]
    fn what_is_refused_does_not_count_and_silence_is_not_saved_up() {
        let mut rate = Rate::default();
        assert!(rate.take(1_000_000, 1, 2) && rate.take(90_000_000, 1, 2) && rate.take(90_000_000, 1, 2));
        assert!((0..50).all(|_| !rate.take(90_000_000, 1, 2)));
        assert!(rate.take(91_000_000, 1, 2));
    }

    #[test]
    fn no_rate_is_no_limit() {
        let mut rate = Rate::default();
        assert!((0..10_000).all(|_| rate.take(0, 0, 5)));
    }
}
