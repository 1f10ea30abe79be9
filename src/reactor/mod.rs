//! The reactor: owns its sockets, knows who listens here, and is pure but for [`Transport`].
//!
//! [`Reactor::turn`] takes in readiness, the hub's replies and timers; [`Reactor::write`] is the only writing.

mod acting;
mod check;
pub mod connection;
mod connections;
mod delivering;
pub mod inbox;
pub mod listener;
pub mod outbox;
mod reading;
mod reads;
mod subscribers;
#[cfg(test)]
mod tests;
pub mod thread;
mod timers;
pub mod transport;
pub mod working;

use crate::clock::Now;
use crate::exchange::Notice;
use crate::hub::request::{ToHub, ToReactor, Token};
use crate::message::Seq;
use crate::metrics::{Counter, Metrics, ReactorMetrics};
use crate::session::{Actions, BodyMode, Door, Registry};
use connection::{Extra, Http, Phase, Slot, bits};
use connections::Connections;
use delivering::PendingRun;
use outbox::{Flushed, Outbox, Run};
use reads::Reads;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use subscribers::Subscribers;
use timers::{TICK_MICROS, Wheel, tick_at, tick_of};
use transport::Transport;
use working::Workers;

/// What the configuration tells a reactor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From accept, or from the first byte of a request, to the end of its head.
    pub head_time: Duration,
    /// Between two requests of one connection.
    pub keep_alive_idle: Duration,
    /// Without a byte of a body.
    pub body_stall: Duration,
    /// Bytes per second of a body, looked at once it has lasted `body_stall`.
    pub body_min_rate: u64,
    pub line_bytes_max: usize,
    /// For paths that no dialect knows.
    pub field_bytes_max: usize,
    pub body_bytes_max: u64,
    /// Connections that are served. Whoever comes beyond it is turned away.
    pub connections_max: usize,
    /// Connections without a complete head; beyond it the oldest of them is closed.
    pub unopened_max: usize,
    /// Publications that the hub has not answered; beyond either bound they are refused here.
    pub unanswered_max: usize,
    pub unanswered_bytes_max: usize,
    /// Bytes of unfinished requests and messages of all connections; beyond it their reading pauses.
    pub unfinished_bytes_max: usize,
    /// How long a connection that we end may take to notice.
    pub close_time: Duration,
    /// For connections whose session is gone: how long bytes may wait without one being taken.
    pub no_progress: Duration,
}

/// Those of a reactor that nobody has told anything, as far as one may be without.
impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head_time: Duration::from_secs(10),
            keep_alive_idle: Duration::from_secs(75),
            body_stall: Duration::from_secs(10),
            body_min_rate: 1024,
            line_bytes_max: 16 * 1024,
            field_bytes_max: 16 * 1024,
            body_bytes_max: 1 << 20,
            connections_max: usize::MAX,
            unopened_max: usize::MAX,
            unanswered_max: 65_536,
            unanswered_bytes_max: 64 << 20,
            unfinished_bytes_max: 64 << 20,
            close_time: Duration::from_secs(2),
            no_progress: Duration::from_secs(30),
        }
    }
}

/// A readiness event.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub token: Token,
    pub readable: bool,
    pub writable: bool,
    /// The peer will send nothing more, or the connection is broken.
    pub hangup: bool,
}

/// What the server tells a reactor beside the hub.
pub enum Control {
    /// A new configuration: new connections use it, living ones are reviewed.
    Reload { registry: Arc<Registry>, limits: Box<Limits> },
    /// Say goodbye to everyone.
    Drain,
}

/// Connections beyond the limit whose request is read, so that they are turned away in the words of its protocol.
pub const BEYOND_MAX: usize = 16;
/// Announcements that may wait to be told.
const ANNOUNCED_MAX: usize = 64;

/// Something that every session is told, slice by slice.
struct Announcement {
    notice: Arc<Notice>,
    /// The next connection to tell.
    next: u32,
    /// Whoever comes as this one or later was not there when it was announced.
    before: Token,
}

