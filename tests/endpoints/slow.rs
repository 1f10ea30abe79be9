//! EP-44, EP-53 and EP-54: clients that read slowly, or not at all.

use crate::support::endpoints::{CALM, Listener, OPEN, Writer, numbered, target};
use crate::support::{Client, Server};
use fanwire::metrics::Counter;

/// One who does not read until it is made to.
fn never_reading(server: &Server, reactor: usize) -> Listener {
    let client = Client::with_small_buffer(server, reactor, 2_048);
    Listener::asking(client, &target(OPEN, "fw_seq=1"), "")
}

/// The messages up to the close of one who was too slow, without their numbers.
#[track_caller]
fn until_too_slow(slow: &mut Listener) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let frame = slow.frame();
        if frame.opcode == 8 {
            assert_eq!((frame.code(), &frame.payload[2..]), (Some(1013), &b"Too slow."[..]));
            return seen;
        }
        seen.push(numbered(std::str::from_utf8(&frame.payload).expect("text is UTF-8")).0);
    }
}

fn value(number: usize, bytes: usize) -> String {
    format!("\"{number} {}\"", "x".repeat(bytes))
}

#[test]
fn ep_53_who_takes_no_byte_for_30_seconds_is_closed_and_nobody_else_waits() {
    let server = Server::with_endpoints(CALM);
    let mut writer = Writer::on(&server, 3);
    let mut fast = Listener::open(&server, 1, OPEN, "");
    let mut slow = never_reading(&server, 1);
    for number in 0..300 {
        let record = writer.post(OPEN, &value(number, 10_000));
        assert_eq!(fast.text(), record.event("POST"), "{number}");
    }
    server.settle();
    assert_eq!((server.count(Counter::Lagging), server.count(Counter::DroppedTooSlow)), (1, 0));
    server.advance(29.9);
    assert_eq!(server.count(Counter::DroppedTooSlow), 0);
    server.advance(0.3);
    assert_eq!(server.count(Counter::DroppedTooSlow), 1);
    // It takes the close if it still takes anything.
    slow.enlarge_buffer();
    let seen = until_too_slow(&mut slow);
    assert!(seen.len() < 300, "what the kernel had, and no more: {}", seen.len());
    let record = writer.post(OPEN, "1");
    fast.expect(&record.event("POST"));
    slow.client.expect_end();
    drop(slow);
    server.wait_until("it is gone", |server| server.count(Counter::WebSocketEnded) == 1);
    // One that takes nothing is gone two seconds later.
    let _stuck = never_reading(&server, 2);
    for number in 0..300 {
        writer.post(OPEN, &value(number, 10_000));
        fast.text();
    }
    let ended = server.count(Counter::WebSocketEnded);
    server.advance(30.2);
    server.settle();
    assert_eq!(server.count(Counter::WebSocketEnded), ended);
    server.advance(2.2);
    server.wait_until("it is gone", |server| server.count(Counter::WebSocketEnded) == ended + 1);
}

#[test]
fn ep_53_who_is_outrun_by_the_log_is_closed_and_has_no_gap_before() {
    let server = Server::with_endpoints(&format!("{CALM}log_messages = 20"));
    let mut writer = Writer::on(&server, 3);
    let mut fast = Listener::open(&server, 2, OPEN, "");
    let mut slow = never_reading(&server, 1);
    let mut texts = Vec::new();
    let mut after = 0;
    while after < 200 {
        let record = writer.post(OPEN, &value(texts.len(), 1_000));
        texts.push(record.event("POST"));
        fast.expect(texts.last().expect("one at least"));
        server.settle();
        after += usize::from(server.count(Counter::Lagging) > 0);
        assert!(texts.len() < 20_000, "more than the kernel holds");
    }
    slow.enlarge_buffer();
    let seen = until_too_slow(&mut slow);
    assert_eq!(seen, texts[..seen.len()], "every message in its order");
    assert!(seen.len() < texts.len() - 20);
    assert_eq!(server.count(Counter::DroppedTooSlow), 1);
}

#[test]
fn ep_54_ep_44_a_slow_reader_inside_of_the_window_gets_every_message_in_order_and_the_frames_of_others() {
    let server = Server::with_endpoints(CALM);
    let mut writer = Writer::on(&server, 3);
    let mut slow = never_reading(&server, 1);
    let mut fast = Listener::open(&server, 2, OPEN, "fw_seq=1");
    let mut texts = Vec::new();
    let mut lagging = 0;
    while lagging < 100 {
        let record = match texts.len() % 3 {
            0 | 1 => writer.post(OPEN, &value(texts.len(), 10_000)).event("POST"),
            _ => {
                let id = writer.list(OPEN).swap_remove(0).id;
                writer.delete(OPEN, &id).event("DELETE")
            }
        };
        texts.push(record);
        fast.text();
        server.settle();
        lagging += usize::from(server.count(Counter::Lagging) > 0);
        assert!(texts.len() < 1_000, "more than the kernel holds");
    }
    slow.enlarge_buffer();
    let mut newest = 0;
    for text in &texts {
        let (shown, at) = numbered(&slow.text());
        assert!(shown == *text && at > newest);
        newest = at;
    }
    server.expect_silence(&mut slow);
    // It is live again.
    let record = writer.post(OPEN, "1");
    assert_eq!(numbered(&slow.text()).0, record.event("POST"));
    assert_eq!((server.count(Counter::LagEnded), server.count(Counter::DroppedTooSlow)), (1, 0));
    fast.text();
    server.settle();
    assert_eq!(server.count(Counter::Encodings), texts.len() as u64 + 1, "what is read from the log is not made again");
}
