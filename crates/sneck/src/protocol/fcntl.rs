//! `fcntl`: an OFD lock, of fcntl(2), on the whole of a regular file.
//!
//! Downsides. Blind to the other family: a flock(2) on the same file is not seen. Against programs with POSIX record locks it excludes other processes,
//! and their rules stay theirs: **closing any descriptor of the file drops all POSIX locks that the process itself has on it**. We open and close the
//! file with each acquisition, had or not, so a process must not guard one file with POSIX locks of its own and with this
//! protocol too. Looking (`holder()`) opens nothing. An exclusive lock wants the right to write the file, a shared one the right to read it.
//! A lock belongs to the open file and not to a process: the kernel's list names nobody (pid -1, and so does F_OFD_GETLK), we look for the descriptor in
//! /proc, and what /proc hides stays unknown; nor does the kernel find a deadlock (no EDEADLK). Removing or replacing the file while it is held splits the
//! lock in two, as with `flock`. A child that inherits the descriptor holds it too. Readers that overlap can keep a writer out for ever.
//!
//! Bytes: none; the file's content is never touched. The file stays.
//!
//! Not on Windows, which has one family.
//!
//! Also spoken, as POSIX record locks on the whole file or a part of it, by lckdo, with-lock-ex, runlock, fasteners, apt and dpkg.

use super::kernel::{Family, LockFile};
use crate::claim::Mode;
use crate::error::Result;
use crate::place::Place;
use crate::sys::KernelFamily;
use crate::sys::file::{Access, Asleep, Descriptor, Tried};
use crate::sys::ofd;
use std::io;

/// The OFD lock at this place.
pub(crate) fn at(place: Place) -> Result<LockFile<Fcntl>> {
    LockFile::new(place, Fcntl)
}

/// OFD locks.
#[derive(Debug)]
pub(crate) struct Fcntl;

impl Family for Fcntl {
    const NAME: &'static str = "fcntl";
    const CALL: &'static str = "fcntl(2) locks (F_OFD_SETLK)";
    const LISTED: KernelFamily = KernelFamily::Fcntl;

    fn access(&self, mode: Mode) -> Access {
        match mode {
            Mode::Exclusive => Access::WriteOnly,
            Mode::Shared => Access::ReadOnly,
        }
    }

    fn denied(mode: Mode, error: &io::Error) -> Option<(String, &'static str)> {
        let right = match (mode, error.kind()) {
            (
                Mode::Exclusive,
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem,
            ) => "write",
            (Mode::Shared, io::ErrorKind::PermissionDenied) => "read",
            _ => return None,
        };
        let what = format!("the {mode} lock of protocol fcntl needs the right to {right} the file");
        let advice = match mode {
            Mode::Exclusive => {
                "a file that can only be read can be locked shared; or get the right to write it"
            }
            Mode::Shared => "get the right to read it",
        };
        Some((what, advice))
    }

    fn try_lock(file: &Descriptor, mode: Mode) -> io::Result<Tried> {
        ofd::try_lock(file, mode)
    }

    fn lock(file: &Descriptor, mode: Mode, asleep: &Asleep<'_>) -> io::Result<()> {
        ofd::lock(file, mode, asleep)
    }

    fn unlock(file: &Descriptor) -> io::Result<()> {
        ofd::unlock(file)
    }
}
