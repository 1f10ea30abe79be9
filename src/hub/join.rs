//! Subscriptions come and go: all topics of a request at one instant, or none.

use crate::exchange::{Join, JoinTopic, Joined, JoinedTopic, Refusal, StartAt, TopicId};
use crate::hub::Hub;
use crate::hub::documents;
use crate::hub::events::Happening;
use crate::hub::log::Keep;
use crate::hub::request::{Origin, ToReactor};
use crate::message::TopicName;

impl Hub {
    pub(super) fn join(&mut self, origin: Origin, join: &Join, first: bool) {
        self.advance();
        let Origin { reactor, connection, ticket } = origin;
        let reply = match self.attach(reactor, join) {
            Ok((joined, created)) => {
                let topics: Vec<TopicId> = joined.topics.iter().map(|topic| topic.topic).collect();
                // Before the events: their messages are newer than the head that the join was made at.
                self.reactors[usize::from(reactor)].replies.push(ToReactor::Joined {
                    connection,
                    ticket,
                    joined: Box::new(joined),
                });
                self.reactors[usize::from(reactor)].subscribers += u64::from(first);
                for name in &created {
                    self.tell(Happening::Created, name);
                }
                for handle in topics {
                    if let Some(topic) = self.topics.held(handle) {
                        self.tell_of(Happening::Subscribed, topic);
                    }
                }
                return;
            }
            Err(refusal) => ToReactor::Refused { connection, ticket, refusal },
        };
        self.reactors[usize::from(reactor)].replies.push(reply);
    }

    fn attach(&mut self, reactor: u16, join: &Join) -> Result<(Joined, Vec<TopicName>), Refusal> {
        if join.records.as_ref().is_some_and(|records| !self.records.is_current(records)) {
            return Err(Refusal::TopicMissing);
        }
        let found: Vec<Option<TopicId>> = join.topics.iter().map(|topic| self.topics.find(&topic.name)).collect();
        let existing: Vec<TopicId> = found.iter().flatten().copied().collect();
        let leading = join.records.as_ref().and_then(|records| self.topics.find(&records.endpoint));
        for topic in existing.iter().copied().chain(leading) {
            self.renew_stale(topic);
            self.trim(topic);
        }
        let missing = |(topic, found): (&JoinTopic, &Option<TopicId>)| {
            let shows = |id| self.topics.get(id).is_some_and(|topic| self.view(topic, join.reach).len() > 0);
            topic.must_have_messages && !found.is_some_and(shows)
        };
        if join.topics.iter().zip(&found).any(missing) {
            return Err(Refusal::TopicMissing);
        }
        let full = |&id: &TopicId| self.topics.get(id).is_some_and(|topic| topic.subscribers >= join.subscribers_max);
        if join.subscribers_max > 0 && existing.iter().any(full) {
            return Err(Refusal::TopicFull);
        }
        let absent = join.topics.iter().zip(&found).filter(|(_, found)| found.is_none()).map(|(topic, _)| &topic.name);
        if !self.may_create(absent) {
            return Err(Refusal::TooManyTopics);
        }

        if let Some(group) = join.document
            && !join.topics.iter().all(|topic| self.may_await(&topic.name, group))
        {
            return Err(Refusal::TooManyTopics);
        }

        let resolved = self.resolve(&join.cursor, &existing, join.reach);
        let (head, keep) = (self.released, join.document.map_or(Keep::Window, documents::keep));
        let (mut gap, mut foreign, mut created) = (resolved.unknown, resolved.foreign, Vec::new());
        let mut topics = Vec::with_capacity(join.topics.len());
        for (wanted, found) in join.topics.iter().zip(found) {
            // A name that is listed twice was created for its first subscription.
            let id = found.or_else(|| self.topics.find(&wanted.name)).unwrap_or_else(|| {
                created.push(wanted.name.clone());
                self.create(wanted.name.clone(), keep)
            });
            let topic = self.topics.get_mut(id).expect("it was found or created just now");
            topic.attach(reactor);
            self.totals.subscriptions += 1;
            if topic.is_document() {
                self.joined_document(id);
            }
            if let Some(records) = &join.records {
                self.records.joined(id, records);
            }
            self.rest(id, false);
            let start = match wanted.start {
                StartAt::After(seq) if seq > head.seq || self.is_gone_since(seq, id, join) => {
                    foreign |= seq > head.seq;
                    gap = true;
                    StartAt::Now
                }
                start @ (StartAt::Now | StartAt::Cursor | StartAt::Last(_) | StartAt::After(_)) => start,
            };
            let topic = self.topics.get(id).expect("it has a subscriber");
            let view = self.view(topic, join.reach);
            gap |= start == StartAt::Cursor && resolved.start.is_some_and(|start| self.has_gap(start, view));
            let from = self.from(start, resolved.start, view);
            let replays = from < head.seq;
            topics.push(JoinedTopic { id: wanted.id, topic: self.topics.handle(id), from });
            if replays {
                self.wait_for_readers(id);
            }
        }
        let replay = join.history.as_ref().and_then(|missed| self.history(missed, join.reach));
        let document = join.document.and_then(|_| self.document(&join.topics.first()?.name));
        let shown = join.records.as_ref().and_then(|wanted| Some((&wanted.endpoint, wanted.snapshot?)));
        let records = shown.map(|(endpoint, of)| self.records.list(endpoint, of));
        Ok((Joined { head, topics, start: resolved.start(), gap, foreign, replay, document, records }, created))
    }

