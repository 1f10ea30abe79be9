//! RFC 7396 over raw values: what a patch does not name keeps its text and its place.
//!
//! Each text is read once, whatever its depth.

use super::object::string;
use hashbrown::HashMap;
use memchr::memchr2;
use std::borrow::Cow;

/// The target after the patch. Both are JSON that `json::compact` wrote, which bounds how deep this goes down.
pub fn merge(target: &str, patch: &str) -> String {
    let mut out = String::with_capacity(target.len() + patch.len());
    let patch = Patch::read(&mut Reader::new(patch));
    patch.write(&patch.parts(&mut Reader::new(target)), &mut out);
    out
}

enum Patch<'a> {
    Value(&'a str),
    Object(Changes<'a>),
}

/// An object of the patch.
#[derive(Default)]
struct Changes<'a> {
    list: Vec<Change<'a>>,
    /// Places in the list. Of duplicate keys the last counts, here and in the target.
    by_name: HashMap<Cow<'a, str>, usize>,
}

struct Change<'a> {
    /// With its quotation marks and escapes.
    key: &'a str,
    value: Patch<'a>,
    /// A later one has this name.
    is_replaced: bool,
}

/// Of an object of the target, read as far down as the patch goes.
enum Part<'a> {
    /// Members next to each other that the patch does not name.
    Kept(&'a str),
    Named {
        key: &'a str,
        parts: Vec<Part<'a>>,
        /// Its place in the list of changes.
        change: usize,
    },
}

impl<'a> Patch<'a> {
    fn read(reader: &mut Reader<'a>) -> Patch<'a> {
        if !reader.begins_object() {
            return Patch::Value(reader.value());
        }
        let mut changes = Changes::default();
        reader.members(|key, reader| {
            if let Some(earlier) = changes.by_name.insert(name(key), changes.list.len()) {
                changes.list[earlier].is_replaced = true;
            }
            changes.list.push(Change { key, value: Patch::read(reader), is_replaced: false });
        });
        Patch::Object(changes)
    }

    fn removes(&self) -> bool {
        matches!(self, Patch::Value("null"))
    }

    /// Of the value that it is for: what it replaces anyway has none, as an object without members.
    fn parts<'t>(&self, reader: &mut Reader<'t>) -> Vec<Part<'t>> {
        match self {
            Patch::Object(changes) if reader.begins_object() => changes.parts(reader),
            Patch::Object(_) | Patch::Value(_) => {
                reader.value();
                Vec::new()
            }
        }
    }

    /// What it makes of them.
    fn write(&self, parts: &[Part<'_>], out: &mut String) {
        match self {
            Patch::Value(value) => out.push_str(value),
            Patch::Object(changes) => changes.write(parts, out),
        }
    }
}

impl Changes<'_> {
    fn parts<'t>(&self, reader: &mut Reader<'t>) -> Vec<Part<'t>> {
        let mut parts = Vec::new();
        // Where members begin that are kept, and where they end so far.
        let mut kept = None;
        reader.members(|key, reader| {
            let Some(&change) = self.by_name.get(&name(key)) else {
                let begin = kept.map_or(reader.at - key.len() - 1, |(begin, _)| begin);
                reader.value();
                kept = Some((begin, reader.at));
                return;
            };
            parts.extend(kept.take().map(|(begin, end)| Part::Kept(&reader.text[begin..end])));
            parts.push(Part::Named { key, parts: self.list[change].value.parts(reader), change });
        });
        parts.extend(kept.map(|(begin, end)| Part::Kept(&reader.text[begin..end])));
        parts
    }

    fn write(&self, target: &[Part<'_>], out: &mut String) {
        let mut places = vec![None; self.list.len()];
        for (place, part) in target.iter().enumerate() {
            if let Part::Named { change, .. } = part {
                places[*change] = Some(place);
            }
        }
        out.push('{');
        let mut first = true;
        for (place, part) in target.iter().enumerate() {
            match part {
                Part::Kept(members) => {
                    separate(&mut first, out);
                    out.push_str(members);
                }
                Part::Named { key, parts, change } => {
                    let patch = &self.list[*change].value;
                    if places[*change] == Some(place) && !patch.removes() {
                        write_key(key, &mut first, out);
                        patch.write(parts, out);
                    }
                }
            }
        }
        for (change, place) in self.list.iter().zip(places) {
            if place.is_none() && !change.is_replaced && !change.value.removes() {
                write_key(change.key, &mut first, out);
                // Nulls remove what is not there.
                change.value.write(&[], out);
            }
        }
        out.push('}');
    }
}

fn name(key: &str) -> Cow<'_, str> {
    string(key).expect("a key is a string")
}

fn separate(first: &mut bool, out: &mut String) {
    if !std::mem::take(first) {
        out.push(',');
    }
}

fn write_key(key: &str, first: &mut bool, out: &mut String) {
    separate(first, out);
    out.push_str(key);
    out.push(':');
}

/// Goes through JSON that is known to be valid and without white space.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Reader<'a> {
        Reader { text, at: 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn begins_object(&self) -> bool {
        self.peek() == Some(b'{')
    }

    /// Reads an object. `each` has to read the value of its key.
    fn members(&mut self, mut each: impl FnMut(&'a str, &mut Reader<'a>)) {
        self.at += 1;
        while self.peek() == Some(b'"') {
            let key = self.value();
            // The colon.
            self.at += 1;
            each(key, self);
            if self.peek() != Some(b',') {
                break;
            }
            self.at += 1;
        }
        // The brace.
        self.at += 1;
    }

    /// The text of a value of any kind.
    fn value(&mut self) -> &'a str {
        let begin = self.at;
        match self.peek() {
            Some(b'"') => self.skip_string(),
            Some(b'{' | b'[') => self.skip_container(),
            Some(_) | None => {
                let rest = &self.text.as_bytes()[begin..];
                self.at += rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']')).unwrap_or(rest.len());
            }
        }
        &self.text[begin..self.at]
    }

    fn skip_container(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.skip_string();
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                break;
            }
        }
    }

    fn skip_string(&mut self) {
        self.at += 1;
        while let Some(found) = memchr2(b'"', b'\\', &self.text.as_bytes()[self.at..]) {
            self.at += found;
            if self.peek() == Some(b'"') {
                self.at += 1;
                break;
            }
            // The backslash and what it escapes.
            self.at += 2;
        }
    }
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

    #[test]
    fn values_end_where_they_end() {
        let target = r#"{"s":"}\\\"]{,","l":[["]"],{"a":"\""}],"n":-0.1e+2,"t":true,"o":{"i":{"j":[]},"k":"{"},"e":{},"z":[]}"#;
        assert_eq!(merge(target, "{}"), target);
        assert_eq!(merge(target, r#"{"o":{"i":{"j":1}},"e":{}}"#), target.replace(r#""j":[]"#, r#""j":1"#));
        assert_eq!(
            merge(target, r#"{"s":null,"l":null,"n":null,"t":null,"o":{"i":null},"e":null}"#),
            r#"{"o":{"k":"{"},"z":[]}"#
        );
    }

    #[test]
    fn objects_are_merged_at_the_bottom_of_all_levels() {
        let nested = |inner: &str| format!("{}{inner}{}", r#"{"b":[{}],"a":"#.repeat(60), "}".repeat(60));
        let patch = nested(r#"{"m":{"n":null}}"#).replace(r#""b":[{}],"#, "");
        assert_eq!(merge(&nested(r#"{"l":[1]}"#), &patch), nested(r#"{"l":[1],"m":{}}"#));
    }
}
