//! Sleeping until a lock may be free: in the kernel's own queue ([`in_kernel`]), on events ([`Armed`]), or for a while ([`pause`]).
//!
//! Every sleep of the library is one of these, and every one ends when a signal handler runs in the thread. None decides
//! anything: a wake-up is a hint, and the acquisition loop tries again.
//!
//! | file | what it holds |
//! |---|---|
//! | `backoff.rs` | how long to sleep when no event can be relied on |
//! | `linux.rs`, `kqueue.rs` | for threads: inotify, pidfds, poll; on macOS and FreeBSD, kqueue |
//! | `kernel.rs` | a blocking system call with a deadline, which others may end |
//! | `linux_timer.rs`, `bsd_timer.rs` | what ends it |
//! | `nudge.rs` | what a thread or a task sleeps on that others may end |
//! | `reactor.rs` | for tasks: one thread that wakes them, and `poller.rs` or `kqueue_poller.rs`, what it listens to |
//! | `crew.rs` | for tasks: a few threads that sleep in the kernel's queues, or talk to servers |
//! | `windows.rs`, `windows_kernel.rs`, `windows_poller.rs` | the same for Windows: changes of folders, handles of processes, a completion port |
//! | `unsupported.rs` | all of it on a platform that has none: polling |

mod backoff;
mod crew;
mod nudge;
mod reactor;

#[cfg(all(target_os = "linux", not(sneck_unsupported)))]
mod linux;
#[cfg(all(target_os = "linux", not(sneck_unsupported)))]
mod poller;
#[cfg(all(target_os = "linux", not(sneck_unsupported)))]
#[path = "linux_timer.rs"]
mod timer;
#[cfg(all(target_os = "linux", not(sneck_unsupported)))]
use linux as events;
#[cfg(all(target_os = "linux", not(sneck_unsupported)))]
pub(crate) use linux::is_watched_so;

#[cfg(all(
    any(target_os = "macos", target_os = "freebsd"),
    not(sneck_unsupported)
))]
mod kqueue;
#[cfg(all(
    any(target_os = "macos", target_os = "freebsd"),
    not(sneck_unsupported)
))]
#[path = "kqueue_poller.rs"]
mod poller;
#[cfg(all(
    any(target_os = "macos", target_os = "freebsd"),
    not(sneck_unsupported)
))]
#[path = "bsd_timer.rs"]
mod timer;
#[cfg(all(
    any(target_os = "macos", target_os = "freebsd"),
    not(sneck_unsupported)
))]
use kqueue as events;

#[cfg(all(
    any(target_os = "linux", target_os = "macos", target_os = "freebsd"),
    not(sneck_unsupported)
))]
mod kernel;
#[cfg(not(all(
    any(
        target_os = "linux",
        target_os = "macos",
        target_os = "freebsd",
        windows
    ),
    not(sneck_unsupported)
)))]
mod unsupported;
#[cfg(not(all(
    any(
        target_os = "linux",
        target_os = "macos",
        target_os = "freebsd",
        windows
    ),
    not(sneck_unsupported)
)))]
use unsupported::{self as events, self as kernel, self as poller};

#[cfg(all(windows, not(sneck_unsupported)))]
#[path = "windows_kernel.rs"]
mod kernel;
#[cfg(all(windows, not(sneck_unsupported)))]
#[path = "windows_poller.rs"]
mod poller;
#[cfg(all(windows, not(sneck_unsupported)))]
mod windows;
#[cfg(all(windows, not(sneck_unsupported)))]
use windows as events;

pub(crate) use backoff::Backoff;
pub(crate) use crew::{Errand, NoRoom, Room};
pub(crate) use events::{Armed, NO_EVENTS};
pub(crate) use kernel::{Stopper, choose_signal, in_kernel};
pub(crate) use nudge::Nudge;
use poller::{Hint, Poller};
pub(crate) use reactor::Doze;

use crate::protocol::Wake;
use crate::sys::{Nap, futex};
use crate::timeout::Deadline;
use std::cell::Cell;
use std::mem;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// How waiting is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Waiting {
    /// In the kernel's queue where the protocol has one, else on events, else by polling.
    #[default]
    Best,
    /// On events, without the kernel's queue.
    Events,
    /// By trying again and again, at growing intervals: for file systems that raise no events, and to test that this works too.
    Polling,
}

/// What ends the contention inside one process: whoever leaves rings, and those who listened before wake.
#[derive(Debug, Clone, Default)]
pub struct Bell {
    clapper: Arc<Clapper>,
}

