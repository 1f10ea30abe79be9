//! Bodies of the two publishing routes become publications or a remote disconnect, or the first thing that is wrong.

use super::identifier::{DEPTH_MAX, token};
use super::rules::Rules;
use super::sensitive;
use crate::json::{self, ElementsError, Problem};
use crate::message::TopicName;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;

/// Publications of one array.
const BATCH_MAX: usize = 1_000;
const STREAM_BYTES_MAX: usize = 256;
/// How much of an unknown key an error names.
const SHOWN_CHARS_MAX: usize = 64;

/// One message for one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    pub stream: TopicName,
    /// JSON without white space and without sensitive members.
    pub payload: Arc<[u8]>,
    /// The `sid` of a connection that shall not get it.
    pub exclude_socket: Option<String>,
    /// Not kept in the history.
    pub transient: bool,
}

/// What a body of `/_broadcast` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broadcast {
    /// In this order, all or nothing; at least one.
    Publish(Vec<Publication>),
    /// Ends every connection that is known under the name.
    Disconnect { name: String, reconnect: bool },
}

/// Why a body publishes nothing: a 422.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub error: Cow<'static, str>,
    /// Which publication it was, from 0.
    pub index: usize,
}

impl Rejection {
    fn at(index: usize, error: impl Into<Cow<'static, str>>) -> Rejection {
        Rejection { error: error.into(), index }
    }

    /// The body of the answer.
    pub fn body(&self) -> String {
        format!("{{\"error\":{},\"index\":{}}}", token(&self.error), self.index)
    }
}

/// Reads a body of `POST /api/events`: one event, or 1 to 1000 of them.
///
/// # Errors
/// The first thing that is wrong; nothing may be published then.
pub fn events(rules: &Rules, body: &[u8]) -> Result<Vec<Publication>, Rejection> {
    each(text(body)?, |text| event(rules, text))
}

/// Reads a body of `POST /_broadcast`, in the format of AnyCable.
///
/// # Errors
/// The first thing that is wrong; nothing may be published then.
pub fn broadcast(rules: &Rules, body: &[u8]) -> Result<Broadcast, Rejection> {
    let text = text(body)?;
    if begins_with(text, '{')
        && let Some(disconnect) = command(text).map_err(|error| Rejection::at(0, error))?
    {
        return Ok(disconnect);
    }
    each(text, |text| publication(rules, text)).map(Broadcast::Publish)
}

fn text(body: &[u8]) -> Result<&str, Rejection> {
    std::str::from_utf8(body).map_err(|_| Rejection::at(0, "not JSON: invalid UTF-8"))
}

fn begins_with(text: &str, letter: char) -> bool {
    text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with(letter)
}

/// Reads one object or each of an array.
fn each(text: &str, read: impl Fn(&str) -> Result<Publication, Cow<'static, str>>) -> Result<Vec<Publication>, Rejection> {
    if !begins_with(text, '[') {
        return Ok(vec![read(text).map_err(|error| Rejection::at(0, error))?]);
    }
    let elements = json::elements(text, BATCH_MAX).map_err(|error| match error {
        ElementsError::TooMany => Rejection::at(BATCH_MAX, "more than 1000 publications"),
        ElementsError::NotJson(index) => Rejection::at(index, not_json(text)),
    })?;
    if elements.is_empty() {
        return Err(Rejection::at(0, "empty array"));
    }
    let read = elements.iter().enumerate().map(|(index, text)| read(text).map_err(|error| Rejection::at(index, error)));
    read.collect()
}

/// Where a text is wrong.
fn not_json(text: &str) -> Cow<'static, str> {
    json::not_json(text).map_or("expected an object or an array of objects".into(), Cow::from)
}

/// Members of an object as they are written; `None` for one that is not there.
type Members<'a, const N: usize> = [Option<&'a str>; N];

/// Finds these members of an object, and calls `others` with the name of each other one and of each duplicate.
fn members<'a, const N: usize>(
    text: &'a str,
    names: [&str; N],
    mut others: impl FnMut(String),
) -> Result<Members<'a, N>, Cow<'static, str>> {
    if !begins_with(text, '{') {
        return Err(not_json(text));
    }
    let mut found = [None; N];
    let mut undecodable = false;
    let read = json::members(text, |key, value| match json::string(key) {
        Some(key) => match names.iter().position(|name| *name == key) {
            Some(place) if found[place].replace(value).is_none() => {}
            Some(_) | None => others(key),
        },
        None => undecodable = true,
    });
    match read {
        Some(()) if !undecodable => Ok(found),
        Some(()) | None => Err(not_json(text)),
    }
}

