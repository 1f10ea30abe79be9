//! The hub's replies: runs of live messages, joins, pages of backlog, answers.

use super::connection::{Lag, Start, Subscription, bits, start_of};
use super::outbox::{Outbox, Run};
use super::reads::Read;
use super::subscribers::{Listener, Way};
use super::transport::Transport;
use super::{ANNOUNCED_MAX, Announcement, INBOX_TURN, PROMPT_LISTENERS_MAX, Reactor};
use crate::exchange::{Joined, SubscriptionId, TopicId};
use crate::hub::request::{Backlog, Origin, ReadTopic, ToHub, ToReactor, Token};
use crate::message::{EncodingId, Frame, Message, Seq};
use crate::metrics::Counter;
use crate::session::Delivery;
use smallvec::SmallVec;
use std::sync::Arc;

/// A run is cut here, so that one frame stays small against an outbox.
const RUN_BYTES: usize = 16 * 1024;

/// Consecutive messages of one topic that have come out of the inbox and are not in any outbox yet.
pub(super) struct PendingRun {
    topic: TopicId,
    messages: Vec<Arc<Message>>,
    bytes: usize,
    /// What this reactor had seen before the first of them.
    before: Seq,
}

/// What became of a live run for one connection.
enum Offered {
    Queued,
    /// It does not fit: from here on the log is the queue.
    FellBehind,
    /// Behind already, or dead.
    NotLive,
}

/// What follows the prefixes in a run's frames, once for each encoding.
type Tails = SmallVec<[(EncodingId, Arc<[Frame]>); 2]>;

/// Topics, by their index here, and the encodings in which a connection gets them; sorted.
type Encodings = SmallVec<[(u32, EncodingId); 4]>;

/// A page as one run, for connections with the same subscriptions.
struct Rendered {
    encodings: Encodings,
    /// If its frames are the tails of one prefix, another client's prefix may take its place.
    run: Arc<Run>,
    deliveries: u64,
}

/// A listener that takes its part of a page.
struct Taker {
    /// Its topic's index here.
    topic: u32,
    id: SubscriptionId,
    way: Way,
    /// Stored and other messages up to these are not for it.
    from: Seq,
    joined: Seq,
}

/// A listener that gets each message through its session.
struct Single {
    connection: Token,
    id: SubscriptionId,
}

/// The frames of a page in the order of its messages, those next to each other in one run.
#[derive(Default)]
struct Page {
    runs: SmallVec<[Arc<Run>; 1]>,
    /// Shared frames that are in no run yet.
    bytes: Vec<u8>,
    /// Tails of one prefix that are in no run yet.
    tails: Option<(Frame, Vec<Frame>)>,
}

impl Page {
    fn shared(&mut self, frame: &Frame) {
        self.close_tails();
        self.bytes.extend_from_slice(frame);
    }

    fn prefixed(&mut self, prefix: &Frame, tail: &Frame) {
        self.close_bytes();
        if self.tails.as_ref().is_some_and(|(before, _)| !Arc::ptr_eq(before, prefix)) {
            self.close_tails();
        }
        self.tails.get_or_insert_with(|| (prefix.clone(), Vec::new())).1.push(tail.clone());
    }

    fn close_bytes(&mut self) {
        if !self.bytes.is_empty() {
            self.runs.push(Run::new(std::mem::take(&mut self.bytes)));
        }
    }

    fn close_tails(&mut self) {
        if let Some((prefix, tails)) = self.tails.take() {
            self.runs.push(Run::prefixed(prefix, tails.into()));
        }
    }

    fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.bytes.is_empty() && self.tails.is_none()
    }

    /// Takes out what there is.
    fn close(&mut self) -> SmallVec<[Arc<Run>; 1]> {
        self.close_bytes();
        self.close_tails();
        std::mem::take(&mut self.runs)
    }
}

impl<T: Transport> Reactor<T> {
    pub(super) fn take_inbox(&mut self, inbox: &mut dyn Iterator<Item = ToReactor>) {
        self.inbox_waits = true;
        for _ in 0..INBOX_TURN {
            match inbox.next() {
                Some(reply) => self.reply(reply),
                None => {
                    self.inbox_waits = false;
                    break;
                }
            }
        }
        self.close_run();
        // Load makes runs longer, not outboxes: while a large fan-out lasts, the inbox waits for a share of it.
        if !self.bulk.is_empty() {
            self.inbox_after = FLUSHED_BEFORE_INBOX.max(self.bulk.len() / 16);
        }
    }

