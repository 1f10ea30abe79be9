//! AC-22 to AC-32: keys, identifiers and the life of a subscription.

use crate::support::cable::{ECHO, ECHO_CHANNEL, KEY, SECOND_KEY, api, api_with, configuration, confirm, data, event, reject};
use crate::support::{Cable, Caller, Client, Server, dev_cable};
use std::sync::atomic::{AtomicBool, Ordering};

/// A client that offered one protocol, so that a duplicate `subscribe` is silent.
fn quiet(server: &Server, reactor: usize) -> Cable {
    Cable::offering(server, reactor, "actioncable-v1-json")
}

/// An identifier of `ApiChannel` whose `key` is this JSON text.
fn api_key(key: &str) -> String {
    format!("{{\"channel\":\"ApiChannel\",\"key\":{key},\"events\":\"posts\"}}")
}

#[track_caller]
fn expect_usable(server: &Server, cable: &mut Cable) {
    server.expect_silence(cable);
    cable.subscribe(ECHO);
    server.broadcast(3, "echo", "1");
    cable.expect_data(ECHO, "1");
    cable.unsubscribe(ECHO);
}

/// AC-22 [D] `ApiChannel` with a valid key and `events` gets one `confirm_subscription` whose identifier equals the sent string
/// (T-09).
#[test]
fn ac_22_a_valid_key_gets_one_confirm_with_the_identifier_sent() {
    let server = Server::with_cable("", "");
    let mut cable = Cable::open(&server, 1);
    cable.say(
        r#"{"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts;feedbacks;flag_logs\"}"}"#,
    );
    assert_eq!(
        cable.text(),
        r#"{"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts;feedbacks;flag_logs\"}","type":"confirm_subscription"}"#
    );
    server.expect_silence(&mut cable);
    assert_eq!(server.cable_metric("confirms_total"), 1);
    cable.subscribe(&api_with(SECOND_KEY, "posts"));
    server.expect_silence(&mut cable);
}

/// AC-23 [M] A wrong, missing, empty or blank key gets `reject_subscription` and the connection stays usable (T-12).
#[test]
fn ac_23_without_a_known_key_there_is_a_reject() {
    let server = Server::with_cable("", ECHO_CHANNEL);
    let mut cable = Cable::open(&server, 1);
    cable.expect_reject("{\"channel\":\"ApiChannel\",\"events\":\"posts\"}");
    // Bytes count: case, and spaces around.
    for key in ["nope", "", " ", "   ", "ABCDEF012345", "abcdef012345 ", " abcdef012345", "abcdef01234"] {
        cable.expect_reject(&api_with(key, "posts"));
        expect_usable(&server, &mut cable);
    }
    cable.expect_reject(&api_key("null"));
    cable.expect_reject(&api_with(&"k".repeat(257), "posts"));
    assert_eq!(server.cable_metric("rejects_total{cause=\"key\"}"), 11);
    server.cable_event("create", "Post", "{}");
    expect_usable(&server, &mut cable);
}

/// AC-24 [F] A key that is a number, array or object gets `reject_subscription` (Rails takes an array, T-12).
#[test]
fn ac_24_a_key_that_is_no_string_gets_a_reject() {
    let server = Server::with_cable("", ECHO_CHANNEL);
    let mut cable = Cable::open(&server, 1);
    for key in ["5", "[\"x\",\"abcdef012345\"]", "[\"abcdef012345\"]", "{\"abcdef012345\":\"abcdef012345\"}", "true", "false"] {
        cable.expect_reject(&api_key(key));
        expect_usable(&server, &mut cable);
    }
}

/// AC-25 [R] Subscribing again to a rejected identifier is evaluated and answered again (T-12).
#[test]
fn ac_25_a_rejected_identifier_is_judged_again() {
    let server = Server::with_cable("", "");
    for mut cable in [Cable::open(&server, 1), quiet(&server, 2)] {
        for _ in 0..3 {
            cable.expect_reject(&api_with("nope", "posts"));
        }
        server.expect_silence(&mut cable);
        assert_eq!(server.cable_metric("duplicates_total"), 0);
    }
    // Judged by the rules of its moment: the same identifier becomes good.
    let mut cable = quiet(&server, 1);
    let late = "{\"channel\":\"EchoChannel\"}";
    cable.expect_reject(late);
    server.reload(dev_cable(&configuration("", ECHO_CHANNEL))).unwrap();
    server.settle();
    cable.subscribe(late);
}

