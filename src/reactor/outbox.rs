//! What waits for a socket: whole runs of shared frames and an offset into the front one.

use super::transport::Transport;
use crate::message::Frame;
use crate::websocket::encoder;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

/// Consecutive frames that leave together.
#[derive(Debug)]
pub enum Run {
    /// In one piece, shared by every outbox it is in.
    Shared(Frame),
    /// While it waits, the next one takes its place.
    Ping(Frame),
    /// Text frames that begin with what is one client's own; what follows is shared by everybody.
    Prefixed { prefix: Frame, tails: Arc<[Frame]>, len: usize },
}

impl Run {
    pub fn new(bytes: impl Into<Frame>) -> Arc<Run> {
        Arc::new(Run::Shared(bytes.into()))
    }

    /// One text frame of `prefix` and a tail for each of the tails.
    pub fn prefixed(prefix: Frame, tails: Arc<[Frame]>) -> Arc<Run> {
        let len = tails.iter().map(|tail| frame_len(&prefix, tail)).sum();
        Arc::new(Run::Prefixed { prefix, tails, len })
    }

    /// The same tails behind another prefix.
    pub fn behind(self: &Arc<Run>, prefix: &Frame) -> Arc<Run> {
        match &**self {
            Run::Prefixed { prefix: own, tails, .. } if !Arc::ptr_eq(own, prefix) => Run::prefixed(prefix.clone(), tails.clone()),
            Run::Prefixed { .. } | Run::Shared(_) | Run::Ping(_) => self.clone(),
        }
    }

    /// Bytes on the wire.
    pub fn len(&self) -> usize {
        match self {
            Run::Shared(bytes) | Run::Ping(bytes) => bytes.len(),
            Run::Prefixed { len, .. } => *len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The frames up to and with the one that the byte `written` belongs to, where that can be told.
    fn begun(&self, written: usize) -> Option<Arc<Run>> {
        let Run::Prefixed { prefix, tails, .. } = self else { return None };
        let mut end = 0;
        let unbegun = tails.iter().position(|tail| {
            let begins = end;
            end += frame_len(prefix, tail);
            begins >= written
        })?;
        Some(Run::prefixed(prefix.clone(), tails[..unbegun].into()))
    }
}

fn frame_len(prefix: &[u8], tail: &[u8]) -> usize {
    let payload = prefix.len() + tail.len();
    encoder::header_len(payload) + payload
}

/// Runs that one outbox may hold beside its byte bound.
pub const RUNS_MAX: usize = 64;
/// Bytes that one connection may write in one turn.
const WRITE_TURN_BYTES: usize = 256 * 1024;
const SLICES_MAX: usize = 64;
/// Smaller pieces are copied into one before a write: each further piece costs the kernel more than such a copy.
/// Over loopback one `send` of a copy takes 3.2 µs for 4 KiB, `writev` 3.6; for runs of 16 frames both take as long then.
const COPIED_BYTES_MAX: usize = 4096;

/// What one write offers to a socket: pieces of runs, small ones next to each other in one.
struct Gathered<'a> {
    parts: SmallVec<[Part<'a>; 4]>,
    copied: &'a mut Vec<u8>,
    /// Bytes at the front that the socket has taken already.
    skip: usize,
    len: usize,
}

enum Part<'a> {
    /// The next so many bytes of `copied`.
    Copied(usize),
    Shared(&'a [u8]),
}

impl<'a> Gathered<'a> {
    fn is_full(&self) -> bool {
        self.parts.len() >= SLICES_MAX || self.len >= WRITE_TURN_BYTES
    }

    fn run(&mut self, run: &'a Run) {
        match run {
            Run::Shared(bytes) | Run::Ping(bytes) => self.piece(bytes),
            Run::Prefixed { prefix, tails, .. } => {
                for tail in tails.iter() {
                    if self.is_full() {
                        return;
                    }
                    self.header(prefix.len() + tail.len());
                    self.piece(prefix);
                    self.piece(tail);
                }
            }
        }
    }

    fn header(&mut self, payload: usize) {
        let begins = self.copied.len();
        encoder::text_header(payload, self.copied);
        let skipped = self.skip.min(self.copied.len() - begins);
        self.skip -= skipped;
        self.copied.drain(begins..begins + skipped);
        self.has_copied(self.copied.len() - begins);
    }

    fn piece(&mut self, bytes: &'a [u8]) {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        let bytes = &bytes[skipped..];
        if bytes.len() > COPIED_BYTES_MAX {
            self.parts.push(Part::Shared(bytes));
            self.len += bytes.len();
        } else {
            self.copied.extend_from_slice(bytes);
            self.has_copied(bytes.len());
        }
    }

    fn has_copied(&mut self, count: usize) {
        self.len += count;
        match self.parts.last_mut() {
            Some(Part::Copied(len)) => *len += count,
            Some(Part::Shared(_)) | None => self.parts.push(Part::Copied(count)),
        }
    }

    fn write(self, transport: &mut impl Transport) -> io::Result<usize> {
        let mut copied = &self.copied[..];
        let slices: SmallVec<[IoSlice<'_>; 4]> = self
            .parts
            .iter()
            .map(|part| match part {
                Part::Shared(bytes) => IoSlice::new(bytes),
                Part::Copied(len) => {
                    let (bytes, rest) = copied.split_at(*len);
                    copied = rest;
                    IoSlice::new(bytes)
                }
            })
            .filter(|slice| !slice.is_empty())
            .collect();
        transport.write(&slices)
    }
}

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
            Outbox::One(run) => run.len(),
            Outbox::Many(queue) => queue.bytes,
        }
    }

