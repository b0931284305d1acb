//! Messages to and from the server, each within a deadline, and how the connection ended.
//!
//! Not for: what the messages mean. This file takes them out of the stream whole, or says why
//! there will be no more.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::backend::{Header, Message};
use postgres_protocol::message::frontend;
use sneck_net::{Connection, Deadline, Received, Tls};

use super::error::{ErrorKind, Report, SessionError, of_net, unreachable};
use crate::config::{Address, Negotiation};

/// No answer to a question about locks comes near this; it keeps a server that is none from
/// making us allocate gigabytes.
const LONGEST_MESSAGE: usize = 16 << 20;

/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_millis(100);

/// One connection. Once it has ended, every call says why.
pub(super) struct Wire {
    pub(super) connection: Connection,
    pub(super) address: String,
    /// How it was encrypted: the same for a second connection.
    armour: Option<Armour>,
    /// Bytes received and not yet understood: mostly the start of a message.
    incoming: BytesMut,
    pub(super) over: Option<SessionError>,
}

/// How a connection is encrypted.
#[derive(Clone)]
pub(super) struct Armour {
    pub(super) tls: Tls,
    /// The name that the certificate must be for.
    pub(super) host: String,
    pub(super) negotiation: Negotiation,
}

/// Why one way to connect failed.
#[derive(Debug)]
pub(super) enum Setback {
    /// TLS failed, or the server admits nobody this way: another way may do.
    OfTls(SessionError),
    /// No other way would do.
    Final(SessionError),
}

impl From<SessionError> for Setback {
    fn from(error: SessionError) -> Setback {
        Setback::Final(error)
    }
}

/// What a server says that is asked whether it encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    Encrypted,
    Declined,
}

impl Wire {
    pub(super) fn dial(address: &Address, deadline: &Deadline) -> Result<Wire, SessionError> {
        let name = address.to_string();
        match Connection::dial(&address.into(), deadline) {
            Ok(connection) => Ok(Wire {
                connection,
                address: name,
                armour: None,
                incoming: BytesMut::new(),
                over: None,
            }),
            Err(error) => Err(of_net(&error, &name)),
        }
    }

    /// Encrypts all that follows, if the server can.
    pub(super) fn encrypt(
        &mut self,
        armour: Armour,
        deadline: &Deadline,
    ) -> Result<Offer, Setback> {
        let offer = encrypt(&mut self.connection, &armour, deadline);
        let offer = offer.map_err(|error| match error {
            Hitch::Net(error) if error.kind() == sneck_net::ErrorKind::Unreachable => {
                Setback::Final(of_net(&error, &self.address))
            }
            Hitch::Net(error) => Setback::OfTls(of_net(&error, &self.address)),
            Hitch::Nonsense => {
                let error =
                    io::Error::other("asked whether it encrypts, it says neither yes nor no");
                Setback::Final(self.garbled(&error))
            }
        })?;
        if offer == Offer::Encrypted {
            self.armour = Some(armour);
        }
        Ok(offer)
    }

    pub(super) fn usable(&self) -> Result<(), SessionError> {
        match &self.over {
            Some(over) => Err(over.clone()),
            None => Ok(()),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8], deadline: &Deadline) -> Result<(), SessionError> {
        self.connection.write_all(bytes, deadline).map_err(|error| {
            // A server that hung up may have said why before it went.
            let error = match self.is_closed() {
                Some(reason) if error.kind() == sneck_net::ErrorKind::Unreachable => {
                    SessionError::new(ErrorKind::Unreachable, reason)
                }
                _ => of_net(&error, &self.address),
            };
            self.end(error)
        })
    }

    /// The next message, waited for.
    pub(super) fn message(&mut self, deadline: &Deadline) -> Result<Message, SessionError> {
        loop {
            if let Some(message) = self.buffered_message()? {
                return Ok(message);
            }
            if !self.more_by(deadline)? {
                return Err(self.too_late(deadline));
            }
        }
    }

    /// The next message, if all of it has been received.
    pub(super) fn buffered_message(&mut self) -> Result<Option<Message>, SessionError> {
        parse(&mut self.incoming).map_err(|error| self.garbled(&error))
    }

    /// Waits until more bytes are here; `false` if none have come in time.
    pub(super) fn more_by(&mut self, deadline: &Deadline) -> Result<bool, SessionError> {
        let mut chunk = [0; 8192];
        let read = self.connection.read_within(&mut chunk, deadline);
        self.received(&chunk, read)
    }

