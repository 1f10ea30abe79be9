//! AC-33 to AC-38: commands that are odd, bad or too many, and what nobody gets to see.

use crate::support::cable::{ECHO, ECHO_CHANNEL, KEY, SECOND_KEY, WELCOME, api, api_with, configuration, confirm, string};
use crate::support::client::UPGRADE;
use crate::support::{ACCESS, Cable, Client, LISTEN, Server, config, log, masked};

/// A channel of kind `events` for every model.
const ANY_MODEL: &str =
    "[[action_cable.channel]]\nname = \"AnyChannel\"\nkind = \"events\"\nprefix = \"any\"\nmodels = \"any\"\n";

fn any_model(events: &str) -> String {
    format!("{{\"channel\":\"AnyChannel\",\"key\":\"{KEY}\",\"events\":{}}}", string(events))
}

/// AC-33 [R] Unknown keys in a command are ignored, and key order in commands does not matter (T-19).
#[test]
fn ac_33_unknown_keys_and_key_order_do_not_matter() {
    let server = Server::with_cable("", ECHO_CHANNEL);
    let identifier = string(ECHO);
    for command in [
        format!("{{\"command\":\"subscribe\",\"identifier\":{identifier},\"history\":{{\"since\":1}},\"x\":1}}"),
        format!("{{\"identifier\":{identifier},\"command\":\"subscribe\"}}"),
        format!("{{\"data\":{{\"a\":[1e3,null]}},\"identifier\":{identifier},\"\":\"\",\"command\":\"subscribe\"}}"),
        format!(" {{ \"x\" : 99999999999999999999 ,\n\"identifier\" : {identifier}\t, \"command\" : \"subscribe\" }}\r\n"),
        // Names are compared decoded, and the last of each counts.
        format!("{{\"comm\\u0061nd\":\"subscribe\",\"\\u0069dentifier\":{identifier}}}"),
        format!("{{\"command\":5,\"identifier\":\"x\",\"command\":\"sub\\u0073cribe\",\"identifier\":{identifier}}}"),
    ] {
        let mut cable = Cable::offering(&server, 1, "actioncable-v1-json");
        cable.say(&command);
        assert_eq!(cable.text(), confirm(ECHO), "{command}");
        // No history, no word of it: that is for another protocol.
        server.expect_silence(&mut cable);
        server.broadcast(2, "echo", "1");
        cable.expect_data(ECHO, "1");
        cable.say(&command.replace("subscribe", "unsubscribe").replace("sub\\u0073cribe", "unsub\\u0073cribe"));
        server.settle();
        server.broadcast(2, "echo", "2");
        server.expect_silence(&mut cable);
    }
}

