//! Request heads: strict parsing on top of httparse.
//!
//! What is refused beyond httparse stands in one table, `rules.rs`. All of it is decided before a dialect sees the request.

pub use super::scan::{HeadScan, Scan, ScanLimits};

use super::response::Response;
use super::target::{escapes_hold, split_absolute};

/// Fields that one head may have.
pub const FIELDS_MAX: usize = 64;

const METHOD_BYTES_MAX: usize = 16;

/// The two versions that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

/// How the head announces a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    None,
    /// `Content-Length`, 0 included.
    Length(u64),
    Chunked,
}

/// One request head that keeps every rule; it borrows from the bytes it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    pub method: &'a str,
    /// Path and query as sent (absolute form already reduced to them), or `*`.
    pub target: &'a str,
    pub version: Version,
    /// In the order sent; names as sent, compared without case; values without surrounding blanks.
    pub fields: Vec<(&'a str, &'a str)>,
    pub body: BodyLength,
    /// The client lets the connection stay open; never true of HTTP/1.0.
    pub keep_alive: bool,
    /// The client waits for a 100 before it sends its body. False if it announced none.
    pub expects_continue: bool,
}

impl<'a> Head<'a> {
    /// The part of the target before `?`, not decoded.
    pub fn path(&self) -> &'a str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }

    /// The part of the target after `?`, not decoded; empty if there is none.
    pub fn query(&self) -> &'a str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// The first field of this name.
    pub fn field(&self, name: &str) -> Option<&'a str> {
        self.fields_named(name).next()
    }

    /// All fields of this name, in order.
    pub fn fields_named<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'a str> + 'b {
        self.fields.iter().filter(move |(field, _)| field.eq_ignore_ascii_case(name)).map(|&(_, value)| value)
    }

    /// What the body is said to be, without parameters such as `charset`.
    pub fn media_type(&self) -> Option<&'a str> {
        self.field("Content-Type")?.split(';').next().map(str::trim)
    }

    /// Its size without what may stand between the parts of its lines: request line and fields, each with its line end.
    pub fn bytes(&self) -> usize {
        let line = self.method.len() + self.target.len() + " HTTP/1.1".len() + 3;
        let fields: usize = self.fields.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        line + fields + 2
    }

    /// Whether a list-valued field (possibly on several lines) holds this token, letter case ignored.
    pub fn lists_token(&self, name: &str, token: &str) -> bool {
        self.fields_named(name).flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
    }
}

/// Why a head is refused. The connection is closed after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    Malformed,
    LineTooLong,
    TooLarge,
    TooManyFields,
    UnsupportedVersion,
    ExpectationFailed,
}

impl HeadError {
    pub fn status(&self) -> u16 {
        match self {
            HeadError::Malformed => 400,
            HeadError::LineTooLong => 414,
            HeadError::ExpectationFailed => 417,
            HeadError::TooLarge | HeadError::TooManyFields => 431,
            HeadError::UnsupportedVersion => 505,
        }
    }

    /// The status and nothing else.
    pub fn response(self) -> Response {
        Response::new(self.status())
    }
}

/// Parses one complete head: `bytes` begin with the request line and end with the empty line.
///
/// # Errors
/// All but [`HeadError::LineTooLong`] and [`HeadError::TooLarge`], which are the [`HeadScan`]'s to find.
pub fn parse(bytes: &[u8]) -> Result<Head<'_>, HeadError> {
    check_line_ends(bytes)?;
    let line = bytes.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let (method, target, version) = parse_request_line(line)?;
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(len)) if len == bytes.len() => {}
        Ok(_) => return Err(HeadError::Malformed),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooManyFields),
        Err(_) => return Err(HeadError::Malformed),
    }
    let fields = request
        .headers
        .iter()
        .map(|field| Some((field.name, std::str::from_utf8(field.value).ok().filter(|value| value.is_ascii())?)))
        .collect::<Option<Vec<_>>>()
        .ok_or(HeadError::Malformed)?;
    let mut head = Head { method, target, version, fields, body: BodyLength::None, keep_alive: false, expects_continue: false };
    let host = parse_host(&head)?;
    head.target = parse_target(&head, host)?;
    head.body = parse_body_length(&head)?;
    let has_body = !matches!(head.body, BodyLength::None | BodyLength::Length(0));
    if has_body && head.lists_token("Connection", "upgrade") && head.lists_token("Upgrade", "websocket") {
        return Err(HeadError::Malformed);
    }
    head.keep_alive = version == Version::Http11 && !head.lists_token("Connection", "close");
    // HTTP/1.0 knows no 100 (RFC 9110, section 10.1.1), but an expectation it cannot have is still refused.
    if head.fields_named("Expect").any(|value| !value.eq_ignore_ascii_case("100-continue")) {
        return Err(HeadError::ExpectationFailed);
    }
    head.expects_continue = has_body && version == Version::Http11 && head.field("Expect").is_some();
    Ok(head)
}

