//! PS-59 and PS-60: deletion, and the positions that control messages carry.

use crate::support::{Client, Envelope, Mode, Server, Subscriber, epoch, masked};

/// PS-59 [R] DELETE sends id -2 to websocket, stream and ev subscribers, ends waiting long polls with 200, and ends a
/// connection only with its last channel.
#[test]
fn ps_59_deletion_reaches_everyone_and_ends_a_connection_with_its_last_channel() {
    let server = Server::start();
    server.publish("d1/d2", "\"kept\"");
    let mut held: Vec<Subscriber> = Mode::HELD.into_iter().map(|mode| server.subscribe(1, mode, "d1/d2", "")).collect();
    // A long poll ends even if other channels remain.
    let mut waiting = server.subscribe(2, Mode::LongPoll, "d2/d1", "");
    let deleted = server.delete("d1");
    assert_eq!((deleted.status, deleted.explain(), deleted.field("Content-Length")), (200, Some("Channel deleted."), Some("0")));

    let answer = waiting.response();
    let control = answer.envelopes().remove(0);
    assert_eq!(answer.envelopes().len(), 1);
    assert_eq!(
        (answer.status, control.id, control.channel.as_str(), control.message.as_str()),
        (200, -2, "d1", "\"Channel deleted\"")
    );
    assert_eq!(control.position(), answer.position(), "Etag and Last-Modified equal the message's");
    assert_eq!(answer.field("Connection"), Some("keep-alive"));
    for subscriber in &mut held {
        let control = subscriber.envelope();
        assert_eq!((control.id, control.channel.as_str(), control.message.as_str()), (-2, "d1", "\"Channel deleted\""));
        server.expect_silence(&mut subscriber.client);
    }
    // Gone with its messages; the connections live on with d2.
    assert_eq!(server.row("d1"), None);
    server.publish("d2", "1");
    for subscriber in &mut held {
        assert_eq!((subscriber.envelope().channel.as_str(), server.subscribers("d2")), ("d2", 3));
    }
    // A channel of that name that comes back is another one.
    server.publish("d1", "2");
    assert_eq!(server.stored("d1")[0].id, 1);
    for subscriber in &mut held {
        server.expect_silence(&mut subscriber.client);
    }

    // The last channel, with a text of its own.
    let deleted = server.call("DELETE", "/pub?id=d2", "", b" {\"why\" : \"maintenance\"} ");
    assert_eq!(deleted.status, 200);
    for subscriber in &mut held {
        let control = subscriber.envelope();
        assert_eq!((control.id, control.channel.as_str(), control.message.as_str()), (-2, "d2", "{\"why\":\"maintenance\"}"));
        match subscriber.mode {
            Mode::WebSocket => subscriber.client.expect_close(0, ""),
            _ => {
                assert_eq!(subscriber.client.chunk(), b"", "the last chunk");
                // The TCP connection stays.
                assert_eq!(subscriber.client.get("/shortpoll/x?auth_token=dev").status, 304);
            }
        }
    }
    assert_eq!(server.row("d2"), None);

    // A text that is no JSON becomes a JSON string; unknown ids are skipped; none known is 404.
    let mut client = server.subscribe(3, Mode::WebSocket, "d3/d4", "").client;
    let deleted = server.call("DELETE", "/pub?id=nosuch/d3/d4", "", b"going \"down\"");
    assert_eq!((deleted.status, deleted.explain()), (200, Some("Channel deleted.")));
    assert_eq!(client.envelope().message, "\"going \\\"down\\\"\"");
    assert_eq!(client.envelope().channel, "d4");
    client.expect_close(0, "");
    let unknown = server.delete("nosuch");
    assert_eq!((unknown.status, unknown.explain(), unknown.body.len()), (404, None, 0));
    assert_eq!(server.delete("ALL").status, 403);
    assert_eq!(server.call("DELETE", "/pub", "", b"").explain(), Some("No channel id provided."));

    // With templates around it, a stream says its footer and a websocket too.
    let server = Server::with("header_template = \"HDR\"\nfooter_template = \"FTR\"\n");
    let mut client = server.subscribe(1, Mode::WebSocket, "a", "").client;
    assert_eq!(client.text(), "HDR");
    let mut stream = server.subscribe(1, Mode::Stream, "a", "").client;
    assert_eq!(stream.chunk(), b"HDR");
    server.delete("a");
    assert_eq!(client.envelope().id, -2);
    client.expect_close(0, "");
    assert!(stream.chunk().starts_with(b"{\"id\":-2,"));
    assert_eq!(stream.chunk(), b"FTR");
    assert_eq!(stream.chunk(), b"");
}

