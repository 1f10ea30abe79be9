//! Request heads: strict parsing on top of httparse.

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
    /// The client lets the connection stay open.
    pub keep_alive: bool,
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

    /// Whether a list-valued field (possibly on several lines) holds this token, letter case ignored.
    pub fn lists_token(&self, name: &str, token: &str) -> bool {
        self.fields_named(name).flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
    }
}
