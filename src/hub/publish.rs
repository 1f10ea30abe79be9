//! Publishing and deleting: judged as a whole, stamped, and applied once the engine says so.

use crate::engine::Change;
use crate::exchange::{Entry, Published, Refusal, Selection, TopicId, is_of_endpoint};
use crate::hub::events::Happening;
use crate::hub::log::{Keep, kept_bytes};
use crate::hub::request::{Origin, ToReactor};
use crate::hub::topic::{Position, Topic};
use crate::hub::{Aging, Hub, Waiting};
use crate::message::{Also, EventFields, Message, Seq, Stamp, TopicName};
use crate::storage::Key;
use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;
use std::sync::Arc;

/// Beyond this much on the way to a reactor, publications that it would have to deliver are refused.
const QUEUED_MESSAGES_MAX: usize = 65_536;
const QUEUED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a message consists of before it has its place.
pub struct Content {
    pub payload: Arc<[u8]>,
    pub event: Option<Box<EventFields>>,
    pub stored: bool,
    pub except: Option<Box<(u16, u64)>>,
    /// The second topic of what is stored.
    pub also: Option<TopicId>,
}

/// What becomes of one entry.
enum Judged {
    /// To be published, to this topic if it exists already.
    New(Option<TopicId>),
    /// Its key was used lately.
    Known(Stamp),
    /// Its key is that of an earlier entry of the same list.
    Same(usize),
}

/// What becomes of a list of entries, each in its place.
struct Judgement {
    judged: SmallVec<[Judged; 1]>,
    /// There are topics among them that do not exist.
    creates: bool,
}

impl Hub {
    pub(super) fn publish(&mut self, origin: Origin, entries: Vec<Entry>, report: Option<Selection>) {
        match self.judge(&entries) {
            Ok(judged) => self.order(origin, entries, judged, report),
            Err(refusal) => {
                self.totals.refused += 1;
                // Through the gate: a publisher is answered in the order in which it asked.
                self.submit(SmallVec::new(), Waiting::Refused { origin, refusal });
            }
        }
    }

    fn judge(&mut self, entries: &[Entry]) -> Result<Judgement, Refusal> {
        let mut judged: SmallVec<[Judged; 1]> = SmallVec::with_capacity(entries.len());
        let mut first: Option<HashMap<(&TopicName, &str), usize>> = None;
        let mut absent: SmallVec<[&TopicName; 4]> = SmallVec::new();
        let (mut bytes, mut durable) = (0, false);
        for (index, entry) in entries.iter().enumerate() {
            if let Some(key) = &entry.key {
                // A key is short, and the look-up needs an owned pair: cheaper than a second hash layout.
                let known = (entry.topic.clone(), key.clone());
                if let Some(stamp) = self.keys.find(&known, self.settings.key_age, self.now.micros) {
                    judged.push(Judged::Known(stamp));
                    // It may not be committed yet.
                    durable |= self.is_ahead();
                    continue;
                }
                let first = first.get_or_insert_default();
                if let Some(&same) = first.get(&(&entry.topic, &**key)) {
                    judged.push(Judged::Same(same));
                    continue;
                }
                first.insert((&entry.topic, key), index);
            }
            match self.topics.look_up(&entry.topic) {
                Some((_, topic)) if topic.interested().any(|reactor| self.is_overfull(reactor)) => return Err(Refusal::Busy),
                Some((id, _)) => judged.push(Judged::New(Some(id))),
                None => {
                    judged.push(Judged::New(None));
                    absent.push(&entry.topic);
                }
            }
            durable |= entry.store || entry.key.is_some();
            if entry.store {
                bytes += kept_bytes(&entry.payload, entry.event.as_deref());
            }
        }
        let creates = !absent.is_empty();
        if creates && !self.may_create(absent.into_iter()) {
            return Err(Refusal::TooManyTopics);
        }
        if bytes > 0 && self.totals.kept_bytes() + self.totals.coming_bytes + bytes > self.settings.log_bytes_max {
            return Err(Refusal::OutOfMemory);
        }
        if durable && let Some(refusal) = self.storage_refusal() {
            return Err(refusal);
        }
        Ok(Judgement { judged, creates })
    }

