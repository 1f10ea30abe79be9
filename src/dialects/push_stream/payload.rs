//! What may be published, and the texts that the server writes itself.

use super::options::Payload;
use super::reason::Reason;
use crate::json;

const DEPTH_MAX: usize = 64;

/// The text that subscribers get of a published body.
///
/// # Errors
/// [`Reason::EmptyPost`], [`Reason::NotJson`] or [`Reason::NotUtf8`].
pub fn read(payload: Payload, body: &[u8]) -> Result<Vec<u8>, Reason> {
    if body.is_empty() {
        return Err(Reason::EmptyPost);
    }
    match payload {
        Payload::Json => {
            let mut text = Vec::with_capacity(body.len());
            json::compact(body, &mut text, DEPTH_MAX).map_err(|_| Reason::NotJson)?;
            Ok(text)
        }
        Payload::Text => match std::str::from_utf8(body) {
            Ok(text) => Ok(text.as_bytes().to_vec()),
            Err(_) => Err(Reason::NotUtf8),
        },
    }
}

/// The text of a deletion: what DELETE brought, or the default.
///
/// # Errors
/// [`Reason::NotUtf8`].
pub fn deletion(payload: Payload, body: &[u8]) -> Result<Vec<u8>, Reason> {
    if body.is_empty() {
        return Ok(own(payload, "Channel deleted"));
    }
    read(payload, body).or_else(|_| {
        let text = std::str::from_utf8(body).map_err(|_| Reason::NotUtf8)?;
        Ok(own(payload, text))
    })
}

/// A text as it is, or as a JSON string where messages are JSON.
pub fn own(payload: Payload, text: &str) -> Vec<u8> {
    match payload {
        Payload::Json => serde_json::to_vec(text).expect("a string is always JSON"),
        Payload::Text => text.as_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_numbers_and_order_and_loses_white_space() {
        let text = read(Payload::Json, b" { \"b\" : 1.50e3 , \"a\" : [ 10000000000000000000001 ] }\n").unwrap();
        assert_eq!(text, br#"{"b":1.50e3,"a":[10000000000000000000001]}"#);
        for bad in [&b"he said \"hi\"\nline2 \xff"[..], b"{", b" ", b"\xff"] {
            assert_eq!(read(Payload::Json, bad), Err(Reason::NotJson));
        }
        assert_eq!(read(Payload::Json, b""), Err(Reason::EmptyPost));
    }

    #[test]
    fn text_is_any_utf8() {
        assert_eq!(read(Payload::Text, b" he said \"hi\"\n").unwrap(), b" he said \"hi\"\n");
        assert_eq!(read(Payload::Text, b"\xff"), Err(Reason::NotUtf8));
        assert_eq!(read(Payload::Text, b""), Err(Reason::EmptyPost));
    }

    #[test]
    fn a_deletion_text_is_always_what_the_template_needs() {
        assert_eq!(deletion(Payload::Json, b"").unwrap(), b"\"Channel deleted\"");
        assert_eq!(deletion(Payload::Text, b"").unwrap(), b"Channel deleted");
        assert_eq!(deletion(Payload::Json, b"\"maintenance\"").unwrap(), b"\"maintenance\"");
        assert_eq!(deletion(Payload::Json, b"say \"bye\"").unwrap(), br#""say \"bye\"""#);
        assert_eq!(deletion(Payload::Text, b"say \"bye\"").unwrap(), b"say \"bye\"");
        assert_eq!(deletion(Payload::Json, b"\xff"), Err(Reason::NotUtf8));
    }
}
