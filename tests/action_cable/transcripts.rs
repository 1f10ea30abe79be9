//! Replays the recorded exchanges T-01 to T-18, T-22 and T-23 of a Rails server, and compares bytes.
//!
//! A script is written as the recording is: `C:` is sent, `S:` must come and nothing else, `--` begins another connection. `P:` is
//! a publication: a stream (its spaces written as `\u0020`) and the JSON text. Lines with `!` are remarks; they name each place where fanwire departs from Rails,
//! and what is expected then are the specification's bytes.

use crate::support::cable::{ECHO, ECHO_CHANNEL, WELCOME, confirm, ping_number};
use crate::support::client::UPGRADE;
use crate::support::{Cable, Client, Server, masked};

/// The settings of the recorded server: metasmoke's, and a channel `EchoChannel`.
fn recorded() -> Server {
    Server::with_cable("", ECHO_CHANNEL)
}

/// Replays a script; the client offers `actioncable-v1-json`, as it did then.
#[track_caller]
fn replay(server: &Server, script: &str) {
    for (number, part) in script.split("\n--\n").enumerate() {
        let mut cable = Cable::offering(server, number % 3 + 1, "actioncable-v1-json");
        for line in part.lines().filter(|line| !line.starts_with('!') && !line.is_empty()) {
            match line.split_at_checked(3) {
                Some(("C: ", "(empty text frame)")) => cable.say(""),
                Some(("C: ", "(binary frame)")) => cable.send(masked(0x82, b"\x00\x01")),
                Some(("C: ", text)) => cable.say(text),
                Some(("S: ", text)) => assert_eq!(cable.text(), text, "after {part}"),
                Some(("P: ", publication)) => {
                    // What was sent before has had its effect.
                    server.settle();
                    let (stream, data) = publication.split_once(' ').expect("a stream and its message");
                    server.broadcast(0, &stream.replace("\\u0020", " "), data);
                }
                _ => panic!("no line of a script: {line}"),
            }
        }
        server.expect_silence(&mut cable);
    }
}

