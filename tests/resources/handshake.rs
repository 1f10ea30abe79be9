//! RS-1 to RS-20: who is let in, and how the others are told.

use crate::support::client::UPGRADE;
use crate::support::realtime::{
    DEV, FORBIDDEN, GAME, Listener, PATH, PRIVATE, PROJECT, WORLD, bearer, configuration, dev_resources, jwt, token, vector,
    vectors,
};
use crate::support::{Client, Response, Server, masked};
use std::time::Instant;

const HEAD: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

fn offering(protocols: &str) -> String {
    format!("Sec-WebSocket-Protocol: {protocols}\r\n")
}

/// An upgrade with these lines behind the usual ones.
fn upgrade(server: &Server, fields: &str) -> (Client, Response) {
    let mut client = Client::on(server, 1);
    let answer = client.ask_upgrade(PATH, fields);
    (client, answer)
}

#[track_caller]
fn expect_open(server: &Server, fields: &str) -> Listener {
    let (client, upgrade) = upgrade(server, fields);
    assert_eq!(upgrade.status, 101, "{fields}: {upgrade:?}");
    Listener { client, upgrade }
}

/// A reject, its text, and the end of the connection.
#[track_caller]
fn expect_reject(server: &Server, fields: &str, status: u16, text: &str) -> Response {
    let (mut client, answer) = upgrade(server, fields);
    expect_told(&answer, status, text);
    client.expect_end();
    answer
}

#[track_caller]
fn expect_told(answer: &Response, status: u16, text: &str) {
    let body = format!("{{\"error\":\"{text}\"}}");
    assert_eq!((answer.status, answer.text()), (status, body.as_str()), "{answer:?}");
    let told = ["Content-Type", "Cache-Control", "Connection"].map(|name| answer.field(name));
    assert_eq!(told, [Some("application/json"), Some("no-store"), Some("close")], "{answer:?}");
    let authenticate = (status == 401).then_some("Bearer");
    assert_eq!(answer.field("WWW-Authenticate"), authenticate);
    let retry = matches!(status, 429 | 503).then_some("5");
    assert_eq!(answer.field("Retry-After"), retry);
}

/// A second project, and one without a name.
const OTHERS: &str = "[[resources.projects]]\norganization = \"testOrg\"\nproject = \"other\"\n\
                      service_keys = [{ name = \"other\", key = \"key-of-the-other-project\" }]\n\
                      [[resources.projects]]\norganization = \"testOrg\"\n";

#[test]
fn rs_01_the_documents_offer_is_echoed() {
    let server = Server::with_resources("");
    let offer = vector("document-example");
    assert_eq!(offer, "zvtwh2Pc4738C3hkLXwcLbY3LnsqYfMmKG2NWiWNE9yL8xVwQhcLFKCzzne1fqbf");
    for target in [PATH, "/api/realtime/"] {
        let mut client = Client::on(&server, 1);
        let answer = client.ask_upgrade(target, &offering(&offer));
        assert_eq!(answer.raw, format!("{HEAD}Sec-WebSocket-Protocol: {offer}\r\n\r\n"), "{target}");
        Listener { client, upgrade: answer }.await_document(WORLD);
    }
}

#[test]
fn rs_02_real_headers_alone_are_answered_without_a_subprotocol() {
    let server = Server::with_resources("");
    let mut listener = expect_open(&server, PROJECT);
    assert_eq!(listener.upgrade.raw, format!("{HEAD}\r\n"));
    listener.await_document(WORLD);
}

#[test]
fn rs_03_m2_realtime_is_answered_in_place_of_the_token() {
    let server = Server::with_resources("");
    let token = vector("document-example");
    let lines = format!("{}{}", offering("m2-realtime"), offering(&token));
    for offer in [
        offering(&format!("m2-realtime, {token}")),
        offering(&format!("m2-realtime,{token}")),
        offering(&format!("{token} ,m2-realtime")),
        lines,
        format!("{}{PROJECT}", offering("m2-realtime")),
    ] {
        let mut listener = expect_open(&server, &offer);
        assert_eq!(listener.upgrade.raw, format!("{HEAD}Sec-WebSocket-Protocol: m2-realtime\r\n\r\n"), "{offer}");
        listener.await_document(WORLD);
    }
}

