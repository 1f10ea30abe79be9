//! Who listens here: per topic a dense list of subscriptions with back-indices.

use crate::exchange::{SubscriptionId, TopicId};
use crate::message::{EncodingId, TopicName};
use crate::session::Delivery;
use hashbrown::HashMap;
use slab::Slab;

/// One joined subscription in its topic's list.
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    pub connection: u32,
    pub id: SubscriptionId,
    /// Which of the connection's subscriptions this is.
    pub place: u16,
    /// An encoding, or `u16::MAX` for [`Delivery::PerSubscriber`]: keeps the entry at 12 bytes.
    encoding: u16,
}

const _: () = assert!(size_of::<Listener>() == 12);

impl Listener {
    pub fn new(connection: u32, id: SubscriptionId, place: u16, delivery: Delivery) -> Listener {
        let encoding = match delivery {
            Delivery::Shared(encoding) => encoding.0,
            Delivery::PerSubscriber => u16::MAX,
        };
        Listener { connection, id, place, encoding }
    }

    pub fn delivery(&self) -> Delivery {
        match self.encoding {
            u16::MAX => Delivery::PerSubscriber,
            encoding => Delivery::Shared(EncodingId(encoding)),
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
}

impl Subscribers {
    /// Enters a listener; returns the topic's local index and the listener's place in its list.
    pub fn add(&mut self, id: TopicId, name: &TopicName, listener: Listener) -> (u32, u32) {
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
        topic.listeners.swap_remove(at as usize);
        let id = topic.id;
        let moved = topic.listeners.get(at as usize).copied();
        if topic.listeners.is_empty() {
            self.topics.remove(local as usize);
            self.by_id.remove(&id);
        }
        (id, moved)
    }

    /// Takes a whole topic out, listeners and all.
    pub fn take(&mut self, id: TopicId) -> Option<LocalTopic> {
        let local = self.by_id.remove(&id)?;
        Some(self.topics.remove(local as usize))
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
