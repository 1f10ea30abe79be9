//! What the configuration means: one struct per TOML table, with defaults that can be run as they are.

mod error;
mod reading;
mod secrets;

pub use error::{ConfigError, Problem};

use crate::access::networks::Networks;
use crate::access::{Access, Grant, Key, Pattern, Right, digest};
use crate::cli::Overrides;
use crate::dialects::{action_cable, endpoints, publish, push_stream, resources};
use crate::storage::Deliver;
use crate::units::{duration, size};
use serde::{Deserialize, Deserializer};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The whole configuration. Every key has a default or is checked after reading, so that each can be read alone.
///
/// A dialect's table is one line: a field with the struct that the dialect defines (`Default`, `Deserialize`, unknown keys denied).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub limits: Limits,
    pub log: Log,
    pub admin: Admin,
    pub storage: Storage,
    pub publish: publish::options::Options,
    pub push_stream: push_stream::options::Options,
    pub action_cable: action_cable::options::Options,
    pub resources: resources::options::Options,
    pub endpoints: endpoints::options::Options,
    access: secrets::Tables,
    /// `fanwire dev`: everything on one port, with credentials that everybody knows.
    #[serde(skip)]
    pub dev: bool,
    #[serde(skip)]
    keys: Vec<Arc<Key>>,
    #[serde(skip)]
    tokens: Vec<Arc<Grant>>,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    #[serde(deserialize_with = "addresses")]
    pub listen: Vec<SocketAddr>,
    /// 0 = one per core.
    pub reactors: u16,
    /// Each reactor has its own table of descriptors (Linux).
    pub private_fd_tables: bool,
    /// Bounds the whole stop.
    #[serde(deserialize_with = "duration")]
    pub drain_time: Duration,
    /// Whose `X-Forwarded-…` counts.
    pub trusted_proxies: Networks,
}

impl Default for Server {
    fn default() -> Server {
        Server {
            listen: vec![SocketAddr::from(([0, 0, 0, 0], 8080))],
            reactors: 0,
            private_fd_tables: true,
            drain_time: Duration::from_secs(35),
            trusted_proxies: Networks::default(),
        }
    }
}

impl Server {
    /// How many reactors run: as configured, or one per core.
    pub fn reactor_count(&self) -> usize {
        match self.reactors {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => usize::from(count),
        }
    }
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// From accept or the first byte of a request to the end of its head.
    #[serde(deserialize_with = "duration")]
    pub head_time: Duration,
    /// Between two requests of a connection.
    #[serde(deserialize_with = "duration")]
    pub keep_alive_idle: Duration,
    /// Without one byte of a body.
    #[serde(deserialize_with = "duration")]
    pub body_stall: Duration,
    /// Bytes per second of a body, once it has lasted `body_stall`.
    #[serde(deserialize_with = "size")]
    pub body_min_rate: u64,
    /// 0 = as many as the descriptor limit allows.
    pub connections_max: u64,
    /// Percent of all connections that may be without a complete head.
    #[serde(deserialize_with = "percent")]
    pub unopened_percent: u8,
    #[serde(deserialize_with = "size")]
    pub request_line_bytes: u64,
    #[serde(deserialize_with = "size")]
    pub head_bytes: u64,
    #[serde(deserialize_with = "size")]
    pub body_bytes: u64,
    /// Bytes of all logs.
    #[serde(deserialize_with = "size")]
    pub log_bytes_max: u64,
    /// Bytes that one topic's log keeps.
    #[serde(deserialize_with = "size")]
    pub topic_log_bytes_max: u64,
    /// 0 = unlimited.
    pub topics_max: u64,
    /// Bytes that the kernel keeps for each client that does not read; 0 = as it likes.
    #[serde(deserialize_with = "size")]
    pub socket_send_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head_time: Duration::from_secs(10),
            keep_alive_idle: Duration::from_secs(75),
            body_stall: Duration::from_secs(10),
            body_min_rate: 1024,
            connections_max: 0,
            unopened_percent: 25,
            request_line_bytes: 16 * 1024,
            head_bytes: 16 * 1024,
            body_bytes: 1024 * 1024,
            log_bytes_max: 1024 * 1024 * 1024,
            topic_log_bytes_max: 64 * 1024 * 1024,
            topics_max: 1_000_000,
            socket_send_bytes: 512 * 1024,
        }
    }
}

