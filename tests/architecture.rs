//! "Who may import whom": every `crate::` and `super::` path under `src/` against the table of the architecture.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Modules that everybody may import: words, records, units and arithmetic of time.
const EVERYBODY: [&str; 4] = ["exchange", "record", "units", "pace"];

/// What a module may import of ours, as the beginnings of paths, beside itself and [`EVERYBODY`]. A row whose name is longer
/// adds to the shorter ones: `hub::thread` has what `hub` has, and more.
const TABLE: &[(&str, &[&str])] = &[
    ("message", &[]),
    ("clock", &[]),
    ("json", &[]),
    ("metrics", &[]),
    ("workers", &[]),
    ("units", &[]),
    ("pace", &[]),
    ("record", &["message"]),
    ("exchange", &["message"]),
    ("access", &["message"]),
    ("http", &["message"]),
    ("websocket", &["message", "http::head"]),
    ("session", &["message", "http::body::BodyError", "http::head", "http::response", "clock::Now", "access"]),
    // Knows its children, and nothing else.
    ("dialects", &[]),
    ("dialects::action_cable", DIALECT),
    ("dialects::endpoints", DIALECT),
    ("dialects::publish", DIALECT),
    ("dialects::push_stream", DIALECT),
    ("dialects::resources", DIALECT),
    ("dialects::admin", DIALECT),
    // It counts what nobody else sees.
    ("dialects::action_cable", &["metrics::Family", "metrics::Kind"]),
    // It shows the numbers.
    ("dialects::admin", &["metrics"]),
    ("engine", &["message", "storage"]),
    ("storage", &["message"]),
    ("hub", &["message", "engine", "storage", "metrics", "clock::Now"]),
    ("hub::thread", &["clock::Clock"]),
    ("reactor", &["message", "session", "http", "websocket", "hub::request", "metrics", "clock::Now"]),
    // Whom it hands slow work to.
    ("reactor::working", &["workers::Pool"]),
    ("reactor::thread", &["clock::Clock"]),
    // The door through which the hub's thread reaches a reactor.
    ("reactor::inbox", &["hub::thread::Port"]),
    // The settings struct that each module defines for itself, and what was typed.
    ("config", &["access", "dialects", "storage::Deliver", "cli::Overrides"]),
    ("cli", &["config::LogFormat", "config::LogLevel"]),
    ("server", &[""]),
    ("main", &[""]),
    ("lib", &[""]),
];

const DIALECT: &[&str] = &["session", "message", "http", "websocket", "access", "json", "clock::Now"];

/// Crates and parts of std that only these files may name.
const RESERVED: &[(&str, &[&str])] = &[
    ("httparse::", &["http/head.rs"]),
    ("tungstenite::", &["websocket/"]),
    ("mio::", &["reactor/thread.rs", "reactor/listener.rs", "reactor/inbox.rs", "reactor/transport.rs", "server.rs"]),
    ("Instant::now", &["clock.rs", "server.rs", "main.rs"]),
    ("SystemTime::now", &["clock.rs"]),
    ("std::fs::", &["config.rs", "config/", "main.rs", "reactor/listener.rs", "storage/"]),
    ("thread::spawn", &["server.rs", "main.rs", "workers.rs"]),
    ("thread::Builder", &["server.rs", "main.rs", "workers.rs"]),
    ("thread::sleep", &["main.rs"]),
    ("rustls::", &["reactor/transport.rs"]),
    ("redb::{", &["storage/"]),
    ("unsafe {", &[]),
    ("allow(unsafe_code)", &[]),
];

/// Every broken rule of one file; `file` is its path below `src`.
fn violations(file: &str, text: &str) -> Vec<String> {
    if file.starts_with("oracle/") {
        return Vec::new();
    }
    let text = without_tests_and_comments(text);
    let here = module_path(file);
    let mut found = Vec::new();
    for path in imported(&here, &text) {
        if !may_import(&here, &path) {
            found.push(format!("{file}: {} may not import {}", here.join("::"), path.join("::")));
        }
    }
    for (word, files) in RESERVED {
        if text.contains(word)
            && !files.iter().any(|allowed| file == *allowed || allowed.ends_with('/') && file.starts_with(allowed))
        {
            found.push(format!("{file}: {word} does not belong here"));
        }
    }
    found
}

/// `hub/thread.rs` is `hub::thread`, `hub/mod.rs` is `hub`, `main.rs` is `main`.
fn module_path(file: &str) -> Vec<String> {
    let stem = file.strip_suffix(".rs").expect("a Rust file");
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    stem.split('/').map(str::to_owned).collect()
}

