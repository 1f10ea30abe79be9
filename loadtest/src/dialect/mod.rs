//! A dialect as the load client sees it: how to ask for a topic, how to read what comes, where to publish.
pub mod action_cable;
pub mod endpoints;
mod eventsource;
mod longpoll;
mod plain;
pub mod push_stream;
pub mod resources;

use std::sync::Arc;

use crate::frames::{self, FrameError, PONG};
use crate::options::{Identifiers, Options, Scenario, Transport, Wire};

/// The server's word on a request for a topic.
#[derive(Debug, PartialEq)]
pub enum Answer {
    Partial,
    /// The subscription stands; the answer took this many bytes, messages follow.
    Accepted(usize),
    Refused,
}

/// One thing the server said on a standing subscription.
#[derive(Debug, PartialEq)]
pub enum Inbound<'a> {
    /// One or more messages, or none, with whatever the dialect wraps around the payloads.
    Message(&'a [u8]),
    /// To be answered with these bytes inside [`Dialect::pong`].
    Ping(&'a [u8]),
    /// A sign of life that wants no answer.
    Beat,
    /// Nothing to do: a pong, a comment.
    Quiet,
    /// The server ends the subscription with this close code, or without one, or broke the protocol.
    End(Option<u16>),
}

/// What a load client must know of a wire dialect over one transport. Pure: bytes in, bytes out; one value serves all threads.
pub trait Dialect: Send + Sync {
    fn topic(&self, topic: u32) -> String {
        format!("load-{topic}")
    }

    /// Appends the request with which connection number `connection` subscribes to the topics: from now on when `cursor` is empty,
    /// otherwise after that position.
    fn subscribe(&self, connection: u32, topics: &[u32], cursor: &[u8], out: &mut Vec<u8>);

    /// Judges the answer to `subscribe`, from its first byte on.
    fn answer(&self, bytes: &[u8]) -> Answer;

    /// Takes the first item off the front of `bytes` with the number of bytes it took; `None` when more bytes are needed.
    fn next<'a>(&self, bytes: &'a [u8]) -> Option<(usize, Inbound<'a>)>;

    /// Appends the answer to a ping.
    fn pong(&self, payload: &[u8], out: &mut Vec<u8>);

    /// Appends what a server of this dialect writes to a subscriber for message `number`: what the `limit` scenario sends.
    fn delivery(&self, topic: u32, number: u64, payload: &[u8], out: &mut Vec<u8>);

    /// Every message item is the answer to a request, and wants the next request: the one that [`Dialect::poll`] writes.
    fn polls(&self) -> bool {
        false
    }

    fn poll(&self, _topics: &[u32], _cursor: &[u8], _out: &mut Vec<u8>) {}

    /// Replaces `cursor` by the position behind an accepted answer or a message item, if it tells one.
    fn cursor(&self, _item: &[u8], _cursor: &mut Vec<u8>) {}

    /// Whether an accepted answer or a message item says that messages were lost.
    fn declares_gap(&self, _item: &[u8]) -> bool {
        false
    }
}

/// The dialect that the options name.
pub fn of(options: &Options) -> Arc<dyn Dialect> {
    let (host, token) = (options.address.to_string(), options.token.clone());
    match (options.dialect, options.transport) {
        (Wire::PushStream, Transport::Websocket) => Arc::new(push_stream::PushStream { host, token }),
        (Wire::PushStream, Transport::Eventsource) => Arc::new(eventsource::EventSource { host, token }),
        (Wire::PushStream, Transport::Longpoll) => Arc::new(longpoll::LongPoll { host, token }),
        (Wire::ActionCable, _) => Arc::new(action_cable::ActionCable {
            host,
            key: token.unwrap_or_default(),
            distinct: options.identifiers == Identifiers::Distinct,
            extended: options.scenario == Scenario::Storm,
        }),
        (Wire::Resources, _) => Arc::new(resources::Resources { host, key: token }),
        (Wire::Endpoints, _) => Arc::new(endpoints::Endpoints { host, numbered: options.scenario == Scenario::Storm }),
        (Wire::Plain, _) => Arc::new(plain::Plain { host }),
    }
}

/// Every connection sends the same nonce: the server cannot tell, and its answer needs no hash here.
const NONCE: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Appends a websocket upgrade request; the answer is judged by [`upgraded`].
pub fn upgrade(path: &str, host: &str, key: Option<&str>, out: &mut Vec<u8>) {
    upgrade_offering(path, host, key, None, out);
}

/// The same with a list of subprotocols.
fn upgrade_offering(path: &str, host: &str, key: Option<&str>, subprotocols: Option<&str>, out: &mut Vec<u8>) {
    let key = key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
    let subprotocols = subprotocols.map(|list| format!("Sec-WebSocket-Protocol: {list}\r\n")).unwrap_or_default();
    upgrade_with(path, host, &(key + &subprotocols), out);
}

/// The same with these header lines.
fn upgrade_with(path: &str, host: &str, fields: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(
        format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{fields}\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {NONCE}\r\n\r\n"
        )
        .as_bytes(),
    );
}

