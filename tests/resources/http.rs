//! RS-21, RS-22, RS-40, RS-55 to RS-60 and RS-65: documents, tokens and the status over HTTP.

use crate::support::cable::digest;
use crate::support::realtime::{
    DEV, GAME, JWT_SECRET, Listener, PATH, PRIVATE, PROJECT, WORLD, bearer, configuration, dev_resources, document, jwt,
    version_of,
};
use crate::support::{ACCESS, Client, LISTEN, Response, Server, Xorshift, log, masked, realtime};
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

const KEY: &str = "backend-key-of-testProj";
const OTHER_KEY: &str = "backend-key-of-other";
const OTHER_PROJECT: &str = "x-m2-organization: testOrg\r\nx-m2-project: other\r\n";
/// Of [`WORLD`].
const TARGET: &str = "/api/realtime/resources/kvStore/World:kvstoreClient:testKey";

/// Two projects of one organization, each with a key of its own, and these keys of `[resources]`.
fn tables(keys: &str) -> String {
    let service = |name: &str, key: &str| format!("service_keys = [{{ name = \"{name}\", key = \"{key}\" }}]");
    let other =
        format!("[[resources.projects]]\norganization = \"testOrg\"\nproject = \"other\"\n{}", service("other", OTHER_KEY));
    configuration(keys, &format!("{DEV}\n{}", service("backend", KEY)), &other)
}

/// Everything on one port, four reactors.
fn server_with(keys: &str) -> Server {
    Server::cable(dev_resources(&tables(keys)))
}

fn server() -> Server {
    server_with("")
}

/// A connection of one who writes.
struct Backend {
    client: Client,
    /// Whole lines: who asks, and for which project.
    fields: String,
}

impl Backend {
    fn on(server: &Server, reactor: usize) -> Backend {
        Backend::with(Client::on(server, reactor), &format!("x-api-key: {KEY}\r\n{PROJECT}"))
    }

    fn with(client: Client, fields: &str) -> Backend {
        Backend { client, fields: fields.to_owned() }
    }

    fn send(&mut self, method: &str, target: &str, fields: &str, body: &[u8]) {
        let (own, length) = (&self.fields, body.len());
        let head = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{own}{fields}Content-Length: {length}\r\n\r\n");
        self.client.send([head.as_bytes(), body].concat());
    }

    #[track_caller]
    fn ask(&mut self, method: &str, target: &str, fields: &str, body: &[u8]) -> Response {
        self.send(method, target, fields, body);
        let answer = if method == "HEAD" { self.client.head() } else { self.client.response() };
        assert_eq!(answer.field("Cache-Control"), Some("no-store"), "{answer:?}");
        let expected = (answer.status != 204).then_some("application/json");
        assert_eq!(answer.field("Content-Type"), expected, "{answer:?}");
        answer
    }

    #[track_caller]
    fn get(&mut self, target: &str) -> Response {
        self.ask("GET", target, "", b"")
    }

    #[track_caller]
    fn put(&mut self, target: &str, fields: &str, body: &str) -> Response {
        self.ask("PUT", target, &format!("Content-Type: application/json\r\n{fields}"), body.as_bytes())
    }

    #[track_caller]
    fn patch(&mut self, target: &str, fields: &str, body: &str) -> Response {
        self.ask("PATCH", target, &format!("Content-Type: application/merge-patch+json\r\n{fields}"), body.as_bytes())
    }

    #[track_caller]
    fn delete(&mut self, target: &str, fields: &str) -> Response {
        self.ask("DELETE", target, fields, b"")
    }

    /// Issues or revokes.
    #[track_caller]
    fn tokens(&mut self, method: &str, body: &str) -> Response {
        self.ask(method, "/api/realtime/tokens", "Content-Type: application/json\r\n", body.as_bytes())
    }
}

#[track_caller]
fn expect_error(answer: &Response, status: u16, text: &str) {
    assert_eq!((answer.status, answer.text()), (status, format!("{{\"error\":\"{text}\"}}").as_str()), "{answer:?}");
}

/// The version that an accepted write tells, in its body and, if the document exists after it, in its tag.
#[track_caller]
fn version(answer: &Response, status: u16) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    let version = answer.text().strip_prefix("{\"version\":\"").and_then(|rest| rest.strip_suffix("\"}"));
    let version = version.unwrap_or_else(|| panic!("a version: {answer:?}")).to_owned();
    assert_eq!((version.len(), version.ends_with('Z')), (24, true), "{version}");
    if let Some(tag) = answer.field("ETag") {
        assert_eq!(tag, format!("\"{version}\""));
    }
    version
}

/// A written document: it has a tag.
#[track_caller]
fn written(answer: &Response, status: u16) -> String {
    assert!(answer.field("ETag").is_some(), "{answer:?}");
    version(answer, status)
}

#[track_caller]
fn deleted(answer: &Response) -> String {
    assert_eq!(answer.field("ETag"), None, "{answer:?}");
    version(answer, 200)
}

fn frame(data: &str, version: &str) -> String {
    document("World", WORLD, data, version)
}

/// Who subscribed to [`WORLD`], which is not there.
#[track_caller]
fn waiting(server: &Server, reactor: usize) -> Listener {
    let mut client = Listener::open(server, reactor);
    client.await_document(WORLD);
    client
}

