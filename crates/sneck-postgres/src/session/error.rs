//! What can go wrong with a session, and what the server says when it does.
//!
//! Words that come from the server are made harmless for a terminal. Not for: what an error means for a lock.

use std::fmt;
use std::io;

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorFields;

/// What went wrong, as far as a caller has to tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No server answers, or it stopped answering, or it ended the session, or it has no connection to spare.
    Unreachable,
    /// The server answers, and does not allow it: the user, the password, the database, a privilege. Or one side does not trust the other's certificate.
    Refused,
    /// The server answers that the statement failed; [`SessionError::sqlstate`] says how.
    Server,
    /// What answers is not PostgreSQL, or not PostgreSQL alone, or the session was used wrongly.
    Protocol,
    /// The server is older than [`OLDEST`].
    TooOld,
    /// A file of ours that the place asks for, a certificate or a key, is of no use.
    Setup,
}

/// The oldest PostgreSQL that is spoken to.
pub const OLDEST: u32 = 14;

/// An error of a session: its text names the server and what to do, and never the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionError {
    kind: ErrorKind,
    sqlstate: Option<String>,
    text: String,
}

impl SessionError {
    pub(super) fn new(kind: ErrorKind, text: impl Into<String>) -> SessionError {
        SessionError {
            kind,
            sqlstate: None,
            text: text.into(),
        }
    }

    /// A file of ours is of no use.
    pub(crate) fn of_setup(text: impl Into<String>) -> SessionError {
        SessionError::new(ErrorKind::Setup, text)
    }

    /// The server is too old; `version` is what it says of itself.
    pub(super) fn too_old(address: &str, version: &str) -> SessionError {
        let text = format!(
            "PostgreSQL at {address} is too old: it is {version}, and {OLDEST} is the oldest that will do"
        );
        SessionError::new(ErrorKind::TooOld, text)
    }

    /// The same, and what had been tried before it.
    pub(super) fn after(mut self, before: &SessionError) -> SessionError {
        self.text = format!("{}; before that: {}", self.text, before.text);
        self
    }

    pub(super) fn from_server(report: &Report, text: String) -> SessionError {
        SessionError {
            kind: report.kind(),
            sqlstate: Some(report.sqlstate.clone()),
            text,
        }
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// PostgreSQL's code of five characters, where the server itself said what is wrong.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        self.sqlstate.as_deref()
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for SessionError {}

/// For what the messages have no way to say, such as a NUL character.
pub(super) fn not_sayable(error: &io::Error) -> SessionError {
    let text = format!("PostgreSQL cannot be asked this: {error}");
    SessionError::new(ErrorKind::Protocol, text)
}

/// What the network or TLS came to.
pub(super) fn of_net(error: &sneck_net::Error, address: &str) -> SessionError {
    let why = error.why();
    match error.kind() {
        sneck_net::ErrorKind::Refused => {
            let text = format!("PostgreSQL at {address} is not logged in to: {why}");
            SessionError::new(ErrorKind::Refused, text)
        }
        sneck_net::ErrorKind::Protocol => {
            let text = format!("PostgreSQL at {address} cannot be spoken to: {why}");
            SessionError::new(ErrorKind::Protocol, text)
        }
        sneck_net::ErrorKind::Setup => SessionError::of_setup(error.to_string()),
        _ => unreachable(address, why),
    }
}

pub(super) fn unreachable(address: &str, why: &str) -> SessionError {
    let text = format!(
        "PostgreSQL at {address} cannot be reached: {why}; check that the server runs there and \
         that nothing stands between"
    );
    SessionError::new(ErrorKind::Unreachable, text)
}

/// What the server says in an error or a notice.
#[derive(Default)]
pub(super) struct Report {
    severity: String,
    pub(super) sqlstate: String,
    pub(super) message: String,
}

impl Report {
    pub(super) fn read(mut fields: ErrorFields<'_>) -> Report {
        let mut report = Report::default();
        // A field that cannot be read ends the report; the ones before it still count.
        while let Ok(Some(field)) = fields.next() {
            let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                // The severity that is not translated; servers before 9.6 have only `S`.
                b'V' => report.severity = value,
                b'S' if report.severity.is_empty() => report.severity = value,
                b'C' => report.sqlstate = value,
                b'M' => report.message = value,
                _ => {}
            }
        }
        report
    }

    /// Whether these are the last words of the session. A server that stops because another of
    /// its processes crashed calls that a warning.
    pub(super) fn is_farewell(&self) -> bool {
        self.ends_session() || self.sqlstate == "57P02"
    }

    pub(super) fn ends_session(&self) -> bool {
        matches!(self.severity.as_str(), "FATAL" | "PANIC")
    }

    fn kind(&self) -> ErrorKind {
        match self.sqlstate.as_str() {
            "3D000" | "42501" => ErrorKind::Refused,
            state if state.starts_with("28") => ErrorKind::Refused,
            // 53: the table of connections is full, for one.
            state
                if ["57P", "08", "53"]
                    .iter()
                    .any(|class| state.starts_with(class)) =>
            {
                ErrorKind::Unreachable
            }
            _ => ErrorKind::Server,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clean = sneck::text::clean;
        write!(
            f,
            "{} (SQLSTATE {})",
            clean(&self.message),
            clean(&self.sqlstate)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::parse;
    use super::super::wire::tests::report;
    use super::*;
    use bytes::BytesMut;
    use postgres_protocol::message::backend::Message;

    #[test]
    fn sqlstates_are_sorted_into_kinds() {
        for (sqlstate, kind) in [
            ("28P01", ErrorKind::Refused),
            ("28000", ErrorKind::Refused),
            ("3D000", ErrorKind::Refused),
            ("42501", ErrorKind::Refused),
            ("57P01", ErrorKind::Unreachable),
            ("57P05", ErrorKind::Unreachable),
            ("53300", ErrorKind::Unreachable),
            ("57014", ErrorKind::Server),
            ("42601", ErrorKind::Server),
        ] {
            let bytes = report(b'E', "ERROR", sqlstate);
            let mut bytes = BytesMut::from(&bytes[..]);
            let Ok(Some(Message::ErrorResponse(body))) = parse(&mut bytes) else {
                panic!("an error was expected");
            };
            assert_eq!(Report::read(body.fields()).kind(), kind, "{sqlstate}");
        }
    }
}
