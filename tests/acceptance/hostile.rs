//! Clients that break every rule, one kind after the other, while a well-behaved one goes on receiving.

use crate::client::{Client, Message, masked};
use crate::{REACTORS, dev, eventually, start, wait_for_subscribers};
use fanwire::metrics::Counter;
use fanwire::server::Running;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

fn server() -> Running {
    let mut config = dev();
    config.limits.head_time = Duration::from_millis(300);
    config.limits.body_stall = Duration::from_millis(300);
    config.limits.keep_alive_idle = Duration::from_secs(60);
    config.push_stream.no_progress_timeout = Duration::from_millis(500);
    config.push_stream.max_body_bytes = 64 * 1024;
    start(config)
}

/// Publishes and listens on a channel of its own while `hostile` runs; every message has to come, in order.
fn beside_a_canary(hostile: impl FnOnce(&Running, SocketAddr)) {
    let server = server();
    let address = server.address();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut canary = Client::connect(address);
        canary.upgrade("/websocket/canary?auth_token=dev", "");
        let mut publisher = Client::connect(address);
        wait_for_subscribers(&mut publisher, "dev", "canary", 1);
        let over = &over;
        let singing = scope.spawn(move || {
            let mut number = 0;
            while !over.load(Relaxed) || number < 10 {
                publisher.publish("dev", "canary", &number.to_string());
                assert_eq!(Message::parse(&canary.text()).data, number.to_string());
                number += 1;
            }
        });
        // The singing has to end even if the hostile part fails.
        struct End<'a>(&'a AtomicBool);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.store(true, Relaxed);
            }
        }
        let end = End(over);
        hostile(&server, address);
        drop(end);
        singing.join().unwrap();
    });
    assert_eq!(server.metrics().sum(Counter::Panics), 0);
    // Nothing is left of anybody.
    let count = |counter| server.metrics().sum(counter);
    eventually("every connection has ended", || count(Counter::Accepted) == count(Counter::Ended));
    assert_eq!(count(Counter::WebSocketOpened), count(Counter::WebSocketEnded));
    assert_eq!(count(Counter::Joined), count(Counter::Left));
    assert_eq!(count(Counter::Lagging), count(Counter::LagEnded));
}

#[test]
fn a_hostile_client_costs_only_itself_in_http() {
    beside_a_canary(|server, address| {
        half_a_head(server, address);
        one_byte_at_a_time(address);
        malformed_requests(address);
        bodies_that_lie(address);
        gone_before_the_answer(server, address);
    });
}

#[test]
fn a_hostile_client_costs_only_itself_on_a_websocket() {
    beside_a_canary(|server, address| {
        bad_frames(address);
        a_flood_of_frames(address);
        one_byte_frames(address);
        never_reading_messages(server, address);
        gone_in_the_middle(server, address);
    });
}

