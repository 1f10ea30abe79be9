//! Secrets and digests as they are written in a configuration.

use super::Digest;
use serde::de::{Deserialize, Deserializer, Error};
use std::fmt;
use std::path::{Path, PathBuf};

/// A secret that is never shown, not even when it is of the wrong type.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        String::deserialize(from).map(Secret).map_err(|_| D::Error::custom("expected a string"))
    }
}

/// A secret, or the file that holds it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    pub here: Option<Secret>,
    pub file: Option<PathBuf>,
}

/// What a secret is called, and what it has to be.
pub struct Kind {
    pub key: &'static str,
    pub is_required: bool,
    pub is_one: fn(&str) -> bool,
    pub expected: &'static str,
}

impl Source {
    /// The one secret that is given, in whichever form.
    ///
    /// A file is read with `read`, and may end with a line break. Tells `wrong` (key in `place`, message) of what cannot be.
    pub fn take(
        self,
        place: &str,
        kind: &Kind,
        read: &mut dyn FnMut(&Path) -> Result<String, String>,
        wrong: &mut dyn FnMut(&str, &str),
    ) -> Option<Secret> {
        let Kind { key, is_required, is_one, expected } = kind;
        match (self.here, self.file) {
            (Some(secret), None) if is_one(secret.as_str()) => return Some(secret),
            (Some(_), None) => wrong(&format!("{place}.{key}"), expected),
            (None, Some(file)) => match read(&file) {
                Ok(text) => {
                    let line = text.strip_suffix('\n').unwrap_or(&text);
                    let secret = line.strip_suffix('\r').unwrap_or(line);
                    if is_one(secret) {
                        return Some(Secret::from(secret));
                    }
                    wrong(&format!("{place}.{key}_file"), &format!("{expected} in {}", file.display()));
                }
                Err(error) => wrong(&format!("{place}.{key}_file"), &format!("cannot read {}: {error}", file.display())),
            },
            (None, None) if !is_required => {}
            (Some(_), Some(_)) if !is_required => wrong(place, &format!("expected at most one of {key} and {key}_file")),
            (Some(_), Some(_)) | (None, None) => wrong(place, &format!("expected exactly one of {key} and {key}_file")),
        }
        None
    }
}

/// A digest as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sha256(pub Digest);

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Sha256, D::Error> {
        String::deserialize(from)
            .ok()
            .and_then(|text| parse_hex(&text))
            .map(Sha256)
            .ok_or_else(|| D::Error::custom("expected a SHA-256 digest: a string of 64 hexadecimal digits"))
    }
}

fn parse_hex(text: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    if text.len() != 2 * digest.len() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = (char::from(pair[0]).to_digit(16)? << 4 | char::from(pair[1]).to_digit(16)?) as u8;
    }
    Some(digest)
}
