//! Records on a disk for tests.

use super::*;
use crate::exchange::{
    Alter, AlterRefusal, Alteration, Grant, Join, JoinRecords, Joined, NewRecord, Notice, Revocation, TokenDigest, owner_topic,
};
use crate::hub::Waiting;
use crate::hub::testing::{ENDPOINT, account, alter, create, delete, new_record, put, shown, with_endpoint};
use crate::record::{Record, RecordId};
use crate::storage::{Notes, Remains};
use std::collections::BTreeMap;
use std::sync::Arc;

impl House {
    fn ask_to_alter(&mut self, alter: Alter) {
        self.handle(ToHub::Alter { origin: Bench::origin(0), alter: Box::new(alter) });
    }

    /// The same, one more of those that are not answered.
    fn ask_openly(&mut self, open: &mut Vec<Alter>, alter: Alter) {
        open.push(alter.clone());
        self.ask_to_alter(alter);
    }

    /// Alters and commits.
    fn alter(&mut self, alter: Alter) -> Result<Vec<Arc<Record>>, AlterRefusal> {
        self.ask_to_alter(alter);
        self.commit();
        self.altered().pop().expect("it is answered")
    }

    fn altered(&mut self) -> Vec<Result<Vec<Arc<Record>>, AlterRefusal>> {
        let altered = self.answers().into_iter().map(|(_, answer)| match answer {
            Answer::Altered(result) => result,
            other => panic!("{other:?}"),
        });
        altered.collect()
    }

    fn all(&mut self) -> Vec<Arc<Record>> {
        match self.ask(Question::Records { endpoint: ENDPOINT.into(), of: None }) {
            Answer::Records(records, _) => records.iter().cloned().collect(),
            other => panic!("{other:?}"),
        }
    }

    fn named(&mut self, name: &str) -> Option<u128> {
        match self.ask(Question::RecordNamed { endpoint: ENDPOINT.into(), name: name.into() }) {
            Answer::RecordNamed(record) => record.map(|record| record.id.0),
            other => panic!("{other:?}"),
        }
    }

    fn listen(&mut self, name: &str, start: StartAt) -> Joined {
        let records = JoinRecords { endpoint: ENDPOINT.into(), generation: 1, snapshot: None };
        self.try_join(1, Join { topics: vec![topic(name, start)], records: Some(records), ..Join::default() }).unwrap()
    }

    /// Seqs of what somebody is given who has everything up to there, unless some of it is gone.
    fn missed(&mut self, name: &str, since: Seq) -> Option<Vec<Seq>> {
        let joined = self.listen(name, StartAt::After(since));
        let page = self.read(&joined, joined.topics[0].from);
        self.leave(1, &joined);
        (!joined.gap).then(|| page.messages.iter().map(|(_, message)| message.stamp.seq).collect())
    }

    fn records_on_disk(&mut self) -> Vec<String> {
        self.on_disk().records.iter().map(|(_, record)| shown(record)).collect()
    }
}

fn owners(owner: u128) -> String {
    owner_topic(&ENDPOINT.into(), RecordId(owner)).to_string()
}

fn user(id: u128, name: &str) -> NewRecord {
    NewRecord { account: account(&[name]), ..new_record(id, Some(id), "{}") }
}

fn register(id: u128, name: &str) -> Alter {
    alter(Alteration::Create(vec![user(id, name)]))
}

#[test]
fn ep_79_records_users_and_times_go_on_in_the_next_process() {
    let mut house = House::new(with_endpoint(1));
    house.alter(create(1, Some(5), "1")).unwrap();
    house.alter(create(2, None, "2")).unwrap();
    house.alter(register(3, "anna")).unwrap();
    house.alter(create(4, Some(5), "4")).unwrap();
    let last = house.alter(put(1, "5")).unwrap()[0].clone();
    house.alter(delete(2)).unwrap();
    let before = house.all();
    // The wall clock goes back by a minute meanwhile.
    house.bench.now.unix_micros -= 60_000_000;
    let mut house = house.restart(with_endpoint(1), Duration::ZERO);
    assert_eq!(house.all(), before, "with ids, owners, times, places and accounts");
    assert_eq!((house.named("anna"), house.records(Some(5))), (Some(3), vec!["1:5".to_owned(), "4:4".to_owned()]));
    assert_eq!(house.alter(register(6, "anna")), Err(AlterRefusal::Taken(0)));
    assert_eq!(house.alter(delete(2)), Err(AlterRefusal::Missing));
    let next = house.alter(put(1, "6")).unwrap()[0].clone();
    assert_eq!((next.updated, next.created, next.place), (last.updated + 1, last.created, last.place));
    house.alter(create(7, None, "7")).unwrap();
    assert_eq!(house.records(None), ["1:6", "3:{}", "4:4", "7:7"], "what is new is behind what was there");
    assert_eq!(house.hub.totals.records, 4);
}

