//! EP-46, EP-48 to EP-52, EP-55 and EP-56: what ends a connection, and what does not.

use crate::support::endpoints::{
    BOARD, CALM, CHANGED, EXPIRED, KEY, Listener, MASTER, NOT_VALID, NOTES, OPEN, PATH, USERS, Writer, bearer, both,
    dev_endpoints, target,
};
use crate::support::{Client, LISTEN, PATIENCE, REACTORS, Server, masked};
use fanwire::config::Config;
use fanwire::metrics::Counter;
use std::path::Path;
use std::time::Instant;

fn everywhere(server: &Server, endpoint: &str, token: &str) -> Vec<Listener> {
    (0..REACTORS).map(|reactor| Listener::of_user(server, reactor, endpoint, token)).collect()
}

#[test]
fn ep_46_at_its_expiry_a_token_ends_its_sockets_and_no_message_follows() {
    let server = Server::with_endpoints(&format!("{CALM}session_ttl = \"5s\""));
    // Off the beat of the timers.
    server.advance(0.03);
    let mut writer = Writer::on(&server, 3);
    writer.register(USERS, "anna");
    let token = writer.login(USERS, "anna");
    let mut listeners: Vec<Listener> = [NOTES, BOARD, USERS].iter().flat_map(|name| everywhere(&server, name, &token)).collect();
    let mut masters = [NOTES, BOARD].map(|name| Listener::open(&server, 1, name, MASTER));
    let mut open = Listener::with(&server, 2, &target(OPEN, ""), &bearer(&token));
    server.advance(4.8);
    let record = Writer::of_user(&server, 3, &token).post(NOTES, "1");
    listeners[..REACTORS].iter_mut().for_each(|listener| listener.expect(&record.event("POST")));
    masters[0].expect(&record.event("POST"));
    listeners.iter_mut().for_each(|listener| server.expect_silence(listener));
    server.advance(0.2);
    let late = Writer::master(&server, 0).post(BOARD, "2");
    for mut listener in listeners {
        // At most a tenth of a second too early, and nothing in between.
        listener.expect_close(1000, EXPIRED);
    }
    // Master keys and keys do not expire.
    masters[1].expect(&late.event("POST"));
    server.advance(3_600.0);
    masters.iter_mut().for_each(|listener| server.expect_silence(listener));
    let record = Writer::on(&server, 0).post(OPEN, "3");
    open.expect(&record.event("POST"));
}

#[test]
fn ep_46_what_waits_for_a_slow_client_is_not_sent_after_the_expiry() {
    let server = Server::with_endpoints(&format!("{CALM}session_ttl = \"25s\""));
    let mut writer = Writer::on(&server, 3);
    writer.register(USERS, "anna");
    let token = writer.login(USERS, "anna");
    let mut slow = Listener::asking(Client::with_small_buffer(&server, 1, 2_048), &target(BOARD, ""), &bearer(&token));
    let filler = format!("\"{}\"", "x".repeat(20_000));
    let mut written = 0;
    let mut master = Writer::master(&server, 3);
    while server.count(Counter::Lagging) == 0 {
        master.post(BOARD, &filler);
        server.settle();
        written += 1;
        assert!(written < 500, "more than the kernel holds");
    }
    let newest = master.post(BOARD, "\"the newest\"");
    server.advance(25.0);
    slow.enlarge_buffer();
    let mut read = 0;
    let close = loop {
        let frame = slow.frame();
        if frame.opcode == 8 {
            break frame;
        }
        read += 1;
        assert!(!String::from_utf8_lossy(&frame.payload).contains(&newest.id));
    };
    assert_eq!((close.code(), &close.payload[2..]), (Some(1000), EXPIRED.as_bytes()));
    // The kernel had some of it, and of the window nothing but the frame that was begun.
    assert!(read < written - 5, "{read} of {written}");
}

/// The configuration with these keys, of the project, and of its endpoint of notes.
fn with(keys: &str, project: &str, notes: &str) -> Config {
    let text = both(&format!("{CALM}{keys}"), project, "");
    let notes_table = format!("name = \"{NOTES}\"\nsecure = true\n");
    dev_endpoints(&text.replace(&notes_table, &format!("{notes_table}{notes}\n")))
}

