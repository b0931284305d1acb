//! The least of an async runtime: one future, turned by the thread that wants its end.
//!
//! For: showing that a future needs no particular runtime, and dropping it when one likes. Not for: many tasks at once; tests that want those bring a
//! runtime.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn waker() -> Waker {
    Arc::new(Unpark(thread::current())).into()
}

/// Turn it to its end.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(end) = poll_once(future.as_mut()) {
            return end;
        }
        thread::park();
    }
}

/// Turn it so long at most, and then drop it where it is. Zero: it is polled once.
pub fn turn_for<F: Future>(future: F, longest: Duration) -> Option<F::Output> {
    let start = Instant::now();
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(end) = poll_once(future.as_mut()) {
            return Some(end);
        }
        let rest = longest.checked_sub(start.elapsed())?;
        thread::park_timeout(rest);
    }
}

/// Poll it once; this thread is unparked when it is to be polled again.
pub fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&waker()))
}
