//! PS-43 to PS-46: who may listen, and that nobody reads a secret anywhere.

use crate::support::{ACCESS, Client, KEY, LISTEN, Mode, PUBLIC_TOKEN, Server, Subscriber, TOKEN, config, epoch, log};

const MISSING: &str = "Authentication token is missing or invalid.";
const NO_RIGHT: &str = "Authentication token has no right to a channel.";

/// The answer to a request of this mode, or to its handshake.
fn answer(server: &Server, mode: Mode, target: &str, fields: &str) -> crate::support::Response {
    let mut client = Client::on(server, 1);
    match mode {
        Mode::WebSocket => client.ask_upgrade(target, fields),
        Mode::Stream | Mode::EventSource => {
            client.send_get(target, fields);
            client.head()
        }
        Mode::LongPoll | Mode::ShortPoll => client.get_with(target, fields),
    }
}

/// PS-43 [D] `auth_token` is accepted as a query argument in every mode.
#[test]
fn ps_43_the_token_is_accepted_as_an_argument_in_every_mode() {
    for server in [Server::start(), Server::with_access("")] {
        server.publish("public1", "1");
        let (token, wrong) = (server.token, "wrong");
        for mode in Mode::ALL {
            let path = mode.path();
            let good = if mode == Mode::WebSocket { 101 } else { 200 };
            let epoch = epoch();
            for (target, fields) in [
                (format!("{path}public1?auth_token={token}&{epoch}"), String::new()),
                (format!("{path}public1?_=123&{epoch}&auth_token={token}"), String::new()),
                // [F] The header instead; the argument wins; an empty one counts as absent.
                (format!("{path}public1?{epoch}"), format!("Authorization: Bearer {token}\r\n")),
                (format!("{path}public1?auth_token=&{epoch}"), format!("Authorization: bearer {token}\r\n")),
                (format!("{path}public1?auth_token={token}&{epoch}"), format!("Authorization: Bearer {wrong}\r\n")),
            ] {
                assert_eq!(answer(&server, mode, &target, &fields).status, good, "{target} {fields}");
            }
            let target = format!("{path}public1?auth_token={wrong}&{epoch}");
            let refused = answer(&server, mode, &target, &format!("Authorization: Bearer {token}\r\n"));
            assert_eq!(refused.status, 401, "{mode:?}: the argument wins");
        }
    }
    let server = Server::with("token_argument = \"t\"\n");
    for mode in Mode::ALL {
        Subscriber::request(Client::on(&server, 1), mode, &format!("{}a?t=dev", mode.path()), "");
        assert_eq!(answer(&server, mode, &format!("{}a?auth_token=dev", mode.path()), "").status, 401);
    }
    let server = Server::with("auth = \"off\"\n");
    for mode in Mode::ALL {
        for query in ["", "?auth_token=whatever"] {
            Subscriber::request(Client::on(&server, 1), mode, &format!("{}a{query}", mode.path()), "");
        }
    }
}

/// PS-44 [F] A missing or invalid token is 401 and a token without right to one of the channels is 403, on websocket before the
/// upgrade.
#[test]
fn ps_44_no_token_is_401_and_no_right_is_403_before_the_upgrade() {
    let dev = Server::start();
    let own = Server::with_access("");
    for (server, public) in [(&dev, "dev-limited"), (&own, PUBLIC_TOKEN)] {
        for mode in Mode::ALL {
            let path = mode.path();
            for target in [
                format!("{path}a"),
                format!("{path}a?auth_token="),
                format!("{path}a?auth_token=unknown"),
                format!("{path}a?AUTH_TOKEN={}", server.token),
            ] {
                let refused = answer(server, mode, &target, "");
                assert_eq!((refused.status, refused.explain()), (401, Some(MISSING)), "{target}");
                assert_eq!(refused.field("Content-Length"), Some("0"));
            }
            // A right to every channel is needed.
            for channels in ["private", "public1/private", "private/public1", "publi"] {
                let refused = answer(server, mode, &format!("{path}{channels}?auth_token={public}"), "");
                assert_eq!((refused.status, refused.explain()), (403, Some(NO_RIGHT)), "{mode:?} {channels}");
            }
            Subscriber::request(Client::on(server, 1), mode, &format!("{path}public1/public?auth_token={public}"), "");
            // The token is looked at before the channels.
            let refused = answer(server, mode, &format!("{path}a*?auth_token=unknown"), "");
            assert_eq!(refused.status, 401, "{mode:?}");
        }
        assert_eq!(server.row("private"), None, "a refused request creates nothing");
    }

    // A reload that takes the token ends what it allowed within a second.
    let server = Server::with_access("");
    let mut subscribers: Vec<Subscriber> =
        Mode::HELD.into_iter().chain([Mode::LongPoll]).map(|mode| server.subscribe(1, mode, "a", "")).collect();
    server.reload(config(&format!("{LISTEN}{}", ACCESS.replace(TOKEN, "another-token-0123456789")))).unwrap();
    server.pass(1.0);
    for subscriber in &mut subscribers {
        match subscriber.mode {
            Mode::WebSocket => {
                subscriber.client.expect_close(1008, &format!("{{\"http_status\": 401, \"explain\":\"{MISSING}\"}}"))
            }
            Mode::LongPoll => assert_eq!(subscriber.response().status, 401),
            _ => assert_eq!(subscriber.client.chunk(), b"", "the last chunk"),
        }
    }
    assert_eq!(server.subscribers("a"), 0);

    // An expired one likewise.
    let text = format!(
        "{LISTEN}{}",
        ACCESS.replace(&format!("token = \"{TOKEN}\"\n"), &format!("token = \"{TOKEN}\"\nexpires = \"2026-11-20T16:18:00Z\"\n"))
    );
    let server = Server::with_config(&text);
    let mut client = server.subscribe(1, Mode::WebSocket, "a", "").client;
    let mut poll = server.subscribe(2, Mode::LongPoll, "a", "");
    let mut stream = server.subscribe(3, Mode::Stream, "a", "").client;
    server.pass(12.5);
    server.expect_silence(&mut client);
    server.expect_silence(&mut stream);
    server.pass(1.5);
    client.expect_close(1008, &format!("{{\"http_status\": 401, \"explain\":\"{MISSING}\"}}"));
    let ended = poll.response();
    assert_eq!((ended.status, ended.explain()), (401, Some(MISSING)));
    assert_eq!(stream.chunk(), b"", "the last chunk");
    assert_eq!(answer(&server, Mode::ShortPoll, &format!("/shortpoll/a?auth_token={TOKEN}"), "").status, 401);
}

