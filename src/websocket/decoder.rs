//! The frame decoder: a client's bytes in, whole messages and control frames out.

use super::mask::unmask;
use super::utf8::{NotUtf8, Text};
use std::io::Cursor;
use std::ops::Range;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Two bytes, eight of length, four of mask.
const HEADER_BYTES_MAX: usize = 14;
/// RFC 6455, section 5.5.
const CONTROL_BYTES_MAX: u64 = 125;

/// What a client may send.
#[derive(Clone, Copy, Debug)]
pub struct DecoderLimits {
    /// Bytes of one message over all its frames, announced ones included.
    pub message_bytes_max: usize,
    /// Frames of one message, empty ones and the first included; at least 1.
    pub fragments_max: u32,
}

/// Something complete that the client has said.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    /// At most 125 bytes.
    Ping(&'a [u8]),
    /// At most 125 bytes.
    Pong(&'a [u8]),
    /// The code, if there was one: 1000-1003, 1007-1014 or 3000-4999. Nothing that follows is to be decoded.
    Close(Option<u16>),
}

/// A broken rule; it ends the connection.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Violation {
    Protocol,
    NotUtf8,
    TooBig,
}

impl Violation {
    /// The code of the close frame that answers it (RFC 6455, section 7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            Violation::Protocol => 1002,
            Violation::NotUtf8 => 1007,
            Violation::TooBig => 1009,
        }
    }
}

impl From<NotUtf8> for Violation {
    fn from(_: NotUtf8) -> Violation {
        Violation::NotUtf8
    }
}

/// Reads one client's frames, however the network cuts them.
///
/// A frame that lies whole in the input is not copied. What is cut is collected in buffers that grow with the bytes that have
/// arrived (at most twice as many, and never more than twice the limit), whatever a header announces.
#[derive(Default)]
pub struct Decoder {
    /// The first `header_bytes` are the beginning of a header.
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: usize,
    /// The frame whose payload is arriving.
    frame: Option<Frame>,
    /// The message that a data frame has begun and none has ended.
    message: Option<Message>,
    /// Frames of messages that have begun and are not the last ones of theirs, until somebody asks.
    fragments: u32,
    /// What has arrived of a control frame; beside the message, since it may come between two fragments.
    control: Vec<u8>,
    /// What the last event borrows.
    delivered: Delivered,
}

struct Header {
    fields: FrameHeader,
    /// Its own size.
    bytes: usize,
    /// As announced, not yet believed.
    payload_bytes: u64,
}

struct Frame {
    part_of: PartOf,
    mask: [u8; 4],
    /// Payload bytes that have not arrived.
    missing: usize,
}

#[derive(Clone, Copy)]
enum PartOf {
    Message { is_last: bool },
    Control(Kind),
}

/// The opcodes of events.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Binary,
    Ping,
    Pong,
    Close,
}

struct Message {
    fragments: u32,
    payload: Payload,
}

enum Payload {
    Text(Text),
    Binary(Vec<u8>),
}

#[derive(Default)]
enum Delivered {
    #[default]
    Nothing,
    Text(String),
    Bytes(Kind, Vec<u8>),
}

/// Where a complete event is found.
enum Complete {
    /// Its payload lies in this part of the input.
    Input(Kind, Range<usize>),
    /// In `Decoder::delivered`.
    Delivered,
}

