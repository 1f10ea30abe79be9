//! A raw listener of the dialect `endpoints`, and what the servers of its tests are told.

use super::client::UPGRADE;
use super::{Client, Door, LISTEN, Response, Server, config, dev, masked};
use fanwire::config::Config;
use serde_json::value::RawValue;
use std::ops::{Deref, DerefMut};

/// Of the documents' project, as in `fanwire dev`.
pub const KEY: &str = "d59eb2859c284168ac48aef65046d5dd";
/// Of the other project.
pub const OTHER_KEY: &str = "0123456789abcdef0123456789abcdef";
pub const MASTER_KEY: &str = "master-key-of-examples";
/// In a query.
pub const MASTER: &str = "masterKey=master-key-of-examples";
pub const PATH: &str = "/api/1/ce";
pub const OPEN: &str = "examples/unsecure-endpoint";
pub const NOTES: &str = "examples/notes";
pub const BOARD: &str = "examples/board";
pub const USERS: &str = "examples/users";
pub const NOT_VALID: &str = "Endpoint or API Key not valid.";
pub const NO_ORIGIN: &str = "Origin not allowed.";
pub const NO_TOKEN: &str = "No Access token or invalid.";
pub const EXPIRED: &str = "Access token expired.";
pub const CHANGED: &str = "Options of the endpoint are changed.";
pub const TOO_MANY_REQUESTS: &str = "Too many requests.";
/// Of `rested`.
pub const COOKIE: &str = "__Secure-rested-access-token";
/// Of the form of an id, and no record's.
pub const MISSING: &str = "00000000000040008000000000000000";
/// Of the form of a token, and nobody's.
pub const UNKNOWN_TOKEN: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
pub const JSON: &str = "Content-Type: application/json\r\n";
/// The host of `yawe`.
pub const YAWE: &str = "app.yawe.dev";
/// One of each service.
pub const HOSTS: [&str; 2] = ["localhost", YAWE];
/// More failures than any test makes.
pub const PATIENT: &str = "limits = { failures_per_minute_per_address = 10000, login_failures_per_minute = 10000 }\n";
/// Nobody is pinged while a test lasts.
pub const CALM: &str = "ping_interval = \"6000s\"\nsilence_timeout = \"6001s\"\n";

/// A service with these keys of its own, these of its project `examples`, and further tables. The project has an endpoint for
/// everybody, one whose records only their owners see, one that all users see, and one of users; the other project has one.
pub fn service(name: &str, keys: &str, project: &str, tables: &str) -> String {
    format!(
        "[endpoints.{name}]\n{keys}\n\
         [[endpoints.{name}.projects]]\nname = \"examples\"\nkey = \"{KEY}\"\nmaster_key = \"{MASTER_KEY}\"\n\
         cookie_from_any_origin = true\n{project}\n\
         [[endpoints.{name}.projects.endpoints]]\nname = \"{OPEN}\"\n\
         [[endpoints.{name}.projects.endpoints]]\nname = \"{USERS}\"\nauth = true\n\
         [[endpoints.{name}.projects.endpoints]]\nname = \"{NOTES}\"\nsecure = true\n\
         [[endpoints.{name}.projects.endpoints]]\nname = \"{BOARD}\"\nsecure = true\nread_by_others = true\n\
         {tables}\n\
         [[endpoints.{name}.projects]]\nname = \"other\"\nkey = \"{OTHER_KEY}\"\ncookie_from_any_origin = true\n\
         [[endpoints.{name}.projects.endpoints]]\nname = \"other/endpoint\"\n\
         [[endpoints.{name}.projects.endpoints]]\nname = \"other/users\"\nauth = true\n"
    )
}

/// `fanwire dev` on four reactors with these tables of `[endpoints]`.
pub fn dev_endpoints(text: &str) -> Config {
    let mut dev = dev("");
    dev.endpoints = config(&format!("{LISTEN}{text}")).endpoints;
    // Time for goodbyes, and for their answers.
    let longest = dev.endpoints.services.iter().map(|service| service.drain_time).max();
    dev.server.drain_time = longest.unwrap_or_default() * 5 / 4;
    dev
}

