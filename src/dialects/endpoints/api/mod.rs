//! The dialect over HTTP: records and accounts (specification, sections 7 and 8).
//!
//! What a request is for is a [`Plan`], made of its head; a [`Call`] finds out who asks, takes the body, and has the plan's
//! [`Operation`](call::Operation) done.

mod accounts;
mod call;
mod change;
mod creation;
mod intake;
mod reading;
mod removal;
mod sessions;

use super::admission::Asked;
use super::checks::{Reject, needs_token};
use super::cors::Cors;
use super::failure::{Failure, METHODS};
use super::parameters::{self, Session};
use super::shared::{Endpoint, Live};
use super::strategy::Strategy;
use super::token::AccessToken;
use crate::access::tokens::Source;
use crate::http::body::BodyError;
use crate::http::response::Response;
use crate::record::ChangeKind;
use crate::session::{Actions, Opening};
use accounts::Registration;
use call::{Call, Context, Plan};
use change::Change;
use creation::Creation;
use intake::Intake;
use reading::Reading;
use removal::Removal;
use sessions::{LoggingIn, LoggingOut};
use std::sync::Arc;

/// What requests have in common.
#[derive(Clone)]
pub struct Api {
    pub live: Live,
    /// Of ids, tokens and salts.
    pub source: Arc<Source>,
}

impl Api {
    pub fn open(&self, asked: &Asked<'_>, actions: &mut Actions) -> Opening {
        let cors = asked.cors();
        let opened = self.admit(asked, cors.clone(), actions);
        opened.unwrap_or_else(|refusal| Opening::Respond(cors.apply(refusal)))
    }

    pub fn body_refused(refused: BodyError) -> Response {
        let failure = match refused {
            BodyError::TooLarge => Failure::BodyTooLarge,
            BodyError::Malformed => Failure::BodyNotValid,
        };
        failure.response()
    }

    /// # Errors
    /// What is answered at once.
    fn admit(&self, asked: &Asked<'_>, cors: Cors, actions: &mut Actions) -> Result<Opening, Response> {
        let (request, method) = (asked.request, asked.request.head.method);
        asked.let_in().map_err(Reject::response)?;
        if !METHODS.split(", ").any(|known| known == method) {
            return Err(Failure::MethodNotAllowed.response());
        }
        let needs_token = |endpoint: &Endpoint| needs_token(&endpoint.options, method, asked.query.is_on("logout"));
        let admitted = asked.admit(needs_token).map_err(Reject::response)?;
        if method == "OPTIONS" {
            return Ok(Opening::Respond(cors.preflight()));
        }
        let plan = plan(asked, admitted.place.endpoint());
        let context = Context::new(admitted.place, self.source.clone(), cors);
        Call::open(context, admitted.caller, admitted.blame, plan, request, actions)
    }
}

/// What a request is for.
fn plan(asked: &Asked<'_>, endpoint: &Arc<Endpoint>) -> Result<Plan, Failure> {
    let (head, query, auth) = (asked.request.head, &asked.query, endpoint.options.auth);
    let intake = || Intake::of(head, endpoint);
    match head.method {
        "GET" | "HEAD" => Ok(Plan::without_body(Reading::new(parameters::Reading::read(query)?))),
        "POST" => match Session::read(query, auth)? {
            Session::None if !auth => Ok(Plan::with_body(Creation, intake()?)),
            Session::None if !endpoint.options.registration => Err(Failure::RegistrationClosed),
            Session::None => Ok(Plan::with_body(Registration::new(), intake()?)),
            Session::Login { cookie } => Ok(Plan::with_body(LoggingIn::new(cookie, asked.request), intake()?)),
            Session::Logout => {
                let service = &endpoint.shared.options;
                Ok(Plan::without_body(LoggingOut::new(head, AccessToken::of(head, query, service), service)))
            }
        },
        "PUT" => {
            let (target, strategy) = (parameters::target(query)?, parameters::strategy(query)?);
            Ok(Plan::with_body(Change::new(target, ChangeKind::Put, strategy, auth), intake()?))
        }
        "PATCH" => {
            let target = parameters::target(query)?;
            Ok(Plan::with_body(Change::new(target, ChangeKind::Patch, Strategy::Patch, auth), intake()?))
        }
        "DELETE" => Ok(Plan::without_body(Removal::new(parameters::target(query)?))),
        _ => Err(Failure::MethodNotAllowed),
    }
}

#[cfg(test)]
mod tests;
