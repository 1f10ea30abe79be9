//! Clients that mean harm or know no better: each costs only itself, while a canary goes on receiving.

mod support;

use fanwire::metrics::Counter;
use std::time::{Duration, Instant};
use support::client::UPGRADE;
use support::{Client, Mode, REACTORS, Server, Subscriber, Xorshift, endpoints, masked, realtime};

/// Well-behaved clients on every reactor; each round proves that they are served, at once.
struct Canary {
    held: Vec<Subscriber>,
    round: usize,
}

impl Canary {
    fn new(server: &Server) -> Canary {
        let held = (0..REACTORS).flat_map(|reactor| [Mode::WebSocket, Mode::Stream].map(|mode| (reactor, mode)));
        Canary { held: held.map(|(reactor, mode)| server.subscribe(reactor, mode, "canary", "")).collect(), round: 0 }
    }

    #[track_caller]
    fn sings(&mut self, server: &Server, during: &str) {
        self.round += 1;
        let begun = Instant::now();
        server.publish_on(self.round % REACTORS, "canary", &format!("\"{} {during}\"", self.round));
        for subscriber in &mut self.held {
            let came = subscriber.envelope();
            assert_eq!((came.id, came.message), (self.round as i64, format!("\"{} {during}\"", self.round)));
        }
        assert!(begun.elapsed() < Duration::from_secs(2), "{during}: {:?}", begun.elapsed());
    }
}

/// Runs an attack on every reactor beside the canary, lets its connections go, and sees that nothing is left of it.
fn survive(during: &str, options: &str, attack: impl Fn(&Server, usize) -> Vec<Client>) {
    let server = Server::with(options);
    let mut canary = Canary::new(&server);
    canary.sings(&server, "before");
    let mut attackers = Vec::new();
    for reactor in 0..REACTORS {
        attackers.extend(attack(&server, reactor));
        canary.sings(&server, during);
    }
    canary.sings(&server, during);
    drop(attackers);
    canary.sings(&server, "after");
    let open = canary.held.len() as u64 + REACTORS as u64;
    server.wait_until("every attacker's connection is gone", |server| {
        server.settle();
        // The canary's connections and those that ask for the statistics stay.
        server.count(Counter::Accepted) - server.count(Counter::Ended) <= open
    });
    assert_eq!(server.count(Counter::Panics), 0, "{during}");
    assert_eq!(server.summary()["subscribers"].as_u64(), Some(canary.held.len() as u64), "{during}");
    canary.sings(&server, "at the end");
}

#[test]
fn half_a_head_waits_for_its_time_and_no_longer() {
    survive("half a head", "", |server, reactor| {
        (0..20)
            .map(|number| {
                let mut client = Client::on(server, reactor);
                client.send(&"GET /longpoll/a?auth_token=dev HTTP/1.1\r\nHost: h\r\nX-Half: ".as_bytes()[..10 + number * 2]);
                client
            })
            .collect()
    });
    let server = Server::start();
    let mut canary = Canary::new(&server);
    let mut halves: Vec<Client> = (0..50).map(|_| Client::connect(server.address)).collect();
    for (number, client) in halves.iter_mut().enumerate() {
        client.send(&b"GET / HTTP/1.1\r\nHost: h\r\nX: y\r\n"[..number % 30]);
    }
    server.settle();
    server.pass(10.5);
    server.settle();
    for client in &mut halves {
        client.expect_end();
    }
    canary.sings(&server, "after the time of half heads");
}

#[test]
fn one_byte_at_a_time_is_slow_and_right() {
    survive("bytes one by one", "", |server, reactor| {
        let mut client = Client::on(server, reactor);
        for byte in format!("GET /websocket/a?auth_token=dev HTTP/1.1\r\nX-Long: {}\r\n{UPGRADE}\r\n", "x".repeat(2_000)).bytes()
        {
            client.send([byte]);
        }
        assert_eq!(client.response().status, 101);
        for byte in [masked(0x89, b"one by one"), masked(0x01, b"frag"), masked(0x80, b"ment")].concat() {
            client.send([byte]);
        }
        assert_eq!(client.frame().payload, b"one by one");
        server.settle();
        server.publish("a", "1");
        assert_eq!(client.envelope().message, "1");

        let mut poster = Client::on(server, reactor);
        let request = "POST /pub?id=a HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer dev\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n";
        for byte in request.bytes() {
            poster.send([byte]);
        }
        assert_eq!(poster.response().status, 200);
        assert_eq!(client.envelope().message, "[1,2]");
        vec![client, poster]
    });
}

