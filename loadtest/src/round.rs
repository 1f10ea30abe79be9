//! One round of messages: a closed loop with a window, or an open loop with a rate, until every subscriber has everything.
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::board::Board;
use crate::marker::{self, Marker};
use crate::publisher::Publish;

#[derive(Clone, Copy)]
pub enum Pace {
    /// So many messages in flight; the next leaves when all subscribers have the oldest.
    Closed { window: u64 },
    /// So many messages per second, whatever has arrived.
    Open { rate: f64 },
}

pub struct Round {
    pub pace: Pace,
    pub bytes: usize,
    pub stall: Duration,
    pub deadline: Instant,
    /// Set by whoever has seen enough: nothing more is published, what is in flight is waited for.
    pub enough: Option<Arc<AtomicBool>>,
}

pub struct Outcome {
    /// The numbers that were published.
    pub numbers: Range<u64>,
    /// From the first publish to the moment the last subscriber had the last message.
    pub time: Duration,
    /// Why the round ended early.
    pub stopped: Option<String>,
}

impl Round {
    /// Publishes `numbers` and waits for them; never longer than the deadline, nor than `stall` without a delivery.
    pub fn run(&self, board: &Board, publisher: &mut dyn Publish, numbers: Range<u64>) -> Outcome {
        let started = Instant::now();
        let mut published = numbers.start;
        let stopped = self.try_run(board, publisher, numbers.clone(), &mut published).err();
        Outcome { numbers: numbers.start..published, time: started.elapsed(), stopped }
    }

    fn try_run(
        &self,
        board: &Board,
        publisher: &mut dyn Publish,
        numbers: Range<u64>,
        published: &mut u64,
    ) -> Result<(), String> {
        let begin = board.clock.nanoseconds();
        let mut payload = Vec::with_capacity(self.bytes);
        let mut oldest = numbers.start;
        for number in numbers.clone() {
            if self.enough.as_ref().is_some_and(|enough| enough.load(Relaxed)) {
                break;
            }
            let intended = match self.pace {
                Pace::Closed { window } => {
                    while number - oldest >= window {
                        self.wait_for(board, publisher, oldest)?;
                        oldest += 1;
                    }
                    board.clock.nanoseconds()
                }
                Pace::Open { rate } => {
                    let intended = begin + ((number - numbers.start) as f64 / rate * 1e9).round() as u64;
                    self.sleep_until(board, intended)?;
                    intended
                }
            };
            marker::write(&mut payload, &Marker { intended, number }, self.bytes);
            board.intend(number, intended);
            *published = number + 1;
            publisher.publish(number, board.layout.topic_of(number), &payload)?;
        }
        for number in oldest..*published {
            self.wait_for(board, publisher, number)?;
        }
        Ok(())
    }

    pub fn wait_for(&self, board: &Board, publisher: &dyn Publish, number: u64) -> Result<(), String> {
        let mut heard = board.deliveries.load(Relaxed);
        let mut heard_at = Instant::now();
        while !board.is_complete(number) {
            let closed = board.closed.load(Relaxed);
            if closed > 0 {
                return Err(format!("the server closed {closed} connections"));
            }
            if let Some(failure) = publisher.failure() {
                return Err(failure);
            }
            let now = Instant::now();
            let deliveries = board.deliveries.load(Relaxed);
            if deliveries != heard {
                (heard, heard_at) = (deliveries, now);
            }
            if now - heard_at >= self.stall {
                return Err(format!("message {number} has not reached everybody and nothing came for {:?}", self.stall));
            }
            if now >= self.deadline {
                return Err("out of time".to_owned());
            }
            // Woken by the thread that completes a message; the time-out only serves the checks above.
            std::thread::park_timeout(self.stall.min(Duration::from_millis(50)));
        }
        Ok(())
    }

    fn sleep_until(&self, board: &Board, intended: u64) -> Result<(), String> {
        loop {
            if Instant::now() >= self.deadline {
                return Err("out of time".to_owned());
            }
            match intended.checked_sub(board.clock.nanoseconds()) {
                None | Some(0) => return Ok(()),
                // In steps, so that a slow rate still sees the deadline.
                Some(ahead) => std::thread::sleep(Duration::from_nanos(ahead).min(Duration::from_millis(100))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Clock;
    use crate::layout::Layout;

    /// Delivers each message to all subscribers at once, or leaves one out.
    struct Instantly<'a> {
        board: &'a Board,
        loses: Option<u64>,
        payloads: Vec<Vec<u8>>,
    }

    impl Publish for Instantly<'_> {
        fn publish(&mut self, number: u64, _topic: u32, payload: &[u8]) -> Result<(), String> {
            self.payloads.push(payload.to_vec());
            if self.loses != Some(number) {
                let now = self.board.clock.nanoseconds();
                self.board.received(number, self.board.subscribers(number), now, now);
            }
            Ok(())
        }

        fn failure(&self) -> Option<String> {
            None
        }
    }

    fn round(pace: Pace) -> Round {
        Round {
            pace,
            bytes: 64,
            stall: Duration::from_millis(20),
            deadline: Instant::now() + Duration::from_secs(60),
            enough: None,
        }
    }

    #[test]
    fn a_closed_loop_never_has_more_in_flight_than_its_window() {
        let board = Board::new(Clock::start(), Layout { topics: 1, per_connection: 1 }, 3, 20);
        let mut publisher = Instantly { board: &board, loses: Some(5), payloads: Vec::new() };
        let outcome = round(Pace::Closed { window: 4 }).run(&board, &mut publisher, 0..20);
        assert_eq!(outcome.numbers, 0..9, "message 5 is still in flight, so 5, 6, 7 and 8 may be");
        assert!(outcome.stopped.expect("stopped").contains("message 5"));
    }

    #[test]
    fn an_open_loop_writes_the_intended_time_even_when_it_is_late() {
        let board = Board::new(Clock::start(), Layout { topics: 1, per_connection: 1 }, 1, 50);
        let mut publisher = Instantly { board: &board, loses: None, payloads: Vec::new() };
        let outcome = round(Pace::Open { rate: 10_000.0 }).run(&board, &mut publisher, 0..50);
        assert!(outcome.stopped.is_none());
        let reader = marker::Reader::new();
        let intended: Vec<u64> =
            publisher.payloads.iter().map(|payload| reader.read(payload).next().expect("a marker").intended).collect();
        assert!(intended.windows(2).all(|pair| pair[1] - pair[0] == 100_000), "{intended:?}");
    }

    #[test]
    fn a_round_ends_at_its_deadline() {
        let board = Board::new(Clock::start(), Layout { topics: 1, per_connection: 1 }, 1, 1);
        let mut publisher = Instantly { board: &board, loses: Some(0), payloads: Vec::new() };
        let mut late = round(Pace::Closed { window: 1 });
        (late.stall, late.deadline) = (Duration::from_secs(60), Instant::now());
        assert_eq!(late.run(&board, &mut publisher, 0..1).stopped.as_deref(), Some("out of time"));
    }
}