#[test]
fn rs_04_the_first_valid_token_is_selected_and_echoed() {
    let server = Server::with_resources("");
    let token = vector("document-example");
    let listener = expect_open(&server, &offering(&format!("0OIl, {token}")));
    assert_eq!(listener.upgrade.field("Sec-WebSocket-Protocol"), Some(token.as_str()));
    // Later ones are not read: this one names nobody that is known.
    let listener = expect_open(&server, &offering(&format!("0OIl, {token}, {}", self::token("x-m2-organization:nobody"))));
    assert_eq!(listener.upgrade.field("Sec-WebSocket-Protocol"), Some(token.as_str()));
}

#[test]
fn rs_05_nothing_that_decodes_gives_400() {
    let server = Server::with_resources("");
    let text = "Invalid Sec-WebSocket-Protocol";
    expect_reject(&server, &offering("0OIl"), 400, text);
    // Also beside real headers that would do.
    expect_reject(&server, &format!("{}{PROJECT}", offering("0OIl")), 400, text);
    expect_reject(&server, &offering("a b"), 400, text);
    expect_reject(&server, &offering(&["m2-realtime"; 17].join(",")), 400, text);
}

#[test]
fn rs_06_spellings_with_id_and_any_letter_case_mean_the_same() {
    let server = Server::with_resources("");
    for name in ["id-suffixed-names", "crlf-ows-mixed-case"] {
        let vector = vectors().into_iter().find(|vector| vector["name"] == name).expect(name);
        let of = |name: &str| vector["headers"][name].as_str().unwrap_or_default().to_owned();
        let known = of("x-m2-organization") == "testOrg" && of("x-m2-project") == "testProj";
        assert!(known, "{vector}");
        let credential = ["authorization", "x-api-key"].iter().any(|name| vector["headers"].get(*name).is_some());
        let (_, answer) = upgrade(&server, &offering(vector["base58"].as_str().unwrap()));
        assert_eq!(answer.status, if credential { 401 } else { 101 }, "{answer:?}");
    }
    expect_open(&server, "X-M2-ORGANIZATION-ID: testOrg\r\nx-M2-Project-Id: testProj\r\n");
    expect_open(&server, &format!("{PROJECT}x-m2-organization-id: testOrg\r\n"));
    expect_reject(&server, &format!("{PROJECT}x-m2-project-id: other\r\n"), 400, "Conflicting headers");
}

#[test]
fn rs_07_header_and_token_have_to_agree() {
    let server = Server::with_resources("");
    let token = vector("document-example");
    expect_open(&server, &format!("{PROJECT}{}", offering(&token)));
    let other = "x-m2-organization: other\r\n";
    expect_reject(&server, &format!("{other}{}", offering(&token)), 400, "Conflicting headers");
}

#[test]
fn rs_08_names_of_the_transport_inside_a_token_change_no_check() {
    let origins = "allowed_origins = [\"https://game.example\"]\nhosts = [\"game.example\"]";
    let server = Server::with_project("", &format!("{DEV}\n{origins}"), "");
    let lines = "x-m2-organization:testOrg\nx-m2-project:testProj\n";
    let evil = "Origin: https://evil.example\r\n";
    let inside = token(&format!(
        "{lines}origin:https://evil.example\nhost:x\ncookie:a=b\nx-forwarded-for:1.2.3.4\nsec-websocket-version:8"
    ));
    expect_open(&server, &offering(&inside));
    let good = token(&format!("{lines}origin:https://game.example"));
    expect_reject(&server, &format!("{evil}{}", offering(&good)), 403, "Origin not allowed");
    let host = token("host:game.example\ncookie:x-m2-organization=testOrg");
    expect_reject(&server, &offering(&host), 400, "Missing x-m2-organization");
}

