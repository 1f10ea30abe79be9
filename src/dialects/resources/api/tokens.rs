//! `{path}/tokens`: a backend has tokens issued for its users, and revokes them (specification, section 9).

use super::super::frame::quote;
use super::super::name::is_user_id;
use super::super::options::TOKEN_TTL_MAX;
use super::super::version::Version;
use super::documents::unavailable;
use crate::access::digest;
use crate::access::tokens::Source;
use crate::clock::Now;
use crate::exchange::{Answer, Grant, Question, Refusal, Revocation, SubscriptionId, TokenDigest};
use crate::http::body::BodyError;
use crate::http::response::{Response, error, json};
use crate::json;
use crate::json::object::{Members, string};
use crate::message::TopicName;
use crate::session::{Actions, ConnectionLimits, Inbound, Session};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a request's body: a token of the longest kind and more.
pub const BODY_BYTES_MAX: u64 = 16 << 10;
/// Levels of nesting in there.
const DEPTH_MAX: usize = 32;

/// What a body asks for.
#[derive(PartialEq, Eq)]
enum Wish {
    Issue { user: Box<str>, ttl: Duration },
    RevokeToken(TokenDigest),
    RevokeUser(Box<str>),
}

/// What is wrong with a body.
type Fault = &'static str;

impl Wish {
    fn to_issue(body: &[u8], ttl: Duration) -> Result<Wish, Fault> {
        let text = compact(body)?;
        let members = Members::of(&text).ok_or("Invalid userId")?;
        let user = members.last("userId").and_then(user_id).ok_or("Invalid userId")?;
        let ttl = match members.last("ttlSeconds") {
            None => ttl,
            Some(text) => seconds(text).ok_or("Invalid ttlSeconds")?,
        };
        Ok(Wish::Issue { user, ttl })
    }

    fn to_revoke(body: &[u8]) -> Result<Wish, Fault> {
        let text = compact(body)?;
        let members = Members::of(&text).unwrap_or_default();
        match (members.last("token"), members.last("userId")) {
            (Some(token), None) => {
                let token = string(token).ok_or("Invalid token")?;
                Ok(Wish::RevokeToken(TokenDigest(digest(token.as_bytes()))))
            }
            (None, Some(user)) => user_id(user).map(Wish::RevokeUser).ok_or("Invalid userId"),
            (Some(_), Some(_)) | (None, None) => Err("Expected token or userId"),
        }
    }
}

fn compact(body: &[u8]) -> Result<String, Fault> {
    let mut out = Vec::with_capacity(body.len());
    json::compact(body, &mut out, DEPTH_MAX).map_err(|_| "Invalid JSON")?;
    Ok(String::from_utf8(out).expect("what was accepted as JSON is UTF-8"))
}

fn user_id(text: &str) -> Option<Box<str>> {
    string(text).filter(|user| is_user_id(user)).map(|user| user.into())
}

/// A whole number of seconds that a token may last.
fn seconds(text: &str) -> Option<Duration> {
    let ttl = Duration::from_secs(text.parse().ok()?);
    (!ttl.is_zero() && ttl <= TOKEN_TTL_MAX).then_some(ttl)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Issue,
    Revoke,
}

/// One request of a backend, from its head to its answer.
pub struct Tokens {
    source: Arc<Source>,
    limits: ConnectionLimits,
    /// Name of the project's group.
    group: Box<str>,
    state: State,
    /// The server stops: the connection ends with the answer.
    stopping: bool,
}

/// ```text
/// Receiving ──▶ Issuing ──────────────▶ answered
///     │  └────▶ Revoking ────────────────▲
///     └───────▶ Finding ──of the project─┘
/// ```
enum State {
    /// `ttl` is that of a token for which none is asked.
    Receiving {
        method: Method,
        ttl: Duration,
    },
    /// The answer once the token counts.
    Issuing(String),
    /// A token of another project is left alone.
    Finding(TokenDigest),
    Revoking,
    Answered,
}

impl Tokens {
    pub fn new(source: Arc<Source>, limits: ConnectionLimits, group: Box<str>, method: Method, ttl: Duration) -> Tokens {
        Tokens { source, limits, group, state: State::Receiving { method, ttl }, stopping: false }
    }

    fn carry_out(&mut self, wish: Wish, actions: &mut Actions) -> State {
        match wish {
            Wish::Issue { user, ttl } => {
                let token = self.source.token();
                let until = expiry(actions.now, ttl);
                actions.ask(Question::Issue {
                    token: TokenDigest(digest(token.as_bytes())),
                    grant: Grant { group: self.group.clone(), user: user.clone(), until: until.millis() as u64 },
                    user_max: 0,
                });
                State::Issuing(issued(&token, &user, until))
            }
            Wish::RevokeToken(token) => {
                actions.ask(Question::Grant(token));
                State::Finding(token)
            }
            Wish::RevokeUser(user) => {
                actions.ask(Question::Revoke(Revocation::User { group: self.group.clone(), user, except: None }));
                State::Revoking
            }
        }
    }

