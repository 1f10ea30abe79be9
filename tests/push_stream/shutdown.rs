//! PS-70: the end of the server.

use crate::support::{Client, Mode, Server, Subscriber, epoch};

/// PS-70 [F] On stop, websockets get close 1001, waiting long polls 304 with a cursor, and streams their last chunk.
#[test]
fn ps_70_a_stop_says_goodbye_to_everyone() {
    let server = Server::with("footer_template = \"FTR\"\n");
    server.publish("a", "1");
    let now = (server.seconds(), 1);
    let mut all: Vec<Subscriber> = [Mode::WebSocket, Mode::LongPoll, Mode::Stream, Mode::EventSource]
        .into_iter()
        .flat_map(|mode| (0..4).map(move |reactor| (mode, reactor)))
        .map(|(mode, reactor)| server.subscribe(reactor, mode, "a/b", ""))
        .collect();
    // What was acknowledged before the stop is delivered before the goodbye.
    for subscriber in all.iter_mut().filter(|subscriber| Mode::HELD.contains(&subscriber.mode)) {
        server.is_silent(&mut subscriber.client);
    }
    server.publish("c", "1");
    server.drain();
    let address = server.address;
    server.pass(1.5);
    for subscriber in &mut all {
        let client = &mut subscriber.client;
        match subscriber.mode {
            Mode::WebSocket => client.expect_close(1001, ""),
            Mode::LongPoll | Mode::ShortPoll => {
                let answer = client.response();
                assert_eq!((answer.status, answer.field("Content-Length"), answer.has_gap()), (304, Some("0"), false));
                assert_eq!(answer.field("Connection"), Some("close"));
                assert!(answer.position() >= (now.0, 2), "a cursor: {}", answer.raw);
                client.expect_end();
            }
            Mode::Stream => {
                assert_eq!(client.chunk(), b"FTR");
                assert_eq!(client.chunk(), b"", "the last chunk");
                client.expect_end();
            }
            Mode::EventSource => {
                assert_eq!(client.chunk(), b": FTR\n");
                assert_eq!(client.chunk(), b"", "the last chunk");
                client.expect_end();
            }
        }
    }
    server.join();
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");

    // A poll that was published to before the stop has its message, not the goodbye.
    let server = Server::start();
    let mut poll = server.subscribe(1, Mode::LongPoll, "a", "");
    let mut held = server.subscribe(2, Mode::WebSocket, "a", "").client;
    server.publish("a", "1");
    server.drain();
    assert_eq!(poll.response().envelopes().len(), 1);
    assert_eq!(held.envelope().id, 1);
    server.pass(1.5);
    held.expect_close_code(1001);
    poll.client.expect_end();
    server.join();

    // Nobody there: it ends by itself.
    let server = Server::start();
    let mut idle = Client::on(&server, 1);
    assert_eq!(idle.get(&format!("/shortpoll/a?auth_token=dev&{}", epoch())).status, 304);
    server.drain();
    server.pass(1.5);
    idle.expect_end();
    server.join();
}
