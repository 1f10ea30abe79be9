//! The numbered statements of Action Cable, AC-1 to AC-80, over real sockets: one test per statement.

mod channels;
mod commands;
mod delivery;
mod disconnect;
mod events;
mod extended;
mod extras;
mod frames;
mod handshake;
mod heartbeat;
mod input;
mod publishing;
mod slow;
#[path = "../support/mod.rs"]
mod support;
mod transcripts;
