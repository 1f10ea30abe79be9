//! A damaged database is refused, or it is what it was at some time; with the note beside it, what it was at last.

use crate::exchange::{Grant, Revocation, TokenDigest};
use crate::message::{EventFields, Message, Seq, Stamp, TopicName};
use crate::storage::faulty::Disk;
use crate::storage::model::Model;
use crate::storage::redb::Medium as _;
use crate::storage::{Batch, KnownKey, Remains, Storage as _, Stored, TokenChange, Why};
use std::cell::Cell;
use std::num::NonZeroU32;
use std::sync::{Arc, Once, OnceLock};

const TOPICS: [&str; 3] = ["a", "b", "c"];
const DOCUMENTS: [&str; 3] = ["$r/ax", "$r/ay", "$r/az"];
const USERS: [&str; 2] = ["u", "v"];
/// Bounds of one workload.
const BATCHES: usize = 8;
const OPERATIONS: usize = 48;
const PAGE: usize = 4_096;

/// The first eleven bytes are how the process ended and the damage; the others are what it did.
pub fn log_replay(bytes: &[u8]) {
    outcome(bytes);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Refused,
    /// It is as it was after some batches before the last.
    Older,
    Newest,
}

fn outcome(bytes: &[u8]) -> Outcome {
    let mut bytes = bytes.iter().copied();
    let mut next = || usize::from(bytes.next().unwrap_or(0));
    let (end, damage) = (next(), next());
    let places: [usize; 3] = std::array::from_fn(|_| next() << 16 | next() << 8 | next());
    let mut work = Work::new();
    let disk = empty();
    let (mut storage, _) = disk.load().expect("a new file is in order");
    let mut states = vec![Model::default()];
    let mut older = Vec::new();
    for _ in 0..OPERATIONS {
        let (Some(operation), false) = (bytes.next(), states.len() > BATCHES) else { break };
        let mut next = || usize::from(bytes.next().unwrap_or(0));
        if operation % 12 < 9 {
            work.add(usize::from(operation), next(), next());
            continue;
        }
        if states.len() == 1 + places[2] % BATCHES {
            older = disk.file();
        }
        storage.commit(&work.batch()).expect("nothing fails here");
        states.push(work.model.clone());
    }
    let killed = (end % 2 == 1).then(|| disk.file());
    drop(storage);
    let whole = killed.unwrap_or_else(|| disk.file());
    let noted = if end & 2 == 0 { disk.noted() } else { None };

    let mut file = whole.clone();
    match damage % 4 {
        0 => file.truncate(places[0] % (file.len() + 1)),
        1 => {
            for place in &places[..1 + damage / 4 % 3] {
                let bit = place % (file.len() * 8);
                file[bit / 8] ^= 1 << (bit % 8);
            }
        }
        // A range of pages as it was earlier.
        2 => {
            let (from, pages) = (places[0] % (file.len() / PAGE) * PAGE, 1 + places[1] % 16);
            let to = (from + pages * PAGE).min(file.len()).min(older.len());
            if from < to {
                file[from..to].copy_from_slice(&older[from..to]);
            }
        }
        _ if !older.is_empty() && damage & 4 > 0 => file = older,
        _ => {}
    }
    let (is_whole, last) = (file == whole, states.len() - 1);
    let Some(found) = load(&file, noted) else {
        assert!(!is_whole, "nothing is wrong with it");
        return Outcome::Refused;
    };
    let place = states.iter().rposition(|state| *state == found).unwrap_or_else(|| panic!("it never was so: {found:?}"));
    assert!(place == last || noted.is_none() && !is_whole, "it is older than it was: {place} of {last}");
    if place == last { Outcome::Newest } else { Outcome::Older }
}

/// What a process finds that starts with this file and note; `None`: it refuses it, and leaves it as it is.
fn load(file: &[u8], noted: Option<u64>) -> Option<Model> {
    let disk = Disk::holding(file.to_vec(), 1);
    disk.note_is(noted);
    match quietly(|| disk.load().map(|(storage, loaded)| (drop(storage), Model::of(&loaded)).1)) {
        Ok(model) => Some(model),
        Err(Why::Damaged(_) | Why::Foreign) => {
            assert!(disk.file() == file, "it was changed");
            None
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// A disk with an empty database; making one takes longer than all the rest.
fn empty() -> Disk {
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    Disk::holding(FILE.get_or_init(|| Disk::new(1).file()).clone(), 1)
}

/// Runs what may panic inside and catches that itself: a fuzzer would take the panic for the end.
fn quietly<T>(what: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    thread_local!(static QUIET: Cell<bool> = const { Cell::new(false) });
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                loud(panic);
            }
        }));
    });
    QUIET.set(true);
    let result = what();
    QUIET.set(false);
    result
}

