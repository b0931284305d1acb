//! Proof of holding, as Python sees it: kept by its lock until it is released, so that no garbage collector ends it.

use crate::equipment::equipment;
use crate::errors::{after, not_held, raise};
use crate::holder::Holder;
use crate::lock::Lock;
use crate::losses::{self, Losing};
use crate::options::{Wait, mode_name};
use crate::tasks::Inbox;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};
use sneck::lease::Watch;
use sneck::{Clean, Mode, Standing, Timeout};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};

/// Proof of holding: what `Lock.acquire()` and `with lock as guard:` give.
///
/// It holds until it is released, even if nothing refers to it; leaving `with guard:` releases it. In a forked child it is a copy that holds nothing.
///
/// At a server it can be lost: when its lease is over by this process's own clock, or when somebody takes it away.
///
///     import sneck
///
///     with sneck.Lock("etcd://localhost/nightly", ttl=15) as guard:
///         guard.on_lost(lambda why: print("stop:", why))
///         for part in range(3):
///             guard.ensure_held()  # raises LockLost
///             ...  # the work; where it is written, `guard.token` is checked: `sneck.fence`
#[pyclass(frozen, module = "sneck", weakref)]
#[derive(Debug)]
pub(crate) struct Guard {
    guard: Mutex<Option<sneck::Guard>>,
    lock: Py<Lock>,
    mode: &'static str,
    clean: Clean,
    broken: Vec<Holder>,
    thread: ThreadId,
    task: Task,
}

/// Which task acquired: a number that no other task has. 0: a thread did, or a task that is nobody in particular.
pub(crate) type Task = u64;

const OVER: &str = "it was released, or this process is a fork of the holder";

impl Guard {
    pub(crate) fn new(guard: sneck::Guard, lock: Py<Lock>, task: Task) -> Guard {
        Guard {
            lock,
            mode: mode_name(guard.mode()),
            clean: guard.was_clean(),
            broken: guard.broken().iter().map(Holder::from).collect(),
            thread: thread::current().id(),
            task,
            guard: Mutex::new(Some(guard)),
        }
    }

    /// Whether it is to be released, in this process: a forked child has a copy that holds nothing.
    pub(crate) fn is_ours(&self) -> bool {
        self.look(|_| ()).is_some()
    }

    /// Whether it is what a fork left in the child.
    pub(crate) fn is_copy(&self) -> bool {
        let guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        guard.as_ref().is_some_and(sneck::Guard::is_copy)
    }

    pub(crate) fn is_of_this_thread(&self) -> bool {
        self.thread == thread::current().id()
    }

    pub(crate) fn is_of_task(&self, task: Task) -> bool {
        self.task == task
    }

    /// Whether it holds, and alone.
    pub(crate) fn keeps_out(&self) -> bool {
        self.mode == mode_name(Mode::Exclusive) && self.held()
    }

    /// Read something of the holding. None: it was released, or is a copy.
    fn look<R>(&self, look: impl FnOnce(&sneck::Guard) -> R) -> Option<R> {
        let guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        guard.as_ref().filter(|guard| !guard.is_copy()).map(look)
    }

    /// For whoever wants to be told when it is over.
    fn watch(&self, py: Python<'_>) -> PyResult<Watch> {
        self.look(sneck::Guard::watch)
            .ok_or_else(|| not_held(py, self.place(), OVER))
    }

    fn place(&self) -> &sneck::Place {
        self.lock.get().native().place()
    }

    /// Release it, once.
    pub(crate) fn end(slf: &Bound<'_, Guard>) -> PyResult<()> {
        Guard::end_by(slf, sneck::Guard::release)
    }

    fn end_by(
        slf: &Bound<'_, Guard>,
        end: impl FnOnce(sneck::Guard) -> sneck::Result<()> + Send,
    ) -> PyResult<()> {
        let this = slf.get();
        let py = slf.py();
        // None of the lock's any more before the GIL is let go: nobody else finds it there and releases it a second time.
        Lock::forget(this.lock.bind(py), slf);
        let guard = this
            .guard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match guard {
            Some(guard) if !guard.is_copy() => {
                py.detach(|| end(guard)).map_err(|error| raise(py, &error))
            }
            Some(_) => {
                let why =
                    "this process is a fork of the one that holds it, and holds nothing itself";
                Err(not_held(py, this.place(), why))
            }
            None => Err(not_held(py, this.place(), "it was released already")),
        }
    }
}

#[pymethods]
impl Guard {
    /// The lock that is held.
    #[getter]
    fn lock(&self, py: Python<'_>) -> Py<Lock> {
        self.lock.clone_ref(py)
    }

