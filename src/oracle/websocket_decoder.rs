//! The frame decoder hears the same however its input is cut, and the same as tungstenite's reader.

use crate::websocket::decoder::{Decoder, DecoderLimits, Event, Violation};
use std::io::{self, Cursor, Read, Write};
use tungstenite::error::{Error, ProtocolError};
use tungstenite::protocol::{Message, Role, WebSocketConfig, WebSocketContext};

const LIMITS: DecoderLimits = DecoderLimits { message_bytes_max: 300, fragments_max: 5 };

/// Reads a client's bytes in several ways. The first four bytes are the sizes of parts less one, used in turn.
///
/// # Panics
/// If the ways disagree, if a rule is told late, or if more is buffered than what has arrived explains.
pub fn websocket_decoder(bytes: &[u8]) {
    compare(bytes);
}

/// What was said before the end.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The connection goes on.
    Open,
    /// It is closed with this code, by the client or by us.
    Closed(Option<u16>),
}

/// Where we mean to differ from tungstenite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Difference {
    None,
    /// It takes lengths that have a shorter form.
    LengthForm,
    /// It calls a length with the top bit too big; here it is malformed.
    TopBit,
    /// It looks at the size of a frame before the other rules.
    RuleBeforeSize,
    /// It counts no fragments.
    Fragments,
    /// It looks at a close frame's reason before its code.
    CodeBeforeReason,
    /// It does not know 1014, which was registered after RFC 6455.
    BadGateway,
}

struct Reading {
    heard: Vec<Heard>,
    end: End,
    is_idle: bool,
    is_violated: bool,
    /// Bytes given before the part that brought the end, and with it.
    received: (usize, usize),
}

fn compare(bytes: &[u8]) -> (End, Difference) {
    let Some((sizes, stream)) = bytes.split_first_chunk::<4>() else { return (End::Open, Difference::None) };
    let ours = read(stream, &[1]);
    let earliest = ours.received.1;
    for sizes in [&[usize::MAX][..], &sizes.map(|size| 1 + usize::from(size))] {
        let other = read(stream, sizes);
        assert_eq!((&other.heard, other.end, other.is_idle), (&ours.heard, ours.end, ours.is_idle), "parts of {sizes:?}");
        assert!(other.received.0 < earliest || stream.is_empty(), "the end was there before the last part of {sizes:?}");
        assert!(earliest <= other.received.1, "an end that byte by byte came later");
    }
    (ours.end, difference(stream, &ours))
}

/// Our reading of the stream in parts of these sizes, in turn.
fn read(stream: &[u8], sizes: &[usize]) -> Reading {
    let mut decoder = Decoder::default();
    let mut reading = Reading { heard: Vec::new(), end: End::Open, is_idle: true, is_violated: false, received: (0, 0) };
    let mut sizes = sizes.iter().cycle();
    while reading.received.1 < stream.len() {
        let begin = reading.received.1;
        let end = begin + sizes.next().map_or(1, |&size| size.min(stream.len() - begin));
        reading.received = (begin, end);
        let mut part = stream[begin..end].to_vec();
        let mut rest = &mut part[..];
        loop {
            if decoder.is_idle() {
                decoder = Decoder::default();
            }
            let given = rest.len();
            let event = match decoder.decode(rest, &LIMITS) {
                Ok((consumed, event)) => {
                    assert!(event.is_some() || consumed == given, "without an event all is consumed");
                    event.map(|event| (consumed, keep(&event)))
                }
                Err(violation) => {
                    reading.end = End::Closed(Some(violation.close_code()));
                    reading.is_violated = true;
                    return reading;
                }
            };
            // A vector's smallest size is eight bytes; a message and a control frame may be unfinished together.
            assert!(decoder.heap_bytes() <= 2 * end + 16, "{} bytes of heap for {end}", decoder.heap_bytes());
            match event {
                Some((consumed, Ok(heard))) => {
                    reading.heard.push(heard);
                    rest = &mut rest[consumed..];
                }
                Some((_, Err(code))) => {
                    reading.end = End::Closed(code);
                    return reading;
                }
                None => break,
            }
        }
    }
    reading.is_idle = decoder.is_idle();
    reading
}

/// What was heard, or the code of a close.
fn keep(event: &Event<'_>) -> Result<Heard, Option<u16>> {
    match event {
        Event::Text(text) => Ok(Heard::Text((*text).to_owned())),
        Event::Binary(bytes) => Ok(Heard::Binary(bytes.to_vec())),
        Event::Ping(bytes) => Ok(Heard::Ping(bytes.to_vec())),
        Event::Pong(bytes) => Ok(Heard::Pong(bytes.to_vec())),
        Event::Close(code) => Err(*code),
    }
}

