//! Options of endpoints that are read again by the real binary: they close whom they concern, and nobody else.

use crate::client::Client;
use crate::process::{Process, directory};
use crate::records::{self, Caller, KEY, NOTES, OPEN, PASSWORD, Record, USERS, credentials};
use nix::sys::signal::Signal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

const CHANGED: &str = "Options of the endpoint are changed.";
const NOT_VALID: &str = "Endpoint or API Key not valid.";
const OTHER: &str = "other/endpoint";
const OTHER_KEY: &str = "0123456789abcdef0123456789abcdef";
/// Listeners of each endpoint; which reactor has them is up to the kernel.
const EACH: usize = 8;

fn configuration() -> String {
    let server = "[server]\nlisten = \"127.0.0.1:0\"\nreactors = 4\n\n[admin]\nlisten = \"127.0.0.1:0\"\n";
    let other = format!(
        "[[endpoints.rested.projects]]\nname = \"other\"\nkey = \"{OTHER_KEY}\"\n\
         [[endpoints.rested.projects.endpoints]]\nname = \"{OTHER}\"\n"
    );
    format!("{server}{}{other}", records::configuration())
}

/// With these options of the notes.
fn with_notes(options: &str) -> String {
    configuration().replace("secure = true\n", &format!("secure = true\n{options}\n"))
}

/// With these options of the first project.
fn with_project(options: &str) -> String {
    configuration().replace("cookie_from_any_origin = true\n", &format!("cookie_from_any_origin = true\n{options}\n"))
}

struct House {
    process: Process,
    address: SocketAddr,
    directory: PathBuf,
    listeners: Vec<(Caller, Client)>,
    names: usize,
}

impl House {
    fn start(test: &str) -> House {
        let directory = directory(test);
        let file = directory.join("fanwire.toml");
        std::fs::write(&file, configuration()).unwrap();
        let process = Process::start(&["serve", "-c", file.to_str().unwrap()]);
        let (address, _) = process.addresses();
        let mut house = House { process, address, directory, listeners: Vec::new(), names: 0 };
        house.fill();
        house
    }

    /// Listeners at every endpoint that has none.
    fn fill(&mut self) {
        let other = Caller::anybody(OTHER).with_key(OTHER_KEY);
        for caller in [Caller::anybody(OPEN), Caller::master(NOTES), Caller::master(USERS), other] {
            if self.listeners.iter().all(|(listening, _)| listening.endpoint != caller.endpoint) {
                self.listeners.extend((0..EACH).map(|_| (caller.clone(), caller.listen(self.address, ""))));
            }
        }
    }

    /// Reads this configuration; the record of it.
    fn reload(&self, text: &str, expected: &str) -> String {
        std::fs::write(self.directory.join("fanwire.toml"), text).unwrap();
        self.process.signal(Signal::SIGHUP);
        self.process.wait_for_record(expected)
    }

    /// The listeners of this endpoint are told so, and nothing before it.
    fn expect_close(&mut self, endpoint: &str, code: u16, reason: &str) {
        let mut closed = 0;
        self.listeners.retain_mut(|(caller, client)| {
            if caller.endpoint == endpoint {
                assert_eq!(client.expect_goodbye(code), reason, "{endpoint}");
                closed += 1;
            }
            caller.endpoint != endpoint
        });
        assert_eq!(closed, EACH);
    }

    /// Everybody who is there hears the next change, and nothing before it.
    fn all_hear(&mut self) {
        let mut callers: Vec<Caller> = self.listeners.iter().map(|(caller, _)| caller.clone()).collect();
        callers.dedup_by_key(|caller| caller.endpoint);
        for caller in callers {
            self.names += 1;
            let body = if caller.endpoint == USERS { credentials(&format!("user {}", self.names), PASSWORD) } else { "1".into() };
            let answer = caller.changes(&mut Client::connect(self.address), "POST", "", &body).expect("a server that lives");
            let id = Record::parse(&answer).id;
            for (_, client) in self.listeners.iter_mut().filter(|(listening, _)| listening.endpoint == caller.endpoint) {
                let text = records::next(client).expect("it is open");
                assert!(text.starts_with("{\"type\":\"POST\"") && text.contains(&id), "{text}");
            }
        }
    }

    fn end(mut self) {
        self.process.signal(Signal::SIGKILL);
        self.process.wait();
        std::fs::remove_dir_all(self.directory).unwrap();
    }
}

