//! kqueue(2): what several things tell, in one sleep that a signal handler ends. Not for: what is worth waiting for (`wait/`).
//!
//! A forked child does not inherit it. Its sleeps are counted by a clock that stops during suspend, on both systems.

use super::fork::Unshared;
use crate::sys::Nap;
use rustix::event::kqueue::{
    Event, EventFilter, EventFlags, ProcessEvents, UserDefinedFlags, UserFlags, VnodeEvents,
    kevent, kqueue,
};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::Pid;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::time::Duration;

/// The kernel refuses longer sleeps (macOS: 100,000,000 s).
const LONGEST: Duration = Duration::from_secs(10_000_000);

/// What [`Queue::poke`] and [`Queue::alarm`] tell. Numbers for all else are above.
pub(crate) const POKED: u64 = 0;
pub(crate) const ALARM: u64 = 1;
pub(crate) const FIRST: u64 = 2;

/// A queue of the kernel's.
#[derive(Debug)]
pub(crate) struct Queue(Unshared<OwnedFd>);

impl Queue {
    /// A queue that can be poked.
    pub(crate) fn new() -> io::Result<Queue> {
        let queue = kqueue()?;
        fcntl_setfd(&queue, FdFlags::CLOEXEC)?;
        let queue = Queue(Unshared::new(queue));
        queue.change(
            user(UserFlags::empty()),
            EventFlags::ADD | EventFlags::CLEAR,
            POKED,
        )?;
        Ok(queue)
    }

    /// Whether this is the process that made it.
    pub(crate) fn is_ours(&self) -> bool {
        self.0.is_ours()
    }

    /// End the sleep that somebody sleeps on it, or the next one.
    pub(crate) fn poke(&self) {
        // It cannot fail: the source was added when the queue was made.
        let _ = self.change(user(UserFlags::TRIGGER), EventFlags::empty(), POKED);
    }

    /// End the sleep after so long; it takes the place of an alarm that was set before.
    pub(crate) fn alarm(&self, after: Duration) {
        // Whole milliseconds, rounded up: rustix (1.1) takes less than one of them for none.
        let millis = after.min(LONGEST).as_nanos().div_ceil(1_000_000).max(1);
        let timer = |length| EventFilter::Timer {
            ident: ALARM as isize,
            timer: Some(length),
        };
        // FreeBSD before 12 does not change one that is set.
        let _ = self.change(timer(Duration::ZERO), EventFlags::DELETE, ALARM);
        let after = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
        let once = EventFlags::ADD | EventFlags::ONESHOT;
        let _ = self.change(timer(after), once, ALARM);
    }

    /// Tell when what the descriptor names is written to, renamed, removed, linked or changed otherwise, until it is closed.
    pub(crate) fn watch(&self, file: BorrowedFd<'_>, number: u64) -> rustix::io::Result<()> {
        let filter = EventFilter::Vnode {
            vnode: file.as_raw_fd(),
            flags: VnodeEvents::DELETE
                | VnodeEvents::WRITE
                | VnodeEvents::EXTEND
                | VnodeEvents::ATTRIBUTES
                | VnodeEvents::LINK
                | VnodeEvents::RENAME
                | VnodeEvents::REVOKE,
        };
        self.change(filter, EventFlags::ADD | EventFlags::CLEAR, number)
    }

    /// Tell once when a process ends. SRCH: there is none, or (macOS) it waits to be reaped.
    pub(crate) fn watch_exit(&self, pid: u32, number: u64) -> rustix::io::Result<()> {
        self.change(exit(pid)?, EventFlags::ADD | EventFlags::ONESHOT, number)
    }

    /// No longer.
    pub(crate) fn forget_exit(&self, pid: u32) {
        if let Ok(filter) = exit(pid) {
            // It says if it has told already: then it is forgotten.
            let _ = self.change(filter, EventFlags::DELETE, 0);
        }
    }

    /// Tell when there is something to read, until it is closed: once, or as long as there is.
    pub(crate) fn watch_ready(
        &self,
        descriptor: BorrowedFd<'_>,
        number: u64,
        times: Times,
    ) -> rustix::io::Result<()> {
        let filter = EventFilter::Read(descriptor.as_raw_fd());
        let flags = match times {
            Times::Once => EventFlags::ADD | EventFlags::ONESHOT,
            Times::Always => EventFlags::ADD,
        };
        self.change(filter, flags, number)
    }

    /// No longer, though copies of the descriptor stay open.
    pub(crate) fn forget_ready(&self, descriptor: BorrowedFd<'_>) {
        let filter = EventFilter::Read(descriptor.as_raw_fd());
        let _ = self.change(filter, EventFlags::DELETE, 0);
    }

    fn change(
        &self,
        filter: EventFilter,
        flags: EventFlags,
        number: u64,
    ) -> rustix::io::Result<()> {
        let told = ptr::without_provenance_mut(number as usize);
        let mut none: [MaybeUninit<Event>; 0] = [];
        // SAFETY: whoever closes a descriptor that was given to the queue thereby takes it out; then the kernel tells nothing more of it. The number is no pointer, and nobody takes it for one.
        unsafe {
            kevent(
                &*self.0,
                &[Event::new(filter, flags, told)],
                &mut none,
                None,
            )
        }?;
        Ok(())
    }

    /// Sleep until something is told, at most so long (None: for ever); the numbers of what was.
    pub(crate) fn sleep(&self, longest: Option<Duration>) -> (Nap, Vec<u64>) {
        let mut left = longest;
        loop {
            let step = left.map(|left| left.min(LONGEST));
            let mut told = [const { MaybeUninit::<Event>::uninit() }; 64];
            // SAFETY: nothing is changed.
            let slept = unsafe { kevent(self.0.as_fd(), &[], &mut told, step) };
            match slept {
                Ok((told, _)) if told.is_empty() => {
                    left = left.map(|left| left.saturating_sub(LONGEST));
                    if left.is_some_and(|left| left.is_zero()) {
                        return (Nap::TimedOut, Vec::new());
                    }
                }
                Ok((told, _)) => {
                    let numbers = told.iter().map(|event| event.udata().addr() as u64);
                    return (Nap::Woken, numbers.collect());
                }
                Err(Errno::INTR) => return (Nap::Interrupted, Vec::new()),
                // Look again rather than sleep wrongly.
                Err(_) => return (Nap::Woken, Vec::new()),
            }
        }
    }
}

/// How often a source tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Times {
    Once,
    Always,
}

fn user(flags: UserFlags) -> EventFilter {
    EventFilter::User {
        ident: POKED as isize,
        flags,
        user_flags: UserDefinedFlags::new(0),
    }
}

fn exit(pid: u32) -> rustix::io::Result<EventFilter> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    Ok(EventFilter::Proc {
        pid: pid.ok_or(Errno::SRCH)?,
        flags: ProcessEvents::EXIT,
    })
}
