//! A hash table that grows part by part, so that no insertion moves more than a few hundred rows, however many there are.

use crate::exchange::TopicId;
use crate::record::{Record, RecordId};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// So many rows there are per part when a table gets another one. A part that waits for its turn has up to twice as many.
const PART: usize = 256;

/// Parts that have less room don't give it back.
const ROOM: usize = 64;

/// What is found by a part of itself.
pub trait Row {
    type Key: Eq + Hash + ?Sized;

    fn key(&self) -> &Self::Key;
}

impl Row for Arc<Record> {
    type Key = RecordId;

    fn key(&self) -> &RecordId {
        &self.id
    }
}

impl<T> Row for (RecordId, T) {
    type Key = RecordId;

    fn key(&self) -> &RecordId {
        &self.0
    }
}

impl<T> Row for (TopicId, T) {
    type Key = TopicId;

    fn key(&self) -> &TopicId {
        &self.0
    }
}

impl<T> Row for (Box<str>, T) {
    type Key = str;

    fn key(&self) -> &str {
        &self.0
    }
}

/// Linear hashing (Litwin, 1980): parts are split in turn, whichever of them has become large. Allocates nothing while it is empty.
#[derive(Debug)]
pub struct Table<T> {
    parts: Vec<HashTable<T>>,
    len: usize,
    hasher: DefaultHashBuilder,
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { parts: Vec::new(), len: 0, hasher: DefaultHashBuilder::default() }
    }
}

impl<T: Row> Table<T> {
    #[cfg(any(test, fuzzing))]
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn get(&self, key: &T::Key) -> Option<&T> {
        let hash = self.hasher.hash_one(key);
        self.parts.get(part(hash, self.parts.len()))?.find(hash, |row| row.key() == key)
    }

    pub fn get_mut(&mut self, key: &T::Key) -> Option<&mut T> {
        let hash = self.hasher.hash_one(key);
        let at = part(hash, self.parts.len());
        self.parts.get_mut(at)?.find_mut(hash, |row| row.key() == key)
    }

    /// Adds a row, or puts it into the place of the one with its key.
    pub fn insert(&mut self, row: T) {
        if let Some(known) = self.get_mut(row.key()) {
            *known = row;
            return;
        }
        if self.len >= self.parts.len() * PART {
            self.split();
        }
        let Table { parts, hasher, .. } = self;
        let hash = hasher.hash_one(row.key());
        let at = part(hash, parts.len());
        parts[at].insert_unique(hash, row, |row| hasher.hash_one(row.key()));
        self.len += 1;
    }

    pub fn remove(&mut self, key: &T::Key) -> Option<T> {
        let hash = self.hasher.hash_one(key);
        let at = part(hash, self.parts.len());
        let Table { parts, hasher, .. } = self;
        let part = parts.get_mut(at)?;
        let (row, _) = part.find_entry(hash, |row| row.key() == key).ok()?.remove();
        if part.capacity() > ROOM && part.len() < part.capacity() / 8 {
            part.shrink_to(part.len() * 2, |row| hasher.hash_one(row.key()));
        }
        self.len -= 1;
        Some(row)
    }

    /// One part more, which takes what belongs there from the one whose turn it is.
    fn split(&mut self) {
        let parts = self.parts.len();
        self.parts.push(HashTable::new());
        if parts == 0 {
            return;
        }
        // Each part of the first half of the next power of two has a turn, in order.
        let from = parts - (parts.next_power_of_two() >> usize::from(!parts.is_power_of_two()));
        let rows = std::mem::take(&mut self.parts[from]).into_iter().map(|row| (self.hasher.hash_one(row.key()), row));
        let (leave, stay): (Vec<_>, Vec<_>) = rows.partition(|(hash, _)| part(*hash, parts + 1) == parts);
        for (at, rows) in [(from, stay), (parts, leave)] {
            let mut table = HashTable::with_capacity(rows.len());
            for (hash, row) in rows {
                table.insert_unique(hash, row, |row| self.hasher.hash_one(row.key()));
            }
            self.parts[at] = table;
        }
    }

    /// Every row, in no order that may be shown.
    #[cfg(any(test, fuzzing))]
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.parts.iter().flatten()
    }
}

/// Where a row with this hash is among so many parts.
fn part(hash: u64, parts: usize) -> usize {
    let mask = parts.next_power_of_two() - 1;
    // Within a part the lowest bits and the highest ones count.
    let at = (hash >> 16) as usize & mask;
    if at < parts { at } else { at & (mask >> 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        /// How often a key was looked at: a row that moves is hashed.
        static LOOKS: Cell<usize> = const { Cell::new(0) };
    }

    struct Watched(u64, u64);

    impl Row for Watched {
        type Key = u64;

        fn key(&self) -> &u64 {
            LOOKS.set(LOOKS.get() + 1);
            &self.0
        }
    }

    #[test]
    fn no_insertion_and_no_removal_moves_more_than_a_few_rows_however_many_there_are() {
        let mut table = Table::default();
        let mut most = 0;
        let mut watch = |looked: &mut dyn FnMut()| {
            LOOKS.set(0);
            looked();
            most = most.max(LOOKS.get());
        };
        for key in 0..200_000 {
            watch(&mut || table.insert(Watched(key, 1)));
        }
        for key in 0..200_000 {
            watch(&mut || assert!(table.remove(&key).is_some()));
        }
        assert!(table.is_empty());
        // One part is split, and another one grows; each has 2 * PART rows and a few more.
        assert!(most < 8 * PART, "{most}");
    }

    #[test]
    fn every_row_is_found_until_it_goes_whatever_the_size() {
        let mut table = Table::default();
        assert!(table.get(&1).is_none() && table.get_mut(&1).is_none() && table.remove(&1).is_none());
        for key in 0..20_000 {
            table.insert(Watched(key, key));
            if key % 1_000 == 0 {
                assert!((0..=key).all(|key| table.get(&key).is_some_and(|row| row.1 == key)));
            }
        }
        assert_eq!((table.len(), table.iter().count()), (20_000, 20_000));
        table.insert(Watched(7, 70));
        table.get_mut(&8).unwrap().1 = 80;
        assert_eq!([7, 8, 9].map(|key| table.get(&key).unwrap().1), [70, 80, 9]);
        for key in (0..20_000).step_by(2) {
            assert!(table.remove(&key).is_some() && table.remove(&key).is_none());
        }
        assert_eq!(table.iter().count(), 10_000);
        assert!((0..20_000).all(|key| table.get(&key).is_some() == (key % 2 == 1)));
        let room: usize = table.parts.iter().map(HashTable::capacity).sum();
        assert!((1..20_000).step_by(2).all(|key| table.remove(&key).is_some()));
        let left: usize = table.parts.iter().map(HashTable::capacity).sum();
        assert!(table.is_empty() && left < room / 2, "{left} of {room}");
    }
}
