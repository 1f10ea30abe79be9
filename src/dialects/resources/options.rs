//! `[resources]` of the configuration: keys, defaults and limits (specification, section 12).

use super::name::is_user_id;
use super::permissions::Public;
use crate::access::origin::{Origin, split_port};
use crate::access::secret::{Kind, Secret, Source};
use crate::access::{Digest, digest};
use crate::http::target::is_plain;
use crate::units;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes of an organization, a project and a world.
pub const NAME_BYTES_MAX: usize = 128;

/// What one deployment of the dialect is told. [`Options::check`] finds values that cannot be.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    pub enabled: bool,
    /// The dialect has this path and everything below it.
    pub path: String,
    pub reject: RejectBy,
    pub writes: Writes,
    /// Whether the status says more than that the service is there.
    pub status_details: bool,
    /// Unknown projects are made on first use.
    pub auto_projects: bool,
    /// A write with an equal value is no write.
    pub skip_equal_writes: bool,
    pub collection_names: Vec<String>,
    #[serde(deserialize_with = "units::duration")]
    pub token_ttl: Duration,
    /// How long a deleted document's version is remembered after its last subscriber left.
    #[serde(deserialize_with = "units::duration")]
    pub tombstone_ttl: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub ping_interval: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub silence_timeout: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub drain_time: Duration,
    pub close_slice_connections: u32,
    #[serde(deserialize_with = "units::duration")]
    pub close_slice_interval: Duration,
    pub limits: Limits,
    pub projects: Vec<Project>,
}

/// How a handshake that fails is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RejectBy {
    /// By the status, before the upgrade.
    Http,
    /// By a close after the 101: a browser cannot read the status.
    Close,
}

/// Where documents and tokens may be written over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Writes {
    Admin,
    /// On the public listener, too.
    Public,
}

/// `[resources.limits]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub token_characters_max: usize,
    #[serde(deserialize_with = "units::size")]
    pub message_bytes_max: u64,
    pub subscriptions_per_connection_max: usize,
    pub messages_per_second: u32,
    pub messages_burst: u32,
    /// 0 = only the server's own limit.
    pub connections_per_project_max: u64,
    pub resources_per_project_max: u64,
    #[serde(deserialize_with = "units::size")]
    pub document_bytes_max: u64,
    #[serde(deserialize_with = "units::size")]
    pub outbox_bytes_max: u64,
}

/// `[[resources.projects]]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Project {
    pub organization: String,
    /// Empty: requests without a project.
    pub project: String,
    /// Whose requests mean this project if they name none.
    pub hosts: Vec<String>,
    pub require_credentials: bool,
    /// Empty: none.
    pub anonymous_user: String,
    pub public: Vec<Public>,
    /// Empty: all.
    pub allowed_origins: Vec<Origin>,
    /// From here or, after [`Options::resolve`], from the file.
    pub jwt_secret: Option<Secret>,
    jwt_secret_file: Option<PathBuf>,
    service_keys: Vec<ServiceKeyTable>,
    /// After [`Options::resolve`].
    #[serde(skip)]
    pub keys: Vec<ServiceKey>,
}

/// `[[resources.projects.service_keys]]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ServiceKeyTable {
    name: String,
    key: Option<Secret>,
    key_file: Option<PathBuf>,
}

/// A backend of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceKey {
    pub name: String,
    pub digest: Digest,
}

/// A shorter secret could be guessed.
const KEY: Kind =
    Kind { key: "key", is_required: true, is_one: |text| text.len() >= 16, expected: "expected a secret of 16 bytes or more" };
const JWT_SECRET: Kind = Kind { key: "jwt_secret", is_required: false, ..KEY };

impl Default for Options {
    fn default() -> Options {
        Options {
            enabled: true,
            path: "/api/realtime".to_owned(),
            reject: RejectBy::Http,
            writes: Writes::Admin,
            status_details: true,
            auto_projects: false,
            skip_equal_writes: false,
            collection_names: vec!["public".to_owned(), "private".to_owned()],
            token_ttl: Duration::from_secs(3600),
            tombstone_ttl: Duration::from_secs(24 * 3600),
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

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            token_characters_max: super::base58::CHARACTERS_MAX,
            message_bytes_max: 16 << 10,
            subscriptions_per_connection_max: 1000,
            messages_per_second: 100,
            messages_burst: 1000,
            connections_per_project_max: 0,
            resources_per_project_max: 1_000_000,
            document_bytes_max: 1 << 20,
            outbox_bytes_max: 256 << 10,
        }
    }
}

