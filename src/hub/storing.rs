//! What the hub does for the next process: what it keeps, what it notes, and what happens when a commit fails.

use crate::engine::durable::Durable;
use crate::engine::{Change, Kept, Transaction};
use crate::exchange::{AlterRefusal, Answer, Refusal, Revocation, TopicId, WriteRefusal, is_of_owner};
use crate::hub::log::{Keep, kept_bytes};
use crate::hub::request::{Origin, ToHub};
use crate::hub::topic::Topic;
use crate::hub::{Hub, Waiting};
use crate::message::{Message, Seq, Stamp, TopicName};
use crate::storage::{Key, RecordRow, Remains, RemovedEndpoint, Report, Stored, TokenChange};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Whatever was given or has happened is committed within this time.
const SETTLED_WITHIN: Duration = Duration::from_secs(1);
/// There is more to note than fits into one commit.
const MORE: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
pub struct Storing {
    /// When the newest stamp and the notes have to be committed, in monotonic microseconds; `None`: they are.
    due: Option<u64>,
    /// What was asked behind a deletion that waits: a topic of that name begins anew, but not before the old one has ended.
    held: VecDeque<ToHub>,
    /// Answers to what counts already, each with the unit that has to be committed before it is given.
    late: VecDeque<(u64, Late)>,
}

/// An answer, and whether it would say of something that it is kept.
#[derive(Debug)]
pub struct Late {
    pub origin: Origin,
    pub kept: bool,
    pub answer: Answer,
}

impl Storing {
    pub fn answer_after(&mut self, unit: u64, late: Late) {
        debug_assert!(self.late.back().is_none_or(|&(last, _)| last <= unit));
        self.late.push_back((unit, late));
    }

    pub fn due(&self) -> Option<u64> {
        self.due
    }
}

impl Hub {
    pub(super) fn durable(&mut self) -> Option<&mut Durable> {
        self.storing.as_ref()?;
        self.engine.durable()
    }

    /// Why what has to outlive the process is not taken now.
    pub(super) fn storage_refusal(&mut self) -> Option<Refusal> {
        self.durable()?.refusal()
    }

    pub(super) fn can_store(&mut self) -> bool {
        self.durable().is_none_or(|durable| durable.is_available())
    }

    /// Whether what counts may not be committed yet.
    pub(super) fn is_ahead(&mut self) -> bool {
        self.durable().is_some_and(|durable| durable.is_ahead())
    }

    /// Whether a publication, a deletion, a write or an alteration has to wait for the end of a topic.
    pub(super) fn must_hold(&mut self) -> bool {
        self.storing
            .as_ref()
            .is_some_and(|storing| !storing.held.is_empty() || self.engine.durable().is_some_and(|durable| durable.ends_wait()))
    }

    pub(super) fn hold(&mut self, request: ToHub) {
        self.storing.as_mut().expect("only what is stored makes others wait").held.push_back(request);
    }

    fn order_held(&mut self) {
        while !self.durable().is_some_and(|durable| durable.ends_wait()) {
            let Some(request) = self.storing.as_mut().and_then(|storing| storing.held.pop_front()) else { return };
            match request {
                ToHub::Publish { origin, entries, report } => self.publish(origin, entries, report),
                ToHub::Delete { origin, topics, payload } => self.delete(origin, topics, payload),
                ToHub::Write { origin, write } => self.write(origin, write),
                ToHub::Alter { origin, alter } => self.alter(origin, *alter),
                other => unreachable!("nothing else is held: {other:?}"),
            }
        }
    }

    /// What is kept of a stored message that was just stamped.
    pub(super) fn keep(&mut self, id: TopicId, stamp: Stamp) -> Option<Box<Kept>> {
        let waits = self.durable()?.follow(id, stamp);
        let topic = self.topics.get(id)?;
        let previous = waits.or_else(|| topic.last_stored()).unwrap_or(topic.floor);
        Some(Box::new(Kept { previous, group: group(topic), key: None }))
    }

    pub(super) fn keep_key(&mut self, change: &mut Change, with: &Key) {
        if self.storing.is_some()
            && let Change::Append { kept, .. } = change
        {
            let kept = kept.get_or_insert_with(|| Box::new(Kept { previous: Stamp::default(), group: None, key: None }));
            kept.key = Some(with.clone());
        }
    }

    pub(super) fn remember_key(&mut self, key: Key, stamp: Stamp, since: u64) {
        let mut newest = None;
        self.keys.add(key, stamp, since, self.settings.keys_max, |_, stamp| newest = newest.max(Some(stamp)));
        newest.into_iter().for_each(|stamp| self.note_key(stamp));
    }

