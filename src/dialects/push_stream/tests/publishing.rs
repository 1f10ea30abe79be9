//! Sections 9 and 10: the publisher and statistics.

use super::*;
use crate::exchange::{ReactorRow, Refusal, Report, TopicRow};
use smallvec::SmallVec;

const KEY: [(&str, &str); 1] = [("Authorization", "Bearer key")];

pub fn report(rows: Vec<TopicRow>) -> Report {
    Report {
        unix_seconds: NOON,
        uptime_seconds: 190,
        topics: 6,
        wildcard_topics: 0,
        published: 32,
        stored: 30,
        documents: 0,
        document_subscriptions: 0,
        reactors: vec![ReactorRow { thread: 7, subscribers: 2, uptime_seconds: 190 }],
        rows,
    }
}

fn rows(names: &[&str]) -> Answer {
    let row = |&name: &&str| TopicRow { name: name.into(), published: 1, stored: 1, subscribers: 0 };
    Answer::Report(Box::new(report(names.iter().map(row).collect())))
}

fn published(names: &[&str]) -> Answer {
    let Answer::Report(report) = rows(names) else { unreachable!("rows make a report") };
    Answer::Published { published: SmallVec::new(), report: Some(report) }
}

fn backend() -> Server {
    let mut server = server(|_| ());
    server.door = Door::Admin;
    server
}

fn post(server: &Server, target: &str, body: &str) -> Client {
    let mut client = server.request("POST", target, &KEY);
    assert!(client.takes_body, "{:?}", client.opened);
    client.opened = client.received(Inbound::Body(body.into()));
    client
}

/// PT-1, PT-2, PT-3.
#[test]
fn a_post_publishes_and_tells_the_counts() {
    let server = backend();
    let mut client = post(&server, "/pub?id=a", "{\"n\": 1}");
    assert_eq!(client.opened, ["publish a={\"n\":1} ? Report(Names([\"a\"]))"]);
    assert_eq!(
        client.answered(published(&["a"])),
        ["HTTP/1.1 200 OK | Content-Type: application/json | Content-Length: 83\n\
          {\"channel\": \"a\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 0}\r\n"]
    );
    let mut client = post(&server, "/pub?id=a/b/c", "{\"n\":3}");
    assert_eq!(client.opened, ["publish a={\"n\":3}, b={\"n\":3}, c={\"n\":3} ? Report(Names([\"a\", \"b\", \"c\"]))"]);
    let answer = &client.answered(published(&["a", "b", "c"]))[0];
    assert!(
        answer.starts_with("HTTP/1.1 200 OK | Content-Type: application/json | Content-Length: 371\n{\"hostname\": \"vm\", ")
    );
    let empty = "HTTP/1.1 400 Bad Request | Content-Length: 0 | X-Nginx-PushStream-Explain: Empty post requests are not allowed.";
    assert_eq!(post(&server, "/pub?id=a", "").opened, [empty]);
    let mut quiet = super::server(|options| (options.info_on_publish, options.store) = (false, false));
    quiet.door = Door::Admin;
    let mut client = post(&quiet, "/pub?id=a", "{\"n\":4}");
    assert_eq!(client.opened, ["publish a={\"n\":4} unstored"]);
    let done = client.answered(Answer::Published { published: SmallVec::new(), report: None });
    assert_eq!(done, ["HTTP/1.1 200 OK | Content-Length: 0"]);
}

#[test]
fn event_fields_travel_with_the_message() {
    let server = backend();
    let with = |fields: &[(&str, &str)]| {
        let mut client = server.request("PUT", "/pub?id=a", fields);
        client.received(Inbound::Body(b"1".to_vec())).join("")
    };
    assert!(!with(&[("Event-Id", "")]).contains("EventFields"));
    assert!(with(&[("Event-Id", "77"), ("Event-Type", "upd")]).contains("EventFields { id: Some([55, 55]), kind: Some([117"));
    for (field, explain) in [("Event-Id", "Event id is not valid."), ("Event-Type", "Event type is not valid.")] {
        let answer = server.answer("POST", "/pub?id=a", &[(field, "a\tb")]);
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with(explain), "{answer}");
    }
}

