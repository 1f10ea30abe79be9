//! Multipart forms (RFC 7578, RFC 2046 section 5.1): a scanner that takes a body in whatever pieces it comes.

use super::body::token_bytes;
use memchr::{memchr, memmem, memrchr};
use std::ops::Range;

/// Bytes of a boundary (RFC 2046).
const BOUNDARY_BYTES_MAX: usize = 70;
/// Bytes of one part's head: its lines with their ends, or the rest of a delimiter's line.
const HEAD_BYTES_MAX: usize = 4096;
/// Bytes before the first delimiter and behind the last one, which mean nothing.
const IGNORED_BYTES_MAX: usize = 4096;

/// The body breaks a rule, and so it did on every later call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// What the next bytes are. The part that came last ends where another begins, or with the body.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    Part(PartHead),
    /// Bytes of its content; never empty.
    Content(&'a [u8]),
}

/// What a part says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartHead {
    /// Of the form's field.
    pub name: String,
    /// As sent: with a path, if that is there. `filename*` is not for forms (RFC 7578, section 4.2) and counts for nothing.
    pub file_name: Option<String>,
    /// As sent, parameters included.
    pub content_type: Option<String>,
}

/// The boundary that the Content-Type of a form names; `None`: of something else, or without a valid one.
pub fn boundary(content_type: &str) -> Option<String> {
    let (media_type, rest) = split_value(content_type);
    let mut boundary = None;
    parameters(rest, |name, value| !name.eq_ignore_ascii_case("boundary") || boundary.replace(value).is_none())?;
    let holds = |boundary: &String| {
        (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len())
            && !boundary.ends_with(' ')
            && boundary.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte))
    };
    boundary.filter(|boundary| media_type.eq_ignore_ascii_case("multipart/form-data") && holds(boundary))
}

/// Scans one body. It holds at most one head of what came.
///
/// ```text
///  Preamble ──delimiter──▶ Delimited ──line end──▶ Head ──empty line──▶ Content
///                           │     ▲                                       │
///                           │     └───────────────delimiter───────────────┘
///                           └──── `--` and line end ──▶ Epilogue           any of them ──▶ Failed
/// ```
pub struct Multipart {
    /// CRLF, two hyphens and the boundary.
    delimiter: Box<[u8]>,
    finder: memmem::Finder<'static>,
    /// So much of the delimiter ends what came. A line's end counts as its beginning, although it is no content.
    matched: usize,
    /// So much of that is no content.
    foreign: usize,
    state: State,
    /// The part of the current line that has come.
    line: Vec<u8>,
    /// Of the complete lines of the current head.
    head_bytes: usize,
    head: Fields,
    ignored_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Preamble,
    Delimited,
    Head,
    Content,
    Epilogue,
    Failed,
}

/// The fields of a head that matter, each there at most once.
#[derive(Default)]
struct Fields {
    disposition: Option<(String, Option<String>)>,
    content_type: Option<String>,
    encoding: Option<()>,
}

impl Multipart {
    /// `boundary` is one that [`boundary`] gave.
    pub fn new(boundary: &str) -> Multipart {
        let delimiter = ["\r\n--", boundary].concat().into_bytes().into_boxed_slice();
        Multipart {
            finder: memmem::Finder::new(&delimiter).into_owned(),
            delimiter,
            // The first delimiter may stand at the very front.
            matched: 2,
            foreign: 2,
            state: State::Preamble,
            line: Vec::new(),
            head_bytes: 0,
            head: Fields::default(),
            ignored_bytes: 0,
        }
    }

