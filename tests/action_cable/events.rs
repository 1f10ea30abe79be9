//! AC-39 to AC-50: what `events` asks for, and what is delivered of it.

use crate::support::cable::{api, confirm, data, event, reject, string};
use crate::support::{Cable, Server, Xorshift};
use std::collections::BTreeSet;

/// One event of each kind that the tests tell apart, in the order they are published.
const PROBES: [(&str, &str, &str); 14] = [
    ("Post", "posts", "create"),
    ("Post", "posts", "update"),
    ("Post", "posts", "destroy"),
    ("Feedback", "feedbacks", "create"),
    ("Feedback", "feedbacks", "update"),
    ("Feedback", "feedbacks", "destroy"),
    ("FlagLog", "flag_logs", "create"),
    ("FlagLog", "flag_logs", "update"),
    ("FlagLog", "flag_logs", "destroy"),
    ("Statistic", "statistics", "create"),
    ("Statistic", "statistics", "update"),
    ("Statistic", "statistics", "destroy"),
    ("Flag", "flags", "create"),
    ("Ref", "ref", "update"),
];

/// The names of the legacy streams, and what is published to them.
const LEGACY: [(&str, &str); 4] = [
    ("api_feedback", r#"{"feedback":{"id":9}}"#),
    ("api_flag_logs", r#"{"flag_log":{"id":9}}"#),
    ("api_deletion_logs", r#"{"deletion_log":{"id":9}}"#),
    ("api_statistics", r#"{"statistic":{"id":9}}"#),
];

/// Publishes each probe and each legacy payload once, through reactor 0.
fn publish_all(server: &Server) {
    let events: Vec<String> = PROBES.iter().map(|(class, _, kind)| event(kind, class, "{}")).collect();
    assert_eq!(server.call("POST", "/api/events", "", format!("[{}]", events.join(",")).as_bytes()).status, 201);
    let legacy = LEGACY.map(|(stream, message)| format!("{{\"stream\":\"{stream}\",\"data\":{}}}", string(message)));
    assert_eq!(server.call("POST", "/_broadcast", "", format!("[{}]", legacy.join(",")).as_bytes()).status, 201);
}

/// What came for this identifier alone, in the words of [`PROBES`] and [`LEGACY`].
#[track_caller]
fn came(server: &Server, cable: &mut Cable, identifier: &str) -> Vec<String> {
    let texts = cable.texts(server);
    let name = |text: &String| {
        let event = PROBES.iter().find(|(class, _, kind)| data(identifier, &event(kind, class, "{}")) == *text);
        let legacy = LEGACY.iter().find(|(_, message)| data(identifier, message) == *text);
        let name = event.map(|(_, token, kind)| format!("{token}_{kind}"));
        name.or(legacy.map(|(stream, _)| stream.to_string())).unwrap_or_else(|| panic!("not a frame of {identifier}: {text}"))
    };
    texts.iter().map(name).collect()
}

/// A subscription with this text gets exactly these, and nothing after `unsubscribe`.
#[track_caller]
fn gives(server: &Server, events: &str, expected: &[&str]) {
    let mut cable = Cable::open(server, 1 + events.len() % 3);
    let identifier = api(events);
    cable.subscribe(&identifier);
    publish_all(server);
    assert_eq!(came(server, &mut cable, &identifier), expected, "{events:?}");
    cable.unsubscribe(&identifier);
    server.settle();
    publish_all(server);
    server.expect_silence(&mut cable);
}

/// This identifier is rejected, and nothing is attached.
#[track_caller]
fn is_rejected(server: &Server, identifier: &str) {
    let mut cable = Cable::open(server, 1 + identifier.len() % 3);
    cable.expect_reject(identifier);
    publish_all(server);
    server.expect_silence(&mut cable);
}

/// An identifier whose `events` is this JSON.
fn raw(events: &str) -> String {
    format!("{{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":{events}}}")
}

#[test]
fn ac_39_three_models_give_their_creates_and_updates_and_nothing_else() {
    let server = Server::with_cable("", "");
    let six = ["posts_create", "posts_update", "feedbacks_create", "feedbacks_update", "flag_logs_create", "flag_logs_update"];
    gives(&server, "posts;feedbacks;flag_logs", &six);
    // T-09, as the document has it: the confirm and the frames byte for byte.
    let mut cable = Cable::open(&server, 2);
    let sent = r#"{\"channel\":\"ApiChannel\",\"key\":\"abcdef012345\",\"events\":\"posts;feedbacks;flag_logs\"}"#;
    cable.say(&format!("{{\"command\":\"subscribe\",\"identifier\":\"{sent}\"}}"));
    assert_eq!(cable.text(), format!("{{\"identifier\":\"{sent}\",\"type\":\"confirm_subscription\"}}"));
    server.cable_event("update", "FlagLog", r#"{"id":2}"#);
    let message = r#"{"event_type":"update","event_class":"FlagLog","object":{"id":2}}"#;
    assert_eq!(cable.text(), format!("{{\"identifier\":\"{sent}\",\"message\":{message}}}"));
}

#[test]
fn ac_40_named_types_give_exactly_these() {
    // T-10.
    let server = Server::with_cable("", "");
    gives(&server, "statistics#create,update;posts#create", &["posts_create", "statistics_create", "statistics_update"]);
}

#[test]
fn ac_41_a_destroy_comes_only_to_who_names_it() {
    let server = Server::with_cable("", "");
    gives(&server, "posts#destroy", &["posts_destroy"]);
    gives(&server, "posts#create,destroy;feedbacks", &["posts_create", "posts_destroy", "feedbacks_create", "feedbacks_update"]);
    gives(&server, "posts", &["posts_create", "posts_update"]);
}

#[test]
fn ac_42_without_events_there_are_the_four_legacy_streams() {
    // T-11.
    let server = Server::with_cable("", "");
    let four = LEGACY.map(|(stream, _)| stream);
    let missing = r#"{"channel":"ApiChannel","key":"abcdef012345"}"#.to_owned();
    let identifiers = [missing, raw("null"), raw(r#""""#), raw(r#""   ""#), raw("\"\u{2003}\\t\"")];
    let mut cables: Vec<Cable> = (0..identifiers.len()).map(|index| Cable::open(&server, index % 4)).collect();
    for (cable, identifier) in cables.iter_mut().zip(&identifiers) {
        cable.subscribe(identifier);
    }
    publish_all(&server);
    for (cable, identifier) in cables.iter_mut().zip(&identifiers) {
        assert_eq!(came(&server, cable, identifier), four, "{identifier}");
    }
}

#[test]
fn ac_43_unknown_words_are_confirmed_without_events_and_rejected_if_strict() {
    // T-13.
    let unknown = ["unicorns;posts#frobnicate", "Posts", "posts#Create", "posts,feedbacks", "flag#logs_create", "unicorns"];
    let server = Server::with_cable("", "");
    let topics = server.summary()["channels"].clone();
    for events in unknown {
        gives(&server, events, &[]);
    }
    gives(&server, "unicorns;posts#frobnicate,create", &["posts_create"]);
    let mut cable = Cable::open(&server, 1);
    for events in unknown {
        cable.subscribe(&api(events));
    }
    let grown = server.summary()["channels"].as_u64().unwrap() - topics.as_u64().unwrap();
    assert!(grown <= (PROBES.len() + LEGACY.len()) as u64, "unknown words create no topics: {grown}");
    let models = PROBES.map(|(class, token, _)| format!("{class} = \"{token}\"")).join(",");
    let models: BTreeSet<&str> = models.split(',').collect();
    let models = models.into_iter().collect::<Vec<_>>().join(", ");
    let channel = "[[action_cable.channel]]\nname = \"ApiChannel\"\nkind = \"events\"\nstrict = true\n";
    let legacy = "legacy_streams = [\"api_feedback\", \"api_flag_logs\", \"api_deletion_logs\", \"api_statistics\"]\n";
    let strict = Server::with_cable("", &format!("{channel}models = {{ {models} }}\n{legacy}"));
    for events in unknown {
        is_rejected(&strict, &api(events));
    }
    is_rejected(&strict, &api("posts;unicorns"));
    is_rejected(&strict, &api("posts#create,frobnicate"));
    gives(&strict, "posts;feedbacks#create", &["posts_create", "posts_update", "feedbacks_create"]);
}

#[test]
fn ac_44_superfluous_separators_add_nothing() {
    // T-13.
    let server = Server::with_cable("", "");
    let create = &["posts_create"][..];
    let both = &["posts_create", "posts_update"][..];
    for (events, expected) in [
        ("posts#create#update", create),
        ("posts#,create", create),
        ("posts#create,", create),
        ("posts#create,,update", both),
        (";", &[]),
        ("#create", &[]),
        ("##create", &[]),
        ("posts##create", &[]),
        ("posts#,", &[]),
        ("posts;", both),
        (";posts", both),
        ("posts;;feedbacks", &["posts_create", "posts_update", "feedbacks_create", "feedbacks_update"]),
    ] {
        gives(&server, events, expected);
    }
}

#[test]
fn ac_45_an_item_without_types_rejects_all_and_leaves_nothing_attached() {
    // T-14: Rails gives no answer, and leaves what came before the bad item attached.
    let server = Server::with_cable("", "");
    for events in ["posts#", "posts##", "#", "##", "posts;foo#", "posts#create;#", "posts# ", "posts; # ;feedbacks"] {
        is_rejected(&server, &api(events));
    }
    assert_eq!(server.subscribers("api:posts_create"), 0);
    // The identifier is free, and rejected again as often as it is asked for.
    let mut cable = Cable::open(&server, 3);
    for _ in 0..3 {
        cable.expect_reject(&api("posts;foo#"));
    }
}

#[test]
fn ac_46_events_that_are_no_string_are_rejected() {
    // T-14.
    let server = Server::with_cable("", "");
    for events in [r#"["posts"]"#, "[]", "5", "5.5", r#"{"a":1}"#, "{}", "true", "false"] {
        is_rejected(&server, &raw(events));
    }
    let mut cable = Cable::open(&server, 1);
    cable.subscribe(&raw("null"));
}

#[test]
fn ac_47_a_stream_that_is_named_twice_counts_once() {
    // T-13: Rails delivers twice, and goes on after the unsubscribe.
    let server = Server::with_cable("", "");
    gives(&server, "posts;posts#create", &["posts_create", "posts_update"]);
    gives(&server, "posts#create,create;posts#create", &["posts_create"]);
    assert_eq!(server.subscribers("api:posts_create"), 0, "nothing stays attached");
}

#[test]
fn ac_48_space_around_items_models_and_types_is_ignored() {
    let server = Server::with_cable("", "");
    let four = ["posts_create", "posts_update", "feedbacks_create", "feedbacks_update"];
    gives(&server, " posts ; feedbacks", &four);
    gives(&server, "\tposts\u{a0};\u{2003}feedbacks\n", &four);
    gives(&server, "posts# create", &["posts_create"]);
    gives(&server, " posts # create , destroy # x", &["posts_create", "posts_destroy"]);
    // Inside a word it is a letter that no word has.
    gives(&server, "po sts", &[]);
}

#[test]
fn ac_49_ref_updates_are_of_class_ref() {
    let server = Server::with_cable("", "");
    gives(&server, "ref#update", &["ref_update"]);
    let mut cable = Cable::open(&server, 2);
    cable.subscribe(&api("ref#update"));
    server.cable_event("update", "Ref", "{}");
    cable.expect_data(&api("ref#update"), r#"{"event_type":"update","event_class":"Ref","object":{}}"#);
}

/// Section 6.3, step by step; `None`: reject.
fn model(text: &str) -> Option<BTreeSet<String>> {
    let mut streams = BTreeSet::new();
    if text.trim().is_empty() {
        return Some(LEGACY.iter().map(|(stream, _)| stream.to_string()).collect());
    }
    for item in text.split(';') {
        let item = item.trim();
        if item.is_empty() {
            continue;
        }
        let (token, types) = if item.contains('#') {
            let mut parts: Vec<&str> = item.split('#').map(str::trim).collect();
            while parts.last() == Some(&"") {
                parts.pop();
            }
            if parts.len() < 2 {
                return None;
            }
            (parts[0], parts[1].split(',').map(str::trim).collect())
        } else {
            (item, vec!["create", "update"])
        };
        for kind in types {
            let is_known = ["create", "update", "destroy"].contains(&kind);
            if is_known && PROBES.iter().any(|(_, known, _)| *known == token) {
                streams.insert(format!("{token}_{kind}"));
            }
        }
    }
    (streams.len() <= STREAMS_MAX).then_some(streams)
}

/// Few enough that random texts go beyond it.
const STREAMS_MAX: usize = 6;

#[test]
fn ac_50_any_text_gives_what_the_grammar_says() {
    let server = Server::with_cable(&format!("max_streams_per_subscription = {STREAMS_MAX}"), "");
    let pieces = [
        "posts",
        "feedbacks",
        "flag_logs",
        "statistics",
        "create",
        "update",
        "destroy",
        ";",
        ";",
        "#",
        "#",
        ",",
        " ",
        "x",
        "\"",
        "é",
        "\u{2003}",
        "\n",
        "\\",
    ];
    let mut cables: Vec<Cable> = (0..4).map(|reactor| Cable::open(&server, reactor)).collect();
    let mut outcomes = [0; 3];
    for seed in 1..=300 {
        let mut random = Xorshift(seed * 7_919);
        let text: String = (0..random.below(18)).map(|_| pieces[random.below(pieces.len() as u64) as usize]).collect();
        let cable = &mut cables[seed as usize % 4];
        let identifier = api(&text);
        cable.command("subscribe", &identifier, "");
        let Some(expected) = model(&text) else {
            assert_eq!(cable.text(), reject(&identifier), "seed {seed}: {text:?}");
            outcomes[0] += 1;
            continue;
        };
        assert_eq!(cable.text(), confirm(&identifier), "seed {seed}: {text:?}");
        outcomes[if expected.is_empty() { 1 } else { 2 }] += 1;
        publish_all(&server);
        let came = came(&server, cable, &identifier);
        let published = |name: &String| {
            LEGACY.iter().any(|(stream, _)| stream == name)
                || PROBES.iter().any(|(_, token, kind)| format!("{token}_{kind}") == *name)
        };
        let wanted: BTreeSet<String> = expected.into_iter().filter(published).collect();
        assert_eq!(came.len(), wanted.len(), "seed {seed}: {text:?} once each: {came:?}");
        assert_eq!(came.into_iter().collect::<BTreeSet<_>>(), wanted, "seed {seed}: {text:?}");
        cable.unsubscribe(&identifier);
        server.settle();
    }
    assert!(outcomes.iter().all(|&count| count > 20), "all outcomes occur: {outcomes:?}");
}
