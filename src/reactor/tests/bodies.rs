//! Bodies that a session takes in parts: what it is given, what waits, and what becomes of a body that it does not want.

use super::*;
use crate::http::head::BodyLength;

/// What the limited path takes.
const BYTES_MAX: u64 = 1_000;

/// Counts what it is given, and tells it at the end.
struct Counting {
    bytes: u64,
    sum: crc32fast::Hasher,
    bytes_max: u64,
    /// What it keeps of them, on the path that keeps them.
    kept: Option<Vec<u8>>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The hub has not answered yet.
    Asking {
        then: Verdict,
    },
    /// Takes no more until it is woken.
    Resting,
    Taking,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Take,
    Refuse,
}

pub(super) fn opening(path: &str, announced: BodyLength, actions: &mut Actions) -> Opening {
    if matches!(announced, BodyLength::Length(bytes) if bytes > 1 << 30) {
        return Opening::Respond(Response::new(413).body("announced").closing());
    }
    let state = match path {
        "/parts/asked" => State::Asking { then: Verdict::Take },
        "/parts/refused" => State::Asking { then: Verdict::Refuse },
        _ => State::Taking,
    };
    if state != State::Taking {
        actions.ask(Question::Head);
    }
    let bytes_max = if path == "/parts/limited" { BYTES_MAX } else { u64::MAX };
    let kept = (path == "/parts/kept").then(Vec::new);
    let state = if path == "/parts/rested" { State::Resting } else { state };
    if state == State::Resting {
        actions.wake_at(actions.now.micros + 60_000_000);
    }
    Opening::Hold {
        session: Box::new(Counting { bytes: 0, sum: crc32fast::Hasher::new(), bytes_max, kept, state }),
        body: BodyMode::Parts,
    }
}

impl Session for Counting {
    fn limits(&self) -> &ConnectionLimits {
        &CONNECTION_LIMITS
    }

    fn received(&mut self, inbound: Inbound<'_>, actions: &mut Actions) {
        assert!(self.accepts_input(), "nothing comes while it lets the body wait");
        match inbound {
            Inbound::Part(part) => {
                assert!(!part.is_empty());
                self.bytes += part.len() as u64;
                self.sum.update(part);
                if let Some(kept) = &mut self.kept {
                    kept.extend_from_slice(part);
                }
                if self.bytes > self.bytes_max {
                    actions.respond(Response::new(413).body("too large"));
                }
            }
            Inbound::End if self.kept.is_some() => actions.ask(Question::Head),
            Inbound::End => {
                let sum = self.sum.clone().finalize();
                actions.respond(Response::new(200).body(format!("{} bytes, {sum:08x}", self.bytes)));
            }
            other => panic!("{other:?}"),
        }
    }

    fn answered(&mut self, _answer: Answer, actions: &mut Actions) {
        if let Some(kept) = self.kept.take() {
            return actions.respond(Response::new(200).body(format!("{} bytes were kept", kept.len())));
        }
        match std::mem::replace(&mut self.state, State::Taking) {
            State::Asking { then: Verdict::Refuse } => actions.respond(Response::new(401).body("who?")),
            State::Asking { then: Verdict::Take } | State::Resting | State::Taking => {}
        }
    }

    fn woken(&mut self, _actions: &mut Actions) {
        self.state = State::Taking;
    }

    fn collected_bytes(&self) -> usize {
        self.kept.as_ref().map_or(0, Vec::len)
    }

    fn accepts_input(&self) -> bool {
        self.state == State::Taking
    }

    fn too_slow(&mut self, actions: &mut Actions) {
        actions.hangup();
    }

    fn draining(&mut self, actions: &mut Actions) {
        actions.respond(Response::new(503).body("stopping").closing());
    }
}

fn post(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n")
}

fn told(body: &[u8]) -> String {
    format!("{} bytes, {:08x}", body.len(), crc32fast::hash(body))
}

