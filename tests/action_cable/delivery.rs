//! AC-51 to AC-58: what subscribers receive, and when.

use crate::support::cable::{PUBLIC, PUBLISH_KEY, api, confirm, data, event, public, string};
use crate::support::{Cable, Caller, Door, REACTORS, Server};
use fanwire::metrics::Counter;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

#[test]
fn ac_51_the_documents_announcement_has_its_286_bytes() {
    let server = Server::with_cable("", "");
    let mut cable = Cable::open(&server, 1);
    let identifier = api("announcements");
    cable.subscribe(&identifier);
    let object =
        r#"{"id":8,"text":null,"expiry":null,"created_at":"2017-07-29T23:41:59.000Z","updated_at":"2017-07-29T23:41:59.000Z"}"#;
    server.cable_event("create", "Announcement", object);
    let expected = data(&identifier, &event("create", "Announcement", object));
    assert_eq!(expected.len(), 286);
    assert_eq!(cable.take(4), b"\x81\x7e\x01\x1e");
    assert_eq!(cable.take(286), expected.as_bytes());
}

/// Section 6.2, as it stands there.
const MODELS: [(&str, &str); 32] = [
    ("abuse_comments", "AbuseComment"),
    ("abuse_contacts", "AbuseContact"),
    ("abuse_reports", "AbuseReport"),
    ("abuse_report_statuses", "AbuseReportStatus"),
    ("announcements", "Announcement"),
    ("api_keys", "APIKey"),
    ("api_tokens", "APIToken"),
    ("deletion_logs", "DeletionLog"),
    ("domain_links", "DomainLink"),
    ("domain_tags", "DomainTag"),
    ("feedbacks", "Feedback"),
    ("flags", "Flag"),
    ("flag_conditions", "FlagCondition"),
    ("flag_logs", "FlagLog"),
    ("flag_settings", "FlagSetting"),
    ("github_tokens", "GithubToken"),
    ("moderator_sites", "ModeratorSite"),
    ("posts", "Post"),
    ("post_comments", "PostComment"),
    ("reasons", "Reason"),
    ("review_items", "ReviewItem"),
    ("review_queues", "ReviewQueue"),
    ("review_results", "ReviewResult"),
    ("roles", "Role"),
    ("sites", "Site"),
    ("smoke_detectors", "SmokeDetector"),
    ("spam_domains", "SpamDomain"),
    ("stack_exchange_users", "StackExchangeUser"),
    ("statistics", "Statistic"),
    ("users", "User"),
    ("user_site_settings", "UserSiteSetting"),
    ("ref", "Ref"),
];

#[test]
fn ac_52_each_class_is_published_under_its_own_token() {
    let server = Server::with_cable("", "");
    let mut cables: Vec<Cable> = (0..MODELS.len()).map(|index| Cable::open(&server, 1 + index % 3)).collect();
    for (cable, (token, _)) in cables.iter_mut().zip(MODELS) {
        cable.subscribe(&api(token));
    }
    let events: Vec<String> =
        MODELS.iter().flat_map(|(_, class)| ["create", "update"].map(|kind| event(kind, class, "{\"id\":1}"))).collect();
    let answer = server.call("POST", "/api/events", "", format!("[{}]", events.join(",")).as_bytes());
    assert_eq!(answer.status, 201, "{answer:?}");
    for (cable, (token, class)) in cables.iter_mut().zip(MODELS) {
        let expected = ["create", "update"].map(|kind| data(&api(token), &event(kind, class, "{\"id\":1}")));
        assert_eq!(cable.texts(&server), expected, "{token}");
    }
    // No other spelling of a class is one.
    for class in ["post", "Posts", "ApiKey", "Refs", "ref"] {
        assert_eq!(server.cable_post(0, "/api/events", &event("create", class, "{}")).status, 422, "{class}");
    }
}

