//! One text frame of a client becomes a command, or a kind of bad input.

use super::identifier::DEPTH_MAX;
use crate::json;
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use simd_json::Buffers;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// What a client asks for. Identifiers are decoded; they are secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Command {
    Subscribe {
        identifier: String,
        history: Option<History>,
    },
    Unsubscribe {
        identifier: String,
    },
    Message {
        identifier: String,
    },
    History {
        identifier: String,
        history: History,
    },
    /// `data` is JSON without white space.
    Whisper {
        identifier: String,
        data: Vec<u8>,
    },
    Presence {
        identifier: String,
    },
    Join {
        identifier: String,
    },
    Leave {
        identifier: String,
    },
    Ping,
    Pong,
}

/// From where a client wants what it missed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Unix seconds.
    pub since: Option<u64>,
    /// The last entry of each stream, in the order of their names; `None` is one that says no position.
    pub streams: Vec<(String, Option<Position>)>,
}

/// The last message of a stream that a client has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub epoch: String,
    pub offset: u64,
}

/// Why a frame is ignored. Only counted, never answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BadInput {
    /// A binary frame.
    Binary,
    /// Not JSON by the rules of all JSON that is taken here.
    NotJson,
    NotObject,
    /// `command` is missing, no string, or none that this connection knows.
    Command,
    /// `identifier` is missing or no string.
    Identifier,
    /// A whisper that says nothing.
    Data,
    /// `unsubscribe`, `message` or `whisper` for an identifier that is not live.
    NotLive,
}

impl BadInput {
    pub const ALL: [BadInput; 7] = [
        BadInput::Binary,
        BadInput::NotJson,
        BadInput::NotObject,
        BadInput::Command,
        BadInput::Identifier,
        BadInput::Data,
        BadInput::NotLive,
    ];

    /// The label of its counter.
    pub fn kind(self) -> &'static str {
        match self {
            BadInput::Binary => "binary",
            BadInput::NotJson => "not_json",
            BadInput::NotObject => "not_object",
            BadInput::Command => "command",
            BadInput::Identifier => "identifier",
            BadInput::Data => "data",
            BadInput::NotLive => "not_live",
        }
    }

    /// Whether the flood guard counts it.
    pub fn is_guarded(self) -> bool {
        match self {
            BadInput::Binary | BadInput::NotJson | BadInput::NotObject => true,
            BadInput::Command | BadInput::Identifier | BadInput::Data => true,
            BadInput::NotLive => false,
        }
    }
}

/// Reads one message; `extended` connections know more commands.
///
/// # Errors
/// The kind of bad input; nothing happened then.
pub fn read(text: &str, extended: bool) -> Result<Command, BadInput> {
    // simd-json destroys what it reads.
    let mut compact = Vec::with_capacity(text.len());
    json::compact(text.as_bytes(), &mut compact, DEPTH_MAX).map_err(|_| BadInput::NotJson)?;
    // Both parsers would read an array into a struct, too.
    if compact.first() != Some(&b'{') {
        return Err(BadInput::NotObject);
    }
    let mut buffers = Buffers::with_max_depth(0, DEPTH_MAX);
    let fields = match simd_json::serde::from_slice_with_buffers::<Fields>(&mut compact, &mut buffers) {
        Ok(fields) => fields,
        // It refuses integers above 64 bits, which are JSON all the same.
        Err(_) => plainly(text)?,
    };
    fields.command(text, extended)
}

fn plainly(text: &str) -> Result<Fields, BadInput> {
    serde_json::from_str(text).map_err(|_| BadInput::NotJson)
}

/// The same without simd-json.
#[cfg(test)]
fn read_plainly(text: &str, extended: bool) -> Result<Command, BadInput> {
    json::compact(text.as_bytes(), &mut Vec::new(), DEPTH_MAX).map_err(|_| BadInput::NotJson)?;
    if !text.trim_start().starts_with('{') {
        return Err(BadInput::NotObject);
    }
    plainly(text)?.command(text, extended)
}

