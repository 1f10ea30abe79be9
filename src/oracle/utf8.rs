//! Text in parts is judged like text in one piece, and at the earliest byte.

use crate::websocket::utf8::{NotUtf8, Text};
use std::str::from_utf8;

/// Compares [`Text`] with `std::str::from_utf8` over the first 512 of `bytes`, cut everywhere.
///
/// # Panics
/// If they disagree.
pub fn utf8(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(512)];
    let impossible_after = impossible_after(bytes);
    for cut in 0..=bytes.len() {
        let mut text = Text::default();
        let taken = text.push(&bytes[..cut]);
        assert_eq!(taken.is_err(), impossible_after.is_some_and(|after| after <= cut), "the front of a cut at {cut}");
        if taken.is_ok() {
            let whole = text.push(&bytes[cut..]).and_then(|()| text.finish());
            assert_eq!(whole, from_utf8(bytes).map(str::to_owned).map_err(|_| NotUtf8), "cut at {cut}");
        }
    }
    let mut text = Text::default();
    let refused = bytes.chunks(1).position(|byte| text.push(byte).is_err());
    assert_eq!(refused.map(|at| at + 1), impossible_after, "byte by byte");
}

/// The size of the shortest beginning of `bytes` that nothing can complete.
fn impossible_after(bytes: &[u8]) -> Option<usize> {
    let good = from_utf8(bytes).err()?.valid_up_to();
    (good + 1..=bytes.len()).find(|&end| from_utf8(&bytes[good..end]).is_err_and(|error| error.error_len().is_some()))
}

#[cfg(test)]
mod tests {
    use super::utf8;

    #[test]
    fn every_sequence_of_three_bytes_that_matter() {
        // The bounds of all ranges of the table in RFC 3629, section 4.
        let bytes = [
            0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0,
            0xf1, 0xf3, 0xf4, 0xf5, 0xff,
        ];
        for first in bytes {
            for second in bytes {
                for third in bytes {
                    utf8(&[first, second, third, b'a']);
                    utf8(&[first, second, third, 0x80, 0x80]);
                }
            }
        }
    }

    #[test]
    fn the_corpus_holds() {
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/utf8")).unwrap();
        let replayed = files.map(|file| utf8(&std::fs::read(file.unwrap().path()).unwrap())).count();
        assert!(replayed > 0);
    }
}
