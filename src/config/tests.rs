//! What a configuration file gives, and the exact texts of its errors.

use super::*;

const SECRET: &str = "0123456789abcdef";

fn read(text: &str) -> Result<Config, String> {
    Config::from_toml(text, "fanwire.toml", Path::new("tests/nowhere")).map_err(|error| error.to_string())
}

fn error(text: &str) -> String {
    read(text).expect_err(text)
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let config = read("").unwrap();
    assert_eq!(config.server, Server::default());
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.admin, Admin::default());
    assert_eq!(config.publish, publish::options::Options::default());
    assert_eq!(config.action_cable, action_cable::options::Options::default());
    assert!(!config.dev && config.access().keys.is_empty() && config.access().tokens.is_empty());
}

#[test]
fn each_table_is_read() {
    let config = read(
        r#"
        [server]
        listen = ["127.0.0.1:1", "[::1]:2"]
        reactors = 3
        drain_time = "1m"
        trusted_proxies = ["10.0.0.0/8", "::1"]
        [limits]
        head_bytes = "64KiB"
        unopened_percent = 50
        [log]
        level = "debug"
        format = "json"
        [admin]
        listen = []
        [storage]
        path = "data"
        deliver = "before_commit"
        [publish]
        path = "/in"
        [action_cable]
        path = "/socket"
        [[action_cable.channel]]
        name = "AnyChannel"
        kind = "events"
        models = "any"
        [[action_cable.channel]]
        name = "PostsChannel"
        kind = "streams"
        params = { post_id = "int" }
        rules = [{ when = ["post_id"], streams = ["posts_{post_id}"] }, { streams = ["posts_realtime"] }]
        "#,
    )
    .unwrap();
    assert_eq!(config.server.listen, ["127.0.0.1:1".parse().unwrap(), "[::1]:2".parse::<SocketAddr>().unwrap()]);
    assert_eq!((config.server.reactor_count(), config.server.drain_time), (3, Duration::from_secs(60)));
    assert_eq!((config.limits.head_bytes, config.limits.unopened_percent), (65_536, 50));
    assert_eq!((config.log.level, config.log.format), (LogLevel::Debug, LogFormat::Json));
    assert!(config.admin.listen.is_empty());
    assert_eq!(config.storage, Storage { path: "tests/nowhere/data".into(), deliver: Deliver::BeforeCommit });
    assert_eq!(Storage::default().deliver, Deliver::AfterCommit);
    assert_eq!(config.publish.path, "/in");
    assert_eq!((config.action_cable.path.as_str(), config.action_cable.channel.len()), ("/socket", 2));
    let trusted = &config.server.trusted_proxies;
    assert!(trusted.contain("10.1.2.3".parse().unwrap()) && !trusted.contain("11.1.2.3".parse().unwrap()));
    assert_eq!(read("server.listen = \"127.0.0.1:9\"").unwrap().server.listen, ["127.0.0.1:9".parse().unwrap()]);
}

#[test]
fn unknown_keys_are_told_with_line_and_suggestion_all_at_once() {
    let text =
        "[server]\nlisen = \"0.0.0.0:80\"\nreactors = 2\ncolour = 1\n\n[limit]\nhead_time = \"1s\"\n[log]\nlevel = \"infos\"\n";
    assert_eq!(
        error(text),
        "fanwire.toml:2: server.lisen: unknown key; did you mean \"listen\"?\n\
         fanwire.toml:4: server.colour: unknown key; known are listen, reactors, private_fd_tables, drain_time, trusted_proxies\n\
         fanwire.toml:6: limit: unknown key; did you mean \"limits\"?\n\
         fanwire.toml:9: log.level: unknown value; did you mean \"info\"?"
    );
}

