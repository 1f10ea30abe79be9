//! How many publications per second one hub orders, with listeners on one reactor and on several.
//!
//! It decides whether one hub thread is enough: it is as long as it orders more than sockets can be written.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fanwire::clock::Now;
use fanwire::exchange::{Entry, Join, JoinTopic, StartAt, SubscriptionId};
use fanwire::hub::request::{Origin, ToHub, ToReactor, Token};
use fanwire::hub::{Hub, Settings};
use fanwire::metrics::Metrics;
use std::hint::black_box;
use std::sync::Arc;

/// Publications between two hand-overs of replies, as many as the hub's thread takes at most.
const BATCH: u64 = 1_024;

fn settings() -> Settings {
    Settings::default()
}

fn origin(reactor: usize) -> Origin {
    Origin { reactor: reactor as u16, connection: Token::new(1, 1), ticket: 1 }
}

/// A hub in which each of `topics` topics has one listener on every reactor.
fn hub(topics: usize, reactors: usize, now: Now) -> Hub {
    let mut hub = Hub::new(settings(), reactors, now, Arc::new(Metrics::new(reactors)));
    for reactor in 0..reactors {
        for topic in 0..topics {
            let topic =
                JoinTopic { id: SubscriptionId(0), name: name(topic).into(), start: StartAt::Now, must_have_messages: false };
            let join = Join { topics: vec![topic], ..Join::default() };
            hub.handle(ToHub::Join { origin: origin(reactor), join: Box::new(join), first: true }, now);
        }
        // Nobody reads that they have joined.
        hub.take_replies(reactor, &mut Vec::new());
    }
    hub
}

fn name(topic: usize) -> &'static str {
    ["a", "b", "c", "d", "e", "f", "g", "h"][topic]
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hub publish");
    group.throughput(Throughput::Elements(BATCH));
    for (topics, reactors) in [(1, 1), (8, 1), (8, 4)] {
        let mut now = Now { micros: 0, unix_micros: 1_795_191_466_000_000 };
        let mut hub = hub(topics, reactors, now);
        let mut replies: Vec<ToReactor> = Vec::new();
        let payload: Arc<[u8]> = Arc::from(&[b'1'; 128][..]);
        group.bench_function(format!("{topics} topics, {reactors} reactors"), |bencher| {
            bencher.iter(|| {
                now.micros += 1_000;
                now.unix_micros += 1_000;
                for number in 0..BATCH as usize {
                    let entry = Entry {
                        topic: name(number % topics).into(),
                        payload: payload.clone(),
                        store: true,
                        event: None,
                        key: None,
                        except: None,
                    };
                    hub.handle(ToHub::Publish { origin: origin(0), entries: vec![entry], report: None }, now);
                }
                for reactor in 0..reactors {
                    hub.take_replies(reactor, &mut replies);
                    // They have arrived.
                    hub.set_queued(reactor, 0, 0);
                }
                assert_eq!(replies.len(), BATCH as usize * reactors);
                replies.clear();
                black_box(hub.take_acknowledgements().count())
            });
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
