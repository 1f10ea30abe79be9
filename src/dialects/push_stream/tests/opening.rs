//! Routes, methods, and every refusal of section 6.1 in its order.

use super::*;

fn explained(status: &str, explain: &str) -> String {
    format!("HTTP/1.1 {status} | Content-Length: 0 | X-Nginx-PushStream-Explain: {explain}")
}

#[test]
fn paths_are_found_and_others_are_not_ours() {
    let server = open_server(|_| ());
    for (target, join) in [
        ("/longpoll/a/b.b3?_=1", "join a b-3 single"),
        ("/shortpoll/a", "join a single"),
        ("/stream/a", "join a shared"),
        ("/ev/a", "join a shared"),
        ("/longpoll/pz11%2Fb", "join pz11 b single"),
        ("/longpoll/dup/dup", "join dup single"),
        ("/longpoll%2Fx", "join x single"),
    ] {
        assert_eq!(server.get(target).opened, [join], "{target}");
    }
    assert_eq!(server.upgrade("/websocket/ws1/ws2?auth_token=XXX").opened, ["join ws1 ws2 shared"]);
    for target in ["/", "/longpoll", "/websocket", "/pub/", "/channels-stats/a", "/publish", "/other/a", "*"] {
        assert_eq!(server.answer("GET", target, &[]), "not ours", "{target}");
        assert!(server.dialect.head_limits(target).is_none(), "{target}");
    }
    let limits = server.dialect.head_limits("/longpoll/a").unwrap();
    assert_eq!((limits.field_bytes_max, limits.body_bytes_max), (32_768, 1_048_576));
}

#[test]
fn modes_can_be_moved_and_turned_off() {
    let server = open_server(|options| {
        options.longpoll_path = "/lp/".into();
        options.shortpoll_path = "/lp/short/".into();
        options.stream_path = String::new();
        options.stats_path = String::new();
    });
    assert_eq!(server.get("/lp/a").opened, ["join a single"]);
    assert_eq!(server.get("/lp/short/a").opened, ["join a single"]);
    for target in ["/longpoll/a", "/stream/a", "/channels-stats", ""] {
        assert_eq!(server.answer("GET", target, &[]), "not ours", "{target}");
    }
    let off = open_server(|options| options.enabled = false);
    assert_eq!(off.answer("GET", "/longpoll/a", &[]), "not ours");
}

#[test]
fn subscribers_are_not_served_at_the_backends_door() {
    let mut server = open_server(|_| ());
    server.door = Door::Admin;
    assert_eq!(server.answer("GET", "/longpoll/a", &[]), "not ours");
    assert_eq!(server.get("/channels-stats").opened, ["ask Report(Sums)"]);
    server.door = Door::Both;
    assert_eq!(server.get("/longpoll/a").opened, ["join a single"]);
}

/// PT-20.
#[test]
fn methods_and_cors_are_the_recorded_ones() {
    let server = open_server(|_| ());
    let not_allowed = |methods: &str| format!("HTTP/1.1 405 Not Allowed | Content-Length: 0 | Allow: {methods}");
    for path in ["/longpoll/l1", "/shortpoll/l1", "/stream/l1", "/ev/l1", "/websocket/l1"] {
        assert_eq!(server.answer("HEAD", path, &[]), not_allowed("GET"));
        assert_eq!(server.answer("POST", path, &[]), not_allowed("GET"));
        assert_eq!(server.answer("OPTIONS", path, &[]), "HTTP/1.1 200 OK | Content-Length: 0");
    }
    assert_eq!(server.answer("PATCH", "/pub?id=a", &[]), not_allowed("GET, POST, PUT, DELETE"));
    assert_eq!(server.answer("HEAD", "/pub?id=a", &[]), not_allowed("GET, POST, PUT, DELETE"));
    assert_eq!(server.answer("OPTIONS", "/pub?id=a", &[]), "HTTP/1.1 200 OK | Content-Length: 0");
    assert_eq!(server.answer("OPTIONS", "/channels-stats", &[]), not_allowed("GET"));
    let quiet = open_server(|options| options.delete = false);
    assert_eq!(quiet.answer("DELETE", "/pub?id=a", &[]), not_allowed("GET, POST, PUT"));
    let cors = open_server(|options| options.allowed_origins = vec!["*".into()]);
    assert_eq!(
        cors.answer("OPTIONS", "/longpoll/l1", &[("Origin", "http://x.example")]),
        "HTTP/1.1 200 OK | Content-Length: 0 | Access-Control-Allow-Origin: * | Access-Control-Allow-Methods: GET | \
         Access-Control-Allow-Headers: If-Modified-Since,If-None-Match,Etag,Event-Id,Event-Type,Last-Event-Id | \
         Access-Control-Expose-Headers: Etag, Last-Modified, X-Fanwire-Gap"
    );
}

