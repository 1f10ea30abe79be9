//! The numbered statements of the dialect `endpoints`, over real sockets: one test per statement.

mod accounts;
mod cors;
mod http;
mod passwords;
mod records;
#[path = "../support/mod.rs"]
mod support;
mod uploads;
