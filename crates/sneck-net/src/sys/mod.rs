//! The socket itself, and the few questions about it that each operating system answers in its own way: reading without waiting, looking
//! without taking, noticing a peer that vanished, what a waiter sleeps on, what a command may inherit.
//!
//! One call each, no rules. `unix.rs`, `windows.rs` and `neither.rs` have the same names.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as system;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;

#[cfg(not(any(unix, windows)))]
mod neither;
#[cfg(not(any(unix, windows)))]
use neither as system;

pub(crate) use system::{carried, is_time_limit, wake};

use crate::Keepalive;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

#[cfg(unix)]
use std::os::unix::net::UnixStream;

/// A connected socket, which no command inherits by itself.
#[derive(Debug)]
pub(crate) enum Socket {
    /// To a server somewhere on the network, or on this machine through the loopback.
    Tcp(TcpStream),
    /// To a server on this machine, through a socket file.
    #[cfg(unix)]
    File(UnixStream),
}

impl Socket {
    /// Connects to an address that needs no looking up, in at most `limit`, which must not be zero.
    pub(crate) fn connect_tcp(address: &SocketAddr, limit: Duration) -> io::Result<Socket> {
        let stream = TcpStream::connect_timeout(address, limit)?;
        stream.set_nodelay(true)?;
        system::notice_a_vanished_peer(&stream, Keepalive::USUAL)?;
        Ok(Socket::Tcp(stream))
    }

    /// When to count a peer that says nothing as gone. One at the other end of a socket file cannot vanish unseen.
    pub(crate) fn keep_alive(&self, after: Keepalive) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => system::notice_a_vanished_peer(stream, after),
            #[cfg(unix)]
            Socket::File(_) => Ok(()),
        }
    }

    /// Connects to a socket file. A server whose queue of new connections is full lets this wait.
    #[cfg(unix)]
    pub(crate) fn connect_file(path: &Path) -> io::Result<Socket> {
        UnixStream::connect(path).map(Socket::File)
    }

    /// Says that there are no socket files on this system.
    #[cfg(not(unix))]
    pub(crate) fn connect_file(_: &Path) -> io::Result<Socket> {
        let reason = "there are no Unix sockets on this system";
        Err(io::Error::new(io::ErrorKind::Unsupported, reason))
    }

    /// Reads what comes within `limit`, which must not be zero.
    pub(crate) fn read_within(&self, buf: &mut [u8], limit: Duration) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => {
                stream.set_read_timeout(Some(limit))?;
                (&*stream).read(buf)
            }
            #[cfg(unix)]
            Socket::File(stream) => {
                stream.set_read_timeout(Some(limit))?;
                (&*stream).read(buf)
            }
        }
    }

    /// Writes what the system takes within `limit`, which must not be zero.
    pub(crate) fn write_within(&self, buf: &[u8], limit: Duration) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => {
                stream.set_write_timeout(Some(limit))?;
                (&*stream).write(buf)
            }
            #[cfg(unix)]
            Socket::File(stream) => {
                stream.set_write_timeout(Some(limit))?;
                (&*stream).write(buf)
            }
        }
    }

    /// Ends the connection for every copy of it, in forked children too.
    pub(crate) fn shutdown(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Both),
            #[cfg(unix)]
            Socket::File(stream) => stream.shutdown(Shutdown::Both),
        }
    }
}
