//! What a file is called that is known by its locks: the paths that processes see, and whether these lead there.
//!
//! Not for: files that somebody named.

use super::found::{File, KernelInode, Name};
use super::locked::Sight;
use crate::sys::locks::{self, Mounts};
use crate::sys::text;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What the kernel writes after the path of a file whose name is gone.
pub(super) const DELETED: &[u8] = b" (deleted)";

/// One who finds names. Folders are listed once each.
#[derive(Debug)]
pub(super) struct Names {
    mounts: Mounts,
    folders: HashMap<PathBuf, HashMap<u64, OsString>>,
}

impl Names {
    pub(super) fn new(mounts: Mounts) -> Names {
        Names {
            mounts,
            folders: HashMap::new(),
        }
    }

    /// Whether a look at a path there might wait for a server for ever.
    pub(super) fn may_hang(&self, inode: KernelInode) -> bool {
        self.mounts.may_hang(inode)
    }

    /// By which path the file may be called.
    pub(super) fn of(&mut self, inode: KernelInode, sights: &[Sight]) -> File {
        let mount = self.mounts.point(inode).map(Path::to_owned);
        let file = |path: Option<PathBuf>, name| File {
            path,
            name,
            inode: Some(inode),
            mount: mount.clone(),
        };
        let Some(first) = sights.first() else {
            return file(None, Name::Unknown);
        };
        if self.may_hang(inode) {
            // It is believed.
            return file(Some(first.path.clone()), Name::Leads);
        }
        let leads = |path: &Path| locks::kernel_inode(path).is_ok_and(|there| there == inode);
        if let Some(sight) = sights.iter().find(|sight| leads(&sight.path)) {
            return file(Some(sight.path.clone()), Name::Leads);
        }
        let Some(stem) = text::bytes(first.path.as_os_str()).strip_suffix(DELETED) else {
            return file(Some(first.path.clone()), Name::Elsewhere(first.pid));
        };
        let stem = PathBuf::from(text::from_bytes(stem));
        // A file that was made without a name (O_TMPFILE, as sneck makes its claims) is called so for ever, whatever name it was given since.
        if locks::has_name(first.pid, first.descriptor) != Some(false) {
            let other = stem
                .parent()
                .and_then(|folder| self.named_in(folder, inode));
            if let Some(path) = other.filter(|path| leads(path)) {
                return file(Some(path), Name::Leads);
            }
        }
        // A container's path is looked at as the container sees it: here it may be another file's.
        let there = locks::seen_by(first.pid, &stem);
        if there.is_some_and(|there| std::fs::symlink_metadata(there).is_ok()) {
            return file(Some(stem), Name::Replaced);
        }
        match stem.parent().filter(|_| is_number(&stem)) {
            Some(folder) => file(Some(folder.to_owned()), Name::Nameless),
            None => file(Some(stem), Name::Deleted),
        }
    }

    /// The name that a file has in a folder, by its number there.
    fn named_in(&mut self, folder: &Path, inode: KernelInode) -> Option<PathBuf> {
        if !self.folders.contains_key(folder) {
            let names = locks::numbered(folder).into_iter().collect();
            self.folders.insert(folder.to_owned(), names);
        }
        let name = self.folders.get(folder)?.get(&inode.number)?;
        Some(folder.join(name))
    }
}

/// `#123`: what the kernel calls a file that was made without a name.
fn is_number(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let digits = name.and_then(|name| name.strip_prefix('#'));
    digits.is_some_and(|digits| {
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}
