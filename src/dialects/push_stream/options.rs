//! `[push_stream]` of the configuration: keys, defaults and limits.

use super::channels;
use crate::http::target::is_plain;
use crate::message::TopicName;
use crate::units;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// What one deployment of the dialect is told. [`Options::check`] finds values that cannot be.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    pub enabled: bool,
    /// Prefixes of the five subscriber modes; `""` turns a mode off.
    pub websocket_path: String,
    pub longpoll_path: String,
    pub shortpoll_path: String,
    pub stream_path: String,
    pub eventsource_path: String,
    /// Exact paths; `""` turns the route off.
    pub publish_path: String,
    pub stats_path: String,
    /// Names of query arguments.
    pub tag_argument: String,
    pub time_argument: String,
    pub event_id_argument: String,
    pub token_argument: String,
    pub message_template: String,
    /// Stands between the messages of a poll and after each message of a stream.
    pub message_separator: String,
    pub header_template: String,
    pub footer_template: String,
    /// `Content-Type` of polls and streams.
    pub content_type: String,
    pub payload: Payload,
    pub auth: Auth,
    pub auth_errors: AuthErrors,
    pub websocket_refusals: WebSocketRefusals,
    /// Empty: no CORS. `*`: every origin. Else exactly these.
    pub allowed_origins: Vec<String>,
    /// Whether the publisher stores messages.
    pub store: bool,
    pub info_on_publish: bool,
    /// Whether the publisher serves DELETE.
    pub delete: bool,
    /// Whether websocket clients may publish to the channels they listen to.
    pub allow_publish: bool,
    /// Messages that each channel keeps.
    pub max_stored_messages: usize,
    #[serde(deserialize_with = "units::duration")]
    pub message_ttl: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub channel_inactivity: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub longpoll_ttl: Duration,
    /// A long poll that timed out gets control message -3 instead of a 304.
    pub timeout_with_body: bool,
    /// Zero: no pings.
    #[serde(deserialize_with = "units::duration")]
    pub ping_interval: Duration,
    pub ping_text: String,
    /// Zero: silence is no reason to close.
    #[serde(deserialize_with = "units::duration")]
    pub pong_timeout: Duration,
    /// Zero: unlimited.
    #[serde(deserialize_with = "units::duration")]
    pub connection_ttl: Duration,
    /// `""`: no heartbeat.
    pub heartbeat_channel: String,
    #[serde(deserialize_with = "units::duration")]
    pub heartbeat_interval: Duration,
    pub heartbeat_text: String,
    /// Whether a websocket is told of a gap by control message -4.
    pub gap_notice: bool,
    /// Whether `X-Nginx-PushStream-Mode` is looked at.
    pub mode_header: bool,
    /// Only channels with stored messages may be subscribed to.
    pub authorized_channels_only: bool,
    /// `""`: no wildcard channels.
    pub wildcard_prefix: String,
    /// 0 = no limit.
    pub wildcard_max_per_request: usize,
    /// `""`: no events channel.
    pub events_channel: String,
    pub events_channel_subscribe: bool,
    pub max_channels_per_request: usize,
    pub max_channel_id_bytes: usize,
    /// 0 = unlimited, as in the next two.
    pub max_channels: u64,
    pub max_wildcard_channels: u64,
    pub max_subscribers_per_channel: u32,
    #[serde(deserialize_with = "units::size")]
    pub max_body_bytes: u64,
    #[serde(deserialize_with = "units::size")]
    pub max_request_line_bytes: u64,
    #[serde(deserialize_with = "units::size")]
    pub max_header_bytes: u64,
    #[serde(deserialize_with = "units::size")]
    pub poll_max_bytes: u64,
    /// 0: 4096, or `max_body_bytes` with `allow_publish`.
    #[serde(deserialize_with = "units::size")]
    pub max_client_message_bytes: u64,
    /// Control frames count too; ten times as many may come in a burst. 0 = no limit.
    pub client_frames_per_second: u32,
    #[serde(deserialize_with = "units::size")]
    pub send_queue_bytes: u64,
    #[serde(deserialize_with = "units::duration")]
    pub no_progress_timeout: Duration,
}

/// What a published text must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Payload {
    /// Valid JSON; insignificant white space is removed.
    Json,
    /// Any UTF-8 that is not empty, as it is.
    Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    Required,
    Off,
}

/// How a websocket learns that its token does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthErrors {
    /// By the status, before the upgrade.
    Http,
    /// By a close with 3401 or 3403 after the 101.
    Close,
}

