//! Dialect `push_stream`: channels over websocket, polls, streams and eventsource, resumed by `tag` and `time`.
//!
//! [`PushStream::open`] finds the route and asks the questions of specification section 6.1 in their order; what passes
//! becomes one of the sessions. Times of the wire are whole seconds, sizes are bytes.

pub mod channels;
pub mod cursor;
pub mod encoders;
pub mod options;
mod payload;
mod poll;
mod publisher;
pub mod query;
mod rate;
mod reason;
mod report;
mod shared;
mod stream;
mod template;
#[cfg(test)]
mod tests;
mod undecided;
mod websocket;

use crate::access::{Grant, Right, SharedAccess};
use crate::exchange::{Cursor, Join, JoinTopic, Question, Reach, Selection, StartAt, SubscriptionId};
use crate::http::head::{Head, HeadError, Version};
use crate::http::response::Response;
use crate::message::{EventFields, TopicName};
use crate::session::{Actions, BodyMode, Delivery, Dialect, Door, Encoders, HeadLimits, Opening, Request, Session};
use crate::websocket::handshake::{self, HandshakeError};
use channels::Channel;
use options::Options;
use percent_encoding::percent_decode_str;
use poll::{Poll, Wish};
use publisher::{Publisher, Shape, Task};
use reason::Reason;
use report::Format;
use shared::{Farewell, Origin, Shared, Side};
use std::borrow::Cow;
use std::sync::Arc;
use stream::{Form, Stream};
use undecided::Undecided;
use websocket::{Listener, Speaker};

/// One deployment of the dialect.
pub struct PushStream {
    shared: Arc<Shared>,
}

/// How a subscriber gets its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    WebSocket,
    LongPoll,
    ShortPoll,
    Stream,
    Eventsource,
}

#[derive(Debug, PartialEq, Eq)]
enum Route<'a> {
    Subscriber(Mode, &'a [u8]),
    Publisher,
    Statistics,
}

/// What a subscriber's request came to.
struct Subscriber {
    grant: Option<Arc<Grant>>,
    channels: Vec<Channel>,
    callback: Option<Box<str>>,
}