impl Decoder {
    /// Takes bytes from the front of `input` (unmasked in place) until one event is complete or all are consumed.
    ///
    /// Returns how many were consumed, and the event. Call again with the rest while there was an event.
    ///
    /// # Errors
    /// The first broken rule: at the end of the header that breaks it, at the first byte that makes a text impossible, or at the
    /// end of a close frame. The decoder is of no use afterwards.
    pub fn decode<'a>(
        &'a mut self,
        input: &'a mut [u8],
        limits: &DecoderLimits,
    ) -> Result<(usize, Option<Event<'a>>), Violation> {
        self.delivered = Delivered::Nothing;
        let (consumed, complete) = self.advance(input, limits)?;
        let event = match complete {
            None => None,
            Some(Complete::Input(kind, place)) => Some(event(kind, &input[place])?),
            Some(Complete::Delivered) => match &self.delivered {
                Delivered::Nothing => None,
                Delivered::Text(text) => Some(Event::Text(text)),
                Delivered::Bytes(kind, payload) => Some(event(*kind, payload)?),
            },
        };
        Ok((consumed, event))
    }

    /// How many frames have begun since this was asked last that no event tells of: all of a message but the last one.
    pub fn take_fragments(&mut self) -> u32 {
        std::mem::take(&mut self.fragments)
    }

    /// Nothing is unfinished: the decoder may be dropped and made anew.
    pub fn is_idle(&self) -> bool {
        self.header_bytes == 0 && self.frame.is_none() && self.message.is_none()
    }

    fn advance(&mut self, input: &mut [u8], limits: &DecoderLimits) -> Result<(usize, Option<Complete>), Violation> {
        let mut consumed = 0;
        loop {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => {
                    let (taken, header) = self.take_header(&input[consumed..])?;
                    consumed += taken;
                    let Some(header) = header else { return Ok((consumed, None)) };
                    self.begin(&header, limits)?
                }
            };
            let place = consumed..consumed + frame.missing.min(input.len() - consumed);
            consumed = place.end;
            let part = &mut input[place.clone()];
            unmask(part, &mut frame.mask);
            frame.missing -= part.len();
            let is_whole = frame.missing == 0;
            match frame.part_of {
                PartOf::Control(kind) if is_whole && self.control.is_empty() => {
                    return Ok((consumed, Some(Complete::Input(kind, place))));
                }
                PartOf::Control(kind) => {
                    self.control.extend_from_slice(part);
                    if is_whole {
                        self.delivered = Delivered::Bytes(kind, std::mem::take(&mut self.control));
                        return Ok((consumed, Some(Complete::Delivered)));
                    }
                }
                PartOf::Message { is_last } => {
                    let message = self.message.as_mut().expect("a data frame belongs to a message");
                    let is_complete = is_whole && is_last;
                    if is_complete && message.payload.len() == 0 {
                        let kind = message.payload.kind();
                        self.message = None;
                        return Ok((consumed, Some(Complete::Input(kind, place))));
                    }
                    message.payload.push(part)?;
                    if is_complete && let Some(message) = self.message.take() {
                        self.delivered = message.payload.finish()?;
                        return Ok((consumed, Some(Complete::Delivered)));
                    }
                }
            }
            if !is_whole {
                self.frame = Some(frame);
                return Ok((consumed, None));
            }
        }
    }

    /// Reads a header, maybe one that an earlier call began. Returns how many bytes of `input` it took, and the header once it
    /// is complete.
    fn take_header(&mut self, input: &[u8]) -> Result<(usize, Option<Header>), Violation> {
        let held = self.header_bytes;
        let taken = input.len().min(HEADER_BYTES_MAX - held);
        self.header[held..held + taken].copy_from_slice(&input[..taken]);
        let mut cursor = Cursor::new(&self.header[..held + taken]);
        match FrameHeader::parse(&mut cursor) {
            Ok(Some((fields, payload_bytes))) => {
                let bytes = cursor.position() as usize;
                self.header_bytes = 0;
                Ok((bytes - held, Some(Header { fields, bytes, payload_bytes })))
            }
            Ok(None) => {
                self.header_bytes = held + taken;
                Ok((taken, None))
            }
            // Reserved opcodes are the only error: memory is read without any.
            Err(_) => Err(Violation::Protocol),
        }
    }

    /// Checks what the parser does not, and begins the frame.
    fn begin(&mut self, header: &Header, limits: &DecoderLimits) -> Result<Frame, Violation> {
        let (fields, length) = (&header.fields, header.payload_bytes);
        let Some(mask) = fields.mask else { return Err(Violation::Protocol) };
        // Without an extension RSV bits mean nothing, a length has 63 bits, and there is one form for each length.
        let is_reserved = fields.rsv1 || fields.rsv2 || fields.rsv3;
        if is_reserved || length >> 63 != 0 || fields.len(length) != header.bytes {
            return Err(Violation::Protocol);
        }
        let part_of = match fields.opcode {
            OpCode::Control(control) => {
                if !fields.is_final || length > CONTROL_BYTES_MAX {
                    return Err(Violation::Protocol);
                }
                PartOf::Control(match control {
                    Control::Close => Kind::Close,
                    Control::Ping => Kind::Ping,
                    Control::Pong => Kind::Pong,
                    Control::Reserved(_) => return Err(Violation::Protocol),
                })
            }
            OpCode::Data(data) => {
                let (fragments, payload) = match (data, self.message.take()) {
                    (Data::Text, None) => (0, Payload::Text(Text::default())),
                    (Data::Binary, None) => (0, Payload::Binary(Vec::new())),
                    (Data::Continue, Some(message)) => (message.fragments, message.payload),
                    (Data::Continue, None) | (Data::Text | Data::Binary, Some(_)) | (Data::Reserved(_), _) => {
                        return Err(Violation::Protocol);
                    }
                };
                let room = limits.message_bytes_max.saturating_sub(payload.len());
                if length > room as u64 || fragments >= limits.fragments_max {
                    return Err(Violation::TooBig);
                }
                self.message = Some(Message { fragments: fragments + 1, payload });
                self.fragments += u32::from(!fields.is_final);
                PartOf::Message { is_last: fields.is_final }
            }
        };
        // Both limits fit a usize, so the length does.
        Ok(Frame { part_of, mask, missing: length as usize })
    }

    /// Bytes of heap that are held.
    pub(crate) fn heap_bytes(&self) -> usize {
        let message = self.message.as_ref().map_or(0, |message| match &message.payload {
            Payload::Text(text) => text.capacity(),
            Payload::Binary(bytes) => bytes.capacity(),
        });
        let delivered = match &self.delivered {
            Delivered::Nothing => 0,
            Delivered::Text(text) => text.capacity(),
            Delivered::Bytes(_, bytes) => bytes.capacity(),
        };
        message + self.control.capacity() + delivered
    }
}

