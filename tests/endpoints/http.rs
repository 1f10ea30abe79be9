//! EP-63 to EP-65, EP-68 and EP-77: what requests over HTTP fail of, and in which order.

use crate::accounts::expect;
use crate::support::endpoints::{
    BOARD, JSON, KEY, MASTER, MISSING, NO_ORIGIN, NO_TOKEN, NOT_VALID, NOTES, OPEN, OTHER_KEY, PATH, Record, UNKNOWN_TOKEN,
    USERS, Writer, bearer, origin, target,
};
use crate::support::{Client, Response, Server};

/// A connection on which every answer leaves room for the next request.
struct Keeping(Client);

impl Keeping {
    #[track_caller]
    fn ask(&mut self, method: &str, target: &str, fields: &str, body: &[u8]) -> Response {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
        self.0.send([head.as_bytes(), body].concat());
        let answer = self.0.response();
        assert_eq!(answer.field("Connection"), Some("keep-alive"), "{method} {target}: {answer:?}");
        answer
    }

    #[track_caller]
    fn fails(&mut self, method: &str, target: &str, fields: &str, body: &[u8], status: u16, text: &str) {
        expect(&self.ask(method, target, fields, body), status, text);
    }
}

fn keeping(server: &Server) -> Keeping {
    Keeping(Client::on(server, 1))
}

#[test]
fn ep_63_content_types_bodies_and_ids_that_are_wrong_are_told() {
    let server = Server::with_endpoints("");
    let id = Writer::on(&server, 0).post(OPEN, "1").id;
    let mut client = keeping(&server);
    let of = target(OPEN, &format!("uniqueId={id}"));
    for (method, target) in [("POST", &target(OPEN, "")), ("PUT", &of), ("PATCH", &of)] {
        let wrong = [
            "",
            "Content-Type: \r\n",
            "Content-Type: application/xml\r\n",
            "Content-Type: application/json; charset=iso-8859-1\r\n",
            "Content-Type: multipart/form-data\r\n",
        ];
        for fields in wrong {
            client.fails(method, target, fields, b"1", 400, "Content-Type not valid.");
        }
        client.fails(method, target, JSON, b"", 400, "Body is empty.");
        for body in
            [&b" "[..], b"{", b"1 2", b"1e999", br#""\ud800""#, b"\"\xff\"", ["[".repeat(65), "]".repeat(65)].concat().as_bytes()]
        {
            client.fails(method, target, JSON, body, 400, "Body not valid.");
        }
    }
    client.fails("PUT", &of, "Content-Type: multipart/form-data; boundary=x\r\n", b"1", 400, "Content-Type not valid.");
    client.fails("PATCH", &of, "Content-Type: text/plain\r\n", b"1", 400, "Content-Type not valid.");
    client.fails(
        "POST",
        &target(OPEN, ""),
        "Content-Type: application/merge-patch+json\r\n",
        b"1",
        400,
        "Content-Type not valid.",
    );
    client.fails("POST", &target(OPEN, ""), "Content-Type: text/plain\r\n", b"\xff", 400, "Body not valid.");
    client.fails("POST", &target(OPEN, ""), "Content-Type: text/plain\r\n", b"", 400, "Body is empty.");
    for method in ["PUT", "PATCH", "DELETE"] {
        for query in ["", "uniqueId=", &format!("uniqueId={id}&uniqueId={id}"), &format!("uniqueId={id},{MISSING}")] {
            client.fails(method, &target(OPEN, query), JSON, b"1", 400, "uniqueId is required.");
        }
        for nobody in [MISSING, "x"] {
            client.fails(method, &target(OPEN, &format!("uniqueId={nobody}")), JSON, b"1", 400, "No record found.");
        }
    }
    client.fails("GET", &target(OPEN, &format!("uniqueId={MISSING}")), "", b"", 400, "No record found.");
    let record = Record::parse(client.ask("GET", &of, "", b"").text());
    assert!(record.data == "1" && record.created == record.updated, "nothing was changed");
}

#[test]
fn ep_64_who_may_not_come_in_is_told_why() {
    let limits = "limits = { failures_per_minute_per_address = 10000 }";
    let server = Server::with_examples(limits, "allowed_origins = [\"https://shop.example\"]", "");
    let mut client = keeping(&server);
    let with = |endpoint: &str, query: &str| format!("{PATH}/{endpoint}?{query}");
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let mut fails = |target: &str, fields: &str, status, text| client.fails(method, target, fields, b"1", status, text);
        for query in ["", "key=", "masterKey=x"] {
            fails(&with(OPEN, query), "", 403, "Missing API Key.");
        }
        for target in [
            with(OPEN, "key=wrong"),
            with(OPEN, &format!("key={OTHER_KEY}")),
            with(OPEN, &format!("key={KEY}&key={KEY}")),
            with("examples/unknown", &format!("key={KEY}")),
            with("Examples/unsecure-endpoint", &format!("key={KEY}")),
            with("other/endpoint", &format!("key={KEY}")),
            format!("{PATH}/?key={KEY}"),
            format!("{PATH}?key={KEY}"),
        ] {
            fails(&target, "", 400, NOT_VALID);
        }
        fails(&target(OPEN, ""), &origin("https://evil.example"), 403, NO_ORIGIN);
        fails(&target(NOTES, ""), &origin("null"), 403, NO_ORIGIN);
        if method != "OPTIONS" {
            let tokens =
                ["", &bearer("x"), &bearer(UNKNOWN_TOKEN), &format!("Cookie: __Secure-rested-access-token={UNKNOWN_TOKEN}\r\n")];
            for token in tokens {
                fails(&target(NOTES, "masterKey=wrong"), token, 401, NO_TOKEN);
            }
        }
    }
    // Of several faults the first is told.
    client.fails("GET", &with(NOTES, ""), &origin("null"), b"", 403, "Missing API Key.");
    client.fails("GET", &with(NOTES, "key=wrong"), &origin("null"), b"", 400, NOT_VALID);
    client.fails("GET", &target(NOTES, ""), &origin("null"), b"", 403, NO_ORIGIN);
    client.fails("GET", &target(NOTES, &format!("accessToken={UNKNOWN_TOKEN}")), "", b"", 401, NO_TOKEN);
    // The master key is enough for everything.
    let master = target(NOTES, MASTER);
    let fields = format!("{JSON}{}", origin("https://evil.example"));
    assert_eq!(client.ask("POST", &master, &fields, b"1").status, 201);
    assert_eq!(client.ask("GET", &master, &bearer(UNKNOWN_TOKEN), b"").status, 200);
}