/// More topics than any connection may have.
const TOPICS_PER_CONNECTION: usize = 1024;
/// The longest life that a token may be asked for.
pub const TOKEN_TTL_MAX: Duration = Duration::from_secs(2_592_000);

type Checked = Result<(), (String, String)>;

impl Options {
    /// What `fanwire dev` offers: one project that everybody knows, with a key that everybody knows.
    pub fn dev() -> Options {
        Options {
            writes: Writes::Public,
            auto_projects: true,
            drain_time: Duration::from_secs(1),
            projects: vec![Project {
                organization: "testOrg".to_owned(),
                project: "testProj".to_owned(),
                anonymous_user: "dev".to_owned(),
                keys: vec![ServiceKey { name: "dev".to_owned(), digest: digest(b"dev") }],
                ..Project::default()
            }],
            ..Options::default()
        }
    }

    /// The entry of an organization and a project; `""` is the entry without a project.
    pub fn project(&self, organization: &str, project: &str) -> Option<&Project> {
        self.projects.iter().find(|entry| entry.organization == organization && entry.project == project)
    }

    /// The entry that lists the `Host` of a request, with its port or without.
    pub fn project_of_host(&self, host: &str) -> Option<&Project> {
        let (name, _) = split_port(host)?;
        let means = |listed: &String| listed.eq_ignore_ascii_case(host) || listed.eq_ignore_ascii_case(name);
        self.projects.iter().find(|entry| entry.hosts.iter().any(means))
    }

    /// Checks the values; `others` are the paths of other dialects by the names of their keys, prefixes with their last `/`.
    ///
    /// # Errors
    /// The key, without its table, whose value cannot be, and what is wrong with it.
    pub fn check(&self, others: &[(&str, &str)]) -> Checked {
        self.check_path(others)?;
        self.check_collections()?;
        self.check_times()?;
        self.limits.check()?;
        for (index, project) in self.projects.iter().enumerate() {
            project.check(&format!("projects[{index}]"))?;
            if let Some(same) = self.projects[..index].iter().position(|other| other.is_for_the_same(project)) {
                return wrong(&format!("projects[{index}]"), &format!("the same organization and project as projects[{same}]"));
            }
            for host in &project.hosts {
                let listed = self.projects[..index].iter().flat_map(|other| &other.hosts);
                let twice = listed.into_iter().any(|other| other.eq_ignore_ascii_case(host));
                demand(!twice, &format!("projects[{index}].hosts"), "a host of an earlier project")?;
            }
        }
        Ok(())
    }

    fn check_path(&self, others: &[(&str, &str)]) -> Checked {
        let path = &self.path;
        demand(
            is_plain(path) && !path.ends_with('/'),
            "path",
            "expected a path like \"/api/realtime\": visible ASCII without ?, # and %, and no / at the end",
        )?;
        let below = format!("{path}/");
        let meets = |other: &str| other == path || other.starts_with(&below) || other.ends_with('/') && below.starts_with(other);
        match others.iter().find(|(_, other)| self.enabled && meets(other)) {
            Some((key, _)) => wrong("path", &format!("collides with {key}")),
            None => Ok(()),
        }
    }

    fn check_collections(&self) -> Checked {
        for (index, name) in self.collection_names.iter().enumerate() {
            demand(
                is_user_id(name) && !self.collection_names[..index].contains(name),
                "collection_names",
                "expected different names of 1 to 128 bytes without colons and control characters",
            )?;
        }
        Ok(())
    }

    fn check_times(&self) -> Checked {
        let token = !self.token_ttl.is_zero() && self.token_ttl <= TOKEN_TTL_MAX;
        demand(token, "token_ttl", "expected more than 0s and at most 30d")?;
        demand(!self.ping_interval.is_zero(), "ping_interval", "expected more than 0s")?;
        demand(self.ping_interval < self.silence_timeout, "ping_interval", "expected less than silence_timeout")?;
        demand(self.close_slice_connections > 0, "close_slice_connections", "expected 1 or more")?;
        demand(!self.close_slice_interval.is_zero(), "close_slice_interval", "expected more than 0s")
    }

