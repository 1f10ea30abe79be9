use super::*;
use crate::exchange::{
    Answer, EndpointLog, EndpointSettings, Grant, Join, Joined, Notice, Question, Refusal, Revocation, StartAt, TokenDigest,
};
use crate::hub::request::{ToHub, ToReactor};
use crate::hub::testing::{
    BEGIN, Bench, ENDPOINT, Gate, account, alter, create, delete, entry, new_record, put, settings, shown, text, topic,
    with_endpoint,
};
use crate::hub::{Settings, log};
use crate::message::{Message, Seq, Stamp};
use crate::storage::faulty::Random;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MISSING: Result<Vec<Arc<Record>>, AlterRefusal> = Err(AlterRefusal::Missing);
const UNAVAILABLE: Result<Vec<Arc<Record>>, AlterRefusal> = Err(AlterRefusal::Unavailable);

fn owners(owner: u128) -> String {
    owner_topic(&ENDPOINT.into(), RecordId(owner)).to_string()
}

fn join_of(name: &str, start: StartAt, generation: u64, snapshot: Option<Option<RecordId>>) -> Join {
    let records = Some(JoinRecords { endpoint: ENDPOINT.into(), generation, snapshot });
    Join { topics: vec![topic(name, start)], records, ..Join::default() }
}

/// Listens to all changes, or to those of an owner.
fn listen(bench: &mut Bench, reactor: u16, owner: Option<u128>) -> Joined {
    let name = owner.map_or(ENDPOINT.to_owned(), owners);
    bench.try_join(reactor, join_of(&name, StartAt::Now, 1, None)).unwrap()
}

fn messages(bench: &mut Bench, reactor: u16) -> Vec<Arc<Message>> {
    let inbox = bench.inbox(reactor).into_iter();
    inbox
        .filter_map(|reply| match reply {
            ToReactor::Deliver { message, .. } => Some(message),
            _ => None,
        })
        .collect()
}

/// What was told of changes, without ids and times.
fn told(bench: &mut Bench, reactor: u16) -> Vec<String> {
    messages(bench, reactor).iter().map(|message| brief(message)).collect()
}

fn brief(message: &Message) -> String {
    let value: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
    let data = match &value["record"] {
        serde_json::Value::Array(several) => {
            several.iter().map(|record| record["data"].to_string()).collect::<Vec<_>>().join(",")
        }
        one => one["data"].to_string(),
    };
    format!("{} {data}", value["type"].as_str().unwrap())
}

