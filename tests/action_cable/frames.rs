//! AC-17 to AC-21: what WebSocket itself asks of a connection.

use crate::support::cable::{ECHO, ECHO_CHANNEL, api, confirm, string};
use crate::support::{Cable, Server, masked};

/// The bytes of a client frame whose mask is four zeros.
fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() <= 125);
    [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

/// The header of a text frame with so many bytes, in the shortest form.
fn announcing(bytes: u64) -> Vec<u8> {
    match u16::try_from(bytes) {
        Ok(short) => [&[0x81, 0xfe][..], &short.to_be_bytes(), &[0; 4]].concat(),
        Err(_) => [&[0x81, 0xff][..], &bytes.to_be_bytes(), &[0; 4]].concat(),
    }
}

/// A close frame with this code and reason.
fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    masked(0x88, &[&code.to_be_bytes(), reason].concat())
}

/// Others go on as if nothing had happened.
#[track_caller]
fn expect_others_go_on(server: &Server, bystander: &mut Cable) {
    server.broadcast(0, "echo", "1");
    bystander.expect_data(ECHO, "1");
}

/// AC-17 [R] A websocket ping is answered with a pong of equal payload, also between two fragments of a text message (T-23).
#[test]
fn ac_17_a_ping_gets_its_pong_also_between_two_fragments() {
    let server = Server::with_cable("", "");
    let mut cable = Cable::open(&server, 1);
    for payload in [&b""[..], b"abc", b"\x00\xff\xfe binary", &[b'x'; 125]] {
        cable.send(masked(0x89, payload));
        let frame = cable.frame();
        assert_eq!((frame.head[0], &frame.payload[..]), (0x8a, payload));
    }
    // The text goes on behind the ping, and is a command in the end.
    let identifier = api("posts");
    let command = format!("{{\"command\":\"subscribe\",\"identifier\":{}}}", string(&identifier));
    let (one, rest) = command.as_bytes().split_at(7);
    let (two, three) = rest.split_at(30);
    cable.send(masked(0x01, one));
    cable.send(masked(0x89, b"p"));
    let frame = cable.frame();
    assert_eq!((frame.head[0], &frame.payload[..]), (0x8a, &b"p"[..]));
    cable.send([masked(0x00, two), masked(0x89, b"q"), masked(0x80, three)].concat());
    let frame = cable.frame();
    assert_eq!((frame.head[0], &frame.payload[..]), (0x8a, &b"q"[..]));
    assert_eq!(cable.text(), confirm(&identifier));
    // A pong that nobody asked for means nothing.
    cable.send(masked(0x8a, b"p"));
    server.expect_silence(&mut cable);
}

/// AC-18 [R] Invalid UTF-8 closes with 1007; reserved opcode, RSV bit and stray continuation close with 1002 (T-23).
#[test]
fn ac_18_broken_frames_close_with_1007_or_1002() {
    let server = Server::with_cable("", ECHO_CHANNEL);
    let mut bystander = Cable::open(&server, 2);
    bystander.subscribe(ECHO);
    for (code, case, bytes) in [
        (1007, "invalid UTF-8", plain(0x81, b"\xff\xfe")),
        (1007, "an overlong form inside JSON", plain(0x81, b"{\"a\":\"\xc0\x80\"}")),
        (1007, "a surrogate", plain(0x81, b"\"\xed\xa0\x80\"")),
        (1007, "cut at the end", plain(0x81, b"\"\xe2\x82")),
        (1007, "over two fragments", [plain(0x01, b"\"\xe2"), plain(0x80, b"\"")].concat()),
        (1002, "reserved opcode 3", plain(0x83, b"")),
        (1002, "reserved opcode 11", plain(0x8b, b"")),
        (1002, "RSV1", plain(0xc1, b"{}")),
        (1002, "RSV2", plain(0xa1, b"{}")),
        (1002, "RSV3 of a ping", plain(0x99, b"")),
        (1002, "stray continuation", plain(0x80, b"{}")),
        (1002, "stray continuation that is not the last", plain(0x00, b"{}")),
        (1002, "a text inside a fragmented one", [plain(0x01, b"{"), plain(0x81, b"{}")].concat()),
        (1002, "a fragmented ping", plain(0x09, b"a")),
        (1002, "a ping of 126 bytes", masked(0x89, &[b'x'; 126])),
    ] {
        let mut cable = Cable::open(&server, 1);
        cable.subscribe(ECHO);
        cable.send(bytes);
        let frame = cable.frame();
        assert_eq!((frame.head[0], frame.code()), (0x88, Some(code)), "{case}");
        cable.expect_end();
    }
    expect_others_go_on(&server, &mut bystander);
}

