//! What records cost: memory per record, alterations per second in memory and on disk, and lists of a million.
//!
//! `cargo bench --bench records [-- <directory>]`; the directory decides which disk is measured. A list is handed out by one count,
//! and the first alteration after that copies a pointer per 512 records: that is what decided against copying lists at once.

use fanwire::clock::Now;
use fanwire::exchange::{Alter, Alteration, Answer, EndpointSettings, NewRecord, Question};
use fanwire::hub::request::{Origin, ToHub, ToReactor, Token};
use fanwire::hub::{Hub, Settings, Window};
use fanwire::message::{Also, Message, Seq, Stamp, TopicName};
use fanwire::metrics::Metrics;
use fanwire::record::{ChangeKind, Record, RecordId, RecordList, write_event};
use fanwire::storage::redb::Redb;
use fanwire::storage::{Batch, RecordRow, Storage, Stored};
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ENDPOINT: &str = "$endpoint\u{1f}s\u{1f}p\u{1f}bench";
const DATA: usize = 100;
const ROUNDS: usize = 5;
/// As many as the hub's thread takes at most between two hand-overs of replies.
const BATCH: u64 = 1_024;

fn main() {
    // `cargo test` runs it once, to see that it works.
    let full = std::env::args().any(|argument| argument == "--bench");
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let base = wanted.map_or_else(std::env::temp_dir, PathBuf::from).join(format!("fanwire-records-{}", std::process::id()));
    in_memory(if full { 1_000_000 } else { 2_000 });
    let commits = if full { 500 } else { 3 };
    let mut rates: Vec<f64> = (0..ROUNDS).map(|_| on_disk(&base, commits, 100)).collect();
    println!("on disk, 100 per commit: {:.0} alterations/s", median(&mut rates));
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn settings() -> Settings {
    let removed_ttl = Duration::from_secs(1);
    Settings {
        window: Window { count: 1_024, bytes: 8 << 20, age: Duration::from_secs(300) },
        log_bytes_max: u64::MAX,
        endpoints: vec![EndpointSettings { name: ENDPOINT.into(), generation: 1, users: Vec::new(), removed_ttl, log: None }],
        ..Settings::default()
    }
}

/// Random enough, and the same for the same number.
fn id(number: u64) -> RecordId {
    RecordId(u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | u128::from(number))
}

fn alter(what: Alteration) -> ToHub {
    let alter = Alter { endpoint: ENDPOINT.into(), what, records_max: u64::MAX, revoke: None };
    ToHub::Alter { origin: Origin { reactor: 0, connection: Token::new(1, 1), ticket: 1 }, alter: Box::new(alter) }
}

fn data() -> Arc<[u8]> {
    Arc::from(&[b'1'; DATA][..])
}

fn create(number: u64) -> ToHub {
    alter(Alteration::Create(vec![NewRecord { id: id(number), owner: Some(id(number / 100)), data: data(), account: None }]))
}

fn put(number: u64) -> ToHub {
    let kind = ChangeKind::Put;
    alter(Alteration::Replace { id: id(number), by: None, kind, data: data(), unchanged_since: None, account: None })
}

fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux says so");
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).map_or(0, |pages| pages * 4_096)
}

/// Hands batches of requests to a hub; the longest single one counts, too.
fn run(hub: &mut Hub, now: &mut Now, requests: impl Iterator<Item = ToHub>) -> (u64, Duration, Duration) {
    let (mut count, mut longest, begin) = (0, Duration::ZERO, Instant::now());
    for request in requests {
        let one = Instant::now();
        hub.handle(request, *now);
        longest = longest.max(one.elapsed());
        count += 1;
        if count % BATCH == 0 {
            (now.micros, now.unix_micros) = (now.micros + 1_000, now.unix_micros + 1_000);
            black_box(hub.take_acknowledgements().count());
        }
    }
    black_box(hub.take_acknowledgements().count());
    (count, begin.elapsed(), longest)
}

