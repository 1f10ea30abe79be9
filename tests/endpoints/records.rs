//! EP-30 to EP-34, EP-36 to EP-39, EP-57 to EP-62, EP-81 and EP-84: records over HTTP, and what listeners hear of them.

use crate::support::endpoints::{Listener, MASTER, MISSING, NOTES, OPEN, Record, USERS, Writer, credentials, target};
use crate::support::{Client, REACTORS, Server};
use fanwire::metrics::Counter;
use serde_json::value::RawValue;
use std::thread;

const TYPES: &str = "Types are different.";
const OBJECTS: &str = "Objects are required.";
const NO_RECORD: &str = "No record found.";

/// One on each reactor.
fn listeners(server: &Server) -> Vec<Listener> {
    (0..REACTORS).map(|reactor| Listener::open(server, reactor, OPEN, "")).collect()
}

#[track_caller]
fn all_hear(listeners: &mut [Listener], text: &str) {
    listeners.iter_mut().for_each(|listener| listener.expect(text));
}

/// 400 with this text is the answer.
#[track_caller]
fn refuses(writer: &mut Writer, method: &str, query: &str, body: &str, text: &str) {
    let answer = writer.ask(method, OPEN, query, body);
    assert_eq!((answer.status, answer.text()), (400, format!("{{\"error\":\"{text}\"}}").as_str()), "{method} {query} {body}");
}

#[track_caller]
fn records_of(list: &str) -> Vec<Record> {
    let texts: Vec<&RawValue> = serde_json::from_str(list).unwrap_or_else(|error| panic!("{error}: {list}"));
    texts.into_iter().map(|text| Record::parse(text.get())).collect()
}

