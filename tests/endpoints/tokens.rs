//! EP-14 to EP-21 and EP-29: access tokens, where they may stand, and which of them count.

use crate::support::endpoints::{
    COOKIE, JSON, Listener, NO_TOKEN, NOTES, OPEN, OTHER_KEY, PATH, PATIENT, TOO_MANY_REQUESTS, UNKNOWN_TOKEN, USERS, Writer,
    YAWE, bearer, credentials, expect_refusal, expect_rejected, expect_served, target,
};
use crate::support::{Client, Server};

/// A token of a user who has just registered.
fn token(server: &Server) -> String {
    new_token(Writer::on(server, 3))
}

/// The same in the service `yawe`.
fn token_of_yawe(server: &Server) -> String {
    new_token(Writer::at(server, 3, YAWE))
}

fn new_token(mut writer: Writer) -> String {
    writer.register(USERS, "anna");
    writer.login(USERS, "anna")
}

#[track_caller]
fn opens(server: &Server, query: &str, fields: &str) {
    expect_served(server, "localhost", &target(NOTES, query), fields);
}

#[track_caller]
fn refuses(server: &Server, query: &str, fields: &str) {
    expect_rejected(server, "localhost", &target(NOTES, query), fields, NO_TOKEN);
}

#[track_caller]
fn yawe_opens(server: &Server, query: &str, fields: &str) {
    expect_served(server, YAWE, &target(NOTES, query), fields);
}

#[track_caller]
fn yawe_refuses(server: &Server, query: &str, fields: &str) {
    expect_rejected(server, YAWE, &target(NOTES, query), fields, NO_TOKEN);
}

#[test]
fn ep_14_without_a_token_a_secure_endpoint_is_closed_and_with_one_it_opens() {
    let server = Server::with_endpoints(PATIENT);
    refuses(&server, "", "");
    let token = token(&server);
    for endpoint in [NOTES, USERS] {
        let mut listener = Listener::with(&server, 1, &target(endpoint, ""), &bearer(&token));
        server.expect_silence(&mut listener);
    }
}

#[test]
fn ep_15_a_token_that_does_not_count_is_none() {
    let server = Server::with_endpoints(PATIENT);
    let mut writer = Writer::on(&server, 3);
    for garbage in ["x", "", "Bearer", UNKNOWN_TOKEN, &UNKNOWN_TOKEN[1..], &"é".repeat(20).escape_unicode().to_string()] {
        refuses(&server, "", &bearer(garbage));
    }
    let anna = token(&server);
    opens(&server, "", &bearer(&anna));
    writer.logout(USERS, &anna);
    refuses(&server, "", &bearer(&anna));
    // Of another project, and of another service.
    let target_of_other = |query: &str| format!("{PATH}/other/users?key={OTHER_KEY}&{query}");
    for (query, status) in [("", 201), ("login=true&noATCookie=true", 200)] {
        let answer = writer.call("POST", &target_of_other(query), JSON, credentials("anna").as_bytes());
        assert_eq!(answer.status, status, "{answer:?}");
        if status == 200 {
            let field = format!("Authorization: {}\r\n", answer.field("Authorization").expect("a token"));
            refuses(&server, "", &field);
            let mut listener = Listener::with(&server, 1, &target_of_other(""), &field);
            server.expect_silence(&mut listener);
        }
    }
    refuses(&server, "", &bearer(&token_of_yawe(&server)));
    // Of a user who is no more.
    let carl = writer.register(USERS, "carl");
    let token = writer.login(USERS, "carl");
    opens(&server, "", &bearer(&token));
    Writer::of_user(&server, 3, &token).delete(USERS, &carl.id);
    refuses(&server, "", &bearer(&token));
    // An hour later.
    let anna = writer.login(USERS, "anna");
    server.advance(3_599.0);
    opens(&server, "", &bearer(&anna));
    server.advance(1.0);
    refuses(&server, "", &bearer(&anna));
}

#[test]
fn ep_16_rested_accepts_the_token_in_the_query() {
    let server = Server::with_endpoints(PATIENT);
    let token = token(&server);
    opens(&server, &format!("accessToken={token}"), "");
    refuses(&server, &format!("accessToken=Bearer%20{token}"), "");
    refuses(&server, &format!("accessToken={token}&accessToken={token}"), "");
    refuses(&server, &format!("AccessToken={token}"), "");
}

#[test]
fn ep_17_each_preset_accepts_the_token_from_its_cookie() {
    let server = Server::with_endpoints(PATIENT);
    let token = token(&server);
    opens(&server, "", &format!("Cookie: {COOKIE}={token}\r\n"));
    refuses(&server, "", &format!("Cookie: yawe_access_token={token}\r\n"));
    let token = token_of_yawe(&server);
    yawe_opens(&server, "", &format!("Cookie: yawe_access_token={token}\r\n"));
    yawe_refuses(&server, "", &format!("Cookie: {COOKIE}={token}\r\n"));
}

