//! A publisher that outlives its connection: what was not answered is published again, under the ids that it had.
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::client::latency_histogram;
use crate::publisher::{Publish, Publisher};

/// So many messages may be unanswered; then publishing waits.
const UNANSWERED_MAX: usize = 1_000;
const LOOK: Duration = Duration::from_millis(1);
/// Between two attempts to connect.
const AGAIN: Duration = Duration::from_millis(20);

/// How a connection is made.
pub type Connect<'a> = Box<dyn Fn() -> Result<Publisher, String> + 'a>;

pub struct Persistent<'a> {
    connect: Connect<'a>,
    publisher: Publisher,
    /// Connects again when the connection has ended.
    returns: bool,
    /// Number, topic and payload, in their order.
    unanswered: VecDeque<(u64, u32, Vec<u8>)>,
    /// Answers that `unanswered` knows of, on this connection.
    answered: u64,
    times: Histogram<u64>,
    deadline: Instant,
}

impl<'a> Persistent<'a> {
    pub fn new(connect: Connect<'a>, returns: bool, deadline: Instant) -> Result<Persistent<'a>, String> {
        let (publisher, times) = (connect()?, latency_histogram());
        Ok(Persistent { connect, publisher, returns, unanswered: VecDeque::new(), answered: 0, times, deadline })
    }

    /// As [`Publisher::answer_times`], over all connections.
    pub fn answer_times(&mut self) -> Histogram<u64> {
        self.keep_times();
        std::mem::replace(&mut self.times, latency_histogram())
    }

    /// Waits until every message has been answered.
    pub fn finish(mut self, patience: Duration) -> Result<(), String> {
        let until = Instant::now() + patience;
        while self.look()? > 0 {
            if Instant::now() > until {
                return Err(format!("publisher: {} messages were never answered", self.unanswered.len()));
            }
            std::thread::sleep(LOOK);
        }
        self.failure().map_or(Ok(()), Err)
    }

    /// Takes notice of answers, and of an end of the connection. Returns how many messages have no answer.
    fn look(&mut self) -> Result<usize, String> {
        let answered = self.publisher.answered();
        self.unanswered.drain(..((answered - self.answered) as usize).min(self.unanswered.len()));
        self.answered = answered;
        if self.returns && self.publisher.is_lost() {
            self.come_back()?;
        }
        Ok(self.unanswered.len())
    }

    fn come_back(&mut self) -> Result<(), String> {
        self.keep_times();
        loop {
            match (self.connect)() {
                Ok(publisher) => self.publisher = publisher,
                Err(reason) if Instant::now() >= self.deadline => return Err(reason),
                Err(_) => {
                    std::thread::sleep(AGAIN);
                    continue;
                }
            }
            self.answered = 0;
            let publisher = &mut self.publisher;
            let sent =
                self.unanswered.iter().try_for_each(|(number, topic, payload)| publisher.publish(*number, *topic, payload));
            match sent {
                Ok(()) => return Ok(()),
                Err(_) if self.publisher.is_lost() && Instant::now() < self.deadline => {}
                Err(reason) => return Err(reason),
            }
        }
    }

    fn keep_times(&mut self) {
        self.times.add(self.publisher.answer_times()).expect("all histograms have the same bounds");
    }
}

impl Publish for Persistent<'_> {
    fn publish(&mut self, number: u64, topic: u32, payload: &[u8]) -> Result<(), String> {
        while self.look()? >= UNANSWERED_MAX {
            if Instant::now() >= self.deadline {
                return Err("publisher: out of time".to_owned());
            }
            std::thread::sleep(LOOK);
        }
        self.unanswered.push_back((number, topic, payload.to_vec()));
        match self.publisher.publish(number, topic, payload) {
            Err(_) if self.returns && self.publisher.is_lost() => self.come_back(),
            result => result,
        }
    }

    fn failure(&self) -> Option<String> {
        self.publisher.failure().filter(|_| !(self.returns && self.publisher.is_lost()))
    }
}