/// Bytes read from one connection in one turn, and the size of the one buffer they are read into.
const READ_TURN_BYTES: usize = 64 * 1024;
/// Topics with at most so many listeners here are flushed first.
const PROMPT_LISTENERS_MAX: usize = 1024;
/// Connections of a large fan-out that are flushed before sockets are looked at again.
const FLUSH_SLICE: usize = 1024;
/// Replies of the hub taken in one turn.
const INBOX_TURN: usize = 4096;
/// Sessions that are called in one turn for each of: their timers, new rules. Many may end so together, and each that does costs a
/// dozen microseconds.
const SESSION_SLICE: u32 = 128;
/// Sessions that hear of one announcement in one turn: it is meant for few of them.
const ANNOUNCE_SLICE: u32 = 1024;

pub struct Reactor<T> {
    index: u16,
    connections: Connections<T>,
    subscribers: Subscribers,
    registry: Arc<Registry>,
    limits: Limits,
    metrics: Arc<Metrics>,
    workers: Workers,
    wheel: Wheel,
    now: Now,
    /// `now` in ticks: a division that a fan-out need not repeat for each subscriber.
    tick: u32,
    /// Everything up to here has come out of the inbox.
    seen: Seq,
    next_ticket: u64,
    /// Publications on their way, in order: ticket and bytes.
    unanswered: VecDeque<(u64, usize)>,
    unanswered_bytes: usize,
    /// Bytes of unfinished requests and messages.
    unfinished_bytes: usize,
    /// Connections that wait for `unfinished_bytes` to fall.
    starved: Vec<u32>,
    /// Those that came when there were as many connections as may be, until they have asked.
    beyond: Vec<Token>,
    unopened: VecDeque<Token>,
    unopened_count: usize,
    ready: Vec<u32>,
    prompt: Vec<u32>,
    bulk: VecDeque<u32>,
    /// Bulk connections still to flush before the inbox is looked at again.
    inbox_after: usize,
    inbox_waits: bool,
    run: Option<PendingRun>,
    dead: Vec<u32>,
    /// The next connection to review; `None` when no review is under way.
    reviewing: Option<u32>,
    /// What every session is to hear.
    announced: VecDeque<Announcement>,
    /// The wall-clock second at which a token expires.
    next_expiry: Option<u64>,
    draining: bool,
    reads: Reads,
    /// What goes to the hub after this turn.
    outgoing: Vec<ToHub>,
    /// When the messages were ordered that were put into outboxes, and how many bulk connections will have been flushed
    /// when each has been offered to every socket.
    unsettled: VecDeque<(u64, u64)>,
    bulk_flushed: u64,
    actions: Actions,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
    /// What came out of the wheel and was not looked at yet.
    due: Vec<(u32, u32)>,
}

impl<T: Transport> Reactor<T> {
    pub fn new(
        index: u16,
        registry: Arc<Registry>,
        limits: Limits,
        metrics: Arc<Metrics>,
        workers: Workers,
        now: Now,
    ) -> Reactor<T> {
        Reactor {
            index,
            connections: Connections::new(),
            subscribers: Subscribers::default(),
            next_expiry: registry.next_expiry(now.unix_seconds()),
            registry,
            limits,
            metrics,
            workers,
            wheel: Wheel::new(now.micros),
            now,
            tick: tick_of(now.micros),
            seen: Seq(0),
            next_ticket: 1,
            unanswered: VecDeque::new(),
            unanswered_bytes: 0,
            unfinished_bytes: 0,
            starved: Vec::new(),
            beyond: Vec::new(),
            unopened: VecDeque::new(),
            unopened_count: 0,
            ready: Vec::new(),
            prompt: Vec::new(),
            bulk: VecDeque::new(),
            inbox_after: 0,
            inbox_waits: false,
            run: None,
            dead: Vec::new(),
            reviewing: None,
            announced: VecDeque::new(),
            draining: false,
            reads: Reads::default(),
            outgoing: Vec::new(),
            unsettled: VecDeque::new(),
            bulk_flushed: 0,
            actions: Actions::default(),
            buffer: vec![0; READ_TURN_BYTES],
            scratch: Vec::new(),
            due: Vec::new(),
        }
    }

    /// The token under which the next accepted socket has to be registered.
    pub fn next_token(&self) -> Token {
        self.connections.next_token()
    }

    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// Whether one more socket may come in, if only to be told that there is no room.
    pub fn has_room(&mut self) -> bool {
        self.may_serve() || self.beyond.len() < BEYOND_MAX
    }

