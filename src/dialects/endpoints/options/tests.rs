//! What `[endpoints]` gives, and the exact texts of its errors.

use super::*;
use std::path::Path;

const KEY: &str = "d59eb2859c284168ac48aef65046d5dd";
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn read(text: &str) -> Options {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Every key that is told, with what is wrong with it.
fn told(text: &str) -> Vec<String> {
    let mut told = Vec::new();
    read(text).check(&[], &mut |key, problem| told.push(format!("{key}: {problem}")));
    told
}

/// The keys alone.
fn keys(text: &str) -> Vec<String> {
    told(text).into_iter().map(|line| line.split_once(": ").unwrap().0.to_owned()).collect()
}

/// Options after [`Options::resolve`], and what was told.
fn resolved(text: &str) -> (Options, Vec<String>) {
    let mut options = read(text);
    let mut told = Vec::new();
    let mut files = |path: &Path| match path.to_str() {
        Some("key") => Ok(format!("{KEY}\r\n")),
        Some("hash") => Ok(format!("{HASH}\n")),
        Some("short") => Ok("0123456789abcde\n".to_owned()),
        _ => Err("no such file".to_owned()),
    };
    options.resolve(&mut files, &mut |key, message| told.push(format!("{key}: {message}")));
    (options, told)
}

fn project(keys: &str) -> String {
    format!("[[rested.projects]]\nname = \"p\"\n{keys}\n")
}

/// One endpoint of a project that may have cookies of every site.
fn endpoint(keys: &str) -> String {
    project(&format!("cookie_from_any_origin = true\n[[rested.projects.endpoints]]\nname = \"p/endpoint\"\n{keys}"))
}

#[test]
fn nothing_said_is_the_specification() {
    assert_eq!(read("").services, []);
    let options = read("[rested]\n[yawe]\n");
    let [rested, yawe] = &options.services[..] else { panic!("two services") };
    assert_eq!((rested.preset, yawe.preset), (Some(Preset::Rested), Some(Preset::Yawe)));
    assert_eq!((rested.name.as_str(), rested.display_name.as_str(), rested.path.as_str()), ("rested", "RESTED_DEV", "/api/1/ce"));
    assert_eq!(rested.cookie_names, ["__Secure-rested-access-token"]);
    assert_eq!(
        (rested.login_cookie_name.as_str(), rested.access_token_parameter.as_str()),
        ("__Secure-rested-access-token", "accessToken")
    );
    assert_eq!((yawe.display_name.as_str(), yawe.path.as_str()), ("YAWE", "/api/1/ce"));
    assert_eq!(yawe.cookie_names, ["yawe_access_token", "__Secure-yawe-access-token"]);
    assert_eq!((yawe.login_cookie_name.as_str(), yawe.access_token_parameter.as_str()), ("yawe_access_token", ""));
    assert!(rested.cookie_secure && rested.hosts.is_empty() && rested.projects.is_empty());
    let seconds = [
        rested.session_ttl,
        rested.removed_endpoint_ttl,
        rested.log_age,
        rested.no_progress_timeout,
        rested.ping_interval,
        rested.silence_timeout,
        rested.drain_time,
    ];
    assert_eq!(seconds.map(|time| time.as_secs()), [3600, 604_800, 300, 30, 30, 75, 10]);
    assert_eq!((rested.sessions_per_user_max, rested.password_workers), (20, 2));
    assert_eq!((rested.log_messages, rested.log_bytes), (1024, 8_388_608));
    assert_eq!((rested.close_slice_connections, rested.close_slice_interval), (2000, Duration::from_millis(10)));
    let limits = &rested.limits;
    assert_eq!((limits.body_bytes_max, limits.upload_files_max, limits.upload_file_bytes_max), (1_048_576, 10, 104_857_600));
    assert_eq!((limits.list_bytes_max, limits.records_per_endpoint_max), (16_777_216, 1_000_000));
    assert_eq!((limits.connections_per_endpoint_max, limits.frame_bytes_max), (0, 4096));
    assert_eq!((limits.failures_per_minute_per_address, limits.login_failures_per_minute), (60, 10));
}

/// Section 12, without what a comment says to be another default.
const EXAMPLE: &str = r#"
[rested]
preset = "rested"
hosts = []
path = "/api/1/ce"
display_name = "RESTED_DEV"
cookie_names = ["__Secure-rested-access-token"]
login_cookie_name = "__Secure-rested-access-token"
access_token_parameter = "accessToken"
cookie_secure = true
session_ttl = "1h"
sessions_per_user_max = 20
password_workers = 2
removed_endpoint_ttl = "7d"
log_messages = 1024
log_bytes = 8388608
log_age = "300s"
no_progress_timeout = "30s"
ping_interval = "30s"
silence_timeout = "75s"
drain_time = "10s"
close_slice_connections = 2000
close_slice_interval = "10ms"

[rested.limits]
body_bytes_max = "1MiB"
upload_files_max = 10
upload_file_bytes_max = 104857600
list_bytes_max = 16777216
records_per_endpoint_max = 1000000
connections_per_endpoint_max = 0
frame_bytes_max = 4096
failures_per_minute_per_address = 60
login_failures_per_minute = 10
"#;

const PROJECTS: &str = r#"
[[rested.projects]]
name = "examples"
key_file = "key"
master_key = "0123456789abcdef"
allowed_origins = ["https://shop.example"]
disallow_no_origin = false
cookie_from_any_origin = false

[[rested.projects.endpoints]]
name = "examples/unsecure-endpoint"

[[rested.projects.endpoints]]
name = "examples/users"
auth = true
registration = true
users = [ { username = "anna", password_hash_file = "hash" } ]

[[rested.projects.endpoints]]
name = "examples/notes"
secure = true
read_by_others = false
update_by_others = false
delete_by_others = false

[yawe]
hosts = ["app.yawe.dev"]

[[yawe.projects]]
name = "examples"
key = "d59eb2859c284168ac48aef65046d5dd"
[[yawe.projects.endpoints]]
name = "examples/unsecure-endpoint"
"#;

#[test]
fn the_specifications_example_is_read() {
    assert_eq!(read(EXAMPLE), read("[rested]\n"));
    let text = format!("{EXAMPLE}{PROJECTS}");
    assert_eq!(told(&text), [""; 0]);
    let (options, told) = resolved(&text);
    assert_eq!(told, [""; 0]);
    let [rested, yawe] = &options.services[..] else { panic!("two services") };
    let project = &rested.projects[0];
    // Keys are unique within a service only.
    assert_eq!((project.key, yawe.projects[0].key), (KeyDigest::of(KEY), KeyDigest::of(KEY)));
    assert_eq!((project.master_key, yawe.projects[0].master_key), (Some(KeyDigest::of("0123456789abcdef")), None));
    let [open, users, notes] = &project.endpoints[..] else { panic!("three endpoints") };
    assert!(!open.needs_token() && users.auth && users.registration && notes.secure);
    assert_eq!((users.users[0].username.as_str(), users.users[0].password_hash.as_str()), ("anna", HASH));
    let shown = format!("{options:?}{:?}", read(&text));
    assert!(!shown.contains(KEY) && !shown.contains("0123456789") && !shown.contains("$argon2"), "{shown}");
}

#[test]
fn values_that_cannot_be_name_their_key() {
    for (text, key) in [
        ("[other]\n", "other.preset"),
        ("[\"a.b\"]\npreset = \"yawe\"\n", "a.b"),
        ("[rested]\nhosts = [\"app.rested.dev:80\"]\n", "rested.hosts"),
        ("[rested]\nhosts = [\"https://app.rested.dev\"]\n", "rested.hosts"),
        ("[rested]\npath = \"/api/1/ce/\"\n", "rested.path"),
        ("[rested]\npath = \"/\"\n", "rested.path"),
        ("[rested]\npath = \"api\"\n", "rested.path"),
        ("[rested]\ndisplay_name = \"\"\n", "rested.display_name"),
        ("[yawe]\ncookie_names = [\"yawe_access_token\", \"a b\"]\n", "yawe.cookie_names"),
        ("[yawe]\ncookie_names = [\"yawe_access_token\", \"yawe_access_token\"]\n", "yawe.cookie_names"),
        ("[yawe]\ncookie_names = [\"other\"]\n", "yawe.login_cookie_name"),
        ("[rested]\ncookie_secure = false\n", "rested.login_cookie_name"),
        ("[rested]\naccess_token_parameter = \"key\"\n", "rested.access_token_parameter"),
        ("[rested]\naccess_token_parameter = \"a b\"\n", "rested.access_token_parameter"),
        ("[rested]\nsession_ttl = \"0s\"\n", "rested.session_ttl"),
        ("[rested]\nsessions_per_user_max = 0\n", "rested.sessions_per_user_max"),
        ("[rested]\npassword_workers = 0\n", "rested.password_workers"),
        ("[rested]\npassword_workers = 65\n", "rested.password_workers"),
        ("[rested]\nlog_messages = 0\n", "rested.log_messages"),
        ("[rested]\nlog_bytes = 0\n", "rested.log_bytes"),
        ("[rested]\nlog_age = \"0s\"\n", "rested.log_age"),
        ("[rested]\nno_progress_timeout = \"0s\"\n", "rested.no_progress_timeout"),
        ("[rested]\nping_interval = \"75s\"\n", "rested.ping_interval"),
        ("[rested]\nsilence_timeout = \"30s\"\n", "rested.ping_interval"),
        ("[rested]\nping_interval = \"0s\"\n", "rested.ping_interval"),
        ("[rested]\nping_interval = \"6554s\"\nsilence_timeout = \"2h\"\n", "rested.ping_interval"),
        ("[rested]\nclose_slice_connections = 0\n", "rested.close_slice_connections"),
        ("[rested]\nclose_slice_interval = \"0s\"\n", "rested.close_slice_interval"),
        ("[rested.limits]\nbody_bytes_max = 0\n", "rested.limits.body_bytes_max"),
        ("[rested.limits]\nlist_bytes_max = \"2GiB\"\n", "rested.limits.list_bytes_max"),
        ("[rested.limits]\nframe_bytes_max = 0\n", "rested.limits.frame_bytes_max"),
        ("[rested.limits]\nupload_files_max = 0\n", "rested.limits.upload_files_max"),
        ("[rested.limits]\nupload_file_bytes_max = 0\n", "rested.limits.upload_file_bytes_max"),
        ("[rested.limits]\nrecords_per_endpoint_max = 0\n", "rested.limits.records_per_endpoint_max"),
        ("[rested.limits]\nfailures_per_minute_per_address = 0\n", "rested.limits.failures_per_minute_per_address"),
        ("[rested.limits]\nlogin_failures_per_minute = 0\n", "rested.limits.login_failures_per_minute"),
        ("[[rested.projects]]\n", "rested.projects[0].name"),
        (&format!("{}{}", project(""), project("")), "rested.projects[1].name"),
        (&project("allowed_origins = [\"wss://a.example\"]"), "rested.projects[0].allowed_origins"),
        (&endpoint("auth = true\nsecure = true"), "rested.projects[0].endpoints[0].secure"),
        (&endpoint("auth = true\nread_by_others = true"), "rested.projects[0].endpoints[0].read_by_others"),
        (&endpoint("read_by_others = true"), "rested.projects[0].endpoints[0].read_by_others"),
        (&endpoint("delete_by_others = true"), "rested.projects[0].endpoints[0].delete_by_others"),
        (&endpoint("secure = true\nupdate_by_others = true"), "rested.projects[0].endpoints[0].update_by_others"),
        (&endpoint("secure = true\ndelete_by_others = true"), "rested.projects[0].endpoints[0].delete_by_others"),
        (&endpoint("users = [{ username = \"a\" }]"), "rested.projects[0].endpoints[0].users"),
        (&endpoint("auth = true\nusers = [{}]"), "rested.projects[0].endpoints[0].users[0].username"),
        (
            &endpoint("auth = true\nusers = [{ username = \"a\" }, { username = \"a\" }]"),
            "rested.projects[0].endpoints[0].users[1].username",
        ),
    ] {
        assert_eq!(keys(text), [key], "{text}");
    }
    for bad in [
        "[rested]\nnames = []\n",
        "[rested]\npreset = \"RESTED\"\n",
        "[rested]\nsession_ttl = 3600\n",
        "[rested]\nlimits.body = 5\n",
        &project("allowed_origins = [\"https://a.example/\"]"),
        &project("allowed_origins = [\"https://*.example\"]"),
        &project("allowed_origins = [\"null\"]"),
        &project("allowed_origins = [\"*\"]"),
        &project("key = 5"),
        &endpoint("public = true"),
        &endpoint("users = [{ password = \"x\" }]"),
    ] {
        assert!(toml::from_str::<Options>(bad).is_err(), "{bad}");
    }
    let together = endpoint("secure = true\nread_by_others = true\nupdate_by_others = true\ndelete_by_others = true");
    assert_eq!(told(&together), [""; 0]);
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    assert_eq!(
        told("[a]\npreset = \"yawe\"\nlog_messages = 0\n[[a.projects]]\nname = \"\"\n[b]\nlog_bytes = 0\nhosts = [\"b\"]\n"),
        [
            "a.log_messages: expected 1 or more",
            "a.projects[0].name: expected 1 to 64 bytes without control characters",
            "b.preset: expected \"rested\" or \"yawe\"; only a service of such a name needs none",
            "b.log_bytes: expected 1 byte or more",
        ]
    );
}

#[test]
fn ep_06_the_check_refuses_names_that_break_the_rule() {
    let named = |name: &str| keys(&project(&format!("[[rested.projects.endpoints]]\nname = \"{name}\"")));
    assert_eq!(named("cars/x/y"), [""; 0]);
    for bad in ["", "cars", "Cars/x", "cars//x", "cars/", "/cars/x", "-cars/x", "cars--x", "cars_x", "cars.x", &"a".repeat(255)] {
        assert_eq!(named(bad), ["rested.projects[0].endpoints[0].name"], "{bad}");
    }
    let other = "[[rested.projects]]\nname = \"q\"\n[[rested.projects.endpoints]]\nname = \"p/endpoint\"\n";
    assert_eq!(
        told(&format!("{}{other}", endpoint(""))),
        ["rested.projects[1].endpoints[0].name: the same name as endpoints.rested.projects[0].endpoints[0]"]
    );
}

#[test]
fn ep_70_a_secure_endpoint_needs_origins_or_consent() {
    let with = |project_keys: &str, endpoint_keys: &str| {
        keys(&project(&format!("{project_keys}\n[[rested.projects.endpoints]]\nname = \"p/endpoint\"\n{endpoint_keys}")))
    };
    for secure in ["secure = true", "auth = true"] {
        assert_eq!(with("", secure), ["rested.projects[0].endpoints[0]"], "{secure}");
        assert_eq!(with("allowed_origins = []\ndisallow_no_origin = true", secure), ["rested.projects[0].endpoints[0]"]);
        assert_eq!(with("cookie_from_any_origin = true", secure), [""; 0], "{secure}");
        assert_eq!(with("allowed_origins = [\"https://a.example\"]", secure), [""; 0], "{secure}");
    }
    assert_eq!(with("", ""), [""; 0]);
}

#[test]
fn ep_85_two_services_of_one_path_need_different_hosts() {
    let told = |first: &str, second: &str| keys(&format!("[rested]\n{first}\n[yawe]\n{second}\n"));
    assert_eq!(told("", ""), ["yawe.path"]);
    assert_eq!(told("hosts = [\"a.example\", \"b.example\"]", "hosts = [\"c.example\", \"B.example\"]"), ["yawe.path"]);
    assert_eq!(told("", "path = \"/api/1/ce/x\""), ["yawe.path"]);
    assert_eq!(told("path = \"/api/1/ce/x\"", ""), ["yawe.path"]);
    for (first, second) in [
        ("", "hosts = [\"a.example\"]"),
        ("hosts = [\"a.example\"]", "hosts = [\"b.example\"]"),
        ("", "path = \"/api/1/other\""),
        ("", "path = \"/api/1/cee\""),
        ("hosts = [\"a.example\"]", "hosts = [\"a.example\"]\npath = \"/api\\u002f2\""),
    ] {
        assert_eq!(told(first, second), [""; 0], "{first} {second}");
    }
}

#[test]
fn the_path_collides_with_what_other_dialects_have_at_or_below_it() {
    let collides = |other: &str| {
        let mut told = Vec::new();
        read("[rested]\n").check(&[("x.path", other)], &mut |key, problem| told.push(format!("{key}: {problem}")));
        if told.is_empty() {
            return false;
        }
        assert_eq!(told, ["rested.path: collides with x.path"]);
        true
    };
    for other in ["/api/1/ce", "/api/1/ce/", "/api/1/ce/x", "/api/", "/"] {
        assert!(collides(other), "{other}");
    }
    for other in ["", "/api", "/api/1/ce2", "/api/1/ce2/", "/pub"] {
        assert!(!collides(other), "{other}");
    }
}

#[test]
fn what_is_wrong_with_secrets_is_told_without_them() {
    let text = format!(
        "[[rested.projects]]\nkey = \"{KEY}\"\nmaster_key = \"short\"\n\
         [[rested.projects]]\nkey = \"short\"\nmaster_key_file = \"absent\"\n\
         [[rested.projects]]\nkey = \"0123456789abcde+\"\nmaster_key = \"{KEY}\"\nmaster_key_file = \"key\"\n\
         [[rested.projects]]\nmaster_key_file = \"short\"\n\
         [[rested.projects]]\nkey = \"{KEY}\"\nkey_file = \"key\"\n\
         [[rested.projects]]\nkey_file = \"key\"\nmaster_key_file = \"key\"\n\
         [[rested.projects.endpoints]]\nusers = [{{ password_hash = \"secret\" }}, {{ }}, {{ password_hash_file = \"short\" }}]\n"
    );
    let (_, told) = resolved(&text);
    let hash = "expected an argon2id hash like \"$argon2id$v=19$m=19456,t=2,p=1$…\"";
    assert_eq!(
        told,
        [
            "rested.projects[0].master_key: expected 16 bytes or more",
            "rested.projects[1].key: expected 16 to 128 characters of A-Z, a-z, 0-9, _ and -",
            "rested.projects[1].master_key_file: cannot read absent: no such file",
            "rested.projects[2].key: expected 16 to 128 characters of A-Z, a-z, 0-9, _ and -",
            "rested.projects[2]: expected at most one of master_key and master_key_file",
            "rested.projects[3]: expected exactly one of key and key_file",
            "rested.projects[3].master_key_file: expected 16 bytes or more in short",
            "rested.projects[4]: expected exactly one of key and key_file",
            "rested.projects[5]: the same key as endpoints.rested.projects[0]",
            "rested.projects[5].master_key: the same as the key, which every client knows",
            &format!("rested.projects[5].endpoints[0].users[0].password_hash: {hash}"),
            "rested.projects[5].endpoints[0].users[1]: expected exactly one of password_hash and password_hash_file",
            &format!("rested.projects[5].endpoints[0].users[2].password_hash_file: {hash} in short"),
        ]
    );
    let twice = format!("[[rested.projects]]\nkey = \"{KEY}\"\n[[yawe.projects]]\nkey = \"{KEY}\"\n");
    assert_eq!(resolved(&twice).1, [""; 0], "keys are unique within a service only");
}

#[test]
fn dev_keeps_its_contract() {
    let options = Options::dev();
    let names: Vec<(&str, &[String])> =
        options.services.iter().map(|service| (service.name.as_str(), &service.hosts[..])).collect();
    assert_eq!(names, [("rested", &[][..]), ("yawe", &["app.yawe.dev".to_owned()][..])]);
    for service in &options.services {
        assert!(!service.cookie_secure && service.drain_time == Duration::from_secs(1));
        let [project] = &service.projects[..] else { panic!("one project") };
        assert_eq!((project.key, project.master_key), (KeyDigest::of(KEY), Some(KeyDigest::of("dev"))));
        assert!(project.cookie_from_any_origin && project.allowed_origins.is_empty());
        let endpoints: Vec<_> = project.endpoints.iter().map(|it| (it.name.as_str(), it.auth, it.secure)).collect();
        assert_eq!(
            endpoints,
            [("examples/unsecure-endpoint", false, false), ("examples/users", true, false), ("examples/notes", false, true)]
        );
    }
}

#[test]
fn an_option_that_closes_sockets_is_seen() {
    let (options, _) = resolved(&format!("{EXAMPLE}{PROJECTS}"));
    let project = &options.services[0].projects[0];
    let renamed = Project { name: "x".to_owned(), key: KeyDigest::of("x"), endpoints: Vec::new(), ..project.clone() };
    assert!(project.admits_like(&renamed));
    for other in [
        Project { master_key: None, ..project.clone() },
        Project { allowed_origins: Vec::new(), ..project.clone() },
        Project { disallow_no_origin: true, ..project.clone() },
        Project { cookie_from_any_origin: true, ..project.clone() },
    ] {
        assert!(!project.admits_like(&other));
    }
    let endpoint = &project.endpoints[1];
    assert!(endpoint.grants_like(&Endpoint { users: Vec::new(), ..endpoint.clone() }));
    let changes: [fn(&mut Endpoint); 6] = [
        |it| it.auth ^= true,
        |it| it.secure ^= true,
        |it| it.registration ^= true,
        |it| it.read_by_others ^= true,
        |it| it.update_by_others ^= true,
        |it| it.delete_by_others ^= true,
    ];
    for change in changes {
        let mut other = endpoint.clone();
        change(&mut other);
        assert!(!endpoint.grants_like(&other));
    }
}
