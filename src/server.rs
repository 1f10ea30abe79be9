//! Builds the hub, the reactors and the registry of dialects; starts, reloads, drains and stops them.

use crate::access::SharedAccess;
use crate::cli::VERSION;
use crate::clock::Clock;
use crate::config::Config;
use crate::dialects::action_cable::{self, ActionCable};
use crate::dialects::admin::{self, Admin, Readiness};
use crate::dialects::publish::Publish;
use crate::dialects::push_stream::PushStream;
use crate::dialects::{endpoints, resources};
use crate::engine::durable::Durable;
use crate::exchange::Reach;
use crate::hub::request::ToHub;
use crate::hub::{self, Heartbeat, Hub, Settings, Window};
use crate::metrics::Metrics;
use crate::reactor::inbox::{Bell, inbox};
use crate::reactor::thread::{self as reactor_thread, Order, Setup, WAKER};
use crate::reactor::working::Pools;
use crate::reactor::{BEYOND_MAX, Control, Limits, listener};
use crate::session::{Dialect, Door, Encoders, Registry};
use crate::storage;
use crate::storage::Storage;
use crate::storage::redb::Redb;
use crate::storage::thread::Unit;
use crate::workers::{self, Threads};
use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Descriptors of each table that are not for connections: listeners, wakers, files.
const RESERVED_DESCRIPTORS: u64 = 64;
/// How long sent bytes may stay unacknowledged before the kernel ends the connection.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Hashing one password takes tens of milliseconds and megabytes on purpose. Without a service nobody has passwords.
const PASSWORD_WORKERS: usize = 2;
/// Passwords that wait or are being hashed.
pub const PASSWORD_JOBS_MAX: usize = 64;
/// Merging documents of the largest size takes tens of milliseconds; a job holds both and what comes of them.
const DOCUMENT_WORKERS: usize = 2;
const DOCUMENT_JOBS_MAX: usize = 64;

/// How a thread ended: as it was asked to, or why not.
type Ended = Result<(), String>;

/// A server whose threads run. Dropping it ends them at once.
pub struct Running {
    shared: Shared,
    address: SocketAddr,
    admin: Option<SocketAddr>,
    hub_thread: Option<JoinHandle<Ended>>,
    storage_thread: Option<JoinHandle<Ended>>,
    reactor_threads: Vec<JoinHandle<Ended>>,
    workers: Vec<Threads>,
    /// Hears of every reactor that ends.
    ended: Receiver<()>,
    /// Hears why a thread ended that was not asked to.
    failures: Receiver<String>,
    drain_time: Duration,
}

/// What reaches into the running threads.
struct Shared {
    reactors: Vec<ReactorHandle>,
    hub: Sender<ToHub>,
    access: SharedAccess,
    metrics: Arc<Metrics>,
    clock: Clock,
    /// The configuration in force, and the encoders of all that ever were.
    state: Mutex<(Config, Encoders)>,
    readiness: Arc<Readiness>,
    /// What `/` shows; known once the doors are open.
    page: Arc<OnceLock<String>>,
    cable: action_cable::Live,
    resources: resources::Live,
    endpoints: endpoints::Live,
}

struct ReactorHandle {
    orders: Sender<Order>,
    bell: Arc<Bell>,
}

impl ReactorHandle {
    fn order(&self, order: Order) {
        // A reactor that has ended follows no orders.
        let _ = self.orders.send(order);
        self.bell.ring();
    }
}

/// Starts every thread and opens every listener; returns once connections are accepted.
///
/// # Errors
/// An address that can't be listened on, or a system resource that is missing. Nothing runs then.
pub fn start(config: Config, clock: Clock) -> io::Result<Running> {
    let (passwords, waiting_passwords) = workers::pool(PASSWORD_JOBS_MAX);
    let (documents, waiting_documents) = workers::pool(DOCUMENT_JOBS_MAX);
    let password_workers = password_workers(&config);
    let mut running = start_on(config, clock, Pools { passwords, documents })?;
    running.workers.push(waiting_passwords.staffed("passwords", password_workers)?);
    running.workers.push(waiting_documents.staffed("documents", DOCUMENT_WORKERS)?);
    Ok(running)
}

