//! One object or an array of objects becomes entries, or the first thing that is wrong with them.

use super::answer::{Asked, Rejection};
use crate::access::Key;
use crate::exchange::Entry;
use crate::json::{self, ElementsError, JsonError, string};
use crate::message::{EventFields, TopicName};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Messages of one array.
const BATCH_MAX: usize = 1_000;
const DEPTH_MAX: usize = 64;
const TOPIC_BYTES_MAX: usize = 512;
const ID_BYTES_MAX: usize = 128;
const EVENT_BYTES_MAX: usize = 128;
/// How much of an unknown key an error names.
const SHOWN_CHARS_MAX: usize = 64;

/// Reads a body or a WebSocket message of a publisher with this key; nobody may publish to `events_topic`.
pub fn read(text: &str, key: &Key, events_topic: Option<&TopicName>) -> Result<(Vec<Entry>, Asked), Rejection> {
    let allowed = |entry: Entry, index: usize| {
        if entry.topic.is_reserved() || Some(&entry.topic) == events_topic {
            return Err(Rejection::at(index, 403, "Topic name is reserved"));
        }
        if !key.covers(entry.topic.as_str()) {
            return Err(Rejection::at(index, 403, "Topic not allowed"));
        }
        Ok(entry)
    };
    let body = text.trim_start_matches([' ', '\t', '\r', '\n']);
    let array = body.starts_with('[');
    let entries = if array {
        let elements = array_of(text)?;
        let read = elements.iter().enumerate().map(|(index, raw)| allowed(entry(raw, index)?, index));
        read.collect::<Result<_, _>>()?
    } else if body.starts_with('{') {
        vec![allowed(entry(text, 0)?, 0)?]
    } else {
        // serde would read other shapes into structs, too.
        return Err(Rejection::at(0, 422, json::not_json(text).unwrap_or("expected an object or an array of objects".into())));
    };
    let topics = entries.iter().map(|entry: &Entry| entry.topic.clone()).collect();
    Ok((entries, Asked { topics, array }))
}

/// The texts of the elements, still unread.
fn array_of(text: &str) -> Result<Vec<&str>, Rejection> {
    match json::elements(text, BATCH_MAX) {
        Ok(elements) if elements.is_empty() => Err(Rejection::at(0, 422, "empty array")),
        Ok(elements) => Ok(elements),
        Err(ElementsError::TooMany) => Err(Rejection::at(BATCH_MAX, 422, "more than 1000 messages")),
        Err(ElementsError::NotJson(index)) => Err(Rejection::at(index, 422, not_json(text))),
    }
}

/// Where a text is wrong that serde did not take.
fn not_json(text: &str) -> String {
    json::not_json(text).unwrap_or("not JSON".into())
}

/// Reads one object.
fn entry(text: &str, index: usize) -> Result<Entry, Rejection> {
    if !text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
        return Err(Rejection::at(index, 422, "expected an object"));
    }
    let fields = match serde_json::from_str::<Read<'_>>(text) {
        Ok(Read(fields)) => fields.map_err(|problem| Rejection::at(index, 422, problem))?,
        Err(_) => return Err(Rejection::at(index, 422, not_json(text))),
    };
    fields.check().map_err(|problem| Rejection::at(index, 422, problem))
}

/// The values of one object, or what is wrong with its keys.
struct Read<'de>(Result<Fields<'de>, String>);

/// Texts of the values as sent.
#[derive(Default)]
struct Fields<'de> {
    topic: Option<&'de str>,
    data: Option<&'de str>,
    id: Option<&'de str>,
    store: Option<&'de str>,
    event_id: Option<&'de str>,
    event_type: Option<&'de str>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Name {
    Topic,
    Data,
    Id,
    Store,
    EventId,
    EventType,
    Unknown(String),
}

impl<'de> Deserialize<'de> for Read<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Read<'de>, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Read<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read<'de>, A::Error> {
                let mut fields = Fields::default();
                while let Some(name) = map.next_key::<Name>()? {
                    let value = map.next_value::<&RawValue>()?.get();
                    if let Err(problem) = fields.set(name, value) {
                        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                        return Ok(Read(Err(problem)));
                    }
                }
                Ok(Read(Ok(fields)))
            }
        }
        from.deserialize_map(Object)
    }
}

impl<'de> Fields<'de> {
    fn set(&mut self, name: Name, value: &'de str) -> Result<(), String> {
        let (field, name) = match name {
            Name::Topic => (&mut self.topic, "topic"),
            Name::Data => (&mut self.data, "data"),
            Name::Id => (&mut self.id, "id"),
            Name::Store => (&mut self.store, "store"),
            Name::EventId => (&mut self.event_id, "event_id"),
            Name::EventType => (&mut self.event_type, "event_type"),
            Name::Unknown(name) => {
                let shown: String = name.chars().take(SHOWN_CHARS_MAX).collect();
                return Err(format!("unknown key \"{shown}\""));
            }
        };
        match field.replace(value) {
            None => Ok(()),
            Some(_) => Err(format!("{name} is given twice")),
        }
    }

    fn check(&self) -> Result<Entry, Cow<'static, str>> {
        let topic = topic(self.topic.ok_or("topic is missing")?)?;
        let mut payload = Vec::new();
        json::compact(self.data.ok_or("data is missing")?.as_bytes(), &mut payload, DEPTH_MAX).map_err(data_problem)?;
        let key = match self.id.map(string) {
            None => None,
            Some(Some(id)) if (1..=ID_BYTES_MAX).contains(&id.len()) => Some(id.into_boxed_str()),
            Some(_) => return Err("id must be a string of 1 to 128 bytes".into()),
        };
        let store = match self.store {
            None | Some("true") => true,
            Some("false") => false,
            Some(_) => return Err("store must be true or false".into()),
        };
        let id = event(self.event_id, "event_id must be a string of at most 128 bytes without CR, LF and NUL")?;
        let kind = event(self.event_type, "event_type must be a string of at most 128 bytes without CR, LF and NUL")?;
        let event = (id.is_some() || kind.is_some()).then(|| Box::new(EventFields { id, kind }));
        Ok(Entry { topic, payload: payload.into(), store, event, key, except: None })
    }
}

fn data_problem(error: JsonError) -> Cow<'static, str> {
    format!("data: {error}").into()
}

fn topic(text: &str) -> Result<TopicName, &'static str> {
    let name = string(text).ok_or("topic must be a string")?;
    if !(1..=TOPIC_BYTES_MAX).contains(&name.len()) {
        return Err("topic must have 1 to 512 bytes");
    }
    if name.bytes().any(|byte| byte.is_ascii_control()) {
        return Err("topic must not contain control characters");
    }
    Ok(TopicName::from(name.as_str()))
}

/// An empty one counts as absent: there would be nothing to show.
fn event(text: Option<&str>, problem: &'static str) -> Result<Option<Box<[u8]>>, &'static str> {
    let Some(text) = text else { return Ok(None) };
    let value =
        string(text).filter(|value| value.len() <= EVENT_BYTES_MAX && !value.contains(['\r', '\n', '\0'])).ok_or(problem)?;
    Ok((!value.is_empty()).then(|| value.into_bytes().into_boxed_slice()))
}
