//! Conversations that go on over several connections: where they are open, and what they left.
//!
//! ```text
//!                Introduce                 Part, nothing left
//!   (unknown) ──────────────▶ Open ─────────────────────────────▶ (unknown)
//!       ▲                      │  ▲ Resume: its connection is told, the resumer waits for its Part
//!       │                 Part │  │ Introduce
//!       │                      ▼  │
//!       └─────────────────── Left
//!         Resume, once; its time; too many
//! ```

use crate::exchange::{ConversationId, State};
use crate::hub::request::{Origin, Token};
use hashbrown::HashMap;
use std::collections::BTreeSet;

/// What keeping a state costs beside its bytes: its places in map and queue, and the reference counts.
const STATE_BYTES: usize = 160;

#[derive(Debug)]
enum Conversation {
    Open {
        reactor: u16,
        connection: Token,
        resumer: Option<Origin>,
    },
    /// Until this monotonic microsecond.
    Left {
        state: State,
        until: u64,
    },
}

#[derive(Debug, Default)]
pub struct Conversations {
    known: HashMap<u128, Conversation>,
    /// Those that are left, by the end of their time. 128 random bits never begin twice, so nobody waits behind another.
    ends: BTreeSet<(u64, u128)>,
    /// What is left, in bytes.
    bytes: usize,
}

/// What somebody finds who resumes a conversation.
#[derive(Debug, PartialEq, Eq)]
pub enum Resumption {
    Unknown,
    Left(State),
    /// It is open: the resumer waits. The connection is told unless it was already; who waited before waits in vain.
    Waits {
        tell: Option<(u16, Token)>,
        in_vain: Option<Origin>,
    },
}

impl Conversations {
    /// This connection is now that of the conversation. Returns who waited for an earlier one.
    pub fn introduce(&mut self, id: ConversationId, reactor: u16, connection: Token) -> Option<Origin> {
        let before = self.remove(id.0);
        self.known.insert(id.0, Conversation::Open { reactor, connection, resumer: None });
        self.check();
        match before {
            Some(Conversation::Open { resumer, .. }) => resumer,
            Some(Conversation::Left { .. }) | None => None,
        }
    }

    /// The connection of an open conversation.
    pub fn connection(&self, id: ConversationId) -> Option<(u16, Token)> {
        match self.known.get(&id.0)? {
            &Conversation::Open { reactor, connection, .. } => Some((reactor, connection)),
            Conversation::Left { .. } => None,
        }
    }

    /// The connection ends and leaves a state until then, or nothing. Returns who waits for that: it is his then.
    /// A connection that is not the conversation's changes nothing.
    pub fn part(&mut self, id: ConversationId, reactor: u16, connection: Token, left: Option<(State, u64)>) -> Option<Origin> {
        if self.connection(id) != Some((reactor, connection)) {
            return None;
        }
        let Some(Conversation::Open { resumer, .. }) = self.remove(id.0) else { return None };
        if let Some((state, until)) = left
            && resumer.is_none()
        {
            self.bytes += STATE_BYTES + state.len();
            self.ends.insert((until, id.0));
            self.known.insert(id.0, Conversation::Left { state, until });
        }
        self.check();
        resumer
    }

    /// Takes what was left, if its time is not over, or waits for it.
    pub fn resume(&mut self, id: ConversationId, origin: Origin, micros: u64) -> Resumption {
        if let Some(Conversation::Open { reactor, connection, resumer }) = self.known.get_mut(&id.0) {
            let in_vain = resumer.replace(origin);
            let tell = in_vain.is_none().then_some((*reactor, *connection));
            return Resumption::Waits { tell, in_vain };
        }
        match self.remove(id.0) {
            Some(Conversation::Left { state, until }) if until > micros => Resumption::Left(state),
            Some(Conversation::Left { .. } | Conversation::Open { .. }) | None => Resumption::Unknown,
        }
    }

    /// Forgets those whose time would be over first until what is left is within the bounds.
    pub fn bound(&mut self, conversations_max: usize, bytes_max: usize) {
        while self.ends.len() > conversations_max || self.bytes > bytes_max {
            let Some(&(_, id)) = self.ends.first() else { return };
            self.remove(id);
        }
    }

    /// Forgets those whose time is over, at most `budget` of them.
    pub fn expire(&mut self, micros: u64, budget: usize) {
        for _ in 0..budget {
            let Some(&(_, id)) = self.ends.first().filter(|(until, _)| *until <= micros) else { break };
            self.remove(id);
        }
    }

