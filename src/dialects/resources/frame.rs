//! What the server sends, byte for byte (specification, sections 4 and 13).

use super::message::Reference;
use super::name::{Kind, Name, Resource};
use super::version::Version;
use std::io::Write as _;

/// Appends a document as a snapshot or an update: both are the same bytes. `data` is the stored text.
pub fn document(resource: &Resource, data: &[u8], version: Version, out: &mut Vec<u8>) {
    out.push(b'{');
    if let Some(owner) = resource.owner() {
        out.extend_from_slice(b"\"userId\":");
        quote(owner, out);
        out.push(b',');
    }
    write_resource(resource.kind(), resource.short_id(), out);
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(data);
    write!(out, ",\"version\":\"{version}\"}}").expect("a vector takes everything");
}

/// Appends a document's frame as the direct reply to a request with a reference.
pub fn referenced(reference: &Reference, frame: &[u8], out: &mut Vec<u8>) {
    debug_assert!(frame.starts_with(b"{\""), "a document's frame has keys");
    write_reference(reference, out);
    out.extend_from_slice(&frame[1..]);
}

/// A direct reply that is no document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Subscribed, and there is no document yet.
    Missing(Kind),
    Malformed,
    Forbidden,
    TooManySubscriptions,
    RateLimited,
    /// Told only to those who sent a reference, like the next one.
    Subscribed,
    Unsubscribed,
    Authenticated,
}

impl Reply {
    /// Whether a request without a reference gets it, too.
    fn is_told_to_everybody(self) -> bool {
        match self {
            Reply::Missing(_)
            | Reply::Malformed
            | Reply::Forbidden
            | Reply::TooManySubscriptions
            | Reply::RateLimited
            | Reply::Authenticated => true,
            Reply::Subscribed | Reply::Unsubscribed => false,
        }
    }

    fn write(self, out: &mut Vec<u8>) {
        let (key, text) = match self {
            Reply::Missing(kind) => {
                let label = kind.label();
                write!(
                    out,
                    "\"warning\":\"resource_not_found\",\
                     \"message\":\"{label} resource doesn't currently exist, subscription was still made successfully\""
                )
                .expect("a vector takes everything");
                return;
            }
            Reply::Malformed => ("error", "Invalid message format"),
            Reply::Forbidden => ("error", "Forbidden"),
            Reply::TooManySubscriptions => ("error", "Too many subscriptions"),
            Reply::RateLimited => ("error", "Rate limit exceeded"),
            Reply::Subscribed => ("ok", "subscribed"),
            Reply::Unsubscribed => ("ok", "unsubscribed"),
            Reply::Authenticated => ("ok", "authenticated"),
        };
        write!(out, "\"{key}\":\"{text}\"").expect("a vector takes everything");
    }
}

/// Appends a reply. With a reference it begins with that and ends with the resource that was named, if one was.
///
/// Says whether there is anything to send: without a reference some replies are silence.
pub fn reply(reply: Reply, reference: Option<&Reference>, name: Option<&Name>, out: &mut Vec<u8>) -> bool {
    let Some(reference) = reference else {
        if reply.is_told_to_everybody() {
            out.push(b'{');
            reply.write(out);
            out.push(b'}');
        }
        return reply.is_told_to_everybody();
    };
    write_reference(reference, out);
    reply.write(out);
    if let Some(name) = name {
        out.push(b',');
        write_resource(name.kind(), name.short_id(), out);
    }
    out.push(b'}');
    true
}

/// The beginning of an object, up to the next key.
fn write_reference(reference: &Reference, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"ref\":");
    match reference {
        Reference::Number(number) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
        Reference::Text(text) => quote(text, out),
    }
    out.push(b',');
}

fn write_resource(kind: Kind, id: &str, out: &mut Vec<u8>) {
    write!(out, "\"resource\":{{\"type\":\"{}\",\"id\":", kind.word()).expect("a vector takes everything");
    quote(id, out);
    out.push(b'}');
}

