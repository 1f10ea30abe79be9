//! Which pages may connect: the rule over `Origin`.

use crate::http::head::Head;

/// What `check_origin`, `allow_same_origin` and `allowed_origins` mean together.
#[derive(Debug)]
pub struct OriginRule {
    check: bool,
    same: bool,
    allowed: Vec<Allowed>,
}

#[derive(Debug, PartialEq, Eq)]
enum Allowed {
    Exact(Box<str>),
    /// Between these two stands one label.
    Label(Box<str>, Box<str>),
}

impl OriginRule {
    /// # Errors
    /// What is wrong with an entry of the list.
    pub fn new(check: bool, same: bool, allowed: &[String]) -> Result<OriginRule, String> {
        let allowed = allowed.iter().map(|entry| {
            Allowed::parse(entry)
                .ok_or_else(|| format!("\"{entry}\" is not like \"https://a.example\" or \"https://*.a.example\""))
        });
        Ok(OriginRule { check, same, allowed: allowed.collect::<Result<_, _>>()? })
    }

    /// Whether a head's origin may connect; `https` says how the client came.
    pub fn allows(&self, head: &Head<'_>, https: bool) -> bool {
        if !self.check {
            return true;
        }
        let mut origins = head.fields_named("Origin");
        let (Some(origin), None) = (origins.next(), origins.next()) else { return false };
        let scheme = if https { "https://" } else { "http://" };
        let same = || origin.strip_prefix(scheme).is_some_and(|host| head.field("Host") == Some(host));
        self.same && same() || self.allowed.iter().any(|allowed| allowed.covers(origin))
    }

    /// False: every origin may connect, and none.
    #[cfg(test)]
    pub fn checks(&self) -> bool {
        self.check
    }
}

/// Whether the nearest proxy, if it is `trusted`, says that the client came by https.
pub fn is_https(head: &Head<'_>, trusted: bool) -> bool {
    let said = head.fields_named("X-Forwarded-Proto").flat_map(|value| value.split(',')).map(str::trim).last();
    trusted && said.is_some_and(|said| said.eq_ignore_ascii_case("https"))
}

impl Allowed {
    fn parse(entry: &str) -> Option<Allowed> {
        if entry == "null" {
            return Some(Allowed::Exact(entry.into()));
        }
        let (scheme, rest) = entry.split_once("://")?;
        let is_plain =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"/*,".contains(&byte));
        match rest.strip_prefix("*.") {
            None => (is_plain(scheme) && is_plain(rest)).then(|| Allowed::Exact(entry.into())),
            Some(domain) => (is_plain(scheme) && is_plain(domain))
                .then(|| Allowed::Label(format!("{scheme}://").into(), format!(".{domain}").into())),
        }
    }

    fn covers(&self, origin: &str) -> bool {
        match self {
            Allowed::Exact(entry) => **entry == *origin,
            Allowed::Label(scheme, domain) => {
                let label = origin.strip_prefix(&**scheme).and_then(|rest| rest.strip_suffix(&**domain));
                label.is_some_and(|label| {
                    !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{BodyLength, Version};

    fn head<'a>(fields: &[(&'a str, &'a str)]) -> Head<'a> {
        let (version, body, fields) = (Version::Http11, BodyLength::None, fields.to_vec());
        Head { method: "GET", target: "/cable", version, fields, body, keep_alive: true, expects_continue: false }
    }

    fn allows(rule: &OriginRule, origin: &str, https: bool) -> bool {
        rule.allows(&head(&[("Host", "127.0.0.1:28081"), ("Origin", origin)]), https)
    }

    fn rule(check: bool, same: bool, allowed: &[&str]) -> OriginRule {
        OriginRule::new(check, same, &allowed.iter().map(|&entry| entry.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn ac_7_same_and_listed_origins_pass_and_others_do_not() {
        let listed = rule(true, true, &["http://good.example", "https://good.example"]);
        for origin in ["http://good.example", "https://good.example", "http://127.0.0.1:28081"] {
            assert!(allows(&listed, origin, false), "{origin}");
        }
        let others = [
            "https://good.example:8443",
            "http://evil.example",
            "https://127.0.0.1:28081",
            "http://127.0.0.1",
            "http://good.example.evil",
            "http://GOOD.example",
            "null",
            "",
        ];
        for origin in others {
            assert!(!allows(&listed, origin, false), "{origin}");
        }
        assert!(!listed.allows(&head(&[("Host", "a")]), false), "no origin");
        let twice = [("Host", "a"), ("Origin", "http://a"), ("Origin", "http://a")];
        assert!(!listed.allows(&head(&twice), false) && listed.allows(&head(&twice[..2]), false));
        assert!(!rule(true, false, &[]).allows(&head(&twice[..2]), false));
        assert!(!rule(true, true, &[]).allows(&head(&[("Origin", "http://")]), false));
    }

    #[test]
    fn ac_8_without_the_check_any_origin_passes_or_none() {
        let off = rule(false, false, &[]);
        assert!(allows(&off, "null", false) && off.allows(&head(&[]), true));
    }

    #[test]
    fn the_scheme_is_that_of_the_listener() {
        let same = rule(true, true, &[]);
        assert!(allows(&same, "https://127.0.0.1:28081", true) && !allows(&same, "http://127.0.0.1:28081", true));
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let wild = rule(true, false, &["https://*.a.example", "http://*.b.example:8080", "null"]);
        for origin in ["https://x.a.example", "https://x-1.a.example", "http://x.b.example:8080", "null"] {
            assert!(allows(&wild, origin, true), "{origin}");
        }
        let others = [
            "https://a.example",
            "https://.a.example",
            "https://x.y.a.example",
            "http://x.a.example",
            "https://x.a.example:443",
            "https://x/.a.example",
            "https://xa.example",
            "http://x.b.example",
        ];
        for origin in others {
            assert!(!allows(&wild, origin, true), "{origin}");
        }
    }

    #[test]
    fn entries_that_are_no_origins_are_refused() {
        for bad in ["", "*", "a.example", "https://", "https://*", "https://*.", "https://a.*.example", "https://a/", "://a"] {
            assert!(OriginRule::new(true, true, &[bad.to_owned()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_says_how_the_client_came() {
        let said = |value| head(&[("X-Forwarded-Proto", value)]);
        assert!(is_https(&said("https"), true) && !is_https(&said("https"), false));
        assert!(!is_https(&said("http"), true) && !is_https(&said("http"), false));
        // The nearest proxy speaks last.
        assert!(is_https(&said("http, HTTPS"), true) && !is_https(&said("https, http"), true));
        assert!(!is_https(&head(&[]), true));
    }
}
