//! PS-21 to PS-29, PS-64 and PS-65: which channels a request names, and when they come and go.

use crate::support::{Client, Mode, Server, Subscriber, epoch};

const TOO_MANY: &str = "Too many channels in one request.";
const NOT_VALID: &str = "Channel id is not valid.";
const TOO_LARGE: &str = "Channel id is too large.";
const NONE: &str = "No channel id provided.";
const NOT_AUTHORIZED: &str = "Channel id not authorized for this method.";

fn target(mode: Mode, channels: &str) -> String {
    format!("{}{channels}?auth_token=dev", mode.path())
}

/// The refusal of this request in the form of its mode: status and Explain, or 101 and close 1008.
#[track_caller]
fn expect_refusal(server: &Server, mode: Mode, channels: &str, status: u16, explain: &str) {
    let mut client = Client::on(server, 1);
    if mode == Mode::WebSocket {
        client.upgrade(&target(mode, channels));
        client.expect_close(1008, &format!("{{\"http_status\": {status}, \"explain\":\"{explain}\"}}"));
    } else {
        let answer = client.get(&target(mode, channels));
        assert_eq!((answer.status, answer.explain()), (status, Some(explain)), "{mode:?} {channels}");
        assert!(answer.body.is_empty() && answer.field("Content-Length") == Some("0"), "{}", answer.raw);
    }
}

/// PS-21 [D] 50 channels in one request work in every mode.
#[test]
fn ps_21_fifty_channels_in_one_request_work_in_every_mode() {
    let server = Server::start();
    let names: Vec<String> = (0..50).map(|n| format!("channel{n}")).collect();
    let path = names.join("/");
    for mode in Mode::ALL {
        let before = server.stored(&path).len();
        let mut subscriber = server.subscribe(
            1,
            mode,
            &path,
            if mode == Mode::ShortPoll { "tag=0&time=Thu,+01+Jan+1970+00:00:00+GMT" } else { "" },
        );
        match mode {
            Mode::ShortPoll => {
                // Everything that the other modes' rounds published, from all 50.
                let came = subscriber.response().envelopes();
                assert_eq!(came.len(), before);
                for name in &names {
                    assert!(came.iter().any(|envelope| envelope.channel == *name), "{name}");
                }
            }
            Mode::LongPoll => {
                server.publish_on(2, "channel49", "1");
                assert_eq!(subscriber.response().envelopes()[0].channel, "channel49");
            }
            Mode::WebSocket | Mode::Stream | Mode::EventSource => {
                for name in &names {
                    assert_eq!(server.subscribers(name), 1);
                    server.publish_on(2, name, "1");
                    assert_eq!(subscriber.envelope().channel, *name);
                }
            }
        }
    }
}

/// PS-22 [F] The 51st channel is refused with 403 and Explain, on websocket with close 1008 and `{"http_status": 403, …}`, and
/// the limit is configurable.
#[test]
fn ps_22_the_51st_channel_is_refused_and_the_limit_is_configurable() {
    let server = Server::start();
    let names: Vec<String> = (0..51).map(|n| format!("c{n}")).collect();
    for mode in Mode::ALL {
        expect_refusal(&server, mode, &names.join("/"), 403, TOO_MANY);
        // Duplicates are removed before counting.
        let twice = format!("{}/c0/c49", names[..50].join("/"));
        Subscriber::request(Client::on(&server, 1), mode, &target(mode, &twice), "");
    }
    assert_eq!(server.call("POST", &format!("/pub?id={}", names.join("/")), "", b"1").status, 403);
    assert_eq!(server.row("c50"), None, "a refused request creates no channel");

    let server = Server::with("max_channels_per_request = 2\n");
    for mode in Mode::ALL {
        expect_refusal(&server, mode, "a/b/c", 403, TOO_MANY);
        Subscriber::request(Client::on(&server, 1), mode, &target(mode, "a/b/a"), "");
    }
    let server = Server::with("max_channels_per_request = 51\nwebsocket_refusals = \"http\"\n");
    for mode in Mode::ALL {
        Subscriber::request(Client::on(&server, 1), mode, &target(mode, &names.join("/")), "");
    }
    // The plain status on websocket, where it is wanted.
    let more = format!("{}/d", names.join("/"));
    let answer = Client::on(&server, 1).ask_upgrade(&target(Mode::WebSocket, &more), "");
    assert_eq!((answer.status, answer.explain()), (403, Some(TOO_MANY)));
}

