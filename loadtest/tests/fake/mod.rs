//! A tiny server of push_stream and of one endpoint, of threads and tungstenite, which can be told to misbehave.
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    None,
    /// The third message does not reach the first subscriber.
    Loses,
    /// The third message reaches the first subscriber twice.
    Doubles,
    /// The third and the fourth message reach everybody in the wrong order.
    Swaps,
    /// Whoever comes back waits a little, and does not get what was missed.
    Forgets,
    /// Nobody who comes back gets what was missed, and is told so.
    Declares,
    /// Each publish takes this long before anything is sent.
    Delays(Duration),
    /// Frames leave in slices of 7 bytes.
    Slices,
    /// Each subscriber is pinged once it stands, and must answer.
    Pings,
    /// Each subscriber is closed once it stands.
    Closes,
    /// Subscribers are answered 403, and those of the endpoint closed with their 101.
    Refuses,
    /// Subscribers are never answered.
    Silent,
    /// Publishers are answered with an error.
    RefusesPublish,
}

struct Sliced {
    stream: TcpStream,
    slice: usize,
}

impl Read for Sliced {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Sliced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(&bytes[..bytes.len().min(self.slice)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Subscriber {
    channel: String,
    /// Of the endpoint: it asked for numbers.
    numbered: bool,
    socket: WebSocket<Sliced>,
}

struct State {
    fault: Fault,
    published: u64,
    held: Option<(String, String)>,
    /// Number, channel and frame of everything sent.
    sent: Vec<(u64, String, String)>,
    subscribers: Vec<Subscriber>,
    /// Ids of messages: a repeated one is only answered.
    ids: HashSet<String>,
    /// Where what is sent is written down for the next process: one line of JSON each.
    memory: Option<File>,
    /// Connections that are kept open and get nothing.
    silent: Vec<TcpStream>,
    pongs: u64,
}

impl State {
    fn new(fault: Fault) -> State {
        State {
            fault,
            published: 0,
            held: None,
            sent: Vec::new(),
            subscribers: Vec::new(),
            ids: HashSet::new(),
            memory: None,
            silent: Vec::new(),
            pongs: 0,
        }
    }
}

/// A running server; its threads end with the test process.
pub struct Fake {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Fake {
    pub fn start(fault: Fault) -> Fake {
        Fake::listen("127.0.0.1:0", State::new(fault))
    }

    /// A server that goes on with what is in this file, unless it forgets.
    pub fn with_memory(address: &str, file: &str, fault: Fault) -> Fake {
        let mut state = State::new(fault);
        let memory = OpenOptions::new().create(true).read(true).append(true).open(file).expect("opens");
        for line in BufReader::new(&memory).lines().filter(|_| fault != Fault::Forgets) {
            let (sent, id): ((u64, String, String), Option<String>) =
                serde_json::from_str(&line.expect("reads")).expect("a whole line");
            state.published = sent.0;
            state.sent.push(sent);
            state.ids.extend(id);
        }
        state.memory = Some(memory);
        Fake::listen(address, state)
    }

    fn listen(address: &str, state: State) -> Fake {
        let listener = TcpListener::bind(address).expect("binds");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that has gone away is no trouble of the server's.
                let _ = serve(stream, &shared);
            }
        });
        Fake { address, state }
    }

    pub fn pongs(&self) -> u64 {
        lock(&self.state).pongs
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Request line and header fields, read without taking a byte behind them.
fn head(reader: &mut impl BufRead) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end() {
            "" => return Ok(lines),
            line => lines.push(line.to_owned()),
        }
    }
}

fn field<'a>(head: &'a [String], name: &str) -> Option<&'a str> {
    head.iter()
        .find_map(|line| line.split_once(": ").filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// The endpoint that is a channel of its own form.
const ENDPOINT: &str = "examples/unsecure-endpoint";
const ENDPOINTS: &str = "/api/1/ce/";
const API_KEY: &str = "d59eb2859c284168ac48aef65046d5dd";

/// What a request for a subscription asks for.
struct Request<'a> {
    channel: &'a str,
    token: Option<&'a str>,
    /// The last message that was seen.
    after: Option<u64>,
    numbered: bool,
}

