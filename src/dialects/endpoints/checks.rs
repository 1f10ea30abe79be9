//! The checks of a request in their order, and how each failure is told (specification, section 3).

use super::options::{Endpoint, KeyDigest, Project};
use super::query::{Given, Query};
use super::token::AccessToken;
use crate::access::origin::Origin;
use crate::exchange::TokenDigest;
use crate::http::head::Head;
use crate::http::response::{Response, error};

/// What fails, in the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    Draining,
    TooManyConnections,
    /// The failure limit of an address: in place of a failure, never of a request whose credentials are right.
    TooManyRequests,
    MissingKey,
    NotValid,
    OriginNotAllowed,
    NoToken,
}

impl Reject {
    /// Code and reason of the close that follows the 101 of a WebSocket at once.
    pub fn close(self) -> (u16, &'static str) {
        match self {
            Reject::Draining => (1001, self.text()),
            Reject::TooManyConnections | Reject::TooManyRequests => (1013, self.text()),
            Reject::MissingKey => (4000, Reject::NotValid.text()),
            Reject::NotValid | Reject::OriginNotAllowed | Reject::NoToken => (4000, self.text()),
        }
    }

    pub fn status(self) -> u16 {
        match self {
            Reject::Draining => 503,
            Reject::TooManyConnections | Reject::TooManyRequests => 429,
            Reject::MissingKey | Reject::OriginNotAllowed => 403,
            Reject::NotValid => 400,
            Reject::NoToken => 401,
        }
    }

    /// The `error` of an answer over HTTP.
    pub fn text(self) -> &'static str {
        match self {
            Reject::Draining => "Server is draining.",
            Reject::TooManyConnections => "Too many connections.",
            Reject::TooManyRequests => "Too many requests.",
            Reject::MissingKey => "Missing API Key.",
            Reject::NotValid => "Endpoint or API Key not valid.",
            Reject::OriginNotAllowed => "Origin not allowed.",
            Reject::NoToken => "No Access token or invalid.",
        }
    }

    pub fn response(self) -> Response {
        let response = error(self.status(), self.text());
        if self == Reject::Draining { response.field("Retry-After", "5") } else { response }
    }

    /// Whether it counts for the failure limit of the address.
    pub fn is_failure(self) -> bool {
        match self {
            Reject::Draining | Reject::TooManyConnections | Reject::TooManyRequests => false,
            Reject::MissingKey | Reject::NotValid | Reject::OriginNotAllowed | Reject::NoToken => true,
        }
    }

    /// What is told if the address has failed too often.
    pub fn limited(self) -> Reject {
        if self.is_failure() { Reject::TooManyRequests } else { self }
    }
}

/// An endpoint that is there.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub project: &'a Project,
    pub endpoint: &'a Endpoint,
}

/// What a request says of the project's master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Master {
    Absent,
    Right,
    /// Counts as absent, and as a failure for the limiter.
    Wrong,
}

/// Rows 3 to 5. `found` is what the name stands for; `full` asks for the endpoint's own limit of connections, after row 4.
///
/// # Errors
/// The first row that fails.
pub fn admit<'a>(
    head: &Head<'_>,
    query: &Query<'_>,
    found: Option<Place<'a>>,
    full: impl FnOnce(Place<'a>) -> bool,
) -> Result<(Place<'a>, Master), Reject> {
    let opens = has_key(query, found.map(|place| place.project));
    let place = match query.once("key") {
        Given::Absent => return Err(Reject::MissingKey),
        Given::Once(_) if opens => found.ok_or(Reject::NotValid)?,
        Given::Once(_) | Given::Twice => return Err(Reject::NotValid),
    };
    if full(place) {
        return Err(Reject::TooManyConnections);
    }
    let master = match query.once("masterKey") {
        Given::Absent => Master::Absent,
        Given::Once(key) if is_key(key, place.project.master_key.as_ref()) => Master::Right,
        Given::Once(_) | Given::Twice => Master::Wrong,
    };
    if master != Master::Right && !is_origin_allowed(head, place.project) {
        return Err(Reject::OriginNotAllowed);
    }
    Ok((place, master))
}

