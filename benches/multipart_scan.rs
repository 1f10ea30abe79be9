//! What it costs, per byte, to let a file pass through the scanner in reads of 64 KiB, beside `memchr` over the same bytes.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fanwire::http::multipart::{Event, Multipart};
use std::hint::black_box;

const FILE_BYTES: usize = 8 << 20;
const READ_BYTES: usize = 64 << 10;
const HEAD: &[u8] = b"------WebKitFormBoundary7MA4YWxkTrZu0gW\r\n\
    Content-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";

/// Bytes like those of a compressed file (xorshift): each value is as frequent as any other.
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(READ_BYTES);
    while bytes.len() < READ_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// Bytes of content, after the head.
fn scan(read: &[u8]) -> usize {
    let mut multipart = Multipart::new("----WebKitFormBoundary7MA4YWxkTrZu0gW");
    let mut content = 0;
    for mut input in std::iter::once(HEAD).chain(std::iter::repeat_n(read, FILE_BYTES / READ_BYTES)) {
        while !input.is_empty() {
            let (taken, event) = multipart.next(input).expect("nothing is wrong");
            if let Some(Event::Content(bytes)) = event {
                content += bytes.len();
            }
            input = &input[taken..];
        }
    }
    content
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("multipart scan");
    group.throughput(Throughput::Bytes(FILE_BYTES as u64)).sample_size(10);
    let lines = b"name;value;another value\r\n".repeat(READ_BYTES / 26 + 1);
    let nearly = b"\r\n----".repeat(READ_BYTES / 6 + 1);
    for (name, read) in [("noise", &noise()), ("lines", &lines), ("beginnings of delimiters", &nearly)] {
        let read = &read[..READ_BYTES];
        group.bench_function(name, |bencher| bencher.iter(|| assert!(scan(black_box(read)).abs_diff(FILE_BYTES) < 64)));
    }
    let read = &noise()[..];
    let each = |count: &dyn Fn(&[u8]) -> usize| (0..FILE_BYTES / READ_BYTES).map(|_| count(black_box(read))).sum::<usize>();
    group.bench_function("memchr of each CR in noise", |bencher| {
        bencher.iter(|| each(&|bytes| memchr::memchr_iter(b'\r', bytes).count()));
    });
    let zeros = vec![0; READ_BYTES];
    group.bench_function("memchr of nothing", |bencher| {
        bencher.iter(|| (0..FILE_BYTES / READ_BYTES).filter(|_| memchr::memchr(b'\r', black_box(&zeros)).is_some()).count());
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
