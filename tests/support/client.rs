//! A raw TCP client: HTTP answers and WebSocket frames, byte for byte.

use super::{Door, Envelope, PATIENCE};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    ended: bool,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        Client::from_stream(TcpStream::connect_timeout(&address, PATIENCE).expect("the server accepts"))
    }

    /// From this address of the loopback network.
    pub fn connect_from(source: [u8; 4], address: SocketAddr) -> Client {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((source, 0)).into()).expect("an address of ours");
        socket.connect(&address.into()).expect("the server accepts");
        Client::from_stream(socket.into())
    }

    pub fn from_stream(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket option");
        stream.set_nodelay(true).expect("a socket option");
        Client { stream, received: Vec::new(), ended: false }
    }

    /// A fresh connection that this reactor serves, found by asking `GET /health` on one after the other.
    pub fn on(door: &Door, reactor: usize) -> Client {
        if !door.one_port {
            return Client::connect(door.address);
        }
        for _ in 0..1_000 {
            let mut client = Client::connect(door.address);
            if client.reactor() == reactor {
                return client;
            }
        }
        panic!("no connection of a thousand came to reactor {reactor}");
    }

    /// Like [`Client::on`] with a receive buffer of this many bytes, set before connecting.
    pub fn with_small_buffer(door: &Door, reactor: usize, bytes: usize) -> Client {
        for _ in 0..1_000 {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
            socket.set_recv_buffer_size(bytes).expect("a socket option");
            socket.connect(&door.address.into()).expect("the server accepts");
            let mut client = Client::from_stream(socket.into());
            if client.reactor() == reactor {
                return client;
            }
        }
        panic!("no connection of a thousand came to reactor {reactor}");
    }

    /// From here on the kernel takes much at once: through a small buffer some congestion controls let a flow crawl for minutes
    /// once it has stood still.
    pub fn enlarge_buffer(&self) {
        socket2::SockRef::from(&self.stream).set_recv_buffer_size(1 << 20).expect("a socket option");
    }

    fn reactor(&mut self) -> usize {
        let answer = self.get("/health");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["reactor"].as_u64().expect("/health names the reactor") as usize
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the server takes it");
    }

    /// Sends to a server that may have closed already.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Sends as much as the kernel takes at once.
    pub fn send_some(&mut self, bytes: &[u8]) -> usize {
        self.stream.set_nonblocking(true).expect("a socket option");
        let sent = match self.stream.write(bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        };
        self.stream.set_nonblocking(false).expect("a socket option");
        sent
    }

    /// A second handle of the same connection, for a thread that only sends.
    pub fn sender(&self) -> TcpStream {
        self.stream.try_clone().expect("a descriptor")
    }

    /// The end will be a reset, not an orderly close.
    pub fn reset_on_drop(&self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO)).expect("a socket option");
    }

    /// Ends our direction only.
    pub fn finish_sending(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("still connected");
    }

    /// Waits for bytes; false once the server has ended the connection.
    #[track_caller]
    fn fill(&mut self) -> bool {
        if self.ended {
            return false;
        }
        let mut piece = [0; 65_536];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => self.ended = true,
                Ok(count) => self.received.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted) => {
                    self.ended = true
                }
                Err(error) => panic!("{error}; so far: {:?}", String::from_utf8_lossy(&self.received)),
            }
            return !self.ended;
        }
    }

    /// Takes what is there without waiting.
    fn fill_at_once(&mut self) {
        self.stream.set_nonblocking(true).expect("a socket option");
        let mut piece = [0; 65_536];
        while !self.ended {
            match self.stream.read(&mut piece) {
                Ok(0) => self.ended = true,
                Ok(count) => self.received.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.ended = true,
            }
        }
        self.stream.set_nonblocking(false).expect("a socket option");
    }

    /// Are there bytes, or an end, that the test has not taken yet?
    pub fn has_bytes(&mut self) -> bool {
        self.fill_at_once();
        !self.received.is_empty() || self.ended
    }

    /// Has the server ended the connection?
    pub fn has_ended(&mut self) -> bool {
        self.fill_at_once();
        self.ended
    }

    pub fn pending(&self) -> &[u8] {
        &self.received
    }

    #[track_caller]
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        while self.received.len() < count {
            assert!(self.fill(), "ended early; so far: {:?}", String::from_utf8_lossy(&self.received));
        }
        self.received.drain(..count).collect()
    }

    /// Everything up to this mark, with it.
    #[track_caller]
    pub fn take_until(&mut self, mark: &[u8]) -> Vec<u8> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.received[searched..].windows(mark.len()).position(|window| window == mark) {
                return self.take(searched + at + mark.len());
            }
            searched = (self.received.len() + 1).saturating_sub(mark.len());
            assert!(self.fill(), "ended early; so far: {:?}", String::from_utf8_lossy(&self.received));
        }
    }

    /// Everything until the server ends the connection.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.received)
    }

    /// The server ends the connection and sends nothing before.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "nothing but the end should come: {:?}", String::from_utf8_lossy(&rest));
    }

    /// Sends a GET and reads its answer.
    #[track_caller]
    pub fn get(&mut self, target: &str) -> Response {
        self.get_with(target, "")
    }

    /// `fields` are whole lines.
    #[track_caller]
    pub fn get_with(&mut self, target: &str, fields: &str) -> Response {
        self.send_get(target, fields);
        self.response()
    }

    pub fn send_get(&mut self, target: &str, fields: &str) {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"));
    }

    /// The head of an answer; its body is still to come.
    #[track_caller]
    pub fn head(&mut self) -> Response {
        let raw = String::from_utf8(self.take_until(b"\r\n\r\n")).expect("a head is ASCII");
        Response::parse(raw)
    }

    #[track_caller]
    pub fn response(&mut self) -> Response {
        let mut answer = self.head();
        if matches!(answer.status, 204 | 304) || answer.status < 200 {
            return answer;
        }
        answer.body = if answer.field("Transfer-Encoding") == Some("chunked") {
            let mut body = Vec::new();
            loop {
                let chunk = self.chunk();
                if chunk.is_empty() {
                    break body;
                }
                body.extend_from_slice(&chunk);
            }
        } else if let Some(length) = answer.field("Content-Length") {
            let length = length.parse().expect("a length");
            self.take(length)
        } else {
            self.rest()
        };
        answer
    }

    /// One chunk of a chunked body; the last one is empty.
    #[track_caller]
    pub fn chunk(&mut self) -> Vec<u8> {
        let line = self.take_until(b"\r\n");
        let digits = std::str::from_utf8(&line[..line.len() - 2]).expect("ASCII");
        let size = usize::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("a chunk size: {digits:?}"));
        let data = self.take(size);
        assert_eq!(self.take(2), b"\r\n");
        data
    }

    /// Asks for an upgrade and reads the 101.
    #[track_caller]
    pub fn upgrade(&mut self, target: &str) -> Response {
        let answer = self.ask_upgrade(target, "");
        assert_eq!(answer.status, 101, "{answer:?}");
        answer
    }

    /// Asks for an upgrade and reads whatever answer comes.
    #[track_caller]
    pub fn ask_upgrade(&mut self, target: &str, fields: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\n{UPGRADE}{fields}\r\n"));
        self.response()
    }

    #[track_caller]
    pub fn frame(&mut self) -> Frame {
        let mut head = self.take(2);
        let length = match head[1] & 0x7f {
            126 => {
                head.extend(self.take(2));
                usize::from(u16::from_be_bytes([head[2], head[3]]))
            }
            127 => {
                head.extend(self.take(8));
                u64::from_be_bytes(head[2..10].try_into().expect("eight bytes")) as usize
            }
            short => usize::from(short),
        };
        assert_eq!(head[1] & 0x80, 0, "a server never masks");
        let payload = self.take(length);
        Frame { opcode: head[0] & 0x0f, head, payload }
    }

    /// The next frame is a text frame of this length form: final, unmasked, shortest length.
    #[track_caller]
    pub fn text(&mut self) -> String {
        let frame = self.frame();
        assert_eq!(frame.head[0], 0x81, "one unfragmented text frame: {frame:?}");
        assert_eq!(frame.head.len(), shortest(frame.payload.len()), "the shortest length form: {frame:?}");
        String::from_utf8(frame.payload).expect("text is UTF-8")
    }

    /// The next message in the document's form.
    #[track_caller]
    pub fn envelope(&mut self) -> Envelope {
        Envelope::parse(&self.text())
    }

    /// A close frame with this code (none for 0) and reason, and then the end of the connection.
    #[track_caller]
    pub fn expect_close(&mut self, code: u16, reason: &str) {
        let frame = self.frame();
        assert_eq!(frame.head[0], 0x88, "a close frame: {frame:?}");
        let mut expected = if code == 0 { Vec::new() } else { code.to_be_bytes().to_vec() };
        expected.extend_from_slice(reason.as_bytes());
        assert_eq!(
            frame.payload,
            expected,
            "{code} {reason}, not {:?} {:?}",
            frame.code(),
            String::from_utf8_lossy(frame.payload.get(2..).unwrap_or_default())
        );
        self.expect_end();
    }

    /// A close frame with this code, whatever its reason, and then the end.
    #[track_caller]
    pub fn expect_close_code(&mut self, code: u16) {
        let frame = self.frame();
        assert_eq!((frame.head[0], frame.code()), (0x88, Some(code)), "{frame:?}");
        self.expect_end();
    }
}

