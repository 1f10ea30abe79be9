//! The strict rules of HTTP, one row of literal bytes each: what is taken, and which error the rest is.
//!
//! Every row runs in pieces of one byte, of seven, and whole, through the scan and the parser as the server uses them.

use super::body::{Body, BodyError};
use super::head::{BodyLength, FIELDS_MAX, Head, HeadError, HeadScan, Scan, ScanLimits, Version, parse};

const LIMITS: ScanLimits = ScanLimits { line_bytes_max: 16_384, field_bytes_max: 16_384 };

/// Receives `bytes` in pieces of `step`. `None`: not complete, and no rule broken yet.
fn receive(bytes: &[u8], step: usize) -> Option<Result<Head<'_>, HeadError>> {
    let mut scan = HeadScan::default();
    let mut end = 0;
    loop {
        match scan.scan(&bytes[..end], &LIMITS) {
            Ok(Scan::Line) => {}
            Ok(Scan::Partial) if end < bytes.len() => end = (end + step).min(bytes.len()),
            Ok(Scan::Partial) => return None,
            Ok(Scan::Complete { skipped, len }) => {
                let head = parse(&bytes[skipped..skipped + len]);
                if let Ok(head) = &head {
                    assert_eq!(scan.path(bytes), head.path());
                }
                return Some(head);
            }
            Err(error) => return Some(Err(error)),
        }
    }
}

fn check(table: &[(&[u8], Result<(), HeadError>)]) {
    for (bytes, expected) in table {
        for step in [1, 7, bytes.len()] {
            let result = receive(bytes, step).map(|head| head.map(|_| ()));
            assert_eq!(result, Some(*expected), "{} in pieces of {step}", bytes.escape_ascii());
        }
    }
}

fn head(bytes: &[u8]) -> Head<'_> {
    receive(bytes, bytes.len()).expect("complete").expect("accepted")
}

#[test]
fn line_ends_are_crlf() {
    check(&[
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(())),
        (b"GET / HTTP/1.1\nHost: a\n\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\nC: d\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\rHost: a\r\r", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\rA: b\r\n\r\n", Err(HeadError::Malformed)),
    ]);
}

