//! Carries out what a session wishes.

use super::connection::{Cut, Joining, Phase, Subscription, bits};
use super::outbox::Run;
use super::transport::Transport;
use super::working::Work;
use super::{Reactor, tick_at};
use crate::exchange::{
    Alter, AlterRefusal, Alteration, Answer, Entry, Join, Refusal, Selection, SubscriptionId, Write, WriteRefusal,
};
use crate::http::response::{Framing, Response};
use crate::hub::request::{Origin, ToHub};
use crate::message::{EncodingId, Message, TopicName};
use crate::metrics::Counter;
use crate::session::{Action, Actions, Delivery, Job, Session, WorkQueue};
use crate::websocket::encoder;
use smallvec::SmallVec;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// In the place of a ticket: a publication or a job, a write, or an alteration, that nobody but this reactor ever saw. Tickets count
/// from 1 and never come so far.
const REFUSED_HERE: u64 = 0;
const WRITE_REFUSED_HERE: u64 = u64::MAX;
const ALTER_REFUSED_HERE: u64 = u64::MAX - 1;

impl<T: Transport> Reactor<T> {
    /// Lets the session act on an event, and carries out what it wishes.
    ///
    /// A panic in there ends this connection only.
    pub(super) fn call(&mut self, index: u32, event: impl FnOnce(&mut dyn Session, &mut Actions)) {
        let slot = &mut self.connections[index];
        let Some(mut session) = slot.session.take() else { return };
        self.actions.now = self.now;
        self.actions.index = index;
        self.actions.sent_at = u64::from(slot.sent) * super::TICK_MICROS;
        self.actions.heard = slot.is(bits::HEARD);
        self.actions.catching_up = slot.has_lag() || slot.extra.as_ref().is_some_and(|extra| !extra.joining.is_empty());
        let actions = &mut self.actions;
        match catch_unwind(AssertUnwindSafe(|| event(&mut *session, actions))) {
            Ok(()) => {
                slot.session = Some(session);
                self.perform(index);
                self.pace_body(index);
            }
            Err(_) => {
                self.actions.drain();
                self.connections[index].session = Some(session);
                self.panicked(index);
            }
        }
    }

    /// The session, or what it had done, panicked.
    pub(super) fn panicked(&mut self, index: u32) {
        self.count(Counter::Panics, 1);
        tracing::error!("a session panicked; its connection ends");
        if self.connections[index].is(bits::WEBSOCKET) {
            self.close(index, Some(1011), "");
        } else {
            self.hangup(index);
        }
    }

    /// Carries out the wishes in order, until one of them ends the session.
    pub(super) fn perform(&mut self, index: u32) {
        if self.actions.is_empty() {
            return;
        }
        let mut list = self.actions.take();
        for action in list.drain(..) {
            let slot = &self.connections[index];
            if slot.session.is_none() || slot.is(bits::DEAD) {
                break;
            }
            match action {
                Action::Accept => self.accept_upgrade(index),
                Action::Respond(response) => self.respond(index, response),
                Action::Begin(response) => self.begin(index, &response),
                Action::Send(frame) => self.push(index, Run::new(frame), true),
                Action::Ping(frame) => {
                    self.count(Counter::Pings, 1);
                    let slot = &mut self.connections[index];
                    slot.outbox.push_ping(frame, self.now.micros);
                    slot.sent = self.tick;
                    self.make_dirty(index, true);
                }
                Action::Replay { encoding, prefix, messages } => self.replay(index, encoding, prefix, &messages),
                Action::Introduce(conversation) => {
                    let connection = self.connections.token(index);
                    self.outgoing.push(ToHub::Introduce { reactor: self.index, connection, conversation });
                }
                Action::Finish => self.finish(index),
                Action::Discard => {
                    let slot = &mut self.connections[index];
                    // The 101 must not be missing before what follows it.
                    if slot.is(bits::WEBSOCKET) && !slot.is(bits::GREETING) {
                        slot.outbox.keep_begun();
                    }
                }
                Action::Close { code, reason } => self.close(index, code, &reason),
                Action::Hangup => self.hangup(index),
                Action::Join { join, delivery } => self.join(index, join, delivery),
                Action::Leave(ids) => self.leave(index, &ids),
                Action::Publish { entries, report } => self.publish(index, entries, report),
                Action::Write(write) => self.write_document(index, write),
                Action::Alter(alter) => self.alter_records(index, alter),
                Action::Show { encoding, message } => self.show(index, encoding, &message),
                Action::Shown(message) => self.shown(index, &message),
                Action::Delete { topics, payload } => self.delete(index, topics, payload),
                Action::Ask(question) => {
                    let origin = self.origin(index);
                    self.outgoing.push(ToHub::Ask { origin, question });
                }
                Action::Work { queue, job } => self.work(index, queue, job),
                Action::WakeAt(micros) => {
                    let slot = &mut self.connections[index];
                    slot.wake = tick_at(micros).max(1);
                    slot.set(bits::HEARD, false);
                    self.schedule(index);
                }
            }
        }
        self.actions.reuse(list);
        self.tell_refused(index);
    }