    fn reply(&mut self, reply: ToReactor) {
        if let ToReactor::Deliver { topic, message } = reply {
            return self.deliver(topic, message);
        }
        self.close_run();
        match reply {
            ToReactor::Deliver { .. } => unreachable!("handled above"),
            ToReactor::Removed { topic, last, last_unstored, message } => self.removed(topic, last, last_unstored, &message),
            ToReactor::Joined { connection, ticket, joined } => self.joined(connection, ticket, &joined),
            ToReactor::Refused { connection, ticket, refusal } => {
                if let Some(index) = self.waiting_join(connection, ticket) {
                    self.connections[index].extra().joining.retain(|joining| joining.ticket != ticket);
                    self.call(index, |session, actions| session.refused(refusal, actions));
                    // The session may take input again.
                    self.make_ready(index);
                }
            }
            ToReactor::Backlog { ticket, backlog, .. } => self.backlog(ticket, &backlog),
            ToReactor::Notice { connection, notice } => {
                if let Some(index) = self.connections.find(connection) {
                    self.call(index, |session, actions| session.noticed(&notice, actions));
                }
            }
            ToReactor::Announce(notice) => {
                // Whoever announces much waits with everybody else until it is told.
                while self.announced.len() >= ANNOUNCED_MAX {
                    self.announce_slice();
                }
                let before = self.connections.next_token();
                self.announced.push_back(Announcement { notice, next: 0, before });
            }
            ToReactor::Answer { connection, ticket, answer } => {
                // Publications are answered in their order.
                if let Some(&(oldest, bytes)) = self.unanswered.front()
                    && oldest == ticket
                {
                    self.unanswered.pop_front();
                    self.unanswered_bytes -= bytes;
                }
                let Some(index) = self.take_asked(connection, ticket) else { return };
                self.call(index, |session, actions| session.answered(*answer, actions));
                self.tell_refused(index);
                // The session may take input again.
                self.make_ready(index);
            }
            ToReactor::Worked { connection, ticket, result } => {
                self.count(Counter::JobsDone, 1);
                let Some(index) = self.take_asked(connection, ticket) else { return };
                match result {
                    Some(result) => self.call(index, |session, actions| session.worked(result, actions)),
                    None => self.panicked(index),
                }
                self.tell_refused(index);
                // The session may take input again.
                self.make_ready(index);
            }
        }
    }

    /// The connection, if its session waits under this ticket. It does no longer.
    fn take_asked(&mut self, connection: Token, ticket: u64) -> Option<u32> {
        let index = self.connections.find(connection)?;
        let asked = &mut self.connections[index].extra.as_mut()?.asked;
        asked.remove(asked.iter().position(|&asked| asked == ticket)?);
        Some(index)
    }

    fn deliver(&mut self, topic: TopicId, message: Arc<Message>) {
        let before = self.seen;
        self.seen = self.seen.max(message.stamp.seq);
        let excludes = self.excluded(&message).is_some();
        if excludes || self.run.as_ref().is_some_and(|run| run.topic != topic || run.bytes + message.payload.len() > RUN_BYTES) {
            self.close_run();
        }
        let run = self.run.get_or_insert_with(|| PendingRun { topic, messages: Vec::new(), bytes: 0, before });
        run.bytes += message.payload.len();
        run.messages.push(message);
        if excludes {
            // A run is for everybody.
            self.close_run();
        }
    }

    /// The connection of this reactor that does not get the message.
    fn excluded(&self, message: &Message) -> Option<u32> {
        let (reactor, token) = **message.except.as_ref()?;
        (reactor == self.index).then(|| self.connections.find(Token(token)))?
    }

