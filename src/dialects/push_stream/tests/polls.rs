//! Section 8.1: what a poll answers, and when.

use super::*;

const OK: &str = "HTTP/1.1 200 OK | Content-Type: application/json | Content-Length: ";
const NOTHING: &str = "HTTP/1.1 304 Not Modified | Content-Type: application/json | Content-Length: 0";
const NOON_TEXT: &str = "Fri, 20 Nov 2026 16:17:46 GMT";

fn part(topic: &str, id: i64, text: &str, tag: u32) -> String {
    format!("{{\"id\":{id},\"channel\":\"{topic}\",\"message\":{text},\"tag\":\"{tag}\",\"time\":\"{NOON_TEXT}\"}}")
}

fn news(body: &str, tag: u32) -> String {
    format!("{OK}{} | Last-Modified: {NOON_TEXT} | Etag: W/{tag}\n{body}", body.len())
}

/// A server, and a poll of it that has joined at `(NOON, 3)`.
fn poll(server: &Server, target: &str) -> Client {
    let mut client = server.get(target);
    assert!(client.joined(&joined(stamp(NOON, 3))).is_empty());
    client
}

fn three() -> [Arc<Message>; 3] {
    let at = |tag| stamp(NOON, tag);
    [message("l1", 1, at(1), "{\"k\":1}"), message("l2", 1, at(2), "{\"k\":2}"), message("l1", 2, at(3), "{\"k\":3}")]
}

/// PT-11, in tag order, with a length and without a last separator.
#[test]
fn news_are_answered_at_once_all_of_it() {
    let server = open_server(|_| ());
    let body = format!("{}\n{}", part("l2", 1, "{\"k\":2}", 2), part("l1", 2, "{\"k\":3}", 3));
    for mode in ["longpoll", "shortpoll"] {
        let mut client = poll(&server, &format!("/{mode}/l1/l2?tag=1&{NOON_QUERY}"));
        assert_eq!(client.page(&three()[1..]), [news(&body, 3)], "{mode}");
    }
}

#[test]
fn pages_are_one_answer() {
    let server = open_server(|options| options.message_separator = "\r\n".into());
    let mut client = poll(&server, "/longpoll/l1/l2?time=Thu,+01+Jan+1970+00:00:00+GMT");
    let [one, two, three] = three();
    assert!(client.act(|session, actions| session.page(&[one, two], false, actions)).is_empty());
    let parts = [part("l1", 1, "{\"k\":1}", 1), part("l2", 1, "{\"k\":2}", 2), part("l1", 2, "{\"k\":3}", 3)];
    assert_eq!(client.page(&[three]), [news(&parts.join("\r\n"), 3)]);
}

/// PT-10: the first message ends the wait, alone.
#[test]
fn a_long_poll_waits_for_one_message() {
    let server = open_server(|_| ());
    let mut client = poll(&server, "/longpoll/l1/l2");
    assert_eq!(client.page(&[]), ["wake in 25000 ms"]);
    let fresh = message("l1", 1, stamp(NOON, 4), "{\"k\":1}");
    assert_eq!(client.after(5_000).delivered(&fresh), [news(&part("l1", 1, "{\"k\":1}", 4), 4)]);
}

/// PT-16, on a hand-turned clock.
#[test]
fn a_long_poll_ends_after_25_seconds_with_the_now_cursor() {
    let server = open_server(|_| ());
    let mut client = server.get("/longpoll/idle25");
    client.after(400).joined(&joined(stamp(NOON, 3)));
    assert_eq!(client.page(&[]), ["wake in 24600 ms"]);
    assert_eq!(client.after(24_600).woken(), ["ask head"]);
    let ended = client.answered(Answer::Head(stamp(NOON + 25, 0)));
    assert_eq!(ended, [format!("{NOTHING} | Last-Modified: Fri, 20 Nov 2026 16:18:11 GMT | Etag: W/0")]);
}

#[test]
fn a_message_between_the_end_and_its_cursor_is_still_sent() {
    let server = open_server(|_| ());
    let mut client = poll(&server, "/longpoll/l1");
    client.page(&[]);
    assert_eq!(client.after(25_000).woken(), ["ask head"]);
    let fresh = message("l1", 1, stamp(NOON, 4), "1");
    assert_eq!(client.delivered(&fresh), [news(&part("l1", 1, "1", 4), 4)]);
}

#[test]
fn reading_longer_than_the_wait_ends_it_at_once() {
    let server = open_server(|_| ());
    let mut client = poll(&server, "/longpoll/l1");
    assert_eq!(client.after(26_000).page(&[]), ["ask head"]);
}

