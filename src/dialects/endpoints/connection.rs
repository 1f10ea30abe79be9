//! One listener: from its request to whatever ends it.
//!
//! ```text
//!  token ─▶ asked of the hub ─▶ joins ─▶ accepted ─▶ changes
//!                                 │         ▲
//!                    large snapshot         │
//!                                 └─▶ written elsewhere ─▶ joins after it
//! ```

use super::checks::{Caller, Reject};
use super::encoders::{list_bytes, reset, snapshot};
use super::query::Query;
use super::shared::{Endpoint, Place, Review, Shared};
use crate::clock::Now;
use crate::exchange::{
    Answer, Grant, Join, JoinRecords, JoinTopic, Joined, Notice, Question, Refusal, Revocation, StartAt, SubscriptionId,
    TokenDigest, owner_topic,
};
use crate::message::{Frame, Seq, TopicName};
use crate::pace::{Beat, Pulse, Tick};
use crate::record::RecordId;
use crate::session::{Actions, ConnectionLimits, Delivery, Inbound, Session, WorkQueue};
use std::any::Any;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

/// Frames that a client may send within [`FRAMES_TIME`].
const FRAMES_MAX: usize = 20;
const FRAMES_TIME: u64 = 10_000_000;
/// A snapshot of more bytes is not written on the reactor.
const INLINE_BYTES_MAX: usize = 64 << 10;
/// The only subscription.
const CHANGES: SubscriptionId = SubscriptionId(0);

pub struct Connection {
    place: Place,
    /// Whose token it came with.
    user: Option<Box<User>>,
    extra: Option<Box<Extra>>,
    pulse: Pulse,
    /// When the token expires.
    expires: Tick,
    /// Changes have their numbers.
    numbered: bool,
    /// A pong has been asked for.
    pinged: bool,
    /// The client has said nothing for too long.
    is_silent: bool,
}

const _: () = assert!(size_of::<Connection>() <= 48, "an idle connection is small");

struct User {
    id: RecordId,
    token: TokenDigest,
}

/// What an idle connection does not have.
#[derive(Default)]
struct Extra {
    stage: Option<Stage>,
    /// When frames came from the client, in monotonic microseconds.
    frames: VecDeque<u64>,
    end: Option<End>,
}

impl Extra {
    fn is_needless(&self) -> bool {
        let Extra { stage, frames, end } = self;
        stage.is_none() && frames.is_empty() && end.is_none()
    }
}

/// How far the opening has come.
enum Stage {
    Asking {
        token: TokenDigest,
        peer: IpAddr,
        wish: Wish,
    },
    Joining(Wish),
    /// The snapshot of this place is being written.
    Writing(Seq),
    /// The snapshot is sent once the changes after it are joined; there may be none.
    Following(Option<Frame>),
}

/// An end that is to come.
#[derive(Clone, Copy)]
struct End {
    /// Monotonic microseconds.
    at: u64,
    cause: Cause,
}

/// The later one wins where two meet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    Drained,
    OptionsChanged,
    EndpointGone,
}

/// What a client asks for with the reserved parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Changes with their numbers.
    pub numbered: bool,
    /// First what came after this place.
    pub since: Option<Seq>,
    /// First the records, unless what came since is still there.
    pub snapshot: bool,
}

impl Wish {
    /// What is malformed is ignored.
    pub fn of(query: &Query<'_>) -> Wish {
        let is_on = |name| query.first(name) == Some("1");
        let since = query.first("fw_since").filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let since = since.and_then(|text| text.parse().ok()).map(Seq);
        let snapshot = is_on("fw_snapshot");
        Wish { numbered: is_on("fw_seq") || since.is_some() || snapshot, since, snapshot }
    }
}

impl Connection {
    /// A listener of everything, or of what one may see whom the hub has to name first. `peer` is where the request came from.
    pub fn open(place: Place, caller: Caller, wish: Wish, peer: IpAddr, actions: &mut Actions) -> Connection {
        let pulse = Pulse::new(place.endpoint().shared.ping_every, actions.index, actions.now.micros);
        let mut connection = Connection {
            place,
            user: None,
            extra: None,
            pulse,
            expires: Tick::NEVER,
            numbered: wish.numbered,
            pinged: false,
            is_silent: false,
        };
        match caller {
            Caller::Anybody | Caller::Master(_) => connection.join(wish, actions),
            Caller::Asks(token) => {
                connection.extra().stage = Some(Stage::Asking { token, peer, wish });
                actions.ask(Question::Grant(token));
            }
        }
        connection.sleep(actions);
        connection
    }

