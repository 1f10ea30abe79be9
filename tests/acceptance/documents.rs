//! Documents and issued tokens of `resources` outlive `kill -9`: what was answered, and what anybody was sent.

use crate::Xorshift;
use crate::client::{Answer, Client, masked};
use crate::storage::{House, kill};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

const PROJECT: &str = "x-m2-organization: o\r\nx-m2-project: p\r\n";
const KEY: &str = "service-key-0123456789";
const DOCUMENTS: usize = 3;
const ROUNDS: usize = 10;

fn path(document: usize) -> String {
    format!("/api/realtime/resources/liveConfig/d{document}")
}

fn service() -> String {
    format!("{PROJECT}x-api-key: {KEY}\r\nContent-Type: application/json\r\n")
}

/// Version and value of a document.
type State = (String, u64);

fn version_of(answer: &str) -> String {
    serde_json::from_str::<serde_json::Value>(answer).unwrap()["version"].as_str().unwrap().to_owned()
}

fn state_of(frame: &str) -> State {
    let value: serde_json::Value = serde_json::from_str(frame).unwrap();
    (value["version"].as_str().unwrap().to_owned(), value["data"].as_u64().unwrap())
}

fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    let mut client = Client::connect(address);
    client.ask(method, path, &service(), body);
    client.answer()
}

/// Writes ever larger numbers until the server dies; the last one that was answered, and the last one that was not.
fn write_until_the_end(mut client: Client, document: usize, from: u64) -> (Option<State>, u64) {
    let mut answered = None;
    for value in from.. {
        let body = value.to_string();
        let Some(answer) = client.try_ask("PUT", &path(document), &service(), &body) else { return (answered, value) };
        assert!([200, 201].contains(&answer.status), "{answer:?}");
        answered = Some((version_of(&answer.body), value));
    }
    unreachable!("a server that never dies")
}

/// Everything that a subscriber of all documents is sent until the server dies: the last state of each.
fn listen_until_the_end(mut client: Client) -> HashMap<String, State> {
    let mut newest: HashMap<String, State> = HashMap::new();
    while let Some(frame) = client.try_frame() {
        // Pings come, too.
        if frame.first != 0x81 {
            continue;
        }
        let text = String::from_utf8(frame.payload).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        if value.get("data").is_some() {
            let state = state_of(&text);
            let id = value["resource"]["id"].as_str().unwrap().to_owned();
            let before = newest.insert(id, state.clone());
            assert!(before.is_none_or(|before| before.0 < state.0), "versions only grow");
        }
    }
    newest
}

fn listener(address: SocketAddr, fields: &str) -> Client {
    let mut client = Client::connect(address);
    client.upgrade("/api/realtime", &format!("{PROJECT}{fields}"));
    for document in 0..DOCUMENTS {
        let request =
            format!(r#"{{"action":"subscribe","resource":{{"type":"liveConfig","id":"d{document}"}},"ref":{document}}}"#);
        client.send(masked(0x81, request.as_bytes()));
        assert!(client.text().contains(&format!(r#""ref":{document}"#)));
    }
    client
}

fn issue(address: SocketAddr, user: &str) -> String {
    let answer = ask(address, "POST", "/api/realtime/tokens", &format!(r#"{{"userId":"{user}"}}"#));
    assert_eq!(answer.status, 201, "{answer:?}");
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    body["token"].as_str().unwrap().to_owned()
}

fn opens(address: SocketAddr, token: &str) -> u16 {
    let mut client = Client::connect(address);
    client.ask_upgrade("/api/realtime", &format!("{PROJECT}Authorization: Bearer {token}\r\n"));
    client.answer().status
}

#[test]
fn rs_63_rs_64_whatever_was_answered_or_sent_of_documents_outlives_kill_9() {
    let house = House::new("storage-documents");
    let mut random = Xorshift(20_261_129);
    let mut answered: Vec<Option<State>> = vec![None; DOCUMENTS];
    let mut next = [1; DOCUMENTS];
    let mut sent: HashMap<String, State> = HashMap::new();
    let mut writes = 0;
    for round in 0..=ROUNDS {
        let (process, address) = house.start();
        for document in 0..DOCUMENTS {
            let answer = ask(address, "GET", &path(document), "");
            let Some(known) = &answered[document] else {
                assert!(round == 0 && answer.status == 404, "{answer:?}");
                continue;
            };
            let (version, value) = state_of(&answer.body);
            assert!(value == known.1 && version == known.0 || value > known.1 && version > known.0, "{answer:?} after {known:?}");
            assert!(value < next[document], "{answer:?}: nobody wrote that");
            let seen = sent.get(&format!("d{document}"));
            assert!(
                seen.is_none_or(|seen| *seen <= (version.clone(), value)),
                "round {round}: {seen:?} was sent, {answer:?} is there"
            );
        }
        if round == ROUNDS {
            kill(process);
            break;
        }
        let listeners = [listener(address, ""), listener(address, "")];
        let wait = Duration::from_millis(30 + random.below(150) as u64);
        std::thread::scope(|scope| {
            let listeners = listeners.map(|client| scope.spawn(|| listen_until_the_end(client)));
            let writers: Vec<_> = next
                .iter()
                .enumerate()
                .map(|(document, &from)| {
                    let client = Client::connect(address);
                    scope.spawn(move || write_until_the_end(client, document, from))
                })
                .collect();
            std::thread::sleep(wait);
            kill(process);
            for (document, writer) in writers.into_iter().enumerate() {
                let (last, unanswered) = writer.join().unwrap();
                writes += unanswered - next[document];
                next[document] = unanswered + 1;
                answered[document] = last.or_else(|| answered[document].take());
            }
            for listener in listeners {
                for (id, state) in listener.join().unwrap() {
                    let newest = sent.entry(id).or_insert_with(|| state.clone());
                    *newest = state.max(newest.clone());
                }
            }
        });
    }
    assert!(writes > 5 * ROUNDS as u64 && sent.len() == DOCUMENTS, "{writes} writes");
    house.remove();
}

#[test]
fn rs_63_tokens_and_revocations_outlive_kill_9() {
    let house = House::new("storage-tokens");
    let (process, address) = house.start();
    let tokens = ["u1", "u1", "u2"].map(|user| issue(address, user));
    kill(process);
    let (process, address) = house.start();
    assert_eq!(tokens.each_ref().map(|token| opens(address, token)), [101, 101, 101]);
    let revoke = |body: &str| assert_eq!(ask(address, "DELETE", "/api/realtime/tokens", body).status, 204);
    revoke(&format!(r#"{{"token":"{}"}}"#, tokens[0]));
    revoke(r#"{"userId":"u2"}"#);
    kill(process);
    let (process, address) = house.start();
    assert_eq!(tokens.each_ref().map(|token| opens(address, token)), [401, 101, 401]);
    kill(process);
    house.remove();
}
