//! The lock as Python sees it: reads what is asked for, lets go of the GIL, hands over to the library, keeps the guards.
//!
//! Not for: asyncio (`tasks.rs`, `sneck/_tasks.py`), decorating functions (`sneck/_decorator.py`).

use crate::equipment::equipment;
mod kept;

use crate::capabilities::Capabilities;
use crate::errors::{after, cannot_see, not_held, raise};
use crate::guard::{Guard, Task};
use crate::holder::Holder;
use crate::options::{self, Given, Wait, Where};
use crate::recipe::{Recipe, Wishes, callback, registry};
use crate::signals::Raised;
use crate::tasks::{Inbox, Waiting};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use sneck::protocol::Removal;
use sneck::{Cleared, Deadline, Error, ErrorKind, LockBuilder, Party, Sighting, Timeout};
use std::ffi::OsString;
use std::path::Path;
use std::sync::Mutex;

/// The protocol that is meant when none is named.
const DEFAULT: &str = "flock";

/// A lock that at most one party may hold, or any number of shared holders.
///
/// `Lock(path)` is the flock(2) lock at that path; the path is made absolute at once, and the file is made when the lock is first acquired, and stays.
/// `Lock("etcd://host/name")`, `"redis://…"`, `"postgres://…"` is a lock at a server.
///
/// protocol: how holding is written down: "flock" (as flock(1), filelock, cargo), "fcntl", "flock+fcntl", "pidfile", "shlock", "symlink" (as Twisted), "labm8", "dotlock", "mkdir", "memory".
/// mode: "exclusive" or "shared".
/// timeout: how long to wait, in seconds; None waits for ever, 0 tries once.
/// stale: which claims of others may be removed on the way: "never", "dead" (their holder is proved gone; the default), "likely" (also those whose number belongs to a younger process by now), "force" (the one in the way, whoever holds it), or an age in seconds or as a timedelta (force by age). The last two can rob the living.
/// reentry: what happens when a thread acquires what it holds already: "refuse" (raise `Reentrant`), "wait", or "idempotent" (count).
/// record: "pid": the file of a "flock" lock says `pid` while it is held, and by that `Guard.clean` is known (other protocols refuse the word); "none" leaves its content alone.
/// label: a word on what it is held for, told to others where the protocol has room for it.
/// ttl: at a place with leases, how long it lasts without a word from this process (in seconds or as a timedelta): then it is lost. A thread that needs no GIL renews it three times in between. None: what the place says, else 15 seconds.
/// lock_delay: how much longer others are kept out after a lease has ended without a release, so that whoever lost it has time to stop. None: what the place says, else 5 seconds.
/// require: what the place must be able to promise, or `Unsupported` is raised: "fencing", "durable-fencing", "fair", "shared", "lease", "survives-restart", "linearizable"; several as a list, or with commas.
/// on_wait: called once before a wait begins, with the holder or None. What it raises ends the acquisition.
///
/// Any thread may release. A held lock stays held until it is released or the process ends, even if nothing refers to it.
/// Locks can be pickled: what arrives is the same lock, not held by it. A subclass that takes other arguments does so in its `__new__`.
#[pyclass(frozen, subclass, weakref, module = "sneck")]
#[derive(Debug)]
pub(crate) struct Lock {
    lock: sneck::Lock,
    timeout: Timeout,
    on_wait: Option<Py<PyAny>>,
    raised: Raised,
    guards: Mutex<Vec<Py<Guard>>>,
    recipe: Recipe,
}

impl Lock {
    pub(crate) fn of(
        lock: sneck::Lock,
        timeout: Wait,
        on_wait: Option<Bound<'_, PyAny>>,
        raised: Raised,
        recipe: Recipe,
    ) -> PyResult<Lock> {
        Ok(Lock {
            lock,
            timeout: timeout.0,
            on_wait: callback(on_wait)?,
            raised,
            guards: Mutex::default(),
            recipe,
        })
    }

    fn timeout(&self, given: Given<Wait>) -> Timeout {
        match given {
            Given::AsTheLock => self.timeout,
            Given::Own(wait) => wait.0,
        }
    }

