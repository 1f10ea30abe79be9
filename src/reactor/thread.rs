//! The reactor's thread: mio, the clock, listeners, and the loop around [`Reactor::turn`].

use super::inbox::{Bell, Inbox, InboxPort};
use super::listener::{Accepting, Listener, PAUSE, Reserve, SocketOptions, refuse};
use super::working::Pools;
use super::{Control, Event, Limits, Reactor};
use crate::clock::Clock;
use crate::hub::request::{ToHub, Token};
use crate::metrics::{Counter, Metrics};
use crate::session::{Door, Registry};
use crossbeam_channel::{Receiver, Sender};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// mio tokens that are no connection: generation 0 is never given to one.
pub const WAKER: mio::Token = mio::Token(0xFFFF_FFFF);
const LISTENERS: usize = 0xFFFF_FF00;

/// Readiness events taken in one poll.
const EVENTS: usize = 128;

/// What the server orders; the bell rings after each.
pub enum Order {
    Listen {
        addresses: Vec<(SocketAddr, Door)>,
        done: Sender<io::Result<()>>,
    },
    Control(Control),
    /// A clock was turned by hand: take a turn, then say so.
    Turned(Sender<()>),
    /// End at once.
    Stop,
}

/// Everything a reactor's thread is started with.
pub struct Setup {
    pub index: u16,
    pub poll: Poll,
    pub inbox: Inbox,
    /// The other end of the inbox, for what the pools have done.
    pub port: InboxPort,
    pub pools: Pools,
    pub orders: Receiver<Order>,
    pub bell: Arc<Bell>,
    pub hub: Sender<ToHub>,
    pub registry: Arc<Registry>,
    pub limits: Limits,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    pub socket_options: SocketOptions,
    /// Give this thread a table of descriptors of its own (Linux).
    pub private_fd_tables: bool,
    /// Told once the table is private: sockets may be opened from then on.
    pub begun: Sender<()>,
}

/// The loop. Returns when it was stopped, or when it drained and the last connection is gone.
pub fn run(setup: Setup) -> io::Result<()> {
    let Setup {
        index,
        mut poll,
        mut inbox,
        port,
        pools,
        orders,
        bell,
        hub,
        registry,
        limits,
        metrics,
        clock,
        socket_options,
        private_fd_tables,
        begun,
    } = setup;
    if private_fd_tables && let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES) {
        tracing::warn!(reactor = index, %error, "no private table of descriptors: all reactors share one limit");
    }
    let _ = begun.send(());
    let workers = pools.workers(port);
    let mut reactor: Reactor<TcpStream> = Reactor::new(index, registry, limits, metrics.clone(), workers, clock.now());
    let mine = &metrics.reactors[usize::from(index)];
    let mut reserve = Reserve::open();
    let mut listeners: Vec<Listener> = Vec::new();
    let mut paused_until = None;
    let mut draining = false;
    let mut events = Events::with_capacity(EVENTS);
    let mut ready: Vec<Event> = Vec::with_capacity(EVENTS);
    let _ = hub.send(ToHub::Started { reactor: index, thread: nix::unistd::gettid().as_raw() as u32 });
    loop {
        let timeout = timeout(&reactor, &listeners, paused_until, &clock);
        match poll.poll(&mut events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            Err(error) => return Err(error),
        }
        let now = clock.now();
        ready.clear();
        for event in &events {
            match event.token() {
                WAKER => mine.add(Counter::WakeUps, 1),
                mio::Token(token) if (LISTENERS..WAKER.0).contains(&token) => {
                    if let Some(listener) = listeners.get_mut(token - LISTENERS) {
                        listener.acceptable = true;
                    }
                }
                mio::Token(token) => ready.push(Event {
                    token: Token(token as u64),
                    readable: event.is_readable(),
                    writable: event.is_writable(),
                    hangup: event.is_read_closed() || event.is_error(),
                }),
            }
        }
        if paused_until.is_some_and(|until| now.micros >= until) {
            paused_until = None;
        }
        if paused_until.is_none() {
            for listener in listeners.iter_mut().filter(|listener| listener.acceptable) {
                let door = listener.door;
                let refused = std::cell::Cell::new(0);
                let accepting = listener.accept(
                    &mut reserve,
                    |mut stream, peer| {
                        let token = mio::Token(reactor.next_token().0 as usize);
                        let interest = Interest::READABLE | Interest::WRITABLE;
                        if !reactor.has_room() || poll.registry().register(&mut stream, token, interest).is_err() {
                            refused.set(refused.get() + 1);
                            return refuse(stream);
                        }
                        reactor.accept(stream, door, peer, now);
                    },
                    || refused.set(refused.get() + 1),
                );
                mine.add(Counter::RefusedConnections, refused.get());
                if accepting == Accepting::Exhausted {
                    paused_until = Some(now.after(PAUSE));
                }
            }
        }
        bell.heard();
        // Looked at before the inbox: what the hub handed over before an order is taken before it.
        let due: Vec<Order> = orders.try_iter().collect();
        reactor.turn(&ready, &mut inbox, now);
        send(&mut reactor, &hub);
        reactor.write();
        send(&mut reactor, &hub);
        reactor.settle(clock.now());
        for order in due {
            match order {
                Order::Listen { addresses, done } => {
                    let opened = listen(&addresses, &mut listeners, &poll, socket_options);
                    let _ = done.send(opened);
                }
                Order::Control(control) => {
                    if let Control::Drain = control {
                        listeners.clear();
                        draining = true;
                        take_preceding(&mut reactor, &mut inbox, &hub, &clock);
                    }
                    reactor.control(control, clock.now());
                }
                Order::Turned(done) => {
                    reactor.turn(&[], &mut inbox, clock.now());
                    send(&mut reactor, &hub);
                    reactor.write();
                    let _ = done.send(());
                }
                Order::Stop => return Ok(()),
            }
            send(&mut reactor, &hub);
        }
        if draining && reactor.connection_count() == 0 {
            return Ok(());
        }
    }
}

