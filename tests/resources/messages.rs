//! RS-23 to RS-41 and RS-69 to RS-71: what each request causes.

use crate::support::realtime::{
    DEV, FORBIDDEN, GAME, Listener, MALFORMED, PRIVATE, RATE, TOO_MANY, WORLD, Writer, document, jwt, missing, referenced,
    resource, version_of,
};
use crate::support::{Server, masked};

/// A document of the user `dev`, as its backend names it.
const OWN: (&str, &str) = ("collection", "private:dev");

#[test]
fn rs_23_an_existing_document_is_one_frame_with_its_keys_in_order() {
    let server = Server::with_resources("");
    let mut writer = Writer::on(&server, 3);
    let data = r#"{"userId":"fakeUserId","datasourceId":"fakeDatasourceId","userCollection":[]}"#;
    let mut listener = Listener::open(&server, 1);
    for (of, written, user) in [(PRIVATE, OWN, "dev"), (WORLD, WORLD, "World")] {
        let version = writer.put(written, data);
        listener.request("subscribe", of, "");
        listener.expect(&document(user, of, data, &version));
        server.expect_silence(&mut listener);
    }
}

#[test]
fn rs_24_a_missing_key_is_warned_of_and_its_creation_arrives() {
    let server = Server::with_resources("");
    let mut listener = Listener::open(&server, 1);
    listener.request("subscribe", WORLD, "");
    listener.expect(
        r#"{"warning":"resource_not_found","message":"KVStore resource doesn't currently exist, subscription was still made successfully"}"#,
    );
    server.expect_silence(&mut listener);
    let version = Writer::on(&server, 3).put(WORLD, "{\"a\":1}");
    listener.expect(&document("World", WORLD, "{\"a\":1}", &version));
    server.expect_silence(&mut listener);
}

#[test]
fn rs_25_the_warnings_differ_in_their_label() {
    let server = Server::with_resources("");
    let mut listener = Listener::open(&server, 1);
    let text = |label: &str| missing("KVStore").replace("KVStore", label);
    assert_eq!(listener.subscribe(WORLD), text("KVStore"));
    assert_eq!(listener.subscribe(PRIVATE), text("Collection"));
    assert_eq!(listener.subscribe(GAME), text("LiveConfig"));
}

#[test]
fn rs_26_a_subscription_outlives_the_deletion_of_its_document() {
    let server = Server::with_resources("");
    let mut writer = Writer::on(&server, 3);
    let first = writer.put(WORLD, "1");
    let mut listener = Listener::open(&server, 1);
    assert_eq!(listener.subscribe(WORLD), document("World", WORLD, "1", &first));
    for round in 0..3 {
        let deleted = writer.delete(WORLD);
        listener.expect(&document("World", WORLD, "null", &deleted));
        let again = writer.put(WORLD, &round.to_string());
        listener.expect(&document("World", WORLD, &round.to_string(), &again));
    }
    server.expect_silence(&mut listener);
    // Who subscribes to what is deleted is warned, and hears of the next one, too.
    writer.delete(WORLD);
    assert!(listener.text().contains("\"data\":null"));
    let mut late = Listener::open(&server, 2);
    assert_eq!(late.subscribe(WORLD), missing("KVStore"));
    let again = writer.put(WORLD, "9");
    late.expect(&document("World", WORLD, "9", &again));
    listener.expect(&document("World", WORLD, "9", &again));
}

#[test]
fn rs_27_a_deletion_is_null_with_a_newer_version() {
    let server = Server::with_resources("");
    let mut writer = Writer::on(&server, 3);
    let mut listener = Listener::open(&server, 1);
    for of in [GAME, WORLD] {
        let user = if of == WORLD { "World" } else { "" };
        let written = writer.put(of, "{}");
        assert_eq!(listener.subscribe(of), document(user, of, "{}", &written));
        let deleted = writer.delete(of);
        assert!(deleted > written, "{deleted} {written}");
        listener.expect(&document(user, of, "null", &deleted));
    }
}

