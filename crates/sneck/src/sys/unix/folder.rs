//! A folder and the names in it: look, make, publish, remove. Nothing here follows a symbolic link at the last name.
//!
//! Not for: what a claim looks like (`protocol/`), or locking files (`file.rs`).

use super::file::{Asleep, Descriptor, Look, Tried, absent_is_none, flock, try_flock, unflock};
use super::fork::Unshared;
use crate::Mode;
use crate::sys::Whole;
use crate::sys::platform::filesystem;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    Access, AtFlags, Dir, Mode as Bits, OFlags, RawMode, accessat, fchmod, fstat, linkat, mkdirat,
    open, openat, readlinkat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

const PLAIN: OFlags = OFlags::CLOEXEC
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);
/// The mode of a claim: others may read it, which is how they learn who holds.
const READABLE: RawMode = 0o644;
/// The mode of a directory that is a claim: sticky, which is of no use where nobody else may write, and so says whose it is.
const OURS: RawMode = 0o1755;

/// A directory held open, so that a name means the same place for as long as it is held.
#[derive(Debug)]
pub(crate) struct Directory(Unshared<OwnedFd>);

impl Directory {
    /// Open a directory; symbolic links in its path are followed.
    pub(crate) fn open(path: &Path) -> io::Result<Directory> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Directory(Unshared::new(open(path, flags, Bits::empty())?)))
    }

    /// Open a directory without the right to list it: names work, locking it does not.
    pub(crate) fn open_unlisted(path: &Path) -> io::Result<Directory> {
        let flags = filesystem::UNLISTED | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Directory(Unshared::new(open(path, flags, Bits::empty())?)))
    }

    /// Open a directory in this one. None: nothing there.
    pub(crate) fn folder(&self, name: &OsStr) -> io::Result<Option<Directory>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | PLAIN;
        let opened = absent_is_none(openat(&*self.0, name, flags, Bits::empty()))?;
        Ok(opened.map(|fd| Directory(Unshared::new(fd))))
    }

    /// Whether this is the process that opened it.
    pub(crate) fn is_ours(&self) -> bool {
        self.0.is_ours()
    }

    /// The descriptor.
    pub(crate) fn descriptor(&self) -> &OwnedFd {
        &self.0
    }

    /// The descriptor, for keeps.
    pub(crate) fn into_descriptor(self) -> Unshared<OwnedFd> {
        self.0
    }

    /// What stands at a name in it.
    pub(crate) fn look(&self, name: &OsStr) -> io::Result<Option<Look>> {
        absent_is_none(statat(&*self.0, name, AtFlags::SYMLINK_NOFOLLOW).map(|s| Look::of(&s)))
    }

    /// The target of a symbolic link in it. None: nothing there.
    pub(crate) fn link_target(&self, name: &OsStr) -> io::Result<Option<OsString>> {
        absent_is_none(
            readlinkat(&*self.0, name, Vec::new()).map(|t| OsString::from_vec(t.into_bytes())),
        )
    }

    /// Whether the directory of this name in it is the top of a file system that is made of the kernel's own facts, or that mounts another one when it is entered: found out without entering it.
    pub(crate) fn bears_pseudo(&self, name: &OsStr) -> bool {
        let flags = filesystem::UNENTERED | OFlags::DIRECTORY | PLAIN;
        openat(&*self.0, name, flags, Bits::empty()).is_ok_and(|fd| filesystem::is_pseudo(&fd))
    }

    /// The names in it, but no more than so many.
    pub(crate) fn names(&self, most: usize) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&*self.0)? {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
            if names.len() == most {
                break;
            }
        }
        Ok(names)
    }

    /// The names in it that begin so.
    pub(crate) fn names_from(&self, start: &OsStr) -> io::Result<Vec<OsString>> {
        let mut names = self.names(usize::MAX)?;
        names.retain(|name| name.as_bytes().starts_with(start.as_bytes()));
        Ok(names)
    }

    /// Open a regular file to read it. None: nothing there.
    pub(crate) fn file(&self, name: &OsStr) -> io::Result<Option<OwnedFd>> {
        absent_is_none(openat(
            &*self.0,
            name,
            OFlags::RDONLY | PLAIN,
            Bits::empty(),
        ))
    }

    /// Make a file that has no name yet. Not every file system can.
    pub(crate) fn unnamed(&self) -> io::Result<OwnedFd> {
        filesystem::unnamed(&*self.0, Bits::from_raw_mode(READABLE))
    }

    /// Give such a file its name; `AlreadyExists` if that is taken.
    pub(crate) fn name_it(&self, file: &impl AsFd, name: &OsStr) -> io::Result<()> {
        filesystem::name_it(file, &*self.0, name)
    }

    /// Make an empty file; `AlreadyExists` if the name is taken.
    pub(crate) fn make_file(&self, name: &OsStr) -> io::Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | PLAIN;
        Ok(openat(
            &*self.0,
            name,
            flags,
            Bits::from_raw_mode(READABLE),
        )?)
    }

    /// Make a symbolic link; `AlreadyExists` if the name is taken.
    pub(crate) fn make_link(&self, target: &OsStr, name: &OsStr) -> io::Result<()> {
        Ok(symlinkat(target, &*self.0, name)?)
    }

    /// Why no link could be made. A file system that has none (FAT) answers as if it were not allowed.
    pub(crate) fn link_refused(&self, error: io::Error) -> io::Error {
        let may_write = || accessat(&*self.0, ".", Access::WRITE_OK, AtFlags::EACCESS).is_ok();
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::PERM) if may_write() => Errno::NOTSUP.into(),
            _ => error,
        }
    }

    /// Remove what is left of a link whose holder died while it removed it: nothing ever is.
    pub(crate) fn remove_remains(&self, _: &OsStr) -> io::Result<bool> {
        Ok(false)
    }

    /// Make a directory with a file in it, whole. Preparing it elsewhere would leave litter, which the sticky bit saves us from.
    pub(crate) fn make_whole<T>(
        &self,
        _: &OsStr,
        _: &OsStr,
        _: impl FnOnce(&Descriptor) -> io::Result<T>,
    ) -> io::Result<Whole<(Directory, T)>> {
        Ok(Whole::InSteps)
    }

    /// Remove a directory with a file in it, in one step.
    pub(crate) fn remove_whole(&self, _: &OsStr, _: &OsStr) -> io::Result<Whole<()>> {
        Ok(Whole::InSteps)
    }

    /// Take apart a directory that was on its way in or out: none ever is.
    pub(crate) fn remove_litter(&self, _: &OsStr, _: &OsStr) -> io::Result<()> {
        Ok(())
    }

    /// Make a directory with the sticky bit; `AlreadyExists` if the name is taken.
    pub(crate) fn make_folder(&self, name: &OsStr) -> io::Result<()> {
        Ok(mkdirat(&*self.0, name, Bits::from_raw_mode(OURS))?)
    }

    /// Give it the mode of those that we make.
    pub(crate) fn make_ours(&self) -> io::Result<()> {
        Ok(fchmod(&*self.0, Bits::from_raw_mode(OURS))?)
    }

    /// Whether a directory that we make here has that mode: tried with this directory, which has another one, and is left as it was.
    pub(crate) fn keeps_ours(&self) -> io::Result<bool> {
        if !filesystem::MKDIR_IS_STICKY {
            return Ok(false);
        }
        let before = fstat(&*self.0)?.st_mode;
        let kept = self.make_ours().is_ok() && Look::of(&fstat(&*self.0)?).is_ours;
        if kept {
            fchmod(&*self.0, Bits::from_raw_mode(before & 0o7777))?;
        }
        Ok(kept)
    }

    /// Give a file a second name; `AlreadyExists` if that is taken.
    pub(crate) fn second_name(&self, name: &OsStr, second: &OsStr) -> io::Result<()> {
        Ok(linkat(&*self.0, name, &*self.0, second, AtFlags::empty())?)
    }

    /// Give a file another name, never in place of what stands there: `AlreadyExists` then.
    pub(crate) fn rename(&self, name: &OsStr, other: &OsStr) -> io::Result<()> {
        filesystem::rename(&*self.0, name, other)
    }

    /// Remove a name that is no directory.
    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&*self.0, name, AtFlags::empty())?)
    }

    /// Remove an empty directory.
    pub(crate) fn remove_folder(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&*self.0, name, AtFlags::REMOVEDIR)?)
    }

    /// One try for an exclusive flock on the directory itself.
    pub(crate) fn try_flock(&self) -> io::Result<Tried> {
        try_flock(&*self.0, Mode::Exclusive)
    }

    /// Sleep until there is one. Interrupted by a signal: `ErrorKind::Interrupted`.
    pub(crate) fn flock(&self, asleep: &Asleep<'_>) -> io::Result<()> {
        flock(&*self.0, Mode::Exclusive, asleep)
    }

    /// Give it up.
    pub(crate) fn unflock(&self) {
        let _ = unflock(&*self.0);
    }
}

/// Whether making and removing a link can leave something behind under another name: each is one system call.
pub(crate) fn links_leave_litter() -> bool {
    false
}

/// Whether a link cannot be made because this file system has none.
pub(crate) fn has_no_links(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::PERM | Errno::NOTSUP | Errno::NOSYS | Errno::MLINK | Errno::INVAL)
    )
}
