//! A hub begins where an earlier process stopped.

use crate::engine::durable::Durable;
use crate::exchange::{TopicId, is_of_endpoint, is_of_owner};
use crate::hub::Hub;
use crate::hub::ages::Aging;
use crate::hub::log::{Keep, Log, kept_bytes};
use crate::hub::sequencer::Sequencer;
use crate::hub::storing::Storing;
use crate::hub::topic::{Past, Position};
use crate::message::{Message, Stamp, TopicName};
use crate::storage::{Batch, Loaded, Notes, Remains, Stored};
use std::sync::Arc;

/// More writes of one document than may have been delivered and lost: so many don't wait for the disk.
const LOST_VERSIONS: u64 = 1_000_000;

impl Hub {
    /// Takes over what was loaded, and keeps what has to outlive the process from now on. The hub must be new.
    ///
    /// What it returns has to be committed before anybody is served: a process that ends before it has stored anything would
    /// otherwise leave no trace of its stamps, and the next one would give them again.
    #[must_use = "it has to be committed before anybody is served"]
    pub fn restore(&mut self, loaded: Loaded, mut durable: Durable) -> Batch {
        debug_assert!(self.topics.places() == 0 && self.waiting.is_empty());
        if let Some(left) = loaded.head {
            self.sequencer = Sequencer::resume(self.now, left);
            self.released = self.sequencer.last();
            self.history_begins = self.released;
        }
        self.history_begins = loaded.begins.unwrap_or(self.history_begins);
        let notes = Notes { begins: Some(self.history_begins).filter(|_| loaded.begins.is_none()), ..Notes::default() };
        let first = Batch { head: self.released, notes, ..Batch::default() };
        self.removed = loaded.removed;
        self.documents.forget_versions(loaded.forgotten);
        self.renewed = loaded.renewed;
        if loaded.ahead {
            self.pass_what_was_seen(&loaded.messages, &mut durable.notes);
        }
        loaded.tokens.into_iter().for_each(|(token, grant)| self.tokens.restore(token, grant));
        loaded.leaving.into_iter().for_each(|(endpoint, through)| self.restore_leaving(endpoint, through));
        for (endpoint, record) in loaded.records {
            self.restore_record(&endpoint, record);
        }
        self.engine = Box::new(durable);
        self.storing = Some(Storing::default());
        // What has expired meanwhile is found out by a tick.
        self.unsettle();

        let mut since = 0;
        for stored in loaded.messages {
            // In the order of the log, although the wall clock may have gone back between two of them.
            since = self.now.at_unix(stored.unix_micros).max(since);
            self.restore_message(stored, since);
        }
        self.end_histories();
        loaded.endpoints.into_iter().for_each(|(endpoint, removed)| self.restore_removed(endpoint, removed));
        let (mut forgotten, mut beyond) = (Vec::new(), Vec::new());
        for (name, remains) in loaded.topics {
            match remains.forgotten {
                // Earlier versions left it.
                _ if is_of_owner(&name) => beyond.push(name),
                _ if self.topics.find(&name).is_some() => {}
                Some(at) => forgotten.push((at, name, self.past(&remains))),
                None => self.restore_empty(name, &remains),
            }
        }
        forgotten.sort_by_key(|(at, ..)| *at);
        for (at, name, past) in forgotten {
            self.positions.add(name, past, self.now.at_unix(at), self.settings.positions_max, |name, _| beyond.push(name));
        }
        beyond.iter().for_each(|name| self.note_ended(name));
        // It may end histories: of what is known of them by now.
        self.configure_endpoints();
        let mut since = 0;
        for known in loaded.keys {
            since = self.now.at_unix(known.unix_micros).max(since);
            self.remember_key(known.key, known.stamp, since);
        }
        let published = self.topics.iter().filter(|(_, topic)| !topic.name.is_reserved()).map(|(_, topic)| topic.published).sum();
        self.totals.published = published;
        let topics: Vec<_> = self.topics.iter().map(|(id, _)| id).collect();
        for id in topics {
            self.restored_document(id);
            self.trim(id);
            self.rest(id, false);
        }
        self.count();
        first
    }

    /// Subscribers may have seen more than there is: nothing of that is to be mistaken for what comes now.
    fn pass_what_was_seen(&mut self, messages: &[Stored], notes: &mut Notes) {
        // Offsets that were lost are given again, but under another epoch.
        self.renewed = self.sequencer.last().seq;
        let versions = messages.iter().filter(|stored| stored.group.is_some()).map(|stored| stored.message.id.max(0) as u64);
        if let Some(newest) = versions.max() {
            self.documents.forget_versions(newest + LOST_VERSIONS);
            notes.forgotten = newest + LOST_VERSIONS;
        }
        notes.renewed = self.renewed;
        notes.ahead = notes.ahead.or(Some(false));
    }

    /// The epoch of a message that was stored with this one.
    fn epoch(&self, stamp: Stamp, stored: u64) -> u64 {
        if stamp.seq <= self.renewed { self.renewed.0 } else { stored }
    }

