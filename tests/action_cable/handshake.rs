//! AC-1 to AC-11: who is let in, and what the first bytes are.

use crate::support::cable::{ECHO, ECHO_CHANNEL, KEY, WELCOME, api, confirm};
use crate::support::client::UPGRADE;
use crate::support::{Cable, Client, Response, Server, masked};

const HEAD: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

/// The answer to this request.
fn answer(server: &Server, request: impl AsRef<[u8]>) -> Response {
    let mut client = Client::on(server, 1);
    client.send(request);
    client.response()
}

/// An upgrade of `/cable` with these lines behind the usual ones.
fn upgrade(server: &Server, fields: &str) -> (Client, Response) {
    let mut client = Client::on(server, 1);
    let answer = client.ask_upgrade("/cable", fields);
    (client, answer)
}

#[track_caller]
fn expect_page_not_found(answer: &Response, case: &str) {
    let told = (answer.status, answer.field("Content-Type"), answer.text());
    assert_eq!(told, (404, Some("text/plain"), "Page not found"), "{case}");
    assert_eq!(answer.field("Content-Length"), Some("14"), "{case}");
}

/// AC-1 [R] `GET /cable` with upgrade and `actioncable-v1-json, actioncable-unsupported` gives 101 with
/// `Sec-WebSocket-Protocol: actioncable-v1-json` and, as first frame, `{"type":"welcome"}` exactly (T-01).
#[test]
fn ac_01_the_101_names_the_subprotocol_and_the_first_frame_is_the_welcome() {
    let server = Server::with_cable("", "");
    let offer = "Sec-WebSocket-Protocol: actioncable-v1-json, actioncable-unsupported\r\n";
    let expected = format!("{HEAD}Sec-WebSocket-Protocol: actioncable-v1-json\r\n\r\n");
    let expected = [expected.as_bytes(), b"\x81\x12", WELCOME.as_bytes()].concat();
    // With or without one slash behind it; the query is no part of the path.
    for target in ["/cable", "/cable/", "/cable?a=b", "/cable/?a=b"] {
        let mut client = Client::on(&server, 1);
        client.send(format!("GET {target} HTTP/1.1\r\n{UPGRADE}{offer}\r\n"));
        let came = client.take(expected.len());
        assert_eq!(String::from_utf8_lossy(&came), String::from_utf8_lossy(&expected), "{target}");
        assert_eq!(came, expected);
        server.expect_silence(&mut client);
    }
    let elsewhere = Server::with_cable("path = \"/ws/live\"\n", "");
    for (target, status) in [("/ws/live", 101), ("/ws/live/?a", 101), ("/cable", 404), ("/ws", 404), ("/ws/livery", 404)] {
        let request = format!("GET {target} HTTP/1.1\r\n{UPGRADE}{offer}\r\n");
        assert_eq!(answer(&elsewhere, request).status, status, "{target}");
    }
    assert_eq!(answer(&server, format!("GET /cable// HTTP/1.1\r\n{UPGRADE}{offer}\r\n")).status, 404);
}

/// The 101 and the welcome leave in one write.
#[test]
fn the_101_and_the_welcome_leave_in_one_write() {
    let server = Server::with_cable("", "");
    let client = Client::on(&server, 2);
    let before = server.writes(2);
    let mut cable = Cable::asking(client, "/cable", "");
    assert_eq!(cable.text(), WELCOME);
    assert_eq!(server.writes(2) - before, 1);
}

/// AC-2 [R] `actioncable-unsupported, actioncable-v1-json` selects `actioncable-unsupported`, and the welcome is still sent
/// (T-05). The client's order decides, over all its lines.
#[test]
fn ac_02_the_clients_order_decides_and_unsupported_is_welcomed_too() {
    let server = Server::with_cable("", "");
    for (offer, chosen) in [
        ("Sec-WebSocket-Protocol: actioncable-unsupported, actioncable-v1-json\r\n", "actioncable-unsupported"),
        ("Sec-WebSocket-Protocol: actioncable-unsupported\r\n", "actioncable-unsupported"),
        ("Sec-WebSocket-Protocol: chat,actioncable-v1-json ,actioncable-unsupported\r\n", "actioncable-v1-json"),
        (
            "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: actioncable-unsupported\r\n\
             Sec-WebSocket-Protocol: actioncable-v1-json\r\n",
            "actioncable-unsupported",
        ),
    ] {
        let (mut client, answer) = upgrade(&server, offer);
        assert_eq!(answer.raw, format!("{HEAD}Sec-WebSocket-Protocol: {chosen}\r\n\r\n"), "{offer}");
        assert_eq!(client.text(), WELCOME, "{offer}");
    }
}

