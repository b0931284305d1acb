//! What systems answer that have no list of all locks, or that do not show what processes have open: everyone but Linux.

use super::file::Inode;
use super::{Asleep, Bearing, KernelFamily, Listed, Opened, Reading, Watching};
use crate::inspect::KernelInode;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// `Unsupported`.
pub(crate) fn listed(_: &dyn Fn(&Listed) -> bool) -> io::Result<Reading> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Nothing is seen.
pub(crate) fn opened(_: &dyn Fn(&Listed) -> bool, _: &dyn Fn(&Watching) -> bool) -> Opened {
    Opened::default()
}

/// Nobody can see.
pub(crate) fn keeps(_: u32, _: Option<&Path>, _: Inode, _: KernelFamily) -> Option<bool> {
    None
}

/// Nobody can see.
pub(crate) fn bearing(_: u32, _: &dyn Fn(&Listed) -> bool) -> Option<Vec<Bearing>> {
    None
}

/// Nobody can see.
pub(crate) fn ofd_waiters() -> Vec<Asleep> {
    Vec::new()
}

/// Nobody can see.
pub(crate) fn is_ours(_: &Watching) -> bool {
    false
}

/// Nobody can see.
pub(crate) fn has_open(_: u32, _: KernelInode) -> bool {
    false
}

/// As from here.
pub(crate) fn seen_by(_: u32, path: &Path) -> Option<PathBuf> {
    Some(path.to_owned())
}

/// `Unsupported`.
pub(crate) fn kernel_inode(_: &Path) -> io::Result<KernelInode> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Nobody can see.
pub(crate) fn has_name(_: u32, _: u32) -> Option<bool> {
    None
}

/// Nobody needs it.
pub(crate) fn numbered(_: &Path) -> Vec<(u64, OsString)> {
    Vec::new()
}

/// There is no list.
pub(crate) fn of_stat(_: Inode) -> Option<KernelInode> {
    None
}

/// The file systems that are mounted: none is known.
#[derive(Debug, Default)]
pub(crate) struct Mounts;

impl Mounts {
    /// None.
    pub(crate) fn now() -> Mounts {
        Mounts
    }

    /// Unknown.
    pub(crate) fn point(&self, _: KernelInode) -> Option<&Path> {
        None
    }

    /// Unknown.
    pub(crate) fn may_hang(&self, _: KernelInode) -> bool {
        false
    }
}