/// PS-23 [F] A channel named twice is one subscription with one delivery and counts once in the statistics.
#[test]
fn ps_23_a_channel_named_twice_is_one_subscription() {
    let server = Server::start();
    for mode in [Mode::WebSocket, Mode::Stream, Mode::EventSource, Mode::LongPoll] {
        let mut subscriber = server.subscribe(1, mode, "dup/other/dup/dup.b2", "");
        if mode == Mode::LongPoll {
            // With a backtrack there is news at once: twice the channel, once each message.
            assert_eq!(subscriber.response().envelopes().len(), 2);
            subscriber = server.subscribe(1, mode, "dup/dup", "");
        }
        let backlog = if mode == Mode::LongPoll { 0 } else { server.row("dup").map_or(0, |(_, stored, _)| stored.min(2)) };
        for _ in 0..backlog {
            subscriber.envelope();
        }
        server.wait_for_subscribers("dup", 1);
        let posted = server.publish_on(3, "dup/dup", "1");
        assert_eq!(posted.json()["channel"], "dup", "the single form");
        assert_eq!(posted.json()["subscribers"], 1);
        if mode == Mode::LongPoll {
            assert_eq!(subscriber.response().envelopes().len(), 1);
        } else {
            assert_eq!(subscriber.envelope().channel, "dup");
            assert!(server.is_silent(&mut subscriber.client));
        }
        drop(subscriber);
        server.wait_for_subscribers("dup", 0);
    }
    assert_eq!(server.stored("dup/dup").len(), 4, "each POST made one message");
}

/// PS-24 [R] `a%2Fb` is two channels, and `a//b/` is the channels a and b.
#[test]
fn ps_24_an_encoded_slash_separates_and_empty_components_vanish() {
    let server = Server::start();
    for path in ["a%2Fb", "a%2fb", "a//b/", "/a/b", "a%2F%2Fb%2F", "a/.b3/b"] {
        for mode in Mode::HELD {
            let mut subscriber = server.subscribe(1, mode, path, "");
            assert_eq!((server.subscribers("a"), server.subscribers("b")), (1, 1), "{mode:?} {path}");
            assert_eq!(server.summary()["channels"], 2, "{path} is these two and nothing else");
            server.publish_on(2, path, "1");
            assert_eq!(subscriber.envelope().channel, "a");
            assert_eq!(subscriber.envelope().channel, "b");
            drop(subscriber);
            server.wait_for_subscribers("a", 0);
            server.wait_for_subscribers("b", 0);
        }
    }
    for path in ["a%2Fb", "a//b/"] {
        for mode in [Mode::LongPoll, Mode::ShortPoll] {
            let answer = Client::on(&server, 3).get(&format!("{}&{}", target(mode, path), epoch()));
            let channels: Vec<String> = answer.envelopes()[..2].iter().map(|envelope| envelope.channel.clone()).collect();
            assert_eq!(channels, ["a", "b"]);
        }
    }
    // `+` stays `+`, and a blank is a plain character of a name.
    server.publish("x+y/x%20y/x,y/%C3%A9", "1");
    let channels: Vec<String> = server.stored("%C3%A9/x,y/x%20y/x+y").into_iter().map(|envelope| envelope.channel).collect();
    assert_eq!(channels, ["x+y", "x y", "x,y", "é"]);
}

/// PS-25 [F] The path is decoded once: `a%252Fb` is the channel `a%2Fb`.
#[test]
fn ps_25_the_path_is_decoded_once() {
    let server = Server::start();
    for mode in Mode::HELD {
        let mut subscriber = server.subscribe(1, mode, "a%252Fb", "");
        server.publish_on(2, "a%252Fb", "1");
        assert_eq!(subscriber.envelope().channel, "a%2Fb");
    }
    let summary = server.summary();
    assert_eq!(summary["channels"], 1);
    assert_eq!((server.row("a"), server.row("b")), (None, None));
    assert_eq!(server.statistics("a%252Fb").json()["channel"], "a%2Fb");
    for mode in [Mode::LongPoll, Mode::ShortPoll] {
        let answer = Client::on(&server, 3).get(&format!("{}&{}", target(mode, "a%252Fb"), epoch()));
        assert_eq!(answer.envelopes()[0].channel, "a%2Fb");
    }
}

/// PS-26 [F] Ids with control characters, `"`, `\` or invalid UTF-8 are refused with 400.
#[test]
fn ps_26_ids_that_would_break_an_envelope_are_refused() {
    let server = Server::start();
    for bad in ["x%01y", "x%0d%0ay", "x%1F", "%7F", "a%22b", "a%5Cb", "a%FF", "%C3", "%ED%A0%80", ".", "..", "good/%09", "z/../y"]
    {
        for mode in Mode::ALL {
            expect_refusal(&server, mode, bad, 400, NOT_VALID);
        }
        let posted = server.call("POST", &format!("/pub?id={bad}"), "", b"1");
        assert_eq!((posted.status, posted.explain()), (400, Some(NOT_VALID)), "{bad}");
        let asked = server.statistics(bad);
        assert_eq!((asked.status, asked.explain()), (400, Some(NOT_VALID)), "{bad}");
    }
    // NUL is refused before any dialect sees it.
    assert_eq!(Client::on(&server, 1).get("/shortpoll/a%00b?auth_token=dev").status, 400);
    assert_eq!(server.summary()["channels"], 0, "a refused request creates nothing");
}

