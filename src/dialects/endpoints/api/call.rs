//! One request over HTTP: who asks, then its body, then what it is for, and the one answer.

use super::super::checks::{Caller, Reject};
use super::super::cors::Cors;
use super::super::failure::Failure;
use super::super::shared::{Blame, Endpoint, Place};
use super::intake::{Body, Intake};
use crate::access::tokens::Source;
use crate::clock::Now;
use crate::exchange::{Alter, AlterRefusal, Alteration, Answer, Grant, Notice, Question, Revocation, TokenDigest};
use crate::http::head::BodyLength;
use crate::http::response::Response;
use crate::record::RecordId;
use crate::session::{Actions, BodyMode, ConnectionLimits, Inbound, Opening, Request, Session};
use std::any::Any;
use std::sync::Arc;

/// What a request is for, as its head says.
pub struct Plan {
    operation: Box<dyn Operation>,
    /// `None`: its body means nothing.
    intake: Option<Intake>,
}

impl Plan {
    pub fn with_body(operation: impl Operation + 'static, intake: Intake) -> Plan {
        Plan { operation: Box::new(operation), intake: Some(intake) }
    }

    pub fn without_body(operation: impl Operation + 'static) -> Plan {
        Plan { operation: Box::new(operation), intake: None }
    }
}

/// What is done when it is known who asks, and the body is there. It ends with a [`Context::respond`].
pub trait Operation: Send {
    fn begin(&mut self, context: &Context, body: Body, actions: &mut Actions);

    fn answered(&mut self, context: &Context, answer: Answer, actions: &mut Actions);

    /// What it had done elsewhere is done.
    fn worked(&mut self, _context: &Context, _result: Box<dyn Any + Send>, _actions: &mut Actions) {}
}

/// Whom a request is from.
pub enum Who {
    Anybody,
    /// The master key does; whose token came with it owns what is made.
    Master(Option<RecordId>),
    User(User),
}

pub struct User {
    pub id: RecordId,
    pub token: TokenDigest,
    /// Unix milliseconds from which on the token counts no longer.
    until: u64,
}

/// Where and by whom something is asked.
pub struct Context {
    place: Place,
    /// Of ids, tokens and salts.
    pub source: Arc<Source>,
    pub who: Who,
    cors: Cors,
    /// Its token was revoked since: nothing is altered in its name any more.
    revoked: bool,
    /// The server stops: the connection ends with the answer.
    stopping: bool,
}

impl Context {
    pub fn new(place: Place, source: Arc<Source>, cors: Cors) -> Context {
        Context { place, source, who: Who::Anybody, cors, revoked: false, stopping: false }
    }

    pub fn endpoint(&self) -> &Arc<Endpoint> {
        self.place.endpoint()
    }

    /// Who owns what is made.
    pub fn owner(&self) -> Option<RecordId> {
        match &self.who {
            Who::Anybody => None,
            Who::Master(owner) => *owner,
            Who::User(user) => Some(user.id),
        }
    }

    /// Whose records may be read; `None`: everybody's.
    pub fn reads(&self) -> Option<RecordId> {
        self.own_unless(self.endpoint().options.read_by_others)
    }

    /// Whose records may be changed.
    pub fn updates(&self) -> Option<RecordId> {
        self.own_unless(self.endpoint().options.update_by_others)
    }

    /// Whose records may be deleted.
    pub fn deletes(&self) -> Option<RecordId> {
        self.own_unless(self.endpoint().options.delete_by_others)
    }

    fn own_unless(&self, others_may: bool) -> Option<RecordId> {
        match &self.who {
            Who::User(user) if !others_may => Some(user.id),
            Who::User(_) | Who::Master(_) | Who::Anybody => None,
        }
    }

    /// Whether the token still counts that the request came with, if it needed one.
    fn counts(&self, now: Now) -> bool {
        match &self.who {
            Who::User(user) => !self.revoked && now.unix_millis() < user.until,
            Who::Master(_) | Who::Anybody => true,
        }
    }

