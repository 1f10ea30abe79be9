//! Dialect `resources`: live documents by type and id (M2 "Realtime").
//!
//! [`Resources::open`] finds the route; a WebSocket is asked the questions of specification section 2.5 in their order.

mod api;
pub mod base58;
pub mod claims;
mod connection;
mod credentials;
pub mod document;
pub mod frame;
pub mod handshake;
mod jwt;
pub mod message;
pub mod name;
pub mod options;
pub mod permissions;
mod route;
mod shared;
pub mod subprotocol;
#[cfg(test)]
mod testing;
pub mod token;
mod topic;
pub mod version;

use crate::access::tokens::Source;
use crate::exchange::TokenDigest;
use crate::http::head::HeadError;
use crate::http::response::{Response, error};
use crate::session::{Actions, Dialect, Encoders, HeadLimits, Opening, Request, TurnedAway};
use api::Api;
use connection::Connection;
use credentials::{Judged, Known};
use handshake::{Checked, Refusal, Reject};
use options::Options;
use route::Route;
use shared::{Identity, Place, Shared};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a request's head: request line and fields, each with its line end.
const HEAD_BYTES_MAX: usize = 8192;

/// What goes on when the configuration is read again: projects and counts, and what tokens are made of.
#[derive(Clone)]
pub struct Live {
    shared: shared::Live,
    tokens: Arc<Source>,
}

impl Live {
    /// `seed` has to be random, and nobody else's: who knows it knows every token that is issued.
    pub fn new(seed: [u8; 32]) -> Live {
        Live { shared: shared::Live::default(), tokens: Arc::new(Source::new(seed)) }
    }

    /// Brings the projects of these options into force, for connections that are open already, too. The dialect that is
    /// returned opens new ones. `stop` is what a stop of the whole server may take.
    pub fn enforce(&self, options: &Options, encoders: &mut Encoders, stop: Duration) -> Resources {
        let shared = self.shared.enforce(options, encoders, stop);
        Resources { api: Api { shared: shared.clone(), live: self.shared.clone(), tokens: self.tokens.clone() }, shared }
    }
}

/// One configuration of the dialect.
pub struct Resources {
    shared: Arc<Shared>,
    api: Api,
}

/// Who may come in.
struct Admitted {
    checked: Checked,
    place: Place,
    who: Who,
}

enum Who {
    Known(Known),
    /// The one whom this token stands for.
    Asks(TokenDigest),
    Anonymous,
}

impl Resources {
    fn open_socket(&self, request: &Request<'_>, actions: &mut Actions) -> Opening {
        match self.admit(request) {
            Ok(Admitted { checked, place, who }) => {
                let world = checked.claims.world.as_deref();
                let identity = |known: Known| {
                    Arc::new(Identity { principal: known.principal, world: world.map(Box::from), proof: known.proof })
                };
                let connection = match who {
                    Who::Asks(token) => Connection::ask(place, world, token, actions),
                    Who::Known(known) => {
                        let until = known.until;
                        Connection::open(place, identity(known), until, actions)
                    }
                    Who::Anonymous => {
                        let anonymous = &place.project().anonymous;
                        let identity = if world.is_none() { anonymous.clone() } else { Arc::new(anonymous.in_world(world)) };
                        Connection::open(place, identity, u64::MAX, actions)
                    }
                };
                Opening::WebSocket { session: Box::new(connection), upgrade: upgrade(checked.accept, checked.subprotocol) }
            }
            Err(reject) => match handshake::refuse(reject, request.head, self.shared.options.reject) {
                Refusal::Http(response) => Opening::Respond(response),
                Refusal::Close { accept, subprotocol, code, reason } => {
                    actions.close(Some(code), reason);
                    Opening::WebSocket {
                        session: Box::new(TurnedAway(self.shared.limits.usual.clone())),
                        upgrade: upgrade(accept, subprotocol),
                    }
                }
            },
        }
    }

    /// The rows of section 2.5 in their order, but for what only the hub knows.
    fn admit(&self, request: &Request<'_>) -> Result<Admitted, Reject> {
        let head = request.head;
        if head.bytes() > HEAD_BYTES_MAX {
            return Err(Reject::HeadTooLarge);
        }
        let checked = handshake::check(request, &self.shared.options)?;
        let claims = &checked.claims;
        let project = self.api.live.project(&self.shared, &claims.organization, &claims.project);
        let place = project.as_ref().and_then(Place::take);
        handshake::admit(head, claims, project.as_ref().map(|project| &project.options), place.is_none())?;
        // Without a project nobody is admitted, nor without a place.
        let (project, place) = project.zip(place).ok_or(Reject::UnknownProject)?;
        let who = match &claims.credential {
            None => Who::Anonymous,
            Some(credential) => match credentials::judge(&self.api.live, &project, credential, request.now) {
                Judged::Is(known) => Who::Known(known),
                Judged::Asks(token) => Who::Asks(token),
                Judged::Rejected(reject) => return Err(reject),
            },
        };
        Ok(Admitted { checked, place, who })
    }
}

impl Dialect for Resources {
    fn name(&self) -> &'static str {
        "resources"
    }

    fn open(&self, request: &Request<'_>, actions: &mut Actions) -> Option<Opening> {
        let head = request.head;
        let route = Route::of(&self.shared.options.path, head.path())?;
        let methods = route.methods_at(request.door, self.shared.options.writes);
        if methods.is_empty() {
            return Some(Opening::Respond(error(404, "Not found")));
        }
        if !methods.contains(&head.method) {
            return Some(Opening::Respond(error(405, "Method not allowed").field("Allow", methods.join(", "))));
        }
        Some(match route {
            Route::Socket => self.open_socket(request, actions),
            Route::Status => self.api.status(request, actions),
            Route::Resource { kind, id } => self.api.resource(kind, id, request, actions),
            Route::Tokens => self.api.tokens(request, actions),
            Route::Unknown => Opening::Respond(error(404, "Not found")),
        })
    }

    fn turn_away(&self, request: &Request<'_>, actions: &mut Actions) -> Option<Opening> {
        self.open(request, actions)
    }

    fn head_limits(&self, path: &str) -> Option<HeadLimits> {
        let route = Route::of(&self.shared.options.path, path)?;
        let (body_bytes_max, body_refused) = self.api.body_limit(route);
        Some(HeadLimits {
            line_bytes_max: HEAD_BYTES_MAX,
            field_bytes_max: HEAD_BYTES_MAX,
            body_bytes_max,
            body_refused,
            head_refused,
        })
    }
}

fn upgrade(accept: String, subprotocol: Option<String>) -> Response {
    let upgrade = Response::upgrade(accept);
    match subprotocol {
        Some(subprotocol) => upgrade.field("Sec-WebSocket-Protocol", subprotocol),
        None => upgrade,
    }
}

fn head_refused(refused: HeadError) -> Response {
    match refused {
        HeadError::LineTooLong | HeadError::TooLarge | HeadError::TooManyFields => Reject::HeadTooLarge.response(),
        HeadError::Malformed | HeadError::UnsupportedVersion | HeadError::ExpectationFailed => refused.response(),
    }
}
