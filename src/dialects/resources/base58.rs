//! Base58 with the Bitcoin alphabet, decoded in limbs: the work is bounded by the bound of the text.

/// The longest text that is decoded; a longer one is refused before it is looked at.
pub const CHARACTERS_MAX: usize = 4096;

const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// The value of each ASCII character; [`NONE`] if it has none.
const VALUES: [u8; 128] = {
    let mut values = [NONE; 128];
    let mut value = 0;
    while value < ALPHABET.len() {
        values[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    values
};
const NONE: u8 = 0xff;

/// 58^10 is the largest power of 58 below 2^64.
const GROUP: usize = 10;

/// The bytes that a text stands for; `None` if it is too long or has a character outside the alphabet.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    if text.len() > CHARACTERS_MAX {
        return None;
    }
    let values = text.bytes().map(value).collect::<Option<Vec<u8>>>()?;
    let zeros = values.iter().take_while(|&&value| value == 0).count();
    // Base 2^64, the least significant limb first.
    let mut limbs: Vec<u64> = Vec::new();
    for group in values[zeros..].chunks(GROUP) {
        let (mut carry, mut power) = (0_u64, 1_u64);
        for &value in group {
            carry = carry * 58 + u64::from(value);
            power *= 58;
        }
        for limb in &mut limbs {
            let sum = u128::from(*limb) * u128::from(power) + u128::from(carry);
            *limb = sum as u64;
            carry = (sum >> 64) as u64;
        }
        if carry > 0 {
            limbs.push(carry);
        }
    }
    let mut bytes = vec![0; zeros];
    let mut significant = limbs.iter().rev().flat_map(|limb| limb.to_be_bytes()).skip_while(|&byte| byte == 0);
    bytes.extend(&mut significant);
    Some(bytes)
}

fn value(character: u8) -> Option<u8> {
    VALUES.get(usize::from(character)).copied().filter(|&value| value != NONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::time::Instant;

    #[derive(Deserialize)]
    struct Vector {
        name: String,
        plain_hex: Option<String>,
        base58: String,
    }

    fn vectors() -> Vec<Vector> {
        serde_json::from_str(include_str!("vectors/base58.json")).unwrap()
    }

    #[test]
    fn the_vectors_decode_to_their_bytes() {
        let vectors = vectors();
        assert_eq!(vectors.len(), 16);
        for Vector { name, plain_hex, base58 } in vectors {
            let hex =
                |hex: String| (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect();
            assert_eq!(decode(&base58), plain_hex.map(hex), "{name}");
        }
    }

    #[test]
    fn each_leading_one_is_a_zero_byte() {
        assert_eq!(decode(""), Some(vec![]));
        assert_eq!(decode("1"), Some(vec![0]));
        assert_eq!(decode("11"), Some(vec![0, 0]));
        assert_eq!(decode("112"), Some(vec![0, 0, 1]));
        assert_eq!(decode("21"), Some(vec![58]));
        assert_eq!(decode("5R"), Some(vec![1, 0]));
    }

    #[test]
    fn whatever_is_outside_the_alphabet_has_no_bytes() {
        for byte in 0..=0x7f_u8 {
            let known = ALPHABET.contains(&byte);
            assert_eq!(decode(&format!("2{}2", char::from(byte))).is_some(), known, "{byte:#x}");
        }
        assert_eq!(decode("é"), None);
        assert_eq!(decode("z z"), None);
    }

    /// RS-12, the half that needs no socket.
    #[test]
    fn rs_12_more_than_4096_characters_are_not_decoded() {
        assert!(decode(&"z".repeat(CHARACTERS_MAX)).is_some());
        assert_eq!(decode(&"z".repeat(CHARACTERS_MAX + 1)), None);
        assert_eq!(decode(&"1".repeat(CHARACTERS_MAX + 1)), None);
    }

    #[test]
    fn rs_13_random_texts_decode_like_bs58() {
        let mut random = crate::oracle::Random::new(58);
        for round in 0..2_000 {
            let length = random.below(if round % 100 == 0 { CHARACTERS_MAX + 1 } else { 120 });
            let ones = random.below(4);
            let letters = (0..length).map(|at| if at < ones { '1' } else { char::from(ALPHABET[random.below(58)]) });
            let text: String = letters.collect();
            assert_eq!(decode(&text), bs58::decode(&text).into_vec().ok(), "{text}");
        }
        // The largest value of every length, which carries everywhere.
        for length in [9, 10, 11, 20, 21, 4095, 4096] {
            let text = "z".repeat(length);
            assert_eq!(decode(&text), bs58::decode(&text).into_vec().ok(), "{length}");
        }
    }

    /// The best of some tries: a machine that does other things meanwhile says nothing about the decoder.
    #[test]
    fn rs_13_the_longest_text_takes_less_than_a_millisecond() {
        let text = "z".repeat(CHARACTERS_MAX);
        let best = (0..50)
            .map(|_| {
                let begin = Instant::now();
                std::hint::black_box(decode(std::hint::black_box(&text)));
                begin.elapsed()
            })
            .min()
            .unwrap();
        // Without optimization it is about ten times slower.
        let most = if cfg!(debug_assertions) { 10 } else { 1 };
        assert!(best.as_micros() < most * 1_000, "{best:?}");
    }
}
