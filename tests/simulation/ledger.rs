//! What was really published, and what the logs must still hold of it: the judge's own bookkeeping.

use crate::dialect::DOCUMENTS;
use crate::world::number;
use fanwire::clock::Now;
use fanwire::storage::Loaded;
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
    /// It was not there when a process began.
    gone: bool,
}

/// What the hub of a process that was killed had taken and not answered: it may have happened or not.
#[derive(Default)]
pub struct Open {
    /// Stored messages, by the publisher's number.
    pub numbers: BTreeSet<u64>,
    /// Topics that were to be deleted.
    pub deleted: BTreeSet<usize>,
    /// Documents and what was written.
    pub writes: Vec<(usize, String)>,
}

pub struct Ledger {
    pub names: Vec<String>,
    /// Every version and value of each document.
    pub documents: [Vec<(i64, String)>; DOCUMENTS],
    pub topics: Vec<Vec<Record>>,
    by_seq: BTreeMap<u64, (usize, usize)>,
    numbers: BTreeSet<u64>,
    /// Publications that nobody was told of before their process ended, and that were there all the same.
    surfaced: BTreeSet<u64>,
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
            surfaced: BTreeSet::new(),
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
        let last = self.topics.iter().filter_map(|topic| topic.last()).max_by_key(|record| record.seq);
        if let Some(last) = last {
            assert!(last.seq < seq, "sequence numbers grow: {seq} after {}", last.seq);
            assert!(last.position < position, "positions grow: {position:?} after {:?}", last.position);
        }
        self.by_seq.insert(seq, (topic, self.topics[topic].len()));
        if number > 0 {
            assert!(self.numbers.insert(number), "publication {number} was made twice");
        }
        let count = &mut self.counts[topic][usize::from(stored)];
        self.topics[topic].push(Record { seq, position, stored, number, micros, ordinal: *count, gone: false });
        *count += 1;
    }

    pub fn remove(&mut self, topic: usize) {
        self.removed[topic] = self.topics[topic].len();
    }

    pub fn find(&self, seq: u64) -> Option<(usize, &Record)> {
        let &(topic, index) = self.by_seq.get(&seq)?;
        Some((topic, &self.topics[topic][index]))
    }

    /// A refusal that was true when it was given may have lost its process before the disk was in order again.
    pub fn was_published(&self, number: u64) -> bool {
        self.numbers.contains(&number) && !self.surfaced.contains(&number)
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
        record.gone || index < self.removed[topic] || record.micros + age <= micros || later >= self.window
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

    /// A process begins with this. Whatever was ever told to anybody must be there; what was neither told nor refused may.
    /// Returns how much of that was there.
    pub fn survived(&mut self, loaded: &Loaded, open: &Open, now: Now) -> Result<usize, String> {
        let (mut since, mut there, mut surfaced) = (0, BTreeSet::new(), Vec::new());
        let mut states: BTreeMap<usize, (i64, String)> = BTreeMap::new();
        let before = now.micros;
        let mut ages = Vec::new();
        for stored in &loaded.messages {
            // Ages go on by the wall clock, in the order of the log.
            since = now.at_unix(stored.unix_micros).max(since);
            let (message, seq) = (&stored.message, stored.message.stamp.seq.0);
            if let Some(document) = message.topic.as_str().strip_prefix("$d/") {
                states.insert(document.parse().unwrap(), (message.id, String::from_utf8_lossy(&message.payload).into_owned()));
                continue;
            }
            let (topic, number) = (self.topic(message.topic.as_str()), number(&message.payload));
            match self.find(seq) {
                Some((known, record)) => {
                    if (known, record.number, record.position) != (topic, number, message.stamp.position()) {
                        return Err(format!("message {seq} is unlike the one that was published"));
                    }
                    there.insert(seq);
                    ages.push((seq, since));
                }
                None if open.numbers.contains(&number) => {
                    surfaced.push((topic, seq, message.stamp.position(), number, since));
                }
                None => {
                    return Err(format!("publication {number} is there, which was refused, answered as another or never made"));
                }
            }
        }
        for topic in 0..self.topics.len() {
            let missing = |(_, record): &(usize, &Record)| record.stored && !there.contains(&record.seq);
            let mut lost =
                self.topics[topic].iter().enumerate().filter(missing).filter(|(index, _)| !self.is_gone(topic, *index, before));
            if let Some((last, record)) = lost.next_back() {
                let rest = self.topics[topic][..last].iter().find(|record| there.contains(&record.seq));
                if !open.deleted.contains(&topic) || rest.is_some() {
                    return Err(format!("message {} of t{topic}, which was told, is lost", record.seq));
                }
                self.removed[topic] = last + 1;
            }
        }
        for records in &mut self.topics {
            records.iter_mut().for_each(|record| record.gone = !there.contains(&record.seq));
        }
        for (seq, since) in ages {
            let (topic, index) = self.by_seq[&seq];
            self.topics[topic][index].micros = since;
        }
        let count = surfaced.len();
        for (topic, seq, position, number, since) in surfaced {
            self.add(topic, seq, position, true, number, since);
            self.surfaced.insert(number);
        }
        for document in 0..DOCUMENTS {
            self.document_survived(document, states.remove(&document), open)?;
        }
        Ok(count)
    }

    fn document_survived(&mut self, document: usize, state: Option<(i64, String)>, open: &Open) -> Result<(), String> {
        let told = self.documents[document].last();
        let Some((version, value)) = state else {
            // Of what was deleted nothing has to stay.
            let may_be_gone = told.is_none_or(|(_, value)| value == "null");
            return if may_be_gone { Ok(()) } else { Err(format!("state {told:?} of document {document} is lost")) };
        };
        match told {
            Some((known, written)) if version == *known && value == *written => Ok(()),
            Some((known, _)) if version <= *known => Err(format!("document {document} is at {version}, but {told:?} was told")),
            _ if open.writes.iter().any(|write| *write == (document, value.clone())) => self.write(document, version, value),
            _ => Err(format!("document {document} is at {version}, {value}, which was refused or never written")),
        }
    }
}
