//! What is between the bytes that are said and those that go over the wire.
//!
//! Not for: trust (`verify.rs`). What was read ahead, to see whether the other side is still there, is kept for who reads next.

use super::Trust;
use super::certificate::Certificate;
use super::setup::Tls;
use super::verify::{Ours, failure};
use crate::connection::{CHUNK, Received, broken, closed, give_all, take};
use crate::deadline::Deadline;
use crate::error::{ErrorKind, Failure};
use crate::sys::{Socket, is_time_limit};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// How much is read ahead at most for one who only looks.
const AHEAD: usize = 256 << 10;

/// How long a farewell may take, which nobody waits for.
const FAREWELL: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Layer {
    tls: ClientConnection,
    ours: Ours,
    /// Decrypted and not taken yet.
    ahead: Vec<u8>,
    /// How it came to an end that is not an orderly one.
    over: Option<Failure>,
}

/// What became of an attempt to have more bytes decrypted.
enum More {
    Came,
    Nothing,
}

impl Layer {
    pub(crate) fn begin(
        tls: &Tls,
        name: &str,
        socket: &Socket,
        deadline: &Deadline,
    ) -> Result<Layer, Failure> {
        let name = server_name(name, tls.trust())?;
        let tls_failed = |error: &rustls::Error| failure(error, Ours::None);
        let ours = if tls.config.client_auth_cert_resolver.has_certs() {
            Ours::Shown
        } else {
            Ours::None
        };
        let tls = ClientConnection::new(tls.config.clone(), name);
        let mut layer = Layer {
            tls: tls.map_err(|error| tls_failed(&error))?,
            ours,
            ahead: Vec::new(),
            over: None,
        };
        while layer.tls.is_handshaking() {
            let flushed = layer.flush(socket, deadline);
            flushed.map_err(|failure| layer.reason(socket, failure))?;
            match layer.more(socket, Some(deadline))? {
                More::Came => {}
                More::Nothing => {
                    let why = format!("it went silent in the TLS handshake: {}", deadline.missed());
                    return Err(Failure::new(ErrorKind::Unreachable, why));
                }
            }
            if layer.tls.is_handshaking() && layer.at_end() {
                let why = "the other side closed the connection in the TLS handshake";
                return Err(Failure::new(ErrorKind::Unreachable, why));
            }
        }
        let flushed = layer.flush(socket, deadline);
        flushed.map_err(|failure| layer.reason(socket, failure))?;
        Ok(layer)
    }

    pub(crate) fn certificate(&self) -> Option<Certificate> {
        let shown = self.tls.peer_certificates()?.first()?;
        Some(Certificate::new(shown))
    }

