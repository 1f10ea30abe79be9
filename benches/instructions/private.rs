//! A dialect as small as can be, whose subscribers each have a prefix of their own and are pinged.

use crate::scene::TOPIC;
use fanwire::exchange::{Join, JoinTopic, StartAt, SubscriptionId};
use fanwire::http::response::Response;
use fanwire::message::{Encoder, EncodingId, Frame, Message};
use fanwire::session::{Actions, ConnectionLimits, Delivery, Dialect, Encoders, HeadLimits, Inbound, Opening, Request, Session};
use fanwire::websocket::encoder;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Monotonic microseconds between two pings.
pub const PING_MICROS: u64 = 3_000_000;

pub struct Private {
    tail: EncodingId,
    ping: Frame,
    connections: AtomicU64,
}

/// The payload and the end of the object that the prefix begins.
struct Tail;

impl Encoder for Tail {
    fn encode(&self, message: &Message, out: &mut Vec<u8>) {
        out.extend_from_slice(&message.payload);
        out.push(b'}');
    }
}

impl Private {
    pub fn new(encoders: &mut Encoders) -> Private {
        let tail = encoders.add("tail".to_owned(), Arc::new(Tail));
        let ping = encoder::text(br#"{"type":"ping","message":1795191466}"#).into();
        Private { tail, ping, connections: AtomicU64::new(0) }
    }
}

impl Dialect for Private {
    fn name(&self) -> &'static str {
        "private"
    }

    fn open(&self, _: &Request<'_>, actions: &mut Actions) -> Option<Opening> {
        let number = self.connections.fetch_add(1, Relaxed);
        let prefix = format!(r#"{{"identifier":"{{\"channel\":\"ApiChannel\",\"id\":{number:06}}}","message":"#);
        let topic = JoinTopic { id: SubscriptionId(0), name: TOPIC.into(), start: StartAt::Now, must_have_messages: false };
        actions.accept();
        let delivery = Delivery::Prefixed { encoding: self.tail, prefix: prefix.into_bytes().into() };
        actions.join(Join { topics: vec![topic], ..Join::default() }, delivery);
        let first = actions.now.micros + PING_MICROS;
        actions.wake_at(first);
        Some(Opening::WebSocket { session: Box::new(Pinged { ping: self.ping.clone() }), upgrade: Response::new(101) })
    }

    fn head_limits(&self, _: &str) -> Option<HeadLimits> {
        None
    }
}

struct Pinged {
    ping: Frame,
}

static LIMITS: ConnectionLimits = ConnectionLimits {
    message_bytes_max: 65_536,
    message_fragments_max: 64,
    outbox_bytes_max: 256 * 1024,
    no_progress: Duration::from_secs(30),
    close_time: Duration::from_secs(2),
    user_timeout: None,
};

impl Session for Pinged {
    fn limits(&self) -> &ConnectionLimits {
        &LIMITS
    }

    fn received(&mut self, _: Inbound<'_>, _: &mut Actions) {}

    fn woken(&mut self, actions: &mut Actions) {
        actions.ping(self.ping.clone());
        let next = actions.now.micros + PING_MICROS;
        actions.wake_at(next);
    }

    fn too_slow(&mut self, actions: &mut Actions) {
        actions.hangup();
    }

    fn draining(&mut self, actions: &mut Actions) {
        actions.hangup();
    }
}
