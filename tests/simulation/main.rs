//! The real reactors and the real hub in a world of chance: what may never happen, happens to no client.
//!
//! `FANWIRE_SEEDS` says how many seeds are tried, from `FANWIRE_FIRST_SEED` on; `FANWIRE_SEED` tries one and prints all
//! of its steps.

mod client;
mod dialect;
mod ledger;
mod network;
mod random;
mod world;

use dialect::{ENCODINGS, OUTBOX_BYTES, PREFIXED};
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Coverage, Trace, World};

const STEPS: usize = 900;
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
}

fn run(seed: u64, planted: Planted, trace: Option<Trace>) -> Result<Coverage, String> {
    let run = AssertUnwindSafe(|| World::new(seed, planted, trace).run(STEPS));
    catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
    })
}

/// The same run again, with its steps.
fn traced(seed: u64) -> (Result<Coverage, String>, Vec<String>) {
    let trace = Trace::default();
    let outcome = run(seed, Planted::Nothing, Some(trace.clone()));
    (outcome, trace.take())
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_seed_loses_doubles_or_mixes_anything() {
    if let Some(seed) = number("FANWIRE_SEED") {
        let (outcome, steps) = traced(seed);
        steps.iter().for_each(|step| println!("{step}"));
        outcome.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        return;
    }
    let first = number("FANWIRE_FIRST_SEED").unwrap_or(0);
    let seeds = number("FANWIRE_SEEDS").unwrap_or(1_000);
    let mut coverage = Coverage::default();
    for seed in first..first + seeds {
        match run(seed, Planted::Nothing, None) {
            Ok(visited) => coverage.add(&visited),
            Err(why) => {
                let (_, steps) = traced(seed);
                let last = steps.len().saturating_sub(STEPS_SHOWN);
                panic!("seed {seed}: {why}\nthe last steps:\n{}", steps[last..].join("\n"));
            }
        }
    }
    println!("{seeds} seeds: {coverage:?}");
    if seeds >= 100 {
        for (what, count) in &coverage.0 {
            assert!(*count > 0, "no seed ever visited: {what}");
        }
    }
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
    assert_eq!(traced(7), traced(7));
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
    ] {
        let caught = (0..200).find_map(|seed| Some((seed, run(seed, planted, None).err()?)));
        let (seed, why) = caught.unwrap_or_else(|| panic!("{planted:?} was never caught"));
        println!("{planted:?}: seed {seed}: {why}");
    }
}