    /// Offers the pending run to everybody who listens here.
    pub(super) fn close_run(&mut self) {
        let Some(run) = self.run.take() else { return };
        let Some(local) = self.subscribers.local(run.topic) else { return };
        let listeners = std::mem::take(&mut self.subscribers.topic_mut(local).listeners);
        let prompt = listeners.len() <= PROMPT_LISTENERS_MAX;
        let mut frames: SmallVec<[(EncodingId, Arc<Run>); 2]> = SmallVec::new();
        let mut tails = Tails::new();
        // Those who share a prefix often stand next to each other.
        let mut newest: Option<(u32, Arc<Run>)> = None;
        let mut singles: Vec<Single> = Vec::new();
        let mut deliveries = 0;
        // A message that leaves out somebody here is a run of its own.
        let excluded = run.messages.first().and_then(|message| self.excluded(message));
        for (at, listener) in listeners.iter().enumerate() {
            if excluded == Some(listener.connection) {
                continue;
            }
            let frame = match listener.way() {
                Way::PerSubscriber => {
                    singles.push(Single { connection: self.connections.token(listener.connection), id: listener.id });
                    continue;
                }
                Way::Shared(encoding) => match frames.iter().find(|(known, _)| *known == encoding) {
                    Some((_, frame)) => frame.clone(),
                    None => {
                        let frame = self.concatenate(encoding, run.messages.iter());
                        frames.push((encoding, frame.clone()));
                        frame
                    }
                },
                Way::Prefixed(index) => match &newest {
                    Some((known, frame)) if *known == index => frame.clone(),
                    Some(_) | None => {
                        let frame = self.prefixed(index, &run.messages, &mut tails);
                        newest = Some((index, frame.clone()));
                        frame
                    }
                },
            };
            match self.offer(listener.connection, frame, run.before, prompt) {
                Offered::Queued => deliveries += run.messages.len() as u64,
                Offered::FellBehind => self.keep_offered(listener.connection, &listeners, at, &run),
                Offered::NotLive => {}
            }
        }
        self.subscribers.topic_mut(local).listeners = listeners;
        self.count(Counter::Runs, (frames.len() + tails.len()) as u64);
        // Those at the list's end are flushed last.
        let bulk_flushed = self.bulk_flushed + self.bulk.len() as u64;
        self.unsettled.extend(run.messages.iter().map(|message| (message.ordered_micros, bulk_flushed)));
        for (number, single) in singles.iter().enumerate() {
            let mut taken = run.before;
            for message in &run.messages {
                // It may answer with the first message and be gone for the second.
                let Some(index) = self.connections.find(single.connection) else { break };
                if !self.connections[index].is(bits::LIVE) || !self.listens(index, run.topic, single.id) {
                    break;
                }
                if !self.makes_room(index, message.payload.len()) {
                    self.fall_behind(index, run.before);
                    self.keep_taken(index, &run, &singles[..number]);
                    if let Some(lag) = self.connections[index].lag() {
                        lag.starts.push(Start { id: single.id, from: taken, joined: taken });
                    }
                    break;
                }
                taken = message.stamp.seq;
                deliveries += 1;
                self.call(index, |session, actions| session.delivered(single.id, message, actions));
            }
        }
        self.count(Counter::Deliveries, deliveries);
    }

    /// A run behind one prefix. Not in line with the loop over the listeners, most of which have none.
    #[inline(never)]
    fn prefixed(&self, index: u32, messages: &[Arc<Message>], made: &mut Tails) -> Arc<Run> {
        let (encoding, prefix) = self.subscribers.prefixed(index);
        Run::prefixed(prefix.clone(), self.tails(encoding, messages, made))
    }

    /// What follows the prefixes of this encoding, made once for all of them.
    fn tails(&self, encoding: EncodingId, messages: &[Arc<Message>], made: &mut Tails) -> Arc<[Frame]> {
        if let Some((_, tails)) = made.iter().find(|(known, _)| *known == encoding) {
            return tails.clone();
        }
        let tails: Arc<[Frame]> = messages.iter().map(|message| self.encoded(encoding, message).clone()).collect();
        made.push((encoding, tails.clone()));
        tails
    }

