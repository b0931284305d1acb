//! The library's one error, told as one of the package's exceptions.
//!
//! Not for: the exceptions themselves, which are Python: `sneck/_errors.py`.

use crate::equipment::equipment;
use crate::holder::Holder;
use crate::options;
use pyo3::prelude::*;
use sneck::ErrorKind;
use std::error::Error as _;
use std::io;

/// The exception that says this.
pub(crate) fn raise(py: Python<'_>, error: &sneck::Error) -> PyErr {
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

/// Not held: the one failure that the library cannot have, since there a guard is the proof.
pub(crate) fn not_held(py: Python<'_>, place: &sneck::Place, why: &str) -> PyErr {
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

fn errno(error: &sneck::Error) -> Option<i32> {
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
