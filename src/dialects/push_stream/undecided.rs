//! A request with too many wildcard channels where only known channels may be subscribed to: which refusal comes first
//! depends on what the hub knows.

use super::reason::Reason;
use super::shared::{Farewell, Origin, Shared, Side};
use crate::exchange::{Answer, Refusal};
use crate::session::{Actions, ConnectionLimits, Inbound, Session};
use std::sync::Arc;

/// Waits for the rows of the ordinary channels, then refuses.
pub struct Undecided {
    shared: Arc<Shared>,
    origin: Origin,
    websocket: bool,
    ordinary: usize,
}

impl Undecided {
    pub fn new(shared: Arc<Shared>, origin: Origin, websocket: bool, ordinary: usize) -> Undecided {
        Undecided { shared, origin, websocket, ordinary }
    }

    fn refuse(&self, reason: Reason, actions: &mut Actions) {
        if !self.websocket {
            return actions.respond(self.shared.refusal(reason, self.origin, Side::Subscriber));
        }
        match self.shared.farewell(reason, self.origin) {
            Farewell::Respond(response) => actions.respond(response),
            Farewell::Close(code, text) => actions.close(Some(code), text),
        }
    }
}

impl Session for Undecided {
    fn limits(&self) -> &ConnectionLimits {
        &self.shared.http_limits
    }

    fn received(&mut self, _inbound: Inbound<'_>, _actions: &mut Actions) {}

    fn refused(&mut self, refusal: Refusal, actions: &mut Actions) {
        self.refuse(refusal.into(), actions);
    }

    fn answered(&mut self, answer: Answer, actions: &mut Actions) {
        match answer {
            Answer::Report(report) => {
                let known = report.rows.iter().filter(|row| row.stored > 0).count();
                let reason = if known < self.ordinary { Reason::CannotCreate } else { Reason::TooMuchWildcard };
                self.refuse(reason, actions);
            }
            Answer::Refused(refusal) => self.refuse(refusal.into(), actions),
            _ => {}
        }
    }

    fn too_slow(&mut self, actions: &mut Actions) {
        actions.hangup();
    }

    fn draining(&mut self, actions: &mut Actions) {
        self.refuse(Reason::Busy, actions);
    }
}
