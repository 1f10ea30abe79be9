//! What the benches share: a browser's request, the dialect it meets, a hub, a message.

use arc_swap::ArcSwap;
use fanwire::access::{Access, Grant, Pattern, SharedAccess, digest};
use fanwire::clock::Now;
use fanwire::dialects::push_stream::PushStream;
use fanwire::dialects::push_stream::options::Options;
use fanwire::exchange::Entry;
use fanwire::hub::request::{Origin, ToHub, Token};
use fanwire::hub::{Hub, Settings};
use fanwire::metrics::Metrics;
use fanwire::session::Encoders;
use std::sync::Arc;

pub const NOW: Now = Now { micros: 1_000_000, unix_micros: 1_795_191_466_000_000 };
pub const TOPIC: &str = "user_presence_changed.100";

/// What a browser sends for `new WebSocket(…)`: some channels and a token.
macro_rules! upgrade {
    ($channels:literal) => {
        concat!(
            "GET /websocket/",
            $channels,
            "?auth_token=XXX HTTP/1.1\r\n",
            "Host: live.example.com\r\n",
            "Connection: Upgrade\r\n",
            "Pragma: no-cache\r\n",
            "Cache-Control: no-cache\r\n",
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r\n",
            "Upgrade: websocket\r\n",
            "Origin: https://www.example.com\r\n",
            "Sec-WebSocket-Version: 13\r\n",
            "Accept-Encoding: gzip, deflate, br, zstd\r\n",
            "Accept-Language: en-GB,en-US;q=0.9,en;q=0.8\r\n",
            "Cookie: _session=0123456789abcdef0123456789abcdef; theme=dark\r\n",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
            "\r\n",
        )
        .as_bytes()
    };
}

pub const ONE_CHANNEL: &[u8] = upgrade!("user_presence_changed.100");
pub const TWO_CHANNELS: &[u8] = upgrade!("user_presence_changed.100/system");

/// 128 bytes of JSON.
pub fn payload() -> Arc<[u8]> {
    let payload = format!("{{\"user_id\":4711,\"status\":\"online\",\"text\":\"{}\"}}", "x".repeat(84));
    assert_eq!(payload.len(), 128);
    Arc::from(payload.as_bytes())
}

pub fn access() -> SharedAccess {
    let topics = vec![Pattern::parse("*").expect("a pattern")];
    let grant = Grant { name: "app".into(), digest: digest(b"XXX"), topics, expires: None };
    Arc::new(ArcSwap::from_pointee(Access { keys: Vec::new(), tokens: vec![Arc::new(grant)] }))
}

pub fn push_stream(encoders: &mut Encoders) -> PushStream {
    PushStream::new(Options::default(), "host".into(), access(), encoders)
}

pub fn hub(metrics: Arc<Metrics>) -> Hub {
    let settings = Settings::default();
    Hub::new(settings, 1, NOW, metrics)
}

pub fn origin() -> Origin {
    Origin { reactor: 0, connection: Token(0), ticket: 0 }
}

/// The publication of one stored message.
pub fn publication() -> ToHub {
    let entry = Entry { topic: TOPIC.into(), payload: payload(), store: true, event: None, key: None, except: None };
    ToHub::Publish { origin: origin(), entries: vec![entry], report: None }
}
