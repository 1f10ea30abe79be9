//! What a connection needs of its socket; TLS and the simulation put something else in its place.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;

pub trait Transport {
    /// `WouldBlock` means nothing is there and a readiness event will follow; 0 is the end of the stream.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Takes bytes from the front of the frames; `WouldBlock` means full and a readiness event will follow.
    fn write(&mut self, frames: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Ends our direction of the stream.
    fn shutdown(&mut self);
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
}
