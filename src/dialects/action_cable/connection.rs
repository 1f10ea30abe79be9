//! One cable connection: commands in, answers and subscriptions out, and the clock of its pings.
//!
//! ```text
//!  command ─▶ judged ─▶ answered
//!                │
//!                └──▶ asks the hub (join, history, resume) ─▶ answered ─▶ next command
//! ```
//! While the hub is asked no further command is read: commands take effect, and are answered, in the order they came.

use super::channel::{Reject, admit};
use super::command::{self, BadInput, Command, History};
use super::frames::{self, Reason, Verdict};
use super::history;
use super::identifier;
use super::options::{ConnectAuth, DuplicateSubscribe, OnKeyRemoved};
use super::pings::Pings;
use super::rules::Key;
use super::shared::{Place, Shared};
use super::subscriptions::{State, Subscription, Subscriptions, join_topic};
use crate::exchange::{
    self, After, Answer, ConversationId, Entry, Join, Joined, Legacy, Missed, Notice, Question, Refusal, Replay, SubscriptionId,
};
use crate::message::{EncodingId, Frame, Message, Seq, Stamp, TopicName};
use crate::pace::Rate;
use crate::session::{Actions, ConnectionLimits, Delivery, Inbound, Session};
use std::collections::VecDeque;
use std::sync::Arc;

/// Bad input that the flood guard lets pass at once, in seconds of its rate.
const BAD_BURST_SECONDS: u64 = 5;
/// Frames of any kind that a client may send, pings and pongs too.
const FRAMES_PER_SECOND: u64 = 200;
const FRAMES_BURST: u64 = 10 * FRAMES_PER_SECOND;

pub struct Connection {
    place: Place,
    subscriptions: Subscriptions,
    pings: Pings,
    frames: Rate,
    bad: Rate,
    extra: Option<Box<Extra>>,
    /// The client knows `actioncable-unsupported`, as those of Rails do.
    is_rails: bool,
    /// A close was sent: nothing of it can be resumed.
    is_over: bool,
}

const _: () = assert!(size_of::<Connection>() <= 72, "an idle connection is small");

/// What an idle connection of the base protocol does not have.
#[derive(Default)]
struct Extra {
    /// What the hub was asked, in the order of its answers.
    asked: VecDeque<Asked>,
    /// The key that the connection itself needed.
    own_key: Option<Arc<Key>>,
    /// Keys of subscriptions that are no more: it is still known under their names.
    former_keys: Vec<Arc<Key>>,
    /// When it says goodbye because the server stops.
    drains_at: Option<u64>,
    extended: Option<Extended>,
}

impl Extra {
    fn is_needless(&self) -> bool {
        let Extra { asked, own_key, former_keys, drains_at, extended } = self;
        asked.is_empty() && own_key.is_none() && former_keys.is_empty() && drains_at.is_none() && extended.is_none()
    }
}

/// What only a connection of the extended protocol has.
struct Extended {
    conversation: ConversationId,
    /// When restored subscriptions whose client says nothing wait no longer.
    holds_until: Option<u64>,
    /// When a client that says nothing after a ping is given up.
    silent_at: Option<u64>,
}

/// A question on its way. `first` is the first id of the streams that it is about.
enum Asked {
    Subscribe {
        first: u16,
        history: bool,
    },
    /// The client of a restored subscription has said what it has; `false`: nothing in time, or nothing that helps.
    Release {
        first: u16,
        history: bool,
    },
    /// Whether all that the client of a restored subscription has missed is still there.
    Weigh {
        first: u16,
        missed: Vec<Missed>,
    },
    /// The stream's topic was deleted by somebody; whoever listens to a name goes on listening.
    Rejoin {
        id: u16,
    },
    History {
        first: u16,
    },
    Resume,
}

impl Connection {
    pub fn new(place: Place, pings: Pings, key: Option<Arc<Key>>, is_rails: bool) -> Connection {
        Connection {
            place,
            subscriptions: Subscriptions::default(),
            pings,
            frames: Rate::default(),
            bad: Rate::default(),
            extra: key.map(|key| Box::new(Extra { own_key: Some(key), ..Extra::default() })),
            is_rails,
            is_over: false,
        }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.place.0
    }

    fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    fn extended(&self) -> Option<&Extended> {
        self.extra.as_ref()?.extended.as_ref()
    }

