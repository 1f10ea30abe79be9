//! A websocket that listens, and one that may publish too.

use super::payload;
use super::rate::{Begun, FrameRate, SETTLE_EVERY, Unanswered};
use super::reason::Reason;
use super::shared::{Farewell, Origin, Shared, close_code, control_id};
use crate::access::Grant;
use crate::exchange::{Answer, Entry, Joined, Refusal, SubscriptionId};
use crate::message::{Message, TopicName};
use crate::session::{Actions, ConnectionLimits, Inbound, Session};
use std::sync::Arc;

/// A websocket subscriber. The reactor writes its messages; the session only keeps the connection in order.
pub struct Listener {
    shared: Arc<Shared>,
    grant: Option<Arc<Grant>>,
    rate: FrameRate,
    begun: Begun,
    unanswered: Unanswered,
}

const _: () = assert!(size_of::<Listener>() == 24, "one idle websocket is one small allocation");

impl Listener {
    pub fn new(shared: Arc<Shared>, grant: Option<Arc<Grant>>, now_micros: u64) -> Listener {
        let begun = Begun::new(now_micros, shared.options.connection_ttl);
        Listener { shared, grant, rate: FrameRate::new(now_micros), begun, unanswered: Unanswered::default() }
    }

    /// Counts a frame of the client; false if that was one too many.
    fn counts(&mut self, actions: &mut Actions) -> bool {
        let fine = self.rate.take(actions.now.micros, self.shared.options.client_frames_per_second);
        if !fine {
            self.shared.close(Reason::TooManyFrames, actions);
        }
        fine
    }

    /// Asks for the next turn: the end of the connection's time, the next ping, or the end of patience.
    fn sleep(&self, ping_due: u64, actions: &mut Actions) {
        let options = &self.shared.options;
        let now = actions.now.micros;
        let mut next = actions.now.after(SETTLE_EVERY);
        if !options.connection_ttl.is_zero() {
            next = next.min(self.begun.ends_at(now, options.connection_ttl));
        }
        if !options.ping_interval.is_zero() {
            next = next.min(ping_due);
        }
        if let Some(end) = self.unanswered.ends_at(now, options.pong_timeout) {
            next = next.min(end);
        }
        actions.wake_at(next);
    }
}

impl Session for Listener {
    fn limits(&self) -> &ConnectionLimits {
        &self.shared.websocket_limits
    }

    fn received(&mut self, inbound: Inbound<'_>, actions: &mut Actions) {
        match inbound {
            Inbound::Text(_) | Inbound::Ping | Inbound::Pong => {
                self.counts(actions);
            }
            Inbound::Binary(_) => {
                if self.counts(actions) {
                    actions.close(Some(close_code::UNSUPPORTED), "");
                }
            }
            Inbound::Close(code) => actions.close(code, ""),
            Inbound::Body(_) | Inbound::Part(_) | Inbound::End => {}
        }
    }

    fn joined(&mut self, joined: &Joined, actions: &mut Actions) {
        actions.accept();
        if let Some(header) = &self.shared.websocket_header {
            actions.send(header.clone());
        }
        if joined.gap && self.shared.options.gap_notice {
            let replays = joined.topics.iter().any(|topic| topic.from < joined.head.seq);
            let start = joined.start.filter(|_| replays).unwrap_or(joined.head.position());
            let notice = self.shared.notice(control_id::GAP, start, "Messages were lost");
            actions.send(self.shared.encodings.websocket.once(&notice));
        }
        self.sleep(actions.now.after(self.shared.options.ping_interval), actions);
    }

    fn refused(&mut self, refusal: Refusal, actions: &mut Actions) {
        match self.shared.farewell(refusal.into(), Origin::SILENT) {
            Farewell::Respond(response) => actions.respond(response),
            Farewell::Close(code, text) => actions.close(Some(code), text),
        }
    }

    fn removed(&mut self, _id: SubscriptionId, _message: &Arc<Message>, remaining: usize, actions: &mut Actions) {
        if remaining == 0 {
            actions.close(None, "");
        }
    }

