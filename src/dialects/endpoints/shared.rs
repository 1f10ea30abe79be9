//! What all connections of one configuration have in common, and what outlives a reload: the endpoints in force, who is connected,
//! and what has failed.

use super::account;
use super::checks::Reject;
use super::encoders::Encodings;
use super::failures::{Failures, origin_of};
use super::options::{self, Options};
use super::route;
use crate::access::tokens::Source;
use crate::clock::Now;
use crate::exchange::{
    EndpointLog, EndpointSettings, Grant, NewRecord, Reach, Revocation, TokenDigest, endpoint_topic, token_group,
};
use crate::message::{Frame, TopicName};
use crate::pace::{Goodbyes, Phase, Slices};
use crate::record::{Account, RecordId};
use crate::session::{ConnectionLimits, Encoders, LimitsByEnd};
use crate::websocket::encoder;
use arc_swap::{ArcSwap, Guard};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Frames of one message: more than a client may send in its time.
const FRAGMENTS_MAX: u32 = 64;
/// How long a peer may take to answer our close.
const CLOSE_TIME: Duration = Duration::from_secs(2);
/// Bytes that wait for a socket that refuses; beyond them the log is the queue.
const OUTBOX_BYTES_MAX: usize = 256 << 10;

/// What goes on when the configuration is read again: the services in force.
#[derive(Clone, Default)]
pub struct Live(Arc<State>);

#[derive(Default)]
struct State {
    table: ArcSwap<Table>,
    /// Generations that endpoints have had.
    generations: AtomicU64,
}

/// The services of one configuration.
#[derive(Default)]
pub struct Table {
    options: Options,
    /// In their order there.
    services: Vec<Service>,
    /// Connections that this configuration closes.
    closes: Slices,
}

/// One service and its endpoints by their names.
pub struct Service {
    pub shared: Arc<Shared>,
    endpoints: HashMap<Box<str>, Arc<Endpoint>>,
}

/// What a connection keeps of the configuration under which its service was opened.
pub struct Shared {
    pub options: options::Service,
    pub limits: LimitsByEnd,
    pub goodbyes: Goodbyes,
    pub ping_every: u16,
    pub ping: Frame,
    pub encodings: Encodings,
    /// Goes on when the configuration is read again.
    pub failed: Arc<Failed>,
    /// Whose services it is one of: they know it, too.
    live: Weak<State>,
}

/// What has failed at a service lately.
#[derive(Default)]
pub struct Failed {
    /// Checks of requests.
    checks: Failures<IpAddr>,
    /// Logins, by address, and by endpoint and name.
    pub logins_from: Failures<IpAddr>,
    pub logins_as: Failures<(TopicName, Box<str>)>,
}

/// One project under one configuration.
pub struct Project {
    pub options: options::Project,
    /// The name of the group that its tokens are of.
    pub group: Box<str>,
}

/// One endpoint under one configuration.
pub struct Endpoint {
    pub shared: Arc<Shared>,
    pub project: Arc<Project>,
    pub options: options::Endpoint,
    /// That of all its changes, which the hub knows it by.
    pub topic: TopicName,
    /// Changes with each option that closes its connections.
    pub generation: u64,
    /// Open connections, of earlier configurations, too.
    connections: Arc<AtomicU64>,
}

impl Live {
    /// The services in force.
    pub fn table(&self) -> Guard<Arc<Table>> {
        self.0.table.load()
    }

    /// Makes the services of these options, which are not in force yet. `stop` is what a stop of the whole server may take.
    pub fn prepare(&self, options: &Options, ids: &Source, encoders: &mut Encoders, stop: Duration) -> Prepared {
        let old = self.0.table.load();
        let services = options.services.iter().map(|options| {
            let name = &options.name;
            let shared = Arc::new(Shared::new(options, &self.0, &old, encoders, stop));
            let mut endpoints = HashMap::new();
            for project in &options.projects {
                let group = token_group(name, &project.name).into();
                let project = Arc::new(Project { options: project.clone(), group });
                for options in &project.options.endpoints {
                    let endpoint = self.endpoint(&shared, &project, options, &old);
                    endpoints.insert(options.name.as_str().into(), Arc::new(endpoint));
                }
            }
            Service { shared, endpoints }
        });
        let table = Table { services: services.collect(), options: options.clone(), closes: Slices::default() };
        let settings = table.settings(ids);
        Prepared { live: self.clone(), table: Arc::new(table), settings }
    }

