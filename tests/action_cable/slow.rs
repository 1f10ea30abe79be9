//! AC-59 to AC-62: many subscribers, and those that do not read.

use crate::support::cable::{self, PUBLIC, data, digest, event, public, string};
use crate::support::client::UPGRADE;
use crate::support::{Cable, Caller, Client, Door, REACTORS, Server, dev_cable, masked};
use fanwire::metrics::Counter;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A subscriber of the public stream `s` that reads nothing beyond its confirm.
fn never_reading(server: &Server, reactor: usize) -> Cable {
    let client = Client::with_small_buffer(server, reactor, 2_048);
    let mut cable = Cable::asking(client, "/cable", "");
    assert_eq!(cable.text(), cable::WELCOME);
    cable.subscribe(&public("s"));
    cable
}

fn message(number: usize, bytes: usize) -> String {
    let filler: String = (0..bytes).map(|at| char::from(b'a' + ((number * 7 + at) % 26) as u8)).collect();
    format!("\"{number} {filler}\"")
}

/// Publishes so many messages, each of which `fast` has before the next.
#[track_caller]
fn publish(server: &Server, publisher: &mut Caller, fast: &mut Cable, numbers: std::ops::Range<usize>, bytes: usize) {
    for number in numbers {
        let text = message(number, bytes);
        let body = format!("{{\"stream\":\"s\",\"data\":{}}}", string(&text));
        assert_eq!(publisher.post("/_broadcast", "", body.as_bytes()).status, 201);
        let frame = fast.beyond_pings();
        assert_eq!(frame.payload, data(&public("s"), &text).as_bytes(), "the fast one has each message at once");
    }
    assert_eq!(server.count(Counter::Panics), 0);
}

/// Reads on after the server has given up: a clean beginning of the stream, the goodbye, and the end.
#[track_caller]
fn expect_too_slow(slow: &mut Cable, bytes: usize) -> usize {
    for number in 0.. {
        let frame = slow.frame();
        if frame.payload.starts_with(b"{\"type\":\"ping\"") {
            continue;
        }
        let text = String::from_utf8(frame.payload).expect("text is UTF-8");
        if text.starts_with("{\"type\"") {
            assert_eq!(text, "{\"type\":\"disconnect\",\"reason\":\"too_slow\",\"reconnect\":true}");
            slow.expect_close(1000, "");
            return number;
        }
        let came: Vec<&str> = text.split(' ').collect();
        assert!(came.len() == 2 && text.len() == data(&public("s"), &message(number, bytes)).len(), "{}", &text[..80]);
    }
    unreachable!("the range has no end")
}

/// Every stream is public, and the kernel, which goes by the real clock, does not give up who reads nothing.
const PATIENT: &str = "public_streams = true\npublic_prefixes = [\"\"]\ntcp_user_timeout = \"1h\"";

/// Publishes until the slow one takes no more; returns how many that were.
#[track_caller]
fn stall(server: &Server, publisher: &mut Caller, fast: &mut Cable) -> usize {
    let mut published = 0;
    while server.count(Counter::Lagging) == 0 {
        publish(server, publisher, fast, published..published + 20, BYTES);
        server.settle();
        published += 20;
        assert!(published < 2_000, "more than the kernel holds");
    }
    published
}

const BYTES: usize = 16_000;

