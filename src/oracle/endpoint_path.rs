//! Paths and hosts of endpoints against a router that is as plain as possible.

use crate::dialects::endpoints::options::Options;
use crate::dialects::endpoints::route::{endpoint, service};
use std::sync::LazyLock;

/// Name of the service, path, hosts.
const SERVICES: [(&str, &str, &[&str]); 4] = [
    ("any", "/api/1/ce", &[]),
    ("else", "/e", &[]),
    ("listed", "/api/1/ce", &["app.yawe.dev", "b.example"]),
    ("other", "/api/1/ce/x", &["c.example"]),
];

static OPTIONS: LazyLock<Options> = LazyLock::new(|| {
    let tables = SERVICES.map(|(name, path, hosts)| format!("[{name}]\npreset = \"yawe\"\npath = {path:?}\nhosts = {hosts:?}\n"));
    toml::from_str(&tables.concat()).expect("a configuration")
});

/// The first line is a path, the second one the `Host`.
pub fn endpoint_path(bytes: &[u8]) {
    routes_alike(bytes);
}

/// Says whether the path was for an endpoint.
fn routes_alike(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let (path, host) = text.split_once('\n').map_or((text, None), |(path, host)| (path, Some(host)));
    let options = &*OPTIONS;
    let found = service(&options.services, host, path).map(|index| options.services[index].name.as_str());
    assert_eq!(found, plain_service(path, host.unwrap_or_default()), "{text:?}");
    let Some(name) = found else { return false };
    let base = SERVICES.iter().find(|(service, ..)| *service == name).expect("it is one of them").1;
    let name = endpoint(base, path);
    assert_eq!(name.as_deref(), plain_name(path, base).as_deref(), "{text:?}");
    let Some(name) = name else { return false };
    // Escaped once it is the same, twice it is none; a slash is no part of a name.
    let escaped = |letters: &str| letters.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let segments = |escape: &dyn Fn(&str) -> String| name.split('/').map(escape).collect::<Vec<_>>().join("/");
    let at = |name: &str| endpoint(base, &format!("{base}/{name}")).map(|name| name.into_owned());
    assert_eq!(at(&segments(&escaped)).as_deref(), Some(&*name), "{text:?}");
    assert_eq!(at(&segments(&|segment| escaped(&escaped(segment)))), None, "{text:?}");
    for other in
        [escaped("/"), "/".to_owned(), "-".to_owned(), "%00".to_owned(), "/..".to_owned(), ".".to_owned(), "A".to_owned()]
    {
        assert_eq!(at(&format!("{name}{other}")), None, "{text:?} {other}");
        assert_eq!(at(&format!("{other}{name}")), None, "{text:?} {other}");
    }
    true
}

fn plain_service(path: &str, host: &str) -> Option<&'static str> {
    let lower = host.to_ascii_lowercase();
    let is = |listed: &&&str| lower == **listed || plain_port(&lower, listed);
    let of_path = |base: &str| path == base || path.starts_with(&format!("{base}/"));
    let mut taking = SERVICES.iter().filter(|(_, base, _)| of_path(base));
    let listed = taking.clone().find(|(_, _, hosts)| hosts.iter().any(|host| is(&host)));
    listed.or_else(|| taking.find(|(_, _, hosts)| hosts.is_empty())).map(|(name, ..)| *name)
}

/// Whether it is this host with a port behind it.
fn plain_port(host: &str, listed: &str) -> bool {
    let port = host.strip_prefix(listed).and_then(|rest| rest.strip_prefix(':'));
    port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

fn plain_name(path: &str, base: &str) -> Option<String> {
    let sent = path[base.len()..].strip_prefix('/')?.as_bytes();
    let (mut name, mut at) = (String::new(), 0);
    while at < sent.len() {
        let escaped = sent[at] == b'%';
        let byte = if escaped {
            let digits = sent.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
            u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
        } else {
            sent[at]
        };
        at += if escaped { 3 } else { 1 };
        let before = name.chars().last();
        match byte {
            b'a'..=b'z' | b'0'..=b'9' => {}
            b'/' if !escaped && before.is_some_and(|before| before != '/') => {}
            b'-' if before.is_some_and(|before| before != '-') => {}
            _ => return None,
        }
        name.push(char::from(byte));
    }
    let ends = name.ends_with(['/', '-']);
    (name.len() > 4 && name.len() < 255 && !ends).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{mutate, replay};

    #[test]
    fn the_corpus_is_routed_alike() {
        replay("endpoint_path", endpoint_path);
    }

    #[test]
    fn twenty_thousand_mutations_are_routed_alike() {
        let words: [&[u8]; 22] = [
            b"/",
            b"//",
            b"/api/1/ce",
            b"/api/1/ce/",
            b"/e",
            b"/x",
            b"-",
            b"--",
            b"%2F",
            b"%2f",
            b"%2d",
            b"%61",
            b"%41",
            b"%00",
            b"%",
            b"%25",
            b"..",
            b"A",
            b"\n",
            b"app.yawe.dev",
            b":80",
            b"C.example",
        ];
        let accepted = mutate("endpoint_path", &words, 20_000, routes_alike);
        assert!((2_000..18_000).contains(&accepted), "{accepted} were endpoints");
    }
}
