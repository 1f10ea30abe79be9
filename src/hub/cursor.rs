//! Where a cursor points to, and whether something newer is already gone.

use crate::exchange::{Cursor, Join, Reach, StartAt, TopicId};
use crate::hub::Hub;
use crate::hub::topic::Topic;
use crate::hub::view::View;
use crate::message::{Seq, Stamp};

/// Seconds and tag as a client says them; a second as a whole ends with the greatest tag.
type Position = (u64, u64);

/// A cursor, understood. The default is "none".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Replay what is newer than this.
    pub start: Option<Position>,
    /// The cursor means nothing here, so nobody knows what its owner missed.
    pub unknown: bool,
    pub foreign: bool,
}

impl Resolved {
    /// What the session is told. Tags in use fit into 32 bits; a greater one is past all of its second.
    pub fn start(&self) -> Option<(u64, u32)> {
        self.start.map(|(seconds, tag)| (seconds, u32::try_from(tag).unwrap_or(u32::MAX)))
    }
}

impl Hub {
    /// Finds out where the cursor points to; `topics` are the existing ones of the join, trimmed.
    pub(super) fn resolve(&self, cursor: &Cursor, topics: &[TopicId], reach: Reach) -> Resolved {
        let (newest, released) = (self.sequencer.last(), self.released);
        let stamp = cursor.stamp.map(|(seconds, tag)| {
            let foreign =
                seconds > newest.seconds || seconds == newest.seconds && tag.is_some_and(|tag| tag > u64::from(newest.tag));
            let position = match tag {
                Some(tag) => (seconds, tag),
                // All of the newest second has been seen: all that there is, and what follows is newer.
                None if seconds == released.seconds => (seconds, u64::from(released.tag)),
                None if seconds > released.seconds => (seconds, 0),
                None => (seconds, u64::MAX),
            };
            (position, foreign)
        });
        let (event, unknown) = match &cursor.event {
            None => (None, false),
            Some(event) => match self.oldest_with_event(&event.id, topics, reach).or(event.otherwise) {
                Some(position) => (Some((position, position > (newest.seconds, u64::from(newest.tag)))), false),
                None => (None, true),
            },
        };
        let smaller = match (stamp, event) {
            (Some(stamp), Some(event)) => Some(stamp.min(event)),
            (one, other) => one.or(other),
        };
        match smaller {
            Some((_, true)) => Resolved { start: None, unknown: true, foreign: true },
            // The epoch: everything stored.
            Some(((0, _), false)) => Resolved { start: Some((0, 0)), unknown, foreign: false },
            Some((position, false)) => Resolved { start: Some(position), unknown, foreign: false },
            None => Resolved { start: None, unknown, foreign: false },
        }
    }

    fn oldest_with_event(&self, id: &[u8], topics: &[TopicId], reach: Reach) -> Option<Position> {
        let views = topics.iter().filter_map(|&topic| self.topics.get(topic)).map(|topic| self.view(topic, reach));
        let found = views.filter_map(|view| view.topic.log.oldest_with_event(view.first, id));
        found.map(|message| message.stamp).min().map(|stamp| (stamp.seconds, u64::from(stamp.tag)))
    }

