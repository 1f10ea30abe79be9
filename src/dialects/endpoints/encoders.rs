//! What listeners are sent: each change as one text frame, and what comes before the first one if they ask for it.

use crate::message::{Encoder, EncodingId, Message, Seq};
use crate::record::{RecordList, write_record};
use crate::session::Encoders;
use crate::websocket::encoder;
use std::sync::Arc;

/// The two encodings of a change.
#[derive(Clone, Copy)]
pub struct Encodings {
    /// As the documents have it.
    pub plain: EncodingId,
    /// With its place in the order: `fw_seq=1`.
    pub numbered: EncodingId,
}

impl Encodings {
    pub fn new(encoders: &mut Encoders) -> Encodings {
        Encodings {
            plain: encoders.add("endpoints".to_owned(), Arc::new(Plain)),
            numbered: encoders.add("endpoints with seq".to_owned(), Arc::new(Numbered)),
        }
    }
}

struct Plain;

impl Encoder for Plain {
    fn encode(&self, message: &Message, out: &mut Vec<u8>) {
        encoder::text_header(message.payload.len(), out);
        out.extend_from_slice(&message.payload);
    }
}

struct Numbered;

impl Encoder for Numbered {
    fn encode(&self, message: &Message, out: &mut Vec<u8>) {
        // An object; its end comes behind the number.
        let open = message.payload.strip_suffix(b"}").unwrap_or(&message.payload);
        let mut digits = itoa::Buffer::new();
        let number = digits.format(message.stamp.seq.0);
        encoder::text_header(open.len() + b",\"seq\":}".len() + number.len(), out);
        out.extend_from_slice(open);
        end(number, out);
    }
}

/// The end of an object whose last member is a place in the order.
fn end(number: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"seq\":");
    out.extend_from_slice(number.as_bytes());
    out.push(b'}');
}

/// Tells one that it has missed something which is gone: it has to read the records anew, and hears what comes after `at`.
pub fn reset(at: Seq) -> Vec<u8> {
    let mut text = b"{\"type\":\"RESET\"".to_vec();
    end(itoa::Buffer::new().format(at.0), &mut text);
    encoder::text(&text)
}

/// The records as they are at this place of the order.
pub fn snapshot(records: &RecordList, at: Seq) -> Vec<u8> {
    let mut text = Vec::with_capacity(list_bytes(records) + 64);
    text.extend_from_slice(b"{\"type\":\"SNAPSHOT\",\"records\":[");
    for (index, record) in records.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        write_record(record, &mut text);
    }
    text.push(b']');
    end(itoa::Buffer::new().format(at.0), &mut text);
    encoder::text(&text)
}

/// What a record has beside its data, with the comma behind it.
const RECORD_BYTES: usize =
    r#"{"data":,"uniqueId":"","updatedAt":"","createdAt":""},"#.len() + 32 + 2 * "2021-06-28T17:18:44.000Z".len();

/// Bytes of an array of these records, whatever the order of their members.
pub fn list_bytes(records: &RecordList) -> usize {
    // The last comma is not there, and the brackets are.
    records.bytes() as usize + records.len() * RECORD_BYTES + 2 - usize::from(!records.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::testing::records;
    use super::*;
    use crate::message::{Stamp, TopicName};

    fn frame(encoder: &dyn Encoder, payload: &str) -> Vec<u8> {
        let stamp = Stamp { seq: Seq(1_795_191_466_000_123), ..Stamp::default() };
        let message = Message::new(stamp, TopicName::from("$endpoint"), 1, payload.as_bytes().into());
        let mut out = Vec::new();
        encoder.encode(&message, &mut out);
        out
    }

    #[test]
    fn a_change_is_sent_as_it_is_and_with_its_number_to_those_who_ask() {
        let event = r#"{"type":"DELETE","record":{}}"#;
        assert_eq!(frame(&Plain, event), encoder::text(event.as_bytes()));
        let numbered = r#"{"type":"DELETE","record":{},"seq":1795191466000123}"#;
        assert_eq!(frame(&Numbered, event), encoder::text(numbered.as_bytes()));
    }

    #[test]
    fn what_comes_first_ends_with_its_place() {
        assert_eq!(reset(Seq(7)), encoder::text(br#"{"type":"RESET","seq":7}"#));
        assert_eq!(snapshot(&RecordList::default(), Seq(7)), encoder::text(br#"{"type":"SNAPSHOT","records":[],"seq":7}"#));
        let record = |id: &str| {
            format!(
                r#"{{"data":[1.0],"uniqueId":"{id}0000000000000000","updatedAt":"1970-01-01T00:00:02.500Z","createdAt":"1970-01-01T00:00:01.000Z"}}"#
            )
        };
        let (one, two) = (record("0000000000000001"), record("0000000000000002"));
        let expected = format!(r#"{{"type":"SNAPSHOT","records":[{one},{two}],"seq":7}}"#);
        assert_eq!(snapshot(&records(2, "[1.0]"), Seq(7)), encoder::text(expected.as_bytes()));
    }

    #[test]
    fn the_size_of_a_list_is_known_before_it_is_written() {
        for count in [0, 1, 2, 1_000] {
            let list = records(count, "\"some data\"");
            let mut text = Vec::new();
            list.iter().for_each(|record| {
                write_record(record, &mut text);
                text.push(b',');
            });
            assert_eq!(list_bytes(&list), text.len().saturating_sub(1) + 2, "{count}");
        }
    }
}
