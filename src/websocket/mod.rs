//! WebSocket (RFC 6455) without sockets: bytes in, events and frames out. tungstenite's parts are used here and nowhere else.

pub mod decoder;
pub mod encoder;
pub mod handshake;
mod mask;
pub(crate) mod utf8;
