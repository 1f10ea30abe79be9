//! Merge patches over raw values against the RFC's own algorithm over a tree.

use crate::dialects::resources::document::Text;
use crate::json::object::Members;
use serde_json::{Map, Value};

/// The first line is the target, what follows is the patch.
pub fn merge_patch(bytes: &[u8]) {
    agrees(bytes);
}

/// Says whether both were JSON.
fn agrees(bytes: &[u8]) -> bool {
    let mut parts = bytes.splitn(2, |&byte| byte == b'\n');
    let (target, patch) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (Ok(target), Ok(patch)) = (Text::read(target), Text::read(patch)) else { return false };
    let result = target.patched(&patch);
    assert_eq!(Text::read(result.as_str().as_bytes()).as_ref(), Ok(&result), "the result is a document");
    assert_eq!(result.patched(&patch), result, "{} {}", target.as_str(), patch.as_str());

    // A tree is refused only for numbers at the very edge of the floats.
    let tree = |text: &Text| serde_json::from_str::<Value>(text.as_str()).ok();
    if let (Some(before), Some(change), Some(after)) = (tree(&target), tree(&patch), tree(&result)) {
        assert_eq!(after, plain_merge(before, change), "{} {}", target.as_str(), patch.as_str());
    }

    let Some(changes) = Members::of(patch.as_str()) else {
        assert_eq!(result, patch);
        return true;
    };
    let after = Members::of(result.as_str()).expect("an object makes an object");
    let before = Members::of(target.as_str()).unwrap_or_default();
    let untouched = |members: Members<'_>| {
        let texts = members.0.into_iter().filter(|member| changes.last(&member.name).is_none());
        texts.map(|member| (member.key.to_owned(), member.value.to_owned())).collect::<Vec<_>>()
    };
    for change in &changes.0 {
        match changes.last(&change.name).expect("it is there") {
            "null" => assert_eq!(after.last(&change.name), None),
            object if object.starts_with('{') => assert!(after.last(&change.name).is_some_and(|value| value.starts_with('{'))),
            other => assert_eq!(after.last(&change.name), Some(other)),
        }
        let count = after.0.iter().filter(|member| member.name == change.name).count();
        assert!(count <= 1, "what is touched is there once");
    }
    assert_eq!(untouched(after), untouched(before));
    true
}

/// RFC 7396, section 2.
fn plain_merge(target: Value, patch: Value) -> Value {
    let Value::Object(patch) = patch else { return patch };
    let mut target = match target {
        Value::Object(target) => target,
        _ => Map::new(),
    };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(&name);
        } else {
            let merged = plain_merge(target.remove(&name).unwrap_or(Value::Null), value);
            target.insert(name, merged);
        }
    }
    Value::Object(target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{mutate, replay};

    #[test]
    fn the_corpus_agrees() {
        replay("merge_patch", merge_patch);
    }

    #[test]
    fn twenty_thousand_mutations_agree() {
        let words: [&[u8]; 20] = [
            b"null",
            b"{}",
            b"[]",
            b"{\"a\":1}",
            b"{\"a\":null}",
            b"\"a\":",
            b"\"b\":{\"c\":null},",
            b"\"\\u0061\":2,",
            b",",
            b":",
            b"{",
            b"}",
            b"\"",
            b"1",
            b"1.0",
            b"1e2",
            b" ",
            b"\n",
            b"\\u00e9",
            b"\xc3\xa9",
        ];
        let accepted = mutate("merge_patch", &words, 20_000, agrees);
        assert!((2_000..18_000).contains(&accepted), "{accepted} were accepted");
    }
}
