//! Slow work: done elsewhere, and heard of by the session that asked for it and by no other.

use super::*;
use crate::exchange::Refusal;
use crate::session::WorkQueue;
use std::any::Any;

/// Waits for work, and answers with what comes of it; at last after a second.
struct Waiting;

/// `/work/echo/NAME`, `/work/panic`; `/work/after/NAME` asks the hub something first.
pub(super) fn opening(path: &str, actions: &mut Actions) -> Opening {
    let (what, name) = path["/work/".len()..].split_once('/').unwrap_or(("panic", ""));
    let name = name.to_owned();
    if what == "after" {
        actions.ask(Question::Head);
    }
    if what == "panic" {
        actions.work(WorkQueue::Passwords, || panic!("on purpose"));
    } else {
        actions.work(WorkQueue::Passwords, move || name);
    }
    actions.wake_at(actions.now.micros + 1_000_000);
    Opening::Hold { session: Box::new(Waiting), body: BodyMode::Dropped }
}

impl Session for Waiting {
    fn limits(&self) -> &ConnectionLimits {
        &CONNECTION_LIMITS
    }

    fn received(&mut self, _inbound: Inbound<'_>, _actions: &mut Actions) {}

    fn worked(&mut self, result: Box<dyn Any + Send>, actions: &mut Actions) {
        actions.respond(Response::new(200).body(*result.downcast::<String>().unwrap()));
    }

    fn answered(&mut self, answer: Answer, actions: &mut Actions) {
        match answer {
            Answer::Head(_) => {}
            Answer::Refused(Refusal::Busy) => actions.respond(Response::new(429)),
            other => panic!("{other:?}"),
        }
    }

    fn woken(&mut self, actions: &mut Actions) {
        actions.respond(Response::new(504));
    }

    fn too_slow(&mut self, actions: &mut Actions) {
        actions.hangup();
    }

    fn draining(&mut self, _actions: &mut Actions) {}
}

impl House {
    /// Does the job that has waited longest.
    fn work(&mut self) {
        let work = self.work.borrow_mut().pop_front().expect("a job waits");
        self.inbox.push_back(work.done());
        self.settle();
    }

    fn jobs(&self) -> u64 {
        self.counted(Counter::Jobs) - self.counted(Counter::JobsDone)
    }
}

#[test]
fn what_comes_of_a_job_reaches_the_session_that_waits_for_it() {
    let mut house = House::new(limits());
    let clients = [house.connect(), house.connect()];
    for (client, name) in clients.iter().zip(["first", "second"]) {
        house.send(client, get(&format!("/work/echo/{name}")));
    }
    assert_eq!(house.jobs(), 2);
    // In whatever order they are done.
    house.work.borrow_mut().swap(0, 1);
    house.work();
    assert_eq!(clients[0].got(), "");
    assert!(clients[1].got().ends_with("second"));
    house.work();
    assert!(clients[0].got().ends_with("first"));
    assert_eq!(house.jobs(), 0);
}

#[test]
fn while_a_job_runs_everybody_else_is_served() {
    let mut house = House::new(limits());
    let (slow, listener) = (house.connect(), house.connect());
    house.send(&slow, get("/work/echo/slow"));
    house.send(&listener, UPGRADE);
    listener.got();
    house.publish("m");
    house.settle();
    assert_eq!((listener.got().as_str(), slow.got().as_str()), ("m", ""));
}

#[test]
fn a_result_belongs_to_one_request_and_ends_with_it() {
    let mut house = House::new(limits());
    let client = house.connect();
    house.send(&client, get("/work/echo/late"));
    house.pass(Duration::from_millis(1_200));
    assert!(client.got().starts_with("HTTP/1.1 504 "));
    house.send(&client, get("/work/echo/next"));
    house.work();
    assert_eq!(client.got(), "", "the next request does not get it");
    house.work();
    assert!(client.got().ends_with("next"));

    house.send(&client, get("/work/echo/never").replace("Host: x", "Host: x\r\nConnection: close"));
    house.pass(Duration::from_millis(1_200));
    house.end(&client);
    assert!(client.is_closed());
    let other = house.connect();
    assert_eq!(other.token.index(), client.token.index());
    house.send(&other, get("/work/echo/other"));
    house.work();
    assert_eq!((other.got().as_str(), house.jobs()), ("", 1), "nor does who has the place of one that ended");
    house.work();
    assert!(other.got().ends_with("other"));
}

#[test]
fn a_full_queue_answers_at_once_but_not_before_what_was_asked_earlier() {
    let mut house = House::new(limits());
    let clients: Vec<Client> = (0..JOBS_MAX).map(|_| house.connect()).collect();
    for client in &clients {
        house.send(client, get("/work/echo/a"));
    }
    let (refused, later) = (house.connect(), house.connect());
    house.send(&refused, get("/work/echo/b"));
    assert!(refused.got().starts_with("HTTP/1.1 429 "));
    later.wire.0.borrow_mut().to_server.extend(get("/work/after/c").bytes());
    house.turn(&[Event { token: later.token, readable: true, writable: false, hangup: false }]);
    assert_eq!(later.got(), "", "the hub has not answered");
    house.settle();
    assert!(later.got().starts_with("HTTP/1.1 429 "));
    assert_eq!((house.counted(Counter::RefusedJobs), house.jobs()), (2, JOBS_MAX as u64));
    house.work();
    house.send(&refused, get("/work/echo/b"));
    house.work();
    house.work();
    assert!(refused.got().ends_with("b"));
}

#[test]
fn a_job_that_panics_ends_its_connection_and_no_other() {
    let mut house = House::new(limits());
    let (client, other) = (house.connect(), house.connect());
    house.send(&client, get("/work/panic"));
    house.send(&other, get("/work/echo/other"));
    house.work();
    assert!(client.is_shut());
    assert_eq!((client.got().as_str(), house.counted(Counter::Panics)), ("", 1));
    house.work();
    assert!(other.got().ends_with("other"));
}
