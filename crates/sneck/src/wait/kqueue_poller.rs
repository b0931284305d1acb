//! Events for those who sleep on a [`Nudge`], on macOS and FreeBSD: one kqueue, shared by all of them.
//!
//! What several wait for is watched once: a file by its inode, a process by its number. Not for: sleeping and deadlines (`reactor.rs`).

use super::Nudge;
use super::kqueue::{open_to_hear, watch, watch_exit};
use super::reactor::Unarmed;
use crate::sys::file::{Inode, look_at_descriptor};
use crate::sys::fork::Unshared;
use crate::sys::queue::{FIRST, Queue, Times};
use crate::timeout::Moment;
use rustix::fd::{AsFd, OwnedFd};
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
pub(super) struct Poller {
    queue: Queue,
    sources: Mutex<Sources>,
}

#[derive(Debug, Default)]
struct Sources {
    watches: HashMap<Inode, Watch>,
    /// By the number of the process.
    exits: HashMap<u32, Exit>,
    /// By the number that the queue tells.
    told: HashMap<u64, Source>,
    next: u64,
}

#[derive(Debug)]
struct Watch {
    /// As long as it is open its inode's number is nobody else's, and it is watched.
    _opened: Unshared<OwnedFd>,
    number: u64,
    nudges: Vec<Arc<Nudge>>,
}

#[derive(Debug)]
struct Exit {
    number: u64,
    nudges: Vec<Arc<Nudge>>,
}

#[derive(Debug)]
enum Source {
    Entry(Inode),
    Exit(u32),
    Ready(Arc<Nudge>),
}

/// One hint that is armed for one nudge.
#[derive(Debug)]
pub(super) enum Hint {
    Entry(Inode),
    Exit(u32),
    Ready(u64, Unshared<OwnedFd>),
}

impl Poller {
    pub(super) fn new() -> io::Result<Poller> {
        Ok(Poller {
            queue: Queue::new()?,
            sources: Mutex::new(Sources {
                next: FIRST,
                ..Sources::default()
            }),
        })
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Be nudged when the entry, or what it names, changes.
    pub(super) fn entry(&self, path: &Path, nudge: &Arc<Nudge>) -> Result<Hint, Unarmed> {
        let opened = open_to_hear(path)?;
        let look = look_at_descriptor(&*opened).map_err(|_| Unarmed::Unable)?;
        let mut sources = self.sources();
        if let Some(watch) = sources.watches.get_mut(&look.inode) {
            watch.nudges.push(nudge.clone());
            return Ok(Hint::Entry(look.inode));
        }
        let number = sources.number();
        // By the inode of what was opened, though it may be the folder that is watched: whoever comes for the folder itself then watches it twice.
        let opened = watch(&self.queue, opened, path, number)?;
        sources.told.insert(number, Source::Entry(look.inode));
        let watch = Watch {
            _opened: opened,
            number,
            nudges: vec![nudge.clone()],
        };
        sources.watches.insert(look.inode, watch);
        Ok(Hint::Entry(look.inode))
    }

    /// There is no event for it.
    pub(super) fn closed(&self, _: &Path, _: &Arc<Nudge>) -> Result<Hint, Unarmed> {
        Err(Unarmed::Unable)
    }

    /// Be nudged when the process ends.
    pub(super) fn exit(&self, pid: u32, nudge: &Arc<Nudge>) -> Result<Hint, Unarmed> {
        let mut sources = self.sources();
        if let Some(exit) = sources.exits.get_mut(&pid) {
            exit.nudges.push(nudge.clone());
            return Ok(Hint::Exit(pid));
        }
        let number = sources.number();
        watch_exit(&self.queue, pid, number)?;
        sources.told.insert(number, Source::Exit(pid));
        let nudges = vec![nudge.clone()];
        sources.exits.insert(pid, Exit { number, nudges });
        Ok(Hint::Exit(pid))
    }

    /// Be nudged once, when there is something to read.
    pub(super) fn ready(&self, descriptor: OwnedFd, nudge: &Arc<Nudge>) -> Result<Hint, Unarmed> {
        let mut sources = self.sources();
        let number = sources.number();
        let descriptor = Unshared::new(descriptor);
        self.queue
            .watch_ready(descriptor.as_fd(), number, Times::Once)
            .map_err(|_| Unarmed::Unable)?;
        sources.told.insert(number, Source::Ready(nudge.clone()));
        Ok(Hint::Ready(number, descriptor))
    }

    /// No longer.
    pub(super) fn forget(&self, hint: Hint, nudge: &Arc<Nudge>) {
        let mut sources = self.sources();
        match hint {
            Hint::Entry(inode) => {
                let left = sources.watches.get_mut(&inode).map(|watch| {
                    drop_one(&mut watch.nudges, nudge);
                    (watch.nudges.len(), watch.number)
                });
                if let Some((0, number)) = left {
                    // Closing what was opened ends the watch.
                    sources.watches.remove(&inode);
                    sources.told.remove(&number);
                }
            }
            Hint::Exit(pid) => {
                let left = sources.exits.get_mut(&pid).map(|exit| {
                    drop_one(&mut exit.nudges, nudge);
                    exit.nudges.len()
                });
                if left == Some(0) {
                    self.queue.forget_exit(pid);
                    sources.end_exit(pid);
                }
            }
            Hint::Ready(number, descriptor) => {
                self.queue.forget_ready(descriptor.as_fd());
                sources.told.remove(&number);
            }
        }
    }

    /// End [`Poller::wait`] at this moment.
    pub(super) fn alarm(&self, at: Moment) {
        self.queue.alarm(at.until());
    }

    /// Sleep until something happens or the alarm goes off, and nudge those who wait for it.
    pub(super) fn wait(&self) {
        let (_, told) = self.queue.sleep(None);
        let mut nudges = Vec::new();
        let mut sources = self.sources();
        for number in told {
            match sources.told.get(&number) {
                Some(Source::Ready(nudge)) => nudges.push(nudge.clone()),
                Some(Source::Entry(inode)) => {
                    let watch = sources.watches.get(inode);
                    nudges.extend(watch.into_iter().flat_map(|watch| watch.nudges.clone()));
                }
                Some(Source::Exit(pid)) => {
                    let pid = *pid;
                    nudges.extend(sources.end_exit(pid));
                }
                None => {}
            }
        }
        drop(sources);
        // Outside the mutex.
        nudges.iter().for_each(|nudge| nudge.give());
    }
}

impl Sources {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn end_exit(&mut self, pid: u32) -> Vec<Arc<Nudge>> {
        let Some(exit) = self.exits.remove(&pid) else {
            return Vec::new();
        };
        self.told.remove(&exit.number);
        exit.nudges
    }
}

fn drop_one(nudges: &mut Vec<Arc<Nudge>>, nudge: &Arc<Nudge>) {
    if let Some(at) = nudges.iter().position(|other| Arc::ptr_eq(other, nudge)) {
        nudges.swap_remove(at);
    }
}
