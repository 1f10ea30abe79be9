//! Finding the end of a head while its bytes arrive.

use super::head::HeadError;
use super::target::split_absolute;
use memchr::memchr2;

/// Empty lines that a client may send before a request line.
const EMPTY_LINES_MAX: usize = 2;

/// What a head may hold; `FIELDS_MAX` limits the number of its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanLimits {
    /// Bytes of the request line without its CRLF.
    pub line_bytes_max: usize,
    /// Bytes of everything after the request line, the empty line included.
    pub field_bytes_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// More bytes are needed.
    Partial,
    /// The request line is complete: ask for the limits of its path and scan on. Reported once.
    Line,
    /// `len` bytes from `skipped` on are the head, the empty line included; before them are empty lines.
    Complete { skipped: usize, len: usize },
}

/// Looks for the end of one head and never at a byte twice, whatever way the bytes arrive.
///
/// ```text
///  RequestLine ──CRLF──▶ Fields ──empty line──▶ Complete        any of them ──▶ Failed
///    │     ▲             │    ▲
///    └CRLF─┘             └CRLF┘
///    at most twice, before the request line
/// ```
/// Every CR must be followed by LF and every LF follow a CR. The first byte that breaks a rule decides the error, so that
/// it is the same however the bytes are cut.
#[derive(Clone, Debug, Default)]
pub struct HeadScan {
    /// Every byte before this one has been looked at.
    scanned: usize,
    /// Where the current line begins.
    line_start: usize,
    part: Part,
    #[cfg(any(test, fuzzing))]
    looked_at: usize,
}

#[derive(Clone, Copy, Debug, Default)]
enum Part {
    #[default]
    RequestLine,
    /// The request line stands from `skipped` to the CRLF before `start`.
    Fields {
        skipped: usize,
        start: usize,
    },
    Complete {
        skipped: usize,
        start: usize,
    },
    Failed(HeadError),
}

impl HeadScan {
    /// Goes on from where it stopped; `buffer` is everything received so far of this request.
    ///
    /// # Errors
    /// [`HeadError::Malformed`], [`HeadError::LineTooLong`] and [`HeadError::TooLarge`], as soon as the byte that causes it
    /// is there, and again on every later call.
    ///
    /// # Panics
    /// If `buffer` is shorter than in an earlier call.
    pub fn scan(&mut self, buffer: &[u8], limits: &ScanLimits) -> Result<Scan, HeadError> {
        let scan = self.advance(buffer, limits);
        if let Err(error) = scan {
            self.part = Part::Failed(error);
        }
        scan
    }

