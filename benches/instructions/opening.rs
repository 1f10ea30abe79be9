//! Opening a WebSocket: the request's head, the handshake, and what the dialect makes of them.

use crate::scene::{NOW, TWO_CHANNELS, push_stream};
use fanwire::dialects::push_stream::PushStream;
use fanwire::http::head::{Head, parse};
use fanwire::session::{Action, Actions, Dialect, Door, Encoders, Opening, Request};
use fanwire::websocket::handshake::accept_key;
use gungraun::prelude::*;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

#[library_benchmark]
fn parse_head() -> Head<'static> {
    parse(black_box(TWO_CHANNELS)).expect("a good head")
}

fn head() -> Head<'static> {
    parse(TWO_CHANNELS).expect("a good head")
}

#[library_benchmark]
#[bench::browser(setup = head)]
fn accept(head: Head<'static>) -> (Head<'static>, String) {
    let key = accept_key(black_box(&head), &["13", "8"]).expect("a good handshake");
    (head, key)
}

struct Asked {
    dialect: PushStream,
    head: Head<'static>,
    actions: Actions,
}

fn asked() -> Asked {
    Asked { dialect: push_stream(&mut Encoders::default()), head: head(), actions: Actions::new(NOW) }
}

fn joins_two((mut asked, opening): (Asked, Option<Opening>)) {
    assert!(matches!(opening, Some(Opening::WebSocket { .. })));
    let joins = asked.actions.drain().any(|action| matches!(action, Action::Join { join, .. } if join.topics.len() == 2));
    assert!(joins, "the dialect asks for both channels");
}

#[library_benchmark]
#[bench::two_channels(setup = asked, teardown = joins_two)]
fn open(mut asked: Asked) -> (Asked, Option<Opening>) {
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let request = Request { head: &asked.head, door: Door::Public, peer, reactor: 0, now: NOW, draining: false, full: false };
    let opening = black_box(&asked.dialect).open(black_box(&request), &mut asked.actions);
    (asked, opening)
}

library_benchmark_group!(name = handshake, benchmarks = [parse_head, accept, open]);