    /// Answers publications, writes, alterations and jobs that were refused here, once everything asked before them is answered:
    /// sessions tell their answers apart by order alone.
    pub(super) fn tell_refused(&mut self, index: u32) {
        while let Some(extra) = &mut self.connections[index].extra {
            let answer = match extra.asked.front() {
                Some(&REFUSED_HERE) => Answer::Refused(Refusal::Busy),
                Some(&WRITE_REFUSED_HERE) => Answer::Written(Err(WriteRefusal::Unavailable)),
                Some(&ALTER_REFUSED_HERE) => Answer::Altered(Err(AlterRefusal::Unavailable)),
                Some(_) | None => return,
            };
            extra.asked.pop_front();
            self.call(index, |session, actions| session.answered(answer, actions));
        }
    }

    /// An origin with a fresh ticket that the session waits for.
    fn origin(&mut self, index: u32) -> Origin {
        let ticket = self.ticket();
        self.connections[index].extra().asked.push_back(ticket);
        Origin { reactor: self.index, connection: self.connections.token(index), ticket }
    }

    fn join(&mut self, index: u32, join: Box<Join>, delivery: Delivery) {
        let ticket = self.ticket();
        let origin = Origin { reactor: self.index, connection: self.connections.token(index), ticket };
        let slot = &mut self.connections[index];
        let topics: Vec<(SubscriptionId, TopicName)> = join.topics.iter().map(|topic| (topic.id, topic.name.clone())).collect();
        slot.extra().joining.push(Joining { ticket, delivery, topics });
        // Whether it is the first that succeeds is not known yet: the answer to every other one takes the count back.
        self.outgoing.push(ToHub::Join { origin, join, first: true });
    }

    fn leave(&mut self, index: u32, ids: &[SubscriptionId]) {
        let mut topics = Vec::with_capacity(ids.len());
        for id in ids {
            let slot = &mut self.connections[index];
            if let Some(extra) = &mut slot.extra {
                // Joined later, it finds itself unwanted and is left then.
                for joining in &mut extra.joining {
                    joining.topics.retain(|(joining, _)| joining != id);
                }
                if let Some(lag) = &mut extra.lag {
                    lag.starts.retain(|start| start.id != *id);
                    lag.removed.retain(|(removed, ..)| removed != id);
                }
            }
            let place = self.connections[index].subscriptions().position(|subscription| {
                self.subscribers.topic(subscription.topic()).listeners[subscription.at as usize].id == *id
            });
            if let Some(place) = place {
                topics.push(self.unsubscribe(index, place as u16));
                if let Some(lag) = self.connections[index].lag() {
                    lag.left = true;
                }
            }
        }
        if !topics.is_empty() {
            let last = self.connections[index].has_left_all();
            self.outgoing.push(ToHub::Leave { reactor: self.index, topics, last });
        }
        self.connections[index].tidy();
    }