/// The same, after `edit`.
fn edited(edit: impl Fn(&mut Config)) -> Config {
    let mut config = with("", "", "");
    edit(&mut config);
    config
}

fn project(config: &mut Config) -> &mut fanwire::dialects::endpoints::options::Project {
    &mut config.endpoints.services[0].projects[0]
}

fn endpoint<'a>(config: &'a mut Config, name: &str) -> &'a mut fanwire::dialects::endpoints::options::Endpoint {
    project(config).endpoints.iter_mut().find(|endpoint| endpoint.name == name).expect("an endpoint of that name")
}

/// Listeners at an endpoint, one on each reactor.
fn masters(server: &Server, endpoint: &str) -> Vec<Listener> {
    (0..REACTORS).map(|reactor| Listener::open(server, reactor, endpoint, MASTER)).collect()
}

#[test]
fn ep_48_a_changed_option_closes_its_sockets_and_nobody_elses() {
    let other =
        |server: &Server| Listener::with(server, 1, &format!("{PATH}/other/endpoint?key=0123456789abcdef0123456789abcdef"), "");
    let of_endpoint: [(&str, Config); 5] = [
        ("secure", edited(|config| endpoint(config, NOTES).secure = false)),
        ("auth", edited(|config| (endpoint(config, NOTES).secure, endpoint(config, NOTES).auth) = (false, true))),
        ("read_by_others", with("", "", "read_by_others = true")),
        ("update_by_others", edited(|config| endpoint(config, NOTES).update_by_others = true)),
        ("delete_by_others", edited(|config| endpoint(config, NOTES).delete_by_others = true)),
    ];
    for (option, changed) in of_endpoint {
        let server = Server::cable(with("", "", ""));
        let closed = masters(&server, NOTES);
        let mut stays: Vec<Listener> = [OPEN, USERS, BOARD].iter().flat_map(|name| masters(&server, name)).collect();
        stays.push(other(&server));
        server.reload(changed).expect("nothing that is fixed changes");
        closed.into_iter().for_each(|mut listener| listener.expect_close(1000, CHANGED));
        stays.iter_mut().for_each(|listener| server.expect_silence(listener));
        assert_eq!(server.count(Counter::Panics), 0, "{option}");
    }
    let server = Server::cable(with("", "", ""));
    let closed = masters(&server, USERS);
    let mut stays = masters(&server, NOTES);
    server.reload(edited(|config| endpoint(config, USERS).registration = false)).expect("nothing that is fixed changes");
    closed.into_iter().for_each(|mut listener| listener.expect_close(1000, CHANGED));
    stays.iter_mut().for_each(|listener| server.expect_silence(listener));
    let of_project = [
        ("allowed_origins", with("", "allowed_origins = [\"https://a.example\"]", "")),
        ("disallow_no_origin", with("", "disallow_no_origin = true", "")),
        ("master_key", edited(|config| project(config).master_key = None)),
        ("cookie_from_any_origin", edited(|config| project(config).cookie_from_any_origin = false)),
    ];
    for (option, changed) in of_project {
        let server = Server::cable(with("", "", ""));
        let closed: Vec<Listener> = [OPEN, USERS, NOTES, BOARD].iter().flat_map(|name| masters(&server, name)).collect();
        let mut stays = other(&server);
        server.reload(changed).expect("nothing that is fixed changes");
        closed.into_iter().for_each(|mut listener| listener.expect_close(1000, CHANGED));
        server.expect_silence(&mut stays);
        assert_eq!(server.count(Counter::Panics), 0, "{option}");
    }
}

