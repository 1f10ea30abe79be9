//! PS-30, PS-31, PS-33 to PS-38, PS-41 and PS-42: long and short polling.

use crate::support::subscriber::cursor;
use crate::support::{Client, Envelope, Mode, Server, date, epoch, escaped};
use std::time::{Duration, Instant};

/// PS-30 [D] A long poll without messages ends after 25 s (25.0 to 25.5 s).
#[test]
fn ps_30_a_long_poll_without_messages_ends_after_25_seconds() {
    let server = Server::start();
    let mut plain = server.subscribe(1, Mode::LongPoll, "idle", "").client;
    let mut with_cursor = server.subscribe(2, Mode::LongPoll, "idle/other", &cursor(server.seconds(), 0)).client;
    server.pass(24.9);
    server.expect_silence(&mut plain);
    server.expect_silence(&mut with_cursor);
    server.pass(0.6);
    server.settle();
    for client in [&mut plain, &mut with_cursor] {
        assert!(client.has_bytes(), "by 25.5 s");
        assert_eq!(client.response().status, 304);
    }
    assert_eq!(server.subscribers("idle"), 0);
    // Messages to other channels change nothing; the time is configurable.
    let server = Server::with("longpoll_ttl = \"2s\"\n");
    let mut client = server.subscribe(1, Mode::LongPoll, "idle", "").client;
    server.pass(1.0);
    server.publish("busy", "1");
    server.pass(0.9);
    server.expect_silence(&mut client);
    server.pass(0.6);
    server.settle();
    assert!(client.has_bytes());
    assert_eq!(client.response().status, 304);
}

/// PS-31 [R] That end is 304 with `Content-Length: 0`, `Last-Modified` of now, `Etag: W/0` when the second had no message, and
/// the connection is kept.
#[test]
fn ps_31_the_time_out_is_a_304_with_a_cursor_on_a_kept_connection() {
    let server = Server::start();
    let mut client = server.subscribe(1, Mode::LongPoll, "idle", "").client;
    for round in 0..3 {
        server.advance(25.5);
        let answer = client.response();
        let now = date(server.seconds());
        assert_eq!(
            answer.raw,
            format!(
                "HTTP/1.1 304 Not Modified\r\nDate: {now}\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\
                 Last-Modified: {now}\r\nConnection: keep-alive\r\nExpires: Thu, 01 Jan 1970 00:00:01 GMT\r\n\
                 Cache-Control: no-cache, no-store, must-revalidate\r\nEtag: W/0\r\n\r\n"
            ),
            "round {round}"
        );
        client.send_get(&format!("/longpoll/idle?auth_token=dev&{}", answer.cursor()), "");
        server.settle();
        assert_eq!(server.subscribers("idle"), 1, "the connection is kept and serves the next poll");
    }
    // With messages in this second the tag is the last one's.
    server.pass(24.9);
    server.publish("other", "1");
    server.publish("other", "2");
    server.pass(0.3);
    let answer = client.response();
    assert_eq!((answer.status, answer.position()), (304, (server.seconds(), 2)), "{}", answer.raw);

    // The body instead, where it is wanted: a control message with the same position as the headers.
    let server = Server::with("timeout_with_body = true\n");
    let mut client = server.subscribe(1, Mode::LongPoll, "idle", "").client;
    server.advance(25.5);
    let answer = client.response();
    let control = answer.envelopes().remove(0);
    assert_eq!((answer.status, answer.field("Connection")), (200, Some("keep-alive")));
    assert_eq!((control.id, control.channel.as_str(), control.message.as_str()), (-3, "", "\"Timed out\""));
    assert_eq!(control.position(), answer.position());
    assert_eq!(control.position(), (server.seconds(), 0));
}

