//! Documents: topics that keep their newest message only, written on conditions, under versions that only grow.
//!
//! Conditions, versions and counts are judged by what is stamped; joins, reads and questions see what is released.

use crate::engine::Change;
use crate::exchange::{Condition, Group, TopicId, Write, WriteRefusal, Written};
use crate::hub::log::{Keep, kept_bytes};
use crate::hub::publish::Content;
use crate::hub::request::Origin;
use crate::hub::topic::Topic;
use crate::hub::{Hub, Totals, Waiting};
use crate::message::{Message, TopicName};
use hashbrown::HashMap;
use smallvec::{SmallVec, smallvec};
use std::num::NonZeroU32;
use std::sync::Arc;

/// The beginning of the year 9999 in Unix milliseconds: a clock beyond it leaves a year of versions to count on.
const CLOCK_MAX: u64 = 253_370_764_800_000;

/// The value of a document that was deleted.
const DELETED: &[u8] = b"null";

#[derive(Debug, Default)]
pub struct Documents {
    /// By name, those with something to count.
    groups: HashMap<Box<str>, Counts>,
    /// The newest message of each document that has messages on their way through the engine.
    ahead: HashMap<TopicId, Arc<Message>>,
    /// The greatest version of a document that is no more.
    forgotten: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    existing: u64,
    awaited: u64,
}

/// What a document counts as in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Existing,
    /// Somebody subscribes to it, but it does not exist.
    Awaited,
    Neither,
}

impl Documents {
    fn counts(&self, group: &str) -> Counts {
        self.groups.get(group).copied().unwrap_or_default()
    }

    fn recount(&mut self, group: &str, was: Standing, is: Standing) {
        if was == is {
            return;
        }
        let mut counts = self.counts(group);
        match was {
            Standing::Existing => counts.existing -= 1,
            Standing::Awaited => counts.awaited -= 1,
            Standing::Neither => {}
        }
        match is {
            Standing::Existing => counts.existing += 1,
            Standing::Awaited => counts.awaited += 1,
            Standing::Neither => {}
        }
        if counts == Counts::default() {
            self.groups.remove(group);
        } else {
            *self.groups.entry_ref(group).or_default() = counts;
        }
    }

    /// The newest message that was stamped.
    fn newest<'a>(&'a self, id: TopicId, topic: &'a Topic) -> Option<&'a Arc<Message>> {
        let ahead = if topic.pending > 0 { self.ahead.get(&id) } else { None };
        ahead.or_else(|| topic.log.newest())
    }

    fn standing(&self, id: TopicId, topic: &Topic) -> Standing {
        match self.newest(id, topic) {
            Some(newest) if !is_deletion(newest) => Standing::Existing,
            Some(_) | None if topic.subscribers > 0 => Standing::Awaited,
            Some(_) | None => Standing::Neither,
        }
    }
}

/// Whether this message of a document says that it was deleted.
pub fn is_deletion(message: &Message) -> bool {
    *message.payload == *DELETED
}

/// What a document of this group keeps.
pub fn keep(group: Group) -> Keep {
    let bytes = u32::try_from(group.bytes).ok().and_then(NonZeroU32::new);
    Keep::Newest { group: bytes.expect("the group of a document is a beginning of its name") }
}

/// The name of a document's group.
fn group_of(name: &TopicName, bytes: NonZeroU32) -> &str {
    &name.as_str()[..bytes.get() as usize]
}

impl Hub {
    pub(super) fn write(&mut self, origin: Origin, write: Write) {
        // A refusal goes through the gate, too: it may be due to what is not released yet.
        let (result, changes) = match self.judge_write(&write) {
            Ok(Some(unchanged)) => (Ok(Written { version: unchanged, created: false }), SmallVec::new()),
            Ok(None) => {
                let (written, change) = self.stamp_write(write);
                (Ok(written), smallvec![change])
            }
            Err(refusal) => {
                self.totals.refused += u64::from(matches!(refusal, WriteRefusal::TooMany | WriteRefusal::Unavailable));
                (Err(refusal), SmallVec::new())
            }
        };
        self.submit(changes, Waiting::Written { origin, result });
    }

    /// The present version if nothing is to be changed.
    fn judge_write(&self, write: &Write) -> Result<Option<i64>, WriteRefusal> {
        let found = self.topics.find(&write.topic).and_then(|id| Some((id, self.topics.get(id)?)));
        let newest = found.and_then(|(id, topic)| self.documents.newest(id, topic));
        let present = newest.filter(|message| !is_deletion(message));
        if present.is_none() && (write.must_exist || *write.value == *DELETED) {
            return Err(WriteRefusal::Missing);
        }
        let holds = match write.condition {
            None => true,
            Some(Condition::Absent) => present.is_none(),
            Some(Condition::Present) => present.is_some(),
            Some(Condition::Version(version)) => present.is_some_and(|message| message.id == version),
        };
        if !holds {
            return Err(WriteRefusal::Mismatch);
        }
        if let Some(present) = present.filter(|message| write.skip_equal && message.payload == write.value) {
            return Ok(Some(present.id));
        }
        let group = &write.topic.as_str()[..write.group.bytes];
        if present.is_none() && self.documents.counts(group).existing >= write.group.documents_max {
            return Err(WriteRefusal::TooMany);
        }
        let (more, less) = (kept_bytes(&write.value, None), newest.map_or(0, |message| kept_bytes(&message.payload, None)));
        let is_busy = found.is_some_and(|(_, topic)| topic.interested().any(|reactor| self.is_overfull(reactor)));
        if is_busy || more > less && self.totals.log_bytes + more - less > self.settings.log_bytes_max {
            return Err(WriteRefusal::Unavailable);
        }
        Ok(None)
    }

