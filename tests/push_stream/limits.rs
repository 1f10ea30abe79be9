//! PS-66 and PS-67: slow subscribers.

use crate::support::{Client, Mode, Server};
use fanwire::metrics::Counter;

/// A websocket that reads nothing, with the smallest receive buffer.
fn never_reading(server: &Server, reactor: usize, channels: &str) -> Client {
    let mut client = Client::with_small_buffer(server, reactor, 2_048);
    client.upgrade(&format!("/websocket/{channels}?auth_token=dev"));
    client
}

fn body(number: usize, bytes: usize) -> String {
    let filler: String = (0..bytes).map(|at| char::from(b'a' + ((number * 7 + at) % 26) as u8)).collect();
    format!("\"{number} {filler}\"")
}

/// PS-66 [F] A subscriber that stops reading is closed within `no_progress_timeout` although messages keep coming, others see
/// no delay, and its memory returns.
#[test]
fn ps_66_a_subscriber_that_stops_reading_is_closed_although_messages_keep_coming() {
    let server = Server::start();
    let mut fast = server.subscribe(1, Mode::WebSocket, "a", "").client;
    let mut slow = never_reading(&server, 1, "a");
    let mut slow_stream = Client::with_small_buffer(&server, 1, 2_048);
    slow_stream.send_get("/stream/a?auth_token=dev", "");
    slow_stream.head();
    server.wait_for_subscribers("a", 3);
    // Past the kernel's buffers, several MiB.
    for number in 0..700 {
        server.publish_on(2, "a", &body(number, 16_384));
        assert_eq!(fast.envelope().id, number as i64 + 1, "the fast one gets each message before the next is published");
    }
    server.settle();
    assert_eq!(server.count(Counter::Lagging), 2);
    // Messages keep coming; the time runs from the last byte that the slow ones took.
    for second in 0..28 {
        server.pass(1.0);
        server.publish_on(3, "a", "\"more\"");
        let frame = fast.frame();
        assert!(frame.opcode == 1 || fast.frame().opcode == 1);
        assert_eq!(server.subscribers("a"), 3, "second {second}");
    }
    for _ in 0..3 {
        server.pass(1.0);
        server.publish_on(3, "a", "\"more\"");
        let frame = fast.frame();
        assert!(frame.opcode == 1 || fast.frame().opcode == 1);
    }
    // 31 s: closed. What the close waits for ends with the close time.
    server.pass(2.5);
    server.wait_for_subscribers("a", 1);
    assert_eq!(server.count(Counter::DroppedTooSlow), 2);
    assert_eq!(server.metrics().hub.subscriptions.load(std::sync::atomic::Ordering::Relaxed), 1);
    // Both sockets end; what came is a clean beginning of the log, perhaps with the close at its end.
    let mut expected = 1;
    let rest = slow.rest();
    let mut frames = &rest[..];
    while frames.len() > 10 {
        let (head, length) = match (frames[0], frames[1]) {
            (0x81, 126) => (4, usize::from(u16::from_be_bytes([frames[2], frames[3]]))),
            (0x81, short) if short < 126 => (2, usize::from(short)),
            (0x88, short) => {
                assert_eq!(&frames[2..4], &1008u16.to_be_bytes());
                let reason = String::from_utf8_lossy(&frames[4..2 + usize::from(short)]).into_owned();
                assert_eq!(reason, "{\"http_status\": 503, \"explain\":\"Subscriber is too slow.\"}");
                assert_eq!(frames.len(), 2 + usize::from(short), "nothing follows a close");
                break;
            }
            (0x89, 0) => (2, 0),
            other => panic!("{other:x?} is no frame of this connection"),
        };
        if frames.len() < head + length {
            break;
        }
        if length > 0 {
            let text = std::str::from_utf8(&frames[head..head + length]).unwrap();
            assert!(text.starts_with(&format!("{{\"id\":{expected},\"channel\":\"a\"")), "{}", &text[..60]);
            expected += 1;
        }
        frames = &frames[head + length..];
    }
    assert!(expected > 1 && expected < 700, "{expected}");
    // A stream ends without the last chunk.
    assert!(!slow_stream.rest().ends_with(b"0\r\n\r\n"));
    // Everybody else goes on.
    server.publish("a", "\"end\"");
    assert_eq!(fast.envelope().message, "\"end\"");
}

/// PS-67 [F] A slow subscriber only ever sees frames of its own channels, byte for byte, in order and without a hole.
#[test]
fn ps_67_a_slow_subscriber_sees_its_own_channels_byte_for_byte_without_a_hole() {
    let server = Server::start();
    let mut slow = [
        (never_reading(&server, 1, "x/z"), ["x", "z"]),
        (never_reading(&server, 1, "y/z"), ["y", "z"]),
        (never_reading(&server, 2, "z/x"), ["z", "x"]),
    ];
    server.wait_for_subscribers("z", 3);
    let mut log = Vec::new();
    let mut publish = |from: usize, to: usize| {
        for number in from..to {
            let channel = ["x", "y", "z", "other"][(number * number + number / 3) % 4];
            let text = body(number, 9_000 + number % 5_000);
            server.publish_on(3, channel, &text);
            log.push((channel, text));
        }
    };
    publish(0, 900);
    server.settle();
    assert!(server.count(Counter::Lagging) >= 3, "past the kernel's buffers and their own");
    // One of them reads a little in between, while more is published.
    let mut early = Vec::new();
    for _ in 0..40 {
        early.push(slow[0].0.envelope());
    }
    publish(900, 1_200);
    let expected: Vec<_> = server.stored_log("x/y/z");
    for (index, (client, channels)) in slow.iter_mut().enumerate() {
        let mut came = if index == 0 { std::mem::take(&mut early) } else { Vec::new() };
        let wanted: Vec<_> = expected.iter().filter(|envelope| channels.contains(&envelope.channel.as_str())).collect();
        while came.len() < wanted.len() {
            came.push(client.envelope());
        }
        assert!(came.iter().zip(&wanted).all(|(came, wanted)| came == *wanted), "client {index}: byte for byte and in order");
        server.expect_silence(client);
    }
    let texts = log.iter().filter(|(channel, _)| *channel != "other").map(|(_, text)| text.as_str());
    assert!(expected.iter().map(|envelope| envelope.message.as_str()).eq(texts));
    // Caught up: live again.
    assert_eq!(server.count(Counter::DroppedTooSlow), 0);
    server.publish("z", "\"live\"");
    for (client, _) in &mut slow {
        assert_eq!(client.envelope().message, "\"live\"");
    }
}
