//! The numbered statements of push_stream, PS-1 to PS-70, over real sockets: one test per statement.

mod channels;
mod control;
mod cursors;
mod frames;
mod handshake;
mod limits;
mod polls;
mod publisher;
mod shutdown;
mod statistics;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod tokens;
