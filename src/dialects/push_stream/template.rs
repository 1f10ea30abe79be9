//! The message template: literal text and `~tokens~` (specification, section 5).

use crate::http::response::date;
use crate::message::Message;

/// A template, cut once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Token(Token),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Id,
    EventId,
    EventType,
    Channel,
    Text,
    Size,
    Tag,
    Time,
}

const TOKENS: [(&str, Token); 8] = [
    ("~id~", Token::Id),
    ("~event-id~", Token::EventId),
    ("~event-type~", Token::EventType),
    ("~channel~", Token::Channel),
    ("~text~", Token::Text),
    ("~size~", Token::Size),
    ("~tag~", Token::Tag),
    ("~time~", Token::Time),
];

impl Template {
    /// Letter case of tokens is ignored; what is no token stays as it is.
    pub fn parse(text: &str) -> Template {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let token = TOKENS.iter().find(|(name, _)| {
                rest.as_bytes().get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
            });
            match token {
                Some(&(name, token)) => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    pieces.push(Piece::Token(token));
                    rest = &rest[name.len()..];
                }
                None => {
                    literal.push(first);
                    rest = &rest[first.len_utf8()..];
                }
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Template { pieces }
    }

    /// Appends the message's form. Values go in as they are and are not looked at again.
    pub fn render(&self, message: &Message, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Token(token) => insert(*token, message, out),
            }
        }
    }
}

fn insert(token: Token, message: &Message, out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    match token {
        Token::Id => out.extend_from_slice(digits.format(message.id).as_bytes()),
        Token::EventId => out.extend_from_slice(message.event_id().unwrap_or_default()),
        Token::EventType => out.extend_from_slice(message.event_type().unwrap_or_default()),
        Token::Channel => out.extend_from_slice(message.topic.as_str().as_bytes()),
        Token::Text => out.extend_from_slice(&message.payload),
        Token::Size => out.extend_from_slice(digits.format(message.payload.len()).as_bytes()),
        Token::Tag => out.extend_from_slice(digits.format(message.stamp.tag).as_bytes()),
        Token::Time => out.extend_from_slice(date(message.stamp.seconds).as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::push_stream::options::Options;
    use crate::message::{EventFields, Seq, Stamp};
    use std::sync::Arc;

    fn message(text: &str) -> Message {
        let stamp = Stamp { seq: Seq(9), seconds: 1_795_191_466, tag: 3 };
        Message::new(stamp, "ws1".into(), 2, Arc::from(text.as_bytes()))
    }

    fn rendered(template: &str, message: &Message) -> String {
        let mut out = Vec::new();
        Template::parse(template).render(message, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_default_is_the_documents_form() {
        assert_eq!(
            rendered(&Options::default().message_template, &message(r#"{"m":"three"}"#)),
            r#"{"id":2,"channel":"ws1","message":{"m":"three"},"tag":"3","time":"Fri, 20 Nov 2026 16:17:46 GMT"}"#
        );
    }

    /// PT-33: the template of all eight tokens.
    #[test]
    fn all_eight_tokens_in_any_letter_case() {
        let template = "[id=~ID~ ch=~Channel~ text=~text~ size=~size~ tag=~tag~ time=~TIME~ eid=~event-id~ ety=~Event-Type~]";
        let mut message = message("from-ws");
        assert_eq!(
            rendered(template, &message),
            "[id=2 ch=ws1 text=from-ws size=7 tag=3 time=Fri, 20 Nov 2026 16:17:46 GMT eid= ety=]"
        );
        message.event = Some(Box::new(EventFields { id: Some((*b"e3").into()), kind: Some((*b"upd").into()) }));
        assert!(rendered(template, &message).ends_with("eid=e3 ety=upd]"));
    }

    #[test]
    fn unknown_tokens_stay_and_values_are_not_scanned_again() {
        let message = message("~id~ and ~text~");
        assert_eq!(rendered("~x~id~ ~~ é~ ~text~", &message), "~x2 ~~ é~ ~id~ and ~text~");
        assert_eq!(rendered("no token~", &message), "no token~");
    }

    #[test]
    fn control_messages_have_negative_ids() {
        let mut message = message("{}");
        message.id = -2;
        assert_eq!(rendered("~id~", &message), "-2");
    }
}
