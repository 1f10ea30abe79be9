//! Reactors with a table of descriptors each, as they run by default on Linux.
//!
//! In a test binary of its own: such a table is a copy of the process's, and would keep other tests' sockets open.

mod support;

use support::{Client, LISTEN, Mode, REACTORS, Server, config};

#[test]
fn reactors_with_private_tables_serve_and_close_their_own_sockets() {
    let server = Server::with_config(&format!("{}{}", LISTEN.replace("private_fd_tables = false\n", ""), support::ACCESS));
    assert!(config(&LISTEN.replace("private_fd_tables = false\n", "")).server.private_fd_tables, "the default");
    let mut held: Vec<Client> = (0..8 * REACTORS).map(|_| server.subscribe(0, Mode::WebSocket, "a", "").client).collect();
    server.wait_for_subscribers("a", held.len() as u64);
    let rows = server.summary();
    let serving = rows["by_worker"].as_array().unwrap().iter().filter(|row| row["subscribers"].as_u64() > Some(0)).count();
    assert!(serving > 1, "the connections are spread: {rows}");
    server.publish("a", "1");
    for client in &mut held {
        assert_eq!(client.envelope().id, 1);
    }
    // Both sides' ends are seen.
    let left = held.split_off(REACTORS);
    drop(left);
    server.wait_for_subscribers("a", REACTORS as u64);
    server.delete("a");
    for client in &mut held {
        assert_eq!(client.envelope().id, -2);
        client.expect_close(0, "");
    }
}
