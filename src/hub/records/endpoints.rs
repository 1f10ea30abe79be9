//! Which endpoints there are: their generations, and the users they begin with.

use crate::exchange::{Alter, AlterRefusal, Alteration, NewRecord, SEPARATOR};
use crate::hub::{Hub, Waiting, Window};
use crate::message::TopicName;
use crate::storage::RemovedEndpoint;
use hashbrown::HashMap;
use std::time::Duration;

/// How long records are kept of a service that was never heard of.
const KEPT: Duration = Duration::from_secs(7 * 86_400);

/// What can't be done now is tried again after this time.
pub(super) const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub struct Configured {
    generations: HashMap<TopicName, u64>,
    /// Those that have records although they are not configured.
    pub(super) removed: HashMap<TopicName, RemovedEndpoint>,
    /// How long each service keeps what is removed, as it said last.
    kept: HashMap<Box<str>, Duration>,
    /// Users that are to be created, with their endpoints.
    users: Vec<(TopicName, NewRecord)>,
    /// When that is, and when there is something to do about those that were removed, in monotonic microseconds.
    users_due: Option<u64>,
    pub(super) removal_due: Option<u64>,
}

impl Configured {
    pub fn generation(&self, endpoint: &TopicName) -> Option<u64> {
        self.generations.get(endpoint).copied()
    }

    pub fn due(&self) -> Option<u64> {
        self.users_due.into_iter().chain(self.removal_due).min()
    }

    /// What is known of a removed endpoint, if that is new.
    pub(super) fn remove(&mut self, endpoint: &TopicName, unix_millis: u64) -> Option<RemovedEndpoint> {
        let known = self.removed.get(endpoint).copied();
        let kept = self.kept.get(service(endpoint)).map(|kept| u64::try_from(kept.as_millis()).unwrap_or(u64::MAX));
        let removed = RemovedEndpoint {
            since: known.map_or(unix_millis, |known| known.since),
            kept_millis: kept.or(known.map(|known| known.kept_millis)).unwrap_or(KEPT.as_millis() as u64),
        };
        (known != Some(removed)).then(|| {
            self.removed.insert(endpoint.clone(), removed);
            removed
        })
    }

    /// `endpoints`: those that have records, or are about to.
    #[cfg(any(test, fuzzing))]
    pub fn check<'a>(&self, endpoints: impl Iterator<Item = &'a TopicName> + Clone) {
        for removed in self.removed.keys() {
            assert!(self.generation(removed).is_none() && endpoints.clone().any(|endpoint| endpoint == removed));
        }
    }
}

/// The second part of the name of an endpoint.
fn service(endpoint: &TopicName) -> &str {
    endpoint.as_str().split(SEPARATOR).nth(1).unwrap_or_default()
}

impl Hub {
    /// Takes over what the settings say of endpoints.
    pub(in crate::hub) fn configure_endpoints(&mut self) {
        let Hub { settings, records, now, endpoint_window, .. } = self;
        let configured = &mut records.configured;
        configured.generations = settings.endpoints.iter().map(|known| (known.name.clone(), known.generation)).collect();
        let kept = settings.endpoints.iter().map(|known| (Box::from(service(&known.name)), known.removed_ttl));
        configured.kept.extend(kept);
        let all = settings.window;
        let asked = settings.endpoints.iter().map(|known| {
            known.log.map_or(all, |log| Window { count: log.messages, bytes: log.bytes.min(all.bytes), age: log.age })
        });
        *endpoint_window = asked.reduce(Window::largest).unwrap_or(all);
        let users = settings.endpoints.iter().flat_map(|known| known.users.iter().map(|user| (known.name.clone(), user.clone())));
        configured.users = users.collect();
        configured.users_due = (!configured.users.is_empty()).then_some(now.micros);
        let names: Vec<TopicName> = self.records.indices.keys().cloned().collect();
        for name in &names {
            if self.records.configured.generation(name).is_some()
                && let Some(removed) = self.records.configured.removed.get(name)
            {
                // What was to be deleted by now does not come back, the rest does.
                if removed.until() > self.now.unix_millis() || !self.let_go(name) {
                    self.records.configured.removed.remove(name);
                    self.note_endpoint(name, None);
                }
            }
            self.tidy_endpoint(name);
        }
        self.plan_removals(Duration::ZERO);
    }

    /// Creates the users that the settings name and that are not there.
    pub(in crate::hub) fn create_users(&mut self) {
        if self.records.configured.users_due.is_none_or(|due| due > self.now.micros) {
            return;
        }
        for (endpoint, user) in std::mem::take(&mut self.records.configured.users) {
            self.create_user(endpoint, user);
        }
        self.look_for_users(RETRY);
    }

    fn create_user(&mut self, endpoint: TopicName, user: NewRecord) {
        let names = user.account.as_ref().map_or(&[][..], |account| &account.names);
        let is_known =
            |hub: &Hub, name: &str| hub.records.indices.get(&endpoint).is_some_and(|index| index.named(name).is_some());
        if names.first().is_none_or(|first| is_known(self, first)) {
            return;
        }
        let what = Alteration::Create(vec![user.clone()]);
        let alter = Alter { endpoint: endpoint.clone(), what, records_max: u64::MAX, revoke: None };
        match self.judge_alteration(&alter) {
            Ok(before) => {
                let (_, changes) = self.order_alteration(alter, before);
                self.submit(changes, Waiting::User(Box::new((endpoint, user))));
            }
            // Another of its names is somebody else's, for good.
            Err(AlterRefusal::Taken(at)) if is_known(self, &names[at]) => {}
            Err(AlterRefusal::Taken(_) | AlterRefusal::Unavailable) => self.records.configured.users.push((endpoint, user)),
            Err(AlterRefusal::TooMany | AlterRefusal::Missing | AlterRefusal::Mismatch) => {}
        }
    }

    /// A user could not be kept: it is created later, unless other settings count by then.
    pub(in crate::hub) fn discard_user(&mut self, endpoint: TopicName, user: NewRecord) {
        if self.settings.endpoints.iter().any(|known| known.name == endpoint && known.users.contains(&user)) {
            self.records.configured.users.push((endpoint, user));
            self.look_for_users(RETRY);
        }
    }

    /// Those that could not be created are tried again after this time.
    pub(in crate::hub) fn look_for_users(&mut self, wait: Duration) {
        let configured = &mut self.records.configured;
        configured.users_due = (!configured.users.is_empty()).then_some(self.now.after(wait));
    }
}
