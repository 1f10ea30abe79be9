//! What a connection needs of its socket; TLS and the simulation put something else in its place.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

pub trait Transport {
    /// `WouldBlock` means nothing is there and a readiness event will follow; 0 is the end of the stream.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Takes bytes from the front of the frames; `WouldBlock` means full and a readiness event will follow.
    fn write(&mut self, frames: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Ends our direction of the stream.
    fn shutdown(&mut self);

    /// Bounds how long sent bytes may stay unacknowledged; where nothing is acknowledged, there is nothing to bound.
    fn set_user_timeout(&mut self, _time: Duration) {}
}

impl Transport for mio::net::TcpStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Read::read(self, into)
    }

    fn write(&mut self, frames: &[IoSlice<'_>]) -> io::Result<usize> {
        match frames {
            // `send` costs less than `writev`.
            [one] => Write::write(self, one),
            several => Write::write_vectored(self, several),
        }
    }

    fn shutdown(&mut self) {
        // A peer that is gone already is no error of ours.
        let _ = mio::net::TcpStream::shutdown(self, Shutdown::Write);
    }

    fn set_user_timeout(&mut self, time: Duration) {
        // On a socket that is closed already it does not matter.
        let _ = socket2::SockRef::from(&*self).set_tcp_user_timeout(Some(time));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_can_have_a_user_timeout_of_its_own() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut client = mio::net::TcpStream::from_std(client);
        let time = Duration::from_secs(7);
        Transport::set_user_timeout(&mut client, time);
        assert_eq!(socket2::SockRef::from(&client).tcp_user_timeout().unwrap(), Some(time));
    }
}
