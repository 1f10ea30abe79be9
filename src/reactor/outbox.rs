//! What waits for a socket: whole runs of shared frames and an offset into the front one.

use super::transport::Transport;
use crate::message::Frame;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

/// Consecutive frames of one encoding in one piece, shared by every outbox it is in.
#[derive(Debug)]
pub struct Run {
    pub bytes: Frame,
}

impl Run {
    pub fn new(bytes: impl Into<Frame>) -> Arc<Run> {
        Arc::new(Run { bytes: bytes.into() })
    }
}

/// Runs that one outbox may hold beside its byte bound.
pub const RUNS_MAX: usize = 64;
/// Bytes that one connection may write in one turn.
const WRITE_TURN_BYTES: usize = 256 * 1024;
const SLICES_MAX: usize = 64;

/// An idle connection's outbox costs nothing; one waiting run is inline.
#[derive(Debug, Default)]
pub enum Outbox {
    #[default]
    Nothing,
    One(Arc<Run>),
    Many(Box<Queue>),
}

#[derive(Debug)]
pub struct Queue {
    /// `true` marks urgent runs.
    runs: VecDeque<(Arc<Run>, bool)>,
    /// Bytes of the front run that the socket has taken.
    written: usize,
    /// Bytes that wait.
    bytes: usize,
    /// Monotonic microseconds at which the socket last took a byte, or refused the first one.
    pub progress_at: u64,
}

/// How a flush ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Flushed {
    Everything,
    /// The write turn is used up; the socket would take more.
    Turn,
    /// The socket refused: only an event makes it writable again.
    Refused,
    Broken,
}

impl Outbox {
    pub fn is_empty(&self) -> bool {
        matches!(self, Outbox::Nothing)
    }

    /// Bytes that wait for the socket.
    pub fn bytes(&self) -> usize {
        match self {
            Outbox::Nothing => 0,
            Outbox::One(run) => run.bytes.len(),
            Outbox::Many(queue) => queue.bytes,
        }
    }

    /// Whether one more run of this size stays within the window. One run always fits.
    pub fn fits(&self, bytes: usize, bytes_max: usize) -> bool {
        match self {
            Outbox::Nothing => true,
            Outbox::One(run) => run.bytes.len() + bytes <= bytes_max,
            Outbox::Many(queue) => queue.runs.len() < RUNS_MAX && queue.bytes + bytes <= bytes_max,
        }
    }

    pub fn push(&mut self, run: Arc<Run>, now_micros: u64) {
        if run.bytes.is_empty() {
            return;
        }
        match self {
            Outbox::Nothing => *self = Outbox::One(run),
            Outbox::One(_) | Outbox::Many(_) => {
                let queue = self.queue(now_micros);
                queue.bytes += run.bytes.len();
                queue.runs.push_back((run, false));
            }
        }
        self.check();
    }

    /// Behind the front run if the socket has a part of that one and behind other urgent runs, before everything else.
    pub fn push_urgent(&mut self, run: Arc<Run>, now_micros: u64) {
        // A queue also for the first: the next urgent run must not overtake it.
        let queue = self.queue(now_micros);
        queue.bytes += run.bytes.len();
        let partial = usize::from(queue.written > 0);
        let urgent = queue.runs.iter().skip(partial).take_while(|(_, urgent)| *urgent).count();
        queue.runs.insert(partial + urgent, (run, true));
        self.check();
    }

    fn queue(&mut self, now_micros: u64) -> &mut Queue {
        if let Outbox::One(_) | Outbox::Nothing = self {
            let mut queue = Box::new(Queue { runs: VecDeque::with_capacity(2), written: 0, bytes: 0, progress_at: now_micros });
            if let Outbox::One(run) = std::mem::take(self) {
                queue.bytes = run.bytes.len();
                queue.runs.push_back((run, false));
            }
            *self = Outbox::Many(queue);
        }
        match self {
            Outbox::Many(queue) => queue,
            Outbox::Nothing | Outbox::One(_) => unreachable!("made a queue just above"),
        }
    }

    /// Since when the socket has taken nothing although something waits.
    pub fn stalled_since(&self) -> Option<u64> {
        match self {
            Outbox::Nothing | Outbox::One(_) => None,
            Outbox::Many(queue) => Some(queue.progress_at),
        }
    }