/// How a websocket learns of every other refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebSocketRefusals {
    /// By a close with 1008 after the 101.
    Close,
    Http,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            enabled: true,
            websocket_path: "/websocket/".into(),
            longpoll_path: "/longpoll/".into(),
            shortpoll_path: "/shortpoll/".into(),
            stream_path: "/stream/".into(),
            eventsource_path: "/ev/".into(),
            publish_path: "/pub".into(),
            stats_path: "/channels-stats".into(),
            tag_argument: "tag".into(),
            time_argument: "time".into(),
            event_id_argument: "eventid".into(),
            token_argument: "auth_token".into(),
            message_template: r#"{"id":~id~,"channel":"~channel~","message":~text~,"tag":"~tag~","time":"~time~"}"#.into(),
            message_separator: "\n".into(),
            header_template: String::new(),
            footer_template: String::new(),
            content_type: "application/json".into(),
            payload: Payload::Json,
            auth: Auth::Required,
            auth_errors: AuthErrors::Http,
            websocket_refusals: WebSocketRefusals::Close,
            allowed_origins: Vec::new(),
            store: true,
            info_on_publish: true,
            delete: true,
            allow_publish: false,
            max_stored_messages: 1000,
            message_ttl: Duration::from_secs(30 * 60),
            channel_inactivity: Duration::from_secs(30),
            longpoll_ttl: Duration::from_secs(25),
            timeout_with_body: false,
            ping_interval: Duration::from_secs(30),
            ping_text: "{}".into(),
            pong_timeout: Duration::from_secs(30),
            connection_ttl: Duration::ZERO,
            heartbeat_channel: "ping".into(),
            heartbeat_interval: Duration::from_secs(30),
            heartbeat_text: "{}".into(),
            gap_notice: false,
            mode_header: true,
            authorized_channels_only: false,
            wildcard_prefix: String::new(),
            wildcard_max_per_request: 0,
            events_channel: String::new(),
            events_channel_subscribe: false,
            max_channels_per_request: 50,
            max_channel_id_bytes: 200,
            max_channels: 0,
            max_wildcard_channels: 0,
            max_subscribers_per_channel: 0,
            max_body_bytes: 1 << 20,
            max_request_line_bytes: 16 << 10,
            max_header_bytes: 32 << 10,
            poll_max_bytes: 4 << 20,
            max_client_message_bytes: 0,
            client_frames_per_second: 20,
            send_queue_bytes: 256 << 10,
            no_progress_timeout: Duration::from_secs(30),
        }
    }
}

/// More topics than any connection may have.
const TOPICS_PER_CONNECTION: usize = 1024;

