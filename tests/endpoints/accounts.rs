//! EP-42, EP-47, EP-71 to EP-73, EP-75 and EP-76: users, their sessions and their records.

use crate::support::endpoints::{
    BOARD, COOKIE, EXPIRED, JSON, Listener, MASTER, NO_TOKEN, NOTES, OPEN, PASSWORD, PATIENT, Record, USERS, Writer, YAWE,
    bearer, credentials, expect_refusal, target, upgrade_at,
};
use crate::support::{Client, REACTORS, Response, Server};

pub const INVALID: &str = "Invalid credentials.";
const NAMES: &str = "Username or email and password are required.";

#[track_caller]
pub fn expect(answer: &Response, status: u16, text: &str) {
    assert_eq!((answer.status, answer.text()), (status, format!("{{\"error\":\"{text}\"}}").as_str()), "{answer:?}");
    assert_eq!((answer.field("Content-Type"), answer.field("Cache-Control")), (Some("application/json"), Some("no-store")));
    let gives_token = answer.fields.iter().any(|(name, _)| name == "Set-Cookie" || name == "Authorization");
    assert!(!gives_token, "{answer:?}");
}

/// What a user sends.
pub fn user(name: &str, password: &str) -> String {
    format!("{{\"username\":\"{name}\",\"password\":\"{password}\"}}")
}

pub fn id(record: &Record) -> String {
    format!("uniqueId={}", record.id)
}

fn cookies(answer: &Response) -> Vec<&str> {
    answer.fields.iter().filter(|(name, _)| name == "Set-Cookie").map(|(_, value)| value.as_str()).collect()
}

#[track_caller]
fn is_refused(server: &Server, token: &str) {
    expect_refusal(Client::on(server, 2), &target(NOTES, ""), &bearer(token), 4000, NO_TOKEN);
}

