//! "I have everything up to here": `tag`, `time` and `eventid` of a request (specification, section 4.1).

use super::options::Options;
use super::query::argument;
use crate::exchange::{Cursor, EventCursor};
use crate::http::head::Head;

/// Reads the cursor of a request. What cannot be read counts as absent, never as an error.
pub fn read(head: &Head<'_>, options: &Options) -> Cursor {
    let query = head.query();
    let (tag, time) = (argument(query, &options.tag_argument), argument(query, &options.time_argument));
    let stamp = match tag.is_some() || time.is_some() {
        true => stamp(tag.as_deref(), time.as_deref()),
        false => stamp(head.field("If-None-Match").map(str::as_bytes), head.field("If-Modified-Since").map(str::as_bytes)),
    };
    let event = match argument(query, &options.event_id_argument) {
        Some(id) => Some(event(&id)),
        None => head.field("Last-Event-ID").filter(|id| !id.is_empty()).map(|id| event(id.as_bytes())),
    };
    Cursor { stamp, event }
}

/// A tag without a time says nothing.
fn stamp(tag: Option<&[u8]>, time: Option<&[u8]>) -> Option<(u64, Option<u64>)> {
    Some((parse_time(time?)?, tag.and_then(parse_tag)))
}

fn event(id: &[u8]) -> EventCursor {
    EventCursor { id: id.into(), otherwise: parse_position(id) }
}

/// `3`, `W/3`, `"3"`, `W/"3"`, with blanks around it.
pub fn parse_tag(value: &[u8]) -> Option<u64> {
    let value = value.trim_ascii();
    let value = value.strip_prefix(b"W/").unwrap_or(value);
    let value = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
    decimal(value)
}

