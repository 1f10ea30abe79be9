//! The engine of a server with storage: what has to outlive the process counts once it is committed, and nothing passes it; or
//! it counts at once, and only answers wait.

use super::{Change, Engine, RecordChange, Transaction};
use crate::exchange::{Refusal, TopicId};
use crate::message::{Seq, Stamp};
use crate::storage::thread::Unit;
use crate::storage::{Batch, Deliver, KnownKey, Notes, RecordRow, Report, Stored, TokenChange};
use crossbeam_channel::Sender;
use hashbrown::HashMap;
use std::collections::VecDeque;

/// Bytes that may wait for the disk; beyond it publications are refused.
const PENDING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// So many evictions go along with what is published; more of them wait for their turn.
const EVICTIONS: usize = 1_000;

pub struct Durable {
    units: Sender<Unit>,
    deliver: Deliver,
    /// The file says that somebody delivers before the commit, so that may be done.
    ahead: bool,
    /// Each with the number of the unit that has to be committed before it counts.
    waiting: VecDeque<(u64, Transaction)>,
    submitted: u64,
    committed: u64,
    /// The unit behind which all is committed that was returned.
    released: u64,
    /// Failures so far.
    generation: u64,
    available: bool,
    /// Units that are not committed, and their bytes.
    pending: VecDeque<(u64, usize)>,
    pending_bytes: usize,
    /// Of topics with stored messages that wait: the newest of them, and how many there are.
    newest: HashMap<TopicId, (Stamp, u32)>,
    /// Topics whose end waits.
    ends: usize,
    /// Messages that the logs keep no longer.
    pub evicted: VecDeque<Seq>,
    pub notes: Notes,
}

impl Durable {
    /// `units` is the way to the storage's thread.
    pub fn new(units: Sender<Unit>, deliver: Deliver) -> Durable {
        let ahead = (deliver == Deliver::BeforeCommit).then_some(true);
        Durable {
            units,
            deliver,
            ahead: false,
            waiting: VecDeque::new(),
            // There is no unit 0: a report about it would mean nothing.
            submitted: 1,
            committed: 1,
            released: 1,
            generation: 0,
            available: true,
            pending: VecDeque::new(),
            pending_bytes: 0,
            newest: HashMap::new(),
            ends: 0,
            evicted: VecDeque::new(),
            notes: Notes { ahead, ..Notes::default() },
        }
    }

    /// Why nothing is taken now that has to outlive the process.
    pub fn refusal(&self) -> Option<Refusal> {
        if !self.available {
            return Some(Refusal::StorageUnavailable);
        }
        (self.pending_bytes > PENDING_BYTES_MAX).then_some(Refusal::Busy)
    }

    pub fn is_available(&self) -> bool {
        self.available
    }

    /// What counts may not be committed yet.
    pub fn is_ahead(&self) -> bool {
        self.ahead
    }

    /// The unit whose commit has to be awaited before anybody may rely on what was returned last; `None`: it is there.
    pub fn uncommitted(&self) -> Option<u64> {
        (self.released > self.committed).then_some(self.released)
    }

    pub fn committed(&self) -> u64 {
        self.committed
    }

    #[cfg(test)]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Bytes that wait for the disk.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Whether the end of a topic waits: what is published behind it must not reach the old one.
    pub fn ends_wait(&self) -> bool {
        self.ends > 0
    }

    /// A stored message of this topic is about to be submitted. The one before it, if that waits too.
    pub fn follow(&mut self, topic: TopicId, stamp: Stamp) -> Option<Stamp> {
        let mut previous = None;
        let newest = self.newest.entry(topic).and_modify(|newest| previous = Some(newest.0)).or_insert((stamp, 0));
        *newest = (stamp, newest.1 + 1);
        previous
    }

    /// The stored messages of a topic that wait, in order.
    pub fn waiting(&self, topic: TopicId) -> impl Iterator<Item = Stamp> {
        let changes = self.waiting.iter().flat_map(|(_, transaction)| &transaction.changes);
        changes.filter_map(move |change| match change {
            Change::Append { topic: of, message, .. } if *of == topic && message.stored => Some(message.stamp),
            _ => None,
        })
    }

    /// Has the newest stamp committed, and what was noted, although nothing waits for it. Returns whether there is more to commit.
    pub fn settle(&mut self, head: Stamp) -> bool {
        if !self.available {
            return true;
        }
        let batch = Batch { head, notes: self.take_notes(EVICTIONS), ..Batch::default() };
        // What comes next does not wait for it.
        self.send(self.submitted, batch, 0);
        !self.evicted.is_empty()
    }

    /// Commits work again: what was noted meanwhile is committed at once. Whoever relies on what counted before waits for this unit, with
    /// which the last of it is committed.
    pub fn catch_up(&mut self, head: Stamp) {
        if !self.available {
            return;
        }
        let batch = Batch { head, notes: self.take_notes(EVICTIONS), ..Batch::default() };
        if self.ahead {
            self.submitted += 1;
            self.released = self.submitted;
        } else if batch.rows() == 0 {
            return;
        }
        self.send(self.submitted, batch, 0);
    }