/// A server whose slow work is done by whoever holds the queues of these pools.
///
/// # Errors
/// As [`start`].
pub fn start_on(config: Config, clock: Clock, pools: Pools) -> io::Result<Running> {
    raise_descriptor_limit();
    let reactor_count = config.server.reactor_count();
    let metrics = Arc::new(Metrics::new(reactor_count));
    let access: SharedAccess = Arc::new(ArcSwap::from_pointee(config.access()));
    let readiness = Arc::new(Readiness::default());
    let page = Arc::new(OnceLock::new());
    let mut encoders = Encoders::default();
    let cable = action_cable::Live::new(&config.action_cable, seed()?);
    // Nobody else sets it.
    let _ = metrics.families.set(cable.families());
    let resources = resources::Live::new(seed()?);
    let endpoints = endpoints::Live::new(seed()?);
    let prepared = endpoints.prepare(&config.endpoints, &mut encoders, config.server.drain_time);
    let settings = settings(&config, &prepared);
    let registry =
        registry(&config, &access, &metrics, &readiness, &page, (&cable, &resources, (&endpoints, &prepared)), &mut encoders);
    let registry = Arc::new(registry);
    let (hub_sender, hub_receiver) = crossbeam_channel::unbounded();
    let (ended_sender, ended) = crossbeam_channel::unbounded();
    let (failure_sender, failures) = crossbeam_channel::unbounded();
    let (begun_sender, begun) = crossbeam_channel::bounded(reactor_count);

    let connections_max = connections_max(&config);
    let mut ports: Vec<Box<dyn hub::thread::Port>> = Vec::new();
    let mut reactors = Vec::new();
    let mut setups = Vec::new();
    for index in 0..reactor_count as u16 {
        // Whatever threads share has to exist before their descriptor tables part.
        let poll = mio::Poll::new()?;
        let bell = Arc::new(Bell::new(mio::Waker::new(poll.registry(), WAKER)?));
        let (port, inbox) = inbox(bell.clone());
        let (order_sender, orders) = crossbeam_channel::unbounded();
        ports.push(Box::new(port.clone()));
        reactors.push(ReactorHandle { orders: order_sender, bell: bell.clone() });
        setups.push(Setup {
            index,
            poll,
            inbox,
            port,
            pools: pools.clone(),
            orders,
            bell,
            hub: hub_sender.clone(),
            registry: registry.clone(),
            limits: limits(&config, connections_max),
            metrics: metrics.clone(),
            clock: clock.clone(),
            socket_options: listener::SocketOptions {
                user_timeout: USER_TIMEOUT,
                send_bytes: config.limits.socket_send_bytes as usize,
            },
            private_fd_tables: config.server.private_fd_tables,
            begun: begun_sender.clone(),
        });
    }
    let mut running = Running {
        shared: Shared {
            reactors,
            hub: hub_sender,
            access,
            metrics,
            clock,
            state: Mutex::new((config.clone(), encoders)),
            readiness,
            page,
            cable,
            resources,
            endpoints,
        },
        address: SocketAddr::from(([0, 0, 0, 0], 0)),
        admin: None,
        hub_thread: None,
        storage_thread: None,
        reactor_threads: Vec::new(),
        workers: Vec::new(),
        ended,
        failures,
        drain_time: config.server.drain_time,
    };
    // Only reactors submit work: its threads end after them.
    drop(pools);
    for setup in setups {
        let ended = ended_sender.clone();
        let failed = failure_sender.clone();
        let index = setup.index;
        let thread = std::thread::Builder::new().name(format!("reactor {index}")).spawn(move || {
            let result = match catch_unwind(AssertUnwindSafe(|| reactor_thread::run(setup))) {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(format!("reactor {index} failed: {error}")),
                Err(_) => Err(format!("reactor {index} panicked")),
            };
            if let Err(failure) = &result {
                let _ = failed.send(failure.clone());
            }
            let _ = ended.send(());
            result
        })?;
        running.reactor_threads.push(thread);
    }
    for _ in 0..reactor_count {
        let _ = begun.recv();
    }
    // Opened after the descriptor tables have parted: nobody else needs its file.
    running.run_hub(&config, settings, hub_receiver, ports, failure_sender)?;
    running.listen(&config)?;
    let page = if config.dev { admin::dev_page(VERSION, &running.address().to_string()) } else { admin::serve_page(VERSION) };
    // Nobody else sets it.
    let _ = running.shared.page.set(page);
    running.shared.readiness.started();
    Ok(running)
}

