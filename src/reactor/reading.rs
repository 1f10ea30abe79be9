//! Bytes from a client: requests, bodies, WebSocket frames.

use super::connection::{Phase, bits};
use super::outbox::Run;
use super::transport::Transport;
use super::{READ_TURN_BYTES, Reactor, unfinished};
use crate::http::body::{Body, BodyError};
use crate::http::head::{self, Head, HeadError, Scan, ScanLimits, Version};
use crate::http::response::{Framing, Response};
use crate::metrics::{self, Counter};
use crate::session::{BodyMode, HeadLimits, Inbound, Opening, Request};
use crate::websocket::decoder::{Decoder, DecoderLimits, Event, Violation};
use crate::websocket::encoder;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Bytes kept of a client that has to wait: the rest stays in the kernel.
const PENDING_BYTES: usize = 4096;
/// Unsent answers beyond this let the next request wait.
const ANSWER_BYTES: usize = 256 * 1024;
/// Pongs that may wait for the socket before only the newest is kept (RFC 6455, section 5.5.3).
const PONGS_MAX: u32 = 32;

/// What became of a step through the input.
enum Step {
    /// So many bytes are understood; look at the rest.
    Took(usize),
    /// More bytes, or an answer, are needed first.
    Wait(usize),
}

impl<T: Transport> Reactor<T> {
    /// Reads until the socket has nothing, or the turn is used up, or the connection has to wait for something.
    pub(super) fn serve(&mut self, index: u32) {
        if self.connections[index].is(bits::DEAD) {
            return;
        }
        if self.connections[index].extra.as_ref().is_some_and(|extra| !extra.spill.is_empty()) {
            self.received(index, 0);
        }
        let mut turn = 0;
        loop {
            let room = self.may_read(index);
            if room == 0 {
                return;
            }
            if turn >= READ_TURN_BYTES {
                self.make_ready(index);
                return;
            }
            let slot = &mut self.connections[index];
            match slot.transport.read(&mut self.buffer[..room]) {
                Ok(0) => return self.end_of_stream(index),
                Ok(count) => {
                    turn += count;
                    slot.set(bits::HEARD, true);
                    self.count(Counter::BytesIn, count as u64);
                    self.received(index, count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    slot.set(bits::READABLE, false);
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.kill(index),
            }
        }
    }

    /// How many bytes may be read at once; 0: the rest waits in the kernel.
    pub(super) fn may_read(&mut self, index: u32) -> usize {
        let slot = &self.connections[index];
        if !slot.is(bits::READABLE) || slot.is(bits::DEAD) || slot.is(bits::READ_CLOSED) {
            return 0;
        }
        if slot.is(bits::ENDING) {
            return READ_TURN_BYTES;
        }
        let mut room = READ_TURN_BYTES;
        if self.unfinished_bytes >= self.limits.unfinished_bytes_max {
            // Small requests still pass, and this much of every connection is the most that comes on top.
            room = PENDING_BYTES.saturating_sub(unfinished(slot));
            if room == 0 {
                if !slot.is(bits::STARVED) {
                    self.connections[index].set(bits::STARVED, true);
                    self.starved.push(index);
                }
                return 0;
            }
        }
        let spill = slot.extra.as_ref().map_or(0, |extra| extra.spill.len());
        match slot.phase() {
            Some(Phase::Head { .. }) if self.is_full(index) => 0,
            Some(Phase::Body) if slot.body_waits() => 0,
            Some(Phase::Head { .. } | Phase::Body | Phase::Dropping) => room,
            Some(Phase::Waiting | Phase::Streaming | Phase::Upgrading) => room.min(PENDING_BYTES.saturating_sub(spill)),
            None if self.is_full(index) => 0,
            None => {
                let accepts = slot.session.as_ref().is_none_or(|session| session.accepts_input());
                if accepts { room } else { 0 }
            }
        }
    }

    /// So much is unsent that nothing more is asked for: what comes in would be answered, too.
    fn is_full(&self, index: u32) -> bool {
        let slot = &self.connections[index];
        let window = slot.session.as_ref().map_or(ANSWER_BYTES, |session| session.limits().outbox_bytes_max);
        slot.outbox.bytes() > window
    }

    pub(super) fn end_of_stream(&mut self, index: u32) {
        let slot = &mut self.connections[index];
        slot.set(bits::READABLE, false);
        slot.set(bits::READ_CLOSED, true);
        if slot.is(bits::ENDING) {
            if slot.is(bits::LINGERING) {
                self.kill(index);
            }
            return;
        }
        let listens = slot.subscription_count() > 0 || slot.extra.as_ref().is_some_and(|extra| !extra.joining.is_empty());
        match slot.phase() {
            // An answer is owed to a client that only ended its own direction; a listener has left.
            Some(Phase::Waiting) if !listens => {}
            Some(Phase::Head { .. } | Phase::Dropping) if !slot.outbox.is_empty() => self.end_after_flush(index),
            Some(_) | None => self.kill(index),
        }
    }

    /// Understands what is there: first what was kept, then `count` new bytes of the read buffer.
    fn received(&mut self, index: u32, count: usize) {
        let mut kept = self.connections[index].extra.as_mut().map_or_else(Vec::new, |extra| std::mem::take(&mut extra.spill));
        let mut buffer = std::mem::take(&mut self.buffer);
        if kept.is_empty() {
            let taken = self.understand(index, &mut buffer[..count]);
            if taken < count && !self.connections[index].is(bits::ENDING) {
                self.connections[index].extra().spill.extend_from_slice(&buffer[taken..count]);
            }
        } else {
            kept.extend_from_slice(&buffer[..count]);
            let taken = self.understand(index, &mut kept);
            if taken < kept.len() && !self.connections[index].is(bits::ENDING) {
                kept.drain(..taken);
                self.connections[index].extra().spill = kept;
            }
        }
        self.buffer = buffer;
        self.count_unfinished(index);
        self.feed_starved();
        self.connections[index].tidy();
        self.schedule(index);
    }

    /// Returns how many bytes of `input` need not be kept.
    fn understand(&mut self, index: u32, input: &mut [u8]) -> usize {
        let mut taken = 0;
        loop {
            let slot = &self.connections[index];
            if slot.is(bits::ENDING) || slot.is(bits::DEAD) {
                return input.len();
            }
            let rest = &mut input[taken..];
            let step = match slot.phase() {
                Some(Phase::Head { .. }) if self.is_full(index) => Step::Wait(0),
                Some(Phase::Head { .. }) => self.head_bytes(index, rest),
                Some(Phase::Body) if slot.body_waits() => Step::Wait(0),
                Some(Phase::Body | Phase::Dropping) => self.body_bytes(index, rest),
                Some(Phase::Waiting | Phase::Streaming | Phase::Upgrading) => Step::Wait(0),
                None => self.websocket_bytes(index, rest),
            };
            match step {
                Step::Took(count) => taken += count,
                Step::Wait(count) => return taken + count,
            }
        }
    }

    fn head_bytes(&mut self, index: u32, input: &[u8]) -> Step {
        if input.is_empty() {
            return Step::Wait(0);
        }
        let head_deadline = self.now.after(self.limits.head_time);
        let unopened = self.connections[index].is(bits::UNOPENED);
        let Some(http) = self.connections[index].http() else { return Step::Wait(0) };
        if http.phase == (Phase::Head { idle: true }) {
            http.phase = Phase::Head { idle: false };
            if !unopened {
                // The first request's time runs from the accept.
                http.deadline = Some(head_deadline);
            }
        }
        let mut scan = std::mem::take(&mut http.scan);
        let mut field_bytes_max = self.limits.field_bytes_max;
        let known = self.registry.head_limits(scan.path(input));
        if let Some(limits) = &known {
            field_bytes_max = limits.field_bytes_max;
        }
        let limits = ScanLimits { line_bytes_max: self.limits.line_bytes_max, field_bytes_max };
        match scan.scan(input, &limits) {
            Ok(Scan::Partial) => {
                self.connections[index].http().expect("an HTTP connection").scan = scan;
                Step::Wait(0)
            }
            Ok(Scan::Line) => {
                let known = self.registry.head_limits(scan.path(input));
                // Only now is it known whose limit counts.
                if known.is_some_and(|limits| scan.line_bytes() > limits.line_bytes_max) {
                    self.refuse_request(index, HeadError::LineTooLong, known);
                    return Step::Took(input.len());
                }
                self.connections[index].http().expect("an HTTP connection").scan = scan;
                Step::Took(0)
            }
            Ok(Scan::Complete { skipped, len }) => {
                match head::parse(&input[skipped..skipped + len]) {
                    Ok(head) => {
                        let limits = self.registry.head_limits(head.path());
                        self.request(index, &head, limits);
                        if self.draining {
                            // Its head was under way when everybody was told.
                            self.drain_connection(index);
                        }
                    }
                    Err(error) => self.refuse_request(index, error, known),
                }
                Step::Took(skipped + len)
            }
            Err(error) => {
                self.refuse_request(index, error, known);
                Step::Took(input.len())
            }
        }
    }

    /// In the words of the dialect whose path it is.
    fn refuse_request(&mut self, index: u32, error: HeadError, limits: Option<HeadLimits>) {
        self.count(Counter::RefusedRequests, 1);
        self.opened(index);
        let refused = limits.map_or(HeadError::response as fn(HeadError) -> Response, |limits| limits.head_refused);
        self.respond(index, refused(error).closing());
    }

    /// The connection has sent a complete head, or is ending because it could not.
    pub(super) fn opened(&mut self, index: u32) {
        let slot = &mut self.connections[index];
        if slot.is(bits::UNOPENED) {
            slot.set(bits::UNOPENED, false);
            self.unopened_count -= 1;
        }
    }

    /// A complete head: some dialect opens it, or nobody does.
    fn request(&mut self, index: u32, head: &Head<'_>, limits: Option<HeadLimits>) {
        self.count(Counter::Requests, 1);
        self.opened(index);
        let now = self.now;
        let body_bytes_max = limits.map_or(self.limits.body_bytes_max, |limits| limits.body_bytes_max);
        let body_deadline = now.after(self.limits.body_stall);
        let (reactor, draining) = (self.index, self.draining);
        let full = self.is_beyond(index);
        let Some(http) = self.connections[index].http() else { return };
        http.deadline = None;
        http.phase = Phase::Waiting;
        http.keep_alive = head.keep_alive && !draining && !full;
        http.is_head = head.method == "HEAD";
        http.framing = match head.version {
            Version::Http11 => Framing::Chunked,
            Version::Http10 => Framing::UntilClose,
        };
        let (door, peer) = (http.door, http.peer);
        http.dropped_bytes_max = body_bytes_max;
        http.body_refused = limits.map(|limits| limits.body_refused);
        http.body_since = now.micros;
        http.body_bytes = 0;
        http.body_waits_since = None;
        http.expects = None;
        let request = Request { head, door, peer, reactor, now, draining, full };
        if full {
            self.count(Counter::RefusedConnections, 1);
        }
        self.actions.now = now;
        self.actions.index = index;
        let (registry, actions) = (&self.registry, &mut self.actions);
        let Ok(opening) = catch_unwind(AssertUnwindSafe(|| registry.open(&request, actions))) else {
            self.actions.drain();
            self.count(Counter::Panics, 1);
            tracing::error!("a dialect panicked; its connection ends");
            return self.respond(index, Response::new(500).closing());
        };
        let (dialect, opening) = match opening {
            Some((name, opening)) => (metrics::dialect(name), Some(opening)),
            None => (0, None),
        };
        let http = self.connections[index].http().expect("an HTTP connection");
        http.body_mode = match &opening {
            Some(Opening::Hold { body, .. }) => *body,
            Some(Opening::WebSocket { .. } | Opening::Respond(_)) | None => BodyMode::Dropped,
        };
        let bytes_max = if http.body_mode == BodyMode::Parts { u64::MAX } else { body_bytes_max };
        let refused_body = match Body::new(head.body, bytes_max) {
            Ok(body) => {
                http.body = (!body.is_done()).then_some(body);
                None
            }
            Err(error) => {
                // Nobody reads it, and nothing behind it.
                http.keep_alive = false;
                Some(body_refusal(error, http.body_refused))
            }
        };
        let has_body = http.body.is_some();
        if let Some(refusal) = refused_body
            && !matches!(opening, Some(Opening::Respond(_)))
        {
            // What else was wrong would have come first.
            self.actions.drain();
            self.count(Counter::RefusedRequests, 1);
            return self.respond(index, refusal.closing());
        }
        let mine = &self.metrics.reactors[usize::from(self.index)];
        let slot = &mut self.connections[index];
        let http = slot.extra.as_mut().and_then(|extra| extra.http.as_mut()).expect("an HTTP connection");
        if head.expects_continue {
            // Until it is called for, the client may or may not send the body: only a closed connection keeps it apart from
            // the next request.
            http.keep_alive = false;
        }
        match opening {
            Some(Opening::Hold { session, body }) => {
                slot.session = Some(session);
                slot.dialect = dialect;
                mine.begun(dialect);
                if body != BodyMode::Dropped {
                    http.phase = Phase::Body;
                    http.deadline = has_body.then_some(body_deadline);
                    http.expects = head.expects_continue.then_some(head.keep_alive);
                }
                self.perform(index);
                self.pace_body(index);
                self.body_ended(index);
            }
            Some(Opening::WebSocket { session, upgrade }) => {
                if has_body {
                    self.actions.drain();
                    self.count(Counter::RefusedRequests, 1);
                    return self.respond(index, Response::new(400).closing());
                }
                slot.session = Some(session);
                slot.dialect = dialect;
                mine.begun(dialect);
                http.phase = Phase::Upgrading;
                http.upgrade = Some(upgrade);
                self.perform(index);
            }
            Some(Opening::Respond(response)) => {
                self.actions.drain();
                self.respond(index, response);
            }
            None => {
                self.actions.drain();
                self.respond(index, Response::new(404));
            }
        }
        if draining {
            // Its head came after the goodbye to everybody.
            self.call(index, |session, actions| session.draining(actions));
        }
    }

    fn body_bytes(&mut self, index: u32, input: &[u8]) -> Step {
        if input.is_empty() {
            return Step::Wait(0);
        }
        let now = self.now;
        let (stall, rate) = (self.limits.body_stall, self.limits.body_min_rate);
        let Some(http) = self.connections[index].http() else { return Step::Wait(0) };
        let Some(body) = &mut http.body else { return Step::Wait(0) };
        let wanted = http.phase == Phase::Body;
        let (count, run) = match body.next(input) {
            Ok(next) => next,
            Err(error) => {
                let refusal = body_refusal(error, http.body_refused);
                self.count(Counter::RefusedRequests, 1);
                if wanted {
                    let refusal = match &self.connections[index].session {
                        Some(session) => session.dressed(refusal),
                        None => refusal,
                    };
                    self.respond(index, refusal.closing());
                } else {
                    self.end_after_flush(index);
                }
                return Step::Took(input.len());
            }
        };
        let done = body.is_done();
        http.body_bytes += count as u64;
        http.deadline = Some(now.after(stall));
        let lasted = now.micros.saturating_sub(http.body_since);
        if !done && lasted > stall.as_micros() as u64 && http.body_bytes * 1_000_000 / lasted.max(1) < rate {
            self.request_timed_out(index);
            return Step::Took(input.len());
        }
        if done {
            http.body = None;
            http.deadline = None;
        }
        if !wanted {
            if done {
                self.next_request(index);
            }
            return Step::Took(count);
        }
        match http.body_mode {
            BodyMode::Parts if !run.is_empty() => {
                self.call(index, |session, actions| session.received(Inbound::Part(run), actions));
            }
            BodyMode::Whole => http.collected.extend_from_slice(run),
            BodyMode::Parts | BodyMode::Dropped => {}
        }
        self.body_ended(index);
        Step::Took(count)
    }

    /// Tells the session of the end of its body, if that is there, and wanted, and the session has not answered before it.
    fn body_ended(&mut self, index: u32) {
        let slot = &mut self.connections[index];
        if slot.phase() != Some(Phase::Body) || slot.body_waits() {
            return;
        }
        let http = slot.http().expect("an HTTP connection");
        if http.body.is_some() {
            return;
        }
        http.phase = Phase::Waiting;
        http.deadline = None;
        match http.body_mode {
            BodyMode::Whole => {
                let body = std::mem::take(&mut http.collected);
                self.call(index, |session, actions| session.received(Inbound::Body(body), actions));
            }
            BodyMode::Parts => self.call(index, |session, actions| session.received(Inbound::End, actions)),
            BodyMode::Dropped => {}
        }
    }

    /// Lets the body wait, or go on, as the session wants it by now.
    pub(super) fn pace_body(&mut self, index: u32) {
        let now = self.now;
        let slot = &mut self.connections[index];
        let phase = slot.phase();
        if matches!(phase, Some(Phase::Body | Phase::Waiting)) {
            // What it has collected may have become less.
            self.count_unfinished(index);
        }
        if phase != Some(Phase::Body) {
            return;
        }
        let slot = &mut self.connections[index];
        let Some(accepts) = slot.session.as_ref().map(|session| session.accepts_input()) else { return };
        let http = slot.http().expect("an HTTP connection");
        if !accepts {
            http.body_waits_since.get_or_insert(now.micros);
            http.deadline = None;
            return;
        }
        let waited = http.body_waits_since.take();
        let expects = http.expects.take();
        if let Some(keep_alive) = expects {
            http.keep_alive = keep_alive && !self.draining;
            self.push(index, Run::new(&b"HTTP/1.1 100 Continue\r\n\r\n"[..]), true);
        }
        if let Some(since) = waited {
            let deadline = now.after(self.limits.body_stall);
            let http = self.connections[index].http().expect("an HTTP connection");
            http.body_since += now.micros - since;
            http.deadline = Some(deadline);
            self.make_ready(index);
            self.schedule(index);
            self.body_ended(index);
        }
    }

    /// A head, a body or the next request did not come in time.
    pub(super) fn request_timed_out(&mut self, index: u32) {
        if let Some(Phase::Head { idle }) = self.connections[index].phase()
            && !self.connections[index].outbox.is_empty()
        {
            // The client still takes the answer before; the time between two requests begins after it.
            let time = if idle { self.limits.keep_alive_idle } else { self.limits.head_time };
            let deadline = Some(self.now.after(time));
            return self.connections[index].http().expect("an HTTP connection").deadline = deadline;
        }
        self.count(Counter::TimedOut, 1);
        match self.connections[index].phase() {
            Some(Phase::Body) => self.respond(index, Response::new(408).closing()),
            Some(Phase::Dropping) => self.end_after_flush(index),
            Some(Phase::Head { .. } | Phase::Waiting | Phase::Streaming | Phase::Upgrading) | None => self.kill(index),
        }
    }

    fn websocket_bytes(&mut self, index: u32, input: &mut [u8]) -> Step {
        let boxed = self.connections[index].extra.as_mut().and_then(|extra| extra.decoder.take());
        let mut decoder = boxed.map_or_else(Decoder::default, |decoder| *decoder);
        let mut taken = 0;
        loop {
            let slot = &self.connections[index];
            let Some(session) = &slot.session else { return Step::Took(input.len()) };
            if slot.is(bits::DEAD) {
                return Step::Took(input.len());
            }
            if !session.accepts_input() || self.is_full(index) {
                break;
            }
            let limits = session.limits();
            let limits =
                DecoderLimits { message_bytes_max: limits.message_bytes_max, fragments_max: limits.message_fragments_max };
            match decoder.decode(&mut input[taken..], &limits) {
                Ok((count, event)) => {
                    taken += count;
                    let is_all = event.is_none();
                    if let Some(event) = event {
                        self.frame(index, event);
                    }
                    let fragments = decoder.take_fragments();
                    if fragments > 0 {
                        self.call(index, |session, actions| session.fragments(fragments, actions));
                    }
                    if is_all {
                        break;
                    }
                }
                Err(violation) => {
                    self.violated(index, violation);
                    return Step::Took(input.len());
                }
            }
        }
        if !decoder.is_idle() {
            self.connections[index].extra().decoder = Some(Box::new(decoder));
        }
        Step::Wait(taken)
    }

    fn violated(&mut self, index: u32, violation: Violation) {
        self.count(Counter::RefusedFrames, 1);
        let code = violation.close_code();
        let reason = self.connections[index].session.as_ref().map_or("", |session| session.violation(code));
        self.close(index, Some(code), reason);
    }

    fn frame(&mut self, index: u32, event: Event<'_>) {
        match event {
            Event::Text(text) => self.call(index, |session, actions| session.received(Inbound::Text(text), actions)),
            Event::Binary(bytes) => self.call(index, |session, actions| session.received(Inbound::Binary(bytes), actions)),
            Event::Ping(payload) => {
                self.pong(index, payload);
                self.call(index, |session, actions| session.received(Inbound::Ping, actions));
            }
            Event::Pong(_) => self.call(index, |session, actions| session.received(Inbound::Pong, actions)),
            Event::Close(code) => self.call(index, |session, actions| session.received(Inbound::Close(code), actions)),
        }
    }

    /// At the next frame border, before everything that is not begun.
    fn pong(&mut self, index: u32, payload: &[u8]) {
        let now = self.now.micros;
        let slot = &mut self.connections[index];
        let frame = encoder::pong(payload);
        if !slot.outbox.is_empty() {
            let extra = slot.extra();
            if extra.pongs >= PONGS_MAX {
                extra.newest_pong = Some(frame);
                return;
            }
            extra.pongs += 1;
        }
        if slot.is(bits::GREETING) {
            slot.outbox.push(Run::new(frame), now);
        } else {
            slot.outbox.push_urgent(Run::new(frame), now);
        }
        self.make_dirty(index, true);
    }
}

/// In the dialect's words, if it is one's.
fn body_refusal(error: BodyError, refused: Option<fn(BodyError) -> Response>) -> Response {
    refused.map_or_else(|| error.response(), |refused| refused(error))
}
