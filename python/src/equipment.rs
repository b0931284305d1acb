//! What is written in Python and called from here: the exceptions, tasks, the decorator. Handed over once, when the package is imported.
//!
//! Not looked up at first use: a child that is forked while another thread is in the middle of such a look-up would wait for that thread for ever.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// What the package hands over: see `sneck/__init__.py`.
#[derive(Debug)]
pub(crate) struct Equipment {
    /// Makes an exception of what the library says.
    pub(crate) exception: Py<PyAny>,
    /// Makes a pickled lock anew.
    pub(crate) again: Py<PyAny>,
    /// Acquires as a task does.
    pub(crate) acquire: Py<PyAny>,
    /// Ends an `async with`.
    pub(crate) leave: Py<PyAny>,
    /// Waits as a task does until a lock is lost.
    pub(crate) lost: Py<PyAny>,
    /// Decorates a function.
    pub(crate) decorate: Py<PyAny>,
}

static EQUIPMENT: PyOnceLock<Equipment> = PyOnceLock::new();

/// For `sneck/__init__.py` only.
#[pyfunction]
pub(crate) fn equip(
    py: Python<'_>,
    exception: Py<PyAny>,
    again: Py<PyAny>,
    acquire: Py<PyAny>,
    leave: Py<PyAny>,
    lost: Py<PyAny>,
    decorate: Py<PyAny>,
) {
    crate::recipe::registry();
    crate::recipe::local();
    // The first import counts: a module that is loaded again hands over the same.
    let _ = EQUIPMENT.set(
        py,
        Equipment {
            exception,
            again,
            acquire,
            leave,
            lost,
            decorate,
        },
    );
}

pub(crate) fn equipment(py: Python<'_>) -> PyResult<&Equipment> {
    let missing =
        || pyo3::exceptions::PyImportError::new_err("import `sneck`, not its native half");
    EQUIPMENT.get(py).ok_or_else(missing)
}
