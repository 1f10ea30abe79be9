//! The push_stream dialect over its long poll: one request for each answer, on one connection.
use super::{Answer, Dialect, HEAD_BYTES_MAX, Inbound, field, head, push_stream};

pub struct LongPoll {
    pub host: String,
    pub token: Option<String>,
}

/// Longest body that is read: 4 MiB would not fit the buffer, 1 MiB is far more than a run sends between two polls.
const BODY_BYTES_MAX: usize = 1 << 20;

impl LongPoll {
    fn request(&self, mode: &str, topics: &[u32], cursor: &[u8], out: &mut Vec<u8>) {
        let names = topics.iter().map(|topic| self.topic(*topic));
        let target = push_stream::target(mode, names, self.token.as_deref(), cursor);
        out.extend_from_slice(format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host).as_bytes());
    }

    /// Body and end of an answer that is whole.
    fn whole(bytes: &[u8]) -> Option<Result<usize, ()>> {
        let Some((head, body)) = head(bytes) else {
            return (bytes.len() > HEAD_BYTES_MAX).then_some(Err(()));
        };
        if !head.starts_with(b"HTTP/1.1 200 ") && !head.starts_with(b"HTTP/1.1 304 ") {
            return Some(Err(()));
        }
        let length = field(head, "Content-Length").map_or(Some(0), |length| length.parse::<usize>().ok());
        let Some(length) = length.filter(|length| *length <= BODY_BYTES_MAX) else { return Some(Err(())) };
        (bytes.len() >= body + length).then_some(Ok(body + length))
    }
}

impl Dialect for LongPoll {
    /// The first request is a short poll: its answer proves the position from which the long polls go on, and what was missed comes with it.
    fn subscribe(&self, _connection: u32, topics: &[u32], cursor: &[u8], out: &mut Vec<u8>) {
        self.request("shortpoll", topics, cursor, out);
    }

    fn answer(&self, bytes: &[u8]) -> Answer {
        match Self::whole(bytes) {
            None => Answer::Partial,
            Some(Err(())) => Answer::Refused,
            // The answer itself is the first item.
            Some(Ok(_)) => Answer::Accepted(0),
        }
    }

    fn next<'a>(&self, bytes: &'a [u8]) -> Option<(usize, Inbound<'a>)> {
        Some(match Self::whole(bytes)? {
            Ok(end) => (end, Inbound::Message(&bytes[..end])),
            Err(()) => (bytes.len(), Inbound::End(None)),
        })
    }

    fn pong(&self, _payload: &[u8], _out: &mut Vec<u8>) {}

    fn delivery(&self, topic: u32, number: u64, payload: &[u8], out: &mut Vec<u8>) {
        let text = push_stream::message(&self.topic(topic), number, payload);
        let head = "HTTP/1.1 200 OK\r\nLast-Modified: Fri, 20 Nov 2026 16:17:46 GMT\r\nEtag: W/1";
        out.extend_from_slice(format!("{head}\r\nContent-Length: {}\r\n\r\n", text.len()).as_bytes());
        out.extend_from_slice(&text);
    }

    fn polls(&self) -> bool {
        true
    }

    fn poll(&self, topics: &[u32], cursor: &[u8], out: &mut Vec<u8>) {
        self.request("longpoll", topics, cursor, out);
    }

    fn cursor(&self, item: &[u8], cursor: &mut Vec<u8>) {
        let Some((head, _)) = head(item) else { return };
        if let (Some(tag), Some(time)) = (field(head, "Etag"), field(head, "Last-Modified")) {
            push_stream::position(tag.trim_start_matches("W/").trim_matches('"'), time, cursor);
        }
    }

    fn declares_gap(&self, item: &[u8]) -> bool {
        head(item).is_some_and(|(head, _)| field(head, "X-Fanwire-Gap") == Some("1"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marker::{self, Marker};

    fn dialect() -> LongPoll {
        LongPoll { host: "127.0.0.1:1".into(), token: None }
    }

    #[test]
    fn an_answer_is_an_item_with_its_messages_and_the_position_for_the_next_request() {
        let mut payload = Vec::new();
        marker::write(&mut payload, &Marker { intended: 5, number: 9 }, 128);
        let mut bytes = Vec::new();
        dialect().delivery(0, 9, &payload, &mut bytes);
        for cut in 0..bytes.len() {
            assert_eq!((dialect().next(&bytes[..cut]), dialect().answer(&bytes[..cut])), (None, Answer::Partial));
        }
        let Some((taken, Inbound::Message(item))) = dialect().next(&bytes) else { panic!("one message") };
        assert_eq!(taken, bytes.len());
        assert_eq!(marker::Reader::new().read(item).next(), Some(Marker { intended: 5, number: 9 }));
        let (mut cursor, mut request) = (Vec::new(), Vec::new());
        dialect().cursor(item, &mut cursor);
        dialect().poll(&[0], &cursor, &mut request);
        let request = String::from_utf8(request).expect("text");
        assert!(request.starts_with("GET /longpoll/load-0?tag=1&time=Fri,+20+Nov+2026+16:17:46+GMT HTTP/1.1\r\n"), "{request}");
    }

    #[test]
    fn no_news_is_an_item_and_a_refusal_is_the_end() {
        let none = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 0\r\nX-Fanwire-Gap: 1\r\n\r\n";
        assert_eq!(dialect().answer(none), Answer::Accepted(0));
        assert_eq!(dialect().next(none), Some((none.len(), Inbound::Message(&none[..]))));
        assert!(dialect().declares_gap(none));
        let refused = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(dialect().answer(refused), Answer::Refused);
        assert_eq!(dialect().next(refused), Some((refused.len(), Inbound::End(None))));
    }
}
