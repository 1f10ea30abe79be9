//! Encoding one message for a transport, as the first who asks for its frame pays it.

use crate::scene::{TOPIC, payload};
use fanwire::dialects::push_stream::encoders::{Encoding, Encodings};
use fanwire::dialects::push_stream::options::Options;
use fanwire::message::{Message, Seq, Stamp};
use fanwire::session::Encoders;
use gungraun::prelude::*;
use std::hint::black_box;

fn websocket(encodings: Encodings) -> Encoding {
    encodings.websocket
}

fn eventsource(encodings: Encodings) -> Encoding {
    encodings.eventsource_chunked
}

fn message(choose: fn(Encodings) -> Encoding) -> (Message, Encoding) {
    let stamp = Stamp { seq: Seq(7), seconds: 1_795_191_466, tag: 21 };
    let encodings = Encodings::new(&Options::default(), &mut Encoders::default());
    (Message::new(stamp, TOPIC.into(), 3_282, payload()), choose(encodings))
}

#[library_benchmark]
#[bench::websocket(args = (websocket), setup = message)]
#[bench::eventsource(args = (eventsource), setup = message)]
fn encode((message, encoding): (Message, Encoding)) -> (Message, Encoding) {
    black_box(black_box(&message).frame(encoding.id, &*encoding.encoder, || ()));
    (message, encoding)
}

library_benchmark_group!(name = encodings, benchmarks = encode);
