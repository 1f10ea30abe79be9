//! `[action_cable]` of the configuration: keys, defaults and limits.

use super::rules::Rules;
use crate::access::digest;
use crate::access::secret::{Secret, Sha256};
use crate::exchange::Reach;
use crate::http::target::is_plain;
use crate::units;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What one deployment of the dialect is told. [`Options::check`] finds values that cannot be.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    pub enabled: bool,
    pub preset: Option<Preset>,
    pub path: String,
    /// `None`: on, unless the preset says otherwise.
    pub check_origin: Option<bool>,
    pub allow_same_origin: bool,
    pub allowed_origins: Vec<String>,
    pub connect_auth: ConnectAuth,
    #[serde(deserialize_with = "units::duration")]
    pub ping_interval: Duration,
    /// Whether `?pi` and `?ptp` are honoured.
    pub ping_params: bool,
    pub duplicate_subscribe: DuplicateSubscribe,
    /// 0 = by the descriptor limit.
    pub max_connections: u64,
    #[serde(deserialize_with = "units::size")]
    pub max_message: u64,
    /// Decoded bytes.
    #[serde(deserialize_with = "units::size")]
    pub max_identifier: u64,
    pub max_subscriptions: usize,
    pub max_streams_per_subscription: usize,
    /// Per second and connection, five times as many in a burst. 0 = no limit.
    pub bad_input_rate: u32,
    #[serde(deserialize_with = "units::size")]
    pub max_publish_body: u64,
    /// Bytes of one message after white space is removed.
    #[serde(deserialize_with = "units::size")]
    pub max_payload: u64,
    #[serde(deserialize_with = "units::duration")]
    pub write_stall: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub close_timeout: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub drain_time: Duration,
    pub disconnect_frame: bool,
    #[serde(deserialize_with = "units::duration")]
    pub tcp_user_timeout: Duration,
    pub on_key_removed: OnKeyRemoved,
    /// Exact paths; `""` turns the route off.
    pub events_path: String,
    pub broadcast_path: String,
    pub publish_key: Option<Secret>,
    pub publish_key_file: Option<PathBuf>,
    /// The publish key is derived from it, unless there is one.
    pub secret: Option<Secret>,
    pub secret_file: Option<PathBuf>,
    /// All of them verify signed stream names.
    #[serde(deserialize_with = "one_or_more")]
    pub streams_secret: Vec<Secret>,
    pub streams_secret_file: Option<PathBuf>,
    pub public_streams: bool,
    pub public_prefixes: Vec<String>,
    pub whisper: bool,
    /// Whether `actioncable-v1-ext-json` is offered.
    pub extended: bool,
    /// Messages per stream; 0 = no history.
    pub history_limit: usize,
    #[serde(deserialize_with = "units::duration")]
    pub history_ttl: Duration,
    /// How long the last offset of an idle stream is remembered.
    #[serde(deserialize_with = "units::duration")]
    pub history_position_ttl: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub resume_ttl: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub restore_hold: Duration,
    /// Zero: off.
    #[serde(deserialize_with = "units::duration")]
    pub pong_timeout: Duration,
    pub channel: Vec<ChannelOptions>,
    pub keys: Vec<KeyOptions>,
}

/// Settings of an application that is known by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    Metasmoke,
}

/// Where a connection must present a key before anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectAuth {
    None,
    /// The argument of the query with this name.
    Query(String),
    /// The header field with this name.
    Header(String),
}

impl<'de> Deserialize<'de> for ConnectAuth {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<ConnectAuth, D::Error> {
        let is_name =
            |name: &&str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        String::deserialize(from)
            .ok()
            .and_then(|text| match text.split_once(':') {
                None if text == "none" => Some(ConnectAuth::None),
                Some(("query", name)) => Some(name).filter(is_name).map(|name| ConnectAuth::Query(name.to_owned())),
                Some(("header", name)) => Some(name).filter(is_name).map(|name| ConnectAuth::Header(name.to_owned())),
                _ => None,
            })
            .ok_or_else(|| de::Error::custom("expected \"none\", \"query:<name>\" or \"header:<name>\""))
    }
}

/// How a `subscribe` of a live identifier is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DuplicateSubscribe {
    /// By a confirm if the client offered `actioncable-unsupported`, else not at all.
    Auto,
    Ignore,
    Confirm,
}

/// What becomes of subscriptions whose key a reload removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnKeyRemoved {
    Disconnect,
    Keep,
}

