//! What follows a subscription's prefix in a data frame: the message, and where it stands in its stream.

use super::identifier::DEPTH_MAX;
use crate::json;
use crate::message::{Encoder, Message};

/// `payload}`
pub struct Base;

/// `payload,"stream_id":"…","epoch":"…","offset":N}`, without a position for what has none.
pub struct Extended;

impl Encoder for Base {
    fn encode(&self, message: &Message, out: &mut Vec<u8>) {
        payload(message, out);
        out.push(b'}');
    }
}

impl Encoder for Extended {
    fn encode(&self, message: &Message, out: &mut Vec<u8>) {
        payload(message, out);
        if message.offset > 0 {
            out.extend_from_slice(b",\"stream_id\":");
            serde_json::to_writer(&mut *out, message.topic.as_str()).expect("a string is always JSON, and a vector takes it");
            out.extend_from_slice(b",\"epoch\":\"");
            out.extend_from_slice(itoa::Buffer::new().format(message.epoch).as_bytes());
            out.extend_from_slice(b"\",\"offset\":");
            out.extend_from_slice(itoa::Buffer::new().format(message.offset).as_bytes());
        }
        out.push(b'}');
    }
}

/// The JSON text, or what another dialect published that is none, as a JSON string.
fn payload(message: &Message, out: &mut Vec<u8>) {
    let begins = out.len();
    if json::compact(&message.payload, out, DEPTH_MAX).is_err() {
        out.truncate(begins);
        let text = String::from_utf8_lossy(&message.payload);
        serde_json::to_writer(out, &*text).expect("a string is always JSON, and a vector takes it");
    }
}

/// The epoch as [`Extended`] writes it.
pub fn epoch(text: &str) -> Option<u64> {
    let number = text.parse().ok()?;
    (itoa::Buffer::new().format(number) == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Stamp;

    fn encoded(encoder: &dyn Encoder, topic: &str, payload: &str, position: (u64, u64)) -> String {
        let mut message = Message::new(Stamp::default(), topic.into(), 1, payload.as_bytes().into());
        (message.epoch, message.offset) = position;
        let mut out = Vec::new();
        encoder.encode(&message, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn any_payload_becomes_json() {
        for (payload, expected) in [
            (r#"{ "b":1.0, "a":12345678901234567890 }"#, r#"{"b":1.0,"a":12345678901234567890}}"#),
            ("null", "null}"),
            ("<b>", "\"<b>\"}"),
            ("he said \"hi\"\n", "\"he said \\\"hi\\\"\\n\"}"),
        ] {
            assert_eq!(encoded(&Base, "a", payload, (9, 1)), expected);
        }
    }

    #[test]
    fn a_position_stands_behind_the_message_if_it_has_one() {
        assert_eq!(encoded(&Extended, "a", "1", (0, 0)), "1}");
        let expected = r#"1,"stream_id":"a\"b","epoch":"9","offset":3}"#;
        assert_eq!(encoded(&Extended, "a\"b", "1", (9, 3)), expected);
        assert_eq!(epoch("9"), Some(9));
        for bad in ["", "09", "+9", "9x", "99999999999999999999"] {
            assert_eq!(epoch(bad), None, "{bad}");
        }
    }
}
