//! The limits of resources' section 12.1 that a socket feels: one row per limit.

use super::Row;
use crate::support::client::UPGRADE;
use crate::support::realtime::{
    GAME, Listener, MALFORMED, PATH, PROJECT, RATE, TOO_MANY, WORLD, Writer, document, missing, token,
};
use crate::support::{Client, Response, Server, masked};
use fanwire::metrics::Counter;

/// A server with these keys of `[resources]`.
pub fn server(keys: &str) -> Server {
    Server::with_resources(keys)
}

/// The answer to an upgrade with these lines.
fn upgrade(server: &Server, fields: &str) -> Response {
    Client::on(server, 1).ask_upgrade(PATH, fields)
}

fn offering(protocols: &str) -> String {
    format!("Sec-WebSocket-Protocol: {protocols}\r\n")
}

#[track_caller]
fn expect_told(answer: &Response, status: u16, text: &str) {
    assert_eq!((answer.status, answer.text()), (status, format!("{{\"error\":\"{text}\"}}").as_str()), "{answer:?}");
    assert_eq!(answer.field("Connection"), Some("close"));
}

const TOO_LARGE: &str = "Request header fields too large";

pub const ROWS: &[Row] = &[
    Row {
        limit: "resources: request head 8192 bytes",
        options: "",
        holds: |server| {
            let head = |bytes: usize| {
                let start = format!("GET {PATH} HTTP/1.1\r\n{UPGRADE}{PROJECT}x: \r\n\r\n");
                format!("{PROJECT}x: {}\r\n", "x".repeat(bytes - start.len()))
            };
            assert_eq!(upgrade(server, &head(8_192)).status, 101);
            expect_told(&upgrade(server, &head(8_193)), 431, TOO_LARGE);
            // Far beyond it nobody waits for the end.
            expect_told(&upgrade(server, &head(15_000)), 431, TOO_LARGE);
            let mut client = Client::on(server, 1);
            client.send(format!("GET {PATH}?{} HTTP/1.1\r\n\r\n", "x".repeat(9_000)));
            expect_told(&client.response(), 431, TOO_LARGE);
        },
    },
    Row {
        limit: "resources: token_characters_max",
        options: "limits.token_characters_max = 64\n",
        holds: |server| {
            let known = token("x-m2-organization:testOrg\nx-m2-project:testProj");
            assert_eq!(known.len(), 64);
            assert_eq!(upgrade(server, &offering(&known)).status, 101);
            expect_told(&upgrade(server, &offering(&format!("{known}1"))), 431, TOO_LARGE);
            expect_told(&upgrade(server, &format!("{PROJECT}{}", offering(&"0".repeat(65)))), 431, TOO_LARGE);
        },
    },
    Row {
        limit: "resources: 16 protocols, 32 pairs, values of 2048 bytes",
        options: "",
        holds: |server| {
            let lines = "x-m2-organization:testOrg\nx-m2-project:testProj";
            let known = token(lines);
            let offers = |count: usize| offering(&[vec!["m2-realtime"; count - 1].join(", "), known.clone()].join(", "));
            assert_eq!(upgrade(server, &offers(16)).status, 101);
            expect_told(&upgrade(server, &offers(17)), 400, "Invalid Sec-WebSocket-Protocol");
            let pairs = |count: usize| {
                let more: String = (2..count).map(|number| format!("\na{number}:b")).collect();
                offering(&token(&format!("{lines}{more}")))
            };
            assert_eq!(upgrade(server, &pairs(32)).status, 101);
            expect_told(&upgrade(server, &pairs(33)), 400, "Invalid Sec-WebSocket-Protocol");
            let value = |bytes: usize| offering(&token(&format!("{lines}\na:{}", "x".repeat(bytes))));
            assert_eq!(upgrade(server, &value(2_048)).status, 101);
            expect_told(&upgrade(server, &value(2_049)), 400, "Invalid Sec-WebSocket-Protocol");
        },
    },
    Row {
        limit: "resources: no complete head within the handshake time",
        options: "",
        holds: |server| {
            let mut half = Client::connect(server.address);
            half.send(format!("GET {PATH} HTTP/1.1\r\n{UPGRADE}{PROJECT}"));
            server.settle();
            server.pass(9.7);
            assert!(!half.has_ended());
            server.pass(0.5);
            half.expect_end();
        },
    },
    Row {
        limit: "resources: message_bytes_max, nesting of 32",
        options: "limits.message_bytes_max = 200\n",
        holds: |server| {
            let mut listener = Listener::open(server, 1);
            let text = |bytes: usize| {
                let text = "{\"action\":\"subscribe\",\"resource\":{\"type\":\"liveConfig\",\"id\":\"game\"}}";
                format!("{text}{}", " ".repeat(bytes - text.len()))
            };
            listener.say(&text(200));
            listener.expect(&missing("LiveConfig"));
            let nested = |levels: usize| {
                let inner = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
                format!("{{\"action\":\"subscribe\",\"resource\":{{\"type\":\"liveConfig\",\"id\":\"game\"}},\"x\":{inner}}}")
            };
            listener.say(&nested(31));
            listener.expect(&missing("LiveConfig"));
            listener.say(&nested(32));
            listener.expect(MALFORMED);
            listener.say(&text(201));
            listener.expect_close(1009, "Message too big");
            // Announced is enough.
            let mut listener = Listener::open(server, 1);
            listener.client.send([0x81, 0xfe, 0x01, 0x00, 0, 0, 0, 0]);
            listener.expect_close(1009, "Message too big");
        },
    },
    Row {
        limit: "resources: id of 512 bytes",
        options: "",
        holds: |server| {
            let mut listener = Listener::open(server, 1);
            listener.await_document(("liveConfig", &"g".repeat(512)));
            assert_eq!(listener.subscribe(("liveConfig", &"g".repeat(513))), MALFORMED);
        },
    },
    Row {
        limit: "resources: subscriptions_per_connection_max",
        options: "limits.subscriptions_per_connection_max = 2\n",
        holds: |server| {
            let mut listener = Listener::open(server, 1);
            listener.await_document(GAME);
            listener.await_document(WORLD);
            assert_eq!(listener.subscribe(("liveConfig", "third")), TOO_MANY);
            let version = Writer::on(server, 2).put(GAME, "1");
            listener.expect(&document("", GAME, "1", &version));
            Listener::open(server, 1).await_document(("liveConfig", "third"));
        },
    },
    Row {
        limit: "resources: messages_per_second, messages_burst",
        options: "limits.messages_per_second = 5\nlimits.messages_burst = 10\n",
        holds: |server| {
            let mut listener = Listener::open(server, 1);
            (0..10).for_each(|_| listener.await_document(GAME));
            assert_eq!(listener.subscribe(GAME), RATE);
            server.advance(0.2);
            listener.await_document(GAME);
            assert_eq!(listener.subscribe(GAME), RATE);
            // Each connection has its own.
            Listener::open(server, 1).await_document(GAME);
            for _ in 0..99 {
                assert_eq!(listener.subscribe(GAME), RATE);
            }
            listener.expect_close(1008, "Rate limit exceeded");
        },
    },
    Row {
        limit: "resources: 10 malformed messages in 60 s",
        options: "",
        holds: |server| {
            let mut listener = Listener::open(server, 1);
            for _ in 0..10 {
                listener.say("{");
                listener.expect(MALFORMED);
            }
            listener.expect_close(1008, "Too many invalid messages");
        },
    },
    Row {
        limit: "resources: connections_per_project_max",
        options: "limits.connections_per_project_max = 2\n",
        holds: |server| {
            let held = [Listener::open(server, 1), Listener::open(server, 2)];
            let answer = upgrade(server, PROJECT);
            expect_told(&answer, 429, "Too many connections");
            assert_eq!(answer.field("Retry-After"), Some("5"));
            drop(held);
            server.wait_until("places are free again", |server| upgrade(server, PROJECT).status == 101);
        },
    },
    Row {
        limit: "resources: outbox_bytes_max",
        options: "limits.outbox_bytes_max = \"64KiB\"\n",
        holds: |server| {
            let mut slow = Listener::asking(Client::with_small_buffer(server, 1, 2_048), PROJECT);
            let filler = format!("\"{}\"", "x".repeat(30_000));
            Writer::on(server, 3).put(GAME, &filler);
            // Each request is answered with the document, and none of the answers is read.
            let mut asked = 0;
            let read = |server: &Server| {
                server.settle();
                server.count(Counter::BytesIn)
            };
            let request = masked(0x81, b"{\"action\":\"subscribe\",\"resource\":{\"type\":\"liveConfig\",\"id\":\"game\"}}");
            // Until the kernel takes nothing more either, which it may think over: then requests wait for the client.
            let mut answered = u64::MAX;
            while server.count(Counter::Deliveries) != answered {
                answered = server.count(Counter::Deliveries);
                (0..50).for_each(|_| slow.client.send(&request));
                asked += 50;
                read(server);
                assert!(asked < 900, "{asked}");
            }
            assert!(answered > 0);
            slow.enlarge_buffer();
            for number in 0..asked {
                assert!(slow.text().len() > 30_000, "{number}");
            }
            server.expect_silence(&mut slow);
        },
    },
    Row {
        limit: "resources: ping_interval, silence_timeout",
        options: "ping_interval = \"2s\"\nsilence_timeout = \"5s\"\n",
        holds: |server| {
            let mut listener = Listener::open(server, 1);
            server.settle();
            server.pass(4.9);
            (0..2).for_each(|_| assert_eq!(listener.frame().opcode, 9));
            server.pass(0.4);
            assert_eq!(listener.beyond_pings().code(), Some(1001));
            listener.expect_end();
        },
    },
    Row {
        limit: "resources: close_time = 2 s",
        options: "",
        holds: |server| {
            let mut listener = Listener::open(server, 1);
            listener.client.send(masked(0x82, &[0; 20_000]));
            assert_eq!(listener.frame().code(), Some(1009));
            // Those that came to other reactors have ended by then.
            server.settle();
            let before = server.count(Counter::Ended);
            listener.client.send(masked(0x89, b"still here"));
            server.pass(1.8);
            assert_eq!(server.count(Counter::Ended), before);
            server.pass(0.5);
            server.wait_until("it is gone", |server| server.count(Counter::Ended) == before + 1);
        },
    },
];
