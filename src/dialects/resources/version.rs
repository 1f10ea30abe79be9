//! Versions of documents: milliseconds that only grow, written so that text order is time order (specification, section 6).

use std::fmt;

/// A moment of the years 0 to 9999, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(i64);

/// Bytes of a version's text.
pub const TEXT_BYTES: usize = 24;

/// The beginning of the year 9999: a clock beyond it leaves a year of milliseconds to count on.
const CLOCK_MAX: u64 = 253_370_764_800_000;

impl Version {
    /// The version of a write at `now` (Unix milliseconds): newer than the resource's own and than every forgotten one.
    pub fn of_write(now: u64, current: Option<Version>, forgotten: Option<Version>) -> Version {
        let now = Version(now.min(CLOCK_MAX) as i64);
        [current, forgotten].into_iter().flatten().map(|Version(millis)| Version(millis + 1)).fold(now, Version::max)
    }

    /// What the hub made of [`Version::of_write`]'s rule, or another moment since 1970; none is later than can be written.
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
        assert_eq!(version("2024-01-30T15:50:35.742Z"), Version::of_write(1_706_629_835_742, None, None));
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
    fn rs_49_versions_grow_whatever_the_clock_does() {
        let mut current = None;
        for now in [1_000; 1_000].into_iter().chain([2_000, 500, 500, 2_001, 0, u64::MAX, 0]) {
            let next = Version::of_write(now, current, None);
            assert!(current.is_none_or(|current| current < next && current.to_string() < next.to_string()));
            current = Some(next);
        }
        assert_eq!(current.unwrap().to_string(), "9999-01-01T00:00:00.001Z");
        let (old, forgotten) = (Version(5), Version(9));
        assert_eq!(Version::of_write(7, Some(old), Some(forgotten)), Version(10));
        assert_eq!(Version::of_write(7, Some(old), None), Version(7));
        assert_eq!(Version::of_write(5, Some(old), None), Version(6));
    }
}
