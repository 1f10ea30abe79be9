//! One client: requests in, replies and subscriptions out, and everything that ends it.
//!
//! ```text
//!  token ─▶ asked of the hub ─▶ accepted ─▶ request ─▶ judged ─▶ replied
//!                                                         │
//!                                                         └──▶ asks the hub ─▶ replied ─▶ next request
//! ```
//! While the hub is asked no further request is read: they take effect, and are answered, in the order they came.

use super::credentials::{self, Judged, Known};
use super::frame::{self, Reply};
use super::handshake::Reject;
use super::message::{self, Act, Malformed, Reference, Request};
use super::name::Name;
use super::options::RejectBy;
use super::permissions::Principal;
use super::shared::{Identity, Place, Project, Proof, Review, Shared, document};
use super::version::Version;
use crate::access::bearer;
use crate::clock::Now;
use crate::exchange::{Answer, Grant, Join, JoinTopic, Joined, Notice, Question, Refusal, StartAt, SubscriptionId, TokenDigest};
use crate::message::{Message, TopicName};
use crate::pace::{Beat, Lately, Pulse, Rate, Tick};
use crate::session::{Actions, ConnectionLimits, Delivery, Inbound, Session};
use crate::websocket::encoder;
use smallvec::SmallVec;
use std::sync::Arc;

/// Messages of a client that are none, within [`MALFORMED_WINDOW`]: the last one is answered, too.
const MALFORMED_MAX: usize = 10;
const MALFORMED_WINDOW_MICROS: u64 = 60_000_000;
/// Messages in a row that are refused for their rate.
const REFUSED_MAX: u32 = 100;

pub struct Connection {
    place: Place,
    identity: Arc<Identity>,
    subscriptions: SmallVec<[Subscription; 1]>,
    rate: Rate,
    extra: Option<Box<Extra>>,
    pulse: Pulse,
    /// When the token expires.
    expires: Tick,
    /// The client has said nothing for too long.
    is_silent: bool,
}

const _: () = assert!(size_of::<Connection>() <= 88, "an idle connection is small");

struct Subscription {
    name: TopicName,
    id: SubscriptionId,
}

/// What an idle connection does not have.
#[derive(Default)]
struct Extra {
    /// What the hub is asked.
    asked: Option<Asked>,
    /// Messages that were none.
    malformed: Lately,
    /// Messages refused since the last one that was not.
    refused: u32,
    end: Option<End>,
}

impl Extra {
    fn is_needless(&self) -> bool {
        let Extra { asked, malformed, refused, end } = self;
        asked.is_none() && malformed.is_empty() && *refused == 0 && end.is_none()
    }
}

/// A question on its way.
enum Asked {
    /// Whom the token of the handshake stands for.
    Open(TokenDigest),
    Authenticate {
        token: TokenDigest,
        reference: Option<Reference>,
    },
    Subscribe {
        id: SubscriptionId,
        wish: Wish,
    },
    /// The newest of what is subscribed to already.
    Again(Wish),
}

/// A subscribe that waits for the document.
struct Wish {
    reference: Option<Reference>,
    name: Name,
    since: Option<Version>,
    snapshot: bool,
}

/// An end that is to come.
#[derive(Clone, Copy)]
struct End {
    /// Monotonic microseconds.
    at: u64,
    cause: Cause,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    Drained,
    OptionsChanged,
}

impl Connection {
    /// Opens a connection of somebody who is known.
    pub fn open(place: Place, identity: Arc<Identity>, until: u64, actions: &mut Actions) -> Connection {
        let mut connection = Connection::new(place, identity, actions);
        connection.expires = Tick::at(actions.now.until_unix(until.saturating_mul(1_000)));
        actions.accept();
        connection.sleep(actions);
        connection
    }

    /// Opens one once the hub has said whom this token stands for.
    pub fn ask(place: Place, world: Option<&str>, token: TokenDigest, actions: &mut Actions) -> Connection {
        let world = world.map(Box::from);
        let nobody = Identity { principal: Principal::Anonymous, world, proof: Proof::Unrevokable };
        let mut connection = Connection::new(place, Arc::new(nobody), actions);
        connection.asks(Asked::Open(token), Question::Grant(token), actions);
        connection
    }