/// AC-59, "others' delivery time stays unchanged": it is that of a server where everybody reads.
#[test]
fn delivery_beside_one_who_stopped_reading_takes_as_long_as_without() {
    let keys = format!("{PATIENT}\nhistory_limit = 1000");
    let mut sides = [(); 2].map(|()| {
        let server = Server::with_cable(&keys, "");
        let (publisher, mut fast) = (server.caller(3), Cable::open(&server, 1));
        fast.subscribe(&public("s"));
        (server, publisher, fast)
    });
    let [_, (server, publisher, fast)] = &mut sides;
    let _slow = never_reading(server, 1);
    stall(server, publisher, fast);
    // In turns, so that whatever else the machine does slows both.
    let mut times = [Vec::new(), Vec::new()];
    for number in 0..300 {
        for ((server, publisher, fast), times) in sides.iter_mut().zip(&mut times) {
            let began = Instant::now();
            publish(server, publisher, fast, number..number + 1, 100);
            times.push(began.elapsed());
        }
    }
    assert_eq!([&sides[0], &sides[1]].map(|(server, ..)| server.count(Counter::Lagging)), [0, 1]);
    let [without, beside] = times.map(|mut times| *times.select_nth_unstable(150).1);
    assert!(beside <= 3 * without + Duration::from_millis(2), "{beside:?} beside, {without:?} without");
}

#[test]
fn ac_59_who_stops_reading_is_closed_too_slow_and_nobody_else_waits() {
    // Nothing is taken for `write_stall`.
    let server = Server::with_cable(PATIENT, "");
    let mut publisher = server.caller(3);
    let mut fast = Cable::open(&server, 1);
    fast.subscribe(&public("s"));
    let mut slow = never_reading(&server, 1);
    let mut published = stall(&server, &mut publisher, &mut fast);
    for second in 0..29 {
        server.pass(1.0);
        publish(&server, &mut publisher, &mut fast, published..published + 1, BYTES);
        published += 1;
        assert_eq!(server.count(Counter::DroppedTooSlow), 0, "second {second}");
    }
    server.pass(1.5);
    assert_eq!(server.count(Counter::DroppedTooSlow), 1);
    // It reads on within `close_timeout`: the frame that was begun, the goodbye, the end.
    let came = expect_too_slow(&mut slow, BYTES);
    assert!(came > 1 && came < published, "{came}");
    publish(&server, &mut publisher, &mut fast, published..published + 10, BYTES);

    // The log passes it, long before that.
    let server = Server::with_both("max_stored_messages = 100", PATIENT);
    let mut publisher = server.caller(3);
    let mut fast = Cable::open(&server, 1);
    fast.subscribe(&public("s"));
    let mut slow = never_reading(&server, 1);
    let mut published = stall(&server, &mut publisher, &mut fast);
    // Beyond the window, and a second one that a log keeps for those who read from it.
    publish(&server, &mut publisher, &mut fast, published..published + 220, BYTES);
    published += 220;
    server.settle();
    assert_eq!((server.count(Counter::Lagging), server.count(Counter::DroppedTooSlow)), (1, 0));
    // It takes what was on its way, and is due for what is gone.
    let came = expect_too_slow(&mut slow, BYTES);
    assert!(came > 1 && came < published - 200, "{came}");
    assert_eq!(server.count(Counter::DroppedTooSlow), 1);
    publish(&server, &mut publisher, &mut fast, published..published + 10, BYTES);

    // One that never reads again is cut after `close_timeout`.
    let server = Server::with_cable(&format!("{PATIENT}\nwrite_stall = \"2s\"\nclose_timeout = \"1s\""), "");
    let mut publisher = server.caller(3);
    let mut fast = Cable::open(&server, 1);
    fast.subscribe(&public("s"));
    let slow = never_reading(&server, 1);
    stall(&server, &mut publisher, &mut fast);
    server.pass(3.5);
    assert_eq!(server.count(Counter::DroppedTooSlow), 1);
    server.wait_until("it is cut", |server| server.count(Counter::WebSocketEnded) == 1);
    drop(slow);
}

/// Runs this test once more in a process of its own, whose memory nobody else uses. False: this is that process.
fn runs_alone(name: &str) -> bool {
    const ALONE: &str = "FANWIRE_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return false;
    }
    let program = std::env::current_exe().expect("the path of this program");
    let run = std::process::Command::new(program).args(["--exact", name, "--nocapture"]).env(ALONE, "1").output();
    let run = run.expect("the program that runs now");
    let told = [run.stdout, run.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(run.status.success() && told.contains("1 passed"), "{told}");
    true
}

