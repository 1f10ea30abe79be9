//! AC-69 to AC-72: how the server ends connections, and which.

use crate::support::cable::{KEY, PUBLIC, SECOND_KEY, api, api_with, configuration, data, digest, event, public};
use crate::support::{Cable, Client, PATIENCE, REACTORS, Server};
use fanwire::metrics::Counter;
use std::net::TcpStream;
use std::time::Instant;

#[test]
fn ac_69_a_stop_says_that_the_server_restarts() {
    // T-22.
    let server = Server::with_cable("drain_time = \"2s\"", "");
    let mut all: Vec<Cable> = (0..REACTORS).map(|reactor| Cable::open(&server, reactor)).collect();
    all.extend((0..REACTORS).map(|reactor| Cable::extended(&server, reactor).0));
    all.push(Cable::asking(Client::on(&server, 2), "/cable", ""));
    assert_eq!(all.last_mut().unwrap().text(), "{\"type\":\"welcome\"}");
    for cable in &mut all[1..] {
        cable.subscribe(&api("posts"));
    }
    // What was acknowledged before is flushed before.
    server.cable_event("create", "Post", "{}");
    server.drain();
    server.pass(2.0);
    let frame = "{\"type\":\"disconnect\",\"reason\":\"server_restart\",\"reconnect\":true}";
    for (index, cable) in all.iter_mut().enumerate() {
        let mut texts = vec![cable.text()];
        while texts.last().unwrap() != frame {
            texts.push(cable.text());
        }
        texts.retain(|text| !text.contains("\"ping\""));
        assert_eq!(texts.len(), if index == 0 { 1 } else { 2 }, "{texts:?}");
        assert!(index == 0 || texts[0].starts_with(data(&api("posts"), &event("create", "Post", "{}")).trim_end_matches('}')));
        cable.expect_close(1000, "");
    }
    server.join();

    // For clients that throw on the frame there is a close alone.
    let server = Server::with_cable("drain_time = \"1s\"\ndisconnect_frame = false", "");
    let mut cable = Cable::open(&server, 1);
    server.drain();
    server.pass(1.0);
    assert_eq!(cable.beyond_pings().payload, 1000u16.to_be_bytes());
    cable.expect_end();
    server.join();
}

#[test]
fn ac_70_a_stop_is_spread_evenly_and_over_in_time() {
    const CONNECTIONS: usize = 400;
    let server = Server::with_cable(&format!("drain_time = \"10s\"\n{PUBLIC}"), "");
    let mut cables: Vec<Cable> = (0..CONNECTIONS)
        .map(|_| {
            let mut cable = Cable::asking(Client::connect(server.address), "/cable", "");
            assert_eq!(cable.text(), "{\"type\":\"welcome\"}");
            cable
        })
        .collect();
    // One that reads nothing, and has more before it than the kernel holds.
    let mut stalled = Cable::asking(Client::with_small_buffer(&server, 1, 2_048), "/cable", "");
    assert_eq!(stalled.text(), "{\"type\":\"welcome\"}");
    stalled.subscribe(&public("s"));
    let large = format!("\"{}\"", "x".repeat(100_000));
    while server.count(Counter::Lagging) == 0 {
        server.broadcast(1, "s", &large);
        server.settle();
    }
    // A connection that has not asked for anything yet, and one that was accepted and asks when the stop has begun.
    let mut late = Client::on(&server, 3);
    late.send("GET /cable HTTP/1.1\r\n");
    server.settle();
    server.drain();
    server.pass(0.1);
    late.send(format!("{}\r\n", crate::support::client::UPGRADE));
    let refusal = late.response();
    assert_eq!((refusal.status, refusal.field("Retry-After")), (503, Some("5")));
    // No new ones.
    assert!(TcpStream::connect(server.address).is_err());
    let (mut open, mut told) = (std::mem::take(&mut cables), Vec::new());
    let mut per_second = Vec::new();
    for second in 0..10 {
        // A tenth has passed already, and a timer may be late by one.
        server.pass(match second {
            0 => 0.9,
            9 => 1.1,
            _ => 1.0,
        });
        let before = open.len();
        for mut cable in std::mem::take(&mut open) {
            // What has been sent is here: the server has taken its turn.
            let mut closed = false;
            while !closed && cable.has_bytes() {
                let frame = cable.frame();
                closed = frame.opcode == 8;
                assert!(!closed || frame.code() == Some(1000));
            }
            // Who was told answers nothing, and keeps its side open.
            if closed { told.push(cable) } else { open.push(cable) }
        }
        per_second.push(before - open.len());
    }
    assert_eq!(per_second.iter().sum::<usize>(), CONNECTIONS, "{per_second:?}");
    assert!(per_second.iter().all(|count| (28..=52).contains(count)), "{per_second:?}");
    // Time for the last answers, and a timer may be late: whoever gives none is cut, and so is who did not read.
    server.pass(2.6);
    let begun = Instant::now();
    while server.count(Counter::Ended) < server.count(Counter::Accepted) {
        assert!(begun.elapsed() < PATIENCE / 2, "{} of {}", server.count(Counter::Ended), server.count(Counter::Accepted));
        std::thread::yield_now();
    }
    server.join();
    drop((told, stalled));
}

/// Ends every connection that is known under the name.
fn disconnect(server: &Server, name: &str, more: &str) {
    let body = format!("{{\"command\":\"disconnect\",\"payload\":{{\"identifier\":\"{name}\"{more}}}}}");
    let answer = server.cable_post(0, "/_broadcast", &body);
    assert_eq!((answer.status, answer.text()), (201, ""), "{answer:?}");
}

