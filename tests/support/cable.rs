//! A raw Action Cable client, and what the servers of its tests are told.

use super::{Client, Door, Frame, Response, Server, masked};
use std::ops::{Deref, DerefMut};

/// What publishers of [`Server::with_cable`] present: the key of `fanwire dev`, which opens its statistics too.
pub const PUBLISH_KEY: &str = "dev";
/// The key of metasmoke's document; known under the name `document`.
pub const KEY: &str = "abcdef012345";
/// A second one, known under the name `second`.
pub const SECOND_KEY: &str = "zzzzzz999999";

/// Metasmoke's settings with both keys, and these keys of `[action_cable]`; tables follow in `tables`.
pub fn configuration(keys: &str, tables: &str) -> String {
    format!(
        "[action_cable]\npreset = \"metasmoke\"\n{keys}\n\
         [[action_cable.keys]]\nname = \"document\"\nsha256 = \"{}\"\n\
         [[action_cable.keys]]\nname = \"second\"\nsha256 = \"{}\"\n{tables}\n",
        digest(KEY),
        digest(SECOND_KEY)
    )
}

/// The identifier of `ApiChannel` with [`KEY`], as `JSON.stringify` writes it.
pub fn api(events: &str) -> String {
    api_with(KEY, events)
}

pub fn api_with(key: &str, events: &str) -> String {
    format!("{{\"channel\":\"ApiChannel\",\"key\":{},\"events\":{}}}", string(key), string(events))
}

/// A text as a JSON string.
pub fn string(text: &str) -> String {
    serde_json::to_string(text).expect("a string is always JSON")
}

pub fn confirm(identifier: &str) -> String {
    format!("{{\"identifier\":{},\"type\":\"confirm_subscription\"}}", string(identifier))
}

pub fn reject(identifier: &str) -> String {
    format!("{{\"identifier\":{},\"type\":\"reject_subscription\"}}", string(identifier))
}

/// A data frame of a base connection; `message` is JSON text.
pub fn data(identifier: &str, message: &str) -> String {
    format!("{{\"identifier\":{},\"message\":{message}}}", string(identifier))
}

/// metasmoke's event message.
pub fn event(kind: &str, class: &str, object: &str) -> String {
    format!("{{\"event_type\":\"{kind}\",\"event_class\":\"{class}\",\"object\":{object}}}")
}

pub const WELCOME: &str = "{\"type\":\"welcome\"}";

/// One connection, welcomed.
pub struct Cable {
    pub client: Client,
    /// The answer to its request.
    pub upgrade: Response,
}

impl Deref for Cable {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Cable {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl Cable {
    /// As the clients of Rails ask, on this reactor.
    #[track_caller]
    pub fn open(door: &Door, reactor: usize) -> Cable {
        Cable::offering(door, reactor, "actioncable-v1-json, actioncable-unsupported")
    }

    /// With these subprotocols.
    #[track_caller]
    pub fn offering(door: &Door, reactor: usize, subprotocols: &str) -> Cable {
        let fields = format!("Sec-WebSocket-Protocol: {subprotocols}\r\n");
        let mut cable = Cable::asking(Client::on(door, reactor), "/cable", &fields);
        assert_eq!(cable.text(), WELCOME);
        cable
    }

    /// Of the extended protocol; returns its `sid` as well.
    #[track_caller]
    pub fn extended(door: &Door, reactor: usize) -> (Cable, String) {
        let fields = "Sec-WebSocket-Protocol: actioncable-v1-ext-json\r\n";
        let mut cable = Cable::asking(Client::on(door, reactor), "/cable", fields);
        let welcome = cable.text();
        let sid = welcome.strip_prefix("{\"type\":\"welcome\",\"sid\":\"").and_then(|rest| rest.strip_suffix("\"}"));
        let sid = sid.unwrap_or_else(|| panic!("an extended welcome: {welcome}")).to_owned();
        (cable, sid)
    }

