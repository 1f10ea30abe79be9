//! The push_stream dialect over its websocket.
use super::{Answer, Dialect, Inbound, upgrade, upgraded, websocket_item, websocket_pong};
use crate::frames;

pub struct PushStream {
    pub host: String,
    pub token: Option<String>,
}

/// Path and query of a subscription in one of the dialect's modes; `position` is a part of the query or empty.
pub fn target(mode: &str, topics: impl Iterator<Item = String>, token: Option<&str>, position: &[u8]) -> String {
    let mut target = format!("/{mode}/{}", topics.collect::<Vec<_>>().join("/"));
    let mut mark = '?';
    let position = std::str::from_utf8(position).unwrap_or_default();
    let token = token.map(|token| format!("auth_token={token}")).unwrap_or_default();
    for part in [token.as_str(), position] {
        if !part.is_empty() {
            target.push(mark);
            target.push_str(part);
            mark = '&';
        }
    }
    target
}

/// Writes a position as the query carries it.
pub fn position(tag: &str, time: &str, cursor: &mut Vec<u8>) {
    cursor.clear();
    cursor.extend_from_slice(b"tag=");
    cursor.extend_from_slice(tag.as_bytes());
    cursor.extend_from_slice(b"&time=");
    cursor.extend(time.bytes().map(|byte| if byte == b' ' { b'+' } else { byte }));
}

/// The message as its standard template makes it.
pub fn message(topic: &str, number: u64, payload: &[u8]) -> Vec<u8> {
    let mut text = format!("{{\"id\":{},\"channel\":\"{topic}\",\"message\":", number + 1).into_bytes();
    text.extend_from_slice(payload);
    text.extend_from_slice(b",\"tag\":\"1\",\"time\":\"Fri, 20 Nov 2026 16:17:46 GMT\"}");
    text
}

/// Longest tail of a message that holds its tag and its time.
const TAIL_BYTES: usize = 80;

impl Dialect for PushStream {
    fn subscribe(&self, _connection: u32, topics: &[u32], cursor: &[u8], out: &mut Vec<u8>) {
        let names = topics.iter().map(|topic| self.topic(*topic));
        upgrade(&target("websocket", names, self.token.as_deref(), cursor), &self.host, None, out);
    }

    fn answer(&self, bytes: &[u8]) -> Answer {
        upgraded(bytes)
    }

    fn next<'a>(&self, bytes: &'a [u8]) -> Option<(usize, Inbound<'a>)> {
        websocket_item(bytes)
    }

    fn pong(&self, payload: &[u8], out: &mut Vec<u8>) {
        websocket_pong(payload, out);
    }

    fn delivery(&self, topic: u32, number: u64, payload: &[u8], out: &mut Vec<u8>) {
        frames::write_unmasked(out, frames::TEXT, &message(&self.topic(topic), number, payload));
    }

    fn cursor(&self, item: &[u8], cursor: &mut Vec<u8>) {
        // They come last in the message, so no payload can stand in for them.
        let tail = item.get(item.len().saturating_sub(TAIL_BYTES)..).unwrap_or_default();
        let Some(at) = memchr::memmem::rfind(tail, b"\"tag\":\"") else { return };
        let Ok(text) = std::str::from_utf8(&tail[at..]) else { return };
        let mut parts = text.split('"');
        if let (Some(tag), Some("time"), Some(time)) = (parts.nth(3), parts.nth(1), parts.nth(1)) {
            position(tag, time, cursor);
        }
    }

    fn declares_gap(&self, item: &[u8]) -> bool {
        item.starts_with(b"{\"id\":-4,")
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
    fn the_request_names_the_channels_the_token_and_the_position() {
        let text = |cursor: &[u8]| {
            let mut out = Vec::new();
            dialect().subscribe(0, &[7, 0], cursor, &mut out);
            String::from_utf8(out).expect("a request is text")
        };
        assert!(text(b"").starts_with("GET /websocket/load-7/load-0?auth_token=secret HTTP/1.1\r\nHost: 127.0.0.1:1\r\n"));
        assert!(text(b"").ends_with("\r\n\r\n"));
        assert!(text(b"tag=1&time=x").contains("?auth_token=secret&tag=1&time=x HTTP/1.1\r\n"));
        assert_eq!(target("ev", ["a".to_owned()].into_iter(), None, b"tag=1"), "/ev/a?tag=1");
    }

    #[test]
    fn a_delivery_reads_back_as_one_message_with_its_marker_and_position() {
        let mut payload = Vec::new();
        marker::write(&mut payload, &Marker { intended: 5, number: 9 }, 128);
        let mut bytes = Vec::new();
        dialect().delivery(0, 9, &payload, &mut bytes);
        let Some((taken, Inbound::Message(frame))) = dialect().next(&bytes) else { panic!("one message") };
        assert_eq!(taken, bytes.len());
        assert_eq!(marker::Reader::new().read(frame).next(), Some(Marker { intended: 5, number: 9 }));
        assert!(serde_json::from_slice::<serde_json::Value>(frame).is_ok());
        let mut cursor = b"old".to_vec();
        dialect().cursor(frame, &mut cursor);
        assert_eq!(cursor, b"tag=1&time=Fri,+20+Nov+2026+16:17:46+GMT");
        dialect().cursor(b"something else", &mut cursor);
        assert_eq!(cursor.len(), 40, "an item without a position leaves the last one");
    }

    #[test]
    fn only_the_control_message_about_losses_declares_a_gap() {
        assert!(dialect().declares_gap(br#"{"id":-4,"channel":"","message":"Messages were lost","tag":"1","time":"x"}"#));
        assert!(!dialect().declares_gap(br#"{"id":4,"channel":"","message":"{\"id\":-4,"}"#));
    }
}
