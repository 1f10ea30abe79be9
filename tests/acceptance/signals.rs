//! The real binary under signals: a stop says goodbye in each dialect's form, a reload ends only what it has to.

use crate::client::{Client, Message};
use crate::process::{Process, directory};
use crate::wait_for_subscribers;
use nix::sys::signal::Signal;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// One listener of each kind on channel `a`, and a connection that has served a request and idles.
struct House {
    websocket: Client,
    long_poll: Client,
    stream: Client,
    events: Client,
    idle: Client,
}

impl House {
    fn open(address: SocketAddr, token: &str) -> House {
        let mut websocket = Client::connect(address);
        websocket.upgrade(&format!("/websocket/a?auth_token={token}"), "");
        let mut long_poll = Client::connect(address);
        long_poll.ask("GET", &format!("/longpoll/a?auth_token={token}"), "", "");
        let mut stream = Client::connect(address);
        stream.ask("GET", &format!("/stream/a?auth_token={token}"), "", "");
        assert_eq!(stream.answer().status, 200);
        let mut events = Client::connect(address);
        events.ask("GET", &format!("/ev/a?auth_token={token}"), "", "");
        assert_eq!(events.answer().status, 200);
        assert_eq!(events.chunk(), ": \n");
        let mut idle = Client::connect(address);
        assert_eq!(idle.get(&format!("/shortpoll/a?auth_token={token}")).status, 304);
        House { websocket, long_poll, stream, events, idle }
    }

    /// Everybody hears that the server stops, and every socket is closed.
    fn expect_goodbye(mut self) {
        assert_eq!(self.websocket.expect_close(1001), "");
        let answer = self.long_poll.answer();
        assert_eq!((answer.status, answer.field("Connection"), answer.field("Content-Length")), (304, Some("close"), Some("0")));
        assert!(answer.cursor().ends_with("%20GMT"), "{answer:?}");
        self.long_poll.expect_end();
        for mut stream in [self.stream, self.events] {
            assert_eq!(stream.chunk(), "", "the last chunk");
            stream.expect_end();
        }
        self.idle.expect_end();
    }
}

const LISTENERS: usize = 4;

#[test]
fn ctrl_c_closes_every_socket_in_its_dialects_form() {
    let mut process = Process::start(&["dev", "--listen", "127.0.0.1:0", "--reactors", "4"]);
    let address = process.shown_address();
    let house = House::open(address, "dev");
    let mut publisher = Client::connect(address);
    wait_for_subscribers(&mut publisher, "dev", "a", LISTENERS);
    // These two never close by themselves; the stop does not wait for them for ever.
    let mut deaf = Client::connect(address);
    deaf.upgrade("/websocket/a?auth_token=dev", "");
    let mut half = Client::connect(address);
    half.send("GET /health HTTP/1.1\r\nHos");
    process.signal(Signal::SIGINT);
    house.expect_goodbye();
    publisher.expect_end();
    assert_eq!(process.wait(), Some(0));
    assert_eq!(deaf.expect_close(1001), "");
    half.expect_end();
    process.wait_for_record("draining");
    process.wait_for_record("fanwire has ended");
}

#[test]
fn dev_goes_on_although_nobody_reads_its_page() {
    let mut process = Process::start(&["dev", "--listen", "127.0.0.1:0"]);
    process.close_output();
    let (address, _) = process.addresses();
    assert_eq!(Client::connect(address).get("/health").status, 200);
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait(), Some(0));
}

/// What the configurations of these tests share; the tokens follow.
const CONFIGURATION: &str = r#"[server]
listen = "127.0.0.1:0"
reactors = 4
drain_time = "60s"

[limits]
head_time = "60s"

[admin]
listen = "127.0.0.1:0"

[[access.keys]]
name = "backend"
key = "publisher-key-0123456789"
may = ["publish", "statistics"]
topics = ["*"]

[[access.tokens]]
name = "staying"
token = "staying-token-0123456789"
topics = ["*"]
"#;
const LEAVING: &str = "\n[[access.tokens]]\nname = \"leaving\"\ntoken = \"leaving-token-0123456789\"\ntopics = [\"*\"]\n";
const KEY: &str = "publisher-key-0123456789";
const STAYING: &str = "staying-token-0123456789";
const LEAVING_TOKEN: &str = "leaving-token-0123456789";

