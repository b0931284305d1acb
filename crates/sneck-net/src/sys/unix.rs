//! Sockets on Unix.

use super::Socket;
use crate::Keepalive;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, recv, sockopt};
use sneck::protocol::{Borrowed, Wake};
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
const GONE: PollFlags = PollFlags::RDHUP.union(PollFlags::HUP).union(PollFlags::ERR);
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
const GONE: PollFlags = PollFlags::HUP.union(PollFlags::ERR);

impl Socket {
    /// Reads what is there, without waiting: `WouldBlock` if nothing is.
    pub(crate) fn read_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self, buf, RecvFlags::DONTWAIT)?.1)
    }

    /// Looks at what is there, and leaves it there: `WouldBlock` if nothing is.
    pub(crate) fn peek_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self, buf, RecvFlags::DONTWAIT | RecvFlags::PEEK)?.1)
    }

    /// Whether the other side has ended the connection, even if bytes of it are still unread.
    pub(crate) fn hung_up(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(self, GONE)];
        poll(&mut fds, Some(&Timespec::default()))?;
        Ok(fds[0].revents().intersects(GONE))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::File(stream) => stream.as_fd(),
        }
    }
}

/// So that a connection can be kept from forked children ([`sneck::protocol::Unshared`]).
impl AsFd for crate::Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A waiter may sit on a silent connection for days; a server that lost its power must not keep it there for ever.
pub(super) fn notice_a_vanished_peer(stream: &TcpStream, after: Keepalive) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    #[cfg(any(
        target_os = "linux",
        target_os = "android",
        target_os = "freebsd",
        target_vendor = "apple"
    ))]
    {
        sockopt::set_tcp_keepidle(stream, after.idle)?;
        sockopt::set_tcp_keepintvl(stream, after.interval)?;
        sockopt::set_tcp_keepcnt(stream, after.count)?;
    }
    // Keepalive is silent while something that was sent is not acknowledged: then retransmission decides, which takes a quarter of an hour.
    #[cfg(target_os = "linux")]
    {
        let silence = u32::try_from(after.silence().as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(stream, silence)?;
    }
    Ok(())
}

/// What becomes readable when the server says something, where sneck sleeps on descriptors.
#[cfg(all(
    any(target_os = "linux", target_os = "macos", target_os = "freebsd"),
    not(sneck_unsupported)
))]
pub(crate) fn wake(socket: &Socket) -> io::Result<Option<Wake>> {
    let copy = socket.as_fd().try_clone_to_owned()?;
    Ok(Some(Wake::Ready(copy)))
}

/// What keeps the connection alive in another process.
#[cfg(all(
    any(target_os = "linux", target_os = "macos", target_os = "freebsd"),
    not(sneck_unsupported)
))]
pub(crate) fn carried(socket: &Socket) -> Option<Borrowed<'_>> {
    Some(socket.as_fd())
}

/// Elsewhere sneck polls …
#[cfg(not(all(
    any(target_os = "linux", target_os = "macos", target_os = "freebsd"),
    not(sneck_unsupported)
)))]
pub(crate) fn wake(_: &Socket) -> io::Result<Option<Wake>> {
    Ok(None)
}

/// … and passes nothing on.
#[cfg(not(all(
    any(target_os = "linux", target_os = "macos", target_os = "freebsd"),
    not(sneck_unsupported)
)))]
pub(crate) fn carried(_: &Socket) -> Option<Borrowed<'_>> {
    None
}

/// Whether this says that a socket's own time limit has passed, or that nothing is there now. What the kernel says when keepalive gave up is another thing: nothing more will come.
pub(crate) fn is_time_limit(error: &io::Error) -> bool {
    match error.kind() {
        io::ErrorKind::WouldBlock => true,
        io::ErrorKind::TimedOut => error.raw_os_error().is_none(),
        _ => false,
    }
}
