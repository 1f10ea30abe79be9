//! Documents and issued tokens on a disk for tests.

use super::*;
use crate::exchange::{Condition, Grant, Group, Join, Revocation, TokenDigest, Write, WriteRefusal, Written};
use crate::hub::testing::{GROUP, state};
use std::collections::BTreeMap;

const TOKENS: [TokenDigest; 3] = [TokenDigest([1; 32]), TokenDigest([2; 32]), TokenDigest([3; 32])];

fn deletion(name: &str) -> Write {
    Write { must_exist: true, ..state(name, "null") }
}

impl House {
    fn ask_to_write(&mut self, write: Write) {
        self.handle(ToHub::Write { origin: Bench::origin(0), write });
    }

    /// Writes and commits.
    fn write(&mut self, write: Write) -> Result<Written, WriteRefusal> {
        self.ask_to_write(write);
        self.commit();
        match self.answers().pop() {
            Some((_, Answer::Written(result))) => result,
            other => panic!("{other:?}"),
        }
    }

    fn document(&mut self, name: &str) -> Option<(String, i64)> {
        match self.ask(Question::Document(name.into())) {
            Answer::Document(document) => document.map(|message| (text(&message), message.id)),
            other => panic!("{other:?}"),
        }
    }

    /// Asks and commits.
    fn told(&mut self, question: Question) -> Answer {
        self.handle(ToHub::Ask { origin: Bench::origin(0), question });
        self.commit();
        self.answers().pop().expect("it is answered").1
    }

    fn issue(&mut self, token: TokenDigest, user: &str, until: u64) -> Answer {
        self.told(Question::Issue { token, grant: Grant { group: "g".into(), user: user.into(), until }, user_max: 0 })
    }