/// PS-33 [R] A waiting long poll is answered at once by the first message, with exactly one message and that message's time and
/// tag in the headers.
#[test]
fn ps_33_a_waiting_long_poll_is_answered_by_the_first_message_alone() {
    let server = Server::start();
    for with_cursor in [false, true] {
        let query = if with_cursor { cursor(server.seconds(), 0) } else { String::new() };
        let mut client = server.subscribe(1, Mode::LongPoll, "l1/l2", &query).client;
        for (channel, text) in [("l1", "1"), ("l2", "2"), ("l1", "3")] {
            server.publish_on(3, channel, text);
        }
        let answer = client.response();
        let messages = answer.envelopes();
        assert_eq!(messages.len(), 1, "{}", answer.text());
        assert_eq!((messages[0].channel.as_str(), messages[0].message.as_str()), ("l1", "1"));
        assert_eq!(answer.position(), messages[0].position());
        assert_eq!(answer.field("Content-Length"), Some(answer.body.len().to_string().as_str()));
        assert_eq!(answer.field("Connection"), Some("keep-alive"));
        // The rest comes at once with the next request.
        let rest = client.get(&format!("/longpoll/l1/l2?auth_token=dev&{}", answer.cursor())).envelopes();
        assert_eq!(rest.iter().map(|envelope| envelope.message.as_str()).collect::<Vec<_>>(), ["2", "3"]);
        server.advance(1.0);
        server.delete("l1/l2");
    }
    // One POST to two of its channels: the first of the two, the other on the next request.
    let mut client = server.subscribe(1, Mode::LongPoll, "l1/l2", "").client;
    server.publish_on(2, "l2/l1", "5");
    let answer = client.response();
    assert_eq!(answer.envelopes().iter().map(|envelope| envelope.channel.as_str()).collect::<Vec<_>>(), ["l2"]);
    let rest = client.get(&format!("/longpoll/l1/l2?auth_token=dev&{}", answer.cursor())).envelopes();
    assert_eq!(rest.iter().map(|envelope| envelope.channel.as_str()).collect::<Vec<_>>(), ["l1"]);
    // HTTP/1.0: a length too, and the connection ends.
    let mut client = Client::on(&server, 1);
    client.send("GET /longpoll/h10?auth_token=dev HTTP/1.0\r\n\r\n");
    server.wait_for_subscribers("h10", 1);
    server.publish("h10", "1");
    let answer = client.response();
    assert!(answer.raw.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!((answer.field("Connection"), answer.field("Transfer-Encoding")), (Some("close"), None));
    assert!(answer.field("Content-Length").is_some());
    client.expect_end();
}

/// Two channels, five messages in two seconds.
fn some_news(server: &Server) -> Vec<Envelope> {
    publish_news(server);
    server.stored("a/b")
}

fn publish_news(server: &Server) {
    for (channel, text) in [("a", "1"), ("b", "2"), ("|", ""), ("b", "3"), ("a", "4"), ("b", "5")] {
        match channel {
            "|" => server.advance(1.0),
            channel => drop(server.publish_on(2, channel, text)),
        }
    }
}

/// PS-34 [R] A poll with news gets all of it, with `Last-Modified` and `Etag` the greatest stamp.
#[test]
fn ps_34_a_poll_with_news_gets_all_of_it_and_the_greatest_stamp() {
    let server = Server::start();
    let all = some_news(&server);
    for mode in ["longpoll", "shortpoll"] {
        for path in ["a/b", "b/a"] {
            let mut client = Client::on(&server, 1);
            for (query, expected) in [(epoch(), &all[..]), (all[1].cursor(), &all[2..]), (all[3].cursor(), &all[4..])] {
                let answer = client.get(&format!("/{mode}/{path}?auth_token=dev&{query}"));
                assert_eq!(answer.envelopes(), expected);
                assert_eq!(answer.position(), all[4].position());
                assert_eq!(answer.field("Content-Type"), Some("application/json"));
                assert_eq!(answer.field("Connection"), Some("keep-alive"));
            }
            // By backtrack too; a cursor without tag gives only Last-Modified.
            let answer = client.get(&format!("/{mode}/a.b1?auth_token=dev"));
            assert_eq!(answer.envelopes(), &all[3..4]);
            assert_eq!(answer.position(), all[3].position());
        }
    }
    // The headers are the greater of cursor and body.
    let answer = Client::on(&server, 3).get(&format!("/shortpoll/a.b1/b?auth_token=dev&{}", all[4].cursor()));
    assert_eq!(answer.envelopes(), &all[3..4]);
    assert_eq!(answer.position(), all[4].position());
}

/// PS-35 [F] The last message of a poll body equals the headers.
#[test]
fn ps_35_the_last_message_of_a_poll_equals_the_headers() {
    // Cut by size too: at least one message, and the rest comes with the next requests.
    for (limit, most) in [("4MiB", 5), ("300B", 3), ("1B", 1)] {
        let server = Server::with(&format!("poll_max_bytes = \"{limit}\"\n"));
        let all = some_news(&server);
        for mode in ["longpoll", "shortpoll"] {
            let mut query = epoch();
            let mut seen = Vec::new();
            let mut client = Client::on(&server, 1);
            while seen.len() < all.len() {
                let answer = client.get(&format!("/{mode}/b/a?auth_token=dev&{query}"));
                let messages = answer.envelopes();
                assert!((1..=most).contains(&messages.len()), "{limit}: {}", answer.text());
                assert_eq!(messages[messages.len() - 1].position(), answer.position());
                query = answer.cursor();
                seen.extend(messages);
            }
            assert_eq!(seen, all, "{limit}");
        }
    }
}

/// PS-36 [F] Messages of one poll body are separated by one `\n` (configurable) and each part parses as one JSON document.
#[test]
fn ps_36_messages_of_a_poll_are_separated_by_the_separator() {
    for (toml, separator) in [("", "\n"), ("message_separator = \"\\r\\n\"\n", "\r\n"), ("message_separator = \"\"\n", "")] {
        let server = Server::with(toml);
        publish_news(&server);
        for mode in ["longpoll", "shortpoll"] {
            let answer = Client::on(&server, 1).get(&format!("/{mode}/a/b?auth_token=dev&{}", epoch()));
            let text = answer.text();
            assert!(!text.ends_with('\n') && text.starts_with('{') && text.ends_with('}'), "{text:?}");
            let parts: Vec<&str> =
                if separator.is_empty() { text.split_inclusive("GMT\"}").collect() } else { text.split(separator).collect() };
            let ids: Vec<String> = parts.iter().map(|part| Envelope::parse(part).message).collect();
            assert_eq!(ids, ["1", "2", "3", "4", "5"], "{separator:?}");
        }
    }
    // A template of the deployment's own, as recorded: a line feed at its end, no separator.
    let server = Server::with("message_template = \"~id~:~text~\\n\"\nmessage_separator = \"\"\n");
    publish_news(&server);
    let answer = Client::on(&server, 1).get(&format!("/shortpoll/a/b?auth_token=dev&{}", epoch()));
    assert_eq!(answer.text(), "1:1\n1:2\n2:3\n2:4\n3:5\n");
}

/// PS-37 [R] A client that leaves while waiting is out of the statistics within 100 ms.
#[test]
fn ps_37_a_client_that_leaves_is_out_of_the_statistics_within_100_ms() {
    let server = Server::start();
    let mut fastest = Duration::MAX;
    for round in 0..5 {
        let waiting = server.subscribe(round % 4, Mode::LongPoll, "left", "");
        assert_eq!((server.subscribers("left"), server.summary()["subscribers"].as_u64()), (1, Some(1)));
        let left = Instant::now();
        drop(waiting);
        // The server's clock stands still: nothing but the end of the connection can be the reason.
        server.wait_for_subscribers("left", 0);
        assert_eq!(server.summary()["subscribers"], 0);
        fastest = fastest.min(left.elapsed());
    }
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
}

/// PS-38 [R] A short poll never waits, and with a cursor and no news it is a 304 that echoes time and tag.
#[test]
fn ps_38_a_short_poll_never_waits_and_echoes_its_cursor() {
    let server = Server::start();
    let all = some_news(&server);
    server.advance(3.0);
    let mut client = Client::on(&server, 3);
    for (seconds, tag) in [all[4].position(), (all[4].seconds + 1, 0), (all[4].seconds + 2, 0)] {
        let answer = client.get(&format!("/shortpoll/a/b?auth_token=dev&{}", cursor(seconds, tag)));
        assert_eq!(
            answer.raw,
            format!(
                "HTTP/1.1 304 Not Modified\r\nDate: {}\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\
                 Last-Modified: {}\r\nConnection: keep-alive\r\nExpires: Thu, 01 Jan 1970 00:00:01 GMT\r\n\
                 Cache-Control: no-cache, no-store, must-revalidate\r\nEtag: W/{tag}\r\n\r\n",
                date(server.seconds()),
                date(seconds)
            )
        );
    }
    // Etag only if a tag was given.
    let answer = client.get(&format!("/shortpoll/a/b?auth_token=dev&time={}", escaped(&all[4].time)));
    assert_eq!((answer.status, answer.field("Etag"), answer.field("Last-Modified")), (304, None, Some(all[4].time.as_str())));
    // From a header, the same.
    let fields = format!("If-Modified-Since: {}\r\nIf-None-Match: W/{}\r\n", all[4].time, all[4].tag);
    let answer = client.get_with("/shortpoll/a/b?auth_token=dev", &fields);
    assert_eq!((answer.status, answer.position()), (304, all[4].position()));
    assert_eq!(server.subscribers("a"), 0);
}

/// PS-41 [R] `callback=f` gives `f([m1,m2]);` as `application/javascript`.
#[test]
fn ps_41_a_callback_wraps_the_messages() {
    let server = Server::start();
    let all = some_news(&server);
    for mode in ["longpoll", "shortpoll"] {
        let mut client = Client::on(&server, 1);
        let answer = client.get(&format!("/{mode}/a/b?auth_token=dev&callback=cb.f&{}", all[2].cursor()));
        assert_eq!(answer.status, 200);
        assert_eq!(answer.field("Content-Type"), Some("application/javascript"));
        assert_eq!(answer.text(), format!("cb.f([{},{}]);", all[3].text, all[4].text));
        assert_eq!(answer.field("Content-Length"), Some(answer.body.len().to_string().as_str()));
        assert_eq!(answer.position(), all[4].position());
    }
    let mut client = server.subscribe(2, Mode::LongPoll, "a", "callback=f").client;
    server.publish_on(3, "a", "6");
    let answer = client.response();
    let last = server.stored("a").pop().unwrap();
    assert_eq!(answer.text(), format!("f([{}]);", last.text));
    // A 304 stays without a body.
    let answer = client.get("/shortpoll/a?auth_token=dev&callback=f");
    assert_eq!((answer.status, answer.field("Content-Type")), (304, Some("application/javascript")));
    // The control messages of a poll are wrapped too.
    let mut client = server.subscribe(2, Mode::LongPoll, "a", "callback=f").client;
    server.delete("a");
    let text = client.response().text().to_owned();
    let control = text.strip_prefix("f([").and_then(|rest| rest.strip_suffix("]);")).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(Envelope::parse(control).id, -2);
}

/// PS-42 [F] A callback name outside `[A-Za-z0-9_.$]{1,128}` is refused with 400.
#[test]
fn ps_42_a_callback_that_is_no_name_is_refused() {
    let server = Server::start();
    server.publish("a", "1");
    let (most, more) = ("f".repeat(128), "f".repeat(129));
    for mode in ["longpoll", "shortpoll"] {
        for bad in ["f%28", "alert(1)//", "a%20b", "a-b", "%C3%A9", "f%0a", "a;b", more.as_str()] {
            let answer = Client::on(&server, 1).get(&format!("/{mode}/a?auth_token=dev&{}&callback={bad}", epoch()));
            assert_eq!((answer.status, answer.explain()), (400, Some("Callback name is not valid.")), "{bad}");
        }
        for good in ["$", "jQuery1_2.cb$", "_", "0", most.as_str()] {
            let answer = Client::on(&server, 1).get(&format!("/{mode}/a?auth_token=dev&{}&callback={good}", epoch()));
            assert!(answer.text().starts_with(&format!("{good}([{{")), "{}", answer.text());
        }
        // Empty is absent.
        let answer = Client::on(&server, 1).get(&format!("/{mode}/a?auth_token=dev&{}&callback=", epoch()));
        assert_eq!(answer.envelopes().len(), 1);
    }
}
