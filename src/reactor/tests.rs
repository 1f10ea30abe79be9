//! The reactor over sockets that a test holds in its hand, with the real hub, a small dialect and a clock that stands.

mod bodies;
mod closing;
mod documents;
mod prefixed;
mod working;

use super::inbox::{self, Bell};
use super::thread::{self, Order};
use super::transport::Transport;
use super::working::{Pools, Work};
use super::{Control, Event, Limits, PROMPT_LISTENERS_MAX, READ_TURN_BYTES, Reactor, listener};
use crate::access::SharedAccess;
use crate::clock::{Clock, Now};
use crate::exchange::{
    Answer, EndpointSettings, Join, JoinTopic, Joined, JoinedTopic, Question, Selection, StartAt, SubscriptionId, TopicId,
};
use crate::http::response::Response;
use crate::hub::request::{Origin, ToHub, ToReactor, Token};
use crate::hub::thread::Port;
use crate::hub::{Hub, Settings};
use crate::message::{Encoder, EncodingId, Message, Seq, Stamp};
use crate::metrics::{Counter, Metrics};
use crate::session::{
    Actions, BodyMode, ConnectionLimits, Delivery, Dialect, Door, Encoders, HeadLimits, Inbound, Opening, Registry, Request,
    Session,
};
use crate::workers::pool;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// One end of a socket pair; the test holds the same one.
#[derive(Clone, Default)]
struct Wire(Rc<RefCell<Cable>>);

#[derive(Default)]
struct Cable {
    to_server: VecDeque<u8>,
    /// The client sends no more.
    ended: bool,
    to_client: Vec<u8>,
    /// Bytes that the kernel still takes; `None`: any number.
    room: Option<usize>,
    /// The server sends no more.
    shut: bool,
    dropped: bool,
    user_timeout: Option<Duration>,
}

impl Transport for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut cable = self.0.borrow_mut();
        if cable.to_server.is_empty() && !cable.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // A ring gives what lies in one piece first.
        let count = into.len().min(cable.to_server.len());
        cable.to_server.read_exact(&mut into[..count])?;
        Ok(count)
    }

    fn write(&mut self, frames: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut cable = self.0.borrow_mut();
        assert!(!cable.shut, "nothing follows the end");
        let mut taken = 0;
        for frame in frames {
            let count = cable.room.map_or(frame.len(), |room| frame.len().min(room - taken));
            cable.to_client.extend_from_slice(&frame[..count]);
            taken += count;
        }
        if taken == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        cable.room = cable.room.map(|room| room - taken);
        Ok(taken)
    }

    fn shutdown(&mut self) {
        self.0.borrow_mut().shut = true;
    }
}

/// The reactor's end: tells when it is closed.
struct Socket(Wire);

impl Transport for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
    fn write(&mut self, frames: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write(frames)
    }
    fn shutdown(&mut self) {
        self.0.shutdown();
    }
    fn set_user_timeout(&mut self, time: Duration) {
        self.0.0.borrow_mut().user_timeout = Some(time);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.0.0.borrow_mut().dropped = true;
    }
}

struct Client {
    wire: Wire,
    token: Token,
}

impl Client {
    /// What came since the last look.
    fn got(&self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.wire.0.borrow_mut().to_client)).into_owned()
    }

    fn is_closed(&self) -> bool {
        self.wire.0.borrow().dropped
    }

    fn is_shut(&self) -> bool {
        self.wire.0.borrow().shut
    }

    /// The kernel takes so many bytes more from the server.
    fn takes(&self, bytes: usize) {
        self.wire.0.borrow_mut().room = Some(bytes);
    }

    fn takes_everything(&self) {
        self.wire.0.borrow_mut().room = None;
    }

    fn unread(&self) -> usize {
        self.wire.0.borrow().to_server.len()
    }
}

struct House {
    reactor: Reactor<Socket>,
    hub: Hub,
    now: Now,
    metrics: Arc<Metrics>,
    inbox: VecDeque<ToReactor>,
    /// Work that nobody does unless the test does.
    work: Rc<RefCell<VecDeque<Work>>>,
}

/// Jobs that may wait.
const JOBS_MAX: usize = 2;