fn send(reactor: &mut Reactor<TcpStream>, hub: &Sender<ToHub>) {
    for request in reactor.outgoing() {
        // A hub that has ended answers nobody; the server is ending then, too.
        let _ = hub.send(request);
    }
}

/// What was acknowledged before the order to stop reaches its subscribers before the goodbye does.
fn take_preceding(reactor: &mut Reactor<TcpStream>, inbox: &mut Inbox, hub: &Sender<ToHub>, clock: &Clock) {
    let count = inbox.waiting();
    let mut preceding = inbox.take(count);
    loop {
        reactor.turn(&[], &mut preceding, clock.now());
        send(reactor, hub);
        reactor.write();
        send(reactor, hub);
        if !reactor.inbox_waits() {
            return;
        }
    }
}

fn listen(
    addresses: &[(SocketAddr, Door)],
    listeners: &mut Vec<Listener>,
    poll: &Poll,
    options: SocketOptions,
) -> io::Result<()> {
    for &(address, door) in addresses {
        let mut listener = Listener::open(address, door, options)?;
        let token = mio::Token(LISTENERS + listeners.len());
        poll.registry().register(listener.source(), token, Interest::READABLE)?;
        listeners.push(listener);
    }
    Ok(())
}

/// How long the loop may sleep; `None`: until something happens.
fn timeout(reactor: &Reactor<TcpStream>, listeners: &[Listener], paused_until: Option<u64>, clock: &Clock) -> Option<Duration> {
    if reactor.is_busy() || (paused_until.is_none() && listeners.iter().any(|listener| listener.acceptable)) {
        return Some(Duration::ZERO);
    }
    let now = clock.now();
    let (micros, unix_seconds) = reactor.next_deadline();
    let expiry = unix_seconds.map(|seconds| (seconds.saturating_mul(1_000_000)).saturating_sub(now.unix_micros));
    let timer = micros.into_iter().chain(paused_until).map(|at| at.saturating_sub(now.micros)).min();
    // The kernel counts milliseconds: a rest of one would be a turn too early.
    timer.into_iter().chain(expiry).min().map(|wait| Duration::from_micros(wait) + Duration::from_millis(1))
}
