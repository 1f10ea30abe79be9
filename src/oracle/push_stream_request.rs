//! Targets and cursors of push_stream against a reading that is as plain as possible.

use crate::dialects::push_stream::options::Options;
use crate::dialects::push_stream::{channels, cursor};
use crate::exchange::Cursor;
use crate::http::head::{BodyLength, Head, Version};
use crate::http::response::date;
use percent_encoding::percent_decode_str;
use std::time::{Duration, UNIX_EPOCH};

const ID_BYTES_MAX: usize = 200;
const CHANNELS_MAX: usize = 50;
/// What may stand around a tag or a time.
const BLANKS: [char; 5] = [' ', '\t', '\n', '\r', '\x0c'];

/// The first line is a target, the next ones are `If-None-Match`, `If-Modified-Since` and `Last-Event-ID`.
pub fn push_stream_request(bytes: &[u8]) {
    reads_alike(bytes);
}

/// Says whether the channels were accepted.
fn reads_alike(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut lines = text.split('\n');
    let target = lines.next().unwrap_or_default();
    let names = ["If-None-Match", "If-Modified-Since", "Last-Event-ID"];
    let fields: Vec<(&str, &str)> = names.into_iter().zip(lines.map(str::trim)).collect();
    check_cursor(target, &fields);
    let path = target.split('?').next().unwrap_or_default();
    check_channels(path.strip_prefix("/longpoll/").unwrap_or(path))
}

fn check_channels(list: &str) -> bool {
    let read = |list: &str| {
        let decoded: Vec<u8> = percent_decode_str(list).collect();
        let channels = channels::parse(&decoded, ID_BYTES_MAX, CHANNELS_MAX);
        channels
            .map(|list| list.into_iter().map(|channel| (channel.name.to_string(), channel.backtrack)).collect::<Vec<_>>())
            .map_err(|reason| reason.explain())
    };
    let channels = read(list);
    assert_eq!(channels, plain_channels(list), "{list:?}");
    // Whatever is escaped once more than needed means the same; nothing is decoded twice.
    let escaped: String = plain_decoded(list).iter().map(|byte| format!("%{byte:02X}")).collect();
    assert_eq!(channels, read(&escaped), "{list:?}");
    let Ok(channels) = channels else { return false };
    assert!((1..=CHANNELS_MAX).contains(&channels.len()));
    for (place, (name, _)) in channels.iter().enumerate() {
        assert!((1..=ID_BYTES_MAX).contains(&name.len()) && !name.contains(['/', '*', '"', '\\', '\n']) && name != "..");
        assert!(channels[..place].iter().all(|(other, _)| other != name));
    }
    // Names that were read are read again as themselves, unless they end like a backtrack themselves.
    let again: String = channels.iter().map(|(name, count)| format!("{}.b{count}/", name.replace('%', "%25"))).collect();
    assert_eq!(read(&again), Ok(channels));
    true
}

fn plain_channels(list: &str) -> Result<Vec<(String, u32)>, &'static str> {
    let mut channels: Vec<(String, u32)> = Vec::new();
    for component in plain_decoded(list).split(|&byte| byte == b'/') {
        let mark = (0..component.len()).rev().find(|&at| component[at..].starts_with(b".b"));
        let digits =
            mark.map(|at| &component[at + 2..]).filter(|digits| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit));
        let (name, count) = match (mark, digits) {
            (Some(at), Some(digits)) => {
                let text = String::from_utf8_lossy(digits);
                let significant = text.trim_start_matches('0');
                let count = if significant.is_empty() { 0 } else { significant.parse().unwrap_or(u32::MAX) };
                (&component[..at], count)
            }
            _ => (component, 0),
        };
        if name.is_empty() {
            continue;
        }
        if name.len() > ID_BYTES_MAX {
            return Err("Channel id is too large.");
        }
        let name = String::from_utf8(name.to_vec()).map_err(|_| "Channel id is not valid.")?;
        if name.chars().any(|letter| letter.is_ascii_control() || letter == '"' || letter == '\\') || name == "." || name == ".."
        {
            return Err("Channel id is not valid.");
        }
        if name == "ALL" || name.contains('*') || name.starts_with('$') {
            return Err("Channel id not authorized for this method.");
        }
        match channels.iter_mut().find(|(known, _)| *known == name) {
            Some((_, most)) => *most = count.max(*most),
            None => channels.push((name, count)),
        }
    }
    match channels.len() {
        0 => Err("No channel id provided."),
        1..=CHANNELS_MAX => Ok(channels),
        _ => Err("Too many channels in one request."),
    }
}

