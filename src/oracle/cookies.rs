//! Cookies of endpoints against a reading of the joined lines, letter by letter.

use crate::dialects::endpoints::cookies::find;

/// The first line is a name, the others are lines of the field.
pub fn cookies(bytes: &[u8]) {
    finds_alike(bytes);
}

/// Says whether the cookie was found.
fn finds_alike(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let (name, rest) = text.split_once('\n').unwrap_or((text, ""));
    let lines: Vec<&str> = rest.split('\n').collect();
    let found = find(lines.iter().copied(), name);
    let joined = lines.join(";");
    assert_eq!(found, plainly(&joined, name).as_deref(), "{text:?}");
    // However the pairs are spread over lines, and whatever blanks are around them.
    assert_eq!(found, find(joined.split(';'), name), "{text:?}");
    let spaced = joined.replace(';', "\t; ");
    assert_eq!(found, find([spaced.as_str()].into_iter(), name), "{text:?}");
    if let Some(value) = found {
        assert!(!value.is_empty() && joined.contains(&format!("{name}=")), "{text:?}");
        // Names are whole: the pair is not found under a longer or a shorter one.
        let pair = format!("{name}={value}");
        assert_eq!(find([format!("x{pair}").as_str()].into_iter(), name), None, "{text:?}");
    }
    // What comes first counts.
    if !name.is_empty() && !name.contains([';', '=', ' ', '\t']) {
        let first = format!("{name}=\"\"; {name}=\"first\"; {joined}");
        assert_eq!(find([first.as_str()].into_iter(), name), Some("first"), "{text:?}");
    }
    found.is_some()
}

fn plainly(joined: &str, name: &str) -> Option<String> {
    let letters: Vec<char> = joined.chars().chain([';']).collect();
    let mut pair: Vec<char> = Vec::new();
    for letter in letters {
        if letter != ';' {
            pair.push(letter);
            continue;
        }
        while pair.first().is_some_and(|letter| matches!(letter, ' ' | '\t')) {
            pair.remove(0);
        }
        while pair.last().is_some_and(|letter| matches!(letter, ' ' | '\t')) {
            pair.pop();
        }
        if let Some(at) = pair.iter().position(|&letter| letter == '=') {
            let mut value: String = pair[at + 1..].iter().collect();
            if value.len() >= 2 && value.starts_with('"') && value.ends_with('"') {
                value = value[1..value.len() - 1].to_owned();
            }
            if pair[..at].iter().collect::<String>() == name && !value.is_empty() {
                return Some(value);
            }
        }
        pair.clear();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{mutate, replay};

    #[test]
    fn the_corpus_is_found_alike() {
        replay("cookies", cookies);
    }

    #[test]
    fn twenty_thousand_mutations_are_found_alike() {
        let words: [&[u8]; 14] = [
            b";",
            b"; ",
            b"=",
            b" ",
            b"\t",
            b"\"",
            b"\"\"",
            b"\n",
            b"yawe_access_token",
            b"yawe_access_token=",
            b"__Secure-",
            b"t=\"",
            b"\xc3\xa9",
            b",",
        ];
        let found = mutate("cookies", &words, 20_000, finds_alike);
        assert!((2_000..18_000).contains(&found), "{found} were found");
    }
}