/// `[[action_cable.channel]]`. What is `None` or empty was not said; the kind decides what it means.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChannelOptions {
    pub name: String,
    pub kind: Option<Kind>,
    /// Whether subscribing needs a key; `events` always does.
    pub key: Option<bool>,
    pub history: bool,
    pub prefix: Option<String>,
    pub types: Option<Vec<String>>,
    pub default_types: Option<Vec<String>>,
    pub models: Models,
    pub strict: Option<bool>,
    pub legacy_streams: Vec<String>,
    /// `<token>.<member>`
    pub sensitive_fields: Vec<String>,
    pub params: BTreeMap<String, ParamType>,
    pub rules: Vec<RuleOptions>,
    pub param: Option<String>,
}

impl Default for ChannelOptions {
    fn default() -> ChannelOptions {
        ChannelOptions {
            name: String::new(),
            kind: None,
            key: None,
            history: true,
            prefix: None,
            types: None,
            default_types: None,
            models: Models::default(),
            strict: None,
            legacy_streams: Vec::new(),
            sensitive_fields: Vec::new(),
            params: BTreeMap::new(),
            rules: Vec::new(),
            param: None,
        }
    }
}

/// How a channel finds the streams of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// By the models and types that `events` lists.
    Events,
    /// By templates that are filled from the identifier.
    Streams,
    /// By a name that the identifier holds, signed or public.
    Signed,
}

/// Which models a channel of kind `events` knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Models {
    /// Class name to token.
    Table(BTreeMap<String, String>),
    /// Every token of 1 to 64 letters, digits and `_`.
    Any,
}

impl Default for Models {
    fn default() -> Models {
        Models::Table(BTreeMap::new())
    }
}

impl<'de> Deserialize<'de> for Models {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Models, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Models;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a table of class names and tokens, or \"any\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Models, E> {
                match text {
                    "any" => Ok(Models::Any),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Models, A::Error> {
                let mut table = BTreeMap::new();
                while let Some((class, token)) = map.next_entry()? {
                    table.insert(class, token);
                }
                Ok(Models::Table(table))
            }
        }
        from.deserialize_any(Either)
    }
}

/// What a parameter of an identifier must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParamType {
    /// An integer, or a string of its digits.
    Int,
    /// A string of 1 to 64 letters, digits, `_`, `.` and `-`.
    #[default]
    Word,
    /// A string of 1 to 256 bytes without control characters.
    Text,
}

/// One of a channel's `rules`: the first whose `when` is present names the streams.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuleOptions {
    pub when: Vec<String>,
    /// Names with `{param}` to be filled in.
    pub streams: Vec<String>,
}

/// `[[action_cable.keys]]`: one who may listen.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeyOptions {
    pub name: String,
    pub sha256: Option<Sha256>,
    /// Empty: every channel.
    pub channels: Vec<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            enabled: true,
            preset: None,
            path: "/cable".into(),
            check_origin: None,
            allow_same_origin: true,
            allowed_origins: Vec::new(),
            connect_auth: ConnectAuth::None,
            ping_interval: Duration::from_secs(3),
            ping_params: true,
            duplicate_subscribe: DuplicateSubscribe::Auto,
            max_connections: 0,
            max_message: 64 << 10,
            max_identifier: 4 << 10,
            max_subscriptions: 64,
            max_streams_per_subscription: 128,
            bad_input_rate: 20,
            max_publish_body: 1 << 20,
            max_payload: 256 << 10,
            write_stall: Duration::from_secs(30),
            close_timeout: Duration::from_secs(5),
            drain_time: Duration::from_secs(30),
            disconnect_frame: true,
            tcp_user_timeout: Duration::from_secs(30),
            on_key_removed: OnKeyRemoved::Disconnect,
            events_path: "/api/events".into(),
            broadcast_path: "/_broadcast".into(),
            publish_key: None,
            publish_key_file: None,
            secret: None,
            secret_file: None,
            streams_secret: Vec::new(),
            streams_secret_file: None,
            public_streams: false,
            public_prefixes: Vec::new(),
            whisper: false,
            extended: true,
            history_limit: 100,
            history_ttl: Duration::from_secs(300),
            history_position_ttl: Duration::from_secs(3000),
            resume_ttl: Duration::from_secs(300),
            restore_hold: Duration::from_secs(5),
            pong_timeout: Duration::ZERO,
            channel: Vec::new(),
            keys: Vec::new(),
        }
    }
}

/// More topics than any connection may have in one subscription.
const TOPICS_PER_CONNECTION: usize = 1024;
const HOUR: Duration = Duration::from_secs(3600);

impl Options {
    /// Those of `fanwire dev`: metasmoke's channel, and a key that everybody knows.
    pub fn dev() -> Options {
        Options {
            preset: Some(Preset::Metasmoke),
            publish_key: Some("dev".into()),
            keys: vec![KeyOptions { name: "dev".into(), sha256: Some(Sha256(digest(b"dev"))), channels: Vec::new() }],
            drain_time: Duration::from_secs(1),
            ..Options::default()
        }
    }