#[test]
fn rs_09_line_ends_blanks_and_colons_are_taken() {
    let server = Server::with_resources("");
    for lines in [
        "x-m2-organization:testOrg\r\nx-m2-project:testProj\r\n",
        "x-m2-organization: \ttestOrg\t \nx-m2-project: testProj ",
        "\n\r\nx-m2-organization:testOrg\n\nx-m2-project:testProj\n\n",
    ] {
        expect_open(&server, &offering(&token(lines))).await_document(WORLD);
    }
    // A value keeps its colons: it is the whole of a world's name.
    let vector = vectors().into_iter().find(|vector| vector["name"] == "value-with-colons").expect("the vector");
    let (_, answer) = upgrade(&server, &offering(vector["base58"].as_str().unwrap()));
    assert!(!answer.text().contains("Sec-WebSocket-Protocol"), "{answer:?}");
    let server = Server::with_project("", DEV, "[[resources.projects]]\norganization = \"a:b:c\"\n");
    expect_open(&server, &offering(&token("x-m2-organization:a:b:c")));
    expect_reject(&server, &offering(&token("x-m2-organization:a:b")), 404, "Unknown organization or project");
}

#[test]
fn rs_10_a_space_before_a_name_of_ours_begins_a_pair_and_no_other_does() {
    let server = Server::with_project("", "require_credentials = true", "");
    let flattened = vector("document-example-flattened-with-space");
    // Both pairs: the project is known, and only the credentials are missing.
    expect_reject(&server, &offering(&flattened), 401, "Missing credentials");
    let lines = "x-m2-organization:testOrg\nx-m2-project:testProj\nauthorization:Bearer a b";
    expect_reject(&server, &offering(&token(lines)), 401, "Invalid credentials");
}

#[test]
fn rs_11_each_vector_is_a_token_or_gives_400() {
    let server = Server::with_resources("");
    let mut refused = 0;
    for vector in vectors() {
        let name = vector["name"].as_str().expect("a name");
        let Some(offer) = vector["base58"].as_str().filter(|offer| !offer.is_empty()) else { continue };
        let (_, answer) = upgrade(&server, &offering(offer));
        let invalid = answer.status == 400 && answer.text() == r#"{"error":"Invalid Sec-WebSocket-Protocol"}"#;
        assert_eq!(invalid, name.starts_with("NEG-") || vector["headers"].is_null(), "{name}: {answer:?}");
        refused += usize::from(invalid);
    }
    assert!(refused > 5, "{refused}");
}

#[test]
fn rs_12_a_token_has_4096_characters_and_no_more() {
    let server = Server::with_resources("");
    let line = "x-m2-organization:testOrg\nx-m2-project:testProj\n";
    let filled = |bytes: usize| {
        // Values have at most 2048 bytes, and further names are ignored.
        let rest = bytes - line.len() - "a:\nb:".len();
        token(&format!("{line}a:{}\nb:{}", "x".repeat(rest / 2), "y".repeat(rest - rest / 2)))
    };
    let longest = (2_900..3_100).map(filled).find(|token| token.len() == 4_096).expect("a token of 4096 characters");
    let mut listener = expect_open(&server, &offering(&longest));
    assert_eq!(listener.upgrade.field("Sec-WebSocket-Protocol"), Some(longest.as_str()));
    listener.await_document(WORLD);
    let long = format!("1{longest}");
    expect_reject(&server, &offering(&long), 431, "Request header fields too large");
    // Nothing is decoded, and nothing else is looked at.
    let (_, answer) = upgrade(&server, &format!("{}{PROJECT}", offering(&"0".repeat(4_097))));
    expect_told(&answer, 431, "Request header fields too large");
}