    pub(super) fn view<'a>(&self, topic: &'a Topic, reach: Reach) -> View<'a> {
        View::new(topic, reach, self.now.micros)
    }

    /// Whether a stored message of this topic that is newer than `start` may be gone (push_stream, section 4.3).
    pub(super) fn has_gap(&self, start: Position, view: View<'_>) -> bool {
        start.0 != 0 && self.is_gone(start, view)
    }

    /// The same, for those to whom the beginning of time is a time.
    pub(super) fn is_gone(&self, start: Position, view: View<'_>) -> bool {
        is_before(start, self.history_begins)
            || is_before(start, view.floor()) && (view.has_evicted() || is_before(start, self.removed))
    }

    /// Whether a stored message after this place may be gone. Of a topic of an endpoint, that one's own topic knows: it keeps whatever
    /// others have of it, and no more of it outlives the process.
    pub(super) fn is_gone_since(&self, seq: Seq, id: TopicId, join: &Join) -> bool {
        // An earlier process may have shown more than it has left.
        if seq < self.renewed {
            return true;
        }
        let leads = match &join.records {
            None => Some(id),
            Some(records) => self.topics.find(&records.endpoint),
        };
        if let Some(topic) = leads.and_then(|id| self.topics.get(id)) {
            return self.is_gone_after(seq, self.view(topic, join.reach));
        }
        let past = join
            .records
            .as_ref()
            .and_then(|records| self.positions.find(&records.endpoint, self.settings.positions_age, self.now.micros));
        seq < self.history_begins.seq.max(past.map_or(self.removed, |past| past.newest).seq)
    }

    /// The same of the topic that is shown.
    pub(super) fn is_gone_after(&self, seq: Seq, view: View<'_>) -> bool {
        seq < self.history_begins.seq || seq < view.floor().seq && (view.has_evicted() || seq < self.removed.seq)
    }

    /// The same of a topic that does not exist.
    pub(super) fn is_gone_with_some_topic(&self, start: Position) -> bool {
        is_before(start, self.history_begins) || is_before(start, self.removed)
    }

    /// After which message the topic's subscription begins.
    pub(super) fn from(&self, start_at: StartAt, start: Option<Position>, view: View<'_>) -> Seq {
        let topic = view.topic;
        let first = match (start_at, start) {
            (StartAt::Now, _) | (StartAt::Cursor, None) => return self.released.seq,
            (StartAt::Cursor, Some(start)) => topic.log.after_position(start).max(view.first),
            (StartAt::After(seq), _) => topic.log.after(seq).max(view.first),
            (StartAt::Last(count), _) => topic.log.len() - view.len().min(count as usize),
        };
        if first == topic.log.len() {
            // Nothing to replay: a connection that is live stays live.
            return self.released.seq;
        }
        match first.checked_sub(1).and_then(|before| topic.log.at(before)) {
            Some(message) => message.stamp.seq,
            None => topic.floor.seq,
        }
    }
}