    fn endpoint(&self) -> &Arc<Endpoint> {
        self.place.endpoint()
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.endpoint().shared
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

    fn is_opening(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.stage.is_some())
    }

    fn take_stage(&mut self) -> Option<Stage> {
        self.extra.as_mut()?.stage.take()
    }

    /// Whose records are listened to; `None`: everybody's.
    fn owner(&self) -> Option<RecordId> {
        let user = self.user.as_ref()?;
        (!self.endpoint().options.read_by_others).then_some(user.id)
    }

    fn join(&mut self, wish: Wish, actions: &mut Actions) {
        let start = wish.since.map_or(StartAt::Now, StartAt::After);
        let owner = self.owner();
        self.join_changes(start, wish.snapshot.then_some(owner), actions);
        self.extra().stage = Some(Stage::Joining(wish));
    }

    fn join_changes(&self, start: StartAt, snapshot: Option<Option<RecordId>>, actions: &mut Actions) {
        let endpoint = self.endpoint();
        let topic = &endpoint.topic;
        let name = self.owner().map_or_else(|| topic.clone(), |owner| owner_topic(topic, owner));
        let encodings = &self.shared().encodings;
        let encoding = if self.numbered { encodings.numbered } else { encodings.plain };
        let join = Join {
            topics: vec![JoinTopic { id: CHANGES, name, start, must_have_messages: false }],
            reach: self.shared().reach(),
            records: Some(JoinRecords { endpoint: topic.clone(), generation: endpoint.generation, snapshot }),
            ..Join::default()
        };
        actions.join(join, Delivery::Shared(encoding));
    }

    /// The changes are joined: whatever comes first is sent before them.
    fn begin(&mut self, wish: Wish, joined: &Joined, actions: &mut Actions) {
        let at = joined.head.seq;
        let records = joined.records.as_ref().filter(|_| joined.gap || wish.since.is_none());
        let Some(records) = records else {
            return self.accept(joined.gap.then(|| reset(at).into()), actions);
        };
        match list_bytes(records) {
            bytes if bytes as u64 > self.shared().options.limits.list_bytes_max => self.accept(Some(reset(at).into()), actions),
            bytes if bytes <= INLINE_BYTES_MAX => self.accept(Some(snapshot(records, at).into()), actions),
            _ => {
                // Nothing may come before it, and it takes its time.
                actions.leave(vec![CHANGES]);
                let records = records.clone();
                actions.work(WorkQueue::Documents, move || Frame::from(snapshot(&records, at)));
                self.extra().stage = Some(Stage::Writing(at));
            }
        }
    }

    /// Joins what comes after a snapshot.
    fn follow(&mut self, start: StartAt, snapshot: Option<Frame>, actions: &mut Actions) {
        self.join_changes(start, None, actions);
        self.extra().stage = Some(Stage::Following(snapshot));
    }

    fn accept(&mut self, first: Option<Frame>, actions: &mut Actions) {
        self.tidy();
        actions.accept();
        if let Some(first) = first {
            actions.send(first);
        }
        self.sleep(actions);
    }

    /// The hub knows the token, or not.
    fn granted(&mut self, token: TokenDigest, grant: Option<Grant>, peer: IpAddr, wish: Wish, actions: &mut Actions) {
        let grant = grant.filter(|grant| grant.group == self.endpoint().project.group);
        let known = grant.and_then(|grant| Some((RecordId::parse(&grant.user)?, grant.until)));
        let Some((id, until)) = known else {
            return turn_away(self.shared().failed(Reject::NoToken, peer, actions.now), actions);
        };
        self.user = Some(Box::new(User { id, token }));
        self.expires = Tick::at(actions.now.until_unix(until.saturating_mul(1_000)));
        self.join(wish, actions);
        self.sleep(actions);
    }

    fn is_expired(&self, now: Now) -> bool {
        Tick::at(now.micros) >= self.expires
    }

