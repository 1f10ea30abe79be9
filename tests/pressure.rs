//! Back-pressure and races that no single statement names: many listeners, readers slower than the publisher, ends in the middle.

mod support;

use fanwire::metrics::Counter;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::client::UPGRADE;
use support::{Caller, Client, Door, Envelope, Mode, Server, Subscriber, Xorshift, epoch, masked};

const JSON: &str = "Content-Type: application/json\r\n";

fn body(number: usize, bytes: usize) -> String {
    let filler: String = (0..bytes).map(|at| char::from(b'a' + ((number * 7 + at) % 26) as u8)).collect();
    format!("\"{number} {filler}\"")
}

/// More listeners than are flushed at once, of which some leave in the middle: everyone else gets everything in order.
#[test]
fn a_crowd_gets_every_message_in_order_while_some_leave() {
    let server = Server::start();
    let mut crowd: Vec<Client> = Vec::new();
    while crowd.len() < 1_600 {
        // All on one reactor: more than are served promptly.
        let mut client = Client::on(&server, 1);
        client.send(format!("GET /websocket/crowd?auth_token=dev HTTP/1.1\r\n{UPGRADE}\r\n"));
        crowd.push(client);
    }
    for client in &mut crowd {
        assert_eq!(client.response().status, 101);
    }
    server.wait_for_subscribers("crowd", 1_600);
    let mut other = server.subscribe(1, Mode::WebSocket, "few", "").client;
    let mut random = Xorshift(1_600);
    let door: Door = *server;
    std::thread::scope(|threads| {
        let publisher = threads.spawn(move || {
            let mut caller = Caller::new(&door, 2);
            for number in 0..120 {
                caller.publish("crowd", &body(number, 300));
                if number % 10 == 0 {
                    caller.publish("few", "1");
                }
            }
        });
        // A third leaves while messages are on their way.
        for _ in 0..530 {
            let gone = random.below(crowd.len() as u64) as usize;
            crowd.swap_remove(gone);
        }
        publisher.join().unwrap();
    });
    for client in &mut crowd {
        for number in 0..120 {
            let envelope = client.envelope();
            assert_eq!((envelope.id, envelope.message), (number as i64 + 1, body(number, 300)));
        }
    }
    for id in 1..=12 {
        assert_eq!(other.envelope().id, id);
    }
    server.wait_for_subscribers("crowd", crowd.len() as u64);
    assert_eq!(server.count(Counter::Encodings), 120 + 12, "one encoding per message, whoever listens");
}

/// Readers slower than the publisher fall behind and catch up again and again, and see every message once and in order,
/// unstored ones too.
#[test]
fn slow_readers_that_go_on_reading_miss_nothing() {
    for seed in 1..=3 {
        let server = Server::start();
        let door: Door = *server;
        const MESSAGES: usize = 900;
        let published = AtomicUsize::new(0);
        let mut readers: Vec<(Client, [&str; 2])> = Vec::new();
        for (reactor, channels) in [(0, ["x", "y"]), (1, ["y", "z"]), (1, ["z", "x"]), (2, ["x", "z"])] {
            let mut client = Client::with_small_buffer(&server, reactor, 4_096);
            client.upgrade(&format!("/websocket/{}?auth_token=dev", channels.join("/")));
            readers.push((client, channels));
        }
        server.wait_until("all are there", |server| server.summary()["subscribers"] == 4);
        let mut random = Xorshift(seed);
        let plan: Vec<(&str, String, bool)> = (0..MESSAGES)
            .map(|number| {
                let channel = ["x", "y", "z"][random.below(3) as usize];
                (channel, body(number, 2_000 + random.below(14_000) as usize), random.below(4) > 0)
            })
            .collect();
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let mut caller = Caller::new(&door, 3);
                for (channel, text, store) in &plan {
                    let body = format!("{{\"topic\":\"{channel}\",\"data\":{text},\"store\":{store}}}");
                    assert_eq!(caller.post("/publish", JSON, body.as_bytes()).status, 200);
                    published.fetch_add(1, Ordering::Relaxed);
                }
            });
            for (number, (client, channels)) in readers.iter_mut().enumerate() {
                let (plan, published) = (&plan, &published);
                threads.spawn(move || {
                    let mut random = Xorshift(seed * 100 + number as u64);
                    let wanted: Vec<&(&str, String, bool)> =
                        plan.iter().filter(|(channel, ..)| channels.contains(channel)).collect();
                    for (index, (channel, text, _)) in wanted.iter().enumerate() {
                        // Sometimes it waits until the publisher is far ahead, sometimes it answers in between.
                        if random.below(60) == 0 {
                            let ahead = (published.load(Ordering::Relaxed) + 200).min(MESSAGES);
                            while published.load(Ordering::Relaxed) < ahead {
                                std::thread::yield_now();
                            }
                        }
                        let envelope = client.envelope();
                        assert_eq!(
                            (envelope.channel.as_str(), &envelope.message),
                            (*channel, text),
                            "seed {seed}, reader {number}, message {index}"
                        );
                    }
                });
            }
        });
        for (client, _) in &mut readers {
            server.expect_silence(client);
        }
        assert!(server.count(Counter::Lagging) > 0, "seed {seed}: the readers fell behind");
        assert_eq!(server.count(Counter::DroppedTooSlow), 0, "seed {seed}");
    }
}