impl Request<'_> {
    fn read(path: &str) -> Option<Request<'_>> {
        let (rest, [token, after]) = match path.strip_prefix("/websocket/") {
            Some(rest) => (rest, ["auth_token", "tag"]),
            None => (path.strip_prefix(ENDPOINTS)?, ["key", "fw_since"]),
        };
        let (channel, query) = rest.split_once('?').unwrap_or((rest, ""));
        let argument = |name: &str| query.split('&').filter_map(|part| part.split_once('=')).find(|part| part.0 == name);
        let after = argument(after).and_then(|part| part.1.parse().ok());
        Some(Request { channel, token: argument(token).map(|part| part.1), after, numbered: argument("fw_seq").is_some() })
    }
}

/// A message of the endpoint as those get it who asked for numbers.
fn numbered(frame: &str, number: u64) -> String {
    format!("{},\"seq\":{number}}}", &frame[..frame.len() - 1])
}

fn serve(mut stream: TcpStream, state: &Arc<Mutex<State>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let first = head(&mut reader)?;
    let path = first[0].split(' ').nth(1).unwrap_or_default().to_owned();
    let fault = lock(state).fault;
    let request = Request::read(&path).filter(|_| field(&first, "Upgrade").is_some());
    if let Some(Request { channel, token, after: tag, numbered: with_numbers }) = request {
        let is_endpoint = channel == ENDPOINT;
        if token != Some(if is_endpoint { API_KEY } else { "listener" }) {
            return stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
        }
        match fault {
            Fault::Refuses if is_endpoint => {
                return switch(&mut stream, &first, b"\x88\x12\x0f\xa0Missing API Key.");
            }
            Fault::Refuses => return stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"),
            Fault::Silent => {
                lock(state).silent.push(stream);
                return Ok(());
            }
            _ => switch(&mut stream, &first, b"")?,
        }
        let slice = if fault == Fault::Slices { 7 } else { usize::MAX };
        let mut socket = WebSocket::from_raw_socket(Sliced { stream, slice }, Role::Server, None);
        match fault {
            Fault::Pings => {
                socket.send(Message::Ping("are you there".into())).map_err(io::Error::other)?;
                let pong = socket.read().map_err(io::Error::other)?;
                lock(state).pongs += u64::from(pong == Message::Pong("are you there".into()));
            }
            Fault::Closes => {
                socket.close(None).map_err(io::Error::other)?;
                socket.get_ref().stream.shutdown(Shutdown::Write)?;
            }
            _ => {}
        }
        if fault == Fault::Forgets && tag.is_some() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut state = lock(state);
        match (fault, tag) {
            (Fault::Forgets, _) | (_, None) => {}
            (Fault::Declares, Some(tag)) => {
                let text = match is_endpoint {
                    true => format!(r#"{{"type":"RESET","seq":{}}}"#, state.published),
                    false => format!(r#"{{"id":-4,"channel":"","message":"Messages were lost","tag":"{tag}","time":"x"}}"#),
                };
                socket.send(Message::text(text)).map_err(io::Error::other)?;
            }
            (_, Some(tag)) => {
                let missed = state.sent.iter().filter(|sent| sent.0 > tag && hears(channel, &sent.1));
                missed
                    .map(|sent| if with_numbers { numbered(&sent.2, sent.0) } else { sent.2.clone() })
                    .try_for_each(|frame| socket.send(Message::text(frame)).map_err(io::Error::other))?;
            }
        }
        state.subscribers.push(Subscriber { channel: channel.to_owned(), numbered: with_numbers, socket });
        return Ok(());
    }
    assert!(
        path == format!("{ENDPOINTS}{ENDPOINT}?key={API_KEY}") || field(&first, "Authorization") == Some("Bearer backend"),
        "{first:?}"
    );
    let state = Arc::clone(state);
    std::thread::spawn(move || match path.as_str() {
        "/publish" => publish_websocket(stream, &first, &state),
        _ => publish_http(stream, reader, first, &state),
    });
    Ok(())
}

/// Switches, with these bytes in the same write.
fn switch(stream: &mut TcpStream, head: &[String], more: &[u8]) -> io::Result<()> {
    let accept = tungstenite::handshake::derive_accept_key(field(head, "Sec-WebSocket-Key").unwrap_or_default().as_bytes());
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes();
    answer.extend_from_slice(more);
    stream.write_all(&answer)
}

fn publish_http(
    mut stream: TcpStream,
    mut reader: BufReader<TcpStream>,
    mut request: Vec<String>,
    state: &Mutex<State>,
) -> io::Result<()> {
    loop {
        let mut body = vec![0; field(&request, "Content-Length").and_then(|length| length.parse().ok()).unwrap_or(0)];
        reader.read_exact(&mut body)?;
        let path = request[0].split(' ').nth(1).expect("a path");
        let record = path.strip_prefix(ENDPOINTS).and_then(|rest| rest.split_once('?')).map(|(name, _)| name);
        let channel = record.or(path.strip_prefix("/pub?id=")).expect("a channel");
        if lock(state).fault == Fault::RefusesPublish {
            stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")?;
        } else {
            deliver(state, channel, &String::from_utf8_lossy(&body), None);
            let status = if record.is_some() { "201 Created" } else { "200 OK" };
            stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 4\r\n\r\n{{}}\r\n").as_bytes())?;
        }
        request = head(&mut reader)?;
    }
}

fn publish_websocket(mut stream: TcpStream, request: &[String], state: &Mutex<State>) -> io::Result<()> {
    switch(&mut stream, request, b"")?;
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
    loop {
        let text = socket.read().map_err(io::Error::other)?.into_text().map_err(io::Error::other)?;
        let message: serde_json::Value = serde_json::from_str(&text).map_err(io::Error::other)?;
        let id = message["id"].as_str();
        if id.is_none_or(|id| !lock(state).ids.contains(id)) {
            deliver(state, message["topic"].as_str().expect("a topic"), &message["data"].to_string(), id);
        }
        let answer = if lock(state).fault == Fault::RefusesPublish { r#"{"error":"Busy"}"# } else { r#"{"seq":1}"# };
        socket.send(Message::text(answer)).map_err(io::Error::other)?;
    }
}

/// Whether a subscription of `channels`, joined by `/`, or of the endpoint covers this one.
fn hears(channels: &str, channel: &str) -> bool {
    channels == ENDPOINT && channel == ENDPOINT || channels.split('/').any(|own| own == channel)
}

fn deliver(state: &Mutex<State>, channel: &str, text: &str, id: Option<&str>) {
    let mut state = lock(state);
    if let Fault::Delays(time) = state.fault {
        std::thread::sleep(time);
    }
    state.published += 1;
    match (state.fault, state.published) {
        (Fault::Swaps, 3) => state.held = Some((channel.to_owned(), text.to_owned())),
        (Fault::Swaps, 4) => {
            send(&mut state, channel, text, id);
            if let Some((channel, text)) = state.held.take() {
                send(&mut state, &channel, &text, id);
            }
        }
        (Fault::Doubles, 3) => {
            send(&mut state, channel, text, id);
            state.published = 3_000;
            send(&mut state, channel, text, id);
        }
        _ => send(&mut state, channel, text, id),
    }
}

fn send(state: &mut State, channel: &str, text: &str, id: Option<&str>) {
    let number = state.published;
    let frame = match channel {
        ENDPOINT => {
            format!(r#"{{"type":"POST","record":{{"data":{text},"uniqueId":"{number:032x}","updatedAt":"T= no marker"}}}}"#)
        }
        _ => format!(r#"{{"id":{number},"channel":"{channel}","message":{text},"tag":"{number}","time":"T= no marker"}}"#),
    };
    let sent = (state.published, channel.to_owned(), frame.clone());
    if let Some(memory) = &mut state.memory {
        // In one write: a process that is killed leaves whole lines.
        let line = serde_json::to_string(&(&sent, id)).expect("strings and a number") + "\n";
        memory.write_all(line.as_bytes()).expect("writes");
    }
    state.ids.extend(id.map(str::to_owned));
    state.sent.push(sent);
    let (fault, published) = (state.fault, state.published);
    for (at, subscriber) in state.subscribers.iter_mut().enumerate() {
        let skipped = match (fault, published) {
            (Fault::Loses, 3) => at == 0,
            // The second time only the first subscriber gets it.
            (Fault::Doubles, 3_000) => at > 0,
            _ => false,
        };
        if hears(&subscriber.channel, channel) && !skipped {
            // A subscriber of an ended run is gone.
            let text = if subscriber.numbered { numbered(&frame, published) } else { frame.clone() };
            let _ = subscriber.socket.send(Message::text(text));
        }
    }
}
