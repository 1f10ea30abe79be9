//! One linear pass over JSON text: validates it (RFC 8259), bounds its depth, and removes insignificant white space.
//!
//! Everything else stays byte for byte: number text, order of keys, escapes. Every ingest uses it.

pub mod merge_patch;
pub mod object;
mod parts;

pub use parts::{ElementsError, elements, members, string};

use smallvec::SmallVec;
use std::fmt;

/// Why a text is no JSON value that is taken here. Carries nothing of the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// Offset of the byte at which the text went wrong; its length if it ended too early.
    pub at: usize,
    pub problem: Problem,
}

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The text ends inside a value, or holds none.
    Unfinished,
    ExpectedValue,
    ExpectedKey,
    ExpectedColon,
    ExpectedCommaOrEnd,
    /// Something other than white space follows the value.
    Trailing,
    Literal,
    Number,
    /// A number that no finite 64-bit float is near to.
    NotFinite,
    ControlInString,
    Escape,
    /// An escaped half of a surrogate pair without its other half.
    LoneSurrogate,
    NotUtf8,
    TooDeep,
}

impl fmt::Display for JsonError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.problem {
            Problem::Unfinished => "unexpected end of JSON",
            Problem::ExpectedValue => "expected a JSON value",
            Problem::ExpectedKey => "expected a string as key",
            Problem::ExpectedColon => "expected a colon",
            Problem::ExpectedCommaOrEnd => "expected a comma or the end of the array or object",
            Problem::Trailing => "unexpected text after the JSON value",
            Problem::Literal => "unknown literal",
            Problem::Number => "malformed number",
            Problem::NotFinite => "number is not finite",
            Problem::ControlInString => "control character in a string",
            Problem::Escape => "unknown escape",
            Problem::LoneSurrogate => "lone surrogate escape",
            Problem::NotUtf8 => "invalid UTF-8",
            Problem::TooDeep => "nested too deep",
        };
        write!(out, "{problem} at byte {}", self.at)
    }
}

/// What an error tells of a text that is no JSON value; `None` if it is one.
pub fn not_json(text: &str) -> Option<String> {
    let error = compact(text.as_bytes(), &mut Vec::new(), usize::MAX).err()?;
    Some(format!("not JSON: {error}"))
}

/// Appends the one JSON value in `text` to `out`, without insignificant white space.
///
/// `depth_max` bounds how many arrays and objects may be open at once. Takes time linear in the text, recurses never.
///
/// # Errors
/// The first thing that is wrong; `out` is left as it was.
pub fn compact(text: &[u8], out: &mut Vec<u8>, depth_max: usize) -> Result<(), JsonError> {
    let before = out.len();
    let result = Pass { text, at: 0, kept: 0 }.run(out, depth_max);
    if result.is_err() {
        out.truncate(before);
    }
    result
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    Array,
    Object,
}

/// What the grammar allows next.
enum Expected {
    Value,
    /// Just after `[`: a value, or the end.
    ValueOrEnd,
    Key,
    /// Just after `{`: a key, or the end.
    KeyOrEnd,
    Colon,
    /// After a value: what the innermost container allows, or the end of the text.
    Next,
}

struct Pass<'a> {
    text: &'a [u8],
    at: usize,
    /// Bytes before this one are in the output, or were white space.
    kept: usize,
}

