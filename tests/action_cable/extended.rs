//! AC-76 to AC-79: positions, histories, and connections that go on where another ended.

use crate::support::cable::{
    PUBLIC, SECOND_KEY, WELCOME, api, api_with, configuration, confirm, confirm_history, data, digest, history, positioned,
    public, reject, reject_history, string,
};
use crate::support::{Cable, Caller, Client, Door, REACTORS, Server};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// A confirmed subscription of the public stream `s`, whose first message has been read, and the epoch that it tells.
fn begun(server: &Server, reactor: usize) -> (Cable, String, String) {
    let (mut cable, sid) = Cable::extended(server, reactor);
    cable.subscribe(&public("s"));
    server.broadcast(1, "s", "1");
    let (message, epoch, offset) = cable.position();
    assert_eq!((message.as_str(), offset), ("1", 1));
    (cable, sid, epoch)
}

/// The data frames of these messages of `s`, each of which is its own offset.
fn numbered(epoch: &str, offsets: std::ops::RangeInclusive<u64>) -> Vec<String> {
    offsets.map(|offset| positioned(&public("s"), &offset.to_string(), "s", epoch, offset)).collect()
}

fn publish(server: &Server, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        server.broadcast(number as usize % REACTORS, "s", &number.to_string());
    }
}

/// The connection is gone without a word.
fn cut(server: &Server, cable: Cable) {
    let ended = server.count(fanwire::metrics::Counter::WebSocketEnded);
    cable.reset_on_drop();
    drop(cable);
    server.wait_until("the cut is seen", |server| server.count(fanwire::metrics::Counter::WebSocketEnded) > ended);
    server.settle();
}

fn restored(identifiers: &[&str]) -> String {
    let tokens: Vec<String> = identifiers.iter().map(|identifier| string(identifier)).collect();
    format!(",\"restored\":true,\"restored_ids\":[{}]}}", tokens.join(","))
}

#[track_caller]
fn expect_fresh(welcome: &str) {
    assert!(welcome.starts_with("{\"type\":\"welcome\",\"sid\":\"") && welcome.len() == 49, "an ordinary welcome: {welcome}");
}

