//! Being told that a lock was lost: by a callback, by waiting, in a task.
//!
//! The library tells from threads of its own, or from whichever finds out: they must never wait for the GIL. So a callback has a thread of its own, which sleeps until it is
//! over and takes the GIL only then; and a task is woken as one that waits for a lock is (`tasks.rs`). Not for: finding out (the library).

use crate::signals::Raised;
use crate::tasks::{Call, Inbox};
use pyo3::prelude::*;
use sneck::lease::{Lost, Outcome, Watch};
use sneck::{Observer as _, Timeout};
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

/// Callbacks that are running.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

fn reason(outcome: Outcome) -> Option<String> {
    match outcome {
        Outcome::Lost(why) => Some(why),
        Outcome::Released => None,
    }
}

/// Wait without the GIL. None: it was released, or the time is over.
pub(crate) fn wait(py: Python<'_>, watch: &Watch, timeout: Timeout) -> PyResult<Option<String>> {
    let raised = Raised::default();
    let over = py.detach(|| watch.wait_asking(timeout, || raised.about_to_sleep()));
    match raised.take() {
        Some(raised) => Err(raised),
        None => Ok(over.and_then(reason)),
    }
}

/// Call it once when the lock is lost, in a thread of its own.
pub(crate) fn call(watch: Watch, call: Py<PyAny>) -> io::Result<()> {
    let work = move || {
        let over = watch.wait(Timeout::Forever);
        let Some(why) = over.and_then(reason) else {
            return;
        };
        RUNNING.fetch_add(1, Ordering::SeqCst);
        // None: the interpreter is on its way out.
        let _ = Python::try_attach(|py| {
            if let Err(error) = call.call1(py, (why,)) {
                error.write_unraisable(py, Some(call.bind(py)));
            }
            drop(call);
        });
        RUNNING.fetch_sub(1, Ordering::SeqCst);
    };
    let thread = thread::Builder::new().name("sneck-lost".to_owned());
    thread.spawn(work).map(drop)
}

/// At the orderly end: a callback that has begun is waited for, as a thread of Python's own is. An interpreter that goes away under it would end the process with a signal.
#[expect(
    clippy::disallowed_methods,
    reason = "briefly, and signals are asked for"
)]
pub(crate) fn wait_for_callbacks(py: Python<'_>) -> PyResult<()> {
    while RUNNING.load(Ordering::SeqCst) != 0 {
        py.detach(|| thread::sleep(Duration::from_millis(5)));
        py.check_signals()?;
    }
    Ok(())
}

/// After a fork: those threads are not there.
pub(crate) fn forget_callbacks() {
    RUNNING.store(0, Ordering::SeqCst);
}

/// A task's wait for a lock to be lost.
#[pyclass(frozen, module = "sneck._sneck")]
#[derive(Debug)]
pub(crate) struct Losing {
    lost: Mutex<Option<Lost>>,
    waker: Waker,
}

impl Losing {
    pub(crate) fn begin(watch: &Watch, inbox: &Inbox, number: u64) -> Losing {
        let call = Call::new(inbox, number);
        Losing {
            lost: Mutex::new(Some(watch.lost())),
            waker: Waker::from(Arc::new(call)),
        }
    }
}

#[pymethods]
impl Losing {
    /// Why it was lost, or None where it was released, in a tuple; None: not yet.
    fn poll(&self) -> Option<(Option<String>,)> {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = Pin::new(lost.as_mut()?);
        match waits.poll(&mut Context::from_waker(&self.waker)) {
            Poll::Pending => None,
            Poll::Ready(outcome) => Some((reason(outcome),)),
        }
    }

    /// Give up.
    fn close(&self) {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