/// Requests without an end, and no answer is read: the server reads no further, and keeps a bounded part of the answers.
/// Whoever then reads after all gets each of them.
#[test]
fn a_client_that_reads_no_answers_is_read_no_further() {
    const REQUESTS: usize = 20_000;
    let server = start(dev());
    let address = server.address();
    let mut client = Client::narrow(address);
    let page = client.get("/").body;
    // What the kernel takes, and ours.
    let answers_max = 8 * 1024 * 1024 / page.len() as u64;
    assert!(answers_max < REQUESTS as u64 / 2);
    std::thread::scope(|scope| {
        let mut sender = client.sender();
        scope.spawn(move || sender.write_all("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(REQUESTS).as_bytes()).unwrap());
        let begun = server.metrics().sum(Counter::Requests);
        let mut sentinels: Vec<Client> = (0..REACTORS).map(|reactor| Client::on(address, reactor)).collect();
        // Each of these takes the reactors a turn or more: time enough to read too much.
        for round in 0..1_000 {
            assert_eq!(sentinels[round % REACTORS].get("/shortpoll/a?auth_token=dev").status, 304);
            let read = server.metrics().sum(Counter::Requests) - begun;
            assert!(read < answers_max, "{read} requests of one who takes no answer");
        }
        for number in 0..REQUESTS {
            let answer = client.answer();
            assert_eq!((answer.status, &answer.body), (200, &page), "{number}");
        }
    });
}

fn half_a_head(server: &Running, address: SocketAddr) {
    let timed_out = server.metrics().sum(Counter::TimedOut);
    let mut halves: Vec<Client> = (0..100).map(|_| Client::connect(address)).collect();
    for (number, half) in halves.iter_mut().enumerate() {
        half.send(&"GET /health HTTP/1.1\r\nHost: localhost\r\n"[..number % 40]);
    }
    // Trickling does not help: the time runs from the accept.
    let mut trickling = Client::connect(address);
    trickling.send("GET /health HTTP/1.1\r\n");
    while trickling.try_send("A: b\r\n") {
        std::thread::sleep(Duration::from_millis(20));
    }
    trickling.expect_end();
    halves.iter_mut().for_each(|half| half.expect_end());
    assert_eq!(server.metrics().sum(Counter::TimedOut), timed_out + 101);
}

fn one_byte_at_a_time(address: SocketAddr) {
    let mut client = Client::connect(address);
    for byte in b"POST /pub?id=slow HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer dev\r\nContent-Length: 3\r\n\r\n123" {
        client.send([*byte]);
    }
    let answer = client.answer();
    assert_eq!(answer.status, 200, "{answer:?}");
    for byte in b"GET /shortpoll/slow.b9?auth_token=dev HTTP/1.1\r\nHost: localhost\r\n\r\n" {
        client.send([*byte]);
    }
    assert_eq!(Message::parse(&client.answer().body).data, "123");
}

fn malformed_requests(address: SocketAddr) {
    let long = "x".repeat(100_000);
    let cases = [
        ("\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03\r\n\r\n".to_owned(), 400),
        ("GET /health HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), 400),
        ("GET /health HTTP/3.0\r\nHost: a\r\n\r\n".to_owned(), 505),
        ("POST /pub?id=a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), 400),
        ("POST /pub?id=a HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n".to_owned(), 400),
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        (format!("GET /health HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"), 431),
    ];
    for (request, status) in cases {
        let mut client = Client::connect(address);
        // The server may refuse before it has read everything.
        client.try_send(&request);
        let start: String = request.chars().take(60).collect();
        let answer = client.try_answer().unwrap_or_else(|| panic!("no answer to {start:?}"));
        assert_eq!((answer.status, answer.field("Connection")), (status, Some("close")), "{start:?}");
        assert_eq!(client.rest(), "", "{start:?}");
    }
}

fn bodies_that_lie(address: SocketAddr) {
    let head = "POST /pub?id=lies HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer dev\r\n";
    for (rest, status) in [
        // Announced and never sent; announced beyond every bound; malformed and endless chunks.
        ("Content-Length: 1000\r\n\r\n[1,2", 408),
        ("Content-Length: 999999999999999999\r\n\r\n[", 413),
        ("Content-Length: 99999999999999999999999\r\n\r\n[", 400),
        ("Transfer-Encoding: chunked\r\n\r\nffffffff\r\n[", 413),
        ("Transfer-Encoding: chunked\r\n\r\nzz\r\n[", 400),
        ("Transfer-Encoding: chunked\r\n\r\n1\r\n[\r\n", 408),
    ] {
        let mut client = Client::connect(address);
        client.send(format!("{head}{rest}"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.field("Connection")), (status, Some("close")), "{rest:?}");
        client.expect_end();
    }
    let mut client = Client::connect(address);
    assert_eq!(client.get("/shortpoll/lies.b9?auth_token=dev").status, 304, "nothing was published");
}

fn gone_before_the_answer(server: &Running, address: SocketAddr) {
    for number in 0..200 {
        let mut client = Client::connect(address);
        match number % 4 {
            0 => client.ask("GET", "/longpoll/gone?auth_token=dev", "", ""),
            1 => client.ask("GET", "/stream/gone?auth_token=dev", "", ""),
            2 => client.ask("POST", "/pub?id=gone", "Authorization: Bearer dev\r\n", "1"),
            _ => client.send("GET /health HT"),
        }
        if number % 3 == 0 {
            client.reset_on_close();
        }
    }
    let mut client = Client::connect(address);
    client.publish("dev", "gone", "1");
    wait_for_subscribers(&mut client, "dev", "gone", 0);
    assert_eq!(server.metrics().sum(Counter::Panics), 0);
}

fn open(address: SocketAddr) -> Client {
    let mut client = Client::connect(address);
    client.upgrade("/websocket/frames?auth_token=dev", "");
    client
}

fn bad_frames(address: SocketAddr) {
    let masked_head = |first: u8, length: u64| {
        let mut frame = vec![first, 0x80 | 127];
        frame.extend(length.to_be_bytes());
        frame.extend([1, 2, 3, 4]);
        frame
    };
    let cases = [
        (vec![0x81, 2, b'h', b'i'], 1002),
        (masked_head(0x81, 1 << 40), 1009),
        (masked_head(0x81, i64::MAX as u64), 1009),
        (masked_head(0x81, u64::MAX), 1002),
        (masked(0x89, &[0; 126]), 1002),
        (masked(0xc1, b"hi"), 1002),
        (masked(0x83, b"hi"), 1002),
        (masked(0x80, b"hi"), 1002),
        (masked(0x09, b"hi"), 1002),
        (masked(0x81, b"\xff\xfe"), 1007),
        (masked(0x88, b"\x03"), 1002),
        (masked(0x88, &1005_u16.to_be_bytes()), 1002),
        (masked(0x82, b"hi"), 1003),
        (masked(0x81, &[b' '; 5000]), 1009),
    ];
    for (bytes, code) in cases {
        let mut client = open(address);
        client.send(&bytes);
        let frame = client.try_frame().unwrap_or_else(|| panic!("no close for {bytes:?}"));
        assert_eq!((frame.first, &frame.payload[..2]), (0x88, &u16::to_be_bytes(code)[..]), "{bytes:?}: {frame:?}");
        // What comes behind is dropped, and the connection ends.
        client.try_send(masked(0x89, b"more"));
        client.finish_sending();
        client.expect_end();
    }
}

fn a_flood_of_frames(address: SocketAddr) {
    let mut client = open(address);
    client.send(masked(0x8a, b"").repeat(1_000));
    client.expect_close(1008);
}

fn one_byte_frames(address: SocketAddr) {
    let mut client = open(address);
    for byte in [masked(0x01, b"he"), masked(0x89, b"are you there?"), masked(0x80, b"y")].concat() {
        client.send([byte]);
    }
    let pong = client.try_frame().unwrap();
    assert_eq!((pong.first, &*pong.payload), (0x8a, &b"are you there?"[..]));
    client.send(masked(0x88, &1000_u16.to_be_bytes()));
    client.expect_close(1000);
}

/// Messages without an end, and none is ever read: the client is told that it is too slow, and what it holds is bounded.
fn never_reading_messages(server: &Running, address: SocketAddr) {
    let mut client = Client::narrow(address);
    client.upgrade("/websocket/flood?auth_token=dev", "");
    let mut publisher = Client::connect(address);
    wait_for_subscribers(&mut publisher, "dev", "flood", 1);
    let body = format!("\"{}\"", "x".repeat(60_000));
    eventually("the client is dropped", || {
        publisher.publish("dev", "flood", &body);
        server.metrics().sum(Counter::DroppedTooSlow) == 1
    });
    wait_for_subscribers(&mut publisher, "dev", "flood", 0);
    // What the kernel took is whole messages of its channel, as far as it reaches; then the end.
    while let Some(frame) = client.try_frame() {
        match frame.first {
            0x81 => assert_eq!(Message::parse(&String::from_utf8(frame.payload).unwrap()).data, body),
            _ => assert_eq!((frame.first, &frame.payload[..2]), (0x88, &1008_u16.to_be_bytes()[..])),
        }
    }
}

fn gone_in_the_middle(server: &Running, address: SocketAddr) {
    let body = format!("\"{}\"", "x".repeat(60_000));
    let mut publisher = Client::connect(address);
    for number in 0..100 {
        let mut client = open(address);
        client.send(&masked(0x81, b"half a frame")[..number % 10]);
        publisher.publish("dev", "frames", &body);
        client.cut_after(number * 500);
        assert!(client.try_frame().is_none_or(|frame| frame.first == 0x81));
        if number % 2 == 0 {
            client.reset_on_close();
        }
    }
    wait_for_subscribers(&mut publisher, "dev", "frames", 0);
    assert_eq!(server.metrics().sum(Counter::Panics), 0);
}
