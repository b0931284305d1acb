//! How one acquisition sleeps: in the kernel's queue or not, on events or not, and for how long.
//!
//! Not for: when it sleeps (`acquire.rs`), and the sleeping itself (`wait/`).

use crate::protocol::Ground;
use crate::wait::{Backoff, Trust, Waiting};

/// How this acquisition sleeps.
#[derive(Debug)]
pub(super) struct Sleeper {
    pub(super) queue: KernelQueue,
    pub(super) trust: Trust,
    pub(super) backoff: Backoff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KernelQueue {
    /// To be used, as far as known.
    Use,
    /// Not before the next sleep is over: there was no thread to sleep in it.
    NotNow,
    /// There is none, it cannot be left in time, or it is not wanted.
    Avoid,
}

impl KernelQueue {
    pub(super) fn after_a_sleep(self) -> KernelQueue {
        match self {
            KernelQueue::NotNow => KernelQueue::Use,
            other => other,
        }
    }
}

impl Sleeper {
    pub(super) fn new(waiting: Waiting, ground: Ground) -> Sleeper {
        let network = ground == Ground::NetworkFiles;
        let queue = match waiting {
            // A kernel waiter on a network file system may be told late or never.
            Waiting::Best if !network => KernelQueue::Use,
            _ => KernelQueue::Avoid,
        };
        let (trust, backoff) = match (network, waiting) {
            (true, _) => (Trust::Polling, Backoff::network()),
            (false, Waiting::Polling) => (Trust::Polling, Backoff::polling()),
            (false, Waiting::Best | Waiting::Events) => (Trust::Events, Backoff::net()),
        };
        Sleeper {
            queue,
            trust,
            backoff,
        }
    }

    /// It may come free any moment.
    pub(super) fn soon(&mut self) {
        // Whoever polls keeps to the lengths of polling. 1. A polls, and finds a dead claim that B is about to remove: busy. 2. B removes it and makes its
        // own, which lives. 3. A sleeps in the steps of the net below events, each ten times as long as the last and up to ten seconds, and no
        // event ends them.
        match self.trust {
            Trust::Events => self.backoff = Backoff::early(),
            Trust::Polling => self.backoff.reset(),
        }
    }
}
