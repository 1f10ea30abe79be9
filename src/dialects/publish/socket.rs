//! `/publish` as a WebSocket: each message gets exactly one answer, in the order of the messages.

use super::answer::{Asked, Rejection};
use super::{Publisher, Shared, envelope};
use crate::exchange::{Answer, SubscriptionId};
use crate::message::TopicName;
use crate::session::{Actions, ConnectionLimits, Inbound, Session};
use crate::websocket::encoder;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A peer that is silent is pinged this often; after so many silent intervals it counts as gone.
const PING_INTERVAL: Duration = Duration::from_secs(25);
const SILENT_INTERVALS_MAX: u8 = 3;
/// Messages without an answer, and their bytes; beyond either the server reads no more until answers have gone.
const UNANSWERED_MAX: usize = 1_024;
const UNANSWERED_BYTES_MAX: usize = 8 * 1024 * 1024;

pub struct Socket {
    shared: Arc<Shared>,
    publisher: Publisher,
    /// One per message without an answer, in the order of the messages; the front one is always `Asked`.
    slots: VecDeque<Slot>,
    unanswered_bytes: usize,
    /// No message counts any more; the close goes out behind the last answer.
    ending: Option<(u16, &'static str)>,
    silent_intervals: u8,
}

enum Slot {
    /// The hub has it. `bytes` are those of the whole message: topics and idempotency keys take memory, too.
    Asked { asked: Asked, bytes: usize },
    /// Answered by the session itself, behind messages that the hub has not answered yet.
    Rejected(String),
}

impl Socket {
    pub fn new(shared: Arc<Shared>, publisher: Publisher, actions: &mut Actions) -> Socket {
        actions.wake_at(actions.now.after(PING_INTERVAL));
        Socket { shared, publisher, slots: VecDeque::new(), unanswered_bytes: 0, ending: None, silent_intervals: 0 }
    }

    fn message(&mut self, text: &str, actions: &mut Actions) {
        match envelope::read(text, &self.publisher.key, self.shared.events_topic.as_ref()) {
            Ok((entries, asked)) => {
                let bytes = text.len();
                self.unanswered_bytes += bytes;
                self.slots.push_back(Slot::Asked { asked, bytes });
                actions.publish(entries, None);
            }
            Err(rejection) => {
                self.slots.push_back(Slot::Rejected(rejection.body()));
                self.send_rejections(actions);
            }
        }
    }

    /// Rejections at the front wait for nobody.
    fn send_rejections(&mut self, actions: &mut Actions) {
        while let Some(Slot::Rejected(body)) = self.slots.front() {
            actions.send(encoder::text(body.as_bytes()));
            self.slots.pop_front();
        }
        self.close_if_done(actions);
    }

    /// The first reason counts.
    fn end(&mut self, code: u16, reason: &'static str, actions: &mut Actions) {
        if self.ending.is_none() {
            self.ending = Some((code, reason));
            self.close_if_done(actions);
        }
    }

    fn close_if_done(&mut self, actions: &mut Actions) {
        if let (Some((code, reason)), true) = (self.ending, self.slots.is_empty()) {
            actions.close(Some(code), reason);
        }
    }
}

impl Session for Socket {
    fn limits(&self) -> &ConnectionLimits {
        &self.shared.limits
    }

    fn received(&mut self, inbound: Inbound<'_>, actions: &mut Actions) {
        match inbound {
            Inbound::Text(text) if self.ending.is_none() => self.message(text, actions),
            Inbound::Binary(_) => self.end(1003, "text only", actions),
            Inbound::Close(code) => self.end(code.unwrap_or(1000), "", actions),
            Inbound::Text(_) | Inbound::Ping | Inbound::Pong | Inbound::Body(_) | Inbound::Part(_) | Inbound::End => {}
        }
    }

    fn answered(&mut self, answer: Answer, actions: &mut Actions) {
        let body = |asked: &Asked| match &answer {
            Answer::Published { published, .. } => Some(asked.body(published)),
            Answer::Refused(refusal) => Some(Rejection::from(*refusal).body()),
            // Nothing else was asked.
            _ => None,
        };
        let Some(Slot::Asked { asked, bytes }) = self.slots.front() else { return };
        let Some(body) = body(asked) else { return };
        self.unanswered_bytes -= bytes;
        self.slots.pop_front();
        actions.send(encoder::text(body.as_bytes()));
        self.send_rejections(actions);
    }

    fn woken(&mut self, actions: &mut Actions) {
        self.silent_intervals = if actions.heard { 0 } else { self.silent_intervals + 1 };
        if self.silent_intervals >= SILENT_INTERVALS_MAX {
            actions.close(Some(1001), "silent");
            return;
        }
        if !actions.heard {
            actions.send(encoder::ping(b""));
        }
        actions.wake_at(actions.now.after(PING_INTERVAL));
    }

    fn too_slow(&mut self, actions: &mut Actions) {
        actions.close(Some(1008), "too slow");
    }

    fn draining(&mut self, actions: &mut Actions) {
        self.end(1001, "server stops", actions);
    }

    fn review(&mut self, _topics: &[(SubscriptionId, TopicName)], actions: &mut Actions) {
        match self.shared.publisher(self.publisher.digest) {
            Ok(publisher) => self.publisher = publisher,
            Err(_) => self.end(1008, "key is no longer valid", actions),
        }
    }

    fn accepts_input(&self) -> bool {
        self.slots.len() < UNANSWERED_MAX && self.unanswered_bytes < UNANSWERED_BYTES_MAX
    }
}
