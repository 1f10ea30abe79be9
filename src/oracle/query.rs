//! Queries of endpoints against form decoding byte by byte (WHATWG URL, section 5.1).

use crate::dialects::endpoints::query::{Given, Query};

/// Names that are always looked for, beside those that are there.
const NAMES: [&str; 6] = ["key", "masterKey", "accessToken", "uniqueId", "login", ""];

pub fn query(bytes: &[u8]) {
    reads_alike(bytes);
}

/// Says whether a key was given once.
fn reads_alike(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let pairs = plain_pairs(bytes);
    check(text, &pairs);
    // Escaped once more than needed, and with empty pieces between, it says the same.
    let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let again: Vec<String> = pairs.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    check(&format!("&{}&", again.join("&&")), &pairs);
    matches!(Query::read(text).once("key"), Given::Once(_))
}

fn check(text: &str, pairs: &[(String, String)]) {
    let query = Query::read(text);
    for name in NAMES.into_iter().chain(pairs.iter().map(|(name, _)| name.as_str())) {
        let values: Vec<&str> = pairs.iter().filter(|(sent, _)| sent == name).map(|(_, value)| value.as_str()).collect();
        let once = match values[..] {
            [] | [""] => Given::Absent,
            [one] => Given::Once(one),
            _ => Given::Twice,
        };
        assert_eq!(query.once(name), once, "{name:?} in {text:?}");
        let some: Vec<&str> = values.into_iter().filter(|value| !value.is_empty()).collect();
        assert_eq!(query.all(name).collect::<Vec<_>>(), some, "{name:?} in {text:?}");
        assert_eq!(query.first(name), some.first().copied());
        assert_eq!(query.is_on(name), some.first() == Some(&"true"));
    }
}

fn plain_pairs(bytes: &[u8]) -> Vec<(String, String)> {
    let (mut pairs, mut name, mut value, mut in_value, mut is_empty) = (Vec::new(), Vec::new(), Vec::new(), false, true);
    let mut at = 0;
    while at <= bytes.len() {
        let byte = bytes.get(at).copied();
        at += 1;
        let decoded = match byte {
            None | Some(b'&') => {
                let pair = [std::mem::take(&mut name), std::mem::take(&mut value)];
                let [name, value] = pair.map(|part: Vec<u8>| String::from_utf8_lossy(&part).into_owned());
                if !is_empty {
                    pairs.push((name, value));
                }
                (in_value, is_empty) = (false, true);
                continue;
            }
            Some(b'=') if !in_value => {
                (in_value, is_empty) = (true, false);
                continue;
            }
            Some(b'+') => b' ',
            Some(b'%') => {
                let digit = |at: usize| bytes.get(at).and_then(|&byte| char::from(byte).to_digit(16));
                match (digit(at), digit(at + 1)) {
                    (Some(high), Some(low)) => {
                        at += 2;
                        (high * 16 + low) as u8
                    }
                    _ => b'%',
                }
            }
            Some(other) => other,
        };
        is_empty = false;
        if in_value { value.push(decoded) } else { name.push(decoded) }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{mutate, replay};

    #[test]
    fn the_corpus_reads_alike() {
        replay("query", query);
    }

    #[test]
    fn twenty_thousand_mutations_read_alike() {
        let words: [&[u8]; 18] = [
            b"&",
            b"=",
            b"+",
            b"%",
            b"%2",
            b"%26",
            b"%3D",
            b"%3d",
            b"%2B",
            b"%25",
            b"%ff",
            b"%C3%A9",
            b"key=",
            b"&key=a",
            b"&KEY=a",
            b"k%65y=",
            b"masterKey=b&",
            b"accessToken",
        ];
        let accepted = mutate("query", &words, 20_000, reads_alike);
        assert!((2_000..18_000).contains(&accepted), "{accepted} had a key");
    }
}
