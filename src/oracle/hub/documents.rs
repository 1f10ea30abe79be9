//! The part of the model that knows documents: lists of all states there ever were.

use super::{Model, REACTORS, TOMBSTONE_AGE, Told};
use crate::exchange::{
    Answer, Condition, Group, Join, JoinTopic, Joined, Question, Refusal, StartAt, SubscriptionId, Write, WriteRefusal, Written,
};
use crate::hub::request::{Backlog, ReadTopic, ToHub, ToReactor};
use crate::message::Seq;
use std::collections::BTreeSet;

/// Two groups of documents.
const NAMES: [&str; 4] = ["$d/a", "$d/b", "$d/c", "$e/a"];
const GROUP: Group = Group { bytes: 2, documents_max: 2, awaited_max: 1 };

/// A state, or that there is none any more.
#[derive(Clone, Copy, Debug)]
struct State {
    seq: Seq,
    version: i64,
    value: Option<u8>,
}

/// All that was ever written under one name.
#[derive(Debug, Default)]
struct Document {
    states: Vec<State>,
    /// What was before these states is forgotten.
    begins: usize,
    /// Subscriptions per reactor.
    subscribers: [usize; REACTORS],
    /// Since when nobody subscribes to a document that was deleted.
    unused_since: Option<u64>,
}

impl Document {
    fn newest(&self) -> Option<State> {
        self.states[self.begins..].last().copied()
    }

    fn present(&self) -> Option<State> {
        self.newest().filter(|state| state.value.is_some())
    }

    fn is_awaited(&self) -> bool {
        self.subscribers.iter().sum::<usize>() > 0 && self.present().is_none()
    }

    fn rest(&mut self, micros: u64) {
        let is_tombstone = self.newest().is_some_and(|state| state.value.is_none());
        let unused = is_tombstone && self.subscribers == [0; REACTORS];
        self.unused_since = unused.then(|| self.unused_since.unwrap_or(micros));
    }
}

#[derive(Default)]
pub(super) struct Documents {
    known: [Document; NAMES.len()],
    forgotten: i64,
    subscriptions: Vec<Subscription>,
}

struct Subscription {
    reactor: u16,
    name: usize,
    joined: Joined,
}

impl Documents {
    /// Connections of a reactor that subscribe to a document.
    pub(super) fn connections(&self, reactor: usize) -> usize {
        self.subscriptions.iter().filter(|subscription| usize::from(subscription.reactor) == reactor).count()
    }

    /// How many documents of the same group are so.
    fn count(&self, name: usize, is_so: impl Fn(&Document) -> bool) -> u64 {
        let same = |other: &usize| NAMES[*other][..GROUP.bytes] == NAMES[name][..GROUP.bytes];
        (0..NAMES.len()).filter(same).filter(|&other| is_so(&self.known[other])).count() as u64
    }