/// PS-27 [R] `ALL` and ids with `*` are refused with 403, ids over the limit with 400 `Channel id is too large.`, and no
/// channel with 400 `No channel id provided.`.
#[test]
fn ps_27_all_stars_long_ids_and_no_id_are_refused() {
    let server = Server::start();
    let long = "x".repeat(201);
    let cases = [
        ("ALL", 403, NOT_AUTHORIZED),
        ("a/ALL", 403, NOT_AUTHORIZED),
        ("a*", 403, NOT_AUTHORIZED),
        ("*", 403, NOT_AUTHORIZED),
        ("b/a%2Ab", 403, NOT_AUTHORIZED),
        ("$control", 403, NOT_AUTHORIZED),
        (long.as_str(), 400, TOO_LARGE),
    ];
    for (channels, status, explain) in cases {
        for mode in Mode::ALL {
            expect_refusal(&server, mode, channels, status, explain);
        }
        let posted = server.call("POST", &format!("/pub?id={channels}"), "", b"1");
        assert_eq!((posted.status, posted.explain()), (status, Some(explain)), "{channels}");
    }
    for empty in ["", "/", "//", "%2F", ".b3", "/.b0/"] {
        for mode in Mode::ALL {
            // Also on websocket before the upgrade.
            let mut client = Client::on(&server, 1);
            let answer = match mode {
                Mode::WebSocket => client.ask_upgrade(&target(mode, empty), ""),
                _ => client.get(&target(mode, empty)),
            };
            assert_eq!((answer.status, answer.explain()), (400, Some(NONE)), "{mode:?} {empty:?}");
        }
        let posted = server.call("POST", &format!("/pub?id={empty}"), "", b"1");
        assert_eq!((posted.status, posted.explain()), (400, Some(NONE)), "{empty:?}");
    }
    assert_eq!(server.call("POST", "/pub", "", b"1").explain(), Some(NONE));
    // The limit counts bytes after decoding, without the backtrack; it is configurable.
    let most = "x".repeat(200);
    server.expect_replay(Mode::ShortPoll, &format!("{most}.b9"), "", "", &[]);
    server.publish(&"%C3%A9".repeat(100), "1");
    assert_eq!(server.summary()["channels"].as_u64().map(|channels| channels >= 1), Some(true));
    let server = Server::with("max_channel_id_bytes = 4\n");
    expect_refusal(&server, Mode::ShortPoll, "abcde", 400, TOO_LARGE);
    expect_refusal(&server, Mode::WebSocket, "%C3%A9%C3%A9a", 400, TOO_LARGE);
    server.expect_replay(Mode::ShortPoll, "%C3%A9%C3%A9", "", "", &[]);
}

/// PS-28 [R] Subscribing to an unknown channel succeeds.
#[test]
fn ps_28_subscribing_to_an_unknown_channel_succeeds() {
    let server = Server::start();
    for (number, mode) in Mode::ALL.into_iter().enumerate() {
        let channel = format!("unknown{number}");
        assert_eq!(server.row(&channel), None);
        let mut subscriber = server.expect_replay(mode, &channel, &epoch(), "", &[]);
        if mode != Mode::ShortPoll {
            assert_eq!(server.row(&channel), Some((0, 0, 1)), "{mode:?} created it");
            server.publish_on(3, &channel, "1");
            let first = match mode {
                Mode::LongPoll => subscriber.response().envelopes().remove(0),
                _ => subscriber.envelope(),
            };
            assert_eq!(first.id, 1);
        }
    }
}

