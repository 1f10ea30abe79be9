//! An answer without end: streaming and eventsource.

use super::encoders::{Encoding, comment};
use super::payload;
use super::rate::Begun;
use super::reason::Reason;
use super::shared::{Origin, Shared, Side, control_id};
use crate::access::Grant;
use crate::exchange::{Answer, Joined, Question, Refusal, SubscriptionId};
use crate::http::response::Response;
use crate::message::{Message, TopicName};
use crate::session::{Actions, ConnectionLimits, Inbound, Session};
use std::sync::Arc;
use std::time::Duration;

/// A subscriber of an endless body. The reactor writes its messages.
pub struct Stream {
    shared: Arc<Shared>,
    grant: Option<Arc<Grant>>,
    begun: Begun,
    origin: Origin,
    form: Form,
    stage: Stage,
}

const _: () = assert!(size_of::<Stream>() == 24, "one idle stream is one small allocation");

/// What the body looks like; chunked unless the client speaks HTTP/1.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Stream { chunked: bool },
    Eventsource { chunked: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No byte was sent: refusals are still answers.
    Joining,
    Flowing,
    /// Like `Flowing`; asked for the position that the next ping will carry.
    Asking,
}

impl Form {
    pub fn encoding(self, shared: &Shared) -> &Encoding {
        match self {
            Form::Stream { chunked: true } => &shared.encodings.stream_chunked,
            Form::Stream { chunked: false } => &shared.encodings.stream_plain,
            Form::Eventsource { chunked: true } => &shared.encodings.eventsource_chunked,
            Form::Eventsource { chunked: false } => &shared.encodings.eventsource_plain,
        }
    }

    fn chunked(self) -> bool {
        match self {
            Form::Stream { chunked } | Form::Eventsource { chunked } => chunked,
        }
    }
}

impl Stream {
    pub fn new(shared: Arc<Shared>, grant: Option<Arc<Grant>>, origin: Origin, form: Form, now_micros: u64) -> Stream {
        let begun = Begun::new(now_micros, shared.options.connection_ttl);
        Stream { shared, grant, begun, origin, form, stage: Stage::Joining }
    }

    fn send(&self, bytes: &[u8], actions: &mut Actions) {
        if !bytes.is_empty() {
            actions.send(Shared::part(bytes, self.form.chunked()));
        }
    }

    /// The footer and the last chunk.
    fn end(&self, actions: &mut Actions) {
        let footer = &self.shared.options.footer_template;
        match self.form {
            _ if footer.is_empty() => {}
            Form::Stream { .. } => self.send(footer.as_bytes(), actions),
            Form::Eventsource { .. } => self.send(&comment(footer), actions),
        }
        actions.finish();
    }

    fn sleep(&self, ping_due: u64, actions: &mut Actions) {
        let options = &self.shared.options;
        let pings = (!options.ping_interval.is_zero()).then_some(ping_due);
        let ends = (!options.connection_ttl.is_zero()).then(|| self.begun.ends_at(actions.now.micros, options.connection_ttl));
        if let Some(next) = pings.into_iter().chain(ends).min() {
            actions.wake_at(next);
        }
    }
}

impl Session for Stream {
    fn limits(&self) -> &ConnectionLimits {
        &self.shared.http_limits
    }

    fn received(&mut self, _inbound: Inbound<'_>, _actions: &mut Actions) {}

    fn joined(&mut self, joined: &Joined, actions: &mut Actions) {
        let options = &self.shared.options;
        let content_type = match self.form {
            Form::Stream { .. } => options.content_type.clone(),
            Form::Eventsource { .. } => "text/event-stream; charset=utf-8".to_owned(),
        };
        let response = Response::new(200).content_type(content_type);
        let mut response = self.shared.dressed(response, self.origin, Side::Subscriber);
        if joined.gap {
            response = response.field("X-Fanwire-Gap", "1");
        }
        actions.begin(response);
        match self.form {
            Form::Stream { .. } => self.send(options.header_template.as_bytes(), actions),
            Form::Eventsource { .. } => self.send(&comment(&options.header_template), actions),
        }
        self.stage = Stage::Flowing;
        self.sleep(actions.now.after(options.ping_interval), actions);
    }

    fn refused(&mut self, refusal: Refusal, actions: &mut Actions) {
        actions.respond(self.shared.refusal(refusal.into(), self.origin, Side::Subscriber));
    }

    fn removed(&mut self, _id: SubscriptionId, _message: &Arc<Message>, remaining: usize, actions: &mut Actions) {
        if remaining == 0 {
            self.end(actions);
        }
    }

    fn answered(&mut self, answer: Answer, actions: &mut Actions) {
        match (self.stage, answer) {
            (Stage::Asking, Answer::Head(head)) => {
                self.stage = Stage::Flowing;
                // What it has been served up to is no longer the head once it fell behind.
                if !actions.catching_up {
                    let options = &self.shared.options;
                    let text = payload::read(options.payload, options.ping_text.as_bytes()).unwrap_or_default();
                    let ping = self.shared.control(control_id::PING, head.position(), text);
                    actions.send(self.form.encoding(&self.shared).once(&ping));
                }
            }
            (Stage::Asking, Answer::Refused(_)) => self.stage = Stage::Flowing,
            (Stage::Joining | Stage::Flowing | Stage::Asking, _) => {}
        }
    }

    fn woken(&mut self, actions: &mut Actions) {
        let ttl: Duration = self.shared.options.connection_ttl;
        let now = actions.now.micros;
        if !ttl.is_zero() && self.begun.ends_at(now, ttl) <= now {
            return self.end(actions);
        }
        let interval = self.shared.options.ping_interval.as_micros() as u64;
        let mut ping_due = actions.sent_at + interval;
        if ping_due <= now {
            ping_due = now + interval;
            if interval > 0 && !actions.catching_up {
                match self.form {
                    Form::Stream { .. } => {
                        self.stage = Stage::Asking;
                        actions.ask(Question::Head);
                    }
                    Form::Eventsource { .. } => self.send(b": -1\n", actions),
                }
            }
        }
        self.sleep(ping_due, actions);
    }

    fn too_slow(&mut self, actions: &mut Actions) {
        actions.hangup();
    }

    fn draining(&mut self, actions: &mut Actions) {
        match self.stage {
            Stage::Joining => {
                actions.respond(self.shared.refusal(Reason::Busy, self.origin, Side::Subscriber).closing());
            }
            Stage::Flowing | Stage::Asking => self.end(actions),
        }
    }

    fn review(&mut self, topics: &[(SubscriptionId, TopicName)], actions: &mut Actions) {
        if let Err(reason) = self.shared.review(&self.grant, topics, actions.now.unix_seconds()) {
            match self.stage {
                Stage::Joining => actions.respond(self.shared.refusal(reason, self.origin, Side::Subscriber)),
                Stage::Flowing | Stage::Asking => actions.finish(),
            }
        }
    }
}