/// T-01: the raw bytes, and pings every three seconds.
#[test]
fn t_01_welcome_pings_and_close() {
    let server = recorded();
    let mut client = Client::on(&server, 1);
    client.send(
        "GET /cable HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: actioncable-v1-json\r\n\r\n",
    );
    let expected = b"HTTP/1.1 101 Switching Protocols\r\n\
                     Upgrade: websocket\r\n\
                     Connection: Upgrade\r\n\
                     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
                     Sec-WebSocket-Protocol: actioncable-v1-json\r\n\r\n\
                     \x81\x12{\"type\":\"welcome\"}";
    assert_eq!(String::from_utf8_lossy(&client.take(expected.len())), String::from_utf8_lossy(expected));
    let mut seconds = Vec::new();
    for _ in 0..90 {
        server.advance(0.1);
        server.settle();
        if client.has_bytes() {
            let ping = format!("{{\"type\":\"ping\",\"message\":{}}}", server.seconds());
            assert_eq!(client.take(38), [b"\x81$", ping.as_bytes()].concat());
            seconds.push(server.seconds());
        }
    }
    assert_eq!(seconds.len(), 3);
    assert!(seconds.windows(2).all(|pair| pair[1] - pair[0] == 3), "{seconds:?}");
    client.send(masked(0x88, &1000u16.to_be_bytes()));
    client.expect_close(1000, "");
}

#[test]
fn t_02_no_subprotocol_and_an_unknown_one() {
    let server = recorded();
    for fields in ["", "Sec-WebSocket-Protocol: chat\r\n"] {
        let mut cable = Cable::asking(Client::on(&server, 1), "/cable", fields);
        assert_eq!(cable.upgrade.field("Sec-WebSocket-Protocol"), None);
        assert_eq!(cable.upgrade.field("Sec-WebSocket-Extensions"), None);
        assert_eq!(cable.text(), WELCOME);
        cable.say(r#"{"command":"subscribe","identifier":"{\"channel\":\"EchoChannel\"}"}"#);
        assert_eq!(cable.text(), r#"{"identifier":"{\"channel\":\"EchoChannel\"}","type":"confirm_subscription"}"#);
        server.pass(3.0);
        assert!(ping_number(&cable.text()).is_some());
    }
}

/// T-03, T-04 and T-06. The version, the key and HTTP/1.0 are where fanwire is stricter; its 404 has a date as well.
#[test]
fn t_03_t_04_and_t_06_what_is_no_upgrade() {
    let server = recorded();
    let ask = |request: String| {
        let mut client = Client::on(&server, 1);
        client.send(request);
        client.response()
    };
    for request in [
        "GET /cable HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
        format!("POST /cable HTTP/1.1\r\n{UPGRADE}Content-Length: 0\r\n\r\n"),
        format!("GET /cable HTTP/1.0\r\n{UPGRADE}\r\n"),
    ] {
        let answer = ask(request);
        assert_eq!(answer.status_line(), "HTTP/1.1 404 Not Found");
        assert_eq!((answer.field("Content-Type"), answer.field("Content-Length")), (Some("text/plain"), Some("14")));
        assert_eq!(answer.text(), "Page not found");
    }
    let without_key = UPGRADE.replace("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "");
    assert_eq!(ask(format!("GET /cable HTTP/1.1\r\n{without_key}\r\n")).status, 400);
    let answer = ask(format!("GET /cable HTTP/1.1\r\n{}\r\n", UPGRADE.replace("Version: 13", "Version: 8")));
    assert_eq!((answer.status, answer.field("Sec-WebSocket-Version")), (426, Some("13")));
}

/// T-05, with the extended protocol turned off, which Rails does not have.
#[test]
fn t_05_the_order_of_subprotocols() {
    let server = Server::with_cable("extended = false\n", "");
    for (fields, chosen) in [
        ("Sec-WebSocket-Protocol: actioncable-unsupported\r\n", "actioncable-unsupported"),
        ("Sec-WebSocket-Protocol: actioncable-unsupported, actioncable-v1-json\r\n", "actioncable-unsupported"),
        ("Sec-WebSocket-Protocol: actioncable-v1-ext-json, actioncable-v1-json\r\n", "actioncable-v1-json"),
        (
            "Sec-WebSocket-Protocol: actioncable-v1-json\r\nSec-WebSocket-Extensions: permessage-deflate\r\n",
            "actioncable-v1-json",
        ),
    ] {
        let mut cable = Cable::asking(Client::on(&server, 1), "/cable", fields);
        assert_eq!(cable.upgrade.field("Sec-WebSocket-Protocol"), Some(chosen));
        assert_eq!(cable.upgrade.field("Sec-WebSocket-Extensions"), None);
        assert_eq!(cable.text(), "{\"type\":\"welcome\"}");
        server.expect_silence(&mut cable);
    }
    let server = Server::with_cable("", "");
    let fields = "Sec-WebSocket-Protocol: actioncable-v1-ext-json, actioncable-v1-json\r\n";
    let cable = Cable::asking(Client::on(&server, 1), "/cable", fields);
    assert_eq!(cable.upgrade.field("Sec-WebSocket-Protocol"), Some("actioncable-v1-ext-json"));
}

#[test]
fn t_07_a_connection_that_is_refused() {
    let server = Server::with_cable("connect_auth = \"query:key\"\n", "");
    let fields = "Sec-WebSocket-Protocol: actioncable-v1-json\r\n";
    let mut cable = Cable::asking(Client::on(&server, 1), "/cable", fields);
    assert_eq!(cable.upgrade.field("Sec-WebSocket-Protocol"), Some("actioncable-v1-json"));
    assert_eq!(cable.text(), r#"{"type":"disconnect","reason":"unauthorized","reconnect":false}"#);
    cable.expect_close(1000, "");
}

/// T-08; the allowed pattern of the recording is two entries here.
#[test]
fn t_08_the_origin_rule() {
    let keys = "check_origin = true\nallowed_origins = [\"http://good.example\", \"https://good.example\"]\n";
    let server = Server::with_cable(keys, "");
    let here = server.address.to_string();
    for (origin, status) in [
        (None, 404),
        (Some("http://good.example".to_owned()), 101),
        (Some("https://good.example".to_owned()), 101),
        (Some("https://good.example:8443".to_owned()), 404),
        (Some("http://evil.example".to_owned()), 404),
        (Some(format!("http://{here}")), 101),
        (Some(format!("https://{here}")), 404),
        (Some("null".to_owned()), 404),
    ] {
        let field = origin.as_ref().map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
        let fields = UPGRADE.replace("Host: localhost", &format!("Host: {here}"));
        let mut client = Client::on(&server, 1);
        client.send(format!("GET /cable HTTP/1.1\r\n{fields}{field}\r\n"));
        let answer = client.response();
        assert_eq!(answer.status, status, "{origin:?}");
        if status == 404 {
            assert_eq!((answer.field("Content-Type"), answer.text()), (Some("text/plain"), "Page not found"));
        }
    }
}

#[test]
fn t_09_the_first_example_of_the_document() {
    replay(
        &recorded(),
        r##"
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts;feedbacks;flag_logs\"}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts;feedbacks;flag_logs\"}","type":"confirm_subscription"}
P: api:posts_create {"event_type":"create","event_class":"Post","object":{"id":1,"title":"a \u003cb\u003e \u0026 \"q\" é 😀","created_at":"2017-07-29T23:41:59.000Z"}}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts;feedbacks;flag_logs\"}","message":{"event_type":"create","event_class":"Post","object":{"id":1,"title":"a \u003cb\u003e \u0026 \"q\" é 😀","created_at":"2017-07-29T23:41:59.000Z"}}}
P: api:flag_logs_update {"event_type":"update","event_class":"FlagLog","object":{"id":2}}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts;feedbacks;flag_logs\"}","message":{"event_type":"update","event_class":"FlagLog","object":{"id":2}}}
P: api:statistics_create {"event_type":"create","event_class":"Statistic","object":{}}
C: {"command":"unsubscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts;feedbacks;flag_logs\"}"}
P: api:posts_create {"event_type":"create","event_class":"Post","object":{"id":3}}
"##,
    );
}

#[test]
fn t_10_the_second_example_of_the_document() {
    replay(
        &recorded(),
        r##"
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"statistics#create,update;posts#create\"}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"statistics#create,update;posts#create\"}","type":"confirm_subscription"}
P: api:statistics_create {"event_type":"create","event_class":"Statistic","object":{}}
P: api:posts_update {"event_type":"update","event_class":"Post","object":{}}
P: api:statistics_update {"event_type":"update","event_class":"Statistic","object":{}}
P: api:posts_create {"event_type":"create","event_class":"Post","object":{}}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"statistics#create,update;posts#create\"}","message":{"event_type":"create","event_class":"Statistic","object":{}}}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"statistics#create,update;posts#create\"}","message":{"event_type":"update","event_class":"Statistic","object":{}}}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"statistics#create,update;posts#create\"}","message":{"event_type":"create","event_class":"Post","object":{}}}
"##,
    );
}

