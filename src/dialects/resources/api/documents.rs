//! One request about one document, from its head to its answer (specification, section 8).

use super::super::document::Text;
use super::super::frame;
use super::super::name::Resource;
use super::super::version::Version;
use super::precondition::{LookFirst, Preconditions, entity_tag};
use crate::exchange::{Answer, Condition, Group, Question, SubscriptionId, Write, WriteRefusal, Written};
use crate::http::body::BodyError;
use crate::http::response::{Response, error, json};
use crate::message::{Message, TopicName};
use crate::session::{Actions, ConnectionLimits, Inbound, Session, WorkQueue};
use std::any::Any;
use std::sync::Arc;

/// How often somebody else may come in between before a request that looks first gives up.
const ROUNDS_MAX: u32 = 100;

/// Patch and document together: from here on many short members take longer than 100 µs to merge, and a worker does it.
const MERGED_HERE_BYTES_MAX: usize = 16 << 10;

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
    subject: Subject,
    preconditions: Preconditions,
    state: State,
    /// The server stops: the connection ends with the answer.
    stopping: bool,
}

/// ```text
/// Reading ──document──▶ answered
/// Receiving ──body──▶ Writing ──hub──▶ answered
///     │                ▲   │ ▲
///     │                │   │ └── Merging
///     │                │   ▼        ▲ a large document
///     └──────────────▶ Looking ─────┴──a precondition fails──▶ answered
/// ```
/// Looking follows on Writing when somebody else came in between.
enum State {
    Reading,
    Receiving(Method),
    /// The hub cannot judge the preconditions, or the value depends on the document. So many looks came before.
    Looking(Change, u32),
    /// A worker makes the value of what was found. It has the change meanwhile.
    Merging {
        found: Version,
        rounds: u32,
    },
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

/// What a worker made of a change.
struct Merged {
    value: Text,
    change: Change,
}

impl Change {
    fn must_exist(&self) -> bool {
        match self {
            Change::Value(text) => text.is_null(),
            Change::Patch(_) => true,
        }
    }

    /// Whether making the value would keep others waiting.
    fn is_slow(&self, found: &Message) -> bool {
        match self {
            Change::Value(_) => false,
            Change::Patch(patch) => patch.as_str().len() + found.payload.len() > MERGED_HERE_BYTES_MAX,
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
        let mut request = Documents { subject, preconditions, state, stopping: false };
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
        let Subject { topic, group, skip_equal, .. } = &self.subject;
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
    fn looked(&mut self, found: Option<Arc<Message>>, change: Change, rounds: u32, actions: &mut Actions) {
        let version = found.as_ref().map(|message| Version::at(message.id));
        if change.must_exist() && found.is_none() {
            return self.refuse(WriteRefusal::Missing, actions);
        }
        if !self.preconditions.hold(version) {
            return self.refuse(WriteRefusal::Mismatch, actions);
        }
        match found {
            Some(found) if change.is_slow(&found) => {
                self.state = State::Merging { found: Version::at(found.id), rounds };
                actions.work(WorkQueue::Documents, move || Merged { value: change.value(Some(&found)), change });
            }
            found => self.merged(change.value(found.as_deref()), version, change, rounds, actions),
        }
    }

    fn merged(&mut self, value: Text, version: Option<Version>, change: Change, rounds: u32, actions: &mut Actions) {
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
                let response = self.read(existing(found).as_deref());
                self.respond(response, actions);
            }
            (State::Looking(change, rounds), Answer::Document(found)) => {
                self.looked(existing(found), change, rounds, actions);
            }
            (State::Writing { deletes, looked }, Answer::Written(result)) => self.written(result, deletes, looked, actions),
            // Nothing else was asked, so nothing else is said but that there is no room.
            (_, Answer::Refused(_)) => self.refuse(WriteRefusal::Unavailable, actions),
            (state, _) => self.state = state,
        }
    }

