//! Documents: shown, written, conflated for who lags; and tokens that are revoked.

use super::prefixed::command;
use super::*;
use crate::exchange::{Alter, AlterRefusal, Alteration, Group, Notice, Refusal, Revocation, TokenDigest, Write, WriteRefusal};
use crate::record::RecordId;

const GROUP: Group = Group { bytes: 2, documents_max: 9, awaited_max: 9 };

/// Does what its client says; what is said ends with a semicolon.
struct Reader {
    encoding: EncodingId,
}

pub(super) fn opening(encoding: EncodingId) -> Opening {
    Opening::WebSocket { session: Box::new(Reader { encoding }), upgrade: Response::new(101) }
}

impl Session for Reader {
    fn limits(&self) -> &ConnectionLimits {
        &CONNECTION_LIMITS
    }

    fn received(&mut self, inbound: Inbound<'_>, actions: &mut Actions) {
        let Inbound::Text(text) = inbound else { return };
        match text.split(' ').collect::<Vec<_>>()[..] {
            ["watch", id, name] => {
                let id = SubscriptionId(id.parse().unwrap());
                let topic = JoinTopic { id, name: name.into(), start: StartAt::Now, must_have_messages: false };
                let join = Join { topics: vec![topic], document: Some(GROUP), ..Join::default() };
                actions.join(join, Delivery::Shared(self.encoding));
            }
            ["show", name] => actions.ask(Question::Document(name.into())),
            ["write", name, value] => actions.write(Write {
                topic: name.into(),
                value: value.as_bytes().into(),
                group: GROUP,
                must_exist: false,
                condition: None,
                skip_equal: false,
            }),
            ["alter", endpoint] => actions.alter(Alter {
                endpoint: endpoint.into(),
                what: Alteration::Delete { id: RecordId(1), by: None },
                records_max: 1,
                revoke: None,
            }),
            ["revoke"] => actions.ask(Question::Revoke(Revocation::Token(TokenDigest([7; 32])))),
            _ => panic!("no such command: {text}"),
        }
    }

    fn joined(&mut self, joined: &Joined, actions: &mut Actions) {
        match &joined.document {
            Some(document) => actions.show(self.encoding, document.clone()),
            None => actions.send(&b"missing;"[..]),
        }
    }

    fn refused(&mut self, refusal: Refusal, _actions: &mut Actions) {
        panic!("{refusal:?}");
    }

    fn answered(&mut self, answer: Answer, actions: &mut Actions) {
        match answer {
            Answer::Written(Ok(_)) => actions.send(&b"written;"[..]),
            Answer::Written(Err(WriteRefusal::Unavailable)) => actions.send(&b"unavailable;"[..]),
            Answer::Altered(Err(AlterRefusal::Missing)) => actions.send(&b"nothing;"[..]),
            Answer::Altered(Err(AlterRefusal::Unavailable)) => actions.send(&b"not altered;"[..]),
            Answer::Document(Some(document)) => actions.show(self.encoding, document),
            Answer::Document(None) => actions.send(&b"unknown;"[..]),
            Answer::Announced => actions.send(&b"announced;"[..]),
            other => panic!("{other:?}"),
        }
    }

    fn noticed(&mut self, notice: &Notice, actions: &mut Actions) {
        assert_eq!(*notice, Notice::Revoked(Revocation::Token(TokenDigest([7; 32]))));
        actions.send(&b"revoked;"[..]);
    }

    fn too_slow(&mut self, _actions: &mut Actions) {
        panic!("nobody is too slow for a state");
    }

    fn draining(&mut self, actions: &mut Actions) {
        actions.close(Some(1001), "");
    }
}

impl House {
    /// A client that watches these documents.
    fn reader(&mut self, names: &[&str]) -> Client {
        let client = self.connect();
        self.send(&client, UPGRADE.replace("/socket", "/documents"));
        for (id, name) in names.iter().enumerate() {
            self.send(&client, command(&format!("watch {id} {name}")));
        }
        let greeting = client.got();
        assert!(greeting.starts_with("HTTP/1.1 101 "), "{greeting:?}");
        client
    }

    fn document(&mut self, writer: &Client, name: &str, value: &str) {
        self.send(writer, command(&format!("write {name} {value}")));
    }
}

#[test]
fn everybody_who_is_shown_a_state_shares_one_frame() {
    let mut house = House::new(limits());
    let writer = house.reader(&[]);
    let early = house.reader(&["$ax"]);
    let asks = |house: &mut House, what: &str| house.send(&early, command(what));
    asks(&mut house, "show $ay");
    asks(&mut house, "show $ax");
    assert_eq!(early.got(), "unknown;unknown;");
    house.document(&writer, "$ax", "1;");
    asks(&mut house, "show $ax");
    let late = house.connect();
    house.send(&late, UPGRADE.replace("/socket", "/documents"));
    house.send(&late, command("watch 0 $ax"));
    house.document(&writer, "$ax", "2;");
    assert_eq!((early.got(), writer.got()), ("1;1;2;".into(), "written;written;".into()));
    assert!(late.got().ends_with("\r\n\r\n1;2;"));
    assert_eq!((house.counted(Counter::Encodings), house.counted(Counter::Deliveries)), (2, 5));
}

