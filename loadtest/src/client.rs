//! One client thread: connects its share of the subscribers, reads what comes, checks every sequence.
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::Duration;

use hdrhistogram::Histogram;
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::board::{Board, Turn};
use crate::dialect::{Answer, Dialect, Inbound};
use crate::marker;

/// Ports taken from one source address. Far fewer than there are: a free one is searched for, and 40,000 connects took 11 s at 20,000
/// ports each, 1.6 s at 1,000.
pub const PORTS_PER_SOURCE: u32 = 1_000;
/// One read takes at most this much; it also bounds the longest item of a dialect.
const BUFFER_BYTES: usize = 2 << 20;
const EVENTS: usize = 1024;
pub const WAKER: Token = Token(usize::MAX);

pub enum Command {
    /// Tells what was seen since the last time; `published` is the first number that has not been published.
    Collect {
        published: u64,
        reply: Sender<Collected>,
    },
    /// Stops reading, until [`Command::Wake`].
    Pause {
        reply: Sender<u32>,
    },
    /// Reads again, everything that has come meanwhile first.
    Wake,
    /// Cuts this share of the standing connections off and connects them again, after the last position each has seen; tells how many.
    Cut {
        percent: u32,
        /// Turns the choice on: 0 and the percentage after it cut different ones.
        from: u32,
        reply: Sender<u32>,
    },
    Stop,
}

/// What one thread saw since it was last asked.
pub struct Collected {
    /// ns from the intended time to the receipt.
    pub latency: Histogram<u64>,
    pub missing: u64,
    pub disorder: u64,
    /// Times that the server said messages were lost, and how many were.
    pub gaps: u64,
    pub declared_lost: u64,
    pub pings: u64,
    /// Pings of each tenth of a second since the process began.
    pub pings_by_tenth: Vec<u32>,
}

impl Collected {
    pub fn new() -> Self {
        Collected {
            latency: latency_histogram(),
            missing: 0,
            disorder: 0,
            gaps: 0,
            declared_lost: 0,
            pings: 0,
            pings_by_tenth: Vec::new(),
        }
    }

    pub fn add(&mut self, other: &Collected) {
        self.latency.add(&other.latency).expect("all histograms have the same bounds");
        self.missing += other.missing;
        self.disorder += other.disorder;
        self.gaps += other.gaps;
        self.declared_lost += other.declared_lost;
        self.pings += other.pings;
        let tenths = self.pings_by_tenth.len().max(other.pings_by_tenth.len());
        self.pings_by_tenth.resize(tenths, 0);
        for (sum, more) in self.pings_by_tenth.iter_mut().zip(&other.pings_by_tenth) {
            *sum += more;
        }
    }

    fn ping(&mut self, now: u64) {
        self.pings += 1;
        let tenth = (now / TENTH) as usize;
        if self.pings_by_tenth.len() <= tenth {
            self.pings_by_tenth.resize(tenth + 1, 0);
        }
        self.pings_by_tenth[tenth] += 1;
    }

    /// The most pings that came in a tenth of a second, over the mean of those that lie wholly within `from` and `to` (ns);
    /// `None` without any.
    pub fn ping_peak(&self, from: u64, to: u64) -> Option<f64> {
        let (first, end) = ((from / TENTH + 1) as usize, (to / TENTH) as usize);
        let tenths = self.pings_by_tenth.get(first..end.min(self.pings_by_tenth.len()))?;
        let mean = tenths.iter().map(|&pings| f64::from(pings)).sum::<f64>() / (end - first) as f64;
        let most = tenths.iter().copied().max()?;
        (mean > 0.0).then(|| f64::from(most) / mean)
    }
}

/// Nanoseconds.
const TENTH: u64 = 100_000_000;

/// 1 µs to 1 000 s with three digits; what lies outside counts as the bound.
pub fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 1_000_000_000_000, 3).expect("constant bounds are good")
}

/// What all threads of a fleet have in common.
pub struct Plan {
    pub dialect: Arc<dyn Dialect>,
    pub board: Arc<Board>,
    /// Connection `i` goes to address `i % addresses.len()`.
    pub addresses: Vec<SocketAddr>,
    /// Source addresses that the connections are spread over; 0 leaves the choice to the kernel.
    pub sources: u32,
    /// `false`: the connection alone subscribes, as in the `limit` scenario.
    pub handshake: bool,
    /// Set when the run gives up: no further connects.
    pub stop: AtomicBool,
    /// Set while there is no server: connects wait.
    pub hold: AtomicBool,
    /// A connection that the server ends connects again, after the last position it has seen.
    pub returns: bool,
    /// Number of the first topic.
    pub first_topic: u32,
    /// The first message that is published after all stand.
    pub first_number: u64,
    /// Receive buffer that is asked of the kernel, in bytes.
    pub receive_buffer: Option<usize>,
    /// The server may end connections: what those did not get is not missing.
    pub may_close: bool,
}

