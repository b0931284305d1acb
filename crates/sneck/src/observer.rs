//! Being told what an acquisition does: [`Observer`], [`Event`].
//!
//! For telling people before a sleep, for logs, and for deciding whether a signal ends the wait. Observers run in the waiting thread; they decide nothing else.

use crate::holder::Holder;
use crate::place::Place;
use crate::protocol::{Clean, Mark, Removal, Sighting};
use crate::stale::Verdict;
use std::fmt;

/// What happens on the way to a lock.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Somebody else holds it and we are about to wait, or who holds it has changed while we wait.
    Waiting {
        /// Which lock.
        place: &'a Place,
        /// What is in the way, as the try itself showed it. Where it names no holders, [`crate::Lock::holder`] looks them up;
        /// not done here, because it takes longer than joining the kernel's queue.
        seen: &'a Sighting,
    },
    /// The usual way to wait is not to be had: it will be tried again and again instead. Told once.
    Polling {
        /// Which lock.
        place: &'a Place,
        /// Why.
        why: &'a str,
    },
    /// A claim was judged stale and this came of removing it.
    Breaking {
        /// Which lock.
        place: &'a Place,
        /// Whose claim.
        holder: &'a Holder,
        /// What exactly was to be removed.
        mark: &'a Mark,
        /// Why it was judged stale.
        verdict: &'a Verdict,
        /// How it went.
        removal: Removal,
    },
    /// The lock is ours.
    Acquired {
        /// Which lock.
        place: &'a Place,
        /// Whether the last holder released it.
        clean: Clean,
    },
}

/// What to do when a signal handler ran during a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Interrupt {
    /// Wait on. In the kernel's queue the place is lost.
    #[default]
    Resume,
    /// Give up: the acquisition ends with [`crate::ErrorKind::Interrupted`].
    GiveUp,
}

/// Is told what an acquisition does. Any `Fn(&Event)` is one.
pub trait Observer: Send + Sync {
    /// Something happened. Runs in the waiting thread: be brief.
    fn notice(&self, event: &Event<'_>);

    /// A signal handler of the program ran in the waiting thread.
    fn interrupted(&self) -> Interrupt {
        Interrupt::Resume
    }

    /// The waiting thread is about to sleep. A handler that ran before, while the lock was tried, interrupted nothing: whoever can tell that one did says so here.
    fn about_to_sleep(&self) -> Interrupt {
        Interrupt::Resume
    }
}

impl<F: Fn(&Event<'_>) + Send + Sync> Observer for F {
    fn notice(&self, event: &Event<'_>) {
        self(event);
    }
}

impl fmt::Debug for dyn Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}
