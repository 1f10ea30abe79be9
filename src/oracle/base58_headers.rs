//! Tokens of `resources` against another decoder and a plain reading of their lines.

use crate::dialects::resources::base58;
use crate::dialects::resources::claims::{Claims, Credential};
use crate::dialects::resources::handshake::Reject;
use crate::dialects::resources::options::{Options, Project};
use crate::dialects::resources::token::{Name, Token};
use crate::http::head::{BodyLength, Head, Version};
use std::collections::BTreeMap;

/// The bytes are looked at as a base58 text, as bytes to encode, and as the lines of a token.
///
/// `decode` is the other decoder; it is not part of the product.
pub fn base58_headers(bytes: &[u8], decode: fn(&str) -> Option<Vec<u8>>) {
    reads_alike(bytes, decode);
}

/// Says whether the lines are a token.
fn reads_alike(bytes: &[u8], decode: fn(&str) -> Option<Vec<u8>>) -> bool {
    // Texts of any bytes are rarely base58: the longest beginning that is gets looked at, too.
    let text = String::from_utf8_lossy(bytes);
    let good = text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() && !b"0OIl".contains(byte)).count();
    for text in [&text, &text[..good]] {
        let fits = text.len() <= base58::CHARACTERS_MAX;
        let expected = if fits { decode(text) } else { None };
        assert_eq!(base58::decode(text), expected, "{text:?}");
    }
    let short = &bytes[..bytes.len().min(600)];
    let encoded = plain_encode(short);
    assert_eq!(base58::decode(&encoded).as_deref(), Some(short));

    let token = std::str::from_utf8(short).ok().and_then(Token::parse);
    assert!(token == Token::decode(&encoded), "{short:?}");
    let plain = std::str::from_utf8(short).ok().and_then(plain_pairs);
    assert_eq!(token.is_some(), plain.is_some(), "{short:?}");
    let (Some(token), Some(pairs)) = (token, plain) else { return false };
    let recognised = pairs.iter().filter_map(|(name, value)| Some((Name::of(name)?, value.as_str())));
    assert!(token.recognised().eq(recognised), "{pairs:?}");
    assert_eq!(claims(&token), plain_claims(&pairs), "{pairs:?}");
    // What a token says of the transport takes no effect.
    for name in ["host", "Origin", "cookie", "sec-websocket-protocol", "x-forwarded-for", "upgrade"] {
        if pairs.len() < 32 && !pairs.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            let text = std::str::from_utf8(short).expect("a token is text");
            let more = Token::parse(&format!("{name}:game.example\n{text}")).expect("one pair more");
            assert_eq!(claims(&more), claims(&token));
        }
    }
    true
}

fn claims(token: &Token) -> Result<Claims, Reject> {
    let (version, body, fields) = (Version::Http11, BodyLength::None, Vec::new());
    let head = Head { method: "GET", target: "/", version, fields, body, keep_alive: true, expects_continue: false };
    let mut hosted = Project::default();
    hosted.organization = "hosted".to_owned();
    hosted.hosts = vec!["game.example".to_owned()];
    let options = Options { projects: vec![hosted], ..Options::default() };
    Claims::read(&head, Some(token), &options)
}

/// Repeated division by 58.
fn plain_encode(bytes: &[u8]) -> String {
    const ALPHABET: &str = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let letter = |value: usize| char::from(ALPHABET.as_bytes()[value]);
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    let mut number = bytes[zeros..].to_vec();
    let mut digits = Vec::new();
    while !number.is_empty() {
        let mut rest = 0;
        for byte in &mut number {
            let part = rest * 256 + usize::from(*byte);
            *byte = (part / 58) as u8;
            rest = part % 58;
        }
        digits.push(letter(rest));
        let leading = number.iter().take_while(|&&byte| byte == 0).count();
        number.drain(..leading);
    }
    digits.extend(std::iter::repeat_n(letter(0), zeros));
    digits.iter().rev().collect()
}