/// A cut is a reset: it leaves no port behind in TIME_WAIT.
const CUT: Duration = Duration::ZERO;
/// Prime to 100, so that a share of few connections is spread too.
const SPREAD: u32 = 61;

/// ```text
/// Connecting ─▶ Requesting ─▶ Answering ─▶ Live ─▶ Gone
///      ▲            └─────────────┴──────────┴───────▲
///      └──────────────────────────────────── cut ────┘
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    /// So many bytes of the request are written.
    Requesting(u16),
    Answering,
    Live,
    Gone,
}

struct Connection {
    stream: Option<TcpStream>,
    phase: Phase,
    index: u32,
    /// The number of the next message it must get.
    next: u64,
    /// The front of an item whose rest has not come yet.
    spill: Option<Vec<u8>>,
    /// The last position the server told; empty before there was one.
    cursor: Vec<u8>,
    /// The server said that messages before the next one are lost.
    gap: bool,
    /// An attempt that fails is made again: it stood before, or its server has just begun.
    again: bool,
}

pub struct Client {
    plan: Arc<Plan>,
    poll: Poll,
    commands: Receiver<Command>,
    /// Indices of the connections that are still to be opened.
    to_open: Range<u32>,
    /// Connections that were cut and are to be opened again.
    to_reopen: VecDeque<usize>,
    paused: bool,
    topics: Vec<u32>,
    connecting_max: u32,
    connecting: u32,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
    marker: marker::Reader,
    turn: Turn,
    seen: Collected,
}

impl Client {
    pub fn new(plan: Arc<Plan>, poll: Poll, commands: Receiver<Command>, share: Range<u32>, connecting_max: u32) -> Self {
        Client {
            plan,
            poll,
            commands,
            connections: Vec::with_capacity(share.len()),
            to_open: share,
            to_reopen: VecDeque::new(),
            paused: false,
            topics: Vec::new(),
            connecting_max,
            connecting: 0,
            buffer: vec![0; BUFFER_BYTES],
            scratch: Vec::new(),
            marker: marker::Reader::new(),
            turn: Turn::new(),
            seen: Collected::new(),
        }
    }