/// `[log]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    pub level: LogLevel,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON lines otherwise.
    #[default]
    Auto,
    Text,
    Json,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Empty = no such door.
    #[serde(deserialize_with = "addresses")]
    pub listen: Vec<SocketAddr>,
}

impl Default for Admin {
    fn default() -> Admin {
        Admin { listen: vec![SocketAddr::from(([127, 0, 0, 1], 8081))] }
    }
}

/// `[storage]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// The directory of the database, relative to the configuration file; empty = everything is in memory only.
    pub path: PathBuf,
    pub deliver: Deliver,
}

impl Config {
    /// Reads a configuration and the files that it names, which are relative to `base_dir`.
    ///
    /// # Errors
    /// Everything that is wrong, each with file, line, key and what was expected.
    pub fn from_toml(text: &str, file_name: &str, base_dir: &Path) -> Result<Config, ConfigError> {
        reading::read(text, file_name, base_dir)
    }

    /// The configuration of `fanwire dev`: loopback, memory only, credentials that everybody knows.
    pub fn dev() -> Config {
        let everything = || vec![Pattern::Prefix(String::new())];
        let grant = |name: &str, topics| {
            Arc::new(Grant { name: name.to_owned(), digest: digest(name.as_bytes()), topics, expires: None })
        };
        Config {
            server: Server {
                listen: vec![SocketAddr::from(([127, 0, 0, 1], 8080))],
                drain_time: Duration::from_secs(1),
                ..Server::default()
            },
            admin: Admin { listen: Vec::new() },
            action_cable: action_cable::options::Options::dev(),
            resources: resources::options::Options::dev(),
            endpoints: endpoints::options::Options::dev(),
            dev: true,
            keys: vec![Arc::new(Key {
                name: "dev".to_owned(),
                digest: digest(b"dev"),
                may: vec![Right::Publish, Right::Statistics, Right::Admin],
                topics: everything(),
            })],
            tokens: vec![grant("dev", everything()), grant("dev-limited", vec![Pattern::Prefix("public".to_owned())])],
            ..Config::default()
        }
    }

    /// What flags and environment say counts more than the file.
    pub fn overridden(mut self, overrides: &Overrides) -> Config {
        if let Some(listen) = &overrides.listen {
            self.server.listen.clone_from(listen);
        }
        if let Some(reactors) = overrides.reactors {
            self.server.reactors = reactors;
        }
        if let Some(level) = overrides.log_level {
            self.log.level = level;
        }
        if let Some(format) = overrides.log_format {
            self.log.format = format;
        }
        self
    }

    /// Who may do what, by digests.
    pub fn access(&self) -> Access {
        Access { keys: self.keys.clone(), tokens: self.tokens.clone() }
    }
}

/// One address with port, or a list of them.
fn addresses<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<SocketAddr>, D::Error> {
    const EXPECTED: &str = "expected an address with port like \"127.0.0.1:8080\", or a list of them";
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Addresses {
        One(SocketAddr),
        List(Vec<SocketAddr>),
    }
    match Addresses::deserialize(from) {
        Ok(Addresses::One(address)) => Ok(vec![address]),
        Ok(Addresses::List(list)) => Ok(list),
        Err(_) => Err(serde::de::Error::custom(EXPECTED)),
    }
}

fn percent<'de, D: Deserializer<'de>>(from: D) -> Result<u8, D::Error> {
    let value = u64::deserialize(from)?;
    u8::try_from(value)
        .ok()
        .filter(|percent| (1..=100).contains(percent))
        .ok_or_else(|| serde::de::Error::custom("expected a percentage from 1 to 100"))
}

#[cfg(test)]
mod tests;
