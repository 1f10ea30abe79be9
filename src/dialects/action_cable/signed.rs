//! Kind `signed`: a stream's name that whoever holds a secret has signed, or a public one.

use super::channel::Reject;
use super::identifier::{Identifier, Value};
use super::options::ChannelOptions;
use crate::json;
use crate::message::TopicName;
use data_encoding::{BASE64, HEXLOWER};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::fmt;
use subtle::{Choice, ConstantTimeEq as _};

/// Between the name and its digest; no base64 holds it.
const SEPARATOR: &str = "--";

/// A secret, ready to sign and to verify.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    pub fn new(secret: &[u8]) -> SigningKey {
        SigningKey(Hmac::new_from_slice(secret).expect("HMAC takes a key of any length"))
    }

    /// Lowercase hexadecimal digits.
    fn digest(&self, text: &str) -> String {
        HEXLOWER.encode(&self.0.clone().chain_update(text).finalize().into_bytes())
    }

    /// What publishers present where a secret but no publish key is configured.
    pub fn broadcast_key(&self) -> String {
        self.digest("broadcast-cable")
    }

    /// The signed form of a stream's name.
    #[cfg(any(test, fuzzing))]
    pub fn sign(&self, stream: &str) -> String {
        let name = BASE64.encode(super::identifier::token(stream).as_bytes());
        let digest = self.digest(&name);
        [&name, SEPARATOR, &digest].concat()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SigningKey")
    }
}

/// The name that one of the keys has signed.
///
/// Tries every key on the text as received before it decodes any of it, so that time tells nothing of the keys.
pub fn verify(keys: &[SigningKey], signed: &str) -> Option<String> {
    let (name, digest) = signed.split_once(SEPARATOR)?;
    let mut verified = Choice::from(0);
    for key in keys {
        verified |= key.digest(name).as_bytes().ct_eq(digest.as_bytes());
    }
    if !bool::from(verified) {
        return None;
    }
    // The decoder takes several texts with padding in a row for one.
    if name.trim_end_matches('=').contains('=') {
        return None;
    }
    let text = String::from_utf8(BASE64.decode(name.as_bytes()).ok()?).ok()?;
    json::string(&text)
}

/// Which names need no signature.
#[derive(Clone, Debug, Default)]
pub struct PublicStreams {
    pub on: bool,
    /// None listed: no name.
    pub prefixes: Vec<Box<str>>,
}

impl PublicStreams {
    fn allow(&self, name: &str) -> bool {
        self.on && self.prefixes.iter().any(|prefix| name.starts_with(&**prefix))
    }
}

/// A channel of this kind.
#[derive(Debug)]
pub struct Signed {
    param: Box<str>,
    keys: Vec<SigningKey>,
    public: PublicStreams,
}

impl Signed {
    /// # Errors
    /// The key of the channel whose value cannot be, and what is wrong with it.
    pub fn new(of: &ChannelOptions, keys: Vec<SigningKey>, public: PublicStreams) -> Result<Signed, (&'static str, String)> {
        let param = of.param.as_deref().unwrap_or("signed_stream_name");
        if ["", "channel", "key", "stream_name"].contains(&param) {
            return Err(("param", "must be a name of its own".to_owned()));
        }
        Ok(Signed { param: param.into(), keys, public })
    }