impl Options {
    /// # Errors
    /// The key whose value cannot be, and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        self.check_routes()?;
        self.check_texts()?;
        self.check_limits()?;
        self.check_channels()
    }

    fn check_routes(&self) -> Result<(), (&'static str, String)> {
        let prefixes = [
            ("websocket_path", &self.websocket_path),
            ("longpoll_path", &self.longpoll_path),
            ("shortpoll_path", &self.shortpoll_path),
            ("stream_path", &self.stream_path),
            ("eventsource_path", &self.eventsource_path),
        ];
        for (key, path) in prefixes {
            demand(path.is_empty() || path.ends_with('/'), key, "must end with \"/\", or be empty to turn the mode off")?;
        }
        let exact = [("publish_path", &self.publish_path), ("stats_path", &self.stats_path)];
        let routes: Vec<_> = prefixes.into_iter().chain(exact).filter(|(_, path)| !path.is_empty()).collect();
        for (place, (key, path)) in routes.iter().enumerate() {
            demand(path.starts_with('/'), key, "must begin with \"/\"")?;
            demand(is_plain(path), key, "is not a plain path")?;
            if let Some((other, _)) = routes[..place].iter().find(|(_, earlier)| earlier == path) {
                return Err((key, format!("is the same path as {other}")));
            }
        }
        let arguments = [
            ("tag_argument", &self.tag_argument),
            ("time_argument", &self.time_argument),
            ("event_id_argument", &self.event_id_argument),
            ("token_argument", &self.token_argument),
        ];
        for (place, (key, name)) in arguments.iter().enumerate() {
            demand(
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)),
                key,
                "must be letters, digits, \"_\", \"-\" and \".\"",
            )?;
            demand(*name != "callback" && !arguments[..place].iter().any(|(_, other)| other == name), key, "is used twice")?;
        }
        for origin in &self.allowed_origins {
            let is_origin = origin.split_once("://").is_some_and(|(scheme, host)| {
                !scheme.is_empty() && !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
            });
            demand(
                origin == "*" && self.allowed_origins.len() == 1 || is_origin && !origin.contains('*'),
                "allowed_origins",
                "must be [\"*\"] or origins like \"https://app.example\"",
            )?;
        }
        demand(self.allowed_origins.len() < usize::from(u16::MAX) - 2, "allowed_origins", "has too many entries")
    }

    fn check_texts(&self) -> Result<(), (&'static str, String)> {
        demand(!self.message_template.is_empty(), "message_template", "must not be empty")?;
        let printable = |text: &str| !text.is_empty() && text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        demand(printable(&self.content_type), "content_type", "must be a media type")?;
        for (key, text) in [("ping_text", &self.ping_text), ("heartbeat_text", &self.heartbeat_text)] {
            demand(super::payload::read(self.payload, text.as_bytes()).is_ok(), key, "is not what `payload` asks for")?;
        }
        Ok(())
    }

    fn check_channels(&self) -> Result<(), (&'static str, String)> {
        for (key, name) in [("heartbeat_channel", &self.heartbeat_channel), ("events_channel", &self.events_channel)] {
            demand(name.is_empty() || channels::is_name(name, self.max_channel_id_bytes), key, "is not a channel name")?;
        }
        demand(
            self.heartbeat_channel.is_empty() || self.heartbeat_channel != self.events_channel,
            "events_channel",
            "is also the heartbeat_channel",
        )?;
        demand(
            self.wildcard_prefix.is_empty() || channels::is_name(&self.wildcard_prefix, self.max_channel_id_bytes),
            "wildcard_prefix",
            "is not the beginning of a channel name",
        )
    }

    fn check_limits(&self) -> Result<(), (&'static str, String)> {
        let hour = Duration::from_secs(3600);
        demand(
            (1..=TOPICS_PER_CONNECTION).contains(&self.max_channels_per_request),
            "max_channels_per_request",
            "must be 1 to 1024",
        )?;
        demand((1..=4096).contains(&self.max_channel_id_bytes), "max_channel_id_bytes", "must be 1 to 4096")?;
        demand(self.max_stored_messages > 0, "max_stored_messages", "must not be 0; `store = false` stores nothing")?;
        demand(self.client_frames_per_second <= 100_000, "client_frames_per_second", "must be at most 100000")?;
        demand(self.pong_timeout <= hour, "pong_timeout", "must be at most 1h")?;
        for (key, wait) in [
            ("message_ttl", self.message_ttl),
            ("longpoll_ttl", self.longpoll_ttl),
            ("no_progress_timeout", self.no_progress_timeout),
        ] {
            demand(!wait.is_zero(), key, "must not be zero")?;
        }
        demand(
            self.heartbeat_channel.is_empty() || !self.heartbeat_interval.is_zero(),
            "heartbeat_interval",
            "must not be zero; `heartbeat_channel = \"\"` turns the heartbeat off",
        )?;
        for (key, bytes) in [
            ("max_body_bytes", self.max_body_bytes),
            ("max_request_line_bytes", self.max_request_line_bytes),
            ("max_header_bytes", self.max_header_bytes),
            ("poll_max_bytes", self.poll_max_bytes),
            ("max_client_message_bytes", self.client_message_bytes() as u64),
            ("send_queue_bytes", self.send_queue_bytes),
        ] {
            demand(bytes != 0, key, "must not be 0")?;
            demand(bytes <= 1 << 30, key, "must be at most 1GiB")?;
        }
        Ok(())
    }

    /// Bytes of a message from a websocket client.
    pub fn client_message_bytes(&self) -> usize {
        let bytes = match self.max_client_message_bytes {
            0 if self.allow_publish => self.max_body_bytes,
            0 => 4096,
            bytes => bytes,
        };
        bytes as usize
    }

    /// The channel that tells of channels and subscribers coming and going.
    pub fn events_topic(&self) -> Option<TopicName> {
        (!self.events_channel.is_empty()).then(|| TopicName::from(self.events_channel.as_str()))
    }

    /// Channel, interval and text of the heartbeat.
    pub fn heartbeat(&self) -> Option<(TopicName, Duration, Arc<[u8]>)> {
        let text = super::payload::read(self.payload, self.heartbeat_text.as_bytes()).ok()?;
        (!self.heartbeat_channel.is_empty())
            .then(|| (TopicName::from(self.heartbeat_channel.as_str()), self.heartbeat_interval, Arc::from(text)))
    }
}

