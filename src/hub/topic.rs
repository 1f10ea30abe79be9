//! The topics: a slab with generations, found by name.

use crate::exchange::TopicId;
use crate::hub::documents::is_deletion;
use crate::hub::log::{Keep, Log};
use crate::message::{Message, Seq, Stamp, TopicName};
use hashbrown::{DefaultHashBuilder, HashTable};
use smallvec::SmallVec;
use std::hash::BuildHasher;
use std::sync::Arc;

/// `Topic::idle_since` of a topic that is not [unused](Topic::is_unused).
pub const NOT_IDLE: u64 = u64::MAX;

/// How far a topic's history has come: names a stored message. The default is "none yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The `Seq` of the first stored message that was counted.
    pub epoch: u64,
    pub offset: u64,
}

/// What a topic leaves to the next one of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    pub position: Position,
    /// The last message that was counted.
    pub newest: Stamp,
}

/// One topic. Without messages it owns no memory but itself and its name.
#[derive(Debug)]
pub struct Topic {
    pub name: TopicName,
    /// Messages so far, unstored ones too: the id of the newest. Of a document the version; 0: never written.
    pub published: u64,
    /// Of the newest stored message that was stamped.
    pub position: Position,
    /// Stored messages that were stamped and are not released yet.
    pub pending: u32,
    /// The last stored message that is gone, maybe that of an earlier life that goes on; else the head at which the topic
    /// was created.
    pub floor: Stamp,
    pub log: Log,
    /// Unstored messages for readers that lag; only while there are subscribers.
    pub ring: Option<Box<Ring>>,
    /// Evicted messages for readers that had joined before; only while there are subscribers.
    pub tail: Option<Box<Tail>>,
    /// Subscriptions per reactor; none with 0.
    interest: SmallVec<[(u16, u32); 1]>,
    pub subscribers: u32,
    /// Monotonic microseconds since when it is unused.
    pub idle_since: u64,
}

/// Unstored messages, and up to where they are gone.
#[derive(Debug, Default)]
pub struct Ring {
    pub log: Log,
    pub evicted: Seq,
}

/// Messages that the window has no place for any more, but that somebody who joined when it had is still to read: a window
/// that moves on would else turn away whoever comes from far back.
#[derive(Debug)]
pub struct Tail {
    pub log: Log,
    /// It has, together with the topic's log, every stored message after this one.
    pub reaches: Seq,
    /// Monotonic microseconds until which readers are waited for.
    pub until: u64,
    /// When its entry in the queue of ages was made; entries of an earlier tail of the topic are stale.
    pub noted: u64,
}

impl Tail {
    /// Gives up everything up to here. Returns how many messages and bytes that frees.
    pub fn give_up(&mut self, seq: Seq) -> (u64, u64) {
        let freed = std::mem::take(&mut self.log);
        self.reaches = seq;
        (freed.len() as u64, freed.bytes())
    }
}

impl Ring {
    /// Gives up everything up to here. Returns how many messages and bytes that frees.
    pub fn give_up(&mut self, seq: Seq) -> (u64, u64) {
        let freed = std::mem::take(&mut self.log);
        self.evicted = seq;
        (freed.len() as u64, freed.bytes())
    }
}

impl Topic {
    fn new(name: TopicName, keep: Keep, created: Stamp) -> Topic {
        Topic {
            name,
            published: 0,
            position: Position::default(),
            pending: 0,
            floor: created,
            log: Log::new(keep),
            ring: None,
            tail: None,
            interest: SmallVec::new(),
            subscribers: 0,
            idle_since: NOT_IDLE,
        }
    }

    /// Reactors with at least one subscription.
    pub fn interested(&self) -> impl Iterator<Item = usize> {
        self.interest.iter().map(|&(reactor, _)| usize::from(reactor))
    }

    pub fn attach(&mut self, reactor: u16) {
        self.subscribers += 1;
        match self.interest.iter_mut().find(|(known, _)| *known == reactor) {
            Some((_, count)) => *count += 1,
            None => self.interest.push((reactor, 1)),
        }
    }

    /// False if the reactor has no subscription here.
    pub fn detach(&mut self, reactor: u16) -> bool {
        let Some(at) = self.interest.iter().position(|(known, _)| *known == reactor) else {
            return false;
        };
        self.interest[at].1 -= 1;
        if self.interest[at].1 == 0 {
            self.interest.swap_remove(at);
        }
        self.subscribers -= 1;
        debug_assert_eq!(u64::from(self.subscribers), self.interest.iter().map(|&(_, count)| u64::from(count)).sum::<u64>());
        true
    }