    fn new(place: Place, identity: Arc<Identity>, actions: &Actions) -> Connection {
        let pulse = Pulse::new(place.project().shared.ping_every, actions.index, actions.now.micros);
        Connection {
            place,
            identity,
            subscriptions: SmallVec::new(),
            rate: Rate::default(),
            extra: None,
            pulse,
            expires: Tick::NEVER,
            is_silent: false,
        }
    }

    fn project(&self) -> &Arc<Project> {
        self.place.project()
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.project().shared
    }

    fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    fn tidy(&mut self) {
        if self.extra.as_ref().is_some_and(|extra| extra.is_needless()) {
            self.extra = None;
        }
    }

    fn end(&self) -> Option<End> {
        self.extra.as_ref()?.end
    }

    fn asked(&self) -> Option<&Asked> {
        self.extra.as_ref()?.asked.as_ref()
    }

    fn is_opening(&self) -> bool {
        matches!(self.asked(), Some(Asked::Open(_)))
    }

    fn asks(&mut self, asked: Asked, question: Question, actions: &mut Actions) {
        self.extra().asked = Some(asked);
        actions.ask(question);
    }

    /// What the hub's answer is about.
    fn answers(&mut self) -> Option<Asked> {
        let asked = self.extra.as_mut()?.asked.take();
        self.tidy();
        asked
    }

    /// Asks to be woken for whatever is due first.
    fn sleep(&self, actions: &mut Actions) {
        let silence = self.shared().options.silence_timeout;
        let open = (!self.is_opening()).then(|| self.pulse.due(silence).min(self.expires.micros()));
        let due = [open, self.end().map(|end| end.at)];
        actions.wake_at(due.into_iter().flatten().min().unwrap_or(u64::MAX));
    }

    /// A close that what is queued does not delay: the client may no longer see it.
    fn dismiss(&mut self, reason: &'static str, actions: &mut Actions) {
        actions.discard();
        actions.close(Some(1008), reason);
    }

    fn is_expired(&self, now: Now) -> bool {
        Tick::at(now.micros) >= self.expires
    }

    fn text(&mut self, text: &str, actions: &mut Actions) {
        match message::read(text, &self.shared().options.collection_names) {
            Ok(request) => self.request(request, actions),
            Err(malformed) => self.malformed(&malformed, actions),
        }
    }

    fn malformed(&mut self, malformed: &Malformed, actions: &mut Actions) {
        reply(Reply::Malformed, malformed.reference.as_ref(), malformed.name.as_ref(), actions);
        if self.extra().malformed.count(actions.now.micros, MALFORMED_WINDOW_MICROS) >= MALFORMED_MAX {
            actions.close(Some(1008), "Too many invalid messages");
        }
    }

    fn request(&mut self, request: Request, actions: &mut Actions) {
        let Request { reference, act } = request;
        let limits = &self.place.project().shared.options.limits;
        let (per_second, burst) = (u64::from(limits.messages_per_second), u64::from(limits.messages_burst));
        if !self.rate.take(actions.now.micros, per_second, burst) {
            let name = match &act {
                Act::Subscribe { name, .. } | Act::Unsubscribe { name } => Some(name),
                Act::Authenticate { .. } => None,
            };
            reply(Reply::RateLimited, reference.as_ref(), name, actions);
            let refused = &mut self.extra().refused;
            *refused += 1;
            if *refused >= REFUSED_MAX {
                actions.close(Some(1008), "Rate limit exceeded");
            }
            return;
        }
        if let Some(extra) = &mut self.extra {
            extra.refused = 0;
            self.tidy();
        }
        match act {
            Act::Subscribe { name, since, snapshot } => self.subscribe(Wish { reference, name, since, snapshot }, actions),
            Act::Unsubscribe { name } => {
                self.unsubscribe(&name, actions);
                reply(Reply::Unsubscribed, reference.as_ref(), Some(&name), actions);
            }
            Act::Authenticate { authorization } => self.authenticate(&authorization, reference, actions),
        }
    }