fn plain_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let escaped = bytes.get(at + 1..at + 3).filter(|hex| bytes[at] == b'%' && hex.iter().all(u8::is_ascii_hexdigit));
        match escaped {
            Some(hex) => {
                let hex = std::str::from_utf8(hex).expect("hex digits");
                out.push(u8::from_str_radix(hex, 16).expect("two hex digits"));
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

fn check_cursor(target: &str, fields: &[(&str, &str)]) {
    let read = |target: &str, fields: &[(&str, &str)]| {
        let fields = fields.to_vec();
        let (version, body) = (Version::Http11, BodyLength::None);
        let head = Head { method: "GET", target, version, fields, body, keep_alive: true, expects_continue: false };
        cursor::read(&head, &Options::default())
    };
    let Cursor { stamp, event } = read(target, fields);
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let argument = |name: &str| {
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let value = pairs.filter(|(key, _)| *key == name).map(|(_, value)| plain_decoded(value)).next();
        value.filter(|value| !value.is_empty())
    };
    let field = |name: &str| fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value.as_bytes().to_vec());
    let pair = (argument("tag"), argument("time"));
    let (tag, time) = if pair == (None, None) { (field("If-None-Match"), field("If-Modified-Since")) } else { pair };
    match (stamp, time) {
        (None, Some(time)) => assert_eq!(plain_time(&time), None, "{target:?}"),
        (None, None) => {}
        (Some((seconds, read_tag)), time) => {
            let time = time.expect("a cursor has a time");
            assert!(same_numbers(&time, seconds), "{target:?} is not {}", date(seconds));
            assert!(plain_time(&time).is_none_or(|plain| plain == seconds), "{target:?}");
            assert_eq!(read_tag, tag.as_deref().and_then(plain_tag), "{target:?}");
        }
    }
    let id = argument("eventid").or_else(|| field("Last-Event-ID").filter(|id| !id.is_empty()));
    assert_eq!(event.as_ref().map(|event| event.id.to_vec()), id);

    // What is printed is read back, and later cursors stay later.
    let Some((seconds, tag)) = stamp else { return };
    let print = |(seconds, tag): (u64, Option<u64>)| {
        let tag = tag.map_or(String::new(), |tag| format!("tag=W%2F{tag}&"));
        format!("/longpoll/a?{tag}time={}", date(seconds).replace(' ', "%20").replace(',', "%2C").replace(':', "%3A"))
    };
    assert_eq!(read(&print((seconds, tag)), &[]).stamp, stamp);
    let order = |stamp: Option<(u64, Option<u64>)>| stamp.map(|(seconds, tag)| (seconds, tag.unwrap_or(u64::MAX)));
    for later in [(seconds, None), (seconds.min(253_402_300_798) + 1, Some(0)), (seconds, Some(tag.unwrap_or(u64::MAX)))] {
        assert_eq!(order(read(&print(later), &[]).stamp), order(Some(later)));
        assert!(order(Some(later)) >= order(stamp) || seconds == 253_402_300_799);
    }
    let id = format!("{seconds}:{}", tag.unwrap_or(0));
    let otherwise = read("/ev/a", &[("Last-Event-ID", &id)]).event.and_then(|event| event.otherwise);
    assert_eq!(otherwise, Some((seconds, tag.unwrap_or(0))));
}

fn plain_tag(value: &[u8]) -> Option<u64> {
    let mut text = String::from_utf8(value.to_vec()).ok()?.trim_matches(BLANKS).to_owned();
    if text.starts_with("W/") {
        text.drain(..2);
    }
    if text.len() >= 2 && text.starts_with('"') && text.ends_with('"') {
        text = text[1..text.len() - 1].to_owned();
    }
    text.chars().all(|letter| letter.is_ascii_digit()).then(|| text.parse().ok())?
}

/// httpdate's reading of what is printed exactly like one of the three forms, whatever the weekday; not before 1970.
fn plain_time(value: &[u8]) -> Option<u64> {
    if value.len() > 64 {
        return None;
    }
    let text = String::from_utf8(value.to_vec()).ok()?.replace('+', " ");
    let text = text.trim_matches(BLANKS);
    let seconds = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?.as_secs();
    // httpdate looks at most separators not at all, and takes the 31st of every month.
    let printed = date(seconds);
    let words: Vec<&str> = printed.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let [_, day, month, year, clock, _] = words[..] else { unreachable!("IMF-fixdate has six words") };
    let (weekday, rest) = text.split_once(' ')?;
    let short_day = day.trim_start_matches('0');
    let forms = match weekday.strip_suffix(',') {
        Some(_) => vec![format!("{day} {month} {year} {clock} GMT"), format!("{day}-{month}-{} {clock} GMT", &year[2..])],
        None => vec![format!("{month} {short_day:>2} {clock} {year}"), format!("{month} {day} {clock} {year}")],
    };
    forms.iter().any(|form| form == rest).then_some(seconds)
}

/// Whether a date holds exactly the numbers that it is printed with, a year perhaps without its century.
fn same_numbers(value: &[u8], seconds: u64) -> bool {
    let printed = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
    let numbers = |text: &str| {
        let words = text.split(|letter: char| !letter.is_ascii_digit()).filter(|word| !word.is_empty());
        let mut list: Vec<u64> = words.map(|word| word.parse::<u64>().unwrap_or(u64::MAX)).collect();
        list.iter_mut().filter(|number| **number >= 1970 && **number <= 9999).for_each(|year| *year %= 100);
        list.sort_unstable();
        list
    };
    numbers(&String::from_utf8_lossy(value)) == numbers(&printed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{mutate, replay};

    #[test]
    fn the_corpus_reads_alike() {
        replay("push_stream_request", push_stream_request);
    }

    #[test]
    fn twenty_thousand_mutations_read_alike() {
        let words: [&[u8]; 24] = [
            b"/",
            b"//",
            b".b3",
            b".b0",
            b".b99999999999999999999",
            b"%2F",
            b"%25",
            b"%2e",
            b"%FF",
            b"%C3%A9",
            b"%",
            b"ALL",
            b"*",
            b"$",
            b"..",
            b"+",
            b"&tag=",
            b"W/",
            b"%22",
            b"\n",
            b"20",
            b"Feb",
            b"1970",
            b"&time=Thu,+01+Jan+1970+00:00:00+GMT",
        ];
        let accepted = mutate("push_stream_request", &words, 20_000, reads_alike);
        assert!((2_000..19_000).contains(&accepted), "{accepted} were accepted");
    }
}