    fn judge(&self, name: usize, write: &Write) -> Result<(), WriteRefusal> {
        let present = self.known[name].present();
        let holds = match (write.condition, present) {
            (Some(Condition::Version(version)), Some(state)) => version == state.version,
            (None | Some(Condition::Present), Some(_)) | (None | Some(Condition::Absent), None) => true,
            (Some(Condition::Absent), Some(_)) | (Some(Condition::Present | Condition::Version(_)), None) => false,
        };
        match present {
            None if write.must_exist || *write.value == *b"null" => Err(WriteRefusal::Missing),
            Some(_) | None if !holds => Err(WriteRefusal::Mismatch),
            None if self.count(name, |document| document.present().is_some()) >= GROUP.documents_max => {
                Err(WriteRefusal::TooMany)
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Model {
    pub(super) fn touch_document(&mut self, what: usize, name: usize, how: usize) {
        let name = name % NAMES.len();
        match what % 8 {
            0..=2 => self.write(name, how),
            3 => self.subscribe(name, how),
            4 => self.unsubscribe(how),
            5 | 6 => self.read_documents(name, how),
            _ => self.pass(how),
        }
    }

    fn write(&mut self, name: usize, how: usize) {
        let micros = self.now.micros;
        let states = &self.documents.known[name].states;
        let some = states.get(states.len().wrapping_sub(1 + how / 64)).map_or(7, |state| state.version);
        let condition = [None, Some(Condition::Absent), Some(Condition::Present), Some(Condition::Version(some))][how / 4 % 4];
        let value = [None, Some(b'1'), Some(b'2'), Some(b'3')][how % 4];
        let write = Write {
            topic: NAMES[name].into(),
            value: value.map_or(b"null"[..].into(), |value| [value][..].into()),
            group: GROUP,
            must_exist: how & 16 != 0,
            condition,
            skip_equal: how & 32 != 0,
        };
        let judged = self.documents.judge(name, &write);
        let skips = write.skip_equal;
        let result = match self.answer(ToHub::Write { origin: Model::origin(0), write }) {
            Answer::Written(result) => result,
            other => panic!("{other:?}"),
        };
        let told = std::mem::take(&mut self.expected);
        let document = &mut self.documents.known[name];
        let nothing: [Vec<Told>; REACTORS] = Default::default();
        if let Err(refusal) = judged {
            assert_eq!((result, told), (Err(refusal), nothing));
            return;
        }
        let present = document.present();
        if let Some(state) = present.filter(|state| skips && state.value == value) {
            assert_eq!((result, told), (Ok(Written { version: state.version, created: false }), nothing));
            return;
        }
        let clock = (self.now.unix_micros / 1_000) as i64;
        let own = document.newest().map_or(0, |state| state.version);
        let version = clock.max(own + 1).max(self.documents.forgotten + 1);
        assert_eq!(result, Ok(Written { version, created: present.is_none() }));
        assert!(document.states.iter().all(|state| state.version < version), "no version comes back");
        let seq = match self.hub_document(name) {
            Some(state) if (state.version, state.value) == (version, value) => state.seq,
            other => panic!("{version} was written, {other:?} is there"),
        };
        let document = &mut self.documents.known[name];
        document.states.push(State { seq, version, value });
        document.rest(micros);
        for (told, subscribers) in told.iter().zip(document.subscribers) {
            let told: Vec<(Seq, i64)> = told.iter().map(|&(seq, id, ..)| (seq, id)).collect();
            assert_eq!(told, Vec::from_iter((subscribers > 0).then_some((seq, version))));
        }
    }

    /// What the hub says that a document is.
    fn hub_document(&mut self, name: usize) -> Option<State> {
        match self.answer(ToHub::Ask { origin: Model::origin(0), question: Question::Document(NAMES[name].into()) }) {
            Answer::Document(document) => document.map(|message| {
                let value = (*message.payload != *b"null").then(|| message.payload[0]);
                State { seq: message.stamp.seq, version: message.id, value }
            }),
            other => panic!("{other:?}"),
        }
    }

    fn subscribe(&mut self, name: usize, how: usize) {
        let (reactor, head) = (how % REACTORS, self.head());
        let topic = JoinTopic { id: SubscriptionId(1), name: NAMES[name].into(), start: StartAt::Now, must_have_messages: false };
        let join = Join { topics: vec![topic], document: Some(GROUP), ..Join::default() };
        let document = &self.documents.known[name];
        let is_one_more = document.present().is_none() && !document.is_awaited();
        let refused = is_one_more && self.documents.count(name, Document::is_awaited) >= GROUP.awaited_max;
        let joined = match self
            .handle(ToHub::Join { origin: Model::origin(reactor as u16), join: Box::new(join), first: true })
            .pop()
        {
            Some(ToReactor::Joined { joined, .. }) => *joined,
            Some(ToReactor::Refused { refusal, .. }) => return assert_eq!((refusal, refused), (Refusal::TooManyTopics, true)),
            other => panic!("{other:?}"),
        };
        assert!(!refused && joined.topics[0].from == head.seq);
        let document = &mut self.documents.known[name];
        assert_eq!(joined.document.as_ref().map(|shown| shown.id), document.newest().map(|state| state.version));
        document.subscribers[reactor] += 1;
        document.rest(self.now.micros);
        self.documents.subscriptions.push(Subscription { reactor: reactor as u16, name, joined });
    }

    fn unsubscribe(&mut self, which: usize) {
        let count = self.documents.subscriptions.len();
        if count == 0 {
            return;
        }
        let Subscription { reactor, name, joined } = self.documents.subscriptions.swap_remove(which % count);
        assert!(self.handle(ToHub::Leave { reactor, topics: vec![joined.topics[0].topic], last: true }).is_empty());
        let document = &mut self.documents.known[name];
        document.subscribers[usize::from(reactor)] -= 1;
        document.rest(self.now.micros);
    }

    /// One page for some who subscribe to several documents and have everything up to some place in the order.
    fn read_documents(&mut self, which: usize, back: usize) {
        let mut names = BTreeSet::new();
        let chosen = self.documents.subscriptions.iter().enumerate().filter(|(at, _)| which == 0 || at % which == 0);
        let chosen: Vec<&Subscription> = chosen.map(|(_, chosen)| chosen).filter(|chosen| names.insert(chosen.name)).collect();
        let Some(first) = chosen.iter().map(|chosen| chosen.joined.head.seq).min() else { return };
        let states = self.documents.known.iter().flat_map(|document| &document.states);
        let after = states.map(|state| state.seq).filter(|&seq| seq >= first).nth(back).unwrap_or(first);
        let topics = chosen.iter().map(|chosen| {
            let topic = chosen.joined.topics[0];
            ReadTopic { topic: topic.topic, from: topic.from, joined: chosen.joined.head.seq }
        });
        let newest = chosen.iter().filter_map(|chosen| {
            let state = self.documents.known[chosen.name].newest()?;
            (state.seq > after.max(chosen.joined.head.seq)).then_some((state.seq, state.version))
        });
        let (mut wanted, topics): (Vec<_>, Vec<_>) = (newest.collect(), topics.collect());
        wanted.sort_unstable();
        self.handle(ToHub::Read { origin: Model::origin(0), after, topics });
        assert!(!self.hub.serve_reads(self.now, || true));
        let Backlog { messages, end, complete, lost } = match self.collect().pop() {
            Some(ToReactor::Backlog { backlog, .. }) => *backlog,
            other => panic!("{other:?}"),
        };
        let got: Vec<_> = messages.iter().map(|(_, message)| (message.stamp.seq, message.id)).collect();
        assert_eq!((got, end, complete, lost), (wanted, self.head().seq, true, false));
    }

    /// The newest states and the sums; what nobody wants to know of is forgotten in its time.
    pub(super) fn compare_documents(&mut self) {
        let micros = self.now.micros;
        for (name, shown) in NAMES.iter().enumerate() {
            let told = self.hub_document(name);
            let document = &mut self.documents.known[name];
            if document.unused_since.is_some_and(|since| since + TOMBSTONE_AGE <= micros) {
                self.documents.forgotten = self.documents.forgotten.max(document.newest().map_or(0, |state| state.version));
                document.begins = document.states.len();
                document.unused_since = None;
            }
            let told = told.map(|state| (state.seq, state.version, state.value));
            assert_eq!(told, document.newest().map(|state| (state.seq, state.version, state.value)), "{shown}");
        }
        let report = self.report();
        assert_eq!(report.documents, self.documents.known.iter().filter(|document| document.present().is_some()).count() as u64);
        assert_eq!(report.document_subscriptions, self.documents.subscriptions.len() as u64);
    }
}