#[test]
fn rs_28_after_unsubscribe_no_write_arrives() {
    let server = Server::with_resources("");
    let mut writer = Writer::on(&server, 3);
    let mut listener = Listener::open(&server, 1);
    listener.await_document(WORLD);
    listener.await_document(GAME);
    writer.put(WORLD, "1");
    assert_eq!(version_of(&listener.text()).len(), 24);
    listener.unsubscribe(WORLD);
    listener.finish();
    writer.put(WORLD, "2");
    writer.delete(WORLD);
    // The other one goes on.
    let version = writer.put(GAME, "3");
    listener.expect(&document("", GAME, "3", &version));
    server.expect_silence(&mut listener);
    // It can come back.
    let version = writer.put(WORLD, "4");
    assert_eq!(listener.subscribe(WORLD), document("World", WORLD, "4", &version));
    let version = writer.put(WORLD, "5");
    listener.expect(&document("World", WORLD, "5", &version));
}

#[test]
fn rs_29_unsubscribe_has_no_reply() {
    let server = Server::with_resources("");
    let mut listener = Listener::open(&server, 1);
    listener.await_document(WORLD);
    for of in [WORLD, WORLD, GAME, PRIVATE, ("kvStore", "stranger:kvstoreClient:k")] {
        listener.unsubscribe(of);
    }
    server.expect_silence(&mut listener);
    listener.finish();
}

#[test]
fn rs_30_a_duplicate_subscribe_repeats_the_snapshot_and_writes_still_arrive_once() {
    let server = Server::with_resources("");
    let mut writer = Writer::on(&server, 3);
    let mut listener = Listener::open(&server, 1);
    listener.await_document(WORLD);
    // Also the warning is repeated.
    listener.await_document(WORLD);
    for value in ["1", "2"] {
        let version = writer.put(WORLD, value);
        let frame = document("World", WORLD, value, &version);
        listener.expect(&frame);
        for _ in 0..3 {
            assert_eq!(listener.subscribe(WORLD), frame);
        }
        server.expect_silence(&mut listener);
    }
    // One unsubscribe ends it.
    listener.unsubscribe(WORLD);
    listener.finish();
    writer.put(WORLD, "3");
    server.expect_silence(&mut listener);
}

/// Each is answered as malformed, and behind it the connection serves on.
#[track_caller]
fn expect_malformed(server: &Server, texts: &[&str]) {
    for (number, text) in texts.iter().enumerate() {
        // Nine on each connection: the tenth would end it.
        let mut listener = Listener::open(server, number % 4);
        listener.say(text);
        assert_eq!(listener.text(), MALFORMED, "{text}");
        listener.await_document(GAME);
    }
}

