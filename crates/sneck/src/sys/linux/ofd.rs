//! OFD locks: fcntl(2) locks that belong to an open file, as a flock does, and not to a process. Always on the whole file. rustix has none.

use super::file::{Asleep, Tried};
use crate::Mode;
use crate::inspect::Range;
use rustix::fd::{AsFd, AsRawFd};
use std::io;
use std::mem::zeroed;

/// One try.
pub(crate) fn try_lock(fd: &impl AsFd, mode: Mode) -> io::Result<Tried> {
    loop {
        match set(fd, libc::F_OFD_SETLK, kind(mode)) {
            Ok(()) => return Ok(Tried::Locked),
            // POSIX allows either.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
                return Ok(Tried::Busy);
            }
            // Seen on network file systems only: a local F_OFD_SETLK never sleeps.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sleep in fcntl(2). Interrupted by a signal: `ErrorKind::Interrupted`.
pub(crate) fn lock(fd: &impl AsFd, mode: Mode, _: &Asleep<'_>) -> io::Result<()> {
    set(fd, libc::F_OFD_SETLKW, kind(mode))
}

/// Give it up, for every copy of the descriptor.
pub(crate) fn unlock(fd: &impl AsFd) -> io::Result<()> {
    set(fd, libc::F_OFD_SETLK, libc::F_UNLCK)
}

fn kind(mode: Mode) -> libc::c_int {
    match mode {
        Mode::Exclusive => libc::F_WRLCK,
        Mode::Shared => libc::F_RDLCK,
    }
}

fn set(fd: &impl AsFd, command: libc::c_int, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: flock64 is a plain C struct for which all zeroes is a value. They mean: from the beginning, to the end however the file grows, and no pid,
    // which the kernel insists on for OFD locks. OFD commands take the 64-bit struct on every platform.
    let mut range: libc::flock64 = unsafe { zeroed() };
    range.l_type = kind as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: the descriptor is open for as long as it is borrowed; the command reads a flock64, and `range` is one that outlives the call.
    let done = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), command, &raw const range) };
    if done == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A lock that would keep an exclusive one out of these bytes, POSIX or OFD; nothing is taken. Its pid: as in the kernel's list.
pub(crate) fn in_the_way(fd: &impl AsFd, range: Range) -> io::Result<Option<(Mode, Range, i32)>> {
    // SAFETY: as above.
    let mut asked: libc::flock64 = unsafe { zeroed() };
    asked.l_type = libc::F_WRLCK as libc::c_short;
    asked.l_whence = libc::SEEK_SET as libc::c_short;
    let offset = |at: u64| libc::off64_t::try_from(at).unwrap_or(libc::off64_t::MAX);
    asked.l_start = offset(range.start);
    // 0: to the end, wherever it will be.
    asked.l_len = range.end.map_or(0, |end| offset(end - range.start + 1));
    // SAFETY: the descriptor is open for as long as it is borrowed; the command reads and writes a flock64, and `asked` is one that outlives the call.
    let done = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_OFD_GETLK, &raw mut asked) };
    if done == -1 {
        return Err(io::Error::last_os_error());
    }
    let mode = match i32::from(asked.l_type) {
        libc::F_WRLCK => Mode::Exclusive,
        libc::F_RDLCK => Mode::Shared,
        _ => return Ok(None),
    };
    let start = u64::try_from(asked.l_start).unwrap_or(0);
    let length = u64::try_from(asked.l_len).unwrap_or(0);
    let end = length.checked_sub(1).map(|last| start + last);
    Ok(Some((mode, Range { start, end }, asked.l_pid)))
}
