//! RS-60 to RS-62, RS-65 to RS-68 and RS-72: what ends a connection, and what does not.

use crate::support::realtime::{
    DEV, FORBIDDEN, GAME, JWT_SECRET, Listener, PATH, PRIVATE, PROJECT, SERVICE, WORLD, Writer, bearer, configuration,
    dev_resources, document, jwt, signed, token,
};
use crate::support::{Client, PATIENCE, REACTORS, START, Server, log, masked};
use fanwire::config::Config;
use fanwire::metrics::Counter;
use std::path::Path;
use std::time::Instant;

/// A listener with this token that waits for [`GAME`].
fn waiting(server: &Server, reactor: usize, token: &str) -> Listener {
    let mut listener = Listener::with(server, reactor, &bearer(token));
    listener.await_document(GAME);
    listener
}

#[test]
fn rs_60_a_revocation_closes_the_sockets_of_its_tokens_and_nobody_elses() {
    let server = Server::with_project("", DEV, "");
    let mut writer = Writer::on(&server, 3);
    let tokens: Vec<String> = ["u1", "u1", "u2"].map(|user| writer.issue(user, 3_600)).into();
    assert!(tokens.iter().all(|token| token.len() == 43));
    let mut listeners: Vec<Vec<Listener>> =
        tokens.iter().map(|token| (0..REACTORS).map(|reactor| waiting(&server, reactor, token)).collect()).collect();
    // An issued token says who its user is.
    listeners[2][0].await_document(("kvStore", "u2:kvstoreServer:k"));
    assert_eq!(listeners[2][0].subscribe(("kvStore", "u1:kvstoreServer:k")), FORBIDDEN);
    let mut others = [Listener::open(&server, 1), Listener::user(&server, 2, "u1"), Listener::with(&server, 0, SERVICE)];
    others.iter_mut().for_each(|listener| listener.await_document(GAME));
    writer.revoke(&format!("{{\"token\":\"{}\"}}", tokens[0]));
    for mut listener in listeners.remove(0) {
        listener.expect_close(1008, "Access revoked");
    }
    writer.revoke("{\"userId\":\"u1\"}");
    for mut listener in listeners.remove(0) {
        listener.expect_close(1008, "Access revoked");
    }
    // A revocation that means nobody.
    writer.revoke("{\"userId\":\"u1\"}");
    writer.revoke(&format!("{{\"token\":\"{}\"}}", tokens[1]));
    let version = writer.put(GAME, "1");
    for listener in listeners[0].iter_mut().chain(&mut others) {
        listener.expect(&document("", GAME, "1", &version));
        server.expect_silence(listener);
    }
    for token in &tokens[..2] {
        let mut client = Client::on(&server, 1);
        assert_eq!(client.ask_upgrade(PATH, &format!("{PROJECT}{}", bearer(token))).status, 401);
    }
    waiting_again(&server, &tokens[2]);
}

/// The token still counts.
#[track_caller]
fn waiting_again(server: &Server, token: &str) {
    let mut listener = Listener::with(server, 1, &bearer(token));
    assert!(listener.subscribe(GAME).starts_with("{\"resource\""));
}

