//! `/pub`: publishing, deleting and looking at channels; and `/channels-stats`.

use super::payload;
use super::reason::Reason;
use super::report::{self, Format};
use super::shared::{Origin, Shared, Side};
use crate::exchange::{Answer, Entry, Refusal, Report, Selection};
use crate::http::response::Response;
use crate::message::{EventFields, TopicName};
use crate::session::{Actions, ConnectionLimits, Inbound, Session};
use std::borrow::Cow;
use std::sync::Arc;

/// A request of a backend, from its head to its answer.
pub struct Publisher {
    shared: Arc<Shared>,
    origin: Origin,
    side: Side,
    task: Task,
    stopping: bool,
}

pub enum Task {
    /// POST and PUT.
    Publish { channels: Vec<TopicName>, event: Option<Box<EventFields>> },
    /// DELETE.
    Delete { channels: Vec<TopicName> },
    /// GET; with a list of names the answer depends on how many of them exist.
    Look { shape: Shape, format: Format, media: Cow<'static, str> },
}

/// What statistics show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Summary,
    /// None: 404; one: single form; several: group form.
    Known,
    /// The group form, however many.
    Group,
}

impl Publisher {
    pub fn new(shared: Arc<Shared>, origin: Origin, side: Side, task: Task) -> Publisher {
        Publisher { shared, origin, side, task, stopping: false }
    }

    fn body_came(&mut self, body: &[u8], actions: &mut Actions) -> Result<(), Reason> {
        let options = &self.shared.options;
        match &mut self.task {
            Task::Publish { channels, event } => {
                let text: Arc<[u8]> = payload::read(options.payload, body)?.into();
                let report = options.info_on_publish.then(|| Selection::Names(channels.clone()));
                let entry = |topic: &TopicName| Entry {
                    topic: topic.clone(),
                    payload: text.clone(),
                    store: options.store,
                    event: event.clone(),
                    key: None,
                    except: None,
                };
                actions.publish(channels.iter().map(entry).collect(), report);
            }
            Task::Delete { channels } => {
                let text = payload::deletion(options.payload, body)?;
                actions.delete(std::mem::take(channels), text.into());
            }
            Task::Look { .. } => {}
        }
        Ok(())
    }

    fn respond(&self, mut response: Response, actions: &mut Actions) {
        response.close = self.stopping;
        actions.respond(response);
    }

    fn empty(&self, status: u16) -> Response {
        self.shared.dressed(Response::new(status), self.origin, self.side)
    }

    fn published(&self, channels: &[TopicName], report: Option<&Report>) -> Response {
        let body = match (report, channels) {
            (None, _) => return self.empty(200),
            (Some(report), [_]) => match report.rows.first() {
                Some(row) => report::single(Format::Json, row),
                // Deleted again between the two: there is nothing to tell.
                None => return self.empty(200),
            },
            (Some(report), _) => report::group(Format::Json, &self.shared.host, report),
        };
        self.filled("application/json".into(), body)
    }

    fn looked(&self, shape: Shape, format: Format, media: Cow<'static, str>, report: &Report) -> Response {
        let body = match (shape, &report.rows[..]) {
            (Shape::Summary, _) => report::summary(format, &self.shared.host, report),
            (Shape::Known, []) => return self.empty(404),
            (Shape::Known, [row]) => report::single(format, row),
            (Shape::Known | Shape::Group, _) => report::group(format, &self.shared.host, report),
        };
        self.filled(media, body)
    }

    fn filled(&self, media: Cow<'static, str>, body: String) -> Response {
        self.shared.dressed(Response::new(200).content_type(media), self.origin, self.side).body(body)
    }

    fn refuse(&self, reason: Reason, actions: &mut Actions) {
        self.respond(self.shared.refusal(reason, self.origin, self.side), actions);
    }
}

impl Session for Publisher {
    fn limits(&self) -> &ConnectionLimits {
        &self.shared.http_limits
    }

    fn received(&mut self, inbound: Inbound<'_>, actions: &mut Actions) {
        match inbound {
            Inbound::Body(body) => {
                if let Err(reason) = self.body_came(&body, actions) {
                    self.refuse(reason, actions);
                }
            }
            Inbound::Text(_)
            | Inbound::Binary(_)
            | Inbound::Ping
            | Inbound::Pong
            | Inbound::Close(_)
            | Inbound::Part(_)
            | Inbound::End => {}
        }
    }

    fn refused(&mut self, refusal: Refusal, actions: &mut Actions) {
        self.refuse(refusal.into(), actions);
    }

    fn answered(&mut self, answer: Answer, actions: &mut Actions) {
        let response = match (&self.task, answer) {
            (_, Answer::Refused(refusal)) => return self.refuse(refusal.into(), actions),
            (Task::Publish { channels, .. }, Answer::Published { report, .. }) => self.published(channels, report.as_deref()),
            (Task::Delete { .. }, Answer::Deleted(0)) => self.empty(404),
            (Task::Delete { .. }, Answer::Deleted(_)) => self.empty(200).field("X-Nginx-PushStream-Explain", "Channel deleted."),
            (Task::Look { shape, format, media }, Answer::Report(report)) => self.looked(*shape, *format, media.clone(), &report),
            (Task::Publish { .. } | Task::Delete { .. } | Task::Look { .. }, _) => return,
        };
        self.respond(response, actions);
    }

    fn too_slow(&mut self, actions: &mut Actions) {
        actions.hangup();
    }

    /// What has begun is answered; the connection ends with it.
    fn draining(&mut self, _actions: &mut Actions) {
        self.stopping = true;
    }
}