/// `<seconds>:<tag>`, the event ids that eventsource makes.
fn parse_position(id: &[u8]) -> Option<(u64, u64)> {
    let colon = id.iter().position(|&byte| byte == b':')?;
    Some((decimal(&id[..colon])?, decimal(&id[colon + 1..])?))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    // `parse` alone would take a sign.
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Unix seconds of an IMF-fixdate, RFC 850 or asctime date; `+` counts as a blank, letter case is ignored, the weekday
/// is not compared with the date.
pub fn parse_time(value: &[u8]) -> Option<u64> {
    if value.len() > 64 {
        return None;
    }
    let text = std::str::from_utf8(value).ok()?.replace('+', " ");
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let (day, month, year, clock) = match words[..] {
        [weekday, day, month, year, clock, zone] if is_weekday(weekday, ",") && is_gmt(zone) => {
            (day, month, long_year(year)?, clock)
        }
        [weekday, date, clock, zone] if is_weekday(weekday, ",") && is_gmt(zone) => {
            let (day, rest) = date.split_once('-')?;
            let (month, year) = rest.split_once('-')?;
            (day, month, short_year(year)?, clock)
        }
        [weekday, month, day, clock, year] if is_weekday(weekday, "") => (day, month, long_year(year)?, clock),
        _ => return None,
    };
    let days = days_since_1970(year, month_number(month)?, number(day, 1..=2)?)?;
    let mut parts = clock.split(':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (hour, minute, second) = (number(hour, 2..=2)?, number(minute, 2..=2)?, number(second, 2..=2)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

fn is_weekday(word: &str, end: &str) -> bool {
    word.strip_suffix(end).is_some_and(|day| (3..=9).contains(&day.len()) && day.bytes().all(|byte| byte.is_ascii_alphabetic()))
}

fn is_gmt(word: &str) -> bool {
    word.eq_ignore_ascii_case("GMT")
}

fn number(word: &str, digits: std::ops::RangeInclusive<usize>) -> Option<u64> {
    if !digits.contains(&word.len()) {
        return None;
    }
    decimal(word.as_bytes())
}

fn long_year(word: &str) -> Option<u64> {
    number(word, 4..=4)
}

/// Years 70 to 99 are of the last century.
fn short_year(word: &str) -> Option<u64> {
    let year = number(word, 2..=2)?;
    Some(if year < 70 { 2000 + year } else { 1900 + year })
}

fn month_number(word: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    MONTHS.iter().position(|month| word.eq_ignore_ascii_case(month)).map(|index| index as u64 + 1)
}

fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    if year < 1970 || day < 1 || day > lengths[month as usize - 1] {
        return None;
    }
    let leaps_before = |year: u64| (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    let months: u64 = lengths[..month as usize - 1].iter().sum();
    Some((year - 1970) * 365 + leaps_before(year) - leaps_before(1970) + months + day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{BodyLength, Version};
    use crate::http::response::date;

    fn cursor(target: &str, fields: &[(&str, &str)]) -> Cursor {
        let head = Head {
            method: "GET",
            target,
            version: Version::Http11,
            fields: fields.to_vec(),
            body: BodyLength::None,
            keep_alive: true,
            expects_continue: false,
        };
        read(&head, &Options::default())
    }

    const NOON: u64 = 1_795_191_466;
    const NOON_TEXT: &str = "Fri%2C%2020%20Nov%202026%2016%3A17%3A46%20GMT";

    #[test]
    fn every_date_form_is_the_same_second() {
        for text in [
            "Fri, 20 Nov 2026 16:17:46 GMT",
            "Friday, 20-Nov-26 16:17:46 GMT",
            "Fri Nov 20 16:17:46 2026",
            "Mon, 20 Nov 2026 16:17:46 GMT",
            "fri, 20 nov 2026 16:17:46 gmt",
            "Fri,+20+Nov+2026+16:17:46+GMT",
            "  Fri, 20 Nov 2026 16:17:46 GMT\t",
        ] {
            assert_eq!(parse_time(text.as_bytes()), Some(NOON), "{text}");
        }
        assert_eq!(parse_time(b"Thursday, 01-Jan-70 00:00:00 GMT"), Some(0));
        assert_eq!(parse_time(b"Thu Jan  1 00:00:00 1970"), Some(0));
        assert_eq!(parse_time(b"Friday, 31-Dec-99 23:59:59 GMT"), Some(946_684_799));
        assert_eq!(parse_time(b"Sunday, 01-Jan-69 00:00:00 GMT"), Some(3_124_224_000));
        assert_eq!(parse_time(b"Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
    }

    #[test]
    fn what_is_no_date_is_absent() {
        for text in [
            "",
            "null",
            "yesterday",
            "0",
            "Wed, 31 Dec 1969 23:59:59 GMT",
            "Thu, 29 Feb 2026 00:00:00 GMT",
            "Fri, 00 Nov 2026 16:17:46 GMT",
            "Fri, 20 Nov 2026 24:00:00 GMT",
            "Fri, 20 Nov 2026 16:17:60 GMT",
            "Fri, 20 Nov 2026 16:17 GMT",
            "Fri, 20 Nov 2026 16:17:46:1 GMT",
            "Fri, 20 Nov 2026 16:17:46 CET",
            "Fri, 20 Nov 20260 16:17:46 GMT",
            "Fri, -2 Nov 2026 16:17:46 GMT",
            "Fri, 20 Növ 2026 16:17:46 GMT",
        ] {
            assert_eq!(parse_time(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn dates_that_are_printed_are_read_back() {
        for seconds in (0..8_000_000_000u64).step_by(7_777_777) {
            assert_eq!(parse_time(date(seconds).as_bytes()), Some(seconds));
        }
    }

    /// PT-13 and section 4.1.
    #[test]
    fn every_form_of_the_tag_is_read_as_the_table_says() {
        for (text, tag) in
            [("0", 0), ("3", 3), ("W/3", 3), ("\"3\"", 3), ("W/\"3\"", 3), (" 3 ", 3), ("18446744073709551615", u64::MAX)]
        {
            assert_eq!(parse_tag(text.as_bytes()), Some(tag), "{text}");
        }
        for text in ["", "-1", "+1", "abc", "2.5", "*", "99999999999999999999", "W/", "\"3", "w/3"] {
            assert_eq!(parse_tag(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn time_and_tag_make_the_cursor() {
        let with = |query: &str| cursor(&format!("/longpoll/a?{query}"), &[]).stamp;
        assert_eq!(with(&format!("tag=3&time={NOON_TEXT}")), Some((NOON, Some(3))));
        assert_eq!(with(&format!("tag=W%2F3&time={NOON_TEXT}")), Some((NOON, Some(3))));
        assert_eq!(with(&format!("tag=0&time={NOON_TEXT}")), Some((NOON, Some(0))));
        assert_eq!(with(&format!("time={NOON_TEXT}")), Some((NOON, None)));
        assert_eq!(with(&format!("tag=-5&time={NOON_TEXT}")), Some((NOON, None)));
        assert_eq!(with("time=Thu,+01+Jan+1970+00:00:00+GMT"), Some((0, None)));
        assert_eq!(with("tag=3"), None);
        assert_eq!(with("tag=3&time=yesterday"), None);
        assert_eq!(with("tag=&time=&eventid="), None);
        assert_eq!(with(""), None);
    }

    #[test]
    fn arguments_beat_headers_as_a_pair() {
        let headers = [("If-None-Match", "W/7"), ("If-Modified-Since", "Fri, 20 Nov 2026 16:17:46 GMT")];
        assert_eq!(cursor("/longpoll/a", &headers).stamp, Some((NOON, Some(7))));
        assert_eq!(cursor("/longpoll/a?tag=&time=", &headers).stamp, Some((NOON, Some(7))));
        assert_eq!(cursor("/longpoll/a?tag=3", &headers).stamp, None);
        assert_eq!(cursor("/longpoll/a?time=Thu,+01+Jan+1970+00:00:00+GMT", &headers).stamp, Some((0, None)));
        let first = [("If-Modified-Since", "null"), ("If-None-Match", "0")];
        assert_eq!(cursor("/longpoll/a", &first).stamp, None);
    }

    #[test]
    fn an_event_id_is_any_text_and_perhaps_a_position() {
        let event = |target: &str, fields: &[(&str, &str)]| cursor(target, fields).event;
        let id = |id: &[u8], otherwise| Some(EventCursor { id: id.into(), otherwise });
        assert_eq!(event("/ev/a?eventid=id-2", &[]), id(b"id-2", None));
        assert_eq!(event("/ev/a?eventid=1795191466%3A3", &[]), id(b"1795191466:3", Some((NOON, 3))));
        assert_eq!(event("/ev/a", &[("Last-Event-ID", "5:6")]), id(b"5:6", Some((5, 6))));
        assert_eq!(event("/ev/a?eventid=x", &[("Last-Event-ID", "5:6")]), id(b"x", None));
        assert_eq!(event("/ev/a?eventid=", &[("Last-Event-ID", "")]), None);
        for odd in ["5:", ":6", "5:6:7", "-5:6", "5:+6"] {
            assert_eq!(event("/ev/a", &[("Last-Event-ID", odd)]), id(odd.as_bytes(), None));
        }
    }
}