    /// Upgraded, the welcome still unread.
    #[track_caller]
    pub fn asking(mut client: Client, target: &str, fields: &str) -> Cable {
        let upgrade = client.ask_upgrade(target, fields);
        assert_eq!(upgrade.status, 101, "{upgrade:?}");
        Cable { client, upgrade }
    }

    pub fn say(&mut self, text: &str) {
        self.client.send(masked(0x81, text.as_bytes()));
    }

    /// A command with an identifier and perhaps further members, like `,"history":{…}`.
    pub fn command(&mut self, command: &str, identifier: &str, more: &str) {
        self.say(&format!("{{\"command\":\"{command}\",\"identifier\":{}{more}}}", string(identifier)));
    }

    /// Subscribes and reads the confirm.
    #[track_caller]
    pub fn subscribe(&mut self, identifier: &str) {
        self.command("subscribe", identifier, "");
        assert_eq!(self.text(), confirm(identifier));
    }

    /// Subscribes and reads the reject.
    #[track_caller]
    pub fn expect_reject(&mut self, identifier: &str) {
        self.command("subscribe", identifier, "");
        assert_eq!(self.text(), reject(identifier));
    }

    pub fn unsubscribe(&mut self, identifier: &str) {
        self.command("unsubscribe", identifier, "");
    }

    #[track_caller]
    pub fn expect_data(&mut self, identifier: &str, message: &str) {
        assert_eq!(self.text(), data(identifier, message));
    }

    /// A `disconnect` with this reason, and the close behind it.
    #[track_caller]
    pub fn expect_disconnect(&mut self, reason: &str, reconnect: bool) {
        assert_eq!(self.text(), format!("{{\"type\":\"disconnect\",\"reason\":\"{reason}\",\"reconnect\":{reconnect}}}"));
        self.client.expect_close(1000, "");
    }

    /// The next frame that is no ping of the protocol.
    #[track_caller]
    pub fn beyond_pings(&mut self) -> Frame {
        loop {
            let frame = self.client.frame();
            if !frame.payload.starts_with(b"{\"type\":\"ping\"") {
                return frame;
            }
        }
    }
}

impl Server {
    /// `POST /api/events` through this reactor.
    #[track_caller]
    pub fn cable_post(&self, reactor: usize, path: &str, body: &str) -> Response {
        self.caller(reactor).post(path, "", body.as_bytes())
    }

    /// One event of metasmoke's models, published through reactor 0.
    #[track_caller]
    pub fn cable_event(&self, kind: &str, class: &str, object: &str) {
        let answer = self.cable_post(0, "/api/events", &event(kind, class, object));
        assert_eq!(answer.status, 201, "{answer:?}");
    }