/// PS-45 [F] With `auth_errors = "close"` the websocket answers 101 and closes 3401 or 3403.
#[test]
fn ps_45_auth_errors_may_be_told_by_a_close() {
    let server = Server::with("auth_errors = \"close\"\n");
    for (target, code, explain) in [
        ("/websocket/a", 3401, MISSING),
        ("/websocket/a?auth_token=unknown", 3401, MISSING),
        ("/websocket/public1/private?auth_token=dev-limited", 3403, NO_RIGHT),
    ] {
        let mut client = Client::on(&server, 2);
        client.upgrade(target);
        client.expect_close(code, explain);
    }
    // Only websocket.
    assert_eq!(answer(&server, Mode::LongPoll, "/longpoll/a", "").status, 401);
    assert_eq!(answer(&server, Mode::ShortPoll, "/shortpoll/b?auth_token=dev-limited", "").status, 403);
    // Revoked later: 3401 as well.
    let server = Server::with_access("auth_errors = \"close\"\n");
    let mut client = server.subscribe(1, Mode::WebSocket, "a", "").client;
    let without = ACCESS.replace(TOKEN, "another-token-0123456789");
    server.reload(config(&format!("{LISTEN}auth_errors = \"close\"\n{without}"))).unwrap();
    server.pass(1.0);
    client.expect_close(3401, MISSING);
    // Narrowed later: 3403.
    let server = Server::with_access("auth_errors = \"close\"\n");
    let mut client = server.subscribe(1, Mode::WebSocket, "public1/private", "").client;
    let narrowed = ACCESS
        .replace(&format!("token = \"{TOKEN}\"\ntopics = [\"*\"]"), &format!("token = \"{TOKEN}\"\ntopics = [\"public*\"]"));
    assert_ne!(narrowed, ACCESS);
    server.reload(config(&format!("{LISTEN}auth_errors = \"close\"\n{narrowed}"))).unwrap();
    server.pass(1.0);
    client.expect_close(3403, NO_RIGHT);
}

/// PS-46 [F] A token or key never appears in logs, metrics or statistics.
#[test]
fn ps_46_secrets_appear_nowhere() {
    let server = Server::with_access("");
    let wrong = "a-misspelt-secret-98765";
    let mut answers = Vec::new();
    for secret in [TOKEN, PUBLIC_TOKEN, KEY, wrong] {
        for mode in Mode::ALL {
            let target = format!("{}secrets?auth_token={secret}", mode.path());
            let mut client = Client::connect(server.address);
            match mode {
                Mode::WebSocket => answers.push(client.ask_upgrade(&target, &format!("Sec-WebSocket-Protocol: {secret}\r\n"))),
                Mode::LongPoll => client.send_get(&format!("{target}&callback=-"), ""),
                Mode::ShortPoll => answers.push(client.get_with(&target, &format!("Cookie: session={secret}\r\n"))),
                Mode::Stream | Mode::EventSource => {
                    client.send_get(&target, &format!("Authorization: Bearer {secret}\r\n"));
                    answers.push(client.head());
                }
            }
        }
        for target in ["/pub?id=secrets", "/channels-stats", "/publish", "/nowhere", "/metrics"] {
            for address in [server.address, server.admin] {
                let mut client = Client::connect(address);
                client.send(format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {secret}\r\nContent-Length: 3\r\n\r\n\"x\""));
                answers.push(client.response());
                let mut client = Client::connect(address);
                client.send_get(target, &format!("Authorization: Bearer {secret}\r\n"));
                answers.push(client.response());
                // A head that is refused before any dialect sees it.
                let mut client = Client::connect(address);
                client.send(format!("GET {target}?auth_token={secret} HTTP/1.1\r\nAuthorization: Bearer {secret}\r\n\r\n"));
                answers.push(client.response());
            }
        }
    }
    for target in ["/metrics", "/channels-stats", "/channels-stats?id=ALL", "/health", "/ready", "/"] {
        answers.push(Client::connect(server.admin).get(target));
    }
    assert!(answers.iter().any(|answer| answer.status == 200 && String::from_utf8_lossy(&answer.body).contains("subscribers")));
    server.reload(config(&format!("{LISTEN}{ACCESS}"))).unwrap();
    drop(server);
    tracing::info!("a canary");
    let logged = log::text();
    assert!(logged.contains("a canary"), "what is logged is captured");
    for secret in [TOKEN, PUBLIC_TOKEN, KEY, wrong] {
        // Digests give nothing away, the text would.
        for answer in &answers {
            let body = String::from_utf8_lossy(&answer.body);
            assert!(!answer.raw.contains(secret) && !body.contains(secret), "{}{body}", answer.raw);
        }
        assert!(!logged.contains(secret), "{secret} was logged: {:?}", logged.lines().find(|line| line.contains(secret)));
    }
}