/// AC-26 [R] Identifiers that differ in key order or spaces are separate subscriptions, and `unsubscribe` ends only the exactly
/// equal one (T-15).
#[test]
fn ac_26_an_identifier_is_an_opaque_string() {
    let server = Server::with_cable("", "");
    let mut cable = quiet(&server, 1);
    let spellings = [
        api("posts"),
        format!("{{\"key\":\"{KEY}\",\"channel\":\"ApiChannel\",\"events\":\"posts\"}}"),
        format!("{{ \"channel\": \"ApiChannel\", \"key\": \"{KEY}\", \"events\": \"posts\" }}"),
        format!(" {}", api("posts")),
    ];
    for spelling in &spellings {
        cable.subscribe(spelling);
    }
    server.cable_event("create", "Post", "{}");
    for spelling in &spellings {
        cable.expect_data(spelling, &event("create", "Post", "{}"));
    }
    // Of another spelling than all of them, and of one.
    cable.unsubscribe(&format!("{} ", api("posts")));
    cable.unsubscribe(&spellings[1]);
    server.settle();
    server.cable_event("update", "Post", "{}");
    for spelling in [&spellings[0], &spellings[2], &spellings[3]] {
        cable.expect_data(spelling, &event("update", "Post", "{}"));
    }
    server.expect_silence(&mut cable);
}

