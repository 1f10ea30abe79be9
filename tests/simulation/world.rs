//! One run: reactors, the hub, a network and clients, one random step after the other, and the judge between them.

use crate::Planted;
use crate::client::{Client, View};
use crate::dialect::{NO_PROGRESS, Simulated, Witness};
use crate::ledger::{Ledger, Open};
use crate::network::{Socket, Wire};
use crate::random::Random;
use crate::store::Store;
use arc_swap::ArcSwap;
use fanwire::access::Access;
use fanwire::clock::{BEGINS, Now};
use fanwire::engine::durable::Durable;
use fanwire::exchange::{Answer, Join, Joined, Question, Reach, Selection, StartAt, TopicId};
use fanwire::hub::request::{Origin, ToHub, ToReactor, Token};
use fanwire::hub::thread::Port;
use fanwire::hub::{Heartbeat, Hub, Settings, Window};
use fanwire::message::{Message, Stamp};
use fanwire::metrics::{Counter, Metrics};
use fanwire::reactor::inbox::{Bell, Inbox, InboxPort, Wake, inbox};
use fanwire::reactor::{Control, Event, Limits, Reactor};
use fanwire::session::{Door, Encoders, Registry};
use fanwire::storage::{Batch, Loaded};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const TOPICS: usize = 5;
const WINDOW: usize = 12;
/// More than a page holds.
const DEEP_WINDOW: usize = 400;
const STORED_AGE: Duration = Duration::from_secs(8);
const UNSTORED_AGE: Duration = Duration::from_secs(2);
const SOCKETS: usize = 7;
const WEBS: usize = 3;
/// A run of messages, a page or one large message may stand in an outbox beside its window.
const BESIDE_WINDOW: usize = 64 * 1024;

/// The waker of a loop that the simulation turns.
pub struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(&self) {
        self.0.store(true, SeqCst);
    }
}

#[derive(Clone)]
struct SharedFlag(Arc<Flag>);

impl Wake for SharedFlag {
    fn wake(&self) {
        self.0.wake();
    }
}

/// Where the loop of one reactor stands; every other thread may act between two of these.
enum Loop {
    Asleep,
    /// The bell was heard and these events were taken.
    Awake(Vec<Event>),
    /// Only a planted bug gets here.
    Drained,
}

struct Node {
    reactor: Reactor<Socket>,
    inbox: Inbox<SharedFlag>,
    port: InboxPort<SharedFlag>,
    bell: Arc<Bell<SharedFlag>>,
    flag: Arc<Flag>,
    state: Loop,
    wires: Vec<(Token, Rc<RefCell<Wire>>)>,
    former: Vec<Token>,
}

/// The steps of a run, as text. A run is the same with and without.
pub type Trace = Rc<RefCell<Vec<String>>>;

/// What is still to be handed over to the reactors.
type Staged = VecDeque<(usize, Vec<ToReactor>)>;

pub struct World {
    pub random: Random,
    pub planted: Planted,
    pub now: Now,
    nodes: Vec<Node>,
    hub: Hub,
    pub to_hub: VecDeque<ToHub>,
    reads_wait: bool,
    staged: Staged,
    /// They follow all replies of a batch.
    acknowledgements: Vec<(usize, ToReactor)>,
    /// Joins that a planted bug makes late.
    late_joins: Vec<(usize, ToHub)>,
    /// What the hub was asked and has not answered, by reactor and ticket.
    pub asked: BTreeMap<(u16, u64), Asked>,
    pub ledger: Ledger,
    /// The newest head that the hub has told anybody.
    pub newest_head: Stamp,
    /// What outlives the process, in worlds with storage.
    pub store: Option<Store>,
    clients: Vec<Client>,
    witness: Arc<Mutex<Witness>>,
    stalled: BTreeMap<String, ()>,
    registry: Arc<Registry>,
    draining: bool,
    deep: bool,
    of_documents: bool,
    /// Pages of history that did not hold everything.
    pages_cut: u64,
    metrics: Arc<Metrics>,
    next_number: u64,
    /// Connections with a read that is not answered: a second one makes the first void.
    reading: BTreeMap<(u16, Token), BTreeSet<u64>>,
    pub rounds_void: u64,
    pub stale_events: u64,
    /// What the counters of earlier processes had come to.
    earlier: Coverage,
    trace: Option<Trace>,
    /// The most bytes that ever waited in an outbox.
    pub waiting_max: usize,
}

/// What a run has visited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(pub BTreeMap<&'static str, u64>);

impl Coverage {
    pub fn add(&mut self, other: &Coverage) {
        other.0.iter().for_each(|(name, count)| *self.0.entry(name).or_default() += count);
    }
}

