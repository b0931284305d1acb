//! The guards that a lock keeps until they are released, and which one of them a release without a name means.
//!
//! Not for: keeping the lock itself alive meanwhile (`held.rs`).

use super::Lock;
use crate::guard::{Guard, Task};
use crate::held;
use pyo3::prelude::*;
use std::sync::PoisonError;

impl Lock {
    /// From here on it is held until somebody releases it.
    pub(crate) fn keep(
        slf: &Bound<'_, Lock>,
        guard: sneck::Guard,
        task: Task,
    ) -> PyResult<Py<Guard>> {
        let guard = Py::new(slf.py(), Guard::new(guard, slf.clone().unbind(), task))?;
        let mut guards = slf.get().guards();
        guards.push(guard.clone_ref(slf.py()));
        if guards.len() == 1 {
            held::add(slf);
        }
        Ok(guard)
    }

    /// That guard ends.
    pub(crate) fn forget(slf: &Bound<'_, Lock>, guard: &Bound<'_, Guard>) {
        // Dropped once the lists are free: with the last reference Python may run anything.
        let (_kept, _lock);
        let mut guards = slf.get().guards();
        if let Some(at) = guards.iter().position(|kept| kept.is(guard)) {
            _kept = guards.remove(at);
        }
        if guards.is_empty() {
            _lock = held::remove(slf);
        }
    }

    pub(super) fn guards(&self) -> std::sync::MutexGuard<'_, Vec<Py<Guard>>> {
        self.guards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The guard that a release without a name means: the last of this thread, or else the last of all. None: not held by this object in this process.
    pub(crate) fn latest(&self, py: Python<'_>) -> Option<Py<Guard>> {
        let guards = self.guards();
        let mut ours = guards.iter().rev().filter(|guard| guard.get().is_ours());
        let own = ours.clone().find(|guard| guard.get().is_of_this_thread());
        own.or_else(|| ours.next()).map(|guard| guard.clone_ref(py))
    }

    /// The last guard of this task.
    pub(super) fn of_task(&self, py: Python<'_>, task: Task) -> Option<Py<Guard>> {
        let own = |guard: &&Py<Guard>| guard.get().is_ours() && guard.get().is_of_task(task);
        let guards = self.guards();
        let found = guards.iter().rev().find(own).filter(|_| task != 0);
        found.map(|guard| guard.clone_ref(py))
    }

    pub(super) fn is_of_this_thread(&self) -> bool {
        let own = |guard: &Py<Guard>| guard.get().is_ours() && guard.get().is_of_this_thread();
        self.guards().iter().any(own)
    }

    /// Whether a task holds it that runs in this thread. Which other thread could release for it, nobody knows; as with threads that acquire twice.
    pub(super) fn would_stop_its_loop(&self) -> bool {
        let own = |guard: &Guard| guard.is_ours() && guard.is_of_this_thread();
        let task = |guard: &Guard| own(guard) && !guard.is_of_task(0) && guard.keeps_out();
        self.recipe.refuses && self.guards().iter().any(|guard| task(guard.get()))
    }
}
