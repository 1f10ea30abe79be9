//! Our frames: unmasked, unfragmented, the shortest length form (RFC 6455, section 5.2).

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Most bytes of a control frame's payload (RFC 6455, section 5.5).
const CONTROL_BYTES_MAX: usize = 125;
/// A close frame's code takes two of them.
const REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

/// Bytes of the header that [`text_header`] appends.
pub fn header_len(payload: usize) -> usize {
    match payload {
        0..=125 => 2,
        126..=65_535 => 4,
        _ => 10,
    }
}

/// Appends the header of a text frame whose payload is `len` bytes.
pub fn text_header(len: usize, out: &mut Vec<u8>) {
    header(OpCode::Data(Data::Text), len, out);
}

/// A text frame. The payload is UTF-8; whoever accepted the message has checked it.
pub fn text(payload: &[u8]) -> Vec<u8> {
    frame(OpCode::Data(Data::Text), payload)
}

/// A ping of at most 125 bytes.
pub fn ping(payload: &[u8]) -> Vec<u8> {
    control(Control::Ping, payload)
}

/// A pong of at most 125 bytes.
pub fn pong(payload: &[u8]) -> Vec<u8> {
    control(Control::Pong, payload)
}

/// A close frame; the reason is cut at a character to at most 123 bytes. Without a code it is `88 00` and has no reason.
pub fn close(code: Option<u16>, reason: &str) -> Vec<u8> {
    let Some(code) = code else { return control(Control::Close, &[]) };
    let end = (0..=REASON_BYTES_MAX.min(reason.len())).rev().find(|&end| reason.is_char_boundary(end)).unwrap_or(0);
    let mut payload = Vec::with_capacity(CONTROL_BYTES_MAX);
    payload.extend_from_slice(&code.to_be_bytes());
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    control(Control::Close, &payload)
}

fn control(control: Control, payload: &[u8]) -> Vec<u8> {
    debug_assert!(payload.len() <= CONTROL_BYTES_MAX, "a control frame has at most 125 bytes");
    frame(OpCode::Control(control), payload)
}

fn frame(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    // Ten bytes are the longest unmasked header.
    let mut out = Vec::with_capacity(10 + payload.len());
    header(opcode, payload.len(), &mut out);
    out.extend_from_slice(payload);
    out
}

fn header(opcode: OpCode, len: usize, out: &mut Vec<u8>) {
    let header = FrameHeader { is_final: true, rsv1: false, rsv2: false, rsv3: false, opcode, mask: None };
    header.format(len as u64, out).expect("a vector takes every byte");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Read, Result, Write};
    use tungstenite::Message;
    use tungstenite::protocol::{Role, WebSocket};

    #[test]
    fn lengths_take_their_shortest_form() {
        for (len, header) in [
            (0, &b"\x81\x00"[..]),
            (1, b"\x81\x01"),
            (125, b"\x81\x7d"),
            (126, b"\x81\x7e\x00\x7e"),
            (65_535, b"\x81\x7e\xff\xff"),
            (65_536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
        ] {
            let mut out = Vec::new();
            text_header(len, &mut out);
            assert_eq!(out, header, "{len}");
            out.resize(header.len() + len, b'x');
            assert_eq!(text(&vec![b'x'; len]), out, "{len}");
        }
    }

    #[test]
    fn control_frames_are_as_in_the_specification() {
        assert_eq!(ping(b""), b"\x89\x00");
        assert_eq!(pong(b"Hello"), b"\x8a\x05Hello");
        assert_eq!(close(None, "not sent"), b"\x88\x00");
        assert_eq!(close(Some(1000), ""), b"\x88\x02\x03\xe8");
        assert_eq!(close(Some(3401), "no token"), b"\x88\x0a\x0d\x49no token");
    }

    #[test]
    fn a_close_reason_is_cut_at_a_character() {
        assert_eq!(close(Some(1008), &"x".repeat(123)).len(), 2 + 125);
        assert_eq!(close(Some(1008), &"x".repeat(124)), close(Some(1008), &"x".repeat(123)));
        let long = format!("{}€€", "x".repeat(121));
        assert_eq!(close(Some(1008), &long), close(Some(1008), &"x".repeat(121)));
        let exact = format!("{}€€", "x".repeat(120));
        assert_eq!(close(Some(1008), &exact)[4..], exact.as_bytes()[..123]);
    }

    /// What a peer reads; what it writes is dropped.
    struct Peer(Cursor<Vec<u8>>);

    impl Read for Peer {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Peer {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_client_of_another_make_reads_what_we_write() {
        let long = "€".repeat(30_000);
        let bytes = [text(b"Hello"), ping(b"1"), text(long.as_bytes()), pong(b""), close(Some(1001), "bye")].concat();
        let mut client = WebSocket::from_raw_socket(Peer(Cursor::new(bytes)), Role::Client, None);
        assert_eq!(client.read().unwrap(), Message::text("Hello"));
        assert_eq!(client.read().unwrap(), Message::Ping(b"1"[..].into()));
        assert_eq!(client.read().unwrap(), Message::text(long));
        assert_eq!(client.read().unwrap(), Message::Pong(b""[..].into()));
        let Message::Close(Some(close)) = client.read().unwrap() else { panic!("a close with a code") };
        assert_eq!((u16::from(close.code), close.reason.as_str()), (1001, "bye"));
    }
}
