//! Section 7: handshake, frames and ends.

use super::*;
use crate::dialects::push_stream::options::{AuthErrors, WebSocketRefusals};
use smallvec::SmallVec;
use std::time::Duration;

const SILENT: &str = "{\"http_status\": 401, \"explain\":\"Authentication token is missing or invalid.\"}";

fn listening(server: &Server) -> Client {
    let mut client = server.upgrade("/websocket/a/b?auth_token=XXX");
    client.joined(&joined(stamp(NOON, 3)));
    client
}

/// PT-4.
#[test]
fn the_101_has_exactly_its_five_fields() {
    let server = server(|options| options.allowed_origins = vec!["*".into()]);
    let mut client = server.upgrade("/websocket/ws1/ws2?auth_token=XXX");
    let mut out = Vec::new();
    client.upgrade.as_ref().unwrap().write(&mut out, 0, Framing::Length, true);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "HTTP/1.1 101 Switching Protocols\r\nExpires: Thu, 01 Jan 1970 00:00:01 GMT\r\n\
         Cache-Control: no-cache, no-store, must-revalidate\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    );
    assert_eq!(client.joined(&joined(stamp(NOON, 3))), ["accept", "wake in 30000 ms"]);
}

/// PT-5.
#[test]
fn broken_handshakes_are_answered_before_the_upgrade() {
    let server = open_server(|_| ());
    let missing = "HTTP/1.1 400 Bad Request | Content-Length: 0 | Connection: close | X-Nginx-PushStream-Explain: Don't have at \
                   least one of the mandatory headers: Connection, Upgrade, Sec-WebSocket-Key and Sec-WebSocket-Version";
    for left_out in 0..4 {
        let fields: Vec<_> =
            UPGRADE.into_iter().enumerate().filter(|(place, _)| *place != left_out).map(|(_, field)| field).collect();
        assert_eq!(server.answer("GET", "/websocket/a", &fields), missing);
    }
    let version = |version: &'static str| {
        let mut fields = UPGRADE;
        fields[3].1 = version;
        fields
    };
    assert_eq!(
        server.answer("GET", "/websocket/a", &version("7")),
        "HTTP/1.1 400 Bad Request | Content-Length: 0 | Connection: close | Sec-WebSocket-Version: 8, 13 | \
         X-Nginx-PushStream-Explain: Version not supported. Supported versions: 8, 13"
    );
    assert_eq!(server.request("GET", "/websocket/a", &version("8")).opened, ["join a shared"]);
}

/// PT-6.
#[test]
fn refusals_come_after_the_101_unless_configured_or_about_access() {
    let refused = |server: &Server, target: &str| {
        let client = server.upgrade(target);
        (client.session.is_some(), client.opened.join(" ; "))
    };
    let server = server(|_| ());
    let long = format!("/websocket/{}?auth_token=XXX", "x".repeat(201));
    assert_eq!(
        refused(&server, "/websocket/ALL?auth_token=XXX"),
        (true, "close 1008 {\"http_status\": 403, \"explain\":\"Channel id not authorized for this method.\"}".into())
    );
    assert_eq!(
        refused(&server, &long),
        (true, "close 1008 {\"http_status\": 400, \"explain\":\"Channel id is too large.\"}".into())
    );
    let http = |status: &str, explain: &str| {
        let answer = format!("HTTP/1.1 {status} | Content-Length: 0 | Connection: close | X-Nginx-PushStream-Explain: {explain}");
        (false, answer)
    };
    assert_eq!(refused(&server, "/websocket/?auth_token=XXX"), http("400 Bad Request", "No channel id provided."));
    let missing = "Authentication token is missing or invalid.";
    let narrow = "Authentication token has no right to a channel.";
    assert_eq!(refused(&server, "/websocket/a"), http("401 Unauthorized", missing));
    assert_eq!(refused(&server, "/websocket/a?auth_token=limited"), http("403 Forbidden", narrow));

    let server = super::server(|options| {
        options.auth_errors = AuthErrors::Close;
        options.websocket_refusals = WebSocketRefusals::Http;
    });
    assert_eq!(refused(&server, "/websocket/a"), (true, format!("close 3401 {missing}")));
    assert_eq!(refused(&server, "/websocket/a?auth_token=limited"), (true, format!("close 3403 {narrow}")));
    assert_eq!(refused(&server, &long), http("400 Bad Request", "Channel id is too large."));
    let mut client = server.upgrade("/websocket/a?auth_token=XXX");
    let answer = client.act(|session, actions| session.refused(crate::exchange::Refusal::TopicFull, actions));
    assert_eq!(answer, [http("403 Forbidden", "Subscribers limit per channel has been exceeded.").1]);

    let server = super::server(|options| options.auth_errors = AuthErrors::Close);
    let mut client = server.upgrade("/websocket/a?auth_token=XXX");
    let close = client.act(|session, actions| session.refused(crate::exchange::Refusal::Busy, actions));
    assert_eq!(close, ["close 3500 Server is busy."]);
}

