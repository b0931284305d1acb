//! The kernel's list of locks is not to be had here: macOS has none, and FreeBSD's (sysctl kern.lockf, since 14) is not read yet.

pub(crate) use crate::sys::no_list::{
    Mounts, bearing, has_name, has_open, is_ours, keeps, kernel_inode, listed, numbered, of_stat,
    ofd_waiters, opened, seen_by,
};

use super::file::Inode;
use crate::sys::{KernelFamily, KernelLock};
use std::io;
use std::path::Path;

/// `Unsupported`.
pub(crate) fn held_on(_: Option<&Path>, _: Inode, _: KernelFamily) -> io::Result<Vec<KernelLock>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Nobody can tell. Whoever would remove a claim tries to lock it first, and finds out.
pub(crate) fn is_flocked(_: (u64, u64)) -> bool {
    false
}

/// Nobody can tell: F_GETLK does not show one's own.
pub(crate) fn has_own_posix_lock(_: Inode) -> bool {
    false
}

/// There is no list.
pub(crate) fn lists_all(_: Inode) -> bool {
    false
}

/// Nobody knows.
pub(crate) fn keepers(_: Option<&Path>, _: Inode, _: KernelFamily) -> Vec<KernelLock> {
    Vec::new()
}
