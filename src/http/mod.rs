//! HTTP/1 without sockets: bytes in, heads and bodies out.

pub mod head;
pub mod response;