/// Different names with their values, in order.
fn plain_pairs(text: &str) -> Option<Vec<(String, String)>> {
    let names = ["organization", "organization-id", "project", "project-id", "world-id", "launch-context-id"];
    let mut pairs: Vec<(String, String)> = Vec::new();
    for line in text.replace("\r\n", "\n").split('\n') {
        // A line break takes the place of each space before a name of ours.
        let lower = line.to_ascii_lowercase();
        let mut cut: Vec<u8> = line.into();
        for name in names {
            let mark = format!(" x-m2-{name}:");
            lower.match_indices(&mark).for_each(|(at, _)| cut[at] = b'\n');
        }
        let cut = String::from_utf8(cut).expect("spaces became line breaks");
        for piece in cut.split('\n').filter(|piece| piece.contains(|letter| letter != ' ' && letter != '\t')) {
            let colon = piece.find(':')?;
            let (name, value) = (&piece[..colon], piece[colon + 1..].trim_matches([' ', '\t']));
            let separators = "\"(),/:;<=>?@[\\]{} \t";
            if name.is_empty() || name.chars().any(|letter| !('!'..='~').contains(&letter) || separators.contains(letter)) {
                return None;
            }
            if value.len() > 2048 || value.chars().any(|letter| letter < ' ' || letter == '\u{7f}') {
                return None;
            }
            match pairs.iter().find(|(known, _)| known.to_lowercase() == name.to_lowercase()) {
                Some((_, other)) if other != value => return None,
                Some(_) => {}
                None => pairs.push((name.to_owned(), value.to_owned())),
            }
        }
    }
    (1..=32).contains(&pairs.len()).then_some(pairs)
}

/// Rows 7 to 10, when nothing but the token says anything.
fn plain_claims(pairs: &[(String, String)]) -> Result<Claims, Reject> {
    let mut values: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        let (name, bound) = match name.to_ascii_lowercase().as_str() {
            "x-m2-organization" | "x-m2-organization-id" => ("organization", 128),
            "x-m2-project" | "x-m2-project-id" => ("project", 128),
            "x-m2-world-id" => ("world", 128),
            "x-m2-launch-context-id" => ("launch", 2048),
            "authorization" => ("authorization", 2048),
            "x-api-key" => ("key", 2048),
            _ => continue,
        };
        if value.len() > bound || value.chars().any(char::is_control) {
            return Err(Reject::InvalidHeader);
        }
        values.entry(name).or_default().push(value);
    }
    if values.values().any(|list| list.iter().any(|value| value != &list[0])) {
        return Err(Reject::ConflictingHeaders);
    }
    let one = |name: &str| values.get(name).map(|list| list[0].to_owned());
    let credential = match (one("authorization"), one("key")) {
        (Some(_), Some(_)) => return Err(Reject::ConflictingHeaders),
        (Some(value), None) => {
            let words = value.split_once(' ').filter(|(scheme, _)| scheme.to_lowercase() == "bearer");
            Some(words.map_or(Credential::Malformed, |(_, token)| Credential::Bearer(token.trim().to_owned())))
        }
        (None, Some(key)) => Some(Credential::ApiKey(key)),
        (None, None) => None,
    };
    let organization = one("organization").ok_or(Reject::MissingOrganization)?;
    let (project, world, launch_context) = (one("project"), one("world"), one("launch"));
    if project.is_none() && (world.is_some() || launch_context.is_some()) {
        return Err(Reject::MissingProject);
    }
    Ok(Claims { organization, project: project.unwrap_or_default(), world, launch_context, credential })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{mutate, replay};

    fn with_bs58(bytes: &[u8]) -> bool {
        reads_alike(bytes, |text| bs58::decode(text).into_vec().ok())
    }

    #[test]
    fn the_corpus_reads_alike() {
        replay("base58_headers", |bytes| _ = with_bs58(bytes));
    }

    #[test]
    fn five_thousand_mutations_read_alike() {
        let words: [&[u8]; 20] = [
            b"\n",
            b"\r\n",
            b"\r",
            b":",
            b" ",
            b"\t",
            b"\0",
            b"x-m2-organization:",
            b" X-M2-Project-Id:",
            b"\nx-m2-world-id:w",
            b"\nx-m2-project:p",
            b"\nauthorization:Bearer a",
            b"\nx-api-key:k",
            b"\nhost:game.example",
            b"\xc3\xa9",
            b"\xc2\x85",
            b"\xff",
            b"1",
            b"z",
            b"0",
        ];
        let accepted = mutate("base58_headers", &words, 5_000, with_bs58);
        assert!((500..4_500).contains(&accepted), "{accepted} were accepted");
    }
}
