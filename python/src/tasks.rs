//! Waiting without a thread: the library's future, polled by an asyncio task, and the inbox by which it calls for the next poll.
//!
//! The library wakes from threads of its own, which may hold its locks: they must never wait for the GIL. So a wake-up is a number in a list and a byte in a socket that
//! the event loop watches. Not for: event loops (`sneck/_tasks.py`).

use crate::guard::Guard;
use crate::lock::Lock;
use pyo3::prelude::*;
use sneck::{Acquiring, Deadline};
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

/// One acquisition on its way. Dropping it gives up, at any point.
#[pyclass(frozen, module = "sneck._sneck")]
#[derive(Debug)]
pub(crate) struct Waiting {
    lock: Py<Lock>,
    future: Mutex<Option<Acquiring>>,
    waker: Waker,
}

impl Waiting {
    pub(crate) fn begin(
        lock: &Bound<'_, Lock>,
        deadline: Deadline,
        inbox: &Inbox,
        number: u64,
    ) -> Waiting {
        let call = Call {
            post: inbox.post.clone(),
            number,
        };
        Waiting {
            future: Mutex::new(Some(lock.get().native().acquire_async_until(deadline))),
            lock: lock.clone().unbind(),
            waker: Waker::from(Arc::new(call)),
        }
    }
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
            Ok(guard) => Lock::keep(lock, guard).map(Some),
            Err(error) => Err(lock.get().failed(py, &error)),
        }
    }

    /// Give up: leave nothing behind.
    fn close(&self) {
        *self.future.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
