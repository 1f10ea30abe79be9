//! What outlives the process: a disk that fails and loses power, the storage's thread turned by hand, and crashes between them.

use crate::Planted;
use crate::faulty::Disk;
use crate::ledger::Open;
use crate::world::{Asked, World};
use crossbeam_channel::{Receiver, unbounded};
use fanwire::engine::durable::Durable;
use fanwire::hub::request::ToHub;
use fanwire::message::Seq;
use fanwire::storage::thread::{Unit, Writer};
use fanwire::storage::{Batch, Deliver, Failure, Report, Storage};
use std::collections::{BTreeMap, VecDeque};

type Tell = Box<dyn Fn(Report)>;

pub struct Store {
    disk: Disk,
    /// `None`: the process is no more.
    writer: Option<Writer<Tell>>,
    /// What it has said and the hub has not been told.
    reports: Receiver<Report>,
    units: Receiver<Unit>,
    /// Taken out of the queue and not committed.
    pulled: VecDeque<Unit>,
    /// When what may be committed was ordered, by `Seq`.
    ordered: BTreeMap<u64, u64>,
    /// A commit has failed, and no recovery has worked since.
    failed: bool,
    /// What was refused since: it may have reached the disk all the same.
    doubtful: Open,
    /// The head at which the present process began.
    began: (u64, u32),
    planted: Planted,
    counts: BTreeMap<&'static str, u64>,
}

/// What a run with storage has to visit.
const COUNTED: [&str; 10] = [
    "crashes",
    "crashes in a commit",
    "commits",
    "commits failed",
    "recoveries",
    "recoveries failed",
    "told by nobody, but there",
    "told by nobody, and not there",
    "resumed behind a crash",
    "gaps behind a crash",
];

/// Forgets to delete what a failed commit has left.
struct Careless<S>(S);

impl<S: Storage> Storage for Careless<S> {
    fn commit(&mut self, batch: &Batch) -> Result<(), Failure> {
        self.0.commit(batch)
    }

    fn recover(&mut self, _: Seq, batch: &Batch) -> Result<(), Failure> {
        self.0.recover(Seq(u64::MAX - 1), batch)
    }
}

impl Open {
    fn add(&mut self, asked: Asked) {
        match asked {
            Asked::Publish(list) => self.numbers.extend(list.iter().filter(|entry| entry.2).map(|entry| entry.1)),
            Asked::Delete(topics) => self.deleted.extend(topics),
            Asked::Write(document, value) => self.writes.push((document, value)),
        }
    }
}

impl Store {
    pub fn new(seed: u64, planted: Planted) -> Store {
        Store {
            disk: Disk::new(seed + 1),
            writer: None,
            reports: crossbeam_channel::never(),
            units: crossbeam_channel::never(),
            pulled: VecDeque::new(),
            ordered: BTreeMap::new(),
            failed: false,
            doubtful: Open::default(),
            began: (0, 0),
            planted,
            counts: COUNTED.map(|name| (name, 0)).into(),
        }
    }

    fn count(&mut self, what: &'static str, count: u64) {
        *self.counts.get_mut(what).expect("it is counted") += count;
    }

    pub fn coverage(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counts.iter().map(|(&name, &count)| (name, count))
    }

    /// When a stored message was ordered.
    pub fn ordered_at(&self, seq: u64) -> Option<u64> {
        self.ordered.get(&seq).copied()
    }

    /// Whether somebody was given this cursor before the last crash.
    pub fn is_of_earlier_process(&self, cursor: (u64, u32)) -> bool {
        cursor < self.began
    }

    /// Somebody goes on behind a cursor of an earlier process.
    pub fn resumed(&mut self, gap: bool) {
        self.count(if gap { "gaps behind a crash" } else { "resumed behind a crash" }, 1);
    }

    /// The disk does what it is told to.
    pub fn heal(&self) {
        self.disk.with(|state| (state.left, state.syncs_fail, state.capacity) = (None, false, usize::MAX));
    }

    fn pull(&mut self) {
        for unit in self.units.try_iter() {
            let messages = unit.batch.messages.iter().map(|stored| &stored.message);
            self.ordered.extend(messages.map(|message| (message.stamp.seq.0, message.ordered_micros)));
            self.pulled.push_back(unit);
        }
    }
}

impl World {
    /// The disk or the storage's thread does something, or everything ends and begins again.
    pub fn storage_act(&mut self) -> Result<(), String> {
        let Some(store) = &self.store else { return Ok(()) };
        match self.random.below(100) {
            0..72 => {
                let most = 1 + self.random.below(4);
                self.storage_step(most)?;
            }
            72..76 => {
                let (kind, left) = (self.random.below(3), self.random.below(60));
                store.disk.with(|state| match kind {
                    0 => state.left = Some(left),
                    1 => state.syncs_fail = true,
                    _ => state.capacity = state.file_length(),
                });
                self.note(|| format!("the disk begins to fail ({kind}, {left})"));
            }
            76..98 => {
                store.heal();
                self.note(|| "the disk works".to_owned());
            }
            _ => self.crash()?,
        }
        Ok(())
    }

