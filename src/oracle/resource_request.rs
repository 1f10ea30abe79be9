//! Messages of `resources` against a reading through a tree of values, and the shape of every answer to them.

use crate::dialects::resources::frame::{self, Reply};
use crate::dialects::resources::message::{self, Act, Reference};
use crate::dialects::resources::name::{Kind, Name};
use crate::dialects::resources::version::Version;
use crate::json::compact;
use crate::json::object::Members;
use serde_json::Value;

const DEPTH_MAX: usize = 32;

/// The bytes are one text message.
pub fn resource_request(bytes: &[u8]) {
    reads_alike(bytes);
}

/// Says whether the message is a request.
fn reads_alike(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let names = ["public".to_owned(), "private".to_owned()];
    let read = message::read(text, &names);
    let (reference, name) = match &read {
        Ok(request) => match &request.act {
            Act::Subscribe { name, .. } | Act::Unsubscribe { name } => (&request.reference, Some(name)),
            Act::Authenticate { .. } => (&request.reference, None),
        },
        Err(malformed) => (&malformed.reference, malformed.name.as_ref()),
    };
    check_answers(reference.as_ref(), name);
    // `json_payload` holds that pass to serde_json. A tree is refused only for numbers at the very edge of the floats.
    let is_json = compact(bytes, &mut Vec::new(), DEPTH_MAX).is_ok();
    let tree = match serde_json::from_str::<Value>(text) {
        Ok(tree) if is_json => tree,
        Err(_) if is_json => return read.is_ok(),
        _ => Value::Null,
    };
    // A tree makes a float of `-0`.
    if tree["ref"].as_f64() != Some(0.0) || tree["ref"].is_u64() {
        assert_eq!(reference.as_ref(), plain_reference(&tree).unwrap_or(None).as_ref(), "{text}");
        assert_eq!(read.as_ref().ok().map(|request| &request.act), plain_act(&tree).as_ref(), "{text}");
    }
    if plain_reference(&tree).is_some() {
        assert_eq!(
            read.is_err().then_some(name).flatten(),
            read.is_err().then(|| plain_name(&tree)).flatten().as_ref(),
            "{text}"
        );
    }
    read.is_ok()
}

/// `None` if there is a wrong one.
fn plain_reference(tree: &Value) -> Option<Option<Reference>> {
    match tree.get("ref") {
        None => Some(None),
        Some(Value::String(text)) if text.len() <= 64 => Some(Some(Reference::Text(text.clone()))),
        Some(Value::Number(number)) => {
            let number = number.as_i64().filter(|number| number.abs() < 1 << 53)?;
            Some(Some(Reference::Number(number)))
        }
        Some(_) => None,
    }
}

fn plain_name(tree: &Value) -> Option<Name> {
    let resource = tree.get("resource")?;
    let (kind, id) = (resource.get("type")?.as_str()?, resource.get("id")?.as_str()?);
    if id.is_empty() || id.len() > 512 || id.chars().any(|letter| letter < ' ' || letter == '\u{7f}') {
        return None;
    }
    let parts: Vec<&str> = id.split(':').collect();
    let (kind, holds) = match kind {
        "kvStore" => {
            let store = parts.len() >= 3 && ["kvstoreClient", "kvstoreServer"].contains(&parts[1]);
            (Kind::KvStore, store && !parts[0].is_empty() && !parts[2..].join(":").is_empty())
        }
        "collection" => {
            let user = |text: &str| (1..129).contains(&text.len()) && text != "World" && !text.contains(char::is_control);
            (
                Kind::Collection,
                ["public", "private"].contains(&parts[0]) && (parts.len() == 1 || parts.len() == 2 && user(parts[1])),
            )
        }
        "liveConfig" => (Kind::LiveConfig, true),
        _ => return None,
    };
    // The parts were looked at here; the name is only carried.
    let name = holds.then(|| Name::parse(kind, id, &[parts[0].to_owned()]).expect("the grammar holds"))?;
    let canonical = match (kind, parts.len()) {
        (Kind::Collection, 1) => None,
        _ => Some(id),
    };
    assert_eq!(name.of(None).as_ref().map(|resource| resource.id()), canonical);
    let mine = name.of(Some("u1")).expect("a caller has its own");
    assert_eq!(mine.id(), canonical.map_or(format!("{id}:u1"), str::to_owned));
    assert_eq!(mine.short_id(), if kind == Kind::Collection { parts[0] } else { id });
    Some(name)
}