/// Longest answer head that is waited for; a longer one counts as a refusal.
const HEAD_BYTES_MAX: usize = 8 * 1024;

pub fn upgraded(bytes: &[u8]) -> Answer {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > HEAD_BYTES_MAX { Answer::Refused } else { Answer::Partial };
    };
    let head = &bytes[..end];
    if head.starts_with(b"HTTP/1.1 101 ") && memchr::memmem::find(head, ACCEPT).is_some() {
        Answer::Accepted(end + 4)
    } else {
        Answer::Refused
    }
}

/// Takes the first websocket frame as every dialect over websockets does.
fn websocket_item(bytes: &[u8]) -> Option<(usize, Inbound<'_>)> {
    let frame = match frames::read(bytes) {
        Ok(frame) => frame?,
        Err(FrameError) => return Some((bytes.len(), Inbound::End(None))),
    };
    let inbound = match frame.opcode {
        frames::TEXT => Inbound::Message(frame.payload),
        frames::PING => Inbound::Ping(frame.payload),
        frames::PONG => Inbound::Quiet,
        _ => Inbound::End(frame.payload.first_chunk().map(|code| u16::from_be_bytes(*code))),
    };
    Some((frame.bytes, inbound))
}

fn websocket_pong(payload: &[u8], out: &mut Vec<u8>) {
    frames::write_masked(out, PONG, payload);
}

/// The value of a field in an HTTP head, or `None`.
fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    std::str::from_utf8(head).ok()?.lines().skip(1).find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The head in front of the empty line, and where the body begins.
fn head(bytes: &[u8]) -> Option<(&[u8], usize)> {
    memchr::memmem::find(bytes, b"\r\n\r\n").map(|end| (&bytes[..end], end + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_constant_belongs_to_the_nonce() {
        assert_eq!(tungstenite::handshake::derive_accept_key(NONCE.as_bytes()).as_bytes(), ACCEPT);
    }

    #[test]
    fn only_a_whole_101_with_the_right_accept_value_is_taken() {
        let good = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        for cut in 0..good.len() {
            assert_eq!(upgraded(&good[..cut]), Answer::Partial);
        }
        let mut with_frame = good.to_vec();
        with_frame.extend_from_slice(&[0x89, 0]);
        assert_eq!(upgraded(&with_frame), Answer::Accepted(good.len()));
        assert_eq!(upgraded(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: other\r\n\r\n"), Answer::Refused);
        assert_eq!(upgraded(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"), Answer::Refused);
        assert_eq!(upgraded(&[b'x'; HEAD_BYTES_MAX + 1]), Answer::Refused);
    }

    #[test]
    fn a_close_frame_and_a_broken_frame_end_the_subscription() {
        assert_eq!(websocket_item(&[0x88, 0]), Some((2, Inbound::End(None))));
        assert_eq!(websocket_item(&[0x88, 2, 3, 0xf0]), Some((4, Inbound::End(Some(1008)))));
        assert_eq!(websocket_item(&[0x81, 0x85, 1, 2]), Some((4, Inbound::End(None))));
        assert_eq!(websocket_item(&[0x89, 1, 7]), Some((3, Inbound::Ping(&[7]))));
    }

    #[test]
    fn a_field_is_found_whatever_its_case() {
        let (head, body) = head(b"HTTP/1.1 200 OK\r\nContent-length:  5\r\n\r\nhello").expect("whole");
        assert_eq!((field(head, "Content-Length"), field(head, "HTTP/1.1 200 OK"), body), (Some("5"), None, 39));
    }
}