    /// Answered with an [`Answer::Altered`], unless the token no longer counts: hashing a password takes its time.
    pub fn alter(&self, what: Alteration, revoke: Option<Revocation>, actions: &mut Actions) {
        if !self.counts(actions.now) {
            return self.reject(Reject::NoToken, actions);
        }
        let endpoint = self.endpoint();
        let records_max = endpoint.shared.options.limits.records_per_endpoint_max;
        actions.alter(Alter { endpoint: endpoint.topic.clone(), what, records_max, revoke });
    }

    pub fn respond(&self, response: Response, actions: &mut Actions) {
        actions.respond(self.dressed(response));
    }

    pub fn fail(&self, failure: Failure, actions: &mut Actions) {
        self.respond(failure.response(), actions);
    }

    fn reject(&self, reject: Reject, actions: &mut Actions) {
        self.respond(reject.response(), actions);
    }

    fn dressed(&self, response: Response) -> Response {
        let mut response = self.cors.clone().apply(response);
        response.close |= self.stopping;
        response
    }
}

/// How it is told that the hub has not altered a record that is there.
pub fn refused(refusal: AlterRefusal) -> Failure {
    match refusal {
        AlterRefusal::Missing => Failure::NoRecord,
        AlterRefusal::TooMany => Failure::TooManyRecords,
        // Others come in between all the time; records without accounts have no names.
        AlterRefusal::Mismatch | AlterRefusal::Taken(_) | AlterRefusal::Unavailable => Failure::StorageUnavailable,
    }
}

/// ```text
/// Identifying ──hub──▶ Receiving ──body──▶ Operating ──▶ answered
/// ```
/// Without a token it begins with Receiving, without a body with Operating.
pub struct Call {
    context: Context,
    stage: Stage,
    /// Bytes that its body had, as far as they were kept.
    collected: usize,
}

enum Stage {
    /// The hub knows whose token it is. Whatever else is wrong comes after that.
    Identifying {
        token: TokenDigest,
        blame: Blame,
        plan: Result<Plan, Failure>,
    },
    Receiving(Box<dyn Operation>, Intake),
    Operating(Box<dyn Operation>),
    Answered,
}

impl Call {
    /// # Errors
    /// What is answered at once, but for what every answer has.
    pub fn open(
        mut context: Context,
        caller: Caller,
        blame: Blame,
        plan: Result<Plan, Failure>,
        request: &Request<'_>,
        actions: &mut Actions,
    ) -> Result<Opening, Response> {
        let has_body = !matches!(request.head.body, BodyLength::None | BodyLength::Length(0));
        let takes_body = plan.as_ref().is_ok_and(|plan| plan.intake.is_some());
        if let Caller::Master(_) = caller {
            context.who = Who::Master(None);
        }
        let mut call = Call { context, stage: Stage::Answered, collected: 0 };
        match caller {
            Caller::Asks(token) | Caller::Master(Some(token)) => {
                call.stage = Stage::Identifying { token, blame, plan };
                actions.ask(Question::Grant(token));
            }
            Caller::Anybody | Caller::Master(None) => call.admitted(plan.map_err(Failure::response)?, actions),
        }
        // A body that nobody wants waits until the answer, or it would be refused before it.
        let body = if has_body || takes_body { BodyMode::Parts } else { BodyMode::Dropped };
        Ok(Opening::Hold { session: Box::new(call), body })
    }

    /// The hub knows the token, or not.
    fn identified(&mut self, token: TokenDigest, grant: Option<Grant>, blame: Blame, actions: &mut Actions) -> bool {
        let endpoint = self.context.endpoint();
        self.context.who = match (&self.context.who, endpoint.project.holder(grant)) {
            (Who::Master(_), known) => Who::Master(known.map(|(id, _)| id)),
            (Who::Anybody | Who::User(_), Some((id, until))) => Who::User(User { id, token, until }),
            (Who::Anybody | Who::User(_), None) => {
                let reject = endpoint.shared.unknown(blame, actions.now);
                self.context.reject(reject, actions);
                return false;
            }
        };
        true
    }

