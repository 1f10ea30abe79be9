//! Sections 10.2 and 11.4: messages that leave somebody out, and the other commands of the extended protocol.

use crate::support::cable::{
    PUBLIC, api, confirm, confirm_history, data, event, history, positioned, public, reject_history, string,
};
use crate::support::{Cable, Caller, Door, Server};

const WHISPER: &str = "whisper = true\npublic_streams = true\npublic_prefixes = [\"\"]";

fn presence(identifier: &str) -> String {
    format!("{{\"identifier\":{},\"type\":\"presence\",\"message\":{{\"type\":\"error\"}}}}", string(identifier))
}

#[test]
fn a_message_leaves_out_the_socket_that_it_names() {
    let server = Server::with_cable(PUBLIC, "");
    let (mut first, sid) = Cable::extended(&server, 1);
    let (mut second, _) = Cable::extended(&server, 1);
    let mut base = Cable::open(&server, 2);
    for cable in [&mut first, &mut second, &mut base] {
        cable.subscribe(&public("s"));
        cable.subscribe(&api("posts"));
    }
    let body = |exclude: &str, number: u64| {
        format!("{{\"stream\":\"s\",\"data\":\"{number}\",\"meta\":{{\"exclude_socket\":\"{exclude}\"}}}}")
    };
    assert_eq!(server.cable_post(3, "/_broadcast", &body(&sid, 1)).status, 201);
    server.expect_silence(&mut first);
    let (message, epoch, offset) = second.position();
    assert_eq!((message.as_str(), offset), ("1", 1));
    base.expect_data(&public("s"), "1");
    // Others reach it, and the hole is where the message was.
    for (number, exclude) in [(2, "somebody"), (3, ""), (4, "0123456789012345678901")] {
        assert_eq!(server.cable_post(3, "/_broadcast", &body(exclude, number)).status, 201);
        for cable in [&mut first, &mut second] {
            assert_eq!(cable.text(), positioned(&public("s"), &number.to_string(), "s", &epoch, number));
        }
        base.expect_data(&public("s"), &number.to_string());
    }
}

#[test]
fn a_whisper_reaches_all_others_and_is_not_kept() {
    let server = Server::with_cable(WHISPER, "");
    let (mut sender, _) = Cable::extended(&server, 1);
    let (mut same_reactor, _) = Cable::extended(&server, 1);
    let (mut other, _) = Cable::extended(&server, 2);
    let mut base = Cable::open(&server, 3);
    for cable in [&mut sender, &mut same_reactor, &mut other, &mut base] {
        cable.subscribe(&public("s"));
        cable.subscribe(&api("posts"));
    }
    for message in ["{\"typing\":true}", "null", "\"a\"", "1.0", "[1,2]"] {
        sender.command("whisper", &public("s"), &format!(",\"data\": {message} "));
        for cable in [&mut same_reactor, &mut other, &mut base] {
            cable.expect_data(&public("s"), message);
        }
        server.expect_silence(&mut sender);
    }
    assert!(server.stored("s").is_empty());
    // It is for streams of this kind, for subscribers, and says something.
    sender.command("whisper", &api("posts"), ",\"data\":1");
    sender.command("whisper", &public("t"), ",\"data\":1");
    sender.command("whisper", &public("s"), "");
    for cable in [&mut sender, &mut same_reactor, &mut other, &mut base] {
        server.expect_silence(cable);
    }
    // Offsets count only what is kept.
    server.broadcast(0, "s", "1");
    assert_eq!(sender.position().2, 1);
    // It is off unless it is on.
    let server = Server::with_cable(PUBLIC, "");
    let (mut sender, _) = Cable::extended(&server, 1);
    let (mut other, _) = Cable::extended(&server, 2);
    for cable in [&mut sender, &mut other] {
        cable.subscribe(&public("s"));
    }
    sender.command("whisper", &public("s"), ",\"data\":1");
    for cable in [&mut sender, &mut other] {
        server.expect_silence(cable);
    }
}

#[test]
fn pings_are_answered_presence_is_not_offered_and_joining_means_nothing() {
    let server = Server::with_cable(PUBLIC, "");
    let (mut cable, _) = Cable::extended(&server, 1);
    cable.say("{\"command\":\"ping\"}");
    assert_eq!(cable.text(), "{\"type\":\"pong\"}");
    cable.subscribe(&public("s"));
    for identifier in [public("s"), public("t"), "x".to_owned()] {
        cable.command("presence", &identifier, "");
        assert_eq!(cable.text(), presence(&identifier));
    }
    for command in ["join", "leave", "pong"] {
        cable.command(command, &public("s"), ",\"presence\":{\"id\":\"1\"}");
    }
    cable.say("{\"command\":\"pong\"}");
    server.expect_silence(&mut cable);
}

