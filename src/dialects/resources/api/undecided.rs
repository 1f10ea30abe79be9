//! A bearer that is no service key: a user's token is forbidden here, any other is unknown.

use super::super::handshake::Reject;
use super::caller::refusal;
use crate::exchange::{Answer, Question, TokenDigest};
use crate::http::response::error;
use crate::session::{Actions, ConnectionLimits, Inbound, Session};

pub struct Undecided {
    limits: ConnectionLimits,
    stopping: bool,
}

impl Undecided {
    pub fn new(token: TokenDigest, limits: ConnectionLimits, actions: &mut Actions) -> Undecided {
        actions.ask(Question::Grant(token));
        Undecided { limits, stopping: false }
    }
}

impl Session for Undecided {
    fn limits(&self) -> &ConnectionLimits {
        &self.limits
    }

    fn received(&mut self, _inbound: Inbound<'_>, _actions: &mut Actions) {}

    fn answered(&mut self, answer: Answer, actions: &mut Actions) {
        let mut response = match answer {
            Answer::Grant(Some(_)) => error(403, "Forbidden"),
            _ => refusal(Reject::InvalidCredentials),
        };
        response.close = self.stopping;
        actions.respond(response);
    }

    fn too_slow(&mut self, actions: &mut Actions) {
        actions.hangup();
    }

    fn draining(&mut self, _actions: &mut Actions) {
        self.stopping = true;
    }
}
