//! EP-26, EP-47, EP-74 and EP-78: passwords that are hashed and verified when the test lets them be.

use crate::accounts::{INVALID, expect, id, user};
use crate::support::endpoints::{
    JSON, KEY, Listener, NO_TOKEN, OPEN, PASSWORD, PATIENT, Record, TOO_MANY_REQUESTS, USERS, Writer, bearer, both, credentials,
    dev_endpoints, target,
};
use crate::support::{Client, REACTORS, Response, Server};
use fanwire::server::PASSWORD_JOBS_MAX;
use fanwire::workers::Queue;

const LOGIN: &str = "login=true&noATCookie=true";

/// A server whose passwords wait for the test.
struct Held {
    server: Server,
    jobs: Queue,
}

impl Held {
    fn with(keys: &str) -> Held {
        let (server, jobs) = Server::with_passwords_by_hand(dev_endpoints(&both(keys, "", "")));
        Held { server, jobs }
    }

    fn client(&self, reactor: usize) -> Client {
        Client::on(&self.server, reactor)
    }

    /// A request that waits for a worker when this returns.
    #[track_caller]
    fn begin(&self, client: &mut Client, method: &str, query: &str, fields: &str, body: &str) {
        // Not those that count: one that counts already could still be overtaken by the next.
        let wanted = self.jobs.waiting() + 1;
        send(client, method, query, fields, body);
        self.server.wait_until("the password is up to the workers", |_| self.jobs.waiting() == wanted);
    }

    /// The answer after the work that has waited longest.
    #[track_caller]
    fn end(&self, client: &mut Client) -> Response {
        assert!(self.jobs.work(), "a password waits");
        client.response()
    }

    #[track_caller]
    fn ask(&self, client: &mut Client, method: &str, query: &str, fields: &str, body: &str) -> Response {
        self.begin(client, method, query, fields, body);
        self.end(client)
    }

    #[track_caller]
    fn register(&self, name: &str) -> Record {
        let answer = self.ask(&mut self.client(0), "POST", "", "", &credentials(name));
        assert_eq!(answer.status, 201, "{answer:?}");
        Record::parse(answer.text())
    }

    #[track_caller]
    fn login(&self, client: &mut Client, body: &str) -> Response {
        self.ask(client, "POST", LOGIN, "", body)
    }

    #[track_caller]
    fn token(&self, name: &str) -> String {
        let answer = self.login(&mut self.client(0), &credentials(name));
        let token = answer.field("Authorization").and_then(|field| field.strip_prefix("Bearer "));
        token.unwrap_or_else(|| panic!("a token: {answer:?}")).to_owned()
    }

    /// Answered before any worker could have looked at the password.
    #[track_caller]
    fn is_limited(&self, client: &mut Client, body: &str) {
        let waiting = self.jobs.jobs();
        send(client, "POST", LOGIN, "", body);
        expect(&client.response(), 429, TOO_MANY_REQUESTS);
        assert_eq!(self.jobs.jobs(), waiting);
    }
}