fn is_before(start: Position, stamp: Stamp) -> bool {
    start < (stamp.seconds, u64::from(stamp.tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Entry, EventCursor, Join, JoinTopic, Joined, Refusal};
    use crate::hub::testing::{BEGIN, Bench, after, entry, settings, text, topic};
    use crate::message::EventFields;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    fn stamp(seconds: u64, tag: Option<u64>) -> Cursor {
        Cursor { stamp: Some((seconds, tag)), event: None }
    }

    fn event(id: &str, otherwise: Option<(u64, u64)>) -> Cursor {
        Cursor { stamp: None, event: Some(EventCursor { id: id.as_bytes().into(), otherwise }) }
    }

    fn publish_event(bench: &mut Bench, name: &str, payload: &str, id: &str) -> Stamp {
        let fields = EventFields { id: Some(id.as_bytes().into()), kind: None };
        bench.publish_all(vec![Entry { event: Some(Box::new(fields)), ..entry(name, payload) }]).unwrap()[0].stamp
    }

    /// Topics a and b by turns, two messages in each of three seconds.
    fn three_seconds() -> (Bench, Vec<Stamp>) {
        let mut bench = Bench::new(settings());
        let mut stamps = Vec::new();
        for second in 0..3 {
            stamps.push(bench.publish("a", &format!("{second}1")));
            stamps.push(bench.publish("b", &format!("{second}2")));
            bench.pass(SECOND);
        }
        (bench, stamps)
    }

    fn join(bench: &mut Bench, names: &[&str], cursor: Cursor) -> Joined {
        bench.join(0, names.iter().map(|name| topic(name, StartAt::Cursor)).collect(), cursor).unwrap()
    }

    #[test]
    fn a_cursor_resumes_all_topics_after_its_stamp_in_one_order() {
        let (mut bench, stamps) = three_seconds();
        assert_eq!(bench.resume(&["b", "a"], after(stamps[0])), ["b:02", "a:11", "b:12", "a:21", "b:22"]);
        assert_eq!(bench.resume(&["a", "b"], after(stamps[4])), ["b:22"]);
        assert_eq!(bench.resume(&["a", "b"], after(stamps[5])), [""; 0]);
        assert_eq!(bench.resume(&["a"], after(stamps[1])), ["a:11", "a:21"]);
        let joined = join(&mut bench, &["a"], after(stamps[1]));
        assert_eq!((joined.start, joined.gap, joined.foreign), (Some(stamps[1].position()), false, false));
    }

    #[test]
    fn a_time_alone_has_seen_its_second_and_tag_zero_has_not() {
        let (mut bench, _) = three_seconds();
        assert_eq!(bench.resume(&["a", "b"], stamp(BEGIN + 1, None)), ["a:21", "b:22"]);
        assert_eq!(bench.resume(&["a", "b"], stamp(BEGIN + 1, Some(0))), ["a:11", "b:12", "a:21", "b:22"]);
    }

    #[test]
    fn a_time_alone_of_the_newest_second_is_not_foreign_and_resumes_live() {
        let mut bench = Bench::new(settings());
        let newest = bench.publish("a", "1");
        let joined = join(&mut bench, &["a"], stamp(newest.seconds, None));
        assert_eq!((joined.start, joined.gap, joined.foreign), (Some(newest.position()), false, false));
        assert_eq!(joined.topics[0].from, joined.head.seq);
    }

    #[test]
    fn the_epoch_shows_everything_stored_and_is_never_a_gap() {
        let mut settings = settings();
        settings.window.count = 2;
        let mut bench = Bench::new(settings);
        for n in 0..4 {
            bench.publish("a", &n.to_string());
        }
        for tag in [None, Some(0), Some(5)] {
            assert_eq!(bench.resume(&["a"], stamp(0, tag)), ["a:2", "a:3"]);
            assert!(!bench.gap(&["a", "new"], stamp(0, tag)));
        }
    }

    #[test]
    fn without_a_cursor_there_is_no_replay_no_gap_and_no_start() {
        let (mut bench, _) = three_seconds();
        let joined = join(&mut bench, &["a"], Cursor::default());
        assert_eq!((joined.start, joined.gap, joined.topics[0].from), (None, false, joined.head.seq));
    }

    #[test]
    fn a_cursor_newer_than_the_newest_stamp_is_foreign_and_counts_as_none() {
        let (mut bench, _) = three_seconds();
        let newest = bench.publish("a", "x");
        let (seconds, tag) = (newest.seconds, u64::from(newest.tag));
        for cursor in [stamp(seconds, Some(tag + 1)), stamp(seconds, Some(u64::MAX)), stamp(seconds + 1, None)] {
            let joined = join(&mut bench, &["a"], cursor);
            assert_eq!((joined.start, joined.gap, joined.foreign), (None, true, true));
            assert_eq!(joined.topics[0].from, joined.head.seq);
        }
        assert!(!join(&mut bench, &["a"], stamp(seconds, Some(tag))).foreign);
        bench.pass(SECOND);
        // The join itself enters the second of the clock.
        assert!(!join(&mut bench, &["a"], stamp(seconds + 1, Some(0))).foreign);
    }

    #[test]
    fn an_event_id_names_the_oldest_stored_message_of_all_joined_topics() {
        let mut bench = Bench::new(settings());
        publish_event(&mut bench, "elsewhere", "0", "e");
        publish_event(&mut bench, "b", "1", "e");
        bench.publish("a", "2");
        publish_event(&mut bench, "a", "3", "e");
        assert_eq!(bench.resume(&["a", "b"], event("e", None)), ["a:2", "a:3"]);
        assert_eq!(bench.resume(&["a"], event("e", None)), [""; 0]);
        assert!(!bench.gap(&["a", "b"], event("e", None)));
    }

    #[test]
    fn an_event_id_that_is_not_stored_is_a_stamp_or_else_a_gap() {
        let (mut bench, stamps) = three_seconds();
        let otherwise = (stamps[3].seconds, u64::from(stamps[3].tag));
        assert_eq!(bench.resume(&["a", "b"], event("1001:2", Some(otherwise))), ["a:21", "b:22"]);
        let joined = join(&mut bench, &["a"], event("nobody knows", None));
        assert_eq!((joined.start, joined.gap, joined.foreign), (None, true, false));
        assert_eq!(joined.topics[0].from, joined.head.seq);
    }

    #[test]
    fn of_an_event_and_a_stamp_the_smaller_wins() {
        let mut bench = Bench::new(settings());
        let first = bench.publish("a", "1");
        publish_event(&mut bench, "a", "2", "e");
        let third = bench.publish("a", "3");
        let both = |stamp: Stamp| Cursor { event: event("e", None).event, ..after(stamp) };
        assert_eq!(bench.resume(&["a"], both(first)), ["a:2", "a:3"]);
        assert_eq!(bench.resume(&["a"], both(third)), ["a:3"]);
        let foreign = Stamp { tag: third.tag + 1, ..third };
        assert_eq!(bench.resume(&["a"], both(foreign)), ["a:3"]);
    }

    #[test]
    fn a_message_evicted_after_the_cursor_is_a_gap_and_one_before_it_is_not() {
        let mut settings = settings();
        settings.window.count = 1;
        let mut bench = Bench::new(settings);
        let stamps: Vec<_> = (0..3).map(|n| bench.publish("a", &n.to_string())).collect();
        assert!(bench.gap(&["a"], after(stamps[0])));
        assert!(!bench.gap(&["a"], after(stamps[1])));
        bench.publish("b", "x");
        assert!(bench.gap(&["b", "a"], after(stamps[0])));
        assert!(!bench.gap(&["b"], after(stamps[0])), "b was created later, but no topic was ever removed");
    }

    #[test]
    fn an_expired_message_is_a_gap_before_it_is_freed() {
        let mut bench = Bench::new(settings());
        let first = bench.publish("a", "1");
        bench.publish("a", "2");
        bench.pass(bench.hub.settings.window.age);
        assert_eq!(bench.resume(&["a"], after(first)), [""; 0]);
        assert!(bench.gap(&["a"], after(first)));
    }

    #[test]
    fn a_cursor_of_before_this_process_is_a_gap() {
        let mut bench = Bench::new(settings());
        assert!(bench.gap(&["a"], stamp(BEGIN - 1, None)));
        assert!(!bench.gap(&["a"], stamp(BEGIN, Some(0))), "that is the very stamp at which history begins");
    }

    #[test]
    fn a_removed_topic_leaves_a_gap_for_topics_that_did_not_exist_at_the_cursor() {
        let mut bench = Bench::new(settings());
        let cursor = bench.publish("old", "1");
        bench.publish("a", "lost");
        let late = bench.publish("old", "2");
        bench.delete(&["a"]);
        assert!(bench.gap(&["a"], after(cursor)));
        assert!(!bench.gap(&["old"], after(cursor)));
        assert!(!bench.gap(&["a"], after(late)), "nothing newer than that is gone");
    }

    #[test]
    fn a_topic_that_starts_with_its_last_messages_is_not_examined() {
        let mut settings = settings();
        settings.window.count = 1;
        let mut bench = Bench::new(settings);
        let first = bench.publish("a", "1");
        for _ in 0..3 {
            bench.publish("a", "x");
        }
        let joined = bench.join(0, vec![topic("a", StartAt::Last(1))], after(first)).unwrap();
        assert!(!joined.gap);
        let joined = bench.join(0, vec![topic("a", StartAt::Last(1)), topic("a", StartAt::Cursor)], after(first)).unwrap();
        assert!(joined.gap);
    }

    #[test]
    fn unstored_messages_are_never_a_gap_for_a_cursor() {
        let mut bench = Bench::new(settings());
        let first = bench.publish("a", "1");
        bench.publish_unstored("a", "2");
        assert!(!bench.gap(&["a"], after(first)));
        assert_eq!(bench.resume(&["a"], after(first)), [""; 0]);
    }

    #[test]
    fn beside_an_unknown_event_id_the_stamp_still_counts_and_the_gap_is_signalled() {
        let (mut bench, stamps) = three_seconds();
        let both = Cursor { event: event("nobody knows", None).event, ..after(stamps[3]) };
        let joined = join(&mut bench, &["a"], both.clone());
        assert_eq!((joined.start, joined.gap), (Some(stamps[3].position()), true));
        assert_eq!(bench.resume(&["a", "b"], both), ["a:21", "b:22"]);
    }

    /// A reach of two messages, and one of three seconds when the third of three messages is a second old.
    fn two_of_three() -> (Bench, Vec<Stamp>, [Reach; 2]) {
        let mut bench = Bench::new(settings());
        let stamps = ["1", "2", "3"].map(|payload| {
            let stamp = publish_event(&mut bench, "a", payload, "e");
            bench.pass(SECOND);
            stamp
        });
        let reaches = [Reach { count: 2, ..Reach::EVERYTHING }, Reach { age: 3 * SECOND, ..Reach::EVERYTHING }];
        (bench, stamps.to_vec(), reaches)
    }

    fn join_within(bench: &mut Bench, start: StartAt, cursor: Cursor, reach: Reach) -> (Vec<String>, bool) {
        let joined = bench.try_join(0, Join { topics: vec![topic("a", start)], cursor, reach, ..Join::default() }).unwrap();
        let shown = bench.read(&joined, Seq(0)).messages.iter().map(|(_, message)| text(message)).collect();
        (shown, joined.gap)
    }

    #[test]
    fn a_cursor_reaches_no_farther_back_than_its_dialect() {
        let (mut bench, stamps, reaches) = two_of_three();
        for reach in reaches {
            let mut within = |start, cursor| join_within(&mut bench, start, cursor, reach);
            let two = || ["a:2", "a:3"].map(str::to_owned).to_vec();
            assert_eq!(within(StartAt::Cursor, stamp(0, None)), (two(), false));
            assert_eq!(within(StartAt::Cursor, stamp(BEGIN, Some(0))), (two(), true));
            assert_eq!(within(StartAt::Cursor, after(stamps[0])), (two(), false), "what it has may be gone");
            assert_eq!(within(StartAt::Cursor, after(stamps[1])), (vec!["a:3".to_owned()], false));
            assert_eq!(within(StartAt::Last(9), Cursor::default()), (two(), false));
            assert_eq!(within(StartAt::Last(1), Cursor::default()), (vec!["a:3".to_owned()], false));
            assert_eq!(within(StartAt::Cursor, event("e", None)), (vec!["a:3".to_owned()], false), "the oldest of those shown");
        }
    }

    #[test]
    fn a_topic_without_messages_within_reach_has_none() {
        let mut bench = Bench::new(settings());
        bench.publish("a", "1");
        let reach = Reach { age: SECOND, ..Reach::EVERYTHING };
        let must = JoinTopic { must_have_messages: true, ..topic("a", StartAt::Now) };
        let join = Join { topics: vec![must], reach, ..Join::default() };
        assert!(bench.try_join(0, join.clone()).is_ok());
        bench.pass(SECOND);
        assert_eq!(bench.try_join(0, join.clone()).unwrap_err(), Refusal::TopicMissing);
        assert!(bench.try_join(0, Join { reach: Reach::EVERYTHING, ..join }).is_ok());
    }

    #[test]
    fn who_lags_reads_on_beyond_the_reach_of_his_join() {
        let mut bench = Bench::new(settings());
        let reach = Reach { count: 1, age: SECOND };
        let join = Join { topics: vec![topic("a", StartAt::Now)], reach, ..Join::default() };
        let joined = bench.try_join(0, join).unwrap();
        for payload in ["1", "2", "3"] {
            bench.publish("a", payload);
            bench.pass(SECOND);
        }
        let page = bench.read(&joined, joined.head.seq);
        assert_eq!((page.messages.len(), page.lost), (3, false));
    }

    #[test]
    fn a_topic_that_comes_back_in_time_knows_what_it_has_lost() {
        let mut bench = Bench::new(settings());
        let first = bench.publish("a", "1");
        let second = bench.publish("a", "2");
        bench.pass(SECOND);
        bench.publish("b", "later");
        bench.live(bench.hub.settings.window.age + bench.hub.settings.topic_idle + SECOND);
        assert_eq!(bench.report("").topics, 0);
        assert!(bench.gap(&["a"], after(first)));
        assert!(!bench.gap(&["a"], after(second)), "only b has lost something newer");
        assert!(bench.gap(&["c"], after(second)), "of c nobody knows");
    }

    #[test]
    fn many_messages_that_expire_at_once_are_not_shown_by_the_first_who_asks() {
        let mut bench = Bench::new(settings());
        let many = |bench: &mut Bench| {
            for n in 0..300 {
                bench.publish(&format!("t{n}"), "1");
            }
            bench.pass(bench.hub.settings.window.age);
        };
        many(&mut bench);
        assert_eq!(bench.report("t299").rows[0].stored, 0);
        many(&mut bench);
        let joined = bench.join(0, vec![topic("t299", StartAt::Last(9))], Cursor::default()).unwrap();
        assert_eq!(joined.topics[0].from, joined.head.seq);
    }
}
