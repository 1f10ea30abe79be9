//! What the server counts: arrays of one writer each, summed when somebody asks, and families of rare events that anybody counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// One number of a thread.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Counter { $($(#[$doc])* $name),* }

        impl Counter {
            pub const ALL: &'static [Counter] = &[$(Counter::$name),*];
        }
    };
}

counters! {
    /// Connections accepted, and ended.
    Accepted, Ended,
    /// WebSocket handshakes done, and those connections ended.
    WebSocketOpened, WebSocketEnded,
    /// Streams and eventsources begun, and ended.
    StreamOpened, StreamEnded,
    /// HTTP requests with a complete head.
    Requests,
    /// Subscriptions joined, and left.
    Joined, Left,
    /// Messages put into an outbox: one per message and subscriber.
    Deliveries,
    /// Message encodings made: one per message and encoding on the whole server.
    Encodings,
    /// Runs of messages concatenated into one frame.
    Runs,
    BytesIn, BytesOut,
    /// Pings of Action Cable and of resources, also those that took the place of one that waited.
    Pings,
    /// Write calls to sockets.
    Writes,
    /// Connections that fell behind, and that caught up again or ended while behind: the difference is how many lag now.
    Lagging, LagEnded,
    /// Clients closed: took nothing for too long, or the log no longer reached back.
    DroppedTooSlow,
    /// Requests refused before a dialect saw them.
    RefusedRequests,
    /// WebSocket protocol violations.
    RefusedFrames,
    /// Connections turned away: no descriptor, or too many connections.
    RefusedConnections,
    /// Publications turned away because a bound was reached.
    RefusedBusy,
    /// Jobs given to the workers, and those that came back: the difference wait or run.
    Jobs, JobsDone,
    /// Jobs that the workers had no room for.
    RefusedJobs,
    /// Head, body or idle time ran out.
    TimedOut,
    /// Panics caught at a connection's boundary.
    Panics,
    /// Turns of the loop, and wake-ups by the hub.
    Turns, WakeUps,
}

/// Upper bounds of the latency buckets, in microseconds.
pub const LATENCY_BUCKETS: [u64; 14] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 10_000_000];

/// The dialects whose connections are counted apart; the last one stands for any other.
pub const DIALECTS: [&str; 7] = ["push_stream", "action_cable", "resources", "endpoints", "publish", "admin", "other"];

/// The place of a dialect in [`DIALECTS`].
pub fn dialect(name: &str) -> u8 {
    DIALECTS.iter().position(|known| *known == name).unwrap_or(DIALECTS.len() - 1) as u8
}

/// The numbers of one reactor. Only its thread writes.
#[derive(Default)]
pub struct ReactorMetrics {
    counters: [AtomicU64; Counter::ALL.len()],
    conversations: [AtomicU64; DIALECTS.len()],
    latency: [AtomicU64; LATENCY_BUCKETS.len() + 1],
    latency_micros: AtomicU64,
}

impl ReactorMetrics {
    pub fn add(&self, counter: Counter, count: u64) {
        // One writer: a plain addition, no locked instruction.
        let cell = &self.counters[counter as usize];
        cell.store(cell.load(Relaxed) + count, Relaxed);
    }

    pub fn read(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].load(Relaxed)
    }

    /// A connection begins a conversation in this dialect.
    pub fn begun(&self, dialect: u8) {
        let cell = &self.conversations[usize::from(dialect)];
        cell.store(cell.load(Relaxed) + 1, Relaxed);
    }

    pub fn ended(&self, dialect: u8) {
        let cell = &self.conversations[usize::from(dialect)];
        cell.store(cell.load(Relaxed) - 1, Relaxed);
    }

    /// Connections in a conversation, in the order of [`DIALECTS`].
    pub fn conversations(&self) -> [u64; DIALECTS.len()] {
        std::array::from_fn(|dialect| self.conversations[dialect].load(Relaxed))
    }

    /// Counts the time from a message's ordering to the write that took it to a socket.
    pub fn publish_to_write(&self, micros: u64) {
        let bucket = LATENCY_BUCKETS.partition_point(|&bound| bound < micros);
        let cell = &self.latency[bucket];
        cell.store(cell.load(Relaxed) + 1, Relaxed);
        self.latency_micros.store(self.latency_micros.load(Relaxed) + micros, Relaxed);
    }

    /// Counts per bucket (the last one is everything above), and the sum of all in microseconds.
    pub fn latency(&self) -> ([u64; LATENCY_BUCKETS.len() + 1], u64) {
        (std::array::from_fn(|bucket| self.latency[bucket].load(Relaxed)), self.latency_micros.load(Relaxed))
    }
}

/// The numbers of the hub. Only its thread writes.
#[derive(Default)]
pub struct HubMetrics {
    pub messages_in: AtomicU64,
    pub bytes_in: AtomicU64,
    pub topics: AtomicU64,
    pub stored: AtomicU64,
    pub stored_bytes: AtomicU64,
    pub subscriptions: AtomicU64,
    pub documents: AtomicU64,
    /// Records, and endpoints that have some.
    pub records: AtomicU64,
    pub endpoints: AtomicU64,
    pub evicted: AtomicU64,
    pub refused: AtomicU64,
    /// 1 while commits fail.
    pub storage_failing: AtomicU64,
    pub storage_pending_bytes: AtomicU64,
    pub storage_commits: AtomicU64,
    pub storage_failures: AtomicU64,
}

/// Whether a number only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
}

/// Numbers of one name that a dialect counts itself, on whichever thread: rare events, not deliveries.
pub struct Family {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    /// `None`: one number without a label.
    pub label: Option<&'static str>,
    numbers: Vec<(&'static str, AtomicU64)>,
}

impl Family {
    pub fn new(name: &'static str, help: &'static str, kind: Kind, label: &'static str, values: Vec<&'static str>) -> Family {
        let numbers = values.into_iter().map(|value| (value, AtomicU64::new(0))).collect();
        Family { name, help, kind, label: Some(label), numbers }
    }

    pub fn single(name: &'static str, help: &'static str, kind: Kind) -> Family {
        Family { name, help, kind, label: None, numbers: vec![("", AtomicU64::new(0))] }
    }

    /// Counts for one value of the label; a value that the family does not have counts nowhere.
    pub fn add(&self, value: &str, count: u64) {
        if let Some((_, number)) = self.numbers.iter().find(|(known, _)| *known == value) {
            number.fetch_add(count, Relaxed);
        }
    }

    /// Counts without a label.
    pub fn count(&self, count: u64) {
        self.add("", count);
    }

    /// Takes back from a gauge without a label.
    pub fn sub(&self, count: u64) {
        self.numbers[0].1.fetch_sub(count, Relaxed);
    }

    /// Each value of the label with its number.
    pub fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.numbers.iter().map(|(value, number)| (*value, number.load(Relaxed)))
    }
}

/// Everything countable of one server.
pub struct Metrics {
    pub hub: HubMetrics,
    pub reactors: Vec<ReactorMetrics>,
    /// What the dialects count beside.
    pub families: OnceLock<Vec<Arc<Family>>>,
}

impl Metrics {
    pub fn new(reactors: usize) -> Metrics {
        Metrics {
            hub: HubMetrics::default(),
            reactors: (0..reactors).map(|_| ReactorMetrics::default()).collect(),
            families: OnceLock::new(),
        }
    }

    pub fn sum(&self, counter: Counter) -> u64 {
        self.reactors.iter().map(|reactor| reactor.read(counter)).sum()
    }
}