/// PT-50.
#[test]
fn only_valid_payloads_are_published() {
    let server = backend();
    let explained = |client: &Client| client.opened[0].rsplit_once("Explain: ").unwrap().1.to_owned();
    assert_eq!(explained(&post(&server, "/pub?id=raw", "he said \"hi\"\nline2")), "Message text is not valid JSON.");
    let mut server = super::server(|options| {
        options.payload = crate::dialects::push_stream::options::Payload::Text;
        (options.ping_text, options.heartbeat_text) = ("x".into(), "x".into());
    });
    server.door = Door::Admin;
    assert!(post(&server, "/pub?id=raw", "he said \"hi\"\n").opened[0].starts_with("publish raw=he said \"hi\"\n ?"));
    let mut client = server.request("POST", "/pub?id=raw", &[]);
    let answer = client.received(Inbound::Body(vec![b'x', 0xff]));
    assert!(answer[0].ends_with("Explain: Message text is not valid UTF-8."));
}

/// PT-51.
#[test]
fn id_lists_are_read_as_recorded() {
    let server = backend();
    let asked = |target: &str| post(&server, target, "1").opened[0].split_once(" ?").unwrap().0.to_owned();
    assert_eq!(asked("/pub?id=q.b2"), "publish q=1");
    assert_eq!(asked("/pub?id=x%2Fy"), "publish x=1, y=1");
    assert_eq!(asked("/pub?id=w/w"), "publish w=1");
    assert_eq!(asked("/pub?id=/lead//z/"), "publish lead=1, z=1");
    for method in ["GET", "DELETE", "POST"] {
        let answer = server.answer(method, "/pub", &[]);
        assert!(answer.ends_with("Explain: No channel id provided."), "{method}");
        let answer = server.answer(method, "/pub?id=ALL", &[]);
        assert!(
            answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("Channel id not authorized for this method."),
            "{method}"
        );
    }
    let look = |target: &str, known: &[&str]| {
        let mut client = server.get(target);
        assert!(!client.takes_body);
        client.answered(rows(known)).join("")
    };
    assert!(look("/pub?id=q/none", &["q"]).contains("\n{\"channel\": \"q\","));
    assert!(look("/pub?id=q/r", &["q", "r"]).contains("\n{\"hostname\": \"vm\","));
    assert_eq!(look("/pub?id=none1/none2", &[]), "HTTP/1.1 404 Not Found | Content-Length: 0");
    assert_eq!(server.get("/pub?id=q/none").opened, ["ask Report(Names([\"q\", \"none\"]))"]);
}

/// PT-27, PT-28.
#[test]
fn a_delete_tells_the_listeners_why() {
    let server = backend();
    let delete = |body: &str| {
        let mut client = server.request("DELETE", "/pub?id=b/nosuch", &[]);
        let asked = client.received(Inbound::Body(body.into())).join("");
        (client, asked)
    };
    let (mut client, asked) = delete("");
    assert_eq!(asked, "delete [\"b\", \"nosuch\"] \"Channel deleted\"");
    let done = "HTTP/1.1 200 OK | Content-Length: 0 | X-Nginx-PushStream-Explain: Channel deleted.";
    assert_eq!(client.answered(Answer::Deleted(1)), [done]);
    let (mut client, asked) = delete("\"maintenance\"");
    assert_eq!(asked, "delete [\"b\", \"nosuch\"] \"maintenance\"");
    assert_eq!(client.answered(Answer::Deleted(0)), ["HTTP/1.1 404 Not Found | Content-Length: 0"]);
    assert_eq!(delete("good bye").1, "delete [\"b\", \"nosuch\"] \"good bye\"");
}

#[test]
fn on_the_public_port_a_key_is_asked_for() {
    let mut server = server(|_| ());
    let missing = "HTTP/1.1 401 Unauthorized | Content-Length: 0 | X-Nginx-PushStream-Explain: Access key is missing or wrong.";
    for door in [Door::Public, Door::Both] {
        server.door = door;
        for target in ["/pub?id=a", "/pub?id=ALL", "/channels-stats"] {
            assert_eq!(server.answer("GET", target, &[]), missing);
            assert_eq!(server.answer("GET", target, &[("Authorization", "Bearer XXX")]), missing);
            assert_eq!(server.answer("GET", &format!("{}?auth_token=key&id=a", target.split('?').next().unwrap()), &[]), missing);
        }
        assert_eq!(server.answer("GET", "/pub?id=a", &[("Authorization", "Bearer stats")]), missing);
        assert_eq!(server.answer("GET", "/channels-stats", &[("Authorization", "Bearer narrow")]), missing);
        let narrow = |method: &str, target: &str| server.request(method, target, &[("Authorization", "Bearer narrow")]);
        assert!(narrow("POST", "/pub?id=a1/a2").takes_body);
        let refused = narrow("POST", "/pub?id=a1/b").opened.join("");
        assert!(refused.starts_with("HTTP/1.1 403 ") && refused.ends_with("Access key has no right to a channel."), "{refused}");
        assert_eq!(server.request("GET", "/channels-stats", &[("Authorization", "Bearer stats")]).opened, ["ask Report(Sums)"]);
        assert!(post(&server, "/pub?id=a", "1").opened[0].starts_with("publish"));
    }
}

