//! The dialect's sessions, driven without a socket: what they ask for, and what they tell the publisher.

use super::*;
use crate::access::{Access, Pattern};
use crate::clock::Now;
use crate::exchange::{Answer, Entry, Published, Refusal};
use crate::http::body::BodyError;
use crate::http::head::BodyLength;
use crate::message::{Seq, Stamp};
use crate::session::{Action, BodyMode, Door, Inbound, Session};
use arc_swap::ArcSwap;

const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];
const BACKEND: (&str, &str) = ("Authorization", "Bearer backend");
const JSON: (&str, &str) = ("Content-Type", "application/json");

fn key(secret: &str, may: &[Right], topics: &[&str]) -> Arc<Key> {
    let topics = topics.iter().map(|text| Pattern::parse(text).unwrap()).collect();
    Arc::new(Key { name: secret.to_owned(), digest: digest(secret.as_bytes()), may: may.to_vec(), topics })
}

fn dialect() -> Publish {
    let keys = vec![
        key("backend", &[Right::Publish], &["*"]),
        key("limited", &[Right::Publish], &["a*"]),
        key("reader", &[Right::Statistics], &["*"]),
    ];
    let access = Arc::new(ArcSwap::from_pointee(Access { keys, tokens: vec![] }));
    Publish::new(Options::default(), access, 16_384, Some("events".into()))
}

fn open(dialect: &Publish, method: &str, target: &str, fields: &[(&str, &str)], actions: &mut Actions) -> Option<Opening> {
    let head = Head {
        method,
        target,
        version: Version::Http11,
        fields: fields.to_vec(),
        body: BodyLength::None,
        keep_alive: true,
        expects_continue: false,
    };
    let peer = [127, 0, 0, 1].into();
    dialect.open(
        &Request { head: &head, door: Door::Public, peer, reactor: 0, now: Now::default(), draining: false, full: false },
        actions,
    )
}

