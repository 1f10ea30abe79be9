//! RS-42 to RS-48: who may subscribe to what, and whose documents are whose.

use crate::support::realtime::{
    DEV, FORBIDDEN, GAME, Listener, PATH, PRIVATE, PROJECT, SERVICE, WORLD, Writer, document, missing,
};
use crate::support::{Client, Server};

const THEIRS: (&str, &str) = ("kvStore", "u2:kvstoreClient:k");

#[test]
fn rs_42_the_key_of_another_user_is_forbidden_whether_it_exists_or_not() {
    let server = Server::with_project("", "", "");
    let mut writer = Writer::on(&server, 3);
    let mut listener = Listener::user(&server, 1, "u1");
    let others = [THEIRS, ("kvStore", "u2:kvstoreServer:k"), ("collection", "private:u2"), ("collection", "public:u2")];
    for of in others {
        assert_eq!(listener.subscribe(of), FORBIDDEN, "{of:?}");
    }
    others.into_iter().for_each(|of| drop(writer.put(of, "1")));
    for of in others {
        assert_eq!(listener.subscribe(of), FORBIDDEN, "{of:?}");
        writer.put(of, "2");
    }
    server.expect_silence(&mut listener);
}

#[test]
fn rs_43_a_user_has_its_own_keys_in_both_stores() {
    let server = Server::with_project("", "", "");
    let mut writer = Writer::on(&server, 3);
    let mut listener = Listener::user(&server, 1, "u1");
    for of in [("kvStore", "u1:kvstoreClient:k"), ("kvStore", "u1:kvstoreServer:k:more")] {
        listener.await_document(of);
        let version = writer.put(of, "1");
        listener.expect(&document("u1", of, "1", &version));
    }
    // And what belongs to nobody alone.
    listener.await_document(WORLD);
    listener.await_document(GAME);
}

#[test]
fn rs_44_a_service_key_reads_every_owner_of_its_project_and_nothing_of_another() {
    let other = "x-m2-organization: testOrg\r\nx-m2-project: other\r\n";
    let tables = "[[resources.projects]]\norganization = \"testOrg\"\nproject = \"other\"\n\
                  service_keys = [{ name = \"other\", key = \"key-of-the-other-project\" }]\n";
    let server = Server::with_project("", "", tables);
    let mut writer = Writer::on(&server, 3);
    let mut listener = Listener::with(&server, 1, SERVICE);
    let all = [THEIRS, WORLD, GAME, ("collection", "private:u2"), ("kvStore", "u1:kvstoreServer:k")];
    for of in all {
        let user = if of == GAME { "" } else { of.1.trim_start_matches("private:").split(':').next().unwrap() };
        let version = writer.put(of, "1");
        let shown = if of.0 == "collection" { PRIVATE } else { of };
        assert_eq!(listener.subscribe(of), document(user, shown, "1", &version));
    }
    // It has no collections of its own.
    assert_eq!(listener.subscribe(PRIVATE), FORBIDDEN);
    let mut client = Client::on(&server, 2);
    assert_eq!(client.ask_upgrade(PATH, &format!("{other}{SERVICE}")).status, 403);
    // Whoever is let in there finds other documents.
    let mut elsewhere = Listener::asking(Client::on(&server, 2), &format!("{other}x-api-key: key-of-the-other-project\r\n"));
    for of in all {
        assert!(elsewhere.subscribe(of).starts_with("{\"warning\""), "{of:?}");
        writer.put(of, "2");
        assert!(listener.text().contains("\"data\":2"));
    }
    server.expect_silence(&mut elsewhere);
}

