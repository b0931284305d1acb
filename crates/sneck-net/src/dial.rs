//! Opening a socket to one of the addresses that a host has, within a deadline.
//!
//! Not for: anything that is said on it.

use crate::address::Address;
use crate::deadline::Deadline;
use crate::error::{ErrorKind, Failure, plain};
use crate::sys::Socket;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Where a connection leads: the very server that answered, not a name that may lead to another one by now.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    Tcp(SocketAddr),
    File(PathBuf),
}

impl Peer {
    /// Another socket to the same server.
    pub(crate) fn dial(&self, deadline: &Deadline) -> io::Result<Socket> {
        match self {
            Peer::Tcp(address) => connect(address, deadline.left()?, deadline),
            Peer::File(path) => {
                let path = path.clone();
                within(deadline, move || Socket::connect_file(&path))
            }
        }
    }
}

pub(crate) fn dial(address: &Address, deadline: &Deadline) -> Result<(Socket, Peer), Failure> {
    match address {
        Address::Tcp { host, port } => dial_first(&resolve(host, *port, deadline)?, deadline),
        Address::File(path) => {
            let peer = Peer::File(path.clone());
            Ok((peer.dial(deadline)?, peer))
        }
    }
}

fn resolve(host: &str, port: u16, deadline: &Deadline) -> Result<Vec<SocketAddr>, Failure> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let wanted = host.to_owned();
    let found = within(deadline, move || {
        let found = (wanted.as_str(), port).to_socket_addrs();
        found.map(|found| found.collect::<Vec<_>>())
    });
    let what = match found {
        Ok(found) if !found.is_empty() => return Ok(found),
        Ok(_) => "it has no address".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            format!("the name could not be looked up: {error}")
        }
        Err(error) => format!("there is no such host ({error})"),
    };
    Err(Failure::new(ErrorKind::Unreachable, what))
}

/// Tries the addresses in turn; one that does not answer leaves time for those after it. If none does, each of them says why.
fn dial_first(addresses: &[SocketAddr], deadline: &Deadline) -> Result<(Socket, Peer), Failure> {
    let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
    for (tried, address) in addresses.iter().enumerate() {
        let others = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = deadline.left().map(|left| left / others);
        let connected =
            share.and_then(|share| connect(address, share.max(Duration::from_millis(1)), deadline));
        let why = match connected {
            Ok(socket) => return Ok((socket, Peer::Tcp(*address))),
            Err(error) => plain(&error),
        };
        let ip = address.ip().to_string();
        match reasons.iter_mut().find(|(reason, _)| *reason == why) {
            Some((_, ips)) => ips.push(ip),
            None => reasons.push((why, vec![ip])),
        }
    }
    let what = match &reasons[..] {
        [(why, ips)] if ips.len() == 1 => why.clone(),
        several => {
            let each = several
                .iter()
                .map(|(why, ips)| format!("{why} ({})", ips.join(", ")));
            each.collect::<Vec<_>>().join("; ")
        }
    };
    Err(Failure::new(ErrorKind::Unreachable, what))
}

/// The standard library's words for a limit that passed name neither the limit nor the whole of the time.
fn connect(address: &SocketAddr, limit: Duration, deadline: &Deadline) -> io::Result<Socket> {
    match Socket::connect_tcp(address, limit) {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(deadline.missed()),
        other => other,
    }
}

/// Does what the system offers no time limit for. If it takes too long, the thread is left to come to its end alone.
fn within<T: Send + 'static>(
    deadline: &Deadline,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let left = deadline.left()?;
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("sneck-connect".to_owned())
        // Nobody may be waiting any more.
        .spawn(move || drop(sender.send(work())))?;
    match receiver.recv_timeout(left) {
        Ok(result) => result,
        Err(_) => Err(deadline.missed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn one_of_several_addresses_is_enough_and_if_none_answers_each_is_named() {
        let live = TcpListener::bind("127.0.0.1:0").unwrap();
        let dead = TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [dead.local_addr().unwrap(), live.local_addr().unwrap()];
        drop(dead);
        let deadline = Deadline::after(Duration::from_secs(60));
        let (_, peer) = dial_first(&addresses, &deadline).unwrap();
        assert!(matches!(peer, Peer::Tcp(address) if address == addresses[1]));

        let dead = TcpListener::bind("127.0.0.1:0").unwrap();
        let twice = [addresses[0], dead.local_addr().unwrap()];
        drop(dead);
        let failure = dial_first(&twice, &deadline).unwrap_err();
        assert_eq!(failure.why, "nobody listens there (127.0.0.1, 127.0.0.1)");
    }
}
