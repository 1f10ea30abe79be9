//! EP-1 to EP-27, but for tokens: who comes in, and how the others are told.

use crate::support::client::UPGRADE;
use crate::support::endpoints::{
    BOARD, CALM, CHANGED, COOKIE, EXPIRED, HOSTS, JSON, KEY, Listener, MASTER, MASTER_KEY, NO_ORIGIN, NO_TOKEN, NOT_VALID, NOTES,
    OPEN, OTHER_KEY, PASSWORD, PATH, PATIENT, TOO_MANY_REQUESTS, UNKNOWN_TOKEN, USERS, Writer, bearer, both, credentials,
    dev_endpoints, expect_refusal, expect_rejected, expect_served, origin, target, upgrade_at,
};
use crate::support::{Client, LISTEN, REACTORS, Server, log, masked};
use fanwire::config::Config;
use fanwire::metrics::Counter;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// The checks are the same for WebSockets and HTTP.
#[track_caller]
fn opens(server: &Server, target: &str, fields: &str) {
    expect_served(server, "localhost", target, fields);
}

#[track_caller]
fn opens_socket(server: &Server, target: &str, fields: &str) {
    let mut listener = Listener::with(server, 1, target, fields);
    server.expect_silence(&mut listener);
}

#[track_caller]
fn refuses(server: &Server, target: &str, fields: &str, reason: &str) {
    expect_rejected(server, "localhost", target, fields, reason);
}

