//! The hub against a model that keeps everything in plain lists: publish, attach, read, trim, detach, forget, delete.

mod documents;
mod records;

use crate::clock::Now;
use crate::exchange::{After, Answer, Cursor, Entry, Join, JoinTopic, Joined, Missed, Question, Reach, Refusal, Replay, Report};
use crate::exchange::{Selection, StartAt, SubscriptionId, TopicId};
use crate::hub::request::{Backlog, Origin, PAGE_MESSAGES, ReadTopic, ToHub, ToReactor, Token};
use crate::hub::{Hub, Settings, Window};
use crate::message::{Message, Seq, Stamp, TopicName};
use crate::metrics::Metrics;
use documents::Documents;
use records::Records;
use std::sync::Arc;
use std::time::Duration;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const REACTORS: usize = 2;
const AGE: u64 = 20_000_000;
const UNSTORED_AGE: u64 = 5_000_000;
const IDLE: u64 = 10_000_000;
const POSITIONS_AGE: u64 = 15_000_000;
const TOMBSTONE_AGE: u64 = 12_000_000;
const SUBSCRIBERS_MAX: usize = 3;

/// One message of the model; nothing is ever taken out of its list.
#[derive(Clone, Debug)]
struct Known {
    stamp: Stamp,
    payload: u8,
    stored: bool,
    micros: u64,
    gone: bool,
    /// 0: not stored.
    offset: u64,
}

/// How far the history of a name has come.
#[derive(Clone, Copy, Debug, Default)]
struct Past {
    epoch: u64,
    offset: u64,
    newest: Stamp,
}

/// One life of a topic, from its creation to its end.
#[derive(Debug)]
struct Life {
    id: Option<TopicId>,
    name: usize,
    messages: Vec<Known>,
    past: Past,
    /// Subscriptions per reactor.
    subscribers: [usize; REACTORS],
    ended: bool,
    unused_since: Option<u64>,
}

impl Life {
    fn is_unused(&self) -> bool {
        self.subscribers.iter().sum::<usize>() == 0 && !self.messages.iter().any(|message| message.stored && !message.gone)
    }

    fn stored(&self) -> Vec<&Known> {
        self.messages.iter().filter(|message| message.stored && !message.gone).collect()
    }

    /// What somebody is shown who looks back so far.
    fn shown(&self, reach: Reach, micros: u64) -> Vec<&Known> {
        let stored = self.stored();
        let first = stored.len().saturating_sub(reach.count);
        let is_young = |message: &&Known| reach.age == Duration::MAX || message.micros + reach.age.as_micros() as u64 > micros;
        stored[first..].iter().copied().filter(is_young).collect()
    }
}

/// Seq, id, epoch and offset of a message.
type Told = (Seq, i64, u64, u64);

struct Subscription {
    reactor: u16,
    joined: Joined,
    lives: Vec<usize>,
}

struct Model {
    hub: Hub,
    now: Now,
    count: usize,
    lives: Vec<Life>,
    subscriptions: Vec<Subscription>,
    documents: Documents,
    records: Records,
    /// What topics left that were forgotten, and when.
    remembered: [Option<(Past, u64)>; NAMES.len()],
    /// What each reactor still must be told, in order.
    expected: [Vec<Told>; REACTORS],
    begin: Stamp,
    last: Stamp,
}

