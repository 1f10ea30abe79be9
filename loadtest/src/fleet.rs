//! A fleet: the client threads of one set of connections, each with a descriptor table of its own.
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Poll, Waker};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::board::Board;
use crate::client::{Client, Collected, Command, PORTS_PER_SOURCE, Plan, WAKER};
use crate::dialect::Dialect;

/// Descriptors of a table that are not for sockets: pollers, wakers, files, what was open when the table was copied.
const RESERVED: u64 = 512;

/// Sockets that one thread's descriptor table holds, after the soft limit has been raised to the hard one.
pub fn sockets_per_table() -> u32 {
    static SOCKETS: OnceLock<u32> = OnceLock::new();
    *SOCKETS.get_or_init(|| {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
        let limit = if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
        limit.saturating_sub(RESERVED.min(limit / 4)).clamp(1, u64::from(u32::MAX)) as u32
    })
}

/// Starts a thread whose descriptors are its own. What it shares with others must be open before, its sockets come after.
pub fn spawn_with_own_table<T: Send + 'static>(
    name: String,
    body: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<JoinHandle<io::Result<T>>> {
    std::thread::Builder::new().name(name).spawn(move || {
        unshare(CloneFlags::CLONE_FILES)?;
        body()
    })
}

/// Cuts `connections` into equal shares: at least `threads`, and none above what a table holds.
pub fn shares(connections: u32, threads: u32, per_table: u32) -> Vec<Range<u32>> {
    let count = threads.max(connections.div_ceil(per_table)).min(connections);
    let start = |at: u32| (u64::from(connections) * u64::from(at) / u64::from(count)) as u32;
    (0..count).map(|at| start(at)..start(at + 1)).collect()
}

/// A thread answers between two turns: a turn is never nearly as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a fleet is to be.
pub struct Order {
    pub dialect: Arc<dyn Dialect>,
    pub board: Arc<Board>,
    pub addresses: Vec<SocketAddr>,
    pub handshake: bool,
    pub threads: u32,
    pub sources: u32,
    pub connecting: u32,
    pub first_topic: u32,
    pub first_number: u64,
    pub receive_buffer: Option<usize>,
    pub may_close: bool,
    pub returns: bool,
}

struct Member {
    commands: Sender<Command>,
    waker: Waker,
    thread: JoinHandle<io::Result<()>>,
}

pub struct Fleet {
    pub board: Arc<Board>,
    plan: Arc<Plan>,
    members: Vec<Member>,
    /// From the first connect to the moment all were decided.
    pub connecting_time: Duration,
}

impl Fleet {
    /// Connects everything, or as much as it can until `deadline`; the board says what came to stand.
    pub fn connect(order: Order, deadline: Instant) -> io::Result<Fleet> {
        let board = order.board;
        let local = order.addresses.iter().all(|address| address.is_ipv4() && address.ip().is_loopback());
        let sources = if local { order.sources.max(board.connections.div_ceil(PORTS_PER_SOURCE)) } else { 0 };
        let plan = Arc::new(Plan {
            dialect: order.dialect,
            board: Arc::clone(&board),
            addresses: order.addresses,
            sources,
            handshake: order.handshake,
            stop: AtomicBool::new(false),
            hold: AtomicBool::new(false),
            returns: order.returns,
            first_topic: order.first_topic,
            first_number: order.first_number,
            receive_buffer: order.receive_buffer,
            may_close: order.may_close,
        });
        let shares = shares(board.connections, order.threads, sockets_per_table());
        let connecting_max = (order.connecting / shares.len() as u32).max(1);
        let started = Instant::now();
        let mut members = Vec::with_capacity(shares.len());
        for share in shares {
            // Poller and waker are made before the thread has its own table, so that both tables hold them.
            let poll = Poll::new()?;
            let waker = Waker::new(poll.registry(), WAKER)?;
            let (commands, received) = channel();
            let plan = Arc::clone(&plan);
            let thread = spawn_with_own_table(format!("clients {}", share.start), move || {
                Client::new(plan, poll, received, share, connecting_max).run()
            })?;
            members.push(Member { commands, waker, thread });
        }
        while !board.all_decided() && Instant::now() < deadline && members.iter().all(|member| !member.thread.is_finished()) {
            std::thread::park_timeout(Duration::from_millis(50));
        }
        // Whoever is cut later connects again; a fleet that did not come to stand goes no further.
        plan.stop.store(!board.all_decided(), Relaxed);
        Ok(Fleet { board, plan, members, connecting_time: started.elapsed() })
    }