#[test]
fn caches_are_told_off_except_on_options_of_subscribers() {
    let server = open_server(|_| ());
    let bytes = |method: &str, target: &str| {
        let Some(Opening::Respond(response)) = server.open(method, target, &[]).0 else {
            panic!("{target} is answered at once");
        };
        let mut out = Vec::new();
        response.write(&mut out, 0, Framing::Length, true);
        String::from_utf8(out).unwrap()
    };
    let told = "\r\nExpires: Thu, 01 Jan 1970 00:00:01 GMT\r\nCache-Control: no-cache, no-store, must-revalidate\r\n";
    assert!(bytes("GET", "/longpoll/").contains(told));
    assert!(bytes("OPTIONS", "/pub").contains(told));
    assert!(!bytes("OPTIONS", "/longpoll/a").contains("Expires") && !bytes("OPTIONS", "/ev/a").contains("Cache-Control"));
}

#[test]
fn a_list_of_origins_answers_each_its_own() {
    let server = open_server(|options| options.allowed_origins = vec!["http://a.example".into(), "http://B.example:80".into()]);
    let options = |origin: &str| server.answer("OPTIONS", "/pub", &[("Origin", origin)]);
    let known = options("http://b.example");
    assert!(known.contains(
        " | Access-Control-Allow-Origin: http://b.example | Vary: Origin | Access-Control-Allow-Methods: GET, POST, PUT, DELETE | "
    ));
    let stranger = options("http://c.example");
    assert!(!stranger.contains("Allow-Origin") && stranger.contains("Vary: Origin"));
    let mut client = server.request("GET", "/ev/a", &[("Origin", "http://a.example")]);
    assert!(client.joined(&joined(stamp(5, 1)))[0].contains("Access-Control-Allow-Origin: http://a.example"));
    let handshake = |origin: &str| {
        let fields: Vec<_> = UPGRADE.into_iter().chain([("Origin", origin)]).collect();
        server.request("GET", "/websocket/a", &fields).opened.join("")
    };
    assert_eq!(handshake("http://a.example"), "join a shared");
    assert_eq!(handshake("HTTP://A.example:80"), "join a shared");
    for stranger in ["https://a.example", "http://a.example:8080", "http://a.example:443", "null", ""] {
        assert!(handshake(stranger).contains("Origin is not allowed."), "{stranger}");
    }
    let refused = handshake("http://a.example.evil");
    assert!(refused.starts_with("HTTP/1.1 403 Forbidden") && refused.ends_with("Explain: Origin is not allowed."), "{refused}");
    assert_eq!(server.upgrade("/websocket/a").opened, ["join a shared"]);
}

/// PT-21, PT-51.
#[test]
fn channel_refusals_are_the_recorded_ones() {
    let server = open_server(|_| ());
    let long = "x".repeat(201);
    let many = (0..51).map(|number| format!("c{number}")).collect::<Vec<_>>().join("/");
    for mode in ["/longpoll/", "/shortpoll/", "/stream/", "/ev/"] {
        for (list, status, explain) in [
            ("", "400 Bad Request", "No channel id provided."),
            (&*long, "400 Bad Request", "Channel id is too large."),
            ("a%22", "400 Bad Request", "Channel id is not valid."),
            ("ALL", "403 Forbidden", "Channel id not authorized for this method."),
            ("a*", "403 Forbidden", "Channel id not authorized for this method."),
            (&*many, "403 Forbidden", "Too many channels in one request."),
        ] {
            assert_eq!(server.answer("GET", &format!("{mode}{list}"), &[]), explained(status, explain));
        }
    }
    let fifty = many.rsplit_once('/').unwrap().0;
    assert!(server.get(&format!("/longpoll/{fifty}")).session.is_some());
}