/// Carries out what the bytes say and compares after each step.
pub fn hub(bytes: &[u8]) {
    let mut model = Model::new();
    let mut bytes = bytes.iter().copied();
    while let Some(operation) = bytes.next() {
        let mut next = || usize::from(bytes.next().unwrap_or(0));
        if operation >= 224 {
            model.ask_history(next(), next(), next());
            continue;
        }
        if (176..192).contains(&operation) {
            model.touch_records(usize::from(operation), next(), next());
            model.compare();
            continue;
        }
        if operation >= 192 {
            model.touch_document(usize::from(operation), next(), next());
            model.compare();
            continue;
        }
        match operation % 10 {
            0..=2 => model.publish(vec![(next() % 4, next())]),
            3 => {
                let list = (0..next() % 4).map(|_| (next() % 4, next())).collect();
                model.publish(list);
            }
            4 | 5 => model.attach(next(), next(), next(), next()),
            6 => model.read(next(), next()),
            7 => model.detach(next()),
            8 => model.pass(next()),
            _ => match next() % 4 {
                0 => model.delete(next()),
                1 => model.resize(next()),
                2 => model.now.unix_micros -= next() as u64 * 1_000_000,
                _ => model.pass(next() % 64),
            },
        }
        model.compare();
    }
}

impl Model {
    fn new() -> Model {
        let now = Now { micros: 0, unix_micros: 1_700_000_000_000_000 };
        let hub = Hub::new(settings(5, 0), REACTORS, now, Arc::new(Metrics::new(REACTORS)));
        let mut model = Model {
            hub,
            now,
            count: 5,
            lives: Vec::new(),
            subscriptions: Vec::new(),
            documents: Documents::default(),
            records: Records::default(),
            remembered: [None; NAMES.len()],
            expected: Default::default(),
            begin: Stamp::default(),
            last: Stamp::default(),
        };
        model.begin = model.head();
        model
    }

    fn origin(reactor: u16) -> Origin {
        Origin { reactor, connection: Token::new(1, 1), ticket: 1 }
    }

    /// Hands over a request and takes what it brings: deliveries are compared, other replies come back.
    fn handle(&mut self, request: ToHub) -> Vec<ToReactor> {
        self.hub.handle(request, self.now);
        self.collect()
    }

    fn collect(&mut self) -> Vec<ToReactor> {
        let mut others = Vec::new();
        for reactor in 0..REACTORS {
            let mut replies = Vec::new();
            self.hub.take_replies(reactor, &mut replies);
            let mut told = Vec::new();
            for reply in replies {
                match reply {
                    ToReactor::Deliver { message, .. } => {
                        told.push((message.stamp.seq, message.id, message.epoch, message.offset));
                    }
                    ToReactor::Removed { ref message, last, topic, .. } => {
                        let life = self.lives.iter().find(|life| life.id == Some(topic)).expect("only known topics are removed");
                        let stored = life.messages.iter().rfind(|message| message.stored);
                        assert_eq!(last, stored.map_or(life.past.newest.seq, |message| message.stamp.seq));
                        told.push((message.stamp.seq, message.id, message.epoch, message.offset));
                        others.push(reply);
                    }
                    other => others.push(other),
                }
            }
            self.expected[reactor].extend(told);
        }
        others.extend(self.hub.take_acknowledgements().map(|(_, reply)| reply));
        others
    }

    fn answer(&mut self, request: ToHub) -> Answer {
        let answer = self.handle(request).into_iter().find_map(|reply| match reply {
            ToReactor::Answer { answer, .. } => Some(*answer),
            _ => None,
        });
        answer.expect("it was answered at once")
    }

    fn head(&mut self) -> Stamp {
        match self.answer(ToHub::Ask { origin: Model::origin(0), question: Question::Head }) {
            Answer::Head(head) => head,
            other => panic!("{other:?}"),
        }
    }

    fn report(&mut self) -> Report {
        let question = Question::Report(Selection::Prefix("".into()));
        match self.answer(ToHub::Ask { origin: Model::origin(0), question }) {
            Answer::Report(report) => *report,
            other => panic!("{other:?}"),
        }
    }

    fn living(&self, name: usize) -> Option<usize> {
        self.lives.iter().position(|life| life.name == name && !life.ended)
    }

    fn life_of(&mut self, name: usize) -> usize {
        self.living(name).unwrap_or_else(|| {
            let (messages, subscribers) = (Vec::new(), [0; REACTORS]);
            let unused_since = Some(self.now.micros);
            let past = self.remembered_of(name).unwrap_or_default();
            self.remembered[name] = None;
            self.lives.push(Life { id: None, name, messages, past, subscribers, ended: false, unused_since });
            self.lives.len() - 1
        })
    }

