//! EP-69 and EP-70: what browsers are told about answers to other origins.

use crate::support::endpoints::{
    JSON, KEY, MASTER, MASTER_KEY, NOTES, OPEN, PATH, UNKNOWN_TOKEN, Writer, origin, service, target,
};
use crate::support::{LISTEN, Response, Server, config};
use fanwire::config::Config;
use std::path::Path;

const SHOP: &str = "https://shop.example";

/// The fields of section 7.2, in any order; `Vary` and the like must not stand there twice.
#[track_caller]
fn told(answer: &Response) -> Vec<(&str, &str)> {
    let is_told = |name: &str| name.starts_with("Access-Control-") || name == "Vary";
    let told: Vec<(&str, &str)> =
        answer.fields.iter().filter(|(name, _)| is_told(name)).map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert!(told.iter().all(|(_, value)| !value.contains('*')), "{answer:?}");
    told
}

fn allowed(origin: &str, credentials: bool) -> Vec<(&str, &str)> {
    let mut fields =
        vec![("Access-Control-Allow-Origin", origin), ("Vary", "Origin"), ("Access-Control-Expose-Headers", "Authorization")];
    if credentials {
        fields.push(("Access-Control-Allow-Credentials", "true"));
    }
    fields
}

/// A server with one open endpoint and these keys of its project.
fn server(project: &str) -> Server {
    let text = format!(
        "[endpoints.rested]\n[[endpoints.rested.projects]]\nname = \"examples\"\nkey = \"{KEY}\"\nmaster_key = \"{MASTER_KEY}\"\n\
         {project}\n[[endpoints.rested.projects.endpoints]]\nname = \"{OPEN}\"\n"
    );
    Server::cable(crate::support::endpoints::dev_endpoints(&text))
}

#[test]
fn ep_69_a_preflight_reflects_the_origin_and_says_what_may_be_asked() {
    let rest = [
        ("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
        ("Access-Control-Allow-Headers", "Authorization, Content-Type"),
        ("Access-Control-Max-Age", "600"),
    ];
    let explicit = format!("allowed_origins = [\"{SHOP}\"]");
    for (project, sent, credentials) in [
        (explicit.as_str(), SHOP, true),
        (&explicit, "HTTPS://Shop.example:443", true),
        ("", "https://any.example", false),
        ("", "null", false),
        ("cookie_from_any_origin = true", "https://any.example", true),
    ] {
        let server = server(project);
        let mut writer = Writer::on(&server, 1);
        let asks = "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: content-type\r\n";
        let answer = writer.call("OPTIONS", &target(OPEN, ""), &(origin(sent) + asks), b"");
        assert_eq!((answer.status, answer.field("Connection")), (204, Some("keep-alive")));
        assert_eq!(told(&answer), [allowed(sent, credentials), rest.to_vec()].concat(), "{project}");
    }
}

#[test]
fn ep_69_a_preflight_passes_the_checks_of_key_and_origin_but_needs_no_token() {
    let server = Server::with_examples("", &format!("allowed_origins = [\"{SHOP}\"]"), "");
    let mut writer = Writer::on(&server, 1);
    let mut ask = |target: &str, fields: &str| writer.call("OPTIONS", target, fields, b"");
    let secure = ask(&target(NOTES, ""), &origin(SHOP));
    assert_eq!((secure.status, told(&secure)[0]), (204, ("Access-Control-Allow-Origin", SHOP)));
    for (target, fields, status) in [
        (format!("{PATH}/{OPEN}"), origin(SHOP), 403),
        (format!("{PATH}/{OPEN}?key=x"), origin(SHOP), 400),
        (target(OPEN, ""), origin("https://evil.example"), 403),
        (target(OPEN, ""), origin(SHOP) + &origin(SHOP), 403),
    ] {
        let answer = ask(&target, &fields);
        assert_eq!((answer.status, told(&answer)), (status, vec![]), "{target} {fields}");
    }
    // Without an origin it is no preflight, and yet allowed.
    let plain = ask(&target(OPEN, ""), "");
    assert_eq!(plain.status, 204);
    assert!(told(&plain).iter().all(|(name, _)| *name != "Access-Control-Allow-Origin"));
    // The master key lets the request pass, but no browser read the answer.
    let master = ask(&target(OPEN, MASTER), &origin("https://evil.example"));
    assert_eq!(master.status, 204);
    assert!(told(&master).iter().all(|(name, _)| *name != "Access-Control-Allow-Origin"));
}

#[test]
fn ep_69_every_answer_may_be_read_by_the_origin_failures_included() {
    let server = Server::with_examples("limits = { body_bytes_max = 10 }", &format!("allowed_origins = [\"{SHOP}\"]"), "");
    let mut writer = Writer::on(&server, 2);
    let fields = origin(SHOP) + JSON;
    for (method, target, body, status) in [
        ("POST", target(OPEN, ""), "1", 201),
        ("GET", target(OPEN, ""), "", 200),
        ("GET", target(OPEN, "uniqueId=x"), "", 400),
        ("POST", target(OPEN, ""), "", 400),
        ("POST", target(OPEN, ""), "\"too long\" ", 413),
        ("POST", target(OPEN, "login=true"), "", 400),
        ("PUT", target(OPEN, ""), "1", 400),
        ("BREW", target(OPEN, ""), "", 405),
        ("GET", target(NOTES, ""), "", 401),
        ("GET", target(NOTES, &format!("accessToken={UNKNOWN_TOKEN}")), "", 401),
    ] {
        let answer = writer.call(method, &target, &fields, body.as_bytes());
        assert_eq!((answer.status, told(&answer)), (status, allowed(SHOP, true)), "{method} {target}");
    }
    let none = writer.call("GET", &target(OPEN, ""), "", b"");
    assert_eq!((none.status, told(&none)), (200, vec![]), "nobody has asked");
}

#[test]
fn ep_70_cookies_from_any_origin_need_the_projects_consent() {
    let text = |project: &str| format!("{LISTEN}{}", service("rested", "", project, ""));
    let without = |text: String| text.replacen("cookie_from_any_origin = true\n", "", 1);
    let check = |text: String| Config::from_toml(&text, "test.toml", Path::new("."));
    config(&text(""));
    let error = check(without(text(""))).expect_err("it is refused").to_string();
    assert!(error.contains("cookie_from_any_origin"), "{error}");
    config(&without(text(&format!("allowed_origins = [\"{SHOP}\"]"))));
    // Where nobody has a cookie there is nothing to consent to.
    server("");
}