    /// Turns service keys into digests and reads secrets from files with `read`, which knows where relative paths begin.
    ///
    /// Tells `wrong` (key without its table, message) of everything that cannot be.
    pub fn resolve(&mut self, read: &mut dyn FnMut(&Path) -> Result<String, String>, wrong: &mut dyn FnMut(&str, &str)) {
        let mut known: Vec<(String, Digest)> = Vec::new();
        for (index, project) in self.projects.iter_mut().enumerate() {
            let place = format!("projects[{index}]");
            let source = Source { here: project.jwt_secret.take(), file: project.jwt_secret_file.take() };
            project.jwt_secret = source.take(&place, &JWT_SECRET, read, wrong);
            for (index, table) in std::mem::take(&mut project.service_keys).into_iter().enumerate() {
                let place = format!("{place}.service_keys[{index}]");
                if !is_label(&table.name) {
                    let expected = "expected 1 to 64 bytes without control characters: it stands for the secret in logs";
                    wrong(&format!("{place}.name"), expected);
                }
                let source = Source { here: table.key, file: table.key_file };
                let Some(secret) = source.take(&place, &KEY, read, wrong) else { continue };
                let digest = digest(secret.as_str().as_bytes());
                if let Some((same, _)) = known.iter().find(|(_, known)| *known == digest) {
                    wrong(&place, &format!("the same secret as {same}"));
                }
                known.push((format!("resources.{place}"), digest));
                project.keys.push(ServiceKey { name: table.name, digest });
            }
        }
    }
}

fn is_label(text: &str) -> bool {
    (1..=64).contains(&text.len()) && !text.contains(char::is_control)
}

impl Project {
    fn is_for_the_same(&self, other: &Project) -> bool {
        (&self.organization, &self.project) == (&other.organization, &other.project)
    }

    fn check(&self, place: &str) -> Checked {
        // A header's value has no blanks around it.
        let is_name = |text: &str| {
            text.len() <= NAME_BYTES_MAX && text.trim_matches([' ', '\t']) == text && !text.contains(char::is_control)
        };
        demand(
            is_name(&self.organization) && !self.organization.is_empty(),
            &format!("{place}.organization"),
            "expected 1 to 128 bytes without control characters and blanks around them",
        )?;
        demand(
            is_name(&self.project),
            &format!("{place}.project"),
            "expected at most 128 bytes without control characters and blanks around them",
        )?;
        demand(
            self.hosts.iter().all(|host| split_port(host).is_some()),
            &format!("{place}.hosts"),
            "expected hosts like \"game.example\", with a port or without",
        )?;
        demand(
            self.anonymous_user.is_empty() || is_user_id(&self.anonymous_user),
            &format!("{place}.anonymous_user"),
            "expected at most 128 bytes without colons and control characters, and not World",
        )
    }
}

impl Limits {
    fn check(&self) -> Checked {
        let most = super::base58::CHARACTERS_MAX;
        demand((1..=most).contains(&self.token_characters_max), "limits.token_characters_max", "expected 1 to 4096")?;
        demand(
            (1..=TOPICS_PER_CONNECTION).contains(&self.subscriptions_per_connection_max),
            "limits.subscriptions_per_connection_max",
            "expected 1 to 1024",
        )?;
        for (key, count) in [
            ("limits.messages_per_second", u64::from(self.messages_per_second)),
            ("limits.messages_burst", u64::from(self.messages_burst)),
            ("limits.resources_per_project_max", self.resources_per_project_max),
        ] {
            demand(count > 0, key, "expected 1 or more")?;
        }
        for (key, bytes) in [
            ("limits.message_bytes_max", self.message_bytes_max),
            ("limits.document_bytes_max", self.document_bytes_max),
            ("limits.outbox_bytes_max", self.outbox_bytes_max),
        ] {
            demand((1..=1 << 30).contains(&bytes), key, "expected 1 byte to 1GiB")?;
        }
        Ok(())
    }
}

fn demand(holds: bool, key: &str, problem: &str) -> Checked {
    if holds { Ok(()) } else { wrong(key, problem) }
}