/// T-11, in the order in which the subscriptions were made; Rails gives none.
#[test]
fn t_11_legacy_streams() {
    replay(
        &recorded(),
        r##"
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"\"}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"\"}","type":"confirm_subscription"}
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\"}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\"}","type":"confirm_subscription"}
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"   \"}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"   \"}","type":"confirm_subscription"}
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":null}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":null}","type":"confirm_subscription"}
P: api_feedback {"feedback":{"id":9}}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"\"}","message":{"feedback":{"id":9}}}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\"}","message":{"feedback":{"id":9}}}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"   \"}","message":{"feedback":{"id":9}}}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":null}","message":{"feedback":{"id":9}}}
"##,
    );
}

#[test]
fn t_12_keys() {
    replay(
        &recorded(),
        r##"
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"nope\",\"events\":\"posts\"}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"nope\",\"events\":\"posts\"}","type":"reject_subscription"}
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"events\":\"posts\"}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"events\":\"posts\"}","type":"reject_subscription"}
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"nope\",\"events\":\"posts\"}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"nope\",\"events\":\"posts\"}","type":"reject_subscription"}
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"\",\"events\":\"posts\"}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"\",\"events\":\"posts\"}","type":"reject_subscription"}
--
! an array of keys: fanwire rejects it
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":[\"x\",\"abcdef012345\"],\"events\":\"posts\"}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":[\"x\",\"abcdef012345\"],\"events\":\"posts\"}","type":"reject_subscription"}
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":5,\"events\":\"posts\"}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":5,\"events\":\"posts\"}","type":"reject_subscription"}
"##,
    );
}

