//! Histories: what somebody missed of topics, all of it or nothing.

use crate::exchange::{After, Missed, Reach, Replay};
use crate::hub::Hub;
use crate::hub::view::View;
use crate::message::Message;
use std::sync::Arc;

impl Hub {
    /// What was missed up to the released head; `None` if some of it is not there any more.
    pub(super) fn history(&mut self, missed: &[Missed], reach: Reach) -> Replay {
        let found: Vec<_> = missed.iter().map(|missed| self.topics.find(&missed.topic)).collect();
        for &topic in found.iter().flatten() {
            self.trim(topic);
        }
        let mut messages: Vec<Arc<Message>> = Vec::new();
        for (missed, found) in missed.iter().zip(found) {
            let Some(topic) = found.and_then(|id| self.topics.get(id)) else {
                if self.is_gone_with_its_topic(missed) {
                    return None;
                }
                continue;
            };
            let view = self.view(topic, reach);
            let first = self.first_missed(missed.after, view)?;
            messages.extend(view.from(first).take_while(|message| message.stamp.seq <= missed.until).cloned());
        }
        // Sorted runs, one of each topic: this sort merges them.
        messages.sort_by_key(|message| message.stamp.seq);
        // A topic may be named twice.
        messages.dedup_by_key(|message| message.stamp.seq);
        Some(messages)
    }

    /// The place in the log of the first message that was missed, unless one is gone.
    fn first_missed(&self, after: After, view: View<'_>) -> Option<usize> {
        let log = &view.topic.log;
        match after {
            After::Offset { epoch, offset } => {
                let last = view.topic.released();
                // Without a stored message there is no epoch that anybody could have heard of.
                if last.offset == 0 || last.epoch != epoch {
                    return None;
                }
                let behind = last.offset.checked_sub(offset)?;
                (behind <= view.len() as u64).then(|| log.len() - behind as usize)
            }
            After::Before(second) => {
                let start = (second, 0);
                (!self.is_gone(start, view)).then(|| log.after_position(start))
            }
            After::Seq(seq) => (!self.is_gone_after(seq, view)).then(|| log.after(seq)),
        }
    }

    /// The same of a topic that does not exist: nothing of it is there.
    fn is_gone_with_its_topic(&self, missed: &Missed) -> bool {
        match missed.after {
            After::Offset { epoch, offset } => {
                let past = self.positions.find(&missed.topic, self.settings.positions_age, self.now.micros);
                past.is_none_or(|past| (past.position.epoch, past.position.offset) != (epoch, offset))
            }
            After::Before(second) => self.is_gone_with_some_topic((second, 0)),
            After::Seq(seq) => seq < self.history_begins.seq.max(self.removed.seq),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Answer, Cursor, Entry, Join, Question, StartAt};
    use crate::hub::testing::{BEGIN, Bench, entry, settings, text, topic};
    use crate::hub::topic::Position;
    use crate::message::{Seq, Stamp};
    use std::collections::BTreeMap;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);
    const FOREVER: Seq = Seq(u64::MAX);

    fn missed(topic: &str, after: After) -> Missed {
        Missed { topic: topic.into(), after, until: FOREVER }
    }

    fn at(first: Stamp, offset: u64) -> After {
        After::Offset { epoch: first.seq.0, offset }
    }

    fn ask(bench: &mut Bench, missed: Vec<Missed>, reach: Reach) -> Option<Vec<String>> {
        match bench.ask(Question::History { missed, reach }) {
            Answer::History(replay) => replay.map(|messages| messages.iter().map(|message| text(message)).collect()),
            other => panic!("{other:?}"),
        }
    }

    fn history(bench: &mut Bench, missed: Vec<Missed>) -> Option<Vec<String>> {
        ask(bench, missed, Reach::EVERYTHING)
    }

    fn shown(messages: &[&str]) -> Option<Vec<String>> {
        Some(messages.iter().map(|&message| message.to_owned()).collect())
    }