    fn remembered_of(&self, name: usize) -> Option<Past> {
        self.remembered[name].filter(|(_, since)| since + POSITIONS_AGE > self.now.micros).map(|(past, _)| past)
    }

    fn publish(&mut self, list: Vec<(usize, usize)>) {
        let entries = list.iter().map(|&(name, what)| Entry {
            topic: NAMES[name].into(),
            payload: [what as u8][..].into(),
            store: what % 4 != 0,
            event: None,
            key: None,
            except: None,
        });
        let entries = entries.collect();
        let answer = self.answer(ToHub::Publish { origin: Model::origin(1), entries, report: None });
        let Answer::Published { published, .. } = answer else { panic!("{answer:?}") };
        let mut wanted: [Vec<Told>; REACTORS] = Default::default();
        for (&(name, what), published) in list.iter().zip(published) {
            assert!(published.stamp.seq > self.last.seq && published.stamp.position() > self.last.position());
            self.last = published.stamp;
            let life = self.life_of(name);
            let life = &mut self.lives[life];
            let listened = life.subscribers.iter().sum::<usize>() > 0;
            let stored = what % 4 != 0;
            let micros = self.now.micros;
            // Nobody waits for an unstored message that nobody could hear.
            let gone = !stored && !listened;
            let (mut epoch, mut offset) = (0, 0);
            if stored {
                let past = &mut life.past;
                past.epoch = if past.offset == 0 { published.stamp.seq.0 } else { past.epoch };
                past.offset += 1;
                past.newest = published.stamp;
                (epoch, offset) = (past.epoch, past.offset);
            }
            life.messages.push(Known { stamp: published.stamp, payload: what as u8, stored, micros, gone, offset });
            life.unused_since = Some(micros);
            for (reactor, wanted) in wanted.iter_mut().enumerate() {
                if life.subscribers[reactor] > 0 {
                    wanted.push((published.stamp.seq, life.messages.len() as i64, epoch, offset));
                }
            }
            self.trim();
        }
        for (told, wanted) in self.expected.iter_mut().zip(wanted) {
            assert_eq!(std::mem::take(told), wanted, "each interested reactor is told once, in order");
        }
    }

    /// Drops from the model what the windows drop.
    fn trim(&mut self) {
        let (now, count) = (self.now.micros, self.count);
        for life in self.lives.iter_mut().filter(|life| !life.ended) {
            for (stored, age) in [(true, AGE), (false, UNSTORED_AGE)] {
                let kept = life.messages.iter_mut().rev().filter(|message| message.stored == stored && !message.gone);
                for (index, message) in kept.enumerate() {
                    message.gone = index >= count || message.micros + age <= now;
                }
            }
        }
    }

    /// A cursor as clients have them: of a message, around it, of a second, of nothing.
    fn cursor(&self, what: usize, which: usize) -> Cursor {
        let stamps: Vec<Stamp> = self.lives.iter().flat_map(|life| &life.messages).map(|message| message.stamp).collect();
        let Stamp { seconds, tag, .. } = stamps.get(which % stamps.len().max(1)).copied().unwrap_or(self.begin);
        let stamp = match what % 8 {
            0 => None,
            1..=3 => Some((seconds, Some(u64::from(tag)))),
            4 => Some((seconds, None)),
            5 => Some((seconds, Some(0))),
            6 => Some((0, Some(which as u64))),
            _ => Some((self.last.seconds + which as u64 * 100, Some(7))),
        };
        Cursor { stamp, event: None }
    }