/// With a publication after each subscribe. Rails: nothing of `posts` for padded names, two frames for a stream named twice.
const T_13: &str = r##"
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\";\"}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\";\"}","type":"confirm_subscription"}
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"#create\"}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"#create\"}","type":"confirm_subscription"}
P: api:posts_create {"event_type":"create","event_class":"Post","object":{"id":1}}
--
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"unicorns;posts#frobnicate\"}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"unicorns;posts#frobnicate\"}","type":"confirm_subscription"}
P: api:posts_create {"event_type":"create","event_class":"Post","object":{"id":1}}
--
! fanwire trims: the events of posts arrive, and nothing of a stream with spaces
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\" posts ; feedbacks\"}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\" posts ; feedbacks\"}","type":"confirm_subscription"}
P: api:\u0020posts\u0020_create {"event_type":"create","event_class":"Post","object":{"id":0}}
P: api:posts_create {"event_type":"create","event_class":"Post","object":{"id":1}}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\" posts ; feedbacks\"}","message":{"event_type":"create","event_class":"Post","object":{"id":1}}}
--
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"Posts\"}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"Posts\"}","type":"confirm_subscription"}
P: api:posts_create {"event_type":"create","event_class":"Post","object":{"id":1}}
--
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts#create#update\"}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts#create#update\"}","type":"confirm_subscription"}
P: api:posts_create {"event_type":"create","event_class":"Post","object":{"id":1}}
P: api:posts_update {"event_type":"update","event_class":"Post","object":{"id":1}}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts#create#update\"}","message":{"event_type":"create","event_class":"Post","object":{"id":1}}}
--
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts#,create\"}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts#,create\"}","type":"confirm_subscription"}
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts#create,,update\"}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts#create,,update\"}","type":"confirm_subscription"}
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts# create\"}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts# create\"}","type":"confirm_subscription"}
P: api:posts_create {"event_type":"create","event_class":"Post","object":{"id":1}}
P: api:posts_update {"event_type":"update","event_class":"Post","object":{"id":1}}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts#,create\"}","message":{"event_type":"create","event_class":"Post","object":{"id":1}}}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts#create,,update\"}","message":{"event_type":"create","event_class":"Post","object":{"id":1}}}
! fanwire trims types as well
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts# create\"}","message":{"event_type":"create","event_class":"Post","object":{"id":1}}}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts#create,,update\"}","message":{"event_type":"update","event_class":"Post","object":{"id":1}}}
--
! in fanwire one frame, and none after the unsubscribe
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts;posts#create\"}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts;posts#create\"}","type":"confirm_subscription"}
P: api:posts_create {"event_type":"create","event_class":"Post","object":{"id":1}}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts;posts#create\"}","message":{"event_type":"create","event_class":"Post","object":{"id":1}}}
C: {"command":"unsubscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts;posts#create\"}"}
P: api:posts_create {"event_type":"create","event_class":"Post","object":{"id":2}}
"##;

