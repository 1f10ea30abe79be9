//! What else a server does while it fans out: answers pings, lets newcomers in, carries another topic. Timed one after the other.
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::client::latency_histogram;
use crate::dialect::{self, Answer};
use crate::frames;
use crate::options::Options;
use crate::report::{Probed, Quantiles};

const TOPIC: &str = "load-probe";
const PAUSE: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Probe {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Probed, String>>,
}

struct Target {
    address: SocketAddr,
    publish_address: SocketAddr,
    token: Option<String>,
    key: Option<String>,
}

/// A standing websocket, read a frame at a time.
struct Line {
    stream: TcpStream,
    held: Vec<u8>,
}

impl Probe {
    pub fn start(options: &Options, deadline: Instant) -> Result<Probe, String> {
        let over = Arc::new(AtomicBool::new(false));
        let target = Target {
            address: options.address,
            publish_address: options.publish_address.unwrap_or(options.address),
            token: options.token.clone(),
            key: options.key.clone(),
        };
        let seen = Arc::clone(&over);
        let body = move || target.measure(&seen, deadline).map_err(|reason| format!("probe: {reason}"));
        let thread = std::thread::Builder::new().name("probe".into()).spawn(body).map_err(|error| error.to_string())?;
        Ok(Probe { over, thread })
    }

    pub fn finish(self) -> Result<Probed, String> {
        self.over.store(true, Relaxed);
        self.thread.join().map_err(|_| "the probe panicked".to_owned())?
    }
}

impl Target {
    fn measure(&self, over: &AtomicBool, deadline: Instant) -> Result<Probed, String> {
        let mut line = self.connect()?;
        let mut backend = open(self.publish_address)?;
        let (mut ping, mut connect, mut other) = (latency_histogram(), latency_histogram(), latency_histogram());
        while !over.load(Relaxed) && Instant::now() < deadline {
            let mut frame = Vec::new();
            frames::write_masked(&mut frame, frames::PING, b"probe");
            timed(&mut ping, || {
                line.stream.write_all(&frame).map_err(|error| error.to_string())?;
                line.until(frames::PONG)
            })?;
            timed(&mut connect, || self.connect().map(drop))?;
            timed(&mut other, || {
                self.publish(&mut backend)?;
                line.until(frames::TEXT)
            })?;
            answered(&mut backend)?;
            std::thread::sleep(PAUSE);
        }
        let of = |histogram: &Histogram<u64>| Quantiles::new(histogram);
        Ok(Probed { ping: of(&ping), connect_and_upgrade: of(&connect), other_topic: of(&other) })
    }

    fn connect(&self) -> Result<Line, String> {
        let mut stream = open(self.address)?;
        let token = self.token.as_ref().map_or_else(String::new, |token| format!("?auth_token={token}"));
        let mut request = Vec::new();
        dialect::upgrade(&format!("/websocket/{TOPIC}{token}"), &self.address.to_string(), None, &mut request);
        stream.write_all(&request).map_err(|error| error.to_string())?;
        let mut held = Vec::new();
        loop {
            match dialect::upgraded(&held) {
                Answer::Accepted(head) => {
                    held.drain(..head);
                    return Ok(Line { stream, held });
                }
                Answer::Partial => more(&mut stream, &mut held)?,
                Answer::Refused => return Err("a new connection was refused".to_owned()),
            }
        }
    }

    fn publish(&self, backend: &mut TcpStream) -> Result<(), String> {
        let key = self.key.as_ref().map_or_else(String::new, |key| format!("Authorization: Bearer {key}\r\n"));
        let host = self.publish_address;
        let request = format!("POST /pub?id={TOPIC} HTTP/1.1\r\nHost: {host}\r\n{key}Content-Length: 7\r\n\r\n\"probe\"");
        backend.write_all(request.as_bytes()).map_err(|error| error.to_string())
    }
}

impl Line {
    /// Reads up to the next frame of this kind.
    fn until(&mut self, opcode: u8) -> Result<(), String> {
        loop {
            match frames::read(&self.held).map_err(|_| "a broken frame".to_owned())? {
                Some(frame) => {
                    let (bytes, found) = (frame.bytes, frame.opcode);
                    self.held.drain(..bytes);
                    if found == opcode {
                        return Ok(());
                    }
                }
                None => more(&mut self.stream, &mut self.held)?,
            }
        }
    }
}

fn open(address: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| error.to_string())?;
    let set = stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(PATIENCE)));
    set.map(|()| stream).map_err(|error| error.to_string())
}

fn more(stream: &mut TcpStream, held: &mut Vec<u8>) -> Result<(), String> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Err("the server closed a connection".to_owned()),
            Ok(bytes) => {
                held.extend_from_slice(&buffer[..bytes]);
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Takes the answer to one publication; its body is told by Content-Length and ends in a line break.
fn answered(backend: &mut TcpStream) -> Result<(), String> {
    let mut held = Vec::new();
    loop {
        let head = memchr::memmem::find(&held, b"\r\n\r\n");
        if head.is_some() && !held.starts_with(b"HTTP/1.1 200") {
            return Err("a publication was refused".to_owned());
        }
        if head.is_some_and(|head| held.len() > head + 4) && held.ends_with(b"\n") {
            return Ok(());
        }
        more(backend, &mut held)?;
    }
}

fn timed(into: &mut Histogram<u64>, act: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let started = Instant::now();
    act()?;
    into.saturating_record(started.elapsed().as_nanos() as u64);
    Ok(())
}
