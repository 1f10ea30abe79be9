//! Decoding what a WebSocket client sends: one frame that arrived whole.

use fanwire::websocket::decoder::{Decoder, DecoderLimits, Event};
use gungraun::prelude::*;
use std::hint::black_box;

const LIMITS: DecoderLimits = DecoderLimits { message_bytes_max: 65_536, fragments_max: 64 };
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A masked text frame of so many bytes of payload.
fn frame(payload: usize) -> Vec<u8> {
    let mut frame = match u8::try_from(payload) {
        Ok(length) if length < 126 => vec![0x81, 0x80 | length],
        _ => vec![0x81, 0x80 | 126, (payload >> 8) as u8, payload as u8],
    };
    frame.extend_from_slice(&MASK);
    frame.extend(MASK.iter().cycle().take(payload).map(|mask| b'x' ^ mask));
    frame
}

/// In a box, so that handing it over costs nothing.
fn arrived(payload: usize) -> Box<(Decoder, Vec<u8>)> {
    Box::new((Decoder::default(), frame(payload)))
}

#[library_benchmark]
#[bench::bytes_40(args = (40), setup = arrived)]
#[bench::bytes_4096(args = (4_096), setup = arrived)]
fn decode(mut arrived: Box<(Decoder, Vec<u8>)>) -> Box<(Decoder, Vec<u8>)> {
    let (decoder, bytes) = black_box(&mut *arrived);
    match decoder.decode(bytes, &LIMITS) {
        Ok((_, Some(Event::Text(text)))) => black_box(text.len()),
        other => panic!("{other:?}"),
    };
    arrived
}

library_benchmark_group!(name = frames, benchmarks = decode);