    /// Takes one subscription out of the lists here; the hub still has to be told.
    pub(super) fn unsubscribe(&mut self, index: u32, place: u16) -> crate::exchange::TopicId {
        let (removed, moved) = self.connections[index].remove_subscription(place);
        if let Some(moved) = moved {
            self.subscribers.listener_mut(moved.topic(), moved.at).place = place;
        }
        let (topic, moved) = self.subscribers.remove(removed.topic(), removed.at);
        if let Some(moved) = moved {
            self.connections[moved.connection].subscription_at(moved.place).at = removed.at;
            self.keep_order(moved.connection, removed);
        }
        self.count(Counter::Left, 1);
        topic
    }

    /// The newest subscription of a connection to a topic has moved to the front of its others: subscriptions of one
    /// connection get a message in the order in which they were made.
    fn keep_order(&mut self, index: u32, moved: Subscription) {
        let here = self.connections[index].subscriptions().filter(|other| other.topic() == moved.topic() && other.at >= moved.at);
        let mut places: SmallVec<[u32; 4]> = here.map(|subscription| subscription.at).collect();
        places.sort_unstable();
        for pair in places.windows(2) {
            let listeners = &mut self.subscribers.topic_mut(moved.topic()).listeners;
            listeners.swap(pair[0] as usize, pair[1] as usize);
            for &at in pair {
                let place = self.subscribers.topic(moved.topic()).listeners[at as usize].place;
                self.connections[index].subscription_at(place).at = at;
            }
        }
    }

    fn publish(&mut self, index: u32, entries: Vec<Entry>, report: Option<Selection>) {
        // Many short messages under long names weigh, too.
        let bytes: usize = entries.iter().map(|entry| entry.payload.len() + entry.topic.as_str().len()).sum();
        if let Some(origin) = self.admit(index, bytes, REFUSED_HERE) {
            self.outgoing.push(ToHub::Publish { origin, entries, report });
        }
    }

    fn write_document(&mut self, index: u32, write: Write) {
        let bytes = write.value.len() + write.topic.as_str().len();
        if let Some(origin) = self.admit(index, bytes, WRITE_REFUSED_HERE) {
            self.outgoing.push(ToHub::Write { origin, write });
        }
    }

    fn alter_records(&mut self, index: u32, alter: Box<Alter>) {
        let bytes = match &alter.what {
            Alteration::Create(records) => records.iter().map(|record| record.data.len()).sum(),
            Alteration::Replace { data, .. } => data.len(),
            Alteration::Delete { .. } => 0,
        };
        if let Some(origin) = self.admit(index, bytes + alter.endpoint.as_str().len(), ALTER_REFUSED_HERE) {
            self.outgoing.push(ToHub::Alter { origin, alter });
        }
    }

    /// An origin for a publication, a write or an alteration of so many bytes. The hub is not asked when a bound is reached.
    fn admit(&mut self, index: u32, bytes: usize, refused: u64) -> Option<Origin> {
        // One is always let through, else one larger than the bound never would be.
        let full = self.unanswered.len() >= self.limits.unanswered_max
            || (!self.unanswered.is_empty() && self.unanswered_bytes + bytes > self.limits.unanswered_bytes_max);
        if full {
            self.count(Counter::RefusedBusy, 1);
            self.connections[index].extra().asked.push_back(refused);
            return None;
        }
        let origin = self.origin(index);
        self.unanswered.push_back((origin.ticket, bytes));
        self.unanswered_bytes += bytes;
        Some(origin)
    }

