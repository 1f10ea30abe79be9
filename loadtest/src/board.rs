//! What every thread of a run shares: one clock, the tallies of each message, the count of connections.
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::thread::Thread;
use std::time::Instant;

use crate::layout::Layout;

/// Nanoseconds on CLOCK_MONOTONIC since the start of this process: publisher and receivers are one process and share it.
#[derive(Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Clock(Instant::now())
    }

    pub fn nanoseconds(self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

/// One published message: when it was meant to leave, how many subscribers have it, when the first and the last got it.
pub struct Tally {
    pub intended: AtomicU64,
    received: AtomicU32,
    first: AtomicU64,
    last: AtomicU64,
}

/// Counters of one fleet of connections; the thread that waits for them is woken when something it waits for is complete.
pub struct Board {
    pub clock: Clock,
    pub layout: Layout,
    pub connections: u32,
    /// Connections that stand and have been accepted by the server.
    pub connected: AtomicU32,
    /// Connections that never came to stand.
    pub failed: AtomicU32,
    /// Connections that stood and were ended by the server.
    pub closed: AtomicU32,
    /// Of those, the ones that were told by a close frame 1008; by another close frame or the last chunk; by the end of TCP alone.
    pub closed_1008: AtomicU32,
    pub closed_told: AtomicU32,
    pub closed_tcp: AtomicU32,
    /// Connections that stood, were ended by the server, and come back.
    pub dropped: AtomicU32,
    /// Attempts to connect again that had to be made once more.
    pub retries: AtomicU32,
    /// The first number that has not been published yet.
    pub published: AtomicU64,
    pub deliveries: AtomicU64,
    tallies: Vec<Tally>,
    waiter: Thread,
}

impl Board {
    /// `messages` bounds the numbers that may be published, warm-up and all rounds together; the calling thread is the one that waits.
    pub fn new(clock: Clock, layout: Layout, connections: u32, messages: u64) -> Self {
        let tally = || Tally {
            intended: AtomicU64::new(0),
            received: AtomicU32::new(0),
            first: AtomicU64::new(u64::MAX),
            last: AtomicU64::new(0),
        };
        Board {
            clock,
            layout,
            connections,
            connected: AtomicU32::new(0),
            failed: AtomicU32::new(0),
            closed: AtomicU32::new(0),
            closed_1008: AtomicU32::new(0),
            closed_told: AtomicU32::new(0),
            closed_tcp: AtomicU32::new(0),
            dropped: AtomicU32::new(0),
            retries: AtomicU32::new(0),
            published: AtomicU64::new(0),
            deliveries: AtomicU64::new(0),
            tallies: (0..messages).map(|_| tally()).collect(),
            waiter: std::thread::current(),
        }
    }

    /// How many must get message `number`.
    pub fn subscribers(&self, number: u64) -> u32 {
        self.layout.subscribers(self.connections, number)
    }

    pub fn knows(&self, number: u64) -> bool {
        (number as usize) < self.tallies.len()
    }

    pub fn intend(&self, number: u64, at: u64) {
        self.tallies[number as usize].intended.store(at, Relaxed);
        self.published.store(number + 1, Relaxed);
    }

    /// How many have message `number`.
    pub fn having(&self, number: u64) -> u32 {
        self.tallies[number as usize].received.load(Relaxed)
    }

    pub fn is_complete(&self, number: u64) -> bool {
        self.tallies[number as usize].received.load(Relaxed) >= self.subscribers(number)
    }

    /// Adds what one client thread has seen of message `number` since it last told.
    pub fn received(&self, number: u64, count: u32, first: u64, last: u64) {
        let tally = &self.tallies[number as usize];
        tally.first.fetch_min(first, Relaxed);
        tally.last.fetch_max(last, Relaxed);
        self.deliveries.fetch_add(u64::from(count), Relaxed);
        self.counted(number, count);
    }

    /// One subscriber was told that it will never get message `number`: nobody waits for it.
    pub fn excused(&self, number: u64) {
        self.counted(number, 1);
    }

    fn counted(&self, number: u64, count: u32) {
        let before = self.tallies[number as usize].received.fetch_add(count, Relaxed);
        if before + count >= self.subscribers(number) {
            self.waiter.unpark();
        }
    }

    /// Every connection has either come to stand or failed.
    pub fn all_decided(&self) -> bool {
        self.connected.load(Relaxed) + self.failed.load(Relaxed) >= self.connections
    }

    pub fn wake(&self) {
        self.waiter.unpark();
    }

    /// Deliveries of the messages in `numbers`, and for each the latency (ns) of its first and its last subscriber, sorted.
    pub fn spread(&self, numbers: std::ops::Range<u64>) -> (u64, Vec<u64>, Vec<u64>) {
        let tallies = &self.tallies[numbers.start as usize..numbers.end as usize];
        let deliveries = tallies.iter().map(|tally| u64::from(tally.received.load(Relaxed))).sum();
        let seen = || tallies.iter().filter(|tally| tally.received.load(Relaxed) > 0);
        let since = |tally: &Tally, at: u64| at.saturating_sub(tally.intended.load(Relaxed));
        let mut first: Vec<u64> = seen().map(|tally| since(tally, tally.first.load(Relaxed))).collect();
        let mut last: Vec<u64> = seen().map(|tally| since(tally, tally.last.load(Relaxed))).collect();
        first.sort_unstable();
        last.sort_unstable();
        (deliveries, first, last)
    }
}

/// What one client thread saw during a turn, gathered so that the shared tallies are touched once per turn and message.
pub struct Turn {
    slots: [Seen; SLOTS],
}

/// Messages a thread can meet in one turn before it tells early; a window of 64 fits.
const SLOTS: usize = 64;

#[derive(Clone, Copy)]
struct Seen {
    number: u64,
    count: u32,
    first: u64,
    last: u64,
}

impl Turn {
    pub fn new() -> Self {
        Turn { slots: [Seen { number: 0, count: 0, first: 0, last: 0 }; SLOTS] }
    }

    pub fn saw(&mut self, board: &Board, number: u64, at: u64) {
        let seen = &mut self.slots[number as usize % SLOTS];
        if seen.count > 0 && seen.number != number {
            board.received(seen.number, seen.count, seen.first, seen.last);
            seen.count = 0;
        }
        if seen.count == 0 {
            *seen = Seen { number, count: 0, first: at, last: at };
        }
        seen.count += 1;
        seen.last = at;
    }

    pub fn end(&mut self, board: &Board) {
        for seen in self.slots.iter_mut().filter(|seen| seen.count > 0) {
            board.received(seen.number, seen.count, seen.first, seen.last);
            seen.count = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_complete_when_every_subscriber_of_its_topic_has_it() {
        let board = Board::new(Clock::start(), Layout { topics: 2, per_connection: 1 }, 5, 4);
        assert_eq!((board.subscribers(0), board.subscribers(1)), (3, 2));
        board.received(1, 1, 10, 10);
        assert!(!board.is_complete(1));
        board.received(1, 1, 20, 20);
        assert!(board.is_complete(1));
        assert!(!board.is_complete(0));
    }

    #[test]
    fn a_turn_loses_nothing_when_two_messages_share_a_slot() {
        let board = Board::new(Clock::start(), Layout { topics: 1, per_connection: 1 }, 2, 200);
        let mut turn = Turn::new();
        for number in [3, 3 + SLOTS as u64, 3, 3 + SLOTS as u64] {
            turn.saw(&board, number, 7);
        }
        turn.end(&board);
        assert!(board.is_complete(3) && board.is_complete(3 + SLOTS as u64));
        assert_eq!(board.deliveries.load(Relaxed), 4);
    }

    #[test]
    fn first_and_last_are_counted_from_the_intended_time() {
        let board = Board::new(Clock::start(), Layout { topics: 1, per_connection: 1 }, 2, 1);
        board.intend(0, 100);
        board.received(0, 1, 150, 150);
        board.received(0, 1, 400, 400);
        assert_eq!(board.spread(0..1), (2, vec![50], vec![300]));
    }
}