    pub(super) fn is_overfull(&self, reactor: usize) -> bool {
        let (messages, bytes) = self.reactors[reactor].queued;
        messages > QUEUED_MESSAGES_MAX || bytes > QUEUED_BYTES_MAX
    }

    fn order(&mut self, origin: Origin, entries: Vec<Entry>, judgement: Judgement, report: Option<Selection>) {
        let Judgement { judged, creates } = judgement;
        if creates {
            self.create_absent(&entries, &judged);
        }
        let mut published: SmallVec<[Published; 1]> = SmallVec::with_capacity(entries.len());
        let mut changes = SmallVec::with_capacity(entries.len());
        let mut kept = false;
        for (entry, judged) in entries.into_iter().zip(&judged) {
            let (stamp, duplicate) = match *judged {
                Judged::New(known) => {
                    let topic = known.or_else(|| self.topics.find(&entry.topic)).expect("what was absent was created just now");
                    let except = entry.except.and_then(|conversation| self.conversations.connection(conversation));
                    let except = except.map(|(reactor, connection)| Box::new((reactor, connection.0)));
                    let content = Content { payload: entry.payload, event: entry.event, stored: entry.store, except, also: None };
                    let (stamp, mut change) = self.stamp(topic, content);
                    if let Some(key) = entry.key {
                        let key: Key = Arc::new((entry.topic, key));
                        self.keep_key(&mut change, &key);
                        self.remember_key(key, stamp, self.now.micros);
                    }
                    kept |= matches!(&change, Change::Append { kept: Some(_), .. });
                    changes.push(change);
                    (stamp, false)
                }
                Judged::Known(stamp) => (stamp, true),
                Judged::Same(first) => (published[first].stamp, true),
            };
            kept |= duplicate;
            published.push(Published { stamp, duplicate });
        }
        self.submit(changes, Waiting::Published { origin, published, report: report.map(Box::new), kept });
    }

    /// The events of new topics come before the messages, so that those stay consecutive.
    fn create_absent(&mut self, entries: &[Entry], judged: &[Judged]) {
        for (entry, judged) in entries.iter().zip(judged) {
            if matches!(judged, Judged::New(None)) && self.topics.find(&entry.topic).is_none() {
                self.create(entry.topic.clone(), Keep::Window);
                self.tell(Happening::Created, &entry.topic);
            }
        }
    }

    /// Gives a message its stamp, its id, and its place in the topic's history if it is stored.
    pub(super) fn stamp(&mut self, id: TopicId, content: Content) -> (Stamp, Change) {
        let Content { payload, event, stored, except, also } = content;
        let stamp = self.sequencer.stamp(self.now);
        self.totals.messages_in += 1;
        self.totals.bytes_in += payload.len() as u64;
        let topic = self.topics.get_mut(id).expect("only existing topics are published to");
        topic.published += 1;
        self.totals.published += u64::from(!topic.name.is_reserved());
        let mut message = Message::new(stamp, topic.name.clone(), topic.published as i64, payload);
        message.event = event;
        message.except = except;
        message.stored = stored;
        if stored {
            self.totals.coming_bytes += kept_bytes(&message.payload, message.event.as_deref());
            let position = topic.count_stored(stamp);
            (message.epoch, message.offset) = (position.epoch, position.offset);
            if let Some(second) = also.and_then(|id| self.topics.get_mut(id)) {
                let Position { epoch, offset } = second.count_stored(stamp);
                message.also = Some(Box::new(Also { topic: second.name.clone(), epoch, offset }));
                self.totals.coming_bytes += kept_bytes(&message.payload, message.event.as_deref());
            }
        }
        message.ordered_micros = self.now.micros;
        let kept = if stored {
            self.keep(id, stamp)
        } else {
            self.rest(id, true);
            None
        };
        (stamp, Change::Append { topic: id, message: Arc::new(message), kept })
    }

    /// A released message reaches its topics and those who listen.
    pub(super) fn append(&mut self, id: TopicId, message: Arc<Message>) {
        // The topic may have been deleted between stamp and release.
        if self.topics.get(id).is_none() {
            self.note_evicted(&message);
        }
        let Some(also) = &message.also else { return self.append_to(Some(id), message) };
        let second = self.topics.find(&also.topic);
        self.append_to(Some(id), message.clone());
        self.append_to(second, message);
    }