impl Server {
    /// A dev server with the services of [`service`]: `rested` with these keys, and `yawe` under the host `app.yawe.dev`.
    pub fn with_endpoints(keys: &str) -> Server {
        Server::with_examples(keys, "", "")
    }

    /// Likewise, with further keys of the project of both, and further tables.
    pub fn with_examples(keys: &str, project: &str, tables: &str) -> Server {
        Server::cable(dev_endpoints(&both(keys, project, tables)))
    }
}

/// Both services with these keys, and these of the project `examples`; `tables` are further ones of `rested`.
pub fn both(keys: &str, project: &str, tables: &str) -> String {
    let yawe = service("yawe", &format!("hosts = [\"app.yawe.dev\"]\n{keys}"), project, "");
    format!("{}{yawe}", service("rested", keys, project, tables))
}

/// The target of an endpoint with the key of its project; `query` is empty, or more parameters.
pub fn target(endpoint: &str, query: &str) -> String {
    let separator = if query.is_empty() { "" } else { "&" };
    format!("{PATH}/{endpoint}?key={KEY}{separator}{query}")
}

/// One WebSocket.
pub struct Listener {
    pub client: Client,
    /// The answer to its request.
    pub upgrade: Response,
}

impl Deref for Listener {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Listener {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl Listener {
    /// At this endpoint of `rested`, with more parameters.
    #[track_caller]
    pub fn open(door: &Door, reactor: usize, endpoint: &str, query: &str) -> Listener {
        Listener::with(door, reactor, &target(endpoint, query), "")
    }

    /// `fields` are whole lines.
    #[track_caller]
    pub fn with(door: &Door, reactor: usize, target: &str, fields: &str) -> Listener {
        Listener::at(door, reactor, "localhost", target, fields)
    }

    /// Under this host.
    #[track_caller]
    pub fn at(door: &Door, reactor: usize, host: &str, target: &str, fields: &str) -> Listener {
        Listener::asking_at(Client::on(door, reactor), host, target, fields)
    }

    /// With this token.
    #[track_caller]
    pub fn of_user(door: &Door, reactor: usize, endpoint: &str, token: &str) -> Listener {
        Listener::with(door, reactor, &target(endpoint, ""), &bearer(token))
    }

    #[track_caller]
    pub fn asking(client: Client, target: &str, fields: &str) -> Listener {
        Listener::asking_at(client, "localhost", target, fields)
    }

    #[track_caller]
    fn asking_at(mut client: Client, host: &str, target: &str, fields: &str) -> Listener {
        let upgrade = upgrade_at(&mut client, host, target, fields);
        assert_eq!(upgrade.status, 101, "{upgrade:?}");
        Listener { client, upgrade }
    }

    pub fn say(&mut self, text: &str) {
        self.client.send(masked(0x81, text.as_bytes()));
    }

    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        assert_eq!(self.text(), text);
    }
}

/// The checks let a WebSocket in, and then a reading over HTTP.
#[track_caller]
pub fn expect_served(server: &Server, host: &'static str, target: &str, fields: &str) {
    let mut listener = Listener::at(server, 1, host, target, fields);
    server.expect_silence(&mut listener);
    let answer = Writer::at(server, 2, host).call("GET", target, fields, b"");
    assert_eq!(answer.status, 200, "{target} {fields}: {answer:?}");
}

/// The checks turn a WebSocket away, and a reading over HTTP, for the same reason.
#[track_caller]
pub fn expect_rejected(server: &Server, host: &'static str, target: &str, fields: &str, reason: &str) {
    expect_refusal_at(Client::on(server, 2), host, target, fields, 4000, reason);
    let answer = Writer::at(server, 1, host).call("GET", target, fields, b"");
    let status = match reason {
        NOT_VALID => 400,
        NO_ORIGIN => 403,
        NO_TOKEN => 401,
        _ => panic!("no reason of a check: {reason}"),
    };
    let expected = format!("{{\"error\":\"{reason}\"}}");
    assert_eq!((answer.status, answer.text()), (status, expected.as_str()), "{target} {fields}");
}

/// The request is answered with a 101 and then, at once, this close; the connection ends when it is answered.
#[track_caller]
pub fn expect_refusal(client: Client, target: &str, fields: &str, code: u16, reason: &str) {
    expect_refusal_at(client, "localhost", target, fields, code, reason);
}

/// Likewise, under this host.
#[track_caller]
pub fn expect_refusal_at(mut client: Client, host: &str, target: &str, fields: &str, code: u16, reason: &str) {
    let answer = upgrade_at(&mut client, host, target, fields);
    assert_eq!(answer.status, 101, "{target} {fields}: {answer:?}");
    let frame = client.frame();
    let expected = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
    let shown = String::from_utf8_lossy(frame.payload.get(2..).unwrap_or_default()).into_owned();
    assert_eq!((frame.head[0], &frame.payload), (0x88, &expected), "{target} {fields}: {code} {reason}, not {shown}");
    client.send(masked(0x88, &code.to_be_bytes()));
    client.expect_end();
}

/// A record as an answer over HTTP shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub id: String,
    /// The text as it came.
    pub data: String,
    pub created: String,
    pub updated: String,
}

