//! What a reactor spends per delivery beside the system call: a message goes from the hub's reply to the write of every
//! subscriber, into sockets that take everything and cost nothing.
//!
//! `loadtest fanout --limit-ratio` measures the same with real sockets, against a bare loop of `send`.

use arc_swap::ArcSwap;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fanwire::clock::Now;
use fanwire::config::Config;
use fanwire::dialects::push_stream::PushStream;
use fanwire::exchange::Entry;
use fanwire::hub::request::{Origin, ToHub, ToReactor, Token};
use fanwire::hub::{Hub, Settings};
use fanwire::metrics::{Counter, Metrics};
use fanwire::reactor::transport::Transport;
use fanwire::reactor::{Limits, Reactor};
use fanwire::session::{Door, Encoders, Registry};
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const HANDSHAKE: &[u8] =
    b"GET /websocket/a?auth_token=dev HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A client that says its handshake, is silent afterwards, and takes every byte at once.
struct Null {
    unsaid: &'static [u8],
}

impl Transport for Null {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.unsaid.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = self.unsaid.len().min(into.len());
        into[..count].copy_from_slice(&self.unsaid[..count]);
        self.unsaid = &self.unsaid[count..];
        Ok(count)
    }

    fn write(&mut self, frames: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(frames.iter().map(|frame| frame.len()).sum())
    }

    fn shutdown(&mut self) {}
}

/// One reactor and its hub in one thread, with a clock that stands still.
struct House {
    reactor: Reactor<Null>,
    hub: Hub,
    now: Now,
    metrics: Arc<Metrics>,
}

impl House {
    fn with_subscribers(count: usize) -> House {
        let config = Config::dev();
        let now = Now { micros: 1_000_000, unix_micros: 1_795_191_466_000_000 };
        let metrics = Arc::new(Metrics::new(1));
        let access = Arc::new(ArcSwap::from_pointee(config.access()));
        let mut encoders = Encoders::default();
        let push_stream = PushStream::new(config.push_stream, "bench".to_owned(), access.clone(), &mut encoders);
        let registry = Arc::new(Registry::new(vec![Arc::new(push_stream)], encoders, access));
        let mut house = House {
            reactor: Reactor::new(0, registry, limits(), metrics.clone(), Box::new(|_| false), now),
            hub: Hub::new(settings(), 1, now, metrics.clone()),
            now,
            metrics,
        };
        for _ in 0..count {
            house.reactor.accept(Null { unsaid: HANDSHAKE }, Door::Public, IpAddr::V4(Ipv4Addr::LOCALHOST), now);
        }
        house.settle();
        assert_eq!(house.metrics.sum(Counter::Joined), count as u64);
        house
    }

    /// Lets hub and reactor talk until neither has anything left to say.
    fn settle(&mut self) {
        let mut replies: Vec<ToReactor> = Vec::new();
        loop {
            self.hub.take_replies(0, &mut replies);
            replies.extend(self.hub.take_acknowledgements().map(|(_, reply)| reply));
            let mut inbox = replies.drain(..);
            self.reactor.turn(&[], &mut inbox, self.now);
            replies = inbox.collect();
            self.reactor.write();
            let mut asked = false;
            for request in self.reactor.outgoing() {
                self.hub.handle(request, self.now);
                asked = true;
            }
            asked |= self.hub.serve_reads(self.now, || true);
            if !asked && replies.is_empty() && !self.reactor.is_busy() {
                self.reactor.settle(self.now);
                return;
            }
        }
    }

    fn publish(&mut self, messages: usize, payload: &Arc<[u8]>) {
        let entry = Entry { topic: "a".into(), payload: payload.clone(), store: true, event: None, key: None, except: None };
        // Nobody waits for the answer to this ticket.
        let origin = Origin { reactor: 0, connection: Token(0), ticket: 0 };
        self.hub.handle(ToHub::Publish { origin, entries: vec![entry; messages], report: None }, self.now);
        self.settle();
    }
}

fn limits() -> Limits {
    Limits::default()
}

fn settings() -> Settings {
    Settings::default()
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reactor delivery");
    let payload: Arc<[u8]> = Arc::from(&[b'1'; 128][..]);
    for subscribers in [1_000, 50_000] {
        let mut house = House::with_subscribers(subscribers);
        for messages in [1, 16] {
            group.throughput(Throughput::Elements((subscribers * messages) as u64));
            group.bench_function(format!("{subscribers} subscribers, runs of {messages}"), |bencher| {
                bencher.iter(|| {
                    let before = house.metrics.sum(Counter::Deliveries);
                    house.publish(messages, &payload);
                    assert_eq!(house.metrics.sum(Counter::Deliveries) - before, (subscribers * messages) as u64);
                });
            });
        }
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
