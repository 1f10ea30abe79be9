//! `deliver = "before_commit"`: a hub and the storage's own loop, turned by hand.

use super::*;
use crate::exchange::{Condition, Grant, Revocation, TokenDigest, Write, WriteRefusal};
use crate::hub::testing::state;
use crate::storage::thread::Writer;
use std::cell::RefCell;
use std::rc::Rc;

const TOKEN: TokenDigest = TokenDigest([7; 32]);

/// What the loop reported and the hub has not heard yet.
type Reports = Rc<RefCell<Vec<Report>>>;

struct Ahead {
    bench: Bench,
    units: Receiver<Unit>,
    disk: Disk,
    writer: Writer<Box<dyn Fn(Report)>>,
    reports: Reports,
}

impl Deref for Ahead {
    type Target = Bench;
    fn deref(&self) -> &Bench {
        &self.bench
    }
}

impl DerefMut for Ahead {
    fn deref_mut(&mut self) -> &mut Bench {
        &mut self.bench
    }
}

impl Ahead {
    /// A first process whose file says what it does.
    fn new(settings: Settings) -> Ahead {
        let mut ahead =
            Ahead::on(Disk::new(1), settings, Deliver::BeforeCommit, Now { micros: BEGINS, unix_micros: BEGIN * 1_000_000 });
        ahead.settle();
        ahead
    }

    fn on(disk: Disk, settings: Settings, deliver: Deliver, now: Now) -> Ahead {
        let (mut storage, loaded) = disk.load().unwrap();
        let (bench, first, units) = Bench::restored(settings, loaded, deliver, now);
        storage.commit(&first).unwrap();
        let reports = Reports::default();
        let told = reports.clone();
        let report: Box<dyn Fn(Report)> = Box::new(move |report| told.borrow_mut().push(report));
        Ahead { bench, units, disk, writer: Writer::new(Box::new(storage), deliver, first.head.seq, report), reports }
    }

    /// The loop takes what has queued; the hub has not heard of it yet.
    fn turn(&mut self) {
        while let Ok(first) = self.units.try_recv() {
            assert!(self.writer.turn(first, &self.units));
        }
    }

    fn hear(&mut self) {
        for report in self.reports.take() {
            self.bench.handle(ToHub::Storage(report));
        }
    }

    /// Commits all that there is, and whatever follows from that.
    fn commit(&mut self) {
        while !self.units.is_empty() || !self.reports.borrow().is_empty() {
            self.turn();
            self.hear();
        }
    }

    fn settle(&mut self) {
        for _ in 0..20 {
            self.bench.live(SECOND / 10);
            self.commit();
        }
    }

    /// One of the next commit's two syncs fails, although it keeps what was written.
    fn fail_next(&mut self, random: &mut Random) {
        let sync = random.below(2);
        self.disk.with(|state| state.lying_sync = Some(sync));
    }

    /// The process is killed, and another one starts after that time.
    fn restart(self, deliver: Deliver, later: Duration) -> Ahead {
        let Ahead { bench, disk, writer, .. } = self;
        drop(writer);
        disk.lose_power();
        let unix_micros = bench.now.unix_micros + later.as_micros() as u64;
        Ahead::on(disk, bench.hub.settings.clone(), deliver, Now { micros: BEGINS + 7, unix_micros })
    }

    /// The process ends as it should.
    fn stop(&mut self) {
        let now = self.bench.now;
        self.bench.hub.close(now);
        self.turn();
    }

    fn publish_as(&mut self, ticket: u64, entries: Vec<Entry>) {
        let origin = Origin { ticket, ..Bench::origin(0) };
        self.bench.handle(ToHub::Publish { origin, entries, report: None });
    }

    fn ask_as(&mut self, ticket: u64, question: Question) {
        let origin = Origin { ticket, ..Bench::origin(0) };
        self.bench.handle(ToHub::Ask { origin, question });
    }

    fn write_as(&mut self, ticket: u64, write: Write) {
        let origin = Origin { ticket, ..Bench::origin(0) };
        self.bench.handle(ToHub::Write { origin, write });
    }

    fn delete_as(&mut self, ticket: u64, name: &str) {
        let origin = Origin { ticket, ..Bench::origin(0) };
        self.bench.handle(ToHub::Delete { origin, topics: vec![name.into()], payload: b"gone"[..].into() });
    }

    /// Tickets and answers that reactor 0 was given since; what else it was told is forgotten.
    fn answers(&mut self) -> Vec<(u64, Answer)> {
        let answers = self.bench.inbox(0).into_iter().filter_map(|reply| match reply {
            ToReactor::Answer { ticket, answer, .. } => Some((ticket, *answer)),
            _ => None,
        });
        answers.collect()
    }

