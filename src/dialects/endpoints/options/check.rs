//! What a configuration of the dialect cannot say (specification, section 12).

use super::{Endpoint, Limits, Options, Project, Service};
use crate::access::origin::split_port;
use crate::dialects::endpoints::account;
use crate::dialects::endpoints::name::is_name;
use crate::http::target::is_plain;
use crate::pace::Phase;
use std::collections::BTreeMap;
use std::time::Duration;

/// Tells of a key, without `endpoints.`, and of what is wrong with its value.
type Wrong<'a> = &'a mut dyn FnMut(&str, &str);

const LABEL: &str = "expected 1 to 64 bytes without control characters";

impl Options {
    /// Checks the values; `others` are the paths of other dialects by the names of their keys, prefixes with their last `/`.
    pub fn check(&self, others: &[(&str, &str)], wrong: Wrong<'_>) {
        for (index, service) in self.services.iter().enumerate() {
            let mut wrong = |key: &str, problem: &str| wrong(&format!("{}{key}", service.name), problem);
            service.check(&mut wrong);
            let is_other = |&&(_, other): &&(&str, &str)| {
                let below = format!("{}/", service.path);
                other == service.path || other.starts_with(&below) || other.ends_with('/') && below.starts_with(other)
            };
            if let Some((key, _)) = others.iter().find(is_other) {
                wrong(".path", &format!("collides with {key}"));
            }
            if let Some(other) = self.services[..index].iter().find(|other| other.meets(service)) {
                wrong(".path", &format!("collides with endpoints.{}.path, whose hosts it shares", other.name));
            }
        }
    }
}

impl Service {
    /// Whether a request could be for both.
    fn meets(&self, other: &Service) -> bool {
        let listed = |host: &String| other.hosts.iter().any(|other| other.eq_ignore_ascii_case(host));
        let hosts = self.hosts.is_empty() && other.hosts.is_empty() || self.hosts.iter().any(listed);
        let within = |inner: &str, outer: &str| inner == outer || inner.starts_with(&format!("{outer}/"));
        hosts && (within(&self.path, &other.path) || within(&other.path, &self.path))
    }

    fn check(&self, wrong: Wrong<'_>) {
        let mut demand = |holds: bool, key: &str, problem: &str| {
            if !holds {
                wrong(key, problem);
            }
        };
        let letters = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        demand(
            (1..=64).contains(&self.name.len()) && letters(&self.name),
            "",
            "expected a name of 1 to 64 characters of A-Z, a-z, 0-9, _ and -",
        );
        demand(self.preset.is_some(), ".preset", "expected \"rested\" or \"yawe\"; only a service of such a name needs none");
        demand(
            self.hosts.iter().all(|host| split_port(host).is_some_and(|(_, port)| port.is_none())),
            ".hosts",
            "expected hosts like \"app.rested.dev\", without a port",
        );
        demand(
            is_plain(&self.path) && !self.path.ends_with('/'),
            ".path",
            "expected a path like \"/api/1/ce\": visible ASCII without ?, # and %, and no / at the end",
        );
        demand(is_label(&self.display_name), ".display_name", LABEL);
        demand((1..=1_000_000).contains(&self.sessions_per_user_max), ".sessions_per_user_max", "expected 1 to 1000000");
        demand((1..=64).contains(&self.password_workers), ".password_workers", "expected 1 to 64");
        demand(self.log_messages > 0, ".log_messages", "expected 1 or more");
        demand(self.log_bytes > 0, ".log_bytes", "expected 1 byte or more");
        for (key, time) in [
            (".session_ttl", self.session_ttl),
            (".log_age", self.log_age),
            (".no_progress_timeout", self.no_progress_timeout),
            (".ping_interval", self.ping_interval),
            (".close_slice_interval", self.close_slice_interval),
        ] {
            demand(time > Duration::ZERO, key, "expected more than 0s");
        }
        demand(self.ping_interval <= Phase::LONGEST, ".ping_interval", "expected at most 6553500ms");
        demand(self.ping_interval < self.silence_timeout, ".ping_interval", "expected less than silence_timeout");
        demand(self.close_slice_connections > 0, ".close_slice_connections", "expected 1 or more");
        self.check_tokens(wrong);
        self.limits.check(wrong);
        self.check_projects(wrong);
    }

