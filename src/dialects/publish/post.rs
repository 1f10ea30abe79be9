//! `POST /publish`: one request, one publication, one answer.

use super::answer::{Asked, Rejection};
use super::{Publisher, Shared, envelope};
use crate::exchange::Answer;
use crate::exchange::SubscriptionId;
use crate::http::response::Response;
use crate::message::TopicName;
use crate::session::{Actions, ConnectionLimits, Inbound, Session};
use std::sync::Arc;

pub struct Post {
    shared: Arc<Shared>,
    state: State,
    /// The server stops: the connection ends with the answer.
    draining: bool,
}

/// ```text
/// Receiving ──body──▶ Asked ──hub──▶ answered
///     └──────body is wrong───────────────▲
/// ```
enum State {
    Receiving(Publisher),
    Asked(Asked),
}

impl Post {
    pub fn new(shared: Arc<Shared>, publisher: Publisher) -> Post {
        Post { shared, state: State::Receiving(publisher), draining: false }
    }

    fn respond(&self, response: Response, actions: &mut Actions) {
        actions.respond(if self.draining { response.closing() } else { response });
    }
}

impl Session for Post {
    fn limits(&self) -> &ConnectionLimits {
        &self.shared.limits
    }

    fn received(&mut self, inbound: Inbound<'_>, actions: &mut Actions) {
        let (Inbound::Body(body), State::Receiving(publisher)) = (inbound, &self.state) else { return };
        let read = std::str::from_utf8(&body)
            .map_err(|error| Rejection::at(0, 422, format!("not JSON: invalid UTF-8 at byte {}", error.valid_up_to())))
            .and_then(|text| envelope::read(text, &publisher.key, self.shared.events_topic.as_ref()));
        match read {
            Ok((entries, asked)) => {
                self.state = State::Asked(asked);
                actions.publish(entries, None);
            }
            Err(rejection) => self.respond(rejection.response(), actions),
        }
    }

    fn answered(&mut self, answer: Answer, actions: &mut Actions) {
        let State::Asked(asked) = &self.state else { return };
        let response = match answer {
            Answer::Published { published, .. } => {
                Response::new(200).content_type("application/json").body(asked.body(&published))
            }
            Answer::Refused(refusal) => Rejection::from(refusal).response(),
            // Nothing else was asked.
            _ => return,
        };
        self.respond(response, actions);
    }

    fn too_slow(&mut self, actions: &mut Actions) {
        actions.hangup();
    }

    fn draining(&mut self, _actions: &mut Actions) {
        self.draining = true;
    }

    fn review(&mut self, _topics: &[(SubscriptionId, TopicName)], actions: &mut Actions) {
        // What was asked for already is answered: it happened under the old rules.
        let State::Receiving(publisher) = &self.state else { return };
        match self.shared.publisher(publisher.digest) {
            Ok(publisher) => self.state = State::Receiving(publisher),
            Err(rejection) => self.respond(rejection.response().closing(), actions),
        }
    }
}