impl Running {
    /// Where the public door is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where administration is served: its own door, or the public one in `fanwire dev`.
    pub fn admin(&self) -> SocketAddr {
        self.admin.unwrap_or(self.address)
    }

    /// The text on `/`: in `fanwire dev` the lines to copy into a terminal.
    pub fn page(&self) -> &str {
        self.shared.page.get().map_or("", String::as_str)
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// Restores what an earlier process left, and lets the hub run.
    fn run_hub(
        &mut self,
        config: &Config,
        settings: Settings,
        requests: Receiver<ToHub>,
        ports: Vec<Box<dyn hub::thread::Port>>,
        failures: Sender<String>,
    ) -> io::Result<()> {
        let Shared { clock, metrics, .. } = &self.shared;
        let new_hub = || Hub::new(settings, ports.len(), clock.now(), metrics.clone());
        let hub = if config.storage.path.as_os_str().is_empty() {
            new_hub()
        } else {
            let (mut storage, loaded) = Redb::open(&config.storage.path).map_err(io::Error::other)?;
            tracing::info!(path = %config.storage.path.display(), messages = loaded.messages.len(), "storage is open");
            let (unit_sender, units) = crossbeam_channel::unbounded();
            let mut hub = new_hub();
            let deliver = config.storage.deliver;
            let first = hub.restore(loaded, Durable::new(unit_sender.clone(), deliver));
            let last = first.head.seq;
            if let Err(failure) = storage.commit(&first) {
                tracing::error!(%failure, "storage fails: publications of stored messages are refused until it works again");
                // For the first commit that works; it is no unit of the hub's.
                let _ = unit_sender.send(Unit { number: 0, generation: 0, batch: first });
            }
            drop(unit_sender);
            let reports = self.shared.hub.clone();
            let report = move |report| {
                // A hub that has ended hears nothing.
                let _ = reports.send(ToHub::Storage(report));
            };
            let thread = watched("the storage panicked", failures.clone(), move || {
                storage::thread::run(Box::new(storage), deliver, last, &units, report);
            });
            self.storage_thread = Some(std::thread::Builder::new().name("storage".into()).spawn(thread)?);
            hub
        };
        let clock = clock.clone();
        // Going on without the hub, or with one that is half changed, could break the order: the process has to end.
        let thread = watched("the hub panicked", failures, move || hub::thread::run(hub, requests, ports, clock));
        self.hub_thread = Some(std::thread::Builder::new().name("hub".into()).spawn(thread)?);
        Ok(())
    }

    fn listen(&mut self, config: &Config) -> io::Result<()> {
        let door = if config.dev { Door::Both } else { Door::Public };
        let wanted = config.server.listen.iter().map(|&address| (address, door));
        let wanted = wanted.chain(config.admin.listen.iter().map(|&address| (address, Door::Admin)));
        let mut reserved = Vec::new();
        let mut addresses = Vec::new();
        for (address, door) in wanted {
            if is_taken(address) {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("{address} is in use by another server")));
            }
            let (socket, bound) = listener::reserve(address)
                .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?;
            reserved.push(socket);
            addresses.push((bound, door));
        }
        if let Some(&(address, _)) = addresses.iter().find(|(_, door)| *door != Door::Admin) {
            self.address = address;
        }
        self.admin = addresses.iter().find(|(_, door)| *door == Door::Admin).map(|&(address, _)| address);
        for reactor in &self.shared.reactors {
            let (done, opened) = crossbeam_channel::bounded(1);
            reactor.order(Order::Listen { addresses: addresses.clone(), done });
            opened.recv().map_err(|_| io::Error::other("a reactor ended while it started"))??;
        }
        Ok(())
    }

    /// Takes another configuration into force: all of it, or nothing.
    ///
    /// # Errors
    /// Names the key that can't be changed while the server runs.
    pub fn reload(&self, config: Config) -> Result<(), String> {
        let mut state = self.shared.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (current, encoders) = &mut *state;
        let fixed = [
            ("server.listen", current.server.listen == config.server.listen),
            ("server.reactors", current.server.reactor_count() == config.server.reactor_count()),
            ("server.private_fd_tables", current.server.private_fd_tables == config.server.private_fd_tables),
            ("server.drain_time", current.server.drain_time == config.server.drain_time),
            ("storage.path", current.storage.path == config.storage.path),
            ("storage.deliver", current.storage.deliver == config.storage.deliver),
            ("admin.listen", current.admin.listen == config.admin.listen),
            ("limits.socket_send_bytes", current.limits.socket_send_bytes == config.limits.socket_send_bytes),
            ("limits.connections_max", current.limits.connections_max == config.limits.connections_max),
            ("log", current.log == config.log),
        ];
        if let Some((key, _)) = fixed.iter().find(|(_, same)| !same) {
            return Err(format!("{key} can't be changed while the server runs; the old configuration stays in force"));
        }
        let prepared = self.shared.endpoints.prepare(&config.endpoints, encoders, config.server.drain_time);
        // What is committed from here on must not reach who listens under other options: the hub hears of them first.
        let _ = self.shared.hub.send(ToHub::Settings(Box::new(settings(&config, &prepared))));
        let registry = Arc::new(registry(
            &config,
            &self.shared.access,
            &self.shared.metrics,
            &self.shared.readiness,
            &self.shared.page,
            (&self.shared.cable, &self.shared.resources, (&self.shared.endpoints, &prepared)),
            encoders,
        ));
        let limits = limits(&config, connections_max(&config));
        self.shared.access.store(Arc::new(config.access()));
        for reactor in &self.shared.reactors {
            reactor.order(Order::Control(Control::Reload { registry: registry.clone(), limits: Box::new(limits.clone()) }));
        }
        *current = config;
        Ok(())
    }

    /// Turns a [`Clock::by_hand`]; returns once the hub and every reactor have taken a turn at the new time.
    pub fn advance(&self, by: Duration) {
        self.shared.clock.turn(by);
        self.turned();
    }

    /// Steps the wall clock of a [`Clock::by_hand`].
    pub fn set_wall(&self, unix_micros: u64) {
        self.shared.clock.set_wall(unix_micros);
        self.turned();
    }

    fn turned(&self) {
        let (done, turns) = crossbeam_channel::unbounded();
        let _ = self.shared.hub.send(ToHub::Turned(done.clone()));
        let _ = turns.recv();
        for reactor in &self.shared.reactors {
            reactor.order(Order::Turned(done.clone()));
        }
        drop(done);
        for _ in &self.shared.reactors {
            // A reactor that has drained takes no more turns.
            if turns.recv().is_err() {
                break;
            }
        }
    }

    /// Begins the end: no new work, a goodbye for everybody.
    pub fn drain(&self) {
        self.shared.readiness.draining();
        for reactor in &self.shared.reactors {
            reactor.order(Order::Control(Control::Drain));
        }
    }

    /// Waits until every reactor has ended by itself, at most the drain time; whatever is left then is cut.
    ///
    /// # Errors
    /// A thread that failed.
    pub fn join(mut self) -> io::Result<()> {
        let deadline = Instant::now() + self.drain_time;
        for _ in 0..self.reactor_threads.len() {
            if self.ended.recv_deadline(deadline).is_err() {
                break;
            }
        }
        // Whoever watches `failures` may have taken a failure out: the threads tell it once more.
        self.stop(deadline).map_err(io::Error::other)
    }

    /// Hears why a thread ended that was not asked to: the server can't go on then. Ends when the server does.
    pub fn failures(&self) -> Receiver<String> {
        self.failures.clone()
    }

    /// Work that runs is waited for until the deadline.
    fn stop(&mut self, deadline: Instant) -> Ended {
        for reactor in &self.shared.reactors {
            reactor.order(Order::Stop);
        }
        let mut result = Ok(());
        for thread in self.reactor_threads.drain(..) {
            result = result.and(ended(thread));
        }
        for threads in self.workers.drain(..) {
            if !threads.end(deadline) {
                tracing::warn!("what a worker still does is given up");
            }
        }
        let _ = self.shared.hub.send(ToHub::Stop);
        // The storage ends when the hub has: everything before is committed.
        for thread in [self.hub_thread.take(), self.storage_thread.take()].into_iter().flatten() {
            result = result.and(ended(thread));
        }
        result
    }
}

