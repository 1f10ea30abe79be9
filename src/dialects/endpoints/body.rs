//! Bodies of requests: what they may be, and what is stored of them (specification, sections 7 and 11).

use super::failure::Failure;
use crate::http::head::Head;
use crate::json;

/// Levels of nesting; the outermost array or object is the first.
pub const DEPTH_MAX: usize = 64;

/// What a body is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Json,
    Text,
    MergePatch,
    Multipart,
}

impl Kind {
    /// Of a request to an endpoint: those of users take objects alone.
    ///
    /// # Errors
    /// [`Failure::ContentTypeNotValid`]
    pub fn of(head: &Head<'_>, auth: bool) -> Result<Kind, Failure> {
        let mut fields = head.fields_named("Content-Type");
        let kind = match (fields.next(), fields.next()) {
            (Some(value), None) => Kind::read(value),
            (_, _) => None,
        };
        let is_taken = |kind: &Kind| match (kind, head.method) {
            (Kind::Json, _) => true,
            (Kind::Text, method) => !auth && method != "PATCH",
            (Kind::MergePatch, method) => method == "PATCH",
            (Kind::Multipart, method) => !auth && method == "POST",
        };
        kind.filter(is_taken).ok_or(Failure::ContentTypeNotValid)
    }

    /// `None`: no such type, or its text is not UTF-8.
    fn read(value: &str) -> Option<Kind> {
        let mut parts = value.split(';');
        let essence = parts.next()?.trim_matches([' ', '\t']).to_ascii_lowercase();
        let kind = match essence.as_str() {
            "application/json" => Kind::Json,
            "text/plain" => Kind::Text,
            "application/merge-patch+json" => Kind::MergePatch,
            "multipart/form-data" => Kind::Multipart,
            _ => return None,
        };
        // Whoever quotes a `;` quotes no charset that is known here.
        let is_utf8 = |parameter: &str| {
            let Some((name, value)) = parameter.split_once('=') else { return true };
            let value = value.trim_matches([' ', '\t']);
            let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
            !name.trim_matches([' ', '\t']).eq_ignore_ascii_case("charset")
                || ["utf-8", "utf8"].iter().any(|known| known.eq_ignore_ascii_case(unquoted))
        };
        parts.all(is_utf8).then_some(kind)
    }

    /// The JSON text that is stored: without white space between tokens, everything else as it was sent. A text is a string.
    ///
    /// # Errors
    /// [`Failure::BodyEmpty`], [`Failure::BodyNotValid`]
    pub fn data(self, body: &[u8]) -> Result<String, Failure> {
        if body.is_empty() {
            return Err(Failure::BodyEmpty);
        }
        match self {
            Kind::Json | Kind::MergePatch => {
                let mut out = Vec::with_capacity(body.len());
                json::compact(body, &mut out, DEPTH_MAX).map_err(|_| Failure::BodyNotValid)?;
                Ok(String::from_utf8(out).expect("what was accepted as JSON is UTF-8"))
            }
            Kind::Text => {
                let text = std::str::from_utf8(body).map_err(|_| Failure::BodyNotValid)?;
                Ok(serde_json::to_string(text).expect("a string can be written"))
            }
            // Files are read as they come, and never whole.
            Kind::Multipart => Err(Failure::BodyNotValid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{BodyLength, Version};

    fn of(method: &str, types: &[&str], auth: bool) -> Result<Kind, Failure> {
        let fields = types.iter().map(|&value| ("content-type", value)).collect();
        let (version, body) = (Version::Http11, BodyLength::None);
        Kind::of(&Head { method, target: "/", version, fields, body, keep_alive: true, expects_continue: false }, auth)
    }

    #[test]
    fn ep_63_content_types_are_those_of_the_method() {
        for (method, json, text, patch, multipart) in
            [("POST", true, true, false, true), ("PUT", true, true, false, false), ("PATCH", true, false, true, false)]
        {
            for (value, kind, taken, by_users) in [
                ("application/json", Kind::Json, json, json),
                ("text/plain", Kind::Text, text, false),
                ("application/merge-patch+json", Kind::MergePatch, patch, patch),
                ("multipart/form-data; boundary=x", Kind::Multipart, multipart, false),
            ] {
                let expected = |taken| if taken { Ok(kind) } else { Err(Failure::ContentTypeNotValid) };
                assert_eq!(of(method, &[value], false), expected(taken), "{method} {value}");
                assert_eq!(of(method, &[value], true), expected(by_users), "{method} {value}");
            }
        }
        for good in [
            "Application/JSON",
            "application/json;charset=utf-8",
            "application/json ; Charset=\"UTF-8\"",
            "application/json; charset = utf8",
            "application/json; x=y; charset=utf-8",
            "application/json;",
        ] {
            assert_eq!(of("POST", &[good], false), Ok(Kind::Json), "{good}");
        }
        for bad in [
            &[][..],
            &[""],
            &["application/json", "application/json"],
            &["application/json; charset=iso-8859-1"],
            &["application/json; charset=utf-8; charset=latin1"],
            &["text/plain; charset=\"utf-16\""],
            &["application/x-www-form-urlencoded"],
            &["application/json, text/plain"],
            &["application"],
            &["json"],
        ] {
            assert_eq!(of("POST", bad, false), Err(Failure::ContentTypeNotValid), "{bad:?}");
        }
    }

    #[test]
    fn ep_36_data_keeps_its_text() {
        let body = br#" { "z" : [1.0, 1e2,9007199254740993 ],"a":"\u0041\/", "z":null } "#;
        assert_eq!(Kind::Json.data(body).unwrap(), r#"{"z":[1.0,1e2,9007199254740993],"a":"\u0041\/","z":null}"#);
        for scalar in ["null", "true", "1.0", "\"\""] {
            assert_eq!(Kind::Json.data(scalar.as_bytes()).as_deref(), Ok(scalar));
        }
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert_eq!(Kind::Json.data(nested(64).as_bytes()), Ok(nested(64)));
        assert_eq!(Kind::Json.data(b""), Err(Failure::BodyEmpty));
        for bad in [&b" "[..], b"{", b"1e999", br#""\ud800""#, b"\"\xff\"", b"\"\xed\xa0\x80\"", b"1 2", nested(65).as_bytes()] {
            assert_eq!(Kind::Json.data(bad), Err(Failure::BodyNotValid), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn ep_37_a_text_is_a_string() {
        assert_eq!(Kind::Text.data("a \"b\"\\\n\u{1}é\u{2028}".as_bytes()).unwrap(), "\"a \\\"b\\\"\\\\\\n\\u0001é\u{2028}\"");
        assert_eq!(Kind::Text.data(b" {} ").as_deref(), Ok("\" {} \""));
        assert_eq!((Kind::Text.data(b""), Kind::Text.data(b"\xff")), (Err(Failure::BodyEmpty), Err(Failure::BodyNotValid)));
        // What was stored is JSON that any reader takes.
        let every: String = (0..=0x2ff).filter_map(char::from_u32).collect();
        let stored = Kind::Text.data(every.as_bytes()).unwrap();
        assert_eq!(Kind::Json.data(stored.as_bytes()), Ok(stored.clone()));
        assert_eq!(serde_json::from_str::<String>(&stored).unwrap(), every);
    }
}
