//! A request head against a naive parser, httparse, and itself cut in other ways.

use super::{Random, cuttings};
use crate::http::head::{BodyLength, FIELDS_MAX, Head, HeadError, HeadScan, Scan, ScanLimits, Version, parse};

/// A head is found, refused or awaited as a naive reader does it, at the same cost and with the same result however it is
/// cut. What is accepted keeps every rule, and httparse reads the same from it.
pub fn http_head(bytes: &[u8]) {
    check(bytes);
}

/// Whether a head was accepted.
fn check(bytes: &[u8]) -> bool {
    let mut random = Random::of(bytes);
    let wide = ScanLimits { line_bytes_max: 16_384, field_bytes_max: 16_384 };
    let narrow = ScanLimits { line_bytes_max: random.below(60), field_bytes_max: random.below(120) };
    for limits in [wide, narrow] {
        let expected = naive_scan(bytes, &limits);
        for ends in cuttings(bytes.len(), &mut random) {
            check_scan(bytes, &ends, &limits, expected);
        }
    }
    check_parse(bytes);
    match naive_scan(bytes, &wide) {
        Some(Ok((skipped, len))) => check_parse(&bytes[skipped..skipped + len]),
        Some(Err(_)) | None => false,
    }
}

/// Start and length of the head, or why there is none; `None`: not yet.
type Found = Option<Result<(usize, usize), HeadError>>;

fn check_scan(bytes: &[u8], ends: &[usize], limits: &ScanLimits, expected: Found) {
    let shown = bytes.escape_ascii();
    let mut scan = HeadScan::default();
    let mut found = None;
    let mut lines = 0;
    let mut received = 0;
    for &end in ends {
        received = end;
        found = loop {
            match scan.scan(&bytes[..end], limits) {
                Ok(Scan::Line) => lines += 1,
                Ok(Scan::Partial) => break None,
                Ok(Scan::Complete { skipped, len }) => break Some(Ok((skipped, len))),
                Err(error) => break Some(Err(error)),
            }
        };
        assert!(lines <= 1, "the request line is reported once: {shown}");
        if found.is_some() {
            break;
        }
    }
    assert_eq!(found, expected, "cut at {ends:?}, {limits:?}: {shown}");
    assert!(scan.looked_at() <= received, "{} bytes looked at, cut at {ends:?}: {shown}", scan.looked_at());
    if let Some(Ok((skipped, len))) = found {
        assert_eq!(lines, 1, "the request line is reported: {shown}");
        assert_eq!(scan.looked_at(), skipped + len, "every byte is looked at once: {shown}");
        if let Ok(head) = parse(&bytes[skipped..skipped + len]) {
            assert_eq!(scan.path(bytes), head.path(), "{shown}");
        }
    }
}

/// Byte after byte: the first one that breaks a rule decides.
fn naive_scan(bytes: &[u8], limits: &ScanLimits) -> Found {
    let mut line_start = 0;
    let mut request_line = None;
    for (at, &byte) in bytes.iter().enumerate() {
        let after_return = at > line_start && bytes[at - 1] == b'\r';
        let is_end = byte == b'\r' || byte == b'\n';
        if let Some((_, fields)) = request_line
            && at - fields >= limits.field_bytes_max
        {
            return Some(Err(HeadError::TooLarge));
        }
        if after_return != (byte == b'\n') {
            return Some(Err(HeadError::Malformed));
        }
        if request_line.is_none() && !is_end {
            if at == line_start && !byte.is_ascii_uppercase() {
                return Some(Err(HeadError::Malformed));
            }
            if at - line_start >= limits.line_bytes_max {
                return Some(Err(HeadError::LineTooLong));
            }
        }
        if byte != b'\n' {
            continue;
        }
        let is_empty = line_start + 1 == at;
        match request_line {
            None if is_empty && at >= 5 => return Some(Err(HeadError::Malformed)),
            None if is_empty => {}
            None => request_line = Some((line_start, at + 1)),
            Some((skipped, _)) if is_empty => return Some(Ok((skipped, at + 1 - skipped))),
            Some(_) => {}
        }
        line_start = at + 1;
    }
    None
}

/// Whether `head` is accepted.
fn check_parse(head: &[u8]) -> bool {
    let parsed = parse(head).ok();
    assert_eq!(parsed, naive_parse(head), "{}", head.escape_ascii());
    if let Some(parsed) = &parsed {
        check_against_httparse(head, parsed);
    }
    parsed.is_some()
}

fn check_against_httparse(bytes: &[u8], head: &Head<'_>) {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    assert_eq!(request.parse(bytes), Ok(httparse::Status::Complete(bytes.len())), "{}", bytes.escape_ascii());
    assert_eq!(request.method, Some(head.method));
    assert_eq!(request.version, Some(if head.version == Version::Http11 { 1 } else { 0 }));
    let target = request.path.expect("it has a target");
    assert!(target.ends_with(head.target) || (head.target == "/" && target.starts_with("http")), "{target}");
    let fields: Vec<_> = request.headers.iter().map(|field| (field.name, field.value)).collect();
    let ours: Vec<_> = head.fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    assert_eq!(fields, ours);
}

