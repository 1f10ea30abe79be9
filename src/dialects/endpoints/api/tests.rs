//! Requests turn by turn: what they ask of the hub and of workers, and what they make of each answer.

use super::super::options::Options;
use super::super::{Endpoints, Live};
use crate::access::{Digest, digest};
use crate::clock::Now;
use crate::exchange::{AlterRefusal, Alteration, Answer, Grant, Notice, Question, Refusal, Revocation, TokenDigest};
use crate::http::head::{BodyLength, Head, Version};
use crate::http::response::Response;
use crate::message::{Seq, Stamp};
use crate::record::{Record, RecordId, RecordList};
use crate::session::{Action, Actions, BodyMode, Dialect as _, Door, Encoders, Inbound, Opening, Request, Session};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

const KEY: &str = "d59eb2859c284168ac48aef65046d5dd";
const MASTER: &str = "masterKey=master-key-of-examples";
const GROUP: &str = "$endpoint\u{1f}rested\u{1f}examples";
const TOKEN: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const ANNA: RecordId = RecordId(0xa);
const ID: RecordId = RecordId(0x1d);
/// Unix milliseconds.
const NOW: u64 = 1_795_191_466_000;

fn service() -> Endpoints {
    let endpoint = |name: &str, options: &str| format!("[[rested.projects.endpoints]]\nname = \"{name}\"\n{options}\n");
    let text = format!(
        "[[rested.projects]]\nname = \"examples\"\nkey = \"{KEY}\"\nmaster_key = \"master-key-of-examples\"\n\
         cookie_from_any_origin = true\n{}{}{}{}",
        endpoint("examples/open", ""),
        endpoint("examples/users", "auth = true"),
        endpoint("examples/notes", "secure = true"),
        endpoint("examples/board", "secure = true\nread_by_others = true\nupdate_by_others = true\ndelete_by_others = true"),
    );
    let mut options: Options = toml::from_str(&text).unwrap();
    options.resolve(&mut |path| panic!("{path:?} is read"), &mut |key, problem| panic!("{key}: {problem}"));
    let live = Live::new([7; 32]);
    live.prepare(&options, &mut Encoders::default(), Duration::from_secs(5)).enforce();
    live.dialect()
}

/// One request, whatever has been asked of whom.
struct Asking {
    session: Box<dyn Session>,
    actions: Actions,
    body: BodyMode,
}

fn now() -> Now {
    Now { micros: 1_000_000, unix_micros: NOW * 1_000 }
}

/// Of a request without a token, or with one.
fn open(method: &str, endpoint: &str, query: &str, fields: &[(&str, &str)], body: BodyLength) -> Result<Asking, Response> {
    let target = format!("/api/1/ce/examples/{endpoint}?key={KEY}&{query}");
    let head = Head {
        method,
        target: &target,
        version: Version::Http11,
        fields: fields.to_vec(),
        body,
        keep_alive: true,
        expects_continue: false,
    };
    let peer = Ipv4Addr::LOCALHOST.into();
    let request = Request { head: &head, door: Door::Public, peer, reactor: 0, now: now(), draining: false, full: false };
    let mut actions = Actions::new(now());
    match service().open(&request, &mut actions).expect("a path of the dialect") {
        Opening::Hold { session, body } => Ok(Asking { session, actions, body }),
        Opening::Respond(response) => Err(response),
        Opening::WebSocket { .. } => panic!("no upgrade was asked for"),
    }
}

/// One by Anna, whose token counts.
fn by_anna(method: &str, endpoint: &str, query: &str, body: &str) -> Asking {
    let mut asking = with_token(method, endpoint, query, body.len());
    asking.know(Some(grant()));
    asking.send(body);
    asking
}

fn with_token(method: &str, endpoint: &str, query: &str, body: usize) -> Asking {
    let length = if body == 0 { BodyLength::None } else { BodyLength::Length(body as u64) };
    let fields = [("Authorization", TOKEN), ("Content-Type", "application/json")];
    open(method, endpoint, query, &fields, length).unwrap_or_else(|response| panic!("{response:?}"))
}

fn token() -> TokenDigest {
    let digest: Digest = digest(TOKEN.as_bytes());
    TokenDigest(digest)
}

