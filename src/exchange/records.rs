//! What a session may ask about records, and how it is answered.

use super::Revocation;
use crate::message::TopicName;
use crate::record::{Account, ChangeKind, RecordId};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A change of the records of one endpoint. Whoever listens is told of it in one message of the endpoint's topic; who listens to
/// the topic of the (first) record's owner gets the same one: see [`owner_topic`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alter {
    /// Its name is that of its topic. One that the hub has no settings for has no records: [`AlterRefusal::Missing`].
    pub endpoint: TopicName,
    pub what: Alteration,
    /// Records that the endpoint may have.
    pub records_max: u64,
    /// Tokens that count no longer then: announced after the message, and kept together with it.
    pub revoke: Option<Revocation>,
}

#[derive(Clone, PartialEq, Eq)]
pub enum Alteration {
    /// All or none, told in one message. At least one.
    Create(Vec<NewRecord>),
    /// Its owner, place and time of creation stay.
    Replace {
        id: RecordId,
        /// Only a record of this owner; `None`: whoever owns it.
        by: Option<RecordId>,
        /// How it is told.
        kind: ChangeKind,
        data: Arc<[u8]>,
        /// Refuse unless it was changed last at this time: what the new data was made of is still there.
        unchanged_since: Option<u64>,
        /// `None`: it stays.
        account: Option<Box<Account>>,
    },
    Delete {
        id: RecordId,
        /// As in [`Alteration::Replace`].
        by: Option<RecordId>,
    },
}

impl fmt::Debug for Alteration {
    /// Data is private.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Alteration::Create(records) => write!(out, "Create({records:?})"),
            Alteration::Replace { id, by, kind, .. } => write!(out, "Replace({id}, by {by:?}, {kind:?})"),
            Alteration::Delete { id, by } => write!(out, "Delete({id}, by {by:?})"),
        }
    }
}

#[derive(Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// Random: one that exists already is refused as unavailable.
    pub id: RecordId,
    pub owner: Option<RecordId>,
    pub data: Arc<[u8]>,
    pub account: Option<Box<Account>>,
}

impl fmt::Debug for NewRecord {
    /// Data is private.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "NewRecord({}, of {:?})", self.id, self.owner)
    }
}

/// Why records were not altered; the first that holds, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlterRefusal {
    /// The endpoint, or the record, does not exist, or is somebody else's.
    Missing,
    /// It was changed meanwhile.
    Mismatch,
    /// The name at this index of the account's names is that of another record.
    Taken(usize),
    /// The endpoint has as many records as it may have.
    TooMany,
    /// The budget for what is kept is used up, or a queue is at its bound, or it can't be kept now.
    Unavailable,
}

/// What a [`Join`](super::Join) has to do with records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRecords {
    pub endpoint: TopicName,
    /// Refused with [`Refusal::TopicMissing`](super::Refusal::TopicMissing) unless the endpoint's settings are of this generation.
    /// When they are of another one, nothing that is committed then reaches this subscription.
    pub generation: u64,
    /// Answered with [`Joined::records`](super::Joined::records): those of this owner, or all.
    pub snapshot: Option<Option<RecordId>>,
}

/// What the hub is told of an endpoint by the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSettings {
    /// `$endpoint`, service, project and name, with U+001F between them.
    pub name: TopicName,
    /// Changes with each option that ends the connections of the endpoint.
    pub generation: u64,
    /// Created unless the first name of their account is taken; without an account they are not.
    pub users: Vec<NewRecord>,
    /// How long its records are kept when it is no more configured.
    pub removed_ttl: Duration,
    /// What its topics keep: the largest of all endpoints. `None`: what every topic keeps.
    pub log: Option<EndpointLog>,
}

/// How many messages the topics of an endpoint keep at most, how many bytes of them, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointLog {
    pub messages: usize,
    pub bytes: u64,
    pub age: Duration,
}

/// Between the parts of the names of topics and groups.
pub const SEPARATOR: char = '\u{1f}';

/// The first part of the names of endpoints' topics.
const ENDPOINT: &str = "$endpoint";

/// Whether a topic is one of changes, of an endpoint or of an owner.
pub fn is_of_endpoint(topic: &TopicName) -> bool {
    // One byte decides for nearly all others.
    topic.is_reserved() && topic.as_str().strip_prefix(ENDPOINT).is_some_and(|rest| rest.starts_with(SEPARATOR))
}

/// Whether it is one of an owner: its name has one part more than that of the endpoint, and no part has a separator in it.
pub fn is_of_owner(topic: &TopicName) -> bool {
    is_of_endpoint(topic) && topic.as_str().matches(SEPARATOR).count() == 4
}

/// The group that the tokens of a project are of.
pub fn token_group(service: &str, project: &str) -> String {
    format!("{ENDPOINT}{SEPARATOR}{service}{SEPARATOR}{project}")
}

/// The same of the project of this endpoint.
pub fn token_group_of(endpoint: &TopicName) -> &str {
    endpoint.as_str().rsplit_once(SEPARATOR).map_or("", |(group, _)| group)
}

/// The topic of all changes of an endpoint.
pub fn endpoint_topic(service: &str, project: &str, name: &str) -> TopicName {
    TopicName::from(format!("{}{SEPARATOR}{name}", token_group(service, project)).as_str())
}

/// The topic of the changes of one owner's records.
pub fn owner_topic(endpoint: &TopicName, owner: RecordId) -> TopicName {
    TopicName::from(format!("{endpoint}{SEPARATOR}{owner}").as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_topics_say_what_they_are_of() {
        let endpoint = endpoint_topic("rested", "examples", "examples/notes");
        let owner = owner_topic(&endpoint, RecordId(1));
        assert_eq!([&endpoint, &owner, &"$endpoints".into(), &"a".into()].map(is_of_endpoint), [true, true, false, false]);
        assert_eq!([&endpoint, &owner, &"$control\u{1f}\u{1f}\u{1f}\u{1f}".into()].map(is_of_owner), [false, true, false]);
        assert_eq!(token_group_of(&endpoint), token_group("rested", "examples"));
    }
}
