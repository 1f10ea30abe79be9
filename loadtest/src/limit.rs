//! The yardstick: a bare `send()` loop over loopback sockets, which no server with one send per delivery can beat by much.
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::dialect::Dialect;
use crate::fleet::{shares, sockets_per_table, spawn_with_own_table};
use crate::proc::{self, Cpu};
use crate::publisher::Publish;

const BACKLOG: i32 = 4096;

/// The accepting side of the pairs. One thread, unless its descriptor table cannot hold all sockets: then several take turns.
pub struct Senders {
    dialect: Arc<dyn Dialect>,
    members: Vec<Member>,
    frame: Vec<u8>,
    failure: Option<String>,
}

struct Member {
    thread_name: String,
    /// `None` once the senders are to end.
    frames: Option<Sender<Arc<[u8]>>>,
    sent: Receiver<()>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Senders {
    /// Starts the listeners and gives the address of each; connection `i` must go to address `i % addresses.len()`.
    pub fn listen(dialect: Arc<dyn Dialect>, connections: u32, deadline: Instant) -> Result<(Senders, Vec<SocketAddr>), String> {
        let words = |error: io::Error| format!("limit: {error}");
        // Shares of equal size are the same as taking turns, up to their order.
        let count = shares(connections, 1, sockets_per_table()).len() as u32;
        let mut members = Vec::new();
        let mut addresses = Vec::new();
        for at in 0..count {
            let expected = connections / count + u32::from(at < connections % count);
            let (started, start) = channel();
            let (frames, received) = channel();
            let (done, sent) = channel();
            let thread = spawn_with_own_table(format!("sender {at}"), move || {
                // The backlog is given explicitly: std would listen with 128.
                let listener = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
                listener.bind(&SocketAddr::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).into())?;
                // Accepted sockets inherit both options, which keeps accepting quick. The time-out is for a receiver that
                // stops reading: it must not hold the run beyond its time.
                listener.set_tcp_nodelay(true)?;
                let patience = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
                listener.set_write_timeout(Some(patience))?;
                listener.listen(BACKLOG)?;
                let listener = TcpListener::from(listener);
                let name = proc::current_thread().ok_or_else(|| io::Error::other("/proc is not readable"))?;
                // Whoever started us may have given up.
                let _ = started.send((listener.local_addr()?, name));
                send_all(accept(&listener, expected, deadline)?, &received, &done)
            });
            let thread = thread.map_err(words)?;
            match start.recv() {
                Ok((address, thread_name)) => {
                    addresses.push(address);
                    members.push(Member { thread_name, frames: Some(frames), sent, thread: Some(thread) });
                }
                Err(_) => {
                    return Err(match thread.join() {
                        Ok(Err(error)) => words(error),
                        Ok(Ok(())) | Err(_) => "limit: a sender ended early".to_owned(),
                    });
                }
            }
        }
        Ok((Senders { dialect, members, frame: Vec::new(), failure: None }, addresses))
    }

    /// CPU of the sending threads so far.
    pub fn cpu(&self) -> Option<Cpu> {
        self.members.iter().try_fold(Cpu::default(), |sum, member| Some(sum.plus(proc::thread_cpu(&member.thread_name)?)))
    }
}

impl Publish for Senders {
    fn publish(&mut self, number: u64, topic: u32, payload: &[u8]) -> Result<(), String> {
        self.frame.clear();
        self.dialect.delivery(topic, number, payload, &mut self.frame);
        let frame: Arc<[u8]> = self.frame.as_slice().into();
        for member in &mut self.members {
            let told = member.frames.as_ref().is_some_and(|frames| frames.send(Arc::clone(&frame)).is_ok());
            if !told || member.sent.recv().is_err() {
                let reason = match member.thread.take().map(JoinHandle::join) {
                    Some(Ok(Err(error))) => format!("limit: {error}"),
                    Some(Ok(Ok(())) | Err(_)) | None => "limit: a sender ended early".to_owned(),
                };
                self.failure = Some(reason.clone());
                return Err(reason);
            }
        }
        Ok(())
    }

    fn failure(&self) -> Option<String> {
        self.failure.clone()
    }
}

impl Drop for Senders {
    fn drop(&mut self) {
        for member in &mut self.members {
            member.frames = None;
            if let Some(thread) = member.thread.take() {
                // It ends with its channel, or at the deadline while it still accepts; its error was told by `publish`.
                let _ = thread.join();
            }
        }
    }
}

fn accept(listener: &TcpListener, expected: u32, deadline: Instant) -> io::Result<Vec<TcpStream>> {
    listener.set_nonblocking(true)?;
    let mut streams = Vec::with_capacity(expected as usize);
    while streams.len() < expected as usize {
        match listener.accept() {
            Ok((stream, _)) => streams.push(stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if Instant::now() >= deadline {
                    return Err(io::Error::new(ErrorKind::TimedOut, "not all pairs connected in time"));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(streams)
}

fn send_all(mut streams: Vec<TcpStream>, frames: &Receiver<Arc<[u8]>>, done: &Sender<()>) -> io::Result<()> {
    while let Ok(frame) = frames.recv() {
        for stream in &mut streams {
            // One message in flight fits any socket buffer: this is one `send` each.
            stream.write_all(&frame)?;
        }
        if done.send(()).is_err() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::push_stream::PushStream;
    use std::io::Read;

    #[test]
    fn every_pair_gets_the_same_frame() {
        let dialect = Arc::new(PushStream { host: String::new(), token: None });
        let deadline = Instant::now() + Duration::from_secs(10);
        let (mut senders, addresses) = Senders::listen(dialect.clone(), 3, deadline).expect("listens");
        let mut streams: Vec<TcpStream> =
            (0..3).map(|at| TcpStream::connect(addresses[at % addresses.len()]).expect("connects")).collect();
        senders.publish(0, 0, b"\"x\"").expect("sent");
        let mut expected = Vec::new();
        dialect.delivery(0, 0, b"\"x\"", &mut expected);
        for stream in &mut streams {
            let mut bytes = vec![0; expected.len()];
            stream.read_exact(&mut bytes).expect("a frame");
            assert_eq!(bytes, expected);
        }
        assert!(senders.cpu().expect("readable").nanoseconds > 0);
    }

    #[test]
    fn pairs_that_never_connect_end_the_sender_at_the_deadline() {
        let dialect = Arc::new(PushStream { host: String::new(), token: None });
        let (mut senders, _) = Senders::listen(dialect, 1, Instant::now()).expect("listens");
        assert!(senders.publish(0, 0, b"\"x\"").expect_err("nobody there").contains("in time"));
    }
}
