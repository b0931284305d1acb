//! Checking fencing tokens at the resource, as Python sees it: `sneck.fence`.
//!
//! Not for: any rule of it, which is the library's.

use crate::errors::raise;
use crate::options::{Wait, Where};
use crate::signals::Raised;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PyString};
use sneck::{ErrorKind, Timeout};

/// The highest token that a resource has seen, as long as the resource's process lives. One that may be restarted keeps the number with its data, and says it here.
#[pyclass(frozen, module = "sneck.fence")]
#[derive(Debug)]
pub(crate) struct Register {
    register: sneck::fence::Register,
}

#[pymethods]
impl Register {
    #[new]
    #[pyo3(signature = (highest = 0), text_signature = "(highest=0)")]
    fn new(highest: u64) -> Register {
        Register {
            register: sneck::fence::Register::new(highest),
        }
    }

    /// Let in whoever has this token, unless somebody with a higher one was here: then raise `LockLost`. The same holder may come as often as it likes.
    ///
    /// What is changed afterwards must not overlap with what another one changes: let them in and make the change under one mutex, or in one transaction.
    fn admit(&self, py: Python<'_>, token: Token) -> PyResult<()> {
        let admitted = self.register.admit(token.0);
        admitted.map_err(|error| raise(py, &error))
    }

    /// The highest token seen.
    #[getter]
    fn highest(&self) -> u64 {
        self.register.highest()
    }

    fn __repr__(&self) -> String {
        format!("<sneck.fence.Register {}>", self.register.highest())
    }
}

/// A fencing token, as a guard gives it.
#[derive(Debug)]
pub(crate) struct Token(u64);

impl<'py> FromPyObject<'_, 'py> for Token {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Token> {
        if object.is_none() {
            let what = "token: a number, not None: a local lock gives no token; ask for one with require='fencing'";
            return Err(PyTypeError::new_err(what));
        }
        object.extract().map(Token)
    }
}

/// Replace the file at this path as a whole, for whoever has this token, unless somebody with a higher one was here: then raise `LockLost`, and nothing was changed. Nobody ever sees half of it, and it survives a crash of the machine.
///
/// Beside it stand `NAME.fence`, a lock file, and `NAME.token`, the highest token so far: remove neither. All writers have to come this way, on one machine or through a network file system that passes flock(2) on.
/// timeout: how long to wait while another one writes; None waits for ever.
///
/// Raises `LockLost`, `LockTimeout`, `DamagedClaim` (`NAME.token` holds no number), or another `LockError`.
#[pyfunction]
#[pyo3(signature = (path, data, token, *, timeout = Wait(Timeout::Forever)), text_signature = "(path, data, token, *, timeout=None)")]
pub(crate) fn replace(
    py: Python<'_>,
    path: Where,
    data: &Bound<'_, PyAny>,
    token: Token,
    timeout: Wait,
) -> PyResult<()> {
    if data.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err("data: bytes, not text: encode it"));
    }
    // A copy that nobody changes meanwhile, unless it is one already.
    let data = match data.cast::<PyBytes>() {
        Ok(bytes) => bytes.clone(),
        Err(_) => {
            let bytes = PyMemoryView::from(data)?.call_method0("tobytes")?;
            bytes.cast_into::<PyBytes>()?
        }
    };
    let content = data.as_bytes();
    let raised = Raised::default();
    let lock = sneck::Lock::builder()
        .timeout(timeout.0)
        .observer(raised.clone());
    let replaced = py.detach(|| sneck::fence::replace_by(lock, &path.path, token.0, content));
    replaced.map_err(|error| {
        let interrupted = error.kind() == ErrorKind::Interrupted;
        let raised = interrupted.then(|| raised.take()).flatten();
        raised.unwrap_or_else(|| raise(py, &error))
    })
}