/// A string with as few escapes as JSON allows; these are serde_json's.
pub fn quote(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a string can be written, and a vector takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(kind: Kind, id: &str) -> Name {
        Name::parse(kind, id, &["public".to_owned(), "private".to_owned()]).unwrap()
    }

    fn resource(kind: Kind, id: &str) -> Resource {
        name(kind, id).of(Some("fakeUserId")).unwrap()
    }

    fn version() -> Version {
        Version::parse("2024-01-30T15:50:35.742Z").unwrap()
    }

    fn document(kind: Kind, id: &str, data: &str) -> String {
        let mut out = Vec::new();
        super::document(&resource(kind, id), data.as_bytes(), version(), &mut out);
        String::from_utf8(out).unwrap()
    }

    fn reply(reply: Reply, reference: Option<Reference>, name: Option<&Name>) -> Option<String> {
        let mut out = Vec::new();
        super::reply(reply, reference.as_ref(), name, &mut out).then(|| String::from_utf8(out).unwrap())
    }

    /// The document's own example, without its white space.
    #[test]
    fn rs_23_a_document_has_its_keys_in_order() {
        let data = r#"{"userId":"fakeUserId","datasourceId":"fakeDatasourceId","userCollection":[]}"#;
        let expected = r#"{"userId":"fakeUserId","resource":{"type":"collection","id":"private"},"data":{"userId":"fakeUserId","datasourceId":"fakeDatasourceId","userCollection":[]},"version":"2024-01-30T15:50:35.742Z"}"#;
        assert_eq!(document(Kind::Collection, "private", data), expected);
        assert_eq!(document(Kind::Collection, "private:fakeUserId", data), expected);
        assert_eq!(
            document(Kind::KvStore, "World:kvstoreClient:k", "1"),
            r#"{"userId":"World","resource":{"type":"kvStore","id":"World:kvstoreClient:k"},"data":1,"version":"2024-01-30T15:50:35.742Z"}"#
        );
    }

    #[test]
    fn rs_39_a_live_configuration_has_no_user() {
        assert_eq!(
            document(Kind::LiveConfig, "game", "true"),
            r#"{"resource":{"type":"liveConfig","id":"game"},"data":true,"version":"2024-01-30T15:50:35.742Z"}"#
        );
    }

    /// RS-40, the half of the frame: number text, key order and escapes are the writer's.
    #[test]
    fn rs_40_data_is_sent_as_it_is_stored() {
        let data = r#"{"b":1.00e+2,"a":"\u0041\/","b":12345678901234567890}"#;
        assert!(document(Kind::LiveConfig, "game", data).contains(&format!("\"data\":{data},")));
    }

    #[test]
    fn ids_are_escaped_as_little_as_json_allows() {
        assert_eq!(
            document(Kind::LiveConfig, "a\"b\\c/é😀\u{85}", "1"),
            "{\"resource\":{\"type\":\"liveConfig\",\"id\":\"a\\\"b\\\\c/é😀\u{85}\"},\"data\":1,\"version\":\"2024-01-30T15:50:35.742Z\"}"
        );
        let text = Reference::Text("\0\u{8}\t\n\u{b}\u{c}\r\u{1f}\u{7f}/".to_owned());
        assert_eq!(
            reply(Reply::Authenticated, Some(text), None).unwrap(),
            "{\"ref\":\"\\u0000\\b\\t\\n\\u000b\\f\\r\\u001f\u{7f}/\",\"ok\":\"authenticated\"}"
        );
    }

    #[test]
    fn rs_24_rs_25_warnings_differ_in_their_label() {
        for (kind, label) in [(Kind::KvStore, "KVStore"), (Kind::Collection, "Collection"), (Kind::LiveConfig, "LiveConfig")] {
            let expected = r#"{"warning":"resource_not_found","message":"KVStore resource doesn't currently exist, subscription was still made successfully"}"#
                .replace("KVStore", label);
            assert_eq!(reply(Reply::Missing(kind), None, Some(&name(Kind::LiveConfig, "game"))), Some(expected));
        }
    }

    #[test]
    fn rs_31_rs_37_rs_38_rs_42_errors_have_their_bytes() {
        let name = name(Kind::LiveConfig, "game");
        for (kind, text) in [
            (Reply::Malformed, r#"{"error":"Invalid message format"}"#),
            (Reply::Forbidden, r#"{"error":"Forbidden"}"#),
            (Reply::TooManySubscriptions, r#"{"error":"Too many subscriptions"}"#),
            (Reply::RateLimited, r#"{"error":"Rate limit exceeded"}"#),
            (Reply::Authenticated, r#"{"ok":"authenticated"}"#),
        ] {
            assert_eq!(reply(kind, None, Some(&name)).as_deref(), Some(text));
        }
    }

    #[test]
    fn rs_29_success_is_silent_without_a_reference() {
        let name = name(Kind::LiveConfig, "game");
        assert_eq!(reply(Reply::Subscribed, None, Some(&name)), None);
        assert_eq!(reply(Reply::Unsubscribed, None, Some(&name)), None);
    }

    #[test]
    fn rs_69_with_a_reference_each_reply_begins_with_it() {
        let private = name(Kind::Collection, "private:u1");
        let seven = || Some(Reference::Number(7));
        for (kind, text) in [
            (Reply::Subscribed, r#""ok":"subscribed""#),
            (Reply::Unsubscribed, r#""ok":"unsubscribed""#),
            (Reply::Forbidden, r#""error":"Forbidden""#),
            (Reply::Malformed, r#""error":"Invalid message format""#),
            (
                Reply::Missing(Kind::Collection),
                r#""warning":"resource_not_found","message":"Collection resource doesn't currently exist, subscription was still made successfully""#,
            ),
        ] {
            let expected = format!(r#"{{"ref":7,{text},"resource":{{"type":"collection","id":"private"}}}}"#);
            assert_eq!(reply(kind, seven(), Some(&private)), Some(expected));
        }
        assert_eq!(reply(Reply::Forbidden, seven(), None).as_deref(), Some(r#"{"ref":7,"error":"Forbidden"}"#));
        let mut out = Vec::new();
        referenced(&Reference::Text("a".into()), document(Kind::LiveConfig, "game", "1").as_bytes(), &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"ref":"a","resource":{"type":"liveConfig","id":"game"},"data":1,"version":"2024-01-30T15:50:35.742Z"}"#
        );
    }
}
