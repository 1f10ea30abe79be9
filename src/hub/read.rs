//! Reads: bounded pages of what topics hold after a position, merged into the one order.

use crate::clock::Now;
use crate::hub::Hub;
use crate::hub::log::Log;
use crate::hub::request::{Backlog, Origin, PAGE_BYTES, PAGE_MESSAGES, ReadTopic, ToReactor};
use crate::message::Seq;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A read that waits for its turn.
#[derive(Debug)]
pub struct WaitingRead {
    pub origin: Origin,
    pub after: Seq,
    pub topics: Vec<ReadTopic>,
}

/// One list of messages that takes part in the merge, and the index of its next one.
struct Source<'a> {
    read: ReadTopic,
    log: &'a Log,
    next: usize,
}

impl Hub {
    /// Serves queued reads, oldest first, while `budget` says so. Says whether more are waiting.
    ///
    /// `now` is looked at anew: reads may be all that happens for a while, and what expires meanwhile must not be shown.
    pub fn serve_reads(&mut self, now: Now, mut budget: impl FnMut() -> bool) -> bool {
        self.enter(now);
        while !self.reads.is_empty() && budget() {
            let Some(read) = self.reads.pop_front() else { break };
            self.advance();
            for topic in &read.topics {
                let after = topic.from.max(read.after);
                let Some(id) = self.topics.held(topic.topic) else { continue };
                if self.topics.get(id).is_some_and(|found| found.tail.is_some() && found.floor.seq > after) {
                    self.wait_for_readers(id);
                }
                self.trim(id);
            }
            let backlog = Box::new(self.page(&read));
            let Origin { reactor, connection, ticket } = read.origin;
            self.reactors[usize::from(reactor)].replies.push(ToReactor::Backlog { connection, ticket, backlog });
        }
        !self.reads.is_empty()
    }

    fn page(&self, read: &WaitingRead) -> Backlog {
        let mut lost = false;
        let mut sources: Vec<Source<'_>> = Vec::new();
        for &topic in &read.topics {
            let (stored_after, unstored_after) = (topic.from.max(read.after), topic.joined.max(read.after));
            let Some(found) = self.topics.held(topic.topic).and_then(|id| self.topics.get(id)) else {
                let former = self.topics.former(topic.topic);
                lost |= former.stored > stored_after || former.unstored > unstored_after;
                continue;
            };
            lost |= !found.reaches_back_to(stored_after);
            if let Some(tail) = &found.tail {
                sources.push(Source { read: topic, log: &tail.log, next: tail.log.after(stored_after) });
            }
            sources.push(Source { read: topic, log: &found.log, next: found.log.after(stored_after) });
            if let Some(ring) = &found.ring {
                lost |= ring.evicted > unstored_after;
                sources.push(Source { read: topic, log: &ring.log, next: ring.log.after(unstored_after) });
            }
        }

        let head_of = |source: &Source<'_>| source.log.at(source.next).map(|message| message.stamp.seq);
        let mut heap: BinaryHeap<Reverse<(Seq, usize)>> =
            sources.iter().enumerate().filter_map(|(index, source)| Some(Reverse((head_of(source)?, index)))).collect();
        let mut messages = Vec::new();
        let (mut bytes, mut end) = (0, read.after);
        while messages.len() < PAGE_MESSAGES && bytes < PAGE_BYTES {
            let Some(Reverse((seq, index))) = heap.pop() else { break };
            let source = &mut sources[index];
            let message = source.log.at(source.next).expect("it is on the heap").clone();
            bytes += message.payload.len();
            messages.push((source.read.topic, message));
            end = seq;
            source.next += 1;
            if let Some(seq) = head_of(source) {
                heap.push(Reverse((seq, index)));
            }
        }
        let complete = heap.is_empty();
        Backlog { messages, end: if complete { self.released.seq } else { end }, complete, lost }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Cursor, StartAt};
    use crate::hub::testing::{Bench, entry, settings, text, topic};
    use crate::message::Stamp;
    use std::time::Duration;