#[test]
fn rs_51_a_stalled_reader_holds_its_window_and_next_receives_the_newest() {
    let mut house = House::new(limits());
    let writer = house.reader(&[]);
    let stalled = house.reader(&["$ax", "$ay"]);
    let prompt = house.reader(&["$ax"]);
    stalled.takes(0);
    let padding = "x".repeat(80);
    for number in 0..10_000 {
        house.document(&writer, "$ax", &format!("{number}{padding};"));
        if number % 3_000 == 0 {
            house.document(&writer, "$ay", &format!("y{number};"));
        }
        let connection = house.reactor.connections.find(stalled.token).unwrap();
        assert!(house.reactor.connections[connection].outbox.bytes() < CONNECTION_LIMITS.outbox_bytes_max);
    }
    assert_eq!(prompt.got().matches(';').count(), 10_000, "who reads gets every state");
    stalled.takes_everything();
    house.writable(&stalled);
    let got = stalled.got();
    let states: Vec<&str> = got.split_terminator(';').collect();
    let queued = states.len() - 2;
    assert!(queued < 70, "what the window took: {queued}");
    let of_x = |state: &&str| state.strip_suffix(&*padding).map(|number| number.parse::<u32>().unwrap());
    let mut sent: Vec<u32> = states.iter().filter_map(of_x).collect();
    assert!(sent.is_sorted_by(|one, other| one < other));
    assert_eq!((sent.pop(), sent.len() < 70), (Some(9_999), true));
    let of_y: Vec<&&str> = states.iter().filter(|state| state.starts_with('y')).collect();
    assert_eq!(of_y, [&"y0", &"y9000"]);
    assert_eq!((house.counted(Counter::Lagging), house.counted(Counter::LagEnded)), (1, 1));
    house.document(&writer, "$ax", "live;");
    assert_eq!(stalled.got(), "live;");
}

#[test]
fn a_document_joined_while_the_connection_lags_is_shown_once() {
    let mut house = House::new(limits());
    let writer = house.reader(&[]);
    let stalled = house.reader(&["$ax"]);
    stalled.takes(0);
    house.document(&writer, "$ay", "y;");
    for number in 0..100 {
        house.document(&writer, "$ax", &format!("{number};"));
    }
    house.send(&stalled, command("watch 1 $ay"));
    house.document(&writer, "$ax", "newest;");
    stalled.takes_everything();
    house.writable(&stalled);
    let got = stalled.got();
    assert_eq!((got.matches('y').count(), got.ends_with(";y;newest;")), (1, true), "{got}");
}

#[test]
fn writes_share_the_budget_of_unanswered_publications_and_are_answered_in_order() {
    let mut house = House::new(Limits { unanswered_max: 1, ..limits() });
    let writer = house.reader(&[]);
    let writes = ["1", "2", "3"].map(|value| command(&format!("write $ax {value};")));
    house.send(&writer, writes.concat());
    assert_eq!((writer.got(), house.counted(Counter::RefusedBusy)), ("written;unavailable;unavailable;".into(), 2));
    house.send(&writer, command("show $ax"));
    house.send(&writer, command("write $ax 4;"));
    assert_eq!(writer.got(), "1;written;");

    let mut house = House::new(Limits { unanswered_bytes_max: 13, ..limits() });
    let writer = house.reader(&[]);
    let writes = ["123456789012345;", "2;"].map(|value| command(&format!("write $ax {value}")));
    house.send(&writer, writes.concat());
    assert_eq!(writer.got(), "written;unavailable;", "one is always let through");
    let writes = ["1", "2", "3"].map(|value| command(&format!("write $ax {value};")));
    house.send(&writer, writes.concat());
    assert_eq!(writer.got(), "written;written;unavailable;", "name and value count");
}

#[test]
fn alterations_share_the_budget_of_unanswered_publications_and_are_answered_in_order() {
    let mut house = House::new(Limits { unanswered_max: 1, ..limits() });
    let writer = house.reader(&[]);
    let asked = ["alter $e", "write $ax 1;", "alter $e"].map(command);
    house.send(&writer, asked.concat());
    assert_eq!((writer.got(), house.counted(Counter::RefusedBusy)), ("nothing;unavailable;not altered;".into(), 2));
    house.send(&writer, command("alter $e"));
    assert_eq!(writer.got(), "nothing;");
}

#[test]
fn everybody_hears_of_a_revocation() {
    let mut house = House::new(limits());
    let (author, other) = (house.reader(&[]), house.reader(&[]));
    house.send(&author, command("revoke"));
    let mut heard = author.got();
    heard.push_str(&other.got());
    assert_eq!((heard.matches("revoked;").count(), heard.matches("announced;").count()), (2, 1));
}

#[test]
fn a_state_shown_while_the_connection_lags_is_not_read_once_more() {
    let mut house = House::new(limits());
    let writer = house.reader(&[]);
    let stalled = house.reader(&["$ax", "$ay"]);
    stalled.takes(0);
    for number in 0..100 {
        house.document(&writer, "$ax", &format!("{number};"));
        house.document(&writer, "$ay", &format!("y{number};"));
    }
    assert_eq!(house.counted(Counter::Lagging), 1);
    house.send(&stalled, command("show $ax"));
    stalled.takes_everything();
    house.writable(&stalled);
    let got = stalled.got();
    let last: Vec<&str> = got.split_terminator(';').rev().take(2).collect();
    let times = got.split(';').filter(|state| *state == "99").count();
    assert_eq!((times, last), (1, vec!["y99", "99"]), "{got}");
    house.document(&writer, "$ax", "newest;");
    assert_eq!(stalled.got(), "newest;");
}
