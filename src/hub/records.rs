//! Records: altered through the gate, told of in one message per alteration, listed at an instant.
//!
//! Alterations are judged by what is ordered; joins and questions see what is released.

mod endpoints;
mod index;
mod leaving;
mod table;
#[cfg(test)]
mod tests;

use crate::engine::{Change, RecordChange};
use crate::exchange::{Alter, AlterRefusal, Alteration, JoinRecords, NewRecord, Notice, TopicId, owner_topic};
use crate::hub::log::{Keep, kept_bytes};
use crate::hub::publish::Content;
use crate::hub::request::Origin;
use crate::hub::{Hub, Waiting};
use crate::message::TopicName;
use crate::record::{Account, ChangeKind, Record, RecordId, RecordList, event_bytes_max, write_event};
use crate::storage::RecordRow;
use endpoints::Configured;
use hashbrown::HashMap;
use index::Index;
use leaving::Leaving;
use smallvec::SmallVec;
use std::sync::Arc;
use table::Table;

/// What a record costs beside its data and its account's strings: itself, its data's counts, its places in lists and tables, and what
/// the allocator rounds up (measured with a million records of 100 bytes).
const RECORD_BYTES: u64 = 256;

#[derive(Debug, Default)]
pub struct Records {
    /// Those that have records, or are about to.
    indices: HashMap<TopicName, Index>,
    configured: Configured,
    leaving: Leaving,
    /// Topics of endpoints that somebody listens to, and by the settings of which generation.
    listened: Table<(TopicId, (TopicName, u64))>,
}

impl Records {
    /// When there is something to do, in monotonic microseconds.
    pub fn due(&self) -> Option<u64> {
        self.configured.due()
    }

    /// The records of this owner, or all, of an endpoint that is configured.
    pub fn list(&self, endpoint: &TopicName, of: Option<RecordId>) -> RecordList {
        self.shown(endpoint).map_or(RecordList::default(), |index| index.list(of))
    }

    pub fn by_id(&self, endpoint: &TopicName, ids: &[RecordId], of: Option<RecordId>) -> Vec<Arc<Record>> {
        let Some(index) = self.shown(endpoint) else { return Vec::new() };
        let found = ids.iter().filter_map(|&id| index.find(id));
        found.filter(|record| of.is_none() || record.owner == of).cloned().collect()
    }

    pub fn named(&self, endpoint: &TopicName, name: &str) -> Option<Arc<Record>> {
        self.shown(endpoint)?.named(name).cloned()
    }

    fn shown(&self, endpoint: &TopicName) -> Option<&Index> {
        self.configured.generation(endpoint)?;
        self.indices.get(endpoint)
    }

    pub fn endpoints(&self) -> usize {
        self.indices.len()
    }

    /// Whether settings of this generation count for the endpoint.
    pub fn is_current(&self, records: &JoinRecords) -> bool {
        self.configured.generation(&records.endpoint) == Some(records.generation)
    }

    /// Somebody has subscribed to a topic by these settings.
    pub fn joined(&mut self, id: TopicId, records: &JoinRecords) {
        if self.listened.get(&id).is_none() {
            self.listened.insert((id, (records.endpoint.clone(), records.generation)));
        }
    }

    /// Nobody listens to this topic any more.
    pub fn left(&mut self, id: TopicId) {
        self.listened.remove(&id);
    }

    /// Whether those who listen to this topic came by settings that count no longer.
    fn is_stale(&self, id: TopicId) -> bool {
        // Most servers have no endpoints: nothing is looked up then.
        !self.listened.is_empty()
            && self.listened.get(&id).is_some_and(|(_, (endpoint, since))| self.configured.generation(endpoint) != Some(*since))
    }

    fn index(&mut self, endpoint: &TopicName) -> &mut Index {
        self.indices.entry(endpoint.clone()).or_default()
    }

    /// Walks over everything: how many records there are, and the bytes that those take that are ordered.
    #[cfg(any(test, fuzzing))]
    pub fn check_all(&self, is_quiet: bool) -> (u64, u64) {
        assert!(self.indices.values().all(|index| !index.is_unused()));
        self.configured.check(self.indices.keys());
        assert!(self.leaving.indices().all(Index::is_quiet));
        let all = || self.indices.values().chain(self.leaving.indices());
        (all().map(|index| index.len() as u64).sum(), all().map(|index| index.check_all(record_bytes, is_quiet)).sum())
    }
}

/// The memory that keeping this record takes.
fn record_bytes(record: &Record) -> u64 {
    bytes_with(&record.data, record.account.as_deref())
}

/// The same of one with this data and this account.
fn bytes_with(data: &[u8], account: Option<&Account>) -> u64 {
    let names = |names: &[Box<str>]| names.iter().map(|name| 2 * name.len() as u64 + 64).sum::<u64>();
    let account = account.map_or(0, |account| account.password.len() as u64 + names(&account.names));
    RECORD_BYTES + data.len() as u64 + account
}

