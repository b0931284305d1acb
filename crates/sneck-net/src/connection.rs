//! One connection to a server: read, write and look, each within a deadline or without waiting at all, encrypted or not.
//!
//! Not for: how it came about (`dial.rs`), what encryption does (`tls/`), what is said.

use crate::address::Address;
use crate::deadline::Deadline;
use crate::dial::{Peer, dial};
use crate::error::{Error, ErrorKind, Failure, plain};
use crate::keepalive::Keepalive;
use crate::sys::{self, Socket, is_time_limit};
use crate::tls::{Certificate, Layer, Tls};
use sneck::protocol::{Borrowed, Unshared, Wake};
use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How much is read from a socket at a time, and looked at at most.
pub(crate) const CHUNK: usize = 16 << 10;

/// What reading gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes, at least one.
    Bytes(usize),
    /// None have come (in time).
    Nothing,
    /// None will come: the other side has ended the connection. Whether in the middle of something only the protocol spoken can tell.
    End,
}

/// A connection to a server. Nothing that is done with it takes longer than its deadline.
///
/// Dropping it closes this process's descriptor and says nothing. [`Connection::shutdown`] ends it for all copies. A forked child has none: its copy of the descriptor is closed at
/// once, and all that it does with its copy of this is an error, or nothing.
pub struct Connection {
    pub(crate) socket: Unshared<Socket>,
    peer: Peer,
    place: String,
    /// None: what is written goes over the wire as it is. The lock is for those who look while nobody reads.
    layer: Option<Mutex<Layer>>,
}

impl Connection {
    /// Connects. The time is shared out among the addresses that the host has.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`]: no such host, nobody there, or no answer in time.
    pub fn dial(address: &Address, deadline: &Deadline) -> Result<Connection, Error> {
        let place = address.to_string();
        match dial(address, deadline) {
            Ok((socket, peer)) => Ok(Connection {
                socket: Unshared::new(socket),
                peer,
                place,
                layer: None,
            }),
            Err(failure) => Err(failure.at(&place)),
        }
    }

    /// A second connection to the very server that this one leads to, not encrypted (yet).
    ///
    /// # Errors
    /// As [`Connection::dial`].
    pub fn again(&self, deadline: &Deadline) -> Result<Connection, Error> {
        match self.peer.dial(deadline) {
            Ok(socket) => Ok(Connection {
                socket: Unshared::new(socket),
                peer: self.peer.clone(),
                place: self.place.clone(),
                layer: None,
            }),
            Err(error) => Err(self.unreachable(&error)),
        }
    }

    /// Encrypts all that follows, as far as `tls` says to a server that shows it is `name`: a host name or IP address. What was said before must have been read to the end.
    ///
    /// A server that wants a certificate of ours and got none, or a wrong one, may say so only when it is first read from.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`]: one side does not trust the other. [`ErrorKind::Protocol`]: no TLS, or no version of it that both speak.
    /// [`ErrorKind::Unreachable`]: the server hangs up or goes silent. The connection is of no more use.
    pub fn start_tls(&mut self, tls: &Tls, name: &str, deadline: &Deadline) -> Result<(), Error> {
        self.check_ours()?;
        let layer = Layer::begin(tls, name, &self.socket, deadline);
        let layer = layer.map_err(|failure| failure.at(&self.place))?;
        self.layer = Some(Mutex::new(layer));
        Ok(())
    }