    fn texts(backlog: &Backlog) -> Vec<String> {
        backlog.messages.iter().map(|(_, message)| text(message)).collect()
    }

    fn two_topics() -> Vec<crate::exchange::JoinTopic> {
        vec![topic("a", StartAt::Now), topic("b", StartAt::Now)]
    }

    #[test]
    fn a_page_merges_stored_and_unstored_messages_of_its_topics_in_order() {
        let mut bench = Bench::new(settings());
        bench.publish("a", "before");
        let joined = bench.join(0, two_topics(), Cursor::default()).unwrap();
        bench.publish("b", "1");
        bench.publish_unstored("a", "2");
        bench.publish("c", "of nobody");
        let third = bench.publish_unstored("b", "3");
        bench.publish("a", "4");
        let page = bench.read(&joined, joined.head.seq);
        assert_eq!(texts(&page), ["b:1", "a:2", "b:3", "a:4"]);
        assert!(page.complete && !page.lost);
        assert_eq!(page.end, bench.head().seq);
        assert_eq!(page.messages[0].0, joined.topics[1].topic);
        assert_eq!(texts(&bench.read(&joined, third.seq)), ["a:4"]);
    }

    #[test]
    fn unstored_messages_of_before_the_join_are_never_read() {
        let mut bench = Bench::new(settings());
        let first = bench.join(0, two_topics(), Cursor::default()).unwrap();
        bench.publish("a", "1");
        bench.publish_unstored("a", "2");
        let cursor = Cursor { stamp: Some((0, None)), event: None };
        let second = bench.join(0, vec![topic("a", StartAt::Cursor)], cursor).unwrap();
        bench.publish_unstored("a", "3");
        assert_eq!(texts(&bench.read(&second, Seq(0))), ["a:1", "a:3"]);
        assert_eq!(texts(&bench.read(&first, first.head.seq)), ["a:1", "a:2", "a:3"]);
    }

    #[test]
    fn a_page_is_bounded_by_count_and_the_next_one_goes_on_where_it_ended() {
        let mut bench = Bench::new(settings());
        let joined = bench.join(0, two_topics(), Cursor::default()).unwrap();
        let names = ["a", "b"];
        let expected: Vec<String> = (0..600).map(|n| format!("{}:{n}", names[n % 2])).collect();
        for n in 0..600 {
            bench.publish(names[n % 2], &n.to_string());
        }
        let (mut after, mut got, mut sizes) = (joined.head.seq, Vec::new(), Vec::new());
        loop {
            let page = bench.read(&joined, after);
            sizes.push(page.messages.len());
            got.extend(texts(&page));
            after = page.end;
            if page.complete {
                break;
            }
        }
        assert_eq!(sizes, [PAGE_MESSAGES, PAGE_MESSAGES, 600 - 2 * PAGE_MESSAGES]);
        assert_eq!(got, expected);
        assert_eq!(after, bench.head().seq);
    }

    #[test]
    fn a_page_is_bounded_by_bytes_but_holds_at_least_one_message() {
        let mut bench = Bench::new(settings());
        let joined = bench.join(0, two_topics(), Cursor::default()).unwrap();
        let large = "x".repeat(PAGE_BYTES + 1);
        let first = bench.publish("a", &large);
        bench.publish("a", &large);
        let page = bench.read(&joined, joined.head.seq);
        assert_eq!((page.messages.len(), page.complete, page.end), (1, false, first.seq));
        let page = bench.read(&joined, page.end);
        assert_eq!((page.messages.len(), page.complete), (1, true));
    }

