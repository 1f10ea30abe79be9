//! A raw client of the dialect `resources`, one who writes documents, and what the servers of their tests are told.

use super::{Caller, Client, Door, LISTEN, Response, Server, config, dev, masked};
use fanwire::access::digest;
use fanwire::config::Config;
use fanwire::dialects::resources::options::ServiceKey;
use std::ops::{Deref, DerefMut};

pub const PATH: &str = "/api/realtime";
/// Whole lines that name the project of [`Server::with_resources`].
pub const PROJECT: &str = "x-m2-organization: testOrg\r\nx-m2-project: testProj\r\n";
/// The service key of that project, as of `fanwire dev`.
pub const SERVICE: &str = "x-api-key: dev\r\n";
/// The key of its signed tokens.
pub const JWT_SECRET: &str = "secret-of-testProj";

pub const MALFORMED: &str = r#"{"error":"Invalid message format"}"#;
pub const FORBIDDEN: &str = r#"{"error":"Forbidden"}"#;
pub const TOO_MANY: &str = r#"{"error":"Too many subscriptions"}"#;
pub const RATE: &str = r#"{"error":"Rate limit exceeded"}"#;

/// A document of the world, and its type and id.
pub const WORLD: (&str, &str) = ("kvStore", "World:kvstoreClient:testKey");
pub const GAME: (&str, &str) = ("liveConfig", "game");
pub const PRIVATE: (&str, &str) = ("collection", "private");

/// These keys of `[resources]`, and the project that all tests know with these keys of its own; further tables follow.
pub fn configuration(keys: &str, project: &str, tables: &str) -> String {
    format!(
        "[resources]\n{keys}\n[[resources.projects]]\norganization = \"testOrg\"\nproject = \"testProj\"\n\
         jwt_secret = \"{JWT_SECRET}\"\n{project}\n{tables}\n"
    )
}

/// Keys of a project whose clients without credentials are the user `dev`.
pub const DEV: &str = "anonymous_user = \"dev\"";

/// `fanwire dev` on four reactors with what [`configuration`] made; its first project has the service key `dev`.
pub fn dev_resources(text: &str) -> Config {
    let mut dev = dev("");
    dev.resources = config(&format!("{LISTEN}{text}")).resources;
    if let Some(project) = dev.resources.projects.first_mut() {
        project.keys.push(ServiceKey { name: "dev".to_owned(), digest: digest(b"dev") });
    }
    // Time for goodbyes, and for their answers.
    dev.server.drain_time = dev.resources.drain_time * 5 / 4;
    dev
}

impl Server {
    /// A dev server with these keys of `[resources]`, where clients without credentials are the user `dev`.
    pub fn with_resources(keys: &str) -> Server {
        Server::with_project(keys, DEV, "")
    }

    /// With these keys of `[resources]`, of its project, and these tables.
    pub fn with_project(keys: &str, project: &str, tables: &str) -> Server {
        Server::cable(dev_resources(&configuration(keys, project, tables)))
    }
}

/// `"resource":{…}` as requests and frames write it.
pub fn resource((kind, id): (&str, &str)) -> String {
    format!("\"resource\":{{\"type\":\"{kind}\",\"id\":{}}}", serde_json::to_string(id).expect("a string is always JSON"))
}

/// A document's frame; `user` is empty where there is none.
pub fn document(user: &str, of: (&str, &str), data: &str, version: &str) -> String {
    let user = if user.is_empty() { String::new() } else { format!("\"userId\":\"{user}\",") };
    format!("{{{user}{},\"data\":{data},\"version\":\"{version}\"}}", resource(of))
}

pub fn missing(label: &str) -> String {
    format!(
        "{{\"warning\":\"resource_not_found\",\"message\":\"{label} resource doesn't currently exist, subscription was still made successfully\"}}"
    )
}

/// The reply to a request with the reference 7 where others get `text`.
pub fn referenced(text: &str, of: Option<(&str, &str)>) -> String {
    let end = of.map(|of| format!(",{}", resource(of))).unwrap_or_default();
    format!("{{\"ref\":7,{}{end}}}", &text[1..text.len() - 1])
}

/// A token with these lines, as browsers offer it.
pub fn token(lines: &str) -> String {
    bs58::encode(lines).into_string()
}

/// The name of a vector of the specification, and its base58.
pub fn vector(name: &str) -> String {
    let vectors = vectors();
    let found = vectors.iter().find(|vector| vector["name"] == name).unwrap_or_else(|| panic!("{name}"));
    found["base58"].as_str().expect("a string").to_owned()
}

pub fn vectors() -> Vec<serde_json::Value> {
    serde_json::from_str(include_str!("../../src/dialects/resources/vectors/base58.json")).expect("the vectors are JSON")
}

