//! How topics begin and end, and what they hold with them: windows, ages, idleness, heartbeats, new settings.

use crate::exchange::{TopicId, is_of_endpoint};
use crate::hub::ages::{Ages, micros_of};
use crate::hub::events::Happening;
use crate::hub::log::{Keep, Log, kept_bytes};
use crate::hub::publish::Content;
use crate::hub::storing::Storing;
use crate::hub::topic::{NOT_IDLE, Topic};
use crate::hub::{Aging, Hub, Settings, Waiting, Window};
use crate::message::{Seq, TopicName};
use smallvec::{SmallVec, smallvec};
use std::time::Duration;

/// Freeing may come this much later than the age, in microseconds, so that the hub wakes for many at once.
/// Nothing that has reached its age is ever shown meanwhile.
const FREED_WITHIN: u64 = 500_000;

/// The window that has no place for anything.
const NOTHING: Window = Window { count: 0, bytes: 0, age: Duration::ZERO };

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

    pub(super) fn create(&mut self, name: TopicName, keep: Keep) -> TopicId {
        if !name.is_reserved() {
            self.totals.topics += 1;
            self.totals.wildcard_topics += u64::from(self.is_wildcard(&name));
        }
        let past = self.positions.take(&name, self.settings.positions_age, self.now.micros);
        let id = self.topics.create(name, keep, self.sequencer.last());
        if let Some(past) = past
            && let Some(topic) = self.topics.get_mut(id)
        {
            topic.resume(past);
        }
        self.rest(id, false);
        id
    }

    /// Evicts what a topic's windows have no place for, so that nothing expired is ever shown.
    pub(super) fn trim(&mut self, id: TopicId) {
        self.evict(id, Seq(0));
    }

    /// The same, and whatever is stored up to this one.
    pub(super) fn evict(&mut self, id: TopicId, through: Seq) {
        let Some(topic) = self.topics.get_mut(id) else { return };
        let (mut evicted, mut leads) = (0, None);
        let mut seconds: SmallVec<[(TopicName, Seq); 1]> = SmallVec::new();
        let bytes = topic.log.bytes();
        let window = if is_of_endpoint(&topic.name) { &self.endpoint_window } else { &self.settings.window };
        let goes = |log: &Log| log.oldest().is_some_and(|oldest| oldest.stamp.seq <= through);
        while let Some(message) = topic.log.evict(if goes(&topic.log) { &NOTHING } else { window }, self.now.micros) {
            topic.evicted(&message);
            evicted += 1;
            if topic.owns(&message) {
                seconds.extend(message.also.as_ref().map(|also| (also.topic.clone(), message.stamp.seq)));
                if self.storing.is_some()
                    && let Some(durable) = self.engine.durable()
                {
                    durable.evicted.push_back(message.stamp.seq);
                }
            } else {
                leads = Some(message.topic.clone());
            }
            if let Some(tail) = &mut topic.tail {
                self.totals.unstored += 1;
                self.totals.unstored_bytes += kept_bytes(&message.payload, message.event.as_deref());
                tail.log.push(message);
            }
        }
        // What a document was once is replaced, not evicted.
        self.totals.evicted += if topic.is_document() { 0 } else { evicted };
        self.totals.logged -= evicted;
        self.totals.log_bytes -= bytes - topic.log.bytes();
        if !topic.name.is_reserved() {
            self.totals.stored -= evicted;
        }
        if let Some(tail) = &mut topic.tail {
            let bytes = tail.log.bytes();
            // Expired messages are never shown, and nobody waits for ever.
            while let Some(message) = tail.log.evict(window, self.now.micros) {
                tail.reaches = message.stamp.seq;
                self.totals.unstored -= 1;
            }
            self.totals.unstored_bytes -= bytes - tail.log.bytes();
            let is_over = tail.until <= self.now.micros;
            let kept = self.totals.kept_bytes() + self.totals.unstored_bytes;
            if is_over || evicted > 0 && kept > self.settings.log_bytes_max {
                let (messages, bytes) = tail.give_up(topic.floor.seq);
                self.totals.unstored -= messages;
                self.totals.unstored_bytes -= bytes;
            }
            if is_over {
                topic.tail = None;
            }
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
            self.note_emptied(id);
            self.rest(id, false);
        }
        // Two topics of one message keep the same of what both have, whatever becomes of the settings before they are swept: by the
        // first one it is judged what of the second one is gone, and what it has no place for nobody else keeps.
        for (second, seq) in seconds {
            if let Some(second) = self.topics.find(&second) {
                self.evict(second, seq);
            }
        }
        if let Some(leads) = leads.filter(|_| through == Seq(0)).and_then(|name| self.topics.find(&name)) {
            self.trim(leads);
        }
    }

    /// Keeps what is evicted from now on for somebody who reads what is stored.
    pub(super) fn wait_for_readers(&mut self, id: TopicId) {
        let until = self.now.micros.saturating_add(micros_of(self.settings.unstored_age));
        if self.topics.get_mut(id).is_some_and(|topic| topic.wait_for_readers(self.now.micros, until)) {
            self.unstored.push(Aging { topic: id, seq: Seq(0), since: self.now.micros });
            self.compact();
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
        let idle = if topic.log.is_empty() { &mut self.idle } else { &mut self.tombstones };
        idle.push(Aging { topic: id, seq: Seq(0), since: self.now.micros });
        let topics = &self.topics;
        idle.compact(self.totals.idle as usize, |aging| {
            topics.get(aging.topic).is_some_and(|topic| topic.idle_since == aging.since)
        });
    }

    /// Keeps the queues of ages from filling with messages that went before their age.
    pub(super) fn compact(&mut self) {
        let topics = &self.topics;
        // Documents have no age.
        let aging = self.totals.logged - self.totals.documents - self.totals.tombstones;
        for ages in [&mut self.stored, &mut self.changes] {
            ages.compact(aging as usize, |aging| {
                let oldest = topics.get(aging.topic).and_then(|topic| topic.log.oldest());
                oldest.is_some_and(|oldest| oldest.stamp.seq <= aging.seq)
            });
        }
        self.unstored.compact(self.totals.unstored as usize, |aging| {
            topics.get(aging.topic).is_some_and(|topic| {
                if aging.seq == Seq(0) {
                    return topic.tail.as_ref().is_some_and(|tail| tail.noted == aging.since);
                }
                let oldest = topic.ring.as_ref().and_then(|ring| ring.log.oldest());
                oldest.is_some_and(|oldest| oldest.stamp.seq <= aging.seq)
            })
        });
    }

    /// Clears away what has reached its age, at most `budget` of each kind.
    pub(super) fn expire(&mut self, budget: usize) {
        let micros = self.now.micros;
        for _ in 0..budget {
            let Some(aging) = self.stored.take_due(self.settings.window.age, micros) else { break };
            self.trim(aging.topic);
        }
        for _ in 0..budget {
            let Some(aging) = self.changes.take_due(self.endpoint_window.age, micros) else { break };
            self.trim(aging.topic);
        }
        for _ in 0..budget {
            let Some(aging) = self.unstored.take_due(self.settings.unstored_age, micros) else { break };
            self.trim(aging.topic);
            let tail = self.topics.get_mut(aging.topic).and_then(|topic| topic.tail.as_mut());
            if let Some(tail) = tail.filter(|tail| aging.seq == Seq(0) && tail.noted == aging.since) {
                // Readers were heard of since.
                tail.noted = micros;
                self.unstored.push(Aging { topic: aging.topic, seq: Seq(0), since: micros });
            }
        }
        for _ in 0..budget {
            let Some(aging) = self.idle.take_due(self.settings.topic_idle, micros) else { break };
            // What is on its way to a topic begins its idle time anew when it comes.
            let is_due = |topic: &Topic| topic.idle_since == aging.since && topic.log.is_empty() && topic.pending == 0;
            if !self.topics.get(aging.topic).is_some_and(is_due) {
                continue;
            }
            if self.waiting.front().is_some_and(|&(submitted, _)| submitted <= aging.since) {
                // Something unstored may be on its way to it, for whoever joins until then.
                self.rest(aging.topic, true);
            } else if let Some(topic) = self.end(aging.topic) {
                self.forget(&topic);
                self.tell(Happening::Destroyed, &topic.name);
            }
        }
        for _ in 0..budget {
            let Some(aging) = self.tombstones.take_due(self.settings.tombstone_age, micros) else { break };
            let is_due = |topic: &Topic| topic.idle_since == aging.since && !topic.log.is_empty() && topic.pending == 0;
            if self.topics.get(aging.topic).is_some_and(is_due) {
                self.end(aging.topic);
            }
        }
        self.expire_keys(budget);
        self.expire_positions(budget);
        self.conversations.expire(micros, budget);
        self.expire_tokens(budget);
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
            due(&self.changes, self.endpoint_window.age).map(later),
            due(&self.unstored, self.settings.unstored_age).map(later),
            due(&self.idle, self.settings.topic_idle),
            due(&self.tombstones, self.settings.tombstone_age).map(later),
            self.keys.due(self.settings.key_age).map(later),
            self.positions.due(self.settings.positions_age).map(later),
            self.conversations.due().map(later),
            self.heartbeats.iter().copied().min(),
            self.sweep.map(|_| self.now.micros),
            self.storing.as_ref().and_then(Storing::due),
            self.records.due(),
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
                let (_, change) = self.stamp(id, Content { payload, event: None, stored: false, except: None, also: None });
                self.submit(smallvec![change], Waiting::Nothing);
            }
        }
    }

    pub(super) fn change_settings(&mut self, settings: Settings) {
        let prefix = settings.wildcard_prefix != self.settings.wildcard_prefix;
        let heartbeats = settings.heartbeats != self.settings.heartbeats;
        self.settings = settings;
        self.configure_endpoints();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Cursor, StartAt};
    use crate::hub::Heartbeat;
    use crate::hub::request::{ToHub, ToReactor};
    use crate::hub::testing::{Bench, after, entry, settings, topic};

    #[test]
    fn messages_are_freed_within_five_seconds_of_their_age_without_any_request() {
        let mut bench = Bench::new(settings());
        for _ in 0..10 {
            bench.publish("a", "1");
        }
        bench.live(bench.hub.settings.window.age);
        bench.live(Duration::from_secs(5));
        assert_eq!((bench.hub.totals.logged, bench.hub.totals.log_bytes, bench.hub.totals.evicted), (0, 0, 10));
    }

    #[test]
    fn an_idle_topic_is_forgotten_after_its_time_and_counts_from_one_again() {
        let mut settings = settings();
        settings.window.age = Duration::from_secs(5);
        let mut bench = Bench::new(settings);
        let lost = bench.publish("a", "1");
        bench.live(Duration::from_secs(34));
        assert_eq!(bench.report("a").rows[0].published, 1);
        bench.live(Duration::from_secs(2));
        assert_eq!(bench.report("").topics, 0);
        bench.publish("a", "2");
        assert_eq!(bench.report("a").rows[0].published, 1);
        assert!(bench.gap(&["a"], Cursor { stamp: Some((lost.seconds, Some(0))), event: None }), "what it had is not forgotten");
        assert!(!bench.gap(&["a"], after(lost)));
    }

    #[test]
    fn so_many_positions_are_remembered_and_none_for_longer_than_its_time() {
        let mut settings = settings();
        settings.window.age = Duration::from_secs(1);
        settings.positions_max = 2;
        let mut bench = Bench::new(settings);
        let firsts = ["a", "b", "c"].map(|name| {
            bench.pass(Duration::from_millis(1));
            bench.publish(name, "1").seq.0
        });
        bench.publish_unstored("d", "it has no position");
        bench.live(Duration::from_secs(40));
        assert_eq!(bench.report("").topics, 0);
        bench.join(0, ["a", "b", "c", "d"].map(|name| topic(name, StartAt::Now)).to_vec(), Cursor::default()).unwrap();
        let epoch = |name: &str| {
            let id = bench.hub.topics.find(&name.into()).unwrap();
            bench.hub.topics.get(id).unwrap().position.epoch
        };
        assert_eq!(["a", "b", "c", "d"].map(epoch), [0, firsts[1], firsts[2], 0]);
        bench.live(Duration::from_secs(3_001));
        assert_eq!(bench.hub.positions.due(Duration::ZERO), None);
    }

    #[test]
    fn a_stored_message_on_its_way_keeps_its_topic() {
        let mut bench = Bench::new(settings());
        let joined = bench.join(0, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
        bench.leave(0, &joined);
        let id = joined.topics[0].topic;
        bench.hub.topics.get_mut(id).unwrap().pending = 1;
        bench.pass(Duration::from_secs(31));
        bench.hub.tick(bench.now);
        assert!(bench.hub.topics.get_mut(id).is_some());
    }

    #[test]
    fn subscribers_and_messages_keep_a_topic() {
        let mut bench = Bench::new(settings());
        let joined = bench.join(0, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
        bench.publish("b", "1");
        bench.live(Duration::from_secs(60));
        assert_eq!(bench.report("").topics, 2);
        bench.leave(0, &joined);
        bench.live(Duration::from_secs(29));
        assert_eq!(bench.report("").topics, 2);
        bench.live(Duration::from_secs(1));
        assert_eq!(bench.report("").topics, 1);
    }

    #[test]
    fn an_unstored_message_begins_the_idle_time_anew() {
        let mut bench = Bench::new(settings());
        bench.publish_unstored("a", "1");
        bench.live(Duration::from_secs(20));
        bench.publish_unstored("a", "2");
        bench.live(Duration::from_secs(29));
        assert_eq!(bench.report("").topics, 1);
        bench.live(Duration::from_secs(1));
        assert_eq!(bench.report("").topics, 0);
    }

    #[test]
    fn comings_and_goings_leave_nothing_behind() {
        let mut settings = settings();
        settings.window.count = 1;
        let mut bench = Bench::new(settings);
        for n in 0..5_000 {
            bench.pass(Duration::from_micros(1));
            bench.publish("a", "1");
            let joined = bench.join(0, vec![topic("b", StartAt::Now)], Cursor::default()).unwrap();
            bench.publish_unstored("b", &n.to_string());
            bench.leave(0, &joined);
            bench.inbox(0);
        }
        for ages in [&bench.hub.stored, &bench.hub.unstored, &bench.hub.idle] {
            assert!(ages.len() < 1_100, "{}", ages.len());
        }
    }

    #[test]
    fn readers_who_come_and_go_are_waited_for_once_per_topic() {
        let mut bench = Bench::new(settings());
        bench.publish("a", "1");
        let join = |bench: &mut Bench| {
            let epoch = Cursor { stamp: Some((0, None)), event: None };
            bench.inbox(0);
            bench.join(0, vec![topic("a", StartAt::Cursor)], epoch).unwrap()
        };
        for _ in 0..500 {
            let joined = join(&mut bench);
            bench.leave(0, &joined);
            bench.pass(Duration::from_micros(1));
        }
        join(&mut bench);
        bench.live(Duration::from_secs(20));
        join(&mut bench);
        bench.live(Duration::from_secs(15));
        assert_eq!(bench.hub.unstored.len(), 1);
        bench.live(Duration::from_secs(60));
        assert_eq!(bench.hub.unstored.len(), 0);
    }

    #[test]
    fn readers_who_come_and_go_while_nobody_publishes_leave_nothing_behind() {
        let mut bench = Bench::new(settings());
        bench.publish("a", "1");
        for _ in 0..5_000 {
            bench.pass(Duration::from_micros(1));
            bench.resume(&["a"], Cursor { stamp: Some((0, None)), event: None });
            bench.inbox(0);
        }
        assert!(bench.hub.unstored.len() < 1_100, "{}", bench.hub.unstored.len());
    }

    #[test]
    fn heartbeats_are_unstored_and_only_for_topics_with_subscribers() {
        let mut settings = settings();
        let every = Duration::from_secs(30);
        settings.heartbeats = vec![Heartbeat { topic: "ping".into(), every, payload: b"{}"[..].into() }];
        let mut bench = Bench::new(settings);
        bench.live(Duration::from_secs(45));
        assert_eq!(bench.report("").topics, 0);
        let joined = bench.join(0, vec![topic("ping", StartAt::Now)], Cursor::default()).unwrap();
        bench.live(Duration::from_secs(60));
        let beats = bench.inbox(0).into_iter().filter_map(|reply| match reply {
            ToReactor::Deliver { message, .. } => Some((message.id, message.stored, message.stamp.position())),
            _ => None,
        });
        assert_eq!(beats.collect::<Vec<_>>(), [(1, false, (1_060, 1)), (2, false, (1_090, 1))]);
        bench.leave(0, &joined);
        bench.live(Duration::from_secs(60));
        assert_eq!(bench.delivered(0), [""; 0]);
    }

    #[test]
    fn after_a_pause_there_is_one_beat() {
        let mut settings = settings();
        let every = Duration::from_secs(30);
        settings.heartbeats = vec![Heartbeat { topic: "ping".into(), every, payload: b"{}"[..].into() }];
        let mut bench = Bench::new(settings);
        bench.join(0, vec![topic("ping", StartAt::Now)], Cursor::default()).unwrap();
        bench.pass(Duration::from_secs(3_600));
        bench.tick();
        bench.tick();
        assert_eq!(bench.delivered(0), ["ping:{}"]);
    }

    #[test]
    fn a_smaller_window_takes_effect_with_the_next_message_or_ticks() {
        let mut bench = Bench::new(settings());
        for n in 0..10 {
            bench.publish_all(vec![entry("a", &n.to_string()), entry("b", &n.to_string())]).unwrap();
        }
        let mut smaller = settings();
        smaller.window.count = 3;
        bench.hub.handle(ToHub::Settings(Box::new(smaller)), bench.now);
        bench.publish("a", "10");
        assert_eq!(bench.hub.totals.logged, 13);
        bench.live(Duration::ZERO);
        assert_eq!(bench.hub.totals.logged, 6);
        let everything = Cursor { stamp: Some((0, None)), event: None };
        assert_eq!(bench.resume(&["a"], everything), ["a:8", "a:9", "a:10"]);
    }

    #[test]
    fn another_wildcard_prefix_counts_the_topics_anew() {
        let mut bench = Bench::new(settings());
        for name in ["broad_1", "broad_2", "narrow"] {
            bench.publish(name, "1");
        }
        let wildcard_prefix = "broad_".into();
        bench.handle(ToHub::Settings(Box::new(Settings { wildcard_prefix, ..settings() })));
        assert_eq!(bench.report("").wildcard_topics, 2);
        bench.delete(&["broad_1"]);
        assert_eq!(bench.report("").wildcard_topics, 1);
    }
}
