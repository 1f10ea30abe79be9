//! JSON web tokens signed with HMAC SHA-256 (RFC 7515, RFC 7519), and nothing else that calls itself one.

use super::name::is_user_id;
use crate::access::secret::Secret;
use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use sha2::Sha256;

/// Whom a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub user: String,
    /// Unix milliseconds from which on it counts no longer.
    pub until: u64,
    /// The project that it is for, as far as it says.
    pub organization: Option<String>,
    pub project: Option<String>,
}

/// The three parts of the compact form, none of which is decoded yet.
pub fn is_jwt(token: &str) -> bool {
    token.bytes().filter(|&byte| byte == b'.').count() == 2
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Names fields that must be understood: none is (RFC 7515, section 4.1.11).
    crit: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    /// Seconds, perhaps with a fraction.
    exp: f64,
    nbf: Option<f64>,
    org: Option<String>,
    project: Option<String>,
}

/// `None`: not signed with this secret by HS256, not valid at `now` (Unix milliseconds), or of nobody who can be a user.
pub fn verify(token: &str, secret: &Secret, now: u64) -> Option<Subject> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let header: Header = part(header)?;
    if header.alg != "HS256" || header.crit.is_some() {
        return None;
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_str().as_bytes()).expect("a key of any length does");
    mac.update(signed.as_bytes());
    // In constant time.
    mac.verify_slice(&BASE64URL_NOPAD.decode(signature.as_bytes()).ok()?).ok()?;
    let claims: Claims = part(claims)?;
    // What no integer holds becomes the nearest that one does.
    let (until, since) = ((claims.exp * 1e3) as u64, (claims.nbf.unwrap_or(0.0) * 1e3) as u64);
    let valid = is_user_id(&claims.sub) && now < until && since <= now;
    valid.then_some(Subject { user: claims.sub, until, organization: claims.org, project: claims.project })
}

/// A part that is a JSON object. Of a name that counts twice nobody can say which is meant.
fn part<T: DeserializeOwned>(text: &str) -> Option<T> {
    let json = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    // Where a struct is expected serde takes an array, too.
    json.iter().find(|byte| !byte.is_ascii_whitespace()).filter(|&&byte| byte == b'{')?;
    serde_json::from_slice(&json).ok()
}

#[cfg(test)]
mod tests {
    use super::super::testing::signed;
    use super::*;

    const NOW: u64 = 1_795_191_466_000;
    const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

    fn secret(text: &str) -> Secret {
        Secret::from(text)
    }

    fn verified(token: &str) -> Option<Subject> {
        assert!(is_jwt(token));
        verify(token, &secret("0123456789abcdef"), NOW)
    }

    fn claims(claims: &str) -> Option<Subject> {
        verified(&signed(HEADER, claims))
    }

    /// The example of RFC 7515, appendix A.1, but for its claims, which name nobody: header and signature are understood.
    #[test]
    fn the_rfcs_signature_is_understood() {
        let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let key = BASE64URL_NOPAD.decode(key.as_bytes()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(
            b"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
        );
        let signature = BASE64URL_NOPAD.encode(&mac.finalize().into_bytes());
        assert_eq!(signature, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        let header: Header = part("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9").unwrap();
        assert_eq!(header.alg, "HS256");
    }

    #[test]
    fn a_good_token_says_who_until_when_and_for_what() {
        let subject = claims(r#"{"sub":"u1","exp":1795191467,"nbf":1795191466,"iss":"x","aud":["y"]}"#).unwrap();
        assert_eq!((subject.user.as_str(), subject.until), ("u1", 1_795_191_467_000));
        assert_eq!((subject.organization, subject.project), (None, None));
        let subject = claims(r#"{"sub":"u1","exp":1795191466.5,"org":"o","project":""}"#).unwrap();
        assert_eq!((subject.until, subject.organization.as_deref()), (1_795_191_466_500, Some("o")));
        assert_eq!(subject.project.as_deref(), Some(""));
        assert_eq!(claims(r#"{"sub":"u1","exp":1e300}"#).unwrap().until, u64::MAX);
    }

    #[test]
    fn rs_62_whatever_is_not_exactly_hs256_is_refused() {
        let good = r#"{"sub":"u1","exp":1795191467}"#;
        assert!(verified(&signed(r#"{"alg":"HS256"}"#, good)).is_some());
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"None"}"#,
            r#"{"alg":"hs256"}"#,
            r#"{"alg":"HS384"}"#,
            r#"{"alg":"HS512"}"#,
            r#"{"alg":"RS256"}"#,
            r#"{"alg":"ES256"}"#,
            r#"{"alg":""}"#,
            r#"{"alg":null}"#,
            r#"{"alg":["HS256"]}"#,
            r#"{"typ":"JWT"}"#,
            r#"{"alg":"HS256","alg":"none"}"#,
            r#"{"alg":"none","alg":"HS256"}"#,
            r#"{"alg":"HS256","crit":["exp"]}"#,
            r#"["HS256",null]"#,
            r#""HS256""#,
            "",
        ] {
            assert_eq!(verified(&signed(header, good)), None, "{header}");
        }
        let token = signed(HEADER, good);
        let (text, signature) = token.rsplit_once('.').unwrap();
        for wrong in [
            String::new(),
            format!("{signature}="),
            signature[..42].to_owned(),
            signature[..signature.len() - 2].to_owned(),
            format!("{signature}A"),
            BASE64URL_NOPAD.encode(&[0; 32]),
        ] {
            assert_eq!(verified(&format!("{text}.{wrong}")), None, "{wrong}");
        }
        assert_eq!(verify(&token, &secret("0123456789abcdeF"), NOW), None);
        let other = signed(HEADER, r#"{"sub":"u2","exp":1795191467}"#);
        let (head, _) = text.split_once('.').unwrap();
        let body = other.split('.').nth(1).unwrap();
        assert_eq!(verified(&format!("{head}.{body}.{signature}")), None, "the signature of another text");
        for no in ["a.b", "a.b.c.d", "abc", ""] {
            assert!(!is_jwt(no), "{no}");
        }
    }

    #[test]
    fn rs_62_without_an_end_in_the_future_or_a_user_it_is_refused() {
        for no in [
            r#"{"sub":"u1"}"#,
            r#"{"sub":"u1","exp":null}"#,
            r#"{"sub":"u1","exp":"1795191467"}"#,
            r#"{"sub":"u1","exp":1795191466}"#,
            r#"{"sub":"u1","exp":-1}"#,
            r#"{"sub":"u1","exp":1795191467,"exp":1795191468}"#,
            r#"{"sub":"u1","exp":1795191467,"nbf":1795191466.001}"#,
            r#"{"sub":"u1","exp":1795191467,"nbf":"x"}"#,
            r#"{"sub":"World","exp":1795191467}"#,
            r#"{"sub":"a:b","exp":1795191467}"#,
            r#"{"sub":"","exp":1795191467}"#,
            r#"{"sub":5,"exp":1795191467}"#,
            r#"{"exp":1795191467}"#,
            r#"{"sub":"u1","exp":1795191467,"org":5}"#,
            r#"["u1",1795191467,null,null,null]"#,
        ] {
            assert_eq!(claims(no), None, "{no}");
        }
    }
}