#[test]
fn ep_80_ep_82_changes_are_told_when_they_are_committed_and_missed_ones_are_there_in_the_next_process() {
    let mut settings = with_endpoint(1);
    settings.window.count = 4;
    let mut house = House::new(settings.clone());
    let before = house.head().seq;
    let joined = house.listen(&owners(5), StartAt::Now);
    house.ask_to_alter(create(1, Some(5), "1"));
    assert_eq!((house.delivered(1).len(), house.all().len()), (0, 0));
    house.commit();
    assert_eq!((house.delivered(1).len(), house.all().len()), (1, 1));
    house.leave(1, &joined);
    house.answers();
    for id in 2..=3 {
        house.alter(create(id, Some(6), "0")).unwrap();
    }
    house.alter(put(1, "2")).unwrap();
    let seqs = house.missed(ENDPOINT, before).unwrap();
    let own = house.missed(&owners(5), before).unwrap();
    assert_eq!((seqs.len(), own.len()), (4, 2));
    let mut house = house.restart(settings.clone(), SECOND);
    let all =
        |house: &mut House, since| [ENDPOINT.to_owned(), owners(5), owners(6), owners(7)].map(|name| house.missed(&name, since));
    let six = vec![seqs[1], seqs[2]];
    assert_eq!(all(&mut house, before), [Some(seqs.clone()), Some(own.clone()), Some(six.clone()), Some(vec![])]);
    assert_eq!(house.missed(&owners(5), own[0]), Some(vec![own[1]]));
    // The endpoint's oldest goes, and with it what the owner's topic had of it after another start.
    house.alter(delete(3)).unwrap();
    house.settle();
    assert_eq!(house.on_disk().messages.len(), 4);
    assert_eq!(house.missed(&owners(5), before), None);
    let mut house = house.restart(settings, SECOND);
    assert_eq!(all(&mut house, before), [None, None, None, None]);
    let newest = house.missed(ENDPOINT, seqs[0]).unwrap();
    assert_eq!(newest[..3], seqs[1..]);
    assert_eq!(house.missed(&owners(5), seqs[0]), Some(vec![own[1]]));
    assert_eq!(house.missed(&owners(6), seqs[0]), Some([&six[..], &newest[3..]].concat()));
    // Positions of the owner's topic go on: what comes next is behind it.
    house.alter(put(1, "9")).unwrap();
    assert_eq!(house.missed(&owners(5), own[1]).map(|seqs| seqs.len()), Some(1));
}

#[test]
fn ep_82_an_owners_topic_leaves_nothing_on_disk_and_its_lives_are_one_after_a_start() {
    let aged = |seconds| {
        let mut settings = with_endpoint(1);
        settings.window.age = SECOND * seconds;
        settings
    };
    let mut house = House::new(aged(5));
    let before = house.head().seq;
    house.alter(create(1, Some(5), "1")).unwrap();
    house.listen(ENDPOINT, StartAt::Now);
    let earlier = house.on_disk().messages;
    house.bench.live(SECOND * 6);
    house.settle();
    let left = |house: &mut House| {
        let loaded = house.on_disk();
        (loaded.topics.iter().filter(|(name, _)| *name == owners(5).as_str().into()).count(), loaded.removed)
    };
    assert_eq!((left(&mut house), house.on_disk().messages.len()), ((0, Stamp::default()), 0));
    let idle = house.hub.settings.topic_idle;
    house.bench.live(idle * 2);
    house.settle();
    assert!(house.hub.topics.find(&owners(5).as_str().into()).is_none());
    assert_eq!(left(&mut house), (0, Stamp::default()));
    // It begins anew; the process is killed before all that was evicted is gone on disk, and the next one keeps it for longer.
    house.alter(put(1, "2")).unwrap();
    let notes = Notes { again: earlier, ..Notes::default() };
    let head = house.on_disk().head.unwrap();
    house.storage.as_mut().unwrap().commit(&Batch { head, notes, ..Batch::default() }).unwrap();
    let mut house = house.restart(aged(1_000), SECOND);
    assert_eq!(house.missed(ENDPOINT, before).map(|seqs| seqs.len()), Some(2));
    assert_eq!(house.missed(&owners(5), before).map(|seqs| seqs.len()), Some(2));
    house.alter(put(1, "3")).unwrap();
    assert_eq!(house.missed(&owners(5), before).map(|seqs| seqs.len()), Some(3));
    // What an earlier version left of owners' topics goes.
    let remains = Remains { floor: Stamp::default(), epoch: 1, offset: 1, published: 0, forgotten: None };
    let topics = [(owners(5).as_str().into(), Some(remains)), (owners(6).as_str().into(), Some(remains))].into_iter().collect();
    let (head, notes) = (house.on_disk().head.unwrap(), Notes { topics, ..Notes::default() });
    house.storage.as_mut().unwrap().commit(&Batch { head, notes, ..Batch::default() }).unwrap();
    let mut house = house.restart(aged(1_000), SECOND);
    house.settle();
    assert_eq!(left(&mut house).0, 0);
    assert!(house.hub.topics.find(&owners(6).as_str().into()).is_none());
}

#[test]
fn what_an_owners_topic_evicts_first_stays_on_disk_for_the_endpoints() {
    let mut house = House::new(with_endpoint(1));
    house.alter(create(1, Some(5), "1")).unwrap();
    let id = house.hub.topics.find(&owners(5).as_str().into()).unwrap();
    let message = house.hub.topics.get(id).unwrap().log.newest().unwrap().clone();
    assert!(!house.hub.topics.get(id).unwrap().owns(&message));
    // Its name is deleted like any other topic's: what is stored is the endpoint's.
    house.handle(ToHub::Delete { origin: Bench::origin(0), topics: vec![owners(5).as_str().into()], payload: b""[..].into() });
    house.commit();
    house.settle();
    assert_eq!(house.on_disk().messages.len(), 1);
    assert!(house.missed(ENDPOINT, Seq(message.stamp.seq.0 - 1)).is_some_and(|seqs| seqs == [message.stamp.seq]));
}

