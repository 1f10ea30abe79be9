//! The part of the model that knows records: a plain list of them, and of all that was told of them.

use super::{AGE, Model, REACTORS};
use crate::exchange::{
    Alter, AlterRefusal, Alteration, Answer, EndpointSettings, Join, JoinRecords, JoinTopic, Joined, NewRecord, Question,
    Refusal, StartAt, SubscriptionId, owner_topic,
};
use crate::hub::request::{ReadTopic, ToHub, ToReactor};
use crate::message::{Seq, Stamp};
use crate::record::{Account, ChangeKind, Record, RecordId};
use std::sync::Arc;
use std::time::Duration;

const ENDPOINT: &str = "$endpoint\u{1f}s\u{1f}p\u{1f}e";
const RECORDS_MAX: u64 = 5;
const REMOVED_TTL: u64 = 12_000;
const NAMES: [&str; 2] = ["n", "m"];

/// A message about one alteration.
#[derive(Debug)]
struct Event {
    stamp: Stamp,
    owner: Option<RecordId>,
    micros: u64,
    gone: bool,
}

#[derive(Default)]
pub(super) struct Records {
    /// In order of creation, as the hub answered with them.
    known: Vec<Arc<Record>>,
    created: u128,
    events: Vec<Event>,
    /// Of the settings; 0: the endpoint is not configured.
    pub(super) generation: u64,
    generations: u64,
    /// Unix milliseconds since when it is not, with records.
    removed: Option<u64>,
    /// The newest message when records went without one.
    ended: Option<Seq>,
    listeners: Vec<Listener>,
}

struct Listener {
    reactor: u16,
    owner: Option<RecordId>,
    joined: Joined,
    generation: u64,
}

pub(super) fn settings(generation: u64) -> Vec<EndpointSettings> {
    let removed_ttl = Duration::from_millis(REMOVED_TTL);
    let endpoint = EndpointSettings { name: ENDPOINT.into(), generation, users: Vec::new(), removed_ttl, log: None };
    Vec::from_iter((generation > 0).then_some(endpoint))
}

impl Records {
    /// Connections of a reactor that listen here.
    pub(super) fn connections(&self, reactor: usize) -> usize {
        self.listeners.iter().filter(|listener| usize::from(listener.reactor) == reactor).count()
    }

    /// Messages that are not there any more, maybe with their topic.
    pub(super) fn gone(&self) -> impl Iterator<Item = Stamp> {
        self.events.iter().filter(|event| event.gone).map(|event| event.stamp)
    }

    fn find(&self, id: RecordId, by: Option<RecordId>) -> Option<&Arc<Record>> {
        self.known.iter().find(|record| record.id == id && (by.is_none() || record.owner == by))
    }

    fn names(record: &Record) -> &[Box<str>] {
        record.account.as_ref().map_or(&[], |account| &account.names)
    }

    /// The index of the first of these names that belongs to somebody else.
    fn taken(&self, account: Option<&Account>, own: Option<RecordId>) -> Option<usize> {
        let others: Vec<_> = self.known.iter().filter(|record| Some(record.id) != own).collect();
        let names = account.map_or(&[][..], |account| &account.names);
        names.iter().position(|name| others.iter().any(|record| Records::names(record).contains(name)))
    }

    fn judge(&self, alter: &Alter) -> Result<(), AlterRefusal> {
        if self.generation == 0 {
            return Err(AlterRefusal::Missing);
        }
        match &alter.what {
            Alteration::Create(new) => {
                if let Some(taken) = new.iter().find_map(|new| self.taken(new.account.as_deref(), None)) {
                    return Err(AlterRefusal::Taken(taken));
                }
                let fits = (self.known.len() + new.len()) as u64 <= RECORDS_MAX;
                if fits { Ok(()) } else { Err(AlterRefusal::TooMany) }
            }
            Alteration::Replace { id, by, unchanged_since, account, .. } => {
                let found = self.find(*id, *by).ok_or(AlterRefusal::Missing)?;
                if unchanged_since.is_some_and(|since| since != found.updated) {
                    return Err(AlterRefusal::Mismatch);
                }
                self.taken(account.as_deref(), Some(*id)).map_or(Ok(()), |taken| Err(AlterRefusal::Taken(taken)))
            }
            Alteration::Delete { id, by } => self.find(*id, *by).map(|_| ()).ok_or(AlterRefusal::Missing),
        }
    }
}