    /// Goes on where an earlier topic of this name stopped.
    pub fn resume(&mut self, past: Past) {
        debug_assert!(self.position.offset == 0 && past.newest <= self.floor);
        self.position = past.position;
        self.floor = past.newest;
    }

    /// What it leaves if it is forgotten now.
    pub fn past(&self) -> Option<Past> {
        self.last_stored().map(|newest| Past { position: self.released(), newest })
    }

    /// The place of the next stored message, which was given this stamp.
    pub fn count_stored(&mut self, stamp: Stamp) -> Position {
        if self.position.offset == 0 {
            self.position.epoch = stamp.seq.0;
        }
        self.position.offset += 1;
        self.pending += 1;
        self.position
    }

    /// A stored message was released.
    pub fn push(&mut self, message: Arc<Message>) {
        self.pending -= 1;
        debug_assert_eq!(message.place_in(&self.name).1, self.released().offset);
        self.log.push(message);
    }

    /// The newest message that was counted never happened.
    pub fn take_back(&mut self, message: &Message) {
        self.published = match self.log.keep() {
            Keep::Window => self.published - u64::from(self.owns(message)),
            Keep::Newest { .. } => self.log.newest().map_or(0, |newest| newest.id as u64),
        };
        if message.stored {
            self.pending -= 1;
            self.position.offset -= 1;
            if self.position.offset == 0 {
                self.position = Position::default();
            }
        }
    }

    /// Whether this is the message's first topic: what is kept of it on disk goes with this one's log.
    pub fn owns(&self, message: &Message) -> bool {
        message.also.is_none() || message.topic == self.name
    }

    /// Of the newest stored message that was released.
    pub fn released(&self) -> Position {
        let offset = self.position.offset - u64::from(self.pending);
        Position { epoch: if offset == 0 { 0 } else { self.position.epoch }, offset }
    }

    /// Whether stored messages are gone: `floor` is the last of them then.
    pub fn has_evicted(&self) -> bool {
        self.released().offset > self.log.len() as u64
    }

    /// A stored message left the log.
    pub fn evicted(&mut self, message: &Message) {
        debug_assert!(message.stamp > self.floor && self.has_evicted());
        self.floor = message.stamp;
    }

    /// Somebody begins or goes on to read what is stored: what is evicted from now on waits for him.
    /// Returns whether nobody was waited for.
    pub fn wait_for_readers(&mut self, micros: u64, until: u64) -> bool {
        let reaches = self.floor.seq;
        let begins = self.tail.is_none();
        let tail = self.tail.get_or_insert_with(|| Box::new(Tail { log: Log::default(), reaches, until, noted: micros }));
        tail.until = until;
        begins
    }

    /// Whether a reader who has everything up to here can still be given every stored message after it.
    pub fn reaches_back_to(&self, seq: Seq) -> bool {
        // Of a document nobody misses what it was once.
        self.is_document()
            || !self.has_evicted()
            || self.floor.seq <= seq
            || self.tail.as_ref().is_some_and(|tail| tail.reaches <= seq)
    }

    /// Messages and bytes that are kept for readers that lag only.
    pub fn for_laggards(&self) -> (u64, u64) {
        let logs = [self.ring.as_ref().map(|ring| &ring.log), self.tail.as_ref().map(|tail| &tail.log)];
        logs.into_iter().flatten().fold((0, 0), |(count, bytes), log| (count + log.len() as u64, bytes + log.bytes()))
    }

    /// The newest stored message it ever had, kept or not.
    pub fn last_stored(&self) -> Option<Stamp> {
        self.log.newest().map(|message| message.stamp).or(self.has_evicted().then_some(self.floor))
    }

    /// The newest unstored message that somebody may still be waiting for.
    pub fn last_unstored(&self) -> Seq {
        self.ring.as_ref().map_or(Seq(0), |ring| ring.log.newest().map_or(ring.evicted, |message| message.stamp.seq))
    }

    pub fn is_idle(&self) -> bool {
        self.idle_since != NOT_IDLE
    }

    /// Nobody listens, and nothing is stored but, at most, that a document was deleted.
    pub fn is_unused(&self) -> bool {
        self.subscribers == 0
            && (self.log.is_empty() || self.is_document() && self.log.newest().is_some_and(|newest| is_deletion(newest)))
    }

    pub fn is_document(&self) -> bool {
        self.log.keep() != Keep::Window
    }
}

/// What a place in the slab remembers of the topics that were there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Former {
    pub stored: Seq,
    pub unstored: Seq,
}

impl Former {
    fn left(&mut self, topic: &Topic) {
        self.stored = self.stored.max(topic.last_stored().map_or(Seq(0), |stamp| stamp.seq));
        self.unstored = self.unstored.max(topic.last_unstored());
    }
}