/// AC-3 [R] Without an offered subprotocol the 101 has no subprotocol header and subscribe works (T-02).
#[test]
fn ac_03_without_an_offer_there_is_no_subprotocol_and_subscribe_works() {
    let server = Server::with_cable("", ECHO_CHANNEL);
    let mut cable = Cable::asking(Client::on(&server, 1), "/cable", "");
    assert_eq!(cable.upgrade.raw, format!("{HEAD}\r\n"));
    assert_eq!(cable.text(), WELCOME);
    cable.subscribe(ECHO);
    server.broadcast(3, "echo", "1");
    cable.expect_data(ECHO, "1");
}

/// AC-4 [R] With only unknown subprotocols the 101 has no subprotocol header (T-02). Names are compared byte for byte.
#[test]
fn ac_04_with_only_unknown_offers_there_is_no_subprotocol() {
    let server = Server::with_cable("", "");
    for offer in ["chat", "chat, superchat", "ActionCable-v1-json", "actioncable-v1-json2", "actioncable-v1", ""] {
        let (mut client, answer) = upgrade(&server, &format!("Sec-WebSocket-Protocol: {offer}\r\n"));
        assert_eq!(answer.raw, format!("{HEAD}\r\n"), "{offer}");
        assert_eq!(client.text(), WELCOME, "{offer}");
    }
}

/// AC-5 [R] A plain GET and a POST with upgrade headers both get 404, `text/plain`, body `Page not found` (T-03, T-04).
#[test]
fn ac_05_what_is_no_upgrade_finds_no_page() {
    let server = Server::with_cable("", "");
    for request in [
        "GET /cable HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
        "GET /cable HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        format!("POST /cable HTTP/1.1\r\n{UPGRADE}Content-Length: 0\r\n\r\n"),
        // The rest of row 2 of the specification's section 2.1.
        format!("GET /cable HTTP/1.0\r\n{UPGRADE}\r\n"),
        format!("GET /cable HTTP/1.1\r\n{}\r\n", UPGRADE.replace("Connection: Upgrade", "Connection: keep-alive")),
        format!("GET /cable HTTP/1.1\r\n{}\r\n", UPGRADE.replace("Upgrade: websocket", "Upgrade: h2c")),
        // It comes before the rows behind it.
        "GET /cable HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\n\r\n".to_owned(),
    ] {
        expect_page_not_found(&answer(&server, &request), &request);
    }
    let request = "GET /cable HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(answer(&server, request).field("Connection"), Some("close"));
}

/// AC-6 [F] A missing or malformed `Sec-WebSocket-Key` gets 400, and a version other than 13 gets 426 with
/// `Sec-WebSocket-Version: 13`. The version is looked at first.
#[test]
fn ac_06_a_bad_key_gets_400_and_another_version_426() {
    let server = Server::with_cable("", "");
    let head = "GET /cable HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, uPGRADE\r\nUpgrade: h2c, WebSocket\r\n";
    let good = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    assert_eq!(answer(&server, format!("{head}{good}{version}\r\n")).status, 101);
    for key in ["", "Sec-WebSocket-Key: \r\n", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j\r\n", "Sec-WebSocket-Key: !\r\n"] {
        let answer = answer(&server, format!("{head}{key}{version}\r\n"));
        assert_eq!(answer.status, 400, "{key}");
    }
    let long = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==dGhlIHNhbXBsZSBub25jZQ==\r\n";
    assert_eq!(answer(&server, format!("{head}{long}{version}\r\n")).status, 400);
    for version in ["Sec-WebSocket-Version: 8\r\n", "Sec-WebSocket-Version: 14\r\n", "Sec-WebSocket-Version: 013\r\n", ""] {
        for key in [good, ""] {
            let answer = answer(&server, format!("{head}{key}{version}\r\n"));
            assert_eq!((answer.status, answer.field("Sec-WebSocket-Version")), (426, Some("13")), "{version}{key}");
        }
    }
}

