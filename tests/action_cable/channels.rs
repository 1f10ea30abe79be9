//! AC-73 to AC-75: channels of one's own, and streams whose names are signed or public.

use crate::support::cable::{KEY, api, data, event, public, string};
use crate::support::{Cable, Server};

/// Metasmoke's other channels, as section 8 has them.
const CHANNELS: &str = r#"
[[action_cable.channel]]
name = "PostsChannel"
kind = "streams"
params = { post_id = "int" }
rules = [ { when = ["post_id"], streams = ["posts_{post_id}"] }, { streams = ["posts_realtime"] } ]

[[action_cable.channel]]
name = "SmokeDetectorChannel"
kind = "streams"
key = true
rules = [ { streams = ["smokedetector_messages"] } ]

[[action_cable.channel]]
name = "Turbo::StreamsChannel"
kind = "signed"
param = "signed_stream_name"
"#;

fn posts(params: &str) -> String {
    format!("{{\"channel\":\"PostsChannel\"{params}}}")
}

fn signed(name: &str) -> String {
    format!("{{\"channel\":\"$pubsub\",\"signed_stream_name\":{}}}", string(name))
}

#[test]
fn ac_73_a_post_has_its_own_stream_and_all_have_one_together() {
    let server = Server::with_cable("", CHANNELS);
    let mut cable = Cable::open(&server, 1);
    let one = posts(",\"post_id\":17");
    let text = posts(",\"post_id\":\"17\"");
    let all = [posts(""), posts(",\"post_id\":null"), posts(",\"post_id\":\" \""), posts(",\"other\":5")];
    for identifier in [&one, &text].into_iter().chain(&all) {
        cable.subscribe(identifier);
    }
    server.broadcast(2, "posts_17", "{\"row\":1}");
    assert_eq!(cable.texts(&server), [data(&one, "{\"row\":1}"), data(&text, "{\"row\":1}")]);
    server.broadcast(2, "posts_18", "{\"row\":2}");
    server.broadcast(2, "posts_realtime", "{\"row\":3}");
    assert_eq!(cable.texts(&server), all.each_ref().map(|identifier| data(identifier, "{\"row\":3}")));
    // A channel that asks for a key gets one first.
    let smoke = |key: &str| format!("{{\"channel\":\"SmokeDetectorChannel\"{key}}}");
    cable.expect_reject(&smoke(""));
    cable.expect_reject(&smoke(",\"key\":\"wrong\""));
    let identifier = smoke(&format!(",\"key\":\"{KEY}\""));
    cable.subscribe(&identifier);
    server.broadcast(3, "smokedetector_messages", "1");
    cable.expect_data(&identifier, "1");
}

#[test]
fn ac_74_a_number_is_a_number() {
    let server = Server::with_cable("", CHANNELS);
    let mut cable = Cable::open(&server, 1);
    for bad in ["\"realtime\"", "{}", "[17]", "true", "17.0", "1e1", "\"+1\"", "18446744073709551616", "\"17 \""] {
        cable.expect_reject(&posts(&format!(",\"post_id\":{bad}")));
    }
    server.broadcast(2, "posts_realtime", "1");
    server.expect_silence(&mut cable);
    for fine in ["18446744073709551615", "-9223372036854775808", "\"-7\""] {
        let identifier = posts(&format!(",\"post_id\":{fine}"));
        cable.subscribe(&identifier);
        server.broadcast(2, &format!("posts_{}", fine.trim_matches('"')), "2");
        cable.expect_data(&identifier, "2");
    }
}

const CHAT: &str = "ImNoYXQvMjAyMyI=--2b2e054b6413bf3bc7e8bbad2f68962aa2ba19821800ccbd8de6fd7314e8320c";
const POSTS: &str = "InBvc3RzXzEi--8b0dd269cc00bcef22355b7d0ff091db529c73cf2a53bdd4b4918e7a09a6599c";

