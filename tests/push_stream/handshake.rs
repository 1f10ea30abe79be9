//! PS-1 to PS-7: the handshake, the envelope, and the one order of the server.

use crate::support::client::UPGRADE;
use crate::support::{Client, Mode, Server, Xorshift, date};
use std::sync::atomic::{AtomicBool, Ordering};

/// PS-1 [D] `GET /websocket/a/b?auth_token=T` with a valid upgrade gives 101 and the right `Sec-WebSocket-Accept`.
#[test]
fn ps_01_a_valid_upgrade_gives_101_and_the_right_accept() {
    let server = Server::start();
    for (key, version) in [("dGhlIHNhbXBsZSBub25jZQ==", 13), ("AAAAAAAAAAAAAAAAAAAAAA==", 13), ("x3JJHMbDL1EzLkh9GBhXDw==", 8)] {
        let mut client = Client::on(&server, 1);
        client.send(format!(
            "GET /websocket/a/b?auth_token=dev HTTP/1.1\r\nHost: localhost\r\nupgrade: h2c, WebSocket\r\n\
             connection: keep-alive, uPGRADE\r\nsec-websocket-key: {key}\r\nsec-websocket-version: {version}\r\n\r\n"
        ));
        let answer = client.response();
        assert_eq!(answer.status_line(), "HTTP/1.1 101 Switching Protocols");
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        assert_eq!(answer.field("Sec-WebSocket-Accept"), Some(accept.as_str()));
        // Both channels of the path are joined.
        server.settle();
        server.publish_on(2, "a", "1");
        server.publish_on(3, "b", "2");
        assert_eq!(client.envelope().channel, "a");
        assert_eq!(client.envelope().channel, "b");
    }
}

/// PS-2 [R] The 101 has exactly the five fields of §7.1 in that order, with `Upgrade: WebSocket`, and echoes no subprotocol
/// or extension.
#[test]
fn ps_02_the_101_has_five_fields_and_echoes_nothing() {
    let server = Server::start();
    for (version, offers) in [
        ("1.1", ""),
        ("1.1", "Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"),
        // HTTP/1.0 is accepted, and answered as 1.1.
        ("1.0", ""),
    ] {
        let mut client = Client::on(&server, 0);
        client.send(format!("GET /websocket/a?auth_token=dev HTTP/{version}\r\n{UPGRADE}{offers}\r\n"));
        assert_eq!(
            client.response().raw,
            "HTTP/1.1 101 Switching Protocols\r\n\
             Expires: Thu, 01 Jan 1970 00:00:01 GMT\r\n\
             Cache-Control: no-cache, no-store, must-revalidate\r\n\
             Upgrade: WebSocket\r\n\
             Connection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            "HTTP/{version} {offers}"
        );
    }
}

