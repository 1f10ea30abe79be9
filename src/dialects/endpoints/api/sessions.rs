//! Who logs in, and out (specification, section 8).

use super::super::account::{self, Login};
use super::super::checks::Reject;
use super::super::cookies;
use super::super::failure::Failure;
use super::super::failures::origin_of;
use super::super::frame::{self, Shape};
use super::super::options::Service;
use super::super::password;
use super::super::token::AccessToken;
use super::accounts::sent;
use super::call::{Context, Operation, Who};
use super::intake::Body;
use crate::access::digest;
use crate::exchange::{Answer, Grant, Question, Revocation, TokenDigest};
use crate::http::head::Head;
use crate::http::response::{Response, json};
use crate::record::Record;
use crate::session::{Actions, Request, WorkQueue};
use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;

/// Whether a worker found the password right.
type Verified = bool;

/// ```text
/// begin ──name──▶ Looking ──hub──▶ Verifying ──worker──▶ Issuing ──hub──▶ Looking again ──hub──▶ answered
///    └────────── nobody has such a name ──▲                                    └─ changed meanwhile ─▶ TakingBack
/// ```
/// A token counts for a user who is still there, with the password that was shown: that is looked at once more when no change can
/// miss the token, and before anybody knows it.
pub struct LoggingIn {
    cookie: bool,
    /// Whose failures are counted.
    peer: IpAddr,
    name: Option<Box<str>>,
    password: String,
    user: Option<Arc<Record>>,
    token: String,
    stage: Stage,
}

enum Stage {
    Begins,
    Looking,
    Verifying,
    Issuing,
    LookingAgain,
    TakingBack,
}

impl LoggingIn {
    pub fn new(cookie: bool, request: &Request<'_>) -> LoggingIn {
        LoggingIn {
            cookie,
            peer: origin_of(request.peer),
            name: None,
            password: String::new(),
            user: None,
            token: String::new(),
            stage: Stage::Begins,
        }
    }

    /// Whether so many attempts have failed that the next one is not looked at.
    fn is_limited(&self, context: &Context, now: u64) -> bool {
        let endpoint = context.endpoint();
        let (failed, most) = (&endpoint.shared.failed, endpoint.shared.options.limits.login_failures_per_minute);
        let as_known = |name: &str| failed.logins_as.is_full(&(endpoint.topic.clone(), name.into()), most, now);
        failed.logins_from.is_full(&self.peer, most, now) || self.name.as_deref().is_some_and(as_known)
    }

    fn failed(&self, context: &Context, actions: &mut Actions) {
        let (endpoint, now) = (context.endpoint(), actions.now.micros);
        let (failed, most) = (&endpoint.shared.failed, endpoint.shared.options.limits.login_failures_per_minute);
        let from = failed.logins_from.count(self.peer, most, now);
        let named = |name: &str| failed.logins_as.count((endpoint.topic.clone(), name.into()), most, now);
        let counts = self.name.as_deref().is_none_or(named) && from;
        // On another reactor somebody may have used up what was left just now.
        let told = if counts { Failure::InvalidCredentials.response() } else { Reject::TooManyRequests.response() };
        context.respond(told, actions);
    }

    fn look(&mut self, context: &Context, stage: Stage, actions: &mut Actions) {
        let Some(name) = self.name.clone() else { return self.verify(actions) };
        self.stage = stage;
        actions.ask(Question::RecordNamed { endpoint: context.endpoint().topic.clone(), name });
    }

    /// Who is unknown has a password that nobody knows: it takes as long.
    fn verify(&mut self, actions: &mut Actions) {
        self.stage = Stage::Verifying;
        let hash = self.hash().map_or(password::NOBODYS.into(), Box::<str>::from);
        let password = std::mem::take(&mut self.password);
        actions.work(WorkQueue::Passwords, move || -> Verified { password::verify(&password, &hash) });
    }

    fn hash(&self) -> Option<&str> {
        self.user.as_ref().and_then(|user| user.account.as_ref()).map(|account| &*account.password)
    }

    fn issue(&mut self, context: &Context, actions: &mut Actions) {
        let Some(user) = &self.user else { return self.failed(context, actions) };
        let endpoint = context.endpoint();
        let Service { session_ttl, sessions_per_user_max, .. } = endpoint.shared.options;
        let until = actions.now.unix_millis().saturating_add(session_ttl.as_millis() as u64);
        let grant = Grant { group: endpoint.project.group.clone(), user: user.id.to_string().into(), until };
        self.token = context.source.token();
        self.stage = Stage::Issuing;
        actions.ask(Question::Issue { token: self.digest(), grant, user_max: sessions_per_user_max });
    }

