//! The numbered statements of the dialect `resources`, RS-1 to RS-72, over real sockets: one test per statement.

mod http;
#[path = "../support/mod.rs"]
mod support;