#[test]
fn ep_49_nothing_that_is_committed_after_the_change_reaches_an_old_socket() {
    let slices = "close_slice_connections = 1\nclose_slice_interval = \"1s\"";
    let server = Server::cable(with(slices, "", ""));
    let mut old = masters(&server, NOTES);
    old.extend(masters(&server, NOTES));
    let mut lagging = Listener::asking(Client::with_small_buffer(&server, 1, 2_048), &target(NOTES, MASTER), "");
    let mut writer = Writer::master(&server, 3);
    let filler = format!("\"{}\"", "x".repeat(20_000));
    let mut before = Vec::new();
    while server.count(Counter::Lagging) == 0 {
        before.push(writer.post(NOTES, &filler).event("POST"));
        for listener in &mut old {
            listener.expect(before.last().expect("one at least"));
        }
        server.settle();
        assert!(before.len() < 500, "more than the kernel holds");
    }
    // Posted at once, before anybody could have been told.
    let door = *server;
    let ids = std::thread::scope(|threads| {
        let reloading = threads.spawn(move || {
            let mut writer = Writer::master(&door, 2);
            (0..200).map(|number| writer.post(NOTES, &number.to_string())).collect::<Vec<_>>()
        });
        server.reload(with(slices, "", "read_by_others = true")).expect("nothing that is fixed changes");
        let after = Writer::master(&door, 0).post(NOTES, "\"after the reload\"");
        (reloading.join().expect("the writer writes"), after)
    });
    let (raced, after) = ids;
    let mut new = Listener::open(&server, 1, NOTES, MASTER);
    server.settle();
    // What was committed before the change is a beginning of what was committed.
    let raced: Vec<String> = raced.iter().map(|record| record.event("POST")).collect();
    for _ in 0..old.len() {
        server.advance(1.1);
    }
    for mut listener in old {
        let mut seen = Vec::new();
        loop {
            let frame = listener.frame();
            if frame.opcode == 8 {
                assert_eq!((frame.code(), &frame.payload[2..]), (Some(1000), CHANGED.as_bytes()));
                break;
            }
            seen.push(String::from_utf8(frame.payload).expect("text"));
        }
        assert!(!seen.contains(&after.event("POST")));
        assert_eq!(seen, raced[..seen.len()], "nothing is missing in between");
    }
    // One that lagged gets no more either.
    server.advance(1.1);
    lagging.enlarge_buffer();
    let mut seen = 0;
    loop {
        let frame = lagging.frame();
        if frame.opcode == 8 {
            assert_eq!((frame.code(), &frame.payload[2..]), (Some(1000), CHANGED.as_bytes()));
            break;
        }
        assert_eq!(String::from_utf8(frame.payload).expect("text"), before[seen]);
        seen += 1;
    }
    let record = writer.post(NOTES, "1");
    assert_eq!(new.text(), record.event("POST"));
}

#[test]
fn ep_50_closes_come_in_slices_and_others_go_on() {
    const CONNECTIONS: usize = 1_000;
    const SLICE: usize = 300;
    let slices = format!("close_slice_connections = {SLICE}\nclose_slice_interval = \"1s\"");
    let server = Server::cable(with(&slices, "", ""));
    let connect = |_| Listener::asking(Client::connect(server.address), &target(NOTES, MASTER), "");
    let mut open: Vec<Listener> = (0..CONNECTIONS).map(connect).collect();
    let mut other = Listener::open(&server, 2, OPEN, "");
    server.reload(with(&slices, "", "read_by_others = true")).expect("nothing that is fixed changes");
    let mut left = CONNECTIONS;
    while left > 0 {
        server.settle();
        let record = Writer::on(&server, 0).post(OPEN, "1");
        other.expect(&record.event("POST"));
        server.settle();
        open.retain_mut(|listener| {
            while listener.has_bytes() {
                let frame = listener.frame();
                // Whose time it is at that moment is pinged all the same.
                if frame.opcode != 9 {
                    assert_eq!((frame.code(), &frame.payload[2..]), (Some(1000), CHANGED.as_bytes()));
                    return false;
                }
            }
            true
        });
        left = left.saturating_sub(SLICE);
        assert_eq!(open.len(), left);
        // Timers count in tenths of a second.
        server.advance(if left == CONNECTIONS - SLICE { 1.1 } else { 1.0 });
    }
}

#[test]
fn ep_50_who_waits_for_its_slice_learns_of_what_is_worse_and_is_not_heard() {
    let slices = "close_slice_connections = 1\nclose_slice_interval = \"1s\"";
    let server = Server::cable(with(slices, "", ""));
    let mut open = masters(&server, NOTES);
    server.reload(with(slices, "", "read_by_others = true")).expect("nothing that is fixed changes");
    server.settle();
    let first = open.iter_mut().position(|listener| listener.has_bytes()).expect("the first slice");
    open.swap_remove(first).expect_close(1000, CHANGED);
    for listener in &mut open {
        (0..30).for_each(|_| listener.client.send(masked(0x81, b"x")));
        server.expect_silence(listener);
    }
    let mut gone = with(slices, "", "");
    project(&mut gone).endpoints.retain(|endpoint| endpoint.name != NOTES);
    server.reload(gone).expect("nothing that is fixed changes");
    for _ in 0..REACTORS {
        server.advance(1.1);
    }
    open.iter_mut().for_each(|listener| listener.expect_close(4000, NOT_VALID));
}