    pub(super) fn expire_keys(&mut self, budget: usize) {
        if !self.keys.is_due(self.settings.key_age, self.now.micros) {
            return;
        }
        let mut newest = None;
        self.keys.expire(self.settings.key_age, self.now.micros, budget, |_, stamp| newest = newest.max(Some(stamp)));
        newest.into_iter().for_each(|stamp| self.note_key(stamp));
    }

    /// Keys are forgotten in the order of their stamps.
    fn note_key(&mut self, stamp: Stamp) {
        if let Some(durable) = self.durable() {
            durable.notes.keys_until = durable.notes.keys_until.max(stamp.seq);
            self.unsettle();
        }
    }

    /// A topic is no more: what is older than its newest message may be gone. Of an owner's changes the endpoint's topic knows.
    pub(super) fn pass_removed(&mut self, topic: &Topic) {
        if let Some(last) = topic.last_stored().filter(|_| !is_of_owner(&topic.name)) {
            self.removed = self.removed.max(last);
        }
    }

    /// A topic is forgotten; for a while it is known how far it had come.
    pub(super) fn forget(&mut self, topic: &Topic) {
        if is_of_owner(&topic.name) {
            return;
        }
        if let Some(past) = topic.past() {
            let forgotten = Some(self.now.unix_micros);
            self.note_remains(&topic.name, Some(Remains { forgotten, ..remains(topic) }));
            let (name, mut names) = (topic.name.clone(), Vec::new());
            self.positions.add(name, past, self.now.micros, self.settings.positions_max, |name, _| names.push(name));
            names.iter().for_each(|name| self.note_remains(name, None));
        }
        self.note_removed(topic);
    }

    pub(super) fn expire_positions(&mut self, budget: usize) {
        if !self.positions.is_due(self.settings.positions_age, self.now.micros) {
            return;
        }
        let mut names = Vec::new();
        self.positions.expire(self.settings.positions_age, self.now.micros, budget, |name, _| names.push(name));
        names.iter().for_each(|name| self.note_remains(name, None));
    }

    /// Nothing of a topic is known any more.
    pub(super) fn note_ended(&mut self, name: &TopicName) {
        self.note_remains(name, None);
    }

    pub(super) fn note_evicted(&mut self, message: &Message) {
        if message.stored
            && let Some(durable) = self.durable()
        {
            durable.evicted.push_back(message.stamp.seq);
            self.unsettle();
        }
    }

    /// A document is no more: what was left of it goes, and its version is not used again.
    pub(super) fn note_forgotten(&mut self, topic: &Topic) {
        if self.storing.is_some() {
            topic.log.from(0).for_each(|message| self.note_evicted(message));
            if let Some(durable) = self.durable() {
                durable.notes.forgotten = durable.notes.forgotten.max(topic.published);
            }
        }
    }

    pub(super) fn expire_tokens(&mut self, budget: usize) {
        let now = self.now.unix_millis();
        if !self.tokens.is_due(now) {
            return;
        }
        let expired = self.tokens.expire(now, budget);
        if !expired.is_empty()
            && let Some(durable) = self.durable()
        {
            durable.notes.expired.extend(expired);
            self.unsettle();
        }
    }

    /// Messages of a topic were evicted, maybe all of them.
    pub(super) fn note_emptied(&mut self, id: TopicId) {
        if self.storing.is_none() {
            return;
        }
        self.unsettle();
        if let Some(topic) = self.topics.get(id).filter(|topic| topic.log.is_empty() && !is_of_owner(&topic.name)) {
            // Without a stored message there is nothing to go on with.
            let (name, remains) = (topic.name.clone(), topic.last_stored().map(|_| remains(topic)));
            self.note_remains(&name, remains);
        }
    }

    fn note_remains(&mut self, name: &TopicName, remains: Option<Remains>) {
        if let Some(durable) = self.durable() {
            durable.notes.topics.insert(name.clone(), remains);
            self.unsettle();
        }
    }

    fn note_removed(&mut self, topic: &Topic) {
        if let Some(last) = topic.last_stored()
            && let Some(durable) = self.durable()
        {
            durable.notes.removed = durable.notes.removed.max(last);
        }
    }

    /// Everything that is stored of a topic that is to end, or about to be.
    pub(super) fn stored_of(&mut self, id: TopicId) -> Box<[Stamp]> {
        let Some(durable) = self.storing.as_ref().and_then(|_| self.engine.durable()) else { return Box::default() };
        let Some(topic) = self.topics.get(id) else { return Box::default() };
        // If it stays, this only means that more care is taken than is needed.
        durable.notes.removed = durable.notes.removed.max(topic.last_stored().unwrap_or_default());
        let own = topic.log.from(0).filter(|message| topic.owns(message));
        own.map(|message| message.stamp).chain(durable.waiting(id)).collect()
    }