    /// A close that what is queued does not delay: the client may no longer see it.
    fn dismiss(&mut self, code: u16, reason: &'static str, actions: &mut Actions) {
        actions.discard();
        actions.close(Some(code), reason);
    }

    fn expire(&mut self, actions: &mut Actions) {
        self.dismiss(1000, EXPIRED, actions);
    }

    /// Asks to be woken for whatever is due first.
    fn sleep(&self, actions: &mut Actions) {
        let open = (!self.is_opening()).then(|| self.pulse.due(self.shared().options.silence_timeout));
        let due = [open, Some(self.expires.micros()), self.end().map(|end| end.at)];
        actions.wake_at(due.into_iter().flatten().min().unwrap_or(u64::MAX));
    }

    /// What the client sends means nothing; there just must not be too much of it.
    fn count_frame(&mut self, actions: &mut Actions) {
        let now = actions.now.micros;
        let frames = &mut self.extra().frames;
        forget(frames, now);
        frames.push_back(now);
        if frames.len() > FRAMES_MAX {
            actions.close(Some(1008), "Too many messages.");
        }
    }

    /// Whether the options in force have something against this connection. Nothing more is delivered to it then, and it is closed in
    /// its slice.
    fn is_outdated(&mut self, actions: &mut Actions) -> bool {
        let cause = match self.endpoint().review() {
            Review::Same => return false,
            Review::Changed => Cause::OptionsChanged,
            Review::Gone => Cause::EndpointGone,
        };
        if self.is_opening() {
            self.finish(cause, actions);
            return true;
        }
        if let Some(end) = &mut self.extra().end
            && end.cause != Cause::Drained
        {
            // It has left already.
            end.cause = end.cause.max(cause);
            return true;
        }
        actions.discard();
        actions.leave(vec![CHANGES]);
        let at = actions.now.after(self.endpoint().closing_delay());
        let end = self.extra().end.get_or_insert(End { at, cause });
        *end = End { at: end.at.min(at), cause };
        if at <= actions.now.micros {
            self.woken(actions)
        } else {
            self.sleep(actions)
        }
        true
    }

    fn finish(&mut self, cause: Cause, actions: &mut Actions) {
        match cause {
            Cause::Drained => turn_away(Reject::Draining, actions),
            Cause::OptionsChanged => self.dismiss(1000, "Options of the endpoint are changed.", actions),
            Cause::EndpointGone => {
                actions.discard();
                turn_away(Reject::NotValid, actions);
            }
        }
    }
}

const EXPIRED: &str = "Access token expired.";

fn turn_away(reject: Reject, actions: &mut Actions) {
    let (code, reason) = reject.close();
    actions.close(Some(code), reason);
}

/// Forgets what lies before the window.
fn forget(frames: &mut VecDeque<u64>, now: u64) {
    while frames.front().is_some_and(|&at| at + FRAMES_TIME <= now) {
        frames.pop_front();
    }
}

impl Session for Connection {
    fn limits(&self) -> &ConnectionLimits {
        let shared = self.shared();
        match self.end().map(|end| end.cause) {
            _ if self.is_silent => &shared.limits_of_silence,
            Some(Cause::Drained) => &shared.limits_of_a_stop,
            Some(Cause::OptionsChanged | Cause::EndpointGone) | None => &shared.limits,
        }
    }

    fn received(&mut self, inbound: Inbound<'_>, actions: &mut Actions) {
        self.pulse.hear(actions.now.micros);
        match inbound {
            Inbound::Close(code) => actions.close(code, ""),
            _ if self.is_expired(actions.now) => self.expire(actions),
            // The answer to our ping costs it nothing.
            Inbound::Pong if std::mem::take(&mut self.pinged) => {}
            Inbound::Text(_) | Inbound::Binary(_) | Inbound::Ping | Inbound::Pong => self.count_frame(actions),
            Inbound::Body(_) | Inbound::Part(_) | Inbound::End => {}
        }
    }

