//! HTTP/1 without sockets: bytes in, heads and bodies out.

pub mod body;
pub mod head;
pub mod multipart;
pub mod response;
#[cfg(test)]
mod rules;
pub mod scan;
pub mod target;
