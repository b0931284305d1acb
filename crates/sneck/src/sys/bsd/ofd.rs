//! OFD locks: macOS has them, with Linux's names; FreeBSD does not. A POSIX record lock is no substitute: closing any descriptor of the file drops it.

use super::file::{Asleep, Tried};
use crate::Mode;
use crate::inspect::Range;
use rustix::fd::AsFd;
use std::io;

/// One try.
#[cfg(target_os = "macos")]
pub(crate) fn try_lock(fd: &impl AsFd, mode: Mode) -> io::Result<Tried> {
    loop {
        match apple::set(fd, libc::F_OFD_SETLK, apple::kind(mode)) {
            Ok(()) => return Ok(Tried::Locked),
            // POSIX allows either.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
                return Ok(Tried::Busy);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sleep in fcntl(2). Interrupted by a signal: `ErrorKind::Interrupted`.
#[cfg(target_os = "macos")]
pub(crate) fn lock(fd: &impl AsFd, mode: Mode, _: &Asleep<'_>) -> io::Result<()> {
    apple::set(fd, libc::F_OFD_SETLKW, apple::kind(mode))
}

/// Give it up, for every copy of the descriptor.
#[cfg(target_os = "macos")]
pub(crate) fn unlock(fd: &impl AsFd) -> io::Result<()> {
    apple::set(fd, libc::F_OFD_SETLK, libc::F_UNLCK)
}

#[cfg(target_os = "macos")]
mod apple {
    use super::*;
    use rustix::fd::AsRawFd;
    use std::mem::zeroed;

    pub(super) fn kind(mode: Mode) -> libc::c_short {
        match mode {
            Mode::Exclusive => libc::F_WRLCK,
            Mode::Shared => libc::F_RDLCK,
        }
    }

    pub(super) fn set(fd: &impl AsFd, command: libc::c_int, kind: libc::c_short) -> io::Result<()> {
        // SAFETY: flock is a plain C struct for which all zeroes is a value. They mean: from the beginning, to the end however the file grows, and no pid.
        let mut range: libc::flock = unsafe { zeroed() };
        range.l_type = kind;
        range.l_whence = libc::SEEK_SET as libc::c_short;
        // SAFETY: the descriptor is open for as long as it is borrowed; the command reads a flock, and `range` is one that outlives the call.
        let done = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), command, &raw const range) };
        if done == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

/// FreeBSD (as of 14) has none.
#[cfg(target_os = "freebsd")]
pub(crate) fn try_lock(_: &impl AsFd, _: Mode) -> io::Result<Tried> {
    Err(rustix::io::Errno::NOTSUP.into())
}

/// FreeBSD (as of 14) has none.
#[cfg(target_os = "freebsd")]
pub(crate) fn lock(_: &impl AsFd, _: Mode, _: &Asleep<'_>) -> io::Result<()> {
    Err(rustix::io::Errno::NOTSUP.into())
}

/// FreeBSD (as of 14) has none.
#[cfg(target_os = "freebsd")]
pub(crate) fn unlock(_: &impl AsFd) -> io::Result<()> {
    Err(rustix::io::Errno::NOTSUP.into())
}

/// Not asked for here yet.
pub(crate) fn in_the_way(_: &impl AsFd, _: Range) -> io::Result<Option<(Mode, Range, i32)>> {
    Err(rustix::io::Errno::NOTSUP.into())
}