    fn user(&mut self, token: TokenDigest) -> Option<String> {
        match self.ask(Question::Grant(token)) {
            Answer::Grant(grant) => grant.map(|grant| grant.user.into()),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn rs_63_documents_and_their_versions_go_on_in_the_next_process() {
    let mut house = House::new(settings());
    let first = house.write(state("$r/ax", "1")).unwrap();
    let second = house.write(state("$r/ax", "[2]")).unwrap();
    let gone = house.write(state("$r/ay", "3")).unwrap();
    let deleted = house.write(deletion("$r/ay")).unwrap();
    assert!(first.version < second.version && gone.version < deleted.version);
    // The wall clock goes back by a minute meanwhile.
    house.bench.now.unix_micros -= 60_000_000;
    let mut house = house.restart(settings(), Duration::ZERO);
    assert_eq!(house.document("$r/ax"), Some(("$r/ax:[2]".into(), second.version)));
    assert_eq!(house.document("$r/ay"), Some(("$r/ay:null".into(), deleted.version)));
    assert_eq!(house.report("").documents, 1);
    assert_eq!(
        house.write(Write { condition: Some(Condition::Version(first.version)), ..state("$r/ax", "4") }),
        Err(WriteRefusal::Mismatch)
    );
    assert_eq!(house.write(deletion("$r/ay")), Err(WriteRefusal::Missing));
    let third = house.write(Write { condition: Some(Condition::Version(second.version)), ..state("$r/ax", "4") }).unwrap();
    assert!(third.version > second.version && !third.created);
    let again = house.write(state("$r/ay", "5")).unwrap();
    assert!(again.version > deleted.version && again.created);
    // The group is full as it was: three may exist.
    house.write(state("$r/az", "6")).unwrap();
    assert_eq!(house.write(state("$r/aw", "7")), Err(WriteRefusal::TooMany));
    house.settle();
    assert_eq!(house.stored_on_disk().len(), 3, "what was replaced is not kept");
}

#[test]
fn a_version_is_not_used_again_although_nothing_is_left_of_its_document() {
    let mut house = House::new(settings());
    house.write(state("$r/ax", "1")).unwrap();
    let deleted = house.write(deletion("$r/ax")).unwrap();
    house.bench.live(house.bench.hub.settings.tombstone_age + SECOND * 2);
    house.settle();
    assert_eq!((house.document("$r/ax"), house.stored_on_disk().len()), (None, 0));
    house.bench.now.unix_micros = BEGIN * 1_000_000;
    let mut house = house.restart(settings(), Duration::ZERO);
    assert!(house.write(state("$r/ax", "2")).unwrap().version > deleted.version);
}

#[test]
fn rs_64_a_write_is_shown_when_it_is_committed_and_a_failed_one_never_was() {
    let mut house = House::new(settings());
    let join = Join { topics: vec![topic("$r/ax", StartAt::Now)], document: Some(GROUP), ..Join::default() };
    house.try_join(1, join).unwrap();
    let first = house.write(state("$r/ax", "1")).unwrap();
    assert_eq!(house.delivered(1), ["$r/ax:1"]);
    for write in [state("$r/ax", "2"), deletion("$r/ax"), state("$r/ax", "3"), state("$r/ay", "4"), state("$r/az", "5")] {
        house.ask_to_write(write);
    }
    // Judged by what is stamped, shown as it is committed.
    house.ask_to_write(state("$r/aw", "6"));
    assert_eq!((house.document("$r/ax"), house.document("$r/ay")), (Some(("$r/ax:1".into(), first.version)), None));
    assert_eq!((house.delivered(1), house.answers().len()), (vec![], 0));
    house.fail();
    let refused =
        |answer: &(u64, Answer)| matches!(answer.1, Answer::Written(Err(WriteRefusal::Unavailable | WriteRefusal::TooMany)));
    let answers = house.answers();
    assert!(answers.len() == 6 && answers.iter().all(refused), "{answers:?}");
    assert_eq!(house.document("$r/ax"), Some(("$r/ax:1".into(), first.version)));
    assert_eq!(house.delivered(1), [""; 0]);
    house.ask_to_write(state("$r/ax", "7"));
    assert!(matches!(house.answers()[..], [(_, Answer::Written(Err(WriteRefusal::Unavailable)))]));
    house.handle(ToHub::Storage(Report::Recovered));
    house.hub.check();
    // Nothing of the failed ones counts: two more may exist, and the condition is that of the one that is there.
    let unchanged = Write { condition: Some(Condition::Version(first.version)), ..state("$r/ax", "8") };
    assert!(!house.write(unchanged).unwrap().created);
    assert!(house.write(state("$r/ay", "9")).unwrap().created && house.write(state("$r/az", "10")).unwrap().created);
    assert_eq!(house.write(state("$r/aw", "11")), Err(WriteRefusal::TooMany));
    assert_eq!(house.delivered(1), ["$r/ax:8"]);
}

#[test]
fn rs_63_issued_tokens_and_revocations_are_there_in_the_next_process() {
    let mut house = House::new(settings());
    let until = BEGIN * 1_000 + 50_000;
    for (token, user) in TOKENS.into_iter().zip(["u", "u", "v"]) {
        assert!(matches!(house.issue(token, user, until), Answer::Issued));
    }
    let mut house = house.restart(settings(), SECOND);
    assert_eq!(TOKENS.map(|token| house.user(token)), [Some("u".into()), Some("u".into()), Some("v".into())]);
    assert!(matches!(house.told(Question::Revoke(Revocation::Token(TOKENS[2]))), Answer::Announced));
    let mut house = house.restart(settings(), SECOND);
    assert_eq!(TOKENS.map(|token| house.user(token).is_some()), [true, true, false]);
    let owner = Revocation::User { group: "g".into(), user: "u".into(), except: None };
    assert!(matches!(house.told(Question::Revoke(owner)), Answer::Announced));
    house.issue(TOKENS[2], "w", until);
    let mut house = house.restart(settings(), SECOND);
    assert_eq!(TOKENS.map(|token| house.user(token)), [None, None, Some("w".into())]);
    house.bench.live(SECOND * 60);
    house.settle();
    assert_eq!((house.user(TOKENS[2]), house.tokens_on_disk()), (None, 0), "an expired one leaves the disk, too");
}

#[test]
fn a_token_whose_commit_fails_was_not_issued_and_a_revocation_not_announced() {
    let mut house = House::new(settings());
    let until = BEGIN * 1_000 + 50_000;
    house.issue(TOKENS[0], "u", until);
    let grant = Grant { group: "g".into(), user: "v".into(), until };
    for question in [Question::Issue { token: TOKENS[1], grant, user_max: 0 }, Question::Revoke(Revocation::Token(TOKENS[0]))] {
        house.handle(ToHub::Ask { origin: Bench::origin(0), question });
    }
    house.inbox(1);
    house.fail();
    assert!(house.inbox(1).is_empty(), "nobody is closed");
    let answers = house.answers();
    let refused = |answer: &(u64, Answer)| matches!(answer.1, Answer::Refused(Refusal::StorageUnavailable));
    assert!(answers.len() == 2 && answers.iter().all(refused), "{answers:?}");
    assert!(matches!(house.issue(TOKENS[1], "v", until), Answer::Refused(Refusal::StorageUnavailable)));
    assert!(matches!(house.told(Question::Revoke(Revocation::Token(TOKENS[0]))), Answer::Refused(Refusal::StorageUnavailable)));
    house.handle(ToHub::Storage(Report::Recovered));
    assert_eq!(TOKENS.map(|token| house.user(token).is_some()), [true, false, false]);
    assert!(matches!(house.issue(TOKENS[1], "v", until), Answer::Issued));
}

#[test]
fn changes_of_tokens_that_failed_but_reached_the_disk_are_taken_back_there() {
    let mut house = House::new(settings());
    let until = BEGIN * 1_000 + 50_000;
    house.issue(TOKENS[0], "u", until);
    house.issue(TOKENS[1], "u", until);
    let last = house.on_disk().head.unwrap();
    let grant = Grant { group: "g".into(), user: "v".into(), until };
    let user = Revocation::User { group: "g".into(), user: "u".into(), except: None };
    for question in [Question::Issue { token: TOKENS[2], grant, user_max: 0 }, Question::Revoke(user)] {
        house.handle(ToHub::Ask { origin: Bench::origin(0), question });
    }
    // They reached the disk, but nobody could say so.
    let mut owed = Batch::default();
    for Unit { batch, .. } in house.units.try_iter() {
        house.storage.as_mut().unwrap().commit(&batch).unwrap();
        owed.add(Batch { head: batch.head, notes: batch.notes, ..Batch::default() });
    }
    house.handle(ToHub::Storage(Report::Failed { generation: 0 }));
    house.storage.as_mut().unwrap().recover(last.seq, &owed).unwrap();
    house.handle(ToHub::Storage(Report::Recovered));
    house.settle();
    let mut house = house.restart(settings(), SECOND);
    assert_eq!(TOKENS.map(|token| house.user(token).is_some()), [true, true, false]);
}

/// Whatever is written, fails and crashes: what was answered is there, with its version, and versions only grow.
#[test]
fn rs_63_what_was_answered_of_documents_is_there_after_any_failures_and_crashes() {
    const NAMES: [&str; 4] = ["$r/aw", "$r/ax", "$r/ay", "$r/az"];
    let group = Group { documents_max: 4, ..GROUP };
    let (mut crashes, mut failures, mut written) = (0, 0, 0);
    for seed in 1..=40 {
        let mut random = Random(seed * 104_729);
        let mut house = House::new(settings());
        // The last answer about each, and what was written since without one.
        let mut known: BTreeMap<&str, (String, i64)> = BTreeMap::new();
        let mut open: Vec<(&str, String)> = Vec::new();
        let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
        let learn =
            |house: &mut House, open: &mut Vec<(&'static str, String)>, known: &mut BTreeMap<&'static str, (String, i64)>| {
                let mut count = 0;
                for (_, answer) in house.answers() {
                    let (name, value) = open.remove(0);
                    match answer {
                        Answer::Written(Ok(Written { version, .. })) => {
                            known.insert(name, (value, version));
                            count += 1;
                        }
                        Answer::Written(Err(WriteRefusal::Unavailable | WriteRefusal::Missing)) => {}
                        other => panic!("{other:?}"),
                    }
                }
                count
            };
        for step in 0..120 {
            let name = NAMES[random.below(4)];
            match random.below(12) {
                0..=5 => {
                    let value = if random.below(4) == 0 { "null".to_owned() } else { step.to_string() };
                    open.push((name, value.clone()));
                    house.ask_to_write(Write { group, must_exist: value == "null", ..state(name, &value) });
                }
                6..=8 => drop(house.commit()),
                9 => {
                    let time = SECOND * random.below(3) as u32;
                    house.bench.live(time);
                }
                10 => {
                    house.fail();
                    failures += 1;
                    written += learn(&mut house, &mut open, &mut known);
                    house.handle(ToHub::Storage(Report::Recovered));
                }
                _ => {
                    // What the thread took may be committed although nobody heard of it.
                    if random.below(2) == 0 {
                        house.commit();
                    }
                    written += learn(&mut house, &mut open, &mut known);
                    open.clear();
                    let back = random.below(5) as u64;
                    house.bench.now.unix_micros -= back * 1_000_000;
                    house = house.restart(settings(), Duration::ZERO);
                    house.hub.check();
                    crashes += 1;
                }
            }
            written += learn(&mut house, &mut open, &mut known);
            for (name, (value, version)) in &known {
                let found = house.document(name).unwrap_or_else(|| panic!("seed {seed}, step {step}: {name} is there"));
                assert_eq!(found, (format!("{name}:{value}"), *version), "seed {seed}, step {step}");
                let newest = newest.entry(name).or_insert(*version);
                assert!(*version >= *newest, "seed {seed}, step {step}: versions only grow");
                *newest = *version;
            }
        }
    }
    assert!(crashes > 200 && failures > 200 && written > 800, "{crashes} {failures} {written}");
}
