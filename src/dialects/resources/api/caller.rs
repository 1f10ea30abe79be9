//! Who asks over HTTP: a service key of the project, or nobody who may (specification, section 8).

use super::super::claims::{Claims, Credential};
use super::super::credentials::{self, Judged, Known};
use super::super::handshake::Reject;
use super::super::permissions::Principal;
use super::super::shared::{Live, Project, Shared};
use crate::clock::Now;
use crate::exchange::TokenDigest;
use crate::http::head::Head;
use crate::http::response::Response;
use crate::http::response::error;
use std::sync::Arc;

/// A request as far as its credentials decide.
pub enum Caller {
    /// A service key of the project that the request is about.
    Service { project: Arc<Project>, claims: Claims },
    /// Perhaps a token that was issued: it is a user's then, and forbidden, else it is unknown.
    Bearer(TokenDigest),
}

impl Caller {
    /// # Errors
    /// The answer to a request that needs no look at tokens: the first that fails of credentials, names and project.
    pub fn judge(head: &Head<'_>, live: &Live, shared: &Arc<Shared>, now: Now) -> Result<Caller, Response> {
        let credential = Credential::read(head).map_err(refusal)?.unwrap_or(Credential::Malformed);
        let claims = Claims::read(head, None, &shared.options);
        let project = claims.as_ref().ok().and_then(|claims| live.project(shared, &claims.organization, &claims.project));
        let judged = match &project {
            Some(project) => credentials::judge(live, project, &credential, now),
            None => credentials::judge_without_project(live, &credential),
        };
        match (judged, claims, project) {
            (Judged::Asks(token), ..) => Ok(Caller::Bearer(token)),
            (Judged::Is(Known { principal: Principal::Service, .. }), Ok(claims), Some(project)) => {
                Ok(Caller::Service { project, claims })
            }
            (Judged::Rejected(Reject::ProjectNotAllowed), Err(reject), _) => Err(refusal(reject)),
            (Judged::Is(_) | Judged::Rejected(Reject::ProjectNotAllowed), ..) => Err(error(403, "Forbidden")),
            (Judged::Rejected(reject), ..) => Err(refusal(reject)),
        }
    }
}

/// In the words of the handshake; a connection goes on after it.
pub fn refusal(reject: Reject) -> Response {
    let mut response = reject.response();
    response.close = false;
    response
}

#[cfg(test)]
mod tests {
    use super::super::super::options::ServiceKey;
    use super::super::super::testing::{STOP, options};
    use super::*;
    use crate::access::digest;
    use crate::http::head::{BodyLength, Version};
    use crate::session::Encoders;

    const KEY: (&str, &str) = ("x-api-key", "backend-key-of-o-p");
    const OTHER: (&str, &str) = ("x-api-key", "backend-key-of-o-q");
    const ORGANIZATION: (&str, &str) = ("x-m2-organization", "o");
    const PROJECT: (&str, &str) = ("x-m2-project", "p");

    /// `Ok`: the project of the service, or "bearer"; else status and text.
    fn judge(fields: &[(&str, &str)]) -> Result<String, (u16, String)> {
        let mut options = options(
            "[[projects]]\norganization = \"o\"\nproject = \"p\"\nhosts = [\"p.example\"]\n\
             [[projects]]\norganization = \"o\"\nproject = \"q\"\nhosts = [\"q.example\"]\n",
        );
        for (project, key) in options.projects.iter_mut().zip([KEY.1, OTHER.1]) {
            project.keys = vec![ServiceKey { name: "backend".to_owned(), digest: digest(key.as_bytes()) }];
        }
        let live = Live::default();
        let shared = live.enforce(&options, &mut Encoders::default(), STOP);
        let (version, body, fields) = (Version::Http11, BodyLength::None, fields.to_vec());
        let head = Head { method: "GET", target: "/", version, fields, body, keep_alive: true, expects_continue: false };
        match Caller::judge(&head, &live, &shared, Now::default()) {
            Ok(Caller::Service { project, claims }) => {
                assert_eq!(project.options.project, claims.project);
                Ok(claims.project)
            }
            Ok(Caller::Bearer(_)) => Ok("bearer".to_owned()),
            Err(response) => {
                assert!(!response.close, "the connection may serve the next request");
                Err((response.status, String::from_utf8(response.body).unwrap()))
            }
        }
    }

    fn refused(status: u16, text: &str) -> Result<String, (u16, String)> {
        Err((status, format!("{{\"error\":\"{text}\"}}")))
    }

    #[test]
    fn a_service_key_counts_in_either_field_and_for_its_project_only() {
        let bearer = ("authorization", "bearer backend-key-of-o-p");
        assert_eq!(judge(&[KEY, ORGANIZATION, PROJECT]), Ok("p".to_owned()));
        assert_eq!(judge(&[bearer, ORGANIZATION, PROJECT]), Ok("p".to_owned()));
        assert_eq!(judge(&[KEY, ("Host", "p.example")]), Ok("p".to_owned()));
        assert_eq!(judge(&[OTHER, ORGANIZATION, PROJECT]), refused(403, "Forbidden"));
        assert_eq!(judge(&[KEY, ("Host", "q.example")]), refused(403, "Forbidden"));
        assert_eq!(judge(&[KEY, ORGANIZATION]), refused(403, "Forbidden"));
    }

    #[test]
    fn an_unknown_key_comes_before_everything_that_the_names_say() {
        let unknown = refused(401, "Invalid credentials");
        let long = "o".repeat(129);
        for other in [&[][..], &[ORGANIZATION, PROJECT], &[("x-m2-organization", long.as_str())]] {
            for credentials in [&[][..], &[("x-api-key", "backend-key-of-o-r")], &[("authorization", "Basic YTpi")]] {
                assert_eq!(judge(&[credentials, other].concat()), unknown, "{credentials:?} {other:?}");
            }
            let token = ("authorization", "Bearer AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
            assert_eq!(judge(&[&[token], other].concat()), Ok("bearer".to_owned()), "{other:?}");
            assert_eq!(judge(&[&[("authorization", "Bearer some-token")], other].concat()), unknown, "{other:?}");
        }
        assert_eq!(judge(&[KEY]), refused(400, "Missing x-m2-organization"));
        assert_eq!(judge(&[KEY, PROJECT]), refused(400, "Missing x-m2-organization"));
        assert_eq!(judge(&[KEY, ORGANIZATION, ("x-m2-world-id", "w")]), refused(400, "Missing x-m2-project"));
        assert_eq!(judge(&[KEY, ("x-m2-organization", &long)]), refused(400, "Invalid header value"));
        let conflict = refused(400, "Conflicting headers");
        assert_eq!(judge(&[KEY, ORGANIZATION, ("x-m2-organization-id", "b")]), conflict);
        assert_eq!(judge(&[KEY, ("authorization", "Bearer some-token"), ORGANIZATION, PROJECT]), conflict);
    }
}
