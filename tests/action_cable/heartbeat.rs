//! AC-12 to AC-16: pings, whatever else happens.

use crate::support::cable::{ECHO, ECHO_CHANNEL, WELCOME, data, ping_number};
use crate::support::{Cable, Client, Server};
use fanwire::metrics::Counter;

/// Ten messages for [`ECHO`] in one request, numbered from `first` on.
fn ten_messages(first: u64) -> String {
    let publications: Vec<String> =
        (first..first + 10).map(|number| format!("{{\"stream\":\"echo\",\"data\":\"{number}\"}}")).collect();
    format!("[{}]", publications.join(","))
}

/// AC-12 [R] The first ping arrives within 3 s of the welcome and carries integer Unix seconds (T-01).
#[test]
fn ac_12_the_first_ping_comes_within_3_s_and_carries_unix_seconds() {
    let server = Server::with_cable("", "");
    // Whatever part of a tenth of a second has passed, and whichever phase falls to a connection.
    for offset in [0.0, 0.03, 0.099] {
        server.advance(offset);
        let mut cables: Vec<Cable> = (0..40).map(|number| Cable::open(&server, number % 4)).collect();
        let mut pinged = vec![false; cables.len()];
        for _ in 0..30 {
            server.advance(0.1);
            server.settle();
            for (cable, pinged) in cables.iter_mut().zip(&mut pinged) {
                if !*pinged && cable.has_bytes() {
                    let frame = cable.frame();
                    let expected = format!("{{\"type\":\"ping\",\"message\":{}}}", server.seconds());
                    assert_eq!(String::from_utf8_lossy(&frame.payload), expected);
                    assert_eq!(frame.head, b"\x81\x24", "36 bytes of text in one frame");
                    *pinged = true;
                }
            }
        }
        assert_eq!(pinged.iter().filter(|pinged| !**pinged).count(), 0, "without a ping");
    }
}

/// AC-13 [R] Pings come every 3 s ± 0.5 s also while data flows at 100 messages per second.
#[test]
fn ac_13_pings_come_every_3_s_while_data_flows() {
    let server = Server::with_cable("", ECHO_CHANNEL);
    let mut cable = Cable::open(&server, 1);
    cable.subscribe(ECHO);
    let mut publisher = server.caller(2);
    let mut pings = Vec::new();
    let mut received = 0;
    for step in 0..200u64 {
        server.advance(0.1);
        assert_eq!(publisher.post("/_broadcast", "", ten_messages(step * 10).as_bytes()).status, 201);
        for text in cable.texts_and_pings(&server) {
            match ping_number(&text) {
                Some(seconds) => {
                    assert_eq!(seconds, server.seconds());
                    pings.push(step);
                }
                None => {
                    assert_eq!(text, data(ECHO, &received.to_string()));
                    received += 1;
                }
            }
        }
        assert_eq!(received, step * 10 + 10, "a ping never stands in place of a message");
    }
    assert!(pings.len() >= 6, "{pings:?}");
    assert!(pings[0] < 30, "{pings:?}");
    assert!(pings.windows(2).all(|pair| (25..=35).contains(&(pair[1] - pair[0]))), "tenths of seconds: {pings:?}");
}

/// A ping goes behind what is queued and splits no frame; of those that wait for the socket only the newest is sent.
#[test]
fn pings_wait_behind_frames_and_for_a_slow_client_there_is_one() {
    let server = Server::with_cable("", ECHO_CHANNEL);
    let mut slow = Cable::asking(Client::with_small_buffer(&server, 1, 2_048), "/cable", "");
    assert_eq!(slow.text(), WELCOME);
    slow.subscribe(ECHO);
    let mut publisher = server.caller(2);
    let large = |number: usize| format!("\"{number} {}\"", "x".repeat(16_000));
    // Past the kernel's buffers and its own.
    for batch in 0..15 {
        let batch: Vec<String> = (batch * 50..batch * 50 + 50)
            .map(|number| format!("{{\"stream\":\"echo\",\"data\":{}}}", crate::support::cable::string(&large(number))))
            .collect();
        assert_eq!(publisher.post("/_broadcast", "", format!("[{}]", batch.join(",")).as_bytes()).status, 201);
    }
    server.settle();
    assert_eq!(server.count(Counter::Lagging), 1);
    server.pass(12.0);
    assert_eq!(server.count(Counter::Pings), 4);
    let mut newest = 0;
    let mut pings = 0;
    let mut number = 0;
    while number < 750 {
        let text = slow.text();
        match ping_number(&text) {
            Some(seconds) => {
                pings += 1;
                newest = seconds;
            }
            None => {
                assert_eq!(text, data(ECHO, &large(number)));
                number += 1;
            }
        }
    }
    assert_eq!(pings, 1);
    assert!(newest > server.seconds() - 3 && newest <= server.seconds(), "the newest");
    server.expect_silence(&mut slow);
}