    /// Whether there are fewer connections than may be, but for those beyond.
    fn may_serve(&mut self) -> bool {
        let Reactor { beyond, connections, .. } = self;
        beyond.retain(|&token| connections.find(token).is_some());
        connections.len() - beyond.len() < self.limits.connections_max
    }

    /// Whether the one that asks has to be turned away: if somebody has left since it came, it is served.
    fn is_beyond(&mut self, index: u32) -> bool {
        let token = self.connections.token(index);
        if !self.beyond.contains(&token) {
            return false;
        }
        let may_serve = self.may_serve();
        if may_serve {
            self.beyond.retain(|&other| other != token);
        }
        !may_serve
    }

    /// Takes a connected socket. It counts as readable and writable until it says otherwise.
    pub fn accept(&mut self, transport: T, door: Door, peer: IpAddr, now: Now) {
        self.enter(now);
        self.count(Counter::Accepted, 1);
        let is_beyond = !self.may_serve();
        let http = Http {
            phase: Phase::Head { idle: true },
            door,
            peer,
            scan: Default::default(),
            deadline: Some(now.after(self.limits.head_time)),
            keep_alive: true,
            framing: crate::http::response::Framing::Length,
            is_head: false,
            body: None,
            body_mode: BodyMode::Dropped,
            dropped_bytes_max: 0,
            body_refused: None,
            collected: Vec::new(),
            body_since: 0,
            body_bytes: 0,
            body_waits_since: None,
            expects: None,
            upgrade: None,
        };
        let extra = Extra { http: Some(Box::new(http)), ..Extra::default() };
        let token = self.connections.next_token();
        let index = self.connections.insert(Slot {
            transport,
            generation: 0,
            wake: 0,
            scheduled: 0,
            sent: tick_of(now.micros),
            bits: bits::READABLE | bits::WRITABLE | bits::LIVE,
            dialect: 0,
            outbox: Outbox::Nothing,
            extra: Some(Box::new(extra)),
            session: None,
            subscription: None,
        });
        // Of those beyond the limit there are few anyway, and they must not cost the place of one that has come before.
        if is_beyond {
            self.beyond.push(token);
        } else {
            self.connections[index].set(bits::UNOPENED, true);
            self.unopened.push_back(token);
            self.unopened_count += 1;
        }
        self.make_ready(index);
        self.schedule(index);
        while self.unopened_count > self.limits.unopened_max
            && let Some(oldest) = self.unopened.pop_front()
        {
            if let Some(index) = self.connections.find(oldest)
                && self.connections[index].is(bits::UNOPENED)
            {
                self.count(Counter::TimedOut, 1);
                // It counts no longer, although it is buried only after the turn: else the next oldest would go, too.
                self.opened(index);
                self.kill(index);
            }
        }
        // Entries of connections that opened stay in the list until they come to its front: keep it short.
        if self.unopened.len() > 64 + 4 * self.unopened_count {
            let connections = &self.connections;
            self.unopened.retain(|&token| connections.find(token).is_some_and(|index| connections[index].is(bits::UNOPENED)));
        }
    }

    /// Takes in what happened: readiness, the hub's replies in their order, timers.
    pub fn turn(&mut self, events: &[Event], inbox: &mut dyn Iterator<Item = ToReactor>, now: Now) {
        self.enter(now);
        self.count(Counter::Turns, 1);
        for event in events {
            self.event(event);
        }
        if self.inbox_after == 0 {
            self.take_inbox(inbox);
        } else {
            self.inbox_waits = true;
        }
        self.serve_ready();
        self.fire_timers();
        self.review_slice();
        self.announce_slice();
    }

    /// The second half of a turn: writes a slice of what waits, and removes what died. What the first half wants the hub
    /// to hear is on its way by then.
    pub fn write(&mut self) {
        self.flush_dirty();
        self.bury();
    }

    /// Carries out an order of the server, after the inbox that preceded it.
    pub fn control(&mut self, control: Control, now: Now) {
        self.enter(now);
        match control {
            Control::Reload { registry, limits } => {
                self.registry = registry;
                self.limits = *limits;
                self.next_expiry = self.registry.next_expiry(now.unix_seconds());
                self.reviewing = Some(0);
            }
            Control::Drain => {
                self.draining = true;
                for index in 0..self.connections.end() {
                    if self.connections.get(index).is_some_and(|slot| !slot.is(bits::DEAD)) {
                        self.drain_connection(index);
                    }
                }
            }
        }
    }