/// Resident bytes of this process.
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("resident memory");
    line.trim().trim_end_matches(" kB").parse::<i64>().expect("a number") * 1_024
}

/// Opens so many connections with a receive buffer as small as can be, each subscribed to `s` under its own identifier.
fn crowd(door: &Door, count: usize) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for number in 0..count {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(2_048).expect("a socket option");
        socket.connect(&door.address.into()).expect("the server accepts");
        let mut stream = TcpStream::from(socket);
        let identifier = format!("{{\"channel\":\"$pubsub\",\"stream_name\":\"s\",\"number\":{number}}}");
        let command = format!("{{\"command\":\"subscribe\",\"identifier\":{}}}", string(&identifier));
        let request = format!("GET /cable HTTP/1.1\r\n{UPGRADE}\r\n").into_bytes();
        stream.write_all(&[request, masked(0x81, command.as_bytes())].concat()).expect("the server takes it");
        crowd.push(stream);
    }
    crowd
}

/// Reads up to the confirm.
fn confirmed(stream: &mut TcpStream) {
    let mut came = Vec::new();
    let mut piece = [0; 1_024];
    while !came.windows(22).any(|window| window == b"\"confirm_subscription\"") {
        let count = stream.read(&mut piece).expect("the server answers");
        assert!(count > 0, "{}", String::from_utf8_lossy(&came));
        came.extend_from_slice(&piece[..count]);
    }
}

/// So many connections have room in this process, which has both ends of each.
fn room() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("Linux tells");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    let limit: usize = line.split_whitespace().nth(4).and_then(|hard| hard.parse().ok()).unwrap_or(1 << 20);
    // The kernel gives each reactor a quarter, more or less.
    (limit.saturating_sub(600) / 2).min(10_000)
}

/// With as many connections as the descriptor limit lets one process have at both ends, at most 10,000; the bound is scaled.
#[test]
fn ac_60_a_large_message_to_stalled_connections_takes_its_own_memory_once() {
    if runs_alone("slow::ac_60_a_large_message_to_stalled_connections_takes_its_own_memory_once") {
        return;
    }
    let mut config = dev_cable(&cable::configuration(PATIENT, ""));
    // So that the kernel soon takes no more.
    config.limits.socket_send_bytes = 16 * 1_024;
    let server = Server::cable(config);
    let count = room();
    let mut crowd = crowd(&server, count);
    crowd.iter_mut().for_each(confirmed);
    server.wait_for_subscribers("s", count as u64);
    let bound = 10 * 1_024 * 1_024 * count as i64 / 10_000;
    let large = message(1, 64 * 1_024);
    let mut stalled = 0;
    // Those that stall it, and five that find everybody stalled.
    for published in 1.. {
        let before = resident();
        server.broadcast(2, "s", &large);
        server.settle();
        let grown = resident() - before;
        assert!(grown < bound, "message {published}: {grown} bytes more for {count} connections");
        stalled += usize::from(server.count(Counter::Lagging) == count as u64);
        if stalled > 5 {
            break;
        }
        assert!(published < 100, "{} of {count} lag", server.count(Counter::Lagging));
    }
    assert_eq!(server.count(Counter::DroppedTooSlow), 0);
}