    fn extended_mut(&mut self) -> Option<&mut Extended> {
        self.extra.as_mut()?.extended.as_mut()
    }

    fn drains_at(&self) -> Option<u64> {
        self.extra.as_ref()?.drains_at
    }

    /// Opens a base connection.
    pub fn greet(&mut self, actions: &mut Actions) {
        actions.accept();
        actions.send(frames::welcome());
        self.sleep(actions);
    }

    /// Opens an extended connection, once it is known what the one that it resumes has left.
    pub fn greet_extended(&mut self, resumes: Option<ConversationId>, actions: &mut Actions) {
        let conversation = self.shared().live.conversation();
        self.extra().extended = Some(Extended { conversation, holds_until: None, silent_at: None });
        actions.introduce(conversation);
        match resumes {
            Some(earlier) => self.ask(Asked::Resume, Question::Resume(earlier), actions),
            None => self.welcome(None, actions),
        }
    }

    /// Opens a connection only to turn it away.
    pub fn refuse(&mut self, actions: &mut Actions) {
        self.goodbye(Reason::Unauthorized, false, actions);
    }

    fn welcome(&mut self, restored: Option<&[&[u8]]>, actions: &mut Actions) {
        if let Some(extended) = self.extended() {
            actions.accept();
            actions.send(frames::welcome_extended(extended.conversation, restored));
        }
        self.sleep(actions);
    }

    fn goodbye(&mut self, reason: Reason, reconnect: bool, actions: &mut Actions) {
        if self.is_over {
            return;
        }
        self.shared().live.counters.disconnected(reason);
        // One that waits for what it resumes is not open yet.
        actions.accept();
        if self.shared().disconnect_frame {
            actions.send(frames::disconnect(reason, reconnect));
        }
        self.close(1000, actions);
    }

    fn close(&mut self, code: u16, actions: &mut Actions) {
        self.is_over = true;
        actions.close(Some(code), "");
    }

