//! Delivering to a topic's subscribers: the reactor over sockets that take everything.

use crate::private::{PING_MICROS, Private};
use crate::scene::{self, NOW, ONE_CHANNEL, access, publication, push_stream};
use fanwire::clock::Now;
use fanwire::hub::Hub;
use fanwire::hub::request::ToReactor;
use fanwire::metrics::{Counter, Metrics};
use fanwire::reactor::transport::Transport;
use fanwire::reactor::{Limits, Reactor};
use fanwire::session::{Dialect, Door, Encoders, Registry};
use gungraun::prelude::*;
use std::collections::VecDeque;
use std::hint::black_box;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// As many as are flushed at once.
const PROMPT: u32 = 1_000;
/// So many that they are flushed in slices.
const BULK: u32 = 4_000;

/// A socket that has the upgrade request to be read and takes everything. As small as a real one.
struct Null {
    read: u32,
}

impl Transport for Null {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = &ONE_CHANNEL[self.read as usize..];
        if rest.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        self.read += count as u32;
        Ok(count)
    }

    fn write(&mut self, frames: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(frames.iter().map(|frame| frame.len()).sum())
    }

    fn shutdown(&mut self) {}
}

struct House {
    reactor: Reactor<Null>,
    hub: Hub,
    metrics: Arc<Metrics>,
    inbox: VecDeque<ToReactor>,
    subscribers: u32,
    /// The counters before what is measured.
    before: [u64; 2],
    now: Now,
}

fn shared(encoders: &mut Encoders) -> Arc<dyn Dialect> {
    Arc::new(push_stream(encoders))
}

fn prefixed(encoders: &mut Encoders) -> Arc<dyn Dialect> {
    Arc::new(Private::new(encoders))
}

impl House {
    fn new(dialect: fn(&mut Encoders) -> Arc<dyn Dialect>) -> House {
        let metrics = Arc::new(Metrics::new(1));
        let mut encoders = Encoders::default();
        let dialect = dialect(&mut encoders);
        let registry = Registry::new(vec![dialect], encoders, access());
        let limits = Limits::default();
        House {
            reactor: Reactor::new(0, Arc::new(registry), limits, metrics.clone(), Box::new(|_| false), NOW),
            hub: scene::hub(metrics.clone()),
            metrics,
            inbox: VecDeque::new(),
            subscribers: 0,
            before: [0; 2],
            now: NOW,
        }
    }

    fn accept(&mut self, connections: u32) {
        for _ in 0..connections {
            self.reactor.accept(Null { read: 0 }, Door::Public, IpAddr::V4(Ipv4Addr::LOCALHOST), NOW);
        }
        self.subscribers += connections;
    }

    /// Hands the reactor's wishes to the hub, and the replies to the inbox.
    fn ask_hub(&mut self) {
        for request in self.reactor.outgoing() {
            self.hub.handle(request, NOW);
        }
        self.take_replies();
    }

    fn take_replies(&mut self) {
        let mut replies = Vec::new();
        self.hub.take_replies(0, &mut replies);
        self.inbox.extend(replies);
        // The publisher is somewhere else.
        self.hub.take_acknowledgements().for_each(drop);
    }

    /// Turns until nothing is left to do.
    fn settle(&mut self) {
        while self.reactor.is_busy() || !self.inbox.is_empty() {
            self.turn();
            self.ask_hub();
        }
    }

    fn turn(&mut self) {
        let inbox = &mut self.inbox;
        self.reactor.turn(&[], &mut std::iter::from_fn(|| inbox.pop_front()), self.now);
        self.reactor.write();
        self.reactor.settle(self.now);
    }

    /// A turn, and those that follow it at once.
    fn turn_on(&mut self) {
        self.turn();
        while self.reactor.is_busy() {
            self.turn();
        }
    }

    fn publish(&mut self, messages: u32) {
        for _ in 0..messages {
            self.hub.handle(publication(), NOW);
        }
        self.take_replies();
    }

    fn counted(&self) -> [u64; 2] {
        [Counter::Deliveries, Counter::Writes].map(|counter| self.metrics.sum(counter))
    }
}

/// Subscribers that idle, and messages for them in the inbox. As many have gone before: lists have grown to their size, and the
/// allocator has tidied up after so many connections.
fn subscribed(subscribers: u32, messages: u32, dialect: fn(&mut Encoders) -> Arc<dyn Dialect>) -> House {
    let mut house = House::new(dialect);
    house.accept(subscribers);
    house.settle();
    assert_eq!(house.metrics.sum(Counter::WebSocketOpened), u64::from(subscribers));
    house.publish(messages);
    house.settle();
    house.publish(messages);
    house.before = house.counted();
    house
}

/// Every subscriber got every message, in one write.
fn delivered(house: House) {
    let [deliveries, writes] = house.counted();
    let [deliveries_before, writes_before] = house.before;
    let messages = deliveries - deliveries_before;
    assert_eq!(writes - writes_before, u64::from(house.subscribers));
    assert!(messages > 0 && messages.is_multiple_of(u64::from(house.subscribers)));
    assert!(!house.reactor.is_busy() && house.inbox.is_empty());
}

#[library_benchmark]
#[bench::message_1(args = (PROMPT, 1, shared), setup = subscribed, teardown = delivered)]
#[bench::messages_16(args = (PROMPT, 16, shared), setup = subscribed, teardown = delivered)]
#[bench::bulk_1(args = (BULK, 1, shared), setup = subscribed, teardown = delivered)]
#[bench::prefixed_1(args = (PROMPT, 1, prefixed), setup = subscribed, teardown = delivered)]
#[bench::prefixed_16(args = (PROMPT, 16, prefixed), setup = subscribed, teardown = delivered)]
fn deliver(mut house: House) -> House {
    black_box(&mut house).turn_on();
    house
}

/// Connections that have been accepted and whose requests lie in the socket.
fn accepted() -> House {
    let mut house = House::new(shared);
    house.accept(PROMPT);
    house
}

fn all_opened(house: House) {
    assert_eq!(house.metrics.sum(Counter::WebSocketOpened), u64::from(PROMPT));
    assert_eq!(house.metrics.sum(Counter::Writes), u64::from(PROMPT));
}

// From the request's first byte to the 101, both ends of the question to the hub included.
#[library_benchmark]
#[bench::connections_1000(setup = accepted, teardown = all_opened)]
fn subscribe(mut house: House) -> House {
    black_box(&mut house).settle();
    house
}

/// Idle connections whose next ping is due. They have been pinged before.
fn due() -> House {
    let mut house = House::new(prefixed);
    house.accept(PROMPT);
    house.settle();
    // Timers fire up to a tick late.
    house.now.micros += PING_MICROS + 200_000;
    house.turn_on();
    house.now.micros += PING_MICROS + 200_000;
    house.before = house.counted();
    house
}

fn pinged(house: House) {
    assert_eq!(house.counted()[1] - house.before[1], u64::from(PROMPT));
}

#[library_benchmark]
#[bench::connections_1000(setup = due, teardown = pinged)]
fn ping(mut house: House) -> House {
    black_box(&mut house).turn_on();
    house
}

library_benchmark_group!(name = delivery, benchmarks = [deliver, subscribe, ping]);
