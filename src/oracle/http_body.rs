//! A request body against a naive decoder that sees all of its bytes at once.

use super::{Random, cuttings};
use crate::http::body::{Body, BodyError};
use crate::http::head::BodyLength;

/// The same body, the same end and the same error as the naive decoder gives, however the bytes are cut.
///
/// The first byte is the kind: below 128 `chunked`, else a length of that less 128; the second the limit in units of four
/// bytes. The rest is what the client sends.
pub fn http_body(bytes: &[u8]) {
    check(bytes);
}

/// Whether a body was accepted whole.
fn check(bytes: &[u8]) -> bool {
    let [kind, limit, bytes @ ..] = bytes else {
        return false;
    };
    let length = if *kind < 128 { BodyLength::Chunked } else { BodyLength::Length(u64::from(*kind) - 128) };
    let bytes_max = u64::from(*limit) * 4;
    let mut expected = Vec::new();
    let end = naive(length, bytes_max, bytes, &mut expected);
    assert!(expected.len() as u64 <= bytes_max);
    for ends in cuttings(bytes.len(), &mut Random::of(bytes)) {
        let mut body = Vec::new();
        let decoded = decode(length, bytes_max, bytes, &ends, &mut body);
        assert_eq!(decoded, end, "{length:?}, limit {bytes_max}, cut at {ends:?}: {}", bytes.escape_ascii());
        assert_eq!(body, expected, "{length:?}, cut at {ends:?}: {}", bytes.escape_ascii());
    }
    matches!(end, Ok(Some(_)))
}

/// How many bytes the body took; `None`: it goes on.
type End = Result<Option<usize>, BodyError>;

fn decode(length: BodyLength, bytes_max: u64, bytes: &[u8], ends: &[usize], into: &mut Vec<u8>) -> End {
    let mut body = Body::new(length, bytes_max)?;
    let mut taken = 0;
    for &end in ends {
        taken += body.decode(&bytes[taken..end], into)?;
        assert!(body.is_done() || taken == end, "all is taken until the body ends: {}", bytes.escape_ascii());
    }
    Ok(body.is_done().then_some(taken))
}

fn naive(length: BodyLength, bytes_max: u64, bytes: &[u8], into: &mut Vec<u8>) -> End {
    match length {
        BodyLength::None => Ok(Some(0)),
        BodyLength::Length(length) if length > bytes_max => Err(BodyError::TooLarge),
        BodyLength::Length(length) => {
            let length = length as usize;
            into.extend(bytes.iter().take(length));
            Ok((bytes.len() >= length).then_some(length))
        }
        BodyLength::Chunked => naive_chunked(bytes_max, bytes, into),
    }
}

fn naive_chunked(bytes_max: u64, bytes: &[u8], into: &mut Vec<u8>) -> End {
    let mut at = 0;
    loop {
        let Some(end) = naive_line(bytes, at, at + 258)? else {
            return Ok(None);
        };
        let size = naive_size(&bytes[at..end - 2]).ok_or(BodyError::Malformed)?;
        at = end;
        if size == 0 {
            break;
        }
        if into.len() as u64 + size > bytes_max {
            return Err(BodyError::TooLarge);
        }
        let data = &bytes[at..bytes.len().min(at + size as usize)];
        into.extend(data);
        at += data.len();
        let rest = &bytes[at..];
        if (data.len() as u64) < size || rest.is_empty() || rest == b"\r" {
            return Ok(None);
        }
        if !rest.starts_with(b"\r\n") {
            return Err(BodyError::Malformed);
        }
        at += 2;
    }
    let trailers_end = at + 4_096;
    loop {
        let Some(end) = naive_line(bytes, at, trailers_end)? else {
            return Ok(None);
        };
        let line = &bytes[at..end - 2];
        at = end;
        if line.is_empty() {
            return Ok(Some(at));
        }
        naive_trailer(line).ok_or(BodyError::Malformed)?;
    }
}

/// Where the line that begins at `start` ends, CRLF included, which must not be behind `limit`.
fn naive_line(bytes: &[u8], start: usize, limit: usize) -> Result<Option<usize>, BodyError> {
    for end in start + 1..=bytes.len() {
        if end > limit {
            return Err(BodyError::Malformed);
        }
        if bytes[end - 1] == b'\n' {
            return if bytes[start..end].ends_with(b"\r\n") { Ok(Some(end)) } else { Err(BodyError::Malformed) };
        }
    }
    Ok(None)
}

fn naive_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().position(|&byte| byte == b';').unwrap_or(line.len());
    if digits == 0 || digits > 15 {
        return None;
    }
    let mut size = 0;
    for &digit in &line[..digits] {
        size = size * 16 + u64::from(char::from(digit).to_digit(16)?);
    }
    naive_extensions(&line[digits..]).then_some(size)
}

/// One letter after the other, with the part of the grammar it stands in.
fn naive_extensions(text: &[u8]) -> bool {
    #[derive(Clone, Copy, PartialEq)]
    enum At {
        Start,
        NameStart,
        Name,
        ValueStart,
        Value,
        Quoted,
        Escaped,
    }
    let mut at = At::Start;
    for &byte in text {
        let token = is_token(byte);
        let text = byte == b'\t' || (0x20..0x7f).contains(&byte);
        at = match (at, byte) {
            (At::Start | At::Name | At::Value, b';') => At::NameStart,
            (At::NameStart | At::Name, _) if token => At::Name,
            (At::Name, b'=') => At::ValueStart,
            (At::ValueStart, b'"') => At::Quoted,
            (At::ValueStart | At::Value, _) if token => At::Value,
            (At::Quoted, b'"') => At::Start,
            (At::Quoted, b'\\') => At::Escaped,
            (At::Quoted, _) if text => At::Quoted,
            (At::Escaped, _) if text && byte != b'\t' => At::Quoted,
            _ => return false,
        };
    }
    matches!(at, At::Start | At::Name | At::Value)
}

fn naive_trailer(line: &[u8]) -> Option<()> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = line.split_at(colon);
    let name_holds = !name.is_empty() && name.iter().all(|&byte| is_token(byte));
    let value_holds = value.iter().all(|byte| matches!(byte, b'\t' | 0x20..=0x7e));
    let forbidden: [&[u8]; 3] = [b"host", b"content-length", b"transfer-encoding"];
    (name_holds && value_holds && !forbidden.contains(&&name.to_ascii_lowercase()[..])).then_some(())
}

fn is_token(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use super::super::{mutate, replay};
    use super::*;

    const WORDS: &[&[u8]] = &[
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b" ",
        b"0\r\n",
        b"0\r\n\r\n",
        b"5\r\n",
        b"3\r\nabc\r\n",
        b"fffffffffffffff\r\n",
        b"0000000000000000",
        b"0x",
        b";",
        b"=",
        b"\"",
        b"\\",
        b";a=b",
        b"A: b\r\n",
        b"Content-Length: 1\r\n",
        b"\x00",
        b"\xff",
    ];

    #[test]
    fn the_corpus_holds() {
        replay("http_body", http_body);
    }

    #[test]
    fn mutated_bodies_hold() {
        let runs = 20_000;
        let accepted = mutate("http_body", WORDS, runs, check);
        assert!(accepted > runs / 10 && accepted < runs * 9 / 10, "{accepted} of {runs} accepted: the mutations test little");
    }
}