#[test]
fn rs_45_organizations_projects_and_worlds_do_not_share_documents() {
    let server = Server::with_project(
        "auto_projects = true",
        "anonymous_user = \"dev\"\npublic = [\"kvStore:World\", \"liveConfig\"]",
        "",
    );
    let scopes = [
        "x-m2-organization: testOrg\r\nx-m2-project: testProj\r\n",
        "x-m2-organization: testOrg\r\nx-m2-project: testProj\r\nx-m2-world-id: w1\r\n",
        "x-m2-organization: testOrg\r\nx-m2-project: testProj\r\nx-m2-world-id: w2\r\n",
        "x-m2-organization: testOrg\r\nx-m2-project: other\r\n",
        "x-m2-organization: other\r\nx-m2-project: testProj\r\n",
        "x-m2-organization: testOrg\r\n",
    ];
    let mut listeners: Vec<Listener> =
        (0..).zip(scopes).map(|(number, scope)| Listener::asking(Client::on(&server, number % 4), scope)).collect();
    listeners.iter_mut().for_each(|listener| listener.await_document(WORLD));
    for (number, scope) in scopes.into_iter().enumerate() {
        let version = Writer::of(&server, 3, scope).put(WORLD, &number.to_string());
        listeners[number].expect(&document("World", WORLD, &number.to_string(), &version));
        listeners.iter_mut().for_each(|listener| server.expect_silence(listener));
    }
    // The world is nothing to other documents.
    listeners.iter_mut().for_each(|listener| listener.await_document(GAME));
    let version = Writer::of(&server, 3, scopes[1]).put(GAME, "7");
    for (number, listener) in listeners.iter_mut().enumerate() {
        if number < 3 {
            listener.expect(&document("", GAME, "7", &version));
        }
        server.expect_silence(listener);
    }
}

#[test]
fn rs_46_private_is_each_users_own() {
    let server = Server::with_project("", "", "");
    let mut writer = Writer::on(&server, 3);
    let mut listeners = [Listener::user(&server, 1, "u1"), Listener::user(&server, 2, "u2")];
    let first = writer.put(("collection", "private:u1"), "1");
    assert_eq!(listeners[0].subscribe(PRIVATE), document("u1", PRIVATE, "1", &first));
    assert_eq!(listeners[1].subscribe(PRIVATE), missing("Collection"));
    let second = writer.put(("collection", "private:u2"), "2");
    listeners[1].expect(&document("u2", PRIVATE, "2", &second));
    listeners.iter_mut().for_each(|listener| server.expect_silence(listener));
}

#[test]
fn rs_47_private_and_private_of_oneself_are_one_subscription() {
    let server = Server::with_project("limits.subscriptions_per_connection_max = 1", "", "");
    let mut writer = Writer::on(&server, 3);
    let mut listener = Listener::user(&server, 1, "u1");
    let long = ("collection", "private:u1");
    listener.await_document(PRIVATE);
    listener.await_document(long);
    for value in ["1", "2"] {
        let version = writer.put(long, value);
        listener.expect(&document("u1", PRIVATE, value, &version));
        server.expect_silence(&mut listener);
    }
    listener.unsubscribe(long);
    listener.finish();
    writer.put(long, "3");
    server.expect_silence(&mut listener);
}

#[test]
fn rs_48_without_a_user_only_what_is_public_is_read() {
    let everything = [WORLD, GAME, PRIVATE, ("collection", "private:u1"), ("kvStore", "u1:kvstoreClient:k")];
    for (project, readable) in [
        ("", [false, false, false, false, false]),
        ("public = [\"liveConfig\"]", [false, true, false, false, false]),
        ("public = [\"kvStore:World\"]", [true, false, false, false, false]),
        ("public = [\"liveConfig\", \"kvStore:World\"]", [true, true, false, false, false]),
    ] {
        let server = Server::with_project("", project, "");
        let mut listener = Listener::open(&server, 1);
        for (of, readable) in everything.into_iter().zip(readable) {
            assert_eq!(listener.subscribe(of) != FORBIDDEN, readable, "{project} {of:?}");
        }
    }
    // With one they read what that one does.
    let server = Server::with_project("", DEV, "");
    let mut listener = Listener::asking(Client::on(&server, 2), PROJECT);
    for of in [WORLD, GAME, PRIVATE, ("kvStore", "dev:kvstoreServer:k")] {
        assert!(listener.subscribe(of).starts_with("{\"warning\""), "{of:?}");
    }
    assert_eq!(listener.subscribe(("kvStore", "u1:kvstoreClient:k")), FORBIDDEN);
}