    fn subscribe(&mut self, wish: Wish, actions: &mut Actions) {
        let project = self.project();
        let resource = wish.name.of(self.identity.principal.user());
        let allowed = resource.filter(|resource| self.identity.principal.may_subscribe(resource, &project.options.public));
        let Some(resource) = allowed else {
            return reply(Reply::Forbidden, wish.reference.as_ref(), Some(&wish.name), actions);
        };
        let topic = project.topic(self.identity.world.as_deref(), &resource);
        if self.subscriptions.iter().any(|known| known.name == topic) {
            return self.asks(Asked::Again(wish), Question::Document(topic), actions);
        }
        if self.subscriptions.len() >= self.shared().options.limits.subscriptions_per_connection_max {
            return reply(Reply::TooManySubscriptions, wish.reference.as_ref(), Some(&wish.name), actions);
        }
        let id = self.free_id();
        let joined = JoinTopic { id, name: topic.clone(), start: StartAt::Now, must_have_messages: false };
        let join = Join { topics: vec![joined], document: Some(project.counted()), ..Join::default() };
        let delivery = Delivery::Shared(self.shared().encoding);
        self.subscriptions.push(Subscription { name: topic, id });
        self.extra().asked = Some(Asked::Subscribe { id, wish });
        actions.join(join, delivery);
    }

    /// The smallest number that no subscription has.
    fn free_id(&self) -> SubscriptionId {
        let mut taken: SmallVec<[u16; 16]> = self.subscriptions.iter().map(|known| known.id.0).collect();
        taken.sort_unstable();
        let free = taken.iter().zip(0..).find(|(taken, number)| **taken != *number).map(|(_, number)| number);
        SubscriptionId(free.unwrap_or(taken.len() as u16))
    }

    fn unsubscribe(&mut self, name: &Name, actions: &mut Actions) {
        let Some(resource) = name.of(self.identity.principal.user()) else { return };
        let topic = self.project().topic(self.identity.world.as_deref(), &resource);
        if let Some(place) = self.subscriptions.iter().position(|known| known.name == topic) {
            let known = self.subscriptions.swap_remove(place);
            actions.leave(vec![known.id]);
        }
    }

    fn authenticate(&mut self, authorization: &str, reference: Option<Reference>, actions: &mut Actions) {
        let judged = bearer(authorization).map(|token| credentials::user(self.project(), token, actions.now));
        match judged {
            Some(Judged::Is(known)) => self.renew(Some(known), reference.as_ref(), actions),
            Some(Judged::Asks(token)) => {
                self.asks(Asked::Authenticate { token, reference }, Question::Grant(token), actions);
            }
            Some(Judged::Rejected(_)) | None => self.renew(None, reference.as_ref(), actions),
        }
    }

    /// The same user goes on until another time; for anybody else nothing changes.
    fn renew(&mut self, known: Option<Known>, reference: Option<&Reference>, actions: &mut Actions) {
        let mine = &self.identity;
        let Some(known) = known.filter(|known| known.principal == mine.principal) else {
            return reply(Reply::Forbidden, reference, None, actions);
        };
        let Known { principal, proof, until } = known;
        self.expires = Tick::at(actions.now.until_unix(until.saturating_mul(1_000)));
        self.identity = Arc::new(Identity { principal, world: mine.world.clone(), proof });
        reply(Reply::Authenticated, reference, None, actions);
        self.sleep(actions);
    }