    /// What this turn wants the hub to hear, in order.
    pub fn outgoing(&mut self) -> std::vec::Drain<'_, ToHub> {
        self.outgoing.drain(..)
    }

    /// Whether something can go on without any event: the loop must not sleep then.
    pub fn is_busy(&self) -> bool {
        !self.ready.is_empty()
            || !self.prompt.is_empty()
            || !self.bulk.is_empty()
            || self.inbox_waits
            || self.reviewing.is_some()
            || !self.announced.is_empty()
            || !self.due.is_empty()
            || !self.dead.is_empty()
    }

    /// Whether the last turn left something in the inbox.
    pub fn inbox_waits(&self) -> bool {
        self.inbox_waits
    }

    /// The monotonic microsecond at which a timer is due, and the wall-clock second at which a token expires.
    pub fn next_deadline(&self) -> (Option<u64>, Option<u64>) {
        (self.wheel.next_micros(), self.next_expiry)
    }

    /// Closes the latency measurement of what has been offered to all its sockets by now.
    pub fn settle(&mut self, now: Now) {
        while let Some(&(ordered, bulk_flushed)) = self.unsettled.front()
            && bulk_flushed <= self.bulk_flushed
        {
            self.unsettled.pop_front();
            self.mine().publish_to_write(now.micros.saturating_sub(ordered));
        }
    }

    fn enter(&mut self, now: Now) {
        self.now = now;
        self.tick = tick_of(now.micros);
    }

    fn mine(&self) -> &ReactorMetrics {
        &self.metrics.reactors[usize::from(self.index)]
    }

    fn count(&self, counter: Counter, count: u64) {
        self.mine().add(counter, count);
    }

    fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    fn event(&mut self, event: &Event) {
        let Some(index) = self.connections.find(event.token) else { return };
        let slot = &mut self.connections[index];
        if event.writable {
            slot.set(bits::WRITABLE, true);
            if !slot.outbox.is_empty() {
                self.make_dirty(index, true);
            }
        }
        if event.readable || event.hangup {
            let slot = &mut self.connections[index];
            slot.set(bits::READABLE, true);
            // Also of one whose bytes stay in the kernel for now.
            slot.set(bits::HEARD, true);
            self.make_ready(index);
        }
        if event.hangup && self.may_read(index) == 0 && !self.connections[index].body_waits() {
            // Nobody reads here now, so nobody would see the end of the stream; but a whole body may lie before it.
            self.end_of_stream(index);
        }
    }

    fn make_ready(&mut self, index: u32) {
        let slot = &mut self.connections[index];
        if !slot.is(bits::READY) {
            slot.set(bits::READY, true);
            self.ready.push(index);
        }
    }

    fn make_dirty(&mut self, index: u32, prompt: bool) {
        let slot = &mut self.connections[index];
        if !slot.is(bits::DIRTY) {
            slot.set(bits::DIRTY, true);
            if prompt {
                self.prompt.push(index);
            } else {
                self.bulk.push_back(index);
            }
        }
    }

    fn serve_ready(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        for &index in &ready {
            if let Some(slot) = self.connections.get_mut(index) {
                slot.set(bits::READY, false);
                self.serve(index);
            }
        }
        ready.clear();
        if self.ready.is_empty() {
            self.ready = ready;
        }
    }

    fn flush_dirty(&mut self) {
        let mut prompt = std::mem::take(&mut self.prompt);
        for index in prompt.drain(..) {
            self.flush(index);
        }
        if self.prompt.is_empty() {
            self.prompt = prompt;
        }
        for _ in 0..FLUSH_SLICE {
            let Some(index) = self.bulk.pop_front() else { break };
            self.inbox_after = self.inbox_after.saturating_sub(1);
            self.bulk_flushed += 1;
            self.flush(index);
        }
        if self.bulk.is_empty() {
            self.inbox_after = 0;
        }
    }

    /// Writes what the socket takes; the only place that writes.
    fn flush(&mut self, index: u32) {
        let Some(slot) = self.connections.get_mut(index) else { return };
        slot.set(bits::DIRTY, false);
        if slot.is(bits::DEAD) || !slot.is(bits::WRITABLE) {
            return;
        }
        let mine = &self.metrics.reactors[usize::from(self.index)];
        let flushed = slot.outbox.flush(&mut slot.transport, &mut self.scratch, self.now.micros, |bytes| {
            mine.add(Counter::Writes, 1);
            mine.add(Counter::BytesOut, bytes as u64);
        });
        match flushed {
            // An idle connection, as most are in a fan-out: nothing waited for this.
            Flushed::Everything if slot.extra.is_none() && !slot.is(bits::ENDING | bits::READABLE) => {
                slot.set(bits::GREETING, false);
            }
            Flushed::Everything => self.drained(index),
            Flushed::Turn => self.make_dirty(index, true),
            Flushed::Refused => {
                // epoll is edge-triggered: only a refusal proves that the kernel's buffer is full and that an event will
                // follow. Clearing `writable` after a short write would stall the socket for ever.
                slot.set(bits::WRITABLE, false);
                self.schedule(index);
            }
            Flushed::Broken => self.kill(index),
        }
    }

    /// The outbox is empty: whatever waited for that goes on.
    fn drained(&mut self, index: u32) {
        let slot = &mut self.connections[index];
        slot.set(bits::GREETING, false);
        if let Some(extra) = &mut slot.extra {
            extra.pongs = 0;
            if let Some(pong) = extra.newest_pong.take() {
                slot.outbox.push_urgent(Run::new(pong), self.now.micros);
                self.make_dirty(index, true);
                return;
            }
        }
        if slot.is(bits::ENDING) {
            if !slot.is(bits::LINGERING) {
                slot.transport.shutdown();
                slot.set(bits::LINGERING, true);
                if let Some(cut) = slot.extra.as_mut().and_then(|extra| extra.cut_at.as_mut()) {
                    cut.micros = self.now.after(cut.close_time);
                }
                if slot.is(bits::READ_CLOSED) {
                    self.kill(index);
                } else {
                    self.schedule(index);
                    self.make_ready(index);
                }
            }
            return;
        }
        self.read_backlog(index);
        let slot = &mut self.connections[index];
        if slot.is(bits::READABLE) || slot.extra.as_ref().is_some_and(|extra| !extra.spill.is_empty()) {
            // Reading pauses while much is unsent.
            self.make_ready(index);
        }
        self.connections[index].tidy();
    }

    /// Appends bytes at a frame border and has them flushed soon.
    fn push(&mut self, index: u32, run: Arc<Run>, prompt: bool) {
        let slot = &mut self.connections[index];
        slot.outbox.push(run, self.now.micros);
        slot.sent = self.tick;
        self.make_dirty(index, prompt);
    }

    /// Marks a connection for removal; its slot stays until the turn's end, so that no list is changed under a loop.
    fn kill(&mut self, index: u32) {
        let slot = &mut self.connections[index];
        if !slot.is(bits::DEAD) {
            slot.set(bits::DEAD, true);
            slot.set(bits::LIVE, false);
            self.dead.push(index);
            if slot.is(bits::UNOPENED) {
                slot.set(bits::UNOPENED, false);
                self.unopened_count -= 1;
            }
        }
    }

    /// Removes what died in this turn.
    fn bury(&mut self) {
        while let Some(index) = self.dead.pop() {
            self.end_session(index);
            let slot = &self.connections[index];
            self.unfinished_bytes -= slot.extra.as_ref().map_or(0, |extra| extra.unfinished);
            // The ready and dirty lists may still name the index. Whoever gets it next is then looked at once more than
            // needed, which changes nothing.
            if slot.is(bits::WEBSOCKET) {
                self.count(Counter::WebSocketEnded, 1);
            }
            self.count(Counter::Ended, 1);
            self.connections.remove(index);
        }
        self.feed_starved();
    }

    /// Brings the sum up to date after bytes of this connection were kept, understood or given up.
    fn count_unfinished(&mut self, index: u32) {
        let slot = &mut self.connections[index];
        let held = unfinished(slot);
        if let Some(extra) = &mut slot.extra {
            let counted = std::mem::replace(&mut extra.unfinished, held);
            self.unfinished_bytes = self.unfinished_bytes + held - counted;
        }
    }

    fn feed_starved(&mut self) {
        if self.unfinished_bytes < self.limits.unfinished_bytes_max && !self.starved.is_empty() {
            for index in std::mem::take(&mut self.starved) {
                if let Some(slot) = self.connections.get_mut(index) {
                    slot.set(bits::STARVED, false);
                    self.make_ready(index);
                }
            }
        }
    }

    /// Enters the connection into the wheel if something of it is due before its present entry.
    fn schedule(&mut self, index: u32) {
        let no_progress = self.limits.no_progress;
        let slot = &mut self.connections[index];
        let Some(due) = next_due(slot, no_progress) else { return };
        let tick = tick_at(due);
        if slot.scheduled == 0 || tick < slot.scheduled {
            slot.scheduled = self.wheel.insert(index, tick);
        }
    }

    fn fire_timers(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        if due.is_empty() {
            self.wheel.advance(self.now.micros, &mut due);
            // They are taken from the end.
            due.reverse();
        }
        for (index, tick) in due.drain(due.len().saturating_sub(SESSION_SLICE as usize)..).rev() {
            let Some(slot) = self.connections.get_mut(index) else { continue };
            if slot.scheduled > self.tick {
                // A later round of the same wheel slot, or an entry that an earlier deadline replaced: the wheel can't
                // tell them apart, and the second is harmless.
                if (slot.scheduled - tick).is_multiple_of(1024) {
                    slot.scheduled = self.wheel.insert(index, slot.scheduled);
                }
                continue;
            }
            if slot.scheduled != 0 && !slot.is(bits::DEAD) {
                slot.scheduled = 0;
                self.timer_fired(index);
                self.schedule(index);
            }
        }
        self.due = due;
        if self.next_expiry.is_some_and(|second| self.now.unix_seconds() >= second) {
            self.next_expiry = self.registry.next_expiry(self.now.unix_seconds());
            self.reviewing = Some(0);
        }
    }

    fn timer_fired(&mut self, index: u32) {
        let now = self.now.micros;
        let slot = &mut self.connections[index];
        let no_progress = patience(slot, self.limits.no_progress);
        if slot.is(bits::ENDING) {
            return self.cut_comes_up(index, no_progress);
        }
        // A socket that is willing has only to be written to: after a long pause of ours that is not the client's fault.
        let refuses = !slot.is(bits::WRITABLE);
        if refuses && slot.outbox.stalled_since().is_some_and(|since| now >= since + no_progress) {
            if slot.is(bits::WEBSOCKET) && !slot.is(bits::GREETING) {
                // What it has not begun to take would only be in the way of the goodbye. An answer to a request, and the
                // 101 above all, must not be missing before what follows it.
                slot.outbox.keep_begun();
            }
            return self.too_slow(index);
        }
        if slot.http().is_some_and(|http| http.deadline.is_some_and(|at| now >= at)) {
            self.request_timed_out(index);
        }
        let slot = &mut self.connections[index];
        if slot.wake != 0 && slot.wake <= tick_of(now) {
            slot.wake = 0;
            self.call(index, |session, actions| session.woken(actions));
        }
    }

    /// Cuts a connection that we end, unless its time is not over.
    fn cut_comes_up(&mut self, index: u32, no_progress: u64) {
        let now = self.now.micros;
        let slot = &mut self.connections[index];
        let lingers = slot.is(bits::LINGERING);
        let stalled_since = slot.outbox.stalled_since();
        let Some(cut) = slot.extra.as_mut().and_then(|extra| extra.cut_at.as_mut()) else { return };
        if !lingers && cut.is_patient {
            // What is queued is sent, however long that takes: a slow reader is none that stands still. Those who do
            // stand still must not hold up a stop.
            let no_progress = if self.draining { cut.close_time.as_micros() as u64 } else { no_progress };
            cut.micros = cut.micros.max(stalled_since.unwrap_or(now) + no_progress);
        }
        if now >= cut.micros {
            self.kill(index);
        }
    }

    /// The client took nothing for too long, or the log no longer reaches back to it.
    fn too_slow(&mut self, index: u32) {
        self.count(Counter::DroppedTooSlow, 1);
        if self.connections[index].session.is_none() {
            return self.kill(index);
        }
        self.call(index, |session, actions| session.too_slow(actions));
        if let Some(cut) = self.connections[index].extra.as_mut().and_then(|extra| extra.cut_at.as_mut()) {
            // It had its time already.
            cut.is_patient = false;
        }
    }

    fn review_slice(&mut self) {
        let Some(start) = self.reviewing else { return };
        let end = start.saturating_add(SESSION_SLICE).min(self.connections.end());
        for index in start..end {
            let Some(slot) = self.connections.get(index) else { continue };
            if slot.is(bits::DEAD) || slot.session.is_none() {
                continue;
            }
            let mut topics: Vec<_> = slot
                .subscriptions()
                .map(|subscription| {
                    let topic = self.subscribers.topic(subscription.topic());
                    (topic.listeners[subscription.at as usize].id, topic.name.clone())
                })
                .collect();
            // A join under way is about to deliver: what the rules say about it counts now.
            topics.extend(
                slot.extra.iter().flat_map(|extra| extra.joining.iter().flat_map(|joining| joining.topics.iter().cloned())),
            );
            self.call(index, |session, actions| session.review(&topics, actions));
        }
        self.reviewing = (end < self.connections.end()).then_some(end);
    }

    fn announce_slice(&mut self) {
        let Some(Announcement { notice, next, before }) = self.announced.pop_front() else { return };
        let end = next.saturating_add(ANNOUNCE_SLICE).min(self.connections.end());
        for index in next..end {
            let Some(slot) = self.connections.get(index) else { continue };
            if !slot.is(bits::DEAD) && self.connections.is_older(index, before) {
                self.call(index, |session, actions| session.noticed(&notice, actions));
            }
        }
        if end < self.connections.end() {
            self.announced.push_front(Announcement { notice, next: end, before });
        }
    }

    fn drain_connection(&mut self, index: u32) {
        let slot = &mut self.connections[index];
        if let Some(http) = slot.http() {
            http.keep_alive = false;
        }
        if let Some(cut) = slot.extra.as_mut().and_then(|extra| extra.cut_at.as_mut()) {
            cut.micros = cut.micros.min(self.now.after(cut.close_time));
            return self.schedule(index);
        }
        if slot.session.is_some() {
            self.call(index, |session, actions| session.draining(actions));
        } else if let Some(Phase::Head { idle: true }) = slot.phase() {
            self.end_after_flush(index);
        }
    }
}