#[test]
fn ac_76_extended_frames_say_where_they_stand_and_base_ones_do_not() {
    let channel =
        "[[action_cable.channel]]\nname = \"Plain\"\nkind = \"streams\"\nhistory = false\nrules = [ { streams = [\"s\"] } ]\n";
    let server = Server::with_cable(PUBLIC, channel);
    let mut base: Vec<Cable> = (0..REACTORS).map(|reactor| Cable::open(&server, reactor)).collect();
    let (mut cable, sid) = Cable::extended(&server, 1);
    assert_eq!(cable.upgrade.field("Sec-WebSocket-Protocol"), Some("actioncable-v1-ext-json"));
    assert!(sid.len() == 22 && sid.bytes().all(|byte| byte.is_ascii_alphanumeric()), "128 bits, base62: {sid}");
    assert_ne!(sid, Cable::extended(&server, 2).1, "new with every connection");
    let plain = "{\"channel\":\"Plain\"}";
    for cable in base.iter_mut().chain([&mut cable]) {
        cable.subscribe(&public("s"));
        cable.subscribe(&public("t"));
    }
    cable.subscribe(plain);
    let mut expected = Vec::new();
    let mut epochs = [const { String::new() }; 2];
    let mut offsets = [0; 2];
    for number in 0..40 {
        let at = usize::from(number % 3 == 0);
        let stream = ["s", "t"][at];
        // What is not kept has no place.
        let transient = number % 5 == 4;
        let meta = if transient { ",\"meta\":{\"transient\":true}" } else { "" };
        let body = format!("{{\"stream\":\"{stream}\",\"data\":\"[{number}]\"{meta}}}");
        assert_eq!(server.cable_post(number % REACTORS, "/_broadcast", &body).status, 201);
        let message = format!("[{number}]");
        let identifier = public(stream);
        if transient {
            assert_eq!(cable.text(), data(&identifier, &message));
        } else {
            offsets[at] += 1;
            if epochs[at].is_empty() {
                let (came, epoch, offset) = cable.position();
                assert_eq!((came, offset), (message.clone(), 1));
                epochs[at] = epoch;
            } else {
                assert_eq!(cable.text(), positioned(&identifier, &message, stream, &epochs[at], offsets[at]));
            }
        }
        if stream == "s" {
            assert_eq!(cable.text(), data(plain, &message), "a channel without history");
        }
        expected.push(data(&identifier, &message));
    }
    assert_ne!(epochs[0], epochs[1], "of each stream its own");
    for cable in &mut base {
        assert_eq!(cable.texts(&server), expected);
        // Commands of the other protocol are bad input here, and `history` is a key like any that is unknown.
        for command in ["history", "whisper", "presence", "join", "leave"] {
            cable.command(command, &public("s"), ",\"data\":1,\"history\":{\"since\":1}");
        }
        cable.say("{\"command\":\"ping\"}");
        cable.say("{\"command\":\"pong\"}");
        cable.command("subscribe", &api("posts"), ",\"history\":{\"since\":1}");
        assert_eq!(cable.texts(&server), [confirm(&api("posts"))]);
    }
    // Nor does one that presents another's `sid` go on with anything, whether that other is there or gone.
    let presenting = |sid: &str| {
        let fields = "Sec-WebSocket-Protocol: actioncable-v1-json\r\n";
        let mut cable = Cable::asking(Client::on(&server, 2), &format!("/cable?sid={sid}"), fields);
        assert_eq!(cable.text(), WELCOME);
        cable
    };
    let mut beside = presenting(&sid);
    server.broadcast(3, "s", "1");
    assert_eq!(cable.position().2, offsets[0] + 1);
    cut(&server, cable);
    let mut behind = presenting(&sid);
    server.broadcast(3, "s", "2");
    // Longer than `restore_hold`.
    server.pass(6.0);
    for cable in [&mut beside, &mut behind] {
        assert!(cable.texts(&server).is_empty());
        cable.expect_reject("fence");
    }
    // It is as good as before for those who may have it.
    let restored_ids = [public("s"), public("t"), plain.to_owned()].map(|identifier| string(&identifier)).join(",");
    let (_, welcome) = Cable::resuming(&server, 3, &sid);
    assert!(welcome.ends_with(&format!(",\"restored\":true,\"restored_ids\":[{restored_ids}]}}")), "{welcome}");
    // Where it is not offered there is only the base.
    let server = Server::with_cable("extended = false", "");
    let fields = "Sec-WebSocket-Protocol: actioncable-v1-ext-json, actioncable-v1-json\r\n";
    let mut cable = Cable::asking(Client::on(&server, 1), "/cable", fields);
    assert_eq!(cable.upgrade.field("Sec-WebSocket-Protocol"), Some("actioncable-v1-json"));
    assert_eq!(cable.text(), "{\"type\":\"welcome\"}");
}

#[test]
fn ac_77_who_comes_back_with_the_sid_gets_what_was_missed() {
    let server = Server::with_cable(PUBLIC, "");
    for by_header in [false, true] {
        let (mut cable, sid) = Cable::extended(&server, 1);
        cable.subscribe(&public("s"));
        cable.subscribe(&api("posts"));
        // Rejected and left ones are not restored.
        cable.expect_reject(&api("posts#"));
        cable.subscribe(&public("left"));
        cable.unsubscribe(&public("left"));
        let begin = if by_header { 7 } else { 0 };
        publish(&server, begin + 1..=begin + 3);
        let (_, epoch, offset) = cable.position();
        assert_eq!(offset, begin + 1);
        assert_eq!([cable.text(), cable.text()], *numbered(&epoch, begin + 2..=begin + 3));
        cut(&server, cable);
        publish(&server, begin + 4..=begin + 5);
        let (mut back, welcome) = if by_header {
            let fields = format!("Sec-WebSocket-Protocol: actioncable-v1-ext-json\r\nX-ANYCABLE-RESTORE-SID: {sid}\r\n");
            let mut cable = Cable::asking(Client::on(&server, 2), "/cable", &fields);
            let welcome = cable.text();
            (cable, welcome)
        } else {
            Cable::resuming(&server, 2, &sid)
        };
        let new = &welcome[25..47];
        assert_ne!(new, sid);
        assert_eq!(welcome, format!("{{\"type\":\"welcome\",\"sid\":\"{new}\"{}", restored(&[&public("s"), &api("posts")])));
        // Live messages wait for what was missed.
        publish(&server, begin + 6..=begin + 6);
        server.expect_silence(&mut back);
        back.command("history", &public("s"), &history(0, &[("s", &epoch, begin + 3)]));
        let mut expected = numbered(&epoch, begin + 4..=begin + 6);
        expected.push(confirm_history(&public("s")));
        assert_eq!(back.texts(&server), expected);
        publish(&server, begin + 7..=begin + 7);
        assert_eq!(back.texts(&server), numbered(&epoch, begin + 7..=begin + 7));
        // The sid works once.
        expect_fresh(&Cable::resuming(&server, 3, &sid).1);
    }
    expect_fresh(&Cable::resuming(&server, 1, "0123456789012345678901").1);
    expect_fresh(&Cable::resuming(&server, 1, "nonsense").1);
}

