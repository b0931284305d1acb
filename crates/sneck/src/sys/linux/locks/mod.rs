//! The kernel's own list of locks, read without touching the files: /proc/locks (`list.rs`), and what each process has open, /proc/PID/fdinfo (`open.rs`), and who sleeps
//! for an OFD lock (`asleep.rs`).
//!
//! Not for: what it means for a lock (`inspect/`).

mod asleep;
mod list;
mod mounts;
mod open;

pub(crate) use asleep::ofd_waiters;
pub(crate) use list::listed;
pub(crate) use mounts::{Mounts, kernel_inode, seen_by};
pub(crate) use open::{bearing, has_name, has_open, numbered, opened};

use super::file::Inode;
use crate::inspect::{KernelInode, Kind};
use crate::sys::{KernelFamily, KernelLock, Listed, Watching};
use rustix::fs::{major, minor};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

impl KernelFamily {
    /// Whether a lock is one of this family.
    fn has(self, lock: &Listed) -> bool {
        lock.kind.sees(match self {
            KernelFamily::Flock => Kind::Flock,
            KernelFamily::Fcntl => Kind::Posix,
        })
    }
}

/// Which file this is on the list, if `stat` has the same numbers for it.
pub(crate) fn of_stat(file: Inode) -> Option<KernelInode> {
    Some(on_the_list(None, file))
}

/// Which file this is on the kernel's list. Without a path that is a guess on devices that have no number of their own.
fn on_the_list(path: Option<&Path>, file: Inode) -> KernelInode {
    let there = KernelInode {
        major: major(file.device),
        minor: minor(file.device),
        number: file.number,
    };
    match path {
        Some(path) if there.major == 0 => kernel_inode(path).unwrap_or(there),
        _ => there,
    }
}

/// The locks of a family that are held (not waited for) on any part of a file. Only what this process may see: a pid namespace hides the rest.
pub(crate) fn held_on(
    path: Option<&Path>,
    file: Inode,
    family: KernelFamily,
) -> io::Result<Vec<KernelLock>> {
    let there = on_the_list(path, file);
    let held =
        listed(&|lock| lock.inode == there && lock.pid_if_held().is_some() && family.has(lock))?;
    let of = |lock: &Listed| KernelLock {
        mode: lock.mode,
        pid: lock.pid,
    };
    Ok(held.locks().iter().map(of).collect())
}

/// Whether somebody has a flock on the inode of this device and number, as far as this process may see.
pub(crate) fn is_flocked((device, number): (u64, u64)) -> bool {
    let file = Inode { device, number };
    held_on(None, file, KernelFamily::Flock).is_ok_and(|found| !found.is_empty())
}

/// Whether this process has a POSIX lock on a file: closing any descriptor of the file would drop it.
pub(crate) fn has_own_posix_lock(file: Inode) -> bool {
    let own = i32::try_from(std::process::id());
    // Where the device's numbers differ, the inode's do not: rather one lock too many.
    let found = listed(&|lock| {
        lock.kind == Kind::Posix
            && (lock.inode.minor, lock.inode.number) == (minor(file.device), file.number)
            && lock.pid_if_held().is_some_and(|pid| Ok(pid) == own)
    });
    found.is_ok_and(|found| !found.locks().is_empty())
}

/// Whether /proc/locks names files on this device as stat(2) does. Devices without a number of their own may differ (btrfs, overlayfs).
pub(crate) fn lists_all(file: Inode) -> bool {
    major(file.device) != 0
}

/// The processes that have a lock of a family on this file through one of their descriptors, inherited ones included. Slow: it walks /proc.
pub(crate) fn keepers(path: Option<&Path>, file: Inode, family: KernelFamily) -> Vec<KernelLock> {
    let there = on_the_list(path, file);
    let is_sure = lists_all(file) || path.is_some();
    let is_there = |lock: &Listed| match is_sure {
        true => lock.inode == there,
        false => lock.inode.major == 0,
    };
    let opened = opened(&|lock| family.has(lock) && is_there(lock), &|_| false);
    let mut found: Vec<KernelLock> = Vec::new();
    for bearing in opened.bearing {
        let Ok(pid) = i32::try_from(bearing.pid) else {
            continue;
        };
        // A look through the magic link tells the file's numbers as stat(2) has them.
        let same = || {
            let link = format!("/proc/{pid}/fd/{}", bearing.descriptor);
            fs::metadata(link)
                .is_ok_and(|stat| (stat.dev(), stat.ino()) == (file.device, file.number))
        };
        let known = found.iter().any(|lock| lock.pid == pid);
        if !known && (is_sure || same()) {
            let mode = bearing.locks[0].mode;
            found.push(KernelLock { mode, pid });
        }
    }
    found
}

/// Whether a watch is one as sneck's own waiters have.
pub(crate) fn is_ours(watch: &Watching) -> bool {
    crate::wait::is_watched_so(watch.events)
}

/// Whether a process has such a lock through one of its descriptors. None: nobody can see.
pub(crate) fn keeps(
    pid: u32,
    path: Option<&Path>,
    file: Inode,
    family: KernelFamily,
) -> Option<bool> {
    if !lists_all(file) && path.is_none() {
        return None;
    }
    let there = on_the_list(path, file);
    let bearing = bearing(pid, &|lock| family.has(lock) && lock.inode == there)?;
    Some(!bearing.is_empty())
}
