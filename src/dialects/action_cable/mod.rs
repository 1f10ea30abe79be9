//! Dialect `action_cable`: Action Cable as metasmoke's websocket API and every client of Rails speak it, and AnyCable's
//! extended protocol, which resumes.
//!
//! [`ActionCable::open`] finds the route and asks the questions of specification section 2.1 in their order.

pub(crate) mod channel;
pub(crate) mod command;
mod connection;
mod counters;
mod encoders;
pub(crate) mod events;
mod frames;
mod history;
pub(crate) mod identifier;
pub(crate) mod ingest;
pub mod options;
mod origin;
mod pings;
pub(crate) mod preset;
mod publisher;
pub(crate) mod rules;
pub(crate) mod sensitive;
mod shared;
pub(crate) mod signed;
mod streams;
mod subscriptions;

use crate::access::bearer;
use crate::access::networks::Networks;
use crate::exchange::ConversationId;
use crate::http::body::BodyError;
use crate::http::head::{Head, HeadError, Version};
use crate::http::response::{Response, error};
use crate::http::target::argument;
use crate::message::TopicName;
use crate::metrics::Family;
use crate::session::{Actions, BodyMode, Dialect, Door, Encoders, HeadLimits, Opening, Request};
use crate::websocket::handshake::{accept_key, is_upgrade};
use connection::Connection;
use options::{ConnectAuth, Options};
use pings::{Pings, Unit};
use publisher::{Publisher, Route};
use rules::{Key, Rules};
use shared::{Place, Shared};
use std::sync::Arc;
use std::time::Duration;

const BASE: &str = "actioncable-v1-json";
const EXTENDED: &str = "actioncable-v1-ext-json";
const UNSUPPORTED: &str = "actioncable-unsupported";

/// What goes on when the configuration is read again: the rules in force, the numbers, the names of conversations.
#[derive(Clone)]
pub struct Live(Arc<shared::Live>);

impl Live {
    /// `seed` has to be random: who knows it can take over conversations. The options have passed [`Options::check`].
    pub fn new(options: &Options, seed: [u8; 32]) -> Live {
        Live(Arc::new(shared::Live::new(rules(options), seed)))
    }

    /// Brings the rules of these options into force, for connections that are open already, too.
    pub fn enforce(&self, options: &Options) {
        self.0.rules.store(Arc::new(rules(options)));
    }

    /// What the dialect counts.
    pub fn families(&self) -> Vec<Arc<Family>> {
        self.0.counters.families()
    }
}

fn rules(options: &Options) -> Rules {
    Rules::new(options).expect("the options were checked")
}

/// One configuration of the dialect.
pub struct ActionCable {
    shared: Arc<Shared>,
    path: String,
    events_path: String,
    broadcast_path: String,
    body_bytes_max: u64,
    head_bytes: usize,
    trusted: Networks,
}

impl ActionCable {
    /// New connections have these options, and the rules that are in force. `head_bytes` bounds the fields of a request,
    /// `trusted` are the proxies that may say how a client came, nobody but the server publishes to `events_topic`, and `stop`
    /// is what a stop of the whole server may take.
    pub fn new(
        options: &Options,
        live: &Live,
        encoders: &mut Encoders,
        head_bytes: usize,
        trusted: Networks,
        events_topic: Option<TopicName>,
        stop: Duration,
    ) -> ActionCable {
        ActionCable {
            shared: Arc::new(Shared::new(options, live.0.clone(), encoders, events_topic, stop)),
            path: options.path.clone(),
            events_path: options.events_path.clone(),
            broadcast_path: options.broadcast_path.clone(),
            body_bytes_max: options.max_publish_body,
            head_bytes,
            trusted,
        }
    }

    fn is_cable(&self, path: &str) -> bool {
        path.strip_suffix('/').unwrap_or(path) == self.path
    }

    fn publishing(&self, path: &str) -> Option<Route> {
        let is = |known: &str| !known.is_empty() && path == known;
        if is(&self.events_path) {
            return Some(Route::Events);
        }
        (is(&self.broadcast_path) || path == ALIAS && !self.broadcast_path.is_empty()).then_some(Route::Broadcast)
    }

    fn open_cable(&self, request: &Request<'_>, actions: &mut Actions) -> Opening {
        let head = request.head;
        if head.method != "GET" || head.version != Version::Http11 || !is_upgrade(head) {
            return Opening::Respond(not_found());
        }
        if !has_version(head) {
            let wrong = text(426, "WebSocket version must be 13").field("Sec-WebSocket-Version", "13");
            return Opening::Respond(wrong.closing());
        }
        let Ok(accept) = accept_key(head, &["13"]) else {
            return Opening::Respond(text(400, "Sec-WebSocket-Key is missing or is not base64 of 16 bytes").closing());
        };
        let rules = self.shared.live.rules.load();
        // Without TLS of our own, only a proxy can tell that a client came by https.
        let https = origin::is_https(head, self.trusted.contain(request.peer));
        if !rules.origin.allows(head, https) {
            return Opening::Respond(not_found());
        }
        let Some(place) = Place::take(&self.shared).filter(|_| !request.draining && !request.full) else {
            return Opening::Respond(text(503, "Try again later").field("Retry-After", "5").closing());
        };
        let offered = offered(head);
        let known = [Some(BASE), self.shared.extended.then_some(EXTENDED), Some(UNSUPPORTED)];
        let chosen = offered.iter().find_map(|&name| known.into_iter().flatten().find(|&known| known == name));
        let mut upgrade = Response::upgrade(accept);
        if let Some(chosen) = chosen {
            upgrade = upgrade.field("Sec-WebSocket-Protocol", chosen);
        }
        let pings = self.pings(head, request, actions);
        let is_rails = offered.contains(&UNSUPPORTED);
        let key = self.connection_key(head, &rules);
        let mut connection = Connection::new(place, pings, key.clone().ok().flatten(), is_rails);
        match (key, chosen) {
            (Err(NoKey), _) => connection.refuse(actions),
            (Ok(_), Some(EXTENDED)) => connection.greet_extended(resumed(head), actions),
            (Ok(_), Some(_) | None) => connection.greet(actions),
        }
        Opening::WebSocket { session: Box::new(connection), upgrade }
    }

