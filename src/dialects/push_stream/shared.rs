//! What all sessions of one deployment share, and the answers that look the same in every mode.

use super::encoders::{self, Encodings};
use super::options::{Auth, AuthErrors, Options, WebSocketRefusals};
use super::payload;
use super::query::argument;
use super::reason::Reason;
use crate::access::{Grant, Right, SharedAccess, bearer};
use crate::exchange::SubscriptionId;
use crate::http::head::Head;
use crate::http::response::Response;
use crate::message::{Frame, Message, Stamp, TopicName};
use crate::session::{Actions, ConnectionLimits, Encoders};
use crate::websocket::encoder;
use std::sync::Arc;
use std::time::Duration;

pub struct Shared {
    pub options: Options,
    pub host: String,
    pub access: SharedAccess,
    pub encodings: Encodings,
    pub websocket_limits: ConnectionLimits,
    pub http_limits: ConnectionLimits,
    /// Header and footer as text frames; `None` if there is none.
    pub websocket_header: Option<Frame>,
    pub websocket_footer: Option<Frame>,
    pub ping: Frame,
}

/// What CORS says to the origin of a request, in sixteen bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin(u16);

impl Origin {
    /// No origins are configured, or nothing is known of the request.
    pub const SILENT: Origin = Origin(0);
    const ANY: Origin = Origin(1);
    const STRANGER: Origin = Origin(2);
    const LISTED: u16 = 3;
}

/// Methods that an answer's CORS fields name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Subscriber,
    Publisher,
}

/// Codes of closes.
pub mod close_code {
    pub const GOING_AWAY: u16 = 1001;
    pub const UNSUPPORTED: u16 = 1003;
    pub const INVALID_PAYLOAD: u16 = 1007;
    pub const POLICY: u16 = 1008;
    pub const TOKEN_MISSING: u16 = 3401;
    pub const TOKEN_WITHOUT_RIGHT: u16 = 3403;
    pub const TROUBLE: u16 = 3500;
}

/// How a websocket is refused.
#[derive(Debug, PartialEq, Eq)]
pub enum Farewell {
    /// Instead of the 101.
    Respond(Response),
    /// After the 101.
    Close(u16, String),
}

impl Shared {
    pub fn new(mut options: Options, host: String, access: SharedAccess, encoders: &mut Encoders) -> Shared {
        options.allowed_origins.iter_mut().for_each(|origin| *origin = as_browsers_write(origin));
        let text_frame = |text: &str| (!text.is_empty()).then(|| Frame::from(encoder::text(text.as_bytes())));
        let limits = ConnectionLimits {
            message_bytes_max: options.client_message_bytes(),
            message_fragments_max: 64,
            outbox_bytes_max: options.send_queue_bytes as usize,
            no_progress: options.no_progress_timeout,
            close_time: Duration::from_secs(2),
            user_timeout: None,
        };
        Shared {
            encodings: Encodings::new(&options, encoders),
            websocket_header: text_frame(&options.header_template),
            websocket_footer: text_frame(&options.footer_template),
            ping: encoder::ping(b"").into(),
            http_limits: limits.clone(),
            websocket_limits: limits,
            host,
            access,
            options,
        }
    }

    pub fn origin(&self, head: &Head<'_>) -> Origin {
        let listed = &self.options.allowed_origins;
        match listed.first().map(String::as_str) {
            None => Origin::SILENT,
            Some("*") => Origin::ANY,
            Some(_) => {
                let place = head
                    .field("Origin")
                    .map(as_browsers_write)
                    .and_then(|origin| listed.iter().position(|entry| *entry == origin));
                place.map_or(Origin::STRANGER, |place| Origin(Origin::LISTED + place as u16))
            }
        }
    }

    /// Whether a websocket may come from where it says it comes from.
    pub fn origin_may_connect(&self, head: &Head<'_>) -> bool {
        head.field("Origin").is_none() || self.origin(head) != Origin::STRANGER
    }

    /// Adds the CORS fields, and those against caches.
    pub fn dressed(&self, response: Response, origin: Origin, side: Side) -> Response {
        uncached(self.with_cors(response, origin, side))
    }

    pub fn with_cors(&self, mut response: Response, origin: Origin, side: Side) -> Response {
        if origin == Origin::SILENT {
            return response;
        }
        if origin == Origin::ANY {
            response = response.field("Access-Control-Allow-Origin", "*");
        } else {
            if let Some(place) = origin.0.checked_sub(Origin::LISTED) {
                response =
                    response.field("Access-Control-Allow-Origin", self.options.allowed_origins[usize::from(place)].clone());
            }
            response = response.field("Vary", "Origin");
        }
        let methods = match side {
            Side::Subscriber => "GET",
            Side::Publisher => self.publisher_methods(),
        };
        response
            .field("Access-Control-Allow-Methods", methods)
            .field("Access-Control-Allow-Headers", "If-Modified-Since,If-None-Match,Etag,Event-Id,Event-Type,Last-Event-Id")
            .field("Access-Control-Expose-Headers", "Etag, Last-Modified, X-Fanwire-Gap")
    }