#[test]
fn ep_64_failures_of_an_address_are_counted_and_then_all_told_the_same() {
    let server = Server::with_endpoints("limits = { failures_per_minute_per_address = 3 }");
    let mut client = keeping(&server);
    client.fails("GET", &format!("{PATH}/{OPEN}"), "", b"", 403, "Missing API Key.");
    client.fails("GET", &format!("{PATH}/{OPEN}?key=x"), "", b"", 400, NOT_VALID);
    client.fails("GET", &target(NOTES, ""), &bearer(UNKNOWN_TOKEN), b"", 401, NO_TOKEN);
    for (endpoint, fields) in [(NOTES, bearer(UNKNOWN_TOKEN)), (NOTES, String::new()), ("examples/unknown", String::new())] {
        client.fails("POST", &target(endpoint, ""), &fields, b"1", 429, "Too many requests.");
    }
    assert_eq!(client.ask("POST", &target(OPEN, ""), JSON, b"1").status, 201, "who is right is let in");
    server.advance(61.0);
    client.fails("GET", &target(NOTES, ""), &bearer(UNKNOWN_TOKEN), b"", 401, NO_TOKEN);
}

#[test]
fn ep_65_another_users_record_and_a_missing_one_are_told_alike() {
    let server = Server::with_endpoints("");
    let mut writer = Writer::on(&server, 0);
    let tokens = ["anna", "bert"].map(|name| {
        writer.register(USERS, name);
        writer.login(USERS, name)
    });
    let [mut anna, mut bert] =
        [(1, &tokens[0]), (2, &tokens[1])].map(|(reactor, token)| Writer::of_user(&server, reactor, token));
    let (record, own) = (anna.post(NOTES, r#"{"a":1}"#), bert.post(NOTES, "2"));
    let changes = [("PUT", "", "1"), ("PUT", "&strategy=merge", "{}"), ("PUT", "&strategy=replace", "1"), ("PATCH", "", "{}")];
    for (method, query, body) in changes.into_iter().chain([("GET", "", ""), ("GET", "&dataOnly=true", ""), ("DELETE", "", "")]) {
        let [other, missing] = [&*record.id, MISSING].map(|id| bert.ask(method, NOTES, &format!("uniqueId={id}{query}"), body));
        expect(&other, 400, "No record found.");
        assert_eq!((other.raw, other.body), (missing.raw, missing.body), "{method} {query}");
    }
    expect(&bert.ask("GET", NOTES, &format!("fw_after={}", record.id), ""), 400, "No record found.");
    let both = bert.ask("GET", NOTES, &format!("uniqueId={},{}", record.id, own.id), "");
    assert_eq!(both.text(), format!("[{}]", own.over_http()), "it is left out like a missing one");
    assert_eq!((anna.list(NOTES), bert.list(NOTES)), (vec![record.clone()], vec![own.clone()]));
    assert_eq!(Writer::master(&server, 3).list(NOTES), [record, own], "nothing was changed");
    // Where others may read they may do nothing else.
    let record = anna.post(BOARD, "1");
    assert_eq!(bert.list(BOARD), std::slice::from_ref(&record));
    for (method, body) in [("PUT", "2"), ("PATCH", "2"), ("DELETE", "")] {
        let [other, missing] = [&*record.id, MISSING].map(|id| bert.ask(method, BOARD, &format!("uniqueId={id}"), body));
        expect(&other, 400, "No record found.");
        assert_eq!((other.raw, other.body), (missing.raw, missing.body), "{method}");
    }
    assert_eq!(anna.delete(BOARD, &record.id), record);
}

#[test]
fn ep_68_jsonata_other_methods_and_large_bodies_are_refused() {
    let server = Server::with_endpoints("");
    let mut client = keeping(&server);
    client.fails("GET", &target(OPEN, "jsonata=%24"), "", b"", 400, "jsonata is not supported.");
    let allow = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
    for (method, target) in [
        ("TRACE", target(OPEN, "")),
        ("PROPFIND", target(NOTES, "")),
        ("QUERY", format!("{PATH}/{OPEN}")),
        ("GETS", format!("{PATH}/x")),
    ] {
        let answer = client.ask(method, &target, "", b"");
        expect(&answer, 405, "Method not allowed.");
        assert_eq!(answer.field("Allow"), Some(allow));
    }
    let body = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2)).into_bytes();
    let mut writer = Writer::on(&server, 2);
    let largest = client.ask("POST", &target(OPEN, ""), JSON, &body(1 << 20));
    let id = Record::parse(largest.text()).id;
    for (method, query) in [("POST", ""), ("PUT", &*format!("uniqueId={id}")), ("PATCH", &format!("uniqueId={id}"))] {
        let answer = writer.ask(method, OPEN, query, std::str::from_utf8(&body((1 << 20) + 1)).unwrap());
        expect(&answer, 413, "Body too large.");
    }
    // One that announces nothing is refused when it is too long, and one that announces too much without a byte of it.
    let head = format!("POST {} HTTP/1.1\r\nHost: h\r\n{JSON}", target(OPEN, ""));
    for (fields, body) in [
        ("Transfer-Encoding: chunked\r\n", format!("100001\r\n{}\r\n", "x".repeat(0x10_0001))),
        ("Content-Length: 1048577\r\n", String::new()),
        ("Content-Length: 1048577\r\nExpect: 100-continue\r\n", String::new()),
    ] {
        let mut client = Client::on(&server, 3);
        client.send(format!("{head}{fields}\r\n{body}"));
        expect(&client.response(), 413, "Body too large.");
    }
    // What an upload may have is something else.
    assert_eq!(writer.list(OPEN).len(), 1);
}

