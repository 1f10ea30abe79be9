//! PS-47 to PS-53: heartbeats, pings, and the frames of both sides.

use crate::support::{Client, Mode, Server, masked};

/// PS-47 [D] Channel `ping` delivers heartbeats in the ordinary envelope.
#[test]
fn ps_47_the_channel_ping_delivers_heartbeats_in_the_ordinary_envelope() {
    let server = Server::with("ping_interval = \"0s\"\n");
    server.pass(65.0);
    assert_eq!(server.row("ping"), None, "none without subscribers");
    let mut client = server.subscribe(1, Mode::WebSocket, "a/ping", "").client;
    let begun = server.seconds();
    server.pass(95.0);
    server.settle();
    let mut beats = Vec::new();
    while client.has_bytes() {
        beats.push(client.envelope());
    }
    assert_eq!(beats.len(), 3, "one every 30 s: {beats:?}");
    for (index, beat) in beats.iter().enumerate() {
        assert_eq!((beat.channel.as_str(), beat.message.as_str(), beat.id), ("ping", "{}", index as i64 + 1));
        assert!(beat.seconds > begun && beat.seconds <= server.seconds());
    }
    assert!(beats.windows(2).all(|pair| (29..=31).contains(&(pair[1].seconds - pair[0].seconds))), "{beats:?}");
    // Unstored, a safe cursor, and publishing to the channel stays possible.
    assert_eq!(server.row("ping"), Some((3, 0, 1)));
    server.publish("a/ping", "\"own\"");
    let (first, second) = (client.envelope(), client.envelope());
    assert_eq!((first.channel.as_str(), second.channel.as_str(), second.id), ("a", "ping", 4));
    server.expect_replay(Mode::ShortPoll, "a/ping", &beats[2].cursor(), "", &[first, second]);

    // Waiting polls and the other held modes get them too; name, interval and text are configurable.
    let server = Server::with(
        "ping_interval = \"0s\"\nheartbeat_channel = \"beat\"\nheartbeat_interval = \"2s\"\nheartbeat_text = '{\"up\":true}'\n",
    );
    let mut held: Vec<_> = Mode::HELD.into_iter().map(|mode| server.subscribe(2, mode, "beat", "")).collect();
    let mut poll = server.subscribe(3, Mode::LongPoll, "beat", "");
    server.pass(2.5);
    for subscriber in &mut held {
        assert_eq!(subscriber.envelope().message, "{\"up\":true}");
    }
    assert_eq!(poll.response().envelopes()[0].channel, "beat");
    // Off.
    let server = Server::with("ping_interval = \"0s\"\nheartbeat_channel = \"\"\n");
    let mut client = server.subscribe(2, Mode::WebSocket, "ping", "").client;
    server.pass(65.0);
    server.expect_silence(&mut client);
}

/// PS-48 [R] The server pings `89 00` after the configured silence, counted from the last message.
#[test]
fn ps_48_the_server_pings_after_the_silence_counted_from_the_last_message() {
    let server = Server::start();
    let mut client = server.subscribe(1, Mode::WebSocket, "a", "").client;
    server.pass(29.7);
    server.expect_silence(&mut client);
    server.pass(0.8);
    let ping = client.frame();
    assert_eq!((ping.head, ping.payload), (vec![0x89, 0x00], vec![]));
    client.send(masked(0x8a, b""));
    // 20 s later a message: the silence begins again.
    server.pass(20.0);
    server.publish_on(3, "a", "1");
    client.envelope();
    server.pass(29.5);
    server.expect_silence(&mut client);
    server.pass(1.0);
    assert_eq!(client.frame().head, [0x89, 0x00]);
    client.send(masked(0x8a, b""));

    // The interval is configurable; each ping begins the silence anew.
    let server = Server::with("ping_interval = \"2s\"\n");
    let mut client = server.subscribe(1, Mode::WebSocket, "a", "").client;
    let mut tenths_since = 0;
    let mut pings = 0;
    for _ in 0..110 {
        server.pass(0.1);
        tenths_since += 1;
        server.settle();
        if client.has_bytes() {
            assert_eq!(client.frame().head, [0x89, 0x00]);
            assert!((20..=22).contains(&tenths_since), "{tenths_since} tenths of a second");
            client.send(masked(0x8a, b""));
            (tenths_since, pings) = (0, pings + 1);
        }
    }
    assert_eq!(pings, 5);
    let server = Server::with("ping_interval = \"0s\"\n");
    let mut client = server.subscribe(1, Mode::WebSocket, "a", "").client;
    server.pass(70.0);
    server.expect_silence(&mut client);
}