    /// Where access tokens are read and written.
    fn check_tokens(&self, wrong: Wrong<'_>) {
        let names = &self.cookie_names;
        let distinct = names.iter().enumerate().all(|(index, name)| !names[..index].contains(name));
        if !names.iter().all(|name| is_token(name)) || !distinct {
            wrong(".cookie_names", "expected different names of cookies, like \"access_token\"");
        }
        if !names.contains(&self.login_cookie_name) {
            wrong(".login_cookie_name", "expected one of cookie_names: another one would never be read");
        }
        let prefixed = ["__secure-", "__host-"]
            .iter()
            .any(|prefix| self.login_cookie_name.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix)));
        if prefixed && !self.cookie_secure {
            let problem = "browsers refuse cookies of such a name with cookie_secure = false; expected another one";
            wrong(".login_cookie_name", problem);
        }
        let parameter = &self.access_token_parameter;
        if !parameter.is_empty() && (!is_token(parameter) || PARAMETERS.contains(&parameter.as_str())) {
            wrong(".access_token_parameter", "expected a name that no other parameter has, like \"accessToken\", or \"\"");
        }
    }

    fn check_projects(&self, wrong: Wrong<'_>) {
        let mut names: BTreeMap<&str, String> = BTreeMap::new();
        for (index, project) in self.projects.iter().enumerate() {
            let place = format!(".projects[{index}]");
            project.check(&mut |key, problem| wrong(&format!("{place}{key}"), problem));
            if let Some(same) = self.projects[..index].iter().position(|other| other.name == project.name) {
                wrong(&format!("{place}.name"), &format!("the same name as endpoints.{}.projects[{same}]", self.name));
            }
            for (index, endpoint) in project.endpoints.iter().enumerate() {
                let place = format!("{place}.endpoints[{index}]");
                match names.get(endpoint.name.as_str()) {
                    Some(same) => wrong(&format!("{place}.name"), &format!("the same name as endpoints.{}{same}", self.name)),
                    None => drop(names.insert(&endpoint.name, place)),
                }
            }
        }
    }
}

/// Parameters with a meaning of their own.
const PARAMETERS: [&str; 14] = [
    "key",
    "masterKey",
    "uniqueId",
    "dataOnly",
    "jsonata",
    "strategy",
    "login",
    "logout",
    "noATCookie",
    "fw_seq",
    "fw_since",
    "fw_snapshot",
    "fw_limit",
    "fw_after",
];

impl Project {
    fn check(&self, wrong: Wrong<'_>) {
        if !is_label(&self.name) {
            wrong(".name", LABEL);
        }
        if !self.allowed_origins.iter().all(|origin| matches!(origin.scheme(), "http" | "https")) {
            wrong(".allowed_origins", "expected origins of http:// or https://");
        }
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let place = format!(".endpoints[{index}]");
            endpoint.check(&mut |key, problem| wrong(&format!("{place}{key}"), problem));
            let any_site = endpoint.needs_token() && self.allowed_origins.is_empty() && !self.cookie_from_any_origin;
            if any_site {
                let problem = "any web site could act with the cookie of its visitor; \
                               expected allowed_origins in the project, or cookie_from_any_origin = true";
                wrong(&place, problem);
            }
        }
    }
}

impl Endpoint {
    fn check(&self, wrong: Wrong<'_>) {
        if !is_name(&self.name) {
            let problem = "expected 5 to 254 characters of a-z, 0-9, - and /, neither of these two at an end or doubled";
            wrong(".name", problem);
        }
        for (key, on, needs_read) in [
            (".read_by_others", self.read_by_others, false),
            (".update_by_others", self.update_by_others, true),
            (".delete_by_others", self.delete_by_others, true),
        ] {
            if on && self.auth {
                wrong(key, "not with auth: a user is its own only");
            } else if on && !self.secure {
                wrong(key, "only with secure: nobody owns a record otherwise");
            } else if on && needs_read && !self.read_by_others {
                wrong(key, "not without read_by_others: replies and messages carry the record");
            }
        }
        if self.auth && self.secure {
            wrong(".secure", "not with auth");
        }
        if !self.auth && !self.users.is_empty() {
            wrong(".users", "only with auth");
        }
        for (index, user) in self.users.iter().enumerate() {
            if !account::is_identity(&user.username) {
                wrong(&format!(".users[{index}].username"), "expected 1 to 254 bytes");
            }
            if self.users[..index].iter().any(|other| other.username == user.username) {
                wrong(&format!(".users[{index}].username"), "the same as that of an earlier user");
            }
        }
    }
}

impl Limits {
    fn check(&self, wrong: Wrong<'_>) {
        let mut demand = |holds: bool, key: &str, problem: &str| {
            if !holds {
                wrong(&format!(".limits.{key}"), problem);
            }
        };
        for (key, bytes) in [
            ("body_bytes_max", self.body_bytes_max),
            ("list_bytes_max", self.list_bytes_max),
            ("frame_bytes_max", self.frame_bytes_max),
        ] {
            demand((1..=1 << 30).contains(&bytes), key, "expected 1 byte to 1GiB");
        }
        demand((1..=100).contains(&self.upload_files_max), "upload_files_max", "expected 1 to 100");
        demand((1..=1 << 40).contains(&self.upload_file_bytes_max), "upload_file_bytes_max", "expected 1 byte to 1024GiB");
        for (key, count) in [
            ("records_per_endpoint_max", self.records_per_endpoint_max),
            ("failures_per_minute_per_address", u64::from(self.failures_per_minute_per_address)),
            ("login_failures_per_minute", u64::from(self.login_failures_per_minute)),
        ] {
            demand(count > 0, key, "expected 1 or more");
        }
    }
}

fn is_label(text: &str) -> bool {
    (1..=64).contains(&text.len()) && !text.contains(char::is_control)
}

/// A token of HTTP (RFC 9110, section 5.6.2): what the name of a cookie may be.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
