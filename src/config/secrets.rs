//! Secrets of the file and of files that it names: those of `[[access.keys]]` and `[[access.tokens]]` become digests at once.

use super::Config;
use crate::access::secret::{Secret, Sha256};
use crate::access::{Digest, Grant, Key, Pattern, Right, digest};
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A shorter secret could be guessed.
const SECRET_BYTES_MIN: usize = 16;
const SECRET_FILE_BYTES_MAX: u64 = 4096;
const NAME_BYTES_MAX: usize = 64;

/// `[access]` as it is written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tables {
    keys: Vec<KeyTable>,
    tokens: Vec<TokenTable>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct KeyTable {
    name: String,
    #[serde(deserialize_with = "secret")]
    key: Option<Secret>,
    key_file: Option<PathBuf>,
    sha256: Option<Sha256>,
    may: Vec<RightName>,
    topics: Vec<TopicPattern>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TokenTable {
    name: String,
    #[serde(deserialize_with = "secret")]
    token: Option<Secret>,
    token_file: Option<PathBuf>,
    sha256: Option<Sha256>,
    topics: Vec<TopicPattern>,
    expires: Option<Expiry>,
}

fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Secret>, D::Error> {
    Secret::deserialize(from).map(Some).map_err(|_| D::Error::custom("expected a string of 16 bytes or more"))
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RightName {
    Publish,
    Statistics,
    Admin,
}

impl From<RightName> for Right {
    fn from(name: RightName) -> Right {
        match name {
            RightName::Publish => Right::Publish,
            RightName::Statistics => Right::Statistics,
            RightName::Admin => Right::Admin,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
struct TopicPattern(Pattern);

impl<'de> Deserialize<'de> for TopicPattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<TopicPattern, D::Error> {
        String::deserialize(from)
            .ok()
            .filter(|text| !text.is_empty())
            .and_then(|text| Pattern::parse(&text))
            .map(TopicPattern)
            .ok_or_else(|| D::Error::custom("expected topic names, or prefixes with one trailing *"))
    }
}

/// Unix seconds of an RFC 3339 time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Expiry(u64);

impl<'de> Deserialize<'de> for Expiry {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Expiry, D::Error> {
        String::deserialize(from)
            .ok()
            .and_then(|text| text.parse::<jiff::Timestamp>().ok())
            .map(|time| Expiry(u64::try_from(time.as_second()).unwrap_or(0)))
            .ok_or_else(|| D::Error::custom("expected a time in quotes like \"2027-01-01T00:00:00Z\" (RFC 3339)"))
    }
}

/// Reads what is in files, and turns the tables into digests with rights; tells `wrong` (key, message) of everything that
/// cannot be.
pub fn resolve(config: &mut Config, base_dir: &Path, wrong: &mut dyn FnMut(&str, &str)) {
    resolve_action_cable(config, base_dir, wrong);
    let tables = std::mem::take(&mut config.access);
    for (index, table) in tables.keys.into_iter().enumerate() {
        let place = Place { table: format!("access.keys[{index}]"), secret: "key", secret_file: "key_file" };
        place.check_name(&table.name, wrong);
        if table.may.is_empty() {
            wrong(&place.key("may"), "expected at least one of publish, statistics, admin");
        }
        if table.topics.is_empty() && table.may.contains(&RightName::Publish) {
            wrong(&place.key("topics"), "a key that may publish needs topics, like [\"*\"]");
        }
        let Some(digest) = place.digest(table.key, table.key_file, table.sha256, base_dir, wrong) else { continue };
        if let Some(same) = config.keys.iter().position(|key| key.digest == digest) {
            wrong(&place.table, &format!("the same secret as access.keys[{same}]"));
        }
        config.keys.push(Arc::new(Key {
            name: table.name,
            digest,
            may: table.may.into_iter().map(Right::from).collect(),
            topics: table.topics.into_iter().map(|topic| topic.0).collect(),
        }));
    }
    for (index, table) in tables.tokens.into_iter().enumerate() {
        let place = Place { table: format!("access.tokens[{index}]"), secret: "token", secret_file: "token_file" };
        place.check_name(&table.name, wrong);
        if table.topics.is_empty() {
            wrong(&place.key("topics"), "a token needs topics, like [\"*\"]");
        }
        let Some(digest) = place.digest(table.token, table.token_file, table.sha256, base_dir, wrong) else { continue };
        if let Some(same) = config.tokens.iter().position(|token| token.digest == digest) {
            wrong(&place.table, &format!("the same secret as access.tokens[{same}]"));
        }
        config.tokens.push(Arc::new(Grant {
            name: table.name,
            digest,
            topics: table.topics.into_iter().map(|topic| topic.0).collect(),
            expires: table.expires.map(|expires| expires.0),
        }));
    }
}

/// Reads the files that `[action_cable]` names.
fn resolve_action_cable(config: &mut Config, base_dir: &Path, wrong: &mut dyn FnMut(&str, &str)) {
    let options = &mut config.action_cable;
    let mut read = |key: &str, given: bool, file: &Option<PathBuf>, bytes_min: usize| {
        let file = file.as_ref()?;
        let key = format!("action_cable.{key}_file");
        match read_file(&base_dir.join(file)) {
            _ if given => wrong(&key, "expected at most one of the secret itself and a file with it"),
            Ok(text) if text.trim().len() >= bytes_min => return Some(Secret::from(text.trim())),
            Ok(_) => wrong(&key, &format!("expected a secret of {bytes_min} bytes or more in {}", file.display())),
            Err(error) => wrong(&key, &format!("cannot read {}: {error}", file.display())),
        }
        None
    };
    let publish_key = read("publish_key", options.publish_key.is_some(), &options.publish_key_file, SECRET_BYTES_MIN);
    // The other two are shared with an application that may have chosen short ones.
    let secret = read("secret", options.secret.is_some(), &options.secret_file, 1);
    let streams_secret = read("streams_secret", !options.streams_secret.is_empty(), &options.streams_secret_file, 1);
    if options.publish_key.as_ref().is_some_and(|key| key.as_str().len() < SECRET_BYTES_MIN) {
        wrong("action_cable.publish_key", "expected a string of 16 bytes or more");
    }
    options.publish_key = options.publish_key.take().or(publish_key);
    options.secret = options.secret.take().or(secret);
    options.streams_secret.extend(streams_secret);
}

/// One table of a list, and what its secrets are called.
struct Place {
    table: String,
    secret: &'static str,
    secret_file: &'static str,
}

impl Place {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.table)
    }

    fn check_name(&self, name: &str, wrong: &mut dyn FnMut(&str, &str)) {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            wrong(&self.key("name"), "expected 1 to 64 bytes without control characters: it stands for the secret in logs");
        }
    }

    /// The digest of the one secret that is given, in whichever form.
    fn digest(
        &self,
        secret: Option<Secret>,
        file: Option<PathBuf>,
        sha256: Option<Sha256>,
        base_dir: &Path,
        wrong: &mut dyn FnMut(&str, &str),
    ) -> Option<Digest> {
        match (secret, file, sha256) {
            (None, None, Some(Sha256(digest))) => Some(digest),
            (Some(secret), None, None) => {
                if secret.as_str().len() < SECRET_BYTES_MIN {
                    wrong(&self.key(self.secret), "expected a string of 16 bytes or more");
                    return None;
                }
                Some(digest(secret.as_str().as_bytes()))
            }
            (None, Some(file), None) => match read_file(&base_dir.join(&file)) {
                Ok(text) if text.trim().len() >= SECRET_BYTES_MIN => Some(digest(text.trim().as_bytes())),
                Ok(_) => {
                    wrong(&self.key(self.secret_file), &format!("expected a secret of 16 bytes or more in {}", file.display()));
                    None
                }
                Err(error) => {
                    wrong(&self.key(self.secret_file), &format!("cannot read {}: {error}", file.display()));
                    None
                }
            },
            (_, _, _) => {
                let message = format!("expected exactly one of {}, {} and sha256", self.secret, self.secret_file);
                wrong(&self.table, &message);
                None
            }
        }
    }
}

/// The text of a small file.
pub fn read_file(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(SECRET_FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > SECRET_FILE_BYTES_MAX {
        return Err(std::io::Error::other("larger than 4096 bytes"));
    }
    Ok(text)
}
