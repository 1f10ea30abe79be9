//! The credential token of a browser: header lines inside one base58 subprotocol name (specification, section 2.3).

use super::base58;

/// Names with a meaning, as they are written and as they count.
const NAMES: [(&str, Name); 8] = [
    ("x-m2-organization", Name::Organization),
    ("x-m2-organization-id", Name::Organization),
    ("x-m2-project", Name::Project),
    ("x-m2-project-id", Name::Project),
    ("x-m2-world-id", Name::World),
    ("x-m2-launch-context-id", Name::LaunchContext),
    ("authorization", Name::Authorization),
    ("x-api-key", Name::ApiKey),
];

const PAIRS_MAX: usize = 32;
const VALUE_BYTES_MAX: usize = 2048;

/// What a recognised header is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Organization,
    Project,
    World,
    LaunchContext,
    Authorization,
    ApiKey,
}

impl Name {
    /// Letter case is ignored.
    pub fn of(text: &str) -> Option<Name> {
        NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|&(_, name)| name)
    }
}

/// The pairs of a valid token. What they say of the transport (`host`, `origin`, `cookie` …) is never looked at.
#[derive(PartialEq, Eq)]
pub struct Token {
    /// Names as written, values without blanks around them; no name twice.
    pairs: Vec<(String, String)>,
}

impl Token {
    /// `None` if the text is no valid token.
    pub fn decode(text: &str) -> Option<Token> {
        Token::parse(std::str::from_utf8(&base58::decode(text)?).ok()?)
    }

    /// Reads the lines; `None` if one of them is wrong.
    pub fn parse(text: &str) -> Option<Token> {
        let mut token = Token { pairs: Vec::new() };
        let mut rest = text;
        while let Some((line, behind)) = rest.split_once('\n') {
            token.add_line(line.strip_suffix('\r').unwrap_or(line))?;
            rest = behind;
        }
        token.add_line(rest)?;
        (!token.pairs.is_empty()).then_some(token)
    }

    /// Values of the names that have a meaning, in the order of the token.
    pub fn recognised(&self) -> impl Iterator<Item = (Name, &str)> {
        self.pairs.iter().filter_map(|(name, value)| Some((Name::of(name)?, value.as_str())))
    }

    /// A line is one pair, or several: the document shows its example with a space in place of the line break.
    fn add_line(&mut self, line: &str) -> Option<()> {
        let mut begin = 0;
        for (at, _) in line.match_indices(' ') {
            if begins_pair(&line[at + 1..]) {
                self.add_pair(&line[begin..at])?;
                begin = at + 1;
            }
        }
        self.add_pair(&line[begin..])
    }

    fn add_pair(&mut self, text: &str) -> Option<()> {
        if text.trim_matches(BLANKS).is_empty() {
            return Some(());
        }
        let (name, value) = text.split_once(':')?;
        let value = value.trim_matches(BLANKS);
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            return None;
        }
        if value.len() > VALUE_BYTES_MAX || value.bytes().any(|byte| byte.is_ascii_control()) {
            return None;
        }
        match self.pairs.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some((_, other)) => (other == value).then_some(()),
            None if self.pairs.len() == PAIRS_MAX => None,
            None => {
                self.pairs.push((name.to_owned(), value.to_owned()));
                Some(())
            }
        }
    }
}

const BLANKS: [char; 2] = [' ', '\t'];

/// Whether a text begins with a recognised name of ours and its colon. `authorization:Bearer a b` stays one pair.
fn begins_pair(text: &str) -> bool {
    NAMES.iter().any(|(name, _)| {
        name.starts_with("x-m2-")
            && text.as_bytes().get(name.len()) == Some(&b':')
            && text.as_bytes()[..name.len()].eq_ignore_ascii_case(name.as_bytes())
    })
}