/// The last member of each name.
#[derive(Default)]
struct Fields {
    verb: Option<Verb>,
    identifier: Option<String>,
    says_history: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Subscribe,
    Unsubscribe,
    Message,
    History,
    Whisper,
    Presence,
    Join,
    Leave,
    Ping,
    Pong,
}

impl Verb {
    fn parse(name: &str) -> Option<Verb> {
        Some(match name {
            "subscribe" => Verb::Subscribe,
            "unsubscribe" => Verb::Unsubscribe,
            "message" => Verb::Message,
            "history" => Verb::History,
            "whisper" => Verb::Whisper,
            "presence" => Verb::Presence,
            "join" => Verb::Join,
            "leave" => Verb::Leave,
            "ping" => Verb::Ping,
            "pong" => Verb::Pong,
            _ => return None,
        })
    }

    fn is_extended(self) -> bool {
        match self {
            Verb::Subscribe | Verb::Unsubscribe | Verb::Message => false,
            Verb::History | Verb::Whisper | Verb::Presence | Verb::Join | Verb::Leave | Verb::Ping | Verb::Pong => true,
        }
    }
}

impl Fields {
    fn command(self, text: &str, extended: bool) -> Result<Command, BadInput> {
        let verb = self.verb.filter(|verb| extended || !verb.is_extended()).ok_or(BadInput::Command)?;
        let identifier = self.identifier.ok_or(BadInput::Identifier);
        let history =
            || Some(text).filter(|_| extended && self.says_history).and_then(|text| History::read(member(text, "history")?));
        Ok(match verb {
            Verb::Subscribe => Command::Subscribe { identifier: identifier?, history: history() },
            Verb::Unsubscribe => Command::Unsubscribe { identifier: identifier? },
            Verb::Message => Command::Message { identifier: identifier? },
            Verb::History => Command::History { identifier: identifier?, history: history().unwrap_or_default() },
            Verb::Whisper => Command::Whisper { identifier: identifier?, data: data(text).ok_or(BadInput::Data)? },
            Verb::Presence => Command::Presence { identifier: identifier? },
            Verb::Join => Command::Join { identifier: identifier? },
            Verb::Leave => Command::Leave { identifier: identifier? },
            Verb::Ping => Command::Ping,
            Verb::Pong => Command::Pong,
        })
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Name {
    Command,
    Identifier,
    History,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Fields, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some(name) = map.next_key::<Name>()? {
                    match name {
                        Name::Command => fields.verb = map.next_value::<Text<'_>>()?.0.and_then(|text| Verb::parse(&text)),
                        Name::Identifier => fields.identifier = map.next_value::<Text<'_>>()?.0.map(Cow::into_owned),
                        Name::History => {
                            map.next_value::<IgnoredAny>()?;
                            fields.says_history = true;
                        }
                        Name::Other => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(fields)
            }
        }
        from.deserialize_map(Object)
    }
}

/// The text of a string; any other value has none.
struct Text<'de>(Option<Cow<'de, str>>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Text<'de>, D::Error> {
        struct Value;
        impl<'de> Visitor<'de> for Value {
            type Value = Text<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a value")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Borrowed(text))))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Owned(text.to_owned()))))
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<Text<'de>, E> {
                Ok(Text(None))
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Text<'de>, E> {
                Ok(Text(None))
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Text<'de>, E> {
                Ok(Text(None))
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Text<'de>, E> {
                Ok(Text(None))
            }

            fn visit_unit<E: Error>(self) -> Result<Text<'de>, E> {
                Ok(Text(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Text<'de>, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Text(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text<'de>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Text(None))
            }
        }
        from.deserialize_any(Value)
    }
}

/// The text of the last member with this name.
fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let mut last = None;
    json::members(object, |key, value| {
        if json::string(key).is_some_and(|key| key == name) {
            last = Some(value);
        }
    })?;
    last
}

