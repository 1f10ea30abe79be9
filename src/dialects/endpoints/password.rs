//! Passwords as argon2id hashes. Each call takes tens of milliseconds and 19 MiB: never on a reactor or the hub.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _};

/// KiB that a hash from the configuration may ask for: 256 MiB.
const MEMORY_MAX: u32 = 256 << 10;
const PASSES_MAX: u32 = 100;

/// Of a password that nobody has: what a login with an unknown name is compared with, so that it takes as long.
pub const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Whether the text is a hash in the PHC form that [`verify`] can take, at a bearable price.
pub fn is_hash(text: &str) -> bool {
    let Ok(hash) = PasswordHash::new(text) else { return false };
    let Ok(params) = Params::try_from(&hash) else { return false };
    hash.algorithm.as_str() == Algorithm::Argon2id.as_str()
        && hash.version.is_none_or(|version| version == 19)
        && hash.salt.is_some()
        && hash.hash.is_some()
        && params.m_cost() <= MEMORY_MAX
        && params.t_cost() <= PASSES_MAX
}

/// The hash of a new password in the PHC form, with the crate's default parameters. Each password has a salt of its own.
pub fn hash(password: &str, salt: [u8; 16]) -> String {
    let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
    hash.expect("any password and 16 bytes of salt can be hashed").to_string()
}

/// Whether it is the password of this hash.
pub fn verify(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash_alone() {
        let hashed = hash("correct horse", [7; 16]);
        assert!(hashed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && !hashed.contains("horse"), "{hashed}");
        assert!(is_hash(&hashed) && verify("correct horse", &hashed) && !verify("correct hors", &hashed));
        assert_ne!(hashed, hash("correct horse", [8; 16]));
        assert!(is_hash(NOBODYS) && !verify("", NOBODYS));
    }

    #[test]
    fn ep_74_nobodys_password_costs_what_others_cost() {
        let cost = |text: &str| {
            let hash = PasswordHash::new(text).unwrap();
            let bytes = |bytes: &[u8]| bytes.len();
            let lengths =
                (hash.salt.as_ref().map(|salt| bytes(salt.as_ref())), hash.hash.as_ref().map(|hash| hash.as_bytes().len()));
            (hash.algorithm.as_str().to_owned(), hash.version, Params::try_from(&hash).unwrap(), lengths)
        };
        assert_eq!(cost(NOBODYS), cost(&hash("correct horse", [7; 16])));
    }

    #[test]
    fn what_cannot_be_verified_is_no_hash() {
        let good = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        assert!(is_hash(good));
        for bad in [
            "",
            "secret",
            "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=19456,t=2,p=1",
            &good.replace("argon2id", "argon2i"),
            &good.replace("argon2id", "scrypt"),
            &good.replace("v=19", "v=16"),
            &good.replace("m=19456", "m=1"),
            &good.replace("m=19456", "m=4000000"),
            &good.replace("t=2", "t=0"),
            &good.replace("t=2", "t=1000"),
            &format!("{good}\n"),
        ] {
            assert!(!is_hash(bad), "{bad}");
        }
    }
}
