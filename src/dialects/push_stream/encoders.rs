//! The bytes of a message on each transport: made once, shared by everyone who listens that way.

use super::options::Options;
use super::template::Template;
use crate::message::{Encoder, EncodingId, Message};
use crate::session::Encoders;
use crate::websocket::encoder::text_header;
use std::sync::Arc;

/// One way of sending: what the hub's messages are encoded with, and what control messages are rendered with.
#[derive(Clone)]
pub struct Encoding {
    pub id: EncodingId,
    pub encoder: Arc<dyn Encoder>,
}

impl Encoding {
    /// The bytes of a message that only one client gets.
    pub fn once(&self, message: &Message) -> Vec<u8> {
        let mut out = Vec::new();
        self.encoder.encode(message, &mut out);
        out
    }
}

/// All encodings of one deployment.
pub struct Encodings {
    pub websocket: Encoding,
    pub poll: Encoding,
    pub stream_chunked: Encoding,
    pub stream_plain: Encoding,
    pub eventsource_chunked: Encoding,
    pub eventsource_plain: Encoding,
}

impl Encodings {
    pub fn new(options: &Options, encoders: &mut Encoders) -> Encodings {
        let template = Arc::new(Template::parse(&options.message_template));
        let separator = options.message_separator.as_bytes();
        let mut add = |kind: &str, separated: bool, encoder: Arc<dyn Encoder>| {
            let separator = if separated { &*options.message_separator } else { "" };
            let key = format!("push_stream {kind} {:?} {separator:?}", options.message_template);
            Encoding { id: encoders.add(key, encoder.clone()), encoder }
        };
        let stream = |chunked| Arc::new(StreamChunk { template: template.clone(), separator: separator.into(), chunked });
        let event = |chunked| Arc::new(Event { template: template.clone(), chunked });
        Encodings {
            websocket: add("websocket", false, Arc::new(WebSocketFrame { template: template.clone() })),
            poll: add("poll", false, Arc::new(PollPart { template: template.clone() })),
            stream_chunked: add("stream chunked", true, stream(true)),
            stream_plain: add("stream plain", true, stream(false)),
            eventsource_chunked: add("eventsource chunked", false, event(true)),
            eventsource_plain: add("eventsource plain", false, event(false)),
        }
    }
}

/// One text frame, shortest length form.
struct WebSocketFrame {
    template: Arc<Template>,
}

impl Encoder for WebSocketFrame {
    fn encode(&self, message: &Message, out: &mut Vec<u8>) {
        let mut text = Vec::with_capacity(message.payload.len() + 160);
        self.template.render(message, &mut text);
        text_header(text.len(), out);
        out.extend_from_slice(&text);
    }
}

/// A part of a poll's body; the poll puts the separators.
struct PollPart {
    template: Arc<Template>,
}

impl Encoder for PollPart {
    fn encode(&self, message: &Message, out: &mut Vec<u8>) {
        self.template.render(message, out);
    }
}

/// Template and separator.
struct StreamChunk {
    template: Arc<Template>,
    separator: Box<[u8]>,
    chunked: bool,
}

impl Encoder for StreamChunk {
    fn encode(&self, message: &Message, out: &mut Vec<u8>) {
        let mut text = Vec::with_capacity(message.payload.len() + 160);
        self.template.render(message, &mut text);
        text.extend_from_slice(&self.separator);
        frame(&text, self.chunked, out);
    }
}

/// An event of `text/event-stream`.
struct Event {
    template: Arc<Template>,
    chunked: bool,
}

impl Encoder for Event {
    fn encode(&self, message: &Message, out: &mut Vec<u8>) {
        let mut text = Vec::with_capacity(message.payload.len() + 160);
        self.template.render(message, &mut text);
        let mut event = Vec::with_capacity(text.len() + 48);
        event.extend_from_slice(b"id: ");
        match message.event_id() {
            Some(id) => event.extend_from_slice(id),
            None => {
                let (seconds, tag) = message.stamp.position();
                event.extend_from_slice(format!("{seconds}:{tag}").as_bytes());
            }
        }
        event.push(b'\n');
        if let Some(kind) = message.event_type() {
            event.extend_from_slice(b"event: ");
            event.extend_from_slice(kind);
            event.push(b'\n');
        }
        for line in lines(&text) {
            event.extend_from_slice(b"data: ");
            event.extend_from_slice(line);
            event.push(b'\n');
        }
        event.push(b'\n');
        frame(&event, self.chunked, out);
    }
}