    /// It waits for what it resumes: nothing may be sent before the 101.
    fn is_resuming(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| matches!(extra.asked.front(), Some(Asked::Resume)))
    }

    /// Asks to be woken for whatever is due first.
    fn sleep(&self, actions: &mut Actions) {
        let extended = self.extended();
        let due = [
            self.drains_at(),
            extended.and_then(|extended| extended.holds_until),
            extended.and_then(|extended| extended.silent_at),
            (!self.is_resuming()).then(|| self.pings.due()),
        ];
        actions.wake_at(due.into_iter().flatten().min().unwrap_or(u64::MAX));
    }

    fn bad_input(&mut self, bad: BadInput, actions: &mut Actions) {
        let live = &self.shared().live;
        live.counters.bad_input(bad);
        let rate = u64::from(live.rules.load().bad_input_rate);
        if bad.is_guarded() && !self.bad.take(actions.now.micros, rate, rate * BAD_BURST_SECONDS) {
            self.close(1008, actions);
        }
    }

    fn command(&mut self, command: Command, actions: &mut Actions) {
        match command {
            Command::Subscribe { identifier, history } => self.subscribe(&identifier, history, actions),
            Command::Unsubscribe { identifier } => match self.subscriptions.remove(&identifier::token(&identifier)) {
                Some(subscription) => self.unsubscribed(&subscription, actions),
                None => self.bad_input(BadInput::NotLive, actions),
            },
            Command::Message { identifier } => match self.subscriptions.find(&identifier::token(&identifier)) {
                Some(_) => self.shared().live.counters.performs_ignored.count(1),
                None => self.bad_input(BadInput::NotLive, actions),
            },
            Command::History { identifier, history } => self.history(&identifier::token(&identifier), &history, actions),
            Command::Whisper { identifier, data } => self.whisper(&identifier::token(&identifier), data, actions),
            Command::Presence { identifier } => {
                actions.send(frames::no_presence(identifier::token(&identifier).as_bytes()));
            }
            Command::Ping => actions.send(frames::pong()),
            // Proof of life, as any command is; joining and leaving belong to presence.
            Command::Pong | Command::Join { .. } | Command::Leave { .. } => {}
        }
    }

    fn subscribe(&mut self, identifier: &str, history: Option<History>, actions: &mut Actions) {
        let token = identifier::token(identifier);
        if self.subscriptions.find(&token).is_some() {
            return self.subscribe_again(&token, history, actions);
        }
        match self.admitted(identifier, State::Joining) {
            Ok(first) => self.join(first, history.as_ref(), actions),
            Err(cause) => {
                self.shared().live.counters.rejected(Some(cause));
                actions.send(frames::verdict(token.as_bytes(), Verdict::Reject));
            }
        }
    }

    /// Enters an identifier that the rules allow; returns the first id of its streams.
    fn admitted(&mut self, identifier: &str, state: State) -> Result<u16, Reject> {
        let rules = self.shared().live.rules.load();
        let accepted = admit(&rules, identifier)?;
        let first = self.subscriptions.enter(identifier, accepted, state, rules.subscriptions_max)?.first;
        self.shared().live.counters.subscriptions.count(1);
        Ok(first)
    }

    /// The identifier is live: never a second delivery (specification, section 5.4).
    fn subscribe_again(&mut self, token: &str, history: Option<History>, actions: &mut Actions) {
        let live = &self.shared().live;
        live.counters.duplicates.count(1);
        let confirms = match live.rules.load().duplicate_subscribe {
            DuplicateSubscribe::Auto => self.is_rails,
            DuplicateSubscribe::Ignore => false,
            DuplicateSubscribe::Confirm => true,
        };
        if confirms {
            actions.send(frames::verdict(token.as_bytes(), Verdict::Confirm));
        }
        if let Some(history) = history {
            self.history(token, &history, actions);
        }
    }

    /// Has the hub attach what a `subscribe` named, if that is anything.
    fn join(&mut self, first: u16, history: Option<&History>, actions: &mut Actions) {
        let reach = self.shared().reach;
        let Some(subscription) = self.subscriptions.newest() else { return };
        let missed = history.and_then(|history| history::missed(subscription, history));
        if subscription.count == 0 {
            subscription.state = State::Live;
            let frame = frames::verdict(subscription.token(), Verdict::Confirm);
            let token: Box<[u8]> = subscription.token().into();
            self.shared().live.counters.confirms.count(1);
            actions.send(frame);
            if history.is_some() {
                self.tell_history(&token, missed.is_some(), actions);
            }
            return;
        }
        let topics = subscription.topics();
        // A history that cannot be read is rejected behind the confirm.
        let join = Join { topics, reach, history: missed, ..Join::default() };
        let prefix = subscription.prefix.clone();
        let encoding = self.encoding(first);
        if self.extended().is_none()
            && let Some(subscription) = self.subscriptions.newest()
        {
            // Nobody asks for the names again.
            subscription.streams = Box::default();
        }
        self.asked(Asked::Subscribe { first, history: history.is_some() });
        actions.join(join, Delivery::Prefixed { encoding, prefix });
    }

    /// Positions are for connections that know them, in channels that have a history.
    fn encoding(&mut self, first: u16) -> EncodingId {
        let encodings = self.shared().encodings;
        let positioned = self.extended().is_some();
        match self.subscriptions.of(SubscriptionId(first)) {
            Some(subscription) if positioned && subscription.channel.history => encodings.extended,
            Some(_) | None => encodings.base,
        }
    }

    fn asked(&mut self, asked: Asked) {
        self.extra().asked.push_back(asked);
    }

    fn ask(&mut self, asked: Asked, question: Question, actions: &mut Actions) {
        self.asked(asked);
        actions.ask(question);
    }

    /// What the hub's next answer is about.
    fn answers(&mut self) -> Option<Asked> {
        let front = self.extra.as_mut()?.asked.pop_front();
        if self.extra.as_ref().is_some_and(|extra| extra.is_needless()) {
            self.extra = None;
        }
        front
    }

    fn unsubscribed(&mut self, subscription: &Subscription, actions: &mut Actions) {
        if let Some(key) = &subscription.key
            && !self.keys().any(|known| known.name == key.name)
        {
            self.extra().former_keys.push(key.clone());
        }
        self.shared().live.counters.subscriptions.sub(1);
        if subscription.count > 0 && subscription.state == State::Live {
            actions.leave(subscription.ids().collect());
        }
    }

    /// Every key that it presented: the names under which it is known.
    fn keys(&self) -> impl Iterator<Item = &Arc<Key>> {
        let extra = self.extra.iter().flat_map(|extra| extra.own_key.iter().chain(&extra.former_keys));
        self.subscriptions.iter().filter_map(|subscription| subscription.key.as_ref()).chain(extra)
    }

    fn history(&mut self, token: &str, wish: &History, actions: &mut Actions) {
        let reach = self.shared().reach;
        let Some(subscription) = self.subscriptions.find(token) else {
            return self.tell_history(token.as_bytes(), false, actions);
        };
        let first = subscription.first;
        match (history::missed(subscription, wish), subscription.state) {
            (None, State::Live | State::Joining) => self.tell_history(token.as_bytes(), false, actions),
            (None, State::Held) => self.hold_without_history(first, actions),
            // A reject must not take along what has come since it was restored: that is live.
            (Some(missed), State::Held) => {
                // From here on its client has said something: the end of the hold does not concern it.
                subscription.state = State::Joining;
                let question = Question::History { missed: missed.clone(), reach };
                self.ask(Asked::Weigh { first, missed }, question, actions);
            }
            (Some(missed), State::Live | State::Joining) if missed.is_empty() => {
                self.tell_history(token.as_bytes(), true, actions);
            }
            (Some(missed), State::Live | State::Joining) => {
                self.ask(Asked::History { first }, Question::History { missed, reach }, actions);
            }
        }
    }

    /// Lets a restored subscription go on.
    fn release(&mut self, first: u16, missed: Option<Vec<Missed>>, history: bool, actions: &mut Actions) {
        let encoding = self.encoding(first);
        let reach = self.shared().reach;
        let Some(subscription) = self.subscriptions.of(SubscriptionId(first)) else { return };
        subscription.state = State::Joining;
        let join = Join { topics: subscription.topics(), reach, history: missed, ..Join::default() };
        let prefix = subscription.prefix.clone();
        self.asked(Asked::Release { first, history });
        actions.join(join, Delivery::Prefixed { encoding, prefix });
    }

    /// What the client of a restored subscription has missed cannot be told; what came since it was restored is live.
    fn hold_without_history(&mut self, first: u16, actions: &mut Actions) {
        let Some(subscription) = self.subscriptions.of(SubscriptionId(first)) else { return };
        let token: Box<[u8]> = subscription.token().into();
        let missed = history::since_restored(subscription);
        self.tell_history(&token, false, actions);
        self.release(first, Some(missed), false, actions);
    }

    fn tell_history(&self, token: &[u8], confirmed: bool, actions: &mut Actions) {
        self.shared().live.counters.history(confirmed);
        let verdict = if confirmed { Verdict::ConfirmHistory } else { Verdict::RejectHistory };
        actions.send(frames::verdict(token, verdict));
    }

    fn whisper(&mut self, token: &str, data: Vec<u8>, actions: &mut Actions) {
        let bytes_max = self.shared().live.rules.load().payload_bytes_max;
        let Some(conversation) = self.extended().map(|extended| extended.conversation) else { return };
        let Some(subscription) = self.subscriptions.find(token) else {
            return self.bad_input(BadInput::NotLive, actions);
        };
        if !subscription.channel.whisper || data.len() > bytes_max {
            return;
        }
        let payload: Arc<[u8]> = data.into();
        let entry = |name: &TopicName| Entry {
            topic: name.clone(),
            payload: payload.clone(),
            store: false,
            event: None,
            key: None,
            except: Some(conversation),
        };
        let entries: Vec<Entry> = subscription.streams.iter().map(|stream| entry(&stream.name)).collect();
        if !entries.is_empty() {
            actions.publish(entries, None);
        }
    }

    /// The hub has attached the streams of a subscription.
    fn attached(&mut self, first: u16, head: Stamp) -> Option<&mut Subscription> {
        let subscription = self.subscriptions.of(SubscriptionId(first))?;
        if let State::Joining = subscription.state {
            subscription.state = State::Live;
            subscription.streams.iter_mut().for_each(|stream| stream.sent_after = head.seq);
        }
        Some(subscription)
    }

    /// Sends what was missed and not sent meanwhile. False: not all of it is there any more.
    fn replay(&mut self, first: u16, replay: Replay, actions: &mut Actions) -> bool {
        let Some(mut messages) = replay else { return false };
        let encoding = self.encoding(first);
        if let Some(subscription) = self.subscriptions.of(SubscriptionId(first)) {
            history::skip_sent(subscription, &mut messages);
            actions.replay(encoding, subscription.prefix.clone(), messages);
        }
        true
    }

    /// What an earlier connection left goes on here, as far as the rules still allow it.
    fn restore(&mut self, state: &[u8], head: Stamp, actions: &mut Actions) {
        self.shared().live.counters.resumes.count(1);
        let identifiers: Vec<String> = serde_json::from_slice(state).unwrap_or_default();
        for identifier in identifiers {
            let held = self.admitted(&identifier, State::Held);
            if held.is_ok()
                && let Some(subscription) = self.subscriptions.newest()
            {
                subscription.streams.iter_mut().for_each(|stream| stream.sent_after = head.seq);
                if subscription.count == 0 {
                    subscription.state = State::Live;
                }
            }
        }
        let holds_until = actions.now.after(self.shared().restore_hold);
        if let Some(extended) = self.extended_mut() {
            extended.holds_until = Some(holds_until);
        }
        let tokens: Vec<Frame> = self.subscriptions.iter().map(|subscription| subscription.token().into()).collect();
        let tokens: Vec<&[u8]> = tokens.iter().map(|token| &**token).collect();
        self.welcome(Some(&tokens), actions);
        // Where there is no history nothing has to wait for one.
        let held = self.subscriptions.iter().filter(|known| known.state == State::Held && !known.channel.history);
        for first in held.map(|known| known.first).collect::<Vec<_>>() {
            self.release(first, Some(Vec::new()), false, actions);
        }
    }

    /// Restored subscriptions whose clients have not said what they have go on from where they were restored.
    fn hold_no_longer(&mut self, actions: &mut Actions) {
        let held: Vec<u16> = self
            .subscriptions
            .iter()
            .filter(|subscription| subscription.state == State::Held)
            .map(|subscription| subscription.first)
            .collect();
        for first in held {
            let missed = self.subscriptions.of(SubscriptionId(first)).map(|subscription| history::since_restored(subscription));
            self.release(first, missed, false, actions);
        }
    }
}