#[test]
fn ep_51_an_equal_or_invalid_configuration_closes_nobody() {
    let server = Server::cable(with("", "", ""));
    let mut listeners: Vec<Listener> = [OPEN, USERS, NOTES, BOARD].iter().flat_map(|name| masters(&server, name)).collect();
    let more =
        "log_messages = 77\nclose_slice_connections = 5\nlimits.connections_per_endpoint_max = 1\nlimits.frame_bytes_max = 50";
    for same in [
        with("", "", ""),
        with(more, "", ""),
        edited(|config| config.endpoints.services[0].display_name = "another".to_owned()),
        edited(|config| config.endpoints.services[0].projects.reverse()),
        edited(|config| config.endpoints.services.reverse()),
    ] {
        server.reload(same).expect("nothing that is fixed changes");
    }
    let invalid = format!("{LISTEN}{}", both("ping_interval = \"99s\"", "", ""));
    assert!(Config::from_toml(&invalid, "test.toml", Path::new(".")).is_err());
    let mut fixed = with("", "", "read_by_others = true");
    fixed.server.reactors = 3;
    assert!(server.reload(fixed).is_err(), "all or nothing");
    listeners.iter_mut().for_each(|listener| server.expect_silence(listener));
    let record = Writer::on(&server, 1).post(OPEN, "1");
    listeners[..REACTORS].iter_mut().for_each(|listener| listener.expect(&record.event("POST")));
}

#[test]
fn ep_52_another_key_and_no_endpoint_are_told_alike() {
    let other_key = "fedcba9876543210fedcba9876543210";
    for (gone, what) in [
        (edited(|config| project(config).endpoints.retain(|endpoint| endpoint.name != NOTES)), "the endpoint"),
        (edited(|config| drop(config.endpoints.services[0].projects.remove(0))), "the project"),
        (edited(|config| drop(config.endpoints.services.remove(0))), "the service"),
        (edited(|config| config.endpoints.services.clear()), "all of them"),
        (dev_endpoints(&both(CALM, "", "").replace(KEY, other_key)), "another key"),
        // Of several causes it is the one that is told.
        (dev_endpoints(&both(CALM, "disallow_no_origin = true", "").replace(KEY, other_key)), "another key and an option"),
        (
            edited(|config| {
                let notes = endpoint(config, NOTES).clone();
                project(config).endpoints.retain(|endpoint| endpoint.name != NOTES);
                config.endpoints.services[0].projects[1].endpoints.push(notes);
            }),
            "the endpoint is another project's",
        ),
    ] {
        let server = Server::cable(with("", "", ""));
        let closed = masters(&server, NOTES);
        server.reload(gone).expect("nothing that is fixed changes");
        for mut listener in closed {
            listener.expect_close(4000, NOT_VALID);
        }
        assert_eq!(server.count(Counter::Panics), 0, "{what}");
    }
}

