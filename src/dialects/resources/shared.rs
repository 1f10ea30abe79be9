//! What all connections of one configuration have in common, and what outlives a reload: projects, and who is connected.

use super::frame;
use super::name::Resource;
use super::options::{self, Options};
use super::permissions::Principal;
use super::topic;
use super::version::Version;
use crate::access::Digest;
use crate::exchange::{Group, TokenDigest};
use crate::message::{Encoder, EncodingId, Frame, Message, TopicName};
use crate::pace::{Goodbyes, Phase, Slices};
use crate::session::{ConnectionLimits, Encoders, LimitsByEnd};
use crate::websocket::encoder;
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Projects that are made on first use.
const MADE_MAX: usize = 1000;
/// Resources of a project that are subscribed to and do not exist.
const AWAITED_MAX: u64 = 1_000_000;
/// Frames of one message.
const FRAGMENTS_MAX: u32 = 1024;
/// How long a peer may take to answer our close.
const CLOSE_TIME: Duration = Duration::from_secs(2);
/// Nobody is closed for slowness; who is gone falls silent.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// What a connection keeps from the configuration under which it was opened.
pub struct Shared {
    pub options: Options,
    pub limits: LimitsByEnd,
    pub goodbyes: Goodbyes,
    pub ping_every: u16,
    pub ping: Frame,
    pub encoding: EncodingId,
    /// Whose projects it is one of: they know it, too.
    live: Weak<State>,
    /// Open connections of the dialect.
    connections: Arc<AtomicU64>,
}

/// What goes on when the configuration is read again: the projects in force, and the counts.
#[derive(Clone, Default)]
pub struct Live(Arc<State>);

#[derive(Default)]
struct State {
    table: ArcSwap<Table>,
    connections: Arc<AtomicU64>,
}

/// The projects of one configuration, by the names of their groups.
#[derive(Clone, Default)]
struct Table {
    projects: HashMap<String, Arc<Project>>,
    /// How many of them were made on first use.
    made: usize,
    /// Those that this configuration closes.
    closes: Arc<Slices>,
}

/// A project under one configuration.
pub struct Project {
    pub shared: Arc<Shared>,
    pub options: options::Project,
    /// The name of its group.
    pub group: String,
    /// Those who show no credentials and name no world.
    pub anonymous: Arc<Identity>,
    /// Open connections, of earlier configurations, too.
    connections: Arc<AtomicU64>,
}

/// Who a connection acts as, and on what grounds. It holds digests, so it is never shown.
pub struct Identity {
    pub principal: Principal,
    pub world: Option<Box<str>>,
    pub proof: Proof,
}

impl Identity {
    /// The same one in this world.
    pub fn in_world(&self, world: Option<&str>) -> Identity {
        Identity { principal: self.principal.clone(), world: world.map(Box::from), proof: self.proof }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// None at all, or a signature, which cannot be taken back.
    Unrevokable,
    /// A token that the server has issued.
    Token(TokenDigest),
    /// A service key.
    Key(Digest),
}

impl Live {
    /// Brings the projects of these options into force, for connections that are open already, too; what new connections keep
    /// of the options is returned. `stop` is what a stop of the whole server may take.
    pub fn enforce(&self, options: &Options, encoders: &mut Encoders, stop: Duration) -> Arc<Shared> {
        let shared = Arc::new(Shared::new(options, &self.0, encoders, stop));
        let old = self.0.table.load();
        let mut table = Table::default();
        for options in &shared.options.projects {
            let project = Project::new(&shared, options.clone(), &old);
            table.projects.insert(project.group.clone(), project);
        }
        if options.auto_projects {
            let made = old.projects.values().filter(|project| !table.projects.contains_key(&project.group));
            let made: Vec<Arc<Project>> = made
                .map(|project| Project::made(&shared, &project.options.organization, &project.options.project, &old))
                .collect();
            table.made = made.len();
            table.projects.extend(made.into_iter().map(|project| (project.group.clone(), project)));
        }
        self.0.table.store(Arc::new(table));
        shared
    }