    fn published(&mut self) -> Published {
        match self.answers().pop() {
            Some((_, Answer::Published { published, .. })) => published[0],
            other => panic!("{other:?}"),
        }
    }

    fn document(&mut self, name: &str) -> Option<(String, i64)> {
        match self.ask(Question::Document(name.into())) {
            Answer::Document(document) => document.map(|message| (text(&message), message.id)),
            other => panic!("{other:?}"),
        }
    }

    fn knows(&mut self, token: TokenDigest) -> bool {
        matches!(self.ask(Question::Grant(token)), Answer::Grant(Some(_)))
    }

    /// What the next process would find, as `topic:payload`.
    fn on_disk(&self) -> Loaded {
        Disk::holding(self.disk.file(), 1).load().unwrap().1
    }

    fn stored_on_disk(&self) -> Vec<String> {
        self.on_disk().messages.iter().map(|stored| text(&stored.message)).collect()
    }
}

fn tickets(answers: &[(u64, Answer)]) -> Vec<u64> {
    answers.iter().map(|(ticket, _)| *ticket).collect()
}

fn is_unavailable(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused(Refusal::StorageUnavailable) | Answer::Written(Err(WriteRefusal::Unavailable)))
}

fn grant(user: &str) -> Grant {
    Grant { group: "g".into(), user: user.into(), until: (BEGIN + 50_000) * 1_000 }
}

