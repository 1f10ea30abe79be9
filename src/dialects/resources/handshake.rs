//! The checks of a handshake in their order, and how each failure is told (specification, section 2.5).

use super::claims::Claims;
use super::options::{Options, Project, RejectBy};
use super::subprotocol::Offer;
use crate::access::origin::Origin;
use crate::http::head::{Head, Version};
use crate::http::response::{Response, error};
use crate::session::Request;
use crate::websocket::handshake::{HandshakeError, accept_key};

/// What fails, in the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reject {
    HeadTooLarge,
    UpgradeRequired,
    InvalidRequest,
    UnsupportedVersion,
    Draining,
    TooManyConnections,
    /// No list of at most 16 tokens: nothing of it could be echoed.
    MalformedProtocols,
    InvalidProtocol,
    InvalidHeader,
    ConflictingHeaders,
    MissingOrganization,
    MissingProject,
    UnknownProject,
    OriginNotAllowed,
    MissingCredentials,
    InvalidCredentials,
    ProjectNotAllowed,
}

impl Reject {
    /// Status, text, and the close code if a socket that opened may be told so; without one it is always HTTP.
    fn row(self) -> (u16, &'static str, Option<u16>) {
        match self {
            Reject::HeadTooLarge => (431, "Request header fields too large", None),
            Reject::UpgradeRequired => (426, "Upgrade required", None),
            Reject::InvalidRequest => (400, "Invalid websocket request", None),
            Reject::UnsupportedVersion => (426, "Unsupported websocket version", None),
            Reject::Draining => (503, "Server is draining", Some(1001)),
            Reject::TooManyConnections => (429, "Too many connections", Some(4429)),
            Reject::MalformedProtocols => (400, "Invalid Sec-WebSocket-Protocol", None),
            Reject::InvalidProtocol => (400, "Invalid Sec-WebSocket-Protocol", Some(4400)),
            Reject::InvalidHeader => (400, "Invalid header value", Some(4400)),
            Reject::ConflictingHeaders => (400, "Conflicting headers", Some(4400)),
            Reject::MissingOrganization => (400, "Missing x-m2-organization", Some(4400)),
            Reject::MissingProject => (400, "Missing x-m2-project", Some(4400)),
            Reject::UnknownProject => (404, "Unknown organization or project", Some(4404)),
            Reject::OriginNotAllowed => (403, "Origin not allowed", Some(4403)),
            Reject::MissingCredentials => (401, "Missing credentials", Some(4401)),
            Reject::InvalidCredentials => (401, "Invalid credentials", Some(4401)),
            Reject::ProjectNotAllowed => (403, "Project not allowed", Some(4403)),
        }
    }

    pub fn status(self) -> u16 {
        self.row().0
    }

    /// The `error` of the body, and the reason of the close.
    pub fn text(self) -> &'static str {
        self.row().1
    }

    pub fn close_code(self) -> Option<u16> {
        self.row().2
    }

    pub fn response(self) -> Response {
        let response = error(self.status(), self.text()).closing();
        match self {
            Reject::UpgradeRequired => response.field("Upgrade", "websocket"),
            Reject::UnsupportedVersion => response.field("Sec-WebSocket-Version", "13"),
            Reject::Draining | Reject::TooManyConnections => response.field("Retry-After", "5"),
            Reject::MissingCredentials | Reject::InvalidCredentials => response.field("WWW-Authenticate", "Bearer"),
            Reject::HeadTooLarge
            | Reject::InvalidRequest
            | Reject::MalformedProtocols
            | Reject::InvalidProtocol
            | Reject::InvalidHeader
            | Reject::ConflictingHeaders
            | Reject::MissingOrganization
            | Reject::MissingProject
            | Reject::UnknownProject
            | Reject::OriginNotAllowed
            | Reject::ProjectNotAllowed => response,
        }
    }
}

/// A request that passed rows 1 to 10.
#[derive(Debug, PartialEq, Eq)]
pub struct Checked {
    /// Value of `Sec-WebSocket-Accept`.
    pub accept: String,
    /// Value of `Sec-WebSocket-Protocol`, if that field is sent.
    pub subprotocol: Option<String>,
    pub claims: Claims,
}

/// Rows 4 and 5: what the server itself has against any request.
///
/// # Errors
/// The first row that fails.
pub fn let_in(request: &Request<'_>) -> Result<(), Reject> {
    if request.draining {
        return Err(Reject::Draining);
    }
    if request.full { Err(Reject::TooManyConnections) } else { Ok(()) }
}

