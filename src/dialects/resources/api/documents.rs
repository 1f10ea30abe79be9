//! One request about one document, from its head to its answer (specification, section 8).

use super::super::document::Text;
use super::super::frame;
use super::super::handshake::{error, json};
use super::super::name::Resource;
use super::super::version::Version;
use super::precondition::{LookFirst, Preconditions, entity_tag};
use crate::exchange::{Answer, Condition, Group, Question, SubscriptionId, Write, WriteRefusal, Written};
use crate::http::response::Response;
use crate::message::{Message, TopicName};
use crate::session::{Actions, ConnectionLimits, Inbound, Session};

/// How often somebody else may come in between before a request that looks first gives up.
const ROUNDS_MAX: u32 = 100;

/// What the request is about, and what holds for it.
pub struct Subject {
    pub resource: Resource,
    pub topic: TopicName,
    pub group: Group,
    pub limits: ConnectionLimits,
    pub document_bytes_max: usize,
    pub skip_equal: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// Of those that the route allows.
    pub fn of(method: &str) -> Method {
        match method {
            "PUT" => Method::Put,
            "PATCH" => Method::Patch,
            "DELETE" => Method::Delete,
            _ => Method::Get,
        }
    }

    pub fn takes_body(self) -> bool {
        matches!(self, Method::Put | Method::Patch)
    }
}

pub struct Documents {
    subject: Box<Subject>,
    preconditions: Preconditions,
    state: State,
    /// The server stops: the connection ends with the answer.
    stopping: bool,
}

/// ```text
/// Reading ──document──▶ answered
/// Receiving ──body──▶ Writing ──hub──▶ answered
///     │                ▲   │ somebody else came in between
///     │                │   ▼
///     └──────────────▶ Looking ──a precondition fails──▶ answered
/// ```
enum State {
    Reading,
    Receiving(Method),
    /// The hub cannot judge the preconditions, or the value depends on the document. So many looks came before.
    Looking(Change, u32),
    /// `looked`: what to begin again if the document is not what it was at the look any more.
    Writing {
        deletes: bool,
        looked: Option<(Change, u32)>,
    },
    Answered,
}

/// What is to become of the document.
enum Change {
    /// `null` deletes it.
    Value(Text),
    Patch(Text),
}

impl Change {
    fn must_exist(&self) -> bool {
        match self {
            Change::Value(text) => text.is_null(),
            Change::Patch(_) => true,
        }
    }

    fn value(&self, found: Option<&Message>) -> Text {
        match (self, found) {
            (Change::Patch(patch), Some(message)) => Text::stored(&message.payload).patched(patch),
            (Change::Value(text) | Change::Patch(text), _) => text.clone(),
        }
    }
}

impl Documents {
    /// Asks what can be asked without a body.
    pub fn new(subject: Subject, method: Method, preconditions: Preconditions, actions: &mut Actions) -> Documents {
        let state = State::Receiving(method);
        let mut request = Documents { subject: Box::new(subject), preconditions, state, stopping: false };
        match method {
            Method::Get => {
                request.look(actions);
                request.state = State::Reading;
            }
            Method::Delete => request.change(Change::Value(Text::null()), actions),
            Method::Put | Method::Patch => {}
        }
        request
    }

    fn look(&self, actions: &mut Actions) {
        actions.ask(Question::Document(self.subject.topic.clone()));
    }

    fn change(&mut self, change: Change, actions: &mut Actions) {
        match (change, self.preconditions.for_hub()) {
            (Change::Value(value), Ok(condition)) => self.write(value, condition, None, actions),
            (change @ Change::Patch(_), _) | (change, Err(LookFirst)) => {
                self.look(actions);
                self.state = State::Looking(change, 0);
            }
        }
    }

    fn write(&mut self, value: Text, condition: Option<Condition>, looked: Option<(Change, u32)>, actions: &mut Actions) {
        let Subject { topic, group, skip_equal, .. } = &*self.subject;
        let deletes = value.is_null();
        actions.write(Write {
            topic: topic.clone(),
            value: value.into_bytes().into(),
            group: *group,
            must_exist: deletes || looked.as_ref().is_some_and(|(change, _)| change.must_exist()),
            condition,
            skip_equal: *skip_equal,
        });
        self.state = State::Writing { deletes, looked };
    }

