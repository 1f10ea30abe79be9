//! The push_stream dialect over its eventsource: one endless chunked answer.
use super::{Answer, Dialect, HEAD_BYTES_MAX, Inbound, field, head, push_stream};

pub struct EventSource {
    pub host: String,
    pub token: Option<String>,
}

/// Longest chunk that is read: 1 MiB.
const CHUNK_BYTES_MAX: usize = 1 << 20;

impl Dialect for EventSource {
    fn subscribe(&self, _connection: u32, topics: &[u32], cursor: &[u8], out: &mut Vec<u8>) {
        let names = topics.iter().map(|topic| self.topic(*topic));
        let target = push_stream::target("ev", names, self.token.as_deref(), b"");
        out.extend_from_slice(
            format!("GET {target} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n", self.host).as_bytes(),
        );
        if !cursor.is_empty() {
            out.extend_from_slice(b"Last-Event-ID: ");
            out.extend_from_slice(cursor);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    fn answer(&self, bytes: &[u8]) -> Answer {
        let Some((head, body)) = head(bytes) else {
            return if bytes.len() > HEAD_BYTES_MAX { Answer::Refused } else { Answer::Partial };
        };
        let chunked = field(head, "Transfer-Encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        if head.starts_with(b"HTTP/1.1 200 ") && chunked { Answer::Accepted(body) } else { Answer::Refused }
    }

    fn next<'a>(&self, bytes: &'a [u8]) -> Option<(usize, Inbound<'a>)> {
        let broken = Some((bytes.len(), Inbound::End(None)));
        let Some(line) = memchr::memmem::find(&bytes[..bytes.len().min(20)], b"\r\n") else {
            return if bytes.len() < 20 { None } else { broken };
        };
        let size = std::str::from_utf8(&bytes[..line]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let Some(size) = size.filter(|size| (1..=CHUNK_BYTES_MAX).contains(size)) else { return broken };
        let data = bytes.get(line + 2..line + 2 + size)?;
        let taken = line + 2 + size + 2;
        if bytes.get(taken - 2..taken)? != b"\r\n" {
            return broken;
        }
        Some((taken, if data.starts_with(b":") { Inbound::Quiet } else { Inbound::Message(data) }))
    }

    fn pong(&self, _payload: &[u8], _out: &mut Vec<u8>) {}

    fn delivery(&self, topic: u32, number: u64, payload: &[u8], out: &mut Vec<u8>) {
        let mut event = b"id: 1795200722:1\ndata: ".to_vec();
        event.extend_from_slice(&push_stream::message(&self.topic(topic), number, payload));
        event.extend_from_slice(b"\n\n");
        out.extend_from_slice(format!("{:x}\r\n", event.len()).as_bytes());
        out.extend_from_slice(&event);
        out.extend_from_slice(b"\r\n");
    }

    fn cursor(&self, item: &[u8], cursor: &mut Vec<u8>) {
        // The last event of the item counts; text inside a data line has no line of its own.
        let at = if item.starts_with(b"id: ") { Some(0) } else { None };
        let Some(at) = memchr::memmem::rfind(item, b"\nid: ").map(|at| at + 1).or(at) else { return };
        let id = &item[at + 4..];
        cursor.clear();
        cursor.extend_from_slice(&id[..memchr::memchr(b'\n', id).unwrap_or(id.len())]);
    }

    fn declares_gap(&self, item: &[u8]) -> bool {
        item.starts_with(b"HTTP/") && field(item, "X-Fanwire-Gap") == Some("1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marker::{self, Marker};

    fn dialect() -> EventSource {
        EventSource { host: "127.0.0.1:1".into(), token: Some("secret".into()) }
    }

    #[test]
    fn an_event_reads_back_whatever_way_it_is_cut() {
        let mut payload = Vec::new();
        marker::write(&mut payload, &Marker { intended: 5, number: 9 }, 128);
        let mut bytes = Vec::new();
        dialect().delivery(0, 9, &payload, &mut bytes);
        for cut in 0..bytes.len() {
            assert_eq!(dialect().next(&bytes[..cut]), None);
        }
        let Some((taken, Inbound::Message(item))) = dialect().next(&bytes) else { panic!("one message") };
        assert_eq!(taken, bytes.len());
        assert_eq!(marker::Reader::new().read(item).next(), Some(Marker { intended: 5, number: 9 }));
        let mut cursor = Vec::new();
        dialect().cursor(item, &mut cursor);
        assert_eq!(cursor, b"1795200722:1");
        dialect().cursor(b"id: 5:1\ndata: x\n\nid: 5:2\ndata: y\n\n", &mut cursor);
        assert_eq!(cursor, b"5:2");
    }

    #[test]
    fn comments_are_quiet_and_the_last_chunk_ends() {
        assert_eq!(dialect().next(b"3\r\n: \n\r\n"), Some((8, Inbound::Quiet)));
        assert_eq!(dialect().next(b"0\r\n\r\n"), Some((5, Inbound::End(None))));
        assert_eq!(dialect().next(b"3\r\nabcde"), Some((8, Inbound::End(None))));
    }

    #[test]
    fn a_resumed_request_carries_the_last_event_id_and_the_answer_may_declare_a_gap() {
        let mut out = Vec::new();
        dialect().subscribe(0, &[1], b"5:2", &mut out);
        let text = String::from_utf8(out).expect("text");
        assert!(
            text.starts_with("GET /ev/load-1?auth_token=secret HTTP/1.1\r\n") && text.ends_with("\r\nLast-Event-ID: 5:2\r\n\r\n")
        );
        let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Fanwire-Gap: 1\r\n\r\n";
        assert_eq!(dialect().answer(answer), Answer::Accepted(answer.len()));
        assert!(dialect().declares_gap(answer));
        assert_eq!(dialect().answer(b"HTTP/1.1 401 Unauthorized\r\n\r\n"), Answer::Refused);
    }
}
