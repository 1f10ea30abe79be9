//! Instructions of the hot paths, counted by valgrind: the same on every machine, so `.ci/instructions` holds them to limits.
//!
//! What is prepared before and checked after is not counted. `.ci/instructions` divides by frames, messages or subscribers.

mod fanout;
mod hub;
mod messages;
mod opening;
mod private;
mod receiving;
mod scene;

use fanout::delivery;
use gungraun::{LibraryBenchmarkConfig, main};
use hub::ordering;
use messages::encodings;
use opening::handshake;
use receiving::frames;

main!(
    // Else the first call into the C library pays for finding it.
    config = LibraryBenchmarkConfig::default().env("LD_BIND_NOW", "1"),
    library_benchmark_groups = [frames, handshake, encodings, ordering, delivery]
);