impl Record {
    /// Fails the test unless the text is exactly in the form of a record over HTTP.
    #[track_caller]
    pub fn parse(text: &str) -> Record {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "camelCase")]
        struct Form<'a> {
            unique_id: String,
            #[serde(borrow)]
            data: &'a RawValue,
            created_at: String,
            updated_at: String,
        }
        let form: Form<'_> = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let record =
            Record { id: form.unique_id, data: form.data.get().to_owned(), created: form.created_at, updated: form.updated_at };
        assert_eq!(text, record.over_http(), "the order of its members");
        record
    }

    pub fn over_http(&self) -> String {
        let Record { id, data, created, updated } = self;
        format!(r#"{{"uniqueId":"{id}","data":{data},"createdAt":"{created}","updatedAt":"{updated}"}}"#)
    }

    pub fn in_message(&self) -> String {
        let Record { id, data, created, updated } = self;
        format!(r#"{{"data":{data},"uniqueId":"{id}","updatedAt":"{updated}","createdAt":"{created}"}}"#)
    }

    /// What listeners are told of a change.
    pub fn event(&self, kind: &str) -> String {
        format!(r#"{{"type":"{kind}","record":{}}}"#, self.in_message())
    }
}

/// One who changes records over HTTP; connects again when the server has closed its connection while idle.
pub struct Writer {
    door: Door,
    reactor: usize,
    host: &'static str,
    client: Option<Client>,
    /// More parameters of each request.
    query: String,
    /// Whole lines of each request.
    fields: String,
}

impl Writer {
    /// With nothing but the key.
    pub fn on(door: &Door, reactor: usize) -> Writer {
        Writer::at(door, reactor, "localhost")
    }

    /// Likewise, under this host.
    pub fn at(door: &Door, reactor: usize, host: &'static str) -> Writer {
        Writer { door: *door, reactor, host, client: None, query: String::new(), fields: String::new() }
    }

    /// With this token.
    pub fn of_user(door: &Door, reactor: usize, token: &str) -> Writer {
        Writer::on(door, reactor).with_token(token)
    }

    pub fn with_token(self, token: &str) -> Writer {
        Writer { fields: bearer(token), ..self }
    }

    /// With the master key.
    pub fn master(door: &Door, reactor: usize) -> Writer {
        Writer { query: MASTER.to_owned(), ..Writer::on(door, reactor) }
    }

    #[track_caller]
    pub fn call(&mut self, method: &str, target: &str, fields: &str, body: &[u8]) -> Response {
        if self.client.as_mut().is_some_and(|client| client.has_ended()) {
            self.client = None;
        }
        let client = self.client.get_or_insert_with(|| Client::on(&self.door, self.reactor));
        let (host, length) = (self.host, body.len());
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n{fields}\r\n");
        client.send([head.as_bytes(), body].concat());
        let answer = client.response();
        if answer.field("Connection") == Some("close") {
            self.client = None;
        }
        answer
    }

    /// A request with a JSON body.
    #[track_caller]
    pub fn ask(&mut self, method: &str, endpoint: &str, query: &str, body: &str) -> Response {
        let all = [self.query.as_str(), query].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("&");
        let fields = format!("{}{JSON}", self.fields);
        self.call(method, &target(endpoint, &all), &fields, body.as_bytes())
    }

    #[track_caller]
    fn change(&mut self, method: &str, endpoint: &str, query: &str, body: &str) -> Record {
        let answer = self.ask(method, endpoint, query, body);
        assert_eq!(answer.status, if method == "POST" { 201 } else { 200 }, "{method} {endpoint}: {answer:?}");
        Record::parse(answer.text())
    }

    #[track_caller]
    pub fn post(&mut self, endpoint: &str, data: &str) -> Record {
        self.change("POST", endpoint, "", data)
    }

    #[track_caller]
    pub fn put(&mut self, endpoint: &str, id: &str, data: &str) -> Record {
        self.change("PUT", endpoint, &format!("uniqueId={id}"), data)
    }

    #[track_caller]
    pub fn patch(&mut self, endpoint: &str, id: &str, patch: &str) -> Record {
        self.change("PATCH", endpoint, &format!("uniqueId={id}"), patch)
    }

    #[track_caller]
    pub fn delete(&mut self, endpoint: &str, id: &str) -> Record {
        self.change("DELETE", endpoint, &format!("uniqueId={id}"), "")
    }

    /// The records that may be seen.
    #[track_caller]
    pub fn list(&mut self, endpoint: &str) -> Vec<Record> {
        let answer = self.ask("GET", endpoint, "", "");
        assert_eq!(answer.status, 200, "{answer:?}");
        let list: Vec<&RawValue> = serde_json::from_str(answer.text()).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
        list.into_iter().map(|text| Record::parse(text.get())).collect()
    }

    /// A user of this endpoint who has registered; everybody's password is [`PASSWORD`].
    #[track_caller]
    pub fn register(&mut self, endpoint: &str, name: &str) -> Record {
        self.post(endpoint, &credentials(name))
    }

    /// A token of a new session of a user.
    #[track_caller]
    pub fn login(&mut self, endpoint: &str, name: &str) -> String {
        let answer = self.ask("POST", endpoint, "login=true&noATCookie=true", &credentials(name));
        assert_eq!(answer.status, 200, "{answer:?}");
        let field = answer.field("Authorization").unwrap_or_else(|| panic!("a token: {}", answer.raw));
        field.strip_prefix("Bearer ").unwrap_or_else(|| panic!("a bearer token: {field}")).to_owned()
    }

    #[track_caller]
    pub fn logout(&mut self, endpoint: &str, token: &str) {
        let answer = self.call("POST", &target(endpoint, "logout=true"), &bearer(token), b"");
        assert_eq!(answer.status, 204, "{answer:?}");
    }
}

pub const PASSWORD: &str = "correct horse battery";

pub fn credentials(name: &str) -> String {
    format!("{{\"username\":\"{name}\",\"password\":\"{PASSWORD}\"}}")
}

/// A line that says where a page is from.
pub fn origin(origin: &str) -> String {
    format!("Origin: {origin}\r\n")
}

/// A line that authorizes by this token.
pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// The `seq` at the end of a message, and what the message would be without it.
#[track_caller]
pub fn numbered(text: &str) -> (String, u64) {
    let (rest, number) = text.rsplit_once(",\"seq\":").unwrap_or_else(|| panic!("a number at the end: {text}"));
    let number = number.strip_suffix('}').and_then(|digits| digits.parse().ok());
    (format!("{rest}}}"), number.unwrap_or_else(|| panic!("a number at the end: {text}")))
}

/// An upgrade under another host.
#[track_caller]
pub fn upgrade_at(client: &mut Client, host: &str, target: &str, fields: &str) -> Response {
    let usual = UPGRADE.replace("Host: localhost", &format!("Host: {host}"));
    client.send(format!("GET {target} HTTP/1.1\r\n{usual}{fields}\r\n"));
    client.response()
}
