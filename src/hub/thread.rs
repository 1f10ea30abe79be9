//! The hub's thread: the only place of the hub that knows a clock, a channel and time passing.

use crate::clock::Clock;
use crate::hub::Hub;
use crate::hub::request::{ToHub, ToReactor};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// At most this many requests are taken before their replies are handed over.
const BATCH: usize = 1_024;

/// Reads are served so long between two batches, in microseconds: publications wait no longer for them.
const READ_MICROS: u64 = 200;

/// The way to one reactor: a queue in order, and a waker.
pub trait Port: Send {
    /// Hands over what is in `batch`, in order, leaves it empty, and wakes the reactor.
    fn push(&mut self, batch: &mut Vec<ToReactor>);

    /// Messages and payload bytes that were pushed and that the reactor has not taken out yet.
    fn queued(&self) -> (usize, usize);
}

/// Why the thread goes on or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waited {
    Request,
    Time,
    Over,
}

/// Runs the hub until [`ToHub::Stop`], or until nobody is left who could ask.
///
/// Whatever wakes it, it looks at the clock: a wake-up needs no request of its own kind.
pub fn run(mut hub: Hub, requests: Receiver<ToHub>, mut ports: Vec<Box<dyn Port>>, clock: Clock) {
    let mut batch: Vec<ToHub> = Vec::with_capacity(BATCH);
    let mut replies: Vec<Vec<ToReactor>> = ports.iter().map(|_| Vec::new()).collect();
    let mut reads_wait = false;
    loop {
        let waited = wait(&hub, &requests, reads_wait, &clock, &mut batch);
        if waited == Waited::Request {
            batch.extend(requests.try_iter().take(BATCH - 1));
        }
        for (reactor, port) in ports.iter().enumerate() {
            let (messages, bytes) = port.queued();
            hub.set_queued(reactor, messages, bytes);
        }
        let mut over = waited == Waited::Over;
        let mut turned = Vec::new();
        let now = clock.now();
        for request in batch.drain(..) {
            if matches!(request, ToHub::Stop) {
                over = true;
                break;
            }
            match request {
                ToHub::Turned(done) => turned.push(done),
                request => hub.handle(request, now),
            }
        }
        if hub.next_tick().is_some_and(|at| at <= now.micros) {
            hub.tick(now);
        }
        hand_over(&mut hub, &mut ports, &mut replies);
        for done in turned {
            let _ = done.send(());
        }
        if over {
            return hub.close(now);
        }
        let now = clock.now();
        let until = now.micros + READ_MICROS;
        let mut served = false;
        reads_wait = hub.serve_reads(now, || {
            // One in any case: a clock that jumps must not starve the readers.
            let first = !std::mem::replace(&mut served, true);
            first || clock.now().micros < until
        });
        if served {
            hand_over(&mut hub, &mut ports, &mut replies);
        }
    }
}

