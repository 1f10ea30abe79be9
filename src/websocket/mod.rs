//! WebSocket (RFC 6455) without sockets: request heads and frames. tungstenite's parts are used here and nowhere else.

pub mod encoder;
pub mod handshake;
