//! Publishes into the server under test, over one connection, answers read by a thread of their own.
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::client::latency_histogram;
use crate::dialect::{self, Answer, endpoints, resources};
use crate::frames;
use crate::options::PublishTo;

/// Whatever carries a message to all subscribers of a topic.
pub trait Publish {
    fn publish(&mut self, number: u64, topic: u32, payload: &[u8]) -> Result<(), String>;

    /// Why publishing has failed, if it has.
    fn failure(&self) -> Option<String>;
}

/// A publisher over one TCP connection: `POST /pub`, `PUT` of a document, `POST` of a record, or a WebSocket on `/publish`.
pub struct Publisher {
    form: PublishTo,
    host: String,
    key: Option<String>,
    topics: Vec<String>,
    stored: bool,
    /// Messages on `/publish` have ids that begin so: a repeated one is published once.
    ids: Option<String>,
    stream: TcpStream,
    out: Vec<u8>,
    text: Vec<u8>,
    sent: u64,
    answers: Arc<Answers>,
}

struct Answers {
    count: AtomicU64,
    /// When each message left that has no answer yet.
    sent_at: Mutex<VecDeque<Instant>>,
    /// ns from the sending of a message to its answer.
    times: Mutex<Histogram<u64>>,
    failure: Mutex<Option<String>>,
    /// It has failed because the connection has ended.
    lost: AtomicBool,
}

impl Answers {
    fn fail(&self, reason: String) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
    }

    fn lose(&self, reason: String) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_none() {
            *failure = Some(reason);
            self.lost.store(true, Relaxed);
        }
    }

    fn answered(&self) {
        self.count.fetch_add(1, Relaxed);
        let sent_at = self.sent_at.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        if let Some(sent_at) = sent_at {
            let time = sent_at.elapsed().as_nanos() as u64;
            self.times.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(time);
        }
    }

    fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Longest answer to one published message; a longer one is a failure.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

impl Publisher {
    /// Connects, and upgrades when the form asks for it; `topics` are the names by number.
    ///
    /// # Errors
    /// Says in words what the server did, or did not do until `deadline`.
    pub fn connect(
        form: PublishTo,
        address: SocketAddr,
        key: Option<String>,
        topics: Vec<String>,
        stored: bool,
        deadline: Instant,
    ) -> Result<Publisher, String> {
        let patience = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let words = |error: io::Error| format!("publisher: {error}");
        let mut stream = TcpStream::connect_timeout(&address, patience).map_err(words)?;
        stream.set_nodelay(true).map_err(words)?;
        stream.set_write_timeout(Some(patience)).map_err(words)?;
        stream.set_read_timeout(Some(patience)).map_err(words)?;
        let host = address.to_string();
        let mut early = Vec::new();
        match form {
            PublishTo::Pub | PublishTo::Document | PublishTo::Record => {}
            PublishTo::Publish => early = upgrade(&mut stream, &host, key.as_deref())?,
        }
        let answers = Arc::new(Answers {
            count: AtomicU64::new(0),
            sent_at: Mutex::new(VecDeque::new()),
            times: Mutex::new(latency_histogram()),
            failure: Mutex::new(None),
            lost: AtomicBool::new(false),
        });
        let reader = Reader { form, stream: stream.try_clone().map_err(words)?, held: early, answers: Arc::clone(&answers) };
        std::thread::Builder::new().name("publisher answers".into()).spawn(move || reader.run()).map_err(words)?;
        Ok(Publisher { form, host, key, topics, stored, ids: None, stream, out: Vec::new(), text: Vec::new(), sent: 0, answers })
    }

    /// Gives each message an id that begins so.
    pub fn with_ids(mut self, ids: Option<String>) -> Publisher {
        self.ids = ids;
        self
    }

    /// How many messages have been answered.
    pub fn answered(&self) -> u64 {
        self.answers.count.load(Relaxed)
    }

