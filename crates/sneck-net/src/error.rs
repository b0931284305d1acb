//! What can go wrong with a connection, in one line. Not for: what a server says that was reached.

use std::fmt;
use std::io;

/// What went wrong, as far as a caller has to tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Nobody answers, or nobody answers any more: no such host, refused, silent, gone.
    Unreachable,
    /// Somebody answers, and one side does not trust the other: certificates.
    Refused,
    /// Somebody answers, and speaks something else.
    Protocol,
    /// A file of ours, such as a certificate, is of no use; nobody was asked.
    Setup,
}

/// Why a server could not be talked to: its text is one line, which names the server and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    place: String,
    why: String,
}

impl Error {
    /// The kind, the server, and the reason.
    pub(crate) fn new(kind: ErrorKind, place: &str, why: &str) -> Error {
        Error {
            kind,
            place: place.to_owned(),
            why: why.to_owned(),
        }
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The reason alone, without the server: for sentences that name it anyway.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.why)
    }
}

impl std::error::Error for Error {}

/// The same before it is known whom it is about.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    pub(crate) why: String,
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, why: impl Into<String>) -> Failure {
        let why = why.into();
        Failure { kind, why }
    }

    pub(crate) fn at(self, place: &str) -> Error {
        Error::new(self.kind, place, &self.why)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::new(ErrorKind::Unreachable, plain(&error))
    }
}

/// The reasons that everybody meets, in the same words on every system.
pub(crate) fn plain(error: &io::Error) -> String {
    if error.get_ref().is_some() {
        return error.to_string();
    }
    let words = match error.kind() {
        io::ErrorKind::ConnectionRefused => "nobody listens there",
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
            "the connection was cut off"
        }
        io::ErrorKind::BrokenPipe => "the other side has closed the connection",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "no route leads there"
        }
        io::ErrorKind::TimedOut => "it went silent",
        io::ErrorKind::NotFound => "there is no such socket file",
        _ => return error.to_string(),
    };
    words.to_owned()
}