#[test]
fn ac_53_two_subscriptions_that_match_give_two_frames_in_their_order() {
    // T-17, where Rails has no order.
    let server = Server::with_cable("", "");
    for (reactor, (first, second)) in [(1, ("posts", "posts#create")), (2, ("posts#create", "posts"))] {
        let mut cable = Cable::open(&server, reactor);
        cable.subscribe(&api(first));
        cable.subscribe(&api(second));
        for id in 0..20 {
            let object = format!("{{\"id\":{id}}}");
            server.cable_event("create", "Post", &object);
            cable.expect_data(&api(first), &event("create", "Post", &object));
            cable.expect_data(&api(second), &event("create", "Post", &object));
        }
        // One of them matches.
        server.cable_event("update", "Post", "{}");
        assert_eq!(cable.texts(&server), [data(&api("posts"), &event("update", "Post", "{}"))]);
        // The order is that of the making, also after one of them was made again.
        cable.unsubscribe(&api(first));
        cable.subscribe(&api(first));
        server.cable_event("create", "Post", "{}");
        cable.expect_data(&api(second), &event("create", "Post", "{}"));
        cable.expect_data(&api(first), &event("create", "Post", "{}"));
    }
}

#[test]
fn ac_54_messages_of_every_json_type_arrive_as_such() {
    // T-20.
    let server = Server::with_cable(PUBLIC, "");
    let mut cables: Vec<Cable> = (0..REACTORS).map(|reactor| Cable::open(&server, reactor)).collect();
    for cable in &mut cables {
        cable.subscribe(&public("s"));
    }
    let long = string(&"é😀".repeat(20_000));
    let values = [
        r#"{"event_type":"create","event_class":"Post","object":{"id":1}}"#,
        "{}",
        "[1,null]",
        "[]",
        r#""s""#,
        r#""""#,
        "0",
        "-1.5e3",
        "true",
        "false",
        "null",
        &long,
    ];
    for value in values {
        server.broadcast(2, "s", value);
    }
    for cable in &mut cables {
        for value in values {
            cable.expect_data(&public("s"), value);
        }
    }
}