#[derive(Debug, Default)]
struct Clapper {
    /// How often it was rung. Threads sleep on it.
    rung: AtomicU32,
    /// Those who listen for something else too, until the next time it rings.
    listening: Mutex<Vec<Weak<Nudge>>>,
}

impl Bell {
    /// A hint that comes when it is rung from now on, even before anybody sleeps. What one waits for is to be looked at afterwards, or under the
    /// mutex that whoever leaves takes too.
    pub fn listen(&self) -> Wake {
        Wake::Rung(self.clone(), self.clapper.rung.load(Ordering::Acquire))
    }

    /// Wake all who listened.
    pub fn ring(&self) {
        let clapper = &*self.clapper;
        clapper.rung.fetch_add(1, Ordering::Release);
        futex::wake(&clapper.rung);
        // After counting: whoever adds itself later sees the count.
        let listening = mem::take(&mut *clapper.listening());
        let listening = listening.iter().filter_map(Weak::upgrade);
        listening.for_each(|nudge| nudge.give());
    }

    /// Give this nudge once it has been rung more often than so.
    fn nudge(&self, heard: u32, nudge: &Arc<Nudge>) {
        let mut listening = self.clapper.listening();
        if listening.len() == listening.capacity() {
            // Those who no longer listen.
            listening.retain(|nudge| nudge.strong_count() > 0);
        }
        listening.push(Arc::downgrade(nudge));
        drop(listening);
        if self.clapper.rung.load(Ordering::Acquire) != heard {
            nudge.give();
        }
    }

    /// Sleep until it has been rung more often than so, at most so long.
    fn sleep(&self, heard: u32, longest: Duration) -> Nap {
        futex::wait(&self.clapper.rung, heard, longest)
    }
}

impl Clapper {
    fn listening(&self) -> MutexGuard<'_, Vec<Weak<Nudge>>> {
        self.listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a blocking system call ended.
#[derive(Debug)]
#[cfg_attr(any(windows, sneck_unsupported), allow(dead_code))]
pub(crate) enum Ended<T> {
    Done(T),
    TimedOut,
    Interrupted,
    /// No timer or signal to be had to end it in time; nothing was called.
    NoTimer,
}

/// Whether events can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// All hints are armed.
    Events,
    /// Some could not be: sleep short.
    Polling,
}

/// Sleep for a while, or until a signal handler runs.
pub(crate) fn pause(length: Duration) -> Nap {
    futex::wait(&AtomicU32::new(0), 0, length)
}

/// Sleep until a bell is rung that was listened for, or the time is over, or a signal handler runs.
pub(crate) fn pause_for(wake: &Wake, deadline: Deadline) -> Nap {
    let longest = deadline.remaining(LONGEST);
    match wake {
        Wake::Rung(bell, heard) => bell.sleep(*heard, longest),
        _ => pause(longest),
    }
}

/// What no wait lasts longer than in one sleep.
const LONGEST: Duration = Duration::from_secs(3600);

thread_local! {
    /// Whether a signal handler ran during a [`moment`] of this thread, and nobody was told yet.
    static HEARD: Cell<bool> = const { Cell::new(false) };
}

/// Give somebody else a moment in the middle of a try. Whoever turns the loop asks [`heard`] before it sleeps.
// 1. A gives the parent of a dead holder a moment, again and again. 2. A handler runs in one of them, and ends it. 3. A sleeps, for as long as it takes, and
// whoever sent the signal waits for an answer.
pub(crate) fn moment(length: Duration) -> Nap {
    let nap = pause(length);
    if nap == Nap::Interrupted {
        HEARD.set(true);
    }
    nap
}

/// Whether a handler ran in a [`moment`] since this was asked last.
pub(crate) fn heard() -> bool {
    HEARD.take()
}

/// Whether somebody is to be told so: then it is no time for another try.
pub(crate) fn is_to_tell() -> bool {
    HEARD.get()
}

/// What a set of wakes means, for telling whether another set still means the same.
pub(crate) fn signature(wakes: &[Wake]) -> Vec<u64> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let of = |wake: &Wake| {
        let mut hasher = DefaultHasher::new();
        match wake {
            Wake::Entry(path) => (0, path).hash(&mut hasher),
            Wake::Exit(pid) => (1, pid).hash(&mut hasher),
            Wake::Ready(_) => 2.hash(&mut hasher),
            Wake::At(moment) => (3, moment).hash(&mut hasher),
            Wake::Rung(bell, heard) => (4, Arc::as_ptr(&bell.clapper), heard).hash(&mut hasher),
            Wake::Closed(path) => (5, path).hash(&mut hasher),
        }
        hasher.finish()
    };
    wakes.iter().map(of).collect()
}
