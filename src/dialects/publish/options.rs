//! `[publish]`: what of the native ingest can be set.

use crate::http::target::is_plain;
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
}

impl Default for Options {
    fn default() -> Options {
        Options { enabled: true, path: "/publish".to_owned(), body_bytes_max: 1024 * 1024 }
    }
}

fn path<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    String::deserialize(from)
        .ok()
        .filter(|path| is_plain(path))
        .ok_or_else(|| D::Error::custom("expected a path like \"/publish\": visible ASCII without ?, # and %"))
}
