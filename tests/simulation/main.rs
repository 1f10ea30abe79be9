//! The real reactors and the real hub in a world of chance: what may never happen, happens to no client.
//!
//! `FANWIRE_SEEDS` says how many seeds are tried, from `FANWIRE_FIRST_SEED` on; `FANWIRE_SEED` tries one and prints all
//! of its steps.

mod client;
mod dialect;
mod ledger;
mod network;
mod random;
mod store;
mod world;

// The disk of the unit tests: what it needs of the server is found under the same names.
#[path = "../../src/storage/faulty.rs"]
#[allow(dead_code)]
mod faulty;
use fanwire::storage;

use dialect::{ENCODINGS, OUTBOX_BYTES, PREFIXED};
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Coverage, Trace, World};

const STEPS: usize = 900;
/// Of worlds with storage: processes that end have to come somewhere before they do.
const STORED_STEPS: usize = 1_800;
const STORED_SEEDS: u64 = 160;
const STEPS_SHOWN: usize = 40;

/// A bug of a kind that the server could have, to see that it would be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    Nothing,
    /// The start of a history is resolved before its subscription is attached.
    ReadBeforeJoin,
    /// The loop forgets that it was woken after it has drained, not before.
    LostWakeUp,
    /// A short write counts as a refusal, although epoll then owes no event.
    WritableClearedEarly,
    /// An event of a closed connection reaches the one that got its slot.
    ReusedToken,
    /// Bytes that the socket did not take count as sent.
    DroppedPartialWrite,
    /// Frames begin with the prefix of another subscription.
    ForeignPrefix,
    /// Whoever joins a document is not shown what it is.
    MissingSnapshot,
    /// Storage says that something is committed before it is.
    AnswerBeforeCommit,
    /// A process does not know how far the stamps of the one before it had come.
    ForgottenHead,
    /// A process does not take over the last message that it loaded.
    ForgottenTail,
    /// After a failure it stays on the disk what has reached it, although it was refused.
    CarelessRecovery,
}

impl Planted {
    /// It is one of storage.
    fn is_of_storage(self) -> bool {
        match self {
            Planted::AnswerBeforeCommit | Planted::ForgottenHead | Planted::ForgottenTail | Planted::CarelessRecovery => true,
            Planted::Nothing
            | Planted::ReadBeforeJoin
            | Planted::LostWakeUp
            | Planted::WritableClearedEarly
            | Planted::ReusedToken
            | Planted::DroppedPartialWrite
            | Planted::ForeignPrefix
            | Planted::MissingSnapshot => false,
        }
    }
}

/// How a world begins, from its seed.
type Begin = fn(u64, Planted, Option<Trace>) -> World;

fn run(begin: Begin, seed: u64, planted: Planted, trace: Option<Trace>) -> Result<Coverage, String> {
    let run = AssertUnwindSafe(|| {
        let mut world = begin(seed, planted, trace);
        let steps = if world.store.is_some() { STORED_STEPS } else { STEPS };
        world.run(steps)
    });
    catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
    })
}

/// The same run again, with its steps.
fn traced(begin: Begin, seed: u64) -> (Result<Coverage, String>, Vec<String>) {
    let trace = Trace::default();
    let outcome = run(begin, seed, Planted::Nothing, Some(trace.clone()));
    (outcome, trace.take())
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Tries as many seeds as it is told to, by default `seeds`. `None`: one was to be shown.
fn try_seeds(begin: Begin, seeds: u64) -> Option<Coverage> {
    if let Some(seed) = number("FANWIRE_SEED") {
        let (outcome, steps) = traced(begin, seed);
        steps.iter().for_each(|step| println!("{step}"));
        outcome.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        return None;
    }
    let first = number("FANWIRE_FIRST_SEED").unwrap_or(0);
    let seeds = number("FANWIRE_SEEDS").unwrap_or(seeds);
    let mut coverage = Coverage::default();
    for seed in first..first + seeds {
        match run(begin, seed, Planted::Nothing, None) {
            Ok(visited) => coverage.add(&visited),
            Err(why) => {
                let (_, steps) = traced(begin, seed);
                let last = steps.len().saturating_sub(STEPS_SHOWN);
                panic!("seed {seed}: {why}\nthe last steps:\n{}", steps[last..].join("\n"));
            }
        }
    }
    println!("{seeds} seeds: {coverage:?}");
    (seeds >= 100).then_some(coverage)
}

fn assert_visited(coverage: Option<Coverage>) {
    for (what, count) in coverage.iter().flat_map(|coverage| &coverage.0) {
        assert!(*count > 0, "no seed ever visited: {what}");
    }
}

#[test]
fn no_seed_loses_doubles_or_mixes_anything() {
    assert_visited(try_seeds(World::new, 1_000));
}

#[test]
fn no_crash_and_no_failing_disk_loses_doubles_or_takes_back_what_was_told() {
    assert_visited(try_seeds(World::with_storage, STORED_SEEDS));
}

#[test]
fn a_crowd_is_served_in_slices_and_loses_nothing() {
    // A run of a few messages stands beside the window, whoever reads and whoever does not; their prefixes do, too.
    for (kinds, beside) in [([ENCODINGS, 0, 0], OUTBOX_BYTES), ([ENCODINGS, 0, PREFIXED], OUTBOX_BYTES + 200)] {
        let mut world = World::crowd(1, 1_200);
        assert_eq!(world.run_crowd(&kinds, 30), Ok(()));
        let waited = world.waiting_max;
        assert!((OUTBOX_BYTES..OUTBOX_BYTES + beside).contains(&waited), "{waited} bytes waited, {kinds:?}");
    }
}

#[test]
fn rs_50_whoever_watches_documents_ends_at_the_newest_state_and_sees_none_twice_or_out_of_order() {
    let mut coverage = Coverage::default();
    for seed in 0..200 {
        let visited = World::of_documents(seed).run(STEPS).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        coverage.add(&visited);
    }
    println!("{coverage:?}");
    for what in ["states", "states shown", "states passed over", "deletions", "documents at rest"] {
        assert!(coverage.0[what] > 100, "{what}: {coverage:?}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for begin in [World::new as Begin, World::with_storage] {
        assert_eq!(traced(begin, 7), traced(begin, 7));
    }
}

#[test]
fn planted_bugs_are_caught() {
    for planted in [
        Planted::ReadBeforeJoin,
        Planted::LostWakeUp,
        Planted::WritableClearedEarly,
        Planted::ReusedToken,
        Planted::DroppedPartialWrite,
        Planted::ForeignPrefix,
        Planted::MissingSnapshot,
        Planted::AnswerBeforeCommit,
        Planted::ForgottenHead,
        Planted::ForgottenTail,
        Planted::CarelessRecovery,
    ] {
        let begin = if planted.is_of_storage() { World::with_storage } else { World::new };
        let caught = (0..200).find_map(|seed| Some((seed, run(begin, seed, planted, None).err()?)));
        let (seed, why) = caught.unwrap_or_else(|| panic!("{planted:?} was never caught"));
        println!("{planted:?}: seed {seed}: {why}");
    }
}
