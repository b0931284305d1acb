//! Waiting without a thread: the library's future, polled by an asyncio task, and the inbox by which it calls for the next poll.
//!
//! The library wakes from threads of its own, which may hold its locks: they must never wait for the GIL. So a wake-up is a number in a list and a byte in a socket that
//! the event loop watches. Not for: event loops (`sneck/_tasks.py`).

use crate::guard::{Guard, Task};
use crate::lock::Lock;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};
use sneck::{Acquiring, Deadline, Owner};
use std::future::Future as _;
use std::io::{Read as _, Write as _};
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Where wake-ups for the tasks of one event loop arrive.
#[pyclass(frozen, module = "sneck._sneck")]
#[derive(Debug)]
pub(crate) struct Inbox {
    post: Arc<Post>,
    reader: UnixStream,
}

#[derive(Debug)]
struct Post {
    numbers: Mutex<Vec<u64>>,
    writer: UnixStream,
}

#[pymethods]
impl Inbox {
    #[new]
    fn new() -> PyResult<Inbox> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        let numbers = Mutex::default();
        let post = Arc::new(Post { numbers, writer });
        Ok(Inbox { post, reader })
    }

    /// What the event loop watches.
    fn fileno(&self) -> i32 {
        self.reader.as_raw_fd()
    }

    /// The numbers of those to poll.
    fn take(&self) -> Vec<u64> {
        // The bytes before the numbers: one that is added in between brings a byte of its own.
        let mut bytes = [0; 64];
        while matches!((&self.reader).read(&mut bytes), Ok(64)) {}
        mem::take(&mut *self.post.numbers())
    }
}

impl Post {
    fn numbers(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Call {
    post: Arc<Post>,
    number: u64,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let first = {
            let mut numbers = self.post.numbers();
            numbers.push(self.number);
            numbers.len() == 1
        };
        if first {
            // Full: then there is a byte to read already.
            let _ = (&self.post.writer).write(&[0]);
        }
    }
}

/// One acquisition on its way. Dropping it gives up, as long as there is no guard.
#[pyclass(frozen, module = "sneck._sneck")]
#[derive(Debug)]
pub(crate) struct Waiting {
    lock: Py<Lock>,
    future: Mutex<Option<Acquiring>>,
    waker: Waker,
    task: Task,
    given: Mutex<Option<Py<Guard>>>,
}

impl Waiting {
    pub(crate) fn begin(
        lock: &Bound<'_, Lock>,
        deadline: Deadline,
        inbox: &Inbox,
        number: u64,
        task: Task,
    ) -> Waiting {
        let call = Call {
            post: inbox.post.clone(),
            number,
        };
        Waiting {
            future: Mutex::new(Some(acquiring(lock.get(), deadline, task))),
            lock: lock.clone().unbind(),
            waker: Waker::from(Arc::new(call)),
            task,
            given: Mutex::default(),
        }
    }
}

/// In the name of the task, so that it is told apart from others of its thread.
pub(crate) fn acquiring(lock: &Lock, deadline: Deadline, task: Task) -> Acquiring {
    let owner = match task {
        0 => Owner::Thread,
        number => Owner::Named(number),
    };
    lock.native().acquire_async_by(owner, deadline)
}

#[pymethods]
impl Waiting {
    /// The guard, or None: not yet. Raises as `Lock.acquire`.
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Py<Guard>>> {
        let ended = {
            let mut future = self.future.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(waits) = future.as_mut() else {
                return Ok(None);
            };
            let polled = Pin::new(waits).poll(&mut Context::from_waker(&self.waker));
            let Poll::Ready(ended) = polled else {
                return Ok(None);
            };
            *future = None;
            ended
        };
        let lock = self.lock.bind(py);
        match ended {
            Ok(guard) => {
                let guard = Lock::keep(lock, guard, self.task)?;
                *self.given() = Some(guard.clone_ref(py));
                Ok(Some(guard))
            }
            Err(error) => Err(lock.get().failed(py, &error)),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.lock)
    }

    /// Give up, or back what a poll gave: nobody else has it yet.
    fn close(&self, py: Python<'_>) {
        *self.future.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let given = self.given().take();
        if let Some(guard) = given.filter(|guard| guard.get().is_ours()) {
            // What is raised already goes before what could be said here.
            let _ = Guard::end(guard.bind(py));
        }
    }
}

impl Waiting {
    fn given(&self) -> std::sync::MutexGuard<'_, Option<Py<Guard>>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