impl Session for Connection {
    fn limits(&self) -> &ConnectionLimits {
        if self.drains_at().is_some() { &self.shared().limits.stop } else { &self.shared().limits.usual }
    }

    fn received(&mut self, inbound: Inbound<'_>, actions: &mut Actions) {
        let ends = matches!(inbound, Inbound::Close(_));
        if !ends && !self.frames.take(actions.now.micros, FRAMES_PER_SECOND, FRAMES_BURST) {
            return self.close(1008, actions);
        }
        match inbound {
            Inbound::Text(text) => match command::read(text, self.extended().is_some()) {
                Ok(command) => {
                    if let Some(extended) = self.extended_mut() {
                        extended.silent_at = None;
                    }
                    self.command(command, actions);
                }
                Err(bad) => self.bad_input(bad, actions),
            },
            Inbound::Binary(_) => self.bad_input(BadInput::Binary, actions),
            Inbound::Close(code) => actions.close(Some(code.unwrap_or(1000)), ""),
            Inbound::Ping | Inbound::Pong | Inbound::Body(_) | Inbound::Part(_) | Inbound::End => {}
        }
    }

    fn joined(&mut self, joined: &Joined, actions: &mut Actions) {
        let replay = joined.replay.clone();
        match self.answers() {
            Some(Asked::Subscribe { first, history }) => {
                let Some(subscription) = self.attached(first, joined.head) else { return };
                let token: Box<[u8]> = subscription.token().into();
                self.shared().live.counters.confirms.count(1);
                actions.send(frames::verdict(&token, Verdict::Confirm));
                if history {
                    let confirmed = self.replay(first, replay, actions);
                    self.tell_history(&token, confirmed, actions);
                }
            }
            Some(Asked::Release { first, history }) => {
                let Some(subscription) = self.attached(first, joined.head) else { return };
                let token: Box<[u8]> = subscription.token().into();
                match (self.replay(first, replay, actions), history) {
                    (true, true) => self.tell_history(&token, true, actions),
                    (true, false) => {}
                    // Its client would never know of the hole.
                    (false, true | false) => self.goodbye(Reason::TooSlow, true, actions),
                }
            }
            Some(Asked::Rejoin { id }) => {
                let encoding = self.encoding(id);
                let Some(subscription) = self.subscriptions.of(SubscriptionId(id)) else { return };
                match replay {
                    Some(messages) => actions.replay(encoding, subscription.prefix.clone(), messages),
                    None => self.goodbye(Reason::TooSlow, true, actions),
                }
            }
            // Nothing else joins.
            Some(Asked::Weigh { .. } | Asked::History { .. } | Asked::Resume) | None => {}
        }
    }

