//! What the binary says to whoever types: exit codes 0, 1 and 2, and messages that name the place.

use crate::process::{directory, run};
use std::net::TcpListener;

#[test]
fn check_says_everything_that_is_wrong_and_where() {
    let directory = directory("check");
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = write("good.toml", "[server]\nlisten = \"127.0.0.1:1\"\n\n[push_stream]\nlongpoll_ttl = \"20s\"\n");
    let ended = run(&["check", "-c", &good]);
    assert_eq!((ended.code, &*ended.stdout, &*ended.stderr), (Some(0), &*format!("{good}: fine\n"), ""));

    let bad = write("bad.toml", "[server]\nlisten = \"127.0.0.1:1\"\nreactor = 4\n\n[push_stream]\nlongpoll_ttl = 20\n");
    for command in ["check", "serve"] {
        let ended = run(&[command, "-c", &bad]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert_eq!(ended.stdout, "");
        let lines: Vec<&str> = ended.stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{ended:?}");
        assert_eq!(lines[0], format!("{bad}:3: server.reactor: unknown key; did you mean \"reactors\"?"));
        assert!(lines[1].starts_with(&format!("{bad}:6: push_stream.longpoll_ttl: ")), "{ended:?}");
        assert!(lines[1].contains("a string like \"25s\""), "{ended:?}");
    }

    let missing = directory.join("missing.toml");
    let ended = run(&["check", "-c", missing.to_str().unwrap()]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.starts_with(&format!("{}: ", missing.display())), "{ended:?}");
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn unknown_words_are_wrong_usage() {
    for arguments in [&["dev", "--listem", "127.0.0.1:0"][..], &["serve"], &["run"], &[], &["dev", "--listen", "80"]] {
        let ended = run(arguments);
        assert_eq!((ended.code, &*ended.stdout), (Some(2), ""), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains("Usage:") || ended.stderr.contains("--help"), "{arguments:?}: {ended:?}");
    }
    let ended = run(&["dev", "--listem", "127.0.0.1:0"]);
    assert!(ended.stderr.contains("--listem") && ended.stderr.contains("--listen"), "{ended:?}");
}

#[test]
fn a_port_in_use_is_a_failure_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = run(&["dev", "--listen", &address]);
    assert_eq!((ended.code, &*ended.stdout), (Some(1), ""), "{ended:?}");
    assert!(ended.stderr.contains(&format!("{address} is in use")), "{ended:?}");
}

#[test]
fn the_version_is_printed() {
    let ended = run(&["--version"]);
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    assert!(ended.stdout.starts_with(concat!("fanwire ", env!("CARGO_PKG_VERSION"), " (commit ")), "{ended:?}");
    assert!(ended.stdout.contains(", features: "), "{ended:?}");
    let help = run(&["--help"]);
    assert_eq!(help.code, Some(0));
    for command in ["dev", "serve", "check"] {
        assert!(help.stdout.contains(command), "{help:?}");
    }
}