    fn woken(&mut self, actions: &mut Actions) {
        let options = &self.shared.options;
        let now = actions.now.micros;
        self.rate.settle(now);
        if actions.heard {
            self.unanswered.heard();
        }
        if !options.connection_ttl.is_zero() && self.begun.ends_at(now, options.connection_ttl) <= now {
            if let Some(footer) = &self.shared.websocket_footer {
                actions.send(footer.clone());
            }
            return actions.close(None, "");
        }
        if self.unanswered.ends_at(now, options.pong_timeout).is_some_and(|end| end <= now) {
            return actions.close(Some(close_code::GOING_AWAY), "");
        }
        let interval = options.ping_interval.as_micros() as u64;
        let mut ping_due = actions.sent_at + interval;
        if ping_due <= now {
            ping_due = now + interval;
            // A client that still reads what it missed is alive, and a ping would have to wait behind all that.
            if interval > 0 && !actions.catching_up {
                actions.send(self.shared.ping.clone());
                if !options.pong_timeout.is_zero() {
                    self.unanswered.sent(now);
                }
            }
        }
        self.sleep(ping_due, actions);
    }

    fn too_slow(&mut self, actions: &mut Actions) {
        actions.close(Some(close_code::POLICY), Reason::TooSlow.close_text());
    }

    fn draining(&mut self, actions: &mut Actions) {
        actions.close(Some(close_code::GOING_AWAY), "");
    }

    fn review(&mut self, topics: &[(SubscriptionId, TopicName)], actions: &mut Actions) {
        if let Err(reason) = self.shared.review(&self.grant, topics, actions.now.unix_seconds()) {
            self.shared.close(reason, actions);
        }
    }
}

/// A websocket that publishes what it says to every channel it listens to (`allow_publish`).
pub struct Speaker {
    listener: Listener,
    channels: Vec<(SubscriptionId, TopicName)>,
    /// Publications that the hub has not answered.
    waiting: u32,
}

/// More unanswered publications than this stop the reading.
const WAITING_MAX: u32 = 16;

impl Speaker {
    pub fn new(listener: Listener, channels: Vec<(SubscriptionId, TopicName)>) -> Speaker {
        Speaker { listener, channels, waiting: 0 }
    }

    fn speaks(&mut self, text: &str, actions: &mut Actions) {
        let options = &self.listener.shared.options;
        let Ok(text) = payload::read(options.payload, text.as_bytes()) else {
            return actions.close(Some(close_code::INVALID_PAYLOAD), "");
        };
        let payload: Arc<[u8]> = text.into();
        let entries: Vec<Entry> = self
            .channels
            .iter()
            .filter(|(_, topic)| topic.as_str() != options.events_channel)
            .map(|(_, topic)| Entry {
                topic: topic.clone(),
                payload: payload.clone(),
                store: options.store,
                event: None,
                key: None,
                except: None,
            })
            .collect();
        if !entries.is_empty() {
            self.waiting += 1;
            actions.publish(entries, None);
        }
    }
}

impl Session for Speaker {
    fn limits(&self) -> &ConnectionLimits {
        self.listener.limits()
    }

    fn received(&mut self, inbound: Inbound<'_>, actions: &mut Actions) {
        match inbound {
            Inbound::Text(text) => {
                if self.listener.counts(actions) {
                    self.speaks(text, actions);
                }
            }
            other => self.listener.received(other, actions),
        }
    }

    fn joined(&mut self, joined: &Joined, actions: &mut Actions) {
        self.listener.joined(joined, actions);
    }

    fn refused(&mut self, refusal: Refusal, actions: &mut Actions) {
        self.listener.refused(refusal, actions);
    }

    fn removed(&mut self, id: SubscriptionId, message: &Arc<Message>, remaining: usize, actions: &mut Actions) {
        self.channels.retain(|(channel, _)| *channel != id);
        self.listener.removed(id, message, remaining, actions);
    }

    fn answered(&mut self, answer: Answer, actions: &mut Actions) {
        self.waiting = self.waiting.saturating_sub(1);
        if let Answer::Refused(refusal) = answer {
            self.listener.shared.close(refusal.into(), actions);
        }
    }

    fn woken(&mut self, actions: &mut Actions) {
        self.listener.woken(actions);
    }

    fn too_slow(&mut self, actions: &mut Actions) {
        self.listener.too_slow(actions);
    }

    fn draining(&mut self, actions: &mut Actions) {
        self.listener.draining(actions);
    }

    fn review(&mut self, topics: &[(SubscriptionId, TopicName)], actions: &mut Actions) {
        self.listener.review(topics, actions);
    }

    fn accepts_input(&self) -> bool {
        self.waiting < WAITING_MAX
    }
}