    /// Wait for it without the GIL.
    fn take(slf: &Bound<'_, Lock>, timeout: Timeout) -> PyResult<Py<Guard>> {
        let this = slf.get();
        let py = slf.py();
        // Once, so that what the callback does counts as waiting.
        let deadline = Deadline::from(timeout);
        if timeout == Timeout::Forever && this.would_stop_its_loop() {
            let what = "a task of this thread's event loop holds it, which cannot go on while the thread waits: waiting would never end";
            let error = Error::new(ErrorKind::Reentrant, "acquire", what).at(this.lock.place());
            return Err(raise(
                py,
                &error.advise("in a task say `async with`, or wait in a thread of its own"),
            ));
        }
        if this.on_wait.is_some() && timeout != Timeout::Once {
            match Lock::try_once(slf)? {
                Ok(guard) => return Ok(guard),
                // Where this very thread holds it, a refusal comes instead of a wait.
                Err(busy) if !this.is_of_this_thread() => {
                    this.tell_wait(py, busy.holders().first())?
                }
                Err(_) => {}
            }
        }
        let taken = py.detach(|| this.lock.acquire_until(deadline));
        match taken {
            Ok(guard) => Lock::granted(slf, guard),
            Err(error) => Err(this.failed(py, &error)),
        }
    }

    /// A thread has it. What a signal of the last moment raises would hide that from the caller: then it is given back.
    fn granted(slf: &Bound<'_, Lock>, guard: sneck::Guard) -> PyResult<Py<Guard>> {
        if let Err(raised) = slf.py().check_signals() {
            slf.py().detach(|| drop(guard));
            return Err(raised);
        }
        Lock::keep(slf, guard, 0)
    }

    /// One try. The inner error: somebody else holds it.
    fn try_once(slf: &Bound<'_, Lock>) -> PyResult<Result<Py<Guard>, Error>> {
        let this = slf.get();
        let py = slf.py();
        match py.detach(|| this.lock.try_acquire()) {
            Ok(guard) => Lock::granted(slf, guard).map(Ok),
            Err(error) if error.is_held() => Ok(Err(error)),
            Err(error) => Err(this.failed(py, &error)),
        }
    }

    fn tell_wait(&self, py: Python<'_>, holder: Option<&sneck::Holder>) -> PyResult<()> {
        if let Some(call) = &self.on_wait {
            call.call1(py, (holder.map(Holder::from),))?;
        }
        Ok(())
    }

    /// What a signal handler raised goes before the interruption that it caused.
    pub(crate) fn failed(&self, py: Python<'_>, error: &Error) -> PyErr {
        // Only then: whoever fails in another thread leaves alone what was raised in the main one.
        let interrupted = error.kind() == ErrorKind::Interrupted;
        let raised = interrupted.then(|| self.raised.take()).flatten();
        raised.unwrap_or_else(|| raise(py, error))
    }

    fn sighting(&self, py: Python<'_>) -> PyResult<Sighting> {
        let seen = py.detach(|| self.lock.holder());
        seen.map_err(|error| raise(py, &error))
    }

    /// What came of a removal: whose claim it was.
    fn cleared(&self, py: Python<'_>, cleared: sneck::Result<Cleared>) -> PyResult<Option<Holder>> {
        match cleared.map_err(|error| raise(py, &error))? {
            Cleared::Removed { holder, .. } => Ok(Some(Holder::from(&holder))),
            Cleared::Left {
                seen,
                removal: Some(why),
                ..
            } => {
                let what = format!("cannot remove the claim that stands there: {why}");
                let kind = match why {
                    Removal::NotAllowed => ErrorKind::NoPermission,
                    Removal::Unsupported => ErrorKind::Unsupported,
                    _ => ErrorKind::Busy,
                };
                let error = Error::new(kind, "break", what)
                    .at(self.lock.place())
                    .held_by(seen.holders().to_vec());
                Err(raise(py, &error))
            }
            _ => Ok(None),
        }
    }
}