#[test]
fn two_empty_lines_may_come_before_a_request() {
    check(&[
        (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(())),
        (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(())),
        (b"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b" \r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
    ]);
}

#[test]
fn methods_are_letters_and_parts_have_one_blank_between_them() {
    check(&[
        (b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(())),
        (b"ABCDEFGHIJKLMNOP / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(())),
        (b"ABCDEFGHIJKLMNOPQ / HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GEt / HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"G3T / HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b" / HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"\x16\x03\x01\x02", Err(HeadError::Malformed)),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
    ]);
}

#[test]
fn targets_are_plain_and_their_paths_decode() {
    check(&[
        (b"GET /!~#?%zz&[]{}|\\^`\"<>% HTTP/1.1\r\nHost: a\r\n\r\n", Ok(())),
        (b"GET /%2F%ff%2500 HTTP/1.1\r\nHost: a\r\n\r\n", Ok(())),
        (b"GET /a?b=%00 HTTP/1.1\r\nHost: a\r\n\r\n", Ok(())),
        (b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET /?\xff HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET /% HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET /%4?1 HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
    ]);
}

#[test]
fn the_absolute_form_names_our_host_and_the_asterisk_is_for_options() {
    check(&[
        (b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", Ok(())),
        (b"GET http://A.example:80/ HTTP/1.1\r\nHost: a.EXAMPLE:80\r\n\r\n", Ok(())),
        (b"GET http://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET http://a.example:80/ HTTP/1.1\r\nHost: a.example\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET http://u@a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET http:///b HTTP/1.1\r\nHost:\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET http://a?b HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET http://a/%zz HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET http://a/%00 HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET ws://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET http://a/ HTTP/1.0\r\n\r\n", Err(HeadError::Malformed)),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Ok(())),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
    ]);
    assert_eq!(head(b"GET http://a:80/b/c?d=/e HTTP/1.1\r\nHost: a:80\r\n\r\n").target, "/b/c?d=/e");
    assert_eq!(head(b"GET https://a HTTP/1.1\r\nHost: a\r\n\r\n").target, "/");
    assert_eq!(head(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").target, "*");
}

#[test]
fn only_two_versions_are_served() {
    check(&[
        (b"GET / HTTP/1.0\r\n\r\n", Ok(())),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Err(HeadError::UnsupportedVersion)),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", Err(HeadError::UnsupportedVersion)),
        (b"GET / HTTP/0.9\r\n\r\n", Err(HeadError::UnsupportedVersion)),
        (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", Err(HeadError::UnsupportedVersion)),
        (b"GET / HTTP/3\r\nHost: a\r\n\r\n", Err(HeadError::UnsupportedVersion)),
        (b"GET /\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / \r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1a\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/+1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / http/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / ICY/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
    ]);
}

#[test]
fn there_is_one_host() {
    check(&[
        (b"GET / HTTP/1.1\r\nhOST: a.example:8080\r\n\r\n", Ok(())),
        (b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", Ok(())),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", Ok(())),
        (b"GET / HTTP/1.0\r\n\r\n", Ok(())),
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", Ok(())),
        (b"GET / HTTP/1.1\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: a\tb\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: a\x01b\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Err(HeadError::Malformed)),
    ]);
}

#[test]
fn field_names_are_tokens_and_nothing_is_folded() {
    check(&[
        (b"GET / HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^_`|~09azAZ: b\r\n\r\n", Ok(())),
        (b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nnocolon\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA(b): c\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA\x00b: c\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA\xe9: c\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\tc\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA:\r\n b\r\n\r\n", Err(HeadError::Malformed)),
    ]);
}

#[test]
fn field_values_are_visible_ascii() {
    check(&[
        (b"GET / HTTP/1.1\r\nHost: a\r\nA:\r\n\r\n", Ok(())),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: \t \r\n\r\n", Ok(())),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\tc\r\n\r\n", Ok(())),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: \xc3\xa9\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: \x80\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: \xff\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x00c\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x0bc\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: \x1b\r\n\r\n", Err(HeadError::Malformed)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: \x7f\r\n\r\n", Err(HeadError::Malformed)),
    ]);
    let fields = head(b"GET / HTTP/1.1\r\nHost:a\r\nA: \t b \tc\t \r\nA:\r\nB: \t\r\n\r\n").fields;
    assert_eq!(fields, [("Host", "a"), ("A", "b \tc"), ("A", ""), ("B", "")]);
}

#[test]
fn the_length_of_a_body_is_told_once() {
    check(&[
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", Ok(())),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999999999\r\n\r\n", Ok(())),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Ok(())),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000000000\r\n\r\n", Err(HeadError::Malformed)),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", Err(HeadError::Malformed)),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", Err(HeadError::Malformed)),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", Err(HeadError::Malformed)),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n", Err(HeadError::Malformed)),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\n", Err(HeadError::Malformed)),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", Err(HeadError::Malformed)),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", Err(HeadError::Malformed)),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\ncontent-length: 6\r\n\r\n", Err(HeadError::Malformed)),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Err(HeadError::Malformed)),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", Err(HeadError::Malformed)),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", Err(HeadError::Malformed)),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Err(HeadError::Malformed)),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n", Err(HeadError::Malformed)),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", Err(HeadError::Malformed)),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", Err(HeadError::Malformed)),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", Err(HeadError::Malformed)),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            Err(HeadError::Malformed),
        ),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Err(HeadError::Malformed)),
    ]);
    let length = |bytes| head(bytes).body;
    assert_eq!(length(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), BodyLength::None);
    assert_eq!(length(b"PUT / HTTP/1.0\r\nContent-Length: 007\r\n\r\n"), BodyLength::Length(7));
    assert_eq!(length(b"PUT / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:chunked\r\n\r\n"), BodyLength::Chunked);
}

#[test]
fn an_upgrade_to_websocket_has_no_body() {
    check(&[
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n", Ok(())),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n", Ok(())),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nContent-Length: 1\r\n\r\n",
            Err(HeadError::Malformed),
        ),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: a\r\nConnection: b, upgrade\r\nUpgrade: h2c, websocket\r\n\
              Transfer-Encoding: chunked\r\n\r\n",
            Err(HeadError::Malformed),
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\n", Ok(())),
        (b"POST / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\n", Ok(())),
    ]);
}

