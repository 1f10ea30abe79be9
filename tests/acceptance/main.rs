//! What must be true of the whole server: real sockets, several reactors, many clients, the real binary.

mod client;
mod command_line;
mod documents;
mod fan_out;
mod hostile;
mod metrics;
mod options;
mod process;
mod read_your_writes;
mod records;
mod resume;
mod secrets;
mod shared_topics;
mod signals;
mod stop;
mod storage;

use client::{Client, PATIENCE};
use fanwire::clock::Clock;
use fanwire::config::Config;
use fanwire::server::{self, Running};
use std::time::Instant;

const REACTORS: usize = 4;

/// `fanwire dev` on a free port with four reactors.
fn dev() -> Config {
    let mut config = Config::dev();
    config.server.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.server.reactors = REACTORS as u16;
    // A copy of this process's table would keep the sockets of other tests' clients open.
    config.server.private_fd_tables = false;
    config
}

fn start(config: Config) -> Running {
    server::start(config, Clock::start()).unwrap()
}

/// Waits until the condition holds: for what no socket tells.
#[track_caller]
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// Waits until the channel has so many subscribers, waiting long polls included.
#[track_caller]
fn wait_for_subscribers(client: &mut Client, key: &str, channel: &str, wanted: usize) {
    let wanted = format!("\"subscribers\": {wanted}}}");
    eventually(&format!("{wanted} in {channel}"), || {
        client.ask("GET", &format!("/channels-stats?id={channel}"), &format!("Authorization: Bearer {key}\r\n"), "");
        client.answer().body.contains(&wanted)
    });
}

/// A small generator; the same seed gives the same numbers.
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}