#[test]
fn ep_77_a_login_elsewhere_is_refused_and_stores_nothing() {
    let server = Server::with_endpoints("");
    let mut client = keeping(&server);
    let body = br#"{"username":"anna","password":"correct horse battery"}"#;
    for query in ["login=true", "logout=true", "login=true&logout=true", "login=true&noATCookie=true"] {
        for fields in [JSON, "", "Content-Type: multipart/form-data; boundary=x\r\n"] {
            client.fails("POST", &target(OPEN, query), fields, body, 400, "Not an authentication endpoint.");
        }
        let master = target(NOTES, &format!("{query}&{MASTER}"));
        client.fails("POST", &master, JSON, body, 400, "Not an authentication endpoint.");
    }
    assert_eq!(client.ask("GET", &target(OPEN, ""), "", b"").text(), "[]");
    assert_eq!(client.ask("GET", &target(NOTES, MASTER), "", b"").text(), "[]");
    // No other word activates it, and no other method knows it.
    assert_eq!(client.ask("POST", &target(OPEN, "login=1&logout=yes"), JSON, b"1").status, 201);
    assert_eq!(client.ask("GET", &target(OPEN, "login=true"), "", b"").status, 200);
}

/// Section 7, "Order after §3": each request has all faults from its own on.
#[test]
fn the_first_of_several_faults_is_told() {
    let server = Server::with_endpoints("limits = { body_bytes_max = 100 }");
    let mut writer = Writer::on(&server, 1);
    let id = writer.post(OPEN, "[1]").id;
    let large = "x".repeat(101);
    let xml = "Content-Type: application/xml\r\n";
    let of_id = format!("strategy=replace&uniqueId={id}");
    let replace = "strategy=replace&uniqueId=x";
    for (method, query, fields, body, status, text) in [
        ("BREW", "login=true", xml, &*large, 405, "Method not allowed."),
        ("POST", "login=true", xml, &large, 400, "Not an authentication endpoint."),
        ("POST", "", xml, &large, 400, "Content-Type not valid."),
        ("PUT", "strategy=x", xml, &large, 400, "uniqueId is required."),
        ("PUT", "strategy=x&uniqueId=x", xml, &large, 400, "Strategy not valid."),
        ("PUT", replace, xml, &large, 400, "Content-Type not valid."),
        ("PUT", replace, JSON, &large, 413, "Body too large."),
        ("PUT", replace, JSON, "", 400, "Body is empty."),
        ("PUT", replace, JSON, "{", 400, "Body not valid."),
        ("PUT", replace, JSON, "{}", 400, "No record found."),
        ("PUT", &of_id, JSON, "{}", 400, "Types are different."),
        ("GET", "jsonata=x&fw_limit=x&uniqueId=x", "", "", 400, "jsonata is not supported."),
        ("GET", "fw_limit=x", "", "", 400, "Parameters not valid."),
    ] {
        expect(&writer.call(method, &target(OPEN, query), fields, body.as_bytes()), status, text);
    }
    // Who is not let in hears of nothing else, whether or not the hub has to be asked.
    for fields in [xml.to_owned(), bearer(UNKNOWN_TOKEN) + xml] {
        for (method, query) in [("POST", "login=true"), ("PUT", "strategy=x"), ("GET", "jsonata=x"), ("DELETE", "")] {
            expect(&writer.call(method, &target(NOTES, query), &fields, large.as_bytes()), 401, NO_TOKEN);
        }
    }
}

