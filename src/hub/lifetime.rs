//! How topics begin and end, and what they hold with them: windows, ages, idleness, heartbeats, new settings.

use crate::exchange::TopicId;
use crate::hub::ages::Ages;
use crate::hub::events::Happening;
use crate::hub::topic::NOT_IDLE;
use crate::hub::{Aging, Hub, Settings, Waiting, Window};
use crate::message::{Seq, TopicName};
use smallvec::{SmallVec, smallvec};
use std::time::Duration;

/// Freeing may come this much later than the age, in microseconds, so that the hub wakes for many at once.
/// Nothing that has reached its age is ever shown meanwhile.
const FREED_WITHIN: u64 = 500_000;

impl Hub {
    pub(super) fn is_wildcard(&self, name: &TopicName) -> bool {
        !self.settings.wildcard_prefix.is_empty() && name.as_str().starts_with(&*self.settings.wildcard_prefix)
    }

    /// Whether all these topics, which don't exist, may be created. A name may come twice.
    pub(super) fn may_create<'a>(&self, names: impl Iterator<Item = &'a TopicName>) -> bool {
        let mut names: SmallVec<[&TopicName; 8]> = names.filter(|name| !name.is_reserved()).collect();
        names.sort_unstable();
        names.dedup();
        let fits = |count: u64, more: usize, max: u64| max == 0 || more == 0 || count + more as u64 <= max;
        let wildcards = names.iter().filter(|name| self.is_wildcard(name)).count();
        fits(self.totals.topics, names.len(), self.settings.topics_max)
            && fits(self.totals.wildcard_topics, wildcards, self.settings.wildcard_topics_max)
    }

    pub(super) fn create(&mut self, name: TopicName) -> TopicId {
        if !name.is_reserved() {
            self.totals.topics += 1;
            self.totals.wildcard_topics += u64::from(self.is_wildcard(&name));
        }
        let id = self.topics.create(name, self.sequencer.last());
        self.rest(id, false);
        id
    }

    /// Evicts what a topic's windows have no place for, so that nothing expired is ever shown.
    pub(super) fn trim(&mut self, id: TopicId) {
        let Some(topic) = self.topics.get_mut(id) else { return };
        let mut evicted = 0;
        let bytes = topic.log.bytes();
        while let Some(message) = topic.log.evict(&self.settings.window, self.now.micros) {
            topic.evicted(&message);
            evicted += 1;
        }
        self.totals.evicted += evicted;
        self.totals.logged -= evicted;
        self.totals.log_bytes -= bytes - topic.log.bytes();
        if !topic.name.is_reserved() {
            self.totals.stored -= evicted;
        }
        if let Some(ring) = &mut topic.ring {
            let window = Window { age: self.settings.unstored_age, ..self.settings.window };
            let bytes = ring.log.bytes();
            while let Some(message) = ring.log.evict(&window, self.now.micros) {
                ring.evicted = message.stamp.seq;
                self.totals.unstored -= 1;
            }
            self.totals.unstored_bytes -= bytes - ring.log.bytes();
        }
        if evicted > 0 {
            self.rest(id, false);
        }
    }

    /// Notes whether a topic is idle now; something `happened` if that begins its idle time anew.
    pub(super) fn rest(&mut self, id: TopicId, happened: bool) {
        let Some(topic) = self.topics.get_mut(id) else { return };
        match (topic.is_idle(), topic.is_unused()) {
            (false, false) => return,
            (true, false) => {
                topic.idle_since = NOT_IDLE;
                self.totals.idle -= 1;
                return;
            }
            (true, true) if !happened || topic.idle_since == self.now.micros => return,
            (true, true) => {}
            (false, true) => self.totals.idle += 1,
        }
        topic.idle_since = self.now.micros;
        self.idle.push(Aging { topic: id, seq: Seq(0), since: self.now.micros });
        let topics = &self.topics;
        self.idle.compact(self.totals.idle as usize, |aging| {
            topics.get(aging.topic).is_some_and(|topic| topic.idle_since == aging.since)
        });
    }

    /// Keeps the queues of ages from filling with messages that went before their age.
    pub(super) fn compact(&mut self) {
        let topics = &self.topics;
        self.stored.compact(self.totals.logged as usize, |aging| {
            let oldest = topics.get(aging.topic).and_then(|topic| topic.log.oldest());
            oldest.is_some_and(|oldest| oldest.stamp.seq <= aging.seq)
        });
        self.unstored.compact(self.totals.unstored as usize, |aging| {
            let ring = topics.get(aging.topic).and_then(|topic| topic.ring.as_ref());
            ring.and_then(|ring| ring.log.oldest()).is_some_and(|oldest| oldest.stamp.seq <= aging.seq)
        });
    }

    /// Clears away what has reached its age, at most `budget` of each kind.
    pub(super) fn expire(&mut self, budget: usize) {
        let micros = self.now.micros;
        for _ in 0..budget {
            let Some(aging) = self.stored.take_due(micros_of(self.settings.window.age), micros) else { break };
            self.trim(aging.topic);
        }
        for _ in 0..budget {
            let Some(aging) = self.unstored.take_due(micros_of(self.settings.unstored_age), micros) else { break };
            self.trim(aging.topic);
        }
        for _ in 0..budget {
            let Some(aging) = self.idle.take_due(micros_of(self.settings.topic_idle), micros) else { break };
            if self.topics.get(aging.topic).is_some_and(|topic| topic.idle_since == aging.since)
                && let Some(topic) = self.end(aging.topic)
            {
                self.tell(Happening::Destroyed, &topic.name);
            }
        }
        self.keys.expire(self.settings.key_age, micros, budget);
    }

    /// Fits the next topics to settings that have changed.
    pub(super) fn sweep(&mut self, budget: usize) {
        let Some(from) = self.sweep else { return };
        let to = (from + budget).min(self.topics.places());
        for topic in self.topics.between(from, to) {
            self.trim(topic);
        }
        self.sweep = (to < self.topics.places()).then_some(to);
        self.compact();
    }

    /// When [`Hub::tick`] has something to do, in monotonic microseconds.
    pub fn next_tick(&self) -> Option<u64> {
        let due = |ages: &Ages, age: Duration| ages.oldest().map(|oldest| oldest.since.saturating_add(micros_of(age)));
        let later = |at: u64| at.saturating_add(FREED_WITHIN);
        let candidates = [
            due(&self.stored, self.settings.window.age).map(later),
            due(&self.unstored, self.settings.unstored_age).map(later),
            due(&self.idle, self.settings.topic_idle),
            self.keys.due(self.settings.key_age).map(later),
            self.heartbeats.iter().copied().min(),
            self.sweep.map(|_| self.now.micros),
        ];
        candidates.into_iter().flatten().min()
    }

    pub(super) fn restart_heartbeats(&mut self) {
        self.settings.heartbeats.retain(|heartbeat| !heartbeat.every.is_zero());
        self.heartbeats = self.settings.heartbeats.iter().map(|heartbeat| self.now.after(heartbeat.every)).collect();
    }

    /// Publishes the heartbeats that are due and have somebody who listens.
    pub(super) fn beat(&mut self) {
        for index in 0..self.heartbeats.len() {
            if self.heartbeats[index] > self.now.micros {
                continue;
            }
            let heartbeat = &self.settings.heartbeats[index];
            let next = self.heartbeats[index] + micros_of(heartbeat.every);
            // After a pause there is one beat, not all that were missed.
            self.heartbeats[index] = if next > self.now.micros { next } else { self.now.after(heartbeat.every) };
            let payload = heartbeat.payload.clone();
            let topic = self.topics.find(&heartbeat.topic);
            if let Some(id) = topic.filter(|&id| self.topics.get(id).is_some_and(|topic| topic.subscribers > 0)) {
                let (_, change) = self.stamp(id, payload, None, false);
                self.submit(smallvec![change], Waiting::Nothing);
            }
        }
    }

    pub(super) fn change_settings(&mut self, settings: Settings) {
        let prefix = settings.wildcard_prefix != self.settings.wildcard_prefix;
        let heartbeats = settings.heartbeats != self.settings.heartbeats;
        self.settings = settings;
        if prefix {
            let names = self.topics.iter().map(|(_, topic)| &topic.name);
            let wildcards = names.filter(|name| !name.is_reserved() && self.is_wildcard(name)).count();
            self.totals.wildcard_topics = wildcards as u64;
        }
        if heartbeats {
            self.restart_heartbeats();
        }
        self.sweep = Some(0);
    }
}

fn micros_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