    /// Answers a subscribe with what the document is.
    fn show(&mut self, wish: &Wish, document: Option<&Arc<Message>>, actions: &mut Actions) {
        let reference = wish.reference.as_ref();
        let Some(message) = document.filter(|message| *message.payload != *b"null") else {
            return reply(Reply::Missing(wish.name.kind()), reference, Some(&wish.name), actions);
        };
        if !wish.snapshot || wish.since == Some(Version::at(message.id)) {
            return reply(Reply::Subscribed, reference, Some(&wish.name), actions);
        }
        match reference {
            None => actions.show(self.shared().encoding, message.clone()),
            Some(reference) => {
                let mut text = Vec::with_capacity(message.payload.len() + 256);
                frame::referenced(reference, &self::document(message), &mut text);
                actions.send(encoder::text(&text));
                actions.shown(message.clone());
            }
        }
    }

    /// The hub knows the token of the handshake, or not.
    fn opened(&mut self, token: TokenDigest, grant: Option<Grant>, actions: &mut Actions) {
        match credentials::granted(self.project(), token, grant) {
            Ok(Known { principal, proof, until }) => {
                self.identity = Arc::new(Identity { principal, world: self.identity.world.clone(), proof });
                self.expires = Tick::at(actions.now.until_unix(until.saturating_mul(1_000)));
                actions.accept();
                self.sleep(actions);
            }
            Err(reject) => turn_away(reject, self.shared().options.reject, actions),
        }
    }
}

/// Tells one whose request could be answered with a 101 that it may not come in.
fn turn_away(reject: Reject, by: RejectBy, actions: &mut Actions) {
    match (by, reject.close_code()) {
        (RejectBy::Close, Some(code)) => actions.close(Some(code), reject.text()),
        (RejectBy::Http, _) | (RejectBy::Close, None) => actions.respond(reject.response()),
    }
}

fn reply(kind: Reply, reference: Option<&Reference>, name: Option<&Name>, actions: &mut Actions) {
    let mut text = Vec::new();
    if frame::reply(kind, reference, name, &mut text) {
        actions.send(encoder::text(&text));
    }
}

impl Session for Connection {
    fn limits(&self) -> &ConnectionLimits {
        let shared = self.shared();
        match self.end().map(|end| end.cause) {
            _ if self.is_silent => &shared.limits.silence,
            Some(Cause::Drained) => &shared.limits.stop,
            Some(Cause::OptionsChanged) | None => &shared.limits.usual,
        }
    }

    fn received(&mut self, inbound: Inbound<'_>, actions: &mut Actions) {
        self.pulse.hear(actions.now.micros);
        if let Inbound::Close(code) = inbound {
            return actions.close(code, "");
        }
        if self.is_expired(actions.now) {
            return self.dismiss(EXPIRED, actions);
        }
        match inbound {
            Inbound::Text(text) => self.text(text, actions),
            Inbound::Binary(_) => self.malformed(&Malformed::default(), actions),
            Inbound::Ping | Inbound::Pong | Inbound::Body(_) | Inbound::Part(_) | Inbound::End | Inbound::Close(_) => {}
        }
    }

    fn joined(&mut self, joined: &Joined, actions: &mut Actions) {
        if self.is_expired(actions.now) {
            return self.dismiss(EXPIRED, actions);
        }
        let Some(Asked::Subscribe { id, wish }) = self.answers() else { return };
        // The options of its project changed meanwhile: it has left.
        let Some(known) = self.subscriptions.iter_mut().find(|known| known.id == id) else { return };
        if let Some(message) = &joined.document {
            // The same allocation for everybody who listens.
            known.name = message.topic.clone();
        }
        self.show(&wish, joined.document.as_ref(), actions);
    }

    fn refused(&mut self, _refusal: Refusal, actions: &mut Actions) {
        if let Some(Asked::Subscribe { id, wish }) = self.answers() {
            self.subscriptions.retain(|known| known.id != id);
            reply(Reply::TooManySubscriptions, wish.reference.as_ref(), Some(&wish.name), actions);
        }
    }