/// What a lagging reader had not taken of a deleted channel is a loss: it is told so by a close, never by silence.
#[test]
fn deletion_under_a_lagging_reader_is_no_silent_gap() {
    let server = Server::start();
    let mut slow = Client::with_small_buffer(&server, 1, 2_048);
    slow.upgrade("/websocket/a/b?auth_token=dev");
    server.wait_for_subscribers("a", 1);
    for number in 0..600 {
        server.publish(["a", "b"][number % 2], &body(number, 14_000));
    }
    server.settle();
    assert_eq!(server.count(Counter::Lagging), 1);
    server.delete("a");
    for number in 600..620 {
        server.publish("b", &body(number, 100));
    }
    let mut expected = 0;
    loop {
        let frame = slow.frame();
        if frame.opcode == 8 {
            assert_eq!(frame.code(), Some(1008));
            break;
        }
        let envelope = Envelope::parse(std::str::from_utf8(&frame.payload).unwrap());
        assert!(envelope.id > 0, "{}", envelope.text);
        assert_eq!(envelope.message, body(expected, 14_000), "no hole before the close");
        expected += 1;
    }
    assert!(expected < 600);
    server.wait_for_subscribers("b", 0);

    // A reader that is behind on another channel only goes on.
    let mut slow = Client::with_small_buffer(&server, 1, 2_048);
    slow.upgrade("/websocket/quiet/c?auth_token=dev");
    server.wait_for_subscribers("c", 1);
    for number in 0..600 {
        server.publish("c", &body(number, 14_000));
    }
    server.delete("quiet");
    server.publish("c", "\"last\"");
    let mut seen = Vec::new();
    for _ in 0..602 {
        seen.push(slow.envelope());
    }
    assert_eq!(seen.iter().filter(|envelope| envelope.id == -2).count(), 1);
    let messages: Vec<&Envelope> = seen.iter().filter(|envelope| envelope.id > 0).collect();
    assert_eq!(messages.iter().map(|envelope| envelope.id).collect::<Vec<_>>(), (1..=601).collect::<Vec<_>>());
    assert_eq!(messages[600].message, "\"last\"");
}

/// Bytes behind an upgrade request in the same segment are its first frames.
#[test]
fn frames_behind_the_handshake_in_one_segment_are_taken() {
    let server = Server::with("allow_publish = true\n");
    for cut in [0, 1, 7] {
        let mut client = Client::on(&server, 1);
        let mut bytes = format!("GET /websocket/a{cut}?auth_token=dev HTTP/1.1\r\n{UPGRADE}\r\n").into_bytes();
        bytes.extend(masked(0x89, b"early"));
        bytes.extend(masked(0x81, b"[1]"));
        bytes.extend(masked(0x81, b"[2]"));
        let split = bytes.len() - cut;
        client.send(&bytes[..split]);
        server.settle();
        client.send(&bytes[split..]);
        assert_eq!(client.response().status, 101);
        assert_eq!(client.frame().payload, b"early");
        assert_eq!((client.envelope().message, client.envelope().message), ("[1]".into(), "[2]".into()), "cut {cut}");
        server.expect_silence(&mut client);
        assert_eq!(server.row(&format!("a{cut}")), Some((2, 2, 1)));
    }
}