    /// # Errors
    /// [`Reject::Signature`] unless the signed name verifies or, without one, the public name is allowed.
    pub fn stream(&self, identifier: &Identifier) -> Result<TopicName, Reject> {
        let given = |name: &str| match identifier.param(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(Value::Integer(_) | Value::Other) => Err(Reject::Signature),
        };
        if let Some(signed) = given(&self.param)? {
            let name = verify(&self.keys, signed).ok_or(Reject::Signature)?;
            return Ok(TopicName::from(name.as_str()));
        }
        let name = given("stream_name")?.filter(|name| self.public.allow(name)).ok_or(Reject::Signature)?;
        Ok(TopicName::from(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTORS: [(&str, &str); 2] = [
        ("chat/2023", "ImNoYXQvMjAyMyI=--2b2e054b6413bf3bc7e8bbad2f68962aa2ba19821800ccbd8de6fd7314e8320c"),
        ("posts_1", "InBvc3RzXzEi--8b0dd269cc00bcef22355b7d0ff091db529c73cf2a53bdd4b4918e7a09a6599c"),
    ];

    fn keys(secrets: &[&str]) -> Vec<SigningKey> {
        secrets.iter().map(|secret| SigningKey::new(secret.as_bytes())).collect()
    }

    fn signed(of: &str, public: PublicStreams) -> Signed {
        Signed::new(&toml::from_str(of).unwrap(), keys(&["s3Krit"]), public).unwrap()
    }

    fn ask(signed: &Signed, params: &str) -> Result<String, Reject> {
        let identifier = Identifier::parse(&format!(r#"{{"channel":"$pubsub"{params}}}"#)).unwrap();
        signed.stream(&identifier).map(|stream| stream.to_string())
    }

    #[test]
    fn ac_75_both_vectors_verify_and_any_changed_byte_does_not() {
        let keys = keys(&["s3Krit"]);
        for (name, signed) in VECTORS {
            assert_eq!(verify(&keys, signed).as_deref(), Some(name));
            assert_eq!(keys[0].sign(name), signed);
            for at in 0..signed.len() {
                for flip in [1, 2, 32] {
                    let mut changed = signed.as_bytes().to_vec();
                    changed[at] ^= flip;
                    let changed = String::from_utf8(changed).unwrap();
                    assert_eq!(verify(&keys, &changed), None, "{changed}");
                }
                assert_eq!(verify(&keys, &signed[..at]), None);
            }
            for changed in [format!("{signed} "), format!("{signed}00"), signed.to_uppercase(), signed.replacen("--", "-", 1)] {
                assert_eq!(verify(&keys, &changed), None, "{changed}");
            }
        }
    }

    #[test]
    fn every_secret_of_the_list_verifies_and_none_verifies_nothing() {
        let signed = VECTORS[0].1;
        assert!(verify(&keys(&["new", "s3Krit"]), signed).is_some() && verify(&keys(&["s3Krit", "old"]), signed).is_some());
        assert!(verify(&keys(&["new"]), signed).is_none() && verify(&[], signed).is_none());
    }

    #[test]
    fn what_was_signed_must_be_base64_of_a_json_string() {
        let keys = keys(&["s3Krit"]);
        let sealed = |name: &str| format!("{name}--{}", keys[0].digest(name));
        for text in ["17", "[\"a\"]", "a", "", "\"a", "\"\\ud800\"", "\"a\" b"] {
            assert_eq!(verify(&keys, &sealed(&BASE64.encode(text.as_bytes()))), None, "{text}");
        }
        for bad in ["ImEi!", "ImEi=", "Im Ei", "", "InBvc3RzIg", "ImE_Ig==", "Ig==Mg==Ig=="] {
            assert_eq!(verify(&keys, &sealed(bad)), None, "{bad}");
        }
        assert_eq!(verify(&keys, &sealed(&BASE64.encode(br#" "\u0041\"" "#))).as_deref(), Some("A\""));
    }

    #[test]
    fn the_broadcast_key_is_derived() {
        let key = "a239a7ca182c90fc32bdedf73703d271388cf433843affffd3a5e757041fc716";
        assert_eq!(SigningKey::new(b"s3Krit").broadcast_key(), key);
    }

    #[test]
    fn the_signed_name_decides_where_both_are_given() {
        let public = PublicStreams { on: true, prefixes: vec!["chat/".into()] };
        let channel = signed("", public);
        let (name, good) = VECTORS[1];
        assert_eq!(ask(&channel, &format!(r#","signed_stream_name":"{good}","stream_name":"chat/1""#)).unwrap(), name);
        for bad in [r#","signed_stream_name":"x","stream_name":"chat/1""#, r#","signed_stream_name":5,"stream_name":"chat/1""#] {
            assert_eq!(ask(&channel, bad), Err(Reject::Signature), "{bad}");
        }
        for empty in [r#","signed_stream_name":"""#, r#","signed_stream_name":null"#, ""] {
            assert_eq!(ask(&channel, &format!(r#"{empty},"stream_name":"chat/1""#)).unwrap(), "chat/1");
            assert_eq!(ask(&channel, empty), Err(Reject::Signature));
        }
    }

    #[test]
    fn ac_75_a_public_name_needs_the_switch_and_a_prefix() {
        let ask_public = |on, prefixes: &[&str], name: &str| {
            let prefixes = prefixes.iter().map(|&prefix| prefix.into()).collect();
            ask(&signed("", PublicStreams { on, prefixes }), &format!(r#","stream_name":{name}"#)).is_ok()
        };
        assert!(ask_public(true, &["chat/"], r#""chat/1""#) && ask_public(true, &[""], r#""x""#));
        assert!(!ask_public(true, &["chat/"], r#""cha""#) && !ask_public(true, &["chat/"], "7"));
        assert!(!ask_public(true, &[], r#""chat/1""#) && !ask_public(false, &["chat/"], r#""chat/1""#));
    }

    #[test]
    fn other_libraries_have_their_own_param() {
        let channel = signed("param = \"token\"", PublicStreams::default());
        assert_eq!(ask(&channel, &format!(r#","token":"{}""#, VECTORS[0].1)).unwrap(), "chat/2023");
        assert_eq!(ask(&channel, &format!(r#","signed_stream_name":"{}""#, VECTORS[0].1)), Err(Reject::Signature));
        for bad in ["", "channel", "stream_name"] {
            assert!(
                Signed::new(&toml::from_str(&format!("param = \"{bad}\"")).unwrap(), vec![], PublicStreams::default()).is_err()
            );
        }
    }
}
