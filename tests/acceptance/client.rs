//! Raw sockets: HTTP answers and WebSocket frames. Every wait is bounded.

use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// The longest that any single wait may last.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The query of one who has nothing yet and wants everything.
pub const EPOCH: &str = "tag=0&time=Thu,%2001%20Jan%201970%2000:00:00%20GMT";

pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    /// Bytes that are still read before the client cuts its connection.
    budget: usize,
    pub ended: bool,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

#[derive(Debug)]
pub struct Frame {
    pub first: u8,
    pub payload: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        Client::of(TcpStream::connect_timeout(&address, PATIENCE).unwrap())
    }

    fn of(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, received: Vec::new(), budget: usize::MAX, ended: false }
    }

    /// With a small receive buffer: what it does not read soon fills the server's side.
    pub fn narrow(address: SocketAddr) -> Client {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&address.into()).unwrap();
        Client::of(socket.into())
    }

    /// A connection that this reactor serves (a dev server says which one answers).
    pub fn on(address: SocketAddr, reactor: usize) -> Client {
        let wanted = format!("\"reactor\":{reactor}}}");
        (0..1_000)
            .map(|_| Client::connect(address))
            .find_map(|mut client| client.get("/health").body.ends_with(&wanted).then_some(client))
            .expect("one connection of a thousand comes to each reactor")
    }

    /// From now on only so many bytes are read; then the connection counts as ended.
    pub fn cut_after(&mut self, bytes: usize) {
        self.budget = bytes;
    }

    pub fn was_cut(&self) -> bool {
        self.budget == 0
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// To a server that may have closed already.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// A second handle, for a thread that only sends.
    pub fn sender(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    pub fn finish_sending(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Closing resets the connection instead of ending it in order.
    pub fn reset_on_close(&self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Waits for bytes; false at the end of the connection.
    #[track_caller]
    fn fill(&mut self) -> bool {
        let mut piece = [0; 65_536];
        let room = self.budget.min(piece.len());
        if self.ended || room == 0 {
            return false;
        }
        match self.stream.read(&mut piece[..room]) {
            Ok(0) => self.ended = true,
            Ok(count) => {
                self.received.extend_from_slice(&piece[..count]);
                self.budget -= if self.budget == usize::MAX { 0 } else { count };
            }
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => self.ended = true,
            Err(error) => panic!("{error}; so far: {:?}", String::from_utf8_lossy(&self.received)),
        }
        !self.ended
    }

    #[track_caller]
    fn need(&mut self, count: usize) -> Option<()> {
        while self.received.len() < count {
            self.fill().then_some(())?;
        }
        Some(())
    }

    #[track_caller]
    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        self.need(count)?;
        Some(self.received.drain(..count).collect())
    }

    #[track_caller]
    fn take_until(&mut self, mark: &[u8]) -> Option<String> {
        loop {
            if let Some(at) = self.received.windows(mark.len()).position(|window| window == mark) {
                return self.take(at + mark.len()).map(|bytes| String::from_utf8(bytes).unwrap());
            }
            self.fill().then_some(())?;
        }
    }

    /// Everything until the server ends the connection.
    #[track_caller]
    pub fn rest(&mut self) -> String {
        while self.fill() {}
        String::from_utf8_lossy(&std::mem::take(&mut self.received)).into_owned()
    }

    #[track_caller]
    pub fn expect_end(&mut self) {
        assert_eq!(self.rest(), "", "nothing but the end should come");
    }

    pub fn try_answer(&mut self) -> Option<Answer> {
        let head = self.take_until(b"\r\n\r\n")?;
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).expect("a status line");
        let mut answer = Answer { status, head, body: String::new() };
        if status >= 200
            && status != 304
            && let Some(length) = answer.field("Content-Length")
        {
            answer.body = String::from_utf8(self.take(length.parse().unwrap())?).unwrap();
        }
        Some(answer)
    }

    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.try_answer().expect("an answer before the end")
    }

    /// One chunk of a stream; the last one is empty.
    #[track_caller]
    pub fn chunk(&mut self) -> String {
        self.try_chunk().expect("a chunk before the end")
    }

    pub fn try_chunk(&mut self) -> Option<String> {
        let line = self.take_until(b"\r\n")?;
        let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
        let mut data = String::from_utf8(self.take(size + 2)?).unwrap();
        assert_eq!(data.split_off(size), "\r\n");
        Some(data)
    }

    /// `fields` are whole lines.
    pub fn ask(&mut self, method: &str, target: &str, fields: &str, body: &str) {
        self.send(request(method, target, fields, body));
    }

    /// Of a server that may die; `None`: the connection broke before the answer.
    pub fn try_ask(&mut self, method: &str, target: &str, fields: &str, body: &str) -> Option<Answer> {
        self.try_send(request(method, target, fields, body)).then(|| self.try_answer()).flatten()
    }

    #[track_caller]
    pub fn get(&mut self, target: &str) -> Answer {
        self.ask("GET", target, "", "");
        self.answer()
    }

    /// POST to push_stream's publisher.
    #[track_caller]
    pub fn publish(&mut self, key: &str, channels: &str, body: &str) {
        self.ask("POST", &format!("/pub?id={channels}"), &format!("Authorization: Bearer {key}\r\n"), body);
        let answer = self.answer();
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    pub fn ask_upgrade(&mut self, target: &str, fields: &str) {
        self.send(format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{fields}\r\n"
        ));
    }

    #[track_caller]
    pub fn upgrade(&mut self, target: &str, fields: &str) {
        self.ask_upgrade(target, fields);
        let answer = self.answer();
        assert_eq!(answer.status, 101, "{answer:?}");
    }

    pub fn try_frame(&mut self) -> Option<Frame> {
        self.need(2)?;
        let (head, length) = match self.received[1] {
            126 => {
                self.need(4)?;
                (4, usize::from(u16::from_be_bytes([self.received[2], self.received[3]])))
            }
            127 => {
                self.need(10)?;
                (10, u64::from_be_bytes(self.received[2..10].try_into().unwrap()) as usize)
            }
            short => (2, usize::from(short)),
        };
        let mut bytes = self.take(head + length)?;
        Some(Frame { first: bytes[0], payload: bytes.split_off(head) })
    }

    /// The next frame, which is a text.
    #[track_caller]
    pub fn text(&mut self) -> String {
        let frame = self.try_frame().expect("a frame before the end");
        assert_eq!(frame.first, 0x81, "{frame:?}");
        String::from_utf8(frame.payload).unwrap()
    }

    /// The next frame is a close with this code, but for pings; it is answered, and the connection ends. Returns the reason.
    #[track_caller]
    pub fn expect_goodbye(&mut self, code: u16) -> String {
        let frame = loop {
            let frame = self.try_frame().expect("a frame before the end");
            if frame.first != 0x89 {
                break frame;
            }
        };
        assert_eq!((frame.first, frame.payload.get(..2)), (0x88, Some(&code.to_be_bytes()[..])), "{frame:?}");
        self.send(masked(0x88, &code.to_be_bytes()));
        self.expect_end();
        String::from_utf8(frame.payload[2..].to_vec()).unwrap()
    }

    /// The next frame is a close with this code; then the connection ends. Returns the reason.
    #[track_caller]
    pub fn expect_close(&mut self, code: u16) -> String {
        let frame = self.try_frame().expect("a frame before the end");
        assert_eq!((frame.first, frame.payload.get(..2)), (0x88, Some(&code.to_be_bytes()[..])), "{frame:?}");
        self.expect_end();
        String::from_utf8(frame.payload[2..].to_vec()).unwrap()
    }
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The query that resumes after this answer.
    #[track_caller]
    pub fn cursor(&self) -> String {
        let time = self.field("Last-Modified").unwrap_or_else(|| panic!("no time: {}", self.head));
        let tag = self.field("Etag").and_then(|etag| etag.strip_prefix("W/")).unwrap_or_else(|| panic!("no tag: {}", self.head));
        cursor(tag, time)
    }
}

fn request(method: &str, target: &str, fields: &str, body: &str) -> String {
    let length = if method == "GET" { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{length}{fields}\r\n{body}")
}

/// A masked frame; `first` is its first byte (0x81 text, 0x89 ping, 0x88 close).
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(long).expect("a short message").to_be_bytes());
        }
    }
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

pub fn cursor(tag: &str, time: &str) -> String {
    format!("tag={tag}&time={}", time.replace(' ', "%20"))
}

/// One message in push_stream's default form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub channel: String,
    /// The JSON text as it came.
    pub data: String,
    /// The query that resumes after it.
    pub cursor: String,
}

impl Message {
    #[track_caller]
    pub fn parse(text: &str) -> Message {
        #[derive(serde::Deserialize)]
        struct Form<'a> {
            channel: String,
            #[serde(borrow)]
            message: &'a serde_json::value::RawValue,
            tag: String,
            time: String,
        }
        let form: Form<'_> = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
        Message { channel: form.channel, data: form.message.get().to_owned(), cursor: cursor(&form.tag, &form.time) }
    }

    /// The messages of a poll.
    #[track_caller]
    pub fn all(body: &str) -> Vec<Message> {
        body.lines().map(Message::parse).collect()
    }
}