#[test]
fn ac_75_a_stream_is_opened_by_its_signature_or_not_at_all() {
    let server = Server::with_cable("streams_secret = [\"newer\", \"s3Krit\"]", CHANNELS);
    let mut cable = Cable::open(&server, 1);
    for (name, stream) in [(CHAT, "chat/2023"), (POSTS, "posts_1")] {
        cable.subscribe(&signed(name));
        server.broadcast(2, stream, "\"hi\"");
        cable.expect_data(&signed(name), "\"hi\"");
        // Any byte that is changed.
        let mut other = Cable::open(&server, 2);
        for at in 0..name.len() {
            let mut changed = name.as_bytes().to_vec();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            other.expect_reject(&signed(std::str::from_utf8(&changed).unwrap()));
            if at % 40 == 39 {
                other = Cable::open(&server, at % 4);
            }
        }
        other.expect_reject(&signed(&name[..name.len() - 1]));
        other.expect_reject(&signed(&format!("{name}0")));
        // The other library's channel knows the same names.
        let turbo = format!("{{\"channel\":\"Turbo::StreamsChannel\",\"signed_stream_name\":\"{name}\"}}");
        other.subscribe(&turbo);
        server.broadcast(3, stream, "2");
        assert_eq!(other.texts(&server), [data(&turbo, "2")]);
        cable.expect_data(&signed(name), "2");
    }
    // Public names are off unless they are on, and then only those that begin so.
    cable.expect_reject(&public("chat/2023"));
    let allowed =
        Server::with_cable("streams_secret = \"s3Krit\"\npublic_streams = true\npublic_prefixes = [\"chat/\"]", CHANNELS);
    let mut cable = Cable::open(&allowed, 3);
    cable.subscribe(&public("chat/1"));
    for bad in [public("chat"), public("posts_1"), public(""), public("$events"), public("api:posts_create")] {
        cable.expect_reject(&bad);
    }
    cable.expect_reject("{\"channel\":\"$pubsub\",\"stream_name\":5}");
    cable.expect_reject("{\"channel\":\"$pubsub\"}");
    cable.expect_reject("{\"channel\":\"Turbo::StreamsChannel\",\"stream_name\":\"chat/1\"}");
    // Where both are given the signed one decides.
    let both = |name: &str| format!("{{\"channel\":\"$pubsub\",\"signed_stream_name\":\"{name}\",\"stream_name\":\"chat/1\"}}");
    cable.expect_reject(&both("wrong"));
    cable.subscribe(&both(POSTS));
    cable.subscribe(&both(""));
    allowed.broadcast(0, "posts_1", "1");
    allowed.broadcast(0, "chat/1", "2");
    assert_eq!(cable.texts(&allowed), [data(&both(POSTS), "1"), data(&public("chat/1"), "2"), data(&both(""), "2")]);
    // Switched on without a prefix there is none; and without a secret no signature counts.
    for keys in ["public_streams = true", "public_prefixes = [\"chat/\"]", ""] {
        let server = Server::with_cable(keys, "");
        let mut cable = Cable::open(&server, 1);
        cable.expect_reject(&public("chat/1"));
        cable.expect_reject(&signed(CHAT));
    }
}

/// Section 15: a channel that disappears closes nothing, and its streams stay silent; what is new counts at once.
#[test]
fn a_reload_applies_channels_and_limits_to_new_commands() {
    let server = Server::with_cable("", CHANNELS);
    let mut cable = Cable::open(&server, 1);
    cable.subscribe(&posts(""));
    cable.expect_reject("{\"channel\":\"TopbarChannel\"}");
    let topbar =
        "[[action_cable.channel]]\nname = \"TopbarChannel\"\nkind = \"streams\"\nrules = [ { streams = [\"topbar\"] } ]\n";
    server.reload_cable("max_subscriptions = 3", topbar);
    cable.subscribe("{\"channel\":\"TopbarChannel\"}");
    cable.expect_reject(&posts(",\"post_id\":1"));
    cable.subscribe(&api("posts"));
    cable.expect_reject(&api("feedbacks"));
    server.cable_event("create", "Post", "{}");
    cable.expect_data(&api("posts"), &event("create", "Post", "{}"));
    server.broadcast(2, "topbar", "1");
    cable.expect_data("{\"channel\":\"TopbarChannel\"}", "1");
    cable.unsubscribe(&posts(""));
    cable.subscribe(&api("feedbacks"));
    server.expect_silence(&mut cable);
}