/// Every CR is followed by LF, and every LF follows a CR. httparse takes a bare LF.
fn check_line_ends(bytes: &[u8]) -> Result<(), HeadError> {
    let mut after = 0;
    while let Some(offset) = memchr::memchr2(b'\r', b'\n', &bytes[after..]) {
        let end = after + offset;
        if !bytes[end..].starts_with(b"\r\n") {
            return Err(HeadError::Malformed);
        }
        after = end + 2;
    }
    Ok(())
}

/// Method, target and version with one blank between them; the target is not judged yet.
fn parse_request_line(line: &[u8]) -> Result<(&str, &str, Version), HeadError> {
    let line = std::str::from_utf8(line).map_err(|_| HeadError::Malformed)?;
    let mut parts = line.split(' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(HeadError::Malformed);
    };
    let method_holds = (1..=METHOD_BYTES_MAX).contains(&method.len()) && method.bytes().all(|byte| byte.is_ascii_uppercase());
    let target_holds = !target.is_empty() && target.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    if !method_holds || !target_holds {
        return Err(HeadError::Malformed);
    }
    let version = match version {
        "HTTP/1.1" => Version::Http11,
        "HTTP/1.0" => Version::Http10,
        other => return Err(refused_version(other)),
    };
    Ok((method, target, version))
}

fn refused_version(text: &str) -> HeadError {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match text.strip_prefix("HTTP/") {
        Some(version) if version.split('.').all(is_number) => HeadError::UnsupportedVersion,
        Some(_) | None => HeadError::Malformed,
    }
}

fn parse_host<'a>(head: &Head<'a>) -> Result<Option<&'a str>, HeadError> {
    let mut hosts = head.fields_named("Host");
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if !host.contains([' ', '\t', '@', '/']) => Ok(Some(host)),
        (None, None) if head.version == Version::Http10 => Ok(None),
        _ => Err(HeadError::Malformed),
    }
}

/// Path and query, or `*`.
fn parse_target<'a>(head: &Head<'a>, host: Option<&str>) -> Result<&'a str, HeadError> {
    if head.target == "*" {
        return if head.method == "OPTIONS" { Ok(head.target) } else { Err(HeadError::Malformed) };
    }
    let target = match split_absolute(head.target) {
        Some((authority, rest)) => {
            let is_ours = !authority.is_empty() && host.is_some_and(|host| host.eq_ignore_ascii_case(authority));
            is_ours.then_some(rest).ok_or(HeadError::Malformed)?
        }
        None => head.target,
    };
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    if !target.starts_with('/') || !escapes_hold(path) || path.contains("%00") {
        return Err(HeadError::Malformed);
    }
    Ok(target)
}

fn parse_body_length(head: &Head<'_>) -> Result<BodyLength, HeadError> {
    let mut lengths = head.fields_named("Content-Length");
    let mut codings = head.fields_named("Transfer-Encoding");
    match (lengths.next(), lengths.next(), codings.next(), codings.next()) {
        (None, None, None, None) => Ok(BodyLength::None),
        (Some(length), None, None, None)
            if (1..=18).contains(&length.len()) && length.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            length.parse().map(BodyLength::Length).map_err(|_| HeadError::Malformed)
        }
        (None, None, Some("chunked"), None) if head.version == Version::Http11 => Ok(BodyLength::Chunked),
        _ => Err(HeadError::Malformed),
    }
}

/// Whether this is one field line as a head may hold it: a trailer is checked like a field.
pub(super) fn is_field_line(line: &[u8]) -> bool {
    let mut fields = [httparse::EMPTY_HEADER; 1];
    let text = [line, b"\r\n\r\n"].concat();
    let holds = line.iter().all(|&byte| byte == b'\t' || (0x20..0x7f).contains(&byte));
    holds
        && matches!(httparse::parse_headers(&text, &mut fields), Ok(httparse::Status::Complete((len, [_]))) if len == text.len())
}
