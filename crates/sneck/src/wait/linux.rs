//! Events for a thread on Linux: inotify for directory entries, pidfds for processes, poll for all together.
//!
//! Not for: tasks, and threads that wait for a bell beside all this (`reactor.rs`).
//!
//! inotify instances are few (128 a user) and closing one that had watches costs some 11 ms, so they are kept and lent to
//! whoever sleeps. What cannot be armed (EMFILE, ENOSPC, ENOSYS, no permission) makes the sleep short, nothing else.

use super::{Bell, Doze, Trust};
use crate::protocol::Wake;
use crate::sys::fork::{PerProcess, Unshared};
use crate::sys::{Nap, Presence, process};
use crate::timeout::Moment;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init, remove_watch};
use rustix::io::{Errno, read};
use rustix::time::Timespec;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long to sleep where a watch could not be set because nothing stood there.
pub(super) const MISSED: Duration = Duration::from_millis(1);

/// Why there are no events where there could be.
pub(crate) const NO_EVENTS: &str = "the system gives no events for it (inotify limits?)";

/// Instances that nobody sleeps on just now.
static IDLE: PerProcess<Mutex<Vec<Unshared<OwnedFd>>>> = PerProcess::new();

fn idle() -> &'static Mutex<Vec<Unshared<OwnedFd>>> {
    IDLE.get(|| Mutex::new(Vec::new()))
}

pub(super) fn new_inotify() -> rustix::io::Result<Unshared<OwnedFd>> {
    init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map(Unshared::new)
}

/// What ends the wait for a claim, or for a kernel lock.
const OF_A_FILE: WatchFlags = WatchFlags::ATTRIB
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::CLOSE_WRITE);

/// Whether a watch on a file with these bits may be that of somebody who waits here.
pub(crate) fn is_watched_so(events: u32) -> bool {
    let usual = OF_A_FILE.bits();
    // The kernel shows some bits that nobody asked for (IN_IGNORED, IN_UNMOUNT).
    const ASKED: u32 = 0xfff;
    [usual, usual | WatchFlags::CLOSE_NOWRITE.bits()].contains(&(events & ASKED))
}

/// Watch what stands at the path, or its folder where the file itself cannot be watched.
pub(super) fn add_watch_for(
    instance: &OwnedFd,
    path: &Path,
    reads: Reads,
    how: WatchFlags,
) -> rustix::io::Result<i32> {
    let file = OF_A_FILE | WatchFlags::DONT_FOLLOW | reads.watched();
    let folder = WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::CREATE
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::ONLYDIR
        | reads.watched();
    match add_watch(instance, path, file | how) {
        Err(Errno::ACCESS) => match path.parent() {
            Some(parent) => add_watch(instance, parent, folder | how),
            None => Err(Errno::ACCESS),
        },
        other => other,
    }
}

/// An instance on loan, and what is watched with it.
#[derive(Debug)]
struct Watcher {
    instance: Option<Unshared<OwnedFd>>,
    watches: Vec<i32>,
    /// Nothing stood there to be watched.
    missed: bool,
}

/// Whether closing a file that was open for reading is an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    Watched,
    Unwatched,
}

impl Reads {
    fn watched(self) -> WatchFlags {
        match self {
            Reads::Watched => WatchFlags::CLOSE_NOWRITE,
            Reads::Unwatched => WatchFlags::empty(),
        }
    }
}

impl Watcher {
    fn borrow() -> Option<Watcher> {
        let kept = idle().lock().unwrap_or_else(PoisonError::into_inner).pop();
        let instance = match kept {
            Some(instance) => instance,
            None => new_inotify().ok()?,
        };
        Some(Watcher {
            instance: Some(instance),
            watches: Vec::new(),
            missed: false,
        })
    }

    /// Watch what stands at the path, or its folder where the file itself cannot be watched. False: neither can.
    ///
    /// Closing what was open for reading counts only where no try opens it. 1. A waits for a claim, and watches it. 2. A tries, for which it opens, reads and closes
    /// the claim: an event. 3. A sleeps, is woken by it at once, and tries. And so do all others who wait, with each try of each of them.
    fn watch(&mut self, path: &Path, reads: Reads) -> bool {
        let Some(instance) = &self.instance else {
            return false;
        };
        let watch = match add_watch_for(instance, path, reads, WatchFlags::empty()) {
            // Gone already. The try that follows arming finds out, unless the same holder has put it there again by then.
            Err(Errno::NOENT) => {
                self.missed = true;
                return true;
            }
            other => other,
        };
        self.watches.extend(watch);
        watch.is_ok()
    }

