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

/// For `wait/`, which has no other kind of event here.
#[cfg(all(
    any(target_os = "macos", target_os = "freebsd"),
    not(sneck_unsupported)
))]
pub(crate) use platform::queue;
pub(crate) use platform::{clock, file, folder, fork, futex, locks, ofd, process, text, thread};
#[cfg(all(windows, not(sneck_unsupported)))]
pub(crate) use platform::{console, handle, port, watch};

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

/// One line of the kernel's list of locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(sneck_unsupported, allow(dead_code))]
pub(crate) struct KernelLock {
    pub(crate) mode: crate::Mode,
    /// 0 or -1 where the kernel does not tell: always for an OFD lock, which belongs to no process.
    pub(crate) pid: i32,
}
