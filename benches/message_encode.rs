//! What one message costs per encoding, and what finding a frame that was made already costs each further asker.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fanwire::dialects::push_stream::encoders::Encodings;
use fanwire::dialects::push_stream::options::Options;
use fanwire::message::{Message, Seq, Stamp};
use fanwire::session::Encoders;
use std::hint::black_box;
use std::sync::Arc;

fn message(bytes: usize) -> Message {
    let stamp = Stamp { seq: Seq(7), seconds: 1_795_191_466, tag: 21 };
    let payload = format!("\"{}\"", "x".repeat(bytes - 2));
    Message::new(stamp, "user_presence_changed.100".into(), 3_282, Arc::from(payload.as_bytes()))
}

fn bench(criterion: &mut Criterion) {
    let encodings = Encodings::new(&Options::default(), &mut Encoders::default());
    let all = [
        ("websocket", &encodings.websocket),
        ("poll", &encodings.poll),
        ("stream", &encodings.stream_chunked),
        ("eventsource", &encodings.eventsource_chunked),
    ];
    let mut group = criterion.benchmark_group("message encode");
    for (size, bytes) in [("128 B", 128), ("4 KiB", 4_096)] {
        let message = message(bytes);
        group.throughput(Throughput::Bytes(bytes as u64));
        for (name, encoding) in all {
            let mut out = Vec::new();
            group.bench_function(format!("{name}, {size}"), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    encoding.encoder.encode(black_box(&message), &mut out);
                });
            });
        }
    }
    group.finish();

    let mut group = criterion.benchmark_group("message frame");
    group.throughput(Throughput::Elements(1));
    let made = message(128);
    group.bench_function("found again", |bencher| {
        bencher.iter(|| black_box(made.frame(encodings.websocket.id, &*encodings.websocket.encoder, || {})));
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
