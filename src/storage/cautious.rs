//! Changes nothing of a file before somebody has found it to be in order.

use redb::{BackendError, StorageBackend};
use std::fmt;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

/// Opening a database repairs it, which writes. What is written before [`Trust::give`] is remembered in order and seen by
/// reads, so that a file that turns out to be damaged or somebody else's is left as it was.
#[derive(Debug)]
pub struct Cautious<B> {
    inner: Arc<B>,
    held: Arc<Mutex<Held>>,
}

/// Decides about one [`Cautious`].
pub struct Trust<B> {
    inner: Arc<B>,
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    trusted: bool,
    operations: Vec<Operation>,
}

enum Operation {
    Write(u64, Box<[u8]>),
    Resize(u64),
    Sync,
}

impl fmt::Debug for Held {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Held({}, {} operations)", self.trusted, self.operations.len())
    }
}

impl<B: StorageBackend> Cautious<B> {
    pub fn new(inner: B) -> (Cautious<B>, Trust<B>) {
        let (inner, held) = (Arc::new(inner), Arc::default());
        (Cautious { inner: Arc::clone(&inner), held: Arc::clone(&held) }, Trust { inner, held })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<B: StorageBackend> Trust<B> {
    /// Does what was held back, in order; from now on everything is done at once.
    ///
    /// # Errors
    /// What the first operation that failed said.
    pub fn give(&self) -> Result<(), io::Error> {
        let mut held = self.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        held.trusted = true;
        for operation in std::mem::take(&mut held.operations) {
            match operation {
                Operation::Write(offset, data) => self.inner.write(offset, &data)?,
                Operation::Resize(length) => self.inner.set_len(length)?,
                Operation::Sync => self.inner.sync_data()?,
            }
        }
        Ok(())
    }
}

impl<B: StorageBackend> StorageBackend for Cautious<B> {
    fn len(&self) -> Result<u64, io::Error> {
        let held = self.held();
        let mut length = self.inner.len()?;
        for operation in &held.operations {
            match operation {
                Operation::Write(offset, data) => length = length.max(offset + data.len() as u64),
                Operation::Resize(resized) => length = *resized,
                Operation::Sync => {}
            }
        }
        Ok(length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let held = self.held();
        if held.operations.is_empty() {
            drop(held);
            return self.inner.read(offset, out);
        }
        let end = offset + out.len() as u64;
        let there = self.inner.len()?.clamp(offset, end) - offset;
        let (there, beyond) = out.split_at_mut(there as usize);
        if !there.is_empty() {
            self.inner.read(offset, there)?;
        }
        beyond.fill(0);
        for operation in &held.operations {
            match operation {
                Operation::Write(at, data) => {
                    let (from, to) = (offset.max(*at), end.min(at + data.len() as u64));
                    if from < to {
                        let part = &data[(from - at) as usize..(to - at) as usize];
                        out[(from - offset) as usize..(to - offset) as usize].copy_from_slice(part);
                    }
                }
                Operation::Resize(length) => out[((*length).clamp(offset, end) - offset) as usize..].fill(0),
                Operation::Sync => {}
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        let mut held = self.held();
        if held.trusted {
            drop(held);
            return self.inner.set_len(length);
        }
        held.operations.push(Operation::Resize(length));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut held = self.held();
        if held.trusted {
            drop(held);
            return self.inner.sync_data();
        }
        held.operations.push(Operation::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut held = self.held();
        if held.trusted {
            drop(held);
            return self.inner.write(offset, data);
        }
        held.operations.push(Operation::Write(offset, data.into()));
        Ok(())
    }

    fn close(&self) -> Result<(), io::Error> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::backends::InMemoryBackend;

    fn seen(backend: &impl StorageBackend) -> Vec<u8> {
        let mut out = vec![9; backend.len().unwrap() as usize];
        backend.read(0, &mut out).unwrap();
        out
    }

    #[test]
    fn what_is_written_is_seen_at_once_and_done_only_when_the_file_is_trusted() {
        let below = InMemoryBackend::new();
        below.set_len(6).unwrap();
        below.write(0, b"abcdef").unwrap();
        let (cautious, trust) = Cautious::new(below);
        cautious.write(4, b"XYZ").unwrap();
        assert_eq!(seen(&cautious), b"abcdXYZ");
        cautious.set_len(3).unwrap();
        cautious.sync_data().unwrap();
        cautious.set_len(5).unwrap();
        cautious.write(1, b"-").unwrap();
        assert_eq!(seen(&cautious), b"a-c\0\0");
        let mut middle = [9; 3];
        cautious.read(1, &mut middle).unwrap();
        assert_eq!(&middle, b"-c\0");
        assert_eq!(seen(&*trust.inner), b"abcdef");
        trust.inner.set_len(7).unwrap();
        trust.give().unwrap();
        assert_eq!((seen(&cautious), seen(&*trust.inner)), (b"a-c\0\0".to_vec(), b"a-c\0\0".to_vec()));
        cautious.write(0, b"!").unwrap();
        assert_eq!(seen(&*trust.inner), b"!-c\0\0");
    }
}
