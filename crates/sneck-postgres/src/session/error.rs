//! What can go wrong with a session, and what the server says when it does.
//!
//! Words that come from the server are passed on as they came; whoever prints them to a terminal
//! makes them harmless first. Not for: what an error means for a lock.

use std::fmt;
use std::io;

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorFields;

/// What went wrong, as far as a caller has to tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No server answers, or it stopped answering, or it ended the session.
    Unreachable,
    /// The server answers, and does not allow it: the user, the password, the database, or a
    /// privilege.
    Refused,
    /// The server answers that the statement failed; [`SessionError::sqlstate`] says how.
    Server,
    /// What answers is not PostgreSQL, or not PostgreSQL alone, or the session was used wrongly.
    Protocol,
}

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

pub(super) fn unreachable(address: &str, error: &io::Error) -> SessionError {
    let text = format!(
        "PostgreSQL at {address} cannot be reached: {error}; check that the server runs there and \
         that nothing stands between"
    );
    SessionError::new(ErrorKind::Unreachable, text)
}

/// What the server says in an error or a notice.
#[derive(Default)]
pub(super) struct Report {
    severity: String,
    pub(super) sqlstate: String,
    message: String,
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
            state if state.starts_with("57P") || state.starts_with("08") => ErrorKind::Unreachable,
            _ => ErrorKind::Server,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.sqlstate)
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