fn limits() -> Limits {
    Limits { unopened_max: 1_000, unanswered_max: 1_000, ..Limits::default() }
}

impl House {
    fn new(limits: Limits) -> House {
        let mut encoders = Encoders::default();
        let encoding = encoders.add("plain".into(), Arc::new(Plain));
        let registry = Registry::new(vec![Arc::new(Small { encoding })], encoders, SharedAccess::default());
        House::of(registry, Vec::new(), limits)
    }

    /// Of these dialects, and with these endpoints.
    fn of(registry: Registry, endpoints: Vec<EndpointSettings>, limits: Limits) -> House {
        let now = Now { micros: 1_000_000, unix_micros: 1_795_191_466_000_000 };
        let metrics = Arc::new(Metrics::new(1));
        let settings = Settings { endpoints, ..Settings::default() };
        let work = Rc::new(RefCell::new(VecDeque::new()));
        let waiting = work.clone();
        let workers = Box::new(move |work| {
            let mut waiting = waiting.borrow_mut();
            let taken = waiting.len() < JOBS_MAX;
            if taken {
                waiting.push_back(work);
            }
            taken
        });
        House {
            reactor: Reactor::new(0, Arc::new(registry), limits, metrics.clone(), workers, now),
            hub: Hub::new(settings, 1, now, metrics.clone()),
            now,
            metrics,
            inbox: VecDeque::new(),
            work,
        }
    }

    fn connect(&mut self) -> Client {
        let client = Client { wire: Wire::default(), token: self.reactor.next_token() };
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        self.reactor.accept(Socket(client.wire.clone()), Door::Public, peer, self.now);
        client
    }

    /// One turn of the loop; the hub's replies lie in the inbox of the next one.
    fn turn(&mut self, events: &[Event]) {
        let House { reactor, inbox, .. } = self;
        let mut queue = std::mem::take(inbox);
        reactor.turn(events, &mut std::iter::from_fn(|| queue.pop_front()), self.now);
        self.inbox.extend(queue);
        self.ask_hub();
        self.reactor.write();
        self.ask_hub();
        self.reactor.settle(self.now);
    }

    fn ask_hub(&mut self) {
        let requests: Vec<ToHub> = self.reactor.outgoing().collect();
        for request in requests {
            self.hub.handle(request, self.now);
        }
        let mut replies = Vec::new();
        self.hub.take_replies(0, &mut replies);
        replies.extend(self.hub.take_acknowledgements().map(|(_, reply)| reply));
        while self.hub.serve_reads(self.now, || true) {}
        self.hub.take_replies(0, &mut replies);
        self.inbox.extend(replies);
    }

    /// Turns until nothing is left to do.
    fn settle(&mut self) {
        for _ in 0..1_000 {
            if !self.reactor.is_busy() && self.inbox.is_empty() {
                return;
            }
            self.turn(&[]);
        }
        panic!("the loop spins: it has something to do and does not get done");
    }

    fn send(&mut self, client: &Client, bytes: impl AsRef<[u8]>) {
        client.wire.0.borrow_mut().to_server.extend(bytes.as_ref());
        self.turn(&[Event { token: client.token, readable: true, writable: false, hangup: false }]);
        self.settle();
    }

    /// The kernel has room again.
    fn writable(&mut self, client: &Client) {
        self.turn(&[Event { token: client.token, readable: false, writable: true, hangup: false }]);
        self.settle();
    }

    /// The client ends its direction.
    fn end(&mut self, client: &Client) {
        client.wire.0.borrow_mut().ended = true;
        self.turn(&[Event { token: client.token, readable: true, writable: false, hangup: true }]);
        self.settle();
    }

    fn pass(&mut self, time: Duration) {
        self.now.micros += time.as_micros() as u64;
        self.now.unix_micros += time.as_micros() as u64;
        self.turn(&[]);
        self.settle();
    }

    fn publish(&mut self, payload: &str) {
        let entry = crate::exchange::Entry {
            topic: "a".into(),
            payload: payload.as_bytes().into(),
            store: true,
            event: None,
            key: None,
            except: None,
        };
        let origin = Origin { reactor: 0, connection: Token(0), ticket: 0 };
        self.hub.handle(ToHub::Publish { origin, entries: vec![entry], report: None }, self.now);
        // Its publisher is somewhere else.
        self.hub.take_acknowledgements().for_each(drop);
        self.ask_hub();
    }