fn difference(stream: &[u8], ours: &Reading) -> Difference {
    let mut stream = stream.to_vec();
    let frame = ours.is_violated.then(|| frame_at(&stream, ours.received.1));
    // tungstenite judges complete frames, so it is given the rest of the one that we have refused.
    if let Some(frame) = &frame
        && frame.payload_bytes <= LIMITS.message_bytes_max as u64
    {
        let end = frame.payload_begin + frame.payload_bytes as usize;
        stream.resize(stream.len().max(end), 0);
    }
    let (heard, end) = read_by_tungstenite(stream);
    if (&ours.heard, ours.end) == (&heard, end) {
        return Difference::None;
    }
    assert!(heard.starts_with(&ours.heard), "ours {:?}, tungstenite's {heard:?}", ours.heard);
    let is_heard = heard.len() == ours.heard.len();
    let code = |violation: Violation| End::Closed(Some(violation.close_code()));
    let [protocol, not_utf8, too_big] = [Violation::Protocol, Violation::NotUtf8, Violation::TooBig].map(code);
    let found = match &frame {
        None if (ours.end, end) == (End::Closed(Some(1014)), protocol) => Some(Difference::BadGateway),
        None => None,
        Some(frame) if ours.end == protocol && frame.has_shorter_form() => Some(Difference::LengthForm),
        Some(frame) if ours.end == too_big && frame.fragments > LIMITS.fragments_max => Some(Difference::Fragments),
        Some(frame) if is_heard && (ours.end, end) == (protocol, too_big) => match frame.payload_bytes {
            0..=300 => None,
            length if length >> 63 == 0 => Some(Difference::RuleBeforeSize),
            _ => Some(Difference::TopBit),
        },
        Some(frame) if is_heard && (ours.end, end) == (protocol, not_utf8) && frame.opcode == 8 => {
            Some(Difference::CodeBeforeReason)
        }
        Some(_) => None,
    };
    found.unwrap_or_else(|| panic!("ours {:?} {:?}, tungstenite's {heard:?} {end:?}", ours.heard, ours.end))
}

/// A frame as a plain reader sees it.
struct NaiveFrame {
    opcode: u8,
    /// 0 to 125, 126 or 127.
    length_form: u8,
    payload_bytes: u64,
    payload_begin: usize,
    /// Frames of its message up to this one.
    fragments: u32,
}

impl NaiveFrame {
    fn has_shorter_form(&self) -> bool {
        match self.length_form {
            126 => self.payload_bytes < 126,
            127 => self.payload_bytes < 65_536,
            _ => false,
        }
    }
}

