//! The numbered statements of the dialect `endpoints`, over real sockets: one test per statement.

mod accounts;
mod cors;
mod handshake;
mod http;
mod lifetime;
mod messages;
mod passwords;
mod records;
mod slow;
#[path = "../support/mod.rs"]
mod support;
mod tokens;
mod uploads;