impl World {
    pub fn new(seed: u64, planted: Planted, trace: Option<Trace>) -> World {
        let mut random = Random::new(seed);
        let now = Now { micros: BEGINS, unix_micros: 1_700_000_000_000_000 + random.below(1_000_000) as u64 };
        let reactors = 1 + random.below(3);
        let deep = random.percent(15);
        let window = if deep { DEEP_WINDOW } else { WINDOW };
        let metrics = Arc::new(Metrics::new(reactors));
        let witness = Arc::new(Mutex::new(Witness::default()));
        let mut encoders = Encoders::default();
        let dialect = Simulated::new(&mut encoders, planted, witness.clone());
        let access = Arc::new(ArcSwap::from_pointee(Access::default()));
        let registry = Arc::new(Registry::new(vec![Arc::new(dialect)], encoders, access));
        let nodes = nodes(reactors, &registry, &metrics, now);
        let sockets = (0..SOCKETS).map(Client::socket);
        let webs: Vec<Client> = (0..WEBS)
            .map(|at| {
                let mut topics: Vec<usize> = (0..1 + random.below(3)).map(|_| random.below(TOPICS)).collect();
                topics.sort_unstable();
                topics.dedup();
                Client::web(SOCKETS + at, topics)
            })
            .collect();
        World {
            planted,
            now,
            nodes,
            hub: Hub::new(settings(window), reactors, now, metrics.clone()),
            to_hub: VecDeque::new(),
            reads_wait: false,
            staged: VecDeque::new(),
            acknowledgements: Vec::new(),
            late_joins: Vec::new(),
            asked: BTreeMap::new(),
            newest_head: Stamp::default(),
            store: None,
            ledger: Ledger::new(TOPICS, window, STORED_AGE.as_micros() as u64, UNSTORED_AGE.as_micros() as u64),
            clients: sockets.chain(webs).collect(),
            witness,
            stalled: BTreeMap::new(),
            registry,
            draining: false,
            deep,
            of_documents: false,
            pages_cut: 0,
            metrics,
            next_number: 0,
            reading: BTreeMap::new(),
            rounds_void: 0,
            stale_events: 0,
            earlier: Coverage::default(),
            trace,
            waiting_max: 0,
            random,
        }
    }

    /// Clients that write and watch documents most of the time.
    pub fn of_documents(seed: u64) -> World {
        World { of_documents: true, ..World::new(seed, Planted::Nothing, None) }
    }

    /// What is stored outlives the process, which ends now and then, on a disk that fails now and then.
    pub fn with_storage(seed: u64, planted: Planted, trace: Option<Trace>) -> World {
        let mut world = World::new(seed, planted, trace);
        world.of_documents = world.random.percent(25);
        world.store = Some(Store::new(seed, planted));
        let reactors = world.reactors();
        world.restart(&Open::default(), reactors).expect("a new file is in order");
        world
    }

    /// More listeners of one topic than one slice flushes, some of which read nothing.
    pub fn crowd(seed: u64, listeners: usize) -> World {
        let mut world = World::new(seed, Planted::Nothing, None);
        world.nodes.truncate(1);
        world.clients = (0..listeners).map(Client::socket).collect();
        world
    }

    /// A crowd subscribes in these ways, hears of publications and leaves.
    pub fn run_crowd(&mut self, kinds: &[usize], publications: usize) -> Result<(), String> {
        for index in 0..self.clients.len() {
            self.connect(index, 0);
            let kind = kinds[index % kinds.len()];
            self.with_client(index, |client, _, random| client.subscribe(0, kind, random));
        }
        self.come_to_rest()?;
        let silent = self.clients.len() / 20;
        for client in &mut self.clients[1..=silent] {
            client.stalled = true;
        }
        for _ in 0..publications {
            self.with_client(0, |client, view, random| client.publish(0, random, view));
            self.arrive(0, usize::MAX);
            for _ in 0..self.random.below(12) {
                self.turn(0, false)?;
                self.hub_step()?;
                self.hand_over();
                let client = self.random.below(self.clients.len());
                if !self.clients[client].stalled {
                    self.read(client, 500)?;
                }
            }
        }
        self.finish()
    }