/// Blocks until a request comes, which goes into `batch`, or the hub has something to do.
fn wait(hub: &Hub, requests: &Receiver<ToHub>, reads_wait: bool, clock: &Clock, batch: &mut Vec<ToHub>) -> Waited {
    let received = if reads_wait {
        requests.recv_timeout(Duration::ZERO)
    } else {
        match hub.next_tick() {
            Some(at) => requests.recv_timeout(Duration::from_micros(at.saturating_sub(clock.now().micros))),
            None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    };
    match received {
        Ok(request) => {
            batch.push(request);
            Waited::Request
        }
        Err(RecvTimeoutError::Timeout) => Waited::Time,
        Err(RecvTimeoutError::Disconnected) => Waited::Over,
    }
}

/// All replies to all reactors, then the acknowledgements: who has read one finds its messages on every reactor.
fn hand_over(hub: &mut Hub, ports: &mut [Box<dyn Port>], replies: &mut [Vec<ToReactor>]) {
    let push_all = |ports: &mut [Box<dyn Port>], replies: &mut [Vec<ToReactor>]| {
        for (port, replies) in ports.iter_mut().zip(replies) {
            if !replies.is_empty() {
                port.push(replies);
                debug_assert!(replies.is_empty());
            }
        }
    };
    for (reactor, replies) in replies.iter_mut().enumerate() {
        hub.take_replies(reactor, replies);
    }
    push_all(ports, replies);
    for (reactor, reply) in hub.take_acknowledgements() {
        replies[reactor].push(reply);
    }
    push_all(ports, replies);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Answer, Join, Question, StartAt};
    use crate::hub::Heartbeat;
    use crate::hub::request::{Origin, ReadTopic};
    use crate::hub::testing::{Bench, entry, settings, topic};
    use crate::message::Seq;
    use crate::metrics::Metrics;
    use crossbeam_channel::{Sender, unbounded};
    use std::sync::Arc;

    /// A reactor that only listens: which one it is, and what it was told.
    struct Wire(usize, Sender<(usize, ToReactor)>);

    impl Port for Wire {
        fn push(&mut self, batch: &mut Vec<ToReactor>) {
            batch.drain(..).for_each(|reply| self.1.send((self.0, reply)).unwrap());
        }

        fn queued(&self) -> (usize, usize) {
            (0, 0)
        }
    }

    struct House {
        requests: Sender<ToHub>,
        told: Receiver<(usize, ToReactor)>,
        thread: std::thread::JoinHandle<()>,
    }

    impl House {
        /// Everything in `before` is asked before the thread runs, so it is one batch.
        fn new(settings: crate::hub::Settings, before: Vec<ToHub>) -> House {
            let clock = Clock::start();
            let hub = Hub::new(settings, 2, clock.now(), Arc::new(Metrics::new(2)));
            let (requests, inbox) = unbounded();
            let (out, told) = unbounded();
            before.into_iter().for_each(|request| requests.send(request).unwrap());
            let ports: Vec<Box<dyn Port>> = vec![Box::new(Wire(0, out.clone())), Box::new(Wire(1, out))];
            let thread = std::thread::spawn(move || run(hub, inbox, ports, clock));
            House { requests, told, thread }
        }

        fn next(&self) -> (usize, ToReactor) {
            self.told.recv_timeout(Duration::from_secs(20)).expect("the hub answers")
        }
    }

    fn join(reactor: u16, name: &str) -> ToHub {
        let join = Join { topics: vec![topic(name, StartAt::Now)], ..Join::default() };
        ToHub::Join { origin: Bench::origin(reactor), join: Box::new(join), first: true }
    }

    fn publish(reactor: u16, name: &str) -> ToHub {
        ToHub::Publish { origin: Bench::origin(reactor), entries: vec![entry(name, "1")], report: None }
    }

    #[test]
    fn every_reactor_has_the_message_before_its_publisher_has_the_answer() {
        let house = House::new(settings(), vec![publish(0, "a"), join(0, "a"), join(1, "a"), publish(0, "a")]);
        let told: Vec<_> = (0..6).map(|_| house.next()).collect();
        let acknowledged = |(_, reply): &(usize, ToReactor)| matches!(reply, ToReactor::Answer { .. });
        assert_eq!(told.iter().map(acknowledged).collect::<Vec<_>>(), [false, false, false, false, true, true]);
        let delivered = told.iter().filter(|(_, reply)| matches!(reply, ToReactor::Deliver { .. }));
        assert_eq!(delivered.map(|(reactor, _)| *reactor).collect::<Vec<_>>(), [0, 1]);
        house.requests.send(ToHub::Stop).unwrap();
        house.thread.join().unwrap();
    }

    #[test]
    fn everything_before_the_stop_is_answered_and_nothing_after_it() {
        let house = House::new(settings(), vec![publish(0, "a"), ToHub::Stop, publish(0, "a")]);
        house.thread.join().unwrap();
        assert_eq!(house.told.len(), 1);
    }

    #[test]
    fn the_thread_ends_when_nobody_is_left_who_could_ask() {
        let house = House::new(settings(), vec![publish(0, "a")]);
        drop(house.requests);
        house.thread.join().unwrap();
        assert_eq!(house.told.len(), 1);
    }

    #[test]
    fn reads_are_answered_after_what_was_asked_with_them() {
        let origin = Origin { ticket: 77, ..Bench::origin(1) };
        let read = || ToHub::Read { origin, after: Seq(0), topics: Vec::<ReadTopic>::new() };
        let house = House::new(settings(), vec![read(), read(), ToHub::Ask { origin, question: Question::Head }]);
        assert!(matches!(house.next().1, ToReactor::Answer { answer, .. } if matches!(*answer, Answer::Head(_))));
        for _ in 0..2 {
            assert!(matches!(house.next(), (1, ToReactor::Backlog { ticket: 77, backlog, .. }) if backlog.complete));
        }
        house.requests.send(ToHub::Stop).unwrap();
        house.thread.join().unwrap();
    }

    #[test]
    fn time_passes_without_requests() {
        let mut settings = settings();
        let every = Duration::from_millis(5);
        settings.heartbeats = vec![Heartbeat { topic: "ping".into(), every, payload: b"{}"[..].into() }];
        let house = House::new(settings, vec![join(0, "ping")]);
        assert!(matches!(house.next().1, ToReactor::Joined { .. }));
        for _ in 0..3 {
            assert!(matches!(house.next(), (0, ToReactor::Deliver { message, .. }) if !message.stored));
        }
        house.requests.send(ToHub::Stop).unwrap();
        house.thread.join().unwrap();
    }
}
