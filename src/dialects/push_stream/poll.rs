//! Long polling and short polling: one answer for what is new, or for nothing.

use super::reason::Reason;
use super::shared::{Origin, Shared, Side, control_id};
use crate::access::Grant;
use crate::clock::Now;
use crate::exchange::{Answer, Joined, Question, Refusal, SubscriptionId};
use crate::http::response::Response;
use crate::message::{Message, Stamp, TopicName};
use crate::session::{Actions, ConnectionLimits, Inbound, Session};
use std::sync::Arc;

/// A poll. Joined like every subscriber, so that nothing falls between what is stored and what comes.
///
/// ```text
/// Joining ─ joined ─▶ Reading ─ nothing stored, long ─▶ Waiting ─ message, deletion ─▶ answer
///                        │                                 └─ time is over, stop ─▶ Ending ─ head ─▶ answer
///                        └─ messages, short ─▶ answer
/// ```
pub struct Poll {
    shared: Arc<Shared>,
    grant: Option<Arc<Grant>>,
    callback: Option<Box<str>>,
    /// What the answer is compared with and echoes.
    cursor: Option<(u64, Option<u64>)>,
    body: Vec<u8>,
    newest: Option<(u64, u32)>,
    deleted: Option<Arc<Message>>,
    /// The now cursor of the instant it joined.
    head: (u64, u32),
    deadline: u64,
    origin: Origin,
    long: bool,
    by_event: bool,
    gap: bool,
    stopping: bool,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Joining,
    Reading,
    Waiting,
    /// Asked the hub for the now cursor of the answer.
    Ending,
}

/// What a poll was asked for.
pub struct Wish {
    pub long: bool,
    pub callback: Option<Box<str>>,
    pub cursor: crate::exchange::Cursor,
    pub origin: Origin,
}

/// Whether a name may stand before the bracket of JSONP.
pub fn is_callback(name: &[u8]) -> bool {
    (1..=128).contains(&name.len()) && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.$".contains(byte))
}

impl Poll {
    pub fn new(shared: Arc<Shared>, grant: Option<Arc<Grant>>, wish: Wish, now: Now) -> Poll {
        let deadline = now.after(shared.options.longpoll_ttl);
        Poll {
            shared,
            grant,
            callback: wish.callback,
            cursor: wish.cursor.stamp,
            body: Vec::new(),
            newest: None,
            deleted: None,
            head: (0, 0),
            deadline,
            origin: wish.origin,
            long: wish.long,
            by_event: wish.cursor.event.is_some(),
            gap: false,
            stopping: false,
            stage: Stage::Joining,
        }
    }

    /// Appends a message; false if the body would grow too large, and then nothing was appended.
    fn add(&mut self, message: &Message) -> bool {
        let poll = &self.shared.encodings.poll;
        let part = message.frame(poll.id, &*poll.encoder, || ());
        let separator = match self.callback {
            Some(_) => ",",
            None => &*self.shared.options.message_separator,
        };
        if self.newest.is_some() {
            if (self.body.len() + separator.len() + part.len()) as u64 > self.shared.options.poll_max_bytes {
                return false;
            }
            self.body.extend_from_slice(separator.as_bytes());
        }
        self.body.extend_from_slice(part);
        self.newest = Some(message.stamp.position());
        true
    }

    /// Answers with the messages that were added.
    fn answer_news(&mut self, actions: &mut Actions) {
        let newest = self.newest.unwrap_or_default();
        let position = match self.cursor {
            Some((seconds, tag)) if (seconds, tag.unwrap_or(u64::MAX)) > (newest.0, u64::from(newest.1)) => (seconds, tag),
            _ => (newest.0, Some(u64::from(newest.1))),
        };
        let body = std::mem::take(&mut self.body);
        let body = match &self.callback {
            Some(callback) => [callback.as_bytes(), b"([", &body, b"]);"].concat(),
            None => body,
        };
        let response = self.response(200, position).body(body);
        actions.respond(response);
    }

    /// Answers with one control message, whose stamp is also the answer's.
    fn answer_control(&mut self, message: &Message, actions: &mut Actions) {
        (self.cursor, self.newest) = (None, None);
        self.body.clear();
        self.add(message);
        self.answer_news(actions);
    }

    fn answer_nothing(&self, position: (u64, Option<u64>), actions: &mut Actions) {
        actions.respond(self.response(304, position));
    }

    fn answer_at(&self, head: (u64, u32), actions: &mut Actions) {
        self.answer_nothing((head.0, Some(u64::from(head.1))), actions);
    }

    fn response(&self, status: u16, (seconds, tag): (u64, Option<u64>)) -> Response {
        let content_type = match self.callback {
            Some(_) => "application/javascript".to_owned(),
            None => self.shared.options.content_type.clone(),
        };
        let response = Response::new(status).content_type(content_type).last_modified(seconds);
        let mut response = self.shared.dressed(response, self.origin, Side::Subscriber);
        if let Some(tag) = tag {
            response = response.field("Etag", format!("W/{tag}"));
        }
        if self.gap {
            response = response.field("X-Fanwire-Gap", "1");
        }
        response.close = self.stopping;
        response
    }

