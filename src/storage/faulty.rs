//! A disk for tests: it loses power with any part of what was not synced, fails when it is told to, and can be full.

use crate::storage::redb::{Medium, Redb, create};
use crate::storage::{Loaded, Why};
use ::redb::{BackendError, StorageBackend};
use std::io::{Error, ErrorKind};
use std::ops::Bound;
use std::sync::{Arc, Mutex};

const SECTOR: usize = 512;

/// What the disk holds, and what it is going to do. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Debug)]
pub struct State {
    /// What is there for sure.
    durable: Vec<u8>,
    /// What reads see.
    cached: Vec<u8>,
    unsynced: Vec<Change>,
    durable_note: Option<u64>,
    note: Option<u64>,
    open: bool,
    /// Operations that still work; then each of them fails.
    pub left: Option<usize>,
    /// Bytes that fit.
    pub capacity: usize,
    pub syncs_fail: bool,
    /// So many syncs work; the next one says that it failed, although everything is written.
    pub lying_sync: Option<usize>,
    pub operations: usize,
    random: Random,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Resize(usize),
}

/// A small generator; the same seed gives the same numbers.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

impl Disk {
    pub fn new(seed: u64) -> Disk {
        let disk = Disk::holding(Vec::new(), seed);
        create(disk.open().unwrap()).unwrap();
        disk.with(|state| state.operations = 0);
        disk
    }

    /// A disk with this file.
    pub fn holding(file: Vec<u8>, seed: u64) -> Disk {
        Disk(Arc::new(Mutex::new(State {
            durable: file.clone(),
            cached: file,
            unsynced: Vec::new(),
            durable_note: None,
            note: None,
            open: false,
            left: None,
            capacity: usize::MAX,
            syncs_fail: false,
            lying_sync: None,
            operations: 0,
            random: Random(seed),
        })))
    }

    pub fn with<T>(&self, what: impl FnOnce(&mut State) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    pub fn file(&self) -> Vec<u8> {
        self.with(|state| state.cached.clone())
    }

    pub fn note_is(&self, number: Option<u64>) {
        self.with(|state| (state.note, state.durable_note) = (number, number));
    }

    /// The power goes off and on: of what was not synced, any sector of any write is there or not.
    pub fn lose_power(&self) {
        self.with(|state| {
            for change in std::mem::take(&mut state.unsynced) {
                state.keep_some(change);
            }
            state.cached = state.durable.clone();
            if state.random.below(2) == 0 {
                state.durable_note = state.note;
            }
            state.note = state.durable_note;
            (state.open, state.left, state.syncs_fail, state.lying_sync, state.capacity) = (false, None, false, None, usize::MAX);
        });
    }

    pub fn load(&self) -> Result<(Redb<Disk>, Loaded), Why> {
        Redb::load(self.clone())
    }
}

impl State {
    pub fn file_length(&self) -> usize {
        self.cached.len()
    }

    fn keep_some(&mut self, change: Change) {
        match change {
            Change::Resize(length) => {
                if self.random.below(2) == 0 {
                    self.durable.resize(length, 0);
                }
            }
            Change::Write(offset, data) => {
                let all = self.random.below(3);
                for (index, sector) in data.chunks(SECTOR).enumerate() {
                    let kept = match all {
                        0 => true,
                        1 => false,
                        _ => self.random.below(2) == 0,
                    };
                    let at = offset + index * SECTOR;
                    if kept && at + sector.len() <= self.durable.len() {
                        self.durable[at..at + sector.len()].copy_from_slice(sector);
                    }
                }
            }
        }
    }

    fn operate(&mut self) -> Result<(), Error> {
        self.operations += 1;
        match &mut self.left {
            Some(0) => return Err(Error::other("the disk is dead")),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(())
    }
}

impl Medium for Disk {
    type Backend = Disk;

    fn open(&self) -> Result<Disk, Error> {
        Ok(self.clone())
    }

    fn note(&self, number: u64) -> Result<(), Error> {
        self.with(|state| {
            state.operate()?;
            state.note = Some(number);
            Ok(())
        })
    }

    fn noted(&self) -> Option<u64> {
        self.with(|state| state.note)
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, Error> {
        self.with(|state| Ok(state.cached.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        self.with(|state| {
            let part = state.cached.get(offset as usize..offset as usize + out.len());
            out.copy_from_slice(part.ok_or(ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, length: u64) -> Result<(), Error> {
        self.with(|state| {
            state.operate()?;
            state.cached.resize(length as usize, 0);
            state.unsynced.push(Change::Resize(length as usize));
            Ok(())
        })
    }

    fn sync_data(&self) -> Result<(), Error> {
        self.with(|state| {
            state.operate()?;
            let changes = std::mem::take(&mut state.unsynced);
            if state.syncs_fail {
                // As Linux has it: what was not written is forgotten, and a second sync says that all is well.
                changes.into_iter().for_each(|change| state.keep_some(change));
                return Err(Error::other("EIO"));
            }
            for change in changes {
                match change {
                    Change::Resize(length) => state.durable.resize(length, 0),
                    Change::Write(offset, data) => {
                        let end = offset + data.len();
                        if state.durable.len() < end {
                            state.durable.resize(end, 0);
                        }
                        state.durable[offset..end].copy_from_slice(&data);
                    }
                }
            }
            // The length is the file's, not that of a write: whichever sync works keeps it.
            let length = state.cached.len();
            state.durable.resize(length, 0);
            state.lying_sync = match state.lying_sync {
                Some(0) => {
                    state.lying_sync = None;
                    return Err(Error::other("EIO"));
                }
                left => left.map(|left| left - 1),
            };
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.with(|state| {
            state.operate()?;
            let (offset, end) = (offset as usize, offset as usize + data.len());
            if end > state.capacity {
                return Err(ErrorKind::StorageFull.into());
            }
            if state.cached.len() < end {
                state.cached.resize(end, 0);
            }
            state.cached[offset..end].copy_from_slice(data);
            state.unsynced.push(Change::Write(offset, data.to_vec()));
            Ok(())
        })
    }

    fn close(&self) -> Result<(), Error> {
        self.with(|state| state.open = false);
        Ok(())
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        if !matches!(start, Bound::Unbounded | Bound::Included(0)) || end != Bound::Unbounded {
            return Err(BackendError::Unsupported);
        }
        Ok(self.with(|state| !std::mem::replace(&mut state.open, true)))
    }

    fn unlock_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<(), BackendError> {
        self.with(|state| state.open = false);
        Ok(())
    }
}