fn grant() -> Grant {
    Grant { group: GROUP.into(), user: ANNA.to_string().into(), until: NOW + 1 }
}

fn record(data: &str, updated: u64) -> Arc<Record> {
    let data = data.as_bytes().into();
    Arc::new(Record { id: ID, place: Seq(1), owner: Some(ANNA), created: NOW, updated, data, account: None })
}

impl Asking {
    fn next(&mut self) -> Option<Action> {
        let mut actions: Vec<Action> = self.actions.drain().collect();
        assert!(actions.len() < 2, "{actions:?}");
        actions.pop()
    }

    /// The hub is asked for the token, and knows this of it.
    fn know(&mut self, grant: Option<Grant>) {
        assert!(!self.session.accepts_input());
        let Some(Action::Ask(Question::Grant(_))) = self.next() else { panic!("who it is") };
        self.session.answered(Answer::Grant(grant), &mut self.actions);
    }

    fn send(&mut self, body: &str) {
        if !body.is_empty() {
            assert!(self.session.accepts_input() && self.body == BodyMode::Parts);
            self.session.received(Inbound::Part(body.as_bytes()), &mut self.actions);
            assert_eq!(self.session.collected_bytes(), body.len());
            self.session.received(Inbound::End, &mut self.actions);
        }
    }

    fn alteration(&mut self) -> Alteration {
        match self.next() {
            Some(Action::Alter(alter)) => alter.what,
            other => panic!("an alteration, not {other:?}"),
        }
    }

    /// Status and text of the answer.
    #[track_caller]
    fn said(&mut self) -> (u16, String) {
        let Some(Action::Respond(response)) = self.next() else { panic!("an answer") };
        (response.status, String::from_utf8(response.body).unwrap())
    }

    fn found(&mut self, records: Vec<Arc<Record>>) {
        let Some(Action::Ask(Question::RecordsById { .. })) = self.next() else { panic!("a look") };
        self.session.answered(Answer::RecordsById(records), &mut self.actions);
    }

    fn altered(&mut self, result: Result<Vec<Arc<Record>>, AlterRefusal>) {
        self.session.answered(Answer::Altered(result), &mut self.actions);
    }
}

fn told(status: u16, text: &str) -> (u16, String) {
    (status, format!("{{\"error\":\"{text}\"}}"))
}

const NO_TOKEN: &str = "No Access token or invalid.";

/// Whose records alone are read, changed and deleted by this request; `None`: everybody's.
fn scopes(ask: impl Fn(&str, &str, &str) -> Asking) -> [Option<RecordId>; 4] {
    let of_id = format!("uniqueId={ID}");
    let Some(Action::Ask(Question::Records { of: listed, .. })) = ask("GET", "", "").next() else { panic!("a list") };
    let Some(Action::Ask(Question::RecordsById { of: looked, .. })) = ask("PATCH", &of_id, "{}").next() else { panic!("a look") };
    let Alteration::Replace { by: updated, .. } = ask("PUT", &of_id, "1").alteration() else { panic!("a change") };
    let Alteration::Delete { by: deleted, .. } = ask("DELETE", &of_id, "").alteration() else { panic!("a deletion") };
    [listed, looked, updated, deleted]
}

#[test]
fn ep_65_what_is_somebody_elses_is_looked_for_among_ones_own() {
    let anna = |endpoint: &'static str| move |method: &str, query: &str, body: &str| by_anna(method, endpoint, query, body);
    assert_eq!(scopes(anna("notes")), [Some(ANNA); 4], "the hub knows no other of hers");
    assert_eq!(scopes(anna("board")), [None; 4]);
    let master = |method: &str, query: &str, body: &str| {
        let mut asking = with_token(method, "notes", &format!("{MASTER}&{query}"), body.len());
        asking.know(Some(grant()));
        asking.send(body);
        asking
    };
    assert_eq!(scopes(master), [None; 4]);
    let Some(Action::Ask(Question::Records { of, .. })) = by_anna("GET", "users", "", "").next() else { panic!("a list") };
    assert_eq!(of, Some(ANNA), "one's own user record");
    // Whatever the hub does not find is told in one way.
    let of_id = format!("uniqueId={ID}");
    for (method, body) in [("PUT", "1"), ("DELETE", "")] {
        let mut asking = by_anna(method, "notes", &of_id, body);
        asking.alteration();
        asking.altered(Err(AlterRefusal::Missing));
        assert_eq!(asking.said(), told(400, "No record found."));
    }
    for (method, body) in [("GET", ""), ("PATCH", "{}")] {
        let mut asking = by_anna(method, "notes", &of_id, body);
        asking.found(Vec::new());
        assert_eq!(asking.said(), told(400, "No record found."));
    }
}