    fn endpoint(&self, shared: &Arc<Shared>, project: &Arc<Project>, options: &options::Endpoint, old: &Table) -> Endpoint {
        let topic = endpoint_topic(&shared.options.name, &project.options.name, &options.name);
        let before = old.endpoint(&shared.options.name, &options.name).filter(|before| before.topic == topic);
        let same = before.filter(|before| before.has_key_of(project) && before.grants_like(project, options));
        Endpoint {
            shared: shared.clone(),
            project: project.clone(),
            options: options.clone(),
            topic,
            generation: same.map_or_else(|| 1 + self.0.generations.fetch_add(1, Relaxed), |same| same.generation),
            connections: before.map(|before| before.connections.clone()).unwrap_or_default(),
        }
    }
}

/// Services of a configuration that is not in force yet.
pub struct Prepared {
    live: Live,
    table: Arc<Table>,
    /// What the hub has to know of them, before they come into force: nothing that is committed from then on reaches who came
    /// under other options.
    pub settings: Vec<EndpointSettings>,
}

impl Prepared {
    /// From now on they count, for connections that are open already, too.
    pub fn enforce(&self) {
        self.live.0.table.store(self.table.clone());
    }
}

impl Table {
    fn settings(&self, ids: &Source) -> Vec<EndpointSettings> {
        let endpoints = self.services.iter().flat_map(|service| service.endpoints.values());
        let mut settings: Vec<EndpointSettings> = endpoints.map(|endpoint| endpoint.settings(ids)).collect();
        settings.sort_by(|one, other| one.name.cmp(&other.name));
        settings
    }

    /// Whether the path is that of a service, under whatever host.
    pub fn serves(&self, path: &str) -> bool {
        self.options.services.iter().any(|service| route::below(&service.path, path).is_some())
    }

    /// How large the body of a request for this path may be: not known yet is the host.
    pub fn body_bytes_max(&self, path: &str) -> u64 {
        let at_path = self.options.services.iter().filter(|service| route::below(&service.path, path).is_some());
        at_path.map(|service| service.limits.body_bytes_max).max().unwrap_or(0)
    }

    /// The one that a request is for.
    pub fn service_of(&self, host: Option<&str>, path: &str) -> Option<&Service> {
        self.services.get(route::service(&self.options.services, host, path)?)
    }

    fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.shared.options.name == name)
    }

    fn endpoint(&self, service: &str, name: &str) -> Option<&Arc<Endpoint>> {
        self.service(service)?.endpoints.get(name)
    }
}

impl Service {
    pub fn endpoint(&self, name: &str) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(name)
    }
}

impl Shared {
    fn new(options: &options::Service, live: &Arc<State>, old: &Table, encoders: &mut Encoders, stop: Duration) -> Shared {
        let limits = ConnectionLimits {
            message_bytes_max: options.limits.frame_bytes_max as usize,
            message_fragments_max: FRAGMENTS_MAX,
            outbox_bytes_max: OUTBOX_BYTES_MAX,
            no_progress: options.no_progress_timeout,
            close_time: CLOSE_TIME,
            user_timeout: None,
        };
        let goodbyes = Goodbyes::new(options.drain_time, CLOSE_TIME, stop);
        Shared {
            options: options.clone(),
            limits: LimitsByEnd::new(limits, goodbyes.answering),
            goodbyes,
            ping_every: Phase::every(options.ping_interval),
            ping: encoder::ping(b"").into(),
            encodings: Encodings::new(encoders),
            failed: old.service(&options.name).map(|before| before.shared.failed.clone()).unwrap_or_default(),
            live: Arc::downgrade(live),
        }
    }

