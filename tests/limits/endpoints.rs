//! The limits of endpoints' section 13 that a socket feels, and those of sections 5, 7 and 8: one row per limit. How many passwords
//! are hashed or wait needs workers that are held: `tests/endpoints/passwords.rs`.

use super::{Row, closed_with, get};
use crate::support::client::UPGRADE;
use crate::support::endpoints::{
    Listener, NOT_VALID, NOTES, OPEN, PASSWORD, PATH, USERS, Writer, bearer, credentials, expect_refusal, numbered, target,
};
use crate::support::{Client, Response, Server, masked};
use fanwire::metrics::Counter;

/// A server with these keys of both services.
pub fn server(keys: &str) -> Server {
    Server::with_endpoints(keys)
}

const RESET: &str = r#"{"type":"RESET"}"#;

#[track_caller]
fn expect_told(answer: &Response, status: u16, text: &str) {
    assert_eq!((answer.status, answer.text()), (status, format!("{{\"error\":\"{text}\"}}").as_str()), "{}", answer.raw);
}

/// A request for the endpoint that everybody may use.
fn ask(server: &Server, method: &str, query: &str, body: &str) -> Response {
    Writer::on(server, 1).ask(method, OPEN, query, body)
}

/// A form with these parts, each the rest of its disposition and its content.
fn upload(server: &Server, parts: &[(&str, &str)]) -> Response {
    let part = |(disposition, content): &(&str, &str)| {
        format!("--x\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{content}\r\n")
    };
    let form: String = parts.iter().map(part).chain(["--x--\r\n".to_owned()]).collect();
    let fields = "Content-Type: multipart/form-data; boundary=x\r\n";
    Writer::on(server, 1).call("POST", &target(OPEN, ""), fields, form.as_bytes())
}

const FILE: &str = "name=\"file\"; filename=\"a\"";

/// The first message of one who has everything up to this number.
#[track_caller]
fn first_after(server: &Server, seq: u64) -> String {
    numbered(&Listener::open(server, 2, OPEN, &format!("fw_since={seq}")).text()).0
}

/// Listens with numbers, and is told of this many records of these bytes: the first number, and the messages.
fn told(server: &Server, count: usize, bytes: usize) -> (u64, Vec<String>) {
    let mut listener = Listener::open(server, 2, OPEN, "fw_seq=1");
    let mut writer = Writer::on(server, 1);
    let data = format!("\"{}\"", "x".repeat(bytes));
    let mut first = None;
    let texts = (0..count).map(|_| {
        writer.post(OPEN, &data);
        let (text, seq) = numbered(&listener.text());
        first.get_or_insert(seq);
        text
    });
    let texts = texts.collect();
    (first.expect("one at least"), texts)
}

fn login(server: &Server, body: &str) -> Response {
    Writer::on(server, 1).ask("POST", USERS, "login=true&noATCookie=true", body)
}

