//! Who may publish, read statistics, administrate or listen: keys and tokens, compared as digests.

pub mod networks;
pub mod origin;
pub mod secret;
pub mod tokens;

use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// The rules in force; a reload swaps them, readers take a snapshot.
pub type SharedAccess = Arc<ArcSwap<Access>>;

/// SHA-256 of a secret: the only form in which secrets are kept.
pub type Digest = [u8; 32];

pub fn digest(secret: &[u8]) -> Digest {
    Sha256::digest(secret).into()
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    Publish,
    Statistics,
    Admin,
}

/// `[[access.keys]]`: one who publishes, reads statistics or administrates.
#[derive(Debug)]
pub struct Key {
    pub name: String,
    pub digest: Digest,
    pub may: Vec<Right>,
    pub topics: Vec<Pattern>,
}

/// `[[access.tokens]]`: one who listens.
#[derive(Debug)]
pub struct Grant {
    pub name: String,
    pub digest: Digest,
    pub topics: Vec<Pattern>,
    /// Unix seconds from which on it no longer counts.
    pub expires: Option<u64>,
}

/// An exact topic name, or a prefix written with one trailing `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    Exact(String),
    Prefix(String),
}

impl Pattern {
    /// `None` if `*` stands anywhere but at the end.
    pub fn parse(text: &str) -> Option<Pattern> {
        let pattern = match text.strip_suffix('*') {
            Some(prefix) => Pattern::Prefix(prefix.to_owned()),
            None => Pattern::Exact(text.to_owned()),
        };
        let (Pattern::Exact(name) | Pattern::Prefix(name)) = &pattern;
        (!name.contains('*')).then_some(pattern)
    }

    fn covers(&self, topic: &str) -> bool {
        match self {
            Pattern::Exact(name) => name == topic,
            Pattern::Prefix(prefix) => topic.starts_with(prefix.as_str()),
        }
    }
}

impl Key {
    pub fn may(&self, right: Right) -> bool {
        self.may.contains(&right)
    }

    pub fn covers(&self, topic: &str) -> bool {
        self.topics.iter().any(|pattern| pattern.covers(topic))
    }
}

impl Grant {
    pub fn covers(&self, topic: &str) -> bool {
        self.topics.iter().any(|pattern| pattern.covers(topic))
    }

    fn is_valid(&self, unix_seconds: u64) -> bool {
        self.expires.is_none_or(|expires| unix_seconds < expires)
    }
}

/// The keys and tokens of one configuration.
#[derive(Debug, Default)]
pub struct Access {
    pub keys: Vec<Arc<Key>>,
    pub tokens: Vec<Arc<Grant>>,
}

impl Access {
    /// The key that was presented, if it is known.
    pub fn key(&self, presented: &str) -> Option<&Arc<Key>> {
        self.key_by_digest(&digest(presented.as_bytes()))
    }

    /// What the rules in force say about a key that was accepted earlier.
    pub fn key_by_digest(&self, digest: &Digest) -> Option<&Arc<Key>> {
        find(&self.keys, digest, |key| &key.digest)
    }

    /// The token that was presented, if it is known and not expired.
    pub fn token(&self, presented: &str, unix_seconds: u64) -> Option<&Arc<Grant>> {
        self.token_by_digest(&digest(presented.as_bytes()), unix_seconds)
    }

    /// What the rules in force say about a token that was accepted earlier.
    pub fn token_by_digest(&self, digest: &Digest, unix_seconds: u64) -> Option<&Arc<Grant>> {
        find(&self.tokens, digest, |grant| &grant.digest).filter(|grant| grant.is_valid(unix_seconds))
    }

    /// When the next token expires after this second: subscriptions are reviewed then.
    pub fn next_expiry(&self, unix_seconds: u64) -> Option<u64> {
        self.tokens.iter().filter_map(|grant| grant.expires).filter(|&expires| expires > unix_seconds).min()
    }
}

/// Looks at every entry, so that the time says nothing about which one matched.
pub fn find<'a, T>(list: &'a [T], wanted: &Digest, of: impl Fn(&T) -> &Digest) -> Option<&'a T> {
    let mut found = None;
    for entry in list {
        if bool::from(of(entry).ct_eq(wanted)) {
            found = Some(entry);
        }
    }
    found
}

/// The key of `Authorization: Bearer <key>`; the scheme's letter case is ignored (RFC 9110, section 11.1).
pub fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, key) = authorization.split_once(' ')?;
    let key = key.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(secret: &str, topics: &[&str], expires: Option<u64>) -> Arc<Grant> {
        let topics = topics.iter().map(|text| Pattern::parse(text).unwrap()).collect();
        Arc::new(Grant { name: "test".into(), digest: digest(secret.as_bytes()), topics, expires })
    }

    #[test]
    fn a_token_ends_at_its_second_and_covers_its_patterns_only() {
        let access =
            Access { keys: vec![], tokens: vec![grant("one", &["*"], None), grant("two", &["public*", "ping"], Some(100))] };
        assert!(access.token("one", u64::MAX).unwrap().covers("anything"));
        let two = access.token("two", 99).unwrap();
        assert!(two.covers("public") && two.covers("publicity") && two.covers("ping"));
        assert!(!two.covers("pinger") && !two.covers("private"));
        assert!(access.token("two", 100).is_none());
        assert!(access.token("three", 0).is_none());
        assert_eq!((access.next_expiry(99), access.next_expiry(100)), (Some(100), None));
    }

    #[test]
    fn a_star_stands_at_the_end_or_nowhere() {
        assert_eq!(Pattern::parse("a*"), Some(Pattern::Prefix("a".into())));
        assert_eq!(Pattern::parse("*"), Some(Pattern::Prefix(String::new())));
        assert_eq!(Pattern::parse("a*b"), None);
        assert_eq!(Pattern::parse("a**"), None);
    }

    #[test]
    fn bearer_takes_the_scheme_in_any_case() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        for bad in ["abc", "Basic abc", "Bearer", "Bearer "] {
            assert_eq!(bearer(bad), None, "{bad}");
        }
    }
}