    /// Takes what is there, without waiting; `false` if nothing is.
    pub(super) fn more_now(&mut self) -> Result<bool, SessionError> {
        let mut chunk = [0; 8192];
        let read = self.connection.read_now(&mut chunk);
        self.received(&chunk, read)
    }

    fn received(
        &mut self,
        chunk: &[u8],
        read: Result<Received, sneck_net::Error>,
    ) -> Result<bool, SessionError> {
        match read {
            Ok(Received::End) => Err(self.hung_up(None)),
            Ok(Received::Bytes(count)) => {
                self.incoming.extend_from_slice(&chunk[..count]);
                Ok(true)
            }
            Ok(Received::Nothing) => Ok(false),
            Err(error) if error.kind() == sneck_net::ErrorKind::Unreachable => {
                Err(self.hung_up(Some(&error)))
            }
            Err(error) => {
                let error = of_net(&error, &self.address);
                Err(self.end(error))
            }
        }
    }

    /// Asks the server, over a second connection, to give up what it is doing for us, and returns
    /// when the server has taken note.
    ///
    /// It can come too early: a server process that has not yet read the question takes the
    /// request for one about nothing. If this fails, the request may yet arrive, and hit a later
    /// question.
    pub(super) fn cancel(
        &self,
        (pid, secret): (i32, i32),
        deadline: &Deadline,
    ) -> Result<(), SessionError> {
        let mut request = BytesMut::new();
        frontend::cancel_request(pid, secret, &mut request);
        self.bring(&request, deadline).map_err(|error| match error {
            Hitch::Net(error) => of_net(&error, &self.address),
            Hitch::Nonsense => unreachable(&self.address, "it no longer encrypts"),
        })
    }

    /// Over a second connection, as well encrypted as the first.
    fn bring(&self, request: &[u8], deadline: &Deadline) -> Result<(), Hitch> {
        let mut connection = self.connection.again(deadline)?;
        if let Some(armour) = &self.armour {
            if encrypt(&mut connection, armour, deadline)? == Offer::Declined {
                return Err(Hitch::Nonsense);
            }
        }
        connection.write_all(request, deadline)?;
        // The server hangs up once it has passed the request on.
        while let Ok(Received::Bytes(_)) = connection.read_within(&mut [0; 256], deadline) {}
        if deadline.has_passed() && connection.has_ended().is_none() {
            return Err(Hitch::Nonsense);
        }
        Ok(())
    }

    /// Whether the connection has ended, and why. Neither waits nor takes anything away.
    pub(super) fn is_closed(&self) -> Option<String> {
        if let Some(over) = &self.over {
            return Some(over.to_string());
        }
        // In this order: what was said before the end is then there.
        let end = self.connection.has_ended();
        let mut bytes = self.incoming.clone();
        bytes.extend_from_slice(&self.connection.unread());
        let farewell = farewell(bytes).map(|report| self.complaint(&report).to_string());
        farewell.or_else(|| end.map(|error| self.hangup_text(Some(&error))))
    }

    /// Says farewell and ends the connection for every copy of it.
    pub(super) fn close(mut self) {
        let mut farewell = BytesMut::new();
        frontend::terminate(&mut farewell);
        // A server that is gone already needs no farewell, and one that does not take five
        // bytes sees the end of the connection instead.
        let _ = self
            .connection
            .write_all(&farewell, &Deadline::after(FAREWELL));
        self.connection.shutdown();
    }

    /// Remembers that the connection is of no more use.
    pub(super) fn end(&mut self, error: SessionError) -> SessionError {
        self.over.insert(error).clone()
    }

    pub(super) fn too_late(&mut self, deadline: &Deadline) -> SessionError {
        let error = unreachable(&self.address, &deadline.missed().to_string());
        self.end(error)
    }

    pub(super) fn garbled(&mut self, error: &io::Error) -> SessionError {
        let text = format!(
            "what answers at {} does not speak as PostgreSQL does ({error}); check the host and \
             the port",
            self.address
        );
        self.end(SessionError::new(ErrorKind::Protocol, text))
    }

    pub(super) fn unexpected(&mut self, when: &str) -> SessionError {
        let text = format!(
            "PostgreSQL at {} sent something unexpected {when}",
            self.address
        );
        self.end(SessionError::new(ErrorKind::Protocol, text))
    }

    /// What the server said in answer to a question, or when it ended the session.
    pub(super) fn complaint(&self, report: &Report) -> SessionError {
        let text = format!("PostgreSQL at {}: {report}", self.address);
        SessionError::from_server(report, text)
    }