#[test]
fn ep_30_a_post_reaches_every_listener_as_one_frame_in_the_form_of_the_documents() {
    let server = Server::with_endpoints("");
    let mut listeners = listeners(&server);
    for reactor in 0..REACTORS {
        let id = Writer::on(&server, reactor).post(OPEN, r#"{"someNewData":"test"}"#).id;
        let time = "2026-11-20T16:17:47.000Z";
        let expected = format!(
            r#"{{"type":"POST","record":{{"data":{{"someNewData":"test"}},"uniqueId":"{id}","updatedAt":"{time}","createdAt":"{time}"}}}}"#
        );
        for listener in &mut listeners {
            let frame = listener.frame();
            assert_eq!((frame.head[0], String::from_utf8_lossy(&frame.payload)), (0x81, expected.as_str().into()));
            server.expect_silence(listener);
        }
    }
}

#[test]
fn ep_31_ids_are_hex_and_times_have_milliseconds_and_are_equal_at_creation() {
    let server = Server::with_endpoints("");
    let mut writer = Writer::on(&server, 1);
    let mut listener = Listener::open(&server, 2, OPEN, "");
    for (after, time) in
        [(0.0, "2026-11-20T16:17:47.000Z"), (0.25, "2026-11-20T16:17:47.250Z"), (3.5, "2026-11-20T16:17:50.750Z")]
    {
        server.advance(after);
        let Record { id, created, updated, .. } = writer.post(OPEN, "1");
        assert!(id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{id}");
        assert_eq!((created.as_str(), updated.as_str()), (time, time));
        let text = listener.text();
        assert!(text.contains(&format!("\"uniqueId\":\"{id}\",\"updatedAt\":\"{time}\",\"createdAt\":\"{time}\"")), "{text}");
    }
}

#[test]
fn ep_32_ids_are_version_4_uuids() {
    let server = Server::with_endpoints("");
    let mut ids = Vec::new();
    for reactor in 0..REACTORS {
        let mut writer = Writer::on(&server, reactor);
        ids.extend((0..25).map(|_| writer.post(OPEN, "1").id));
    }
    for id in &ids {
        assert!(id.as_bytes()[12] == b'4' && b"89ab".contains(&id.as_bytes()[16]), "{id}");
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 25 * REACTORS, "each is another one");
}

#[test]
fn ep_33_a_put_is_told_with_the_full_new_record() {
    let server = Server::with_endpoints("");
    let mut writer = Writer::on(&server, 3);
    let created = writer.post(OPEN, r#"{"a":1}"#);
    let mut listeners = listeners(&server);
    server.advance(1.5);
    let put = writer.put(OPEN, &created.id, r#"{"b":2}"#);
    let expected = Record { data: r#"{"b":2}"#.to_owned(), updated: "2026-11-20T16:17:48.500Z".to_owned(), ..created };
    assert_eq!(put, expected);
    all_hear(&mut listeners, &expected.event("PUT"));
    // Within the same millisecond the time grows all the same, and an equal value is told, too.
    let again = writer.put(OPEN, &put.id, r#"{"b":2}"#);
    assert_eq!(again, Record { updated: "2026-11-20T16:17:48.501Z".to_owned(), ..expected });
    all_hear(&mut listeners, &again.event("PUT"));
    assert_eq!(writer.list(OPEN), [again]);
}

#[test]
fn ep_34_a_patch_and_a_delete_are_told_with_the_full_record() {
    let server = Server::with_endpoints("");
    let mut writer = Writer::on(&server, 0);
    let created = writer.post(OPEN, r#"{"a":1,"b":{"c":2}}"#);
    let mut listeners = listeners(&server);
    server.advance(0.001);
    let patched = writer.patch(OPEN, &created.id, r#"{"a":null,"b":{"d":3}}"#);
    let data = r#"{"b":{"c":2,"d":3}}"#.to_owned();
    assert_eq!(patched, Record { data, updated: "2026-11-20T16:17:47.001Z".to_owned(), ..created });
    all_hear(&mut listeners, &patched.event("PATCH"));
    server.advance(5.0);
    assert_eq!(writer.delete(OPEN, &patched.id), patched, "as it was stored last");
    all_hear(&mut listeners, &patched.event("DELETE"));
    listeners.iter_mut().for_each(|listener| server.expect_silence(listener));
    assert_eq!(writer.list(OPEN), []);
}

#[test]
fn ep_36_data_keeps_its_text() {
    let server = Server::with_endpoints("");
    let mut writer = Writer::on(&server, 0);
    let mut listener = Listener::open(&server, 1, OPEN, "");
    let sent = " {\"z\" : 1.0,\r\n\t\"a\" : [ 1e2 , 9007199254740993 ], \"z\" : \"\\u0041\\/\\n  é\" , \"\" : null } ";
    let kept = "{\"z\":1.0,\"a\":[1e2,9007199254740993],\"z\":\"\\u0041\\/\\n  é\",\"\":null}";
    let created = writer.post(OPEN, sent);
    assert_eq!(created.data, kept);
    listener.expect(&created.event("POST"));
    let put = writer.put(OPEN, &created.id, &format!("[{sent}]"));
    assert_eq!(put.data, format!("[{kept}]"));
    listener.expect(&put.event("PUT"));
    assert_eq!(Writer::on(&server, 2).list(OPEN), [put]);
    for scalar in ["null", "true", "-0.0", "\"\"", "[]"] {
        assert_eq!(writer.post(OPEN, scalar).data, scalar, "every JSON value is one");
    }
}

#[test]
fn ep_37_a_text_is_stored_and_sent_as_a_string() {
    let server = Server::with_endpoints("");
    let mut writer = Writer::on(&server, 2);
    let mut listener = Listener::open(&server, 0, OPEN, "");
    for (field, text, data) in [
        ("text/plain", "hello", "\"hello\""),
        ("text/plain;charset=UTF-8", " {\"a\":1} \"\\\n\u{1}é", "\" {\\\"a\\\":1} \\\"\\\\\\n\\u0001é\""),
    ] {
        let field = format!("Content-Type: {field}\r\n");
        let answer = writer.call("POST", &target(OPEN, ""), &field, text.as_bytes());
        assert_eq!(answer.status, 201, "{answer:?}");
        let created = Record::parse(answer.text());
        assert_eq!(created.data, data);
        listener.expect(&created.event("POST"));
        let answer = writer.call("PUT", &target(OPEN, &format!("uniqueId={}", created.id)), &field, text.as_bytes());
        let put = Record::parse(answer.text());
        assert_eq!((answer.status, put.data.as_str()), (200, data));
        listener.expect(&put.event("PUT"));
        assert_eq!(Writer::on(&server, 1).list(OPEN).last(), Some(&put));
    }
}

#[test]
fn ep_38_failures_and_reads_send_nothing() {
    let server = Server::with_endpoints("limits = { body_bytes_max = 1000 }");
    let mut writer = Writer::on(&server, 1);
    let id = writer.post(OPEN, "[1]").id;
    let mut listeners = listeners(&server);
    let of = format!("uniqueId={id}");
    let of_nobody = format!("uniqueId={MISSING}");
    let large = format!("\"{}\"", "x".repeat(1000));
    for (method, query, body) in [
        ("POST", "", ""),
        ("POST", "", "{"),
        ("POST", "", &large),
        ("POST", "login=true", "{}"),
        ("POST", "logout=true", ""),
        ("PUT", "", "1"),
        ("PUT", &of, ""),
        ("PUT", &format!("{of}&strategy=merge"), "{}"),
        ("PUT", &format!("{of}&strategy=replace"), "{}"),
        ("PUT", &format!("{of}&strategy=x"), "1"),
        ("PUT", &of_nobody, "1"),
        ("PATCH", &of, "{"),
        ("PATCH", "", "{}"),
        ("DELETE", "", ""),
        ("DELETE", &of_nobody, ""),
        ("GET", "uniqueId=x", ""),
        ("TRACE", "", ""),
    ] {
        let answer = writer.ask(method, OPEN, query, body);
        assert!(answer.status >= 400, "{method} {query}: {answer:?}");
    }
    for query in ["", &of, "dataOnly=true", "fw_limit=1"] {
        assert_eq!(writer.ask("GET", OPEN, query, "").status, 200);
    }
    assert_eq!(writer.ask("OPTIONS", OPEN, "", "").status, 204);
    listeners.iter_mut().for_each(|listener| server.expect_silence(listener));
    let [record] = &writer.list(OPEN)[..] else { panic!("one record") };
    assert_eq!((&record.id, record.data.as_str(), &record.updated), (&id, "[1]", &record.created), "nothing was changed");
}

#[test]
fn ep_38_login_and_logout_send_nothing() {
    let server = Server::with_endpoints("");
    let mut writer = Writer::on(&server, 1);
    writer.register(USERS, "anna");
    let mut listeners: Vec<Listener> = [USERS, NOTES, OPEN].map(|endpoint| Listener::open(&server, 2, endpoint, MASTER)).into();
    let token = writer.login(USERS, "anna");
    writer.logout(USERS, &token);
    for (query, body) in [("login=true", r#"{"username":"anna","password":"wrong words"}"#), ("logout=true", "")] {
        assert_eq!(writer.ask("POST", USERS, query, body).status, 401);
    }
    assert_eq!(writer.ask("POST", USERS, "", &credentials("anna")).status, 400);
    listeners.iter_mut().for_each(|listener| server.expect_silence(listener));
    let record = writer.register(USERS, "bert");
    listeners[0].expect(&record.event("POST"));
}

#[test]
fn ep_39_data_only_changes_the_answer_to_a_get_only() {
    let server = Server::with_endpoints("");
    let mut writer = Writer::on(&server, 2);
    let mut listener = Listener::open(&server, 3, OPEN, "");
    let mut record = Record::parse(writer.ask("POST", OPEN, "dataOnly=true", r#"{"a":1}"#).text());
    listener.expect(&record.event("POST"));
    let of = format!("uniqueId={}&dataOnly=true", record.id);
    for (method, body) in [("PUT", r#"{"b":2}"#), ("PATCH", r#"{"c":3}"#)] {
        record = Record::parse(writer.ask(method, OPEN, &of, body).text());
        listener.expect(&record.event(method));
    }
    assert_eq!(writer.ask("GET", OPEN, &of, "").text(), r#"{"b":2,"c":3}"#);
    assert_eq!(Record::parse(writer.ask("DELETE", OPEN, &of, "").text()), record);
    listener.expect(&record.event("DELETE"));
}

#[test]
fn ep_57_get_answers_all_records_oldest_first() {
    let server = Server::with_endpoints("");
    let get = |reactor| Writer::on(&server, reactor).ask("GET", OPEN, "", "");
    let empty = get(0);
    assert_eq!((empty.status, empty.text()), (200, "[]"));
    assert_eq!((empty.field("Content-Type"), empty.field("Cache-Control")), (Some("application/json"), Some("no-store")));
    let mut writers: Vec<Writer> = (0..REACTORS).map(|reactor| Writer::on(&server, reactor)).collect();
    let mut records: Vec<Record> = (0..10).map(|number| writers[number % REACTORS].post(OPEN, &number.to_string())).collect();
    // Changed ones keep their places.
    records[3] = writers[1].put(OPEN, &records[3].id, "\"new\"");
    writers[2].delete(OPEN, &records.remove(7).id);
    let texts: Vec<String> = records.iter().map(Record::over_http).collect();
    let expected = format!("[{}]", texts.join(","));
    for reactor in 0..REACTORS {
        assert_eq!(get(reactor).text(), expected);
        let mut client = Client::on(&server, reactor);
        client.send(format!("HEAD {} HTTP/1.1\r\nHost: h\r\n\r\n", target(OPEN, "")));
        let head = client.head();
        assert_eq!((head.status, head.field("Content-Length")), (200, Some(expected.len().to_string().as_str())));
        assert_eq!(client.get(&target(OPEN, "")).text(), expected, "no body came before it");
    }
}

#[test]
fn ep_58_one_id_gives_one_object_and_several_an_array_in_their_order() {
    let server = Server::with_endpoints("");
    let mut writer = Writer::on(&server, 1);
    let [a, b, c] = ["1", "2", "3"].map(|data| writer.post(OPEN, data));
    let mut reader = Writer::on(&server, 2);
    let mut get = |query: &str| {
        let answer = reader.ask("GET", OPEN, query, "");
        (answer.status, answer.text().to_owned())
    };
    let object = |record: &Record| (200, record.over_http());
    let array = |records: &[&Record]| {
        let texts: Vec<String> = records.iter().map(|record| record.over_http()).collect();
        (200, format!("[{}]", texts.join(",")))
    };
    let none = (400, format!("{{\"error\":\"{NO_RECORD}\"}}"));
    assert_eq!(get(&format!("uniqueId={}", b.id)), object(&b));
    assert_eq!(get(&format!("uniqueId={}&uniqueId={}", c.id, a.id)), array(&[&c, &a]));
    assert_eq!(get(&format!("uniqueId={},{}&uniqueId={}", c.id, a.id, b.id)), array(&[&c, &a, &b]));
    assert_eq!(get(&format!("uniqueId={},{}", a.id, a.id)), array(&[&a]), "distinct");
    assert_eq!(get(&format!("uniqueId={MISSING},{},x", a.id)), array(&[&a]), "missing ones are left out");
    for nobody in [MISSING, "x", &format!("{MISSING},x"), "x,y"] {
        assert_eq!(get(&format!("uniqueId={nobody}")), none, "{nobody}");
    }
    let ids = |count: u32| (0..count).map(|number| format!("{number:032x}")).collect::<Vec<_>>().join(",");
    assert_eq!(get(&format!("uniqueId={},{}", ids(99), b.id)), array(&[&b]));
    let refusal = (400, r#"{"error":"Parameters not valid."}"#.to_owned());
    assert_eq!(get(&format!("uniqueId={},{}", ids(100), b.id)), refusal);
}

#[test]
fn ep_59_data_only_answers_the_data_alone() {
    let server = Server::with_endpoints("");
    let mut writer = Writer::on(&server, 1);
    let ids = [r#"{"a":1.0}"#, "null", "\"x\""].map(|data| writer.post(OPEN, data).id);
    let mut reader = Writer::on(&server, 3);
    let mut get = |query: &str| reader.ask("GET", OPEN, query, "").text().to_owned();
    assert_eq!(get("dataOnly=true"), r#"[{"a":1.0},null,"x"]"#);
    assert_eq!(get(&format!("dataOnly=true&uniqueId={}", ids[0])), r#"{"a":1.0}"#);
    assert_eq!(get(&format!("dataOnly=true&uniqueId={},{}", ids[2], ids[1])), r#"["x",null]"#);
    for off in ["dataOnly=false", "dataOnly=1", "dataOnly", "dataonly=true"] {
        assert!(get(off).starts_with("[{\"uniqueId\":"), "{off}");
    }
}

#[test]
fn ep_60_statuses_of_success() {
    let server = Server::with_endpoints("");
    let mut writer = Writer::on(&server, 0);
    let created = writer.ask("POST", OPEN, "", "{}");
    let id = Record::parse(created.text()).id;
    assert_eq!((created.status, created.field("Content-Type")), (201, Some("application/json")));
    let of = format!("uniqueId={id}");
    for (method, body) in [("PUT", "[]"), ("PATCH", r#"{"a":1}"#), ("DELETE", "")] {
        let answer = writer.ask(method, OPEN, &of, body);
        assert_eq!((answer.status, Record::parse(answer.text()).id), (200, id.clone()), "{method}");
        assert_eq!((answer.field("Content-Type"), answer.field("Cache-Control")), (Some("application/json"), Some("no-store")));
    }
    // A patch may say what it is.
    let id = writer.post(OPEN, r#"{"a":1}"#).id;
    let fields = "Content-Type: application/merge-patch+json\r\n";
    let answer = writer.call("PATCH", &target(OPEN, &format!("uniqueId={id}")), fields, br#"{"b":2}"#);
    assert_eq!((answer.status, Record::parse(answer.text()).data.as_str()), (200, r#"{"a":1,"b":2}"#));
}

#[test]
fn ep_61_strategies_replace_anything_or_members_or_the_same_type() {
    let server = Server::with_endpoints("");
    let mut writer = Writer::on(&server, 2);
    let mut listener = Listener::open(&server, 1, OPEN, "");
    let id = writer.post(OPEN, r#"{"a":1,"b":2}"#).id;
    listener.text();
    let mut change = |strategy: &str, body: &str, expected: Result<&str, &str>| {
        let query = format!("uniqueId={id}&strategy={strategy}");
        match expected {
            Err(text) => refuses(&mut writer, "PUT", &query, body, text),
            Ok(data) => {
                let record = Record::parse(writer.ask("PUT", OPEN, &query, body).text());
                assert_eq!(record.data, data, "{strategy}");
                // The next message is about this one: what was refused before it has sent none.
                listener.expect(&record.event("PUT"));
            }
        }
    };
    change("merge", r#"{"c":{"d":1},"a":null}"#, Ok(r#"{"a":null,"b":2,"c":{"d":1}}"#));
    change("merge", r#"{"c":{"e":2}}"#, Ok(r#"{"a":null,"b":2,"c":{"e":2}}"#));
    change("merge", "[1]", Err(OBJECTS));
    change("replace", "[1]", Err(TYPES));
    change("replace", r#"{"x":1}"#, Ok(r#"{"x":1}"#));
    let values = [r#"{"y":2}"#, "[1]", "\"s\"", "1.0", "true", "null"];
    for (place, value) in values.into_iter().enumerate() {
        change("force", value, Ok(value));
        for (other_place, other) in values.into_iter().enumerate() {
            change("replace", other, if place == other_place { Ok(other) } else { Err(TYPES) });
        }
        if place > 0 {
            change("merge", r#"{"y":2}"#, Err(OBJECTS));
        }
    }
    change("replace", "false", Err(TYPES));
    change("", "false", Ok("false"));
    change("replace", "true", Ok("true"));
    change("Force", "1", Err("Strategy not valid."));
    server.expect_silence(&mut listener);
}

/// Members that others add at the same time are not lost, neither in the record nor in what is told.
#[test]
fn ep_61_what_looks_first_is_done_again_when_somebody_comes_in_between() {
    const EACH: usize = 20;
    let server = Server::with_endpoints("");
    let id = Writer::on(&server, 0).post(OPEN, "{}").id;
    let mut listener = Listener::open(&server, 0, OPEN, "");
    let door = *server;
    thread::scope(|scope| {
        for reactor in 0..REACTORS {
            let id = &id;
            scope.spawn(move || {
                let mut writer = Writer::on(&door, reactor);
                let (method, query) = match reactor % 2 {
                    0 => ("PATCH", format!("uniqueId={id}")),
                    _ => ("PUT", format!("uniqueId={id}&strategy=merge")),
                };
                for number in 0..EACH {
                    let answer = writer.ask(method, OPEN, &query, &format!("{{\"{reactor}-{number}\":1}}"));
                    assert_eq!(answer.status, 200, "{answer:?}");
                }
            });
        }
    });
    for count in 1..=REACTORS * EACH {
        let event: serde_json::Value = serde_json::from_str(&listener.text()).unwrap();
        assert_eq!(event["record"]["data"].as_object().unwrap().len(), count, "{event}");
    }
}

#[test]
fn ep_61_large_changes_are_made_by_workers() {
    let server = Server::with_endpoints("");
    let mut writer = Writer::on(&server, 1);
    let mut listener = Listener::open(&server, 0, OPEN, "");
    let text = "x".repeat(20_000);
    let id = writer.post(OPEN, &format!("{{\"a\":\"{text}\"}}")).id;
    listener.text();
    let jobs = server.count(Counter::Jobs);
    let patched = writer.patch(OPEN, &id, r#"{"b":1}"#);
    assert_eq!(patched.data, format!("{{\"a\":\"{text}\",\"b\":1}}"));
    listener.expect(&patched.event("PATCH"));
    let merge = format!("uniqueId={id}&strategy=merge");
    let merged = Record::parse(writer.ask("PUT", OPEN, &merge, r#"{"a":2}"#).text());
    assert_eq!(merged.data, r#"{"a":2,"b":1}"#);
    listener.expect(&merged.event("PUT"));
    refuses(&mut writer, "PUT", &merge, &format!("\"{text}\""), OBJECTS);
    assert_eq!(server.count(Counter::Jobs), jobs + 3);
    server.expect_silence(&mut listener);
}

#[test]
fn ep_62_a_patch_follows_rfc_7396() {
    let server = Server::with_endpoints("");
    let mut writer = Writer::on(&server, 1);
    for (old, patch, new) in [
        (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
        (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
        (r#"{"a":"foo"}"#, "null", "null"),
        (r#"{"a":"foo"}"#, "\"bar\"", "\"bar\""),
        (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
        ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
        ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
    ] {
        let id = writer.post(OPEN, old).id;
        assert_eq!(writer.patch(OPEN, &id, patch).data, new, "{old} {patch}");
        assert_eq!(writer.ask("GET", OPEN, &format!("uniqueId={id}&dataOnly=true"), "").text(), new);
    }
}

/// All that a socket without any `fw_` is sent, byte for byte.
#[test]
fn ep_81_the_bytes_of_a_socket_are_those_of_the_specification() {
    let server = Server::with_endpoints("");
    let mut listener = Listener::open(&server, 1, OPEN, "");
    assert_eq!(
        listener.upgrade.raw,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    );
    server.expect_silence(&mut listener);
    let mut writer = Writer::on(&server, 3);
    let mut expect = |text: String| {
        let length = u16::try_from(text.len()).expect("a short one").to_be_bytes();
        let expected = [&[0x81, 126, length[0], length[1]], text.as_bytes()].concat();
        let frame = listener.frame();
        let came = [frame.head, frame.payload].concat();
        assert_eq!(String::from_utf8_lossy(&came), String::from_utf8_lossy(&expected));
        assert!(came == expected);
        server.expect_silence(&mut listener);
    };
    let begin = "2026-11-20T16:17:47.000Z";
    let shown = |data: &str, id: &str, updated: &str| {
        format!(r#"{{"data":{data},"uniqueId":"{id}","updatedAt":"{updated}","createdAt":"{begin}"}}"#)
    };
    let id = writer.post(OPEN, r#"{ "someNewData" : "test" }"#).id;
    let first = shown(r#"{"someNewData":"test"}"#, &id, begin);
    expect(format!(r#"{{"type":"POST","record":{first}}}"#));
    server.advance(1.0);
    writer.put(OPEN, &id, "[1.0]");
    expect(format!(r#"{{"type":"PUT","record":{}}}"#, shown("[1.0]", &id, "2026-11-20T16:17:48.000Z")));
    server.advance(0.5);
    writer.patch(OPEN, &id, r#"{"a":null}"#);
    let last = shown("{}", &id, "2026-11-20T16:17:48.500Z");
    expect(format!(r#"{{"type":"PATCH","record":{last}}}"#));
    server.advance(1.0);
    writer.delete(OPEN, &id);
    expect(format!(r#"{{"type":"DELETE","record":{last}}}"#));
    let text = writer.call("POST", &target(OPEN, ""), "Content-Type: text/plain\r\n", b"plain \"text\"");
    let id = Record::parse(text.text()).id;
    let late = |data: &str, id: &str| shown(data, id, "2026-11-20T16:17:49.500Z").replace(begin, "2026-11-20T16:17:49.500Z");
    expect(format!(r#"{{"type":"POST","record":{}}}"#, late(r#""plain \"text\"""#, &id)));
    let form = "Content-Type: multipart/form-data; boundary=XyZ\r\n";
    let part = |name: &str| format!("--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\nx\r\n");
    let body = format!("{}{}--XyZ--\r\n", part("a"), part("b"));
    let records = records_of(writer.call("POST", &target(OPEN, ""), form, body.as_bytes()).text());
    let file = |name: &str, id: &str| {
        late(&format!(r#"{{"file":{{"name":"{name}","size":1,"type":"application/octet-stream"}},"metadata":{{}}}}"#), id)
    };
    let files = [file("a", &records[0].id), file("b", &records[1].id)].join(",");
    expect(format!(r#"{{"type":"POST","record":[{files}]}}"#));
}

#[test]
fn ep_84_pages_together_are_the_full_list() {
    let server = Server::with_endpoints("");
    let mut writer = Writer::on(&server, 0);
    let mut records: Vec<Record> = (0..25).map(|number| writer.post(OPEN, &number.to_string())).collect();
    writer.delete(OPEN, &records.remove(9).id);
    let mut reader = Writer::on(&server, 1);
    for limit in [1, 5, 23, 24, 25, 10_000] {
        let (mut pages, mut after, mut more) = (Vec::new(), String::new(), true);
        while more {
            let answer = reader.ask("GET", OPEN, &format!("fw_limit={limit}{after}"), "");
            assert_eq!(answer.status, 200, "{answer:?}");
            let page = records_of(answer.text());
            pages.extend_from_slice(&page);
            let expected = (pages.len() < records.len()).then_some("1");
            assert_eq!(answer.field("X-Fanwire-More"), expected, "{limit}");
            more = expected.is_some();
            assert!(page.len() == limit || !more && page.len() <= limit, "{} records of {limit}", page.len());
            after = format!("&fw_after={}", page.last().expect("no page is empty").id);
        }
        assert_eq!(pages, records, "{limit}");
    }
    let last = format!("fw_after={}", records[23].id);
    assert_eq!(reader.ask("GET", OPEN, &last, "").text(), "[]");
    let rest = reader.ask("GET", OPEN, &format!("fw_after={}&dataOnly=true", records[20].id), "");
    assert_eq!((rest.text(), rest.field("X-Fanwire-More")), ("[22,23,24]", None));
    for query in ["fw_limit=0", "fw_limit=10001", "fw_limit=x", "fw_after=x"] {
        refuses(&mut reader, "GET", query, "", "Parameters not valid.");
    }
    refuses(&mut reader, "GET", &format!("fw_after={MISSING}"), "", NO_RECORD);
}

#[test]
fn ep_84_pages_are_of_what_may_be_seen() {
    let server = Server::with_endpoints("");
    let mut nobody = Writer::on(&server, 0);
    let mut users = ["anna", "bert"].map(|name| {
        nobody.register(USERS, name);
        Writer::of_user(&server, 1, &nobody.login(USERS, name))
    });
    let records: Vec<Record> = (0..20).map(|number| users[number % 3 % 2].post(NOTES, &number.to_string())).collect();
    for (owner, user) in users.iter_mut().enumerate() {
        let own: Vec<Record> =
            records.iter().enumerate().filter(|(at, _)| at % 3 % 2 == owner).map(|(_, it)| it.clone()).collect();
        for limit in 1..=own.len() + 1 {
            let mut pages: Vec<Record> = Vec::new();
            loop {
                let after = pages.last().map_or(String::new(), |last| format!("&fw_after={}", last.id));
                let answer = user.ask("GET", NOTES, &format!("fw_limit={limit}{after}"), "");
                pages.extend(records_of(answer.text()));
                assert_eq!(pages.len(), own.len().min(pages.len().div_ceil(limit) * limit), "whole pages but for the last");
                if answer.field("X-Fanwire-More").is_none() {
                    break;
                }
                assert!(pages.len() < own.len(), "there is more");
            }
            assert_eq!(pages, own, "{limit}");
        }
    }
    // What is created while somebody turns the pages is behind them, and what is deleted is on none.
    let [anna, _] = &mut users;
    let first = records_of(anna.ask("GET", NOTES, "fw_limit=5", "").text());
    let all = anna.list(NOTES);
    anna.delete(NOTES, &all[6].id);
    let last = anna.post(NOTES, "\"new\"");
    let rest = records_of(anna.ask("GET", NOTES, &format!("fw_after={}", first[4].id), "").text());
    assert_eq!(rest, [&all[5..6], &all[7..], &[last]].concat());
}

#[test]
fn ep_84_a_list_that_is_too_long_is_read_in_pages() {
    let server = Server::with_endpoints("limits = { list_bytes_max = 200000 }");
    let mut writer = Writer::on(&server, 0);
    let data = format!("\"{}\"", "x".repeat(40_000));
    let records: Vec<Record> = (0..5).map(|_| writer.post(OPEN, &data)).collect();
    let ids: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
    let mut reader = Writer::on(&server, 1);
    let whole = "Too many records; use fw_limit and fw_after.";
    refuses(&mut reader, "GET", "", "", whole);
    refuses(&mut reader, "GET", &format!("uniqueId={}", ids.join(",")), "", whole);
    let jobs = server.count(Counter::Jobs);
    let page = reader.ask("GET", OPEN, "fw_limit=4", "");
    assert_eq!((page.status, page.field("X-Fanwire-More")), (200, Some("1")));
    assert_eq!(server.count(Counter::Jobs), jobs + 1, "a long list is written elsewhere");
    let rest = reader.ask("GET", OPEN, &format!("fw_after={}", ids[3]), "");
    assert_eq!((rest.status, rest.field("X-Fanwire-More")), (200, None));
    assert_eq!(server.count(Counter::Jobs), jobs + 1, "a short one is not");
    let pages = [records_of(page.text()), records_of(rest.text())].concat();
    assert_eq!(pages, records);
}

#[test]
fn a_list_of_many_bytes_reaches_a_reader_who_takes_its_time() {
    let server = Server::with_endpoints("");
    let mut writer = Writer::on(&server, 0);
    let data = format!("\"{}\"", "x".repeat(1_000_000));
    for _ in 0..8 {
        writer.post(OPEN, &data);
    }
    let mut client = Client::with_small_buffer(&server, 1, 4096);
    client.send_get(&target(OPEN, "dataOnly=true"), "");
    server.settle();
    client.enlarge_buffer();
    let answer = client.response();
    let expected = format!("[{}]", [data.as_str(); 8].join(","));
    assert!(answer.status == 200 && answer.text() == expected, "{} {} bytes", answer.status, answer.body.len());
    assert_eq!(client.get(&target(OPEN, "fw_limit=1&dataOnly=true")).status, 200, "the connection goes on");
}
