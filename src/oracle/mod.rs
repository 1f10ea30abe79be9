//! What must hold whatever bytes come: one function per fuzz target.
//!
//! `fuzz/` calls them with what it invents; the unit tests call them with the committed corpus and with mutations of it from
//! a fixed seed, so that no gate depends on nightly.

mod base58_headers;
mod cable_broadcast;
mod cable_command;
mod cable_events;
mod cable_sensitive;
mod cable_signed;
mod cookies;
mod endpoint_path;
mod http_body;
mod http_head;
mod hub;
mod json_payload;
mod log_replay;
mod merge_patch;
mod multipart;
mod origin;
mod push_stream_request;
mod query;
mod resource_request;
mod utf8;
mod websocket_decoder;

pub use base58_headers::base58_headers;
pub use cable_broadcast::cable_broadcast;
pub use cable_command::cable_command;
pub use cable_events::cable_events;
pub use cable_sensitive::cable_sensitive;
pub use cable_signed::cable_signed;
pub use cookies::cookies;
pub use endpoint_path::endpoint_path;
pub use http_body::http_body;
pub use http_head::http_head;
pub use hub::hub;
pub use json_payload::json_payload;
pub use log_replay::log_replay;
pub use merge_patch::merge_patch;
pub use multipart::multipart;
pub use origin::origin;
pub use push_stream_request::push_stream_request;
pub use query::query;
pub use resource_request::resource_request;
pub use utf8::utf8;
pub use websocket_decoder::websocket_decoder;

/// Xorshift: the same numbers for the same seed, everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Seeded by the input itself (FNV-1a), so that a saved input always runs the same way.
    pub(crate) fn of(bytes: &[u8]) -> Random {
        Random::new(
            bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)),
        )
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}

/// Ways to receive `len` bytes: whole, one by one, and twice at random. Each is a list of growing ends, the last is `len`.
pub(crate) fn cuttings(len: usize, random: &mut Random) -> Vec<Vec<usize>> {
    let mut cuttings = vec![vec![len], (0..=len).collect()];
    for longest in [9, 80] {
        let mut ends = vec![0];
        while let Some(&end) = ends.last().filter(|&&end| end < len) {
            ends.push(len.min(end + 1 + random.below(longest)));
        }
        cuttings.push(ends);
    }
    cuttings
}

/// Runs every file of `fuzz/corpus/<target>/`.
#[cfg(test)]
pub(crate) fn replay(target: &str, oracle: fn(&[u8])) {
    for bytes in corpus(target) {
        oracle(&bytes);
    }
}

/// The committed inputs in the order of their names. There is at least one.
#[cfg(test)]
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = folder.read_dir().expect("the corpus is there").map(|file| file.expect("readable").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} holds no input", folder.display());
    files.iter().map(|file| std::fs::read(file).expect("readable")).collect()
}

/// Calls `oracle` with `runs` mutations of the corpus; `words` are what is worth inserting. Returns how often it said true.
#[cfg(test)]
pub(crate) fn mutate(target: &str, words: &[&[u8]], runs: u64, oracle: fn(&[u8]) -> bool) -> u64 {
    let corpus = corpus(target);
    let mut held = 0;
    for seed in 0..runs {
        let mut random = Random::new(seed);
        let mut bytes = corpus[random.below(corpus.len())].clone();
        bytes.truncate(1_000);
        for _ in 0..random.below(4) {
            let at = random.below(bytes.len() + 1);
            let end = bytes.len().min(at + 1 + random.below(8));
            match random.below(5) {
                0 => drop(bytes.splice(at..at, words[random.below(words.len())].iter().copied())),
                1 => drop(bytes.splice(at..end, words[random.below(words.len())].iter().copied())),
                2 => drop(bytes.drain(at..end)),
                3 => bytes.insert(at, random.below(256) as u8),
                _ if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
                _ => {}
            }
        }
        held += u64::from(oracle(&bytes));
    }
    held
}
