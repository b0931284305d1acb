//! Messages to and from the server, each within a deadline, and how the connection ended.
//!
//! Not for: what the messages mean. This file takes them out of the stream whole, or says why
//! there will be no more.

use std::io;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use postgres_protocol::message::backend::{Header, Message};
use postgres_protocol::message::frontend;

use super::dial::{Peer, dial};
use super::error::{ErrorKind, Report, SessionError, unreachable};
use crate::config::Address;
use crate::sys::Stream;

/// No answer to a question about locks comes near this; it keeps a server that is none from
/// making us allocate gigabytes.
const LONGEST_MESSAGE: usize = 16 << 20;

/// One connection. Once it has ended, every call says why.
pub(super) struct Wire {
    pub(super) stream: Stream,
    peer: Peer,
    pub(super) address: String,
    /// Bytes received and not yet understood: mostly the start of a message.
    incoming: BytesMut,
    pub(super) over: Option<SessionError>,
}

impl Wire {
    pub(super) fn dial(address: &Address, deadline: &Deadline) -> Result<Wire, SessionError> {
        let name = address.to_string();
        match dial(address, deadline) {
            Ok((stream, peer)) => Ok(Wire {
                stream,
                peer,
                address: name,
                incoming: BytesMut::new(),
                over: None,
            }),
            Err(error) => Err(unreachable(&name, &error)),
        }
    }

    pub(super) fn usable(&self) -> Result<(), SessionError> {
        match &self.over {
            Some(over) => Err(over.clone()),
            None => Ok(()),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8], deadline: &Deadline) -> Result<(), SessionError> {
        write_all(&self.stream, bytes, deadline).map_err(|error| {
            // A server that hung up may have said why before it went.
            let error = match self.is_closed() {
                Some(reason) => SessionError::new(ErrorKind::Unreachable, reason),
                None => unreachable(&self.address, &error),
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
        let read = retry(|| self.stream.read_within(&mut chunk, deadline.left()?));
        self.received(&chunk, read)
    }

    /// Takes what is there, without waiting; `false` if nothing is.
    pub(super) fn more_now(&mut self) -> Result<bool, SessionError> {
        let mut chunk = [0; 8192];
        let read = retry(|| self.stream.read_now(&mut chunk));
        self.received(&chunk, read)
    }

    fn received(&mut self, chunk: &[u8], read: io::Result<usize>) -> Result<bool, SessionError> {
        match read {
            Ok(0) => Err(self.hung_up(None)),
            Ok(count) => {
                self.incoming.extend_from_slice(&chunk[..count]);
                Ok(true)
            }
            Err(error) if is_timeout(&error) => Ok(false),
            Err(error) => Err(self.hung_up(Some(&error))),
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
        let brought = self.peer.dial(deadline).and_then(|stream| {
            write_all(&stream, &request, deadline)?;
            // The server hangs up once it has passed the request on.
            read_to_end(&stream, deadline)
        });
        brought.map_err(|error| unreachable(&self.address, &error))
    }

    /// Whether the connection has ended, and why. Neither waits nor takes anything from the
    /// socket.
    pub(super) fn is_closed(&self) -> Option<String> {
        if let Some(over) = &self.over {
            return Some(over.to_string());
        }
        let mut bytes = self.incoming.clone();
        let mut chunk = [0; 16384];
        let end = match retry(|| self.stream.peek_now(&mut chunk)) {
            Ok(0) => Some(self.hangup_text(None)),
            Ok(count) => {
                bytes.extend_from_slice(&chunk[..count]);
                match retry(|| self.stream.hung_up()) {
                    Ok(false) => None,
                    Ok(true) => Some(self.hangup_text(None)),
                    Err(error) => Some(self.hangup_text(Some(&error))),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(self.hangup_text(Some(&error))),
        };
        let farewell = farewell(bytes).map(|report| self.complaint(&report).to_string());
        farewell.or(end)
    }

    /// Says farewell and ends the connection for every handle of it.
    pub(super) fn close(self) {
        let mut farewell = BytesMut::new();
        frontend::terminate(&mut farewell);
        // A server that is gone already needs no farewell, and one that does not take five
        // bytes sees the end of the connection instead.
        let _ = self
            .stream
            .write_within(&farewell, Duration::from_millis(100));
        let _ = self.stream.shutdown();
    }

    /// Remembers that the connection is of no more use.
    pub(super) fn end(&mut self, error: SessionError) -> SessionError {
        self.over.insert(error).clone()
    }

    pub(super) fn too_late(&mut self, deadline: &Deadline) -> SessionError {
        let error = unreachable(&self.address, &deadline.missed());
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

    fn hung_up(&mut self, error: Option<&io::Error>) -> SessionError {
        let text = self.hangup_text(error);
        self.end(SessionError::new(ErrorKind::Unreachable, text))
    }

    fn hangup_text(&self, error: Option<&io::Error>) -> String {
        let address = &self.address;
        match error {
            Some(error) => format!("the connection to PostgreSQL at {address} broke: {error}"),
            None => format!("PostgreSQL at {address} closed the connection"),
        }
    }
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

fn write_all(stream: &Stream, mut bytes: &[u8], deadline: &Deadline) -> io::Result<()> {
    while !bytes.is_empty() {
        match retry(|| stream.write_within(bytes, deadline.left()?)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if is_timeout(&error) => return Err(deadline.missed()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn read_to_end(stream: &Stream, deadline: &Deadline) -> io::Result<()> {
    let mut chunk = [0; 256];
    loop {
        match retry(|| stream.read_within(&mut chunk, deadline.left()?)) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) if is_timeout(&error) => return Err(deadline.missed()),
            Err(error) => return Err(error),
        }
    }
}

/// Repeats what a signal interrupted. Callers have a deadline, or do not wait.
fn retry<T>(mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match work() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// A socket's own time limit shows as either, depending on the system.
fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// When the network must have answered.
pub(super) struct Deadline {
    at: Instant,
    allowed: Duration,
}

impl Deadline {
    pub(super) fn after(allowed: Duration) -> Deadline {
        // A limit that no clock can hold is as good as a year.
        let year = Duration::from_secs(365 * 24 * 3600);
        Deadline {
            at: now() + allowed.min(year),
            allowed,
        }
    }

    /// The time that is left, which is not zero.
    pub(super) fn left(&self) -> io::Result<Duration> {
        match self.at.checked_duration_since(now()) {
            Some(left) if !left.is_zero() => Ok(left),
            _ => Err(self.missed()),
        }
    }

    pub(super) fn missed(&self) -> io::Error {
        let text = format!("no answer within {:?}", self.allowed);
        io::Error::new(io::ErrorKind::TimedOut, text)
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a pause of the whole machine is not to count: while it lasts, nothing can be read"
)]
fn now() -> Instant {
    Instant::now()
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

    #[test]
    fn a_limit_too_large_for_the_clock_is_no_panic() {
        assert!(Deadline::after(Duration::MAX).left().is_ok());
        assert!(Deadline::after(Duration::ZERO).left().is_err());
    }
}