/// `{"event_class":"Post","event_type":"create","object":{…}}`, and nothing else.
fn event(rules: &Rules, text: &str) -> Result<Publication, Cow<'static, str>> {
    let names = ["event_class", "event_type", "object"];
    let mut others = Vec::new();
    let [class, kind, object] = members(text, names, |key| others.push(key))?;
    if let Some(other) = others.first() {
        return Err(match names.contains(&other.as_str()) {
            true => format!("{other} is given twice").into(),
            false => format!("unknown key \"{}\"", other.chars().take(SHOWN_CHARS_MAX).collect::<String>()).into(),
        });
    }
    let class = json::string(class.ok_or("event_class is missing")?).ok_or("event_class must be a string")?;
    let kind = json::string(kind.ok_or("event_type is missing")?).ok_or("event_type must be a string")?;
    let mut compact = Vec::new();
    // It is one level below what subscribers get.
    json::compact(object.ok_or("object is missing")?.as_bytes(), &mut compact, DEPTH_MAX - 1)
        .map_err(|error| format!("object: {error}"))?;
    let object = str::from_utf8(&compact).ok().filter(|text| text.starts_with('{')).ok_or("object must be an object")?;
    let (events, model) = rules.model(&class).ok_or("event_class is no class of models")?;
    if !events.has_type(&kind) {
        return Err("event_type is none of types".into());
    }
    let stream = events.stream(model, &kind);
    let mut payload = format!("{{\"event_type\":{},\"event_class\":{},\"object\":", token(&kind), token(&class)).into_bytes();
    sensitive::remove(object, &rules.sensitive(stream.as_str()), &mut payload).ok_or("object must be an object")?;
    payload.push(b'}');
    publish(rules, stream, payload)
}

/// `{"stream":"…","data":"…","meta":{…}}`; the last of each counts, others mean nothing.
fn publication(rules: &Rules, text: &str) -> Result<Publication, Cow<'static, str>> {
    let [stream, data, meta] = last_members(text, ["stream", "data", "meta"])?;
    let stream = json::string(stream.ok_or("stream is missing")?).ok_or("stream must be a string")?;
    if !(1..=STREAM_BYTES_MAX).contains(&stream.len()) {
        return Err("stream must have 1 to 256 bytes".into());
    }
    let stream = TopicName::from(stream.as_str());
    if stream.is_reserved() {
        return Err("stream must not begin with \"$\"".into());
    }
    let data = json::string(data.ok_or("data is missing")?).ok_or("data must be a string")?;
    let message = message(&data)?;
    let payload = sensitive::remove_in_event(&message, &rules.sensitive(stream.as_str()));
    let mut publication = publish(rules, stream, payload)?;
    if let Some(meta) = meta.filter(|meta| *meta != "null") {
        let [exclude, transient] = last_members(meta, ["exclude_socket", "transient"]).map_err(|_| "meta must be an object")?;
        publication.exclude_socket = match exclude {
            None | Some("null") => None,
            Some(text) => Some(json::string(text).ok_or("exclude_socket must be a string")?).filter(|sid| !sid.is_empty()),
        };
        publication.transient = boolean(transient, false).ok_or("transient must be true or false")?;
    }
    Ok(publication)
}

/// What the text of a publication is as a message.
fn message(data: &str) -> Result<String, Cow<'static, str>> {
    let mut compact = Vec::new();
    match json::compact(data.as_bytes(), &mut compact, DEPTH_MAX) {
        Ok(()) => Ok(String::from_utf8(compact).expect("text without white space is text")),
        // serde_json delimits values without looking at our extra rules: what it takes is JSON that breaks one of them.
        Err(error) => match error.problem {
            Problem::TooDeep | Problem::LoneSurrogate | Problem::NotFinite if serde_json::from_str::<&RawValue>(data).is_ok() => {
                Err(format!("data: {error}").into())
            }
            _ => Ok(token(data)),
        },
    }
}