/// Comment lines of an eventsource: header and footer.
pub fn comment(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines(text.as_bytes()) {
        out.extend_from_slice(b": ");
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out
}

/// A chunk of a chunked body, or the bytes alone on HTTP/1.0.
pub fn frame(bytes: &[u8], chunked: bool, out: &mut Vec<u8>) {
    if !chunked {
        out.extend_from_slice(bytes);
        return;
    }
    // A chunk of no bytes would end the body.
    if bytes.is_empty() {
        return;
    }
    out.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// The text between line ends, which are `\n`, `\r\n` and `\r`; empty lines too.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = memchr::memchr2(b'\n', b'\r', text) else {
            return rest.take();
        };
        let skip = if text[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = Some(&text[end + skip..]);
        Some(&text[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{EventFields, Seq, Stamp};

    fn encodings(options: &Options) -> Encodings {
        Encodings::new(options, &mut Encoders::default())
    }

    fn recorded() -> Options {
        Options { message_template: format!("{}\n", Options::default().message_template), ..Options::default() }
    }

    fn message(topic: &str, id: i64, tag: u32, seconds: u64, text: &str) -> Message {
        Message::new(Stamp { seq: Seq(1), seconds, tag }, topic.into(), id, Arc::from(text.as_bytes()))
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    /// PT-4 and PT-31.
    #[test]
    fn websocket_frames_are_the_recorded_ones() {
        let websocket = encodings(&recorded()).websocket;
        let frame = websocket.once(&message("ws1", 1, 1, 1_795_191_466, r#"{"m":"one"}"#));
        assert_eq!(frame[..2], [0x81, 0x60]);
        assert_eq!(
            &frame[2..],
            b"{\"id\":1,\"channel\":\"ws1\",\"message\":{\"m\":\"one\"},\"tag\":\"1\",\"time\":\"Fri, 20 Nov 2026 16:17:46 GMT\"}\n"
        );
        let frame = websocket.once(&message("big", 1, 1, 1_795_191_466, &format!("\"{}\"", "y".repeat(70_000))));
        assert_eq!(frame[..10], [0x81, 0x7f, 0, 0, 0, 0, 0, 1, 0x11, 0xc7]);
    }

    #[test]
    fn websocket_frames_use_the_shortest_length_form() {
        let websocket = encodings(&Options { message_template: "~text~".into(), ..Options::default() }).websocket;
        for (length, head) in [
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65_535, vec![0x81, 126, 255, 255]),
            (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = websocket.once(&message("a", 1, 1, 1, &"x".repeat(length)));
            assert_eq!(frame[..head.len()], head);
            assert_eq!(frame.len(), head.len() + length);
        }
    }

    /// PT-24: the separator is the line end of the recording.
    #[test]
    fn stream_chunks_are_the_recorded_ones() {
        let encodings = encodings(&Options::default());
        let message = message("st1", 1, 1, 1_795_191_487, "1");
        let body = "{\"id\":1,\"channel\":\"st1\",\"message\":1,\"tag\":\"1\",\"time\":\"Fri, 20 Nov 2026 16:18:07 GMT\"}\n";
        assert_eq!(text(encodings.stream_chunked.once(&message)), format!("56\r\n{body}\r\n"));
        assert_eq!(text(encodings.stream_plain.once(&message)), body);
        assert_eq!(text(encodings.poll.once(&message)), body.trim_end());
    }

    /// PT-26, with the empty line kept.
    #[test]
    fn events_keep_every_line() {
        let plain = encodings(&Options { message_template: "~text~".into(), ..Options::default() }).eventsource_plain;
        let mut message = message("e1", 1, 3, 1_795_191_466, "l1\nl2\r\n\rl4");
        assert_eq!(text(plain.once(&message)), "id: 1795191466:3\ndata: l1\ndata: l2\ndata: \ndata: l4\n\n");
        message.event = Some(Box::new(EventFields { id: Some((*b"77").into()), kind: Some((*b"upd").into()) }));
        message.payload = Arc::from(&b"plain\n"[..]);
        assert_eq!(text(plain.once(&message)), "id: 77\nevent: upd\ndata: plain\ndata: \n\n");
    }

    #[test]
    fn events_are_chunks_on_http_1_1() {
        let chunked = encodings(&Options { message_template: "~text~".into(), ..Options::default() }).eventsource_chunked;
        assert_eq!(text(chunked.once(&message("e1", 1, 3, 5, "x"))), "11\r\nid: 5:3\ndata: x\n\n\r\n");
    }

    #[test]
    fn comments_have_one_line_for_each_line() {
        assert_eq!(text(comment("hello\nworld")), ": hello\n: world\n");
        assert_eq!(text(comment("")), ": \n");
    }

    #[test]
    fn equal_templates_share_an_encoding_and_others_do_not() {
        let mut encoders = Encoders::default();
        let first = Encodings::new(&Options::default(), &mut encoders);
        let again = Encodings::new(&Options::default(), &mut encoders);
        assert_eq!((first.websocket.id, first.stream_plain.id), (again.websocket.id, again.stream_plain.id));
        let other = Encodings::new(&Options { message_separator: "\r\n".into(), ..Options::default() }, &mut encoders);
        assert_eq!(first.websocket.id, other.websocket.id);
        assert_ne!(first.stream_chunked.id, other.stream_chunked.id);
        let ids = [&first.websocket, &first.poll, &first.stream_chunked, &first.stream_plain, &first.eventsource_chunked];
        for (place, encoding) in ids.iter().enumerate() {
            assert!(ids[..place].iter().all(|earlier| earlier.id != encoding.id));
        }
    }
}