    /// How far back a client may ask.
    pub fn reach(&self) -> Reach {
        Reach { count: self.options.log_messages as usize, age: self.options.log_age }
    }

    /// What is said to one whose token the hub does not know.
    pub fn unknown(&self, blame: Blame, now: Now) -> Reject {
        match blame {
            Blame::Peer(peer) => self.failed(Reject::NoToken, peer, now),
            Blame::Told(reject) => reject,
        }
    }

    /// What is said to one from this address whose request has failed a check: after too many of them always the same.
    pub fn failed(&self, reject: Reject, peer: IpAddr, now: Now) -> Reject {
        let most = self.options.limits.failures_per_minute_per_address;
        let counts = !reject.is_failure() || self.failed.checks.count(origin_of(peer), most, now.micros);
        if counts { reject } else { reject.limited() }
    }
}

impl Project {
    /// Which record of users a token stands for here, and until when, in Unix milliseconds.
    pub fn holder(&self, grant: Option<Grant>) -> Option<(RecordId, u64)> {
        let grant = grant.filter(|grant| grant.group == self.group)?;
        Some((RecordId::parse(&grant.user)?, grant.until))
    }

    /// Whether the token of this user counts no longer.
    pub fn loses(&self, revocation: &Revocation, token: TokenDigest, user: RecordId) -> bool {
        revocation.covers(token, |group, of| *group == *self.group && RecordId::parse(of) == Some(user))
    }
}

impl Endpoint {
    /// What the configuration in force means to a connection of this one.
    pub fn review(&self) -> Review {
        let Some(table) = self.in_force() else { return Review::Same };
        match table.endpoint(&self.shared.options.name, &self.options.name) {
            Some(now) if std::ptr::eq(&**now, self) => Review::Same,
            Some(now) if now.topic != self.topic || !now.has_key_of(&self.project) => Review::Gone,
            Some(now) if now.generation != self.generation => Review::Changed,
            Some(_) => Review::Same,
            None => Review::Gone,
        }
    }

    /// How long the next connection has to wait that the configuration in force closes.
    pub fn closing_delay(&self) -> Duration {
        let Some(table) = self.in_force() else { return Duration::ZERO };
        let options = &table.service(&self.shared.options.name).map_or(&self.shared, |now| &now.shared).options;
        table.closes.delay(options.close_slice_connections, options.close_slice_interval)
    }

    /// Without a server nothing changes any more.
    fn in_force(&self) -> Option<Arc<Table>> {
        Some(self.shared.live.upgrade()?.table.load_full())
    }

    fn has_key_of(&self, project: &Project) -> bool {
        self.project.options.key == project.options.key
    }

    /// Whether who was let in here would have been let in under these options, and to the same.
    fn grants_like(&self, project: &Project, endpoint: &options::Endpoint) -> bool {
        self.project.options.admits_like(&project.options) && self.options.grants_like(endpoint)
    }

    fn settings(&self, ids: &Source) -> EndpointSettings {
        let options = &self.shared.options;
        EndpointSettings {
            name: self.topic.clone(),
            generation: self.generation,
            users: self.options.users.iter().map(|user| new_user(user, ids.record_id())).collect(),
            removed_ttl: options.removed_endpoint_ttl,
            log: Some(EndpointLog { messages: options.log_messages as usize, bytes: options.log_bytes, age: options.log_age }),
        }
    }
}

/// A user of the configuration.
fn new_user(user: &options::User, id: RecordId) -> NewRecord {
    let (data, names) = account::configured(&user.username);
    let account = Account { names, password: user.password_hash.as_str().into() };
    NewRecord { id, owner: Some(id), data: data.into_bytes().into(), account: Some(Box::new(account)) }
}

/// Whom it is counted for when the hub does not know the token of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The address that the request came from.
    Peer(IpAddr),
    /// Nobody any more: the request has failed already, and is told this if nothing else lets it in.
    Told(Reject),
}

/// What becomes of a connection when the configuration was read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Review {
    Same,
    /// What is granted is something else now.
    Changed,
    /// The endpoint is no more, or has another key.
    Gone,
}

