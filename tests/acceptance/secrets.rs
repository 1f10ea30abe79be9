//! EP-27: keys, tokens, passwords and their hashes reach no log line, metric, statistic or error of the real binary.

use crate::client::{Answer, Client, masked};
use crate::process::{Process, directory, run};
use nix::sys::signal::Signal;
use std::net::SocketAddr;

const KEY: &str = "d59eb2859c284168ac48aef65046d5dd";
const OTHER_KEY: &str = "6f1c0a52e7b94d3f8a90b1c2d3e4f506";
const NEW_KEY: &str = "0badc0de0badc0de0badc0de0badc0de";
const GUESSED_KEY: &str = "11112222333344445555666677778888";
const MASTER: &str = "the-master-key-of-examples";
const GUESSED_MASTER: &str = "a-master-key-that-is-guessed";
const BACKEND: &str = "publisher-key-0123456789";
const SALT: &str = "c2FsdHNhbHRzYWx0c2E";
const HASH: &str = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U";
/// Of the form of a token, and never issued.
const GUESSED_TOKEN: &str = "bm90LWlzc3VlZC1ub3QtaXNzdWVkLW5vdC1pc3N1ZWQ";
const RIGHT: &str = "correct horse battery";
const WRONG: &str = "incorrect donkey";
const NEWER: &str = "staple of tomorrow";
const SHORT: &str = "sh0rty!";

fn configuration() -> String {
    format!(
        r#"[server]
listen = "127.0.0.1:0"
reactors = 4
[admin]
listen = "127.0.0.1:0"
[storage]
path = "data"
[[access.keys]]
name = "backend"
key = "{BACKEND}"
may = ["publish", "statistics", "admin"]
topics = ["*"]
[endpoints.rested.limits]
failures_per_minute_per_address = 30
login_failures_per_minute = 4
[[endpoints.rested.projects]]
name = "examples"
key = "{KEY}"
master_key = "{MASTER}"
cookie_from_any_origin = true
[[endpoints.rested.projects.endpoints]]
name = "examples/open"
[[endpoints.rested.projects.endpoints]]
name = "examples/notes"
secure = true
[[endpoints.rested.projects.endpoints]]
name = "examples/users"
auth = true
users = [ {{ username = "configured", password_hash = "$argon2id$v=19$m=19456,t=2,p=1${SALT}${HASH}" }} ]
[[endpoints.rested.projects]]
name = "other"
key = "{OTHER_KEY}"
allowed_origins = ["https://shop.example"]
[[endpoints.rested.projects.endpoints]]
name = "other/open"
"#
    )
}

/// Configurations that are wrong in or next to a secret.
fn broken() -> Vec<String> {
    let good = configuration();
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    vec![
        // No TOML.
        with(&format!("\"{KEY}\""), &format!("\"{KEY}")),
        with(&format!("\"{MASTER}\""), MASTER),
        with(&format!("{HASH}\""), HASH),
        // No keys, or not where they belong.
        with(&format!("key = \"{KEY}\""), &format!("kee = \"{KEY}\"")),
        with(&format!("\"{KEY}\""), &format!("[\"{KEY}\"]")),
        with(&format!("\"{KEY}\""), &format!("\"{KEY}!\"")),
        with(&format!("\"{OTHER_KEY}\""), &format!("\"{KEY}\"")),
        with(&format!("\"{MASTER}\""), &format!("\"{SHORT}\"")),
        with("master_key", "master_key_file = \"missing\"\nmaster_key"),
        with("name = \"other\"", &format!("name = \"other\"\nmaster_key = \"{MASTER}\"\nkey = \"{NEW_KEY}\"")),
        // No hashes.
        with("$argon2id$", "$argon2i$"),
        with(&format!("${HASH}"), ""),
        with("password_hash", "password"),
        with("users = [ {", "users = [ \"x\", {"),
    ]
}

/// Everything that was answered.
struct Heard {
    address: SocketAddr,
    all: String,
}

impl Heard {
    #[track_caller]
    fn answer(&mut self, client: &mut Client, status: u16) -> Answer {
        let answer = client.answer();
        assert_eq!(answer.status, status, "{answer:?}");
        self.all += &format!("{}{}\n", answer.head, answer.body);
        answer
    }

    /// On a connection of its own.
    #[track_caller]
    fn ask(&mut self, method: &str, target: &str, fields: &str, body: &str, status: u16) -> Answer {
        let mut client = Client::connect(self.address);
        let fields = format!("Content-Type: application/json\r\n{fields}");
        client.ask(method, &format!("/api/1/ce/{target}"), &fields, body);
        self.answer(&mut client, status)
    }

    /// The token of an answer that has to tell it, and only there.
    #[track_caller]
    fn login(&mut self, query: &str, body: &str, field: &str) -> String {
        let mut client = Client::connect(self.address);
        client.ask("POST", &format!("/api/1/ce/{}&login=true{query}", users()), "Content-Type: application/json\r\n", body);
        let answer = client.answer();
        assert_eq!(answer.status, 200, "{answer:?}");
        let value = answer.field(field).unwrap_or_else(|| panic!("a token: {answer:?}"));
        let token = value.split([' ', '=', ';']).find(|part| part.len() == 43).expect("a token").to_owned();
        self.all += &format!("{}{}\n", answer.head.replacen(&token, "", 1), answer.body);
        token
    }