/// The part of a module's path that the table knows as one module.
fn family(path: &[String]) -> &[String] {
    let length = if path[0] == "dialects" && path.len() > 1 { 2 } else { 1 };
    &path[..length]
}

fn begins_with(path: &[String], beginning: &str) -> bool {
    beginning.is_empty()
        || beginning.split("::").enumerate().all(|(index, part)| path.get(index).is_some_and(|segment| segment == part))
}

fn may_import(here: &[String], path: &[String]) -> bool {
    let own = family(here);
    if path.starts_with(own) || EVERYBODY.contains(&path[0].as_str()) {
        return true;
    }
    let rows: Vec<_> = TABLE.iter().filter(|(module, _)| begins_with(here, module)).collect();
    // `dialects/mod.rs` names its children; they don't name each other.
    let own_row = own.join("::");
    rows.iter()
        .filter(|(module, _)| *module == own_row || module.len() > own_row.len())
        .flat_map(|(_, allowed)| allowed.iter())
        .any(|allowed| begins_with(path, allowed))
}

/// Comments, and modules that are only built for tests, are nobody's imports.
fn without_tests_and_comments(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let code = line.trim_start();
        if code.starts_with("//") {
            continue;
        }
        if line == "#[cfg(test)]" && lines.peek().is_some_and(|next| next.starts_with("mod ") && next.ends_with('{')) {
            // rustfmt puts the end of a module into the first column.
            while lines.next().is_some_and(|line| line != "}") {}
            continue;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

/// Every path of ours that is named, from the root of the crate.
fn imported(here: &[String], text: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (root, base) in [("crate::", Vec::new()), ("super::", here[..here.len() - 1].to_vec())] {
        for (at, _) in text.match_indices(root) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|before| before.is_alphanumeric() || before == '_' || before == ':' || before == '$') {
                continue;
            }
            let mut base = base.clone();
            let mut rest = &text[at + root.len()..];
            while let Some(further) = rest.strip_prefix("super::") {
                base.pop();
                rest = further;
            }
            let mut tree = rest.as_bytes();
            read_tree(&base, &mut tree, &mut paths);
        }
    }
    paths.retain(|path| !path.is_empty());
    paths
}

/// Reads `a::b`, `a::{b, c::d}` and `*` behind a prefix.
fn read_tree(prefix: &[String], rest: &mut &[u8], paths: &mut Vec<Vec<String>>) {
    let mut path = prefix.to_vec();
    loop {
        skip_blanks(rest);
        if rest.first() == Some(&b'{') {
            *rest = &rest[1..];
            loop {
                skip_blanks(rest);
                match rest.first() {
                    Some(b'}') => {
                        *rest = &rest[1..];
                        return;
                    }
                    Some(b',') => *rest = &rest[1..],
                    Some(_) => read_tree(&path, rest, paths),
                    None => return,
                }
            }
        }
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
        if length == 0 {
            // A `*`, or an end that is no path: one byte further, so that every call moves on.
            *rest = rest.get(1..).unwrap_or_default();
            break;
        }
        let segment = String::from_utf8_lossy(&rest[..length]).into_owned();
        *rest = &rest[length..];
        if segment != "self" {
            path.push(segment);
        }
        match rest.strip_prefix(b"::") {
            Some(further) => *rest = further,
            None => {
                skip_blanks(rest);
                if let Some(renamed) = rest.strip_prefix(b"as ") {
                    let length = renamed.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
                    *rest = &renamed[length..];
                }
                break;
            }
        }
    }
    paths.push(path);
}

fn skip_blanks(rest: &mut &[u8]) {
    let blanks = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    *rest = &rest[blanks..];
}

fn source_files() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    let mut folders: Vec<PathBuf> = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("src can be read") {
            let path = entry.expect("src can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).expect("below src").to_string_lossy().replace('\\', "/");
                files.insert(name, std::fs::read_to_string(&path).expect("a source file is UTF-8"));
            }
        }
    }
    files
}

/// Files that only tests are built with: `#[cfg(test)] mod name;` in their parent, whatever stands between.
fn only_for_tests(files: &BTreeMap<String, String>) -> Vec<String> {
    let mut names = Vec::new();
    for (file, text) in files {
        let folder = match file.strip_suffix("mod.rs") {
            Some(folder) => folder.to_owned(),
            None if file == "lib.rs" || file == "main.rs" => String::new(),
            None => format!("{}/", file.strip_suffix(".rs").expect("a Rust file")),
        };
        for pair in text.lines().collect::<Vec<_>>().windows(2) {
            if pair[0].starts_with("#[cfg(") && pair[0].contains("test") {
                let name = pair[1].trim_start_matches("pub ").strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';'));
                names.extend(name.map(|name| format!("{folder}{name}")));
            }
        }
    }
    names
}

