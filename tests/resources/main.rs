//! The numbered statements of the dialect `resources`, RS-1 to RS-72, over real sockets: one test per statement.

mod handshake;
mod http;
mod lifetime;
mod messages;
mod permissions;
mod slow;
#[path = "../support/mod.rs"]
mod support;
