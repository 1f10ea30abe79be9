//! What becomes of the records of an endpoint that is gone: they are kept for a while, and deleted in slices after it.

use super::endpoints::RETRY;
use super::index::Index;
use super::record_bytes;
use crate::engine::Change;
use crate::exchange::{Revocation, TokenDigest, token_group_of};
use crate::hub::{Hub, Waiting};
use crate::message::{Seq, TopicName};
use crate::record::Record;
use crate::storage::RemovedEndpoint;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Records that are deleted in one tick.
const SLICE: usize = 512;

/// So many deleted ones may wait for the disk.
const GONE_MAX: usize = 4_096;

/// Tokens that are revoked at once: every session of the server hears of each of them.
const REVOKED_MAX: usize = 32;

/// The wall clock is looked at this often.
const LOOK: Duration = Duration::from_secs(3_600);

/// Records that nobody sees any more, in the order in which they go. Those of one endpoint may be here more than once.
#[derive(Debug, Default)]
pub struct Leaving(VecDeque<Former>);

#[derive(Debug)]
struct Former {
    endpoint: TopicName,
    /// What was stamped later is not of these records: newer ones, and messages about them.
    through: Seq,
    index: Index,
}

impl Leaving {
    /// Up to which place records of this endpoint are here.
    fn through(&self, endpoint: &TopicName) -> Option<Seq> {
        self.0.iter().filter(|former| former.endpoint == *endpoint).map(|former| former.through).max()
    }

    /// Takes a record of an earlier process, if it is on its way out. That may have set aside records of one name twice.
    pub fn restore(&mut self, endpoint: &TopicName, record: &Arc<Record>) -> bool {
        let is_of = |former: &&mut Former| former.endpoint == *endpoint && record.place <= former.through;
        let Some(through) = self.0.iter_mut().find(is_of).map(|former| former.through) else { return false };
        if !self.0.iter_mut().filter(is_of).any(|former| former.index.restore(record.clone())) {
            let mut index = Index::default();
            index.restore(record.clone());
            self.0.push_back(Former { endpoint: endpoint.clone(), through, index });
        }
        true
    }

    #[cfg(any(test, fuzzing))]
    pub fn indices(&self) -> impl Iterator<Item = &Index> {
        self.0.iter().map(|former| &former.index)
    }
}

impl Hub {
    /// The records of an endpoint have changed: forgets it if nothing is left, and knows whether it should not have any.
    pub(in crate::hub) fn tidy_endpoint(&mut self, endpoint: &TopicName) {
        let Some(index) = self.records.indices.get(endpoint) else { return };
        if index.is_unused() {
            self.records.indices.remove(endpoint);
            if self.records.configured.removed.remove(endpoint).is_some() {
                self.note_endpoint(endpoint, None);
            }
        } else if self.records.configured.generation(endpoint).is_none()
            && let Some(removed) = self.records.configured.remove(endpoint, self.now.unix_millis())
        {
            self.note_endpoint(endpoint, Some(removed));
            self.plan_removals(Duration::ZERO);
        }
    }

    /// Takes over what an earlier process knew of an endpoint that was removed.
    pub(in crate::hub) fn restore_removed(&mut self, endpoint: TopicName, removed: RemovedEndpoint) {
        if self.records.indices.contains_key(&endpoint) {
            self.records.configured.removed.insert(endpoint, removed);
        } else {
            self.note_endpoint(&endpoint, None);
        }
    }

    /// An earlier process has begun to delete these; its records come next.
    pub(in crate::hub) fn restore_leaving(&mut self, endpoint: TopicName, through: Seq) {
        self.records.leaving.0.push_back(Former { endpoint, through, index: Index::default() });
    }

    /// Notes when there is something to do next; what should have gone already is looked at `again` after this time.
    pub(super) fn plan_removals(&mut self, again: Duration) {
        let now = self.now.unix_millis();
        let next = self.records.configured.removed.values().map(|removed| removed.until().saturating_sub(now)).min();
        let next = next.map(|millis| self.now.after(Duration::from_millis(millis).clamp(again, LOOK)));
        let leaves = (!self.records.leaving.0.is_empty()).then(|| self.now.after(again));
        self.records.configured.removal_due = next.into_iter().chain(leaves).min();
    }

