//! Who a request says it is, from its headers, its token and its host (specification, sections 2.1 and 2.2).

use super::handshake::Reject;
use super::options::{NAME_BYTES_MAX, Options};
use super::token::{Name, Token};
use crate::access::bearer;
use crate::http::head::Head;
use std::fmt;

/// What a request says of itself. Nothing of it is believed yet.
#[derive(Debug, PartialEq, Eq)]
pub struct Claims {
    pub organization: String,
    /// Empty: the entry that is configured without a project.
    pub project: String,
    pub world: Option<String>,
    pub launch_context: Option<String>,
    pub credential: Option<Credential>,
}

/// How a request proves itself.
#[derive(PartialEq, Eq)]
pub enum Credential {
    Bearer(String),
    ApiKey(String),
    /// An `authorization` that is no `Bearer` with something behind it.
    Malformed,
}

/// Without the secret.
impl fmt::Debug for Credential {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Credential::Bearer(_) => "Bearer",
            Credential::ApiKey(_) => "ApiKey",
            Credential::Malformed => "Malformed",
        })
    }
}

impl Claims {
    /// # Errors
    /// The first failing one of rows 7 to 10.
    pub fn read(head: &Head<'_>, token: Option<&Token>, options: &Options) -> Result<Claims, Reject> {
        let given = Given::collect(head, token);
        given.check_values()?;
        let organization = given.value(Name::Organization)?;
        let project = given.value(Name::Project)?;
        let world = given.value(Name::World)?.map(str::to_owned);
        let launch_context = given.value(Name::LaunchContext)?.map(str::to_owned);
        let credential = given.credential()?;
        let of_host = || options.project_of_host(head.field("Host")?);
        let (organization, project) = match (organization, project) {
            (Some(organization), project) => (organization, project.unwrap_or_default()),
            (None, Some(_)) => return Err(Reject::MissingOrganization),
            (None, None) => {
                let listed = of_host().ok_or(Reject::MissingOrganization)?;
                (listed.organization.as_str(), listed.project.as_str())
            }
        };
        if project.is_empty() && (world.is_some() || launch_context.is_some()) {
            return Err(Reject::MissingProject);
        }
        Ok(Claims { organization: organization.to_owned(), project: project.to_owned(), world, launch_context, credential })
    }
}

impl Credential {
    /// What the fields of a request prove, whatever else they say.
    ///
    /// # Errors
    /// Several that do not agree.
    pub fn read(head: &Head<'_>) -> Result<Option<Credential>, Reject> {
        Given::collect(head, None).credential()
    }
}

/// Recognised headers of all sources; empty ones are absent.
struct Given<'a>(Vec<(Name, &'a str)>);