#[test]
fn ac_71_a_remote_disconnect_ends_every_connection_of_that_name() {
    let server = Server::with_cable("", "");
    let second = api_with(SECOND_KEY, "posts");
    let mut others: Vec<Cable> = (0..REACTORS).map(|reactor| Cable::open(&server, reactor)).collect();
    others.iter_mut().for_each(|cable| cable.subscribe(&second));
    // It presented nothing, or nothing that was accepted.
    others.push(Cable::open(&server, 1));
    others.push(Cable::open(&server, 2));
    others.last_mut().unwrap().expect_reject(&api_with("document", "posts"));
    for (more, reconnect) in [("", true), (",\"reconnect\":true", true), (",\"reconnect\":false", false), (",\"x\":1", true)] {
        let mut known: Vec<Cable> = (0..2 * REACTORS).map(|index| Cable::open(&server, index % REACTORS)).collect();
        known.iter_mut().for_each(|cable| cable.subscribe(&api("posts")));
        // Under this name beside another, and from a subscription that is over.
        known[0].subscribe(&second);
        known[1].unsubscribe(&api("posts"));
        known.push(Cable::extended(&server, 3).0);
        known.last_mut().unwrap().subscribe(&api("posts"));
        server.settle();
        disconnect(&server, "nobody", more);
        for cable in &mut known {
            server.expect_silence(cable);
        }
        disconnect(&server, "document", more);
        for cable in &mut known {
            cable.expect_disconnect("remote", reconnect);
        }
    }
    server.cable_event("create", "Post", "{}");
    for (index, cable) in others.iter_mut().enumerate() {
        let expected = if index < REACTORS { vec![data(&second, &event("create", "Post", "{}"))] } else { vec![] };
        assert_eq!(cable.texts(&server), expected);
    }
    // A key of the connection itself is one that it presented.
    let server = Server::with_cable("connect_auth = \"query:key\"", "");
    let mut cables = [KEY, SECOND_KEY].map(|key| Cable::asking(Client::on(&server, 1), &format!("/cable?key={key}"), ""));
    for cable in &mut cables {
        assert_eq!(cable.text(), "{\"type\":\"welcome\"}");
    }
    disconnect(&server, "second", ",\"reconnect\":false");
    cables[1].expect_disconnect("remote", false);
    server.expect_silence(&mut cables[0]);
}

/// [`configuration`] with one of its keys under another digest: that key is not known any more.
fn without(name: &str, key: &str, keys: &str) -> String {
    let text = configuration(keys, "");
    assert!(text.contains(name) && text.contains(&digest(key)));
    text.replace(&digest(key), &digest("another-key"))
}

#[test]
fn ac_72_a_removed_key_opens_nothing_and_what_it_opened_ends_or_is_kept() {
    let second = |events: &str| api_with(SECOND_KEY, events);
    for keys in ["", "on_key_removed = \"disconnect\"", "on_key_removed = \"keep\""] {
        let server = Server::with_cable(keys, "");
        let mut affected: Vec<Cable> = (0..REACTORS).map(|reactor| Cable::open(&server, reactor)).collect();
        affected.push(Cable::extended(&server, 1).0);
        for cable in &mut affected {
            cable.subscribe(&second("posts"));
            cable.subscribe(&api("feedbacks"));
        }
        let mut others: Vec<Cable> = (0..REACTORS).map(|reactor| Cable::open(&server, reactor)).collect();
        for cable in &mut others {
            cable.subscribe(&api("posts"));
        }
        // It has nothing that stands on the key any more.
        others[0].subscribe(&second("posts"));
        others[0].unsubscribe(&second("posts"));
        server.settle();
        server.reload_cable_text(&without("second", SECOND_KEY, keys));
        for cable in &mut others {
            server.expect_silence(cable);
            cable.expect_reject(&second("posts"));
        }
        if keys.contains("keep") {
            affected[0].expect_reject(&second("users"));
        } else {
            for cable in &mut affected {
                cable.expect_disconnect("remote", true);
            }
        }
        server.cable_event("create", "Post", "{}");
        let message = event("create", "Post", "{}");
        for cable in &mut others {
            cable.expect_data(&api("posts"), &message);
        }
        if keys.contains("keep") {
            for cable in &mut affected {
                assert!(cable.text().starts_with(data(&second("posts"), &message).trim_end_matches('}')));
            }
        }
        // They come back: the one subscription is rejected, the others go on.
        let mut back = Cable::open(&server, 2);
        back.expect_reject(&second("posts"));
        back.subscribe(&api("feedbacks"));
        assert_eq!(server.count(Counter::Panics), 0);
    }
    // A key that opens fewer channels than before is removed from the others.
    let server = Server::with_cable("", "");
    let mut cable = Cable::open(&server, 1);
    cable.subscribe(&second("posts"));
    let fewer = configuration("", "").replace("name = \"second\"", "name = \"second\"\nchannels = [\"$pubsub\"]");
    server.reload_cable_text(&fewer);
    cable.expect_disconnect("remote", true);
    // A connection that was opened by the key ends with it.
    let keys = "connect_auth = \"query:key\"";
    let server = Server::with_cable(keys, "");
    let mut cables = [KEY, SECOND_KEY].map(|key| Cable::asking(Client::on(&server, 1), &format!("/cable?key={key}"), ""));
    for cable in &mut cables {
        assert_eq!(cable.text(), "{\"type\":\"welcome\"}");
    }
    server.reload_cable_text(&without("second", SECOND_KEY, keys));
    cables[1].expect_disconnect("remote", true);
    server.expect_silence(&mut cables[0]);
}
