//! Publishing and deleting: judged as a whole, stamped, and applied once the engine says so.

use crate::engine::Change;
use crate::exchange::{Answer, Entry, Published, Question, Refusal, TopicId};
use crate::hub::events::Happening;
use crate::hub::log::kept_bytes;
use crate::hub::request::{Origin, ToReactor};
use crate::hub::topic::Topic;
use crate::hub::{Aging, Hub, Waiting};
use crate::message::{EventFields, Message, Seq, Stamp, TopicName};
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::sync::Arc;

/// Beyond this much on the way to a reactor, publications that it would have to deliver are refused.
const QUEUED_MESSAGES_MAX: usize = 65_536;
const QUEUED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What becomes of one entry.
enum Judged {
    New,
    /// Its key was used lately.
    Known(Stamp),
    /// Its key is that of an earlier entry of the same list.
    Same(usize),
}

impl Hub {
    pub(super) fn publish(&mut self, origin: Origin, entries: Vec<Entry>, question: Option<Question>) {
        match self.judge(&entries) {
            Ok(judged) => self.order(origin, entries, &judged, question),
            Err(refusal) => {
                self.totals.refused += 1;
                self.acknowledge(origin, Answer::Refused(refusal));
            }
        }
    }

    fn judge(&self, entries: &[Entry]) -> Result<SmallVec<[Judged; 1]>, Refusal> {
        let mut judged = SmallVec::with_capacity(entries.len());
        let mut first: HashMap<(&TopicName, &str), usize> = HashMap::new();
        let mut absent: SmallVec<[&TopicName; 4]> = SmallVec::new();
        let mut bytes = 0;
        for (index, entry) in entries.iter().enumerate() {
            if let Some(key) = &entry.key {
                if let Some(stamp) = self.keys.find(&entry.topic, key, self.settings.key_age, self.now.micros) {
                    judged.push(Judged::Known(stamp));
                    continue;
                }
                if let Some(&same) = first.get(&(&entry.topic, &**key)) {
                    judged.push(Judged::Same(same));
                    continue;
                }
                first.insert((&entry.topic, key), index);
            }
            judged.push(Judged::New);
            match self.topics.find(&entry.topic).and_then(|id| self.topics.get(id)) {
                Some(topic) if topic.interested().any(|reactor| self.is_overfull(reactor)) => return Err(Refusal::Busy),
                Some(_) => {}
                None => absent.push(&entry.topic),
            }
            if entry.store {
                bytes += kept_bytes(&entry.payload, entry.event.as_deref());
            }
        }
        if !self.may_create(absent.into_iter()) {
            return Err(Refusal::TooManyTopics);
        }
        if bytes > 0 && self.totals.log_bytes + bytes > self.settings.log_bytes_max {
            return Err(Refusal::OutOfMemory);
        }
        Ok(judged)
    }

    fn is_overfull(&self, reactor: usize) -> bool {
        let (messages, bytes) = self.reactors[reactor].queued;
        messages > QUEUED_MESSAGES_MAX || bytes > QUEUED_BYTES_MAX
    }

    fn order(&mut self, origin: Origin, entries: Vec<Entry>, judged: &[Judged], question: Option<Question>) {
        let is_new = |(_, judged): &(&Entry, &Judged)| matches!(judged, Judged::New);
        // The events of new topics come first, so that the messages stay consecutive.
        for (entry, _) in entries.iter().zip(judged).filter(is_new) {
            if self.topics.find(&entry.topic).is_none() {
                self.create(entry.topic.clone());
                self.tell(Happening::Created, &entry.topic);
            }
        }
        let mut published: Vec<Published> = Vec::with_capacity(entries.len());
        let mut changes = SmallVec::with_capacity(entries.len());
        for (entry, judged) in entries.into_iter().zip(judged) {
            let (stamp, duplicate) = match *judged {
                Judged::New => {
                    let topic = self.topics.find(&entry.topic).expect("it was created just now if it was missing");
                    let (stamp, change) = self.stamp(topic, entry.payload, entry.event, entry.store);
                    changes.push(change);
                    if let Some(key) = entry.key {
                        self.keys.add(entry.topic, key, stamp, self.now.micros, self.settings.keys_max);
                    }
                    (stamp, false)
                }
                Judged::Known(stamp) => (stamp, true),
                Judged::Same(first) => (published[first].stamp, true),
            };
            published.push(Published { stamp, duplicate });
        }
        self.submit(changes, Waiting::Published { origin, published, question });
    }