    /// Takes bytes from the front of `input`: how many, and what they are, if that is known by now. Call it until all are
    /// taken.
    ///
    /// # Errors
    /// [`Malformed`] once a line that breaks a rule is complete or too long, or too much precedes or follows the parts.
    pub fn next<'a>(&'a mut self, input: &'a [u8]) -> Result<(usize, Option<Event<'a>>), Malformed> {
        match self.step(input) {
            Ok((taken, Step::Nothing)) => Ok((taken, None)),
            Ok((taken, Step::Part(head))) => Ok((taken, Some(Event::Part(head)))),
            Ok((taken, Step::Content(Bytes::Held(held)))) => Ok((taken, content(&self.delimiter[held]))),
            Ok((taken, Step::Content(Bytes::Front(bytes)))) => Ok((taken, content(&input[..bytes]))),
            Err(Malformed) => {
                self.state = State::Failed;
                Err(Malformed)
            }
        }
    }

    /// Whether the last delimiter has come and nothing wrong behind it: what came may be the whole body.
    pub fn is_complete(&self) -> bool {
        match self.state {
            State::Epilogue => true,
            // The last line need not have an end.
            State::Delimited => self.line.strip_prefix(b"--").is_some_and(is_blank),
            State::Preamble | State::Head | State::Content | State::Failed => false,
        }
    }

    fn step(&mut self, input: &[u8]) -> Result<(usize, Step), Malformed> {
        if input.is_empty() && self.state != State::Failed {
            return Ok((0, Step::Nothing));
        }
        match self.state {
            State::Preamble => {
                let Search { taken, before, found } = self.search(input);
                self.ignore(before.len())?;
                if found {
                    self.state = State::Delimited;
                }
                Ok((taken, Step::Nothing))
            }
            State::Content => {
                let Search { taken, before, found } = self.search(input);
                if found {
                    self.state = State::Delimited;
                }
                Ok((taken, Step::Content(before)))
            }
            State::Delimited => {
                let (taken, complete) = self.take_line(input)?;
                if complete {
                    self.state = self.delimiter_line()?;
                    self.line.clear();
                }
                Ok((taken, Step::Nothing))
            }
            State::Head => {
                let (taken, complete) = self.take_line(input)?;
                let part = if complete { self.head_line()? } else { None };
                Ok((taken, part.map_or(Step::Nothing, Step::Part)))
            }
            State::Epilogue => {
                self.ignore(input.len())?;
                Ok((input.len(), Step::Nothing))
            }
            State::Failed => Err(Malformed),
        }
    }

    fn search(&mut self, input: &[u8]) -> Search {
        if self.matched > 0 {
            let rest = &self.delimiter[self.matched..];
            let same = rest.iter().zip(input).take_while(|(expected, byte)| expected == byte).count();
            if same == rest.len() {
                (self.matched, self.foreign) = (0, 0);
                return Search { taken: same, before: Bytes::Front(0), found: true };
            }
            if same == input.len() {
                self.matched += same;
                return Search { taken: same, before: Bytes::Front(0), found: false };
            }
            // A delimiter has its one CR at its front: no other can have begun in what was held back.
            let held = std::mem::take(&mut self.foreign)..std::mem::take(&mut self.matched);
            return Search { taken: 0, before: Bytes::Held(held), found: false };
        }
        if let Some(at) = self.finder.find(input) {
            return Search { taken: at + self.delimiter.len(), before: Bytes::Front(at), found: true };
        }
        let tail = input.len().saturating_sub(self.delimiter.len() - 1);
        let held = memrchr(b'\r', &input[tail..]).map(|at| tail + at).filter(|&at| self.delimiter.starts_with(&input[at..]));
        let before = held.unwrap_or(input.len());
        self.matched = input.len() - before;
        Search { taken: input.len(), before: Bytes::Front(before), found: false }
    }

    fn ignore(&mut self, bytes: usize) -> Result<(), Malformed> {
        self.ignored_bytes += bytes;
        if self.ignored_bytes > IGNORED_BYTES_MAX { Err(Malformed) } else { Ok(()) }
    }

    /// Moves bytes into `line` up to and including LF; says whether its end has come.
    fn take_line(&mut self, input: &[u8]) -> Result<(usize, bool), Malformed> {
        let end = memchr(b'\n', input);
        let taken = end.map_or(input.len(), |end| end + 1);
        if taken > HEAD_BYTES_MAX - self.head_bytes - self.line.len() {
            return Err(Malformed);
        }
        self.line.extend_from_slice(&input[..taken]);
        Ok((taken, end.is_some()))
    }

    /// The rest of a delimiter's line: blanks that were added on the way, behind two hyphens if it is the last one.
    fn delimiter_line(&self) -> Result<State, Malformed> {
        let line = self.line.strip_suffix(b"\r\n").ok_or(Malformed)?;
        match line.strip_prefix(b"--") {
            Some(blanks) if is_blank(blanks) => Ok(State::Epilogue),
            None if is_blank(line) => Ok(State::Head),
            Some(_) | None => Err(Malformed),
        }
    }

    /// A complete line of a head; the empty one ends it.
    fn head_line(&mut self) -> Result<Option<PartHead>, Malformed> {
        self.head_bytes += self.line.len();
        let line = std::str::from_utf8(&self.line).ok().and_then(|line| line.strip_suffix("\r\n")).ok_or(Malformed)?;
        if line.is_empty() {
            self.line.clear();
            self.head_bytes = 0;
            self.state = State::Content;
            // What has no content at all needs no line end of its own (RFC 2046).
            (self.matched, self.foreign) = (2, 2);
            let Fields { disposition, content_type, encoding: _ } = std::mem::take(&mut self.head);
            let (name, file_name) = disposition.ok_or(Malformed)?;
            return Ok(Some(PartHead { name, file_name, content_type }));
        }
        self.head.take(line).ok_or(Malformed)?;
        self.line.clear();
        Ok(None)
    }
}