#[test]
fn ep_30_a_created_record_is_told_to_every_listener_and_answered_with_its_times() {
    let mut bench = Bench::new(with_endpoint(1));
    listen(&mut bench, 0, None);
    listen(&mut bench, 1, None);
    let id = 0x3cc2_36ed_09ef_4768_ba1f_e6dc_af43_edea;
    let created = bench.alter(create(id, None, r#"{"someNewData":"test"}"#)).unwrap();
    let record = &created[0];
    assert_eq!((record.id, record.owner, record.created, record.updated), (RecordId(id), None, BEGIN * 1_000, BEGIN * 1_000));
    let expected = r#"{"type":"POST","record":{"data":{"someNewData":"test"},"uniqueId":"3cc236ed09ef4768ba1fe6dcaf43edea","updatedAt":"1970-01-01T00:16:40.000Z","createdAt":"1970-01-01T00:16:40.000Z"}}"#;
    for reactor in [0, 1] {
        let told = messages(&mut bench, reactor);
        assert_eq!(told.iter().map(|message| text(message)).collect::<Vec<_>>(), [format!("{ENDPOINT}:{expected}")]);
    }
}

#[test]
fn ep_33_a_modified_record_keeps_its_creation_and_its_time_grows_although_the_clock_goes_back() {
    let mut bench = Bench::new(with_endpoint(1));
    listen(&mut bench, 1, None);
    let first = bench.alter(create(1, Some(9), "1")).unwrap()[0].clone();
    bench.now.unix_micros -= 500_000_000;
    let second = bench.alter(put(1, "2")).unwrap()[0].clone();
    bench.pass(1_000 * SECOND);
    let Alteration::Replace { id, data, .. } = put(1, "3").what else { panic!() };
    let patch =
        Alteration::Replace { id, by: Some(RecordId(9)), kind: ChangeKind::Patch, data, unchanged_since: None, account: None };
    let third = bench.alter(alter(patch)).unwrap()[0].clone();
    assert_eq!([second.created, third.created], [first.created; 2]);
    assert_eq!([second.owner, third.owner], [Some(RecordId(9)); 2], "the owner never changes");
    assert_eq!([second.place, third.place], [first.place; 2]);
    assert_eq!((second.updated, third.updated), (first.updated + 1, bench.now.unix_millis()));
    let last = bench.alter(delete(1)).unwrap()[0].clone();
    assert_eq!((&last, shown(&last)), (&third, "1:3".to_owned()), "as it was last");
    assert_eq!(told(&mut bench, 1), ["POST 1", "PUT 2", "PATCH 3", "DELETE 3"]);
    assert_eq!((bench.alter(delete(1)), bench.alter(put(1, "4"))), (MISSING, MISSING));
    assert_eq!(told(&mut bench, 1), [""; 0], "what fails tells nothing");
}

#[test]
fn ep_35_several_records_are_created_together_and_told_in_one_message_in_order() {
    let mut bench = Bench::new(with_endpoint(1));
    listen(&mut bench, 1, Some(5));
    let records = (1..=3).map(|id| new_record(id, Some(5), &id.to_string())).collect();
    let created = bench.alter(alter(Alteration::Create(records))).unwrap();
    assert!(created.is_sorted_by(|one, other| one.place < other.place) && created.len() == 3);
    assert_eq!(told(&mut bench, 1), ["POST 1,2,3"]);
    assert_eq!(bench.records(None), ["1:1", "2:2", "3:3"]);
    // All or none: the second of these exists.
    let records = [4, 2].map(|id| new_record(id, None, "0")).into();
    assert_eq!(bench.alter(alter(Alteration::Create(records))), UNAVAILABLE);
    let twins = [6, 6].map(|id| new_record(id, None, "0")).into();
    assert_eq!(bench.alter(alter(Alteration::Create(twins))), UNAVAILABLE);
    assert_eq!((bench.alter(alter(Alteration::Create(Vec::new()))), bench.records(None).len()), (Ok(Vec::new()), 3));
}

#[test]
fn ep_40_ep_44_a_change_reaches_all_and_its_owner_as_one_message_and_nobody_else() {
    let mut bench = Bench::new(with_endpoint(1));
    listen(&mut bench, 0, None);
    listen(&mut bench, 1, Some(5));
    listen(&mut bench, 1, Some(6));
    bench.alter(create(1, Some(5), "1")).unwrap();
    bench.alter(create(2, None, "2")).unwrap();
    bench.alter(create(3, Some(6), "3")).unwrap();
    let (all, own) = (messages(&mut bench, 0), messages(&mut bench, 1));
    assert_eq!(all.iter().map(|message| brief(message)).collect::<Vec<_>>(), ["POST 1", "POST 2", "POST 3"]);
    assert_eq!(own.len(), 2);
    assert!(Arc::ptr_eq(&own[0], &all[0]) && Arc::ptr_eq(&own[1], &all[2]), "one frame for all of them");
    bench.alter(put(1, "4")).unwrap();
    bench.alter(delete(3)).unwrap();
    assert_eq!((told(&mut bench, 0), told(&mut bench, 1).len()), (vec!["PUT 4".to_owned(), "DELETE 3".to_owned()], 2));
}

#[test]
fn ep_65_a_record_of_somebody_else_is_as_missing_as_one_that_is_not_there() {
    let mut bench = Bench::new(with_endpoint(1));
    bench.alter(create(1, Some(5), "1")).unwrap();
    bench.alter(create(2, None, "2")).unwrap();
    for id in [1, 2, 3] {
        let by = Some(RecordId(6));
        let id = RecordId(id);
        let data: Arc<[u8]> = b"0"[..].into();
        let put = Alteration::Replace { id, by, kind: ChangeKind::Put, data, unchanged_since: Some(7), account: None };
        assert_eq!([bench.alter(alter(put)), bench.alter(alter(Alteration::Delete { id, by }))], [MISSING, MISSING]);
    }
    assert!(bench.alter(alter(Alteration::Delete { id: RecordId(1), by: Some(RecordId(5)) })).is_ok());
    let other = Alter { endpoint: "$endpoint\u{1f}s\u{1f}p\u{1f}other".into(), ..create(9, None, "9") };
    assert_eq!(bench.alter(other), MISSING, "an endpoint that is not configured");
}

#[test]
fn a_record_that_was_changed_meanwhile_is_not_replaced() {
    let mut bench = Bench::new(with_endpoint(1));
    let since = bench.alter(create(1, None, "1")).unwrap()[0].updated;
    let replace = |data: &str, since| {
        let Alteration::Replace { id, kind, data, .. } = put(1, data).what else { panic!() };
        alter(Alteration::Replace { id, by: None, kind, data, unchanged_since: Some(since), account: None })
    };
    let next = bench.alter(replace("2", since)).unwrap()[0].updated;
    assert_eq!(bench.alter(replace("3", since)), Err(AlterRefusal::Mismatch));
    assert!(bench.alter(replace("4", next)).is_ok());
    assert_eq!(bench.records(None), ["1:4"]);
}

#[test]
fn lists_are_in_order_of_creation_and_each_owner_has_one() {
    let mut bench = Bench::new(with_endpoint(1));
    for (id, owner) in [(7, Some(5)), (3, None), (9, Some(5)), (1, Some(6)), (8, Some(5))] {
        bench.alter(create(id, owner, "0")).unwrap();
    }
    bench.alter(put(7, "1")).unwrap();
    bench.alter(delete(9)).unwrap();
    assert_eq!(bench.records(None), ["7:1", "3:0", "1:0", "8:0"]);
    assert_eq!([bench.records(Some(5)), bench.records(Some(6))], [vec!["7:1", "8:0"], vec!["1:0"]]);
    bench.alter(delete(1)).unwrap();
    assert_eq!([bench.records(Some(6)), bench.records(Some(4))], [vec![""; 0], vec![""; 0]]);
    let mut by_id = |ids: &[u128], of: Option<u128>| {
        let ids = ids.iter().map(|&id| RecordId(id)).collect();
        match bench.ask(Question::RecordsById { endpoint: ENDPOINT.into(), ids, of: of.map(RecordId) }) {
            Answer::RecordsById(records) => records.iter().map(|record| shown(record)).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(by_id(&[8, 9, 3, 7], None), ["8:0", "3:0", "7:1"]);
    assert_eq!(by_id(&[8, 9, 3, 7], Some(5)), ["8:0", "7:1"]);
}

fn user(id: u128, names: &[&str]) -> NewRecord {
    NewRecord { account: account(names), ..new_record(id, Some(id), "{}") }
}

fn register(id: u128, names: &[&str]) -> Alter {
    alter(Alteration::Create(vec![user(id, names)]))
}

fn rename(id: u128, names: &[&str]) -> Alter {
    let Alteration::Replace { id, kind, data, .. } = put(id, "{}").what else { panic!() };
    alter(Alteration::Replace { id, by: None, kind, data, unchanged_since: None, account: account(names) })
}

fn named(bench: &mut Bench, name: &str) -> Option<u128> {
    match bench.ask(Question::RecordNamed { endpoint: ENDPOINT.into(), name: name.into() }) {
        Answer::RecordNamed(record) => record.map(|record| record.id.0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn ep_71_each_name_is_that_of_one_record_until_that_gives_it_up() {
    let mut bench = Bench::new(with_endpoint(1));
    bench.alter(register(1, &["u\0anna", "e\0a"])).unwrap();
    bench.alter(register(2, &["u\0bert"])).unwrap();
    assert_eq!(bench.alter(register(3, &["u\0carl", "e\0a"])), Err(AlterRefusal::Taken(1)));
    assert_eq!(bench.alter(register(3, &["u\0anna", "e\0a"])), Err(AlterRefusal::Taken(0)));
    assert_eq!(bench.alter(register(3, &["u\0carl", "u\0carl"])), Err(AlterRefusal::Taken(1)));
    assert_eq!(bench.alter(rename(2, &["u\0bert", "e\0a"])), Err(AlterRefusal::Taken(1)));
    bench.alter(rename(1, &["u\0anna"])).unwrap();
    bench.alter(rename(2, &["u\0bert", "e\0a"])).unwrap();
    // Without an account the present one stays.
    bench.alter(put(1, "{\"a\":1}")).unwrap();
    assert_eq!(["u\0anna", "e\0a", "u\0bert", "u\0carl"].map(|name| named(&mut bench, name)), [Some(1), Some(2), Some(2), None]);
    bench.alter(delete(2)).unwrap();
    bench.alter(register(4, &["e\0a", "u\0bert"])).unwrap();
    assert_eq!(["u\0anna", "e\0a", "u\0bert"].map(|name| named(&mut bench, name)), [Some(1), Some(4), Some(4)]);
}

#[test]
fn an_endpoint_has_so_many_records_and_all_share_the_budget_of_the_logs() {
    let mut bench = Bench::new(with_endpoint(1));
    let few = |alter| Alter { records_max: 2, ..alter };
    bench.alter(few(create(1, None, "1"))).unwrap();
    let two = [2, 3].map(|id| new_record(id, None, "0")).into();
    assert_eq!(bench.alter(few(alter(Alteration::Create(two)))), Err(AlterRefusal::TooMany));
    bench.alter(few(create(2, None, "1"))).unwrap();
    assert_eq!(bench.alter(few(create(3, None, "1"))), Err(AlterRefusal::TooMany));
    bench.alter(delete(1)).unwrap();
    bench.alter(few(create(3, None, "1"))).unwrap();
    assert_eq!((bench.metrics.hub.records.load(Relaxed), bench.metrics.hub.endpoints.load(Relaxed)), (2, 1));

    let mut tight = with_endpoint(1);
    tight.window.count = 0;
    tight.log_bytes_max = 2 * RECORD_BYTES + 1_000 + log::kept_bytes(b"", None) + event_bytes_max([500]) as u64;
    let mut bench = Bench::new(tight);
    let long = "x".repeat(500);
    bench.alter(create(1, None, &long)).unwrap();
    bench.alter(create(2, None, &long)).unwrap();
    assert_eq!(bench.alter(create(3, None, &long)), UNAVAILABLE);
    assert_eq!(bench.alter(put(1, &"x".repeat(501))), UNAVAILABLE);
    assert_eq!(bench.publish_all(vec![entry("a", &"x".repeat(700))]), Err(Refusal::OutOfMemory), "records count for others, too");
    bench.alter(put(1, &"y".repeat(500))).unwrap();
    bench.alter(delete(2)).unwrap();
    bench.alter(create(3, None, "1")).unwrap();
    assert_eq!(bench.hub.totals.record_bytes, 2 * RECORD_BYTES + 501);
}

#[test]
fn an_account_that_stays_counts_in_the_budget() {
    let mut bench = Bench::new(with_endpoint(1));
    let names = ["u\0".to_owned() + &"n".repeat(200), "e\0".to_owned() + &"m".repeat(200)];
    bench.alter(register(1, &names.each_ref().map(|name| name.as_str()))).unwrap();
    let bytes = bench.hub.totals.kept_bytes();
    let mut tight = with_endpoint(1);
    let event = log::kept_bytes(b"", None) + event_bytes_max([302]) as u64;
    tight.log_bytes_max = bytes + 2 * event + 300;
    bench.handle(ToHub::Settings(Box::new(tight)));
    assert_eq!(bench.alter(put(1, &"1".repeat(303))), UNAVAILABLE);
    bench.alter(put(1, &"1".repeat(302))).unwrap();
}

#[test]
fn an_alteration_that_an_overfull_reactor_would_hear_of_is_refused() {
    let mut bench = Bench::new(with_endpoint(1));
    listen(&mut bench, 1, Some(5));
    bench.hub.set_queued(1, 1_000_000, 0);
    assert_eq!(bench.alter(create(1, Some(5), "1")), UNAVAILABLE);
    bench.alter(create(1, Some(6), "1")).unwrap();
    listen(&mut bench, 1, None);
    assert_eq!(bench.alter(delete(1)), UNAVAILABLE);
}

#[test]
fn ep_45_alterations_are_judged_by_what_is_ordered_and_seen_when_they_are_released() {
    let mut bench = Bench::new(with_endpoint(1));
    listen(&mut bench, 1, Some(5));
    bench.alter(register(1, &["a"])).unwrap();
    let (gate, allowed) = Gate::shut();
    bench.hub.engine = Box::new(gate);
    let now = bench.now;
    let few = |alter| Alter { records_max: 2, ..alter };
    for alter in [
        few(create(2, Some(5), "2")),
        few(create(3, Some(5), "3")),
        put(2, "4"),
        rename(1, &["b"]),
        register(4, &["a"]),
        register(5, &["b"]),
        delete(2),
        put(2, "5"),
    ] {
        bench.hub.handle(ToHub::Alter { origin: Bench::origin(0), alter: Box::new(alter) }, now);
    }
    let list = |bench: &Bench| {
        let list = bench.hub.records.list(&ENDPOINT.into(), None);
        list.iter().map(|record| shown(record)).collect::<Vec<_>>().join(" ")
    };
    let endpoint = ENDPOINT.into();
    let named = |bench: &Bench, name| bench.hub.records.named(&endpoint, name).map(|record| record.id.0);
    assert_eq!((list(&bench), named(&bench, "a"), named(&bench, "b")), ("1:{}".to_owned(), Some(1), None));
    let join = Box::new(join_of(ENDPOINT, StartAt::Now, 1, Some(None)));
    bench.hub.handle(ToHub::Join { origin: Bench::origin(0), join, first: true }, now);
    let mut replies = Vec::new();
    bench.hub.take_replies(0, &mut replies);
    let [ToReactor::Joined { joined, .. }] = &replies[..] else { panic!("{replies:?}") };
    assert_eq!(joined.records.as_ref().map(|list| list.len()), Some(1));
    let (mut results, mut lists) = (Vec::new(), Vec::new());
    for _ in 0..8 {
        allowed.store(1, Relaxed);
        bench.hub.tick(now);
        for (_, reply) in bench.hub.take_acknowledgements() {
            if let ToReactor::Answer { answer, .. } = reply {
                let Answer::Altered(result) = *answer else { panic!("{answer:?}") };
                results.push(result.map(|records| shown(&records[0])));
            }
        }
        lists.push(list(&bench));
    }
    allowed.store(9, Relaxed);
    bench.tick();
    let ok = |text: &str| Ok(text.to_owned());
    let expected = [
        ok("2:2"),
        Err(AlterRefusal::TooMany),
        ok("2:4"),
        ok("1:{}"),
        ok("4:{}"),
        Err(AlterRefusal::Taken(0)),
        ok("2:4"),
        Err(AlterRefusal::Missing),
    ];
    assert_eq!(results, expected);
    let all = "1:{} 2:4 4:{}";
    assert_eq!(lists, ["1:{} 2:2", "1:{} 2:2", "1:{} 2:4", "1:{} 2:4", all, all, "1:{} 4:{}", "1:{} 4:{}"]);
    assert_eq!(told(&mut bench, 1), ["POST 2", "PUT 4", "DELETE 4"]);
}

/// Who listens on a reactor, and what of its queue means it.
struct Listening {
    reactor: usize,
    owner: Option<u128>,
    joined: Joined,
    /// Changes that had gone through the queue before its join, and before it left.
    joined_at: usize,
    left_at: Option<usize>,
    seen: Vec<Seq>,
}

/// However alterations, commits, joins and ends follow each other: who listens is told of all that is committed after its join,
/// each change once and in the one order, and of nothing else.
#[test]
fn ep_45_whoever_joins_at_whatever_moment_is_told_of_all_that_is_later_and_of_nothing_else() {
    let owner_of = |id: u128| [None, Some(5), Some(6)][id as usize % 3];
    let (mut between, mut told) = (0, 0);
    for seed in 1..=300 {
        let mut random = Random(seed * 7_919);
        let mut bench = Bench::new(with_endpoint(1));
        let (gate, allowed) = Gate::shut();
        // One on each reactor hears everything.
        let all = [0, 1].map(|reactor| listen(&mut bench, reactor, None).topics[0].topic);
        bench.hub.engine = Box::new(gate);
        let now = bench.now;
        let mut order: [Vec<(Seq, Option<u128>)>; 2] = Default::default();
        let (mut altered, mut listening): (usize, Vec<Listening>) = (0, Vec::new());
        for step in 0..=100 {
            let mut joins = None;
            match random.below(10) {
                _ if step == 100 => {
                    allowed.store(1_000, Relaxed);
                    bench.hub.tick(now);
                }
                0..=3 => {
                    let (id, data) = (random.below(6) as u128, step.to_string());
                    let alter = [create(id, owner_of(id), &data), put(id, &data), delete(id)].into_iter().nth(random.below(3));
                    let alter = Box::new(alter.expect("one of three"));
                    bench.hub.handle(ToHub::Alter { origin: Bench::origin(0), alter }, now);
                }
                4 | 5 => {
                    allowed.store(random.below(4), Relaxed);
                    bench.hub.tick(now);
                }
                6 | 7 => {
                    let (reactor, owner) = (random.below(2), [None, Some(5), Some(6), Some(7)][random.below(4)]);
                    let name = owner.map_or(ENDPOINT.to_owned(), owners);
                    let join = Box::new(join_of(&name, StartAt::Now, 1, None));
                    bench.hub.handle(ToHub::Join { origin: Bench::origin(reactor as u16), join, first: true }, now);
                    joins = Some(owner);
                }
                _ => {
                    let there: Vec<usize> = (0..listening.len()).filter(|&at| listening[at].left_at.is_none()).collect();
                    if !there.is_empty() {
                        let one = &mut listening[there[random.below(there.len())]];
                        one.left_at = Some(order[one.reactor].len());
                        let topics = vec![one.joined.topics[0].topic];
                        bench.hub.handle(ToHub::Leave { reactor: one.reactor as u16, topics, last: true }, now);
                    }
                }
            }
            let mut queues: [Vec<ToReactor>; 2] = Default::default();
            queues.iter_mut().enumerate().for_each(|(reactor, queue)| bench.hub.take_replies(reactor, queue));
            bench.hub.take_acknowledgements().for_each(|(reactor, reply)| queues[reactor].push(reply));
            for (reactor, queue) in queues.into_iter().enumerate() {
                for reply in queue {
                    match reply {
                        ToReactor::Deliver { topic, message } => {
                            let (seq, record) =
                                (message.stamp.seq, serde_json::from_slice::<serde_json::Value>(&message.payload).unwrap());
                            let id = record["record"]["uniqueId"].as_str().and_then(RecordId::parse).expect("the id of a record");
                            if topic == all[reactor] {
                                order[reactor].push((seq, owner_of(id.0)));
                            }
                            let here = listening.iter_mut().filter(|one| one.reactor == reactor && one.left_at.is_none());
                            for one in here.filter(|one| one.joined.topics[0].topic == topic && seq > one.joined.topics[0].from) {
                                one.seen.push(seq);
                            }
                        }
                        ToReactor::Joined { joined, .. } => {
                            let (owner, joined_at) = (joins.expect("somebody joins"), order[reactor].len());
                            listening.push(Listening {
                                reactor,
                                owner,
                                joined: *joined,
                                joined_at,
                                left_at: None,
                                seen: Vec::new(),
                            });
                        }
                        ToReactor::Answer { answer, .. } => {
                            let Answer::Altered(result) = *answer else { panic!("{answer:?}") };
                            altered += usize::from(result.is_ok());
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
        assert_eq!(order[0], order[1], "seed {seed}: one order on all reactors");
        assert!(order[0].is_sorted_by(|one, other| one.0 < other.0), "seed {seed}");
        assert_eq!(order[0].len(), altered, "seed {seed}: each alteration is told once");
        for one in &listening {
            let later = &order[one.reactor][one.joined_at..one.left_at.unwrap_or(altered)];
            let owed = later.iter().filter(|(_, owner)| one.owner.is_none() || one.owner == *owner).map(|(seq, _)| *seq);
            assert_eq!(one.seen, owed.collect::<Vec<_>>(), "seed {seed}: {:?} who joined after {}", one.owner, one.joined_at);
            between += usize::from((1..altered).contains(&one.joined_at));
            told += one.seen.len();
        }
    }
    assert!(between > 3_000 && told > 5_000, "{between} {told}");
}

#[test]
fn ep_47_tokens_are_revoked_together_with_the_alteration_and_announced_behind_its_message() {
    let mut bench = Bench::new(with_endpoint(1));
    bench.alter(register(1, &["a"])).unwrap();
    listen(&mut bench, 1, Some(1));
    bench.inbox(1);
    let tokens = [1, 2, 3].map(|byte| TokenDigest([byte; 32]));
    for token in tokens {
        let grant = Grant { group: "g".into(), user: "u".into(), until: u64::MAX };
        assert!(matches!(bench.ask(Question::Issue { token, grant, user_max: 0 }), Answer::Issued));
    }
    let known = |bench: &mut Bench| tokens.map(|token| bench.hub.tokens.find(token, bench.now.unix_millis()).is_some());
    let revoke = |except| Some(Revocation::User { group: "g".into(), user: "u".into(), except });
    bench.alter(Alter { revoke: revoke(Some(tokens[1])), ..put(1, "1") }).unwrap();
    assert_eq!(known(&mut bench), [false, true, false]);
    assert_eq!(bench.alter(Alter { revoke: revoke(None), ..delete(9) }), MISSING);
    assert_eq!(known(&mut bench), [false, true, false], "a refusal revokes nothing");
    bench.inbox(1);
    bench.alter(Alter { revoke: revoke(None), ..delete(1) }).unwrap();
    assert_eq!(known(&mut bench), [false; 3]);
    let inbox = bench.inbox(1);
    assert!(matches!(&inbox[..], [ToReactor::Deliver { message, .. }, ToReactor::Announce(_)] if brief(message) == "DELETE 1"));
}

#[test]
fn ep_49_nothing_committed_after_a_change_of_options_reaches_who_came_before_it() {
    let mut bench = Bench::new(with_endpoint(1));
    let [all, own] = [None, Some(5)].map(|owner| listen(&mut bench, 1, owner));
    bench.alter(create(1, Some(5), "1")).unwrap();
    let (gate, allowed) = Gate::shut();
    bench.hub.engine = Box::new(gate);
    let now = bench.now;
    bench.hub.handle(ToHub::Alter { origin: Bench::origin(0), alter: Box::new(put(1, "2")) }, now);
    bench.inbox(1);
    bench.hub.handle(ToHub::Settings(Box::new(with_endpoint(2))), now);
    allowed.store(99, Relaxed);
    bench.tick();
    assert_eq!(told(&mut bench, 1), [""; 0], "it was ordered before, and committed after");
    assert_eq!(bench.records(None), ["1:2"]);
    assert_eq!(bench.try_join(0, join_of(ENDPOINT, StartAt::Now, 1, None)).unwrap_err(), Refusal::TopicMissing);
    for joined in [&all, &own] {
        let page = bench.read(joined, joined.head.seq);
        assert_eq!((page.messages.len(), page.lost, page.complete), (0, true, true), "the handle is stale");
    }
    let renewed = bench.try_join(1, join_of(ENDPOINT, StartAt::After(all.head.seq), 2, None)).unwrap();
    assert_ne!(renewed.topics[0].topic, all.topics[0].topic);
    assert!(!renewed.gap);
    let page = bench.read(&renewed, renewed.topics[0].from);
    assert_eq!(
        page.messages.iter().map(|(_, message)| brief(message)).collect::<Vec<_>>(),
        ["POST 1", "PUT 2"],
        "its log goes on"
    );
    bench.alter(put(1, "3")).unwrap();
    let delivered: Vec<TopicId> = bench
        .inbox(1)
        .into_iter()
        .filter_map(|reply| match reply {
            ToReactor::Deliver { topic, .. } => Some(topic),
            _ => None,
        })
        .collect();
    assert_eq!(delivered, [renewed.topics[0].topic]);
    assert_eq!(bench.hub.totals.subscriptions, 1);
    // Leaving late does no harm.
    bench.leave(1, &all);
    bench.leave(1, &own);
    bench.leave(1, &renewed);
    assert_eq!((bench.hub.totals.subscriptions, bench.hub.records.listened.len()), (0, 0));
}

#[test]
fn ep_49_a_join_without_a_message_before_it_finds_new_handles_and_equal_settings_change_nothing() {
    let mut bench = Bench::new(with_endpoint(1));
    let first = listen(&mut bench, 1, None);
    bench.handle(ToHub::Settings(Box::new(with_endpoint(1))));
    let second = listen(&mut bench, 1, None);
    assert_eq!(first.topics[0].topic, second.topics[0].topic);
    bench.handle(ToHub::Settings(Box::new(with_endpoint(2))));
    let third = bench.try_join(1, join_of(ENDPOINT, StartAt::Now, 2, None)).unwrap();
    assert_ne!(third.topics[0].topic, first.topics[0].topic);
    bench.inbox(1);
    bench.alter(create(1, None, "1")).unwrap();
    assert_eq!(told(&mut bench, 1), ["POST 1"]);
    // The endpoint goes: nobody is told of what was on its way.
    let (gate, allowed) = Gate::shut();
    bench.hub.engine = Box::new(gate);
    let now = bench.now;
    bench.hub.handle(ToHub::Alter { origin: Bench::origin(0), alter: Box::new(put(1, "2")) }, now);
    bench.hub.handle(ToHub::Settings(Box::new(settings())), now);
    allowed.store(99, Relaxed);
    bench.tick();
    assert_eq!(told(&mut bench, 1), [""; 0]);
    assert_eq!((bench.records(None), bench.alter(put(1, "3"))), (vec![], MISSING));
}

#[test]
fn ep_82_who_comes_back_gets_what_was_missed_or_hears_that_it_is_gone() {
    let mut few = with_endpoint(1);
    few.window.count = 4;
    let mut bench = Bench::new(few);
    let before = bench.head();
    for n in 1..=3 {
        bench.alter(create(n, Some(n % 2), &n.to_string())).unwrap();
    }
    let resume = |bench: &mut Bench, name: &str, seq: Seq| {
        let joined = bench.try_join(0, join_of(name, StartAt::After(seq), 1, None)).unwrap();
        let page = bench.read(&joined, joined.topics[0].from);
        bench.leave(0, &joined);
        (page.messages.iter().map(|(_, message)| brief(message)).collect::<Vec<_>>(), joined.gap, joined.foreign)
    };
    let seqs: Vec<Seq> = bench
        .hub
        .topics
        .iter()
        .filter(|(_, topic)| topic.name.as_str() == ENDPOINT)
        .flat_map(|(_, topic)| topic.log.from(0))
        .map(|message| message.stamp.seq)
        .collect();
    let missed = |list: &[&str]| (list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>(), false, false);
    assert_eq!(resume(&mut bench, ENDPOINT, before.seq), missed(&["POST 1", "POST 2", "POST 3"]));
    assert_eq!(resume(&mut bench, ENDPOINT, seqs[1]), missed(&["POST 3"]));
    assert_eq!(resume(&mut bench, &owners(1), seqs[0]), missed(&["POST 3"]));
    assert_eq!(resume(&mut bench, &owners(0), seqs[1]), missed(&[]));
    assert_eq!(resume(&mut bench, &owners(7), before.seq), missed(&[]), "who never had a record has missed nothing");
    let head = bench.head().seq;
    assert_eq!(resume(&mut bench, ENDPOINT, Seq(head.0 + 1)), (vec![], true, true), "a number of the future");
    assert_eq!(resume(&mut bench, ENDPOINT, Seq(1)), (vec![], true, false), "one from before the history");
    // The endpoint's log drops its oldest: whoever needs it hears so, whichever topic it asks for.
    for n in 4..=5 {
        bench.alter(create(n, Some(2), &n.to_string())).unwrap();
    }
    assert_eq!(resume(&mut bench, ENDPOINT, before.seq), (vec![], true, false));
    assert_eq!(resume(&mut bench, &owners(1), before.seq), (vec![], true, false));
    assert_eq!(resume(&mut bench, &owners(1), seqs[0]), missed(&["POST 3"]));
    assert_eq!(resume(&mut bench, &owners(2), seqs[0]), missed(&["POST 4", "POST 5"]));
}

#[test]
fn ep_82_an_idle_endpoint_that_was_forgotten_still_knows_how_far_it_had_come() {
    let mut bench = Bench::new(with_endpoint(1));
    let before = bench.head();
    bench.alter(create(1, Some(5), "1")).unwrap();
    let after = bench.head();
    bench.publish("elsewhere", "1");
    bench.live(bench.hub.settings.window.age + 3 * bench.hub.settings.topic_idle);
    assert!(bench.hub.topics.find(&ENDPOINT.into()).is_none());
    for name in [ENDPOINT.to_owned(), owners(5), owners(6)] {
        let gap = |bench: &mut Bench, seq| {
            let joined = bench.try_join(0, join_of(&name, StartAt::After(seq), 1, None)).unwrap();
            bench.leave(0, &joined);
            joined.gap
        };
        assert_eq!((gap(&mut bench, before.seq), gap(&mut bench, after.seq)), (true, false), "{name:?}");
        bench.live(2 * bench.hub.settings.topic_idle);
    }
    assert_eq!(bench.records(None), ["1:1"], "records have no age");
}

#[test]
fn ep_82_an_owner_loses_nothing_silently_when_the_log_shrinks_and_grows_again() {
    let with_log = |messages| {
        let mut settings = with_endpoint(1);
        settings.endpoints[0].log = Some(EndpointLog { messages, bytes: 1 << 20, age: 100 * SECOND });
        settings
    };
    let mut bench = Bench::new(with_log(10));
    let before = bench.head().seq;
    let own = listen(&mut bench, 0, Some(7));
    for number in 1..=5 {
        bench.alter(create(number, Some(7), "1")).unwrap();
    }
    bench.handle(ToHub::Settings(Box::new(with_log(2))));
    // His topic is read before it is swept, that of the endpoint is not.
    assert!(bench.read(&own, before).lost);
    bench.handle(ToHub::Settings(Box::new(with_log(10))));
    for name in [ENDPOINT, &owners(7)] {
        let resumed = bench.try_join(1, join_of(name, StartAt::After(before), 1, None)).unwrap();
        assert!(resumed.gap, "{name:?}");
    }
}

#[test]
fn ep_82_an_owners_topic_leaves_nothing_behind_when_it_ends() {
    let mut short = with_endpoint(1);
    short.window.age = 5 * SECOND;
    let mut bench = Bench::new(short);
    listen(&mut bench, 1, None);
    let before = bench.head().seq;
    for owner in 1..=9 {
        bench.alter(create(owner, Some(owner), "1")).unwrap();
    }
    let after = bench.head().seq;
    bench.live(6 * SECOND);
    assert!(bench.hub.topics.find(&owners(1).as_str().into()).is_some());
    bench.live(3 * bench.hub.settings.topic_idle);
    let left = |bench: &Bench, name: &str| {
        let (age, micros) = (bench.hub.settings.positions_age, bench.now.micros);
        bench.hub.topics.find(&name.into()).is_some() || bench.hub.positions.find(&TopicName::from(name), age, micros).is_some()
    };
    assert!((1..=9).all(|owner| !left(&bench, &owners(owner))));
    assert_eq!(bench.hub.removed, Stamp::default(), "other topics have lost nothing by it");
    let gap = |bench: &mut Bench, seq| {
        let joined = bench.try_join(0, join_of(&owners(5), StartAt::After(seq), 1, None)).unwrap();
        bench.leave(0, &joined);
        joined.gap
    };
    assert_eq!((gap(&mut bench, before), gap(&mut bench, after)), (true, false));
    // Nor when that of the endpoint ends, too.
    bench.handle(ToHub::Settings(Box::new(with_endpoint(2))));
    bench.alter(create(10, None, "1")).unwrap();
    bench.live(bench.hub.settings.window.age + 3 * bench.hub.settings.topic_idle);
    assert!(bench.hub.topics.find(&ENDPOINT.into()).is_none() && left(&bench, ENDPOINT) && !left(&bench, &owners(5)));
    let gap = |bench: &mut Bench, seq| bench.try_join(0, join_of(&owners(5), StartAt::After(seq), 2, None)).unwrap().gap;
    assert!(gap(&mut bench, before) && gap(&mut bench, after));
}

#[test]
fn ep_82_who_comes_back_when_the_records_went_with_the_endpoint_begins_anew() {
    for is_idle in [false, true] {
        let mut bench = Bench::new(with_endpoint(1));
        bench.alter(create(1, Some(5), "1")).unwrap();
        let seen = bench.head().seq;
        if is_idle {
            bench.live(bench.hub.settings.window.age + 3 * bench.hub.settings.topic_idle);
        }
        let gaps = |bench: &mut Bench, seq| {
            [ENDPOINT.to_owned(), owners(5), owners(6)].map(|name| {
                let joined = bench.try_join(0, join_of(&name, StartAt::After(seq), 1, None)).unwrap();
                bench.leave(0, &joined);
                joined.gap
            })
        };
        bench.handle(ToHub::Settings(Box::new(settings())));
        bench.live(99 * SECOND);
        bench.handle(ToHub::Settings(Box::new(with_endpoint(1))));
        assert_eq!(gaps(&mut bench, seen), [false; 3], "they came back in time");
        let seen = bench.hub.released.seq;
        bench.handle(ToHub::Settings(Box::new(settings())));
        bench.live(100 * SECOND);
        bench.handle(ToHub::Settings(Box::new(with_endpoint(1))));
        assert_eq!((gaps(&mut bench, seen), bench.hub.totals.logged), ([true; 3], 0));
        let begins = bench.head().seq;
        bench.alter(create(2, Some(5), "2")).unwrap();
        assert_eq!([gaps(&mut bench, seen), gaps(&mut bench, begins)], [[true; 3], [false; 3]]);
    }
}

#[test]
fn ep_83_a_snapshot_is_of_the_instant_of_its_join() {
    let mut bench = Bench::new(with_endpoint(1));
    bench.alter(create(1, Some(5), "1")).unwrap();
    bench.alter(create(2, Some(6), "2")).unwrap();
    let [all, own] = [None, Some(RecordId(6))].map(|of| bench.try_join(1, join_of(ENDPOINT, StartAt::Now, 1, Some(of))).unwrap());
    bench.alter(put(2, "3")).unwrap();
    bench.alter(delete(1)).unwrap();
    let list = |joined: Joined| joined.records.unwrap().iter().map(|record| shown(record)).collect::<Vec<_>>();
    assert_eq!((list(all), list(own)), (vec!["1:1".to_owned(), "2:2".to_owned()], vec!["2:2".to_owned()]));
    let none = bench.try_join(1, join_of(ENDPOINT, StartAt::Now, 1, None)).unwrap();
    assert!(none.records.is_none());
}

fn with_users(generation: u64, users: Vec<NewRecord>) -> Settings {
    let mut settings = with_endpoint(generation);
    settings.endpoints[0].users = users;
    settings
}

#[test]
fn configured_users_are_created_unless_their_first_name_is_taken() {
    let mut bench =
        Bench::new(with_users(1, vec![user(1, &["u\0anna"]), user(2, &["u\0bert", "e\0b"]), new_record(3, None, "0")]));
    assert_eq!(bench.hub.next_tick(), Some(0));
    bench.tick();
    assert_eq!(bench.records(None), ["1:{}", "2:{}"], "without an account it is no user");
    bench.alter(put(1, "\"changed\"")).unwrap();
    bench.alter(delete(2)).unwrap();
    // Another load draws other ids.
    let again = vec![user(4, &["u\0anna"]), user(5, &["u\0bert", "e\0b"])];
    listen(&mut bench, 1, None);
    bench.handle(ToHub::Settings(Box::new(with_users(1, again))));
    bench.tick();
    assert_eq!(bench.records(None), ["1:\"changed\"", "5:{}"]);
    assert_eq!(told(&mut bench, 1), ["POST {}"]);
    // Its second name is somebody's: that one keeps it.
    bench.alter(rename(5, &["e\0b"])).unwrap();
    bench.handle(ToHub::Settings(Box::new(with_users(1, vec![user(6, &["u\0bert", "e\0b"])]))));
    bench.tick();
    assert_eq!(named(&mut bench, "e\0b"), Some(5));
    assert_eq!(bench.records(None).len(), 2);
}

#[test]
fn a_user_that_can_not_be_created_now_is_created_later() {
    let mut bench = Bench::new(with_endpoint(1));
    listen(&mut bench, 1, None);
    bench.hub.set_queued(1, 1_000_000, 0);
    bench.handle(ToHub::Settings(Box::new(with_users(1, vec![user(1, &["a"])]))));
    bench.tick();
    assert_eq!(bench.records(None), [""; 0]);
    bench.hub.set_queued(1, 0, 0);
    bench.live(SECOND);
    assert_eq!(bench.records(None), ["1:{}"]);
}

#[test]
fn records_of_a_removed_endpoint_come_back_in_time_and_go_in_slices_after_it() {
    let mut bench = Bench::new(with_endpoint(1));
    let many = (0..10_000).map(|id| new_record(id, Some(id % 100), "0")).collect();
    bench.alter(Alter { records_max: 10_000, ..alter(Alteration::Create(many)) }).unwrap();
    bench.handle(ToHub::Settings(Box::new(settings())));
    bench.live(99 * SECOND);
    assert_eq!((bench.hub.totals.records, bench.records(None).len()), (10_000, 0));
    bench.handle(ToHub::Settings(Box::new(with_endpoint(2))));
    assert_eq!((bench.records(None).len(), bench.records(Some(7)).len()), (10_000, 100));
    bench.live(1_000 * SECOND);
    assert_eq!(bench.records(None).len(), 10_000);
    // Another endpoint of the service says how long from now on.
    let mut other = with_endpoint(3);
    other.endpoints[0].name = "$endpoint\u{1f}s\u{1f}p\u{1f}other".into();
    other.endpoints[0].removed_ttl = 50 * SECOND;
    bench.handle(ToHub::Settings(Box::new(other)));
    bench.live(49 * SECOND);
    assert_eq!(bench.hub.totals.records, 10_000);
    bench.pass(SECOND);
    bench.tick();
    assert_eq!(bench.hub.totals.records, 10_000 - 512, "a slice at a time");
    bench.live(SECOND);
    assert_eq!((bench.hub.totals.records, bench.hub.totals.record_bytes, bench.hub.records.endpoints()), (0, 0, 0));
    bench.handle(ToHub::Settings(Box::new(with_endpoint(4))));
    assert_eq!(bench.records(None), [""; 0]);
}

#[test]
fn what_was_to_be_deleted_by_now_does_not_come_back_by_halves_and_holds_nobody_up() {
    for (ticks, back) in [(0, false), (1, false), (1, true)] {
        let mut bench = Bench::new(with_endpoint(1));
        let many = (1..=10_000).map(|id| user(id, &[&id.to_string()])).collect();
        bench.alter(Alter { records_max: 10_000, ..alter(Alteration::Create(many)) }).unwrap();
        bench.handle(ToHub::Settings(Box::new(settings())));
        bench.pass(100 * SECOND);
        (0..ticks).for_each(|_| bench.tick());
        let left = bench.hub.totals.records;
        assert_eq!(left, 10_000 - ticks * 512);
        if back {
            bench.now.unix_micros -= 50_000_000;
        }
        bench.handle(ToHub::Settings(Box::new(with_endpoint(1))));
        assert_eq!((bench.records(None).len(), bench.hub.totals.records), (0, left), "it is no work for the reload");
        // The endpoint has room for as many as ever, and nobody has their names.
        let again = Alteration::Create(vec![user(1, &["1"])]);
        bench.alter(Alter { records_max: 1, ..alter(again) }).unwrap();
        assert_eq!(named(&mut bench, "1"), Some(1));
        bench.tick();
        assert_eq!(bench.hub.totals.records, left + 1 - 512);
        // Removed and over once more before the first ones have gone.
        let mut short = with_endpoint(2);
        short.endpoints[0].removed_ttl = Duration::ZERO;
        bench.handle(ToHub::Settings(Box::new(short)));
        bench.handle(ToHub::Settings(Box::new(settings())));
        bench.tick();
        bench.handle(ToHub::Settings(Box::new(with_endpoint(3))));
        bench.alter(create(2, None, "2")).unwrap();
        bench.live(SECOND);
        assert_eq!((bench.records(None), bench.hub.totals.records), (vec!["2:2".to_owned()], 1));
        assert_eq!(bench.hub.records.due(), None);
    }
}

#[test]
fn users_who_go_with_their_endpoint_lose_their_tokens() {
    let mut bench = Bench::new(with_endpoint(1));
    (1..=2).for_each(|id| drop(bench.alter(register(id, &[&id.to_string()])).unwrap()));
    let tokens = [1, 2, 3].map(|number| TokenDigest([number; 32]));
    for (token, id) in tokens.into_iter().zip([1, 1, 7]) {
        let (group, user) = ("$endpoint\u{1f}s\u{1f}p".into(), RecordId(id).to_string().into());
        let grant = Grant { group, user, until: u64::MAX };
        assert!(matches!(bench.ask(Question::Issue { token, grant, user_max: 0 }), Answer::Issued));
    }
    let known = |bench: &Bench| tokens.map(|token| bench.hub.tokens.find(token, 0).is_some());
    bench.handle(ToHub::Settings(Box::new(settings())));
    bench.live(99 * SECOND);
    assert_eq!((known(&bench), bench.hub.totals.records), ([true; 3], 2));
    bench.inbox(1);
    bench.live(SECOND);
    assert_eq!((known(&bench), bench.hub.totals.records), ([false, false, true], 0));
    let told = bench.inbox(1);
    let [ToReactor::Announce(first), ToReactor::Announce(second)] = &told[..] else { panic!("{told:?}") };
    let revoked = tokens.map(|token| Notice::Revoked(Revocation::Token(token)));
    assert!([first, second].map(|notice| &**notice) == [&revoked[0], &revoked[1]], "{told:?}");
}

#[test]
fn what_is_on_its_way_to_an_endpoint_that_is_gone_goes_with_the_rest_of_it() {
    let mut at_once = with_endpoint(1);
    at_once.endpoints[0].removed_ttl = Duration::ZERO;
    let mut bench = Bench::new(at_once.clone());
    bench.alter(create(1, None, "1")).unwrap();
    let (gate, allowed) = Gate::shut();
    bench.hub.engine = Box::new(gate);
    let now = bench.now;
    bench.hub.handle(ToHub::Alter { origin: Bench::origin(0), alter: Box::new(put(1, "2")) }, now);
    bench.hub.handle(ToHub::Settings(Box::new(settings())), now);
    bench.hub.tick(now);
    assert_eq!((bench.hub.totals.records, bench.hub.records.due()), (1, Some(now.after(SECOND))));
    // Configured again meanwhile: all of it is there.
    bench.hub.handle(ToHub::Settings(Box::new(at_once)), now);
    allowed.store(99, Relaxed);
    bench.tick();
    assert_eq!(bench.records(None), ["1:2"]);
    bench.handle(ToHub::Settings(Box::new(settings())));
    bench.live(SECOND);
    assert_eq!(bench.hub.totals.records, 0);
}

#[test]
fn a_topic_of_an_endpoint_is_listened_to_only_by_its_settings() {
    let mut bench = Bench::new(with_endpoint(1));
    let mut unknown = join_of(ENDPOINT, StartAt::Now, 1, None);
    unknown.records.as_mut().unwrap().endpoint = "$endpoint\u{1f}s\u{1f}p\u{1f}other".into();
    assert_eq!(bench.try_join(0, unknown).unwrap_err(), Refusal::TopicMissing);
    assert_eq!(bench.try_join(0, join_of(ENDPOINT, StartAt::Now, 2, None)).unwrap_err(), Refusal::TopicMissing);
    assert!(bench.hub.topics.find(&ENDPOINT.into()).is_none(), "nothing was created");
    let settings = EndpointSettings { users: vec![user(1, &["secret"])], ..with_endpoint(1).endpoints.remove(0) };
    assert!(!format!("{settings:?}").contains("secret"));
    let shown = format!("{:?} {:?}", create(1, None, "\"secret\""), rename(1, &["secret"]));
    assert!(!shown.contains("secret"), "{shown}");
    assert_eq!(Stamp::default(), bench.hub.removed);
}

#[test]
fn ep_53_topics_of_endpoints_keep_what_their_services_ask_for_and_others_what_they_do() {
    let mut settings = with_endpoint(1);
    let size = log::kept_bytes(br#"{"type":"POST","record":{}}"#, None);
    let log = |messages, bytes| Some(EndpointLog { messages, bytes, age: SECOND });
    settings.endpoints[0].log = log(3, 1 << 20);
    let mut bench = Bench::new(settings.clone());
    let kept = |bench: &Bench, name: &str| {
        let found = bench.hub.topics.find(&name.into()).and_then(|id| bench.hub.topics.get(id));
        found.map_or(0, |topic| topic.log.len())
    };
    for number in 1..=5 {
        bench.alter(create(number, Some(7), "1")).unwrap();
        bench.publish("a", "1");
    }
    assert_eq!([ENDPOINT, &owners(7), "a"].map(|name| kept(&bench, name)), [3, 3, 5]);
    // And no owner's topic what the endpoint's has no place for.
    (11..=14).for_each(|id| drop(bench.alter(create(id, Some(id), "1")).unwrap()));
    assert_eq!([owners(7), owners(11), owners(12)].map(|name| kept(&bench, &name)), [0, 0, 1]);
    assert_eq!((kept(&bench, ENDPOINT), bench.hub.totals.logged), (3, 5 + 2 * 3));
    // Fewer of them, and bytes.
    settings.endpoints[0].log = log(2, 1 << 20);
    bench.handle(ToHub::Settings(Box::new(settings.clone())));
    bench.tick();
    assert_eq!(([ENDPOINT, "a"].map(|name| kept(&bench, name)), bench.hub.totals.logged), ([2, 5], 5 + 2 * 2));
    // Their age.
    bench.live(2 * SECOND);
    assert_eq!([ENDPOINT, &owners(7), "a"].map(|name| kept(&bench, name)), [0, 0, 5]);
    settings.endpoints[0].log = log(2, size);
    bench.handle(ToHub::Settings(Box::new(settings.clone())));
    bench.alter(create(6, None, "1")).unwrap();
    assert_eq!(kept(&bench, ENDPOINT), 0, "one is larger than that");
    // More than the others, but for the bytes of a topic; the largest of all endpoints.
    (settings.window.count, settings.window.age) = (1, SECOND);
    let other = EndpointSettings { name: "$endpoint\u{1f}s\u{1f}p\u{1f}other".into(), ..settings.endpoints[0].clone() };
    settings.endpoints.push(EndpointSettings { log: log(4, u64::MAX), ..other });
    bench.handle(ToHub::Settings(Box::new(settings)));
    for number in 21..=29 {
        bench.alter(create(number, None, "1")).unwrap();
        bench.publish("a", "1");
    }
    assert_eq!([ENDPOINT, "a"].map(|name| kept(&bench, name)), [4, 1]);
    assert_eq!(bench.hub.endpoint_window.bytes, bench.hub.settings.window.bytes);
}
