//! Every limit of push_stream's section 13, of action_cable's section 16, of resources' section 12.1, of endpoints' section 13 and of the reliability rules that the server has: one
//! table, one row per limit.

#[path = "limits/action_cable.rs"]
mod action_cable;
#[path = "limits/endpoints.rs"]
mod endpoints;
#[path = "limits/resources.rs"]
mod resources;
mod support;

use fanwire::metrics::Counter;
use support::client::UPGRADE;
use support::endpoints::{OPEN, PATH, both, dev_endpoints, expect_refusal, target};
use support::realtime::{PATH as REALTIME, PROJECT, SERVICE};
use support::{ACCESS, Client, LISTEN, Mode, REACTORS, Response, Server, Subscriber, masked};

struct Row {
    limit: &'static str,
    /// Keys of the dialect's table.
    options: &'static str,
    holds: fn(&Server),
}

fn raw(server: &Server, bytes: impl AsRef<[u8]>) -> (Client, Response) {
    let mut client = Client::on(server, 1);
    client.try_send(bytes);
    let answer = client.response();
    (client, answer)
}

/// This status, and the connection ends after it.
#[track_caller]
fn closed_with(server: &Server, status: u16, bytes: impl AsRef<[u8]>) {
    let (mut client, answer) = raw(server, bytes);
    assert_eq!((answer.status, answer.field("Connection")), (status, Some("close")), "{}", answer.raw);
    client.expect_end();
}

/// This status, and the connection serves the next request.
#[track_caller]
fn kept_with(server: &Server, status: u16, bytes: impl AsRef<[u8]>) {
    let (mut client, answer) = raw(server, bytes);
    assert_eq!((answer.status, answer.field("Connection")), (status, Some("keep-alive")), "{}", answer.raw);
    assert_eq!(client.get("/health").status, 200);
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")
}

fn poll(channels: &str) -> String {
    get(&format!("/shortpoll/{channels}?auth_token=dev"))
}

