//! EP-4, EP-40, EP-41, EP-43 to EP-45, EP-81 to EP-83 and EP-85: what listeners are told, and who is told what.

use crate::support::endpoints::{
    BOARD, CALM, KEY, Listener, MASTER, NOTES, OPEN, PATH, Record, USERS, Writer, YAWE, bearer, dev_endpoints, numbered, service,
    target, upgrade_at,
};
use crate::support::{Client, REACTORS, Server, Xorshift, masked};
use fanwire::metrics::Counter;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;

/// Two users and a token of each.
fn users(server: &Server) -> [(Record, String); 2] {
    let mut writer = Writer::on(server, 3);
    ["anna", "bert"].map(|name| (writer.register(USERS, name), writer.login(USERS, name)))
}

#[test]
fn ep_04_names_with_the_same_first_segment_are_independent() {
    let table = |name: &str| format!("[[endpoints.rested.projects.endpoints]]\nname = \"{name}\"\n");
    let server = Server::with_examples("", "", &(table("cars/x/y") + &table("cars/x/z")));
    let mut listeners = ["cars/x/y", "cars/x/z"].map(|name| Listener::open(&server, 1, name, ""));
    let record = Writer::on(&server, 2).post("cars/x/y", "1");
    listeners[0].expect(&record.event("POST"));
    server.expect_silence(&mut listeners[1]);
    assert_eq!(Writer::on(&server, 0).list("cars/x/z"), []);
}