#[test]
fn wrong_values_are_told_with_what_was_expected() {
    let text = "limits.unopened_percent = 0\npublish = 5\n[server]\nlisten = \"80\"\nreactors = -1\nprivate_fd_tables = \"yes\"\n\
                drain_time = 35\n[admin]\nlisten = [80]\n";
    assert_eq!(
        error(text),
        "fanwire.toml:1: limits.unopened_percent: expected a percentage from 1 to 100\n\
         fanwire.toml:2: publish: expected a table, found integer\n\
         fanwire.toml:4: server.listen: expected an address with port like \"127.0.0.1:8080\", or a list of them\n\
         fanwire.toml:5: server.reactors: invalid value: integer `-1`, expected a whole number, not negative and not too large\n\
         fanwire.toml:6: server.private_fd_tables: invalid type: string \"yes\", expected a boolean\n\
         fanwire.toml:7: server.drain_time: invalid type: integer `35`, expected a duration: a string like \"25s\" (units ms, s, m, h, d)\n\
         fanwire.toml:9: admin.listen: expected an address with port like \"127.0.0.1:8080\", or a list of them"
    );
    assert_eq!(error("[server]\n\nlisten = []"), "fanwire.toml:3: server.listen: expected at least one address");
    assert_eq!(
        error("[limits]\nhead_time = \"0s\"\nhead_bytes = 1023"),
        "fanwire.toml:2: limits.head_time: expected more than 0s\nfanwire.toml:3: limits.head_bytes: expected 1KiB or more"
    );
    assert_eq!(
        error("[storage]\ndeliver = \"before_comit\""),
        "fanwire.toml:2: storage.deliver: unknown value; did you mean \"before_commit\"?"
    );
    assert_eq!(error("[[server]]\nreactors = 1"), "fanwire.toml:1: server: expected a table, found array");
    assert_eq!(
        error("access.keys = [[\"a\"], 1]\nserver = [\"127.0.0.1:1\", 1, true, \"1s\"]"),
        "fanwire.toml:1: access.keys[0]: expected a table, found array\n\
         fanwire.toml:1: access.keys[1]: expected a table, found integer\n\
         fanwire.toml:2: server: expected a table, found array"
    );
    assert_eq!(
        error("[server.listen]\nport = 1"),
        "fanwire.toml:1: server.listen: expected an address with port like \"127.0.0.1:8080\", or a list of them"
    );
    assert_eq!(
        error("[publish]\npath = \"publish\""),
        "fanwire.toml:2: publish.path: expected a path like \"/publish\": visible ASCII without ?, # and %"
    );
}

#[test]
fn what_is_no_toml_is_told_without_its_text() {
    let told = error(&format!("[[access.keys]]\nkey = {SECRET}x"));
    assert!(told.starts_with("fanwire.toml:2: "), "{told}");
    assert!(!told.contains(SECRET), "{told}");
    assert_eq!(error("[server]\nreactors = 1\nreactors = 2"), "fanwire.toml:3: duplicate key");
}

#[test]
fn keys_and_tokens_become_digests() {
    let config = read(&format!(
        r#"
        [[access.keys]]
        name = "backend"
        key = "{SECRET}"
        may = ["publish", "statistics"]
        topics = ["a*", "b"]
        [[access.keys]]
        name = "operator"
        sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        may = ["admin"]
        [[access.tokens]]
        name = "pages"
        token = "{SECRET}"
        topics = ["public*"]
        expires = "2027-01-01T00:00:00Z"
        "#
    ))
    .unwrap();
    let access = config.access();
    let backend = access.key(SECRET).unwrap();
    assert!(backend.may(Right::Publish) && backend.may(Right::Statistics) && !backend.may(Right::Admin));
    assert!(backend.covers("abc") && backend.covers("b") && !backend.covers("bc"));
    assert_eq!(access.key("abc").unwrap().name, "operator");
    let pages = access.token(SECRET, 1_798_761_599).unwrap();
    assert!(pages.covers("publicity") && pages.expires == Some(1_798_761_600));
    assert!(access.token(SECRET, 1_798_761_600).is_none());
}