/// The frame that the first `taken` bytes end in or with. Its header is complete and those before it are good.
fn frame_at(stream: &[u8], taken: usize) -> NaiveFrame {
    let (mut begin, mut fragments) = (0, 0);
    loop {
        let (first, second) = (stream[begin], stream[begin + 1]);
        let length_form = second & 0x7f;
        let length_size = match length_form {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let payload_bytes = match length_size {
            0 => u64::from(length_form),
            _ => stream[begin + 2..begin + 2 + length_size].iter().fold(0, |length, &byte| length << 8 | u64::from(byte)),
        };
        let payload_begin = begin + 2 + length_size + if second & 0x80 == 0 { 0 } else { 4 };
        let opcode = first & 0x0f;
        if opcode < 8 {
            fragments += 1;
        }
        if (taken - begin) as u64 <= (payload_begin - begin) as u64 + payload_bytes.min(1 << 62) {
            return NaiveFrame { opcode, length_form, payload_bytes, payload_begin, fragments };
        }
        if opcode < 8 && first & 0x80 != 0 {
            fragments = 0;
        }
        begin = payload_begin + payload_bytes as usize;
    }
}

/// Gives a stream to read; what is written is dropped.
struct Client(Cursor<Vec<u8>>);

impl Read for Client {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn read_by_tungstenite(stream: Vec<u8>) -> (Vec<Heard>, End) {
    let config = WebSocketConfig::default()
        .read_buffer_size(1024)
        .max_frame_size(Some(LIMITS.message_bytes_max))
        .max_message_size(Some(LIMITS.message_bytes_max));
    let mut context = WebSocketContext::new(Role::Server, Some(config));
    let mut client = Client(Cursor::new(stream));
    let mut heard = Vec::new();
    let end = loop {
        match context.read(&mut client) {
            Ok(Message::Text(text)) => heard.push(Heard::Text(text.to_string())),
            Ok(Message::Binary(bytes)) => heard.push(Heard::Binary(bytes.to_vec())),
            Ok(Message::Ping(bytes)) => heard.push(Heard::Ping(bytes.to_vec())),
            Ok(Message::Pong(bytes)) => heard.push(Heard::Pong(bytes.to_vec())),
            // A code that is not allowed becomes 1002 here.
            Ok(Message::Close(close)) => break End::Closed(close.map(|close| close.code.into())),
            Ok(Message::Frame(_)) => panic!("raw frames are not read"),
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => break End::Open,
            Err(Error::Protocol(_)) => break End::Closed(Some(Violation::Protocol.close_code())),
            Err(Error::Utf8(_)) => break End::Closed(Some(Violation::NotUtf8.close_code())),
            Err(Error::Capacity(_)) => break End::Closed(Some(Violation::TooBig.close_code())),
            Err(error) => panic!("{error}"),
        }
    };
    (heard, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Xorshift(u64);

    impl Xorshift {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        fn below(&mut self, bound: u64) -> u64 {
            (self.next() >> 8) % bound
        }

        fn one_in(&mut self, times: u64) -> bool {
            self.below(times) == 0
        }
    }

    /// One to ten frames that keep most rules, then a few changed, dropped or doubled bytes.
    fn stream(random: &mut Xorshift) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..4).map(|_| random.below(12) as u8).collect();
        let mut is_open = false;
        // Some have long messages of many fragments.
        let (frames, last_in) = if random.one_in(5) { (10, 8) } else { (6, 2) };
        for _ in 0..=random.below(frames) {
            let is_last = random.one_in(last_in);
            frame(random, is_last, &mut is_open, &mut bytes);
        }
        for _ in 0..random.below(3) {
            let at = random.below(bytes.len() as u64) as usize;
            match random.below(4) {
                0 => bytes[at] = random.next() as u8,
                1 => bytes[at] ^= 1 << random.below(8),
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, bytes[at]),
            }
        }
        bytes
    }

    fn frame(random: &mut Xorshift, is_last: bool, is_open: &mut bool, bytes: &mut Vec<u8>) {
        let opcode = match random.below(12) {
            0 => 8,
            1 | 2 => 9,
            3 => 10,
            4 => random.below(16) as u8,
            _ if *is_open => 0,
            5 | 6 => 2,
            _ => 1,
        };
        let is_last = opcode >= 8 || is_last;
        if opcode < 3 {
            *is_open = !is_last;
        }
        let payload = payload(random, opcode);
        bytes.push(opcode | if is_last { 0x80 } else { 0 });
        match (payload.len() as u16, random.below(40)) {
            (length, 0) => bytes.extend([&[0xff, 0, 0, 0, 0, 0, 0][..], &length.to_be_bytes()].concat()),
            (_, 1) => bytes.extend([0xff].into_iter().chain(random.next().to_be_bytes())),
            (length @ 0..126, shorter) if shorter > 2 => bytes.push(0x80 | length as u8),
            (length, _) => bytes.extend([&[0xfe][..], &length.to_be_bytes()].concat()),
        }
        let mask = if random.one_in(2) { [0; 4] } else { (random.next() as u32).to_be_bytes() };
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    }

    fn payload(random: &mut Xorshift, opcode: u8) -> Vec<u8> {
        let mut payload = Vec::new();
        if opcode == 8 {
            const CODES: [u16; 12] = [0, 999, 1000, 1003, 1004, 1006, 1007, 1014, 1015, 2999, 3000, 4999];
            payload.extend(CODES[random.below(12) as usize].to_be_bytes());
        }
        let length = match random.below(20) {
            0 => 120 + random.below(10),
            1 => 290 + random.below(20),
            _ => random.below(8),
        };
        while (payload.len() as u64) < length {
            let pieces = ["a", "é", "€", "😀", "\u{7ff}", "\u{10ffff}"];
            match random.below(30) {
                0 => payload.push(random.next() as u8),
                _ => payload.extend(pieces[random.below(6) as usize].bytes()),
            }
        }
        if random.one_in(4) {
            // So that characters go over fragments, or end where they must not.
            payload.truncate(random.below(1 + payload.len() as u64) as usize);
        }
        payload
    }

    #[test]
    fn streams_of_a_fixed_seed_hold() {
        let (mut ends, mut differences) = (Vec::new(), Vec::new());
        for seed in 1..=20_000 {
            let mut random = Xorshift(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
            let bytes = stream(&mut random);
            let (end, difference) =
                std::panic::catch_unwind(|| compare(&bytes)).unwrap_or_else(|_| panic!("seed {seed}: {}", bytes.escape_ascii()));
            ends.push(end);
            differences.push(difference);
        }
        // Streams that no longer reach a case would prove nothing about it.
        for end in [End::Open, End::Closed(None)]
            .into_iter()
            .chain([1000, 1002, 1007, 1009, 1014, 4999].map(|code| End::Closed(Some(code))))
        {
            assert!(ends.iter().filter(|&&other| other == end).count() >= 20, "{end:?}");
        }
        for difference in [
            Difference::None,
            Difference::LengthForm,
            Difference::TopBit,
            Difference::RuleBeforeSize,
            Difference::Fragments,
            Difference::CodeBeforeReason,
            Difference::BadGateway,
        ] {
            assert!(differences.iter().filter(|&&other| other == difference).count() >= 10, "{difference:?}");
        }
    }

    #[test]
    fn the_corpus_holds() {
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/websocket_decoder")).unwrap();
        let replayed = files.map(|file| websocket_decoder(&std::fs::read(file.unwrap().path()).unwrap())).count();
        assert!(replayed > 0);
    }
}
