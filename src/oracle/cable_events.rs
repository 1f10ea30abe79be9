//! The list of events that a subscription asks for, against the grammar as it is written.

use crate::dialects::action_cable::events::Events;
use crate::dialects::action_cable::identifier::Value;
use crate::dialects::action_cable::options::{ChannelOptions, Models};
use crate::dialects::action_cable::preset;
use std::collections::BTreeSet;
use std::sync::LazyLock;

const STREAMS_MAX: usize = 6;
const LEGACY: [&str; 4] = ["api_feedback", "api_flag_logs", "api_deletion_logs", "api_statistics"];

/// Any text gives the streams of the plain reading, none twice, and no more than the bound.
pub fn cable_events(bytes: &[u8]) {
    reads_alike(bytes);
}

/// A channel, and what is known of it: whether it is strict, and whether any token will do.
struct Case {
    events: Events,
    strict: bool,
    any: bool,
}

static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let case = |strict, any| {
        let mut options = ChannelOptions { strict: Some(strict), ..preset::metasmoke() };
        if any {
            options.models = Models::Any;
        }
        Case { events: Events::new(&options).expect("the preset holds"), strict, any }
    };
    vec![case(false, false), case(true, false), case(false, true), case(true, true)]
});

static TOKENS: LazyLock<BTreeSet<String>> = LazyLock::new(|| match preset::metasmoke().models {
    Models::Table(table) => table.into_values().collect(),
    Models::Any => unreachable!("the preset has a table"),
});

impl Case {
    fn knows(&self, model: &str) -> bool {
        let is_word = || model.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        if self.any { (1..=64).contains(&model.len()) && is_word() } else { TOKENS.contains(model) }
    }
}

/// Says whether it named streams of a table.
fn reads_alike(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    CASES.iter().filter(|case| check(text, case) && !case.any).count() > 0
}

fn check(text: &str, case: &Case) -> bool {
    let read = case.events.streams(Some(&Value::String(text.to_owned())), STREAMS_MAX);
    let read = read.map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>());
    match plainly(text, case) {
        Some(list) if list.len() <= STREAMS_MAX => assert_eq!(read.as_ref(), Ok(&list), "{text:?}"),
        Some(_) | None => assert!(read.is_err(), "{text:?}"),
    }
    read.is_ok_and(|list| !list.is_empty())
}

/// `None` is a reject.
fn plainly(text: &str, case: &Case) -> Option<Vec<String>> {
    if text.chars().all(char::is_whitespace) {
        return Some(LEGACY.map(str::to_owned).into());
    }
    let mut streams = Vec::new();
    for item in text.split(';').map(str::trim) {
        if item.is_empty() {
            continue;
        }
        let (model, types) = if item.contains('#') {
            let mut parts: Vec<&str> = item.split('#').map(str::trim).collect();
            while parts.last() == Some(&"") {
                parts.pop();
            }
            if parts.len() < 2 {
                return None;
            }
            (parts[0], parts[1].split(',').map(str::trim).filter(|kind| !kind.is_empty()).collect())
        } else {
            (item, vec!["create", "update"])
        };
        if case.strict && !case.knows(model) {
            return None;
        }
        for kind in types {
            let known_type = ["create", "update", "destroy"].contains(&kind);
            if case.strict && !known_type {
                return None;
            }
            let stream = format!("api:{model}_{kind}");
            if case.knows(model) && known_type && !streams.contains(&stream) {
                streams.push(stream);
            }
        }
    }
    Some(streams)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{mutate, replay};

    #[test]
    fn the_corpus_reads_alike() {
        replay("cable_events", cable_events);
    }

    #[test]
    fn ac_50_ten_thousand_mutations_read_alike() {
        let words: [&[u8]; 16] = [
            b";",
            b"#",
            b",",
            b"##",
            b" ",
            b"\xc2\xa0",
            b"\t",
            b"posts",
            b"users",
            b"ref",
            b"create",
            b"update",
            b"destroy",
            b"Create",
            b"unicorns",
            b"_",
        ];
        let held = mutate("cable_events", &words, 10_000, reads_alike);
        assert!((1_000..9_500).contains(&held), "{held} named streams");
    }
}
