//! What a process that committed some batches finds again, in plain maps: for tests and fuzzing.

use crate::exchange::Revocation;
use crate::message::{Also, Seq, Stamp};
use crate::record::Record;
use crate::storage::{Batch, KnownKey, Loaded, RecordRow, Remains, RemovedEndpoint, Stored, TokenChange};
use std::collections::BTreeMap;

/// A message: topic, payload, event id and type; id, epoch, offset, age and group; its stamp and the one before it.
type Message = (String, Vec<u8>, [Option<Vec<u8>>; 2], [u64; 5], [Stamp; 2]);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    pub head: Option<Stamp>,
    pub messages: BTreeMap<u64, Message>,
    /// The second topics of messages.
    pub also: BTreeMap<u64, Also>,
    /// With their endpoints.
    pub records: BTreeMap<u64, (String, Record)>,
    pub endpoints: BTreeMap<String, RemovedEndpoint>,
    pub leaving: BTreeMap<String, Seq>,
    /// Topic, key, stamp and age.
    pub keys: BTreeMap<u64, (String, String, Stamp, u64)>,
    pub topics: BTreeMap<String, Remains>,
    /// Group, user, and the end of its time.
    pub tokens: BTreeMap<[u8; 32], (String, String, u64)>,
    pub begins: Option<Stamp>,
    pub removed: Stamp,
    pub forgotten: u64,
    pub ahead: bool,
    pub renewed: Seq,
}

impl Model {
    pub fn apply(&mut self, batch: &Batch) {
        self.head = Some(batch.head);
        self.messages.extend(batch.notes.again.iter().chain(&batch.messages).map(message));
        self.also.extend(batch.notes.again.iter().chain(&batch.messages).filter_map(also));
        for seq in batch.deleted.iter().chain(&batch.notes.evicted) {
            self.messages.remove(&seq.0);
            self.also.remove(&seq.0);
        }
        for row in batch.notes.records.iter().chain(&batch.records) {
            match row {
                RecordRow::Put(name, record) => {
                    self.records.insert(record.place.0, (name.as_str().to_owned(), Record::clone(record)));
                }
                RecordRow::Delete(place) => drop(self.records.remove(&place.0)),
            }
        }
        for place in &batch.notes.gone {
            self.records.remove(&place.0);
        }
        for (name, removed) in &batch.notes.endpoints {
            match removed {
                Some(removed) => self.endpoints.insert(name.as_str().to_owned(), *removed),
                None => self.endpoints.remove(name.as_str()),
            };
        }
        for (name, through) in &batch.notes.leaving {
            match through {
                Some(through) => self.leaving.insert(name.as_str().to_owned(), *through),
                None => self.leaving.remove(name.as_str()),
            };
        }
        self.keys.extend(batch.keys.iter().map(key));
        self.keys.retain(|&seq, _| seq > batch.notes.keys_until.0);
        for name in &batch.ended {
            self.topics.remove(name.as_str());
        }
        for (name, remains) in &batch.notes.topics {
            match remains {
                Some(remains) => self.topics.insert(name.as_str().to_owned(), *remains),
                None => self.topics.remove(name.as_str()),
            };
        }
        for change in batch.notes.tokens.iter().chain(&batch.tokens) {
            match change {
                TokenChange::Issue(token, grant) => {
                    self.tokens.insert(token.0, (grant.group.to_string(), grant.user.to_string(), grant.until));
                }
                TokenChange::Revoke(Revocation::Token(token)) => drop(self.tokens.remove(&token.0)),
                TokenChange::Revoke(Revocation::User { group, user, except }) => {
                    let spared = except.map(|token| token.0);
                    self.tokens
                        .retain(|token, (of, by, _)| spared == Some(*token) || (of.as_str(), by.as_str()) != (&**group, &**user));
                }
            }
        }
        for token in &batch.notes.expired {
            self.tokens.remove(&token.0);
        }
        self.begins = batch.notes.begins.or(self.begins);
        self.removed = self.removed.max(batch.notes.removed);
        self.forgotten = self.forgotten.max(batch.notes.forgotten);
        self.ahead = batch.notes.ahead.unwrap_or(self.ahead);
        self.renewed = self.renewed.max(batch.notes.renewed);
    }

    pub fn of(loaded: &Loaded) -> Model {
        Model {
            head: loaded.head,
            messages: loaded.messages.iter().map(message).collect(),
            also: loaded.messages.iter().filter_map(also).collect(),
            records: (loaded.records.iter())
                .map(|(name, record)| (record.place.0, (name.as_str().to_owned(), Record::clone(record))))
                .collect(),
            endpoints: loaded.endpoints.iter().map(|(name, removed)| (name.as_str().to_owned(), *removed)).collect(),
            leaving: loaded.leaving.iter().map(|(name, through)| (name.as_str().to_owned(), *through)).collect(),
            keys: loaded.keys.iter().map(key).collect(),
            topics: loaded.topics.iter().map(|(name, remains)| (name.as_str().to_owned(), *remains)).collect(),
            tokens: (loaded.tokens.iter())
                .map(|(token, grant)| (token.0, (grant.group.to_string(), grant.user.to_string(), grant.until)))
                .collect(),
            begins: loaded.begins,
            removed: loaded.removed,
            forgotten: loaded.forgotten,
            ahead: loaded.ahead,
            renewed: loaded.renewed,
        }
    }
}

fn message(stored: &Stored) -> (u64, Message) {
    let message = &stored.message;
    let event = [message.event_id(), message.event_type()].map(|field| field.map(<[u8]>::to_vec));
    let group = stored.group.map_or(0, |group| group.get().into());
    let numbers = [message.id as u64, message.epoch, message.offset, stored.unix_micros, group];
    let stamps = [message.stamp, stored.previous];
    (message.stamp.seq.0, (message.topic.as_str().to_owned(), message.payload.to_vec(), event, numbers, stamps))
}

fn also(stored: &Stored) -> Option<(u64, Also)> {
    stored.message.also.as_deref().map(|also| (stored.message.stamp.seq.0, also.clone()))
}

fn key(known: &KnownKey) -> (u64, (String, String, Stamp, u64)) {
    (known.stamp.seq.0, (known.key.0.as_str().to_owned(), known.key.1.to_string(), known.stamp, known.unix_micros))
}
