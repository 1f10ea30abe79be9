//! The subscriptions of one connection: an identifier each, and ids for the streams of all.

use super::channel::{Accepted, Channel, Reject};
use super::frames::{data_prefix, token_of};
use super::rules::Key;
use crate::exchange::{JoinTopic, StartAt, SubscriptionId};
use crate::message::{Frame, Seq, TopicName};
use smallvec::SmallVec;
use std::sync::Arc;

#[derive(Default)]
pub struct Subscriptions {
    list: Vec<Subscription>,
}

pub struct Subscription {
    /// What its data frames begin with; holds the identifier token.
    pub prefix: Frame,
    /// Its streams have the ids from here on.
    pub first: u16,
    pub count: u16,
    pub state: State,
    pub channel: Arc<Channel>,
    pub key: Option<Arc<Key>>,
    /// What whispers and history need. Connections of the base protocol forget it once they have joined.
    pub streams: Box<[Stream]>,
}

pub struct Stream {
    pub name: TopicName,
    /// Everything stored after this was sent already, or will be; of a held subscription, what came after it waits.
    pub sent_after: Seq,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The hub has not attached its streams yet.
    Joining,
    Live,
    /// Of an earlier connection: what came since it was restored waits for the client to say what it has.
    Held,
}

const _: () = assert!(size_of::<Subscription>() <= 56);

impl Subscription {
    pub fn token(&self) -> &[u8] {
        token_of(&self.prefix)
    }

    pub fn ids(&self) -> impl Iterator<Item = SubscriptionId> {
        (self.first..self.first + self.count).map(SubscriptionId)
    }

    /// What the hub is asked to attach.
    pub fn topics(&self) -> Vec<JoinTopic> {
        let topic = |(id, stream): (SubscriptionId, &Stream)| join_topic(id, stream.name.clone());
        self.ids().zip(&self.streams).map(topic).collect()
    }
}

pub fn join_topic(id: SubscriptionId, name: TopicName) -> JoinTopic {
    JoinTopic { id, name, start: StartAt::Now, must_have_messages: false }
}

impl Subscriptions {
    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Subscription> {
        self.list.iter()
    }

    pub fn newest(&mut self) -> Option<&mut Subscription> {
        self.list.last_mut()
    }

    pub fn find(&mut self, token: &str) -> Option<&mut Subscription> {
        self.list.iter_mut().find(|subscription| subscription.token() == token.as_bytes())
    }

    /// The subscription whose streams include this id.
    pub fn of(&mut self, id: SubscriptionId) -> Option<&mut Subscription> {
        self.list.iter_mut().find(|known| (known.first..known.first + known.count).contains(&id.0))
    }

    pub fn remove(&mut self, token: &str) -> Option<Subscription> {
        let place = self.list.iter().position(|subscription| subscription.token() == token.as_bytes())?;
        Some(self.list.remove(place))
    }

    /// Enters an identifier that is not there yet.
    ///
    /// # Errors
    /// There are too many subscriptions, or no ids are left.
    pub fn enter(
        &mut self,
        identifier: &str,
        accepted: Accepted,
        state: State,
        subscriptions_max: usize,
    ) -> Result<&mut Subscription, Reject> {
        if self.list.len() >= subscriptions_max {
            return Err(Reject::TooManySubscriptions);
        }
        let Accepted { channel, streams, key } = accepted;
        let first = self.gap(streams.len()).ok_or(Reject::TooManyStreams)?;
        let count = streams.len() as u16;
        let streams = streams.into_iter().map(|name| Stream { name, sent_after: Seq(0) }).collect();
        let prefix = data_prefix(identifier);
        // Most connections have one.
        self.list.reserve_exact(1);
        self.list.push(Subscription { prefix, first, count, state, channel, key, streams });
        Ok(self.list.last_mut().expect("entered just now"))
    }

    /// The first of so many consecutive ids that no stream has.
    fn gap(&self, count: usize) -> Option<u16> {
        let mut taken: SmallVec<[(u16, u16); 8]> = self.list.iter().map(|known| (known.first, known.count)).collect();
        taken.sort_unstable();
        let mut first = 0;
        for (at, taken) in taken {
            if first + count <= usize::from(at) {
                break;
            }
            first = usize::from(at) + usize::from(taken);
        }
        u16::try_from(first + count).ok().map(|end| end - count as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::super::channel::Kind;
    use super::super::rules::Rules;
    use super::*;

    fn accepted(streams: usize) -> Accepted {
        let rules = Rules::new(&toml::from_str("").unwrap()).unwrap();
        let channel = rules.channel("$pubsub").unwrap().clone();
        assert!(matches!(channel.kind, Kind::Signed(_)));
        Accepted { channel, streams: (0..streams).map(|n| n.to_string().as_str().into()).collect(), key: None }
    }

    #[test]
    fn ids_are_consecutive_and_those_of_the_left_are_used_again() {
        let mut table = Subscriptions::default();
        let enter = |table: &mut Subscriptions, name: &str, count| {
            table.enter(name, accepted(count), State::Live, 9).map(|known| (known.first, known.count))
        };
        assert_eq!(enter(&mut table, "a", 2), Ok((0, 2)));
        assert_eq!(enter(&mut table, "none", 0).map(|(_, count)| count), Ok(0));
        assert_eq!(enter(&mut table, "b", 3), Ok((2, 3)));
        assert_eq!(enter(&mut table, "c", 1), Ok((5, 1)));
        assert_eq!(table.of(SubscriptionId(4)).unwrap().token(), b"\"b\"");
        assert!(table.of(SubscriptionId(6)).is_none());
        assert!(table.remove("\"b\"").is_some() && table.remove("\"b\"").is_none());
        assert_eq!(enter(&mut table, "d", 4), Ok((6, 4)));
        assert_eq!(enter(&mut table, "e", 3), Ok((2, 3)));
        assert_eq!(enter(&mut table, "f", 65_000), Ok((10, 65_000)));
        assert_eq!(enter(&mut table, "g", 600), Err(Reject::TooManyStreams));
        let names: Vec<&[u8]> = table.iter().map(Subscription::token).collect();
        assert_eq!(names, [&b"\"a\""[..], b"\"none\"", b"\"c\"", b"\"d\"", b"\"e\"", b"\"f\""]);
    }

    #[test]
    fn there_are_no_more_than_allowed() {
        let mut table = Subscriptions::default();
        assert!(table.enter("a", accepted(1), State::Live, 1).is_ok());
        let full = table.enter("b", accepted(1), State::Live, 1).map(drop);
        assert_eq!((full, table.len()), (Err(Reject::TooManySubscriptions), 1));
    }
}
