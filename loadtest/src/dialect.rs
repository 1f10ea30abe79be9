//! A dialect as the load client sees it: how to ask for a topic, how to read what comes, where to publish.
use crate::frames::{self, PONG};

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
    /// A message, with whatever the dialect wraps around the payload.
    Message(&'a [u8]),
    /// To be answered with these bytes inside [`Dialect::pong`].
    Ping(&'a [u8]),
    /// Nothing to do: a pong, a comment.
    Quiet,
    /// The server ends the subscription, or broke the protocol.
    End,
}

/// What a load client must know of a wire dialect. Pure: bytes in, bytes out; one value serves all threads.
pub trait Dialect: Send + Sync {
    fn topic(&self, topic: u32) -> String;

    /// Appends the request that subscribes to the topic.
    fn subscribe(&self, topic: u32, out: &mut Vec<u8>);

    /// Judges the answer to `subscribe`, from its first byte on.
    fn answer(&self, bytes: &[u8]) -> Answer;

    /// Takes the first item off the front of `bytes` with the number of bytes it took; `None` when more bytes are needed.
    fn next<'a>(&self, bytes: &'a [u8]) -> Option<(usize, Inbound<'a>)>;

    /// Appends the answer to a ping.
    fn pong(&self, payload: &[u8], out: &mut Vec<u8>);

    /// Appends what a server of this dialect writes to a subscriber for message `number`: what the `limit` scenario sends.
    fn delivery(&self, topic: u32, number: u64, payload: &[u8], out: &mut Vec<u8>);
}

/// The push_stream dialect over its websocket.
pub struct PushStream {
    pub host: String,
    pub token: Option<String>,
}

/// Every connection sends the same nonce: the server cannot tell, and its answer needs no hash here.
const NONCE: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Appends a websocket upgrade request; the answer is judged by [`upgraded`].
pub fn upgrade(path: &str, host: &str, key: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n").as_bytes(),
    );
    if let Some(key) = key {
        out.extend_from_slice(format!("Authorization: Bearer {key}\r\n").as_bytes());
    }
    out.extend_from_slice(format!("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {NONCE}\r\n\r\n").as_bytes());
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

impl Dialect for PushStream {
    fn topic(&self, topic: u32) -> String {
        format!("load-{topic}")
    }

    fn subscribe(&self, topic: u32, out: &mut Vec<u8>) {
        let topic = self.topic(topic);
        let path = match &self.token {
            Some(token) => format!("/websocket/{topic}?auth_token={token}"),
            None => format!("/websocket/{topic}"),
        };
        upgrade(&path, &self.host, None, out);
    }

    fn answer(&self, bytes: &[u8]) -> Answer {
        upgraded(bytes)
    }

    fn next<'a>(&self, bytes: &'a [u8]) -> Option<(usize, Inbound<'a>)> {
        let frame = match frames::read(bytes) {
            Ok(frame) => frame?,
            Err(frames::FrameError) => return Some((bytes.len(), Inbound::End)),
        };
        let inbound = match frame.opcode {
            frames::TEXT => Inbound::Message(frame.payload),
            frames::PING => Inbound::Ping(frame.payload),
            frames::PONG => Inbound::Quiet,
            _ => Inbound::End,
        };
        Some((frame.bytes, inbound))
    }

    fn pong(&self, payload: &[u8], out: &mut Vec<u8>) {
        frames::write_masked(out, PONG, payload);
    }

    fn delivery(&self, topic: u32, number: u64, payload: &[u8], out: &mut Vec<u8>) {
        let mut text = format!("{{\"id\":{},\"channel\":\"{}\",\"message\":", number + 1, self.topic(topic)).into_bytes();
        text.extend_from_slice(payload);
        text.extend_from_slice(b",\"tag\":\"1\",\"time\":\"Fri, 20 Nov 2026 16:17:46 GMT\"}");
        frames::write_unmasked(out, frames::TEXT, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marker::{self, Marker};

    fn dialect() -> PushStream {
        PushStream { host: "127.0.0.1:1".into(), token: Some("secret".into()) }
    }

    #[test]
    fn the_accept_constant_belongs_to_the_nonce() {
        assert_eq!(tungstenite::handshake::derive_accept_key(NONCE.as_bytes()).as_bytes(), ACCEPT);
    }

    #[test]
    fn the_request_names_the_channel_and_the_token() {
        let mut out = Vec::new();
        dialect().subscribe(7, &mut out);
        let text = String::from_utf8(out).expect("a request is text");
        assert!(text.starts_with("GET /websocket/load-7?auth_token=secret HTTP/1.1\r\nHost: 127.0.0.1:1\r\n"));
        assert!(text.ends_with("\r\n\r\n"));
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
    fn a_delivery_reads_back_as_one_message_with_its_marker() {
        let mut payload = Vec::new();
        marker::write(&mut payload, &Marker { intended: 5, number: 9 }, 128);
        let mut bytes = Vec::new();
        dialect().delivery(0, 9, &payload, &mut bytes);
        let Some((taken, Inbound::Message(frame))) = dialect().next(&bytes) else { panic!("one message") };
        assert_eq!(taken, bytes.len());
        assert_eq!(marker::Reader::new().read(frame), Some(Marker { intended: 5, number: 9 }));
        assert!(serde_json::from_slice::<serde_json::Value>(frame).is_ok());
    }

    #[test]
    fn a_close_frame_and_a_broken_frame_end_the_subscription() {
        assert_eq!(dialect().next(&[0x88, 0]), Some((2, Inbound::End)));
        assert_eq!(dialect().next(&[0x81, 0x85, 1, 2]), Some((4, Inbound::End)));
        assert_eq!(dialect().next(&[0x89, 1, 7]), Some((3, Inbound::Ping(&[7]))));
    }
}
