//! AC-51 to AC-62: what subscribers receive, and when.

use crate::support::cable::{api, data, event};
use crate::support::{Cable, Server};

#[test]
fn ac_51_the_documents_announcement_has_its_286_bytes() {
    let server = Server::with_cable("", "");
    let mut cable = Cable::open(&server, 1);
    let identifier = api("announcements");
    cable.subscribe(&identifier);
    let object =
        r#"{"id":8,"text":null,"expiry":null,"created_at":"2017-07-29T23:41:59.000Z","updated_at":"2017-07-29T23:41:59.000Z"}"#;
    server.cable_event("create", "Announcement", object);
    let expected = data(&identifier, &event("create", "Announcement", object));
    assert_eq!(expected.len(), 286);
    assert_eq!(cable.take(4), b"\x81\x7e\x01\x1e");
    assert_eq!(cable.take(286), expected.as_bytes());
}
