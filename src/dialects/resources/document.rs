//! The text of a document: what is stored of what a writer sent (specification, section 10).

use crate::json::{self, JsonError, merge_patch};

/// Levels of nesting; the outermost array or object is the first.
pub const DEPTH_MAX: usize = 64;

/// JSON without insignificant white space: everything else of it is the writer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// # Errors
    /// No JSON, or JSON that is too deep, not finite, or half a surrogate pair.
    pub fn read(body: &[u8]) -> Result<Text, JsonError> {
        let mut out = Vec::with_capacity(body.len());
        json::compact(body, &mut out, DEPTH_MAX)?;
        Ok(Text(String::from_utf8(out).expect("what was accepted as JSON is UTF-8")))
    }

    /// What deletes a document.
    pub fn null() -> Text {
        Text("null".to_owned())
    }

    /// What [`Text::read`] made of a document before it was stored.
    pub fn stored(payload: &[u8]) -> Text {
        Text(std::str::from_utf8(payload).expect("stored documents are JSON").to_owned())
    }

    /// The text after a merge patch.
    pub fn patched(&self, patch: &Text) -> Text {
        Text(merge_patch::merge(&self.0, &patch.0))
    }

    /// Whether writing it deletes the document.
    pub fn is_null(&self) -> bool {
        self.0 == "null"
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Problem;

    fn read(body: &str) -> Result<String, Problem> {
        Text::read(body.as_bytes()).map(|text| text.0).map_err(|error| error.problem)
    }

    #[test]
    fn rs_40_only_white_space_goes() {
        let kept = r#"{"z":1.50e+3,"a":[-0,12345678901234567890123],"z":"\u0041\/ é"}"#;
        let spaced = " {\n\"z\" : 1.50e+3 ,\t\"a\":[ -0, 12345678901234567890123 ],\r\n\"z\":\"\\u0041\\/ é\" } ";
        assert_eq!(read(spaced).as_deref(), Ok(kept));
        assert_eq!(read(kept).as_deref(), Ok(kept));
        assert_eq!(read(" 5 ").as_deref(), Ok("5"));
    }

    #[test]
    fn what_is_refused_has_its_reason() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(read(&nested(64)).is_ok());
        assert_eq!(read(&nested(65)), Err(Problem::TooDeep));
        assert_eq!(read("[1e400]"), Err(Problem::NotFinite));
        assert_eq!(read(r#"["\udfff"]"#), Err(Problem::LoneSurrogate));
        assert_eq!(read(""), Err(Problem::Unfinished));
        assert_eq!(Text::read(b"\"\xff\"").map_err(|error| error.problem), Err(Problem::NotUtf8));
    }

    #[test]
    fn rs_57_null_deletes_also_as_the_result_of_a_patch() {
        let text = |text: &str| Text::read(text.as_bytes()).unwrap();
        assert!(text(" null ").is_null() && !text("\"null\"").is_null());
        assert!(text("{\"a\":1}").patched(&text("null")).is_null());
        assert_eq!(text("{\"a\":1}").patched(&text("{\"a\":null}")).as_str(), "{}");
    }
}
