//! `/metrics` counts connections by dialect, and counts down when they end.

use crate::client::Client;
use crate::{dev, eventually, start, wait_for_subscribers};

#[test]
fn connections_are_counted_by_dialect() {
    let server = start(dev());
    let address = server.address();
    let mut asking = Client::connect(address);
    let counted = |asking: &mut Client, dialect: &str| -> u64 {
        let body = asking.get("/metrics").body;
        let begin = format!("fanwire_dialect_connections{{dialect=\"{dialect}\"}} ");
        let line = body.lines().find_map(|line| line.strip_prefix(&begin)).unwrap_or_else(|| panic!("no {begin} in {body}"));
        line.parse().unwrap()
    };
    let mut websocket = Client::connect(address);
    websocket.upgrade("/websocket/news?auth_token=dev", "");
    let mut poll = Client::connect(address);
    poll.ask("GET", "/longpoll/news?auth_token=dev", "", "");
    let mut publisher = Client::connect(address);
    publisher.upgrade("/publish", "Authorization: Bearer dev\r\n");
    let mut statistics = Client::connect(address);
    wait_for_subscribers(&mut statistics, "dev", "news", 2);
    // The statistics are push_stream's own, but answered: their conversation is over.
    assert_eq!((counted(&mut asking, "push_stream"), counted(&mut asking, "publish")), (2, 1));
    statistics.publish("dev", "news", "1");
    assert_eq!(poll.answer().status, 200);
    drop((websocket, publisher));
    eventually("the ended connections to be counted down", || {
        counted(&mut asking, "push_stream") == 0 && counted(&mut asking, "publish") == 0
    });
}
