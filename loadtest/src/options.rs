//! The command line: what to run, against whom, how much and how long.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::dialect::action_cable;
use crate::layout::Layout;
use crate::marker::PAYLOAD_BYTES_MIN;

/// What the loop of `limit --stopped` may send to each receiver, bytes: well below any default socket buffer.
const STOPPED_BYTES_MAX: u64 = 40_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scenario {
    /// Connects N subscribers and holds them: memory, idle CPU, pings
    Idle,
    /// Publishes M messages to N subscribers: CPU per delivery, latency
    Fanout,
    /// As fanout, with 16 messages in flight through /publish
    Burst,
    /// Cuts a share of the subscribers off while publishing goes on; they resume from their positions
    Storm,
    /// Some subscribers stop reading while messages flow: what the others feel, what the server keeps, what the stopped get
    Slow,
    /// Connections and topics come and go for a time: slopes of memory and descriptors
    Soak,
    /// The yardstick: a bare send() loop over N loopback pairs
    Limit,
}

impl Scenario {
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitPart {
    /// Only connects the pairs: kernel memory of each
    Memory,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Wire {
    PushStream,
    /// `ApiChannel` at /cable; topics are metasmoke's models
    ActionCable,
    /// Live configurations of the project testProj at /api/realtime; publishing is a PUT
    Resources,
    /// The endpoint examples/unsecure-endpoint at /api/1/ce, which is the only topic; publishing is a POST of a record
    Endpoints,
    /// A websocket at /sub/<topic> with bare payloads: what the peers speak
    Plain,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Websocket,
    Eventsource,
    Longpoll,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Identifiers {
    /// All subscribers of a topic share their frames
    Same,
    /// Each has an identifier, and so frames, of its own
    Distinct,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PublishTo {
    /// POST /pub?id=…, one keep-alive connection, pipelined up to the window
    Pub,
    /// One WebSocket on /publish
    Publish,
    /// PUT of a document of resources, as with pub
    Document,
    /// POST of a record of endpoints, as with pub
    Record,
}

/// Measures a fan-out server and proves that every subscriber got every message in order.
#[derive(Parser, Clone, Debug, Serialize)]
#[command(version)]
pub struct Options {
    #[arg(value_enum)]
    pub scenario: Scenario,
    /// With `limit`: which part of it
    #[arg(value_enum)]
    pub part: Option<LimitPart>,
    /// Address of the server under test
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub address: SocketAddr,
    /// Where to publish, when it is not --address
    #[arg(long)]
    pub publish_address: Option<SocketAddr>,
    #[arg(long, value_enum, default_value = "push_stream")]
    pub dialect: Wire,
    #[arg(long, value_enum, default_value = "websocket")]
    pub transport: Transport,
    /// Identifiers of action_cable's subscribers
    #[arg(long, value_enum, default_value = "distinct")]
    pub identifiers: Identifiers,
    /// Subscribers
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    pub connections: u32,
    /// Topics; subscriber i listens to topic i modulo this, and to the next ones with --topics-per-connection
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub topics: u32,
    /// Topics that each subscriber listens to, over one connection
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub topics_per_connection: u32,
    /// Messages of each measured round, over all topics
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub messages: u64,
    /// Payload size
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(PAYLOAD_BYTES_MIN as i64..=65_536))]
    pub bytes: u32,
    /// Messages in flight of the closed loop [default: 1, of burst 16]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024), conflicts_with = "rate")]
    pub window: Option<u32>,
    /// Messages per second of the open loop; latency then counts from the intended time [default of storm and soak: 20]
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
    /// How long `idle` holds the connections and `soak` goes on
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub hold: Duration,
    /// Bound of the whole run
    #[arg(long, default_value = "120s", value_parser = duration)]
    pub timeout: Duration,
    /// A round in which nothing arrives for this long ends, and what is not there is missing
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub stall: Duration,
    /// Key of the publisher, sent as Authorization: Bearer; endpoints needs none
    #[arg(long)]
    #[serde(skip)]
    pub key: Option<String>,
    /// Token of the subscribers: auth_token, the key of ApiChannel, or a service key of resources; endpoints needs none
    #[arg(long)]
    #[serde(skip)]
    pub token: Option<String>,
    /// [default: pub, of burst and of the plain dialect publish, of resources document, of endpoints record]
    #[arg(long, value_enum)]
    pub publish_to: Option<PublishTo>,
    /// Publishes messages that the server does not keep
    #[arg(long)]
    pub unstored: bool,
    /// Percent of the subscribers that `storm` cuts off, and that each second of `soak` does [default: 100, of soak 10]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub share: Option<u32>,
    /// With `storm`: instead of cutting the subscribers off, kills the server with SIGKILL and starts it again; this command, in words
    /// without quotes, starts it both times
    #[arg(long, conflicts_with_all = ["server_pid", "share"])]
    pub kill: Option<String>,
    /// Subscribers of `slow` that stop reading; they come on top of --connections
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub stalled: u32,
    /// How long, at least, they do not read
    #[arg(long, default_value = "40s", value_parser = duration)]
    pub stalled_for: Duration,
    /// Payload that flows meanwhile, in MB
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub megabytes: u32,
    /// While messages flow, measures pings, new connections and another topic beside them
    #[arg(long)]
    pub probe: bool,
    /// With `limit`: the receivers do not read while the loop runs
    #[arg(long)]
    pub stopped: bool,
    /// Writes the latencies to this file, in the text form of HdrHistogram (.hgrm), in ms
    #[arg(long)]
    #[serde(skip)]
    pub histogram: Option<PathBuf>,
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
    /// Messages in flight.
    pub fn window(&self) -> u32 {
        self.window.unwrap_or(if self.scenario == Scenario::Burst { 16 } else { 1 })
    }

    pub fn publish_to(&self) -> PublishTo {
        let websocket = self.scenario == Scenario::Burst || self.dialect == Wire::Plain || self.unstored || self.kill.is_some();
        self.publish_to.unwrap_or(match self.dialect {
            Wire::Resources => PublishTo::Document,
            Wire::Endpoints => PublishTo::Record,
            Wire::PushStream | Wire::ActionCable | Wire::Plain if websocket => PublishTo::Publish,
            Wire::PushStream | Wire::ActionCable | Wire::Plain => PublishTo::Pub,
        })
    }

    pub fn layout(&self) -> Layout {
        Layout { topics: self.topics, per_connection: self.topics_per_connection }
    }

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
        if self.topics_per_connection > self.topics {
            return Some("--topics-per-connection must not be above --topics");
        }
        if self.kill.is_some() && (self.scenario != Scenario::Storm || self.publish_to() != PublishTo::Publish) {
            return Some(
                "--kill belongs to storm, and publishes through /publish: what was not answered is published again under its id",
            );
        }
        if self.kill.as_ref().is_some_and(|command| command.trim().is_empty()) {
            return Some("--kill needs the command that starts the server");
        }
        if self.limit_ratio && !matches!(self.scenario, Scenario::Fanout | Scenario::Burst) {
            return Some("--limit-ratio belongs to fanout and burst");
        }
        if self.limit_ratio && self.server_pid.is_empty() {
            return Some("--limit-ratio needs --server-pid: the ratio is one of CPU");
        }
        if self.max_ratio.is_some_and(|ratio| ratio.is_nan() || ratio <= 0.0) {
            return Some("--max-ratio must be above 0");
        }
        if (self.part.is_some() || self.stopped) && self.scenario != Scenario::Limit {
            return Some("memory and --stopped belong to limit");
        }
        if self.stopped && self.messages * u64::from(self.bytes + 200) > STOPPED_BYTES_MAX {
            return Some("--stopped: so many messages of this size do not fit the buffers of a receiver that does not read");
        }
        if self.transport == Transport::Longpoll && (self.limit_ratio || self.scenario == Scenario::Limit) {
            return Some("a long poll has no bare send() loop: a server has to be asked");
        }
        if self.transport != Transport::Websocket && self.dialect != Wire::PushStream {
            return Some("this dialect is a websocket");
        }
        if self.dialect == Wire::ActionCable && self.topics > action_cable::TOPICS_MAX {
            return Some("--topics: action_cable has 93, three types of 31 models");
        }
        if self.dialect == Wire::ActionCable && self.scenario == Scenario::Soak {
            return Some("soak makes topics of its own: those of action_cable are fixed");
        }
        if self.dialect == Wire::ActionCable && self.scenario == Scenario::Storm && self.topics_per_connection > 1 {
            return Some("storm resumes action_cable with one topic per connection");
        }
        if self.dialect == Wire::Endpoints && self.topics > 1 {
            return Some("--topics: endpoints has one, all listen to the same endpoint");
        }
        if self.dialect == Wire::Endpoints && self.scenario == Scenario::Soak {
            return Some("soak makes topics of its own: endpoints has one");
        }
        if (self.dialect == Wire::Endpoints) != (self.publish_to() == PublishTo::Record) {
            return Some("--publish-to record belongs to endpoints, and nothing else does");
        }
        if (self.dialect == Wire::Resources) != (self.publish_to() == PublishTo::Document) {
            return Some("--publish-to document belongs to resources, and nothing else does");
        }
        if self.unstored && self.publish_to() != PublishTo::Publish {
            return Some("--unstored needs --publish-to publish");
        }
        if matches!(self.scenario, Scenario::Storm | Scenario::Soak) && matches!(self.dialect, Wire::Plain | Wire::Resources) {
            return Some("storm and soak resume: that needs a dialect with positions");
        }
        if self.unstored && (self.scenario == Scenario::Storm || self.transport == Transport::Longpoll) {
            return Some("--unstored: nothing could be resumed");
        }
        if self.scenario == Scenario::Slow && self.stalled_for >= self.timeout {
            return Some("--stalled-for must be shorter than --timeout");
        }
        if matches!(self.scenario, Scenario::Idle | Scenario::Soak) && self.hold >= self.timeout {
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
            "fanout --topics 2 --topics-per-connection 3",
            "fanout memory",
            "limit --stopped --messages 1000",
            "limit --transport longpoll",
            "fanout --dialect action_cable --transport longpoll",
            "fanout --dialect action_cable --topics 94",
            "soak --dialect action_cable",
            "storm --dialect action_cable --topics 2 --topics-per-connection 2",
            "storm --dialect resources",
            "fanout --dialect resources --publish-to pub",
            "fanout --publish-to document",
            "fanout --dialect endpoints --topics 2",
            "soak --dialect endpoints",
            "fanout --dialect endpoints --transport eventsource",
            "fanout --dialect endpoints --publish-to pub",
            "fanout --publish-to record",
            "fanout --dialect endpoints --unstored",
            "storm --dialect endpoints --kill server",
            "fanout --dialect resources --unstored",
            "storm --unstored",
            "fanout --kill server",
            "storm --kill server --publish-to pub",
            "fanout --unstored --publish-to pub",
            "idle --hold 2m",
            "fanout --key a\tb",
        ] {
            let line: Vec<&str> = std::iter::once("loadtest").chain(line.split(' ')).collect();
            let options = Options::try_parse_from(line.clone()).expect("parses");
            assert!(options.contradiction().is_some(), "{line:?}");
        }
    }
}
