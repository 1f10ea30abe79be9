//! The marker inside each payload: `T=<ns>,<number>;`, found anywhere in a frame, so that every dialect's wrapping works.
use std::io::Write;

use memchr::memmem::Finder;

/// Shortest payload (bytes) that holds any marker: two quotes, `T=`, two numbers of 20 digits, `,` and `;`.
pub const PAYLOAD_BYTES_MIN: usize = 2 + 2 + 20 + 1 + 20 + 1;

#[derive(Debug, PartialEq)]
pub struct Marker {
    /// When the message was meant to leave, in ns of the run's clock.
    pub intended: u64,
    pub number: u64,
}

/// Replaces `payload` by a JSON string of exactly `bytes` bytes, at least [`PAYLOAD_BYTES_MIN`], that starts with the marker.
pub fn write(payload: &mut Vec<u8>, marker: &Marker, bytes: usize) {
    payload.clear();
    write!(payload, "\"T={},{};", marker.intended, marker.number).expect("a Vec takes every byte");
    payload.resize(bytes.max(PAYLOAD_BYTES_MIN) - 1, b'x');
    payload.push(b'"');
}

/// Reads the markers of a frame, in their order.
pub struct Reader(Finder<'static>);

impl Reader {
    pub fn new() -> Self {
        Reader(Finder::new("T="))
    }

    pub fn read<'a>(&'a self, frame: &'a [u8]) -> impl Iterator<Item = Marker> + 'a {
        self.0.find_iter(frame).filter_map(|at| {
            let (intended, rest) = digits(&frame[at + 2..], b',')?;
            let (number, _) = digits(rest, b';')?;
            Some(Marker { intended, number })
        })
    }
}

fn digits(bytes: &[u8], end: u8) -> Option<(u64, &[u8])> {
    let mut value: u64 = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'0'..=b'9' => value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?,
            byte if byte == end && at > 0 => return Some((value, &bytes[at + 1..])),
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_read_back_from_a_payload_of_the_asked_length() {
        for (intended, number, bytes) in [(0, 0, 48), (1_234_567, 42, 128), (u64::MAX, u64::MAX, PAYLOAD_BYTES_MIN)] {
            let mut payload = vec![b'?'; 3];
            write(&mut payload, &Marker { intended, number }, bytes);
            assert_eq!(payload.len(), bytes);
            assert!(serde_json::from_slice::<String>(&payload).is_ok());
            assert_eq!(Reader::new().read(&payload).next(), Some(Marker { intended, number }));
        }
    }

    #[test]
    fn text_that_only_looks_like_a_marker_is_passed_over() {
        let reader = Reader::new();
        assert_eq!(
            reader.read(b"T=,1; T=1;2, T=x T=7,9; T=8,10;").collect::<Vec<_>>(),
            [(7, 9), (8, 10)].map(|(intended, number)| Marker { intended, number })
        );
        for frame in ["", "T=", "T=5", "T=5,", "T=5,6", "T=99999999999999999999999,1;"] {
            assert_eq!(reader.read(frame.as_bytes()).next(), None, "{frame}");
        }
    }
}