    /// Three messages of topic a, one a second.
    fn three(count: usize) -> (Bench, [Stamp; 3]) {
        let mut settings = settings();
        settings.window.count = count;
        let mut bench = Bench::new(settings);
        let stamps = ["1", "2", "3"].map(|payload| {
            let stamp = bench.publish("a", payload);
            bench.publish_unstored("a", "never");
            bench.pass(SECOND);
            stamp
        });
        (bench, stamps)
    }

    #[test]
    fn after_an_offset_comes_what_was_stored_since() {
        let (mut bench, stamps) = three(9);
        let histories = [0, 1, 3].map(|offset| history(&mut bench, vec![missed("a", at(stamps[0], offset))]));
        assert_eq!(histories, [shown(&["a:1", "a:2", "a:3"]), shown(&["a:2", "a:3"]), shown(&[])]);
    }

    #[test]
    fn an_offset_above_the_last_and_another_epoch_are_gone() {
        let (mut bench, stamps) = three(9);
        assert_eq!(history(&mut bench, vec![missed("a", at(stamps[0], 4))]), None);
        assert_eq!(history(&mut bench, vec![missed("a", at(stamps[1], 3))]), None);
        assert_eq!(history(&mut bench, vec![missed("nobody", at(stamps[0], 3))]), None);
        bench.join(0, vec![topic("new", StartAt::Now)], Cursor::default()).unwrap();
        assert_eq!(history(&mut bench, vec![missed("new", After::Offset { epoch: 0, offset: 0 })]), None);
    }

    #[test]
    fn what_is_evicted_is_gone_for_who_needs_it_and_nothing_to_who_has_it() {
        let (mut bench, stamps) = three(2);
        assert_eq!(history(&mut bench, vec![missed("a", at(stamps[0], 0))]), None);
        assert_eq!(history(&mut bench, vec![missed("a", at(stamps[0], 1))]), shown(&["a:2", "a:3"]));
        assert_eq!(history(&mut bench, vec![missed("a", After::Seq(Seq(stamps[0].seq.0 - 1)))]), None);
        assert_eq!(history(&mut bench, vec![missed("a", After::Seq(stamps[0].seq))]), shown(&["a:2", "a:3"]));
        assert_eq!(history(&mut bench, vec![missed("a", After::Before(BEGIN))]), None);
        assert_eq!(history(&mut bench, vec![missed("a", After::Before(BEGIN + 1))]), shown(&["a:2", "a:3"]));
    }

    #[test]
    fn who_has_the_last_one_missed_nothing_even_when_all_have_expired_and_the_topic_is_forgotten() {
        let (mut bench, stamps) = three(9);
        let last = |bench: &mut Bench| history(bench, vec![missed("a", at(stamps[0], 3))]);
        bench.live(bench.hub.settings.window.age);
        assert_eq!((bench.report("a").rows.len(), last(&mut bench)), (1, shown(&[])));
        assert_eq!(history(&mut bench, vec![missed("a", at(stamps[0], 2))]), None);
        bench.live(bench.hub.settings.topic_idle + SECOND);
        assert_eq!((bench.report("a").rows.len(), last(&mut bench)), (0, shown(&[])));
        assert_eq!(history(&mut bench, vec![missed("a", at(stamps[0], 2))]), None);
        assert_eq!(history(&mut bench, vec![missed("a", at(stamps[1], 3))]), None);
        bench.live(bench.hub.settings.positions_age);
        assert_eq!(last(&mut bench), None);
    }

