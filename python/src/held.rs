//! Locks that are held: whoever loses sight of one still holds it, until the orderly end of the process.
//!
//! Not for: what else an orderly end is (`sneck/_ends.py`).

use crate::guard::Guard;
use crate::lock::Lock;
use crate::losses;
use pyo3::prelude::*;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

type Held = Option<HashMap<usize, Py<Lock>>>;

static HELD: Mutex<Held> = Mutex::new(None);

fn held() -> MutexGuard<'static, Held> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn add(lock: &Bound<'_, Lock>) {
    let (address, lock) = (lock.as_ptr().addr(), lock.clone().unbind());
    held().get_or_insert_default().insert(address, lock);
}

/// To be dropped where Python may run anything.
#[must_use]
pub(crate) fn remove(lock: &Bound<'_, Lock>) -> Option<Py<Lock>> {
    held().as_mut()?.remove(&lock.as_ptr().addr())
}

/// Release what this process holds, at its orderly end; if other threads still run, only what this thread acquired: they are in the middle of their work until the
/// process ends, and their claims are those of a dead process then.
#[pyfunction]
pub(crate) fn release_all(py: Python<'_>, others_run: bool) -> PyResult<()> {
    let all = held().take();
    for lock in all.into_iter().flatten().map(|(_, lock)| lock) {
        while let Some(guard) = lock.get().latest(py) {
            if others_run && !guard.get().is_of_this_thread() {
                break;
            }
            // Nobody is left to hear of it.
            let _ = Guard::end(guard.bind(py));
        }
    }
    losses::wait_for_callbacks(py)
}

/// In a child that os.fork has made, before anything else of Python.
#[pyfunction]
pub(crate) fn forked() {
    losses::forget_callbacks();
}