    fn work(&mut self, index: u32, queue: WorkQueue, job: Job) {
        let ticket = self.ticket();
        let work = Work { queue, connection: self.connections.token(index), ticket, job };
        let taken = (self.workers)(work);
        self.count(if taken { Counter::Jobs } else { Counter::RefusedJobs }, 1);
        self.connections[index].extra().asked.push_back(if taken { ticket } else { REFUSED_HERE });
    }

    /// Sends the frame that everybody is sent who is sent this message.
    fn show(&mut self, index: u32, encoding: EncodingId, message: &Message) {
        let frame = self.encoded(encoding, message).clone();
        self.count(Counter::Deliveries, 1);
        self.push(index, Run::new(frame), true);
        self.shown(index, message);
    }

    fn delete(&mut self, index: u32, topics: Vec<TopicName>, payload: Arc<[u8]>) {
        let origin = self.origin(index);
        self.outgoing.push(ToHub::Delete { origin, topics, payload });
    }

    /// Ends the session and every subscription of it. What it has queued stays.
    pub(super) fn end_session(&mut self, index: u32) {
        let connection = self.connections.token(index);
        let slot = &mut self.connections[index];
        if let Some(session) = slot.session.take() {
            self.metrics.reactors[usize::from(self.index)].ended(slot.dialect);
            // It may be asked because it panicked just now.
            match catch_unwind(AssertUnwindSafe(|| session.legacy())) {
                Ok(Some(legacy)) => self.outgoing.push(ToHub::Part { reactor: self.index, connection, legacy }),
                Ok(None) => {}
                Err(_) => {
                    self.count(Counter::Panics, 1);
                    tracing::error!("a session panicked at its end");
                }
            }
        }
        self.count_unfinished(index);
        let slot = &mut self.connections[index];
        slot.wake = 0;
        if slot.is(bits::STREAMING) {
            slot.set(bits::STREAMING, false);
            self.count(Counter::StreamEnded, 1);
        }
        let slot = &mut self.connections[index];
        slot.set(bits::LIVE, !slot.is(bits::DEAD));
        let mut behind = false;
        if let Some(extra) = &mut slot.extra {
            behind = extra.lag.take().is_some();
            extra.asked.clear();
            // Joined later, they find nobody and are left then.
            extra.joining.clear();
        }
        self.count(Counter::LagEnded, u64::from(behind));
        let mut topics = Vec::new();
        for place in (0..self.connections[index].next_place()).rev() {
            topics.push(self.unsubscribe(index, place));
        }
        if !topics.is_empty() {
            let last = self.connections[index].has_left_all();
            self.outgoing.push(ToHub::Leave { reactor: self.index, topics, last });
        }
        self.connections[index].tidy();
    }

    fn accept_upgrade(&mut self, index: u32) {
        let slot = &mut self.connections[index];
        let Some(upgrade) = slot.http().and_then(|http| http.upgrade.take()) else { return };
        slot.extra().http = None;
        slot.set(bits::WEBSOCKET, true);
        slot.set(bits::GREETING, true);
        let mut bytes = Vec::with_capacity(256);
        upgrade.write(&mut bytes, self.now.unix_seconds(), Framing::Length, true);
        if let Some(timeout) = slot.session.as_ref().and_then(|session| session.limits().user_timeout) {
            slot.transport.set_user_timeout(timeout);
        }
        self.count(Counter::WebSocketOpened, 1);
        self.push(index, Run::new(bytes), true);
        // Frames may have come right behind the request.
        self.make_ready(index);
    }

    /// Writes the whole answer and makes the connection ready for the next request, or ends it.
    pub(super) fn respond(&mut self, index: u32, response: Response) {
        self.end_session(index);
        let slot = &mut self.connections[index];
        let closed = slot.is(bits::READ_CLOSED);
        let Some(http) = slot.http() else { return self.end_after_flush(index) };
        http.upgrade = None;
        let keep = !response.close && !closed && http.stays_open();
        let mut bytes = Vec::with_capacity(256 + response.body.len());
        let framing = if http.is_head { Framing::LengthOnly } else { Framing::Length };
        response.write(&mut bytes, self.now.unix_seconds(), framing, keep);
        self.push(index, Run::new(bytes), true);
        if keep {
            self.next_request(index);
        } else {
            self.end_after_flush(index);
        }
    }

