//! A configured channel, and what an identifier gets of it: streams, or the cause of a reject.

use super::events::Events;
use super::identifier::{Identifier, Value};
use super::rules::{Key, Rules};
use super::signed::Signed;
use super::streams::Streams;
use crate::message::TopicName;
use std::sync::Arc;

/// Bytes of a stream's name: what can also be published to.
pub const STREAM_BYTES_MAX: usize = 512;

/// A name that an identifier can ask for.
#[derive(Debug)]
pub struct Channel {
    pub name: Box<str>,
    pub needs_key: bool,
    /// Whether its streams have a history.
    pub history: bool,
    /// Whether its subscribers may send messages to each other.
    pub whisper: bool,
    pub kind: Kind,
}

/// How a channel finds the streams of a subscription.
#[derive(Debug)]
pub enum Kind {
    Events(Events),
    Streams(Streams),
    Signed(Signed),
}

/// What a subscription that is confirmed stands on.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub channel: Arc<Channel>,
    /// Without duplicates, in the order they were named; none of them begins with `$`. May be empty.
    pub streams: Vec<TopicName>,
    /// The key that was presented, if the channel asks for one.
    pub key: Option<Arc<Key>>,
}

/// Why a `subscribe` is answered with a reject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reject {
    IdentifierTooLong,
    /// No JSON object with a string as `channel`.
    Identifier,
    UnknownChannel,
    Key,
    Events,
    Param,
    /// No signed name that verifies, and no public one that is allowed.
    Signature,
    /// A name of the server's own, or one that nothing could be published to.
    StreamName,
    TooManyStreams,
    /// The connection has as many subscriptions as it may have.
    TooManySubscriptions,
}

impl Reject {
    pub const ALL: [Reject; 10] = [
        Reject::IdentifierTooLong,
        Reject::Identifier,
        Reject::UnknownChannel,
        Reject::Key,
        Reject::Events,
        Reject::Param,
        Reject::Signature,
        Reject::StreamName,
        Reject::TooManyStreams,
        Reject::TooManySubscriptions,
    ];

    /// The label of its counter.
    pub fn cause(self) -> &'static str {
        match self {
            Reject::IdentifierTooLong => "identifier_too_long",
            Reject::Identifier => "identifier",
            Reject::UnknownChannel => "unknown_channel",
            Reject::Key => "key",
            Reject::Events => "events",
            Reject::Param => "param",
            Reject::Signature => "signature",
            Reject::StreamName => "stream_name",
            Reject::TooManyStreams => "too_many_streams",
            Reject::TooManySubscriptions => "too_many_subscriptions",
        }
    }
}

/// What the rules say about a decoded identifier. Nothing is attached before all of it is known.
///
/// # Errors
/// The first thing that is wrong: length, JSON, channel, key, and then what the channel's kind looks at.
pub fn admit(rules: &Rules, identifier: &str) -> Result<Accepted, Reject> {
    if identifier.len() > rules.identifier_bytes_max {
        return Err(Reject::IdentifierTooLong);
    }
    let identifier = Identifier::parse(identifier).ok_or(Reject::Identifier)?;
    let channel = rules.channel(&identifier.channel).ok_or(Reject::UnknownChannel)?;
    let key = if channel.needs_key { Some(key(rules, channel, &identifier)?) } else { None };
    let streams = match &channel.kind {
        Kind::Events(events) => events.streams(identifier.param("events"), rules.streams_max)?,
        Kind::Streams(streams) => streams.fill(&identifier, rules.streams_max)?,
        Kind::Signed(signed) => vec![signed.stream(&identifier)?],
    };
    let nameable = |stream: &TopicName| !stream.is_reserved() && (1..=STREAM_BYTES_MAX).contains(&stream.as_str().len());
    if !streams.iter().all(nameable) {
        return Err(Reject::StreamName);
    }
    Ok(Accepted { channel: channel.clone(), streams, key })
}