    /// The connection has ended, and the server had refused nothing before.
    pub fn is_lost(&self) -> bool {
        self.answers.lost.load(Relaxed)
    }

    /// ns from the sending of each message to its answer, so far; what follows is counted anew.
    pub fn answer_times(&self) -> Histogram<u64> {
        let mut times = self.answers.times.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut times, latency_histogram())
    }

    /// Waits until every message has been answered; what the server refused was no load.
    pub fn finish(&self, patience: Duration) -> Result<(), String> {
        let until = Instant::now() + patience;
        while self.answers.count.load(Relaxed) < self.sent {
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
            if Instant::now() > until {
                let missing = self.sent - self.answers.count.load(Relaxed);
                return Err(format!("publisher: {missing} messages were never answered"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.failure().map_or(Ok(()), Err)
    }
}

impl Publish for Publisher {
    fn publish(&mut self, number: u64, topic: u32, payload: &[u8]) -> Result<(), String> {
        let topic = &self.topics[topic as usize];
        self.out.clear();
        match self.form {
            PublishTo::Pub => {
                write!(self.out, "POST /pub?id={topic} HTTP/1.1\r\nHost: {}\r\n", self.host).expect("a Vec takes every byte");
                if let Some(key) = &self.key {
                    write!(self.out, "Authorization: Bearer {key}\r\n").expect("a Vec takes every byte");
                }
                write_body(payload, &mut self.out);
            }
            PublishTo::Document => {
                let (path, fields) = (resources::path(topic), resources::fields(self.key.as_deref()));
                write!(self.out, "PUT {path} HTTP/1.1\r\nHost: {}\r\n{fields}", self.host).expect("a Vec takes every byte");
                write_body(payload, &mut self.out);
            }
            PublishTo::Record => {
                let target = endpoints::target(topic);
                write!(self.out, "POST {target} HTTP/1.1\r\nHost: {}\r\n", self.host).expect("a Vec takes every byte");
                write_body(payload, &mut self.out);
            }
            PublishTo::Publish => {
                self.text.clear();
                write!(self.text, "{{\"topic\":\"{topic}\",\"data\":").expect("a Vec takes every byte");
                self.text.extend_from_slice(payload);
                if let Some(ids) = &self.ids {
                    write!(self.text, ",\"id\":\"{ids}-{number}\"").expect("a Vec takes every byte");
                }
                self.text.extend_from_slice(if self.stored { b"}" } else { b",\"store\":false}" });
                frames::write_masked(&mut self.out, frames::TEXT, &self.text);
            }
        }
        self.sent += 1;
        self.answers.sent_at.lock().unwrap_or_else(PoisonError::into_inner).push_back(Instant::now());
        self.stream.write_all(&self.out).map_err(|error| {
            self.answers.lose(format!("publisher: {error}"));
            self.failure().unwrap_or_default()
        })
    }

    fn failure(&self) -> Option<String> {
        self.answers.failure()
    }
}

/// Appends the end of a head, and a body of JSON.
fn write_body(payload: &[u8], out: &mut Vec<u8>) {
    write!(out, "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", payload.len()).expect("a Vec takes every byte");
    out.extend_from_slice(payload);
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // Ends the reading thread; the connection may be gone already.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

/// Gives back what came behind the 101.
fn upgrade(stream: &mut TcpStream, host: &str, key: Option<&str>) -> Result<Vec<u8>, String> {
    let mut request = Vec::new();
    dialect::upgrade("/publish", host, key, &mut request);
    stream.write_all(&request).map_err(|error| format!("publisher: {error}"))?;
    let mut held = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let bytes = stream.read(&mut buffer).map_err(|error| format!("publisher: no answer to the upgrade: {error}"))?;
        held.extend_from_slice(&buffer[..bytes]);
        match dialect::upgraded(&held) {
            Answer::Accepted(head) => return Ok(held.split_off(head)),
            Answer::Partial if bytes > 0 => {}
            Answer::Partial | Answer::Refused => {
                let line = String::from_utf8_lossy(&held[..held.len().min(80)]).lines().next().unwrap_or_default().to_owned();
                return Err(format!("publisher: /publish was refused: {line:?}"));
            }
        }
    }
}

struct Reader {
    form: PublishTo,
    stream: TcpStream,
    held: Vec<u8>,
    answers: Arc<Answers>,
}

impl Reader {
    fn run(mut self) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let mut taken = 0;
            loop {
                let found = match self.form {
                    PublishTo::Pub | PublishTo::Document | PublishTo::Record => http_answer(&self.held[taken..]),
                    PublishTo::Publish => websocket_answer(&self.held[taken..]),
                };
                match found {
                    Ok(Some((bytes, answered))) => {
                        taken += bytes;
                        if answered {
                            self.answers.answered();
                        }
                    }
                    Ok(None) => break,
                    Err(reason) => return self.answers.fail(reason),
                }
            }
            self.held.drain(..taken);
            if self.held.len() > ANSWER_BYTES_MAX {
                return self.answers.fail("publisher: an answer is too long".to_owned());
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return self.answers.lose("publisher: the server closed the connection".to_owned()),
                Ok(bytes) => self.held.extend_from_slice(&buffer[..bytes]),
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted) => {}
                Err(error) => return self.answers.lose(format!("publisher: {error}")),
            }
        }
    }
}