/// AC-19 [F] An unmasked frame closes with 1002 (Rails: 1003, T-23).
#[test]
fn ac_19_an_unmasked_frame_closes_with_1002() {
    let server = Server::with_cable("", ECHO_CHANNEL);
    let mut bystander = Cable::open(&server, 2);
    bystander.subscribe(ECHO);
    let subscribe = format!("{{\"command\":\"subscribe\",\"identifier\":{}}}", string(ECHO));
    let unmasked = |first: u8, payload: &[u8]| [&[first, payload.len() as u8], payload].concat();
    for bytes in [unmasked(0x81, b"{}"), unmasked(0x81, subscribe.as_bytes()), unmasked(0x89, b""), unmasked(0x88, b"\x03\xe8")] {
        let mut cable = Cable::open(&server, 1);
        cable.send(bytes);
        cable.expect_close_code(1002);
    }
    expect_others_go_on(&server, &mut bystander);
}

/// AC-20 [F] A message over `max_message` closes with 1009, and an announced length over it closes before the body is read.
#[test]
fn ac_20_a_message_too_large_closes_with_1009_before_it_is_read() {
    for (keys, most) in [("", 65_536), ("max_message = \"1KiB\"\n", 1_024)] {
        let server = Server::with_cable(keys, ECHO_CHANNEL);
        let subscribe = format!("{{\"command\":\"subscribe\",\"identifier\":{}", string(ECHO));
        let padded = |bytes: usize| format!("{subscribe}{}}}", " ".repeat(bytes - subscribe.len() - 1));
        // As large as allowed, it is taken.
        let mut cable = Cable::open(&server, 1);
        cable.say(&padded(most));
        assert_eq!(cable.text(), confirm(ECHO));
        cable.say(&padded(most + 1));
        cable.expect_close_code(1009);
        // The header is enough.
        for announced in [most as u64 + 1, 70_000_000, i64::MAX as u64] {
            let mut cable = Cable::open(&server, 1);
            cable.send(announcing(announced));
            cable.expect_close_code(1009);
        }
        // Fragments count together, and binary messages like text.
        let mut cable = Cable::open(&server, 1);
        let text = padded(most + 1).into_bytes();
        let (front, rest) = text.split_at(600);
        cable.send([masked(0x01, front), masked(0x80, rest)].concat());
        cable.expect_close_code(1009);
        let mut cable = Cable::open(&server, 1);
        cable.send(masked(0x82, &vec![0; most + 1]));
        cable.expect_close_code(1009);
    }
}

/// AC-21 [R] Client closes with 1000 and 4001 are echoed, an empty close gets 1000, code 1005 gets 1002; a close reason that is
/// not UTF-8 gets 1007 [F; Rails 1002] (T-23).
#[test]
fn ac_21_closes_are_echoed_or_told_what_is_wrong_with_them() {
    let server = Server::with_cable("", ECHO_CHANNEL);
    let mut bystander = Cable::open(&server, 2);
    bystander.subscribe(ECHO);
    let mut cases: Vec<(u16, Vec<u8>)> = Vec::new();
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4001, 4999] {
        cases.push((code, close(code, b"")));
        cases.push((code, close(code, "tschüß".as_bytes())));
    }
    cases.push((1000, masked(0x88, b"")));
    for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535] {
        cases.push((1002, close(code, b"")));
    }
    cases.push((1002, masked(0x88, b"\x03")));
    cases.push((1007, close(1000, b"\xff")));
    cases.push((1007, close(4001, b"ab\xe2\x82")));
    for (code, bytes) in cases {
        let mut cable = Cable::open(&server, 1);
        cable.subscribe(ECHO);
        // What follows a close is not looked at.
        cable.send([&bytes[..], &masked(0x81, b"{}")].concat());
        cable.expect_close(code, "");
    }
    server.wait_until("their subscriptions are gone", |server| server.subscribers("echo") == 1);
    expect_others_go_on(&server, &mut bystander);
}
