//! What file systems do on macOS and FreeBSD in their own way. Not for: what every Unix does (`unix/file.rs`, `unix/folder.rs`).
//!
//! There are no files without a name: claims are made under a hidden name and linked. FreeBSD cannot rename without replacing either.

use crate::sys::Families;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode as Bits, OFlags, fstatfs, statfs};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::path::Path;

/// Whether flock(2) and fcntl(2) locks see each other.
pub(crate) const FAMILIES: Families = Families::AsOne;

/// The protocols that this system cannot speak, and what to use instead.
#[cfg(target_os = "macos")]
pub(crate) const UNSPOKEN: [(&str, &str, &str); 0] = [];
#[cfg(target_os = "freebsd")]
pub(crate) const UNSPOKEN: [(&str, &str, &str); 1] = [(
    "fcntl",
    "FreeBSD has no fcntl locks that belong to an open file, and those of a process are dropped by any close",
    "use `flock`: on FreeBSD it excludes fcntl locks of the same file",
)];

/// To open a directory without the right to list it.
pub(in crate::sys) const UNLISTED: OFlags = OFlags::from_bits_retain(libc::O_SEARCH as u32);

/// To name a directory without listing it.
pub(in crate::sys) const UNENTERED: OFlags = UNLISTED;

/// Whether mkdir(2) gives a directory the sticky bit that it is asked for, where the file system knows one: here it takes over the rights alone.
pub(in crate::sys) const MKDIR_IS_STICKY: bool = false;

pub(in crate::sys) fn unnamed(_: &impl AsFd, _: Bits) -> io::Result<OwnedFd> {
    Err(Errno::NOTSUP.into())
}

pub(in crate::sys) fn name_it(_: &impl AsFd, _: &impl AsFd, _: &OsStr) -> io::Result<()> {
    Err(Errno::NOTSUP.into())
}

/// Give a file another name in the same folder, never in place of what stands there: `AlreadyExists` then.
#[cfg(target_os = "macos")]
pub(in crate::sys) fn rename(folder: &impl AsFd, name: &OsStr, other: &OsStr) -> io::Result<()> {
    use rustix::fs::{RenameFlags, renameat_with};
    Ok(renameat_with(
        folder,
        name,
        folder,
        other,
        RenameFlags::NOREPLACE,
    )?)
}

/// FreeBSD has no such call.
#[cfg(target_os = "freebsd")]
pub(in crate::sys) fn rename(_: &impl AsFd, _: &OsStr, _: &OsStr) -> io::Result<()> {
    Err(Errno::NOTSUP.into())
}

/// Whether the error says that a symbolic link stands where none is followed, in a way of this system's own: FreeBSD's O_NOFOLLOW answers EMLINK, not ELOOP.
pub(in crate::sys) fn is_link_there(error: Errno) -> bool {
    cfg!(target_os = "freebsd") && error == Errno::MLINK
}

/// Whether a path lies on a file system that other machines write to. Events and pids mean nothing there.
pub(crate) fn is_network(path: &Path) -> bool {
    statfs(path).is_ok_and(|s| s.f_flags & LOCAL == 0)
}

/// The same of a descriptor.
pub(crate) fn is_network_descriptor(fd: &impl AsFd) -> bool {
    fstatfs(fd).is_ok_and(|s| s.f_flags & LOCAL == 0)
}

/// File systems say it of themselves. Those of FUSE may be either, and say what their program said.
#[cfg(target_os = "macos")]
const LOCAL: u32 = libc::MNT_LOCAL as u32;
#[cfg(target_os = "freebsd")]
const LOCAL: u64 = libc::MNT_LOCAL;

/// Whether a descriptor is of a file system that is made of the kernel's own facts, or that mounts another one when it is entered.
pub(in crate::sys) fn is_pseudo(fd: &impl AsFd) -> bool {
    const PSEUDO: [&str; 7] = [
        "procfs",
        "linprocfs",
        "linsysfs",
        "devfs",
        "fdescfs",
        "autofs",
        "mqueuefs",
    ];
    fstatfs(fd).is_ok_and(|s| {
        let name = s.f_fstypename.iter().take_while(|&&c| c != 0);
        // What a C character is differs from processor to processor.
        #[allow(clippy::unnecessary_cast)]
        let name: Vec<u8> = name.map(|&c| c as u8).collect();
        PSEUDO.iter().any(|pseudo| pseudo.as_bytes() == name)
    })
}
