//! A raw listener of the dialect `endpoints`, and what the servers of its tests are told.

use super::{Client, Door, LISTEN, Response, Server, config, dev, masked};
use fanwire::config::Config;
use std::ops::{Deref, DerefMut};

/// Of the documents' project, as in `fanwire dev`.
pub const KEY: &str = "d59eb2859c284168ac48aef65046d5dd";
/// Of the other project.
pub const OTHER_KEY: &str = "0123456789abcdef0123456789abcdef";
pub const MASTER_KEY: &str = "master-key-of-examples";
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
        Listener::asking(Client::on(door, reactor), target, fields)
    }

    #[track_caller]
    pub fn asking(mut client: Client, target: &str, fields: &str) -> Listener {
        let upgrade = client.ask_upgrade(target, fields);
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

/// The request is answered with a 101 and then, at once, this close; the connection ends when it is answered.
#[track_caller]
pub fn expect_refusal(mut client: Client, target: &str, fields: &str, code: u16, reason: &str) {
    let answer = client.ask_upgrade(target, fields);
    assert_eq!(answer.status, 101, "{target} {fields}: {answer:?}");
    let frame = client.frame();
    let expected = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
    let shown = String::from_utf8_lossy(frame.payload.get(2..).unwrap_or_default()).into_owned();
    assert_eq!((frame.head[0], &frame.payload), (0x88, &expected), "{target} {fields}: {code} {reason}, not {shown}");
    client.send(masked(0x88, &code.to_be_bytes()));
    client.expect_end();
}
