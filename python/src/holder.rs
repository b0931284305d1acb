//! Who holds a lock, as Python sees it.

use crate::options;
use pyo3::IntoPyObjectExt as _;
use pyo3::prelude::*;
use std::hash::{Hash, Hasher};
use std::time::{Duration, SystemTime};

/// Who holds a lock, as far as it is known: None stands for what nobody said.
///
/// The strings are as foreign programs wrote them; `str(holder)` is one line that is safe for a terminal.
/// Two of them are equal if they tell of the same holder.
#[pyclass(frozen, eq, hash, module = "sneck", from_py_object)]
#[derive(Debug, Clone)]
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
    /// A word of its own for those who look, such as "nightly backup".
    #[pyo3(get)]
    label: Option<String>,
    /// Its fencing token, where those who look can see it.
    #[pyo3(get)]
    token: Option<u64>,
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
    protocol: Option<String>,
    /// Who says all this: "the lock file", "the kernel", "the server", "this process".
    #[pyo3(get)]
    source: String,
    shown: String,
}

/// To the microsecond: what is pickled comes back the same.
fn as_python_has_it(point: SystemTime) -> SystemTime {
    let Ok(since) = point.duration_since(SystemTime::UNIX_EPOCH) else {
        return point;
    };
    point - Duration::from_nanos(u64::from(since.subsec_nanos() % 1000))
}

/// All of it, for pickle.
type Facts = (
    (Option<u32>, Option<String>, Option<String>, Option<String>),
    (Option<String>, Option<u64>),
    (Option<SystemTime>, Option<SystemTime>),
    Option<String>,
    Option<String>,
    String,
);

impl Holder {
    /// What one look and the next have in common. When a process started is counted back from now, and comes out a little different each time; how long ago
    /// that was, as it is shown, always does.
    fn lasting(&self) -> impl Eq + Hash + '_ {
        let who = (self.pid, &self.host, &self.user, &self.command);
        let own = (&self.label, self.token);
        (
            who,
            own,
            self.since,
            self.mode,
            &self.protocol,
            &self.source,
        )
    }
}

impl PartialEq for Holder {
    fn eq(&self, other: &Holder) -> bool {
        self.lasting() == other.lasting()
    }
}

impl Eq for Holder {}

impl Hash for Holder {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.lasting().hash(state);
    }
}

impl From<&sneck::Holder> for Holder {
    fn from(holder: &sneck::Holder) -> Holder {
        Holder {
            pid: holder.pid,
            host: holder.host.clone(),
            user: holder.user.clone(),
            command: holder.command.clone(),
            label: holder.label.clone(),
            token: holder.token,
            since: holder.since.map(as_python_has_it),
            started: holder.started.map(as_python_has_it),
            mode: holder.mode.map(options::mode_name),
            protocol: holder.protocol.map(str::to_owned),
            source: holder.source.to_string(),
            shown: holder.to_string(),
        }
    }
}

#[pymethods]
impl Holder {
    /// One that was pickled.
    #[staticmethod]
    #[pyo3(name = "_of")]
    fn of(facts: Facts, shown: String) -> PyResult<Holder> {
        let (who, (label, token), (since, started), mode, protocol, source) = facts;
        let (pid, host, user, command) = who;
        Ok(Holder {
            pid,
            host,
            user,
            command,
            label,
            token,
            since,
            started,
            mode: mode
                .map(|word| options::mode(&word).map(options::mode_name))
                .transpose()?,
            protocol,
            source,
            shown,
        })
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let call = py.get_type::<Holder>().getattr("_of")?;
        let facts = (
            (self.pid, &self.host, &self.user, &self.command),
            (&self.label, self.token),
            (self.since, self.started),
            self.mode,
            &self.protocol,
            &self.source,
        );
        (call, (facts, &self.shown)).into_bound_py_any(py)
    }

    fn __str__(&self) -> &str {
        &self.shown
    }

    fn __repr__(&self) -> String {
        format!("<sneck.Holder {}>", self.shown)
    }
}