/// PS-49 [F] A peer that answers no ping within `pong_timeout` is closed.
#[test]
fn ps_49_a_peer_that_answers_no_ping_is_closed() {
    let server = Server::start();
    let mut mute = server.subscribe(1, Mode::WebSocket, "a", "").client;
    let mut ponging = server.subscribe(1, Mode::WebSocket, "a", "").client;
    let mut talking = server.subscribe(1, Mode::WebSocket, "a", "").client;
    server.pass(30.5);
    for client in [&mut mute, &mut ponging, &mut talking] {
        assert_eq!(client.frame().head, [0x89, 0x00]);
    }
    ponging.send(masked(0x8a, b""));
    // Any other byte proves life as well.
    talking.send(masked(0x81, b"hello"));
    server.settle();
    server.pass(29.0);
    assert!(server.subscribers("a") == 3 && !mute.has_bytes(), "not before the time");
    server.pass(1.5);
    mute.expect_close(1001, "");
    server.wait_for_subscribers("a", 2);
    server.publish("a", "1");
    for client in [&mut ponging, &mut talking] {
        let mut frame = client.frame();
        if frame.opcode == 9 {
            frame = client.frame();
        }
        assert_eq!(frame.opcode, 1, "the others live on");
    }
    let server = Server::with("pong_timeout = \"0s\"\n");
    let mut client = server.subscribe(1, Mode::WebSocket, "a", "").client;
    server.pass(95.0);
    server.settle();
    while client.has_bytes() {
        assert_eq!(client.frame().head, [0x89, 0x00], "pings, and no end");
    }
    assert_eq!(server.subscribers("a"), 1);
}

/// PS-50 [F] Many client pings in one segment each get a pong with their payload.
#[test]
fn ps_50_many_pings_in_one_segment_each_get_their_pong() {
    let server = Server::start();
    let mut client = server.subscribe(1, Mode::WebSocket, "a", "").client;
    let payloads: Vec<Vec<u8>> = (0..30u8).map(|n| vec![n; usize::from(n) * 4]).chain([vec![0xff; 125]]).collect();
    let segment: Vec<u8> = payloads.iter().flat_map(|payload| masked(0x89, payload)).collect();
    client.send(&segment);
    for payload in &payloads {
        let pong = client.frame();
        assert_eq!((pong.head[0], &pong.payload), (0x8a, payload));
    }
    // Between the fragments of a message too.
    client.send([masked(0x01, b"frag"), masked(0x89, b"between"), masked(0x80, b"ment")].concat());
    let pong = client.frame();
    assert_eq!((pong.head[0], pong.payload.as_slice()), (0x8a, &b"between"[..]));
    // An unasked pong gets no answer.
    client.send(masked(0x8a, b"unasked"));
    server.expect_silence(&mut client);
}

