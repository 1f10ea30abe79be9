//! The query of a request: `application/x-www-form-urlencoded`, names with case, what is empty counts as absent
//! (specification, section 2).

use std::borrow::Cow;

/// Names and values, decoded, in their order.
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// A parameter that may stand there once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given<'q> {
    Absent,
    Once(&'q str),
    /// More than once, be the values equal or empty: which one was meant is not guessed.
    Twice,
}

impl<'a> Query<'a> {
    /// What follows the `?`. The head that it is part of bounds it.
    pub fn read(text: &'a str) -> Query<'a> {
        Query(form_urlencoded::parse(text.as_bytes()).collect())
    }

    /// For keys and tokens.
    pub fn once(&self, name: &str) -> Given<'_> {
        let mut values = self.named(name);
        match (values.next(), values.next()) {
            (None | Some(""), None) => Given::Absent,
            (Some(value), None) => Given::Once(value),
            (_, Some(_)) => Given::Twice,
        }
    }

    /// The first value that is not empty.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Every value that is not empty.
    pub fn all<'q>(&'q self, name: &str) -> impl Iterator<Item = &'q str> {
        self.named(name).filter(|value| !value.is_empty())
    }

    /// Whether it is `true`, and no other word.
    pub fn is_on(&self, name: &str) -> bool {
        self.first(name) == Some("true")
    }

    fn named<'q>(&'q self, name: &str) -> impl Iterator<Item = &'q str> {
        self.0.iter().filter(move |(sent, _)| sent == name).map(|(_, value)| &**value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ep_08_names_have_case_and_escapes_are_decoded_once() {
        let query = Query::read("x=1&KEY=a&%6Bey=%61b%2Bc+d&&flag&=e&bad=%zz%4&k%65y2=%2541");
        assert_eq!(query.once("key"), Given::Once("ab+c d"));
        assert_eq!(query.once("KEY"), Given::Once("a"));
        assert_eq!(query.once("Key"), Given::Absent);
        assert_eq!(query.first("bad"), Some("%zz%4"));
        assert_eq!(query.first("key2"), Some("%41"));
        assert_eq!((query.once("flag"), query.first("flag")), (Given::Absent, None));
        assert_eq!(Query::read("key=%ff").once("key"), Given::Once("\u{fffd}"));
        assert_eq!(Query::read("key=a=b").once("key"), Given::Once("a=b"));
        assert_eq!(Query::read("").once("key"), Given::Absent);
    }

    #[test]
    fn what_stands_there_twice_is_not_guessed() {
        for twice in ["key=a&key=a", "key=a&key=b", "key=&key=a", "key=a&key=", "key&key", "key=a&%6bey=a"] {
            assert_eq!(Query::read(twice).once("key"), Given::Twice, "{twice}");
        }
        for absent in ["key=", "key", "Key=a", "keys=a", "akey=a"] {
            assert_eq!(Query::read(absent).once("key"), Given::Absent, "{absent}");
        }
    }

    #[test]
    fn an_option_is_on_by_one_word_alone() {
        assert!(Query::read("login=true").is_on("login") && Query::read("login=&login=true").is_on("login"));
        for off in ["", "login", "login=", "login=1", "login=TRUE", "login=true+", "login=false&login=true", "Login=true"] {
            assert!(!Query::read(off).is_on("login"), "{off}");
        }
        let query = Query::read("uniqueId=a&uniqueId=&uniqueId=b");
        assert_eq!(query.all("uniqueId").collect::<Vec<_>>(), ["a", "b"]);
    }
}