#[test]
fn frames_against_the_rules_end_their_own_connection() {
    survive("bad frames", "", |server, reactor| {
        let attacks: [(Vec<u8>, u16); 8] = [
            (vec![0x81, 5, b'h', b'e', b'l', b'l', b'o'], 1002),
            ([&[0x81, 0xff][..], &u64::MAX.to_be_bytes(), &[0; 4]].concat(), 1002),
            ([&[0x81, 0xff][..], &(u64::MAX >> 1).to_be_bytes(), &[0; 4]].concat(), 1009),
            ([&[0x82, 0xff][..], &(1u64 << 40).to_be_bytes(), &[0; 4]].concat(), 1009),
            (masked(0x01, b"").into_iter().chain(masked(0x00, b"").repeat(100)).collect(), 1009),
            (masked(0xf1, b""), 1002),
            (masked(0x81, b"\xed\xa0\x80"), 1007),
            (vec![0xff; 64], 1002),
        ];
        attacks
            .into_iter()
            .map(|(bytes, code)| {
                let mut client = Client::on(server, reactor);
                client.upgrade("/websocket/a?auth_token=dev");
                client.send(bytes);
                let frame = client.frame();
                assert_eq!((frame.opcode, frame.code()), (8, Some(code)));
                // What comes behind the close is dropped unparsed.
                client.try_send(masked(0x89, b"still there?").repeat(10));
                client.expect_end();
                client
            })
            .collect()
    });
}

#[test]
fn announced_bodies_that_never_come_cost_nothing() {
    survive("giant bodies", "", |server, reactor| {
        (0..20)
            .map(|number| {
                let mut client = Client::on(server, reactor);
                let length = if number % 2 == 0 { "999999999999999999".to_owned() } else { "1048576".to_owned() };
                client.send(format!(
                    "POST /pub?id=a HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer dev\r\nContent-Length: {length}\r\n\r\n["
                ));
                if number % 2 == 0 {
                    assert_eq!(client.response().status, 413);
                }
                client
            })
            .collect()
    });
}

#[test]
fn subscribers_that_never_read_are_outlived() {
    let server = Server::start();
    let mut canary = Canary::new(&server);
    let mut attackers = Vec::new();
    for reactor in 0..REACTORS {
        for mode in [Mode::WebSocket, Mode::Stream, Mode::EventSource] {
            let mut client = Client::with_small_buffer(&server, reactor, 2_048);
            match mode {
                Mode::WebSocket => drop(client.upgrade("/websocket/flood?auth_token=dev")),
                _ => client.send_get(&format!("{}flood?auth_token=dev", mode.path()), ""),
            }
            attackers.push(client);
        }
    }
    server.wait_for_subscribers("flood", attackers.len() as u64);
    let body = format!("\"{}\"", "f".repeat(16_000));
    for number in 0..600 {
        server.publish_on(number % REACTORS, "flood", &body);
        if number % 20 == 0 {
            canary.sings(&server, "a flood nobody reads");
        }
    }
    // And one who asks without ever reading answers.
    let mut asker = Client::with_small_buffer(&server, 1, 2_048);
    let question = "GET /shortpoll/flood.b50?auth_token=dev HTTP/1.1\r\nHost: h\r\n\r\n".repeat(50);
    asker.send(question);
    canary.sings(&server, "unread answers");
    for _ in 0..35 {
        server.pass(1.0);
        canary.sings(&server, "waiting for the slow");
    }
    server.wait_for_subscribers("flood", 0);
    assert!(server.count(Counter::DroppedTooSlow) >= attackers.len() as u64);
    // The asker's connection is gone as well: what is left are the canary's and those that ask for the statistics.
    let open = canary.held.len() as u64 + REACTORS as u64;
    server.wait_until("all of them are gone", |server| server.count(Counter::Accepted) - server.count(Counter::Ended) == open);
    assert_eq!(server.count(Counter::Panics), 0);
    canary.sings(&server, "after the flood");
}

