//! Endpoints over their websocket: every connection listens to the same endpoint, a message is a new record of it.
use super::{Answer, Dialect, Inbound, upgrade, upgraded, websocket_item, websocket_pong};
use crate::frames;

/// What `fanwire dev` knows: an endpoint that everybody may use, and its API key.
const NAME: &str = "examples/unsecure-endpoint";
const KEY: &str = "d59eb2859c284168ac48aef65046d5dd";

pub struct Endpoints {
    pub host: String,
    /// Messages tell their numbers, so that a connection can go on from its last one.
    pub numbered: bool,
}

/// Path and query of an endpoint. The key is no secret: web pages hold it.
pub fn target(name: &str) -> String {
    format!("/api/1/ce/{name}?key={KEY}")
}

impl Dialect for Endpoints {
    /// There is one.
    fn topic(&self, _topic: u32) -> String {
        NAME.to_owned()
    }

    fn subscribe(&self, _connection: u32, _topics: &[u32], cursor: &[u8], out: &mut Vec<u8>) {
        let mut target = target(NAME);
        if self.numbered {
            target.push_str("&fw_seq=1");
        }
        if let Ok(number) = std::str::from_utf8(cursor)
            && !number.is_empty()
        {
            target.push_str("&fw_since=");
            target.push_str(number);
        }
        upgrade(&target, &self.host, None, out);
    }

    /// The server opens a listener that it refuses, too, and closes it in the same write.
    fn answer(&self, bytes: &[u8]) -> Answer {
        match upgraded(bytes) {
            Answer::Accepted(head) if matches!(websocket_item(&bytes[head..]), Some((_, Inbound::End(_)))) => Answer::Refused,
            other => other,
        }
    }

    fn next<'a>(&self, bytes: &'a [u8]) -> Option<(usize, Inbound<'a>)> {
        websocket_item(bytes)
    }

    fn pong(&self, payload: &[u8], out: &mut Vec<u8>) {
        websocket_pong(payload, out);
    }

    fn delivery(&self, _topic: u32, number: u64, payload: &[u8], out: &mut Vec<u8>) {
        let mut text = b"{\"type\":\"POST\",\"record\":{\"data\":".to_vec();
        text.extend_from_slice(payload);
        let time = "2026-11-20T16:17:46.123Z";
        let rest = format!(",\"uniqueId\":\"{number:032x}\",\"updatedAt\":\"{time}\",\"createdAt\":\"{time}\"}}}}");
        text.extend_from_slice(rest.as_bytes());
        frames::write_unmasked(out, frames::TEXT, &text);
    }

    fn cursor(&self, item: &[u8], cursor: &mut Vec<u8>) {
        // It comes last in a message, so no record can stand in for it.
        let Some(text) = item.strip_suffix(b"}") else { return };
        let digits = text.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let (front, number) = text.split_at(text.len() - digits);
        if digits > 0 && front.ends_with(b",\"seq\":") {
            cursor.clear();
            cursor.extend_from_slice(number);
        }
    }

    fn declares_gap(&self, item: &[u8]) -> bool {
        item.starts_with(b"{\"type\":\"RESET\",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marker::{self, Marker};

    fn dialect(numbered: bool) -> Endpoints {
        Endpoints { host: "127.0.0.1:1".into(), numbered }
    }

    #[test]
    fn the_request_names_the_endpoint_the_key_and_the_position() {
        let line = |dialect: Endpoints, cursor: &[u8]| {
            let mut out = Vec::new();
            dialect.subscribe(0, &[0], cursor, &mut out);
            String::from_utf8(out).expect("a request is text").lines().next().expect("a line").to_owned()
        };
        let path = "GET /api/1/ce/examples/unsecure-endpoint?key=d59eb2859c284168ac48aef65046d5dd";
        assert_eq!(line(dialect(false), b""), format!("{path} HTTP/1.1"));
        assert_eq!(line(dialect(true), b""), format!("{path}&fw_seq=1 HTTP/1.1"));
        assert_eq!(line(dialect(true), b"12"), format!("{path}&fw_seq=1&fw_since=12 HTTP/1.1"));
    }

    #[test]
    fn it_stands_with_the_101_unless_a_close_follows() {
        let head = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        for cut in 0..head.len() {
            assert_eq!(dialect(false).answer(&head[..cut]), Answer::Partial, "{cut}");
        }
        let with = |opcode, payload: &[u8]| {
            let mut bytes = head.to_vec();
            frames::write_unmasked(&mut bytes, opcode, payload);
            dialect(false).answer(&bytes)
        };
        assert_eq!(dialect(false).answer(head), Answer::Accepted(head.len()));
        assert_eq!(with(frames::TEXT, b"{}"), Answer::Accepted(head.len()));
        assert_eq!(with(frames::CLOSE, b"\x0f\xa0Missing API Key."), Answer::Refused);
    }

    #[test]
    fn a_delivery_reads_back_as_one_message() {
        let mut payload = Vec::new();
        marker::write(&mut payload, &Marker { intended: 5, number: 9 }, 128);
        let mut bytes = Vec::new();
        dialect(false).delivery(0, 9, &payload, &mut bytes);
        let Some((taken, Inbound::Message(frame))) = dialect(false).next(&bytes) else { panic!("one message") };
        assert_eq!(taken, bytes.len());
        assert_eq!(marker::Reader::new().read(frame).next(), Some(Marker { intended: 5, number: 9 }));
        let value: serde_json::Value = serde_json::from_slice(frame).expect("a message is JSON");
        assert_eq!(value["type"], "POST");
        assert!(value["record"]["data"].as_str().is_some_and(|data| data.starts_with("T=5,9;")), "{value}");
        assert_eq!(value["record"]["uniqueId"].as_str().map(str::len), Some(32));
    }

    #[test]
    fn the_position_is_the_messages_end_and_a_reset_is_a_gap() {
        let mut cursor = b"old".to_vec();
        dialect(true).cursor(br#"{"type":"POST","record":{"data":1},"seq":12}"#, &mut cursor);
        assert_eq!(cursor, b"12");
        for other in [&br#"{"type":"POST","record":{"data":{"a":1,"seq":13}}}"#[..], br#"{"type":"POST","seq":}"#, b"13}", b""] {
            dialect(true).cursor(other, &mut cursor);
            assert_eq!(cursor, b"12", "{}", String::from_utf8_lossy(other));
        }
        assert!(dialect(true).declares_gap(br#"{"type":"RESET","seq":14}"#));
        assert!(!dialect(true).declares_gap(br#"{"type":"POST","record":{"data":"{\"type\":\"RESET\","},"seq":15}"#));
    }
}