/// Of something that nobody may guess.
fn seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    Ok(seed)
}

/// What a thread does; if it panics, everybody hears of it.
fn watched(failure: &'static str, failures: Sender<String>, run: impl FnOnce() + Send + 'static) -> impl FnOnce() -> Ended {
    move || {
        catch_unwind(AssertUnwindSafe(run)).map_err(|_| {
            let _ = failures.send(failure.to_owned());
            failure.to_owned()
        })
    }
}

fn ended(thread: JoinHandle<Ended>) -> Ended {
    thread.join().unwrap_or_else(|_| Err("a thread panicked".into()))
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.stop(Instant::now());
    }
}

/// SO_REUSEPORT would let a second server of the same user in silently, and give it half of the clients.
fn is_taken(address: SocketAddr) -> bool {
    address.port() != 0 && std::net::TcpListener::bind(address).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

fn raise_descriptor_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%error, soft, hard, "the limit of open files stays low");
    }
}

/// All services share one pool, which stays what it was at the start: as large as the largest that is asked for.
fn password_workers(config: &Config) -> usize {
    let wanted = config.endpoints.services.iter().map(|service| service.password_workers as usize);
    wanted.max().unwrap_or(PASSWORD_WORKERS)
}

/// Connections of one reactor.
fn connections_max(config: &Config) -> usize {
    let reactors = config.server.reactor_count() as u64;
    let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    let per_table = descriptors.saturating_sub(RESERVED_DESCRIPTORS).max(1);
    let possible = match config.server.private_fd_tables {
        // Those beyond the limit are among the reserved.
        true => per_table,
        false => (per_table / reactors).saturating_sub(BEYOND_MAX as u64).max(1),
    };
    let wanted = match config.limits.connections_max {
        0 => possible,
        all => all.div_ceil(reactors).min(possible),
    };
    usize::try_from(wanted).unwrap_or(usize::MAX)
}