    pub fn note(&self, step: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            trace.borrow_mut().push(step());
        }
    }

    /// The whole run.
    pub fn run(&mut self, steps: usize) -> Result<Coverage, String> {
        for _ in 0..steps {
            self.step()?;
        }
        self.finish()?;
        if self.store.is_some() {
            self.crash()?;
        }
        Ok(self.coverage())
    }

    /// The process is killed; what it gave to the network is still there, and what it did not is gone.
    pub fn kill(&mut self) {
        self.earlier = self.coverage_of_process();
        for client in &mut self.clients {
            client.server_died();
        }
        self.nodes.clear();
        self.to_hub.clear();
        self.staged.clear();
        self.acknowledgements.clear();
        self.late_joins.clear();
        self.reading.clear();
        self.reads_wait = false;
    }

    /// Another process begins, as the server does it. What it returns has to be committed first.
    pub fn begin(&mut self, loaded: Loaded, durable: Durable, reactors: usize) -> Batch {
        self.metrics = Arc::new(Metrics::new(reactors));
        self.nodes = nodes(reactors, &self.registry, &self.metrics, self.now);
        let window = if self.deep { DEEP_WINDOW } else { WINDOW };
        self.hub = Hub::new(settings(window), reactors, self.now, self.metrics.clone());
        self.hub.restore(loaded, durable)
    }

    pub fn reactors(&self) -> usize {
        self.nodes.len()
    }

    pub fn judge_head(&mut self, head: Stamp) -> Result<(), String> {
        if head.seq < self.newest_head.seq || head.position() < self.newest_head.position() {
            return Err(format!("the head went back from {:?} to {head:?}", self.newest_head));
        }
        self.newest_head = head;
        Ok(())
    }

    /// Everything comes to rest, is judged, goes away, and leaves nothing behind.
    fn finish(&mut self) -> Result<(), String> {
        self.come_to_rest()?;
        self.with_clients(|client, view, _| client.judge_rest(view))?;
        if self.random.percent(70) {
            self.with_clients(|client, _, random| {
                client.leave(random);
                Ok(())
            })?;
        } else {
            self.drain()?;
        }
        // What lingers has to be cut in time.
        for _ in 0..4 {
            self.come_to_rest()?;
            self.pass(2_000_000);
        }
        self.come_to_rest()?;
        for (index, node) in self.nodes.iter().enumerate() {
            if !node.reactor.is_empty() {
                return Err(format!("reactor {index} keeps {} connections or what they held", node.reactor.connection_count()));
            }
        }
        let subscriptions = self.metrics.hub.subscriptions.load(Relaxed);
        if subscriptions > 0 {
            return Err(format!("the hub keeps {subscriptions} subscriptions of nobody"));
        }
        let origin = Origin { reactor: 0, connection: Token(0), ticket: 0 };
        self.hub.handle(ToHub::Ask { origin, question: Question::Report(Selection::Sums) }, self.now);
        let mut replies = Vec::new();
        self.hub.take_replies(0, &mut replies);
        let counted = replies.iter().filter_map(|reply| match reply {
            ToReactor::Answer { answer, .. } => match &**answer {
                Answer::Report(report) => Some(report.reactors.iter().map(|row| row.subscribers).sum::<u64>()),
                _ => None,
            },
            _ => None,
        });
        if counted.sum::<u64>() > 0 {
            return Err("the hub counts connections that are gone".to_owned());
        }
        let balance = |up, down| (self.metrics.sum(up), self.metrics.sum(down));
        for (up, down) in [
            (Counter::Accepted, Counter::Ended),
            (Counter::Joined, Counter::Left),
            (Counter::WebSocketOpened, Counter::WebSocketEnded),
            (Counter::Lagging, Counter::LagEnded),
        ] {
            let (ups, downs) = balance(up, down);
            if ups != downs {
                return Err(format!("{up:?} {ups}, but {down:?} {downs}"));
            }
        }
        if self.metrics.sum(Counter::Panics) > 0 {
            return Err("a session panicked".to_owned());
        }
        Ok(())
    }

    /// The server says goodbye, while clients go on for a while as if nothing were.
    fn drain(&mut self) -> Result<(), String> {
        self.note(|| "drain".to_owned());
        self.draining = true;
        for _ in 0..self.random.below(30) {
            self.step()?;
        }
        for index in 0..self.nodes.len() {
            self.nodes[index].reactor.control(Control::Drain, self.now);
            self.collect(index);
        }
        let clients: Vec<usize> = (0..self.clients.len()).filter(|&index| self.clients[index].wire.is_some()).collect();
        for _ in 0..60 {
            let client = clients.get(self.random.below(clients.len())).copied().unwrap_or(0);
            if self.clients[client].wire.is_some() {
                self.client_step(client)?;
            }
            self.arrive(client, 100);
            let node = self.random.below(self.nodes.len());
            self.turn(node, false)?;
        }
        Ok(())
    }

    /// The configuration is read again: living sessions are reviewed.
    fn reload(&mut self) {
        for index in 0..self.nodes.len() {
            let control = Control::Reload { registry: self.registry.clone(), limits: Box::new(limits()) };
            self.nodes[index].reactor.control(control, self.now);
        }
        self.note(|| "reload".to_owned());
    }

    fn step(&mut self) -> Result<(), String> {
        if self.store.is_some() && self.random.percent(10) {
            return self.storage_act();
        }
        match self.random.below(100) {
            0..32 => {
                let node = self.random.below(self.nodes.len());
                self.turn(node, false)?;
            }
            32..46 => {
                self.hub_step()?;
            }
            46..58 => self.hand_over(),
            58..76 => {
                let client = self.random.below(self.clients.len());
                self.client_step(client)?;
            }
            76..84 => {
                let client = self.random.below(self.clients.len());
                let bytes = if self.random.percent(30) { 1 + self.random.below(8) } else { 1 + self.random.below(2_000) };
                self.arrive(client, bytes);
            }
            84 if self.random.percent(20) => self.reload(),
            84..96 => {
                let client = self.random.below(self.clients.len());
                if !self.clients[client].stalled {
                    let bytes = if self.random.percent(30) { 1 + self.random.below(20) } else { 1 + self.random.below(3_000) };
                    self.read(client, bytes)?;
                }
            }
            _ => {
                let micros = match self.random.below(20) {
                    0 => 2_500_000,
                    1..4 => 300_000,
                    _ => self.random.below(30_000) as u64,
                };
                self.pass(micros);
            }
        }
        Ok(())
    }

    pub fn pass(&mut self, micros: u64) {
        self.now.micros += micros;
        self.now.unix_micros += micros;
        if self.random.percent(2) {
            // The wall clock steps.
            let step = self.random.below(3_000_000) as u64;
            self.now.unix_micros = self.now.unix_micros + step - 1_500_000;
        }
        for client in &self.clients {
            if let Some(wire) = &client.wire {
                wire.borrow_mut().clock = self.now.micros;
            }
        }
        self.note(|| format!("{micros} us pass"));
    }

    fn connect(&mut self, index: usize, node: usize) {
        let wire = Wire::new(self.planted, self.random.clone());
        self.random.next();
        {
            let mut wire = wire.borrow_mut();
            (wire.clock, wire.progress_at) = (self.now.micros, self.now.micros);
        }
        let place = &mut self.nodes[node];
        let token = place.reactor.next_token();
        place.reactor.accept(Socket(wire.clone()), Door::Public, IpAddr::V4(Ipv4Addr::LOCALHOST), self.now);
        place.wires.push((token, wire.clone()));
        self.with_client(index, |client, _, random| client.connect(node, wire, random));
        self.note(|| format!("client {index} connects to {node} as {token:?}"));
    }

    fn client_step(&mut self, index: usize) -> Result<(), String> {
        if self.clients[index].wire.is_none() {
            let node = self.random.below(self.nodes.len());
            self.connect(index, node);
            // Nobody has to wait for the answer to the upgrade.
            for _ in 0..self.random.below(3) {
                self.with_client(index, |client, view, random| client.act(random, view));
            }
            return Ok(());
        }
        let done = self.with_client(index, |client, view, random| client.act(random, view));
        self.note(|| format!("client {index}: {done}"));
        Ok(())
    }

    fn with_client<R>(&mut self, index: usize, act: impl FnOnce(&mut Client, &mut View<'_>, &mut Random) -> R) -> R {
        let witness = self.witness.lock().unwrap();
        let mut view = View {
            ledger: &self.ledger,
            witness: &witness,
            micros: self.now.micros,
            stalled: &self.stalled,
            draining: self.draining,
            deep: self.deep,
            of_documents: self.of_documents,
            next_number: &mut self.next_number,
        };
        act(&mut self.clients[index], &mut view, &mut self.random)
    }

    fn with_clients(
        &mut self,
        mut act: impl FnMut(&mut Client, &mut View<'_>, &mut Random) -> Result<(), String>,
    ) -> Result<(), String> {
        for index in 0..self.clients.len() {
            self.with_client(index, &mut act).map_err(|why| format!("client {index}: {why}"))?;
        }
        Ok(())
    }

    fn arrive(&mut self, index: usize, bytes: usize) -> bool {
        let Some(wire) = &self.clients[index].wire else { return false };
        let arrived = wire.borrow_mut().arrive(bytes);
        if arrived {
            self.note(|| format!("up to {bytes} bytes of client {index} arrive"));
        }
        arrived
    }

    fn read(&mut self, index: usize, bytes: usize) -> Result<bool, String> {
        let read = self.with_client(index, |client, view, _| client.read(bytes, view));
        let read = read.map_err(|why| format!("client {index}: {why}"))?;
        if read {
            self.note(|| format!("client {index} reads up to {bytes}"));
        }
        Ok(read)
    }

    /// One step of a reactor's loop, if it is not asleep. True: something happened.
    fn turn(&mut self, index: usize, everything: bool) -> Result<bool, String> {
        let now = self.now;
        let node = &mut self.nodes[index];
        match std::mem::replace(&mut node.state, Loop::Asleep) {
            Loop::Asleep => {
                let mut events = Vec::new();
                for (token, wire) in &node.wires {
                    let mut wire = wire.borrow_mut();
                    let edge = wire.has_edge() && (everything || self.random.percent(70));
                    // An event more than needed may always come.
                    let spurious = !everything && !wire.gone && self.random.percent(3);
                    if edge || spurious {
                        if edge {
                            wire.told();
                        }
                        let (readable, writable, hangup) = wire.state();
                        events.push(Event {
                            token: *token,
                            readable: readable || spurious,
                            writable: writable || spurious,
                            hangup,
                        });
                    }
                }
                if !everything && !node.former.is_empty() && self.random.percent(50) {
                    // Of a socket that was closed meanwhile; rather one whose slot somebody else has now.
                    let heir = |token: &Token| {
                        node.wires.iter().find(|(other, wire)| other.index() == token.index() && !wire.borrow().gone)
                    };
                    let reused: Vec<Token> = node.former.iter().copied().filter(|token| heir(token).is_some()).collect();
                    let list = if reused.is_empty() { &node.former } else { &reused };
                    let mut token = list[self.random.below(list.len())];
                    if self.planted == Planted::ReusedToken {
                        token = heir(&token).map_or(token, |(other, _)| *other);
                    }
                    events.push(Event { token, readable: true, writable: true, hangup: true });
                    self.stale_events += 1;
                }
                self.random.shuffle(&mut events);
                let rung = node.flag.0.swap(false, SeqCst);
                let (timer, _) = node.reactor.next_deadline();
                if !rung && events.is_empty() && !node.reactor.is_busy() && timer.is_none_or(|at| at > now.micros) {
                    return Ok(false);
                }
                if self.planted != Planted::LostWakeUp {
                    node.bell.heard();
                }
                let count = events.len();
                node.state = Loop::Awake(events);
                self.note(|| format!("reactor {index} wakes (rung: {rung}) with {count} events"));
                Ok(true)
            }
            Loop::Awake(events) => {
                node.reactor.turn(&events, &mut node.inbox, now);
                self.collect(index);
                self.nodes[index].reactor.write();
                self.collect(index);
                let node = &mut self.nodes[index];
                node.reactor.settle(now);
                if self.planted == Planted::LostWakeUp {
                    node.state = Loop::Drained;
                }
                node.reactor.check();
                let former = &mut node.former;
                node.wires.retain(|(token, wire)| {
                    if let Some((bytes, window)) = node.reactor.waiting(*token) {
                        self.waiting_max = self.waiting_max.max(bytes);
                        assert!(bytes <= window + BESIDE_WINDOW, "{bytes} bytes wait in an outbox of {window}");
                    }
                    if wire.borrow().gone {
                        former.push(*token);
                    }
                    !wire.borrow().gone
                });
                self.note(|| format!("reactor {index} turns"));
                self.hear_witness()?;
                Ok(true)
            }
            Loop::Drained => {
                node.bell.heard();
                Ok(true)
            }
        }
    }

    fn collect(&mut self, index: usize) {
        for request in self.nodes[index].reactor.outgoing() {
            if let ToHub::Read { origin, .. } = &request {
                let open = self.reading.entry((origin.reactor, origin.connection)).or_default();
                self.rounds_void += u64::from(!open.is_empty());
                open.insert(origin.ticket);
            }
            self.to_hub.push_back(request);
        }
    }

    /// What the sessions complained about, and who was declared too slow while its socket stood still.
    fn hear_witness(&mut self) -> Result<(), String> {
        let witness = self.witness.lock().unwrap();
        if let Some(violation) = witness.violations.first() {
            return Err(violation.clone());
        }
        for client in &self.clients {
            let (name, Some(wire)) = (client.name(), &client.wire) else { continue };
            let standing = self.now.micros - wire.borrow().progress_at;
            if witness.too_slow.get(&name) == Some(&self.now.micros) && standing >= NO_PROGRESS.as_micros() as u64 {
                self.stalled.insert(name, ());
            }
        }
        Ok(())
    }

    /// The hub takes some requests, or serves reads. Nothing new is done before the last is handed over.
    fn hub_step(&mut self) -> Result<bool, String> {
        if !self.staged.is_empty() {
            return Ok(false);
        }
        if self.hub.next_tick().is_some_and(|at| at <= self.now.micros) {
            self.hub.tick(self.now);
            self.stage(None)?;
            self.note(|| "the hub ticks".to_owned());
        }
        if self.to_hub.is_empty() && !self.reads_wait && self.late_joins.is_empty() {
            return Ok(!self.staged.is_empty());
        }
        for (index, node) in self.nodes.iter().enumerate() {
            let (messages, bytes) = node.port.queued();
            self.hub.set_queued(index, messages, bytes);
        }
        if self.random.percent(30) || self.to_hub.is_empty() {
            let mut budget = 1 + self.random.below(3);
            self.reads_wait = self.hub.serve_reads(self.now, || {
                let go_on = budget > 0;
                budget = budget.saturating_sub(1);
                go_on
            });
            self.note(|| "the hub serves reads".to_owned());
            self.stage(None)?;
        }
        for _ in 0..1 + self.random.below(6) {
            let Some(request) = self.to_hub.pop_front() else { break };
            self.note(|| format!("the hub handles {request:?}"));
            self.handle(request)?;
        }
        for (wait, _) in &mut self.late_joins {
            *wait = wait.saturating_sub(1);
        }
        if self.late_joins.first().is_some_and(|(wait, _)| *wait == 0) {
            let (_, join) = self.late_joins.remove(0);
            self.hub.handle(join, self.now);
            self.stage(None)?;
        }
        let acknowledgements = std::mem::take(&mut self.acknowledgements);
        self.staged.extend(acknowledgements.into_iter().map(|(index, reply)| (index, vec![reply])));
        Ok(true)
    }

    fn handle(&mut self, request: ToHub) -> Result<(), String> {
        let mut joins = None;
        match &request {
            ToHub::Join { join, .. } if join.document.is_none() => joins = Some((**join).clone()),
            ToHub::Write { origin, write } => {
                let document = write.topic.as_str().trim_start_matches("$d/").parse().unwrap();
                let value = String::from_utf8_lossy(&write.value).into_owned();
                self.asked.insert((origin.reactor, origin.ticket), Asked::Write(document, value));
            }
            ToHub::Publish { origin, entries, .. } => {
                let list = entries
                    .iter()
                    .map(|entry| (self.ledger.topic(entry.topic.as_str()), number(&entry.payload), entry.store))
                    .collect();
                self.asked.insert((origin.reactor, origin.ticket), Asked::Publish(list));
            }
            ToHub::Delete { origin, topics, .. } => {
                let topics = topics.iter().map(|topic| self.ledger.topic(topic.as_str())).collect();
                self.asked.insert((origin.reactor, origin.ticket), Asked::Delete(topics));
            }
            ToHub::Read { .. } => self.reads_wait = true,
            _ => {}
        }
        let late = match &request {
            ToHub::Join { origin, join, .. } if self.planted == Planted::ReadBeforeJoin => {
                // Nobody waits for the second answer.
                let origin = Origin { ticket: 0, connection: Token(0), ..*origin };
                Some(ToHub::Join { origin, join: join.clone(), first: false })
            }
            _ => None,
        };
        self.hub.handle(request, self.now);
        let joined = self.stage(joins.as_ref())?;
        if let (Some(late), Some((reactor, topics))) = (late, joined) {
            self.hub.handle(ToHub::Leave { reactor, topics, last: false }, self.now);
            self.late_joins.push((2, late));
            self.stage(None)?;
        }
        Ok(())
    }

    /// Takes the hub's replies, all before the acknowledgements, and enters them into the ledger. `asked`: what was joined.
    fn stage(&mut self, asked: Option<&Join>) -> Result<Option<(u16, Vec<TopicId>)>, String> {
        let mut joined_topics = None;
        let acknowledgements: Vec<(usize, ToReactor)> = self.hub.take_acknowledgements().collect();
        let batches: Vec<Vec<ToReactor>> = (0..self.nodes.len())
            .map(|index| {
                let mut replies = Vec::new();
                self.hub.take_replies(index, &mut replies);
                replies
            })
            .collect();
        self.enter(&acknowledgements, &batches)?;
        for (index, mut replies) in batches.into_iter().enumerate() {
            for reply in &replies {
                match reply {
                    ToReactor::Joined { joined, .. } => {
                        self.judge_head(joined.head)?;
                        joined_topics = Some((index as u16, joined.topics.iter().map(|topic| topic.topic).collect()));
                        if let Some(join) = asked {
                            self.judge_join(join, joined)?;
                        }
                    }
                    ToReactor::Backlog { connection, ticket, backlog } => {
                        self.pages_cut += u64::from(!backlog.complete);
                        if let Some(open) = self.reading.get_mut(&(index as u16, *connection)) {
                            open.remove(ticket);
                        }
                    }
                    ToReactor::Answer { answer, .. } => {
                        if let Answer::Head(head) = **answer {
                            self.judge_head(head)?;
                        }
                    }
                    _ => {}
                }
            }
            // A planted bug asks twice; nobody waits for the second answer.
            replies.retain(|reply| !matches!(reply, ToReactor::Joined { ticket: 0, .. } | ToReactor::Refused { ticket: 0, .. }));
            if !replies.is_empty() {
                self.staged.push_back((index, replies));
            }
        }
        self.acknowledgements.extend(acknowledgements);
        Ok(joined_topics)
    }

    /// Enters what the hub has released into the ledger, in its order.
    fn enter(&mut self, acknowledgements: &[(usize, ToReactor)], batches: &[Vec<ToReactor>]) -> Result<(), String> {
        let delivered: BTreeMap<u64, &Arc<Message>> = batches
            .iter()
            .flatten()
            .filter_map(|reply| match reply {
                ToReactor::Deliver { message, .. } if !message.topic.is_reserved() => Some((message.stamp.seq.0, message)),
                _ => None,
            })
            .collect();
        let mut facts: Vec<(u64, Fact)> = Vec::new();
        let answers = batches.iter().enumerate().flat_map(|(index, replies)| replies.iter().map(move |reply| (index, reply)));
        let mut last = 0;
        for (index, reply) in acknowledgements.iter().map(|(index, reply)| (*index, reply)).chain(answers) {
            let ToReactor::Answer { ticket, answer, .. } = reply else { continue };
            let Some(asked) = self.asked.remove(&(index as u16, *ticket)) else { continue };
            match (&**answer, asked) {
                (Answer::Published { published, .. }, Asked::Publish(list)) => {
                    for (published, (topic, number, stored)) in published.iter().zip(list) {
                        last = published.stamp.seq.0;
                        let micros = match (delivered.get(&last), &self.store) {
                            (Some(message), _) => message.ordered_micros,
                            (None, Some(store)) => store.ordered_at(last).unwrap_or(self.now.micros),
                            (None, None) => self.now.micros,
                        };
                        facts.push((last, Fact::Message { topic, position: published.stamp.position(), stored, number, micros }));
                    }
                }
                (Answer::Deleted(_), Asked::Delete(topics)) => facts.push((last, Fact::Removed(topics))),
                (Answer::Written(Ok(written)), Asked::Write(document, value)) => {
                    self.ledger.write(document, written.version, value)?;
                }
                (_, refused) => self.refused(refused),
            }
        }
        for (&seq, message) in &delivered {
            if !facts.iter().any(|(known, fact)| *known == seq && matches!(fact, Fact::Message { .. })) {
                // A heartbeat: nobody published it.
                let (position, number) = (message.stamp.position(), number(&message.payload));
                let (topic, stored, micros) = (self.ledger.topic(message.topic.as_str()), message.stored, message.ordered_micros);
                facts.push((seq, Fact::Message { topic, position, stored, number, micros }));
            }
        }
        for reply in batches.iter().flatten() {
            if let ToReactor::Removed { message, .. } = reply {
                facts.push((message.stamp.seq.0, Fact::Removed(vec![self.ledger.topic(message.topic.as_str())])));
            }
        }
        facts.sort_by_key(|(seq, _)| *seq);
        for (seq, fact) in facts {
            match fact {
                Fact::Message { topic, position, stored, number, micros } => {
                    self.ledger.add(topic, seq, position, stored, number, micros);
                }
                Fact::Removed(topics) => topics.into_iter().for_each(|topic| self.ledger.remove(topic)),
            }
        }
        Ok(())
    }

    /// Whether each start is right, and a gap is declared exactly when something newer than the cursor is gone.
    fn judge_join(&mut self, join: &Join, joined: &Joined) -> Result<(), String> {
        if joined.head.seq.0 < self.ledger.topics.iter().filter_map(|topic| topic.last()).map(|last| last.seq).max().unwrap_or(0)
        {
            return Err("a join at a head that is older than what was published".to_owned());
        }
        let cursor = join.cursor.stamp.map(|(seconds, tag)| (seconds, tag.unwrap_or(0) as u32));
        let micros = self.now.micros;
        let mut gone = false;
        for (wanted, topic) in join.topics.iter().zip(&joined.topics) {
            let name = self.ledger.topic(wanted.name.as_str());
            let kept = |index: usize| !self.ledger.is_gone(name, index, micros);
            let stored = || self.ledger.topics[name].iter().enumerate().filter(|(_, record)| record.stored);
            match (wanted.start, cursor) {
                (StartAt::Now, _) | (StartAt::Cursor, None) => {
                    if topic.from != joined.head.seq {
                        return Err("a subscription from now on that does not begin at the head".to_owned());
                    }
                }
                (StartAt::After(_), _) => unreachable!("topics of endpoints are joined so"),
                (StartAt::Last(count), _) => {
                    let there = stored().filter(|(index, _)| kept(*index)).count();
                    let replayed = stored().filter(|(index, record)| kept(*index) && record.seq > topic.from.0).count();
                    if replayed != there.min(count as usize) {
                        return Err(format!("{replayed} of the last {count} are replayed, there are {there}"));
                    }
                }
                (StartAt::Cursor, Some(cursor)) => {
                    for (index, record) in stored().filter(|(_, record)| record.position > cursor) {
                        gone |= cursor.0 > 0 && !kept(index);
                        if kept(index) && record.seq <= topic.from.0 {
                            return Err(format!("message {} is newer than the cursor and is not replayed", record.seq));
                        }
                    }
                    if stored().any(|(_, record)| record.position <= cursor && record.seq > topic.from.0) {
                        return Err("a message that the cursor covers is replayed".to_owned());
                    }
                }
            }
        }
        if gone && !joined.gap {
            return Err("something is gone, and no gap is declared".to_owned());
        }
        let uses_cursor = join.topics.iter().any(|topic| topic.start == StartAt::Cursor);
        let needless = !(uses_cursor && cursor.is_some_and(|cursor| self.ledger.anything_gone_after(cursor, micros)));
        if let Some(store) = &mut self.store
            && cursor.is_some_and(|cursor| uses_cursor && store.is_of_earlier_process(cursor))
        {
            store.resumed(joined.gap);
        } else if joined.gap && needless {
            return Err("a gap is declared, and nothing is gone".to_owned());
        }
        Ok(())
    }

    fn hand_over(&mut self) {
        let Some((index, mut batch)) = self.staged.pop_front() else { return };
        self.note(|| format!("for reactor {index}: {batch:?}"));
        self.nodes[index].port.push(&mut batch);
    }

    /// Lets everything run without new wishes until nothing moves any more. No time passes: no timer may help.
    fn come_to_rest(&mut self) -> Result<(), String> {
        self.note(|| "come to rest".to_owned());
        self.store.iter().for_each(|store| store.heal());
        for _ in 0..3_000 {
            let mut moved = self.storage_step(usize::MAX)?;
            for index in 0..self.clients.len() {
                self.clients[index].stalled = false;
                moved |= self.arrive(index, usize::MAX);
                moved |= self.read(index, usize::MAX)?;
            }
            for index in 0..self.nodes.len() {
                moved |= self.turn(index, true)?;
            }
            while self.hub_step()? || !self.staged.is_empty() {
                moved = true;
                while !self.staged.is_empty() {
                    self.hand_over();
                }
            }
            if !moved {
                return Ok(());
            }
        }
        Err("it does not come to rest".to_owned())
    }

    fn coverage(&self) -> Coverage {
        let witness = self.witness.lock().unwrap();
        let mut coverage = self.coverage_of_process();
        let sum = |count: fn(&crate::client::Coverage) -> u64| self.clients.iter().map(|client| count(&client.coverage)).sum();
        coverage.0.extend(BTreeMap::from([
            ("rounds void", self.rounds_void),
            ("stale events", self.stale_events),
            ("bytes waiting", self.waiting_max as u64),
            ("stalled", self.stalled.len() as u64),
            ("resumed", witness.resumed),
            ("gaps", witness.gaps),
            ("joins refused", witness.refused),
            ("removed", witness.removed),
            ("pages cut", self.pages_cut),
            ("drained", witness.drained),
            ("reviewed", witness.reviewed),
            ("woken", witness.woken),
            ("messages", sum(|coverage| coverage.messages)),
            ("confirmed", sum(|coverage| coverage.confirmed)),
            ("left", sum(|coverage| coverage.left)),
            ("polls", sum(|coverage| coverage.polls)),
            ("replays", sum(|coverage| coverage.replays)),
            ("told busy", sum(|coverage| coverage.busy)),
            ("told removed", sum(|coverage| coverage.removals)),
            ("pongs", sum(|coverage| coverage.pongs)),
            ("resets", sum(|coverage| coverage.resets)),
            ("half-closes", sum(|coverage| coverage.half_closes)),
            ("topics twice", sum(|coverage| coverage.doubled_topics)),
            ("prefixed", sum(|coverage| coverage.prefixed)),
            ("prefixed in turns", sum(|coverage| coverage.turns)),
            ("states", sum(|coverage| coverage.states)),
            ("states shown", sum(|coverage| coverage.states_shown)),
            ("states passed over", sum(|coverage| coverage.states_skipped)),
            ("deletions", sum(|coverage| coverage.deletions)),
            ("writes refused", sum(|coverage| coverage.writes_refused)),
            ("documents at rest", sum(|coverage| coverage.documents_at_rest)),
        ]));
        coverage.0.extend(self.store.iter().flat_map(|store| store.coverage()));
        coverage
    }

    /// What ends with the process, and what earlier ones had.
    fn coverage_of_process(&self) -> Coverage {
        let mut coverage = Coverage(BTreeMap::from([
            ("lagging", self.metrics.sum(Counter::Lagging)),
            ("caught up", self.metrics.sum(Counter::LagEnded)),
            ("too slow", self.metrics.sum(Counter::DroppedTooSlow)),
            ("busy", self.metrics.sum(Counter::RefusedBusy)),
            ("evicted", self.metrics.hub.evicted.load(Relaxed)),
        ]));
        coverage.add(&self.earlier);
        coverage
    }
}

/// What the judge remembers of a request until its answer.
pub enum Asked {
    /// Topic, number and whether it is stored, of each message.
    Publish(Vec<(usize, u64, bool)>),
    Delete(Vec<usize>),
    Write(usize, String),
}

/// What the hub has released.
enum Fact {
    Message { topic: usize, position: (u64, u32), stored: bool, number: u64, micros: u64 },
    Removed(Vec<usize>),
}

/// The publisher's own number of a message.
pub fn number(payload: &[u8]) -> u64 {
    String::from_utf8_lossy(payload).split(' ').next().and_then(|number| number.parse().ok()).expect("a payload of this run")
}

fn nodes(count: usize, registry: &Arc<Registry>, metrics: &Arc<Metrics>, now: Now) -> Vec<Node> {
    let node = |index| {
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let bell = Arc::new(Bell::new(SharedFlag(flag.clone())));
        let (port, inbox) = inbox(bell.clone());
        let reactor = Reactor::new(index as u16, registry.clone(), limits(), metrics.clone(), Box::new(|_| false), now);
        Node { reactor, inbox, port, bell, flag, state: Loop::Asleep, wires: Vec::new(), former: Vec::new() }
    };
    (0..count).map(node).collect()
}

fn settings(count: usize) -> Settings {
    Settings {
        window: Window { count, bytes: 1 << 30, age: STORED_AGE },
        reported: Reach::EVERYTHING,
        topic_idle: Duration::from_secs(2),
        topics_max: 0,
        wildcard_prefix: "".into(),
        wildcard_topics_max: 0,
        events_topic: None,
        heartbeats: vec![Heartbeat { topic: "t0".into(), every: Duration::from_millis(1_500), payload: b"0 "[..].into() }],
        log_bytes_max: 1 << 30,
        unstored_age: UNSTORED_AGE,
        key_age: Duration::from_secs(120),
        keys_max: 1_000,
        positions_age: Duration::from_secs(3_000),
        positions_max: 1_000_000,
        conversations_max: 1_000_000,
        conversation_bytes_max: 256 << 20,
        tombstone_age: Duration::from_secs(1),
        tokens_max: 1_000_000,
        endpoints: Vec::new(),
    }
}

fn limits() -> Limits {
    let hour = Duration::from_secs(3_600);
    Limits {
        head_time: hour,
        keep_alive_idle: hour,
        body_stall: hour,
        body_min_rate: 0,
        line_bytes_max: 1024,
        field_bytes_max: 2048,
        body_bytes_max: 4096,
        connections_max: usize::MAX,
        unopened_max: 10_000,
        unanswered_max: 6,
        unanswered_bytes_max: 4_000,
        unfinished_bytes_max: 8_000,
        close_time: Duration::from_secs(1),
        no_progress: hour,
    }
}