    /// The path of the request line once it is known, not decoded and without the authority of an absolute form.
    ///
    /// Equal to [`Head::path`](super::head::Head::path) of a head that [`parse`](super::head::parse) accepts; `""` if it
    /// cannot accept it, or the line is not complete.
    pub fn path<'a>(&self, buffer: &'a [u8]) -> &'a str {
        let line = match self.part {
            Part::Fields { skipped, start } | Part::Complete { skipped, start } => &buffer[skipped..start - 2],
            Part::RequestLine | Part::Failed(_) => return "",
        };
        let Some(target) = line.split(|&byte| byte == b' ').nth(1).and_then(|target| std::str::from_utf8(target).ok()) else {
            return "";
        };
        let target = match split_absolute(target) {
            Some((_, rest)) => rest,
            None if target.starts_with('/') || target == "*" => target,
            None => return "",
        };
        target.split_once('?').map_or(target, |(path, _)| path)
    }

    /// Bytes of the request line without its CRLF, once it is complete.
    pub fn line_bytes(&self) -> usize {
        match self.part {
            Part::Fields { skipped, start } | Part::Complete { skipped, start } => start - 2 - skipped,
            Part::RequestLine | Part::Failed(_) => 0,
        }
    }

    /// How many bytes were looked at in all calls, to show that the work is linear.
    #[cfg(any(test, fuzzing))]
    pub fn looked_at(&self) -> usize {
        self.looked_at
    }

    fn advance(&mut self, buffer: &[u8], limits: &ScanLimits) -> Result<Scan, HeadError> {
        loop {
            match self.part {
                Part::RequestLine | Part::Fields { .. } => {}
                Part::Complete { skipped, .. } => return Ok(Scan::Complete { skipped, len: self.scanned - skipped }),
                Part::Failed(error) => return Err(error),
            }
            if self.scanned > self.line_start && buffer[self.scanned - 1] == b'\r' {
                let Some(&byte) = buffer.get(self.scanned) else {
                    return Ok(Scan::Partial);
                };
                self.look_at(1);
                self.scanned += 1;
                self.check_size(2, limits)?;
                if byte != b'\n' {
                    return Err(HeadError::Malformed);
                }
                if let Some(found) = self.line_ended()? {
                    return Ok(found);
                }
            } else {
                let rest = &buffer[self.scanned..];
                let end = memchr2(b'\r', b'\n', rest);
                self.look_at(end.map_or(rest.len(), |end| end + 1));
                let content = &rest[..end.unwrap_or(rest.len())];
                // Another protocol at this door (TLS, say) is told at its first byte, not after `head_time`.
                let first = content.first().filter(|_| self.scanned == self.line_start);
                if matches!(self.part, Part::RequestLine) && first.is_some_and(|byte| !byte.is_ascii_uppercase()) {
                    return Err(HeadError::Malformed);
                }
                self.scanned += content.len();
                self.check_size(0, limits)?;
                let Some(&byte) = buffer.get(self.scanned) else {
                    return Ok(Scan::Partial);
                };
                self.scanned += 1;
                self.check_size(1, limits)?;
                if byte == b'\n' {
                    return Err(HeadError::Malformed);
                }
            }
        }
    }

    fn look_at(&mut self, _bytes: usize) {
        #[cfg(any(test, fuzzing))]
        {
            self.looked_at += _bytes;
        }
    }

    /// Compares what has been scanned with the limits; the last `line_end` bytes of it are CR and LF.
    fn check_size(&self, line_end: usize, limits: &ScanLimits) -> Result<(), HeadError> {
        match self.part {
            Part::RequestLine if self.scanned - self.line_start - line_end > limits.line_bytes_max => Err(HeadError::LineTooLong),
            Part::Fields { start, .. } if self.scanned - start > limits.field_bytes_max => Err(HeadError::TooLarge),
            Part::RequestLine | Part::Fields { .. } | Part::Complete { .. } | Part::Failed(_) => Ok(()),
        }
    }

    /// A CRLF has been scanned.
    fn line_ended(&mut self) -> Result<Option<Scan>, HeadError> {
        let is_empty = self.scanned - self.line_start == 2;
        let line_start = std::mem::replace(&mut self.line_start, self.scanned);
        match self.part {
            Part::RequestLine if is_empty && line_start == 2 * EMPTY_LINES_MAX => Err(HeadError::Malformed),
            Part::RequestLine if is_empty => Ok(None),
            Part::RequestLine => {
                self.part = Part::Fields { skipped: line_start, start: self.scanned };
                Ok(Some(Scan::Line))
            }
            Part::Fields { skipped, start } if is_empty => {
                self.part = Part::Complete { skipped, start };
                Ok(Some(Scan::Complete { skipped, len: self.scanned - skipped }))
            }
            Part::Fields { .. } | Part::Complete { .. } | Part::Failed(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ScanLimits = ScanLimits { line_bytes_max: 16_384, field_bytes_max: 16_384 };

    /// Feeds `bytes` in pieces of `step` until the head is complete or refused.
    fn scan_all(bytes: &[u8], step: usize, limits: &ScanLimits) -> (Result<Scan, HeadError>, usize, HeadScan) {
        let mut scan = HeadScan::default();
        let mut lines = 0;
        let mut end = 0;
        loop {
            match scan.scan(&bytes[..end], limits) {
                Ok(Scan::Line) => lines += 1,
                Ok(Scan::Partial) if end < bytes.len() => end = (end + step).min(bytes.len()),
                result => return (result, lines, scan),
            }
        }
    }

    #[test]
    fn a_head_of_single_bytes_is_looked_at_once() {
        let mut head = b"\r\n\r\nGET /pub?id=a HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
        head.resize(16_000, b'x');
        head.extend_from_slice(b"\r\n\r\n");
        let len = head.len() - 4;
        head.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
        for step in [1, 2, 3, 7, 1_000, head.len()] {
            let (result, lines, scan) = scan_all(&head, step, &LIMITS);
            assert_eq!(result, Ok(Scan::Complete { skipped: 4, len }), "in pieces of {step}");
            assert_eq!(lines, 1);
            assert_eq!(scan.path(&head), "/pub");
            assert_eq!(scan.looked_at(), 4 + len, "in pieces of {step}");
        }
    }

    #[test]
    fn each_limit_is_met_exactly() {
        let limits = ScanLimits { line_bytes_max: 14, field_bytes_max: 11 };
        let table: &[(&[u8], Result<Scan, HeadError>)] = &[
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(Scan::Complete { skipped: 0, len: 27 })),
            (b"GET / HTTP/1.1\r\nHost: ab\r\n\r\n", Err(HeadError::TooLarge)),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r", Ok(Scan::Partial)),
            (b"GET / HTTP/1.1\r\nHost: abcdef", Err(HeadError::TooLarge)),
            (b"GET / HTTP/1.1\r", Ok(Scan::Partial)),
            (b"GET /a HTTP/1.1", Err(HeadError::LineTooLong)),
            (b"GET /a HTTP/1.1\r\n\r\n", Err(HeadError::LineTooLong)),
            (b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", Ok(Scan::Complete { skipped: 4, len: 18 })),
            (b"GET / HTTP/1.1\r\r", Err(HeadError::Malformed)),
        ];
        for (bytes, expected) in table {
            for step in [1, 5, bytes.len()] {
                assert_eq!(scan_all(bytes, step, &limits).0, *expected, "{}, pieces of {step}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn limits_may_change_with_the_path() {
        let head = b"\r\nGET /wide HTTP/1.1\r\nHost: a.example\r\n\r\n";
        let mut scan = HeadScan::default();
        assert_eq!(scan.scan(head, &ScanLimits { line_bytes_max: 100, field_bytes_max: 1 }), Ok(Scan::Line));
        assert_eq!(scan.path(head), "/wide");
        assert_eq!(scan.scan(head, &LIMITS), Ok(Scan::Complete { skipped: 2, len: head.len() - 2 }));
        assert_eq!(scan.scan(head, &LIMITS), Ok(Scan::Complete { skipped: 2, len: head.len() - 2 }));
    }

    #[test]
    fn an_error_stays() {
        let mut scan = HeadScan::default();
        assert_eq!(scan.scan(b"\n", &LIMITS), Err(HeadError::Malformed));
        assert_eq!(scan.scan(b"\nGET / HTTP/1.1\r\n\r\n", &LIMITS), Err(HeadError::Malformed));
        assert_eq!(scan.path(b"\nGET / HTTP/1.1\r\n\r\n"), "");
    }

    #[test]
    fn the_path_is_that_of_the_target() {
        let table = [
            ("GET /a/b?c=/d HTTP/1.1", "/a/b"),
            ("GET http://a.example/b?c HTTP/1.1", "/b"),
            ("GET https://a.example HTTP/1.1", "/"),
            ("OPTIONS * HTTP/1.1", "*"),
            ("GET a HTTP/1.1", ""),
            ("GET", ""),
            ("GET  /a HTTP/1.1", ""),
        ];
        for (line, expected) in table {
            let head = format!("{line}\r\n");
            let (_, _, scan) = scan_all(head.as_bytes(), 1, &LIMITS);
            assert_eq!(scan.path(head.as_bytes()), expected, "{line}");
        }
        assert_eq!(scan_all(b"GET /\xff HTTP/1.1\r\n", 1, &LIMITS).2.path(b"GET /\xff HTTP/1.1\r\n"), "");
    }
}
