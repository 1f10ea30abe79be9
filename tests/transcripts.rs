//! Replays the recorded exchanges PT-1 to PT-51 of push_stream at the recorded times, and compares bytes.
//!
//! As in the recording, a head is written as its lines joined by ` | ` without the fields that repeat (`Date`, `Connection:
//! keep-alive`, `Expires`, `Cache-Control`). Where the recording says "fanwire:", the difference named there is expected. Not
//! replayed: PT-23 (formats that are not offered) and PT-43 (`ps_56`).

mod support;

use support::client::UPGRADE;
use support::{Client, Mode, Response, Server, config, epoch, masked};

/// The recorded template: the document's with a line feed at its end, and nothing between messages.
const RECORDED: &str = r#"
message_separator = ""
message_template = '''
{"id":~id~,"channel":"~channel~","message":~text~,"tag":"~tag~","time":"~time~"}
'''
"#;

/// The template of all tokens, for texts of any kind.
const EIGHT: &str = r#"
payload = "text"
content_type = "text/plain"
message_separator = ""
message_template = "[id=~id~ ch=~channel~ text=~text~ size=~size~ tag=~tag~ time=~time~ eid=~event-id~ ety=~event-type~]"
"#;

/// A server whose clock shows this time of Fri, 20 Nov 2026, and whose tags begin at 1.
fn at(time: &str, options: &str) -> Server {
    let seconds = httpdate::parse_http_date(&format!("Fri, 20 Nov 2026 {time} GMT")).unwrap();
    let seconds = seconds.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let server = Server::dev_at((seconds - 1) * 1_000_000, options);
    server.advance(1.0);
    server
}

fn recorded(time: &str) -> Server {
    at(time, RECORDED)
}

/// The head as the recording writes it.
fn head(answer: &Response) -> String {
    let lines = answer.raw.trim_end_matches("\r\n").split("\r\n");
    let repeated = ["Date: ", "Connection: keep-alive", "Expires: ", "Cache-Control: "];
    lines.filter(|line| !repeated.iter().any(|field| line.starts_with(field))).collect::<Vec<_>>().join(" | ")
}

#[track_caller]
fn expect_answer(answer: &Response, expected_head: &str, expected_body: &str) {
    assert_eq!(head(answer), expected_head);
    assert_eq!(String::from_utf8_lossy(&answer.body), expected_body);
}

/// A frame as the recording writes it: head bytes, length and payload.
#[track_caller]
fn expect_frame(client: &mut Client, head: &[u8], payload: &str) {
    let frame = client.frame();
    assert_eq!(String::from_utf8_lossy(&frame.payload), payload);
    assert_eq!(frame.head, head);
}

fn get(server: &Server, target: &str) -> Response {
    Client::on(server, 1).get(target)
}

#[test]
fn pt_01_publish_the_first_message_of_a_channel() {
    let server = at("16:17:41", "");
    let mut client = Client::on(&server, 1);
    client.send(
        "POST /pub?id=a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer dev\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"n\":1}",
    );
    let answer = client.response();
    assert_eq!(
        answer.raw,
        "HTTP/1.1 200 OK\r\n\
         Date: Fri, 20 Nov 2026 16:17:41 GMT\r\n\
         Content-Type: application/json\r\n\
         Content-Length: 83\r\n\
         Connection: keep-alive\r\n\
         Expires: Thu, 01 Jan 1970 00:00:01 GMT\r\n\
         Cache-Control: no-cache, no-store, must-revalidate\r\n\r\n"
    );
    assert_eq!(answer.text(), "{\"channel\": \"a\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 0}\r\n");
}

#[test]
fn pt_02_publish_to_three_channels_in_one_request() {
    let server = at("16:14:31", "");
    server.publish("a/q1/q2/q3", "{}");
    server.publish("a", "{}");
    server.advance(190.0 - 1.0);
    let answer = server.call("POST", "/pub?id=a/b/c", "", b"{\"n\":3}");
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let body = "{\"hostname\": \"vm\", \"time\": \"2026-11-20T16:17:40\", \"channels\": 6, \"wildcard_channels\": 0, \"uptime\": 190, \"infos\": [\r\n\
                {\"channel\": \"a\", \"published_messages\": 3, \"stored_messages\": 3, \"subscribers\": 0},\r\n\
                {\"channel\": \"b\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 0},\r\n\
                {\"channel\": \"c\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 0}\r\n]}\r\n";
    assert_eq!(answer.text(), body.replace("\"vm\"", &format!("\"{host}\"")));
}

#[test]
fn pt_03_publish_an_empty_body_and_without_information() {
    let server = at("16:17:41", "");
    let empty = server.call("POST", "/pub?id=a", "", b"");
    expect_answer(
        &empty,
        "HTTP/1.1 400 Bad Request | Content-Length: 0 | X-Nginx-PushStream-Explain: Empty post requests are not allowed.",
        "",
    );
    let server = at("16:17:41", "info_on_publish = false\n");
    expect_answer(&server.call("POST", "/pub?id=a", "", b"{\"n\":4}"), "HTTP/1.1 200 OK | Content-Length: 0", "");
}

/// The three messages of PT-4: one and three in ws1, two in ws2.
fn three_messages(server: &Server) {
    for (channel, text) in [("ws1", "{\"m\":\"one\"}"), ("ws2", "{\"m\":\"two\"}"), ("ws1", "{\"m\":\"three\"}")] {
        server.publish_on(3, channel, text);
    }
}

const ONE: &str =
    "{\"id\":1,\"channel\":\"ws1\",\"message\":{\"m\":\"one\"},\"tag\":\"1\",\"time\":\"Fri, 20 Nov 2026 16:17:46 GMT\"}\n";
const TWO: &str =
    "{\"id\":1,\"channel\":\"ws2\",\"message\":{\"m\":\"two\"},\"tag\":\"2\",\"time\":\"Fri, 20 Nov 2026 16:17:46 GMT\"}\n";
const THREE: &str =
    "{\"id\":2,\"channel\":\"ws1\",\"message\":{\"m\":\"three\"},\"tag\":\"3\",\"time\":\"Fri, 20 Nov 2026 16:17:46 GMT\"}\n";

