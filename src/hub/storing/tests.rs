//! A hub, its engine and a database on a disk for tests; the storage's thread is the test.

mod ahead;
mod documents;
mod records;

use crate::clock::{BEGINS, Now};
use crate::exchange::{After, Answer, Cursor, Entry, Missed, Notice, Published, Question, Refusal, StartAt};
use crate::hub::request::{Origin, ToHub, ToReactor};
use crate::hub::testing::{BEGIN, Bench, after, entry, settings, text, topic};
use crate::hub::{Settings, Window};
use crate::message::{Seq, Stamp};
use crate::storage::faulty::{Disk, Random};
use crate::storage::redb::Redb;
use crate::storage::thread::Unit;
use crate::storage::{Batch, Deliver, Loaded, Report, Storage};
use crossbeam_channel::Receiver;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

struct House {
    bench: Bench,
    units: Receiver<Unit>,
    disk: Disk,
    storage: Option<Redb<Disk>>,
}

impl Deref for House {
    type Target = Bench;
    fn deref(&self) -> &Bench {
        &self.bench
    }
}

impl DerefMut for House {
    fn deref_mut(&mut self) -> &mut Bench {
        &mut self.bench
    }
}

impl House {
    fn new(settings: Settings) -> House {
        House::on(Disk::new(1), settings, Now { micros: BEGINS, unix_micros: BEGIN * 1_000_000 })
    }

    fn on(disk: Disk, settings: Settings, now: Now) -> House {
        let (mut storage, loaded) = disk.load().unwrap();
        let (bench, first, units) = Bench::restored(settings, loaded, Deliver::AfterCommit, now);
        storage.commit(&first).unwrap();
        House { bench, units, disk, storage: Some(storage) }
    }

    /// What was wanted to be committed is; returns how many units that were.
    fn commit(&mut self) -> usize {
        let units: Vec<Unit> = self.units.try_iter().collect();
        for unit in &units {
            self.storage.as_mut().unwrap().commit(&unit.batch).unwrap();
            self.bench.handle(ToHub::Storage(Report::Committed(unit.number)));
        }
        units.len()
    }

    /// Lets time pass, and commits whatever is wanted to be.
    fn settle(&mut self) {
        for _ in 0..20 {
            self.bench.live(SECOND / 10);
            self.commit();
        }
    }

    /// The process is killed, and another one starts after that time.
    fn restart(mut self, settings: Settings, later: Duration) -> House {
        self.storage = None;
        self.disk.lose_power();
        let unix_micros = self.now.unix_micros + later.as_micros() as u64;
        House::on(self.disk, settings, Now { micros: BEGINS + 7, unix_micros })
    }

    fn ask_to_publish(&mut self, ticket: u64, entries: Vec<Entry>) {
        let origin = Origin { ticket, ..Bench::origin(0) };
        self.bench.handle(ToHub::Publish { origin, entries, report: None });
    }

    /// Publishes and commits.
    fn put(&mut self, entries: Vec<Entry>) -> Vec<Published> {
        self.ask_to_publish(1, entries);
        self.commit();
        match self.answers().pop() {
            Some((1, Answer::Published { published, .. })) => published.into_vec(),
            other => panic!("{other:?}"),
        }
    }

    fn put_one(&mut self, name: &str, payload: &str) -> Stamp {
        self.put(vec![entry(name, payload)])[0].stamp
    }

    /// Tickets and answers that reactor 0 was given since.
    fn answers(&mut self) -> Vec<(u64, Answer)> {
        let answers = self.bench.inbox(0).into_iter().filter_map(|reply| match reply {
            ToReactor::Answer { ticket, answer, .. } => Some((ticket, *answer)),
            _ => None,
        });
        answers.collect()
    }

    fn fail(&mut self) -> Vec<Unit> {
        let units = self.units.try_iter().collect();
        let generation = self.bench.hub.engine.durable().unwrap().generation();
        self.bench.handle(ToHub::Storage(Report::Failed { generation }));
        units
    }

    fn on_disk(&mut self) -> Loaded {
        self.storage = None;
        let (storage, loaded) = self.disk.load().unwrap();
        self.storage = Some(storage);
        loaded
    }

