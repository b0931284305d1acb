//! Checks that something blocks, and that what blocked ends.

use crate::PATIENCE;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long something must stay blocked to count. A lock that fails to block now and then passes now and then; one that blocks never fails.
const PROBE: Duration = Duration::from_millis(30);

/// Work in another thread, which has not ended yet.
#[derive(Debug)]
#[must_use = "what blocked must end: call `wait`"]
pub struct Blocked<T> {
    result: Receiver<T>,
    thread: Option<JoinHandle<()>>,
}

/// Run this in another thread and check that it blocks.
///
/// # Panics
/// If it ends.
#[track_caller]
pub fn must_block<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Blocked<T> {
    let blocked = start(work);
    blocked.still();
    blocked
}

/// Run this in another thread.
pub fn start<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Blocked<T> {
    let (sender, result) = channel();
    let thread = thread::spawn(move || {
        // Nobody listens any more if the test has failed elsewhere.
        let _ = sender.send(work());
    });
    Blocked {
        result,
        thread: Some(thread),
    }
}

impl<T> Blocked<T> {
    /// Check that it still blocks.
    ///
    /// # Panics
    /// If it has ended.
    #[track_caller]
    pub fn still(&self) {
        match self.result.recv_timeout(PROBE) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(_) => panic!("this must block, and it ended"),
            Err(RecvTimeoutError::Disconnected) => panic!("this must block, and it panicked"),
        }
    }

    /// Wait for its end.
    ///
    /// # Panics
    /// If it does not end, or panicked.
    #[track_caller]
    pub fn wait(mut self) -> T {
        match self.result.recv_timeout(PATIENCE) {
            Ok(result) => {
                if let Some(thread) = self.thread.take() {
                    let _ = thread.join();
                }
                result
            }
            Err(RecvTimeoutError::Timeout) => panic!("this must end by now, and it still blocks"),
            Err(RecvTimeoutError::Disconnected) => panic!("what ran in another thread panicked"),
        }
    }
}

/// Wait until this is so.
///
/// # Panics
/// If it does not come to be so.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