    /// Writes what the socket takes. `wrote` hears of every call that took bytes.
    pub fn flush(&mut self, transport: &mut impl Transport, now_micros: u64, mut wrote: impl FnMut(usize)) -> Flushed {
        let mut turn = 0;
        loop {
            let result = match self {
                Outbox::Nothing => return Flushed::Everything,
                Outbox::One(run) => transport.write(&[IoSlice::new(&run.bytes)]),
                Outbox::Many(queue) => queue.write(transport),
            };
            match result {
                Ok(0) => return Flushed::Broken,
                Ok(taken) => {
                    wrote(taken);
                    self.took(taken, now_micros);
                    turn += taken;
                    if self.is_empty() {
                        return Flushed::Everything;
                    }
                    if turn >= WRITE_TURN_BYTES {
                        return Flushed::Turn;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // From here on somebody has to watch whether the client ever takes anything.
                    self.queue(now_micros);
                    return Flushed::Refused;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Flushed::Broken,
            }
        }
    }

    fn took(&mut self, taken: usize, now_micros: u64) {
        if let Outbox::One(run) = self
            && run.bytes.len() == taken
        {
            *self = Outbox::Nothing;
            return;
        }
        let queue = self.queue(now_micros);
        queue.bytes -= taken;
        queue.written += taken;
        queue.progress_at = now_micros;
        while let Some(front) = queue.runs.front()
            && queue.written >= front.0.bytes.len()
        {
            queue.written -= front.0.bytes.len();
            queue.runs.pop_front();
        }
        if queue.runs.is_empty() {
            *self = Outbox::Nothing;
        }
        self.check();
    }

    fn check(&self) {
        if let Outbox::Many(queue) = self {
            debug_assert_eq!(queue.bytes + queue.written, queue.runs.iter().map(|(run, _)| run.bytes.len()).sum::<usize>());
            debug_assert!(queue.runs.front().is_none_or(|(front, _)| queue.written < front.bytes.len()));
        }
    }
}

impl Queue {
    fn write(&self, transport: &mut impl Transport) -> io::Result<usize> {
        let mut skip = self.written;
        let slices: smallvec::SmallVec<[IoSlice<'_>; SLICES_MAX]> =
            self.runs.iter().take(SLICES_MAX).map(|(run, _)| IoSlice::new(&run.bytes[std::mem::take(&mut skip)..])).collect();
        transport.write(&slices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Xorshift(u64);

    impl Xorshift {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % bound as u64) as usize
        }
    }

    /// Takes as much as chance allows.
    struct Pipe {
        random: Xorshift,
        seen: Vec<u8>,
    }

    impl Transport for Pipe {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Ok(0)
        }
        fn write(&mut self, frames: &[IoSlice<'_>]) -> io::Result<usize> {
            if self.random.below(3) == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let all: Vec<u8> = frames.iter().flat_map(|frame| frame.to_vec()).collect();
            let taken = 1 + self.random.below(all.len());
            self.seen.extend_from_slice(&all[..taken]);
            Ok(taken)
        }
        fn shutdown(&mut self) {}
    }

    /// However the kernel slices the writes, the client sees the same bytes, and urgent runs stand at run borders.
    #[test]
    fn any_sequence_of_partial_writes_preserves_the_stream() {
        for seed in 1..300 {
            let mut pipe = Pipe { random: Xorshift(seed), seen: Vec::new() };
            let mut random = Xorshift(seed * 7919);
            let mut outbox = Outbox::default();
            let mut expected = Vec::new();
            let mut urgent = 0u8;
            for number in 0..60u8 {
                let run = vec![number; 1 + random.below(40)];
                outbox.push(Run::new(run.clone()), 0);
                expected.extend_from_slice(&run);
                for _ in 0..random.below(3) {
                    urgent += 1;
                    outbox.push_urgent(Run::new(vec![255, 100 + urgent % 100, 255]), 0);
                }
                outbox.flush(&mut pipe, 0, |_| ());
            }
            while !outbox.is_empty() {
                outbox.flush(&mut pipe, 0, |_| ());
            }
            let ordinary: Vec<u8> = pipe.seen.iter().copied().filter(|&byte| byte < 100).collect();
            assert_eq!(ordinary, expected, "seed {seed}");
            let pieces: Vec<u8> = pipe.seen.iter().copied().filter(|&byte| byte >= 100).collect();
            let numbers: Vec<u8> = (1..=urgent).flat_map(|number| [255, 100 + number % 100, 255]).collect();
            assert_eq!(pieces, numbers, "seed {seed}: urgent runs keep their order and are never cut");
        }
    }

    #[test]
    fn one_run_always_fits_and_then_the_window_counts() {
        let mut outbox = Outbox::default();
        assert!(outbox.fits(1_000_000, 100));
        outbox.push(Run::new(vec![0; 1_000_000]), 0);
        assert!(!outbox.fits(1, 100));
        let mut outbox = Outbox::default();
        for _ in 0..RUNS_MAX {
            assert!(outbox.fits(1, 1_000));
            outbox.push(Run::new(vec![0]), 0);
        }
        assert!(!outbox.fits(1, 1_000));
    }

    #[test]
    fn urgent_runs_keep_their_order_from_the_first_on() {
        let mut outbox = Outbox::default();
        for run in [&b"1"[..], b"2", b"3"] {
            outbox.push_urgent(Run::new(run), 0);
        }
        let mut pipe = Pipe { random: Xorshift(7), seen: Vec::new() };
        while outbox.flush(&mut pipe, 0, |_| ()) != Flushed::Everything {}
        assert_eq!(pipe.seen, b"123");
    }

    #[test]
    fn stalling_counts_from_the_first_refusal_and_ends_with_each_byte() {
        struct Wall(bool);
        impl Transport for Wall {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Ok(0)
            }
            fn write(&mut self, _: &[IoSlice<'_>]) -> io::Result<usize> {
                if self.0 { Ok(1) } else { Err(io::ErrorKind::WouldBlock.into()) }
            }
            fn shutdown(&mut self) {}
        }
        let mut outbox = Outbox::default();
        outbox.push(Run::new(&b"abc"[..]), 0);
        assert_eq!(outbox.stalled_since(), None);
        assert_eq!(outbox.flush(&mut Wall(false), 10, |_| ()), Flushed::Refused);
        assert_eq!(outbox.stalled_since(), Some(10));
        outbox.push(Run::new(&b"d"[..]), 20);
        assert_eq!(outbox.stalled_since(), Some(10), "more to send is no progress");
        assert_eq!(outbox.flush(&mut Wall(true), 30, |_| ()), Flushed::Everything);
    }

    #[test]
    fn an_idle_outbox_takes_sixteen_bytes() {
        assert_eq!(size_of::<Outbox>(), 16);
    }
}