    /// "exclusive" or "shared".
    #[getter]
    fn mode(&self) -> &'static str {
        self.mode
    }

    /// Whether the last holder released it. False: it died holding it, and what the lock guards may be half done. None: this protocol leaves no trace to tell by.
    #[getter]
    fn clean(&self) -> Option<bool> {
        match self.clean {
            Clean::Yes => Some(true),
            Clean::No => Some(false),
            Clean::Unknown => None,
        }
    }

    /// Whose stale claims were removed in order to get here.
    #[getter]
    fn broken(&self) -> Vec<Holder> {
        self.broken.clone()
    }

    /// The fencing token: a number that only grows from holder to holder. None: this protocol gives none.
    #[getter]
    fn token(&self) -> Option<u64> {
        self.look(sneck::Guard::token).flatten()
    }

    /// Whether it still holds: False after its release, after the lock was lost behind our back, and in a forked child. Looks at the file system; never waits.
    #[getter]
    pub(crate) fn held(&self) -> bool {
        self.look(sneck::Guard::standing) == Some(Standing::Held)
    }

    /// Raise `LockLost` if the lock was lost behind our back, `NotHeld` if it was released or this process is a fork of the holder; otherwise do nothing. For the middle of long work.
    fn ensure_held(&self, py: Python<'_>) -> PyResult<()> {
        match self.look(sneck::Guard::ensure_held) {
            Some(held) => held.map_err(|error| raise(py, &error)),
            None => Err(not_held(py, self.place(), OVER)),
        }
    }

    /// Why it was lost behind our back; None: it was not, or it was released. Asks no server: at a place with leases it is lost at the latest when this process's own clock says so, and that is before anybody else can get it.
    #[getter]
    fn lost(&self) -> Option<String> {
        match self.look(sneck::Guard::standing) {
            Some(Standing::Lost(why)) => Some(why),
            _ => None,
        }
    }

    /// For how many seconds the lock is surely held if nothing more is heard of its server: 0 when it is over. None: no clock ends it, or it was released.
    #[getter]
    fn expires(&self) -> Option<f64> {
        let expires = self.look(sneck::Guard::expires).flatten();
        expires.map(|moment| moment.until().as_secs_f64())
    }

    /// Wait until the lock is lost, without the GIL, and give the reason. None: `timeout` (in seconds; None waits for ever) is over, or another thread released it. Ctrl-C ends the wait.
    ///
    /// A local lock that somebody removes or replaces is found out by `lost`, `held` and `ensure_held()`: nothing tells. Raises `NotHeld` if it was released already.
    #[pyo3(signature = (timeout = Wait(Timeout::Forever)), text_signature = "($self, timeout=None)")]
    fn until_lost(&self, py: Python<'_>, timeout: Wait) -> PyResult<Option<String>> {
        losses::wait(py, &self.watch(py)?, timeout.0)
    }

    /// The same for asyncio: no thread waits, and it may be cancelled at any point. None: it was released.
    ///
    /// Raises `NotHeld` if it was released already.
    fn until_lost_async<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        equipment(py)?.lost.bind(py).call1((slf,))
    }

    /// Call this once with the reason when the lock is lost; never if it is released first. In a thread of its own, which needs the GIL: whoever keeps the GIL keeps it from being called, but not from being renewed.
    ///
    /// What it raises goes to `sys.unraisablehook`. A call that has begun is waited for at the orderly end of the process. Raises `NotHeld` if it was released already.
    fn on_lost(&self, py: Python<'_>, callback: Bound<'_, PyAny>) -> PyResult<()> {
        if !callback.is_callable() {
            return Err(PyTypeError::new_err("callback: something to call"));
        }
        let watch = self.watch(py)?;
        losses::call(watch, callback.unbind()).map_err(PyErr::from)
    }

    /// Begin to wait as a task.
    #[pyo3(name = "_begin_losing")]
    fn begin_losing(
        &self,
        py: Python<'_>,
        inbox: &Bound<'_, Inbox>,
        number: u64,
    ) -> PyResult<Losing> {
        Ok(Losing::begin(&self.watch(py)?, inbox.get(), number))
    }

    /// Release it. From any thread.
    ///
    /// Raises `LockLost` if the holding had ended behind our back (whatever stands there now is left alone), `NotHeld` if it was released already or this process is a fork of the holder.
    fn release(slf: &Bound<'_, Self>) -> PyResult<()> {
        Guard::end(slf)
    }

    /// Stop holding, and leave the claim where it is, in the name of this process. For `sneck.compat`: the claims of older libraries outlive an orderly end.
    ///
    /// Raises `Unsupported` where nothing is written down that could stay (then it was released), `NotHeld` as `release()`.
    #[pyo3(name = "_leave")]
    fn leave(slf: &Bound<'_, Self>) -> PyResult<()> {
        Guard::end_by(slf, sneck::Guard::leave)
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (_kind = None, exception = None, _trace = None), text_signature = "($self, kind=None, exception=None, trace=None, /)")]
    fn __exit__(
        slf: &Bound<'_, Self>,
        _kind: Option<&Bound<'_, PyAny>>,
        exception: Option<&Bound<'_, PyAny>>,
        _trace: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        // A forked child that leaves the block has nothing to release, and it may be on its way out with an exception of its own.
        if slf.get().is_copy() {
            return Ok(());
        }
        Guard::end(slf).map_err(|error| after(error, slf.py(), exception))
    }

    /// For the garbage collector: a lock may be kept by what it calls.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.lock)
    }

    fn __repr__(&self) -> String {
        let state = match self.look(sneck::Guard::standing) {
            Some(Standing::Held) => "held",
            Some(Standing::Lost(_)) => "lost",
            _ => "released",
        };
        format!("<sneck.Guard {} {state}>", self.place())
    }
}
