//! Opening a connection to one of the addresses that a host has, within a deadline.
//!
//! Not for: anything that is said on the connection.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::wire::Deadline;
use crate::config::{Address, socket_file};
use crate::sys::Stream;

/// Where a connection leads: the very server that answered, not a name that may lead to another
/// by now.
pub(super) enum Peer {
    Tcp(SocketAddr),
    File(PathBuf),
}

impl Peer {
    /// Another connection to the same server.
    pub(super) fn dial(&self, deadline: &Deadline) -> io::Result<Stream> {
        match self {
            Peer::Tcp(address) => Stream::connect_tcp(address, deadline.left()?),
            Peer::File(path) => {
                let path = path.clone();
                within(deadline, move || Stream::connect_file(&path))
            }
        }
    }
}

pub(super) fn dial(address: &Address, deadline: &Deadline) -> io::Result<(Stream, Peer)> {
    match address {
        Address::Tcp { host, port } => {
            let addresses = resolve(host, *port, deadline)?;
            let (stream, address) = dial_first(&addresses, deadline)?;
            Ok((stream, Peer::Tcp(address)))
        }
        Address::Unix { folder, port } => {
            let peer = Peer::File(socket_file(folder, *port));
            Ok((peer.dial(deadline)?, peer))
        }
    }
}

fn resolve(host: &str, port: u16, deadline: &Deadline) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let host = host.to_owned();
    within(deadline, move || {
        let found = (host.as_str(), port).to_socket_addrs();
        found.map(Iterator::collect)
    })
}

/// Tries the addresses in turn; one that does not answer leaves time for those after it.
fn dial_first(addresses: &[SocketAddr], deadline: &Deadline) -> io::Result<(Stream, SocketAddr)> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for (tried, address) in addresses.iter().enumerate() {
        let share = deadline.left()? / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match Stream::connect_tcp(address, share.max(Duration::from_millis(1))) {
            Ok(stream) => return Ok((stream, *address)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Does what the system offers no time limit for. If it takes too long, the thread is left to
/// come to its end alone.
fn within<T: Send + 'static>(
    deadline: &Deadline,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("sneck-connect".to_owned())
        // Nobody may be waiting any more.
        .spawn(move || drop(sender.send(work())))?;
    match receiver.recv_timeout(deadline.left()?) {
        Ok(result) => result,
        Err(_) => Err(deadline.missed()),
    }
}
