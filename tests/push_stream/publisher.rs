//! PS-54 to PS-58: publishing.

use crate::support::{Client, KEY, Mode, PUBLISH_KEY, STATISTICS_KEY, Server};

fn host_name() -> String {
    nix::unistd::gethostname().expect("a host name").into_string().expect("UTF-8")
}

/// PS-54 [R] POST and PUT answer 200 with the exact bytes of §9 and right counts, in single and group form.
#[test]
fn ps_54_post_and_put_answer_with_the_exact_bytes() {
    let server = Server::start();
    let first = server.call("POST", "/pub?id=a", "Content-Type: application/json\r\n", b"{\"n\":1}");
    assert_eq!(first.text(), "{\"channel\": \"a\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 0}\r\n");
    let date = "Fri, 20 Nov 2026 16:17:47 GMT";
    assert_eq!(
        first.raw,
        format!(
            "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Type: application/json\r\nContent-Length: 83\r\nConnection: keep-alive\r\n\
             Expires: Thu, 01 Jan 1970 00:00:01 GMT\r\nCache-Control: no-cache, no-store, must-revalidate\r\n\r\n"
        )
    );
    let put = server.call("PUT", "/pub?id=a", "", b"{\"n\":2}");
    assert_eq!(put.text(), "{\"channel\": \"a\", \"published_messages\": 2, \"stored_messages\": 2, \"subscribers\": 0}\r\n");

    // Counts are those after the publish, in request order, of distinct channels.
    let held = server.subscribe(1, Mode::WebSocket, "b/a", "");
    let waiting = server.subscribe(2, Mode::LongPoll, "b", "");
    server.advance(3.0);
    for (method, a, b, c) in [("POST", 3, 1, 1), ("PUT", 4, 2, 2)] {
        let group = server.call(method, "/pub?id=a/b/c/a", "", b"{\"n\":3}");
        // The long poll was answered by the first of the two.
        let subscribers_of_b = if method == "POST" { [1, 2] } else { [1, 1] };
        let form = |b_subscribers: u64| {
            format!(
                "{{\"hostname\": \"{}\", \"time\": \"2026-11-20T16:17:50\", \"channels\": 3, \"wildcard_channels\": 0, \"uptime\": 4, \"infos\": [\r\n\
                 {{\"channel\": \"a\", \"published_messages\": {a}, \"stored_messages\": {a}, \"subscribers\": 1}},\r\n\
                 {{\"channel\": \"b\", \"published_messages\": {b}, \"stored_messages\": {b}, \"subscribers\": {b_subscribers}}},\r\n\
                 {{\"channel\": \"c\", \"published_messages\": {c}, \"stored_messages\": {c}, \"subscribers\": 0}}\r\n]}}\r\n",
                host_name()
            )
        };
        assert!(subscribers_of_b.iter().any(|&count| group.text() == form(count)), "{}", group.text());
        assert_eq!((group.status, group.field("Content-Type")), (200, Some("application/json")));
        server.wait_for_subscribers("b", 1);
    }
    drop((held, waiting));

    // GET gives the same without publishing.
    assert_eq!(
        server.call("GET", "/pub?id=c", "", b"").text(),
        "{\"channel\": \"c\", \"published_messages\": 2, \"stored_messages\": 2, \"subscribers\": 0}\r\n"
    );
    // A chunked body, and a body of several packets.
    let mut client = Client::on(&server, 3);
    client.send(
        "POST /pub?id=chunked HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer dev\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n",
    );
    client.send("2\r\n2]\r\n0\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert_eq!(server.stored("chunked")[0].message, "[1,2]");

    let quiet = Server::with("info_on_publish = false\n");
    for id in ["a", "a/b"] {
        let posted = quiet.call("POST", &format!("/pub?id={id}"), "", b"1");
        assert_eq!((posted.status, posted.body.len(), posted.field("Content-Length")), (200, 0, Some("0")));
    }
    assert_eq!(quiet.stored("a").len(), 2);
}

/// PS-55 [R] An empty POST is 400, HEAD and PATCH are 405 with `Allow`, and GET on an unknown channel is 404.
#[test]
fn ps_55_empty_posts_other_methods_and_unknown_channels() {
    let server = Server::start();
    for method in ["POST", "PUT"] {
        let empty = server.call(method, "/pub?id=a", "", b"");
        assert_eq!((empty.status, empty.explain()), (400, Some("Empty post requests are not allowed.")), "{method}");
    }
    assert_eq!(server.row("a"), None, "an empty POST creates nothing");
    for (method, body) in [("PATCH", "1"), ("HEAD", ""), ("TRACE", ""), ("FOO", "")] {
        for (target, allow) in [
            ("/pub?id=a", "GET, POST, PUT, DELETE"),
            ("/channels-stats", "GET"),
            ("/longpoll/a?auth_token=dev", "GET"),
            ("/shortpoll/a?auth_token=dev", "GET"),
            ("/stream/a?auth_token=dev", "GET"),
            ("/ev/a?auth_token=dev", "GET"),
            ("/websocket/a?auth_token=dev", "GET"),
        ] {
            let mut client = Client::on(&server, 1);
            let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
            client.send(format!("{method} {target} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer dev\r\n{length}\r\n{body}"));
            let answer = client.head();
            assert_eq!(
                (answer.status_line(), answer.field("Allow")),
                ("HTTP/1.1 405 Not Allowed", Some(allow)),
                "{method} {target}"
            );
            assert_eq!(answer.field("Content-Length"), Some("0"));
        }
    }
    let without = Server::with("delete = false\n");
    for method in ["DELETE", "PATCH"] {
        let answer = without.call(method, "/pub?id=a", "", b"");
        assert_eq!((answer.status, answer.field("Allow")), (405, Some("GET, POST, PUT")), "{method}");
    }
    let unknown = server.call("GET", "/pub?id=nosuch", "", b"");
    assert_eq!((unknown.status, unknown.explain(), unknown.body.len()), (404, None, 0));
    server.publish("q", "1");
    assert_eq!(server.call("GET", "/pub?id=q/none", "", b"").json()["channel"], "q", "exactly one left: the single form");
    assert_eq!(server.call("GET", "/pub?id=none1/none2", "", b"").status, 404);
    assert_eq!(server.call("GET", "/pub", "", b"").explain(), Some("No channel id provided."));
    assert_eq!(server.call("GET", "/pub?id=ALL", "", b"").status, 403);
    // OPTIONS: 200 and empty on publisher and subscribers, 405 on statistics.
    for (target, status) in [("/pub?id=a", 200), ("/longpoll/a", 200), ("/websocket/a", 200), ("/channels-stats", 405)] {
        let answer = server.call("OPTIONS", target, "", b"");
        assert_eq!((answer.status, answer.body.len()), (status, 0), "{target}");
    }
}

/// PS-56 [F] The body of a refused request is never parsed as the next request.
#[test]
fn ps_56_the_body_of_a_refused_request_is_never_the_next_request() {
    let server = Server::start();
    let smuggled = "GET /channels-stats HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer dev\r\n\r\n";
    let chunked = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    let large = format!("{}{smuggled}", " ".repeat(1_100_000));
    let length = format!("Content-Length: {}\r\n\r\n{smuggled}", smuggled.len());
    let key = "Authorization: Bearer dev\r\n";
    let cases = [
        (405, format!("POST /longpoll/l1?auth_token=dev HTTP/1.1\r\nHost: h\r\n{length}")),
        (405, format!("POST /longpoll/l1?auth_token=dev HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}")),
        (405, format!("PATCH /pub?id=a HTTP/1.1\r\nHost: h\r\n{key}{length}")),
        (401, format!("POST /pub?id=a HTTP/1.1\r\nHost: h\r\n{length}")),
        (400, format!("POST /pub?id= HTTP/1.1\r\nHost: h\r\n{key}{length}")),
        (403, format!("POST /pub?id=ALL HTTP/1.1\r\nHost: h\r\n{key}{length}")),
        (400, format!("POST /pub?id=a HTTP/1.1\r\nHost: h\r\n{key}{length}")),
        (404, format!("POST /nowhere HTTP/1.1\r\nHost: h\r\n{length}")),
        (401, format!("GET /shortpoll/other HTTP/1.1\r\nHost: h\r\n{length}")),
        (304, format!("GET /shortpoll/other?auth_token=dev HTTP/1.1\r\nHost: h\r\n{length}")),
        (413, format!("POST /pub?id=a HTTP/1.1\r\nHost: h\r\n{key}Content-Length: {}\r\n\r\n{large}", large.len())),
    ];
    for (status, request) in cases {
        let mut client = Client::on(&server, 1);
        // The server may answer and close before it has taken everything.
        client.try_send(&request);
        let answer = client.response();
        let what = request.split("\r\n").next().unwrap();
        assert_eq!(answer.status, status, "{what}");
        // Either the connection ends now, or the next answer belongs to the next request.
        client.try_send("GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let rest = String::from_utf8_lossy(&client.rest()).into_owned();
        assert!(!rest.contains("by_worker"), "{what}: {rest}");
        if answer.field("Connection") == Some("close") {
            assert_eq!(rest, "", "{what}");
        } else {
            assert!(rest.contains("\"reactor\"") && rest.matches("HTTP/1.1 ").count() == 1, "{what}: {rest}");
        }
    }
    assert_eq!(server.row("a"), None);
}

/// PS-57 [F] A body that is not JSON is refused with 400 while number text and key order of valid JSON come out unchanged.
#[test]
fn ps_57_a_body_that_is_not_json_is_refused_and_valid_json_keeps_its_numbers_and_order() {
    let server = Server::start();
    let mut client = server.subscribe(1, Mode::WebSocket, "a", "").client;
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let too_deep = deep(65);
    let bad: Vec<&[u8]> = vec![
        b"he said \"hi\"\nline2 \xff",
        b"{",
        b"{} {}",
        b" ",
        b"nul",
        b"{'a':1}",
        b"[1,]",
        b"{\"a\":1,}",
        b"01",
        b"+1",
        b"1.",
        b".5",
        b"NaN",
        b"1e400",
        b"-1e999",
        b"\"\\ud800\"",
        b"\"\\ud800\\u0041\"",
        b"\"\\udc00\"",
        b"\"tab\there\"",
        b"\"\xff\"",
        b"\"\\x41\"",
        b"\xef\xbb\xbf{}",
        too_deep.as_bytes(),
    ];
    for body in bad {
        let answer = server.call("POST", "/pub?id=a", "", body);
        assert_eq!(
            (answer.status, answer.explain()),
            (400, Some("Message text is not valid JSON.")),
            "{:?}",
            String::from_utf8_lossy(body)
        );
    }
    server.expect_silence(&mut client);
    assert_eq!(server.row("a"), Some((0, 0, 1)));
    let most = deep(64);
    for (body, text) in [
        (
            " { \"b\" : 1.50 ,\r\n\t\"a\":[ 1e2 , 12345678901234567890123, -0.0, 1E+2 ] } ",
            "{\"b\":1.50,\"a\":[1e2,12345678901234567890123,-0.0,1E+2]}",
        ),
        ("{\"z\":1,\"a\":2,\"z\":3}", "{\"z\":1,\"a\":2,\"z\":3}"),
        ("\"a  \\u00e4\\/ \\ud83d\\ude00 ä\"", "\"a  \\u00e4\\/ \\ud83d\\ude00 ä\""),
        ("[\"a\\\" : b\", { }, [ ]]", "[\"a\\\" : b\",{},[]]"),
        (" true\n", "true"),
        ("null", "null"),
        ("0.1e-7", "0.1e-7"),
        (&most, &most),
    ] {
        server.publish_on(2, "a", body);
        assert_eq!(client.envelope().message, text);
    }

    // Any UTF-8, where it is wanted.
    let server = Server::with("payload = \"text\"\nmessage_template = \"~id~ ~text~ ~size~\"\n");
    let mut client = server.subscribe(1, Mode::WebSocket, "a", "").client;
    server.publish("a", " he said \"hi\"\nä ");
    assert_eq!(client.text(), "1  he said \"hi\"\nä  17");
    let answer = server.call("POST", "/pub?id=a", "", b"line2 \xff");
    assert_eq!((answer.status, answer.explain()), (400, Some("Message text is not valid UTF-8.")));
    server.expect_silence(&mut client);
}

/// PS-58 [F] Publisher and statistics answer only on the admin address or with the key.
#[test]
fn ps_58_publisher_and_statistics_need_the_admin_address_or_the_key() {
    const WRONG: &str = "Access key is missing or wrong.";
    let own = Server::with_access("");
    let dev = Server::start();
    // Another server's key, half a key, a token, a key without the right.
    let wrong_for_own = [None, Some("dev"), Some("publisher-key"), Some(own.token)];
    let wrong_for_dev = [None, Some(KEY), Some("de"), Some("dev-limited")];
    for (server, wrong, key) in [(&own, wrong_for_own, KEY), (&dev, wrong_for_dev, "dev")] {
        let ask = |method: &str, target: &str, key: Option<&str>, body: &str| {
            let mut client = Client::on(server, 1);
            let authorization = key.map_or(String::new(), |key| format!("Authorization: Bearer {key}\r\n"));
            client.send(format!(
                "{method} {target} HTTP/1.1\r\nHost: h\r\n{authorization}Content-Length: {}\r\n\r\n{body}",
                body.len()
            ));
            client.response()
        };
        for (method, target, body) in [
            ("POST", "/pub?id=a", "1"),
            ("PUT", "/pub?id=a", "1"),
            ("GET", "/pub?id=a", ""),
            ("DELETE", "/pub?id=a", ""),
            ("GET", "/channels-stats", ""),
            ("GET", "/channels-stats?id=a", ""),
            ("GET", "/channels-stats?id=ALL", ""),
        ] {
            for presented in wrong {
                let answer = ask(method, target, presented, body);
                assert_eq!((answer.status, answer.explain()), (401, Some(WRONG)), "{method} {target} {presented:?}");
                assert!(answer.body.is_empty());
            }
            let status = ask(method, target, Some(key), body).status;
            assert!(status == 200 || status == 404, "{method} {target}: {status}");
        }
    }
    // On the admin address without a key.
    let mut admin = Client::connect(own.admin);
    admin.send("POST /pub?id=b HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n1");
    assert_eq!(admin.response().status, 200);
    assert_eq!(admin.get("/channels-stats?id=b").status, 200);
    // What administration shows is not shown on the public address at all.
    for target in ["/metrics", "/health", "/ready", "/"] {
        assert_eq!(
            Client::connect(own.address).get_with(target, &format!("Authorization: Bearer {KEY}\r\n")).status,
            404,
            "{target}"
        );
        assert_eq!(Client::connect(own.admin).get(target).status, 200, "{target}");
    }
    // And subscribers are not served on the admin address.
    let poll = Client::connect(own.admin).get(&format!("/shortpoll/b?auth_token={}", own.token));
    assert_eq!(poll.status, 404, "{}", poll.raw);
    // A key's rights are its own.
    for (key, publishes, reads) in [(PUBLISH_KEY, 200, 401), (STATISTICS_KEY, 401, 200)] {
        let mut client = Client::connect(own.address);
        client.send(format!("POST /pub?id=b HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\nContent-Length: 1\r\n\r\n1"));
        assert_eq!(client.response().status, publishes, "{key} publishes");
        let mut client = Client::connect(own.address);
        assert_eq!(
            client.get_with("/channels-stats?id=b", &format!("Authorization: Bearer {key}\r\n")).status,
            reads,
            "{key} reads"
        );
    }
    // A removed key ends at once.
    let again = crate::support::ACCESS.replace(KEY, "another-key-012345678901");
    own.reload(crate::support::config(&format!("{}{again}", crate::support::LISTEN))).unwrap();
    own.pass(1.0);
    let answer = Client::connect(own.address).get_with("/channels-stats", &format!("Authorization: Bearer {KEY}\r\n"));
    assert_eq!(answer.status, 401);
}