    fn refused(&mut self, _refusal: Refusal, actions: &mut Actions) {
        match self.answers() {
            Some(Asked::Subscribe { first, .. }) => {
                let Some(subscription) = self.subscriptions.of(SubscriptionId(first)) else { return };
                let token = String::from_utf8_lossy(subscription.token()).into_owned();
                self.subscriptions.remove(&token);
                self.shared().live.counters.subscriptions.sub(1);
                self.shared().live.counters.rejected(None);
                actions.send(frames::verdict(token.as_bytes(), Verdict::Reject));
            }
            // What was live cannot go on, and its client has to hear of it.
            Some(Asked::Release { .. } | Asked::Rejoin { .. }) => self.goodbye(Reason::TooSlow, true, actions),
            Some(Asked::Weigh { .. } | Asked::History { .. } | Asked::Resume) | None => {}
        }
    }

    fn removed(&mut self, id: SubscriptionId, message: &Arc<Message>, _remaining: usize, actions: &mut Actions) {
        let encoding = self.encoding(id.0);
        let Some(subscription) = self.subscriptions.of(id) else { return };
        let prefix = subscription.prefix.clone();
        let after = After::Seq(message.stamp.seq);
        let missed = Missed { topic: message.topic.clone(), after, until: Seq(u64::MAX) };
        let join = Join {
            topics: vec![join_topic(id, message.topic.clone())],
            reach: self.shared().reach,
            history: Some(vec![missed]),
            ..Join::default()
        };
        self.asked(Asked::Rejoin { id: id.0 });
        actions.join(join, Delivery::Prefixed { encoding, prefix });
    }