    fn worked(&mut self, result: Box<dyn Any + Send>, actions: &mut Actions) {
        let state = std::mem::replace(&mut self.state, State::Answered);
        match (state, result.downcast::<Merged>()) {
            (State::Merging { found, rounds }, Ok(merged)) => {
                let Merged { value, change } = *merged;
                self.merged(value, Some(found), change, rounds, actions);
            }
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
fn existing(found: Option<Arc<Message>>) -> Option<Arc<Message>> {
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

fn too_large() -> Response {
    error(413, "Document too large")
}

pub fn body_refused(refused: BodyError) -> Response {
    match refused {
        BodyError::TooLarge => too_large(),
        BodyError::Malformed => error(400, "Body not valid"),
    }
}

pub fn unavailable() -> Response {
    error(503, "Storage unavailable").field("Retry-After", "1")
}

#[cfg(test)]
mod tests {
    use super::super::super::name::{Kind, Name};
    use super::*;
    use crate::clock::Now;
    use crate::exchange::Refusal;
    use crate::http::head::{BodyLength, Head, Version as HttpVersion};
    use crate::message::Stamp;
    use crate::session::Action;
    use std::time::Duration;

    const FIRST: i64 = 1_706_629_835_742;

    fn subject() -> Subject {
        let limits = ConnectionLimits {
            message_bytes_max: 1,
            message_fragments_max: 1,
            outbox_bytes_max: 1,
            no_progress: Duration::MAX,
            close_time: Duration::MAX,
            user_timeout: None,
        };
        Subject {
            resource: Name::parse(Kind::LiveConfig, "a", &[]).and_then(|name| name.of(None)).unwrap(),
            topic: "t".into(),
            group: Group { bytes: 1, documents_max: 1, awaited_max: 1 },
            limits,
            document_bytes_max: 20,
            skip_equal: false,
        }
    }

    struct Request {
        session: Documents,
        actions: Actions,
    }

    impl Request {
        fn new(method: Method, fields: &[(&str, &str)]) -> Request {
            let (version, body, fields) = (HttpVersion::Http11, BodyLength::None, fields.to_vec());
            let head = Head { method: "", target: "/", version, fields, body, keep_alive: true, expects_continue: false };
            let mut actions = Actions::new(Now::default());
            let session = Documents::new(subject(), method, Preconditions::of_write(&head), &mut actions);
            Request { session, actions }
        }

        fn body(method: Method, fields: &[(&str, &str)], body: &str) -> Request {
            let mut request = Request::new(method, fields);
            assert!(request.actions.is_empty(), "nothing is asked before the body has come");
            request.session.received(Inbound::Body(body.into()), &mut request.actions);
            request
        }

        /// What was asked or answered last, in short.
        fn said(&mut self) -> String {
            let said: Vec<Action> = self.actions.drain().collect();
            match &said[..] {
                [Action::Ask(Question::Document(_))] => "look".to_owned(),
                [Action::Write(write)] => {
                    let Write { value, must_exist, condition, .. } = write;
                    format!("{} {must_exist} {condition:?}", String::from_utf8_lossy(value))
                }
                [Action::Work { .. }] => "work".to_owned(),
                [Action::Respond(response)] => format!("{} {}", response.status, String::from_utf8_lossy(&response.body)),
                other => panic!("one thing: {other:?}"),
            }
        }

        fn find(&mut self, document: Option<(i64, &str)>) {
            let message = document
                .map(|(version, text)| Arc::new(Message::new(Stamp::default(), "t".into(), version, Arc::from(text.as_bytes()))));
            self.session.answered(Answer::Document(message), &mut self.actions);
        }

        fn found(&mut self, document: Option<(i64, &str)>) -> String {
            self.find(document);
            self.said()
        }

        /// Has the job done that was asked for.
        fn merged(&mut self) -> String {
            let Some(Action::Work { queue: WorkQueue::Documents, job }) = self.actions.drain().next() else { panic!("a job") };
            self.session.worked(job.run().unwrap(), &mut self.actions);
            self.said()
        }

        fn written(&mut self, result: Result<Written, WriteRefusal>) -> String {
            self.session.answered(Answer::Written(result), &mut self.actions);
            self.said()
        }
    }

    const MISMATCH: &str = "412 {\"error\":\"Version mismatch\"}";
    const MISSING: &str = "404 {\"error\":\"Not found\"}";

    #[test]
    fn what_the_hub_can_judge_is_written_without_a_look() {
        let mut put = Request::body(Method::Put, &[], " 1 ");
        assert_eq!(put.said(), "1 false None");
        assert_eq!(put.written(Ok(Written { version: FIRST, created: true })), "201 {\"version\":\"2024-01-30T15:50:35.742Z\"}");
        assert_eq!(Request::body(Method::Put, &[("If-None-Match", "*")], "1").said(), "1 false Some(Absent)");
        assert_eq!(Request::body(Method::Put, &[], "null").said(), "null true None");
        assert_eq!(Request::new(Method::Delete, &[("If-Match", "*")]).said(), "null true Some(Present)");
        for (refusal, said) in [
            (WriteRefusal::Missing, MISSING),
            (WriteRefusal::Mismatch, MISMATCH),
            (WriteRefusal::TooMany, "507 {\"error\":\"Too many resources\"}"),
            (WriteRefusal::Unavailable, "503 {\"error\":\"Storage unavailable\"}"),
        ] {
            let mut delete = Request::new(Method::Delete, &[]);
            delete.said();
            assert_eq!(delete.written(Err(refusal)), said);
        }
    }

    #[test]
    fn a_patch_is_written_on_what_it_was_made_of_or_made_again() {
        let mut patch = Request::body(Method::Patch, &[], "{\"b\":2}");
        assert_eq!(patch.said(), "look");
        assert_eq!(patch.found(Some((FIRST, "{\"a\":1}"))), format!("{{\"a\":1,\"b\":2}} true Some(Version({FIRST}))"));
        assert_eq!(patch.written(Err(WriteRefusal::Mismatch)), "look");
        assert_eq!(patch.found(Some((FIRST + 1, "{\"a\":9}"))), format!("{{\"a\":9,\"b\":2}} true Some(Version({}))", FIRST + 1));
        assert_eq!(patch.written(Err(WriteRefusal::Missing)), MISSING);

        let mut patch = Request::body(Method::Patch, &[], "{\"b\":2}");
        patch.said();
        assert_eq!(patch.found(Some((FIRST, "null"))), MISSING, "a deleted document is none");
        let mut patch = Request::body(Method::Patch, &[], "{\"b\":\"xxxxxxxxxx\"}");
        patch.said();
        assert_eq!(patch.found(Some((FIRST, "{\"a\":1}"))), "413 {\"error\":\"Document too large\"}");
    }

    #[test]
    fn a_large_patch_is_merged_by_a_worker_and_made_again_like_a_small_one() {
        let text = "x".repeat(MERGED_HERE_BYTES_MAX);
        let (large, found) = (format!("{{\"b\":\"{text}\"}}"), "{\"b\":0}");
        let mut patch = Request::body(Method::Patch, &[], &large);
        patch.session.subject.document_bytes_max = large.len() + 6;
        patch.said();
        patch.find(Some((FIRST, found)));
        assert_eq!(patch.merged(), format!("{large} true Some(Version({FIRST}))"));
        assert_eq!(patch.written(Err(WriteRefusal::Mismatch)), "look");
        patch.find(Some((FIRST + 1, "{\"a\":1}")));
        assert_eq!(patch.merged(), format!("{{\"a\":1,{} true Some(Version({}))", &large[1..], FIRST + 1));
        assert_eq!(patch.written(Err(WriteRefusal::Mismatch)), "look");
        patch.find(Some((FIRST + 2, "{\"aa\":1}")));
        assert_eq!(patch.merged(), "413 {\"error\":\"Document too large\"}");

        let mut patch = Request::body(Method::Patch, &[], &large);
        patch.said();
        patch.find(Some((FIRST, found)));
        patch.actions.drain();
        patch.session.answered(Answer::Refused(Refusal::Busy), &mut patch.actions);
        assert_eq!(patch.said(), "503 {\"error\":\"Storage unavailable\"}");

        let mut patch = Request::body(Method::Patch, &[], "{\"a\":2}");
        patch.said();
        patch.find(Some((FIRST, &large)));
        assert_eq!(patch.said(), "work", "or a patch of a large document");
    }

    #[test]
    fn the_clients_own_condition_ends_it() {
        let condition = [("If-Match", "\"2024-01-30T15:50:35.742Z\"")];
        let mut patch = Request::body(Method::Patch, &condition, "{}");
        patch.said();
        assert_eq!(patch.found(Some((FIRST, "{}"))), format!("{{}} true Some(Version({FIRST}))"));
        patch.written(Err(WriteRefusal::Mismatch));
        assert_eq!(patch.found(Some((FIRST + 1, "{}"))), MISMATCH);

        // What no single condition says is looked at, too.
        let several = [("If-None-Match", "\"2024-01-30T15:50:35.742Z\"")];
        let mut put = Request::body(Method::Put, &several, "1");
        assert_eq!(put.said(), "look");
        assert_eq!(put.found(None), "1 false Some(Absent)");
        assert_eq!(put.written(Err(WriteRefusal::Mismatch)), "look");
        assert_eq!(put.found(Some((FIRST, "0"))), MISMATCH);
        let mut delete = Request::new(Method::Delete, &several);
        assert_eq!(delete.said(), "look");
        assert_eq!(delete.found(Some((FIRST + 1, "0"))), format!("null true Some(Version({}))", FIRST + 1));
    }

    #[test]
    fn others_may_come_in_between_for_so_long_only() {
        let mut patch = Request::body(Method::Patch, &[], "{}");
        patch.said();
        for round in 0..=i64::from(ROUNDS_MAX) {
            patch.found(Some((FIRST + round, "{}")));
            let said = patch.written(Err(WriteRefusal::Mismatch));
            let last = round == i64::from(ROUNDS_MAX);
            assert_eq!(said, if last { "503 {\"error\":\"Storage unavailable\"}" } else { "look" }, "{round}");
        }
    }

    #[test]
    fn a_server_that_stops_closes_with_the_answer() {
        let mut get = Request::new(Method::Get, &[]);
        get.session.draining(&mut get.actions);
        get.actions.drain();
        get.session.answered(Answer::Document(None), &mut get.actions);
        let Some(Action::Respond(response)) = get.actions.drain().next() else { panic!("an answer") };
        assert!(response.close);
    }
}