    /// The project in force. `shared` is what one that is made for this is made of, if the options say so.
    pub fn project(&self, shared: &Arc<Shared>, organization: &str, project: &str) -> Option<Arc<Project>> {
        let group = topic::group(organization, project);
        let find = || self.0.table.load().projects.get(&group).cloned();
        if let Some(known) = find() {
            return Some(known);
        }
        if shared.options.auto_projects {
            self.0.table.rcu(|table| {
                let mut table = Table::clone(table);
                if table.made < MADE_MAX && !table.projects.contains_key(&group) {
                    let made = Project::made(shared, organization, project, &table);
                    table.projects.insert(group.clone(), made);
                    table.made += 1;
                }
                table
            });
        }
        find()
    }

    /// Every project in force.
    pub fn projects(&self) -> Vec<Arc<Project>> {
        self.0.table.load().projects.values().cloned().collect()
    }
}

impl Shared {
    fn new(options: &Options, live: &Arc<State>, encoders: &mut Encoders, stop: Duration) -> Shared {
        let limits = ConnectionLimits {
            message_bytes_max: options.limits.message_bytes_max as usize,
            message_fragments_max: FRAGMENTS_MAX,
            outbox_bytes_max: options.limits.outbox_bytes_max as usize,
            no_progress: FOREVER,
            close_time: CLOSE_TIME,
            // Who takes nothing for so long cannot have answered a ping.
            user_timeout: Some(options.silence_timeout),
        };
        let goodbyes = Goodbyes::new(options.drain_time, CLOSE_TIME, stop);
        Shared {
            options: options.clone(),
            limits: LimitsByEnd::new(limits, goodbyes.answering),
            goodbyes,
            ping_every: Phase::every(options.ping_interval),
            ping: encoder::ping(b"").into(),
            encoding: encoders.add("resources".to_owned(), Arc::new(Documents)),
            live: Arc::downgrade(live),
            connections: live.connections.clone(),
        }
    }

    /// Open connections of the dialect.
    pub fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }
}

impl Project {
    fn new(shared: &Arc<Shared>, options: options::Project, before: &Table) -> Arc<Project> {
        let group = topic::group(&options.organization, &options.project);
        let known = before.projects.get(&group);
        let principal = Principal::without_credentials(&options.anonymous_user);
        Arc::new(Project {
            shared: shared.clone(),
            anonymous: Arc::new(Identity { principal, world: None, proof: Proof::Unrevokable }),
            connections: known.map(|known| known.connections.clone()).unwrap_or_default(),
            options,
            group,
        })
    }

    /// One that nobody has configured: like the first of the list, under its own name and without hosts.
    fn made(shared: &Arc<Shared>, organization: &str, project: &str, before: &Table) -> Arc<Project> {
        let mut made = shared.options.projects.first().cloned().unwrap_or_default();
        made.organization = organization.to_owned();
        made.project = project.to_owned();
        made.hosts = Vec::new();
        Project::new(shared, made, before)
    }

    pub fn topic(&self, world: Option<&str>, resource: &Resource) -> TopicName {
        topic::of(&self.group, world, resource)
    }

    /// What its documents are counted in.
    pub fn counted(&self) -> Group {
        let documents_max = self.shared.options.limits.resources_per_project_max;
        Group { bytes: self.group.len(), documents_max, awaited_max: AWAITED_MAX }
    }

    /// What the configuration in force means to a connection of this one.
    pub fn review(&self, identity: &Identity) -> Review {
        // Without a server nothing changes any more.
        let Some(live) = self.shared.live.upgrade() else { return Review::Same };
        let table = live.table.load();
        let Some(now) = table.projects.get(&self.group) else { return Review::Changed(table.delay(&self.shared)) };
        if std::ptr::eq(&**now, self) {
            return Review::Same;
        }
        if !self.grants_the_same(now) {
            return Review::Changed(table.delay(&now.shared));
        }
        match identity.proof {
            Proof::Key(digest) if !now.options.keys.iter().any(|key| key.digest == digest) => Review::Revoked,
            Proof::Key(_) | Proof::Token(_) | Proof::Unrevokable => Review::Same,
        }
    }