#[test]
fn what_is_made_belongs_to_who_is_known() {
    let owner = |asking: &mut Asking| {
        let Alteration::Create(records) = asking.alteration() else { panic!("a creation") };
        records.iter().map(|record| record.owner).collect::<Vec<_>>()
    };
    assert_eq!(owner(&mut by_anna("POST", "notes", "", "1")), [Some(ANNA)]);
    let other_group = Grant { group: "$endpoint\u{1f}yawe\u{1f}examples".into(), ..grant() };
    for (known, expected) in [(Some(grant()), Some(ANNA)), (None, None), (Some(other_group.clone()), None)] {
        let mut asking = with_token("POST", "notes", MASTER, 1);
        asking.know(known);
        asking.send("1");
        assert_eq!(owner(&mut asking), [expected], "with the master key");
    }
    // Where nobody needs a token none is looked at.
    let mut asking = with_token("POST", "open", "", 1);
    asking.send("1");
    assert_eq!(owner(&mut asking), [None]);
    // Tokens of other projects are unknown here.
    let mut asking = with_token("POST", "notes", "", 1);
    asking.know(Some(other_group));
    assert_eq!(asking.said(), told(401, NO_TOKEN));
}

#[test]
fn a_token_has_to_count_until_the_body_is_there() {
    let revoke = |revocation: Revocation| {
        let mut asking = with_token("POST", "notes", "", 2);
        asking.know(Some(grant()));
        asking.session.noticed(&Notice::Revoked(revocation), &mut asking.actions);
        asking
    };
    let user = |user: RecordId, except| Revocation::User { group: GROUP.into(), user: user.to_string().into(), except };
    for hers in [Revocation::Token(token()), user(ANNA, None)] {
        let mut asking = revoke(hers);
        assert_eq!(asking.said(), told(401, NO_TOKEN));
        asking.session.received(Inbound::Part(b"12"), &mut asking.actions);
        asking.session.received(Inbound::End, &mut asking.actions);
        assert!(asking.actions.is_empty());
    }
    for others in [Revocation::Token(TokenDigest([0; 32])), user(ID, None), user(ANNA, Some(token()))] {
        let mut asking = revoke(others);
        asking.send("12");
        assert!(matches!(asking.alteration(), Alteration::Create(_)));
    }
    let mut asking = with_token("POST", "notes", "", 1);
    asking.know(Some(grant()));
    asking.actions.now.unix_micros += 1_000;
    asking.send("1");
    assert_eq!(asking.said(), told(401, NO_TOKEN), "it has expired meanwhile");
}