fn limits(config: &Config, connections_max: usize) -> Limits {
    let limits = &config.limits;
    Limits {
        head_time: limits.head_time,
        keep_alive_idle: limits.keep_alive_idle,
        body_stall: limits.body_stall,
        body_min_rate: limits.body_min_rate,
        line_bytes_max: limits.request_line_bytes.max(config.push_stream.max_request_line_bytes) as usize,
        field_bytes_max: limits.head_bytes as usize,
        body_bytes_max: limits.body_bytes,
        connections_max,
        unopened_max: (connections_max * usize::from(limits.unopened_percent) / 100).max(1),
        ..Limits::default()
    }
}

fn settings(config: &Config, endpoints: &endpoints::Prepared) -> Settings {
    let push_stream = &config.push_stream;
    let heartbeat = push_stream.heartbeat().map(|(topic, every, payload)| Heartbeat { topic, every, payload });
    let topics_max = match (config.limits.topics_max, push_stream.max_channels) {
        (server, 0) => server,
        (0, dialect) => dialect,
        (server, dialect) => server.min(dialect),
    };
    let reported = Reach { count: push_stream.max_stored_messages, age: push_stream.message_ttl };
    // What each dialect shows of a topic: the log keeps enough for all of them.
    let cable = &config.action_cable;
    let reaches = [push_stream.enabled.then_some(reported), cable.enabled.then(|| cable.reach())];
    let nothing = Window { count: 0, bytes: config.limits.topic_log_bytes_max, age: Duration::ZERO };
    Settings {
        window: reaches.into_iter().flatten().fold(nothing, Window::union),
        reported,
        topic_idle: push_stream.channel_inactivity,
        topics_max,
        wildcard_prefix: push_stream.wildcard_prefix.as_str().into(),
        wildcard_topics_max: push_stream.max_wildcard_channels,
        events_topic: push_stream.events_topic(),
        heartbeats: heartbeat.into_iter().collect(),
        log_bytes_max: config.limits.log_bytes_max,
        positions_age: if cable.enabled && cable.extended { cable.history_position_ttl } else { Duration::ZERO },
        tombstone_age: config.resources.tombstone_ttl,
        endpoints: endpoints.settings.clone(),
        ..Settings::default()
    }
}

