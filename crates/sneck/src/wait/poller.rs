//! Events for those who sleep on a [`Nudge`], on Linux: one epoll instance, one inotify instance, one timer, shared by all of them.
//!
//! What several wait for is watched once: a file by its inode, a process by its number. Not for: sleeping and deadlines (`reactor.rs`).

use super::Nudge;
use super::linux::{self, MISSED, Reads};
use super::reactor::Unarmed;
use crate::sys::fork::Unshared;
use crate::sys::{Presence, process};
use crate::timeout::Moment;
use rustix::event::{PollFd, PollFlags, epoll, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::inotify::{self, ReadFlags};
use rustix::io::{Errno, read};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What epoll says about the timer and the inotify instance; sources have numbers from [`FIRST`] on.
const TIMER: u64 = 0;
const WATCHES: u64 = 1;
const FIRST: u64 = 2;

#[derive(Debug)]
pub(super) struct Poller {
    epoll: Unshared<OwnedFd>,
    timer: Unshared<OwnedFd>,
    sources: Mutex<Sources>,
}

#[derive(Debug, Default)]
struct Sources {
    inotify: Option<Unshared<OwnedFd>>,
    /// By the number of the watch.
    watches: HashMap<i32, Vec<(Arc<Nudge>, Reads)>>,
    /// By the number of the process.
    exits: HashMap<u32, Exit>,
    /// By the number that epoll tells.
    told: HashMap<u64, Source>,
    next: u64,
}

#[derive(Debug)]
struct Exit {
    process: Unshared<OwnedFd>,
    number: u64,
    nudges: Vec<Arc<Nudge>>,
}

#[derive(Debug)]
enum Source {
    Exit(u32),
    Ready(Arc<Nudge>),
}

/// One hint that is armed for one nudge.
#[derive(Debug)]
pub(super) enum Hint {
    Entry(i32),
    Exit(u32),
    Ready(u64, Unshared<OwnedFd>),
}

impl Poller {
    pub(super) fn new() -> io::Result<Poller> {
        let epoll = Unshared::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        // The clock of our deadlines: it goes on while the machine sleeps.
        let timer = Unshared::new(timerfd_create(TimerfdClockId::Boottime, flags)?);
        listen(&epoll, timer.as_fd(), TIMER, epoll::EventFlags::IN)?;
        Ok(Poller {
            epoll,
            timer,
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
        self.watch(path, Reads::Unwatched, nudge)
    }

    /// The same, or when somebody closes it.
    pub(super) fn closed(&self, path: &Path, nudge: &Arc<Nudge>) -> Result<Hint, Unarmed> {
        self.watch(path, Reads::Watched, nudge)
    }

    fn watch(&self, path: &Path, reads: Reads, nudge: &Arc<Nudge>) -> Result<Hint, Unarmed> {
        let mut sources = self.sources();
        let inotify = match &sources.inotify {
            Some(inotify) => inotify,
            None => {
                let inotify = linux::new_inotify().map_err(|_| Unarmed::Unable)?;
                listen(&self.epoll, inotify.as_fd(), WATCHES, epoll::EventFlags::IN)
                    .map_err(|_| Unarmed::Unable)?;
                sources.inotify.insert(inotify)
            }
        };
        // Several may watch one inode, as itself and as somebody's folder: each adds what it wants to hear.
        match linux::add_watch_for(inotify, path, reads, inotify::WatchFlags::MASK_ADD) {
            Ok(watch) => {
                sources
                    .watches
                    .entry(watch)
                    .or_default()
                    .push((nudge.clone(), reads));
                Ok(Hint::Entry(watch))
            }
            Err(Errno::NOENT) => Err(Unarmed::Missed(MISSED)),
            Err(_) => Err(Unarmed::Unable),
        }
    }

    /// Be nudged when the process ends.
    pub(super) fn exit(&self, pid: u32, nudge: &Arc<Nudge>) -> Result<Hint, Unarmed> {
        let mut sources = self.sources();
        if let Some(exit) = sources.exits.get_mut(&pid) {
            exit.nudges.push(nudge.clone());
            return Ok(Hint::Exit(pid));
        }
        let process = match process::open(pid) {
            Ok(process) => Unshared::new(process),
            Err(Presence::Alive | Presence::Unknown) => return Err(Unarmed::Unable),
            Err(_) => return Err(Unarmed::Over),
        };
        // A process that has ended already was judged by the loop and left alone: its end wakes nobody any more.
        if is_readable(process.as_fd()) {
            return Err(Unarmed::Over);
        }
        let number = sources.number();
        listen(&self.epoll, process.as_fd(), number, epoll::EventFlags::IN)
            .map_err(|_| Unarmed::Unable)?;
        sources.told.insert(number, Source::Exit(pid));
        let nudges = vec![nudge.clone()];
        sources.exits.insert(
            pid,
            Exit {
                process,
                number,
                nudges,
            },
        );
        Ok(Hint::Exit(pid))
    }

    /// Be nudged once, when there is something to read.
    pub(super) fn ready(&self, descriptor: OwnedFd, nudge: &Arc<Nudge>) -> Result<Hint, Unarmed> {
        let mut sources = self.sources();
        let number = sources.number();
        let descriptor = Unshared::new(descriptor);
        let once = epoll::EventFlags::IN | epoll::EventFlags::ONESHOT;
        listen(&self.epoll, descriptor.as_fd(), number, once).map_err(|_| Unarmed::Unable)?;
        sources.told.insert(number, Source::Ready(nudge.clone()));
        Ok(Hint::Ready(number, descriptor))
    }

    /// No longer.
    pub(super) fn forget(&self, hint: Hint, nudge: &Arc<Nudge>) {
        let mut sources = self.sources();
        match hint {
            Hint::Entry(watch) => {
                let left = sources.watches.get_mut(&watch).map(|waiting| {
                    drop_one(waiting, |(other, _)| Arc::ptr_eq(other, nudge));
                    waiting.len()
                });
                if left == Some(0) {
                    sources.watches.remove(&watch);
                    if let Some(inotify) = &sources.inotify {
                        // The kernel drops a watch itself when the file goes: an error here says just that.
                        let _ = inotify::remove_watch(&**inotify, watch);
                    }
                }
            }
            Hint::Exit(pid) => {
                let left = sources.exits.get_mut(&pid).map(|exit| {
                    drop_one(&mut exit.nudges, |other| Arc::ptr_eq(other, nudge));
                    exit.nudges.len()
                });
                if left == Some(0) {
                    self.end_exit(&mut sources, pid);
                }
            }
            Hint::Ready(number, descriptor) => {
                // Not by closing: a duplicate elsewhere would keep it in.
                let _ = epoll::delete(&*self.epoll, descriptor.as_fd());
                sources.told.remove(&number);
            }
        }
    }

    fn end_exit(&self, sources: &mut Sources, pid: u32) -> Vec<Arc<Nudge>> {
        let Some(exit) = sources.exits.remove(&pid) else {
            return Vec::new();
        };
        sources.told.remove(&exit.number);
        let _ = epoll::delete(&*self.epoll, exit.process.as_fd());
        exit.nudges
    }

    /// End [`Poller::wait`] at this moment.
    pub(super) fn alarm(&self, at: Moment) {
        let since_boot = at.since_boot();
        let it_value = Timespec {
            tv_sec: i64::try_from(since_boot.as_secs()).unwrap_or(i64::MAX),
            // A zero would disarm it.
            tv_nsec: i64::from(since_boot.subsec_nanos().max(1)),
        };
        let it_interval = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let new = Itimerspec {
            it_interval,
            it_value,
        };
        // It can only fail for a time that makes no sense, and ours is the clock's own.
        let _ = timerfd_settime(&*self.timer, TimerfdTimerFlags::ABSTIME, &new);
    }

    /// Sleep until something happens or the alarm goes off, and nudge those who wait for it.
    pub(super) fn wait(&self) {
        let mut buffer = [MaybeUninit::<epoll::Event>::uninit(); 64];
        let Ok((events, _)) = epoll::wait(&*self.epoll, &mut buffer, None) else {
            return;
        };
        let mut nudges = Vec::new();
        for event in events {
            let mut sources = self.sources();
            match event.data.u64() {
                TIMER => {
                    let _ = read(&*self.timer, &mut [0_u8; 8]);
                }
                WATCHES => sources.changed(&mut nudges),
                number => match sources.told.get(&number) {
                    Some(Source::Ready(nudge)) => nudges.push(nudge.clone()),
                    Some(Source::Exit(pid)) => {
                        let pid = *pid;
                        nudges.extend(self.end_exit(&mut sources, pid));
                    }
                    None => {}
                },
            }
        }
        // Outside the mutex.
        nudges.iter().for_each(|nudge| nudge.give());
    }
}

impl Sources {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Who waits for what the inotify instance tells.
    fn changed(&mut self, nudges: &mut Vec<Arc<Nudge>>) {
        let Some(inotify) = &self.inotify else {
            return;
        };
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        let mut reader = inotify::Reader::new(&**inotify, &mut buffer);
        while let Ok(event) = reader.next() {
            let events = event.events();
            // The file is gone, and the watch with it.
            let gone = events.contains(ReadFlags::IGNORED);
            let waiting = match event.wd() {
                _ if events.contains(ReadFlags::QUEUE_OVERFLOW) => {
                    let all = self.watches.values().flatten();
                    nudges.extend(all.map(|(nudge, _)| nudge.clone()));
                    continue;
                }
                watch if gone => self.watches.remove(&watch).unwrap_or_default(),
                watch => self.watches.get(&watch).cloned().unwrap_or_default(),
            };
            // Watched for the sake of others.
            let read = events == ReadFlags::CLOSE_NOWRITE;
            let hears = |reads: &Reads| !read || *reads == Reads::Watched;
            nudges.extend(
                waiting
                    .into_iter()
                    .filter(|(_, r)| hears(r))
                    .map(|(n, _)| n),
            );
        }
    }
}

fn drop_one<T>(all: &mut Vec<T>, is_it: impl Fn(&T) -> bool) {
    if let Some(at) = all.iter().position(is_it) {
        all.swap_remove(at);
    }
}

fn listen(
    epoll: &OwnedFd,
    source: BorrowedFd<'_>,
    number: u64,
    events: epoll::EventFlags,
) -> rustix::io::Result<()> {
    epoll::add(epoll, source, epoll::EventData::new_u64(number), events)
}

fn is_readable(descriptor: BorrowedFd<'_>) -> bool {
    let mut descriptors = [PollFd::new(&descriptor, PollFlags::IN)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(poll(&mut descriptors, Some(&at_once)), Ok(n) if n > 0)
}
