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
use super::query::{Given, Query};
use super::shared::{Blame, Endpoint, Place, Review, Shared};
use crate::clock::Now;
use crate::exchange::{
    Answer, Grant, Join, JoinRecords, JoinTopic, Joined, Notice, Question, Refusal, Revocation, StartAt, SubscriptionId,
    TokenDigest, owner_topic,
};
use crate::message::{Frame, Seq, TopicName};
use crate::pace::{Beat, Lately, Pulse, Tick};
use crate::record::RecordId;
use crate::session::{Actions, ConnectionLimits, Delivery, Inbound, Session, WorkQueue};
use std::any::Any;
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

const _: () = assert!(size_of::<Connection>() <= 40, "an idle connection is small");

struct User {
    id: RecordId,
    token: TokenDigest,
}

/// What an idle connection does not have.
#[derive(Default)]
struct Extra {
    stage: Option<Stage>,
    /// Frames of the client.
    frames: Lately,
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
        blame: Blame,
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
        let is_on = |name| query.once(name) == Given::Once("1");
        let since = match query.once("fw_since") {
            Given::Once(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok().map(Seq),
            Given::Absent | Given::Once(_) | Given::Twice => None,
        };
        let snapshot = is_on("fw_snapshot");
        Wish { numbered: is_on("fw_seq") || since.is_some() || snapshot, since, snapshot }
    }
}

