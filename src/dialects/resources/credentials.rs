//! Whom a credential stands for in a project: keys and signatures are judged here, issued tokens by the hub, which knows them.

use super::claims::Credential;
use super::handshake::Reject;
use super::jwt;
use super::permissions::Principal;
use super::shared::{Live, Project, Proof};
use crate::access::tokens::issued;
use crate::access::{digest, find};
use crate::clock::Now;
use crate::exchange::{Grant, TokenDigest};

/// What a credential comes to.
pub enum Judged {
    Is(Known),
    /// It may be an issued token: `Question::Grant` tells, and [`granted`] what that means.
    Asks(TokenDigest),
    Rejected(Reject),
}

/// Somebody who is known.
pub struct Known {
    pub principal: Principal,
    pub proof: Proof,
    /// Unix milliseconds from which on it counts no longer; `u64::MAX`: it always does.
    pub until: u64,
}

/// Rows 14 and 15 for what can be told without the hub.
pub fn judge(live: &Live, project: &Project, credential: &Credential, now: Now) -> Judged {
    match credential {
        Credential::Malformed => Judged::Rejected(Reject::InvalidCredentials),
        Credential::ApiKey(key) => service(live, project, key).unwrap_or(Judged::Rejected(Reject::InvalidCredentials)),
        Credential::Bearer(token) => service(live, project, token).unwrap_or_else(|| user(project, token, now)),
    }
}

/// Likewise, if it is not known which project it is for: nobody is let in.
pub fn judge_without_project(live: &Live, credential: &Credential) -> Judged {
    let (secret, token) = match credential {
        Credential::Malformed => return Judged::Rejected(Reject::InvalidCredentials),
        Credential::ApiKey(key) => (key, None),
        Credential::Bearer(token) => (token, issued(token)),
    };
    match token {
        _ if is_service_key(live, secret) => Judged::Rejected(Reject::ProjectNotAllowed),
        Some(token) => Judged::Asks(token),
        None => Judged::Rejected(Reject::InvalidCredentials),
    }
}

/// Likewise, for the token of a user.
pub fn user(project: &Project, token: &str, now: Now) -> Judged {
    match issued(token) {
        Some(digest) => Judged::Asks(digest),
        None => signed(project, token, now),
    }
}

/// Rows 14 and 15 for an issued token, once the hub has said what it stands for.
///
/// # Errors
/// It is unknown, or of another project.
pub fn granted(project: &Project, digest: TokenDigest, grant: Option<Grant>) -> Result<Known, Reject> {
    let grant = grant.ok_or(Reject::InvalidCredentials)?;
    if *grant.group != *project.group {
        return Err(Reject::ProjectNotAllowed);
    }
    Ok(Known { principal: Principal::User(grant.user.into()), proof: Proof::Token(digest), until: grant.until })
}

/// A service key, of this project or of another.
fn service(live: &Live, project: &Project, key: &str) -> Option<Judged> {
    let digest = digest(key.as_bytes());
    if find(&project.options.keys, &digest, |key| &key.digest).is_some() {
        return Some(Judged::Is(Known { principal: Principal::Service, proof: Proof::Key(digest), until: u64::MAX }));
    }
    is_service_key(live, key).then_some(Judged::Rejected(Reject::ProjectNotAllowed))
}

/// Of any project.
fn is_service_key(live: &Live, key: &str) -> bool {
    let digest = digest(key.as_bytes());
    let keepers = live.projects();
    keepers.iter().filter(|project| find(&project.options.keys, &digest, |key| &key.digest).is_some()).count() > 0
}

fn signed(project: &Project, token: &str, now: Now) -> Judged {
    let secret = project.options.jwt_secret.as_ref().filter(|_| jwt::is_jwt(token));
    let Some(subject) = secret.and_then(|secret| jwt::verify(token, secret, now.unix_micros / 1_000)) else {
        return Judged::Rejected(Reject::InvalidCredentials);
    };
    let is = |claimed: Option<&String>, configured: &str| claimed.is_none_or(|claimed| claimed == configured);
    if !is(subject.organization.as_ref(), &project.options.organization)
        || !is(subject.project.as_ref(), &project.options.project)
    {
        return Judged::Rejected(Reject::ProjectNotAllowed);
    }
    Judged::Is(Known { principal: Principal::User(subject.user), proof: Proof::Unrevokable, until: subject.until })
}

#[cfg(test)]
mod tests {
    use super::super::options::ServiceKey;
    use super::super::testing::{STOP, options, signed};
    use super::*;
    use crate::session::Encoders;
    use data_encoding::BASE64URL_NOPAD;
    use std::sync::Arc;

