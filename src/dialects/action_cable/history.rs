//! What a client says it has, and what it is to be sent of it (specification, section 11.2).

use super::command::History;
use super::encoders;
use super::subscriptions::{State, Stream, Subscription};
use crate::exchange::{After, Missed};
use crate::message::{Message, Seq, TopicName};
use std::collections::HashMap;
use std::sync::Arc;

/// What a subscription has missed; `None`: nobody can know, which is a reject.
pub fn missed(subscription: &Subscription, history: &History) -> Option<Vec<Missed>> {
    let since = history.since.filter(|&since| since > 0);
    if since.is_none() && history.streams.is_empty() || !subscription.channel.history {
        return None;
    }
    let mut missed = Vec::new();
    for stream in &subscription.streams {
        let named = history.streams.binary_search_by(|(name, _)| name.as_str().cmp(stream.name.as_str()));
        let named = named.ok().map(|place| &history.streams[place]);
        let said = match (named, since) {
            (Some((_, Some(position))), _) => {
                Some(After::Offset { epoch: encoders::epoch(&position.epoch)?, offset: position.offset })
            }
            (Some((_, None)), _) => return None,
            (None, Some(since)) => Some(After::Before(since)),
            (None, None) => None,
        };
        let held = match (named, subscription.state) {
            // Whatever the client's clock says: this connection has not sent what came while it was held.
            (None, State::Held) => Some(After::Seq(stream.sent_after)),
            (Some(_), State::Held) | (_, State::Joining | State::Live) => None,
        };
        let until = until(stream, subscription.state);
        missed.extend(said.into_iter().chain(held).map(|after| Missed { topic: stream.name.clone(), after, until }));
    }
    Some(missed)
}

/// What came for a restored subscription since it was restored.
pub fn since_restored(subscription: &Subscription) -> Vec<Missed> {
    let missed = |stream: &Stream| {
        let after = After::Seq(stream.sent_after);
        Missed { topic: stream.name.clone(), after, until: Seq(u64::MAX) }
    };
    subscription.streams.iter().map(missed).collect()
}

/// Leaves out what this connection was sent for the subscription before, and counts the rest as sent.
pub fn skip_sent(subscription: &mut Subscription, messages: &mut Vec<Arc<Message>>) {
    if subscription.streams.is_empty() {
        // Of the base protocol: it never has a history.
        return;
    }
    let places: HashMap<&TopicName, usize> =
        subscription.streams.iter().enumerate().map(|(place, stream)| (&stream.name, place)).collect();
    let mut oldest: Vec<Option<Seq>> = vec![None; subscription.streams.len()];
    messages.retain(|message| {
        let Some(&place) = places.get(&message.topic) else { return false };
        let wanted = message.stamp.seq <= subscription.streams[place].sent_after;
        if wanted {
            oldest[place].get_or_insert(message.stamp.seq);
        }
        wanted
    });
    for (stream, oldest) in subscription.streams.iter_mut().zip(oldest) {
        if let Some(Seq(oldest)) = oldest {
            stream.sent_after = Seq(oldest - 1);
        }
    }
}

fn until(stream: &Stream, state: State) -> Seq {
    match state {
        State::Live => stream.sent_after,
        State::Joining | State::Held => Seq(u64::MAX),
    }
}