/// A character of a token (RFC 9110, section 5.6.2).
pub fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Deserialize)]
    struct Vector {
        name: String,
        plain_hex: Option<String>,
        base58: String,
        headers: Option<BTreeMap<String, String>>,
    }

    fn vectors() -> Vec<Vector> {
        serde_json::from_str(include_str!("vectors/base58.json")).unwrap()
    }

    fn vector(name: &str) -> Vector {
        vectors().into_iter().find(|vector| vector.name == name).unwrap()
    }

    /// Pairs under the names that count.
    fn headers(token: &Token) -> BTreeMap<String, String> {
        let canonical = |name: &str| match name.to_ascii_lowercase().as_str() {
            "x-m2-organization-id" => "x-m2-organization".to_owned(),
            "x-m2-project-id" => "x-m2-project".to_owned(),
            name => name.to_owned(),
        };
        token.pairs.iter().map(|(name, value)| (canonical(name), value.clone())).collect()
    }

    fn pairs(text: &str) -> Option<Vec<(String, String)>> {
        Token::parse(text).map(|token| token.pairs)
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn rs_06_alias_names_and_any_letter_case_mean_the_same() {
        for name in ["document-example", "id-suffixed-names", "crlf-ows-mixed-case"] {
            let token = Token::decode(&vector(name).base58).unwrap();
            let recognised: Vec<_> = token.recognised().collect();
            assert_eq!(recognised, [(Name::Organization, "testOrg"), (Name::Project, "testProj")], "{name}");
        }
        assert_eq!(Name::of("X-M2-World-Id"), Some(Name::World));
        assert_eq!(Name::of("x-m2-launch-context-ID"), Some(Name::LaunchContext));
        assert_eq!(Name::of("AUTHORIZATION"), Some(Name::Authorization));
        assert_eq!(Name::of("X-Api-Key"), Some(Name::ApiKey));
        assert_eq!(Name::of("x-m2-world"), None);
    }

    /// RS-8: such pairs are read like any other that has no meaning.
    #[test]
    fn rs_08_names_of_the_transport_have_no_meaning() {
        let text = "x-m2-organization:o\norigin:https://evil.example\nhost:a\ncookie:b\nsec-websocket-key:c\nx-forwarded-for:d\n\
                    content-length:1\ntransfer-encoding:chunked\nconnection:close\nupgrade:h2c";
        let token = Token::parse(text).unwrap();
        assert_eq!(token.pairs.len(), 10);
        assert_eq!(token.recognised().collect::<Vec<_>>(), [(Name::Organization, "o")]);
    }

    #[test]
    fn rs_09_line_ends_blanks_and_colons_are_taken() {
        let both = Some(vec![pair("a", "1"), pair("b", "2")]);
        for text in ["a:1\nb:2", "a:1\r\nb:2\r\n", "\n\na:1\n\r\n \t\nb:2\n\n", "a: 1\t\nb:\t2 ", "a:1\nb:2\na: 1"] {
            assert_eq!(pairs(text), both, "{text:?}");
        }
        assert_eq!(pairs("u:https://h:8443/a?b=c"), Some(vec![pair("u", "https://h:8443/a?b=c")]));
        assert_eq!(pairs("a:"), Some(vec![pair("a", "")]));
        assert_eq!(pairs("a: x y "), Some(vec![pair("a", "x y")]));
        let token = Token::decode(&vector("value-with-colons").base58).unwrap();
        assert_eq!(token.pairs[2], pair("x-m2-url", "https://h:8443/a?b=c"));
    }

    #[test]
    fn rs_10_a_space_before_a_name_of_ours_begins_a_pair() {
        let token = Token::decode(&vector("document-example-flattened-with-space").base58).unwrap();
        assert_eq!(token.pairs, [pair("x-m2-organization", "testOrg"), pair("x-m2-project", "testProj")]);
        assert_eq!(pairs("authorization:Bearer a b"), Some(vec![pair("authorization", "Bearer a b")]));
        assert_eq!(pairs("authorization:Bearer x-api-key:k"), Some(vec![pair("authorization", "Bearer x-api-key:k")]));
        assert_eq!(pairs("a:x-m2-project:p"), Some(vec![pair("a", "x-m2-project:p")]));
        assert_eq!(pairs("a:b x-m2-other:c"), Some(vec![pair("a", "b x-m2-other:c")]));
        assert_eq!(
            pairs(" x-m2-organization:o  X-M2-World-Id: w x-m2-project-id:p"),
            Some(vec![pair("x-m2-organization", "o"), pair("X-M2-World-Id", "w"), pair("x-m2-project-id", "p")])
        );
    }

    #[test]
    fn rs_11_each_vector_decodes_to_its_headers_or_is_no_token() {
        for Vector { name, plain_hex, base58, headers: expected } in vectors() {
            assert_eq!(name.starts_with("NEG-"), expected.is_none(), "{name}");
            assert_eq!(Token::decode(&base58).map(|token| headers(&token)), expected, "{name}");
            assert!(plain_hex.is_some() || expected.is_none(), "{name}");
        }
    }

    #[test]
    fn what_is_no_list_of_pairs_is_no_token() {
        for text in [
            "",
            "\n",
            " ",
            "a",
            "a:1\nb",
            ":1",
            "a b:1",
            "a :1",
            " a:1",
            "é:1",
            "a:\u{1}",
            "a:1\t2",
            "a:\u{7f}",
            "a:1\r",
            "a:1\rb:2",
            "a:1\na:2",
            "a:1\nA:2",
            "x-m2-project:\nx-m2-project:p",
            "\u{feff}a:1",
        ] {
            assert_eq!(pairs(text), None, "{text:?}");
        }
        assert!(pairs("a:\u{85}é日").is_some());
    }

    #[test]
    fn pairs_and_values_have_their_bounds() {
        let list = |count: usize| (0..count).map(|at| format!("n{at}:v")).collect::<Vec<_>>().join("\n");
        assert_eq!(pairs(&list(32)).unwrap().len(), 32);
        assert_eq!(pairs(&list(33)), None);
        // Repetitions are no pairs.
        assert_eq!(pairs(&format!("{}\n{}", list(32), list(20))).unwrap().len(), 32);
        assert!(pairs(&format!("a: {} ", "v".repeat(2048))).is_some());
        assert!(pairs(&format!("a:{}", "v".repeat(2049))).is_none());
    }
}