    /// The answer is out: what is left of the body is dropped, then the next request may come.
    pub(super) fn next_request(&mut self, index: u32) {
        let (idle, stall) = (self.limits.keep_alive_idle, self.limits.body_stall);
        let now = self.now;
        let slot = &mut self.connections[index];
        let has_spill = slot.extra.as_ref().is_some_and(|extra| !extra.spill.is_empty());
        let Some(http) = slot.http() else { return };
        http.scan = Default::default();
        http.is_head = false;
        http.collected = Vec::new();
        if http.body.as_ref().is_some_and(|body| !body.is_done()) {
            http.phase = Phase::Dropping;
            http.deadline = Some(now.after(stall));
            // While the session took its time nobody read.
            http.body_since = now.micros;
            http.body_bytes = 0;
        } else if self.draining {
            return self.end_after_flush(index);
        } else {
            http.body = None;
            http.phase = Phase::Head { idle: true };
            http.deadline = Some(now.after(idle));
        }
        if has_spill || self.connections[index].is(bits::READABLE) {
            self.make_ready(index);
        }
        self.count_unfinished(index);
        self.schedule(index);
    }

    fn begin(&mut self, index: u32, response: &Response) {
        let slot = &mut self.connections[index];
        let Some(http) = slot.http() else { return };
        http.phase = Phase::Streaming;
        http.deadline = None;
        let mut bytes = Vec::with_capacity(256);
        let (framing, keep_alive) = (http.framing, http.keep_alive);
        response.write(&mut bytes, self.now.unix_seconds(), framing, keep_alive);
        slot.set(bits::STREAMING, true);
        self.count(Counter::StreamOpened, 1);
        self.push(index, Run::new(bytes), true);
    }

    fn finish(&mut self, index: u32) {
        self.end_session(index);
        let slot = &mut self.connections[index];
        let closed = slot.is(bits::READ_CLOSED);
        let Some(http) = slot.http() else { return self.end_after_flush(index) };
        match http.framing {
            Framing::Chunked | Framing::Length | Framing::LengthOnly => {
                let keep = !closed && http.stays_open();
                self.push(index, Run::new(&b"0\r\n\r\n"[..]), true);
                if keep {
                    self.next_request(index);
                } else {
                    self.end_after_flush(index);
                }
            }
            Framing::UntilClose => self.end_after_flush(index),
        }
    }

    /// Sends a WebSocket close; nothing follows it.
    pub(super) fn close(&mut self, index: u32, code: Option<u16>, reason: &str) {
        self.accept_upgrade(index);
        let patience = self.connections[index].session.as_ref().map(|session| session.limits().close_time);
        self.end_session(index);
        self.push(index, Run::new(encoder::close(code, reason)), true);
        self.end_within(index, patience.unwrap_or(self.limits.close_time));
    }

    pub(super) fn hangup(&mut self, index: u32) {
        self.end_session(index);
        self.end_after_flush(index);
    }

    /// Ends the connection once everything queued is out; what still comes in is dropped.
    pub(super) fn end_after_flush(&mut self, index: u32) {
        self.end_within(index, self.limits.close_time);
    }

    fn end_within(&mut self, index: u32, close_time: Duration) {
        let cut = Cut { micros: self.now.after(close_time), close_time, is_patient: !close_time.is_zero() };
        let slot = &mut self.connections[index];
        slot.set(bits::ENDING, true);
        let extra = slot.extra();
        extra.cut_at = Some(cut);
        extra.http = None;
        extra.decoder = None;
        extra.newest_pong = None;
        extra.spill = Vec::new();
        self.count_unfinished(index);
        self.schedule(index);
        self.make_dirty(index, true);
    }
}