fn owner(which: usize) -> Option<RecordId> {
    [None, Some(RecordId(1)), Some(RecordId(2))][which % 3]
}

fn account(which: usize) -> Option<Box<Account>> {
    let names: Box<[Box<str>]> = match which % 4 {
        0 | 1 => return None,
        2 => [NAMES[which / 4 % 2].into()].into(),
        _ => NAMES.map(Box::from).into(),
    };
    Some(Box::new(Account { names, password: "p".into() }))
}

impl Model {
    pub(super) fn touch_records(&mut self, what: usize, which: usize, how: usize) {
        match what % 8 {
            0 | 1 => self.create_records(which, how),
            2 => self.replace_record(which, how),
            3 => {
                let id = self.some_record(which);
                self.alter(Alteration::Delete { id, by: owner(how) });
            }
            4 => self.listen(which, how),
            5 => self.unlisten(which),
            6 => self.look_at_records(which, how),
            _ => self.configure(how),
        }
    }

    /// Mostly one that exists.
    fn some_record(&self, which: usize) -> RecordId {
        let known = &self.records.known;
        known.get(which % (known.len() + 1)).map_or(RecordId(which as u128), |record| record.id)
    }

    fn create_records(&mut self, which: usize, how: usize) {
        let new = (0..1 + which % 2).map(|at| {
            self.records.created += 1;
            let account = if at == 0 { account(how) } else { None };
            NewRecord {
                id: RecordId(self.records.created << 80),
                owner: owner(which / 2 + at),
                data: vec![b'0' + at as u8].into(),
                account,
            }
        });
        let new = new.collect();
        self.alter(Alteration::Create(new));
    }

    fn replace_record(&mut self, which: usize, how: usize) {
        let id = self.some_record(which);
        let since = self.records.find(id, None).map_or(0, |record| record.updated - how as u64 / 128);
        let kind = if how & 1 == 0 { ChangeKind::Put } else { ChangeKind::Patch };
        let unchanged_since = (how & 64 != 0).then_some(since);
        let (by, data) = (owner(how / 2), vec![b'0' + how as u8 % 10].into());
        self.alter(Alteration::Replace { id, by, kind, data, unchanged_since, account: account(how / 8) });
    }

    fn alter(&mut self, what: Alteration) {
        let alter = Alter { endpoint: ENDPOINT.into(), what, records_max: RECORDS_MAX, revoke: None };
        let judged = self.records.judge(&alter);
        let head = self.head().seq;
        let result = match self.answer(ToHub::Alter { origin: Model::origin(0), alter: Box::new(alter.clone()) }) {
            Answer::Altered(result) => result,
            other => panic!("{other:?}"),
        };
        let told = std::mem::take(&mut self.expected);
        let Ok(altered) = result else {
            assert_eq!(result.map(|_| ()), judged);
            return assert!(told.iter().all(Vec::is_empty));
        };
        assert_eq!(judged, Ok(()));
        let now = self.now.unix_micros / 1_000;
        let known = &mut self.records.known;
        match alter.what {
            Alteration::Create(new) => {
                for (record, new) in altered.iter().zip(&new) {
                    let NewRecord { id, owner, data, account } = new.clone();
                    let place = record.place;
                    assert!(known.last().is_none_or(|last| last.place < place) && place > head);
                    assert_eq!(**record, Record { id, place, owner, created: now, updated: now, data, account });
                    known.push(record.clone());
                }
            }
            Alteration::Replace { id, data, account, .. } => {
                let before = known.iter_mut().find(|record| record.id == id).expect("it was judged so");
                let account = account.or_else(|| before.account.clone());
                let updated = now.max(before.updated + 1);
                assert_eq!(*altered[0], Record { updated, data, account, ..Record::clone(before) });
                *before = altered[0].clone();
            }
            Alteration::Delete { id, .. } => {
                let at = known.iter().position(|record| record.id == id).expect("it was judged so");
                assert_eq!(known.remove(at), altered[0]);
            }
        }
        let owner = altered[0].owner;
        let stamp = self.head();
        let generation = self.records.generation;
        for (reactor, told) in told.into_iter().enumerate() {
            let fresh = |of: Option<RecordId>| {
                let listeners = self.records.listeners.iter();
                listeners
                    .filter(|listener| usize::from(listener.reactor) == reactor)
                    .any(|listener| listener.owner == of && listener.generation == generation)
            };
            let topics = usize::from(fresh(None)) + usize::from(owner.is_some() && fresh(owner));
            assert!(told.len() == topics && told.iter().all(|told| told.0 == stamp.seq), "{told:?} is told of {topics} topics");
        }
        self.records.events.push(Event { stamp, owner, micros: self.now.micros, gone: false });
    }