/// PT-33.
#[test]
fn header_and_footer_frame_the_connections_time() {
    let server = open_server(|options| {
        options.header_template = "HDR".into();
        options.footer_template = "FTR".into();
        options.ping_interval = Duration::from_secs(1);
        options.connection_ttl = Duration::from_secs(4);
    });
    let mut client = server.upgrade("/websocket/t1/t2");
    assert_eq!(client.joined(&joined(stamp(NOON, 3))), ["accept", "send \u{fffd}\u{3}HDR", "wake in 1000 ms"]);
    client.actions.sent_at = client.actions.now.micros;
    for second in 1..=3 {
        assert_eq!(client.after(1000).woken(), ["send \u{fffd}\0", "wake in 1000 ms"], "second {second}");
        (client.actions.sent_at, client.actions.heard) = (client.actions.now.micros, true);
    }
    assert_eq!(client.after(1000).woken(), ["send \u{fffd}\u{3}FTR", "close"]);
}

#[test]
fn the_ping_waits_for_silence_and_for_the_end_of_catching_up() {
    let server = server(|_| ());
    let mut client = listening(&server);
    let start = client.actions.now.micros;
    client.actions.sent_at = start + 12_000_000;
    assert_eq!(client.after(30_000).woken(), ["wake in 12000 ms"]);
    client.actions.catching_up = true;
    assert_eq!(client.after(12_000).woken(), ["wake in 30000 ms"]);
    client.actions.catching_up = false;
    let sent = client.after(30_000).woken();
    assert_eq!(sent, ["send \u{fffd}\0", "wake in 30000 ms"]);
}

#[test]
fn who_answers_no_ping_is_closed() {
    let server = server(|options| options.ping_interval = Duration::from_secs(10));
    let mut client = listening(&server);
    client.actions.sent_at = client.actions.now.micros;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.extend(client.after(10_000).woken());
        client.actions.sent_at = client.actions.now.micros;
    }
    assert_eq!(seen.last().unwrap(), "close 1001");
    assert_eq!(seen.iter().filter(|action| action.starts_with("send")).count(), 3);

    let mut client = listening(&server);
    client.actions.sent_at = client.actions.now.micros;
    for turn in 0..20 {
        client.actions.heard = turn % 3 == 0;
        let actions = client.after(10_000).woken();
        assert!(actions[0].starts_with("send"), "turn {turn}: {actions:?}");
        client.actions.sent_at = client.actions.now.micros;
    }

    let patient = super::server(|options| options.pong_timeout = Duration::ZERO);
    let mut client = listening(&patient);
    for _ in 0..10 {
        client.actions.sent_at = client.actions.now.micros;
        assert_eq!(client.after(30_000).woken(), ["send \u{fffd}\0", "wake in 30000 ms"]);
    }
}

#[test]
fn without_pings_it_wakes_only_to_settle_its_rate() {
    let server = server(|options| options.ping_interval = Duration::ZERO);
    let mut client = server.upgrade("/websocket/a?auth_token=XXX");
    assert_eq!(client.joined(&joined(stamp(NOON, 3))), ["accept", "wake in 1800000 ms"]);
    assert_eq!(client.after(1_800_000).woken(), ["wake in 1800000 ms"]);
}

/// PT-9 and the table of section 7.2.
#[test]
fn client_frames_get_their_documented_answers() {
    let server = server(|_| ());
    let mut client = listening(&server);
    assert!(client.received(Inbound::Text("hello")).is_empty());
    assert!(client.received(Inbound::Ping).is_empty());
    assert!(client.received(Inbound::Pong).is_empty());
    assert_eq!(client.received(Inbound::Binary(b"x")), ["close 1003"]);
    assert_eq!(client.received(Inbound::Close(Some(1000))), ["close 1000"]);
    assert_eq!(client.received(Inbound::Close(None)), ["close"]);
}

#[test]
fn too_many_frames_close_the_connection() {
    let server = server(|options| options.client_frames_per_second = 2);
    let mut client = listening(&server);
    for frame in 0..20 {
        let inbound = if frame % 2 == 0 { Inbound::Ping } else { Inbound::Text("x") };
        assert!(client.received(inbound).is_empty());
    }
    assert_eq!(client.received(Inbound::Pong), ["close 1008 {\"http_status\": 429, \"explain\":\"Too many frames.\"}"]);
    assert!(client.after(500).received(Inbound::Pong).is_empty());
}

#[test]
fn every_end_has_its_form() {
    let server = server(|_| ());
    let gone = message("a", -2, stamp(NOON, 3), "\"Channel deleted\"");
    let mut client = listening(&server);
    assert!(client.removed(&gone, 1).is_empty());
    assert_eq!(client.removed(&gone, 0), ["close"]);
    let slow = client.act(|session, actions| session.too_slow(actions));
    assert_eq!(slow, ["close 1008 {\"http_status\": 503, \"explain\":\"Subscriber is too slow.\"}"]);
    assert_eq!(client.draining(), ["close 1001"]);
}