#[test]
fn ep_55_a_stop_turns_new_ones_away_and_closes_the_others_spread() {
    const CONNECTIONS: usize = 200;
    let server = Server::with_endpoints(&format!("{CALM}drain_time = \"10s\""));
    let mut open: Vec<Listener> =
        (0..CONNECTIONS).map(|_| Listener::asking(Client::connect(server.address), &target(OPEN, ""), "")).collect();
    let begin = |method: &str, fields: &str| {
        let mut client = Client::connect(server.address);
        client.send(format!("{method} {} HTTP/1.1\r\n{fields}", target(OPEN, "")));
        client
    };
    let mut socket = begin("GET", crate::support::client::UPGRADE);
    let mut reading = begin("GET", "Host: localhost\r\n");
    let mut writing = begin("POST", "Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 0\r\n");
    server.settle();
    server.drain();
    server.advance(0.0);
    socket.send("\r\n");
    assert_eq!(socket.response().status, 101);
    socket.expect_close(1001, "Server is draining.");
    for client in [&mut reading, &mut writing] {
        client.send("\r\n");
        let answer = client.response();
        assert_eq!((answer.status, answer.text()), (503, r#"{"error":"Server is draining."}"#));
        assert_eq!(answer.field("Retry-After"), Some("5"));
    }
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
                assert!(!closed || (frame.code(), text) == (Some(1001), &b"Server is draining."[..]), "{frame:?}");
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

/// One who is watched, and when it was pinged, in tenths of a second.
struct Watched {
    listener: Listener,
    pings: Vec<u32>,
}

impl Watched {
    /// The first one came within 30 seconds, and the next ones 30 seconds after it: nobody looks more often than once a second.
    fn check(&self) {
        let Watched { pings, .. } = self;
        assert!(pings.first().is_some_and(|&first| first <= 310), "{pings:?}");
        assert!(pings.is_sorted_by(|one, next| (291..310).contains(&(next - one))), "{pings:?}");
    }

    /// TCP is dropped at once: nobody waits for an answer.
    #[track_caller]
    fn expect_idle_timeout(&mut self) {
        let frame = self.listener.frame();
        assert_eq!((frame.code(), &frame.payload[2..]), (Some(1001), &b"Idle timeout."[..]));
        self.listener.expect_end();
    }
}

/// Turns the clock on; nothing but pings comes meanwhile, and pongs.
fn watch(server: &Server, watched: &mut [Watched], now: &mut u32, until: u32) {
    while *now < until {
        let step = (until - *now).min(10 - *now % 10);
        server.advance(f64::from(step) / 10.0);
        *now += step;
        server.settle();
        for Watched { listener, pings } in &mut *watched {
            while listener.has_bytes() {
                let frame = listener.frame();
                assert!(matches!(frame.opcode, 9 | 10) && frame.payload.is_empty(), "after {now} tenths: {frame:?}");
                pings.extend((frame.opcode == 9).then_some(*now));
            }
        }
    }
}

#[test]
fn ep_56_who_is_silent_is_pinged_and_dropped_75_seconds_after_its_last_byte() {
    let server = Server::with_endpoints("");
    let open = |query: &str| -> Vec<Watched> {
        let listeners = (0..REACTORS).map(|reactor| Listener::open(&server, reactor, OPEN, query));
        listeners.map(|listener| Watched { listener, pings: Vec::new() }).collect()
    };
    let mut all = open("");
    all.extend(open(MASTER));
    let mut now = 0;
    watch(&server, &mut all, &mut now, 600);
    // Whatever somebody says is a sign of life.
    for (watched, frame) in all[REACTORS..].iter_mut().zip([(0x81, &b"x"[..]), (0x82, b""), (0x89, b""), (0x8a, b"")]) {
        watched.listener.client.send(masked(frame.0, frame.1));
    }
    server.settle();
    watch(&server, &mut all, &mut now, 750);
    // The tenth of a second in which the last byte came does not count.
    server.advance(0.2);
    let mut silent: Vec<Watched> = all.drain(..REACTORS).collect();
    silent.iter_mut().for_each(Watched::expect_idle_timeout);
    server.advance(0.2);
    server.wait_until("they are gone", |server| server.count(Counter::WebSocketEnded) == REACTORS as u64);
    now += 4;
    watch(&server, &mut all, &mut now, 1_350);
    let record = Writer::on(&server, 2).post(OPEN, "1");
    all.iter_mut().for_each(|watched| watched.listener.expect(&record.event("POST")));
    server.advance(0.2);
    all.iter_mut().for_each(Watched::expect_idle_timeout);
    silent.iter().chain(&all).for_each(Watched::check);
    assert!(all.iter().all(|watched| watched.pings.len() >= 4), "all the time");
}

#[test]
fn ep_56_who_answers_every_ping_stays() {
    let server = Server::with_endpoints("");
    let mut listener = Listener::open(&server, 1, OPEN, "");
    for _ in 0..300 {
        server.advance(1.0);
        server.settle();
        while listener.has_bytes() {
            let ping = listener.frame();
            assert_eq!((ping.opcode, ping.payload.len()), (9, 0));
            listener.client.send(masked(0x8a, &ping.payload));
        }
    }
    let record = Writer::on(&server, 2).post(OPEN, "1");
    listener.expect(&record.event("POST"));
}