    fn respond(&self, mut response: Response, actions: &mut Actions) {
        response.close |= self.stopping;
        actions.respond(response);
    }
}

fn expiry(now: Now, ttl: Duration) -> Version {
    let millis = (now.unix_micros / 1000).saturating_add(ttl.as_millis() as u64);
    Version::at(i64::try_from(millis).unwrap_or(i64::MAX))
}

fn issued(token: &str, user: &str, until: Version) -> String {
    let mut user_text = Vec::with_capacity(user.len() + 2);
    quote(user, &mut user_text);
    let user_text = String::from_utf8(user_text).expect("quotes and a str are UTF-8");
    format!("{{\"token\":\"{token}\",\"userId\":{user_text},\"expiresAt\":\"{until}\"}}")
}

impl Session for Tokens {
    fn limits(&self) -> &ConnectionLimits {
        &self.limits
    }

    fn received(&mut self, inbound: Inbound<'_>, actions: &mut Actions) {
        let (Inbound::Body(body), State::Receiving { method, ttl }) = (inbound, &self.state) else { return };
        let wish = match method {
            Method::Issue => Wish::to_issue(&body, *ttl),
            Method::Revoke => Wish::to_revoke(&body),
        };
        match wish {
            Ok(wish) => self.state = self.carry_out(wish, actions),
            Err(fault) => self.respond(error(400, fault), actions),
        }
    }

    fn answered(&mut self, answer: Answer, actions: &mut Actions) {
        let response = match (std::mem::replace(&mut self.state, State::Answered), answer) {
            (State::Issuing(body), Answer::Issued) => json(201, body),
            (State::Issuing(_), Answer::Refused(Refusal::OutOfMemory)) => error(507, "Too many tokens"),
            (State::Finding(token), Answer::Grant(Some(grant))) if grant.group == self.group => {
                actions.ask(Question::Revoke(Revocation::Token(token)));
                self.state = State::Revoking;
                return;
            }
            (State::Finding(_), Answer::Grant(_)) | (State::Revoking, Answer::Announced) => no_content(),
            (_, Answer::Refused(_)) => unavailable(),
            // Nothing else was asked.
            (state, _) => {
                self.state = state;
                return;
            }
        };
        self.respond(response, actions);
    }

    fn too_slow(&mut self, actions: &mut Actions) {
        actions.hangup();
    }

    /// What has begun is answered; the connection ends with it.
    fn draining(&mut self, _actions: &mut Actions) {
        self.stopping = true;
    }

    fn review(&mut self, _topics: &[(SubscriptionId, TopicName)], _actions: &mut Actions) {
        // The key counted when the request came.
    }
}

fn no_content() -> Response {
    Response::new(204).field("Cache-Control", "no-store")
}

