//! One connection: a small slot, and an `Extra` box that exists only while something beyond idling goes on.

use super::outbox::Outbox;
use super::subscribers::Way;
use crate::exchange::SubscriptionId;
use crate::http::body::{Body, BodyError};
use crate::http::head::HeadScan;
use crate::http::response::{Framing, Response};
use crate::message::{Message, Seq, TopicName};
use crate::session::{BodyMode, Delivery, Door, Session};
use crate::websocket::decoder::Decoder;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Facts about a connection, one bit each.
pub mod bits {
    /// Bytes may be there. Only `WouldBlock` clears it: events are edge-triggered.
    pub const READABLE: u16 = 1 << 0;
    /// The socket may take bytes. Only `WouldBlock` clears it.
    pub const WRITABLE: u16 = 1 << 1;
    /// A WebSocket whose 101 is in the outbox; otherwise HTTP.
    pub const WEBSOCKET: u16 = 1 << 2;
    /// On a dirty list.
    pub const DIRTY: u16 = 1 << 3;
    /// On the ready list.
    pub const READY: u16 = 1 << 4;
    /// Takes live messages: has everything of its topics that this reactor has seen.
    pub const LIVE: u16 = 1 << 5;
    /// A byte came from the client since the session last asked to be woken.
    pub const HEARD: u16 = 1 << 6;
    /// Nothing more goes out after what is queued; then our direction ends.
    pub const ENDING: u16 = 1 << 7;
    /// Our direction has ended; input is dropped until the peer's ends too, or time is up.
    pub const LINGERING: u16 = 1 << 8;
    /// The peer sends no more.
    pub const READ_CLOSED: u16 = 1 << 9;
    /// To be removed at the end of the turn.
    pub const DEAD: u16 = 1 << 10;
    /// Counts as a connection that has not yet sent a complete head.
    pub const UNOPENED: u16 = 1 << 11;
    /// A chunked or endless answer is under way.
    pub const STREAMING: u16 = 1 << 12;
    /// The 101 is in the outbox: nothing may overtake it.
    pub const GREETING: u16 = 1 << 13;
    /// On the list of those that wait for the bytes of others to become fewer.
    pub const STARVED: u16 = 1 << 14;
    /// The hub counts it among the connections with subscriptions.
    pub const COUNTED: u16 = 1 << 15;
}

/// The part of a connection that exists even while it idles.
pub struct Slot<T> {
    pub transport: T,
    pub generation: u32,
    /// When the session wants to be woken, as a tick; 0 = not.
    pub wake: u32,
    /// The tick under which the timer wheel has this connection; 0 = not at all.
    pub scheduled: u32,
    /// The tick at which something was last given to send.
    pub sent: u32,
    pub bits: u16,
    /// Whose session it is, as the metrics number them.
    pub dialect: u8,
    pub outbox: Outbox,
    pub extra: Option<Box<Extra>>,
    pub session: Option<Box<dyn Session>>,
    /// The first subscription; the others are in `Extra`.
    pub subscription: Option<Subscription>,
}

/// Where a joined subscription stands in its topic's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Index in [`super::subscribers::Subscribers`], plus one so that an absent one costs no byte.
    topic: std::num::NonZeroU32,
    pub at: u32,
}

impl Subscription {
    pub fn new(topic: u32, at: u32) -> Subscription {
        Subscription { topic: std::num::NonZeroU32::MIN.saturating_add(topic), at }
    }

    pub fn topic(&self) -> u32 {
        self.topic.get() - 1
    }
}

/// A mio stream is one descriptor in release builds.
const _: () = assert!(size_of::<Slot<u32>>() <= 72);

/// What only a connection in motion needs.
#[derive(Default)]
pub struct Extra {
    pub http: Option<Box<Http>>,
    /// Bytes received and not yet understood.
    pub spill: Vec<u8>,
    /// A WebSocket frame or message that is still arriving.
    pub decoder: Option<Box<Decoder>>,
    pub joining: Vec<Joining>,
    pub lag: Option<Box<Lag>>,
    /// Subscriptions beyond the first.
    pub more: Vec<Subscription>,
    /// Tickets of questions and publications that this session waits for.
    pub asked: VecDeque<u64>,
    /// When a closing connection is cut.
    pub cut_at: Option<Cut>,
    /// Pongs that wait for the socket.
    pub pongs: u32,
    /// The one pong that stands for all pings beyond those.
    pub newest_pong: Option<Vec<u8>>,
    /// What the reactor's sum of unfinished bytes holds of this connection.
    pub unfinished: usize,
}

