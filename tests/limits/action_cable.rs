//! The limits of action_cable's section 16: one row per limit.

use super::{Row, closed_with, raw};
use crate::support::cable::{ECHO, ECHO_CHANNEL, KEY, PUBLISH_KEY, WELCOME, api, confirm, data, event, reject, string};
use crate::support::client::UPGRADE;
use crate::support::{Cable, Client, Server, masked};
use fanwire::metrics::Counter;

/// A server with these keys of `[action_cable]` and the channels of the rows.
pub fn server(keys: &str) -> Server {
    let any = "[[action_cable.channel]]\nname = \"AnyChannel\"\nkind = \"events\"\nprefix = \"any\"\nmodels = \"any\"\n";
    Server::with_cable(keys, &format!("{ECHO_CHANNEL}{any}"))
}

fn upgrade(fields: &str) -> String {
    format!("GET /cable HTTP/1.1\r\n{UPGRADE}{fields}\r\n")
}

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {PUBLISH_KEY}\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// A publication for the stream `echo`; `data` is JSON text.
fn publication(data: &str) -> String {
    format!("{{\"stream\":\"echo\",\"data\":{}}}", string(data))
}

/// Sixteen megabytes and more, past the kernel's buffers and every window, in requests of sixty messages.
fn flood(server: &Server) -> usize {
    let mut publisher = server.caller(3);
    let filler = "x".repeat(16_000);
    let (batches, each) = (30, 60);
    for batch in 0..batches {
        let messages: Vec<String> =
            (0..each).map(|number| publication(&format!("\"{} {filler}\"", batch * each + number))).collect();
        assert_eq!(publisher.post("/_broadcast", "", format!("[{}]", messages.join(",")).as_bytes()).status, 201);
    }
    drop(publisher);
    server.settle();
    batches * each
}

/// A subscriber of `echo` that reads nothing behind its confirm.
fn never_reading(server: &Server) -> Cable {
    let client = Client::with_small_buffer(server, 2, 2_048);
    let mut slow = Cable::asking(client, "/cable", "");
    assert_eq!(slow.text(), WELCOME);
    slow.subscribe(ECHO);
    slow
}

/// Subscribes an extended connection to `echo` with what it says it has; returns the frames behind the confirm.
#[track_caller]
fn history(server: &Server, epoch: &str, offset: u64) -> Vec<String> {
    let (mut cable, _) = Cable::extended(server, 1);
    let history = format!(",\"history\":{{\"streams\":{{\"echo\":{{\"epoch\":\"{epoch}\",\"offset\":{offset}}}}}}}");
    cable.command("subscribe", ECHO, &history);
    assert_eq!(cable.text(), confirm(ECHO));
    cable.texts_and_pings(server)
}

fn with_position(number: u64, epoch: &str, offset: u64) -> String {
    let base = data(ECHO, &number.to_string());
    format!("{},\"stream_id\":\"echo\",\"epoch\":\"{epoch}\",\"offset\":{offset}}}", &base[..base.len() - 1])
}

fn of_history(verdict: &str) -> String {
    format!("{{\"identifier\":{},\"type\":\"{verdict}_history\"}}", string(ECHO))
}

/// Five messages for `echo`; returns the epoch of its offsets.
fn five_messages(server: &Server) -> String {
    let (mut cable, _) = Cable::extended(server, 1);
    cable.subscribe(ECHO);
    for number in 1..=5 {
        server.broadcast(2, "echo", &number.to_string());
    }
    let text = cable.text();
    let (_, rest) = text.split_once("\"epoch\":\"").unwrap_or_else(|| panic!("a position: {text}"));
    let epoch = rest.split('"').next().unwrap_or_default().to_owned();
    assert_eq!(text, with_position(1, &epoch, 1));
    epoch
}

