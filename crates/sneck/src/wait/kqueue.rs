//! Events for a thread on macOS and FreeBSD: a kqueue with descriptors of files, processes and whatever can be read.
//!
//! Not for: tasks, and threads that wait for a bell beside all this (`reactor.rs`).
//!
//! A kqueue does not tell that somebody closed or unlocked a file (FreeBSD's NOTE_CLOSE tells of closing, macOS has nothing): who waits for that without the kernel's
//! queue tries again and again. A file is watched through a descriptor that neither reads nor follows a link; where it cannot be opened, its folder is watched.

use super::reactor::Unarmed;
use super::{Bell, Doze, Trust};
use crate::protocol::Wake;
use crate::sys::fork::Unshared;
use crate::sys::queue::{FIRST, Queue, Times};
use crate::sys::{Nap, Presence, process};
use crate::timeout::Moment;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use std::path::Path;
use std::time::Duration;

/// Why there are no events where there could be.
pub(crate) const NO_EVENTS: &str = "the system gives no events for it (too many open files?)";

/// How long to sleep where a watch could not be set because nothing stood there.
const MISSED: Duration = Duration::from_millis(1);

/// To open what stands at a path in order to hear of it, and for nothing else.
#[cfg(target_os = "macos")]
const TO_HEAR: OFlags = OFlags::from_bits_retain((libc::O_EVTONLY | libc::O_SYMLINK) as u32);
/// O_PATH, which opens a symbolic link itself. FreeBSD before 13.1 does not know it, and opens to read.
#[cfg(target_os = "freebsd")]
const TO_HEAR: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW);

/// Open what stands at the path, or its folder where that itself cannot be opened.
pub(super) fn open_to_hear(path: &Path) -> Result<Unshared<OwnedFd>, Unarmed> {
    let flags = TO_HEAR | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = match open(path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Err(Unarmed::Missed(MISSED)),
        Err(_) => open_folder(path),
        Ok(opened) => Ok(opened),
    };
    opened.map(Unshared::new).map_err(|_| Unarmed::Unable)
}

fn open_folder(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(path.parent().ok_or(Errno::NOENT)?, flags, Mode::empty())
}

/// Watch what was opened, or the folder where this file system tells nothing of such a descriptor.
pub(super) fn watch(
    queue: &Queue,
    opened: Unshared<OwnedFd>,
    path: &Path,
    number: u64,
) -> Result<Unshared<OwnedFd>, Unarmed> {
    if queue.watch(opened.as_fd(), number).is_ok() {
        return Ok(opened);
    }
    let folder = open_folder(path).map_err(|_| Unarmed::Unable)?;
    let folder = Unshared::new(folder);
    match queue.watch(folder.as_fd(), number) {
        Ok(()) => Ok(folder),
        Err(_) => Err(Unarmed::Unable),
    }
}

/// Hear of the end of a process. One that has ended already was judged by the loop and left alone: its end wakes nobody any more.
pub(super) fn watch_exit(queue: &Queue, pid: u32, number: u64) -> Result<(), Unarmed> {
    match process::presence(pid) {
        Presence::Alive => {}
        Presence::Unknown => return Err(Unarmed::Unable),
        Presence::Absent | Presence::Ended | Presence::MereThread => return Err(Unarmed::Over),
    }
    match queue.watch_exit(pid, number) {
        Ok(()) => Ok(()),
        // Since that look. The try that follows arming finds out.
        Err(Errno::SRCH) => Err(Unarmed::Over),
        Err(_) => Err(Unarmed::Unable),
    }
}

/// Hints that are armed.
#[derive(Debug)]
pub(crate) struct Armed {
    /// None: there were no descriptors to be had, or there is nothing to hear.
    queue: Option<Queue>,
    /// What the queue tells of.
    opened: Vec<Unshared<OwnedFd>>,
    /// Nothing stood there to be watched.
    missed: bool,
    at: Option<Moment>,
    bell: Option<(Bell, u32)>,
    /// Instead of all of these, where a bell is to be heard beside others: one sleep is on a word in memory or on the queue.
    mixed: Option<Doze>,
    trust: Trust,
}

impl Armed {
    /// Arm them all, as far as possible.
    pub(crate) fn new(wakes: Vec<Wake>) -> Armed {
        let mut armed = Armed {
            queue: None,
            opened: Vec::new(),
            missed: false,
            at: None,
            bell: None,
            mixed: None,
            trust: Trust::Events,
        };
        if wakes.is_empty() {
            armed.trust = Trust::Polling;
        }
        let rings = |wake: &Wake| matches!(wake, Wake::Rung(..));
        if wakes.len() > 1 && wakes.iter().any(rings) {
            // Where no thread is to be had that listens for us, the sleep is short.
            armed.mixed = Doze::new(wakes).ok();
            armed.trust = armed.mixed.as_ref().map_or(Trust::Polling, Doze::trust);
            return armed;
        }
        for wake in wakes {
            match armed.arm(wake) {
                Ok(()) | Err(Unarmed::Over) => {}
                Err(Unarmed::Unable) => armed.trust = Trust::Polling,
                Err(Unarmed::Missed(_)) => armed.missed = true,
            }
        }
        armed
    }

    fn arm(&mut self, wake: Wake) -> Result<(), Unarmed> {
        match wake {
            Wake::At(moment) => self.at = Some(self.at.map_or(moment, |at| at.min(moment))),
            Wake::Rung(bell, heard) => self.bell = Some((bell, heard)),
            Wake::Closed(_) => return Err(Unarmed::Unable),
            Wake::Entry(path) => {
                let opened = open_to_hear(&path)?;
                let watched = watch(self.queue()?, opened, &path, FIRST)?;
                self.opened.push(watched);
            }
            Wake::Exit(pid) => watch_exit(self.queue()?, pid, FIRST)?,
            Wake::Ready(descriptor) => {
                let descriptor = Unshared::new(descriptor);
                let heard = self
                    .queue()?
                    .watch_ready(descriptor.as_fd(), FIRST, Times::Always);
                heard.map_err(|_| Unarmed::Unable)?;
                self.opened.push(descriptor);
            }
        }
        Ok(())
    }

    fn queue(&mut self) -> Result<&Queue, Unarmed> {
        if self.queue.is_none() {
            self.queue = Some(Queue::new().map_err(|_| Unarmed::Unable)?);
        }
        self.queue.as_ref().ok_or(Unarmed::Unable)
    }

    /// Whether events can be relied on.
    pub(crate) fn trust(&self) -> Trust {
        self.trust
    }

    /// Sleep until a hint comes, at most so long.
    pub(crate) fn sleep(&mut self, longest: Duration) -> Nap {
        if let Some(mixed) = &mut self.mixed {
            return mixed.sleep(longest);
        }
        let longest = self.at.map_or(longest, |at| longest.min(at.until()));
        if let Some((bell, heard)) = &self.bell {
            return bell.sleep(*heard, longest);
        }
        let longest = if self.missed {
            longest.min(MISSED)
        } else {
            longest
        };
        let nap = match self.queue.as_ref().filter(|queue| queue.is_ours()) {
            Some(queue) => queue.sleep(Some(longest)).0,
            None => super::pause(longest),
        };
        match nap {
            // Arm anew: there is no event to come.
            Nap::TimedOut if self.missed => Nap::Woken,
            other => other,
        }
    }
}