#[test]
fn ep_01_a_valid_key_opens_and_then_there_is_silence() {
    let server = Server::with_endpoints("");
    for reactor in 0..REACTORS {
        let mut listener = Listener::open(&server, reactor, OPEN, "");
        assert_eq!(listener.upgrade.field("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        server.advance(1.0);
        server.expect_silence(&mut listener);
    }
    // Offers are ignored.
    let fields = "Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";
    let mut listener = Listener::with(&server, 1, &target(OPEN, ""), fields);
    assert_eq!(
        listener.upgrade.raw,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    );
    server.expect_silence(&mut listener);
}

#[test]
fn ep_01_at_an_endpoint_of_any_kind_nothing_comes_until_a_record_changes() {
    for host in HOSTS {
        let server = Server::with_endpoints(CALM);
        let mut nobody = Writer::at(&server, 0, host);
        let anna = nobody.register(USERS, "anna");
        let token = nobody.login(USERS, "anna");
        let mut anna_writes = Writer::at(&server, 1, host).with_token(&token);
        // What is there already is not told.
        let there = anna_writes.post(NOTES, "1");
        let mut listeners: Vec<(&str, Vec<Listener>)> = Vec::new();
        for endpoint in [OPEN, NOTES, BOARD, USERS] {
            let own = target(endpoint, "");
            let with = |reactor, target: &str, fields: &str| Listener::at(&server, reactor, host, target, fields);
            let mut of_one: Vec<Listener> = (0..REACTORS).map(|reactor| with(reactor, &own, &bearer(&token))).collect();
            of_one.push(with(1, &target(endpoint, MASTER), ""));
            listeners.push((endpoint, of_one));
        }
        let nothing = |listeners: &mut [(&str, Vec<Listener>)]| {
            listeners.iter_mut().flat_map(|(_, of_one)| of_one).for_each(|listener| server.expect_silence(listener));
        };
        nothing(&mut listeners);
        server.advance(3_000.0);
        nobody.list(OPEN);
        anna_writes.list(USERS);
        assert_eq!(anna_writes.ask("DELETE", BOARD, &format!("uniqueId={}", there.id), "").status, 400);
        nothing(&mut listeners);
        // Each is told of what changes there, and of nothing else.
        for changed in 0..listeners.len() {
            let endpoint = listeners[changed].0;
            let (kind, record) = match endpoint {
                NOTES => ("PUT", anna_writes.put(NOTES, &there.id, "2")),
                USERS => ("PUT", anna_writes.put(USERS, &anna.id, r#"{"username":"anna"}"#)),
                _ => ("POST", anna_writes.post(endpoint, "3")),
            };
            listeners[changed].1.iter_mut().for_each(|listener| listener.expect(&record.event(kind)));
            nothing(&mut listeners);
        }
    }
}

/// Targets whose key or endpoint is not valid.
fn not_valid() -> Vec<String> {
    let open = format!("{PATH}/{OPEN}");
    vec![
        format!("{open}?key={OTHER_KEY}"),
        format!("{open}?key={}", &KEY[1..]),
        format!("{open}?key={KEY}0"),
        format!("{open}?key={}", KEY.to_uppercase()),
        open.clone(),
        format!("{open}?"),
        format!("{open}?key="),
        format!("{open}?key"),
        format!("{open}?key={KEY}&key={KEY}"),
        format!("{open}?key={KEY}&key="),
        format!("{open}?key=&key={KEY}"),
        format!("{PATH}/examples/unknown?key={KEY}"),
        format!("{PATH}/other/endpoint?key={KEY}"),
        format!("{PATH}?key={KEY}"),
        format!("{PATH}/?key={KEY}"),
    ]
}

#[test]
fn ep_02_whatever_is_not_valid_is_told_by_a_close() {
    let server = Server::with_endpoints(PATIENT);
    for (number, target) in not_valid().into_iter().enumerate() {
        expect_refusal(Client::on(&server, number % REACTORS), &target, "", 4000, NOT_VALID);
    }
}

#[test]
fn ep_03_what_is_not_valid_looks_the_same_byte_for_byte() {
    let server = Server::with_endpoints(PATIENT);
    let mut answers: Vec<Vec<u8>> = Vec::new();
    for target in not_valid() {
        let mut client = Client::on(&server, 1);
        client.send(format!("GET {target} HTTP/1.1\r\n{UPGRADE}\r\n"));
        let head = client.take_until(b"\r\n\r\n");
        let close = client.take(2 + 2 + NOT_VALID.len());
        answers.push([head, close].concat());
        client.expect_end();
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
}

#[test]
fn ep_03_over_http_only_who_shows_no_key_is_told_something_else() {
    let server = Server::with_endpoints(PATIENT);
    let mut writer = Writer::on(&server, 1);
    for (method, body) in [("GET", ""), ("POST", "1"), ("DELETE", ""), ("OPTIONS", "")] {
        let mut answers = Vec::new();
        for target in not_valid() {
            let answer = writer.call(method, &target, &format!("{}{JSON}", origin("https://shop.example")), body.as_bytes());
            if answer.status != 403 {
                answers.push((answer.raw, answer.body));
            } else {
                assert_eq!(answer.text(), r#"{"error":"Missing API Key."}"#, "{target}");
            }
        }
        assert_eq!(answers.len(), not_valid().len() - 4, "four show none");
        assert!(answers[0].0.starts_with("HTTP/1.1 400 "), "{answers:?}");
        assert_eq!(answers[0].1, br#"{"error":"Endpoint or API Key not valid."}"#);
        answers.dedup();
        assert_eq!(answers.len(), 1, "{method}: {answers:?}");
    }
}

#[test]
fn ep_04_the_whole_rest_of_the_path_is_the_name() {
    let table = |name: &str| format!("[[endpoints.rested.projects.endpoints]]\nname = \"{name}\"\n");
    let server = Server::with_examples(PATIENT, "", &(table("cars/x/y") + &table("cars/z")));
    opens(&server, &target("cars/x/y", ""), "");
    opens(&server, &target("cars/z", ""), "");
    for unknown in ["cars/x", "cars/x/y/z", "cars/y", "x/y/z"] {
        refuses(&server, &target(unknown, ""), "", NOT_VALID);
    }
}

#[test]
fn ep_05_what_can_be_no_name_is_not_valid() {
    let server = Server::with_endpoints(PATIENT);
    let long = "a".repeat(255);
    for name in [
        "Examples/unsecure-endpoint",
        "examples//unsecure-endpoint",
        "examples/unsecure-endpoint/",
        "/examples/unsecure-endpoint",
        "examples%2Funsecure-endpoint",
        "examples%2funsecure-endpoint",
        "../ce/examples/unsecure-endpoint",
        "examples/../examples/unsecure-endpoint",
        "examples/./unsecure-endpoint",
        "%2e%2e/examples/unsecure-endpoint",
        "examples/unsecure-endpoint%00",
        "examples/unsecure%2-endpoint",
        "examples/unsecure%2542endpoint",
        "cars",
        &long,
    ] {
        // These never come so far: they are no HTTP.
        if name.contains("%2-") || name.contains("%00") {
            let mut client = Client::on(&server, 1);
            assert_eq!(client.ask_upgrade(&target(name, ""), "").status, 400, "{name}");
        } else {
            refuses(&server, &target(name, ""), "", NOT_VALID);
        }
    }
    opens(&server, &target("%65xamples/unsecure%2dendpoint", ""), "");
}

#[test]
fn ep_06_the_configuration_check_refuses_names_that_break_the_rule() {
    let check = |name: &str| {
        let text = format!(
            "{LISTEN}[[endpoints.rested.projects]]\nname = \"p\"\nkey = \"{KEY}\"\n\
             [[endpoints.rested.projects.endpoints]]\nname = \"{name}\"\n"
        );
        Config::from_toml(&text, "test.toml", Path::new(".")).err().map(|error| error.to_string())
    };
    for good in ["abcde", "cars/x/y", "a-b/c-d", &"a".repeat(254)] {
        assert_eq!(check(good), None, "{good}");
    }
    for bad in ["abcd", "Examples/x", "a//bcd", "a--bcd", "/abcde", "abcde/", "-abcde", "abcde-", "ab_cd", &"a".repeat(255)] {
        let told = check(bad).unwrap_or_else(|| panic!("{bad} is no name"));
        assert!(told.contains("test.toml:15: endpoints.rested.projects[0].endpoints[0].name: "), "{told}");
    }
}

#[test]
fn ep_07_other_versions_and_routes_are_not_found() {
    let server = Server::with_endpoints("");
    let mut writer = Writer::on(&server, 2);
    for path in ["/api/2/ce", "/api/1/cf", "/api/1/cee", "/api/ce", "/API/1/ce", "/api/1", "/api/1//ce", "/x/api/1/ce"] {
        let target = format!("{path}/{OPEN}?key={KEY}");
        let mut client = Client::on(&server, 1);
        assert_eq!(client.ask_upgrade(&target, "").status, 404, "{target}");
        for (method, body) in [("GET", ""), ("POST", "1"), ("DELETE", ""), ("OPTIONS", "")] {
            assert_eq!(writer.call(method, &target, JSON, body.as_bytes()).status, 404, "{method} {target}");
        }
    }
}

#[test]
fn ep_08_unlisted_parameters_are_ignored_and_the_key_is_decoded() {
    let server = Server::with_endpoints(PATIENT);
    for more in
        ["x=1", "KEY=x&Key=y", "a&&=&=b&%zz", "masterkey=x&MasterKey=y", "fw_unknown=1&fw_seq=x", "strategy=none&login=yes"]
    {
        opens(&server, &target(OPEN, more), "");
    }
    // Those of HTTP.
    for more in [
        "uniqueId=a&uniqueId=b&dataOnly=true&jsonata=$&login=true&logout=true&strategy=none",
        "fw_limit=no&fw_after=no&fw_unknown",
    ] {
        opens_socket(&server, &target(OPEN, more), "");
    }
    opens(&server, &format!("{PATH}/{OPEN}?%6Bey=%64{}", &KEY[1..]), "");
    let encoded: String = KEY.bytes().map(|byte| format!("%{byte:02X}")).collect();
    opens(&server, &format!("{PATH}/{OPEN}?x=1&key={encoded}&y"), "");
    let other_case = format!("{PATH}/{OPEN}?KEY={KEY}");
    expect_refusal(Client::on(&server, 1), &other_case, "", 4000, NOT_VALID);
    assert_eq!(Client::on(&server, 1).get(&other_case).text(), r#"{"error":"Missing API Key."}"#);
    refuses(&server, &format!("{PATH}/{OPEN}?key=%2564{}", &KEY[1..]), "", NOT_VALID);
}

const SHOP: &str = "allowed_origins = [\"https://shop.example\", \"http://shop.example:8080\"]";

#[test]
fn ep_09_an_origin_outside_of_the_list_is_told() {
    let server = Server::with_examples(PATIENT, SHOP, "");
    for allowed in ["https://shop.example", "http://shop.example:8080"] {
        opens(&server, &target(OPEN, ""), &origin(allowed));
    }
    refuses(&server, &target(OPEN, ""), &origin("https://evil.example"), NO_ORIGIN);
}

#[test]
fn ep_10_origins_are_compared_whole() {
    let server = Server::with_examples(PATIENT, SHOP, "");
    for same in ["https://SHOP.Example", "HTTPS://shop.example", "https://shop.example:443", "http://shop.example:8080"] {
        opens(&server, &target(OPEN, ""), &origin(same));
    }
    for other in [
        "null",
        "http://shop.example",
        "https://shop.example:8443",
        "https://shop.example.evil.example",
        "https://evilshop.example",
        "https://shop.exampl",
        "https://a.shop.example",
        "https://shop.example/",
        "https://shop.example@evil.example",
        "shop.example",
        "https://shop.example https://shop.example",
    ] {
        refuses(&server, &target(OPEN, ""), &origin(other), NO_ORIGIN);
    }
    refuses(&server, &target(OPEN, ""), &origin("https://shop.example").repeat(2), NO_ORIGIN);
}

#[test]
fn ep_11_an_empty_list_accepts_every_origin() {
    let server = Server::with_endpoints("");
    for any in ["https://evil.example", "null", "app://x"] {
        opens(&server, &target(OPEN, ""), &origin(any));
    }
}

#[test]
fn ep_12_no_origin_is_accepted_unless_the_project_refuses_it() {
    for list in ["", SHOP] {
        let server = Server::with_examples("", list, "");
        opens(&server, &target(OPEN, ""), "");
        let server = Server::with_examples(PATIENT, &format!("{list}\ndisallow_no_origin = true"), "");
        refuses(&server, &target(OPEN, ""), "", NO_ORIGIN);
        opens(&server, &target(OPEN, ""), &origin("https://shop.example"));
    }
}

#[test]
fn ep_13_a_valid_master_key_skips_origin_and_token() {
    let server = Server::with_examples(PATIENT, SHOP, "");
    let evil = origin("https://evil.example");
    let right = MASTER;
    for endpoint in [OPEN, NOTES, USERS] {
        opens(&server, &target(endpoint, right), &evil);
    }
    // The key is needed all the same.
    expect_refusal(Client::on(&server, 1), &format!("{PATH}/{OPEN}?{right}"), "", 4000, NOT_VALID);
    assert_eq!(Client::on(&server, 1).get(&format!("{PATH}/{OPEN}?{right}")).status, 403);
    refuses(&server, &format!("{PATH}/{OPEN}?key={OTHER_KEY}&{right}"), "", NOT_VALID);
    for wrong in ["masterKey=x", "masterKey=", &format!("{right}&{right}"), &format!("MasterKey={MASTER_KEY}")] {
        opens(&server, &target(OPEN, wrong), "");
        refuses(&server, &target(OPEN, wrong), &evil, NO_ORIGIN);
        refuses(&server, &target(NOTES, wrong), "", NO_TOKEN);
    }
    // The other project has none.
    let other = format!("{PATH}/other/users?key={OTHER_KEY}&{right}");
    refuses(&server, &other, "", NO_TOKEN);
}

#[test]
fn ep_14_a_secure_endpoint_asks_for_a_token() {
    let server = Server::with_endpoints(PATIENT);
    for endpoint in [NOTES, USERS] {
        refuses(&server, &target(endpoint, ""), "", NO_TOKEN);
    }
}

#[test]
fn ep_22_of_several_faults_the_first_is_told() {
    let server = Server::with_examples(PATIENT, SHOP, "");
    let evil = origin("https://evil.example");
    refuses(&server, &format!("{PATH}/{NOTES}?key={OTHER_KEY}"), &evil, NOT_VALID);
    refuses(&server, &target(NOTES, ""), &evil, NO_ORIGIN);
    refuses(&server, &target(NOTES, ""), "", NO_TOKEN);
    refuses(&server, &target("examples/unknown", ""), &evil, NOT_VALID);
    // Draining is told before everything else.
    let mut late = Client::on(&server, 1);
    late.send(format!("GET {PATH}/{NOTES}?key={OTHER_KEY} HTTP/1.1\r\n{UPGRADE}{evil}"));
    let mut open = Listener::open(&server, 1, OPEN, "");
    server.drain();
    server.advance(0.0);
    late.send("\r\n");
    assert_eq!(late.response().status, 101);
    late.expect_close(1001, "Server is draining.");
    server.advance(10.0);
    open.expect_close(1001, "Server is draining.");
}

#[test]
fn ep_23_the_101_and_the_close_are_one_write_and_two_seconds_end_it() {
    let server = Server::with_examples(PATIENT, SHOP, "");
    let unknown = format!("accessToken={UNKNOWN_TOKEN}");
    for (target, fields, reason) in [
        (format!("{PATH}/{OPEN}"), String::new(), NOT_VALID),
        (target("examples/unknown", ""), String::new(), NOT_VALID),
        (target(OPEN, ""), origin("https://evil.example"), NO_ORIGIN),
        (target(NOTES, ""), String::new(), NO_TOKEN),
        // The hub is asked before.
        (target(NOTES, &unknown), String::new(), NO_TOKEN),
    ] {
        let mut client = Client::on(&server, 1);
        let before = server.writes(1);
        assert_eq!(client.ask_upgrade(&target, &fields).status, 101);
        let close = client.frame();
        assert_eq!((close.opcode, close.code(), &close.payload[2..]), (8, Some(4000), reason.as_bytes()));
        assert_eq!(server.writes(1) - before, 1, "{target}");
        // It does not answer.
        let ended = || server.metrics().reactors[1].read(Counter::Ended);
        let before = ended();
        server.advance(1.8);
        assert_eq!(ended(), before, "the answer to the close may take its time");
        server.advance(0.2);
        assert_eq!(ended(), before + 1, "{target}");
        client.expect_end();
        // One that answers is not kept waiting: no time passes.
        expect_refusal(Client::on(&server, 1), &target, &fields, 4000, reason);
        server.wait_until("it is gone", |_| ended() == before + 2);
    }
}

#[test]
fn ep_24_reasons_are_those_of_the_documents() {
    assert_eq!([NOT_VALID, NO_ORIGIN, NO_TOKEN].map(str::len), [30, 19, 27]);
    for host in HOSTS {
        let server = Server::with_examples(PATIENT, SHOP, "");
        let of_close = |client: &mut Client| {
            let frame = client.frame();
            [frame.head, frame.payload].concat()
        };
        let refused = |target: &str, fields: &str| {
            let mut client = Client::on(&server, 3);
            assert_eq!(upgrade_at(&mut client, host, target, fields).status, 101);
            of_close(&mut client)
        };
        for target in not_valid() {
            assert_eq!(refused(&target, ""), b"\x88\x20\x0f\xa0Endpoint or API Key not valid.", "{target}");
        }
        assert_eq!(refused(&target(OPEN, ""), "Origin: null\r\n"), b"\x88\x15\x0f\xa0Origin not allowed.");
        let none = b"\x88\x1d\x0f\xa0No Access token or invalid.";
        assert_eq!(refused(&target(NOTES, ""), ""), none);
        assert_eq!(refused(&target(NOTES, ""), &bearer("x")), none);
        assert_eq!(refused(&target(USERS, ""), &bearer(UNKNOWN_TOKEN)), none);
        // Those of sockets that were open.
        let mut writer = Writer::at(&server, 0, host);
        writer.register(USERS, "anna");
        let token = writer.login(USERS, "anna");
        let mut expiring = Listener::at(&server, 1, host, &target(NOTES, ""), &bearer(&token));
        server.advance(3_600.0);
        assert_eq!(of_close(&mut expiring), b"\x88\x17\x03\xe8Access token expired.");
        let mut open = Listener::at(&server, 2, host, &target(OPEN, ""), "");
        server.reload(dev_endpoints(&both(PATIENT, "", ""))).expect("nothing that is fixed changes");
        assert_eq!(of_close(&mut open), b"\x88\x26\x03\xe8Options of the endpoint are changed.");
        assert_eq!((EXPIRED, CHANGED), ("Access token expired.", "Options of the endpoint are changed."));
    }
}

#[test]
fn ep_25_a_broken_upgrade_stays_http() {
    let server = Server::with_endpoints("");
    let ask = |method: &str, from: &str, to: &str| {
        let mut client = Client::on(&server, 1);
        client.send(format!("{method} {} HTTP/1.1\r\n{}\r\n", target(OPEN, ""), UPGRADE.replace(from, to)));
        client.response()
    };
    for (from, to) in [
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Key: abc"),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
        ("Connection: Upgrade\r\n", ""),
        ("Upgrade: websocket\r\n", ""),
        ("Upgrade: websocket", "Upgrade: h2c"),
    ] {
        assert_eq!(ask("GET", from, to).status, 400, "{from} -> {to}");
    }
    for version in ["Sec-WebSocket-Version: 12", "Sec-WebSocket-Version: 013", "Sec-WebSocket-Version: 8"] {
        let answer = ask("GET", "Sec-WebSocket-Version: 13", version);
        assert_eq!((answer.status, answer.field("Sec-WebSocket-Version")), (426, Some("13")), "{version}");
    }
    assert_eq!(ask("GET", "Sec-WebSocket-Version: 13\r\n", "").status, 426);
    // Without any of it, it is a reading, whatever version is named; and only a GET asks for a socket.
    let plain = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (method, from, status, text) in [("GET", plain, 200, "[]"), ("DELETE", "", 400, r#"{"error":"uniqueId is required."}"#)] {
        let answer = ask(method, from, "");
        assert_eq!((answer.status, answer.text()), (status, text), "{method}");
    }
    let long = format!("Sec-WebSocket-Version: 13\r\nX: {}", "x".repeat(8_192));
    assert_eq!(ask("GET", "Sec-WebSocket-Version: 13", &long).status, 431);
    // These come first: nothing of the target is looked at.
    let mut client = Client::on(&server, 1);
    client.send(format!("GET {PATH}/nothing HTTP/1.1\r\n{}\r\n", UPGRADE.replace("13", "12")));
    assert_eq!(client.response().status, 426);
}

#[test]
fn ep_26_too_many_failures_of_an_address_are_all_told_the_same() {
    let server = Server::with_endpoints("");
    let mut writer = Writer::on(&server, 3);
    writer.register(USERS, "anna");
    let token = writer.login(USERS, "anna");
    let wrong = format!("{PATH}/{OPEN}?key=wrong");
    // Those over HTTP and those of WebSockets count together.
    for number in 0..30 {
        expect_refusal(Client::on(&server, number % REACTORS), &wrong, "", 4000, NOT_VALID);
        assert_eq!(writer.call("POST", &wrong, JSON, b"1").status, 400);
    }
    server.settle();
    let touched = || {
        let hub = &server.metrics().hub;
        (server.count(Counter::Joined), [&hub.topics, &hub.records, &hub.messages_in].map(|number| number.load(Relaxed)))
    };
    let before = touched();
    let evil = origin("https://evil.example");
    let unknown = format!("accessToken={UNKNOWN_TOKEN}");
    for (target, fields) in [
        (wrong.clone(), ""),
        (target(NOTES, ""), ""),
        (target(NOTES, &unknown), ""),
        (target(USERS, &format!("{unknown}&masterKey=wrong")), evil.as_str()),
        (format!("{PATH}/{OPEN}"), ""),
        (target("examples/unknown", ""), ""),
    ] {
        expect_refusal(Client::on(&server, 1), &target, fields, 1013, TOO_MANY_REQUESTS);
        for (method, body) in [("GET", ""), ("PUT", "1"), ("DELETE", "")] {
            let answer = writer.call(method, &target, &format!("{fields}{JSON}"), body.as_bytes());
            assert_eq!((answer.status, answer.text()), (429, r#"{"error":"Too many requests."}"#), "{method} {target}");
        }
    }
    server.settle();
    assert_eq!(touched(), before, "nothing of it reached records or their topics");
    // Who is right comes in, and so does who fails from elsewhere.
    opens(&server, &target(OPEN, ""), "");
    opens(&server, &target(NOTES, ""), &bearer(&token));
    opens(&server, &target(NOTES, &format!("{MASTER}&{unknown}")), "");
    assert_eq!(
        (writer.post(OPEN, "1").data, Writer::of_user(&server, 2, &token).post(NOTES, "2").data),
        ("1".into(), "2".into())
    );
    assert_eq!(Writer::master(&server, 1).list(NOTES).len(), 1);
    let elsewhere = || Client::connect_from([127, 0, 0, 2], server.address);
    expect_refusal(elsewhere(), &wrong, "", 4000, NOT_VALID);
    assert_eq!(elsewhere().get(&wrong).status, 400);
    // A minute after the first there is room again.
    server.advance(60.0);
    refuses(&server, &wrong, "", NOT_VALID);
}

#[test]
fn ep_26_a_wrong_master_key_is_a_failure_too_and_one_of_its_request() {
    let limit = "limits.failures_per_minute_per_address = 6";
    let server = Server::with_endpoints(limit);
    let wrong = "masterKey=wrong";
    let with_token = target(NOTES, &format!("{wrong}&accessToken={UNKNOWN_TOKEN}"));
    let mut http = Client::on(&server, 3);
    opens_socket(&server, &target(OPEN, wrong), "");
    assert_eq!(http.get(&target(OPEN, wrong)).status, 200);
    expect_refusal(Client::on(&server, 1), &target(NOTES, wrong), "", 4000, NO_TOKEN);
    assert_eq!(http.get(&target(NOTES, wrong)).status, 401);
    expect_refusal(Client::on(&server, 2), &with_token, "", 4000, NO_TOKEN);
    assert_eq!(http.get(&with_token).status, 401, "the sixth");
    expect_refusal(Client::on(&server, 1), &target(NOTES, ""), "", 1013, TOO_MANY_REQUESTS);
    expect_refusal(Client::on(&server, 1), &with_token, "", 1013, TOO_MANY_REQUESTS);
    assert_eq!(http.get(&with_token).status, 429);
    opens(&server, &target(OPEN, wrong), "");
    opens(&server, &target(NOTES, MASTER), "");
}

#[test]
fn ep_27_no_key_token_or_password_reaches_the_log_whichever_check_fails() {
    const WRONG_KEY: &str = "wrong-key-of-somebody";
    const WRONG_MASTER: &str = "wrong-master-key";
    const TOKENS: [&str; 3] = ["a-token-in-a-query", "a-token-in-a-header", "a-token-in-a-cookie"];
    const PASSWORDS: [&str; 2] = ["a-password-in-a-body", "a-password-in-a-query"];
    let server = Server::with_examples("limits.failures_per_minute_per_address = 100", SHOP, "");
    tracing::trace!("nothing is too small for this log");
    let mut writer = Writer::on(&server, 3);
    writer.register(USERS, "anna");
    let token = writer.login(USERS, "anna");
    for fields in [bearer(&token), format!("Cookie: {COOKIE}={token}\r\n")] {
        opens(&server, &target(NOTES, ""), &fields);
    }
    opens(&server, &target(NOTES, &format!("accessToken={token}")), "");
    opens(&server, &target(OPEN, MASTER), "");
    // Every check fails, with secrets wherever they may stand.
    let [in_query, in_header, in_cookie] = TOKENS;
    let query = format!("masterKey={WRONG_MASTER}&accessToken={in_query}&password={}", PASSWORDS[1]);
    let fields = format!("{}{JSON}Cookie: a=b; {COOKIE}={in_cookie}\r\n", bearer(in_header));
    let body = format!("{{\"username\":\"anna\",\"password\":\"{}\"}}", PASSWORDS[0]);
    let mut answers = String::new();
    let mut fail = |server: &Server, code: u16, statuses: [u16; 2], target: &str, fields: &str| {
        let mut client = Client::on(server, 1);
        assert_eq!(client.ask_upgrade(target, fields).status, 101);
        let close = client.frame();
        assert_eq!(close.code(), Some(code), "{target}");
        answers += &String::from_utf8_lossy(&close.payload[2..]);
        for (method, status) in ["GET", "POST"].into_iter().zip(statuses) {
            let answer = Writer::on(server, 2).call(method, target, fields, if method == "POST" { body.as_bytes() } else { b"" });
            assert_eq!(answer.status, status, "{method} {target}: {answer:?}");
            answers += &format!("{}{}", answer.raw, answer.text());
        }
    };
    let evil = fields.clone() + &origin("https://evil.example");
    for (code, statuses, target, fields) in [
        (4000, [403, 403], format!("{PATH}/{OPEN}?{query}"), &fields),
        (4000, [400, 400], format!("{PATH}/{OPEN}?key={WRONG_KEY}&{query}"), &fields),
        (4000, [400, 400], format!("{PATH}/{OPEN}?key={OTHER_KEY}&{query}"), &fields),
        (4000, [400, 400], format!("{PATH}/examples/{KEY}?key={KEY}&{query}"), &fields),
        (4000, [403, 403], target(OPEN, &query), &evil),
        (4000, [401, 401], target(NOTES, &query), &fields),
        (4000, [401, 401], target(NOTES, &format!("accessToken={UNKNOWN_TOKEN}")), &fields),
        (4000, [401, 401], target(USERS, &format!("logout=true&{query}")), &fields),
    ] {
        fail(&server, code, statuses, &target, fields);
    }
    for (query, body, status) in [
        ("login=true", body.clone(), 401),
        ("login=true", body.replace('}', ""), 400),
        ("", body.replace("anna", ""), 400),
        ("", credentials("anna"), 400),
    ] {
        assert_eq!(writer.call("POST", &target(USERS, query), &fields, body.as_bytes()).status, status, "{query} {body}");
    }
    while writer.call("GET", &format!("{PATH}/{OPEN}?key={WRONG_KEY}"), "", b"").status != 429 {}
    fail(&server, 1013, [429, 429], &target(NOTES, &query), &fields);
    server.reload(dev_endpoints(&both(PATIENT, "", ""))).expect("nothing that is fixed changes");
    for target in ["/metrics", "/health", "/ready"] {
        answers += server.caller(0).get(target).text();
    }
    server.drain();
    drop(server);
    let shown = log::text();
    assert!(shown.contains("nothing is too small for this log"), "{shown}");
    let known = [KEY, OTHER_KEY, MASTER_KEY, WRONG_KEY, WRONG_MASTER, UNKNOWN_TOKEN, PASSWORD, &token];
    for secret in known.into_iter().chain(TOKENS).chain(PASSWORDS) {
        assert!(!shown.contains(secret), "{secret} is logged");
        assert!(!answers.contains(secret), "{secret} is told");
    }
}

#[test]
fn a_full_endpoint_is_told_after_the_key_and_before_the_origin() {
    let server = Server::with_examples("limits.connections_per_endpoint_max = 2", SHOP, "");
    let mut first = Listener::open(&server, 0, OPEN, "");
    let second = Listener::open(&server, 1, OPEN, "");
    let evil = origin("https://evil.example");
    expect_refusal(Client::on(&server, 2), &target(OPEN, ""), &evil, 1013, "Too many connections.");
    refuses(&server, &format!("{PATH}/{OPEN}?key=wrong"), "", NOT_VALID);
    opens(&server, &target(NOTES, MASTER), "");
    first.client.send(masked(0x88, &1000u16.to_be_bytes()));
    first.expect_close(1000, "");
    let begun = Instant::now();
    drop(second);
    server.wait_until("the places are free", |server| {
        let mut client = Client::on(server, 3);
        assert_eq!(client.ask_upgrade(&target(OPEN, ""), "").status, 101);
        server.settle();
        !client.has_bytes()
    });
    assert!(begun.elapsed() < crate::support::PATIENCE);
}
