//! A real server on port 0 whose clock is turned by hand, and raw clients that see every byte.
//!
//! Every wait is bounded: a server that says nothing fails a test, it does not hang it.

// Every test binary takes in all of this and uses its own part.
#![allow(dead_code, unused_imports)]

pub mod cable;
pub mod client;
pub mod endpoints;
pub mod log;
pub mod realtime;
pub mod subscriber;

pub use cable::Cable;
pub use client::{Client, Frame, Response, masked};
pub use subscriber::{Envelope, Mode, Subscriber, epoch, escaped};

use fanwire::clock::Clock;
use fanwire::config::Config;
use fanwire::metrics::{Counter, Metrics};
use fanwire::reactor::working::Pools;
use fanwire::server::{PASSWORD_JOBS_MAX, Running};
use fanwire::workers::{Queue, pool};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;
use std::time::{Duration, Instant};

/// The longest that any single wait may last.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Unix second at which every server begins: Fri, 20 Nov 2026 16:17:46 GMT.
pub const START: u64 = 1_795_191_466;

pub const REACTORS: usize = 4;

/// The key of [`Server::with_access`], 24 bytes.
pub const KEY: &str = "publisher-key-0123456789";
/// A key that may publish and nothing else.
pub const PUBLISH_KEY: &str = "publish-only-key-0123456";
/// A key that may read statistics and nothing else.
pub const STATISTICS_KEY: &str = "statistics-key-012345678";
/// A token for every channel.
pub const TOKEN: &str = "listener-token-0123456789";
/// A token for channels that begin with `public`.
pub const PUBLIC_TOKEN: &str = "public-token-012345678901";

/// The tables that the configurations of all tests share.
pub const ACCESS: &str = r#"
[[access.keys]]
name = "backend"
key = "publisher-key-0123456789"
may = ["publish", "statistics", "admin"]
topics = ["*"]

[[access.keys]]
name = "publisher"
key = "publish-only-key-0123456"
may = ["publish"]
topics = ["*"]

[[access.keys]]
name = "observer"
key = "statistics-key-012345678"
may = ["statistics"]
topics = ["*"]

[[access.tokens]]
name = "everyone"
token = "listener-token-0123456789"
topics = ["*"]

[[access.tokens]]
name = "public"
token = "public-token-012345678901"
topics = ["public*"]
"#;

/// What the configurations of all tests begin with.
///
/// No private tables of descriptors: a copy of this process's table would keep the sockets of other tests' clients open.
pub const LISTEN: &str = "[server]\nlisten = \"127.0.0.1:0\"\nreactors = 4\nprivate_fd_tables = false\n\n[admin]\nlisten = \"127.0.0.1:0\"\n\n[push_stream]\nenabled = true\n";

/// Reads a configuration that must be right.
pub fn config(text: &str) -> Config {
    match Config::from_toml(text, "test.toml", Path::new(".")) {
        Ok(config) => config,
        Err(error) => panic!("{error}\n{text}"),
    }
}

/// `fanwire dev` on port 0 with four reactors and these keys of `[push_stream]`.
pub fn dev(push_stream: &str) -> Config {
    let wanted = config(&format!("{LISTEN}{push_stream}\n"));
    let mut dev = Config::dev();
    dev.server.listen = wanted.server.listen;
    dev.server.reactors = wanted.server.reactors;
    dev.server.private_fd_tables = wanted.server.private_fd_tables;
    dev.push_stream = wanted.push_stream;
    // Whatever the log keeps for the histories of Action Cable keeps a channel, too: no longer than push_stream's own messages here.
    dev.action_cable.history_ttl = dev.action_cable.history_ttl.min(dev.push_stream.message_ttl);
    dev
}

/// `fanwire dev` with this `[action_cable]`, but for the publish key.
pub fn dev_cable(action_cable: &str) -> Config {
    let mut dev = dev("");
    let publish_key = dev.action_cable.publish_key.take();
    dev.action_cable = config(&format!("{LISTEN}{action_cable}")).action_cable;
    dev.action_cable.publish_key = publish_key;
    // Time for goodbyes, and for their answers.
    dev.server.drain_time = dev.action_cable.drain_time * 5 / 4;
    dev
}

/// Where a server is and what opens it: all that a client's thread needs.
#[derive(Clone, Copy)]
pub struct Door {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub key: &'static str,
    pub token: &'static str,
    /// `fanwire dev`: `GET /health` names the reactor of a connection that can then be used for anything.
    pub one_port: bool,
}