/// The numbers of the statement need a large machine. Here: the memory of idle connections, one encoding for all of them, and
/// one write for each.
#[test]
fn ac_61_an_idle_connection_is_small_and_a_message_costs_each_one_write() {
    if runs_alone("slow::ac_61_an_idle_connection_is_small_and_a_message_costs_each_one_write") {
        return;
    }
    let server = Server::with_cable(PUBLIC, "");
    // Once, so that lists have their room.
    let mut first = crowd(&server, 1_000);
    first.iter_mut().for_each(confirmed);
    let before = resident();
    let count = room().min(6_000) - 1_000;
    let mut crowd = crowd(&server, count);
    crowd.iter_mut().for_each(confirmed);
    server.settle();
    let each = (resident() - before) / count as i64;
    assert!(each <= 5 * 1_024, "{each} bytes for each of {count} connections");
    let all = (count + 1_000) as u64;
    server.wait_for_subscribers("s", all);
    let counted = || [Counter::Deliveries, Counter::Encodings].map(|counter| server.count(counter));
    let ([deliveries, encodings], writes) = (counted(), server.count(Counter::Writes));
    server.broadcast(2, "s", "\"hello\"");
    server.settle();
    assert_eq!(counted(), [deliveries + all, encodings + 1]);
    let writes = server.count(Counter::Writes) - writes;
    assert!(writes >= all && writes < all + 100, "{writes} writes for {all} subscribers");
}

#[test]
fn ac_62_a_thousand_keys_under_load_and_nobody_sees_anothers_identifier() {
    const CLIENTS: usize = 1_000;
    let key = |number: usize| format!("client-key-{number:04}");
    let table =
        |number: usize| format!("[[action_cable.keys]]\nname = \"client {number}\"\nsha256 = \"{}\"\n", digest(&key(number)));
    let server = Server::with_cable("", &(0..CLIENTS).map(table).collect::<String>());
    let own = |number: usize| cable::api_with(&key(number), if number.is_multiple_of(2) { "posts" } else { "posts;feedbacks" });
    let mut clients: Vec<Cable> = (0..CLIENTS)
        .map(|_| {
            let mut cable = Cable::asking(Client::connect(server.address), "/cable", "");
            assert_eq!(cable.text(), cable::WELCOME);
            cable
        })
        .collect();
    for (number, cable) in clients.iter_mut().enumerate() {
        cable.command("subscribe", &own(number), "");
    }
    for (number, cable) in clients.iter_mut().enumerate() {
        assert_eq!(cable.text(), cable::confirm(&own(number)));
    }
    let door: Door = *server;
    // Small ones that are gathered into runs, and some that are written in pieces.
    let object = |number: usize| format!("{{\"id\":{number},\"body\":{}}}", string(&"x".repeat((number % 5) * 700)));
    let classes = [("Post", "create"), ("Feedback", "update"), ("Post", "update")];
    const MESSAGES: usize = 40;
    std::thread::scope(|threads| {
        for publisher in 0..REACTORS {
            let (object, door) = (&object, &door);
            threads.spawn(move || {
                let mut caller = Caller::new(door, publisher);
                for number in (publisher..MESSAGES).step_by(REACTORS) {
                    let (class, kind) = classes[number % classes.len()];
                    let body = event(kind, class, &object(number));
                    assert_eq!(caller.post("/api/events", "", body.as_bytes()).status, 201);
                }
            });
        }
    });
    let frame = |number: usize, id: usize| {
        let (class, kind) = classes[id % classes.len()];
        data(&own(number), &event(kind, class, &object(id)))
    };
    // What clients of either kind get, and in which order: the first of them tells.
    let mut orders = [Vec::new(), Vec::new()];
    for (number, cable) in clients.iter_mut().enumerate() {
        let order = &mut orders[number % 2];
        if order.is_empty() {
            let wanted = (0..MESSAGES).filter(|id| !number.is_multiple_of(2) || classes[id % classes.len()].0 == "Post");
            let mut missing: Vec<usize> = wanted.collect();
            while !missing.is_empty() {
                let text = cable.text();
                let at = missing.iter().position(|&id| frame(number, id) == text);
                order.push(missing.remove(at.unwrap_or_else(|| panic!("client {number}: {text}"))));
            }
            continue;
        }
        for &id in order.iter() {
            assert_eq!(cable.text(), frame(number, id), "client {number}");
        }
    }
    server.settle();
    for (number, cable) in clients.iter_mut().enumerate() {
        assert!(!cable.has_bytes(), "client {number}");
    }
}
