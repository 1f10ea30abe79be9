//! Signed stream names against HMAC and base64 written out (RFC 2104, RFC 4648).

use crate::dialects::action_cable::signed::{SigningKey, verify};
use sha2::{Digest as _, Sha256};

const SECRET: &[u8] = b"s3Krit";

/// A name verifies exactly when its digest is right and it is base64 of a JSON string.
pub fn cable_signed(bytes: &[u8]) {
    verifies_alike(bytes);
}

/// Says whether the text, with its right digest, was a name.
fn verifies_alike(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let keys = [SigningKey::new(b"other"), SigningKey::new(SECRET)];
    assert_eq!(verify(&keys, text), plainly(text), "{text:?}");
    assert_eq!(verify(&keys[..1], text), None, "{text:?}");
    // Any text can be the name of a stream.
    let signed = keys[1].sign(text);
    assert_eq!(verify(&keys, &signed).as_deref(), Some(text));
    let at = bytes.iter().map(|&byte| usize::from(byte)).sum::<usize>() % signed.len();
    let mut changed = signed.clone().into_bytes();
    changed[at] ^= 1;
    assert_eq!(verify(&keys, &String::from_utf8(changed).expect("ASCII stays ASCII")), None);
    // With its right digest, what is before it has to be what it should be.
    let sealed = format!("{text}--{}", hmac(text.as_bytes()));
    assert_eq!(verify(&keys, &sealed), plainly(&sealed), "{text:?}");
    verify(&keys, &sealed).is_some()
}

fn plainly(signed: &str) -> Option<String> {
    let at = signed.find("--")?;
    let (name, digest) = (&signed[..at], &signed[at + 2..]);
    (digest == hmac(name.as_bytes())).then(|| serde_json::from_slice(&base64(name)?).ok()).flatten()
}

fn hmac(text: &[u8]) -> String {
    let mut key = [0; 64];
    key[..SECRET.len()].copy_from_slice(SECRET);
    let inner = Sha256::new().chain_update(key.map(|byte| byte ^ 0x36)).chain_update(text).finalize();
    let outer = Sha256::new().chain_update(key.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize();
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn base64(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let groups = text.as_bytes().chunks_exact(4);
    if !groups.remainder().is_empty() {
        return None;
    }
    let last = groups.len().wrapping_sub(1);
    for (index, group) in groups.enumerate() {
        let padding = group.iter().rev().take_while(|&&byte| byte == b'=').count();
        if padding > 2 || padding > 0 && index != last {
            return None;
        }
        let mut number = 0;
        for &byte in &group[..4 - padding] {
            number = number << 6 | ALPHABET.iter().position(|&letter| letter == byte)? as u32;
        }
        number <<= 6 * padding;
        let taken = &number.to_be_bytes()[1..];
        if taken[3 - padding..].iter().any(|&spare| spare != 0) {
            return None;
        }
        bytes.extend_from_slice(&taken[..3 - padding]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{mutate, replay};

    #[test]
    fn the_corpus_verifies_alike() {
        replay("cable_signed", cable_signed);
    }

    #[test]
    fn ac_75_five_thousand_mutations_verify_alike() {
        let words: [&[u8]; 10] = [b"--", b"-", b"=", b"==", b"IiI=", b"ImEi", b"ImNoYXQvMjAyMyI=", b"+", b"/", b" "];
        let held = mutate("cable_signed", &words, 5_000, verifies_alike);
        assert!((100..4_900).contains(&held), "{held} were names");
    }
}
