//! What a lock is asked for in Python, read: words, seconds, paths.

use crate::recipe::local;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDelta, PyEllipsis, PyString};
use sneck::protocol::{Protocol, Reach};
use sneck::{Mode, Place, Record, Reentry, Registry, Requirement, Stale, Timeout};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Where a lock is: what the system takes for a path.
#[derive(Debug)]
pub(crate) struct Where {
    pub(crate) path: PathBuf,
    /// Whether it is written as a server's address is, `scheme://…`, in a `str`. No path needs two slashes.
    pub(crate) is_address: bool,
}

impl Where {
    fn path(path: PathBuf) -> Where {
        Where {
            path,
            is_address: false,
        }
    }
}

fn is_address(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(word)
    })
}

impl<'py> FromPyObject<'_, 'py> for Where {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Where> {
        let is_plain = object.is_instance_of::<PyString>() || object.is_instance_of::<PyBytes>();
        let given = match object.getattr_opt("__fspath__")?.filter(|_| !is_plain) {
            Some(path) => path.call0()?,
            None => object.to_owned(),
        };
        if given.is_instance_of::<PyBytes>() {
            // As Python itself reads them, on each system.
            let decode = given.py().import("os")?.getattr("fsdecode")?;
            return decode.call1((given,))?.extract().map(Where::path);
        }
        if given.is_instance_of::<PyString>() {
            let path: PathBuf = given.extract()?;
            let is_address = is_plain && path.to_str().is_some_and(is_address);
            return Ok(Where { path, is_address });
        }
        let what = format!(
            "path: a str, bytes or os.PathLike, not {}",
            object.get_type().name()?
        );
        Err(PyTypeError::new_err(what))
    }
}

/// How long to wait: seconds, or None for ever.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wait(pub(crate) Timeout);

impl<'py> FromPyObject<'_, 'py> for Wait {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Wait> {
        if object.is_none() {
            return Ok(Wait(Timeout::Forever));
        }
        let seconds: f64 = object.extract().map_err(|_| {
            PyTypeError::new_err("timeout: a number of seconds, or None to wait for ever")
        })?;
        if seconds == f64::INFINITY {
            return Ok(Wait(Timeout::Forever));
        }
        // As it comes: a number below zero or none at all is an error there.
        let wait = span(seconds).map_err(|()| {
            let what = format!(
                "timeout: {seconds:?} is not a time to wait; None waits for ever, 0 tries once"
            );
            PyValueError::new_err(what)
        })?;
        Ok(Wait(Timeout::from(wait)))
    }
}

impl Wait {
    /// As Python writes it.
    pub(crate) fn seconds(self) -> Option<f64> {
        match self.0 {
            Timeout::Forever => None,
            Timeout::Once => Some(0.0),
            Timeout::After(wait) => Some(wait.as_secs_f64()),
        }
    }
}

/// A time that the option of this name gives: in seconds or as a timedelta.
pub(crate) fn time(option: &str, given: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let senseless = || PyValueError::new_err(format!("{option}: {given} is not a length of time"));
    if given.is_instance_of::<PyDelta>() {
        return given.extract().map_err(|_| senseless());
    }
    let seconds: f64 = given.extract().map_err(|_| {
        PyTypeError::new_err(format!("{option}: a number of seconds, or a timedelta"))
    })?;
    span(seconds).map_err(|()| senseless())
}

/// What a place must be able to promise: words, or one text with commas as the command has it.
pub(crate) fn requirements(given: &Bound<'_, PyAny>) -> PyResult<Vec<Requirement>> {
    let words: Vec<String> = match given.cast::<PyString>() {
        Ok(text) => {
            let text: String = text.extract()?;
            let words = text.split(',').map(str::trim);
            words.map(str::to_owned).filter(|w| !w.is_empty()).collect()
        }
        Err(_) => given
            .try_iter()
            .and_then(|words| words.map(|word| word?.extract()).collect())
            .map_err(|_| PyTypeError::new_err("require: words such as 'durable-fencing'"))?,
    };
    words.iter().map(|word| requirement(word)).collect()
}

pub(crate) fn requirement(word: &str) -> PyResult<Requirement> {
    let known = word.parse::<Requirement>();
    known.map_err(|error| PyValueError::new_err(format!("require: {error}")))
}

fn span(seconds: f64) -> Result<Duration, ()> {
    Duration::try_from_secs_f64(seconds).map_err(|_| ())
}

