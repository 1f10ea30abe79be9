//! The wire of the peers: a websocket at `/sub/<topic>` that carries bare payloads.
use super::{Answer, Dialect, Inbound, upgrade, upgraded, websocket_item, websocket_pong};
use crate::frames;

pub struct Plain {
    pub host: String,
}

impl Dialect for Plain {
    fn subscribe(&self, _connection: u32, topics: &[u32], _cursor: &[u8], out: &mut Vec<u8>) {
        let names: Vec<String> = topics.iter().map(|topic| self.topic(*topic)).collect();
        upgrade(&format!("/sub/{}", names.join("/")), &self.host, None, out);
    }

    fn answer(&self, bytes: &[u8]) -> Answer {
        upgraded(bytes)
    }

    fn next<'a>(&self, bytes: &'a [u8]) -> Option<(usize, Inbound<'a>)> {
        websocket_item(bytes)
    }

    fn pong(&self, payload: &[u8], out: &mut Vec<u8>) {
        websocket_pong(payload, out);
    }

    fn delivery(&self, _topic: u32, _number: u64, payload: &[u8], out: &mut Vec<u8>) {
        frames::write_unmasked(out, frames::TEXT, payload);
    }
}
