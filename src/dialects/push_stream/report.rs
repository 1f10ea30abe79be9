//! Statistics and publish answers, byte for byte as clients of the reference parse them [PT-1, PT-2, PT-22, PT-23].

use crate::exchange::{Report, TopicRow};
use std::borrow::Cow;

/// How statistics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Plain,
    Json,
    Xml,
    Yaml,
}

const SUBTYPES: [(&str, Format, &str); 6] = [
    ("plain", Format::Plain, "text/plain"),
    ("json", Format::Json, "application/json"),
    ("yaml", Format::Yaml, "application/yaml"),
    ("xml", Format::Xml, "application/xml"),
    ("x-json", Format::Json, "text/x-json"),
    ("x-yaml", Format::Yaml, "text/x-yaml"),
];

/// The first listed subtype that begins like a known one decides; the media type is the one that matched.
pub fn accepted<'a>(accept: impl Iterator<Item = &'a str>) -> (Format, Cow<'static, str>) {
    for entry in accept.flat_map(|line| line.split(',')) {
        let Some((kind, subtype)) = entry.trim().split_once('/') else {
            continue;
        };
        if let Some(&(name, format, usual)) = SUBTYPES.iter().find(|(name, ..)| starts_with(subtype, name)) {
            // Only words of ours get into the answer's head.
            let media = match ["text", "application"].into_iter().find(|word| kind.eq_ignore_ascii_case(word)) {
                Some(word) => Cow::Owned(format!("{word}/{name}")),
                None => Cow::Borrowed(usual),
            };
            return (format, media);
        }
    }
    (Format::Json, Cow::Borrowed("application/json"))
}

fn starts_with(text: &str, start: &str) -> bool {
    text.as_bytes().get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
}

/// One channel alone.
pub fn single(format: Format, row: &TopicRow) -> String {
    match format {
        Format::Plain => format!("{}\r\n", plain_row(row)),
        Format::Json => format!("{}\r\n", json_row(row)),
        Format::Xml => format!("{XML_HEAD}{}\r\n", xml_row(row)),
        Format::Yaml => yaml_row(row),
    }
}

/// The server in one line, and the rows.
pub fn group(format: Format, host: &str, report: &Report) -> String {
    let rows = report.rows.iter();
    let (time, channels, wildcard, uptime) =
        (time(report.unix_seconds), report.topics, report.wildcard_topics, report.uptime_seconds);
    match format {
        Format::Plain => {
            let rows = rows.map(plain_row).collect::<Vec<_>>().join(",\r\n");
            format!(
                "hostname: {host}, time: {time}, channels: {channels}, wildcard_channels: {wildcard}, uptime: {uptime}, \
                 infos: \r\n{rows}\r\n"
            )
        }
        Format::Json => {
            let rows = rows.map(json_row).collect::<Vec<_>>();
            format!(
                "{{\"hostname\": {}, \"time\": \"{time}\", \"channels\": {channels}, \"wildcard_channels\": {wildcard}, \
                 \"uptime\": {uptime}, \"infos\": [\r\n{}]}}\r\n",
                json(host),
                json_lines(&rows)
            )
        }
        Format::Xml => {
            let rows = rows.map(xml_row).collect::<String>();
            format!(
                "{XML_HEAD}<root>\r\n  <hostname>{}</hostname>\r\n  <time>{time}</time>\r\n  <channels>{channels}</channels>\r\n  \
                 <wildcard_channels>{wildcard}</wildcard_channels>\r\n  <uptime>{uptime}</uptime>\r\n  <infos>\r\n{rows}  \
                 </infos>\r\n</root>\r\n",
                xml(host)
            )
        }
        Format::Yaml => {
            let rows = rows.map(|row| format!(" -\r\n{}", yaml_row(row))).collect::<String>();
            format!(
                "hostname: {}\r\ntime: {time}\r\nchannels: {channels}\r\nwildcard_channels: {wildcard}\r\nuptime: {uptime}\r\n\
                 infos: \r\n{rows}",
                yaml(host)
            )
        }
    }
}

