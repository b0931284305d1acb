//! Sockets as the standard library alone has them.

use super::Socket;
use crate::Keepalive;
use sneck::protocol::{Borrowed, Wake};
use std::io::{self, Read};
use std::net::TcpStream;

impl Socket {
    /// Reads what is there, without waiting: `WouldBlock` if nothing is.
    pub(crate) fn read_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.without_waiting(|mut stream| stream.read(buf))
    }

    /// Looks at what is there, and leaves it there: `WouldBlock` if nothing is.
    pub(crate) fn peek_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.without_waiting(|stream| stream.peek(buf))
    }

    /// Not to be seen here while bytes are unread.
    pub(crate) fn hung_up(&self) -> io::Result<bool> {
        Ok(false)
    }

    fn without_waiting<T>(&self, work: impl FnOnce(&TcpStream) -> io::Result<T>) -> io::Result<T> {
        let Socket::Tcp(stream) = self;
        stream.set_nonblocking(true)?;
        let result = work(stream);
        stream.set_nonblocking(false)?;
        result
    }
}

/// The standard library cannot ask for it; the server does so on its side.
pub(super) fn notice_a_vanished_peer(_: &TcpStream, _: Keepalive) -> io::Result<()> {
    Ok(())
}

/// sneck polls here …
pub(crate) fn wake(_: &Socket) -> io::Result<Option<Wake>> {
    Ok(None)
}

/// … and passes nothing on.
pub(crate) fn carried(_: &Socket) -> Option<Borrowed<'_>> {
    None
}

/// Whether this says that a socket's own time limit has passed, or that nothing is there now.
pub(crate) fn is_time_limit(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