    /// There is something that the next process should know.
    pub(super) fn unsettle(&mut self) {
        if let Some(storing) = &mut self.storing
            && storing.due.is_none()
        {
            storing.due = Some(self.now.after(SETTLED_WITHIN));
        }
    }

    /// Has it committed when it is time.
    pub(super) fn settle(&mut self) {
        let Some(storing) = &mut self.storing else { return };
        if storing.due.is_some_and(|due| due <= self.now.micros) {
            storing.due = None;
            let head = self.sequencer.last();
            let more = self.engine.durable().is_some_and(|durable| durable.settle(head));
            let wait = if self.can_store() { MORE } else { SETTLED_WITHIN };
            if let Some(storing) = self.storing.as_mut().filter(|_| more) {
                storing.due = Some(self.now.after(wait));
            }
        }
    }

    pub(super) fn hear(&mut self, report: Report) {
        self.release();
        let Some(durable) = self.durable() else { return };
        let discarded = durable.hear(&report);
        // What was committed is applied now; after a failure nothing waits any more.
        self.release();
        if !discarded.is_empty() {
            for (_, transaction) in discarded {
                self.discard(transaction);
            }
            // The stamps that were given stay given.
            self.submit(SmallVec::new(), Waiting::Nothing);
        }
        match report {
            Report::Committed(_) => {}
            Report::Failed { .. } => self.refuse_late(),
            Report::Recovered => {
                self.catch_up();
                self.look_for_users(Duration::ZERO);
            }
        }
        self.answer_late();
        self.order_held();
        self.count_storage(&report);
    }

    /// Gives the answers that waited for what is committed now.
    fn answer_late(&mut self) {
        let Some(committed) = self.durable().map(|durable| durable.committed()) else { return };
        while let Some(storing) = &mut self.storing
            && storing.late.front().is_some_and(|(after, _)| *after <= committed)
            && let Some((_, late)) = storing.late.pop_front()
        {
            self.acknowledge_now(late.origin, late.answer);
        }
    }

    /// A commit failed. What counts already stays, and is committed with the recovery; but nobody is told that it is kept.
    fn refuse_late(&mut self) {
        let late = self.storing.as_mut().map(|storing| std::mem::take(&mut storing.late)).unwrap_or_default();
        for (_, Late { origin, kept, answer }) in late {
            let answer = match answer {
                answer if !kept => answer,
                Answer::Written(_) => Answer::Written(Err(WriteRefusal::Unavailable)),
                Answer::Altered(_) => Answer::Altered(Err(AlterRefusal::Unavailable)),
                _ => Answer::Refused(Refusal::StorageUnavailable),
            };
            self.totals.refused += u64::from(kept);
            self.acknowledge_now(origin, answer);
        }
    }

    fn catch_up(&mut self) {
        let head = self.sequencer.last();
        if let Some(durable) = self.durable() {
            durable.catch_up(head);
        }
    }

    /// Takes back what a failed commit would have kept.
    fn discard(&mut self, transaction: Transaction) {
        let mut revokes = false;
        for change in transaction.changes {
            match change {
                Change::Append { topic, message, kept } => {
                    if let Some(key) = kept.and_then(|kept| kept.key) {
                        self.keys.remove(&key);
                    }
                    if message.stored {
                        self.totals.coming_bytes -= kept_bytes(&message.payload, message.event.as_deref());
                    }
                    self.discard_second(&message);
                    let Some(found) = self.topics.get_mut(topic) else { continue };
                    found.take_back(&message);
                    self.totals.published -= u64::from(!found.name.is_reserved());
                    if found.is_document() {
                        self.discard_write(topic);
                    }
                    // What became due meanwhile waited for the message.
                    self.rest(topic, true);
                }
                // Its note went with the end that failed.
                Change::Remove { topic, .. } => {
                    self.note_emptied(topic);
                    self.note_again(topic);
                }
                Change::Alter { endpoint, records } => self.discard_alteration(&endpoint, &records),
                Change::Issue(issued) => {
                    self.tokens.give_back();
                    self.note_tokens([TokenChange::Revoke(Revocation::Token(issued.0))]);
                }
                Change::Revoke(revocation) => {
                    revokes = true;
                    let now = self.now.unix_millis();
                    self.tokens.keep();
                    let meant = self.tokens.meant(*revocation);
                    let stay = meant.into_iter().filter_map(|token| Some((token, self.tokens.find(token, now)?)));
                    let stay: Vec<_> = stay.map(|(token, grant)| TokenChange::Issue(token, grant)).collect();
                    self.note_tokens(stay);
                }
            }
        }
        match self.waiting.pop_front().expect("each transaction was submitted with what follows it").1 {
            // The users have not gone yet.
            Waiting::Nothing | Waiting::Revoked(_) => {}
            Waiting::User(user) => self.discard_user(user.0, user.1),
            Waiting::Published { origin, .. } | Waiting::Deleted { origin, .. } => {
                self.totals.refused += 1;
                self.acknowledge_now(origin, Answer::Refused(Refusal::StorageUnavailable));
            }
            Waiting::Written { origin, .. } => {
                self.totals.refused += 1;
                self.acknowledge_now(origin, Answer::Written(Err(WriteRefusal::Unavailable)));
            }
            Waiting::Altered { origin, .. } => {
                self.totals.refused += 1;
                self.acknowledge_now(origin, Answer::Altered(Err(AlterRefusal::Unavailable)));
            }
            Waiting::Issued { origin, .. } => self.acknowledge_now(origin, Answer::Refused(Refusal::StorageUnavailable)),
            Waiting::Refused { origin, refusal } => self.acknowledge_now(origin, Answer::Refused(refusal)),
            // What was revoked comes back with the next process: nobody may believe it.
            Waiting::Announced { origin, .. } if revokes => {
                self.acknowledge_now(origin, Answer::Refused(Refusal::StorageUnavailable));
            }
            // Nobody keeps it.
            Waiting::Announced { origin, notice } => {
                self.announce(&notice);
                self.acknowledge_now(origin, Answer::Announced);
            }
        }
    }

