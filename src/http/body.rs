//! Request bodies: a decoder for `Content-Length` and `chunked`.

use super::head::{BodyLength, is_field_line};
use super::response::Response;

/// Bytes of a line that announces a chunk, without its CRLF.
const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Bytes from the last chunk's line to the end of the body.
const TRAILER_BYTES_MAX: usize = 4096;

/// Why a body is refused. The connection is closed after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    TooLarge,
    Malformed,
}

impl BodyError {
    pub fn status(&self) -> u16 {
        match self {
            BodyError::TooLarge => 413,
            BodyError::Malformed => 400,
        }
    }

    /// The refusal of one who has no words of his own for it.
    pub fn response(self) -> Response {
        Response::new(self.status())
    }
}

/// Decodes one body, whatever way its bytes arrive. It holds no body bytes, at most one line of the framing.
///
/// ```text
///  Length ──────────────────────────────────────────────────▶ Done
///  ChunkLine ──size──▶ Chunk ──▶ ChunkReturn ──▶ ChunkFeed     ▲
///    │   ▲                                          │          │
///    │   └──────────────────────────────────────────┘          │
///    └──────size 0────▶ Trailer ──empty line───────────────────┘       any of them ──▶ Failed
/// ```
#[derive(Clone, Debug)]
pub struct Body {
    part: Part,
    bytes_max: u64,
    /// Announced so far.
    bytes: u64,
    /// The part of the current line that has come.
    line: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Length { left: u64 },
    ChunkLine,
    Chunk { left: u64 },
    ChunkReturn,
    ChunkFeed,
    Trailer { bytes: usize },
    Done,
    Failed(BodyError),
}

impl Body {
    /// # Errors
    /// [`BodyError::TooLarge`] if more than `bytes_max` bytes are announced.
    pub fn new(length: BodyLength, bytes_max: u64) -> Result<Body, BodyError> {
        let (part, bytes) = match length {
            BodyLength::None | BodyLength::Length(0) => (Part::Done, 0),
            BodyLength::Length(bytes) if bytes > bytes_max => return Err(BodyError::TooLarge),
            BodyLength::Length(bytes) => (Part::Length { left: bytes }, bytes),
            BodyLength::Chunked => (Part::ChunkLine, 0),
        };
        Ok(Body { part, bytes_max, bytes, line: Vec::new() })
    }

    /// Takes bytes from the front of `input`, appends body bytes to `into`, and returns how many bytes it took: all of
    /// them unless the body ends before. Trailers are checked and dropped.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] as soon as the chunks announce more than the limit, [`BodyError::Malformed`] when a line that
    /// breaks a rule is complete or too long; again on every later call. `into` then holds what came before.
    pub fn decode(&mut self, input: &[u8], into: &mut Vec<u8>) -> Result<usize, BodyError> {
        let mut taken = 0;
        loop {
            match self.next(&input[taken..])? {
                (0, _) => return Ok(taken),
                (bytes, run) => {
                    taken += bytes;
                    into.extend_from_slice(run);
                }
            }
        }
    }

