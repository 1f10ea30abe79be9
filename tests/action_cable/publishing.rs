//! AC-63 to AC-68: what publishers say, what becomes of it, and what they are told.

use crate::support::cable::{KEY, PUBLIC, PUBLISH_KEY, api, data, event, public, string};
use crate::support::{ACCESS, Cable, Caller, Client, LISTEN, Response, Server};

/// A publication in AnyCable's format; `data` is the text itself, `more` further members.
fn broadcast(stream: &str, data: &str, more: &str) -> String {
    format!("{{\"stream\":{},\"data\":{}{more}}}", string(stream), string(data))
}

/// Any request whose publisher presents this; `""` is nothing.
#[track_caller]
fn ask(client: &mut Client, method: &str, target: &str, key: &str, body: &str) -> Response {
    let key = if key.is_empty() { String::new() } else { format!("Authorization: {key}\r\n") };
    let length = body.len();
    client.send(format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{key}Content-Length: {length}\r\n\r\n{body}"));
    client.response()
}

#[test]
fn ac_63_sensitive_members_reach_nobody_however_they_are_spelled() {
    let server = Server::with_cable(PUBLIC, "");
    let mut cable = Cable::open(&server, 1);
    let identifier = api("users;api_keys;flags;github_tokens;smoke_detectors;api_tokens;posts");
    cable.subscribe(&identifier);
    let cases = [
        ("APIKey", r#"{"id":1,"key":"SECRET"}"#, r#"{"id":1}"#),
        ("APIKey", r#"{"key":"SECRET","app":"a","key":{"x":"SECRET"},"k\u0065y":["SECRET"]}"#, r#"{"app":"a"}"#),
        ("APIKey", r#"{"\u006b\u0065\u0079":"SECRET"}"#, "{}"),
        ("APIKey", r#"{"Key":1,"key ":2,"deep":{"key":"stays"}}"#, r#"{"Key":1,"key ":2,"deep":{"key":"stays"}}"#),
        ("APIToken", r#"{"code":"SECRET","id":2,"token":"SECRET"}"#, r#"{"id":2}"#),
        ("Flag", r#"{"reason":"SECRET","user_id":"SECRET","id":3}"#, r#"{"id":3}"#),
        ("GithubToken", r#"{ "token" : "SECRET" }"#, "{}"),
        ("SmokeDetector", r#"{"access_token":"SECRET","name":"n"}"#, r#"{"name":"n"}"#),
        (
            "User",
            r#"{"id":4,"email":"SECRET","encrypted_password":"SECRET","reset_password_token":"SECRET",
                "reset_password_sent_at":"SECRET","encrypted_api_token":"SECRET","two_factor_token":"SECRET","salt":"SECRET",
                "iv":"SECRET","username":"u"}"#,
            r#"{"id":4,"username":"u"}"#,
        ),
        // Of another model they are members like others.
        ("Post", r#"{"key":1,"token":2}"#, r#"{"key":1,"token":2}"#),
    ];
    let token = |class: &str| match class {
        "APIKey" => "api_keys",
        "APIToken" => "api_tokens",
        "Flag" => "flags",
        "GithubToken" => "github_tokens",
        "SmokeDetector" => "smoke_detectors",
        "User" => "users",
        _ => "posts",
    };
    for (class, object, expected) in cases {
        server.cable_event("update", class, object);
        cable.expect_data(&identifier, &event("update", class, expected));
        // The same on the other way, whatever stands around the object.
        server.broadcast(2, &format!("api:{}_create", token(class)), &format!("{{\"x\":1,\"object\":{object},\"y\":[]}}"));
        cable.expect_data(&identifier, &format!("{{\"x\":1,\"object\":{expected},\"y\":[]}}"));
    }
    // What has no class comes on the other way alone.
    for (token, members) in [
        ("audits", &["remote_address", "request_uuid"][..]),
        ("emails_addressees", &["name", "email_address", "manage_key"]),
        ("emails_preferences", &["consent_via", "consent_comment"]),
        ("ignored_users", &["user_name", "user_id"]),
    ] {
        for kind in ["create", "update", "destroy"] {
            let stream = format!("api:{token}_{kind}");
            cable.subscribe(&public(&stream));
            for member in members {
                let object = format!("{{\"id\":1,\"{member}\":\"SECRET\",\"x{member}\":2}}");
                server.broadcast(2, &stream, &format!("{{\"object\":{object}}}"));
                cable.expect_data(&public(&stream), &format!("{{\"object\":{{\"id\":1,\"x{member}\":2}}}}"));
            }
            assert!(!server.stored(&stream).iter().any(|envelope| envelope.text.contains("SECRET")), "{stream}");
        }
    }
    // `object` itself spelled with escapes, or twice.
    server.broadcast(2, "api:api_keys_create", r#"{"\u006fbject":{"key":"SECRET"},"object":{"key":"SECRET","id":1}}"#);
    cable.expect_data(&identifier, r#"{"\u006fbject":{},"object":{"id":1}}"#);
    // Nor are they in what is stored.
    for stream in ["users", "api_keys", "flags", "github_tokens", "smoke_detectors", "api_tokens"] {
        for kind in ["create", "update"] {
            let stored = server.stored(&format!("api:{stream}_{kind}"));
            assert!(!stored.is_empty() && !stored.iter().any(|envelope| envelope.text.contains("SECRET")), "{stored:?}");
        }
    }
}

#[test]
fn ac_64_an_event_is_written_in_the_documents_order_and_acknowledged_with_its_place() {
    let server = Server::with_cable("", "");
    let mut cable = Cable::open(&server, 1);
    let identifier = api("posts;feedbacks;flag_logs");
    cable.subscribe(&identifier);
    let mut last = None;
    let mut acknowledged = |answer: Response, published: u64| {
        assert_eq!((answer.status, answer.field("Content-Type")), (201, Some("application/json")), "{answer:?}");
        let json = answer.json();
        let seq = json["seq"].as_u64().expect("a place in the order");
        assert_eq!(answer.text(), format!("{{\"published\":{published},\"seq\":{seq}}}"));
        // Nobody else publishes and no second begins: each message has the next place.
        if let Some(last) = last.replace(seq) {
            assert_eq!(seq, last + published, "that of the last message");
        }
        seq
    };
    let members = [r#""event_type":"create""#, r#" "event_class" : "Post" "#, r#""object": {"id" :1,"b":1.0}"#];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let body = order.map(|at| members[at]).join(",");
        acknowledged(server.cable_post(2, "/api/events", &format!(" {{{body}}}\n")), 1);
        cable.expect_data(&identifier, r#"{"event_type":"create","event_class":"Post","object":{"id":1,"b":1.0}}"#);
    }
    // A list: in its order, and the place is that of the last.
    let list: Vec<(&str, &str)> =
        (0..1_000).map(|number| [("Post", "update"), ("Feedback", "create"), ("FlagLog", "update")][number % 3]).collect();
    let body: Vec<String> = list.iter().map(|(class, kind)| event(kind, class, "{}")).collect();
    let seq = acknowledged(server.cable_post(3, "/api/events", &format!("[{}]", body.join(","))), 1_000);
    for (class, kind) in &list {
        cable.expect_data(&identifier, &event(kind, class, "{}"));
    }
    let answer = server.cable_post(0, "/_broadcast", &broadcast("x", "1", ""));
    let next: u64 = answer.field("X-Fanwire-Seq").expect("a place").parse().unwrap();
    assert_eq!(next, seq + 1, "one order for both ways");
}

#[test]
fn ac_65_one_invalid_element_and_nothing_is_published() {
    let server = Server::with_cable("max_payload = \"1KiB\"", "");
    let mut cable = Cable::open(&server, 1);
    let identifier = api("posts;api_keys");
    cable.subscribe(&identifier);
    let fine = event("create", "Post", "{}");
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(64), "]".repeat(64));
    let large = format!("{{\"a\":{}}}", string(&"x".repeat(1_024)));
    let bad = [
        r#"{"event_type":"create","event_class":"Post"}"#.to_owned(),
        r#"{"event_type":"create","object":{}}"#.to_owned(),
        r#"{"event_class":"Post","object":{}}"#.to_owned(),
        r#"{"event_type":"create","event_class":"Post","object":{},"extra":1}"#.to_owned(),
        r#"{"event_type":"create","event_class":"Post","object":{},"object":{}}"#.to_owned(),
        event("create", "Unicorn", "{}"),
        event("frobnicate", "Post", "{}"),
        event("create", "Post", "[]"),
        event("create", "Post", "null"),
        event("create", "Post", "\"x\""),
        event("create", "Post", r#"{"a":1e999}"#),
        event("create", "Post", r#"{"a":"\ud800"}"#),
        event("create", "Post", &deep),
        event("create", "Post", &large),
        r#"{"event_type":5,"event_class":"Post","object":{}}"#.to_owned(),
        r#"{"event_type":"create","event_class":["Post"],"object":{}}"#.to_owned(),
        "5".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
    ];
    for bad in &bad {
        for (index, list) in [
            (0, bad.clone()),
            (0, format!("[{bad}]")),
            (0, format!("[{bad},{fine}]")),
            (2, format!("[{fine},{fine},{bad},{fine},{bad}]")),
        ] {
            let answer = server.cable_post(2, "/api/events", &list);
            assert_eq!(answer.status, 422, "{list}");
            let json = answer.json();
            assert!(json["error"].as_str().is_some_and(|error| !error.is_empty()), "{json}");
            assert_eq!((json["index"].as_u64(), json.as_object().map(|object| object.len())), (Some(index), Some(2)), "{list}");
        }
    }
    for list in ["", "[", "nonsense", "[]", &format!("[{fine},"), &format!("[{fine}]x"), &format!("{fine}{fine}")] {
        assert_eq!(server.cable_post(2, "/api/events", list).status, 422, "{list:?}");
    }
    let many = format!("[{}]", vec![fine.clone(); 1_001].join(","));
    assert_eq!(server.cable_post(2, "/api/events", &many).status, 422);
    server.expect_silence(&mut cable);
    assert!(server.stored("api:posts_create").is_empty());
    server.cable_event("create", "Post", "{}");
    cable.expect_data(&identifier, &fine);
    // What is removed does not count for the size.
    server.cable_event("create", "APIKey", &format!("{{\"key\":{}}}", string(&"x".repeat(2_000))));
    cable.expect_data(&identifier, &event("create", "APIKey", "{}"));
}

#[test]
fn ac_66_broadcasts_are_acknowledged_refused_or_found_malformed() {
    let server = Server::with_cable(&format!("{PUBLIC}\nmax_publish_body = \"4KiB\"\nmax_payload = \"1KiB\""), "");
    let mut cable = Cable::open(&server, 1);
    for stream in ["a", "b"] {
        cable.subscribe(&public(stream));
    }
    let mut client = Client::on(&server, 2);
    let key = format!("Bearer {PUBLISH_KEY}");
    // One, and several in their order; the alias does the same.
    for target in ["/_broadcast", "/api/publish"] {
        let answer = ask(&mut client, "POST", target, &key, &broadcast("a", "1", ",\"meta\":{\"other\":[]},\"x\":1"));
        assert_eq!((answer.status, answer.text(), answer.field("X-Fanwire-Seq").is_some()), (201, "", true));
        let list = format!("[{},{}]", broadcast("b", "2", ""), broadcast("a", "3", ""));
        let first: u64 = answer.field("X-Fanwire-Seq").unwrap().parse().unwrap();
        let answer = ask(&mut client, "POST", target, &key, &list);
        assert_eq!((answer.status, answer.text()), (201, ""));
        assert!(answer.field("X-Fanwire-Seq").unwrap().parse::<u64>().unwrap() > first);
        cable.expect_data(&public("a"), "1");
        cable.expect_data(&public("b"), "2");
        cable.expect_data(&public("a"), "3");
        for wrong in ["", "Bearer", "Bearer wrong", "Basic abc", &format!("Bearer {PUBLISH_KEY}x"), &format!("Bearer {KEY}")] {
            assert_eq!(ask(&mut client, "POST", target, wrong, &list).status, 401, "{wrong:?}");
        }
        for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
            assert_eq!(ask(&mut client, method, target, &key, "").status, 405, "{method}");
        }
    }
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let malformed = [
        String::new(),
        "[]".to_owned(),
        "5".to_owned(),
        "nonsense".to_owned(),
        "{}".to_owned(),
        r#"{"stream":"a"}"#.to_owned(),
        r#"{"data":"1"}"#.to_owned(),
        r#"{"stream":"a","data":1}"#.to_owned(),
        r#"{"stream":"a","data":{"x":1}}"#.to_owned(),
        r#"{"stream":"a","data":null}"#.to_owned(),
        r#"{"stream":5,"data":"1"}"#.to_owned(),
        broadcast("", "1", ""),
        broadcast(&"s".repeat(257), "1", ""),
        broadcast("$own", "1", ""),
        broadcast("a", "1e999", ""),
        broadcast("a", r#""\ud800""#, ""),
        broadcast("a", &deep, ""),
        broadcast("a", &string(&"x".repeat(1_024)), ""),
        broadcast("a", "1", ",\"meta\":5"),
        broadcast("a", "1", ",\"meta\":{\"transient\":\"yes\"}"),
        broadcast("a", "1", ",\"meta\":{\"exclude_socket\":5}"),
        r#"{"command":"frobnicate","payload":{}}"#.to_owned(),
        r#"{"command":"disconnect"}"#.to_owned(),
        r#"{"command":"disconnect","payload":{"identifier":5}}"#.to_owned(),
        r#"{"command":"disconnect","payload":{"identifier":""}}"#.to_owned(),
        r#"{"command":"disconnect","payload":{"identifier":"document","reconnect":"no"}}"#.to_owned(),
    ];
    for body in &malformed {
        let answer = ask(&mut client, "POST", "/_broadcast", &key, body);
        assert_eq!(answer.status, 422, "{body:?}");
        assert!(answer.json()["error"].is_string());
        let list = format!("[{},{body}]", broadcast("a", "1", ""));
        assert_eq!(ask(&mut client, "POST", "/_broadcast", &key, &list).status, 422, "{list:?}");
    }
    server.expect_silence(&mut cable);
    // The longest name that a stream may have.
    assert_eq!(ask(&mut client, "POST", "/_broadcast", &key, &broadcast(&"s".repeat(256), "1", "")).status, 201);
    let large = broadcast("a", &"x".repeat(5_000), "");
    for target in ["/_broadcast", "/api/events"] {
        assert_eq!(ask(&mut Client::on(&server, 2), "POST", target, &key, &large).status, 413);
    }
    server.expect_silence(&mut cable);
}

#[test]
fn ac_67_data_that_is_no_json_arrives_as_a_string() {
    let server = Server::with_cable(PUBLIC, "");
    let mut cable = Cable::open(&server, 3);
    cable.subscribe(&public("s"));
    for (data, message) in [
        ("null", "null"),
        ("\"a\"", "\"a\""),
        ("<b>", "\"<b>\""),
        ("", "\"\""),
        ("not json", "\"not json\""),
        ("{\"a\":1,}", r#""{\"a\":1,}""#),
        ("'x'", "\"'x'\""),
        ("1 2", "\"1 2\""),
        (" { \"b\" : 2, \"a\" : 12345678901234567890 } ", "{\"b\":2,\"a\":12345678901234567890}"),
        ("é\n😀\u{1}", "\"é\\n😀\\u0001\""),
        ("true", "true"),
    ] {
        server.broadcast(1, "s", data);
        cable.expect_data(&public("s"), message);
    }
}

#[test]
fn ac_68_without_a_key_there_are_no_publishing_paths_in_public() {
    let serve = |keys: &str| Server::with_config(&format!("{LISTEN}{ACCESS}\n[action_cable]\npreset = \"metasmoke\"\n{keys}\n"));
    let paths = ["/api/events", "/_broadcast", "/api/publish"];
    let body = broadcast("api:posts_create", "1", "");
    let server = serve("");
    for path in paths {
        for method in ["POST", "GET"] {
            for key in ["", "Bearer x"] {
                let answer =
                    ask(&mut Client::connect(server.address), method, path, key, if method == "POST" { &body } else { "" });
                assert_eq!((answer.status, answer.text()), (404, "Page not found"), "{method} {path} {key}");
            }
        }
    }
    // The backends' own door needs none.
    let mut backend = Client::connect(server.admin);
    assert_eq!(ask(&mut backend, "POST", "/_broadcast", "", &body).status, 201);
    assert_eq!(ask(&mut backend, "POST", "/api/events", "", &event("create", "Post", "{}")).status, 201);
    assert_eq!(ask(&mut backend, "GET", "/_broadcast", "", "").status, 405);

    // With one they are there, for those who have it.
    let server = serve("publish_key = \"the-publish-key-0\"");
    for path in &paths[1..] {
        let mut client = Client::connect(server.address);
        assert_eq!(ask(&mut client, "POST", path, "", &body).status, 401);
        assert_eq!(ask(&mut client, "POST", path, "Bearer the-publish-key-0", &body).status, 201);
        assert_eq!(ask(&mut client, "GET", path, "Bearer the-publish-key-0", "").status, 405);
    }
    // A secret makes one, unless there is one of its own.
    let derived = "Bearer a239a7ca182c90fc32bdedf73703d271388cf433843affffd3a5e757041fc716";
    for (keys, expected) in [("secret = \"s3Krit\"", 201), ("secret = \"s3Krit\"\npublish_key = \"the-publish-key-0\"", 401)] {
        let server = serve(keys);
        assert_eq!(ask(&mut Client::connect(server.address), "POST", "/_broadcast", derived, &body).status, expected);
    }
    // Paths of one's own, and none at all.
    let server = serve("publish_key = \"the-publish-key-0\"\nevents_path = \"/in\"\nbroadcast_path = \"\"");
    let mut client = Client::connect(server.address);
    assert_eq!(ask(&mut client, "POST", "/in", "Bearer the-publish-key-0", &event("create", "Post", "{}")).status, 201);
    for gone in paths {
        assert_eq!(
            ask(&mut Client::connect(server.address), "POST", gone, "Bearer the-publish-key-0", &body).status,
            404,
            "{gone}"
        );
    }
}

/// A publisher that read its 201 has reached everybody who was confirmed before, on whatever reactor.
#[test]
fn what_was_acknowledged_reaches_every_subscription_that_was_confirmed() {
    let server = Server::with_cable("", "");
    let mut callers: Vec<Caller> = (0..4).map(|reactor| server.caller(reactor)).collect();
    for round in 0..40 {
        let mut cable = Cable::open(&server, round % 4);
        cable.subscribe(&api("posts"));
        let object = format!("{{\"id\":{round}}}");
        let answer = callers[(round + 1) % 4].post("/api/events", "", event("create", "Post", &object).as_bytes());
        assert_eq!(answer.status, 201);
        assert_eq!(cable.text(), data(&api("posts"), &event("create", "Post", &object)), "round {round}");
    }
}