#[test]
fn t_13_oddities_of_events() {
    replay(&recorded(), T_13);
}

/// T-14: where Rails leaves half a subscription without an answer, fanwire rejects and attaches nothing.
#[test]
fn t_14_malformed_events() {
    replay(
        &recorded(),
        r##"
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts#\"}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts#\"}","type":"reject_subscription"}
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts#\"}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts#\"}","type":"reject_subscription"}
--
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts;foo#\"}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts;foo#\"}","type":"reject_subscription"}
P: api:posts_create {"event_type":"create","event_class":"Post","object":{"id":1}}
--
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":[\"posts\"]}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":[\"posts\"]}","type":"reject_subscription"}
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":5}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":5}","type":"reject_subscription"}
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":{\"a\":1}}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":{\"a\":1}}","type":"reject_subscription"}
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":true}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":true}","type":"reject_subscription"}
P: api:posts_create {"event_type":"create","event_class":"Post","object":{"id":1}}
"##,
    );
}

/// T-15 to T-17: identifiers, a duplicate, two subscriptions. Frames of one event come in the order of the subscriptions.
#[test]
fn t_15_to_t_17_identifiers_and_subscriptions() {
    replay(
        &recorded(),
        r##"
C: {"command":"subscribe","identifier":"{\"channel\":\"EchoChannel\"}"}
S: {"identifier":"{\"channel\":\"EchoChannel\"}","type":"confirm_subscription"}
C: {"command":"subscribe","identifier":"{ \"channel\": \"EchoChannel\" }"}
S: {"identifier":"{ \"channel\": \"EchoChannel\" }","type":"confirm_subscription"}
P: echo "s"
S: {"identifier":"{\"channel\":\"EchoChannel\"}","message":"s"}
S: {"identifier":"{ \"channel\": \"EchoChannel\" }","message":"s"}
C: {"command":"unsubscribe","identifier":"{\"channel\": \"EchoChannel\"}"}
C: {"command":"unsubscribe","identifier":"{ \"channel\": \"EchoChannel\" }"}
P: echo [1,null]
S: {"identifier":"{\"channel\":\"EchoChannel\"}","message":[1,null]}
--
C: {"command":"subscribe","identifier":"{\"channel\":\"EchoChannel\"}"}
S: {"identifier":"{\"channel\":\"EchoChannel\"}","type":"confirm_subscription"}
C: {"command":"subscribe","identifier":"{\"channel\":\"EchoChannel\"}"}
P: echo {"n":1}
S: {"identifier":"{\"channel\":\"EchoChannel\"}","message":{"n":1}}
--
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts\"}"}
C: {"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts#create\"}"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts\"}","type":"confirm_subscription"}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts#create\"}","type":"confirm_subscription"}
P: api:posts_create {"event_type":"create","event_class":"Post","object":{"id":1}}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts\"}","message":{"event_type":"create","event_class":"Post","object":{"id":1}}}
S: {"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts#create\"}","message":{"event_type":"create","event_class":"Post","object":{"id":1}}}
"##,
    );
}

#[test]
fn t_18_bad_input() {
    replay(
        &recorded(),
        r##"
C: garbage
C: []
C: 1
C: null
C: "str"
C: {}
C: {"command":"frob"}
C: {"command":"subscribe"}
! a subscribe that names an identifier is answered by fanwire
C: {"command":"subscribe","identifier":"nojson"}
S: {"identifier":"nojson","type":"reject_subscription"}
C: {"command":"subscribe","identifier":"{}"}
S: {"identifier":"{}","type":"reject_subscription"}
C: {"command":"subscribe","identifier":"{\"channel\":\"NopeChannel\"}"}
S: {"identifier":"{\"channel\":\"NopeChannel\"}","type":"reject_subscription"}
C: {"command":"subscribe","identifier":"{\"channel\":\"Object\"}"}
S: {"identifier":"{\"channel\":\"Object\"}","type":"reject_subscription"}
C: {"command":"subscribe","identifier":{"channel":"EchoChannel"}}
C: {"command":"unsubscribe","identifier":"{}"}
C: {"command":"Subscribe","identifier":"{\"channel\":\"EchoChannel\"}"}
C: (empty text frame)
C: (binary frame)
C: {"command":"subscribe","identifier":"{\"channel\":\"EchoChannel\"}"}
S: {"identifier":"{\"channel\":\"EchoChannel\"}","type":"confirm_subscription"}
"##,
    );
}

