//! `a.b3/c`: the channels that a path or an `id` argument names (specification, section 3).

use super::reason::Reason;
use crate::message::TopicName;

/// A channel as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    pub name: TopicName,
    /// Wants the last so many stored messages whatever the cursor says; 0 = follows the cursor.
    pub backtrack: u32,
}

/// Reads the components of an already decoded list; duplicates are one channel with the greatest backtrack.
///
/// # Errors
/// [`Reason::NoChannel`], [`Reason::ChannelTooLarge`], [`Reason::ChannelNotValid`] or [`Reason::ChannelNotAuthorized`]
/// for the first component at fault, [`Reason::TooManyChannels`] beyond `channels_max` different ones.
pub fn parse(decoded: &[u8], id_bytes_max: usize, channels_max: usize) -> Result<Vec<Channel>, Reason> {
    let mut channels: Vec<Channel> = Vec::new();
    let mut too_many = false;
    for component in decoded.split(|&byte| byte == b'/') {
        let (name, backtrack) = without_backtrack(component);
        if name.is_empty() {
            continue;
        }
        let name = check(name, id_bytes_max)?;
        match channels.iter().position(|channel| channel.name.as_str() == name) {
            Some(known) => channels[known].backtrack = channels[known].backtrack.max(backtrack),
            None if channels.len() < channels_max => channels.push(Channel { name: name.into(), backtrack }),
            // The rest is still looked at: a malformed id comes first in the order of checks.
            None => too_many = true,
        }
    }
    match channels.is_empty() {
        true => Err(Reason::NoChannel),
        false if too_many => Err(Reason::TooManyChannels),
        false => Ok(channels),
    }
}

/// Cuts a last `.b<digits>` off; the number saturates.
pub fn without_backtrack(component: &[u8]) -> (&[u8], u32) {
    let digits = component.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (head, number) = component.split_at(component.len() - digits);
    match head.strip_suffix(b".b") {
        Some(name) if digits > 0 => {
            let value = number.iter().fold(0u32, |sum, digit| sum.saturating_mul(10).saturating_add(u32::from(digit - b'0')));
            (name, value)
        }
        _ => (component, 0),
    }
}

fn check(name: &[u8], id_bytes_max: usize) -> Result<&str, Reason> {
    if name.len() > id_bytes_max {
        return Err(Reason::ChannelTooLarge);
    }
    let text = std::str::from_utf8(name).map_err(|_| Reason::ChannelNotValid)?;
    if text == "." || text == ".." || text.bytes().any(|byte| byte < 0x20 || matches!(byte, 0x7f | b'"' | b'\\')) {
        return Err(Reason::ChannelNotValid);
    }
    if text == "ALL" || text.contains('*') || text.starts_with('$') {
        return Err(Reason::ChannelNotAuthorized);
    }
    Ok(text)
}

