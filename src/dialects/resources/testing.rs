//! What unit tests of several modules begin with.

use super::options::Options;
use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::time::Duration;

/// What a stop of the whole server may take.
pub const STOP: Duration = Duration::from_secs(35);

pub fn options(text: &str) -> Options {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A JSON web token with the secret `0123456789abcdef`.
pub fn signed(header: &str, claims: &str) -> String {
    let text = format!("{}.{}", BASE64URL_NOPAD.encode(header.as_bytes()), BASE64URL_NOPAD.encode(claims.as_bytes()));
    let mut mac = Hmac::<Sha256>::new_from_slice(b"0123456789abcdef").expect("a key of any length does");
    mac.update(text.as_bytes());
    format!("{text}.{}", BASE64URL_NOPAD.encode(&mac.finalize().into_bytes()))
}