    /// Gives a message its stamp and its id.
    pub(super) fn stamp(
        &mut self,
        id: TopicId,
        payload: Arc<[u8]>,
        event: Option<Box<EventFields>>,
        stored: bool,
    ) -> (Stamp, Change) {
        let stamp = self.sequencer.stamp(self.now);
        self.totals.messages_in += 1;
        self.totals.bytes_in += payload.len() as u64;
        let topic = self.topics.get_mut(id).expect("only existing topics are published to");
        topic.published += 1;
        self.totals.published += u64::from(!topic.name.is_reserved());
        let mut message = Message::new(stamp, topic.name.clone(), topic.published as i64, payload);
        message.event = event;
        message.stored = stored;
        message.ordered_micros = self.now.micros;
        (stamp, Change::Append { topic: id, message: Arc::new(message) })
    }

    /// A released message reaches its topic and those who listen.
    pub(super) fn append(&mut self, id: TopicId, message: Arc<Message>) {
        // The topic may have been deleted between stamp and release.
        let Some(topic) = self.topics.get_mut(id) else { return };
        for reactor in topic.interested() {
            let reactor = &mut self.reactors[reactor];
            reactor.queued.0 += 1;
            reactor.queued.1 += message.payload.len();
            reactor.replies.push(ToReactor::Deliver { topic: id, message: message.clone() });
        }
        let aging = Aging { topic: id, seq: message.stamp.seq, since: message.ordered_micros };
        let bytes = kept_bytes(&message.payload, message.event.as_deref());
        if message.stored {
            self.totals.stored += u64::from(!topic.name.is_reserved());
            self.totals.logged += 1;
            self.totals.log_bytes += bytes;
            topic.log.push(message);
            self.stored.push(aging);
        } else if topic.subscribers > 0 {
            let ring = topic.ring.get_or_insert_default();
            if self.totals.log_bytes + self.totals.unstored_bytes + bytes > self.settings.log_bytes_max {
                // Delivered all the same; only who lags has lost it.
                let (messages, bytes) = ring.give_up(message.stamp.seq);
                self.totals.unstored -= messages;
                self.totals.unstored_bytes -= bytes;
            } else {
                self.totals.unstored += 1;
                self.totals.unstored_bytes += bytes;
                ring.log.push(message);
                self.unstored.push(aging);
            }
        }
        self.trim(id);
        self.rest(id, true);
        self.compact();
    }

    pub(super) fn delete(&mut self, origin: Origin, mut names: Vec<TopicName>, payload: Arc<[u8]>) {
        names.sort_unstable();
        names.dedup();
        let mut changes = SmallVec::new();
        names.retain(|name| {
            let Some(topic) = self.topics.find(name) else { return false };
            let mut message = Message::new(self.sequencer.mark(self.now), name.clone(), -2, payload.clone());
            message.stored = false;
            message.ordered_micros = self.now.micros;
            changes.push(Change::Remove { topic, message: Arc::new(message) });
            true
        });
        self.submit(changes, Waiting::Deleted { origin, topics: names.len() });
        for name in &names {
            self.tell(Happening::Destroyed, name);
        }
    }

    /// A released deletion: the topic goes, and with it every subscription.
    pub(super) fn remove(&mut self, id: TopicId, message: &Arc<Message>) {
        let Some(topic) = self.end(id) else { return };
        let last = topic.last_stored().map_or(Seq(0), |stamp| stamp.seq);
        for reactor in topic.interested() {
            self.reactors[reactor].replies.push(ToReactor::Removed {
                topic: id,
                last,
                last_unstored: topic.last_unstored(),
                message: message.clone(),
            });
        }
    }

    /// Takes a topic out of everything. What it had stored counts as evicted.
    pub(super) fn end(&mut self, id: TopicId) -> Option<Box<Topic>> {
        let topic = self.topics.remove(id)?;
        self.removed = self.removed.max(topic.last_stored().unwrap_or_default());
        self.totals.evicted += topic.log.len() as u64;
        self.totals.logged -= topic.log.len() as u64;
        self.totals.log_bytes -= topic.log.bytes();
        self.totals.subscriptions -= u64::from(topic.subscribers);
        self.totals.idle -= u64::from(topic.is_idle());
        if let Some(ring) = &topic.ring {
            self.totals.unstored -= ring.log.len() as u64;
            self.totals.unstored_bytes -= ring.log.bytes();
        }
        if !topic.name.is_reserved() {
            self.totals.topics -= 1;
            self.totals.wildcard_topics -= u64::from(self.is_wildcard(&topic.name));
            self.totals.published -= topic.published;
            self.totals.stored -= topic.log.len() as u64;
        }
        Some(topic)
    }
}
