//! What an idle subscriber, and a listener of records, costs, counted at the allocator: its session, and nothing else.
//!
//! Its own binary with a single test: whatever else ran would be counted, too.

use fanwire::clock::Now;
use fanwire::config::Config;
use fanwire::dialects::endpoints;
use fanwire::dialects::push_stream::PushStream;
use fanwire::exchange::Entry;
use fanwire::hub::request::{Origin, ToHub, ToReactor, Token};
use fanwire::hub::{Hub, Settings};
use fanwire::metrics::{Counter, Metrics};
use fanwire::reactor::transport::Transport;
use fanwire::reactor::{Limits, Reactor};
use fanwire::session::{Door, Encoders, Registry};
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering::Relaxed};

struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);
static LIVE_BYTES: AtomicIsize = AtomicIsize::new(0);
static MADE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is the system allocator's; only numbers are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(1, Relaxed);
        LIVE_BYTES.fetch_add(layout.size() as isize, Relaxed);
        MADE.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        LIVE.fetch_sub(1, Relaxed);
        LIVE_BYTES.fetch_sub(layout.size() as isize, Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SUBSCRIBER: &[u8] =
    b"GET /websocket/news?auth_token=dev HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                           Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const LISTENER: &[u8] = b"GET /api/1/ce/examples/unsecure-endpoint?key=d59eb2859c284168ac48aef65046d5dd HTTP/1.1\r\nHost: x\r\n\
                          Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A client that shakes hands, then listens. It has no heap of its own.
struct Client {
    handshake: &'static [u8],
    said: usize,
}

impl Transport for Client {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = &self.handshake[self.said..];
        if rest.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        self.said += count;
        Ok(count)
    }

    fn write(&mut self, frames: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(frames.iter().map(|frame| frame.len()).sum())
    }

    fn shutdown(&mut self) {}
}

struct House {
    reactor: Reactor<Client>,
    hub: Hub,
    now: Now,
    metrics: Arc<Metrics>,
    inbox: VecDeque<ToReactor>,
}

impl House {
    fn new() -> House {
        let config = Config::dev();
        let now = Now { micros: 1_000_000, unix_micros: 1_795_191_466_000_000 };
        let metrics = Arc::new(Metrics::new(1));
        let access = Arc::new(arc_swap::ArcSwap::from_pointee(config.access()));
        let mut encoders = Encoders::default();
        let push_stream = PushStream::new(config.push_stream, "host".into(), access.clone(), &mut encoders);
        let records = endpoints::Live::new([1; 32]);
        let prepared = records.prepare(&config.endpoints, &mut encoders, config.server.drain_time);
        prepared.enforce();
        let registry = Registry::new(vec![Arc::new(push_stream), Arc::new(records.dialect())], encoders, access);
        let limits = Limits::default();
        let settings = Settings { endpoints: prepared.settings, ..Settings::default() };
        House {
            reactor: Reactor::new(0, Arc::new(registry), limits, metrics.clone(), Box::new(|_| false), now),
            hub: Hub::new(settings, 1, now, metrics.clone()),
            now,
            metrics,
            inbox: VecDeque::new(),
        }
    }

    fn connect(&mut self, handshake: &'static [u8], count: usize) {
        for _ in 0..count {
            self.reactor.accept(Client { handshake, said: 0 }, Door::Public, Ipv4Addr::LOCALHOST.into(), self.now);
            self.settle();
        }
    }

    fn settle(&mut self) {
        while self.reactor.is_busy() || !self.inbox.is_empty() {
            let inbox = &mut self.inbox;
            self.reactor.turn(&[], &mut std::iter::from_fn(|| inbox.pop_front()), self.now);
            self.ask_hub();
            self.reactor.write();
            self.ask_hub();
            self.reactor.settle(self.now);
        }
    }

    fn ask_hub(&mut self) {
        for request in self.reactor.outgoing() {
            self.hub.handle(request, self.now);
        }
        let mut replies = Vec::new();
        self.hub.take_replies(0, &mut replies);
        // The publisher is somewhere else.
        self.hub.take_acknowledgements().for_each(drop);
        self.inbox.extend(replies);
    }

    fn publish(&mut self) {
        let entry =
            Entry { topic: "news".into(), payload: b"hello"[..].into(), store: false, event: None, key: None, except: None };
        let origin = Origin { reactor: 0, connection: Token(0), ticket: 0 };
        self.hub.handle(ToHub::Publish { origin, entries: vec![entry], report: None }, self.now);
        self.ask_hub();
    }

    fn counted(&self, counter: Counter) -> u64 {
        self.metrics.sum(counter)
    }
}

#[test]
fn an_idle_subscriber_is_one_small_allocation_and_a_broadcast_adds_none() {
    let mut house = House::new();
    // Beyond 4,096 lists that double have room until 8,192.
    house.connect(SUBSCRIBER, 4_200);
    let (live, bytes) = (LIVE.load(Relaxed), LIVE_BYTES.load(Relaxed));
    house.connect(SUBSCRIBER, 1_000);
    assert_eq!(house.counted(Counter::Joined), 5_200);
    assert_eq!(house.counted(Counter::WebSocketOpened), 5_200);
    assert_eq!(LIVE.load(Relaxed) - live, 1_000, "live allocations of 1,000 idle subscribers");
    assert_eq!(LIVE_BYTES.load(Relaxed) - bytes, 1_000 * 24, "bytes of them beside slots and lists");

    // Once, so that lists have their room.
    house.publish();
    house.settle();
    let (live, made) = (LIVE.load(Relaxed), MADE.load(Relaxed));
    let writes = house.counted(Counter::Writes);
    for _ in 0..16 {
        house.publish();
    }
    house.settle();
    assert_eq!(house.counted(Counter::Writes) - writes, 5_200, "one write per connection for sixteen messages");
    let (live, made) = (LIVE.load(Relaxed) - live, MADE.load(Relaxed) - made);
    assert!(live < 200 && made < 400, "{made} allocations were made for 5,200 subscribers, {live} of them live on");

    // Beyond 8,192 lists that double have room until 16,384.
    house.connect(LISTENER, 4_200);
    let (live, bytes) = (LIVE.load(Relaxed), LIVE_BYTES.load(Relaxed));
    house.connect(LISTENER, 1_000);
    assert_eq!(house.counted(Counter::WebSocketOpened), 10_400);
    assert_eq!(LIVE.load(Relaxed) - live, 1_000, "live allocations of 1,000 idle listeners of records");
    // They are pinged: each has an entry in a timer's list, of 4 bytes, and lists double.
    let bytes = LIVE_BYTES.load(Relaxed) - bytes;
    assert!((40_000..=48_000).contains(&bytes), "{bytes} bytes of them beside slots and lists of listeners");
}
