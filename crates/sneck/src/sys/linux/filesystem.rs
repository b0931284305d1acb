//! What file systems do on Linux alone: files without a name, descriptors that only name a place, renaming without replacing, and which of them are a network's.
//!
//! Not for: what every Unix does (`unix/file.rs`, `unix/folder.rs`).

use crate::sys::Families;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, Mode as Bits, OFlags, RenameFlags, fstatfs, linkat, openat, renameat_with,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::path::Path;

/// Whether flock(2) and fcntl(2) locks see each other.
pub(crate) const FAMILIES: Families = Families::Apart;

/// The protocols that this system cannot speak, and what to use instead.
pub(crate) const UNSPOKEN: [(&str, &str, &str); 0] = [];

/// To open a directory without the right to list it.
pub(in crate::sys) const UNLISTED: OFlags = OFlags::PATH;

/// To name a directory without entering it.
pub(in crate::sys) const UNENTERED: OFlags = OFlags::PATH;

/// Whether mkdir(2) gives a directory the sticky bit that it is asked for, where the file system knows one.
pub(in crate::sys) const MKDIR_IS_STICKY: bool = true;

/// A file that has no name yet. Not every file system can.
pub(in crate::sys) fn unnamed(folder: &impl AsFd, mode: Bits) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    Ok(openat(folder, ".", flags, mode)?)
}

/// Give such a file its name; `AlreadyExists` if that is taken.
pub(in crate::sys) fn name_it(
    file: &impl AsFd,
    folder: &impl AsFd,
    name: &OsStr,
) -> io::Result<()> {
    // AT_EMPTY_PATH would ask for CAP_DAC_READ_SEARCH (before Linux 6.10).
    let magic = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    Ok(linkat(CWD, magic, folder, name, AtFlags::SYMLINK_FOLLOW)?)
}

/// Give a file another name in the same folder, never in place of what stands there: `AlreadyExists` then.
pub(in crate::sys) fn rename(folder: &impl AsFd, name: &OsStr, other: &OsStr) -> io::Result<()> {
    Ok(renameat_with(
        folder,
        name,
        folder,
        other,
        RenameFlags::NOREPLACE,
    )?)
}

/// Whether the error says that a symbolic link stands where none is followed, in a way of this system's own.
pub(in crate::sys) fn is_link_there(_: Errno) -> bool {
    false
}

/// Whether a path lies on a file system that other machines write to. Events and pids mean nothing there.
pub(crate) fn is_network(path: &Path) -> bool {
    let Ok(fd) = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Bits::empty()) else {
        return false;
    };
    is_network_descriptor(&fd)
}

/// The same of a descriptor.
pub(crate) fn is_network_descriptor(fd: &impl AsFd) -> bool {
    // From linux/magic.h and the file systems' own headers: NFS, SMB, SMB2, CIFS, 9P, AFS, CODA, NCP, CEPH, OCFS2, GFS2, LUSTRE. FUSE can be
    // either and counts as local: bindfs and friends raise events, sshfs does no locks worth the name.
    const NETWORK: [u64; 12] = [
        0x6969,
        0x517b,
        0xfe53_4d42,
        0xff53_4d42,
        0x0102_1997,
        0x5346_414f,
        0x7375_7245,
        0x564c,
        0x00c3_6400,
        0x7461_636f,
        0x0116_1970,
        0x0bd0_0bd0,
    ];
    is_one_of(fd, &NETWORK)
}

/// Whether a descriptor is of a file system that is made of the kernel's own facts, or that mounts another one when it is entered.
pub(in crate::sys) fn is_pseudo(fd: &impl AsFd) -> bool {
    // From linux/magic.h and the file systems' own headers: proc, sysfs, cgroup, cgroup2, debugfs, tracefs, securityfs, selinuxfs, smackfs, devpts, bpf, pstore, efivarfs, configfs,
    // fusectl, binfmt_misc, mqueue, nsfs, openpromfs, rpc_pipefs, nfsd, autofs, resctrl. Not tmpfs and devtmpfs, where lock files are.
    const PSEUDO: [u64; 23] = [
        0x9fa0,
        0x6265_6572,
        0x0027_e0eb,
        0x6367_7270,
        0x6462_6720,
        0x7472_6163,
        0x7363_6673,
        0xf97c_ff8c,
        0x4341_5d53,
        0x1cd1,
        0xcafe_4a11,
        0x6165_676c,
        0xde5e_81e4,
        0x6265_6570,
        0x6573_5543,
        0x4249_4e4d,
        0x1980_0202,
        0x6e73_6673,
        0x9fa1,
        0x6759_6969,
        0x6e66_7364,
        0x0187,
        0x0765_5821,
    ];
    is_one_of(fd, &PSEUDO)
}

fn is_one_of(fd: &impl AsFd, kinds: &[u64]) -> bool {
    let magic = fstatfs(fd).map(|s| s.f_type as u64 & 0xffff_ffff);
    magic.is_ok_and(|magic| kinds.contains(&magic))
}
