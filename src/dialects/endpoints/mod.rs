//! Dialect `endpoints`: records over HTTP, their changes over WebSockets (RESTED_DEV and YAWE).
//!
//! [`Endpoints::open`] finds the service and the endpoint; [`admission`] asks the questions of specification section 3.

pub mod account;
mod admission;
mod api;
pub mod body;
pub mod checks;
mod connection;
pub mod cookies;
pub mod cors;
mod encoders;
pub mod failure;
mod failures;
pub mod frame;
pub mod name;
pub mod options;
pub mod parameters;
pub mod password;
pub mod preset;
pub mod query;
pub mod route;
mod shared;
pub mod strategy;
#[cfg(test)]
mod testing;
pub mod token;
pub mod upload;

use crate::access::tokens::Source;
use crate::http::head::{Head, HeadError, Version};
use crate::http::response::Response;
use crate::session::{Actions, Dialect, Encoders, HeadLimits, Opening, Request, TurnedAway};
use crate::websocket::handshake::{HandshakeError, accept_key};
use admission::{Admitted, Asked};
use api::Api;
use connection::{Connection, Wish};
use options::Options;
use std::sync::Arc;
use std::time::Duration;

pub use shared::Prepared;

/// Bytes of a request's head: request line and fields, each with its line end.
const HEAD_BYTES_MAX: usize = 8192;

/// What goes on when the configuration is read again: the services in force, and what ids and tokens are made of.
#[derive(Clone)]
pub struct Live(Api);

impl Live {
    /// `seed` has to be random, and nobody else's: who knows it knows every token that is issued.
    pub fn new(seed: [u8; 32]) -> Live {
        Live(Api { live: shared::Live::default(), source: Arc::new(Source::new(seed)) })
    }

    /// Makes the services of these options, which have to be enforced. `stop` is what a stop of the whole server may take.
    pub fn prepare(&self, options: &Options, encoders: &mut Encoders, stop: Duration) -> Prepared {
        self.0.live.prepare(options, &self.0.source, encoders, stop)
    }

    /// What opens requests.
    pub fn dialect(&self) -> Endpoints {
        Endpoints(self.0.clone())
    }
}

/// Whatever services are in force.
pub struct Endpoints(Api);

impl Endpoints {
    fn open_socket(&self, asked: &Asked<'_>, actions: &mut Actions) -> Opening {
        let accept = match accept_key(asked.request.head, &["13"]) {
            Ok(accept) => accept,
            Err(HandshakeError::MissingVersion | HandshakeError::UnsupportedVersion) => {
                return Opening::Respond(Response::new(426).field("Sec-WebSocket-Version", "13").closing());
            }
            Err(HandshakeError::NotAnUpgrade | HandshakeError::MissingKey | HandshakeError::BadKey) => {
                return Opening::Respond(Response::new(400).closing());
            }
        };
        let upgrade = Response::upgrade(accept);
        match asked.admit(|endpoint| endpoint.options.needs_token()) {
            Ok(Admitted { place, caller, blame }) => {
                let connection = Connection::open(place, caller, Wish::of(&asked.query), blame, actions);
                Opening::WebSocket { session: Box::new(connection), upgrade }
            }
            Err(reject) => {
                let (code, reason) = reject.close();
                actions.close(Some(code), reason);
                Opening::WebSocket { session: Box::new(TurnedAway(asked.shared.limits.usual.clone())), upgrade }
            }
        }
    }
}

impl Dialect for Endpoints {
    fn name(&self) -> &'static str {
        "endpoints"
    }

    fn open(&self, request: &Request<'_>, actions: &mut Actions) -> Option<Opening> {
        let asked = Asked::of(&self.0.live.table(), request)?;
        if request.head.bytes() > HEAD_BYTES_MAX {
            return Some(Opening::Respond(head_refused(HeadError::TooLarge)));
        }
        if wants_socket(request.head) {
            return Some(self.open_socket(&asked, actions));
        }
        Some(self.0.open(&asked, actions))
    }

    fn turn_away(&self, request: &Request<'_>, actions: &mut Actions) -> Option<Opening> {
        self.open(request, actions)
    }

    fn head_limits(&self, path: &str) -> Option<HeadLimits> {
        let table = self.0.live.table();
        table.serves(path).then_some(HeadLimits {
            line_bytes_max: HEAD_BYTES_MAX,
            field_bytes_max: HEAD_BYTES_MAX,
            body_bytes_max: table.body_bytes_max(path),
            body_refused: Api::body_refused,
            head_refused,
        })
    }
}

/// Whether anything of the request is about an upgrade to a WebSocket, and the method is that of one.
fn wants_socket(head: &Head<'_>) -> bool {
    // An `Upgrade` of HTTP/1.0 does not count (RFC 9110, section 7.8).
    head.method == "GET"
        && head.version == Version::Http11
        && (head.lists_token("Upgrade", "websocket") || head.field("Sec-WebSocket-Key").is_some())
}

fn head_refused(refused: HeadError) -> Response {
    match refused {
        HeadError::LineTooLong | HeadError::TooLarge | HeadError::TooManyFields => Response::new(431).closing(),
        HeadError::Malformed | HeadError::UnsupportedVersion | HeadError::ExpectationFailed => refused.response(),
    }
}