    fn attach(&mut self, reactor: usize, names: usize, start: usize, which: usize) {
        let reactor = reactor % REACTORS;
        let head = self.head();
        let chosen: Vec<usize> = (0..4).filter(|name| names >> name & 1 == 1).collect();
        let start_at = match start / 8 % 8 {
            0 => StartAt::Now,
            1 => StartAt::Last(which as u32 % 8),
            _ => StartAt::Cursor,
        };
        let topics = chosen.iter().enumerate().map(|(index, &name)| JoinTopic {
            id: SubscriptionId(index as u16),
            name: NAMES[name].into(),
            start: start_at,
            must_have_messages: names & 32 != 0,
        });
        let cursor = self.cursor(start, which);
        let reach = reach(start / 64);
        let missed = (names & 64 != 0).then(|| self.missed(names, start, which));
        let join = Join {
            topics: topics.collect(),
            cursor: cursor.clone(),
            reach,
            subscribers_max: SUBSCRIBERS_MAX as u32,
            history: missed.clone(),
            document: None,
            records: None,
        };
        let origin = Model::origin(reactor as u16);
        let stored = |name| self.living(name).map_or(0, |life| self.lives[life].shown(reach, self.now.micros).len());
        let subscribers = |name| self.living(name).map_or(0, |life| self.lives[life].subscribers.iter().sum());
        let refusal = if names & 32 != 0 && chosen.iter().any(|&name| stored(name) == 0) {
            Some(Refusal::TopicMissing)
        } else if chosen.iter().any(|&name| subscribers(name) >= SUBSCRIBERS_MAX) {
            Some(Refusal::TopicFull)
        } else {
            None
        };
        let joined = match self.handle(ToHub::Join { origin, join: Box::new(join), first: true }).pop() {
            Some(ToReactor::Joined { joined, .. }) => *joined,
            Some(ToReactor::Refused { refusal: given, .. }) => return assert_eq!(Some(given), refusal),
            other => panic!("{other:?}"),
        };
        assert_eq!(refusal, None);
        assert_eq!(joined.head, head);
        let lives: Vec<usize> = chosen.iter().map(|&name| self.life_of(name)).collect();
        for (topic, &life) in joined.topics.iter().zip(&lives) {
            assert!(self.lives[life].id.is_none_or(|id| id == topic.topic), "a topic keeps its handle for life");
            self.lives[life].id = Some(topic.topic);
            self.lives[life].subscribers[reactor] += 1;
        }
        self.compare_start(&joined, &lives, start_at, &cursor, reach);
        match &missed {
            Some(missed) => self.compare_history(&joined.replay, missed, reach),
            None => assert!(joined.replay.is_none()),
        }
        self.subscriptions.push(Subscription { reactor: reactor as u16, joined, lives });
        self.read(self.subscriptions.len() - 1, 0);
    }

    /// What a join answered about its cursor, against all that was ever published.
    fn compare_start(&self, joined: &Joined, lives: &[usize], start_at: StartAt, cursor: &Cursor, reach: Reach) {
        let position = |stamp: Stamp| (stamp.seconds, u64::from(stamp.tag));
        let newest = position(joined.head);
        let foreign = cursor.stamp.is_some_and(|(seconds, tag)| (seconds, tag.unwrap_or(0)) > newest);
        assert_eq!(joined.foreign, foreign);
        let start = cursor.stamp.filter(|_| !foreign).map(|(seconds, tag)| (seconds, tag.unwrap_or(u64::MAX)));
        assert_eq!(joined.start.is_some(), start.is_some());
        for (topic, &index) in joined.topics.iter().zip(lives) {
            let stored = self.lives[index].shown(reach, self.now.micros);
            let replayed = stored.iter().filter(|message| message.stamp.seq > topic.from).count();
            let wanted = match (start_at, start) {
                (StartAt::Now, _) | (StartAt::Cursor, None) => 0,
                (StartAt::Cursor, Some((0, _))) => stored.len(),
                (StartAt::Cursor, Some(start)) => stored.iter().filter(|message| position(message.stamp) > start).count(),
                (StartAt::Last(count), _) => stored.len().min(count as usize),
                (StartAt::After(_), _) => unreachable!("topics of endpoints are joined so"),
            };
            assert_eq!(replayed, wanted);
        }
        let Some(start) = start.filter(|&(seconds, _)| seconds > 0 && start_at == StartAt::Cursor) else {
            return assert_eq!(joined.gap, foreign);
        };
        let of_these = |life: &&Life| lives.iter().any(|&index| self.lives[index].name == life.name);
        if self.lives.iter().filter(of_these).flat_map(|life| self.gone(life, reach)).any(|stamp| position(stamp) > start) {
            assert!(joined.gap, "a loss is never kept quiet");
        }
        let nothing_is_gone = self.lives.iter().all(|life| self.gone(life, reach).is_empty()) && self.records.gone().count() == 0;
        if nothing_is_gone && !lives.is_empty() {
            assert_eq!(joined.gap, start < position(self.begin), "nothing was ever lost");
        }
    }