/// Rows 1 to 10: everything that the request and the state of the server decide. The bytes of the head were counted before.
///
/// # Errors
/// The first row that fails.
pub fn check(request: &Request<'_>, options: &Options) -> Result<Checked, Reject> {
    let head = request.head;
    if Offer::is_too_long(head, options.limits.token_characters_max) {
        return Err(Reject::HeadTooLarge);
    }
    // An `Upgrade` of HTTP/1.0 does not count (RFC 9110, section 7.8).
    if head.method != "GET" || head.version != Version::Http11 {
        return Err(Reject::UpgradeRequired);
    }
    let accept = accept_key(head, &["13"]).map_err(|error| match error {
        HandshakeError::NotAnUpgrade => Reject::UpgradeRequired,
        HandshakeError::MissingKey | HandshakeError::BadKey => Reject::InvalidRequest,
        HandshakeError::MissingVersion | HandshakeError::UnsupportedVersion => Reject::UnsupportedVersion,
    })?;
    let_in(request)?;
    let offer = Offer::read(head)?;
    let chosen = offer.choose()?;
    let claims = Claims::read(head, chosen.as_ref().map(|chosen| &chosen.token), options)?;
    let subprotocol = offer.answer(chosen.as_ref()).map(str::to_owned);
    Ok(Checked { accept, subprotocol, claims })
}

/// Rows 11 to 13: what the project that was found, if any, says of the request. `full` is of the project's own limit.
///
/// # Errors
/// The first row that fails.
pub fn admit(head: &Head<'_>, claims: &Claims, project: Option<&Project>, full: bool) -> Result<(), Reject> {
    let project = project.ok_or(Reject::UnknownProject)?;
    if full {
        return Err(Reject::TooManyConnections);
    }
    if !Origin::allows(&project.allowed_origins, head.fields_named("Origin")) {
        return Err(Reject::OriginNotAllowed);
    }
    if project.require_credentials && claims.credential.is_none() {
        return Err(Reject::MissingCredentials);
    }
    Ok(())
}

/// How a client is told that it may not come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    Http(Response),
    /// 101 with these two values, then a close in the same write.
    Close {
        accept: String,
        subprotocol: Option<String>,
        code: u16,
        reason: &'static str,
    },
}

