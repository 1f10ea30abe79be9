//! Versions of documents: milliseconds that only grow, written so that text order is time order (specification, section 6).

use std::fmt;

/// A moment of the years 0 to 9999, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(i64);

/// Bytes of a version's text.
pub const TEXT_BYTES: usize = 24;

impl Version {
    /// What the hub has made, or another moment since 1970; none is later than can be written.
    pub fn at(millis: i64) -> Version {
        Version(millis.clamp(0, jiff::Timestamp::MAX.as_second() * 1_000))
    }

    /// Milliseconds since 1970.
    pub fn millis(self) -> i64 {
        self.0
    }

    /// Reads exactly what is written; `None` for every other form and for days that do not exist.
    pub fn parse(text: &str) -> Option<Version> {
        let shape = b"dddd-dd-ddTdd:dd:dd.dddZ";
        let fits = |(&byte, &wanted): (&u8, &u8)| if wanted == b'd' { byte.is_ascii_digit() } else { byte == wanted };
        if text.len() != TEXT_BYTES || !text.as_bytes().iter().zip(shape).all(fits) {
            return None;
        }
        let version = Version(text.parse::<jiff::Timestamp>().ok()?.as_millisecond());
        // A leap second is read as the one before it.
        (version.to_string() == text).then_some(version)
    }
}

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`
impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_millisecond(self.0).expect("versions are within the years 0 to 9999");
        write!(out, "{time:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn the_documents_version_is_read_and_written() {
        assert_eq!(version("2024-01-30T15:50:35.742Z"), Version::at(1_706_629_835_742));
        for text in [
            "2024-01-30T15:50:35.742Z",
            "1970-01-01T00:00:00.000Z",
            "1969-12-31T23:59:59.999Z",
            "0000-01-01T00:00:00.000Z",
            "2024-02-29T00:00:00.100Z",
            "9999-12-30T21:59:59.999Z",
        ] {
            assert_eq!(version(text).to_string(), text);
        }
    }

    #[test]
    fn every_moment_can_be_written() {
        assert_eq!(Version::at(1_706_629_835_742).to_string(), "2024-01-30T15:50:35.742Z");
        assert_eq!(Version::at(-1).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Version::at(i64::MAX).to_string(), "9999-12-30T22:00:00.000Z");
        assert_eq!(Version::at(9).millis(), 9);
    }

    #[test]
    fn every_other_form_is_no_version() {
        for text in [
            "",
            "2024-01-30T15:50:35Z",
            "2024-01-30T15:50:35.74Z",
            "2024-01-30T15:50:35.7420Z",
            "2024-01-30T15:50:35.742z",
            "2024-01-30t15:50:35.742Z",
            "2024-01-30 15:50:35.742Z",
            "2024-01-30T15:50:35,742Z",
            "2024-01-30T15:50:35.742+0",
            "2024-02-30T15:50:35.742Z",
            "2023-02-29T15:50:35.742Z",
            "2024-01-30T24:00:00.000Z",
            "2016-12-31T23:59:60.000Z",
            "+2024-1-30T15:50:35.742Z",
            " 2024-01-30T15:50:35.742",
        ] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    #[test]
    fn rs_49_the_order_of_texts_is_that_of_time() {
        let mut texts: Vec<String> = [0, 1, 999, 1_000, 59_999, 60_000, 946_684_799_999, 946_684_800_000, i64::MAX]
            .map(|millis| Version::at(millis).to_string())
            .into();
        assert!(texts.is_sorted_by(|one, other| one < other), "{texts:?}");
        texts.insert(0, version("1969-12-31T23:59:59.999Z").to_string());
        assert!(texts.is_sorted());
    }
}