    fn drain(&self) {
        let mut buffer = [0_u8; 4096];
        while let Some(instance) = &self.instance {
            // Which event it was says nothing that the next try does not.
            if !read(&**instance, &mut buffer).is_ok_and(|n| n > 0) {
                return;
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let Some(instance) = self.instance.take().filter(Unshared::is_ours) else {
            return;
        };
        for watch in self.watches.drain(..) {
            // The kernel drops a watch itself when the file goes: an error here says just that.
            let _ = remove_watch(&*instance, watch);
        }
        self.instance = Some(instance);
        self.drain();
        let mut idle = idle().lock().unwrap_or_else(PoisonError::into_inner);
        idle.extend(self.instance.take());
    }
}

/// Hints that are armed.
#[derive(Debug)]
pub(crate) struct Armed {
    watcher: Option<Watcher>,
    exits: Vec<Unshared<OwnedFd>>,
    ready: Vec<Unshared<OwnedFd>>,
    at: Option<Moment>,
    bell: Option<(Bell, u32)>,
    /// Instead of all of these, where a bell is to be heard beside others: one sleep is on a word in memory or on descriptors.
    mixed: Option<Doze>,
    trust: Trust,
}

impl Armed {
    /// Arm them all, as far as possible.
    pub(crate) fn new(wakes: Vec<Wake>) -> Armed {
        let mut armed = Armed {
            watcher: None,
            exits: Vec::new(),
            ready: Vec::new(),
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
            match wake {
                Wake::Entry(path) => armed.watch(&path, Reads::Unwatched),
                Wake::Closed(path) => armed.watch(&path, Reads::Watched),
                // A process that has ended already was judged by the loop and left alone: its end wakes nobody any more.
                Wake::Exit(pid) => match process::open(pid) {
                    Ok(handle) => armed.exits.push(Unshared::new(handle)),
                    Err(Presence::Alive | Presence::Unknown) => armed.trust = Trust::Polling,
                    Err(_) => {}
                },
                Wake::Ready(descriptor) => armed.ready.push(Unshared::new(descriptor)),
                Wake::At(moment) => armed.at = Some(armed.at.map_or(moment, |at| at.min(moment))),
                Wake::Rung(bell, heard) => armed.bell = Some((bell, heard)),
            }
        }
        armed.forget_ended();
        armed
    }

    fn watch(&mut self, path: &Path, reads: Reads) {
        if self.watcher.is_none() {
            self.watcher = Watcher::borrow();
        }
        let watcher = self.watcher.as_mut();
        if !watcher.is_some_and(|w| w.watch(path, reads)) {
            self.trust = Trust::Polling;
        }
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
        let missed = self.watcher.as_ref().is_some_and(|w| w.missed);
        let longest = if missed { longest.min(MISSED) } else { longest };
        let timeout = Timespec {
            tv_sec: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(longest.subsec_nanos()),
        };
        let watched = self
            .watcher
            .iter()
            .filter_map(|w| w.instance.as_ref())
            .map(|i| &**i);
        let sources = watched
            .chain(self.exits.iter().map(|e| &**e))
            .chain(self.ready.iter().map(|r| &**r));
        let mut fds: Vec<PollFd<'_>> = sources.map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        let nap = match poll(&mut fds, Some(&timeout)) {
            // Arm anew: there is no event to come.
            Ok(0) if missed => Nap::Woken,
            Ok(0) => Nap::TimedOut,
            Err(Errno::INTR) => Nap::Interrupted,
            Ok(_) | Err(_) => Nap::Woken,
        };
        if nap == Nap::Woken {
            self.watcher.iter().for_each(Watcher::drain);
            self.forget_ended();
        }
        nap
    }

    /// A pidfd stays readable for ever: one that has spoken would wake every sleep to come.
    fn forget_ended(&mut self) {
        self.exits.retain(|exit| {
            let mut fd = [PollFd::new(&**exit, PollFlags::IN)];
            let at_once = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            !matches!(poll(&mut fd, Some(&at_once)), Ok(n) if n > 0)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Duration = Duration::from_secs(3600);

    #[test]
    fn a_bell_wakes_whoever_listened_before_it_rang() {
        let bell = Bell::default();
        let mut early = Armed::new(vec![bell.listen()]);
        assert_eq!(early.trust(), Trust::Events);
        assert_eq!(early.sleep(Duration::from_millis(1)), Nap::TimedOut);
        bell.ring();
        // Rung already, then while asleep.
        assert_eq!(early.sleep(NEVER), Nap::Woken);
        let mut late = Armed::new(vec![bell.listen()]);
        assert_eq!(late.sleep(Duration::from_millis(1)), Nap::TimedOut);
        let sleeper = std::thread::spawn(move || late.sleep(NEVER));
        std::thread::sleep(Duration::from_millis(20));
        bell.ring();
        assert_eq!(sleeper.join().unwrap(), Nap::Woken);
    }

    #[test]
    fn a_bell_is_heard_beside_others_and_they_beside_it() {
        let (bell, other) = (Bell::default(), Bell::default());
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let wakes = || {
            let ready = Wake::Ready(reader.try_clone().unwrap());
            vec![bell.listen(), ready, other.listen()]
        };
        let ends: [&dyn Fn(); 3] = [&|| bell.ring(), &|| other.ring(), &|| {
            assert_eq!(rustix::io::write(&writer, b"x"), Ok(1))
        }];
        for end in ends {
            let mut armed = Armed::new(wakes());
            assert_eq!(armed.trust(), Trust::Events);
            assert_eq!(armed.sleep(Duration::from_millis(5)), Nap::TimedOut);
            let sleeper = std::thread::spawn(move || armed.sleep(NEVER));
            std::thread::sleep(Duration::from_millis(20));
            end();
            assert_eq!(sleeper.join().unwrap(), Nap::Woken);
        }
    }
}