    /// Deletes a few records of endpoints that were removed long ago.
    pub(in crate::hub) fn expire_records(&mut self) {
        if self.records.configured.removal_due.is_none_or(|due| due > self.now.micros) {
            return;
        }
        let now = self.now.unix_millis();
        let over = self.records.configured.removed.iter().filter(|(_, removed)| removed.until() <= now);
        let over: Vec<TopicName> = over.map(|(endpoint, _)| endpoint.clone()).collect();
        let mut all = true;
        for endpoint in &over {
            all &= self.let_go(endpoint);
        }
        all &= self.drop_slice();
        self.plan_removals(if all { Duration::ZERO } else { RETRY });
    }

    /// All records of an endpoint are to be deleted: from now on it has none, and none of them comes back. False if something is on its
    /// way there.
    pub(super) fn let_go(&mut self, endpoint: &TopicName) -> bool {
        if !self.records.indices.get(endpoint).is_some_and(Index::is_quiet) {
            return false;
        }
        let Some(index) = self.records.indices.remove(endpoint) else { return false };
        self.records.configured.removed.remove(endpoint);
        self.note_endpoint(endpoint, None);
        let through = self.end_history(endpoint);
        self.note_leaving(endpoint, Some(through));
        self.records.leaving.0.push_back(Former { endpoint: endpoint.clone(), through, index });
        true
    }

    /// Nobody was told that the records went: whoever comes back has missed something, however far he had come. Returns how far that
    /// may be.
    fn end_history(&mut self, endpoint: &TopicName) -> Seq {
        let gone = self.sequencer.mark(self.now);
        self.submit(SmallVec::new(), Waiting::Nothing);
        if let Some(id) = self.topics.find(endpoint) {
            self.evict(id, gone.seq);
            self.end(id);
        }
        self.positions.remove(endpoint);
        self.note_ended(endpoint);
        self.removed = self.removed.max(gone);
        if let Some(durable) = self.durable() {
            durable.notes.removed = durable.notes.removed.max(gone);
        }
        gone.seq
    }

    /// The same of what an earlier process had no time to delete on disk.
    pub(in crate::hub) fn end_histories(&mut self) {
        let leaving: Vec<_> = self.records.leaving.0.iter().map(|former| (former.endpoint.clone(), former.through)).collect();
        for (endpoint, through) in leaving {
            let Some(id) = self.topics.find(&endpoint) else { continue };
            if self.topics.get(id).and_then(|topic| topic.log.newest()).is_some_and(|newest| newest.stamp.seq <= through) {
                self.evict(id, through);
                self.end(id);
                self.note_ended(&endpoint);
            }
        }
    }

    /// False if that has to wait for something.
    fn drop_slice(&mut self) -> bool {
        if self.durable().is_some_and(|durable| durable.notes.gone.len() >= GONE_MAX) {
            return false;
        }
        let Some(former) = self.records.leaving.0.front() else { return true };
        let (endpoint, dropped) = (former.endpoint.clone(), former.index.oldest(SLICE));
        if !self.revoke_all(&endpoint, &dropped) {
            return false;
        }
        let Some(former) = self.records.leaving.0.front_mut() else { return true };
        for record in &dropped {
            former.index.drop_record(record);
            self.totals.records -= 1;
            self.totals.record_bytes -= record_bytes(record);
        }
        if former.index.is_unused() {
            self.records.leaving.0.pop_front();
            let rest = self.records.leaving.through(&endpoint);
            self.note_leaving(&endpoint, rest);
        }
        self.note_gone(dropped.iter().map(|record| record.place));
        true
    }

    /// Users who are to go lose their tokens before. False until they have.
    fn revoke_all(&mut self, endpoint: &TopicName, records: &[Arc<Record>]) -> bool {
        if self.tokens.is_empty() {
            return true;
        }
        let (group, now) = (token_group_of(endpoint), self.now.unix_millis());
        let of_users = |hub: &Hub| -> Vec<TokenDigest> {
            let users = records.iter().filter(|record| record.account.is_some());
            users.flat_map(|record| hub.tokens.live_of(group, &record.id.to_string(), now)).collect()
        };
        let live = of_users(self);
        // What is on its way is not ordered once more, and nothing beside it.
        let is_idle = !live.iter().any(|&token| self.tokens.is_leaving(token));
        if !live.is_empty() && is_idle && self.storage_refusal().is_none() {
            let revoked = live[..live.len().min(REVOKED_MAX)].to_vec();
            let changes = revoked.iter().map(|&token| {
                let revocation = Revocation::Token(token);
                self.tokens.order_revocation(&revocation);
                Change::Revoke(Box::new(revocation))
            });
            let changes = changes.collect();
            self.submit(changes, Waiting::Revoked(revoked));
        }
        live.is_empty() || of_users(self).is_empty()
    }
}