    /// Everything stored has been read and there was none.
    fn found_nothing(&mut self, actions: &mut Actions) {
        match (self.long, self.cursor) {
            (false, Some(cursor)) => self.answer_nothing(cursor, actions),
            (false, None) => self.answer_at(self.head, actions),
            (true, _) if self.gap => self.answer_at(self.head, actions),
            (true, _) => match self.deleted.take() {
                Some(message) => self.answer_control(&message, actions),
                None if self.stopping || self.deadline <= actions.now.micros => self.ask_for_the_end(actions),
                None => {
                    self.stage = Stage::Waiting;
                    actions.wake_at(self.deadline);
                }
            },
        }
    }

    fn ask_for_the_end(&mut self, actions: &mut Actions) {
        self.stage = Stage::Ending;
        actions.ask(Question::Head);
    }

    fn refuse(&self, reason: Reason, actions: &mut Actions) {
        let mut response = self.shared.refusal(reason, self.origin, Side::Subscriber);
        response.close = self.stopping;
        actions.respond(response);
    }
}

impl Session for Poll {
    fn limits(&self) -> &ConnectionLimits {
        &self.shared.http_limits
    }

    fn received(&mut self, _inbound: Inbound<'_>, _actions: &mut Actions) {}

    fn joined(&mut self, joined: &Joined, _actions: &mut Actions) {
        self.stage = Stage::Reading;
        self.head = joined.head.position();
        self.gap = joined.gap;
        if joined.foreign {
            self.cursor = None;
        } else if self.by_event {
            // The smaller of event id and cursor was chosen by the hub; an unknown id leaves the cursor alone.
            let resolved = joined.start.map(|(seconds, tag)| (seconds, (tag != u32::MAX).then_some(u64::from(tag))));
            self.cursor = resolved.or(self.cursor);
        }
    }

    fn refused(&mut self, refusal: Refusal, actions: &mut Actions) {
        self.refuse(refusal.into(), actions);
    }

    fn page(&mut self, messages: &[Arc<Message>], complete: bool, actions: &mut Actions) {
        for message in messages {
            if !self.add(message) {
                return self.answer_news(actions);
            }
        }
        match (complete, self.newest) {
            (false, _) => {}
            (true, Some(_)) => self.answer_news(actions),
            (true, None) => self.found_nothing(actions),
        }
    }

    fn delivered(&mut self, _id: SubscriptionId, message: &Arc<Message>, actions: &mut Actions) {
        match self.stage {
            Stage::Waiting | Stage::Ending => {
                self.add(message);
                self.answer_news(actions);
            }
            // Live messages begin after the last page.
            Stage::Joining | Stage::Reading => {}
        }
    }

    fn removed(&mut self, _id: SubscriptionId, message: &Arc<Message>, _remaining: usize, actions: &mut Actions) {
        match self.stage {
            Stage::Joining | Stage::Reading => self.deleted = Some(message.clone()),
            Stage::Waiting | Stage::Ending => self.answer_control(message, actions),
        }
    }

    fn answered(&mut self, answer: Answer, actions: &mut Actions) {
        match (self.stage, answer) {
            (Stage::Ending, Answer::Head(head)) => self.ended(head, actions),
            (Stage::Ending, Answer::Refused(refusal)) => self.refuse(refusal.into(), actions),
            (Stage::Joining | Stage::Reading | Stage::Waiting | Stage::Ending, _) => {}
        }
    }

    fn woken(&mut self, actions: &mut Actions) {
        match self.stage {
            Stage::Waiting => self.ask_for_the_end(actions),
            Stage::Joining | Stage::Reading | Stage::Ending => {}
        }
    }

    fn too_slow(&mut self, actions: &mut Actions) {
        actions.hangup();
    }

    fn draining(&mut self, actions: &mut Actions) {
        self.stopping = true;
        match self.stage {
            Stage::Waiting => self.ask_for_the_end(actions),
            Stage::Joining | Stage::Reading | Stage::Ending => {}
        }
    }

    fn review(&mut self, topics: &[(SubscriptionId, TopicName)], actions: &mut Actions) {
        if let Err(reason) = self.shared.review(&self.grant, topics, actions.now.unix_seconds()) {
            self.refuse(reason, actions);
        }
    }
}

impl Poll {
    /// Nothing came until the end: the cursor moves although nothing is sent.
    fn ended(&mut self, head: Stamp, actions: &mut Actions) {
        if self.shared.options.timeout_with_body && !self.stopping {
            let message = self.shared.notice(control_id::TIMED_OUT, head.position(), "Timed out");
            self.answer_control(&message, actions);
        } else {
            self.answer_at(head.position(), actions);
        }
    }
}