    fn admitted(&mut self, plan: Plan, actions: &mut Actions) {
        match plan.intake {
            Some(intake) => self.stage = Stage::Receiving(plan.operation, intake),
            None => self.operate(plan.operation, Body::None, actions),
        }
    }

    fn operate(&mut self, mut operation: Box<dyn Operation>, body: Body, actions: &mut Actions) {
        operation.begin(&self.context, body, actions);
        self.stage = Stage::Operating(operation);
    }

    fn fail(&mut self, failure: Failure, actions: &mut Actions) {
        self.stage = Stage::Answered;
        self.context.fail(failure, actions);
    }

    fn took(&mut self, part: &[u8], actions: &mut Actions) {
        if let Stage::Receiving(_, intake) = &mut self.stage
            && let Err(failure) = intake.take(part)
        {
            self.fail(failure, actions);
        }
    }

    fn body_ended(&mut self, actions: &mut Actions) {
        let Stage::Receiving(operation, intake) = std::mem::replace(&mut self.stage, Stage::Answered) else { return };
        if !self.context.counts(actions.now) {
            return self.context.reject(Reject::NoToken, actions);
        }
        self.collected = intake.held_bytes();
        match intake.finish() {
            Ok(body) => self.operate(operation, body, actions),
            Err(failure) => self.fail(failure, actions),
        }
    }
}

impl Session for Call {
    fn limits(&self) -> &ConnectionLimits {
        &self.context.endpoint().shared.limits.usual
    }

    fn received(&mut self, inbound: Inbound<'_>, actions: &mut Actions) {
        match inbound {
            Inbound::Part(part) => self.took(part, actions),
            Inbound::End => self.body_ended(actions),
            // There is no WebSocket, and a body comes in parts.
            Inbound::Text(_) | Inbound::Binary(_) | Inbound::Ping | Inbound::Pong | Inbound::Close(_) | Inbound::Body(_) => {}
        }
    }

    fn answered(&mut self, answer: Answer, actions: &mut Actions) {
        if let Stage::Operating(operation) = &mut self.stage {
            return operation.answered(&self.context, answer, actions);
        }
        // Nothing else is asked before.
        let Answer::Grant(grant) = answer else { return };
        let Stage::Identifying { token, blame, plan } = std::mem::replace(&mut self.stage, Stage::Answered) else { return };
        if !self.identified(token, grant, blame, actions) {
            return;
        }
        match plan {
            Ok(plan) => self.admitted(plan, actions),
            Err(failure) => self.fail(failure, actions),
        }
    }

    fn worked(&mut self, result: Box<dyn Any + Send>, actions: &mut Actions) {
        if let Stage::Operating(operation) = &mut self.stage {
            operation.worked(&self.context, result, actions);
        }
    }

    /// A body may take its time, and so may a worker, and whose session it is log out meanwhile.
    fn noticed(&mut self, notice: &Notice, actions: &mut Actions) {
        let (Notice::Revoked(revocation), Who::User(user)) = (notice, &self.context.who) else { return };
        if !self.context.endpoint().project.loses(revocation, user.token, user.id) {
            return;
        }
        self.context.revoked = true;
        if let Stage::Receiving(..) = &self.stage {
            self.stage = Stage::Answered;
            self.context.reject(Reject::NoToken, actions);
        }
    }

    fn dressed(&self, refusal: Response) -> Response {
        self.context.dressed(refusal)
    }

    fn too_slow(&mut self, actions: &mut Actions) {
        actions.hangup();
    }

    fn draining(&mut self, _actions: &mut Actions) {
        self.context.stopping = true;
    }

    fn collected_bytes(&self) -> usize {
        if let Stage::Receiving(_, intake) = &self.stage { intake.held_bytes() } else { self.collected }
    }

    fn accepts_input(&self) -> bool {
        matches!(self.stage, Stage::Receiving(..))
    }
}