    fn hung_up(&mut self, error: Option<&sneck_net::Error>) -> SessionError {
        let text = self.hangup_text(error);
        self.end(SessionError::new(ErrorKind::Unreachable, text))
    }

    fn hangup_text(&self, error: Option<&sneck_net::Error>) -> String {
        let address = &self.address;
        match error {
            Some(error) => {
                let why = error.why();
                format!("the connection to PostgreSQL at {address} is over: {why}")
            }
            None => format!("PostgreSQL at {address} closed the connection"),
        }
    }
}

/// Why a connection could not be encrypted.
enum Hitch {
    Net(sneck_net::Error),
    /// It answered neither yes nor no.
    Nonsense,
}

impl From<sneck_net::Error> for Hitch {
    fn from(error: sneck_net::Error) -> Hitch {
        Hitch::Net(error)
    }
}

fn encrypt(
    connection: &mut Connection,
    armour: &Armour,
    deadline: &Deadline,
) -> Result<Offer, Hitch> {
    if armour.negotiation == Negotiation::Postgres {
        let mut request = BytesMut::new();
        frontend::ssl_request(&mut request);
        connection.write_all(&request, deadline)?;
        // One byte and not more: what follows must be TLS, not words that somebody in between put there before it began.
        let mut answer = [0];
        match (connection.read_within(&mut answer, deadline)?, answer) {
            (Received::Bytes(_), [b'S']) => {}
            (Received::Bytes(_), [b'N']) => return Ok(Offer::Declined),
            (Received::Bytes(_), _) => return Err(Hitch::Nonsense),
            (Received::Nothing, _) => return Err(connection.silent(deadline).into()),
            (Received::End, _) => return Err(connection.gone().into()),
        }
    }
    connection.start_tls(&armour.tls, &armour.host, deadline)?;
    Ok(Offer::Encrypted)
}

/// Takes the first message out of `bytes`, if all of it is there.
pub(super) fn parse(bytes: &mut BytesMut) -> io::Result<Option<Message>> {
    let length = Header::parse(bytes)?.map_or(0, Header::len);
    if usize::try_from(length).is_ok_and(|length| length > LONGEST_MESSAGE) {
        return Err(io::Error::other("a message is too long"));
    }
    Message::parse(bytes)
}

/// The last thing in `bytes` by which the server says that it ends the session.
fn farewell(mut bytes: BytesMut) -> Option<Report> {
    let mut last = None;
    while let Ok(Some(message)) = parse(&mut bytes) {
        let report = match message {
            Message::ErrorResponse(body) => Report::read(body.fields()),
            Message::NoticeResponse(body) => Report::read(body.fields()),
            _ => continue,
        };
        if report.is_farewell() {
            last = Some(report);
        }
    }
    last
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A message as the server frames it.
    pub(in super::super) fn framed(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[tag], &length.to_be_bytes()[..], body].concat()
    }

    pub(in super::super) fn report(tag: u8, severity: &str, sqlstate: &str) -> Vec<u8> {
        let body = format!("SX\0V{severity}\0C{sqlstate}\0Mso it is\0\0");
        framed(tag, body.as_bytes())
    }

    fn farewell_in(messages: &[Vec<u8>]) -> Option<String> {
        let bytes = BytesMut::from(&messages.concat()[..]);
        farewell(bytes).map(|report| report.to_string())
    }

    #[test]
    fn a_farewell_is_found_among_other_messages() {
        let status = framed(b'S', b"TimeZone\0UTC\0");
        let fatal = report(b'E', "FATAL", "57P01");
        let expected = Some("so it is (SQLSTATE 57P01)".to_owned());
        assert_eq!(farewell_in(&[status.clone(), fatal.clone()]), expected);

        let crash = report(b'N', "WARNING", "57P02");
        let expected = Some("so it is (SQLSTATE 57P02)".to_owned());
        assert_eq!(farewell_in(&[crash]), expected);

        let plain_error = report(b'E', "ERROR", "57014");
        assert_eq!(farewell_in(&[status, plain_error]), None);
        assert_eq!(farewell_in(&[fatal[..fatal.len() - 1].to_vec()]), None);
        assert_eq!(
            farewell_in(&[b"HTTP/1.1 400 Bad Request\r\n".to_vec()]),
            None
        );
    }

    #[test]
    fn a_message_of_absurd_length_is_refused_before_memory_is_taken() {
        let mut bytes = BytesMut::from(&b"D\x7f\xff\xff\xff"[..]);
        let error = parse(&mut bytes).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("too long"), "{error}");
        assert!(bytes.capacity() < LONGEST_MESSAGE);
    }
}