    /// As the hub counts them.
    fn subscribed_connections(&mut self) -> u64 {
        let origin = Origin { reactor: 0, connection: Token(0), ticket: 0 };
        self.hub.handle(ToHub::Ask { origin, question: Question::Report(Selection::Sums) }, self.now);
        let mut replies = Vec::new();
        self.hub.take_replies(0, &mut replies);
        let Some(ToReactor::Answer { answer, .. }) = replies.pop() else { panic!("the hub answers") };
        let Answer::Report(report) = *answer else { panic!("with a report") };
        report.reactors[0].subscribers
    }

    fn counted(&self, counter: Counter) -> u64 {
        self.metrics.sum(counter)
    }
}

/// A payload as it is.
struct Plain;

impl Encoder for Plain {
    fn encode(&self, message: &Message, out: &mut Vec<u8>) {
        out.extend_from_slice(&message.payload);
    }
}

/// A dialect with one path for each way in which a request may go on.
struct Small {
    encoding: EncodingId,
}

const BIG: usize = 1_000_000;

impl Dialect for Small {
    fn name(&self) -> &'static str {
        "small"
    }

    fn open(&self, request: &Request<'_>, actions: &mut Actions) -> Option<Opening> {
        let hold = |body| Some(Opening::Hold { session: Box::new(Held), body });
        match request.head.path() {
            "/now" => Some(Opening::Respond(Response::new(200).body("now"))),
            "/big" => Some(Opening::Respond(Response::new(200).body(vec![b'x'; BIG]))),
            "/panic" => panic!("on purpose"),
            "/wait" => hold(BodyMode::Dropped),
            "/ask" => {
                actions.ask(Question::Head);
                hold(BodyMode::Dropped)
            }
            "/body" => hold(BodyMode::Whole),
            "/refused" => {
                actions.respond(Response::new(403));
                hold(BodyMode::Whole)
            }
            path if path.starts_with("/parts") => Some(bodies::opening(path, request.head.body, actions)),
            "/commands" => {
                actions.accept();
                Some(prefixed::opening(self.encoding))
            }
            path if path.starts_with("/work/") => Some(working::opening(path, actions)),
            "/documents" => {
                actions.accept();
                Some(documents::opening(self.encoding))
            }
            path @ ("/socket" | "/elsewhere") => {
                actions.accept();
                let name = if path == "/socket" { "a" } else { "b" };
                let topic =
                    JoinTopic { id: SubscriptionId(1), name: name.into(), start: StartAt::Now, must_have_messages: false };
                actions.join(Join { topics: vec![topic], ..Join::default() }, Delivery::Shared(self.encoding));
                Some(Opening::WebSocket { session: Box::new(Held), upgrade: Response::new(101) })
            }
            _ => None,
        }
    }

    fn head_limits(&self, _path: &str) -> Option<HeadLimits> {
        None
    }
}

/// Waits, and says what it hears.
struct Held;

static CONNECTION_LIMITS: ConnectionLimits = ConnectionLimits {
    message_bytes_max: 4096,
    message_fragments_max: 64,
    outbox_bytes_max: 256 * 1024,
    no_progress: Duration::from_secs(30),
    close_time: Duration::from_secs(2),
    user_timeout: Some(Duration::from_secs(7)),
};

impl Session for Held {
    fn limits(&self) -> &ConnectionLimits {
        &CONNECTION_LIMITS
    }

    fn received(&mut self, inbound: Inbound<'_>, actions: &mut Actions) {
        match inbound {
            Inbound::Body(body) => actions.respond(Response::new(200).body(format!("{} bytes", body.len()))),
            Inbound::Close(code) => actions.close(code, ""),
            Inbound::Text(_) | Inbound::Binary(_) | Inbound::Ping | Inbound::Pong | Inbound::Part(_) | Inbound::End => {}
        }
    }

    fn answered(&mut self, _answer: Answer, actions: &mut Actions) {
        actions.respond(Response::new(200).body("answered"));
    }

