//! The numbered statements of Action Cable, AC-1 to AC-80, over real sockets: one test per statement.

mod delivery;
#[path = "../support/mod.rs"]
mod support;
