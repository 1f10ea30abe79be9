//! What it costs to take a client's frames apart, per byte: whole in one read, and cut into small ones.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fanwire::websocket::decoder::{Decoder, DecoderLimits, Event};
use std::hint::black_box;

const LIMITS: DecoderLimits = DecoderLimits { message_bytes_max: 1 << 20, fragments_max: 64 };
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// One masked text frame as a client sends it.
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x81];
    match payload.len() {
        short @ 0..=125 => bytes.push(0x80 | short as u8),
        medium @ 126..=65_535 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&KEY);
    bytes.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// Texts that came out of the stream, read by `read` bytes at a time.
fn decode(stream: &mut [u8], read: usize) -> usize {
    let mut decoder = Decoder::default();
    let mut texts = 0;
    for mut input in stream.chunks_mut(read) {
        loop {
            let (consumed, is_text) = match decoder.decode(input, &LIMITS) {
                Ok((consumed, Some(Event::Text(text)))) => {
                    black_box(text);
                    (consumed, true)
                }
                Ok((_, None)) => break,
                other => panic!("{other:?}"),
            };
            texts += usize::from(is_text);
            input = &mut input[consumed..];
        }
    }
    texts
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("websocket decode");
    for (name, bytes) in [("32 B", 32), ("1 KiB", 1 << 10), ("64 KiB", 1 << 16)] {
        let count = (1 << 16) / bytes;
        let stream = frame("é".repeat(bytes / 2).as_bytes()).repeat(count);
        for (cut, read) in [("whole reads", stream.len()), ("1,460 B reads", 1_460)] {
            group.throughput(Throughput::Bytes(stream.len() as u64));
            group.bench_function(format!("{name}, {cut}"), |bencher| {
                // The decoder unmasks in place, so each round needs its own bytes.
                bencher.iter_batched_ref(
                    || stream.clone(),
                    |stream| assert_eq!(decode(stream, read), count),
                    BatchSize::LargeInput,
                );
            });
        }
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