    /// The stored messages of a topic that somebody is not shown any more.
    fn gone(&self, life: &Life, reach: Reach) -> Vec<Stamp> {
        let first = life.shown(reach, self.now.micros).first().map(|message| message.stamp);
        let stored = life.messages.iter().filter(|message| message.stored);
        let stamps = stored.map(|message| message.stamp);
        stamps.filter(|&stamp| life.ended || first.is_none_or(|first| stamp < first)).collect()
    }

    /// Where somebody says to have stopped: at an offset, before a second, at a place in the order.
    fn missed(&self, names: usize, what: usize, which: usize) -> Vec<Missed> {
        let chosen = (0..NAMES.len()).filter(|name| names >> name & 1 == 1);
        let stamps: Vec<Stamp> = self.lives.iter().flat_map(|life| &life.messages).map(|message| message.stamp).collect();
        let some = |number: usize| stamps.get(number % stamps.len().max(1)).copied().unwrap_or(self.begin);
        let missed = chosen.map(|name| Missed {
            topic: NAMES[name].into(),
            after: match what % 4 {
                0 => After::Before(some(which).seconds + which as u64 % 2),
                1 => After::Seq(some(which).seq),
                _ => {
                    let lives = self.lives.iter().filter(|life| life.name == name);
                    let epochs: Vec<u64> = lives.map(|life| life.past.epoch).collect();
                    let epoch = epochs.iter().rev().nth(which / 16 % 2).copied().unwrap_or(0);
                    After::Offset { epoch, offset: which as u64 % 16 }
                }
            },
            until: if what & 32 == 0 { Seq(u64::MAX) } else { some(which + 3).seq },
        });
        missed.collect()
    }

    fn ask_history(&mut self, names: usize, what: usize, which: usize) {
        let reach = reach(what / 64);
        let missed = self.missed(names, what, which);
        let question = Question::History { missed: missed.clone(), reach };
        match self.answer(ToHub::Ask { origin: Model::origin(0), question }) {
            Answer::History(replay) => self.compare_history(&replay, &missed, reach),
            other => panic!("{other:?}"),
        }
    }