/// A signed token with these claims.
pub fn jwt(claims: &str) -> String {
    signed(r#"{"alg":"HS256","typ":"JWT"}"#, claims, JWT_SECRET)
}

pub fn signed(header: &str, claims: &str, secret: &str) -> String {
    use data_encoding::BASE64URL_NOPAD;
    use hmac::{KeyInit as _, Mac as _};
    let text = format!("{}.{}", BASE64URL_NOPAD.encode(header.as_bytes()), BASE64URL_NOPAD.encode(claims.as_bytes()));
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length does");
    mac.update(text.as_bytes());
    format!("{text}.{}", BASE64URL_NOPAD.encode(&mac.finalize().into_bytes()))
}

/// A line that authorizes by this token.
pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
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
    /// Without credentials, in the project of [`Server::with_resources`].
    #[track_caller]
    pub fn open(door: &Door, reactor: usize) -> Listener {
        Listener::with(door, reactor, "")
    }

    /// Likewise, with these lines.
    #[track_caller]
    pub fn with(door: &Door, reactor: usize, fields: &str) -> Listener {
        Listener::asking(Client::on(door, reactor), &format!("{PROJECT}{fields}"))
    }

    /// A user with a signed token that lasts.
    #[track_caller]
    pub fn user(door: &Door, reactor: usize, user: &str) -> Listener {
        let token = jwt(&format!(r#"{{"sub":"{user}","exp":4102444800}}"#));
        Listener::with(door, reactor, &bearer(&token))
    }

    #[track_caller]
    pub fn asking(mut client: Client, fields: &str) -> Listener {
        let upgrade = client.ask_upgrade(PATH, fields);
        assert_eq!(upgrade.status, 101, "{upgrade:?}");
        Listener { client, upgrade }
    }

    pub fn say(&mut self, text: &str) {
        self.client.send(masked(0x81, text.as_bytes()));
    }

    /// A request with further members, like `,"ref":7`.
    pub fn request(&mut self, action: &str, of: (&str, &str), more: &str) {
        self.say(&format!("{{\"action\":\"{action}\",{}{more}}}", resource(of)));
    }

    /// Subscribes and reads the reply.
    #[track_caller]
    pub fn subscribe(&mut self, of: (&str, &str)) -> String {
        self.request("subscribe", of, "");
        self.text()
    }

    pub fn unsubscribe(&mut self, of: (&str, &str)) {
        self.request("unsubscribe", of, "");
    }

    /// Subscribes to what is not there.
    #[track_caller]
    pub fn await_document(&mut self, of: (&str, &str)) {
        let label = match of.0 {
            "kvStore" => "KVStore",
            "collection" => "Collection",
            _ => "LiveConfig",
        };
        assert_eq!(self.subscribe(of), missing(label));
    }

    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        assert_eq!(self.text(), text);
    }

    /// Everything was executed that was said: an unknown action is answered behind it.
    #[track_caller]
    pub fn finish(&mut self) {
        self.say("{\"action\":\"nothing\",\"ref\":\"done\"}");
        self.expect(r#"{"ref":"done","error":"Invalid message format"}"#);
    }

    /// The next frame that is no ping.
    #[track_caller]
    pub fn beyond_pings(&mut self) -> super::Frame {
        loop {
            let frame = self.client.frame();
            if frame.opcode != 9 {
                return frame;
            }
        }
    }
}

/// The version in a document's frame.
#[track_caller]
pub fn version_of(frame: &str) -> String {
    let frame: serde_json::Value = serde_json::from_str(frame).unwrap_or_else(|error| panic!("{error}: {frame}"));
    frame["version"].as_str().unwrap_or_else(|| panic!("a version: {frame}")).to_owned()
}

/// One who writes documents and issues tokens.
pub struct Writer {
    caller: Caller,
    /// Whole lines that name the project.
    fields: String,
}

impl Writer {
    /// In the project of [`Server::with_resources`].
    pub fn on(door: &Door, reactor: usize) -> Writer {
        Writer::of(door, reactor, PROJECT)
    }

    pub fn of(door: &Door, reactor: usize, fields: &str) -> Writer {
        Writer { caller: Caller::new(door, reactor), fields: fields.to_owned() }
    }

    fn call(&mut self, method: &str, target: &str, body: &str) -> Response {
        let fields = format!("{}Content-Type: application/json\r\n", self.fields);
        self.caller.call(method, target, &fields, body.as_bytes())
    }

    /// Writes a document and returns its version.
    #[track_caller]
    pub fn put(&mut self, (kind, id): (&str, &str), value: &str) -> String {
        let answer = self.call("PUT", &format!("{PATH}/resources/{kind}/{id}"), value);
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        version_of(answer.text())
    }

    #[track_caller]
    pub fn delete(&mut self, (kind, id): (&str, &str)) -> String {
        let answer = self.call("DELETE", &format!("{PATH}/resources/{kind}/{id}"), "");
        assert_eq!(answer.status, 200, "{answer:?}");
        version_of(answer.text())
    }

    /// A token for this user, for so many seconds.
    #[track_caller]
    pub fn issue(&mut self, user: &str, seconds: u64) -> String {
        let body = format!("{{\"userId\":\"{user}\",\"ttlSeconds\":{seconds}}}");
        let answer = self.call("POST", &format!("{PATH}/tokens"), &body);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["token"].as_str().expect("a token").to_owned()
    }

    /// `body` names the token or the user.
    #[track_caller]
    pub fn revoke(&mut self, body: &str) {
        let answer = self.call("DELETE", &format!("{PATH}/tokens"), body);
        assert_eq!(answer.status, 204, "{answer:?}");
    }
}