/// What a process does between two commits.
struct Work {
    model: Model,
    batch: Batch,
    seq: u64,
    /// The newest message of each topic and document.
    newest: [Stamp; TOPICS.len() + DOCUMENTS.len()],
}

impl Work {
    fn new() -> Work {
        Work { model: Model::default(), batch: Batch::default(), seq: 1, newest: Default::default() }
    }

    fn stamp(&mut self) -> Stamp {
        self.seq += 1;
        Stamp { seq: Seq(self.seq), seconds: self.seq / 4, tag: self.seq as u32 }
    }

    /// What is committed now; the model has it already.
    fn batch(&mut self) -> Batch {
        self.batch.head = self.stamp();
        let batch = std::mem::take(&mut self.batch);
        self.model.apply(&batch);
        batch
    }

    fn add(&mut self, operation: usize, what: usize, how: usize) {
        let token = TokenDigest([what as u8 % 4; 32]);
        let user: Box<str> = USERS[how % USERS.len()].into();
        match operation % 12 {
            0..=2 => {
                let stamp = self.message(what % TOPICS.len(), how * how / 8, how);
                if how.is_multiple_of(4) {
                    let key = Arc::new((TOPICS[what % TOPICS.len()].into(), how.to_string().into()));
                    self.batch.keys.push(KnownKey { key, stamp, unix_micros: stamp.seq.0 });
                }
            }
            3 => drop(self.message(TOPICS.len() + what % DOCUMENTS.len(), how, how)),
            4 => {
                let grant = Grant { group: "g".into(), user, until: how as u64 };
                self.batch.tokens.push(TokenChange::Issue(token, grant));
            }
            5 => self.batch.tokens.push(TokenChange::Revoke(match how % 4 {
                0 => Revocation::User { group: "g".into(), user, except: (how > 99).then_some(token) },
                _ => Revocation::Token(token),
            })),
            6 => {
                let name: TopicName = TOPICS[what % TOPICS.len()].into();
                let of = |stored: &&Stored| stored.message.topic == name;
                let coming = self.batch.messages.iter().filter(of).map(|stored| stored.message.stamp.seq);
                let there =
                    self.model.messages.iter().filter(|(_, message)| message.0 == name.as_str()).map(|(&seq, _)| Seq(seq));
                self.batch.deleted.extend(coming.chain(there).collect::<Vec<_>>());
                self.batch.notes.topics.remove(&name);
                self.batch.ended.push(name);
            }
            7 => {
                let many = 1 + what % 3;
                self.batch.notes.evicted.extend(self.model.messages.keys().take(many).map(|&seq| Seq(seq)));
                self.batch.notes.keys_until = Seq(self.seq.saturating_sub(how as u64));
            }
            _ => {
                let place = Stamp { seq: Seq(self.seq), ..Stamp::default() };
                let remains = Remains { floor: place, epoch: 1, offset: 2, published: 3, forgotten: Some(how as u64) };
                let notes = &mut self.batch.notes;
                match how % 6 {
                    0 | 1 => {
                        notes.topics.insert(TOPICS[what % TOPICS.len()].into(), how.is_multiple_of(6).then_some(remains));
                    }
                    2 => notes.expired.push(token),
                    3 => (notes.removed, notes.forgotten) = (place, self.seq),
                    4 => (notes.ahead, notes.renewed) = (Some(what.is_multiple_of(2)), Seq(self.seq)),
                    _ => notes.begins = Some(place),
                }
            }
        }
    }

    fn message(&mut self, topic: usize, length: usize, how: usize) -> Stamp {
        let name = *TOPICS.iter().chain(&DOCUMENTS).nth(topic).expect("there are so many");
        let stamp = self.stamp();
        let mut message = Message::new(stamp, name.into(), stamp.seq.0 as i64, vec![how as u8; length].into());
        (message.epoch, message.offset) = (1, stamp.seq.0);
        if how.is_multiple_of(5) {
            message.event = Some(Box::new(EventFields { id: Some(name.as_bytes().into()), kind: None }));
        }
        let previous = std::mem::replace(&mut self.newest[topic], stamp);
        let group = if topic < TOPICS.len() { None } else { NonZeroU32::new(4) };
        self.batch.messages.push(Stored { message: Arc::new(message), unix_micros: stamp.seq.0, previous, group });
        stamp
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{Random, replay};

    #[test]
    fn the_corpus_is_refused_or_as_it_was() {
        replay("log_replay", log_replay);
    }

    #[test]
    fn a_thousand_workloads_are_refused_or_as_they_were() {
        let mut outcomes = [0; 3];
        for seed in 0..1_000 {
            let mut random = Random::new(seed);
            let bytes: Vec<u8> = (0..60 + random.below(60)).map(|_| random.below(256) as u8).collect();
            outcomes[outcome(&bytes) as usize] += 1;
        }
        assert!(outcomes.iter().all(|&count| count > 20), "{outcomes:?}");
    }
}
