//! Action Cable as the metasmoke websocket API speaks it: what bytes and options mean.

pub mod channel;
pub mod command;
pub mod events;
pub mod identifier;
pub mod ingest;
pub mod options;
pub mod origin;
mod preset;
pub mod rules;
pub mod sensitive;
pub mod signed;
pub mod streams;