/// Section 11.3: who says nothing gets what came since it was restored, after `restore_hold`.
#[test]
fn a_restored_subscription_whose_client_says_nothing_goes_on_after_a_while() {
    let server = Server::with_cable(&format!("{PUBLIC}\nrestore_hold = \"2s\""), "");
    let (cable, sid, epoch) = begun(&server, 1);
    cut(&server, cable);
    publish(&server, 2..=3);
    let (mut back, welcome) = Cable::resuming(&server, 3, &sid);
    assert!(welcome.ends_with(&restored(&[&public("s")])), "{welcome}");
    publish(&server, 4..=5);
    server.pass(1.7);
    assert!(back.texts(&server).is_empty());
    server.pass(0.4);
    assert_eq!(back.texts(&server), numbered(&epoch, 4..=5));
    publish(&server, 6..=6);
    assert_eq!(back.texts(&server), numbered(&epoch, 6..=6));
    // Late, but not too late: what was sent meanwhile is not sent again.
    back.command("history", &public("s"), &history(0, &[("s", &epoch, 1)]));
    let mut expected = numbered(&epoch, 2..=3);
    expected.push(confirm_history(&public("s")));
    assert_eq!(back.texts(&server), expected);
    // Subscribing again is how others say what they have; leaving a held one leaves nothing behind.
    cut(&server, back);
    let sid = welcome[25..47].to_owned();
    let (mut back, _) = Cable::resuming(&server, 2, &sid);
    publish(&server, 7..=7);
    back.command("subscribe", &public("s"), &history(0, &[("s", &epoch, 5)]));
    let mut expected = numbered(&epoch, 6..=7);
    expected.push(confirm_history(&public("s")));
    assert_eq!(back.texts(&server), expected);
    cut(&server, back);
}

/// Section 11.3: what ends a conversation, and what only interrupts it.
#[test]
fn a_conversation_ends_with_its_time_and_with_a_disconnect() {
    let server = Server::with_cable(&format!("{PUBLIC}\nresume_ttl = \"10s\""), "");
    // A close of the client's own is an interruption.
    let (mut cable, sid, _) = begun(&server, 1);
    cable.send(crate::support::masked(0x88, &1000u16.to_be_bytes()));
    cable.expect_close(1000, "");
    server.settle();
    server.pass(9.0);
    let (mut cable, welcome) = Cable::resuming(&server, 2, &sid);
    assert!(welcome.contains("\"restored\":true"), "{welcome}");
    // The earlier one is still open: it is closed first, and what it had goes on.
    let sid = welcome[25..47].to_owned();
    let (newer, welcome) = Cable::resuming(&server, 3, &sid);
    assert!(welcome.contains(&restored(&[&public("s")])), "{welcome}");
    let close = cable.beyond_pings();
    assert_eq!((close.opcode, close.code()), (8, Some(1000)));
    cable.expect_end();
    // Its time is over.
    let sid = welcome[25..47].to_owned();
    newer.reset_on_drop();
    cut(&server, newer);
    server.pass(10.5);
    expect_fresh(&Cable::resuming(&server, 1, &sid).1);
    // Who was told to go has nothing to come back to.
    let (mut cable, sid) = Cable::extended(&server, 1);
    cable.subscribe(&api("posts"));
    let body = "{\"command\":\"disconnect\",\"payload\":{\"identifier\":\"document\"}}";
    assert_eq!(server.cable_post(0, "/_broadcast", body).status, 201);
    cable.expect_disconnect("remote", true);
    server.settle();
    expect_fresh(&Cable::resuming(&server, 2, &sid).1);
}