#[test]
fn everything_is_delivered_and_read_at_once_and_answered_in_order_when_it_is_committed() {
    let mut ahead = Ahead::new(settings());
    ahead.join(1, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
    let before = ahead.head();
    ahead.publish_as(1, vec![entry("a", "1")]);
    ahead.publish_as(2, vec![unstored("a", "2")]);
    ahead.publish_as(3, vec![keyed("a", "k")]);
    ahead.publish_as(4, vec![keyed("a", "k")]);
    ahead.write_as(5, state("$r/ax", "5"));
    ahead.write_as(6, Write { condition: Some(Condition::Absent), ..state("$r/ax", "6") });
    ahead.ask_as(7, Question::Issue { token: TOKEN, grant: grant("u"), user_max: 0 });
    ahead.delete_as(8, "b");
    ahead.ask_as(9, Question::Announce(Notice::Disconnect { name: "somebody".into(), reconnect: true }));
    assert!(ahead.answers().is_empty(), "nothing is committed");
    let inbox = ahead.inbox(1);
    let texts = inbox.iter().filter_map(|reply| match reply {
        ToReactor::Deliver { message, .. } => Some(text(message)),
        _ => None,
    });
    assert_eq!(texts.collect::<Vec<_>>(), ["a:1", "a:2", "a:keyed"]);
    assert!(matches!(inbox.last(), Some(ToReactor::Announce(_))));
    assert!(ahead.head() > before && ahead.knows(TOKEN));
    assert_eq!(ahead.resume(&["a"], everything()), ["a:1", "a:keyed"]);
    assert_eq!(ahead.document("$r/ax").unwrap().0, "$r/ax:5");
    ahead.answers();
    assert_eq!(ahead.stored_on_disk(), [""; 0]);
    ahead.turn();
    assert!(ahead.answers().is_empty(), "the hub has not heard of it");
    ahead.hear();
    let answers = ahead.answers();
    assert_eq!(tickets(&answers), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert!(matches!(&answers[3].1, Answer::Published { published, .. } if published[0].duplicate));
    assert!(matches!(answers[5].1, Answer::Written(Err(WriteRefusal::Mismatch))));
    assert!(answers.iter().all(|(_, answer)| !is_unavailable(answer)), "{answers:?}");
    assert_eq!(ahead.stored_on_disk(), ["a:1", "a:keyed", "$r/ax:5"]);
    ahead.publish_as(10, vec![unstored("a", "3")]);
    assert_eq!(tickets(&ahead.answers()), [10], "nothing waits before it");
}

#[test]
fn an_answer_waits_for_its_own_commit_only() {
    let mut ahead = Ahead::new(settings());
    ahead.publish_as(1, vec![entry("a", "1")]);
    ahead.turn();
    ahead.publish_as(2, vec![entry("a", "2")]);
    ahead.hear();
    assert_eq!(tickets(&ahead.answers()), [1]);
    ahead.commit();
    assert_eq!(tickets(&ahead.answers()), [2]);
}

#[test]
fn a_deleted_topic_is_gone_at_once_and_one_of_its_name_begins_anew_at_once() {
    let mut ahead = Ahead::new(settings());
    ahead.join(1, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
    ahead.publish_as(1, vec![entry("a", "1")]);
    ahead.delete_as(2, "a");
    ahead.publish_as(3, vec![entry("a", "3")]);
    assert!(matches!(&ahead.inbox(1)[..], [ToReactor::Deliver { .. }, ToReactor::Removed { .. }]));
    assert_eq!(ahead.resume(&["a"], everything()), ["a:3"]);
    assert_eq!(ahead.report("a").rows[0].published, 1);
    assert_eq!(ahead.answers().len(), 0);
    ahead.commit();
    assert_eq!(tickets(&ahead.answers()), [1, 2, 3]);
    assert_eq!(ahead.stored_on_disk(), ["a:3"]);
}

#[test]
fn nothing_is_delivered_before_its_commit_while_the_file_does_not_say_what_is_done() {
    let mut ahead =
        Ahead::on(Disk::new(1), settings(), Deliver::BeforeCommit, Now { micros: BEGINS, unix_micros: BEGIN * 1_000_000 });
    ahead.join(1, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
    ahead.publish_as(1, vec![entry("a", "1")]);
    assert_eq!((ahead.delivered(1).len(), ahead.on_disk().ahead), (0, false));
    ahead.fail_next(&mut Random(3));
    ahead.turn();
    // It failed, and what nobody saw is discarded; the recovery says it in the file.
    ahead.publish_as(2, vec![entry("a", "on its way")]);
    ahead.hear();
    assert_eq!(ahead.delivered(1).len(), 0);
    assert!(matches!(&ahead.answers()[..], [(1, first), (2, second)] if is_unavailable(first) && is_unavailable(second)));
    assert!(ahead.on_disk().ahead);
    ahead.publish_as(3, vec![entry("a", "3")]);
    assert_eq!(ahead.delivered(1), ["a:3"]);
    ahead.commit();
    assert_eq!(tickets(&ahead.answers()), [3]);
    assert_eq!((ahead.stored_on_disk(), ahead.resume(&["a"], everything())), (vec!["a:3".into()], vec!["a:3".to_owned()]));
}

#[test]
fn a_failed_commit_is_told_to_publishers_and_what_was_delivered_is_committed_with_the_recovery() {
    for seed in 1..=8 {
        let (mut ahead, mut random) = (Ahead::new(settings()), Random(seed));
        ahead.join(1, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
        let other = TokenDigest([8; 32]);
        ahead.publish_as(0, vec![entry("a", "0"), entry("gone", "0")]);
        ahead.ask_as(0, Question::Issue { token: other, grant: grant("v"), user_max: 0 });
        ahead.commit();
        ahead.answers();
        ahead.inbox(1);

        ahead.publish_as(1, vec![entry("a", "1"), keyed("a", "k")]);
        ahead.publish_as(2, vec![unstored("a", "2")]);
        ahead.write_as(3, state("$r/ax", "3"));
        ahead.ask_as(4, Question::Issue { token: TOKEN, grant: grant("u"), user_max: 0 });
        ahead.ask_as(5, Question::Revoke(Revocation::Token(other)));
        ahead.delete_as(6, "gone");
        ahead.fail_next(&mut random);
        ahead.turn();
        assert!(matches!(ahead.reports.borrow()[..], [Report::Failed { .. }, Report::Recovered]));
        // On its way when the hub hears of it.
        ahead.publish_as(7, vec![entry("a", "7")]);
        let failed = ahead.reports.borrow_mut().remove(0);
        ahead.handle(ToHub::Storage(failed));
        let answers = ahead.answers();
        assert_eq!(tickets(&answers), [1, 2, 3, 4, 5, 6, 7]);
        for (ticket, answer) in &answers {
            assert_eq!(is_unavailable(answer), *ticket != 2, "{ticket}: {answer:?}");
        }
        let texts = ["a:0", "a:1", "a:keyed", "a:7"];
        assert_eq!(ahead.resume(&["a"], everything()), texts, "it was delivered, and stays");
        assert!(ahead.knows(TOKEN) && !ahead.knows(other));
        assert_eq!(ahead.delivered(1).len(), 4);

        // Nobody is told of something that it is kept while that is unknown.
        ahead.answers();
        ahead.publish_as(8, vec![keyed("a", "k")]);
        ahead.write_as(9, Write { skip_equal: true, ..state("$r/ax", "3") });
        ahead.publish_as(10, vec![entry("a", "10")]);
        ahead.delete_as(11, "a");
        let answers = ahead.answers();
        assert_eq!(tickets(&answers), [8, 9, 10, 11]);
        assert!(answers.iter().all(|(_, answer)| is_unavailable(answer)), "{answers:?}");

        ahead.hear();
        assert_eq!(ahead.stored_on_disk(), ["a:0", "a:1", "a:keyed", "$r/ax:3"], "the recovery committed it");
        ahead.publish_as(12, vec![keyed("a", "k")]);
        ahead.write_as(13, Write { skip_equal: true, ..state("$r/ax", "3") });
        assert!(ahead.answers().is_empty(), "what was on its way is not committed yet");
        ahead.commit();
        let answers = ahead.answers();
        assert!(
            matches!(&answers[..], [(12, Answer::Published { published, .. }), (13, Answer::Written(Ok(_)))] if published[0].duplicate),
            "{answers:?}"
        );
        assert_eq!(ahead.stored_on_disk(), ["a:0", "a:1", "a:keyed", "$r/ax:3", "a:7"]);

        let mut ahead = ahead.restart(Deliver::BeforeCommit, SECOND);
        assert_eq!(ahead.resume(&["a"], everything()), texts);
        assert!(ahead.resume(&["gone"], everything()).is_empty() && ahead.knows(TOKEN) && !ahead.knows(other));
        ahead.publish_as(14, vec![keyed("a", "k")]);
        ahead.commit();
        assert!(ahead.published().duplicate, "its key counts in the next process, too");
    }
}

#[test]
fn offsets_and_versions_that_a_crash_takes_back_are_not_taken_for_those_that_come() {
    let place = |message: &crate::message::Message| (message.epoch, message.offset);
    let delivered = |ahead: &mut Ahead| {
        let found = ahead.inbox(1).into_iter().find_map(|reply| match reply {
            ToReactor::Deliver { message, .. } => Some(message),
            _ => None,
        });
        found.expect("it was delivered")
    };
    let listen = |ahead: &mut Ahead| drop(ahead.join(1, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap());
    let missed = |ahead: &mut Ahead, (epoch, offset)| {
        let missed = vec![Missed { topic: "a".into(), after: After::Offset { epoch, offset }, until: Seq(u64::MAX) }];
        match ahead.ask(Question::History { missed, reach: Default::default() }) {
            Answer::History(replay) => replay.map(|messages| messages.len()),
            other => panic!("{other:?}"),
        }
    };
    let mut ahead = Ahead::new(settings());
    listen(&mut ahead);
    for payload in ["1", "2"] {
        ahead.publish_as(1, vec![entry("a", payload)]);
    }
    ahead.write_as(1, state("$r/ax", "1"));
    ahead.commit();
    ahead.inbox(1);
    ahead.publish_as(1, vec![entry("a", "lost")]);
    ahead.write_as(1, state("$r/ax", "lost"));
    let lost = place(&delivered(&mut ahead));
    let version = ahead.document("$r/ax").unwrap().1;

    // The clock stands still meanwhile, and each end is unlike the one before.
    for deliver in [Deliver::BeforeCommit, Deliver::AfterCommit] {
        ahead = ahead.restart(deliver, Duration::ZERO);
        assert_eq!(ahead.resume(&["a"], everything())[..2], ["a:1", "a:2"]);
        ahead.settle();
        listen(&mut ahead);
        ahead.publish_as(1, vec![entry("a", "next")]);
        ahead.commit();
        let next = place(&delivered(&mut ahead));
        assert!(next.1 == lost.1 && next.0 != lost.0, "{next:?} after {lost:?}");
        assert_eq!((missed(&mut ahead, lost), missed(&mut ahead, (next.0, next.1 - 1))), (None, Some(1)));
        ahead.write_as(1, state("$r/ax", "next"));
        ahead.commit();
        assert!(ahead.document("$r/ax").unwrap().1 > version);
        // An orderly end keeps epochs as they are.
        ahead.stop();
        ahead = ahead.restart(Deliver::BeforeCommit, SECOND);
        assert!(!ahead.on_disk().ahead);
        assert_eq!(
            (missed(&mut ahead, lost), missed(&mut ahead, next), missed(&mut ahead, (next.0, 0))),
            (None, Some(0), Some(3))
        );
        ahead.settle();
        assert!(ahead.on_disk().ahead);
        // What follows is of another life.
        ahead.delete_as(1, "a");
        ahead.publish_as(1, vec![entry("a", "1"), entry("a", "2")]);
        ahead.commit();
    }
}

/// Disk and memory agree whenever all is committed, and whoever was answered finds it, whatever fails and whenever it crashes.
#[test]
fn what_was_answered_is_there_after_failures_and_crashes_and_the_disk_agrees_with_the_memory() {
    let (mut crashes, mut failures, mut answered, mut taken_back) = (0, 0, 0, 0);
    for seed in 1..=40 {
        let mut random = Random(seed * 15_485_863);
        let mut settings = settings();
        settings.window.count = 6;
        let mut ahead = Ahead::new(settings);
        let names = ["a", "b", "c"];
        let listen = |ahead: &mut Ahead| {
            ahead.join(1, names.map(|name| topic(name, StartAt::Now)).to_vec(), Cursor::default()).unwrap();
        };
        listen(&mut ahead);
        let mut ticket = 0;
        // What was delivered, what was answered, and the topics of what is to be.
        let mut seen: Vec<Stamp> = Vec::new();
        let mut safe: Vec<(usize, Seq)> = Vec::new();
        let mut asked: Vec<(u64, usize)> = Vec::new();
        for step in 0..80 {
            match random.below(12) {
                0..=4 => {
                    let name = random.below(3);
                    ticket += 1;
                    asked.push((ticket, name));
                    ahead.publish_as(ticket, vec![entry(names[name], &ticket.to_string())]);
                }
                5 => ahead.publish_as(0, vec![unstored(names[random.below(3)], "u")]),
                6 => ahead.turn(),
                7 => ahead.hear(),
                8 => ahead.commit(),
                9 => ahead.bench.live(Duration::from_millis(random.below(2_000) as u64)),
                // A second failure soon after a recovery would wait for a second.
                10 if failures < seed
                    && ahead.hub.metrics.hub.storage_failures.load(std::sync::atomic::Ordering::Relaxed) == 0 =>
                {
                    failures += 1;
                    ahead.fail_next(&mut random);
                    ahead.publish_as(0, vec![entry("a", "fails")]);
                    ahead.turn();
                }
                10 => {}
                _ => {
                    crashes += 1;
                    ahead.disk.with(|state| state.lying_sync = None);
                    if random.below(2) == 0 {
                        ahead.turn();
                    }
                    let newest = seen.iter().map(|stamp| stamp.seq).max();
                    let orderly = random.below(3) == 0;
                    if orderly {
                        ahead.stop();
                    }
                    asked.clear();
                    ahead = ahead.restart(Deliver::BeforeCommit, Duration::from_micros(random.below(3_000_000) as u64));
                    assert!(newest.is_none_or(|newest| ahead.hub.released.seq > newest), "seed {seed}, step {step}");
                    taken_back += usize::from(ahead.hub.renewed.0 > 0 && !orderly);
                    listen(&mut ahead);
                }
            }
            for reply in ahead.inbox(1) {
                if let ToReactor::Deliver { message, .. } = reply
                    && message.stored
                {
                    assert!(
                        seen.last().is_none_or(|last| last.seq < message.stamp.seq && last.position() < message.stamp.position())
                    );
                    seen.push(message.stamp);
                }
            }
            for (ticket, answer) in ahead.answers() {
                let name = asked.iter().find(|(asked, _)| *asked == ticket);
                if let (Answer::Published { published, .. }, Some(&(_, name))) = (&answer, name) {
                    answered += 1;
                    assert!(seen.contains(&published[0].stamp), "delivered before it is answered");
                    safe.push((name, published[0].stamp.seq));
                }
            }
            for &(name, seq) in &safe {
                let id = ahead.hub.topics.find(&names[name].into()).expect("it has a message");
                let log = &ahead.hub.topics.get(id).unwrap().log;
                let is_there = log.from(0).any(|message| message.stamp.seq == seq);
                assert!(is_there || log.oldest().unwrap().stamp.seq > seq, "seed {seed}, step {step}: {seq:?} is lost");
            }
            if ahead.units.is_empty() && ahead.reports.borrow().is_empty() && random.below(4) == 0 {
                ahead.settle();
                let in_memory = |name: &str| {
                    let topic = ahead.hub.topics.find(&name.into()).and_then(|id| ahead.hub.topics.get(id));
                    topic.map_or(Vec::new(), |topic| topic.log.from(0).map(|message| message.stamp.seq).collect())
                };
                let mut memory: Vec<Seq> = names.iter().flat_map(|name| in_memory(name)).collect();
                memory.sort_unstable();
                let disk: Vec<Seq> = ahead.on_disk().messages.iter().map(|stored| stored.message.stamp.seq).collect();
                assert_eq!(disk, memory, "seed {seed}, step {step}");
            }
        }
    }
    assert!(crashes > 150 && failures > 20 && answered > 500 && taken_back > 80, "{crashes} {failures} {answered} {taken_back}");
}