    /// Nothing comes any more. If all is committed then, nobody has seen more than the file has.
    pub fn close(&mut self, head: Stamp) {
        if self.deliver == Deliver::BeforeCommit {
            self.notes.ahead = Some(false);
            self.settle(head);
        }
    }

    /// The storage's thread says something. Returns what will never count, in order.
    pub fn hear(&mut self, report: &Report) -> VecDeque<(u64, Transaction)> {
        match *report {
            Report::Committed(number) => {
                // The first commit says so in the file.
                self.ahead |= self.deliver == Deliver::BeforeCommit;
                self.committed = self.committed.max(number);
                while self.pending.front().is_some_and(|&(unit, _)| unit <= number) {
                    self.pending_bytes -= self.pending.pop_front().map_or(0, |(_, bytes)| bytes);
                }
            }
            Report::Failed { generation } => {
                debug_assert_eq!(generation, self.generation);
                debug_assert!(self.waiting.front().is_none_or(|&(after, _)| after > self.committed), "what counts was applied");
                self.generation = generation + 1;
                self.available = false;
                self.submitted = self.committed;
                self.released = self.committed;
                self.pending.clear();
                self.pending_bytes = 0;
                self.newest.clear();
                self.ends = 0;
                return std::mem::take(&mut self.waiting);
            }
            Report::Recovered => {
                self.ahead |= self.deliver == Deliver::BeforeCommit;
                self.available = true;
            }
        }
        VecDeque::new()
    }

    /// `held`: bytes that it keeps in memory beside its own.
    fn send(&mut self, number: u64, batch: Batch, held: usize) {
        let bytes = batch.bytes() + held;
        self.pending.push_back((number, bytes));
        self.pending_bytes += bytes;
        // A thread that is no more reports nothing: the server ends then.
        let _ = self.units.send(Unit { number, generation: self.generation, batch });
    }

    fn take_notes(&mut self, evictions: usize) -> Notes {
        let mut notes = std::mem::take(&mut self.notes);
        notes.evicted.extend(self.evicted.drain(..self.evicted.len().min(evictions)));
        notes
    }
}

impl Engine for Durable {
    fn submit(&mut self, transaction: Transaction) {
        let (mut batch, mut held) = (Batch { head: transaction.head, ..Batch::default() }, 0);
        for change in &transaction.changes {
            match change {
                Change::Append { message, kept: Some(kept), .. } => {
                    let unix_micros = transaction.unix_micros;
                    if message.stored {
                        let (previous, group) = (kept.previous, kept.group);
                        batch.messages.push(Stored { message: message.clone(), unix_micros, previous, group });
                    }
                    if let Some(key) = &kept.key {
                        batch.keys.push(KnownKey { key: key.clone(), stamp: message.stamp, unix_micros });
                    }
                }
                Change::Append { .. } => {}
                Change::Remove { message, stored, .. } => {
                    self.ends += 1;
                    self.notes.topics.remove(&message.topic);
                    self.notes.removed = self.notes.removed.max(stored.last().copied().unwrap_or_default());
                    batch.deleted.extend(stored.iter().map(|stamp| stamp.seq));
                    batch.ended.push(message.topic.clone());
                }
                Change::Issue(issued) => batch.tokens.push(TokenChange::Issue(issued.0, issued.1.clone())),
                Change::Revoke(revocation) => batch.tokens.push(TokenChange::Revoke((**revocation).clone())),
                Change::Alter { endpoint, records } => {
                    // What is no more stays until it is committed.
                    held += records.iter().filter_map(RecordChange::before).map(|before| before.data.len()).sum::<usize>();
                    batch.records.extend(records.iter().map(|change| match change {
                        RecordChange::Create(after) | RecordChange::Replace { after, .. } => {
                            RecordRow::Put(endpoint.clone(), after.clone())
                        }
                        RecordChange::Delete(before) => RecordRow::Delete(before.place),
                    }));
                }
            }
        }
        if batch.rows() > 0 {
            debug_assert!(self.available, "the hub refuses it before");
            // What a topic has evicted must not outlive its end.
            batch.notes = self.take_notes(if batch.ended.is_empty() { EVICTIONS } else { usize::MAX });
            self.submitted += 1;
            self.send(self.submitted, batch, held);
        }
        self.waiting.push_back((self.submitted, transaction));
    }

    fn ordered(&mut self) -> Option<Transaction> {
        if self.waiting.front()?.0 > self.committed && !self.ahead {
            return None;
        }
        let (after, transaction) = self.waiting.pop_front()?;
        self.released = after;
        for change in &transaction.changes {
            match change {
                Change::Append { topic, message, .. } if message.stored => {
                    if let Some((_, waiting)) = self.newest.get_mut(topic) {
                        *waiting -= 1;
                        if *waiting == 0 {
                            self.newest.remove(topic);
                        }
                    }
                }
                Change::Append { .. } | Change::Issue(_) | Change::Revoke(_) | Change::Alter { .. } => {}
                Change::Remove { .. } => self.ends -= 1,
            }
        }
        Some(transaction)
    }

    fn durable(&mut self) -> Option<&mut Durable> {
        Some(self)
    }
}