#[test]
fn a_client_that_answers_no_ping_is_given_up_if_that_is_wanted() {
    let server = Server::with_cable("pong_timeout = \"2s\"", "");
    let (mut silent, _) = Cable::extended(&server, 1);
    let (mut alive, _) = Cable::extended(&server, 2);
    let (mut busy, _) = Cable::extended(&server, 3);
    let mut base = Cable::open(&server, 1);
    for round in 0..100 {
        server.pass(0.1);
        // Any command does.
        for (cable, command) in [(&mut alive, "{\"command\":\"pong\"}"), (&mut busy, "{\"command\":\"ping\"}")] {
            while cable.has_bytes() {
                let text = cable.text();
                assert!(text.contains("\"ping\"") || text == "{\"type\":\"pong\"}", "round {round}: {text}");
                if text.contains("\"ping\"") {
                    cable.say(command);
                    server.settle();
                }
            }
        }
    }
    assert!(silent.text().contains("\"ping\""));
    silent.expect_disconnect("no_pong", true);
    assert_eq!(base.texts(&server), [""; 0], "base clients answer no pings");
    for cable in [&mut alive, &mut busy, &mut base] {
        assert!(!cable.has_ended());
    }
    // Off, as it is by default.
    let server = Server::with_cable("", "");
    let (mut silent, _) = Cable::extended(&server, 1);
    server.pass(20.0);
    assert!(silent.texts(&server).is_empty() && !silent.has_ended());
}

/// Leaving what was restored before it went on leaves nothing behind, and nothing comes of it later.
#[test]
fn a_restored_subscription_can_be_left_before_it_goes_on() {
    let server = Server::with_cable(PUBLIC, "");
    let (mut cable, sid) = Cable::extended(&server, 1);
    cable.subscribe(&public("s"));
    cable.subscribe(&public("t"));
    cable.reset_on_drop();
    drop(cable);
    server.wait_for_subscribers("t", 0);
    server.settle();
    let (mut back, _) = Cable::resuming(&server, 2, &sid);
    back.unsubscribe(&public("s"));
    server.settle();
    server.broadcast(1, "s", "1");
    server.broadcast(1, "t", "2");
    server.pass(5.1);
    let texts = back.texts(&server);
    assert!(texts.len() == 1 && texts[0].starts_with(data(&public("t"), "2").trim_end_matches('}')), "{texts:?}");
    assert_eq!((server.subscribers("s"), server.subscribers("t")), (0, 1));
    back.subscribe(&public("s"));
}

/// A reject says that what was missed is gone; what came since the connection was restored is live.
#[test]
fn a_rejected_history_of_a_restored_subscription_loses_nothing_that_is_live() {
    let server = Server::with_cable(PUBLIC, "");
    let identifier = public("s");
    for more in [history(0, &[("s", "12", 1)]), history(0, &[("s", "unheard-of", 1)]), history(0, &[]), history(1, &[])] {
        let (mut cable, sid) = Cable::extended(&server, 1);
        cable.subscribe(&identifier);
        cable.reset_on_drop();
        drop(cable);
        server.wait_for_subscribers("s", 0);
        server.settle();
        server.broadcast(2, "s", "\"missed\"");
        let (mut back, welcome) = Cable::resuming(&server, 3, &sid);
        assert!(welcome.contains("\"restored\":true"), "{welcome}");
        for number in 1..=3 {
            server.broadcast(2, "s", &number.to_string());
        }
        server.expect_silence(&mut back);
        back.command("history", &identifier, &more);
        assert_eq!(back.text(), reject_history(&identifier));
        server.broadcast(2, "s", "4");
        for number in 1..=4 {
            assert_eq!(back.position().0, number.to_string(), "{more}");
        }
        server.expect_silence(&mut back);
        back.unsubscribe(&identifier);
        server.settle();
    }
}