fn wrong(key: &str, problem: &str) -> Checked {
    Err((key.to_owned(), problem.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Options {
        toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// The key that is told.
    fn told(text: &str) -> Option<String> {
        read(text).check(&[]).err().map(|(key, _)| key)
    }

    fn project(keys: &str) -> String {
        format!("[[projects]]\norganization = \"o\"\n{keys}\n")
    }

    #[test]
    fn nothing_said_is_the_specification() {
        let options = read("");
        assert_eq!(options, Options::default());
        assert_eq!(options.check(&[]), Ok(()));
        assert_eq!((options.limits.token_characters_max, options.limits.message_bytes_max), (4096, 16_384));
        assert_eq!((options.silence_timeout, options.token_ttl), (Duration::from_secs(75), Duration::from_secs(3600)));
        assert_eq!((options.reject, options.writes), (RejectBy::Http, Writes::Admin));
    }

    #[test]
    fn the_specifications_example_is_read() {
        let options = read(
            "reject = \"close\"\nwrites = \"public\"\ntombstone_ttl = \"1d\"\n[limits]\nmessage_bytes_max = \"16KiB\"\n\
             [[projects]]\norganization = \"testOrg\"\nproject = \"testProj\"\nhosts = []\nrequire_credentials = false\n\
             anonymous_user = \"\"\npublic = [\"liveConfig\", \"kvStore:World\"]\nallowed_origins = [\"https://game.example\"]\n\
             jwt_secret_file = \"secrets/testproj.jwt\"\nservice_keys = [ { name = \"backend\", key_file = \"secrets/backend.key\" } ]\n",
        );
        assert_eq!(options.check(&[]), Ok(()));
        assert_eq!((options.reject, options.writes), (RejectBy::Close, Writes::Public));
        let project = options.project("testOrg", "testProj").unwrap();
        assert_eq!(project.public, [Public::LiveConfig, Public::WorldKvStore]);
        assert_eq!(options.project("testOrg", ""), None);
    }

    #[test]
    fn values_that_cannot_be_name_their_key() {
        for (text, key) in [
            ("path = \"api\"", "path"),
            ("path = \"/api/\"", "path"),
            ("path = \"/\"", "path"),
            ("path = \"\"", "path"),
            ("path = \"/a?b\"", "path"),
            ("collection_names = [\"a:b\"]", "collection_names"),
            ("collection_names = [\"\"]", "collection_names"),
            ("collection_names = [\"a\", \"a\"]", "collection_names"),
            ("token_ttl = \"0s\"", "token_ttl"),
            ("token_ttl = \"31d\"", "token_ttl"),
            ("ping_interval = \"0s\"", "ping_interval"),
            ("ping_interval = \"75s\"", "ping_interval"),
            ("silence_timeout = \"30s\"", "ping_interval"),
            ("close_slice_connections = 0", "close_slice_connections"),
            ("close_slice_interval = \"0s\"", "close_slice_interval"),
            ("limits.token_characters_max = 4097", "limits.token_characters_max"),
            ("limits.token_characters_max = 0", "limits.token_characters_max"),
            ("limits.message_bytes_max = 0", "limits.message_bytes_max"),
            ("limits.document_bytes_max = \"2GiB\"", "limits.document_bytes_max"),
            ("limits.outbox_bytes_max = 0", "limits.outbox_bytes_max"),
            ("limits.subscriptions_per_connection_max = 1025", "limits.subscriptions_per_connection_max"),
            ("limits.messages_per_second = 0", "limits.messages_per_second"),
            ("limits.messages_burst = 0", "limits.messages_burst"),
            ("limits.resources_per_project_max = 0", "limits.resources_per_project_max"),
            ("[[projects]]\n", "projects[0].organization"),
            ("[[projects]]\norganization = \" o\"", "projects[0].organization"),
            (&project("project = \"a\\u0001\""), "projects[0].project"),
            (&project("hosts = [\"http://a\"]"), "projects[0].hosts"),
            (&project("anonymous_user = \"World\""), "projects[0].anonymous_user"),
            (&project("anonymous_user = \"a:b\""), "projects[0].anonymous_user"),
            (&format!("{}{}", project(""), project("")), "projects[1]"),
            (&format!("{}{}", project("hosts = [\"a\"]"), project("project = \"p\"\nhosts = [\"A\"]")), "projects[1].hosts"),
        ] {
            assert_eq!(told(text).as_deref(), Some(key), "{text}");
        }
        for bad in [
            "rejects = \"http\"",
            "reject = \"HTTP\"",
            "ping_interval = 30",
            "limits.outbox = 5",
            &project("public = [\"collection\"]"),
            &project("allowed_origins = [\"null\"]"),
            &project("jwt_secret = 5"),
            &project("service_keys = [{ token = \"a\" }]"),
        ] {
            assert!(toml::from_str::<Options>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_path_collides_with_what_other_dialects_have_at_or_below_it() {
        let collides = |other: &str| Options::default().check(&[("x.path", other)]).is_err();
        for other in ["/api/realtime", "/api/realtime/", "/api/realtime/pub", "/api/", "/"] {
            assert!(collides(other), "{other}");
        }
        for other in ["", "/api", "/api/realtime2", "/api/realtime2/", "/pub"] {
            assert!(!collides(other), "{other}");
        }
        assert_eq!(read("enabled = false").check(&[("x.path", "/api/realtime")]), Ok(()));
        assert_eq!(
            Options::default().check(&[("publish.path", "/api/realtime")]),
            Err(("path".to_owned(), "collides with publish.path".to_owned()))
        );
    }

    /// Options after [`Options::resolve`], and what was told.
    fn resolved(text: &str) -> (Options, Vec<String>) {
        let mut options = read(text);
        let mut told = Vec::new();
        let mut files = |path: &Path| match path.to_str() {
            Some("good") => Ok("0123456789abcdef \r\n".to_owned()),
            Some("short") => Ok("0123456789abcde\n".to_owned()),
            _ => Err("no such file".to_owned()),
        };
        options.resolve(&mut files, &mut |key, message| told.push(format!("{key}: {message}")));
        (options, told)
    }

    #[test]
    fn secrets_come_from_the_file_or_from_a_file_of_their_own() {
        let (options, told) = resolved(&project(
            "jwt_secret = \"0123456789abcdef\"\nservice_keys = [{ name = \"a\", key = \"0123456789abcdeF\" }, { name = \"b\", key_file = \"good\" }]",
        ));
        assert_eq!(told, [""; 0]);
        let project = &options.projects[0];
        assert_eq!(project.jwt_secret.as_ref().unwrap().as_str(), "0123456789abcdef");
        // One line break goes, and nothing else.
        let keys = [("a", digest(b"0123456789abcdeF")), ("b", digest(b"0123456789abcdef "))];
        assert_eq!(project.keys, keys.map(|(name, digest)| ServiceKey { name: name.to_owned(), digest }));
        let shown = format!("{options:?}");
        assert!(!shown.contains("0123456789"), "{shown}");
    }

    #[test]
    fn what_is_wrong_with_secrets_is_told_without_them() {
        let (_, told) = resolved(&project(
            "jwt_secret = \"short\"\nservice_keys = [{ key = \"0123456789abcdef \" }, { name = \"b\" }, { name = \"c\", key_file = \"short\" },\n\
             { name = \"d\", key_file = \"absent\" }, { name = \"e\", key_file = \"good\", key = \"x\" }, { name = \"f\", key_file = \"good\" }]",
        ));
        assert_eq!(
            told,
            [
                "projects[0].jwt_secret: expected a secret of 16 bytes or more",
                "projects[0].service_keys[0].name: expected 1 to 64 bytes without control characters: it stands for the secret in logs",
                "projects[0].service_keys[1]: expected exactly one of key and key_file",
                "projects[0].service_keys[2].key_file: expected a secret of 16 bytes or more in short",
                "projects[0].service_keys[3].key_file: cannot read absent: no such file",
                "projects[0].service_keys[4]: expected exactly one of key and key_file",
                "projects[0].service_keys[5]: the same secret as resources.projects[0].service_keys[0]",
            ]
        );
        let both = project("jwt_secret = \"0123456789abcdef\"\njwt_secret_file = \"good\"");
        assert_eq!(resolved(&both).1, ["projects[0]: expected at most one of jwt_secret and jwt_secret_file"]);
    }

    #[test]
    fn dev_keeps_its_contract() {
        let options = Options::dev();
        assert_eq!(options.check(&[]), Ok(()));
        assert!(options.auto_projects && options.writes == Writes::Public && options.drain_time == Duration::from_secs(1));
        let project = options.project("testOrg", "testProj").unwrap();
        assert_eq!((project.anonymous_user.as_str(), project.keys[0].digest), ("dev", digest(b"dev")));
    }
}