/// One connection's place at its endpoint.
pub struct Place(Arc<Endpoint>);

impl Place {
    /// `None`: all are taken.
    pub fn take(endpoint: &Arc<Endpoint>) -> Option<Place> {
        let most = endpoint.shared.options.limits.connections_per_endpoint_max;
        let before = endpoint.connections.fetch_add(1, Relaxed);
        Some(Place(endpoint.clone())).filter(|_| most == 0 || before < most)
    }

    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{STOP, endpoint, enforce, options, text};
    use super::*;

    fn settings(live: &Live, text: &str) -> Vec<EndpointSettings> {
        live.prepare(&options(text), &Source::new([1; 32]), &mut Encoders::default(), STOP).settings
    }

    #[test]
    fn places_are_counted_at_the_endpoint_and_outlive_a_reload() {
        let live = Live::default();
        let two = text("limits.connections_per_endpoint_max = 2", "", "");
        enforce(&live, &two);
        let open = endpoint(&live, "p/open");
        let places: Vec<_> = (0..3).map(|_| Place::take(&open)).collect();
        assert_eq!(places.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false]);
        assert!(Place::take(&endpoint(&live, "p/notes")).is_some(), "each on its own");
        enforce(&live, &two);
        let open = endpoint(&live, "p/open");
        assert!(Place::take(&open).is_none());
        drop(places);
        assert!(Place::take(&open).is_some());
        enforce(&live, &text("", "", ""));
        let open = endpoint(&live, "p/open");
        assert!((0..1_000).map(|_| Place::take(&open)).collect::<Vec<_>>().iter().all(Option::is_some));
    }

    #[test]
    fn ep_48_options_that_close_change_the_generation_and_others_do_not() {
        let live = Live::default();
        let base = text("", "", "");
        enforce(&live, &base);
        let [open, notes, users] = ["p/open", "p/notes", "p/users"].map(|name| endpoint(&live, name));
        let reviews = |text: &str| {
            enforce(&live, text);
            let reviewed = [&open, &notes, &users].map(|endpoint| endpoint.review());
            enforce(&live, &base);
            assert_eq!(open.review() == Review::Same, reviewed[0] == Review::Same, "what has changed once stays so: {text}");
            reviewed
        };
        use Review::{Changed, Gone, Same};
        for same in [
            base.clone(),
            text("ping_interval = \"5s\"\nlog_messages = 7\nlimits.frame_bytes_max = 9", "", ""),
            text("hosts = [\"a.example\"]\npath = \"/other\"", "", ""),
            text("", "", "[[rested.projects.endpoints]]\nname = \"p/more\"\n"),
        ] {
            assert_eq!(reviews(&same), [Same; 3], "{same}");
        }
        assert_eq!(reviews(&base.replace("auth = true", "auth = true\nregistration = false")), [Same, Same, Changed]);
        let live = Live::default();
        enforce(&live, &base);
        let all = || ["p/open", "p/notes", "p/users"].map(|name| endpoint(&live, name));
        for (text, expected) in [
            (base.replace("secure = true", "secure = true\nread_by_others = true"), [Same, Changed, Same]),
            (base.replace("secure = true", "secure = false"), [Same, Changed, Same]),
            (base.replace("secure = true", "auth = true"), [Same, Changed, Same]),
            (base.replace("auth = true", "auth = true\nregistration = false"), [Same, Same, Changed]),
            (text("", "allowed_origins = [\"https://a.example\"]", ""), [Changed; 3]),
            (text("", "disallow_no_origin = true", ""), [Changed; 3]),
            (text("", "master_key = \"0123456789abcdef\"", ""), [Changed; 3]),
            (base.replace("cookie_from_any_origin = true", ""), [Changed; 3]),
            (base.replace("p/notes", "p/others"), [Same, Gone, Same]),
            (base.replace("name = \"p\"", "name = \"q\""), [Gone; 3]),
            (base.replace(super::super::testing::KEY, "0123456789abcdef"), [Gone; 3]),
            ("[rested]\n".to_owned(), [Gone; 3]),
            (base.replace("rested", "yawe"), [Gone; 3]),
            (String::new(), [Gone; 3]),
        ] {
            enforce(&live, &base);
            let before = all();
            enforce(&live, &text);
            assert_eq!(before.map(|endpoint| endpoint.review()), expected, "{text}");
        }
    }

    #[test]
    fn ep_49_the_hub_is_told_of_generations_before_they_are_in_force() {
        let live = Live::default();
        let base = text("", "", "");
        enforce(&live, &base);
        let generations = |text: &str| -> Vec<u64> { settings(&live, text).iter().map(|endpoint| endpoint.generation).collect() };
        let before = generations(&base);
        assert_eq!(before.len(), 3);
        assert_eq!(generations(&base), before, "equal options are the same generation");
        let changed = text("", "disallow_no_origin = true", "");
        let after = generations(&changed);
        assert!(after.iter().zip(&before).all(|(after, before)| after > before), "{before:?} {after:?}");
        assert_eq!(endpoint(&live, "p/open").review(), Review::Same, "nothing is in force yet");
        // An endpoint that goes and comes back is another one.
        let notes = |live: &Live| endpoint(live, "p/notes").generation;
        let first = notes(&live);
        enforce(&live, &base.replace("p/notes", "p/others"));
        enforce(&live, &base);
        assert!(notes(&live) > first);
    }

    #[test]
    fn ep_50_closes_come_in_slices() {
        let live = Live::default();
        let slices = "close_slice_connections = 2\nclose_slice_interval = \"10ms\"";
        enforce(&live, &text(slices, "", ""));
        let open = endpoint(&live, "p/open");
        for _ in 0..2 {
            enforce(&live, &text(slices, "disallow_no_origin = true", ""));
            let delays: Vec<u128> = (0..5).map(|_| open.closing_delay().as_millis()).collect();
            assert_eq!(delays, [0, 0, 10, 10, 20], "each configuration counts anew");
        }
    }

    #[test]
    fn the_hub_hears_of_configured_users_under_one_name_each() {
        const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let live = Live::default();
        let users = format!("auth = true\nusers = [{{ username = \"an\\\"na\", password_hash = \"{HASH}\" }}]");
        let settings = settings(&live, &text("removed_endpoint_ttl = \"5s\"", "", "").replace("auth = true", &users));
        let names: Vec<String> = settings.iter().map(|endpoint| endpoint.name.as_str().replace('\u{1f}', " ")).collect();
        assert_eq!(names, ["$endpoint rested p p/notes", "$endpoint rested p p/open", "$endpoint rested p p/users"]);
        assert!(settings.iter().all(|endpoint| endpoint.removed_ttl == Duration::from_secs(5)));
        let [anna] = &settings[2].users[..] else { panic!("one user") };
        assert_eq!((anna.owner, &*anna.data), (Some(anna.id), &br#"{"username":"an\"na"}"#[..]));
        let account = anna.account.as_ref().unwrap();
        assert_eq!((&*account.names[0], &*account.password), ("username\0an\"na", HASH));
    }

    #[test]
    fn ep_26_failures_are_counted_over_reloads_and_by_service() {
        let live = Live::default();
        let one = text("limits.failures_per_minute_per_address = 1", "", "");
        let (peer, now) = (IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), Now { micros: 1_000_000_000, unix_micros: 0 });
        let failed = |reject| endpoint(&live, "p/open").shared.failed(reject, peer, now);
        enforce(&live, &one);
        assert_eq!(failed(Reject::Draining), Reject::Draining);
        assert_eq!(failed(Reject::NotValid), Reject::NotValid);
        enforce(&live, &one);
        assert_eq!([Reject::MissingKey, Reject::NoToken].map(failed), [Reject::TooManyRequests; 2]);
        assert_eq!(failed(Reject::TooManyConnections), Reject::TooManyConnections);
        enforce(&live, &one.replace("rested", "yawe"));
        assert_eq!(failed(Reject::OriginNotAllowed), Reject::OriginNotAllowed);
    }
}