#[test]
fn checks_come_in_the_documented_order() {
    let server = server(|options| {
        options.events_channel = "events".into();
        options.wildcard_prefix = "broad_".into();
        options.wildcard_max_per_request = 2;
        options.allowed_origins = vec!["http://a.example".into()];
    });
    // Each request is wrong in everything that is still listed; the first failure answers.
    let wild = "events/broad_a/broad_b/broad_c";
    let many = (0..51).map(|number| format!("c{number}")).collect::<Vec<_>>().join("/");
    let short = |target: &str| {
        let answer = server.answer("GET", target, &[]);
        answer.rsplit_once(": ").unwrap().1.to_owned()
    };
    assert!(server.answer("PATCH", "/longpoll/ALL?callback=-", &[]).starts_with("HTTP/1.1 405"));
    assert_eq!(short("/longpoll/ALL?callback=-&auth_token=bad"), "Authentication token is missing or invalid.");
    assert_eq!(short("/longpoll/?callback=-&auth_token=limited"), "No channel id provided.");
    assert_eq!(
        short(&format!("/longpoll/{many}/ALL?callback=-&auth_token=limited")),
        "Channel id not authorized for this method."
    );
    assert_eq!(short(&format!("/longpoll/{many}?callback=-&auth_token=limited")), "Too many channels in one request.");
    assert_eq!(short(&format!("/longpoll/{wild}?callback=-&auth_token=limited")), "Callback name is not valid.");
    assert_eq!(short(&format!("/longpoll/{wild}?auth_token=limited")), "Authentication token has no right to a channel.");
    assert_eq!(short(&format!("/longpoll/{wild}?auth_token=XXX")), "Subscription to events channel is not allowed.");
    assert_eq!(short("/longpoll/broad_a?auth_token=XXX"), "Subscribed too much wildcard channels.");
    let answer = server.answer("GET", "/websocket/?auth_token=bad", &[("Origin", "http://evil.example")]);
    assert!(answer.ends_with("Sec-WebSocket-Key and Sec-WebSocket-Version"), "{answer}");
    let fields: Vec<_> = UPGRADE.into_iter().chain([("Origin", "http://evil.example")]).collect();
    let answer = server.answer("GET", "/websocket/?auth_token=bad", &fields);
    assert!(answer.ends_with("Origin is not allowed."), "{answer}");
}

#[test]
fn tokens_come_as_an_argument_or_as_a_bearer() {
    let server = server(|_| ());
    let bearer = |token: &'static str| [("Authorization", token)];
    assert_eq!(server.get("/longpoll/a?auth_token=XXX").opened, ["join a single"]);
    assert_eq!(server.get("/longpoll/a?auth_token=%58XX").opened, ["join a single"]);
    assert_eq!(server.request("GET", "/longpoll/a", &bearer("Bearer XXX")).opened, ["join a single"]);
    assert_eq!(server.request("GET", "/longpoll/a?auth_token=", &bearer("bearer XXX")).opened, ["join a single"]);
    assert_eq!(server.get("/longpoll/public1/public2?auth_token=limited").opened, ["join public1 public2 single"]);
    let unauthorized = explained("401 Unauthorized", "Authentication token is missing or invalid.");
    assert_eq!(server.answer("GET", "/longpoll/a", &[]), unauthorized);
    assert_eq!(server.answer("GET", "/longpoll/a?auth_token=old", &[]), unauthorized);
    assert_eq!(server.answer("GET", "/ev/a?auth_token=%FF", &[]), unauthorized);
    assert_eq!(server.answer("GET", "/longpoll/a?auth_token=bad", &bearer("Bearer XXX")), unauthorized);
    let forbidden = explained("403 Forbidden", "Authentication token has no right to a channel.");
    assert_eq!(server.answer("GET", "/longpoll/public/a?auth_token=limited", &[]), forbidden);
}