#[test]
fn rs_21_the_status_tells_who_is_there_without_credentials() {
    let server = server();
    let mut client = Backend::with(Client::on(&server, 1), "");
    let version = env!("CARGO_PKG_VERSION");
    let mut expect = |uptime: u64, connections: u64, subscriptions: u64, resources: u64| {
        let expected = format!(
            "{{\"status\":\"ok\",\"service\":\"realtime\",\"version\":\"{version}\",\"uptimeMs\":{uptime},\
             \"connections\":{connections},\"subscriptions\":{subscriptions},\"resources\":{resources}}}"
        );
        let answer = client.get("/api/realtime/status");
        assert_eq!((answer.status, answer.text()), (200, expected.as_str()));
        // HEAD is the same without its body: the next answer follows at once.
        let head = client.ask("HEAD", "/api/realtime/status", "", b"");
        assert_eq!((head.status, head.field("Content-Length")), (200, Some(expected.len().to_string().as_str())));
        assert_eq!(client.get("/api/realtime/status").text(), expected);
    };
    // The hand-turned clock has been turned by a second.
    expect(1_000, 0, 0, 0);
    let mut first = waiting(&server, 2);
    let _second = waiting(&server, 3);
    expect(1_000, 2, 2, 0);
    let mut backend = Backend::on(&server, 0);
    written(&backend.put(TARGET, "", "1"), 201);
    written(&backend.put("/api/realtime/resources/liveConfig/a", "", "1"), 201);
    server.advance(0.25);
    expect(1_250, 2, 2, 2);
    let gone = deleted(&backend.delete(TARGET, ""));
    let answered = first.text();
    assert_eq!(answered, frame("1", &version_of(&answered)));
    assert_eq!(first.text(), frame("null", &gone));
    first.send(masked(0x88, &1000u16.to_be_bytes()));
    first.expect_close(1000, "");
    server.settle();
    expect(1_250, 1, 1, 1);

    let brief = server_with("status_details = false");
    let answer = Backend::with(Client::on(&brief, 1), "").get("/api/realtime/status");
    assert_eq!((answer.status, answer.text()), (200, "{\"status\":\"ok\",\"service\":\"realtime\"}"));
}

#[test]
fn rs_22_a_server_that_stops_says_so() {
    for (keys, shown) in [("", "\"status\":\"draining\",\"service\":\"realtime\",\"version\":"), ("status_details = false", "")] {
        let server = server_with(keys);
        let ask = |reactor, target: &str| {
            let mut client = Client::on(&server, reactor);
            client.send(format!("GET {target} HTTP/1.1\r\nHost: h\r\nx-api-key: {KEY}\r\n"));
            client
        };
        let mut status = ask(1, "/api/realtime/status");
        let mut document = ask(2, TARGET);
        server.settle();
        server.drain();
        // Every reactor has heard of it.
        server.advance(0.0);
        status.send("\r\n");
        let answer = status.response();
        assert_eq!((answer.status, answer.field("Connection")), (503, Some("close")), "{answer:?}");
        let expected = if shown.is_empty() { "{\"status\":\"draining\",\"service\":\"realtime\"}" } else { answer.text() };
        assert_eq!(answer.text(), expected);
        assert!(answer.text().contains(shown), "{answer:?}");
        status.expect_end();
        document.send("\r\n");
        let answer = document.response();
        expect_error(&answer, 503, "Server is draining");
        assert_eq!((answer.field("Retry-After"), answer.field("Connection")), (Some("5"), Some("close")));
        document.expect_end();
    }
}

#[test]
fn rs_40_what_is_stored_arrives_as_it_was_written() {
    let server = server();
    let mut client = waiting(&server, 1);
    let mut backend = Backend::on(&server, 2);
    let kept = r#"{"z":1.50e+3,"a":[-0,12345678901234567890123,1E5],"z":"\u0041\/ é\n","":{}}"#;
    let spaced =
        " {\r\n \"z\" : 1.50e+3,\t\"a\": [ -0 ,12345678901234567890123, 1E5 ], \"z\":\"\\u0041\\/ é\\n\" ,\"\" : { } }\n";
    let version = written(&backend.put(TARGET, "", spaced), 201);
    assert_eq!(client.text(), frame(kept, &version));
    assert_eq!(backend.get(TARGET).text(), frame(kept, &version));
    assert_eq!(client.subscribe(WORLD), frame(kept, &version));
    // What a patch does not name keeps its text, too.
    let version = written(&backend.patch(TARGET, "", " { \"a\" : null , \"n\" : 1.0 } "), 200);
    let patched = r#"{"z":1.50e+3,"z":"\u0041\/ é\n","":{},"n":1.0}"#;
    assert_eq!(client.text(), frame(patched, &version));
}

#[test]
fn rs_55_a_write_is_acknowledged_with_the_version_that_its_frame_has() {
    let server = server();
    let mut client = waiting(&server, 1);
    let mut backend = Backend::on(&server, 2);
    let mut other = Backend::on(&server, 3);
    let mut before = String::new();
    for (data, status) in [("[1]", 201), ("[1]", 200), ("\"x\"", 200), ("0", 200), ("false", 200)] {
        let version = written(&backend.put(TARGET, "", data), status);
        assert!(version > before, "{version} after {before}");
        assert_eq!(client.text(), frame(data, &version));
        let read = other.get(TARGET);
        assert_eq!((read.status, read.text()), (200, frame(data, &version).as_str()));
        assert_eq!(read.field("ETag"), Some(format!("\"{version}\"").as_str()));
        let head = other.ask("HEAD", TARGET, "", b"");
        assert_eq!((head.status, head.field("ETag")), (200, read.field("ETag")));
        assert_eq!(head.field("Content-Length"), read.field("Content-Length"));
        // Only another version is worth its bytes.
        for tag in [format!("\"{version}\""), format!("W/\"{version}\""), format!("\"x\", \"{version}\""), "*".to_owned()] {
            let same = other.ask("GET", TARGET, &format!("If-None-Match: {tag}\r\n"), b"");
            assert_eq!((same.status, same.field("ETag")), (304, read.field("ETag")), "{tag}");
        }
        let newer = other.ask("GET", TARGET, &format!("If-None-Match: \"{before}\"\r\n"), b"");
        assert_eq!((newer.status, newer.text()), (200, read.text()));
        before = version;
    }
    server.expect_silence(&mut client);

    let server = server_with("skip_equal_writes = true");
    let mut client = waiting(&server, 1);
    let mut backend = Backend::on(&server, 2);
    let version = written(&backend.put(TARGET, "", "{\"a\":1}"), 201);
    assert_eq!(client.text(), frame("{\"a\":1}", &version));
    assert_eq!(written(&backend.put(TARGET, "", " { \"a\" : 1 } "), 200), version);
    assert_eq!(written(&backend.patch(TARGET, "", "{\"a\":1}"), 200), version);
    server.expect_silence(&mut client);
}

