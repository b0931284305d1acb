//! What only the interpreter itself can tell, and no safe call asks.

use pyo3::ffi;

/// Whether this is the interpreter that the process began with.
pub(crate) fn is_main_interpreter() -> bool {
    // SAFETY: modules are imported with the GIL held, by a thread that has an interpreter.
    let current = unsafe { ffi::PyInterpreterState_Get() };
    // SAFETY: as above, and this one lives: it is importing us.
    let number = unsafe { ffi::PyInterpreterState_GetID(current) };
    // The first one has the number 0 for as long as there is a Python.
    number == 0
}