#[pymethods]
impl Lock {
    #[new]
    #[pyo3(signature = (
        path, *, protocol = "flock", mode = "exclusive", timeout = Wait(Timeout::Forever), stale = None, reentry = "refuse",
        record = "none", label = None, ttl = None, lock_delay = None, require = None, on_wait = None
    ), text_signature = "(path, *, protocol='flock', mode='exclusive', timeout=None, stale='dead', reentry='refuse', record='none', label=None, ttl=None, lock_delay=None, require=(), on_wait=None)")]
    #[expect(clippy::too_many_arguments, reason = "keywords, in Python")]
    fn new<'py>(
        py: Python<'py>,
        path: Where,
        protocol: &'py str,
        mode: &'py str,
        timeout: Wait,
        stale: Option<Bound<'py, PyAny>>,
        reentry: &'py str,
        record: &'py str,
        label: Option<String>,
        ttl: Option<Bound<'py, PyAny>>,
        lock_delay: Option<Bound<'py, PyAny>>,
        require: Option<Bound<'py, PyAny>>,
        on_wait: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Lock> {
        let wishes = Wishes {
            mode,
            timeout,
            stale,
            reentry,
            record,
            label,
            ttl,
            lock_delay,
            require,
            on_wait,
        };
        if path.is_address && protocol == DEFAULT {
            return Lock::placed(py, wishes, &path.path, None);
        }
        // Where it is now: it says so after chdir too, and a pickled one means the same file elsewhere. What names no file is refused as it was written.
        let Where { path, .. } = path;
        let is_file = protocol != "memory" && path.file_name().is_some();
        let path = match std::path::absolute(&path) {
            Ok(absolute) if is_file => absolute,
            _ => path,
        };
        let make = |builder: LockBuilder| builder.file(protocol, &path);
        let arguments = (path.as_os_str(),).into_pyobject(py)?;
        wishes.make(py, make, None, arguments, &[("protocol", protocol)])
    }

    /// The lock at a place, written as for the command: `path`, `symlink:path`, `flock+fcntl:path`, `postgres://host/database/name`. The keywords are those of `Lock`.
    #[staticmethod]
    #[pyo3(signature = (
        place, *, mode = "exclusive", timeout = Wait(Timeout::Forever), stale = None, reentry = "refuse", record = "none", label = None,
        ttl = None, lock_delay = None, require = None, on_wait = None
    ), text_signature = "(place, *, mode='exclusive', timeout=None, stale='dead', reentry='refuse', record='none', label=None, ttl=None, lock_delay=None, require=(), on_wait=None)")]
    #[expect(clippy::too_many_arguments, reason = "keywords, in Python")]
    fn at<'py>(
        py: Python<'py>,
        place: Where,
        mode: &'py str,
        timeout: Wait,
        stale: Option<Bound<'py, PyAny>>,
        reentry: &'py str,
        record: &'py str,
        label: Option<String>,
        ttl: Option<Bound<'py, PyAny>>,
        lock_delay: Option<Bound<'py, PyAny>>,
        require: Option<Bound<'py, PyAny>>,
        on_wait: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Lock> {
        let wishes = Wishes {
            mode,
            timeout,
            stale,
            reentry,
            record,
            label,
            ttl,
            lock_delay,
            require,
            on_wait,
        };
        Lock::placed(py, wishes, &place.path, Some("at"))
    }

    /// Several locks as one: all or nothing, and none of them is held while it waits, so that parties who name them in another order do not wait for each other for ever. Each keeps its own protocol, mode and policy for stale claims.
    #[staticmethod]
    #[pyo3(signature = (*locks, timeout = Wait(Timeout::Forever), on_wait = None), text_signature = "(*locks, timeout=None, on_wait=None)")]
    fn all<'py>(
        py: Python<'py>,
        locks: &Bound<'py, PyTuple>,
        timeout: Wait,
        on_wait: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Lock> {
        let parts = locks.iter().map(|lock| {
            let lock = lock.cast_into::<Lock>();
            lock.map(|lock| lock.get().lock.clone())
                .map_err(|_| PyTypeError::new_err("Lock.all takes locks"))
        });
        let parts = parts.collect::<PyResult<Vec<_>>>()?;
        let raised = Raised::default();
        let keywords = PyDict::new(py);
        keywords.set_item("timeout", timeout.seconds())?;
        keywords.set_item("on_wait", &on_wait)?;
        let lock = sneck::Lock::builder()
            .timeout(timeout.0)
            .observer(raised.clone())
            .all(parts)
            .map_err(|error| raise(py, &error))?;
        let recipe = Recipe {
            call: Recipe::call(py, Some("all"))?.unbind(),
            arguments: locks.clone().unbind(),
            keywords: keywords.unbind(),
            refuses: true,
        };
        Lock::of(lock, timeout, on_wait, raised, recipe)
    }

    /// Acquire, waiting as long as `timeout` says: seconds, None for ever, 0 for one try; without it as the lock was told. Gives a `Guard`, which releases when left by `with`; `release()` does too.
    ///
    /// The wait sleeps in the kernel without the GIL, in the order of arrival, and Ctrl-C ends it at once.
    ///
    /// Raises `LockTimeout` (somebody else holds it: `holder` says who), `Reentrant` (this thread does), or another `LockError`.
    #[pyo3(signature = (timeout = Given::AsTheLock), text_signature = "($self, timeout=...)")]
    fn acquire(slf: &Bound<'_, Self>, timeout: Given<Wait>) -> PyResult<Py<Guard>> {
        Lock::take(slf, slf.get().timeout(timeout))
    }

    /// Try once. True: it is ours, until `release()`. False: somebody holds it, perhaps this very thread. Raises `LockError` if it cannot be known.
    fn try_acquire(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let this = slf.get();
        let py = slf.py();
        match py.detach(|| this.lock.try_acquire()) {
            Ok(guard) => Lock::granted(slf, guard).map(|_| true),
            Err(error) if error.is_held() || error.kind() == ErrorKind::Reentrant => Ok(false),
            Err(error) => Err(this.failed(py, &error)),
        }
    }

    /// Release what this object holds: of several holdings (shared, or counted) the last of this thread, or else the last of all. From any thread.
    ///
    /// Raises `NotHeld` if this object holds nothing, as in a forked child; `LockLost` if the holding had ended behind our back: whatever stands there now is left alone.
    fn release(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        match this.latest(slf.py()) {
            Some(guard) => Guard::end(guard.bind(slf.py())),
            None => {
                let held = slf.py().detach(|| this.lock.is_held_in_this_process());
                let why = if held {
                    "this object does not hold it; another one of this process does"
                } else {
                    "this process does not hold it"
                };
                Err(not_held(slf.py(), this.lock.place(), why))
            }
        }
    }

    /// `acquire` for asyncio: no thread waits for it, and it may be cancelled at any point.
    #[pyo3(signature = (timeout = Given::AsTheLock), text_signature = "($self, timeout=...)")]
    fn acquire_async<'py>(
        slf: &Bound<'py, Self>,
        timeout: Given<Wait>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let seconds = Wait(slf.get().timeout(timeout)).seconds();
        equipment(py)?.acquire.bind(py).call1((slf, seconds))
    }

    /// Tell `on_wait` that a task is about to wait.
    #[pyo3(name = "_tell_wait")]
    fn tell_wait_of_a_task(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        if this.on_wait.is_none() {
            return Ok(());
        }
        let seen = this.sighting(slf.py()).ok();
        let holder = seen.as_ref().and_then(|seen| seen.holders().first());
        this.tell_wait(slf.py(), holder)
    }

    /// Begin to wait as a task.
    #[pyo3(name = "_begin")]
    fn begin(
        slf: &Bound<'_, Self>,
        timeout: Wait,
        inbox: &Bound<'_, Inbox>,
        number: u64,
        task: Task,
    ) -> Waiting {
        Waiting::begin(slf, Deadline::from(timeout.0), inbox.get(), number, task)
    }

    /// The end of `async with`: of several holdings that of the task.
    #[pyo3(name = "_leave")]
    fn leave_as_a_task(
        slf: &Bound<'_, Self>,
        task: Task,
        exception: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let left = match slf.get().of_task(slf.py(), task) {
            Some(guard) => Guard::end(guard.bind(slf.py())),
            None => Lock::leave(slf),
        };
        left.map_err(|error| after(error, slf.py(), exception))
    }

    /// Who holds it right now, whoever that is; None if nobody does. Without side effects: nothing is tried, opened or removed. It may be wrong by the time you look at it. Of several shared holders it is one.
    ///
    /// Where the holder cannot be named all its facts are None. A claim whose holder is dead counts: `locked()` tells.
    /// Raises `ForeignFile`, `DamagedClaim`, or another `LockError` if it cannot be seen.
    fn holder(&self, py: Python<'_>) -> PyResult<Option<Holder>> {
        match self.sighting(py)? {
            Sighting::Free => Ok(None),
            Sighting::Held { holders, .. } => {
                let nobody = sneck::Holder::unknown(sneck::Source::Record);
                Ok(Some(Holder::from(holders.first().unwrap_or(&nobody))))
            }
            other => Err(cannot_see(py, self.lock.place(), other)),
        }
    }

    /// Whether anybody holds it right now: this process, this very object, or somebody else. A claim whose holder is proved dead does not count.
    ///
    /// What it cannot tell: whether it will be free when you acquire it. Whoever must not be disturbed acquires; `locked()` is for telling people.
    /// Raises as `holder()`.
    fn locked(&self, py: Python<'_>) -> PyResult<bool> {
        match self.sighting(py)? {
            Sighting::Free => Ok(false),
            seen @ Sighting::Held { .. } => {
                let verdict = py.detach(|| self.lock.verdict(&seen));
                Ok(!verdict.is_some_and(|verdict| verdict.is_gone()))
            }
            // Somebody is writing it, or it has to be looked at by a person: nobody can acquire it.
            Sighting::Damaged { .. } => Ok(true),
            other => Err(cannot_see(py, self.lock.place(), other)),
        }
    }

    /// Who waits for it, first the one who is next, where the place itself shows them: servers do. Of the threads and tasks of one process it is the first one. Without side effects.
    ///
    /// Raises as `holder()`.
    fn waiters(&self, py: Python<'_>) -> PyResult<Vec<Holder>> {
        let waiters = py.detach(|| self.lock.waiters());
        let waiters = waiters.map_err(|error| raise(py, &error))?;
        Ok(waiters.iter().map(Holder::from).collect())
    }

    /// Remove the claim that stands there if the lock's policy for stale claims allows; takes nothing. Gives whose it was; None: nothing stood there, or its holder is not proved dead.
    ///
    /// Raises `Unsupported` where there are no claims to remove and somebody holds it (kernel locks end with their process), `NoPermission`, `LockTimeout` (somebody else is removing it, or keeps its folder locked), `ForeignFile`, or another `LockError`.
    fn break_stale(&self, py: Python<'_>) -> PyResult<Option<Holder>> {
        let cleared = py.detach(|| self.lock.break_stale());
        self.cleared(py, cleared)
    }

    /// Remove the claim that stands there, **whoever holds it**. Gives whose it was, or None if nothing stood there. The robbed holder finds out at its release.
    ///
    /// Raises as `break_stale()`.
    fn force_release(&self, py: Python<'_>) -> PyResult<Option<Holder>> {
        let cleared = py.detach(|| self.lock.force_release());
        self.cleared(py, cleared)
    }

    /// Remove the claim that stands there in the name of the process that has this number, and no other. For `sneck.compat`.
    ///
    /// Raises `LockLost` if nothing stands there, or another's claim; otherwise as `break_stale()`.
    #[pyo3(name = "_release_for")]
    fn release_for(&self, py: Python<'_>, pid: u32) -> PyResult<()> {
        py.detach(|| self.lock.release_for(Party::process(pid)))
            .map_err(|error| raise(py, &error))
    }

    /// Whether this object holds it, in any thread or task. False after it was lost behind our back, which `release()` tells.
    #[getter]
    fn held(&self) -> bool {
        self.guards().iter().any(|guard| guard.get().held())
    }

    /// Whether this process holds it, through any object.
    #[getter]
    fn held_in_this_process(&self, py: Python<'_>) -> bool {
        // Without the GIL: another thread may be in the middle of a release at a server.
        py.detach(|| self.lock.is_held_in_this_process())
    }

    /// What the protocol can promise here.
    #[getter]
    fn capabilities(&self) -> Capabilities {
        Capabilities::from(self.lock.capabilities())
    }

    /// Where it is, absolute; a server's address, without its scheme and password; a name in memory; of several the places.
    #[getter]
    fn path(&self) -> OsString {
        options::path(self.lock.place())
    }

    /// The place as the command writes it, for a person: `symlink:/run/app.lock`.
    #[getter]
    fn place(&self) -> String {
        self.lock.place().to_string()
    }

    /// How holding is written down.
    #[getter]
    fn protocol(&self) -> &str {
        self.lock.place().scheme()
    }

    /// How long `acquire` waits when it is not told: seconds, or None for ever.
    #[getter]
    fn get_timeout(&self) -> Option<f64> {
        Wait(self.timeout).seconds()
    }

    fn __enter__(slf: &Bound<'_, Self>) -> PyResult<Py<Guard>> {
        Lock::take(slf, slf.get().timeout)
    }

    #[pyo3(signature = (_kind = None, exception = None, _trace = None), text_signature = "($self, kind=None, exception=None, trace=None, /)")]
    fn __exit__(
        slf: &Bound<'_, Self>,
        _kind: Option<&Bound<'_, PyAny>>,
        exception: Option<&Bound<'_, PyAny>>,
        _trace: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        Lock::leave(slf).map_err(|error| after(error, slf.py(), exception))
    }

    fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Lock::acquire_async(slf, Given::AsTheLock)
    }

    #[pyo3(signature = (_kind = None, exception = None, _trace = None), text_signature = "($self, kind=None, exception=None, trace=None, /)")]
    fn __aexit__<'py>(
        slf: &Bound<'py, Self>,
        _kind: Option<&Bound<'py, PyAny>>,
        exception: Option<&Bound<'py, PyAny>>,
        _trace: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        equipment(py)?.leave.bind(py).call1((slf, exception))
    }

    /// As a decorator: the function, or coroutine function, runs while the lock is held.
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        function: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        equipment(py)?.decorate.bind(py).call1((slf, function))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.get().recipe.reduce(slf)
    }

    /// For the garbage collector: what is called before a wait may keep the lock.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.on_wait)?;
        self.recipe.traverse(&visit)
    }

    fn __repr__(&self) -> String {
        let state = if self.held() { " held" } else { "" };
        let place = self.lock.place();
        match place.scheme() {
            "+" => format!("<sneck.Lock {place}{state}>"),
            _ => format!("<sneck.Lock {place:?}{state}>"),
        }
    }
}

impl Lock {
    /// At a place that is written so. `name`: by which the class is called for it.
    fn placed<'py>(
        py: Python<'py>,
        wishes: Wishes<'py>,
        written: &Path,
        name: Option<&str>,
    ) -> PyResult<Lock> {
        let place = registry().place(written);
        let place = place.map_err(|error| raise(py, &error))?;
        let place = options::settled(place, registry());
        let arguments = (options::written(&place),).into_pyobject(py)?;
        let make = |builder: LockBuilder| builder.at(&place);
        wishes.make(py, make, name, arguments, &[])
    }

    pub(crate) fn native(&self) -> &sneck::Lock {
        &self.lock
    }

    /// The end of `with`.
    fn leave(slf: &Bound<'_, Lock>) -> PyResult<()> {
        // A forked child that leaves the block has nothing to release, and it may be on its way out with an exception of its own.
        let copies = |lock: &Lock| lock.guards().iter().any(|guard| guard.get().is_copy());
        match slf.get().latest(slf.py()) {
            Some(guard) => Guard::end(guard.bind(slf.py())),
            None if copies(slf.get()) => Ok(()),
            None => Lock::release(slf),
        }
    }
}
