//! Who asks, and whether it may: a request is put to the checks of specification section 3, for WebSockets and HTTP alike.

use super::checks::{self, Caller, Master, Reject};
use super::cors::Cors;
use super::query::Query;
use super::route;
use super::shared::{Blame, Endpoint, Place, Shared, Table};
use super::token::AccessToken;
use crate::session::Request;
use std::sync::Arc;

/// A request of the dialect, as far as its target says what it is about.
pub struct Asked<'a> {
    pub request: &'a Request<'a>,
    pub shared: Arc<Shared>,
    pub query: Query<'a>,
    /// `None`: there is no such name.
    endpoint: Option<Arc<Endpoint>>,
}

/// One who has passed the checks, but for what only the hub knows.
pub struct Admitted {
    /// At the endpoint that was asked for.
    pub place: Place,
    pub caller: Caller,
    /// If the hub does not know its token.
    pub blame: Blame,
}

impl<'a> Asked<'a> {
    /// `None`: no service is at this path, under this host.
    pub fn of(table: &Table, request: &'a Request<'a>) -> Option<Asked<'a>> {
        let (path, host) = (request.head.path(), request.head.field("Host"));
        let service = table.service_of(host, path)?;
        let name = route::endpoint(&service.shared.options.path, path);
        Some(Asked {
            request,
            shared: service.shared.clone(),
            query: Query::read(request.head.query()),
            endpoint: name.and_then(|name| service.endpoint(&name).cloned()),
        })
    }

    /// What every answer tells browsers.
    pub fn cors(&self) -> Cors {
        let project = self.endpoint.as_ref().map(|endpoint| &endpoint.project.options);
        let opened = checks::has_key(&self.query, project);
        project.filter(|_| opened).map(|project| Cors::of(self.request.head, project)).unwrap_or_default()
    }

    /// The checks of the server itself, rows 1 and 2.
    ///
    /// # Errors
    /// The first that fails.
    pub fn let_in(&self) -> Result<(), Reject> {
        if self.request.draining {
            return Err(Reject::Draining);
        }
        if self.request.full { Err(Reject::TooManyConnections) } else { Ok(()) }
    }

    /// All checks in their order. `needs_token` says whether anybody is asked for a token there.
    ///
    /// # Errors
    /// The first that fails, which counts for the address that the request came from.
    pub fn admit(&self, needs_token: impl FnOnce(&Endpoint) -> bool) -> Result<Admitted, Reject> {
        self.let_in()?;
        let mut place = None;
        let rows = self.rows(&mut place, needs_token);
        let failed = |reject| self.shared.failed(reject, self.request.peer, self.request.now);
        let (master, caller) = rows.map_err(failed)?;
        // A wrong one counts as absent, and yet as a failure: the only one of this request, whatever becomes of its token.
        let blame = match master {
            Master::Wrong => Blame::Told(failed(Reject::NoToken)),
            Master::Absent | Master::Right => Blame::Peer(self.request.peer),
        };
        let place = place.expect("whoever passes has taken one");
        Ok(Admitted { place, caller, blame })
    }

    fn rows(&self, place: &mut Option<Place>, needs_token: impl FnOnce(&Endpoint) -> bool) -> Result<(Master, Caller), Reject> {
        let Request { head, .. } = self.request;
        let found = self.endpoint.as_ref();
        let of_options = found.map(|found| checks::Place { project: &found.project.options, endpoint: &found.options });
        let take = |_| {
            *place = found.and_then(Place::take);
            place.is_none()
        };
        let (_, master) = checks::admit(head, &self.query, of_options, take)?;
        let token = AccessToken::of(head, &self.query, &self.shared.options);
        let needed = found.is_some_and(|found| needs_token(found));
        Ok((master, checks::identify(needed, master, token)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Endpoints;
    use super::super::testing::{KEY, KeyWork, dialect, take_key_work, text};
    use crate::clock::Now;
    use crate::exchange::{Answer, Grant, Question};
    use crate::http::head::{BodyLength, Head, Version};
    use crate::record::RecordId;
    use crate::session::{Action, Actions, Dialect as _, Door, Opening, Request, Session};
    use std::net::{IpAddr, Ipv4Addr};

    const NOW: Now = Now { micros: 5_000_000_000, unix_micros: 1_795_191_466_000_000 };
    const MASTER: &str = "0123456789abcdef";
    const PROJECT: &str = "master_key = \"0123456789abcdef\"\nallowed_origins = [\"https://shop.example\"]";
    /// Of the form of a token.
    const TOKEN: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    const UPGRADE: [(&str, &str); 4] = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ];
    const NOT_VALID: &str = "Endpoint or API Key not valid.";
    const NO_ORIGIN: &str = "Origin not allowed.";
    const NO_TOKEN: &str = "No Access token or invalid.";
    const MISSING: &str = "Missing API Key.";
    const TOO_MANY: &str = "Too many requests.";

    /// Two projects; that of the key has a master key and a list of origins.
    fn two_projects() -> Endpoints {
        dialect(&text(
            "",
            PROJECT,
            "[[rested.projects]]\nname = \"other\"\nkey = \"fedcba9876543210\"\n\
             [[rested.projects.endpoints]]\nname = \"other/endpoint\"\n",
        ))
    }

    /// A request, and everything that it wishes for, in words: what is asked of the hub, or how it is turned away.
    struct Asking {
        session: Option<Box<dyn Session>>,
        wished: Vec<String>,
    }

    /// For a WebSocket, or a GET.
    fn ask(dialect: &Endpoints, socket: bool, target: &str, fields: &[(&str, &str)], peer: IpAddr) -> Asking {
        ask_while(Default::default(), dialect, socket, target, fields, peer)
    }

    /// What the server says of itself.
    #[derive(Clone, Copy, Default)]
    struct State {
        draining: bool,
        full: bool,
    }

    fn ask_while(
        State { draining, full }: State,
        dialect: &Endpoints,
        socket: bool,
        target: &str,
        fields: &[(&str, &str)],
        peer: IpAddr,
    ) -> Asking {
        let target = format!("/api/1/ce/{target}");
        let fields = if socket { [&UPGRADE, fields].concat() } else { fields.to_vec() };
        let (version, body) = (Version::Http11, BodyLength::None);
        let head = Head { method: "GET", target: &target, version, fields, body, keep_alive: true, expects_continue: false };
        let request = Request { head: &head, door: Door::Public, peer, reactor: 0, now: NOW, draining, full };
        let mut actions = Actions::new(NOW);
        let mut asking = Asking { session: None, wished: Vec::new() };
        match dialect.open(&request, &mut actions).expect("a path of the dialect") {
            Opening::WebSocket { session, .. } | Opening::Hold { session, .. } => asking.session = Some(session),
            Opening::Respond(response) => actions.respond(response),
        }
        asking.note(actions);
        asking
    }

    impl Asking {
        fn note(&mut self, mut actions: Actions) {
            let words = actions.drain().filter_map(|action| match action {
                Action::WakeAt(_) => None,
                Action::Close { code, reason } => Some(format!("{} {reason}", code.unwrap_or(0))),
                Action::Respond(response) => {
                    let told: serde_json::Value = serde_json::from_slice(&response.body).expect("answers are JSON");
                    Some(format!("{} {}", response.status, told["error"].as_str().unwrap_or_default()))
                }
                Action::Ask(Question::Grant(_)) => Some("asks for the token".to_owned()),
                Action::Ask(Question::Records { .. }) => Some("reads records".to_owned()),
                Action::Join { .. } => Some("joins".to_owned()),
                other => Some(format!("{other:?}")),
            });
            self.wished.extend(words);
        }

        /// The hub does not know the token.
        fn unknown(self) -> Vec<String> {
            self.granted(None)
        }

        /// The hub knows this of the token.
        fn granted(mut self, grant: Option<Grant>) -> Vec<String> {
            assert_eq!(self.wished, ["asks for the token"], "and nothing else");
            self.wished.clear();
            let mut actions = Actions::new(NOW);
            self.session.as_mut().expect("it waits").answered(Answer::Grant(grant), &mut actions);
            self.note(actions);
            self.wished
        }
    }

    /// How it is turned away.
    fn code(socket: bool, close: u16, status: u16, text: &str) -> String {
        format!("{} {text}", if socket { close } else { status })
    }

    fn peer(number: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, number).into()
    }

    fn grant() -> Grant {
        Grant { group: "$endpoint\u{1f}rested\u{1f}p".into(), user: RecordId(7).to_string().into(), until: u64::MAX }
    }

    #[test]
    fn ep_03_whatever_is_not_valid_takes_as_much_work() {
        let dialect = two_projects();
        let key = format!("key={KEY}");
        let not_valid = [
            "p/open?key=fedcba9876543210".to_owned(),
            "p/open?key=x".to_owned(),
            format!("p/open?{key}0"),
            format!("p/open?{key}&{key}"),
            format!("p/open?{key}&key="),
            "p/open".to_owned(),
            "p/open?key=".to_owned(),
            "p/notes?key=x".to_owned(),
            format!("p/unknown?{key}"),
            "p/unknown?key=x".to_owned(),
            "p/unknown".to_owned(),
            format!("other/endpoint?{key}"),
            format!("P/Open?{key}"),
            format!("?{key}"),
        ];
        for (socket, work) in [(true, KeyWork { digests: 1, comparisons: 1 }), (false, KeyWork { digests: 2, comparisons: 2 })] {
            for target in &not_valid {
                let separator = if target.contains('?') { '&' } else { '?' };
                for more in [String::new(), format!("{separator}masterKey={MASTER}"), format!("{separator}accessToken={TOKEN}")] {
                    for fields in [&[][..], &[("Origin", "https://shop.example")], &[("Origin", "https://evil.example")]] {
                        take_key_work();
                        let asking = ask(&dialect, socket, &format!("{target}{more}"), fields, peer(1));
                        assert_eq!(take_key_work(), work, "{target}{more} {fields:?}: {:?}", asking.wished);
                        assert!(matches!(&asking.wished[..], [told] if told.contains(' ')), "{:?}", asking.wished);
                    }
                }
            }
            // Nor does a key that is right take more.
            take_key_work();
            assert_eq!(ask(&dialect, socket, &format!("p/open?{key}"), &[], peer(2)).wished.len(), 1);
            assert_eq!(take_key_work(), work);
        }
    }

    #[test]
    fn ep_22_a_server_that_stops_or_is_full_says_so_before_it_looks_at_anything_and_counts_nothing() {
        let dialect = dialect(&text("limits.failures_per_minute_per_address = 1", PROJECT, ""));
        let stops = State { draining: true, full: false };
        let both = State { draining: true, full: true };
        let is_full = State { draining: false, full: true };
        for socket in [true, false] {
            let draining = code(socket, 1001, 503, "Server is draining.");
            let full = code(socket, 1013, 429, "Too many connections.");
            for (state, told) in [(stops, &draining), (both, &draining), (is_full, &full)] {
                for target in ["p/open".to_owned(), "p/unknown?key=x".to_owned(), format!("p/open?key={KEY}&masterKey=wrong")] {
                    let fields = [("Origin", "https://evil.example"), ("Authorization", TOKEN)];
                    let asking = ask_while(state, &dialect, socket, &target, &fields, peer(1));
                    assert_eq!(asking.wished, [told.as_str()], "{target}");
                }
            }
        }
        assert_eq!(ask(&dialect, true, "p/open?key=x", &[], peer(1)).wished, [code(true, 4000, 400, NOT_VALID)]);
        assert_eq!(ask(&dialect, true, "p/open?key=x", &[], peer(1)).wished, [code(true, 1013, 429, TOO_MANY)]);
    }

    #[test]
    fn ep_26_from_the_61st_failure_on_the_hub_is_asked_for_nothing_but_tokens() {
        let right = format!("key={KEY}");
        let evil = [("Origin", "https://evil.example")];
        let bearer = [("Authorization", TOKEN)];
        for socket in [true, false] {
            let dialect = two_projects();
            let ask_from = |number, target: &str, fields: &[(&str, &str)]| ask(&dialect, socket, target, fields, peer(number));
            let ask = |target: &str, fields: &[(&str, &str)]| ask_from(1, target, fields);
            let cases = [
                ("p/open".to_owned(), &[][..], code(socket, 4000, 403, if socket { NOT_VALID } else { MISSING })),
                ("p/open?key=x".to_owned(), &[], code(socket, 4000, 400, NOT_VALID)),
                (format!("p/unknown?{right}"), &[], code(socket, 4000, 400, NOT_VALID)),
                (format!("p/open?{right}"), &evil, code(socket, 4000, 403, NO_ORIGIN)),
                (format!("p/notes?{right}"), &[], code(socket, 4000, 401, NO_TOKEN)),
                (format!("p/notes?{right}&accessToken=x"), &[], code(socket, 4000, 401, NO_TOKEN)),
            ];
            for number in 0..60 {
                let (target, fields, told) = &cases[number % cases.len()];
                assert_eq!(ask(target, fields).wished, [told.as_str()], "{number} {target}");
            }
            let limited = code(socket, 1013, 429, TOO_MANY);
            for (target, fields, _) in &cases {
                assert_eq!(ask(target, fields).wished, [limited.as_str()], "{target}");
            }
            let secure = format!("p/notes?{right}");
            assert_eq!(ask(&secure, &bearer).unknown(), [limited.as_str()], "nothing is asked about records");
            // Who is right is served.
            let served = if socket { "joins" } else { "reads records" };
            assert_eq!(ask(&secure, &bearer).granted(Some(grant())), [served]);
            for open in [format!("p/open?{right}"), format!("{secure}&masterKey={MASTER}"), format!("p/open?{right}&masterKey=x")]
            {
                assert_eq!(ask(&open, &[]).wished, [served], "{open}");
            }
            // And so is every failure of another address.
            for (target, fields, told) in &cases {
                assert_eq!(ask_from(2, target, fields).wished, [told.as_str()], "{target}");
            }
        }
    }

    #[test]
    fn ep_26_a_wrong_master_key_and_whatever_else_is_wrong_are_one_failure() {
        let wrong = format!("key={KEY}&masterKey=wrong");
        let origin = [("Origin", "https://evil.example")];
        let bearer = [("Authorization", TOKEN)];
        for socket in [true, false] {
            for (target, fields) in [
                (format!("p/open?{wrong}"), &[][..]),
                (format!("p/open?{wrong}&masterKey={MASTER}"), &[]),
                (format!("p/notes?{wrong}"), &[]),
                (format!("p/notes?{wrong}&accessToken=x"), &[]),
                (format!("p/notes?{wrong}"), &bearer),
                (format!("p/notes?{wrong}"), &origin),
                ("p/open?key=x&masterKey=wrong".to_owned(), &[]),
            ] {
                let dialect = dialect(&text("limits.failures_per_minute_per_address = 2", PROJECT, ""));
                let ask = |target: &str, fields: &[(&str, &str)]| ask(&dialect, socket, target, fields, peer(1));
                let asking = ask(&target, fields);
                let told = if fields == bearer { asking.unknown() } else { asking.wished };
                assert!(told.len() == 1 && !told[0].contains(TOO_MANY), "{target}: {told:?}");
                assert_eq!(ask("p/open?key=x", &[]).wished, [code(socket, 4000, 400, NOT_VALID)], "the second one: {target}");
                assert_eq!(ask("p/open?key=x", &[]).wished, [code(socket, 1013, 429, TOO_MANY)], "the third one: {target}");
                // From then on it is told likewise, unless the rest of it is right.
                let secure = format!("p/notes?{wrong}");
                assert_eq!(ask(&secure, &bearer).unknown(), [code(socket, 1013, 429, TOO_MANY)]);
                let served = if socket { "joins" } else { "reads records" };
                assert_eq!(ask(&secure, &bearer).granted(Some(grant())), [served]);
            }
        }
    }
}