/// PT-38, with the headers' tag and time.
#[test]
fn timeout_with_body_sends_control_message_3() {
    let server = open_server(|options| options.timeout_with_body = true);
    let body = part("", -3, "\"Timed out\"", 0);
    let mut client = poll(&server, "/longpoll/l1");
    client.page(&[]);
    client.after(25_000).woken();
    assert_eq!(client.answered(Answer::Head(stamp(NOON, 0))), [news(&body, 0)]);
    let mut client = poll(&server, "/longpoll/l1?callback=f");
    client.page(&[]);
    client.after(25_000).woken();
    assert!(client.answered(Answer::Head(stamp(NOON, 0)))[0].ends_with(&format!("f([{body}]);")));
}

/// PT-14, PT-15.
#[test]
fn a_short_poll_without_news_never_waits() {
    let server = open_server(|_| ());
    let nothing = |query: &str| poll(&server, &format!("/shortpoll/s1?{query}")).page(&[]);
    assert_eq!(nothing(""), [format!("{NOTHING} | Last-Modified: {NOON_TEXT} | Etag: W/3")]);
    assert_eq!(nothing("tag=1"), [format!("{NOTHING} | Last-Modified: {NOON_TEXT} | Etag: W/3")]);
    let early = "time=Thu,+01+Jan+2026+00:00:00+GMT";
    let echo = format!("{NOTHING} | Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT");
    assert_eq!(nothing(&format!("tag=7&{early}")), [format!("{echo} | Etag: W/7")]);
    assert_eq!(nothing(early), [echo]);
}

/// PT-13, as far as the answer goes: which message comes back is the hub's choice.
#[test]
fn recorded_tags_are_echoed_as_read() {
    let server = open_server(|_| ());
    for (tag, etag) in
        [("3", " | Etag: W/3"), ("%223%22", " | Etag: W/3"), ("W%2F3", " | Etag: W/3"), ("-1", ""), ("2.5", ""), ("*", "")]
    {
        let mut client = poll(&server, &format!("/shortpoll/s1?tag={tag}&{NOON_QUERY}"));
        assert_eq!(client.page(&[]), [format!("{NOTHING} | Last-Modified: {NOON_TEXT}{etag}")], "{tag}");
    }
}

#[test]
fn a_foreign_cursor_counts_as_none() {
    let server = open_server(|_| ());
    let target = "/shortpoll/s1?tag=1&time=Sat%2C%2014%20Nov%202099%2015%3A51%3A54%20GMT";
    let foreign = Joined { gap: true, foreign: true, ..joined(stamp(NOON, 3)) };
    let mut client = server.get(target);
    client.joined(&foreign);
    let now = format!("{NOTHING} | Last-Modified: {NOON_TEXT} | Etag: W/3 | X-Fanwire-Gap: 1");
    assert_eq!(client.page(&[]), std::slice::from_ref(&now));
    // PT-51: with a backtrack the message's own stamp answers.
    let mut client = server.get(&target.replace("s1", "k.b1"));
    client.joined(&foreign);
    let answer = &client.page(&[message("k", 9, stamp(NOON, 2), "1")])[0];
    assert!(answer.contains("Etag: W/2 | X-Fanwire-Gap: 1\n"), "{answer}");
    let mut client = server.get(&target.replace("shortpoll", "longpoll"));
    client.joined(&foreign);
    assert_eq!(client.page(&[]), [now]);
}

#[test]
fn headers_are_the_greater_of_cursor_and_body() {
    let server = open_server(|_| ());
    let old = [message("k", 1, stamp(NOON, 1), "1")];
    let mut client = poll(&server, &format!("/shortpoll/k.b1/m?tag=2&{NOON_QUERY}"));
    assert!(client.page(&old)[0].contains(&format!("Last-Modified: {NOON_TEXT} | Etag: W/2\n")));
    let mut client = poll(&server, &format!("/shortpoll/k.b1/m?{NOON_QUERY}"));
    assert!(client.page(&old)[0].contains(&format!("Last-Modified: {NOON_TEXT}\n")));
}

#[test]
fn an_event_id_is_answered_with_its_stamp() {
    let server = open_server(|_| ());
    let found = Joined { start: Some((NOON, 2)), ..joined(stamp(NOON, 3)) };
    let mut client = server.request("GET", "/shortpoll/a", &[("Last-Event-ID", "e5")]);
    client.joined(&found);
    assert_eq!(client.page(&[]), [format!("{NOTHING} | Last-Modified: {NOON_TEXT} | Etag: W/2")]);
    let mut client = server.request("GET", "/shortpoll/a", &[("Last-Event-ID", "nobody")]);
    client.joined(&Joined { gap: true, ..joined(stamp(NOON, 3)) });
    assert_eq!(client.page(&[]), [format!("{NOTHING} | Last-Modified: {NOON_TEXT} | Etag: W/3 | X-Fanwire-Gap: 1")]);
}