    fn stamp_write(&mut self, write: Write) -> (Written, Change) {
        let Write { topic: name, value, group, .. } = write;
        let id = self.topics.find(&name).unwrap_or_else(|| self.create(name.clone(), keep(group)));
        let clock = self.now.unix_millis().min(CLOCK_MAX);
        let topic = self.topics.get_mut(id).expect("it was found or created just now");
        debug_assert_eq!(topic.log.keep(), keep(group), "{name}");
        let was = self.documents.standing(id, topic);
        let version = clock.max(topic.published + 1).max(self.documents.forgotten + 1);
        // The id of the next message is its version.
        topic.published = version - 1;
        let change = self.stamp(id, Content { payload: value, event: None, stored: true, except: None }).1;
        if let Change::Append { message, .. } = &change {
            self.documents.ahead.insert(id, message.clone());
        }
        self.recount(id, was);
        (Written { version: version as i64, created: was != Standing::Existing }, change)
    }

    /// Notes in its group what a document has become.
    fn recount(&mut self, id: TopicId, was: Standing) {
        let Some(topic) = self.topics.get(id) else { return };
        if let Keep::Newest { group } = topic.log.keep() {
            let is = self.documents.standing(id, topic);
            self.documents.recount(group_of(&topic.name, group), was, is);
        }
    }

    /// A message of a document was released: it stands behind the one that it replaces.
    pub(super) fn released_write(&mut self, id: TopicId) {
        let Some(topic) = self.topics.get(id) else { return };
        if topic.pending == 0 {
            self.documents.ahead.remove(&id);
        }
        let replaced = topic.log.len().checked_sub(2).and_then(|index| topic.log.at(index));
        for (message, count) in [(topic.log.newest(), 1), (replaced, -1)] {
            self.totals.count_document(message, count);
        }
    }

    /// Whether one more may subscribe to this document, which may not exist.
    pub(super) fn may_await(&self, name: &TopicName, group: Group) -> bool {
        let found = self.topics.find(name).and_then(|id| Some((id, self.topics.get(id)?)));
        let standing = found.map_or(Standing::Neither, |(id, topic)| self.documents.standing(id, topic));
        standing != Standing::Neither || self.documents.counts(&name.as_str()[..group.bytes]).awaited < group.awaited_max
    }

    /// Somebody has subscribed to a document.
    pub(super) fn joined_document(&mut self, id: TopicId) {
        self.totals.document_subscriptions += 1;
        if self.topics.get(id).is_some_and(|topic| topic.subscribers == 1) {
            self.first_or_last_subscriber(id, Standing::Neither);
        }
    }

    /// Somebody subscribes to a document no more.
    pub(super) fn left_document(&mut self, id: TopicId) {
        self.totals.document_subscriptions -= 1;
        if self.topics.get(id).is_some_and(|topic| topic.subscribers == 0) {
            self.first_or_last_subscriber(id, Standing::Awaited);
        }
    }

    /// A document that does not exist was this without, or with, the subscriber.
    fn first_or_last_subscriber(&mut self, id: TopicId, was: Standing) {
        let Some(topic) = self.topics.get(id) else { return };
        if self.documents.standing(id, topic) != Standing::Existing {
            self.recount(id, was);
        }
    }

    /// A topic is no more: if it was a document, nothing of that counts any longer but its version.
    pub(super) fn ended_document(&mut self, id: TopicId, topic: &Topic) {
        let Keep::Newest { group } = topic.log.keep() else { return };
        let was = self.documents.standing(id, topic);
        self.documents.recount(group_of(&topic.name, group), was, Standing::Neither);
        self.documents.ahead.remove(&id);
        self.documents.forgotten = self.documents.forgotten.max(topic.published);
        self.totals.document_subscriptions -= u64::from(topic.subscribers);
        self.totals.count_document(topic.log.newest(), -1);
    }

    /// The newest released message of a document.
    pub(super) fn document(&self, name: &TopicName) -> Option<Arc<Message>> {
        self.topics.find(name).and_then(|id| self.topics.get(id))?.log.newest().cloned()
    }
}

impl Totals {
    /// Counts a kept message of a document in or out.
    fn count_document(&mut self, message: Option<&Arc<Message>>, by: i64) {
        let Some(message) = message else { return };
        let count = if is_deletion(message) { &mut self.tombstones } else { &mut self.documents };
        *count = count.wrapping_add_signed(by);
    }
}