impl Extra {
    pub fn is_needless(&self) -> bool {
        let Extra { http, spill, decoder, joining, lag, more, asked, cut_at, pongs: _, newest_pong, unfinished } = self;
        http.is_none()
            && spill.is_empty()
            && decoder.is_none()
            && joining.is_empty()
            && lag.is_none()
            && more.is_empty()
            && asked.is_empty()
            && cut_at.is_none()
            && newest_pong.is_none()
            && *unfinished == 0
    }
}

/// How long a connection that we end may go on.
pub struct Cut {
    /// In monotonic microseconds.
    pub micros: u64,
    /// Time of the peer from the end of our direction to that of its own.
    pub close_time: Duration,
    /// Until our direction ends, every byte that the peer takes gives it more time.
    pub is_patient: bool,
}

/// A join that the hub has not answered yet. Its subscriptions take nothing.
pub struct Joining {
    pub ticket: u64,
    pub delivery: Delivery,
    pub topics: Vec<(SubscriptionId, TopicName)>,
}

/// A connection that does not have everything of its topics: behind, or born with a history to read.
pub struct Lag {
    /// It has everything of its topics up to here.
    pub after: Seq,
    /// The read that is under way; replies to any other are dropped.
    pub reading: Option<u64>,
    /// A subscription was left since that read was asked for: what it lost is no loss any more.
    pub left: bool,
    /// Subscriptions that begin after the position.
    pub starts: Vec<Start>,
    /// Deletions to be told once it has caught up to them, oldest first.
    pub removed: Vec<(SubscriptionId, Way, Arc<Message>)>,
}

impl Lag {
    /// The starts by their subscriptions, for [`start_of`].
    pub fn starts_by_id(&self) -> SmallVec<[Start; 4]> {
        let mut starts = SmallVec::from_slice(&self.starts);
        starts.sort_by_key(|start: &Start| start.id);
        starts
    }