fn send(client: &mut Client, method: &str, query: &str, fields: &str, body: &str) {
    let (target, length) = (target(USERS, query), body.len());
    client.send(format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{JSON}{fields}Content-Length: {length}\r\n\r\n{body}"));
}

/// A client with another address.
fn from(server: &Server, last: u8) -> Client {
    Client::connect_from([127, 0, 0, last], server.address)
}

#[test]
fn ep_74_wrong_passwords_and_unknown_users_cost_one_verification_and_are_told_the_same() {
    let held = Held::with(PATIENT);
    held.register("anna");
    let mut client = held.client(1);
    let answers: Vec<Response> = [
        user("anna", "a wrong password"),
        user("Anna", PASSWORD),
        user("nobody", PASSWORD),
        format!(r#"{{"email":"anna","password":"{PASSWORD}"}}"#),
        // What nobody can be called, or have as a password, costs the same.
        format!(r#"{{"password":"{PASSWORD}"}}"#),
        user("", PASSWORD),
        user(&"x".repeat(255), PASSWORD),
        r#"{"username":"anna"}"#.to_owned(),
        r#"{"username":"anna","password":5}"#.to_owned(),
        user("anna", "short"),
        user("anna", &"x".repeat(1_025)),
        "{}".to_owned(),
    ]
    .iter()
    .map(|body| {
        held.begin(&mut client, "POST", LOGIN, "", body);
        held.server.expect_silence(&mut client);
        assert_eq!(held.jobs.jobs(), 1, "{body}");
        let answer = held.end(&mut client);
        expect(&answer, 401, INVALID);
        held.server.settle();
        assert_eq!(held.jobs.jobs(), 0, "one was all: {body}");
        answer
    })
    .collect();
    for answer in &answers {
        assert_eq!((&answer.raw, &answer.body), (&answers[0].raw, &answers[0].body), "byte for byte");
    }
    // So does a right one.
    let answer = held.login(&mut client, &credentials("anna"));
    assert_eq!((answer.status, held.jobs.jobs()), (200, 0));
}

#[test]
fn ep_78_messages_are_delivered_while_passwords_wait() {
    let held = Held::with(PATIENT);
    let server = &held.server;
    let mut listeners: Vec<Listener> = (0..REACTORS).map(|reactor| Listener::open(server, reactor, OPEN, "")).collect();
    let (mut registers, mut logs_in) = (held.client(1), held.client(2));
    held.begin(&mut registers, "POST", "", "", &credentials("anna"));
    held.begin(&mut logs_in, "POST", LOGIN, "", &credentials("nobody"));
    for number in 0..20 {
        let note = Writer::on(server, number % REACTORS).post(OPEN, &number.to_string());
        listeners.iter_mut().for_each(|listener| listener.expect(&note.event("POST")));
    }
    server.expect_silence(&mut registers);
    server.expect_silence(&mut logs_in);
    assert_eq!(held.jobs.jobs(), 2, "they still wait");
    assert_eq!(held.end(&mut registers).status, 201);
    expect(&held.end(&mut logs_in), 401, INVALID);
}

#[test]
fn of_two_who_take_one_name_at_once_one_gets_it() {
    let held = Held::with("");
    let (mut first, mut second) = (held.client(1), held.client(2));
    held.begin(&mut first, "POST", "", "", &credentials("anna"));
    held.begin(&mut second, "POST", "", "", &user("anna", "another password"));
    assert_eq!(held.end(&mut first).status, 201);
    expect(&held.end(&mut second), 400, "Username already exists.");
    assert_eq!(held.login(&mut second, &credentials("anna")).status, 200);
}

#[test]
fn when_64_passwords_wait_the_next_one_has_to_come_again() {
    assert_eq!(PASSWORD_JOBS_MAX, 64);
    let held = Held::with("limits.login_failures_per_minute = 2");
    let anna = held.register("anna");
    let of_anna = bearer(&held.token("anna"));
    let mut waiting: Vec<Client> = (0..64)
        .map(|number| {
            let mut client = Client::connect(held.server.address);
            held.begin(&mut client, "POST", "", "", &credentials(&format!("user {number}")));
            client
        })
        .collect();
    let mut client = held.client(3);
    let full = |client: &mut Client| {
        for (method, query, fields, body) in [
            ("POST", String::new(), "", credentials("bert")),
            ("POST", LOGIN.to_owned(), "", credentials("anna")),
            ("POST", LOGIN.to_owned(), "", credentials("nobody")),
            ("POST", LOGIN.to_owned(), "", user("anna", "a wrong password")),
            ("PUT", id(&anna), of_anna.as_str(), user("anna", "another password")),
            ("PATCH", id(&anna), of_anna.as_str(), r#"{"password":"another password"}"#.to_owned()),
        ] {
            send(client, method, &query, fields, &body);
            let answer = client.response();
            expect(&answer, 429, TOO_MANY_REQUESTS);
            assert_eq!(answer.field("Retry-After"), Some("1"), "{answer:?}");
        }
        assert_eq!(held.jobs.jobs(), 64);
    };
    full(&mut client);
    // Whoever needs no hash is served.
    send(&mut client, "PUT", &id(&anna), &of_anna, r#"{"username":"anna","age":7}"#);
    assert_eq!(client.response().status, 200);
    // One is done, and there is room for one.
    assert_eq!(held.end(&mut waiting[0]).status, 201);
    held.begin(&mut waiting[0], "POST", LOGIN, "", &credentials("anna"));
    full(&mut client);
    for client in &mut waiting[1..] {
        assert_eq!(held.end(client).status, 201);
    }
    // Neither a password that was changed nor a failure that was counted: nobody had looked.
    assert_eq!(held.end(&mut waiting[0]).status, 200);
    assert_eq!(held.login(&mut client, &credentials("anna")).status, 200);
}

#[test]
fn ep_26_failed_logins_are_limited_by_name_whoever_tries() {
    let held = Held::with("limits.login_failures_per_minute = 3");
    let server = &held.server;
    held.register("anna");
    held.register("bert");
    // Nobody can tell which names there are.
    for (name, first) in [("anna", 10), ("nobody", 20)] {
        for last in 0..3 {
            expect(&held.login(&mut from(server, first + last), &user(name, "a wrong password")), 401, INVALID);
        }
        for body in [user(name, PASSWORD), user(name, "a wrong password")] {
            held.is_limited(&mut from(server, first + 3), &body);
        }
    }
    // Others are not concerned, at the same addresses either; what was refused so did not count.
    for last in [10, 13, 20, 23] {
        assert_eq!(held.login(&mut from(server, last), &credentials("bert")).status, 200);
    }
    server.advance(59.0);
    held.is_limited(&mut from(server, 30), &credentials("anna"));
    server.advance(1.0);
    assert_eq!(held.login(&mut from(server, 30), &credentials("anna")).status, 200);
}

#[test]
fn ep_26_failed_logins_are_limited_by_address_whoever_is_meant() {
    let held = Held::with("");
    let server = &held.server;
    held.register("anna");
    let mut client = from(server, 10);
    for number in 0..10 {
        // What is right in between takes nothing back.
        assert_eq!(held.login(&mut client, &credentials("anna")).status, 200);
        expect(&held.login(&mut client, &user(&format!("user {number}"), PASSWORD)), 401, INVALID);
    }
    held.is_limited(&mut client, &credentials("anna"));
    held.is_limited(&mut from(server, 10), &user("somebody else", PASSWORD));
    assert_eq!(held.login(&mut from(server, 11), &credentials("anna")).status, 200);
    // Who does not log in is not concerned.
    assert_eq!(held.ask(&mut client, "POST", "", "", &credentials("bert")).status, 201);
    let other = format!("GET /api/1/ce/{OPEN}?key={KEY} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.send(other);
    assert_eq!(client.response().status, 200);
    server.advance(60.0);
    assert_eq!(held.login(&mut from(server, 10), &credentials("anna")).status, 200);
}

#[test]
fn ep_26_of_logins_at_once_no_more_are_told_the_truth_than_one_after_the_other() {
    let held = Held::with("limits.login_failures_per_minute = 3");
    held.register("anna");
    let mut clients: Vec<Client> = (0..6).map(|at| held.client(at % REACTORS)).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        let body = if at == 5 { credentials("anna") } else { user("anna", &format!("guess number {at}")) };
        held.begin(client, "POST", LOGIN, "", &body);
    }
    for (at, client) in clients.iter_mut().enumerate() {
        let answer = held.end(client);
        if at < 3 { expect(&answer, 401, INVALID) } else { expect(&answer, 429, TOO_MANY_REQUESTS) }
    }
}

#[test]
fn ep_47_who_loses_its_session_while_its_password_is_hashed_changes_nothing() {
    let held = Held::with("session_ttl = \"5s\"");
    let server = &held.server;
    let anna = held.register("anna");
    let mut client = held.client(1);
    let mut nobody = Writer::on(server, 2);
    let stolen = user("anna", "the thief's own password");
    let token = held.token("anna");
    held.begin(&mut client, "PUT", &id(&anna), &bearer(&token), &stolen);
    nobody.logout(USERS, &token);
    server.settle();
    expect(&held.end(&mut client), 401, NO_TOKEN);
    // The same in time.
    let token = held.token("anna");
    held.begin(&mut client, "PATCH", &id(&anna), &bearer(&token), &stolen);
    server.advance(5.0);
    expect(&held.end(&mut client), 401, NO_TOKEN);
    // The owner is faster.
    let tokens = [held.token("anna"), held.token("anna")];
    let mut owner = held.client(3);
    held.begin(&mut owner, "PUT", &id(&anna), &bearer(&tokens[0]), &user("anna", "the owner's new password"));
    held.begin(&mut client, "PUT", &id(&anna), &bearer(&tokens[1]), &stolen);
    assert_eq!(held.end(&mut owner).status, 200);
    server.settle();
    expect(&held.end(&mut client), 401, NO_TOKEN);
    let mut login = held.client(0);
    expect(&held.login(&mut login, &stolen), 401, INVALID);
    assert_eq!(held.login(&mut login, &user("anna", "the owner's new password")).status, 200);
    // Nor does who is deleted come back.
    held.begin(&mut client, "PUT", &id(&anna), &bearer(&tokens[0]), &stolen);
    Writer::master(server, 2).delete(USERS, &anna.id);
    server.settle();
    expect(&held.end(&mut client), 401, NO_TOKEN);
    assert!(Writer::master(server, 2).list(USERS).is_empty());
}

#[test]
fn ep_74_who_is_gone_or_called_otherwise_before_the_password_is_verified_gets_no_token() {
    let held = Held::with(PATIENT);
    let (anna, bert) = (held.register("anna"), held.register("bert"));
    let mut master = Writer::master(&held.server, 2);
    let mut client = held.client(1);
    held.begin(&mut client, "POST", LOGIN, "", &credentials("anna"));
    master.delete(USERS, &anna.id);
    expect(&held.end(&mut client), 401, INVALID);
    held.begin(&mut client, "POST", LOGIN, "", &credentials("bert"));
    master.put(USERS, &bert.id, r#"{"username":"ben"}"#);
    expect(&held.end(&mut client), 401, INVALID);
    assert_eq!(held.login(&mut client, &credentials("ben")).status, 200);
}