    /// Whether what is said is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.layer.is_some()
    }

    /// What the server showed, if the connection is encrypted. Whether it was checked is [`crate::Trust`]'s matter.
    #[must_use]
    pub fn certificate(&self) -> Option<Certificate> {
        self.layer()?.certificate()
    }

    /// From now on a peer that says nothing is believed to be there for so long, and not for [`Keepalive::USUAL`].
    ///
    /// # Errors
    /// The system does not take it.
    pub fn keep_alive(&self, keepalive: Keepalive) -> Result<(), Error> {
        self.check_ours()?;
        let set = self.socket.keep_alive(keepalive);
        set.map_err(|error| self.unreachable(&error))
    }

    /// Reads what comes before the deadline, into a buffer that is not empty.
    ///
    /// # Errors
    /// The connection broke, or the server closed it for a reason that it told ([`ErrorKind::Refused`]: our certificate).
    pub fn read_within(&mut self, buf: &mut [u8], deadline: &Deadline) -> Result<Received, Error> {
        self.read(buf, Some(deadline))
    }

    /// Reads what has come, and does not wait. After [`Received::Nothing`] the descriptor of [`Connection::wake`] becomes readable when there is more.
    ///
    /// # Errors
    /// As [`Connection::read_within`].
    pub fn read_now(&mut self, buf: &mut [u8]) -> Result<Received, Error> {
        self.read(buf, None)
    }

    fn read(&mut self, buf: &mut [u8], deadline: Option<&Deadline>) -> Result<Received, Error> {
        self.check_ours()?;
        let read = match &mut self.layer {
            Some(layer) => {
                let layer = layer.get_mut().unwrap_or_else(PoisonError::into_inner);
                layer.read(&self.socket, buf, deadline)
            }
            None => match take(&self.socket, buf, deadline) {
                Ok(0) => Ok(Received::End),
                Ok(count) => Ok(Received::Bytes(count)),
                Err(error) if is_time_limit(&error) => Ok(Received::Nothing),
                Err(error) => Err(broken(&error)),
            },
        };
        read.map_err(|failure| failure.at(&self.place))
    }

    /// Writes all of it before the deadline. After an error nobody knows how much of it went out: the connection is of no more use.
    ///
    /// # Errors
    /// The connection broke, or the other side takes nothing.
    pub fn write_all(&mut self, bytes: &[u8], deadline: &Deadline) -> Result<(), Error> {
        self.check_ours()?;
        let written = match &mut self.layer {
            Some(layer) => {
                let layer = layer.get_mut().unwrap_or_else(PoisonError::into_inner);
                layer.write_all(&self.socket, bytes, deadline)
            }
            None => give_all(&self.socket, bytes, deadline).map_err(|error| broken(&error)),
        };
        written.map_err(|failure| failure.at(&self.place))
    }

    /// Whether the connection has ended, and how. Neither waits nor takes anything away from who reads next; what has come encrypted is decrypted and kept for them.
    ///
    /// None means that no end was heard of: a server that lost its power says nothing until keepalive finds out.
    #[must_use]
    pub fn has_ended(&self) -> Option<Error> {
        if let Err(error) = self.check_ours() {
            return Some(error);
        }
        let ended = match self.layer() {
            Some(mut layer) => layer.has_ended(&self.socket),
            None => has_ended(&self.socket),
        };
        ended.map(|failure| failure.at(&self.place))
    }

    /// What has come and was not read yet, as far as it can be seen, without taking it away: what a server says before it hangs up, for one. Ask [`Connection::has_ended`] first.
    #[must_use]
    pub fn unread(&self) -> Vec<u8> {
        if !self.is_ours() {
            return Vec::new();
        }
        match self.layer() {
            Some(mut layer) => layer.unread(&self.socket).to_vec(),
            None => {
                let mut chunk = vec![0; CHUNK];
                let seen = retry(|| self.socket.peek_now(&mut chunk)).unwrap_or(0);
                chunk.truncate(seen);
                chunk
            }
        }
    }

    /// Ends the connection for every copy of it, in forked children too. Says farewell of TLS, and nothing of the protocol spoken.
    pub fn shutdown(&mut self) {
        if !self.is_ours() {
            return;
        }
        if let Some(layer) = &mut self.layer {
            let layer = layer.get_mut().unwrap_or_else(PoisonError::into_inner);
            layer.farewell(&self.socket);
        }
        // One that is gone already needs none.
        let _ = self.socket.shutdown();
    }

    /// What wakes a sleeper when the server says something; none where sneck polls.
    ///
    /// # Errors
    /// Mostly when the process has no descriptor left.
    pub fn wake(&self) -> io::Result<Option<Wake>> {
        if !self.is_ours() {
            return Ok(None);
        }
        sys::wake(&self.socket)
    }

    /// What keeps the connection from ending in a process that inherits it. Nobody may speak on it there; an encrypted one could not be spoken on.
    #[must_use]
    pub fn carried(&self) -> Option<Borrowed<'_>> {
        match self.is_ours() {
            true => sys::carried(&self.socket),
            false => None,
        }
    }

    /// Whether this is the process that dialled, and not one that was forked from it.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.socket.is_ours()
    }

    fn check_ours(&self) -> Result<(), Error> {
        if self.is_ours() {
            return Ok(());
        }
        let why = "the connection is that of the process which this one was forked from";
        Err(Error::new(ErrorKind::Unreachable, &self.place, why))
    }

    /// The server, as it was named: `host:port`, or the path of its socket file.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// That nothing came by this deadline, as an error of this connection.
    #[must_use]
    pub fn silent(&self, deadline: &Deadline) -> Error {
        self.unreachable(&deadline.missed())
    }

    /// That it has ended where it should not have, as an error of this connection.
    #[must_use]
    pub fn gone(&self) -> Error {
        closed().at(&self.place)
    }

    fn layer(&self) -> Option<MutexGuard<'_, Layer>> {
        let layer = self.layer.as_ref()?;
        Some(layer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn unreachable(&self, error: &io::Error) -> Error {
        Error::new(ErrorKind::Unreachable, &self.place, &plain(error))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("place", &self.place)
            .field("peer", &self.peer)
            .field("encrypted", &self.is_encrypted())
            .finish_non_exhaustive()
    }
}

/// Bytes from the socket, by the deadline or at once: [`is_time_limit`] if there are none.
pub(crate) fn take(
    socket: &Socket,
    buf: &mut [u8],
    deadline: Option<&Deadline>,
) -> io::Result<usize> {
    match deadline {
        Some(deadline) => retry(|| socket.read_within(buf, deadline.left()?)),
        None => retry(|| socket.read_now(buf)),
    }
}

pub(crate) fn give_all(socket: &Socket, mut bytes: &[u8], deadline: &Deadline) -> io::Result<()> {
    while !bytes.is_empty() {
        match retry(|| socket.write_within(bytes, deadline.left()?)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if is_time_limit(&error) && deadline.has_passed() => {
                return Err(deadline.missed());
            }
            Err(error) if is_time_limit(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(crate) fn has_ended(socket: &Socket) -> Option<Failure> {
    let mut one = [0];
    match retry(|| socket.peek_now(&mut one)) {
        Ok(0) => Some(closed()),
        Ok(_) => match retry(|| socket.hung_up()) {
            Ok(false) => None,
            Ok(true) => Some(closed()),
            Err(error) => Some(broken(&error)),
        },
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => Some(broken(&error)),
    }
}

pub(crate) fn closed() -> Failure {
    Failure::new(
        ErrorKind::Unreachable,
        "the other side closed the connection",
    )
}

pub(crate) fn broken(error: &io::Error) -> Failure {
    Failure::new(ErrorKind::Unreachable, plain(error))
}

/// Repeats what a signal interrupted. Callers have a deadline, or do not wait.
pub(crate) fn retry<T>(mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match work() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
