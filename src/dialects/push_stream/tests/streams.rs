//! Section 8.2: streaming and eventsource.

use super::*;
use std::time::Duration;

fn stream(server: &Server, target: &str) -> (Client, Vec<String>) {
    let mut client = server.get(target);
    let begun = client.joined(&joined(stamp(NOON, 3)));
    client.actions.sent_at = client.actions.now.micros;
    (client, begun)
}

/// PT-24, PT-25.
#[test]
fn the_head_is_sent_at_once() {
    let server = open_server(|_| ());
    let (_, begun) = stream(&server, "/stream/st1/st2");
    assert_eq!(
        begun,
        ["begin HTTP/1.1 200 OK | Content-Type: application/json | Transfer-Encoding: chunked", "wake in 30000 ms"]
    );
    let (_, begun) = stream(&server, "/ev/e1");
    assert_eq!(begun[0], "begin HTTP/1.1 200 OK | Content-Type: text/event-stream; charset=utf-8 | Transfer-Encoding: chunked");
    assert_eq!(begun[1], "send 3\r\n: \n\r\n");
}

#[test]
fn a_gap_is_told_in_the_head() {
    let server = open_server(|_| ());
    let mut client = server.get("/ev/e1?eventid=5:1");
    let begun = client.joined(&Joined { gap: true, ..joined(stamp(NOON, 3)) });
    assert!(begun[0].ends_with("Transfer-Encoding: chunked | X-Fanwire-Gap: 1"), "{begun:?}");
}

/// PT-34, with the connection's own position in the ping.
#[test]
fn a_stream_pings_with_its_position_and_ends_with_its_footer() {
    let server = open_server(|options| {
        options.message_template = "[id=~id~ text=~text~ tag=~tag~ time=~time~]".into();
        options.header_template = "<HDR>".into();
        options.footer_template = "<FTR>".into();
        options.payload = crate::dialects::push_stream::options::Payload::Text;
        options.ping_text = "PING".into();
        options.ping_interval = Duration::from_secs(1);
        options.connection_ttl = Duration::from_secs(3);
    });
    let (mut client, begun) = stream(&server, "/stream/sx");
    assert_eq!(begun[1..], ["send 5\r\n<HDR>\r\n", "wake in 1000 ms"]);
    for _ in 0..2 {
        assert_eq!(client.after(1000).woken(), ["ask head", "wake in 1000 ms"]);
        let ping = client.answered(Answer::Head(stamp(NOON, 7)));
        assert_eq!(ping, ["send 3b\r\n[id=-1 text=PING tag=7 time=Fri, 20 Nov 2026 16:17:46 GMT]\n\r\n"]);
        client.actions.sent_at = client.actions.now.micros;
    }
    assert_eq!(client.after(1000).woken(), ["send 5\r\n<FTR>\r\n", "finish"]);
}

/// PT-26.
#[test]
fn an_eventsource_pings_with_a_comment() {
    let server = open_server(|options| {
        options.header_template = "hello\nworld".into();
        options.footer_template = "bye".into();
        options.ping_interval = Duration::from_secs(1);
        options.connection_ttl = Duration::from_secs(3);
    });
    let (mut client, begun) = stream(&server, "/ev/e1");
    assert_eq!(begun[1], "send 10\r\n: hello\n: world\n\r\n");
    for _ in 0..2 {
        assert_eq!(client.after(1000).woken(), ["send 5\r\n: -1\n\r\n", "wake in 1000 ms"]);
        client.actions.sent_at = client.actions.now.micros;
    }
    assert_eq!(client.after(1000).woken(), ["send 6\r\n: bye\n\r\n", "finish"]);
}

#[test]
fn who_still_catches_up_gets_no_ping() {
    let server = open_server(|_| ());
    let (mut client, _) = stream(&server, "/stream/a");
    client.actions.catching_up = true;
    assert_eq!(client.after(30_000).woken(), ["wake in 30000 ms"]);
    client.actions.catching_up = false;
    assert_eq!(client.after(30_000).woken()[0], "ask head");
    client.actions.catching_up = true;
    assert!(client.answered(Answer::Head(stamp(NOON, 7))).is_empty());
    client.actions.catching_up = false;
    assert!(client.answered(Answer::Head(stamp(NOON, 7))).is_empty(), "one answer, one ping");
}

/// PT-30, PT-45.
#[test]
fn the_last_deletion_a_stop_and_a_revocation_end_it() {
    let server = server(|_| ());
    let gone = message("d3", -2, stamp(NOON, 3), "\"Channel deleted\"");
    for target in ["/stream/d3?auth_token=XXX", "/ev/d3?auth_token=XXX"] {
        let (mut client, _) = stream(&server, target);
        assert!(client.removed(&gone, 1).is_empty());
        assert_eq!(client.removed(&gone, 0), ["finish"]);
        assert_eq!(client.draining(), ["finish"]);
        assert!(client.review(&["d3"]).is_empty());
        let slow = client.act(|session, actions| session.too_slow(actions));
        assert_eq!(slow, ["hangup"]);
    }
    let (mut client, _) = stream(&server, "/ev/a?auth_token=XXX");
    let mut early = server.get("/ev/a?auth_token=XXX");
    server.access.store(Arc::new(access(|tokens| tokens.clear())));
    assert_eq!(client.review(&["a"]), ["finish"]);
    assert!(early.review(&["a"])[0].starts_with("HTTP/1.1 401"));
}

#[test]
fn http_1_0_gets_no_chunks() {
    let mut server = open_server(|options| options.header_template = "<HDR>".into());
    server.version = Version::Http10;
    assert_eq!(stream(&server, "/stream/a").1[1], "send <HDR>");
    assert_eq!(stream(&server, "/ev/a").1[1], "send : <HDR>\n");
}

#[test]
fn each_form_has_its_own_encoding() {
    let mut server = open_server(|_| ());
    let mut seen = Vec::new();
    for version in [Version::Http11, Version::Http10] {
        server.version = version;
        for target in ["/stream/a", "/ev/a"] {
            for action in server.open("GET", target, &[]).1.drain() {
                if let Action::Join { delivery: Delivery::Shared(id), .. } = action {
                    seen.push(id);
                }
            }
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 4);
}