/// Whether a client may name this channel.
pub fn is_name(name: &str, id_bytes_max: usize) -> bool {
    !name.is_empty() && !name.contains('/') && check(name.as_bytes(), id_bytes_max).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use percent_encoding::percent_decode_str;

    fn read(list: &str) -> Result<Vec<(String, u32)>, Reason> {
        let decoded: Vec<u8> = percent_decode_str(list).collect();
        let channels = parse(&decoded, 200, 50)?;
        Ok(channels.into_iter().map(|channel| (channel.name.to_string(), channel.backtrack)).collect())
    }

    fn named(list: &str, wanted: &[(&str, u32)]) {
        let wanted: Vec<_> = wanted.iter().map(|&(name, backtrack)| (name.to_owned(), backtrack)).collect();
        assert_eq!(read(list), Ok(wanted), "{list}");
    }

    #[test]
    fn every_row_of_the_channel_table_is_read_as_it_says() {
        named("a/b/c", &[("a", 0), ("b", 0), ("c", 0)]);
        named("a//b", &[("a", 0), ("b", 0)]);
        named("/a", &[("a", 0)]);
        named("a/", &[("a", 0)]);
        named("a%2Fb", &[("a", 0), ("b", 0)]);
        named("a%252Fb", &[("a%2Fb", 0)]);
        named("a.b3", &[("a", 3)]);
        named("a.b2.b3", &[("a.b2", 3)]);
        named("a.b0", &[("a", 0)]);
        named("a.b500", &[("a", 500)]);
        named("a.b99999999999999999999", &[("a", u32::MAX)]);
        for plain in ["a.b", "a.b2c", "a.B2", "a.100.5", "a,b", "a+b"] {
            named(plain, &[(plain, 0)]);
        }
        named("a%20b", &[("a b", 0)]);
        named("x/.b3", &[("x", 0)]);
        named("a/a", &[("a", 0)]);
        named("a/a.b3/a.b5", &[("a", 5)]);
        named("a.b5/b/a.b3", &[("a", 5), ("b", 0)]);
        for (list, reason) in [
            ("ALL", Reason::ChannelNotAuthorized),
            ("a*", Reason::ChannelNotAuthorized),
            ("ok/a*b", Reason::ChannelNotAuthorized),
            ("$control", Reason::ChannelNotAuthorized),
            ("a%01b", Reason::ChannelNotValid),
            ("a%7Fb", Reason::ChannelNotValid),
            ("a%22b", Reason::ChannelNotValid),
            ("a%5Cb", Reason::ChannelNotValid),
            ("a%FFb", Reason::ChannelNotValid),
            ("a%00b", Reason::ChannelNotValid),
            (".", Reason::ChannelNotValid),
            ("x/../y", Reason::ChannelNotValid),
            ("..b3", Reason::ChannelNotValid),
            ("", Reason::NoChannel),
            ("//", Reason::NoChannel),
            (".b3", Reason::NoChannel),
        ] {
            assert_eq!(read(list), Err(reason), "{list}");
        }
    }

    /// PT-49, as far as it is about names.
    #[test]
    fn recorded_paths_give_the_recorded_channels() {
        named("pz02//b", &[("pz02", 0), ("b", 0)]);
        named("pz06.b", &[("pz06.b", 0)]);
        named("pz08.B2", &[("pz08.B2", 0)]);
        named("pz09.b2.b3", &[("pz09.b2", 3)]);
        named("pz11%2Fb", &[("pz11", 0), ("b", 0)]);
        named("pz12%252Fb", &[("pz12%2Fb", 0)]);
        named("pz15%C3%A9", &[("pz15é", 0)]);
        named("pz20.100.5", &[("pz20.100.5", 0)]);
        named("k.b0", &[("k", 0)]);
        for bad in ["pz16%FF", "pz17%00x", "pz18/../z", "pz19%0d%0ax"] {
            assert_eq!(read(bad), Err(Reason::ChannelNotValid), "{bad}");
        }
    }

    #[test]
    fn the_length_limit_counts_bytes_of_the_name_alone() {
        let longest = "x".repeat(200);
        named(&format!("{longest}.b7"), &[(&longest, 7)]);
        assert_eq!(read(&format!("{longest}x")), Err(Reason::ChannelTooLarge));
        assert_eq!(read(&"é".repeat(101)), Err(Reason::ChannelTooLarge));
    }

    #[test]
    fn fifty_different_channels_are_the_most() {
        let list = |count: usize| (0..count).map(|number| format!("c{number}")).collect::<Vec<_>>().join("/");
        assert_eq!(read(&list(50)).unwrap().len(), 50);
        assert_eq!(read(&format!("{}/c1/c2.b4", list(50))).unwrap().len(), 50);
        assert_eq!(read(&list(51)), Err(Reason::TooManyChannels));
        assert_eq!(read(&format!("{}/ALL", list(51))), Err(Reason::ChannelNotAuthorized));
    }
}