#[test]
fn a_body_is_called_for_only_if_it_is_wanted() {
    let server = Server::with_endpoints("");
    let ask = |method: &str, target: &str, fields: &str| {
        let mut client = Client::on(&server, 2);
        client
            .send(format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{fields}Content-Length: 9\r\nExpect: 100-continue\r\n\r\n"));
        let answer = client.response();
        (client, answer)
    };
    for (method, target, fields, status) in [
        ("POST", target(OPEN, "login=true"), JSON.to_owned(), 400),
        ("POST", target(OPEN, ""), String::new(), 400),
        ("POST", target(NOTES, ""), format!("{JSON}{}", bearer(UNKNOWN_TOKEN)), 401),
        ("DELETE", target(OPEN, &format!("uniqueId={MISSING}")), String::new(), 400),
        ("GET", target(OPEN, ""), String::new(), 200),
    ] {
        let (mut client, answer) = ask(method, &target, &fields);
        assert_eq!((answer.status, answer.field("Connection")), (status, Some("close")), "{method} {target}");
        client.expect_end();
    }
    let (mut client, answer) = ask("POST", &target(OPEN, ""), JSON);
    assert_eq!(answer.status, 100);
    client.send(" [1,2,3] ");
    let created = client.response();
    assert_eq!((created.status, created.field("Connection")), (201, Some("keep-alive")));
    assert_eq!(Record::parse(created.text()).data, "[1,2,3]");
    assert_eq!(client.get(&target(OPEN, "dataOnly=true")).text(), "[[1,2,3]]");
}

#[test]
fn bodies_come_in_any_pieces_and_both_lengths_at_once_are_refused() {
    let server = Server::with_endpoints("");
    let mut client = Client::on(&server, 0);
    let head = format!("POST {} HTTP/1.1\r\nHost: h\r\n{JSON}", target(OPEN, ""));
    client.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n"));
    for piece in ["2\r\n{\"", "\r\n1", "\r\na\r\n4;x=y\r\n\":1}\r\n0\r", "\n\r\n"] {
        server.settle();
        client.send(piece);
    }
    assert_eq!(Record::parse(client.response().text()).data, r#"{"a":1}"#);
    client.send(format!("{head}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n"));
    assert_eq!(client.response().status, 400);
    client.expect_end();
    // The answer is owed to one who only ended its own direction, too.
    let mut client = Client::on(&server, 1);
    client.send(format!("{head}Content-Length: 1\r\n\r\n2"));
    client.finish_sending();
    assert_eq!(Record::parse(client.response().text()).data, "2");
    let mut client = Client::on(&server, 1);
    client.send_get(&target(OPEN, "dataOnly=true"), "");
    client.finish_sending();
    assert_eq!(client.response().text(), r#"[{"a":1},2]"#);
}

#[test]
fn an_endpoint_has_so_many_records_and_no_more() {
    let server = Server::with_endpoints("limits = { records_per_endpoint_max = 2 }");
    let mut writer = Writer::on(&server, 1);
    let ids = ["1", "2"].map(|data| writer.post(OPEN, data).id);
    expect(&writer.ask("POST", OPEN, "", "3"), 507, "Too many records.");
    writer.put(OPEN, &ids[0], "4");
    writer.delete(OPEN, &ids[1]);
    writer.post(OPEN, "5");
    expect(&writer.ask("POST", OPEN, "", "6"), 507, "Too many records.");
    let data: Vec<String> = writer.list(OPEN).into_iter().map(|record| record.data).collect();
    assert_eq!(data, ["4", "5"]);
}

#[test]
fn requests_in_flight_count_among_the_connections_of_an_endpoint() {
    let server = Server::with_endpoints("limits = { connections_per_endpoint_max = 1 }");
    let head =
        format!("POST {} HTTP/1.1\r\nHost: h\r\n{JSON}Content-Length: 1\r\nExpect: 100-continue\r\n\r\n", target(OPEN, ""));
    let mut first = Client::on(&server, 0);
    first.send(&head);
    assert_eq!(first.response().status, 100);
    let mut client = keeping(&server);
    client.fails("GET", &target(OPEN, ""), "", b"", 429, "Too many connections.");
    client.fails("GET", &format!("{PATH}/{OPEN}?key=x"), "", b"", 400, NOT_VALID);
    assert_eq!(client.ask("GET", &target(NOTES, MASTER), "", b"").status, 200, "elsewhere there is room");
    first.send("1");
    assert_eq!(first.response().status, 201);
    assert_eq!(client.ask("GET", &target(OPEN, ""), "", b"").status, 200);
}

#[test]
fn users_are_read_with_the_master_key_and_by_nobody_else() {
    let server = Server::with_endpoints("");
    let mut client = keeping(&server);
    client.fails("GET", &target(USERS, ""), "", b"", 401, NO_TOKEN);
    assert_eq!(client.ask("GET", &target(USERS, MASTER), "", b"").text(), "[]");
    client.fails("DELETE", &target(USERS, &format!("{MASTER}&uniqueId={MISSING}")), "", b"", 400, "No record found.");
}

#[test]
fn a_server_that_stops_answers_what_has_begun_and_nothing_else() {
    let server = Server::with_endpoints("");
    let head =
        format!("POST {} HTTP/1.1\r\nHost: h\r\n{JSON}Content-Length: 1\r\nExpect: 100-continue\r\n\r\n", target(OPEN, ""));
    let mut begun = Client::on(&server, 0);
    begun.send(&head);
    assert_eq!(begun.response().status, 100);
    let mut late = Client::on(&server, 1);
    late.send(format!("BREW {} HTTP/1.1\r\nHost: h\r\nOrigin: https://any.example\r\n", target(OPEN, "")));
    server.settle();
    server.drain();
    // Every reactor has heard of it.
    server.advance(0.0);
    late.send("\r\n");
    let answer = late.response();
    expect(&answer, 503, "Server is draining.");
    assert_eq!((answer.field("Retry-After"), answer.field("Connection")), (Some("5"), Some("close")));
    assert_eq!(answer.field("Access-Control-Allow-Origin"), Some("https://any.example"));
    late.expect_end();
    begun.send("1");
    let answer = begun.response();
    assert_eq!((answer.status, answer.field("Connection")), (201, Some("close")));
    begun.expect_end();
}