    /// The storage's thread commits up to so many units, or tries to recover. True: something happened.
    pub fn storage_step(&mut self, most: usize) -> Result<bool, String> {
        let Some(store) = &mut self.store else { return Ok(false) };
        let early = store.planted == Planted::AnswerBeforeCommit;
        let had = store.pulled.len();
        store.pull();
        let Some(writer) = &mut store.writer else { return Ok(false) };
        if store.failed {
            // They were on their way.
            while let Some(unit) = store.pulled.pop_front() {
                writer.fail(unit);
            }
            store.failed = !writer.try_recover();
            store.count(if store.failed { "recoveries failed" } else { "recoveries" }, 1);
            if !store.failed {
                store.doubtful = Open::default();
            }
            self.to_hub.extend(store.reports.try_iter().map(ToHub::Storage));
            self.note(|| "storage tries to recover".to_owned());
            return Ok(true);
        }
        let limit = if early { had } else { store.pulled.len() };
        let mut step: VecDeque<Unit> = store.pulled.drain(..most.min(limit)).collect();
        if let Some(first) = step.pop_front() {
            store.failed = !writer.commit(first, &mut std::iter::from_fn(|| step.pop_front()));
        }
        let told = store.reports.try_recv().ok();
        // What did not fit.
        step.into_iter().rev().for_each(|unit| store.pulled.push_front(unit));
        let moved = told.is_some() || store.pulled.len() > had;
        if told.is_some() {
            store.count(if store.failed { "commits failed" } else { "commits" }, 1);
        }
        let told = if early { store.pulled.back().map(|unit| Report::Committed(unit.number)).or(told) } else { told };
        self.to_hub.extend(told.clone().map(ToHub::Storage));
        self.note(|| format!("storage says {told:?}"));
        Ok(moved)
    }

    /// The hub refuses something. As long as the disk is not in order, it may be there for the next process all the same.
    pub fn refused(&mut self, asked: Asked) {
        if let Some(store) = self.store.as_mut().filter(|store| store.failed) {
            store.doubtful.add(asked);
        }
    }

    /// The process is killed, the power goes, and another process begins with what is there.
    pub fn crash(&mut self) -> Result<(), String> {
        if self.random.percent(60) {
            let left = self.random.below(20);
            self.store.iter().for_each(|store| store.disk.with(|state| state.left = Some(left)));
            let failed = |world: &World| world.store.as_ref().is_some_and(|store| store.failed);
            let before = failed(self);
            self.storage_step(usize::MAX)?;
            let within = u64::from(failed(self) && !before);
            self.store.iter_mut().for_each(|store| store.count("crashes in a commit", within));
        }
        let reactors = self.reactors();
        self.kill();
        let Some(store) = &mut self.store else { return Ok(()) };
        let mut open = std::mem::take(&mut store.doubtful);
        std::mem::take(&mut self.asked).into_values().for_each(|asked| open.add(asked));
        // Nobody tidies up.
        store.disk.with(|state| state.left = Some(0));
        store.writer = None;
        store.disk.lose_power();
        store.count("crashes", 1);
        let micros = self.random.below(3_000_000) as u64;
        self.pass(micros);
        self.restart(&open, reactors)
    }

    /// A process begins with what is on the disk, as the server does it. `open`: what the one before it had not answered.
    pub fn restart(&mut self, open: &Open, reactors: usize) -> Result<(), String> {
        let Some(store) = &mut self.store else { return Ok(()) };
        let (storage, mut loaded) = store.disk.load().map_err(|why| format!("the file can't be opened: {why:?}"))?;
        if loaded.head.is_some_and(|head| head >= self.newest_head) {
            // Its clock is set after the machine has begun.
            self.now.unix_micros -= if self.random.percent(30) { self.random.below(5_000_000) as u64 } else { 0 };
        } else {
            // What was told within the last second, or while commits failed, is behind the clock: nothing else knows of it.
            self.now.unix_micros = self.now.unix_micros.max((self.newest_head.seconds + 1) * 1_000_000);
        }
        let found = self.ledger.survived(&loaded, open, self.now)?;
        store.count("told by nobody, but there", found as u64);
        store.count("told by nobody, and not there", (open.numbers.len() - found) as u64);
        match store.planted {
            Planted::ForgottenHead => loaded.head = None,
            Planted::ForgottenTail => drop(loaded.messages.pop()),
            _ => {}
        }
        let mut storage: Box<dyn Storage> = match store.planted {
            Planted::CarelessRecovery => Box::new(Careless(storage)),
            _ => Box::new(storage),
        };
        let messages = loaded.messages.len();
        let (sender, units) = unbounded();
        let first = self.begin(loaded, Durable::new(sender, Deliver::AfterCommit), reactors);
        self.judge_head(first.head)?;
        storage.commit(&first).map_err(|failure| failure.to_string())?;
        let Some(store) = &mut self.store else { return Ok(()) };
        let (tell, reports) = unbounded();
        // Who has ended hears nothing.
        let tell: Tell = Box::new(move |report| drop(tell.send(report)));
        store.writer = Some(Writer::new(storage, Deliver::AfterCommit, first.head.seq, tell));
        (store.units, store.reports) = (units, reports);
        store.pulled.clear();
        store.ordered.clear();
        store.failed = false;
        store.began = first.head.position();
        self.note(|| format!("a process begins at {:?} with {messages} messages", first.head));
        Ok(())
    }
}