    pub(crate) fn read(
        &mut self,
        socket: &Socket,
        buf: &mut [u8],
        deadline: Option<&Deadline>,
    ) -> Result<Received, Failure> {
        loop {
            if !self.ahead.is_empty() {
                let count = buf.len().min(self.ahead.len());
                buf[..count].copy_from_slice(&self.ahead[..count]);
                self.ahead.drain(..count);
                return Ok(Received::Bytes(count));
            }
            match self.tls.reader().read(buf) {
                Ok(0) => return Ok(Received::End),
                Ok(count) => return Ok(Received::Bytes(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // No farewell of TLS: whether something is missing, the protocol spoken knows.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(Received::End);
                }
                Err(error) => return Err(broken(&error)),
            }
            if let More::Nothing = self.more(socket, deadline)? {
                return Ok(Received::Nothing);
            }
        }
    }

    pub(crate) fn write_all(
        &mut self,
        socket: &Socket,
        mut bytes: &[u8],
        deadline: &Deadline,
    ) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let taken = self.tls.writer().write(bytes);
            bytes = &bytes[taken.map_err(|error| broken(&error))?..];
            self.flush(socket, deadline)
                .map_err(|failure| self.reason(socket, failure))?;
        }
        Ok(())
    }

    /// A server that does not want to hear us any more may have said why before it closed its ear.
    fn reason(&mut self, socket: &Socket, failure: Failure) -> Failure {
        match self.has_ended(socket) {
            Some(told) if told.kind != ErrorKind::Unreachable => told,
            _ => failure,
        }
    }

    pub(crate) fn has_ended(&mut self, socket: &Socket) -> Option<Failure> {
        while self.ahead.len() < AHEAD {
            match self.decrypted() {
                Ok(true) => return Some(closed()),
                Ok(false) => {}
                Err(error) => return Some(broken(&error)),
            }
            match self.more(socket, None) {
                Ok(More::Came) => {}
                Ok(More::Nothing) => return None,
                Err(failure) => return Some(failure),
            }
        }
        // Somebody who talks that much is there.
        None
    }

    pub(crate) fn unread(&mut self, socket: &Socket) -> &[u8] {
        let _ = self.has_ended(socket);
        &self.ahead
    }

    pub(crate) fn farewell(&mut self, socket: &Socket) {
        self.tls.send_close_notify();
        let _ = self.flush(socket, &Deadline::after(FAREWELL));
    }

    /// Keeps what is decrypted; whether the end was among it.
    fn decrypted(&mut self) -> io::Result<bool> {
        let mut chunk = [0; CHUNK];
        loop {
            match self.tls.reader().read(&mut chunk) {
                Ok(0) => return Ok(true),
                Ok(count) => self.ahead.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the other side has said in some way that no more will come.
    fn at_end(&mut self) -> bool {
        matches!(self.tls.reader().read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::UnexpectedEof)
    }

    /// Takes bytes from the socket, by the deadline or what is there now, and decrypts them; their end is seen by who reads then.
    fn more(&mut self, socket: &Socket, deadline: Option<&Deadline>) -> Result<More, Failure> {
        if let Some(over) = &self.over {
            return Err(over.clone());
        }
        match self.tls.read_tls(&mut Pull { socket, deadline }) {
            Ok(_) => {}
            Err(error) if is_time_limit(&error) => return Ok(More::Nothing),
            Err(error) => return Err(self.ended(broken(&error))),
        }
        if let Err(error) = self.tls.process_new_packets() {
            // The other side is told why.
            let _ = self.flush(socket, &Deadline::after(FAREWELL));
            let failure = failure(&error, self.ours);
            return Err(self.ended(failure));
        }
        Ok(More::Came)
    }

    fn flush(&mut self, socket: &Socket, deadline: &Deadline) -> Result<(), Failure> {
        while self.tls.wants_write() {
            let mut push = Push { socket, deadline };
            let written = self.tls.write_tls(&mut push);
            written.map_err(|error| broken(&error))?;
        }
        Ok(())
    }

    fn ended(&mut self, failure: Failure) -> Failure {
        self.over.insert(failure).clone()
    }
}

/// The name that the certificate must be for.
fn server_name(name: &str, trust: &Trust) -> Result<ServerName<'static>, Failure> {
    // No certificate has the interface of an IPv6 address.
    let bare = name.split_once('%').map_or(name, |(address, _)| address);
    match (ServerName::try_from(bare.to_owned()), trust) {
        (Ok(name), _) => Ok(name),
        (Err(_), Trust::Named(_)) => {
            let why = format!("no certificate can be for the name {name:?}");
            Err(Failure::new(ErrorKind::Refused, why))
        }
        // Addresses are not told to the server, and here nobody compares.
        (Err(_), _) => Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into()),
    }
}

/// The socket as rustls reads from it.
struct Pull<'a> {
    socket: &'a Socket,
    deadline: Option<&'a Deadline>,
}

impl Read for Pull<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        take(self.socket, buf, self.deadline)
    }
}

/// The socket as rustls writes to it.
struct Push<'a> {
    socket: &'a Socket,
    deadline: &'a Deadline,
}

impl Write for Push<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        give_all(self.socket, buf, self.deadline)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