    fn stored_on_disk(&mut self) -> Vec<String> {
        self.on_disk().messages.iter().map(|stored| text(&stored.message)).collect()
    }

    fn tokens_on_disk(&mut self) -> usize {
        self.on_disk().tokens.len()
    }
}

fn keyed(name: &str, key: &str) -> Entry {
    Entry { key: Some(key.into()), ..entry(name, "keyed") }
}

fn unstored(name: &str, payload: &str) -> Entry {
    Entry { store: false, ..entry(name, payload) }
}

fn everything() -> Cursor {
    Cursor { stamp: Some((0, None)), event: None }
}

#[test]
fn a_stored_message_is_delivered_answered_and_read_when_it_is_committed_and_not_before() {
    let mut house = House::new(settings());
    house.join(1, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
    house.ask_to_publish(5, vec![entry("a", "1")]);
    house.ask_to_publish(6, vec![unstored("a", "2")]);
    assert_eq!(house.delivered(1), [""; 0], "an unstored message does not pass it");
    assert!(house.answers().is_empty());
    let before = house.head();
    assert_eq!(house.resume(&["a"], everything()), [""; 0]);
    assert_eq!(house.commit(), 1, "the unstored one needs no commit");
    assert_eq!(house.delivered(1), ["a:1", "a:2"]);
    let answers = house.answers();
    assert_eq!(answers.iter().map(|(ticket, _)| *ticket).collect::<Vec<_>>(), [5, 6]);
    assert!(house.head() > before);
    assert_eq!(house.resume(&["a"], everything()), ["a:1"]);
    house.ask_to_publish(7, vec![unstored("a", "3")]);
    assert_eq!(house.delivered(1), ["a:3"], "nothing waits before it");
}

#[test]
fn a_repeated_key_waits_for_the_answer_of_the_first() {
    let mut house = House::new(settings());
    house.ask_to_publish(1, vec![keyed("a", "k")]);
    house.ask_to_publish(2, vec![keyed("a", "k")]);
    assert!(house.answers().is_empty());
    house.commit();
    let published: Vec<Published> = house
        .answers()
        .into_iter()
        .map(|(_, answer)| match answer {
            Answer::Published { published, .. } => published[0],
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(published[1], Published { duplicate: true, ..published[0] });
}

#[test]
fn a_failed_commit_takes_back_all_that_was_not_committed() {
    let mut house = House::new(settings());
    house.join(1, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
    let first = house.put_one("a", "1");
    house.ask_to_publish(2, vec![entry("a", "2"), keyed("a", "k"), entry("new", "3")]);
    house.ask_to_publish(3, vec![keyed("a", "k")]);
    house.ask_to_publish(4, vec![unstored("a", "4")]);
    let notice = Notice::Disconnect { name: "somebody".into(), reconnect: true };
    let origin = Origin { ticket: 5, ..Bench::origin(0) };
    house.handle(ToHub::Ask { origin, question: Question::Announce(notice) });
    house.handle(ToHub::Delete { origin: Origin { ticket: 6, ..origin }, topics: vec!["a".into()], payload: b""[..].into() });
    house.ask_to_publish(7, vec![entry("a", "behind the deletion")]);
    house.inbox(1);
    house.bench.inbox(0);
    let units = house.fail();
    let lost = units.last().unwrap().batch.head;
    let inbox = house.inbox(1);
    assert!(matches!(inbox[..], [ToReactor::Announce(_)]), "{inbox:?}");
    let answers = house.answers();
    for (place, ticket) in [2, 3, 4, 5, 6, 7].into_iter().enumerate() {
        let (told, answer) = &answers[place];
        let refused = matches!(answer, Answer::Refused(Refusal::StorageUnavailable));
        assert!(*told == ticket && (refused || ticket == 5 && matches!(answer, Answer::Announced)), "{answers:?}");
    }
    assert_eq!(house.resume(&["a", "new"], everything()), ["a:1"]);

    // Nobody is kept waiting while it fails; what is not stored goes on.
    for (ticket, entries) in [(8, vec![entry("a", "5")]), (9, vec![Entry { store: false, ..keyed("a", "j") }])] {
        house.ask_to_publish(ticket, entries);
        assert!(matches!(house.answers()[..], [(told, Answer::Refused(Refusal::StorageUnavailable))] if told == ticket));
    }
    house.handle(ToHub::Delete { origin, topics: vec!["a".into()], payload: b""[..].into() });
    assert!(matches!(house.answers()[..], [(5, Answer::Refused(Refusal::StorageUnavailable))]));
    house.ask_to_publish(10, vec![unstored("a", "6")]);
    assert_eq!(house.delivered(1), ["a:6"]);
    house.inbox(0);
    house.live(SECOND * 3);
    assert_eq!(house.units.try_iter().count(), 0);

    house.handle(ToHub::Storage(Report::Recovered));
    let again = house.put(vec![keyed("a", "k")])[0];
    assert!(!again.duplicate && again.stamp > lost, "its key counts for nothing, and no stamp is given twice");
    let delivered = house.inbox(1).into_iter().find_map(|reply| match reply {
        ToReactor::Deliver { message, .. } => Some((message.id, message.epoch, message.offset)),
        _ => None,
    });
    assert_eq!(delivered, Some((3, first.seq.0, 2)), "the ids and offsets behind the last ones that were seen");
    assert_eq!(house.resume(&["a"], after(first)), ["a:keyed"]);
    assert!(!house.gap(&["a"], after(first)));
    // The report of the generation before comes to nothing.
    assert_eq!(house.units.try_iter().count(), 0);
}

#[test]
fn while_too_much_waits_for_the_disk_publications_are_refused_as_busy() {
    let mut house = House::new(settings());
    let payload = "x".repeat(1 << 20);
    for ticket in 0..80 {
        house.ask_to_publish(ticket, vec![entry("a", &payload)]);
    }
    assert!(house.answers().is_empty(), "in the order in which it was asked");
    house.commit();
    let answers = house.answers();
    assert!(answers.iter().map(|(ticket, _)| *ticket).eq(0..80), "{answers:?}");
    let refused = answers.iter().filter(|(_, answer)| matches!(answer, Answer::Refused(Refusal::Busy))).count();
    assert!((10..20).contains(&refused), "{refused}");
    house.put_one("a", "there is room again");
}

#[test]
fn what_is_published_behind_a_deletion_is_of_a_topic_that_begins_anew() {
    let mut house = House::new(settings());
    house.join(1, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
    house.put_one("a", "1");
    house.ask_to_publish(2, vec![entry("a", "2")]);
    house.inbox(1);
    house.handle(ToHub::Delete { origin: Bench::origin(0), topics: vec!["a".into()], payload: b"gone"[..].into() });
    house.ask_to_publish(3, vec![entry("a", "3")]);
    house.ask_to_publish(4, vec![entry("b", "4")]);
    while house.commit() > 0 {}
    let answers = house.answers();
    let tickets: Vec<u64> = answers.iter().map(|(ticket, _)| *ticket).collect();
    assert_eq!(tickets, [2, 9, 3, 4], "in the order in which it was asked");
    assert!(matches!(answers[1].1, Answer::Deleted(1)));
    let inbox = house.inbox(1);
    assert!(matches!(&inbox[..], [ToReactor::Deliver { message, .. }, ToReactor::Removed { .. }] if text(message) == "a:2"));
    assert_eq!(house.stored_on_disk(), ["a:3", "b:4"], "the deletion is committed when it is answered");
    let mut house = house.restart(settings(), SECOND);
    assert_eq!(house.resume(&["a", "b"], everything()), ["a:3", "b:4"]);
    assert_eq!(house.report("a").rows[0].published, 1);
}

#[test]
fn a_deleted_topic_does_not_come_back_with_the_next_process() {
    let mut house = House::new(settings());
    let first = house.put_one("a", "1");
    house.put_one("b", "2");
    house.handle(ToHub::Delete { origin: Bench::origin(0), topics: vec!["a".into()], payload: b""[..].into() });
    assert_eq!(house.commit(), 1);
    let mut house = house.restart(settings(), SECOND);
    assert_eq!(house.resume(&["a", "b"], everything()), ["b:2"]);
    let before = Cursor { stamp: Some((first.seconds, Some(0))), event: None };
    assert!(house.gap(&["a"], before), "what it had is not forgotten");
}

#[test]
fn a_process_goes_on_where_the_one_before_it_stopped() {
    let mut settings = settings();
    settings.window.count = 3;
    let mut house = House::new(settings.clone());
    let stamps: Vec<Stamp> = (1..=5).map(|n| house.put_one("a", &n.to_string())).collect();
    let other = house.put_one("b", "x");
    house.settle();
    let begins = house.hub.history_begins;
    let mut house = house.restart(settings, SECOND * 60);
    assert_eq!((house.hub.history_begins, house.hub.totals.published, house.hub.totals.stored), (begins, 6, 4));
    assert_eq!(house.resume(&["a", "b"], everything()), ["a:3", "a:4", "a:5", "b:x"]);
    assert_eq!(house.resume(&["a", "b"], after(stamps[3])), ["a:5", "b:x"]);
    assert!(!house.gap(&["a"], after(stamps[1])) && house.gap(&["a"], after(stamps[0])), "the gap begins where it did");
    assert!(house.gap(&["a"], Cursor { stamp: Some((BEGIN - 1, None)), event: None }), "of before the first process");
    let missed = |after| Question::History {
        missed: vec![Missed { topic: "a".into(), after, until: Seq(u64::MAX) }],
        reach: Default::default(),
    };
    let epoch = stamps[0].seq.0;
    for (offset, expected) in [(4, Some(1)), (2, Some(3)), (1, None), (6, None)] {
        let Answer::History(replay) = house.ask(missed(After::Offset { epoch, offset })) else { panic!("a history") };
        assert_eq!(replay.map(|messages| messages.len()), expected, "after offset {offset}");
    }
    assert!(house.head() > other);
    house.join(1, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
    let next = house.put_one("a", "6");
    assert!(next.seq > other.seq && next.position() > other.position());
    let Some(ToReactor::Deliver { message, .. }) = house.inbox(1).pop() else { panic!("it was delivered") };
    assert_eq!((message.id, message.epoch, message.offset), (6, epoch, 6));
}

#[test]
fn ages_go_on_by_the_wall_clock() {
    let mut settings = settings();
    settings.window.age = SECOND * 100;
    let mut house = House::new(settings.clone());
    house.put(vec![keyed("a", "k")]);
    house.bench.live(SECOND * 50);
    house.put(vec![keyed("a", "j")]);
    house.settle();
    let mut house = house.restart(settings.clone(), SECOND * 40);
    assert_eq!(house.resume(&["a"], everything()), ["a:keyed", "a:keyed"]);
    house.bench.live(SECOND * 10);
    assert_eq!(house.resume(&["a"], everything()), ["a:keyed"], "the first one is 102 seconds old");
    let known = |house: &mut House, key| house.put(vec![unstored_key(key)])[0].duplicate;
    assert!(known(&mut house, "k") && known(&mut house, "j"), "keys count for 120 seconds");
    house.bench.live(SECOND * 20);
    assert!(!known(&mut house, "k") && known(&mut house, "j"));
    house.settle();
    let mut house = house.restart(settings, SECOND * 3_600);
    assert_eq!(house.resume(&["a"], everything()), [""; 0]);
    house.settle();
    assert_eq!(house.stored_on_disk(), [""; 0]);
}

fn unstored_key(key: &str) -> Entry {
    Entry { store: false, ..keyed("a", key) }
}

#[test]
fn an_idle_topics_position_is_remembered_over_a_restart_and_then_forgotten() {
    let mut settings = settings();
    settings.window.age = SECOND;
    let mut house = House::new(settings.clone());
    let first = house.put_one("a", "1");
    house.settle();
    assert_eq!(house.bench.report("a").rows.len(), 1);
    let mut house = house.restart(settings.clone(), SECOND * 2);
    let row = house.report("a").rows.remove(0);
    assert_eq!((row.published, row.stored), (1, 0), "the topic is idle, its message too old");
    house.bench.live(SECOND * 40);
    house.settle();
    assert!(house.report("a").rows.is_empty());
    let mut house = house.restart(settings.clone(), SECOND * 100);
    house.put_one("a", "2");
    let id = house.hub.topics.find(&"a".into()).unwrap();
    assert_eq!(house.hub.topics.get(id).unwrap().position.offset, 2);
    assert_eq!(house.hub.topics.get(id).unwrap().position.epoch, first.seq.0);
    house.bench.live(SECOND * 40);
    house.settle();
    let mut house = house.restart(settings, SECOND * 4_000);
    house.put_one("a", "3");
    let id = house.hub.topics.find(&"a".into()).unwrap();
    assert_eq!(house.hub.topics.get(id).unwrap().position.offset, 1, "nobody asks for it after an hour");
}

#[test]
fn the_newest_stamp_is_committed_within_a_second_although_nothing_is_stored() {
    let mut house = House::new(settings());
    house.settle();
    house.ask_to_publish(1, vec![unstored("a", "1")]);
    let given = house.hub.sequencer.last();
    assert_eq!(house.commit(), 0);
    house.bench.live(SECOND);
    assert_eq!(house.commit(), 1);
    house.bench.live(SECOND * 5);
    assert_eq!(house.commit(), 0, "nothing happens, nothing is committed");
    let house = house.restart(settings(), Duration::ZERO);
    assert!(house.hub.released.seq > given.seq);
}

#[test]
fn a_clock_that_steps_back_between_two_processes_gives_no_stamp_twice() {
    let mut house = House::new(settings());
    let last = house.put_one("a", "1");
    house.storage = None;
    let now = Now { micros: BEGINS, unix_micros: (BEGIN - 500) * 1_000_000 };
    let mut house = House::on(house.disk, settings(), now);
    let next = house.put_one("a", "2");
    assert!(next.seq > last.seq && next.position() > last.position());
    assert_eq!(house.resume(&["a"], after(last)), ["a:2"]);
    assert_eq!(house.resume(&["a"], everything()), ["a:1", "a:2"]);
}

#[test]
fn what_windows_evict_leaves_the_disk_a_thousand_at_a_time() {
    let mut settings = settings();
    settings.window = Window { count: 10, ..settings.window };
    let mut house = House::new(settings);
    for _ in 0..3 {
        house.put((0..1_000).map(|n| entry("a", &n.to_string())).collect());
    }
    house.live(SECOND);
    let units: Vec<Unit> = house.units.try_iter().collect();
    assert!(units.iter().all(|unit| unit.batch.rows() <= 1_001));
    for unit in units {
        house.storage.as_mut().unwrap().commit(&unit.batch).unwrap();
    }
    house.settle();
    assert_eq!(house.stored_on_disk(), (990..1_000).map(|n| format!("a:{n}")).collect::<Vec<_>>());
}

#[test]
fn events_are_told_but_not_stored_while_storage_fails() {
    let mut settings = settings();
    settings.events_topic = Some("events".into());
    let mut house = House::new(settings);
    house.join(1, vec![topic("events", StartAt::Now)], Cursor::default()).unwrap();
    house.fail();
    house.inbox(1);
    house.join(0, vec![topic("new", StartAt::Now)], Cursor::default()).unwrap();
    assert_eq!(house.delivered(1).len(), 2, "created, subscribed");
    house.handle(ToHub::Storage(Report::Recovered));
    assert_eq!(house.resume(&["events"], everything()), [""; 0]);
}

/// A second process is told of the same messages, offsets and gaps as the first one would have told.
#[test]
fn whatever_happened_before_a_restart_every_cursor_gets_the_same_after_it() {
    for seed in 1..=16 {
        let mut random = Random(seed * 977);
        let mut settings = settings();
        settings.window = Window { count: 4, age: SECOND * 30, ..settings.window };
        settings.topic_idle = SECOND * 10;
        settings.positions_age = SECOND * 50;
        let mut house = House::new(settings.clone());
        let names = ["a", "b", "c", "d"];
        let mut stamps = vec![house.hub.released];
        for _ in 0..3 {
            for _ in 0..30 {
                let name = names[random.below(names.len())];
                match random.below(10) {
                    0..=4 => {
                        let payload = random.below(1_000).to_string();
                        stamps.extend(house.put(vec![entry(name, &payload)]).iter().map(|published| published.stamp));
                    }
                    5 => drop(house.put(vec![unstored(name, "u")])),
                    6 => drop(house.put(vec![keyed(name, &random.below(3).to_string())])),
                    7 => {
                        let topics = vec![name.into()];
                        house.handle(ToHub::Delete { origin: Bench::origin(0), topics, payload: b""[..].into() });
                        house.commit();
                    }
                    _ => {
                        let time = Duration::from_millis(random.below(8_000) as u64);
                        house.bench.live(time);
                        house.commit();
                    }
                }
            }
            house.settle();
            let shown = |house: &mut House| {
                let mut all = Vec::new();
                for name in names {
                    for stamp in &stamps {
                        all.push((house.resume(&[name], after(*stamp)), house.gap(&[name], after(*stamp))));
                    }
                    all.push((house.resume(&[name], everything()), false));
                    let id = house.hub.topics.find(&name.into()).unwrap();
                    let topic = house.hub.topics.get(id).unwrap();
                    let place = (topic.released(), topic.last_stored().unwrap_or_default());
                    all.push((vec![format!("{name} {place:?}")], false));
                }
                all
            };
            let duplicates = |house: &House| {
                let keys = names.iter().flat_map(|name| ["0", "1", "2"].map(|key| (name.to_owned().into(), Box::from(key))));
                let age = settings.key_age;
                keys.map(|key: (crate::message::TopicName, Box<str>)| house.hub.keys.find(&key, age, house.now.micros))
                    .collect::<Vec<_>>()
            };
            let (before, known) = (shown(&mut house), duplicates(&house));
            // Joins make topics, whose beginning the next process does not know.
            let mut next = house.restart(settings.clone(), Duration::ZERO);
            assert_eq!(duplicates(&next), known, "seed {seed}");
            for (place, (after, before)) in shown(&mut next).into_iter().zip(before).enumerate() {
                assert_eq!(after.0, before.0, "seed {seed}, {place}");
                assert!(after.1 || !before.1, "seed {seed}, {place}: a gap is hidden");
                let over_careful = after.1 && !before.1 && !after.0.is_empty();
                assert!(!over_careful, "seed {seed}, {place}: a gap is told where there is none");
            }
            house = next;
        }
    }
}

#[test]
fn recovery_deletes_what_a_failed_commit_may_have_left() {
    let mut house = House::new(settings());
    let last = house.put_one("a", "1");
    house.ask_to_publish(2, vec![entry("a", "2")]);
    let lost = house.units.try_iter().next().unwrap().batch;
    // It reached the disk, but nobody could say so.
    house.storage.as_mut().unwrap().commit(&lost).unwrap();
    house.handle(ToHub::Storage(Report::Failed { generation: 0 }));
    let owed = Batch { head: lost.head, ..Batch::default() };
    house.storage.as_mut().unwrap().recover(last.seq, &owed).unwrap();
    house.handle(ToHub::Storage(Report::Recovered));
    house.put_one("a", "3");
    assert_eq!(house.stored_on_disk(), ["a:1", "a:3"]);
    let mut house = house.restart(settings(), SECOND);
    assert_eq!(house.resume(&["a"], everything()), ["a:1", "a:3"]);
}

/// Whoever was answered or was delivered a message finds it, whatever fails and whenever the power goes.
#[test]
fn what_was_answered_or_delivered_is_there_after_failures_and_crashes() {
    let (mut crashes, mut failures, mut answered) = (0, 0, 0);
    for seed in 1..=40 {
        let mut random = Random(seed * 6_151);
        let mut house = House::on(Disk::new(seed), settings(), Now { micros: BEGINS, unix_micros: BEGIN * 1_000_000 });
        let names = ["a", "b", "c"];
        let listen = |house: &mut House| {
            house.join(1, names.map(|name| topic(name, StartAt::Now)).to_vec(), Cursor::default()).unwrap();
        };
        listen(&mut house);
        let (mut asked, mut safe, mut last) = (Vec::<Vec<String>>::new(), Vec::<(String, Stamp)>::new(), Seq(0));
        for _ in 0..60 {
            match random.below(10) {
                0..=4 => {
                    let ticket = asked.len() as u64;
                    let list: Vec<Entry> = (0..1 + random.below(3))
                        .map(|n| Entry { store: random.below(4) > 0, ..entry(names[random.below(3)], &format!("{ticket}.{n}")) })
                        .collect();
                    let is_stored = |entry: &&Entry| entry.store;
                    let shown = |entry: &Entry| format!("{}:{}", entry.topic, String::from_utf8_lossy(&entry.payload));
                    asked.push(list.iter().filter(is_stored).map(shown).collect());
                    house.ask_to_publish(ticket, list);
                }
                5 | 6 => {
                    for unit in house.units.try_iter().take(1 + random.below(4)).collect::<Vec<_>>() {
                        house.storage.as_mut().unwrap().commit(&unit.batch).unwrap();
                        last = last.max(unit.batch.head.seq);
                        house.bench.handle(ToHub::Storage(Report::Committed(unit.number)));
                    }
                }
                7 => house.bench.live(Duration::from_millis(random.below(3_000) as u64)),
                8 if house.units.is_empty() => {}
                8 => {
                    failures += 1;
                    let mut owed = Batch::default();
                    for Unit { batch, .. } in house.fail() {
                        owed.add(Batch { head: batch.head, notes: batch.notes, ..Batch::default() });
                    }
                    house.storage.as_mut().unwrap().recover(last, &owed).unwrap();
                    last = owed.head.seq;
                    house.bench.handle(ToHub::Storage(Report::Recovered));
                }
                _ => {
                    crashes += 1;
                    house.disk.with(|state| state.left = Some(random.below(40)));
                    for unit in house.units.try_iter().collect::<Vec<_>>() {
                        if house.storage.as_mut().unwrap().commit(&unit.batch).is_err() {
                            break;
                        }
                        last = last.max(unit.batch.head.seq);
                        house.bench.handle(ToHub::Storage(Report::Committed(unit.number)));
                    }
                    note_what_was_seen(&mut house, &asked, &mut safe, &mut answered);
                    house = house.restart(settings(), Duration::from_micros(random.below(3_000_000) as u64));
                    last = house.hub.released.seq;
                    listen(&mut house);
                }
            }
            note_what_was_seen(&mut house, &asked, &mut safe, &mut answered);
        }
        let mut house = house.restart(settings(), SECOND);
        let joined = house.join(0, names.map(|name| topic(name, StartAt::Cursor)).to_vec(), everything()).unwrap();
        let there: Vec<(String, Stamp)> =
            house.read(&joined, Seq(0)).messages.iter().map(|(_, message)| (text(message), message.stamp)).collect();
        for seen in &safe {
            let found = there.iter().filter(|message| message.0 == seen.0).collect::<Vec<_>>();
            assert_eq!(found, [seen], "seed {seed}");
        }
        assert!(there.windows(2).all(|pair| pair[0].1 < pair[1].1 && pair[0].1.position() < pair[1].1.position()), "seed {seed}");
    }
    assert!(crashes > 100 && failures > 100 && answered > 500, "{crashes} crashes, {failures} failures, {answered} answers");
}

/// The stored messages that somebody was answered or delivered since.
fn note_what_was_seen(house: &mut House, asked: &[Vec<String>], safe: &mut Vec<(String, Stamp)>, answered: &mut usize) {
    let mut seen = Vec::new();
    for reply in house.inbox(1) {
        if let ToReactor::Deliver { message, .. } = reply
            && message.stored
        {
            seen.push((text(&message), message.stamp));
        }
    }
    for (ticket, answer) in house.answers() {
        if let Answer::Published { published, .. } = answer {
            *answered += 1;
            // Deliveries come first, so each stored message of the answer was just delivered.
            let stamps: Vec<Stamp> = published.iter().map(|published| published.stamp).collect();
            for stored in &asked[ticket as usize] {
                assert!(seen.iter().any(|(text, stamp)| text == stored && stamps.contains(stamp)), "{stored} was delivered");
            }
        }
    }
    safe.extend(seen);
}

#[test]
fn a_cursor_that_names_a_second_as_a_whole_does_not_pass_what_still_waits_in_it() {
    let mut house = House::new(settings());
    let first = house.put_one("a", "1");
    house.ask_to_publish(2, vec![entry("a", "2")]);
    let second = Cursor { stamp: Some((first.seconds, None)), event: None };
    let start = house.join(1, vec![topic("a", StartAt::Cursor)], second).unwrap().start.unwrap();
    assert_eq!(start, first.position(), "the cursor that a poll is answered with");
    house.commit();
    let then = Cursor { stamp: Some((start.0, Some(start.1.into()))), event: None };
    assert_eq!(house.resume(&["a"], then), ["a:2"]);
}

#[test]
fn a_topic_whose_only_message_fails_after_its_idle_time_is_forgotten() {
    let mut house = House::new(settings());
    house.settle();
    house.ask_to_publish(1, vec![entry("a", "1")]);
    house.bench.live(SECOND * 40);
    assert_eq!(house.bench.report("").topics, 1, "its message waits");
    house.fail();
    house.bench.live(SECOND * 40);
    assert_eq!(house.bench.report("").topics, 0);
}

#[test]
fn an_unstored_message_that_waits_keeps_its_topic_for_who_joins_meanwhile() {
    let mut house = House::new(settings());
    house.settle();
    house.ask_to_publish(1, vec![entry("b", "1")]);
    house.ask_to_publish(2, vec![unstored("a", "2")]);
    house.bench.live(SECOND * 40);
    house.join(1, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
    house.commit();
    assert_eq!(house.delivered(1), ["a:2"], "it comes behind the head at which was joined");
    house.ask_to_publish(3, vec![entry("b", "3"), unstored("c", "4")]);
    house.fail();
    house.bench.live(SECOND * 40);
    let row = |house: &House, name: &str| house.hub.topics.find(&name.into()).is_some();
    assert!(row(&house, "a") && !row(&house, "c"), "what failed keeps nothing");
}

#[test]
fn what_waits_counts_against_the_bytes_of_all_logs() {
    let mut settings = settings();
    settings.log_bytes_max = 10_000;
    let mut house = House::new(settings);
    for ticket in 0..9 {
        house.ask_to_publish(ticket, vec![entry("a", &"x".repeat(3_000))]);
    }
    house.fail();
    house.handle(ToHub::Storage(Report::Recovered));
    house.answers();
    for ticket in 0..9 {
        house.ask_to_publish(ticket, vec![entry("a", &"x".repeat(3_000))]);
    }
    house.commit();
    let refused = |answer: &&(u64, Answer)| matches!(answer.1, Answer::Refused(Refusal::OutOfMemory));
    assert_eq!(house.answers().iter().filter(refused).count(), 6);
    assert!(house.hub.totals.log_bytes <= 10_000, "{}", house.hub.totals.log_bytes);
}

#[test]
fn events_do_not_pile_up_while_too_much_waits_for_the_disk() {
    let mut settings = settings();
    settings.events_topic = Some("events".into());
    let mut house = House::new(settings);
    let payload = "x".repeat(1 << 20);
    for ticket in 0..70 {
        house.ask_to_publish(ticket, vec![entry("a", &payload)]);
    }
    let waiting = house.hub.engine.durable().unwrap().pending_bytes();
    for _ in 0..10 {
        let joined = house.join(1, vec![topic("b", StartAt::Now)], Cursor::default()).unwrap();
        house.leave(1, &joined);
    }
    assert_eq!(house.hub.engine.durable().unwrap().pending_bytes(), waiting);
    assert_eq!(house.metrics.hub.storage_pending_bytes.load(std::sync::atomic::Ordering::Relaxed), waiting as u64);
}

#[test]
fn a_deletion_that_failed_but_reached_the_disk_takes_nothing_from_the_next_process() {
    let mut house = House::new(settings());
    let last = house.put_one("a", "1");
    house.handle(ToHub::Delete { origin: Bench::origin(0), topics: vec!["a".into()], payload: b""[..].into() });
    let lost = house.units.try_iter().next().unwrap().batch;
    // It reached the disk, but nobody could say so.
    house.storage.as_mut().unwrap().commit(&lost).unwrap();
    house.handle(ToHub::Storage(Report::Failed { generation: 0 }));
    assert!(matches!(house.answers()[..], [(9, Answer::Refused(Refusal::StorageUnavailable))]));
    let owed = Batch { head: lost.head, ..Batch::default() };
    house.storage.as_mut().unwrap().recover(last.seq, &owed).unwrap();
    house.handle(ToHub::Storage(Report::Recovered));
    assert_eq!(house.resume(&["a"], everything()), ["a:1"]);
    house.settle();
    let mut house = house.restart(settings(), SECOND);
    assert_eq!(house.resume(&["a"], everything()), ["a:1"]);
}
