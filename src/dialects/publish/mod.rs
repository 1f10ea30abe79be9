//! The native ingest: `POST /publish`, and a WebSocket on the same path.

mod answer;
mod envelope;
pub mod options;
mod post;
mod socket;

use crate::access::{Digest, Key, Right, SharedAccess, bearer, digest};
use crate::http::head::{Head, HeadError, Version};
use crate::http::response::Response;
use crate::message::TopicName;
use crate::session::{Actions, BodyMode, ConnectionLimits, Dialect, HeadLimits, Opening, Request};
use crate::websocket::handshake::{HandshakeError, accept_key, is_upgrade};
use answer::Rejection;
use options::Options;
use std::sync::Arc;
use std::time::Duration;

/// The dialect `publish`.
pub struct Publish {
    shared: Arc<Shared>,
    head_bytes: usize,
}

/// What all sessions of one configuration have in common.
struct Shared {
    options: Options,
    access: SharedAccess,
    limits: ConnectionLimits,
    /// What the server alone publishes to, beside its `$` topics.
    events_topic: Option<TopicName>,
}

impl Publish {
    /// `head_bytes` bounds the fields of a request; nobody may publish to `events_topic`.
    pub fn new(options: Options, access: SharedAccess, head_bytes: usize, events_topic: Option<TopicName>) -> Publish {
        let limits = ConnectionLimits {
            message_bytes_max: usize::try_from(options.body_bytes_max).unwrap_or(usize::MAX),
            message_fragments_max: 64,
            outbox_bytes_max: 256 * 1024,
            no_progress: Duration::from_secs(30),
            close_time: Duration::from_secs(2),
            user_timeout: None,
        };
        Publish { shared: Arc::new(Shared { options, access, limits, events_topic }), head_bytes }
    }

    fn serves(&self, path: &str) -> bool {
        self.shared.options.enabled && path == self.shared.options.path
    }

    fn socket(&self, head: &Head<'_>, publisher: Publisher, actions: &mut Actions) -> Opening {
        match accept_key(head, &["13"]) {
            Ok(accept) => {
                actions.accept();
                let session = Box::new(socket::Socket::new(self.shared.clone(), publisher, actions));
                Opening::WebSocket { session, upgrade: Response::upgrade(accept) }
            }
            Err(HandshakeError::UnsupportedVersion) => Opening::Respond(
                Rejection::new(426, "WebSocket version must be 13").response().field("Sec-WebSocket-Version", "13"),
            ),
            Err(
                HandshakeError::NotAnUpgrade
                | HandshakeError::MissingKey
                | HandshakeError::BadKey
                | HandshakeError::MissingVersion,
            ) => Opening::Respond(Rejection::BAD_HANDSHAKE.response()),
        }
    }
}

impl Dialect for Publish {
    fn name(&self) -> &'static str {
        "publish"
    }

    fn open(&self, request: &Request<'_>, actions: &mut Actions) -> Option<Opening> {
        let head = request.head;
        if !self.serves(head.path()) {
            return None;
        }
        let upgrade = is_upgrade(head);
        if upgrade && (head.method != "GET" || head.version == Version::Http10) {
            // RFC 6455, section 4.2.1.
            return Some(Opening::Respond(Rejection::BAD_HANDSHAKE.response()));
        }
        if !upgrade && head.method != "POST" {
            let response = Rejection::new(405, "Method not allowed").response().field("Allow", "POST");
            return Some(Opening::Respond(response));
        }
        let publisher = match self.shared.authorize(head) {
            Ok(publisher) => publisher,
            Err(rejection) => return Some(Opening::Respond(rejection.response())),
        };
        Some(if upgrade {
            self.socket(head, publisher, actions)
        } else if !is_json(head) {
            Opening::Respond(Rejection::new(415, "Content-Type must be application/json").response())
        } else {
            Opening::Hold { session: Box::new(post::Post::new(self.shared.clone(), publisher)), body: BodyMode::Whole }
        })
    }

    fn head_limits(&self, path: &str) -> Option<HeadLimits> {
        self.serves(path).then(|| HeadLimits {
            line_bytes_max: self.head_bytes,
            field_bytes_max: self.head_bytes,
            body_bytes_max: self.shared.options.body_bytes_max,
            body_refused: |refused| answer::Rejection::from(refused).response(),
            head_refused: HeadError::response,
        })
    }
}

/// Parameters such as `charset` don't matter: JSON is UTF-8 (RFC 8259, section 8.1).
fn is_json(head: &Head<'_>) -> bool {
    head.media_type().is_some_and(|media_type| media_type.eq_ignore_ascii_case("application/json"))
}

/// Whoever presented a key that may publish.
struct Publisher {
    key: Arc<Key>,
    /// Finds the key again after the rules have changed.
    digest: Digest,
}

impl Shared {
    fn authorize(&self, head: &Head<'_>) -> Result<Publisher, Rejection> {
        let presented = head.field("Authorization").and_then(bearer).ok_or(Rejection::UNAUTHORIZED)?;
        self.publisher(digest(presented.as_bytes()))
    }

    /// What the rules in force say about a key.
    fn publisher(&self, digest: Digest) -> Result<Publisher, Rejection> {
        let access = self.access.load();
        let key = access.key_by_digest(&digest).ok_or(Rejection::UNAUTHORIZED)?;
        if !key.may(Right::Publish) {
            return Err(Rejection::new(403, "Key may not publish"));
        }
        Ok(Publisher { key: key.clone(), digest })
    }
}

#[cfg(test)]
mod tests;
