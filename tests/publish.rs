//! The numbered statements of the native ingest, PB-1 to PB-14, over real sockets: one test per statement.
//!
//! PB-13 and the document reads of PB-10 need storage and documents.

mod support;

use serde_json::{Value, json};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use support::subscriber::Subscriber;
use support::{ACCESS, Caller, Client, Envelope, KEY, LISTEN, Mode, PUBLISH_KEY, Response, STATISTICS_KEY, Server, Xorshift};
use support::{config, epoch, log, masked};

const JSON: &str = "Content-Type: application/json\r\n";

#[track_caller]
fn post(server: &Server, body: &str) -> Response {
    server.call("POST", "/publish", JSON, body.as_bytes())
}

#[track_caller]
fn published(server: &Server, body: &str) -> Value {
    let answer = post(server, body);
    assert_eq!(answer.status, 200, "{body}: {}", answer.text());
    answer.json()
}

/// A websocket on `/publish`.
fn publisher(server: &Server, reactor: usize) -> Client {
    let mut client = Client::on(server, reactor);
    let answer = client.ask_upgrade("/publish", &format!("Authorization: Bearer {}\r\n", server.key));
    assert_eq!(answer.status, 101, "{answer:?}");
    client
}

fn says(client: &mut Client) -> Value {
    let text = client.text();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// PB-1 One object answers 200 with topic, seq, time, tag; a subscriber of the topic in every dialect receives `data` byte for
/// byte.
#[test]
fn pb_01_one_object_is_answered_with_its_place_and_received_byte_for_byte() {
    let server = Server::start();
    let mut held: Vec<Subscriber> =
        Mode::HELD.into_iter().chain([Mode::LongPoll]).map(|mode| server.subscribe(1, mode, "news", "")).collect();
    let data = r#"{"hello":"wörld \u00e4\/","n":[1.50,1E2,12345678901234567890123],"z":1,"a":null}"#;
    let answer =
        post(&server, &format!(" {{ \"topic\" : \"news\",\n\"data\":{} }} ", data.replace(':', " : ").replace(',', " ,\t")));
    let place = answer.json();
    let seq = place["seq"].as_u64().unwrap();
    assert!(seq > 0);
    assert_eq!(answer.text(), format!("{{\"topic\":\"news\",\"seq\":{seq},\"time\":{},\"tag\":1}}", server.seconds()));
    assert_eq!((answer.status, answer.field("Content-Type")), (200, Some("application/json")));
    for subscriber in &mut held {
        let came = match subscriber.mode {
            Mode::LongPoll => subscriber.response().envelopes().remove(0),
            _ => subscriber.envelope(),
        };
        assert_eq!((came.message.as_str(), came.position(), came.id), (data, (server.seconds(), 1), 1), "{:?}", subscriber.mode);
    }
    // Every kind of value; a string stays a JSON string; event fields are shown by eventsource.
    for data in ["\"text\"", "1.0", "null", "true", "[]", "{}", "-0.0e-1"] {
        published(&server, &format!("{{\"topic\":\"news\",\"data\":{data}}}"));
        for subscriber in held.iter_mut().filter(|subscriber| subscriber.mode != Mode::LongPoll) {
            assert_eq!(subscriber.envelope().message, data);
        }
    }
    published(&server, r#"{"topic":"news","data":1,"event_id":"e-1","event_type":"upd"}"#);
    let event = held[2].event();
    assert_eq!((event.id.as_deref(), event.kind.as_deref()), (Some("e-1"), Some("upd")));
    // A topic may hold what a channel of push_stream may not.
    let long = "t".repeat(512);
    assert_eq!(published(&server, &format!("{{\"topic\":\"{long}\",\"data\":1}}"))["topic"], long.as_str());
    assert_eq!(published(&server, r#"{"topic":"a/b \"c\"","data":1}"#)["topic"], "a/b \"c\"");
}

/// PB-2 An array is all or nothing: one bad element publishes none and is named by `index`.
#[test]
fn pb_02_an_array_is_all_or_nothing() {
    let server = Server::start();
    let mut client = server.subscribe(1, Mode::WebSocket, "a/b", "").client;
    let answer = published(&server, r#"[{"topic":"a","data":1},{"topic":"b","data":2},{"topic":"a","data":3}]"#);
    let places = answer.as_array().unwrap();
    assert_eq!(places.iter().map(|place| place["topic"].as_str().unwrap()).collect::<Vec<_>>(), ["a", "b", "a"]);
    assert_eq!(places.iter().map(|place| place["tag"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(
        (client.envelope().message, client.envelope().message, client.envelope().message),
        ("1".into(), "2".into(), "3".into())
    );
    let many: Vec<String> = (0..1_000).map(|n| format!("{{\"topic\":\"a\",\"data\":{n}}}")).collect();
    for (body, status, index) in [
        (r#"[{"topic":"a","data":1},{"topic":"a"}]"#.to_owned(), 422, 1),
        (r#"[{"topic":"a","data":1},{"topic":"a","data":1},7]"#.to_owned(), 422, 2),
        (r#"[{"topic":"","data":1},{"topic":"a","data":1}]"#.to_owned(), 422, 0),
        (r#"[{"topic":"a","data":1},{"topic":"$x","data":1},{"topic":"a"}]"#.to_owned(), 403, 1),
        (format!("[{},{{\"topic\":\"a\",\"data\":1,\"extra\":1}}]", many[..999].join(",")), 422, 999),
    ] {
        let refused = post(&server, &body);
        assert_eq!((refused.status, refused.json()["index"].as_u64()), (status, Some(index)), "{}", refused.text());
    }
    for body in ["[]".to_owned(), format!("[{},{}]", many.join(","), many[0])] {
        assert_eq!(post(&server, &body).status, 422);
    }
    server.expect_silence(&mut client);
    assert_eq!(server.row("a").map(|row| row.0), Some(2));
    assert_eq!(published(&server, &format!("[{}]", many.join(","))).as_array().unwrap().len(), 1_000, "1,000 are allowed");
}

/// PB-3 An array's messages are consecutive in the server's order while other publishers are busy.
#[test]
fn pb_03_an_arrays_messages_are_consecutive() {
    let server = Server::start();
    let door = *server;
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for reactor in [1, 2] {
            let stop = &stop;
            threads.spawn(move || {
                let mut caller = Caller::new(&door, reactor);
                while !stop.load(Ordering::Relaxed) {
                    caller.post("/publish", JSON, br#"{"topic":"noise","data":1}"#);
                }
            });
        }
        let array: Vec<String> = (0..50).map(|n| format!("{{\"topic\":\"t{}\",\"data\":{n}}}", n % 7)).collect();
        for _ in 0..50 {
            let answer = published(&server, &format!("[{}]", array.join(",")));
            let places = answer.as_array().unwrap();
            for pair in places.windows(2) {
                assert_eq!(pair[0]["tag"].as_u64().unwrap() + 1, pair[1]["tag"].as_u64().unwrap());
                assert!(pair[0]["seq"].as_u64() < pair[1]["seq"].as_u64());
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// PB-4 The same (topic, id) twice publishes once and answers the same seq with `"duplicate":true`; after 2 minutes it publishes
/// again.
#[test]
fn pb_04_the_same_topic_and_id_publish_once_within_two_minutes() {
    let server = Server::start();
    let mut client = server.subscribe(1, Mode::WebSocket, "a/b", "").client;
    let body = r#"{"topic":"a","data":1,"id":"order-17"}"#;
    let first = published(&server, body);
    assert_eq!(first.get("duplicate"), None);
    server.advance(5.0);
    for reactor in 0..4 {
        let again =
            Caller::new(&server, reactor).post("/publish", JSON, br#"{"topic":"a","data":"other","id":"order-17"}"#).json();
        assert_eq!(
            again,
            json!({"topic": "a", "seq": first["seq"], "time": first["time"], "tag": first["tag"], "duplicate": true})
        );
    }
    // Another topic or another id is another message.
    for other in
        [r#"{"topic":"b","data":2,"id":"order-17"}"#, r#"{"topic":"a","data":3,"id":"order-18"}"#, r#"{"topic":"a","data":4}"#]
    {
        assert_eq!(published(&server, other).get("duplicate"), None);
    }
    let came: Vec<String> = (0..4).map(|_| client.envelope().message).collect();
    assert_eq!(came, ["1", "2", "3", "4"]);
    // In an array and on the websocket too.
    let answer = published(&server, r#"[{"topic":"a","data":5},{"topic":"a","data":1,"id":"order-17"}]"#);
    assert_eq!((answer[0].get("duplicate"), &answer[1]["duplicate"], &answer[1]["seq"]), (None, &json!(true), &first["seq"]));
    let mut socket = publisher(&server, 2);
    socket.send(masked(0x81, body.as_bytes()));
    assert_eq!(says(&mut socket)["duplicate"], true);
    assert_eq!(client.envelope().message, "5");
    assert!(server.is_silent(&mut client));
    // Twice in one array: the second is the repetition.
    let answer = published(&server, r#"[{"topic":"b","data":6,"id":"twin"},{"topic":"b","data":7,"id":"twin"}]"#);
    assert_eq!((answer[0].get("duplicate"), &answer[1]["duplicate"], &answer[1]["seq"]), (None, &json!(true), &answer[0]["seq"]));
    assert_eq!(client.envelope().message, "6");
    // A refused message is not remembered.
    assert_eq!(post(&server, r#"[{"topic":"b","data":8,"id":"later"},{"topic":"$","data":8}]"#).status, 403);
    assert_eq!(published(&server, r#"{"topic":"b","data":8,"id":"later"}"#).get("duplicate"), None);
    assert_eq!(client.envelope().message, "8");
    // From everywhere at once: one of them publishes.
    let door = *server;
    for round in 0..20 {
        let fresh: usize = std::thread::scope(|threads| {
            let body = format!("{{\"topic\":\"b\",\"data\":{round},\"id\":\"race {round}\"}}");
            let racers: Vec<_> = (0..4)
                .map(|reactor| {
                    let body = body.clone();
                    threads.spawn(move || {
                        let answer = Caller::new(&door, reactor).post("/publish", JSON, body.as_bytes()).json();
                        usize::from(answer.get("duplicate").is_none())
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).sum()
        });
        assert_eq!((fresh, client.envelope().message), (1, round.to_string()));
    }
    assert!(server.is_silent(&mut client));
    // Just before two minutes are over, and after them.
    server.advance(114.0);
    assert_eq!(published(&server, body)["duplicate"], true);
    server.pass(2.0);
    let later = published(&server, body);
    assert!(later.get("duplicate").is_none() && later["seq"].as_u64() > first["seq"].as_u64(), "{later}");
    assert_eq!(post(&server, &format!("{{\"topic\":\"a\",\"data\":1,\"id\":\"{}\"}}", "x".repeat(128))).status, 200);
    for bad in ["", &"x".repeat(129)] {
        assert_eq!(post(&server, &format!("{{\"topic\":\"a\",\"data\":1,\"id\":\"{bad}\"}}")).status, 422);
    }
}

/// PB-5 `$…` topics are refused with 403, unknown keys and wrong types with 422, each naming the element.
#[test]
fn pb_05_reserved_topics_unknown_keys_and_wrong_types_are_refused() {
    let server = Server::start();
    for body in [r#"{"topic":"$control/x","data":1}"#, r#"[{"topic":"$","data":1}]"#] {
        assert_eq!(
            (post(&server, body).status, post(&server, body).text()),
            (403, r#"{"error":"Topic name is reserved","index":0}"#)
        );
    }
    let too_long = format!("{{\"topic\":\"{}\",\"data\":1}}", "t".repeat(513));
    let deep = format!("{{\"topic\":\"a\",\"data\":{}1{}}}", "[".repeat(65), "]".repeat(65));
    let long_event = format!("{{\"topic\":\"a\",\"data\":1,\"event_id\":\"{}\"}}", "e".repeat(129));
    for element in [
        r#"{"topic":"a","data":1,"other":1}"#,
        r#"{"topic":"a","data":1,"Topic":"b"}"#,
        r#"{"topic":1,"data":1}"#,
        r#"{"topic":null,"data":1}"#,
        r#"{"data":1}"#,
        r#"{"topic":"a"}"#,
        r#"{"topic":"","data":1}"#,
        r#"{"topic":"a\u0000b","data":1}"#,
        r#"{"topic":"a\nb","data":1}"#,
        r#"{"topic":"a\u007f","data":1}"#,
        r#"{"topic":"a","data":1,"store":"yes"}"#,
        r#"{"topic":"a","data":1,"store":1}"#,
        r#"{"topic":"a","data":1,"id":7}"#,
        r#"{"topic":"a","data":1,"event_id":7}"#,
        r#"{"topic":"a","data":1,"event_type":"a\nb"}"#,
        r#"{"topic":"a","data":1,"event_id":"a\u0000b"}"#,
        r#"{"topic":"a","data":1e400}"#,
        r#"{"topic":"a","data":"\ud800"}"#,
        r#""text""#,
        "7",
        "null",
        &too_long,
        &deep,
        &long_event,
    ] {
        let single = post(&server, element);
        assert_eq!((single.status, single.json()["index"].as_u64()), (422, Some(0)), "{element}: {}", single.text());
        assert!(single.json()["error"].as_str().is_some_and(|error| !error.is_empty()));
        let second = post(&server, &format!("[{{\"topic\":\"a\",\"data\":1}},{element}]"));
        assert_eq!((second.status, second.json()["index"].as_u64()), (422, Some(1)), "{element}: {}", second.text());
    }
    for body in ["", "{", "[", "{\"topic\":\"a\",\"data\":1}x", "\u{feff}{}", "[{\"topic\":\"a\",\"data\":1},]"] {
        assert_eq!(post(&server, body).status, 422, "{body}");
    }
    for fields in ["", "Content-Type: text/plain\r\n", "Content-Type: application/jsonp\r\n"] {
        let refused = server.call("POST", "/publish", fields, br#"{"topic":"a","data":1}"#);
        assert_eq!((refused.status, refused.text()), (415, r#"{"error":"Content-Type must be application/json"}"#), "{fields}");
    }
    assert_eq!(
        server
            .call("POST", "/publish", "Content-Type: application/json; charset=utf-8\r\n", br#"{"topic":"ok","data":1}"#)
            .status,
        200
    );
    assert_eq!(server.row("a"), None);
}

const LIMITED: &str = "\n[[access.keys]]\nname = \"limited\"\nkey = \"limited-key-0123456789\"\nmay = [\"publish\"]\ntopics = [\"a*\", \"exact\"]\n";

/// PB-6 No key, a wrong key and a key without the right `publish` get 401, 401 and 403; a key limited to `a*` cannot publish to
/// `b`.
#[test]
fn pb_06_keys_are_checked_for_right_and_topic() {
    let server = Server::with_config(&format!("{LISTEN}{ACCESS}{LIMITED}"));
    let ask = |fields: &str, body: &str| {
        let mut client = Client::connect(server.address);
        client.send(format!("POST /publish HTTP/1.1\r\nHost: h\r\n{JSON}{fields}Content-Length: {}\r\n\r\n{body}", body.len()));
        client.response()
    };
    let bearer = |key: &str| format!("Authorization: Bearer {key}\r\n");
    let body = r#"{"topic":"b","data":1}"#;
    for fields in [String::new(), bearer("wrong"), bearer(server.token), format!("Authorization: Basic {KEY}\r\n")] {
        let refused = ask(&fields, body);
        assert_eq!((refused.status, refused.field("WWW-Authenticate")), (401, Some("Bearer")), "{fields}");
        assert_eq!(refused.text(), r#"{"error":"Missing or invalid key"}"#);
        let mut client = Client::connect(server.address);
        assert_eq!(client.ask_upgrade("/publish", &fields).status, 401, "before the 101");
    }
    assert_eq!(ask(&bearer(STATISTICS_KEY), body).status, 403);
    assert_eq!(Client::connect(server.address).ask_upgrade("/publish", &bearer(STATISTICS_KEY)).status, 403);
    let limited = bearer("limited-key-0123456789");
    for refused in [ask(&limited, body), ask(&limited, r#"{"topic":"exactly","data":1}"#)] {
        assert_eq!((refused.status, refused.text()), (403, r#"{"error":"Topic not allowed","index":0}"#));
    }
    assert_eq!(
        ask(&limited, r#"[{"topic":"abc","data":1},{"topic":"b","data":1}]"#).text(),
        r#"{"error":"Topic not allowed","index":1}"#
    );
    assert_eq!(server.row("abc"), None);
    for topic in ["a", "abc", "exact"] {
        assert_eq!(ask(&limited, &format!("{{\"topic\":\"{topic}\",\"data\":1}}")).status, 200);
    }
    for key in [KEY, PUBLISH_KEY] {
        assert_eq!(ask(&bearer(key), body).status, 200);
    }
    let mut socket = Client::connect(server.address);
    assert_eq!(socket.ask_upgrade("/publish", &limited).status, 101);
    socket.send(masked(0x81, body.as_bytes()));
    assert_eq!(socket.text(), r#"{"error":"Topic not allowed","index":0}"#);
    // A reload that takes the key ends what it allowed within a second.
    server.reload(config(&format!("{LISTEN}{ACCESS}"))).unwrap();
    server.pass(1.0);
    assert_eq!(ask(&limited, r#"{"topic":"a","data":1}"#).status, 401);
    assert_eq!(socket.frame().opcode, 8);
    socket.expect_end();
}

/// PB-7 The WebSocket answers each message once and in order, 10,000 messages pipelined without waiting.
#[test]
fn pb_07_ten_thousand_pipelined_messages_are_answered_once_and_in_order() {
    const MESSAGES: usize = 10_000;
    let server = Server::start();
    let mut listener = server.subscribe(1, Mode::WebSocket, "t0/t1/t2", "").client;
    let mut socket = publisher(&server, 2);
    let mut sender = socket.sender();
    let writer = std::thread::spawn(move || {
        let all: Vec<u8> =
            (0..MESSAGES).flat_map(|n| masked(0x81, format!("{{\"topic\":\"t{}\",\"data\":{n}}}", n % 3).as_bytes())).collect();
        sender.write_all(&all).expect("the server takes it");
    });
    let reader = std::thread::spawn(move || (0..MESSAGES).map(|_| listener.envelope()).collect::<Vec<Envelope>>());
    let mut last = 0;
    for n in 0..MESSAGES {
        let answer = says(&mut socket);
        assert_eq!(answer["topic"], format!("t{}", n % 3), "message {n}");
        let seq = answer["seq"].as_u64().unwrap_or_else(|| panic!("message {n}: {answer}"));
        assert!(seq > last, "message {n}");
        last = seq;
    }
    writer.join().unwrap();
    for (n, envelope) in reader.join().unwrap().into_iter().enumerate() {
        assert_eq!(envelope.message, n.to_string());
    }
    server.expect_silence(&mut socket);
}

/// PB-8 An error on the WebSocket keeps it open and does not disturb the order of answers.
#[test]
fn pb_08_an_error_keeps_the_websocket_open_and_the_order() {
    let server = Server::start();
    let mut socket = publisher(&server, 2);
    let messages: Vec<(String, &str)> = (0..300)
        .map(|n| match n % 6 {
            0 | 3 => (format!("{{\"topic\":\"t\",\"data\":{n}}}"), "object"),
            1 => ("{not json".to_owned(), "error"),
            2 => (format!("{{\"topic\":\"$x\",\"data\":{n}}}"), "reserved"),
            4 => (format!("[{{\"topic\":\"t\",\"data\":{n}}},{{\"topic\":\"t\",\"data\":{n},\"store\":false}}]"), "array"),
            _ => ("[]".to_owned(), "error"),
        })
        .collect();
    socket.send(messages.iter().flat_map(|(text, _)| masked(0x81, text.as_bytes())).collect::<Vec<u8>>());
    for (text, kind) in &messages {
        let answer = says(&mut socket);
        match *kind {
            "object" => assert!(answer["seq"].is_u64(), "{text}: {answer}"),
            "array" => assert_eq!(answer.as_array().map(Vec::len), Some(2), "{text}: {answer}"),
            "reserved" => assert_eq!(answer, json!({"error": "Topic name is reserved", "index": 0})),
            _ => assert!(answer["error"].is_string(), "{text}: {answer}"),
        }
    }
    assert_eq!(server.row("t"), Some((200, 150, 0)));
    // Binary messages are the one thing that ends it.
    socket.send(masked(0x82, b"{}"));
    socket.expect_close_code(1003);
}

/// PB-9 1,024 unanswered messages stop the reading; nothing is lost when it resumes.
#[test]
fn pb_09_unanswered_messages_stop_the_reading_and_nothing_is_lost() {
    // So that the kernel soon takes no more. A small buffer of the client's would do that as well, but through one some
    // congestion controls let a flow crawl for minutes once it has stood still.
    let server = Server::with_config(&format!("{LISTEN}{ACCESS}[limits]\nsocket_send_bytes = \"16KiB\"\n"));
    let mut socket = publisher(&server, 2);
    // Long topics make long answers, which soon fill the kernel's buffers: nobody reads them.
    let topic = |n: usize| format!("{}{n:06}", "t".repeat(490));
    let mut sent = 0;
    let mut rest: Vec<u8> = Vec::new();
    loop {
        if rest.is_empty() {
            rest = masked(0x81, format!("{{\"topic\":\"{}\",\"data\":{sent},\"store\":false}}", topic(sent % 10)).as_bytes());
            sent += 1;
            assert!(sent < 200_000, "the server never stopped reading");
        }
        let count = socket.send_some(&rest);
        rest.drain(..count);
        if count == 0 {
            // Whatever the server could do is done after this; if it still takes nothing it has stopped.
            for _ in 0..5 {
                server.settle();
            }
            if socket.send_some(&rest[..1]) == 0 {
                break;
            }
            rest.drain(..1);
        }
    }
    let ordered = server.metrics().hub.messages_in.load(Ordering::Relaxed) as usize;
    assert!(ordered < sent, "{ordered} of {sent}");
    // Others are served meanwhile.
    published(&server, r#"{"topic":"other","data":1}"#);
    let mut sender = socket.sender();
    let writer = std::thread::spawn(move || sender.write_all(&rest).expect("the reading resumes"));
    let mut last = 0;
    for n in 0..sent {
        let answer = says(&mut socket);
        assert_eq!(answer["topic"].as_str(), Some(topic(n % 10).as_str()), "message {n}");
        assert!(answer["seq"].as_u64() > Some(last), "message {n}: {answer}");
        last = answer["seq"].as_u64().unwrap();
    }
    writer.join().unwrap();
    let rows = server.statistics("ttt*").json();
    let rows = rows["infos"].as_array().unwrap();
    let total: u64 = rows.iter().map(|row| row["published_messages"].as_u64().unwrap()).sum();
    assert_eq!((rows.len(), total), (10, sent as u64));
    server.expect_silence(&mut socket);
}

/// PB-10 A publish answered 200 is seen by any poll or subscribe that starts afterwards, on any reactor.
#[test]
fn pb_10_an_answered_publish_is_seen_by_whatever_starts_afterwards() {
    let server = Server::start();
    let mut random = Xorshift(10);
    let mut query = epoch();
    let mut pollers: Vec<Client> = (0..4).map(|reactor| Client::on(&server, reactor)).collect();
    let mut callers: Vec<Caller> = (0..4).map(|reactor| Caller::new(&server, reactor)).collect();
    for n in 0..300 {
        let body = format!("{{\"topic\":\"news\",\"data\":{n}}}");
        assert_eq!(callers[random.below(4) as usize].post("/publish", JSON, body.as_bytes()).status, 200);
        let reactor = random.below(4) as usize;
        let mode = ["shortpoll", "longpoll"][random.below(2) as usize];
        let answer = pollers[reactor].get(&format!("/{mode}/news?auth_token=dev&{query}"));
        let came: Vec<String> = answer.envelopes().into_iter().map(|envelope| envelope.message).collect();
        assert_eq!(came, [n.to_string()], "reactor {reactor}");
        query = answer.cursor();
        if n % 20 == 0 {
            for mode in Mode::HELD {
                let mut subscriber = Subscriber::begin(&server, random.below(4) as usize, mode, "news.b1", "", "");
                assert_eq!(subscriber.envelope().message, n.to_string(), "{mode:?}");
            }
        }
    }
}

/// PB-11 A publish answered 4xx or 503 is delivered to nobody, live or from history.
#[test]
fn pb_11_a_refused_publish_is_delivered_to_nobody() {
    let server = Server::start();
    let mut held: Vec<Subscriber> = Mode::HELD.into_iter().map(|mode| server.subscribe(1, mode, "a/b", "")).collect();
    let large = format!("{{\"topic\":\"a\",\"data\":\"{}\"}}", "x".repeat(1_048_576));
    for body in [
        "{\"topic\":\"a\"}",
        "[{\"topic\":\"a\",\"data\":1},{\"topic\":\"$b\",\"data\":1}]",
        "[{\"topic\":\"b\",\"data\":1},{}]",
        "{",
    ] {
        assert!((400..500).contains(&post(&server, body).status), "{body}");
    }
    let refused = post(&server, &large);
    assert_eq!((refused.status, refused.text()), (413, r#"{"error":"Body too large"}"#));
    let mut without_key = Client::on(&server, 3);
    without_key
        .send(format!("POST /publish HTTP/1.1\r\nHost: h\r\n{JSON}Content-Length: 22\r\n\r\n{{\"topic\":\"a\",\"data\":1}}"));
    assert_eq!(without_key.response().status, 401);
    assert_eq!(server.call("POST", "/publish", "", br#"{"topic":"a","data":1}"#).status, 415);
    let mut socket = publisher(&server, 2);
    for body in ["{\"topic\":\"a\"}", "[{\"topic\":\"a\",\"data\":1},1]"] {
        socket.send(masked(0x81, body.as_bytes()));
        assert!(says(&mut socket)["error"].is_string());
    }
    for subscriber in &mut held {
        server.expect_silence(&mut subscriber.client);
    }
    assert!(server.stored("a/b").is_empty());
    assert_eq!(server.row("a").map(|row| (row.0, row.1)), Some((0, 0)));
    // The place in the order was not used either.
    assert_eq!(published(&server, r#"{"topic":"a","data":1}"#)["tag"], 1);

    // 503: the memory for messages is used up. Nobody gets it, and it ends when the messages do.
    // A log keeps what the dialect with the largest window shows: here both forget alike.
    let cable = "[action_cable]\nhistory_ttl = \"20s\"\n";
    let text = format!("{LISTEN}message_ttl = \"20s\"\n{ACCESS}\n{cable}[limits]\nlog_bytes_max = \"1MiB\"\n");
    let server = Server::with_config(&text);
    let mut client = server.subscribe(1, Mode::WebSocket, "a/b", "").client;
    let body = format!("{{\"topic\":\"a\",\"data\":\"{}\"}}", "x".repeat(100_000));
    let mut accepted = 0;
    let refused = loop {
        let answer = post(&server, &body);
        if answer.status != 200 {
            break answer;
        }
        accepted += 1;
        assert!(accepted < 50, "the budget holds");
    };
    assert_eq!((refused.status, refused.field("Retry-After")), (503, Some("1")), "{}", refused.text());
    let both = format!("[{{\"topic\":\"b\",\"data\":1}},{body}]");
    assert_eq!(post(&server, &both).status, 503, "all or nothing");
    let by_pub = server.call("POST", "/pub?id=a", "", format!("\"{}\"", "x".repeat(100_000)).as_bytes());
    assert_eq!((by_pub.status, by_pub.explain()), (503, Some("Server is out of message memory.")));
    for id in 1..=accepted {
        assert_eq!(client.envelope().id, id);
    }
    server.expect_silence(&mut client);
    assert_eq!(server.stored("a/b").len() as i64, accepted);
    server.pass(26.0);
    assert_eq!(post(&server, &body).status, 200);
    assert_eq!(client.envelope().id, accepted + 1);
}

/// PB-12 `store:false` reaches those connected now, is in no history, and takes its place in the order.
#[test]
fn pb_12_unstored_messages_reach_those_connected_and_take_their_place() {
    let server = Server::start();
    let mut held: Vec<Subscriber> = Mode::HELD.into_iter().map(|mode| server.subscribe(1, mode, "a", "")).collect();
    let answer = published(
        &server,
        r#"[{"topic":"a","data":1},{"topic":"a","data":2,"store":false},{"topic":"a","data":3,"store":true}]"#,
    );
    assert_eq!(answer.as_array().unwrap().iter().map(|place| place["tag"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    for subscriber in &mut held {
        let came: Vec<(i64, u64, String)> =
            (0..3).map(|_| subscriber.envelope()).map(|envelope| (envelope.id, envelope.tag, envelope.message)).collect();
        assert_eq!(came, [(1, 1, "1".to_owned()), (2, 2, "2".to_owned()), (3, 3, "3".to_owned())], "{:?}", subscriber.mode);
    }
    let stored: Vec<(i64, u64)> = server.stored("a").iter().map(|envelope| (envelope.id, envelope.tag)).collect();
    assert_eq!(stored, [(1, 1), (3, 3)]);
    for mode in Mode::ALL {
        server.expect_replay(mode, "a.b9", "", "", &server.stored("a"));
    }
}

/// PB-14 Keys never appear in logs, metrics or errors.
#[test]
fn pb_14_keys_appear_nowhere() {
    let server = Server::with_config(&format!("{LISTEN}{ACCESS}{LIMITED}"));
    let wrong = "a-misspelt-secret-98765";
    let secrets = [KEY, PUBLISH_KEY, STATISTICS_KEY, "limited-key-0123456789", wrong];
    let mut answers = Vec::new();
    for secret in secrets {
        for (fields, body) in [
            (JSON, r#"{"topic":"b","data":1}"#),
            (JSON, "{"),
            ("", "{}"),
            ("Expect: 100-continue, nonsense\r\n", "{}"),
            ("Content-Length: 5\r\n", "{}"),
        ] {
            let mut client = Client::connect(server.address);
            client.send(format!(
                "POST /publish?key={secret} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {secret}\r\n{fields}Content-Length: {}\r\n\r\n{body}",
                body.len()
            ));
            answers.push(client.response());
        }
        let mut socket = Client::connect(server.address);
        let upgrade =
            socket.ask_upgrade("/publish", &format!("Authorization: Bearer {secret}\r\nSec-WebSocket-Protocol: {secret}\r\n"));
        if upgrade.status == 101 {
            for body in [r#"{"topic":"b","data":1}"#, "{"] {
                socket.send(masked(0x81, body.as_bytes()));
                assert!(!socket.text().contains(secret));
            }
        }
        answers.push(upgrade);
    }
    for target in ["/metrics", "/channels-stats", "/channels-stats?id=ALL", "/health", "/ready", "/"] {
        answers.push(Client::connect(server.admin).get(target));
    }
    server.reload(config(&format!("{LISTEN}{ACCESS}"))).unwrap();
    drop(server);
    tracing::info!("a canary");
    let logged = log::text();
    assert!(logged.contains("a canary"), "what is logged is captured");
    for secret in secrets {
        for answer in &answers {
            let body = String::from_utf8_lossy(&answer.body);
            assert!(!answer.raw.contains(secret) && !body.contains(secret), "{}{body}", answer.raw);
        }
        assert!(!logged.contains(secret), "{secret} was logged: {:?}", logged.lines().find(|line| line.contains(secret)));
    }
}