/// One step: at most one event, as far as it can be told without borrowing.
enum Step {
    Nothing,
    Part(PartHead),
    Content(Bytes),
}

enum Bytes {
    /// So many at the front of the input.
    Front(usize),
    /// Held back until now: no beginning of a delimiter after all, but they read the same.
    Held(Range<usize>),
}

impl Bytes {
    fn len(&self) -> usize {
        match self {
            Bytes::Front(bytes) => *bytes,
            Bytes::Held(held) => held.len(),
        }
    }
}

/// So many bytes are taken; `before` come before the delimiter, or are none of it.
struct Search {
    taken: usize,
    before: Bytes,
    found: bool,
}

fn content(bytes: &[u8]) -> Option<Event<'_>> {
    (!bytes.is_empty()).then_some(Event::Content(bytes))
}

impl Fields {
    /// `None`: the line is no field, or one that there may be only one of, or says what is not taken here.
    fn take(&mut self, line: &str) -> Option<()> {
        let (name, value) = line.split_at(token_bytes(line.as_bytes()));
        let value = value.strip_prefix(':')?.trim_matches(BLANKS);
        if name.is_empty() || value.bytes().any(|byte| byte != b'\t' && byte.is_ascii_control()) {
            return None;
        }
        let is_first = if name.eq_ignore_ascii_case("Content-Disposition") {
            self.disposition.replace(disposition(value)?).is_none()
        } else if name.eq_ignore_ascii_case("Content-Type") {
            self.content_type.replace(value.to_owned()).is_none()
        } else if name.eq_ignore_ascii_case("Content-Transfer-Encoding") {
            // Deprecated (RFC 7578, section 4.7), and nothing is decoded here.
            let is_plain = ["7bit", "8bit", "binary"].iter().any(|plain| value.eq_ignore_ascii_case(plain));
            is_plain && self.encoding.replace(()).is_none()
        } else {
            true
        };
        is_first.then_some(())
    }
}

/// Name and file name of a form's field.
fn disposition(value: &str) -> Option<(String, Option<String>)> {
    let (kind, rest) = split_value(value);
    let (mut name, mut file_name) = (None, None);
    parameters(rest, |parameter, value| {
        if parameter.eq_ignore_ascii_case("name") {
            name.replace(value).is_none()
        } else if parameter.eq_ignore_ascii_case("filename") {
            file_name.replace(value).is_none()
        } else {
            true
        }
    })?;
    name.filter(|_| kind.eq_ignore_ascii_case("form-data")).map(|name| (name, file_name))
}

const BLANKS: [char; 2] = [' ', '\t'];

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b' ' | b'\t'))
}

/// The value before its parameters, and these.
fn split_value(text: &str) -> (&str, &str) {
    let (value, rest) = text.split_at(text.find(';').unwrap_or(text.len()));
    (value.trim_matches(BLANKS), rest)
}

/// `*( OWS ";" OWS [ name "=" value ] )` (RFC 9110, section 5.6.6); a value is quoted, or ends before a blank or semicolon.
/// `None`: that is not how it reads, or `each` says no.
fn parameters(mut rest: &str, mut each: impl FnMut(&str, String) -> bool) -> Option<()> {
    loop {
        rest = rest.trim_start_matches(BLANKS);
        if rest.is_empty() {
            return Some(());
        }
        rest = rest.strip_prefix(';')?.trim_start_matches(BLANKS);
        if rest.is_empty() || rest.starts_with(';') {
            continue;
        }
        let (name, value) = rest.split_at(token_bytes(rest.as_bytes()));
        let value = value.strip_prefix('=').filter(|_| !name.is_empty())?;
        let (value, behind) = match value.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let (value, behind) = value.split_at(value.find([';', ' ', '\t', '"']).unwrap_or(value.len()));
                (value.to_owned(), behind)
            }
        };
        if !each(name, value) {
            return None;
        }
        rest = behind;
    }
}