/// `{"command":"disconnect","payload":{…}}`; `None` if there is no command at all.
fn command(text: &str) -> Result<Option<Broadcast>, Cow<'static, str>> {
    let [command, payload] = last_members(text, ["command", "payload"])?;
    let Some(command) = command else { return Ok(None) };
    if json::string(command).as_deref() != Some("disconnect") {
        return Err("unknown command".into());
    }
    let payload = payload.ok_or("payload is missing")?;
    let [name, reconnect] = last_members(payload, ["identifier", "reconnect"]).map_err(|_| "payload must be an object")?;
    let name =
        name.and_then(json::string).filter(|name| !name.is_empty()).ok_or("identifier must be a string that is not empty")?;
    let reconnect = boolean(reconnect, true).ok_or("reconnect must be true or false")?;
    Ok(Some(Broadcast::Disconnect { name, reconnect }))
}

fn last_members<'a, const N: usize>(text: &'a str, names: [&str; N]) -> Result<Members<'a, N>, Cow<'static, str>> {
    members(text, names, drop)
}

fn boolean(text: Option<&str>, otherwise: bool) -> Option<bool> {
    match text {
        None | Some("null") => Some(otherwise),
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => None,
    }
}

fn publish(rules: &Rules, stream: TopicName, payload: Vec<u8>) -> Result<Publication, Cow<'static, str>> {
    if payload.len() > rules.payload_bytes_max {
        return Err(format!("message is larger than {} bytes", rules.payload_bytes_max).into());
    }
    Ok(Publication { stream, payload: payload.into(), exclude_socket: None, transient: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules::new(&toml::from_str("preset = \"metasmoke\"\nmax_payload = 400").unwrap()).unwrap()
    }

    fn shown(publication: &Publication) -> (String, String) {
        (publication.stream.to_string(), String::from_utf8(publication.payload.to_vec()).unwrap())
    }

    #[track_caller]
    fn event(body: &str, stream: &str, payload: &str) {
        let published = events(&rules(), body.as_bytes()).unwrap();
        assert_eq!(published.iter().map(shown).collect::<Vec<_>>(), [(stream.to_owned(), payload.to_owned())]);
    }

    #[track_caller]
    fn broadcasts(body: &str, stream: &str, payload: &str) {
        match broadcast(&rules(), body.as_bytes()) {
            Ok(Broadcast::Publish(list)) => {
                assert_eq!(list.iter().map(shown).collect::<Vec<_>>(), [(stream.to_owned(), payload.to_owned())]);
            }
            other => panic!("{other:?}"),
        }
    }

    fn told(result: Result<impl std::fmt::Debug, Rejection>) -> (String, usize) {
        let rejection = result.unwrap_err();
        (rejection.error.into_owned(), rejection.index)
    }

    #[test]
    fn ac_64_events_are_written_in_one_key_order() {
        event(
            r#" {"object": {"b" : 1.0, "a":12345678901234567890, "a":"\u0041"}, "event_class":"Announcement", "event_type":"create"} "#,
            "api:announcements_create",
            r#"{"event_type":"create","event_class":"Announcement","object":{"b":1.0,"a":12345678901234567890,"a":"\u0041"}}"#,
        );
        event(
            r#"{"event_cl\u0061ss":"API\u004bey","event_type":"destroy","object":{}}"#,
            "api:api_keys_destroy",
            r#"{"event_type":"destroy","event_class":"APIKey","object":{}}"#,
        );
    }

    #[test]
    fn ac_51_the_documents_announcement_has_its_176_bytes() {
        let payload = concat!(
            r#"{"event_type":"create","event_class":"Announcement","object":{"id":8,"text":null,"expiry":null,"#,
            r#""created_at":"2017-07-29T23:41:59.000Z","updated_at":"2017-07-29T23:41:59.000Z"}}"#
        );
        assert_eq!(payload.len(), 176);
        event(payload, "api:announcements_create", payload);
    }

    #[test]
    fn ac_63_sensitive_members_are_gone_before_anything_is_published() {
        event(
            r#"{"event_class":"APIKey","event_type":"create","object":{"id":1,"key":"a","k\u0065y" : "b","key":"c","app":{"key":2}}}"#,
            "api:api_keys_create",
            r#"{"event_type":"create","event_class":"APIKey","object":{"id":1,"app":{"key":2}}}"#,
        );
        broadcasts(
            r#"{"stream":"api:flags_update","data":"{\"object\": {\"reason\":1, \"r\\u0065ason\":2}, \"reason\":3}"}"#,
            "api:flags_update",
            r#"{"object":{},"reason":3}"#,
        );
        broadcasts(r#"{"stream":"x","data":"{\"object\":{\"key\":1}}"}"#, "x", r#"{"object":{"key":1}}"#);
    }

    #[test]
    fn ac_65_an_array_is_taken_whole_or_names_the_index() {
        let good = r#"{"event_class":"Post","event_type":"create","object":{}}"#;
        let list = |elements: &[&str]| events(&rules(), format!(" [{}] ", elements.join(" , ")).as_bytes());
        assert_eq!(list(&[good, good]).unwrap().len(), 2);
        assert_eq!(list(&vec![good; 1000]).unwrap().len(), 1000);
        assert_eq!(told(list(&vec![good; 1001])), ("more than 1000 publications".to_owned(), 1000));
        assert_eq!(told(list(&[])), ("empty array".to_owned(), 0));
        assert_eq!(told(list(&[good, "{}"])), ("event_class is missing".to_owned(), 1));
        assert_eq!(told(list(&[good, good, "5"])), ("expected an object or an array of objects".to_owned(), 2));
        assert_eq!(told(list(&[good, "{"])).1, 1);
        let rejection = list(&[good, "{\"\\n\":1}"]).unwrap_err();
        assert_eq!(rejection.body(), "{\"error\":\"unknown key \\\"\\n\\\"\",\"index\":1}");
    }

    #[test]
    fn events_that_cannot_be_say_why() {
        let of = |class: &str, kind: &str, object: &str| {
            let body = format!(r#"{{"event_class":{class},"event_type":{kind},"object":{object}}}"#);
            told(events(&rules(), body.as_bytes())).0
        };
        assert_eq!(of("5", "\"create\"", "{}"), "event_class must be a string");
        assert_eq!(of("\"Post\"", "null", "{}"), "event_type must be a string");
        assert_eq!(of("\"post\"", "\"create\"", "{}"), "event_class is no class of models");
        assert_eq!(of("\"Post\"", "\"drop\"", "{}"), "event_type is none of types");
        assert_eq!(of("\"Post\"", "\"create\"", "[]"), "object must be an object");
        assert_eq!(of("\"Post\"", "\"create\"", "{\"a\":1e999}"), "object: number is not finite at byte 5");
        assert_eq!(of("\"Post\"", "\"create\"", "{\"a\":\"\\udc00\"}"), "object: lone surrogate escape at byte 6");
        assert_eq!(
            of("\"Post\"", "\"create\"", &format!("{{\"a\":\"{}\"}}", "x".repeat(400))),
            "message is larger than 400 bytes"
        );
        assert_eq!(of("\"Post\"", "\"create\"", "{},\"object\":{}"), "object is given twice");
        assert_eq!(of("\"Post\"", "\"create\"", "{},\"x\":1"), "unknown key \"x\"");
        assert!(of("\"Post\"", "\"create\"", "{").starts_with("not JSON: "));
        let deep = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(of("\"Post\"", "\"create\"", &deep(63)).starts_with("object: nested too deep"));
        let body = format!(r#"{{"event_class":"Post","event_type":"create","object":{}}}"#, deep(62));
        assert!(events(&rules(), body.as_bytes()).is_ok());
        for (body, error) in [
            (&b""[..], "not JSON: unexpected end of JSON at byte 0"),
            (b"\xff", "not JSON: invalid UTF-8"),
            (b"5", "expected an object or an array of objects"),
            (b"{} x", "not JSON: unexpected text after the JSON value at byte 3"),
            (b"{\"\\ud800\":1}", "not JSON: lone surrogate escape at byte 2"),
        ] {
            assert_eq!(told(events(&rules(), body)), (error.to_owned(), 0));
        }
    }

    #[test]
    fn ac_67_data_that_is_no_json_is_a_json_string() {
        for (data, payload) in [
            ("null", "null"),
            (r#"\"a\""#, "\"a\""),
            ("<b>", "\"<b>\""),
            ("", "\"\""),
            ("01", "\"01\""),
            (r#" { \"b\" : 1.0, \"a\":12345678901234567890 } "#, r#"{"b":1.0,"a":12345678901234567890}"#),
            (r#"[1e999"#, "\"[1e999\""),
            (r#"a\"\u0001\n"#, r#""a\"\u0001\n""#),
        ] {
            broadcasts(&format!(r#"{{"stream":"s","data":"{data}"}}"#), "s", payload);
        }
        let deep = ["[".repeat(65), "]".repeat(65)].concat();
        for (data, error) in [
            ("1e999", "data: number is not finite at byte 0"),
            (r#"\"\\ud800\""#, "data: lone surrogate escape at byte 1"),
            (&deep, "data: nested too deep at byte 64"),
        ] {
            let body = format!(r#"{{"stream":"s","data":"{data}"}}"#);
            assert_eq!(told(broadcast(&rules(), body.as_bytes())), (error.to_owned(), 0));
        }
    }

    #[test]
    fn ac_66_malformed_publications_say_why() {
        for (body, error) in [
            ("{}", "stream is missing"),
            (r#"{"stream":5,"data":""}"#, "stream must be a string"),
            (r#"{"stream":"","data":""}"#, "stream must have 1 to 256 bytes"),
            (r#"{"stream":"$x","data":""}"#, "stream must not begin with \"$\""),
            (r#"{"stream":"s"}"#, "data is missing"),
            (r#"{"stream":"s","data":{"a":1}}"#, "data must be a string"),
            (r#"{"stream":"s","data":null}"#, "data must be a string"),
            (r#"{"stream":"s","data":"","meta":5}"#, "meta must be an object"),
            (r#"{"stream":"s","data":"","meta":{"exclude_socket":5}}"#, "exclude_socket must be a string"),
            (r#"{"stream":"s","data":"","meta":{"transient":"yes"}}"#, "transient must be true or false"),
            ("[]", "empty array"),
            ("5", "expected an object or an array of objects"),
            ("{", "not JSON: unexpected end of JSON at byte 1"),
            (r#"[{"command":"disconnect","payload":{"identifier":"k"}}]"#, "stream is missing"),
            (r#"{"command":"frob"}"#, "unknown command"),
            (r#"{"command":5}"#, "unknown command"),
            (r#"{"command":"disconnect"}"#, "payload is missing"),
            (r#"{"command":"disconnect","payload":[]}"#, "payload must be an object"),
            (r#"{"command":"disconnect","payload":{}}"#, "identifier must be a string that is not empty"),
            (r#"{"command":"disconnect","payload":{"identifier":"k","reconnect":0}}"#, "reconnect must be true or false"),
        ] {
            assert_eq!(told(broadcast(&rules(), body.as_bytes())), (error.to_owned(), 0), "{body}");
        }
        let long = |bytes: usize| format!(r#"{{"stream":"{}","data":"{}"}}"#, "s".repeat(bytes), "x".repeat(398));
        assert!(broadcast(&rules(), long(256).as_bytes()).is_ok() && broadcast(&rules(), long(257).as_bytes()).is_err());
        let large = format!(r#"[{{"stream":"s","data":""}},{{"stream":"s","data":"{}"}}]"#, "x".repeat(399));
        assert_eq!(told(broadcast(&rules(), large.as_bytes())), ("message is larger than 400 bytes".to_owned(), 1));
    }

    #[test]
    fn meta_excludes_a_socket_and_keeps_no_history() {
        let read =
            |meta: &str| match broadcast(&rules(), format!(r#"[{{"data":"1","meta":{meta},"stream":"s","x":1}}]"#).as_bytes()) {
                Ok(Broadcast::Publish(list)) => (list[0].exclude_socket.clone(), list[0].transient),
                other => panic!("{other:?}"),
            };
        assert_eq!(read(r#"{"exclude_socket":"sid","transient":true,"x":[]}"#), (Some("sid".to_owned()), true));
        assert_eq!(read(r#"{"exclude_socket":"","transient":null}"#), (None, false));
        assert_eq!(read(r#"{"exclude_socket":null,"transient":false}"#), (None, false));
        assert_eq!(read("null"), (None, false));
    }

    #[test]
    fn a_remote_disconnect_names_a_key() {
        let read = |body: &str| broadcast(&rules(), body.as_bytes()).unwrap();
        let disconnect = |reconnect| Broadcast::Disconnect { name: "k".to_owned(), reconnect };
        assert_eq!(read(r#"{"command":"disconnect","payload":{"identifier":"k","reconnect":false}}"#), disconnect(false));
        assert_eq!(read(r#" {"payload":{"identifier":"\u006b"},"command":"disconnect"}"#), disconnect(true));
    }
}
