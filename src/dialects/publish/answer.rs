//! What a publisher is told: the same bodies over HTTP and over the WebSocket.

use crate::exchange::{Published, Refusal};
use crate::http::body::BodyError;
use crate::http::response::Response;
use crate::message::TopicName;
use serde_json::json;
use std::borrow::Cow;

/// Why nothing was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub status: u16,
    pub error: Cow<'static, str>,
    /// Which element of the array (0 for a lone object) is at fault.
    pub index: Option<usize>,
}

impl Rejection {
    pub const UNAUTHORIZED: Rejection = Rejection::new(401, "Missing or invalid key");
    pub const BAD_HANDSHAKE: Rejection = Rejection::new(400, "Bad WebSocket handshake");
    const BUSY: Rejection = Rejection::new(503, "Busy");
    const STORAGE_UNAVAILABLE: Rejection = Rejection::new(503, "Storage unavailable");

    pub const fn new(status: u16, error: &'static str) -> Rejection {
        Rejection { status, error: Cow::Borrowed(error), index: None }
    }

    pub fn at(index: usize, status: u16, error: impl Into<Cow<'static, str>>) -> Rejection {
        Rejection { status, error: error.into(), index: Some(index) }
    }

    /// `{"error":…}` or `{"error":…,"index":…}`.
    pub fn body(&self) -> String {
        let error = json!(self.error);
        match self.index {
            Some(index) => format!(r#"{{"error":{error},"index":{index}}}"#),
            None => format!(r#"{{"error":{error}}}"#),
        }
    }

    pub fn response(&self) -> Response {
        let response = Response::new(self.status).content_type("application/json").body(self.body());
        match self.status {
            401 => response.field("WWW-Authenticate", "Bearer"),
            503 => response.field("Retry-After", "1"),
            _ => response,
        }
    }
}

impl From<BodyError> for Rejection {
    fn from(refused: BodyError) -> Rejection {
        match refused {
            BodyError::TooLarge => Rejection::new(413, "Body too large"),
            BodyError::Malformed => Rejection::new(400, "Body not valid"),
        }
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Rejection {
        match refusal {
            // Bounds of the server; the first two are answers to joins only.
            Refusal::TopicMissing | Refusal::TopicFull | Refusal::TooManyTopics | Refusal::OutOfMemory | Refusal::Busy => {
                Rejection::BUSY
            }
            Refusal::StorageUnavailable => Rejection::STORAGE_UNAVAILABLE,
        }
    }
}

/// What must be remembered of a publication until it is answered.
#[derive(Debug)]
pub struct Asked {
    pub topics: Vec<TopicName>,
    /// The publisher sent an array, and gets one.
    pub array: bool,
}

impl Asked {
    /// `{"topic":…,"seq":…,"time":…,"tag":…}`, or an array of such, in the order of the entries.
    pub fn body(&self, published: &[Published]) -> String {
        let mut out = String::with_capacity(80 * published.len() + 2);
        if self.array {
            out.push('[');
        }
        for (index, (topic, published)) in self.topics.iter().zip(published).enumerate() {
            if index > 0 {
                out.push(',');
            }
            let stamp = published.stamp;
            out.push_str(r#"{"topic":"#);
            out.push_str(&json!(topic.as_str()).to_string());
            out.push_str(&format!(r#","seq":{},"time":{},"tag":{}"#, stamp.seq.0, stamp.seconds, stamp.tag));
            out.push_str(if published.duplicate { r#","duplicate":true}"# } else { "}" });
        }
        if self.array {
            out.push(']');
        }
        out
    }
}