/// AC-7 [R] With `check_origin` on, same origin and listed origins pass while a missing, `null`, other-port or other-scheme
/// Origin gets 404 (T-08).
#[test]
fn ac_07_same_and_listed_origins_pass_and_others_find_no_page() {
    let keys =
        "check_origin = true\nallowed_origins = [\"http://good.example\", \"https://good.example\", \"https://*.a.example\"]\n";
    let server = Server::with_cable(keys, "");
    let host = server.address.to_string();
    let port = server.address.port();
    let ask = |origin: Option<&str>, more: &str| {
        let origin = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
        let fields = UPGRADE.replace("Host: localhost", &format!("Host: {host}"));
        answer(&server, format!("GET /cable HTTP/1.1\r\n{fields}{origin}{more}\r\n"))
    };
    let same = format!("http://{host}");
    for origin in [same.as_str(), "http://good.example", "https://good.example", "https://x.a.example"] {
        assert_eq!(ask(Some(origin), "").status, 101, "{origin}");
    }
    let refused = [
        None,
        Some("null".to_owned()),
        Some(format!("http://127.0.0.1:{}", port ^ 1)),
        Some("http://127.0.0.1".to_owned()),
        Some(format!("https://{host}")),
        Some("https://good.example:8443".to_owned()),
        Some("http://evil.example".to_owned()),
        Some("http://x.a.example".to_owned()),
        Some("https://x.y.a.example".to_owned()),
        Some("https://a.example".to_owned()),
    ];
    for origin in refused {
        expect_page_not_found(&ask(origin.as_deref(), ""), &format!("{origin:?}"));
    }
    // Only a trusted proxy may say that the client came by https, and there is none.
    let https = format!("https://{host}");
    expect_page_not_found(&ask(Some(&https), "X-Forwarded-Proto: https\r\n"), "forwarded");
    assert_eq!(ask(Some(&same), "X-Forwarded-Proto: https\r\n").status, 101);

    // Version and key are asked for before it.
    let evil = "Origin: http://evil.example\r\n";
    let ask = |fields: String| answer(&server, format!("GET /cable HTTP/1.1\r\n{fields}{evil}\r\n")).status;
    assert_eq!(ask(UPGRADE.replace("Version: 13", "Version: 8")), 426);
    assert_eq!(ask(UPGRADE.replace("==", "")), 400);

    let server = Server::with_cable("check_origin = true\nallow_same_origin = false\n", "");
    let (_, answer) = upgrade(&server, "Origin: http://localhost\r\n");
    expect_page_not_found(&answer, "the same origin, not allowed");
}

/// AC-8 [M] With `check_origin = false` any Origin, or none, is accepted.
#[test]
fn ac_08_without_the_check_any_origin_or_none_is_accepted() {
    let server = Server::with_cable("check_origin = false\nallowed_origins = [\"http://good.example\"]\n", "");
    for origin in ["", "Origin: null\r\n", "Origin: https://evil.example:1\r\n", "Origin: what?\r\n", "Origin: \r\n"] {
        let (mut client, answer) = upgrade(&server, origin);
        assert_eq!(answer.status, 101, "{origin}");
        assert_eq!(client.text(), WELCOME);
    }
}

/// AC-9 [R] An offer of permessage-deflate is declined (T-05): no extension in the 101, and no frame is compressed.
#[test]
fn ac_09_an_offer_of_compression_is_declined() {
    let server = Server::with_cable("", ECHO_CHANNEL);
    let fields = "Sec-WebSocket-Protocol: actioncable-v1-json\r\n\
                  Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    let mut cable = Cable::asking(Client::on(&server, 1), "/cable", fields);
    assert_eq!(cable.upgrade.raw, format!("{HEAD}Sec-WebSocket-Protocol: actioncable-v1-json\r\n\r\n"));
    assert_eq!(cable.text(), WELCOME);
    cable.subscribe(ECHO);
    let large = format!("\"{}\"", "x".repeat(5_000));
    server.broadcast(2, "echo", &large);
    cable.expect_data(ECHO, &large);
}

