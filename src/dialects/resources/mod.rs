//! Live documents by type and id (M2 "Realtime"), as far as it is a function of bytes and options.

pub mod base58;
pub mod claims;
pub mod document;
pub mod frame;
pub mod handshake;
pub mod members;
pub mod merge_patch;
pub mod message;
pub mod name;
pub mod options;
pub mod origin;
pub mod permissions;
pub mod subprotocol;
pub mod token;
pub mod version;