impl PushStream {
    /// `options` have passed [`Options::check`]; `host` is the name that statistics show.
    pub fn new(options: Options, host: String, access: SharedAccess, encoders: &mut Encoders) -> PushStream {
        PushStream { shared: Arc::new(Shared::new(options, host, access, encoders)) }
    }

    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    fn route<'a>(&self, decoded: &'a [u8]) -> Option<Route<'a>> {
        let options = &self.shared.options;
        let exact = |path: &str| !path.is_empty() && decoded == path.as_bytes();
        if !options.enabled {
            return None;
        }
        if exact(&options.publish_path) {
            return Some(Route::Publisher);
        }
        if exact(&options.stats_path) {
            return Some(Route::Statistics);
        }
        let prefixes = [
            (&options.websocket_path, Mode::WebSocket),
            (&options.longpoll_path, Mode::LongPoll),
            (&options.shortpoll_path, Mode::ShortPoll),
            (&options.stream_path, Mode::Stream),
            (&options.eventsource_path, Mode::Eventsource),
        ];
        let matching = prefixes.into_iter().filter(|(prefix, _)| !prefix.is_empty() && decoded.starts_with(prefix.as_bytes()));
        let (prefix, mode) = matching.max_by_key(|(prefix, _)| prefix.len())?;
        Some(Route::Subscriber(mode, &decoded[prefix.len()..]))
    }

    fn open_subscriber(&self, mode: Mode, list: &[u8], request: &Request<'_>, actions: &mut Actions) -> Opening {
        let head = request.head;
        let origin = self.shared.origin(head);
        match head.method {
            "GET" => {}
            "OPTIONS" => return Opening::Respond(self.shared.with_cors(Response::new(200), origin, Side::Subscriber)),
            _ => return self.not_allowed("GET", origin, Side::Subscriber),
        }
        let mode = self.switched(mode, head);
        if mode == Mode::WebSocket {
            return self.open_websocket(list, request, origin, actions);
        }
        match self.subscriber(mode, list, request) {
            Ok(subscriber) => self.open_http(mode, subscriber, request, origin, actions),
            Err(reason) => Opening::Respond(self.shared.refusal(reason, origin, Side::Subscriber)),
        }
    }

    /// The mode header turns the four HTTP modes into polls.
    fn switched(&self, mode: Mode, head: &Head<'_>) -> Mode {
        if mode == Mode::WebSocket || !self.shared.options.mode_header {
            return mode;
        }
        match head.field("X-Nginx-PushStream-Mode") {
            Some(wish) if wish.eq_ignore_ascii_case("long-polling") => Mode::LongPoll,
            Some(wish) if wish.eq_ignore_ascii_case("polling") => Mode::ShortPoll,
            Some(_) | None => mode,
        }
    }

    /// The checks from the token to the events channel, which are the same in all modes.
    fn subscriber(&self, mode: Mode, list: &[u8], request: &Request<'_>) -> Result<Subscriber, Reason> {
        let options = &self.shared.options;
        let head = request.head;
        let grant = self.shared.grant(head, request.now.unix_seconds())?;
        let channels = channels::parse(list, options.max_channel_id_bytes, options.max_channels_per_request)?;
        let callback = match mode {
            Mode::LongPoll | Mode::ShortPoll => callback(head)?,
            Mode::WebSocket | Mode::Stream | Mode::Eventsource => None,
        };
        if let Some(grant) = &grant
            && !channels.iter().all(|channel| grant.covers(channel.name.as_str()))
        {
            return Err(Reason::TokenWithoutRight);
        }
        let is_events = |channel: &Channel| channel.name.as_str() == options.events_channel;
        if !options.events_channel_subscribe && channels.iter().any(is_events) {
            return Err(Reason::EventsNotAllowed);
        }
        Ok(Subscriber { grant, channels, callback })
    }

    fn open_websocket(&self, list: &[u8], request: &Request<'_>, origin: Origin, actions: &mut Actions) -> Opening {
        let key = match handshake::accept_key(request.head, &["13", "8"]) {
            Ok(key) => key,
            Err(error) => {
                let reason = match error {
                    HandshakeError::UnsupportedVersion => Reason::VersionNotSupported,
                    HandshakeError::NotAnUpgrade
                    | HandshakeError::MissingKey
                    | HandshakeError::BadKey
                    | HandshakeError::MissingVersion => Reason::HeadersMissing,
                };
                return Opening::Respond(self.shared.refusal(reason, origin, Side::Subscriber).closing());
            }
        };
        let upgrade = self
            .shared
            .dressed(Response::new(101), Origin::SILENT, Side::Subscriber)
            .field("Upgrade", "WebSocket")
            .field("Connection", "Upgrade")
            .field("Sec-WebSocket-Accept", key);
        let checked = match self.shared.origin_may_connect(request.head) {
            true => self.subscriber(Mode::WebSocket, list, request),
            false => Err(Reason::OriginNotAllowed),
        };
        let now = request.now.micros;
        match checked {
            Ok(Subscriber { grant, channels, .. }) => {
                let listener = Listener::new(self.shared.clone(), grant, now);
                if let Some(ordinary) = self.wildcard_violation(&channels) {
                    return match self.undecided(ordinary, origin, true, actions) {
                        Some(session) => Opening::WebSocket { session, upgrade },
                        None => self.refuse_websocket(Reason::TooMuchWildcard, listener, upgrade, origin, actions),
                    };
                }
                let join = self.join(&channels, cursor::read(request.head, &self.shared.options));
                let names = |join: &Join| join.topics.iter().map(|topic| (topic.id, topic.name.clone())).collect();
                let session: Box<dyn Session> = match self.shared.options.allow_publish {
                    true => Box::new(Speaker::new(listener, names(&join))),
                    false => Box::new(listener),
                };
                actions.join(join, Delivery::Shared(self.shared.encodings.websocket.id));
                Opening::WebSocket { session, upgrade }
            }
            Err(reason) => {
                let listener = Listener::new(self.shared.clone(), None, now);
                self.refuse_websocket(reason, listener, upgrade, origin, actions)
            }
        }
    }

    fn refuse_websocket(
        &self,
        reason: Reason,
        listener: Listener,
        upgrade: Response,
        origin: Origin,
        actions: &mut Actions,
    ) -> Opening {
        match self.shared.farewell(reason, origin) {
            Farewell::Respond(response) => Opening::Respond(response),
            Farewell::Close(code, text) => {
                actions.close(Some(code), text);
                Opening::WebSocket { session: Box::new(listener), upgrade }
            }
        }
    }

    fn open_http(
        &self,
        mode: Mode,
        subscriber: Subscriber,
        request: &Request<'_>,
        origin: Origin,
        actions: &mut Actions,
    ) -> Opening {
        let Subscriber { grant, channels, callback } = subscriber;
        if let Some(ordinary) = self.wildcard_violation(&channels) {
            return match self.undecided(ordinary, origin, false, actions) {
                Some(session) => Opening::Hold { session, body: BodyMode::Dropped },
                None => Opening::Respond(self.shared.refusal(Reason::TooMuchWildcard, origin, Side::Subscriber)),
            };
        }
        let cursor = cursor::read(request.head, &self.shared.options);
        let join = self.join(&channels, cursor.clone());
        let chunked = request.head.version == Version::Http11;
        let form = match mode {
            Mode::Stream => Some(Form::Stream { chunked }),
            Mode::Eventsource => Some(Form::Eventsource { chunked }),
            Mode::WebSocket | Mode::LongPoll | Mode::ShortPoll => None,
        };
        let session: Box<dyn Session> = match form {
            Some(form) => {
                actions.join(join, Delivery::Shared(form.encoding(&self.shared).id));
                Box::new(Stream::new(self.shared.clone(), grant, origin, form, request.now.micros))
            }
            None => {
                actions.join(join, Delivery::PerSubscriber);
                let wish = Wish { long: mode == Mode::LongPoll, callback, cursor, origin };
                Box::new(Poll::new(self.shared.clone(), grant, wish, request.now))
            }
        };
        Opening::Hold { session, body: BodyMode::Dropped }
    }

    fn join(&self, channels: &[Channel], cursor: Cursor) -> Join {
        let options = &self.shared.options;
        let topics = channels.iter().enumerate().map(|(index, channel)| JoinTopic {
            id: SubscriptionId(index as u16),
            name: channel.name.clone(),
            start: match channel.backtrack {
                0 => StartAt::Cursor,
                count => StartAt::Last(count),
            },
            // Heartbeats are never stored, and watching the connection needs no authorization.
            must_have_messages: options.authorized_channels_only
                && !self.is_wildcard(channel)
                && channel.name.as_str() != options.heartbeat_channel,
        });
        let reach = Reach { count: options.max_stored_messages, age: options.message_ttl };
        let subscribers_max = options.max_subscribers_per_channel;
        Join { topics: topics.collect(), cursor, reach, subscribers_max, ..Join::default() }
    }

    fn is_wildcard(&self, channel: &Channel) -> bool {
        let prefix = &self.shared.options.wildcard_prefix;
        !prefix.is_empty() && channel.name.as_str().starts_with(prefix.as_str())
    }

    /// The ordinary channels of a request that has more wildcard channels than allowed, or no other channel.
    fn wildcard_violation(&self, channels: &[Channel]) -> Option<Vec<TopicName>> {
        let (wildcard, ordinary): (Vec<_>, Vec<_>) = channels.iter().partition(|channel| self.is_wildcard(channel));
        let most = self.shared.options.wildcard_max_per_request;
        let violates = !wildcard.is_empty() && (ordinary.is_empty() || most > 0 && wildcard.len() > most);
        violates.then(|| ordinary.into_iter().map(|channel| channel.name.clone()).collect())
    }

    /// Asks the hub where an earlier check of its own may fail as well.
    fn undecided(
        &self,
        mut ordinary: Vec<TopicName>,
        origin: Origin,
        websocket: bool,
        actions: &mut Actions,
    ) -> Option<Box<dyn Session>> {
        ordinary.retain(|name| name.as_str() != self.shared.options.heartbeat_channel);
        if !self.shared.options.authorized_channels_only || ordinary.is_empty() {
            return None;
        }
        let session = Undecided::new(self.shared.clone(), origin, websocket, ordinary.len());
        actions.ask(Question::Report(Selection::Names(ordinary)));
        Some(Box::new(session))
    }

    fn open_publisher(&self, request: &Request<'_>, actions: &mut Actions) -> Opening {
        let head = request.head;
        let origin = self.shared.origin(head);
        let methods = self.shared.publisher_methods();
        match head.method {
            "OPTIONS" => return Opening::Respond(self.shared.dressed(Response::new(200), origin, Side::Publisher)),
            "DELETE" if !self.shared.options.delete => return self.not_allowed(methods, origin, Side::Publisher),
            "GET" | "POST" | "PUT" | "DELETE" => {}
            _ => return self.not_allowed(methods, origin, Side::Publisher),
        }
        match self.publisher_task(request) {
            Ok(task) => self.begin(task, origin, Side::Publisher, actions),
            Err(reason) => Opening::Respond(self.shared.refusal(reason, origin, Side::Publisher)),
        }
    }

    fn publisher_task(&self, request: &Request<'_>) -> Result<(Task, Option<Question>), Reason> {
        let options = &self.shared.options;
        let head = request.head;
        let key = match request.door {
            Door::Admin => None,
            Door::Public | Door::Both => Some(self.shared.key(head, Right::Publish)?),
        };
        let list = query::argument(head.query(), "id").unwrap_or_default();
        let channels = channels::parse(&list, options.max_channel_id_bytes, options.max_channels_per_request)?;
        let channels: Vec<TopicName> = channels.into_iter().map(|channel| channel.name).collect();
        if let Some(key) = key
            && !channels.iter().all(|channel| key.covers(channel.as_str()))
        {
            return Err(Reason::KeyWithoutRight);
        }
        if head.method == "GET" {
            let question = Question::Report(Selection::Names(channels));
            let task = Task::Look { shape: Shape::Known, format: Format::Json, media: "application/json".into() };
            return Ok((task, Some(question)));
        }
        if channels.iter().any(|channel| channel.as_str() == options.events_channel) {
            return Err(Reason::EventsInternal);
        }
        if head.method == "DELETE" {
            return Ok((Task::Delete { channels }, None));
        }
        let id = event_field(head, "Event-Id").map_err(|_| Reason::EventIdNotValid)?;
        let kind = event_field(head, "Event-Type").map_err(|_| Reason::EventTypeNotValid)?;
        let event = (id.is_some() || kind.is_some()).then(|| Box::new(EventFields { id, kind }));
        Ok((Task::Publish { channels, event }, None))
    }

    fn open_statistics(&self, request: &Request<'_>, actions: &mut Actions) -> Opening {
        let head = request.head;
        let origin = self.shared.origin(head);
        if head.method != "GET" {
            return self.not_allowed("GET", origin, Side::Subscriber);
        }
        match self.statistics_task(request) {
            Ok(task) => self.begin(task, origin, Side::Subscriber, actions),
            Err(reason) => Opening::Respond(self.shared.refusal(reason, origin, Side::Subscriber)),
        }
    }

    fn statistics_task(&self, request: &Request<'_>) -> Result<(Task, Option<Question>), Reason> {
        let options = &self.shared.options;
        let head = request.head;
        match request.door {
            Door::Admin => {}
            Door::Public | Door::Both => drop(self.shared.key(head, Right::Statistics)?),
        }
        let (shape, selection) = match query::argument(head.query(), "id") {
            None => (Shape::Summary, Selection::Sums),
            Some(list) => match prefix(&list)? {
                Some(prefix) => (Shape::Group, Selection::Prefix(prefix)),
                None => {
                    let channels = channels::parse(&list, options.max_channel_id_bytes, options.max_channels_per_request)?;
                    (Shape::Known, Selection::Names(channels.into_iter().map(|channel| channel.name).collect()))
                }
            },
        };
        let (format, media) = report::accepted(head.fields_named("Accept"));
        Ok((Task::Look { shape, format, media }, Some(Question::Report(selection))))
    }

    fn begin(&self, task: (Task, Option<Question>), origin: Origin, side: Side, actions: &mut Actions) -> Opening {
        let (task, question) = task;
        let body = if question.is_none() { BodyMode::Whole } else { BodyMode::Dropped };
        if let Some(question) = question {
            actions.ask(question);
        }
        Opening::Hold { session: Box::new(Publisher::new(self.shared.clone(), origin, side, task)), body }
    }

    fn not_allowed(&self, methods: &'static str, origin: Origin, side: Side) -> Opening {
        Opening::Respond(self.shared.dressed(Response::new(405).field("Allow", methods), origin, side))
    }
}