#[test]
fn a_failed_commit_takes_back_all_alterations_and_nobody_hears_of_them() {
    let mut house = House::new(with_endpoint(1));
    house.alter(register(1, "anna")).unwrap();
    house.alter(create(2, Some(5), "2")).unwrap();
    let before = house.all();
    house.listen(ENDPOINT, StartAt::Now);
    house.listen(&owners(5), StartAt::Now);
    house.inbox(1);
    let renamed = || {
        let Alteration::Replace { id, kind, data, .. } = put(1, "{}").what else { panic!() };
        alter(Alteration::Replace { id, by: None, kind, data, unchanged_since: None, account: account(&["bert"]) })
    };
    let few = |alter| Alter { records_max: 3, ..alter };
    let asked = [
        put(2, "3"),
        few(create(3, Some(5), "3")),
        few(create(4, None, "4")),
        delete(2),
        renamed(),
        register(5, "anna"),
        put(3, "5"),
    ];
    asked.into_iter().for_each(|alter| house.ask_to_alter(alter));
    assert_eq!((house.delivered(1).len(), house.altered().len()), (0, 0));
    house.fail();
    let refused = house.altered();
    assert!(refused.len() == 7 && refused.iter().all(|result| *result == Err(AlterRefusal::Unavailable)), "{refused:?}");
    assert_eq!((house.all(), house.named("anna"), house.named("bert")), (before, Some(1), None));
    assert_eq!(house.alter(put(2, "0")), Err(AlterRefusal::Unavailable));
    house.handle(ToHub::Storage(Report::Recovered));
    house.hub.check();
    assert_eq!(house.delivered(1), [""; 0]);
    // Nothing of the failed ones counts.
    assert_eq!(house.alter(register(5, "anna")), Err(AlterRefusal::Taken(0)));
    house.alter(renamed()).unwrap();
    house.alter(few(create(3, Some(5), "6"))).unwrap();
    assert_eq!(house.alter(few(create(4, None, "7"))), Err(AlterRefusal::TooMany));
    assert_eq!(house.records(None), ["1:{}", "2:2", "3:6"]);
    assert_eq!(house.delivered(1).len(), 3, "two of the endpoint, one of the owner");
}

#[test]
fn alterations_that_failed_but_reached_the_disk_are_taken_back_there() {
    let mut house = House::new(with_endpoint(1));
    for id in 1..=3 {
        house.alter(create(id, Some(id), &id.to_string())).unwrap();
    }
    let last = house.on_disk().head.unwrap();
    for alter in [put(1, "9"), put(1, "8"), delete(2), create(4, None, "4"), put(4, "5"), delete(3)] {
        house.ask_to_alter(alter);
    }
    // They reached the disk, but nobody could say so.
    let mut owed = Batch::default();
    for Unit { batch, .. } in house.units.try_iter() {
        house.storage.as_mut().unwrap().commit(&batch).unwrap();
        owed.add(Batch { head: batch.head, notes: batch.notes, ..Batch::default() });
    }
    assert_eq!(house.records_on_disk(), ["1:8", "4:5"]);
    house.handle(ToHub::Storage(Report::Failed { generation: 0 }));
    house.storage.as_mut().unwrap().recover(last.seq, &owed).unwrap();
    house.handle(ToHub::Storage(Report::Recovered));
    // At once, and not when something else is committed: the process may be killed before that.
    assert_eq!(house.commit(), 1);
    let expected = ["1:1", "2:2", "3:3"];
    assert_eq!(
        (house.records(None), house.records_on_disk()),
        (expected.map(str::to_owned).into(), expected.map(str::to_owned).into())
    );
    let mut house = house.restart(with_endpoint(1), SECOND);
    assert_eq!(house.records(None), expected);
    house.alter(create(4, None, "6")).unwrap();
    assert_eq!(house.records(None), ["1:1", "2:2", "3:3", "4:6"]);
}

#[test]
fn configured_users_are_created_once_and_after_a_failure() {
    let with_users = |first: u128| {
        let mut settings = with_endpoint(1);
        settings.endpoints[0].users = vec![user(first, "anna"), user(first + 1, "bert")];
        settings
    };
    let mut house = House::new(with_users(1));
    house.live(Duration::ZERO);
    house.fail();
    assert_eq!(house.records(None), [""; 0]);
    house.live(SECOND * 3);
    house.handle(ToHub::Storage(Report::Recovered));
    house.settle();
    assert_eq!(house.records(None), ["1:{}", "2:{}"]);
    house.alter(delete(2)).unwrap();
    let mut house = house.restart(with_users(11), SECOND);
    house.settle();
    assert_eq!(house.records(None), ["1:{}", "12:{}"]);
    assert_eq!((house.named("anna"), house.named("bert")), (Some(1), Some(12)));
}