    /// How far back histories go.
    pub fn reach(&self) -> Reach {
        Reach { count: self.history_limit, age: self.history_ttl }
    }

    /// # Errors
    /// The key whose value cannot be, like `channel[0].name`, and what is wrong with it.
    pub fn check(&self) -> Result<(), (String, String)> {
        self.check_paths()?;
        self.check_times()?;
        self.check_limits()?;
        Rules::new(self).map(drop)
    }

    fn check_paths(&self) -> Result<(), (String, String)> {
        demand(is_plain(&self.path), "path", "must be a plain path that begins with \"/\"")?;
        demand(!self.path.ends_with('/'), "path", "must not end with \"/\": it is served with and without")?;
        let publishing = [("events_path", &self.events_path), ("broadcast_path", &self.broadcast_path)];
        for (key, path) in publishing {
            demand(
                path.is_empty() || is_plain(path),
                key,
                "must be a plain path that begins with \"/\", or empty to turn it off",
            )?;
            demand(path.trim_end_matches('/') != self.path, key, "is the same path as path")?;
        }
        demand(
            self.events_path.is_empty() || self.events_path != self.broadcast_path,
            "broadcast_path",
            "is the same path as events_path",
        )
    }

    fn check_times(&self) -> Result<(), (String, String)> {
        let second = Duration::from_secs(1);
        // Clients of all versions take six silent seconds for a dead connection.
        demand((second..=5 * second).contains(&self.ping_interval), "ping_interval", "must be 1s to 5s")?;
        for (key, time) in [
            ("write_stall", self.write_stall),
            ("close_timeout", self.close_timeout),
            ("tcp_user_timeout", self.tcp_user_timeout),
            ("history_ttl", self.history_ttl),
        ] {
            demand(!time.is_zero(), key, "must not be zero")?;
        }
        for (key, time) in
            [("pong_timeout", self.pong_timeout), ("restore_hold", self.restore_hold), ("resume_ttl", self.resume_ttl)]
        {
            demand(time <= HOUR, key, "must be at most 1h")?;
        }
        demand(self.history_position_ttl >= self.history_ttl, "history_position_ttl", "must not be shorter than history_ttl")
    }

    fn check_limits(&self) -> Result<(), (String, String)> {
        for (key, count) in
            [("max_subscriptions", self.max_subscriptions), ("max_streams_per_subscription", self.max_streams_per_subscription)]
        {
            demand((1..=TOPICS_PER_CONNECTION).contains(&count), key, "must be 1 to 1024")?;
        }
        demand(self.bad_input_rate <= 100_000, "bad_input_rate", "must be at most 100000")?;
        for (key, bytes) in [
            ("max_message", self.max_message),
            ("max_identifier", self.max_identifier),
            ("max_publish_body", self.max_publish_body),
            ("max_payload", self.max_payload),
        ] {
            demand(bytes != 0, key, "must not be 0")?;
            demand(bytes <= 1 << 30, key, "must be at most 1GiB")?;
        }
        Ok(())
    }
}

fn demand(holds: bool, key: &str, problem: &str) -> Result<(), (String, String)> {
    if holds { Ok(()) } else { Err((key.to_owned(), problem.to_owned())) }
}

