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

    /// How long sent bytes may stay unacknowledged (TCP_USER_TIMEOUT).
    fn set_user_timeout(&self, _timeout: Duration) {}
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

    fn set_user_timeout(&self, timeout: Duration) {
        // Where that fails the listener's stays in force.
        let _ = socket2::SockRef::from(self).set_tcp_user_timeout(Some(timeout));
    }
}
