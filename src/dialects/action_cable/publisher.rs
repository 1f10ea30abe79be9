//! `POST /api/events`, and `POST /_broadcast` in AnyCable's format: one request, one answer.

use super::frames;
use super::ingest::{self, Broadcast, Publication, Rejection};
use super::shared::Shared;
use crate::exchange::{Answer, Entry, Notice, Question, Refusal, SubscriptionId};
use crate::http::response::Response;
use crate::message::TopicName;
use crate::session::{Actions, ConnectionLimits, Inbound, Session};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Events,
    Broadcast,
}

pub struct Publisher {
    shared: Arc<Shared>,
    route: Route,
}

impl Publisher {
    pub fn new(shared: Arc<Shared>, route: Route) -> Publisher {
        Publisher { shared, route }
    }

    fn body(&self, body: &[u8], actions: &mut Actions) -> Result<(), Rejection> {
        let rules = self.shared.live.rules.load();
        let publications = match self.route {
            Route::Events => ingest::events(&rules, body)?,
            Route::Broadcast => match ingest::broadcast(&rules, body)? {
                Broadcast::Publish(publications) => publications,
                Broadcast::Disconnect { name, reconnect } => {
                    actions.ask(Question::Announce(Notice::Disconnect { name: name.into(), reconnect }));
                    return Ok(());
                }
            },
        };
        let own = |publication: &Publication| Some(&publication.stream) == self.shared.events_topic.as_ref();
        if let Some(index) = publications.iter().position(own) {
            return Err(Rejection { error: "stream name is reserved".into(), index });
        }
        actions.publish(publications.into_iter().map(entry).collect(), None);
        Ok(())
    }
}

fn entry(publication: Publication) -> Entry {
    Entry {
        topic: publication.stream,
        payload: publication.payload,
        store: !publication.transient,
        event: None,
        key: None,
        // A text that is no conversation's excludes nobody.
        except: publication.exclude_socket.as_deref().and_then(frames::conversation),
    }
}

impl Session for Publisher {
    fn limits(&self) -> &ConnectionLimits {
        &self.shared.limits.usual
    }

    fn received(&mut self, inbound: Inbound<'_>, actions: &mut Actions) {
        let Inbound::Body(body) = inbound else { return };
        if let Err(rejection) = self.body(&body, actions) {
            actions.respond(json(422).body(rejection.body()));
        }
    }

    fn answered(&mut self, answer: Answer, actions: &mut Actions) {
        let response = match answer {
            Answer::Published { published, .. } => {
                self.shared.live.counters.publications.count(published.len() as u64);
                let seq = published.last().map_or(0, |last| last.stamp.seq.0);
                match self.route {
                    Route::Events => json(201).body(format!("{{\"published\":{},\"seq\":{seq}}}", published.len())),
                    Route::Broadcast => Response::new(201).field("X-Fanwire-Seq", seq.to_string()),
                }
            }
            Answer::Announced => Response::new(201),
            Answer::Refused(refusal) => refused(refusal),
            // Nothing else was asked.
            _ => return,
        };
        actions.respond(response);
    }

    fn too_slow(&mut self, actions: &mut Actions) {
        actions.hangup();
    }

    fn draining(&mut self, _actions: &mut Actions) {
        // The connection ends with the answer anyway.
    }

    fn review(&mut self, _topics: &[(SubscriptionId, TopicName)], _actions: &mut Actions) {
        // The key counted when the request came.
    }
}

fn json(status: u16) -> Response {
    Response::new(status).content_type("application/json")
}

fn refused(refusal: Refusal) -> Response {
    let why = match refusal {
        Refusal::TooManyTopics => "too many streams",
        Refusal::StorageUnavailable => "storage unavailable",
        Refusal::OutOfMemory => "the budget for stored messages is used up",
        Refusal::Busy | Refusal::TopicMissing | Refusal::TopicFull => "busy",
    };
    json(503).field("Retry-After", "1").body(format!("{{\"error\":\"{why}\"}}"))
}