fn registry(
    config: &Config,
    access: &SharedAccess,
    metrics: &Arc<Metrics>,
    readiness: &Arc<Readiness>,
    page: &Arc<OnceLock<String>>,
    (cable, resources, endpoints): (&action_cable::Live, &resources::Live, (&endpoints::Live, &endpoints::Prepared)),
    encoders: &mut Encoders,
) -> Registry {
    let head_bytes = config.limits.head_bytes as usize;
    let mut list: Vec<Arc<dyn Dialect>> = Vec::new();
    if config.push_stream.enabled {
        list.push(Arc::new(PushStream::new(config.push_stream.clone(), hostname(), access.clone(), encoders)));
    }
    let events_topic = config.push_stream.events_topic();
    // Turned off, it still has connections: what a key has lost is lost to them, too.
    cable.enforce(&config.action_cable);
    if config.action_cable.enabled {
        let trusted = config.server.trusted_proxies.clone();
        let (events_topic, stop) = (events_topic.clone(), config.server.drain_time);
        list.push(Arc::new(ActionCable::new(&config.action_cable, cable, encoders, head_bytes, trusted, events_topic, stop)));
    }
    // The same for projects.
    let resources = resources.enforce(&config.resources, encoders, config.server.drain_time);
    if config.resources.enabled {
        list.push(Arc::new(resources));
    }
    let (endpoints, prepared) = endpoints;
    prepared.enforce();
    for service in &config.endpoints.services {
        let endpoints: usize = service.projects.iter().map(|project| project.endpoints.len()).sum();
        tracing::info!(service = %service.name, name = %service.display_name, endpoints, "serves endpoints");
    }
    list.push(Arc::new(endpoints.dialect()));
    if config.publish.enabled {
        list.push(Arc::new(Publish::new(config.publish.clone(), access.clone(), head_bytes, events_topic)));
    }
    list.push(Arc::new(Admin::new(metrics.clone(), readiness.clone(), page.clone(), head_bytes)));
    Registry::new(list, encoders.clone(), access.clone())
}