/// Section 11.3: keys are checked again.
#[test]
fn what_the_rules_no_longer_allow_is_not_restored() {
    let server = Server::with_cable(PUBLIC, "");
    let (mut cable, sid) = Cable::extended(&server, 1);
    for identifier in [api_with(SECOND_KEY, "posts"), public("s"), api("posts"), api(";")] {
        cable.subscribe(&identifier);
    }
    cut(&server, cable);
    server.reload_cable_text(&configuration(PUBLIC, "").replace(&digest(SECOND_KEY), &digest("another-key")));
    let (mut back, welcome) = Cable::resuming(&server, 2, &sid);
    assert!(welcome.ends_with(&restored(&[&public("s"), &api("posts"), &api(";")])), "{welcome}");
    back.expect_reject(&api_with(SECOND_KEY, "posts"));
    // It is known under the names of the keys of what was restored.
    let body = "{\"command\":\"disconnect\",\"payload\":{\"identifier\":\"document\",\"reconnect\":false}}";
    assert_eq!(server.cable_post(0, "/_broadcast", body).status, 201);
    back.expect_disconnect("remote", false);
}

#[test]
fn ac_78_a_history_that_is_not_whole_is_rejected_and_nothing_of_it_replayed() {
    // The window of the other dialect would keep the stream for longer.
    let server = Server::with_both("message_ttl = \"60s\"", &format!("{PUBLIC}\nhistory_limit = 4"));
    let (mut first, _, epoch) = begun(&server, 1);
    publish(&server, 2..=6);
    assert_eq!(first.texts(&server), numbered(&epoch, 2..=6));
    server.broadcast(0, "t", "1");
    let identifier = public("s");
    let fresh = |more: &str| {
        let (mut cable, _) = Cable::extended(&server, 2);
        cable.command("subscribe", &identifier, more);
        assert_eq!(cable.text(), confirm(&identifier));
        let texts = cable.texts(&server);
        // And on a subscription that is live already.
        let (mut cable, _) = Cable::extended(&server, 3);
        cable.subscribe(&identifier);
        cable.command("history", &identifier, more);
        assert_eq!(cable.texts(&server), texts, "{more}");
        texts
    };
    let rejected = [reject_history(&identifier)];
    let number: u64 = epoch.parse().expect("ours are numbers");
    let other = (number + 1).to_string();
    for more in [
        history(0, &[("s", &other, 6)]),
        history(0, &[("s", "unheard-of", 6)]),
        history(0, &[("s", &epoch, 7)]),
        history(0, &[("s", &epoch, 1)]),
        history(0, &[("s", &epoch, 0)]),
        history(1, &[]),
        history(server.seconds() - 3_600, &[]),
        // Neither `since` nor a stream.
        history(0, &[]),
        ",\"history\":{}".to_owned(),
        ",\"history\":{\"streams\":{\"s\":{}}}".to_owned(),
    ] {
        assert_eq!(fresh(&more), rejected, "{more}");
    }
    // What is kept, by offset and by second; streams of others mean nothing.
    let mut last_four = numbered(&epoch, 3..=6);
    last_four.push(confirm_history(&identifier));
    assert_eq!(fresh(&history(0, &[("s", &epoch, 2), ("t", "unheard-of", 9)])), last_four);
    assert_eq!(fresh(&history(0, &[("t", "unheard-of", 9)])), [confirm_history(&identifier)]);
    server.advance(2.0);
    publish(&server, 7..=8);
    let mut last_two = numbered(&epoch, 7..=8);
    last_two.push(confirm_history(&identifier));
    assert_eq!(fresh(&history(server.seconds(), &[])), last_two);
    assert_eq!(fresh(&history(server.seconds() - 2, &[])), rejected, "one of that second is evicted");
    assert_eq!(fresh(&history(server.seconds(), &[("s", &epoch, 8)])), [confirm_history(&identifier)], "the offset counts");
    // One of several streams fails, and nothing of the others is sent.
    let two = api("posts;feedbacks#create");
    for class in ["Post", "Feedback"] {
        server.cable_event("create", class, "{}");
    }
    let (mut several, _) = Cable::extended(&server, 0);
    several.subscribe(&two);
    let posts = "api:posts_create";
    server.cable_event("create", "Post", "{}");
    let (_, epoch_of_posts, offset) = several.position();
    assert_eq!(offset, 2);
    let fails = history(server.seconds(), &[(posts, &epoch_of_posts, 0), ("api:feedbacks_create", &epoch_of_posts, 0)]);
    several.command("history", &two, &fails);
    assert_eq!(several.texts(&server), [reject_history(&two)]);
    several.command("history", &two, &history(server.seconds(), &[(posts, &epoch_of_posts, 0)]));
    let frames = several.texts(&server);
    assert_eq!((frames.len(), frames.last()), (3, Some(&confirm_history(&two))), "the second was sent live: {frames:?}");
    assert!(frames[0].contains("\"stream_id\":\"api:posts_create\"") && frames[1].contains("api:feedbacks_create"));
    // Not subscribed; a subscribe that is rejected; one that is a duplicate.
    let (mut cable, _) = Cable::extended(&server, 1);
    cable.command("history", &identifier, &history(server.seconds(), &[]));
    assert_eq!(cable.text(), reject_history(&identifier));
    cable.command("subscribe", &api("posts#"), &history(server.seconds(), &[]));
    assert_eq!(cable.texts(&server), [reject(&api("posts#"))]);
    cable.subscribe(&identifier);
    cable.command("subscribe", &identifier, &history(server.seconds(), &[]));
    assert_eq!(cable.texts(&server), last_two, "no second confirm for a client that offered one protocol");

    // All entries expire, and their streams are forgotten: who has the last has missed nothing.
    drop((first, cable));
    server.advance(301.0);
    for is_known in [true, false] {
        server.settle();
        assert_eq!(server.row("s").is_some(), is_known);
        assert_eq!(fresh(&history(0, &[("s", &epoch, 8)])), [confirm_history(&identifier)]);
        assert_eq!(fresh(&history(0, &[("s", &epoch, 7)])), rejected);
        server.settle();
        for seconds in [1.0, 40.0, 40.0] {
            server.advance(seconds);
        }
    }
    // Its offsets go on.
    let (mut cable, _) = Cable::extended(&server, 1);
    cable.subscribe(&identifier);
    publish(&server, 9..=9);
    assert_eq!(cable.texts(&server), numbered(&epoch, 9..=9));
    cut(&server, cable);
    // Until nobody remembers.
    for seconds in [301.0, 40.0, 40.0, 3_001.0, 1.0] {
        server.advance(seconds);
    }
    let (mut cable, _) = Cable::extended(&server, 1);
    cable.subscribe(&identifier);
    server.broadcast(0, "s", "1");
    let (_, later, offset) = cable.position();
    assert_eq!(offset, 1);
    assert_ne!(later, epoch, "never used twice");
}