/// The refusal of a request as the options ask for it, where that is possible.
pub fn refuse(reject: Reject, head: &Head<'_>, by: RejectBy) -> Refusal {
    let http = || Refusal::Http(reject.response());
    let (RejectBy::Close, Some(code)) = (by, reject.close_code()) else { return http() };
    // What was rejected early was not looked at whole: the rest may be unfit for a 101.
    let (Ok(accept), Ok(offer)) = (accept_key(head, &["13"]), Offer::read(head)) else { return http() };
    let subprotocol = offer.answer(offer.choose().unwrap_or(None).as_ref()).map(str::to_owned);
    Refusal::Close { accept, subprotocol, code, reason: reject.text() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;
    use crate::http::head::BodyLength;
    use crate::http::response::Framing;
    use crate::session::Door;

    const DOCUMENT: &str = "zvtwh2Pc4738C3hkLXwcLbY3LnsqYfMmKG2NWiWNE9yL8xVwQhcLFKCzzne1fqbf";

    const GOOD: [(&str, &str); 5] = [
        ("Host", "127.0.0.1"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ];

    /// A good request with more fields, and without those named in `without`.
    fn head<'a>(without: &[&str], more: &[(&'a str, &'a str)]) -> Head<'a> {
        let kept = GOOD.into_iter().filter(|(name, _)| !without.contains(name));
        let fields = kept.chain(more.iter().copied()).collect();
        let (version, body) = (Version::Http11, BodyLength::None);
        Head { method: "GET", target: "/api/realtime", version, fields, body, keep_alive: true, expects_continue: false }
    }

    fn request<'a>(head: &'a Head<'a>, draining: bool, full: bool) -> Request<'a> {
        let (door, peer, now) = (Door::Public, [127, 0, 0, 1].into(), Now::default());
        Request { head, door, peer, reactor: 0, now, draining, full }
    }

    /// Whoever stops may be full, too.
    fn outcome(head: &Head<'_>, draining: bool) -> Result<Checked, Reject> {
        check(&request(head, draining, draining), &Options::default())
    }

    fn protocol(value: &str) -> (&'static str, &str) {
        ("Sec-WebSocket-Protocol", value)
    }

    #[test]
    fn rs_01_the_documents_token_is_echoed() {
        let checked = outcome(&head(&[], &[protocol(DOCUMENT)]), false).unwrap();
        assert_eq!(checked.subprotocol.as_deref(), Some(DOCUMENT));
        assert_eq!(checked.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!((checked.claims.organization.as_str(), checked.claims.project.as_str()), ("testOrg", "testProj"));
    }

    #[test]
    fn rs_02_real_headers_need_no_subprotocol() {
        let more = [("x-m2-organization", "testOrg"), ("x-m2-project", "testProj")];
        let checked = outcome(&head(&[], &more), false).unwrap();
        assert_eq!((checked.subprotocol, checked.claims.project.as_str()), (None, "testProj"));
    }

    #[test]
    fn rs_05_rs_11_what_is_no_token_gives_400() {
        let response = Reject::InvalidProtocol.response();
        assert_eq!((response.status, &response.body[..]), (400, &br#"{"error":"Invalid Sec-WebSocket-Protocol"}"#[..]));
        for offered in ["0OIl", "1P14P1dKxDev1n9LhBuw6kPyaei", "3CUftKapT", "GsHYFATLPQuRywKdeF9gsVvuQgbhYi"] {
            assert_eq!(outcome(&head(&[], &[protocol(offered)]), false), Err(Reject::InvalidProtocol), "{offered}");
        }
    }

    #[test]
    fn rs_12_a_token_that_is_too_long_is_told_before_everything_else() {
        let long = "1".repeat(4097);
        let head = Head { method: "POST", ..head(&["Upgrade"], &[protocol(&long)]) };
        assert_eq!(outcome(&head, true), Err(Reject::HeadTooLarge));
        // Too many elements are seen later.
        let many = format!("{},{long}", "a,".repeat(17));
        assert_eq!(outcome(&self::head(&[], &[protocol(&many)]), false), Err(Reject::HeadTooLarge));
    }

    #[test]
    fn rs_15_of_several_faults_the_lowest_row_decides() {
        let bad = [protocol("0OIl"), ("x-m2-project", "p")];
        assert_eq!(outcome(&head(&["Upgrade", "Sec-WebSocket-Key"], &bad), true), Err(Reject::UpgradeRequired));
        assert_eq!(outcome(&head(&["Sec-WebSocket-Key", "Sec-WebSocket-Version"], &bad), true), Err(Reject::InvalidRequest));
        assert_eq!(outcome(&head(&["Sec-WebSocket-Version"], &bad), true), Err(Reject::UnsupportedVersion));
        assert_eq!(outcome(&head(&[], &bad), true), Err(Reject::Draining));
        let full = check(&request(&head(&[], &bad), false, true), &Options::default());
        assert_eq!(full, Err(Reject::TooManyConnections));
        assert_eq!(outcome(&head(&[], &bad), false), Err(Reject::InvalidProtocol));
        assert_eq!(outcome(&head(&[], &bad[1..]), false), Err(Reject::MissingOrganization));
        assert!(Reject::Draining < Reject::TooManyConnections && Reject::InvalidHeader < Reject::ConflictingHeaders);
    }

    #[test]
    fn rs_20_a_request_without_upgrade_gives_426_and_another_version_names_13() {
        for method in ["GET", "HEAD"] {
            let plain = Head { method, ..head(&["Upgrade", "Connection"], &[]) };
            assert_eq!(outcome(&plain, false), Err(Reject::UpgradeRequired));
        }
        let old = Head { version: Version::Http10, ..head(&[], &[]) };
        assert_eq!(outcome(&old, false), Err(Reject::UpgradeRequired));
        let eight = head(&["Sec-WebSocket-Version"], &[("Sec-WebSocket-Version", "8")]);
        assert_eq!(outcome(&eight, false), Err(Reject::UnsupportedVersion));
        assert_eq!(Reject::UpgradeRequired.response().fields[1], ("Upgrade", "websocket".into()));
        assert_eq!(Reject::UnsupportedVersion.response().fields[1], ("Sec-WebSocket-Version", "13".into()));
    }

    #[test]
    fn rs_14_each_reject_has_its_status_text_and_close() {
        use Reject::*;
        for (reject, status, text, code) in [
            (HeadTooLarge, 431, "Request header fields too large", None),
            (UpgradeRequired, 426, "Upgrade required", None),
            (InvalidRequest, 400, "Invalid websocket request", None),
            (UnsupportedVersion, 426, "Unsupported websocket version", None),
            (Draining, 503, "Server is draining", Some(1001)),
            (TooManyConnections, 429, "Too many connections", Some(4429)),
            (MalformedProtocols, 400, "Invalid Sec-WebSocket-Protocol", None),
            (InvalidProtocol, 400, "Invalid Sec-WebSocket-Protocol", Some(4400)),
            (InvalidHeader, 400, "Invalid header value", Some(4400)),
            (ConflictingHeaders, 400, "Conflicting headers", Some(4400)),
            (MissingOrganization, 400, "Missing x-m2-organization", Some(4400)),
            (MissingProject, 400, "Missing x-m2-project", Some(4400)),
            (UnknownProject, 404, "Unknown organization or project", Some(4404)),
            (OriginNotAllowed, 403, "Origin not allowed", Some(4403)),
            (MissingCredentials, 401, "Missing credentials", Some(4401)),
            (InvalidCredentials, 401, "Invalid credentials", Some(4401)),
            (ProjectNotAllowed, 403, "Project not allowed", Some(4403)),
        ] {
            assert_eq!((reject.status(), reject.text(), reject.close_code()), (status, text, code));
        }
        let mut out = Vec::new();
        Draining.response().write(&mut out, 0, Framing::Length, true);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 503 Service Unavailable\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Type: application/json\r\n\
             Content-Length: 30\r\nConnection: close\r\nCache-Control: no-store\r\nRetry-After: 5\r\n\r\n\
             {\"error\":\"Server is draining\"}"
        );
        assert_eq!(InvalidCredentials.response().fields[1], ("WWW-Authenticate", "Bearer".into()));
    }

    #[test]
    fn the_project_is_asked_in_the_order_of_the_rows() {
        let options: Options = toml::from_str(
            "[[projects]]\norganization = \"o\"\nrequire_credentials = true\nallowed_origins = [\"https://game.example\"]\n",
        )
        .unwrap();
        let project = options.project("o", "");
        assert!(project.is_some() && options.project("o", "p").is_none());
        let ask = |more: &[(&str, &str)], project, full| {
            let head = head(&[], more);
            admit(&head, &check(&request(&head, false, false), &options).unwrap().claims, project, full)
        };
        let (organization, key) = (("x-m2-organization", "o"), ("x-api-key", "k"));
        let (evil, game) = (("Origin", "https://evil.example"), ("Origin", "https://game.example"));
        assert_eq!(ask(&[organization, evil], None, true), Err(Reject::UnknownProject));
        assert_eq!(ask(&[organization, evil], project, true), Err(Reject::TooManyConnections));
        assert_eq!(ask(&[organization, evil], project, false), Err(Reject::OriginNotAllowed));
        assert_eq!(ask(&[organization, game], project, false), Err(Reject::MissingCredentials));
        assert_eq!(ask(&[organization, game, key], project, false), Ok(()));
    }

    #[test]
    fn rs_16_a_socket_may_be_opened_to_be_told_and_closed() {
        let close = |subprotocol: Option<&str>, code, reason| Refusal::Close {
            accept: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned(),
            subprotocol: subprotocol.map(str::to_owned),
            code,
            reason,
        };
        let by = RejectBy::Close;
        let token = head(&[], &[protocol(DOCUMENT)]);
        assert_eq!(refuse(Reject::UnknownProject, &token, by), close(Some(DOCUMENT), 4404, "Unknown organization or project"));
        assert_eq!(refuse(Reject::Draining, &head(&[], &[]), by), close(None, 1001, "Server is draining"));
        let bad = head(&[], &[protocol("0OIl, l0")]);
        assert_eq!(refuse(Reject::InvalidProtocol, &bad, by), close(Some("0OIl"), 4400, "Invalid Sec-WebSocket-Protocol"));
        assert_eq!(refuse(Reject::InvalidProtocol, &bad, RejectBy::Http), Refusal::Http(Reject::InvalidProtocol.response()));
    }

    #[test]
    fn what_cannot_be_a_101_is_refused_by_http_whatever_is_asked() {
        let old = head(&["Sec-WebSocket-Version"], &[]);
        for (reject, head) in [
            (Reject::UnsupportedVersion, &old),
            (Reject::MalformedProtocols, &head(&[], &[protocol("a b")])),
            (Reject::Draining, &head(&[], &[protocol("a b")])),
        ] {
            assert_eq!(refuse(reject, head, RejectBy::Close), Refusal::Http(reject.response()));
        }
    }
}