    fn too_slow(&mut self, actions: &mut Actions) {
        actions.close(Some(1008), "too slow");
    }

    fn draining(&mut self, actions: &mut Actions) {
        actions.respond(Response::new(503).body("stopping"));
    }
}

const UPGRADE: &str = "GET /socket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

#[test]
fn one_connection_too_many_without_a_head_costs_the_oldest_and_nobody_else() {
    let mut house = House::new(Limits { unopened_max: 2, ..limits() });
    let clients: Vec<Client> = (0..3).map(|_| house.connect()).collect();
    house.settle();
    let closed: Vec<bool> = clients.iter().map(Client::is_closed).collect();
    assert_eq!(closed, [true, false, false]);
    house.send(&clients[2], get("/now"));
    assert!(clients[2].got().ends_with("now"));
}

#[test]
fn who_comes_beyond_the_limit_is_heard_out_and_served_if_others_have_left() {
    let mut house = House::new(Limits { connections_max: 3, ..limits() });
    let served: Vec<Client> = (0..3).map(|_| house.connect()).collect();
    let beyond: Vec<Client> = (0..16).map(|_| house.connect()).collect();
    assert!(!house.reactor.has_room());
    house.send(&beyond[0], get("/now"));
    // The small dialect turns nobody away.
    let is_refused = |client: &Client| client.got().starts_with("HTTP/1.1 404 ") && client.is_shut();
    assert!(is_refused(&beyond[0]));
    // As many as leave come in; those who wait beyond are in nobody's way.
    served[..2].iter().for_each(|client| house.end(client));
    beyond[1..3].iter().for_each(|client| {
        house.send(client, get("/now"));
        assert!(client.got().ends_with("now"));
    });
    house.send(&beyond[3], get("/now"));
    assert!(is_refused(&beyond[3]));
    house.send(&beyond[1], get("/now"));
    assert!(beyond[1].got().ends_with("now"), "it is one of the served now");
    beyond[4..].iter().for_each(|client| house.end(client));
    assert!(house.reactor.has_room());
    house.send(&served[2], get("/now"));
    assert!(served[2].got().ends_with("now"));
}

#[test]
fn a_websocket_has_the_user_timeout_of_its_dialect() {
    let mut house = House::new(limits());
    let client = house.connect();
    house.send(&client, get("/now"));
    assert_eq!(client.wire.0.borrow().user_timeout, None, "other connections have the listener's");
    house.send(&client, UPGRADE);
    assert_eq!(client.wire.0.borrow().user_timeout, Some(Duration::from_secs(7)));
}

#[test]
fn what_a_socket_refused_goes_out_when_it_is_writable_again() {
    let mut house = House::new(limits());
    let client = house.connect();
    client.takes(10_000);
    house.send(&client, get("/big"));
    assert_eq!(client.got().len(), 10_000);
    client.takes_everything();
    house.writable(&client);
    assert!(client.got().len() > BIG - 10_000);
}

#[test]
fn a_head_that_does_not_come_in_time_costs_the_connection() {
    let mut house = House::new(limits());
    let client = house.connect();
    house.send(&client, "GET /now HTTP/1.1\r\n");
    house.pass(Duration::from_millis(9_900));
    assert!(!client.is_closed());
    house.pass(Duration::from_millis(200));
    assert!(client.is_closed());
    assert_eq!(house.counted(Counter::TimedOut), 1);
}

#[test]
fn a_run_of_messages_is_one_write_per_connection() {
    let mut house = House::new(limits());
    let clients: Vec<Client> = (0..3).map(|_| house.connect()).collect();
    for client in &clients {
        house.send(client, UPGRADE);
        assert!(client.got().starts_with("HTTP/1.1 101 "));
    }
    let before = house.counted(Counter::Writes);
    for _ in 0..16 {
        house.publish("m");
    }
    house.turn(&[]);
    house.settle();
    for client in &clients {
        assert_eq!(client.got(), "mmmmmmmmmmmmmmmm");
    }
    assert_eq!(house.counted(Counter::Writes) - before, 3);
    assert_eq!(house.counted(Counter::Runs), 1);
    assert_eq!(house.counted(Counter::Encodings), 16);
}

