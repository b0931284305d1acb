//! Ctrl-C during a wait: Python's own signal handlers run as soon as the sleep ends, and what they raise ends the wait.
//!
//! A signal that no handler raises for changes nothing: the wait goes on.

use pyo3::prelude::*;
use sneck::{Event, Interrupt, Observer};
use std::sync::{Arc, Mutex, PoisonError};

/// What a signal handler raised. Handlers run in the main thread only, so there is at most one at a time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Raised(Arc<Mutex<Option<PyErr>>>);

impl Raised {
    pub(crate) fn take(&self) -> Option<PyErr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Observer for Raised {
    fn notice(&self, _event: &Event<'_>) {}

    fn interrupted(&self) -> Interrupt {
        self.about_to_sleep()
    }

    /// Python remembers which signals came.
    fn about_to_sleep(&self) -> Interrupt {
        match Python::try_attach(|py| py.check_signals()) {
            Some(Err(raised)) => {
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(raised);
                Interrupt::GiveUp
            }
            _ => Interrupt::Resume,
        }
    }
}