/// The server's sums, and a row for each core.
pub fn summary(format: Format, host: &str, report: &Report) -> String {
    let subscribers: u64 = report.reactors.iter().map(|reactor| reactor.subscribers).sum();
    let time = time(report.unix_seconds);
    let sums = [
        ("channels", report.topics),
        ("wildcard_channels", report.wildcard_topics),
        ("published_messages", report.published),
        ("stored_messages", report.stored),
        // Kept for those who read them: fanwire has no trash.
        ("messages_in_trash", 0),
        ("channels_in_delete", 0),
        ("channels_in_trash", 0),
        ("subscribers", subscribers),
        ("uptime", report.uptime_seconds),
    ];
    let cores = report.reactors.iter().map(|core| (core.thread, core.subscribers, core.uptime_seconds));
    let mut out = String::new();
    match format {
        Format::Plain => {
            out.push_str(&format!("hostname: {host}\r\ntime: {time}\r\n"));
            out.extend(sums.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
            let cores = cores.map(|(pid, count, uptime)| format!("  pid: {pid}\r\n  subscribers: {count}\r\n  uptime: {uptime}"));
            out.push_str(&format!("by_worker:\r\n{}\r\n", cores.collect::<Vec<_>>().join(",\r\n")));
        }
        Format::Json => {
            out.push_str(&format!("{{\"hostname\": {}, \"time\": \"{time}\"", json(host)));
            out.extend(sums.iter().map(|(name, value)| format!(", \"{name}\": {value}")));
            let cores = cores
                .map(|(pid, count, uptime)| format!("{{\"pid\": \"{pid}\", \"subscribers\": {count}, \"uptime\": {uptime}}}"))
                .collect::<Vec<_>>();
            out.push_str(&format!(", \"by_worker\": [\r\n{}]}}\r\n", json_lines(&cores)));
        }
        Format::Xml => {
            out.push_str(&format!("{XML_HEAD}<infos>\r\n  <hostname>{}</hostname>\r\n  <time>{time}</time>\r\n", xml(host)));
            out.extend(sums.iter().map(|(name, value)| format!("  <{name}>{value}</{name}>\r\n")));
            out.push_str("  <by_worker>");
            for (pid, count, uptime) in cores {
                out.push_str(&format!(
                    "<worker>\r\n  <pid>{pid}</pid>\r\n  <subscribers>{count}</subscribers>\r\n  \
                     <uptime>{uptime}</uptime>\r\n</worker>\r\n"
                ));
            }
            out.push_str("</by_worker>\r\n</infos>\r\n");
        }
        Format::Yaml => {
            out.push_str(&format!("  hostname: {}\r\n  time: {time}\r\n", yaml(host)));
            out.extend(sums.iter().map(|(name, value)| format!("  {name}: {value}\r\n")));
            out.push_str("  by_worker:\r\n");
            for (pid, count, uptime) in cores {
                out.push_str(&format!("   -\r\n    pid: {pid}\r\n    subscribers: {count}\r\n    uptime: {uptime}\r\n"));
            }
        }
    }
    out
}

const XML_HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\r\n";

fn plain_row(row: &TopicRow) -> String {
    format!(
        "channel: {}\r\npublished_messages: {}\r\nstored_messages: {}\r\nactive_subscribers: {}",
        row.name, row.published, row.stored, row.subscribers
    )
}

fn json_row(row: &TopicRow) -> String {
    format!(
        "{{\"channel\": {}, \"published_messages\": {}, \"stored_messages\": {}, \"subscribers\": {}}}",
        json(row.name.as_str()),
        row.published,
        row.stored,
        row.subscribers
    )
}

fn xml_row(row: &TopicRow) -> String {
    format!(
        "<channel>\r\n  <name>{}</name>\r\n  <published_messages>{}</published_messages>\r\n  \
         <stored_messages>{}</stored_messages>\r\n  <subscribers>{}</subscribers>\r\n</channel>\r\n",
        xml(row.name.as_str()),
        row.published,
        row.stored,
        row.subscribers
    )
}

fn yaml_row(row: &TopicRow) -> String {
    format!(
        "  channel: {}\r\n  published_messages: {}\r\n  stored_messages: {}\r\n  subscribers: {}\r\n",
        yaml(row.name.as_str()),
        row.published,
        row.stored,
        row.subscribers
    )
}

/// Rows with a comma after each but the last, one per line.
fn json_lines(rows: &[String]) -> String {
    if rows.is_empty() { String::new() } else { format!("{}\r\n", rows.join(",\r\n")) }
}

fn json(text: &str) -> String {
    serde_json::to_string(text).expect("a string is always JSON")
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Plain where that is unmistakable, quoted (a JSON string is a YAML string) where other dialects' names would break it.
fn yaml(text: &str) -> Cow<'_, str> {
    let plain = text.starts_with(|first: char| first.is_alphanumeric() || first == '_')
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.ends_with([':', ' '])
        && !text.contains(char::is_control);
    if plain { Cow::Borrowed(text) } else { Cow::Owned(json(text)) }
}

/// UTC, e.g. `2026-11-20T16:17:41`.
fn time(unix_seconds: u64) -> String {
    let second = i64::try_from(unix_seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    second.unwrap_or(jiff::Timestamp::MAX).strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::ReactorRow;

    fn row(name: &str, published: u64, stored: u64, subscribers: u64) -> TopicRow {
        TopicRow { name: name.into(), published, stored, subscribers }
    }

    fn report(unix_seconds: u64, uptime_seconds: u64, rows: Vec<TopicRow>) -> Report {
        let reactor = |thread| ReactorRow { thread, subscribers: 1, uptime_seconds };
        Report {
            unix_seconds,
            uptime_seconds,
            topics: 392,
            wildcard_topics: 0,
            published: 32,
            stored: 30,
            documents: 0,
            document_subscriptions: 0,
            reactors: vec![reactor(21314), reactor(21315)],
            rows,
        }
    }

    /// 2026-11-20T16:19:50.
    const RECORDED: u64 = 1_795_191_590;

    fn two() -> Vec<TopicRow> {
        vec![row("stA", 0, 0, 2), row("stB", 1, 1, 1)]
    }

    /// PT-1 and PT-2.
    #[test]
    fn publish_answers_are_the_recorded_ones() {
        let single = single(Format::Json, &row("a", 1, 1, 0));
        assert_eq!(single, "{\"channel\": \"a\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 0}\r\n");
        assert_eq!(single.len(), 83);
        let mut report = report(1_795_191_461, 190, vec![row("a", 3, 3, 0), row("b", 1, 1, 0), row("c", 1, 1, 0)]);
        report.topics = 6;
        let group = group(Format::Json, "vm", &report);
        assert_eq!(
            group,
            "{\"hostname\": \"vm\", \"time\": \"2026-11-20T16:17:41\", \"channels\": 6, \"wildcard_channels\": 0, \
             \"uptime\": 190, \"infos\": [\r\n\
             {\"channel\": \"a\", \"published_messages\": 3, \"stored_messages\": 3, \"subscribers\": 0},\r\n\
             {\"channel\": \"b\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 0},\r\n\
             {\"channel\": \"c\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 0}\r\n]}\r\n"
        );
        assert_eq!(group.len(), 371);
    }

    /// PT-22.
    #[test]
    fn statistics_in_json_are_the_recorded_ones() {
        let summary = summary(Format::Json, "vm", &report(RECORDED, 319, vec![]));
        assert_eq!(
            summary,
            "{\"hostname\": \"vm\", \"time\": \"2026-11-20T16:19:50\", \"channels\": 392, \"wildcard_channels\": 0, \
             \"published_messages\": 32, \"stored_messages\": 30, \"messages_in_trash\": 0, \"channels_in_delete\": 0, \
             \"channels_in_trash\": 0, \"subscribers\": 2, \"uptime\": 319, \"by_worker\": [\r\n\
             {\"pid\": \"21314\", \"subscribers\": 1, \"uptime\": 319},\r\n\
             {\"pid\": \"21315\", \"subscribers\": 1, \"uptime\": 319}\r\n]}\r\n"
        );
        assert_eq!(summary.len(), 369);
        assert_eq!(group(Format::Json, "vm", &report(RECORDED + 1, 320, two())).len(), 293);
        let none = group(Format::Json, "vm", &report(RECORDED + 1, 320, vec![]));
        assert_eq!(none.len(), 122);
        assert!(none.ends_with("\"infos\": [\r\n]}\r\n"));
    }

    /// PT-23, text/plain.
    #[test]
    fn statistics_in_plain_text_are_the_recorded_ones() {
        assert_eq!(
            single(Format::Plain, &row("stA", 0, 0, 2)),
            "channel: stA\r\npublished_messages: 0\r\nstored_messages: 0\r\nactive_subscribers: 2\r\n"
        );
        assert_eq!(
            group(Format::Plain, "vm", &report(RECORDED + 4, 323, two())),
            "hostname: vm, time: 2026-11-20T16:19:54, channels: 392, wildcard_channels: 0, uptime: 323, infos: \r\n\
             channel: stA\r\npublished_messages: 0\r\nstored_messages: 0\r\nactive_subscribers: 2,\r\n\
             channel: stB\r\npublished_messages: 1\r\nstored_messages: 1\r\nactive_subscribers: 1\r\n"
        );
        assert_eq!(
            summary(Format::Plain, "vm", &report(RECORDED + 4, 323, vec![])),
            "hostname: vm\r\ntime: 2026-11-20T16:19:54\r\nchannels: 392\r\nwildcard_channels: 0\r\npublished_messages: 32\r\n\
             stored_messages: 30\r\nmessages_in_trash: 0\r\nchannels_in_delete: 0\r\nchannels_in_trash: 0\r\nsubscribers: 2\r\n\
             uptime: 323\r\nby_worker:\r\n  pid: 21314\r\n  subscribers: 1\r\n  uptime: 323,\r\n  pid: 21315\r\n  \
             subscribers: 1\r\n  uptime: 323\r\n"
        );
    }

    /// PT-23, application/xml.
    #[test]
    fn statistics_in_xml_are_the_recorded_ones() {
        let head = "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\r\n";
        let one = "<channel>\r\n  <name>stA</name>\r\n  <published_messages>0</published_messages>\r\n  \
                   <stored_messages>0</stored_messages>\r\n  <subscribers>2</subscribers>\r\n</channel>\r\n";
        let other = one.replace("stA", "stB").replace(">0<", ">1<").replace(">2<", ">1<");
        assert_eq!(single(Format::Xml, &row("stA", 0, 0, 2)), format!("{head}{one}\r\n"));
        assert_eq!(
            group(Format::Xml, "vm", &report(RECORDED + 4, 323, two())),
            format!(
                "{head}<root>\r\n  <hostname>vm</hostname>\r\n  <time>2026-11-20T16:19:54</time>\r\n  <channels>392</channels>\r\n  \
                 <wildcard_channels>0</wildcard_channels>\r\n  <uptime>323</uptime>\r\n  <infos>\r\n{one}{other}  \
                 </infos>\r\n</root>\r\n"
            )
        );
        assert_eq!(
            summary(Format::Xml, "vm", &report(RECORDED + 4, 323, vec![])),
            format!(
                "{head}<infos>\r\n  <hostname>vm</hostname>\r\n  <time>2026-11-20T16:19:54</time>\r\n  <channels>392</channels>\r\n  \
                 <wildcard_channels>0</wildcard_channels>\r\n  <published_messages>32</published_messages>\r\n  \
                 <stored_messages>30</stored_messages>\r\n  <messages_in_trash>0</messages_in_trash>\r\n  \
                 <channels_in_delete>0</channels_in_delete>\r\n  <channels_in_trash>0</channels_in_trash>\r\n  \
                 <subscribers>2</subscribers>\r\n  <uptime>323</uptime>\r\n  <by_worker><worker>\r\n  <pid>21314</pid>\r\n  \
                 <subscribers>1</subscribers>\r\n  <uptime>323</uptime>\r\n</worker>\r\n<worker>\r\n  <pid>21315</pid>\r\n  \
                 <subscribers>1</subscribers>\r\n  <uptime>323</uptime>\r\n</worker>\r\n</by_worker>\r\n</infos>\r\n"
            )
        );
    }

    /// PT-23, application/yaml.
    #[test]
    fn statistics_in_yaml_are_the_recorded_ones() {
        let one = "  channel: stA\r\n  published_messages: 0\r\n  stored_messages: 0\r\n  subscribers: 2\r\n";
        let other = "  channel: stB\r\n  published_messages: 1\r\n  stored_messages: 1\r\n  subscribers: 1\r\n";
        assert_eq!(single(Format::Yaml, &row("stA", 0, 0, 2)), one);
        assert_eq!(
            group(Format::Yaml, "vm", &report(RECORDED + 5, 324, two())),
            format!(
                "hostname: vm\r\ntime: 2026-11-20T16:19:55\r\nchannels: 392\r\nwildcard_channels: 0\r\nuptime: 324\r\n\
                 infos: \r\n -\r\n{one} -\r\n{other}"
            )
        );
        assert_eq!(
            summary(Format::Yaml, "vm", &report(RECORDED + 5, 324, vec![])),
            "  hostname: vm\r\n  time: 2026-11-20T16:19:55\r\n  channels: 392\r\n  wildcard_channels: 0\r\n  \
             published_messages: 32\r\n  stored_messages: 30\r\n  messages_in_trash: 0\r\n  channels_in_delete: 0\r\n  \
             channels_in_trash: 0\r\n  subscribers: 2\r\n  uptime: 324\r\n  by_worker:\r\n   -\r\n    pid: 21314\r\n    \
             subscribers: 1\r\n    uptime: 324\r\n   -\r\n    pid: 21315\r\n    subscribers: 1\r\n    uptime: 324\r\n"
        );
    }

    #[test]
    fn the_first_known_subtype_of_accept_decides() {
        let media = |accept: &str| {
            let (format, media) = accepted([accept].into_iter());
            (format, media.into_owned())
        };
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for (accept, format, wanted) in [
            ("", Format::Json, "application/json"),
            ("*/*", Format::Json, "application/json"),
            ("application/octet-stream", Format::Json, "application/json"),
            ("text/plain", Format::Plain, "text/plain"),
            ("text/x-json", Format::Json, "text/x-json"),
            ("text/x-yaml", Format::Yaml, "text/x-yaml"),
            ("application/yaml", Format::Yaml, "application/yaml"),
            ("TEXT/XML", Format::Xml, "text/xml"),
            ("strange/json", Format::Json, "application/json"),
            ("image/png, text/plain, application/json", Format::Plain, "text/plain"),
            (browser, Format::Xml, "application/xml"),
        ] {
            assert_eq!(media(accept), (format, wanted.to_owned()), "{accept}");
        }
    }

    #[test]
    fn names_of_other_dialects_do_not_break_the_format() {
        let strange = row("a\"b<c>&: #", 0, 0, 0);
        assert!(single(Format::Json, &strange).starts_with("{\"channel\": \"a\\\"b<c>&: #\","));
        assert!(single(Format::Xml, &strange).contains("<name>a\"b&lt;c&gt;&amp;: #</name>"));
        assert!(single(Format::Yaml, &strange).starts_with("  channel: \"a\\\"b<c>&: #\"\r\n"));
        assert_eq!(yaml("user_presence.100:x"), "user_presence.100:x");
    }
}
