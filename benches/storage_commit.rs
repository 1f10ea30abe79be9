//! What storage costs: durable records per second by the size of a commit, the same through the storage's thread with units of
//! one message, with and without an eviction each, and how long a start takes that finds a million messages.
//!
//! `cargo bench --bench storage_commit [-- <directory>]`; the directory decides which disk is measured.

use crossbeam_channel::unbounded;
use fanwire::message::{Message, Seq, Stamp};
use fanwire::storage::redb::Redb;
use fanwire::storage::thread::{self, Unit};
use fanwire::storage::{Batch, Deliver, Notes, Report, Storage, Stored};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const TOPICS: u64 = 1_000;
const PAYLOAD: usize = 200;
const ROUNDS: usize = 5;

fn main() {
    // `cargo test` runs it once, to see that it works.
    let full = std::env::args().any(|argument| argument == "--bench");
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let base = wanted.map_or_else(std::env::temp_dir, PathBuf::from).join(format!("fanwire-bench-{}", std::process::id()));
    std::fs::create_dir(&base).expect("the directory can be written to");
    for (size, records) in [(1, 2_000), (10, 10_000), (100, 50_000), (1_000, 100_000)] {
        let records = if full { records } else { 2 * size };
        measure(&format!("{size} per commit"), records, || commits(&base, size, records));
    }
    for evicting in [false, true] {
        let records = if full { 100_000 } else { 100 };
        let what = if evicting { "units of one message, each evicts one" } else { "units of one message" };
        measure(what, records, || units(&base, records, evicting));
    }
    let messages = if full { 1_000_000 } else { 1_000 };
    start(&base, messages);
    std::fs::remove_dir_all(&base).expect("it is ours");
}

/// The median of some rounds.
fn measure(what: &str, records: u64, round: impl Fn() -> Duration) {
    let mut times: Vec<Duration> = (0..ROUNDS).map(|_| round()).collect();
    times.sort_unstable();
    let rate = |time: Duration| records as f64 / time.as_secs_f64();
    let (median, slowest, fastest) = (rate(times[ROUNDS / 2]), rate(times[ROUNDS - 1]), rate(times[0]));
    println!("{what:<40} {median:>8.0} records/s (from {slowest:.0} to {fastest:.0})");
}

fn batch(from: u64, count: u64) -> Batch {
    let messages = (from..from + count).map(|seq| {
        // Topics in no order, as they are published to.
        let topic = format!("topic {}", seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) % TOPICS);
        let stamp = Stamp { seq: Seq(seq), seconds: 1, tag: seq as u32 };
        let message = Message::new(stamp, topic.as_str().into(), seq as i64, vec![b'x'; PAYLOAD].into());
        Stored { message: Arc::new(message), unix_micros: 1, previous: Stamp::default(), group: None }
    });
    let head = Stamp { seq: Seq(from + count), seconds: 1, tag: u32::MAX };
    Batch { head, messages: messages.collect(), ..Batch::default() }
}

fn open(base: &Path) -> Redb<fanwire::storage::redb::Directory> {
    let path = base.join("data");
    let _ = std::fs::remove_dir_all(&path);
    Redb::open(&path).expect("a new database").0
}

fn commits(base: &Path, size: u64, records: u64) -> Duration {
    let mut storage = open(base);
    let begun = Instant::now();
    for commit in 0..records / size {
        storage.commit(&batch(1 + commit * size, size)).expect("it is committed");
    }
    begun.elapsed()
}

fn units(base: &Path, records: u64, evicting: bool) -> Duration {
    let storage = open(base);
    let (sender, receiver) = unbounded();
    let batches: Vec<Batch> = (1..=records)
        .map(|seq| {
            let gone = seq.checked_sub(1_000).filter(|&gone| evicting && gone > 0);
            Batch { notes: Notes { evicted: gone.map(Seq).into_iter().collect(), ..Notes::default() }, ..batch(seq, 1) }
        })
        .collect();
    let begun = Instant::now();
    for (number, batch) in (1..).zip(batches) {
        sender.send(Unit { number, generation: 0, batch }).expect("the thread is there");
    }
    drop(sender);
    thread::run(Box::new(storage), Deliver::AfterCommit, Seq(0), &receiver, |report| {
        assert!(matches!(report, Report::Committed(_)))
    });
    begun.elapsed()
}

fn start(base: &Path, messages: u64) {
    let mut storage = open(base);
    for commit in 0..messages / 1_000 {
        storage.commit(&batch(1 + commit * 1_000, 1_000)).expect("it is committed");
    }
    drop(storage);
    let path = base.join("data");
    let size = std::fs::metadata(path.join("fanwire.redb")).expect("the database").len();
    let mut times: Vec<Duration> = (0..3)
        .map(|_| {
            let begun = Instant::now();
            let (_, loaded) = Redb::open(&path).expect("it is in order");
            let time = begun.elapsed();
            assert_eq!(loaded.messages.len() as u64, messages);
            time
        })
        .collect();
    times.sort_unstable();
    println!("a start that finds {messages} messages in {} MB: {:.2} s", size / 1_000_000, times[1].as_secs_f64());
}