    #[test]
    fn a_log_that_no_longer_reaches_back_is_a_loss() {
        let mut settings = settings();
        settings.window.count = 2;
        let mut bench = Bench::new(settings);
        let joined = bench.join(0, two_topics(), Cursor::default()).unwrap();
        let stamps: Vec<Stamp> = (0..3).map(|n| bench.publish("a", &n.to_string())).collect();
        assert!(bench.read(&joined, joined.head.seq).lost);
        assert!(!bench.read(&joined, stamps[0].seq).lost);
    }

    #[test]
    fn a_window_that_moves_on_takes_nothing_from_who_joined_before() {
        let mut settings = settings();
        settings.window.count = 3;
        let mut bench = Bench::new(settings);
        for n in 1..=3 {
            bench.publish("a", &n.to_string());
        }
        let epoch = || Cursor { stamp: Some((0, None)), event: None };
        let early = bench.join(0, vec![topic("a", StartAt::Cursor)], epoch()).unwrap();
        for n in 4..=5 {
            bench.publish("a", &n.to_string());
        }
        let page = bench.read(&early, early.topics[0].from);
        assert_eq!((texts(&page), page.lost), (["a:1", "a:2", "a:3", "a:4", "a:5"].map(str::to_owned).to_vec(), false));
        let late = bench.join(0, vec![topic("a", StartAt::Cursor)], epoch()).unwrap();
        assert_eq!(texts(&bench.read(&late, late.topics[0].from)), ["a:3", "a:4", "a:5"]);
        // Nobody is waited for longer than unstored messages are.
        bench.pass(bench.hub.settings.unstored_age + Duration::from_secs(1));
        bench.tick();
        assert_eq!(bench.hub.totals.unstored, 0);
        assert!(bench.read(&early, early.topics[0].from).lost);
        assert!(!bench.read(&late, late.topics[0].from).lost);
    }

    #[test]
    fn evicted_messages_wait_for_readers_only_within_the_budget_for_logs() {
        let mut settings = settings();
        let size = crate::hub::log::kept_bytes(b"1", None);
        settings.window.count = 2;
        settings.log_bytes_max = 3 * size;
        let mut bench = Bench::new(settings);
        let stamps: Vec<Stamp> = (1..=2).map(|n| bench.publish("a", &n.to_string())).collect();
        let epoch = Cursor { stamp: Some((0, None)), event: None };
        let joined = bench.join(0, vec![topic("a", StartAt::Cursor)], epoch).unwrap();
        bench.publish("a", "3");
        assert!(!bench.read(&joined, joined.topics[0].from).lost);
        bench.publish("a", "4");
        assert!(bench.hub.totals.log_bytes + bench.hub.totals.unstored_bytes <= 3 * size);
        assert!(bench.read(&joined, stamps[0].seq).lost);
        assert_eq!(texts(&bench.read(&joined, stamps[1].seq)), ["a:3", "a:4"]);
        bench.publish("a", "5");
        let page = bench.read(&joined, stamps[1].seq);
        assert_eq!((texts(&page), page.lost), (["a:3", "a:4", "a:5"].map(str::to_owned).to_vec(), false), "it goes on waiting");
    }

    #[test]
    fn messages_that_expired_are_not_read_even_before_they_are_freed() {
        let mut bench = Bench::new(settings());
        let joined = bench.join(0, two_topics(), Cursor::default()).unwrap();
        bench.publish("a", "1");
        bench.pass(bench.hub.settings.window.age);
        bench.hub.enter(bench.now);
        let page = bench.read(&joined, joined.head.seq);
        assert_eq!((page.messages.len(), page.lost, page.complete), (0, true, true));
    }

    #[test]
    fn an_unstored_message_that_left_its_ring_is_a_loss_for_those_who_waited_for_it_only() {
        let mut bench = Bench::new(settings());
        let early = bench.join(0, two_topics(), Cursor::default()).unwrap();
        bench.publish("a", "1");
        let unstored = bench.publish_unstored("a", "2");
        let late = bench.join(0, two_topics(), Cursor::default()).unwrap();
        bench.pass(bench.hub.settings.unstored_age);
        assert!(bench.read(&early, early.head.seq).lost);
        assert!(!bench.read(&early, unstored.seq).lost);
        let stored_again = ReadTopic { topic: late.topics[0].topic, from: Seq(0), joined: late.head.seq };
        assert!(!bench.read_topics(vec![stored_again], Seq(0)).lost);
    }

