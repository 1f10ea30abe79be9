//! Commands of Action Cable, and the identifiers inside, against serde_json's trees.

use crate::dialects::action_cable::command::{self, BadInput, Command, History, Position};
use crate::dialects::action_cable::identifier::{self, Identifier, Value as Param};
use crate::json;
use crate::oracle::json_payload::tokens;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

const DEPTH_MAX: usize = 64;

/// simd-json, with everything around it, reads what serde_json reads.
pub fn cable_command(bytes: &[u8]) {
    reads_alike(bytes);
}

/// Says whether it was a command.
fn reads_alike(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    check_identifier(text);
    let mut held = false;
    for extended in [false, true] {
        let command = command::read(text, extended);
        if let Ok(Command::Subscribe { identifier, .. }) = &command {
            check_identifier(identifier);
        }
        // `None` only for numbers at the very edge of the floats.
        let Some(expected) = plainly(text, extended) else { continue };
        assert!(command == expected, "{text:?}");
        held |= command.is_ok();
    }
    held
}

fn is_acceptable(text: &str) -> bool {
    json::compact(text.as_bytes(), &mut Vec::new(), DEPTH_MAX).is_ok()
}

fn plainly(text: &str, extended: bool) -> Option<Result<Command, BadInput>> {
    if !is_acceptable(text) {
        return Some(Err(BadInput::NotJson));
    }
    let Value::Object(object) = serde_json::from_str(text).ok()? else { return Some(Err(BadInput::NotObject)) };
    Some(expected(&object, text, extended))
}

/// A tree has no texts: it rounds numbers and loses the order of members.
fn text_of_data(text: &str) -> Option<Vec<u8>> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    Some(tokens(members.get("data")?.get()).concat().into_bytes())
}

fn expected(object: &Map<String, Value>, text: &str, extended: bool) -> Result<Command, BadInput> {
    let verb = object.get("command").and_then(Value::as_str).ok_or(BadInput::Command)?;
    let base = ["subscribe", "unsubscribe", "message"];
    let more = ["history", "whisper", "presence", "join", "leave", "ping", "pong"];
    let known = base.contains(&verb) || extended && more.contains(&verb);
    if !known {
        return Err(BadInput::Command);
    }
    let identifier = object.get("identifier").and_then(Value::as_str).map(str::to_owned).ok_or(BadInput::Identifier);
    let history = extended.then(|| object.get("history").and_then(Value::as_object).map(history)).flatten();
    Ok(match verb {
        "ping" => Command::Ping,
        "pong" => Command::Pong,
        "subscribe" => Command::Subscribe { identifier: identifier?, history },
        "unsubscribe" => Command::Unsubscribe { identifier: identifier? },
        "message" => Command::Message { identifier: identifier? },
        "history" => Command::History { identifier: identifier?, history: history.unwrap_or_default() },
        "presence" => Command::Presence { identifier: identifier? },
        "join" => Command::Join { identifier: identifier? },
        "leave" => Command::Leave { identifier: identifier? },
        _ => Command::Whisper { identifier: identifier?, data: text_of_data(text).ok_or(BadInput::Data)? },
    })
}

fn history(object: &Map<String, Value>) -> History {
    let streams = object.get("streams").and_then(Value::as_object).into_iter().flatten();
    let position = |value: &Value| {
        Some(Position { epoch: value.get("epoch")?.as_str()?.to_owned(), offset: value.get("offset")?.as_u64()? })
    };
    History {
        since: object.get("since").and_then(Value::as_u64),
        streams: streams.map(|(name, value)| (name.clone(), position(value))).collect(),
    }
}

fn check_identifier(text: &str) {
    let token = identifier::token(text);
    assert_eq!(serde_json::from_str::<String>(&token).ok().as_deref(), Some(text));
    let read = Identifier::parse(text);
    if !is_acceptable(text) {
        assert!(read.is_none(), "{text:?}");
        return;
    }
    let Ok(tree) = serde_json::from_str::<Value>(text) else { return };
    let channel = tree.as_object().and_then(|object| object.get("channel")).and_then(Value::as_str);
    assert_eq!(read.as_ref().map(|read| read.channel.as_str()), channel, "{text:?}");
    let (Some(read), Value::Object(object)) = (read, tree) else { return };
    for (name, value) in object {
        let same = match (read.param(&name), &value) {
            (Some(Param::String(text)), Value::String(same)) => text == same,
            (Some(Param::Null), Value::Null) => true,
            // Beyond 64 bits, and as `-0`, an integer is a float in the tree.
            (Some(Param::Integer(digits)), Value::Number(number)) => {
                number.is_f64() && digits.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit())
                    || number.to_string() == *digits
            }
            (Some(Param::Other), Value::Number(number)) => number.is_f64(),
            (Some(Param::Other), Value::Bool(_) | Value::Array(_) | Value::Object(_)) => true,
            (_, _) => false,
        };
        assert!(same, "{name:?} of {text:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{mutate, replay};

    #[test]
    fn the_corpus_reads_alike() {
        replay("cable_command", cable_command);
    }

    #[test]
    fn ten_thousand_mutations_read_alike() {
        let words: [&[u8]; 25] = [
            b"\"command\":\"subscribe\",",
            b"\"command\":5,",
            b"\"identifier\":\"a\",",
            b"\"identifier\":null,",
            b"\"history\":{\"since\":1},",
            b"\"data\":[1.0],",
            b"0.000000000000000000000000000010000000152494978469052",
            b"\\u0063",
            b"\\\"",
            b"\\ud800",
            b"\"",
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b" ",
            b"-0",
            b"1e9",
            b"18446744073709551616",
            b"null",
            b"whisper",
            b"history",
            b"\xc3\xa9",
        ];
        let held = mutate("cable_command", &words, 10_000, reads_alike);
        assert!((1_000..9_500).contains(&held), "{held} were commands");
    }
}