#[test]
fn pt_04_websocket_handshake_and_live_messages() {
    let server = recorded("16:17:46");
    let mut client = Client::on(&server, 1);
    client.send(format!("GET /websocket/ws1/ws2?auth_token=dev HTTP/1.1\r\n{UPGRADE}\r\n"));
    assert_eq!(
        client.response().raw,
        "HTTP/1.1 101 Switching Protocols\r\n\
         Expires: Thu, 01 Jan 1970 00:00:01 GMT\r\n\
         Cache-Control: no-cache, no-store, must-revalidate\r\n\
         Upgrade: WebSocket\r\n\
         Connection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    );
    server.settle();
    three_messages(&server);
    expect_frame(&mut client, &[0x81, 0x60], ONE);
    expect_frame(&mut client, &[0x81, 0x60], TWO);
    expect_frame(&mut client, &[0x81, 0x62], THREE);
}

#[test]
fn pt_05_refused_handshakes() {
    let server = recorded("16:17:46");
    let missing = "HTTP/1.1 400 Bad Request | Content-Length: 0 | Connection: close | X-Nginx-PushStream-Explain: Don't have at least one of \
                   the mandatory headers: Connection, Upgrade, Sec-WebSocket-Key and Sec-WebSocket-Version";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let rest = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    for fields in [
        String::new(),
        format!("{rest}{key}"),
        format!("{rest}Sec-WebSocket-Version: 13\r\n"),
        format!("Upgrade: websocket\r\n{key}Sec-WebSocket-Version: 13\r\n"),
        format!("Connection: Upgrade\r\n{key}Sec-WebSocket-Version: 13\r\n"),
        // fanwire: the values too.
        format!("Upgrade: h2c\r\nConnection: Upgrade\r\n{key}Sec-WebSocket-Version: 13\r\n"),
        format!("Upgrade: websocket\r\nConnection: close\r\n{key}Sec-WebSocket-Version: 13\r\n"),
        format!("{rest}Sec-WebSocket-Key: short\r\nSec-WebSocket-Version: 13\r\n"),
    ] {
        let mut client = Client::on(&server, 1);
        let answer = client.get_with("/websocket/a?auth_token=dev", &fields);
        expect_answer(&answer, missing, "");
        client.expect_end();
    }
    let mut client = Client::on(&server, 1);
    let answer = client.get_with("/websocket/a?auth_token=dev", &format!("{rest}{key}Sec-WebSocket-Version: 7\r\n"));
    let mut fields: Vec<String> = head(&answer).split(" | ").map(str::to_owned).collect();
    fields.sort();
    let mut expected: Vec<&str> =
        "HTTP/1.1 400 Bad Request | Content-Length: 0 | Connection: close | Sec-WebSocket-Version: 8, 13 | \
                                   X-Nginx-PushStream-Explain: Version not supported. Supported versions: 8, 13"
            .split(" | ")
            .collect();
    expected.sort_unstable();
    assert_eq!(fields, expected);
    client.expect_end();
    let mut client = Client::on(&server, 1);
    let eight = client.get_with("/websocket/a?auth_token=dev", &format!("{rest}{key}Sec-WebSocket-Version: 8\r\n"));
    assert_eq!(eight.status, 101);
}

#[test]
fn pt_06_refusals_after_the_101() {
    let server = at("16:17:46", "max_subscribers_per_channel = 2\n");
    let refused = |target: &str, head: &[u8], payload: &str| {
        let mut client = Client::on(&server, 2);
        client.upgrade(target);
        expect_frame(&mut client, head, payload);
        client.expect_end();
    };
    let close = "\u{3}\u{fffd}";
    for name in ["ALL", "a*"] {
        let reason = format!("{close}{{\"http_status\": 403, \"explain\":\"Channel id not authorized for this method.\"}}");
        refused(&format!("/websocket/{name}?auth_token=dev"), &[0x88, 0x4e], &reason);
    }
    let long = "x".repeat(201);
    let reason = format!("{close}{{\"http_status\": 400, \"explain\":\"Channel id is too large.\"}}");
    refused(&format!("/websocket/{long}?auth_token=dev"), &[0x88, 0x3c], &reason);
    let _two = [server.subscribe(1, Mode::WebSocket, "full", ""), server.subscribe(3, Mode::LongPoll, "full", "")];
    let reason = format!("{close}{{\"http_status\": 403, \"explain\":\"Subscribers limit per channel has been exceeded.\"}}");
    refused("/websocket/full?auth_token=dev", &[0x88, 0x54], &reason);
    // fanwire: 400 before the upgrade.
    let none = Client::on(&server, 2).ask_upgrade("/websocket/?auth_token=dev", "");
    assert_eq!((none.status, none.explain()), (400, Some("No channel id provided.")));
}

#[test]
fn pt_07_pt_08_pt_12_websocket_backtrack_and_cursors() {
    let server = recorded("16:17:46");
    three_messages(&server);
    let time = "Fri%2C%2020%20Nov%202026%2016%3A17%3A46%20GMT";
    let epoch = "Thu%2C%2001%20Jan%201970%2000%3A00%3A00%20GMT";
    for (target, expected) in [
        // PT-7; fanwire: in the order of the tags.
        ("ws1.b1/ws2.b5?auth_token=dev".to_owned(), &[TWO, THREE][..]),
        (format!("ws1.b1/ws2?auth_token=dev&tag=1&time={time}"), &[TWO, THREE]),
        // PT-8: incomplete cursors.
        (format!("ws1/ws2?auth_token=dev&time={time}"), &[]),
        ("ws1/ws2?auth_token=dev&tag=1".to_owned(), &[]),
        ("ws1/ws2?auth_token=dev&tag=1&time=yesterday".to_owned(), &[]),
        // PT-12: resume; fanwire: always in tag order.
        (format!("ws1/ws2?auth_token=dev&tag=1&time={time}"), &[TWO, THREE]),
        (format!("ws2/ws1?auth_token=dev&tag=1&time={time}"), &[TWO, THREE]),
        (format!("ws1/ws2?auth_token=dev&tag=0&time={epoch}"), &[ONE, TWO, THREE]),
    ] {
        let mut client = Client::on(&server, 2);
        client.upgrade(&format!("/websocket/{target}"));
        for text in expected {
            expect_frame(&mut client, &[0x81, text.len() as u8], text);
        }
        server.expect_silence(&mut client);
    }
}

#[test]
fn pt_09_websocket_client_frames() {
    let server = recorded("16:17:46");
    let open = || {
        let mut client = Client::on(&server, 1);
        client.upgrade("/websocket/a?auth_token=dev");
        client
    };
    let mut client = open();
    client.send(masked(0x89, b"payload"));
    expect_frame(&mut client, &[0x8a, 7], "payload");
    client.send([masked(0x89, b"1"), masked(0x89, b"2")].concat());
    expect_frame(&mut client, &[0x8a, 1], "1");
    expect_frame(&mut client, &[0x8a, 1], "2");
    client.send(masked(0x81, b"text"));
    server.expect_silence(&mut client);
    for (bytes, code) in [
        (masked(0x89, &[b'p'; 200]), 1002),
        (masked(0x81, b"\xff"), 1007),
        (masked(0x82, b"x"), 1003),
        (masked(0x80, b"x"), 1002),
        (masked(0x83, b"x"), 1002),
        (b"garbage bytes, many of them".to_vec(), 1002),
        (vec![0x81, 1, b'x'], 1002),
        (masked(0xc1, b"x"), 1002),
        (masked(0x88, &1000u16.to_be_bytes()), 1000),
    ] {
        let mut client = open();
        client.send(&bytes);
        client.expect_close_code(code);
    }
}

#[test]
fn pt_10_pt_11_pt_17_pt_19_long_poll_its_rest_and_jsonp() {
    let server = recorded("16:17:55");
    let mut client = server.subscribe(1, Mode::LongPoll, "l1/l2", "").client;
    for (channel, text) in [("l1", "{\"k\":1}"), ("l2", "{\"k\":2}"), ("l1", "{\"k\":3}")] {
        server.publish_on(2, channel, text);
    }
    let k1 = "{\"id\":1,\"channel\":\"l1\",\"message\":{\"k\":1},\"tag\":\"1\",\"time\":\"Fri, 20 Nov 2026 16:17:55 GMT\"}\n";
    let k2 = "{\"id\":1,\"channel\":\"l2\",\"message\":{\"k\":2},\"tag\":\"2\",\"time\":\"Fri, 20 Nov 2026 16:17:55 GMT\"}\n";
    let k3 = "{\"id\":2,\"channel\":\"l1\",\"message\":{\"k\":3},\"tag\":\"3\",\"time\":\"Fri, 20 Nov 2026 16:17:55 GMT\"}\n";
    // fanwire: Content-Length, no chunks.
    let head_of = |kind: &str, length: usize, tag: u8| {
        format!(
            "HTTP/1.1 200 OK | Content-Type: application/{kind} | Content-Length: {length} | Last-Modified: Fri, 20 Nov 2026 16:17:55 GMT | Etag: W/{tag}"
        )
    };
    expect_answer(&client.response(), &head_of("json", 0x5b, 1), k1);
    let cursor = "tag=1&time=Fri%2C%2020%20Nov%202026%2016%3A17%3A55%20GMT";
    // fanwire: tag 2 comes before tag 3.
    let rest = format!("{k2}{k3}");
    expect_answer(&get(&server, &format!("/longpoll/l1/l2?auth_token=dev&{cursor}")), &head_of("json", 0xb6, 3), &rest);
    let fields = "If-Modified-Since: Fri, 20 Nov 2026 16:17:55 GMT\r\nIf-None-Match: W/1\r\n";
    let answer = Client::on(&server, 3).get_with("/longpoll/l1/l2?auth_token=dev", fields);
    expect_answer(&answer, &head_of("json", 0xb6, 3), &rest);
    let jsonp = format!("cb.f([{k2},{k3}]);");
    let answer = get(&server, &format!("/longpoll/l1/l2?auth_token=dev&callback=cb.f&{cursor}"));
    expect_answer(&answer, &head_of("javascript", jsonp.len(), 3), &jsonp);
    let nothing = get(&server, "/shortpoll/s1?auth_token=dev&callback=cb");
    assert!(head(&nothing).starts_with("HTTP/1.1 304 Not Modified | Content-Type: application/javascript | Content-Length: 0"));
}

#[test]
fn pt_13_forms_of_the_tag() {
    let server = recorded("16:18:03");
    for text in ["1", "2", "3"] {
        server.publish("t", text);
    }
    let time = "Fri%2C%2020%20Nov%202026%2016%3A18%3A03%20GMT";
    let header_time = "If-Modified-Since: Fri, 20 Nov 2026 16:18:03 GMT\r\n";
    let all = ["1", "2", "3"];
    let check = |query: &str, fields: &str, ids: &[&str], etag: Option<&str>| {
        let answer = Client::on(&server, 2).get_with(&format!("/shortpoll/t?auth_token=dev&{query}"), fields);
        let seen: Vec<String> = answer.text().lines().map(|line| support::Envelope::parse(line).message).collect();
        assert_eq!(seen, ids, "{query} {fields}");
        assert_eq!(answer.status, if ids.is_empty() { 304 } else { 200 });
        assert_eq!(answer.field("Etag"), etag, "{query} {fields}");
    };
    check(&format!("tag=0&time={time}"), "", &all, Some("W/3"));
    check(&format!("tag=1&time={time}"), "", &all[1..], Some("W/3"));
    for tag in ["2", "W/2", "W%2F2", "%222%22", "W/%222%22"] {
        check(&format!("tag={tag}&time={time}"), "", &all[2..], Some("W/3"));
    }
    for tag in ["2", "W/2", "\"2\"", "W/\"2\""] {
        check("", &format!("{header_time}If-None-Match: {tag}\r\n"), &all[2..], Some("W/3"));
    }
    check(&format!("tag=3&time={time}"), "", &[], Some("W/3"));
    // fanwire: a foreign cursor gets the server's own.
    check(&format!("tag=4&time={time}"), "", &[], Some("W/3"));
    for tag in ["-1", "abc", "", "2.5", "99999999999999999999", "*"] {
        check(&format!("tag={tag}&time={time}"), "", &[], None);
    }
    // fanwire: no cursor, answered with the now cursor.
    check("", "If-None-Match: 1\r\n", &[], Some("W/3"));
}

#[test]
fn pt_14_pt_15_pt_18_short_polls() {
    let server = recorded("16:18:03");
    // fanwire: the now cursor.
    let none = "HTTP/1.1 304 Not Modified | Content-Type: application/json | Content-Length: 0 | Last-Modified: Fri, 20 Nov 2026 16:18:03 GMT";
    expect_answer(&get(&server, "/shortpoll/s1/s2?auth_token=dev"), &format!("{none} | Etag: W/0"), "");
    server.publish("s1", "{\"k\":1}");
    expect_answer(&get(&server, "/shortpoll/s1/s2?auth_token=dev"), &format!("{none} | Etag: W/1"), "");
    let cursor = "tag=1&time=Fri%2C%2020%20Nov%202026%2016%3A18%3A03%20GMT";
    expect_answer(&get(&server, &format!("/shortpoll/s1/s2?auth_token=dev&{cursor}")), &format!("{none} | Etag: W/1"), "");
    // fanwire: a time in the future is a foreign cursor, not echoed.
    let future = get(&server, "/shortpoll/s1?auth_token=dev&tag=1&time=Sat%2C%2014%20Nov%202099%2015%3A51%3A54%20GMT");
    expect_answer(&future, &format!("{none} | Etag: W/1 | X-Fanwire-Gap: 1"), "");

    let s1k1 = "{\"id\":1,\"channel\":\"s1\",\"message\":{\"k\":1},\"tag\":\"1\",\"time\":\"Fri, 20 Nov 2026 16:18:03 GMT\"}\n";
    let epoch = "time=Thu%2C%2001%20Jan%201970%2000%3A00%3A00%20GMT";
    let news = |length: usize, second: u8, tag: &str| {
        format!(
            "HTTP/1.1 200 OK | Content-Type: application/json | Content-Length: {length} | Last-Modified: Fri, 20 Nov 2026 16:18:0{second} GMT{tag}"
        )
    };
    let answer = get(&server, &format!("/shortpoll/s1/s2?auth_token=dev&{epoch}"));
    assert_eq!(answer.text(), s1k1);
    assert!(head(&answer).starts_with(&news(0x5b, 3, "")), "{}", answer.raw);
    server.advance(1.0);
    for (channel, text) in [("s2", "{\"k\":2}"), ("s1", "{\"k\":3}"), ("s2", "{\"k\":4}")] {
        server.publish(channel, text);
    }
    let s1k3 = "{\"id\":2,\"channel\":\"s1\",\"message\":{\"k\":3},\"tag\":\"2\",\"time\":\"Fri, 20 Nov 2026 16:18:04 GMT\"}\n";
    let s2k2 = "{\"id\":1,\"channel\":\"s2\",\"message\":{\"k\":2},\"tag\":\"1\",\"time\":\"Fri, 20 Nov 2026 16:18:04 GMT\"}\n";
    let s2k4 = "{\"id\":2,\"channel\":\"s2\",\"message\":{\"k\":4},\"tag\":\"3\",\"time\":\"Fri, 20 Nov 2026 16:18:04 GMT\"}\n";
    // fanwire: tags 1, 2, 3 in order.
    let answer = get(&server, &format!("/shortpoll/s1/s2?auth_token=dev&{cursor}"));
    expect_answer(&answer, &news(3 * 0x5b, 4, " | Etag: W/3"), &format!("{s2k2}{s1k3}{s2k4}"));
    let answer = get(&server, "/shortpoll/s1?auth_token=dev&tag=-5&time=Fri%2C%2020%20Nov%202026%2016%3A18%3A03%20GMT");
    assert_eq!(answer.text(), s1k3);
    assert!(head(&answer).starts_with(&news(0x5b, 4, "")), "{}", answer.raw);
    // fanwire: `+` is a space, everything is sent.
    let answer = get(&server, "/shortpoll/s1?auth_token=dev&tag=0&time=Thu,+01+Jan+1970+00:00:00+GMT");
    expect_answer(&answer, &news(2 * 0x5b, 4, " | Etag: W/2"), &format!("{s1k1}{s1k3}"));
}

#[test]
fn pt_16_long_poll_time_out() {
    let server = at("16:17:41", "");
    let mut client = server.subscribe(1, Mode::LongPoll, "idle25", "").client;
    server.pass(24.9);
    server.expect_silence(&mut client);
    server.pass(0.5);
    expect_answer(
        &client.response(),
        "HTTP/1.1 304 Not Modified | Content-Type: application/json | Content-Length: 0 | Last-Modified: Fri, 20 Nov 2026 16:18:06 GMT | Etag: W/0",
        "",
    );
}

#[test]
fn pt_20_pt_21_methods_cors_and_refusals() {
    let server = at("16:17:41", "");
    let ask = |server: &Server, request: &str| {
        let mut client = Client::on(server, 1);
        client.send(request);
        client.head()
    };
    let answer = ask(&server, "HEAD /longpoll/l1?auth_token=dev HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(head(&answer), "HTTP/1.1 405 Not Allowed | Content-Length: 0 | Allow: GET");
    let options = "OPTIONS /longpoll/l1 HTTP/1.1\r\nHost: h\r\nOrigin: http://x.example\r\n\r\n";
    let answer = ask(&server, options);
    assert_eq!(head(&answer), "HTTP/1.1 200 OK | Content-Length: 0");
    assert_eq!((answer.field("Expires"), answer.field("Cache-Control")), (None, None));
    let any = at("16:17:41", "allowed_origins = [\"*\"]\n");
    let cors = "Access-Control-Allow-Origin: * | Access-Control-Allow-Methods: GET | Access-Control-Allow-Headers: \
                If-Modified-Since,If-None-Match,Etag,Event-Id,Event-Type,Last-Event-Id | \
                Access-Control-Expose-Headers: Etag, Last-Modified, X-Fanwire-Gap";
    assert_eq!(head(&ask(&any, options)), format!("HTTP/1.1 200 OK | Content-Length: 0 | {cors}"));
    // On every answer then, and with a list only for those on it.
    let poll = any.subscribe(1, Mode::ShortPoll, "a", "").response();
    assert!(
        poll.raw.contains("Access-Control-Allow-Origin: *\r\n") && poll.raw.contains("Access-Control-Expose-Headers: "),
        "{}",
        poll.raw
    );
    let listed = at("16:17:41", "allowed_origins = [\"http://x.example\"]\n");
    let answer = ask(&listed, options);
    assert_eq!((answer.field("Access-Control-Allow-Origin"), answer.field("Vary")), (Some("http://x.example"), Some("Origin")));
    let other = ask(&listed, &options.replace("x.example", "y.example"));
    assert_eq!(other.field("Access-Control-Allow-Origin"), None);
    let refused = Client::on(&listed, 1).ask_upgrade("/websocket/a?auth_token=dev", "Origin: http://y.example\r\n");
    assert_eq!((refused.status, refused.explain()), (403, Some("Origin is not allowed.")));
    for origin in ["Origin: http://x.example\r\n", ""] {
        assert_eq!(Client::on(&listed, 1).ask_upgrade("/websocket/a?auth_token=dev", origin).status, 101);
    }
    let answer = server.call("PATCH", "/pub?id=a", "", b"x");
    assert_eq!(head(&answer), "HTTP/1.1 405 Not Allowed | Content-Length: 0 | Allow: GET, POST, PUT, DELETE");

    let explain = |target: &str| head(&get(&server, target));
    let bad = "HTTP/1.1 400 Bad Request | Content-Length: 0 | X-Nginx-PushStream-Explain: ";
    assert_eq!(explain("/longpoll/?auth_token=dev"), format!("{bad}No channel id provided."));
    assert_eq!(explain(&format!("/longpoll/{}?auth_token=dev", "x".repeat(201))), format!("{bad}Channel id is too large."));
    for id in ["ALL", "a*"] {
        let answer = server.call("POST", &format!("/pub?id={id}"), "", b"{}");
        assert_eq!(
            head(&answer),
            "HTTP/1.1 403 Forbidden | Content-Length: 0 | X-Nginx-PushStream-Explain: Channel id not authorized for this method."
        );
    }
    for path in ["/longpoll", "/shortpoll", "/websocket", "/stream", "/ev", "/pub/", "/channels-stats/"] {
        assert_eq!(get(&server, path).status, 404, "{path}");
    }
}

#[test]
fn pt_24_pt_30_streaming_and_its_end() {
    let server = recorded("16:18:07");
    let mut stream = server.subscribe(1, Mode::Stream, "st1/st2", "");
    assert_eq!(
        head(stream.head.as_ref().unwrap()),
        "HTTP/1.1 200 OK | Content-Type: application/json | Transfer-Encoding: chunked"
    );
    server.publish("st1", "1");
    server.publish("st2", "2");
    for (channel, number) in [("st1", 1), ("st2", 2)] {
        let expected = format!(
            "{{\"id\":1,\"channel\":\"{channel}\",\"message\":{number},\"tag\":\"{number}\",\"time\":\"Fri, 20 Nov 2026 16:18:07 GMT\"}}\n"
        );
        assert_eq!(expected.len(), 0x56);
        assert_eq!(stream.client.chunk(), expected.as_bytes());
    }
    // PT-30; fanwire: a JSON string, with the connection's own tag and time.
    let mut events = server.subscribe(2, Mode::EventSource, "st1/st2", "");
    assert_eq!(
        head(events.head.as_ref().unwrap()),
        "HTTP/1.1 200 OK | Content-Type: text/event-stream; charset=utf-8 | Transfer-Encoding: chunked"
    );
    server.delete("st1/st2");
    for channel in ["st1", "st2"] {
        let expected = format!(
            "{{\"id\":-2,\"channel\":\"{channel}\",\"message\":\"Channel deleted\",\"tag\":\"2\",\"time\":\"Fri, 20 Nov 2026 16:18:07 GMT\"}}"
        );
        assert_eq!(stream.client.chunk(), format!("{expected}\n").as_bytes());
        assert!(events.event().data.starts_with(&expected));
    }
    assert_eq!((stream.client.chunk(), events.client.chunk()), (vec![], vec![]));
}

#[test]
fn pt_25_eventsource() {
    let server = recorded("16:18:09");
    let mut client = Client::on(&server, 1);
    client.send_get("/ev/e1?auth_token=dev", "");
    assert_eq!(
        head(&client.head()),
        "HTTP/1.1 200 OK | Content-Type: text/event-stream; charset=utf-8 | Transfer-Encoding: chunked"
    );
    assert_eq!(client.chunk(), b": \n");
    server.settle();
    server.publish("e1", "1");
    server.call("POST", "/pub?id=e1", "Event-Id: id-2\r\nEvent-Type: upd\r\n", b"2");
    let mut body = Vec::new();
    // The template ends in a line feed, hence an empty line of data; fanwire keeps it, and gives ids of its own.
    let event = |id: &str, number: u8| {
        format!(
            "{id}data: {{\"id\":{number},\"channel\":\"e1\",\"message\":{number},\"tag\":\"{number}\",\"time\":\"Fri, 20 Nov 2026 16:18:09 GMT\"}}\ndata: \n\n"
        )
    };
    let expected = format!("{}{}", event("id: 1795191489:1\n", 1), event("id: id-2\nevent: upd\n", 2));
    while body.len() < expected.len() {
        body.extend(client.chunk());
    }
    assert_eq!(String::from_utf8(body).unwrap(), expected);
    let mut resumed = Client::on(&server, 2);
    resumed.send_get("/ev/e1?auth_token=dev", "Last-Event-ID: 1795191489:1\r\n");
    resumed.head();
    let mut body = resumed.chunk();
    while body.len() < 3 + event("id: id-2\nevent: upd\n", 2).len() {
        body.extend(resumed.chunk());
    }
    assert_eq!(String::from_utf8(body).unwrap(), format!(": \n{}", event("id: id-2\nevent: upd\n", 2)));
}

#[test]
fn pt_26_eventsource_with_header_ping_footer_and_time_to_live() {
    let server = at(
        "16:18:09",
        "payload = \"text\"\nmessage_template = \"~text~\"\nheader_template = \"hello\\nworld\"\nfooter_template = \"bye\"\nping_interval = \"1s\"\nconnection_ttl = \"3s\"\n",
    );
    let mut client = Client::on(&server, 1);
    client.send_get("/ev/e1?auth_token=dev", "");
    client.head();
    assert_eq!(client.chunk(), b": hello\n: world\n");
    server.settle();
    server.call("POST", "/pub?id=e1", "Event-Id: 76\r\n", b"plain");
    server.call("POST", "/pub?id=e1", "Event-Id: 77\r\nEvent-Type: upd\r\n", b"l1\nl2\n\nl4");
    // fanwire keeps the empty line.
    let expected = "id: 76\ndata: plain\n\nid: 77\nevent: upd\ndata: l1\ndata: l2\ndata: \ndata: l4\n\n";
    let mut body = Vec::new();
    while body.len() < expected.len() {
        body.extend(client.chunk());
    }
    assert_eq!(String::from_utf8(body).unwrap(), expected);
    for second in [1, 2] {
        server.pass(0.9);
        if second == 1 {
            server.expect_silence(&mut client);
        }
        server.pass(0.2);
        assert_eq!(client.chunk(), b": -1\n", "{second} s");
    }
    server.pass(1.0);
    assert_eq!(client.chunk(), b": bye\n");
    assert_eq!(client.chunk(), b"");
}

#[test]
fn pt_27_pt_28_pt_29_deletion() {
    let server = recorded("16:19:56");
    server.publish("b/d1/d2/d3", "1");
    server.advance(1.0);
    assert_eq!(head(&server.delete("b")), "HTTP/1.1 200 OK | Content-Length: 0 | X-Nginx-PushStream-Explain: Channel deleted.");
    assert_eq!(head(&server.delete("nosuch")), "HTTP/1.1 404 Not Found | Content-Length: 0");
    let mut client = server.subscribe(1, Mode::WebSocket, "d1/d2", "").client;
    let mut poll = server.subscribe(2, Mode::LongPoll, "d3/d1", "").client;
    server.delete("d1");
    let deleted = |channel: &str, text: &str| {
        format!(
            "{{\"id\":-2,\"channel\":\"{channel}\",\"message\":\"{text}\",\"tag\":\"0\",\"time\":\"Fri, 20 Nov 2026 16:19:57 GMT\"}}\n"
        )
    };
    let first = deleted("d1", "Channel deleted");
    expect_frame(&mut client, &[0x81, first.len() as u8], &first);
    let expected = format!(
        "HTTP/1.1 200 OK | Content-Type: application/json | Content-Length: {} | Last-Modified: Fri, 20 Nov 2026 16:19:57 GMT | Etag: W/0",
        first.len()
    );
    expect_answer(&poll.response(), &expected, &first);
    server.call("DELETE", "/pub?id=d2", "", b"\"maintenance\"");
    let second = deleted("d2", "maintenance");
    expect_frame(&mut client, &[0x81, second.len() as u8], &second);
    expect_frame(&mut client, &[0x88, 0], "");
    client.expect_end();
    let quiet = at("16:19:56", "delete = false\n");
    assert_eq!(head(&quiet.delete("a")), "HTTP/1.1 405 Not Allowed | Content-Length: 0 | Allow: GET, POST, PUT");
}

#[test]
fn pt_31_pt_32_a_long_text_and_a_ping() {
    let server = recorded("16:17:54");
    let mut client = server.subscribe(1, Mode::WebSocket, "big", "").client;
    server.publish("big", &format!("\"{}\"", "y".repeat(70_000)));
    let frame = client.frame();
    let length = 70_000 + 87;
    assert_eq!(frame.head, [0x81, 0x7f, 0, 0, 0, 0, 0, 1, 0x11, 0xc7]);
    assert_eq!(frame.payload.len(), length);
    assert!(frame.payload.starts_with(b"{\"id\":1,\"channel\":\"big\",\"message\":\"yyyy"));
    server.pass(30.1);
    expect_frame(&mut client, &[0x89, 0], "");
}

#[test]
fn pt_33_websocket_with_header_ping_footer_time_to_live_and_publishing() {
    let server = at(
        "16:19:58",
        &format!(
            "{EIGHT}allow_publish = true\nheader_template = \"HDR\"\nfooter_template = \"FTR\"\nping_interval = \"1s\"\nconnection_ttl = \"4s\"\n"
        ),
    );
    for _ in 0..4 {
        server.publish("unrelated", "x");
    }
    let mut client = server.subscribe(1, Mode::WebSocket, "t1/t2", "").client;
    expect_frame(&mut client, &[0x81, 3], "HDR");
    client.send(masked(0x81, b"from-ws"));
    expect_frame(
        &mut client,
        &[0x81, 0x53],
        "[id=1 ch=t1 text=from-ws size=7 tag=5 time=Fri, 20 Nov 2026 16:19:58 GMT eid= ety=]",
    );
    expect_frame(
        &mut client,
        &[0x81, 0x53],
        "[id=1 ch=t2 text=from-ws size=7 tag=6 time=Fri, 20 Nov 2026 16:19:58 GMT eid= ety=]",
    );
    for _ in 0..3 {
        server.pass(1.1);
        expect_frame(&mut client, &[0x89, 0], "");
        client.send(masked(0x8a, b""));
    }
    server.pass(0.9);
    expect_frame(&mut client, &[0x81, 3], "FTR");
    expect_frame(&mut client, &[0x88, 0], "");
    client.expect_end();
    // fanwire: what is no payload closes 1007.
    let json = at("16:19:58", "allow_publish = true\n");
    let mut client = json.subscribe(1, Mode::WebSocket, "t1", "").client;
    client.send(masked(0x81, b"from-ws"));
    client.expect_close_code(1007);
    assert!(json.stored("t1").is_empty());
}

#[test]
fn pt_34_streaming_with_header_ping_text_footer_and_time_to_live() {
    let server = at(
        "16:20:14",
        &format!(
            "{EIGHT}ping_text = \"PING\"\nheader_template = \"<HDR>\"\nfooter_template = \"<FTR>\"\nping_interval = \"1s\"\nconnection_ttl = \"3s\"\n"
        ),
    );
    for _ in 0..6 {
        server.publish("unrelated", "x");
    }
    let mut stream = server.subscribe(1, Mode::Stream, "sx", "");
    assert_eq!(head(stream.head.as_ref().unwrap()), "HTTP/1.1 200 OK | Content-Type: text/plain | Transfer-Encoding: chunked");
    assert_eq!(stream.client.chunk(), b"<HDR>");
    server.publish("sx", "hi");
    let message = b"[id=1 ch=sx text=hi size=2 tag=7 time=Fri, 20 Nov 2026 16:20:14 GMT eid= ety=]";
    assert_eq!((stream.client.chunk(), message.len()), (message.to_vec(), 0x4e));
    // fanwire: stamped with the connection's position.
    for second in [15, 16] {
        server.pass(1.1);
        let ping = String::from_utf8(stream.client.chunk()).unwrap();
        let expected = |tag: &str, second: u8| {
            format!("[id=-1 ch= text=PING size=4 tag={tag} time=Fri, 20 Nov 2026 16:20:{second} GMT eid= ety=]")
        };
        // The printed time may lag the clock by at most 1 s.
        assert!([expected("0", second), expected("7", 14), expected("0", second - 1)].contains(&ping), "{ping}");
    }
    server.pass(0.9);
    assert_eq!((stream.client.chunk(), stream.client.chunk()), (b"<FTR>".to_vec(), vec![]));
}

#[test]
fn pt_35_limits_and_their_words() {
    let refused = |answer: &Response, explain: &str| {
        expect_answer(answer, &format!("HTTP/1.1 403 Forbidden | Content-Length: 0 | X-Nginx-PushStream-Explain: {explain}"), "");
    };
    let wildcard = at("16:20:00", "wildcard_prefix = \"broad_\"\nwildcard_max_per_request = 2\n");
    for path in ["n1/broad_a/broad_b/broad_c", "broad_a"] {
        refused(&get(&wildcard, &format!("/shortpoll/{path}?auth_token=dev")), "Subscribed too much wildcard channels.");
    }
    assert_eq!(get(&wildcard, "/shortpoll/n1/broad_a/broad_b?auth_token=dev").status, 304);
    let full = at("16:20:00", "max_subscribers_per_channel = 2\n");
    let _two = [full.subscribe(1, Mode::WebSocket, "full", ""), full.subscribe(3, Mode::LongPoll, "full", "")];
    refused(&get(&full, "/longpoll/full?auth_token=dev"), "Subscribers limit per channel has been exceeded.");
    let authorized = at("16:20:00", "authorized_channels_only = true\nwildcard_prefix = \"broad_\"\n");
    authorized.publish("known", "1");
    refused(&get(&authorized, "/longpoll/unk?auth_token=dev"), "Subscriber could not create channels.");
    refused(&get(&authorized, "/shortpoll/known/unk?auth_token=dev"), "Subscriber could not create channels.");
    assert_eq!(get(&authorized, "/shortpoll/known/broad_z?auth_token=dev").status, 304);
    let events = at("16:20:00", "events_channel = \"ev_chan\"\n");
    refused(&get(&events, "/longpoll/ev_chan?auth_token=dev"), "Subscription to events channel is not allowed.");
    for method in ["POST", "PUT", "DELETE"] {
        refused(&events.call(method, "/pub?id=ev_chan", "", b"1"), "Only internal routines can change events channel.");
    }
    let many = at("16:20:00", "max_channels = 40\n");
    for number in 0..40 {
        many.publish(&format!("many{number}"), "1");
    }
    refused(&many.call("POST", "/pub?id=many40", "", b"1"), "Number of channels were exceeded.");
    refused(&get(&many, "/longpoll/many40?auth_token=dev"), "Number of channels were exceeded.");
}

#[test]
fn pt_36_eviction_and_last_event_id() {
    let server = at("16:20:02", &format!("{EIGHT}max_stored_messages = 5\n"));
    for _ in 0..3 {
        server.publish("unrelated", "x");
    }
    for number in 0..8 {
        server.call("POST", "/pub?id=lim", &format!("Event-Id: e{number}\r\n"), format!("m{number}").as_bytes());
    }
    let message = |number: u8| {
        format!(
            "[id={} ch=lim text=m{number} size=2 tag={} time=Fri, 20 Nov 2026 16:20:02 GMT eid=e{number} ety=]",
            number + 1,
            number + 4
        )
    };
    let head_of = |length: usize| {
        format!(
            "HTTP/1.1 200 OK | Content-Type: text/plain | Content-Length: {length} | Last-Modified: Fri, 20 Nov 2026 16:20:02 GMT | Etag: W/11"
        )
    };
    let body: String = (3..8).map(message).collect();
    expect_answer(&get(&server, &format!("/shortpoll/lim?auth_token=dev&{}", epoch())), &head_of(body.len()), &body);
    let answer = Client::on(&server, 2).get_with("/shortpoll/lim?auth_token=dev", "Last-Event-ID: e5\r\n");
    let body: String = (6..8).map(message).collect();
    expect_answer(&answer, &head_of(body.len()), &body);
    // fanwire: an older cursor is a gap.
    let answer = get(&server, "/shortpoll/lim?auth_token=dev&tag=4&time=Fri%2C%2020%20Nov%202026%2016%3A20%3A02%20GMT");
    assert!(answer.has_gap(), "{}", answer.raw);
}

#[test]
fn pt_38_long_poll_with_a_body_at_its_time_out() {
    let server = at("16:20:04", &format!("{EIGHT}longpoll_ttl = \"2s\"\ntimeout_with_body = true\n"));
    let mut client = server.subscribe(1, Mode::LongPoll, "idle", "").client;
    server.pass(2.1);
    // fanwire: tag and time equal the headers.
    let body = "[id=-3 ch= text=Timed out size=9 tag=0 time=Fri, 20 Nov 2026 16:20:06 GMT eid= ety=]";
    let expected = format!(
        "HTTP/1.1 200 OK | Content-Type: text/plain | Content-Length: {} | Last-Modified: Fri, 20 Nov 2026 16:20:06 GMT | Etag: W/0",
        body.len()
    );
    expect_answer(&client.response(), &expected, body);
}

#[test]
fn pt_39_the_events_channel() {
    let server = at(
        "16:20:06",
        "message_template = \"~text~\"\nevents_channel = \"ev_chan\"\nevents_channel_subscribe = true\nwildcard_prefix = \"broad_\"\n",
    );
    server.publish("known", "1");
    let mut client = server.subscribe(1, Mode::WebSocket, "ev_chan", "").client;
    let other = server.subscribe(2, Mode::WebSocket, "known/broad_z", "");
    drop(other);
    server.wait_for_subscribers("broad_z", 0);
    server.publish("fresh", "1");
    let event = |kind: &str, channel: &str| format!("{{\"type\": \"{kind}\", \"channel\": \"{channel}\"}}");
    let mut seen: Vec<String> = (0..6).map(|_| client.text()).collect();
    server.expect_silence(&mut client);
    // The order within one request is the server's own.
    seen[..3].sort();
    seen[3..5].sort();
    assert_eq!(
        seen,
        [
            event("channel_created", "broad_z"),
            event("client_subscribed", "broad_z"),
            event("client_subscribed", "known"),
            event("client_unsubscribed", "broad_z"),
            event("client_unsubscribed", "known"),
            event("channel_created", "fresh"),
        ]
    );
    server.delete("fresh");
    assert_eq!(client.text(), event("channel_destroyed", "fresh"));
    // Always stored, and no events about itself.
    assert!(server.row("ev_chan").is_some_and(|(published, stored, subscribers)| published == stored && subscribers == 1));
}

#[test]
fn pt_40_pt_41_an_unstored_message_and_one_tag_counter() {
    let server = recorded("16:26:39");
    let mut poll = server.subscribe(1, Mode::LongPoll, "ns", "").client;
    let unstored = br#"[{"topic":"ns","data":1,"store":false}]"#;
    server.call("POST", "/publish", "Content-Type: application/json\r\n", unstored);
    let body = "{\"id\":1,\"channel\":\"ns\",\"message\":1,\"tag\":\"1\",\"time\":\"Fri, 20 Nov 2026 16:26:39 GMT\"}\n";
    assert_eq!(poll.response().text(), body);
    let mut later = server.subscribe(1, Mode::LongPoll, "ns", &epoch()).client;
    server.expect_silence(&mut later);
    server.advance(1.0);
    let mut client = server.subscribe(3, Mode::WebSocket, "ta/tb", "").client;
    for (channel, wait) in [("ta", true), ("tb", false), ("unrelated", false), ("ta", false), ("tb", true), ("ta", false)] {
        server.publish(channel, "1");
        if wait {
            server.advance(1.0);
        }
    }
    for (id, channel, tag, second) in [(1, "ta", 1, 40), (1, "tb", 1, 41), (2, "ta", 3, 41), (2, "tb", 4, 41), (3, "ta", 1, 42)] {
        let expected = format!(
            "{{\"id\":{id},\"channel\":\"{channel}\",\"message\":1,\"tag\":\"{tag}\",\"time\":\"Fri, 20 Nov 2026 16:26:{second} GMT\"}}\n"
        );
        assert_eq!(client.text(), expected);
    }
}

#[test]
fn pt_44_no_message_is_lost_by_catching_up() {
    let server = recorded("16:20:36");
    server.publish("g2", "\"older\"");
    server.advance(1.0);
    server.publish("g1", "\"newer\"");
    for path in ["g1/g2", "g2/g1"] {
        let seen: Vec<String> = {
            let mut client = server.subscribe(1, Mode::WebSocket, path, &epoch()).client;
            (0..2).map(|_| client.text()).collect()
        };
        // fanwire: "older" comes first, resuming after either is complete.
        assert!(seen[0].contains("\"older\"") && seen[1].contains("\"newer\""), "{seen:?}");
        let time = "Fri%2C%2020%20Nov%202026%2016%3A20%3A36%20GMT";
        let mut client = server.subscribe(2, Mode::WebSocket, path, &format!("tag=1&time={time}")).client;
        assert_eq!(client.text(), seen[1]);
        server.expect_silence(&mut client);
    }
}

#[test]
fn pt_45_pt_46_http_1_0_and_pipelining() {
    let server = recorded("16:26:38");
    for _ in 0..3 {
        server.publish("unrelated", "1");
    }
    let mut client = Client::on(&server, 1);
    client.send("GET /longpoll/h10?auth_token=dev HTTP/1.0\r\n\r\n");
    server.wait_for_subscribers("h10", 1);
    server.publish("h10", "1");
    let answer = client.response();
    let body = "{\"id\":1,\"channel\":\"h10\",\"message\":1,\"tag\":\"4\",\"time\":\"Fri, 20 Nov 2026 16:26:38 GMT\"}\n";
    let expected = format!(
        "HTTP/1.1 200 OK | Content-Type: application/json | Content-Length: {} | Last-Modified: Fri, 20 Nov 2026 16:26:38 GMT | Connection: close | Etag: W/4",
        body.len()
    );
    expect_answer(&answer, &expected, body);
    client.expect_end();

    let mut client = Client::on(&server, 2);
    client.send(
        "GET /longpoll/pp1?auth_token=dev HTTP/1.1\r\nHost: h\r\n\r\nGET /channels-stats?id=pp1 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer dev\r\n\r\n",
    );
    server.wait_for_subscribers("pp1", 1);
    server.expect_silence(&mut client);
    server.publish("pp1", "1");
    assert_eq!(client.response().status, 200);
    let second = client.response();
    assert_eq!(
        second.text(),
        "{\"channel\": \"pp1\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 0}\r\n"
    );
}

#[test]
fn pt_47_a_reload_keeps_the_history_and_who_may_stay() {
    let server = Server::with_access("");
    server.publish("a", "1");
    let mut client = server.subscribe(1, Mode::WebSocket, "a", "").client;
    server.reload(config(&format!("{}gap_notice = true\n{}", support::LISTEN, support::ACCESS))).unwrap();
    server.pass(1.0);
    assert_eq!(server.stored("a").len(), 1);
    server.publish("a", "2");
    assert_eq!(client.envelope().id, 2, "nobody has to leave for it");
}

#[test]
fn pt_48_the_mode_header() {
    let server = recorded("16:18:07");
    server.publish("st1", "1");
    let body = "{\"id\":1,\"channel\":\"st1\",\"message\":1,\"tag\":\"1\",\"time\":\"Fri, 20 Nov 2026 16:18:07 GMT\"}\n";
    let mode = |path: &str, mode: &str, more: &str| {
        let mut client = Client::on(&server, 1);
        client.send_get(&format!("/{path}/st1?auth_token=dev"), &format!("X-Nginx-PushStream-Mode: {mode}\r\n{more}"));
        client
    };
    let since = "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
    for path in ["stream", "ev", "shortpoll", "longpoll"] {
        let answer = mode(path, "long-polling", since).response();
        assert_eq!((answer.status, answer.text()), (200, body), "{path}");
        let expected = "HTTP/1.1 200 OK | Content-Type: application/json | Content-Length: 86 | Last-Modified: Fri, 20 Nov 2026 16:18:07 GMT";
        assert!(head(&answer).starts_with(expected), "{}", answer.raw);
        assert_eq!(mode(path, "polling", "").response().status, 304, "{path}");
        let mut waiting = mode(path, "long-polling", "");
        server.expect_silence(&mut waiting);
    }
    assert_eq!(mode("shortpoll", "streaming", "").response().status, 304, "other values are ignored");
    let off = at("16:18:07", "mode_header = false\n");
    let mut client = Client::on(&off, 1);
    client.send_get("/stream/st1?auth_token=dev", "X-Nginx-PushStream-Mode: polling\r\n");
    assert_eq!(client.head().status, 200);
}

#[test]
fn pt_49_pt_51_channel_paths_and_id_lists() {
    let server = at("16:17:54", "");
    for (path, channels) in [
        ("pz02//b", vec!["pz02", "b"]),
        ("pz06.b", vec!["pz06.b"]),
        ("pz08.B2", vec!["pz08.B2"]),
        ("pz09.b2.b3", vec!["pz09.b2"]),
        ("pz11%2Fb", vec!["pz11", "b"]),
        ("pz12%252Fb", vec!["pz12%2Fb"]),
        ("pz15%C3%A9", vec!["pz15é"]),
        ("pz20.100.5", vec!["pz20.100.5"]),
    ] {
        let held = server.subscribe(1, Mode::WebSocket, path, "");
        let all = server.statistics("ALL").json();
        let seen: Vec<&str> = all["infos"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|row| row["subscribers"] == 1)
            .map(|row| row["channel"].as_str().unwrap())
            .collect();
        assert_eq!(seen.len(), channels.len(), "{path}: {seen:?}");
        assert!(channels.iter().all(|channel| seen.contains(channel)), "{path}: {seen:?}");
        drop(held);
        server.wait_until("it leaves", |server| server.summary()["subscribers"] == 0);
    }
    for text in ["1", "2"] {
        server.publish("k", text);
    }
    assert_eq!(get(&server, "/shortpoll/k.b0?auth_token=dev").status, 304);
    for path in ["k.b500", "k.b99999999999999999999"] {
        assert_eq!(get(&server, &format!("/shortpoll/{path}?auth_token=dev")).envelopes().len(), 2);
    }
    let long = format!("/shortpoll/{}?auth_token=dev", "x".repeat(24_000));
    assert_eq!(get(&server, &long).status, 414);

    assert_eq!(server.publish("q.b2", "1").json()["channel"], "q");
    for (id, channels) in [("x%2Fy", vec!["x", "y"]), ("/lead//z/", vec!["lead", "z"])] {
        let answer = server.publish(id, "1").json();
        let seen: Vec<&str> = answer["infos"].as_array().unwrap().iter().map(|row| row["channel"].as_str().unwrap()).collect();
        assert_eq!(seen, channels);
    }
    let single = server.publish("w/w", "1").json();
    assert_eq!((single["channel"].as_str(), single["published_messages"].as_u64()), (Some("w"), Some(1)));
    let deleted = server.delete("x/none");
    assert_eq!((deleted.status, deleted.explain(), server.row("x")), (200, Some("Channel deleted."), None));
    for method in ["GET", "DELETE"] {
        assert_eq!(server.call(method, "/pub", "", b"").explain(), Some("No channel id provided."));
        assert_eq!(server.call(method, "/pub?id=ALL", "", b"").explain(), Some("Channel id not authorized for this method."));
    }
    let only_k = server.statistics("k*/q").json();
    assert_eq!(only_k["infos"].as_array().unwrap().len(), 1);
    assert_eq!(only_k["infos"][0]["channel"], "k");
    let all = server.statistics("ALL/q").json();
    assert_eq!(all["infos"].as_array().unwrap().len() as u64, all["channels"].as_u64().unwrap());
    let options = server.call("OPTIONS", "/channels-stats", "", b"");
    assert_eq!((options.status, options.field("Allow")), (405, Some("GET")));
    // fanwire: a cursor of 5 s ahead is foreign.
    let answer = get(&server, "/shortpoll/k.b1/m?auth_token=dev&tag=7&time=Fri%2C%2020%20Nov%202026%2016%3A17%3A59%20GMT");
    assert_eq!((answer.envelopes().len(), answer.has_gap()), (1, true));
    assert_eq!(answer.position(), answer.envelopes()[0].position());
}

#[test]
fn pt_50_a_payload_that_would_break_the_envelope_is_refused() {
    let server = recorded("16:17:54");
    let mut client = server.subscribe(1, Mode::WebSocket, "raw", "").client;
    let answer = server.call("POST", "/pub?id=raw", "", b"he said \"hi\"\nline2 \xff");
    expect_answer(
        &answer,
        "HTTP/1.1 400 Bad Request | Content-Length: 0 | X-Nginx-PushStream-Explain: Message text is not valid JSON.",
        "",
    );
    server.expect_silence(&mut client);
}