    /// What was found decides whether there is something to write, and what.
    fn looked(&mut self, found: Option<&Message>, change: Change, rounds: u32, actions: &mut Actions) {
        let version = found.map(|message| Version::at(message.id));
        if change.must_exist() && found.is_none() {
            return self.refuse(WriteRefusal::Missing, actions);
        }
        if !self.preconditions.hold(version) {
            return self.refuse(WriteRefusal::Mismatch, actions);
        }
        let value = change.value(found);
        if value.as_str().len() > self.subject.document_bytes_max {
            return self.respond(too_large(), actions);
        }
        let condition = version.map_or(Condition::Absent, |version| Condition::Version(version.millis()));
        self.write(value, Some(condition), Some((change, rounds)), actions);
    }

    fn written(
        &mut self,
        result: Result<Written, WriteRefusal>,
        deletes: bool,
        looked: Option<(Change, u32)>,
        actions: &mut Actions,
    ) {
        match (result, looked) {
            (Ok(written), _) => self.respond(acknowledgement(written, deletes), actions),
            (Err(WriteRefusal::Mismatch), Some((change, rounds))) if rounds < ROUNDS_MAX => {
                self.look(actions);
                self.state = State::Looking(change, rounds + 1);
            }
            (Err(WriteRefusal::Mismatch), Some(_)) => self.refuse(WriteRefusal::Unavailable, actions),
            (Err(refusal), _) => self.refuse(refusal, actions),
        }
    }

    fn read(&self, found: Option<&Message>) -> Response {
        let Some(message) = found else { return not_found() };
        let version = Version::at(message.id);
        let mut body = Vec::with_capacity(message.payload.len() + 160);
        frame::document(&self.subject.resource, &message.payload, version, &mut body);
        let status = if self.preconditions.hold(Some(version)) { 200 } else { 304 };
        json(status, body).field("ETag", entity_tag(version))
    }

    fn refuse(&self, refusal: WriteRefusal, actions: &mut Actions) {
        let response = match refusal {
            WriteRefusal::Missing => not_found(),
            WriteRefusal::Mismatch => error(412, "Version mismatch"),
            WriteRefusal::TooMany => error(507, "Too many resources"),
            WriteRefusal::Unavailable => unavailable(),
        };
        self.respond(response, actions);
    }

    fn respond(&self, mut response: Response, actions: &mut Actions) {
        response.close |= self.stopping;
        actions.respond(response);
    }
}

impl Session for Documents {
    fn limits(&self) -> &ConnectionLimits {
        &self.subject.limits
    }

    fn received(&mut self, inbound: Inbound<'_>, actions: &mut Actions) {
        let (Inbound::Body(body), State::Receiving(method)) = (inbound, &self.state) else { return };
        let method = *method;
        match Text::read(&body) {
            Ok(text) if method == Method::Patch => self.change(Change::Patch(text), actions),
            Ok(text) => self.change(Change::Value(text), actions),
            Err(_) => self.respond(error(400, "Invalid JSON"), actions),
        }
    }

    fn answered(&mut self, answer: Answer, actions: &mut Actions) {
        let state = std::mem::replace(&mut self.state, State::Answered);
        match (state, answer) {
            (State::Reading, Answer::Document(found)) => {
                let response = self.read(existing(found.as_deref()));
                self.respond(response, actions);
            }
            (State::Looking(change, rounds), Answer::Document(found)) => {
                self.looked(existing(found.as_deref()), change, rounds, actions);
            }
            (State::Writing { deletes, looked }, Answer::Written(result)) => self.written(result, deletes, looked, actions),
            // Nothing else was asked, so nothing else is said but that there is no room.
            (_, Answer::Refused(_)) => self.refuse(WriteRefusal::Unavailable, actions),
            (state, _) => self.state = state,
        }
    }

    fn too_slow(&mut self, actions: &mut Actions) {
        actions.hangup();
    }

    /// What has begun is answered; the connection ends with it.
    fn draining(&mut self, _actions: &mut Actions) {
        self.stopping = true;
    }

    fn review(&mut self, _topics: &[(SubscriptionId, TopicName)], _actions: &mut Actions) {
        // The key counted when the request came.
    }
}

/// A deleted document is none.
fn existing(found: Option<&Message>) -> Option<&Message> {
    found.filter(|message| *message.payload != *b"null")
}

fn acknowledgement(written: Written, deletes: bool) -> Response {
    let version = Version::at(written.version);
    let response = json(if written.created { 201 } else { 200 }, format!("{{\"version\":\"{version}\"}}"));
    if deletes { response } else { response.field("ETag", entity_tag(version)) }
}

pub fn not_found() -> Response {
    error(404, "Not found")
}

pub fn too_large() -> Response {
    error(413, "Document too large")
}

pub fn unavailable() -> Response {
    error(503, "Storage unavailable").field("Retry-After", "1")
}