#[test]
fn ep_18_and_from_its_other_cookie_and_from_authorization() {
    let server = Server::with_endpoints(PATIENT);
    let rested = token(&server);
    let yawe = token_of_yawe(&server);
    for scheme in ["Bearer ", "bearer ", "BEARER ", ""] {
        opens(&server, "", &format!("Authorization: {scheme}{rested}\r\n"));
        yawe_opens(&server, "", &format!("Authorization: {scheme}{yawe}\r\n"));
    }
    refuses(&server, "", &format!("Authorization: Basic {rested}\r\n"));
    yawe_opens(&server, "", &format!("Cookie: __Secure-yawe-access-token={yawe}\r\n"));
    // Its cookies are looked for in their order, wherever they stand.
    yawe_opens(&server, "", &format!("Cookie: __Secure-yawe-access-token=x; yawe_access_token={yawe}\r\n"));
    yawe_opens(&server, "", &format!("Cookie: yawe_access_token=; __Secure-yawe-access-token={yawe}\r\n"));
    yawe_refuses(&server, "", &format!("Cookie: __Secure-yawe-access-token={yawe}; yawe_access_token=x\r\n"));
    refuses(&server, "", &format!("Cookie: __Secure-yawe-access-token={rested}\r\n"));
}

#[test]
fn ep_19_yawe_ignores_the_token_in_the_query() {
    let server = Server::with_endpoints(PATIENT);
    let token = token_of_yawe(&server);
    yawe_refuses(&server, &format!("accessToken={token}"), "");
    // One that does not count does no harm there.
    yawe_opens(&server, "accessToken=x", &bearer(&token));
}

#[test]
fn ep_20_the_first_source_decides() {
    let server = Server::with_endpoints(PATIENT);
    let token = token(&server);
    let cookie = format!("Cookie: {COOKIE}={token}\r\n");
    for bad in ["x", UNKNOWN_TOKEN] {
        refuses(&server, &format!("accessToken={bad}"), &cookie);
        refuses(&server, &format!("accessToken={bad}"), &bearer(&token));
        refuses(&server, "", &format!("{}{cookie}", bearer(bad)));
    }
    opens(&server, "accessToken=", &cookie);
    opens(&server, "accessToken", &bearer(&token));
    opens(&server, &format!("accessToken={token}"), &format!("{}Cookie: {COOKIE}=x\r\n", bearer("x")));
}

#[test]
fn ep_21_a_cookie_is_found_wherever_it_stands() {
    let server = Server::with_endpoints(PATIENT);
    let token = token(&server);
    for cookies in [
        format!("Cookie: a=b; {COOKIE}={token}; c=d\r\n"),
        format!("Cookie: a=b;{COOKIE}={token};c\r\n"),
        format!("Cookie: a=b ;\t {COOKIE}={token} \t;c=d\r\n"),
        format!("Cookie: a=b; {COOKIE}=\"{token}\"\r\n"),
        format!("Cookie: {COOKIE}=; {COOKIE}={token}; {COOKIE}=x\r\n"),
        format!("Cookie: a=b\r\nCookie: {COOKIE}={token}\r\n"),
        format!("Cookie: x{COOKIE}=x; {COOKIE}={token}\r\n"),
    ] {
        opens(&server, "", &cookies);
    }
    for cookies in [
        format!("Cookie: x{COOKIE}={token}\r\n"),
        format!("Cookie: {COOKIE}2={token}\r\n"),
        format!("Cookie: {}={token}\r\n", COOKIE.to_lowercase()),
        format!("Cookie: a={COOKIE}={token}\r\n"),
        format!("Cookie: {COOKIE}\r\n"),
    ] {
        refuses(&server, "", &cookies);
    }
}

#[test]
fn ep_29_where_no_token_is_asked_for_a_bad_one_does_no_harm() {
    let server = Server::with_endpoints("limits.failures_per_minute_per_address = 1");
    let cookie = format!("Cookie: {COOKIE}=x\r\n");
    let mut writer = Writer::on(&server, 3);
    for (query, fields) in [
        ("accessToken=x", String::new()),
        ("accessToken=x&accessToken=y", String::new()),
        ("", cookie),
        ("", bearer("x")),
        ("", bearer(UNKNOWN_TOKEN)),
    ] {
        let target = target(OPEN, query);
        expect_served(&server, "localhost", &target, &fields);
        assert_eq!(writer.call("POST", &target, &(fields + JSON), b"1").status, 201, "{target}");
    }
    // None of these counts as a failure.
    expect_refusal(Client::on(&server, 1), &target(NOTES, ""), "", 4000, NO_TOKEN);
    expect_refusal(Client::on(&server, 1), &target(NOTES, ""), "", 1013, TOO_MANY_REQUESTS);
}