    pub fn publisher_methods(&self) -> &'static str {
        if self.options.delete { "GET, POST, PUT, DELETE" } else { "GET, POST, PUT" }
    }

    /// A refusal over HTTP: no body, the reason in a field.
    pub fn refusal(&self, reason: Reason, origin: Origin, side: Side) -> Response {
        let response = self.dressed(Response::new(reason.status()), origin, side);
        match reason {
            Reason::VersionNotSupported => response.field("Sec-WebSocket-Version", "8, 13"),
            _ => response,
        }
        .field("X-Nginx-PushStream-Explain", reason.explain())
    }

    /// How a websocket learns that it is refused before it is joined (specification, section 7.1).
    pub fn farewell(&self, reason: Reason, origin: Origin) -> Farewell {
        let trouble = reason.status() >= 500;
        match (reason, self.options.auth_errors, self.options.websocket_refusals) {
            (Reason::TokenMissing, AuthErrors::Close, _) => {
                Farewell::Close(close_code::TOKEN_MISSING, reason.explain().to_owned())
            }
            (Reason::TokenWithoutRight, AuthErrors::Close, _) => {
                Farewell::Close(close_code::TOKEN_WITHOUT_RIGHT, reason.explain().to_owned())
            }
            (
                Reason::TokenMissing
                | Reason::TokenWithoutRight
                | Reason::NoChannel
                | Reason::OriginNotAllowed
                | Reason::HeadersMissing
                | Reason::VersionNotSupported,
                _,
                _,
            )
            | (_, _, WebSocketRefusals::Http) => Farewell::Respond(self.refusal(reason, origin, Side::Subscriber).closing()),
            (_, AuthErrors::Close, WebSocketRefusals::Close) if trouble => {
                Farewell::Close(close_code::TROUBLE, reason.explain().to_owned())
            }
            (_, _, WebSocketRefusals::Close) => Farewell::Close(close_code::POLICY, reason.close_text()),
        }
    }

    /// Ends an upgraded websocket for a reason.
    pub fn close(&self, reason: Reason, actions: &mut Actions) {
        let (code, text) = match (reason, self.options.auth_errors) {
            (Reason::TokenMissing, AuthErrors::Close) => (close_code::TOKEN_MISSING, reason.explain().to_owned()),
            (Reason::TokenWithoutRight, AuthErrors::Close) => (close_code::TOKEN_WITHOUT_RIGHT, reason.explain().to_owned()),
            (Reason::OutOfMemory | Reason::Busy | Reason::StorageUnavailable, AuthErrors::Close) => {
                (close_code::TROUBLE, reason.explain().to_owned())
            }
            _ => (close_code::POLICY, reason.close_text()),
        };
        actions.close(Some(code), text);
    }

    /// The token of a subscriber; `None` where nobody is asked for one.
    ///
    /// # Errors
    /// [`Reason::TokenMissing`].
    pub fn grant(&self, head: &Head<'_>, unix_seconds: u64) -> Result<Option<Arc<Grant>>, Reason> {
        if self.options.auth == Auth::Off {
            return Ok(None);
        }
        let argument = argument(head.query(), &self.options.token_argument);
        let presented = match &argument {
            Some(token) => std::str::from_utf8(token).ok(),
            None => head.field("Authorization").and_then(bearer),
        };
        let access = self.access.load();
        let grant = presented.and_then(|token| access.token(token, unix_seconds));
        grant.map(|grant| Some(grant.clone())).ok_or(Reason::TokenMissing)
    }

    /// What the rules in force say of a subscription that stands.
    ///
    /// # Errors
    /// [`Reason::TokenMissing`] if the token no longer counts, [`Reason::TokenWithoutRight`] if it lost a channel.
    pub fn review(
        &self,
        grant: &Option<Arc<Grant>>,
        topics: &[(SubscriptionId, TopicName)],
        unix_seconds: u64,
    ) -> Result<(), Reason> {
        let Some(grant) = grant else {
            return Ok(());
        };
        let access = self.access.load();
        let grant = access.token_by_digest(&grant.digest, unix_seconds).ok_or(Reason::TokenMissing)?;
        match topics.iter().all(|(_, topic)| grant.covers(topic.as_str())) {
            true => Ok(()),
            false => Err(Reason::TokenWithoutRight),
        }
    }

    /// Whether the request brings a key with this right, and to which of the channels.
    ///
    /// # Errors
    /// [`Reason::KeyMissing`].
    pub fn key(&self, head: &Head<'_>, right: Right) -> Result<Arc<crate::access::Key>, Reason> {
        let access = self.access.load();
        let key = head.field("Authorization").and_then(bearer).and_then(|key| access.key(key));
        key.filter(|key| key.may(right)).cloned().ok_or(Reason::KeyMissing)
    }

    /// A control message at a position; `text` is already what the template needs.
    pub fn control(&self, id: i64, position: (u64, u32), text: Vec<u8>) -> Message {
        let stamp = Stamp { seconds: position.0, tag: position.1, ..Stamp::default() };
        Message::new(stamp, "".into(), id, text.into())
    }

    /// A control message with one of the server's own texts.
    pub fn notice(&self, id: i64, position: (u64, u32), text: &str) -> Message {
        self.control(id, position, payload::own(self.options.payload, text))
    }

    /// The bytes of a part of an endless answer.
    pub fn part(bytes: &[u8], chunked: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + 12);
        encoders::frame(bytes, chunked, &mut out);
        out
    }
}

/// Scheme and host in lower case, without the port that the scheme has anyway (RFC 6454, section 6.2).
fn as_browsers_write(origin: &str) -> String {
    let origin = origin.to_ascii_lowercase();
    let usual = [("http://", ":80"), ("https://", ":443")].into_iter().find(|(scheme, _)| origin.starts_with(scheme));
    match usual.and_then(|(_, port)| origin.strip_suffix(port)) {
        Some(host) => host.to_owned(),
        None => origin,
    }
}

/// Ids of control messages. The hub makes the one that tells of a deletion, -2.
pub mod control_id {
    pub const PING: i64 = -1;
    pub const TIMED_OUT: i64 = -3;
    pub const GAP: i64 = -4;
}

/// The fields that keep caches out of every answer of this dialect (specification, section 6).
pub fn uncached(response: Response) -> Response {
    response.field("Expires", "Thu, 01 Jan 1970 00:00:01 GMT").field("Cache-Control", "no-cache, no-store, must-revalidate")
}
