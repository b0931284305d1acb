//! Waiting without a thread: the library's future, polled by an asyncio task, and the inbox by which it calls for the next poll.
//!
//! The library wakes from threads of its own, which may hold its locks: they must never wait for the GIL. So a wake-up is a number in a list, and a knock: a byte in a
//! socket that the event loop watches, or what a thread sleeps on for a loop that cannot watch. Not for: event loops (`sneck/_tasks.py`).

use crate::guard::{Guard, Task};
use crate::lock::Lock;
use crate::sys::Knocker;
use pyo3::exceptions::PyNotImplementedError;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};
use sneck::{Acquiring, Deadline, Owner};
use std::future::Future as _;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Where wake-ups for the tasks of one event loop arrive.
#[pyclass(frozen, module = "sneck._sneck")]
#[derive(Debug)]
pub(crate) struct Inbox {
    post: Arc<Post>,
}

#[derive(Debug)]
struct Post {
    arrived: Mutex<Arrived>,
    knocker: Knocker,
    /// For the thread that waits here.
    news: Condvar,
}

#[derive(Debug, Default)]
struct Arrived {
    numbers: Vec<u64>,
    /// How often there was none before.
    times: u64,
    /// Who is to wait here: whoever was told an earlier number leaves.
    turn: u64,
}

#[pymethods]
impl Inbox {
    #[new]
    fn new() -> PyResult<Inbox> {
        let post = Post {
            arrived: Mutex::default(),
            knocker: Knocker::new()?,
            news: Condvar::new(),
        };
        Ok(Inbox {
            post: Arc::new(post),
        })
    }

    /// What the event loop watches. Raises NotImplementedError where there is nothing.
    fn fileno(&self) -> PyResult<i32> {
        let nothing = || PyNotImplementedError::new_err("no descriptor tells of wake-ups here");
        self.post.knocker.descriptor().ok_or_else(nothing)
    }

    /// The numbers of those to poll.
    fn take(&self) -> Vec<u64> {
        // First this: one that is added in between knocks again.
        self.post.knocker.clear();
        mem::take(&mut self.post.arrived().numbers)
    }

    /// The next one whose turn it is to wait here; whoever waits leaves.
    fn turn(&self) -> u64 {
        let mut arrived = self.post.arrived();
        arrived.turn += 1;
        self.post.news.notify_all();
        arrived.turn
    }

    /// Wait until something has arrived more often than so, without the GIL. None: it is another one's turn.
    fn wait(&self, py: Python<'_>, turn: u64, times: u64) -> Option<u64> {
        py.detach(|| self.post.wait(turn, times))
    }
}

impl Post {
    fn arrived(&self) -> MutexGuard<'_, Arrived> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a thread that waits for nothing else: signals are for others"
    )]
    fn wait(&self, turn: u64, times: u64) -> Option<u64> {
        let waits = |arrived: &mut Arrived| arrived.turn == turn && arrived.times == times;
        let arrived = self.news.wait_while(self.arrived(), waits);
        let arrived = arrived.unwrap_or_else(PoisonError::into_inner);
        (arrived.turn == turn).then_some(arrived.times)
    }
}

/// What wakes one who sleeps there.
pub(crate) struct Call {
    post: Arc<Post>,
    number: u64,
}

impl Call {
    pub(crate) fn new(inbox: &Inbox, number: u64) -> Call {
        Call {
            post: inbox.post.clone(),
            number,
        }
    }
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let post = &self.post;
        let first = {
            let mut arrived = post.arrived();
            arrived.numbers.push(self.number);
            let first = arrived.numbers.len() == 1;
            arrived.times += u64::from(first);
            first
        };
        if first {
            post.knocker.knock();
            post.news.notify_all();
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
        let call = Call::new(inbox, number);
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