#[test]
fn an_upgrade_that_is_no_get_over_http_1_1_is_refused() {
    for (method, version) in [("POST", Version::Http11), ("PATCH", Version::Http11), ("GET", Version::Http10)] {
        let fields = UPGRADE.into_iter().chain([BACKEND, JSON]).collect();
        let (target, body) = ("/publish", BodyLength::None);
        let head = Head { method, target, version, fields, body, keep_alive: true, expects_continue: false };
        let peer = [127, 0, 0, 1].into();
        let request =
            Request { head: &head, door: Door::Public, peer, reactor: 0, now: Now::default(), draining: false, full: false };
        match dialect().open(&request, &mut Actions::default()) {
            Some(Opening::Respond(response)) => {
                assert_eq!(
                    (response.status, &response.body[..]),
                    (400, &br#"{"error":"Bad WebSocket handshake"}"#[..]),
                    "{method}"
                );
            }
            _ => panic!("{method} {version:?} was taken"),
        }
    }
}

/// Status, body and fields of an answer at once.
fn refusal(method: &str, fields: &[(&str, &str)]) -> (u16, String, Vec<(&'static str, String)>) {
    match open(&dialect(), method, "/publish", fields, &mut Actions::default()) {
        Some(Opening::Respond(response)) => {
            let fields = response.fields.into_iter().map(|(name, value)| (name, value.into_owned())).collect();
            (response.status, String::from_utf8(response.body).unwrap(), fields)
        }
        _ => panic!("{method} {fields:?} was taken"),
    }
}

fn post(authorization: (&str, &str)) -> Box<dyn Session> {
    match open(&dialect(), "POST", "/publish?x=1", &[authorization, JSON], &mut Actions::default()) {
        Some(Opening::Hold { session, body: BodyMode::Whole }) => session,
        _ => panic!("no session"),
    }
}

fn socket(dialect: &Publish) -> Box<dyn Session> {
    let mut actions = Actions::default();
    let fields: Vec<_> = UPGRADE.into_iter().chain([BACKEND]).collect();
    match open(dialect, "GET", "/publish", &fields, &mut actions) {
        Some(Opening::WebSocket { session, upgrade }) => {
            assert_eq!(upgrade.status, 101);
            assert!(upgrade.fields.contains(&("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".into())));
            let asked: Vec<Action> = actions.drain().collect();
            assert!(matches!(asked[..], [Action::Accept, Action::WakeAt(25_000_000)]), "{asked:?}");
            session
        }
        _ => panic!("no session"),
    }
}

/// What a session asks for, in words.
fn asked(act: impl FnOnce(&mut Actions)) -> Vec<String> {
    let mut actions = Actions::default();
    act(&mut actions);
    actions
        .drain()
        .map(|action| match action {
            Action::Publish { entries, report: None } => {
                let topics: Vec<&str> = entries.iter().map(|entry| entry.topic.as_str()).collect();
                format!("publish {}", topics.join(" "))
            }
            Action::Respond(response) => {
                let body = String::from_utf8(response.body).unwrap();
                format!("{}{} {body}", response.status, if response.close { " close" } else { "" })
            }
            Action::Send(frame) => match frame[1] {
                0..126 => format!("{:x} {}", frame[0], String::from_utf8_lossy(&frame[2..])),
                _ => format!("{:x} {}", frame[0], String::from_utf8_lossy(&frame[4..])),
            },
            Action::Close { code, reason } => format!("close {} {reason}", code.unwrap()),
            Action::WakeAt(micros) => format!("wake at {micros}"),
            other => format!("{other:?}"),
        })
        .collect()
}

/// The one entry of a body, or the answer to it.
fn entry(body: &str) -> Result<Entry, String> {
    let mut actions = Actions::default();
    post(BACKEND).received(Inbound::Body(body.into()), &mut actions);
    let mut asked: Vec<Action> = actions.drain().collect();
    match asked.pop() {
        Some(Action::Publish { mut entries, .. }) if entries.len() == 1 => Ok(entries.remove(0)),
        Some(Action::Respond(response)) => Err(format!("{} {}", response.status, String::from_utf8(response.body).unwrap())),
        other => panic!("{other:?}"),
    }
}

fn published(seq: u64, duplicate: bool) -> Published {
    Published { stamp: Stamp { seq: Seq(seq), seconds: 1_795_191_434, tag: 3 }, duplicate }
}

fn answer(list: &[Published]) -> Answer {
    Answer::Published { published: list.into(), report: None }
}

#[test]
fn only_the_configured_path_is_served() {
    let mut actions = Actions::default();
    assert!(open(&dialect(), "POST", "/publish/", &[BACKEND, JSON], &mut actions).is_none());
    assert!(dialect().head_limits("/publish/").is_none());
    let limits = dialect().head_limits("/publish").unwrap();
    assert_eq!((limits.field_bytes_max, limits.body_bytes_max), (16_384, 1_048_576));
    assert_eq!((limits.body_refused)(BodyError::TooLarge).body, br#"{"error":"Body too large"}"#);
    let off = Publish::new(Options { enabled: false, ..Options::default() }, SharedAccess::default(), 16_384, None);
    assert!(open(&off, "POST", "/publish", &[BACKEND, JSON], &mut actions).is_none());
    assert!(off.head_limits("/publish").is_none());
}

#[test]
fn the_key_is_checked_before_anything_else() {
    let unauthorized = (401, r#"{"error":"Missing or invalid key"}"#.into(), vec![("WWW-Authenticate", "Bearer".into())]);
    assert_eq!(refusal("POST", &[JSON]), unauthorized);
    assert_eq!(refusal("POST", &[("Authorization", "Bearer other")]), unauthorized);
    assert_eq!(refusal("POST", &[("Authorization", "Basic backend"), JSON]), unauthorized);
    assert_eq!(refusal("GET", &UPGRADE), unauthorized);
    assert_eq!(
        refusal("POST", &[("Authorization", "Bearer reader"), JSON]),
        (403, r#"{"error":"Key may not publish"}"#.into(), vec![])
    );
}

#[test]
fn methods_content_types_and_handshakes_have_their_own_answers() {
    let method = (405, r#"{"error":"Method not allowed"}"#.into(), vec![("Allow", "POST".into())]);
    assert_eq!(refusal("PUT", &[BACKEND, JSON]), method);
    assert_eq!(refusal("GET", &[BACKEND]), method);
    let media_type = (415, r#"{"error":"Content-Type must be application/json"}"#.into(), vec![]);
    assert_eq!(refusal("POST", &[BACKEND]), media_type);
    assert_eq!(refusal("POST", &[BACKEND, ("Content-Type", "text/plain")]), media_type);
    let accepted = [BACKEND, ("Content-Type", "Application/JSON ; charset=utf-8")];
    assert!(matches!(
        open(&dialect(), "POST", "/publish", &accepted, &mut Actions::default()),
        Some(Opening::Hold { body: BodyMode::Whole, .. })
    ));
    let old = [BACKEND, UPGRADE[0], UPGRADE[1], ("Sec-WebSocket-Version", "8"), UPGRADE[3]];
    let (status, _, fields) = refusal("GET", &old);
    assert_eq!((status, fields), (426, vec![("Sec-WebSocket-Version", "13".to_owned())]));
    assert_eq!(refusal("GET", &[BACKEND, UPGRADE[0], UPGRADE[1], UPGRADE[2]]).0, 400);
}

#[test]
fn an_object_becomes_an_entry_with_its_data_byte_for_byte() {
    let read = entry(
        r#" { "topic" : "n\u00e9ws", "data" : { "b" : 1.0e+2 , "a" : "\u0041 " } , "id":"order-17", "store":false,
              "event_id":"7", "event_type":"" } "#,
    )
    .unwrap();
    assert_eq!(read.topic.as_str(), "néws");
    assert_eq!(&*read.payload, br#"{"b":1.0e+2,"a":"\u0041 "}"#);
    assert_eq!((read.key.as_deref(), read.store), (Some("order-17"), false));
    let event = read.event.unwrap();
    assert_eq!((event.id.as_deref(), event.kind), (Some(&b"7"[..]), None));
    let plain = entry(r#"{"data":"x","topic":"a"}"#).unwrap();
    assert_eq!((&*plain.payload, plain.store, plain.key, plain.event), (&br#""x""#[..], true, None, None));
    assert_eq!(&*entry(r#"{"topic":"a","data":null}"#).unwrap().payload, b"null");
}

#[test]
fn what_is_wrong_with_a_body_is_named() {
    let too_many = format!("[{}{{}}]", r#"{"topic":"a","data":1},"#.repeat(1_000));
    let long = |bytes: usize| "x".repeat(bytes);
    let nested = format!(r#"{{"topic":"a","data":{}{}}}"#, "[".repeat(65), "]".repeat(65));
    let long_topic = format!(r#"{{"topic":"{}","data":1}}"#, long(513));
    let long_id = format!(r#"{{"topic":"a","data":1,"id":"{}"}}"#, long(129));
    let long_event = format!(r#"{{"topic":"a","data":1,"event_id":"{}"}}"#, long(129));
    for (body, error, index) in [
        ("", "not JSON: unexpected end of JSON at byte 0", 0),
        ("null", "expected an object or an array of objects", 0),
        ("\"a\"", "expected an object or an array of objects", 0),
        ("{", "not JSON: unexpected end of JSON at byte 1", 0),
        (r#"{"topic":"a","data":1} x"#, "not JSON: unexpected text after the JSON value at byte 23", 0),
        ("[]", "empty array", 0),
        ("[1]", "expected an object", 0),
        (r#"[{"topic":"a","data":1},["a",1]]"#, "expected an object", 1),
        (r#"[{"topic":"a","data":1},{"#, "not JSON: unexpected end of JSON at byte 25", 1),
        (r#"[{"topic":"a","data":1}] 2"#, "not JSON: unexpected text after the JSON value at byte 25", 1),
        (&too_many, "more than 1000 messages", 1_000),
        ("{}", "topic is missing", 0),
        (r#"{"topic":"a"}"#, "data is missing", 0),
        (r#"{"topic":"a","data":1,"dat":2}"#, r#"unknown key \"dat\""#, 0),
        (r#"[{"topic":"a","data":1},{"topic":"a","data":1,"a\"\n":2}]"#, r#"unknown key \"a\"\n\""#, 1),
        (r#"{"topic":"a","data":1,"topic":"b"}"#, "topic is given twice", 0),
        (r#"{"topic":1,"data":1}"#, "topic must be a string", 0),
        (r#"{"topic":"\ud800","data":1}"#, "topic must be a string", 0),
        (r#"{"topic":"","data":1}"#, "topic must have 1 to 512 bytes", 0),
        (&long_topic, "topic must have 1 to 512 bytes", 0),
        (r#"{"topic":"a\u007f","data":1}"#, "topic must not contain control characters", 0),
        (r#"{"topic":"a","data":1e999}"#, "data: number is not finite at byte 0", 0),
        (r#"{"topic":"a","data":["\udc00"]}"#, "data: lone surrogate escape at byte 2", 0),
        (&nested, "data: nested too deep at byte 64", 0),
        (r#"{"topic":"a","data":1,"id":""}"#, "id must be a string of 1 to 128 bytes", 0),
        (r#"{"topic":"a","data":1,"id":null}"#, "id must be a string of 1 to 128 bytes", 0),
        (&long_id, "id must be a string of 1 to 128 bytes", 0),
        (r#"{"topic":"a","data":1,"store":"no"}"#, "store must be true or false", 0),
        (&long_event, "event_id must be a string of at most 128 bytes without CR, LF and NUL", 0),
        (
            r#"{"topic":"a","data":1,"event_type":"a\nb"}"#,
            "event_type must be a string of at most 128 bytes without CR, LF and NUL",
            0,
        ),
    ] {
        let mut session = post(BACKEND);
        let told = asked(|actions| session.received(Inbound::Body(body.into()), actions));
        assert_eq!(told, [format!(r#"422 {{"error":"{error}","index":{index}}}"#)], "{body}");
    }
    let mut session = post(BACKEND);
    assert_eq!(
        asked(|actions| session.received(Inbound::Body(b"{\"topic\":\"\xff".to_vec()), actions)),
        [r#"422 {"error":"not JSON: invalid UTF-8 at byte 10","index":0}"#]
    );
}

#[test]
fn bounds_are_inclusive() {
    let name = "t".repeat(512);
    let short = "i".repeat(128);
    let body = format!(r#"{{"topic":"{name}","data":1,"id":"{short}","event_id":"{short}","event_type":"{short}"}}"#);
    assert_eq!(entry(&body).unwrap().topic.as_str(), name);
    let nested = format!(r#"{{"topic":"a","data":{}{}}}"#, "[".repeat(64), "]".repeat(64));
    assert_eq!(entry(&nested).unwrap().payload.len(), 128);
    let many = format!("[{}]", vec![r#"{"topic":"a","data":1}"#; 1_000].join(","));
    let mut session = post(BACKEND);
    assert!(asked(|actions| session.received(Inbound::Body(many.into()), actions))[0].starts_with("publish a a"));
}

#[test]
fn names_count_among_the_unanswered_bytes_too() {
    let mut socket = socket(&dialect());
    let element = format!(r#"{{"topic":"{}","data":1}}"#, "t".repeat(500));
    let batch = format!("[{}]", vec![element; 1_000].join(","));
    let taken = (0..40).take_while(|_| {
        let takes = socket.accepts_input();
        asked(|actions| socket.received(Inbound::Text(&batch), actions));
        takes
    });
    // 8 MiB of what was received, rounded up to a whole message.
    assert_eq!(taken.count(), 8 * 1024 * 1024 / batch.len() + 1);
}

#[test]
fn reserved_and_foreign_topics_are_refused_by_their_index() {
    assert_eq!(entry(r#"{"topic":"events","data":1}"#), Err(r#"403 {"error":"Topic name is reserved","index":0}"#.into()));
    assert_eq!(entry(r#"{"topic":"$a","data":1}"#), Err(r#"403 {"error":"Topic name is reserved","index":0}"#.into()));
    let mut session = post(("Authorization", "Bearer limited"));
    assert_eq!(
        asked(|actions| session.received(Inbound::Body(br#"[{"topic":"ab","data":1},{"topic":"b","data":1}]"#.to_vec()), actions)),
        [r#"403 {"error":"Topic not allowed","index":1}"#]
    );
}

#[test]
fn a_request_is_answered_when_the_hub_has_ordered_it() {
    let mut session = post(BACKEND);
    let body = br#"{"topic":"news \"x\"","data":1}"#.to_vec();
    assert_eq!(asked(|actions| session.received(Inbound::Body(body), actions)), [r#"publish news "x""#]);
    assert_eq!(
        asked(|actions| session.answered(answer(&[published(4711, false)]), actions)),
        [r#"200 {"topic":"news \"x\"","seq":4711,"time":1795191434,"tag":3}"#]
    );

    let mut session = post(BACKEND);
    let body = br#"[{"topic":"a","data":1},{"topic":"b","data":2}]"#.to_vec();
    assert_eq!(asked(|actions| session.received(Inbound::Body(body), actions)), ["publish a b"]);
    session.draining(&mut Actions::default());
    assert_eq!(
        asked(|actions| session.answered(answer(&[published(1, false), published(2, true)]), actions)),
        ["200 close [{\"topic\":\"a\",\"seq\":1,\"time\":1795191434,\"tag\":3},\
          {\"topic\":\"b\",\"seq\":2,\"time\":1795191434,\"tag\":3,\"duplicate\":true}]"]
    );
}

#[test]
fn a_bound_of_the_server_is_answered_with_busy_and_storage_that_fails_says_so() {
    for (refusal, body) in [
        (Refusal::Busy, r#"{"error":"Busy"}"#),
        (Refusal::OutOfMemory, r#"{"error":"Busy"}"#),
        (Refusal::TooManyTopics, r#"{"error":"Busy"}"#),
        (Refusal::StorageUnavailable, r#"{"error":"Storage unavailable"}"#),
    ] {
        let mut session = post(BACKEND);
        session.received(Inbound::Body(br#"{"topic":"a","data":1}"#.to_vec()), &mut Actions::default());
        let mut actions = Actions::default();
        session.answered(Answer::Refused(refusal), &mut actions);
        match actions.drain().next() {
            Some(Action::Respond(response)) => {
                assert_eq!((response.status, &response.body[..]), (503, body.as_bytes()));
                assert_eq!(response.fields, [("Retry-After", "1".into())]);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_socket_answers_each_message_in_order_errors_too() {
    let mut session = socket(&dialect());
    let text = |topic: &str| format!(r#"{{"topic":"{topic}","data":1}}"#);
    let mut receive = |text: &str| asked(|actions| session.received(Inbound::Text(text), actions));
    assert_eq!(receive("x"), [r#"81 {"error":"not JSON: expected a JSON value at byte 0","index":0}"#]);
    assert_eq!(receive(&text("a")), ["publish a"]);
    assert!(receive(&text("$b")).is_empty());
    assert_eq!(receive(&text("c")), ["publish c"]);
    assert!(receive("[]").is_empty());
    assert_eq!(
        asked(|actions| session.answered(answer(&[published(1, false)]), actions)),
        [r#"81 {"topic":"a","seq":1,"time":1795191434,"tag":3}"#, r#"81 {"error":"Topic name is reserved","index":0}"#]
    );
    assert_eq!(
        asked(|actions| session.answered(Answer::Refused(Refusal::Busy), actions)),
        [r#"81 {"error":"Busy"}"#, r#"81 {"error":"empty array","index":0}"#]
    );
    assert!(asked(|actions| session.answered(answer(&[published(9, false)]), actions)).is_empty());
}

#[test]
fn a_socket_stops_reading_at_its_unanswered_messages() {
    let mut session = socket(&dialect());
    for count in 0..1_024 {
        assert!(session.accepts_input(), "{count}");
        let text = if count % 2 == 0 { r#"{"topic":"a","data":1}"# } else { "wrong" };
        session.received(Inbound::Text(text), &mut Actions::default());
    }
    assert!(!session.accepts_input());
    session.answered(answer(&[published(1, false)]), &mut Actions::default());
    assert!(session.accepts_input());
}

#[test]
fn a_socket_stops_reading_at_its_unanswered_bytes() {
    let mut session = socket(&dialect());
    let text = format!(r#"{{"topic":"a","data":"{}"}}"#, "x".repeat(1_000_000));
    for _ in 0..8 {
        session.received(Inbound::Text(&text), &mut Actions::default());
        assert!(session.accepts_input());
    }
    session.received(Inbound::Text(&text), &mut Actions::default());
    assert!(!session.accepts_input());
    session.answered(answer(&[published(1, false)]), &mut Actions::default());
    assert!(session.accepts_input());
}

#[test]
fn a_socket_closes_behind_its_last_answer() {
    for (end, close) in [
        (Inbound::Binary(b"x"), "close 1003 text only"),
        (Inbound::Close(None), "close 1000 "),
        (Inbound::Close(Some(1001)), "close 1001 "),
    ] {
        let mut session = socket(&dialect());
        session.received(Inbound::Text(r#"{"topic":"a","data":1}"#), &mut Actions::default());
        assert!(asked(|actions| session.received(end, actions)).is_empty());
        assert!(asked(|actions| session.received(Inbound::Text(r#"{"topic":"late","data":1}"#), actions)).is_empty());
        assert!(asked(|actions| session.draining(actions)).is_empty());
        let told = asked(|actions| session.answered(answer(&[published(1, false)]), actions));
        assert_eq!(told, [r#"81 {"topic":"a","seq":1,"time":1795191434,"tag":3}"#, close]);
    }
    let mut session = socket(&dialect());
    assert_eq!(asked(|actions| session.draining(actions)), ["close 1001 server stops"]);
    let mut session = socket(&dialect());
    assert_eq!(asked(|actions| session.too_slow(actions)), ["close 1008 too slow"]);
}

#[test]
fn a_key_that_is_taken_away_ends_what_it_allowed() {
    let dialect = dialect();
    let mut session = socket(&dialect);
    dialect.shared.access.store(Arc::new(Access { keys: vec![key("backend", &[Right::Publish], &["b"])], tokens: vec![] }));
    assert!(asked(|actions| session.review(&[], actions)).is_empty());
    assert_eq!(
        asked(|actions| session.received(Inbound::Text(r#"{"topic":"a","data":1}"#), actions)),
        [r#"81 {"error":"Topic not allowed","index":0}"#]
    );
    dialect.shared.access.store(Arc::new(Access { keys: vec![key("backend", &[Right::Admin], &["b"])], tokens: vec![] }));
    assert_eq!(asked(|actions| session.review(&[], actions)), ["close 1008 key is no longer valid"]);

    dialect.shared.access.store(Arc::new(Access { keys: vec![key("backend", &[Right::Publish], &["*"])], tokens: vec![] }));
    let opening = open(&dialect, "POST", "/publish", &[BACKEND, JSON], &mut Actions::default());
    let Some(Opening::Hold { session: mut waiting, .. }) = opening else { panic!("no session") };
    dialect.shared.access.store(Arc::default());
    assert_eq!(asked(|actions| waiting.review(&[], actions)), [r#"401 close {"error":"Missing or invalid key"}"#]);
}

#[test]
fn a_silent_peer_is_pinged_and_given_up() {
    let mut session = socket(&dialect());
    let mut wake = |seconds: u64, heard: bool| {
        let mut actions = Actions::new(Now { micros: seconds * 1_000_000, unix_micros: 0 });
        actions.heard = heard;
        asked(|inner| {
            session.woken(&mut actions);
            std::mem::swap(inner, &mut actions);
        })
    };
    assert_eq!(wake(25, true), ["wake at 50000000"]);
    assert_eq!(wake(50, false), ["89 ", "wake at 75000000"]);
    assert_eq!(wake(75, true), ["wake at 100000000"]);
    assert_eq!(wake(100, false), ["89 ", "wake at 125000000"]);
    assert_eq!(wake(125, false), ["89 ", "wake at 150000000"]);
    assert_eq!(wake(150, false), ["close 1001 silent"]);
}