fn post(body: &str) -> String {
    format!("POST /pub?id=a HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer dev\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn chunked(body: &str) -> String {
    format!("POST /pub?id=a HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer dev\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

fn websocket(server: &Server) -> Client {
    let mut client = Client::on(server, 2);
    client.upgrade("/websocket/a?auth_token=dev");
    client
}

fn explained(server: &Server, request: String, status: u16, explain: &str) {
    let (_, answer) = raw(server, request);
    assert_eq!((answer.status, answer.explain()), (status, Some(explain)), "{}", answer.raw);
}

const ROWS: &[Row] = &[
    Row {
        limit: "max_channels_per_request = 50",
        options: "",
        holds: |server| {
            let names: Vec<String> = (0..51).map(|number| number.to_string()).collect();
            kept_with(server, 304, poll(&names[..50].join("/")));
            kept_with(server, 403, poll(&names.join("/")));
        },
    },
    Row {
        limit: "max_channel_id_bytes = 200",
        options: "",
        holds: |server| {
            kept_with(server, 304, poll(&"x".repeat(200)));
            kept_with(server, 400, poll(&"x".repeat(201)));
        },
    },
    Row {
        limit: "max_channels",
        options: "max_channels = 2\nheartbeat_channel = \"\"\n",
        holds: |server| {
            server.publish("one", "1");
            let held = server.subscribe(1, Mode::WebSocket, "two", "");
            explained(server, poll("one/three"), 403, "Number of channels were exceeded.");
            explained(server, post("1"), 403, "Number of channels were exceeded.");
            kept_with(server, 304, poll("one/two"));
            drop(held);
        },
    },
    Row {
        limit: "max_wildcard_channels",
        options: "wildcard_prefix = \"w_\"\nmax_wildcard_channels = 1\n",
        holds: |server| {
            let held = server.subscribe(1, Mode::WebSocket, "a/w_1", "");
            assert_eq!(server.summary()["wildcard_channels"], 1);
            explained(server, poll("a/w_2"), 403, "Number of channels were exceeded.");
            kept_with(server, 304, poll("a/w_1"));
            drop(held);
        },
    },
    Row {
        limit: "wildcard_max_per_request",
        options: "wildcard_prefix = \"w_\"\nwildcard_max_per_request = 1\n",
        holds: |server| {
            kept_with(server, 304, poll("a/w_1"));
            explained(server, poll("a/w_1/w_2"), 403, "Subscribed too much wildcard channels.");
        },
    },
    Row {
        limit: "max_subscribers_per_channel",
        options: "max_subscribers_per_channel = 2\n",
        holds: |server| {
            let held: Vec<Subscriber> =
                [1, 2].into_iter().map(|reactor| server.subscribe(reactor, Mode::WebSocket, "a", "")).collect();
            explained(server, get("/longpoll/a?auth_token=dev"), 403, "Subscribers limit per channel has been exceeded.");
            let mut refused = websocket(server);
            refused
                .expect_close(1008, "{\"http_status\": 403, \"explain\":\"Subscribers limit per channel has been exceeded.\"}");
            drop(held);
            server.wait_for_subscribers("a", 0);
            drop(server.subscribe(3, Mode::WebSocket, "a", ""));
        },
    },
    Row {
        limit: "max_body_bytes = 1048576",
        options: "",
        holds: |server| {
            let most = format!("\"{}\"", "x".repeat(1_048_574));
            kept_with(server, 200, post(&most));
            closed_with(server, 413, post(&format!("{most} ")));
            // Announced is enough, and so is the sum of the chunks.
            closed_with(
                server,
                413,
                "POST /pub?id=a HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer dev\r\nContent-Length: 999999999999\r\n\r\n",
            );
            closed_with(server, 413, chunked(&format!("80000\r\n{0}\r\n80000\r\n{0}\r\n1\r\n", "x".repeat(0x80000))));
            closed_with(server, 413, chunked("fffffffffffff\r\n"));
        },
    },
    Row {
        limit: "max_body_bytes, configured",
        options: "max_body_bytes = \"10B\"\n",
        holds: |server| {
            kept_with(server, 200, post("1234567890"));
            closed_with(server, 413, post("12345678901"));
        },
    },
    Row {
        limit: "max_request_line_bytes = 16384",
        options: "",
        holds: |server| {
            let line = |bytes: usize| {
                let frame = "GET /shortpoll/a?auth_token=dev&_= HTTP/1.1".len();
                format!("GET /shortpoll/a?auth_token=dev&_={} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(bytes - frame))
            };
            kept_with(server, 304, line(16_384));
            closed_with(server, 414, line(16_385));
            closed_with(server, 414, format!("GET /{}", "x".repeat(20_000)));
        },
    },
    Row {
        limit: "max_header_bytes = 32768",
        options: "",
        holds: |server| {
            let head = |bytes: usize| {
                let frame = "Host: h\r\nX: \r\n\r\n".len();
                format!("GET /shortpoll/a?auth_token=dev HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(bytes - frame))
            };
            kept_with(server, 304, head(32_700));
            closed_with(server, 431, head(32_900));
            closed_with(server, 431, format!("GET /shortpoll/a HTTP/1.1\r\nHost: h\r\nX: {}", "x".repeat(40_000)));
        },
    },
    Row {
        limit: "head_bytes = 16384 elsewhere",
        options: "",
        holds: |server| {
            let head = |bytes: usize| format!("GET /health HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(bytes));
            kept_with(server, 200, head(16_300));
            closed_with(server, 431, head(16_500));
        },
    },
    Row {
        limit: "head_fields = 64",
        options: "",
        holds: |server| {
            let head = |fields: usize| {
                let more: String = (1..fields).map(|number| format!("X-{number}: 1\r\n")).collect();
                format!("GET /shortpoll/a?auth_token=dev HTTP/1.1\r\nHost: h\r\n{more}\r\n")
            };
            kept_with(server, 304, head(64));
            closed_with(server, 431, head(65));
        },
    },
    Row {
        limit: "chunk_line_bytes = 256, trailer_bytes = 4096",
        options: "",
        holds: |server| {
            kept_with(server, 200, chunked("1;extension=1\r\n1\r\n0\r\nX-Trailer: 1\r\n\r\n"));
            closed_with(server, 400, chunked(&format!("1;{}\r\n1\r\n0\r\n\r\n", "e".repeat(300))));
            closed_with(server, 400, chunked(&format!("1\r\n1\r\n0\r\nX: {}\r\n\r\n", "t".repeat(5_000))));
            closed_with(server, 400, chunked("x\r\n"));
        },
    },
    Row {
        limit: "poll_max_bytes",
        options: "poll_max_bytes = \"1KiB\"\n",
        holds: |server| {
            for _ in 0..3 {
                server.publish("a", &format!("\"{}\"", "x".repeat(900)));
            }
            assert_eq!(server.stored("a").len(), 1, "the rest comes with the next request");
            assert_eq!(server.stored_log("a").len(), 3);
        },
    },
    Row {
        limit: "max_stored_messages = 1000",
        options: "",
        holds: |server| {
            for _ in 0..1_001 {
                server.publish("a", "1");
            }
            assert_eq!(server.row("a"), Some((1_001, 1_000, 0)));
        },
    },
    Row {
        limit: "max_client_message_bytes = 4096",
        options: "",
        holds: |server| {
            let mut client = websocket(server);
            client.send(masked(0x81, &[b'x'; 4_096]));
            server.expect_silence(&mut client);
            client.send(masked(0x81, &[b'x'; 4_097]));
            client.expect_close_code(1009);
        },
    },
    Row {
        limit: "max_client_message_bytes with allow_publish = max_body_bytes",
        options: "allow_publish = true\nmax_body_bytes = \"8KiB\"\n",
        holds: |server| {
            let mut client = websocket(server);
            let most = format!("\"{}\"", "x".repeat(8_190));
            client.send(masked(0x81, most.as_bytes()));
            assert_eq!(client.envelope().message, most);
            client.send(masked(0x81, format!("{most} ").as_bytes()));
            client.expect_close_code(1009);
        },
    },
    Row {
        limit: "message_fragments = 64",
        options: "",
        holds: |server| {
            let fragments = |count: usize| {
                let mut bytes = masked(0x01, b"");
                for number in 2..=count {
                    bytes.extend(masked(if number == count { 0x80 } else { 0x00 }, b""));
                }
                bytes
            };
            let mut client = websocket(server);
            client.send(fragments(64));
            server.expect_silence(&mut client);
            let mut client = websocket(server);
            client.send(fragments(65));
            client.expect_close_code(1009);
        },
    },
    Row {
        limit: "client_frames_per_second = 20, burst 200",
        options: "",
        holds: |server| {
            let mut client = websocket(server);
            for _ in 0..10 {
                client.send(masked(0x8a, b"").repeat(20));
            }
            server.expect_silence(&mut client);
            // After a second 20 more are allowed, pongs count like everything.
            server.pass(1.0);
            client.send(masked(0x8a, b"").repeat(18));
            server.expect_silence(&mut client);
            client.send(masked(0x81, b"x").repeat(10));
            client.expect_close_code(1008);
        },
    },
    Row {
        limit: "json_depth = 64",
        options: "",
        holds: |server| {
            kept_with(server, 200, post(&format!("{}{}", "[".repeat(64), "]".repeat(64))));
            kept_with(server, 400, post(&format!("{}{}", "[".repeat(65), "]".repeat(65))));
            // A bomb costs nothing.
            kept_with(server, 400, post(&"[".repeat(1_000_000)));
        },
    },
    Row {
        limit: "no_progress_timeout",
        options: "no_progress_timeout = \"3s\"\n",
        holds: |server| {
            let mut slow = Client::with_small_buffer(server, 2, 2_048);
            slow.upgrade("/websocket/a?auth_token=dev");
            server.wait_for_subscribers("a", 1);
            for _ in 0..600 {
                server.publish("a", &format!("\"{}\"", "x".repeat(16_000)));
            }
            server.pass(2.5);
            assert_eq!(server.subscribers("a"), 1);
            server.pass(3.5);
            server.wait_for_subscribers("a", 0);
            assert_eq!(server.count(Counter::DroppedTooSlow), 1);
            slow.rest();
        },
    },
    Row {
        limit: "the log no longer reaches back",
        options: "max_stored_messages = 20\n",
        holds: |server| {
            let mut slow = Client::with_small_buffer(server, 2, 2_048);
            slow.upgrade("/websocket/a?auth_token=dev");
            server.wait_for_subscribers("a", 1);
            for _ in 0..600 {
                server.publish("a", &format!("\"{}\"", "x".repeat(16_000)));
            }
            server.settle();
            // It begins to read, falls out of the log on its way, and never sees a hole.
            let mut expected = 1;
            loop {
                let frame = slow.frame();
                if frame.opcode == 8 {
                    assert_eq!(frame.code(), Some(1008), "{}", String::from_utf8_lossy(&frame.payload));
                    break;
                }
                assert!(frame.payload.starts_with(format!("{{\"id\":{expected},").as_bytes()), "message {expected}");
                expected += 1;
            }
            assert!(expected < 600);
            slow.expect_end();
            server.wait_for_subscribers("a", 0);
        },
    },
    Row {
        limit: "connection_ttl",
        options: "connection_ttl = \"5s\"\nfooter_template = \"FTR\"\n",
        holds: |server| {
            let mut held: Vec<Subscriber> = Mode::HELD.into_iter().map(|mode| server.subscribe(1, mode, "a", "")).collect();
            server.pass(4.8);
            for subscriber in &mut held {
                server.expect_silence(&mut subscriber.client);
            }
            server.pass(0.4);
            assert_eq!(held[0].client.text(), "FTR");
            held[0].client.expect_close(0, "");
            assert_eq!((held[1].client.chunk(), held[1].client.chunk()), (b"FTR".to_vec(), vec![]));
            assert_eq!((held[2].client.chunk(), held[2].client.chunk()), (b": FTR\n".to_vec(), vec![]));
            server.wait_for_subscribers("a", 0);
        },
    },
    Row {
        limit: "head_time = 10 s, from accept and from the first byte of the next request",
        options: "",
        holds: |server| {
            let mut silent = Client::connect(server.address);
            let mut half = Client::connect(server.address);
            half.send("GET /shortpoll/a HTTP/1.1\r\nHost: h\r\n");
            let mut second = Client::on(server, 1);
            server.settle();
            server.pass(5.0);
            second.send("GET /short");
            server.settle();
            server.pass(4.7);
            // Bytes that trickle in don't make the time longer.
            half.send("X");
            for client in [&mut silent, &mut half, &mut second] {
                server.expect_silence(client);
            }
            server.pass(0.6);
            server.settle();
            assert!(half.has_ended() && silent.has_ended(), "10 s after accept");
            server.expect_silence(&mut second);
            server.pass(5.0);
            server.settle();
            assert!(second.has_ended(), "10 s after the first byte");
            assert_eq!((half.rest(), second.rest()), (vec![], vec![]), "without a word");
        },
    },
    Row {
        limit: "keep_alive_idle = 75 s",
        options: "",
        holds: |server| {
            let mut client = Client::on(server, 1);
            server.pass(74.7);
            server.expect_silence(&mut client);
            server.pass(0.6);
            client.expect_end();
        },
    },
    Row {
        limit: "body_stall = 10 s, body_min_rate = 1024",
        options: "",
        holds: |server| {
            let announce = "POST /pub?id=a HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer dev\r\nContent-Length: 1000000\r\n\r\n";
            let mut stalled = Client::on(server, 1);
            stalled.send(format!("{announce}[1"));
            let mut trickling = Client::on(server, 2);
            trickling.send(announce);
            let mut brisk = Client::on(server, 3);
            brisk.send(format!("{announce}["));
            server.settle();
            for _ in 0..9 {
                server.pass(1.0);
                trickling.send("1,");
                brisk.send(vec![b' '; 2_000]);
                server.settle();
            }
            for client in [&mut stalled, &mut trickling] {
                server.expect_silence(client);
            }
            for _ in 0..3 {
                server.pass(1.0);
                trickling.try_send("1,");
                brisk.send(vec![b' '; 2_000]);
                server.settle();
            }
            for client in [&mut stalled, &mut trickling] {
                let answer = client.response();
                assert_eq!((answer.status, answer.field("Connection")), (408, Some("close")));
                client.rest();
            }
            server.expect_silence(&mut brisk);
            brisk.send(format!("{}1]", " ".repeat(1_000_000 - 1 - 24_000 - 2)));
            assert_eq!(brisk.response().status, 200, "slow but alive");
        },
    },
    Row {
        limit: "close_time = 2 s",
        options: "",
        holds: |server| {
            // The peer goes on sending after our close: dropped, and not for ever.
            let mut client = websocket(server);
            client.send(masked(0x82, b"binary"));
            let frame = client.frame();
            assert_eq!(frame.code(), Some(1003));
            client.send(masked(0x89, b"ping"));
            client.expect_end();
            let before = server.count(Counter::Ended);
            server.pass(2.5);
            server.wait_until("the connection is gone", |server| server.count(Counter::Ended) > before);
        },
    },
    Row {
        limit: "pipelined_max = 1",
        options: "",
        holds: |server| {
            let mut client = Client::on(server, 1);
            let one = get("/longpoll/a?auth_token=dev");
            let two = get("/shortpoll/a?auth_token=dev");
            client.send(format!("{one}{}", two.repeat(100)));
            server.wait_for_subscribers("a", 1);
            server.expect_silence(&mut client);
            server.publish("a", "1");
            assert_eq!(client.response().status, 200);
            for _ in 0..100 {
                assert_eq!(client.response().status, 304, "held, and answered in order");
            }
        },
    },
    Row {
        limit: "publish: body 1 MiB, 1,000 elements",
        options: "",
        holds: |server| {
            let element = "{\"topic\":\"a\",\"data\":1}";
            let post = |body: &str| server.call("POST", "/publish", "Content-Type: application/json\r\n", body.as_bytes()).status;
            assert_eq!(post(&format!("[{}]", vec![element; 1_000].join(","))), 200);
            assert_eq!(post(&format!("[{}]", vec![element; 1_001].join(","))), 422);
            assert_eq!(post(&format!("{element}{}", " ".repeat(1_048_576 - element.len()))), 200);
            assert_eq!(post(&format!("{element}{}", " ".repeat(1_048_577 - element.len()))), 413);
            let mut socket = Client::on(server, 1);
            assert_eq!(socket.ask_upgrade("/publish", "Authorization: Bearer dev\r\n").status, 101);
            socket.send([&[0x81, 0xff][..], &1_048_577u64.to_be_bytes(), &[0; 4]].concat());
            socket.expect_close_code(1009);
        },
    },
];

#[test]
fn every_limit_holds_at_its_number_and_is_felt_beyond_it() {
    let of_push_stream = ROWS.iter().map(|row| (row, Server::with as fn(&str) -> Server));
    let of_action_cable = action_cable::ROWS.iter().map(|row| (row, action_cable::server as fn(&str) -> Server));
    let mut broken = Vec::new();
    let of_resources = resources::ROWS.iter().map(|row| (row, resources::server as fn(&str) -> Server));
    let of_endpoints = endpoints::ROWS.iter().map(|row| (row, endpoints::server as fn(&str) -> Server));
    for (row, start) in of_push_stream.chain(of_action_cable).chain(of_resources).chain(of_endpoints) {
        let held = std::panic::catch_unwind(|| {
            let server = start(row.options);
            (row.holds)(&server);
            assert_eq!(server.count(Counter::Panics), 0);
        });
        if held.is_err() {
            broken.push(row.limit);
        }
    }
    assert!(broken.is_empty(), "broken: {broken:#?}");
}

#[test]
fn connections_beyond_the_bound_get_503_and_old_ones_go_on() {
    let text = format!("{LISTEN}{ACCESS}\n[limits]\nconnections_max = 40\nunopened_percent = 100\n");
    let server = Server::with_config(&text);
    // The connections that ask for the statistics are there first.
    server.settle();
    let mut held: Vec<Client> = Vec::new();
    let mut refused = 0;
    for _ in 0..200 {
        let mut client = Client::connect(server.address);
        client.try_send(format!("GET /longpoll/a?auth_token={} HTTP/1.1\r\nHost: h\r\n\r\n", server.token));
        held.push(client);
    }
    server.wait_until("all are decided", |server| server.subscribers("a") + server.count(Counter::RefusedConnections) == 200);
    // Counted before they are told.
    server.wait_until("the refused are told", |server| {
        held.iter_mut().map(|client| u64::from(client.has_bytes())).sum::<u64>() + server.subscribers("a") == 200
    });
    let mut waiting = Vec::new();
    for mut client in held {
        if client.has_bytes() {
            let answer = client.response();
            assert_eq!((answer.status, answer.field("Retry-After").is_some()), (503, true), "{}", answer.raw);
            client.rest();
            refused += 1;
        } else {
            waiting.push(client);
        }
    }
    assert!(refused >= 160 && waiting.len() as u64 == server.subscribers("a"), "{refused} refused, {} wait", waiting.len());
    server.publish("a", "1");
    for client in &mut waiting {
        assert_eq!(client.response().status, 200);
    }
    drop(waiting);
    server.wait_until("there is room again", |server| {
        let mut client = Client::connect(server.address);
        client.try_send(format!("GET /shortpoll/a?auth_token={} HTTP/1.1\r\nHost: h\r\n\r\n", server.token));
        client.response().status == 304
    });
}

#[test]
fn a_full_server_refuses_in_the_words_of_each_protocol() {
    let mut config = dev_endpoints(&both("", "", ""));
    // The connections that ask for the statistics are among them.
    config.limits.connections_max = 10 * REACTORS as u64;
    let server = Server::cable(config);
    server.settle();
    let mut polls: Vec<Client> = Vec::new();
    let refused = || server.count(Counter::RefusedConnections);
    while server.subscribers("a") < 9 * REACTORS as u64 {
        let before = (server.subscribers("a"), refused());
        let mut client = Client::connect(server.address);
        client.send(get("/longpoll/a?auth_token=dev"));
        server.wait_until("it waits, or was refused", |server| (server.subscribers("a"), refused()) != before);
        if refused() > before.1 {
            let answer = client.response();
            assert_eq!((answer.status, answer.field("Retry-After")), (503, Some("1")), "{}", answer.raw);
            client.expect_end();
        } else {
            polls.push(client);
        }
        assert!(refused() < 1_000, "the kernel spreads connections over the reactors");
    }
    let before = refused();

    for target in [target(OPEN, ""), format!("{PATH}/{OPEN}")] {
        expect_refusal(Client::connect(server.address), &target, "", 1013, "Too many connections.");
        let mut client = Client::connect(server.address);
        client.send(get(&target));
        let answer = client.response();
        assert_eq!((answer.status, answer.text()), (429, "{\"error\":\"Too many connections.\"}"), "{}", answer.raw);
        client.expect_end();
    }
    let asking = |method: &str, target: &str, fields: &str, status: u16, retry: Option<&str>| {
        let mut client = Client::connect(server.address);
        client.send(format!("{method} {target} HTTP/1.1\r\n{fields}\r\n"));
        let answer = client.response();
        assert_eq!((answer.status, answer.field("Retry-After")), (status, retry), "{target}: {}", answer.raw);
        client.expect_end();
        answer.text().to_owned()
    };
    let wordless = "Host: h\r\n";
    let too_many = "{\"error\":\"Too many connections\"}";
    let listener = format!("{UPGRADE}{PROJECT}");
    assert_eq!(asking("GET", REALTIME, &listener, 429, Some("5")), too_many);
    let document = format!("{REALTIME}/resources/kvStore/World:kvstoreClient:testKey");
    assert_eq!(asking("GET", &document, &format!("{wordless}{PROJECT}{SERVICE}"), 429, Some("5")), too_many);
    asking("GET", "/cable", UPGRADE, 503, Some("5"));
    asking("POST", "/api/events", wordless, 503, Some("1"));
    asking("GET", "/websocket/a?auth_token=dev", UPGRADE, 503, Some("1"));
    asking("POST", "/publish", wordless, 503, Some("1"));
    asking("GET", "/metrics", wordless, 503, Some("1"));
    asking("GET", "/nothing", wordless, 404, None);
    assert_eq!(refused() - before, 12);

    // Whoever was there is not concerned, and neither is whoever comes once somebody has left.
    assert_eq!(server.publish("a", "1").status, 200);
    for client in &mut polls {
        assert_eq!(client.response().status, 200);
    }
    drop(polls);
    server
        .wait_until("there is room again", |server| Client::connect(server.address).ask_upgrade(REALTIME, PROJECT).status == 101);
}

#[test]
fn beyond_the_connections_without_a_head_the_oldest_is_closed() {
    // 160 connections are 40 of each reactor, and of those two may be without a head.
    let server = Server::with_config(&format!("{LISTEN}{ACCESS}\n[limits]\nconnections_max = 160\nunopened_percent = 5\n"));
    server.settle();
    let before = server.count(Counter::Accepted);
    let mut silent: Vec<Client> = (0..60).map(|_| Client::connect(server.address)).collect();
    server.wait_until("all are accepted", |server| server.count(Counter::Accepted) == before + 60);
    server.settle();
    let open: Vec<bool> = silent.iter_mut().map(|client| !client.has_ended()).collect();
    assert_eq!(open.iter().filter(|open| **open).count(), 2 * REACTORS, "two of each reactor stay: {open:?}");
    assert!(!open[..20].contains(&true), "the oldest are closed");
    // Those who say what they want are served, and are never among the closed.
    for round in 0..20 {
        let mut client = Client::connect(server.address);
        assert_eq!(client.get(&format!("/shortpoll/a?auth_token={}", server.token)).status, 304, "round {round}");
    }
}