#[test]
fn every_module_imports_only_what_it_may() {
    let files = source_files();
    assert!(files.len() > 20, "src was found");
    let exempt = only_for_tests(&files);
    let found: Vec<String> = files
        .iter()
        .filter(|(file, _)| !exempt.iter().any(|name| **file == format!("{name}.rs") || file.starts_with(&format!("{name}/"))))
        .flat_map(|(file, text)| violations(file, text))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_module_stands_in_the_table() {
    for file in source_files().keys() {
        let path = module_path(file);
        let family = family(&path).join("::");
        assert!(family == "oracle" || TABLE.iter().any(|(module, _)| *module == family), "{file}: {family} is not in the table");
    }
}

#[test]
fn unsafe_code_is_forbidden() {
    let files = source_files();
    for root in ["lib.rs", "main.rs"] {
        let text = &files[root];
        assert!(root == "main.rs" && !text.contains("unsafe") || text.contains("#![forbid(unsafe_code)]"), "{root}");
    }
}

#[test]
fn a_planted_wrong_import_is_found() {
    for (file, text) in [
        ("dialects/publish/post.rs", "use crate::hub::Hub;\n"),
        ("dialects/publish/post.rs", "use crate::dialects::push_stream::cursor;\n"),
        ("dialects/publish/mod.rs", "use super::push_stream::cursor;\n"),
        ("dialects/publish/post.rs", "use super::super::push_stream::cursor;\n"),
        ("dialects/publish/post.rs", "use crate::clock::{Clock, Now};\n"),
        ("dialects/push_stream/longpoll.rs", "fn x() { crate::metrics::Metrics::new(1); }\n"),
        ("hub/topic.rs", "use crate::clock::Clock;\n"),
        ("hub/log.rs", "use crate::{message::Message, session::{Action, Session}};\n"),
        ("hub/mod.rs", "use crate::http::response::Response;\n"),
        ("reactor/mod.rs", "use crate::hub::topic::Topic;\n"),
        ("reactor/mod.rs", "use crate::dialects::publish::Publish;\n"),
        ("session.rs", "use crate::reactor::Reactor;\n"),
        ("http/body.rs", "use crate::session::Session;\n"),
        ("message.rs", "use crate::hub::request::Token;\n"),
        ("access.rs", "use crate::config::Config;\n"),
        ("hub/mod.rs", "use crate::config::Config as Settings;\n"),
        ("http/body.rs", "let head = httparse::Request::new(&mut fields);\n"),
        ("reactor/mod.rs", "use mio::Poll;\n"),
        ("hub/mod.rs", "let now = std::time::Instant::now();\n"),
        ("dialects/publish/mod.rs", "use tungstenite::Message;\n"),
    ] {
        assert!(!violations(file, text).is_empty(), "{file}: {text}");
    }
}

#[test]
fn rightful_imports_comments_and_tests_are_let_alone() {
    for (file, text) in [
        ("hub/thread.rs", "use crate::clock::{Clock, Now};\nuse super::Hub;\n"),
        ("hub/join.rs", "use crate::hub::{self, Settings, log::Log as Kept};\nuse crate::exchange::Join;\n"),
        ("dialects/publish/post.rs", "use super::answer;\nuse crate::{session::Session, http::head::Head};\n"),
        ("dialects/admin/mod.rs", "use crate::metrics::Metrics;\n"),
        ("dialects/mod.rs", "use crate::dialects::publish;\n"),
        ("hub/mod.rs", "//! Not `crate::http`.\n// crate::session\nuse crate::message::Seq;\n"),
        ("hub/mod.rs", "fn hub() {}\n\n#[cfg(test)]\nmod tests {\n    use crate::config::Config;\n}\n"),
        ("server.rs", "use crate::hub::Hub;\nuse crate::reactor::thread;\n"),
        ("websocket/handshake.rs", "use crate::http::head::Head;\n"),
    ] {
        assert_eq!(violations(file, text), Vec::<String>::new(), "{file}: {text}");
    }
    // What stands behind a test module is looked at again.
    assert!(!violations("hub/mod.rs", "#[cfg(test)]\nmod tests {\n}\nuse crate::http::head::Head;\n").is_empty());
}