#[test]
fn ep_51_a_signal_with_equal_or_invalid_options_closes_nobody() {
    let mut house = House::start("options-same");
    house.all_hear();
    // Keys that close nobody, and another order.
    let limits = configuration().replace("log_messages = 100000", "log_messages = 77\nclose_slice_connections = 1");
    let users = format!("[[endpoints.rested.projects.endpoints]]\nname = \"{USERS}\"\nauth = true\n");
    let first = format!("[[endpoints.rested.projects.endpoints]]\nname = \"{OPEN}\"\n");
    let turned = configuration().replace(&users, "").replace(&first, &format!("{users}{first}"));
    assert!(turned.contains(&users) && turned != configuration());
    for same in [configuration(), limits, turned, configuration()] {
        house.reload(&same, "\"reloaded");
        house.all_hear();
    }
    // What is wrong is named, and what else the file says does not count.
    let notes = with_notes("read_by_others = true");
    for (text, key, problem) in [
        (notes.replace("log_messages", "log_mesages"), "log_mesages", "did you mean"),
        (
            notes.replace("[endpoints.rested]\n", "[endpoints.rested]\nping_interval = \"99s\"\n"),
            "endpoints.rested.ping_interval",
            "expected less than silence_timeout",
        ),
        (
            notes.replace("cookie_from_any_origin = true\n", ""),
            "endpoints.rested.projects[0].endpoints[1]",
            "any web site could act",
        ),
        (notes.replace(NOTES, OPEN), "endpoints.rested.projects[0].endpoints[1].name", "the same name as"),
        (
            notes.replace(NOTES, "Examples/Notes"),
            "endpoints.rested.projects[0].endpoints[1].name",
            "expected 5 to 254 characters",
        ),
        (
            notes.replace("auth = true", "auth = true\nsecure = true"),
            "endpoints.rested.projects[0].endpoints[2].secure",
            "not with auth",
        ),
        (
            with_notes("update_by_others = true"),
            "endpoints.rested.projects[0].endpoints[1].update_by_others",
            "not without read_by_others",
        ),
        (with_project("allowed_origins = [\"https://a.example/x\"]"), "allowed_origins", ""),
        (notes.replace("secure = true", "secure = maybe"), "", "fanwire.toml:"),
    ] {
        let record = house.reload(&text, "not reloaded");
        assert!(record.contains(key) && record.contains(problem) && record.contains("fanwire.toml:"), "{key}: {record}");
        house.all_hear();
    }
    // A right one that changes what cannot change is refused as a whole.
    let record = house.reload(&notes.replace("reactors = 4", "reactors = 3"), "not reloaded");
    assert!(record.contains("server.reactors can't be changed"), "{record}");
    house.all_hear();
    house.end();
}

#[test]
fn ep_48_ep_49_ep_52_a_signal_closes_those_whose_options_it_changes() {
    let mut house = House::start("options-changed");
    house.all_hear();
    for options in ["read_by_others = true", "", "read_by_others = true\nupdate_by_others = true", ""] {
        house.reload(&with_notes(options), "\"reloaded");
        house.expect_close(NOTES, 1000, CHANGED);
        house.all_hear();
        house.fill();
        house.all_hear();
    }
    for options in ["disallow_no_origin = false\nallowed_origins = [\"https://a.example\"]", ""] {
        house.reload(&with_project(options), "\"reloaded");
        for endpoint in [OPEN, NOTES, USERS] {
            house.expect_close(endpoint, 1000, CHANGED);
        }
        house.all_hear();
        house.fill();
        house.all_hear();
    }
    house.reload(&configuration().replace("auth = true", "auth = true\nregistration = false"), "\"reloaded");
    house.expect_close(USERS, 1000, CHANGED);
    house.all_hear();
    // The endpoint goes; then another key comes.
    house.reload(
        &configuration().replace(NOTES, "examples/others").replace("auth = true", "auth = true\nregistration = false"),
        "\"reloaded",
    );
    house.expect_close(NOTES, 4000, NOT_VALID);
    house.all_hear();
    house.reload(&configuration().replace(KEY, "fedcba9876543210fedcba9876543210"), "\"reloaded");
    house.expect_close(OPEN, 4000, NOT_VALID);
    house.all_hear();
    assert!(house.listeners.iter().all(|(caller, _)| caller.endpoint == OTHER), "who has another key hears on");
    house.end();
}

#[test]
fn ep_49_of_what_is_written_during_a_signal_old_listeners_see_the_beginning() {
    let mut house = House::start("options-race");
    let caller = Caller::master(NOTES);
    let (address, stop) = (house.address, AtomicBool::new(false));
    for options in ["read_by_others = true", "", "read_by_others = true"] {
        house.fill();
        stop.store(false, Relaxed);
        let (written, after) = std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                let mut client = Client::connect(address);
                let mut post = || Record::parse(&caller.changes(&mut client, "POST", "", "1").expect("a server that lives")).id;
                let mut ids = Vec::new();
                while !stop.load(Relaxed) {
                    ids.push(post());
                }
                ids
            });
            // Some are written before it.
            let first = house.listeners.iter_mut().find(|(listening, _)| listening.endpoint == NOTES).expect("a listener");
            for _ in 0..3 {
                records::next(&mut first.1).expect("it is open");
            }
            house.reload(&with_notes(options), "\"reloaded");
            let answer = caller.changes(&mut Client::connect(address), "POST", "", "2").expect("a server that lives");
            stop.store(true, Relaxed);
            (writing.join().unwrap(), Record::parse(&answer).id)
        });
        let mut skipped = 3;
        for (listening, mut client) in std::mem::take(&mut house.listeners) {
            if listening.endpoint != NOTES {
                continue;
            }
            let mut ids = written.iter().skip(std::mem::take(&mut skipped));
            loop {
                let frame = client.try_frame().expect("a close before the end");
                if frame.first == 0x88 {
                    assert_eq!(frame.payload, [&1000u16.to_be_bytes()[..], CHANGED.as_bytes()].concat());
                    break;
                }
                let text = String::from_utf8(frame.payload).unwrap();
                assert!(!text.contains(&after), "it was committed after the reload");
                assert!(frame.first == 0x89 || text.contains(ids.next().expect("one that was written")), "nothing is left out");
            }
        }
    }
    house.end();
}