    pub(super) fn leave(&mut self, reactor: u16, topics: &[TopicId], last: bool) {
        let mut left = Vec::new();
        for &handle in topics {
            let Some(id) = self.topics.held(handle) else { continue };
            let Some(topic) = self.topics.get_mut(id) else { continue };
            if !topic.detach(reactor) {
                continue;
            }
            self.totals.subscriptions -= 1;
            if topic.subscribers == 0 {
                let (messages, bytes) = topic.for_laggards();
                self.totals.unstored -= messages;
                self.totals.unstored_bytes -= bytes;
                (topic.ring, topic.tail) = (None, None);
                self.records.left(id);
            }
            if topic.is_document() {
                self.left_document(id);
            }
            self.rest(id, false);
            left.push(id);
        }
        for id in left {
            self.tell_of(Happening::Unsubscribed, id);
        }
        let subscribers = &mut self.reactors[usize::from(reactor)].subscribers;
        *subscribers = subscribers.saturating_sub(u64::from(last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Cursor, StartAt};
    use crate::hub::testing::{Bench, settings, topic};

    #[test]
    fn a_subscriber_gets_what_is_published_after_its_join_and_nothing_after_its_leave() {
        let mut bench = Bench::new(settings());
        bench.publish("a", "before");
        let joined = bench.join(0, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
        let stamp = bench.publish("a", "1");
        bench.publish("b", "elsewhere");
        assert!(joined.topics[0].from < stamp.seq);
        assert_eq!(bench.delivered(0), ["a:1"]);
        assert_eq!(bench.delivered(1), [""; 0]);
        bench.leave(0, &joined);
        bench.publish("a", "2");
        assert_eq!(bench.delivered(0), [""; 0]);
    }

    #[test]
    fn a_reactor_gets_a_message_once_however_many_subscriptions_it_has() {
        let mut bench = Bench::new(settings());
        let first = bench.join(1, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
        bench.join(1, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
        bench.publish("a", "1");
        assert_eq!(bench.delivered(1), ["a:1"]);
        bench.leave(1, &first);
        bench.publish("a", "2");
        assert_eq!(bench.delivered(1), ["a:2"]);
    }

    #[test]
    fn a_join_is_refused_as_a_whole_in_the_order_missing_full_too_many() {
        let mut settings = settings();
        settings.topics_max = 1;
        let mut bench = Bench::new(settings);
        bench.join(0, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
        let mut must = topic("b", StartAt::Now);
        must.must_have_messages = true;
        let everything_wrong = Join { topics: vec![topic("a", StartAt::Now), must], subscribers_max: 1, ..Join::default() };
        assert_eq!(bench.try_join(0, everything_wrong.clone()).unwrap_err(), Refusal::TopicMissing);
        let mut full_and_too_many = everything_wrong;
        full_and_too_many.topics[1].must_have_messages = false;
        assert_eq!(bench.try_join(0, full_and_too_many.clone()).unwrap_err(), Refusal::TopicFull);
        full_and_too_many.subscribers_max = 2;
        assert_eq!(bench.try_join(0, full_and_too_many).unwrap_err(), Refusal::TooManyTopics);
        let report = bench.report("");
        assert_eq!((report.topics, report.rows[0].subscribers), (1, 1));
    }

    #[test]
    fn a_topic_whose_messages_have_all_expired_has_none() {
        let mut bench = Bench::new(settings());
        bench.publish("a", "1");
        let mut must = topic("a", StartAt::Now);
        must.must_have_messages = true;
        let join = Join { topics: vec![must], ..Join::default() };
        bench.try_join(0, join.clone()).unwrap();
        bench.pass(bench.hub.settings.window.age);
        assert_eq!(bench.try_join(0, join).unwrap_err(), Refusal::TopicMissing);
    }

    #[test]
    fn wildcard_topics_have_a_limit_of_their_own() {
        let mut settings = settings();
        settings.wildcard_prefix = "broad_".into();
        settings.wildcard_topics_max = 1;
        let mut bench = Bench::new(settings);
        let both = vec![topic("broad_1", StartAt::Now), topic("broad_2", StartAt::Now)];
        assert_eq!(bench.join(0, both, Cursor::default()).unwrap_err(), Refusal::TooManyTopics);
        bench.join(0, vec![topic("broad_1", StartAt::Now), topic("a", StartAt::Now)], Cursor::default()).unwrap();
        assert_eq!(bench.report("").wildcard_topics, 1);
    }

    #[test]
    fn the_last_so_many_stored_messages_are_replayed_whatever_the_cursor_says() {
        let mut bench = Bench::new(settings());
        let stamps: Vec<_> = (0..4).map(|n| bench.publish("a", &n.to_string())).collect();
        let from = |bench: &mut Bench, count| {
            let cursor = Cursor { stamp: Some((0, None)), event: None };
            bench.join(0, vec![topic("a", StartAt::Last(count))], cursor).unwrap().topics[0].from
        };
        assert_eq!(from(&mut bench, 0), stamps[3].seq);
        assert_eq!(from(&mut bench, 1), stamps[2].seq);
        assert_eq!(from(&mut bench, 3), stamps[0].seq);
        assert!(from(&mut bench, 4) < stamps[0].seq);
        assert_eq!(from(&mut bench, u32::MAX), from(&mut bench, 4));
    }

    #[test]
    fn connections_are_counted_by_first_and_last() {
        let mut bench = Bench::new(settings());
        let joined = bench.join(1, vec![topic("a", StartAt::Now), topic("b", StartAt::Now)], Cursor::default()).unwrap();
        let count = |bench: &mut Bench| bench.report("").reactors.iter().map(|row| row.subscribers).collect::<Vec<_>>();
        assert_eq!(count(&mut bench), [0, 1]);
        bench.leave(1, &joined);
        assert_eq!(count(&mut bench), [0, 0]);
    }
}