    fn answered(&mut self, answer: Answer, actions: &mut Actions) {
        match answer {
            Answer::History(replay) => match self.answers() {
                Some(Asked::History { first }) => {
                    let Some(subscription) = self.subscriptions.of(SubscriptionId(first)) else { return };
                    let token: Box<[u8]> = subscription.token().into();
                    let complete = self.replay(first, replay, actions);
                    self.tell_history(&token, complete, actions);
                }
                Some(Asked::Weigh { first, missed }) => match replay {
                    Some(_) => self.release(first, Some(missed), true, actions),
                    None => self.hold_without_history(first, actions),
                },
                // Nothing else is a history.
                Some(Asked::Subscribe { .. } | Asked::Release { .. } | Asked::Rejoin { .. } | Asked::Resume) | None => {}
            },
            Answer::Resumed(left) => {
                let Some(Asked::Resume) = self.answers() else { return };
                match left {
                    Some((state, head)) => self.restore(&state, head, actions),
                    None => self.welcome(None, actions),
                }
            }
            // A whisper that was published, or that found the server busy: nobody waits for either.
            Answer::Published { .. } | Answer::Refused(_) => {}
            // Nothing else is asked.
            _ => {}
        }
    }

    fn noticed(&mut self, notice: &Notice, actions: &mut Actions) {
        match notice {
            Notice::Disconnect { name, reconnect } => {
                if self.keys().any(|key| key.name == *name) {
                    self.goodbye(Reason::Remote, *reconnect, actions);
                }
            }
            // What it leaves is for the newer one.
            Notice::TakenOver => actions.close(Some(1000), ""),
            // Tokens of another dialect.
            Notice::Revoked(_) => {}
        }
    }

    fn legacy(&self) -> Option<Legacy> {
        let conversation = self.extended()?.conversation;
        let state = (!self.is_over && !self.shared().resume_ttl.is_zero()).then(|| {
            let tokens: Vec<&[u8]> = self.subscriptions.iter().map(Subscription::token).collect();
            (exchange::State::from(&*[b"[", &*tokens.join(&b","[..]), b"]"].concat()), self.shared().resume_ttl)
        });
        Some(Legacy { conversation, state })
    }

