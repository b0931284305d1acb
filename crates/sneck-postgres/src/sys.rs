//! The socket under a session, and the few questions that each operating system answers in its
//! own way: reading without waiting, looking without reading, and who is logged in.
//!
//! This file knows nothing of PostgreSQL's messages. It is the only one with `cfg` in it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

#[cfg(unix)]
use std::os::unix::net::UnixStream;

/// After this long without a word from the other side the system asks whether it is there …
pub(crate) const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// … and asks again this often …
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// … this many times, and then counts the connection as lost.
pub(crate) const KEEPALIVE_COUNT: u32 = 3;

/// The socket of a session.
///
/// On Unix it lends and gives its descriptor, so that a waiter can poll it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Stream {
    /// To a server somewhere on the network, or on this machine through the loopback.
    Tcp(TcpStream),
    /// To a server on this machine, through a socket file.
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Stream {
    /// Connects to an address that needs no looking up, in at most `timeout`.
    pub(crate) fn connect_tcp(address: &SocketAddr, timeout: Duration) -> io::Result<Stream> {
        let stream = TcpStream::connect_timeout(address, timeout)?;
        stream.set_nodelay(true)?;
        notice_a_vanished_peer(&stream)?;
        Ok(Stream::Tcp(stream))
    }

    /// Connects to a socket file. A server whose queue of new connections is full lets this wait.
    #[cfg(unix)]
    pub(crate) fn connect_file(path: &Path) -> io::Result<Stream> {
        UnixStream::connect(path).map(Stream::Unix)
    }

    /// Says that there are no socket files on this system.
    #[cfg(not(unix))]
    pub(crate) fn connect_file(_: &Path) -> io::Result<Stream> {
        let reason = "this system has no Unix sockets";
        Err(io::Error::new(io::ErrorKind::Unsupported, reason))
    }

    /// A second handle of the same socket, as `dup(2)` makes it: the connection ends only when
    /// both are closed, unless a session was [closed](crate::session::Session::close).
    ///
    /// # Errors
    ///
    /// Mostly when the process has no descriptor left.
    pub fn dup(&self) -> io::Result<Stream> {
        match self {
            Stream::Tcp(stream) => stream.try_clone().map(Stream::Tcp),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.try_clone().map(Stream::Unix),
        }
    }

    /// Reads what comes within `timeout`, which must not be zero.
    pub(crate) fn read_within(&self, buf: &mut [u8], timeout: Duration) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => {
                stream.set_read_timeout(Some(timeout))?;
                (&*stream).read(buf)
            }
            #[cfg(unix)]
            Stream::Unix(stream) => {
                stream.set_read_timeout(Some(timeout))?;
                (&*stream).read(buf)
            }
        }
    }

    /// Writes what the system takes within `timeout`, which must not be zero.
    pub(crate) fn write_within(&self, buf: &[u8], timeout: Duration) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => {
                stream.set_write_timeout(Some(timeout))?;
                (&*stream).write(buf)
            }
            #[cfg(unix)]
            Stream::Unix(stream) => {
                stream.set_write_timeout(Some(timeout))?;
                (&*stream).write(buf)
            }
        }
    }

    /// Ends the connection for every handle of it, in forked children too.
    pub(crate) fn shutdown(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
        }
    }
}

#[cfg(unix)]
pub(crate) use unix::login_name;
#[cfg(unix)]
use unix::notice_a_vanished_peer;

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::net::{RecvFlags, recv, sockopt};

    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    const GONE: PollFlags = PollFlags::RDHUP.union(PollFlags::HUP).union(PollFlags::ERR);
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    const GONE: PollFlags = PollFlags::HUP.union(PollFlags::ERR);

    impl Stream {
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

    impl AsFd for Stream {
        fn as_fd(&self) -> BorrowedFd<'_> {
            match self {
                Stream::Tcp(stream) => stream.as_fd(),
                Stream::Unix(stream) => stream.as_fd(),
            }
        }
    }

    impl From<Stream> for OwnedFd {
        fn from(stream: Stream) -> OwnedFd {
            match stream {
                Stream::Tcp(stream) => stream.into(),
                Stream::Unix(stream) => stream.into(),
            }
        }
    }

    /// A waiter may sit on a silent connection for days; a server that lost its power must not
    /// keep it there for ever.
    pub(super) fn notice_a_vanished_peer(stream: &TcpStream) -> io::Result<()> {
        sockopt::set_socket_keepalive(stream, true)?;
        #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
        {
            sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
            sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
            sockopt::set_tcp_keepcnt(stream, KEEPALIVE_COUNT)?;
        }
        Ok(())
    }

    /// The name that `/etc/passwd` has for the effective user; users that only a directory
    /// service knows have none here.
    pub(crate) fn login_name() -> Option<String> {
        let me = rustix::process::geteuid().as_raw().to_string();
        let users = std::fs::read_to_string("/etc/passwd").ok()?;
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == me && !name.is_empty()).then(|| name.to_owned())
        })
    }
}

#[cfg(not(unix))]
pub(crate) use elsewhere::login_name;
#[cfg(not(unix))]
use elsewhere::notice_a_vanished_peer;

#[cfg(not(unix))]
mod elsewhere {
    use super::*;

    impl Stream {
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

        fn without_waiting<T>(
            &self,
            work: impl FnOnce(&TcpStream) -> io::Result<T>,
        ) -> io::Result<T> {
            let Stream::Tcp(stream) = self;
            stream.set_nonblocking(true)?;
            let result = work(stream);
            stream.set_nonblocking(false)?;
            result
        }
    }

    /// The standard library cannot ask for it; the server does so on its side.
    pub(super) fn notice_a_vanished_peer(_: &TcpStream) -> io::Result<()> {
        Ok(())
    }

    /// Only the environment knows.
    pub(crate) fn login_name() -> Option<String> {
        None
    }
}

#[cfg(all(
    any(target_os = "linux", target_os = "macos", target_os = "freebsd"),
    not(sneck_unsupported)
))]
pub(crate) use descriptors::{carried, wake};
#[cfg(not(all(
    any(target_os = "linux", target_os = "macos", target_os = "freebsd"),
    not(sneck_unsupported)
)))]
pub(crate) use no_descriptors::{carried, wake};

/// Where sneck sleeps on descriptors and passes them on.
#[cfg(all(
    any(target_os = "linux", target_os = "macos", target_os = "freebsd"),
    not(sneck_unsupported)
))]
mod descriptors {
    use crate::session::Session;
    use sneck::protocol::{Borrowed, Wake};
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd};

    impl AsFd for Session {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.stream().as_fd()
        }
    }

    /// The server says something.
    pub(crate) fn wake(session: &Session) -> io::Result<Option<Wake>> {
        Ok(Some(Wake::Ready(session.stream().dup()?.into())))
    }

    /// What keeps the session, and with it the lock, alive in another process.
    pub(crate) fn carried(session: &Session) -> Vec<Borrowed<'_>> {
        vec![session.as_fd()]
    }
}

/// Where sneck polls, and nothing can be passed on.
#[cfg(not(all(
    any(target_os = "linux", target_os = "macos", target_os = "freebsd"),
    not(sneck_unsupported)
)))]
mod no_descriptors {
    use crate::session::Session;
    use sneck::protocol::{Borrowed, Wake};
    use std::io;

    pub(crate) fn wake(_: &Session) -> io::Result<Option<Wake>> {
        Ok(None)
    }

    pub(crate) fn carried(_: &Session) -> Vec<Borrowed<'_>> {
        Vec::new()
    }
}
