//! The five ways to listen through push_stream, and the messages that come out of them.

use super::client::{Client, Response};
use super::{Door, date};
use serde_json::value::RawValue;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    WebSocket,
    LongPoll,
    ShortPoll,
    Stream,
    EventSource,
}

impl Mode {
    pub const ALL: [Mode; 5] = [Mode::WebSocket, Mode::LongPoll, Mode::ShortPoll, Mode::Stream, Mode::EventSource];
    pub const HTTP: [Mode; 4] = [Mode::LongPoll, Mode::ShortPoll, Mode::Stream, Mode::EventSource];
    /// Those that stay and get message after message.
    pub const HELD: [Mode; 3] = [Mode::WebSocket, Mode::Stream, Mode::EventSource];

    pub fn path(self) -> &'static str {
        match self {
            Mode::WebSocket => "/websocket/",
            Mode::LongPoll => "/longpoll/",
            Mode::ShortPoll => "/shortpoll/",
            Mode::Stream => "/stream/",
            Mode::EventSource => "/ev/",
        }
    }
}

/// One message in the document's form, with the exact text that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub text: String,
    pub id: i64,
    pub channel: String,
    /// The raw JSON text.
    pub message: String,
    pub tag: u64,
    pub time: String,
    pub seconds: u64,
}

impl Envelope {
    /// Fails the test unless the text is exactly in the document's form.
    #[track_caller]
    pub fn parse(text: &str) -> Envelope {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Form<'a> {
            id: i64,
            channel: String,
            #[serde(borrow)]
            message: &'a RawValue,
            tag: String,
            time: String,
        }
        let form: Form<'_> = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
        let rebuilt = format!(
            "{{\"id\":{},\"channel\":\"{}\",\"message\":{},\"tag\":\"{}\",\"time\":\"{}\"}}",
            form.id, form.channel, form.message, form.tag, form.time
        );
        assert_eq!(text, rebuilt, "the document's form");
        Envelope {
            text: text.to_owned(),
            id: form.id,
            channel: form.channel,
            message: form.message.get().to_owned(),
            tag: form.tag.parse().unwrap_or_else(|_| panic!("a tag: {text}")),
            seconds: super::seconds_of(&form.time),
            time: form.time,
        }
    }

    pub fn position(&self) -> (u64, u64) {
        (self.seconds, self.tag)
    }

    /// The query arguments that resume after this message.
    pub fn cursor(&self) -> String {
        cursor(self.seconds, self.tag)
    }
}

pub fn cursor(seconds: u64, tag: u64) -> String {
    format!("tag={tag}&time={}", escaped(&date(seconds)))
}

/// The cursor of one who has nothing yet and wants everything.
pub fn epoch() -> String {
    cursor(0, 0)
}

/// Percent-encodes everything but letters, digits, `-`, `.` and `_`.
pub fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// One request of a mode on its own connection.
pub struct Subscriber {
    pub mode: Mode,
    pub client: Client,
    /// The head of a held mode; polls have none yet.
    pub head: Option<Response>,
    /// What an eventsource sent beyond the last event, without chunk framing.
    pub body: Vec<u8>,
}

impl Subscriber {
    /// Sends the request; held modes have read their head (and eventsource its first line) when this returns.
    #[track_caller]
    pub fn begin(door: &Door, reactor: usize, mode: Mode, channels: &str, query: &str, fields: &str) -> Subscriber {
        let separator = if query.is_empty() { "" } else { "&" };
        let target = format!("{}{channels}?auth_token={}{separator}{query}", mode.path(), door.token);
        Subscriber::request(Client::on(door, reactor), mode, &target, fields)
    }

    #[track_caller]
    pub fn request(mut client: Client, mode: Mode, target: &str, fields: &str) -> Subscriber {
        let head = match mode {
            Mode::WebSocket => {
                let answer = client.ask_upgrade(target, fields);
                assert_eq!(answer.status, 101, "{answer:?}");
                Some(answer)
            }
            Mode::Stream | Mode::EventSource => {
                client.send_get(target, fields);
                let head = client.head();
                assert_eq!(head.status, 200, "{head:?}");
                assert_eq!(head.field("Transfer-Encoding"), Some("chunked"));
                Some(head)
            }
            Mode::LongPoll | Mode::ShortPoll => {
                client.send_get(target, fields);
                None
            }
        };
        let mut subscriber = Subscriber { mode, client, head, body: Vec::new() };
        if mode == Mode::EventSource {
            assert_eq!(subscriber.line(), ": ");
        }
        subscriber
    }

    /// The next line of an eventsource, without its end.
    #[track_caller]
    pub fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.body.iter().position(|&byte| byte == b'\n') {
                let mut line: Vec<u8> = self.body.drain(..=end).collect();
                line.pop();
                return String::from_utf8(line).expect("UTF-8");
            }
            let chunk = self.client.chunk();
            assert!(!chunk.is_empty(), "ended early; so far: {:?}", String::from_utf8_lossy(&self.body));
            self.body.extend_from_slice(&chunk);
        }
    }

    /// Is there anything that the test has not taken yet?
    pub fn has_bytes(&mut self) -> bool {
        !self.body.is_empty() || self.client.has_bytes()
    }

    /// The rendered text of the next message of a held mode.
    #[track_caller]
    pub fn text(&mut self) -> String {
        match self.mode {
            Mode::WebSocket => self.client.text(),
            Mode::Stream => {
                let chunk = String::from_utf8(self.client.chunk()).expect("UTF-8");
                chunk.strip_suffix('\n').unwrap_or_else(|| panic!("one message per chunk: {chunk:?}")).to_owned()
            }
            Mode::EventSource => self.event().data,
            Mode::LongPoll | Mode::ShortPoll => panic!("a poll has an answer, not messages"),
        }
    }

    #[track_caller]
    pub fn envelope(&mut self) -> Envelope {
        Envelope::parse(&self.text())
    }

    /// The next event of an eventsource.
    #[track_caller]
    pub fn event(&mut self) -> Event {
        let mut event = Event::default();
        let mut data = Vec::new();
        loop {
            let line = self.line();
            if line.is_empty() {
                event.data = data.join("\n");
                return event;
            }
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("a line of an event: {line:?}"));
            match name {
                "id" => event.id = Some(value.to_owned()),
                "event" => event.kind = Some(value.to_owned()),
                "data" => data.push(value.to_owned()),
                _ => panic!("a line of an event: {line:?}"),
            }
        }
    }

    /// The answer of a poll.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.client.response()
    }

    /// The messages that the request replays, which must be so many; a long poll that gets none waits.
    #[track_caller]
    pub fn replayed(&mut self, count: usize) -> Vec<Envelope> {
        match self.mode {
            Mode::WebSocket | Mode::Stream | Mode::EventSource => (0..count).map(|_| self.envelope()).collect(),
            Mode::LongPoll if count == 0 => Vec::new(),
            Mode::LongPoll | Mode::ShortPoll => {
                let answer = self.response();
                if count == 0 {
                    assert_eq!(answer.status, 304, "{answer:?}");
                    return Vec::new();
                }
                answer.envelopes()
            }
        }
    }
}

/// One event of an eventsource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub id: Option<String>,
    pub kind: Option<String>,
    pub data: String,
}
