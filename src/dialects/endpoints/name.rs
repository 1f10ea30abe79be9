//! Names of endpoints (specification, section 2).

/// Whether a text can be the name of an endpoint.
pub fn is_name(text: &str) -> bool {
    let ends_badly = |end: Option<&u8>| matches!(end, Some(b'/' | b'-'));
    let bytes = text.as_bytes();
    (5..=254).contains(&bytes.len())
        && bytes.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'/'))
        && !ends_badly(bytes.first())
        && !ends_badly(bytes.last())
        && !text.contains("--")
        && !text.contains("//")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ep_06_names_follow_the_rule() {
        for good in ["examples/unsecure-endpoint", "cars/x/y", "abcde", "00000", "a/-/b", "a/b-/c", &"a".repeat(254)] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            "abcd",
            &"a".repeat(255),
            "Examples/x",
            "examples//x",
            "examples/x/",
            "/examples",
            "-examples",
            "examples-",
            "exam--ples",
            "exam_ples",
            "exam.ples",
            "examples/../x",
            "examples x",
            "exämples",
            "examples\0",
            "examples%2Fx",
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