    /// Whether what was granted under one of both would be granted under the other.
    fn grants_the_same(&self, other: &Project) -> bool {
        let (mine, its) = (&self.options, &other.options);
        mine.require_credentials == its.require_credentials
            && mine.anonymous_user == its.anonymous_user
            && mine.public == its.public
            && mine.allowed_origins == its.allowed_origins
            && mine.jwt_secret == its.jwt_secret
            && self.shared.options.collection_names == other.shared.options.collection_names
    }
}

/// What becomes of a connection when the configuration was read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Review {
    Same,
    /// Its service key is gone.
    Revoked,
    /// Its project is, or grants something else: it is closed after so long, in its slice.
    Changed(Duration),
}

impl Table {
    /// How long the next connection that this configuration closes has to wait.
    fn delay(&self, shared: &Shared) -> Duration {
        self.closes.delay(shared.options.close_slice_connections, shared.options.close_slice_interval)
    }
}

/// One connection's place in its project.
pub struct Place(Arc<Project>);

impl Place {
    /// `None`: all are taken.
    pub fn take(project: &Arc<Project>) -> Option<Place> {
        let most = project.shared.options.limits.connections_per_project_max;
        project.shared.connections.fetch_add(1, Relaxed);
        let before = project.connections.fetch_add(1, Relaxed);
        Some(Place(project.clone())).filter(|_| most == 0 || before < most)
    }

    pub fn project(&self) -> &Arc<Project> {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
        self.0.shared.connections.fetch_sub(1, Relaxed);
    }
}

/// One text frame with the document, the same for snapshots and updates.
struct Documents;

impl Encoder for Documents {
    fn encode(&self, message: &Message, out: &mut Vec<u8>) {
        let text = document(message);
        encoder::text_header(text.len(), out);
        out.extend_from_slice(&text);
    }
}