/// A megabyte on a megabyte, sixty levels down, on the reactor of everybody else.
#[test]
fn rs_56_a_large_patch_keeps_nobody_waiting_and_is_still_one_step() {
    let (server, merges) = Server::with_merges_by_hand(dev_resources(&tables("")));
    let nested = |inner: &str| format!("{}{inner}{}", r#"{"a":"#.repeat(60), "}".repeat(60));
    let large = |byte: &str| nested(&format!("{{\"text\":\"{}\"}}", byte.repeat((1 << 20) - 500)));
    let (mut backend, mut other) = (Backend::on(&server, 0), Backend::on(&server, 0));
    let mut listener = Listener::open(&server, 0);
    listener.await_document(GAME);
    written(&backend.put(TARGET, "", &large("x")), 201);
    let patch = large("y");
    backend.send("PATCH", TARGET, "Content-Type: application/json\r\n", patch.as_bytes());
    server.wait_until("the merge is up to the workers", |_| merges.waiting() == 1);

    let game = "/api/realtime/resources/liveConfig/game";
    let version = written(&other.put(game, "", "1"), 201);
    listener.expect(&document("", GAME, "1", &version));
    // Somebody comes in between with a small document, so that what was merged is not written.
    written(&other.put(TARGET, "", &nested("{\"between\":1}")), 200);
    server.expect_silence(&mut backend.client);
    assert!(merges.work());
    server.wait_until("it is merged again", |_| merges.waiting() == 1);
    server.expect_silence(&mut backend.client);
    assert!(merges.work());
    written(&backend.client.response(), 200);
    let both = patch.replacen("{\"text\"", "{\"between\":1,\"text\"", 1);
    assert!(other.get(TARGET).text().contains(&both));
    assert!(!merges.work());
}

#[test]
fn rs_56_patches_follow_rfc_7396_and_need_a_document() {
    let server = server();
    let mut backend = Backend::on(&server, 1);
    for answer in [backend.get(TARGET), backend.patch(TARGET, "", "{}"), backend.delete(TARGET, "")] {
        expect_error(&answer, 404, "Not found");
    }
    let head = backend.ask("HEAD", TARGET, "", b"");
    assert_eq!((head.status, head.field("Content-Length")), (404, Some("21")));
    let mut client = waiting(&server, 2);
    // Appendix A of the RFC, but for those whose target or result is null, which is no document.
    for (target, patch, expected) in [
        (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
        (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
        (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
        (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
        (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
        (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
        (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
        (r#"{"a":"foo"}"#, "\"bar\"", "\"bar\""),
        (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
        ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
        ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
    ] {
        let put = backend.put(TARGET, "", target);
        let before = written(&put, put.status);
        assert_eq!(client.text(), frame(target, &before));
        let version = written(&backend.patch(TARGET, "", patch), 200);
        assert!(version > before, "{version} after {before}");
        assert_eq!(client.text(), frame(expected, &version), "{target} {patch}");
        assert_eq!(backend.get(TARGET).text(), frame(expected, &version));
    }
    // A result of null deletes.
    let gone = deleted(&backend.patch(TARGET, "", "null"));
    assert_eq!(client.text(), frame("null", &gone));
    expect_error(&backend.get(TARGET), 404, "Not found");
    expect_error(&backend.patch(TARGET, "", "{}"), 404, "Not found");
    // Either type of content will do.
    written(&backend.put(TARGET, "", "{}"), 201);
    let plain = "Content-Type: application/json; charset=utf-8\r\n";
    written(&backend.ask("PATCH", TARGET, plain, b"{\"a\":1}"), 200);
}

#[test]
fn rs_57_null_deletes_and_the_next_value_creates() {
    let server = server();
    let mut client = waiting(&server, 1);
    let mut backend = Backend::on(&server, 2);
    expect_error(&backend.put(TARGET, "", "null"), 404, "Not found");
    expect_error(&backend.put(TARGET, "If-Match: *\r\n", " null "), 404, "Not found");
    let mut before = String::new();
    for round in 0..3 {
        let version = written(&backend.put(TARGET, "", "{\"a\":1}"), 201);
        assert!(version > before, "{version} after {before}");
        assert_eq!(client.text(), frame("{\"a\":1}", &version));
        let gone = match round {
            0 => deleted(&backend.put(TARGET, "", " null\n")),
            1 => deleted(&backend.delete(TARGET, "")),
            _ => deleted(&backend.put(TARGET, &format!("If-Match: \"{version}\"\r\n"), "null")),
        };
        assert!(gone > version, "{gone} after {version}");
        assert_eq!(client.text(), frame("null", &gone));
        expect_error(&backend.get(TARGET), 404, "Not found");
        expect_error(&backend.delete(TARGET, ""), 404, "Not found");
        before = gone;
    }
    server.expect_silence(&mut client);
    // A value that says null is a value.
    written(&backend.put(TARGET, "", "\"null\""), 201);
    written(&backend.put(TARGET, "", "[null]"), 200);
}

#[test]
fn rs_58_a_condition_that_fails_changes_nothing_and_sends_nothing() {
    let server = server();
    let mut client = waiting(&server, 1);
    let mut backend = Backend::on(&server, 2);
    let mismatch = |answer: Response| expect_error(&answer, 412, "Version mismatch");
    let if_match = |version: &str| format!("If-Match: \"{version}\"\r\n");
    // A document that is missing matches nothing; where one is needed it is missed first.
    for condition in ["If-Match: *\r\n", "If-Match: \"2024-01-30T15:50:35.742Z\"\r\n", "If-Match: nonsense\r\n"] {
        mismatch(backend.put(TARGET, condition, "1"));
        expect_error(&backend.patch(TARGET, condition, "{}"), 404, "Not found");
        expect_error(&backend.delete(TARGET, condition), 404, "Not found");
    }
    let first = written(&backend.put(TARGET, "If-None-Match: *\r\n", "{\"a\":1}"), 201);
    let second = written(&backend.put(TARGET, &if_match(&first), "{\"a\":2}"), 200);
    for version in [&first, &second] {
        client.text();
        assert!(!version.is_empty());
    }
    let stale = [
        if_match(&first),
        "If-None-Match: *\r\n".to_owned(),
        format!("If-Match: W/\"{second}\"\r\n"),
        format!("If-Match: {second}\r\n"),
        format!("If-None-Match: \"{second}\"\r\n"),
        format!("If-None-Match: \"x\", W/\"{second}\"\r\n"),
        format!("{}If-None-Match: \"{second}\"\r\n", if_match(&second)),
    ];
    for condition in &stale {
        mismatch(backend.put(TARGET, condition, "{\"a\":3}"));
        mismatch(backend.put(TARGET, condition, "null"));
        mismatch(backend.patch(TARGET, condition, "{\"a\":3}"));
        mismatch(backend.patch(TARGET, condition, "null"));
        mismatch(backend.delete(TARGET, condition));
        assert_eq!(backend.get(TARGET).text(), frame("{\"a\":2}", &second), "{condition}");
    }
    server.expect_silence(&mut client);
    // Those that hold.
    let third = written(&backend.patch(TARGET, &if_match(&second), "{\"b\":1}"), 200);
    assert_eq!(client.text(), frame("{\"a\":2,\"b\":1}", &third));
    let list = format!("If-Match: \"{first}\", \"{third}\"\r\nIf-None-Match: \"{second}\"\r\n");
    let fourth = written(&backend.put(TARGET, &list, "4"), 200);
    assert_eq!(client.text(), frame("4", &fourth));
    let fifth = deleted(&backend.delete(TARGET, "If-Match: *\r\n"));
    assert_eq!(client.text(), frame("null", &fifth));
    // A version that is gone matches no more, and does not stand in the way of the next.
    mismatch(backend.put(TARGET, &if_match(&fifth), "6"));
    let sixth = written(&backend.put(TARGET, &format!("If-None-Match: \"{fifth}\"\r\n"), "6"), 201);
    assert_eq!(client.text(), frame("6", &sixth));
    server.expect_silence(&mut client);
}

#[test]
fn rs_59_every_fault_has_its_answer_and_the_first_in_the_order_counts() {
    let server = server();
    let mut listening = waiting(&server, 1);
    let issued = Backend::on(&server, 0).tokens("POST", "{\"userId\":\"u1\"}").json();
    let token = issued["token"].as_str().unwrap().to_owned();
    let with = |fields: &str| Backend::with(Client::on(&server, 2), fields);
    let json = "Content-Type: application/json\r\n";
    let large = vec![b' '; (1 << 20) + 1];
    // Who asks. Whatever else is wrong comes later.
    let unknown = [
        String::new(),
        "x-api-key: backend-key-of-nobody\r\n".to_owned(),
        format!("x-api-key: {token}\r\n"),
        "Authorization: Bearer some-token\r\n".to_owned(),
        "Authorization: Bearer a.b.c\r\n".to_owned(),
        format!("Authorization: Basic {KEY}\r\n"),
        "Authorization: Bearer\r\n".to_owned(),
    ];
    for credentials in &unknown {
        for project in [PROJECT, "", "x-m2-organization: nobody\r\n"] {
            let mut client = with(&format!("{credentials}{project}"));
            let answer = client.put(TARGET, "", "1");
            expect_error(&answer, 401, "Invalid credentials");
            assert_eq!(answer.field("WWW-Authenticate"), Some("Bearer"));
            expect_error(&client.ask("PUT", "/api/realtime/resources/kvStore/bad", "", b""), 401, "Invalid credentials");
            expect_error(&client.tokens("POST", "{}"), 401, "Invalid credentials");
        }
        let mut client = with(&format!("{credentials}{PROJECT}"));
        let announced = format!("PUT {TARGET} HTTP/1.1\r\nHost: h\r\n{credentials}Content-Length: 1048577\r\n\r\n");
        client.client.send(announced);
        expect_error(&client.client.response(), 401, "Invalid credentials");
    }
    let bearer_token = format!("Authorization: Bearer {token}\r\n");
    let foreign_key = format!("x-api-key: {OTHER_KEY}\r\n");
    let jwt = format!("Authorization: Bearer {}\r\n", signed(server.seconds() + 60));
    for credentials in [&bearer_token, &foreign_key, &jwt] {
        let mut client = with(&format!("{credentials}{PROJECT}"));
        for answer in [client.get(TARGET), client.put(TARGET, "", "1"), client.delete("/api/realtime/resources/liveConfig/", "")]
        {
            expect_error(&answer, 403, "Forbidden");
        }
        expect_error(&client.tokens("DELETE", "{"), 403, "Forbidden");
    }
    expect_error(&with(&format!("x-api-key: {KEY}\r\nx-m2-organization: nobody\r\n")).get(TARGET), 403, "Forbidden");
    let expired = format!("Authorization: Bearer {}\r\n{PROJECT}", signed(server.seconds()));
    expect_error(&with(&expired).get(TARGET), 401, "Invalid credentials");
    // For what.
    let key = format!("x-api-key: {KEY}\r\n");
    expect_error(&with(&key).get(TARGET), 400, "Missing x-m2-organization");
    let both = format!("{key}{bearer_token}{PROJECT}");
    expect_error(&with(&both).get(TARGET), 400, "Conflicting headers");
    // A service key counts in either field.
    let mut backend = with(&format!("Authorization: bearer {KEY}\r\n{PROJECT}"));
    for bad in [
        "kvStore/",
        "kvStore/World:kvstoreClient",
        "kvStore/World:kvstoreOther:a",
        "kvStore/:kvstoreClient:a",
        "kvStore/World:kvstoreClient:%0a",
        "kvStore/World:kvstoreClient:%ff",
        "kvStore/World:kvstoreClient:%7F",
        "collection/private",
        "collection/unknown:u1",
        "collection/private:World",
        "liveConfig/",
        &format!("liveConfig/{}", "a".repeat(513)),
    ] {
        let target = format!("/api/realtime/resources/{bad}");
        expect_error(&backend.ask("PUT", &target, "", b"{"), 400, "Invalid resource id");
        expect_error(&backend.get(&target), 400, "Invalid resource id");
    }
    // In which form.
    for wrong in ["", "Content-Type: text/plain\r\n", "Content-Type: application/merge-patch+json\r\n", "Content-Type: json\r\n"]
    {
        expect_error(&backend.ask("PUT", TARGET, wrong, b"{"), 415, "Unsupported content type");
        expect_error(&backend.ask("POST", "/api/realtime/tokens", wrong, b"{"), 415, "Unsupported content type");
    }
    expect_error(&backend.ask("PATCH", TARGET, "Content-Type: text/json\r\n", b"{"), 415, "Unsupported content type");
    let mut announced = Backend::on(&server, 2);
    let answer = announced.ask("PUT", TARGET, "", &large);
    expect_error(&answer, 415, "Unsupported content type");
    let answer = Backend::on(&server, 2).ask("PUT", TARGET, json, &large);
    expect_error(&answer, 413, "Document too large");
    assert_eq!(answer.field("Connection"), Some("close"));
    let mut chunked = Client::on(&server, 2);
    let head = format!("PUT {TARGET} HTTP/1.1\r\nHost: h\r\n{key}{PROJECT}{json}Transfer-Encoding: chunked\r\n\r\n100001\r\n");
    chunked.send([head.as_bytes(), &large].concat());
    expect_error(&chunked.response(), 413, "Document too large");
    for bad in ["", "{", "01", "[1e400]", "[\"\\udfff\"]", "1 2", "nul"] {
        for condition in ["", "If-Match: *\r\n"] {
            expect_error(&backend.put(TARGET, condition, bad), 400, "Invalid JSON");
            expect_error(&backend.patch(TARGET, condition, bad), 400, "Invalid JSON");
        }
    }
    expect_error(&backend.ask("PUT", TARGET, json, b"\"\xff\""), 400, "Invalid JSON");
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    expect_error(&backend.put(TARGET, "", &nested(65)), 400, "Invalid JSON");
    expect_error(&backend.put("/api/realtime/resources/liveConfig/a", "If-Match: *\r\n", "1"), 412, "Version mismatch");
    server.expect_silence(&mut listening);
    assert!(backend.get("/api/realtime/status").text().ends_with("\"resources\":0}"), "nothing was written");

    // What is at its bound passes.
    let mut full = format!("\"{}\"", "x".repeat((1 << 20) - 2));
    written(&backend.put(TARGET, "", &full), 201);
    assert_eq!(listening.text().len(), full.len() + frame("", "2024-01-30T15:50:35.742Z").len());
    full.pop();
    expect_error(&backend.put(TARGET, "", &full), 400, "Invalid JSON");
    written(&backend.put(TARGET, "", &nested(64)), 200);
    let member = |name: &str, bytes: usize| format!("{{\"{name}\":\"{}\"}}", "x".repeat(bytes));
    written(&backend.put(TARGET, "", &member("a", 900_000)), 200);
    expect_error(&backend.patch(TARGET, "", &member("b", 200_000)), 413, "Document too large");
    written(&backend.patch(TARGET, "", &member("b", 100_000)), 200);
}

/// A signed token of a user of `testProj`.
fn signed(expires: u64) -> String {
    jwt(&format!("{{\"sub\":\"u1\",\"exp\":{expires}}}"))
}

#[test]
fn rs_59_a_full_project_takes_no_new_documents() {
    let server = server_with("[resources.limits]\nresources_per_project_max = 2");
    let mut backend = Backend::on(&server, 1);
    let target = |number: usize| format!("/api/realtime/resources/liveConfig/{number}");
    written(&backend.put(&target(1), "", "1"), 201);
    written(&backend.put(&target(2), "", "1"), 201);
    expect_error(&backend.put(&target(3), "", "1"), 507, "Too many resources");
    expect_error(&backend.put(&target(3), "If-Match: *\r\n", "1"), 412, "Version mismatch");
    written(&backend.put(&target(2), "", "2"), 200);
    let mut other = Backend::with(Client::on(&server, 2), &format!("x-api-key: {OTHER_KEY}\r\n{OTHER_PROJECT}"));
    written(&other.put(&target(3), "", "1"), 201);
    deleted(&backend.delete(&target(1), ""));
    written(&backend.put(&target(3), "", "1"), 201);
}

#[test]
fn rs_60_an_issued_token_connects_until_it_is_revoked() {
    let server = server();
    let mut backend = Backend::on(&server, 1);
    let issue = |backend: &mut Backend, user: &str| {
        let answer = backend.tokens("POST", &format!("{{\"userId\":\"{user}\",\"ttlSeconds\":3600}}"));
        let json = answer.json();
        let token = json["token"].as_str().expect("a token").to_owned();
        let expires = "2026-11-20T17:17:47.000Z";
        let expected = format!("{{\"token\":\"{token}\",\"userId\":\"{user}\",\"expiresAt\":\"{expires}\"}}");
        assert_eq!((answer.status, answer.text(), token.len()), (201, expected.as_str(), 43));
        token
    };
    let listen = |token: &str, reactor: usize| {
        let mut client = Listener::with(&server, reactor, &bearer(token));
        client.await_document(PRIVATE);
        client
    };
    let refused = |token: &str| {
        let mut client = Client::on(&server, 3);
        let answer = client.ask_upgrade(PATH, &format!("{PROJECT}{}", bearer(token)));
        expect_error(&answer, 401, "Invalid credentials");
    };
    let (one, two, other) = (issue(&mut backend, "u1"), issue(&mut backend, "u1"), issue(&mut backend, "u2"));
    let mut of_one: Vec<Listener> = (0..4).map(|reactor| listen(&one, reactor)).collect();
    let mut of_two = listen(&two, 2);
    let mut of_other = listen(&other, 3);
    let target = "/api/realtime/resources/collection/private:u1";
    let version = written(&backend.put(target, "", "{}"), 201);
    for client in of_one.iter_mut().chain([&mut of_two]) {
        assert_eq!(client.text(), document("u1", PRIVATE, "{}", &version));
    }
    // Nobody else's key revokes it, nor does a token that is none.
    let mut foreign = Backend::with(Client::on(&server, 0), &format!("x-api-key: {OTHER_KEY}\r\n{OTHER_PROJECT}"));
    let no_content = |answer: Response| assert_eq!((answer.status, answer.field("Content-Length")), (204, None), "{answer:?}");
    no_content(foreign.tokens("DELETE", &format!("{{\"token\":\"{one}\"}}")));
    no_content(foreign.tokens("DELETE", "{\"userId\":\"u1\"}"));
    no_content(backend.tokens("DELETE", "{\"token\":\"nothing\"}"));
    no_content(backend.tokens("DELETE", "{\"userId\":\"nobody\"}"));
    for client in of_one.iter_mut().chain([&mut of_two, &mut of_other]) {
        server.expect_silence(client);
    }
    // A token ends on every reactor, another one of the same user goes on.
    no_content(backend.tokens("DELETE", &format!("{{\"token\":\"{one}\"}}")));
    for client in &mut of_one {
        client.expect_close(1008, "Access revoked");
    }
    refused(&one);
    let version = written(&backend.put(target, "", "1"), 200);
    assert_eq!(of_two.text(), document("u1", PRIVATE, "1", &version));
    // A user ends with all tokens.
    no_content(backend.tokens("DELETE", "{\"userId\":\"u1\"}"));
    of_two.expect_close(1008, "Access revoked");
    refused(&two);
    server.expect_silence(&mut of_other);
    drop(listen(&other, 1));
    // What is issued later counts again.
    let again = issue(&mut backend, "u1");
    drop(Listener::with(&server, 0, &bearer(&again)));

    // Without a time it lasts as long as the options say.
    let answer = backend.tokens("POST", "{\"userId\":\"u1\"}");
    assert_eq!(answer.json()["expiresAt"], "2026-11-20T17:17:47.000Z");
    for (body, text) in [
        ("{\"userId\":\"World\"}", "Invalid userId"),
        ("{}", "Invalid userId"),
        ("{\"userId\":\"u1\",\"ttlSeconds\":0}", "Invalid ttlSeconds"),
        ("{\"userId\":\"u1\",\"ttlSeconds\":2592001}", "Invalid ttlSeconds"),
        ("{", "Invalid JSON"),
    ] {
        expect_error(&backend.tokens("POST", body), 400, text);
    }
    expect_error(&backend.tokens("DELETE", "{}"), 400, "Expected token or userId");
    let large = " ".repeat((16 << 10) + 1);
    expect_error(&Backend::on(&server, 0).tokens("POST", &large), 413, "Body too large");
}

#[test]
fn rs_65_secrets_are_shown_to_nobody() {
    let server = server();
    let mut backend = Backend::on(&server, 1);
    let answer = backend.tokens("POST", "{\"userId\":\"u1\"}").json();
    let token = answer["token"].as_str().expect("a token").to_owned();
    let jwt = signed(server.seconds() + 60);
    let wrong = BASE64URL_NOPAD.encode(&[7; 32]);
    let subprotocol = realtime::token(&format!("{PROJECT}authorization:Bearer {token}"));
    let secrets = [KEY, OTHER_KEY, JWT_SECRET, &token, &jwt, &wrong, &subprotocol];
    let mut shown: Vec<String> = Vec::new();
    // Whoever presents them, and however it ends.
    let mut listening: Vec<Client> = Vec::new();
    for fields in [
        format!("x-api-key: {KEY}\r\n"),
        format!("x-api-key: {OTHER_KEY}\r\n"),
        format!("x-api-key: {wrong}\r\n"),
        format!("Authorization: Bearer {token}\r\n"),
        format!("Authorization: Bearer {jwt}\r\n"),
        format!("Authorization: Bearer {wrong}\r\n"),
        format!("Authorization: Bearer {jwt}x\r\n"),
        format!("Authorization: Bearer {token}\r\nx-api-key: {KEY}\r\n"),
        format!("Authorization: Basic {token}\r\n"),
    ] {
        let mut client = Client::on(&server, 2);
        let answer = client.ask_upgrade(PATH, &format!("{PROJECT}{fields}"));
        shown.push(format!("{}{}", answer.raw, answer.text()));
        if answer.status == 101 {
            client.send(masked(0x81, b"{\"action\":\"authenticate\",\"authorization\":\"Bearer x\"}"));
            shown.push(client.text());
            let again = format!("{{\"ref\":1,\"action\":\"authenticate\",\"authorization\":\"Bearer {token}\"}}");
            client.send(masked(0x81, again.as_bytes()));
            shown.push(client.text());
            listening.push(client);
        }
        let mut asking = Backend::with(Client::on(&server, 3), &format!("{PROJECT}{fields}"));
        for answer in [
            asking.get(TARGET),
            asking.put(TARGET, "", &format!("{{\"k\":{token:?}")),
            asking.tokens("POST", &format!("{{\"userId\":\"{KEY}:\"}}")),
            asking.tokens("DELETE", &format!("{{\"token\":\"{wrong}\",\"userId\":\"{token}\"}}")),
            asking.get(&format!("/api/realtime/resources/kvStore/{token}")),
            asking.get(&format!("/api/realtime/{KEY}")),
            asking.get("/api/realtime/status"),
        ] {
            shown.push(format!("{}{}", answer.raw, answer.text()));
        }
    }
    // Inside a subprotocol it is repeated there, and nowhere else.
    let mut browser = Client::on(&server, 1);
    let answer = browser.ask_upgrade("/api/realtime", &format!("Sec-WebSocket-Protocol: {subprotocol}\r\n"));
    assert_eq!((answer.status, answer.field("Sec-WebSocket-Protocol")), (101, Some(subprotocol.as_str())));
    assert_eq!(listening.len(), 3, "key, token and signature come in");
    assert_eq!(backend.tokens("DELETE", &format!("{{\"token\":\"{token}\"}}")).status, 204);
    browser.expect_close(1008, "Access revoked");
    let mut caller = server.caller(0);
    for target in ["/metrics", "/", "/channels-stats?id=ALL"] {
        shown.push(caller.get(target).text().to_owned());
    }
    shown.push(log::text());
    for text in &shown {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert!(!text.contains(&digest(&token)), "not even a digest: {text}");
    }
}

/// Counts as clients do that must not lose each other's changes.
#[test]
fn rs_58_conditional_writers_lose_nothing() {
    const WRITERS: usize = 8;
    const ROUNDS: usize = 25;
    let server = server();
    let mut watcher = waiting(&server, 3);
    let mut backend = Backend::on(&server, 0);
    written(&backend.put(TARGET, "", "{\"n\":0}"), 201);
    let writers: Vec<Backend> = (0..WRITERS).map(|index| Backend::on(&server, index % 4)).collect();
    std::thread::scope(|threads| {
        for (index, mut writer) in writers.into_iter().enumerate() {
            threads.spawn(move || {
                for round in 1..=ROUNDS {
                    loop {
                        let read = writer.get(TARGET);
                        let count = read.json()["data"]["n"].as_u64().expect("a count");
                        let tag = read.field("ETag").expect("a tag").to_owned();
                        let change = format!("{{\"n\":{}}}", count + 1);
                        let answer = writer.patch(TARGET, &format!("If-Match: {tag}\r\n"), &change);
                        if answer.status == 200 {
                            break;
                        }
                        expect_error(&answer, 412, "Version mismatch");
                    }
                    // What each changes alone needs no condition.
                    written(&writer.patch(TARGET, "", &format!("{{\"w{index}\":{round}}}")), 200);
                }
            });
        }
    });
    let document = backend.get(TARGET).json();
    assert_eq!(document["data"]["n"], WRITERS * ROUNDS);
    for index in 0..WRITERS {
        assert_eq!(document["data"][format!("w{index}")], ROUNDS);
    }
    // Whoever watched saw it grow, each version once and in order.
    let (mut version, mut count) = (String::new(), 0);
    while version != document["version"] {
        let frame: Value = serde_json::from_str(&watcher.text()).expect("frames are JSON");
        let (next, n) = (frame["version"].as_str().expect("a version"), frame["data"]["n"].as_u64().expect("a count"));
        assert!(next > version.as_str() && n >= count, "{next} {n} after {version} {count}");
        (version, count) = (next.to_owned(), n);
    }
    server.expect_silence(&mut watcher);
}

/// Whatever is written through one reactor is what every other one reads after the acknowledgement.
#[test]
fn rs_55_an_acknowledged_write_is_read_on_every_reactor() {
    let server = server();
    let mut backends: Vec<Backend> = (0..4).map(|reactor| Backend::on(&server, reactor)).collect();
    for seed in 1..=8 {
        let mut random = Xorshift(seed);
        let target = |number: u64| format!("/api/realtime/resources/liveConfig/{seed}/{number}");
        let mut model: [Option<(u64, String)>; 3] = [None, None, None];
        for step in 0..60 {
            let place = format!("seed {seed}, step {step}");
            let number = random.below(3);
            let known = &mut model[number as usize];
            let writer = &mut backends[random.below(4) as usize];
            let answer = match random.below(4) {
                0 => writer.delete(&target(number), ""),
                1 => writer.patch(&target(number), "", &format!("{{\"v\":{step}}}")),
                _ => writer.put(&target(number), "", &format!("{{\"v\":{step}}}")),
            };
            let before = known.take();
            match answer.status {
                404 => assert!(before.is_none(), "{place}"),
                status => {
                    assert_eq!(status == 201, before.is_none(), "{place}");
                    let version = version(&answer, status);
                    assert!(before.is_none_or(|(_, before)| version > before), "{place}");
                    *known = answer.field("ETag").is_some().then_some((step, version));
                }
            }
            let reader = &mut backends[random.below(4) as usize];
            let read = reader.get(&target(number));
            match known {
                None => assert_eq!(read.status, 404, "{place}"),
                Some((value, version)) => {
                    assert_eq!(read.status, 200, "{place}");
                    let json = read.json();
                    assert_eq!(
                        (json["data"]["v"].as_u64(), json["version"].as_str()),
                        (Some(*value), Some(version.as_str())),
                        "{place}"
                    );
                }
            }
        }
    }
}

#[test]
fn routes_that_are_none_are_not_found_and_methods_are_named() {
    let server = server();
    let mut client = Backend::with(Client::on(&server, 1), "");
    for nothing in ["/x", "/status/", "/tokens/a", "/resources", "/resources/kvStore", "/resources/KVStore/a", "//"] {
        for method in ["GET", "PUT", "FOO"] {
            expect_error(&client.ask(method, &format!("/api/realtime{nothing}"), "", b""), 404, "Not found");
        }
    }
    for (target, wrong, allowed) in [
        ("/api/realtime/status", "POST", "GET, HEAD"),
        ("/api/realtime/tokens", "GET", "POST, DELETE"),
        (TARGET, "POST", "GET, HEAD, PUT, PATCH, DELETE"),
        ("/api/realtime", "PUT", "GET"),
        ("/api/realtime/", "DELETE", "GET"),
    ] {
        let answer = client.ask(wrong, target, "", b"");
        expect_error(&answer, 405, "Method not allowed");
        assert_eq!(answer.field("Allow"), Some(allowed), "{target}");
    }
    // A slash belongs to the id, and escapes are read once.
    let mut backend = Backend::on(&server, 2);
    written(&backend.put("/api/realtime/resources/liveConfig/a%2fb/%2525%C3%A9?x=1", "", "1"), 201);
    let read = backend.get("/api/realtime/resources/liveConfig/a/b/%2525%c3%a9");
    assert!(read.text().starts_with("{\"resource\":{\"type\":\"liveConfig\",\"id\":\"a/b/%25é\"},"), "{}", read.text());
}

#[test]
fn backends_come_through_the_door_of_administration() {
    for (writes, public) in [("admin", false), ("public", true)] {
        let text = format!("{LISTEN}{}\n{ACCESS}", tables(&format!("writes = \"{writes}\"")));
        let server = Server::with_config(&text);
        let fields = format!("x-api-key: {KEY}\r\n{PROJECT}");
        let mut admin = Backend::with(Client::connect(server.admin), &fields);
        written(&admin.put(TARGET, "", "1"), 201);
        assert_eq!(admin.tokens("POST", "{\"userId\":\"u1\"}").status, 201);
        assert_eq!(admin.get("/api/realtime/status").status, 200);
        let mut outside = Backend::with(Client::connect(server.address), &fields);
        assert_eq!(outside.get("/api/realtime/status").status, 200);
        if public {
            written(&outside.put(TARGET, "", "2"), 200);
            assert_eq!(outside.tokens("DELETE", "{\"userId\":\"u1\"}").status, 204);
        } else {
            for answer in [outside.get(TARGET), outside.put(TARGET, "", "2"), outside.ask("POST", TARGET, "", b"")] {
                expect_error(&answer, 404, "Not found");
            }
            expect_error(&outside.tokens("DELETE", "{\"userId\":\"u1\"}"), 404, "Not found");
        }
    }
}

#[test]
fn a_project_that_is_made_on_first_use_has_the_keys_of_the_first_one() {
    let server = server_with("auto_projects = true");
    let made = "x-m2-organization: newOrg\r\nx-m2-project: newProj\r\n";
    let with = |key: &str, project: &str| Backend::with(Client::on(&server, 2), &format!("x-api-key: {key}\r\n{project}"));
    written(&with(KEY, made).put(TARGET, "", "1"), 201);
    let mut client = Listener::asking(Client::on(&server, 1), made);
    assert!(client.subscribe(WORLD).contains("\"data\":1,"));
    // It is a project of its own.
    expect_error(&with(KEY, PROJECT).get(TARGET), 404, "Not found");
    expect_error(&with(OTHER_KEY, made).get(TARGET), 403, "Forbidden");
    let unknown = BASE64URL_NOPAD.encode(&[7; 32]);
    expect_error(&with(&unknown, "x-m2-organization: newer\r\n").get(TARGET), 401, "Invalid credentials");
    expect_error(&with(KEY, OTHER_PROJECT).get(TARGET), 403, "Forbidden");
}