#[test]
fn configured_users_are_created_again_after_a_failure_of_their_own_and_not_of_others() {
    let mut settings = with_endpoint(1);
    settings.endpoints[0].users = vec![user(1, "anna"), user(2, "bert"), user(3, "carl")];
    let mut house = House::new(settings.clone());
    house.live(Duration::ZERO);
    // Two of them are committed, the third one is not.
    let units: Vec<Unit> = house.units.try_iter().take(2).collect();
    for unit in units {
        house.storage.as_mut().unwrap().commit(&unit.batch).unwrap();
        house.handle(ToHub::Storage(Report::Committed(unit.number)));
    }
    house.fail();
    assert_eq!(house.records(None), ["1:{}", "2:{}"]);
    house.handle(ToHub::Storage(Report::Recovered));
    assert_eq!(house.alter(delete(2)).map(|records| records.len()), Ok(1));
    house.settle();
    assert_eq!(house.records(None), ["1:{}", "3:{}"]);
    // Nobody creates anew who was there and was deleted.
    house.alter(delete(3)).unwrap();
    for _ in 0..2 {
        house.ask_to_alter(create(4, None, "4"));
        house.fail();
        house.handle(ToHub::Storage(Report::Recovered));
        house.settle();
    }
    assert_eq!(house.records(None), ["1:{}"]);
    // Somebody else's creation of that name fails while they are looked for.
    house.ask_to_alter(register(5, "bert"));
    house.handle(ToHub::Settings(Box::new(settings)));
    house.live(Duration::ZERO);
    house.fail();
    house.handle(ToHub::Storage(Report::Recovered));
    house.settle();
    assert_eq!(house.records(None), ["1:{}", "2:{}", "3:{}"]);
}

#[test]
fn what_waits_for_the_disk_counts_with_what_it_replaces() {
    let mut house = House::new(with_endpoint(1));
    let large = "1".repeat(1 << 20);
    for id in 0..80 {
        house.alter(create(id, None, &large)).unwrap();
    }
    (0..80).for_each(|id| house.ask_to_alter(put(id, "1")));
    while house.commit() > 0 {}
    let refused = house.altered().into_iter().filter(|result| *result == Err(AlterRefusal::Unavailable)).count();
    assert!((10..20).contains(&refused), "{refused}");
    house.alter(put(79, "2")).unwrap();
}

#[test]
fn a_removed_endpoint_is_remembered_from_process_to_process_and_ends_in_its_time() {
    let mut house = House::new(with_endpoint(1));
    for id in 1..=3 {
        house.alter(create(id, None, "0")).unwrap();
    }
    house.handle(ToHub::Settings(Box::new(settings())));
    house.settle();
    assert_eq!(house.on_disk().endpoints.len(), 1);
    let mut house = house.restart(settings(), SECOND * 60);
    house.settle();
    // In time: it comes back, and nothing is left of its removal.
    let mut house = house.restart(with_endpoint(1), SECOND * 20);
    house.settle();
    assert_eq!((house.records(None).len(), house.on_disk().endpoints.len()), (3, 0));
    // Once more, and nobody in the next processes says how long it is kept.
    house.handle(ToHub::Settings(Box::new(settings())));
    house.settle();
    let mut house = house.restart(settings(), SECOND * 50);
    house.settle();
    assert_eq!(house.records_on_disk().len(), 3);
    let mut house = house.restart(settings(), SECOND * 50);
    house.settle();
    assert_eq!((house.records_on_disk().len(), house.on_disk().endpoints.len(), house.hub.totals.records), (0, 0, 0));
    let mut house = house.restart(with_endpoint(1), SECOND);
    assert_eq!(house.records(None), [""; 0]);
}

#[test]
fn what_is_half_deleted_when_the_process_is_killed_does_not_come_back_and_what_is_new_stays() {
    let mut house = House::new(with_endpoint(1));
    let many = |ids: std::ops::Range<u128>| ids.map(|id| user(id, &id.to_string())).collect();
    house.alter(Alter { records_max: 9_999, ..alter(Alteration::Create(many(0..6_000))) }).unwrap();
    let seen = house.head().seq;
    house.handle(ToHub::Settings(Box::new(settings())));
    house.settle();
    house.bench.pass(SECOND * 100);
    house.tick();
    assert_eq!(house.hub.totals.records, 6_000 - 512);
    house.handle(ToHub::Settings(Box::new(with_endpoint(2))));
    house.alter(register(1, "1")).unwrap();
    house.bench.live(SECOND / 10);
    assert_eq!(house.hub.totals.records, 6_001 - 512 - 4_096, "more of them when these are gone on disk");
    house.commit();
    let on_disk = |house: &mut House| {
        let loaded = house.on_disk();
        (loaded.records.len() as u64, loaded.endpoints.len(), loaded.leaving.len())
    };
    assert!(on_disk(&mut house).0 > 1);
    // Its wall clock shows a time when the endpoint would not have been over.
    house.bench.now.unix_micros -= 90_000_000;
    let mut house = house.restart(with_endpoint(2), Duration::ZERO);
    assert_eq!((house.records(None), house.named("1"), house.named("2")), (vec!["1:{}".to_owned()], Some(1), None));
    house.bench.live(Duration::ZERO);
    house.commit();
    // Not even if it is not configured now.
    let mut house = house.restart(settings(), Duration::ZERO);
    (0..2).for_each(|_| house.settle());
    assert_eq!((on_disk(&mut house), house.hub.totals.records), ((1, 1, 0), 1));
    let mut house = house.restart(with_endpoint(1), Duration::ZERO);
    house.settle();
    assert_eq!((house.records(None), on_disk(&mut house)), (vec!["1:{}".to_owned()], (1, 0, 0)));
    assert_eq!(house.missed(ENDPOINT, seen), None, "nobody was told that they went");
}

