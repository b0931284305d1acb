//! The seam to the operating system: the same names on every platform, and (with `wait/`) the only `unsafe` and
//! nearly the only `cfg` of the library.
//!
//! For: one system call or one fact each, as typed values. Not for: rules. What a fact means for a lock (who is dead, when to
//! try again) is decided by the files beside this folder.
//!
//! | module | what it holds |
//! |---|---|
//! | `clock` | time that goes on while the machine sleeps |
//! | `file` | lock files: open, look, flock, read, write |
//! | `folder` | names in a folder: look, make, publish, remove |
//! | `fork` | descriptors that a forked child must not keep, and how to tell that one was forked |
//! | `futex` | one word to sleep on that a signal can interrupt |
//! | `locks` | the kernel's list of locks |
//! | `ofd` | fcntl(2) locks that belong to an open file |
//! | `process` | who a process is: alive, since when, whose, running what |
//! | `thread` | a thread that no signal reaches |
//! | `text` | paths that may not be UTF-8 |

#[cfg(all(target_os = "linux", not(sneck_unsupported)))]
#[path = "linux/mod.rs"]
mod platform;
#[cfg(all(
    any(target_os = "macos", target_os = "freebsd"),
    not(sneck_unsupported)
))]
#[path = "bsd/mod.rs"]
mod platform;
#[cfg(not(all(
    any(
        target_os = "linux",
        target_os = "macos",
        target_os = "freebsd",
        windows
    ),
    not(sneck_unsupported)
)))]
#[path = "unsupported.rs"]
mod platform;
#[cfg(all(windows, not(sneck_unsupported)))]
#[path = "windows/mod.rs"]
mod platform;

#[cfg(all(
    any(target_os = "linux", target_os = "macos", target_os = "freebsd"),
    not(sneck_unsupported)
))]
mod unix;

#[cfg(any(not(target_os = "linux"), sneck_unsupported))]
mod no_list;

/// For `wait/`, which has no other kind of event here.
#[cfg(all(
    any(target_os = "macos", target_os = "freebsd"),
    not(sneck_unsupported)
))]
pub(crate) use platform::queue;
pub(crate) use platform::{clock, file, folder, fork, futex, locks, ofd, process, text, thread};
#[cfg(all(windows, not(sneck_unsupported)))]
pub(crate) use platform::{console, handle, port, watch};

use crate::inspect::{KernelInode, Kind, Pace, Range};

/// How a sleep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nap {
    /// Something happened, or may have.
    Woken,
    /// The time is over.
    TimedOut,
    /// A signal handler ran in this thread.
    Interrupted,
}

/// Whether a process is there, as far as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code)] // no platform but Linux has them all
pub(crate) enum Presence {
    /// It runs (or sleeps, or is stopped, or its leader is a zombie while other threads live).
    Alive,
    /// No process bears this number.
    Absent,
    /// It ended and waits to be reaped.
    Ended,
    /// The number names a thread that is no process of its own.
    MereThread,
    /// The kernel would not say.
    Unknown,
}

/// How a directory that is a claim is made or removed.
#[derive(Debug)]
#[allow(dead_code, reason = "each platform has its own way")]
pub(crate) enum Whole<T> {
    /// In one step.
    Done(T),
    /// Something stands there.
    Taken,
    /// Not here: step by step, then.
    InSteps,
}

/// What a namespace is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Namespace {
    /// Process numbers.
    Pid,
    /// The time since boot.
    Time,
}

/// The families of kernel locks. Neither sees the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KernelFamily {
    /// flock(2).
    Flock,
    /// fcntl(2): POSIX record locks and OFD locks, which exclude each other.
    Fcntl,
}

/// Whether the families of kernel locks see each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "each system has one of them")]
pub(crate) enum Families {
    /// Neither sees the other.
    Apart,
    /// A lock of one excludes those of the other, on the same file, even of the same process.
    AsOne,
}

/// What the system keeps about a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(dead_code, reason = "only Linux tells")]
pub(crate) struct Status {
    /// Its number in the innermost pid namespace that it lives in.
    pub(crate) inner_pid: Option<u32>,
    pub(crate) parent: Option<u32>,
    pub(crate) threads: Option<u32>,
    pub(crate) pace: Pace,
    /// Its control groups, one path a line.
    pub(crate) groups: String,
}