#[test]
fn ep_42_messages_of_users_carry_no_password_and_go_to_themselves_and_the_master_key() {
    let server = Server::with_endpoints("");
    let mut nobody = Writer::on(&server, 0);
    let (anna, _) = (nobody.register(USERS, "anna"), nobody.register(USERS, "bert"));
    let (token, bert) = (nobody.login(USERS, "anna"), nobody.login(USERS, "bert"));
    let mut own = Listener::of_user(&server, 1, USERS, &token);
    let mut other = Listener::of_user(&server, 2, USERS, &bert);
    let mut master = Listener::open(&server, 3, USERS, MASTER);
    let mut hears = |listeners: &mut [&mut Listener], event: String| {
        assert!(!event.contains("password") && !event.contains("argon2") && !event.contains(PASSWORD), "{event}");
        listeners.iter_mut().for_each(|listener| listener.expect(&event));
        server.expect_silence(&mut other);
    };
    let carl = nobody.register(USERS, "carl");
    hears(&mut [&mut master], carl.event("POST"));
    server.expect_silence(&mut own);
    let mut writer = Writer::of_user(&server, 0, &token);
    let put = writer.put(USERS, &anna.id, &user("anna", "another password"));
    assert_eq!(put.data, r#"{"username":"anna"}"#);
    hears(&mut [&mut own, &mut master], put.event("PUT"));
    let patched = writer.patch(USERS, &anna.id, r#"{"password":"a third password","age":7}"#);
    assert_eq!(patched.data, r#"{"username":"anna","age":7}"#);
    hears(&mut [&mut own, &mut master], patched.event("PATCH"));
    // Who fails, reads, logs in or out tells nobody.
    expect(&nobody.ask("POST", USERS, "", &credentials("carl")), 400, "Username already exists.");
    expect(&nobody.ask("POST", USERS, "login=true", &credentials("anna")), 401, INVALID);
    let second = nobody.login(USERS, "carl");
    nobody.logout(USERS, &second);
    writer.list(USERS);
    server.expect_silence(&mut own);
    server.expect_silence(&mut master);
    let deleted = writer.delete(USERS, &anna.id);
    hears(&mut [&mut own, &mut master], deleted.event("DELETE"));
    own.expect_close(1000, EXPIRED);
}

/// Sockets of one session at each kind of endpoint on each reactor; those at the users come first.
#[track_caller]
fn everywhere(server: &Server, token: &str) -> Vec<Listener> {
    let at = |endpoint| (0..REACTORS).map(move |reactor| Listener::of_user(server, reactor, endpoint, token));
    [USERS, NOTES, BOARD].into_iter().flat_map(at).collect()
}

/// Those of a session that are at the users are told this.
#[track_caller]
fn users_hear(sockets: &mut [Listener], text: &str) {
    sockets[..REACTORS].iter_mut().for_each(|listener| listener.expect(text));
}

#[test]
fn ep_47_logout_another_password_and_deletion_close_the_sockets_of_a_session_and_no_others() {
    let server = Server::with_endpoints("");
    let mut nobody = Writer::on(&server, 3);
    let anna = nobody.register(USERS, "anna");
    nobody.register(USERS, "bert");
    let tokens: Vec<String> = ["anna", "anna", "anna", "bert"].iter().map(|name| nobody.login(USERS, name)).collect();
    let [mut first, mut second, mut third, mut bert] = [0, 1, 2, 3].map(|at| everywhere(&server, &tokens[at]));
    bert.extend([NOTES, BOARD, OPEN].map(|endpoint| Listener::open(&server, 1, endpoint, MASTER)));
    let closed = |listeners: Vec<Listener>| {
        listeners.into_iter().for_each(|mut listener| listener.expect_close(1000, EXPIRED));
    };
    let silent = |listeners: &mut Vec<Listener>| {
        listeners.iter_mut().for_each(|listener| server.expect_silence(listener));
    };
    // Logout ends one session.
    nobody.logout(USERS, &tokens[0]);
    closed(std::mem::take(&mut first));
    [&mut second, &mut third, &mut bert].into_iter().for_each(silent);
    // Another password ends all but the one that it is changed with; the same once more is another, too.
    let put = Writer::of_user(&server, 3, &tokens[1]).put(USERS, &anna.id, &credentials("anna"));
    users_hear(&mut second, &put.event("PUT"));
    users_hear(&mut third, &put.event("PUT"));
    closed(third);
    [&mut second, &mut bert].into_iter().for_each(silent);
    // One without a password ends none.
    let put = Writer::of_user(&server, 3, &tokens[1]).put(USERS, &anna.id, r#"{"username":"anna","password":null}"#);
    users_hear(&mut second, &put.event("PUT"));
    [&mut second, &mut bert].into_iter().for_each(silent);
    // With the master key all of them; the socket at the users is told of the change before.
    let put = Writer::master(&server, 3).put(USERS, &anna.id, &credentials("anna"));
    users_hear(&mut second, &put.event("PUT"));
    closed(second);
    silent(&mut bert);
    // Deletion: by oneself, and with the master key. The user hears of it first.
    let mut name = anna;
    for by_master in [false, true] {
        let token = nobody.login(USERS, "anna");
        let mut sockets = everywhere(&server, &token);
        let mut writer = if by_master { Writer::master(&server, 3) } else { Writer::of_user(&server, 3, &token) };
        let deleted = writer.delete(USERS, &name.id);
        users_hear(&mut sockets, &deleted.event("DELETE"));
        closed(sockets);
        is_refused(&server, &token);
        silent(&mut bert);
        name = nobody.register(USERS, "anna");
    }
}

#[test]
fn ep_71_who_registers_gets_its_record_without_the_password_and_no_session() {
    let closed = "[[endpoints.rested.projects.endpoints]]\nname = \"examples/closed\"\nauth = true\nregistration = false\n";
    let server = Server::with_examples(PATIENT, "", closed);
    let mut nobody = Writer::on(&server, 1);
    let body = r#"{"age": 1.0, "username":"anna", "password":"correct horse battery", "email":"Anna@Example.org", "z":null}"#;
    let answer = nobody.ask("POST", USERS, "", body);
    assert_eq!(answer.status, 201, "{answer:?}");
    assert!(cookies(&answer).is_empty() && answer.field("Authorization").is_none(), "no session: {answer:?}");
    assert!(!answer.raw.contains("password") && !answer.text().contains("password"), "{answer:?}");
    let anna = Record::parse(answer.text());
    assert_eq!(anna.data, r#"{"age":1.0,"username":"anna","email":"Anna@Example.org","z":null}"#);
    let mut fails = |fields: &str, body: &str, status, text: &str| {
        expect(&nobody.call("POST", &target(USERS, ""), fields, body.as_bytes()), status, text);
    };
    for body in [credentials("anna"), body.to_owned(), body.replace("Anna@", "other@")] {
        fails(JSON, &body, 400, "Username already exists.");
    }
    for email in ["Anna@Example.org", "aNNA@eXAMPLE.org"] {
        let body = format!(r#"{{"username":"other","email":"{email}","password":"correct horse battery"}}"#);
        fails(JSON, &body, 400, "Email already exists.");
    }
    for body in [
        r#"{"password":"correct horse battery"}"#.to_owned(),
        r#"{"username":"other"}"#.to_owned(),
        r#"{"username":"","password":"correct horse battery"}"#.to_owned(),
        user(&"x".repeat(255), PASSWORD),
    ] {
        fails(JSON, &body, 400, NAMES);
    }
    for password in ["1234567", &"x".repeat(1_025)] {
        fails(JSON, &user("other", password), 400, "Password not valid.");
    }
    for body in ["[]", "1", "null", "{"] {
        fails(JSON, body, 400, "Body not valid.");
    }
    fails(JSON, "", 400, "Body is empty.");
    for fields in ["", "Content-Type: text/plain\r\n", "Content-Type: multipart/form-data; boundary=x\r\n"] {
        fails(fields, &credentials("other"), 400, "Content-Type not valid.");
    }
    let mut master = Writer::master(&server, 2);
    assert_eq!(master.list(USERS), [anna], "nothing else was stored");
    // The longest of everything; letter case matters in names.
    nobody.post(USERS, &user(&"x".repeat(254), &"y".repeat(1_024)));
    nobody.register(USERS, "Anna");
    // Each endpoint has its own names, and the other service has others.
    expect(&nobody.ask("POST", "examples/closed", "", &credentials("anna")), 403, "Registration is closed.");
    assert!(master.list("examples/closed").is_empty());
    let mut client = Client::on(&server, 2);
    assert_eq!(at_yawe(&mut client, "", &credentials("anna")).status, 201);
}

/// A POST to the users of the other service.
#[track_caller]
fn at_yawe(client: &mut Client, query: &str, body: &str) -> Response {
    let (target, length) = (target(USERS, query), body.len());
    client.send(format!("POST {target} HTTP/1.1\r\nHost: {YAWE}\r\n{JSON}Content-Length: {length}\r\n\r\n{body}"));
    client.response()
}

/// The token of a `Set-Cookie`, which is otherwise exactly this.
#[track_caller]
fn cookie_of(answer: &Response, name: &str, attributes: &str) -> String {
    assert_eq!((answer.status, answer.field("Authorization")), (200, None), "{answer:?}");
    let [cookie] = cookies(answer)[..] else { panic!("one cookie: {answer:?}") };
    let token = cookie.strip_prefix(&format!("{name}=")).and_then(|rest| rest.strip_suffix(attributes));
    let token = token.unwrap_or_else(|| panic!("{name}=…{attributes}, not {cookie}")).to_owned();
    let is_token = token.len() == 43 && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    assert!(is_token && !answer.text().contains(&token), "{answer:?}");
    token
}

#[test]
fn ep_72_login_sets_the_cookie_of_the_preset() {
    let server = Server::with_endpoints(PATIENT);
    let mut nobody = Writer::on(&server, 0);
    let body = r#"{"username":"anna","email":"anna@example.org","password":"correct horse battery"}"#;
    let anna = nobody.post(USERS, body);
    let attributes = "; Path=/; Max-Age=3600; Secure; HttpOnly; SameSite=None";
    let mut tokens = Vec::new();
    for body in [
        body,
        r#"{"username":"anna","password":"correct horse battery"}"#,
        r#"{"email":"ANNA@example.ORG","password":"correct horse battery"}"#,
        // The name wins, and what else is sent means nothing.
        r#"{"username":"anna","email":"nobody","password":"correct horse battery","age":1}"#,
    ] {
        for query in ["login=true", "login=true&noATCookie=1", "login=true&noATCookie=TRUE"] {
            let answer = nobody.ask("POST", USERS, query, body);
            tokens.push(cookie_of(&answer, COOKIE, attributes));
            assert_eq!(Record::parse(answer.text()), anna);
        }
    }
    for token in &tokens {
        let mut listener = Listener::with(&server, 1, &target(NOTES, ""), &format!("Cookie: {COOKIE}={token}\r\n"));
        server.expect_silence(&mut listener);
    }
    let count = tokens.len();
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), count, "each session has its own");
    // Only the word itself logs in.
    expect(&nobody.ask("POST", USERS, "login=1", body), 400, "Username already exists.");
    expect(&nobody.ask("POST", USERS, "login=true&logout=true", body), 401, NO_TOKEN);

    let mut client = Client::on(&server, 2);
    assert_eq!(at_yawe(&mut client, "", body).status, 201);
    let token = cookie_of(&at_yawe(&mut client, "login=true", body), "yawe_access_token", attributes);
    let mut listener = Client::on(&server, 3);
    let fields = format!("Cookie: yawe_access_token={token}\r\n");
    assert_eq!(upgrade_at(&mut listener, YAWE, &target(NOTES, ""), &fields).status, 101);
    server.expect_silence(&mut listener);
}

#[test]
fn ep_72_for_plain_http_the_cookie_has_another_name_and_is_not_secure() {
    let keys = "cookie_secure = false\ncookie_names = [\"plain\"]\nlogin_cookie_name = \"plain\"\nsession_ttl = \"90s\"";
    let server = Server::with_endpoints(keys);
    let mut nobody = Writer::on(&server, 0);
    nobody.register(USERS, "anna");
    let answer = nobody.ask("POST", USERS, "login=true", &credentials("anna"));
    let token = cookie_of(&answer, "plain", "; Path=/; Max-Age=90; HttpOnly; SameSite=Lax");
    let fields = format!("Cookie: plain={token}\r\n");
    let answer = nobody.call("POST", &target(USERS, "logout=true"), &fields, b"");
    assert_eq!((answer.status, cookies(&answer)), (204, vec!["plain=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"]));
}

#[test]
fn ep_73_without_a_cookie_the_token_comes_in_a_header_and_opens_a_socket() {
    let server = Server::with_endpoints("");
    let mut nobody = Writer::on(&server, 0);
    let anna = nobody.register(USERS, "anna");
    let answer = nobody.ask("POST", USERS, "login=true&noATCookie=true", &credentials("anna"));
    assert_eq!((answer.status, cookies(&answer)), (200, Vec::new()), "{answer:?}");
    assert_eq!(Record::parse(answer.text()), anna);
    let header = answer.field("Authorization").expect("a token");
    let token = header.strip_prefix("Bearer ").expect("a bearer token");
    assert!(token.len() == 43 && !answer.text().contains(token));
    for (query, fields) in [
        (String::new(), format!("Authorization: {header}\r\n")),
        (format!("accessToken={token}"), String::new()),
        (String::new(), format!("Cookie: {COOKIE}={token}\r\n")),
    ] {
        let mut listener = Listener::with(&server, 1, &target(NOTES, &query), &fields);
        let note = Writer::of_user(&server, 2, token).post(NOTES, "1");
        listener.expect(&note.event("POST"));
    }
}

#[test]
fn ep_75_after_logout_the_token_is_refused_everywhere() {
    let server = Server::with_endpoints(PATIENT);
    let mut nobody = Writer::on(&server, 0);
    let anna = nobody.register(USERS, "anna");
    let staying = nobody.login(USERS, "anna");
    let of_cookie = |token: &str| format!("Cookie: other=1; {COOKIE}={token}\r\n");
    let sources = |token: &str| {
        [
            (format!("&accessToken={token}"), String::new()),
            (String::new(), bearer(token)),
            (String::new(), of_cookie(token)),
            // The header counts; the cookie is taken back all the same.
            (String::new(), format!("{}{}", bearer(token), of_cookie("x"))),
        ]
    };
    for at in 0..4 {
        let token = nobody.login(USERS, "anna");
        let mut listener = Listener::of_user(&server, 1, NOTES, &token);
        let (query, fields) = &sources(&token)[at];
        let answer = nobody.call("POST", &target(USERS, &format!("logout=true{query}")), fields, b"");
        assert_eq!((answer.status, answer.field("Cache-Control")), (204, Some("no-store")), "{answer:?}");
        let taken_back = format!("{COOKIE}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=None");
        assert_eq!(cookies(&answer), if at < 2 { vec![] } else { vec![taken_back.as_str()] });
        listener.expect_close(1000, EXPIRED);
        let reactor = at;
        let mut writer = Writer::on(&server, reactor);
        for (query, fields) in sources(&token) {
            for endpoint in [NOTES, BOARD, USERS] {
                expect_refusal(
                    Client::on(&server, reactor),
                    &target(endpoint, &query[query.len().min(1)..]),
                    &fields,
                    4000,
                    NO_TOKEN,
                );
                for method in ["GET", "PUT", "PATCH", "DELETE"] {
                    let target = target(endpoint, &format!("{}{query}", id(&anna)));
                    expect(&writer.call(method, &target, &format!("{JSON}{fields}"), b"{}"), 401, NO_TOKEN);
                }
            }
            expect(&writer.call("POST", &target(NOTES, &query), &format!("{JSON}{fields}"), b"1"), 401, NO_TOKEN);
            // Nor does it log out once more.
            let answer = writer.call("POST", &target(USERS, &format!("logout=true{query}")), &fields, b"");
            expect(&answer, 401, NO_TOKEN);
        }
    }
    // Another session goes on, whatever a misspelt one says and whatever comes along as a body.
    let mut writer = Writer::of_user(&server, 1, &staying);
    expect(&writer.ask("POST", USERS, "logout=1", &credentials("anna")), 400, "Username already exists.");
    writer.post(NOTES, "1");
    expect(&nobody.ask("POST", USERS, "logout=true", "{}"), 401, NO_TOKEN);
    expect(&Writer::master(&server, 1).ask("POST", USERS, "logout=true", ""), 401, NO_TOKEN);
    assert_eq!(writer.ask("POST", USERS, "logout=true", &credentials("anna")).status, 204);
    is_refused(&server, &staying);
}

#[test]
fn ep_76_a_user_changes_and_deletes_its_own_record_alone() {
    let server = Server::with_endpoints(PATIENT);
    let mut nobody = Writer::on(&server, 0);
    let (anna, bert) = (nobody.register(USERS, "anna"), nobody.register(USERS, "bert"));
    let token = nobody.login(USERS, "anna");
    let mut writer = Writer::of_user(&server, 1, &token);
    let mut master = Writer::master(&server, 2);
    let logs_in =
        |name: &str, password: &str| Writer::on(&server, 3).ask("POST", USERS, "login=true", &user(name, password)).status == 200;
    // What is somebody else's is not there.
    assert_eq!(writer.list(USERS), std::slice::from_ref(&anna));
    let missing = "uniqueId=00000000000040008000000000000000";
    for method in ["GET", "PUT", "PATCH", "DELETE"] {
        let answers = [id(&bert), missing.to_owned()].map(|id| writer.ask(method, USERS, &id, &user("eve", "a stolen name")));
        answers.iter().for_each(|answer| expect(answer, 400, "No record found."));
        assert_eq!(answers[0].raw, answers[1].raw);
        expect(&nobody.ask(method, USERS, &id(&anna), &credentials("anna")), 401, NO_TOKEN);
    }
    assert!(master.list(USERS) == [anna.clone(), bert.clone()] && logs_in("bert", PASSWORD));
    // What cannot be changes nothing.
    for (method, body, text) in [
        ("PUT", "{}", NAMES),
        ("PUT", r#"{"age":1}"#, NAMES),
        ("PATCH", r#"{"username":null}"#, NAMES),
        ("PUT", r#"{"username":"bert"}"#, "Username already exists."),
        ("PATCH", r#"{"username":"bert","password":"another password"}"#, "Username already exists."),
        ("PUT", r#"{"username":"anna","password":"short"}"#, "Password not valid."),
        ("PATCH", r#"{"password":5}"#, "Password not valid."),
        ("PUT", "[]", "Body not valid."),
        ("PATCH", "null", "Body not valid."),
        ("PUT", "", "Body is empty."),
    ] {
        expect(&writer.ask(method, USERS, &id(&anna), body), 400, text);
    }
    let text = writer.call("PUT", &target(USERS, &id(&anna)), &format!("{}Content-Type: text/plain\r\n", bearer(&token)), b"{}");
    expect(&text, 400, "Content-Type not valid.");
    expect(&writer.ask("POST", USERS, "uniqueId=x", &credentials("anna")), 400, "Username already exists.");
    assert!(master.list(USERS) == [anna.clone(), bert.clone()] && logs_in("anna", PASSWORD));
    // Without a password the old one stays; with one it is another.
    let put = writer.put(USERS, &anna.id, r#"{"email":"anna@example.org","b":1,"a":2}"#);
    assert_eq!(put.data, r#"{"email":"anna@example.org","b":1,"a":2}"#);
    assert!(!logs_in("anna", PASSWORD), "the name is gone");
    let patched = writer.patch(USERS, &anna.id, r#"{"username":"anne","a":null}"#);
    assert_eq!(patched.data, r#"{"email":"anna@example.org","b":1,"username":"anne"}"#);
    assert!(logs_in("anne", PASSWORD));
    let merged =
        writer.ask("PUT", USERS, &format!("strategy=merge&{}", id(&anna)), r#"{"b":null,"password":"another password"}"#);
    assert_eq!(Record::parse(merged.text()).data, r#"{"email":"anna@example.org","b":null,"username":"anne"}"#);
    assert!(!logs_in("anne", PASSWORD) && logs_in("anne", "another password"));
    // Who owns something leaves it behind; the name is free.
    let note = writer.post(NOTES, "1");
    writer.delete(USERS, &anna.id);
    is_refused(&server, &token);
    assert!(!logs_in("anne", "another password"));
    expect(&writer.ask("GET", NOTES, "", ""), 401, NO_TOKEN);
    assert_eq!((master.list(NOTES), master.list(USERS)), (vec![note], vec![bert.clone()]));
    assert_ne!(nobody.register(USERS, "anne").id, anna.id);
    // With the master key everybody's, and somebody new.
    let put = master.put(USERS, &bert.id, &user("bert", "chosen for him"));
    assert!(put.data == r#"{"username":"bert"}"# && logs_in("bert", "chosen for him"));
    master.register(USERS, "carl");
    master.delete(USERS, &bert.id);
    assert!(!logs_in("bert", "chosen for him") && logs_in("carl", PASSWORD));
}

#[test]
fn more_sessions_than_a_user_may_have_end_the_oldest() {
    let server = Server::with_endpoints("sessions_per_user_max = 2");
    let mut nobody = Writer::on(&server, 3);
    nobody.register(USERS, "anna");
    nobody.register(USERS, "bert");
    let bert = nobody.login(USERS, "bert");
    let mut session = || {
        // Later ones end later.
        server.advance(1.0);
        let token = nobody.login(USERS, "anna");
        let sockets = everywhere(&server, &token);
        (token, sockets)
    };
    let (mut first, mut second, mut third) = (session(), session(), session());
    first.1.iter_mut().for_each(|listener| listener.expect_close(1000, EXPIRED));
    is_refused(&server, &first.0);
    let mut fourth = session();
    second.1.iter_mut().for_each(|listener| listener.expect_close(1000, EXPIRED));
    for (token, sockets) in [&mut third, &mut fourth] {
        sockets.iter_mut().for_each(|listener| server.expect_silence(listener));
        Writer::of_user(&server, 1, token).list(NOTES);
    }
    Writer::of_user(&server, 1, &bert).list(NOTES);
}
