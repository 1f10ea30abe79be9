//! What all connections of one configuration have in common, and what outlives a reload.

use super::counters::Counters;
use super::encoders::{Base, Extended};
use super::frames;
use super::options::{ConnectAuth, Options};
use super::rules::Rules;
use crate::clock::Now;
use crate::exchange::{ConversationId, Reach};
use crate::message::{EncodingId, Frame, TopicName};
use crate::pace::Goodbyes;
use crate::session::{ConnectionLimits, Encoders, LimitsByEnd};
use arc_swap::ArcSwap;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The part of the dialect that a reload does not begin anew.
pub struct Live {
    /// Those in force: a command is judged by them, whenever its connection was opened.
    pub rules: ArcSwap<Rules>,
    pub counters: Counters,
    /// Open cable connections of the whole server.
    connections: AtomicU64,
    /// The ping of a second, made by the first who needs it.
    ping: ArcSwap<(u64, Frame)>,
    seed: [u8; 32],
    conversations: AtomicU64,
}

impl Live {
    /// `seed` has to be random: who knows it can take over conversations.
    pub fn new(rules: Rules, seed: [u8; 32]) -> Live {
        Live {
            rules: ArcSwap::from_pointee(rules),
            counters: Counters::default(),
            connections: AtomicU64::new(0),
            ping: ArcSwap::from_pointee((0, frames::ping(0))),
            seed,
            conversations: AtomicU64::new(0),
        }
    }

    /// A name that nobody can guess and that is never given twice.
    pub fn conversation(&self) -> ConversationId {
        let number = self.conversations.fetch_add(1, Relaxed);
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.seed).expect("a key of any length does");
        mac.update(&number.to_be_bytes());
        let digest: [u8; 32] = mac.finalize().into_bytes().into();
        let (first, _) = digest.split_first_chunk().expect("thirty-two bytes are more than sixteen");
        ConversationId(u128::from_be_bytes(*first))
    }

    /// The ping of this second, the same allocation for everybody.
    pub fn ping(&self, now: Now) -> Frame {
        let second = now.unix_seconds();
        let known = self.ping.load();
        if known.0 == second {
            return known.1.clone();
        }
        let frame = frames::ping(second);
        self.ping.store(Arc::new((second, frame.clone())));
        frame
    }
}

/// What a connection keeps from the configuration under which it was opened.
pub struct Shared {
    pub live: Arc<Live>,
    pub limits: LimitsByEnd,
    pub connect_auth: ConnectAuth,
    pub ping_interval: Duration,
    pub ping_params: bool,
    pub goodbyes: Goodbyes,
    pub disconnect_frame: bool,
    pub extended: bool,
    connections_max: u64,
    pub pong_timeout: Duration,
    pub resume_ttl: Duration,
    pub restore_hold: Duration,
    pub reach: Reach,
    pub encodings: Encodings,
    /// What the server alone publishes to, beside its `$` topics.
    pub events_topic: Option<TopicName>,
}

/// How data frames end.
#[derive(Clone, Copy)]
pub struct Encodings {
    pub base: EncodingId,
    pub extended: EncodingId,
}

impl Shared {
    /// `stop` is what a stop of the whole server may take.
    pub fn new(
        options: &Options,
        live: Arc<Live>,
        encoders: &mut Encoders,
        events_topic: Option<TopicName>,
        stop: Duration,
    ) -> Shared {
        let limits = ConnectionLimits {
            message_bytes_max: options.max_message as usize,
            message_fragments_max: 64,
            outbox_bytes_max: 256 * 1024,
            no_progress: options.write_stall,
            close_time: options.close_timeout,
            user_timeout: Some(options.tcp_user_timeout),
        };
        let goodbyes = Goodbyes::new(options.drain_time, options.close_timeout, stop);
        Shared {
            live,
            limits: LimitsByEnd::new(limits, goodbyes.answering),
            connect_auth: options.connect_auth.clone(),
            ping_interval: options.ping_interval,
            ping_params: options.ping_params,
            goodbyes,
            disconnect_frame: options.disconnect_frame,
            extended: options.extended,
            connections_max: options.max_connections,
            pong_timeout: options.pong_timeout,
            resume_ttl: options.resume_ttl,
            restore_hold: options.restore_hold,
            events_topic,
            reach: options.reach(),
            encodings: Encodings {
                base: encoders.add("action_cable base".to_owned(), Arc::new(Base)),
                extended: encoders.add("action_cable extended".to_owned(), Arc::new(Extended)),
            },
        }
    }
}

/// One connection's place among those that there may be.
pub struct Place(pub Arc<Shared>);

impl Place {
    /// `None`: all are taken.
    pub fn take(shared: &Arc<Shared>) -> Option<Place> {
        let place = Place(shared.clone());
        let before = shared.live.connections.fetch_add(1, Relaxed);
        (shared.connections_max == 0 || before < shared.connections_max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.live.connections.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_socket_is_bound_to_is_configured() {
        let options: Options =
            toml::from_str("write_stall = \"7s\"\nclose_timeout = \"8s\"\ntcp_user_timeout = \"9s\"\nmax_message = \"1KiB\"")
                .unwrap();
        let live = Arc::new(Live::new(Rules::new(&options).unwrap(), [7; 32]));
        let limits = Shared::new(&options, live, &mut Encoders::default(), None, Duration::from_secs(35)).limits.usual;
        assert_eq!((limits.no_progress, limits.close_time), (Duration::from_secs(7), Duration::from_secs(8)));
        assert_eq!((limits.user_timeout, limits.message_bytes_max), (Some(Duration::from_secs(9)), 1_024));
    }

    #[test]
    fn the_last_goodbye_of_a_short_stop_is_answered_in_time() {
        let options = Options::default();
        let live = Arc::new(Live::new(Rules::new(&options).unwrap(), [7; 32]));
        let shared = Shared::new(&options, live, &mut Encoders::default(), None, Duration::from_secs(10));
        assert_eq!((shared.goodbyes.spread.as_secs(), shared.limits.stop.close_time.as_secs()), (8, 2));
    }
}