    fn append_to(&mut self, id: Option<TopicId>, message: Arc<Message>) {
        let bytes = kept_bytes(&message.payload, message.event.as_deref());
        self.totals.coming_bytes -= if message.stored { bytes } else { 0 };
        let Some(id) = id else { return };
        self.renew_stale(id);
        let handle = self.topics.handle(id);
        let Some(topic) = self.topics.get_mut(id) else { return };
        for reactor in topic.interested() {
            let reactor = &mut self.reactors[reactor];
            reactor.queued.0 += 1;
            reactor.queued.1 += message.payload.len();
            reactor.replies.push(ToReactor::Deliver { topic: handle, message: message.clone() });
        }
        let aging = Aging { topic: id, seq: message.stamp.seq, since: self.now.micros };
        if message.stored {
            self.totals.stored += u64::from(!topic.name.is_reserved());
            self.totals.logged += 1;
            self.totals.log_bytes += bytes;
            topic.push(message);
            if topic.is_document() {
                self.released_write(id);
            } else {
                let ages = if is_of_endpoint(&topic.name) { &mut self.changes } else { &mut self.stored };
                ages.push(aging);
            }
        } else if topic.subscribers > 0 {
            let ring = topic.ring.get_or_insert_default();
            if self.totals.kept_bytes() + self.totals.unstored_bytes + bytes > self.settings.log_bytes_max {
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
        if let Some(refusal) = self.storage_refusal() {
            self.totals.refused += 1;
            return self.submit(SmallVec::new(), Waiting::Refused { origin, refusal });
        }
        let mut seen = HashSet::new();
        let mut changes = SmallVec::new();
        names.retain(|name| {
            if !seen.insert(name.clone()) {
                return false;
            }
            let Some(topic) = self.topics.find(name) else {
                if self.positions.take(name, self.settings.positions_age, self.now.micros).is_some() {
                    self.note_ended(name);
                }
                return false;
            };
            let mut message = Message::new(self.sequencer.mark(self.now), name.clone(), -2, payload.clone());
            message.stored = false;
            message.ordered_micros = self.now.micros;
            changes.push(Change::Remove { topic, message: Arc::new(message), stored: self.stored_of(topic) });
            true
        });
        self.submit(changes, Waiting::Deleted { origin, topics: names.len() });
        for name in &names {
            self.tell(Happening::Destroyed, name);
        }
    }

    /// A released deletion: the topic goes, and with it every subscription.
    pub(super) fn remove(&mut self, id: TopicId, message: &Arc<Message>) {
        let handle = self.topics.handle(id);
        let Some(topic) = self.end(id) else { return };
        let last = topic.last_stored().map_or(Seq(0), |stamp| stamp.seq);
        for reactor in topic.interested() {
            self.reactors[reactor].replies.push(ToReactor::Removed {
                topic: handle,
                last,
                last_unstored: topic.last_unstored(),
                message: message.clone(),
            });
        }
    }

    /// Takes a topic out of everything. What it had stored counts as evicted.
    pub(super) fn end(&mut self, id: TopicId) -> Option<Box<Topic>> {
        let topic = self.topics.remove(id)?;
        self.records.left(id);
        let (messages, bytes) = topic.for_laggards();
        self.totals.unstored -= messages;
        self.totals.unstored_bytes -= bytes;
        if topic.is_document() {
            self.ended_document(id, &topic);
        } else {
            self.pass_removed(&topic);
            self.totals.evicted += topic.log.len() as u64;
        }
        self.totals.logged -= topic.log.len() as u64;
        self.totals.log_bytes -= topic.log.bytes();
        self.totals.subscriptions -= u64::from(topic.subscribers);
        self.totals.idle -= u64::from(topic.is_idle());
        if !topic.name.is_reserved() {
            self.totals.topics -= 1;
            self.totals.wildcard_topics -= u64::from(self.is_wildcard(&topic.name));
            self.totals.published -= topic.published;
            self.totals.stored -= topic.log.len() as u64;
        }
        Some(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Answer, Cursor, StartAt};
    use crate::hub::request::ToHub;
    use crate::hub::testing::{BEGIN, Bench, entry, settings, text, topic};
    use std::time::Duration;

    fn keyed(name: &str, key: &str) -> Entry {
        Entry { key: Some(key.into()), ..entry(name, "keyed") }
    }

    #[test]
    fn a_list_is_consecutive_and_ids_count_per_topic() {
        let mut bench = Bench::new(settings());
        bench.publish("a", "0");
        bench.join(0, vec![topic("a", StartAt::Now), topic("b", StartAt::Now)], Cursor::default()).unwrap();
        bench.inbox(0);
        let published = bench.publish_all(vec![entry("b", "1"), entry("a", "2"), entry("b", "3")]).unwrap();
        let tags: Vec<u32> = published.iter().map(|published| published.stamp.tag).collect();
        assert_eq!(tags, [2, 3, 4]);
        assert!(published.iter().all(|published| published.stamp.seconds == BEGIN && !published.duplicate));
        let ids = bench.inbox(0).into_iter().filter_map(|reply| match reply {
            ToReactor::Deliver { message, .. } => Some((text(&message), message.id, message.stamp)),
            _ => None,
        });
        let stamps = |index: usize| published[index].stamp;
        let expected = [("b:1".into(), 1, stamps(0)), ("a:2".into(), 2, stamps(1)), ("b:3".into(), 2, stamps(2))];
        assert_eq!(ids.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn offsets_count_what_is_stored_within_the_epoch_of_a_topics_first_stored_message() {
        let mut bench = Bench::new(settings());
        bench.join(0, vec![topic("a", StartAt::Now), topic("b", StartAt::Now)], Cursor::default()).unwrap();
        bench.publish_unstored("a", "0");
        let epochs = ["a", "b"].map(|name| bench.publish(name, "1").seq.0);
        bench.publish_unstored("a", "2");
        bench.publish_all(vec![entry("a", "3"), entry("b", "4"), entry("a", "5")]).unwrap();
        let places = bench.inbox(0).into_iter().filter_map(|reply| match reply {
            ToReactor::Deliver { message, .. } => Some((text(&message), message.epoch, message.offset)),
            _ => None,
        });
        let [a, b] = epochs;
        let expected = [("a:0", 0, 0), ("a:1", a, 1), ("b:1", b, 1), ("a:2", 0, 0), ("a:3", a, 2), ("b:4", b, 2), ("a:5", a, 3)];
        assert_eq!(places.collect::<Vec<_>>(), expected.map(|(text, epoch, offset)| (text.to_owned(), epoch, offset)));
    }

    #[test]
    fn a_list_that_would_create_too_many_topics_publishes_nothing() {
        let mut settings = settings();
        settings.topics_max = 2;
        let mut bench = Bench::new(settings);
        let list = |names: &[&str]| names.iter().map(|name| entry(name, "1")).collect::<Vec<_>>();
        assert_eq!(bench.publish_all(list(&["a", "b", "c"])), Err(Refusal::TooManyTopics));
        assert_eq!(bench.report("").topics, 0);
        assert!(bench.publish_all(list(&["a", "b", "a", "b"])).is_ok());
        assert!(bench.publish_all(list(&["$own"])).is_ok(), "the server's own don't count");
        assert_eq!(bench.report("").topics, 2);
    }

    #[test]
    fn beyond_the_budget_for_logs_stored_messages_are_refused_and_unstored_ones_are_not() {
        let mut settings = settings();
        settings.log_bytes_max = 2 * kept_bytes(b"1234", None);
        let mut bench = Bench::new(settings);
        bench.join(0, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
        assert_eq!(bench.publish_all(vec![entry("a", "1234"), entry("a", "12345")]), Err(Refusal::OutOfMemory));
        assert!(bench.publish_all(vec![entry("a", "1234"), entry("a", "1234")]).is_ok());
        assert_eq!(bench.publish_all(vec![entry("a", "")]), Err(Refusal::OutOfMemory));
        bench.publish_unstored("a", "live");
        assert_eq!(bench.delivered(0), ["a:1234", "a:1234", "a:live"]);
        bench.delete(&["a"]);
        assert!(bench.publish_all(vec![entry("a", "1234")]).is_ok());
        assert_eq!(bench.metrics.hub.refused.load(std::sync::atomic::Ordering::Relaxed), 2);
    }

    #[test]
    fn a_publication_to_a_reactor_that_does_not_keep_up_is_refused() {
        let mut bench = Bench::new(settings());
        bench.join(1, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
        for (messages, bytes, busy) in
            [(QUEUED_MESSAGES_MAX, QUEUED_BYTES_MAX, false), (QUEUED_MESSAGES_MAX + 1, 0, true), (0, QUEUED_BYTES_MAX + 1, true)]
        {
            bench.hub.set_queued(1, messages, bytes);
            let result = bench.publish_all(vec![entry("b", "1"), entry("a", "1")]);
            assert_eq!(result == Err(Refusal::Busy), busy, "{messages} {bytes}");
        }
        bench.publish("b", "nobody listens there");
        bench.hub.set_queued(1, QUEUED_MESSAGES_MAX, 0);
        bench.publish("a", "this one fits");
        assert_eq!(bench.publish_all(vec![entry("a", "1")]), Err(Refusal::Busy), "what this batch added counts");
    }

    #[test]
    fn a_key_publishes_once_within_its_age() {
        let mut bench = Bench::new(settings());
        let first = bench.publish_all(vec![keyed("a", "k")]).unwrap()[0];
        bench.live(Duration::from_millis(119_999));
        let again = bench.publish_all(vec![keyed("a", "k"), keyed("b", "k"), entry("a", "2")]).unwrap();
        assert_eq!(again[0], Published { duplicate: true, ..first });
        assert_eq!([again[1].duplicate, again[2].duplicate], [false, false]);
        assert_eq!(bench.report("a").rows[0].published, 2);
        bench.pass(Duration::from_millis(1));
        let later = bench.publish_all(vec![keyed("a", "k")]).unwrap()[0];
        assert!(!later.duplicate && later.stamp > first.stamp);
        bench.live(Duration::from_secs(125));
        assert_eq!(bench.hub.keys.due(Duration::ZERO), None, "old keys take no memory");
    }

    #[test]
    fn a_key_twice_in_one_list_publishes_once() {
        let mut bench = Bench::new(settings());
        let published = bench.publish_all(vec![keyed("a", "k"), entry("a", "x"), keyed("a", "k")]).unwrap();
        assert_eq!(published[2], Published { duplicate: true, ..published[0] });
        assert_eq!(bench.report("a").rows[0].published, 2);
    }

    #[test]
    fn a_refused_list_uses_up_no_key() {
        let mut settings = settings();
        settings.topics_max = 1;
        let mut bench = Bench::new(settings);
        assert!(bench.publish_all(vec![keyed("a", "k"), entry("b", "1")]).is_err());
        assert!(!bench.publish_all(vec![keyed("a", "k")]).unwrap()[0].duplicate);
    }

    #[test]
    fn the_report_of_a_publication_is_taken_just_after_it() {
        let mut bench = Bench::new(settings());
        let report = Some(Selection::Names(vec!["b".into(), "nobody".into(), "a".into()]));
        let entries = vec![entry("a", "1"), entry("b", "1"), Entry { store: false, ..entry("b", "2") }];
        bench.handle(ToHub::Publish { origin: Bench::origin(0), entries, report });
        let Some(ToReactor::Answer { answer, .. }) = bench.inbox(0).pop() else { panic!("it was answered") };
        let Answer::Published { report: Some(report), .. } = *answer else { panic!("{answer:?}") };
        let rows: Vec<_> = report.rows.iter().map(|row| (row.name.as_str(), row.published, row.stored)).collect();
        assert_eq!(rows, [("b", 2, 1), ("a", 1, 1)]);
        assert_eq!((report.published, report.stored, report.unix_seconds), (3, 2, BEGIN));
    }

    #[test]
    fn acknowledgements_are_apart_from_deliveries() {
        let mut bench = Bench::new(settings());
        let mut replies = Vec::new();
        let entries = vec![entry("a", "1")];
        bench.hub.handle(ToHub::Publish { origin: Bench::origin(1), entries, report: None }, bench.now);
        bench.hub.take_replies(1, &mut replies);
        assert!(replies.is_empty());
        let acknowledgements: Vec<_> = bench.hub.take_acknowledgements().collect();
        assert!(matches!(acknowledgements[..], [(1, ToReactor::Answer { ticket: 9, .. })]));
        assert_eq!(bench.hub.take_acknowledgements().count(), 0);
    }

    #[test]
    fn a_deletion_tells_the_interested_reactors_at_its_place_in_the_order() {
        let mut bench = Bench::new(settings());
        let joined = bench.join(1, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
        let last = bench.publish("a", "1");
        bench.publish_unstored("a", "2");
        let before = bench.head();
        assert_eq!(bench.delete(&["a", "unknown", "a"]), 1);
        let inbox = bench.inbox(1);
        let Some(ToReactor::Removed { topic, last: lost, message, .. }) = inbox.last() else { panic!("{inbox:?}") };
        assert_eq!((*topic, *lost), (joined.topics[0].topic, last.seq));
        assert_eq!((text(message), message.id, message.stored), ("a:gone".into(), -2, false));
        assert_eq!(message.stamp.position(), before.position());
        assert!(message.stamp.seq > before.seq);
        assert!(bench.inbox(0).iter().all(|reply| !matches!(reply, ToReactor::Removed { .. })));
        bench.leave(1, &joined);
        assert_eq!(bench.delete(&["a"]), 0);
    }

    #[test]
    fn a_topic_that_comes_back_after_its_deletion_counts_from_one_and_has_no_subscribers() {
        let mut bench = Bench::new(settings());
        bench.join(1, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
        bench.publish("a", "1");
        bench.delete(&["a"]);
        bench.inbox(1);
        bench.publish("a", "2");
        assert_eq!(bench.delivered(1), [""; 0]);
        let row = &bench.report("a").rows[0];
        assert_eq!((row.published, row.subscribers), (1, 0));
    }

    #[test]
    fn the_head_follows_the_clock_into_a_second_without_messages() {
        let mut bench = Bench::new(settings());
        assert_eq!(bench.publish("a", "1").position(), (BEGIN, 1));
        assert_eq!(bench.head().position(), (BEGIN, 1));
        bench.pass(Duration::from_secs(3));
        assert_eq!(bench.head().position(), (BEGIN + 3, 0));
        assert_eq!(bench.head(), bench.head());
        let joined = bench.join(0, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
        assert_eq!(joined.head.position(), (BEGIN + 3, 0));
        assert_eq!(bench.publish("a", "2").position(), (BEGIN + 3, 1));
        bench.now.unix_micros -= 2_000_000;
        assert_eq!(bench.publish("a", "3").position(), (BEGIN + 3, 2));
    }

    #[test]
    fn an_unstored_message_without_room_is_delivered_and_lost_for_those_who_lag() {
        let mut settings = settings();
        settings.log_bytes_max = 2 * kept_bytes(b"1", None);
        let mut bench = Bench::new(settings);
        let joined = bench.join(0, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
        bench.publish_unstored("a", "1");
        bench.publish("a", "2");
        assert!(!bench.read(&joined, joined.head.seq).lost);
        let third = bench.publish_unstored("a", "3");
        assert_eq!(bench.delivered(0), ["a:1", "a:2", "a:3"]);
        assert!(bench.read(&joined, joined.head.seq).lost);
        assert!(!bench.read(&joined, third.seq).lost);
    }

    #[test]
    fn event_fields_reach_the_listeners() {
        let mut bench = Bench::new(settings());
        bench.join(0, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
        let fields = EventFields { id: Some(b"7"[..].into()), kind: Some(b"news"[..].into()) };
        bench.publish_all(vec![Entry { event: Some(Box::new(fields)), ..entry("a", "1") }]).unwrap();
        let Some(ToReactor::Deliver { message, .. }) = bench.inbox(0).pop() else { panic!("it was delivered") };
        assert_eq!((message.event_id(), message.event_type()), (Some(&b"7"[..]), Some(&b"news"[..])));
    }
}