/// The messages that a poll with this cursor gets, on any reactor.
fn resume(server: &Server, reactor: usize, channels: &str, control: &Envelope) -> Vec<String> {
    let answer = Client::on(server, reactor).get(&format!("/shortpoll/{channels}?auth_token=dev&{}", control.cursor()));
    match answer.status {
        304 => Vec::new(),
        _ => answer.envelopes().into_iter().map(|envelope| envelope.message).collect(),
    }
}

/// PS-60 [F] Control messages are valid JSON and carry the connection's own position, so resuming from one neither loses nor
/// repeats messages.
#[test]
fn ps_60_control_messages_carry_the_connections_own_position() {
    // -1: pings of a stream.
    let server =
        Server::with("ping_interval = \"2s\"\nping_text = '{\"ping\":1}'\nlongpoll_ttl = \"5s\"\ntimeout_with_body = true\n");
    server.publish("a/b", "\"before\"");
    let mut stream = server.subscribe(1, Mode::Stream, "a/b", "");
    server.pass(2.3);
    let ping = stream.envelope();
    assert_eq!((ping.id, ping.channel.as_str(), ping.message.as_str()), (-1, "", "{\"ping\":1}"));
    assert_eq!(resume(&server, 2, "a/b", &ping), Vec::<String>::new(), "nothing from before is repeated");
    server.publish("b", "\"1\"");
    assert_eq!(resume(&server, 3, "a/b", &ping), ["\"1\""], "nothing after it is lost");
    assert_eq!(stream.envelope().message, "\"1\"");
    server.pass(2.3);
    let ping = stream.envelope();
    assert_eq!(ping.id, -1);
    assert_eq!(resume(&server, 0, "a/b", &ping), Vec::<String>::new());
    drop(stream);
    // -3: a long poll's time is over.
    let mut poll = server.subscribe(1, Mode::LongPoll, "a/b", "").client;
    server.pass(5.5);
    let answer = poll.response();
    let control = answer.envelopes().remove(0);
    assert_eq!((control.id, control.position()), (-3, answer.position()));
    assert_eq!(resume(&server, 2, "a/b", &control), Vec::<String>::new());
    server.publish("a", "\"2\"");
    assert_eq!(resume(&server, 3, "a/b", &control), ["\"2\""]);

    // -2: at its place in the log, for everyone the same.
    let server = Server::with("gap_notice = true\n");
    for round in 0..3 {
        let mut held: Vec<Subscriber> = Mode::HELD.into_iter().map(|mode| server.subscribe(1, mode, "a/b", "")).collect();
        let mut poll = server.subscribe(2, Mode::LongPoll, "c/b", "");
        server.publish("a", "\"before\"");
        server.delete("b");
        server.publish("a", &format!("\"after {round}\""));
        let mut positions = Vec::new();
        for subscriber in &mut held {
            assert_eq!(subscriber.envelope().message, "\"before\"");
            let control = subscriber.envelope();
            assert_eq!((control.id, control.channel.as_str()), (-2, "b"));
            assert_eq!(resume(&server, round, "a", &control), [format!("\"after {round}\"")], "{:?}", subscriber.mode);
            assert_eq!(subscriber.envelope().message, format!("\"after {round}\""));
            positions.push(control.position());
        }
        let control = poll.response().envelopes().remove(0);
        positions.push(control.position());
        assert!(positions.windows(2).all(|pair| pair[0] == pair[1]), "{positions:?}");
        server.publish("b", "\"again\"");
        server.advance(1.0);
    }
    server.delete("a/b/c");
    // In a second without a message before it, too.
    server.advance(2.0);
    let mut client = server.subscribe(1, Mode::WebSocket, "x/y", "").client;
    server.delete("x");
    let control = client.envelope();
    assert_eq!(control.position(), (server.seconds(), 0));
    server.publish("y", "\"next\"");
    assert_eq!(resume(&server, 2, "y", &control), ["\"next\""]);

    // -4: the stamp that the replay starts after.
    let small = Server::with("gap_notice = true\nmax_stored_messages = 2\n");
    for text in 1..=6 {
        small.publish("a", &text.to_string());
    }
    let kept = small.stored("a");
    let mut client = small.subscribe(1, Mode::WebSocket, "a", &crate::support::subscriber::cursor(small.seconds(), 1)).client;
    let control = client.envelope();
    assert_eq!((control.id, control.channel.as_str(), control.message.as_str()), (-4, "", "\"Messages were lost\""));
    assert_eq!(resume(&small, 3, "a", &control), ["5", "6"], "all that is kept is still to come");
    assert_eq!((client.envelope(), client.envelope()), (kept[0].clone(), kept[1].clone()));
    // Pings are for those who are caught up; a pong changes nothing.
    client.send(masked(0x8a, b""));
    small.expect_silence(&mut client);
    assert_eq!(small.stored("a").len(), 2);
    assert!(epoch().starts_with("tag=0"));
}
