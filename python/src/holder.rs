//! Who holds a lock, as Python sees it.

use pyo3::prelude::*;
use std::time::SystemTime;

/// Who holds a lock, as far as it is known: None stands for what nobody said.
///
/// The strings are as foreign programs wrote them; `str(holder)` is one line that is safe for a terminal.
#[pyclass(frozen, eq, hash, module = "sneck", from_py_object)]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Holder {
    /// The process, if it is one of this machine.
    #[pyo3(get)]
    pid: Option<u32>,
    /// The machine, if the record names one: such a pid means nothing here.
    #[pyo3(get)]
    host: Option<String>,
    /// The user's name.
    #[pyo3(get)]
    user: Option<String>,
    /// The command line.
    #[pyo3(get)]
    command: Option<String>,
    /// Since when it holds (an aware datetime, UTC).
    #[pyo3(get)]
    since: Option<SystemTime>,
    /// Since when the process runs, where since when it holds is not known (an aware datetime, UTC).
    #[pyo3(get)]
    started: Option<SystemTime>,
    /// "exclusive" or "shared".
    #[pyo3(get)]
    mode: Option<&'static str>,
    /// The protocol whose claim it is, if that is not the lock's own.
    #[pyo3(get)]
    protocol: Option<&'static str>,
    /// Who says all this: "the lock file", "the kernel", "the server", "this process".
    #[pyo3(get)]
    source: String,
    shown: String,
}

impl From<&sneck::Holder> for Holder {
    fn from(holder: &sneck::Holder) -> Holder {
        Holder {
            pid: holder.pid,
            host: holder.host.clone(),
            user: holder.user.clone(),
            command: holder.command.clone(),
            since: holder.since,
            started: holder.started,
            mode: holder.mode.map(crate::options::mode_name),
            protocol: holder.protocol,
            source: holder.source.to_string(),
            shown: holder.to_string(),
        }
    }
}

#[pymethods]
impl Holder {
    fn __str__(&self) -> &str {
        &self.shown
    }

    fn __repr__(&self) -> String {
        format!("<sneck.Holder {}>", self.shown)
    }
}