    /// The key that the connection itself needs, if it needs one.
    fn connection_key(&self, head: &Head<'_>, rules: &Rules) -> Result<Option<Arc<Key>>, NoKey> {
        let presented = match &self.shared.connect_auth {
            ConnectAuth::None => return Ok(None),
            ConnectAuth::Query(name) => argument(head.query(), name).map(|value| value.into_owned()),
            ConnectAuth::Header(name) => head.field(name).map(str::to_owned),
        };
        let key = presented.as_deref().and_then(|presented| rules.key(presented));
        key.map(|key| Some(key.clone())).ok_or(NoKey)
    }

    fn pings(&self, head: &Head<'_>, request: &Request<'_>, actions: &Actions) -> Pings {
        let said = |name: &str| argument(head.query(), name).filter(|_| self.shared.ping_params);
        let seconds = said("pi").and_then(|text| text.parse::<u64>().ok()).filter(|seconds| (1..=60).contains(seconds));
        let unit = match said("ptp").as_deref() {
            Some("ms") => Unit::Millis,
            Some("ns") => Unit::Nanos,
            Some(_) | None => Unit::Seconds,
        };
        let interval = seconds.map_or(self.shared.ping_interval, Duration::from_secs);
        Pings::new(interval, unit, actions.index, request.now)
    }

    fn open_publishing(&self, route: Route, request: &Request<'_>) -> Opening {
        let head = request.head;
        let rules = self.shared.live.rules.load();
        match request.door {
            Door::Admin => {}
            // Without a key nobody could publish: there is no such page.
            Door::Public | Door::Both if !rules.has_publish_key() => return Opening::Respond(not_found()),
            Door::Public | Door::Both => {
                let presented = head.field("Authorization").and_then(bearer);
                if head.method == "POST" && !presented.is_some_and(|key| rules.may_publish(key)) {
                    let refusal = Response::new(401).content_type("application/json").field("WWW-Authenticate", "Bearer");
                    return Opening::Respond(refusal.body("{\"error\":\"Missing or invalid key\"}"));
                }
            }
        }
        if head.method != "POST" {
            return Opening::Respond(text(405, "Method not allowed").field("Allow", "POST"));
        }
        Opening::Hold { session: Box::new(Publisher::new(self.shared.clone(), route)), body: BodyMode::Whole }
    }
}

/// AnyCable's other name for the broadcast path.
const ALIAS: &str = "/api/publish";

/// A key was needed, and none that is known was presented.
#[derive(Clone, Copy, Debug)]
struct NoKey;

impl Dialect for ActionCable {
    fn name(&self) -> &'static str {
        "action_cable"
    }

    fn open(&self, request: &Request<'_>, actions: &mut Actions) -> Option<Opening> {
        let path = request.head.path();
        // Subscribers have no business at the backends' door.
        if self.is_cable(path) && request.door != Door::Admin {
            return Some(self.open_cable(request, actions));
        }
        Some(self.open_publishing(self.publishing(path)?, request))
    }

    fn turn_away(&self, request: &Request<'_>, actions: &mut Actions) -> Option<Opening> {
        let path = request.head.path();
        let is_cable = self.is_cable(path) && request.door != Door::Admin;
        if is_cable { self.open(request, actions) } else { self.publishing(path).map(|_| Opening::full()) }
    }

    fn head_limits(&self, path: &str) -> Option<HeadLimits> {
        (self.is_cable(path) || self.publishing(path).is_some()).then_some(HeadLimits {
            line_bytes_max: self.head_bytes,
            field_bytes_max: self.head_bytes,
            body_bytes_max: self.body_bytes_max,
            body_refused: |refused| match refused {
                BodyError::TooLarge => error(413, "Body too large"),
                BodyError::Malformed => error(400, "Body not valid"),
            },
            head_refused: HeadError::response,
        })
    }
}

fn has_version(head: &Head<'_>) -> bool {
    let mut versions = head.fields_named("Sec-WebSocket-Version");
    versions.next() == Some("13") && versions.next().is_none()
}

/// Rails's answer to whatever is no upgrade that it takes.
fn not_found() -> Response {
    text(404, "Page not found")
}

fn text(status: u16, body: &'static str) -> Response {
    Response::new(status).content_type("text/plain").body(body)
}

/// The subprotocols in the client's order; several lines are one list.
fn offered<'a>(head: &Head<'a>) -> Vec<&'a str> {
    head.fields_named("Sec-WebSocket-Protocol").flat_map(|value| value.split(',')).map(str::trim).collect()
}

/// The conversation that the client asks to go on with.
fn resumed(head: &Head<'_>) -> Option<ConversationId> {
    let asked = argument(head.query(), "sid").map(|value| value.into_owned());
    let asked = asked.or_else(|| head.field("X-ANYCABLE-RESTORE-SID").map(str::to_owned));
    frames::conversation(&asked?)
}