/// T-22; a remote disconnect has its frame, as Rails has it since 7.1.
#[test]
fn t_22_restart_and_remote_disconnect() {
    let server = recorded();
    let mut cable = Cable::offering(&server, 1, "actioncable-v1-json");
    cable.say(r#"{"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\"}"}"#);
    assert_eq!(
        cable.text(),
        r#"{"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\"}","type":"confirm_subscription"}"#
    );
    let mut other = Cable::offering(&server, 2, "actioncable-v1-json");
    other.say(r#"{"command":"subscribe","identifier":"{\"channel\":\"EchoChannel\"}"}"#);
    assert_eq!(other.text(), confirm(ECHO));
    server.cable_post(3, "/_broadcast", r#"{"command":"disconnect","payload":{"identifier":"document"}}"#);
    assert_eq!(cable.text(), r#"{"type":"disconnect","reason":"remote","reconnect":true}"#);
    cable.expect_close(1000, "");
    server.expect_silence(&mut other);
    server.drain();
    server.pass(30.5);
    let frame = other.beyond_pings();
    let frame = String::from_utf8(frame.payload).unwrap();
    assert_eq!(frame, r#"{"type":"disconnect","reason":"server_restart","reconnect":true}"#);
    other.expect_close(1000, "");
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// T-23, without the reasons that Rails writes; an unmasked frame gets 1002, a message above 64 KiB 1009.
#[test]
fn t_23_errors_of_frames() {
    let server = recorded();
    for (bytes, code) in [
        ("81027b7d", 1002),
        ("818200000000fffe", 1007),
        ("838000000000", 1002),
        ("c182000000007b7d", 1002),
        ("88820000000003ed", 1002),
        ("888000000000", 1000),
        ("8082000000007b7d", 1002),
    ] {
        let mut cable = Cable::offering(&server, 1, "actioncable-v1-json");
        cable.send(hex(bytes));
        let expected = [&[0x88, 2][..], &u16::to_be_bytes(code)].concat();
        assert_eq!(cable.take(4), expected, "{bytes}");
        cable.expect_end();
    }
    let mut cable = Cable::offering(&server, 1, "actioncable-v1-json");
    cable.send(hex("0186000000007b22636f6d6d89810000000070808c00000000616e64223a2266726f62227d"));
    assert_eq!(cable.take(3), b"\x8a\x01p");
    server.expect_silence(&mut cable);
    cable.send(masked(0x89, b"abc"));
    assert_eq!(cable.take(5), b"\x8a\x03abc");
    cable.send(masked(0x88, &4001u16.to_be_bytes()));
    cable.expect_close(4001, "");
    // A large text with an unknown command is ignored, as far as `max_message` goes.
    let mut cable = Cable::offering(&server, 1, "actioncable-v1-json");
    let frob = |bytes: usize| format!("{{\"command\":\"frob\",\"pad\":\"{}\"}}", "x".repeat(bytes - 27));
    assert_eq!(frob(65_536).len(), 65_536);
    cable.say(&frob(65_536));
    cable.say(r#"{"command":"subscribe","identifier":"{\"channel\":\"EchoChannel\"}"}"#);
    assert_eq!(cable.text(), confirm(ECHO));
    cable.say(&frob(65_537));
    cable.expect_close(1009, "");
}