/// Every bad input of the specification's section 4.1 with its kind, as bytes of one frame.
fn bad_inputs() -> Vec<(&'static str, Vec<u8>)> {
    let echo = string(ECHO);
    let deep = |depth: usize| {
        format!("{{\"command\":\"subscribe\",\"identifier\":{echo},\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth))
    };
    let texts = [
        ("not_json", "garbage".to_owned()),
        ("not_json", String::new()),
        ("not_json", "  ".to_owned()),
        ("not_json", "{\"command\":\"subscribe\"".to_owned()),
        ("not_json", format!("{{\"command\":\"subscribe\",\"identifier\":{echo}}} x")),
        ("not_json", r#"{"command":"subscribe","identifier":"\ud800"}"#.to_owned()),
        ("not_json", r#"{"command":"subscribe","identifier":"\x"}"#.to_owned()),
        ("not_json", "{'command':'subscribe'}".to_owned()),
        ("not_json", deep(64)),
        ("not_object", "[]".to_owned()),
        ("not_object", format!("[{{\"command\":\"subscribe\",\"identifier\":{echo}}}]")),
        ("not_object", "1".to_owned()),
        ("not_object", "null".to_owned()),
        ("not_object", "\"str\"".to_owned()),
        ("command", "{}".to_owned()),
        ("command", format!("{{\"identifier\":{echo}}}")),
        ("command", r#"{"command":"frob"}"#.to_owned()),
        ("command", format!("{{\"command\":\"Subscribe\",\"identifier\":{echo}}}")),
        ("command", format!("{{\"command\":[\"subscribe\"],\"identifier\":{echo}}}")),
        ("command", format!("{{\"command\":\"subscribe\",\"identifier\":{echo},\"command\":null}}")),
        // Commands of the extended protocol only.
        ("command", format!("{{\"command\":\"history\",\"identifier\":{echo},\"history\":{{\"since\":1}}}}")),
        ("command", r#"{"command":"pong"}"#.to_owned()),
        ("command", r#"{"command":"ping"}"#.to_owned()),
        ("command", format!("{{\"command\":\"whisper\",\"identifier\":{echo},\"data\":1}}")),
        ("command", format!("{{\"command\":\"join\",\"identifier\":{echo}}}")),
        ("command", format!("{{\"command\":\"leave\",\"identifier\":{echo}}}")),
        ("command", format!("{{\"command\":\"presence\",\"identifier\":{echo}}}")),
        ("identifier", r#"{"command":"subscribe"}"#.to_owned()),
        ("identifier", r#"{"command":"unsubscribe"}"#.to_owned()),
        ("identifier", r#"{"command":"message","data":"{}"}"#.to_owned()),
        ("identifier", r#"{"command":"subscribe","identifier":{"channel":"EchoChannel"}}"#.to_owned()),
        ("identifier", r#"{"command":"subscribe","identifier":null}"#.to_owned()),
        ("identifier", r#"{"command":"subscribe","identifier":5}"#.to_owned()),
        ("not_live", format!("{{\"command\":\"unsubscribe\",\"identifier\":{echo}}}")),
        ("not_live", r#"{"command":"unsubscribe","identifier":""}"#.to_owned()),
        ("not_live", format!("{{\"command\":\"message\",\"identifier\":{echo},\"data\":\"{{}}\"}}")),
    ];
    let mut all: Vec<_> = texts.into_iter().map(|(kind, text)| (kind, masked(0x81, text.as_bytes()))).collect();
    all.push(("binary", masked(0x82, b"")));
    all.push(("binary", masked(0x82, b"\x00\xff")));
    all
}

/// AC-34 [R] Each bad input of 4.1 leaves the connection open and silent, and the next valid subscribe is confirmed (T-18).
#[test]
fn ac_34_bad_input_is_silent_and_not_fatal() {
    let server = Server::with_cable("", ECHO_CHANNEL);
    let mut cable = Cable::offering(&server, 1, "actioncable-v1-json");
    for (kind, frame) in bad_inputs() {
        let name = format!("bad_input_total{{kind=\"{kind}\"}}");
        let before = server.cable_metric(&name);
        let shown = String::from_utf8_lossy(&frame).into_owned();
        cable.send(&frame);
        server.expect_silence(&mut cable);
        assert_eq!(server.cable_metric(&name), before + 1, "{kind}: {shown}");
        cable.subscribe(ECHO);
        cable.unsubscribe(ECHO);
    }
    // Just within the depth it is a command.
    cable.say(&format!(
        "{{\"command\":\"subscribe\",\"identifier\":{},\"x\":{}{}}}",
        string(ECHO),
        "[".repeat(63),
        "]".repeat(63)
    ));
    assert_eq!(cable.text(), confirm(ECHO));
    // A `message` for what is live is no bad input, and has no effect (T-19).
    let mut all = 0;
    for (kind, _) in bad_inputs() {
        all += server.cable_metric(&format!("bad_input_total{{kind=\"{kind}\"}}"));
    }
    for data in ["\"{\\\"action\\\":\\\"ping_me\\\"}\"", "{\"action\":\"ping_me\"}", "5"] {
        cable.command("message", ECHO, &format!(",\"data\":{data}"));
    }
    server.expect_silence(&mut cable);
    assert_eq!(server.cable_metric("performs_ignored_total"), 3);
    for (kind, _) in bad_inputs() {
        all -= server.cable_metric(&format!("bad_input_total{{kind=\"{kind}\"}}"));
    }
    assert_eq!(all, 0);
}

/// AC-35 [R] A binary frame holding a valid subscribe is ignored (T-18).
#[test]
fn ac_35_a_binary_subscribe_is_ignored() {
    let server = Server::with_cable("", ECHO_CHANNEL);
    // A duplicate would be silent here, so the confirm shows that the binary one did nothing.
    let mut cable = Cable::offering(&server, 1, "actioncable-v1-json");
    let command = format!("{{\"command\":\"subscribe\",\"identifier\":{}}}", string(ECHO));
    cable.send(masked(0x82, command.as_bytes()));
    server.expect_silence(&mut cable);
    assert_eq!(server.subscribers("echo"), 0);
    assert_eq!(server.cable_metric("bad_input_total{kind=\"binary\"}"), 1);
    cable.subscribe(ECHO);
    // Nor does a binary unsubscribe end anything.
    cable.send(masked(0x82, command.replace("subscribe", "unsubscribe").as_bytes()));
    server.settle();
    server.broadcast(2, "echo", "1");
    cable.expect_data(ECHO, "1");
}

/// AC-36 [F] Bad input above `bad_input_rate` closes with 1008 and is counted. Commands queued behind are dropped.
#[test]
fn ac_36_a_flood_of_bad_input_closes_with_1008_and_is_counted() {
    let server = Server::with_cable("", ECHO_CHANNEL);
    let name = "bad_input_total{kind=\"not_json\"}";
    let subscribe = masked(0x81, format!("{{\"command\":\"subscribe\",\"identifier\":{}}}", string(ECHO)).as_bytes());
    let bad = masked(0x81, b"garbage");
    // A burst of five seconds' worth, then twenty a second.
    let mut cable = Cable::offering(&server, 1, "actioncable-v1-json");
    cable.send(bad.repeat(100));
    server.expect_silence(&mut cable);
    for _ in 0..5 {
        server.pass(1.0);
        cable.send(bad.repeat(20));
        assert!(cable.texts_and_pings(&server).iter().all(|text| text.contains("\"ping\"")));
    }
    assert_eq!(server.cable_metric(name), 200);
    cable.subscribe(ECHO);
    cable.unsubscribe(ECHO);
    cable.send([bad.clone(), subscribe.clone()].concat());
    cable.expect_close(1008, "");
    assert_eq!(server.cable_metric(name), 201);
    assert_eq!(server.subscribers("echo"), 0);
    // At once, with commands before and behind; every guarded kind counts.
    let guarded: Vec<Vec<u8>> =
        bad_inputs().into_iter().filter(|(kind, _)| *kind != "not_live").map(|(_, frame)| frame).collect();
    let flood: Vec<u8> = guarded.iter().cycle().take(101).flatten().copied().collect();
    let mut cable = Cable::open(&server, 2);
    cable.send([subscribe.clone(), flood, subscribe.clone()].concat());
    assert_eq!(cable.text(), confirm(ECHO));
    cable.expect_close(1008, "");
    // What is not live is outside the guard: a client may have been a moment late.
    let mut cable = Cable::open(&server, 3);
    cable.send(masked(0x81, format!("{{\"command\":\"unsubscribe\",\"identifier\":{}}}", string(ECHO)).as_bytes()).repeat(1_000));
    server.expect_silence(&mut cable);
    assert_eq!(server.cable_metric("bad_input_total{kind=\"not_live\"}"), 1_000);
    cable.subscribe(ECHO);

    let server = Server::with_cable("bad_input_rate = 0\n", ECHO_CHANNEL);
    let mut cable = Cable::open(&server, 1);
    cable.send(bad.repeat(1_900));
    cable.send(subscribe);
    assert_eq!(cable.text(), confirm(ECHO));
    assert_eq!(server.cable_metric(name), 1_900);
}

/// AC-37 [F] The 65th subscription, a 4 097-byte identifier and a 129th stream (with `models = "any"`) are each rejected while
/// the connection stays usable.
#[test]
fn ac_37_beyond_its_bounds_a_subscribe_is_rejected() {
    let server = Server::with_cable("", &format!("{ECHO_CHANNEL}{ANY_MODEL}"));
    let mut cable = Cable::open(&server, 1);
    // 4,096 bytes, decoded: escapes don't count, characters count with their bytes.
    let padded = |bytes: usize| {
        let frame = "{\"channel\":\"EchoChannel\",\"x\":\"\"}".len();
        format!("{{\"channel\":\"EchoChannel\",\"x\":\"é{}\"}}", "x".repeat(bytes - frame - 2))
    };
    cable.subscribe(&padded(4_096));
    cable.expect_reject(&padded(4_097));
    // 64 models with the two default types are 128 streams.
    let models = |count: usize| (0..count).map(|number| format!("m{number}")).collect::<Vec<_>>().join(";");
    cable.subscribe(&any_model(&models(64)));
    cable.expect_reject(&any_model(&format!("{};m64#create", models(64))));
    // Named twice, a stream counts once.
    cable.subscribe(&any_model(&format!("{};m0;m1#create", models(64))));
    assert_eq!(server.subscribers("any:m63_update"), 2);
    assert_eq!(server.subscribers("any:m64_create"), 0, "a reject leaves nothing attached");
    // Three there are; up to 64 there may be.
    let numbered = |number: usize| format!("{{\"channel\":\"EchoChannel\",\"n\":{number}}}");
    for number in 4..=64 {
        cable.subscribe(&numbered(number));
    }
    cable.expect_reject(&numbered(65));
    cable.expect_reject(&api("posts"));
    for (cause, count) in [("identifier_too_long", 1), ("too_many_streams", 1), ("too_many_subscriptions", 2)] {
        assert_eq!(server.cable_metric(&format!("rejects_total{{cause=\"{cause}\"}}")), count, "{cause}");
    }
    // A place that became free can be taken, and everything still arrives.
    cable.unsubscribe(&numbered(4));
    cable.subscribe(&numbered(65));
    server.broadcast(3, "any:m63_update", "1");
    cable.expect_data(&any_model(&models(64)), "1");
    cable.expect_data(&any_model(&format!("{};m0;m1#create", models(64))), "1");
    server.expect_silence(&mut cable);
}

/// AC-38 [F] Neither logs, metrics nor stats contain any part of a key or an identifier.
///
/// Names of streams are names of topics, which the statistics of push_stream list; the identifiers here have parts that no
/// stream is named after.
#[test]
fn ac_38_no_key_and_no_identifier_in_logs_metrics_or_statistics() {
    const WRONG: &str = "wrongkey987654";
    const MARK: &str = "idmark4711";
    const PUBLISHING: &str = "cable-publish-key-01234";
    let server = Server::with_cable("connect_auth = \"query:api_key\"\nmax_identifier = \"1KiB\"\n", ECHO_CHANNEL);
    let identifier =
        |key: &str| format!("{{\"channel\":\"ApiChannel\",\"key\":\"{key}\",\"events\":\"posts;{MARK}\",\"{MARK}\":1}}");
    let mut cables = Vec::new();
    for (key, welcome) in [(KEY, true), (SECOND_KEY, true), (WRONG, false)] {
        for protocol in ["actioncable-v1-json", "actioncable-v1-ext-json"] {
            let fields = format!("Sec-WebSocket-Protocol: {protocol}\r\nX-Api-Key: {key}\r\n");
            let target = format!("/cable?api_key={key}&sid={MARK}");
            let mut cable = Cable::asking(Client::on(&server, 1), &target, &fields);
            if !welcome {
                cable.expect_disconnect("unauthorized", false);
                continue;
            }
            assert!(cable.text().starts_with(&WELCOME[..WELCOME.len() - 1]));
            cable.subscribe(&identifier(key));
            cable.command("subscribe", &identifier(key), "");
            cable.expect_reject(&identifier(WRONG));
            cable.expect_reject(&format!("{{\"channel\":\"{MARK}\",\"key\":\"{key}\"}}"));
            cable.expect_reject(&format!("{}{}", identifier(key), " ".repeat(1_024)));
            cable.expect_reject(&format!("{MARK} {key}"));
            cable.expect_reject(&api_with(key, &format!("{MARK}#")));
            cable.command(MARK, &identifier(key), "");
            cable.command("unsubscribe", &identifier(WRONG), "");
            cable.command("message", &identifier(key), &format!(",\"data\":\"{MARK}\""));
            cable.command("history", &identifier(key), &format!(",\"history\":{{\"streams\":{{\"{MARK}\":{{}}}}}}"));
            cables.push(cable);
        }
    }
    server.cable_event("create", "Post", "{}");
    server.settle();
    let mut answers = vec![
        server.cable_post(1, "/_broadcast", &format!("{{\"command\":\"disconnect\",\"payload\":{{\"identifier\":\"{MARK}\"}}}}")),
        server.cable_post(1, "/_broadcast", &format!("{{\"stream\":5,\"data\":\"{KEY} {MARK}\"}}")),
        server.cable_post(1, "/api/events", &format!("{{\"event_class\":\"{MARK}\",\"event_type\":\"{KEY}\",\"object\":{{}}}}")),
    ];
    for request in [
        format!("GET /cable?api_key={KEY}&{MARK} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET /cable?api_key={KEY}&{MARK} HTTP/1.1\r\n{}\r\n", UPGRADE.replace("13", "8")),
        format!("GET /cable?api_key={KEY}&{MARK} HTTP/1.1\r\n{}\r\n", UPGRADE.replace("==", &format!("{MARK}{KEY}"))),
        format!("POST /_broadcast?{MARK} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {WRONG}\r\nContent-Length: 0\r\n\r\n"),
        format!("GET /cable?api_key={KEY}&{MARK} HTTP/1.1\r\nX-No-Host: 1\r\n\r\n"),
    ] {
        let mut client = Client::on(&server, 2);
        client.send(request);
        answers.push(client.response());
    }
    for target in ["/metrics", "/channels-stats", "/channels-stats?id=ALL", "/health", "/ready", "/"] {
        // With the key: without it most of them would tell nothing at all.
        let answer = server.call("GET", target, "", b"");
        assert_eq!(answer.status, 200, "{target}");
        answers.push(answer);
    }
    // Broken frames, a flood, a disconnect by name, and the end.
    for (cable, frame) in cables.iter_mut().zip([vec![0x81, 0x00], masked(0x81, MARK.as_bytes()).repeat(200)]) {
        cable.send(frame);
    }
    server.settle();
    answers.push(server.cable_post(1, "/_broadcast", "{\"command\":\"disconnect\",\"payload\":{\"identifier\":\"second\"}}"));
    server.drain();
    server.pass(31.0);
    server.join();
    // A publish key of a server that is not `fanwire dev`, right and wrong.
    let publishing = configuration(&format!("publish_key = \"{PUBLISHING}\""), "");
    let server = Server::with_config(&format!("{LISTEN}{ACCESS}{publishing}"));
    for (key, body, status) in [
        (PUBLISHING, "{\"stream\":\"echo\",\"data\":\"1\"}", 201),
        (PUBLISHING, "{\"stream\":5}", 422),
        (&PUBLISHING[..20], "", 401),
    ] {
        let fields = format!("Host: x\r\nAuthorization: Bearer {key}\r\nContent-Length: {}", body.len());
        let mut client = Client::connect(server.address);
        client.send(format!("POST /_broadcast?{key} HTTP/1.1\r\n{fields}\r\n\r\n{body}"));
        answers.push(client.response());
        assert_eq!(answers[answers.len() - 1].status, status);
    }
    let metrics = Client::connect(server.admin).get("/metrics");
    assert_eq!(metrics.status, 200);
    answers.push(metrics);
    server.reload(config(&format!("{LISTEN}{ACCESS}{publishing}"))).unwrap();
    drop(server);
    tracing::info!("a canary");
    let logged = log::text();
    assert!(logged.contains("a canary"), "what is logged is captured");
    for secret in [KEY, SECOND_KEY, WRONG, MARK, PUBLISHING] {
        // Eight bytes of it are a part as well.
        for part in (8..=secret.len()).map(|end| &secret[end - 8..end]) {
            for answer in &answers {
                let body = String::from_utf8_lossy(&answer.body);
                assert!(!answer.raw.contains(part) && !body.contains(part), "{part} in {}{body}", answer.raw);
            }
            assert!(!logged.contains(part), "{part} was logged: {:?}", logged.lines().find(|line| line.contains(part)));
        }
    }
}