impl Hub {
    pub(super) fn alter(&mut self, origin: Origin, alter: Alter) {
        // A refusal goes through the gate, too: it may be due to what is not released yet.
        let result = self.judge_alteration(&alter);
        let (result, changes, notice) = match result {
            Ok(before) => {
                let notice = alter.revoke.clone().map(|revocation| Arc::new(Notice::Revoked(revocation)));
                let (records, changes) = self.order_alteration(alter, before);
                (Ok(records), changes, notice)
            }
            Err(refusal) => {
                self.totals.refused += u64::from(matches!(refusal, AlterRefusal::TooMany | AlterRefusal::Unavailable));
                (Err(refusal), SmallVec::new(), None)
            }
        };
        self.submit(changes, Waiting::Altered { origin, result, notice });
    }

    /// The record that is to be altered, if it is not a new one.
    fn judge_alteration(&mut self, alter: &Alter) -> Result<Option<Arc<Record>>, AlterRefusal> {
        let can_store = self.storage_refusal().is_none();
        if self.records.configured.generation(&alter.endpoint).is_none() {
            return Err(AlterRefusal::Missing);
        }
        let index = self.records.indices.get(&alter.endpoint);
        let ordered = |id: RecordId| index.and_then(|index| index.ordered(id));
        let owned = |id: RecordId, by: Option<RecordId>| {
            ordered(id).filter(|record| by.is_none() || record.owner == by).ok_or(AlterRefusal::Missing)
        };
        let (before, owner, event, more) = match &alter.what {
            Alteration::Create(records) => {
                self.judge_new(index, records)?;
                let count = index.map_or(0, Index::ordered_count);
                if count + records.len() as u64 > alter.records_max {
                    return Err(AlterRefusal::TooMany);
                }
                if records.iter().any(|record| ordered(record.id).is_some()) || has_twins(records) {
                    return Err(AlterRefusal::Unavailable);
                }
                let event = event_bytes_max(records.iter().map(|record| record.data.len()));
                let more = records.iter().map(|record| bytes_with(&record.data, record.account.as_deref()) as i64).sum();
                (None, records.first().and_then(|record| record.owner), event, more)
            }
            Alteration::Replace { id, by, data, unchanged_since, account, .. } => {
                let before = owned(*id, *by)?;
                if unchanged_since.is_some_and(|since| since != before.updated) {
                    return Err(AlterRefusal::Mismatch);
                }
                let names = account.iter().flat_map(|account| account.names.iter());
                let mut holders = names.map(|name| index.and_then(|index| index.holder(name)));
                if let Some(taken) = holders.position(|holder| holder.is_some_and(|holder| holder != *id)) {
                    return Err(AlterRefusal::Taken(taken));
                }
                let account = account.as_deref().or(before.account.as_deref());
                let more = bytes_with(data, account) as i64 - record_bytes(before) as i64;
                (Some(before.clone()), before.owner, event_bytes_max([data.len()]), more)
            }
            Alteration::Delete { id, by } => {
                let before = owned(*id, *by)?;
                // What is full has to take that something goes.
                (Some(before.clone()), before.owner, 0, 0)
            }
        };
        let event = event as u64 + kept_bytes(b"", None);
        let bytes = self.totals.kept_bytes() + self.totals.coming_bytes;
        let logs = 1 + u64::from(owner.is_some());
        let fits = matches!(alter.what, Alteration::Delete { .. })
            || (bytes + logs * event).saturating_add_signed(more) <= self.settings.log_bytes_max;
        let owners = owner.map(|owner| owner_topic(&alter.endpoint, owner));
        let topics = [Some(&alter.endpoint), owners.as_ref()].into_iter().flatten();
        let found = topics.filter_map(|name| self.topics.find(name).and_then(|id| self.topics.get(id)));
        let is_busy = found.into_iter().any(|topic| topic.interested().any(|reactor| self.is_overfull(reactor)));
        if is_busy || !fits || !can_store {
            return Err(AlterRefusal::Unavailable);
        }
        Ok(before)
    }

    fn judge_new(&self, index: Option<&Index>, records: &[NewRecord]) -> Result<(), AlterRefusal> {
        let mut seen: SmallVec<[&str; 4]> = SmallVec::new();
        for account in records.iter().filter_map(|record| record.account.as_ref()) {
            for (at, name) in account.names.iter().enumerate() {
                if index.is_some_and(|index| index.holder(name).is_some()) || seen.contains(&&**name) {
                    return Err(AlterRefusal::Taken(at));
                }
                seen.push(name);
            }
        }
        Ok(())
    }