#[derive(Debug)]
struct Slot {
    /// Of the handle that counts: each topic that is here begins with one of its own, and may be given others.
    generation: u32,
    /// Of the handle that the present topic began with, by which the hub knows it as long as it lives.
    born: u32,
    former: Former,
    topic: Option<Box<Topic>>,
}

/// Every topic of the server, by handle and by name.
///
/// A topic can be [given another handle](Topics::renew): what is held from outside under an earlier one is stale then. The hub itself
/// goes on with the one it began with.
#[derive(Debug, Default)]
pub struct Topics {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Indices into `slots`; the names are there.
    names: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Topics {
    pub fn find(&self, name: &TopicName) -> Option<TopicId> {
        self.look_up(name).map(|(id, _)| id)
    }

    /// The same, and the topic itself.
    pub fn look_up(&self, name: &TopicName) -> Option<(TopicId, &Topic)> {
        let index = *self.names.find(self.hasher.hash_one(name), |&index| named(&self.slots, index) == Some(name))?;
        let slot = &self.slots[index as usize];
        Some((TopicId { index, generation: slot.born }, slot.topic.as_deref()?))
    }

    pub fn get(&self, id: TopicId) -> Option<&Topic> {
        let slot = self.slots.get(id.index as usize).filter(|slot| slot.born == id.generation)?;
        slot.topic.as_deref()
    }

    pub fn get_mut(&mut self, id: TopicId) -> Option<&mut Topic> {
        let slot = self.slots.get_mut(id.index as usize).filter(|slot| slot.born == id.generation)?;
        slot.topic.as_deref_mut()
    }

    /// The handle under which it is known outside.
    pub fn handle(&self, id: TopicId) -> TopicId {
        self.slots.get(id.index as usize).map_or(id, |slot| TopicId { generation: slot.generation, ..id })
    }

    /// The topic with this handle, unless that is stale.
    pub fn held(&self, handle: TopicId) -> Option<TopicId> {
        let slot = self.slots.get(handle.index as usize).filter(|slot| slot.generation == handle.generation)?;
        slot.topic.as_ref().map(|_| TopicId { generation: slot.born, ..handle })
    }

    /// From now on it has another handle, and nobody listens: for what is held under the earlier one it is no more.
    pub fn renew(&mut self, id: TopicId) {
        let Some(slot) = self.slots.get_mut(id.index as usize).filter(|slot| slot.born == id.generation) else { return };
        let Some(topic) = slot.topic.as_deref_mut() else { return };
        slot.generation = slot.generation.wrapping_add(1);
        slot.former.left(topic);
        (topic.ring, topic.tail, topic.subscribers) = (None, None, 0);
        topic.interest = SmallVec::new();
    }

    /// The topic of this name must not exist.
    pub fn create(&mut self, name: TopicName, keep: Keep, created: Stamp) -> TopicId {
        debug_assert_eq!(self.find(&name), None);
        let hash = self.hasher.hash_one(&name);
        let topic = Box::new(Topic::new(name, keep, created));
        let index = match self.free.pop() {
            Some(index) => {
                let slot = &mut self.slots[index as usize];
                (slot.topic, slot.born) = (Some(topic), slot.generation);
                index
            }
            None => {
                let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 topics fit into memory");
                self.slots.push(Slot { generation: 0, born: 0, former: Former::default(), topic: Some(topic) });
                index
            }
        };
        let Topics { slots, names, hasher, .. } = self;
        names.insert_unique(hash, index, |&index| hasher.hash_one(named(slots, index).expect("every name has its topic")));
        TopicId { index, generation: slots[index as usize].born }
    }

    pub fn remove(&mut self, id: TopicId) -> Option<Box<Topic>> {
        let slot = self.slots.get_mut(id.index as usize).filter(|slot| slot.born == id.generation)?;
        let topic = slot.topic.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        slot.former.left(&topic);
        if let Ok(entry) = self.names.find_entry(self.hasher.hash_one(&topic.name), |&index| index == id.index) {
            entry.remove();
        }
        self.free.push(id.index);
        Some(topic)
    }

    /// What is known of a topic that is no more.
    pub fn former(&self, id: TopicId) -> Former {
        self.slots.get(id.index as usize).map_or(Former::default(), |slot| slot.former)
    }

    /// Every topic, in no order that may be shown.
    pub fn iter(&self) -> impl Iterator<Item = (TopicId, &Topic)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let id = TopicId { index: index as u32, generation: slot.born };
            slot.topic.as_deref().map(|topic| (id, topic))
        })
    }

    /// The topics at these places of the slab.
    pub fn between(&self, from: usize, to: usize) -> Vec<TopicId> {
        let slots = self.slots[from..to].iter().enumerate().filter(|(_, slot)| slot.topic.is_some());
        slots.map(|(at, slot)| TopicId { index: (from + at) as u32, generation: slot.born }).collect()
    }

    pub fn places(&self) -> usize {
        self.slots.len()
    }
}