fn plain_act(tree: &Value) -> Option<Act> {
    plain_reference(tree)?;
    let since = match tree.get("since") {
        None => None,
        Some(since) => Some(Version::parse(since.as_str()?).filter(|version| *since == *version.to_string())?),
    };
    let snapshot = tree.get("snapshot").map_or(Some(true), Value::as_bool)?;
    match tree.get("action")?.as_str()? {
        "subscribe" => Some(Act::Subscribe { name: plain_name(tree)?, since, snapshot }),
        "unsubscribe" => Some(Act::Unsubscribe { name: plain_name(tree)? }),
        "authenticate" => Some(Act::Authenticate { authorization: tree.get("authorization")?.as_str()?.to_owned() }),
        _ => None,
    }
}

/// Every answer is one object of compact JSON with its keys in order.
fn check_answers(reference: Option<&Reference>, name: Option<&Name>) {
    let replies = [
        (Reply::Missing(name.map_or(Kind::KvStore, Name::kind)), vec!["warning", "message"]),
        (Reply::Malformed, vec!["error"]),
        (Reply::Forbidden, vec!["error"]),
        (Reply::TooManySubscriptions, vec!["error"]),
        (Reply::RateLimited, vec!["error"]),
        (Reply::Subscribed, vec!["ok"]),
        (Reply::Unsubscribed, vec!["ok"]),
        (Reply::Authenticated, vec!["ok"]),
    ];
    for (reply, mut keys) in replies {
        let mut out = Vec::new();
        let is_sent = frame::reply(reply, reference, name, &mut out);
        assert_eq!(is_sent, !out.is_empty());
        if reference.is_some() {
            keys.insert(0, "ref");
            keys.extend(name.map(|_| "resource"));
        }
        if is_sent {
            check_frame(&out, &keys, reference, name);
        } else {
            assert!(reference.is_none() && matches!(reply, Reply::Subscribed | Reply::Unsubscribed));
        }
    }
    let Some(resource) = name.and_then(|name| name.of(Some("u1"))) else { return };
    let version = Version::at(1_706_629_835_742);
    let mut out = Vec::new();
    frame::document(&resource, br#"{"a":[1.0]}"#, version, &mut out);
    let mut keys = vec!["userId", "resource", "data", "version"];
    if resource.owner().is_none() {
        keys.remove(0);
    }
    check_frame(&out, &keys, None, name);
    let tree: Value = serde_json::from_slice(&out).expect("a frame is JSON");
    assert_eq!(tree["userId"].as_str(), resource.owner());
    if let Some(reference) = reference {
        let mut again = Vec::new();
        frame::referenced(reference, &out, &mut again);
        keys.insert(0, "ref");
        check_frame(&again, &keys, Some(reference), name);
        assert!(again.ends_with(&out[1..]));
    }
}

fn check_frame(frame: &[u8], keys: &[&str], reference: Option<&Reference>, name: Option<&Name>) {
    let text = std::str::from_utf8(frame).expect("a frame is text");
    let mut again = Vec::new();
    compact(frame, &mut again, DEPTH_MAX).expect(text);
    assert_eq!(frame, again, "{text}");
    let members = Members::of(text).expect(text);
    assert!(members.0.iter().map(|member| &*member.name).eq(keys.iter().copied()), "{text}");
    let tree: Value = serde_json::from_str(text).expect(text);
    match reference {
        Some(Reference::Number(number)) => assert_eq!(tree["ref"], *number),
        Some(Reference::Text(text)) => assert_eq!(tree["ref"], **text),
        None => assert!(tree.get("ref").is_none()),
    }
    if let (Some(resource), Some(name)) = (tree.get("resource"), name) {
        assert_eq!(*resource, serde_json::json!({ "type": name.kind().word(), "id": name.short_id() }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{mutate, replay};

    #[test]
    fn the_corpus_reads_alike() {
        replay("resource_request", resource_request);
    }

    #[test]
    fn twenty_thousand_mutations_read_alike() {
        let words: [&[u8]; 24] = [
            b" ",
            b"\n",
            b"\"",
            b"{",
            b"}",
            b",",
            b":",
            b"\\u0000",
            b"\\u0041",
            b"\\ud800",
            b"\xc3\xa9",
            b"null",
            b"1e400",
            b"-0",
            b"7",
            b"World",
            b"private",
            b":u1",
            b"kvstoreClient",
            b"\"ref\":7,",
            b"\"ref\":\"a\",",
            b"\"snapshot\":false,",
            b"\"since\":\"2024-01-30T15:50:35.742Z\",",
            b"\"action\":\"unsubscribe\",",
        ];
        let accepted = mutate("resource_request", &words, 20_000, reads_alike);
        assert!((2_000..18_000).contains(&accepted), "{accepted} were accepted");
    }
}
