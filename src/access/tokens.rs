//! Tokens that the server issues, ids of records and salts: made from one seed, none of them twice.

use super::digest;
use crate::exchange::TokenDigest;
use crate::record::RecordId;
use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Makes tokens, ids and salts that nobody can guess, none of them twice.
pub struct Source {
    seed: [u8; 32],
    made: AtomicU64,
}

impl Source {
    /// `seed` has to be random, and of this process only: who knows it knows every token.
    pub fn new(seed: [u8; 32]) -> Source {
        Source { seed, made: AtomicU64::new(0) }
    }

    /// 43 characters of base64url: 32 bytes.
    pub fn token(&self) -> String {
        BASE64URL_NOPAD.encode(&self.next(b"token"))
    }

    pub fn record_id(&self) -> RecordId {
        RecordId::from_random(self.bytes(b"record"))
    }

    /// For one password.
    pub fn salt(&self) -> [u8; 16] {
        self.bytes(b"salt")
    }

    fn bytes(&self, of: &[u8]) -> [u8; 16] {
        self.next(of).first_chunk().copied().expect("32 bytes hold 16")
    }

    fn next(&self, of: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.seed).expect("a key of any length does");
        mac.update(of);
        mac.update(&self.made.fetch_add(1, Relaxed).to_be_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// What the hub knows a token by, if it looks like one: 32 bytes in base64url.
pub fn issued(token: &str) -> Option<TokenDigest> {
    let bytes = (token.len() == 43).then(|| BASE64URL_NOPAD.decode(token.as_bytes()).ok()).flatten()?;
    (bytes.len() == 32).then(|| TokenDigest(digest(token.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_43_characters_that_never_come_twice() {
        let source = Source::new([1; 32]);
        let (first, second, other) = (source.token(), source.token(), Source::new([2; 32]).token());
        for token in [&first, &second, &other] {
            assert_eq!(token.len(), 43);
            assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'), "{token}");
            assert!(issued(token).is_some(), "{token}");
        }
        assert!(first != second && first != other);
    }

    #[test]
    fn ep_32_ids_are_version_4_uuids() {
        let source = Source::new([1; 32]);
        let ids: Vec<u128> = (0..1000).map(|_| source.record_id().0).collect();
        let (all, any) = ids.iter().fold((u128::MAX, 0), |(all, any), id| (all & id, any | id));
        let fixed = 0xf_u128 << 76 | 0b11 << 62;
        assert_eq!((all, any), (4 << 76 | 0b10 << 62, !fixed | 4 << 76 | 0b10 << 62), "every other bit is random");
        let text = format!("{:032x}", ids[0]);
        assert!(&text[12..13] == "4" && "89ab".contains(&text[16..17]), "{text}");
    }
}