/// What a quoted string says whose first mark is gone, and what follows it.
///
/// A backslash escapes quotation marks and itself only: before anything else it is one, since browsers have sent paths so.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' if text[at + 1..].starts_with(['"', '\\']) => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a body says: each part's head and content; `Err`: the parts before it went wrong.
    type Parts = Result<Vec<(PartHead, Vec<u8>)>, Malformed>;

    fn scan(boundary: &str, pieces: &[&[u8]]) -> Parts {
        let mut multipart = Multipart::new(boundary);
        let mut parts: Vec<(PartHead, Vec<u8>)> = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let (taken, event) = multipart.next(rest)?;
                match event {
                    Some(Event::Part(head)) => parts.push((head, Vec::new())),
                    Some(Event::Content(bytes)) => parts.last_mut().expect("a part").1.extend_from_slice(bytes),
                    None => {}
                }
                rest = &rest[taken..];
            }
        }
        if multipart.is_complete() { Ok(parts) } else { Err(Malformed) }
    }

    /// Whole, byte by byte and cut in two everywhere: always the same.
    fn parts(boundary: &str, body: &[u8]) -> Parts {
        let whole = scan(boundary, &[body]);
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        assert_eq!(scan(boundary, &bytes), whole, "byte by byte: {}", body.escape_ascii());
        for cut in 0..=body.len() {
            assert_eq!(scan(boundary, &[&body[..cut], &body[cut..]]), whole, "cut at {cut}: {}", body.escape_ascii());
        }
        whole
    }

    fn part(name: &str, file_name: Option<&str>, content_type: Option<&str>, content: &[u8]) -> (PartHead, Vec<u8>) {
        let [file_name, content_type] = [file_name, content_type].map(|text| text.map(str::to_owned));
        (PartHead { name: name.to_owned(), file_name, content_type }, content.to_vec())
    }

    /// A body of one part with this head, which ends with its last line's end, and the content `x`.
    fn with_head(head: &str) -> Parts {
        parts("b", format!("--b\r\n{head}\r\nx\r\n--b--\r\n").as_bytes())
    }

    #[test]
    fn boundaries_are_quoted_or_not_and_1_to_70_characters() {
        let long = "x".repeat(70);
        let table = [
            ("multipart/form-data; boundary=AaB03x", Some("AaB03x")),
            ("Multipart/Form-Data;BOUNDARY=\"Aa B'()+_,-./:=?\"; charset=utf-8", Some("Aa B'()+_,-./:=?")),
            (
                "multipart/form-data ; charset=utf-8 ; boundary=----WebKitFormBoundary7MA4YWxk;",
                Some("----WebKitFormBoundary7MA4YWxk"),
            ),
            ("multipart/form-data; boundary=a/b:c=d", Some("a/b:c=d")),
            ("multipart/form-data; boundary=\"a\\\"b\"", None),
            ("multipart/form-data; boundary=\"a \"", None),
            ("multipart/form-data; boundary=\"\"", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data; boundary=\"a", None),
            ("multipart/form-data; boundary=a\"b", None),
            ("multipart/form-data; boundary=a b", None),
            ("multipart/form-data; boundary=a; boundary=a", None),
            ("multipart/form-data; boundary = a", None),
            ("multipart/form-data; boundary=a@b", None),
            ("multipart/form-data", None),
            ("multipart/mixed; boundary=a", None),
            ("application/json; boundary=a", None),
        ];
        for (content_type, expected) in table {
            assert_eq!(boundary(content_type).as_deref(), expected, "{content_type}");
        }
        assert_eq!(boundary(&format!("multipart/form-data; boundary={long}")), Some(long.clone()));
        assert_eq!(boundary(&format!("multipart/form-data; boundary={long}x")), None);
    }

    #[test]
    fn what_curl_sends_is_read() {
        let body = b"--------------------------d74496d66958873e\r\n\
            Content-Disposition: form-data; name=\"album\"\r\n\r\n\
            holiday\r\n\
            --------------------------d74496d66958873e\r\n\
            Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\
            Content-Type: text/plain\r\n\r\n\
            one\r\n-two\r\n\r\n\
            --------------------------d74496d66958873e--\r\n";
        let expected =
            [part("album", None, None, b"holiday"), part("file", Some("a.txt"), Some("text/plain"), b"one\r\n-two\r\n")];
        assert_eq!(parts("------------------------d74496d66958873e", body), Ok(expected.to_vec()));
    }

    #[test]
    fn what_browsers_send_is_read() {
        let body = "------WebKitFormBoundary7MA4YWxkTrZu0gW\r\n\
            Content-Disposition: form-data; name=\"file\"; filename=\"gr\u{fc}n %22x%22.png\"\r\n\
            Content-Type: image/png\r\n\r\n\
            \u{89}PNG\r\n\u{1a}\n\r\n\
            ------WebKitFormBoundary7MA4YWxkTrZu0gW\r\n\
            Content-Disposition: form-data; name=\"file\"; filename=\"\"\r\n\
            Content-Type: application/octet-stream\r\n\r\n\r\n\
            ------WebKitFormBoundary7MA4YWxkTrZu0gW--\r\n";
        let content = "\u{89}PNG\r\n\u{1a}\n".as_bytes();
        let expected = [
            part("file", Some("gr\u{fc}n %22x%22.png"), Some("image/png"), content),
            part("file", Some(""), Some("application/octet-stream"), b""),
        ];
        assert_eq!(parts("----WebKitFormBoundary7MA4YWxkTrZu0gW", body.as_bytes()), Ok(expected.to_vec()));
    }

    /// Its last line had no end for a while.
    #[test]
    fn what_undici_sends_is_read() {
        for end in ["", "\r\n"] {
            let body = [
                "------formdata-undici-041234567890\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n\
                ------formdata-undici-041234567890\r\nContent-Disposition: form-data; name=\"file\"; filename=\"blob\"\r\n\
                Content-Type: application/octet-stream\r\n\r\n\0\r\n------formdata-undici-041234567890--",
                end,
            ];
            let expected = [part("a", None, None, b"1"), part("file", Some("blob"), Some("application/octet-stream"), b"\0")];
            assert_eq!(parts("----formdata-undici-041234567890", body.concat().as_bytes()), Ok(expected.to_vec()));
        }
    }

    #[test]
    fn what_surrounds_the_parts_and_blanks_behind_delimiters_mean_nothing() {
        let head = "Content-Disposition: form-data; name=a\r\n\r\n";
        for (body, contents) in [
            (format!("\r\n--b\r\n{head}x\r\n--b--"), vec!["x"]),
            (format!("preamble --b\r\n--a\r\n--b \t \r\n{head}x\r\n--b-- \r\nepilogue\r\n--b\r\n\n"), vec!["x"]),
            (format!("--b\r\n{head}\r\n--b\r\n{head}--b\r\n{head}\r\n\r\n--b--\t"), vec!["", "", "\r\n"]),
            (format!("--b\r\n{head}\r\r\n-\r\n--\r\n--a\r\n-b--b\r\n--b--"), vec!["\r\r\n-\r\n--\r\n--a\r\n-b--b"]),
            (format!("--b\r\n{head}--a\r\n--b--"), vec!["--a"]),
            ("--b--".to_owned(), vec![]),
        ] {
            let read = parts("b", body.as_bytes()).expect(&body);
            let read: Vec<_> = read.into_iter().map(|(_, content)| String::from_utf8(content).unwrap()).collect();
            assert_eq!(read, contents, "{body:?}");
        }
    }

    #[test]
    fn broken_bodies_are_refused() {
        let head = "Content-Disposition: form-data; name=a\r\n\r\n";
        for body in [
            "".to_owned(),
            "nothing".to_owned(),
            "--b".to_owned(),
            "--b\r\n".to_owned(),
            "--b-".to_owned(),
            "--b--\r".to_owned(),
            "--b--\n".to_owned(),
            "--b--x\r\n".to_owned(),
            "--b -- \r\n".to_owned(),
            "x--b--\r\n".to_owned(),
            "\n--b--\r\n".to_owned(),
            format!("--b\r\n{head}x"),
            format!("--b\r\n{head}x\r\n--b"),
            format!("--b\r\n{head}x\r\n--b\r\n"),
            format!("--b\r\n{head}x--b--"),
            format!("--b\r\n{head}x\n--b--"),
            format!("--bc\r\n{head}x\r\n--b--"),
            format!("--b\r\n{head}x\r\n--bc--"),
            format!("--b\n{head}x\r\n--b--"),
            format!("--b\r\n{}x\r\n--b--", head.replace("\r\n", "\n")),
            format!("--b\r\n{}x\r\n--b--", head.replace("\r\n", "\r")),
            "--b\r\n\r\nx\r\n--b--".to_owned(),
        ] {
            assert_eq!(parts("b", body.as_bytes()), Err(Malformed), "{body:?}");
        }
    }

    #[test]
    fn heads_name_the_field_once_and_say_what_is_understood() {
        let named = |file_name| Ok(vec![part("a", file_name, None, b"x")]);
        for (head, expected) in [
            ("Content-Disposition: form-data; name=a\r\n", named(None)),
            ("content-disposition:FORM-DATA;NAME=\"a\" ; filename=f;;\r\nX-Other: \u{e4}\r\n", named(Some("f"))),
            ("Content-Disposition: form-data; name=\"a\"; filename=\"a\\\"b\\\\c\\d\"\r\n", named(Some("a\"b\\c\\d"))),
            ("Content-Disposition: form-data; name=\"a\"; filename*=UTF-8''x; filename=\"f\"\r\n", named(Some("f"))),
            ("Content-Disposition: form-data; name=\"a\"; filename*=UTF-8''x\r\n", named(None)),
            ("Content-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: Binary\r\n", named(None)),
            ("Content-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64\r\n", Err(Malformed)),
            ("Content-Disposition: form-data\r\n", Err(Malformed)),
            ("Content-Disposition: attachment; name=a\r\n", Err(Malformed)),
            ("Content-Disposition: form-data; name=a; name=a\r\n", Err(Malformed)),
            ("Content-Disposition: form-data; name=a; filename=b; filename=b\r\n", Err(Malformed)),
            ("Content-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=a\r\n", Err(Malformed)),
            ("Content-Disposition: form-data; name=a\r\nContent-Type: a/b\r\nContent-Type: a/b\r\n", Err(Malformed)),
            ("Content-Disposition: form-data; name=\"a\r\n", Err(Malformed)),
            ("Content-Disposition: form-data; name=\"a\"b\r\n", Err(Malformed)),
            ("Content-Disposition: form-data; name=a\r\n b: c\r\n", Err(Malformed)),
            ("Content-Disposition : form-data; name=a\r\n", Err(Malformed)),
            ("Content-Disposition: form-data; name=a\r\n: c\r\n", Err(Malformed)),
            ("Content-Disposition: form-data; name=a\r\nnothing\r\n", Err(Malformed)),
            ("Content-Disposition: form-data; name=\"a\0\"\r\n", Err(Malformed)),
            ("Content-Disposition: form-data; name=\"a\rb\"\r\n", Err(Malformed)),
            ("Content-Disposition: form-data; name=\"a\x7f\"\r\n", Err(Malformed)),
        ] {
            assert_eq!(with_head(head), expected, "{head}");
        }
        let latin = b"--b\r\nContent-Disposition: form-data; name=\"\xe4\"\r\n\r\nx\r\n--b--\r\n";
        assert_eq!(parts("b", latin), Err(Malformed));
    }

    #[test]
    fn heads_and_what_surrounds_the_parts_are_bounded() {
        let head = "Content-Disposition: form-data; name=a\r\n";
        let fill = HEAD_BYTES_MAX - head.len() - "X: \r\n".len() - "\r\n".len();
        for (more, holds) in [(0, true), (1, false)] {
            assert_eq!(with_head(&format!("{head}X: {}\r\n", "y".repeat(fill + more))).is_ok(), holds);
            let blanks = " ".repeat(HEAD_BYTES_MAX - 2 + more);
            assert_eq!(parts("b", format!("--b{blanks}\r\n{head}\r\nx\r\n--b--").as_bytes()).is_ok(), holds);
            let ignored = "z".repeat(IGNORED_BYTES_MAX - 100 + more);
            let (before, behind) = ("y".repeat(100), "y".repeat(100));
            assert_eq!(parts("b", format!("{before}\r\n--b--\r\n{ignored}").as_bytes()).is_ok(), holds);
            assert_eq!(parts("b", format!("{ignored}\r\n--b--\r\n{behind}").as_bytes()).is_ok(), holds);
        }
        let endless = "X: y\r\n".repeat(HEAD_BYTES_MAX);
        let mut multipart = Multipart::new("b");
        assert_eq!(multipart.next(b"--b\r\n"), Ok((3, None)));
        assert_eq!(multipart.next(b"\r\n"), Ok((2, None)));
        let mut rest = endless.as_bytes();
        while let Ok((taken, None)) = multipart.next(rest) {
            rest = &rest[taken..];
        }
        assert!(endless.len() - rest.len() <= HEAD_BYTES_MAX && multipart.line.capacity() <= 2 * HEAD_BYTES_MAX);
        assert_eq!(multipart.next(b"more"), Err(Malformed), "and so it stays");
        assert_eq!(multipart.next(b""), Err(Malformed));
    }
}