pub struct Server {
    running: Option<Running>,
    door: Door,
    /// Microseconds on the wall clock.
    wall: Cell<u64>,
    callers: RefCell<Vec<Caller>>,
}

impl Deref for Server {
    type Target = Door;
    fn deref(&self) -> &Door {
        &self.door
    }
}

impl Server {
    /// A dev server in the middle of its second whole second, so that tags begin at 1.
    pub fn start() -> Server {
        Server::with("")
    }

    /// Likewise, with these keys of `[push_stream]`.
    pub fn with(push_stream: &str) -> Server {
        let server = Server::dev_at(START * 1_000_000, push_stream);
        server.advance(1.0);
        server
    }

    /// A dev server on one port with metasmoke's settings, these keys of `[action_cable]` and these tables.
    pub fn with_cable(keys: &str, tables: &str) -> Server {
        Server::cable(dev_cable(&cable::configuration(keys, tables)))
    }

    /// Likewise, with these keys of `[push_stream]` and of `[action_cable]`.
    pub fn with_both(push_stream: &str, action_cable: &str) -> Server {
        let mut config = dev_cable(&cable::configuration(action_cable, ""));
        config.push_stream = dev(push_stream).push_stream;
        Server::cable(config)
    }

    /// With what [`dev_cable`] made.
    pub fn cable(config: Config) -> Server {
        let server = Server::run(config, START * 1_000_000, cable::PUBLISH_KEY, "dev", true);
        server.advance(1.0);
        server
    }

    /// A dev server at its very first microsecond.
    pub fn dev_at(unix_micros: u64, push_stream: &str) -> Server {
        Server::run(dev(push_stream), unix_micros, "dev", "dev", true)
    }

    /// Not dev: the keys and tokens of [`ACCESS`], an admin address, and these keys of `[push_stream]`.
    pub fn with_access(push_stream: &str) -> Server {
        Server::with_config(&format!("{LISTEN}{push_stream}\n{ACCESS}"))
    }

    /// Not dev, with a configuration that holds [`KEY`] and [`TOKEN`].
    pub fn with_config(text: &str) -> Server {
        let server = Server::run(config(text), START * 1_000_000, KEY, TOKEN, false);
        server.advance(1.0);
        server
    }

    /// With what [`dev_cable`] made, and documents that are merged when the caller lets them be.
    pub fn with_merges_by_hand(config: Config) -> (Server, Queue) {
        let ((passwords, _), (documents, merges)) = (pool(1), pool(8));
        (Server::on_pools(config, Pools { passwords, documents }), merges)
    }

    /// Likewise, with passwords that are hashed when the caller lets them be.
    pub fn with_passwords_by_hand(config: Config) -> (Server, Queue) {
        let ((passwords, hashes), (documents, _)) = (pool(PASSWORD_JOBS_MAX), pool(1));
        (Server::on_pools(config, Pools { passwords, documents }), hashes)
    }

    fn on_pools(config: Config, pools: Pools) -> Server {
        let start = |config, clock| fanwire::server::start_on(config, clock, pools);
        let server = Server::run_by(start, config, START * 1_000_000, cable::PUBLISH_KEY, "dev", true);
        server.advance(1.0);
        server
    }

    fn run(config: Config, unix_micros: u64, key: &'static str, token: &'static str, one_port: bool) -> Server {
        Server::run_by(fanwire::server::start, config, unix_micros, key, token, one_port)
    }

    fn run_by(
        start: impl FnOnce(Config, Clock) -> std::io::Result<Running>,
        config: Config,
        unix_micros: u64,
        key: &'static str,
        token: &'static str,
        one_port: bool,
    ) -> Server {
        log::capture();
        let running = start(config, Clock::by_hand(unix_micros)).expect("the server starts");
        let admin = if one_port { running.address() } else { running.admin() };
        let door = Door { address: running.address(), admin, key, token, one_port };
        // The hub has heard of every reactor before the clock is turned.
        running.advance(Duration::ZERO);
        let callers = (0..REACTORS).map(|reactor| Caller::new(&door, reactor)).collect();
        Server { running: Some(running), door, wall: Cell::new(unix_micros), callers: RefCell::new(callers) }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("only `end` takes it")
    }

    pub fn metrics(&self) -> &Metrics {
        self.running().metrics()
    }

    /// Write calls of this reactor, once it has finished the turn in which it wrote: a client may see what is not counted yet.
    pub fn writes(&self, reactor: usize) -> u64 {
        self.advance(0.0);
        self.metrics().reactors[reactor].read(Counter::Writes)
    }

