//! Removal of members against a cut of the text into tokens.

use super::json_payload::tokens;
use crate::dialects::action_cable::sensitive;
use crate::json;

const NAMES: [&str; 3] = ["key", "é", ""];

/// What is left is JSON without the listed names at the top, and otherwise the same bytes.
pub fn cable_sensitive(bytes: &[u8]) {
    removes(bytes);
}

/// Says whether something was removed.
fn removes(bytes: &[u8]) -> bool {
    let mut compact = Vec::new();
    if json::compact(bytes, &mut compact, 64).is_err() {
        return false;
    }
    let text = std::str::from_utf8(&compact).expect("accepted text is UTF-8");
    let mut out = Vec::new();
    let removed = sensitive::remove(text, &NAMES, &mut out);
    assert_eq!(removed.is_some(), text.starts_with('{'), "{text}");
    if removed.is_some() {
        assert_eq!(String::from_utf8_lossy(&out), plainly(text));
        let mut again = Vec::new();
        json::compact(&out, &mut again, 64).expect("what is left is JSON");
        assert_eq!(again, out);
        let mut names = Vec::new();
        json::members(text, |_, _| {}).expect("an object");
        json::members(std::str::from_utf8(&out).expect("text"), |key, _| names.extend(json::string(key))).expect("an object");
        assert!(names.iter().all(|name| !NAMES.contains(&name.as_str())), "{text}");
    }
    // One level down, in an event that somebody else wrote.
    let event = format!("{{\"a\":{text},\"object\":{text}}}");
    let left = String::from_utf8(sensitive::remove_in_event(&event, &NAMES)).expect("text stays text");
    let inner = if text.starts_with('{') { plainly(text) } else { text.to_owned() };
    assert_eq!(left, format!("{{\"a\":{text},\"object\":{inner}}}"));
    out.len() < text.len() && removed.is_some()
}

/// Members are the tokens between the commas that stand in no inner array or object.
fn plainly(object: &str) -> String {
    let all = tokens(object);
    let mut members = vec![Vec::new()];
    let mut depth = 0;
    for token in &all[1..all.len() - 1] {
        match *token {
            "[" | "{" => depth += 1,
            "]" | "}" => depth -= 1,
            _ => {}
        }
        match *token {
            "," if depth == 0 => members.push(Vec::new()),
            _ => members.last_mut().expect("one at least").push(*token),
        }
    }
    members.retain(|member| {
        member.first().is_some_and(|key| {
            let name: String = serde_json::from_str(key).expect("a key is a string");
            !NAMES.contains(&name.as_str())
        })
    });
    format!("{{{}}}", members.iter().map(|member| member.concat()).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{mutate, replay};

    #[test]
    fn the_corpus_keeps_the_rules() {
        replay("cable_sensitive", cable_sensitive);
    }

    #[test]
    fn ac_63_ten_thousand_mutations_keep_the_rules() {
        let words: [&[u8]; 16] = [
            b"\"key\":1,",
            b",\"k\\u0065y\":[]",
            b"\"\":{},",
            b"\"\\u00e9\":null,",
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b"\"",
            b"\\",
            b" ",
            b"1e5",
            b"\"object\":",
            b"\xc3\xa9",
        ];
        let held = mutate("cable_sensitive", &words, 10_000, removes);
        assert!((500..9_500).contains(&held), "{held} lost members");
    }
}
