//! A network in memory: short reads and writes, refusals at any byte, resets, half-closes, and events exactly as an
//! edge-triggered epoll gives them.

use crate::Planted;
use crate::random::Random;
use fanwire::reactor::transport::Transport;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;

/// One TCP connection, seen from above.
pub struct Wire {
    /// From the client, not yet arrived.
    pub flight: VecDeque<u8>,
    /// Arrived, not yet read by the server.
    inbound: VecDeque<u8>,
    /// Written by the server, not yet read by the client.
    outbound: VecDeque<u8>,
    /// How much of that the kernel holds.
    capacity: usize,
    /// The client ends its direction behind what is in flight.
    pub finishing: bool,
    /// The end has arrived.
    finished: bool,
    pub reset: bool,
    /// The server ended its direction.
    shut: bool,
    /// The server closed the socket.
    pub gone: bool,
    /// The kernel has something to tell that it has not told yet.
    edge: bool,
    /// A write was refused: room will be told.
    refused: bool,
    /// When the server last got rid of a byte, in steps of the caller's clock.
    pub progress_at: u64,
    pub clock: u64,
    pub broken_rule: Option<&'static str>,
    /// A planted bug: the next write is refused although there is room.
    lie: bool,
    planted: Planted,
    random: Random,
}

/// The server's end.
pub struct Socket(pub Rc<RefCell<Wire>>);

impl Wire {
    pub fn new(planted: Planted, mut random: Random) -> Rc<RefCell<Wire>> {
        let capacity = 1 + random.below(2_000);
        Rc::new(RefCell::new(Wire {
            flight: VecDeque::new(),
            inbound: VecDeque::new(),
            outbound: VecDeque::new(),
            capacity,
            finishing: false,
            finished: false,
            reset: false,
            shut: false,
            gone: false,
            edge: false,
            refused: false,
            progress_at: 0,
            clock: 0,
            broken_rule: None,
            lie: false,
            planted,
            random,
        }))
    }

    /// Some of what is in flight arrives. Every arrival is an edge.
    pub fn arrive(&mut self, at_most: usize) -> bool {
        if self.gone || self.finished {
            self.flight.clear();
            return false;
        }
        let count = at_most.min(self.flight.len());
        self.inbound.extend(self.flight.drain(..count));
        let ends = self.finishing && self.flight.is_empty();
        if ends {
            self.finished = true;
        }
        self.edge |= count > 0 || ends;
        count > 0 || ends
    }

    /// The client takes what is there, up to a bound.
    pub fn take(&mut self, at_most: usize) -> Vec<u8> {
        let count = at_most.min(self.outbound.len());
        let taken: Vec<u8> = self.outbound.drain(..count).collect();
        if count > 0 {
            self.capacity = (1 + self.random.below(2_000)).max(self.outbound.len() + 1);
            if self.refused {
                self.refused = false;
                self.edge = true;
            }
        }
        taken
    }

    /// The stream has ended for the client, everything has been read.
    pub fn is_over(&self) -> bool {
        self.reset || self.outbound.is_empty() && (self.shut || self.gone)
    }

    pub fn break_off(&mut self) {
        self.reset = true;
        self.edge = true;
        self.inbound.clear();
        self.flight.clear();
        self.outbound.clear();
    }

    /// What epoll says of this socket if it says anything: readable, writable, hangup.
    pub fn state(&self) -> (bool, bool, bool) {
        let hangup = self.finished || self.reset;
        (!self.inbound.is_empty() || hangup, self.outbound.len() < self.capacity || self.reset, hangup)
    }

    pub fn has_edge(&self) -> bool {
        self.edge && !self.gone
    }

    pub fn told(&mut self) {
        self.edge = false;
    }
}

impl Transport for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        if wire.reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if wire.random.percent(2) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if wire.inbound.is_empty() {
            return if wire.finished { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let most = wire.inbound.len().min(into.len());
        let count = if wire.random.percent(60) { most } else { 1 + wire.random.below(most) };
        for (to, from) in into.iter_mut().zip(wire.inbound.drain(..count)) {
            *to = from;
        }
        Ok(count)
    }

    fn write(&mut self, frames: &[IoSlice<'_>]) -> io::Result<usize> {
        let wire = &mut *self.0.borrow_mut();
        if wire.reset {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if wire.shut {
            wire.broken_rule = Some("a write after our direction ended");
        }
        if wire.random.percent(2) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if std::mem::take(&mut wire.lie) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let total: usize = frames.iter().map(|frame| frame.len()).sum();
        let room = wire.capacity.saturating_sub(wire.outbound.len());
        if room == 0 {
            wire.refused = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let most = total.min(room);
        let count = if wire.random.percent(70) { most } else { 1 + wire.random.below(most) };
        wire.outbound.extend(frames.iter().flat_map(|frame| frame.iter().copied()).take(count));
        wire.progress_at = wire.clock;
        wire.lie = wire.planted == Planted::WritableClearedEarly && count < total;
        if wire.planted == Planted::DroppedPartialWrite && count < total && wire.random.percent(10) {
            return Ok(count + 1);
        }
        Ok(count)
    }

    fn shutdown(&mut self) {
        self.0.borrow_mut().shut = true;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let wire = &mut *self.0.borrow_mut();
        wire.gone = true;
        if !wire.inbound.is_empty() {
            // Closing with unread bytes resets: the client may lose what it has not read.
            let left = wire.random.below(wire.outbound.len() + 1);
            wire.outbound.truncate(left);
        }
    }
}