#[test]
fn a_panic_of_a_dialect_ends_its_connection_and_no_other() {
    let mut house = House::new(limits());
    let (other, client) = (house.connect(), house.connect());
    house.send(&client, get("/panic"));
    assert!(client.got().starts_with("HTTP/1.1 500 "));
    assert!(client.is_shut());
    assert_eq!(house.counted(Counter::Panics), 1);
    house.send(&other, get("/now"));
    assert!(other.got().ends_with("now"));
}

#[test]
fn who_pipelines_and_reads_no_answers_waits_instead_of_filling_memory() {
    let mut house = House::new(limits());
    let client = house.connect();
    client.takes(0);
    for _ in 0..5 {
        house.send(&client, get("/big").repeat(4));
    }
    let index = house.reactor.connections.find(client.token).unwrap();
    let waiting = house.reactor.connections[index].outbox.bytes();
    assert!(waiting < 2 * BIG, "{waiting} bytes wait");
    assert!(client.unread() > 0, "the rest stays in the kernel");
    client.takes_everything();
    house.writable(&client);
    assert_eq!(client.got().matches("HTTP/1.1 200 OK").count(), 20, "and nothing is lost");
}

#[test]
fn a_slow_but_living_reader_gets_the_whole_last_answer() {
    let mut house = House::new(limits());
    let client = house.connect();
    client.takes(10_000);
    house.send(&client, "GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut got = 0;
    while !client.is_shut() {
        assert!(!client.is_closed(), "cut after {got} bytes");
        got += client.got().len();
        house.pass(Duration::from_secs(1));
        client.takes(10_000);
        house.writable(&client);
    }
    got += client.got().len();
    assert!(got > BIG, "{got} bytes");
    house.pass(Duration::from_millis(1_900));
    assert!(!client.is_closed(), "the peer has its time to close");
    house.pass(Duration::from_millis(200));
    assert!(client.is_closed());
}

#[test]
fn a_reader_that_takes_nothing_more_of_the_last_answer_is_cut() {
    let mut house = House::new(limits());
    let client = house.connect();
    client.takes(10_000);
    house.send(&client, "GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    house.pass(Duration::from_secs(29));
    assert!(!client.is_closed());
    house.pass(Duration::from_millis(1_100));
    assert!(client.is_closed());
}

#[test]
fn a_long_answer_outlives_the_time_between_two_requests() {
    let mut house = House::new(limits());
    let client = house.connect();
    client.takes(10_000);
    house.send(&client, get("/big"));
    let mut got = 0;
    while got < BIG {
        assert!(!client.is_closed(), "cut after {got} bytes");
        got += client.got().len();
        house.pass(Duration::from_secs(1));
        client.takes(10_000);
        house.writable(&client);
    }
}

#[test]
fn who_is_too_slow_is_told_so_if_it_wakes_up_within_the_close_time() {
    let mut house = House::new(limits());
    let client = house.connect();
    house.send(&client, UPGRADE);
    client.takes(0);
    house.publish("m");
    house.settle();
    house.pass(Duration::from_secs(30));
    assert_eq!(house.counted(Counter::DroppedTooSlow), 1);
    house.pass(Duration::from_millis(1_500));
    assert!(!client.is_closed());
    client.takes_everything();
    client.got();
    house.writable(&client);
    assert!(client.got().ends_with("too slow") && client.is_shut());
}

#[test]
fn who_stays_too_slow_is_cut_after_the_close_time() {
    let mut house = House::new(limits());
    let client = house.connect();
    house.send(&client, UPGRADE);
    client.takes(0);
    house.publish("m");
    house.settle();
    house.pass(Duration::from_secs(30));
    house.pass(Duration::from_millis(2_100));
    assert!(client.is_closed());
}

#[test]
fn bytes_behind_a_waiting_request_stay_in_the_kernel() {
    let mut house = House::new(limits());
    let client = house.connect();
    house.send(&client, get("/wait"));
    house.send(&client, vec![b'x'; 60_000]);
    assert!(house.reactor.unfinished_bytes <= 4096, "{} bytes are held", house.reactor.unfinished_bytes);
    assert!(client.unread() >= 60_000 - 4096);
}

#[test]
fn bodies_of_many_share_one_budget_and_a_small_request_still_passes() {
    let mut house = House::new(Limits { unfinished_bytes_max: 100_000, ..limits() });
    let clients: Vec<Client> = (0..20).map(|_| house.connect()).collect();
    for client in &clients {
        house.send(client, "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n");
        house.send(client, vec![b'x'; 50_000]);
    }
    let held = house.reactor.unfinished_bytes;
    assert!(held < 100_000 + 65_536 + 20 * 4096, "{held} bytes are held");
    let small = house.connect();
    house.send(&small, "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
    assert!(small.got().ends_with("5 bytes"));
    house.end(&clients[0]);
    house.end(&clients[1]);
    assert!(clients[2].unread() < 50_000 - 4096, "who waited reads on when others have left");
}

#[test]
fn a_body_that_was_never_called_for_is_not_mistaken_for_the_next_request() {
    let mut house = House::new(limits());
    let client = house.connect();
    house.send(&client, "POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\nExpect: 100-continue\r\n\r\n");
    let answer = client.got();
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("\r\nConnection: close\r\n"), "{answer}");
    assert!(client.is_shut());
}

#[test]
fn a_body_that_is_called_for_leaves_the_connection_open() {
    let mut house = House::new(limits());
    let client = house.connect();
    house.send(&client, "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.got(), "HTTP/1.1 100 Continue\r\n\r\n");
    house.send(&client, "hello");
    assert!(client.got().contains("\r\nConnection: keep-alive\r\n"));
    house.send(&client, get("/now"));
    assert!(client.got().ends_with("now"));
}

#[test]
fn a_request_that_completes_while_the_server_stops_hears_of_it() {
    let mut house = House::new(limits());
    let (idle, begun, dropping, waiting) = (house.connect(), house.connect(), house.connect(), house.connect());
    house.send(&begun, "GET /wait HTTP/1.1\r\n");
    house.send(&dropping, "POST /now HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
    house.send(&waiting, get("/wait"));
    house.reactor.control(Control::Drain, house.now);
    house.settle();
    assert!(idle.is_shut());
    house.send(&begun, "Host: x\r\n\r\n");
    house.send(&dropping, "hello");
    for (name, client) in [("begun", &begun), ("dropping", &dropping), ("waiting", &waiting)] {
        assert!(client.is_shut(), "{name}: {}", client.got());
    }
    assert!(begun.got().ends_with("stopping"));
    for client in [&idle, &begun, &dropping, &waiting] {
        house.end(client);
        assert!(client.is_closed());
    }
    assert_eq!(house.reactor.connection_count(), 0);
}

#[test]
fn an_answer_is_owed_to_a_client_that_ended_its_own_direction() {
    let mut house = House::new(limits());
    let client = house.connect();
    client.wire.0.borrow_mut().ended = true;
    client.wire.0.borrow_mut().to_server.extend(get("/ask").as_bytes());
    house.turn(&[Event { token: client.token, readable: true, writable: false, hangup: true }]);
    house.settle();
    assert!(client.got().ends_with("answered") && client.is_closed());
}

#[test]
fn a_request_behind_a_waiting_one_is_served_after_it() {
    let mut house = House::new(limits());
    let client = house.connect();
    house.send(&client, get("/ask") + &get("/now"));
    let answers = client.got();
    assert!(answers.contains("answered") && answers.ends_with("now"), "{answers}");
}

#[test]
fn a_peer_that_closes_first_gets_its_code_back_and_the_end() {
    let mut house = House::new(limits());
    let client = house.connect();
    house.send(&client, UPGRADE);
    client.got();
    house.send(&client, [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]);
    assert_eq!(client.wire.0.borrow().to_client, [0x88, 2, 0x03, 0xe9]);
    assert!(client.is_shut() && !client.is_closed());
    house.send(&client, "whatever comes now is dropped");
    assert_eq!((client.unread(), house.reactor.unfinished_bytes), (0, 0));
    house.end(&client);
    assert!(client.is_closed());
}

#[test]
fn an_upgrade_may_say_that_it_has_no_body() {
    let mut house = House::new(limits());
    let client = house.connect();
    house.send(&client, UPGRADE.replace("Host: x\r\n", "Host: x\r\nContent-Length: 0\r\n"));
    assert!(client.got().starts_with("HTTP/1.1 101 "));
}

#[test]
fn what_lies_in_the_inbox_when_the_order_to_stop_comes_goes_out_before_the_goodbye() {
    const MESSAGES: u64 = 10_000;
    let poll = mio::Poll::new().unwrap();
    let bell = Arc::new(Bell::new(mio::Waker::new(poll.registry(), thread::WAKER).unwrap()));
    let (mut port, inbox) = inbox::inbox(bell.clone());
    let (hub, asked) = crossbeam_channel::unbounded();
    let (order, orders) = crossbeam_channel::unbounded();
    let (begun, has_begun) = crossbeam_channel::bounded(1);
    let mut encoders = Encoders::default();
    let encoding = encoders.add("plain".into(), Arc::new(Plain));
    let registry = Arc::new(Registry::new(vec![Arc::new(Small { encoding })], encoders, SharedAccess::default()));
    let setup = thread::Setup {
        index: 0,
        poll,
        inbox,
        port: port.clone(),
        pools: Pools { passwords: pool(1).0, documents: pool(1).0 },
        orders,
        bell: bell.clone(),
        hub,
        registry,
        limits: limits(),
        metrics: Arc::new(Metrics::new(1)),
        clock: Clock::start(),
        socket_options: listener::SocketOptions { user_timeout: Duration::from_secs(30), send_bytes: 0 },
        private_fd_tables: false,
        begun,
    };
    let reactor = std::thread::spawn(move || thread::run(setup));
    has_begun.recv().unwrap();
    let (_reserved, address) = listener::reserve((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let (done, opened) = crossbeam_channel::bounded(1);
    order.send(Order::Listen { addresses: vec![(address, Door::Public)], done }).unwrap();
    bell.ring();
    opened.recv().unwrap().unwrap();

    let mut client = std::net::TcpStream::connect(address).unwrap();
    client.write_all(UPGRADE.as_bytes()).unwrap();
    let origin = loop {
        if let ToHub::Join { origin, .. } = asked.recv().unwrap() {
            break origin;
        }
    };
    let topic = TopicId { index: 0, generation: 1 };
    let joined = JoinedTopic { id: SubscriptionId(1), topic, from: Seq(0) };
    let joined = Joined {
        head: Stamp::default(),
        topics: vec![joined],
        start: None,
        gap: false,
        foreign: false,
        replay: None,
        document: None,
        records: None,
    };
    let mut batch = vec![ToReactor::Joined { connection: origin.connection, ticket: origin.ticket, joined: Box::new(joined) }];
    batch.extend((1..=MESSAGES).map(|seq| {
        let stamp = Stamp { seq: Seq(seq), ..Stamp::default() };
        ToReactor::Deliver { topic, message: Arc::new(Message::new(stamp, "a".into(), seq as i64, b"m"[..].into())) }
    }));
    order.send(Order::Control(Control::Drain)).unwrap();
    port.push(&mut batch);

    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert_eq!(got.iter().rev().take_while(|&&byte| byte == b'm').count() as u64, MESSAGES);
    drop(client);
    reactor.join().unwrap().unwrap();
}

/// Load that never ends: new messages come before everybody has been offered the old ones.
#[test]
fn latencies_are_measured_even_while_a_fan_out_never_ends() {
    let mut house = House::new(Limits { unopened_max: 5_000, ..limits() });
    let clients: Vec<Client> = (0..5_000).map(|_| house.connect()).collect();
    for client in &clients {
        house.send(client, UPGRADE);
    }
    for _ in 0..50 {
        house.publish("m");
        house.turn(&[]);
        assert!(!house.reactor.bulk.is_empty());
    }
    let measured: u64 = house.metrics.reactors[0].latency().0.iter().sum();
    assert!(measured >= 40, "{measured} measured, {} wait", house.reactor.unsettled.len());
}

#[test]
fn a_connection_whose_last_topic_is_deleted_counts_no_longer_even_if_it_had_fallen_behind() {
    let mut house = House::new(limits());
    let (live, behind, elsewhere) = (house.connect(), house.connect(), house.connect());
    house.send(&live, UPGRADE);
    house.send(&behind, UPGRADE);
    house.send(&elsewhere, UPGRADE.replace("/socket", "/elsewhere"));
    assert_eq!(house.subscribed_connections(), 3);
    behind.takes(0);
    for _ in 0..5 {
        house.publish(&"m".repeat(100_000));
        house.settle();
    }
    assert_eq!(house.counted(Counter::Lagging), 1);
    let origin = Origin { reactor: 0, connection: Token(0), ticket: 0 };
    house.hub.handle(ToHub::Delete { origin, topics: vec!["a".into()], payload: b"gone"[..].into() }, house.now);
    house.ask_hub();
    house.settle();
    assert_eq!(house.subscribed_connections(), 1, "who listens elsewhere still counts");
}

#[test]
fn who_takes_nothing_does_not_hold_up_the_stop_and_who_is_slow_gets_everything() {
    let mut house = House::new(limits());
    let (listening, leaving, slow) = (house.connect(), house.connect(), house.connect());
    house.send(&listening, UPGRADE);
    listening.takes(0);
    house.publish("m");
    house.settle();
    for client in [&leaving, &slow] {
        client.takes(10_000);
        house.send(client, "GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    }
    // Past the first look at it, so that the next one lies after the patience of ordinary times.
    house.pass(Duration::from_millis(2_100));
    house.reactor.control(Control::Drain, house.now);
    for _ in 0..3 {
        slow.takes(10_000);
        house.writable(&slow);
        house.pass(Duration::from_millis(900));
    }
    assert!(listening.is_closed() && leaving.is_closed());
    slow.takes_everything();
    house.writable(&slow);
    assert!(slow.got().len() > BIG && slow.is_shut());
}

#[test]
fn a_page_that_many_wait_for_goes_out_in_slices() {
    let mut house = House::new(limits());
    let mut clients = Vec::new();
    for _ in 0..PROMPT_LISTENERS_MAX + 100 {
        let client = house.connect();
        house.send(&client, UPGRADE);
        client.takes(0);
        client.got();
        clients.push(client);
    }
    for number in 0..70 {
        house.publish(&format!("{number},"));
        house.settle();
    }
    assert_eq!(house.counted(Counter::Lagging), clients.len() as u64);
    clients.iter().for_each(Client::takes_everything);
    let writable = |client: &Client| Event { token: client.token, readable: false, writable: true, hangup: false };
    let events: Vec<Event> = clients.iter().map(writable).collect();
    house.turn(&events);
    assert_eq!(house.inbox.len(), 1, "they share one read");
    let House { reactor, inbox, now, .. } = &mut house;
    reactor.turn(&[], &mut std::iter::from_fn(|| inbox.pop_front()), *now);
    assert_eq!((reactor.prompt.len(), reactor.bulk.len()), (0, clients.len()));
    house.settle();
    let everything: String = (0..70).map(|number| format!("{number},")).collect();
    assert!(clients.iter().all(|client| client.got() == everything));
}

#[test]
fn the_end_of_a_large_topic_goes_out_in_slices() {
    let mut house = House::new(limits());
    let mut clients = Vec::new();
    for _ in 0..PROMPT_LISTENERS_MAX + 100 {
        let client = house.connect();
        house.send(&client, UPGRADE);
        client.got();
        clients.push(client);
    }
    let origin = Origin { reactor: 0, connection: Token(0), ticket: 0 };
    house.hub.handle(ToHub::Delete { origin, topics: vec!["a".into()], payload: b"gone"[..].into() }, house.now);
    house.ask_hub();
    let House { reactor, inbox, now, .. } = &mut house;
    reactor.turn(&[], &mut std::iter::from_fn(|| inbox.pop_front()), *now);
    assert_eq!((reactor.prompt.len(), reactor.bulk.len()), (0, clients.len()));
    house.ask_hub();
    house.settle();
    assert!(clients.iter().all(|client| client.got() == "gone"));
    assert_eq!(house.subscribed_connections(), 0);
}