/// Whether a request knows the key of the project. Compared in every case: how long it takes tells nothing.
pub fn has_key(query: &Query<'_>, project: Option<&Project>) -> bool {
    let key = if let Given::Once(key) = query.once("key") { key } else { "" };
    is_key(key, project.map(|project| &project.key))
}

/// Whether a text is the key; without one it is compared with a digest of nothing.
fn is_key(text: &str, key: Option<&KeyDigest>) -> bool {
    let none = KeyDigest([0; 32]);
    let equal = KeyDigest::of(text).equals(key.unwrap_or(&none));
    bool::from(equal) && key.is_some()
}

/// Row 5: the list of the project, or every origin if that is empty.
fn is_origin_allowed(head: &Head<'_>, project: &Project) -> bool {
    let is_there = head.field("Origin").is_some();
    (is_there || !project.disallow_no_origin) && Origin::allows(&project.allowed_origins, head.fields_named("Origin"))
}

/// Whom a request that passed is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Nobody has to be known.
    Anybody,
    /// The master key does. Who is known by a token besides owns what is made.
    Master(Option<TokenDigest>),
    /// The hub knows whether the token counts, and whose it is; if not: [`Reject::NoToken`].
    Asks(TokenDigest),
}

/// Row 6, as far as it can be told without the hub.
///
/// # Errors
/// [`Reject::NoToken`]
pub fn identify(needed: bool, master: Master, token: AccessToken) -> Result<Caller, Reject> {
    match (master, token) {
        (Master::Right, AccessToken::Asks(token)) if needed => Ok(Caller::Master(Some(token))),
        (Master::Right, _) => Ok(Caller::Master(None)),
        (Master::Absent | Master::Wrong, _) if !needed => Ok(Caller::Anybody),
        (Master::Absent | Master::Wrong, AccessToken::Asks(token)) => Ok(Caller::Asks(token)),
        (Master::Absent | Master::Wrong, AccessToken::Absent | AccessToken::Invalid) => Err(Reject::NoToken),
    }
}

/// Whether a request over HTTP needs a token: who registers or logs in has none yet, and OPTIONS ends with row 5.
pub fn needs_token(endpoint: &Endpoint, method: &str, logout: bool) -> bool {
    let comes_in = endpoint.auth && method == "POST" && !logout;
    endpoint.needs_token() && !comes_in && method != "OPTIONS"
}

#[cfg(test)]
mod tests {
    use super::super::options::Options;
    use super::*;
    use crate::http::head::{BodyLength, Version};
    use crate::http::response::Framing;

    const KEY: &str = "d59eb2859c284168ac48aef65046d5dd";
    const MASTER: &str = "0123456789abcdef";

    fn options(project: &str) -> Options {
        let mut options: Options = toml::from_str(&format!(
            "[[rested.projects]]\nname = \"p\"\nkey = \"{KEY}\"\nmaster_key = \"{MASTER}\"\n{project}\n\
             [[rested.projects.endpoints]]\nname = \"p/open\"\n\
             [[rested.projects.endpoints]]\nname = \"p/notes\"\nsecure = true\n\
             [[rested.projects.endpoints]]\nname = \"p/users\"\nauth = true\n"
        ))
        .unwrap();
        options.resolve(&mut |_| Err(String::new()), &mut |key, problem| panic!("{key}: {problem}"));
        options
    }