/// AC-10 [F] A subscribe sent in the same packet as the handshake request is answered after the welcome.
#[test]
fn ac_10_what_comes_with_the_request_is_answered_after_the_welcome() {
    let server = Server::with_cable("", ECHO_CHANNEL);
    let request = format!("GET /cable HTTP/1.1\r\n{UPGRADE}\r\n").into_bytes();
    let command = |identifier: &str| {
        let text = format!("{{\"command\":\"subscribe\",\"identifier\":{}}}", crate::support::cable::string(identifier));
        masked(0x81, text.as_bytes())
    };
    let first = api("posts");
    let all = [request.clone(), command(ECHO), command(&first)].concat();
    // In one packet, and cut inside the second frame.
    for cut in [all.len(), all.len() - 20] {
        let mut client = Client::on(&server, 1);
        client.send(&all[..cut]);
        assert_eq!(client.response().status, 101);
        assert_eq!(client.text(), WELCOME);
        assert_eq!(client.text(), confirm(ECHO));
        client.send(&all[cut..]);
        assert_eq!(client.text(), confirm(&first));
        server.broadcast(3, "echo", "1");
        assert_eq!(client.text(), crate::support::cable::data(ECHO, "1"));
    }
}

/// AC-11 [R] With `connect_auth` a wrong key gets 101, `{"type":"disconnect","reason":"unauthorized","reconnect":false}`, close
/// 1000 and no welcome (T-07).
#[test]
fn ac_11_a_wrong_key_of_the_connection_is_told_so_and_never_welcomed() {
    let refused = |server: &Server, target: &str, fields: &str| {
        let fields = format!("Sec-WebSocket-Protocol: actioncable-v1-json\r\n{fields}");
        let mut cable = Cable::asking(Client::on(server, 1), target, &fields);
        assert_eq!(cable.upgrade.raw, format!("{HEAD}Sec-WebSocket-Protocol: actioncable-v1-json\r\n\r\n"));
        cable.expect_disconnect("unauthorized", false);
    };
    let welcomed = |server: &Server, target: &str, fields: &str| {
        let mut cable = Cable::asking(Client::on(server, 1), target, fields);
        assert_eq!(cable.text(), WELCOME);
        // The connection's key opens the connection, not the channels.
        cable.expect_reject("{\"channel\":\"ApiChannel\",\"events\":\"posts\"}");
        cable.subscribe(&api("posts"));
    };
    let server = Server::with_cable("connect_auth = \"query:api_key\"\n", "");
    let (right, header) = (format!("/cable?x=1&api_key={KEY}"), format!("api_key: {KEY}\r\n"));
    welcomed(&server, &right, "");
    for target in ["/cable", "/cable?api_key=", "/cable?api_key=nope", "/cable?api_key=ABCDEF012345", "/cable?key=abcdef012345"] {
        refused(&server, target, &header);
    }
    // Extended connections likewise.
    let fields = "Sec-WebSocket-Protocol: actioncable-v1-ext-json\r\n";
    Cable::asking(Client::on(&server, 2), "/cable", fields).expect_disconnect("unauthorized", false);

    let server = Server::with_cable("connect_auth = \"header:X-Api-Key\"\n", "");
    welcomed(&server, "/cable", &format!("x-api-key: {KEY}\r\n"));
    refused(&server, "/cable", "");
    refused(&server, &format!("/cable?X-Api-Key={KEY}"), "X-Api-Key: nope\r\n");

    // For clients that throw on the frame there is only the close.
    let server = Server::with_cable("connect_auth = \"query:api_key\"\ndisconnect_frame = false\n", "");
    Cable::asking(Client::on(&server, 1), "/cable", "").expect_close(1000, "");
}
