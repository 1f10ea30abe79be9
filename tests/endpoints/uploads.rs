//! EP-35, EP-66 and EP-67: files become records.

use crate::support::endpoints::{Listener, OPEN, Record, Writer, target};
use crate::support::{Client, REACTORS, Response, Server};
use serde_json::value::RawValue;

const FORM: &str = "Content-Type: multipart/form-data; boundary=XyZ\r\n";

/// A part with this head's rest and content.
fn part(disposition: &str, content: &str) -> String {
    format!("--XyZ\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{content}\r\n")
}

fn file(name: &str, content: &str) -> String {
    part(&format!("name=\"file\"; filename=\"{name}\""), content)
}

fn form(parts: &[String]) -> String {
    format!("{}--XyZ--\r\n", parts.concat())
}

fn upload(writer: &mut Writer, body: &str) -> Response {
    writer.call("POST", &target(OPEN, ""), FORM, body.as_bytes())
}

#[track_caller]
fn refuses(writer: &mut Writer, body: &str, status: u16, text: &str) {
    let answer = upload(writer, body);
    assert_eq!((answer.status, answer.text()), (status, format!("{{\"error\":\"{text}\"}}").as_str()), "{body}");
}

#[test]
fn ep_35_three_files_are_told_in_one_message_and_one_alone() {
    let server = Server::with_endpoints("");
    let mut writer = Writer::on(&server, 0);
    let mut listeners: Vec<Listener> = (0..REACTORS).map(|reactor| Listener::open(&server, reactor, OPEN, "")).collect();
    let answer = upload(&mut writer, &form(&[file("a.png", "1"), file("b.png", "22"), file("c.png", "333")]));
    assert_eq!(answer.status, 201, "{answer:?}");
    let texts: Vec<&RawValue> = serde_json::from_str(answer.text()).unwrap();
    let records: Vec<Record> = texts.into_iter().map(|text| Record::parse(text.get())).collect();
    let names: Vec<&str> = records.iter().map(|record| &record.data[17..22]).collect();
    assert_eq!(names, ["a.png", "b.png", "c.png"]);
    let shown: Vec<String> = records.iter().map(Record::in_message).collect();
    let event = format!(r#"{{"type":"POST","record":[{}]}}"#, shown.join(","));
    let answer = upload(&mut writer, &form(&[file("d.png", "4")]));
    let one = Record::parse(answer.text());
    for listener in &mut listeners {
        listener.expect(&event);
        listener.expect(&one.event("POST"));
        server.expect_silence(listener);
    }
    assert_eq!(Writer::on(&server, 3).list(OPEN), [records, vec![one]].concat(), "in the order of the files");
}

#[test]
fn ep_66_ten_files_are_taken_and_eleven_refused_with_nothing_stored() {
    let server = Server::with_endpoints("");
    let mut writer = Writer::on(&server, 1);
    let mut listener = Listener::open(&server, 2, OPEN, "");
    let files = |count: usize| (0..count).map(|number| file(&format!("{number}.txt"), "x")).collect::<Vec<_>>();
    refuses(&mut writer, &form(&files(11)), 400, "Too many files.");
    assert_eq!(writer.list(OPEN), []);
    server.expect_silence(&mut listener);
    assert_eq!(upload(&mut writer, &form(&files(10))).status, 201);
    assert_eq!(writer.list(OPEN).len(), 10);
    assert!(listener.text().starts_with("{\"type\":\"POST\",\"record\":[{"));
}

#[test]
fn ep_67_a_record_holds_name_size_type_and_metadata() {
    let server = Server::with_endpoints("");
    let mut writer = Writer::on(&server, 1);
    let mut data = |parts: &[String]| Record::parse(upload(&mut writer, &form(parts)).text()).data;
    let picture = "--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"C:\\\\photos/a.png\"\r\n\
                   Content-Type: image/png\r\n\r\n0123456789\r\n";
    assert_eq!(
        data(&[part("name=album", "home"), picture.to_owned(), part("name=\"n\"", "\"1\""), part("name=album", "holiday")]),
        r#"{"file":{"name":"a.png","size":10,"type":"image/png"},"metadata":{"album":"holiday","n":"\"1\""}}"#
    );
    assert_eq!(
        data(&[file("empty", "")]),
        r#"{"file":{"name":"empty","size":0,"type":"application/octet-stream"},"metadata":{}}"#
    );
    let answer = upload(&mut writer, &form(&[file("a", "1"), part("name=x", "y"), file("b", "")]));
    let texts: Vec<&RawValue> = serde_json::from_str(answer.text()).unwrap();
    for text in texts {
        assert!(Record::parse(text.get()).data.ends_with(r#""metadata":{"x":"y"}}"#), "{answer:?}");
    }
    // What has a file is a record like any other.
    let id = writer.list(OPEN)[0].id.clone();
    let patched = writer.patch(OPEN, &id, r#"{"file":null,"metadata":{"album":null}}"#);
    assert_eq!(patched.data, r#"{"metadata":{"n":"\"1\""}}"#);
}

#[test]
fn ep_67_what_is_wrong_or_too_large_stores_nothing() {
    let server = Server::with_endpoints("limits = { upload_file_bytes_max = 100, upload_files_max = 2, body_bytes_max = 10 }");
    let mut writer = Writer::on(&server, 3);
    let mut listener = Listener::open(&server, 0, OPEN, "");
    let text = |name: usize| part(&format!("name=\"{name}\""), "x");
    let texts = |count: usize| (0..count).map(text).collect::<String>();
    for (body, status, told) in [
        (String::new(), 400, "Body is empty."),
        ("1".to_owned(), 400, "Body not valid."),
        (form(&[]), 400, "Body not valid."),
        (form(&[text(1)]), 400, "Body not valid."),
        (file("a", "x"), 400, "Body not valid."),
        (form(&[part("name=file", "x")]), 400, "Body not valid."),
        (form(&[file("a", "x"), texts(33)]), 400, "Body not valid."),
        (form(&[file("a", "x"), file("b", "x"), file("c", "x")]), 400, "Too many files."),
        (form(&[file("a", &"x".repeat(101))]), 413, "Body too large."),
        (form(&[file("a", "x"), file("b", &"x".repeat(101))]), 413, "Body too large."),
        (form(&[file("a", "x"), part("name=big", &"x".repeat(64 << 10))]), 413, "Body too large."),
    ] {
        refuses(&mut writer, &body, status, told);
    }
    assert_eq!(writer.list(OPEN), []);
    server.expect_silence(&mut listener);
    assert_eq!(upload(&mut writer, &form(&[file("a", &"x".repeat(100)), texts(32), file("b", "")])).status, 201);
    assert_eq!(writer.list(OPEN).len(), 2);
}

/// An early answer to a body of some size leaves the connection open, one to a body without an end does not.
#[test]
fn ep_67_a_refusal_does_not_wait_for_the_rest() {
    let server = Server::with_endpoints("limits = { upload_file_bytes_max = 1000 }");
    let mut client = Client::on(&server, 1);
    let begun = file("a", &"x".repeat(1001));
    let head = format!("POST {} HTTP/1.1\r\nHost: h\r\n{FORM}", target(OPEN, ""));
    let rest = vec![b'x'; 10_000];
    client.send(format!("{head}Content-Length: {}\r\n\r\n{begun}", begun.len() + rest.len()));
    let answer = client.response();
    assert_eq!((answer.status, answer.field("Connection")), (413, Some("keep-alive")));
    client.send(&rest);
    assert_eq!(client.get(&target(OPEN, "")).text(), "[]");
    client.send(format!("{head}Content-Length: {}\r\n\r\n{begun}", 10u64 << 30));
    let answer = client.response();
    assert_eq!((answer.status, answer.field("Connection")), (413, Some("close")));
}
