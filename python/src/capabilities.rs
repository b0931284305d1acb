//! What a protocol can promise, as Python sees it: in the words of `sneck protocols --json`.

use crate::options;
use pyo3::prelude::*;
use sneck::Requirement;
use sneck::protocol::{
    self, Consistency, Crash, Leasing, LiveMark, Modes, Order, Reach, Removable, Restart, Tokens,
};

/// What a protocol can promise at its place: `Lock.capabilities`.
#[pyclass(frozen, eq, hash, module = "sneck")]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Capabilities {
    can: protocol::Capabilities,
}

impl std::hash::Hash for Capabilities {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.met().hash(state);
    }
}

impl From<protocol::Capabilities> for Capabilities {
    fn from(can: protocol::Capabilities) -> Capabilities {
        Capabilities { can }
    }
}

impl Capabilities {
    fn met(&self) -> Vec<String> {
        let met = Requirement::all().filter(|requirement| requirement.is_met_by(&self.can));
        met.map(|requirement| requirement.to_string()).collect()
    }

    fn times(&self) -> Option<(f64, f64)> {
        match self.can.lease {
            Leasing::None => None,
            Leasing::Leased { shortest, step } => {
                Some((shortest.as_secs_f64(), step.as_secs_f64()))
            }
        }
    }
}

#[pymethods]
impl Capabilities {
    /// Whether there is a shared mode.
    #[getter]
    fn shared(&self) -> bool {
        self.can.modes == Modes::SharedToo
    }

    /// In which order waiting processes get it: "none", "exclusive-fifo" (readers that overlap can keep a writer out), "fifo".
    #[getter]
    fn order(&self) -> &'static str {
        match self.can.order {
            Order::None => "none",
            Order::ExclusiveFifo => "exclusive-fifo",
            Order::Fifo => "fifo",
        }
    }

    /// Who is excluded: the threads of this "process", this "machine", the "network".
    #[getter]
    fn reach(&self) -> &'static str {
        match self.can.reach {
            Reach::Process => "process",
            Reach::Machine => "machine",
            Reach::Network => "network",
        }
    }

    /// What a crash of the holder leaves: a lock that is "free" at once (or after its lease), or a "stale" claim that the next one breaks.
    #[getter]
    fn crash(&self) -> &'static str {
        match self.can.crash {
            Crash::Free => "free",
            Crash::Stale => "stale",
        }
    }

    /// Whether a claim can be removed from outside.
    #[getter]
    fn removable(&self) -> bool {
        self.can.removal == Removable::Yes
    }

    /// Whether a claim of ours shows, beside its number, that its maker lives.
    #[getter]
    fn mark(&self) -> bool {
        self.can.mark == LiveMark::Yes
    }

    /// What its fencing tokens are worth: "none" (there are none), "best-effort" (they grow unless the server loses data), "durable".
    #[getter]
    fn tokens(&self) -> &'static str {
        match self.can.tokens {
            Tokens::None => "none",
            Tokens::BestEffort => "best-effort",
            Tokens::Durable => "durable",
        }
    }

    /// The shortest lease that the server takes, lock delay included, in seconds. None: a holder that falls silent keeps it.
    #[getter]
    fn shortest_lease(&self) -> Option<f64> {
        self.times().map(|(shortest, _)| shortest)
    }

    /// What a lease is rounded up to, in seconds. None: there are none.
    #[getter]
    fn lease_step(&self) -> Option<f64> {
        self.times().map(|(_, step)| step)
    }

    /// What a restart of the server leaves: "survives" (held as before), "freed" (its holders have lost it), "no-server" (there is none).
    #[getter]
    fn restart(&self) -> &'static str {
        match self.can.restart {
            Restart::NoServer => "no-server",
            Restart::Survives => "survives",
            Restart::Freed => "freed",
        }
    }

    /// Whether all see the same: "linearizable", or "until-failover" (the new server may know less than the old one).
    #[getter]
    fn consistency(&self) -> &'static str {
        match self.can.consistency {
            Consistency::Linearizable => "linearizable",
            Consistency::UntilFailover => "until-failover",
        }
    }

    /// Whether this is promised: a word as `require` takes it, such as "durable-fencing".
    fn meets(&self, requirement: &str) -> PyResult<bool> {
        Ok(options::requirement(requirement)?.is_met_by(&self.can))
    }

    fn __repr__(&self) -> String {
        format!("<sneck.Capabilities {}>", self.met().join(" "))
    }
}
