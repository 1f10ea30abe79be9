//! The frames that the server makes up itself, byte for byte (specification, sections 3 and 11.1).

use super::identifier;
use crate::exchange::ConversationId;
use crate::message::Frame;
use crate::websocket::encoder;

/// What a data frame begins with, around the identifier token.
const BEFORE_TOKEN: &[u8] = b"{\"identifier\":";
const AFTER_TOKEN: &[u8] = b",\"message\":";

/// Why a connection is ended with a `disconnect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Unauthorized,
    ServerRestart,
    Remote,
    TooSlow,
    NoPong,
}

impl Reason {
    pub const ALL: [Reason; 5] = [Reason::Unauthorized, Reason::ServerRestart, Reason::Remote, Reason::TooSlow, Reason::NoPong];

    pub fn text(self) -> &'static str {
        match self {
            Reason::Unauthorized => "unauthorized",
            Reason::ServerRestart => "server_restart",
            Reason::Remote => "remote",
            Reason::TooSlow => "too_slow",
            Reason::NoPong => "no_pong",
        }
    }
}

/// What an answer says of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Confirm,
    Reject,
    ConfirmHistory,
    RejectHistory,
}

pub fn welcome() -> Frame {
    text(b"{\"type\":\"welcome\"}")
}

/// The welcome of an extended connection; `restored` are the identifier tokens of what goes on.
pub fn welcome_extended(conversation: ConversationId, restored: Option<&[&[u8]]>) -> Frame {
    let mut json = format!("{{\"type\":\"welcome\",\"sid\":\"{}\"", sid(conversation)).into_bytes();
    if let Some(tokens) = restored {
        json.extend_from_slice(b",\"restored\":true,\"restored_ids\":[");
        json.extend_from_slice(&tokens.join(&b","[..]));
        json.push(b']');
    }
    json.push(b'}');
    text(&json)
}

/// With a number of seconds, milliseconds or nanoseconds.
pub fn ping(number: u64) -> Frame {
    text(format!("{{\"type\":\"ping\",\"message\":{number}}}").as_bytes())
}

pub fn pong() -> Frame {
    text(b"{\"type\":\"pong\"}")
}

pub fn verdict(token: &[u8], verdict: Verdict) -> Frame {
    let kind: &[u8] = match verdict {
        Verdict::Confirm => b"confirm_subscription",
        Verdict::Reject => b"reject_subscription",
        Verdict::ConfirmHistory => b"confirm_history",
        Verdict::RejectHistory => b"reject_history",
    };
    text(&[BEFORE_TOKEN, token, b",\"type\":\"", kind, b"\"}"].concat())
}

/// Presence is not offered: the error ends the client's wait.
pub fn no_presence(token: &[u8]) -> Frame {
    text(&[BEFORE_TOKEN, token, b",\"type\":\"presence\",\"message\":{\"type\":\"error\"}}"].concat())
}

pub fn disconnect(reason: Reason, reconnect: bool) -> Frame {
    text(format!("{{\"type\":\"disconnect\",\"reason\":\"{}\",\"reconnect\":{reconnect}}}", reason.text()).as_bytes())
}

/// What the data frames of a subscription begin with; payload and `}` follow.
pub fn data_prefix(identifier: &str) -> Frame {
    [BEFORE_TOKEN, identifier::token(identifier).as_bytes(), AFTER_TOKEN].concat().into()
}

/// The identifier token in [`data_prefix`].
pub fn token_of(prefix: &[u8]) -> &[u8] {
    &prefix[BEFORE_TOKEN.len()..prefix.len() - AFTER_TOKEN.len()]
}

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Digits that 128 bits take.
const SID_BYTES: usize = 22;

/// The conversation as clients see it.
pub fn sid(conversation: ConversationId) -> String {
    let mut rest = conversation.0;
    let mut digits = [b'0'; SID_BYTES];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits.iter().map(|&digit| char::from(digit)).collect()
}

/// `None` for a text that [`sid`] never writes.
pub fn conversation(sid: &str) -> Option<ConversationId> {
    if sid.len() != SID_BYTES {
        return None;
    }
    sid.bytes()
        .try_fold(0u128, |number, byte| {
            let digit = BASE62.iter().position(|&known| known == byte)?;
            number.checked_mul(62)?.checked_add(digit as u128)
        })
        .map(ConversationId)
}

fn text(json: &[u8]) -> Frame {
    encoder::text(json).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specifications_frames_have_their_bytes() {
        assert_eq!(*welcome(), *b"\x81\x12{\"type\":\"welcome\"}");
        assert_eq!(*ping(1_795_191_434), *b"\x81\x24{\"type\":\"ping\",\"message\":1795191434}");
        let token = br#""{\"channel\":\"A\"}""#;
        let shown = |frame: Frame| String::from_utf8(frame[2..].to_vec()).unwrap();
        assert_eq!(
            shown(verdict(token, Verdict::Confirm)),
            r#"{"identifier":"{\"channel\":\"A\"}","type":"confirm_subscription"}"#
        );
        assert_eq!(shown(verdict(b"\"\"", Verdict::Reject)), r#"{"identifier":"","type":"reject_subscription"}"#);
        assert_eq!(shown(verdict(b"\"\"", Verdict::ConfirmHistory)), r#"{"identifier":"","type":"confirm_history"}"#);
        assert_eq!(shown(verdict(b"\"\"", Verdict::RejectHistory)), r#"{"identifier":"","type":"reject_history"}"#);
        assert_eq!(shown(disconnect(Reason::Remote, false)), r#"{"type":"disconnect","reason":"remote","reconnect":false}"#);
        assert_eq!(shown(no_presence(b"\"\"")), r#"{"identifier":"","type":"presence","message":{"type":"error"}}"#);
        let sid = sid(ConversationId(7));
        assert_eq!(shown(welcome_extended(ConversationId(7), None)), format!("{{\"type\":\"welcome\",\"sid\":\"{sid}\"}}"));
        assert_eq!(
            shown(welcome_extended(ConversationId(7), Some(&[b"\"a\"", b"\"b\""]))),
            format!("{{\"type\":\"welcome\",\"sid\":\"{sid}\",\"restored\":true,\"restored_ids\":[\"a\",\"b\"]}}")
        );
    }

    #[test]
    fn the_documents_prefix_has_its_109_bytes() {
        let prefix = data_prefix(r#"{"channel":"ApiChannel","key":"abcdef012345","events":"announcements"}"#);
        let expected =
            r#"{"identifier":"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"announcements\"}","message":"#;
        assert_eq!((std::str::from_utf8(&prefix).unwrap(), expected.len()), (expected, 109));
    }

    #[test]
    fn the_token_is_found_in_the_prefix() {
        for decoded in ["", "x", r#"{"channel":"A"}"#] {
            assert_eq!(token_of(&data_prefix(decoded)), identifier::token(decoded).as_bytes());
        }
    }

    #[test]
    fn a_sid_is_read_back_and_nothing_else_is_one() {
        for number in [0, 1, 61, 62, u128::MAX / 3, u128::MAX] {
            assert_eq!(conversation(&sid(ConversationId(number))), Some(ConversationId(number)));
        }
        for bad in ["", "abc", "zzzzzzzzzzzzzzzzzzzzzz", "00000000000000000000-0", "00000000000000000000000"] {
            assert_eq!(conversation(bad), None, "{bad}");
        }
    }
}