impl Connection {
    /// A listener of everything, or of what one may see whom the hub has to name first.
    pub fn open(place: Place, caller: Caller, wish: Wish, blame: Blame, actions: &mut Actions) -> Connection {
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
                connection.extra().stage = Some(Stage::Asking { token, blame, wish });
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
    fn granted(&mut self, token: TokenDigest, grant: Option<Grant>, blame: Blame, wish: Wish, actions: &mut Actions) {
        let Some((id, until)) = self.endpoint().project.holder(grant) else {
            return turn_away(self.shared().unknown(blame, actions.now), actions);
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
        if self.extra().frames.count(actions.now.micros, FRAMES_TIME) > FRAMES_MAX {
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
        // What came into force just now may be worse than what this one waits for.
        let is_gone = cause == Cause::OptionsChanged && self.endpoint().review() == Review::Gone;
        match if is_gone { Cause::EndpointGone } else { cause } {
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

impl Session for Connection {
    fn limits(&self) -> &ConnectionLimits {
        let shared = self.shared();
        match self.end().map(|end| end.cause) {
            _ if self.is_silent => &shared.limits.silence,
            Some(Cause::Drained) => &shared.limits.stop,
            Some(Cause::OptionsChanged | Cause::EndpointGone) | None => &shared.limits.usual,
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

    fn fragments(&mut self, count: u32, actions: &mut Actions) {
        for _ in 0..count {
            // The first one that is too many ends it.
            if self.extra().frames.len() <= FRAMES_MAX {
                self.count_frame(actions);
            }
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
            (Some(Stage::Asking { token, blame, wish }), Answer::Grant(grant)) => {
                self.granted(token, grant, blame, wish, actions)
            }
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
        if !self.endpoint().project.loses(revocation, mine.token, mine.id) {
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
            extra.frames.forget(now, FRAMES_TIME);
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

#[cfg(test)]
mod tests {
    use super::super::shared::Live;
    use super::super::testing::{endpoint, enforce, records, text};
    use super::*;
    use crate::exchange::{JoinedTopic, Revocation, TopicId};
    use crate::message::Stamp;
    use crate::record::RecordList;
    use crate::session::Action;
    use crate::websocket::encoder;
    use std::net::IpAddr;
    use std::time::Duration;

    const NOW: Now = Now { micros: 5_000_000, unix_micros: 1_795_191_466_000_000 };
    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const TOKEN: TokenDigest = TokenDigest([7; 32]);
    const USER: RecordId = RecordId(0xabc);

    struct Bench {
        live: Live,
        connection: Connection,
        now: Now,
        /// What the connection wished last, in words, but for when it wants to be woken.
        wished: Vec<String>,
        work: Option<crate::session::Job>,
    }

    impl Bench {
        fn open(name: &str, caller: Caller, query: &str) -> Bench {
            Bench::at(&text("", "", ""), name, caller, query)
        }

        fn at(text: &str, name: &str, caller: Caller, query: &str) -> Bench {
            let live = Live::default();
            enforce(&live, text);
            let place = Place::take(&endpoint(&live, name)).unwrap();
            let mut actions = Actions::new(NOW);
            let connection = Connection::open(place, caller, Wish::of(&Query::read(query)), Blame::Peer(PEER), &mut actions);
            let mut bench = Bench { live, connection, now: NOW, wished: Vec::new(), work: None };
            bench.note(actions);
            bench
        }

        fn note(&mut self, mut actions: Actions) {
            let topic = self.connection.endpoint().topic.as_str().to_owned();
            self.wished.clear();
            for action in actions.drain() {
                let words = match action {
                    Action::Accept => "accept".to_owned(),
                    Action::Send(frame) => format!("send {}", String::from_utf8_lossy(&frame[2..])),
                    Action::Close { code, reason } => format!("close {} {reason}", code.unwrap_or(0)),
                    Action::Join { join, delivery } => {
                        let [wanted] = &join.topics[..] else { panic!("one topic") };
                        let records = join.records.expect("it is of an endpoint");
                        let numbered = delivery == Delivery::Shared(self.connection.shared().encodings.numbered);
                        format!(
                            "join{}{} {:?}{}",
                            wanted.name.as_str().replace(&topic, "").replace('\u{1f}', " "),
                            if numbered { " numbered" } else { "" },
                            wanted.start,
                            records.snapshot.map_or("", |_| " with snapshot"),
                        )
                    }
                    Action::Leave(_) => "leave".to_owned(),
                    Action::Ask(question) => format!("ask {question:?}"),
                    Action::Work { job, .. } => {
                        self.work = Some(job);
                        "work".to_owned()
                    }
                    Action::Discard => "discard".to_owned(),
                    Action::WakeAt(_) => continue,
                    other => format!("{other:?}"),
                };
                self.wished.push(words);
            }
        }

        fn act(&mut self, event: impl FnOnce(&mut Connection, &mut Actions)) -> Vec<&str> {
            let mut actions = Actions::new(self.now);
            event(&mut self.connection, &mut actions);
            self.note(actions);
            self.wished.iter().map(String::as_str).collect()
        }

        fn granted(&mut self, user: &str, seconds: u64) -> Vec<&str> {
            let (group, until) = (self.connection.endpoint().project.group.clone(), NOW.unix_millis() + seconds * 1_000);
            let grant = Grant { group, user: user.into(), until };
            self.act(|session, actions| session.answered(Answer::Grant(Some(grant)), actions))
        }

        fn joined(&mut self, at: u64, gap: bool, records: Option<RecordList>) -> Vec<&str> {
            let head = Stamp { seq: Seq(at), ..Stamp::default() };
            let topic = JoinedTopic { id: CHANGES, topic: TopicId { index: 0, generation: 0 }, from: head.seq };
            let joined =
                Joined { head, topics: vec![topic], start: None, gap, foreign: false, replay: None, document: None, records };
            self.act(|session, actions| session.joined(&joined, actions))
        }

        fn pass(&mut self, time: Duration) {
            self.now.micros += time.as_micros() as u64;
            self.now.unix_micros += time.as_micros() as u64;
        }
    }

    const RESET: &str = r#"send {"type":"RESET","seq":7}"#;

    #[test]
    fn who_needs_no_token_joins_at_once_and_is_accepted_then() {
        for (caller, name) in [(Caller::Anybody, "p/open"), (Caller::Master(None), "p/notes")] {
            let mut bench = Bench::open(name, caller, "");
            assert_eq!(bench.wished, ["join Now"]);
            assert_eq!(bench.joined(7, false, None), ["accept"]);
            assert!(bench.connection.extra.is_none(), "an idle connection is small");
        }
    }

    #[test]
    fn who_has_a_token_joins_its_own_changes_once_it_is_known() {
        let mut bench = Bench::open("p/notes", Caller::Asks(TOKEN), "fw_seq=1");
        assert_eq!(bench.wished, ["ask Grant(TokenDigest(…))"]);
        assert_eq!(bench.granted(&USER.to_string(), 60), [format!("join {USER} numbered Now")]);
        assert_eq!(bench.joined(7, false, None), ["accept"]);
        let others = text("", "", "").replace("secure = true", "secure = true\nread_by_others = true");
        let mut bench = Bench::at(&others, "p/notes", Caller::Asks(TOKEN), "");
        assert_eq!(bench.granted(&USER.to_string(), 60), ["join Now"]);
    }

    #[test]
    fn ep_15_a_token_that_stands_for_nobody_here_is_a_failure() {
        let grants = [None, Some(("elsewhere", USER.to_string())), Some(("$endpoint\u{1f}rested\u{1f}p", "no id".to_owned()))];
        let limited = text("limits.failures_per_minute_per_address = 1", "", "");
        for grant in grants {
            let mut bench = Bench::at(&limited, "p/notes", Caller::Asks(TOKEN), "");
            let answer = grant.map(|(group, user)| Grant { group: group.into(), user: user.into(), until: u64::MAX });
            let told = bench.act(|session, actions| session.answered(Answer::Grant(answer), actions));
            assert_eq!(told, ["close 4000 No Access token or invalid."]);
            let failed = bench.connection.shared().failed(Reject::NotValid, PEER, NOW);
            assert_eq!(failed, Reject::TooManyRequests, "it was counted");
        }
    }

    #[test]
    fn ep_82_a_log_that_does_not_reach_back_is_told_once() {
        let mut bench = Bench::open("p/open", Caller::Anybody, "fw_since=5");
        assert_eq!(bench.wished, ["join numbered After(Seq(5))"]);
        assert_eq!(bench.joined(7, false, None), ["accept"]);
        let mut bench = Bench::open("p/open", Caller::Anybody, "fw_since=5");
        assert_eq!(bench.joined(7, true, None), ["accept", RESET]);
        for malformed in
            ["fw_since=", "fw_since=x", "fw_since=+5", "fw_since=-5", "fw_since=5&fw_since=5", "fw_seq=2", "fw_snapshot=true"]
        {
            assert_eq!(Bench::open("p/open", Caller::Anybody, malformed).wished, ["join Now"], "{malformed}");
        }
    }

    #[test]
    fn ep_83_a_small_snapshot_comes_first() {
        let mut bench = Bench::open("p/open", Caller::Anybody, "fw_snapshot=1");
        assert_eq!(bench.wished, ["join numbered Now with snapshot"]);
        let empty = r#"send {"type":"SNAPSHOT","records":[],"seq":7}"#;
        assert_eq!(bench.joined(7, false, Some(RecordList::default())), ["accept", empty]);
        // With a number only if that does not reach back.
        for (gap, first) in [(false, None), (true, Some(empty))] {
            let mut bench = Bench::open("p/open", Caller::Anybody, "fw_snapshot=1&fw_since=5");
            assert_eq!(bench.wished, ["join numbered After(Seq(5)) with snapshot"]);
            let expected: Vec<&str> = ["accept"].into_iter().chain(first).collect();
            assert_eq!(bench.joined(7, gap, Some(RecordList::default())), expected);
        }
        let small = text("limits.list_bytes_max = 1000", "", "");
        let mut bench = Bench::at(&small, "p/open", Caller::Anybody, "fw_snapshot=1");
        assert_eq!(bench.joined(7, false, Some(records(10, "1"))), ["accept", RESET]);
    }

    #[test]
    fn ep_83_a_large_snapshot_is_written_elsewhere_and_what_follows_it_is_joined_then() {
        let large = || Some(records(1_000, "\"some data\""));
        let begun = || {
            let mut bench = Bench::open("p/open", Caller::Anybody, "fw_snapshot=1");
            assert_eq!(bench.joined(5, false, large()), ["leave", "work"]);
            bench
        };
        let written = |bench: &mut Bench| {
            let result = bench.work.take().unwrap().run().unwrap();
            assert_eq!(bench.act(|session, actions| session.worked(result, actions)), ["join numbered After(Seq(5))"]);
        };
        let mut bench = begun();
        written(&mut bench);
        let told = bench.joined(7, false, None);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0] == "accept" && told[1].ends_with("],\"seq\":5}"), "{told:?}");
        assert!(bench.connection.extra.is_none());
        // What came after it is gone by then.
        let mut bench = begun();
        written(&mut bench);
        assert_eq!(bench.joined(7, true, None), ["accept", RESET]);
        // Nobody has time.
        let mut bench = begun();
        let told = bench.act(|session, actions| session.answered(Answer::Refused(Refusal::Busy), actions));
        assert_eq!(told, ["join numbered Now"]);
        assert_eq!(bench.joined(7, false, None), ["accept", RESET]);
        // It ends while that lasts.
        let mut bench = begun();
        enforce(&bench.live, "[rested]\n");
        let told = bench.act(|session, actions| session.review(&[], actions));
        assert_eq!(told, ["discard", "close 4000 Endpoint or API Key not valid."]);
    }

    #[test]
    fn ep_46_who_expires_while_it_opens_is_not_let_in() {
        let mut bench = Bench::open("p/notes", Caller::Asks(TOKEN), "");
        bench.granted(&USER.to_string(), 2);
        bench.pass(Duration::from_secs(2));
        assert_eq!(bench.joined(7, false, None), ["discard", "close 1000 Access token expired."]);
        let mut bench = Bench::open("p/notes", Caller::Asks(TOKEN), "");
        bench.granted(&USER.to_string(), 2);
        bench.joined(7, false, None);
        bench.pass(Duration::from_millis(1_899));
        assert!(bench.act(|session, actions| session.woken(actions)).is_empty());
        bench.pass(Duration::from_millis(101));
        let told = bench.act(|session, actions| session.woken(actions));
        assert_eq!(told, ["discard", "close 1000 Access token expired."]);
    }

    #[test]
    fn ep_47_a_revocation_ends_those_whom_it_means() {
        let group = || -> Box<str> { "$endpoint\u{1f}rested\u{1f}p".into() };
        let user = |group, user: RecordId, except| Revocation::User { group, user: user.to_string().into(), except };
        for (revocation, ends) in [
            (Revocation::Token(TOKEN), true),
            (Revocation::Token(TokenDigest([8; 32])), false),
            (user(group(), USER, None), true),
            (user(group(), USER, Some(TokenDigest([8; 32]))), true),
            (user(group(), USER, Some(TOKEN)), false),
            (user(group(), RecordId(1), None), false),
            (user("elsewhere".into(), USER, None), false),
        ] {
            let mut bench = Bench::open("p/notes", Caller::Asks(TOKEN), "");
            bench.granted(&USER.to_string(), 60);
            bench.joined(7, false, None);
            let notice = Notice::Revoked(revocation);
            let told = bench.act(|session, actions| session.noticed(&notice, actions));
            let expected: &[&str] = if ends { &["discard", "close 1000 Access token expired."] } else { &[] };
            assert_eq!(told, expected, "{notice:?}");
        }
    }

    #[test]
    fn ep_49_who_joins_under_old_options_is_told_that_they_changed() {
        let changed = "close 1000 Options of the endpoint are changed.";
        let refused = |bench: &mut Bench, refusal| {
            let told = bench.act(|session, actions| session.refused(refusal, actions));
            told.last().copied().unwrap_or_default().to_owned()
        };
        // The hub knows them already, or everybody does.
        let mut bench = Bench::open("p/notes", Caller::Master(None), "");
        assert_eq!(refused(&mut bench, Refusal::TopicMissing), changed);
        let mut bench = Bench::open("p/notes", Caller::Master(None), "");
        enforce(&bench.live, &text("", "disallow_no_origin = true", ""));
        assert_eq!(refused(&mut bench, Refusal::TopicMissing), changed);
        let mut bench = Bench::open("p/notes", Caller::Master(None), "");
        enforce(&bench.live, &text("", "", "").replace(super::super::testing::KEY, "0123456789abcdef"));
        assert_eq!(refused(&mut bench, Refusal::TopicMissing), "close 4000 Endpoint or API Key not valid.");
        let mut bench = Bench::open("p/notes", Caller::Master(None), "");
        assert_eq!(refused(&mut bench, Refusal::TooManyTopics), "close 1013 Too many connections.");
    }

    #[test]
    fn ep_53_what_is_lost_because_of_other_options_is_not_called_slow() {
        let mut bench = Bench::open("p/open", Caller::Anybody, "");
        bench.joined(7, false, None);
        assert_eq!(bench.act(|session, actions| session.too_slow(actions)), ["close 1013 Too slow."]);
        let mut bench = Bench::open("p/open", Caller::Anybody, "");
        bench.joined(7, false, None);
        enforce(&bench.live, &text("", "disallow_no_origin = true", ""));
        let told = bench.act(|session, actions| session.too_slow(actions));
        assert_eq!(told.last(), Some(&"close 1000 Options of the endpoint are changed."));
    }

    #[test]
    fn the_frames_of_the_first_message_are_whole() {
        let mut bench = Bench::open("p/open", Caller::Anybody, "fw_since=5");
        let mut actions = Actions::new(NOW);
        let head = Stamp { seq: Seq(7), ..Stamp::default() };
        let joined = Joined {
            head,
            topics: Vec::new(),
            start: None,
            gap: true,
            foreign: true,
            replay: None,
            document: None,
            records: None,
        };
        bench.connection.joined(&joined, &mut actions);
        let sent = actions.drain().find_map(|action| if let Action::Send(frame) = action { Some(frame) } else { None });
        assert_eq!(sent.as_deref(), Some(&encoder::text(br#"{"type":"RESET","seq":7}"#)[..]));
    }
}