pub const ROWS: &[Row] = &[
    Row {
        limit: "endpoints: request head 8192 bytes",
        options: "",
        holds: |server| {
            let upgrade = |bytes: usize| {
                let start = format!("GET {} HTTP/1.1\r\n{UPGRADE}x: ", target(OPEN, ""));
                format!("{start}{}\r\n\r\n", "x".repeat(bytes - start.len() - 4))
            };
            let mut client = Client::on(server, 1);
            client.send(upgrade(8_192));
            assert_eq!(client.response().status, 101);
            closed_with(server, 431, upgrade(8_193));
            closed_with(server, 431, get(&target(OPEN, &"x".repeat(9_000))));
        },
    },
    Row {
        limit: "endpoints: no complete head within the handshake time",
        options: "",
        holds: |server| {
            let mut client = Client::on(server, 1);
            client.send(format!("GET {} HTTP/1.1\r\nHost: h\r\n", target(OPEN, "")));
            server.settle();
            server.pass(9.8);
            assert!(!client.has_ended());
            server.pass(0.4);
            client.rest();
        },
    },
    Row {
        limit: "endpoints: failures_per_minute_per_address",
        options: "limits.failures_per_minute_per_address = 3\n",
        holds: |server| {
            let wrong = format!("{PATH}/{OPEN}?key=wrong");
            for _ in 0..3 {
                expect_refusal(Client::on(server, 2), &wrong, "", 4000, NOT_VALID);
            }
            expect_refusal(Client::on(server, 1), &wrong, "", 1013, "Too many requests.");
            expect_told(&Client::on(server, 3).get(&wrong), 429, "Too many requests.");
            expect_refusal(Client::connect_from([127, 0, 0, 9], server.address), &wrong, "", 4000, NOT_VALID);
            assert_eq!(ask(server, "GET", "", "").status, 200);
            server.pass(60.0);
            expect_refusal(Client::on(server, 2), &wrong, "", 4000, NOT_VALID);
        },
    },
    Row {
        limit: "endpoints: login_failures_per_minute",
        options: "limits.login_failures_per_minute = 1\n",
        holds: |server| {
            expect_told(&login(server, &credentials("anna")), 401, "Invalid credentials.");
            expect_told(&login(server, &credentials("anna")), 429, "Too many requests.");
            server.pass(60.0);
            expect_told(&login(server, &credentials("anna")), 401, "Invalid credentials.");
        },
    },
    Row {
        limit: "endpoints: connections_per_endpoint_max",
        options: "limits.connections_per_endpoint_max = 2\n",
        holds: |server| {
            let held = [Listener::open(server, 1, OPEN, ""), Listener::open(server, 2, OPEN, "")];
            expect_refusal(Client::on(server, 3), &target(OPEN, ""), "", 1013, "Too many connections.");
            expect_told(&ask(server, "GET", "", ""), 429, "Too many connections.");
            drop(held);
            server.wait_until("places are free again", |server| ask(server, "GET", "", "").status == 200);
        },
    },
    Row {
        limit: "endpoints: frame_bytes_max",
        options: "limits.frame_bytes_max = 100\n",
        holds: |server| {
            let mut listener = Listener::open(server, 1, OPEN, "");
            listener.say(&"x".repeat(100));
            server.expect_silence(&mut listener);
            listener.say(&"x".repeat(101));
            listener.expect_close(1009, "Message too big.");
        },
    },
    Row {
        limit: "endpoints: 20 frames in 10 s",
        options: "",
        holds: |server| {
            let mut listener = Listener::open(server, 1, OPEN, "");
            (0..20).for_each(|_| listener.say(""));
            server.expect_silence(&mut listener);
            listener.say("");
            listener.expect_close(1008, "Too many messages.");
        },
    },
    Row {
        limit: "endpoints: body_bytes_max",
        options: "limits.body_bytes_max = 100\n",
        holds: |server| {
            let body = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
            assert_eq!(ask(server, "POST", "", &body(100)).status, 201);
            expect_told(&ask(server, "POST", "", &body(101)), 413, "Body too large.");
            let id = Writer::on(server, 1).post(OPEN, "{}").id;
            // What a patch would make larger counts as well.
            let patch = |name: &str| ask(server, "PATCH", &format!("uniqueId={id}"), &format!("{{\"{name}\":{}}}", body(80)));
            assert_eq!(patch("a").status, 200);
            expect_told(&patch("b"), 413, "Body too large.");
        },
    },
    Row {
        limit: "endpoints: upload_files_max, upload_file_bytes_max",
        options: "limits.upload_files_max = 2\nlimits.upload_file_bytes_max = 5\n",
        holds: |server| {
            assert_eq!(upload(server, &[(FILE, "12345"), (FILE, "1")]).status, 201);
            expect_told(&upload(server, &[(FILE, "1"); 3]), 400, "Too many files.");
            expect_told(&upload(server, &[(FILE, "123456")]), 413, "Body too large.");
            assert_eq!(Writer::on(server, 1).list(OPEN).len(), 2);
        },
    },
    Row {
        limit: "endpoints: 32 fields of metadata, 64 KiB together",
        options: "",
        holds: |server| {
            let names: Vec<String> = (0..33).map(|number| format!("name=\"n{number:02}\"")).collect();
            let fields = |count: usize| {
                let fields = names[..count].iter().map(|name| (name.as_str(), ""));
                upload(server, &fields.chain([(FILE, "")]).collect::<Vec<_>>())
            };
            assert_eq!(fields(32).status, 201);
            expect_told(&fields(33), 400, "Body not valid.");
            let long = "x".repeat(65_536);
            let bytes = |count: usize| upload(server, &[("name=\"n\"", &long[..count - 1]), (FILE, "")]);
            assert_eq!(bytes(65_536).status, 201);
            expect_told(&bytes(65_537), 413, "Body too large.");
        },
    },
    Row {
        limit: "endpoints: list_bytes_max",
        options: "limits.list_bytes_max = 1000\n",
        holds: |server| {
            let mut writer = Writer::on(server, 1);
            let first = writer.post(OPEN, "1");
            // What `[`, the first record, a comma, all of the second but its data, and `]` leave.
            let room = 1_000 - 3 - 2 * first.over_http().len() + first.data.len();
            let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
            let second = writer.post(OPEN, &text(room));
            assert_eq!(ask(server, "GET", "", "").text().len(), 1_000);
            writer.put(OPEN, &second.id, &text(room + 1));
            expect_told(&ask(server, "GET", "", ""), 400, "Too many records; use fw_limit and fw_after.");
            assert_eq!(ask(server, "GET", "fw_limit=1", "").status, 200);
            writer.put(OPEN, &second.id, &text(1_000));
            assert_eq!(numbered(&Listener::open(server, 2, OPEN, "fw_snapshot=1").text()).0, RESET);
        },
    },
    Row {
        limit: "endpoints: 100 ids, pages of 10000",
        options: "",
        holds: |server| {
            let id = Writer::on(server, 1).post(OPEN, "1").id;
            let ids = |count: usize| {
                let others = (1..count).map(|number| format!("{number:032x}"));
                let all: Vec<String> = std::iter::once(id.clone()).chain(others).collect();
                ask(server, "GET", &format!("uniqueId={}", all.join(",")), "")
            };
            assert_eq!(ids(100).status, 200);
            expect_told(&ids(101), 400, "Parameters not valid.");
            assert_eq!(ask(server, "GET", "fw_limit=10000", "").status, 200);
            expect_told(&ask(server, "GET", "fw_limit=10001", ""), 400, "Parameters not valid.");
        },
    },
    Row {
        limit: "endpoints: records_per_endpoint_max",
        options: "limits.records_per_endpoint_max = 2\n",
        holds: |server| {
            let mut writer = Writer::on(server, 1);
            let ids = ["1", "2"].map(|data| writer.post(OPEN, data).id);
            expect_told(&ask(server, "POST", "", "3"), 507, "Too many records.");
            expect_told(&upload(server, &[(FILE, "1")]), 507, "Too many records.");
            writer.delete(OPEN, &ids[0]);
            expect_told(&upload(server, &[(FILE, "1"), (FILE, "2")]), 507, "Too many records.");
            writer.post(OPEN, "3");
        },
    },
    Row {
        limit: "endpoints: log_messages",
        options: "log_messages = 3\n",
        holds: |server| {
            let (first, texts) = told(server, 4, 1);
            assert_eq!(first_after(server, first), texts[1]);
            Writer::on(server, 1).post(OPEN, "1");
            assert_eq!(first_after(server, first), RESET);
        },
    },
    Row {
        limit: "endpoints: log_bytes",
        options: "log_bytes = \"16KiB\"\n",
        holds: |server| {
            let (first, texts) = told(server, 3, 5_000);
            assert_eq!(first_after(server, first), texts[1]);
            Writer::on(server, 1).post(OPEN, &format!("\"{}\"", "x".repeat(7_000)));
            assert_eq!(first_after(server, first), RESET);
        },
    },
    Row {
        limit: "endpoints: log_age",
        options: "log_age = \"20s\"\n",
        holds: |server| {
            let (first, texts) = told(server, 2, 1);
            server.pass(19.0);
            assert_eq!(first_after(server, first), texts[1]);
            server.pass(3.0);
            assert_eq!(first_after(server, first), RESET);
        },
    },
    Row {
        limit: "endpoints: ping_interval, silence_timeout",
        options: "ping_interval = \"2s\"\nsilence_timeout = \"5s\"\n",
        holds: |server| {
            let mut listener = Listener::open(server, 1, OPEN, "");
            server.settle();
            server.pass(4.9);
            let frame = listener.frame();
            assert_eq!(frame.opcode, 9);
            server.pass(0.4);
            let close = std::iter::from_fn(|| Some(listener.frame())).find(|frame| frame.opcode != 9);
            assert_eq!(close.and_then(|frame| frame.code()), Some(1001));
        },
    },
    Row {
        limit: "endpoints: close_time = 2 s",
        options: "",
        holds: |server| {
            let mut listener = Listener::open(server, 1, OPEN, "");
            listener.client.send(masked(0x83, b""));
            assert_eq!(listener.frame().code(), Some(1002));
            server.settle();
            let before = server.count(Counter::Ended);
            server.pass(1.8);
            assert_eq!(server.count(Counter::Ended), before);
            server.pass(0.5);
            server.wait_until("it is gone", |server| server.count(Counter::Ended) == before + 1);
        },
    },
    Row {
        limit: "endpoints: a password of 8 to 1024 bytes, names of 254",
        options: "",
        holds: |server| {
            let register = |name: &str, password: &str| {
                let body = format!("{{\"username\":\"{name}\",\"password\":\"{password}\"}}");
                Writer::on(server, 1).ask("POST", USERS, "", &body)
            };
            for (name, bytes) in [("anna", 8), ("bert", 1_024)] {
                assert_eq!(register(name, &"x".repeat(bytes)).status, 201);
            }
            for bytes in [7, 1_025] {
                expect_told(&register("carl", &"x".repeat(bytes)), 400, "Password not valid.");
            }
            assert_eq!(register(&"x".repeat(254), PASSWORD).status, 201);
            expect_told(&register(&"x".repeat(255), PASSWORD), 400, "Username or email and password are required.");
        },
    },
    Row {
        limit: "endpoints: sessions_per_user_max",
        options: "sessions_per_user_max = 2\n",
        holds: |server| {
            let mut writer = Writer::on(server, 1);
            writer.register(USERS, "anna");
            let mut log_in = || {
                server.pass(1.0);
                writer.login(USERS, "anna")
            };
            let [first, second] = [log_in(), log_in()];
            let mut socket = Listener::with(server, 2, &target(NOTES, ""), &bearer(&first));
            let third = log_in();
            socket.expect_close(1000, "Access token expired.");
            let status = |token: &str| Writer::of_user(server, 1, token).ask("GET", NOTES, "", "").status;
            assert_eq!([&first, &second, &third].map(|token| status(token)), [401, 200, 200]);
        },
    },
    Row {
        limit: "endpoints: session_ttl",
        options: "session_ttl = \"60s\"\n",
        holds: |server| {
            let mut writer = Writer::on(server, 1);
            writer.register(USERS, "anna");
            let token = writer.login(USERS, "anna");
            let mut socket = Listener::with(server, 2, &target(NOTES, ""), &bearer(&token));
            server.pass(59.0);
            assert!(socket.client.pending().is_empty());
            server.pass(1.0);
            let close = std::iter::from_fn(|| Some(socket.frame())).find(|frame| frame.opcode == 8);
            assert_eq!(close.and_then(|frame| frame.code()), Some(1000));
        },
    },
];