impl Dialect for PushStream {
    fn name(&self) -> &'static str {
        "push_stream"
    }

    fn open(&self, request: &Request<'_>, actions: &mut Actions) -> Option<Opening> {
        let decoded: Cow<'_, [u8]> = percent_decode_str(request.head.path()).into();
        match self.route(&decoded)? {
            // Subscribers have no business at the backends' door.
            Route::Subscriber(..) if request.door == Door::Admin => None,
            Route::Subscriber(mode, list) => Some(self.open_subscriber(mode, list, request, actions)),
            Route::Publisher => Some(self.open_publisher(request, actions)),
            Route::Statistics => Some(self.open_statistics(request, actions)),
        }
    }

    fn head_limits(&self, path: &str) -> Option<HeadLimits> {
        let decoded: Cow<'_, [u8]> = percent_decode_str(path).into();
        self.route(&decoded)?;
        let options = &self.shared.options;
        Some(HeadLimits {
            line_bytes_max: options.max_request_line_bytes as usize,
            field_bytes_max: options.max_header_bytes as usize,
            body_bytes_max: options.max_body_bytes,
            body_refused: |refused| shared::uncached(refused.response()),
            head_refused: HeadError::response,
        })
    }
}

/// The function name of JSONP; absent if empty.
fn callback(head: &Head<'_>) -> Result<Option<Box<str>>, Reason> {
    match query::argument(head.query(), "callback") {
        None => Ok(None),
        Some(name) if poll::is_callback(&name) => {
            let name = String::from_utf8(name.into_owned()).map_err(|_| Reason::CallbackNotValid)?;
            Ok(Some(name.into()))
        }
        Some(_) => Err(Reason::CallbackNotValid),
    }
}

/// `Event-Id` or `Event-Type`; empty counts as absent, control characters would break the event stream.
fn event_field(head: &Head<'_>, name: &str) -> Result<Option<Box<[u8]>>, ()> {
    match head.field(name) {
        None | Some("") => Ok(None),
        Some(value) if value.bytes().any(|byte| byte.is_ascii_control()) => Err(()),
        Some(value) => Ok(Some(value.as_bytes().into())),
    }
}

/// `ALL` or `pre*` in an `id` of statistics: the first one decides alone.
fn prefix(list: &[u8]) -> Result<Option<Box<str>>, Reason> {
    for component in list.split(|&byte| byte == b'/') {
        if component == b"ALL" {
            return Ok(Some("".into()));
        }
        if let Some(prefix) = component.strip_suffix(b"*") {
            let prefix = std::str::from_utf8(prefix).map_err(|_| Reason::ChannelNotValid)?;
            return match prefix.contains('*') || prefix.starts_with('$') {
                true => Err(Reason::ChannelNotAuthorized),
                false => Ok(Some(prefix.into())),
            };
        }
    }
    Ok(None)
}