#[test]
fn wildcard_rules_and_authorized_channels_are_asked_in_order() {
    let mut server = open_server(|options| {
        options.wildcard_prefix = "broad_".into();
        options.wildcard_max_per_request = 2;
    });
    let refused = explained("403 Forbidden", "Subscribed too much wildcard channels.");
    // PT-35.
    assert_eq!(server.answer("GET", "/shortpoll/n1/broad_a/broad_b/broad_c", &[]), refused);
    assert_eq!(server.answer("GET", "/shortpoll/broad_a", &[]), refused);
    assert_eq!(server.get("/shortpoll/n1/broad_a/broad_b").opened, ["join n1 broad_a broad_b single"]);
    server = open_server(|options| {
        options.wildcard_prefix = "broad_".into();
        options.authorized_channels_only = true;
    });
    assert_eq!(server.get("/shortpoll/n1/broad_a/ping").opened, ["join n1! broad_a ping single"]);
    assert_eq!(server.answer("GET", "/shortpoll/broad_a", &[]), refused);
    server = open_server(|options| {
        options.wildcard_prefix = "broad_".into();
        options.wildcard_max_per_request = 1;
        options.authorized_channels_only = true;
    });
    let report = |stored| {
        let row = crate::exchange::TopicRow { name: "n1".into(), published: 1, stored, subscribers: 0 };
        Answer::Report(Box::new(publishing::report(vec![row])))
    };
    let unauthorized = explained("403 Forbidden", "Subscriber could not create channels.");
    for (stored, answer) in [(1, &refused), (0, &unauthorized)] {
        let mut client = server.get("/shortpoll/n1/broad_a/broad_b");
        assert_eq!(client.opened, ["ask Report(Names([\"n1\"]))"]);
        assert_eq!(client.answered(report(stored)), std::slice::from_ref(answer));
    }
    let mut client = server.upgrade("/websocket/n1/broad_a/broad_b");
    assert_eq!(
        client.answered(report(0)),
        ["close 1008 {\"http_status\": 403, \"explain\":\"Subscriber could not create channels.\"}"]
    );
}

#[test]
fn the_events_channel_is_open_only_where_it_is_said_to_be() {
    let closed = open_server(|options| options.events_channel = "ev_chan".into());
    let refused = explained("403 Forbidden", "Subscription to events channel is not allowed.");
    assert_eq!(closed.answer("GET", "/longpoll/ev_chan", &[]), refused);
    let open = open_server(|options| {
        options.events_channel = "ev_chan".into();
        options.events_channel_subscribe = true;
    });
    assert_eq!(open.get("/longpoll/ev_chan").opened, ["join ev_chan single"]);
}

#[test]
fn refusals_of_the_hub_have_their_words() {
    use crate::exchange::Refusal::*;
    let server = open_server(|_| ());
    for (refusal, status, explain) in [
        (TopicMissing, "403 Forbidden", "Subscriber could not create channels."),
        (TopicFull, "403 Forbidden", "Subscribers limit per channel has been exceeded."),
        (TooManyTopics, "403 Forbidden", "Number of channels were exceeded."),
        (OutOfMemory, "503 Service Unavailable", "Server is out of message memory."),
        (Busy, "503 Service Unavailable", "Server is busy."),
        (StorageUnavailable, "503 Service Unavailable", "Storage is unavailable."),
    ] {
        for target in ["/longpoll/a", "/shortpoll/a", "/stream/a", "/ev/a"] {
            let answer = server.get(target).act(|session, actions| session.refused(refusal, actions));
            assert_eq!(answer, [explained(status, explain)], "{target}");
        }
        let close = server.upgrade("/websocket/a").act(|session, actions| session.refused(refusal, actions));
        assert_eq!(close, [format!("close 1008 {{\"http_status\": {}, \"explain\":\"{explain}\"}}", &status[..3])]);
    }
}

#[test]
fn the_mode_header_turns_http_modes_into_polls() {
    let server = open_server(|_| ());
    for path in ["/longpoll/a", "/shortpoll/a", "/stream/a", "/ev/a"] {
        for (mode, waits) in [("long-polling", true), ("polling", false)] {
            let mut client = server.request("GET", path, &[("X-Nginx-PushStream-Mode", mode)]);
            assert_eq!(client.opened, ["join a single"]);
            assert!(client.joined(&joined(stamp(5, 1))).is_empty());
            assert_eq!(client.page(&[])[0].starts_with("wake"), waits, "{path} {mode}");
        }
    }
    assert_eq!(server.request("GET", "/ev/a", &[("X-Nginx-PushStream-Mode", "other")]).opened, ["join a shared"]);
    let deaf = open_server(|options| options.mode_header = false);
    assert_eq!(deaf.request("GET", "/ev/a", &[("X-Nginx-PushStream-Mode", "polling")]).opened, ["join a shared"]);
}

#[test]
fn cursors_and_limits_reach_the_hub() {
    let server = open_server(|options| options.max_subscribers_per_channel = 2);
    let target = format!("/longpoll/a/b.b1?tag=1&{NOON_QUERY}");
    assert_eq!(server.get(&target).opened, [format!("join a b-1 after ({NOON}, Some(1)) single")]);
    let target = format!("/websocket/a?{NOON_QUERY}");
    assert_eq!(server.upgrade(&target).opened, [format!("join a after ({NOON}, None) shared")]);
}