/// One connection after the other request: stream, poll, publication, websocket.
#[test]
fn one_connection_serves_one_request_after_the_other() {
    let server = Server::start();
    let mut client = Client::on(&server, 1);
    for round in 0..5 {
        client.send_get(&format!("/stream/s{round}?auth_token=dev"), "");
        assert_eq!(client.head().status, 200);
        server.wait_for_subscribers(&format!("s{round}"), 1);
        server.publish(&format!("s{round}"), "1");
        assert_eq!(Envelope::parse(std::str::from_utf8(&client.chunk()).unwrap().trim_end()).id, 1);
        server.delete(&format!("s{round}"));
        assert_eq!(Envelope::parse(std::str::from_utf8(&client.chunk()).unwrap().trim_end()).id, -2);
        assert_eq!(client.chunk(), b"");
        // The old channel is not listened to any more.
        server.publish(&format!("s{round}"), "2");
        client.send_get("/longpoll/l?auth_token=dev", "");
        server.wait_for_subscribers("l", 1);
        server.publish("l", "3");
        let answer = client.response();
        assert!(answer.envelopes().iter().all(|envelope| envelope.channel == "l"), "{}", answer.text());
        client.send("POST /pub?id=p HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer dev\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
        assert_eq!(client.response().status, 100);
        client.send("1");
        assert_eq!(client.response().status, 200);
        server.advance(1.0);
    }
    // HTTP/1.1 with `Connection: close` is obeyed, on a poll that waited too.
    let mut closing = Client::on(&server, 2);
    closing.send_get("/longpoll/close?auth_token=dev", "Connection: close\r\n");
    server.wait_for_subscribers("close", 1);
    server.publish("close", "1");
    let answer = closing.response();
    assert_eq!((answer.status, answer.field("Connection")), (200, Some("close")));
    closing.expect_end();
    client.upgrade("/websocket/l?auth_token=dev");
    server.settle();
    server.publish("l", "4");
    assert_eq!(client.envelope().message, "4");
    // A stream for HTTP/1.0 lasts until the end of the connection, without chunks.
    let mut old = Client::on(&server, 3);
    old.send("GET /stream/old?auth_token=dev HTTP/1.0\r\n\r\n");
    let head = old.head();
    assert_eq!(
        (head.field("Transfer-Encoding"), head.field("Content-Length"), head.field("Connection")),
        (None, None, Some("close"))
    );
    server.wait_for_subscribers("old", 1);
    server.publish("old", "1");
    server.delete("old");
    let text = String::from_utf8(old.rest()).unwrap();
    let ids: Vec<i64> = text.lines().map(|line| Envelope::parse(line).id).collect();
    assert_eq!(ids, [1, -2]);
}

/// Ages go by the clock that does not step.
#[test]
fn a_stepping_wall_clock_expires_nothing_and_ends_no_wait() {
    let server = Server::start();
    server.publish("a", "1");
    let mut poll = server.subscribe(1, Mode::LongPoll, "a", "").client;
    let mut held = server.subscribe(2, Mode::WebSocket, "a", "").client;
    for step in [86_400_000_000i64, -2 * 86_400_000_000, 3_600_000_000] {
        server.set_wall((server.seconds() as i64 * 1_000_000 + step) as u64);
        server.pass(1.0);
        for client in [&mut poll, &mut held] {
            server.expect_silence(client);
        }
        assert_eq!(server.stored("a").len(), 1, "messages keep their age");
    }
    server.pass(22.3);
    let answer = poll.response();
    assert_eq!(answer.status, 304, "25 s after it came");
    // The cursor is the server's newest stamp, not the clock's.
    server.publish("a", "2");
    let news = Client::on(&server, 3).get(&format!("/shortpoll/a?auth_token=dev&{}", answer.cursor()));
    assert_eq!((news.envelopes().len(), news.has_gap()), (1, false));
    assert_eq!(held.envelope().message, "2");
}

/// Values at the ends of their ranges are cursors like others.
#[test]
fn cursors_at_the_ends_of_their_ranges_do_no_harm() {
    let server = Server::start();
    server.publish("a", "1");
    for query in [
        "eventid=18446744073709551615:18446744073709551615",
        "eventid=18446744073709551616:1",
        "eventid=0:0",
        "eventid=0:18446744073709551615",
        "eventid=:",
        "eventid=1:",
        "eventid=%00",
        "tag=18446744073709551615&time=Fri,+31+Dec+9999+23:59:59+GMT",
        "tag=18446744073709551615&time=Fri,+20+Nov+2026+16:17:47+GMT",
        "tag=4294967296&time=Fri,+20+Nov+2026+16:17:47+GMT",
        "tag=4294967295&time=Fri,+20+Nov+2026+16:17:46+GMT",
        "tag=18446744073709551615&time=Thu,+01+Jan+1970+00:00:00+GMT",
        "tag=1&time=Thu,+01+Jan+1970+00:00:01+GMT",
        "time=Sat,+30+Feb+2026+00:00:00+GMT",
        "time=Fri,+20+Nov+2026+25:61:61+GMT",
    ] {
        for mode in Mode::ALL {
            let mut subscriber = Subscriber::begin(&server, 1, mode, "a", query, "");
            server.settle();
            if mode == Mode::ShortPoll {
                assert!([200, 304].contains(&subscriber.response().status), "{query}");
            }
        }
        let epoch = epoch();
        assert_eq!(Client::on(&server, 2).get(&format!("/shortpoll/a?auth_token=dev&{epoch}")).envelopes().len(), 1);
    }
    assert_eq!(server.count(Counter::Panics), 0);
}

/// A reader that takes a byte now and then is not too slow: the time runs from the last byte it took.
#[test]
fn a_reader_that_takes_a_little_now_and_then_is_kept() {
    let server = Server::with("no_progress_timeout = \"4s\"\n");
    let client = Client::with_small_buffer(&server, 1, 4_096);
    let mut socket = client.sender();
    let mut client = client;
    client.upgrade("/websocket/a?auth_token=dev");
    server.wait_for_subscribers("a", 1);
    for number in 0..900 {
        server.publish("a", &body(number, 16_000));
    }
    let mut taken = 0;
    for _ in 0..10 {
        server.pass(3.0);
        // As much as makes the kernel ask for more.
        let mut piece = vec![0; 1 << 20];
        let mut progress = 0;
        while progress < 1_000_000 {
            progress += socket.read(&mut piece).unwrap();
        }
        taken += progress;
        server.settle();
        assert_eq!(server.subscribers("a"), 1, "after {taken} bytes");
    }
    server.pass(3.0);
    assert_eq!(server.subscribers("a"), 1);
    server.pass(4.0);
    server.wait_for_subscribers("a", 0);
}

/// A full window that moves all the time is no reason to turn away one who asks for everything: what is gone is gone before
/// the request, what is kept is sent.
#[test]
fn a_moving_window_still_answers_those_who_come_from_far_back() {
    let server = Server::with("max_stored_messages = 300\ngap_notice = true\n");
    let door: Door = *server;
    for number in 0..300 {
        server.publish("busy", &number.to_string());
    }
    let stop = AtomicUsize::new(0);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let mut caller = Caller::new(&door, 2);
            while stop.load(Ordering::Relaxed) == 0 {
                caller.publish("busy", "1");
            }
        });
        let outcome = std::panic::catch_unwind(|| {
            for round in 0..40 {
                for mode in Mode::ALL {
                    let mut subscriber = Subscriber::begin(&door, round % 2, mode, "busy", &epoch(), "");
                    let ids: Vec<i64> = match mode {
                        Mode::LongPoll | Mode::ShortPoll => {
                            subscriber.response().envelopes().iter().map(|envelope| envelope.id).collect()
                        }
                        _ => (0..250).map(|_| subscriber.envelope().id).collect(),
                    };
                    assert!(ids.len() >= 250, "{mode:?}: {} messages", ids.len());
                    assert!(ids.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{mode:?}, round {round}: a hole");
                }
            }
        });
        stop.store(1, Ordering::Relaxed);
        outcome.expect("everybody was answered");
    });
}