/// The machine's name, as push_stream's statistics show it.
fn hostname() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(|| "localhost".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{EndpointLog, Question};
    use crate::hub::request::{Origin, Token};
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    fn hub_settings(config: &Config) -> Settings {
        let live = endpoints::Live::new([0; 32]);
        settings(config, &live.prepare(&config.endpoints, &mut Encoders::default(), config.server.drain_time))
    }

    #[test]
    fn the_heartbeat_is_compacted_as_every_published_text_is() {
        let mut config = Config::dev();
        config.push_stream.heartbeat_text = "{\n \"still\": \"here\" }".to_owned();
        assert_eq!(*hub_settings(&config).heartbeats[0].payload, *br#"{"still":"here"}"#);
    }

    #[test]
    fn logs_keep_what_the_enabled_dialects_look_back_for() {
        let kept = |push_stream: bool, cable: bool| {
            let mut config = Config::dev();
            (config.push_stream.enabled, config.action_cable.enabled) = (push_stream, cable);
            let window = hub_settings(&config).window;
            (window.count, window.age.as_secs())
        };
        let (push_stream, cable) = ((1_000, 1_800), (100, 300));
        assert_eq!((kept(true, false), kept(false, true), kept(true, true)), (push_stream, cable, push_stream));
        let endpoints = hub_settings(&Config::dev()).endpoints;
        let log = EndpointLog { messages: 1_024, bytes: 8 << 20, age: Duration::from_secs(300) };
        assert!(endpoints.len() == 6 && endpoints.iter().all(|endpoint| endpoint.log == Some(log)), "logs of their own");
    }

    #[test]
    fn as_many_passwords_are_hashed_at_a_time_as_the_service_wants_that_wants_most() {
        let mut config = Config::dev();
        config.server.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        assert_eq!(config.endpoints.services.len(), 2);
        assert_eq!(password_workers(&config), 2);
        config.endpoints.services[0].password_workers = 1;
        config.endpoints.services[1].password_workers = 9;
        assert_eq!(password_workers(&config), 9);
        let mut without = config.clone();
        without.endpoints = endpoints::options::Options::default();
        assert_eq!(password_workers(&without), 2);
        // No other server of these tests has so many threads for them.
        let _running = start(config, Clock::start()).unwrap();
        let has = |name: &str| {
            let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
            threads
                .filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok())
                .any(|comm| comm.trim_end() == name)
        };
        let begun = Instant::now();
        while !has("passwords 8") {
            assert!(begun.elapsed() < Duration::from_secs(20), "the ninth thread has not begun");
            std::thread::yield_now();
        }
        assert!(!has("passwords 9"));
    }

    #[test]
    fn connections_of_a_dialect_that_a_reload_turns_off_lose_what_it_takes_from_them() {
        let mut config = Config::dev();
        config.server.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        let running = start(config.clone(), Clock::start()).unwrap();
        let mut client = TcpStream::connect(running.address()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let command = br#"{"command":"subscribe","identifier":"{\"channel\":\"ApiChannel\",\"key\":\"dev\"}"}"#;
        let request = b"GET /cable HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let header = [0x81, 0x80 | command.len() as u8, 0, 0, 0, 0];
        client.write_all(&[&request[..], &header, command].concat()).unwrap();
        let mut read_until = |text: &[u8]| {
            let mut got = Vec::new();
            while !got.windows(text.len()).any(|window| window == text) {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                got.push(byte[0]);
                assert!(got.len() < 400, "pings go on, and nothing else: {}", String::from_utf8_lossy(&got));
            }
        };
        read_until(b"confirm_subscription");
        config.action_cable.enabled = false;
        config.action_cable.keys.clear();
        running.reload(config).unwrap();
        read_until(br#"{"type":"disconnect","reason":"remote","reconnect":true}"#);
        running.drain();
        running.join().unwrap();
    }

    #[test]
    fn a_failure_during_the_stop_is_told_although_somebody_else_heard_of_it() {
        let mut config = Config::dev();
        config.server.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        let running = start(config, Clock::start()).unwrap();
        let failures = running.failures();
        // No such reactor: the hub cannot go on.
        let origin = Origin { reactor: u16::MAX, connection: Token(0), ticket: 0 };
        running.shared.hub.send(ToHub::Ask { origin, question: Question::Head }).unwrap();
        assert_eq!(failures.recv().as_deref(), Ok("the hub panicked"));
        running.drain();
        assert!(running.join().is_err());
    }
}
