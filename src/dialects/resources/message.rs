//! One text from a client becomes a request, or is malformed (specification, sections 3 and 13).

use super::name::{Kind, Name};
use super::version::Version;
use crate::json;
use crate::json::object::{Members, string};

/// Levels of nesting; the outermost object is the first.
pub const DEPTH_MAX: usize = 32;

const REFERENCE_BYTES_MAX: usize = 64;
/// Every integer up to here is a 64-bit float.
const REFERENCE_MAX: i64 = (1 << 53) - 1;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub reference: Option<Reference>,
    pub act: Act,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    Subscribe {
        name: Name,
        /// The version that the client has: no snapshot if it is the current one.
        since: Option<Version>,
        /// Whether a snapshot is wanted at all.
        snapshot: bool,
    },
    Unsubscribe {
        name: Name,
    },
    Authenticate {
        /// As sent; it may be no `Bearer` at all.
        authorization: String,
    },
}

/// The client's own mark of a request, which its reply begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    Number(i64),
    Text(String),
}

/// What could be read of a text that is no request: its reply names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Malformed {
    pub reference: Option<Reference>,
    pub name: Option<Name>,
}

/// Reads one message.
///
/// # Errors
/// Everything that is no request, all alike; the connection stays open.
pub fn read(text: &str, collection_names: &[String]) -> Result<Request, Malformed> {
    let mut compact = Vec::with_capacity(text.len());
    json::compact(text.as_bytes(), &mut compact, DEPTH_MAX).map_err(|_| Malformed::default())?;
    let compact = std::str::from_utf8(&compact).expect("what is left of a text without white space is a text");
    let members = Members::of(compact).ok_or_else(Malformed::default)?;
    let reference = match members.last("ref").map(Reference::parse) {
        Some(None) => return Err(Malformed::default()),
        reference => reference.flatten(),
    };
    let name = members.last("resource").and_then(|resource| name(resource, collection_names));
    match act(&members, name.as_ref()) {
        Some(act) => Ok(Request { reference, act }),
        None => Err(Malformed { reference, name }),
    }
}

fn act(members: &Members<'_>, name: Option<&Name>) -> Option<Act> {
    let since = match members.last("since") {
        Some(value) => Some(Version::parse(&string(value)?)?),
        None => None,
    };
    let snapshot = match members.last("snapshot") {
        None | Some("true") => true,
        Some("false") => false,
        Some(_) => return None,
    };
    match &*string(members.last("action")?)? {
        "subscribe" => Some(Act::Subscribe { name: name?.clone(), since, snapshot }),
        "unsubscribe" => Some(Act::Unsubscribe { name: name?.clone() }),
        "authenticate" => Some(Act::Authenticate { authorization: string(members.last("authorization")?)?.into_owned() }),
        _ => None,
    }
}

fn name(resource: &str, collection_names: &[String]) -> Option<Name> {
    let members = Members::of(resource)?;
    let kind = Kind::of(&string(members.last("type")?)?)?;
    Name::parse(kind, &string(members.last("id")?)?, collection_names)
}

