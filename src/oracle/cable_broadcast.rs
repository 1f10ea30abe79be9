//! Bodies of publishers of Action Cable against serde_json's trees.

use crate::dialects::action_cable::ingest::{self, Broadcast, Publication};
use crate::dialects::action_cable::options::{Options, Preset};
use crate::dialects::action_cable::rules::Rules;
use crate::json;
use serde_json::Value;
use std::sync::LazyLock;

const PAYLOAD_BYTES_MAX: usize = 200;

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let options = Options { preset: Some(Preset::Metasmoke), max_payload: PAYLOAD_BYTES_MAX as u64, ..Options::default() };
    Rules::new(&options).expect("the preset holds")
});

/// What is published is what the tree says, without what must never leave; what is not says why.
pub fn cable_broadcast(bytes: &[u8]) {
    reads_alike(bytes);
}

/// Says whether something was asked for.
fn reads_alike(bytes: &[u8]) -> bool {
    let rules = &*RULES;
    // Beyond serde_json's own bounds there is no tree to compare with.
    let tree = serde_json::from_slice::<Value>(bytes).ok();
    let events = ingest::events(rules, bytes);
    match &events {
        Ok(list) => {
            check_list(list);
            let tree = tree.as_ref().map(elements).into_iter().flatten();
            for (published, sent) in list.iter().zip(tree) {
                assert_eq!(published.stream.as_str().split(':').next(), Some("api"));
                let mut sent = sent.clone();
                remove(rules, published.stream.as_str(), &mut sent);
                assert_eq!(serde_json::from_slice::<Value>(&published.payload).ok(), Some(sent));
                assert!(published.payload.starts_with(b"{\"event_type\":\""));
                assert!(!published.transient && published.exclude_socket.is_none());
            }
        }
        Err(rejection) => check_rejection(rejection),
    }
    let asked = ingest::broadcast(rules, bytes);
    match &asked {
        Ok(Broadcast::Publish(list)) => {
            check_list(list);
            let tree = tree.as_ref().map(elements).into_iter().flatten();
            list.iter().zip(tree).for_each(|(published, sent)| check_publication(rules, published, sent));
        }
        Ok(Broadcast::Disconnect { name, reconnect }) => {
            let Some(tree) = &tree else { return true };
            assert_eq!((tree["command"].as_str(), tree["payload"]["identifier"].as_str()), (Some("disconnect"), Some(&**name)));
            assert_eq!(tree["payload"]["reconnect"].as_bool().unwrap_or(true), *reconnect);
        }
        Err(rejection) => {
            check_rejection(rejection);
            assert!(!tree.as_ref().is_some_and(is_plain_publication), "{}", rejection.error);
        }
    }
    events.is_ok() || asked.is_ok()
}

fn elements(tree: &Value) -> &[Value] {
    tree.as_array().map_or(std::slice::from_ref(tree), Vec::as_slice)
}

fn check_list(list: &[Publication]) {
    assert!((1..=1000).contains(&list.len()));
    for published in list {
        let stream = published.stream.as_str();
        assert!((1..=256).contains(&stream.len()) && !stream.starts_with('$'));
        assert!(published.payload.len() <= PAYLOAD_BYTES_MAX);
        let mut again = Vec::new();
        json::compact(&published.payload, &mut again, 64).expect("a payload is JSON");
        assert_eq!(again[..], published.payload[..]);
    }
}

fn check_rejection(rejection: &ingest::Rejection) {
    let body: Value = serde_json::from_str(&rejection.body()).expect("an answer is JSON");
    assert_eq!((body["error"].as_str(), body["index"].as_u64()), (Some(&*rejection.error), Some(rejection.index as u64)));
    assert!(rejection.index <= 1000 && !rejection.error.is_empty());
}

fn check_publication(rules: &Rules, published: &Publication, sent: &Value) {
    assert_eq!(Some(published.stream.as_str()), sent["stream"].as_str());
    assert_eq!(published.transient, sent["meta"]["transient"].as_bool().unwrap_or(false));
    let exclude = sent["meta"]["exclude_socket"].as_str().filter(|sid| !sid.is_empty());
    assert_eq!(published.exclude_socket.as_deref(), exclude);
    let data = sent["data"].as_str().expect("data is a string");
    if json::compact(data.as_bytes(), &mut Vec::new(), 64).is_err() {
        assert_eq!(serde_json::from_slice::<Value>(&published.payload).ok(), Some(Value::String(data.to_owned())));
    } else if let Ok(mut message) = serde_json::from_str::<Value>(data) {
        remove(rules, published.stream.as_str(), &mut message);
        assert_eq!(serde_json::from_slice::<Value>(&published.payload).ok(), Some(message));
    }
}

fn remove(rules: &Rules, stream: &str, message: &mut Value) {
    if let Some(Value::Object(object)) = message.get_mut("object") {
        rules.sensitive(stream).into_iter().for_each(|name| drop(object.remove(name)));
    }
}

/// Nothing could be said against it.
fn is_plain_publication(tree: &Value) -> bool {
    let (Some(stream), Some(data)) = (tree["stream"].as_str(), tree["data"].as_str()) else { return false };
    let harmless = tree.get("meta").is_none() && tree.get("command").is_none() && tree.is_object();
    // A control character takes six bytes as JSON.
    let small = data.len() < PAYLOAD_BYTES_MAX / 6 - 2;
    harmless && (1..=256).contains(&stream.len()) && !stream.starts_with('$') && small && !data.contains(['e', 'E', '\\', '['])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{mutate, replay};

    #[test]
    fn the_corpus_reads_alike() {
        replay("cable_broadcast", cable_broadcast);
    }

    #[test]
    fn five_thousand_mutations_read_alike() {
        let words: [&[u8]; 18] = [
            b"{\"stream\":\"s\",\"data\":\"1\"},",
            b"\"stream\":\"api:users_create\",",
            b"\"data\":\"{\\\"object\\\":{\\\"salt\\\":1}}\",",
            b"\"meta\":{\"transient\":true},",
            b"\"command\":\"disconnect\",",
            b"\"event_class\":\"User\",",
            b"\"object\":{\"salt\":1},",
            b"\\\"",
            b"\"",
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b" ",
            b"null",
            b"1e999",
            b"\\ud800",
        ];
        let held = mutate("cable_broadcast", &words, 5_000, reads_alike);
        assert!((500..4_900).contains(&held), "{held} were taken");
    }
}