    /// One message for a stream in AnyCable's format, published through this reactor; `data` is JSON text.
    #[track_caller]
    pub fn broadcast(&self, reactor: usize, stream: &str, data: &str) {
        let body = format!("{{\"stream\":{},\"data\":{}}}", string(stream), string(data));
        let answer = self.cable_post(reactor, "/_broadcast", &body);
        assert_eq!((answer.status, answer.body.len()), (201, 0), "{answer:?}");
    }
}

impl Cable {
    /// Every text that has come by now, pings too.
    #[track_caller]
    pub fn texts_and_pings(&mut self, server: &Server) -> Vec<String> {
        server.settle();
        let mut texts = Vec::new();
        while self.client.has_bytes() {
            texts.push(self.client.text());
        }
        texts
    }
}

impl Server {
    /// The number of one line of `/metrics`, named without `fanwire_action_cable_`.
    #[track_caller]
    pub fn cable_metric(&self, name: &str) -> u64 {
        let answer = self.caller(0).get("/metrics");
        let line = answer
            .text()
            .lines()
            .find_map(|line| line.strip_prefix("fanwire_action_cable_")?.strip_prefix(name)?.strip_prefix(' '));
        let line = line.unwrap_or_else(|| panic!("{name} in {}", answer.text()));
        line.parse().unwrap_or_else(|_| panic!("a number: {name} {line}"))
    }
}

/// The number of a ping of the protocol.
pub fn ping_number(text: &str) -> Option<u64> {
    text.strip_prefix("{\"type\":\"ping\",\"message\":")?.strip_suffix('}')?.parse().ok()
}

/// A channel of one stream that everybody may listen to, like the recordings' `EchoChannel` without its actions.
pub const ECHO_CHANNEL: &str =
    "[[action_cable.channel]]\nname = \"EchoChannel\"\nkind = \"streams\"\nrules = [{ streams = [\"echo\"] }]\n";

/// Its identifier.
pub const ECHO: &str = "{\"channel\":\"EchoChannel\"}";

/// The digest of a key, as the configuration has it.
pub fn digest(key: &str) -> String {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The identifier of `$pubsub` for a public stream.
pub fn public(stream: &str) -> String {
    format!("{{\"channel\":\"$pubsub\",\"stream_name\":{}}}", string(stream))
}

/// Keys of `[action_cable]` under which every stream is public.
pub const PUBLIC: &str = "public_streams = true\npublic_prefixes = [\"\"]";

/// A data frame of an extended connection: the stream, its epoch and the offset stand behind the message.
pub fn positioned(identifier: &str, message: &str, stream: &str, epoch: &str, offset: u64) -> String {
    let id = string(identifier);
    let stream = string(stream);
    format!("{{\"identifier\":{id},\"message\":{message},\"stream_id\":{stream},\"epoch\":\"{epoch}\",\"offset\":{offset}}}")
}

pub fn confirm_history(identifier: &str) -> String {
    format!("{{\"identifier\":{},\"type\":\"confirm_history\"}}", string(identifier))
}

pub fn reject_history(identifier: &str) -> String {
    format!("{{\"identifier\":{},\"type\":\"reject_history\"}}", string(identifier))
}

/// A member `history` for a command: `since` counts if it is not 0, and each stream has an epoch and an offset.
pub fn history(since: u64, streams: &[(&str, &str, u64)]) -> String {
    let position = |(stream, epoch, offset): &(&str, &str, u64)| {
        format!("{}:{{\"offset\":{offset},\"epoch\":{}}}", string(stream), string(epoch))
    };
    let streams: Vec<String> = streams.iter().map(position).collect();
    format!(",\"history\":{{\"since\":{since},\"streams\":{{{}}}}}", streams.join(","))
}

impl Cable {
    /// Of the extended protocol, going on with an earlier connection; returns its welcome as well.
    #[track_caller]
    pub fn resuming(door: &Door, reactor: usize, sid: &str) -> (Cable, String) {
        let fields = "Sec-WebSocket-Protocol: actioncable-v1-ext-json\r\n";
        let mut cable = Cable::asking(Client::on(door, reactor), &format!("/cable?sid={sid}"), fields);
        let welcome = cable.text();
        (cable, welcome)
    }

    /// Everything that is on its way, pings left out.
    #[track_caller]
    pub fn texts(&mut self, server: &Server) -> Vec<String> {
        let mut texts = self.texts_and_pings(server);
        texts.retain(|text| !text.starts_with("{\"type\":\"ping\""));
        texts
    }

    /// The next data frame of an extended connection: its message, epoch and offset.
    #[track_caller]
    pub fn position(&mut self) -> (String, String, u64) {
        let text = self.text();
        let frame: serde_json::Value = serde_json::from_str(&text).expect("frames are JSON");
        let epoch = frame["epoch"].as_str().unwrap_or_else(|| panic!("a position: {text}")).to_owned();
        (frame["message"].to_string(), epoch, frame["offset"].as_u64().unwrap_or_else(|| panic!("a position: {text}")))
    }
}

impl Server {
    /// Reads the configuration of [`Server::with_cable`] again, with these keys and tables.
    pub fn reload_cable(&self, keys: &str, tables: &str) {
        self.reload_cable_text(&configuration(keys, tables));
    }

    /// Likewise, with this text instead of [`configuration`].
    pub fn reload_cable_text(&self, text: &str) {
        self.reload(super::dev_cable(text)).expect("nothing that is fixed changes");
        self.settle();
    }
}