impl Pass<'_> {
    fn run(mut self, out: &mut Vec<u8>, depth_max: usize) -> Result<(), JsonError> {
        let mut open: SmallVec<[Container; 64]> = SmallVec::new();
        let mut expected = Expected::Value;
        loop {
            self.skip_white_space(out);
            let Some(byte) = self.peek() else { break };
            expected = match expected {
                Expected::ValueOrEnd if byte == b']' => self.end(&mut open),
                Expected::Value | Expected::ValueOrEnd => match byte {
                    b'[' => self.begin(Container::Array, &mut open, depth_max)?,
                    b'{' => self.begin(Container::Object, &mut open, depth_max)?,
                    _ => self.scalar(byte)?,
                },
                Expected::KeyOrEnd if byte == b'}' => self.end(&mut open),
                Expected::Key | Expected::KeyOrEnd => {
                    if byte != b'"' {
                        return self.fail(Problem::ExpectedKey);
                    }
                    self.string()?;
                    Expected::Colon
                }
                Expected::Colon => {
                    if byte != b':' {
                        return self.fail(Problem::ExpectedColon);
                    }
                    self.at += 1;
                    Expected::Value
                }
                Expected::Next => match (open.last(), byte) {
                    (None, _) => return self.fail(Problem::Trailing),
                    (Some(Container::Array), b']') | (Some(Container::Object), b'}') => self.end(&mut open),
                    (Some(Container::Array), b',') => {
                        self.at += 1;
                        Expected::Value
                    }
                    (Some(Container::Object), b',') => {
                        self.at += 1;
                        Expected::Key
                    }
                    (Some(_), _) => return self.fail(Problem::ExpectedCommaOrEnd),
                },
            };
        }
        match expected {
            Expected::Next if open.is_empty() => {
                out.extend_from_slice(&self.text[self.kept..]);
                Ok(())
            }
            _ => self.fail(Problem::Unfinished),
        }
    }

    fn begin(
        &mut self,
        container: Container,
        open: &mut SmallVec<[Container; 64]>,
        depth_max: usize,
    ) -> Result<Expected, JsonError> {
        if open.len() >= depth_max {
            return self.fail(Problem::TooDeep);
        }
        open.push(container);
        self.at += 1;
        Ok(match container {
            Container::Array => Expected::ValueOrEnd,
            Container::Object => Expected::KeyOrEnd,
        })
    }

    fn end(&mut self, open: &mut SmallVec<[Container; 64]>) -> Expected {
        open.pop();
        self.at += 1;
        Expected::Next
    }

    fn scalar(&mut self, byte: u8) -> Result<Expected, JsonError> {
        match byte {
            b'"' => self.string()?,
            b'-' | b'0'..=b'9' => self.number()?,
            b't' => self.literal(b"true")?,
            b'f' => self.literal(b"false")?,
            b'n' => self.literal(b"null")?,
            _ => return self.fail(Problem::ExpectedValue),
        }
        Ok(Expected::Next)
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), JsonError> {
        if !self.text[self.at..].starts_with(word) {
            return self.fail(Problem::Literal);
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), JsonError> {
        let begin = self.at;
        self.take(b'-');
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        let integer_bytes = self.at - begin;
        if self.take(b'.') {
            self.digits()?;
        }
        let mut may_overflow = integer_bytes > 300;
        if self.take(b'e') || self.take(b'E') {
            let _sign = self.take(b'+') || self.take(b'-');
            self.digits()?;
            may_overflow = true;
        }
        if may_overflow {
            let text = std::str::from_utf8(&self.text[begin..self.at]).expect("digits, signs, dots and exponents are ASCII");
            let number: f64 = text.parse().expect("Rust's floats take every number of JSON");
            if !number.is_finite() {
                return Err(JsonError { at: begin, problem: Problem::NotFinite });
            }
        }
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), JsonError> {
        let begin = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > begin {
            return Ok(());
        }
        self.fail(if self.peek().is_none() { Problem::Unfinished } else { Problem::Number })
    }

    fn string(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        let begin = self.at;
        let mut ascii = true;
        loop {
            match self.peek() {
                None => return self.fail(Problem::Unfinished),
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(0..0x20) => return self.fail(Problem::ControlInString),
                Some(byte) => {
                    ascii &= byte.is_ascii();
                    self.at += 1;
                }
            }
        }
        if !ascii && let Err(error) = std::str::from_utf8(&self.text[begin..self.at]) {
            return Err(JsonError { at: begin + error.valid_up_to(), problem: Problem::NotUtf8 });
        }
        self.at += 1;
        Ok(())
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let begin = self.at;
        self.at += 1;
        match self.peek() {
            None => self.fail(Problem::Unfinished),
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                self.at += 1;
                match self.hex()? {
                    0xD800..0xDC00 if self.text[self.at..].starts_with(b"\\u") => {
                        self.at += 2;
                        match self.hex()? {
                            0xDC00..0xE000 => Ok(()),
                            _ => Err(JsonError { at: begin, problem: Problem::LoneSurrogate }),
                        }
                    }
                    0xD800..0xE000 => Err(JsonError { at: begin, problem: Problem::LoneSurrogate }),
                    _ => Ok(()),
                }
            }
            Some(_) => self.fail(Problem::Escape),
        }
    }

    /// The four hexadecimal digits of an escape.
    fn hex(&mut self) -> Result<u32, JsonError> {
        let mut unit = 0;
        for _ in 0..4 {
            match self.peek().map(|byte| char::from(byte).to_digit(16)) {
                None => return self.fail(Problem::Unfinished),
                Some(None) => return self.fail(Problem::Escape),
                Some(Some(digit)) => unit = unit << 4 | digit,
            }
            self.at += 1;
        }
        Ok(unit)
    }

    fn skip_white_space(&mut self, out: &mut Vec<u8>) {
        if !matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            return;
        }
        out.extend_from_slice(&self.text[self.kept..self.at]);
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.kept = self.at;
    }

    fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn fail<T>(&self, problem: Problem) -> Result<T, JsonError> {
        Err(JsonError { at: self.at, problem })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compacted(text: &str) -> String {
        let mut out = Vec::new();
        compact(text.as_bytes(), &mut out, 64).unwrap_or_else(|error| panic!("{text}: {error}"));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn white_space_goes_and_everything_else_stays() {
        for (text, compact) in [
            (
                " { \"b\" : [ 1.0e+2 , -0 , 12345678901234567890123 ] ,\r\n\t\"a\" : \"x  y\" } ",
                r#"{"b":[1.0e+2,-0,12345678901234567890123],"a":"x  y"}"#,
            ),
            (r#"{"a":1,"a":2}"#, r#"{"a":1,"a":2}"#),
            (r#" "\u0041\/\u00e9é\ud83d\ude00 \u0000" "#, r#""\u0041\/\u00e9é\ud83d\ude00 \u0000""#),
            ("[ ]", "[]"),
            ("{ }", "{}"),
            (" null", "null"),
            ("true\n", "true"),
            ("[false,\n0.5,1E-999]", "[false,0.5,1E-999]"),
        ] {
            assert_eq!(compacted(text), compact);
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_byte() {
        let cases: &[(&[u8], &str)] = &[
            (b"", "unexpected end of JSON at byte 0"),
            (b"  ", "unexpected end of JSON at byte 2"),
            (b"[1,", "unexpected end of JSON at byte 3"),
            (b"[1,]", "expected a JSON value at byte 3"),
            (b"\xef\xbb\xbf1", "expected a JSON value at byte 0"),
            (b"\0", "expected a JSON value at byte 0"),
            (b"{1:2}", "expected a string as key at byte 1"),
            (b"{\"a\":1,}", "expected a string as key at byte 7"),
            (b"{\"a\" 1}", "expected a colon at byte 5"),
            (b"[1 2]", "expected a comma or the end of the array or object at byte 3"),
            (b"[1}", "expected a comma or the end of the array or object at byte 2"),
            (b"1 2", "unexpected text after the JSON value at byte 2"),
            (b"01", "unexpected text after the JSON value at byte 1"),
            (b"nul", "unknown literal at byte 0"),
            (b"-x", "malformed number at byte 1"),
            (b"1.e5", "malformed number at byte 2"),
            (b"[1e]", "malformed number at byte 3"),
            (b"1e", "unexpected end of JSON at byte 2"),
            (b"[1e999]", "number is not finite at byte 1"),
            (b"-1E400", "number is not finite at byte 0"),
            (b"\"a\nb\"", "control character in a string at byte 2"),
            (b"\"\0\"", "control character in a string at byte 1"),
            (b"\"\\x\"", "unknown escape at byte 2"),
            (b"\"\\u12g4\"", "unknown escape at byte 5"),
            (b"\"a\\ud800b\"", "lone surrogate escape at byte 2"),
            (b"\"\\udc00\"", "lone surrogate escape at byte 1"),
            (b"\"\\ud800\\u0041\"", "lone surrogate escape at byte 1"),
            (b"\"ok \xff\"", "invalid UTF-8 at byte 4"),
            (b"\"\xed\xa0\x80\"", "invalid UTF-8 at byte 1"),
        ];
        for (text, error) in cases {
            let mut out = b"before".to_vec();
            let found = compact(text, &mut out, 64).expect_err(&String::from_utf8_lossy(text));
            assert_eq!(found.to_string(), *error, "{}", String::from_utf8_lossy(text));
            assert_eq!(out, b"before");
        }
    }

    #[test]
    fn digits_alone_can_be_too_many_for_a_float() {
        assert_eq!(compacted(&"9".repeat(308)), "9".repeat(308));
        let error = compact("9".repeat(310).as_bytes(), &mut Vec::new(), 64).unwrap_err();
        assert_eq!(error.problem, Problem::NotFinite);
    }

    #[test]
    fn depth_ends_at_its_bound_without_recursion() {
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert_eq!(compacted(&nested(64)), nested(64));
        assert_eq!(compact(nested(65).as_bytes(), &mut Vec::new(), 64), Err(JsonError { at: 64, problem: Problem::TooDeep }));
        let deep = nested(1_000_000);
        assert!(compact(deep.as_bytes(), &mut Vec::new(), usize::MAX).is_ok());
        assert_eq!(compact(b"[]", &mut Vec::new(), 0), Err(JsonError { at: 0, problem: Problem::TooDeep }));
        assert!(compact(b"1", &mut Vec::new(), 0).is_ok());
    }
}