    #[test]
    fn unstored_messages_are_kept_only_while_somebody_subscribes() {
        let mut bench = Bench::new(settings());
        bench.publish_unstored("a", "1");
        assert_eq!(bench.hub.totals.unstored, 0);
        let joined = bench.join(0, two_topics(), Cursor::default()).unwrap();
        bench.publish_unstored("a", "2");
        assert_eq!(bench.hub.totals.unstored, 1);
        bench.leave(0, &joined);
        assert_eq!(bench.hub.totals.unstored, 0);
    }

    #[test]
    fn a_deleted_topic_is_a_loss_only_if_it_had_something_newer() {
        let mut bench = Bench::new(settings());
        let joined = bench.join(0, two_topics(), Cursor::default()).unwrap();
        let stored = bench.publish("a", "1");
        bench.delete(&["a", "b"]);
        assert!(bench.read(&joined, joined.head.seq).lost);
        assert!(!bench.read(&joined, stored.seq).lost);
        let only_b = ReadTopic { topic: joined.topics[1].topic, from: joined.head.seq, joined: joined.head.seq };
        assert!(!bench.read_topics(vec![only_b], joined.head.seq).lost);
    }

    #[test]
    fn what_expires_while_only_reads_are_served_is_not_shown() {
        let mut bench = Bench::new(settings());
        let joined = bench.join(0, vec![topic("a", StartAt::Now)], Cursor::default()).unwrap();
        bench.publish("a", "1");
        let read = ReadTopic { topic: joined.topics[0].topic, from: joined.head.seq, joined: joined.head.seq };
        let origin = Bench::origin(0);
        bench.handle(crate::hub::request::ToHub::Read { origin, after: joined.head.seq, topics: vec![read] });
        bench.pass(bench.hub.settings.window.age);
        let now = bench.now;
        assert!(!bench.hub.serve_reads(now, || true));
        let mut replies = Vec::new();
        bench.hub.take_replies(0, &mut replies);
        let Some(ToReactor::Backlog { backlog, .. }) = replies.pop() else { panic!("it was served") };
        assert_eq!((backlog.messages.len(), backlog.lost), (0, true));
    }

    #[test]
    fn reads_wait_in_order_until_the_budget_allows_them() {
        let mut bench = Bench::new(settings());
        for ticket in 0..3 {
            let origin = Origin { ticket, ..Bench::origin(0) };
            bench.handle(crate::hub::request::ToHub::Read { origin, after: Seq(0), topics: Vec::new() });
        }
        let mut left = 2;
        let now = bench.now;
        let waiting = bench.hub.serve_reads(now, || {
            left -= 1;
            left >= 0
        });
        assert!(waiting);
        assert!(!bench.hub.serve_reads(now, || true));
        let mut replies = Vec::new();
        bench.hub.take_replies(0, &mut replies);
        let tickets = replies.iter().map(|reply| match reply {
            ToReactor::Backlog { ticket, .. } => *ticket,
            other => panic!("{other:?}"),
        });
        assert_eq!(tickets.collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn a_complete_page_ends_at_the_head_of_the_moment_even_if_others_published_since() {
        let mut bench = Bench::new(settings());
        let joined = bench.join(0, two_topics(), Cursor::default()).unwrap();
        bench.publish_all(vec![entry("c", "1"), entry("c", "2")]).unwrap();
        bench.pass(Duration::from_millis(10));
        let page = bench.read(&joined, joined.head.seq);
        assert_eq!((page.end, page.complete, page.messages.len()), (bench.head().seq, true, 0));
    }
}