    /// What a history answered, against all that was ever published.
    fn compare_history(&self, replay: &Replay, missed: &[Missed], reach: Reach) {
        let (mut wanted, mut is_gone, mut may_be_gone) = (Vec::new(), false, false);
        for Missed { topic, after, until } in missed {
            let name = NAMES.iter().position(|name| *name == topic.as_str()).expect("only these are asked for");
            let living = self.living(name).map(|life| &self.lives[life]);
            let shown = living.map_or(Vec::new(), |life| life.shown(reach, self.now.micros));
            let is_after = |stamp: Stamp| match *after {
                After::Before(second) => stamp.seconds >= second,
                After::Seq(seq) => stamp.seq > seq,
                After::Offset { .. } => false,
            };
            let begins_later = match *after {
                After::Before(second) => (second, 0) < self.begin.position(),
                After::Seq(seq) => seq < self.begin.seq,
                After::Offset { epoch, offset } => {
                    let past = living.map(|life| life.past).or(self.remembered_of(name)).unwrap_or_default();
                    let first = past.offset - shown.len() as u64;
                    past.offset == 0 || epoch != past.epoch || offset < first || offset > past.offset
                }
            };
            let lost: Vec<&Life> = self.lives.iter().filter(|life| self.gone(life, reach).into_iter().any(is_after)).collect();
            is_gone |= begins_later || lost.iter().any(|life| life.name == name);
            // Of topics that are no more the hub knows but the newest stamp.
            may_be_gone |= lost.iter().any(|life| life.ended) || self.records.gone().any(is_after);
            let missed = shown.iter().filter(|message| {
                let is_after = match *after {
                    After::Offset { offset, .. } => message.offset > offset,
                    After::Before(_) | After::Seq(_) => is_after(message.stamp),
                };
                is_after && message.stamp.seq <= *until
            });
            wanted.extend(missed.map(|message| message.stamp.seq));
        }
        wanted.sort_unstable();
        match replay {
            Some(messages) => {
                assert!(!is_gone, "a loss is never kept quiet");
                assert_eq!(messages.iter().map(|message| message.stamp.seq).collect::<Vec<_>>(), wanted);
            }
            None => assert!(is_gone || may_be_gone, "nothing was lost"),
        }
    }

    fn read(&mut self, which: usize, back: usize) {
        let count = self.subscriptions.len();
        if count == 0 {
            return;
        }
        let Subscription { reactor, joined, lives } = &self.subscriptions[which % count];
        let first = joined.topics.iter().map(|topic| topic.from).min().unwrap_or(joined.head.seq);
        let seqs = self.lives.iter().flat_map(|life| &life.messages).map(|message| message.stamp.seq);
        let mut seqs: Vec<Seq> = seqs.filter(|&seq| seq >= first).collect();
        seqs.sort_unstable();
        let after = if back == 0 { first } else { seqs.get(back % seqs.len().max(1)).copied().unwrap_or(first) };
        let joined_at = joined.head.seq;
        let topics: Vec<ReadTopic> =
            joined.topics.iter().map(|topic| ReadTopic { topic: topic.topic, from: topic.from, joined: joined_at }).collect();

        let (mut all, mut kept, mut expired, mut ended) = (Vec::new(), Vec::new(), Vec::new(), false);
        for (topic, &life) in topics.iter().zip(lives) {
            ended |= self.lives[life].ended;
            for message in &self.lives[life].messages {
                let position = if message.stored { topic.from } else { topic.joined };
                if message.stamp.seq <= position.max(after) {
                    continue;
                }
                all.push((message.stamp, message.payload));
                if !message.gone {
                    kept.push((message.stamp, message.payload));
                } else if message.stored && self.now.micros - message.micros >= AGE {
                    expired.push(message.stamp);
                }
            }
        }
        all.sort_unstable();
        kept.sort_unstable();

        let origin = Model::origin(*reactor);
        self.handle(ToHub::Read { origin, after, topics });
        assert!(!self.hub.serve_reads(self.now, || true));
        let backlog = match self.collect().pop() {
            Some(ToReactor::Backlog { backlog, .. }) => *backlog,
            other => panic!("{other:?}"),
        };
        let Backlog { messages, end, complete, lost: told_lost } = backlog;
        let got: Vec<(Stamp, u8)> =
            messages.iter().map(|(_, message): &(_, Arc<Message>)| (message.stamp, message.payload[0])).collect();
        assert!(all.len() < PAGE_MESSAGES, "one page holds everything");
        // What was evicted may still be there for those who joined before; what has expired never is.
        assert!(got.is_sorted() && got.iter().all(|message| all.contains(message) && !expired.contains(&message.0)));
        assert!(kept.iter().all(|message| got.contains(message)), "{got:?} lacks some of {kept:?}");
        // Of topics that are no more the hub keeps but one mark per place, so it may tell of a loss too much.
        let lost = got != all;
        assert!(
            told_lost == lost || told_lost && ended,
            "told {told_lost}, lost {lost}: {got:?} of {all:?}, kept {kept:?}, expired {expired:?}"
        );
        assert!(complete);
        assert_eq!(end, self.head().seq);
    }