/// The fields of a handshake, with the key of RFC 6455.
pub const UPGRADE: &str = "Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

/// Bytes of the head of an unmasked frame with so many bytes of payload.
fn shortest(length: usize) -> usize {
    match length {
        0..=125 => 2,
        126..=65_535 => 4,
        _ => 10,
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub head: Vec<u8>,
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code of a close frame.
    pub fn code(&self) -> Option<u16> {
        Some(u16::from_be_bytes([*self.payload.first()?, *self.payload.get(1)?]))
    }
}

/// A masked client frame; `first` is its first byte (0x81 text, 0x89 ping, 0x88 close …).
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=65_535 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// The whole head as it came.
    pub raw: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    #[track_caller]
    fn parse(raw: String) -> Response {
        let mut lines = raw.trim_end_matches("\r\n").split("\r\n");
        let status_line = lines.next().expect("a status line");
        let status = status_line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|digits| digits.parse().ok())
            .unwrap_or_else(|| panic!("a status line: {status_line:?}"));
        let fields = lines
            .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("a field: {line:?}")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Response { status, raw, fields, body: Vec::new() }
    }

    pub fn status_line(&self) -> &str {
        self.raw.split("\r\n").next().expect("split gives at least one")
    }

    /// The value of a field; the name is compared with its letter case, as it is documented. Twice is a failure.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        let (found, value) = values.next()?;
        assert!(values.next().is_none(), "{name} twice: {}", self.raw);
        assert_eq!(found, name, "letter case of a field name");
        Some(value)
    }

    pub fn explain(&self) -> Option<&str> {
        self.field("X-Nginx-PushStream-Explain")
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The messages of a poll, separated by one line feed.
    #[track_caller]
    pub fn envelopes(&self) -> Vec<Envelope> {
        assert_eq!(self.status, 200, "{self:?}");
        self.text().split('\n').map(Envelope::parse).collect()
    }

    /// (seconds, tag) of `Last-Modified` and `Etag`.
    #[track_caller]
    pub fn position(&self) -> (u64, u64) {
        let seconds = super::seconds_of(self.field("Last-Modified").unwrap_or_else(|| panic!("Last-Modified: {}", self.raw)));
        let etag = self.field("Etag").unwrap_or_else(|| panic!("Etag: {}", self.raw));
        let tag = etag.strip_prefix("W/").unwrap_or_else(|| panic!("W/ in {etag}"));
        (seconds, tag.parse().unwrap_or_else(|_| panic!("a number in {etag}")))
    }

    /// The query arguments that resume after this answer.
    #[track_caller]
    pub fn cursor(&self) -> String {
        let (seconds, tag) = self.position();
        super::subscriber::cursor(seconds, tag)
    }

    pub fn has_gap(&self) -> bool {
        match self.field("X-Fanwire-Gap") {
            Some(value) => {
                assert_eq!(value, "1");
                true
            }
            None => false,
        }
    }
}
