//! A reactor's own listeners: SO_REUSEPORT sockets, and surviving without a free descriptor.

use crate::session::Door;
use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, Socket, Type};
use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Connections that may wait in the kernel for their accept.
const BACKLOG: i32 = 4096;
/// Sockets accepted in one turn.
const ACCEPTS_PER_TURN: usize = 256;
/// How long accepting pauses when no descriptor is left.
pub const PAUSE: Duration = Duration::from_millis(100);

/// What accepted sockets inherit from the listener, so that accepting costs one call.
#[derive(Clone, Copy, Debug)]
pub struct SocketOptions {
    /// How long sent bytes may stay unacknowledged before the kernel ends the connection.
    pub user_timeout: Duration,
    /// What the kernel keeps of a client that does not read; 0 = as much as it likes.
    pub send_bytes: usize,
}

fn open(address: SocketAddr, options: SocketOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(options.user_timeout))?;
    if options.send_bytes > 0 {
        // Linux doubles it for its own bookkeeping.
        socket.set_send_buffer_size(options.send_bytes / 2)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Holds a port, 0 included, without listening: every reactor then opens a listener of its own on it.
pub fn reserve(address: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let socket = open(address, SocketOptions { user_timeout: Duration::ZERO, send_bytes: 0 })?;
    let bound = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok((socket, bound))
}

pub struct Listener {
    socket: TcpListener,
    pub door: Door,
    /// Connections may be waiting. Only `WouldBlock` clears it.
    pub acceptable: bool,
}

impl Listener {
    pub fn open(address: SocketAddr, door: Door, options: SocketOptions) -> io::Result<Listener> {
        let socket = open(address, options)?;
        socket.listen(BACKLOG)?;
        Ok(Listener { socket: TcpListener::from_std(socket.into()), door, acceptable: true })
    }

    pub fn source(&mut self) -> &mut TcpListener {
        &mut self.socket
    }
}

/// How accepting went.
#[derive(Debug, PartialEq, Eq)]
pub enum Accepting {
    /// Nobody waits, or the turn is used up and `acceptable` still stands.
    Fine,
    /// No descriptor is free: pause.
    Exhausted,
}

/// A descriptor kept back, so that a connection can be turned away when none is left.
pub struct Reserve(Option<File>);

impl Reserve {
    pub fn open() -> Reserve {
        Reserve(File::open("/dev/null").ok())
    }

    fn turn_away(&mut self, listener: &TcpListener) {
        self.0 = None;
        if let Ok((stream, _)) = listener.accept() {
            refuse(stream);
        }
        *self = Reserve::open();
    }
}

/// Says that there is no room, and closes.
pub fn refuse(mut stream: TcpStream) {
    // The fresh socket's buffer is empty: this fits or the client is gone.
    let _ = stream.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\nRetry-After: 1\r\n\r\n");
    let _ = stream.shutdown(std::net::Shutdown::Write);
}

impl Listener {
    /// Accepts what waits, up to one turn's share. `refused` counts connections that were turned away.
    pub fn accept(
        &mut self,
        reserve: &mut Reserve,
        mut take: impl FnMut(TcpStream, IpAddr),
        mut refused: impl FnMut(),
    ) -> Accepting {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.socket.accept() {
                Ok((stream, peer)) => take(stream, peer.ip()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.acceptable = false;
                    return Accepting::Fine;
                }
                Err(error) => match error.raw_os_error() {
                    Some(code) if is_exhausted(code) => {
                        reserve.turn_away(&self.socket);
                        refused();
                        return Accepting::Exhausted;
                    }
                    // The client left before it was accepted, or the network failed it: look at the next one.
                    _ => {}
                },
            }
        }
        Accepting::Fine
    }
}

fn is_exhausted(code: i32) -> bool {
    use nix::errno::Errno;
    [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM].contains(&Errno::from_raw(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_sockets_inherit_what_was_set_once() {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = SocketOptions { user_timeout: Duration::from_secs(7), send_bytes: 128 * 1024 };
        let mut listener = Listener::open(address, Door::Public, options).unwrap();
        let client = std::net::TcpStream::connect(listener.source().local_addr().unwrap()).unwrap();
        let mut accepted = Vec::new();
        let mut reserve = Reserve::open();
        while accepted.is_empty() {
            let accepting = listener.accept(&mut reserve, |stream, peer| accepted.push((stream, peer)), || ());
            assert_eq!(accepting, Accepting::Fine);
        }
        let (stream, peer) = &accepted[0];
        let socket = socket2::SockRef::from(stream);
        assert_eq!(socket.send_buffer_size().unwrap(), 128 * 1024);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(7)));
        assert!(socket.tcp_nodelay().unwrap());
        assert_eq!(*peer, client.local_addr().unwrap().ip());
    }
}