    fn detach(&mut self, which: usize) {
        if self.subscriptions.is_empty() {
            return;
        }
        let Subscription { reactor, joined, lives } = self.subscriptions.remove(which % self.subscriptions.len());
        let topics = joined.topics.iter().map(|topic| topic.topic).collect();
        assert!(self.handle(ToHub::Leave { reactor, topics, last: true }).is_empty());
        for index in lives {
            let life = &mut self.lives[index];
            if life.ended {
                continue;
            }
            life.subscribers[usize::from(reactor)] -= 1;
            life.unused_since = Some(self.now.micros);
            if life.subscribers.iter().sum::<usize>() == 0 {
                life.messages.iter_mut().filter(|message| !message.stored).for_each(|message| message.gone = true);
            }
        }
    }

    fn delete(&mut self, names: usize) {
        let chosen: Vec<usize> = (0..4).filter(|name| names >> name & 1 == 1).collect();
        let lives: Vec<usize> = chosen.iter().filter_map(|&name| self.living(name)).collect();
        let topics: Vec<TopicName> = chosen.iter().map(|&name| NAMES[name].into()).collect();
        let told = self.handle(ToHub::Delete { origin: Model::origin(0), topics, payload: b"-"[..].into() });
        let Some(ToReactor::Answer { answer, .. }) = told.last() else { panic!("{told:?}") };
        assert!(matches!(**answer, Answer::Deleted(count) if count == lives.len()), "{answer:?}");
        for reactor in 0..REACTORS {
            let heard = lives.iter().filter(|&&life| self.lives[life].subscribers[reactor] > 0).count();
            let told = std::mem::take(&mut self.expected[reactor]);
            assert_eq!(told.iter().filter(|(seq, id, ..)| *id == -2 && *seq > self.last.seq).count(), heard);
            assert_eq!(told.len(), heard);
        }
        for life in lives {
            self.end(life);
        }
        for name in chosen {
            self.remembered[name] = None;
        }
    }

    fn end(&mut self, life: usize) {
        let life = &mut self.lives[life];
        life.ended = true;
        life.messages.iter_mut().for_each(|message| message.gone = true);
    }

    fn pass(&mut self, amount: usize) {
        let micros = amount as u64 * amount as u64 * 1_000;
        self.now.micros += micros;
        self.now.unix_micros += micros;
        self.trim();
        self.hub.tick(self.now);
        assert!(self.collect().is_empty());
    }

    fn resize(&mut self, count: usize) {
        self.count = count % 8;
        self.trim();
        self.resettle();
    }

    fn resettle(&mut self) {
        let settings = settings(self.count, self.records.generation);
        self.handle(ToHub::Settings(Box::new(settings)));
        self.hub.tick(self.now);
    }