#[test]
fn rs_61_at_its_expiry_a_token_ends_its_socket_and_no_document_follows() {
    let server = Server::with_project("", "", "");
    // Off the beat of the timers.
    server.advance(0.03);
    let mut writer = Writer::on(&server, 3);
    let issued = writer.issue("u1", 5);
    // START, the second that servers begin with, and five.
    let claims = format!("{{\"sub\":\"u1\",\"exp\":{}.03}}", START + 1 + 5);
    let ends = [issued, jwt(&claims)];
    let mut listeners: Vec<Listener> =
        (0..2 * REACTORS).map(|number| waiting(&server, number % REACTORS, &ends[number / REACTORS])).collect();
    let mut lasting = Listener::user(&server, 2, "u1");
    lasting.await_document(GAME);
    server.advance(4.8);
    let version = writer.put(GAME, "1");
    listeners.iter_mut().for_each(|listener| listener.expect(&document("", GAME, "1", &version)));
    server.advance(0.2);
    writer.put(GAME, "2");
    for mut listener in listeners {
        // At most a tenth of a second too early, and nothing in between.
        listener.expect_close(1008, "Access token expired");
    }
    assert!(lasting.text().contains("\"data\":1") && lasting.text().contains("\"data\":2"));
    for token in ends {
        let mut client = Client::on(&server, 1);
        let answer = client.ask_upgrade(PATH, &format!("{PROJECT}{}", bearer(&token)));
        assert_eq!((answer.status, answer.text()), (401, r#"{"error":"Invalid credentials"}"#));
    }
}

#[test]
fn rs_61_what_waits_for_a_slow_client_is_not_sent_after_the_expiry() {
    let server = Server::with_project("", "", "");
    let mut writer = Writer::on(&server, 3);
    let token = writer.issue("u1", 60);
    let mut slow = Listener::asking(Client::with_small_buffer(&server, 1, 2_048), &format!("{PROJECT}{}", bearer(&token)));
    slow.await_document(GAME);
    let filler = format!("\"{}\"", "x".repeat(20_000));
    let mut written = 0;
    while server.count(Counter::Lagging) == 0 {
        writer.put(GAME, &filler);
        server.settle();
        written += 1;
        assert!(written < 500, "more than the kernel holds");
    }
    let newest = writer.put(GAME, "\"the newest\"");
    server.advance(60.0);
    slow.enlarge_buffer();
    let mut read = 0;
    let close = loop {
        let frame = slow.beyond_pings();
        if frame.opcode == 8 {
            break frame;
        }
        read += 1;
        assert!(!String::from_utf8_lossy(&frame.payload).contains(&newest));
    };
    assert_eq!((close.code(), &close.payload[2..]), (Some(1008), &b"Access token expired"[..]));
    // The kernel had some of it, and of the window nothing but the frame that was begun.
    assert!(read < written - 5, "{read} of {written}");
}

#[test]
fn rs_62_whatever_is_no_signed_token_of_this_project_is_refused() {
    let server = Server::with_project("", "", "");
    let ask = |token: &str| {
        let mut client = Client::on(&server, 1);
        let answer = client.ask_upgrade(PATH, &format!("{PROJECT}{}", bearer(token)));
        (answer.status, answer.text().to_owned())
    };
    let good = r#"{"sub":"u1","exp":4102444800}"#;
    let invalid = (401, r#"{"error":"Invalid credentials"}"#.to_owned());
    assert_eq!(ask(&jwt(good)).0, 101);
    assert_eq!(ask(&jwt(r#"{"sub":"u1","exp":4102444800,"org":"testOrg","project":"testProj"}"#)).0, 101);
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"HS384"}"#, r#"{"alg":"HS512"}"#, r#"{"alg":"RS256"}"#, r#"{"typ":"JWT"}"#] {
        assert_eq!(ask(&signed(header, good, JWT_SECRET)), invalid, "{header}");
    }
    let unsigned = signed(r#"{"alg":"none"}"#, good, JWT_SECRET);
    let (unsigned, _) = unsigned.rsplit_once('.').expect("three parts");
    assert_eq!(ask(&format!("{unsigned}.")), invalid);
    assert_eq!(ask(&signed(r#"{"alg":"HS256"}"#, good, "secret-of-somebody")), invalid);
    for claims in [
        r#"{"sub":"u1"}"#.to_owned(),
        format!("{{\"sub\":\"u1\",\"exp\":{}}}", START),
        format!("{{\"sub\":\"u1\",\"exp\":4102444800,\"nbf\":{}}}", START + 60),
        r#"{"sub":"World","exp":4102444800}"#.to_owned(),
        r#"{"exp":4102444800}"#.to_owned(),
    ] {
        assert_eq!(ask(&jwt(&claims)), invalid, "{claims}");
    }
    let other = (403, r#"{"error":"Project not allowed"}"#.to_owned());
    assert_eq!(ask(&jwt(r#"{"sub":"u1","exp":4102444800,"project":"other"}"#)), other);
    assert_eq!(ask(&jwt(r#"{"sub":"u1","exp":4102444800,"org":"other"}"#)), other);
    // Without a secret there are no such tokens.
    let mut config = dev_resources(&configuration("", "", ""));
    config.resources.projects[0].jwt_secret = None;
    let without = Server::cable(config);
    let mut client = Client::on(&without, 1);
    assert_eq!(client.ask_upgrade(PATH, &format!("{PROJECT}{}", bearer(&jwt(good)))).status, 401);
}

#[test]
fn rs_65_no_credential_of_a_socket_reaches_log_metrics_or_errors() {
    let server = Server::with_project("", "", "");
    let issued = Writer::on(&server, 1).issue("u1", 3_600);
    let good = jwt(r#"{"sub":"u1","exp":4102444800}"#);
    let bad = signed(r#"{"alg":"HS256"}"#, r#"{"sub":"u1","exp":1}"#, JWT_SECRET);
    let wrong = "not-a-known-service-key";
    let lines = |more: &str| token(&format!("x-m2-organization:testOrg\nx-m2-project:testProj\n{more}"));
    let mut shown = String::new();
    for (credential, more) in [
        (&issued, format!("authorization:Bearer {issued}")),
        (&good, format!("authorization:Bearer {good}")),
        (&bad, format!("authorization:Bearer {bad}")),
        (&wrong.to_owned(), format!("x-api-key:{wrong}")),
    ] {
        for fields in [
            format!("Sec-WebSocket-Protocol: {}\r\n", lines(&more)),
            format!("{PROJECT}{}\r\n", more.replace(':', ": ")),
            format!("{PROJECT}{}\r\nx-m2-project-id: other\r\n", more.replace(':', ": ")),
        ] {
            let mut client = Client::on(&server, 2);
            let answer = client.ask_upgrade(PATH, &fields);
            shown += answer.text();
            if answer.status == 101 {
                let mut listener = Listener { client, upgrade: answer };
                for text in ["Bearer x", "Basic x", credential.as_str()] {
                    listener.say(&format!("{{\"action\":\"authenticate\",\"authorization\":\"{text}\"}}"));
                    listener.expect(FORBIDDEN);
                }
            }
        }
    }
    let mut caller = server.caller(0);
    for target in ["/metrics", "/health", "/api/realtime/status", "/channels-stats?id=ALL"] {
        shown += caller.get(target).text();
    }
    shown += &log::text();
    for secret in [issued.as_str(), &good, &bad, wrong, JWT_SECRET, &good[good.len() - 43..], &bad[bad.len() - 43..]] {
        assert!(!shown.contains(secret), "{secret}");
    }
}

/// The configuration with these keys of its project, and another project.
fn with_other(keys: &str, project: &str, other: &str) -> Config {
    let tables = format!("[[resources.projects]]\norganization = \"testOrg\"\nproject = \"other\"\n{other}");
    dev_resources(&configuration(keys, project, &tables))
}

const OTHER: &str = "x-m2-organization: testOrg\r\nx-m2-project: other\r\n";
const PUBLIC: &str = "public = [\"liveConfig\"]";

#[test]
fn rs_66_a_changed_option_closes_the_sockets_of_its_project_and_nobody_elses() {
    let other = format!("anonymous_user = \"x\"\n{PUBLIC}");
    let open = |server: &Server| {
        let mut mine: Vec<Listener> = (0..REACTORS).map(|reactor| Listener::user(server, reactor, "u1")).collect();
        let mut others: Vec<Listener> =
            (0..REACTORS).map(|reactor| Listener::asking(Client::on(server, reactor), OTHER)).collect();
        mine.iter_mut().chain(&mut others).for_each(|listener| listener.await_document(GAME));
        (mine, others)
    };
    let base = || with_other("", PUBLIC, &other);
    for (changed, what) in [
        (with_other("", &format!("{PUBLIC}\nrequire_credentials = true"), &other), "require_credentials"),
        (with_other("", &format!("{PUBLIC}\n{DEV}"), &other), "anonymous_user"),
        (with_other("", "", &other), "public"),
        (with_other("", &format!("{PUBLIC}\nallowed_origins = [\"https://a.example\"]"), &other), "allowed_origins"),
        (
            {
                let mut changed = base();
                changed.resources.projects[0].jwt_secret = None;
                changed
            },
            "jwt_secret",
        ),
        (
            {
                let mut changed = base();
                changed.resources.projects.remove(0);
                changed
            },
            "the project is gone",
        ),
    ] {
        let server = Server::cable(base());
        let (mine, mut others) = open(&server);
        server.reload(changed).expect("nothing that is fixed changes");
        for mut listener in mine {
            listener.expect_close(1008, "Options changed");
        }
        others.iter_mut().for_each(|listener| server.expect_silence(listener));
        assert_eq!(server.count(Counter::Panics), 0, "{what}");
    }
    // What is listed for all projects concerns all.
    let server = Server::cable(base());
    let (mine, others) = open(&server);
    server.reload(with_other("collection_names = [\"private\"]", PUBLIC, &other)).expect("nothing that is fixed changes");
    mine.into_iter().chain(others).for_each(|mut listener| listener.expect_close(1008, "Options changed"));
    // And nothing else closes anybody.
    let server = Server::cable(base());
    let (mut mine, mut others) = open(&server);
    for same in [
        base(),
        with_other(
            "ping_interval = \"20s\"\nreject = \"close\"\nlimits.messages_burst = 7\nlimits.connections_per_project_max = 1",
            PUBLIC,
            &other,
        ),
        with_other("", &format!("{PUBLIC}\nhosts = [\"a.example\"]"), &other),
    ] {
        server.reload(same).expect("nothing that is fixed changes");
    }
    let invalid = format!("{}{}", crate::support::LISTEN, configuration("ping_interval = \"99s\"", "", ""));
    assert!(Config::from_toml(&invalid, "test.toml", Path::new(".")).is_err());
    let mut fixed = with_other("", "", "");
    fixed.server.reactors = 3;
    assert!(server.reload(fixed).is_err(), "all or nothing");
    mine.iter_mut().chain(&mut others).for_each(|listener| server.expect_silence(listener));
    let version = Writer::on(&server, 1).put(GAME, "1");
    mine.iter_mut().for_each(|listener| listener.expect(&document("", GAME, "1", &version)));
}

#[test]
fn rs_66_closes_come_in_slices_and_delivery_stops_at_once() {
    let keys = "close_slice_connections = 2\nclose_slice_interval = \"1s\"";
    let server = Server::cable(with_other(keys, PUBLIC, PUBLIC));
    let mut writer = Writer::on(&server, 3);
    let mut open: Vec<Listener> = (0..7).map(|number| Listener::open(&server, number % REACTORS)).collect();
    open.iter_mut().for_each(|listener| listener.await_document(GAME));
    let mut other = Listener::asking(Client::on(&server, 2), OTHER);
    other.await_document(GAME);
    server.reload(with_other(keys, &format!("{PUBLIC}\n{DEV}"), PUBLIC)).expect("nothing that is fixed changes");
    server.settle();
    // Nobody of them hears of it, closed or not.
    writer.put(GAME, "1");
    for slice in 0..4 {
        server.settle();
        let before = open.len();
        open.retain_mut(|listener| {
            let closed = listener.has_bytes();
            if closed {
                listener.expect_close(1008, "Options changed");
            }
            !closed
        });
        assert_eq!(before - open.len(), if slice < 3 { 2 } else { 1 }, "slice {slice}");
        // Timers count in tenths of a second.
        server.advance(if slice == 0 { 1.1 } else { 1.0 });
    }
    assert!(open.is_empty());
    server.expect_silence(&mut other);
    // Who comes now comes under the new ones.
    let mut listener = Listener::open(&server, 1);
    listener.await_document(PRIVATE);
}

#[test]
fn who_waits_to_be_closed_for_changed_options_is_heard_no_more_in_a_stop_either() {
    let keys = "close_slice_connections = 1\nclose_slice_interval = \"1h\"\nsilence_timeout = \"10h\"";
    let server = Server::cable(with_other(keys, PUBLIC, PUBLIC));
    let mut open: Vec<Listener> = (0..2).map(|_| Listener::open(&server, 1)).collect();
    server.reload(with_other(keys, &format!("{PUBLIC}\n{DEV}"), PUBLIC)).expect("nothing that is fixed changes");
    server.settle();
    let first = open.iter_mut().position(|listener| listener.has_bytes()).expect("the first slice");
    open.swap_remove(first).expect_close(1008, "Options changed");
    server.drain();
    server.advance(0.0);
    open[0].request("subscribe", GAME, "");
    // Nobody can connect any more to see that all is read: each reads it, asks, and answers.
    (0..3).for_each(|_| server.advance(0.0));
    assert!(!open[0].has_bytes(), "nobody answers");
    server.advance(10.1);
    open[0].expect_close(1008, "Options changed");
}

#[test]
fn a_service_key_that_is_gone_closes_its_sockets() {
    let config = || {
        let mut config = dev_resources(&configuration("", "", ""));
        let dev = config.resources.projects[0].keys[0].clone();
        let digest = fanwire::access::digest(b"second");
        config.resources.projects[0].keys.push(fanwire::dialects::resources::options::ServiceKey { digest, ..dev });
        config
    };
    let server = Server::cable(config());
    let mut gone = Listener::with(&server, 1, "x-api-key: second\r\n");
    let mut stays = Listener::with(&server, 2, SERVICE);
    gone.await_document(GAME);
    stays.await_document(GAME);
    server.reload(dev_resources(&configuration("", "", ""))).expect("nothing that is fixed changes");
    gone.expect_close(1008, "Access revoked");
    server.expect_silence(&mut stays);
}

#[test]
fn rs_67_who_is_silent_is_pinged_and_dropped_75_seconds_after_its_last_byte() {
    let server = Server::with_resources("");
    let mut silent: Vec<Listener> = (0..REACTORS).map(|reactor| Listener::open(&server, reactor)).collect();
    let mut answering = Listener::open(&server, 1);
    let mut dripping = Listener::open(&server, 2);
    server.settle();
    // In the middle of a message, a byte now and then is a sign of life.
    dripping.client.send([0x81, 0xfe]);
    let mut pings = 0;
    for second in 1..=74 {
        server.advance(1.0);
        server.settle();
        while answering.has_bytes() {
            let ping = answering.frame();
            assert_eq!((ping.opcode, ping.payload.len()), (9, 0));
            answering.client.send(masked(0x8a, &ping.payload));
            pings += 1;
        }
        if second % 20 == 0 {
            dripping.client.send([0x00]);
        }
    }
    // One in each interval, at a phase of its own.
    assert!((2..=3).contains(&pings), "{pings}");
    server.advance(0.9);
    server.settle();
    for listener in &mut silent {
        for _ in 0..2 {
            assert_eq!(listener.frame().opcode, 9);
        }
        while listener.has_bytes() {
            assert_eq!(listener.frame().opcode, 9, "74.9 seconds are not enough");
        }
    }
    server.advance(0.3);
    for listener in &mut silent {
        let frame = listener.frame();
        assert_eq!((frame.code(), &frame.payload[2..]), (Some(1001), &b"Idle timeout"[..]));
    }
    // TCP is dropped at once: nobody waits for an answer.
    server.advance(0.2);
    silent.iter_mut().for_each(|listener| listener.expect_end());
    server.wait_until("they are gone", |server| server.count(Counter::WebSocketEnded) == REACTORS as u64);
    answering.request("subscribe", GAME, "");
    assert!(String::from_utf8_lossy(&answering.beyond_pings().payload).contains("warning"));
    while dripping.has_bytes() {
        assert_eq!(dripping.frame().opcode, 9);
    }
}

#[test]
fn rs_67_who_reads_nothing_is_dropped_with_what_waits_for_it() {
    let server = Server::with_resources("");
    let mut writer = Writer::on(&server, 3);
    let mut slow = Listener::asking(Client::with_small_buffer(&server, 1, 2_048), PROJECT);
    slow.await_document(WORLD);
    let filler = format!("\"{}\"", "x".repeat(20_000));
    while server.count(Counter::Lagging) == 0 {
        writer.put(WORLD, &filler);
        server.settle();
    }
    server.advance(74.9);
    assert_eq!(server.count(Counter::WebSocketEnded), 0);
    server.advance(0.3);
    server.advance(0.2);
    server.wait_until("it is gone", |server| server.count(Counter::WebSocketEnded) == 1);
    assert_eq!(server.count(Counter::DroppedTooSlow), 0);
    drop(slow);
}

#[test]
fn rs_67_who_answers_is_not_silent_although_nothing_is_read_from_it() {
    let server = Server::with_resources("");
    Writer::on(&server, 3).put(WORLD, &format!("\"{}\"", "x".repeat(1_000_000)));
    let mut slow = Listener::asking(Client::with_small_buffer(&server, 1, 2_048), PROJECT);
    slow.request("subscribe", WORLD, "");
    server.settle();
    // More waits than the window holds: nothing of this is read.
    slow.request("subscribe", GAME, "");
    server.settle();
    assert_eq!(server.count(Counter::Joined), 1);
    for _ in 0..8 {
        slow.client.send(masked(0x8a, b""));
        server.settle();
        server.advance(20.0);
    }
    server.settle();
    assert_eq!((server.count(Counter::Joined), server.count(Counter::WebSocketEnded)), (1, 0));
    // Now it says nothing.
    server.advance(30.0);
    server.advance(75.0);
    server.advance(0.5);
    server.wait_until("it is gone", |server| server.count(Counter::WebSocketEnded) == 1);
}

#[test]
fn rs_68_a_stop_closes_everybody_within_its_time_and_spread() {
    const CONNECTIONS: usize = 200;
    let server = Server::with_resources("drain_time = \"10s\"");
    let mut open: Vec<Listener> = (0..CONNECTIONS).map(|_| Listener::asking(Client::connect(server.address), PROJECT)).collect();
    open.iter_mut().take(20).for_each(|listener| listener.await_document(GAME));
    server.settle();
    server.drain();
    let mut per_second = Vec::new();
    let mut told = Vec::new();
    for second in 0..10 {
        // A timer may be late by a tenth.
        server.pass(if second == 9 { 1.1 } else { 1.0 });
        let before = open.len();
        for mut listener in std::mem::take(&mut open) {
            let mut closed = false;
            while !closed && listener.has_bytes() {
                let frame = listener.frame();
                closed = frame.opcode == 8;
                let text = &frame.payload[2.min(frame.payload.len())..];
                assert!(!closed || (frame.code(), text) == (Some(1001), &b"Server is draining"[..]), "{frame:?}");
            }
            if closed { told.push(listener) } else { open.push(listener) }
        }
        per_second.push(before - open.len());
    }
    assert_eq!(per_second.iter().sum::<usize>(), CONNECTIONS, "{per_second:?}");
    assert!(per_second.iter().all(|count| (10..=30).contains(count)), "{per_second:?}");
    // Whoever does not answer is cut.
    server.pass(2.6);
    let begun = Instant::now();
    while server.count(Counter::Ended) < server.count(Counter::Accepted) {
        assert!(begun.elapsed() < PATIENCE / 2, "{} of {}", server.count(Counter::Ended), server.count(Counter::Accepted));
        std::thread::yield_now();
    }
    server.join();
    drop(told);
}

#[test]
fn a_close_of_the_client_is_answered_with_its_code() {
    let server = Server::with_resources("");
    for (payload, code) in [(&1000u16.to_be_bytes()[..], 1000), (&4_321u16.to_be_bytes()[..], 4_321), (&[][..], 0)] {
        let mut listener = Listener::open(&server, 1);
        listener.client.send(masked(0x88, payload));
        listener.expect_close(code, "");
    }
}

#[test]
fn rs_72_a_newer_token_of_the_same_user_extends_the_connection() {
    let server = Server::with_project("", "", "");
    let mut writer = Writer::on(&server, 3);
    let renewals: [&dyn Fn(&mut Writer) -> String; 2] =
        [&|writer| writer.issue("u1", 60), &|_| jwt(&format!("{{\"sub\":\"u1\",\"exp\":{}}}", server.seconds() + 60))];
    for renewal in renewals {
        let token = writer.issue("u1", 10);
        let mut listener = Listener::with(&server, 1, &bearer(&token));
        listener.await_document(("kvStore", "u1:kvstoreClient:k"));
        let say = |listener: &mut Listener, authorization: &str, reply: &str| {
            listener.say(&format!("{{\"action\":\"authenticate\",\"authorization\":\"{authorization}\"}}"));
            assert_eq!(listener.text(), reply, "{authorization}");
        };
        server.advance(5.0);
        // Nobody else's, and nothing that is none, changes anything.
        let other = writer.issue("u2", 60);
        for bad in [
            format!("Bearer {other}"),
            format!("Bearer {}", jwt(r#"{"sub":"u2","exp":4102444800}"#)),
            format!("Bearer {}", jwt(r#"{"sub":"u1","exp":4102444800,"project":"other"}"#)),
            format!("Bearer {}", "A".repeat(43)),
            "Bearer dev".to_owned(),
            "Basic x".to_owned(),
            String::new(),
        ] {
            say(&mut listener, &bad, FORBIDDEN);
        }
        let newer = renewal(&mut writer);
        say(&mut listener, &format!("bearer {newer}"), r#"{"ok":"authenticated"}"#);
        server.advance(54.8);
        let version = writer.put(("kvStore", "u1:kvstoreClient:k"), "1");
        let frame = listener.beyond_pings();
        let expected = document("u1", ("kvStore", "u1:kvstoreClient:k"), "1", &version);
        assert_eq!(frame.payload, expected.as_bytes());
        server.advance(5.2);
        assert_eq!(listener.beyond_pings().code(), Some(1008));
        writer.delete(("kvStore", "u1:kvstoreClient:k"));
    }
    // Without the newer one the old one's end counts: a refused one extends nothing.
    let mut listener = Listener::with(&server, 2, &bearer(&writer.issue("u1", 10)));
    listener.say(&format!("{{\"action\":\"authenticate\",\"authorization\":\"Bearer {}\"}}", writer.issue("u2", 60)));
    listener.expect(FORBIDDEN);
    server.advance(10.0);
    listener.expect_close(1008, "Access token expired");
    // Who has nothing to renew stays who it is.
    let mut service = Listener::with(&server, 2, SERVICE);
    service.say(r#"{"action":"authenticate","authorization":"Bearer dev"}"#);
    service.expect(FORBIDDEN);
}