#[test]
fn a_secret_file_is_relative_to_the_configuration() {
    let folder = std::env::temp_dir().join(format!("fanwire-config-test-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("secrets")).unwrap();
    std::fs::write(folder.join("secrets/backend"), format!("  {SECRET}\n")).unwrap();
    std::fs::write(folder.join("secrets/short"), "short\n").unwrap();
    std::fs::write(folder.join("secrets/large"), [b'a'; 4097]).unwrap();
    let read = |file: &str| {
        let text = format!("[[access.tokens]]\nname = \"x\"\ntoken_file = \"secrets/{file}\"\ntopics = [\"*\"]\n");
        Config::from_toml(&text, "fanwire.toml", &folder).map_err(|error| error.to_string())
    };
    assert!(read("backend").unwrap().access().token(SECRET, 0).is_some());
    for (file, told) in [
        ("short", "expected a secret of 16 bytes or more in secrets/short"),
        ("large", "cannot read secrets/large: larger than 4096 bytes"),
        ("absent", "cannot read secrets/absent: No such file or directory (os error 2)"),
    ] {
        assert_eq!(read(file).unwrap_err(), format!("fanwire.toml:3: access.tokens[0].token_file: {told}"));
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn what_is_wrong_with_action_cable_is_told_with_its_place() {
    let channel = "[[action_cable.channel]]\nname = \"A\"\n";
    assert_eq!(
        error(&format!("{channel}kind = \"signed\"\n{channel}kind = \"signed\"\nstrict = true\n")),
        "fanwire.toml:7: action_cable.channel[1].strict: means nothing for a channel of this kind"
    );
    assert_eq!(
        error(&format!(
            "{channel}kind = \"event\"\nmodels = 5\nrules = [{{ strems = [] }}]\n[server]\ntrusted_proxies = [\"10.0.0.0/33\"]"
        )),
        "fanwire.toml:3: action_cable.channel[0].kind: unknown value; did you mean \"events\"?\n\
         fanwire.toml:4: action_cable.channel[0].models: expected a table, found integer\n\
         fanwire.toml:5: action_cable.channel[0].rules[0].strems: unknown key; did you mean \"streams\"?\n\
         fanwire.toml:7: server.trusted_proxies: expected a list of addresses or networks like \"10.0.0.0/8\""
    );
    let told =
        error("[action_cable]\nconnect_auth = \"cookie\"\npublish_key = 20235711\nstreams_secret = [20235711]\nkeys = [1]\n");
    assert_eq!(
        told,
        "fanwire.toml:2: action_cable.connect_auth: expected \"none\", \"query:<name>\" or \"header:<name>\"\n\
         fanwire.toml:3: action_cable.publish_key: expected a string\n\
         fanwire.toml:4: action_cable.streams_secret: expected a string, or a list of them\n\
         fanwire.toml:5: action_cable.keys[0]: expected a table, found integer"
    );
    assert_eq!(
        error("[action_cable]\npublish_key = \"short\"\n"),
        "fanwire.toml:2: action_cable.publish_key: expected a string of 16 bytes or more"
    );
}

#[test]
fn action_cables_secrets_may_stand_in_files() {
    let folder = std::env::temp_dir().join(format!("fanwire-config-cable-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("long"), format!("{SECRET}\n")).unwrap();
    std::fs::write(folder.join("short"), "s3Krit\n").unwrap();
    std::fs::write(folder.join("empty"), "\n").unwrap();
    let read = |lines: &str| {
        let text = format!("[action_cable]\n{lines}");
        Config::from_toml(&text, "fanwire.toml", &folder).map(|config| config.action_cable).map_err(|error| error.to_string())
    };
    let options = read("publish_key_file = \"long\"\nsecret_file = \"short\"\nstreams_secret_file = \"short\"").unwrap();
    assert_eq!((options.publish_key, options.secret), (Some(SECRET.into()), Some("s3Krit".into())));
    assert_eq!(options.streams_secret, ["s3Krit".into()]);
    for (lines, told) in [
        ("publish_key_file = \"short\"", "publish_key_file: expected a secret of 16 bytes or more in short"),
        ("secret_file = \"empty\"", "secret_file: expected a secret of 1 bytes or more in empty"),
        ("secret_file = \"absent\"", "secret_file: cannot read absent: No such file or directory (os error 2)"),
        (
            "streams_secret_file = \"short\"\nstreams_secret = \"a\"",
            "streams_secret_file: expected at most one of the secret itself and a file with it",
        ),
    ] {
        assert_eq!(read(lines).unwrap_err(), format!("fanwire.toml:2: action_cable.{told}"));
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn what_is_wrong_with_keys_and_tokens_is_told_without_secrets() {
    assert_eq!(
        error(
            "[[access.keys]]\nname = \"a\"\nkey = \"short\"\nmay = [\"publish\"]\n\n[[access.keys]]\nkey = \"0123456789abcdef\"\n\
             sha256 = \"00\"\n"
        ),
        "fanwire.toml:8: access.keys[1].sha256: expected a SHA-256 digest: a string of 64 hexadecimal digits"
    );
    assert_eq!(
        error("[[access.keys]]\nname = \"a\"\nkey = \"short\"\nmay = [\"publish\"]\n\n[[access.keys]]\n"),
        "fanwire.toml:1: access.keys[0].topics: a key that may publish needs topics, like [\"*\"]\n\
         fanwire.toml:3: access.keys[0].key: expected a string of 16 bytes or more\n\
         fanwire.toml:6: access.keys[1].name: expected 1 to 64 bytes without control characters: it stands for the secret in logs\n\
         fanwire.toml:6: access.keys[1].may: expected at least one of publish, statistics, admin\n\
         fanwire.toml:6: access.keys[1]: expected exactly one of key, key_file and sha256"
    );
    let token = "[[access.tokens]]\nname = \"a\"\ntoken = \"0123456789abcdef\"\ntopics = [\"*\"]\n";
    assert_eq!(error(&format!("{token}{token}")), "fanwire.toml:5: access.tokens[1]: the same secret as access.tokens[0]");
    assert_eq!(
        error(
            "[[access.tokens]]\ntoken = 1234567890123456\ntopics = [\"a*b\"]\nexpires = \"tomorrow\"\nexpire = 1\n\
             [[access.keys]]\nmay = [\"publsh\"]\n"
        ),
        "fanwire.toml:2: access.tokens[0].token: expected a string of 16 bytes or more\n\
         fanwire.toml:3: access.tokens[0].topics: expected topic names, or prefixes with one trailing *\n\
         fanwire.toml:4: access.tokens[0].expires: expected a time in quotes like \"2027-01-01T00:00:00Z\" (RFC 3339)\n\
         fanwire.toml:5: access.tokens[0].expire: unknown key; did you mean \"expires\"?\n\
         fanwire.toml:7: access.keys[0].may: unknown value; did you mean \"publish\"?"
    );
    let shown = format!("{:?}", read(token).unwrap());
    assert!(!shown.contains(SECRET), "{shown}");
}

#[test]
fn dev_keeps_its_contract() {
    let config = Config::dev();
    assert!(config.dev && config.admin.listen.is_empty());
    assert_eq!(config.resources, resources::options::Options::dev());
    assert_eq!(config.server.listen, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!(config.server.drain_time, Duration::from_secs(1));
    assert_eq!(config.limits.topic_log_bytes_max, 64 * 1024 * 1024);
    let access = config.access();
    let key = access.key("dev").unwrap();
    assert!([Right::Publish, Right::Statistics, Right::Admin].into_iter().all(|right| key.may(right)) && key.covers("x"));
    assert!(access.token("dev", u64::MAX).unwrap().covers("private"));
    let limited = access.token("dev-limited", 0).unwrap();
    assert!(limited.covers("public/a") && !limited.covers("private"));
    assert_eq!(config.action_cable, action_cable::options::Options::dev());
}

#[test]
fn what_was_typed_counts_more_than_the_file() {
    let file = "[server]\nlisten = \"127.0.0.1:1\"\nreactors = 2\n[log]\nlevel = \"warn\"\n";
    let overrides = Overrides {
        listen: Some(vec!["127.0.0.1:2".parse().unwrap()]),
        log_format: Some(LogFormat::Text),
        ..Overrides::default()
    };
    let config = read(file).unwrap().overridden(&overrides);
    assert_eq!((config.server.listen[0].port(), config.server.reactors), (2, 2));
    assert_eq!((config.log.level, config.log.format), (LogLevel::Warn, LogFormat::Text));
    let config = config.overridden(&Overrides { reactors: Some(5), log_level: Some(LogLevel::Error), ..Overrides::default() });
    assert_eq!((config.server.listen[0].port(), config.server.reactors, config.log.level), (2, 5, LogLevel::Error));
}

#[test]
fn the_projects_of_resources_are_checked_where_they_stand() {
    assert_eq!(
        error("[resources]\npath = \"/ev/live\"\n"),
        "fanwire.toml:2: resources.path: collides with push_stream.eventsource_path"
    );
    assert!(read("[resources]\npath = \"/ev/live\"\n[push_stream]\nenabled = false\n").is_ok());
    for (path, other) in [
        ("/cable", "action_cable.path"),
        ("/api", "action_cable.events_path"),
        ("/_broadcast", "action_cable.broadcast_path"),
        ("/publish", "publish.path"),
        ("/health", "a page of admin"),
    ] {
        assert_eq!(
            error(&format!("[resources]\npath = \"{path}\"\n")),
            format!("fanwire.toml:2: resources.path: collides with {other}")
        );
    }
    assert!(read("[resources]\npath = \"/cable\"\n[action_cable]\nenabled = false\n").is_ok());
    assert_eq!(
        error("[[resources.projects]]\norganization = \"o\"\n[[resources.projects]]\norganization = \"\"\n"),
        "fanwire.toml:4: resources.projects[1].organization: expected 1 to 128 bytes without control characters and blanks around them"
    );
    assert_eq!(
        error(&format!(
            "[[resources.projects]]\norganization = \"o\"\njwt_secret_file = \"absent\"\n\
             service_keys = [{{ name = \"a\", key = \"{SECRET}\" }}, {{ name = \"b\", key = \"{SECRET}\" }}]\n"
        )),
        "fanwire.toml:3: resources.projects[0].jwt_secret_file: cannot read absent: No such file or directory (os error 2)\n\
         fanwire.toml:4: resources.projects[0].service_keys[1]: the same secret as resources.projects[0].service_keys[0]"
    );
    let config = read(&format!("[[resources.projects]]\norganization = \"o\"\njwt_secret = \"{SECRET}\"\n")).unwrap();
    assert!(config.resources.project("o", "").is_some());
    assert!(!format!("{config:?}").contains(SECRET));
    let told = error("[[resources.projects]]\njwt_secret = 1234567890123456\n");
    assert!(!told.contains("1234567890123456"), "{told}");
}

#[test]
fn the_services_of_endpoints_are_checked_where_they_stand() {
    for (path, other) in [
        ("/ev/live", "push_stream.eventsource_path"),
        ("/cable", "action_cable.path"),
        ("/publish", "publish.path"),
        ("/api/realtime", "resources.path"),
        ("/api/realtime/x", "resources.path"),
        ("/api", "action_cable.events_path"),
        ("/health", "a page of admin"),
    ] {
        assert_eq!(
            error(&format!("[endpoints.rested]\npath = \"{path}\"\n")),
            format!("fanwire.toml:2: endpoints.rested.path: collides with {other}")
        );
    }
    assert!(read("[endpoints.rested]\npath = \"/api/realtime\"\n[resources]\nenabled = false\n").is_ok());
    assert_eq!(
        error(
            "[endpoints.rested]\n[endpoints.other]\nlog_messages = 0\ncooky_secure = false\n\
             [[endpoints.rested.projects]]\nallowed_origins = [\"https://a/b\"]\n"
        ),
        "fanwire.toml:4: endpoints.other.cooky_secure: unknown key; did you mean \"cookie_secure\"?\n\
         fanwire.toml:6: endpoints.rested.projects[0].allowed_origins: expected origins like \"https://app.example\""
    );
    assert_eq!(
        error(&format!(
            "[endpoints.other]\nping_interval = \"80s\"\n[[endpoints.other.projects]]\nname = \"p\"\nkey = \"{SECRET}+\"\n\
             master_key_file = \"absent\"\n[[endpoints.other.projects.endpoints]]\nname = \"p/x\"\n\
             [[endpoints.other.projects.endpoints]]\nname = \"p/notes\"\nsecure = true\n"
        )),
        "fanwire.toml:1: endpoints.other.preset: expected \"rested\" or \"yawe\"; only a service of such a name needs none\n\
         fanwire.toml:2: endpoints.other.ping_interval: expected less than silence_timeout\n\
         fanwire.toml:5: endpoints.other.projects[0].key: expected 16 to 128 characters of A-Z, a-z, 0-9, _ and -\n\
         fanwire.toml:6: endpoints.other.projects[0].master_key_file: cannot read absent: No such file or directory (os error 2)\n\
         fanwire.toml:8: endpoints.other.projects[0].endpoints[0].name: expected 5 to 254 characters of a-z, 0-9, - and /, neither of these two at an end or doubled\n\
         fanwire.toml:9: endpoints.other.projects[0].endpoints[1]: any web site could act with the cookie of its visitor; expected allowed_origins in the project, or cookie_from_any_origin = true"
    );
    // Both are told, neither shows a secret.
    let told = error(&format!("[[endpoints.rested.projects]]\nkey = 1234567890123456\nmaster_key = [\"{SECRET}\"]\n"));
    assert_eq!(
        told,
        "fanwire.toml:2: endpoints.rested.projects[0].key: expected a string\n\
         fanwire.toml:3: endpoints.rested.projects[0].master_key: expected a string"
    );
}

const PAGE: &str = include_str!("../../docs/CONFIGURATION.md");

/// A table of the page: heading without brackets, whether it is a list, and rows of key and default.
struct Documented {
    name: String,
    list: bool,
    rows: Vec<(String, String)>,
}

fn documented() -> Vec<Documented> {
    let mut tables = Vec::new();
    for chapter in PAGE.split("\n## ").skip(1) {
        let heading = chapter.lines().next().unwrap().trim_matches('`');
        let Some(name) = heading.strip_prefix('[').and_then(|name| name.strip_suffix(']')) else { continue };
        let name = &name.replace("<service>", "rested");
        let list = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        let rows = chapter.lines().filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            Some((cells.next()?.trim_end_matches('`').to_owned(), cells.next()?.to_owned()))
        });
        tables.push(Documented { name: list.unwrap_or(name.as_str()).to_owned(), list: list.is_some(), rows: rows.collect() });
    }
    tables
}

/// The keys that the program knows in a table, as an unknown key is told.
fn known(table: &str) -> Vec<String> {
    let told = error(&format!("{table}\nzzzzzzzzzzzzzzzzzzzz = 1"));
    let list = told.split_once("unknown key; known are ").unwrap_or_else(|| panic!("{told}")).1;
    list.split(", ").map(str::to_owned).collect()
}

#[test]
fn the_page_has_every_table_and_key_and_no_other() {
    let documented = documented();
    let mut tables: Vec<&str> = documented.iter().map(|table| table.name.split('.').next().unwrap()).collect();
    tables.dedup();
    let mut known_tables = known("");
    known_tables.sort_unstable();
    tables.sort_unstable();
    assert_eq!(tables, known_tables);
    for Documented { name, list, rows } in &documented {
        let keys: Vec<&str> = rows.iter().map(|(key, _)| key.as_str()).collect();
        // A list inside the elements of another one.
        let around = documented.iter().filter(|table| table.list && name.starts_with(&format!("{}.", table.name)));
        let mut heading: String = around.map(|table| format!("[[{}]]\n", table.name)).collect();
        heading += &if *list { format!("[[{name}]]") } else { format!("[{name}]") };
        assert_eq!(keys, known(&heading), "{name}");
    }
}

/// Keys whose default is no value.
const IN_WORDS: [(&str, &str); 13] = [
    ("action_cable", "preset"),
    ("action_cable", "check_origin"),
    ("action_cable", "publish_key"),
    ("action_cable", "publish_key_file"),
    ("action_cable", "secret"),
    ("action_cable", "secret_file"),
    ("action_cable", "streams_secret"),
    ("action_cable", "streams_secret_file"),
    ("endpoints.rested", "preset"),
    ("endpoints.rested", "display_name"),
    ("endpoints.rested", "cookie_names"),
    ("endpoints.rested", "login_cookie_name"),
    ("endpoints.rested", "access_token_parameter"),
];

#[test]
fn the_defaults_of_the_page_are_those_of_the_program() {
    let mut compared = 0;
    for Documented { name, rows, .. } in documented().iter().filter(|table| !table.list) {
        for (key, default) in rows {
            let default = default.strip_prefix('`').and_then(|text| text.strip_suffix('`'));
            let Some(default) = default else {
                assert!(IN_WORDS.contains(&(name, key)), "{name}.{key}");
                continue;
            };
            let config = read(&format!("[{name}]\n{key} = {default}")).unwrap();
            // A service is there as soon as its table is.
            let nothing_said =
                if name.starts_with("endpoints.") { read("[endpoints.rested]").unwrap() } else { Config::default() };
            assert_eq!(format!("{config:?}"), format!("{nothing_said:?}"), "{name}.{key}");
            compared += 1;
        }
    }
    assert!(compared >= 22, "{compared} keys");
}

#[test]
fn the_page_has_every_variable() {
    use clap::CommandFactory as _;
    let command = crate::cli::CommandLine::command();
    let mut variables: Vec<&str> = command
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .filter_map(|argument| argument.get_env()?.to_str())
        .collect();
    let mut documented: Vec<&str> = PAGE.split('`').filter(|word| word.starts_with("FANWIRE_")).collect();
    for list in [&mut variables, &mut documented] {
        list.sort_unstable();
        list.dedup();
    }
    assert_eq!(documented, variables);
}

#[test]
fn any_text_gives_a_configuration_or_problems_with_their_lines() {
    let sample = format!(
        "[server]\nlisten = [\"127.0.0.1:1\"]\nreactors = 3\n[limits]\nhead_bytes = \"64KiB\"\n[publish]\npath = \"/in\"\n\
         [[access.keys]]\nname = \"b\"\nkey = \"{SECRET}\"\nmay = [\"publish\"]\ntopics = [\"a*\"]\n\
         [[access.tokens]]\nname = \"é\"\nsha256 = \"{}\"\ntopics = [\"*\"]\nexpires = \"2027-01-01T00:00:00Z\"\n",
        "0f".repeat(32)
    );
    let pieces = ["[", "]", "\"", "=", ".", "\n", " ", "{", "}", ",", "0", "-", "é", "'", "#", "server", "keys", "\u{7f}", "1e9"];
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut below = |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % bound as u64) as usize
    };
    let (mut taken, mut told) = (0, 0);
    for round in 0..3_000 {
        let mut text: Vec<char> = sample.chars().collect();
        for _ in 0..round % 4 {
            let at = below(text.len());
            let until = (at + below(4)).min(text.len());
            text.splice(at..until, pieces[below(pieces.len())].chars());
        }
        let text: String = text.into_iter().collect();
        match Config::from_toml(&text, "fanwire.toml", Path::new("tests/nowhere")) {
            Ok(_) => taken += 1,
            Err(error) => {
                let lines = text.split('\n').count();
                assert!(!error.problems.is_empty(), "{text}");
                assert!(error.problems.iter().all(|problem| (1..=lines).contains(&problem.line)), "{error}\n{text}");
                assert!(!error.to_string().contains(SECRET), "{error}\n{text}");
                told += 1;
            }
        }
    }
    assert!(taken > 300 && told > 300, "{taken} taken, {told} told");
}