/// What one call may leave to its lock, by `...`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Given<T> {
    AsTheLock,
    Own(T),
}

impl<'a, 'py, T: FromPyObject<'a, 'py, Error = PyErr>> FromPyObject<'a, 'py> for Given<T> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Given<T>> {
        if object.is_instance_of::<PyEllipsis>() {
            return Ok(Given::AsTheLock);
        }
        object.extract().map(Given::Own)
    }
}

pub(crate) fn mode(word: &str) -> PyResult<Mode> {
    match word {
        "exclusive" => Ok(Mode::Exclusive),
        "shared" => Ok(Mode::Shared),
        _ => Err(unknown("mode", word, "'exclusive' or 'shared'")),
    }
}

pub(crate) fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Exclusive => "exclusive",
        Mode::Shared => "shared",
    }
}

pub(crate) fn reentry(word: &str) -> PyResult<Reentry> {
    match word {
        "refuse" => Ok(Reentry::Refuse),
        "wait" => Ok(Reentry::Wait),
        "idempotent" => Ok(Reentry::Idempotent),
        _ => Err(unknown("reentry", word, "'refuse', 'wait' or 'idempotent'")),
    }
}

pub(crate) fn record(word: &str) -> PyResult<Record> {
    match word {
        "none" => Ok(Record::None),
        "pid" => Ok(Record::Pid),
        _ => Err(unknown("record", word, "'none' or 'pid'")),
    }
}

/// Where it is: absolute for files, a name for what is in memory, a server's address without its scheme and password, the places of several.
pub(crate) fn path(place: &Place) -> OsString {
    if place.scheme() == "memory" {
        return place.rest().to_owned();
    }
    if !is_local(place) {
        // As it is shown: whatever has a password there has it hidden.
        let shown = place.to_string();
        let address = shown.strip_prefix(place.scheme());
        let address = address.and_then(|rest| rest.strip_prefix(':'));
        return address.unwrap_or(&shown).into();
    }
    let absolute = place.absolute_path().ok();
    absolute.map_or_else(|| place.rest().to_owned(), PathBuf::into_os_string)
}

/// Whether all its protocols are of this machine. Also of what could not be read any further.
fn is_local(place: &Place) -> bool {
    let knows = |name| local().schemes().any(|scheme| scheme == name);
    place.scheme().split('+').all(knows)
}

/// The same, wherever the program goes: absolute now, if it is at a path.
pub(crate) fn settled(place: Place, registry: &Registry) -> Place {
    let is_at_a_path = |protocol: &dyn Protocol| protocol.capabilities().reach == Reach::Machine;
    match (registry.protocol(&place), place.absolute_path()) {
        (Ok(protocol), Ok(path)) if is_at_a_path(&*protocol) => Place::file(place.scheme(), path),
        // What is wrong with it is said as it was written.
        _ => place,
    }
}

/// A place in the way in which it is read again.
pub(crate) fn written(place: &Place) -> OsString {
    let mut written = OsString::from(place.scheme());
    written.push(":");
    written.push(place.rest());
    written
}

const STALE: &str = "'never', 'dead', 'likely', 'force', or an age in seconds or as a timedelta";

pub(crate) fn stale(given: &Bound<'_, PyAny>) -> PyResult<Stale> {
    if let Ok(word) = given.cast::<PyString>() {
        let word: String = word.extract()?;
        return match word.as_str() {
            "never" => Ok(Stale::Never),
            "dead" => Ok(Stale::Dead),
            "likely" => Ok(Stale::Likely),
            "force" => Ok(Stale::Force),
            other => Err(unknown("stale", other, STALE)),
        };
    }
    if given.is_instance_of::<PyDelta>() {
        let age = given.extract().map(Stale::After);
        return age.map_err(|_| PyValueError::new_err(format!("stale: {given} is no age")));
    }
    let seconds: f64 = given
        .extract()
        .map_err(|_| PyTypeError::new_err(format!("stale: {STALE}")))?;
    match span(seconds) {
        Ok(age) => Ok(Stale::After(age)),
        Err(()) => Err(PyValueError::new_err(format!(
            "stale: {seconds:?} is no age"
        ))),
    }
}

fn unknown(what: &str, word: &str, known: &str) -> PyErr {
    PyValueError::new_err(format!("{what}: '{word}' is not known; it is {known}"))
}