#[test]
fn a_token_that_no_longer_counts_ends_what_it_allowed() {
    let server = server(|_| ());
    let mut client = listening(&server);
    assert!(client.review(&["a", "b"]).is_empty());
    server.access.store(Arc::new(access(|tokens| {
        let digest = digest(b"XXX");
        tokens[0] =
            Arc::new(Grant { name: "XXX".into(), digest, topics: vec![Pattern::Exact("a".into())], expires: Some(NOON + 9) });
    })));
    assert!(client.review(&["a"]).is_empty());
    let narrowed = "close 1008 {\"http_status\": 403, \"explain\":\"Authentication token has no right to a channel.\"}";
    assert_eq!(client.review(&["a", "b"]), [narrowed]);
    assert_eq!(client.after(9000).review(&["a"]), [format!("close 1008 {SILENT}")]);
    let closes = super::server(|options| options.auth_errors = AuthErrors::Close);
    let mut client = listening(&closes);
    closes.access.store(Arc::new(access(|tokens| tokens.clear())));
    assert_eq!(client.review(&["a"]), ["close 3401 Authentication token is missing or invalid."]);
    let mut nobody = open_server(|_| ()).upgrade("/websocket/a");
    assert!(nobody.review(&["a"]).is_empty());
}

#[test]
fn a_gap_is_told_only_to_those_who_want_to_know() {
    let gap = |start, from: u64| {
        let mut joined = joined(stamp(NOON, 3));
        (joined.gap, joined.start) = (true, start);
        joined.topics[0].from = Seq(from);
        joined
    };
    let mut quiet = open_server(|_| ()).upgrade("/websocket/a");
    assert_eq!(quiet.joined(&gap(None, 0)), ["accept", "wake in 30000 ms"]);
    let server = open_server(|options| options.gap_notice = true);
    let notice = |tag: u32, time: &str| {
        format!("{{\"id\":-4,\"channel\":\"\",\"message\":\"Messages were lost\",\"tag\":\"{tag}\",\"time\":\"{time}\"}}")
    };
    let told = |joined: &Joined| server.upgrade("/websocket/a").joined(joined)[1].clone();
    let now = notice(3, "Fri, 20 Nov 2026 16:17:46 GMT");
    assert!(told(&gap(Some((60, 7)), 0)).ends_with(&notice(7, "Thu, 01 Jan 1970 00:01:00 GMT")));
    assert!(told(&gap(None, 0)).ends_with(&now));
    assert!(told(&gap(Some((60, 7)), stamp(NOON, 3).seq.0)).ends_with(&now));
    assert_eq!(server.upgrade("/websocket/a").joined(&joined(stamp(NOON, 3))).len(), 2);
}

/// PT-33.
#[test]
fn a_speaker_publishes_to_all_its_channels() {
    let server = open_server(|options| {
        options.allow_publish = true;
        options.events_channel = "events".into();
        options.events_channel_subscribe = true;
    });
    let mut client = server.upgrade("/websocket/t1/t2/events");
    client.joined(&joined(stamp(NOON, 3)));
    assert_eq!(client.received(Inbound::Text(" {\"a\": 1} ")), ["publish t1={\"a\":1}, t2={\"a\":1}"]);
    assert!(client.answered(Answer::Published { published: SmallVec::new(), report: None }).is_empty());
    client.removed(&message("t1", -2, stamp(NOON, 3), "x"), 2);
    assert_eq!(client.received(Inbound::Text("2")), ["publish t2=2"]);
    assert_eq!(client.received(Inbound::Text("not json")), ["close 1007"]);
    assert_eq!(client.received(Inbound::Text("")), ["close 1007"]);
    assert_eq!(client.received(Inbound::Binary(b"1")), ["close 1003"]);
    let full = client.answered(Answer::Refused(crate::exchange::Refusal::OutOfMemory));
    assert_eq!(full, ["close 1008 {\"http_status\": 503, \"explain\":\"Server is out of message memory.\"}"]);
}

#[test]
fn a_speaker_is_not_read_while_many_publications_wait() {
    let server = open_server(|options| (options.allow_publish, options.store) = (true, false));
    let mut client = server.upgrade("/websocket/a");
    client.joined(&joined(stamp(NOON, 3)));
    for _ in 0..16 {
        assert!(client.session.as_ref().unwrap().accepts_input());
        assert_eq!(client.received(Inbound::Text("1")), ["publish a=1 unstored"]);
    }
    assert!(!client.session.as_ref().unwrap().accepts_input());
    client.answered(Answer::Published { published: SmallVec::new(), report: None });
    assert!(client.session.as_ref().unwrap().accepts_input());
}

#[test]
fn limits_are_the_configured_ones() {
    let limits = |server: &Server| server.upgrade("/websocket/a").session.unwrap().limits().clone();
    let usual = limits(&open_server(|_| ()));
    assert_eq!((usual.message_bytes_max, usual.outbox_bytes_max), (4096, 262_144));
    assert_eq!((usual.no_progress, usual.close_time), (Duration::from_secs(30), Duration::from_secs(2)));
    assert_eq!(limits(&open_server(|options| options.allow_publish = true)).message_bytes_max, 1 << 20);
}