    fn restore_message(&mut self, stored: Stored, since: u64) {
        let Stored { message, previous, group, .. } = stored;
        let keep = group.map_or(Keep::Window, |group| Keep::Newest { group });
        let mut message = at(message, since, |stamp, epoch| self.epoch(stamp, epoch));
        self.follow_second(&mut message);
        let id = self.restore_into(&message.topic, &message, keep, previous);
        if let Some(also) = &message.also {
            // What its first topic keeps no more, this one does not either.
            let floor = self.topics.get(id).map_or(previous, |first| first.floor);
            self.restore_into(&also.topic, &message, keep, floor);
        }
    }

    /// An owner's topic may have ended and begun anew while this message was in the endpoint's, or while it was still on disk: it has one
    /// history now. Nobody is told places in it.
    fn follow_second(&self, message: &mut Arc<Message>) {
        let Some(also) = Arc::get_mut(message).and_then(|message| message.also.as_mut()) else { return };
        let second = self.topics.find(&also.topic).and_then(|id| self.topics.get(id));
        if let Some(second) = second.filter(|second| !second.log.is_empty()) {
            (also.epoch, also.offset) = (second.position.epoch, second.position.offset + 1);
        }
    }

    /// Gives a message its place in one of its topics; `floor`: what it begins after if it is the first one there.
    fn restore_into(&mut self, name: &TopicName, message: &Arc<Message>, keep: Keep, floor: Stamp) -> TopicId {
        let (epoch, offset) = message.place_in(name);
        let position = Position { epoch, offset };
        let id = match self.topics.find(name) {
            Some(id) => id,
            None => self.restore_topic(name.clone(), keep, floor),
        };
        let topic = self.topics.get_mut(id).expect("it was found or created just now");
        let follows = topic.position.epoch == position.epoch && topic.position.offset + 1 == position.offset;
        if !topic.log.is_empty() && !follows {
            self.drop_earlier_life(id, floor);
        }
        let topic = self.topics.get_mut(id).expect("it is still there");
        topic.position = position;
        if topic.owns(message) {
            topic.published = topic.published.max(message.id.max(0) as u64);
        }
        let aging = Aging { topic: id, seq: message.stamp.seq, since: message.ordered_micros };
        self.totals.logged += 1;
        self.totals.log_bytes += kept_bytes(&message.payload, message.event.as_deref());
        self.totals.stored += u64::from(!topic.name.is_reserved());
        topic.log.push(message.clone());
        if keep == Keep::Window {
            let ages = if is_of_endpoint(&topic.name) { &mut self.changes } else { &mut self.stored };
            ages.push(aging);
        }
        id
    }

    /// What is left of a topic that ended, and whose messages were about to be deleted.
    fn drop_earlier_life(&mut self, id: TopicId, floor: Stamp) {
        let Some(topic) = self.topics.get_mut(id) else { return };
        let keep = topic.log.keep();
        let log = std::mem::replace(&mut topic.log, Log::new(keep));
        let (name, is_reserved) = (topic.name.clone(), topic.name.is_reserved());
        topic.floor = floor;
        topic.published = 0;
        self.removed = self.removed.max(log.newest().map_or(Stamp::default(), |newest| newest.stamp));
        self.totals.logged -= log.len() as u64;
        self.totals.log_bytes -= log.bytes();
        self.totals.stored -= if is_reserved { 0 } else { log.len() as u64 };
        for message in log.from(0).filter(|message| message.topic == name) {
            self.note_evicted(message);
            // An owner's topic keeps no more than its endpoint's.
            if let Some(second) = message.also.as_ref().and_then(|also| self.topics.find(&also.topic)) {
                self.evict(second, message.stamp.seq);
            }
        }
    }

    fn restore_empty(&mut self, name: TopicName, remains: &Remains) {
        let position = self.past(remains).position;
        let id = self.restore_topic(name, Keep::Window, remains.floor);
        let topic = self.topics.get_mut(id).expect("it was created just now");
        topic.position = position;
        topic.published = remains.published;
    }

    fn past(&self, remains: &Remains) -> Past {
        let epoch = self.epoch(remains.floor, remains.epoch);
        Past { position: Position { epoch, offset: remains.offset }, newest: remains.floor }
    }

    fn restore_topic(&mut self, name: TopicName, keep: Keep, floor: Stamp) -> TopicId {
        if !name.is_reserved() {
            self.totals.topics += 1;
            self.totals.wildcard_topics += u64::from(self.is_wildcard(&name));
        }
        self.topics.create(name, keep, floor)
    }
}

/// The message with its age, and what its epochs are now.
fn at(mut message: Arc<Message>, since: u64, epoch: impl Fn(Stamp, u64) -> u64) -> Arc<Message> {
    let found = Arc::get_mut(&mut message).expect("nobody else has what was just loaded");
    found.ordered_micros = since;
    found.epoch = epoch(found.stamp, found.epoch);
    if let Some(also) = &mut found.also {
        also.epoch = epoch(found.stamp, also.epoch);
    }
    message
}