    fn head<'a>(origins: &[&'a str]) -> Head<'a> {
        let fields = origins.iter().map(|&origin| ("Origin", origin)).collect();
        let (version, body) = (Version::Http11, BodyLength::None);
        Head { method: "GET", target: "/", version, fields, body, keep_alive: true, expects_continue: false }
    }

    /// The outcome of rows 3 to 5 for an endpoint that is there.
    fn outcome(project: &str, query: &str, origins: &[&str]) -> Result<Master, Reject> {
        let options = options(project);
        let project = &options.services[0].projects[0];
        let place = Place { project, endpoint: &project.endpoints[0] };
        admit(&head(origins), &Query::read(query), Some(place), |_| false).map(|(_, master)| master)
    }

    fn with_key(project: &str, more: &str, origins: &[&str]) -> Result<Master, Reject> {
        outcome(project, &format!("key={KEY}{more}"), origins)
    }

    const SHOP: &str = "allowed_origins = [\"https://shop.example\", \"http://[::1]:8080\"]";

    #[test]
    fn ep_24_texts_are_those_of_the_documents() {
        use Reject::*;
        for (reject, status, text, close) in [
            (Draining, 503, "Server is draining.", (1001, "Server is draining.")),
            (TooManyConnections, 429, "Too many connections.", (1013, "Too many connections.")),
            (TooManyRequests, 429, "Too many requests.", (1013, "Too many requests.")),
            (MissingKey, 403, "Missing API Key.", (4000, "Endpoint or API Key not valid.")),
            (NotValid, 400, "Endpoint or API Key not valid.", (4000, "Endpoint or API Key not valid.")),
            (OriginNotAllowed, 403, "Origin not allowed.", (4000, "Origin not allowed.")),
            (NoToken, 401, "No Access token or invalid.", (4000, "No Access token or invalid.")),
        ] {
            assert_eq!((reject.status(), reject.text(), reject.close()), (status, text, close));
        }
        assert_eq!([NotValid, OriginNotAllowed, NoToken].map(|reject| reject.close().1.len()), [30, 19, 27]);
        let mut out = Vec::new();
        Draining.response().write(&mut out, 0, Framing::Length, true);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 503 Service Unavailable\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Type: application/json\r\n\
             Content-Length: 31\r\nConnection: keep-alive\r\nCache-Control: no-store\r\nRetry-After: 5\r\n\r\n\
             {\"error\":\"Server is draining.\"}"
        );
    }

    #[test]
    fn ep_02_and_64_the_key_opens_its_endpoints_and_nothing_else_does() {
        assert_eq!(outcome("", &format!("key={KEY}"), &[]), Ok(Master::Absent));
        assert_eq!(outcome("", &format!("x=1&key=%64{}&KEY=x", &KEY[1..]), &[]), Ok(Master::Absent));
        for query in ["", "key=", "key", "KEY=a", "x=1"] {
            assert_eq!(outcome("", query, &[]), Err(Reject::MissingKey), "{query}");
        }
        let twice = format!("key={KEY}&key={KEY}");
        let once_empty = format!("key={KEY}&key=");
        let upper = format!("key={}", KEY.to_uppercase());
        let short = format!("key={}", &KEY[1..]);
        for query in ["key=a", &twice, &once_empty, &upper, &short, "key=0"] {
            assert_eq!(outcome("", query, &[]), Err(Reject::NotValid), "{query}");
        }
        // An endpoint that is not there has no key, not even an empty one.
        for query in [&format!("key={KEY}"), "key=%00", "key=a"] {
            let found = admit(&head(&[]), &Query::read(query), None, |_| true).map(|(_, master)| master);
            assert_eq!(found, Err(Reject::NotValid), "{query}");
        }
    }

    #[test]
    fn ep_10_origins_are_compared_whole_and_once() {
        for good in ["https://shop.example", "HTTPS://SHOP.example:443", "http://[::1]:8080"] {
            assert_eq!(with_key(SHOP, "", &[good]), Ok(Master::Absent), "{good}");
        }
        for bad in [
            "null",
            "",
            "http://shop.example",
            "https://shop.example:444",
            "https://shop.example.evil.example",
            "https://evil-shop.example",
            "https://shop.exampl",
            "https://shop.example/",
            "https://shop.example@evil.example",
            "https://evil.example#https://shop.example",
            "https://shop.example https://shop.example",
            "shop.example",
        ] {
            assert_eq!(with_key(SHOP, "", &[bad]), Err(Reject::OriginNotAllowed), "{bad}");
        }
        let twice = ["https://shop.example", "https://shop.example"];
        assert_eq!(with_key(SHOP, "", &twice), Err(Reject::OriginNotAllowed));
    }

    #[test]
    fn ep_11_an_empty_list_takes_every_origin() {
        for origins in [&["https://evil.example"][..], &["null"], &["x y"], &["a", "b"], &[]] {
            assert_eq!(with_key("allowed_origins = []", "", origins), Ok(Master::Absent), "{origins:?}");
        }
    }

    #[test]
    fn ep_12_no_origin_is_accepted_unless_the_project_says_otherwise() {
        assert_eq!(with_key(SHOP, "", &[]), Ok(Master::Absent));
        for list in [SHOP, "allowed_origins = []"] {
            let project = format!("{list}\ndisallow_no_origin = true");
            assert_eq!(with_key(&project, "", &[]), Err(Reject::OriginNotAllowed));
            assert_eq!(with_key(&project, "", &["https://shop.example"]), Ok(Master::Absent));
        }
    }

    #[test]
    fn ep_13_the_master_key_skips_origin_and_token_and_a_wrong_one_nothing() {
        let evil = ["https://evil.example"];
        let master = format!("&masterKey={MASTER}");
        assert_eq!(with_key(SHOP, &master, &evil), Ok(Master::Right));
        assert_eq!(outcome(SHOP, &master[1..], &[]), Err(Reject::MissingKey), "the key is still needed");
        for wrong in ["&masterKey=x", &format!("{master}{master}"), &format!("{master}&masterKey="), &format!("&masterKey={KEY}")]
        {
            assert_eq!(with_key(SHOP, wrong, &evil), Err(Reject::OriginNotAllowed), "{wrong}");
            assert_eq!(with_key(SHOP, wrong, &[]), Ok(Master::Wrong), "{wrong}");
        }
        assert_eq!(with_key(SHOP, "&masterKey=", &[]), Ok(Master::Absent));
        let token = TokenDigest([1; 32]);
        use AccessToken::{Absent, Asks, Invalid};
        for (needed, master, sent, caller) in [
            (true, Master::Right, Absent, Ok(Caller::Master(None))),
            (true, Master::Right, Invalid, Ok(Caller::Master(None))),
            (true, Master::Right, Asks(token), Ok(Caller::Master(Some(token)))),
            (false, Master::Right, Asks(token), Ok(Caller::Master(None))),
            (true, Master::Wrong, Absent, Err(Reject::NoToken)),
            (true, Master::Absent, Absent, Err(Reject::NoToken)),
            (true, Master::Absent, Invalid, Err(Reject::NoToken)),
            (true, Master::Absent, Asks(token), Ok(Caller::Asks(token))),
            (true, Master::Wrong, Asks(token), Ok(Caller::Asks(token))),
        ] {
            assert_eq!(identify(needed, master, sent), caller, "{needed} {master:?} {sent:?}");
        }
    }

    #[test]
    fn ep_29_where_no_token_is_needed_a_bad_one_does_no_harm() {
        for token in [AccessToken::Absent, AccessToken::Invalid, AccessToken::Asks(TokenDigest([1; 32]))] {
            assert_eq!(identify(false, Master::Absent, token), Ok(Caller::Anybody));
        }
        let options = options("");
        let [open, notes, users] = &options.services[0].projects[0].endpoints[..] else { panic!("three endpoints") };
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            assert!(!needs_token(open, method, false), "{method}");
            assert_eq!(needs_token(notes, method, false), method != "OPTIONS", "{method}");
            assert_eq!(needs_token(users, method, false), !matches!(method, "OPTIONS" | "POST"), "{method}");
        }
        assert!(needs_token(users, "POST", true), "logout takes a token");
    }

    #[test]
    fn ep_22_the_first_row_that_fails_is_told() {
        let evil = ["https://evil.example"];
        assert_eq!(outcome(SHOP, "key=wrong", &evil), Err(Reject::NotValid));
        assert_eq!(outcome(SHOP, "", &evil), Err(Reject::MissingKey));
        assert_eq!(with_key(SHOP, "", &evil), Err(Reject::OriginNotAllowed), "before the token is looked at");
        let options = options(SHOP);
        let project = &options.services[0].projects[0];
        let place = Place { project, endpoint: &project.endpoints[1] };
        let full = |key: &str| {
            let query = format!("key={key}");
            admit(&head(&evil), &Query::read(&query), Some(place), |_| true).map(|(_, master)| master)
        };
        assert_eq!(full(KEY), Err(Reject::TooManyConnections), "after the key, before the origin");
        assert_eq!(full("wrong"), Err(Reject::NotValid));
    }

    #[test]
    fn ep_26_the_limit_speaks_in_place_of_failures_alone() {
        use Reject::*;
        for failure in [MissingKey, NotValid, OriginNotAllowed, NoToken] {
            assert!(failure.is_failure() && failure.limited() == TooManyRequests);
        }
        for other in [Draining, TooManyConnections, TooManyRequests] {
            assert!(!other.is_failure() && other.limited() == other);
        }
    }
}
