//! Waits that a signal handler interrupts: one without SA_RESTART, as a program that wants to be told installs it. Ctrl-C in Python is one.
//!
//! Not for: signals that end the process, and the program's own masks (`tests/signals.rs` of the library).

use crate::{Blocked, block, sys};
use sneck::{Event, Interrupt, Observer};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

/// Counts what it is told, and answers as it is set up to.
#[derive(Debug)]
struct Asked {
    waits: AtomicUsize,
    interrupted: AtomicUsize,
    thread: AtomicI32,
    answer: Interrupt,
}

/// The observer of a wait that is to be interrupted.
#[derive(Debug, Clone)]
pub struct Watching(Arc<Asked>);

impl Watching {
    /// One that answers so when it is asked.
    pub fn new(answer: Interrupt) -> Watching {
        Watching(Arc::new(Asked {
            waits: AtomicUsize::new(0),
            interrupted: AtomicUsize::new(0),
            thread: AtomicI32::new(0),
            answer,
        }))
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.0.interrupted.load(Ordering::SeqCst)
    }

    /// The thread that waits, once it does.
    ///
    /// # Panics
    /// If it does not come to wait.
    #[track_caller]
    pub fn waiting_thread(&self) -> i32 {
        block::until("it waits", || self.0.waits.load(Ordering::SeqCst) > 0);
        self.0.thread.load(Ordering::SeqCst)
    }

    /// Run this wait in another thread, see that it blocks, and interrupt it until this observer is asked once more.
    ///
    /// # Panics
    /// If it does not block, or nobody is asked.
    #[track_caller]
    pub fn interrupt<T: Send + 'static>(
        &self,
        wait: impl FnOnce() -> T + Send + 'static,
    ) -> Blocked<T> {
        sys::handle_signal();
        let waiter = block::start(wait);
        let thread = self.waiting_thread();
        waiter.still();
        self.interrupt_again(thread);
        waiter
    }

    /// Interrupt the thread that waits until this observer is asked once more; how many signals that took.
    ///
    /// # Panics
    /// If nobody is asked.
    #[track_caller]
    pub fn interrupt_again(&self, thread: i32) -> usize {
        let (own, before) = (std::process::id(), self.asked());
        let there = format!("/proc/self/task/{thread}");
        let (mut tries, mut sent) = (0, 0);
        block::until("the observer is asked", || {
            let done = self.asked() > before;
            // Once it sleeps one is enough: none is lost. But a thread can be seen asleep that is just about to wake, try, and sleep again.
            let due = tries % 25 == 0 && sys::sleeps(own, thread);
            if !done && (due || (tries > 0 && sent == 0)) && Path::new(&there).exists() {
                sys::signal_thread(thread);
                sent += 1;
            }
            tries += 1;
            done
        });
        sent
    }
}

impl Observer for Watching {
    fn notice(&self, event: &Event<'_>) {
        if matches!(event, Event::Waiting { .. }) {
            let thread = sys::thread_number();
            self.0.thread.store(thread, Ordering::SeqCst);
            self.0.waits.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn interrupted(&self) -> Interrupt {
        self.0.interrupted.fetch_add(1, Ordering::SeqCst);
        self.0.answer
    }
}