#[test]
fn garbage_is_refused_wherever_it_comes() {
    survive("garbage", "", |server, reactor| {
        let mut random = Xorshift(0x9e37_79b9 + reactor as u64);
        let mut clients = Vec::new();
        for round in 0..60 {
            let length = 1 + random.below(600) as usize;
            let bytes: Vec<u8> = (0..length)
                .map(|_| match round % 3 {
                    0 => random.below(256) as u8,
                    // Printable with line ends: gets deeper into the parser.
                    1 => b"GET /pub?id=: \r\n\t%00HTTP/1.10"[random.below(29) as usize],
                    _ => random.below(128) as u8,
                })
                .collect();
            let mut client = Client::on(server, reactor);
            if round % 2 == 0 {
                client.upgrade("/websocket/a?auth_token=dev");
                client.try_send(&bytes);
            } else {
                client.try_send(&bytes);
                client.try_send("\r\n\r\n");
            }
            client.finish_sending();
            // Whatever comes is a whole answer or close, and then the end.
            let rest = client.rest();
            if round % 2 == 1 && !rest.is_empty() {
                assert!(
                    rest.starts_with(b"HTTP/1.1 4") || rest.starts_with(b"HTTP/1.1 5"),
                    "{:?}",
                    String::from_utf8_lossy(&rest)
                );
            }
            clients.push(client);
        }
        clients
    });
}