    /// Whether a subscription has not read up to the last stored and the last unstored message of its topic.
    pub fn misses(&self, id: SubscriptionId, stored: Seq, unstored: Seq) -> bool {
        match self.starts.iter().find(|start| start.id == id) {
            Some(start) => start.from.max(self.after) < stored || start.joined.max(self.after) < unstored,
            None => self.after < stored.max(unstored),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Start {
    pub id: SubscriptionId,
    pub from: Seq,
    /// The head at which it joined: unstored messages up to there are not for it.
    pub joined: Seq,
}

/// Where a subscription begins, if that is after the connection's position.
pub fn start_of(starts_by_id: &[Start], id: SubscriptionId) -> Option<&Start> {
    let at = starts_by_id.partition_point(|start| start.id < id);
    starts_by_id.get(at).filter(|start| start.id == id)
}

/// An HTTP connection between its first byte and its last answer.
pub struct Http {
    pub phase: Phase,
    pub door: Door,
    pub peer: IpAddr,
    pub scan: HeadScan,
    /// When this phase has lasted too long, in monotonic microseconds.
    pub deadline: Option<u64>,
    /// Whether the connection may serve another request after this one.
    pub keep_alive: bool,
    pub framing: Framing,
    /// The request is a HEAD: its answer has no body.
    pub is_head: bool,
    pub body: Option<Body>,
    /// What the session gets of it.
    pub body_mode: BodyMode,
    /// Of a body that the session does not take to its end, so much is dropped before the next request.
    pub dropped_bytes_max: u64,
    /// The dialect's refusal of a body that turns out too large, or breaks a rule.
    pub body_refused: Option<fn(BodyError) -> Response>,
    pub collected: Vec<u8>,
    /// When the body began to arrive, and how much of it has. Times of our own making don't count.
    pub body_since: u64,
    pub body_bytes: u64,
    /// Since when the session has let its body wait.
    pub body_waits_since: Option<u64>,
    /// The client waits for a 100, and whether it lets the connection stay open.
    pub expects: Option<bool>,
    /// The 101 of a WebSocket that is not accepted yet.
    pub upgrade: Option<Response>,
}

impl Http {
    /// Whether another request may follow the answer: what is left of the body is not too much to be dropped before it.
    pub fn stays_open(&mut self) -> bool {
        let bytes_max = self.dropped_bytes_max;
        self.keep_alive && self.body.as_mut().is_none_or(|body| body.bound(bytes_max))
    }
}

/// ```text
///            ┌──────────────────── answered, body dropped ───────────────────┐
///            ▼                                                               │
///   Head ──▶ Body ──▶ Waiting ──▶ answered ──▶ Head        Dropping ◀── answered early
///     │                  │
///     │                  └──▶ Streaming ──▶ finished ──▶ Head
///     └──▶ Upgrading ──▶ accepted: a WebSocket
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for a complete head. `idle`: not one byte of it has come.
    Head {
        idle: bool,
    },
    /// The body that the session takes is arriving.
    Body,
    /// The session has everything and answers in its own time.
    Waiting,
    Streaming,
    /// Answered, but the body is still arriving.
    Dropping,
    /// The session has not accepted or refused the WebSocket yet.
    Upgrading,
}

impl<T> Slot<T> {
    pub fn is(&self, bit: u16) -> bool {
        self.bits & bit != 0
    }

    pub fn set(&mut self, bit: u16, on: bool) {
        if on {
            self.bits |= bit;
        } else {
            self.bits &= !bit;
        }
    }

    pub fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    pub fn http(&mut self) -> Option<&mut Http> {
        self.extra.as_mut()?.http.as_deref_mut()
    }

    pub fn phase(&self) -> Option<Phase> {
        Some(self.extra.as_ref()?.http.as_ref()?.phase)
    }

    /// The session is not ready for the body that it takes: the rest stays in the kernel.
    pub fn body_waits(&self) -> bool {
        let http = self.extra.as_ref().and_then(|extra| extra.http.as_ref());
        http.is_some_and(|http| http.phase == Phase::Body && http.body_waits_since.is_some())
    }

    pub fn lag(&mut self) -> Option<&mut Lag> {
        self.extra.as_mut()?.lag.as_deref_mut()
    }

    pub fn has_lag(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.lag.is_some())
    }

    /// Gives the box back when nothing in it is in use.
    pub fn tidy(&mut self) {
        if self.extra.as_ref().is_some_and(|extra| extra.is_needless()) {
            self.extra = None;
        }
    }

    pub fn subscription_count(&self) -> usize {
        usize::from(self.subscription.is_some()) + self.extra.as_ref().map_or(0, |extra| extra.more.len())
    }

    /// True once after the last subscription went: the hub has to be told with `last`.
    pub fn has_left_all(&mut self) -> bool {
        let all = self.is(bits::COUNTED) && self.subscription_count() == 0;
        if all {
            self.set(bits::COUNTED, false);
        }
        all
    }

    pub fn subscriptions(&self) -> impl Iterator<Item = Subscription> + '_ {
        self.subscription.into_iter().chain(self.extra.iter().flat_map(|extra| extra.more.iter().copied()))
    }

    /// The place that the next subscription gets.
    pub fn next_place(&self) -> u16 {
        self.subscription_count() as u16
    }

    pub fn push_subscription(&mut self, subscription: Subscription) {
        if self.subscription.is_none() {
            self.subscription = Some(subscription);
        } else {
            self.extra().more.push(subscription);
        }
    }

    pub fn subscription_at(&mut self, place: u16) -> &mut Subscription {
        match place {
            0 => self.subscription.as_mut().expect("a listed subscription exists"),
            _ => &mut self.extra().more[usize::from(place) - 1],
        }
    }

    /// Takes one out; the last one moves to its place and is returned: its listener's `place` has to follow.
    pub fn remove_subscription(&mut self, place: u16) -> (Subscription, Option<Subscription>) {
        let last = self.extra.as_mut().and_then(|extra| extra.more.pop());
        let Some(last) = last else {
            debug_assert_eq!(place, 0);
            return (self.subscription.take().expect("a listed subscription exists"), None);
        };
        if usize::from(place) == self.extra().more.len() + 1 {
            return (last, None);
        }
        let removed = std::mem::replace(self.subscription_at(place), last);
        (removed, Some(last))
    }
}