/// A string, or a list of them.
fn one_or_more<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Secret>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Secrets {
        One(Secret),
        List(Vec<Secret>),
    }
    match Secrets::deserialize(from) {
        Ok(Secrets::One(secret)) => Ok(vec![secret]),
        Ok(Secrets::List(list)) => Ok(list),
        // serde's words could show what was written.
        Err(_) => Err(de::Error::custom("expected a string, or a list of them")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Options, String> {
        toml::from_str::<Options>(text).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_said_is_the_specification() {
        let options = read("").unwrap();
        assert_eq!(options, Options::default());
        assert_eq!(options.check(), Ok(()));
    }

    #[test]
    fn values_have_units_and_words() {
        let options = read(
            "preset = \"metasmoke\"\nconnect_auth = \"query:token\"\nduplicate_subscribe = \"confirm\"\non_key_removed = \"keep\"\n\
             max_message = \"8KiB\"\ndrain_time = \"1m\"\nstreams_secret = [\"a\", \"b\"]\ncheck_origin = true\n\
             [[channel]]\nname = \"A\"\nkind = \"events\"\nmodels = { Post = \"posts\" }\n\
             [[channel]]\nname = \"B\"\nkind = \"events\"\nmodels = \"any\"\n\
             [[channel]]\nname = \"C\"\nkind = \"streams\"\nparams = { id = \"int\" }\n\
             rules = [{ when = [\"id\"], streams = [\"c_{id}\"] }, { streams = [\"c\"] }]\n\
             [[keys]]\nname = \"k\"\nsha256 = \"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"\nchannels = [\"A\"]\n",
        )
        .unwrap();
        assert_eq!(options.check(), Ok(()));
        assert_eq!((options.preset, options.check_origin), (Some(Preset::Metasmoke), Some(true)));
        assert_eq!(options.connect_auth, ConnectAuth::Query("token".into()));
        assert_eq!(options.duplicate_subscribe, DuplicateSubscribe::Confirm);
        assert_eq!(options.on_key_removed, OnKeyRemoved::Keep);
        assert_eq!((options.max_message, options.drain_time), (8192, Duration::from_secs(60)));
        assert_eq!(options.streams_secret, [Secret::from("a"), Secret::from("b")]);
        assert_eq!(options.channel[0].models, Models::Table([("Post".to_owned(), "posts".to_owned())].into()));
        assert_eq!(options.channel[1].models, Models::Any);
        assert_eq!(options.channel[2].params["id"], ParamType::Int);
        assert_eq!(options.channel[2].rules.len(), 2);
        assert_eq!(options.keys[0].sha256, Some(Sha256(digest(b"abc"))));
        assert_eq!(read("streams_secret = \"a\"").unwrap().streams_secret, [Secret::from("a")]);
        assert_eq!(read("connect_auth = \"header:X-Key\"").unwrap().connect_auth, ConnectAuth::Header("X-Key".into()));
    }

    #[test]
    fn dev_is_metasmoke_with_a_key_that_everybody_knows() {
        let options = Options::dev();
        assert_eq!(options.check(), Ok(()));
        let rules = Rules::new(&options).unwrap();
        assert_eq!(&*rules.key("dev").unwrap().name, "dev");
        assert!(rules.may_publish("dev") && !rules.may_publish("Dev"));
        assert_eq!(options.drain_time, Duration::from_secs(1));
        assert!(!options.public_streams && options.streams_secret.is_empty());
    }

    #[test]
    fn unknown_keys_and_words_are_errors_without_secrets() {
        assert!(read("max_mesage = 3").unwrap_err().contains("max_mesage"));
        for bad in [
            "preset = \"rails\"",
            "connect_auth = \"query:\"",
            "connect_auth = \"cookie:x\"",
            "connect_auth = \"header:a b\"",
            "ping_interval = 3",
            "[[channel]]\nkind = \"event\"",
            "[[channel]]\nmodels = \"all\"",
            "[[channel]]\nparams = { id = \"number\" }",
            "[[keys]]\nsha256 = \"00\"",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        // What is told of a value is this, without the value.
        let error = toml::from_str::<Options>("streams_secret = 20235711").unwrap_err();
        assert_eq!(error.message(), "expected a string, or a list of them");
        assert!(!format!("{:?}", Options::dev()).contains("\"dev\")"));
    }

    #[test]
    fn values_that_cannot_be_name_their_key() {
        for (text, key) in [
            ("path = \"cable\"", "path"),
            ("path = \"/cable/\"", "path"),
            ("path = \"/cable?x\"", "path"),
            ("events_path = \"/cable/\"", "events_path"),
            ("broadcast_path = \"/api/events\"", "broadcast_path"),
            ("ping_interval = \"6s\"", "ping_interval"),
            ("ping_interval = \"500ms\"", "ping_interval"),
            ("write_stall = \"0s\"", "write_stall"),
            ("pong_timeout = \"2h\"", "pong_timeout"),
            ("history_position_ttl = \"1s\"", "history_position_ttl"),
            ("max_subscriptions = 0", "max_subscriptions"),
            ("max_streams_per_subscription = 1025", "max_streams_per_subscription"),
            ("max_payload = 0", "max_payload"),
            ("max_message = \"2GiB\"", "max_message"),
            ("bad_input_rate = 100001", "bad_input_rate"),
            ("allowed_origins = [\"a.example\"]", "allowed_origins"),
            ("secret = \"\"", "secret"),
            ("streams_secret = [\"a\", \"\"]", "streams_secret"),
            ("public_prefixes = [\"$\"]", "public_prefixes"),
            ("[[channel]]\nkind = \"signed\"", "channel[0].name"),
            ("[[channel]]\nname = \"A\"", "channel[0].kind"),
            ("[[keys]]\nname = \"a\"", "keys[0].sha256"),
        ] {
            assert_eq!(read(text).unwrap().check().map_err(|(key, _)| key), Err(key.to_owned()), "{text}");
        }
        for fine in ["events_path = \"\"\nbroadcast_path = \"\"", "history_limit = 0\nbad_input_rate = 0"] {
            assert_eq!(read(fine).unwrap().check(), Ok(()), "{fine}");
        }
    }
}
