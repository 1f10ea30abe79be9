//! Response heads and bodies, written in one fixed field order.

use std::borrow::Cow;

/// One answer. Fields are trusted: whoever puts a client's byte into one has checked it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub content_type: Option<Cow<'static, str>>,
    /// Unix seconds.
    pub last_modified: Option<u64>,
    /// Written after `Connection`, in this order.
    pub fields: Vec<(&'static str, Cow<'static, str>)>,
    pub body: Vec<u8>,
    /// End the connection after this answer, whatever the client wished.
    pub close: bool,
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length` of the body that is there.
    Length,
    /// Likewise, and the body stays out: the answer to HEAD.
    LengthOnly,
    /// `Transfer-Encoding: chunked`; whoever sends the body frames it.
    Chunked,
    /// HTTP/1.0: the body lasts until the connection ends.
    UntilClose,
}

impl Response {
    pub fn new(status: u16) -> Response {
        Response { status, content_type: None, last_modified: None, fields: Vec::new(), body: Vec::new(), close: false }
    }

    /// The 101 that leaves HTTP for WebSocket; `accept` is the value of `Sec-WebSocket-Accept`.
    pub fn upgrade(accept: String) -> Response {
        Response::new(101).field("Upgrade", "websocket").field("Connection", "Upgrade").field("Sec-WebSocket-Accept", accept)
    }

    pub fn content_type(mut self, value: impl Into<Cow<'static, str>>) -> Response {
        self.content_type = Some(value.into());
        self
    }

    pub fn last_modified(mut self, unix_seconds: u64) -> Response {
        self.last_modified = Some(unix_seconds);
        self
    }

    pub fn field(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Response {
        self.fields.push((name, value.into()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Response {
        self.body = body.into();
        self
    }

    pub fn closing(mut self) -> Response {
        self.close = true;
        self
    }

    /// Writes head and body. `unix_seconds` is the `Date`; a 101 has the given fields and nothing else.
    ///
    /// A 304 tells the length of the body that a 200 would have had, and leaves it out; a 204 has none to tell of
    /// (RFC 9110, section 8.6).
    pub fn write(&self, out: &mut Vec<u8>, unix_seconds: u64, framing: Framing, keep_alive: bool) {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(itoa::Buffer::new().format(self.status).as_bytes());
        out.push(b' ');
        out.extend_from_slice(reason(self.status).as_bytes());
        out.extend_from_slice(b"\r\n");
        if self.status != 101 {
            line(out, "Date", &date(unix_seconds));
            if let Some(content_type) = &self.content_type {
                line(out, "Content-Type", content_type);
            }
            match framing {
                Framing::Length | Framing::LengthOnly if self.status == 204 => {}
                Framing::Length | Framing::LengthOnly => {
                    line(out, "Content-Length", itoa::Buffer::new().format(self.body.len()));
                }
                Framing::Chunked => line(out, "Transfer-Encoding", "chunked"),
                Framing::UntilClose => {}
            }
            if let Some(seconds) = self.last_modified {
                line(out, "Last-Modified", &date(seconds));
            }
            let keep = keep_alive && !self.close && framing != Framing::UntilClose;
            line(out, "Connection", if keep { "keep-alive" } else { "close" });
        }
        for (name, value) in &self.fields {
            line(out, name, value);
        }
        out.extend_from_slice(b"\r\n");
        if framing != Framing::LengthOnly && !matches!(self.status, 204 | 304) {
            out.extend_from_slice(&self.body);
        }
    }
}

/// JSON that nobody may keep.
pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Response {
    Response::new(status).content_type("application/json").field("Cache-Control", "no-store").body(body)
}

/// `{"error":"<text>"}`; the text needs no escapes.
pub fn error(status: u16, text: &'static str) -> Response {
    debug_assert!(!text.contains(['"', '\\']));
    json(status, format!("{{\"error\":\"{text}\"}}"))
}

fn line(out: &mut Vec<u8>, name: &str, value: &str) {
    debug_assert!(!value.bytes().any(|byte| byte < 0x20 && byte != b'\t'), "a field value never breaks the head");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// IMF-fixdate (RFC 9110, section 5.6.7), e.g. `Fri, 20 Nov 2026 16:17:46 GMT`.
pub fn date(unix_seconds: u64) -> String {
    // httpdate ends with the year 9999; a clock beyond that is shown as its last second.
    let seconds = unix_seconds.min(253_402_300_799);
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
}

fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        // nginx's words, which push_stream's clients know.
        405 => "Not Allowed",
        408 => "Request Timeout",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_in_the_dialects_order() {
        let mut out = Vec::new();
        Response::new(200).content_type("application/json").last_modified(0).field("Etag", "W/3").body("{}").write(
            &mut out,
            1_795_191_466,
            Framing::Length,
            true,
        );
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 16:17:46 GMT\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
             Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: keep-alive\r\nEtag: W/3\r\n\r\n{}"
        );
    }

    #[test]
    fn an_upgrade_has_its_own_fields_only() {
        let mut out = Vec::new();
        Response::new(101).field("Upgrade", "WebSocket").write(&mut out, 0, Framing::Length, true);
        assert_eq!(out, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\r\n");
    }

    #[test]
    fn a_body_until_close_says_close() {
        let mut out = Vec::new();
        Response::new(200).write(&mut out, 0, Framing::UntilClose, true);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("\r\nConnection: close\r\n") && !text.contains("Content-Length"), "{text}");
    }

    #[test]
    fn some_answers_tell_of_a_body_that_stays_out() {
        let written = |status, framing| {
            let mut out = Vec::new();
            Response::new(status).body("four").write(&mut out, 0, framing, true);
            let text = String::from_utf8(out).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            (head.contains("\r\nContent-Length: 4\r\n"), head.contains("Content-Length"), body.to_owned())
        };
        assert_eq!(written(200, Framing::Length), (true, true, "four".to_owned()));
        assert_eq!(written(200, Framing::LengthOnly), (true, true, String::new()));
        assert_eq!(written(304, Framing::Length), (true, true, String::new()));
        assert_eq!(written(204, Framing::Length), (false, false, String::new()));
    }
}