/// One line of the kernel's list of locks, in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "only Linux has such a list")]
pub(crate) struct Listed {
    /// The same for a lock and for all who wait for it; another one in each reading.
    pub(crate) number: u64,
    pub(crate) rank: Rank,
    pub(crate) kind: Kind,
    pub(crate) mode: crate::Mode,
    /// Who took it, in our pid namespace. 0: somebody outside of it, or gone; -1: nobody (OFD).
    pub(crate) pid: i32,
    pub(crate) inode: KernelInode,
    pub(crate) range: Range,
}

impl Listed {
    /// Whether both lines, of two readings, are the same.
    #[allow(dead_code, reason = "only Linux has such a list")]
    pub(crate) fn is(&self, other: &Listed) -> bool {
        let number = other.number;
        Listed { number, ..*self } == *other
    }

    /// [`are_apart`], of two lines.
    #[allow(dead_code, reason = "only Linux has such a list")]
    pub(crate) fn excludes(&self, other: &Listed) -> bool {
        let of = |lock: &Listed| (lock.kind, lock.mode, lock.range, lock.pid);
        are_apart(of(self), of(other))
    }

    /// Who took it, as the list has it, unless the line is of one who waits.
    #[allow(dead_code, reason = "only Linux has such a list")]
    pub(crate) fn pid_if_held(&self) -> Option<i32> {
        (self.rank == Rank::Held).then_some(self.pid)
    }
}

/// Whether two locks on one file cannot be held at once, as far as kind, mode, bytes and taker tell: one that a process took may be the same that it took before, but for OFD locks, which are no
/// process's.
#[allow(dead_code, reason = "only Linux has such a list")]
pub(crate) fn are_apart(
    one: (Kind, crate::Mode, Range, i32),
    other: (Kind, crate::Mode, Range, i32),
) -> bool {
    let own = (one.0, one.3) == (other.0, other.3) && one.0 != Kind::Ofd;
    let exclusive = [one.1, other.1].contains(&crate::Mode::Exclusive);
    one.0.sees(other.0) && !own && exclusive && one.2.overlaps(&other.2)
}

/// Whether a line is of a lock or of one who waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "only Linux has such a list")]
pub(crate) enum Rank {
    /// It is held.
    Held,
    /// It waits; so many who wait are before it.
    Waits(usize),
}

/// The kernel's list, as far as it was asked for.
#[derive(Debug)]
#[allow(dead_code, reason = "only Linux has such a list")]
pub(crate) enum Reading {
    /// All of it, as it stood at one moment.
    Whole(Vec<Listed>),
    /// It changed each time that it was read: something may be missing.
    Shifting(Vec<Listed>),
}

impl Reading {
    /// What was read.
    pub(crate) fn locks(&self) -> &[Listed] {
        match self {
            Reading::Whole(locks) | Reading::Shifting(locks) => locks,
        }
    }
}

/// A descriptor that keeps up locks.
#[derive(Debug)]
#[allow(dead_code, reason = "only Linux tells")]
pub(crate) struct Bearing {
    pub(crate) pid: u32,
    pub(crate) descriptor: u32,
    pub(crate) locks: Vec<Listed>,
    /// The file's path as that process sees it; ` (deleted)` after it, if it has none any more.
    pub(crate) path: Option<std::path::PathBuf>,
}

/// A watch that a process has on a file.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code, reason = "only Linux tells")]
pub(crate) struct Watching {
    pub(crate) pid: u32,
    pub(crate) inode: KernelInode,
    /// What it wants to be told, as bits of inotify(7).
    pub(crate) events: u32,
}

/// A process that sleeps until it gets an OFD lock.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code, reason = "only Linux tells")]
pub(crate) struct Asleep {
    pub(crate) pid: u32,
    pub(crate) inode: KernelInode,
    /// How, and for which bytes. None: it does not show it.
    pub(crate) wants: Option<(crate::Mode, Range)>,
}

/// What processes have open.
#[derive(Debug, Default)]
#[allow(dead_code, reason = "only Linux tells")]
pub(crate) struct Opened {
    pub(crate) bearing: Vec<Bearing>,
    pub(crate) watching: Vec<Watching>,
    /// The processes that do not show it.
    pub(crate) hidden: Vec<u32>,
}

/// One line of the kernel's list of locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(sneck_unsupported, allow(dead_code))]
pub(crate) struct KernelLock {
    pub(crate) mode: crate::Mode,
    /// 0 or -1 where the kernel does not tell: always for an OFD lock, which belongs to no process.
    pub(crate) pid: i32,
}
