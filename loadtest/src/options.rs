//! The command line: what to run, against whom, how much and how long.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::marker::PAYLOAD_BYTES_MIN;

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scenario {
    /// Connects N subscribers and holds them: memory, idle CPU, pings
    Idle,
    /// Publishes M messages to N subscribers: CPU per delivery, latency
    Fanout,
    /// The yardstick: a bare send() loop over N loopback pairs
    Limit,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PublishTo {
    /// POST /pub?id=…, one keep-alive connection, pipelined up to the window
    Pub,
    /// One WebSocket on /publish
    Publish,
}

/// Measures a fan-out server and proves that every subscriber got every message in order.
#[derive(Parser, Clone, Debug, Serialize)]
#[command(version)]
pub struct Options {
    #[arg(value_enum)]
    pub scenario: Scenario,
    /// Address of the server under test
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub address: SocketAddr,
    /// Where to publish, when it is not --address
    #[arg(long)]
    pub publish_address: Option<SocketAddr>,
    /// Subscribers
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    pub connections: u32,
    /// Topics; subscriber i listens to topic i modulo this
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub topics: u32,
    /// Messages of each measured round, over all topics
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub messages: u64,
    /// Payload size
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(PAYLOAD_BYTES_MIN as i64..=65_536))]
    pub bytes: u32,
    /// Messages in flight of the closed loop
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024), conflicts_with = "rate")]
    pub window: u32,
    /// Messages per second of the open loop; latency then counts from the intended time
    #[arg(long)]
    pub rate: Option<f64>,
    /// Client threads; more are started when one descriptor table cannot hold its share
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: u32,
    /// Source addresses 127.x.y.z; more are used when one has not enough ports
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub sources: u32,
    /// Connects in flight
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub connecting: u32,
    /// Process of the server: its CPU and memory are read from /proc
    #[arg(long, value_delimiter = ',')]
    pub server_pid: Vec<u32>,
    /// Messages published before anything is measured
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    pub warmup: u64,
    /// Pause before memory is read
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub settle: Duration,
    /// How long `idle` holds the connections
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub hold: Duration,
    /// Bound of the whole run
    #[arg(long, default_value = "120s", value_parser = duration)]
    pub timeout: Duration,
    /// A round in which nothing arrives for this long ends, and what is not there is missing
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub stall: Duration,
    /// Key of the publisher, sent as Authorization: Bearer
    #[arg(long)]
    #[serde(skip)]
    pub key: Option<String>,
    /// Token of the subscribers, sent as auth_token
    #[arg(long)]
    #[serde(skip)]
    pub token: Option<String>,
    #[arg(long, value_enum, default_value = "pub")]
    pub publish_to: PublishTo,
    /// Appends the result to this file as one JSON line
    #[arg(long)]
    #[serde(skip)]
    pub json: Option<PathBuf>,
    /// With `fanout`: runs `limit` in alternation and prints the ratio of CPU per delivery
    #[arg(long)]
    pub limit_ratio: bool,
    /// Fails the run when the median ratio is above this
    #[arg(long, requires = "limit_ratio")]
    pub max_ratio: Option<f64>,
    /// Pairs of rounds that --limit-ratio runs
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub pairs: u32,
}

impl Options {
    /// Rounds of measured messages; one unless the limit is run in alternation.
    pub fn rounds(&self) -> u32 {
        if self.limit_ratio { self.pairs } else { 1 }
    }

    /// Checks what one option alone cannot show; the text says what is wrong.
    pub fn contradiction(&self) -> Option<&'static str> {
        if self.topics > self.connections {
            return Some("--topics must not be above --connections: each topic needs a subscriber");
        }
        if self.rate.is_some_and(|rate| !(rate > 0.0 && rate <= 1e6)) {
            return Some("--rate must be above 0 and at most 1000000");
        }
        if self.limit_ratio && self.scenario != Scenario::Fanout {
            return Some("--limit-ratio belongs to fanout");
        }
        if self.limit_ratio && self.server_pid.is_empty() {
            return Some("--limit-ratio needs --server-pid: the ratio is one of CPU");
        }
        if self.max_ratio.is_some_and(|ratio| ratio.is_nan() || ratio <= 0.0) {
            return Some("--max-ratio must be above 0");
        }
        if self.scenario == Scenario::Idle && self.hold >= self.timeout {
            return Some("--hold must be shorter than --timeout");
        }
        if self.settle >= self.timeout {
            return Some("--settle must be shorter than --timeout");
        }
        if self.stall.is_zero() {
            return Some("--stall must be above 0");
        }
        let printable = |text: &Option<String>| text.as_ref().is_none_or(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
        if !printable(&self.key) || !printable(&self.token) {
            return Some("--key and --token must be printable and without blanks");
        }
        None
    }
}

/// Reads `250ms`, `10s`, `5m` or `2h`; at most a day.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit_milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a number and one of ms, s, m, h".into()),
    };
    let milliseconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_milliseconds));
    match milliseconds {
        Some(milliseconds) if milliseconds <= 86_400_000 => Ok(Duration::from_millis(milliseconds)),
        Some(_) | None => Err("a number and one of ms, s, m, h, at most 24h".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Options {
        Options::try_parse_from(std::iter::once("loadtest").chain(line.split_whitespace())).expect("a good line")
    }

    #[test]
    fn durations_carry_their_unit_and_stay_within_a_day() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        for text in ["", "5", "s", "-1s", "1.5s", "25h", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn options_that_do_not_fit_together_are_named() {
        assert_eq!(parse("fanout").contradiction(), None);
        for line in [
            "fanout --topics 5 --connections 4",
            "fanout --rate 0",
            "fanout --limit-ratio",
            "idle --limit-ratio --server-pid 1",
            "idle --hold 2m",
            "fanout --key a\tb",
        ] {
            let line: Vec<&str> = std::iter::once("loadtest").chain(line.split(' ')).collect();
            let options = Options::try_parse_from(line.clone()).expect("parses");
            assert!(options.contradiction().is_some(), "{line:?}");
        }
    }
}
