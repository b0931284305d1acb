//! The one error of the library: what kind, at which lock, doing what, held by whom, and what to do next.

use crate::holder::{self, Holder};
use crate::place::Place;
use crate::sys::file::{self, Meaning};
use crate::text;
use std::fmt;
use std::io;

/// The result of nearly everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it is: what a program decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Somebody else holds it, and there was no time to wait.
    Busy,
    /// Somebody else held it for all the time there was.
    TimedOut,
    /// Waiting would never end: this very thread holds it ([`crate::Reentry::Refuse`]).
    Reentrant,
    /// A signal came and the observer asked to stop waiting.
    Interrupted,
    /// What stands there is no lock of this protocol.
    Foreign,
    /// It is a lock of this protocol, but what it says makes no sense.
    Damaged,
    /// The holding ended behind the holder's back.
    Lost,
    /// This protocol, file system or platform cannot do it.
    Unsupported,
    /// The place or an option is written wrongly.
    Usage,
    /// Not allowed.
    NoPermission,
    /// The lock file could not be made: a missing folder, a full or read-only disk.
    CannotCreate,
    /// The server does not answer.
    Unreachable,
    /// The operating system failed in another way.
    Io,
}

/// Why something about a lock did not work.
///
/// `Display` is one or two sentences for a person; [`Error::kind`] is for the program; [`Error::holders`] says who is in the way.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    place: Option<Place>,
    doing: &'static str,
    what: String,
    holders: Vec<Holder>,
    advice: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A new error: its kind, what was being done ("open", "break"), and what is wrong.
    pub fn new(kind: ErrorKind, doing: &'static str, what: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            kind,
            place: None,
            doing,
            what: what.into(),
            holders: Vec::new(),
            advice: None,
            source: None,
        }))
    }

    /// An error of the operating system, sorted. The cause itself is kept with [`Error::because`].
    pub(crate) fn os(doing: &'static str, error: &io::Error) -> Error {
        let (kind, what, advice) = match file::meaning(error) {
            Meaning::NoPermission => (
                ErrorKind::NoPermission,
                "permission denied",
                Some("check the owner and mode of the file and its folders"),
            ),
            Meaning::NoParent => (
                ErrorKind::CannotCreate,
                "its folder is missing",
                Some("make the folder first; sneck makes lock files only"),
            ),
            Meaning::CannotCreate => (
                ErrorKind::CannotCreate,
                "the lock file cannot be made",
                None,
            ),
            Meaning::Unsupported => (ErrorKind::Unsupported, "not supported here", None),
            Meaning::WrongKind => (ErrorKind::Foreign, "this is no lock file", None),
            Meaning::WantsWrite | Meaning::Other => (ErrorKind::Io, "input or output failed", None),
        };
        let error = Error::new(kind, doing, format!("cannot {doing}: {what}"));
        match advice {
            Some(advice) => error.advise(advice),
            None => error,
        }
    }

    /// What stands at the place is no lock of its protocol, and was left alone.
    pub(crate) fn foreign(doing: &'static str, what: &str, place: &Place) -> Error {
        let what = format!("this is {what}, not a lock of protocol {}", place.scheme());
        Error::new(ErrorKind::Foreign, doing, what)
            .at(place)
            .advise("nothing was changed; name another file")
    }

    /// Asked for shared, where there is only exclusive.
    pub(crate) fn no_shared_mode(place: &Place) -> Error {
        let what = format!("protocol {} has no shared mode", place.scheme());
        Error::new(ErrorKind::Unsupported, "acquire", what)
            .at(place)
            .advise("take it exclusively, or use `flock`")
    }

    /// Name the lock, unless it is named already.
    #[must_use]
    pub fn at(mut self, place: &Place) -> Error {
        self.0.place.get_or_insert_with(|| place.clone());
        self
    }

    /// Name who is in the way.
    #[must_use]
    pub fn held_by(mut self, holders: Vec<Holder>) -> Error {
        self.0.holders = holders;
        self
    }

    /// Say what to do next.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Error {
        self.0.advice = Some(advice.into());
        self
    }

    /// Keep the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.0.source = Some(source.into());
        self
    }

    /// What a program decides by.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the lock is just held by somebody else: refused at once, or after all the time there was.
    pub fn is_held(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Busy | ErrorKind::TimedOut)
    }

    /// Who is in the way, as far as known.
    pub fn holders(&self) -> &[Holder] {
        &self.0.holders
    }

    /// Which lock.
    pub fn place(&self) -> Option<&Place> {
        self.0.place.as_ref()
    }

    /// What was being done.
    pub fn doing(&self) -> &'static str {
        self.0.doing
    }

    /// What to do next.
    pub fn advice(&self) -> Option<&str> {
        self.0.advice.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        if let Some(place) = &inner.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}", inner.what)?;
        if !inner.holders.is_empty() {
            write!(f, ", held by {}", holder::list(&inner.holders))?;
        }
        if let Some(source) = &inner.source {
            write!(f, ": {}", text::clean(&source.to_string()))?;
        }
        if let Some(advice) = &inner.advice {
            write!(f, "; {advice}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({}): {self}", self.0.kind, self.0.doing)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|e| e as &(dyn std::error::Error + 'static))
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match error.kind() {
            ErrorKind::Busy => io::ErrorKind::WouldBlock,
            ErrorKind::TimedOut => io::ErrorKind::TimedOut,
            ErrorKind::Reentrant => io::ErrorKind::Deadlock,
            ErrorKind::Interrupted => io::ErrorKind::Interrupted,
            ErrorKind::Foreign | ErrorKind::Usage => io::ErrorKind::InvalidInput,
            ErrorKind::Damaged => io::ErrorKind::InvalidData,
            ErrorKind::Unsupported => io::ErrorKind::Unsupported,
            ErrorKind::NoPermission => io::ErrorKind::PermissionDenied,
            ErrorKind::Unreachable => io::ErrorKind::HostUnreachable,
            ErrorKind::Lost | ErrorKind::CannotCreate | ErrorKind::Io => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
