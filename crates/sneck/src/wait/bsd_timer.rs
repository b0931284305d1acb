//! What ends a blocking system call on macOS and FreeBSD: one thread a process, which signals sleepers at their deadlines, and again until they are out.
//!
//! POSIX timers that signal one thread are not to be had: macOS has no POSIX timers at all. Not for: when it is wanted, and the signal's handler (`kernel.rs`).

use super::kernel::{REPEAT, contains, empty_set};
use crate::sys::fork::PerProcess;
use crate::sys::{clock, futex, thread};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the thread stays when nobody sleeps.
const LINGER: Duration = Duration::from_secs(10);

/// A forked child has none of the sleepers, nor the thread.
static WARDEN: PerProcess<Warden> = PerProcess::new();

#[derive(Debug, Default)]
struct Warden {
    state: Mutex<State>,
    /// Rung when somebody is to be signalled sooner than the thread would look.
    news: AtomicU32,
}

#[derive(Debug, Default)]
struct State {
    runs: bool,
    sleepers: BTreeMap<u64, Sleeper>,
    next: u64,
    /// When the thread will look by itself, in time since boot.
    looks: Duration,
}

#[derive(Debug)]
struct Sleeper {
    thread: Thread,
    signal: libc::c_int,
    /// In time since boot. None: not started.
    due: Option<Duration>,
}

#[derive(Debug)]
struct Thread(libc::pthread_t);

// SAFETY: the name of a thread, with which any thread of the process may signal it. It is alive for as long as its sleeper is in the table: it takes itself off.
unsafe impl Send for Thread {}

/// One sleeper's place in the table. Any thread of the process may start it.
#[derive(Debug)]
pub(super) struct Timer(u64);

fn warden() -> &'static Warden {
    WARDEN.get(Warden::default)
}

impl Timer {
    /// One that signals the thread that makes it, which must delete it before it ends. None: there is no thread to be had that would do so.
    pub(super) fn of_this_thread(signal: libc::c_int) -> Option<Timer> {
        let warden = warden();
        let mut state = warden.state();
        if !state.runs {
            thread::spawn_deaf("sneck-alarm", || warden.run()).ok()?;
            state.runs = true;
            state.looks = Duration::ZERO;
        }
        state.next += 1;
        let number = state.next;
        // SAFETY: pthread_self has no preconditions.
        let thread = Thread(unsafe { libc::pthread_self() });
        let sleeper = Sleeper {
            thread,
            signal,
            due: None,
        };
        state.sleepers.insert(number, sleeper);
        Some(Timer(number))
    }

    /// The same one, for somebody who will start it before it is deleted, if at all.
    pub(super) fn again(&self) -> Timer {
        Timer(self.0)
    }

    /// Fire at this moment, and again and again from then on.
    pub(super) fn start(&self, at: Duration) -> bool {
        let warden = warden();
        let mut state = warden.state();
        let Some(sleeper) = state.sleepers.get_mut(&self.0) else {
            return false;
        };
        sleeper.due = Some(at);
        if at < state.looks {
            state.looks = at;
            warden.news.fetch_add(1, Ordering::Release);
            futex::wake(&warden.news);
        }
        true
    }

    /// No signal is sent after this.
    pub(super) fn delete(&self) {
        warden().state().sleepers.remove(&self.0);
    }
}

impl Warden {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of the thread.
    fn run(&self) {
        let mut nobody_since = None;
        loop {
            let news = self.news.load(Ordering::Acquire);
            let now = clock::since_boot();
            let mut state = self.state();
            if state.sleepers.is_empty() {
                let since = *nobody_since.get_or_insert(now);
                if now.saturating_sub(since) >= LINGER {
                    state.runs = false;
                    return;
                }
            } else {
                nobody_since = None;
            }
            let mut looks = now + LINGER;
            for sleeper in state.sleepers.values() {
                match sleeper.due {
                    Some(due) if due <= now => {
                        // SAFETY: the thread is alive, see `Thread`; the signal has a handler of ours that does nothing.
                        unsafe { libc::pthread_kill(sleeper.thread.0, sleeper.signal) };
                        looks = looks.min(now + REPEAT);
                    }
                    Some(due) => looks = looks.min(due),
                    None => {}
                }
            }
            state.looks = looks;
            drop(state);
            futex::wait(&self.news, news, looks.saturating_sub(clock::since_boot()));
        }
    }
}

/// Signals that may be nobody's: there are no real-time ones on macOS. What their default action ignores comes first.
pub(super) fn candidates() -> impl Iterator<Item = libc::c_int> {
    [libc::SIGURG, libc::SIGIO, libc::SIGEMT].into_iter()
}

/// Take up what is on its way of this signal, which is the only one in the set, and blocked.
pub(super) fn take_up(signal: libc::c_int, set: &libc::sigset_t) {
    loop {
        let mut pending = empty_set();
        // SAFETY: the pointer is valid for the call.
        unsafe { libc::sigpending(&raw mut pending) };
        if !contains(&pending, signal) {
            return;
        }
        let mut taken = 0;
        // SAFETY: both pointers are valid. It does not sleep: the signal is pending, and this thread, which alone gets it, blocks it.
        unsafe { libc::sigwait(set, &raw mut taken) };
    }
}
