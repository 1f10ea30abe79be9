//! The real reactors and the real hub in a world of chance: what may never happen, happens to no client.
//!
//! `FANWIRE_SEEDS` says how many seeds are tried, `FANWIRE_SEED` tries one and prints all of its steps.

mod client;
mod dialect;
mod ledger;
mod network;
mod random;
mod world;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use world::{Coverage, World};

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
}

struct Failure {
    why: String,
    steps: Vec<String>,
}

fn run(seed: u64, planted: Planted) -> (Result<Coverage, Failure>, Rc<RefCell<Vec<String>>>) {
    let trace = Rc::new(RefCell::new(Vec::new()));
    let outcome = catch_unwind(AssertUnwindSafe(|| World::new(seed, planted, trace.clone()).run(STEPS)));
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            Err(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
        }
    };
    let outcome = outcome.map_err(|why| {
        let steps = trace.borrow();
        let last = steps.len().saturating_sub(STEPS_SHOWN);
        Failure { why, steps: steps[last..].to_vec() }
    });
    (outcome, trace)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_seed_loses_doubles_or_mixes_anything() {
    if let Some(seed) = number("FANWIRE_SEED") {
        let (outcome, trace) = run(seed, Planted::Nothing);
        trace.borrow().iter().for_each(|step| println!("{step}"));
        if let Err(failure) = outcome {
            panic!("seed {seed}: {}", failure.why);
        }
        return;
    }
    let seeds = number("FANWIRE_SEEDS").unwrap_or(1_000);
    let mut coverage = Coverage::default();
    for seed in 0..seeds {
        match run(seed, Planted::Nothing).0 {
            Ok(visited) => coverage.add(&visited),
            Err(failure) => panic!("seed {seed}: {}\nthe last steps:\n{}", failure.why, failure.steps.join("\n")),
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
fn the_same_seed_is_the_same_run() {
    let (first, second) = (run(7, Planted::Nothing), run(7, Planted::Nothing));
    assert!(first.0.is_ok() == second.0.is_ok());
    assert_eq!(*first.1.borrow(), *second.1.borrow());
}

#[test]
fn planted_bugs_are_caught() {
    for planted in [
        Planted::ReadBeforeJoin,
        Planted::LostWakeUp,
        Planted::WritableClearedEarly,
        Planted::ReusedToken,
        Planted::DroppedPartialWrite,
    ] {
        let caught = (0..200).find_map(|seed| Some((seed, run(seed, planted).0.err()?)));
        let (seed, failure) = caught.unwrap_or_else(|| panic!("{planted:?} was never caught"));
        println!("{planted:?}: seed {seed}: {}", failure.why);
    }
}