    /// What waits, the front one perhaps taken in part.
    #[cfg(test)]
    pub fn runs(&self) -> impl Iterator<Item = &Arc<Run>> {
        let (one, many) = match self {
            Outbox::Nothing => (None, None),
            Outbox::One(run) => (Some(run), None),
            Outbox::Many(queue) => (None, Some(queue.runs.iter().map(|(run, _)| run))),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Whether one more run of this size stays within the window. One run always fits.
    pub fn fits(&self, bytes: usize, bytes_max: usize) -> bool {
        match self {
            Outbox::Nothing => true,
            Outbox::One(run) => run.len() + bytes <= bytes_max,
            Outbox::Many(queue) => queue.runs.len() < RUNS_MAX && queue.bytes + bytes <= bytes_max,
        }
    }

    pub fn push(&mut self, run: Arc<Run>, now_micros: u64) {
        if run.is_empty() {
            return;
        }
        match self {
            Outbox::Nothing => *self = Outbox::One(run),
            Outbox::One(_) | Outbox::Many(_) => {
                let queue = self.queue(now_micros);
                queue.bytes += run.len();
                queue.runs.push_back((run, false));
            }
        }
        self.check();
    }

    /// Behind everything, or in the place of a ping that the socket has taken nothing of.
    pub fn push_ping(&mut self, frame: Frame, now_micros: u64) {
        if frame.is_empty() {
            return;
        }
        let ping = Arc::new(Run::Ping(frame));
        match self {
            Outbox::One(run) if matches!(**run, Run::Ping(_)) => *run = ping,
            Outbox::Many(queue) => {
                let begun = usize::from(queue.written > 0);
                let waiting = queue.runs.iter_mut().skip(begun).find(|(run, _)| matches!(**run, Run::Ping(_)));
                match waiting {
                    Some((earlier, _)) => {
                        queue.bytes = queue.bytes - earlier.len() + ping.len();
                        *earlier = ping;
                        self.check();
                    }
                    None => self.push(ping, now_micros),
                }
            }
            Outbox::Nothing | Outbox::One(_) => self.push(ping, now_micros),
        }
    }

    /// Gives up everything that the socket has taken nothing of. Only for a connection that ends and says so.
    pub fn keep_begun(&mut self) {
        let Outbox::Many(queue) = self else {
            *self = Outbox::Nothing;
            return;
        };
        queue.runs.truncate(usize::from(queue.written > 0));
        match queue.runs.front_mut() {
            None => *self = Outbox::Nothing,
            Some((front, _)) => {
                if let Some(begun) = front.begun(queue.written) {
                    *front = begun;
                }
                queue.bytes = front.len() - queue.written;
                if queue.bytes == 0 {
                    *self = Outbox::Nothing;
                }
            }
        }
        self.check();
    }

    /// Behind the front run if the socket has a part of that one and behind other urgent runs, before everything else.
    pub fn push_urgent(&mut self, run: Arc<Run>, now_micros: u64) {
        // A queue also for the first: the next urgent run must not overtake it.
        let queue = self.queue(now_micros);
        queue.bytes += run.len();
        let partial = usize::from(queue.written > 0);
        let urgent = queue.runs.iter().skip(partial).take_while(|(_, urgent)| *urgent).count();
        queue.runs.insert(partial + urgent, (run, true));
        self.check();
    }

    fn queue(&mut self, now_micros: u64) -> &mut Queue {
        if let Outbox::One(_) | Outbox::Nothing = self {
            let mut queue = Box::new(Queue { runs: VecDeque::with_capacity(2), written: 0, bytes: 0, progress_at: now_micros });
            if let Outbox::One(run) = std::mem::take(self) {
                queue.bytes = run.len();
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

    /// Writes what the socket takes; small pieces are put together in `scratch`. `wrote` hears of every call that took bytes.
    pub fn flush(
        &mut self,
        transport: &mut impl Transport,
        scratch: &mut Vec<u8>,
        now_micros: u64,
        mut wrote: impl FnMut(usize),
    ) -> Flushed {
        if let Outbox::One(run) = self
            && let Run::Shared(bytes) | Run::Ping(bytes) = &**run
        {
            // Nearly everybody in a fan-out: one write that takes all of it.
            let first = transport.write(&[IoSlice::new(bytes)]);
            if first.as_ref().is_ok_and(|taken| *taken == bytes.len()) {
                wrote(bytes.len());
                // Known to be one run, it is dropped without a look at what else an outbox may be.
                if let Outbox::One(run) = std::mem::take(self) {
                    drop(run);
                }
                return Flushed::Everything;
            }
            return self.flush_on(Some(first), transport, scratch, now_micros, wrote);
        }
        self.flush_on(None, transport, scratch, now_micros, wrote)
    }

    /// The rest of [`Outbox::flush`], kept out of its way. `first` is how a write went that was tried already.
    #[inline(never)]
    fn flush_on(
        &mut self,
        mut first: Option<io::Result<usize>>,
        transport: &mut impl Transport,
        scratch: &mut Vec<u8>,
        now_micros: u64,
        mut wrote: impl FnMut(usize),
    ) -> Flushed {
        let mut turn = 0;
        loop {
            let result = match (first.take(), &*self) {
                (Some(result), _) => result,
                (None, Outbox::Nothing) => return Flushed::Everything,
                (None, Outbox::One(run)) => write(std::iter::once(&**run), 0, transport, scratch),
                (None, Outbox::Many(queue)) => write(queue.runs.iter().map(|(run, _)| &**run), queue.written, transport, scratch),
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
            && run.len() == taken
        {
            *self = Outbox::Nothing;
            return;
        }
        let queue = self.queue(now_micros);
        queue.bytes -= taken;
        queue.written += taken;
        queue.progress_at = now_micros;
        while let Some(front) = queue.runs.front()
            && queue.written >= front.0.len()
        {
            queue.written -= front.0.len();
            queue.runs.pop_front();
        }
        if queue.runs.is_empty() {
            *self = Outbox::Nothing;
        }
        self.check();
    }

    fn check(&self) {
        if let Outbox::Many(queue) = self {
            debug_assert_eq!(queue.bytes + queue.written, queue.runs.iter().map(|(run, _)| run.len()).sum::<usize>());
            debug_assert!(queue.runs.front().is_none_or(|(front, _)| queue.written < front.len()));
        }
    }
}

/// One write of what is at the front of these runs, behind what the socket has taken.
fn write<'a>(
    runs: impl Iterator<Item = &'a Run>,
    skip: usize,
    transport: &mut impl Transport,
    scratch: &'a mut Vec<u8>,
) -> io::Result<usize> {
    scratch.clear();
    let mut gathered = Gathered { parts: SmallVec::new(), copied: scratch, skip, len: 0 };
    for run in runs {
        gathered.run(run);
        if gathered.is_full() {
            break;
        }
    }
    gathered.write(transport)
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
                outbox.flush(&mut pipe, &mut Vec::new(), 0, |_| ());
            }
            while !outbox.is_empty() {
                outbox.flush(&mut pipe, &mut Vec::new(), 0, |_| ());
            }
            let ordinary: Vec<u8> = pipe.seen.iter().copied().filter(|&byte| byte < 100).collect();
            assert_eq!(ordinary, expected, "seed {seed}");
            let pieces: Vec<u8> = pipe.seen.iter().copied().filter(|&byte| byte >= 100).collect();
            let numbers: Vec<u8> = (1..=urgent).flat_map(|number| [255, 100 + number % 100, 255]).collect();
            assert_eq!(pieces, numbers, "seed {seed}: urgent runs keep their order and are never cut");
        }
    }

    fn text_frame(prefix: &[u8], tail: &[u8]) -> Vec<u8> {
        encoder::text(&[prefix, tail].concat())
    }

    /// Whatever the sizes are, a client gets whole frames of its own prefix, and nothing that was begun is given up.
    #[test]
    fn prefixed_runs_become_text_frames_however_they_are_cut() {
        for seed in 1..300 {
            let mut pipe = Pipe { random: Xorshift(seed), seen: Vec::new() };
            let mut random = Xorshift(seed * 104_729);
            let sizes = [0, 1, 100, 125, 126, COPIED_BYTES_MAX, COPIED_BYTES_MAX + 1, 66_000];
            let mut outbox = Outbox::default();
            let mut frames = Vec::new();
            for number in 0..12u8 {
                let prefix = Frame::from(vec![b'p'; random.below(2) * 40 + random.below(2) * COPIED_BYTES_MAX]);
                let tails: Vec<Frame> =
                    (0..1 + random.below(4)).map(|_| vec![number; sizes[random.below(sizes.len())]].into()).collect();
                frames.extend(tails.iter().map(|tail| text_frame(&prefix, tail)));
                outbox.push(Run::prefixed(prefix, tails.into()), 0);
                if random.below(3) == 0 {
                    outbox.push(Run::new(vec![number; 7]), 0);
                    frames.push(vec![number; 7]);
                }
                outbox.flush(&mut pipe, &mut Vec::new(), 0, |_| ());
            }
            let all = frames.concat();
            let given_up = random.below(2) == 0;
            if given_up {
                outbox.keep_begun();
            }
            while !outbox.is_empty() {
                outbox.flush(&mut pipe, &mut Vec::new(), 0, |_| ());
            }
            let mut borders = frames.iter().scan(0, |end, frame| {
                *end += frame.len();
                Some(*end)
            });
            assert_eq!(pipe.seen, all[..pipe.seen.len()], "seed {seed}");
            assert!(pipe.seen.is_empty() || borders.any(|end| end == pipe.seen.len()), "seed {seed}: a frame was cut");
            assert!(given_up || pipe.seen.len() == all.len(), "seed {seed}");
        }
    }

    #[test]
    fn what_is_not_begun_is_given_up_at_a_frame_border() {
        let tails: Arc<[Frame]> = [&b"one"[..], b"two", b"three"].map(Frame::from).into();
        let frames = ["one", "two", "three"].map(|tail| text_frame(b"p", tail.as_bytes()));
        for taken in 1..frames.concat().len() {
            let mut outbox = Outbox::default();
            outbox.push(Run::prefixed(Frame::from(&b"p"[..]), tails.clone()), 0);
            outbox.push(Run::new(&b"more"[..]), 0);
            outbox.took(taken, 0);
            outbox.keep_begun();
            let borders = [frames[0].len(), frames[0].len() + frames[1].len(), frames.concat().len()];
            let end = borders.into_iter().find(|&end| taken <= end).unwrap();
            assert_eq!(outbox.bytes(), end - taken, "{taken}");
        }
    }

    #[test]
    fn a_newer_ping_takes_the_place_of_one_that_waits() {
        let ping = |text: &str| Frame::from(text.as_bytes());
        let mut outbox = Outbox::default();
        outbox.push_ping(ping("ping1"), 0);
        outbox.push_ping(ping("ping2"), 0);
        outbox.push(Run::new(&b"data"[..]), 0);
        outbox.push_ping(ping("ping-3"), 0);
        assert_eq!(outbox.bytes(), "ping-3data".len());
        outbox.took(2, 0);
        outbox.push_ping(ping("ping4"), 0);
        outbox.push_ping(ping("ping-5"), 0);
        let mut pipe = Pipe { random: Xorshift(7), seen: Vec::new() };
        while outbox.flush(&mut pipe, &mut Vec::new(), 0, |_| ()) != Flushed::Everything {}
        assert_eq!(pipe.seen, b"ng-3dataping-5", "what has begun is finished");
    }

    #[test]
    fn an_empty_ping_is_none() {
        let mut outbox = Outbox::default();
        outbox.push_ping(Frame::from(&b"ping"[..]), 0);
        outbox.push_ping(Frame::from(&b""[..]), 0);
        assert_eq!(outbox.bytes(), 4);
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
        while outbox.flush(&mut pipe, &mut Vec::new(), 0, |_| ()) != Flushed::Everything {}
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
        assert_eq!(outbox.flush(&mut Wall(false), &mut Vec::new(), 10, |_| ()), Flushed::Refused);
        assert_eq!(outbox.stalled_since(), Some(10));
        outbox.push(Run::new(&b"d"[..]), 20);
        assert_eq!(outbox.stalled_since(), Some(10), "more to send is no progress");
        assert_eq!(outbox.flush(&mut Wall(true), &mut Vec::new(), 30, |_| ()), Flushed::Everything);
    }

    #[test]
    fn an_idle_outbox_takes_sixteen_bytes() {
        assert_eq!(size_of::<Outbox>(), 16);
    }
}