    fn listen(&mut self, which: usize, how: usize) {
        let (reactor, of) = (which % REACTORS, owner(which / REACTORS));
        let (head, generation) = (self.head().seq, self.records.generation.max(1) - u64::from(how & 32 != 0));
        self.trim_events();
        let events = &self.records.events;
        let since = events.iter().rev().nth(how % 16).map_or(self.begin.seq, |event| event.stamp.seq);
        let (since, start) = match how / 64 {
            0 => (head, StartAt::Now),
            1 => (Seq(head.0 + 1), StartAt::After(Seq(head.0 + 1))),
            _ => (since, StartAt::After(since)),
        };
        let name = of.map_or(ENDPOINT.into(), |owner| owner_topic(&ENDPOINT.into(), owner));
        let topic = JoinTopic { id: SubscriptionId(1), name, start, must_have_messages: false };
        let records = JoinRecords { endpoint: ENDPOINT.into(), generation, snapshot: Some(of) };
        let join = Box::new(Join { topics: vec![topic], records: Some(records), ..Join::default() });
        let origin = Model::origin(reactor as u16);
        let joined = match self.handle(ToHub::Join { origin, join, first: true }).pop() {
            Some(ToReactor::Joined { joined, .. }) => *joined,
            Some(ToReactor::Refused { refusal, .. }) => {
                let refused = self.records.generation == 0 || generation != self.records.generation;
                return assert_eq!((refusal, refused), (Refusal::TopicMissing, true));
            }
            other => panic!("{other:?}"),
        };
        assert_eq!((generation, joined.foreign), (self.records.generation, since > head));
        self.compare_list(of, joined.records.as_ref().expect("it was asked for").iter());
        let events = &self.records.events;
        let has_ended = start != StartAt::Now && self.records.ended.is_some_and(|ended| since <= ended);
        let lost = events.iter().any(|event| event.gone && event.stamp.seq > since) || since > head || has_ended;
        // Of what was before a topic began the hub knows but the newest stamp of all that are no more.
        let begins_later = events.iter().find(|event| !event.gone).is_none_or(|first| since < first.stamp.seq);
        let ended = self.lives.iter().filter(|life| life.ended).flat_map(|life| &life.messages);
        let may_be_gone = events.iter().all(|event| event.gone)
            || begins_later && ended.into_iter().any(|message| message.stored && message.stamp.seq > since);
        let is_right = joined.gap == lost || joined.gap && may_be_gone && start != StartAt::Now;
        assert!(is_right, "{since:?}, lost {lost}: {joined:?} {events:?}");
        let missed = events.iter().filter(|event| event.stamp.seq > since && !joined.gap && (of.is_none() || event.owner == of));
        let missed: Vec<Seq> = missed.map(|event| event.stamp.seq).collect();
        let topic = joined.topics[0];
        let topics = vec![ReadTopic { topic: topic.topic, from: topic.from, joined: joined.head.seq }];
        self.handle(ToHub::Read { origin, after: topic.from, topics });
        assert!(!self.hub.serve_reads(self.now, || true));
        let page = match self.collect().pop() {
            Some(ToReactor::Backlog { backlog, .. }) => *backlog,
            other => panic!("{other:?}"),
        };
        assert_eq!(page.messages.iter().map(|(_, message)| message.stamp.seq).collect::<Vec<_>>(), missed);
        assert!(page.complete && !page.lost);
        self.records.listeners.push(Listener { reactor: reactor as u16, owner: of, joined, generation });
    }

