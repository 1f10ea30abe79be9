//! The dialect over HTTP: documents, tokens and the status, each request with its checks in their order
//! (specification, sections 1, 8 and 9).

mod caller;
mod documents;
mod precondition;
mod status;
mod tokens;
mod undecided;

use super::claims::Claims;
use super::handshake;
use super::name::{Kind, Name};
use super::route::Route;
use super::shared::{Live, Project, Shared};
use crate::access::tokens::Source;
use crate::http::body::BodyError;
use crate::http::head::Head;
use crate::http::response::{Response, error};
use crate::http::target;
use crate::session::{Actions, BodyMode, Opening, Request, Session};
use caller::Caller;
use documents::{Documents, Subject};
use precondition::Preconditions;
use status::Status;
use std::sync::Arc;
use tokens::Tokens;
use undecided::Undecided;

/// Bodies of routes that take none are dropped up to this size.
const IDLE_BODY_BYTES_MAX: u64 = 64 << 10;

/// What requests of one configuration have in common.
pub struct Api {
    pub shared: Arc<Shared>,
    pub live: Live,
    pub tokens: Arc<Source>,
}

impl Api {
    /// How large the body of a request may be, and what is said to a larger one, and to one that breaks a rule.
    pub fn body_limit(&self, route: Route<'_>) -> (u64, fn(BodyError) -> Response) {
        match route {
            Route::Resource { .. } => (self.shared.options.limits.document_bytes_max, documents::body_refused),
            Route::Tokens => (tokens::BODY_BYTES_MAX, tokens::body_refused),
            Route::Socket | Route::Status | Route::Unknown => (IDLE_BODY_BYTES_MAX, tokens::body_refused),
        }
    }

    pub fn status(&self, request: &Request<'_>, actions: &mut Actions) -> Opening {
        if !self.shared.options.status_details {
            return Opening::Respond(status::brief(request.draining));
        }
        let limits = self.shared.limits.usual.clone();
        hold(Status::new(limits, self.shared.connections(), request.draining, actions), false)
    }

    pub fn resource(&self, kind: Kind, id: &str, request: &Request<'_>, actions: &mut Actions) -> Opening {
        self.authorized(request, actions, |project, claims, actions| {
            open_resource(request.head, kind, id, project, claims, actions)
        })
    }

    pub fn tokens(&self, request: &Request<'_>, actions: &mut Actions) -> Opening {
        self.authorized(request, actions, |project, _, _| self.open_tokens(request.head, project))
    }

    /// Goes on with `then` if a service key of the project asks.
    fn authorized(
        &self,
        request: &Request<'_>,
        actions: &mut Actions,
        then: impl FnOnce(&Arc<Project>, &Claims, &mut Actions) -> Result<Opening, Response>,
    ) -> Opening {
        if let Err(reject) = handshake::let_in(request) {
            return Opening::Respond(reject.response());
        }
        let opened = match Caller::judge(request.head, &self.live, &self.shared, request.now) {
            Ok(Caller::Service { project, claims }) => then(&project, &claims, actions),
            Ok(Caller::Bearer(token)) => Ok(hold(Undecided::new(token, self.shared.limits.usual.clone(), actions), false)),
            Err(response) => Err(response),
        };
        opened.unwrap_or_else(Opening::Respond)
    }

    fn open_tokens(&self, head: &Head<'_>, project: &Arc<Project>) -> Result<Opening, Response> {
        check_content_type(head, false)?;
        let method = if head.method == "POST" { tokens::Method::Issue } else { tokens::Method::Revoke };
        let (limits, ttl) = (self.shared.limits.usual.clone(), self.shared.options.token_ttl);
        let group = project.group.as_str().into();
        Ok(hold(Tokens::new(self.tokens.clone(), limits, group, method, ttl), true))
    }
}

fn open_resource(
    head: &Head<'_>,
    kind: Kind,
    id: &str,
    project: &Arc<Project>,
    claims: &Claims,
    actions: &mut Actions,
) -> Result<Opening, Response> {
    let shared = &project.shared;
    let id = target::decode(id).and_then(|id| String::from_utf8(id).ok());
    let name = id.and_then(|id| Name::parse(kind, &id, &shared.options.collection_names));
    // Nobody has collections of his own here: the long form names their owner.
    let resource = name.and_then(|name| name.of(None)).ok_or_else(|| error(400, "Invalid resource id"))?;
    let method = documents::Method::of(head.method);
    if method.takes_body() {
        check_content_type(head, method == documents::Method::Patch)?;
    }
    let preconditions = match method {
        documents::Method::Get => Preconditions::of_read(head),
        documents::Method::Put | documents::Method::Patch | documents::Method::Delete => Preconditions::of_write(head),
    };
    let subject = Subject {
        topic: project.topic(claims.world.as_deref(), &resource),
        resource,
        group: project.counted(),
        limits: shared.limits.usual.clone(),
        document_bytes_max: shared.options.limits.document_bytes_max as usize,
        skip_equal: shared.options.skip_equal_writes,
    };
    Ok(hold(Documents::new(subject, method, preconditions, actions), method.takes_body()))
}

fn check_content_type(head: &Head<'_>, patch: bool) -> Result<(), Response> {
    let is = |known: &str| head.media_type().is_some_and(|given| given.eq_ignore_ascii_case(known));
    if is("application/json") || patch && is("application/merge-patch+json") {
        return Ok(());
    }
    Err(error(415, "Unsupported content type"))
}

fn hold(session: impl Session + 'static, takes_body: bool) -> Opening {
    let body = if takes_body { BodyMode::Whole } else { BodyMode::Dropped };
    Opening::Hold { session: Box::new(session), body }
}
