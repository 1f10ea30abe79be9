//! The opening handshake as checks over a request head (RFC 6455, section 4.2.1); statuses are the dialect's business.

use crate::http::head::Head;
use tungstenite::handshake::derive_accept_key;

/// Why a request cannot be upgraded. If several reasons hold, the first of this list is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// `Connection` without the token `upgrade` or `Upgrade` without `websocket`.
    NotAnUpgrade,
    MissingKey,
    /// The key is not base64 of exactly 16 bytes, or there are two.
    BadKey,
    MissingVersion,
    /// The version is none that is served, or there are two.
    UnsupportedVersion,
}

/// Checks an upgrade request and returns the value of `Sec-WebSocket-Accept`.
///
/// `versions` are the values of `Sec-WebSocket-Version` that are fine. Method and HTTP version are not looked at.
///
/// # Errors
/// The first failing check, in the order of [`HandshakeError`].
pub fn accept_key(head: &Head<'_>, versions: &[&str]) -> Result<String, HandshakeError> {
    if !is_upgrade(head) {
        return Err(HandshakeError::NotAnUpgrade);
    }
    let key = single(head, "Sec-WebSocket-Key", HandshakeError::MissingKey, HandshakeError::BadKey)?;
    if !is_key(key) {
        return Err(HandshakeError::BadKey);
    }
    let version = single(head, "Sec-WebSocket-Version", HandshakeError::MissingVersion, HandshakeError::UnsupportedVersion)?;
    if !versions.contains(&version) {
        return Err(HandshakeError::UnsupportedVersion);
    }
    Ok(derive_accept_key(key.as_bytes()))
}

/// Whether the client asks to leave HTTP for WebSocket. Lists and several lines are fine, letter case is ignored.
pub fn is_upgrade(head: &Head<'_>) -> bool {
    head.lists_token("Connection", "upgrade") && head.lists_token("Upgrade", "websocket")
}

/// The value of a field that must be there once.
fn single<'a>(head: &Head<'a>, name: &str, missing: HandshakeError, repeated: HandshakeError) -> Result<&'a str, HandshakeError> {
    let mut values = head.fields_named(name);
    let value = values.next().ok_or(missing)?;
    if values.next().is_some() { Err(repeated) } else { Ok(value) }
}

/// Base64 of 16 bytes: 22 characters and `==`. The last character carries two bits, the four spare ones are zero.
fn is_key(key: &str) -> bool {
    let Some([front @ .., last, b'=', b'=']) = key.as_bytes().first_chunk::<24>().filter(|_| key.len() == 24) else {
        return false;
    };
    front.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')) && b"AQgw".contains(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{BodyLength, Version};

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn head<'a>(fields: &[(&'a str, &'a str)]) -> Head<'a> {
        Head {
            method: "GET",
            target: "/",
            version: Version::Http11,
            fields: fields.to_vec(),
            body: BodyLength::None,
            keep_alive: true,
            expects_continue: false,
        }
    }

    /// A good request with the fields of `change` in place of those of the same names; an empty list drops `drop`.
    fn outcome(drop: &str, change: &[(&str, &str)]) -> Result<String, HandshakeError> {
        let good = [
            ("Host", "example.com"),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", KEY),
            ("Sec-WebSocket-Version", "13"),
        ];
        let kept = good.into_iter().filter(|(name, _)| !name.eq_ignore_ascii_case(drop));
        accept_key(&head(&kept.chain(change.iter().copied()).collect::<Vec<_>>()), &["13", "8"])
    }

    #[test]
    fn the_specifications_example_is_accepted() {
        assert_eq!(outcome("", &[]).as_deref(), Ok("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(outcome("Sec-WebSocket-Version", &[("sec-websocket-version", "8")]), outcome("", &[]));
    }

    #[test]
    fn tokens_may_stand_in_lists_on_several_lines_in_any_case() {
        assert!(outcome("Connection", &[("connection", "keep-alive, UPGRADE")]).is_ok());
        assert!(outcome("Connection", &[("Connection", "keep-alive"), ("Connection", "te,\tupgrade")]).is_ok());
        assert!(outcome("Upgrade", &[("UPGRADE", "h2c , WebSocket")]).is_ok());
    }

    #[test]
    fn each_missing_or_wrong_field_has_its_error() {
        use HandshakeError::*;
        for (name, change, error) in [
            ("Upgrade", None, NotAnUpgrade),
            ("Upgrade", Some("websockets"), NotAnUpgrade),
            ("Upgrade", Some("h2c"), NotAnUpgrade),
            ("Connection", None, NotAnUpgrade),
            ("Connection", Some("keep-alive"), NotAnUpgrade),
            ("Connection", Some("not-upgrade"), NotAnUpgrade),
            ("Sec-WebSocket-Key", None, MissingKey),
            ("Sec-WebSocket-Key", Some(""), BadKey),
            ("Sec-WebSocket-Version", None, MissingVersion),
            ("Sec-WebSocket-Version", Some(""), UnsupportedVersion),
            ("Sec-WebSocket-Version", Some("7"), UnsupportedVersion),
            ("Sec-WebSocket-Version", Some("013"), UnsupportedVersion),
            ("Sec-WebSocket-Version", Some("8, 13"), UnsupportedVersion),
        ] {
            let change: Vec<_> = change.into_iter().map(|value| (name, value)).collect();
            assert_eq!(outcome(name, &change), Err(error), "{name}: {change:?}");
        }
        assert_eq!(outcome("", &[("sec-websocket-key", KEY)]), Err(BadKey));
        assert_eq!(outcome("", &[("sec-websocket-version", "8")]), Err(UnsupportedVersion));
        assert_eq!(outcome("", &[("sec-websocket-version", "13")]), Err(UnsupportedVersion));
    }

    #[test]
    fn a_key_is_base64_of_sixteen_bytes() {
        for good in
            ["AAAAAAAAAAAAAAAAAAAAAA==", "/////////////////////w==", "+/+/+/+/+/+/+/+/+/+/+g==", "aZ09aZ09aZ09aZ09aZ09aQ=="]
        {
            assert!(is_key(good), "{good}");
        }
        for bad in [
            "AAAAAAAAAAAAAAAAAAAAAA=",
            "AAAAAAAAAAAAAAAAAAAAAA===",
            "AAAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAAA=",
            "AAAAAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAA==",
            // A spare bit is set.
            "AAAAAAAAAAAAAAAAAAAAAB==",
            "AAAAAAAAAAAAAAAAAAAAAx==",
            "AAAAAAAAAA=AAAAAAAAAAA==",
            "AAAAAAAAAA AAAAAAAAAAA==",
            "AAAAAAAAAA-_AAAAAAAAAA==",
            "AAAAAAAAAAéAAAAAAAAAA==",
            "",
        ] {
            assert!(!is_key(bad), "{bad}");
        }
    }

    #[test]
    fn asking_to_upgrade_needs_no_key() {
        assert!(is_upgrade(&head(&[("Upgrade", "websocket"), ("Connection", "upgrade")])));
        assert!(!is_upgrade(&head(&[("Upgrade", "websocket")])));
        assert!(!is_upgrade(&head(&[("Connection", "upgrade")])));
    }
}