    fn woken(&mut self, actions: &mut Actions) {
        let now = actions.now.micros;
        let is_due = |at: Option<u64>| at.is_some_and(|at| at <= now);
        if is_due(self.drains_at()) {
            return self.goodbye(Reason::ServerRestart, true, actions);
        }
        if is_due(self.extended().and_then(|extended| extended.silent_at)) {
            return self.goodbye(Reason::NoPong, true, actions);
        }
        if is_due(self.extended().and_then(|extended| extended.holds_until)) {
            if let Some(extended) = self.extended_mut() {
                extended.holds_until = None;
            }
            self.hold_no_longer(actions);
        }
        let live = &self.place.0.live;
        if !self.is_resuming()
            && let Some(ping) = self.pings.take(live, actions.now)
        {
            actions.ping(ping);
            let patience = self.shared().pong_timeout;
            if let Some(extended) = self.extended_mut()
                && !patience.is_zero()
            {
                extended.silent_at.get_or_insert(actions.now.after(patience));
            }
        }
        self.sleep(actions);
    }

    fn too_slow(&mut self, actions: &mut Actions) {
        self.goodbye(Reason::TooSlow, true, actions);
    }

    fn draining(&mut self, actions: &mut Actions) {
        self.extra().drains_at = Some(self.shared().goodbyes.due(actions.index, actions.now.micros));
        self.sleep(actions);
    }

    fn review(&mut self, _topics: &[(SubscriptionId, TopicName)], actions: &mut Actions) {
        let rules = self.shared().live.rules.load();
        let still_opens = |subscription: &Subscription| {
            subscription.key.as_ref().is_none_or(|key| rules.still_opens(key, &subscription.channel.name))
        };
        let still_known = match self.shared().connect_auth {
            ConnectAuth::None => true,
            ConnectAuth::Query(_) | ConnectAuth::Header(_) => {
                self.extra.as_ref().and_then(|extra| extra.own_key.as_ref()).is_some_and(|key| rules.still_knows(key))
            }
        };
        let removed = !still_known || !self.subscriptions.iter().all(still_opens);
        match rules.on_key_removed {
            OnKeyRemoved::Disconnect if removed => self.goodbye(Reason::Remote, true, actions),
            OnKeyRemoved::Disconnect | OnKeyRemoved::Keep => {}
        }
    }