    /// Stamps what was judged, and notes that it is on its way.
    fn order_alteration(&mut self, alter: Alter, before: Option<Arc<Record>>) -> (Vec<Arc<Record>>, SmallVec<[Change; 1]>) {
        let Alter { endpoint, what, revoke, .. } = alter;
        let now = self.now.unix_millis();
        let (kind, records): (_, Box<[RecordChange]>) = match (what, before) {
            (Alteration::Create(records), _) => {
                let created = records.into_iter().map(|new| {
                    let NewRecord { id, owner, data, account } = new;
                    let place = self.sequencer.mark(self.now).seq;
                    RecordChange::Create(Arc::new(Record { id, place, owner, created: now, updated: now, data, account }))
                });
                (ChangeKind::Post, created.collect())
            }
            (Alteration::Replace { kind, data, account, .. }, Some(before)) => {
                let account = account.or_else(|| before.account.clone());
                let Record { id, place, owner, created, updated, .. } = *before;
                let updated = now.max(updated + 1);
                let after = Arc::new(Record { id, place, owner, created, updated, data, account });
                (kind, [RecordChange::Replace { before, after }].into())
            }
            (Alteration::Delete { .. }, Some(before)) => (ChangeKind::Delete, [RecordChange::Delete(before)].into()),
            (Alteration::Replace { .. } | Alteration::Delete { .. }, None) => unreachable!("it was found when it was judged"),
        };
        let altered: Vec<Arc<Record>> = records.iter().map(|change| change.record().clone()).collect();
        let mut changes = SmallVec::new();
        if let Some(first) = altered.first() {
            let index = self.records.index(&endpoint);
            for change in &records {
                index.order(change);
                self.totals.record_bytes -= change.before().map_or(0, |record| record_bytes(record));
                self.totals.record_bytes += change.after().map_or(0, |record| record_bytes(record));
            }
            let mut payload = Vec::new();
            write_event(kind, &altered, &mut payload);
            let topic = self.topics.find(&endpoint).unwrap_or_else(|| self.create(endpoint.clone(), Keep::Window));
            let also = first.owner.map(|owner| {
                let name = owner_topic(&endpoint, owner);
                self.topics.find(&name).unwrap_or_else(|| self.create(name, Keep::Window))
            });
            changes.push(Change::Alter { endpoint, records });
            let content = Content { payload: payload.into(), event: None, stored: true, except: None, also };
            changes.push(self.stamp(topic, content).1);
        }
        if let Some(revocation) = revoke {
            self.tokens.order_revocation(&revocation);
            changes.push(Change::Revoke(Box::new(revocation)));
        }
        (altered, changes)
    }

    /// A record as an earlier process left it.
    pub(super) fn restore_record(&mut self, endpoint: &TopicName, record: Arc<Record>) {
        let bytes = record_bytes(&record);
        if self.records.leaving.restore(endpoint, &record) || self.records.index(endpoint).restore(record) {
            self.totals.records += 1;
            self.totals.record_bytes += bytes;
        }
    }

    /// An alteration was released.
    pub(super) fn altered(&mut self, endpoint: &TopicName, records: &[RecordChange]) {
        let index = self.records.index(endpoint);
        for change in records {
            index.release(change);
            self.totals.records -= u64::from(change.before().is_some());
            self.totals.records += u64::from(change.after().is_some());
        }
        self.tidy_endpoint(endpoint);
    }

    /// An alteration that was on its way will never be released.
    pub(super) fn discard_alteration(&mut self, endpoint: &TopicName, records: &[RecordChange]) {
        let index = self.records.index(endpoint);
        let mut again = Vec::new();
        for change in records {
            index.discard(change);
            // The commit may have reached the disk all the same. What it created goes with whatever is above the last released stamp.
            again.extend(index.find(change.record().id).map(|record| RecordRow::Put(endpoint.clone(), record.clone())));
            // The first of several is taken back first, although a later one may have taken away what it brought.
            let [more, less] = [change.before(), change.after()].map(|record| record.map_or(0, |record| record_bytes(record)));
            self.totals.record_bytes = self.totals.record_bytes.wrapping_add(more).wrapping_sub(less);
        }
        self.note_records(again);
        self.tidy_endpoint(endpoint);
    }

    /// Those who listen to a topic of an endpoint by settings that count no longer hear nothing more.
    pub(super) fn renew_stale(&mut self, id: TopicId) {
        if !self.records.is_stale(id) {
            return;
        }
        self.records.left(id);
        if let Some(topic) = self.topics.get(id) {
            let (messages, bytes) = topic.for_laggards();
            self.totals.unstored -= messages;
            self.totals.unstored_bytes -= bytes;
            self.totals.subscriptions -= u64::from(topic.subscribers);
            self.topics.renew(id);
            self.rest(id, false);
        }
    }
}

fn has_twins(records: &[NewRecord]) -> bool {
    records.iter().enumerate().any(|(at, record)| records[..at].iter().any(|other| other.id == record.id))
}