fn in_memory(records: u64) {
    let mut now = Now { micros: 0, unix_micros: 1_795_191_466_000_000 };
    let mut hub = Hub::new(settings(), 1, now, Arc::new(Metrics::new(1)));
    // The logs fill first, so that they are no part of what a record takes.
    run(&mut hub, &mut now, (0..2_000).map(create));
    let before = resident();
    let (count, time, longest) = run(&mut hub, &mut now, (2_000..2_000 + records).map(create));
    let each = (resident() - before) as f64 / count as f64;
    let rate = |count: u64, time: Duration| count as f64 / time.as_secs_f64();
    println!("{count} records of {DATA} bytes, 100 of each owner: {each:.0} bytes each");
    println!("creations in memory: {:.0}/s, the longest took {longest:?}", rate(count, time));
    let (count, time, longest) = run(&mut hub, &mut now, (0..200_000).map(|number| put(number * 7 % records)));
    println!("replacements in memory: {:.0}/s, the longest took {longest:?}", rate(count, time));
    let (mut copies, mut after) = (Vec::new(), Vec::new());
    for number in 0..101 {
        let question = Question::Records { endpoint: ENDPOINT.into(), of: None };
        let begin = Instant::now();
        let origin = Origin { reactor: 0, connection: Token::new(1, 1), ticket: 1 };
        hub.handle(ToHub::Ask { origin, question }, now);
        copies.push(begin.elapsed().as_secs_f64());
        let begin = Instant::now();
        hub.handle(put(number * 9_973 % records), now);
        after.push(begin.elapsed().as_secs_f64());
        // Somebody has read it meanwhile.
        black_box(list(&mut hub));
        black_box(hub.take_acknowledgements().count());
    }
    println!("a list: {:.1} µs; an alteration after it: {:.1} µs", median(&mut copies) * 1e6, median(&mut after) * 1e6);
}

fn list(hub: &mut Hub) -> RecordList {
    let mut replies = Vec::new();
    hub.take_replies(0, &mut replies);
    let lists = replies.into_iter().filter_map(|reply| match reply {
        ToReactor::Answer { answer, .. } => match *answer {
            Answer::Records(list, _) => Some(list),
            _ => None,
        },
        _ => None,
    });
    lists.last().expect("it was asked for")
}

/// Creations per second, with their messages.
fn on_disk(base: &PathBuf, commits: u64, size: u64) -> f64 {
    std::fs::create_dir(base).expect("the directory can be written to");
    let mut storage = Redb::open(base).expect("it is new").0;
    let (endpoint, owner) = (TopicName::from(ENDPOINT), TopicName::from(format!("{ENDPOINT}\u{1f}{}", id(1)).as_str()));
    let begin = Instant::now();
    for commit in 0..commits {
        let mut batch = Batch::default();
        for number in commit * size..(commit + 1) * size {
            let (place, stamp) = (Seq(2 * number + 1), Stamp { seq: Seq(2 * number + 2), seconds: 1, tag: number as u32 });
            let (created, owned) = (1_795_191_466_000, Some(id(number / 100)));
            let record = Record { id: id(number), place, owner: owned, created, updated: created, data: data(), account: None };
            let record = Arc::new(record);
            let mut payload = Vec::new();
            write_event(ChangeKind::Post, std::slice::from_ref(&record), &mut payload);
            let mut message = Message::new(stamp, endpoint.clone(), number as i64, payload.into());
            message.also = Some(Box::new(Also { topic: owner.clone(), epoch: 1, offset: number }));
            batch.messages.push(Stored { message: Arc::new(message), unix_micros: 1, previous: Stamp::default(), group: None });
            batch.records.push(RecordRow::Put(endpoint.clone(), record));
            batch.head = stamp;
        }
        storage.commit(&batch).expect("the disk works");
    }
    let rate = (commits * size) as f64 / begin.elapsed().as_secs_f64();
    drop(storage);
    std::fs::remove_dir_all(base).expect("it is ours");
    rate
}