/// RS-13 is a statement of `base58`; here is what it is for: an offer of the greatest length costs no time that a client sees.
#[test]
fn rs_13_decoding_4096_characters_takes_less_than_a_millisecond() {
    let longest = "z".repeat(4_096);
    let begun = Instant::now();
    let times: Vec<_> = (0..50)
        .map(|_| {
            let one = Instant::now();
            assert!(fanwire::dialects::resources::base58::decode(&longest).is_some());
            one.elapsed()
        })
        .collect();
    let best = times.iter().min().expect("fifty");
    // Unoptimized code is allowed ten times as much.
    let most = if cfg!(debug_assertions) { 10_000 } else { 1_000 };
    assert!(best.as_micros() < most, "{best:?} of {:?}", begun.elapsed());
    let mut random = crate::support::Xorshift(77);
    for _ in 0..200 {
        let bytes: Vec<u8> = (0..random.below(300)).map(|_| random.below(256) as u8).collect();
        assert_eq!(fanwire::dialects::resources::base58::decode(&bs58::encode(&bytes).into_string()), Some(bytes));
    }
}

#[test]
fn rs_14_each_reject_has_its_status_and_text() {
    let server = Server::with_project("", "require_credentials = true", OTHERS);
    expect_reject(&server, "", 400, "Missing x-m2-organization");
    expect_reject(&server, "x-m2-project: testProj\r\n", 400, "Missing x-m2-organization");
    expect_reject(&server, "x-m2-organization: testOrg\r\nx-m2-world-id: w\r\n", 400, "Missing x-m2-project");
    expect_reject(&server, "x-m2-organization: testOrg\r\nx-m2-launch-context-id: l\r\n", 400, "Missing x-m2-project");
    expect_reject(&server, "x-m2-organization: nobody\r\n", 404, "Unknown organization or project");
    expect_reject(&server, "x-m2-organization: testOrg\r\nx-m2-project: none\r\n", 404, "Unknown organization or project");
    expect_reject(&server, &format!("x-m2-organization: {}\r\n", "x".repeat(129)), 400, "Invalid header value");
    expect_reject(&server, PROJECT, 401, "Missing credentials");
    let unknown = "A".repeat(43);
    for bad in [bearer("x"), bearer(&unknown), "Authorization: Basic eDp5\r\n".to_owned(), "x-api-key: x\r\n".to_owned()] {
        expect_reject(&server, &format!("{PROJECT}{bad}"), 401, "Invalid credentials");
    }
    let elsewhere = jwt(r#"{"sub":"u1","exp":4102444800,"project":"other"}"#);
    expect_reject(&server, &format!("{PROJECT}{}", bearer(&elsewhere)), 403, "Project not allowed");
    expect_reject(&server, &format!("{PROJECT}x-api-key: key-of-the-other-project\r\n"), 403, "Project not allowed");
    let mut late = Client::on(&server, 2);
    late.send(format!("GET {PATH} HTTP/1.1\r\n{UPGRADE}"));
    server.settle();
    server.drain();
    server.advance(0.0);
    late.send(format!("{PROJECT}\r\n"));
    expect_told(&late.response(), 503, "Server is draining");
    late.expect_end();
}

#[test]
fn rs_15_of_several_faults_the_lowest_row_decides() {
    let server = Server::with_project(
        "limits.connections_per_project_max = 1\n",
        "require_credentials = true\nallowed_origins = [\"https://game.example\"]",
        OTHERS,
    );
    let ask = |head: &str| {
        let mut client = Client::on(&server, 1);
        client.send(format!("{head}\r\n"));
        client.response()
    };
    // All faults at once, and then one less each time.
    let (long, bad) = ("1".repeat(4_097), "0OIl");
    let start = format!("GET {PATH} HTTP/1.1\r\nHost: localhost\r\n");
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    let (key, version) = ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "Sec-WebSocket-Version: 13\r\n");
    let world = "x-m2-world-id: w\r\n";
    let conflict = "x-m2-world-id: v\r\n";
    let evil = "Origin: https://evil.example\r\n";
    let good = "Origin: https://game.example\r\n";
    let both = format!("{}x-api-key: k\r\n", bearer("x"));
    let wide = format!("x-m2-project: {}\r\n", "x".repeat(129));
    let all = |protocol: &str| format!("{}{wide}{world}{conflict}{both}{evil}", offering(protocol));
    let greeting = format!("{start}{upgrade}{key}{version}");
    for (head, status, text) in [
        (format!("{start}{}", all(&long)), 431, "Request header fields too large"),
        (format!("{start}{}", all(bad)), 426, "Upgrade required"),
        (format!("{start}{upgrade}{}", all(bad)), 400, "Invalid websocket request"),
        (format!("{start}{upgrade}{key}{}", all(bad)), 426, "Unsupported websocket version"),
        (format!("{greeting}{}", all(bad)), 400, "Invalid Sec-WebSocket-Protocol"),
        (format!("{greeting}{wide}{world}{conflict}{both}{evil}"), 400, "Invalid header value"),
        (format!("{greeting}{world}{conflict}{both}{evil}"), 400, "Conflicting headers"),
        (format!("{greeting}{both}{evil}"), 400, "Conflicting headers"),
        (format!("{greeting}{world}{evil}"), 400, "Missing x-m2-organization"),
        (format!("{greeting}x-m2-organization: nobody\r\n{world}{evil}"), 400, "Missing x-m2-project"),
        (format!("{greeting}x-m2-organization: nobody\r\n{evil}"), 404, "Unknown organization or project"),
        (format!("{greeting}{PROJECT}{evil}"), 403, "Origin not allowed"),
        (format!("{greeting}{PROJECT}{good}"), 401, "Missing credentials"),
        (format!("{greeting}{PROJECT}{good}x-api-key: k\r\n"), 401, "Invalid credentials"),
        (format!("{greeting}{PROJECT}{good}x-api-key: key-of-the-other-project\r\n"), 403, "Project not allowed"),
    ] {
        let answer = ask(&head);
        let body = format!("{{\"error\":\"{text}\"}}");
        assert_eq!((answer.status, answer.text()), (status, body.as_str()), "{head}");
    }
    // Nobody of those has kept a place. The limit of the project comes behind its row.
    let held = expect_open(&server, &format!("{PROJECT}{good}x-api-key: dev\r\n"));
    let answer = ask(&format!("{greeting}{PROJECT}{evil}"));
    expect_told(&answer, 429, "Too many connections");
    expect_told(&ask(&format!("{greeting}x-m2-organization: nobody\r\n{evil}")), 404, "Unknown organization or project");
    drop(held);
    server.wait_until("the place is free again", |_| ask(&format!("{greeting}{PROJECT}{evil}")).status == 403);
}

