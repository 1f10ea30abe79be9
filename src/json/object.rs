//! An object as the ordered list of its members, their values unread.

use super::parts;
use std::borrow::Cow;

/// One member. Texts are as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// With its quotation marks and escapes.
    pub key: &'a str,
    /// What the key says.
    pub name: Cow<'a, str>,
    pub value: &'a str,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Members<'a>(pub Vec<Member<'a>>);

impl<'a> Members<'a> {
    /// `None` if the text, which is JSON that `json::compact` wrote, is no object.
    pub fn of(text: &'a str) -> Option<Members<'a>> {
        // serde would go on to say why it is none.
        if !text.starts_with('{') {
            return None;
        }
        let (mut list, mut are_named) = (Vec::new(), true);
        parts::members(text, |key, value| match string(key) {
            Some(name) => list.push(Member { key, name, value }),
            None => are_named = false,
        })?;
        are_named.then_some(Members(list))
    }

    /// The value of a key; of duplicate ones the last counts.
    pub fn last(&self, name: &str) -> Option<&'a str> {
        self.0.iter().rev().find(|member| member.name == name).map(|member| member.value)
    }
}

/// The string that a JSON text says, if it is one.
pub fn string(text: &str) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(text).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_order_texts_and_duplicates() {
        let members = Members::of(r#"{"b":[1,{"x":2}],"\u0061\"":1e2,"b":"\n"}"#).unwrap();
        let list: Vec<_> = members.0.iter().map(|member| (member.key, &*member.name, member.value)).collect();
        assert_eq!(list, [(r#""b""#, "b", r#"[1,{"x":2}]"#), (r#""\u0061\"""#, "a\"", "1e2"), (r#""b""#, "b", r#""\n""#)]);
        assert_eq!((members.last("b"), members.last("a\""), members.last("x")), (Some(r#""\n""#), Some("1e2"), None));
        assert_eq!(Members::of("{}"), Some(Members::default()));
        for other in ["[]", "\"{}\"", "1", "null", ""] {
            assert_eq!(Members::of(other), None, "{other}");
        }
    }

    #[test]
    fn strings_are_read_and_nothing_else() {
        assert_eq!(string(r#""aé""#).as_deref(), Some("aé"));
        assert_eq!(string(r#""\u00e9\\""#).as_deref(), Some("é\\"));
        assert_eq!((string("1"), string("[]"), string("\"")), (None, None, None));
    }
}