#[test]
fn a_second_signal_ends_at_once() {
    let directory = directory("second-signal");
    let file = directory.join("fanwire.toml");
    std::fs::write(&file, CONFIGURATION).unwrap();
    let mut process = Process::start(&["serve", "-c", file.to_str().unwrap()]);
    let (address, _) = process.addresses();
    let house = House::open(address, STAYING);
    let mut publisher = Client::connect(address);
    wait_for_subscribers(&mut publisher, KEY, "a", LISTENERS);
    // A request that has begun has a minute to become whole, and the stop waits for it. It came with one that is answered.
    let mut half = Client::connect(address);
    half.send(format!("GET /shortpoll/a?auth_token={STAYING} HTTP/1.1\r\nHost: localhost\r\n\r\nGET /shortpoll/a HT"));
    assert_eq!(half.answer().status, 304);
    let begun = Instant::now();
    process.signal(Signal::SIGTERM);
    house.expect_goodbye();
    process.wait_for_record("draining");
    assert!(process.runs(), "the half request is waited for");
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(30));
    half.expect_end();
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_reload_ends_what_the_new_rules_forbid_and_keeps_the_rest() {
    let directory = directory("reload");
    let file = directory.join("fanwire.toml");
    std::fs::write(&file, format!("{CONFIGURATION}{LEAVING}")).unwrap();
    let mut process = Process::start(&["serve", "-c", file.to_str().unwrap()]);
    let (address, _) = process.addresses();
    let mut leaving = House::open(address, LEAVING_TOKEN);
    let mut staying = House::open(address, STAYING);
    let mut publisher = Client::connect(address);
    wait_for_subscribers(&mut publisher, KEY, "a", 2 * LISTENERS);

    std::fs::write(&file, CONFIGURATION).unwrap();
    let begun = Instant::now();
    process.signal(Signal::SIGHUP);
    let reason = r#"{"http_status": 401, "explain":"Authentication token is missing or invalid."}"#;
    assert_eq!(leaving.websocket.expect_close(1008), reason);
    assert_eq!(leaving.long_poll.answer().status, 401);
    assert_eq!((leaving.stream.chunk(), leaving.events.chunk()), (String::new(), String::new()));
    assert!(begun.elapsed() < Duration::from_secs(3), "it took {:?}", begun.elapsed());
    process.wait_for_record("reloaded");
    assert_eq!(leaving.idle.get(&format!("/shortpoll/a?auth_token={LEAVING_TOKEN}")).status, 401);
    wait_for_subscribers(&mut publisher, KEY, "a", LISTENERS);
    let mut hears = |process: &mut Process, number: usize| {
        assert!(process.runs());
        publisher.publish(KEY, "a", &number.to_string());
        let text = staying.websocket.text();
        assert_eq!(Message::parse(&text).data, number.to_string());
        assert_eq!(staying.stream.chunk(), format!("{text}\n"));
        assert!(staying.events.chunk().contains(&text));
        let answer = staying.long_poll.answer();
        assert_eq!((answer.status, &answer.body), (200, &text));
        staying.long_poll.ask("GET", &format!("/longpoll/a?auth_token={STAYING}&{}", answer.cursor()), "", "");
        wait_for_subscribers(&mut publisher, KEY, "a", LISTENERS);
    };
    hears(&mut process, 1);

    // A broken file changes nothing, not even by what is right in it.
    let broken = CONFIGURATION.replace("reactors = 4", "reactor = 4") + LEAVING;
    std::fs::write(&file, broken).unwrap();
    process.signal(Signal::SIGHUP);
    let record = process.wait_for_record("not reloaded");
    let place = format!("{}:3: server.reactor: unknown key; did you mean \\\"reactors\\\"?", file.display());
    assert!(record.contains(&place), "{record}");
    hears(&mut process, 2);

    // So does a key that can't change while it runs.
    std::fs::write(&file, CONFIGURATION.replace("reactors = 4", "reactors = 3") + LEAVING).unwrap();
    process.signal(Signal::SIGHUP);
    let record = process.wait_for_record("not reloaded");
    assert!(record.contains("server.reactors can't be changed"), "{record}");
    hears(&mut process, 3);
    assert_eq!(leaving.idle.get(&format!("/shortpoll/a?auth_token={LEAVING_TOKEN}")).status, 401);

    std::fs::remove_file(&file).unwrap();
    process.signal(Signal::SIGHUP);
    let record = process.wait_for_record("not reloaded");
    assert!(record.contains(&*file.display().to_string()), "{record}");
    hears(&mut process, 4);

    std::fs::write(&file, format!("{CONFIGURATION}{LEAVING}")).unwrap();
    process.signal(Signal::SIGHUP);
    process.wait_for_record("reloaded");
    // Each reactor takes the new rules in its own time.
    crate::eventually("the token counts again", || {
        leaving.idle.get(&format!("/shortpoll/a?auth_token={LEAVING_TOKEN}")).status == 304
    });
    hears(&mut process, 5);

    process.signal(Signal::SIGTERM);
    staying.expect_goodbye();
    drop((leaving, publisher));
    assert_eq!(process.wait(), Some(0));
    std::fs::remove_dir_all(directory).unwrap();
}