/// The rules once more, as plainly as they can be written.
fn naive_parse(bytes: &[u8]) -> Option<Head<'_>> {
    if !bytes.iter().all(|byte| matches!(byte, b'\t' | b'\r' | b'\n' | 0x20..=0x7e)) {
        return None;
    }
    let mut lines = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?.split("\r\n");
    let [method, target, version] = lines.next()?.split(' ').collect::<Vec<_>>()[..] else {
        return None;
    };
    if method.is_empty() || method.len() > 16 || method.contains(|letter: char| !letter.is_ascii_uppercase()) {
        return None;
    }
    let version = match version {
        "HTTP/1.0" => Version::Http10,
        "HTTP/1.1" => Version::Http11,
        _ => return None,
    };
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let outside = |letter: char| !letter.is_ascii_alphanumeric() && !"!#$%&'*+-.^_`|~".contains(letter);
        if name.is_empty() || name.contains(outside) || value.contains(['\r', '\n']) {
            return None;
        }
        fields.push((name, value.trim_matches([' ', '\t'])));
    }
    let values = |name: &str| -> Vec<&str> {
        fields.iter().filter(|(field, _)| field.to_ascii_lowercase() == name).map(|&(_, value)| value).collect()
    };
    let tokens = |name: &str| -> Vec<String> {
        values(name).join(",").split(',').map(|token| token.trim_matches([' ', '\t']).to_ascii_lowercase()).collect()
    };
    let body = match (&values("content-length")[..], &values("transfer-encoding")[..]) {
        ([], []) => BodyLength::None,
        ([], ["chunked"]) if version == Version::Http11 => BodyLength::Chunked,
        ([length], []) if length.len() <= 18 && !length.contains(|digit: char| !digit.is_ascii_digit()) => {
            BodyLength::Length(length.parse().ok()?)
        }
        _ => return None,
    };
    let has_body = body != BodyLength::None && body != BodyLength::Length(0);
    let upgrades =
        tokens("connection").iter().any(|token| token == "upgrade") && tokens("upgrade").iter().any(|token| token == "websocket");
    let host = match values("host")[..] {
        [] if version == Version::Http10 => None,
        [host] if !host.contains([' ', '\t', '@', '/']) => Some(host),
        _ => return None,
    };
    let expects = tokens("expect");
    let has_expect = !values("expect").is_empty();
    if fields.len() > 64 || (has_body && upgrades) || (has_expect && expects.iter().any(|token| token != "100-continue")) {
        return None;
    }
    Some(Head {
        method,
        target: naive_target(method, target, host)?,
        version,
        body,
        keep_alive: version == Version::Http11 && !tokens("connection").iter().any(|token| token == "close"),
        expects_continue: has_expect && has_body && version == Version::Http11,
        fields,
    })
}

fn naive_target<'a>(method: &str, target: &'a str, host: Option<&str>) -> Option<&'a str> {
    if target.contains(|letter: char| !letter.is_ascii_graphic()) {
        return None;
    }
    if target == "*" {
        return (method == "OPTIONS").then_some(target);
    }
    let mut reduced = target;
    for scheme in ["http://", "https://"] {
        if let Some(rest) = target.strip_prefix(scheme) {
            let host = host.filter(|host| !host.is_empty() && !host.contains(['?', '#']))?;
            let path = rest.get(host.len()..).filter(|_| rest[..host.len()].eq_ignore_ascii_case(host))?;
            reduced = if path.is_empty() { "/" } else { path };
        }
    }
    let path = reduced.strip_prefix('/')?.split('?').next()?.as_bytes();
    for (at, _) in path.iter().enumerate().filter(|&(_, &byte)| byte == b'%') {
        let digits = std::str::from_utf8(path.get(at + 1..at + 3)?).ok()?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) || digits == "00" {
            return None;
        }
    }
    Some(reduced)
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
        b"\t",
        b":",
        b",",
        b"%",
        b"%00",
        b"%2F",
        b"?",
        b"*",
        b"@",
        b"\x00",
        b"\x7f",
        b"\x80",
        b"http://a",
        b"HTTP/1.0",
        b"HTTP/2.0",
        b"Host: a\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Connection: upgrade\r\nUpgrade: websocket\r\n",
        b"Expect: 100-continue\r\n",
        b"A: b\r\n",
    ];

    #[test]
    fn the_corpus_holds() {
        replay("http_head", http_head);
    }

    #[test]
    fn mutated_requests_hold() {
        let runs = 20_000;
        let accepted = mutate("http_head", WORDS, runs, check);
        assert!(accepted > runs / 10 && accepted < runs * 9 / 10, "{accepted} of {runs} accepted: the mutations test little");
    }
}