    /// The same without copying: takes at most one line or one run of body bytes, and returns how many bytes that are and
    /// which of them are the body's. 0: nothing is left to take.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Result<(usize, &'a [u8]), BodyError> {
        self.step(input).inspect_err(|&error| self.part = Part::Failed(error))
    }

    /// From here on takes at most so many bytes more. False: more than that are announced already.
    pub fn bound(&mut self, bytes_max: u64) -> bool {
        let left = match self.part {
            Part::Length { left } | Part::Chunk { left } => left,
            Part::ChunkLine | Part::ChunkReturn | Part::ChunkFeed | Part::Trailer { .. } | Part::Done | Part::Failed(_) => 0,
        };
        self.bytes_max = self.bytes_max.min((self.bytes - left).saturating_add(bytes_max));
        self.bytes <= self.bytes_max
    }

    pub fn is_done(&self) -> bool {
        matches!(self.part, Part::Done)
    }

    fn step<'a>(&mut self, input: &'a [u8]) -> Result<(usize, &'a [u8]), BodyError> {
        let Some(&first) = input.first() else {
            return if let Part::Failed(error) = self.part { Err(error) } else { Ok((0, &[])) };
        };
        match self.part {
            Part::Length { left } => {
                let run = run(input, left);
                let left = left - run.len() as u64;
                self.part = if left == 0 { Part::Done } else { Part::Length { left } };
                Ok((run.len(), run))
            }
            Part::Chunk { left } => {
                let run = run(input, left);
                let left = left - run.len() as u64;
                self.part = if left == 0 { Part::ChunkReturn } else { Part::Chunk { left } };
                Ok((run.len(), run))
            }
            Part::ChunkReturn if first == b'\r' => {
                self.part = Part::ChunkFeed;
                Ok((1, &[]))
            }
            Part::ChunkFeed if first == b'\n' => {
                self.part = Part::ChunkLine;
                Ok((1, &[]))
            }
            Part::ChunkReturn | Part::ChunkFeed => Err(BodyError::Malformed),
            Part::ChunkLine => {
                let (taken, complete) = self.take_line(input, CHUNK_LINE_BYTES_MAX + 2)?;
                if complete {
                    self.chunk_announced()?;
                    self.line.clear();
                }
                Ok((taken, &[]))
            }
            Part::Trailer { bytes } => {
                let (taken, complete) = self.take_line(input, TRAILER_BYTES_MAX - bytes)?;
                self.part = Part::Trailer { bytes: bytes + if complete { self.line.len() } else { 0 } };
                if complete {
                    self.trailer_came()?;
                    self.line.clear();
                }
                Ok((taken, &[]))
            }
            Part::Done => Ok((0, &[])),
            Part::Failed(error) => Err(error),
        }
    }

    /// Moves bytes into `line` up to and including LF; the line with its end may have `bytes_max` bytes.
    fn take_line(&mut self, input: &[u8], bytes_max: usize) -> Result<(usize, bool), BodyError> {
        let end = memchr::memchr(b'\n', input);
        let taken = end.map_or(input.len(), |end| end + 1);
        if taken > bytes_max - self.line.len() {
            return Err(BodyError::Malformed);
        }
        self.line.extend_from_slice(&input[..taken]);
        Ok((taken, end.is_some()))
    }

    fn chunk_announced(&mut self) -> Result<(), BodyError> {
        let line = self.line.strip_suffix(b"\r\n").ok_or(BodyError::Malformed)?;
        let size = parse_chunk_line(line).ok_or(BodyError::Malformed)?;
        self.bytes = self.bytes.checked_add(size).filter(|&bytes| bytes <= self.bytes_max).ok_or(BodyError::TooLarge)?;
        self.part = if size == 0 { Part::Trailer { bytes: 0 } } else { Part::Chunk { left: size } };
        Ok(())
    }

    fn trailer_came(&mut self) -> Result<(), BodyError> {
        match self.line.strip_suffix(b"\r\n") {
            Some(b"") => {
                self.part = Part::Done;
                Ok(())
            }
            Some(line) if is_field_line(line) && !frames_a_message(line) => Ok(()),
            Some(_) | None => Err(BodyError::Malformed),
        }
    }
}

fn run(input: &[u8], left: u64) -> &[u8] {
    &input[..usize::try_from(left).map_or(input.len(), |left| left.min(input.len()))]
}

/// Fields that would change where a message ends or whom it is for never stand in a trailer (RFC 9110, section 6.5.1).
fn frames_a_message(line: &[u8]) -> bool {
    let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
    ["Content-Length", "Transfer-Encoding", "Host"].iter().any(|field| name.eq_ignore_ascii_case(field.as_bytes()))
}

/// The size of a chunk: 1 to 15 hex digits, then extensions without blanks, which are dropped.
fn parse_chunk_line(line: &[u8]) -> Option<u64> {
    let line = std::str::from_utf8(line).ok()?;
    let (size, extensions) = line.find(';').map_or((line, ""), |end| line.split_at(end));
    let is_size = (1..=15).contains(&size.len()) && size.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_size || !extensions_hold(extensions.as_bytes()) {
        return None;
    }
    u64::from_str_radix(size, 16).ok()
}

/// `*( ";" token [ "=" ( token / quoted-string ) ] )` (RFC 9112, section 7.1.1) without the optional blanks.
fn extensions_hold(mut rest: &[u8]) -> bool {
    while let Some(extension) = rest.strip_prefix(b";") {
        let name = token_bytes(extension);
        if name == 0 {
            return false;
        }
        rest = &extension[name..];
        if let Some(value) = rest.strip_prefix(b"=") {
            let bytes = if value.starts_with(b"\"") { quoted_bytes(value) } else { token_bytes(value) };
            if bytes == 0 {
                return false;
            }
            rest = &value[bytes..];
        }
    }
    rest.is_empty()
}

/// How many bytes at the front are those of a token (RFC 9110, section 5.6.2).
pub(super) fn token_bytes(text: &[u8]) -> usize {
    let is_token = |byte: &&u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    text.iter().take_while(is_token).count()
}

/// Length of the quoted string at the front, its quotes included; 0 if it does not end.
fn quoted_bytes(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' if text.get(at + 1).is_some_and(|&next| (0x20..0x7f).contains(&next)) => at += 2,
            b'\t' | 0x20..=0x5b | 0x5d..=0x7e => at += 1,
            _ => return 0,
        }
    }
    0
}