#[test]
fn ep_40_only_the_owner_of_a_record_hears_of_it() {
    let server = Server::with_endpoints("");
    let [(_, anna), (_, bert)] = users(&server);
    // Hers are those of all her sessions.
    let tokens = [&anna, &Writer::on(&server, 0).login(USERS, "anna")];
    let mut annas: Vec<Listener> =
        (0..2 * REACTORS).map(|number| Listener::of_user(&server, number / 2, NOTES, tokens[number % 2])).collect();
    let mut bert = Listener::of_user(&server, 1, NOTES, &bert);
    let mut writer = Writer::of_user(&server, 3, &anna);
    let created = writer.post(NOTES, r#"{"text":"mine"}"#);
    let put = writer.put(NOTES, &created.id, "2");
    let patched = writer.patch(NOTES, &created.id, r#"{"a":1}"#);
    // Whoever changes it: the record is hers.
    let by_master = Writer::master(&server, 1).put(NOTES, &created.id, "3");
    let deleted = writer.delete(NOTES, &created.id);
    for listener in &mut annas {
        let changes = [("POST", &created), ("PUT", &put), ("PATCH", &patched), ("PUT", &by_master), ("DELETE", &deleted)];
        changes.iter().for_each(|(kind, record)| listener.expect(&record.event(kind)));
        server.expect_silence(listener);
    }
    server.expect_silence(&mut bert);
    // What has no owner is heard by nobody but the master key.
    let mut master = Listener::open(&server, 2, NOTES, MASTER);
    let record = Writer::master(&server, 0).post(NOTES, "3");
    master.expect(&record.event("POST"));
    annas.iter_mut().for_each(|listener| server.expect_silence(listener));
    server.expect_silence(&mut bert);
}

#[test]
fn ep_41_with_read_by_others_all_users_hear_everything() {
    let server = Server::with_endpoints("");
    let [(_, anna), (_, bert)] = users(&server);
    let mut listeners: Vec<Listener> = [&anna, &bert]
        .into_iter()
        .flat_map(|token| (0..REACTORS).map(|reactor| Listener::of_user(&server, reactor, BOARD, token)))
        .collect();
    listeners.push(Listener::open(&server, 1, BOARD, MASTER));
    let mut writer = Writer::of_user(&server, 3, &anna);
    let created = writer.post(BOARD, "1");
    let events = [
        created.event("POST"),
        writer.put(BOARD, &created.id, "{}").event("PUT"),
        writer.patch(BOARD, &created.id, r#"{"a":1}"#).event("PATCH"),
        Writer::of_user(&server, 2, &bert).post(BOARD, "2").event("POST"),
        Writer::master(&server, 1).post(BOARD, "3").event("POST"),
        writer.delete(BOARD, &created.id).event("DELETE"),
    ];
    for listener in &mut listeners {
        events.iter().for_each(|event| listener.expect(event));
        server.expect_silence(listener);
    }
    // Who has the master key hears of the notes of everybody, too.
    let mut masters: Vec<Listener> = (0..REACTORS).map(|reactor| Listener::open(&server, reactor, NOTES, MASTER)).collect();
    for mut writer in [&anna, &bert].map(|token| Writer::of_user(&server, 3, token)) {
        let created = writer.post(NOTES, "4");
        let events = [created.event("POST"), writer.delete(NOTES, &created.id).event("DELETE")];
        masters.iter_mut().for_each(|listener| events.iter().for_each(|event| listener.expect(event)));
    }
}

#[test]
fn ep_43_client_frames_mean_nothing_but_there_must_not_be_too_many() {
    let server = Server::with_endpoints("");
    let mut listener = Listener::open(&server, 1, OPEN, "");
    listener.say("{\"type\":\"POST\"}");
    listener.client.send(masked(0x82, &[0, 255, 7]));
    listener.client.send(masked(0x81, "x".repeat(4_096).as_bytes()));
    // One message in two frames.
    listener.client.send([masked(0x01, b"[1,"), masked(0x80, b"2]")].concat());
    server.expect_silence(&mut listener);
    assert_eq!(Writer::on(&server, 2).list(OPEN), [], "none of it became a record");
    for payload in [&b"are you there"[..], b"", &[0xff; 125]] {
        listener.client.send(masked(0x89, payload));
        let pong = listener.frame();
        assert_eq!((pong.head[0], pong.payload.as_slice()), (0x8a, payload));
    }
    server.expect_silence(&mut listener);
    listener.client.send(masked(0x81, "x".repeat(4_097).as_bytes()));
    listener.expect_close(1009, "Message too big.");
    for (bytes, code, reason) in [
        (masked(0x81, b"\xff"), 1007, "Invalid UTF-8."),
        (masked(0x83, b""), 1002, "Protocol error."),
        (vec![0x81, 0x00], 1002, "Protocol error."),
        (masked(0xc1, b""), 1002, "Protocol error."),
    ] {
        let mut listener = Listener::open(&server, 2, OPEN, "");
        listener.client.send(bytes);
        listener.expect_close(code, reason);
    }
    // Its close is answered with its code.
    let mut listener = Listener::open(&server, 3, OPEN, "");
    listener.client.send(masked(0x88, &[&4001u16.to_be_bytes()[..], b"bye"].concat()));
    listener.expect_close(4001, "");
}

#[test]
fn ep_43_the_21st_frame_within_ten_seconds_closes() {
    let server = Server::with_endpoints(CALM);
    for first in [0x81, 0x82, 0x89, 0x8a] {
        let mut listener = Listener::open(&server, 1, OPEN, "");
        for _ in 0..10 {
            listener.client.send(masked(first, b""));
        }
        server.settle();
        server.advance(9.0);
        for _ in 0..10 {
            listener.client.send(masked(first, b""));
        }
        server.settle();
        if first == 0x89 {
            (0..20).for_each(|_| assert_eq!(listener.frame().opcode, 10));
        }
        server.expect_silence(&mut listener);
        // The first ten are forgotten now, and the others are not.
        server.advance(1.1);
        (0..10).for_each(|_| listener.client.send(masked(first, b"")));
        server.settle();
        if first == 0x89 {
            (0..10).for_each(|_| assert_eq!(listener.frame().opcode, 10));
        }
        server.expect_silence(&mut listener);
        listener.client.send(masked(first, b""));
        loop {
            let frame = listener.frame();
            if frame.opcode == 8 {
                assert_eq!((frame.code(), &frame.payload[2..]), (Some(1008), &b"Too many messages."[..]));
                break;
            }
            assert_eq!((frame.opcode, first), (10, 0x89), "the pong of the last one");
        }
        listener.client.expect_end();
    }
}

#[test]
fn ep_43_each_frame_of_a_message_counts() {
    let server = Server::with_endpoints(CALM);
    // A message that has begun, and so many frames of it; the last of them ends it or not.
    let frames = |count: usize, last: u8| {
        let middle = masked(0x00, b"x").repeat(count - 2);
        [masked(0x01, b"x"), middle, masked(last, b"x")].concat()
    };
    for (twenty, one_more) in [
        (frames(20, 0x80), masked(0x82, b"x")),
        (frames(20, 0x00), masked(0x80, b"x")),
        (frames(20, 0x00), masked(0x00, b"x")),
        ([frames(10, 0x80), frames(10, 0x80)].concat(), frames(2, 0x00)),
    ] {
        let mut listener = Listener::open(&server, 1, OPEN, "");
        listener.client.send(twenty);
        server.expect_silence(&mut listener);
        listener.client.send(one_more);
        listener.expect_close(1008, "Too many messages.");
    }
    for at_once in [frames(21, 0x80), frames(21, 0x00), frames(60, 0x80)] {
        let mut listener = Listener::open(&server, 2, OPEN, "");
        listener.client.send(at_once);
        listener.expect_close(1008, "Too many messages.");
    }
}

#[test]
fn ep_44_all_listeners_share_one_frame_per_change() {
    const EACH: usize = 5;
    let server = Server::with_endpoints("");
    let [(_, anna), _] = users(&server);
    // Everybody's and the owner's are the same bytes.
    let mut listeners: Vec<Listener> =
        (0..EACH * REACTORS).map(|number| Listener::of_user(&server, number % REACTORS, NOTES, &anna)).collect();
    listeners.extend((0..REACTORS).map(|reactor| Listener::open(&server, reactor, NOTES, MASTER)));
    let mut numbering: Vec<Listener> = Vec::new();
    let mut writer = Writer::of_user(&server, 3, &anna);
    let mut created = writer.post(NOTES, "0");
    listeners.iter_mut().for_each(|listener| listener.expect(&created.event("POST")));
    // Those who ask for numbers share one of their own.
    for forms in 1..=2 {
        for kind in ["POST", "PUT", "PATCH", "DELETE"] {
            server.settle();
            let (encodings, deliveries) = (server.count(Counter::Encodings), server.count(Counter::Deliveries));
            created = match kind {
                "POST" => writer.post(NOTES, "{}"),
                "PUT" => writer.put(NOTES, &created.id, "{\"a\":1}"),
                "PATCH" => writer.patch(NOTES, &created.id, "{\"b\":2}"),
                _ => writer.delete(NOTES, &created.id),
            };
            let event = created.event(kind);
            listeners.iter_mut().for_each(|listener| listener.expect(&event));
            numbering.iter_mut().for_each(|listener| assert_eq!(numbered(&listener.text()).0, event));
            server.settle();
            assert_eq!(server.count(Counter::Encodings) - encodings, forms, "{kind}");
            assert_eq!(server.count(Counter::Deliveries) - deliveries, (listeners.len() + numbering.len()) as u64);
        }
        let query = format!("{MASTER}&fw_seq=1");
        numbering.extend((0..REACTORS).map(|reactor| Listener::open(&server, reactor, NOTES, &query)));
    }
}

#[test]
fn ep_45_all_see_one_order_and_who_comes_later_sees_all_that_is_later_and_nothing_else() {
    const WRITERS: usize = REACTORS;
    const EACH: usize = 60;
    let server = Server::with_endpoints("");
    let door = *server;
    let mut early: Vec<Listener> = (0..REACTORS).map(|reactor| Listener::open(&door, reactor, OPEN, "fw_seq=1")).collect();
    let (mut late, halted) = (Vec::new(), AtomicUsize::new(0));
    std::thread::scope(|threads| {
        // Half of the changes wait until somebody has come in while nothing changed.
        let mut gates = Vec::new();
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                let (gate, opened) = channel::<()>();
                gates.push(gate);
                let halted = &halted;
                threads.spawn(move || {
                    let mut random = Xorshift(number as u64 + 1);
                    let mut writer = Writer::on(&door, number);
                    let mut mine: Vec<String> = Vec::new();
                    for count in 0..EACH {
                        if count == EACH / 2 {
                            halted.fetch_add(1, SeqCst);
                            assert!(opened.recv().is_err(), "it is dropped");
                        }
                        let known = (!mine.is_empty()).then(|| random.below(mine.len() as u64) as usize);
                        match (random.below(3), known) {
                            (0, Some(place)) => drop(writer.put(OPEN, &mine[place], &count.to_string())),
                            (1, Some(place)) => drop(writer.patch(OPEN, &mine[place], &format!("{{\"{number}\":{count}}}"))),
                            _ => mine.push(writer.post(OPEN, &format!("\"{number} {count}\"")).id),
                        }
                    }
                })
            })
            .collect();
        while writers.iter().any(|writer| !writer.is_finished()) {
            let nothing_changes = halted.load(SeqCst) == WRITERS && !gates.is_empty();
            if late.len() < 40 || nothing_changes {
                let number = late.len();
                let mut readers = [0, 2].map(|more| Writer::on(&door, (number + more) % REACTORS));
                let before = readers[0].list(OPEN);
                let listener = Listener::open(&door, (number + 1) % REACTORS, OPEN, "fw_seq=1");
                late.push(Late { before, listener, after: readers[1].list(OPEN) });
            }
            // One that has failed fails the test; the others must not wait for it.
            if nothing_changes || writers.iter().any(|writer| writer.is_finished()) {
                gates.clear();
            }
            std::thread::yield_now();
        }
    });
    let all: Vec<(String, u64)> = (0..WRITERS * EACH).map(|_| numbered(&early[0].text())).collect();
    assert!(all.windows(2).all(|pair| pair[0].1 < pair[1].1), "numbers grow");
    for listener in &mut early[1..] {
        let other: Vec<(String, u64)> = (0..WRITERS * EACH).map(|_| numbered(&listener.text())).collect();
        assert_eq!(other, all);
    }
    early.iter_mut().for_each(|listener| server.expect_silence(listener));
    // How many changes had been committed when these records were read: none goes, so the newest change is that of one of them.
    let committed = |records: &[Record]| {
        let kinds = ["POST", "PUT", "PATCH"];
        let events = records.iter().flat_map(|record| kinds.map(|kind| record.event(kind)));
        let places = events.filter_map(|event| all.iter().position(|(text, _)| *text == event));
        places.max().map_or(0, |newest| newest + 1)
    };
    assert!(
        late.iter().any(|one| committed(&one.before) == WRITERS * EACH / 2 && one.before == one.after),
        "between both halves"
    );
    for mut one in late {
        let seen = rest(&server, &mut one.listener);
        let begins = all.len() - seen.len();
        assert_eq!(seen, all[begins..], "the end of the same order");
        let (before, after) = (committed(&one.before), committed(&one.after));
        assert!(before <= begins && begins <= after, "opened between {before} and {after}, it begins with {begins}");
    }
}

/// Who opens while others write, and the records that were there just before and just after.
struct Late {
    before: Vec<Record>,
    listener: Listener,
    after: Vec<Record>,
}

#[test]
fn ep_81_without_parameters_of_its_own_nothing_is_added() {
    let server = Server::with_endpoints("");
    let mut plain: Vec<Listener> =
        ["", "fw_seq=0", "fw_seq=true", "fw_since=", "fw_since=-1", "fw_since=1e3", "fw_snapshot=yes", "fw_x=1"]
            .into_iter()
            .map(|query| Listener::open(&server, 1, OPEN, query))
            .collect();
    let mut with = Listener::open(&server, 2, OPEN, "fw_seq=1");
    let mut writer = Writer::on(&server, 3);
    let created = writer.post(OPEN, r#"{"someNewData":"test"}"#);
    let deleted = writer.delete(OPEN, &created.id);
    for (kind, record) in [("POST", &created), ("DELETE", &deleted)] {
        plain.iter_mut().for_each(|listener| listener.expect(&record.event(kind)));
        let (text, _) = numbered(&with.text());
        assert_eq!(text, record.event(kind));
    }
    plain.iter_mut().for_each(|listener| server.expect_silence(listener));
}

/// Numbers and texts until nothing more comes.
fn rest(server: &Server, listener: &mut Listener) -> Vec<(String, u64)> {
    let mut seen = Vec::new();
    server.settle();
    while listener.has_bytes() {
        seen.push(numbered(&listener.text()));
    }
    seen
}

#[test]
fn ep_82_what_was_missed_comes_once_and_then_the_rest() {
    let server = Server::with_endpoints("log_messages = 8");
    let [(_, anna), (_, bert)] = users(&server);
    let mut whole = Listener::open(&server, 1, NOTES, &format!("{MASTER}&fw_seq=1"));
    let mut writers = [&anna, &bert].map(|token| Writer::of_user(&server, 3, token));
    let records: Vec<(usize, Record)> =
        (0..6).map(|number| (number % 2, writers[number % 2].post(NOTES, &number.to_string()))).collect();
    let all: Vec<(String, u64)> = records.iter().map(|_| numbered(&whole.text())).collect();
    for (place, (_, seq)) in all.iter().enumerate() {
        let query = format!("fw_since={seq}");
        let mut master = Listener::open(&server, 2, NOTES, &format!("{MASTER}&{query}"));
        assert_eq!(rest(&server, &mut master), all[place + 1..], "after {place}");
        // An owner gets its own of them.
        let mut own = Listener::with(&server, 0, &target(NOTES, &query), &bearer(&anna));
        let mine: Vec<(String, u64)> = all[place + 1..]
            .iter()
            .zip(&records[place + 1..])
            .filter(|(_, (owner, _))| *owner == 0)
            .map(|(message, _)| message.clone())
            .collect();
        assert_eq!(rest(&server, &mut own), mine, "after {place}");
    }
    // Then live.
    let newest = all.last().expect("six").1;
    let mut resumed = Listener::open(&server, 3, NOTES, &format!("{MASTER}&fw_since={newest}"));
    server.expect_silence(&mut resumed);
    let record = writers[0].post(NOTES, "6");
    let (text, at) = numbered(&resumed.text());
    assert_eq!(text, record.event("POST"));
    assert!(at > newest);
    // From the future: once, and then live.
    let mut future = Listener::open(&server, 0, NOTES, &format!("{MASTER}&fw_since={}", u64::MAX));
    let (text, head) = numbered(&future.text());
    assert_eq!(text, r#"{"type":"RESET"}"#);
    assert!(head >= at);
    server.expect_silence(&mut future);
    // The log no longer reaches back.
    for number in 0..8 {
        writers[1].post(NOTES, &number.to_string());
    }
    for fields in [String::new(), bearer(&anna)] {
        let query = if fields.is_empty() { format!("{MASTER}&fw_since={newest}") } else { format!("fw_since={newest}") };
        let mut late = Listener::with(&server, 1, &target(NOTES, &query), &fields);
        let (text, head) = numbered(&late.text());
        assert_eq!((text.as_str(), head > at), (r#"{"type":"RESET"}"#, true));
        server.expect_silence(&mut late);
        let record = writers[0].post(NOTES, "8");
        let (text, seq) = numbered(&late.text());
        assert!(text == record.event("POST") && seq > head);
    }
}

/// Applies what came to what was there: records by id, in order of creation.
fn apply(records: &mut BTreeMap<String, String>, text: &str) {
    let message: serde_json::Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let record = &message["record"];
    let id = record["uniqueId"].as_str().unwrap_or_else(|| panic!("a record: {text}")).to_owned();
    match message["type"].as_str() {
        Some("DELETE") => drop(records.remove(&id)),
        Some("POST" | "PUT" | "PATCH") => drop(records.insert(id, record.to_string())),
        _ => panic!("a change: {text}"),
    }
}

/// What a snapshot holds.
fn taken(text: &str) -> BTreeMap<String, String> {
    let message: serde_json::Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(message["type"], "SNAPSHOT", "{text}");
    let records = message["records"].as_array().unwrap_or_else(|| panic!("records: {text}"));
    records.iter().map(|record| (record["uniqueId"].as_str().expect("an id").to_owned(), record.to_string())).collect()
}

#[test]
fn ep_83_a_snapshot_and_what_follows_are_the_records_at_every_moment() {
    for (seed, filler) in [(1, 10), (2, 3_000)] {
        let server = Server::with_endpoints("");
        let door = *server;
        // With it a snapshot is written elsewhere, and takes its time.
        let data = format!("\"{}\"", "x".repeat(filler));
        let mut first = Writer::on(&door, 0);
        (0..40).for_each(|_| drop(first.post(OPEN, &data)));
        let mut listeners: Vec<Listener> = Vec::new();
        std::thread::scope(|threads| {
            for number in 0..3 {
                let data = data.clone();
                threads.spawn(move || {
                    let mut random = Xorshift(seed * 10 + number + 1);
                    let mut writer = Writer::on(&door, number as usize);
                    let mut mine: Vec<String> = Vec::new();
                    for _ in 0..60 {
                        let known = (!mine.is_empty()).then(|| random.below(mine.len() as u64) as usize);
                        match (random.below(4), known) {
                            (0, Some(place)) => drop(writer.put(OPEN, &mine[place], "{\"put\":1}")),
                            (1, Some(place)) => drop(writer.patch(OPEN, &mine[place], "{\"patched\":2}")),
                            (2, Some(place)) => drop(writer.delete(OPEN, &mine.swap_remove(place))),
                            _ => mine.push(writer.post(OPEN, &data).id),
                        }
                    }
                });
            }
            for number in 0..20 {
                listeners.push(Listener::open(&door, number % REACTORS, OPEN, "fw_snapshot=1"));
            }
        });
        let expected: BTreeMap<String, String> = Writer::on(&server, 1)
            .list(OPEN)
            .into_iter()
            .map(|record| {
                let shown: serde_json::Value = serde_json::from_str(&record.in_message()).expect("a record is JSON");
                (record.id, shown.to_string())
            })
            .collect();
        server.settle();
        for (number, listener) in listeners.iter_mut().enumerate() {
            let first = listener.text();
            let (_, mut at) = numbered(&first);
            let mut records = taken(&first);
            server.settle();
            while listener.has_bytes() {
                let (text, seq) = numbered(&listener.text());
                assert!(seq > at, "{seq} after {at}");
                at = seq;
                apply(&mut records, &text);
            }
            assert_eq!(records, expected, "seed {seed}, listener {number}");
        }
    }
}

#[test]
fn ep_83_a_snapshot_shows_what_may_be_seen_in_the_order_of_messages() {
    let server = Server::with_endpoints("limits.list_bytes_max = 1000\nlog_messages = 8");
    let [(_, anna), (_, bert)] = users(&server);
    let mut writer = Writer::of_user(&server, 3, &anna);
    let records: Vec<Record> = (0..3).map(|number| writer.post(NOTES, &number.to_string())).collect();
    Writer::of_user(&server, 3, &bert).post(NOTES, "\"another\"");
    let mut own = Listener::with(&server, 1, &target(NOTES, "fw_snapshot=1"), &bearer(&anna));
    let (text, at) = numbered(&own.text());
    let shown: Vec<String> = records.iter().map(Record::in_message).collect();
    assert_eq!(text, format!(r#"{{"type":"SNAPSHOT","records":[{}]}}"#, shown.join(",")));
    let put = writer.put(NOTES, &records[0].id, "7");
    let (text, seq) = numbered(&own.text());
    assert!(text == put.event("PUT") && seq > at);
    // Nothing there, and nobody's.
    let mut empty = Listener::open(&server, 2, OPEN, "fw_snapshot=1");
    assert_eq!(numbered(&empty.text()).0, r#"{"type":"SNAPSHOT","records":[]}"#);
    // With a number only if that does not reach back.
    let with_since =
        |since: u64| Listener::with(&server, 0, &target(NOTES, &format!("fw_snapshot=1&fw_since={since}")), &bearer(&anna));
    assert_eq!(numbered(&with_since(at).text()).0, put.event("PUT"));
    assert!(with_since(u64::MAX).text().starts_with(r#"{"type":"SNAPSHOT","records":[{"data":7,"#));
    // Too large for a list.
    writer.post(NOTES, &format!("\"{}\"", "x".repeat(1_000)));
    let mut large = Listener::with(&server, 0, &target(NOTES, "fw_snapshot=1"), &bearer(&anna));
    assert_eq!(numbered(&large.text()).0, r#"{"type":"RESET"}"#);
    let last = writer.post(NOTES, "8");
    assert_eq!(numbered(&large.text()).0, last.event("POST"));
}

#[test]
fn ep_85_services_are_told_apart_by_their_hosts() {
    let server = Server::with_endpoints("");
    let mut rested = Listener::open(&server, 1, OPEN, "");
    let open_at = |host: &str| {
        let mut client = Client::on(&server, 2);
        assert_eq!(upgrade_at(&mut client, host, &target(OPEN, ""), "").status, 101, "{host}");
        client
    };
    let mut yawe: Vec<Client> = [YAWE, "APP.yawe.DEV", "app.yawe.dev:8080"].map(open_at).into();
    let mut others: Vec<Client> = ["yawe.dev", "app.yawe.dev.example", "xapp.yawe.dev", "[::1]:80"].map(open_at).into();
    let record = Writer::on(&server, 3).post(OPEN, "1");
    rested.expect(&record.event("POST"));
    others.iter_mut().for_each(|client| assert_eq!(client.text(), record.event("POST")));
    yawe.iter_mut().for_each(|client| server.expect_silence(client));
    // A record of the other one.
    let record = Writer::at(&server, 0, YAWE).post(OPEN, "2");
    yawe.iter_mut().for_each(|client| assert_eq!(client.text(), record.event("POST")));
    server.expect_silence(&mut rested);
    others.iter_mut().for_each(|client| server.expect_silence(client));
    // Without a fallback other hosts are not served.
    let only = Server::cable(dev_endpoints(&service("yawe", &format!("hosts = [\"{YAWE}\"]"), "", "")));
    let mut client = Client::on(&only, 1);
    assert_eq!(upgrade_at(&mut client, "localhost", &format!("{PATH}/{OPEN}?key={KEY}"), "").status, 404);
    let mut client = Client::on(&only, 1);
    assert_eq!(upgrade_at(&mut client, YAWE, &target(OPEN, MASTER), "").status, 101);
}
