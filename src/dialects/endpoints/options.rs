//! `[endpoints.<service>]` of the configuration: keys, defaults and limits (specification, section 12).

mod check;
mod written;

use super::preset::Preset;
use crate::access::origin::Origin;
use crate::access::secret::Secret;
use crate::access::{Digest, digest};
use crate::units;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use subtle::{Choice, ConstantTimeEq as _};

/// The services in the order of their names; none: the dialect is off.
///
/// [`Options::check`] finds values that cannot be, [`Options::resolve`] reads the secrets.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "BTreeMap<String, written::Service>")]
pub struct Options {
    pub services: Vec<Service>,
}

/// One instance of the dialect; what its preset says is in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    pub name: String,
    /// `None`: not said, and the name is not that of a preset.
    pub preset: Option<Preset>,
    /// Empty: every host that no other service of this path lists.
    pub hosts: Vec<String>,
    /// Without a `/` at its end; the dialect has everything below it, too.
    pub path: String,
    pub display_name: String,
    /// In the order in which they are looked for.
    pub cookie_names: Vec<String>,
    pub login_cookie_name: String,
    /// Empty: tokens in the query are not looked at.
    pub access_token_parameter: String,
    /// Cookies are for https only.
    pub cookie_secure: bool,
    pub session_ttl: Duration,
    pub sessions_per_user_max: u32,
    /// Threads that hash passwords.
    pub password_workers: u32,
    /// How long records of an endpoint that is no longer configured are kept.
    pub removed_endpoint_ttl: Duration,
    pub log_messages: u32,
    pub log_bytes: u64,
    pub log_age: Duration,
    pub no_progress_timeout: Duration,
    pub ping_interval: Duration,
    pub silence_timeout: Duration,
    pub drain_time: Duration,
    pub close_slice_connections: u32,
    pub close_slice_interval: Duration,
    pub limits: Limits,
    pub projects: Vec<Project>,
}

/// `[endpoints.<service>.limits]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Not of an upload.
    #[serde(deserialize_with = "units::size")]
    pub body_bytes_max: u64,
    pub upload_files_max: u32,
    #[serde(deserialize_with = "units::size")]
    pub upload_file_bytes_max: u64,
    #[serde(deserialize_with = "units::size")]
    pub list_bytes_max: u64,
    pub records_per_endpoint_max: u64,
    /// 0 = only the server's own limit.
    pub connections_per_endpoint_max: u64,
    #[serde(deserialize_with = "units::size")]
    pub frame_bytes_max: u64,
    pub failures_per_minute_per_address: u32,
    /// Per user name, and per address.
    pub login_failures_per_minute: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body_bytes_max: 1 << 20,
            upload_files_max: 10,
            upload_file_bytes_max: 100 << 20,
            list_bytes_max: 16 << 20,
            records_per_endpoint_max: 1_000_000,
            connections_per_endpoint_max: 0,
            frame_bytes_max: 4096,
            failures_per_minute_per_address: 60,
            login_failures_per_minute: 10,
        }
    }
}

/// `[[endpoints.<service>.projects]]`: who has one key, and the endpoints that it opens.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    pub name: String,
    /// After [`Options::resolve`].
    pub key: KeyDigest,
    /// Likewise.
    pub master_key: Option<KeyDigest>,
    /// Empty: all.
    pub allowed_origins: Vec<Origin>,
    pub disallow_no_origin: bool,
    /// Any web site may act with the cookie of its visitor.
    pub cookie_from_any_origin: bool,
    pub endpoints: Vec<Endpoint>,
    secrets: written::ProjectSecrets,
}

/// What a key is compared with. Never shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyDigest(pub Digest);

impl KeyDigest {
    pub fn of(key: &str) -> KeyDigest {
        #[cfg(test)]
        super::testing::key_work(|work| work.digests += 1);
        KeyDigest(digest(key.as_bytes()))
    }

    /// Takes as long wherever they differ.
    pub fn equals(&self, other: &KeyDigest) -> Choice {
        #[cfg(test)]
        super::testing::key_work(|work| work.comparisons += 1);
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("KeyDigest(…)")
    }
}

/// `[[endpoints.<service>.projects.endpoints]]`: a named set of records.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub name: String,
    /// Its records are users, who register and log in here.
    pub auth: bool,
    /// Its records have owners.
    pub secure: bool,
    /// Anybody may register.
    pub registration: bool,
    pub read_by_others: bool,
    pub update_by_others: bool,
    pub delete_by_others: bool,
    /// Made at the start and at a reload, unless they are there.
    pub users: Vec<User>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct User {
    pub username: String,
    /// An argon2id hash in the PHC form; after [`Options::resolve`].
    pub password_hash: Secret,
    secrets: written::UserSecrets,
}

impl Options {
    /// What `fanwire dev` offers: both presets, with keys that everybody knows.
    pub fn dev() -> Options {
        let service = |preset: &str, hosts: &[&str]| {
            let written = written::Service::default();
            let service = written.named(preset.to_owned());
            Service {
                hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
                cookie_secure: false,
                drain_time: Duration::from_secs(1),
                projects: vec![Project::dev()],
                ..service
            }
        };
        Options { services: vec![service("rested", &[]), service("yawe", &["app.yawe.dev"])] }
    }
}

impl Project {
    fn dev() -> Project {
        let endpoint = |name: &str, auth, secure| Endpoint {
            name: name.to_owned(),
            auth,
            secure,
            registration: true,
            read_by_others: false,
            update_by_others: false,
            delete_by_others: false,
            users: Vec::new(),
        };
        Project {
            name: "examples".to_owned(),
            key: KeyDigest::of("d59eb2859c284168ac48aef65046d5dd"),
            master_key: Some(KeyDigest::of("dev")),
            allowed_origins: Vec::new(),
            disallow_no_origin: false,
            cookie_from_any_origin: true,
            endpoints: vec![
                endpoint("examples/unsecure-endpoint", false, false),
                endpoint("examples/users", true, false),
                endpoint("examples/notes", false, true),
            ],
            secrets: written::ProjectSecrets::default(),
        }
    }

    /// Whether who was let in by one would have been let in by the other, beside its key and its endpoints.
    pub fn admits_like(&self, other: &Project) -> bool {
        self.master_key == other.master_key
            && self.allowed_origins == other.allowed_origins
            && self.disallow_no_origin == other.disallow_no_origin
            && self.cookie_from_any_origin == other.cookie_from_any_origin
    }
}

impl Endpoint {
    /// Whether it needs an access token.
    pub fn needs_token(&self) -> bool {
        self.auth || self.secure
    }

    /// Whether both have equal options: a change of one closes sockets (specification, section 10).
    pub fn grants_like(&self, other: &Endpoint) -> bool {
        let options = |endpoint: &Endpoint| {
            let Endpoint { auth, secure, registration, read_by_others, update_by_others, delete_by_others, .. } = *endpoint;
            [auth, secure, registration, read_by_others, update_by_others, delete_by_others]
        };
        options(self) == options(other)
    }
}

#[cfg(test)]
mod tests;