#[test]
fn ac_79_a_history_amid_publishing_gives_each_offset_once_and_in_order() {
    let server = Server::with_cable(&format!("{PUBLIC}\nhistory_limit = 100000\nmax_subscriptions = 64"), "");
    let door: Door = *server;
    let (cable, _, epoch) = begun(&server, 1);
    drop(cable);
    publish(&server, 2..=20);
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let mut caller = Caller::new(&door, 0);
            let mut number = 20;
            while !stop.load(SeqCst) {
                number += 1;
                let body = format!("{{\"stream\":\"s\",\"data\":\"{number}\"}}");
                assert_eq!(caller.post("/_broadcast", "", body.as_bytes()).status, 201);
            }
        });
        let outcome = std::panic::catch_unwind(|| {
            let identifier = public("s");
            let mut known = 0;
            for round in 0..40 {
                let (mut cable, _) = Cable::extended(&door, round % REACTORS);
                cable.command("subscribe", &identifier, &history(0, &[("s", &epoch, known)]));
                assert_eq!(cable.text(), confirm(&identifier), "the confirm comes first");
                let (mut confirms, mut next, mut live) = (0, known + 1, 0);
                while live < 10 {
                    let text = cable.text();
                    if text == confirm_history(&identifier) {
                        confirms += 1;
                        continue;
                    }
                    assert_eq!(text, positioned(&identifier, &next.to_string(), "s", &epoch, next), "round {round}");
                    next += 1;
                    live += usize::from(confirms > 0);
                    if live == 5 && round % 2 == 0 {
                        // Asked again on the way: all of it was sent, so none of it is sent again.
                        cable.command("history", &identifier, &history(0, &[("s", &epoch, known)]));
                    }
                }
                assert!(confirms >= 1, "round {round}");
                known = next - 1 - (round as u64 % 3) * 4;
            }
        });
        stop.store(true, SeqCst);
        outcome.expect("every round holds");
    });
}
