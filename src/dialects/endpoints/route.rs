//! Which service and which endpoint a request is for (specification, section 2).

use super::name::is_name;
use super::options::Service;
use crate::access::origin::split_port;
use crate::http::target::decode;
use std::borrow::Cow;

/// The place of the service that a request with this `Host` and path is for; one that lists the host comes first.
///
/// Two services that both could take it are an error of the configuration.
pub fn service(services: &[Service], host: Option<&str>, path: &str) -> Option<usize> {
    let host = host.and_then(split_port).map(|(host, _)| host);
    let takes = |service: &Service| below(&service.path, path).is_some();
    let lists = |service: &Service| host.is_some_and(|host| service.hosts.iter().any(|listed| listed.eq_ignore_ascii_case(host)));
    let listed = services.iter().position(|service| lists(service) && takes(service));
    listed.or_else(|| services.iter().position(|service| service.hosts.is_empty() && takes(service)))
}

/// The name of the endpoint that a path is for; `None`: no endpoint can have such a name.
///
/// The path is one that [`service`] found for the service with the path `base`, percent-decoded nowhere. Each segment is
/// decoded once; a `/` that was escaped is no part of a name.
pub fn endpoint<'a>(base: &str, path: &'a str) -> Option<Cow<'a, str>> {
    let sent = below(base, path)?;
    let name = if sent.contains('%') {
        let segments = sent.split('/').map(|segment| String::from_utf8(decode(segment)?).ok().filter(|it| !it.contains('/')));
        Cow::Owned(segments.collect::<Option<Vec<_>>>()?.join("/"))
    } else {
        Cow::Borrowed(sent)
    };
    is_name(&name).then_some(name)
}

/// What of a path is below another one; empty for that one itself, with or without a `/` at its end.
pub fn below<'a>(base: &str, path: &'a str) -> Option<&'a str> {
    let rest = path.strip_prefix(base)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::endpoints::options::Options;

    const BASE: &str = "/api/1/ce";

    #[test]
    fn ep_04_a_name_is_the_whole_rest_of_the_path() {
        for (path, name) in [
            ("/api/1/ce/cars/x/y", "cars/x/y"),
            ("/api/1/ce/cars/x", "cars/x"),
            ("/api/1/ce/examples/unsecure-endpoint", "examples/unsecure-endpoint"),
            ("/api/1/ce/%63ars%2dx", "cars-x"),
        ] {
            assert_eq!(endpoint(BASE, path).as_deref(), Some(name), "{path}");
        }
    }

    #[test]
    fn ep_05_what_can_be_no_name_is_no_endpoint() {
        let long = format!("/api/1/ce/{}", "a".repeat(255));
        for path in [
            "/api/1/ce",
            "/api/1/ce/",
            "/api/1/ce/Examples/x",
            "/api/1/ce/%45xamples/x",
            "/api/1/ce/examples//x",
            "/api/1/ce//examples/x",
            "/api/1/ce/examples/x/",
            "/api/1/ce/examples%2Fx",
            "/api/1/ce/examples%2fx",
            "/api/1/ce/examples/%2e%2e/x",
            "/api/1/ce/../examples",
            "/api/1/ce/./examples",
            "/api/1/ce/examples%00",
            "/api/1/ce/examples%",
            "/api/1/ce/examples%2",
            "/api/1/ce/examples%2561",
            "/api/1/ce/ex%C3%A4mples",
            "/api/1/ce/ex%e4mples",
            "/api/1/ce/examples+x",
            "/api/1/ce/cars",
            &long,
        ] {
            assert_eq!(endpoint(BASE, path), None, "{path}");
        }
        assert!(endpoint(BASE, &long[..long.len() - 1]).is_some() && endpoint(BASE, "/api/1/ce/carsx").is_some());
    }

    #[test]
    fn ep_07_other_versions_and_routes_are_not_the_dialects() {
        let options: Options = toml::from_str("[rested]\n").unwrap();
        for path in ["/api/2/ce/examples/x", "/api/1/c/examples/x", "/api/1/cee/examples/x", "/api/1/CE/x", "/api/1", "/", "*"] {
            assert_eq!(service(&options.services, Some("a"), path), None, "{path}");
        }
        for path in ["/api/1/ce", "/api/1/ce/", "/api/1/ce/x", "/api/1/ce//", "/api/1/ce/%"] {
            assert_eq!(service(&options.services, Some("a"), path), Some(0), "{path}");
        }
    }

    #[test]
    fn ep_85_services_are_told_apart_by_host() {
        let options: Options = toml::from_str(
            "[a]\nhosts = [\"a.example\", \"both.example\"]\n[b]\nhosts = [\"B.example\"]\n[c]\n[d]\npath = \"/other\"\n\
             hosts = [\"both.example\"]\n",
        )
        .unwrap();
        let at = |host, path| service(&options.services, host, path).map(|index| options.services[index].name.as_str());
        for (host, name) in [
            (Some("a.example"), "a"),
            (Some("A.EXAMPLE:8080"), "a"),
            (Some("b.example"), "b"),
            (Some("both.example:80"), "a"),
            (Some("xa.example"), "c"),
            (Some("a.example.x"), "c"),
            (Some("[::1]:8080"), "c"),
            (Some("not a host"), "c"),
            (Some(""), "c"),
            (None, "c"),
        ] {
            assert_eq!(at(host, "/api/1/ce/x"), Some(name), "{host:?}");
        }
        assert_eq!(at(Some("both.example"), "/other/x"), Some("d"));
        assert_eq!(at(Some("a.example"), "/other/x"), None, "no fallback has this path");
    }
}
