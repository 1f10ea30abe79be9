//! Origins of browsers, compared whole: scheme, host and port, never a part of them.

use serde::de::{Deserialize, Deserializer, Error};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Scheme and host in lower case.
    scheme: String,
    host: String,
    /// `None` if none is written and the scheme has none of its own.
    port: Option<u16>,
}

impl Origin {
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// `None` for `null` and whatever else is no `scheme://host` with or without a port.
    pub fn parse(text: &str) -> Option<Origin> {
        let (scheme, authority) = text.split_once("://")?;
        let letters = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !letters || !scheme.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
            return None;
        }
        let (host, port) = split_port(authority)?;
        let scheme = scheme.to_ascii_lowercase();
        let port = port.or(match scheme.as_str() {
            "http" | "ws" => Some(80),
            "https" | "wss" => Some(443),
            _ => None,
        });
        Some(Origin { scheme, host: host.to_ascii_lowercase(), port })
    }

    /// Whether a request with these `Origin` fields may pass; an empty list lets everybody pass, and so does no field. Browsers send
    /// one: several match nothing, even if they are equal.
    pub fn allows<'a>(allowed: &[Origin], mut fields: impl Iterator<Item = &'a str>) -> bool {
        let Some(field) = fields.next().filter(|_| !allowed.is_empty()) else { return true };
        fields.next().is_none() && Origin::parse(field).is_some_and(|origin| allowed.contains(&origin))
    }
}

/// Host and port of an authority; an IPv6 address keeps its brackets.
pub fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let behind_address = authority.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match authority[behind_address..].find(':') {
        Some(at) => {
            let digits = &authority[behind_address + at + 1..];
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            (&authority[..behind_address + at], Some(digits.parse().ok().filter(|_| plain)?))
        }
        None => (authority, None),
    };
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let well_formed = match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    };
    well_formed.then_some((host, port))
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Origin, D::Error> {
        String::deserialize(from)
            .ok()
            .and_then(|text| Origin::parse(&text))
            .ok_or_else(|| D::Error::custom("expected origins like \"https://app.example\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(allowed: &[&str], origin: &str) -> bool {
        let allowed: Vec<Origin> = allowed.iter().map(|text| Origin::parse(text).expect(text)).collect();
        Origin::allows(&allowed, [origin].into_iter())
    }

    #[test]
    fn rs_17_origins_are_compared_whole() {
        let game = ["https://game.example"];
        for same in ["https://game.example", "HTTPS://GAME.Example", "https://game.example:443"] {
            assert!(allows(&game, same), "{same}");
        }
        for other in [
            "null",
            "",
            "http://game.example",
            "https://game.example:444",
            "https://game.example.evil.example",
            "https://evilgame.example",
            "https://game.exampl",
            "https://game.example/",
            "https://a@game.example",
            "https://game.example:",
            "https://game.example:+443",
            "https://game.example:65979",
            "https://game.example https://other.example",
            "wss://game.example",
            "game.example",
        ] {
            assert!(!allows(&game, other), "{other}");
        }
        assert!(allows(&["http://[::1]:8080", "app://x"], "http://[::1]:8080"));
        assert!(allows(&["http://[::1]:8080", "app://x"], "app://x"));
        assert!(!allows(&["http://[::1]:8080"], "http://[::1]"));
        assert!(allows(&["http://localhost:80"], "http://localhost"));
    }

    #[test]
    fn rs_17_an_absent_origin_and_an_empty_list_pass() {
        let game = [Origin::parse("https://game.example").unwrap()];
        assert!(Origin::allows(&game, [].into_iter()));
        assert!(Origin::allows(&[], ["null"].into_iter()));
        for second in ["https://game.example", "https://other.example"] {
            assert!(!Origin::allows(&game, ["https://game.example", second].into_iter()), "{second}");
            assert!(Origin::allows(&[], ["https://game.example", second].into_iter()), "{second}");
        }
    }

    #[test]
    fn what_is_no_host_is_no_origin() {
        for bad in ["https://", "https://[::1", "https://::1", "https://[x]", "://a", "1http://a", "https://a:b", "https://a b"] {
            assert_eq!(Origin::parse(bad), None, "{bad}");
        }
    }
}