#[test]
fn heads_that_break_the_rules_get_their_status_and_an_end() {
    let server = Server::start();
    let mut canary = Canary::new(&server);
    let line = "GET /shortpoll/a?auth_token=dev HTTP/1.1\r\n";
    for (head, status) in [
        ("GET /shortpoll/a HTTP/1.1\nHost: h\n\n".to_owned(), 400),
        (format!("{line}\r\n"), 400),
        (format!("{line}Host: h\r\nHost: h\r\n\r\n"), 400),
        (format!("{line}Host: h h\r\n\r\n"), 400),
        (format!("{line}Host: h\r\nX : y\r\n\r\n"), 400),
        (format!("{line}Host: h\r\nX: y\r\n folded\r\n\r\n"), 400),
        (format!("{line}Host: h\r\nX: \x01\r\n\r\n"), 400),
        (format!("{line}Host: h\r\nX: \u{e9}\r\n\r\n"), 400),
        (format!("{line}Host: h\r\n: y\r\n\r\n"), 400),
        (format!("{line}Host: h\r\nContent-Length: +5\r\n\r\n"), 400),
        (format!("{line}Host: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n"), 400),
        (format!("{line}Host: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), 400),
        (format!("{line}Host: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"), 400),
        (format!("{line}Host: h\r\nExpect: miracles\r\n\r\n"), 417),
        ("GET /shortpoll/a HTTP/2.0\r\nHost: h\r\n\r\n".to_owned(), 505),
        ("GET  /shortpoll/a HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 400),
        ("get /shortpoll/a HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 400),
        ("GET shortpoll HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 400),
        ("GET /short%zzpoll HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 400),
        ("GET /short%00poll HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 400),
        ("\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 400),
        (
            "POST /pub?id=a HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer dev\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n".to_owned(),
            400,
        ),
        (
            "POST /pub?id=a HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer dev\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n".to_owned(),
            400,
        ),
    ] {
        let mut client = Client::on(&server, 1);
        client.try_send(&head);
        let answer = client.response();
        assert_eq!((answer.status, answer.field("Connection")), (status, Some("close")), "{head:?}: {}", answer.raw);
        client.rest();
        canary.sings(&server, "bad heads");
    }
    // A body where none is taken is dropped; if it breaks the rules too, the connection ends, and nothing in it is a request.
    let mut client = Client::on(&server, 1);
    client.send(format!(
        "{line}Host: h\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\nGET /health HTTP/1.1\r\nHost: h\r\n\r\n"
    ));
    let rest = String::from_utf8_lossy(&client.rest()).into_owned();
    assert!(!rest.contains("\"reactor\""), "{rest}");
    assert_eq!(server.count(Counter::Panics), 0);
}

#[test]
fn a_body_that_breaks_the_rules_is_refused_in_the_words_of_its_dialect() {
    let server = Server::with_examples("", "", "");
    let json = "Content-Type: application/json\r\n";
    let document = format!("PUT {}/resources/liveConfig/game", realtime::PATH);
    let token = format!("POST {}/tokens", realtime::PATH);
    let record = format!("POST {}", endpoints::target(endpoints::OPEN, ""));
    let backend = format!("{json}{}{}", realtime::PROJECT, realtime::SERVICE);
    let not_valid = r#"{"error":"Body not valid"}"#;
    for (line, fields, body) in [
        (record.as_str(), format!("{json}Origin: https://shop.example\r\n"), r#"{"error":"Body not valid."}"#),
        (&document, backend.clone(), not_valid),
        (&token, backend, not_valid),
        ("POST /publish", format!("{json}Authorization: Bearer dev\r\n"), not_valid),
        ("POST /api/events", "Authorization: Bearer dev\r\n".to_owned(), not_valid),
        ("POST /pub?id=a", "Authorization: Bearer dev\r\n".to_owned(), ""),
    ] {
        for chunks in ["0x5\r\nhello\r\n0\r\n\r\n", "5\r\nhelloXX0\r\n\r\n"] {
            let mut client = Client::on(&server, 1);
            client.send(format!("{line} HTTP/1.1\r\nHost: h\r\n{fields}Transfer-Encoding: chunked\r\n\r\n{chunks}"));
            let answer = client.response();
            assert_eq!(
                (answer.status, answer.text(), answer.field("Connection")),
                (400, body, Some("close")),
                "{line}: {}",
                answer.raw
            );
            let reads = answer.field("Access-Control-Allow-Origin");
            assert_eq!(reads, (line == record).then_some("https://shop.example"), "{line}: {}", answer.raw);
            client.expect_end();
        }
    }
    assert_eq!(server.count(Counter::RefusedRequests), 12);
}

#[test]
fn connections_that_come_and_go_leave_nothing() {
    survive("churn", "", |server, reactor| {
        let mut random = Xorshift(77 + reactor as u64);
        for _ in 0..150 {
            let mut client = Client::on(server, reactor);
            match random.below(6) {
                0 => {}
                1 => client.send("GET /longpoll/churn?auth_token=dev HTTP/1.1\r\nHost: h\r\n\r\n"),
                2 => client.send(format!("GET /websocket/churn?auth_token=dev HTTP/1.1\r\n{UPGRADE}\r\n")),
                3 => client.send(format!("GET /websocket/churn.b9?auth_token=dev HTTP/1.1\r\n{UPGRADE}\r\nhalf a frame")),
                4 => client
                    .send("POST /pub?id=churn HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer dev\r\nContent-Length: 3\r\n\r\n[1]"),
                _ => client.send("GET /stream/churn.b9?auth_token=dev HTTP/1.1\r\nHost: h\r\n\r\n"),
            }
            if random.below(2) == 0 {
                client.reset_on_drop();
            }
        }
        Vec::new()
    });
}

#[test]
fn a_flood_of_requests_on_one_connection_is_served_in_turns() {
    survive("pipelining", "", |server, reactor| {
        let mut client = Client::on(server, reactor);
        let mut sender = client.sender();
        let requests = "GET /shortpoll/a?auth_token=dev HTTP/1.1\r\nHost: h\r\n\r\n".repeat(3_000);
        let writer = std::thread::spawn(move || std::io::Write::write_all(&mut sender, requests.as_bytes()));
        for _ in 0..3_000 {
            assert_eq!(client.response().status, 304);
        }
        writer.join().expect("the thread ends").expect("the server takes it");
        vec![client]
    });
    // Frames beyond their rate end the connection.
    survive("a flood of frames", "", |server, reactor| {
        let mut client = Client::on(server, reactor);
        client.upgrade("/websocket/a?auth_token=dev");
        client.try_send(masked(0x81, b"").repeat(5_000));
        let mut frame = client.frame();
        while frame.opcode != 8 {
            frame = client.frame();
        }
        assert_eq!(frame.code(), Some(1008));
        vec![client]
    });
}