fn key(rules: &Rules, channel: &Channel, identifier: &Identifier) -> Result<Arc<Key>, Reject> {
    match identifier.param("key") {
        Some(Value::String(presented)) => rules.key(presented).filter(|key| key.opens(&channel.name)).cloned().ok_or(Reject::Key),
        Some(Value::Integer(_) | Value::Null | Value::Other) | None => Err(Reject::Key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(identifier: &str) -> Result<Accepted, Reject> {
        let options = toml::from_str(
            r#"
            preset = "metasmoke"
            public_streams = true
            public_prefixes = [""]
            max_streams_per_subscription = 4
            [[keys]]
            name = "k"
            sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
            channels = ["ApiChannel"]
            [[channel]]
            name = "PostsChannel"
            kind = "streams"
            rules = [{ streams = ["{text}"] }]
            params = { text = "text" }
            history = false
            [[channel]]
            name = "Closed"
            kind = "streams"
            key = true
            rules = [{ streams = ["closed"] }]
            "#,
        );
        admit(&Rules::new(&options.unwrap()).unwrap(), identifier)
    }

    #[test]
    fn the_documents_identifier_gets_its_streams() {
        let accepted = admitted(r#"{"channel":"ApiChannel","key":"abc","events":"announcements"}"#).unwrap();
        let streams: Vec<&str> = accepted.streams.iter().map(TopicName::as_str).collect();
        assert_eq!(streams, ["api:announcements_create", "api:announcements_update"]);
        assert_eq!(&*accepted.key.unwrap().name, "k");
        assert!(accepted.channel.history && !accepted.channel.whisper);
    }

    #[test]
    fn causes_come_in_the_order_of_the_rules() {
        for (identifier, cause) in [
            (format!("[{}]", " ".repeat(4095)), Reject::IdentifierTooLong),
            ("".to_owned(), Reject::Identifier),
            ("{}".to_owned(), Reject::Identifier),
            ("[]".to_owned(), Reject::Identifier),
            (r#"{"channel":"Object"}"#.to_owned(), Reject::UnknownChannel),
            (r#"{"channel":"ApiChannel","events":"posts#"}"#.to_owned(), Reject::Key),
            (r#"{"channel":"ApiChannel","key":"abc","events":"posts#"}"#.to_owned(), Reject::Events),
            (r#"{"channel":"ApiChannel","key":"abc","events":"a;posts;users;flags"}"#.to_owned(), Reject::TooManyStreams),
            (r#"{"channel":"Closed","key":"abc"}"#.to_owned(), Reject::Key),
            (r#"{"channel":"PostsChannel"}"#.to_owned(), Reject::Param),
            (r#"{"channel":"$pubsub"}"#.to_owned(), Reject::Signature),
        ] {
            assert_eq!(admitted(&identifier).map(drop), Err(cause), "{identifier:.80}");
        }
    }

    #[test]
    fn ac_23_and_24_a_key_is_a_string_that_is_known() {
        for key in ["\"ABC\"", "\"\"", "\" \"", "\"abc \"", "5", "[\"abc\"]", "{}", "null", "true"] {
            let identifier = format!(r#"{{"channel":"ApiChannel","key":{key},"events":"posts"}}"#);
            assert_eq!(admitted(&identifier).map(drop), Err(Reject::Key), "{key}");
        }
        assert_eq!(admitted(r#"{"channel":"ApiChannel","events":"posts"}"#).map(drop), Err(Reject::Key));
    }

    #[test]
    fn nobody_listens_to_the_servers_own_names() {
        for (identifier, allowed) in [
            (r#"{"channel":"PostsChannel","text":"$control/key"}"#.to_owned(), false),
            (r#"{"channel":"PostsChannel","text":"control/$key"}"#.to_owned(), true),
            (r#"{"channel":"$pubsub","stream_name":"$control/key"}"#.to_owned(), false),
            (format!(r#"{{"channel":"$pubsub","stream_name":"{}"}}"#, "a".repeat(512)), true),
            (format!(r#"{{"channel":"$pubsub","stream_name":"{}"}}"#, "a".repeat(513)), false),
        ] {
            let expected = if allowed { Ok(()) } else { Err(Reject::StreamName) };
            assert_eq!(admitted(&identifier).map(drop), expected, "{identifier:.80}");
        }
    }

    #[test]
    fn a_channel_without_history_says_so_and_asks_for_no_key() {
        let accepted = admitted(r#"{"channel":"PostsChannel","text":"a"}"#).unwrap();
        assert!(!accepted.channel.history && accepted.key.is_none());
    }

    #[test]
    fn each_cause_has_a_label_of_its_own() {
        let mut labels: Vec<&str> = Reject::ALL.iter().map(|reject| reject.cause()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Reject::ALL.len());
    }
}