    /// When the first one's time is over, in monotonic microseconds.
    pub fn due(&self) -> Option<u64> {
        self.ends.first().map(|&(until, _)| until)
    }

    fn remove(&mut self, id: u128) -> Option<Conversation> {
        let conversation = self.known.remove(&id)?;
        if let Conversation::Left { state, until } = &conversation {
            self.bytes -= STATE_BYTES + state.len();
            self.ends.remove(&(*until, id));
        }
        Some(conversation)
    }

    fn check(&self) {
        debug_assert!(self.ends.len() <= self.known.len());
        debug_assert_eq!(self.ends.is_empty(), self.bytes == 0);
    }

    /// Walks over everything.
    #[cfg(any(test, fuzzing))]
    pub fn check_all(&self) {
        let left = self.known.iter().filter_map(|(id, conversation)| match conversation {
            Conversation::Open { .. } => None,
            Conversation::Left { state, until } => Some((*until, *id, state.len())),
        });
        let (mut count, mut bytes) = (0, 0);
        for (until, id, length) in left {
            assert!(self.ends.contains(&(until, id)));
            count += 1;
            bytes += STATE_BYTES + length;
        }
        assert_eq!((self.ends.len(), self.bytes), (count, bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Answer, Cursor, Entry, Legacy, Notice, Question, StartAt};
    use crate::hub::request::{ToHub, ToReactor};
    use crate::hub::testing::{Bench, entry, settings, topic};
    use std::time::Duration;

    const ID: ConversationId = ConversationId(7);
    const TIME: Duration = Duration::from_secs(300);

    fn token(number: usize) -> Token {
        Token::new(number, 1)
    }

    fn introduce(bench: &mut Bench, reactor: u16, connection: Token) {
        bench.handle(ToHub::Introduce { reactor, connection, conversation: ID });
    }

    fn part(bench: &mut Bench, reactor: u16, connection: Token, state: Option<&str>) {
        let state = state.map(|state| (state.as_bytes().into(), TIME));
        bench.handle(ToHub::Part { reactor, connection, legacy: Legacy { conversation: ID, state } });
    }

    /// Asks reactor 0's connection with this ticket.
    fn resume(bench: &mut Bench, ticket: u64) {
        let origin = Origin { ticket, ..Bench::origin(0) };
        bench.handle(ToHub::Ask { origin, question: Question::Resume(ID) });
    }

    /// The answers that reactor 0 was given: ticket and state.
    fn answers(bench: &mut Bench) -> Vec<(u64, Option<String>)> {
        let answers = bench.inbox(0).into_iter().filter_map(|reply| match reply {
            ToReactor::Answer { ticket, answer, .. } => match *answer {
                Answer::Resumed(left) => Some((ticket, left.map(|(state, _)| String::from_utf8(state.to_vec()).unwrap()))),
                other => panic!("{other:?}"),
            },
            _ => None,
        });
        answers.collect()
    }

    #[test]
    fn what_a_connection_left_is_resumed_once() {
        let mut bench = Bench::new(settings());
        introduce(&mut bench, 1, token(1));
        part(&mut bench, 1, token(1), Some("state"));
        bench.publish("a", "1");
        bench.inbox(0);
        resume(&mut bench, 1);
        let [ToReactor::Answer { ref answer, .. }] = bench.inbox(0)[..] else { panic!("one answer") };
        let head = bench.head();
        assert!(matches!(**answer, Answer::Resumed(Some((ref state, at))) if **state == *b"state" && at == head));
        resume(&mut bench, 2);
        assert_eq!(answers(&mut bench), [(2, None)]);
    }

    #[test]
    fn it_is_kept_for_its_time_and_then_takes_no_memory() {
        let mut bench = Bench::new(settings());
        let leave = |bench: &mut Bench| {
            introduce(bench, 1, token(1));
            part(bench, 1, token(1), Some("state"));
        };
        leave(&mut bench);
        bench.pass(TIME - Duration::from_micros(1));
        resume(&mut bench, 1);
        assert_eq!(answers(&mut bench), [(1, Some("state".into()))]);
        leave(&mut bench);
        bench.hub.enter(bench.now);
        bench.pass(TIME);
        // Whether or not a tick has cleared it away.
        assert_eq!(bench.hub.conversations.resume(ID, Bench::origin(0), bench.now.micros), Resumption::Unknown);
        leave(&mut bench);
        bench.live(TIME + Duration::from_secs(1));
        assert_eq!((bench.hub.conversations.known.len(), bench.hub.conversations.due()), (0, None));
    }

    #[test]
    fn who_leaves_nothing_is_forgotten() {
        let mut bench = Bench::new(settings());
        introduce(&mut bench, 1, token(1));
        part(&mut bench, 1, token(1), None);
        resume(&mut bench, 1);
        assert_eq!(answers(&mut bench), [(1, None)]);
        assert!(bench.hub.conversations.known.is_empty());
    }

    #[test]
    fn an_open_conversation_is_told_once_and_the_last_who_asked_gets_what_it_leaves() {
        let mut bench = Bench::new(settings());
        introduce(&mut bench, 1, token(1));
        resume(&mut bench, 1);
        let told = bench.inbox(1);
        let [ToReactor::Notice { connection, notice }] = &told[..] else { panic!("{told:?}") };
        assert_eq!((*connection, &**notice), (token(1), &Notice::TakenOver));
        assert_eq!(answers(&mut bench), []);
        resume(&mut bench, 2);
        assert_eq!(bench.inbox(1).len(), 0);
        assert_eq!(answers(&mut bench), [(1, None)]);
        part(&mut bench, 1, token(1), Some("state"));
        assert_eq!(answers(&mut bench), [(2, Some("state".into()))]);
        resume(&mut bench, 3);
        assert_eq!(answers(&mut bench), [(3, None)]);
    }

    #[test]
    fn who_waits_for_a_conversation_that_leaves_nothing_is_answered_too() {
        let mut bench = Bench::new(settings());
        introduce(&mut bench, 1, token(1));
        resume(&mut bench, 1);
        part(&mut bench, 1, token(1), None);
        assert_eq!(answers(&mut bench), [(1, None)]);
        introduce(&mut bench, 1, token(1));
        resume(&mut bench, 2);
        introduce(&mut bench, 1, token(2));
        assert_eq!(answers(&mut bench), [(2, None)], "its connection will never part");
    }

    #[test]
    fn the_end_of_another_connection_changes_nothing() {
        let mut bench = Bench::new(settings());
        introduce(&mut bench, 1, token(1));
        for (reactor, connection) in [(0, token(1)), (1, token(2)), (1, Token::new(1, 2))] {
            part(&mut bench, reactor, connection, Some("not mine"));
        }
        assert_eq!(bench.hub.conversations.connection(ID), Some((1, token(1))));
        part(&mut bench, 1, token(1), Some("mine"));
        part(&mut bench, 1, token(1), None);
        resume(&mut bench, 1);
        assert_eq!(answers(&mut bench), [(1, Some("mine".into()))]);
    }

    #[test]
    fn beyond_the_bounds_the_first_to_expire_is_forgotten_first() {
        let origin = Bench::origin(0);
        for (conversations_max, bytes_max) in [(2, usize::MAX), (9, 2 * (STATE_BYTES + 5)), (9, 2 * (STATE_BYTES + 5) + 4)] {
            let mut conversations = Conversations::default();
            for (id, until) in [(1, 30), (2, 10), (3, 20)] {
                conversations.introduce(ConversationId(id), 0, token(1));
                conversations.part(ConversationId(id), 0, token(1), Some((b"state"[..].into(), until)));
                conversations.bound(conversations_max, bytes_max);
                conversations.check_all();
            }
            let resumed = [1, 2, 3].map(|id| conversations.resume(ConversationId(id), origin, 0) != Resumption::Unknown);
            assert_eq!(resumed, [true, false, true]);
            assert_eq!(conversations.bytes, 0);
        }
    }

    #[test]
    fn a_message_names_the_open_connection_of_the_conversation_that_does_not_get_it() {
        let mut bench = Bench::new(settings());
        let except = |bench: &mut Bench| {
            bench.publish_all(vec![Entry { except: Some(ID), ..entry("a", "1") }]).unwrap();
            let told = bench.inbox(0).into_iter().find_map(|reply| match reply {
                ToReactor::Deliver { message, .. } => Some(message.except.as_deref().copied()),
                _ => None,
            });
            told.expect("it was delivered")
        };
        bench.join(0, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
        assert_eq!(except(&mut bench), None);
        introduce(&mut bench, 1, token(5));
        assert_eq!(except(&mut bench), Some((1, token(5).0)));
        part(&mut bench, 1, token(5), Some("state"));
        assert_eq!(except(&mut bench), None);
    }
}
