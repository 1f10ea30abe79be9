//! One publisher, a thousand listeners: everything arrives in order, encoded once, written once per turn.

use crate::client::{Client, Message, masked};
use crate::{REACTORS, dev, eventually, start, wait_for_subscribers};
use fanwire::metrics::Counter;

const SUBSCRIBERS: usize = 1_000;
const MESSAGES: usize = 200;
const BATCH: usize = 16;

#[test]
fn publisher_to_a_thousand_subscribers() {
    let server = start(dev());
    let address = server.address();
    let count = |counter| server.metrics().sum(counter) as usize;
    let mut subscribers: Vec<Client> = (0..SUBSCRIBERS)
        .map(|_| {
            let mut client = Client::connect(address);
            client.ask_upgrade("/websocket/news?auth_token=dev", "");
            client
        })
        .collect();
    for client in &mut subscribers {
        assert_eq!(client.answer().status, 101);
    }
    let mut publisher = Client::connect(address);
    wait_for_subscribers(&mut publisher, "dev", "news", SUBSCRIBERS);
    for reactor in 0..REACTORS {
        let there = server.metrics().reactors[reactor].read(Counter::WebSocketOpened);
        assert!(there > 100, "reactor {reactor} serves {there} of {SUBSCRIBERS}");
    }

    publisher.upgrade("/publish", "Authorization: Bearer dev\r\n");
    for number in 0..MESSAGES {
        publisher.send(masked(0x81, format!(r#"{{"topic":"news","data":{number}}}"#).as_bytes()));
    }
    for _ in 0..MESSAGES {
        assert!(publisher.text().starts_with(r#"{"topic":"news","seq":"#));
    }
    for client in &mut subscribers {
        for number in 0..MESSAGES {
            assert_eq!(Message::parse(&client.text()).data, number.to_string());
        }
    }
    // A client may read what it was sent before the server has counted it.
    eventually("all is counted", || count(Counter::Deliveries) == SUBSCRIBERS * MESSAGES);
    assert_eq!(count(Counter::Encodings), MESSAGES, "one per message");

    let writes = count(Counter::Writes);
    let batch: Vec<String> = (0..BATCH).map(|number| format!(r#"{{"topic":"news","data":"{number}"}}"#)).collect();
    publisher.send(masked(0x81, format!("[{}]", batch.join(",")).as_bytes()));
    for client in &mut subscribers {
        for number in 0..BATCH {
            assert_eq!(Message::parse(&client.text()).data, format!("\"{number}\""));
        }
    }
    eventually("all is counted", || count(Counter::Deliveries) == SUBSCRIBERS * (MESSAGES + BATCH));
    assert_eq!(count(Counter::Encodings), MESSAGES + BATCH);
    // The answer to the publisher is one more; the last write of each reactor before may have been counted late.
    let written = count(Counter::Writes) - writes;
    assert!(written <= SUBSCRIBERS + 1 + REACTORS, "{written} writes to {SUBSCRIBERS} subscribers for one batch");
    assert_eq!(count(Counter::Lagging), 0);
}