#[test]
fn rs_16_a_browser_is_told_by_a_close_behind_the_101() {
    let server = Server::with_project(
        "reject = \"close\"\nlimits.connections_per_project_max = 1\n",
        "require_credentials = true\nallowed_origins = [\"https://game.example\"]",
        OTHERS,
    );
    let lines = "x-m2-organization:testOrg\nx-m2-project:testProj";
    let good = token(lines);
    let evil = "Origin: https://evil.example\r\n";
    let unknown = token("x-m2-organization:nobody");
    let bad = token(&format!("{lines}\nx-api-key:k"));
    let hub = token(&format!("{lines}\nauthorization:Bearer {}", "A".repeat(43)));
    let other = token(&format!("{lines}\nx-api-key:key-of-the-other-project"));
    let wide = token(&format!("x-m2-organization:{}", "x".repeat(129)));
    let project = token("x-m2-organization:testOrg\nx-m2-world-id:w");
    let told = |offer: &str, fields: &str, code: u16, text: &str| {
        let mut client = Client::on(&server, 1);
        let before = server.writes(1);
        let answer = client.ask_upgrade(PATH, &format!("{}{fields}", offering(offer)));
        let first = offer.split(',').next().unwrap_or_default();
        assert_eq!(answer.raw, format!("{HEAD}Sec-WebSocket-Protocol: {first}\r\n\r\n"), "{text}");
        let frame = client.frame();
        assert_eq!((frame.code(), &frame.payload[2..]), (Some(code), text.as_bytes()));
        assert_eq!(server.writes(1) - before, 1, "{text}: in the same write");
        client.send(masked(0x88, &code.to_be_bytes()));
        client.expect_end();
    };
    told("0OIl,l0", "", 4400, "Invalid Sec-WebSocket-Protocol");
    told(&wide, "", 4400, "Invalid header value");
    told(&good, "x-m2-project: other\r\n", 4400, "Conflicting headers");
    told(&token("x-m2-project:p"), "", 4400, "Missing x-m2-organization");
    told(&project, "", 4400, "Missing x-m2-project");
    told(&unknown, "", 4404, "Unknown organization or project");
    told(&good, evil, 4403, "Origin not allowed");
    told(&good, "", 4401, "Missing credentials");
    told(&bad, "", 4401, "Invalid credentials");
    told(&hub, "", 4401, "Invalid credentials");
    told(&other, "", 4403, "Project not allowed");
    let held = expect_open(&server, &format!("{}x-api-key: dev\r\n", offering(&good)));
    told(&good, "", 4429, "Too many connections");
    // These are HTTP whatever is asked.
    for (fields, status) in [(offering(&"1".repeat(4_097)), 431), (offering("a b"), 400)] {
        assert_eq!(upgrade(&server, &fields).1.status, status, "{fields}");
    }
    let mut client = Client::on(&server, 1);
    client.send(format!("GET {PATH} HTTP/1.1\r\n{}\r\n", UPGRADE.replace("Version: 13", "Version: 8")));
    assert_eq!(client.response().status, 426);
    let mut late = Client::on(&server, 1);
    late.send(format!("GET {PATH} HTTP/1.1\r\n{UPGRADE}"));
    server.settle();
    server.drain();
    server.advance(0.0);
    late.send(format!("{}\r\n", offering(&good)));
    assert_eq!(late.response().raw, format!("{HEAD}Sec-WebSocket-Protocol: {good}\r\n\r\n"));
    let frame = late.frame();
    assert_eq!((frame.code(), &frame.payload[2..]), (Some(1001), &b"Server is draining"[..]));
    drop(held);
}

