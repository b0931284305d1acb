//! Sockets on Windows.

use super::Socket;
use crate::Keepalive;
use sneck::protocol::{Borrowed, Wake};
use std::io::{self, Read};
use std::net::TcpStream;
use std::os::windows::io::AsRawSocket;
use std::time::Duration;
use windows_sys::Win32::Networking::WinSock::{
    IPPROTO_TCP, POLLERR, POLLHUP, POLLNVAL, SO_KEEPALIVE, SOCKET, SOCKET_ERROR, SOL_SOCKET,
    TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_MAXRT, WSAPOLLFD, WSAPoll, setsockopt,
};

impl Socket {
    fn stream(&self) -> &TcpStream {
        let Socket::Tcp(stream) = self;
        stream
    }

    /// Reads what is there, without waiting: `WouldBlock` if nothing is.
    pub(crate) fn read_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.without_waiting(|mut stream| stream.read(buf))
    }

    /// Looks at what is there, and leaves it there: `WouldBlock` if nothing is.
    pub(crate) fn peek_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.without_waiting(|stream| stream.peek(buf))
    }

    /// There is no flag for one call, as Unix has it.
    fn without_waiting<T>(&self, work: impl FnOnce(&TcpStream) -> io::Result<T>) -> io::Result<T> {
        let stream = self.stream();
        stream.set_nonblocking(true)?;
        let result = work(stream);
        stream.set_nonblocking(false)?;
        result
    }

    /// Whether the other side has ended the connection, even if bytes of it are still unread.
    pub(crate) fn hung_up(&self) -> io::Result<bool> {
        let mut poll = WSAPOLLFD {
            fd: raw(self.stream()),
            events: 0,
            revents: 0,
        };
        // SAFETY: one valid entry about a socket that is open, to be written to; no waiting.
        match unsafe { WSAPoll(&mut poll, 1, 0) } {
            SOCKET_ERROR => Err(io::Error::last_os_error()),
            _ => Ok(poll.revents & (POLLHUP | POLLERR | POLLNVAL) != 0),
        }
    }
}

fn raw(stream: &TcpStream) -> SOCKET {
    stream.as_raw_socket() as SOCKET
}

fn set(stream: &TcpStream, level: i32, option: i32, value: u32) -> io::Result<()> {
    let bytes = value.to_ne_bytes();
    // SAFETY: an open socket, and four bytes, which is what all of these options take.
    match unsafe { setsockopt(raw(stream), level, option, bytes.as_ptr(), 4) } {
        SOCKET_ERROR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A waiter may sit on a silent connection for days; a server that lost its power must not keep it there for ever.
pub(super) fn notice_a_vanished_peer(stream: &TcpStream, after: Keepalive) -> io::Result<()> {
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    set(stream, SOL_SOCKET, SO_KEEPALIVE, 1)?;
    // Windows before 10 (1709) has only the first; wine 8 lacks the last.
    for (option, value) in [
        (TCP_KEEPIDLE, seconds(after.idle)),
        (TCP_KEEPINTVL, seconds(after.interval)),
        (TCP_KEEPCNT, after.count),
        (TCP_MAXRT, seconds(after.silence())),
    ] {
        let _ = set(stream, IPPROTO_TCP, option, value);
    }
    Ok(())
}

/// What becomes readable when the server says something.
#[cfg(not(sneck_unsupported))]
pub(crate) fn wake(socket: &Socket) -> io::Result<Option<Wake>> {
    use std::os::windows::io::OwnedSocket;
    let copy = OwnedSocket::from(socket.stream().try_clone()?);
    Ok(Some(Wake::Ready(copy.into())))
}

/// Where sneck polls.
#[cfg(sneck_unsupported)]
pub(crate) fn wake(_: &Socket) -> io::Result<Option<Wake>> {
    Ok(None)
}

/// A command inherits handles of files only.
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
