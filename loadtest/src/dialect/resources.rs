//! Resources over their websocket: each topic is a live configuration of one project.
use std::fmt::Write as _;

use super::{Answer, Dialect, Inbound, upgrade_with, upgraded, websocket_item, websocket_pong};
use crate::frames;

/// The project that `fanwire dev` knows.
pub const ORGANIZATION: &str = "testOrg";
pub const PROJECT: &str = "testProj";

pub struct Resources {
    pub host: String,
    /// A service key, or nothing: whoever asks.
    pub key: Option<String>,
}

/// Path of a topic's document.
pub fn path(topic: &str) -> String {
    format!("/api/realtime/resources/liveConfig/{topic}")
}

/// The fields that name the project, and the key.
pub fn fields(key: Option<&str>) -> String {
    let mut fields = format!("x-m2-organization: {ORGANIZATION}\r\nx-m2-project: {PROJECT}\r\n");
    if let Some(key) = key {
        let _ = write!(fields, "x-api-key: {key}\r\n");
    }
    fields
}

impl Dialect for Resources {
    /// The requests are sent right behind the upgrade; only the last one's reference is 0. What is stored already is not asked for.
    fn subscribe(&self, _connection: u32, topics: &[u32], _cursor: &[u8], out: &mut Vec<u8>) {
        upgrade_with("/api/realtime", &self.host, &fields(self.key.as_deref()), out);
        for (after, &topic) in (0..topics.len()).rev().zip(topics) {
            let id = self.topic(topic);
            let request = format!(
                "{{\"action\":\"subscribe\",\"resource\":{{\"type\":\"liveConfig\",\"id\":\"{id}\"}},\"snapshot\":false,\"ref\":{after}}}"
            );
            frames::write_masked(out, frames::TEXT, request.as_bytes());
        }
    }

    /// All subscriptions stand with the reply to the last request. An update of an earlier one may come before it: such a document
    /// has no reference, and the first message is published when all subscribers stand.
    fn answer(&self, bytes: &[u8]) -> Answer {
        let mut taken = match upgraded(bytes) {
            Answer::Accepted(head) => head,
            other => return other,
        };
        while let Some((item, inbound)) = websocket_item(&bytes[taken..]) {
            taken += item;
            match inbound {
                Inbound::Message(text) if memchr::memmem::find(text, b"\"error\":").is_some() => return Answer::Refused,
                Inbound::Message(text) if text.starts_with(b"{\"ref\":0,") => return Answer::Accepted(taken),
                Inbound::Message(_) | Inbound::Ping(_) | Inbound::Beat | Inbound::Quiet => {}
                Inbound::End(_) => return Answer::Refused,
            }
        }
        Answer::Partial
    }

    fn next<'a>(&self, bytes: &'a [u8]) -> Option<(usize, Inbound<'a>)> {
        websocket_item(bytes)
    }

    fn pong(&self, payload: &[u8], out: &mut Vec<u8>) {
        websocket_pong(payload, out);
    }

    fn delivery(&self, topic: u32, _number: u64, payload: &[u8], out: &mut Vec<u8>) {
        let mut text =
            format!("{{\"resource\":{{\"type\":\"liveConfig\",\"id\":\"{}\"}},\"data\":", self.topic(topic)).into_bytes();
        text.extend_from_slice(payload);
        text.extend_from_slice(b",\"version\":\"2026-11-20T16:17:46.123Z\"}");
        frames::write_unmasked(out, frames::TEXT, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marker::{self, Marker};

    fn dialect() -> Resources {
        Resources { host: "127.0.0.1:1".into(), key: None }
    }

    fn unmasked(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        frames::write_unmasked(&mut out, frames::TEXT, text.as_bytes());
        out
    }

    #[test]
    fn the_last_of_the_requests_has_reference_0() {
        let mut out = Vec::new();
        dialect().subscribe(0, &[7, 3], b"", &mut out);
        let text = String::from_utf8_lossy(&out);
        assert!(text.starts_with("GET /api/realtime HTTP/1.1\r\n") && text.contains("\r\nx-m2-project: testProj\r\n"));
        let (seven, three) =
            (text.find(r#""id":"load-7"},"snapshot":false,"ref":1}"#), text.find(r#""id":"load-3"},"snapshot":false,"ref":0}"#));
        assert!(seven.is_some() && seven < three, "{text}");
    }

    #[test]
    fn it_stands_with_the_last_reply_and_not_before() {
        let mut bytes =
            b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n".to_vec();
        bytes.extend(unmasked(
            r#"{"ref":1,"warning":"resource_not_found","message":"x","resource":{"type":"liveConfig","id":"a"}}"#,
        ));
        let mut refused = bytes.clone();
        refused.extend(unmasked(r#"{"ref":0,"error":"Forbidden","resource":{"type":"liveConfig","id":"b"}}"#));
        assert_eq!(dialect().answer(&refused), Answer::Refused);
        bytes.extend(unmasked(r#"{"ref":0,"ok":"subscribed","resource":{"type":"liveConfig","id":"b"}}"#));
        for cut in 0..bytes.len() {
            assert_eq!(dialect().answer(&bytes[..cut]), Answer::Partial, "{cut}");
        }
        assert_eq!(dialect().answer(&bytes), Answer::Accepted(bytes.len()));
    }

    #[test]
    fn a_delivery_reads_back_as_one_message() {
        let mut payload = Vec::new();
        marker::write(&mut payload, &Marker { intended: 5, number: 9 }, 128);
        let mut bytes = Vec::new();
        dialect().delivery(0, 9, &payload, &mut bytes);
        let Some((taken, Inbound::Message(frame))) = dialect().next(&bytes) else { panic!("one message") };
        assert_eq!(taken, bytes.len());
        assert_eq!(marker::Reader::new().read(frame).next(), Some(Marker { intended: 5, number: 9 }));
        assert!(serde_json::from_slice::<serde_json::Value>(frame).is_ok());
    }
}