pub fn body_refused(refused: BodyError) -> Response {
    match refused {
        BodyError::TooLarge => error(413, "Body too large"),
        BodyError::Malformed => error(400, "Body not valid"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Action;

    const GROUP: &str = "$resource\u{1f}o\u{1f}p\u{1f}";
    const HOUR: Duration = Duration::from_secs(3600);

    fn limits() -> ConnectionLimits {
        ConnectionLimits {
            message_bytes_max: 1,
            message_fragments_max: 1,
            outbox_bytes_max: 1,
            no_progress: HOUR,
            close_time: HOUR,
            user_timeout: None,
        }
    }

    struct Request {
        session: Tokens,
        actions: Actions,
    }

    impl Request {
        fn new(method: Method) -> Request {
            let session = Tokens::new(Arc::new(Source::new([7; 32])), limits(), GROUP.into(), method, HOUR);
            Request { session, actions: Actions::new(Now { micros: 1, unix_micros: 1_706_629_835_742_999 }) }
        }

        fn body(method: Method, body: &str) -> Request {
            let mut request = Request::new(method);
            request.session.received(Inbound::Body(body.into()), &mut request.actions);
            request
        }

        fn asked(&mut self) -> Question {
            match self.actions.drain().collect::<Vec<_>>().pop() {
                Some(Action::Ask(question)) => question,
                other => panic!("a question, not {other:?}"),
            }
        }

        fn answer(&mut self, answer: Answer) {
            self.session.answered(answer, &mut self.actions);
        }

        fn responded(&mut self) -> (u16, String) {
            match self.actions.drain().collect::<Vec<_>>().pop() {
                Some(Action::Respond(response)) => (response.status, String::from_utf8(response.body).unwrap()),
                other => panic!("a response, not {other:?}"),
            }
        }
    }

    fn refused(method: Method, body: &str, text: &str) {
        let expected = (400, format!("{{\"error\":\"{text}\"}}"));
        assert_eq!(Request::body(method, body).responded(), expected, "{body}");
    }

    #[test]
    fn a_token_is_shown_once_and_stored_as_a_digest() {
        let mut request = Request::body(Method::Issue, r#"{"userId":"u\"1","ttlSeconds":60}"#);
        let Question::Issue { token, grant, .. } = request.asked() else { panic!("a token is to be issued") };
        assert_eq!((&*grant.group, &*grant.user, grant.until), (GROUP, "u\"1", 1_706_629_895_742));
        request.answer(Answer::Issued);
        let (status, body) = request.responded();
        let text = body.strip_prefix("{\"token\":\"").and_then(|rest| rest.get(..43)).unwrap();
        assert_eq!(status, 201);
        assert_eq!(body, format!(r#"{{"token":"{text}","userId":"u\"1","expiresAt":"2024-01-30T15:51:35.742Z"}}"#));
        assert_eq!(token, TokenDigest(digest(text.as_bytes())));
    }

    #[test]
    fn without_a_time_a_token_lasts_as_long_as_the_options_say() {
        let mut request = Request::body(Method::Issue, r#" { "x": 1, "userId" : "u1" } "#);
        let Question::Issue { grant, .. } = request.asked() else { panic!("a token is to be issued") };
        assert_eq!(grant.until, 1_706_629_835_742 + 3_600_000);
        request.answer(Answer::Refused(Refusal::OutOfMemory));
        assert_eq!(request.responded(), (507, "{\"error\":\"Too many tokens\"}".to_owned()));
    }

    #[test]
    fn users_and_times_have_their_bounds() {
        for body in ["{}", "[]", "1", r#"{"userId":1}"#, r#"{"userId":""}"#, r#"{"userId":"a:b"}"#, r#"{"userId":"World"}"#] {
            refused(Method::Issue, body, "Invalid userId");
        }
        refused(Method::Issue, &format!(r#"{{"userId":"{}"}}"#, "u".repeat(129)), "Invalid userId");
        for ttl in ["0", "2592001", "-1", "1.5", "1e3", "null", "\"60\"", "18446744073709551616"] {
            refused(Method::Issue, &format!(r#"{{"userId":"u","ttlSeconds":{ttl}}}"#), "Invalid ttlSeconds");
        }
        for ttl in ["1", "2592000"] {
            let mut request = Request::body(Method::Issue, &format!(r#"{{"userId":"u","ttlSeconds":{ttl}}}"#));
            assert!(matches!(request.asked(), Question::Issue { .. }), "{ttl}");
        }
        for body in ["", "{", "{\"userId\":\"u\"} x"] {
            refused(Method::Issue, body, "Invalid JSON");
            refused(Method::Revoke, body, "Invalid JSON");
        }
    }

    #[test]
    fn a_token_is_revoked_in_its_project_only() {
        let body = r#"{"token":"abc"}"#;
        let mut request = Request::body(Method::Revoke, body);
        let token = TokenDigest(digest(b"abc"));
        assert_eq!(request.asked(), Question::Grant(token));
        let grant = |group: &str| Some(Grant { group: group.into(), user: "u".into(), until: 1 });
        request.answer(Answer::Grant(grant(GROUP)));
        assert_eq!(request.asked(), Question::Revoke(Revocation::Token(token)));
        request.answer(Answer::Announced);
        assert_eq!(request.responded(), (204, String::new()));
        for found in [None, grant("$resource\u{1f}o\u{1f}q\u{1f}")] {
            let mut request = Request::body(Method::Revoke, body);
            request.asked();
            request.answer(Answer::Grant(found));
            assert_eq!(request.responded(), (204, String::new()));
        }
    }

    #[test]
    fn a_user_is_revoked_at_once() {
        let mut request = Request::body(Method::Revoke, r#"{"userId":"u1"}"#);
        let user = Revocation::User { group: GROUP.into(), user: "u1".into(), except: None };
        assert_eq!(request.asked(), Question::Revoke(user));
        request.answer(Answer::Announced);
        assert_eq!(request.responded(), (204, String::new()));
        for body in ["{}", "[]", r#"{"token":"a","userId":"u"}"#] {
            refused(Method::Revoke, body, "Expected token or userId");
        }
        refused(Method::Revoke, r#"{"token":1}"#, "Invalid token");
        refused(Method::Revoke, r#"{"userId":"World"}"#, "Invalid userId");
    }
}