/// PS-51 [F] Unmasked, RSV, reserved, oversized control, oversized and non-UTF-8 frames are closed with 1002, 1002, 1002, 1002,
/// 1009 and 1007.
#[test]
fn ps_51_frames_that_break_the_rules_are_closed_with_their_code() {
    let server = Server::start();
    let announced = |length: u64| [&[0x81, 0xff][..], &length.to_be_bytes(), &[1, 2, 3, 4]].concat();
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("unmasked text", vec![0x81, 0x02, b'h', b'i'], 1002),
        ("RSV1", masked(0xc1, b"hi"), 1002),
        ("RSV2", masked(0xa1, b"hi"), 1002),
        ("RSV3", masked(0x91, b"hi"), 1002),
        ("opcode 3", masked(0x83, b"hi"), 1002),
        ("opcode 7", masked(0x87, b"hi"), 1002),
        ("opcode 11", masked(0x8b, b"hi"), 1002),
        ("opcode 15", masked(0x8f, b"hi"), 1002),
        ("ping of 126 bytes", masked(0x89, &[0; 126]), 1002),
        ("close of 126 bytes", masked(0x88, &[0; 126]), 1002),
        ("fragmented ping", masked(0x09, b""), 1002),
        ("continuation without start", masked(0x80, b"hi"), 1002),
        ("text inside a fragmented text", [masked(0x01, b"a"), masked(0x81, b"b")].concat(), 1002),
        ("close with one byte", masked(0x88, &[3]), 1002),
        ("close with code 999", masked(0x88, &999u16.to_be_bytes()), 1002),
        ("close with code 1005", masked(0x88, &1005u16.to_be_bytes()), 1002),
        ("close with code 5000", masked(0x88, &5000u16.to_be_bytes()), 1002),
        ("length in a longer form than needed", [&[0x81, 0xfe, 0, 2][..], &[0, 0, 0, 0, b'h', b'i']].concat(), 1002),
        ("length with the top bit", announced(1 << 63), 1002),
        ("garbage", b"GET / HTTP/1.1\r\n\r\n".to_vec(), 1002),
        ("a length announced beyond the limit", announced(69_633), 1009),
        ("message of 4097 bytes", masked(0x81, &[b'x'; 4097]), 1009),
        ("fragments of 4097 bytes together", [masked(0x01, &[b'x'; 4000]), masked(0x80, &[b'x'; 97])].concat(), 1009),
        ("text that is not UTF-8", masked(0x81, b"a\xff"), 1007),
        ("text with half a character at its end", masked(0x81, b"a\xc3"), 1007),
        ("close reason that is not UTF-8", masked(0x88, b"\x03\xe8\xff"), 1007),
        ("binary", masked(0x82, b"hi"), 1003),
    ];
    for (what, bytes, code) in cases {
        let mut client = Client::on(&server, 1);
        client.upgrade("/websocket/a?auth_token=dev");
        client.send(&bytes);
        let frame = client.frame();
        assert_eq!((frame.head[0], frame.code()), (0x88, Some(code)), "{what}: {frame:?}");
        client.finish_sending();
        client.expect_end();
    }
    // Exactly the limit is fine.
    let mut client = Client::on(&server, 1);
    client.upgrade("/websocket/a?auth_token=dev");
    client.send(masked(0x81, &[b'x'; 4096]));
    client.send([masked(0x01, &[b'x'; 4000]), masked(0x80, &[b'x'; 96])].concat());
    client.send([masked(0x01, b"\xc3"), masked(0x80, b"\xa9")].concat());
    server.expect_silence(&mut client);
    // A close is answered with the same code, an empty one with an empty one.
    client.send(masked(0x88, b"\x0f\xa0bye"));
    client.expect_close(4000, "");
    let mut client = Client::on(&server, 1);
    client.upgrade("/websocket/a?auth_token=dev");
    client.send(masked(0x88, b""));
    client.expect_close(0, "");
    server.wait_for_subscribers("a", 0);
}

/// PS-52 [R] Client text on a subscribe-only connection changes nothing for anybody.
#[test]
fn ps_52_client_text_changes_nothing_for_anybody() {
    let server = Server::start();
    let mut talker = server.subscribe(1, Mode::WebSocket, "a", "").client;
    let mut listener = server.subscribe(2, Mode::WebSocket, "a", "").client;
    let mut poll = server.subscribe(3, Mode::LongPoll, "a", "").client;
    for text in ["from-ws", "{\"channel\":\"a\",\"message\":1}", "", "{\"id\":1}"] {
        talker.send(masked(0x81, text.as_bytes()));
    }
    for client in [&mut talker, &mut listener, &mut poll] {
        server.expect_silence(client);
    }
    assert_eq!(server.row("a"), Some((0, 0, 3)));
    server.publish("a", "1");
    assert_eq!((talker.envelope().id, listener.envelope().id), (1, 1));
    assert_eq!(poll.response().envelopes()[0].id, 1);
}

/// PS-53 [R] Frames use the shortest length form (checked at 125, 126, 65535 and 65536 bytes).
#[test]
fn ps_53_frames_use_the_shortest_length_form() {
    let server = Server::with("message_template = \"~text~\"\n");
    let mut client = server.subscribe(1, Mode::WebSocket, "a", "").client;
    let cases: [(usize, &[u8]); 6] = [
        (2, &[0x81, 2]),
        (125, &[0x81, 125]),
        (126, &[0x81, 126, 0, 126]),
        (65_535, &[0x81, 126, 0xff, 0xff]),
        (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        (70_000, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]),
    ];
    for (length, head) in cases {
        let text = format!("\"{}\"", "y".repeat(length - 2));
        server.publish_on(2, "a", &text);
        let frame = client.frame();
        assert_eq!(frame.head, head, "{length}");
        assert_eq!(frame.payload, text.as_bytes(), "{length}");
    }
}