impl Payload {
    fn kind(&self) -> Kind {
        match self {
            Payload::Text(_) => Kind::Text,
            Payload::Binary(_) => Kind::Binary,
        }
    }

    fn len(&self) -> usize {
        match self {
            Payload::Text(text) => text.len(),
            Payload::Binary(bytes) => bytes.len(),
        }
    }

    fn push(&mut self, part: &[u8]) -> Result<(), Violation> {
        match self {
            Payload::Text(text) => text.push(part)?,
            Payload::Binary(bytes) => bytes.extend_from_slice(part),
        }
        Ok(())
    }

    fn finish(self) -> Result<Delivered, Violation> {
        match self {
            Payload::Text(text) => Ok(Delivered::Text(text.finish()?)),
            Payload::Binary(bytes) => Ok(Delivered::Bytes(Kind::Binary, bytes)),
        }
    }
}

fn event(kind: Kind, payload: &[u8]) -> Result<Event<'_>, Violation> {
    Ok(match kind {
        Kind::Text => Event::Text(std::str::from_utf8(payload).map_err(|_| Violation::NotUtf8)?),
        Kind::Binary => Event::Binary(payload),
        Kind::Ping => Event::Ping(payload),
        Kind::Pong => Event::Pong(payload),
        Kind::Close => Event::Close(close_code(payload)?),
    })
}

