//! Who has read the answer to a publication finds it everywhere, whichever reactor is asked.

use crate::client::{Client, EPOCH, Message};
use crate::{REACTORS, dev, start};
use std::net::SocketAddr;

const POLLS: usize = 10_000;
const HANDSHAKES: usize = 400;
const THREADS: usize = 4;

#[test]
fn read_your_writes_on_any_reactor() {
    let server = start(dev());
    let address = server.address();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || polls_see_what_was_acknowledged(address, thread));
            scope.spawn(move || handshakes_see_what_was_acknowledged(address, thread));
        }
    });
}

/// One publication through push_stream's publisher or the native ingest, in turns; returns when it is acknowledged.
fn publish(client: &mut Client, channel: &str, number: usize) {
    if number.is_multiple_of(2) {
        client.publish("dev", channel, &number.to_string());
    } else {
        let fields = "Authorization: Bearer dev\r\nContent-Type: application/json\r\n";
        client.ask("POST", "/publish", fields, &format!(r#"{{"topic":"{channel}","data":{number}}}"#));
        assert_eq!(client.answer().status, 200);
    }
}

fn polls_see_what_was_acknowledged(address: SocketAddr, thread: usize) {
    let mut publishers: Vec<Client> = (0..REACTORS).map(|reactor| Client::on(address, reactor)).collect();
    let mut readers: Vec<Client> = (0..REACTORS).map(|reactor| Client::on(address, reactor)).collect();
    let channel = format!("polls-{thread}");
    let mut cursor = EPOCH.to_owned();
    for number in 0..POLLS / THREADS {
        let (from, to) = (number % REACTORS, (number / REACTORS + thread) % REACTORS);
        publish(&mut publishers[from], &channel, number);
        let answer = readers[to].get(&format!("/shortpoll/{channel}?auth_token=dev&{cursor}"));
        assert_eq!(answer.status, 200, "{number} from reactor {from} is not on reactor {to}: {}", answer.head);
        let messages = Message::all(&answer.body);
        assert_eq!(messages.len(), 1, "{number} alone is new: {}", answer.body);
        assert_eq!((&messages[0].data, &messages[0].cursor), (&number.to_string(), &answer.cursor()));
        cursor = answer.cursor();
    }
}

fn handshakes_see_what_was_acknowledged(address: SocketAddr, thread: usize) {
    let mut publishers: Vec<Client> = (0..REACTORS).map(|reactor| Client::on(address, reactor)).collect();
    let channel = format!("handshakes-{thread}");
    let mut cursor = EPOCH.to_owned();
    for number in 0..HANDSHAKES / THREADS {
        publish(&mut publishers[number % REACTORS], &channel, number);
        // The kernel picks the reactor: all of them come up.
        let mut websocket = Client::connect(address);
        websocket.upgrade(&format!("/websocket/{channel}?auth_token=dev&{cursor}"), "");
        let message = Message::parse(&websocket.text());
        assert_eq!(message.data, number.to_string());
        let mut poll = Client::connect(address);
        let answer = poll.get(&format!("/longpoll/{channel}?auth_token=dev&{cursor}"));
        assert_eq!((answer.status, Message::all(&answer.body)), (200, vec![message.clone()]));
        cursor = message.cursor;
    }
}
