//! Request targets: absolute form, escapes, query arguments.

use std::borrow::Cow;

/// Splits the absolute form (`http://authority/path?query`) into its authority and the rest, which begins with `/`.
///
/// A missing path is `/`; the authority is not checked. `None`: no absolute form, or one with a query directly behind
/// its authority, which cannot be reduced to a target that was sent.
pub fn split_absolute(target: &str) -> Option<(&str, &str)> {
    let rest = target.strip_prefix("http://").or_else(|| target.strip_prefix("https://"))?;
    match rest.find(['/', '?', '#']) {
        None => Some((rest, "/")),
        Some(end) => rest[end..].starts_with('/').then(|| rest.split_at(end)),
    }
}

/// Whether a path can be configured: every request for it spells it the same.
pub fn is_plain(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#%".contains(&byte))
}

/// Whether every `%` is followed by two hex digits.
pub fn escapes_hold(text: &str) -> bool {
    text.split('%').skip(1).all(|part| part.len() >= 2 && part.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()))
}

/// Decodes percent-escapes exactly once; `+` stays `+`. `None`: a `%` without two hex digits.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    escapes_hold(text).then(|| percent_encoding::percent_decode_str(text).collect())
}

/// The value of the first argument of this name, percent-decoded once; `+` stays `+`, an argument without `=` is empty.
///
/// Names are compared decoded, with case. A value with a broken escape, or that is not UTF-8 once decoded, is given as
/// it was sent: an argument that is there never counts as absent, else a damaged token would pass as none.
pub fn argument<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(sent, _)| *sent == name || (sent.contains('%') && decoded(sent) == name))
        .map(|(_, value)| decoded(value))
}

fn decoded(text: &str) -> Cow<'_, str> {
    if !escapes_hold(text) {
        return Cow::Borrowed(text);
    }
    percent_encoding::percent_decode_str(text).decode_utf8().unwrap_or(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_once() {
        let table: &[(&str, Option<&[u8]>)] = &[
            ("", Some(b"")),
            ("/a+b", Some(b"/a+b")),
            ("/a%2Fb%2f", Some(b"/a/b/")),
            ("a%252Fb", Some(b"a%2Fb")),
            ("%00%ff", Some(b"\0\xff")),
            ("%", None),
            ("%2", None),
            ("%2%32", None),
            ("%zz", None),
            ("a%+1", None),
            ("%%41", None),
            ("%é1", None),
        ];
        for (text, expected) in table {
            assert_eq!(decode(text).as_deref(), *expected, "{text}");
        }
    }

    #[test]
    fn the_first_of_repeated_arguments_counts() {
        let query = "tag=W%2F3&time=&tag=4&flag&&eventid=a+b%2Bc=d&bad=%zz&latin=%e9&%63oded=1&=nameless&Time=5";
        let table = [
            ("tag", Some("W/3")),
            ("time", Some("")),
            ("flag", Some("")),
            ("eventid", Some("a+b+c=d")),
            ("bad", Some("%zz")),
            ("latin", Some("%e9")),
            ("coded", Some("1")),
            ("Time", Some("5")),
            ("ta", None),
            ("TAG", None),
        ];
        for (name, expected) in table {
            assert_eq!(argument(query, name).as_deref(), expected, "{name}");
        }
        assert_eq!(argument("", "tag"), None);
    }

    #[test]
    fn the_absolute_form_has_an_authority_and_a_path() {
        let table = [
            ("http://a.example:80/b?c", Some(("a.example:80", "/b?c"))),
            ("https://a", Some(("a", "/"))),
            ("http:///b", Some(("", "/b"))),
            ("http://a?b", None),
            ("http://a#b", None),
            ("ftp://a/b", None),
            ("HTTP://a/b", None),
            ("/http://a/b", None),
            ("*", None),
        ];
        for (target, expected) in table {
            assert_eq!(split_absolute(target), expected, "{target}");
        }
    }
}