/// The code of a close frame's payload (RFC 6455, sections 5.5.1 and 7.4).
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    if payload.is_empty() {
        return Ok(None);
    }
    let Some((&code, reason)) = payload.split_first_chunk::<2>() else { return Err(Violation::Protocol) };
    let code = u16::from_be_bytes(code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::Protocol);
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(Violation::NotUtf8);
    }
    Ok(Some(code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tungstenite::Message as Sent;
    use tungstenite::protocol::{Role, WebSocket};

    const LIMITS: DecoderLimits = DecoderLimits { message_bytes_max: 200, fragments_max: 4 };

    fn say(event: &Event<'_>) -> String {
        match event {
            Event::Text(text) => format!("text {text}"),
            Event::Binary(bytes) => format!("binary {bytes:02x?}"),
            Event::Ping(bytes) => format!("ping {}", bytes.escape_ascii()),
            Event::Pong(bytes) => format!("pong {}", bytes.escape_ascii()),
            Event::Close(None) => "close".to_owned(),
            Event::Close(Some(code)) => format!("close {code}"),
        }
    }

    /// All events, then the close code of a violation or `unfinished`.
    fn heard<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let mut decoder = Decoder::default();
        let mut heard = Vec::new();
        for part in parts {
            let mut part = part.to_vec();
            let mut rest = &mut part[..];
            loop {
                match decoder.decode(rest, &LIMITS) {
                    Ok((consumed, Some(event))) => {
                        heard.push(say(&event));
                        if let Event::Close(_) = event {
                            return heard;
                        }
                        rest = &mut rest[consumed..];
                    }
                    Ok((consumed, None)) => {
                        assert_eq!(consumed, rest.len(), "without an event everything is consumed");
                        break;
                    }
                    Err(violation) => {
                        heard.push(violation.close_code().to_string());
                        return heard;
                    }
                }
            }
        }
        if !decoder.is_idle() {
            heard.push("unfinished".to_owned());
        }
        heard
    }

    /// Whole, byte by byte, and cut in two at every place.
    #[track_caller]
    fn assert_heard(name: &str, bytes: &[u8], expected: &[&str]) {
        assert_eq!(heard([bytes]), expected, "{name}, whole");
        assert_eq!(heard(bytes.chunks(1)), expected, "{name}, byte by byte");
        for cut in 0..=bytes.len() {
            assert_eq!(heard([&bytes[..cut], &bytes[cut..]]), expected, "{name}, cut at {cut}");
        }
    }

    /// `header`, a mask of zeros, and `count` times `byte`.
    fn long(header: &[u8], byte: u8, count: usize) -> Vec<u8> {
        [header, &[0; 4], &vec![byte; count]].concat()
    }

    // In the tables below most masks are 00 00 00 00, so that payloads can be read.

    #[test]
    fn frames_that_end_no_message_are_counted_however_they_come() {
        let input = b"\x01\x81\0\0\0\0a\x89\x80\0\0\0\0\x00\x80\0\0\0\0\x80\x81\0\0\0\0b\x81\x80\0\0\0\0\x02\x81\0\0\0\0a\x00";
        for bytes in 1..=input.len() {
            let (mut decoder, mut counted, mut events) = (Decoder::default(), 0, 0);
            for piece in input.chunks(bytes) {
                let (mut piece, mut taken) = (piece.to_vec(), 0);
                loop {
                    let (count, event) = decoder.decode(&mut piece[taken..], &LIMITS).unwrap();
                    (taken, events) = (taken + count, events + usize::from(event.is_some()));
                    let is_all = event.is_none();
                    counted += decoder.take_fragments();
                    if is_all {
                        break;
                    }
                }
            }
            assert_eq!((counted, events), (3, 3), "{bytes} bytes at a time");
        }
    }

    #[test]
    fn good_frames_become_events() {
        let x125 = format!("text {}", "x".repeat(125));
        let x126 = format!("text {}", "x".repeat(126));
        let x200 = format!("text {}", "x".repeat(200));
        let ping125 = format!("ping {}", "x".repeat(125));
        let rows: &[(&str, &[u8], &[&str])] = &[
            ("nothing", b"", &[]),
            ("the specification's masked Hello", b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", &["text Hello"]),
            ("an empty text", b"\x81\x80\x01\x02\x03\x04", &["text "]),
            ("an empty binary", b"\x82\x80\x01\x02\x03\x04", &["binary []"]),
            ("a binary may hold anything", b"\x82\x83\0\0\0\0\xff\x00\xc0", &["binary [ff, 00, c0]"]),
            ("characters of two to four bytes", b"\x81\x89\0\0\0\0\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", &["text é€😀"]),
            ("the longest 7-bit length", &long(b"\x81\xfd", b'x', 125), &[&x125]),
            ("the shortest 16-bit length", &long(b"\x81\xfe\x00\x7e", b'x', 126), &[&x126]),
            ("a message as long as the limit", &long(b"\x81\xfe\x00\xc8", b'x', 200), &[&x200]),
            ("two messages", b"\x81\x81\0\0\0\0a\x82\x81\0\0\0\0b", &["text a", "binary [62]"]),
            ("fragments", b"\x01\x81\0\0\0\0a\x00\x81\x20\0\0\0B\x80\x81\0\0\0\0c", &["text abc"]),
            ("fragments of a binary", b"\x02\x81\0\0\0\0a\x80\x81\0\0\0\0b", &["binary [61, 62]"]),
            ("empty fragments", b"\x01\x80\0\0\0\0\x00\x80\0\0\0\0\x80\x80\0\0\0\0", &["text "]),
            ("a text in the last of its fragments", b"\x01\x80\0\0\0\0\x80\x82\0\0\0\0ab", &["text ab"]),
            ("a text in the first of its fragments", b"\x01\x82\0\0\0\0ab\x80\x80\0\0\0\0", &["text ab"]),
            ("a character over three fragments", b"\x01\x81\0\0\0\0\xe2\x00\x81\0\0\0\0\x82\x80\x81\0\0\0\0\xac", &["text €"]),
            ("as many fragments as the limit", b"\x01\x80\0\0\0\0\x00\x80\0\0\0\0\x00\x80\0\0\0\0\x80\x81\0\0\0\0a", &["text a"]),
            ("an empty ping", b"\x89\x80\0\0\0\0", &["ping "]),
            ("a masked ping", b"\x89\x82\x01\x02\x03\x04\x60\x60", &["ping ab"]),
            ("the longest ping", &long(b"\x89\xfd", b'x', 125), &[&ping125]),
            ("a pong", b"\x8a\x81\0\0\0\0a", &["pong a"]),
            (
                "control frames between fragments",
                b"\x01\x81\0\0\0\0a\x89\x81\0\0\0\0p\x8a\x80\0\0\0\0\x80\x81\0\0\0\0b",
                &["ping p", "pong ", "text ab"],
            ),
            ("a close between fragments", b"\x01\x81\0\0\0\0a\x88\x80\0\0\0\0", &["close"]),
            ("a close without a code", b"\x88\x80\0\0\0\0", &["close"]),
            ("a close with a code", b"\x88\x82\0\0\0\0\x03\xe8", &["close 1000"]),
            ("a close with a reason", b"\x88\x85\0\0\0\0\x0f\xa0\xe2\x82\xac", &["close 4000"]),
            ("a header that is cut", b"\x81", &["unfinished"]),
            ("a mask that is cut", b"\x81\x80\0\0\0", &["unfinished"]),
            ("a payload that has not begun", b"\x81\x81\0\0\0\0", &["unfinished"]),
            ("a payload that is cut", b"\x81\x82\0\0\0\0a", &["unfinished"]),
            ("a message that is cut", b"\x01\x81\0\0\0\0a", &["unfinished"]),
            ("an empty fragment and no more", b"\x01\x80\0\0\0\0", &["unfinished"]),
        ];
        for (name, bytes, expected) in rows {
            assert_heard(name, bytes, expected);
        }
    }

    /// Each row ends where the rule is broken, so it also shows that nothing more is waited for.
    #[test]
    fn each_broken_rule_has_its_close_code() {
        let rows: &[(&str, &[u8], &[&str])] = &[
            ("a 16-bit length below 126", b"\x81\xfe\x00\x7d\0\0\0\0", &["1002"]),
            ("a 64-bit length below 126", b"\x81\xff\0\0\0\0\0\0\0\x7d\0\0\0\0", &["1002"]),
            ("a 64-bit length below 65536", b"\x81\xff\0\0\0\0\0\0\xff\xff\0\0\0\0", &["1002"]),
            ("the top bit of a length", b"\x81\xff\x80\0\0\0\0\0\0\0\0\0\0\0", &["1002"]),
            ("every bit of a length", b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", &["1002"]),
            ("RSV1", b"\xc1\x81\0\0\0\0", &["1002"]),
            ("RSV2", b"\xa1\x81\0\0\0\0", &["1002"]),
            ("RSV3", b"\x91\x81\0\0\0\0", &["1002"]),
            ("RSV1 of a ping", b"\xc9\x80\0\0\0\0", &["1002"]),
            ("opcode 3", b"\x83\x80\0\0\0\0", &["1002"]),
            ("opcode 4", b"\x84\x80\0\0\0\0", &["1002"]),
            ("opcode 5", b"\x85\x80\0\0\0\0", &["1002"]),
            ("opcode 6", b"\x86\x80\0\0\0\0", &["1002"]),
            ("opcode 7", b"\x87\x80\0\0\0\0", &["1002"]),
            ("opcode 11", b"\x8b\x80\0\0\0\0", &["1002"]),
            ("opcode 12", b"\x8c\x80\0\0\0\0", &["1002"]),
            ("opcode 13", b"\x8d\x80\0\0\0\0", &["1002"]),
            ("opcode 14", b"\x8e\x80\0\0\0\0", &["1002"]),
            ("opcode 15", b"\x8f\x80\0\0\0\0", &["1002"]),
            ("a text without mask", b"\x81\x05", &["1002"]),
            ("a ping without mask", b"\x89\x00", &["1002"]),
            ("a close without mask", b"\x88\x00", &["1002"]),
            ("a ping of 126 bytes", b"\x89\xfe\x00\x7e\0\0\0\0", &["1002"]),
            ("a pong of 126 bytes", b"\x8a\xfe\x00\x7e\0\0\0\0", &["1002"]),
            ("a close of 126 bytes", b"\x88\xfe\x00\x7e\0\0\0\0", &["1002"]),
            ("a ping longer than any message", b"\x89\xff\0\0\0\0\0\x01\0\0\0\0\0\0", &["1002"]),
            ("a ping in fragments", b"\x09\x81\0\0\0\0", &["1002"]),
            ("a pong in fragments", b"\x0a\x81\0\0\0\0", &["1002"]),
            ("a close in fragments", b"\x08\x81\0\0\0\0", &["1002"]),
            ("a continuation of nothing", b"\x80\x81\0\0\0\0", &["1002"]),
            ("a continuation of nothing, not the last", b"\x00\x81\0\0\0\0", &["1002"]),
            ("a continuation after a whole message", b"\x81\x81\0\0\0\0a\x80\x81\0\0\0\0", &["text a", "1002"]),
            ("a continuation after the last fragment", b"\x01\x80\0\0\0\0\x80\x81\0\0\0\0a\x80\x80\0\0\0\0", &["text a", "1002"]),
            ("a text inside a message", b"\x01\x81\0\0\0\0a\x81\x81\0\0\0\0", &["1002"]),
            ("a binary inside a message", b"\x01\x80\0\0\0\0\x82\x81\0\0\0\0", &["1002"]),
            ("a text inside a binary", b"\x02\x81\0\0\0\0a\x01\x81\0\0\0\0", &["1002"]),
            ("a message above the limit", b"\x82\xfe\x00\xc9\0\0\0\0", &["1009"]),
            ("a message far above the limit", b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", &["1009"]),
            (
                "fragments above the limit together",
                &[&long(b"\x02\xfd", b'x', 125)[..], b"\x00\xcb\0\0\0\0", &[b'x'; 75], b"\x80\x81\0\0\0\0"].concat(),
                &["1009"],
            ),
            ("a sum that would overflow", b"\x02\x81\0\0\0\0a\x80\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", &["1009"]),
            (
                "more fragments than the limit",
                b"\x01\x80\0\0\0\0\x00\x80\0\0\0\0\x00\x80\0\0\0\0\x00\x80\0\0\0\0\x80\x81\0\0\0\0",
                &["1009"],
            ),
            ("a byte that is never UTF-8", b"\x81\x89\0\0\0\0ab\xff", &["1007"]),
            ("a character too long for its value", b"\x81\x89\0\0\0\0\xe0\x80", &["1007"]),
            ("a surrogate", b"\x81\x89\0\0\0\0\xed\xa0", &["1007"]),
            ("beyond the last character", b"\x81\x89\0\0\0\0\xf4\x90", &["1007"]),
            ("a wrong byte after a cut character", b"\x01\x82\0\0\0\0\xe2\x82\x80\x84\0\0\0\0a", &["1007"]),
            ("a character that the end cuts", b"\x81\x82\0\0\0\0\xe2\x82", &["1007"]),
            ("a character that the last fragment cuts", b"\x01\x81\0\0\0\0\xe2\x80\x81\0\0\0\0\x82", &["1007"]),
            ("a character that an empty fragment cuts", b"\x01\x81\0\0\0\0\xc3\x80\x80\0\0\0\0", &["1007"]),
            ("a ping does not hide a wrong byte", b"\x01\x81\0\0\0\0\xc3\x89\x80\0\0\0\0\x80\x81\0\0\0\0a", &["ping ", "1007"]),
            ("a close of one byte", b"\x88\x81\0\0\0\0\x03", &["1002"]),
            ("a close reason that is not UTF-8", b"\x88\x83\0\0\0\0\x03\xe8\xff", &["1007"]),
            ("a close reason that is cut", b"\x88\x84\0\0\0\0\x03\xe8\xe2\x82", &["1007"]),
            ("a wrong code with a wrong reason", b"\x88\x83\0\0\0\0\x03\xed\xff", &["1002"]),
        ];
        for (name, bytes, expected) in rows {
            assert_heard(name, bytes, expected);
            // Without its last byte it is not broken yet.
            let before = heard([&bytes[..bytes.len() - 1]]);
            assert_eq!(before[..expected.len() - 1], expected[..expected.len() - 1], "{name}");
            assert_eq!(before.last().map(String::as_str), Some("unfinished"), "{name} is told neither earlier nor later");
        }
    }

    #[test]
    fn close_codes_are_those_that_may_be_sent() {
        for code in 0..=u16::MAX {
            let [high, low] = code.to_be_bytes();
            let allowed = match code {
                1004..=1006 | 1015 => false,
                1000..=1014 | 3000..=4999 => true,
                _ => false,
            };
            let expected = if allowed { format!("close {code}") } else { "1002".to_owned() };
            assert_eq!(heard([&[0x88, 0x82, 0, 0, 0, 0, high, low][..]]), [expected], "{code}");
        }
    }

    #[test]
    fn a_whole_frame_is_not_copied() {
        let mut input = *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x89\x82\x20\0\0\0Ab\x82\x81\0\0\0\0z";
        let mut decoder = Decoder::default();
        let mut at = 0;
        for (payload_at, payload) in [(6, &b"Hello"[..]), (17, b"ab"), (25, b"z")] {
            let start = input.as_ptr() as usize;
            let (consumed, event) = decoder.decode(&mut input[at..], &LIMITS).unwrap();
            let found = match event.unwrap() {
                Event::Text(text) => text.as_bytes(),
                Event::Binary(bytes) | Event::Ping(bytes) | Event::Pong(bytes) => bytes,
                Event::Close(_) => &[],
            };
            assert_eq!(found, payload);
            assert_eq!(found.as_ptr() as usize - start, payload_at);
            at += consumed;
            assert!(decoder.is_idle());
            assert_eq!(decoder.heap_bytes(), 0);
        }
        assert_eq!(at, input.len());
    }

    #[test]
    fn what_follows_an_event_stays_masked() {
        let mut input = *b"\x81\x81\x01\x01\x01\x01`\x81\x81\x01\x01\x01\x01`";
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode(&mut input, &LIMITS), Ok((7, Some(Event::Text("a")))));
        assert_eq!(input[7..], *b"\x81\x81\x01\x01\x01\x01`");
    }

    #[test]
    fn an_announced_length_allocates_nothing() {
        let limits = DecoderLimits { message_bytes_max: 1 << 40, fragments_max: 4 };
        let mut decoder = Decoder::default();
        let mut header = *b"\x82\xff\0\0\0\x80\0\0\0\0\0\0\0\0";
        assert_eq!(decoder.decode(&mut header, &limits), Ok((14, None)));
        assert_eq!(decoder.heap_bytes(), 0);
        for received in 1..=100 {
            assert_eq!(decoder.decode(&mut [0; 10], &limits), Ok((10, None)));
            assert!(decoder.heap_bytes() <= 2 * 10 * received, "{} bytes of heap", decoder.heap_bytes());
        }
    }

    #[test]
    fn a_delivered_message_is_forgotten_with_the_next_call() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode(&mut b"\x01\x81\0\0\0\0a".to_vec(), &LIMITS), Ok((7, None)));
        assert!(!decoder.is_idle());
        assert_eq!(decoder.decode(&mut b"\x80\x81\0\0\0\0b".to_vec(), &LIMITS), Ok((7, Some(Event::Text("ab")))));
        assert!(decoder.is_idle(), "nothing is unfinished, though the event was borrowed from the decoder");
        assert_eq!(decoder.decode(&mut [], &LIMITS), Ok((0, None)));
        assert_eq!(decoder.heap_bytes(), 0);
    }

    #[test]
    fn a_client_of_another_make_is_understood() {
        let long = "€".repeat(30_000);
        let limits = DecoderLimits { message_bytes_max: 100_000, fragments_max: 1 };
        let mut client = WebSocket::from_raw_socket(Cursor::new(Vec::new()), Role::Client, None);
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            client.send(Sent::binary(vec![7; length])).unwrap();
        }
        client.send(Sent::text(&*long)).unwrap();
        client.send(Sent::Ping(b"1"[..].into())).unwrap();
        client.send(Sent::Pong(b""[..].into())).unwrap();
        client.close(None).unwrap();
        let sent = client.into_inner().into_inner();
        for cut in [1, 1000, sent.len()] {
            let (mut decoder, mut heard) = (Decoder::default(), Vec::new());
            for part in sent.clone().chunks_mut(cut) {
                let mut rest = part;
                while let (consumed, Some(event)) = decoder.decode(rest, &limits).unwrap() {
                    heard.push(match event {
                        Event::Text(text) => Sent::text(text),
                        Event::Binary(bytes) => Sent::binary(bytes.to_vec()),
                        Event::Ping(bytes) => Sent::Ping(bytes.to_vec().into()),
                        Event::Pong(bytes) => Sent::Pong(bytes.to_vec().into()),
                        Event::Close(code) => {
                            assert_eq!(code, None);
                            Sent::Close(None)
                        }
                    });
                    rest = &mut rest[consumed..];
                }
            }
            let mut expected: Vec<Sent> =
                [0, 1, 125, 126, 65_535, 65_536].into_iter().map(|length| Sent::binary(vec![7; length])).collect();
            expected.extend([Sent::text(&*long), Sent::Ping(b"1"[..].into()), Sent::Pong(b""[..].into()), Sent::Close(None)]);
            assert!(heard == expected, "cut into {cut} bytes");
        }
    }
}
