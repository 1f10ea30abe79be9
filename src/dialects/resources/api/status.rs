//! `{path}/status`: whether the service is there, and how much of it (specification, section 1.1).

use super::documents::unavailable;
use crate::exchange::{Answer, Question, Report, Selection};
use crate::http::response::{Response, json};
use crate::session::{Actions, ConnectionLimits, Inbound, Session};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The answer that tells no numbers.
pub fn brief(draining: bool) -> Response {
    json(code(draining), format!("{{\"status\":\"{}\",\"service\":\"realtime\"}}", word(draining)))
}

fn code(draining: bool) -> u16 {
    if draining { 503 } else { 200 }
}

fn word(draining: bool) -> &'static str {
    if draining { "draining" } else { "ok" }
}

/// A request that waits for the numbers.
pub struct Status {
    limits: ConnectionLimits,
    connections: u64,
    draining: bool,
}

impl Status {
    /// `connections` are the dialect's open ones.
    pub fn new(limits: ConnectionLimits, connections: u64, draining: bool, actions: &mut Actions) -> Status {
        actions.ask(Question::Report(Selection::Sums));
        Status { limits, connections, draining }
    }

    fn full(&self, report: &Report, uptime_millis: u64) -> Response {
        let (status, connections) = (word(self.draining), self.connections);
        let (subscriptions, documents) = (report.document_subscriptions, report.documents);
        json(
            code(self.draining),
            format!(
                "{{\"status\":\"{status}\",\"service\":\"realtime\",\"version\":\"{VERSION}\",\"uptimeMs\":{uptime_millis},\
                 \"connections\":{connections},\"subscriptions\":{subscriptions},\"resources\":{documents}}}"
            ),
        )
    }
}

impl Session for Status {
    fn limits(&self) -> &ConnectionLimits {
        &self.limits
    }

    fn received(&mut self, _inbound: Inbound<'_>, _actions: &mut Actions) {}

    fn answered(&mut self, answer: Answer, actions: &mut Actions) {
        let mut response = match answer {
            Answer::Report(report) => self.full(&report, actions.now.uptime_millis()),
            _ => unavailable(),
        };
        response.close = self.draining;
        actions.respond(response);
    }

    fn too_slow(&mut self, actions: &mut Actions) {
        actions.hangup();
    }

    fn draining(&mut self, _actions: &mut Actions) {
        self.draining = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{BEGINS, Now};
    use crate::session::Action;
    use std::time::Duration;

    fn text(response: Response) -> (u16, String) {
        (response.status, String::from_utf8(response.body).unwrap())
    }

    #[test]
    fn rs_21_rs_22_the_numbers_stand_in_their_order() {
        let report = Report {
            unix_seconds: 1,
            uptime_seconds: 2,
            topics: 3,
            wildcard_topics: 4,
            published: 5,
            stored: 6,
            documents: 7,
            document_subscriptions: 8,
            reactors: Vec::new(),
            rows: Vec::new(),
        };
        let limits = ConnectionLimits {
            message_bytes_max: 1,
            message_fragments_max: 1,
            outbox_bytes_max: 1,
            no_progress: Duration::MAX,
            close_time: Duration::MAX,
            user_timeout: None,
        };
        for (draining, code, word) in [(false, 200, "ok"), (true, 503, "draining")] {
            let mut actions = Actions::new(Now { micros: BEGINS + 12_999, unix_micros: 0 });
            let mut status = Status::new(limits.clone(), 9, draining, &mut actions);
            assert!(matches!(actions.drain().next(), Some(Action::Ask(Question::Report(Selection::Sums)))));
            status.answered(Answer::Report(Box::new(report.clone())), &mut actions);
            let Some(Action::Respond(response)) = actions.drain().next() else { panic!("the status") };
            assert_eq!(response.close, draining);
            let expected = format!(
                "{{\"status\":\"{word}\",\"service\":\"realtime\",\"version\":\"{VERSION}\",\"uptimeMs\":12,\
                 \"connections\":9,\"subscriptions\":8,\"resources\":7}}"
            );
            assert_eq!(text(response), (code, expected));
            assert_eq!(text(brief(draining)), (code, format!("{{\"status\":\"{word}\",\"service\":\"realtime\"}}")));
        }
    }
}
