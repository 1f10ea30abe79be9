//! The tables as they are written: presets fill what they leave out, secrets stand in them or in files of their own.

use super::{Endpoint, KeyDigest, Limits, Options, Project, User};
use crate::access::origin::Origin;
use crate::access::secret::{Kind, Secret, Source};
use crate::dialects::endpoints::password;
use crate::dialects::endpoints::preset::Preset;
use crate::units;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `[endpoints.<service>]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    preset: Option<Preset>,
    hosts: Vec<String>,
    path: String,
    display_name: Option<String>,
    cookie_names: Option<Vec<String>>,
    login_cookie_name: Option<String>,
    access_token_parameter: Option<String>,
    cookie_secure: bool,
    #[serde(deserialize_with = "units::duration")]
    session_ttl: Duration,
    sessions_per_user_max: u32,
    password_workers: u32,
    #[serde(deserialize_with = "units::duration")]
    removed_endpoint_ttl: Duration,
    log_messages: u32,
    #[serde(deserialize_with = "units::size")]
    log_bytes: u64,
    #[serde(deserialize_with = "units::duration")]
    log_age: Duration,
    #[serde(deserialize_with = "units::duration")]
    no_progress_timeout: Duration,
    #[serde(deserialize_with = "units::duration")]
    ping_interval: Duration,
    #[serde(deserialize_with = "units::duration")]
    silence_timeout: Duration,
    #[serde(deserialize_with = "units::duration")]
    drain_time: Duration,
    close_slice_connections: u32,
    #[serde(deserialize_with = "units::duration")]
    close_slice_interval: Duration,
    limits: Limits,
    projects: Vec<ProjectTable>,
}

impl Default for Service {
    fn default() -> Service {
        Service {
            preset: None,
            hosts: Vec::new(),
            path: "/api/1/ce".to_owned(),
            display_name: None,
            cookie_names: None,
            login_cookie_name: None,
            access_token_parameter: None,
            cookie_secure: true,
            session_ttl: Duration::from_secs(3600),
            sessions_per_user_max: 20,
            password_workers: 2,
            removed_endpoint_ttl: Duration::from_secs(7 * 24 * 3600),
            log_messages: 1024,
            log_bytes: 8 << 20,
            log_age: Duration::from_secs(300),
            no_progress_timeout: Duration::from_secs(30),
            ping_interval: Duration::from_secs(30),
            silence_timeout: Duration::from_secs(75),
            drain_time: Duration::from_secs(10),
            close_slice_connections: 2000,
            close_slice_interval: Duration::from_millis(10),
            limits: Limits::default(),
            projects: Vec::new(),
        }
    }
}

/// `[[endpoints.<service>.projects]]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ProjectTable {
    name: String,
    key: Option<Secret>,
    key_file: Option<PathBuf>,
    master_key: Option<Secret>,
    master_key_file: Option<PathBuf>,
    allowed_origins: Vec<Origin>,
    disallow_no_origin: bool,
    cookie_from_any_origin: bool,
    endpoints: Vec<EndpointTable>,
}

/// `[[endpoints.<service>.projects.endpoints]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct EndpointTable {
    name: String,
    auth: bool,
    secure: bool,
    registration: bool,
    read_by_others: bool,
    update_by_others: bool,
    delete_by_others: bool,
    users: Vec<UserTable>,
}

impl Default for EndpointTable {
    fn default() -> EndpointTable {
        EndpointTable {
            name: String::new(),
            auth: false,
            secure: false,
            registration: true,
            read_by_others: false,
            update_by_others: false,
            delete_by_others: false,
            users: Vec::new(),
        }
    }
}

/// `[[endpoints.<service>.projects.endpoints.users]]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct UserTable {
    username: String,
    password_hash: Option<Secret>,
    password_hash_file: Option<PathBuf>,
}

/// What a project's table says of its secrets, until they are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProjectSecrets {
    key: Source,
    master_key: Source,
}

/// What a user's table says of its secret, until it is read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserSecrets(Source);

impl From<BTreeMap<String, Service>> for Options {
    fn from(tables: BTreeMap<String, Service>) -> Options {
        Options { services: tables.into_iter().map(|(name, service)| service.named(name)).collect() }
    }
}