    /// The same of the second topic of a message.
    fn discard_second(&mut self, message: &Message) {
        let Some(second) = message.also.as_ref().and_then(|also| self.topics.find(&also.topic)) else { return };
        self.totals.coming_bytes -= kept_bytes(&message.payload, message.event.as_deref());
        if let Some(topic) = self.topics.get_mut(second) {
            topic.take_back(message);
        }
        self.rest(second, true);
    }

    /// A topic did not end, but a commit that failed may have reached the disk all the same.
    fn note_again(&mut self, id: TopicId) {
        let Some(topic) = self.topics.get(id) else { return };
        let group = group(topic);
        let (mut previous, mut again) = (topic.floor, Vec::new());
        for message in topic.log.from(0) {
            let age = self.now.micros.saturating_sub(message.ordered_micros);
            let unix_micros = self.now.unix_micros.saturating_sub(age);
            again.push(Stored { message: message.clone(), unix_micros, previous, group });
            previous = message.stamp;
        }
        if let Some(durable) = self.durable() {
            durable.notes.again.extend(again);
        }
    }

    pub(super) fn note_records(&mut self, rows: Vec<RecordRow>) {
        if let Some(durable) = self.durable() {
            durable.notes.records.extend(rows);
        }
    }

    /// Records are no more, although nobody ordered that.
    pub(super) fn note_gone(&mut self, places: impl Iterator<Item = Seq>) {
        if let Some(durable) = self.durable() {
            durable.notes.gone.extend(places);
            self.unsettle();
        }
    }

    pub(super) fn note_endpoint(&mut self, endpoint: &TopicName, removed: Option<RemovedEndpoint>) {
        if let Some(durable) = self.durable() {
            durable.notes.endpoints.insert(endpoint.clone(), removed);
            self.unsettle();
        }
    }

    pub(super) fn note_leaving(&mut self, endpoint: &TopicName, through: Option<Seq>) {
        if let Some(durable) = self.durable() {
            durable.notes.leaving.insert(endpoint.clone(), through);
            self.unsettle();
        }
    }

    fn note_tokens(&mut self, changes: impl IntoIterator<Item = TokenChange>) {
        if let Some(durable) = self.durable() {
            durable.notes.tokens.extend(changes);
        }
    }

    fn count_storage(&mut self, report: &Report) {
        let Some(durable) = self.durable() else { return };
        let failing = !durable.is_available();
        let metrics = &self.metrics.hub;
        metrics.storage_failing.store(failing.into(), Relaxed);
        match report {
            Report::Committed(_) => metrics.storage_commits.fetch_add(1, Relaxed),
            Report::Failed { .. } => metrics.storage_failures.fetch_add(1, Relaxed),
            Report::Recovered => 0,
        };
    }
}

fn group(topic: &Topic) -> Option<NonZeroU32> {
    match topic.log.keep() {
        Keep::Window => None,
        Keep::Newest { group } => Some(group),
    }
}

fn remains(topic: &Topic) -> Remains {
    let position = topic.released();
    let floor = topic.last_stored().unwrap_or(topic.floor);
    Remains { floor, epoch: position.epoch, offset: position.offset, published: topic.published, forgotten: None }
}

#[cfg(test)]
mod tests;
