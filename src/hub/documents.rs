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

    /// No version up to this one is used again.
    pub fn forget_versions(&mut self, version: u64) {
        self.forgotten = self.forgotten.max(version);
    }

    /// The newest message that was stamped.
    fn newest<'a>(&'a self, id: TopicId, topic: &'a Topic) -> Option<&'a Arc<Message>> {
        let ahead = if topic.pending > 0 { self.ahead.get(&id) } else { None };
        ahead.or_else(|| topic.log.newest())
    }

    /// Counts anew.
    #[cfg(any(test, fuzzing))]
    pub fn check_all<'a>(&self, topics: impl Iterator<Item = (TopicId, &'a Topic)>) {
        let mut pending = 0;
        let mut counted = Documents { forgotten: self.forgotten, ..Documents::default() };
        for (id, topic) in topics {
            let Keep::Newest { group } = topic.log.keep() else { continue };
            let newest = self.newest(id, topic).map_or(0, |message| message.id);
            assert_eq!(topic.published, newest as u64, "{}: the newest message has the newest version", topic.name);
            counted.recount(group_of(&topic.name, group), Standing::Neither, self.standing(id, topic));
            assert_eq!(self.ahead.contains_key(&id), topic.pending > 0, "{}", topic.name);
            pending += usize::from(topic.pending > 0);
        }
        assert_eq!((&self.groups, self.ahead.len()), (&counted.groups, pending));
    }

    fn standing(&self, id: TopicId, topic: &Topic) -> Standing {
        Documents::standing_as(self.newest(id, topic), topic)
    }

    fn standing_as(newest: Option<&Arc<Message>>, topic: &Topic) -> Standing {
        match newest {
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
        let can_store = self.storage_refusal().is_none();
        let (result, changes) = match self.judge_write(&write, can_store) {
            // What is the same may not be committed yet.
            Ok(Some(_)) if !can_store && self.is_ahead() => (Err(WriteRefusal::Unavailable), SmallVec::new()),
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
    fn judge_write(&self, write: &Write, can_store: bool) -> Result<Option<i64>, WriteRefusal> {
        let found = self.topics.find(&write.topic).and_then(|id| Some((id, self.topics.get(id)?)));
        let newest = found.and_then(|(id, topic)| self.documents.newest(id, topic));
        let present = newest.filter(|message| !is_deletion(message));
        let deletes = *write.value == *DELETED;
        if present.is_none() && (write.must_exist || deletes) {
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
        // What is full has to take that something goes.
        let bytes = self.totals.kept_bytes() + self.totals.coming_bytes;
        let fits = deletes || more <= less || bytes + more - less <= self.settings.log_bytes_max;
        let is_busy = found.is_some_and(|(_, topic)| topic.interested().any(|reactor| self.is_overfull(reactor)));
        if is_busy || !fits || !can_store {
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
        let change = self.stamp(id, Content { payload: value, event: None, stored: true, except: None, also: None }).1;
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

    /// Writes of a document that were on their way will never be released.
    pub(super) fn discard_write(&mut self, id: TopicId) {
        let Some(topic) = self.topics.get(id) else { return };
        // One that waits for nothing more stands as it did before the first of them.
        let stamped = self.documents.ahead.get(&id).or_else(|| topic.log.newest());
        let was = Documents::standing_as(stamped, topic);
        self.documents.ahead.remove(&id);
        self.recount(id, was);
    }

    /// A document as an earlier process left it.
    pub(super) fn restored_document(&mut self, id: TopicId) {
        let Some(topic) = self.topics.get(id).filter(|topic| topic.is_document()) else { return };
        self.totals.count_document(topic.log.newest(), 1);
        self.recount(id, Standing::Neither);
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
        self.documents.forget_versions(topic.published);
        self.note_forgotten(topic);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Answer, Join, Joined, Question, Refusal, StartAt};
    use crate::hub::request::{Backlog, ToHub, ToReactor};
    use crate::hub::testing::{BEGIN, Bench, GROUP, Gate, after, entry, settings, state, text, topic};
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);
    const MISSING: Result<Written, WriteRefusal> = Err(WriteRefusal::Missing);
    const MISMATCH: Result<Written, WriteRefusal> = Err(WriteRefusal::Mismatch);

    fn delete(topic: &str) -> Write {
        Write { must_exist: true, ..state(topic, "null") }
    }

    fn join_of(name: &str) -> Join {
        Join { topics: vec![topic(name, StartAt::Now)], document: Some(GROUP), ..Join::default() }
    }

    fn subscribe(bench: &mut Bench, reactor: u16, name: &str) -> Joined {
        bench.try_join(reactor, join_of(name)).unwrap()
    }

    fn document(bench: &mut Bench, name: &str) -> Option<Arc<Message>> {
        match bench.ask(Question::Document(name.into())) {
            Answer::Document(document) => document,
            other => panic!("{other:?}"),
        }
    }

    fn counts(bench: &Bench, group: &str) -> (u64, u64) {
        let Counts { existing, awaited } = bench.hub.documents.counts(group);
        (existing, awaited)
    }

    fn texts(backlog: &Backlog) -> Vec<String> {
        backlog.messages.iter().map(|(_, message)| text(message)).collect()
    }

    #[test]
    fn a_subscriber_gets_the_newest_state_with_its_join_and_every_later_one_once() {
        let mut bench = Bench::new(settings());
        assert!(subscribe(&mut bench, 1, "$r/ax").document.is_none());
        let first = bench.write(state("$r/ax", "1")).unwrap();
        assert_eq!(first, Written { version: BEGIN as i64 * 1_000, created: true });
        let second = bench.write(state("$r/ax", "2")).unwrap();
        assert_eq!(second, Written { version: first.version + 1, created: false });
        let joined = subscribe(&mut bench, 0, "$r/ax");
        let shown = joined.document.clone().unwrap();
        assert_eq!((text(&shown), shown.id, shown.stored), ("$r/ax:2".into(), second.version, true));
        assert_eq!(joined.topics[0].from, joined.head.seq);
        assert!(bench.read(&joined, joined.head.seq).messages.is_empty(), "what it was shown is not to be read");
        bench.write(state("$r/ax", "3")).unwrap();
        assert_eq!(bench.delivered(1), ["$r/ax:1", "$r/ax:2", "$r/ax:3"]);
        assert_eq!(bench.delivered(0), ["$r/ax:3"]);
        let asked = document(&mut bench, "$r/ax").unwrap();
        assert_eq!((text(&asked), document(&mut bench, "$r/ay").is_none()), ("$r/ax:3".into(), true));
    }

    #[test]
    fn the_answer_follows_the_message() {
        let mut bench = Bench::new(settings());
        subscribe(&mut bench, 0, "$r/ax");
        bench.inbox(0);
        bench.handle(ToHub::Write { origin: Bench::origin(0), write: state("$r/ax", "1") });
        let [ToReactor::Deliver { message, .. }, ToReactor::Answer { answer, .. }] = &bench.inbox(0)[..] else { panic!() };
        assert!(matches!(**answer, Answer::Written(Ok(written)) if written.version == message.id));
    }

    #[test]
    fn rs_49_versions_grow_within_a_millisecond_after_a_step_back_and_after_forgetting() {
        let mut bench = Bench::new(settings());
        let write = |bench: &mut Bench, count| -> Vec<i64> {
            (0..count).map(|_| bench.write(state("$r/ax", "1")).unwrap().version).collect()
        };
        let mut versions = write(&mut bench, 1_000);
        assert_eq!(versions, (1_000_000..1_001_000).collect::<Vec<_>>());
        bench.now.unix_micros -= 500_000_000;
        versions.extend(write(&mut bench, 1_000));
        bench.pass(5 * SECOND);
        versions.extend(write(&mut bench, 1));
        versions.push(bench.write(delete("$r/ax")).unwrap().version);
        bench.live(bench.hub.settings.tombstone_age + SECOND);
        assert!(document(&mut bench, "$r/ax").is_none(), "it is forgotten");
        let other = bench.write(state("$r/ay", "1")).unwrap().version;
        assert!(versions[2_001] < other, "a new one is newer than what is forgotten");
        versions.extend(write(&mut bench, 1_000));
        assert_eq!(versions.last(), Some(&1_003_001));
        bench.now.unix_micros = u64::MAX / 2;
        versions.extend(write(&mut bench, 2));
        bench.now.unix_micros = 0;
        versions.extend(write(&mut bench, 1));
        assert_eq!(versions[3_002..], [0, 1, 2].map(|more| CLOCK_MAX as i64 + more));
        assert!(versions.is_sorted_by(|one, other| one < other), "{versions:?}");
    }

    #[test]
    fn a_clock_that_moves_on_is_the_version() {
        let mut bench = Bench::new(settings());
        bench.write(state("$r/ax", "1")).unwrap();
        bench.pass(SECOND);
        assert_eq!(bench.write(state("$r/ax", "1")).unwrap().version, 1_001_000);
        assert_eq!(bench.write(state("$r/ay", "1")).unwrap().version, 1_001_000, "each document counts for itself");
    }

    #[test]
    fn a_condition_has_to_hold_and_existence_is_asked_first() {
        let mut bench = Bench::new(settings());
        let on = |condition| Write { condition: Some(condition), ..state("$r/ax", "1") };
        let all = [Condition::Absent, Condition::Present, Condition::Version(7)];
        for condition in all {
            assert_eq!(bench.write(Write { must_exist: true, ..on(condition) }), MISSING);
        }
        assert_eq!(bench.write(state("$r/ax", "null")), MISSING, "there is nothing to delete");
        assert_eq!([bench.write(on(all[1])), bench.write(on(all[2]))], [MISMATCH, MISMATCH]);
        assert_eq!((counts(&bench, "$r/a"), bench.report("").documents), ((0, 0), 0));
        let first = bench.write(on(Condition::Absent)).unwrap();
        assert_eq!(bench.write(on(Condition::Absent)), MISMATCH);
        let second = bench.write(on(Condition::Version(first.version))).unwrap();
        assert_eq!(bench.write(on(Condition::Version(first.version))), MISMATCH);
        assert_eq!(bench.write(Write { condition: Some(Condition::Version(first.version)), ..delete("$r/ax") }), MISMATCH);
        assert_eq!(document(&mut bench, "$r/ax").unwrap().id, second.version, "a refusal changes nothing");
        assert!(bench.write(on(Condition::Present)).is_ok());
        let deleted = bench.write(delete("$r/ax")).unwrap();
        assert_eq!(bench.write(delete("$r/ax")), MISSING);
        for condition in [Condition::Present, Condition::Version(deleted.version)] {
            assert_eq!(bench.write(on(condition)), MISMATCH, "a deleted document does not exist");
        }
        assert!(bench.write(on(Condition::Absent)).unwrap().created);
    }

    #[test]
    fn an_equal_value_is_written_unless_it_is_to_be_skipped() {
        let mut bench = Bench::new(settings());
        subscribe(&mut bench, 1, "$r/ax");
        let skip = |value| Write { skip_equal: true, ..state("$r/ax", value) };
        let first = bench.write(skip("1")).unwrap();
        assert_eq!(bench.write(skip("1")), Ok(Written { version: first.version, created: false }));
        assert_eq!(bench.write(Write { condition: Some(Condition::Absent), ..skip("1") }), MISMATCH);
        assert!(bench.write(skip("2")).unwrap().version > first.version);
        assert!(bench.write(state("$r/ax", "2")).unwrap().version > first.version + 1);
        assert_eq!(bench.delivered(1), ["$r/ax:1", "$r/ax:2", "$r/ax:2"]);
    }

    #[test]
    fn a_subscription_survives_the_deletion() {
        let mut bench = Bench::new(settings());
        let joined = subscribe(&mut bench, 1, "$r/ax");
        bench.write(state("$r/ax", "1")).unwrap();
        let deleted = bench.write(delete("$r/ax")).unwrap();
        let shown = subscribe(&mut bench, 0, "$r/ax").document.unwrap();
        assert_eq!((&*shown.payload, shown.id), (&b"null"[..], deleted.version));
        bench.live(2 * bench.hub.settings.tombstone_age);
        assert!(document(&mut bench, "$r/ax").is_some(), "it is known as long as somebody subscribes");
        assert!(bench.write(state("$r/ax", "2")).unwrap().created);
        assert_eq!(bench.delivered(1), ["$r/ax:1", "$r/ax:null", "$r/ax:2"]);
        bench.leave(1, &joined);
        bench.write(state("$r/ax", "3")).unwrap();
        assert_eq!(bench.delivered(1), [""; 0]);
    }

    #[test]
    fn each_group_counts_what_exists_and_what_is_awaited() {
        let mut bench = Bench::new(settings());
        let first = subscribe(&mut bench, 0, "$r/a1");
        let second = subscribe(&mut bench, 0, "$r/a1");
        let third = subscribe(&mut bench, 1, "$r/a2");
        assert_eq!(counts(&bench, "$r/a"), (0, 2));
        assert_eq!(bench.try_join(0, join_of("$r/a3")).unwrap_err(), Refusal::TooManyTopics);
        assert!(bench.try_join(0, join_of("$r/b3")).is_ok(), "another group");
        assert!(bench.try_join(0, join_of("$r/a2")).is_ok(), "it is awaited already");
        bench.write(state("$r/a1", "1")).unwrap();
        assert_eq!(counts(&bench, "$r/a"), (1, 1));
        assert!(bench.try_join(0, join_of("$r/a3")).is_ok());
        bench.write(state("$r/a4", "1")).unwrap();
        assert!(bench.try_join(0, join_of("$r/a4")).is_ok(), "it exists");
        bench.write(state("$r/a5", "1")).unwrap();
        assert_eq!(bench.write(state("$r/a6", "1")), Err(WriteRefusal::TooMany));
        assert_eq!(bench.write(state("$r/a3", "1")), Err(WriteRefusal::TooMany), "whether or not it is awaited");
        assert!(bench.write(state("$r/a5", "2")).is_ok() && bench.write(state("$r/b6", "1")).is_ok());
        assert_eq!((counts(&bench, "$r/a"), counts(&bench, "$r/b")), ((3, 2), (1, 1)));
        // Deleted while two subscribe to it.
        bench.write(delete("$r/a1")).unwrap();
        assert_eq!(counts(&bench, "$r/a"), (2, 3));
        bench.leave(0, &first);
        assert_eq!(counts(&bench, "$r/a"), (2, 3));
        bench.leave(0, &second);
        assert_eq!(counts(&bench, "$r/a"), (2, 2));
        bench.leave(1, &third);
        let report = bench.report("");
        assert_eq!((report.documents, report.document_subscriptions, report.topics), (3, 4, 0));
        assert_eq!(bench.metrics.hub.documents.load(Relaxed), 3);
        assert!(bench.write(state("$r/a1", "1")).unwrap().created);
    }

    #[test]
    fn a_document_that_does_not_exist_is_forgotten_in_its_time() {
        let mut settings = settings();
        settings.tombstone_age = 100 * SECOND;
        let mut bench = Bench::new(settings);
        let [never, deleted] = ["$r/a1", "$r/a2"].map(|name| subscribe(&mut bench, 0, name));
        bench.write(state("$r/a2", "1")).unwrap();
        bench.write(state("$r/a3", "1")).unwrap();
        bench.write(delete("$r/a2")).unwrap();
        bench.write(delete("$r/a3")).unwrap();
        bench.write(state("$r/a4", "1")).unwrap();
        let known = |bench: &Bench| [1, 2, 3, 4].map(|n| bench.hub.topics.find(&format!("$r/a{n}").as_str().into()).is_some());
        bench.live(99 * SECOND);
        assert_eq!(known(&bench), [true; 4]);
        bench.live(2 * SECOND);
        assert_eq!(known(&bench), [true, true, false, true], "of the third nobody wanted to know");
        bench.leave(0, &never);
        bench.leave(0, &deleted);
        bench.live(bench.hub.settings.topic_idle + SECOND);
        assert_eq!(known(&bench), [false, true, false, true]);
        bench.live(65 * SECOND);
        assert_eq!(known(&bench), [false, true, false, true]);
        bench.live(5 * SECOND);
        assert_eq!(known(&bench), [false, false, false, true]);
        bench.live(100_000 * SECOND);
        assert_eq!(text(&document(&mut bench, "$r/a4").unwrap()), "$r/a4:1", "a state has no age");
        assert_eq!((bench.hub.documents.groups.len(), bench.hub.totals.tombstones), (1, 0));
    }

    #[test]
    fn a_forgotten_document_is_no_gap_for_anybody() {
        let mut bench = Bench::new(settings());
        let before = bench.publish("a", "1");
        bench.write(state("$r/ax", "1")).unwrap();
        bench.write(delete("$r/ax")).unwrap();
        bench.live(bench.hub.settings.tombstone_age + SECOND);
        assert!(!bench.gap(&["new"], after(before)));
        assert_eq!(bench.hub.totals.evicted, 0);
    }

    #[test]
    fn who_lags_reads_the_newest_state_and_never_of_a_loss() {
        let mut settings = settings();
        settings.window.count = 2;
        settings.window.age = SECOND;
        let mut bench = Bench::new(settings);
        let [one, other] = ["$r/ax", "$r/ay"].map(|name| subscribe(&mut bench, 0, name));
        let joined = Joined { topics: [one.topics.clone(), other.topics].concat(), ..one };
        for n in 0..100 {
            bench.write(state("$r/ax", &n.to_string())).unwrap();
            bench.write(state("$r/ay", &n.to_string())).unwrap();
            bench.pass(SECOND);
        }
        let middle = bench.write(state("$r/ay", "100")).unwrap();
        bench.tick();
        let page = bench.read(&joined, joined.head.seq);
        assert_eq!((texts(&page), page.complete, page.lost), (vec!["$r/ax:99".into(), "$r/ay:100".into()], true, false));
        assert_eq!(page.messages[1].1.id, middle.version);
        let page = bench.read(&joined, page.end);
        assert!(page.messages.is_empty() && page.complete && !page.lost);
        bench.write(delete("$r/ax")).unwrap();
        assert_eq!(texts(&bench.read(&joined, page.end)), ["$r/ax:null"]);
    }

    #[test]
    fn documents_share_the_budget_of_the_logs_and_each_costs_its_newest_state() {
        let mut settings = settings();
        settings.log_bytes_max = 4 * kept_bytes(b"", None);
        let mut bench = Bench::new(settings);
        let (ten, most) = (10, kept_bytes(b"", None) as usize);
        for _ in 0..100 {
            bench.write(state("$r/ax", &"x".repeat(ten))).unwrap();
        }
        assert_eq!((bench.hub.totals.log_bytes, bench.hub.totals.logged), ((most + ten) as u64, 1));
        bench.write(state("$r/ay", &"x".repeat(2 * most - ten))).unwrap();
        let full = Err(WriteRefusal::Unavailable);
        assert_eq!([bench.write(state("$r/az", "1")), bench.write(state("$r/ax", &"x".repeat(ten + 1)))], [full, full]);
        assert_eq!(text(&document(&mut bench, "$r/ax").unwrap()), "$r/ax:xxxxxxxxxx");
        assert_eq!(bench.publish_all(vec![entry("a", "1")]), Err(Refusal::OutOfMemory));
        assert!(bench.write(state("$r/ax", &"y".repeat(ten))).is_ok(), "what costs no more is taken");
        assert!(bench.write(state("$r/ax", "1")).is_ok());
        bench.write(state("$r/ax", &"y".repeat(ten))).unwrap();
        assert!(bench.write(delete("$r/ax")).is_ok() && bench.write(delete("$r/ay")).is_ok());
        assert_eq!(bench.hub.totals.refused, 3);
    }

    #[test]
    fn a_deletion_is_taken_even_when_it_is_longer_than_what_it_deletes() {
        let mut settings = settings();
        settings.log_bytes_max = kept_bytes(b"1", None);
        let mut bench = Bench::new(settings);
        bench.write(state("$r/ax", "1")).unwrap();
        assert!(bench.write(delete("$r/ax")).is_ok());
    }

    #[test]
    fn a_write_to_an_overfull_reactor_is_refused() {
        let mut bench = Bench::new(settings());
        subscribe(&mut bench, 1, "$r/ax");
        bench.hub.set_queued(1, 1_000_000, 0);
        assert_eq!(bench.write(state("$r/ax", "1")), Err(WriteRefusal::Unavailable));
        assert!(bench.write(state("$r/ay", "1")).is_ok());
        bench.hub.set_queued(1, 0, 0);
        assert!(bench.write(state("$r/ax", "1")).is_ok());
    }

    #[test]
    fn new_settings_take_nothing_from_a_document() {
        let mut bench = Bench::new(settings());
        bench.write(state("$r/ax", "1")).unwrap();
        let mut settings = settings();
        (settings.window.count, settings.window.bytes, settings.window.age) = (0, 0, Duration::ZERO);
        bench.handle(ToHub::Settings(Box::new(settings)));
        bench.live(SECOND);
        assert_eq!(text(&document(&mut bench, "$r/ax").unwrap()), "$r/ax:1");
    }

    #[test]
    fn conditions_and_versions_are_judged_by_what_is_stamped_and_answered_when_it_is_released() {
        let mut bench = Bench::new(settings());
        subscribe(&mut bench, 1, "$r/ax");
        let first = bench.write(state("$r/ax", "1")).unwrap();
        let (gate, allowed) = Gate::shut();
        bench.hub.engine = Box::new(gate);
        let on = |condition, value| Write { condition: Some(condition), ..state("$r/ax", value) };
        let now = bench.now;
        for write in [
            on(Condition::Version(first.version), "2"),
            on(Condition::Version(first.version), "lost"),
            Write { skip_equal: true, ..state("$r/ax", "2") },
            delete("$r/ax"),
            delete("$r/ax"),
            on(Condition::Absent, "3"),
            state("$r/ay", "1"),
        ] {
            bench.hub.handle(ToHub::Write { origin: Bench::origin(0), write }, now);
        }
        assert_eq!(counts(&bench, "$r/a"), (2, 0));
        bench.hub.handle(ToHub::Join { origin: Bench::origin(0), join: Box::new(join_of("$r/ax")), first: true }, now);
        let mut replies = Vec::new();
        bench.hub.take_replies(0, &mut replies);
        assert!(
            matches!(&replies[..], [ToReactor::Joined { joined, .. }] if text(joined.document.as_ref().unwrap()) == "$r/ax:1")
        );
        assert_eq!((bench.hub.totals.documents, bench.hub.take_acknowledgements().count()), (1, 0));
        let (next, mut results) = (first.version + 1, Vec::new());
        for step in 1..=7 {
            allowed.store(1, Relaxed);
            bench.hub.tick(now);
            let answers = bench.hub.take_acknowledgements().map(|(_, answer)| match answer {
                ToReactor::Answer { answer, .. } => match *answer {
                    Answer::Written(result) => result,
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            });
            results.extend(answers);
            assert_eq!(results.len(), step);
        }
        let written = |version, created| Ok(Written { version, created });
        let two = written(next, false);
        let (gone, three) = (written(next + 1, false), written(next + 2, true));
        assert_eq!(results, [two, MISMATCH, two, gone, MISSING, three, written(first.version, true)]);
        allowed.store(9, Relaxed);
        assert_eq!(bench.report("").documents, 2);
        assert_eq!(bench.delivered(1), ["$r/ax:1", "$r/ax:2", "$r/ax:null", "$r/ax:3"]);
    }
}
