//! PS-61 and PS-62: what the statistics say, and the bounds of what is stored.

use crate::support::{Client, Mode, Server, epoch};

fn host_name() -> String {
    nix::unistd::gethostname().expect("a host name").into_string().expect("UTF-8")
}

/// PS-61 [R] `/channels-stats` gives summary, `ALL`, prefix, id list, single form and 404 as in §10.
#[test]
fn ps_61_the_statistics_give_every_form() {
    let server = Server::start();
    let host = host_name();
    let none = server.call("GET", "/channels-stats?id=ALL", "", b"");
    assert_eq!(
        none.text(),
        format!(
            "{{\"hostname\": \"{host}\", \"time\": \"2026-11-20T16:17:47\", \"channels\": 0, \"wildcard_channels\": 0, \"uptime\": 1, \"infos\": [\r\n]}}\r\n"
        )
    );
    let ws = server.subscribe(1, Mode::WebSocket, "stA/stB", "");
    let poll = server.subscribe(2, Mode::LongPoll, "stA", "");
    server.publish("stB", "1");
    server.publish("other", "1");
    server.advance(2.0);

    // Single form.
    let single = server.statistics("stA");
    assert_eq!(
        single.text(),
        "{\"channel\": \"stA\", \"published_messages\": 0, \"stored_messages\": 0, \"subscribers\": 2}\r\n"
    );
    assert_eq!((single.status, single.field("Content-Type")), (200, Some("application/json")));
    assert_eq!(server.statistics("nosuch/stA").text(), single.text(), "exactly one known: the single form");
    // Group forms: the list in request order, everything, a prefix.
    let head = format!(
        "{{\"hostname\": \"{host}\", \"time\": \"2026-11-20T16:17:49\", \"channels\": 3, \"wildcard_channels\": 0, \"uptime\": 3, \"infos\": [\r\n"
    );
    let a = "{\"channel\": \"stA\", \"published_messages\": 0, \"stored_messages\": 0, \"subscribers\": 2}";
    let b = "{\"channel\": \"stB\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 1}";
    let other = "{\"channel\": \"other\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 0}";
    assert_eq!(server.statistics("stB/stA/nosuch").text(), format!("{head}{b},\r\n{a}\r\n]}}\r\n"));
    let rows = |text: &str| {
        let body = text.strip_prefix(&head).unwrap_or_else(|| panic!("{text}")).strip_suffix("\r\n]}\r\n").unwrap();
        let mut rows: Vec<String> = body.split(",\r\n").map(str::to_owned).collect();
        rows.sort();
        rows
    };
    let everything = [other.to_owned(), a.to_owned(), b.to_owned()];
    let both = [a.to_owned(), b.to_owned()];
    assert_eq!(rows(server.statistics("ALL").text()), everything);
    assert_eq!(rows(server.statistics("st*").text()), both);
    // ALL or a prefix together with other ids: the first of these alone decides.
    assert_eq!(rows(server.statistics("st*/other").text()), both);
    assert_eq!(rows(server.statistics("other/st*/ALL").text()), both);
    assert_eq!(rows(server.statistics("ALL/st*").text()), everything);
    assert_eq!(server.statistics("nosuch*").text(), format!("{head}]}}\r\n"));
    // Unknown ids.
    for id in ["nosuch", "no1/no2"] {
        let unknown = server.statistics(id);
        assert_eq!((unknown.status, unknown.body.len(), unknown.field("Content-Length")), (404, 0, Some("0")), "{id}");
    }

    // Summary: one row per core, which add up.
    let summary = server.call("GET", "/channels-stats", "", b"");
    let begin = format!(
        "{{\"hostname\": \"{host}\", \"time\": \"2026-11-20T16:17:49\", \"channels\": 3, \"wildcard_channels\": 0, \"published_messages\": 2, \
         \"stored_messages\": 2, \"messages_in_trash\": 0, \"channels_in_delete\": 0, \"channels_in_trash\": 0, \"subscribers\": 2, \
         \"uptime\": 3, \"by_worker\": [\r\n"
    );
    let rows =
        summary.text().strip_prefix(&begin).unwrap_or_else(|| panic!("{}", summary.text())).strip_suffix("\r\n]}\r\n").unwrap();
    let rows: Vec<serde_json::Value> = rows.split(",\r\n").map(|row| serde_json::from_str(row).unwrap()).collect();
    assert_eq!(rows.len(), 4);
    let mut pids = std::collections::HashSet::new();
    for (index, row) in rows.iter().enumerate() {
        let pid = row["pid"].as_str().expect("a string");
        assert!(pid.parse::<u32>().is_ok_and(|pid| pid > 0) && pids.insert(pid.to_owned()), "{row}");
        assert_eq!(row["subscribers"], u64::from(index == 1 || index == 2), "{row}");
        assert_eq!(row["uptime"], 3);
        assert_eq!(row.as_object().unwrap().len(), 3);
    }
    // A format that is not offered is answered in JSON; a matched one names itself.
    let accepted = server.call("GET", "/channels-stats?id=stA", "Accept: application/octet-stream\r\n", b"");
    assert_eq!((accepted.field("Content-Type"), accepted.text()), (Some("application/json"), single.text()));
    let accepted = server.call("GET", "/channels-stats?id=stA", "Accept: application/json;q=0.9\r\n", b"");
    assert_eq!((accepted.field("Content-Type"), accepted.text()), (Some("application/json"), single.text()));
    // Connections, not subscriptions; and they go.
    drop((ws, poll));
    server.wait_until("both are gone", |server| server.summary()["subscribers"] == 0);
    // The path is configurable, and off where it is empty.
    let moved = Server::with("stats_path = \"/numbers\"\n");
    let mut client = Client::on(&moved, 1);
    assert_eq!(client.get_with("/numbers", "Authorization: Bearer dev\r\n").status, 200);
    assert_eq!(client.get_with("/channels-stats", "Authorization: Bearer dev\r\n").status, 404);
}