/// Takes one answer of success: its bytes, and that it answers a message.
fn http_answer(bytes: &[u8]) -> Result<Option<(usize, bool)>, String> {
    let Some(head) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes[..head]);
    let status = text.lines().next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 2") {
        return Err(format!("publisher: a message was refused: {status:?}"));
    }
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let Some(length) = length.filter(|length| *length <= ANSWER_BYTES_MAX) else {
        return Err("publisher: an answer without a good Content-Length".to_owned());
    };
    let end = head + 4 + length;
    Ok((bytes.len() >= end).then_some((end, true)))
}

/// Takes one frame: its bytes, and whether it answers a message.
fn websocket_answer(bytes: &[u8]) -> Result<Option<(usize, bool)>, String> {
    match frames::read(bytes) {
        Ok(None) => Ok(None),
        Ok(Some(frame)) => match frame.opcode {
            frames::TEXT if memchr::memmem::find(frame.payload, b"\"seq\"").is_some() => Ok(Some((frame.bytes, true))),
            frames::TEXT => Err(format!("publisher: a message was refused: {}", String::from_utf8_lossy(frame.payload))),
            // Runs are shorter than any ping's patience, and every message sent is a sign of life.
            frames::PING | frames::PONG => Ok(Some((frame.bytes, false))),
            _ => Err("publisher: the server closed the WebSocket".to_owned()),
        },
        Err(frames::FrameError) => Err("publisher: a broken frame".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_answer_is_taken_with_its_body_and_only_then() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        assert_eq!(http_answer(&answer[..answer.len() - 1]), Ok(None));
        assert_eq!(http_answer(answer), Ok(Some((answer.len(), true))));
        assert!(http_answer(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").is_err());
        assert!(http_answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
    }

    #[test]
    fn a_websocket_answer_without_a_seq_is_a_refusal() {
        let frame = |opcode, text: &str| {
            let mut bytes = Vec::new();
            frames::write_unmasked(&mut bytes, opcode, text.as_bytes());
            bytes
        };
        let good = frame(frames::TEXT, r#"{"topic":"a","seq":1,"time":2,"tag":3}"#);
        assert_eq!(websocket_answer(&good), Ok(Some((good.len(), true))));
        assert_eq!(websocket_answer(&frame(frames::PING, "")), Ok(Some((2, false))));
        assert!(websocket_answer(&frame(frames::TEXT, r#"{"error":"Busy"}"#)).is_err());
        assert!(websocket_answer(&frame(frames::CLOSE, "")).is_err());
    }
}
