//! The hub: ordering one publication, and reading a page of what was missed.

use crate::scene::{self, NOW, TOPIC, origin, publication};
use fanwire::exchange::{Join, JoinTopic, StartAt, SubscriptionId, TopicId};
use fanwire::hub::Hub;
use fanwire::hub::request::{PAGE_MESSAGES, ReadTopic, ToHub, ToReactor};
use fanwire::message::Seq;
use fanwire::metrics::Metrics;
use gungraun::prelude::*;
use std::hint::black_box;
use std::sync::Arc;

/// Publications of one count: growth of lists is shared out among them.
const PUBLICATIONS: usize = 100;

struct Asked {
    hub: Hub,
    requests: Vec<ToHub>,
    replies: Vec<ToReactor>,
}

impl Asked {
    /// A hub that one reactor listens at, with so many messages stored.
    fn listening(stored: usize) -> (Asked, TopicId) {
        let mut asked = Asked { hub: scene::hub(Arc::new(Metrics::new(1))), requests: Vec::new(), replies: Vec::new() };
        let topics =
            vec![JoinTopic { id: SubscriptionId(0), name: TOPIC.into(), start: StartAt::Now, must_have_messages: false }];
        let join = Join { topics, ..Join::default() };
        asked.requests.push(ToHub::Join { origin: origin(), join: Box::new(join), first: true });
        asked.answer();
        let topic = match asked.replies.pop() {
            Some(ToReactor::Joined { joined, .. }) => joined.topics[0].topic,
            other => panic!("{other:?}"),
        };
        asked.requests.extend((0..stored).map(|_| publication()));
        asked.answer();
        asked.replies.clear();
        (asked, topic)
    }

    /// What the hub's thread does with a batch.
    fn answer(&mut self) {
        for request in self.requests.drain(..) {
            self.hub.handle(request, NOW);
        }
        while self.hub.serve_reads(NOW, || true) {}
        self.hub.take_replies(0, &mut self.replies);
        self.replies.extend(self.hub.take_acknowledgements().map(|(_, reply)| reply));
    }
}

fn to_publish() -> Asked {
    let (mut asked, _) = Asked::listening(PUBLICATIONS);
    asked.requests.extend((0..PUBLICATIONS).map(|_| publication()));
    asked
}

fn delivers_each(asked: Asked) {
    let delivered = asked.replies.iter().filter(|reply| matches!(reply, ToReactor::Deliver { .. })).count();
    assert_eq!((delivered, asked.replies.len()), (PUBLICATIONS, 2 * PUBLICATIONS), "delivered and acknowledged");
}

#[library_benchmark]
#[bench::messages_100(setup = to_publish, teardown = delivers_each)]
fn publish(mut asked: Asked) -> Asked {
    black_box(&mut asked).answer();
    asked
}

fn to_read() -> Asked {
    let (mut asked, topic) = Asked::listening(PAGE_MESSAGES);
    let topics = vec![ReadTopic { topic, from: Seq(0), joined: Seq(0) }];
    asked.requests.push(ToHub::Read { origin: origin(), after: Seq(0), topics });
    asked
}

fn reads_a_page(asked: Asked) {
    let [ToReactor::Backlog { backlog, .. }] = &asked.replies[..] else { panic!("{:?}", asked.replies) };
    assert_eq!(backlog.messages.len(), PAGE_MESSAGES);
}

#[library_benchmark]
#[bench::messages_256(setup = to_read, teardown = reads_a_page)]
fn read(mut asked: Asked) -> Asked {
    black_box(&mut asked).answer();
    asked
}

library_benchmark_group!(name = ordering, benchmarks = [publish, read]);
