//! The storage's thread: what has queued becomes one commit, then the hub hears of it.

use crate::message::Seq;
use crate::storage::{Batch, Deliver, Report, Storage};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// At most so many rows, or bytes, are taken together.
const ROWS: usize = 1_000;
const BYTES: usize = 4 * 1024 * 1024;

/// After a failure another attempt is made this often.
const RETRY: Duration = Duration::from_secs(1);
/// So many commits after a recovery show that it holds: a nearly full disk takes the small one of the recovery, but not the next.
const STEADY: u32 = 100;

/// What the hub wants to be kept, all of it or nothing.
#[derive(Debug)]
pub struct Unit {
    /// Counts from 1.
    pub number: u64,
    /// Failures that the hub had heard of.
    pub generation: u64,
    pub batch: Batch,
}

/// Commits units in their order until nobody is left who could send one.
pub fn run(storage: Box<dyn Storage>, deliver: Deliver, last: Seq, units: &Receiver<Unit>, report: impl Fn(Report)) {
    let mut writer = Writer::new(storage, deliver, last, report);
    while let Ok(first) = units.recv() {
        if !writer.turn(first, units) {
            return;
        }
    }
}

/// What the thread does, step by step.
pub struct Writer<R> {
    storage: Box<dyn Storage>,
    deliver: Deliver,
    /// No message after it is committed.
    last: Seq,
    /// Failures so far: units of an earlier one failed with it.
    generation: u64,
    /// Failed units of this generation and later ones were delivered already, and stay.
    whole_from: u64,
    /// Commits since the last recovery, up to [`STEADY`].
    steady: u32,
    /// What failed units leave, for the next commit.
    owed: Batch,
    /// What was wrong at the last attempt to recover.
    told: String,
    report: R,
}

impl<R: Fn(Report)> Writer<R> {
    /// `last`: no message after it is in the storage.
    pub fn new(storage: Box<dyn Storage>, deliver: Deliver, last: Seq, report: R) -> Writer<R> {
        let (owed, told) = (Batch::default(), String::new());
        Writer { storage, deliver, last, generation: 0, whole_from: u64::MAX, steady: STEADY, owed, told, report }
    }

    /// Makes one commit of what has queued. False if nobody is left for whom it would have to be made once more.
    pub fn turn(&mut self, first: Unit, units: &Receiver<Unit>) -> bool {
        self.commit(first, &mut units.try_iter()) || self.recover(units)
    }

    /// Commits this unit and as many of the next ones as fit. False: it has failed, and [`Writer::try_recover`] comes next.
    pub fn commit(&mut self, first: Unit, more: &mut dyn Iterator<Item = Unit>) -> bool {
        let (mut number, mut batch) = (0, std::mem::take(&mut self.owed));
        let (mut rows, mut bytes) = (batch.rows(), batch.bytes());
        let mut next = Some(first);
        while let Some(unit) = next {
            rows += unit.batch.rows();
            bytes += unit.batch.bytes();
            if unit.generation == self.generation {
                number = unit.number;
                batch.add(unit.batch);
            } else {
                self.owe(&mut batch, unit.generation, unit.batch);
            }
            let full = rows >= ROWS || bytes >= BYTES;
            next = if full { None } else { more.next() };
        }
        if number == 0 {
            self.owed = batch;
            return true;
        }
        match self.storage.commit(&batch) {
            Ok(()) => {
                self.committed(batch.head.seq);
                self.steady = STEADY.min(self.steady + 1);
                (self.report)(Report::Committed(number));
                true
            }
            Err(failure) => {
                tracing::error!(%failure, "storage fails: publications of stored messages are refused until it works again");
                let mut owed = Batch::default();
                self.owe(&mut owed, self.generation, batch);
                self.owed = owed;
                (self.report)(Report::Failed { generation: self.generation });
                self.generation += 1;
                false
            }
        }
    }

    /// Tries until it works; false if there is nobody left to try it for. Each attempt reads the whole file, so that only the first
    /// one after a good time is made at once.
    fn recover(&mut self, units: &Receiver<Unit>) -> bool {
        let mut waits = self.steady < STEADY;
        loop {
            if waits {
                match units.recv_timeout(RETRY) {
                    // They were on their way when the hub heard of the failure.
                    Ok(unit) => std::iter::once(unit).chain(units.try_iter()).for_each(|unit| self.fail(unit)),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return false,
                }
            }
            waits = true;
            if self.try_recover() {
                return true;
            }
        }
    }

    /// One attempt after a failure.
    pub fn try_recover(&mut self) -> bool {
        self.steady = 0;
        match self.storage.recover(self.last, &self.owed) {
            Ok(()) => {
                let owed = std::mem::take(&mut self.owed);
                self.committed(owed.head.seq);
                self.told.clear();
                tracing::warn!("storage works again");
                (self.report)(Report::Recovered);
                true
            }
            Err(failure) => {
                let failure = failure.to_string();
                if failure != self.told {
                    tracing::error!(failure, "storage still fails");
                    self.told = failure;
                }
                false
            }
        }
    }

