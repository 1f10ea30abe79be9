//! Which offered subprotocol carries the credentials, and which one is answered (specification, section 2.4).

use super::handshake::Reject;
use super::token::{Token, is_token_byte};
use crate::http::head::Head;

/// The subprotocol without credentials in it.
pub const REALTIME: &str = "m2-realtime";

const ELEMENTS_MAX: usize = 16;

/// What a client offers, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer<'a> {
    elements: Vec<&'a str>,
}

/// The credential token that was chosen, and the name it has in the offer.
pub struct Chosen<'a> {
    pub name: &'a str,
    pub token: Token,
}

impl<'a> Offer<'a> {
    /// Whether an element is longer than is ever decoded: nothing else of such a request is looked at.
    pub fn is_too_long(head: &Head<'a>, characters_max: usize) -> bool {
        elements(head).any(|element| element.chars().count() > characters_max)
    }

    /// # Errors
    /// [`Reject::MalformedProtocols`]: too many elements, or one that is no token.
    pub fn read(head: &Head<'a>) -> Result<Offer<'a>, Reject> {
        let elements: Vec<&str> = elements(head).take(ELEMENTS_MAX + 1).collect();
        let well_formed = elements.iter().all(|element| element.bytes().all(is_token_byte));
        if elements.len() > ELEMENTS_MAX || !well_formed {
            return Err(Reject::MalformedProtocols);
        }
        Ok(Offer { elements })
    }

    /// The first valid token; later ones are not read. `None` if nothing but [`REALTIME`] is offered.
    ///
    /// # Errors
    /// [`Reject::InvalidProtocol`]: something else is offered, and nothing of it is a valid token.
    pub fn choose(&self) -> Result<Option<Chosen<'a>>, Reject> {
        let mut others = self.elements.iter().filter(|element| **element != REALTIME).peekable();
        if others.peek().is_none() {
            return Ok(None);
        }
        let mut tokens = others.filter_map(|name| Some(Chosen { name, token: Token::decode(name)? }));
        tokens.next().map(Some).ok_or(Reject::InvalidProtocol)
    }

    /// The value of `Sec-WebSocket-Protocol` in the 101; without a valid token the first offered one, so that a browser
    /// opens and sees why it is closed.
    pub fn answer(&self, chosen: Option<&Chosen<'a>>) -> Option<&'a str> {
        let realtime = self.elements.iter().find(|element| **element == REALTIME).copied();
        realtime.or(chosen.map(|chosen| chosen.name)).or(self.elements.first().copied())
    }
}

fn elements<'a>(head: &Head<'a>) -> impl Iterator<Item = &'a str> {
    let lines = head.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("Sec-WebSocket-Protocol"));
    let elements = lines.flat_map(|&(_, value)| value.split(',')).map(|element| element.trim_matches([' ', '\t']));
    elements.filter(|element| !element.is_empty()).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{BodyLength, Version};

    const DOCUMENT: &str = "zvtwh2Pc4738C3hkLXwcLbY3LnsqYfMmKG2NWiWNE9yL8xVwQhcLFKCzzne1fqbf";
    const ORGANIZATION_ONLY: &str = "qMhaNjbMzoQibTX924SifjiRDF7ASEZoQA";

    fn head<'a>(lines: &[&'a str]) -> Head<'a> {
        let fields = lines.iter().map(|line| ("sec-websocket-Protocol", *line)).collect();
        let (version, body) = (Version::Http11, BodyLength::None);
        Head { method: "GET", target: "/", version, fields, body, keep_alive: true, expects_continue: false }
    }

    /// The chosen token and the answer.
    fn outcome(lines: &[&str]) -> Result<(Option<String>, Option<String>), Reject> {
        let head = head(lines);
        let offer = Offer::read(&head)?;
        let chosen = offer.choose()?;
        let answer = offer.answer(chosen.as_ref()).map(str::to_owned);
        Ok((chosen.map(|chosen| chosen.name.to_owned()), answer))
    }

    fn both(name: &str, answer: &str) -> Result<(Option<String>, Option<String>), Reject> {
        Ok((Some(name.to_owned()), Some(answer.to_owned())))
    }

    #[test]
    fn rs_01_a_token_alone_is_answered_byte_for_byte() {
        assert_eq!(outcome(&[DOCUMENT]), both(DOCUMENT, DOCUMENT));
    }

    #[test]
    fn rs_02_nothing_offered_is_answered_with_nothing() {
        assert_eq!(outcome(&[]), Ok((None, None)));
        assert_eq!(outcome(&["", " , ,"]), Ok((None, None)));
    }

    #[test]
    fn rs_03_m2_realtime_is_answered_whatever_carries_the_credentials() {
        let spaced = format!("m2-realtime, {DOCUMENT}");
        let close = format!("{DOCUMENT},m2-realtime");
        for lines in [vec![spaced.as_str()], vec![&close], vec![REALTIME, DOCUMENT], vec![DOCUMENT, REALTIME]] {
            assert_eq!(outcome(&lines), both(DOCUMENT, REALTIME), "{lines:?}");
        }
        assert_eq!(outcome(&[REALTIME]), Ok((None, Some(REALTIME.to_owned()))));
        assert_eq!(outcome(&["M2-Realtime"]), Err(Reject::InvalidProtocol));
    }

    #[test]
    fn rs_04_the_first_valid_token_is_chosen_and_answered() {
        let line = format!("0OIl, {DOCUMENT}, {ORGANIZATION_ONLY}");
        assert_eq!(outcome(&[&line]), both(DOCUMENT, DOCUMENT));
        assert_eq!(outcome(&["23C5cqvjzMTLTVBo9DKn3rhZ", ORGANIZATION_ONLY]), both(ORGANIZATION_ONLY, ORGANIZATION_ONLY));
    }

    #[test]
    fn rs_05_nothing_valid_is_rejected_and_the_first_one_would_be_echoed() {
        assert_eq!(outcome(&["0OIl"]), Err(Reject::InvalidProtocol));
        assert_eq!(outcome(&["m2-realtime, 0OIl"]), Err(Reject::InvalidProtocol));
        let head = head(&["0OIl, other"]);
        assert_eq!(Offer::read(&head).unwrap().answer(None), Some("0OIl"));
    }

    #[test]
    fn more_than_sixteen_or_no_tokens_are_malformed() {
        assert_eq!(outcome(&[&vec![DOCUMENT; 16].join(",")]), both(DOCUMENT, DOCUMENT));
        assert_eq!(outcome(&[&vec![DOCUMENT; 17].join(",")]), Err(Reject::MalformedProtocols));
        for line in ["a b", "a;b", "\"a\"", "a/b", "a:b"] {
            assert_eq!(outcome(&[DOCUMENT, line]), Err(Reject::MalformedProtocols), "{line}");
        }
    }

    #[test]
    fn rs_12_one_character_too_many_is_seen_before_anything_is_decoded() {
        let (fits, long) = ("z".repeat(4096), "z".repeat(4097));
        assert!(!Offer::is_too_long(&head(&[&fits, &fits]), 4096));
        assert!(Offer::is_too_long(&head(&[DOCUMENT, &long]), 4096));
        assert!(Offer::is_too_long(&head(&["a,bcde"]), 3));
    }
}
