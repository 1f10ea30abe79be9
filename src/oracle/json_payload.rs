//! `json::compact` against serde_json and a naive reading of our extra rules.

use crate::json::compact;
use serde_json::Value;
use serde_json::value::RawValue;

const DEPTH_MAX: usize = 64;

/// Accepts exactly what serde_json and the extra rules accept, and writes the same value, once and for all.
pub fn json_payload(bytes: &[u8]) {
    let mut out = b"kept".to_vec();
    let accepted = compact(bytes, &mut out, DEPTH_MAX).is_ok();
    assert_eq!(accepted, is_acceptable(bytes), "{:?}", String::from_utf8_lossy(bytes));
    let written = out.strip_prefix(b"kept").expect("what was in the buffer stays");
    if !accepted {
        assert!(written.is_empty());
        return;
    }
    assert_eq!(written, without_white_space(bytes));
    assert_eq!(value(written), value(bytes));
    let mut again = Vec::new();
    compact(written, &mut again, DEPTH_MAX).expect("the output is acceptable");
    assert_eq!(again, written);
}

/// `None` only for numbers at the very edge of the floats, where serde_json rounds otherwise than the standard library.
fn value(text: &[u8]) -> Option<Value> {
    serde_json::from_slice(text).ok()
}

/// serde_json delimits values of any depth without looking at surrogates or sizes of numbers: those rules are ours.
fn is_acceptable(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    if serde_json::from_str::<&RawValue>(text).is_err() {
        return false;
    }
    let mut depth = 0;
    for token in tokens(text) {
        match token.as_bytes()[0] {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b'"' if serde_json::from_str::<String>(token).is_err() => return false,
            b'-' | b'0'..=b'9' if !token.parse::<f64>().is_ok_and(f64::is_finite) => return false,
            _ => {}
        }
        if depth > DEPTH_MAX {
            return false;
        }
    }
    true
}

fn without_white_space(bytes: &[u8]) -> Vec<u8> {
    tokens(std::str::from_utf8(bytes).expect("accepted text is UTF-8")).concat().into_bytes()
}

/// Cuts valid JSON into strings, punctuation and words.
pub(super) fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let Some(&first) = rest.as_bytes().first() else { return tokens };
        let length = match first {
            b'"' => {
                let mut at = 1;
                while rest.as_bytes()[at] != b'"' {
                    at += if rest.as_bytes()[at] == b'\\' { 2 } else { 1 };
                }
                at + 1
            }
            b'[' | b']' | b'{' | b'}' | b',' | b':' => 1,
            _ => rest.find([' ', '\t', '\r', '\n', ',', ']', '}', ':']).unwrap_or(rest.len()),
        };
        let (token, behind) = rest.split_at(length);
        tokens.push(token);
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: [&str; 10] = [
        r#"{"topic":"news","data":{"hello":"world","list":[1,2.5,-3e10,true,false,null]},"id":"order-17"}"#,
        " [ { \"a\" : [ ] , \"b\" : { } } , \"x\\ty\" ,\r\n 0.1e-5 ] ",
        r#""\u0041\ud83d\ude00\\\"\/\b\f\n\r\t é 😀""#,
        "[1e308,1e309,-1e999,123456789012345678901234567890,0.000001]",
        r#"["\ud800","\udc00\ud800","\ud800\u0041"]"#,
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
        "-0",
        "[01,1.,.5,+1,1e,1e+,--1,- 1]",
        "{\"a\":1,\"a\":2,}",
        "tru",
    ];

    const SOFT_PIECES: [&[u8]; 5] = [b" ", b"\n", b"7", b"\xc3\xa9", b"\\n"];

    const PIECES: [&[u8]; 22] = [
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b":",
        b"\"",
        b"\\",
        b"\\u",
        b"d83d",
        b"e",
        b".",
        b"-",
        b"0",
        b"9",
        b" ",
        b"\n",
        b"\0",
        b"\xff",
        b"\xc3\xa9",
        b"null",
        b"{\"k\":1}",
    ];

    struct Xorshift(u64);

    impl Xorshift {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % bound as u64) as usize
        }
    }

    #[test]
    fn twenty_thousand_mutations_keep_the_rules() {
        let mut random = Xorshift(0x9E37_79B9_7F4A_7C15);
        let mut accepted = 0;
        for round in 0..20_000 {
            let mut bytes = SEEDS[round % SEEDS.len()].as_bytes().to_vec();
            // The first rounds check the seeds themselves.
            let mutations = if round < SEEDS.len() { 0 } else { 1 + random.below(3) };
            for _ in 0..mutations {
                let at = random.below(bytes.len() + 1);
                // Half of them only insert what often leaves JSON valid, so that both answers are reached.
                let (until, piece) = match random.below(2) {
                    0 => (at, SOFT_PIECES[random.below(SOFT_PIECES.len())]),
                    _ => ((at + random.below(3)).min(bytes.len()), PIECES[random.below(PIECES.len())]),
                };
                bytes.splice(at..until, piece.iter().copied());
            }
            json_payload(&bytes);
            accepted += u32::from(is_acceptable(&bytes));
        }
        assert!((1_000..19_000).contains(&accepted), "the mutations are one-sided: {accepted} were accepted");
    }

    #[test]
    fn the_corpus_keeps_the_rules() {
        let mut files = 0;
        for entry in std::fs::read_dir("fuzz/corpus/json_payload").unwrap() {
            json_payload(&std::fs::read(entry.unwrap().path()).unwrap());
            files += 1;
        }
        assert!(files >= 6, "{files} files");
    }
}