    #[test]
    fn a_topic_that_comes_back_in_time_goes_on_in_its_epoch() {
        let (mut bench, stamps) = three(9);
        let forgotten = bench.hub.settings.window.age + bench.hub.settings.topic_idle + SECOND;
        bench.live(forgotten);
        let fourth = bench.publish("a", "4");
        assert_eq!(bench.report("a").rows[0].published, 1, "its id restarts");
        assert_eq!(history(&mut bench, vec![missed("a", at(stamps[0], 3))]), shown(&["a:4"]));
        assert_eq!(history(&mut bench, vec![missed("a", at(stamps[0], 2))]), None);
        assert_eq!(history(&mut bench, vec![missed("a", After::Seq(stamps[2].seq))]), shown(&["a:4"]));
        assert_eq!(history(&mut bench, vec![missed("a", After::Seq(stamps[1].seq))]), None);
        assert_eq!(history(&mut bench, vec![missed("a", After::Before(fourth.seconds))]), shown(&["a:4"]));
        bench.live(forgotten);
        // It is joined, stays without messages, and is forgotten once more.
        let joined = bench.join(0, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
        bench.leave(0, &joined);
        bench.live(bench.hub.settings.topic_idle + SECOND);
        assert_eq!(history(&mut bench, vec![missed("a", at(stamps[0], 4))]), shown(&[]));
        bench.live(bench.hub.settings.positions_age);
        let new = bench.publish("a", "5");
        assert_eq!(history(&mut bench, vec![missed("a", at(stamps[0], 4))]), None);
        assert_eq!(history(&mut bench, vec![missed("a", at(new, 0))]), shown(&["a:5"]));
    }

    #[test]
    fn a_deleted_topic_begins_another_epoch_forgotten_or_not() {
        let (mut bench, stamps) = three(9);
        bench.delete(&["a"]);
        assert_eq!(history(&mut bench, vec![missed("a", at(stamps[0], 3))]), None);
        let first = bench.publish("a", "4");
        assert_eq!(history(&mut bench, vec![missed("a", at(stamps[0], 3))]), None);
        assert_eq!(history(&mut bench, vec![missed("a", at(first, 0))]), shown(&["a:4"]));
        bench.live(bench.hub.settings.window.age + bench.hub.settings.topic_idle + SECOND);
        assert_eq!(history(&mut bench, vec![missed("a", at(first, 1))]), shown(&[]));
        assert_eq!(bench.delete(&["a"]), 0);
        assert_eq!(history(&mut bench, vec![missed("a", at(first, 1))]), None);
    }

    #[test]
    fn a_forgotten_topic_is_gone_for_who_comes_from_before_its_last_message() {
        let (mut bench, stamps) = three(9);
        bench.live(bench.hub.settings.window.age + bench.hub.settings.topic_idle + SECOND);
        assert_eq!(history(&mut bench, vec![missed("a", After::Before(BEGIN + 2))]), None);
        assert_eq!(history(&mut bench, vec![missed("a", After::Before(BEGIN + 3))]), shown(&[]));
        assert_eq!(history(&mut bench, vec![missed("a", After::Seq(stamps[1].seq))]), None);
        assert_eq!(history(&mut bench, vec![missed("a", After::Seq(stamps[2].seq))]), shown(&[]));
    }

    #[test]
    fn a_second_has_to_be_known_as_a_whole() {
        let mut bench = Bench::new(settings());
        assert_eq!(history(&mut bench, vec![missed("a", After::Before(BEGIN - 1))]), None, "history begins later");
        assert_eq!(history(&mut bench, vec![missed("a", After::Before(0))]), None);
        bench.publish("a", "1");
        bench.publish("a", "2");
        assert_eq!(history(&mut bench, vec![missed("a", After::Before(BEGIN))]), shown(&["a:1", "a:2"]));
        assert_eq!(history(&mut bench, vec![missed("a", After::Before(BEGIN + 1))]), shown(&[]));
    }

    #[test]
    fn several_topics_come_in_one_order_each_message_once_or_not_at_all() {
        let mut bench = Bench::new(settings());
        let first = bench.publish("a", "1");
        for (name, payload) in [("b", "2"), ("a", "3"), ("b", "4")] {
            bench.publish(name, payload);
        }
        let before = After::Before(BEGIN);
        let list = vec![missed("b", before), missed("a", at(first, 1)), missed("b", before)];
        assert_eq!(history(&mut bench, list.clone()), shown(&["b:2", "a:3", "b:4"]));
        let fails = missed("nobody", at(first, 1));
        assert_eq!(history(&mut bench, [list, vec![fails]].concat()), None);
        assert_eq!(history(&mut bench, vec![]), shown(&[]));
    }

    #[test]
    fn messages_after_the_upper_bound_are_not_wanted() {
        let (mut bench, stamps) = three(9);
        let until = |seq| Missed { until: seq, ..missed("a", After::Before(BEGIN)) };
        assert_eq!(history(&mut bench, vec![until(stamps[1].seq)]), shown(&["a:1", "a:2"]));
        assert_eq!(history(&mut bench, vec![until(Seq(stamps[1].seq.0 - 1))]), shown(&["a:1"]));
        assert_eq!(history(&mut bench, vec![until(Seq(0))]), shown(&[]));
    }

    #[test]
    fn what_lies_beyond_the_reach_is_gone() {
        let (mut bench, stamps) = three(9);
        let two = Reach { count: 2, ..Reach::EVERYTHING };
        // Three seconds ago, two seconds ago, a second ago.
        let young = Reach { age: 3 * SECOND, ..Reach::EVERYTHING };
        for reach in [two, young] {
            assert_eq!(ask(&mut bench, vec![missed("a", at(stamps[0], 1))], reach), shown(&["a:2", "a:3"]));
            assert_eq!(ask(&mut bench, vec![missed("a", at(stamps[0], 0))], reach), None);
            assert_eq!(ask(&mut bench, vec![missed("a", After::Seq(stamps[0].seq))], reach), shown(&["a:2", "a:3"]));
            assert_eq!(ask(&mut bench, vec![missed("a", After::Seq(Seq(stamps[0].seq.0 - 1)))], reach), None);
            assert_eq!(ask(&mut bench, vec![missed("a", After::Before(BEGIN + 1))], reach), shown(&["a:2", "a:3"]));
            assert_eq!(ask(&mut bench, vec![missed("a", After::Before(BEGIN))], reach), None);
        }
        let nothing = Reach { count: 0, ..Reach::EVERYTHING };
        assert_eq!(ask(&mut bench, vec![missed("a", at(stamps[0], 3))], nothing), shown(&[]));
        assert_eq!(ask(&mut bench, vec![missed("a", at(stamps[0], 2))], nothing), None);
    }

    #[test]
    fn a_join_replays_at_its_instant_and_goes_live_behind_it() {
        let (mut bench, stamps) = three(9);
        let topics = vec![topic("a", StartAt::Now), topic("new", StartAt::Now)];
        let history = vec![missed("a", at(stamps[0], 1)), missed("new", After::Before(BEGIN + 1))];
        let joined = bench.try_join(0, Join { topics, history: Some(history), ..Join::default() }).unwrap();
        let replay: Vec<String> = joined.replay.unwrap().iter().map(|message| text(message)).collect();
        assert_eq!(replay, ["a:2", "a:3"]);
        assert_eq!(joined.topics[0].from, joined.head.seq);
        bench.publish("a", "4");
        assert_eq!(bench.delivered(0), ["a:4"]);

        let gone = Join {
            topics: vec![topic("b", StartAt::Now)],
            history: Some(vec![missed("a", at(stamps[0], 9))]),
            ..Join::default()
        };
        let joined = bench.try_join(0, gone).unwrap();
        assert!(joined.replay.is_none(), "it is joined all the same");
        let plain = bench.join(0, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
        assert!(plain.replay.is_none());
    }

    /// What a plain list says: every stored message ever, with where it stands.
    struct Plain {
        epoch: u64,
        stamps: Vec<(Stamp, u64)>,
    }

    /// Whatever was published, expired and forgotten: a history is what a list of everything has after that place, or nothing
    /// if one of it is not shown any more.
    #[test]
    fn histories_are_what_plain_lists_say_or_nothing() {
        const COUNT: usize = 6;
        const NAMES: [&str; 3] = ["a", "b", "c"];
        let mut settings = settings();
        settings.window.count = COUNT;
        settings.window.age = 20 * SECOND;
        settings.topic_idle = 5 * SECOND;
        settings.positions_age = 30 * SECOND;
        let mut bench = Bench::new(settings);
        let mut plain: BTreeMap<&str, Plain> = BTreeMap::new();
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let (mut replayed, mut refused) = (0, 0);
        for step in 0..3_000 {
            let mut random = |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 20) % below
            };
            let name = NAMES[random(3) as usize];
            match random(10) {
                0..=3 => {
                    let stored = random(5) > 0;
                    let entry = Entry { store: stored, ..entry(name, &step.to_string()) };
                    let stamp = bench.publish_all(vec![entry]).unwrap()[0].stamp;
                    let at = bench.now.micros;
                    let new = || Plain { epoch: stamp.seq.0, stamps: Vec::new() };
                    let id = bench.hub.topics.find(&name.into()).unwrap();
                    let position = bench.hub.topics.get(id).unwrap().position;
                    if stored {
                        let known = plain.entry(name).or_insert_with(new);
                        if position.offset == 1 {
                            *known = new();
                        }
                        known.stamps.push((stamp, at));
                        assert_eq!(position, Position { epoch: known.epoch, offset: known.stamps.len() as u64 });
                    }
                }
                4 => bench.live(Duration::from_millis(random(4_000))),
                5 if random(8) == 0 => bench.live(Duration::from_secs(15 + random(60))),
                6 if random(8) == 0 => {
                    bench.delete(&[name]);
                    plain.remove(name);
                }
                _ => {
                    let Some(known) = plain.get(name) else { continue };
                    let reach = Reach {
                        count: [usize::MAX, 4, 1][random(3) as usize],
                        age: [Duration::MAX, 20 * SECOND, 7 * SECOND][random(3) as usize],
                    };
                    let micros = bench.now.micros;
                    let length = known.stamps.len();
                    let oldest_shown = length.saturating_sub(reach.count.min(COUNT));
                    let age = reach.age.min(20 * SECOND).as_micros() as u64;
                    let first = (oldest_shown..length).find(|&index| known.stamps[index].1 + age > micros).unwrap_or(length);
                    let offset = random(length as u64 + 2);
                    let until = known.stamps[random(length as u64) as usize].0.seq;
                    let after = at(known.stamps[0].0, offset);
                    let list = vec![Missed { until, ..missed(name, after) }];
                    let Answer::History(replay) = bench.ask(Question::History { missed: list, reach }) else { panic!() };
                    let is_known = match bench.hub.topics.find(&name.into()) {
                        Some(id) => bench.hub.topics.get(id).unwrap().position.epoch == known.epoch,
                        None => bench.hub.positions.find(name, bench.hub.settings.positions_age, micros).is_some(),
                    };
                    let wanted = (is_known && offset >= first as u64 && offset <= length as u64).then(|| {
                        let missed = known.stamps[offset as usize..].iter().map(|(stamp, _)| stamp.seq);
                        missed.filter(|&seq| seq <= until).collect::<Vec<_>>()
                    });
                    let told = replay.map(|messages| messages.iter().map(|message| message.stamp.seq).collect::<Vec<_>>());
                    assert_eq!(told, wanted, "step {step}: {offset} of {length}, shown from {first}");
                    replayed += usize::from(told.is_some_and(|messages| !messages.is_empty()));
                    refused += usize::from(wanted.is_none());
                }
            }
        }
        assert!(replayed > 100 && refused > 100, "{replayed} {refused}");
    }
}
