//! What children are told that only Unix can do.
//!
//! | command | answers |
//! |---|---|
//! | `fork-and-release NAME`, `fork-and-stay`, `fork-and-acquire TIMES` | `forked` |
//! | `handle-signal`, `block-and-raise`, `no-timers`, `exhaust-inotify`, `user UID` | `done` |
//! | `signals` | `signals`, as the kernel writes them |

use crate::child::{Session, Start, say};
use crate::sys;
use crate::{PATIENCE, Setup};
use sneck::Guard;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

impl Start {
    /// Every signal is blocked from the beginning.
    #[must_use]
    pub fn with_signals_blocked(mut self) -> Start {
        sys::block_all_signals(&mut self.command);
        self
    }
}

/// Do it. False: this is no command.
pub(crate) fn obey(session: &mut Session, words: &[&str]) -> bool {
    match words {
        ["fork-and-release", name] => {
            let mut guard = Some(session.guard(name));
            let released = sys::fork(|| match guard.take().map(Guard::release) {
                // It is the parent's: the copy says so.
                Some(Err(error)) if error.kind() == sneck::ErrorKind::Lost => 0,
                _ => 1,
            });
            let released = released.wait();
            let dropped = sys::fork(|| {
                drop(guard.take());
                0
            });
            say(&format!("forked {} {released}", dropped.wait()));
            session
                .guards
                .extend(guard.map(|g| ((*name).to_owned(), g)));
        }
        ["fork-and-stay"] => {
            let child = sys::fork(|| {
                sys::until_hangup();
                0
            });
            say(&format!("forked {}", child.leave()));
        }
        ["fork-and-acquire", times] => {
            let bad = fork_and_acquire(&session.setup, times.parse().expect("a number"));
            say(&format!("forked {bad}"));
        }
        ["handle-signal"] => {
            sys::handle_signal();
            say("done");
        }
        ["block-and-raise"] => {
            sys::block_and_raise();
            say("done");
        }
        ["signals"] => say(&format!("signals {}", sys::signal_state())),
        ["no-timers"] => {
            sys::no_timers();
            say("done");
        }
        ["exhaust-inotify"] => say(&format!("done {}", sys::exhaust_inotify())),
        ["user", uid] => {
            sys::become_user(uid.parse().expect("a number"));
            say("done");
        }
        _ => return false,
    }
    true
}

/// While other threads acquire and release without a pause, fork, and acquire in the child: the threads that held this or that mutex are not there.
/// Each time with a fresh handle that all of them use, so that its first use falls together with the fork now and then. Returns how many children failed.
fn fork_and_acquire(setup: &Setup, times: usize) -> usize {
    let stop = AtomicBool::new(false);
    let current = Mutex::new(Arc::new(setup.lock()));
    let handle = || {
        current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    };
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    drop(handle().acquire_within(Duration::from_millis(5)));
                }
            });
        }
        let bad = (0..times).filter(|_| {
            let fresh = Arc::new(setup.lock());
            *current.lock().unwrap_or_else(PoisonError::into_inner) = fresh.clone();
            let child = sys::fork(|| match fresh.acquire_within(PATIENCE) {
                Ok(guard) => i32::from(guard.release().is_err()),
                Err(_) => 2,
            });
            child.wait() != 0
        });
        let bad = bad.count();
        stop.store(true, Ordering::Relaxed);
        bad
    })
}