/// The last `data`, as it was written but for white space.
fn data(text: &str) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    json::compact(member(text, "data")?.as_bytes(), &mut data, DEPTH_MAX).ok()?;
    Some(data)
}

impl History {
    /// `None` unless it is an object.
    fn read(text: &str) -> Option<History> {
        let mut history = History::default();
        json::members(text, |key, value| match json::string(key).as_deref() {
            Some("since") => history.since = value.parse().ok(),
            Some("streams") => history.streams = positions(value),
            Some(_) | None => {}
        })?;
        Some(history)
    }
}

/// The last entry of each stream, in the order of their names.
fn positions(text: &str) -> Vec<(String, Option<Position>)> {
    let mut streams = BTreeMap::new();
    json::members(text, |key, value| {
        if let Some(stream) = json::string(key) {
            streams.insert(stream, Position::read(value));
        }
    });
    streams.into_iter().collect()
}

impl Position {
    fn read(text: &str) -> Option<Position> {
        let (mut offset, mut epoch) = (None, None);
        json::members(text, |key, value| match json::string(key).as_deref() {
            Some("offset") => offset = value.parse().ok(),
            Some("epoch") => epoch = json::string(value),
            Some(_) | None => {}
        })?;
        Some(Position { epoch: epoch?, offset: offset? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, extended: bool) -> Result<Command, BadInput> {
        let command = super::read(text, extended);
        assert!(command == read_plainly(text, extended), "{text}");
        command
    }

    fn identifier(text: &str) -> String {
        match read(text, false) {
            Ok(Command::Subscribe { identifier, history: None }) => identifier,
            _ => panic!("{text}"),
        }
    }

    #[test]
    fn ac_33_key_order_and_unknown_keys_do_not_matter() {
        for text in [
            r#"{"command":"subscribe","identifier":"{\"channel\":\"A\"}"}"#,
            r#" { "identifier" : "{\"channel\":\"A\"}" , "command" : "subscribe" } "#,
            r#"{"x":[{"command":"message"}],"command":"subscribe","identifier":"{\"channel\":\"A\"}","history":{"since":1}}"#,
            r#"{"command":"message","identifier":5,"command":"subscribe","identifier":"{\"channel\":\"A\"}"}"#,
            r#"{"c\u006fmmand":"sub\u0073cribe","identifier":"\u007b\"channel\":\"A\"}","n":123456789012345678901234567890}"#,
        ] {
            assert_eq!(identifier(text), r#"{"channel":"A"}"#);
        }
    }

    #[test]
    fn ac_34_each_bad_input_has_its_kind() {
        let deep = format!(r#"{{"command":"subscribe","identifier":"a","x":{}{}}}"#, "[".repeat(64), "]".repeat(64));
        for (text, kind) in [
            ("", BadInput::NotJson),
            ("garbage", BadInput::NotJson),
            ("{}{}", BadInput::NotJson),
            (r#"{"command":"subscribe","identifier":"\ud800"}"#, BadInput::NotJson),
            (r#"{"command":"subscribe","identifier":"\x"}"#, BadInput::NotJson),
            (r#"{"command":"subscribe","identifier":"a","n":1e999}"#, BadInput::NotJson),
            (&deep, BadInput::NotJson),
            ("[]", BadInput::NotObject),
            (r#"["subscribe","a"]"#, BadInput::NotObject),
            ("1", BadInput::NotObject),
            ("null", BadInput::NotObject),
            ("\"str\"", BadInput::NotObject),
            ("{}", BadInput::Command),
            (r#"{"command":"frob","identifier":"a"}"#, BadInput::Command),
            (r#"{"command":"Subscribe","identifier":"a"}"#, BadInput::Command),
            (r#"{"command":["subscribe"],"identifier":"a"}"#, BadInput::Command),
            (r#"{"command":"subscribe","command":null,"identifier":"a"}"#, BadInput::Command),
            (r#"{"command":"subscribe"}"#, BadInput::Identifier),
            (r#"{"command":"subscribe","identifier":{"channel":"A"}}"#, BadInput::Identifier),
            (r#"{"command":"unsubscribe","identifier":"a","identifier":7}"#, BadInput::Identifier),
            (r#"{"command":"message","identifier":true}"#, BadInput::Identifier),
            (r#"{"command":"message","identifier":-1.5}"#, BadInput::Identifier),
        ] {
            assert!(read(text, true) == Err(kind), "{text}");
        }
        let labels: std::collections::BTreeSet<&str> = BadInput::ALL.iter().map(|kind| kind.kind()).collect();
        assert_eq!(labels.len(), BadInput::ALL.len());
        assert!(BadInput::Binary.is_guarded() && !BadInput::NotLive.is_guarded());
    }

    #[test]
    fn extended_commands_are_bad_input_on_a_base_connection() {
        for verb in ["history", "pong", "ping", "whisper", "join", "leave", "presence"] {
            let text = format!(r#"{{"command":"{verb}","identifier":"a","data":1}}"#);
            assert!(read(&text, false) == Err(BadInput::Command) && read(&text, true).is_ok(), "{verb}");
        }
        assert!(read(r#"{"command":"ping"}"#, true) == Ok(Command::Ping));
        assert!(read(r#"{"command":"pong"}"#, true) == Ok(Command::Pong));
        assert!(read(r#"{"command":"presence"}"#, true) == Err(BadInput::Identifier));
    }

    #[test]
    fn history_says_since_when_and_from_where() {
        let asked =
            |history: &str| match read(&format!(r#"{{"command":"subscribe","identifier":"a","history":{history}}}"#), true) {
                Ok(Command::Subscribe { history, .. }) => history,
                _ => panic!("{history}"),
            };
        let position = |epoch: &str, offset| Some(Position { epoch: epoch.to_owned(), offset });
        assert_eq!(
            asked(
                r#"{"since":1795191434,"streams":{"b":{"offset":7,"epoch":"e"},"a":{"epoch":"f","offset":0,"x":1},"b":{"offset":8,"epoch":"e"}}}"#
            ),
            Some(History {
                since: Some(1_795_191_434),
                streams: vec![("a".to_owned(), position("f", 0)), ("b".to_owned(), position("e", 8))]
            })
        );
        let malformed =
            r#"{"since":-1,"streams":{"a":{"offset":"1","epoch":"e"},"b":{"offset":1},"c":5,"d":{"offset":1.0,"epoch":"e"}}}"#;
        let streams = ["a", "b", "c", "d"].map(|name| (name.to_owned(), None));
        assert_eq!(asked(malformed), Some(History { since: None, streams: streams.into() }));
        assert_eq!(asked(r#"{"streams":[]}"#), Some(History::default()));
        assert_eq!(asked("{}"), Some(History::default()));
        for nothing in ["null", "5", "[]", "\"x\""] {
            assert_eq!(asked(nothing), None, "{nothing}");
        }
        let bare = Command::History { identifier: "a".to_owned(), history: History::default() };
        assert!(read(r#"{"command":"history","identifier":"a"}"#, true) == Ok(bare));
    }

    #[test]
    fn a_whisper_keeps_its_text() {
        let data = |text: &str| match read(&format!(r#"{{"command":"whisper","identifier":"a",{text}}}"#), true) {
            Ok(Command::Whisper { data, .. }) => Some(String::from_utf8(data).unwrap()),
            Err(BadInput::Data) => None,
            _ => panic!("{text}"),
        };
        let kept = r#"{"b":1.0,"a":12345678901234567890123,"a":"\u0041"}"#;
        assert_eq!(data(r#""data":{ "b":1.0, "a":12345678901234567890123,"a":"\u0041" }"#).as_deref(), Some(kept));
        assert_eq!(data(r#""data":1,"d\u0061ta":null"#).as_deref(), Some("null"));
        assert_eq!(data(r#""x":1"#), None);
    }
}