    fn joined(&mut self, joined: &Joined, actions: &mut Actions) {
        let stage = self.take_stage();
        if self.is_expired(actions.now) {
            return self.expire(actions);
        }
        match stage {
            Some(Stage::Joining(wish)) => self.begin(wish, joined, actions),
            Some(Stage::Following(snapshot)) => {
                // What came after it may be gone already.
                let snapshot = snapshot.filter(|_| !joined.gap);
                self.accept(Some(snapshot.unwrap_or_else(|| reset(joined.head.seq).into())), actions);
            }
            // Neither has asked for it.
            Some(Stage::Asking { .. } | Stage::Writing(_)) | None => {}
        }
    }

    fn refused(&mut self, refusal: Refusal, actions: &mut Actions) {
        if self.is_outdated(actions) {
            return;
        }
        match refusal {
            // The hub knows the newest options, which are about to come here.
            Refusal::TopicMissing => self.finish(Cause::OptionsChanged, actions),
            Refusal::TopicFull | Refusal::TooManyTopics | Refusal::OutOfMemory | Refusal::Busy | Refusal::StorageUnavailable => {
                turn_away(Reject::TooManyConnections, actions)
            }
        }
    }

    fn answered(&mut self, answer: Answer, actions: &mut Actions) {
        match (self.take_stage(), answer) {
            (Some(Stage::Asking { token, peer, wish }), Answer::Grant(grant)) => self.granted(token, grant, peer, wish, actions),
            // Nobody has time to write it: the client has to read the records anew.
            (Some(Stage::Writing(_)), Answer::Refused(_)) => self.follow(StartAt::Now, None, actions),
            // Nothing else is asked.
            (Some(_) | None, _) => {}
        }
    }

    fn worked(&mut self, result: Box<dyn Any + Send>, actions: &mut Actions) {
        if let (Some(Stage::Writing(at)), Ok(snapshot)) = (self.take_stage(), result.downcast::<Frame>()) {
            self.follow(StartAt::After(at), Some(*snapshot), actions);
        }
    }

    fn noticed(&mut self, notice: &Notice, actions: &mut Actions) {
        let (Notice::Revoked(revocation), Some(mine)) = (notice, &self.user) else { return };
        if !revocation.covers(mine.token, &self.endpoint().project.group, mine.id) {
            return;
        }
        match revocation {
            // What became of the user is told here, just before it.
            Revocation::User { .. } if self.endpoint().options.auth => actions.close(Some(1000), EXPIRED),
            Revocation::User { .. } | Revocation::Token(_) => self.expire(actions),
        }
    }

    fn woken(&mut self, actions: &mut Actions) {
        let now = actions.now.micros;
        if let Some(end) = self.end()
            && end.at <= now
        {
            return self.finish(end.cause, actions);
        }
        if self.is_expired(actions.now) {
            return self.expire(actions);
        }
        if self.is_opening() {
            return self.sleep(actions);
        }
        let (every, silence) = (self.shared().ping_every, self.shared().options.silence_timeout);
        match self.pulse.look(every, silence, actions.heard, now) {
            Beat::Gone => {
                self.is_silent = true;
                return actions.close(Some(1001), "Idle timeout.");
            }
            Beat::Ping => {
                self.pinged = true;
                actions.ping(self.shared().ping.clone());
            }
            Beat::Nothing => {}
        }
        if let Some(extra) = &mut self.extra {
            forget(&mut extra.frames, now);
            self.tidy();
        }
        self.sleep(actions);
    }

    fn too_slow(&mut self, actions: &mut Actions) {
        // Changes that were committed under other options are lost to it, too.
        if !self.is_outdated(actions) {
            actions.close(Some(1013), "Too slow.");
        }
    }

    fn violation(&self, code: u16) -> &'static str {
        match code {
            1007 => "Invalid UTF-8.",
            1009 => "Message too big.",
            _ => "Protocol error.",
        }
    }

    fn draining(&mut self, actions: &mut Actions) {
        let at = self.shared().goodbyes.due(actions.index, actions.now.micros);
        // An end that is to come already stays what it is.
        let end = self.extra().end.get_or_insert(End { at, cause: Cause::Drained });
        end.at = end.at.min(at);
        self.sleep(actions);
    }

    fn review(&mut self, _topics: &[(SubscriptionId, TopicName)], actions: &mut Actions) {
        self.is_outdated(actions);
    }

    fn accepts_input(&self) -> bool {
        self.end().is_none_or(|end| end.cause == Cause::Drained)
    }
}
