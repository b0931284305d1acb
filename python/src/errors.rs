//! The library's one error, told as one of the package's exceptions.
//!
//! Not for: the exceptions themselves, which are Python: `sneck/_errors.py`.

use crate::equipment::equipment;
use crate::holder::Holder;
use crate::options;
use pyo3::prelude::*;
use sneck::{Error, ErrorKind, Place, Sighting};
use std::error::Error as _;
use std::io;

/// The exception that says this.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    let holders: Vec<Holder> = error.holders().iter().map(Holder::from).collect();
    let place = error.place().map(ToString::to_string);
    let path = error.place().map(options::path);
    let facts = (
        name(error.kind()),
        error.to_string(),
        path,
        place,
        holders,
        error.advice(),
        errno(error),
    );
    make(py, facts)
}

/// It came on the way out of a block that raised something itself: that stays known, as where the interpreter raises.
pub(crate) fn after(error: PyErr, py: Python<'_>, before: Option<&Bound<'_, PyAny>>) -> PyErr {
    if let Some(before) = before {
        // What cannot be told is not worth hiding the error for.
        let _ = error.value(py).setattr("__context__", before);
    }
    error
}

/// What stands there is no lock that could be held or free.
pub(crate) fn cannot_see(py: Python<'_>, place: &Place, seen: Sighting) -> PyErr {
    let error = |kind, what: String| Error::new(kind, "look", what).at(place);
    let error = match seen {
        Sighting::Damaged { what, .. } => {
            error(ErrorKind::Damaged, format!("damaged claim: {what}"))
                .advise("if no program uses this lock, remove it by hand or by force")
        }
        Sighting::Foreign { what } => error(
            ErrorKind::Foreign,
            format!("this is {what}, not a lock of protocol {}", place.scheme()),
        )
        .advise("nothing was changed; name another file"),
        Sighting::Unknown { why } => {
            error(ErrorKind::Io, format!("it cannot be seen from here: {why}"))
        }
        _ => error(ErrorKind::Io, "it cannot be seen".to_owned()),
    };
    raise(py, &error)
}

/// Not held: the one failure that the library cannot have, since there a guard is the proof.
pub(crate) fn not_held(py: Python<'_>, place: &Place, why: &str) -> PyErr {
    let message = format!("{place}: cannot release: {why}");
    let nobody: Vec<Holder> = Vec::new();
    let path = Some(options::path(place));
    let facts = (
        "not_held",
        message,
        path,
        Some(place.to_string()),
        nobody,
        None::<&str>,
        None::<i32>,
    );
    make(py, facts)
}

fn make<'py>(py: Python<'py>, facts: impl pyo3::call::PyCallArgs<'py>) -> PyErr {
    let made = equipment(py).and_then(|equipment| equipment.exception.bind(py).call1(facts));
    match made {
        Ok(exception) => PyErr::from_value(exception),
        Err(failure) => failure,
    }
}

/// What `from_native` knows it by.
fn name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Busy | ErrorKind::TimedOut => "timeout",
        ErrorKind::Reentrant => "reentrant",
        ErrorKind::Foreign => "foreign",
        ErrorKind::Damaged => "damaged",
        ErrorKind::Lost => "lost",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Usage => "usage",
        ErrorKind::NoPermission => "no_permission",
        ErrorKind::CannotCreate => "cannot_create",
        ErrorKind::Unreachable => "unreachable",
        ErrorKind::Io => "io",
        _ => "other",
    }
}

fn errno(error: &Error) -> Option<i32> {
    let mut cause = error.source();
    while let Some(error) = cause {
        let os = error.downcast_ref::<io::Error>();
        if let Some(number) = os.and_then(io::Error::raw_os_error) {
            return Some(number);
        }
        cause = error.source();
    }
    None
}