fn named(slots: &[Slot], index: u32) -> Option<&TopicName> {
    slots[index as usize].topic.as_deref().map(|topic| &topic.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(seq: u64) -> Stamp {
        Stamp { seq: Seq(seq), seconds: 1, tag: seq as u32 }
    }

    #[test]
    fn a_topic_that_comes_back_has_another_handle() {
        let mut topics = Topics::default();
        let first = topics.create("a".into(), Keep::Window, stamp(1));
        topics.remove(first).unwrap();
        assert_eq!(topics.find(&"a".into()), None);
        let second = topics.create("a".into(), Keep::Window, stamp(2));
        assert_eq!(second.index, first.index);
        assert_ne!(second, first);
        assert!(topics.get(first).is_none());
        assert!(topics.remove(first).is_none());
        assert_eq!(topics.find(&"a".into()), Some(second));
    }

    #[test]
    fn a_renewed_topic_is_stale_for_those_outside_and_the_same_for_the_hub() {
        let mut topics = Topics::default();
        let id = topics.create("a".into(), Keep::Window, stamp(1));
        assert_eq!((topics.handle(id), topics.held(id)), (id, Some(id)));
        topics.get_mut(id).unwrap().attach(3);
        topics.renew(id);
        let handle = topics.handle(id);
        assert_eq!((topics.held(id), topics.held(handle), topics.find(&"a".into())), (None, Some(id), Some(id)));
        let topic = topics.get(id).unwrap();
        assert_eq!((topic.subscribers, topic.interested().count()), (0, 0));
        topics.renew(id);
        assert_eq!((topics.held(handle), topics.held(topics.handle(id))), (None, Some(id)));
        let last = topics.handle(id);
        topics.remove(id).unwrap();
        assert!(topics.get(id).is_none() && topics.held(last).is_none());
        let next = topics.create("b".into(), Keep::Window, stamp(2));
        assert!(![id, handle, last].contains(&next) && topics.held(next) == Some(next));
        assert!([id, handle, last].iter().all(|&stale| topics.get(stale).is_none() && topics.held(stale).is_none()));
    }

    #[test]
    fn names_are_found_among_many_through_growth_and_removal() {
        let mut topics = Topics::default();
        let ids: Vec<_> = (0..1_000).map(|n| topics.create(format!("t{n}").as_str().into(), Keep::Window, stamp(n))).collect();
        ids.iter().step_by(2).for_each(|&id| drop(topics.remove(id)));
        for (n, &id) in ids.iter().enumerate() {
            assert_eq!(topics.find(&format!("t{n}").as_str().into()), (n % 2 == 1).then_some(id));
        }
        assert_eq!(topics.iter().count(), 500);
    }

    #[test]
    fn interest_counts_subscriptions_per_reactor() {
        let mut topic = Topic::new("a".into(), Keep::Window, stamp(1));
        [3, 0, 3].into_iter().for_each(|reactor| topic.attach(reactor));
        assert!(topic.detach(3));
        assert_eq!(topic.interested().collect::<Vec<_>>(), [3, 0]);
        assert!(topic.detach(3));
        assert!(!topic.detach(3));
        assert_eq!((topic.interested().collect::<Vec<_>>(), topic.subscribers), (vec![0], 1));
    }

    #[test]
    fn offsets_count_stored_messages_and_the_first_one_names_the_epoch() {
        let mut topic = Topic::new("a".into(), Keep::Window, stamp(1));
        assert_eq!(topic.released(), Position::default());
        let positions = [7, 9].map(|seq| topic.count_stored(stamp(seq)));
        assert_eq!(positions, [Position { epoch: 7, offset: 1 }, Position { epoch: 7, offset: 2 }]);
        assert_eq!((topic.released(), topic.has_evicted()), (Position::default(), false), "they are stamped, not released");
        let mut message = Message::new(stamp(7), "a".into(), 1, b"1"[..].into());
        (message.epoch, message.offset) = (7, 1);
        topic.push(Arc::new(message));
        assert_eq!((topic.released(), topic.has_evicted()), (Position { epoch: 7, offset: 1 }, false));
    }

    #[test]
    fn an_idle_topic_is_small() {
        assert!(size_of::<Topic>() <= 168, "{}", size_of::<Topic>());
        assert!(size_of::<Slot>() <= 32, "{}", size_of::<Slot>());
    }
}