/// AC-27 [R] An identifier sent with JSON escapes and its plain spelling are the same subscription.
#[test]
fn ac_27_escapes_do_not_make_another_identifier() {
    let server = Server::with_cable("", ECHO_CHANNEL);
    let mut cable = quiet(&server, 1);
    cable.say(r#"{"command":"subscribe","identifier":"\u007b\u0022\u0063hannel\":\"EchoChanne\u006C\"}"}"#);
    assert_eq!(cable.text(), confirm(ECHO));
    // The plain one is a duplicate, and nothing comes twice.
    cable.command("subscribe", ECHO, "");
    server.broadcast(2, "echo", "1");
    cable.expect_data(ECHO, "1");
    server.expect_silence(&mut cable);
    assert_eq!(server.cable_metric("duplicates_total"), 1);
    // It ends what the other spelling began.
    cable.unsubscribe(ECHO);
    server.settle();
    server.broadcast(2, "echo", "2");
    server.expect_silence(&mut cable);
}

/// AC-28 [F] The echoed identifier token is byte-equal to `JSON.stringify` of the decoded string.
#[test]
fn ac_28_the_echo_is_what_json_stringify_writes() {
    let server = Server::with_cable("", ECHO_CHANNEL);
    let mut cable = Cable::open(&server, 1);
    // As sent, and as `JSON.stringify(JSON.parse(sent))` writes it.
    for (sent, echoed) in [
        (r#""\u0041\/\u0022\u005c""#, r#""A/\"\\""#),
        (r#""\u0008\u0009\u000a\u000C\u000d""#, r#""\b\t\n\f\r""#),
        (r#""\u0000\u001F\u000b\u007f""#, "\"\\u0000\\u001f\\u000b\u{7f}\""),
        (r#""<>&\u003c\u2028\u2029""#, "\"<>&<\u{2028}\u{2029}\""),
        (r#""\u00e9\ud83d\ude00é😀""#, "\"é😀é😀\""),
        ("\"\"", "\"\""),
    ] {
        cable.say(&format!("{{\"command\":\"subscribe\",\"identifier\":{sent}}}"));
        assert_eq!(cable.text(), format!("{{\"identifier\":{echoed},\"type\":\"reject_subscription\"}}"), "{sent}");
    }
    // The same in confirms and data frames.
    let sent = r#""{\u000a\t\"channel\"\u003a\"EchoChannel\",\"x\":\"\u00e9\ud83d\ude00\\u2028\/\"}""#;
    let echoed = r#""{\n\t\"channel\":\"EchoChannel\",\"x\":\"é😀\\u2028/\"}""#;
    cable.say(&format!("{{\"command\":\"subscribe\",\"identifier\":{sent}}}"));
    assert_eq!(cable.text(), format!("{{\"identifier\":{echoed},\"type\":\"confirm_subscription\"}}"));
    server.broadcast(2, "echo", "1");
    assert_eq!(cable.text(), format!("{{\"identifier\":{echoed},\"message\":1}}"));
}

/// AC-29 [R] A duplicate subscribe causes no second delivery, and is silent for a client that offered one protocol (T-16).
#[test]
fn ac_29_a_duplicate_is_silent_and_delivers_nothing_twice() {
    let server = Server::with_cable("", ECHO_CHANNEL);
    let mut silent = quiet(&server, 1);
    let mut unprotocolled = Cable::asking(Client::on(&server, 2), "/cable", "");
    unprotocolled.text();
    for cable in [&mut silent, &mut unprotocolled] {
        cable.subscribe(ECHO);
        for _ in 0..3 {
            cable.command("subscribe", ECHO, "");
        }
        server.expect_silence(cable);
    }
    assert_eq!(server.cable_metric("subscriptions"), 2);
    server.broadcast(3, "echo", "{\"n\":1}");
    for cable in [&mut silent, &mut unprotocolled] {
        cable.expect_data(ECHO, "{\"n\":1}");
        server.expect_silence(cable);
        // One unsubscribe ends all of it.
        cable.unsubscribe(ECHO);
    }
    server.wait_until("both are gone", |server| server.subscribers("echo") == 0);
    assert_eq!(server.cable_metric("duplicates_total"), 6);
}

/// AC-30 [F] A duplicate subscribe is confirmed again for a client that offered `actioncable-unsupported`, so two
/// `@rails/actioncable` objects with one identifier stop re-sending within 1 s.
#[test]
fn ac_30_a_duplicate_is_confirmed_again_for_clients_of_rails() {
    let server = Server::with_cable("", ECHO_CHANNEL);
    for offer in ["actioncable-v1-json, actioncable-unsupported", "chat, actioncable-unsupported"] {
        let mut cable = Cable::offering(&server, 1, offer);
        // Each object sends its own, and would again after 500 ms (T-24): both are answered before any time has passed.
        cable.command("subscribe", ECHO, "");
        cable.command("subscribe", ECHO, "");
        assert_eq!((cable.text(), cable.text()), (confirm(ECHO), confirm(ECHO)));
        // Never a second delivery.
        server.broadcast(2, "echo", "1");
        cable.expect_data(ECHO, "1");
        server.expect_silence(&mut cable);
    }
    // The deployment may want it otherwise.
    let server = Server::with_cable("duplicate_subscribe = \"ignore\"\n", ECHO_CHANNEL);
    let mut cable = Cable::open(&server, 1);
    cable.subscribe(ECHO);
    cable.command("subscribe", ECHO, "");
    server.expect_silence(&mut cable);
    let server = Server::with_cable("duplicate_subscribe = \"confirm\"\n", ECHO_CHANNEL);
    let mut cable = quiet(&server, 1);
    cable.subscribe(ECHO);
    cable.subscribe(ECHO);
}

/// AC-31 [F] An unknown channel, an identifier that is not JSON, `{}` and an empty identifier each get `reject_subscription`
/// (Rails: silence, T-18).
#[test]
fn ac_31_a_subscribe_with_an_identifier_is_always_answered() {
    let server = Server::with_cable("", ECHO_CHANNEL);
    let mut cable = Cable::open(&server, 1);
    for identifier in [
        "{\"channel\":\"NopeChannel\"}",
        "{\"channel\":\"Object\"}",
        "{\"channel\":\"echochannel\"}",
        "{\"channel\":null}",
        "{\"channel\":[\"EchoChannel\"]}",
        "nojson",
        "{",
        "[]",
        "5",
        "null",
        "\"EchoChannel\"",
        "{\"channel\":\"EchoChannel\"} x",
        "{\"channel\":\"EchoChannel\",\"x\":\"\\ud800\"}",
        "{\"channel\":\"EchoChannel\",\"channel\":5}",
        "{}",
        "",
    ] {
        cable.expect_reject(identifier);
    }
    expect_usable(&server, &mut cable);
    assert_eq!(server.cable_metric("rejects_total{cause=\"unknown_channel\"}"), 3);
    assert_eq!(server.cable_metric("rejects_total{cause=\"identifier\"}"), 13);
    assert_eq!(server.cable_metric("subscriptions"), 0);
}

/// Tells a thread to stop, also when an assertion fails meanwhile.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// AC-32 [R] `unsubscribe` gets no answer and no frame for that identifier follows its processing.
#[test]
fn ac_32_nothing_of_an_identifier_follows_its_unsubscribe() {
    let server = Server::with_cable("", ECHO_CHANNEL);
    let (mut cable, other) = (Cable::open(&server, 1), "{ \"channel\":\"EchoChannel\" }");
    // While messages flow all the time: the confirm of the next command shows that the unsubscribe was processed.
    let (door, stop) = (*server, AtomicBool::new(false));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let mut publisher = Caller::new(&door, 2);
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(publisher.post("/_broadcast", "", b"{\"stream\":\"echo\",\"data\":\"1\"}").status, 201);
            }
        });
        let _stops = Stops(&stop);
        for round in 0..100 {
            cable.subscribe(ECHO);
            cable.expect_data(ECHO, "1");
            cable.unsubscribe(ECHO);
            cable.command("subscribe", other, "");
            loop {
                let text = cable.text();
                if text == confirm(other) {
                    break;
                }
                assert_eq!(text, data(ECHO, "1"), "round {round}");
            }
            for _ in 0..3 {
                cable.expect_data(other, "1");
            }
            cable.unsubscribe(other);
            // The next round begins behind what was still on its way.
            cable.command("subscribe", "fence", "");
            while cable.text() != reject("fence") {}
        }
    });
    server.expect_silence(&mut cable);
    server.wait_until("nothing is subscribed", |server| server.subscribers("echo") == 0);
}