#[test]
fn rs_31_what_is_no_request_is_answered_and_the_connection_stays() {
    let server = Server::with_resources("");
    let with = |action: &str, resource: &str| format!("{{\"action\":{action},\"resource\":{resource}}}");
    let game = r#"{"type":"liveConfig","id":"game"}"#;
    let texts = [
        "{".to_owned(),
        "[]".to_owned(),
        "\"x\"".to_owned(),
        "{}".to_owned(),
        "".to_owned(),
        format!("{{\"resource\":{game}}}"),
        with("5", game),
        with("null", game),
        with("\"Subscribe\"", game),
        with("\"publish\"", game),
        r#"{"action":"subscribe"}"#.to_owned(),
        with("\"subscribe\"", "[]"),
        with("\"subscribe\"", "\"liveConfig\""),
        with("\"subscribe\"", r#"{"type":"KVStore","id":"World:kvstoreClient:k"}"#),
        with("\"subscribe\"", r#"{"id":"game"}"#),
        with("\"subscribe\"", r#"{"type":"liveConfig"}"#),
        with("\"subscribe\"", r#"{"type":"liveConfig","id":""}"#),
        with("\"subscribe\"", r#"{"type":"liveConfig","id":5}"#),
        with("\"unsubscribe\"", r#"{"type":"liveConfig","id":5}"#),
    ];
    expect_malformed(&server, &texts.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn rs_32_ids_numbers_and_nesting_have_their_bounds() {
    let server = Server::with_resources("");
    let subscribe = |kind: &str, id: &str| format!("{{\"action\":\"subscribe\",{}}}", resource((kind, id)));
    let nested = |levels: usize| {
        // The outermost object is the first level.
        let inner = format!("{}{}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        format!("{{\"action\":\"subscribe\",{},\"x\":{inner}}}", resource(GAME))
    };
    let raw = |id: &str| format!("{{\"action\":\"subscribe\",\"resource\":{{\"type\":\"liveConfig\",\"id\":\"{id}\"}}}}");
    let more = |member: &str| format!("{{\"action\":\"subscribe\",{},{member}}}", resource(GAME));
    let texts = [
        subscribe("liveConfig", &"g".repeat(513)),
        subscribe("kvStore", "World"),
        subscribe("kvStore", "World:kvstoreClient"),
        subscribe("kvStore", "World:kvstoreOther:k"),
        subscribe("collection", "other"),
        nested(33),
        more("\"x\":1e400"),
        more("\"x\":\"\\ud800\""),
        raw("\\udc00"),
        raw("a\\u0000b"),
    ];
    expect_malformed(&server, &texts.iter().map(String::as_str).collect::<Vec<_>>());
    let mut listener = Listener::open(&server, 1);
    listener.client.send(masked(0x82, format!("{{\"action\":\"subscribe\",{}}}", resource(GAME)).as_bytes()));
    listener.expect(MALFORMED);
    // What is just within.
    for good in [subscribe("liveConfig", &"g".repeat(512)), nested(32), more("\"x\":1e308"), raw("\\ud83d\\ude00")] {
        listener.say(&good);
        assert_eq!(listener.text(), missing("LiveConfig"), "{good}");
    }
}

#[test]
fn rs_33_the_documents_mangled_sample_is_malformed_and_the_corrected_one_subscribes() {
    let server = Server::with_resources("");
    let mangled = "{\"action\":\"subscribe\",\"resource\":{\u{201c}type\u{201d}:\u{201c}liveConfig\u{201d},\u{201c}id\u{201d}:\u{201c}game\u{201d}}}";
    expect_malformed(&server, &[mangled]);
    let mut listener = Listener::open(&server, 1);
    listener.say(&mangled.replace(['\u{201c}', '\u{201d}'], "\""));
    listener.expect(&missing("LiveConfig"));
    let version = Writer::on(&server, 2).put(GAME, "1");
    listener.expect(&document("", GAME, "1", &version));
}

#[test]
fn rs_34_unknown_keys_are_ignored_and_the_last_of_duplicates_counts() {
    let server = Server::with_resources("");
    let mut listener = Listener::open(&server, 1);
    listener.say(
        " { \"x\":[1,{}], \"resource\":5, \"action\":\"nothing\",\n\t\"resource\":{\"id\":\"no\",\"y\":null,\"type\":\"kvStore\",\"type\":\"liveConfig\",\"id\":\"game\"},\"action\":\"subscribe\" }",
    );
    listener.expect(&missing("LiveConfig"));
    let version = Writer::on(&server, 2).put(GAME, "1");
    listener.expect(&document("", GAME, "1", &version));
    listener.say(r#"{"action":"subscribe","resource":{"type":"liveConfig","id":"game"},"resource":5}"#);
    listener.expect(MALFORMED);
}

#[test]
fn rs_35_fragments_are_assembled_and_bytes_and_utf8_are_judged() {
    let server = Server::with_resources("");
    let mut listener = Listener::open(&server, 1);
    let text = format!("{{\"action\":\"subscribe\",{}}}", resource(GAME));
    let (first, rest) = text.as_bytes().split_at(7);
    let (second, third) = rest.split_at(20);
    listener.client.send([masked(0x01, first), masked(0x89, b"p"), masked(0x00, second), masked(0x80, third)].concat());
    let pong = listener.frame();
    assert_eq!((pong.opcode, &pong.payload[..]), (10, &b"p"[..]));
    listener.expect(&missing("LiveConfig"));
    // As many bytes as a message may have, and one more: in one frame, and in two.
    let padded = |bytes: usize| format!("{text}{}", " ".repeat(bytes - text.len()));
    listener.say(&padded(16_384));
    listener.expect(&missing("LiveConfig"));
    listener.say(&padded(16_385));
    listener.expect_close(1009, "Message too big");
    let mut listener = Listener::open(&server, 2);
    listener.client.send([masked(0x01, &[b' '; 16_000]), masked(0x80, &[b' '; 385])].concat());
    listener.expect_close(1009, "Message too big");
    for bad in [masked(0x81, b"\"\xff\""), [masked(0x01, b"\"\xc3"), masked(0x80, b"\"")].concat()] {
        let mut listener = Listener::open(&server, 3);
        listener.client.send(bad);
        listener.expect_close(1007, "Invalid UTF-8");
    }
    let mut listener = Listener::open(&server, 3);
    listener.client.send([0x81, 0x01, b'x']);
    listener.expect_close(1002, "Protocol error");
}

#[test]
fn rs_36_the_tenth_malformed_message_in_a_minute_is_answered_and_the_last() {
    let server = Server::with_resources("");
    let mut listener = Listener::open(&server, 1);
    for _ in 0..3 {
        // Nine in a minute do no harm.
        for _ in 0..9 {
            listener.say("{");
            assert_eq!(listener.beyond_pings().payload, MALFORMED.as_bytes());
        }
        server.advance(60.0);
    }
    listener.request("subscribe", GAME, "");
    assert_eq!(listener.beyond_pings().payload, missing("LiveConfig").as_bytes());
    let mut listener = Listener::open(&server, 2);
    for _ in 0..9 {
        listener.say("{");
        listener.expect(MALFORMED);
    }
    // Requests in between change nothing.
    listener.await_document(GAME);
    server.advance(59.9);
    listener.client.send(masked(0x82, b""));
    assert_eq!(listener.beyond_pings().payload, MALFORMED.as_bytes());
    listener.expect_close(1008, "Too many invalid messages");
}

#[test]
fn rs_37_one_subscription_too_many_is_refused_and_the_others_live() {
    let server = Server::with_resources("limits.messages_burst = 3000");
    let mut listener = Listener::open(&server, 1);
    let id = |number: usize| format!("game{number}");
    for number in 0..1_000 {
        listener.await_document(("liveConfig", &id(number)));
    }
    assert_eq!(listener.subscribe(("liveConfig", "one too many")), TOO_MANY);
    // What is subscribed already is no new subscription.
    listener.await_document(("liveConfig", &id(7)));
    let mut writer = Writer::on(&server, 3);
    writer.put(("liveConfig", "one%20too%20many"), "0");
    for number in [0, 500, 999] {
        let of = id(number);
        let version = writer.put(("liveConfig", &of), "1");
        listener.expect(&document("", ("liveConfig", &of), "1", &version));
    }
    server.expect_silence(&mut listener);
    // One that is left makes room for one.
    listener.unsubscribe(("liveConfig", &id(3)));
    assert_eq!(version_of(&listener.subscribe(("liveConfig", "one too many"))).len(), 24);
    assert_eq!(listener.subscribe(("liveConfig", &id(3))), TOO_MANY);
}

#[test]
fn rs_38_messages_above_the_rate_are_refused_and_not_executed() {
    let server = Server::with_resources("limits.messages_per_second = 10\nlimits.messages_burst = 20");
    let mut writer = Writer::on(&server, 3);
    let mut listener = Listener::open(&server, 1);
    for _ in 0..20 {
        listener.await_document(WORLD);
    }
    assert_eq!(listener.subscribe(GAME), RATE);
    listener.unsubscribe(WORLD);
    listener.expect(RATE);
    // Malformed ones do not use the rate, and do not wait for it.
    listener.say("{");
    listener.expect(MALFORMED);
    // Neither happened.
    writer.put(GAME, "1");
    let version = writer.put(WORLD, "2");
    listener.expect(&document("World", WORLD, "2", &version));
    server.expect_silence(&mut listener);
    // A tenth of a second is one message.
    server.advance(0.1);
    assert_eq!(version_of(&listener.subscribe(GAME)).len(), 24);
    for _ in 0..99 {
        assert_eq!(listener.subscribe(GAME), RATE);
    }
    server.advance(0.1);
    assert_eq!(version_of(&listener.subscribe(GAME)).len(), 24);
    // A hundred in a row are the end.
    for _ in 0..100 {
        assert_eq!(listener.subscribe(GAME), RATE);
    }
    listener.expect_close(1008, "Rate limit exceeded");
}

#[test]
fn rs_39_a_live_configuration_has_no_user() {
    let server = Server::with_resources("");
    let mut listener = Listener::open(&server, 1);
    listener.await_document(GAME);
    let mut writer = Writer::on(&server, 2);
    let version = writer.put(GAME, "{\"a\":true}");
    let frame =
        format!("{{\"resource\":{{\"type\":\"liveConfig\",\"id\":\"game\"}},\"data\":{{\"a\":true}},\"version\":\"{version}\"}}");
    listener.expect(&frame);
    assert_eq!(listener.subscribe(GAME), frame);
    writer.delete(GAME);
    assert!(listener.text().starts_with("{\"resource\""));
}

#[test]
fn rs_40_stored_text_arrives_unchanged_but_for_its_white_space() {
    let server = Server::with_resources("");
    let mut listener = Listener::open(&server, 1);
    listener.await_document(GAME);
    let spaced = " {\n \"z\" : 1.50e+3 ,\t\"a\":[ -0, 12345678901234567890123 ],\r\n\"z\":\"\\u0041\\/ é\" } ";
    let kept = "{\"z\":1.50e+3,\"a\":[-0,12345678901234567890123],\"z\":\"\\u0041\\/ é\"}";
    let version = Writer::on(&server, 3).put(GAME, spaced);
    listener.expect(&document("", GAME, kept, &version));
    assert_eq!(listener.subscribe(GAME), document("", GAME, kept, &version));
}

#[test]
fn rs_41_nothing_is_sent_before_the_first_request() {
    let server = Server::with_resources("");
    let mut writer = Writer::on(&server, 3);
    writer.put(WORLD, "1");
    let mut listeners: Vec<Listener> = (0..4).map(|reactor| Listener::open(&server, reactor)).collect();
    writer.put(WORLD, "2");
    for listener in &mut listeners {
        server.expect_silence(listener);
    }
}

#[test]
fn rs_69_with_a_reference_there_is_one_direct_reply_that_begins_with_it() {
    let server = Server::with_project(
        "limits.messages_per_second = 1\nlimits.messages_burst = 11\nlimits.subscriptions_per_connection_max = 2",
        DEV,
        "",
    );
    let mut writer = Writer::on(&server, 3);
    let mut listener = Listener::open(&server, 1);
    let seven = ",\"ref\":7";
    let ask = |listener: &mut Listener, action: &str, of, more: &str, reply: &str| {
        listener.request(action, of, &format!("{seven}{more}"));
        listener.expect(reply);
        server.expect_silence(listener);
    };
    ask(&mut listener, "subscribe", PRIVATE, "", &referenced(&missing("Collection"), Some(PRIVATE)));
    // The long form is answered as frames name it.
    ask(&mut listener, "subscribe", OWN, "", &referenced(&missing("Collection"), Some(PRIVATE)));
    let version = writer.put(OWN, "[1]");
    // An update is no reply.
    listener.expect(&document("dev", PRIVATE, "[1]", &version));
    let frame = document("dev", PRIVATE, "[1]", &version);
    ask(&mut listener, "subscribe", PRIVATE, "", &format!("{{\"ref\":7,{}", &frame[1..]));
    let subscribed = referenced(r#"{"ok":"subscribed"}"#, Some(PRIVATE));
    ask(&mut listener, "subscribe", PRIVATE, ",\"snapshot\":false", &subscribed);
    ask(&mut listener, "subscribe", PRIVATE, &format!(",\"since\":\"{version}\""), &subscribed);
    let stranger = ("kvStore", "stranger:kvstoreClient:k");
    ask(&mut listener, "subscribe", stranger, "", &referenced(FORBIDDEN, Some(stranger)));
    ask(&mut listener, "subscribe", GAME, "", &referenced(&missing("LiveConfig"), Some(GAME)));
    ask(&mut listener, "subscribe", WORLD, "", &referenced(TOO_MANY, Some(WORLD)));
    ask(&mut listener, "unsubscribe", GAME, "", &referenced(r#"{"ok":"unsubscribed"}"#, Some(GAME)));
    ask(&mut listener, "unsubscribe", GAME, "", &referenced(r#"{"ok":"unsubscribed"}"#, Some(GAME)));
    listener.say("{\"action\":\"authenticate\",\"authorization\":\"Bearer x\",\"ref\":7}");
    listener.expect(&referenced(FORBIDDEN, None));
    ask(&mut listener, "unsubscribe", WORLD, "", &referenced(RATE, Some(WORLD)));
    ask(&mut listener, "Subscribe", GAME, "", &referenced(MALFORMED, Some(GAME)));
    ask(&mut listener, "subscribe", GAME, ",\"since\":\"yesterday\"", &referenced(MALFORMED, Some(GAME)));
    ask(&mut listener, "subscribe", ("liveConfig", ""), "", &referenced(MALFORMED, None));
    // Text, and what is none of both.
    listener.say(&format!("{{\"ref\":\"a\\\"\\u0001é\",\"action\":\"nothing\",{}}}", resource(GAME)));
    listener.expect(&format!("{{\"ref\":\"a\\\"\\u0001é\",\"error\":\"Invalid message format\",{}}}", resource(GAME)));
    for bad in ["null", "1.5", "true", "[]", "9007199254740992", &format!("\"{}\"", "x".repeat(65))] {
        let mut listener = Listener::open(&server, 2);
        listener.request("subscribe", GAME, &format!(",\"ref\":{bad}"));
        assert_eq!(listener.text(), MALFORMED, "{bad}");
    }
    let mut listener = Listener::open(&server, 2);
    listener.say(&format!(
        "{{\"action\":\"authenticate\",\"authorization\":\"Bearer {}\",\"ref\":7}}",
        jwt(r#"{"sub":"dev","exp":4102444800}"#)
    ));
    listener.expect(r#"{"ref":7,"ok":"authenticated"}"#);
}

#[test]
fn rs_70_the_version_that_the_client_has_is_not_sent_again() {
    let server = Server::with_resources("");
    let mut writer = Writer::on(&server, 3);
    let version = writer.put(WORLD, "1");
    let frame = document("World", WORLD, "1", &version);
    let since = |version: &str| format!(",\"since\":\"{version}\"");
    // Older, newer, and none that ever was.
    for other in ["2020-01-01T00:00:00.000Z", "2100-01-01T00:00:00.000Z", "0000-01-01T00:00:00.000Z"] {
        let mut listener = Listener::open(&server, 1);
        listener.request("subscribe", WORLD, &since(other));
        listener.expect(&frame);
    }
    let mut listener = Listener::open(&server, 1);
    for _ in 0..2 {
        listener.request("subscribe", WORLD, &since(&version));
        server.expect_silence(&mut listener);
    }
    let newer = writer.put(WORLD, "2");
    listener.expect(&document("World", WORLD, "2", &newer));
    listener.request("subscribe", WORLD, &since(&version));
    listener.expect(&document("World", WORLD, "2", &newer));
    // What is missing is warned of.
    listener.request("subscribe", GAME, &since(&version));
    listener.expect(&missing("LiveConfig"));
    let deleted = writer.delete(WORLD);
    listener.expect(&document("World", WORLD, "null", &deleted));
    listener.request("subscribe", WORLD, &since(&deleted));
    listener.expect(&missing("KVStore"));
    for bad in ["5", "null", "\"\"", "\"2024-01-30T15:50:35Z\""] {
        listener.request("subscribe", GAME, &format!(",\"since\":{bad}"));
        assert_eq!(listener.text(), MALFORMED, "{bad}");
    }
}

#[test]
fn rs_71_without_a_snapshot_the_warning_and_the_updates_come() {
    let server = Server::with_resources("");
    let mut writer = Writer::on(&server, 3);
    writer.put(WORLD, "1");
    let mut listener = Listener::open(&server, 1);
    let none = ",\"snapshot\":false";
    listener.request("subscribe", WORLD, none);
    server.expect_silence(&mut listener);
    let version = writer.put(WORLD, "2");
    listener.expect(&document("World", WORLD, "2", &version));
    listener.request("subscribe", WORLD, none);
    server.expect_silence(&mut listener);
    listener.request("subscribe", WORLD, ",\"snapshot\":true");
    listener.expect(&document("World", WORLD, "2", &version));
    listener.request("subscribe", GAME, none);
    listener.expect(&missing("LiveConfig"));
    let version = writer.put(GAME, "3");
    listener.expect(&document("", GAME, "3", &version));
    for bad in ["0", "null", "\"false\""] {
        listener.request("subscribe", GAME, &format!(",\"snapshot\":{bad}"));
        assert_eq!(listener.text(), MALFORMED, "{bad}");
    }
}