    /// Runs until it is told to stop.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            self.open_more();
            match self.poll.poll(&mut events, None) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            for event in &events {
                if event.token() != WAKER {
                    self.ready(event);
                }
            }
            let board = Arc::clone(&self.plan.board);
            self.turn.end(&board);
            loop {
                match self.commands.try_recv() {
                    Ok(Command::Collect { published, reply }) => {
                        self.count_tails(published);
                        // The other side may have given up waiting.
                        let _ = reply.send(std::mem::replace(&mut self.seen, Collected::new()));
                    }
                    Ok(Command::Pause { reply }) => {
                        self.paused = true;
                        let live = self.connections.iter().filter(|connection| connection.phase == Phase::Live).count();
                        let _ = reply.send(live as u32);
                    }
                    Ok(Command::Wake) => self.wake(),
                    Ok(Command::Cut { percent, from, reply }) => {
                        let _ = reply.send(self.cut(percent, from));
                    }
                    Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return Ok(()),
                    Err(TryRecvError::Empty) => break,
                }
            }
        }
    }

    fn cut(&mut self, percent: u32, from: u32) -> u32 {
        let mut cut = 0;
        for (at, connection) in self.connections.iter_mut().enumerate() {
            if connection.phase == Phase::Live && (connection.index * SPREAD + from) % 100 < percent {
                if let Some(stream) = connection.stream.take() {
                    // Where the kernel refuses, the port waits in TIME_WAIT: another one serves.
                    let _ = socket2::SockRef::from(&stream).set_linger(Some(CUT));
                }
                (connection.phase, connection.spill, connection.again) = (Phase::Gone, None, true);
                self.to_reopen.push_back(at);
                cut += 1;
            }
        }
        self.plan.board.connected.fetch_sub(cut, Relaxed);
        cut
    }

    fn open_more(&mut self) {
        while self.connecting < self.connecting_max && !self.plan.stop.load(Relaxed) && !self.plan.hold.load(Relaxed) {
            if let Some(at) = self.to_reopen.pop_front() {
                let stream = self.open(self.connections[at].index, at).ok();
                self.opened(at, stream);
                continue;
            }
            let Some(index) = self.to_open.next() else { return };
            let at = self.connections.len();
            let stream = self.open(index, at).ok();
            let next = self.plan.board.layout.following(index, self.plan.first_number);
            let (phase, spill, cursor) = (Phase::Gone, None, Vec::new());
            // A server that has just begun does not listen on all its cores yet.
            let again = self.plan.returns;
            self.connections.push(Connection { stream: None, phase, index, next, spill, cursor, gap: false, again });
            self.opened(at, stream);
        }
    }

    fn opened(&mut self, at: usize, stream: Option<TcpStream>) {
        match stream {
            Some(_) => {
                self.connecting += 1;
                (self.connections[at].phase, self.connections[at].stream) = (Phase::Connecting, stream);
            }
            // This machine has no more ports or descriptors: trying again would not help.
            None => self.failed(),
        }
    }

    fn open(&self, index: u32, at: usize) -> io::Result<TcpStream> {
        let address = self.plan.addresses[index as usize % self.plan.addresses.len()];
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        if let Some(bytes) = self.plan.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if self.plan.sources > 0 {
            // Without this option bind takes a port that no other destination can share.
            nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)?;
            socket.bind(&SocketAddr::from(SocketAddrV4::new(source(index % self.plan.sources), 0)).into())?;
        }
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EINPROGRESS as i32) => {}
            Err(error) => return Err(error),
        }
        let mut stream = TcpStream::from_std(socket.into());
        // Edge-triggered and once for the connection's life.
        self.poll.registry().register(&mut stream, Token(at), Interest::READABLE | Interest::WRITABLE)?;
        Ok(stream)
    }

    fn ready(&mut self, event: &Event) {
        let at = event.token().0;
        if self.connections[at].phase == Phase::Connecting && (event.is_writable() || event.is_error()) {
            self.connected(at);
        }
        if let Phase::Requesting(_) = self.connections[at].phase {
            self.write_request(at);
        }
        match self.connections[at].phase {
            Phase::Live if self.paused => {}
            Phase::Answering | Phase::Live if event.is_readable() || event.is_read_closed() => {
                self.read(at, event.is_read_closed())
            }
            Phase::Connecting | Phase::Requesting(_) | Phase::Answering | Phase::Live | Phase::Gone => {}
        }
    }

    fn wake(&mut self) {
        self.paused = false;
        for at in 0..self.connections.len() {
            if self.connections[at].phase == Phase::Live {
                // The edges of the pause are gone, that of the peer's end too.
                self.read(at, true);
            }
        }
        let board = Arc::clone(&self.plan.board);
        self.turn.end(&board);
        board.wake();
    }

    fn topics(&mut self, at: usize) {
        let (index, first) = (self.connections[at].index, self.plan.first_topic);
        self.topics.clear();
        self.topics.extend(self.plan.board.layout.topics_of(index).map(|topic| first + topic));
    }

    fn connected(&mut self, at: usize) {
        let Some(stream) = &self.connections[at].stream else { return };
        match (stream.take_error(), stream.peer_addr()) {
            (Ok(None), Ok(_)) if self.plan.handshake => self.connections[at].phase = Phase::Requesting(0),
            (Ok(None), Ok(_)) => self.stands(at),
            (Ok(None), Err(error)) if error.kind() == ErrorKind::NotConnected => {}
            (Ok(_) | Err(_), _) => self.ended(at),
        }
    }

    fn write_request(&mut self, at: usize) {
        self.topics(at);
        let connection = &mut self.connections[at];
        let (Phase::Requesting(mut written), Some(stream)) = (connection.phase, connection.stream.as_mut()) else { return };
        // Built again after a short write, which keeps it out of the connection.
        self.scratch.clear();
        self.plan.dialect.subscribe(connection.index, &self.topics, &connection.cursor, &mut self.scratch);
        while usize::from(written) < self.scratch.len() {
            match stream.write(&self.scratch[usize::from(written)..]) {
                Ok(bytes) => written += bytes as u16,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    connection.phase = Phase::Requesting(written);
                    return;
                }
                Err(_) => return self.ended(at),
            }
        }
        connection.phase = Phase::Answering;
    }

    fn read(&mut self, at: usize, read_closed: bool) {
        loop {
            let connection = &mut self.connections[at];
            let Some(stream) = connection.stream.as_mut() else { return };
            let held = connection.spill.as_ref().map_or(0, |spill| {
                self.buffer[..spill.len()].copy_from_slice(spill);
                spill.len()
            });
            let room = self.buffer.len() - held;
            match stream.read(&mut self.buffer[held..]) {
                Ok(0) => return self.ended_by_tcp(at),
                Ok(bytes) => {
                    if !self.take(at, held + bytes) {
                        return self.ended(at);
                    }
                    // A short read has emptied the socket: what comes later raises a new edge. After the peer's end
                    // there is none, so then it is read to the last.
                    if bytes < room && !read_closed {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.ended_by_tcp(at),
            }
        }
    }

    fn ended_by_tcp(&mut self, at: usize) {
        if self.connections[at].phase == Phase::Live && !self.plan.returns {
            self.plan.board.closed_tcp.fetch_add(1, Relaxed);
        }
        self.ended(at);
    }

    /// Takes the items in the first `filled` bytes of the buffer; `false` ends the connection.
    fn take(&mut self, at: usize, filled: usize) -> bool {
        let buffer = std::mem::take(&mut self.buffer);
        let taken = self.take_items(at, &buffer[..filled]);
        if let Some(taken) = taken {
            let rest = &buffer[taken..filled];
            let connection = &mut self.connections[at];
            if rest.is_empty() {
                connection.spill = None;
            } else {
                let spill = connection.spill.get_or_insert_default();
                spill.clear();
                spill.extend_from_slice(rest);
            }
            // An item that fills the whole buffer can never be completed.
            let endless = rest.len() == buffer.len();
            self.buffer = buffer;
            return !endless;
        }
        self.buffer = buffer;
        false
    }

    fn take_items(&mut self, at: usize, bytes: &[u8]) -> Option<usize> {
        let mut taken = 0;
        if self.connections[at].phase == Phase::Answering {
            match self.plan.dialect.answer(bytes) {
                Answer::Partial => return Some(0),
                Answer::Refused => return None,
                Answer::Accepted(head) => taken = head,
            }
            self.position(at, &bytes[..taken]);
            self.stands(at);
        }
        let now = self.plan.board.clock.nanoseconds();
        let plan = Arc::clone(&self.plan);
        while let Some((item, inbound)) = plan.dialect.next(&bytes[taken..]) {
            match inbound {
                Inbound::Message(frame) => {
                    self.position(at, frame);
                    self.messages(at, frame, now);
                    if plan.dialect.polls() && plan.handshake && !self.poll(at) {
                        return None;
                    }
                }
                Inbound::Ping(payload) => {
                    self.seen.ping(now);
                    self.pong(at, payload);
                }
                Inbound::Beat => self.seen.ping(now),
                Inbound::Quiet => {}
                Inbound::End(code) => {
                    let told = if code == Some(1008) { &plan.board.closed_1008 } else { &plan.board.closed_told };
                    told.fetch_add(1, Relaxed);
                    return None;
                }
            }
            taken += item;
        }
        Some(taken)
    }

    /// What an answer or an item says besides its messages.
    fn position(&mut self, at: usize, item: &[u8]) {
        let connection = &mut self.connections[at];
        if self.plan.handshake {
            self.plan.dialect.cursor(item, &mut connection.cursor);
        }
        if self.plan.dialect.declares_gap(item) {
            connection.gap = true;
            self.seen.gaps += 1;
        }
    }

    fn messages(&mut self, at: usize, item: &[u8], now: u64) {
        // Control messages of the dialect carry no marker.
        for marker in self.marker.read(item) {
            let board = &self.plan.board;
            let connection = &mut self.connections[at];
            let (index, next) = (connection.index, connection.next);
            if !board.knows(marker.number) || !board.layout.listens(index, marker.number) || marker.number < next {
                self.seen.disorder += 1;
                continue;
            }
            let lost = board.layout.count(index, next..marker.number);
            if lost > 0 && connection.gap {
                self.seen.declared_lost += lost;
                (next..marker.number)
                    .filter(|number| board.layout.listens(index, *number))
                    .for_each(|number| board.excused(number));
            } else {
                self.seen.missing += lost;
            }
            connection.gap = false;
            connection.next = board.layout.following(index, marker.number + 1);
            self.seen.latency.saturating_record(now.saturating_sub(marker.intended));
            self.turn.saw(board, marker.number, now);
        }
    }

    /// Sends the next request of a connection that asks for each answer.
    fn poll(&mut self, at: usize) -> bool {
        self.topics(at);
        self.scratch.clear();
        let connection = &mut self.connections[at];
        self.plan.dialect.poll(&self.topics, &connection.cursor, &mut self.scratch);
        // One short request at a time always fits a socket buffer.
        connection
            .stream
            .as_mut()
            .is_some_and(|stream| matches!(stream.write(&self.scratch), Ok(bytes) if bytes == self.scratch.len()))
    }

    fn pong(&mut self, at: usize, payload: &[u8]) {
        self.scratch.clear();
        self.plan.dialect.pong(payload, &mut self.scratch);
        if let Some(stream) = self.connections[at].stream.as_mut() {
            // A subscriber writes next to nothing: a full socket buffer means a server that has stopped reading, and
            // the pong that is left out here makes it show.
            let _ = stream.write(&self.scratch);
        }
    }

    /// What was published and has not come is missing; each loss counts once.
    fn count_tails(&mut self, published: u64) {
        let layout = self.plan.board.layout;
        for connection in &mut self.connections {
            if connection.next < published && !(self.plan.may_close && connection.phase == Phase::Gone) {
                self.seen.missing += layout.count(connection.index, connection.next..published);
                connection.next = layout.following(connection.index, published);
            }
        }
    }

    fn stands(&mut self, at: usize) {
        self.connections[at].phase = Phase::Live;
        self.connecting -= 1;
        self.plan.board.connected.fetch_add(1, Relaxed);
        self.decided();
    }

    fn ended(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        connection.stream = None;
        connection.spill = None;
        match std::mem::replace(&mut connection.phase, Phase::Gone) {
            Phase::Live if self.plan.returns => {
                connection.again = true;
                self.to_reopen.push_back(at);
                self.plan.board.connected.fetch_sub(1, Relaxed);
                self.plan.board.dropped.fetch_add(1, Relaxed);
            }
            Phase::Live => {
                self.plan.board.closed.fetch_add(1, Relaxed);
                self.plan.board.wake();
            }
            Phase::Connecting | Phase::Requesting(_) | Phase::Answering => {
                self.connecting -= 1;
                if connection.again {
                    self.to_reopen.push_back(at);
                    self.plan.board.retries.fetch_add(1, Relaxed);
                } else {
                    self.failed();
                }
            }
            Phase::Gone => {}
        }
    }

    fn failed(&mut self) {
        self.plan.board.failed.fetch_add(1, Relaxed);
        self.decided();
    }

    fn decided(&self) {
        if self.plan.board.all_decided() {
            self.plan.board.wake();
        }
    }
}

/// Source address number `at`: 127.1.0.1, 127.1.0.2, …, 127.1.0.250, 127.1.1.1, …; never 127.0.0.1.
fn source(at: u32) -> Ipv4Addr {
    let (second, rest) = (1 + at / 62_500, at % 62_500);
    Ipv4Addr::new(127, second as u8, (rest / 250) as u8, (1 + rest % 250) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_of_pings_is_taken_over_whole_tenths() {
        let mut seen = Collected::new();
        let mut other = Collected::new();
        for now in [5, TENTH, TENTH + 1, 2 * TENTH, 3 * TENTH, 3 * TENTH, 3 * TENTH, 4 * TENTH] {
            (if now % 2 == 0 { &mut seen } else { &mut other }).ping(now);
        }
        seen.add(&other);
        assert_eq!((seen.pings, &seen.pings_by_tenth[..]), (8, &[1, 2, 1, 3, 1][..]));
        assert_eq!(seen.ping_peak(5, 4 * TENTH + 5), Some(1.5));
        assert_eq!(Collected::new().ping_peak(0, 9 * TENTH), None);
    }

    #[test]
    fn source_addresses_differ_and_stay_in_the_loopback_net() {
        let all: std::collections::HashSet<_> = (0..10_000).map(source).collect();
        assert_eq!(all.len(), 10_000);
        assert!(all.iter().all(|address| address.is_loopback() && *address != Ipv4Addr::LOCALHOST));
    }
}
