//! PS-68 and PS-69: eventsource.

use crate::support::subscriber::Event;
use crate::support::{Client, Envelope, Mode, Server, Subscriber, epoch};

/// PS-68 [R] Eventsource starts with `: \n`, carries `id:` and `event:` as published, and resumes by `Last-Event-ID`.
#[test]
fn ps_68_eventsource_carries_ids_and_types_and_resumes_by_the_last_event_id() {
    let server = Server::start();
    let mut client = Client::on(&server, 1);
    client.send_get("/ev/e1?auth_token=dev", "");
    let head = client.head();
    assert_eq!((head.status, head.field("Content-Type")), (200, Some("text/event-stream; charset=utf-8")));
    assert_eq!((head.field("Transfer-Encoding"), head.field("Content-Length")), (Some("chunked"), None));
    assert_eq!(client.chunk(), b": \n");
    server.wait_for_subscribers("e1", 1);
    let mut live = Subscriber { mode: Mode::EventSource, client, head: None, body: Vec::new() };

    for (fields, text) in [
        ("", "1"),
        ("Event-Id: id-2\r\nEvent-Type: upd\r\n", "2"),
        ("Event-Id: 77\r\n", "3"),
        ("Event-Type: only\r\n", "4"),
        ("Event-Id: last\r\n", "5"),
    ] {
        assert_eq!(server.call("POST", "/pub?id=e1/e2", fields, text.as_bytes()).status, 200);
    }
    let events: Vec<Event> = (0..5).map(|_| live.event()).collect();
    let kinds: Vec<Option<&str>> = events.iter().map(|event| event.kind.as_deref()).collect();
    assert_eq!(kinds, [None, Some("upd"), None, Some("only"), None]);
    let ids: Vec<Option<&str>> = events.iter().map(|event| event.id.as_deref()).collect();
    assert_eq!((ids[1], ids[2], ids[4]), (Some("id-2"), Some("77"), Some("last")));
    for (index, event) in events.iter().enumerate() {
        assert_eq!(Envelope::parse(&event.data).message, (index + 1).to_string());
    }

    // The stamp of the named message counts for all requested channels; argument and header, the argument wins.
    let all = server.stored("e1/e2");
    let from = |position: (u64, u64)| all.iter().filter(|envelope| envelope.position() > position).cloned().collect::<Vec<_>>();
    let second = all.iter().find(|envelope| envelope.message == "2").unwrap().position();
    let fifth = all.iter().find(|envelope| envelope.message == "5").unwrap().position();
    for mode in Mode::ALL {
        server.expect_replay(mode, "e1/e2", "", "Last-Event-ID: id-2\r\n", &from(second));
        server.expect_replay(mode, "e2/e1", "eventid=id-2", "", &from(second));
        server.expect_replay(mode, "e1/e2", "eventid=last", "Last-Event-ID: id-2\r\n", &from(fifth));
        server.expect_replay(mode, "e1/e2", "eventid=", "Last-Event-ID: id-2\r\n", &from(second));
        // Both a cursor and an event id: the smaller stamp wins.
        server.expect_replay(mode, "e1/e2", &format!("eventid=last&{}", all[2].cursor()), "", &all[3..]);
        // Unknown: nothing is replayed, and a gap is told.
        if mode != Mode::LongPoll {
            let unknown = server.expect_replay(mode, "e1/e2", "eventid=id-99", "", &[]);
            if let Some(head) = unknown.head.filter(|_| mode != Mode::WebSocket) {
                assert!(head.has_gap(), "{mode:?}");
            }
        }
    }
    // Refused on publish: a control character.
    let answer = server.call("POST", "/pub?id=e1", "Event-Id: a\tb\r\n", b"1");
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(server.stored("e1").len(), 5);
}

/// PS-69 [F] Without an Event-Id eventsource sends `id: <seconds>:<tag>` and a browser's reconnect over several channels loses
/// nothing.
#[test]
fn ps_69_events_without_an_id_carry_their_stamp_and_a_browser_resumes_by_it() {
    let server = Server::start();
    let mut browser = server.subscribe(1, Mode::EventSource, "e1/e2/e3", "");
    let mut published = Vec::new();
    let mut seen = Vec::new();
    for round in 0..12 {
        for (reactor, channel) in ["e2", "e1/e3", "e3"].into_iter().enumerate() {
            server.publish_on(reactor, channel, &format!("[{round},\"{channel}\"]"));
            published.extend(channel.split('/').map(|channel| channel.to_owned()));
        }
        if round % 3 == 2 {
            server.advance(1.0);
        }
        // The browser reads some events and is cut off in the middle.
        let mut last = String::new();
        for _ in 0..(round % 4) + 1 {
            let event = browser.event();
            let envelope = Envelope::parse(&event.data);
            assert_eq!(event.id, Some(format!("{}:{}", envelope.seconds, envelope.tag)), "without an Event-Id");
            last = format!("{}:{}", envelope.seconds, envelope.tag);
            seen.push(envelope);
        }
        drop(browser);
        let fields = format!("Last-Event-ID: {last}\r\nAccept: text/event-stream\r\n");
        browser = Subscriber::begin(&server, (round + 1) % 4, Mode::EventSource, "e1/e2/e3", "", &fields);
        assert!(browser.head.as_ref().is_some_and(|head| !head.has_gap()));
    }
    while seen.len() < published.len() {
        seen.push(browser.envelope());
    }
    assert_eq!(seen, server.stored("e3/e2/e1"), "nothing lost, nothing twice");
    assert!(server.is_silent(&mut browser.client));

    // Lines are kept, empty ones too, whatever ends them; the template is rendered once.
    let server = Server::with("payload = \"text\"\nmessage_template = \"~id~|~text~|\"\n");
    let mut client = server.subscribe(1, Mode::EventSource, "e1", "");
    let (seconds, body) = (server.seconds(), "l1\nl2\r\n\r\nl4\rl5\n");
    server.publish("e1", body);
    for line in [&format!("id: {seconds}:1"), "data: 1|l1", "data: l2", "data: ", "data: l4", "data: l5", "data: |", ""] {
        assert_eq!(client.line(), line);
    }
    // Header and footer lines are comments.
    let server = Server::with(
        "header_template = \"hello\\nworld\"\nfooter_template = \"bye\"\nping_interval = \"1s\"\nconnection_ttl = \"3s\"\n",
    );
    let mut client = Client::on(&server, 1);
    client.send_get(&format!("/ev/e1?auth_token=dev&{}", epoch()), "");
    client.head();
    assert_eq!(client.chunk(), b": hello\n: world\n");
    server.pass(3.5);
    assert_eq!(client.chunk(), b": -1\n");
    assert_eq!(client.chunk(), b": -1\n");
    assert_eq!(client.chunk(), b": bye\n");
    assert_eq!(client.chunk(), b"");
    // The TCP connection stays.
    assert_eq!(client.get("/shortpoll/e1?auth_token=dev").status, 304);
}