impl Reference {
    fn parse(text: &str) -> Option<Reference> {
        match string(text) {
            Some(text) => (text.len() <= REFERENCE_BYTES_MAX).then(|| Reference::Text(text.into_owned())),
            None => {
                let number = text.parse::<i64>().ok()?;
                (-REFERENCE_MAX..=REFERENCE_MAX).contains(&number).then_some(Reference::Number(number))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        vec!["public".to_owned(), "private".to_owned()]
    }

    fn name(kind: Kind, id: &str) -> Name {
        Name::parse(kind, id, &names()).unwrap()
    }

    fn subscribe(kind: Kind, id: &str) -> Result<Request, Malformed> {
        Ok(Request { reference: None, act: Act::Subscribe { name: name(kind, id), since: None, snapshot: true } })
    }

    fn malformed() -> Result<Request, Malformed> {
        Err(Malformed::default())
    }

    fn read(text: &str) -> Result<Request, Malformed> {
        super::read(text, &names())
    }

    #[test]
    fn the_documents_messages_are_read() {
        let kv_store = "{\n\"action\": \"subscribe\",\n\"resource\": {\n\"type\": \"kvStore\",\n\"id\": \"World:kvstoreClient:testKey\"\n}\n}";
        assert_eq!(read(kv_store), subscribe(Kind::KvStore, "World:kvstoreClient:testKey"));
        let public = r#"{"action":"subscribe","resource":{"type":"collection","id":"public"}}"#;
        assert_eq!(read(public), subscribe(Kind::Collection, "public"));
        let unsubscribe = r#"{"action":"unsubscribe","resource":{"type":"liveConfig","id":"game"}}"#;
        let act = Act::Unsubscribe { name: name(Kind::LiveConfig, "game") };
        assert_eq!(read(unsubscribe), Ok(Request { reference: None, act }));
    }

    #[test]
    fn rs_31_what_has_another_shape_is_malformed() {
        for text in [
            "",
            "{",
            "[]",
            "\"x\"",
            "1",
            "null",
            "{}",
            r#"{"resource":{"type":"liveConfig","id":"game"}}"#,
            r#"{"action":1,"resource":{"type":"liveConfig","id":"game"}}"#,
            r#"{"action":["subscribe"],"resource":{"type":"liveConfig","id":"game"}}"#,
            r#"{"action":"Subscribe","resource":{"type":"liveConfig","id":"game"}}"#,
            r#"{"action":"","resource":{"type":"liveConfig","id":"game"}}"#,
            r#"{"action":"subscribe"}"#,
            r#"{"action":"subscribe","resource":null}"#,
            r#"{"action":"subscribe","resource":["liveConfig","game"]}"#,
            r#"{"action":"subscribe","resource":"liveConfig"}"#,
            r#"{"action":"subscribe","resource":{"type":"KVStore","id":"World:kvstoreClient:k"}}"#,
            r#"{"action":"subscribe","resource":{"type":1,"id":"game"}}"#,
            r#"{"action":"subscribe","resource":{"id":"game"}}"#,
            r#"{"action":"subscribe","resource":{"type":"liveConfig"}}"#,
            r#"{"action":"subscribe","resource":{"type":"liveConfig","id":""}}"#,
            r#"{"action":"subscribe","resource":{"type":"liveConfig","id":5}}"#,
            r#"["subscribe",{"type":"liveConfig","id":"game"}]"#,
            r#"{"action":"subscribe","resource":{"type":"liveConfig","id":"game"}} x"#,
            r#"{"action":"subscribe","resource":{"type":"liveConfig","id":"game"},}"#,
        ] {
            let answer = read(text).expect_err(text);
            assert_eq!(answer.reference, None, "{text}");
        }
    }

    #[test]
    fn rs_32_ids_numbers_surrogates_and_depth_have_their_rules() {
        let with = |id: &str| read(&format!(r#"{{"action":"subscribe","resource":{{"type":"liveConfig","id":"{id}"}}}}"#));
        assert_eq!(with(&"g".repeat(512)), subscribe(Kind::LiveConfig, &"g".repeat(512)));
        for id in [&*"g".repeat(513), r"a\u0000", r"\u001f", r"\u007f", r"\ud800", r"\udc00\ud800", "a\nb"] {
            assert_eq!(with(id), malformed(), "{id}");
        }
        // Counted and looked at as what the escapes say.
        assert_eq!(with(&r"\u0067".repeat(512)), subscribe(Kind::LiveConfig, &"g".repeat(512)));
        assert_eq!(with(r"\ud83d\ude00\/"), subscribe(Kind::LiveConfig, "😀/"));
        let extra = |extra: &str| {
            read(&format!(r#"{{"x":{extra},"action":"subscribe","resource":{{"type":"liveConfig","id":"game"}}}}"#))
        };
        assert_eq!(extra("1e400"), malformed());
        assert_eq!(extra("-1e999"), malformed());
        assert_eq!(extra(r#""\ud800""#), malformed());
        assert_eq!(extra(r#""\u0000""#), subscribe(Kind::LiveConfig, "game"));
        let nested = |levels: usize| extra(&format!("{}{}", "[".repeat(levels), "]".repeat(levels)));
        assert_eq!(nested(31), subscribe(Kind::LiveConfig, "game"));
        assert_eq!(nested(32), malformed());
    }

    #[test]
    fn rs_33_the_documents_mangled_sample_is_malformed_and_the_corrected_one_is_not() {
        let mangled = "{\n\"action\": \"subscribe\",\n\"resource\": {\n\"type\": โliveConfig\",\n\"id\": โgame\"\n}\n}";
        assert_eq!(read(mangled), malformed());
        assert_eq!(read(&mangled.replace("โ", "\"")), subscribe(Kind::LiveConfig, "game"));
    }

    #[test]
    fn rs_34_unknown_keys_are_ignored_and_the_last_of_duplicates_counts() {
        let text = r#"{"Action":1,"x":[{}],"resource":[],"action":"unsubscribe","resource":{"type":5,"id":"a","more":{},"type":"liveConfig","id":"game"},"acti\u006fn":"subscribe"}"#;
        assert_eq!(read(text), subscribe(Kind::LiveConfig, "game"));
        let wrong_last = r#"{"action":"subscribe","resource":{"type":"liveConfig","id":"game"},"resource":null}"#;
        assert_eq!(read(wrong_last), malformed());
    }

    fn extended(keys: &str) -> Result<Request, Malformed> {
        read(&format!(r#"{{"action":"subscribe","resource":{{"type":"liveConfig","id":"game"}},{keys}}}"#))
    }

    #[test]
    fn extensions_are_read() {
        let request = extended(r#""ref":7,"since":"2024-01-30T15:50:35.742Z","snapshot":false"#).unwrap();
        let since = Version::parse("2024-01-30T15:50:35.742Z");
        let act = Act::Subscribe { name: name(Kind::LiveConfig, "game"), since, snapshot: false };
        assert_eq!(request, Request { reference: Some(Reference::Number(7)), act });
        let reference = |text: &str| extended(&format!("\"ref\":{text}")).map(|request| request.reference.unwrap());
        for number in [0, -1, REFERENCE_MAX, -REFERENCE_MAX] {
            assert_eq!(reference(&number.to_string()), Ok(Reference::Number(number)));
        }
        assert_eq!(reference(r#""a\n""#), Ok(Reference::Text("a\n".to_owned())));
        assert_eq!(reference(&format!("\"{}\"", "r".repeat(64))), Ok(Reference::Text("r".repeat(64))));
    }

    #[test]
    fn a_wrong_extension_is_malformed_and_a_good_reference_is_kept() {
        for wrong in ["null", "1.5", "1.0", "1e2", "true", "[]", "{}", "9007199254740992", "-9007199254740992"] {
            assert_eq!(extended(&format!("\"ref\":{wrong}")), malformed(), "{wrong}");
        }
        assert_eq!(extended(&format!("\"ref\":\"{}\"", "r".repeat(65))), malformed());
        let named = Malformed { reference: Some(Reference::Number(7)), name: Some(name(Kind::LiveConfig, "game")) };
        for wrong in ["\"since\":\"yesterday\"", "\"since\":5", "\"since\":null", "\"snapshot\":\"true\"", "\"snapshot\":null"] {
            assert_eq!(extended(&format!("{wrong},\"ref\":7")), Err(named.clone()), "{wrong}");
        }
        let unnamed = Malformed { reference: Some(Reference::Number(7)), name: None };
        assert_eq!(read(r#"{"ref":7,"action":"subscribe","resource":{"type":"collection","id":"x"}}"#), Err(unnamed));
    }

    #[test]
    fn authenticate_needs_a_text_and_no_resource() {
        let act = Act::Authenticate { authorization: "Bearer a".to_owned() };
        assert_eq!(
            read(r#"{"action":"authenticate","authorization":"Bearer a","resource":5}"#),
            Ok(Request { reference: None, act })
        );
        assert_eq!(read(r#"{"action":"authenticate"}"#), malformed());
        assert_eq!(read(r#"{"action":"authenticate","authorization":["Bearer a"]}"#), malformed());
    }
}
