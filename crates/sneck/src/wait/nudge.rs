//! What one sleeps on that others may end: a thread in a futex, or a task with its waker.
//!
//! Not for: why it is given, and what happens then. Like every wake-up it is a hint.

use crate::sys::{Nap, futex};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// Given at most once until it is taken. At most one sleeps on it.
#[derive(Debug, Default)]
pub(crate) struct Nudge {
    given: AtomicU32,
    /// The task that sleeps on it, if a task does.
    task: Mutex<Option<Waker>>,
}

impl Nudge {
    /// Mark it as given, and wake nobody yet: [`Nudge::rouse`] is to follow.
    pub(crate) fn mark(&self) {
        self.given.store(1, Ordering::Release);
    }

    /// Wake whoever sleeps on it. Never under a mutex of ours: waking a task runs code of its runtime.
    pub(crate) fn rouse(&self) {
        futex::wake(&self.given);
        let task = self.task().take();
        if let Some(task) = task {
            // A runtime whose waker panics must not keep those asleep whom the same thread is to wake next.
            let _ = catch_unwind(AssertUnwindSafe(|| task.wake()));
        }
    }

    /// Give it, and wake.
    pub(crate) fn give(&self) {
        self.mark();
        self.rouse();
    }

    /// Whether it was given.
    pub(crate) fn is_given(&self) -> bool {
        self.given.load(Ordering::Acquire) == 1
    }

    /// Whether it was given since it was last taken.
    pub(crate) fn take(&self) -> bool {
        self.given.swap(0, Ordering::AcqRel) == 1
    }

    /// Sleep until it is given, at most so long.
    pub(crate) fn sleep(&self, longest: Duration) -> Nap {
        futex::wait(&self.given, 0, longest)
    }

    /// Wake this task from now on. True: it was given already.
    pub(crate) fn wakes(&self, task: &Waker) -> bool {
        // Whoever gives it marks it first and looks for the waker then, under the mutex; we do it the other way round: either it finds the waker, or
        // we find the mark.
        let mut waiting = self.task();
        match &mut *waiting {
            Some(known) => known.clone_from(task),
            none => *none = Some(task.clone()),
        }
        drop(waiting);
        self.is_given()
    }

    fn task(&self) -> MutexGuard<'_, Option<Waker>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