/// Bytes that a connection holds of something unfinished.
fn unfinished<T>(slot: &Slot<T>) -> usize {
    slot.extra.as_ref().map_or(0, |extra| {
        extra.spill.len()
            + extra.http.as_ref().map_or(0, |http| http.collected.len() + collected_parts(slot, http))
            + extra.decoder.as_ref().map_or(0, |decoder| decoder.heap_bytes())
    })
}

/// Bytes of its body that the session has collected itself.
fn collected_parts<T>(slot: &Slot<T>, http: &Http) -> usize {
    let takes_parts = http.body_mode == BodyMode::Parts && matches!(http.phase, Phase::Body | Phase::Waiting);
    slot.session.as_ref().filter(|_| takes_parts).map_or(0, |session| session.collected_bytes())
}

fn patience<T>(slot: &Slot<T>, otherwise: Duration) -> u64 {
    slot.session.as_ref().map_or(otherwise, |session| session.limits().no_progress).as_micros() as u64
}

/// The earliest instant at which something of the connection is due.
fn next_due<T>(slot: &Slot<T>, no_progress: Duration) -> Option<u64> {
    let extra = slot.extra.as_ref();
    if let Some(cut) = extra.and_then(|extra| extra.cut_at.as_ref()) {
        return Some(cut.micros);
    }
    let wake = (slot.wake != 0).then(|| u64::from(slot.wake) * TICK_MICROS);
    let stalled = slot.outbox.stalled_since().map(|since| since + patience(slot, no_progress));
    let http = extra.and_then(|extra| extra.http.as_ref()).and_then(|http| http.deadline);
    [wake, stalled, http].into_iter().flatten().min()
}
