//! The texts inside an array or an object, still unread: number text, escapes and big integers survive.
//!
//! Nothing here bounds depth or looks at surrogates: [`super::compact`] does.

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Why a text gives no elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementsError {
    TooMany,
    /// After so many elements the text is no JSON array.
    NotJson(usize),
}

/// The elements of an array, at most `count_max`.
///
/// # Errors
/// See [`ElementsError`]; reading stops at the first element too many.
pub fn elements(text: &str, count_max: usize) -> Result<Vec<&str>, ElementsError> {
    let mut elements = Vec::new();
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = reader.deserialize_seq(Elements { list: &mut elements, count_max }).and_then(|()| reader.end());
    if elements.len() > count_max {
        return Err(ElementsError::TooMany);
    }
    match read {
        Ok(()) => Ok(elements),
        Err(_) => Err(ElementsError::NotJson(elements.len())),
    }
}

struct Elements<'a, 'de> {
    list: &'a mut Vec<&'de str>,
    count_max: usize,
}

impl<'de> Visitor<'de> for Elements<'_, 'de> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while self.list.len() <= self.count_max
            && let Some(element) = elements.next_element::<&RawValue>()?
        {
            self.list.push(element.get());
        }
        Ok(())
    }
}

/// Calls `each` with key and value of every member of an object, as they are written, in their order.
///
/// `None` if the text is no JSON object; members before what is wrong have been told then.
pub fn members<'de>(text: &'de str, each: impl FnMut(&'de str, &'de str)) -> Option<()> {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.deserialize_map(Members(each)).and_then(|()| reader.end()).ok()
}

struct Members<F>(F);

impl<'de, F: FnMut(&'de str, &'de str)> Visitor<'de> for Members<F> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            (self.0)(key.get(), value.get());
        }
        Ok(())
    }
}

/// The string that a JSON text says, if it is one.
pub fn string(text: &str) -> Option<String> {
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_texts_up_to_a_bound() {
        assert_eq!(elements(r#" [1.0, {"a" : 2} ,"\u0041"] "#, 3), Ok(vec!["1.0", r#"{"a" : 2}"#, r#""\u0041""#]));
        assert_eq!(elements("[]", 0), Ok(vec![]));
        assert_eq!(elements("[1,2,3", 2), Err(ElementsError::TooMany));
        for (text, count) in [("[1,2", 2), ("[1,]", 1), ("{}", 0), ("[1] 2", 1), ("", 0)] {
            assert_eq!(elements(text, 9), Err(ElementsError::NotJson(count)), "{text}");
        }
    }

    #[test]
    fn members_are_texts_in_their_order_duplicates_too() {
        let mut list = Vec::new();
        assert_eq!(members(r#" { "a" : 1.0 ,"\u0061":[ ],"":null} "#, |key, value| list.push((key, value))), Some(()));
        assert_eq!(list, [(r#""a""#, "1.0"), (r#""\u0061""#, "[ ]"), (r#""""#, "null")]);
        for bad in ["[]", "{", "{} 1", "{\"a\"}", "1", "", "{1:2}"] {
            assert_eq!(members(bad, |_, _| {}), None, "{bad}");
        }
    }

    #[test]
    fn a_string_is_what_its_text_says() {
        assert_eq!(string(r#""\u0041\n""#).as_deref(), Some("A\n"));
        assert_eq!((string("1"), string(r#""\ud800""#)), (None, None));
    }
}
