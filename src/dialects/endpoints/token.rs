//! The access token of a request: where it is looked for, and in which order (specification, section 3.1).

use super::cookies;
use super::options::Service;
use super::query::{Given, Query};
use crate::access::tokens::issued;
use crate::exchange::TokenDigest;
use crate::http::head::Head;

/// What a request shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessToken {
    Absent,
    /// Present, and certainly none that was issued.
    Invalid,
    /// The hub knows whether it counts.
    Asks(TokenDigest),
}

impl AccessToken {
    /// What the first source that is present says; an invalid token there does not fall back to the next.
    pub fn of(head: &Head<'_>, query: &Query<'_>, service: &Service) -> AccessToken {
        let parameter = match service.access_token_parameter.as_str() {
            "" => Given::Absent,
            name => query.once(name),
        };
        let mut fields = head.fields_named("Authorization").filter(|value| !value.is_empty());
        match (parameter, fields.next(), fields.next()) {
            (Given::Twice, _, _) | (Given::Absent, Some(_), Some(_)) => AccessToken::Invalid,
            (Given::Once(token), _, _) => AccessToken::read(token),
            (Given::Absent, Some(value), None) => AccessToken::read(bare(value)),
            (Given::Absent, None, _) => AccessToken::of_cookies(head, service),
        }
    }

    fn of_cookies(head: &Head<'_>, service: &Service) -> AccessToken {
        let mut names = service.cookie_names.iter();
        let token = names.find_map(|name| cookies::find(head.fields_named("Cookie"), name));
        token.map_or(AccessToken::Absent, AccessToken::read)
    }

    fn read(token: &str) -> AccessToken {
        issued(token).map_or(AccessToken::Invalid, AccessToken::Asks)
    }
}

/// `<token>` or `Bearer <token>`, the scheme in any case.
fn bare(value: &str) -> &str {
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim_matches(' '),
        Some(_) | None => value,
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::Options;
    use super::*;
    use crate::access::tokens::Source;
    use crate::http::head::{BodyLength, Version};

    fn of(service: &str, query: &str, fields: &[(&str, &str)]) -> AccessToken {
        let options: Options = toml::from_str(&format!("[{service}]\n")).unwrap();
        let (version, body) = (Version::Http11, BodyLength::None);
        let fields = fields.to_vec();
        let head = Head { method: "GET", target: "/", version, fields, body, keep_alive: true, expects_continue: false };
        AccessToken::of(&head, &Query::read(query), &options.services[0])
    }

    fn tokens() -> [String; 3] {
        let source = Source::new([3; 32]);
        [source.token(), source.token(), source.token()]
    }

    fn asks(token: &str) -> AccessToken {
        AccessToken::Asks(issued(token).unwrap())
    }

    #[test]
    fn ep_16_rested_takes_the_token_from_the_query_without_bearer() {
        let [token, ..] = tokens();
        assert_eq!(of("rested", &format!("key=a&accessToken={token}"), &[]), asks(&token));
        assert_eq!(of("rested", &format!("accessToken=Bearer+{token}"), &[]), AccessToken::Invalid);
        assert_eq!(of("rested", &format!("accesstoken={token}"), &[]), AccessToken::Absent);
    }

    #[test]
    fn ep_17_and_18_cookies_of_the_preset_and_the_header() {
        let [token, other, third] = tokens();
        for (service, name) in
            [("rested", "__Secure-rested-access-token"), ("yawe", "yawe_access_token"), ("yawe", "__Secure-yawe-access-token")]
        {
            let cookies = format!("a=b; {name}={token}");
            assert_eq!(of(service, "", &[("cookie", &cookies)]), asks(&token), "{name}");
            for value in [&token, &format!("Bearer {token}"), &format!("bEARER  {token}")] {
                assert_eq!(of(service, "", &[("authorization", value)]), asks(&token), "{value}");
            }
        }
        assert_eq!(of("rested", "", &[("Cookie", &format!("yawe_access_token={token}"))]), AccessToken::Absent);
        assert_eq!(of("yawe", "", &[("Cookie", &format!("__Secure-rested-access-token={token}"))]), AccessToken::Absent);
        // The preset's order counts, not that of the cookies.
        let both = format!("__Secure-yawe-access-token={other}; yawe_access_token={token}");
        assert_eq!(of("yawe", "", &[("Cookie", &both)]), asks(&token));
        let first_empty = format!("yawe_access_token=; __Secure-yawe-access-token={third}");
        assert_eq!(of("yawe", "", &[("Cookie", &first_empty)]), asks(&third));
    }

    #[test]
    fn ep_19_yawe_ignores_the_parameter() {
        let [token, other, _] = tokens();
        let query = format!("accessToken={token}");
        assert_eq!(of("yawe", &query, &[]), AccessToken::Absent);
        assert_eq!(of("yawe", &query, &[("Authorization", &other)]), asks(&other));
    }

    #[test]
    fn ep_20_the_first_source_that_is_present_decides() {
        let [token, other, third] = tokens();
        let cookie = format!("__Secure-rested-access-token={third}");
        let fields = [("Authorization", other.as_str()), ("Cookie", cookie.as_str())];
        assert_eq!(of("rested", &format!("accessToken={token}"), &fields), asks(&token));
        assert_eq!(of("rested", "", &fields), asks(&other));
        assert_eq!(of("rested", "", &fields[1..]), asks(&third));
        // An invalid one does not fall back.
        for query in ["accessToken=x", "accessToken=x&accessToken=x", &format!("accessToken={token}&accessToken=")] {
            assert_eq!(of("rested", query, &fields), AccessToken::Invalid, "{query}");
        }
        for value in ["x", "Basic YTpi", "Bearer", &format!("Basic {token}"), &format!("{token} ")] {
            assert_eq!(of("rested", "", &[("Authorization", value), fields[1]]), AccessToken::Invalid, "{value}");
        }
        assert_eq!(of("rested", "", &[fields[0], fields[0]]), AccessToken::Invalid);
        // An empty one counts as absent.
        assert_eq!(of("rested", "accessToken=", &fields), asks(&other));
        assert_eq!(of("rested", "accessToken", &[("Authorization", ""), fields[1]]), asks(&third));
    }
}