    pub fn count(&self, counter: Counter) -> u64 {
        self.metrics().sum(counter)
    }

    /// Microseconds on the server's wall clock.
    pub fn unix_micros(&self) -> u64 {
        self.wall.get()
    }

    /// Whole seconds on the server's wall clock.
    pub fn seconds(&self) -> u64 {
        self.unix_micros() / 1_000_000
    }

    /// Turns both clocks on at once.
    pub fn advance(&self, seconds: f64) {
        let by = Duration::from_micros((seconds * 1e6).round() as u64);
        self.wall.set(self.wall.get() + by.as_micros() as u64);
        self.running().advance(by);
    }

    /// Turns both clocks on in steps of a tenth of a second: timers that follow each other fire in their order.
    pub fn pass(&self, seconds: f64) {
        let tenths = (seconds * 10.0).round() as u64;
        for _ in 0..tenths {
            self.advance(0.1);
        }
    }

    /// Steps the wall clock alone.
    pub fn set_wall(&self, unix_micros: u64) {
        self.wall.set(unix_micros);
        self.running().set_wall(unix_micros);
    }

    pub fn reload(&self, config: Config) -> Result<(), String> {
        self.running().reload(config)
    }

    pub fn drain(&self) {
        self.running().drain();
    }

    /// Waits until everything ended.
    pub fn join(mut self) {
        self.callers.borrow_mut().clear();
        self.running.take().expect("joined once").join().expect("no thread failed");
    }

    /// Whatever the server was about to do is done and on the wire when this returns.
    ///
    /// Two questions to the hub through every reactor: queues are first in, first out, so the answers come behind
    /// everything that was under way.
    pub fn settle(&self) {
        for _ in 0..2 {
            for caller in self.callers.borrow_mut().iter_mut() {
                assert_eq!(caller.get("/channels-stats").status, 200);
            }
        }
    }

    /// Has `client` been sent nothing?
    pub fn is_silent(&self, client: &mut Client) -> bool {
        self.settle();
        !client.has_bytes()
    }

    #[track_caller]
    pub fn expect_silence(&self, client: &mut Client) {
        self.settle();
        if client.has_bytes() {
            panic!("nothing should have come, but: {:?}", String::from_utf8_lossy(client.pending()));
        }
    }

    /// Answer of the statistics for these channels; `id` as it stands in the query.
    pub fn statistics(&self, id: &str) -> Response {
        self.callers.borrow_mut()[0].get(&format!("/channels-stats?id={id}"))
    }

    pub fn summary(&self) -> serde_json::Value {
        self.callers.borrow_mut()[0].get("/channels-stats").json()
    }