    fn digest(&self) -> TokenDigest {
        TokenDigest(digest(self.token.as_bytes()))
    }

    fn issued(&mut self, context: &Context, now: Option<Arc<Record>>, actions: &mut Actions) {
        let same = |record: &Arc<Record>| {
            let is_user = self.user.as_ref().is_some_and(|user| user.id == record.id);
            is_user && record.account.as_ref().map(|account| &*account.password) == self.hash()
        };
        let Some(user) = now.filter(same) else {
            self.stage = Stage::TakingBack;
            return actions.ask(Question::Revoke(Revocation::Token(self.digest())));
        };
        let response = json(200, frame::one(&user, Shape::Whole));
        let response = if self.cookie {
            response.field("Set-Cookie", account::cookie(&context.endpoint().shared.options, &self.token))
        } else {
            response.field("Authorization", account::authorization(&self.token))
        };
        context.respond(response, actions);
    }
}

impl Operation for LoggingIn {
    fn begin(&mut self, context: &Context, body: Body, actions: &mut Actions) {
        match sent(body) {
            Ok(sent) => Login { name: self.name, password: self.password } = sent.login(),
            Err(failure) => return context.fail(failure, actions),
        }
        if self.is_limited(context, actions.now.micros) {
            return context.respond(Reject::TooManyRequests.response(), actions);
        }
        self.look(context, Stage::Looking, actions);
    }

    fn answered(&mut self, context: &Context, answer: Answer, actions: &mut Actions) {
        match (&self.stage, answer) {
            (Stage::Looking, Answer::RecordNamed(user)) => {
                self.user = user;
                self.verify(actions);
            }
            (Stage::Verifying, Answer::Refused(_)) => context.fail(Failure::Busy, actions),
            (Stage::Issuing, Answer::Issued) => self.look(context, Stage::LookingAgain, actions),
            (Stage::LookingAgain, Answer::RecordNamed(user)) => self.issued(context, user, actions),
            (Stage::TakingBack, Answer::Announced) => self.failed(context, actions),
            (Stage::Issuing | Stage::TakingBack, Answer::Refused(_)) => context.fail(Failure::StorageUnavailable, actions),
            // Nothing else is asked.
            (Stage::Begins | Stage::Looking | Stage::Verifying | Stage::Issuing | Stage::LookingAgain | Stage::TakingBack, _) => {
            }
        }
    }

    fn worked(&mut self, context: &Context, result: Box<dyn Any + Send>, actions: &mut Actions) {
        match result.downcast::<Verified>() {
            // Others that were verified at the same time may have used up what was left: nobody learns more that way.
            Ok(_) if self.is_limited(context, actions.now.micros) => {
                context.respond(Reject::TooManyRequests.response(), actions);
            }
            Ok(verified) if *verified => self.issue(context, actions),
            Ok(_) => self.failed(context, actions),
            Err(_) => {}
        }
    }
}

pub struct LoggingOut {
    token: AccessToken,
    /// Those of the service that came with the request.
    cookies: Vec<String>,
}

impl LoggingOut {
    pub fn new(head: &Head<'_>, token: AccessToken, service: &Service) -> LoggingOut {
        let came = |name: &&String| cookies::find(head.fields_named("Cookie"), name).is_some();
        let cookies = service.cookie_names.iter().filter(came);
        LoggingOut { token, cookies: cookies.map(|name| account::expired_cookie(service, name)).collect() }
    }
}

impl Operation for LoggingOut {
    fn begin(&mut self, context: &Context, _body: Body, actions: &mut Actions) {
        match (&context.who, self.token) {
            // Whoever comes with the master key needs a token all the same: there is nothing else to end.
            (Who::User(_) | Who::Master(Some(_)), AccessToken::Asks(token)) => {
                actions.ask(Question::Revoke(Revocation::Token(token)));
            }
            _ => context.respond(Reject::NoToken.response(), actions),
        }
    }

    fn answered(&mut self, context: &Context, answer: Answer, actions: &mut Actions) {
        match answer {
            Answer::Announced => {
                let response = Response::new(204).field("Cache-Control", "no-store");
                let cookies = std::mem::take(&mut self.cookies).into_iter();
                context.respond(cookies.fold(response, |response, cookie| response.field("Set-Cookie", cookie)), actions);
            }
            Answer::Refused(_) => context.fail(Failure::StorageUnavailable, actions),
            // Nothing else is asked.
            _ => {}
        }
    }
}