/// Requests with bodies in both framings and without, back to back.
fn pipeline() -> (Vec<u8>, Vec<String>) {
    let body = b"one and two\r\n0\r\n\r\n";
    let mut bytes = post("/parts", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes.extend_from_slice(b"POST /parts/asked HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    bytes.extend_from_slice(b"3;a=b\r\none\r\n8\r\n and two\r\n7\r\n\r\n0\r\n\r\n\r\n0\r\nX: y\r\n\r\n");
    bytes.extend_from_slice(post("/parts/asked", 0).as_bytes());
    bytes.extend_from_slice(b"POST /parts HTTP/1.1\r\nHost: x\r\n\r\n");
    bytes.extend_from_slice(get("/now").as_bytes());
    (bytes, vec![told(body), told(body), told(b""), told(b""), "now".to_owned()])
}

fn bodies_of(answers: &str) -> Vec<String> {
    let answers = answers.split("HTTP/1.1 ").skip(1);
    answers.map(|answer| answer.split_once("\r\n\r\n").expect("a head").1.to_owned()).collect()
}

#[test]
fn parts_are_the_body_however_its_bytes_are_cut_and_the_next_request_follows() {
    let (bytes, expected) = pipeline();
    let cuts = (0..=bytes.len()).map(|cut| vec![cut, bytes.len()]).chain([(0..=bytes.len()).collect()]);
    for cuts in cuts {
        let mut house = House::new(limits());
        let client = house.connect();
        let mut start = 0;
        for &end in &cuts {
            house.send(&client, &bytes[start..end]);
            start = end;
        }
        let answers = client.got();
        assert_eq!(bodies_of(&answers), expected, "cut at {cuts:?}: {answers}");
        assert!(!client.is_shut() && house.reactor.unfinished_bytes == 0);
        house.reactor.check();
    }
}

#[test]
fn a_body_is_not_read_before_the_hub_has_answered() {
    let mut house = House::new(limits());
    let client = house.connect();
    client.wire.0.borrow_mut().to_server.extend(post("/parts/asked", 300_000).as_bytes());
    house.turn(&[Event { token: client.token, readable: true, writable: false, hangup: false }]);
    client.wire.0.borrow_mut().to_server.extend(vec![b'x'; 300_000]);
    // The answer waits in the inbox: a turn without it.
    let House { reactor, now, .. } = &mut house;
    let event = Event { token: client.token, readable: true, writable: false, hangup: false };
    reactor.turn(&[event], &mut std::iter::empty(), *now);
    assert_eq!((client.unread(), reactor.unfinished_bytes), (300_000, 0));
    house.settle();
    assert!(client.got().ends_with(&told(&[b'x'; 300_000])));
}

#[test]
fn a_client_that_ended_its_direction_behind_a_waiting_body_is_answered() {
    let mut house = House::new(limits());
    let client = house.connect();
    client.wire.0.borrow_mut().to_server.extend((post("/parts/asked", 5) + "he").as_bytes());
    house.turn(&[Event { token: client.token, readable: true, writable: false, hangup: false }]);
    client.wire.0.borrow_mut().to_server.extend(b"llo");
    client.wire.0.borrow_mut().ended = true;
    let House { reactor, now, .. } = &mut house;
    let event = Event { token: client.token, readable: true, writable: false, hangup: true };
    reactor.turn(&[event], &mut std::iter::empty(), *now);
    house.settle();
    assert!(client.got().ends_with(&told(b"hello")));
}

#[test]
fn a_100_is_sent_when_the_session_takes_the_body_and_not_before_a_refusal() {
    let expecting = |path| post(path, 5).replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    let mut house = House::new(limits());
    let client = house.connect();
    client.wire.0.borrow_mut().to_server.extend(expecting("/parts/asked").as_bytes());
    house.turn(&[Event { token: client.token, readable: true, writable: false, hangup: false }]);
    assert_eq!(client.got(), "", "the hub has not answered");
    house.settle();
    assert_eq!(client.got(), "HTTP/1.1 100 Continue\r\n\r\n");
    house.send(&client, "hello");
    let answer = client.got();
    assert!(answer.ends_with(&told(b"hello")) && answer.contains("\r\nConnection: keep-alive\r\n"), "{answer}");
    house.send(&client, expecting("/parts/refused"));
    let answer = client.got();
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("\r\nConnection: close\r\n"), "{answer}");
    assert!(client.is_shut(), "what comes may be the body or a request");
    assert_eq!(house.counted(Counter::TimedOut), 0);
}

#[test]
fn the_limit_of_the_path_is_not_that_of_parts() {
    let mut house = House::new(Limits { body_bytes_max: 10, ..limits() });
    for request in [post("/body", 11), "POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n".into()] {
        let client = house.connect();
        house.send(&client, request);
        assert!(client.got().starts_with("HTTP/1.1 413 "));
    }
    for request in [
        post("/parts", 11) + "hello world",
        "POST /parts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n".into(),
    ] {
        let client = house.connect();
        house.send(&client, request);
        assert!(client.got().ends_with(&told(b"hello world")));
    }
    let client = house.connect();
    house.send(&client, post("/parts", 1 << 31));
    assert!(client.got().ends_with("announced"), "the session knows what is announced");
}

#[test]
fn the_rest_of_a_body_is_dropped_if_it_is_short_and_ends_the_connection_if_it_is_long() {
    let chunked = |chunk: usize, rest: usize| {
        let head = "POST /parts/limited HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        let (chunk, rest) = ("x".repeat(chunk), "x".repeat(rest));
        format!("{head}{:x}\r\n{chunk}\r\n{:x}\r\n{rest}\r\n0\r\n\r\n", chunk.len(), rest.len())
    };
    for (request, keeps, answers) in [
        (post("/parts/limited", 5_000) + &"x".repeat(5_000), true, 2),
        (post("/parts/limited", 5_001) + &"x".repeat(5_001), false, 1),
        (chunked(1_500, 3_495), true, 2),
        (chunked(4_996, 1), false, 1),
        // It is answered in hope; then the rest is announced.
        (chunked(1_500, 3_496), true, 1),
    ] {
        let mut house = House::new(Limits { body_bytes_max: 3_500, ..limits() });
        let client = house.connect();
        let bytes = request + &get("/now");
        let head = bytes.find("\r\n\r\n").unwrap() + 4;
        house.send(&client, &bytes[..head]);
        // The first piece is too much already. Of a chunk it holds 5 bytes less, or 6: those that announce it.
        house.send(&client, &bytes[head..head + 1_500]);
        for piece in bytes.as_bytes()[head + 1_500..].chunks(100) {
            house.send(&client, piece);
        }
        let got = client.got();
        let first = got.split("\r\n\r\n").next().unwrap();
        assert!(first.starts_with("HTTP/1.1 413 "), "{got}");
        assert_eq!(first.contains("\r\nConnection: keep-alive"), keeps, "{got}");
        assert_eq!(got.matches("HTTP/1.1 ").count(), answers, "{got}");
        assert_eq!((client.is_shut(), client.unread()), (answers == 1, 0), "what still comes is read");
        assert!(!client.is_closed(), "the client has time to read the answer");
        house.reactor.check();
    }
}

#[test]
fn a_framing_that_breaks_in_the_middle_is_refused() {
    let mut house = House::new(limits());
    let client = house.connect();
    house.send(&client, "POST /parts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n");
    assert!(client.got().starts_with("HTTP/1.1 400 ") && client.is_shut());
}

#[test]
fn an_upload_may_last_as_long_as_it_goes_on_and_a_stalled_one_may_not() {
    let mut house = House::new(limits());
    let (steady, slow, stalled) = (house.connect(), house.connect(), house.connect());
    house.send(&steady, post("/parts", 300 * 10_000));
    house.send(&slow, post("/parts", 300 * 10_000));
    house.send(&stalled, post("/parts", 300 * 10_000));
    house.send(&stalled, vec![b'x'; 100_000]);
    for second in 1..=300 {
        house.pass(Duration::from_secs(1));
        house.send(&steady, vec![b'x'; 10_000]);
        if !slow.is_closed() {
            house.send(&slow, vec![b'x'; 1_000]);
        }
        if second == 9 {
            assert!(stalled.got().is_empty());
        }
    }
    assert!(steady.got().ends_with(&told(&vec![b'x'; 300 * 10_000])));
    assert!(slow.got().starts_with("HTTP/1.1 408 "));
    assert!(stalled.got().starts_with("HTTP/1.1 408 "));
    assert_eq!(house.counted(Counter::TimedOut), 2);
}

#[test]
fn the_time_of_a_session_that_lets_the_body_wait_is_not_the_clients() {
    let mut house = House::new(limits());
    let client = house.connect();
    house.send(&client, post("/parts/rested", 200_000));
    house.send(&client, vec![b'x'; 100_000]);
    for _ in 0..59 {
        house.pass(Duration::from_secs(1));
    }
    assert_eq!((client.unread(), client.is_shut()), (100_000, false));
    house.pass(Duration::from_secs(2));
    assert_eq!(client.unread(), 0, "it was woken");
    house.pass(Duration::from_secs(9));
    house.send(&client, vec![b'x'; 1_000]);
    house.pass(Duration::from_secs(9));
    house.send(&client, vec![b'x'; 99_000]);
    assert!(client.got().ends_with(&told(&[b'x'; 200_000])), "at an average that counts its own minute it would be too slow");
}

/// EP-67, the half of the connection: a hundred mebibytes pass, and no more than a read is ever held.
#[test]
fn memory_stays_bounded_while_100_mib_pass() {
    const MIB: usize = 1 << 20;
    for path in ["/parts", "/parts/asked"] {
        let mut house = House::new(limits());
        let client = house.connect();
        house.send(&client, post(path, 100 * MIB));
        let piece: Vec<u8> = (0..MIB).map(|at| (at % 251) as u8).collect();
        let mut sum = crc32fast::Hasher::new();
        for _ in 0..100 {
            sum.update(&piece);
            client.wire.0.borrow_mut().to_server.extend(&piece);
            let mut event = Some(Event { token: client.token, readable: true, writable: false, hangup: false });
            while client.unread() > 0 {
                house.turn(event.take().as_slice());
                let index = house.reactor.connections.find(client.token).expect("it is there");
                let extra = house.reactor.connections[index].extra.as_ref().expect("in motion");
                let http = extra.http.as_ref().expect("a request");
                let held = extra.spill.capacity() + http.collected.capacity() + house.reactor.scratch.capacity();
                assert!(held <= READ_TURN_BYTES, "{held} bytes are held");
                assert_eq!(house.reactor.buffer.len(), READ_TURN_BYTES);
            }
        }
        house.settle();
        assert!(client.got().ends_with(&format!("{} bytes, {:08x}", 100 * MIB, sum.finalize())));
        assert_eq!(house.reactor.unfinished_bytes, 0);
    }
}

#[test]
fn what_sessions_collect_of_their_parts_shares_the_budget_of_bodies() {
    let mut house = House::new(Limits { unfinished_bytes_max: 100_000, ..limits() });
    let clients: Vec<Client> = (0..20).map(|_| house.connect()).collect();
    for client in &clients {
        house.send(client, post("/parts/kept", 60_000));
        house.send(client, vec![b'x'; 50_000]);
        house.reactor.check();
    }
    let held = house.reactor.unfinished_bytes;
    assert!((100_000..100_000 + 65_536 + 20 * 4096).contains(&held), "{held} bytes are held");
    let counting = house.connect();
    house.send(&counting, post("/parts", 50_000) + &"x".repeat(50_000));
    assert!(counting.got().ends_with(&told(&[b'x'; 50_000])), "who keeps nothing goes on");
    house.end(&clients[0]);
    house.end(&clients[1]);
    house.reactor.check();
    assert!(clients[2].unread() < 50_000 - 4096, "who waited reads on when others have left");
    for client in &clients[2..] {
        house.end(client);
    }
    house.reactor.check();
    assert!(clients.iter().all(Client::is_closed));
    assert_eq!(house.reactor.unfinished_bytes, 0);
}

#[test]
fn what_was_collected_is_held_until_the_answer() {
    let mut house = House::new(limits());
    let client = house.connect();
    client.wire.0.borrow_mut().to_server.extend((post("/parts/kept", 1_000) + &"x".repeat(1_000)).as_bytes());
    house.turn(&[Event { token: client.token, readable: true, writable: false, hangup: false }]);
    assert_eq!(house.reactor.unfinished_bytes, 1_000);
    house.reactor.check();
    house.settle();
    assert!(client.got().ends_with("1000 bytes were kept"));
    assert_eq!(house.reactor.unfinished_bytes, 0);
    house.reactor.check();
}

#[test]
fn who_stops_in_the_middle_of_a_body_is_told() {
    let mut house = House::new(limits());
    let client = house.connect();
    house.send(&client, post("/parts", 100) + "hello");
    house.reactor.control(Control::Drain, house.now);
    house.settle();
    assert!(client.got().ends_with("stopping") && client.is_shut());
}
