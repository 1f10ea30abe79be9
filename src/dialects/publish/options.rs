//! `[publish]`: what of the native ingest can be set.

use crate::units::size;
use serde::{Deserialize, Deserializer, de::Error};

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    pub enabled: bool,
    /// Exact, for `POST` and for the WebSocket.
    #[serde(deserialize_with = "path")]
    pub path: String,
    /// Of a request's body, and of a WebSocket message.
    #[serde(deserialize_with = "size")]
    pub body_bytes_max: u64,
    /// Messages of one array.
    pub batch_max: usize,
    /// WebSocket messages without an answer; beyond it the server reads no more until answers have gone out.
    pub unanswered_max: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            enabled: true,
            path: "/publish".to_owned(),
            body_bytes_max: 1024 * 1024,
            batch_max: 1_000,
            unanswered_max: 1_024,
        }
    }
}

fn path<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    String::deserialize(from)
        .ok()
        .filter(|path| path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#%".contains(&byte)))
        .ok_or_else(|| D::Error::custom("expected a path like \"/publish\": visible ASCII without ?, # and %"))
}
