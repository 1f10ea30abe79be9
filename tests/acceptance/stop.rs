//! A stop in the middle of the work: what was acknowledged before it is delivered.

use crate::client::{Client, Message};
use crate::{Xorshift, dev, start, wait_for_subscribers};

const ROUNDS: usize = 25;
const SUBSCRIBERS: usize = 100;

#[test]
fn what_was_acknowledged_before_a_stop_is_delivered() {
    let mut random = Xorshift(20_261_120);
    for round in 0..ROUNDS {
        let server = start(dev());
        let address = server.address();
        let mut subscribers: Vec<Client> = (0..SUBSCRIBERS)
            .map(|_| {
                let mut client = Client::connect(address);
                client.ask_upgrade("/websocket/a?auth_token=dev", "");
                client
            })
            .collect();
        subscribers.iter_mut().for_each(|client| assert_eq!(client.answer().status, 101));
        let mut publisher = Client::connect(address);
        wait_for_subscribers(&mut publisher, "dev", "a", SUBSCRIBERS);
        let messages = 1 + random.below(8);
        for number in 0..messages {
            publisher.publish("dev", "a", &number.to_string());
        }
        server.drain();
        for client in &mut subscribers {
            for number in 0..messages {
                let frame = client.try_frame().expect("a frame before the end");
                assert_eq!(frame.first, 0x81, "round {round}: {number} of {messages} was acknowledged: {frame:?}");
                assert_eq!(Message::parse(&String::from_utf8(frame.payload).unwrap()).data, number.to_string());
            }
            assert_eq!(client.expect_close(1001), "");
        }
        publisher.expect_end();
        drop((subscribers, publisher));
        server.join().unwrap();
    }
}
