//! `Cookie` of a request (specification, section 3.1).

/// The first value of this name that is not empty; the lines of the field count as one.
pub fn find<'a>(mut lines: impl Iterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    lines.find_map(|line| line.split(';').find_map(|pair| value(pair, name)))
}

fn value<'a>(pair: &'a str, name: &str) -> Option<&'a str> {
    let (sent, value) = pair.trim_matches([' ', '\t']).split_once('=')?;
    let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    Some(quoted.unwrap_or(value)).filter(|value| sent == name && !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ep_21_a_cookie_is_found_among_many() {
        for (lines, value) in [
            (&["t=a"][..], Some("a")),
            (&["x=1; t=a; y=2"], Some("a")),
            (&["x=1;t=a;y=2"], Some("a")),
            (&["x=1; \t t=a\t ;y=2"], Some("a")),
            (&["t=\"a\""], Some("a")),
            (&["t=\"\"a\"\""], Some("\"a\"")),
            (&["t=\"a"], Some("\"a")),
            (&["t=\""], Some("\"")),
            (&["t=a=b"], Some("a=b")),
            (&["x=1", "y=2; t=a"], Some("a")),
            (&["t=", "t=\"\"; t=a; t=b"], Some("a")),
            (&["t=a b"], Some("a b")),
            (&["t=%61"], Some("%61")),
            (&["t"], None),
            (&["t="], None),
            (&["t=\"\""], None),
            (&["T=a"], None),
            (&["tt=a"], None),
            (&["t t=a"], None),
            (&["t =a"], None),
            (&["x=t=a"], None),
            (&["x=1,t=a"], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(find(lines.iter().copied(), "t"), value, "{lines:?}");
        }
        // Not under a longer name, nor a shorter one.
        let line = ["__Secure-yawe-access-token=a; yawe_access_token2=b; xyawe_access_token=c"];
        assert_eq!(find(line.into_iter(), "yawe_access_token"), None);
        assert_eq!(find(line.into_iter(), "__Secure-yawe-access-token"), Some("a"));
    }
}
