//! Action Cable over its websocket: `ApiChannel` with a key, one subscription of all topics of a connection.
use std::fmt::Write as _;

use super::{Answer, Dialect, Inbound, upgrade_offering, upgraded, websocket_item, websocket_pong};
use crate::frames;

pub struct ActionCable {
    pub host: String,
    /// What `ApiChannel` asks for.
    pub key: String,
    /// Every connection has an identifier of its own, as clients with keys of their own do.
    pub distinct: bool,
    /// The protocol that tells positions, so that a connection can go on from its last one.
    pub extended: bool,
}

/// metasmoke's models; a topic is one of them with a type.
const MODELS: [&str; 31] = [
    "posts",
    "feedbacks",
    "flag_logs",
    "statistics",
    "announcements",
    "abuse_comments",
    "abuse_contacts",
    "abuse_reports",
    "abuse_report_statuses",
    "api_keys",
    "api_tokens",
    "deletion_logs",
    "domain_links",
    "domain_tags",
    "flags",
    "flag_conditions",
    "flag_settings",
    "github_tokens",
    "moderator_sites",
    "post_comments",
    "reasons",
    "review_items",
    "review_queues",
    "review_results",
    "roles",
    "sites",
    "smoke_detectors",
    "spam_domains",
    "stack_exchange_users",
    "users",
    "user_site_settings",
];
const TYPES: [&str; 3] = ["create", "update", "destroy"];

/// Topics that there are.
pub const TOPICS_MAX: u32 = (MODELS.len() * TYPES.len()) as u32;

fn model_and_type(topic: u32) -> (&'static str, &'static str) {
    let topic = topic as usize % (MODELS.len() * TYPES.len());
    (MODELS[topic % MODELS.len()], TYPES[topic / MODELS.len()])
}

impl ActionCable {
    /// The identifier as a JSON string.
    fn token(&self, connection: u32, topics: &[u32]) -> String {
        let events: Vec<String> = topics
            .iter()
            .map(|&topic| {
                let (model, kind) = model_and_type(topic);
                format!("{model}#{kind}")
            })
            .collect();
        let number = if self.distinct { connection } else { 0 };
        format!(
            "\"{{\\\"channel\\\":\\\"ApiChannel\\\",\\\"key\\\":\\\"{}\\\",\\\"events\\\":\\\"{}\\\",\\\"n\\\":\\\"{number:08}\\\"}}\"",
            self.key,
            events.join(";")
        )
    }
}

/// Longest tail of a data frame that holds its position.
const TAIL_BYTES: usize = 80;

impl Dialect for ActionCable {
    fn topic(&self, topic: u32) -> String {
        let (model, kind) = model_and_type(topic);
        format!("api:{model}_{kind}")
    }

    /// The command is sent right behind the request: the server takes it after its welcome.
    fn subscribe(&self, connection: u32, topics: &[u32], cursor: &[u8], out: &mut Vec<u8>) {
        let offered = if self.extended { "actioncable-v1-ext-json" } else { "actioncable-v1-json, actioncable-unsupported" };
        upgrade_offering("/cable", &self.host, None, Some(offered), out);
        let mut command = format!("{{\"command\":\"subscribe\",\"identifier\":{}", self.token(connection, topics));
        if let (Ok(position), [topic]) = (std::str::from_utf8(cursor), topics)
            && !position.is_empty()
        {
            let _ = write!(command, ",\"history\":{{\"streams\":{{\"{}\":{{{position}}}}}}}", self.topic(*topic));
        }
        command.push('}');
        frames::write_masked(out, frames::TEXT, command.as_bytes());
    }

    /// The subscription stands with its confirm, behind the 101 and the welcome.
    fn answer(&self, bytes: &[u8]) -> Answer {
        let mut taken = match upgraded(bytes) {
            Answer::Accepted(head) => head,
            other => return other,
        };
        while let Some((item, inbound)) = websocket_item(&bytes[taken..]) {
            taken += item;
            match inbound {
                Inbound::Message(text) if text.ends_with(b"\"type\":\"confirm_subscription\"}") => {
                    return Answer::Accepted(taken);
                }
                Inbound::Message(text) if text.ends_with(b"\"type\":\"reject_subscription\"}") => return Answer::Refused,
                Inbound::Message(_) | Inbound::Ping(_) | Inbound::Beat | Inbound::Quiet => {}
                Inbound::End(_) => return Answer::Refused,
            }
        }
        Answer::Partial
    }