/// PT-35.
#[test]
fn the_events_channel_cannot_be_changed() {
    let mut server = server(|options| options.events_channel = "ev_chan".into());
    server.door = Door::Admin;
    for method in ["POST", "PUT", "DELETE"] {
        let answer = server.answer(method, "/pub?id=a/ev_chan", &[]);
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("Only internal routines can change events channel."));
    }
    assert!(server.get("/pub?id=ev_chan").session.is_some());
}

#[test]
fn refusals_of_the_hub_are_answers() {
    let server = backend();
    let unavailable = "503 Service Unavailable";
    for (refusal, status) in [
        (Refusal::TooManyTopics, "403 Forbidden"),
        (Refusal::OutOfMemory, unavailable),
        (Refusal::StorageUnavailable, unavailable),
    ] {
        let answer = post(&server, "/pub?id=many37", "1").answered(Answer::Refused(refusal));
        assert!(answer[0].starts_with(&format!("HTTP/1.1 {status} | Content-Length: 0 | X-Nginx-PushStream-Explain: ")));
    }
    let mut client = post(&server, "/pub?id=a", "1");
    client.draining();
    assert!(client.answered(published(&["a"]))[0].contains(" | Connection: close\n"));
}

/// PT-22, PT-51.
#[test]
fn statistics_have_their_shapes() {
    let server = backend();
    for (query, asked) in [
        ("", "Sums"),
        ("?id=", "Sums"),
        ("?id=stA/stB.b3/nosuch", "Names([\"stA\", \"stB\", \"nosuch\"])"),
        ("?id=ALL", "Prefix(\"\")"),
        ("?id=pre*", "Prefix(\"pre\")"),
        ("?id=*", "Prefix(\"\")"),
        ("?id=k*/m", "Prefix(\"k\")"),
        ("?id=ALL/m", "Prefix(\"\")"),
        ("?id=m/k*/ALL", "Prefix(\"k\")"),
    ] {
        let client = server.get(&format!("/channels-stats{query}"));
        assert_eq!((client.opened.join(""), client.takes_body), (format!("ask Report({asked})"), false), "{query}");
    }
    let shown = |query: &str, known: &[&str]| server.get(&format!("/channels-stats?id={query}")).answered(rows(known)).join("");
    assert!(shown("a/b", &["a"]).contains("\n{\"channel\": \"a\","));
    assert!(shown("a/b", &["a", "b"]).contains("\n{\"hostname\": \"vm\","));
    assert_eq!(shown("a/b", &[]), "HTTP/1.1 404 Not Found | Content-Length: 0");
    assert!(shown("pre*", &["pre1"]).contains("\n{\"hostname\": \"vm\","));
    assert!(shown("pre*", &[]).ends_with("\"infos\": [\r\n]}\r\n"));
    assert!(shown("", &[]).contains("\"by_worker\": [\r\n{\"pid\": \"7\", \"subscribers\": 2, \"uptime\": 190}\r\n]}\r\n"));
    for (list, explain) in
        [("a*b", "not authorized for this method."), ("$x*", "not authorized for this method."), ("%22", "not valid.")]
    {
        assert!(server.answer("GET", &format!("/channels-stats?id={list}"), &[]).ends_with(explain), "{list}");
    }
}

#[test]
fn accept_chooses_the_format() {
    let server = backend();
    let with =
        |accept: &str| server.request("GET", "/channels-stats?id=a", &[("Accept", accept)]).answered(rows(&["a"])).join("");
    assert!(
        with("application/yaml").contains("Content-Type: application/yaml | ")
            && with("application/yaml").contains("\n  channel: a")
    );
    assert!(with("text/html,application/xml;q=0.9").contains("\n<?xml version"));
    assert!(with("text/plain").contains("active_subscribers: 0"));
    assert!(with("image/png").contains("Content-Type: application/json"));
}