#[test]
fn a_channel_without_history_has_no_positions_and_rejects_histories() {
    let channel =
        "[[action_cable.channel]]\nname = \"Plain\"\nkind = \"streams\"\nhistory = false\nrules = [ { streams = [\"s\"] } ]\n";
    for (keys, tables, identifier) in
        [(PUBLIC, channel, "{\"channel\":\"Plain\"}".to_owned()), (&format!("{PUBLIC}\nhistory_limit = 0"), "", public("s"))]
    {
        let server = Server::with_cable(keys, tables);
        let (mut cable, sid) = Cable::extended(&server, 1);
        cable.subscribe(&identifier);
        server.broadcast(2, "s", "1");
        cable.expect_data(&identifier, "1");
        cable.command("history", &identifier, &history(server.seconds(), &[]));
        assert_eq!(cable.text(), reject_history(&identifier));
        // It is restored all the same, and misses nothing from then on.
        cable.reset_on_drop();
        drop(cable);
        server.wait_for_subscribers("s", 0);
        server.settle();
        for asks in [true, false] {
            let (mut back, welcome) = Cable::resuming(&server, 3, &sid);
            if asks {
                assert!(welcome.contains("\"restored\":true"), "{welcome}");
                server.broadcast(2, "s", "2");
                // Where there is no history nothing waits for one.
                assert_eq!(back.texts(&server), [data(&identifier, "2")]);
                back.command("history", &identifier, &history(server.seconds(), &[]));
                assert_eq!(back.texts(&server), [reject_history(&identifier)]);
            } else {
                assert!(!welcome.contains("restored"), "{welcome}");
            }
        }
    }
}

/// Somebody deletes the topic in the other dialect: whoever listens to the name goes on listening.
#[test]
fn a_deleted_topic_begins_again_and_its_subscribers_stay() {
    let server = Server::with_cable(PUBLIC, "");
    let door = Door { key: "dev", ..*server };
    let mut caller = Caller::new(&door, 0);
    let mut base: Vec<Cable> = (0..4).map(|reactor| Cable::open(&server, reactor)).collect();
    let (mut cable, _) = Cable::extended(&server, 2);
    for cable in base.iter_mut().chain([&mut cable]) {
        cable.subscribe(&public("s"));
        cable.subscribe(&api("posts"));
    }
    let mut epochs = Vec::new();
    for round in 0..5 {
        for number in 1..=3 {
            server.broadcast(round % 4, "s", &number.to_string());
            for cable in &mut base {
                cable.expect_data(&public("s"), &number.to_string());
            }
            let (_, epoch, offset) = cable.position();
            assert_eq!(offset, number);
            if number == 1 {
                assert!(!epochs.contains(&epoch), "a new epoch after each deletion");
                epochs.push(epoch);
            }
        }
        let answer = caller.call("DELETE", "/pub?id=s", "", b"");
        assert_eq!(answer.status, 200, "{answer:?}");
        server.settle();
        // An old position is worth nothing.
        cable.command("history", &public("s"), &history(0, &[("s", epochs.last().unwrap(), 3)]));
        assert_eq!(cable.text(), reject_history(&public("s")));
    }
    server.cable_event("create", "Post", "{}");
    for cable in &mut base {
        cable.expect_data(&api("posts"), &event("create", "Post", "{}"));
    }
    // Published at once behind the deletion, before anybody has joined again: nothing is lost.
    cable.position();
    for _ in 0..20 {
        assert_eq!(caller.call("DELETE", "/pub?id=s", "", b"").status, 200);
        assert_eq!(caller.call("POST", "/_broadcast", "", b"{\"stream\":\"s\",\"data\":\"7\"}").status, 201);
        for cable in &mut base {
            cable.expect_data(&public("s"), "7");
        }
        assert_eq!(cable.position().2, 1);
    }
}

/// A log keeps what the dialect with the longer memory shows, and each dialect shows its own.
#[test]
fn what_is_too_old_for_push_stream_is_still_history_here_and_keeps_the_channel() {
    let own = "message_ttl = \"20s\"\nchannel_inactivity = \"5s\"";
    let server = Server::with_both(own, &format!("{PUBLIC}\nhistory_ttl = \"60s\""));
    let published = server.seconds();
    server.broadcast(0, "s", "1");
    assert_eq!(server.row("s"), Some((1, 1, 0)));
    server.pass(30.0);
    assert_eq!(server.row("s"), Some((1, 0, 0)));
    assert!(server.stored("s").is_empty());
    let (mut cable, _) = Cable::extended(&server, 1);
    cable.command("subscribe", &public("s"), &history(published, &[]));
    assert_eq!(cable.text(), confirm(&public("s")));
    assert_eq!(cable.position().0, "1");
    assert_eq!(cable.text(), confirm_history(&public("s")));
    drop(cable);
    server.wait_for_subscribers("s", 0);
    // Its one message is gone at 60 s, and `channel_inactivity` later it is.
    server.pass(34.0);
    assert_eq!(server.row("s"), Some((1, 0, 0)));
    server.pass(2.0);
    assert_eq!(server.row("s"), None);
}
