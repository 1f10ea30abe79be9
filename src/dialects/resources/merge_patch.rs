//! RFC 7396 over raw values: what a patch does not name keeps its text and its place.

use super::members::{Member, Members};
use std::collections::BTreeMap;

/// The target after the patch. Both are JSON that `json::compact` wrote, which bounds how deep this goes down.
pub fn merge(target: &str, patch: &str) -> String {
    let mut out = String::with_capacity(target.len() + patch.len());
    write(Some(target), patch, &mut out);
    out
}

/// Without a target, nulls of the patch remove what is not there.
fn write(target: Option<&str>, patch: &str, out: &mut String) {
    let Some(Members(changes)) = Members::of(patch) else {
        out.push_str(patch);
        return;
    };
    let Members(target) = target.and_then(Members::of).unwrap_or_default();
    // Of duplicate keys the last counts, here and there.
    let change_of = last_places(&changes);
    let place_of = last_places(&target);
    out.push('{');
    let mut first = true;
    for (place, member) in target.iter().enumerate() {
        match change_of.get(&*member.name) {
            None => {
                write_key(member, &mut first, out);
                out.push_str(member.value);
            }
            Some(&change) if place_of[&*member.name] == place && changes[change].value != "null" => {
                write_key(member, &mut first, out);
                write(Some(member.value), changes[change].value, out);
            }
            Some(_) => {}
        }
    }
    for (place, change) in changes.iter().enumerate() {
        let is_new = !place_of.contains_key(&*change.name);
        if is_new && change_of[&*change.name] == place && change.value != "null" {
            write_key(change, &mut first, out);
            write(None, change.value, out);
        }
    }
    out.push('}');
}

fn last_places<'a>(members: &'a [Member<'_>]) -> BTreeMap<&'a str, usize> {
    members.iter().enumerate().map(|(place, member)| (&*member.name, place)).collect()
}

fn write_key(member: &Member<'_>, first: &mut bool, out: &mut String) {
    if !std::mem::take(first) {
        out.push(',');
    }
    out.push_str(member.key);
    out.push(':');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7396, appendix A.
    #[test]
    fn rs_56_the_examples_of_the_rfc() {
        for (target, patch, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, r#"{}"#),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, "null", "null"),
            (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            assert_eq!(merge(target, patch), result, "{target} {patch}");
        }
    }

    #[test]
    fn number_texts_escapes_and_places_are_kept() {
        let target = r#"{"z":1.00e+2,"\u0061":{"n":12345678901234567890123,"m":-0},"k":"\/"}"#;
        assert_eq!(
            merge(target, r#"{"y":1E2,"a":{"m":[null,0.10]},"k":"\u0041"}"#),
            r#"{"z":1.00e+2,"\u0061":{"n":12345678901234567890123,"m":[null,0.10]},"k":"\u0041","y":1E2}"#
        );
    }

    #[test]
    fn the_last_of_duplicate_keys_counts() {
        assert_eq!(merge(r#"{"a":1,"b":2,"a":{"x":1}}"#, r#"{"a":{"y":2}}"#), r#"{"b":2,"a":{"x":1,"y":2}}"#);
        assert_eq!(merge(r#"{"a":1,"a":2,"b":3}"#, r#"{"a":null}"#), r#"{"b":3}"#);
        assert_eq!(merge(r#"{"a":1}"#, r#"{"a":null,"b":1,"a":3,"b":2}"#), r#"{"a":3,"b":2}"#);
        assert_eq!(merge(r#"{"a":1,"a":2}"#, r#"{"b":1}"#), r#"{"a":1,"a":2,"b":1}"#);
    }

    /// A list of names per key would make this take minutes.
    #[test]
    fn many_keys_take_time_in_proportion() {
        let object = |value: u32| {
            let members: Vec<String> = (0..50_000).map(|key| format!("\"k{key}\":{value}")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert_eq!(merge(&object(1), &object(2)), object(2));
    }
}
