//! The identifier of a subscription: how it is echoed, and what the JSON inside says.

use crate::json;

/// Arrays and objects that may be open at once, in an identifier as in a command.
pub const DEPTH_MAX: usize = 64;

/// The decoded identifier as a JSON string with the fewest escapes: what `JSON.stringify` writes.
pub fn token(identifier: &str) -> String {
    serde_json::to_string(identifier).expect("a string is always JSON")
}

/// The JSON object inside an identifier. Not to be shown: it holds the client's key.
pub struct Identifier {
    pub channel: String,
    /// Every member, `channel` too, in the order sent.
    members: Vec<(String, Value)>,
}

/// A parameter, as far as any channel looks at it.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    String(String),
    /// The digits as sent, perhaps after a `-`.
    Integer(String),
    Null,
    /// Another number, a boolean, an array or an object.
    Other,
}

impl Identifier {
    /// `None` unless it is an object with a string as `channel`, by the rules of all JSON that is taken here.
    pub fn parse(identifier: &str) -> Option<Identifier> {
        let mut compact = Vec::with_capacity(identifier.len());
        json::compact(identifier.as_bytes(), &mut compact, DEPTH_MAX).ok()?;
        let text = std::str::from_utf8(&compact).ok().filter(|text| text.starts_with('{'))?;
        let mut members = Vec::new();
        json::members(text, |key, value| members.extend(json::string(key).map(|key| (key, Value::read(value)))))?;
        let mut identifier = Identifier { channel: String::new(), members };
        match identifier.param("channel") {
            Some(Value::String(channel)) => identifier.channel = channel.clone(),
            Some(Value::Integer(_) | Value::Null | Value::Other) | None => return None,
        }
        Some(identifier)
    }

    /// The last member of this name.
    pub fn param(&self, name: &str) -> Option<&Value> {
        self.members.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

impl Value {
    fn read(text: &str) -> Value {
        match text.as_bytes() {
            [b'"', ..] => json::string(text).map_or(Value::Other, Value::String),
            b"null" => Value::Null,
            [b'-' | b'0'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => Value::Integer(text.to_owned()),
            _ => Value::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ac_28_the_token_is_what_json_stringify_writes() {
        for (decoded, token_) in [
            (r#"{"channel":"A"}"#, r#""{\"channel\":\"A\"}""#),
            ("\u{8}\t\n\u{c}\r", r#""\b\t\n\f\r""#),
            ("\u{0}\u{1f}\u{b}", r#""\u0000\u001f\u000b""#),
            ("\\/<>&\u{7f}é\u{2028}😀", "\"\\\\/<>&\u{7f}é\u{2028}😀\""),
            ("", "\"\""),
        ] {
            assert_eq!(token(decoded), token_);
        }
    }

    #[test]
    fn ac_27_escapes_inside_are_decoded_and_the_last_duplicate_counts() {
        let read = Identifier::parse(r#" {"\u0063hannel":5,"channel":"\u0041","k":1,"k":[2],"k":"3"} "#).unwrap();
        assert_eq!(read.channel, "A");
        assert!(read.param("k") == Some(&Value::String("3".into())) && read.param("K").is_none());
        assert!(Identifier::parse(r#"{"channel":"A","channel":5}"#).is_none());
    }

    #[test]
    fn values_keep_their_digits() {
        let read = |text: &str| Identifier::parse(&format!(r#"{{"channel":"A","v":{text}}}"#)).unwrap().param("v").cloned();
        for digits in ["0", "-0", "17", "-9223372036854775808", "18446744073709551616"] {
            assert!(read(digits) == Some(Value::Integer(digits.into())), "{digits}");
        }
        for other in ["1.0", "1e3", "true", "false", "[]", "{}", "[\"17\"]"] {
            assert!(read(other) == Some(Value::Other), "{other}");
        }
        assert!(read("null") == Some(Value::Null));
    }

    #[test]
    fn what_is_no_object_with_a_channel_is_none() {
        let deep = format!(r#"{{"channel":"A","x":{}{}}}"#, "[".repeat(64), "]".repeat(64));
        for bad in ["", "nojson", "{}", "[]", "\"A\"", "null", r#"{"channel":null}"#, r#"["channel","A"]"#, &deep] {
            assert!(Identifier::parse(bad).is_none(), "{bad}");
        }
        for bad in [r#"{"channel":"\ud800"}"#, r#"{"channel":"A","x":1e999}"#, r#"{"channel":"A"} x"#] {
            assert!(Identifier::parse(bad).is_none(), "{bad}");
        }
    }
}