/// AC-14 [R] A client that counts only pings and gives up after 6 s stays connected for at least 20 s on a busy and on an idle
/// subscription.
#[test]
fn ac_14_a_client_that_counts_only_pings_stays_connected() {
    let server = Server::with_cable("", ECHO_CHANNEL);
    let idle_identifier = crate::support::cable::api("posts");
    let (mut busy, mut idle) = (Cable::open(&server, 1), Cable::open(&server, 3));
    busy.subscribe(ECHO);
    idle.subscribe(&idle_identifier);
    let mut publisher = server.caller(2);
    // Tenths of seconds since the welcome or the newest ping.
    let mut silent = [0, 0];
    for step in 0..210u64 {
        server.advance(0.1);
        assert_eq!(publisher.post("/_broadcast", "", ten_messages(step * 10).as_bytes()).status, 201);
        for (cable, silent) in [&mut busy, &mut idle].into_iter().zip(&mut silent) {
            *silent += 1;
            if cable.texts_and_pings(&server).iter().any(|text| ping_number(text).is_some()) {
                *silent = 0;
            }
            assert!(*silent < 60, "the client gives up in step {step}");
        }
    }
    assert!(!busy.has_ended() && !idle.has_ended());
}

/// AC-15 [F] For 1 000 connections opened at once no 100 ms window holds more than 2.5 times the mean number of pings.
#[test]
fn ac_15_pings_of_1000_connections_are_spread_evenly() {
    let server = Server::with_cable("", "");
    let mut cables: Vec<Cable> = (0..1_000)
        .map(|_| {
            let mut client = Client::connect(server.address);
            let upgrade = client.ask_upgrade("/cable", "");
            Cable { client, upgrade }
        })
        .collect();
    for cable in &mut cables {
        assert_eq!(cable.text(), WELCOME);
    }
    let mut windows = Vec::new();
    for _ in 0..60 {
        server.advance(0.1);
        server.settle();
        let mut pings = 0;
        for cable in &mut cables {
            while cable.has_bytes() {
                assert!(ping_number(&cable.text()).is_some());
                pings += 1;
            }
        }
        windows.push(pings);
    }
    let sum: usize = windows.iter().sum();
    assert_eq!(sum, 2 * cables.len(), "two each in 6 s");
    let mean = sum as f64 / windows.len() as f64;
    let most = windows.iter().copied().max().unwrap_or(0);
    assert!(most as f64 <= 2.5 * mean, "{most} in a window, {mean} in the mean: {windows:?}");
    assert_eq!(server.count(Counter::Pings), sum as u64);
}

/// AC-16 [A] `?pi=1&ptp=ms` yields a ping every second with milliseconds, and `?pi=0` is ignored.
#[test]
fn ac_16_a_client_may_choose_interval_and_unit_of_its_pings() {
    let server = Server::with_cable("", "");
    // No whole tenth of a second: the smallest digits count, too.
    server.advance(0.012_345);
    // Query, tenths of seconds between two pings, nanoseconds of the unit.
    let queries: [(&str, u64, u64); 11] = [
        ("?pi=1&ptp=ms", 10, 1_000_000),
        ("?pi=0", 30, 1_000_000_000),
        ("?pi=1", 10, 1_000_000_000),
        ("?pi=5&ptp=s", 50, 1_000_000_000),
        ("?ptp=ns", 30, 1),
        ("?pi=61&ptp=ms", 30, 1_000_000),
        ("?pi=-1", 30, 1_000_000_000),
        ("?pi=1.5", 30, 1_000_000_000),
        ("?pi=&ptp=", 30, 1_000_000_000),
        ("?pi=x&ptp=us", 30, 1_000_000_000),
        ("?pi=99999999999999999999", 30, 1_000_000_000),
    ];
    for protocol in ["actioncable-v1-json", "actioncable-v1-ext-json"] {
        let fields = format!("Sec-WebSocket-Protocol: {protocol}\r\n");
        let open = |query: &str, reactor| {
            let mut cable = Cable::asking(Client::on(&server, reactor), &format!("/cable{query}"), &fields);
            assert!(cable.text().starts_with("{\"type\":\"welcome\""));
            cable
        };
        let mut cables: Vec<Cable> = queries.iter().enumerate().map(|(at, (query, ..))| open(query, at % 4)).collect();
        let mut steps = vec![Vec::new(); queries.len()];
        for step in 1..=100 {
            server.advance(0.1);
            server.settle();
            for ((cable, steps), (query, _, unit)) in cables.iter_mut().zip(&mut steps).zip(queries) {
                while cable.has_bytes() {
                    let number = ping_number(&cable.text()).expect("a ping");
                    assert_eq!(number, server.unix_micros() * 1_000 / unit, "{query}");
                    steps.push(step);
                }
            }
        }
        for (steps, (query, every, _)) in steps.iter().zip(queries) {
            assert!(steps[0] <= every && steps.windows(2).all(|pair| pair[1] - pair[0] == every), "{query}: {steps:?}");
            assert!(100 - steps[steps.len() - 1] < every, "{query}: {steps:?}");
        }
        // The longest interval that may be asked for.
        let mut slow = open("?pi=60", 1);
        let mut seconds = Vec::new();
        for second in 0..120 {
            server.advance(1.0);
            seconds.extend(slow.texts_and_pings(&server).iter().map(|_| second));
        }
        assert!(seconds.len() == 2 && seconds[1] - seconds[0] == 60, "{seconds:?}");
    }
    // The deployment may forbid it, and may have another interval.
    let server = Server::with_cable("ping_params = false\nping_interval = \"2s\"\n", "");
    let mut cable = Cable::asking(Client::on(&server, 1), "/cable?pi=1&ptp=ms", "");
    assert_eq!(cable.text(), WELCOME);
    server.pass(8.0);
    let pings = cable.texts_and_pings(&server);
    assert_eq!(pings.len(), 4, "{pings:?}");
    assert!(pings.iter().all(|ping| ping_number(ping).is_some_and(|number| number <= server.seconds())), "{pings:?}");
}