    /// A WebSocket that is refused.
    #[track_caller]
    fn turned_away(&mut self, target: &str, fields: &str, code: u16) {
        let mut client = Client::connect(self.address);
        client.ask_upgrade(&format!("/api/1/ce/{target}"), fields);
        self.answer(&mut client, 101);
        let frame = client.try_frame().expect("a close");
        assert_eq!(frame.payload.get(..2), Some(&code.to_be_bytes()[..]), "{frame:?}");
        self.all += &String::from_utf8_lossy(&frame.payload[2..]);
        client.send(masked(0x88, &code.to_be_bytes()));
    }
}

fn users() -> String {
    format!("examples/users?key={KEY}")
}

fn user(name: &str, password: &str) -> String {
    format!("{{\"username\":\"{name}\",\"password\":\"{password}\"}}")
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// Every way to come in, and every way to fail; the tokens that were given out.
fn visit(heard: &mut Heard) -> Vec<String> {
    let (users, open, notes) = (users(), format!("examples/open?key={KEY}"), format!("examples/notes?key={KEY}"));
    let created = heard.ask("POST", &users, "", &user("anna", RIGHT), 201);
    let anna: serde_json::Value = serde_json::from_str(&created.body).unwrap();
    let own = format!("{users}&uniqueId={}", anna["uniqueId"].as_str().unwrap());
    heard.ask("POST", &users, "", &user("anna", WRONG), 400);
    heard.ask("POST", &users, "", &user("bert", SHORT), 400);
    heard.ask("POST", &users, "", &user("", RIGHT), 400);
    heard.ask("POST", &users, "", &format!("{{\"password\":\"{RIGHT}\""), 400);
    heard.ask("POST", &users, "", &format!("[\"{RIGHT}\"]"), 400);
    heard.ask("POST", &users, &bearer(GUESSED_TOKEN), &user("carl", NEWER), 201);
    let cookie = heard.login("", &user("anna", RIGHT), "Set-Cookie");
    let header = heard.login("&noATCookie=true", &user("anna", RIGHT), "Authorization");
    // The last of five failures is one too many, and so is everything after it.
    for (name, status) in [("configured", 401), ("anna", 401), ("nobody", 401), ("anna", 401), ("anna", 429)] {
        heard.ask("POST", &format!("{users}&login=true"), "", &user(name, WRONG), status);
    }
    heard.ask("POST", &format!("{open}&login=true"), "", &user("anna", RIGHT), 400);
    // Keys and tokens that do not do.
    heard.ask("GET", &format!("examples/open?masterKey={MASTER}"), "", "", 403);
    for key in [GUESSED_KEY, OTHER_KEY, &KEY.to_uppercase()] {
        heard.ask("GET", &format!("examples/open?key={key}"), "", "", 400);
        heard.turned_away(&format!("examples/open?key={key}"), "", 4000);
    }
    heard.ask("GET", &format!("{open}&key={KEY}"), "", "", 400);
    heard.ask("GET", &format!("{notes}&masterKey={GUESSED_MASTER}"), "", "", 401);
    heard.ask("GET", &format!("{notes}&accessToken={GUESSED_TOKEN}"), "", "", 401);
    heard.turned_away(&notes, &bearer(GUESSED_TOKEN), 4000);
    heard.turned_away(&notes, &format!("Cookie: __Secure-rested-access-token={GUESSED_TOKEN}\r\n"), 4000);
    // From where nobody may ask, with everything else that there is.
    let other = format!("other/open?key={OTHER_KEY}&masterKey={GUESSED_MASTER}&accessToken={GUESSED_TOKEN}&password={SHORT}");
    let guessed = format!("Cookie: __Secure-rested-access-token={GUESSED_TOKEN}\r\n");
    let evil = format!("Origin: https://evil.example\r\n{}{guessed}", bearer(GUESSED_TOKEN));
    heard.ask("POST", &other, &evil, &user("anna", RIGHT), 403);
    heard.turned_away(&other, &evil, 4000);
    // Those that do, and what is wrong with the rest.
    for fields in [bearer(&cookie), format!("Cookie: __Secure-rested-access-token={cookie}\r\n")] {
        heard.ask("POST", &notes, &fields, "1", 201);
    }
    heard.ask("GET", &format!("{notes}&accessToken={header}"), "", "", 200);
    heard.ask("GET", &format!("{notes}&masterKey={MASTER}"), "", "", 200);
    heard.ask("GET", &format!("{users}&masterKey={MASTER}"), "", "", 200);
    heard.ask("GET", &own, &bearer(&header), "", 200);
    heard.ask("GET", &format!("{open}&jsonata={KEY}"), "", "", 400);
    heard.ask("BREW", &open, "", "", 405);
    heard.ask("PUT", &open, "", "1", 400);
    heard.ask("PUT", &own, &bearer(&header), &user("anna", SHORT), 400);
    heard.ask("PUT", &own, &bearer(&header), &user("anna", NEWER), 200);
    heard.ask("GET", &own, &bearer(&cookie), "", 401);
    // What never becomes a request of the dialect.
    let mut client = Client::connect(heard.address);
    client.send(format!("GET /api/1/ce/{open} HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", KEY.repeat(1_000)));
    heard.answer(&mut client, 431);
    for (status, head) in [
        (505, format!("GET /api/1/ce/{open} HTTP/9\r\n\r\n")),
        (400, format!("GET /api/1/ce/{notes} HTTP/1.1\r\nHost: a\r\nAuthorization Bearer {header}\r\n\r\n")),
        (400, format!("GET /api/1/ce/{open} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")),
    ] {
        let mut client = Client::connect(heard.address);
        client.send(head);
        heard.answer(&mut client, status);
    }
    heard.ask("GET", &format!("examples/open/{KEY}?key={KEY}"), "", "", 400);
    heard.ask("POST", &format!("{users}&logout=true&accessToken={header}"), "", "", 204);
    heard.ask("POST", &format!("{users}&logout=true&accessToken={header}"), "", "", 401);
    // After too many failures none is told what is wrong.
    let mut client = Client::connect(heard.address);
    let mut refused = || client.get(&format!("/api/1/ce/examples/open?key={GUESSED_KEY}")).status;
    while refused() == 400 {}
    for (target, fields) in
        [(&other, &evil), (&notes, &bearer(GUESSED_TOKEN)), (&format!("{notes}&masterKey={GUESSED_MASTER}"), &evil)]
    {
        heard.ask("POST", target, fields, &user("anna", RIGHT), 429);
        heard.turned_away(target, fields, 1013);
    }
    vec![cookie, header]
}

#[test]
fn ep_27_no_secret_reaches_a_log_line_a_metric_a_statistic_or_an_error() {
    let directory = directory("secrets");
    let file = directory.join("fanwire.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write(&configuration());
    let mut process = Process::start(&["serve", "-c", file.to_str().unwrap(), "--log-level", "debug"]);
    let (address, admin) = process.addresses();
    let mut heard = Heard { address, all: String::new() };
    let tokens = visit(&mut heard);
    // A listener whom a reload ends.
    let mut listener = Client::connect(address);
    listener.upgrade(&format!("/api/1/ce/{}&masterKey={MASTER}", users()), "");
    heard.ask("POST", &users(), "", &user("dora", NEWER), 201);
    heard.all += &listener.text();

    let reloads = |text: &str, record: &str| {
        write(text);
        process.signal(Signal::SIGHUP);
        process.wait_for_record(record);
    };
    let mut errors = String::new();
    for text in broken() {
        reloads(&text, "not reloaded");
        let ended = run(&["check", "-c", file.to_str().unwrap()]);
        assert!(ended.code != Some(0) && !ended.stderr.is_empty(), "{ended:?}");
        errors += &(ended.stdout + &ended.stderr);
    }
    reloads(&configuration().replace(KEY, NEW_KEY), "reloaded\"");
    heard.all += &listener.expect_close(4000);
    heard.ask("GET", &format!("examples/open?key={NEW_KEY}"), "", "", 200);

    let mut client = Client::connect(admin);
    for target in ["/metrics", "/health", "/ready", "/"] {
        heard.all += &client.get(target).body;
    }
    client.ask("GET", "/channels-stats?id=ALL", &format!("Authorization: Bearer {BACKEND}\r\n"), "");
    heard.all += &client.answer().body;
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait(), Some(0));
    let log = process.output();
    for record in ["fanwire runs", "not reloaded", "fanwire has ended"] {
        assert!(log.contains(record), "the log says {record}: {log}");
    }
    assert!(heard.all.contains("Invalid credentials.") && heard.all.contains("fanwire_"), "answers and metrics");

    let known = [
        KEY,
        OTHER_KEY,
        NEW_KEY,
        GUESSED_KEY,
        MASTER,
        GUESSED_MASTER,
        BACKEND,
        SALT,
        HASH,
        GUESSED_TOKEN,
        RIGHT,
        WRONG,
        NEWER,
        SHORT,
    ];
    let tokens = tokens.iter().map(String::as_str);
    for secret in known.into_iter().chain(tokens) {
        for (place, text) in [("the log", &log), ("an answer", &heard.all), ("the check of a configuration", &errors)] {
            let at = text.to_ascii_lowercase().find(&secret.to_ascii_lowercase());
            let around = at.map(|at| &text[text[..at].rfind('\n').map_or(0, |start| start + 1)..]);
            assert!(at.is_none(), "{secret} in {place}: {}", around.and_then(|around| around.lines().next()).unwrap_or_default());
        }
    }
    // Of those that nobody here knows: the form alone is shown.
    for text in [&log, &heard.all, &errors] {
        assert!(text.split(",p=1$").skip(1).all(|salt| salt.starts_with('…')), "a hash: {text}");
    }
    std::fs::remove_dir_all(directory).unwrap();
}