#[test]
fn ac_55_the_text_of_a_message_loses_its_spaces_and_nothing_else() {
    let server = Server::with_cable(PUBLIC, "");
    let mut cable = Cable::open(&server, 1);
    cable.subscribe(&public("s"));
    cable.subscribe(&api("posts"));
    let spaced = r#"{ "b":1.0, "a":12345678901234567890 }"#;
    let compact = r#"{"b":1.0,"a":12345678901234567890}"#;
    server.broadcast(2, "s", spaced);
    cable.expect_data(&public("s"), compact);
    server.cable_event("create", "Post", spaced);
    cable.expect_data(&api("posts"), &event("create", "Post", compact));
    // T-09 and T-20: escapes, signs that Rails writes as escapes, and both of a duplicate key stay as they were written.
    for (sent, expected) in [
        (r#"{ "spaced" : true ,"f":1.0, "dup":1,"dup":2 }"#, r#"{"spaced":true,"f":1.0,"dup":1,"dup":2}"#),
        ("{\n\t\"<b> & \u{2028}\":\r\n \"a  b\\u003c\\/\" }", "{\"<b> & \u{2028}\":\"a  b\\u003c\\/\"}"),
        ("[ 1E10 , -0.0 ]", "[1E10,-0.0]"),
    ] {
        server.broadcast(2, "s", sent);
        cable.expect_data(&public("s"), expected);
    }
}

#[test]
fn ac_56_leaving_and_coming_back_at_once_is_confirmed_every_time() {
    // T-25: Rails leaves a quarter of the rounds without a confirm.
    let server = Server::with_cable("", "");
    for reactor in 0..2 {
        let mut cable = Cable::open(&server, reactor);
        let identifier = api("posts;feedbacks");
        cable.subscribe(&identifier);
        let command = |verb: &str| {
            let text = format!("{{\"command\":\"{verb}\",\"identifier\":{}}}", string(&identifier));
            crate::support::masked(0x81, text.as_bytes())
        };
        let round = [command("unsubscribe"), command("subscribe")].concat();
        cable.send(round.repeat(200));
        for index in 0..200 {
            assert_eq!(cable.text(), confirm(&identifier), "round {index}");
        }
        server.expect_silence(&mut cable);
        server.cable_event("create", "Post", "{}");
        assert_eq!(cable.texts(&server), [data(&identifier, &event("create", "Post", "{}"))], "one delivery");
        assert_eq!(server.subscribers("api:posts_create"), 1);
        cable.unsubscribe(&identifier);
        server.wait_for_subscribers("api:posts_create", 0);
    }
}

/// A publisher on this reactor who keeps its connection.
fn publisher(door: &Door, reactor: usize) -> impl FnMut(&str, &str) -> u64 + use<> {
    assert_eq!(door.key, PUBLISH_KEY);
    let mut caller = Caller::new(door, reactor);
    move |stream, message| {
        let body = format!("{{\"stream\":{},\"data\":{}}}", string(stream), string(message));
        let answer = caller.post("/_broadcast", "", body.as_bytes());
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.field("X-Fanwire-Seq").expect("the place in the order").parse().expect("a number")
    }
}

#[test]
fn ac_57_a_thousand_publishes_arrive_everywhere_in_their_order() {
    // T-25: on Rails eight neighbours are swapped.
    let server = Server::with_cable("", "");
    let streams = ["api:posts_create", "api:posts_update", "api:feedbacks_create", "api_statistics", "api:flags_destroy"];
    let identifiers = [api("posts;feedbacks#create;flags#destroy"), api("")];
    let mut cables: Vec<Cable> = (0..REACTORS).map(|reactor| Cable::open(&server, reactor)).collect();
    for cable in &mut cables {
        identifiers.iter().for_each(|identifier| cable.subscribe(identifier));
    }
    let mut publishers: Vec<_> = (0..REACTORS).map(|reactor| publisher(&server, reactor)).collect();
    let mut last = 0;
    let mut expected = Vec::new();
    for number in 0..1_000 {
        let stream = streams[(number * number + number / 7) % streams.len()];
        let seq = publishers[number % REACTORS](stream, &number.to_string());
        assert!(seq > last, "the order of the acknowledgements");
        last = seq;
        expected.push(data(&identifiers[usize::from(stream == "api_statistics")], &number.to_string()));
    }
    for (reactor, cable) in cables.iter_mut().enumerate() {
        for (number, expected) in expected.iter().enumerate() {
            assert_eq!(cable.text(), *expected, "message {number} on reactor {reactor}");
        }
        server.expect_silence(cable);
    }
}

#[test]
fn ac_58_data_begins_behind_the_confirm_and_leaves_nothing_out() {
    let server = Server::with_cable(PUBLIC, "");
    let door: Door = *server;
    let (begun, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let mut publish = publisher(&door, 0);
            while !stop.load(SeqCst) {
                let number = begun.fetch_add(1, SeqCst);
                publish("s", &number.to_string());
            }
        });
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            for round in 0..60 {
                let mut cable = Cable::open(&door, round % REACTORS);
                let identifier = public("s");
                // The first frame behind the welcome is the confirm.
                cable.subscribe(&identifier);
                let may_be_missing = begun.load(SeqCst);
                let number = |text: String| {
                    let message = text.strip_prefix(data(&identifier, "").trim_end_matches('}'));
                    let message = message.unwrap_or_else(|| panic!("a data frame: {text}"));
                    message.trim_end_matches('}').parse::<usize>().expect("a number")
                };
                let first = number(cable.text());
                assert!(first <= may_be_missing, "round {round}: {first} came first, {may_be_missing} was not begun yet");
                for next in first + 1..first + 20 {
                    assert_eq!(number(cable.text()), next, "round {round}");
                }
                cable.unsubscribe(&identifier);
                cable.say("{\"command\":\"subscribe\",\"identifier\":\"marker\"}");
                // What was on its way ends with the unsubscribe: the answer behind it is the last frame.
                while !cable.text().contains("reject_subscription") {}
                let later = begun.load(SeqCst);
                server.wait_until("one more is acknowledged", |_| begun.load(SeqCst) > later + 1);
                server.expect_silence(&mut cable);
            }
        }));
        stop.store(true, SeqCst);
        outcome.expect("every round holds");
    });
    assert_eq!(server.count(Counter::Panics), 0);
}