/// PS-62 [R] Stored messages are bounded by count and age, and expired ones are never replayed.
#[test]
fn ps_62_stored_messages_are_bounded_by_count_and_age() {
    let server = Server::with("max_stored_messages = 5\nmessage_ttl = \"6s\"\n");
    for text in 1..=8 {
        server.publish("lim/two", &text.to_string());
    }
    assert_eq!(server.stored("lim").iter().map(|envelope| envelope.id).collect::<Vec<_>>(), [4, 5, 6, 7, 8]);
    assert_eq!(server.row("lim"), Some((8, 5, 0)));
    server.pass(3.0);
    server.publish("lim", "9");
    server.publish("lim", "10");
    assert_eq!(server.stored("lim").iter().map(|envelope| envelope.id).collect::<Vec<_>>(), [6, 7, 8, 9, 10]);
    // The first eight expire 6 s after they came; from then on nobody is sent them.
    server.pass(2.9);
    assert_eq!(server.stored("lim").len(), 5, "not before its time");
    server.pass(0.3);
    let expected = server.stored("lim");
    assert_eq!(expected.iter().map(|envelope| envelope.id).collect::<Vec<_>>(), [9, 10]);
    for mode in Mode::ALL {
        server.expect_replay(mode, "lim/two", &epoch(), "", &expected);
        server.expect_replay(mode, "lim.b9/two.b9", "", "", &expected);
    }
    // Memory is freed within 5 s.
    server.pass(5.0);
    assert_eq!(server.row("two").map_or(0, |(_, stored, _)| stored), 0);
    assert!(server.stored("lim/two").is_empty(), "the others are expired by now too");
    server.pass(3.0);
    assert_eq!(server.row("lim").map(|(published, stored, _)| (published, stored)), Some((10, 0)));
}