#[test]
fn only_100_continue_can_be_expected() {
    check(&[
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n", Ok(())),
        (b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", Ok(())),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\n", Err(HeadError::ExpectationFailed)),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect:\r\nContent-Length: 1\r\n\r\n", Err(HeadError::ExpectationFailed)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, x\r\n\r\n", Err(HeadError::ExpectationFailed)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nExpect: x\r\n\r\n", Err(HeadError::ExpectationFailed)),
        (b"GET / HTTP/1.1\r\nExpect: x\r\n\r\n", Err(HeadError::Malformed)),
    ]);
    let expects = |bytes| head(bytes).expects_continue;
    assert!(expects(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"));
    assert!(expects(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"));
    assert!(!expects(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n"));
    assert!(!expects(b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n"));
    assert!(!expects(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"));
    assert!(!expects(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n"));
}

#[test]
fn a_connection_is_kept_on_http_1_1_unless_it_says_close() {
    let table: [(&[u8], bool); 7] = [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", true),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n", true),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", false),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: x ,\tclose\r\n\r\n", false),
        (b"GET / HTTP/1.0\r\n\r\n", false),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false),
    ];
    for (bytes, expected) in table {
        assert_eq!(head(bytes).keep_alive, expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_head_has_64_fields_at_most() {
    let with_fields = |fields: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(fields - 1)).into_bytes();
    assert_eq!(head(&with_fields(FIELDS_MAX)).fields.len(), 64);
    check(&[(&with_fields(FIELDS_MAX + 1), Err(HeadError::TooManyFields))]);
}

#[test]
fn sizes_are_limited_to_the_byte() {
    let request = |path: usize, value: usize| {
        format!("GET /{} HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "p".repeat(path), "v".repeat(value)).into_bytes()
    };
    // "GET / HTTP/1.1" has 14 bytes, "Host: a\r\nA: \r\n\r\n" 16.
    check(&[
        (&request(16_384 - 14, 16_384 - 16), Ok(())),
        (&request(16_384 - 13, 1), Err(HeadError::LineTooLong)),
        (&request(1, 16_384 - 15), Err(HeadError::TooLarge)),
    ]);
}

#[test]
fn a_head_is_whole_and_alone_when_it_is_parsed() {
    for bytes in [
        &b""[..],
        b"\r\n",
        b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r",
    ] {
        assert_eq!(parse(bytes), Err(HeadError::Malformed), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_head_tells_its_parts() {
    let head = head(b"PUT /a/%20?b=c?d HTTP/1.1\r\nHost: a\r\nAccept: x, Y\r\nACCEPT: z\r\n\r\n");
    assert_eq!((head.method, head.target, head.version), ("PUT", "/a/%20?b=c?d", Version::Http11));
    assert_eq!((head.path(), head.query()), ("/a/%20", "b=c?d"));
    assert_eq!(head.field("accept"), Some("x, Y"));
    assert_eq!(head.fields_named("accept").collect::<Vec<_>>(), ["x, Y", "z"]);
    assert!(head.lists_token("accept", "y") && head.lists_token("Accept", "Z") && !head.lists_token("Accept", "x, y"));
}

#[test]
fn each_error_has_its_status() {
    let statuses = [
        HeadError::Malformed,
        HeadError::LineTooLong,
        HeadError::TooLarge,
        HeadError::TooManyFields,
        HeadError::UnsupportedVersion,
        HeadError::ExpectationFailed,
    ]
    .map(|error| error.status());
    assert_eq!(statuses, [400, 414, 431, 431, 505, 417]);
    assert_eq!([BodyError::TooLarge, BodyError::Malformed].map(|error| error.status()), [413, 400]);
}

/// The body, and how many bytes behind it are not taken; `None`: it is not complete.
type Received<Bytes> = Result<(Bytes, Option<usize>), BodyError>;

fn receive_body(length: BodyLength, bytes_max: u64, bytes: &[u8], step: usize) -> Received<Vec<u8>> {
    let mut body = Body::new(length, bytes_max)?;
    let mut into = Vec::new();
    let mut taken = 0;
    for end in (0..bytes.len()).step_by(step).map(|start| (start + step).min(bytes.len())) {
        taken += body.decode(&bytes[taken..end], &mut into)?;
        assert!(body.is_done() || taken == end, "all is taken until the body ends");
    }
    Ok((into, body.is_done().then_some(bytes.len() - taken)))
}

fn check_chunked(table: &[(&[u8], Received<&[u8]>)]) {
    for (bytes, expected) in table {
        for step in [1, 3, bytes.len()] {
            let result = receive_body(BodyLength::Chunked, 1_000, bytes, step);
            let expected = expected.map(|(body, rest)| (body.to_vec(), rest));
            assert_eq!(result, expected, "{} in pieces of {step}", bytes.escape_ascii());
        }
    }
}

#[test]
fn a_body_of_known_length_ends_where_it_says() {
    for step in [1, 3, 100] {
        let receive = |length, max, bytes: &[u8]| receive_body(BodyLength::Length(length), max, bytes, step);
        assert_eq!(receive(5, 5, b"helloGET /"), Ok((b"hello".to_vec(), Some(5))));
        assert_eq!(receive(5, 5, b"hell"), Ok((b"hell".to_vec(), None)));
        assert_eq!(receive(0, 0, b"GET /"), Ok((Vec::new(), Some(5))));
        assert_eq!(receive(6, 5, b""), Err(BodyError::TooLarge));
        assert_eq!(receive_body(BodyLength::None, 0, b"GET /", step), Ok((Vec::new(), Some(5))));
    }
    assert!(Body::new(BodyLength::None, 0).unwrap().is_done());
    assert!(Body::new(BodyLength::Length(0), 0).unwrap().is_done());
    assert!(!Body::new(BodyLength::Chunked, 0).unwrap().is_done());
}

#[test]
fn chunks_are_joined() {
    check_chunked(&[
        (b"5\r\nhello\r\n0\r\n\r\n", Ok((b"hello", Some(0)))),
        (b"5\r\nhello\r\n00b\r\n wide world\r\n000\r\n\r\nGET /", Ok((b"hello wide world", Some(5)))),
        (b"A\r\n0123\r\n6789\r\n0\r\n\r\n", Ok((b"0123\r\n6789", Some(0)))),
        (b"a\r\n0123456789\r\n000000000000000\r\n\r\n", Ok((b"0123456789", Some(0)))),
        (b"0\r\n\r\n", Ok((b"", Some(0)))),
        (b"5\r\nhello\r\n0\r\n\r", Ok((b"hello", None))),
        (b"5\r\nhel", Ok((b"hel", None))),
        (b"5;a\r\nhello\r\n0;b=c;d=\"e \\\" ;\t\"\r\n\r\n", Ok((b"hello", Some(0)))),
    ]);
}

#[test]
fn chunk_sizes_are_hex_digits_and_lines_end_with_crlf() {
    check_chunked(&[
        (b"\r\n", Err(BodyError::Malformed)),
        (b"0x5\r\nhello\r\n0\r\n\r\n", Err(BodyError::Malformed)),
        (b"+5\r\nhello\r\n0\r\n\r\n", Err(BodyError::Malformed)),
        (b"-5\r\nhello\r\n0\r\n\r\n", Err(BodyError::Malformed)),
        (b"5g\r\nhello\r\n0\r\n\r\n", Err(BodyError::Malformed)),
        (b" 5\r\nhello\r\n0\r\n\r\n", Err(BodyError::Malformed)),
        (b"5 \r\nhello\r\n0\r\n\r\n", Err(BodyError::Malformed)),
        (b"\xff\r\n", Err(BodyError::Malformed)),
        (b"0000000000000005\r\nhello\r\n0\r\n\r\n", Err(BodyError::Malformed)),
        (b"5\nhello\r\n0\r\n\r\n", Err(BodyError::Malformed)),
        (b"5\r\rhello\r\n0\r\n\r\n", Err(BodyError::Malformed)),
        (b"5\r\r\nhello\r\n0\r\n\r\n", Err(BodyError::Malformed)),
        (b"5\r\nhello\n0\r\n\r\n", Err(BodyError::Malformed)),
        (b"5\r\nhello\r0\r\n\r\n", Err(BodyError::Malformed)),
        (b"5\r\nhello0\r\n\r\n", Err(BodyError::Malformed)),
        (b"5\r\nhello!\r\n0\r\n\r\n", Err(BodyError::Malformed)),
        (b"5;\r\nhello\r\n0\r\n\r\n", Err(BodyError::Malformed)),
        (b"5; a\r\nhello\r\n0\r\n\r\n", Err(BodyError::Malformed)),
        (b"5;a=\r\nhello\r\n0\r\n\r\n", Err(BodyError::Malformed)),
        (b"5;a=\"b\r\nhello\r\n0\r\n\r\n", Err(BodyError::Malformed)),
        (b"5;a=\"b\"c\r\nhello\r\n0\r\n\r\n", Err(BodyError::Malformed)),
        (b"5;a=\"\\\x01\"\r\nhello\r\n0\r\n\r\n", Err(BodyError::Malformed)),
        (b"5;a\x00\r\nhello\r\n0\r\n\r\n", Err(BodyError::Malformed)),
    ]);
}

#[test]
fn chunks_are_summed_before_they_are_taken() {
    check_chunked(&[
        (b"3e8\r\n", Ok((b"", None))),
        (b"3e9\r\n", Err(BodyError::TooLarge)),
        (b"1\r\na\r\n3e7\r\n", Ok((b"a", None))),
        (b"1\r\na\r\n3e8\r\n", Err(BodyError::TooLarge)),
        (b"fffffffffffffff\r\n", Err(BodyError::TooLarge)),
    ]);
    let table: &[u8] = b"1\r\na\r\nfffffffffffffff\r\nb";
    assert_eq!(receive_body(BodyLength::Chunked, u64::MAX, table, 2), Ok((b"ab".to_vec(), None)));
}

#[test]
fn trailers_are_checked_like_fields_and_dropped() {
    check_chunked(&[
        (b"0\r\nA: b\r\nC:\r\n\r\nGET", Ok((b"", Some(3)))),
        (b"0\r\nA: b\n\r\n", Err(BodyError::Malformed)),
        (b"0\r\nA: b\r\n\n", Err(BodyError::Malformed)),
        (b"0\r\n: b\r\n\r\n", Err(BodyError::Malformed)),
        (b"0\r\nA : b\r\n\r\n", Err(BodyError::Malformed)),
        (b"0\r\nA\r\n\r\n", Err(BodyError::Malformed)),
        (b"0\r\nA: b\r\n c\r\n\r\n", Err(BodyError::Malformed)),
        (b"0\r\nA: b\rc\r\n\r\n", Err(BodyError::Malformed)),
        (b"0\r\nA: \xc3\xa9\r\n\r\n", Err(BodyError::Malformed)),
        (b"0\r\nA: \x00\r\n\r\n", Err(BodyError::Malformed)),
        (b"0\r\nA: \x7f\r\n\r\n", Err(BodyError::Malformed)),
        (b"0\r\ncontent-length: 5\r\n\r\n", Err(BodyError::Malformed)),
        (b"0\r\nTransfer-Encoding: chunked\r\n\r\n", Err(BodyError::Malformed)),
        (b"0\r\nHost: a\r\n\r\n", Err(BodyError::Malformed)),
    ]);
}

#[test]
fn chunk_lines_and_trailers_are_limited_to_the_byte() {
    let line = |bytes: usize| format!("0;{}\r\n\r\n", "a".repeat(bytes - 2)).into_bytes();
    let open = |bytes: usize| format!("0;{}", "a".repeat(bytes - 2)).into_bytes();
    // "A: \r\n" and the empty line have 7 bytes.
    let trailer = |bytes: usize| format!("0\r\nA: {}\r\n\r\n", "b".repeat(bytes - 7)).into_bytes();
    let short = |lines: usize| format!("0\r\n{}\r\n", "A: bcd\r\n".repeat(lines)).into_bytes();
    check_chunked(&[
        (&line(256), Ok((b"", Some(0)))),
        (&line(257), Err(BodyError::Malformed)),
        (&open(258), Ok((b"", None))),
        (&open(259), Err(BodyError::Malformed)),
        (&trailer(4_096), Ok((b"", Some(0)))),
        (&trailer(4_097), Err(BodyError::Malformed)),
        (&short(511), Ok((b"", Some(0)))),
        (&short(512), Err(BodyError::Malformed)),
    ]);
}

#[test]
fn a_refused_body_stays_refused() {
    let mut body = Body::new(BodyLength::Chunked, 10).unwrap();
    let mut into = Vec::new();
    assert_eq!(body.decode(b"1\r\na\r\nx\r\n", &mut into), Err(BodyError::Malformed));
    assert_eq!(into, b"a");
    assert_eq!(body.decode(b"0\r\n\r\n", &mut into), Err(BodyError::Malformed));
    assert_eq!(body.decode(b"", &mut into), Err(BodyError::Malformed));
    assert!(!body.is_done());
}