    /// A unit that was on its way when the hub heard of the failure.
    pub fn fail(&mut self, unit: Unit) {
        let mut owed = std::mem::take(&mut self.owed);
        self.owe(&mut owed, unit.generation, unit.batch);
        self.owed = owed;
    }

    fn committed(&mut self, last: Seq) {
        self.last = self.last.max(last);
        if self.deliver == Deliver::BeforeCommit {
            // The hub begins to deliver at once when it hears of the first commit.
            self.whole_from = self.whole_from.min(self.generation);
        }
    }

    /// What was delivered already stays as it is. Else it is discarded; its stamps stay given, and its notes true.
    fn owe(&self, owed: &mut Batch, generation: u64, failed: Batch) {
        if generation >= self.whole_from {
            owed.add(failed);
        } else {
            owed.add(Batch { head: failed.head, notes: failed.notes, ..Batch::default() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Stamp;
    use crate::storage::{Failure, Notes};
    use crossbeam_channel::{Sender, unbounded};
    use std::sync::{Arc, Mutex};

    /// What it was asked to do, and how often it still fails.
    #[derive(Clone, Default)]
    struct Book(Arc<Mutex<(Vec<String>, usize)>>);

    impl Book {
        fn enter(&self, what: String) -> Result<(), Failure> {
            let mut book = self.0.lock().unwrap();
            let fails = book.1 > 0;
            book.0.push(if fails { format!("{what} fails") } else { what });
            book.1 = book.1.saturating_sub(1);
            if fails { Err(Failure("full".into())) } else { Ok(()) }
        }
    }

    fn shown(batch: &Batch) -> String {
        format!("up to {} without {:?}", batch.head.seq.0, batch.notes.evicted.iter().map(|seq| seq.0).collect::<Vec<_>>())
    }

    impl Storage for Book {
        fn commit(&mut self, batch: &Batch) -> Result<(), Failure> {
            self.enter(shown(batch))
        }

        fn recover(&mut self, last: Seq, batch: &Batch) -> Result<(), Failure> {
            self.enter(format!("recover {}: {}", last.0, shown(batch)))
        }
    }

    fn send(units: &Sender<Unit>, number: u64, generation: u64, evicted: &[u64]) {
        let notes = Notes { evicted: evicted.iter().map(|&seq| Seq(seq)).collect(), ..Notes::default() };
        let head = Stamp { seq: Seq(number * 10), seconds: 1, tag: 1 };
        units.send(Unit { number, generation, batch: Batch { head, notes, ..Batch::default() } }).unwrap();
    }

    #[test]
    fn what_has_queued_is_one_commit_up_to_a_thousand_rows() {
        let (sender, units) = unbounded();
        for number in 1..=3 {
            send(&sender, number, 0, &[number]);
        }
        send(&sender, 4, 0, &[0; 998]);
        send(&sender, 5, 0, &[]);
        drop(sender);
        let (book, reports) = (Book::default(), Mutex::new(Vec::new()));
        run(Box::new(book.clone()), Deliver::AfterCommit, Seq(0), &units, |report| reports.lock().unwrap().push(report));
        assert_eq!(*reports.lock().unwrap(), [Report::Committed(4), Report::Committed(5)]);
        let commits = &book.0.lock().unwrap().0;
        assert!(commits[0].starts_with("up to 40 without [1, 2, 3, 0") && commits[1] == "up to 50 without []", "{commits:?}");
    }

    #[test]
    fn after_a_failure_nothing_is_committed_before_the_hub_has_heard_of_it_and_notes_are_kept() {
        let (sender, units) = unbounded();
        let book = Book::default();
        send(&sender, 1, 0, &[]);
        let reports = Mutex::new(Vec::new());
        let hear = |report: Report| {
            match report {
                Report::Committed(1) => {
                    book.0.lock().unwrap().1 = 2;
                    send(&sender, 2, 0, &[7]);
                }
                // These two were on their way.
                Report::Failed { .. } => {
                    send(&sender, 3, 0, &[8]);
                    send(&sender, 4, 0, &[9]);
                }
                Report::Recovered if reports.lock().unwrap().len() == 2 => {
                    book.0.lock().unwrap().1 = 1;
                    send(&sender, 5, 1, &[]);
                }
                Report::Recovered => send(&sender, 6, 2, &[]),
                Report::Committed(_) => panic!("over"),
            }
            reports.lock().unwrap().push(report);
        };
        let over = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run(Box::new(book.clone()), Deliver::AfterCommit, Seq(5), &units, hear)
        }));
        assert!(over.is_err());
        assert_eq!(
            book.0.lock().unwrap().0,
            [
                "up to 10 without []",
                "up to 20 without [7] fails",
                "recover 10: up to 20 without [7] fails",
                "recover 10: up to 40 without [7, 8, 9]",
                "up to 50 without [] fails",
                // It failed just before: not at once, so that what was on its way is known.
                "recover 40: up to 50 without [8, 9]",
                "up to 60 without []"
            ]
        );
        let failed = |generation| Report::Failed { generation };
        let expected = [Report::Committed(1), failed(0), Report::Recovered, failed(1), Report::Recovered];
        assert_eq!(*reports.lock().unwrap(), expected);
    }
}