    /// published, stored, subscribers; `None` if the channel does not exist.
    pub fn row(&self, channel: &str) -> Option<(u64, u64, u64)> {
        let answer = self.statistics(channel);
        if answer.status == 404 {
            return None;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        let row = answer.json();
        let number = |name: &str| row[name].as_u64().unwrap_or_else(|| panic!("{name} in {row}"));
        Some((number("published_messages"), number("stored_messages"), number("subscribers")))
    }

    /// Subscriptions to the channel.
    pub fn subscribers(&self, channel: &str) -> u64 {
        self.row(channel).map_or(0, |(_, _, subscribers)| subscribers)
    }

    #[track_caller]
    pub fn wait_for_subscribers(&self, channel: &str, wanted: u64) {
        let begun = Instant::now();
        loop {
            let there = self.subscribers(channel);
            if there == wanted {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{there} subscribers of {channel}, wanted {wanted}");
            std::thread::yield_now();
        }
    }

    #[track_caller]
    pub fn wait_until(&self, what: &str, mut condition: impl FnMut(&Server) -> bool) {
        let begun = Instant::now();
        while !condition(self) {
            assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
            std::thread::yield_now();
        }
    }

    /// One publication through a connection of this reactor; must be accepted.
    #[track_caller]
    pub fn publish_on(&self, reactor: usize, channels: &str, body: &str) -> Response {
        self.callers.borrow_mut()[reactor].publish(channels, body)
    }

    /// One publication through reactor 0.
    #[track_caller]
    pub fn publish(&self, channels: &str, body: &str) -> Response {
        self.publish_on(0, channels, body)
    }

    /// Any request with the key through reactor 0.
    pub fn call(&self, method: &str, target: &str, fields: &str, body: &[u8]) -> Response {
        self.callers.borrow_mut()[0].call(method, target, fields, body)
    }

    pub fn delete(&self, channels: &str) -> Response {
        self.call("DELETE", &format!("/pub?id={channels}"), "", b"")
    }

    pub fn caller(&self, reactor: usize) -> Caller {
        Caller::new(&self.door, reactor)
    }

    /// A subscriber whose subscription stands when this returns: held modes and waiting long polls.
    #[track_caller]
    pub fn subscribe(&self, reactor: usize, mode: Mode, channels: &str, query: &str) -> Subscriber {
        let subscriber = Subscriber::begin(&self.door, reactor, mode, channels, query, "");
        self.settle();
        subscriber
    }

    /// Subscribes, takes exactly these replayed messages and sees that no more come.
    #[track_caller]
    pub fn expect_replay(&self, mode: Mode, channels: &str, query: &str, fields: &str, expected: &[Envelope]) -> Subscriber {
        let mut subscriber = Subscriber::begin(&self.door, 1, mode, channels, query, fields);
        let came: Vec<String> = subscriber.replayed(expected.len()).iter().map(|envelope| envelope.text.clone()).collect();
        let wanted: Vec<String> = expected.iter().map(|envelope| envelope.text.clone()).collect();
        assert_eq!(came, wanted, "{mode:?} {channels}?{query} {fields}");
        self.settle();
        if subscriber.has_bytes() {
            let more = String::from_utf8_lossy(subscriber.client.pending()).into_owned();
            panic!("{mode:?} {channels}?{query} {fields}: more came: {more}");
        }
        subscriber
    }

    /// Everything that is stored in these channels, however many polls it takes.
    pub fn stored_log(&self, channels: &str) -> Vec<Envelope> {
        let mut client = Client::on(&self.door, 2);
        let mut query = epoch();
        let mut log = Vec::new();
        loop {
            let answer = client.get(&format!("/shortpoll/{channels}?auth_token={}&{query}", self.token));
            if answer.status == 304 {
                return log;
            }
            query = answer.cursor();
            log.extend(answer.envelopes());
        }
    }

    /// Everything that is stored in these channels.
    pub fn stored(&self, channels: &str) -> Vec<Envelope> {
        let mut client = Client::on(&self.door, 2);
        let answer = client.get(&format!("/shortpoll/{channels}?auth_token={}&{}", self.token, epoch()));
        match answer.status {
            200 => answer.envelopes(),
            304 => Vec::new(),
            _ => panic!("{answer:?}"),
        }
    }
}

/// A keep-alive connection with the key; connects again when the server has closed it while idle.
pub struct Caller {
    door: Door,
    reactor: usize,
    client: Option<Client>,
}

impl Caller {
    pub fn new(door: &Door, reactor: usize) -> Caller {
        Caller { door: *door, reactor, client: None }
    }

    #[track_caller]
    pub fn call(&mut self, method: &str, target: &str, fields: &str, body: &[u8]) -> Response {
        if self.client.as_mut().is_some_and(|client| client.has_ended()) {
            self.client = None;
        }
        let client = self.client.get_or_insert_with(|| {
            if self.door.one_port { Client::on(&self.door, self.reactor) } else { Client::connect(self.door.admin) }
        });
        let mut request = format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n{fields}\r\n",
            self.door.key,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        client.send(&request);
        let answer = client.response();
        if answer.field("Connection") == Some("close") {
            self.client = None;
        }
        answer
    }

    #[track_caller]
    pub fn get(&mut self, target: &str) -> Response {
        self.call("GET", target, "", b"")
    }

    #[track_caller]
    pub fn publish(&mut self, channels: &str, body: &str) -> Response {
        let answer = self.call("POST", &format!("/pub?id={channels}"), "", body.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    }

    #[track_caller]
    pub fn post(&mut self, target: &str, fields: &str, body: &[u8]) -> Response {
        self.call("POST", target, fields, body)
    }
}

/// A small generator with a seed: the failure message is the seed.
pub struct Xorshift(pub u64);

impl Xorshift {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// IMF-fixdate of a Unix second.
pub fn date(unix_seconds: u64) -> String {
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(unix_seconds))
}

/// Unix second of an IMF-fixdate; anything else fails the test.
#[track_caller]
pub fn seconds_of(text: &str) -> u64 {
    let time = httpdate::parse_http_date(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let seconds = time.duration_since(std::time::UNIX_EPOCH).expect("not before 1970").as_secs();
    assert_eq!(date(seconds), text, "an IMF-fixdate");
    seconds
}