    fn answered(&mut self, answer: Answer, actions: &mut Actions) {
        if !self.is_opening() && self.is_expired(actions.now) {
            return self.dismiss(EXPIRED, actions);
        }
        match (self.answers(), answer) {
            (Some(Asked::Open(token)), Answer::Grant(grant)) => self.opened(token, grant, actions),
            (Some(Asked::Authenticate { token, reference }), Answer::Grant(grant)) => {
                let known = credentials::granted(self.project(), token, grant).ok();
                self.renew(known, reference.as_ref(), actions);
            }
            // What has left meanwhile, because the options of its project changed, shows nothing.
            (Some(Asked::Again(wish)), Answer::Document(document)) if !self.subscriptions.is_empty() => {
                self.show(&wish, document.as_ref(), actions);
            }
            // Nothing else is asked.
            (Some(_) | None, _) => {}
        }
    }

    fn noticed(&mut self, notice: &Notice, actions: &mut Actions) {
        let Notice::Revoked(revocation) = notice else { return };
        let Proof::Token(token) = self.identity.proof else { return };
        let is_mine = |group: &str, user: &str| *group == *self.project().group && self.identity.principal.user() == Some(user);
        if revocation.covers(token, is_mine) {
            self.dismiss(REVOKED, actions);
        }
    }

    fn woken(&mut self, actions: &mut Actions) {
        let now = actions.now.micros;
        if let Some(end) = self.end()
            && end.at <= now
        {
            return match end.cause {
                Cause::Drained if self.is_opening() => turn_away(Reject::Draining, self.shared().options.reject, actions),
                Cause::Drained => actions.close(Some(1001), Reject::Draining.text()),
                Cause::OptionsChanged => self.dismiss("Options changed", actions),
            };
        }
        if self.is_opening() {
            return self.sleep(actions);
        }
        if self.is_expired(actions.now) {
            return self.dismiss(EXPIRED, actions);
        }
        let (every, silence) = (self.shared().ping_every, self.shared().options.silence_timeout);
        match self.pulse.look(every, silence, actions.heard, now) {
            Beat::Gone => {
                self.is_silent = true;
                return actions.close(Some(1001), "Idle timeout");
            }
            Beat::Ping => actions.ping(self.shared().ping.clone()),
            Beat::Nothing => {}
        }
        if let Some(extra) = &mut self.extra {
            extra.malformed.forget(now, MALFORMED_WINDOW_MICROS);
            self.tidy();
        }
        self.sleep(actions);
    }

    /// Nothing is lost of a document: its newest state is always there. So this is for what must not be.
    fn too_slow(&mut self, actions: &mut Actions) {
        actions.hangup();
    }

    fn violation(&self, code: u16) -> &'static str {
        match code {
            1007 => "Invalid UTF-8",
            1009 => "Message too big",
            _ => "Protocol error",
        }
    }

    fn draining(&mut self, actions: &mut Actions) {
        let at = self.shared().goodbyes.due(actions.index, actions.now.micros);
        // An end that is to come already stays what it is: who has to go for another reason is not heard again until then.
        let end = self.extra().end.get_or_insert(End { at, cause: Cause::Drained });
        end.at = end.at.min(at);
        self.sleep(actions);
    }

    fn review(&mut self, _topics: &[(SubscriptionId, TopicName)], actions: &mut Actions) {
        if self.end().is_some_and(|end| end.cause == Cause::OptionsChanged) {
            return;
        }
        match self.project().review(&self.identity) {
            Review::Same => {}
            Review::Revoked => self.dismiss(REVOKED, actions),
            Review::Changed(delay) => {
                // Nothing more is delivered from now on.
                let ids: Vec<SubscriptionId> = self.subscriptions.drain(..).map(|known| known.id).collect();
                actions.discard();
                actions.leave(ids);
                let at = actions.now.after(delay);
                self.extra().end = Some(End { at, cause: Cause::OptionsChanged });
                if delay.is_zero() { self.woken(actions) } else { self.sleep(actions) }
            }
        }
    }

    fn accepts_input(&self) -> bool {
        let changed = self.end().is_some_and(|end| end.cause == Cause::OptionsChanged);
        !changed && self.asked().is_none()
    }
}

const EXPIRED: &str = "Access token expired";
const REVOKED: &str = "Access revoked";