#[test]
fn a_gap_is_a_field_and_ends_a_wait_for_nothing() {
    let server = open_server(|_| ());
    let gap = Joined { gap: true, start: Some((5, 1)), ..joined(stamp(NOON, 3)) };
    let mut client = server.get("/longpoll/a?tag=1&time=Thu,+01+Jan+1970+00:00:05+GMT");
    client.joined(&gap);
    assert_eq!(client.page(&[]), [format!("{NOTHING} | Last-Modified: {NOON_TEXT} | Etag: W/3 | X-Fanwire-Gap: 1")]);
    let mut client = server.get("/longpoll/a?tag=1&time=Thu,+01+Jan+1970+00:00:05+GMT");
    client.joined(&gap);
    assert!(client.page(&three()[..1])[0].contains("Etag: W/1 | X-Fanwire-Gap: 1\n"));
}

/// PT-17.
#[test]
fn jsonp_wraps_the_list() {
    let server = open_server(|_| ());
    let mut client = poll(&server, &format!("/longpoll/l1/l2?callback=cb.f&tag=1&{NOON_QUERY}"));
    let body = format!("cb.f([{},{}]);", part("l2", 1, "{\"k\":2}", 2), part("l1", 2, "{\"k\":3}", 3));
    let answer = news(&body, 3).replace("application/json", "application/javascript");
    assert_eq!(client.page(&three()[1..]), [answer]);
    let nothing = poll(&server, "/shortpoll/s1?callback=cb").page(&[]);
    assert!(nothing[0].starts_with("HTTP/1.1 304 Not Modified | Content-Type: application/javascript | Content-Length: 0 | "));
    let long = "f".repeat(129);
    for bad in ["a%20b", "alert(1)", "f%3B", &*long] {
        let answer = server.answer("GET", &format!("/longpoll/a?callback={bad}"), &[]);
        assert!(answer.ends_with("Callback name is not valid."), "{bad}");
    }
    assert!(poll(&server, "/shortpoll/s1?callback=").page(&[])[0].contains("application/json"));
}

#[test]
fn a_body_is_cut_from_the_end_at_its_limit() {
    let [one, two, three] = three();
    let length = part("l1", 1, "{\"k\":1}", 1).len() as u64;
    let server = open_server(|options| options.poll_max_bytes = 2 * length + 1);
    let mut client = poll(&server, "/longpoll/l1/l2?time=Thu,+01+Jan+1970+00:00:00+GMT");
    let body = format!("{}\n{}", part("l1", 1, "{\"k\":1}", 1), part("l2", 1, "{\"k\":2}", 2));
    assert_eq!(client.page(&[one.clone(), two, three]), [news(&body, 2)]);
    let tiny = open_server(|options| options.poll_max_bytes = 1);
    assert_eq!(poll(&tiny, "/shortpoll/l1").page(&[one]), [news(&part("l1", 1, "{\"k\":1}", 1), 1)]);
}

/// PT-29, as valid JSON with the stamp of its place in the log.
#[test]
fn a_deletion_ends_a_waiting_long_poll() {
    let server = open_server(|_| ());
    let gone = message("d3", -2, stamp(NOON, 5), "\"Channel deleted\"");
    let answer = news(&part("d3", -2, "\"Channel deleted\"", 5), 5);
    let mut client = poll(&server, "/longpoll/d3/other");
    client.page(&[]);
    assert_eq!(client.removed(&gone, 1), std::slice::from_ref(&answer));
    let mut client = poll(&server, "/longpoll/d3");
    assert!(client.removed(&gone, 0).is_empty());
    assert_eq!(client.page(&[]), [answer]);
    let mut client = poll(&server, "/shortpoll/d3");
    client.removed(&gone, 0);
    assert!(client.page(&[])[0].starts_with(NOTHING));
}

/// PT-47.
#[test]
fn a_stop_answers_304_and_closes() {
    let server = open_server(|options| options.timeout_with_body = true);
    let mut client = poll(&server, "/longpoll/l1");
    client.page(&[]);
    assert_eq!(client.draining(), ["ask head"]);
    let closed = NOTHING.to_owned() + &format!(" | Last-Modified: {NOON_TEXT} | Connection: close | Etag: W/0");
    assert_eq!(client.answered(Answer::Head(stamp(NOON, 0))), [closed]);
    let mut client = poll(&server, "/longpoll/l1");
    assert!(client.draining().is_empty());
    assert_eq!(client.page(&[]), ["ask head"]);
}

#[test]
fn a_revoked_token_ends_the_wait_with_401() {
    let server = server(|_| ());
    let mut client = poll(&server, "/longpoll/a?auth_token=XXX");
    client.page(&[]);
    assert!(client.review(&["a"]).is_empty());
    server.access.store(Arc::new(access(|tokens| tokens.clear())));
    let refused =
        "HTTP/1.1 401 Unauthorized | Content-Length: 0 | X-Nginx-PushStream-Explain: Authentication token is missing or invalid.";
    assert_eq!(client.review(&["a"]), [refused]);
    let slow = client.act(|session, actions| session.too_slow(actions));
    assert_eq!(slow, ["hangup"]);
}
