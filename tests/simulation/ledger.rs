//! What was really published, and what the logs must still hold of it: the judge's own bookkeeping.

use crate::dialect::DOCUMENTS;
use std::collections::{BTreeMap, BTreeSet};

pub struct Record {
    pub seq: u64,
    pub position: (u64, u32),
    pub stored: bool,
    /// The publisher's own number of the message; 0 for the server's heartbeats.
    pub number: u64,
    micros: u64,
    /// How many of its topic and kind were before it.
    ordinal: usize,
}

pub struct Ledger {
    pub names: Vec<String>,
    /// Every version and value of each document.
    pub documents: [Vec<(i64, String)>; DOCUMENTS],
    pub topics: Vec<Vec<Record>>,
    by_seq: BTreeMap<u64, (usize, usize)>,
    numbers: BTreeSet<u64>,
    /// So many records of each topic went with a deletion.
    removed: Vec<usize>,
    /// Unstored and stored messages of each topic.
    counts: Vec<[usize; 2]>,
    window: usize,
    stored_age: u64,
    unstored_age: u64,
}

impl Ledger {
    pub fn new(topics: usize, window: usize, stored_age: u64, unstored_age: u64) -> Ledger {
        Ledger {
            names: (0..topics).map(|topic| format!("t{topic}")).collect(),
            topics: (0..topics).map(|_| Vec::new()).collect(),
            documents: Default::default(),
            by_seq: BTreeMap::new(),
            numbers: BTreeSet::new(),
            removed: vec![0; topics],
            counts: vec![[0; 2]; topics],
            window,
            stored_age,
            unstored_age,
        }
    }

    pub fn topic(&self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).expect("a topic of this run")
    }

    pub fn add(&mut self, topic: usize, seq: u64, position: (u64, u32), stored: bool, number: u64, micros: u64) {
        assert!(self.by_seq.last_key_value().is_none_or(|(&last, _)| last < seq), "sequence numbers grow");
        self.by_seq.insert(seq, (topic, self.topics[topic].len()));
        if number > 0 {
            assert!(self.numbers.insert(number), "publication {number} was made twice");
        }
        let count = &mut self.counts[topic][usize::from(stored)];
        self.topics[topic].push(Record { seq, position, stored, number, micros, ordinal: *count });
        *count += 1;
    }

    pub fn remove(&mut self, topic: usize) {
        self.removed[topic] = self.topics[topic].len();
    }

    pub fn knows(&self, seq: u64) -> bool {
        self.by_seq.contains_key(&seq)
    }

    pub fn find(&self, seq: u64) -> Option<(usize, &Record)> {
        let &(topic, index) = self.by_seq.get(&seq)?;
        Some((topic, &self.topics[topic][index]))
    }

    pub fn was_published(&self, number: u64) -> bool {
        self.numbers.contains(&number)
    }

    /// The records of a topic after `seq`, and their indices.
    pub fn after(&self, topic: usize, seq: u64) -> impl Iterator<Item = (usize, &Record)> {
        let list = &self.topics[topic];
        let first = list.partition_point(|record| record.seq <= seq);
        list[first..].iter().enumerate().map(move |(at, record)| (first + at, record))
    }

    /// Whether the log no longer holds a record.
    pub fn is_gone(&self, topic: usize, index: usize, micros: u64) -> bool {
        let record = &self.topics[topic][index];
        let later = self.counts[topic][usize::from(record.stored)] - record.ordinal - 1;
        let age = if record.stored { self.stored_age } else { self.unstored_age };
        index < self.removed[topic] || record.micros + age <= micros || later >= self.window
    }

    /// Whether any stored record at all is gone that is newer than a cursor.
    pub fn anything_gone_after(&self, position: (u64, u32), micros: u64) -> bool {
        (0..self.topics.len()).any(|topic| {
            let newer = self.topics[topic].iter().enumerate().rev().take_while(|(_, record)| record.position > position);
            newer.filter(|(_, record)| record.stored).any(|(index, _)| self.is_gone(topic, index, micros))
        })
    }

    /// A document was given this state.
    pub fn write(&mut self, document: usize, version: i64, value: String) -> Result<(), String> {
        let states = &mut self.documents[document];
        if states.last().is_some_and(|(last, _)| version <= *last) {
            return Err(format!("version {version} of document {document} after {:?}", states.last()));
        }
        states.push((version, value));
        Ok(())
    }
}