    /// Asks all threads what they have seen since the last time. `published` is the first number not published yet.
    pub fn collect(&self, published: u64, deadline: Instant) -> Result<Collected, String> {
        let mut sum = Collected::new();
        let (reply, replies) = channel();
        for member in &self.members {
            member.tell(Command::Collect { published, reply: reply.clone() })?;
        }
        for _ in &self.members {
            // A little beyond the deadline: a run that ran out of time still tells what it saw.
            let patience = deadline.saturating_duration_since(Instant::now()) + Duration::from_secs(1);
            sum.add(&replies.recv_timeout(patience).map_err(|_| "a client thread does not answer".to_owned())?);
        }
        Ok(sum)
    }

    /// Stops reading on all connections; tells how many stand.
    pub fn pause(&self) -> Result<u32, String> {
        self.ask(|reply| Command::Pause { reply })
    }

    pub fn wake(&self) -> Result<(), String> {
        self.members.iter().try_for_each(|member| member.tell(Command::Wake))
    }

    /// Nobody connects until [`Fleet::go_on`]: there is no server.
    pub fn hold(&self) {
        self.plan.hold.store(true, Relaxed);
    }

    pub fn go_on(&self) -> Result<(), String> {
        self.plan.hold.store(false, Relaxed);
        self.members.iter().try_for_each(Member::wake)
    }

    /// Cuts a share of the connections off, which then connect again by themselves; tells how many.
    pub fn cut(&self, percent: u32, from: u32) -> Result<u32, String> {
        self.ask(|reply| Command::Cut { percent, from, reply })
    }

    fn ask(&self, command: impl Fn(Sender<u32>) -> Command) -> Result<u32, String> {
        let (reply, replies) = channel();
        for member in &self.members {
            member.tell(command(reply.clone()))?;
        }
        let answer = |_| replies.recv_timeout(PATIENCE).map_err(|_| "a client thread does not answer".to_owned());
        self.members.iter().map(answer).sum()
    }

    /// Closes all connections and ends the threads.
    pub fn close(self) -> Result<(), String> {
        self.plan.stop.store(true, Relaxed);
        let mut result = Ok(());
        for member in &self.members {
            // A thread that has ended by itself says why when it is joined.
            let _ = member.tell(Command::Stop);
        }
        for member in self.members {
            match member.thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => result = Err(format!("a client thread failed: {error}")),
                Err(_) => result = Err("a client thread panicked".to_owned()),
            }
        }
        result
    }
}

impl Member {
    fn tell(&self, command: Command) -> Result<(), String> {
        self.commands.send(command).map_err(|_| "a client thread has ended".to_owned())?;
        self.wake()
    }

    fn wake(&self) -> Result<(), String> {
        self.waker.wake().map_err(|error| format!("a client thread cannot be woken: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_every_connection_once_and_fit_their_tables() {
        for (connections, threads, per_table) in
            [(1, 8, 10), (100, 1, 30), (100_001, 3, 19_488), (7, 7, 7), (4_000_000, 2, 19_488)]
        {
            let shares = shares(connections, threads, per_table);
            assert!(shares.iter().all(|share| !share.is_empty() && share.len() as u32 <= per_table));
            assert_eq!((shares[0].start, shares[shares.len() - 1].end), (0, connections));
            assert!(shares.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
    }
}