impl<'a> Given<'a> {
    fn collect(head: &'a Head<'_>, token: Option<&'a Token>) -> Given<'a> {
        let fields = head.fields.iter().filter_map(|&(name, value)| Some((Name::of(name)?, value)));
        let claimed = token.into_iter().flat_map(Token::recognised);
        let trimmed = fields.chain(claimed).map(|(name, value)| (name, value.trim_matches([' ', '\t'])));
        Given(trimmed.filter(|(_, value)| !value.is_empty()).collect())
    }

    fn check_values(&self) -> Result<(), Reject> {
        let fits = |&(name, value): &(Name, &str)| match name {
            Name::Organization | Name::Project | Name::World => value.len() <= NAME_BYTES_MAX,
            Name::LaunchContext | Name::Authorization | Name::ApiKey => true,
        };
        let holds = self.0.iter().all(|given| fits(given) && !given.1.contains(char::is_control));
        if holds { Ok(()) } else { Err(Reject::InvalidHeader) }
    }

    fn credential(&self) -> Result<Option<Credential>, Reject> {
        Ok(match (self.value(Name::Authorization)?, self.value(Name::ApiKey)?) {
            (Some(_), Some(_)) => return Err(Reject::ConflictingHeaders),
            (Some(value), None) => {
                Some(bearer(value).map_or(Credential::Malformed, |token| Credential::Bearer(token.to_owned())))
            }
            (None, Some(key)) => Some(Credential::ApiKey(key.to_owned())),
            (None, None) => None,
        })
    }

    /// The one value that all sources and spellings of a name agree on.
    fn value(&self, wanted: Name) -> Result<Option<&'a str>, Reject> {
        let mut values = self.0.iter().filter(|(name, _)| *name == wanted).map(|&(_, value)| value);
        let first = values.next();
        if values.all(|value| Some(value) == first) { Ok(first) } else { Err(Reject::ConflictingHeaders) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{BodyLength, Version};

    fn options() -> Options {
        toml::from_str(
            "[[projects]]\norganization = \"hosted\"\nproject = \"game\"\nhosts = [\"game.example\"]\n\
             [[projects]]\norganization = \"bare\"\nhosts = [\"bare.example:81\"]\n",
        )
        .unwrap()
    }

    fn read(fields: &[(&str, &str)], token: &str) -> Result<Claims, Reject> {
        let token = (!token.is_empty()).then(|| Token::parse(token).expect("a valid token"));
        let (version, body, fields) = (Version::Http11, BodyLength::None, fields.to_vec());
        let head = Head { method: "GET", target: "/", version, fields, body, keep_alive: true, expects_continue: false };
        Claims::read(&head, token.as_ref(), &options())
    }

    fn claims(organization: &str, project: &str) -> Claims {
        let (organization, project) = (organization.to_owned(), project.to_owned());
        Claims { organization, project, world: None, launch_context: None, credential: None }
    }

    #[test]
    fn headers_and_token_are_equal_sources() {
        let both = Ok(claims("o", "p"));
        assert_eq!(read(&[("X-M2-Organization", "o"), ("x-m2-project", "p")], ""), both);
        assert_eq!(read(&[], "x-m2-organization:o\nx-m2-project:p"), both);
        assert_eq!(read(&[("x-m2-organization-id", "o")], "X-M2-Project-Id: p"), both);
        assert_eq!(read(&[("x-m2-organization", "o")], "x-m2-world-id:"), Ok(claims("o", "")));
        let full = read(&[], "x-m2-organization:o\nx-m2-project:p\nx-m2-world-id:w\nx-m2-launch-context-id:l").unwrap();
        assert_eq!((full.world.as_deref(), full.launch_context.as_deref()), (Some("w"), Some("l")));
    }

    #[test]
    fn rs_07_sources_that_disagree_conflict_and_equal_ones_do_not() {
        let organization = [("x-m2-organization", "testOrg")];
        assert_eq!(read(&organization, "x-m2-organization:testOrg"), Ok(claims("testOrg", "")));
        assert_eq!(read(&organization, "x-m2-organization-id:testOrg"), Ok(claims("testOrg", "")));
        for token in
            ["x-m2-organization:testorg", "x-m2-organization-id:other", "x-m2-organization:testOrg\nx-m2-organization-id:b"]
        {
            assert_eq!(read(&organization, token), Err(Reject::ConflictingHeaders), "{token}");
        }
        assert_eq!(read(&[organization[0], ("x-m2-organization", "b")], ""), Err(Reject::ConflictingHeaders));
        assert_eq!(read(&[organization[0], organization[0]], ""), Ok(claims("testOrg", "")));
        // An empty value is no value.
        assert_eq!(read(&[("x-m2-organization", "")], "x-m2-organization:testOrg"), Ok(claims("testOrg", "")));
    }

    #[test]
    fn rs_08_the_token_says_nothing_of_the_transport() {
        assert_eq!(read(&[("Host", "other.example")], "host:game.example\ncookie:a"), Err(Reject::MissingOrganization));
    }

    #[test]
    fn credentials_come_from_either_source() {
        let organization = ("x-m2-organization", "o");
        let credential = |fields: &[(&str, &str)], token: &str| read(fields, token).unwrap().credential;
        let bearer = Some(Credential::Bearer("a.b".to_owned()));
        assert_eq!(credential(&[organization, ("Authorization", "bearer a.b")], ""), bearer);
        assert_eq!(credential(&[organization], "authorization:Bearer a.b"), bearer);
        assert_eq!(credential(&[organization, ("x-api-key", "k")], ""), Some(Credential::ApiKey("k".to_owned())));
        assert_eq!(credential(&[organization, ("authorization", "Basic a")], ""), Some(Credential::Malformed));
        assert_eq!(credential(&[organization, ("authorization", "Bearer")], ""), Some(Credential::Malformed));
        assert_eq!(credential(&[organization, ("authorization", " ")], ""), None);
        assert_eq!(format!("{bearer:?}"), "Some(Bearer)");
    }

    #[test]
    fn rs_18_both_kinds_of_credentials_conflict() {
        let both = [("x-m2-organization", "o"), ("authorization", "Bearer a"), ("x-api-key", "k")];
        assert_eq!(read(&both, ""), Err(Reject::ConflictingHeaders));
        assert_eq!(read(&both[..2], "x-api-key:k"), Err(Reject::ConflictingHeaders));
    }

    #[test]
    fn values_have_their_bounds() {
        let (fits, long) = ("v".repeat(128), "v".repeat(129));
        for name in ["x-m2-organization", "x-m2-project", "x-m2-world-id"] {
            let others = "x-m2-organization-id:o\nx-m2-project-id:p\n";
            assert_ne!(read(&[(name, &fits)], others), Err(Reject::InvalidHeader), "{name}");
            assert_eq!(read(&[(name, &long)], others), Err(Reject::InvalidHeader), "{name}");
            assert_eq!(read(&[], &format!("{name}:{long}")), Err(Reject::InvalidHeader), "{name}");
        }
        assert_eq!(read(&[], "x-m2-organization:a\u{85}b"), Err(Reject::InvalidHeader));
        assert!(read(&[], &format!("x-m2-organization:o\nauthorization:Bearer {long}")).is_ok());
    }

    #[test]
    fn an_organization_is_needed_and_a_world_needs_a_project() {
        assert_eq!(read(&[], ""), Err(Reject::MissingOrganization));
        assert_eq!(read(&[("x-m2-project", "p")], ""), Err(Reject::MissingOrganization));
        for name in ["x-m2-world-id", "x-m2-launch-context-id"] {
            assert_eq!(read(&[("x-m2-organization", "o"), (name, "w")], ""), Err(Reject::MissingProject), "{name}");
        }
    }

    #[test]
    fn the_host_speaks_only_when_neither_name_is_given() {
        let host = ("Host", "GAME.example:8080");
        assert_eq!(read(&[host], ""), Ok(claims("hosted", "game")));
        assert!(read(&[host, ("x-m2-world-id", "w")], "").is_ok());
        assert_eq!(read(&[host, ("x-m2-organization", "o")], ""), Ok(claims("o", "")));
        assert_eq!(read(&[host, ("x-m2-project", "p")], ""), Err(Reject::MissingOrganization));
        assert_eq!(read(&[("Host", "bare.example:81")], ""), Ok(claims("bare", "")));
        assert_eq!(read(&[("Host", "bare.example:81"), ("x-m2-world-id", "w")], ""), Err(Reject::MissingProject));
        assert_eq!(read(&[("Host", "bare.example")], ""), Err(Reject::MissingOrganization));
    }

    /// RS-15, rows 7 to 10.
    #[test]
    fn rs_15_of_several_faults_the_lowest_row_decides() {
        let long = "v".repeat(129);
        let conflict = [("x-m2-project", "a"), ("x-m2-project-id", "b"), ("x-m2-world-id", long.as_str())];
        assert_eq!(read(&conflict, ""), Err(Reject::InvalidHeader));
        assert_eq!(read(&conflict[..2], "x-m2-world-id:w"), Err(Reject::ConflictingHeaders));
        assert_eq!(read(&[], "x-m2-world-id:w\nx-m2-world-id:w"), Err(Reject::MissingOrganization));
    }
}