    const NOW: Now = Now { micros: 0, unix_micros: 1_795_191_466_000_000 };

    fn projects() -> (Live, Arc<Project>) {
        let mut options = options(
            "[[projects]]\norganization = \"o\"\nproject = \"p\"\njwt_secret = \"0123456789abcdef\"\n\
             [[projects]]\norganization = \"o\"\nproject = \"q\"\n",
        );
        for (project, key) in options.projects.iter_mut().zip(["key of p", "key of q"]) {
            project.keys = vec![ServiceKey { name: "k".to_owned(), digest: digest(key.as_bytes()) }];
        }
        let live = Live::default();
        let shared = live.enforce(&options, &mut Encoders::default(), STOP);
        let project = live.project(&shared, "o", "p").unwrap();
        (live, project)
    }

    fn outcome(credential: Credential) -> Result<Principal, Option<Reject>> {
        let (live, project) = projects();
        match judge(&live, &project, &credential, NOW) {
            Judged::Is(known) => Ok(known.principal),
            Judged::Asks(_) => Err(None),
            Judged::Rejected(reject) => Err(Some(reject)),
        }
    }

    fn bearer(token: &str) -> Result<Principal, Option<Reject>> {
        outcome(Credential::Bearer(token.to_owned()))
    }

    #[test]
    fn rs_44_a_service_key_is_of_its_project_alone_in_either_header() {
        for credential in [|key: &str| Credential::ApiKey(key.to_owned()), |key: &str| Credential::Bearer(key.to_owned())] {
            assert_eq!(outcome(credential("key of p")), Ok(Principal::Service));
            assert_eq!(outcome(credential("key of q")), Err(Some(Reject::ProjectNotAllowed)));
            assert_eq!(outcome(credential("key of r")), Err(Some(Reject::InvalidCredentials)));
        }
        assert_eq!(outcome(Credential::Malformed), Err(Some(Reject::InvalidCredentials)));
    }

    #[test]
    fn what_looks_like_an_issued_token_is_asked_of_the_hub() {
        let token = BASE64URL_NOPAD.encode(&[255; 32]);
        assert_eq!(bearer(&token), Err(None));
        assert_eq!(outcome(Credential::ApiKey(token.clone())), Err(Some(Reject::InvalidCredentials)));
        assert_eq!(issued(&token), Some(TokenDigest(digest(token.as_bytes()))));
        for no in [&token[1..], &format!("{token}A"), &token.replace('_', "/"), &format!("{}9", &token[1..])] {
            assert_eq!(bearer(no), Err(Some(Reject::InvalidCredentials)), "{no}");
        }
        let (_, project) = projects();
        let grant = |group: &str| Some(Grant { group: group.into(), user: "u1".into(), until: 5 });
        let of = |grant| granted(&project, TokenDigest([1; 32]), grant).map(|known| (known.principal, known.until));
        assert_eq!(of(grant(&project.group)), Ok((Principal::User("u1".to_owned()), 5)));
        assert_eq!(of(grant("$resource\u{1f}o\u{1f}q\u{1f}")), Err(Reject::ProjectNotAllowed));
        assert_eq!(of(None), Err(Reject::InvalidCredentials));
    }

    #[test]
    fn rs_62_a_signature_is_for_the_project_that_it_names() {
        let token = |claims: &str| signed(r#"{"alg":"HS256"}"#, claims);
        let user = Ok(Principal::User("u1".to_owned()));
        assert_eq!(bearer(&token(r#"{"sub":"u1","exp":1795191467}"#)), user);
        assert_eq!(bearer(&token(r#"{"sub":"u1","exp":1795191467,"org":"o","project":"p"}"#)), user);
        for other in [r#""org":"x""#, r#""project":"q""#, r#""org":"o","project":"""#] {
            let claims = format!(r#"{{"sub":"u1","exp":1795191467,{other}}}"#);
            assert_eq!(bearer(&token(&claims)), Err(Some(Reject::ProjectNotAllowed)), "{other}");
        }
        assert_eq!(bearer(&token(r#"{"sub":"u1","exp":1795191466}"#)), Err(Some(Reject::InvalidCredentials)));
        let (live, _) = projects();
        let shared = live.enforce(&options("[[projects]]\norganization = \"o\"\n"), &mut Encoders::default(), STOP);
        let without = live.project(&shared, "o", "").unwrap();
        let credential = Credential::Bearer(token(r#"{"sub":"u1","exp":1795191467}"#));
        let judged = judge(&live, &without, &credential, NOW);
        assert!(matches!(judged, Judged::Rejected(Reject::InvalidCredentials)), "the project has no secret");
    }
}