    /// The sums and rows against the model; topics that the hub forgot must have had nothing for long enough.
    fn compare(&mut self) {
        self.trim();
        self.compare_documents();
        self.compare_records();
        let report = self.report();
        self.hub.check();
        for index in 0..self.lives.len() {
            if self.lives[index].ended {
                continue;
            }
            let name = NAMES[self.lives[index].name];
            let Some(row) = report.rows.iter().find(|row| row.name.as_str() == name) else {
                let life = &self.lives[index];
                assert!(life.is_unused(), "{name} was forgotten with messages or subscribers");
                assert!(life.unused_since.is_none_or(|since| since + IDLE <= self.now.micros), "{name} was forgotten early");
                if life.past.offset > 0 {
                    self.remembered[life.name] = Some((life.past, self.now.micros));
                }
                self.end(index);
                continue;
            };
            let life = &self.lives[index];
            assert_eq!(row.published, life.messages.len() as u64);
            assert_eq!(row.stored, life.stored().len() as u64);
            assert_eq!(row.subscribers, life.subscribers.iter().sum::<usize>() as u64);
        }
        let living: Vec<&Life> = self.lives.iter().filter(|life| !life.ended).collect();
        assert_eq!(report.topics, living.len() as u64);
        assert_eq!(report.rows.len(), living.len());
        assert_eq!(report.published, living.iter().map(|life| life.messages.len() as u64).sum::<u64>());
        assert_eq!(report.stored, living.iter().map(|life| life.stored().len() as u64).sum::<u64>());
        for reactor in 0..REACTORS {
            let here = self.subscriptions.iter().filter(|subscription| usize::from(subscription.reactor) == reactor);
            let connections = here.count() + self.documents.connections(reactor) + self.records.connections(reactor);
            assert_eq!(report.reactors[reactor].subscribers, connections as u64);
            assert!(self.expected[reactor].is_empty(), "told without a reason");
        }
    }
}

/// How far a dialect looks back.
fn reach(which: usize) -> Reach {
    let (count, age) = (2, Duration::from_secs(7));
    match which % 4 {
        0 => Reach::EVERYTHING,
        1 => Reach { count, ..Reach::EVERYTHING },
        2 => Reach { age, ..Reach::EVERYTHING },
        _ => Reach { count, age },
    }
}

fn settings(count: usize, generation: u64) -> Settings {
    Settings {
        window: Window { count, bytes: u64::MAX, age: Duration::from_micros(AGE) },
        reported: Reach::EVERYTHING,
        topic_idle: Duration::from_micros(IDLE),
        topics_max: 0,
        wildcard_prefix: "".into(),
        wildcard_topics_max: 0,
        events_topic: None,
        heartbeats: Vec::new(),
        log_bytes_max: u64::MAX,
        unstored_age: Duration::from_micros(UNSTORED_AGE),
        key_age: Duration::from_secs(1),
        keys_max: 10,
        positions_age: Duration::from_micros(POSITIONS_AGE),
        positions_max: 1_000,
        conversations_max: 1_000_000,
        conversation_bytes_max: 256 << 20,
        tombstone_age: Duration::from_micros(TOMBSTONE_AGE),
        tokens_max: 1_000_000,
        endpoints: records::settings(generation),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What random bytes hardly ever ask for: an endpoint is configured, gone for so long, and configured again, then listened to.
    #[test]
    fn an_endpoint_that_comes_back_in_time_or_too_late_is_what_the_model_says() {
        for (amount, which, how) in
            [40, 115, 140, 255].into_iter().flat_map(|amount| (0..6).map(move |which| (amount, which, 128)))
        {
            let begins = [183, 0, 2, 176, 4, 0, 177, 2, 0];
            let goes = [183, 0, 1, 8, amount, 183, 0, 2];
            let listens = [180, which, how, 180, which, how + 1, 180, which, 0, 176, 2, 0, 181, 0, 0, 180, which, how];
            hub(&[&begins[..], &goes, &listens, &goes, &listens].concat());
        }
    }

    #[test]
    fn the_hub_does_what_the_model_says_whatever_is_asked() {
        for seed in 1..=2_000u64 {
            let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let bytes: Vec<u8> = (0..300)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    (state >> 24) as u8
                })
                .collect();
            let result = std::panic::catch_unwind(|| hub(&bytes));
            assert!(result.is_ok(), "seed {seed}");
        }
    }

    #[test]
    fn what_was_found_once_is_not_found_again() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/hub");
        let files = std::fs::read_dir(corpus).expect("the corpus is part of the project");
        let replayed = files.map(|file| hub(&std::fs::read(file.unwrap().path()).unwrap())).count();
        assert!(replayed > 0);
    }
}