/// PS-29 [F] A channel that only had subscribers leaves no memory behind after the inactivity time.
#[test]
fn ps_29_a_channel_that_only_had_subscribers_leaves_nothing_behind() {
    let server = Server::with("channel_inactivity = \"3s\"\n");
    for number in 0..20 {
        for mode in Mode::ALL {
            drop(server.expect_replay(mode, &format!("{mode:?}{number}"), "", "", &[]));
        }
    }
    server.wait_until("the subscribers leave", |server| server.summary()["subscribers"] == 0);
    server.pass(3.5);
    assert_eq!(server.summary()["channels"], 0);
    assert_eq!(server.row("WebSocket7"), None);
    let gauge = |cell: &std::sync::atomic::AtomicU64| cell.load(std::sync::atomic::Ordering::Relaxed);
    server.wait_until("the hub's gauges fall", |server| {
        gauge(&server.metrics().hub.topics) == 0 && gauge(&server.metrics().hub.subscriptions) == 0
    });
    assert_eq!(gauge(&server.metrics().hub.stored_bytes), 0);
    // One that still has a subscriber stays.
    let held = server.subscribe(1, Mode::WebSocket, "held", "");
    server.pass(4.0);
    assert_eq!(server.row("held"), Some((0, 0, 1)));
    drop(held);
}

/// PS-64 [R] Unstored messages reach only those connected or waiting, and take an id.
#[test]
fn ps_64_unstored_messages_reach_only_those_who_are_there() {
    let server = Server::start();
    let mut held: Vec<Subscriber> = Mode::HELD.into_iter().map(|mode| server.subscribe(1, mode, "ns", "")).collect();
    let mut waiting = server.subscribe(2, Mode::LongPoll, "ns", "");
    server.publish("ns", "\"stored\"");
    assert_eq!(waiting.response().envelopes()[0].id, 1);
    let mut waiting = server.subscribe(2, Mode::LongPoll, "ns", "");
    // The native ingest says it per message.
    let posted = server.call(
        "POST",
        "/publish",
        "Content-Type: application/json\r\n",
        br#"{"topic":"ns","data":"unstored","store":false}"#,
    );
    assert_eq!(posted.status, 200, "{posted:?}");
    let seen = waiting.response().envelopes();
    assert_eq!((seen[0].id, seen[0].message.as_str()), (2, "\"unstored\""));
    server.publish("ns", "\"stored\"");
    for subscriber in &mut held {
        let came: Vec<(i64, String)> =
            (0..3).map(|_| subscriber.envelope()).map(|envelope| (envelope.id, envelope.message)).collect();
        assert_eq!(came.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 2, 3], "{:?}", subscriber.mode);
        assert_eq!(came[1].1, "\"unstored\"");
    }
    let ids: Vec<i64> = server.stored("ns").iter().map(|envelope| envelope.id).collect();
    assert_eq!(ids, [1, 3], "it is in no history");
    assert_eq!(server.row("ns").map(|(published, stored, _)| (published, stored)), Some((3, 2)));
    // The poll between two requests misses it, and nothing says so.
    let answer = Client::on(&server, 3).get(&format!("/shortpoll/ns?auth_token=dev&{}", seen[0].cursor()));
    assert_eq!((answer.envelopes().len(), answer.has_gap()), (1, false));

    // A publisher that stores nothing.
    let server = Server::with("store = false\n");
    let mut client = server.subscribe(1, Mode::WebSocket, "ns", "").client;
    let posted = server.publish_on(2, "ns", "1");
    assert_eq!(posted.text(), "{\"channel\": \"ns\", \"published_messages\": 1, \"stored_messages\": 0, \"subscribers\": 1}\r\n");
    server.publish_on(3, "ns", "2");
    assert_eq!((client.envelope().id, client.envelope().id), (1, 2));
    assert!(server.stored("ns").is_empty());
}

/// PS-65 [R] A channel is removed after the inactivity time and its ids restart at 1.
#[test]
fn ps_65_a_channel_is_removed_after_the_inactivity_time_and_its_ids_restart() {
    // As recorded: time to live 6 s, inactivity 3 s.
    let server = Server::with("message_ttl = \"6s\"\nchannel_inactivity = \"3s\"\n");
    server.publish("ttl", "1");
    server.publish("ttl", "2");
    assert_eq!(server.stored("ttl").iter().map(|envelope| envelope.id).collect::<Vec<_>>(), [1, 2]);
    server.pass(5.5);
    assert_eq!(server.row("ttl"), Some((2, 2, 0)), "not inactive: it has messages");
    // Expired within 5 s after its time, removed 3 s after that.
    server.pass(6.0 + 5.0 + 3.5 - 5.5);
    assert_eq!(server.row("ttl"), None);
    server.publish("ttl", "3");
    assert_eq!(server.stored("ttl")[0].id, 1, "ids restart");

    // A subscriber keeps it, ids go on.
    let mut client = server.subscribe(1, Mode::WebSocket, "kept", "").client;
    server.publish("kept", "1");
    server.pass(15.0);
    assert_eq!(server.row("kept"), Some((1, 0, 1)));
    server.publish("kept", "2");
    assert_eq!((client.envelope().id, client.envelope().id), (1, 2));
}