/// The text of a document's frame. It can be made of every message of a topic that was named here; others have none.
pub fn document(message: &Message) -> Vec<u8> {
    let mut text = Vec::with_capacity(message.payload.len() + 160);
    if let Some(resource) = topic::resource(&message.topic) {
        frame::document(&resource, &message.payload, Version::at(message.id), &mut text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::name::{Kind, Name};
    use super::super::testing::{STOP, options};
    use super::*;
    use crate::message::Stamp;

    fn enforced(live: &Live, text: &str) -> Arc<Shared> {
        live.enforce(&options(text), &mut Encoders::default(), STOP)
    }

    const ONE: &str = "[[projects]]\norganization = \"o\"\nproject = \"p\"\n";

    fn key(number: u8) -> options::ServiceKey {
        options::ServiceKey { name: "k".to_owned(), digest: [number; 32] }
    }

    #[test]
    fn places_are_counted_in_the_project_and_outlive_a_reload() {
        let live = Live::default();
        let limits = "limits.connections_per_project_max = 2\n";
        let shared = enforced(&live, &format!("{limits}{ONE}"));
        let project = live.project(&shared, "o", "p").unwrap();
        let places: Vec<_> = (0..3).map(|_| Place::take(&project)).collect();
        assert_eq!(places.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(shared.connections(), 2);
        let shared = enforced(&live, &format!("{limits}{ONE}"));
        let project = live.project(&shared, "o", "p").unwrap();
        assert!(Place::take(&project).is_none());
        drop(places);
        assert!(Place::take(&project).is_some());
        assert_eq!(shared.connections(), 0);
    }

    #[test]
    fn unknown_projects_are_made_on_first_use_up_to_their_number() {
        let live = Live::default();
        let shared = enforced(&live, ONE);
        assert!(live.project(&shared, "o", "q").is_none());
        let text = format!("auto_projects = true\n{ONE}hosts = [\"a\"]\nanonymous_user = \"dev\"\n");
        let shared = enforced(&live, &text);
        let made = live.project(&shared, "o", "q").unwrap();
        assert_eq!((made.options.anonymous_user.as_str(), made.options.hosts.len()), ("dev", 0));
        assert!(Arc::ptr_eq(&made, &live.project(&shared, "o", "q").unwrap()));
        assert!((1..1000).all(|number| live.project(&shared, "o", &number.to_string()).is_some()));
        assert!(live.project(&shared, "o", "one too many").is_none());
        assert!(live.project(&shared, "o", "p").is_some() && live.project(&shared, "o", "q").is_some());
        // They are made again under the next configuration, or gone with it.
        let shared = enforced(&live, &text);
        assert_eq!(made.review(&made.anonymous), Review::Same);
        assert!(live.project(&shared, "o", "one too many").is_none());
        enforced(&live, ONE);
        assert_eq!(made.review(&made.anonymous), Review::Changed(Duration::ZERO));
    }

    #[test]
    fn rs_66_what_is_granted_differently_closes_in_slices_and_nothing_else_closes() {
        let live = Live::default();
        let slices = "close_slice_connections = 2\nclose_slice_interval = \"10ms\"\n";
        let shared = enforced(&live, &format!("{slices}{ONE}"));
        let project = live.project(&shared, "o", "p").unwrap();
        let review = |text: &str| {
            enforced(&live, text);
            let reviewed = project.review(&project.anonymous);
            enforced(&live, &format!("{slices}{ONE}"));
            reviewed
        };
        for same in [
            format!("{slices}{ONE}"),
            format!("reject = \"close\"\nping_interval = \"5s\"\nlimits.messages_burst = 5\n{ONE}hosts = [\"a\"]\n"),
        ] {
            assert_eq!(review(&same), Review::Same, "{same}");
        }
        for changed in [
            format!("{ONE}require_credentials = true"),
            format!("{ONE}anonymous_user = \"u\""),
            format!("{ONE}public = [\"liveConfig\"]"),
            format!("{ONE}allowed_origins = [\"https://a.example\"]"),
            format!("{ONE}jwt_secret = \"0123456789abcdef\""),
            format!("collection_names = [\"public\"]\n{ONE}"),
            String::new(),
        ] {
            assert_eq!(review(&changed), Review::Changed(Duration::ZERO), "{changed}");
        }
        let shared = enforced(&live, &format!("{slices}{ONE}require_credentials = true"));
        let delays: Vec<_> = (0..5).map(|_| project.review(&project.anonymous)).collect();
        let slice = |number: u64| Review::Changed(Duration::from_millis(10 * number));
        assert_eq!(delays, [slice(0), slice(0), slice(1), slice(1), slice(2)]);
        assert_eq!(shared.connections(), 0);
    }

    #[test]
    fn who_came_with_a_service_key_that_is_gone_is_told() {
        let live = Live::default();
        let with = |keys: &[options::ServiceKey]| {
            let mut options = options(ONE);
            options.projects[0].keys = keys.to_vec();
            live.enforce(&options, &mut Encoders::default(), STOP)
        };
        let shared = with(&[key(1), key(2)]);
        let project = live.project(&shared, "o", "p").unwrap();
        let of = |number| Identity { principal: Principal::Service, world: None, proof: Proof::Key([number; 32]) };
        with(&[key(2), key(3)]);
        let reviewed = [of(1), of(2)].map(|identity| project.review(&identity));
        assert_eq!(reviewed, [Review::Revoked, Review::Same]);
        assert_eq!(project.review(&project.anonymous), Review::Same);
    }

    #[test]
    fn rs_53_a_documents_frame_depends_on_the_message_alone() {
        let live = Live::default();
        let shared = enforced(&live, ONE);
        let project = live.project(&shared, "o", "p").unwrap();
        let resource = Name::parse(Kind::LiveConfig, "game", &[]).unwrap().of(None).unwrap();
        let topic = project.topic(Some("w"), &resource);
        let message = Message::new(Stamp::default(), topic, 1_706_629_835_742, Arc::from(&b"{\"a\":1}"[..]));
        let text = r#"{"resource":{"type":"liveConfig","id":"game"},"data":{"a":1},"version":"2024-01-30T15:50:35.742Z"}"#;
        assert_eq!(document(&message), text.as_bytes());
        let mut frame = Vec::new();
        Documents.encode(&message, &mut frame);
        assert_eq!(frame, encoder::text(text.as_bytes()));
        assert_eq!(project.counted().bytes, "$resource/o/p/".len());
    }
}