#[test]
fn rs_17_origins_are_compared_whole() {
    let server = Server::with_project("", &format!("{DEV}\nallowed_origins = [\"https://game.example\"]"), "");
    for same in ["https://game.example", "https://game.example:443", "HTTPS://Game.example"] {
        expect_open(&server, &format!("{PROJECT}Origin: {same}\r\n"));
    }
    for other in [
        "null",
        "https://game.example.evil.example",
        "https://evilgame.example",
        "https://game.exampl",
        "https://game.example:8443",
        "http://game.example",
    ] {
        expect_reject(&server, &format!("{PROJECT}Origin: {other}\r\n"), 403, "Origin not allowed");
    }
    expect_open(&server, PROJECT);
    let open = Server::with_resources("");
    expect_open(&open, &format!("{PROJECT}Origin: null\r\n"));
}

#[test]
fn rs_18_both_kinds_of_credentials_conflict() {
    let server = Server::with_resources("");
    expect_reject(&server, &format!("{PROJECT}{}x-api-key: dev\r\n", bearer("dev")), 400, "Conflicting headers");
    let offer = offering(&token("x-m2-organization:testOrg\nx-m2-project:testProj\nx-api-key:dev"));
    expect_reject(&server, &format!("{offer}{}", bearer("dev")), 400, "Conflicting headers");
    // Either does alone.
    for one in [bearer("dev"), "x-api-key: dev\r\n".to_owned()] {
        expect_open(&server, &format!("{PROJECT}{one}")).await_document(("kvStore", "anyone:kvstoreServer:k"));
    }
}