    pub(super) fn encoded<'m>(&self, encoding: EncodingId, message: &'m Message) -> &'m Frame {
        message.frame(encoding, self.registry.encoder(encoding), || self.count(Counter::Encodings, 1))
    }

    /// Sends messages out of turn, but for those that leave the connection out.
    pub(super) fn replay(&mut self, index: u32, encoding: EncodingId, prefix: Frame, messages: &[Arc<Message>]) {
        let its_own = messages.iter().filter(|message| self.excluded(message) != Some(index));
        let tails: Arc<[Frame]> = its_own.map(|message| self.encoded(encoding, message).clone()).collect();
        if tails.is_empty() {
            return;
        }
        self.count(Counter::Deliveries, tails.len() as u64);
        self.push(index, Run::prefixed(prefix, tails), true);
    }

    /// One shared frame of the messages in this encoding.
    fn concatenate<'a>(&self, encoding: EncodingId, messages: impl ExactSizeIterator<Item = &'a Arc<Message>>) -> Arc<Run> {
        let single = messages.len() == 1;
        let mut bytes = Vec::new();
        for message in messages {
            let frame = self.encoded(encoding, message);
            if single {
                return Run::new(frame.clone());
            }
            bytes.extend_from_slice(frame);
        }
        Run::new(bytes)
    }

    /// Queues a live run.
    fn offer(&mut self, index: u32, run: Arc<Run>, before: Seq, prompt: bool) -> Offered {
        let slot = &mut self.connections[index];
        if !slot.is(bits::LIVE) {
            return Offered::NotLive;
        }
        if slot.outbox.is_empty() && !run.is_empty() && !slot.is(bits::DIRTY) {
            // Nearly everybody in a fan-out: nothing to weigh, one look at the slot.
            slot.outbox = Outbox::One(run);
            slot.sent = self.tick;
            slot.set(bits::DIRTY, true);
            if prompt {
                self.prompt.push(index);
            } else {
                self.bulk.push_back(index);
            }
            return Offered::Queued;
        }
        if !self.makes_room(index, run.len()) {
            self.fall_behind(index, before);
            return Offered::FellBehind;
        }
        if !self.connections[index].is(bits::LIVE) {
            return Offered::NotLive;
        }
        self.push(index, run, prompt);
        Offered::Queued
    }

    /// Whether the window of a live connection takes so many bytes more; what its socket is willing to take goes first.
    fn makes_room(&mut self, index: u32, bytes: usize) -> bool {
        let slot = &self.connections[index];
        if slot.outbox.is_empty() {
            return true;
        }
        let window = slot.session.as_ref().map_or(0, |session| session.limits().outbox_bytes_max);
        if slot.outbox.fits(bytes, window) {
            return true;
        }
        if slot.is(bits::WRITABLE) {
            // Its turn has not come yet: that is not the client's fault.
            self.flush(index);
        }
        let slot = &self.connections[index];
        slot.is(bits::DEAD) || slot.outbox.fits(bytes, window)
    }

    /// From here on only the position is kept; the log is the queue.
    fn fall_behind(&mut self, index: u32, after: Seq) {
        self.count(Counter::Lagging, 1);
        let slot = &mut self.connections[index];
        slot.set(bits::LIVE, false);
        slot.extra().lag = Some(Box::new(Lag { after, reading: None, left: false, starts: Vec::new(), removed: Vec::new() }));
    }

    /// A connection that fell behind with this listener may have the run already for an earlier one of the same topic.
    fn keep_offered(&mut self, index: u32, listeners: &[Listener], at: usize, run: &PendingRun) {
        let (Some(local), Some(last)) = (self.subscribers.local(run.topic), run.messages.last()) else { return };
        let last = last.stamp.seq;
        let slot = &self.connections[index];
        let earlier = |subscription: &Subscription| subscription.topic() == local && (subscription.at as usize) < at;
        let offered: SmallVec<[SubscriptionId; 4]> = slot
            .subscriptions()
            .filter(earlier)
            .map(|subscription| listeners[subscription.at as usize])
            .filter(|listener| listener.way() != Way::PerSubscriber)
            .map(|listener| listener.id)
            .collect();
        if let Some(lag) = self.connections[index].lag() {
            lag.starts.extend(offered.into_iter().map(|id| Start { id, from: last, joined: last }));
        }
    }

    /// The same for one that fell behind while its sessions took the run: frames went to all, and `earlier` have taken it.
    fn keep_taken(&mut self, index: u32, run: &PendingRun, earlier: &[Single]) {
        let (Some(local), Some(last)) = (self.subscribers.local(run.topic), run.messages.last()) else { return };
        let slot = &self.connections[index];
        let connection = self.connections.token(index);
        let listeners = &self.subscribers.topic(local).listeners;
        let here = slot.subscriptions().filter(|subscription| subscription.topic() == local);
        let here: SmallVec<[Listener; 4]> = here.map(|subscription| listeners[subscription.at as usize]).collect();
        if here.len() < 2 {
            return;
        }
        let last = last.stamp.seq;
        let took = |listener: &Listener| match listener.way() {
            Way::Shared(_) | Way::Prefixed(_) => true,
            Way::PerSubscriber => earlier.iter().any(|one| one.connection == connection && one.id == listener.id),
        };
        let taken: SmallVec<[Start; 4]> =
            here.into_iter().filter(took).map(|listener| Start { id: listener.id, from: last, joined: last }).collect();
        if let Some(lag) = self.connections[index].lag() {
            lag.starts.extend(taken);
        }
    }

    fn listens(&self, index: u32, topic: TopicId, id: SubscriptionId) -> bool {
        let Some(local) = self.subscribers.local(topic) else { return false };
        self.connections[index].subscriptions().any(|subscription| {
            subscription.topic() == local && self.subscribers.topic(local).listeners[subscription.at as usize].id == id
        })
    }

    fn waiting_join(&self, connection: Token, ticket: u64) -> Option<u32> {
        let index = self.connections.find(connection)?;
        let extra = self.connections[index].extra.as_ref()?;
        extra.joining.iter().any(|joining| joining.ticket == ticket).then_some(index)
    }

    fn joined(&mut self, connection: Token, ticket: u64, joined: &Joined) {
        self.seen = self.seen.max(joined.head.seq);
        let Some(index) = self.waiting_join(connection, ticket) else {
            // Its connection, or its request, ended while the hub was asked.
            let topics = joined.topics.iter().map(|topic| topic.topic).collect();
            self.outgoing.push(ToHub::Leave { reactor: self.index, topics, last: true });
            return;
        };
        let extra = self.connections[index].extra();
        let place = extra.joining.iter().position(|joining| joining.ticket == ticket).expect("found just above");
        let joining = extra.joining.swap_remove(place);
        // The others have everything up to here: what was delivered before this reply is in their outbox.
        let others: Vec<SubscriptionId> = self.subscription_ids(index);
        let mut unwanted = Vec::new();
        let mut starts = Vec::new();
        for topic in &joined.topics {
            let Some((_, name)) = joining.topics.iter().find(|(id, _)| *id == topic.id) else {
                unwanted.push(topic.topic);
                continue;
            };
            let place = self.connections[index].next_place();
            let (local, at) = self.subscribers.add((topic.topic, name), index, topic.id, place, &joining.delivery);
            self.connections[index].push_subscription(Subscription::new(local, at));
            starts.push(Start { id: topic.id, from: topic.from, joined: joined.head.seq });
        }
        self.count(Counter::Joined, starts.len() as u64);
        let slot = &mut self.connections[index];
        // The hub counted one more connection with this join: once is right, and only if something is left of it.
        let last = slot.is(bits::COUNTED) || slot.subscription_count() == 0;
        slot.set(bits::COUNTED, slot.subscription_count() > 0);
        if last || !unwanted.is_empty() {
            self.outgoing.push(ToHub::Leave { reactor: self.index, topics: unwanted, last });
        }
        self.take_position(index, joined.head.seq, starts, &others);
        self.call(index, |session, actions| session.joined(joined, actions));
        if joining.delivery == Delivery::PerSubscriber && !self.connections[index].has_lag() {
            self.call(index, |session, actions| session.page(&[], true, actions));
        }
        self.read_backlog(index);
        self.connections[index].tidy();
        // The session may take input again.
        self.make_ready(index);
    }

    fn subscription_ids(&self, index: u32) -> Vec<SubscriptionId> {
        self.connections[index]
            .subscriptions()
            .map(|subscription| self.subscribers.topic(subscription.topic()).listeners[subscription.at as usize].id)
            .collect()
    }

    /// A subscription that begins before the connection's position takes the connection back there; every other one then
    /// begins at the position that it had.
    fn take_position(&mut self, index: u32, head: Seq, new: Vec<Start>, others: &[SubscriptionId]) {
        let Some(earliest) = new.iter().map(|start| start.from).min() else { return };
        let slot = &mut self.connections[index];
        match slot.lag() {
            None if earliest >= head => {}
            None => {
                slot.set(bits::LIVE, false);
                let kept = others.iter().map(|&id| Start { id, from: head, joined: head });
                let starts = kept.chain(new).collect();
                self.count(Counter::Lagging, 1);
                let slot = &mut self.connections[index];
                slot.extra().lag =
                    Some(Box::new(Lag { after: earliest, reading: None, left: false, starts, removed: Vec::new() }));
            }
            Some(lag) => {
                let position = lag.after;
                if earliest < position {
                    for &id in others {
                        match lag.starts.iter_mut().find(|start| start.id == id) {
                            Some(start) => {
                                start.from = start.from.max(position);
                                start.joined = start.joined.max(position);
                            }
                            None => lag.starts.push(Start { id, from: position, joined: position }),
                        }
                    }
                }
                lag.starts.extend(new);
                lag.after = position.min(earliest);
                // The page that is on its way knows nothing of the new subscription.
                lag.reading = None;
            }
        }
    }

    /// A connection that lags was shown a message ahead of its turn: what it reads of that topic begins behind that.
    pub(super) fn shown(&mut self, index: u32, message: &Message) {
        let seq = message.stamp.seq;
        if self.connections[index].lag().is_none_or(|lag| seq <= lag.after) {
            return;
        }
        let of_topic = |subscription: Subscription| {
            let topic = self.subscribers.topic(subscription.topic());
            (topic.name == message.topic).then(|| topic.listeners[subscription.at as usize].id)
        };
        let ids: SmallVec<[SubscriptionId; 1]> = self.connections[index].subscriptions().filter_map(of_topic).collect();
        let Some(lag) = self.connections[index].lag() else { return };
        for id in ids {
            match lag.starts.iter_mut().find(|start| start.id == id) {
                Some(start) if seq <= start.from => continue,
                Some(start) => start.from = seq,
                None => lag.starts.push(Start { id, from: seq, joined: lag.after }),
            }
            // The page that is on its way has it once more. What was shown waits to be sent, and the next read behind it.
            lag.reading = None;
        }
    }

    /// Asks for the next page of what the connection missed, if it can take one.
    pub(super) fn read_backlog(&mut self, index: u32) {
        let slot = &self.connections[index];
        if !slot.has_lag() || !slot.outbox.is_empty() || slot.session.is_none() || slot.is(bits::DEAD) {
            return;
        }
        let mut subscriptions: SmallVec<[(TopicId, SubscriptionId); 4]> = slot
            .subscriptions()
            .map(|subscription| {
                let topic = self.subscribers.topic(subscription.topic());
                (topic.id, topic.listeners[subscription.at as usize].id)
            })
            .collect();
        subscriptions.sort_unstable();
        let Some(lag) = self.connections[index].lag() else { return };
        if lag.reading.is_some() {
            return;
        }
        lag.left = false;
        let (after, starts) = (lag.after, lag.starts_by_id());
        let mut topics: Vec<ReadTopic> = Vec::with_capacity(subscriptions.len());
        for (topic, id) in subscriptions {
            let start = start_of(&starts, id);
            let from = start.map_or(after, |start| start.from);
            let joined = start.map_or(after, |start| start.joined);
            match topics.last_mut() {
                // A second subscription of the topic: the earliest start is read, once.
                Some(read) if read.topic == topic => {
                    read.from = read.from.min(from);
                    read.joined = read.joined.min(joined);
                }
                Some(_) | None => topics.push(ReadTopic { topic, from, joined }),
            }
        }
        let read = Read { after, topics };
        let connection = self.connections.token(index);
        let ticket = match self.reads.join(&read, connection) {
            Some(ticket) => ticket,
            None => {
                let ticket = self.ticket();
                let origin = Origin { reactor: self.index, connection, ticket };
                self.outgoing.push(ToHub::Read { origin, after, topics: read.topics.clone() });
                self.reads.begun(ticket, read, connection);
                ticket
            }
        };
        if let Some(lag) = self.connections[index].lag() {
            lag.reading = Some(ticket);
        }
    }

    fn backlog(&mut self, ticket: u64, backlog: &Backlog) {
        if backlog.complete {
            self.seen = self.seen.max(backlog.end);
        }
        let Some((read, waiting)) = self.reads.answered(ticket) else { return };
        let mut rendered = None;
        let left_out: SmallVec<[u32; 1]> = backlog.messages.iter().filter_map(|(_, message)| self.excluded(message)).collect();
        let prompt = waiting.len() <= PROMPT_LISTENERS_MAX;
        for connection in waiting {
            // Whoever has ended, or has changed what it listens to, waits for it no longer.
            let Some(index) = self.connections.find(connection) else { continue };
            if self.connections[index].lag().is_some_and(|lag| lag.reading == Some(ticket)) {
                let rendered = if left_out.contains(&index) { &mut None } else { &mut rendered };
                self.take_page(index, &read, backlog, prompt, rendered);
            }
        }
    }

    /// Gives a connection its page. `rendered` is what an earlier one with the same subscriptions was sent.
    fn take_page(&mut self, index: u32, read: &Read, backlog: &Backlog, prompt: bool, rendered: &mut Option<Rendered>) {
        let Some(lag) = self.connections[index].lag() else { return };
        lag.reading = None;
        if backlog.lost && lag.left {
            return self.read_backlog(index);
        }
        if backlog.lost {
            return self.too_slow(index);
        }
        let starts = lag.starts_by_id();
        let tells_removals = !lag.removed.is_empty();
        let mut page: Vec<Arc<Message>> = Vec::new();
        let mut frames = Page::default();
        let mut shared = 0;
        // The session was called in between, and may have left some of these listeners.
        let mut asked = false;
        let takers = self.takers(index, &starts);
        let singly = takers.iter().any(|taker| taker.way == Way::PerSubscriber);
        let once = takers.len() == read.topics.len();
        // With one subscription per topic the page depends on the read and the encodings alone, but for one prefix.
        let alike = if once && !tells_removals { self.encodings(&takers) } else { None };
        let known = match (&alike, &*rendered) {
            (Some((encodings, prefix)), Some(known))
                if *encodings == known.encodings && prefix.is_some() == matches!(*known.run, Run::Prefixed { .. }) =>
            {
                let run = prefix.as_ref().map_or_else(|| known.run.clone(), |prefix| known.run.behind(prefix));
                Some((run, known.deliveries))
            }
            (Some(_) | None, Some(_) | None) => None,
        };
        let messages = if known.is_some() { &[][..] } else { &backlog.messages[..] };
        // Several subscriptions of a topic multiply what the hub has bounded.
        let window = self.connections[index].session.as_ref().map_or(0, |session| session.limits().outbox_bytes_max);
        let bytes_max = if once { usize::MAX } else { window };
        let (mut bytes, mut end, mut complete) = (0, Seq(0), backlog.complete);
        for (topic, message) in messages {
            if bytes > bytes_max {
                complete = false;
                break;
            }
            end = message.stamp.seq;
            while let Some((id, way, removal)) = self.next_removal(index, message.stamp.seq) {
                self.send_page(index, &mut frames, &mut page);
                self.tell_removed(index, id, way, &removal, true);
                asked = true;
            }
            let Some(local) = self.subscribers.local(*topic) else { continue };
            if self.excluded(message) == Some(index) {
                continue;
            }
            let first = takers.partition_point(|taker| taker.topic < local);
            for taker in takers[first..].iter().take_while(|taker| taker.topic == local) {
                let after = if message.stored { taker.from } else { taker.joined };
                if message.stamp.seq <= after {
                    continue;
                }
                match taker.way {
                    // One order for both kinds: what the session has to send goes before this frame, and the other way.
                    Way::Shared(_) | Way::Prefixed(_) if !page.is_empty() => {
                        self.send_page(index, &mut frames, &mut page);
                        asked = true;
                    }
                    Way::PerSubscriber if !frames.is_empty() => self.send_page(index, &mut frames, &mut page),
                    Way::Shared(_) | Way::Prefixed(_) | Way::PerSubscriber => {}
                }
                if asked && !self.listens(index, *topic, taker.id) {
                    continue;
                }
                match taker.way {
                    Way::Shared(encoding) => {
                        let frame = self.encoded(encoding, message);
                        bytes += frame.len();
                        frames.shared(frame);
                    }
                    Way::Prefixed(prefix) => {
                        let (encoding, prefix) = self.subscribers.prefixed(prefix);
                        let tail = self.encoded(encoding, message);
                        bytes += prefix.len() + tail.len();
                        frames.prefixed(prefix, tail);
                    }
                    Way::PerSubscriber => {
                        bytes += message.payload.len();
                        page.push(message.clone());
                        continue;
                    }
                }
                shared += 1;
            }
        }
        if complete || bytes <= bytes_max {
            end = backlog.end;
        }
        while let Some((id, way, removal)) = self.next_removal(index, end) {
            self.send_page(index, &mut frames, &mut page);
            self.tell_removed(index, id, way, &removal, true);
        }
        let (runs, shared) = match known {
            Some((run, deliveries)) => (SmallVec::from_buf([run]), deliveries),
            None => (frames.close(), shared),
        };
        self.count(Counter::Deliveries, shared);
        if let (Some((encodings, _)), None, [run]) = (alike, &rendered, &runs[..]) {
            *rendered = Some(Rendered { encodings, run: run.clone(), deliveries: shared });
        }
        for run in runs {
            self.push(index, run, prompt);
        }
        let slot = &mut self.connections[index];
        if let Some(lag) = slot.lag() {
            lag.after = end;
        }
        if complete
            && let Some(extra) = &mut slot.extra
            && extra.lag.take().is_some()
        {
            slot.set(bits::LIVE, !slot.is(bits::DEAD));
            self.count(Counter::LagEnded, 1);
        }
        if singly {
            self.call(index, |session, actions| session.page(&page, complete, actions));
        }
        if self.connections[index].outbox.is_empty() {
            self.read_backlog(index);
        }
        self.connections[index].tidy();
    }

    /// The listeners of a connection by topic, those of one topic in the order in which they were made: as live messages
    /// reach them.
    fn takers(&self, index: u32, starts_by_id: &[Start]) -> SmallVec<[Taker; 4]> {
        let mut subscriptions: SmallVec<[Subscription; 4]> = self.connections[index].subscriptions().collect();
        subscriptions.sort_unstable_by_key(|subscription| (subscription.topic(), subscription.at));
        let taker = |subscription: &Subscription| {
            let topic = subscription.topic();
            let listener = self.subscribers.topic(topic).listeners[subscription.at as usize];
            let (from, joined) = start_of(starts_by_id, listener.id).map_or((Seq(0), Seq(0)), |start| (start.from, start.joined));
            Taker { topic, id: listener.id, way: listener.way(), from, joined }
        };
        subscriptions.iter().map(taker).collect()
    }

    /// What listeners have in common with those of other connections: their encodings, all behind one prefix or none
    /// behind any.
    fn encodings(&self, takers: &[Taker]) -> Option<(Encodings, Option<Frame>)> {
        let first = takers.first()?.way;
        let encoding = |taker: &Taker| match (taker.way, first) {
            (Way::Shared(encoding), Way::Shared(_)) => Some((taker.topic, encoding)),
            (Way::Prefixed(index), _) if taker.way == first => Some((taker.topic, self.subscribers.prefixed(index).0)),
            (Way::Shared(_) | Way::Prefixed(_) | Way::PerSubscriber, _) => None,
        };
        let encodings = takers.iter().map(encoding).collect::<Option<Encodings>>()?;
        let prefix = match first {
            Way::Prefixed(index) => Some(self.subscribers.prefixed(index).1.clone()),
            Way::Shared(_) | Way::PerSubscriber => None,
        };
        Some((encodings, prefix))
    }

    /// Sends what was collected of a page so far; something follows it. Frames and messages never wait together.
    fn send_page(&mut self, index: u32, frames: &mut Page, page: &mut Vec<Arc<Message>>) {
        for run in frames.close() {
            self.push(index, run, true);
        }
        if !page.is_empty() {
            self.call(index, |session, actions| session.page(page, false, actions));
            page.clear();
        }
    }

    /// The next deletion up to this place in the order that a connection which is behind has not been told.
    fn next_removal(&mut self, index: u32, until: Seq) -> Option<(SubscriptionId, Way, Arc<Message>)> {
        let lag = self.connections[index].lag()?;
        let (_, _, first) = lag.removed.first()?;
        (first.stamp.seq <= until).then(|| lag.removed.remove(0))
    }

    /// The topic is gone for everybody who listened.
    fn removed(&mut self, topic: TopicId, last: Seq, last_unstored: Seq, message: &Arc<Message>) {
        self.seen = self.seen.max(message.stamp.seq);
        let Some(gone) = self.subscribers.take(topic) else { return };
        self.count(Counter::Left, gone.listeners.len() as u64);
        let prompt = gone.listeners.len() <= PROMPT_LISTENERS_MAX;
        // Listeners of one connection change places as they are taken out: find each by its list position.
        for (at, listener) in gone.listeners.iter().enumerate() {
            let index = listener.connection;
            let place = self.connections[index]
                .subscriptions()
                .position(|subscription| subscription.topic() == gone.local && subscription.at == at as u32)
                .expect("a listener's connection has its subscription");
            let (_, moved) = self.connections[index].remove_subscription(place as u16);
            if let Some(moved) = moved
                && moved.topic() != gone.local
            {
                self.subscribers.listener_mut(moved.topic(), moved.at).place = place as u16;
            }
        }
        for listener in &gone.listeners {
            let index = listener.connection;
            if self.connections[index].has_left_all() {
                // The hub took the subscriptions with the topic; that the connection has none left only we know.
                self.outgoing.push(ToHub::Leave { reactor: self.index, topics: Vec::new(), last: true });
            }
            match self.connections[index].lag() {
                // What it had not read is gone with the topic.
                Some(lag) if lag.misses(listener.id, last, last_unstored) => self.too_slow(index),
                Some(lag) => {
                    lag.starts.retain(|start| start.id != listener.id);
                    lag.removed.push((listener.id, listener.way(), message.clone()));
                    // The page that is on its way was asked for with the topic in it.
                    lag.reading = None;
                    self.read_backlog(index);
                }
                None => self.tell_removed(index, listener.id, listener.way(), message, prompt),
            }
        }
    }

    fn tell_removed(&mut self, index: u32, id: SubscriptionId, way: Way, message: &Arc<Message>, prompt: bool) {
        if self.connections[index].is(bits::DEAD) {
            return;
        }
        if let Way::Shared(encoding) = way
            && self.connections[index].session.is_some()
        {
            let run = self.concatenate(encoding, std::iter::once(message));
            self.push(index, run, prompt);
            self.count(Counter::Deliveries, 1);
        }
        let remaining = self.connections[index].subscription_count();
        self.call(index, |session, actions| session.removed(id, message, remaining, actions));
    }
}

/// Connections of a large fan-out flushed before the inbox is looked at again, at least.
const FLUSHED_BEFORE_INBOX: usize = 1024;