    fn unlisten(&mut self, which: usize) {
        let listeners = &mut self.records.listeners;
        if listeners.is_empty() {
            return;
        }
        let Listener { reactor, joined, .. } = listeners.swap_remove(which % listeners.len());
        assert!(self.handle(ToHub::Leave { reactor, topics: vec![joined.topics[0].topic], last: true }).is_empty());
    }

    fn compare_list<'a>(&self, of: Option<RecordId>, told: impl Iterator<Item = &'a Arc<Record>>) {
        let shown =
            self.records.known.iter().filter(|record| self.records.generation > 0 && (of.is_none() || record.owner == of));
        assert!(told.eq(shown), "the records of {of:?}");
    }

    fn look_at_records(&mut self, which: usize, how: usize) {
        let of = owner(how);
        let ids: Vec<RecordId> = (0..which % 4).map(|more| self.some_record(which + more)).collect();
        let question = Question::RecordsById { endpoint: ENDPOINT.into(), ids: ids.clone(), of };
        let Answer::RecordsById(found) = self.answer(ToHub::Ask { origin: Model::origin(0), question }) else { panic!() };
        let configured = self.records.generation > 0;
        let wanted = ids.iter().filter_map(|&id| self.records.find(id, of)).filter(|_| configured);
        assert!(found.iter().eq(wanted));
        let name = NAMES[how % 2];
        let question = Question::RecordNamed { endpoint: ENDPOINT.into(), name: name.into() };
        let Answer::RecordNamed(found) = self.answer(ToHub::Ask { origin: Model::origin(0), question }) else { panic!() };
        let wanted = self.records.known.iter().find(|record| Records::names(record).iter().any(|known| **known == *name));
        assert_eq!(found.as_ref(), wanted.filter(|_| configured));
    }

    fn configure(&mut self, how: usize) {
        self.end_removed();
        self.records.generation = match how % 4 {
            0 => self.records.generation,
            1 => 0,
            _ => {
                self.records.generations += 1;
                self.records.generations
            }
        };
        self.resettle();
        let now = self.now.unix_micros / 1_000;
        let is_removed = self.records.generation == 0 && !self.records.known.is_empty();
        self.records.removed = is_removed.then(|| self.records.removed.unwrap_or(now));
    }

    /// Records of an endpoint that was removed long ago are no more.
    fn end_removed(&mut self) {
        if self.records.removed.is_some_and(|since| since + REMOVED_TTL <= self.now.unix_micros / 1_000) {
            self.records.known.clear();
            self.records.removed = None;
            self.records.ended = self.records.events.last().map(|event| event.stamp.seq);
            self.records.events.iter_mut().for_each(|event| event.gone = true);
        }
    }

    fn trim_events(&mut self) {
        let (now, count) = (self.now.micros, self.count);
        for (index, event) in self.records.events.iter_mut().rev().enumerate() {
            event.gone |= index >= count || event.micros + AGE <= now;
        }
    }

    pub(super) fn compare_records(&mut self) {
        self.trim_events();
        self.end_removed();
        for of in [None, owner(1), owner(2)] {
            let question = Question::Records { endpoint: ENDPOINT.into(), of };
            match self.answer(ToHub::Ask { origin: Model::origin(0), question }) {
                Answer::Records(list, head) => {
                    self.compare_list(of, list.iter());
                    assert_eq!(head, self.head());
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