#[test]
fn rs_19_query_and_cookies_have_no_effect() {
    let server = Server::with_project("", "", "");
    let ask = |target: &str, fields: &str| {
        let mut client = Client::on(&server, 1);
        let upgrade = client.ask_upgrade(target, fields);
        (client, upgrade)
    };
    let query =
        "/api/realtime?x-m2-organization=testOrg&x-m2-project=testProj&authorization=Bearer%20dev&x-api-key=dev&token=dev";
    let cookies = "Cookie: x-m2-organization=testOrg; x-m2-project=testProj; x-api-key=dev; authorization=Bearer dev\r\n";
    assert_eq!(ask(query, cookies).1.text(), r#"{"error":"Missing x-m2-organization"}"#);
    let (client, upgrade) = ask(query, &format!("{cookies}{PROJECT}"));
    assert_eq!(upgrade.status, 101);
    // The key in them is nobody's.
    assert_eq!(Listener { client, upgrade }.subscribe(GAME), FORBIDDEN);
    let (_, upgrade) = ask("/api/realtime?x-m2-organization=other", &format!("Cookie: x-m2-project=other\r\n{PROJECT}"));
    assert_eq!(upgrade.status, 101);
}

#[test]
fn rs_20_without_an_upgrade_or_version_13_there_is_426() {
    let server = Server::with_resources("");
    let ask = |request: String| {
        let mut client = Client::on(&server, 1);
        client.send(request);
        client.response()
    };
    for fields in ["Host: a\r\n", "Host: a\r\nConnection: Upgrade\r\n", "Host: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n"] {
        let answer = ask(format!("GET {PATH} HTTP/1.1\r\n{fields}{PROJECT}\r\n"));
        expect_told(&answer, 426, "Upgrade required");
        assert_eq!(answer.field("Upgrade"), Some("websocket"));
    }
    for version in ["8", "14", "013"] {
        let answer = ask(format!(
            "GET {PATH} HTTP/1.1\r\n{}{PROJECT}\r\n",
            UPGRADE.replace("Version: 13", &format!("Version: {version}"))
        ));
        expect_told(&answer, 426, "Unsupported websocket version");
        assert_eq!(answer.field("Sec-WebSocket-Version"), Some("13"));
    }
    // Not even the method.
    let answer = ask(format!("POST {PATH} HTTP/1.1\r\n{UPGRADE}{PROJECT}\r\n"));
    assert_eq!((answer.status, answer.field("Allow"), answer.text()), (405, Some("GET"), r#"{"error":"Method not allowed"}"#));
    let answer = ask(format!("GET {PATH}/nothing HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!((answer.status, answer.text()), (404, r#"{"error":"Not found"}"#));
}

/// Section 2.1: the host means a project only for those who name none.
#[test]
fn a_host_means_its_project_to_who_names_none() {
    let server = Server::with_project("", &format!("{DEV}\nhosts = [\"game.example\"]"), OTHERS);
    let ask = |host: &str, fields: &str| {
        let mut client = Client::on(&server, 1);
        client.send(format!("GET {PATH} HTTP/1.1\r\n{}{fields}\r\n", UPGRADE.replace("localhost", host)));
        client.response().status
    };
    assert_eq!((ask("game.example", ""), ask("GAME.example:81", ""), ask("other.example", "")), (101, 101, 400));
    assert_eq!(ask("game.example", "x-m2-organization: testOrg\r\nx-m2-project: none\r\n"), 404);
    assert_eq!(ask("game.example", "x-m2-project: testProj\r\n"), 400);
}

#[test]
fn dev_makes_projects_that_nobody_has_configured() {
    let mut config = dev_resources(&configuration("", DEV, ""));
    config.resources = fanwire::dialects::resources::options::Options::dev();
    let server = Server::cable(config);
    let mut known = expect_open(&server, PROJECT);
    known.await_document(PRIVATE);
    let mut made = expect_open(&server, "x-m2-organization: new\r\nx-m2-project: one\r\n");
    made.await_document(PRIVATE);
    expect_open(&server, "x-m2-organization: new\r\n").await_document(GAME);
}
