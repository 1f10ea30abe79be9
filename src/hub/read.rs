//! Reads: bounded pages of what topics hold after a position, merged into the one order.

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
    pub fn serve_reads(&mut self, mut budget: impl FnMut() -> bool) -> bool {
        while !self.reads.is_empty() && budget() {
            let Some(read) = self.reads.pop_front() else { break };
            self.advance();
            for topic in &read.topics {
                self.trim(topic.topic);
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
            let Some(found) = self.topics.get(topic.topic) else {
                let former = self.topics.former(topic.topic);
                lost |= former.stored > stored_after || former.unstored > unstored_after;
                continue;
            };
            lost |= found.evicted && found.floor.seq > stored_after;
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