#[test]
fn nothing_is_taken_before_it_is_known_who_asks() {
    let mut asking = with_token("POST", "notes", "", 2 << 20);
    asking.know(None);
    assert_eq!(asking.said(), told(401, NO_TOKEN), "before 413");
    let mut asking = with_token("POST", "notes", "", 2 << 20);
    asking.know(Some(grant()));
    assert_eq!(asking.said(), told(413, "Body too large."), "before a byte of it");
    let mut asking = with_token("GET", "notes", "jsonata=x", 5);
    assert_eq!(asking.body, BodyMode::Parts, "or the reactor would refuse a large one first");
    asking.know(Some(grant()));
    assert_eq!(asking.said(), told(400, "jsonata is not supported."));
    let refused = open("PUT", "open", "strategy=x", &[], BodyLength::None).err().expect("an answer at once");
    assert_eq!((refused.status, &refused.body[..]), (400, &br#"{"error":"uniqueId is required."}"#[..]));
}

#[test]
fn a_change_is_made_of_what_is_there_or_made_again() {
    let of_id = format!("uniqueId={ID}&strategy=merge");
    let mut asking = by_anna("PUT", "notes", &of_id, r#"{"b":2}"#);
    for round in 0..=100 {
        asking.found(vec![record(r#"{"a":1}"#, NOW + round)]);
        let Alteration::Replace { data, unchanged_since, by, .. } = asking.alteration() else { panic!("a change") };
        assert_eq!((&*data, unchanged_since, by), (&br#"{"a":1,"b":2}"#[..], Some(NOW + round), Some(ANNA)));
        asking.altered(Err(AlterRefusal::Mismatch));
    }
    assert_eq!(asking.said(), told(503, "Storage unavailable."), "somebody else always comes first");
    let mut asking = by_anna("PUT", "notes", &format!("uniqueId={ID}"), "1");
    let Alteration::Replace { unchanged_since, .. } = asking.alteration() else { panic!("a change") };
    assert_eq!(unchanged_since, None, "whatever is there");
}

#[test]
fn what_the_hub_refuses_has_its_status() {
    let asking = |method: &str, body: &str, refusal| {
        let mut asking = by_anna(method, "board", &format!("uniqueId={ID}"), body);
        asking.alteration();
        asking.altered(Err(refusal));
        asking.said()
    };
    assert_eq!(asking("POST", "1", AlterRefusal::TooMany), told(507, "Too many records."));
    assert_eq!(asking("POST", "1", AlterRefusal::Missing), told(400, "Endpoint or API Key not valid."));
    for (method, body) in [("POST", "1"), ("PUT", "1"), ("DELETE", "")] {
        assert_eq!(asking(method, body, AlterRefusal::Unavailable), told(503, "Storage unavailable."));
    }
    let mut leaving = by_anna("POST", "users", "logout=true", "");
    assert!(matches!(leaving.next(), Some(Action::Ask(Question::Revoke(Revocation::Token(of)))) if of == token()));
    leaving.session.answered(Answer::Refused(Refusal::StorageUnavailable), &mut leaving.actions);
    assert_eq!(leaving.said(), told(503, "Storage unavailable."), "whoever hears of a logout is logged out for good");
}

#[test]
fn who_finds_the_workers_busy_comes_back_later() {
    let large = format!("\"{}\"", "x".repeat(70_000));
    let mut list = RecordList::default();
    list.push(record(&large, NOW));
    let mut reading = by_anna("GET", "notes", "", "");
    reading.next();
    reading.session.answered(Answer::Records(list, Stamp::default()), &mut reading.actions);
    let mut merging = by_anna("PATCH", "notes", &format!("uniqueId={ID}"), "{}");
    merging.found(vec![record(&large, NOW)]);
    for mut asking in [reading, merging] {
        assert!(matches!(asking.next(), Some(Action::Work { .. })));
        asking.session.answered(Answer::Refused(Refusal::Busy), &mut asking.actions);
        let Some(Action::Respond(response)) = asking.next() else { panic!("an answer") };
        assert_eq!((response.status, &response.body[..]), (429, &br#"{"error":"Too many requests."}"#[..]));
        assert!(response.fields.contains(&("Retry-After", "1".into())));
    }
}

#[test]
fn a_server_that_stops_closes_with_the_answer() {
    let mut asking = by_anna("DELETE", "notes", &format!("uniqueId={ID}"), "");
    asking.alteration();
    asking.session.draining(&mut asking.actions);
    assert!(asking.actions.is_empty());
    asking.altered(Ok(vec![record("1", NOW)]));
    let Some(Action::Respond(response)) = asking.next() else { panic!("an answer") };
    assert!(response.close && response.status == 200);
}

#[test]
fn a_deleted_user_loses_all_tokens_with_its_record() {
    let mut asking = by_anna("DELETE", "users", &format!("uniqueId={ANNA}"), "");
    let Some(Action::Alter(alter)) = asking.next() else { panic!("a deletion") };
    assert_eq!(alter.what, Alteration::Delete { id: ANNA, by: Some(ANNA) });
    let user = ANNA.to_string().into();
    assert_eq!(alter.revoke, Some(Revocation::User { group: GROUP.into(), user, except: None }));
    let mut asking = by_anna("DELETE", "notes", &format!("uniqueId={ID}"), "");
    let Some(Action::Alter(alter)) = asking.next() else { panic!("a deletion") };
    assert_eq!(alter.revoke, None);
}
