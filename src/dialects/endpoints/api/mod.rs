//! The dialect over HTTP: records and accounts (specification, sections 7 and 8).

use super::admission::Asked;
use super::checks::needs_token;
use super::shared::Live;
use crate::access::tokens::Source;
use crate::http::response::{Response, error};
use crate::session::{Actions, Opening};
use std::sync::Arc;

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// What requests have in common.
#[derive(Clone)]
pub struct Api {
    pub live: Live,
    /// Of ids, tokens and salts.
    pub source: Arc<Source>,
}

impl Api {
    pub fn open(&self, asked: &Asked<'_>, _actions: &mut Actions) -> Opening {
        let method = asked.request.head.method;
        let not_allowed = || Opening::Respond(error(405, "Method not allowed.").field("Allow", METHODS.join(", ")));
        if !METHODS.contains(&method) {
            return not_allowed();
        }
        match asked.admit(|endpoint| needs_token(&endpoint.options, method, asked.query.is_on("logout"))) {
            Ok(_) => not_allowed(),
            Err(reject) => Opening::Respond(reject.response()),
        }
    }

    /// The answer to a body that is too large.
    pub fn body_too_large() -> Response {
        error(413, "Body too large.")
    }
}
