//! Arguments of a query: percent-decoded once, the first of a name counts.

use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// The decoded value of an argument; `None` if it is absent or empty. `+` stays `+`.
pub fn argument<'a>(query: &'a str, name: &str) -> Option<Cow<'a, [u8]>> {
    let value = query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })?;
    (!value.is_empty()).then(|| percent_decode_str(value).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_name_counts_even_if_it_is_empty() {
        let query = "x&tag=W%2F3&tag=4&time=&time=5&a+b=c%zz&_=1";
        assert_eq!(argument(query, "tag").as_deref(), Some(&b"W/3"[..]));
        assert_eq!(argument(query, "time"), None);
        assert_eq!(argument(query, "x"), None);
        assert_eq!(argument(query, "a+b").as_deref(), Some(&b"c%zz"[..]));
        assert_eq!(argument(query, "b"), None);
        assert_eq!(argument("", ""), None);
    }
}