pub const ROWS: &[Row] = &[
    Row {
        limit: "action_cable: max_connections",
        options: "max_connections = 2\n",
        holds: |server| {
            let held = [Cable::open(server, 1), Cable::open(server, 2)];
            let refused = raw(server, upgrade("")).1;
            assert_eq!((refused.status, refused.field("Retry-After")), (503, Some("5")), "{}", refused.raw);
            // The other dialects have their own, and requests that are none of its connections take no place.
            assert_eq!(raw(server, "GET /websocket/a?auth_token=dev HTTP/1.1\r\nHost: h\r\n\r\n").1.status, 400);
            assert_eq!(raw(server, upgrade("").replace("13", "8")).1.status, 426);
            drop(held);
            server.wait_until("places are free again", |server| raw(server, upgrade("")).1.status == 101);
            let mut one = Cable::open(server, 1);
            one.subscribe(ECHO);
        },
    },
    Row {
        limit: "action_cable: draining",
        options: "",
        holds: |server| {
            let mut late = Client::on(server, 1);
            let request = upgrade("");
            late.send(&request[..20]);
            let mut held = Cable::open(server, 1);
            server.settle();
            server.drain();
            // Every reactor has heard of it.
            server.advance(0.0);
            late.send(&request[20..]);
            let answer = late.response();
            assert_eq!((answer.status, answer.field("Retry-After")), (503, Some("5")), "{}", answer.raw);
            late.expect_end();
            assert!(std::net::TcpStream::connect(server.address).is_err(), "nobody listens any more");
            server.pass(30.5);
            assert!(String::from_utf8_lossy(&held.rest()).contains("server_restart"));
        },
    },
    Row {
        limit: "action_cable: request head",
        options: "",
        holds: |server| {
            let head = |bytes: usize| upgrade(&format!("X: {}\r\n", "x".repeat(bytes)));
            assert_eq!(raw(server, head(16_000)).1.status, 101);
            closed_with(server, 431, head(16_500));
        },
    },
    Row {
        limit: "action_cable: no complete head within the handshake time",
        options: "",
        holds: |server| {
            let mut half = Client::connect(server.address);
            half.send(format!("GET /cable HTTP/1.1\r\n{UPGRADE}"));
            server.settle();
            server.pass(9.7);
            server.expect_silence(&mut half);
            server.pass(0.6);
            half.expect_end();
        },
    },
    Row {
        limit: "action_cable: max_message",
        options: "max_message = \"200B\"\n",
        holds: |server| {
            let text = |bytes: usize| {
                let frame = format!("{{\"command\":\"subscribe\",\"identifier\":{}}}", string(ECHO));
                format!("{frame}{}", " ".repeat(bytes - frame.len()))
            };
            let mut cable = Cable::open(server, 1);
            cable.say(&text(200));
            assert_eq!(cable.text(), confirm(ECHO));
            cable.say(&text(201));
            cable.expect_close(1009, "");
            let fragments = |count: usize| {
                let middle = masked(0x00, b"").repeat(count - 2);
                [masked(0x01, text(150).as_bytes()), middle, masked(0x80, b"")].concat()
            };
            let mut cable = Cable::open(server, 1);
            cable.send(fragments(64));
            assert_eq!(cable.text(), confirm(ECHO));
            cable.send(fragments(65));
            cable.expect_close(1009, "");
        },
    },
    Row {
        limit: "action_cable: max_identifier",
        options: "max_identifier = \"100B\"\n",
        holds: |server| {
            let mut cable = Cable::open(server, 1);
            let padded = |bytes: usize| format!("{}{}", ECHO, " ".repeat(bytes - ECHO.len()));
            cable.subscribe(&padded(100));
            cable.expect_reject(&padded(101));
            cable.subscribe(ECHO);
        },
    },
    Row {
        limit: "action_cable: max_subscriptions",
        options: "max_subscriptions = 2\n",
        holds: |server| {
            let mut cable = Cable::open(server, 1);
            cable.subscribe(ECHO);
            cable.subscribe(&api("posts"));
            cable.expect_reject(&api("users"));
            // Of another connection they are its own.
            Cable::open(server, 1).subscribe(&api("users"));
            cable.unsubscribe(ECHO);
            cable.subscribe(&api("users"));
        },
    },
    Row {
        limit: "action_cable: max_streams_per_subscription",
        options: "max_streams_per_subscription = 3\n",
        holds: |server| {
            let mut cable = Cable::open(server, 1);
            let any = |events: &str| format!("{{\"channel\":\"AnyChannel\",\"key\":\"{KEY}\",\"events\":\"{events}\"}}");
            cable.subscribe(&any("a;b#create"));
            cable.expect_reject(&any("a;b"));
            server.settle();
            assert_eq!((server.subscribers("any:a_create"), server.subscribers("any:b_update")), (1, 0));
            cable.subscribe(&any("a;b#create;a#update"));
        },
    },
    Row {
        limit: "action_cable: 64 subscriptions of 128 streams each",
        options: "",
        holds: |server| {
            let any = |number: usize| {
                let models: Vec<String> = (0..64).map(|model| format!("m{number}_{model}")).collect();
                format!("{{\"channel\":\"AnyChannel\",\"key\":\"{KEY}\",\"events\":\"{}\"}}", models.join(";"))
            };
            let mut cable = Cable::open(server, 1);
            for number in 0..64 {
                cable.subscribe(&any(number));
            }
            cable.expect_reject(&any(64));
            server.broadcast(2, "any:m63_63_update", "1");
            cable.expect_data(&any(63), "1");
            cable.unsubscribe(&any(0));
            cable.subscribe(&any(64));
        },
    },
    Row {
        limit: "action_cable: JSON depth 64",
        options: "",
        holds: |server| {
            let mut cable = Cable::open(server, 1);
            let command = |identifier: &str, depth: usize| {
                let nested = format!("{}{}", "[".repeat(depth - 1), "]".repeat(depth - 1));
                format!("{{\"command\":\"subscribe\",\"identifier\":{},\"x\":{nested}}}", string(identifier))
            };
            cable.say(&command(ECHO, 64));
            assert_eq!(cable.text(), confirm(ECHO));
            cable.say(&command("{}", 65));
            server.expect_silence(&mut cable);
            assert_eq!(server.cable_metric("bad_input_total{kind=\"not_json\"}"), 1);
            // Neither does a bomb cost anything.
            cable.say(&"[".repeat(60_000));
            server.expect_silence(&mut cable);
            let identifier = |depth: usize| {
                format!("{{\"channel\":\"EchoChannel\",\"x\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1))
            };
            cable.subscribe(&identifier(64));
            cable.expect_reject(&identifier(65));
            cable.expect_reject(&"[".repeat(4_000));
        },
    },
    Row {
        limit: "action_cable: bad_input_rate",
        options: "bad_input_rate = 2\n",
        holds: |server| {
            let mut cable = Cable::open(server, 1);
            for _ in 0..10 {
                cable.say("{}");
            }
            server.expect_silence(&mut cable);
            server.advance(0.5);
            cable.say("{}");
            server.settle();
            assert!(!cable.has_ended());
            cable.say("{}");
            let frame = cable.beyond_pings();
            assert_eq!((frame.head[0], frame.code()), (0x88, Some(1008)));
            cable.expect_end();
        },
    },
    Row {
        limit: "action_cable: client frames per second = 200, burst 2000",
        options: "bad_input_rate = 0\n",
        holds: |server| {
            // Whatever they hold: commands, pings, pongs, what is not live, and binary.
            let command = format!("{{\"command\":\"unsubscribe\",\"identifier\":{}}}", string(ECHO));
            let kinds = [masked(0x81, command.as_bytes()), masked(0x8a, b""), masked(0x82, b""), masked(0x81, b"x")].concat();
            let mut cable = Cable::open(server, 1);
            cable.send(kinds.repeat(500));
            server.expect_silence(&mut cable);
            server.advance(0.1);
            cable.send(kinds.repeat(5));
            server.settle();
            assert!(!cable.has_ended());
            cable.send(masked(0x8a, b""));
            let frame = cable.beyond_pings();
            assert_eq!((frame.head[0], frame.code()), (0x88, Some(1008)));
            cable.expect_end();
            // Saying goodbye is always allowed.
            let mut cable = Cable::open(server, 1);
            cable.send(kinds.repeat(500));
            cable.send(masked(0x88, &1000u16.to_be_bytes()));
            cable.expect_close(1000, "");
        },
    },
    Row {
        limit: "action_cable: max_publish_body",
        options: "max_publish_body = \"1000B\"\n",
        holds: |server| {
            let mut cable = Cable::open(server, 1);
            cable.subscribe(ECHO);
            cable.subscribe(&api("posts"));
            let padded = |body: &str, bytes: usize| format!("{body}{}", " ".repeat(bytes - body.len()));
            for (path, body) in [("/_broadcast", publication("1")), ("/api/events", event("create", "Post", "{}"))] {
                assert_eq!(raw(server, post(path, &padded(&body, 1_000))).1.status, 201);
                cable.text();
                closed_with(server, 413, post(path, &padded(&body, 1_001)));
                server.expect_silence(&mut cable);
            }
            // Announced is enough.
            let announced = post("/_broadcast", "").replace("Content-Length: 0", "Content-Length: 99999999999");
            closed_with(server, 413, announced);
        },
    },
    Row {
        limit: "action_cable: max_payload = 262144",
        options: "",
        holds: |server| {
            let mut cable = Cable::open(server, 1);
            cable.subscribe(ECHO);
            // White space does not count.
            let text = |bytes: usize| format!(" \"{}\" ", "x".repeat(bytes - 2));
            assert_eq!(raw(server, post("/_broadcast", &publication(&text(262_144)))).1.status, 201);
            assert_eq!(cable.text(), data(ECHO, text(262_144).trim()));
            let list = format!("[{},{}]", publication("1"), publication(&text(262_145)));
            for body in [publication(&text(262_145)), list] {
                assert_eq!(raw(server, post("/_broadcast", &body)).1.status, 422);
            }
            let object = |bytes: usize| {
                let frame = event("create", "Post", "{\"x\":\"\"}").len();
                event("create", "Post", &format!("{{\"x\":\"{}\"}}", "x".repeat(bytes - frame)))
            };
            assert_eq!(raw(server, post("/api/events", &object(262_144))).1.status, 201);
            assert_eq!(raw(server, post("/api/events", &object(262_145))).1.status, 422);
            server.expect_silence(&mut cable);
            assert_eq!(server.row("api:posts_create").map(|(published, ..)| published), Some(1));
        },
    },
    Row {
        limit: "action_cable: 1000 publications in an array",
        options: "",
        holds: |server| {
            for (path, one, stream) in
                [("/_broadcast", publication("1"), "echo"), ("/api/events", event("create", "Post", "{}"), "api:posts_create")]
            {
                let list = |count: usize| format!("[{}]", vec![one.as_str(); count].join(","));
                assert_eq!(raw(server, post(path, &list(1_001))).1.status, 422);
                assert_eq!(server.row(stream), None, "nothing is published");
                assert_eq!(raw(server, post(path, &list(1_000))).1.status, 201);
                assert_eq!(server.row(stream).map(|(published, ..)| published), Some(1_000));
            }
        },
    },
    Row {
        limit: "action_cable: the log no longer reaches back",
        options: "",
        holds: |server| {
            let mut fast = Cable::open(server, 1);
            let mut slow = never_reading(server);
            fast.subscribe(&api("posts"));
            let published = flood(server);
            // It begins to read, falls out of the log on its way, and never sees a hole.
            let mut expected = 0;
            loop {
                let text = slow.text();
                if text == "{\"type\":\"disconnect\",\"reason\":\"too_slow\",\"reconnect\":true}" {
                    break;
                }
                assert!(text.starts_with(&format!("{{\"identifier\":{},\"message\":\"{expected} x", string(ECHO))), "{text:.90}");
                expected += 1;
            }
            slow.expect_close(1000, "");
            assert!(expected > 0 && expected < published, "{expected}");
            server.wait_for_subscribers("echo", 0);
            assert_eq!(server.cable_metric("disconnects_total{reason=\"too_slow\"}"), 1);
            server.cable_event("create", "Post", "{}");
            fast.expect_data(&api("posts"), &event("create", "Post", "{}"));
        },
    },
    Row {
        limit: "action_cable: write_stall",
        options: "write_stall = \"3s\"\n",
        holds: |server| {
            let mut slow = never_reading(server);
            flood(server);
            server.pass(2.5);
            assert_eq!(server.subscribers("echo"), 1);
            server.pass(1.0);
            server.wait_for_subscribers("echo", 0);
            assert_eq!(server.count(Counter::DroppedTooSlow), 1);
            assert_eq!(server.cable_metric("disconnects_total{reason=\"too_slow\"}"), 1);
            // It takes the frame that was begun in time: what was promised ends cleanly.
            let rest = slow.rest();
            let end = b"{\"type\":\"disconnect\",\"reason\":\"too_slow\",\"reconnect\":true}\x88\x02\x03\xe8";
            assert!(rest.ends_with(end), "{:?}", String::from_utf8_lossy(&rest[rest.len().saturating_sub(100)..]));

            // Without a reader the end comes with `close_timeout`.
            let mut stuck = never_reading(server);
            flood(server);
            let before = server.count(Counter::Ended);
            server.pass(3.5);
            server.wait_for_subscribers("echo", 0);
            assert_eq!(server.count(Counter::Ended), before);
            server.pass(5.5);
            server.wait_until("the connection is gone", |server| server.count(Counter::Ended) > before);
            assert!(!stuck.rest().ends_with(b"\x88\x02\x03\xe8"), "reset");
        },
    },
    Row {
        limit: "action_cable: close_timeout",
        options: "close_timeout = \"4s\"\n",
        holds: |server| {
            let mut cable = Cable::open(server, 1);
            server.settle();
            let before = server.count(Counter::Ended);
            cable.send(masked(0x83, b""));
            let frame = cable.frame();
            assert_eq!(frame.code(), Some(1002));
            // The peer does not end: what it goes on sending is dropped, and not for ever.
            for _ in 0..7 {
                server.pass(0.5);
                cable.say("{}");
                server.settle();
            }
            assert_eq!(server.count(Counter::Ended), before);
            server.pass(0.6);
            server.wait_until("the connection is gone", |server| server.count(Counter::Ended) > before);
            cable.expect_end();
        },
    },
    Row {
        limit: "action_cable: history_limit",
        options: "history_limit = 3\n",
        holds: |server| {
            let epoch = five_messages(server);
            let kept = |from: u64| (from..=5).map(|number| with_position(number, &epoch, number));
            assert_eq!(history(server, &epoch, 1), [of_history("reject")]);
            assert_eq!(history(server, &epoch, 2), kept(3).chain([of_history("confirm")]).collect::<Vec<_>>());
            assert_eq!(history(server, &epoch, 5), [of_history("confirm")]);
        },
    },
    Row {
        limit: "action_cable: history_ttl",
        options: "history_ttl = \"10s\"\n",
        holds: |server| {
            let epoch = five_messages(server);
            server.pass(9.0);
            server.broadcast(2, "echo", "6");
            assert_eq!(history(server, &epoch, 4).len(), 3);
            server.pass(2.0);
            assert_eq!(history(server, &epoch, 4), [of_history("reject")], "5 is gone");
            assert_eq!(history(server, &epoch, 5), [with_position(6, &epoch, 6), of_history("confirm")]);
            server.pass(10.0);
            assert_eq!(history(server, &epoch, 5), [of_history("reject")]);
            assert_eq!(history(server, &epoch, 6), [of_history("confirm")], "nothing was missed");
        },
    },
    Row {
        limit: "action_cable: resume_ttl",
        options: "resume_ttl = \"5s\"\n",
        holds: |server| {
            let fields = "Sec-WebSocket-Protocol: actioncable-v1-ext-json\r\n";
            for (seconds, restored) in [(4.5, true), (5.5, false)] {
                let (mut cable, sid) = Cable::extended(server, 1);
                cable.subscribe(ECHO);
                drop(cable);
                server.wait_for_subscribers("echo", 0);
                server.pass(seconds);
                let mut cable = Cable::asking(Client::on(server, 2), &format!("/cable?sid={sid}"), fields);
                let welcome = cable.text();
                assert!(welcome.starts_with("{\"type\":\"welcome\",\"sid\":\"") && !welcome.contains(&sid), "{welcome}");
                let ids = format!(",\"restored\":true,\"restored_ids\":[{}]}}", string(ECHO));
                assert_eq!(welcome.ends_with(&ids), restored, "{welcome}");
                assert_eq!(welcome.contains("restored"), restored, "{welcome}");
                drop(cable);
                server.wait_for_subscribers("echo", 0);
            }
        },
    },
    Row {
        limit: "action_cable: unknown tokens create no state",
        options: "",
        holds: |server| {
            let mut cable = Cable::open(server, 1);
            server.settle();
            let channels = server.summary()["channels"].as_u64();
            for number in 0..50 {
                let identifier = api(&format!("unicorns{number};posts#frob{number}"));
                cable.subscribe(&identifier);
                cable.unsubscribe(&identifier);
                cable.command("subscribe", &format!("{{\"channel\":\"Nope{number}\"}}"), "");
                assert_eq!(cable.text(), reject(&format!("{{\"channel\":\"Nope{number}\"}}")));
            }
            server.settle();
            assert_eq!(server.summary()["channels"].as_u64(), channels);
        },
    },
];