fn demand(holds: bool, key: &'static str, problem: &str) -> Result<(), (&'static str, String)> {
    if holds { Ok(()) } else { Err((key, problem.to_owned())) }
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
        assert_eq!(options.client_message_bytes(), 4096);
        let heartbeat = (TopicName::from("ping"), Duration::from_secs(30), Arc::from(&b"{}"[..]));
        assert_eq!(options.heartbeat(), Some(heartbeat));
        assert_eq!(options.events_topic(), None);
    }

    #[test]
    fn values_have_units_and_words() {
        let options = read(
            "payload = \"text\"\nauth = \"off\"\nauth_errors = \"close\"\nwebsocket_refusals = \"http\"\nping_interval = \"0s\"\n\
             message_ttl = \"2h\"\nmax_body_bytes = \"2MiB\"\nsend_queue_bytes = 4096\nallow_publish = true\n",
        )
        .unwrap();
        assert_eq!((options.payload, options.auth), (Payload::Text, Auth::Off));
        assert_eq!((options.auth_errors, options.websocket_refusals), (AuthErrors::Close, WebSocketRefusals::Http));
        assert_eq!((options.ping_interval, options.message_ttl), (Duration::ZERO, Duration::from_secs(7200)));
        assert_eq!((options.max_body_bytes, options.send_queue_bytes), (2 << 20, 4096));
        assert_eq!(options.client_message_bytes(), 2 << 20);
        assert_eq!(read("max_client_message_bytes = \"8KiB\"").unwrap().client_message_bytes(), 8192);
    }

    #[test]
    fn unknown_keys_and_words_are_errors() {
        assert!(read("max_chanels = 3").unwrap_err().contains("max_chanels"));
        for bad in ["auth = \"maybe\"", "payload = 1", "ping_interval = 30", "longpoll_ttl = \"25\"", "max_body_bytes = -1"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_that_cannot_be_name_their_key() {
        for (text, key) in [
            ("websocket_path = \"websocket/\"", "websocket_path"),
            ("longpoll_path = \"/longpoll\"", "longpoll_path"),
            ("stream_path = \"/ev/\"", "eventsource_path"),
            ("publish_path = \"/pub?x\"", "publish_path"),
            ("stats_path = \"/pub\"", "stats_path"),
            ("tag_argument = \"\"", "tag_argument"),
            ("time_argument = \"tag\"", "time_argument"),
            ("token_argument = \"callback\"", "token_argument"),
            ("allowed_origins = [\"app.example\"]", "allowed_origins"),
            ("allowed_origins = [\"*\", \"http://a.example\"]", "allowed_origins"),
            ("message_template = \"\"", "message_template"),
            ("content_type = \"a\\r\\nb: c\"", "content_type"),
            ("ping_text = \"pong\"", "ping_text"),
            ("heartbeat_text = \"\"", "heartbeat_text"),
            ("heartbeat_channel = \"a/b\"", "heartbeat_channel"),
            ("heartbeat_interval = \"0s\"", "heartbeat_interval"),
            ("events_channel = \"ping\"", "events_channel"),
            ("events_channel = \"$x\"", "events_channel"),
            ("wildcard_prefix = \"a*\"", "wildcard_prefix"),
            ("max_channels_per_request = 0", "max_channels_per_request"),
            ("max_channels_per_request = 1025", "max_channels_per_request"),
            ("max_channel_id_bytes = 0", "max_channel_id_bytes"),
            ("max_stored_messages = 0", "max_stored_messages"),
            ("client_frames_per_second = 100001", "client_frames_per_second"),
            ("pong_timeout = \"2h\"", "pong_timeout"),
            ("longpoll_ttl = \"0s\"", "longpoll_ttl"),
            ("poll_max_bytes = 0", "poll_max_bytes"),
            ("max_client_message_bytes = \"2GiB\"", "max_client_message_bytes"),
        ] {
            assert_eq!(read(text).unwrap().check().map_err(|(key, _)| key), Err(key), "{text}");
        }
        for fine in ["longpoll_path = \"\"\nshortpoll_path = \"\"", "heartbeat_channel = \"\"\nheartbeat_interval = \"0s\""] {
            assert_eq!(read(fine).unwrap().check(), Ok(()), "{fine}");
        }
    }
}