impl Service {
    pub fn named(self, name: String) -> super::Service {
        let preset = self.preset.or(Preset::named(&name));
        let values = preset.unwrap_or(Preset::Rested).values();
        super::Service {
            name,
            preset,
            hosts: self.hosts,
            path: self.path,
            display_name: self.display_name.unwrap_or_else(|| values.display_name.to_owned()),
            cookie_names: self.cookie_names.unwrap_or_else(|| values.cookie_names.iter().map(|&name| name.to_owned()).collect()),
            login_cookie_name: self.login_cookie_name.unwrap_or_else(|| values.login_cookie_name.to_owned()),
            access_token_parameter: self.access_token_parameter.unwrap_or_else(|| values.access_token_parameter.to_owned()),
            cookie_secure: self.cookie_secure,
            session_ttl: self.session_ttl,
            sessions_per_user_max: self.sessions_per_user_max,
            password_workers: self.password_workers,
            removed_endpoint_ttl: self.removed_endpoint_ttl,
            log_messages: self.log_messages,
            log_bytes: self.log_bytes,
            log_age: self.log_age,
            no_progress_timeout: self.no_progress_timeout,
            ping_interval: self.ping_interval,
            silence_timeout: self.silence_timeout,
            drain_time: self.drain_time,
            close_slice_connections: self.close_slice_connections,
            close_slice_interval: self.close_slice_interval,
            limits: self.limits,
            projects: self.projects.into_iter().map(Project::from).collect(),
        }
    }
}

impl From<ProjectTable> for Project {
    fn from(table: ProjectTable) -> Project {
        Project {
            name: table.name,
            // Of no text: nothing matches it.
            key: KeyDigest([0; 32]),
            master_key: None,
            allowed_origins: table.allowed_origins,
            disallow_no_origin: table.disallow_no_origin,
            cookie_from_any_origin: table.cookie_from_any_origin,
            endpoints: table.endpoints.into_iter().map(Endpoint::from).collect(),
            secrets: ProjectSecrets {
                key: Source { here: table.key, file: table.key_file },
                master_key: Source { here: table.master_key, file: table.master_key_file },
            },
        }
    }
}

impl From<EndpointTable> for Endpoint {
    fn from(table: EndpointTable) -> Endpoint {
        let users = table.users.into_iter().map(|user| User {
            username: user.username,
            password_hash: Secret::from(""),
            secrets: UserSecrets(Source { here: user.password_hash, file: user.password_hash_file }),
        });
        Endpoint {
            name: table.name,
            auth: table.auth,
            secure: table.secure,
            registration: table.registration,
            read_by_others: table.read_by_others,
            update_by_others: table.update_by_others,
            delete_by_others: table.delete_by_others,
            users: users.collect(),
        }
    }
}

impl Options {
    /// Turns keys into digests and reads secrets from files with `read`, which knows where relative paths begin.
    ///
    /// Tells `wrong` (key without `endpoints.`, message) of everything that cannot be.
    pub fn resolve(&mut self, read: &mut dyn FnMut(&Path) -> Result<String, String>, wrong: &mut dyn FnMut(&str, &str)) {
        for service in &mut self.services {
            let mut known: Vec<(String, KeyDigest)> = Vec::new();
            for (index, project) in service.projects.iter_mut().enumerate() {
                let place = format!("{}.projects[{index}]", service.name);
                let secrets = std::mem::take(&mut project.secrets);
                if let Some(key) = secrets.key.take(&place, &KEY, read, wrong) {
                    project.key = KeyDigest::of(key.as_str());
                    if let Some((same, _)) = known.iter().find(|(_, known)| *known == project.key) {
                        wrong(&place, &format!("the same key as {same}"));
                    }
                    known.push((format!("endpoints.{place}"), project.key));
                }
                let master = secrets.master_key.take(&place, &MASTER_KEY, read, wrong);
                project.master_key = master.map(|key| KeyDigest::of(key.as_str()));
                if project.master_key == Some(project.key) {
                    wrong(&format!("{place}.master_key"), "the same as the key, which every client knows");
                }
                for (index, endpoint) in project.endpoints.iter_mut().enumerate() {
                    let place = format!("{place}.endpoints[{index}]");
                    for (index, user) in endpoint.users.iter_mut().enumerate() {
                        let source = std::mem::take(&mut user.secrets.0);
                        if let Some(hash) = source.take(&format!("{place}.users[{index}]"), &HASH, read, wrong) {
                            user.password_hash = hash;
                        }
                    }
                }
            }
        }
    }
}

const KEY: Kind =
    Kind { key: "key", is_required: true, is_one: is_key, expected: "expected 16 to 128 characters of A-Z, a-z, 0-9, _ and -" };
const MASTER_KEY: Kind =
    Kind { key: "master_key", is_required: false, is_one: |text| text.len() >= 16, expected: "expected 16 bytes or more" };
const HASH: Kind = Kind {
    key: "password_hash",
    is_required: true,
    is_one: password::is_hash,
    expected: "expected an argon2id hash like \"$argon2id$v=19$m=19456,t=2,p=1$…\"",
};

fn is_key(text: &str) -> bool {
    (16..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}