#[test]
fn ep_82_who_comes_back_to_another_process_when_the_records_went_begins_anew() {
    let mut house = House::new(with_endpoint(1));
    house.alter(create(1, Some(5), "1")).unwrap();
    let seen = house.head().seq;
    let time = house.hub.settings.window.age + 3 * house.hub.settings.topic_idle;
    house.bench.live(time);
    house.handle(ToHub::Settings(Box::new(settings())));
    house.settle();
    assert!(house.hub.topics.find(&ENDPOINT.into()).is_none());
    let mut house = house.restart(with_endpoint(1), SECOND * 200);
    assert_eq!([ENDPOINT.to_owned(), owners(5)].map(|name| house.missed(&name, seen)), [None, None]);
    house.settle();
    assert_eq!((house.records(None).len(), house.records_on_disk().len()), (0, 0));
}

#[test]
fn ep_82_messages_about_records_that_went_are_none_although_they_are_still_on_disk() {
    let mut house = House::new(with_endpoint(1));
    house.alter(create(0, Some(5), "1")).unwrap();
    let left = house.on_disk().messages;
    let many = (1..600).map(|id| new_record(id, Some(5), "1")).collect();
    house.alter(alter(Alteration::Create(many))).unwrap();
    let seen = house.head().seq;
    house.handle(ToHub::Settings(Box::new(settings())));
    house.bench.pass(SECOND * 100);
    house.tick();
    house.put_one("a", "1");
    let on_disk = house.on_disk();
    assert_eq!((on_disk.records.len(), on_disk.leaving.len(), on_disk.messages.len()), (600 - 512, 1, 1));
    // Of many messages the last ones are deleted later, and the process is killed before.
    let (head, notes) = (on_disk.head.unwrap(), Notes { again: left, ..Notes::default() });
    house.storage.as_mut().unwrap().commit(&Batch { head, notes, ..Batch::default() }).unwrap();
    let mut house = house.restart(with_endpoint(1), SECOND);
    assert_eq!([ENDPOINT.to_owned(), owners(5)].map(|name| house.missed(&name, seen)), [None, None]);
    house.alter(create(0, Some(5), "2")).unwrap();
    assert_eq!([ENDPOINT.to_owned(), owners(5)].map(|name| house.missed(&name, seen)), [None, None]);
    (0..2).for_each(|_| house.settle());
    assert_eq!((house.records_on_disk(), house.on_disk().messages.len()), (vec!["0:2".to_owned()], 2));
}

#[test]
fn users_go_with_their_endpoint_when_it_is_committed_that_their_tokens_did() {
    let mut house = House::new(with_endpoint(1));
    house.alter(register(1, "anna")).unwrap();
    let (group, user) = ("$endpoint\u{1f}s\u{1f}p".into(), RecordId(1).to_string().into());
    let (token, grant) = (TokenDigest([1; 32]), Grant { group, user, until: u64::MAX });
    house.handle(ToHub::Ask { origin: Bench::origin(0), question: Question::Issue { token, grant, user_max: 0 } });
    house.commit();
    house.handle(ToHub::Settings(Box::new(settings())));
    house.settle();
    house.bench.live(SECOND * 98);
    house.fail();
    assert_eq!((house.hub.totals.records, house.hub.tokens.find(token, 0).is_some()), (1, true));
    house.bench.live(SECOND * 2);
    house.handle(ToHub::Storage(Report::Recovered));
    (0..2).for_each(|_| house.settle());
    assert_eq!((house.hub.totals.records, house.records_on_disk().len(), house.tokens_on_disk()), (0, 0, 0));
}

/// A token of that user that never ends by itself.
fn issue(house: &mut House, user: u128, number: u8) {
    let (group, user) = ("$endpoint\u{1f}s\u{1f}p".into(), RecordId(user).to_string().into());
    let (token, grant) = (TokenDigest([number; 32]), Grant { group, user, until: u64::MAX });
    house.handle(ToHub::Ask { origin: Bench::origin(0), question: Question::Issue { token, grant, user_max: 0 } });
    house.commit();
    assert!(matches!(house.answers()[..], [(_, Answer::Issued)]));
}

