//! Who listens here: per topic a dense list of subscriptions with back-indices.

use crate::exchange::{SubscriptionId, TopicId};
use crate::message::{EncodingId, Frame, TopicName};
use crate::session::Delivery;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use slab::Slab;
use std::hash::BuildHasher;

/// One joined subscription in its topic's list.
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    pub connection: u32,
    pub id: SubscriptionId,
    /// Which of the connection's subscriptions this is.
    pub place: u16,
    /// A [`Way`] in four bytes: keeps the entry at twelve.
    way: u32,
}

const _: () = assert!(size_of::<Listener>() == 12);

/// A [`Delivery`] as its listeners keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Shared(EncodingId),
    /// An index for [`Subscribers::prefixed`].
    Prefixed(u32),
    PerSubscriber,
}

/// What the four bytes are: an encoding, or from here on an index of a prefix.
const PREFIXED: u32 = 1 << 16;

impl Listener {
    pub fn way(&self) -> Way {
        match self.way {
            u32::MAX => Way::PerSubscriber,
            encoding if encoding < PREFIXED => Way::Shared(EncodingId(encoding as u16)),
            index => Way::Prefixed(index - PREFIXED),
        }
    }
}

/// A prefix that some listeners have in common: one client's identifier, or that of many.
#[derive(Debug)]
struct Prefix {
    encoding: EncodingId,
    bytes: Frame,
    listeners: u32,
}

/// The prefixes in use, each once.
#[derive(Debug, Default)]
struct Prefixes {
    list: Slab<Prefix>,
    /// Indices into `list`, by the bytes there.
    known: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Prefixes {
    fn enter(&mut self, encoding: EncodingId, bytes: &Frame) -> u32 {
        let Prefixes { list, known, hasher } = self;
        let hash = hasher.hash_one(&**bytes);
        let same = |&index: &u32| {
            let prefix: &Prefix = &list[index as usize];
            prefix.encoding == encoding && prefix.bytes == *bytes
        };
        if let Some(&index) = known.find(hash, same) {
            list[index as usize].listeners += 1;
            return index;
        }
        let index = list.insert(Prefix { encoding, bytes: bytes.clone(), listeners: 1 }) as u32;
        known.insert_unique(hash, index, |&index| hasher.hash_one(&*list[index as usize].bytes));
        index
    }

    fn leave(&mut self, index: u32) {
        let prefix = &mut self.list[index as usize];
        prefix.listeners -= 1;
        if prefix.listeners == 0 {
            let hash = self.hasher.hash_one(&*prefix.bytes);
            if let Ok(entry) = self.known.find_entry(hash, |&known| known == index) {
                entry.remove();
            }
            self.list.remove(index as usize);
        }
    }
}

#[derive(Debug)]
pub struct LocalTopic {
    /// Its index here.
    pub local: u32,
    pub id: TopicId,
    pub name: TopicName,
    pub listeners: Vec<Listener>,
}

/// The topics that somebody of this reactor has joined.
#[derive(Default)]
pub struct Subscribers {
    topics: Slab<LocalTopic>,
    by_id: HashMap<TopicId, u32>,
    prefixes: Prefixes,
}

impl Subscribers {
    /// Enters a listener; returns the topic's local index and the listener's place in its list.
    pub fn add(
        &mut self,
        (id, name): (TopicId, &TopicName),
        connection: u32,
        subscription: SubscriptionId,
        place: u16,
        delivery: &Delivery,
    ) -> (u32, u32) {
        let way = match delivery {
            Delivery::Shared(encoding) => u32::from(encoding.0),
            Delivery::Prefixed { encoding, prefix } => PREFIXED + self.prefixes.enter(*encoding, prefix),
            Delivery::PerSubscriber => u32::MAX,
        };
        let listener = Listener { connection, id: subscription, place, way };
        let topics = &mut self.topics;
        let local = *self.by_id.entry(id).or_insert_with(|| {
            let entry = topics.vacant_entry();
            let local = entry.key() as u32;
            entry.insert(LocalTopic { local, id, name: name.clone(), listeners: Vec::with_capacity(1) });
            local
        });
        let listeners = &mut topics[local as usize].listeners;
        listeners.push(listener);
        (local, listeners.len() as u32 - 1)
    }

    /// Takes a listener out. The last one of the list moves to its place: the caller fixes that one's back-index.
    pub fn remove(&mut self, local: u32, at: u32) -> (TopicId, Option<Listener>) {
        let topic = &mut self.topics[local as usize];
        let gone = topic.listeners.swap_remove(at as usize);
        let id = topic.id;
        let moved = topic.listeners.get(at as usize).copied();
        if topic.listeners.is_empty() {
            self.topics.remove(local as usize);
            self.by_id.remove(&id);
        }
        self.forget(&gone);
        (id, moved)
    }

    /// Takes a whole topic out, listeners and all.
    pub fn take(&mut self, id: TopicId) -> Option<LocalTopic> {
        let local = self.by_id.remove(&id)?;
        let topic = self.topics.remove(local as usize);
        topic.listeners.iter().for_each(|listener| self.forget(listener));
        Some(topic)
    }

    /// Gives up the prefix of a listener that was taken out.
    fn forget(&mut self, listener: &Listener) {
        if let Way::Prefixed(index) = listener.way() {
            self.prefixes.leave(index);
        }
    }

    /// The encoding and the prefix of [`Way::Prefixed`].
    pub fn prefixed(&self, index: u32) -> (EncodingId, &Frame) {
        let prefix = &self.prefixes.list[index as usize];
        (prefix.encoding, &prefix.bytes)
    }

    /// How many listeners have a prefix, and how many prefixes there are.
    pub fn prefixed_counts(&self) -> (usize, usize) {
        let list = &self.prefixes.list;
        (list.iter().map(|(_, prefix)| prefix.listeners as usize).sum(), list.len())
    }

    /// Joined subscriptions of all connections.
    pub fn count(&self) -> usize {
        self.topics.iter().map(|(_, topic)| topic.listeners.len()).sum()
    }

    pub fn local(&self, id: TopicId) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    pub fn topic(&self, local: u32) -> &LocalTopic {
        &self.topics[local as usize]
    }

    pub fn topic_mut(&mut self, local: u32) -> &mut LocalTopic {
        &mut self.topics[local as usize]
    }

    pub fn listener_mut(&mut self, local: u32, at: u32) -> &mut Listener {
        &mut self.topics[local as usize].listeners[at as usize]
    }
}
