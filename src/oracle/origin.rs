//! Origins against a comparison of scheme, host and port that is as plain as possible.

use crate::access::origin::Origin;

/// The first line is an entry of a list, the second one what a browser sent.
pub fn origin(bytes: &[u8]) {
    compares_alike(bytes);
}

/// Says whether the entry allows the origin.
fn compares_alike(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let (entry, sent) = text.split_once('\n').unwrap_or((text, ""));
    let [listed, came] = [entry, sent].map(Origin::parse);
    assert_eq!(listed.is_some(), plainly(entry).is_some(), "{entry:?}");
    assert_eq!(came.is_some(), plainly(sent).is_some(), "{sent:?}");
    let Some(listed) = listed else { return false };
    let list = [listed];
    let allows = |origin: &str| Origin::allows(&list, [origin].into_iter());
    assert_eq!(allows(sent), plainly(entry) == plainly(sent), "{text:?}");
    // Letter case counts for nothing, everything else does.
    assert!(allows(entry) && allows(&entry.to_ascii_uppercase()) && allows(&entry.to_ascii_lowercase()), "{entry:?}");
    for other in [
        format!("{entry}.evil.example"),
        format!("{entry}/"),
        format!("{entry}@evil.example"),
        format!("{entry} {entry}"),
        format!("x{entry}"),
        entry.replacen("://", "://evil", 1),
        entry.replacen("://", "://evil.example/", 1),
        entry.replacen("://", ":", 1),
        entry.replacen("://", "://a@", 1),
        "null".to_owned(),
    ] {
        assert!(!allows(&other), "{entry:?} allows {other:?}");
    }
    let begin = entry.find("://").expect("it was parsed") + 3;
    for at in (begin..entry.len()).filter(|&at| entry.as_bytes()[at].is_ascii_alphabetic()) {
        let letter = if entry.as_bytes()[at].eq_ignore_ascii_case(&b'a') { "b" } else { "a" };
        let mutated = [&entry[..at], letter, &entry[at + 1..]].concat();
        assert!(!allows(&mutated), "{entry:?} allows {mutated:?}");
    }
    assert!(!Origin::allows(&list, [entry, "https://evil.example"].into_iter()));
    allows(sent)
}

/// Scheme, host and port; 0 is no port.
fn plainly(text: &str) -> Option<(String, String, u32)> {
    let letters: Vec<char> = text.to_ascii_lowercase().chars().collect();
    let end = (0..letters.len()).find(|&at| letters[at..].starts_with(&[':', '/', '/']))?;
    let (scheme, rest): (String, &[char]) = (letters[..end].iter().collect(), &letters[end + 3..]);
    let scheme_holds = scheme.chars().enumerate().all(|(at, letter)| match letter {
        'a'..='z' => true,
        '0'..='9' | '+' | '-' | '.' => at > 0,
        _ => false,
    });
    if scheme.is_empty() || !scheme_holds {
        return None;
    }
    let behind_host = match rest.first() {
        Some('[') => rest.iter().position(|&letter| letter == ']')? + 1,
        _ => rest.iter().position(|&letter| letter == ':').unwrap_or(rest.len()),
    };
    let (host, port): (String, String) = (rest[..behind_host].iter().collect(), rest[behind_host..].iter().collect());
    if let Some(address) = host.strip_prefix('[') {
        address.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().ok()?;
    } else if host.is_empty() || !host.chars().all(|letter| matches!(letter, 'a'..='z' | '0'..='9' | '-' | '.' | '_')) {
        return None;
    }
    let port = match port.strip_prefix(':') {
        Some(digits) if digits.is_empty() || !digits.chars().all(|digit| digit.is_ascii_digit()) => return None,
        // 65,536 so that port 0 is another one than none.
        Some(digits) => digits.parse::<u16>().ok().map(|port| if port == 0 { 65_536 } else { u32::from(port) })?,
        None if !port.is_empty() => return None,
        None => match scheme.as_str() {
            "http" | "ws" => 80,
            "https" | "wss" => 443,
            _ => 0,
        },
    };
    Some((scheme, host, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{mutate, replay};

    #[test]
    fn the_corpus_compares_alike() {
        replay("origin", origin);
    }

    #[test]
    fn twenty_thousand_mutations_compare_alike() {
        let words: [&[u8]; 22] = [
            b"https", b"http", b"wss", b"://", b":", b"/", b":443", b":80", b":0", b":00443", b":65536", b".", b"@", b"#",
            b"[::1]", b"]", b"null", b"*", b"%2e", b" ", b"\n", b"SHOP",
        ];
        let allowed = mutate("origin", &words, 20_000, compares_alike);
        assert!((1_000..18_000).contains(&allowed), "{allowed} were allowed");
    }
}