#[test]
fn tokens_of_users_who_go_with_their_endpoint_are_revoked_a_few_at_a_time_and_once() {
    let mut house = House::new(with_endpoint(1));
    house.alter(register(1, "anna")).unwrap();
    (1..=70).for_each(|number| issue(&mut house, 1, number));
    house.handle(ToHub::Settings(Box::new(settings())));
    house.settle();
    house.inbox(1);
    // A disk that takes its time is not asked again.
    house.bench.live(SECOND * 110);
    let mut told = Vec::new();
    let mut rounds = 0;
    while house.hub.totals.records > 0 {
        let waiting = house.hub.waiting.iter().filter(|(_, waiting)| matches!(waiting, Waiting::Revoked(_))).count();
        assert!(waiting <= 1, "{waiting}");
        house.commit();
        let revoked: Vec<TokenDigest> = house
            .inbox(1)
            .iter()
            .filter_map(|reply| match reply {
                ToReactor::Announce(notice) => match **notice {
                    Notice::Revoked(Revocation::Token(token)) => Some(token),
                    _ => panic!("{notice:?}"),
                },
                _ => None,
            })
            .collect();
        assert!(revoked.len() <= 32, "{}", revoked.len());
        told.extend(revoked);
        house.bench.live(SECOND * 5);
        rounds += 1;
        assert!(rounds < 10);
    }
    house.settle();
    told.sort_unstable_by_key(|token| token.0);
    assert_eq!(told, (1..=70).map(|number| TokenDigest([number; 32])).collect::<Vec<_>>(), "each once");
    assert_eq!((house.records_on_disk().len(), house.tokens_on_disk()), (0, 0));
}

#[test]
fn what_leaves_twice_before_a_kill_is_deleted_whole_by_the_next_process() {
    let mut house = House::new(with_endpoint(1));
    for id in [1, 2] {
        house.alter(register(id, "anna")).unwrap();
        issue(&mut house, id, id as u8);
        house.handle(ToHub::Settings(Box::new(settings())));
        house.commit();
        // The tokens can't be revoked meanwhile, and so the records are only set aside.
        house.fail();
        house.bench.live(SECOND * 101);
        house.handle(ToHub::Storage(Report::Recovered));
        house.handle(ToHub::Settings(Box::new(with_endpoint(id as u64 + 1))));
        house.commit();
        assert_eq!(house.all(), []);
    }
    let disk = house.on_disk();
    assert_eq!((disk.leaving.len(), disk.records.len(), disk.tokens.len()), (1, 2, 2));
    let mut house = house.restart(settings(), SECOND);
    house.settle();
    house.settle();
    assert_eq!((house.records_on_disk(), house.tokens_on_disk()), (vec![], 0));
    let mut house = house.restart(with_endpoint(9), SECOND);
    assert_eq!(house.all(), []);
    house.alter(register(3, "anna")).unwrap();
}

/// Whatever is altered, fails and crashes: what was answered is there, as it was answered, and so is every message about it.
#[test]
fn ep_79_ep_80_what_was_answered_of_records_is_there_after_any_failures_and_crashes() {
    let (mut crashes, mut failures, mut altered) = (0, 0, 0);
    for seed in 1..=25 {
        let mut random = Random(seed * 104_729);
        let mut house = House::new(with_endpoint(1));
        // The history has begun.
        house.settle();
        let begin = house.head().seq;
        let (mut known, mut open): (BTreeMap<u128, Arc<Record>>, Vec<Alter>) = Default::default();
        // How many changes were answered of each owner, and of all.
        let mut counts = [0; 4];
        let learn =
            |house: &mut House, open: &mut Vec<Alter>, known: &mut BTreeMap<u128, Arc<Record>>, counts: &mut [usize; 4]| {
                for result in house.altered() {
                    let alter = open.remove(0);
                    match (result, alter.what) {
                        (Ok(records), Alteration::Delete { .. }) => {
                            assert_eq!(known.remove(&records[0].id.0), Some(records[0].clone()));
                            counts[records[0].owner.unwrap().0 as usize] += 1;
                            counts[3] += 1;
                        }
                        (Ok(records), Alteration::Create(_) | Alteration::Replace { .. }) => {
                            counts[records[0].owner.unwrap().0 as usize] += 1;
                            counts[3] += 1;
                            known.extend(records.into_iter().map(|record| (record.id.0, record)));
                        }
                        (Err(AlterRefusal::Unavailable | AlterRefusal::Missing), _) => {}
                        (Err(other), _) => panic!("{other:?}"),
                    }
                }
            };
        for step in 0..100 {
            let id = random.below(6) as u128;
            match random.below(14) {
                0..=3 => house.ask_openly(&mut open, create(id, Some(id % 3), &step.to_string())),
                4 | 5 => house.ask_openly(&mut open, put(id, &step.to_string())),
                6 => house.ask_openly(&mut open, delete(id)),
                7..=9 => drop(house.commit()),
                10 | 11 => {
                    let time = SECOND * random.below(3) as u32;
                    house.bench.live(time);
                }
                12 => {
                    house.fail();
                    failures += 1;
                    learn(&mut house, &mut open, &mut known, &mut counts);
                    house.handle(ToHub::Storage(Report::Recovered));
                }
                _ => {
                    if random.below(2) == 0 {
                        house.commit();
                    }
                    learn(&mut house, &mut open, &mut known, &mut counts);
                    open.clear();
                    let back = random.below(5) as u64;
                    house.bench.now.unix_micros -= back * 1_000_000;
                    house = house.restart(with_endpoint(1), Duration::ZERO);
                    house.hub.check();
                    crashes += 1;
                    for (owner, count) in counts.into_iter().enumerate() {
                        let name = if owner == 3 { ENDPOINT.to_owned() } else { owners(owner as u128) };
                        assert_eq!(house.missed(&name, begin).map(|seqs| seqs.len()), Some(count), "seed {seed}, step {step}");
                    }
                }
            }
            learn(&mut house, &mut open, &mut known, &mut counts);
            let all: BTreeMap<u128, Arc<Record>> = house.all().into_iter().map(|record| (record.id.0, record)).collect();
            assert_eq!(all, known, "seed {seed}, step {step}");
        }
        altered += counts[3];
    }
    assert!(crashes > 50 && failures > 50 && altered > 300, "{crashes} {failures} {altered}");
}