    fn accepts_input(&self) -> bool {
        self.extra.as_ref().is_none_or(|extra| extra.asked.is_empty())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared().live.counters.subscriptions.sub(self.subscriptions.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::{KeyOptions, Options};
    use super::super::pings::Unit;
    use super::super::rules::Rules;
    use super::super::shared::Live;
    use super::*;
    use crate::access::digest;
    use crate::access::secret::Sha256;
    use crate::clock::Now;
    use crate::session::{Action, Encoders};
    use std::time::Duration;

    const INTERVAL: Duration = Duration::from_secs(3);

    fn at(micros: u64) -> Now {
        Now { micros, unix_micros: 1_795_191_434_000_000 + micros }
    }

    fn connection() -> Connection {
        let mut options: Options = toml::from_str("preset = \"metasmoke\"").unwrap();
        options.keys = vec![KeyOptions { name: "ali".into(), sha256: Some(Sha256(digest(b"sesame"))), channels: Vec::new() }];
        let live = Arc::new(Live::new(Rules::new(&options).unwrap(), [7; 32]));
        let shared = Arc::new(Shared::new(&options, live, &mut Encoders::default(), None, Duration::from_secs(35)));
        let pings = Pings::new(INTERVAL, Unit::Seconds, 1, at(0));
        Connection::new(Place::take(&shared).unwrap(), pings, None, false)
    }

    fn act(connection: &mut Connection, micros: u64, act: impl FnOnce(&mut Connection, &mut Actions)) -> Vec<Action> {
        let mut actions = Actions::new(at(micros));
        actions.index = 1;
        act(connection, &mut actions);
        actions.drain().collect()
    }

    #[test]
    fn what_a_connection_leaves_is_never_shown() {
        let mut connection = connection();
        act(&mut connection, 0, |session, actions| session.greet_extended(None, actions));
        let identifier =
            r#"{"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"sesame\",\"events\":\";\"}"}"#;
        act(&mut connection, 0, |session, actions| session.received(Inbound::Text(identifier), actions));
        let legacy = connection.legacy().unwrap();
        let (state, _) = legacy.state.clone().unwrap();
        assert!(String::from_utf8_lossy(&state).contains("sesame"));
        let shown = format!("{legacy:?}");
        assert!(shown.contains("State(…)") && !shown.contains("115, 101, 115, 97, 109, 101"), "{shown}");
    }

    #[test]
    fn what_came_while_a_restored_subscription_was_held_is_asked_for_whatever_the_clients_clock_says() {
        let identifier = r#""{\"channel\":\"ApiChannel\",\"key\":\"sesame\",\"events\":\"posts#create,update\"}""#;
        let mut connection = connection();
        act(&mut connection, 0, |session, actions| session.greet_extended(Some(ConversationId(7)), actions));
        let head = Stamp { seq: Seq(50), seconds: 1_795_191_434, tag: 1 };
        let left = exchange::State::from(format!("[{identifier}]").as_bytes());
        act(&mut connection, 0, |session, actions| session.answered(Answer::Resumed(Some((left, head))), actions));
        let ahead = 1_795_191_499;
        let named = r#"{"api:posts_create":{"offset":3,"epoch":"9"}}"#;
        let command =
            format!(r#"{{"command":"history","identifier":{identifier},"history":{{"since":{ahead},"streams":{named}}}}}"#);
        let asked = act(&mut connection, 0, |session, actions| session.received(Inbound::Text(&command), actions));
        let [Action::Ask(Question::History { missed: weighed, .. })] = &asked[..] else { panic!("the hub is asked first") };
        let answer = Answer::History(Some(Vec::new()));
        let joins = act(&mut connection, 0, |session, actions| session.answered(answer, actions));
        let [Action::Join { join, .. }] = &joins[..] else { panic!("it goes live") };
        assert_eq!(join.history.as_ref(), Some(weighed));
        let missed: Vec<_> = weighed.iter().map(|missed| (missed.topic.as_str(), missed.after)).collect();
        let expected = [
            ("api:posts_create", After::Offset { epoch: 9, offset: 3 }),
            ("api:posts_update", After::Before(ahead)),
            ("api:posts_update", After::Seq(Seq(50))),
        ];
        assert_eq!(missed, expected);
    }

    #[test]
    fn a_hold_that_ends_while_a_history_is_weighed_joins_nothing_twice() {
        let identifier = r#""{\"channel\":\"ApiChannel\",\"key\":\"sesame\",\"events\":\"posts#create\"}""#;
        let mut connection = connection();
        act(&mut connection, 0, |session, actions| session.greet_extended(Some(ConversationId(7)), actions));
        let head = Stamp { seq: Seq(50), seconds: 1_795_191_434, tag: 1 };
        let left = exchange::State::from(format!("[{identifier}]").as_bytes());
        act(&mut connection, 0, |session, actions| session.answered(Answer::Resumed(Some((left, head))), actions));
        let command = format!(r#"{{"command":"history","identifier":{identifier},"history":{{"since":1795191430}}}}"#);
        act(&mut connection, 0, |session, actions| session.received(Inbound::Text(&command), actions));
        let joins = |acts: &[Action]| acts.iter().filter(|action| matches!(action, Action::Join { .. })).count();
        let after = connection.shared().restore_hold.as_micros() as u64;
        let woken = act(&mut connection, after, |session, actions| session.woken(actions));
        let answered = act(&mut connection, after, |session, actions| session.answered(Answer::History(None), actions));
        assert_eq!((joins(&woken), joins(&answered)), (0, 1));
    }

    #[test]
    fn who_waits_for_what_it_resumes_is_not_pinged_before_the_101_even_if_the_server_stops() {
        let mut connection = connection();
        let asked = act(&mut connection, 0, |session, actions| session.greet_extended(Some(ConversationId(7)), actions));
        assert!(matches!(&asked[..], [Action::Introduce(_), Action::Ask(Question::Resume(ConversationId(7)))]));
        let slept = act(&mut connection, 0, |session, actions| session.draining(actions));
        let [Action::WakeAt(goodbye)] = &slept[..] else { panic!("it sleeps until its goodbye") };
        assert!(*goodbye > INTERVAL.as_micros() as u64, "a ping would be due before");
        let slept = act(&mut connection, INTERVAL.as_micros() as u64, |session, actions| session.woken(actions));
        assert!(matches!(&slept[..], [Action::WakeAt(again)] if again == goodbye));
        let opened = act(&mut connection, 3_000_000, |session, actions| session.answered(Answer::Resumed(None), actions));
        assert!(matches!(&opened[..], [Action::Accept, Action::Send(_), Action::WakeAt(ping)] if *ping < *goodbye));
        let pinged = act(&mut connection, 6_000_000, |session, actions| session.woken(actions));
        assert!(matches!(&pinged[..], [Action::Ping(_), Action::WakeAt(_)]));
    }
}