    fn next<'a>(&self, bytes: &'a [u8]) -> Option<(usize, Inbound<'a>)> {
        let (taken, inbound) = websocket_item(bytes)?;
        let inbound = match inbound {
            Inbound::Message(text) if text.starts_with(b"{\"type\":\"ping\"") => Inbound::Beat,
            // The close that follows says the rest.
            Inbound::Message(text) if text.starts_with(b"{\"type\":\"") => Inbound::Quiet,
            other => other,
        };
        Some((taken, inbound))
    }

    fn pong(&self, payload: &[u8], out: &mut Vec<u8>) {
        websocket_pong(payload, out);
    }

    fn delivery(&self, topic: u32, _number: u64, payload: &[u8], out: &mut Vec<u8>) {
        let mut text = format!("{{\"identifier\":{},\"message\":", self.token(0, &[topic])).into_bytes();
        text.extend_from_slice(payload);
        text.push(b'}');
        frames::write_unmasked(out, frames::TEXT, &text);
    }

    fn cursor(&self, item: &[u8], cursor: &mut Vec<u8>) {
        // They come last in a frame, so no payload can stand in for them.
        let tail = item.get(item.len().saturating_sub(TAIL_BYTES)..).unwrap_or_default();
        if let Some(at) = memchr::memmem::rfind(tail, b",\"epoch\":\"")
            && let Some(position) = tail.get(at + 1..tail.len() - 1)
            && tail.ends_with(b"}")
        {
            cursor.clear();
            cursor.extend_from_slice(position);
        }
    }

    fn declares_gap(&self, item: &[u8]) -> bool {
        item.ends_with(b"\"type\":\"reject_history\"}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marker::{self, Marker};

    fn dialect() -> ActionCable {
        ActionCable { host: "127.0.0.1:1".into(), key: "dev".into(), distinct: true, extended: true }
    }

    fn unmasked(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        frames::write_unmasked(&mut out, frames::TEXT, text.as_bytes());
        out
    }

    #[test]
    fn the_request_carries_its_subscribe_and_the_position() {
        let text = |connection, cursor: &[u8]| {
            let mut out = Vec::new();
            dialect().subscribe(connection, &[0], cursor, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        let first = text(7, b"");
        assert!(
            first.starts_with("GET /cable HTTP/1.1\r\n") && first.contains("Sec-WebSocket-Protocol: actioncable-v1-ext-json\r\n")
        );
        let identifier = r#""{\"channel\":\"ApiChannel\",\"key\":\"dev\",\"events\":\"posts#create\",\"n\":\"00000007\"}""#;
        let command = format!("{{\"command\":\"subscribe\",\"identifier\":{identifier}}}");
        assert!(first.ends_with(&command), "{first}");
        let command: serde_json::Value = serde_json::from_str(&command).expect("a command is JSON");
        let inside = command["identifier"].as_str().expect("a string");
        assert!(serde_json::from_str::<serde_json::Value>(inside).is_ok(), "{inside}");
        let again = text(7, b"\"epoch\":\"9\",\"offset\":4");
        assert!(again.ends_with(r#","history":{"streams":{"api:posts_create":{"epoch":"9","offset":4}}}}"#), "{again}");
    }

    #[test]
    fn it_stands_with_the_confirm_and_not_before() {
        let mut bytes =
            b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n".to_vec();
        bytes.extend(unmasked(r#"{"type":"welcome"}"#));
        let mut rejected = bytes.clone();
        rejected.extend(unmasked(r#"{"identifier":"x","type":"reject_subscription"}"#));
        assert_eq!(dialect().answer(&rejected), Answer::Refused);
        bytes.extend(unmasked(r#"{"identifier":"x","type":"confirm_subscription"}"#));
        for cut in 0..bytes.len() {
            assert_eq!(dialect().answer(&bytes[..cut]), Answer::Partial, "{cut}");
        }
        assert_eq!(dialect().answer(&bytes), Answer::Accepted(bytes.len()));
    }

    #[test]
    fn a_delivery_reads_back_as_one_message_and_a_ping_as_a_beat() {
        let mut payload = Vec::new();
        marker::write(&mut payload, &Marker { intended: 5, number: 9 }, 128);
        let mut bytes = Vec::new();
        dialect().delivery(0, 9, &payload, &mut bytes);
        let Some((taken, Inbound::Message(frame))) = dialect().next(&bytes) else { panic!("one message") };
        assert_eq!(taken, bytes.len());
        assert_eq!(marker::Reader::new().read(frame).next(), Some(Marker { intended: 5, number: 9 }));
        let ping = unmasked(r#"{"type":"ping","message":1795191434}"#);
        assert_eq!(dialect().next(&ping), Some((ping.len(), Inbound::Beat)));
    }

    #[test]
    fn the_position_is_the_frames_end_and_a_rejected_history_is_a_gap() {
        let mut cursor = b"old".to_vec();
        let frame = br#"{"identifier":"x","message":1,"stream_id":"api:posts_create","epoch":"1795","offset":12}"#;
        dialect().cursor(frame, &mut cursor);
        assert_eq!(cursor, br#""epoch":"1795","offset":12"#);
        dialect().cursor(br#"{"identifier":"x","message":1}"#, &mut cursor);
        assert_eq!(cursor.len(), 26, "a frame without a position leaves the last one");
        assert!(dialect().declares_gap(br#"{"identifier":"x","type":"reject_history"}"#));
    }

    #[test]
    fn every_topic_is_a_stream_of_its_own() {
        let names: std::collections::BTreeSet<String> = (0..TOPICS_MAX).map(|topic| dialect().topic(topic)).collect();
        assert_eq!(names.len(), TOPICS_MAX as usize);
        assert_eq!(dialect().topic(0), "api:posts_create");
    }
}