/// Somebody who takes in a snapshot and what follows it.
struct Watcher {
    owner: Option<u128>,
    joined: Joined,
    /// What it has come to, by id, and up to where.
    records: BTreeMap<u128, String>,
    at: Seq,
}

impl Watcher {
    fn join(house: &mut House, owner: Option<u128>) -> Watcher {
        let snapshot = Some(owner.map(RecordId));
        let records = JoinRecords { endpoint: ENDPOINT.into(), generation: 1, snapshot };
        let name = owner.map_or(ENDPOINT.to_owned(), owners);
        let join = Join { topics: vec![topic(&name, StartAt::Now)], records: Some(records), ..Join::default() };
        let joined = house.try_join(1, join).unwrap();
        let records = joined.records.as_ref().expect("a snapshot").iter();
        let records = records.map(|record| (record.id.0, String::from_utf8_lossy(&record.data).into_owned())).collect();
        Watcher { owner, at: joined.head.seq, records, joined }
    }

    /// Goes on in another process where it was.
    fn resume(&mut self, house: &mut House) {
        let name = self.owner.map_or(ENDPOINT.to_owned(), owners);
        self.joined = house.listen(&name, StartAt::After(self.at));
        assert!(!self.joined.gap, "its log has everything");
        let page = house.read(&self.joined, self.joined.topics[0].from);
        page.messages.iter().for_each(|(_, message)| self.hear(message));
        self.at = self.at.max(self.joined.head.seq);
    }

    fn hear(&mut self, message: &crate::message::Message) {
        if message.stamp.seq <= self.at {
            return;
        }
        self.at = message.stamp.seq;
        let change: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        let several = change["record"].as_array().cloned();
        for record in several.unwrap_or_else(|| vec![change["record"].clone()]) {
            let id = u128::from_str_radix(record["uniqueId"].as_str().unwrap(), 16).unwrap();
            let data = record["data"].to_string();
            match change["type"].as_str().unwrap() {
                "POST" => assert_eq!(self.records.insert(id, data), None, "nothing is created twice"),
                "DELETE" => assert_eq!(self.records.remove(&id), Some(data)),
                _ => assert!(self.records.insert(id, data).is_some(), "it was there"),
            }
        }
    }

    /// Those that are there, as far as it may see them.
    fn expected(&self, all: &[Arc<Record>]) -> BTreeMap<u128, String> {
        let seen = all.iter().filter(|record| self.owner.is_none() || record.owner.map(|owner| owner.0) == self.owner);
        seen.map(|record| (record.id.0, String::from_utf8_lossy(&record.data).into_owned())).collect()
    }
}

#[test]
fn ep_83_ep_82_a_snapshot_and_what_follows_are_the_records_whatever_is_in_flight_fails_and_crashes() {
    let (mut compared, mut resumed, mut in_flight) = (0, 0, 0);
    for seed in 1..=20 {
        let mut random = Random(seed * 7_919);
        let mut house = House::new(with_endpoint(1));
        house.settle();
        let mut watchers: Vec<Watcher> = Vec::new();
        for step in 0..120 {
            let id = random.below(8) as u128;
            let data = (1_000 * seed + step).to_string();
            match random.below(16) {
                0..=3 => house.ask_to_alter(create(id, Some(id % 3), &data)),
                4 => {
                    let several = [id, id + 8].map(|each| new_record(each, Some(id % 3), &data)).into();
                    house.ask_to_alter(alter(Alteration::Create(several)));
                }
                5..=7 => house.ask_to_alter(put(id, &data)),
                8 => house.ask_to_alter(delete(id)),
                9..=12 => {
                    // Some of what is in flight arrives.
                    let units: Vec<Unit> = house.units.try_iter().take(random.below(4)).collect();
                    for unit in units {
                        house.storage.as_mut().unwrap().commit(&unit.batch).unwrap();
                        house.handle(ToHub::Storage(Report::Committed(unit.number)));
                    }
                }
                13 => {
                    house.fail();
                    house.handle(ToHub::Storage(Report::Recovered));
                }
                14 => {
                    house.bench.live(SECOND / 10);
                }
                _ => {
                    house = house.restart(with_endpoint(1), Duration::ZERO);
                    resumed += watchers.len();
                    watchers.iter_mut().for_each(|watcher| watcher.resume(&mut house));
                }
            }
            in_flight += usize::from(house.units.len() > 1);
            let owner = [None, Some(0), Some(1), Some(2)][random.below(4)];
            watchers.push(Watcher::join(&mut house, owner));
            if watchers.len() > 15 {
                let gone = watchers.swap_remove(random.below(15));
                house.leave(1, &gone.joined);
            }
            for reply in house.inbox(1) {
                if let ToReactor::Deliver { topic, message } = reply {
                    watchers
                        .iter_mut()
                        .filter(|watcher| watcher.joined.topics[0].topic == topic)
                        .for_each(|it| it.hear(&message));
                }
            }
            let all = house.all();
            for watcher in &watchers {
                assert_eq!(watcher.records, watcher.expected(&all), "seed {seed}, step {step}, {:?}", watcher.owner);
                compared += 1;
            }
        }
    }
    assert!(compared > 20_000 && resumed > 500 && in_flight > 500, "{compared} {resumed} {in_flight}");
}