/// PS-3 [D] A message published to `a` arrives as one text frame in the document's form with the payload as raw JSON.
#[test]
fn ps_03_a_message_arrives_as_one_text_frame_in_the_documents_form() {
    let server = Server::start();
    let mut client = server.subscribe(1, Mode::WebSocket, "a", "").client;
    server.publish_on(3, "a", r#"{"n":1,"s":"ä\u00e4","list":[1.50,null,true]}"#);
    let expected = format!(
        r#"{{"id":1,"channel":"a","message":{{"n":1,"s":"ä\u00e4","list":[1.50,null,true]}},"tag":"1","time":"{}"}}"#,
        date(server.seconds())
    );
    let frame = client.frame();
    assert_eq!(String::from_utf8(frame.payload).unwrap(), expected);
    assert_eq!(frame.head, [0x81, 126, 0, expected.len() as u8]);
    server.expect_silence(&mut client);
}

/// PS-4 [R] `id` is a JSON number counting per channel from 1 while `tag` and `time` are strings, `time` in IMF-fixdate.
#[test]
fn ps_04_ids_are_numbers_per_channel_and_tag_and_time_are_strings() {
    let server = Server::start();
    let mut client = server.subscribe(2, Mode::WebSocket, "a/b", "").client;
    for channel in ["a", "b", "a", "a", "b"] {
        server.publish(channel, "{}");
    }
    let mut ids = Vec::new();
    for _ in 0..5 {
        let text = client.text();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(value["id"].is_u64() && value["tag"].is_string() && value["time"].is_string(), "{text}");
        assert_eq!(value["time"], date(server.seconds()), "IMF-fixdate");
        ids.push((value["channel"].as_str().unwrap().to_owned(), value["id"].as_u64().unwrap()));
    }
    let expected = [("a", 1), ("b", 1), ("a", 2), ("a", 3), ("b", 2)];
    assert_eq!(ids, expected.map(|(channel, id)| (channel.to_owned(), id)));
}

/// PS-5 [R] Within one second tags increase by one over all channels, and the first message of a new second has tag 1.
#[test]
fn ps_05_tags_count_over_all_channels_and_begin_again_with_each_second() {
    let server = Server::start();
    let mut client = server.subscribe(3, Mode::WebSocket, "a/b/c", "").client;
    let mut expected = Vec::new();
    for second in 0..3 {
        for (index, channel) in ["a", "b", "a", "c"].into_iter().enumerate() {
            server.publish_on(index, channel, "{}");
            expected.push((channel.to_owned(), server.seconds(), index as u64 + 1));
            server.advance(0.01);
        }
        server.advance(if second == 1 { 2.0 } else { 1.0 });
    }
    for wanted in expected {
        let came = client.envelope();
        assert_eq!((came.channel, came.seconds, came.tag), wanted);
    }
}

/// PS-6 [R] One POST to `id=a/b` makes two messages with consecutive tags.
#[test]
fn ps_06_one_post_to_two_channels_makes_two_consecutive_tags() {
    let server = Server::start();
    let mut client = server.subscribe(3, Mode::WebSocket, "a/b", "").client;
    server.publish("a/b", "{}");
    let (first, second) = (client.envelope(), client.envelope());
    assert_eq!((first.channel.as_str(), second.channel.as_str()), ("a", "b"));
    assert_eq!((first.seconds, first.tag + 1), (second.seconds, second.tag));

    // Nothing else comes between them, however busy the other publishers are.
    let stop = AtomicBool::new(false);
    let door = *server;
    std::thread::scope(|threads| {
        for reactor in [1, 2] {
            let stop = &stop;
            threads.spawn(move || {
                let mut caller = crate::support::Caller::new(&door, reactor);
                while !stop.load(Ordering::Relaxed) {
                    caller.publish(&format!("noise{reactor}"), "{}");
                }
            });
        }
        for _ in 0..100 {
            server.publish("a/b", "{}");
        }
        stop.store(true, Ordering::Relaxed);
    });
    for _ in 0..100 {
        let (first, second) = (client.envelope(), client.envelope());
        assert_eq!((first.channel.as_str(), second.channel.as_str()), ("a", "b"));
        assert_eq!((first.seconds, first.tag + 1), (second.seconds, second.tag));
    }
}

/// PS-7 [F] (time, tag) strictly increases over all messages of the server even if the clock steps back, on every core and
/// over a restart.
#[test]
fn ps_07_stamps_only_grow_when_the_clock_steps_back_and_over_a_restart() {
    let channels = "a/b/c/d";
    let begin = 1_795_191_466_100_000;
    let server = Server::dev_at(begin, "");
    let mut clients: Vec<Client> =
        (0..4).map(|reactor| server.subscribe(reactor, Mode::WebSocket, channels, "").client).collect();
    let mut random = Xorshift(7);
    let mut published = 0;
    let burst = |random: &mut Xorshift, count: usize| {
        for _ in 0..count {
            let channel = ["a", "b", "c", "d", "a/b/c/d"][random.below(5) as usize];
            server.publish_on(random.below(4) as usize, channel, "{}");
        }
    };
    burst(&mut random, 30);
    // An hour back, a little forward, a day back, and further than ever.
    for wall in [begin - 3_600_000_000, begin - 3_599_000_000, begin - 86_400_000_000, begin + 1_000_000, begin] {
        server.set_wall(wall);
        burst(&mut random, 20);
        server.advance(1.5);
        burst(&mut random, 20);
    }
    server.settle();
    published += server.summary()["published_messages"].as_u64().unwrap();
    let mut logs = Vec::new();
    for client in &mut clients {
        let log: Vec<_> = (0..published).map(|_| client.envelope()).collect();
        server.expect_silence(client);
        for pair in log.windows(2) {
            assert!(pair[0].position() < pair[1].position(), "{} then {}", pair[0].text, pair[1].text);
        }
        logs.push(log);
    }
    assert!(logs.windows(2).all(|pair| pair[0] == pair[1]), "every core shows the same order");
    drop(clients);
    server.drain();
    drop(server);

    // A restart within one second: the clock alone keeps the stamps apart.
    let first = Server::dev_at(begin, "");
    let mut client = first.subscribe(1, Mode::WebSocket, "a", "").client;
    for _ in 0..50 {
        first.publish("a", "{}");
    }
    let last = (0..50).map(|_| client.envelope()).next_back().unwrap();
    drop(first);
    let second = Server::dev_at(begin + 1_000, "");
    let mut client = second.subscribe(2, Mode::WebSocket, "a", "").client;
    second.publish("a", "{}");
    let next = client.envelope();
    assert!(last.position() < next.position(), "{} then, after the restart, {}", last.text, next.text);
    // A cursor of the first run never hides anything of the second.
    second.expect_replay(Mode::WebSocket, "a", &last.cursor(), "", &[next]);
}
