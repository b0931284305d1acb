//! What the Python package `sneck` is made of: classes that hand everything to the library and translate its answers.
//!
//! Not for: how a lock is acquired, waited for or judged (that is the library), the exceptions themselves (`sneck/_errors.py`), asyncio (`sneck/_tasks.py`).

mod capabilities;
mod equipment;
mod errors;
mod fence;
mod guard;
mod held;
mod holder;
mod lock;
mod losses;
mod options;
mod recipe;
mod signals;
mod sys;
mod tasks;

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

/// The native half of the package `sneck`: import that one.
// Guards and the lists of them lean on the GIL: a build without one turns it on again.
#[pymodule(gil_used = true)]
mod _sneck {
    use super::*;

    /// Classes are one for the whole process, and signal handlers run in the main interpreter.
    #[pymodule_init]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        if sys::is_main_interpreter() {
            return Ok(());
        }
        Err(PyImportError::new_err(
            "sneck cannot be imported in a sub-interpreter; under mod_wsgi say `WSGIApplicationGroup %{GLOBAL}`",
        ))
    }

    #[pymodule_export]
    use crate::capabilities::Capabilities;
    #[pymodule_export]
    use crate::equipment::equip;
    #[pymodule_export]
    use crate::fence::{Register, replace};
    #[pymodule_export]
    use crate::guard::Guard;
    #[pymodule_export]
    use crate::held::{forked, release_all};
    #[pymodule_export]
    use crate::holder::Holder;
    #[pymodule_export]
    use crate::lock::Lock;
    #[pymodule_export]
    use crate::losses::Losing;
    #[pymodule_export]
    use crate::tasks::{Inbox, Waiting};
}