/// What is asked for about users and their sessions.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Register(u128),
    /// Another password: the other sessions end, but for this one.
    Change(u128, u8),
    Remove(u128),
    Issue(u8, u128),
    Logout(u8),
}

fn digest(number: u8) -> TokenDigest {
    TokenDigest([number; 32])
}

impl Asked {
    fn request(self) -> ToHub {
        let origin = Bench::origin(0);
        let all_of =
            |id: u128, except| Some(Revocation::User { group: "g".into(), user: RecordId(id).to_string().into(), except });
        let alter = |alter| ToHub::Alter { origin, alter: Box::new(alter) };
        let ask = |question| ToHub::Ask { origin, question };
        match self {
            Asked::Register(id) => alter(register(id, &format!("user {id}"))),
            Asked::Change(id, except) => alter(Alter { revoke: all_of(id, Some(digest(except))), ..put(id, "{}") }),
            Asked::Remove(id) => alter(Alter { revoke: all_of(id, None), ..delete(id) }),
            Asked::Issue(token, id) => {
                let grant = Grant { group: "g".into(), user: RecordId(id).to_string().into(), until: u64::MAX };
                ask(Question::Issue { token: digest(token), grant, user_max: 0 })
            }
            Asked::Logout(token) => ask(Question::Revoke(Revocation::Token(digest(token)))),
        }
    }
}

/// Whatever fails and crashes: a session that was answered is there, and one whose end was answered or announced is not.
#[test]
fn ep_79_ep_80_sessions_and_their_ends_are_there_after_any_failures_and_crashes() {
    let (mut crashes, mut issued, mut announced) = (0, 0, 0);
    for seed in 1..=25 {
        let mut random = Random(seed * 15_485_863);
        let mut house = House::new(with_endpoint(1));
        house.settle();
        let mut open: Vec<Asked> = Vec::new();
        let (mut users, mut sessions): (BTreeMap<u128, Arc<Record>>, BTreeMap<u8, u128>) = Default::default();
        let mut next = 0;
        for step in 0..120 {
            let (id, token) = (random.below(3) as u128, random.below(next + 1) as u8);
            let asked = match random.below(14) {
                0 | 1 => Some(Asked::Register(id)),
                2 => Some(Asked::Change(id, token)),
                3 => Some(Asked::Remove(id)),
                4..=6 if next < 200 => {
                    next += 1;
                    Some(Asked::Issue(next as u8, id))
                }
                7 | 8 => Some(Asked::Logout(token)),
                _ => None,
            };
            if let Some(asked) = asked {
                open.push(asked);
                house.handle(asked.request());
            } else {
                match random.below(6) {
                    0 => {
                        house.fail();
                        house.handle(ToHub::Storage(Report::Recovered));
                    }
                    1 => {
                        house = house.restart(with_endpoint(1), Duration::ZERO);
                        open.clear();
                        crashes += 1;
                    }
                    _ => drop(house.commit()),
                }
            }
            let mut ends = 0;
            for (_, answer) in house.answers() {
                match (open.remove(0), answer) {
                    (Asked::Register(id), Answer::Altered(Ok(records))) => drop(users.insert(id, records[0].clone())),
                    (Asked::Change(id, except), Answer::Altered(Ok(records))) => {
                        users.insert(id, records[0].clone());
                        sessions.retain(|token, user| *user != id || *token == except);
                        ends += 1;
                    }
                    (Asked::Remove(id), Answer::Altered(Ok(_))) => {
                        users.remove(&id);
                        sessions.retain(|_, user| *user != id);
                        ends += 1;
                    }
                    (Asked::Issue(token, id), Answer::Issued) => {
                        sessions.insert(token, id);
                        issued += 1;
                    }
                    (Asked::Logout(token), Answer::Announced) => {
                        sessions.remove(&token);
                        ends += 1;
                    }
                    (_, Answer::Altered(Err(_)) | Answer::Refused(Refusal::StorageUnavailable)) => {}
                    (asked, answer) => panic!("{asked:?} {answer:?}"),
                }
            }
            // Whose end is not answered, has not been announced.
            let told = house
                .inbox(1)
                .into_iter()
                .filter(|reply| matches!(reply, ToReactor::Announce(notice) if matches!(**notice, Notice::Revoked(_))));
            assert_eq!(told.count(), ends, "seed {seed}, step {step}");
            announced += ends;
            let all: BTreeMap<u128, Arc<Record>> = house.all().into_iter().map(|record| (record.id.0, record)).collect();
            assert_eq!(all, users, "seed {seed}, step {step}");
            for token in 0..=next as u8 {
                let user = house.hub.tokens.find(digest(token), house.now.unix_millis()).map(|grant| grant.user);
                let expected = sessions.get(&token).map(|&id| RecordId(id).to_string().into());
                assert_eq!(user, expected, "seed {seed}, step {step}, token {token}");
            }
        }
    }
    assert!(crashes > 50 && issued > 200 && announced > 200, "{crashes} {issued} {announced}");
}
