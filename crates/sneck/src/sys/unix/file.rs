//! Lock files and directory entries. Every open is close-on-exec and follows no symbolic link at the last name.
#![allow(clippy::disallowed_methods)] // the one place for flock(2)

use crate::Mode;
use crate::sys::platform::filesystem;
pub(crate) use crate::sys::platform::filesystem::{
    FAMILIES, UNSPOKEN, is_network, is_network_descriptor,
};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Mode as Bits, OFlags, Stat, Timestamps, UTIME_NOW,
    flock as flock2, fstat, ftruncate, futimens, open, statat,
};
use rustix::io::Errno;
use std::fs::{File, Permissions};
use std::io;
use std::marker::PhantomData;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A descriptor.
pub type Descriptor = OwnedFd;
/// A borrowed descriptor.
pub type Borrowed<'a> = BorrowedFd<'a>;

/// Lend a descriptor to a command, which then holds what is locked by it.
pub(crate) fn lend(fd: &Descriptor) -> Option<Borrowed<'_>> {
    Some(fd.as_fd())
}

/// What stands before the number in a record.
pub(crate) const RECORD_PREFIX: &str = "";

/// Whoever sleeps in the kernel's queue. A signal ends it, so the call need not know by what.
#[derive(Debug)]
pub(crate) struct Asleep<'a>(pub(crate) PhantomData<&'a ()>);

/// Which file: device and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Inode {
    pub(crate) device: u64,
    pub(crate) number: u64,
}

/// What kind of thing stands at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Regular,
    Directory,
    Symlink,
    Fifo,
    Socket,
    Device,
}

impl Kind {
    /// As a message says it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Kind::Regular => "a regular file",
            Kind::Directory => "a directory",
            Kind::Symlink => "a symbolic link",
            Kind::Fifo => "a FIFO",
            Kind::Socket => "a socket",
            Kind::Device => "a device",
        }
    }
}

/// What a look at a name or a descriptor gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) inode: Inode,
    pub(crate) kind: Kind,
    pub(crate) size: u64,
    /// How many names it has.
    pub(crate) links: u64,
    /// Sticky, and not for others to write to: by this our own directories are known.
    pub(crate) is_ours: bool,
    /// Status change time, in nanoseconds since 1970: no program can set it back.
    pub(crate) changed: i128,
}

impl Look {
    // What these numbers are made of differs from system to system.
    #[allow(clippy::unnecessary_cast)]
    pub(super) fn of(stat: &Stat) -> Look {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::Regular,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            _ => Kind::Device,
        };
        Look {
            inode: Inode {
                device: stat.st_dev as u64,
                number: stat.st_ino as u64,
            },
            kind,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            links: stat.st_nlink as u64,
            is_ours: stat.st_mode & 0o1022 == 0o1000,
            changed: i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec),
        }
    }

    /// Status change time as wall time.
    pub(crate) fn changed_at(&self) -> SystemTime {
        let nanos = u64::try_from(self.changed.max(0)).unwrap_or(u64::MAX);
        SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
    }
}

/// What stands at this path; a symbolic link is looked at, not through. None: nothing.
pub(crate) fn look(path: &Path) -> io::Result<Option<Look>> {
    absent_is_none(statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).map(|s| Look::of(&s)))
}

/// What this descriptor is.
pub(crate) fn look_at_descriptor(fd: &impl AsFd) -> io::Result<Look> {
    Ok(Look::of(&fstat(fd)?))
}

/// Which file this is that was another name's before: the same.
pub(crate) fn inode_after(_: &Descriptor, before: Inode) -> io::Result<Inode> {
    Ok(before)
}

/// Where a directory really is, for telling whether two paths mean one place.
pub(crate) fn look_through(path: &Path) -> io::Result<Look> {
    Ok(Look::of(&statat(CWD, path, AtFlags::empty())?))
}

pub(super) fn absent_is_none<T>(result: Result<T, Errno>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What a lock file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// To lock it. flock(2) asks for no particular right, so reading is tried first, then writing.
    Lock,
    /// To lock it and to write a record; network file systems also want this for an exclusive lock.
    Write,
    /// To read it and nothing else: what a shared fcntl(2) lock asks for.
    ReadOnly,
    /// To write it and nothing else: what an exclusive fcntl(2) lock asks for.
    WriteOnly,
}

/// How a lock file was come by.
#[derive(Debug)]
pub(crate) enum Opened {
    Existing(OwnedFd),
    Created(OwnedFd),
}

/// Open a lock file, making it (0666 less umask) if there is none. Without O_CREAT first: with fs.protected_regular the kernel refuses
/// O_CREAT on another user's file in a sticky folder, although the file may be opened.
pub(crate) fn open_lock_file(path: &Path, access: Access) -> io::Result<Opened> {
    let plain = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    loop {
        let found = match access {
            Access::ReadOnly => open(path, OFlags::RDONLY | plain, Bits::empty()),
            Access::WriteOnly => open(path, OFlags::WRONLY | plain, Bits::empty()),
            Access::Write => open(path, OFlags::RDWR | plain, Bits::empty()),
            Access::Lock => match open(path, OFlags::RDONLY | plain, Bits::empty()) {
                Err(Errno::ACCESS) => open(path, OFlags::WRONLY | plain, Bits::empty()),
                other => other,
            },
        };
        match found {
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
            Ok(fd) => return Ok(Opened::Existing(fd)),
        }
        let mode = Bits::from_raw_mode(0o666);
        match open(
            path,
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | plain,
            mode,
        ) {
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
            Ok(fd) => return Ok(Opened::Created(fd)),
        }
    }
}

/// How one try for a kernel lock went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tried {
    Locked,
    Busy,
}

/// One try for flock(2).
pub(crate) fn try_flock(fd: &impl AsFd, mode: Mode) -> io::Result<Tried> {
    let operation = match mode {
        Mode::Exclusive => FlockOperation::NonBlockingLockExclusive,
        Mode::Shared => FlockOperation::NonBlockingLockShared,
    };
    loop {
        match flock2(fd, operation) {
            Ok(()) => return Ok(Tried::Locked),
            Err(Errno::WOULDBLOCK) => return Ok(Tried::Busy),
            // Seen on network file systems only: a local LOCK_NB never sleeps.
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sleep in flock(2). Interrupted by a signal: `ErrorKind::Interrupted`.
pub(crate) fn flock(fd: &impl AsFd, mode: Mode, _: &Asleep<'_>) -> io::Result<()> {
    let operation = match mode {
        Mode::Exclusive => FlockOperation::LockExclusive,
        Mode::Shared => FlockOperation::LockShared,
    };
    Ok(flock2(fd, operation)?)
}

/// Give up a flock, for every copy of the descriptor.
pub(crate) fn unflock(fd: &impl AsFd) -> io::Result<()> {
    Ok(flock2(fd, FlockOperation::Unlock)?)
}

/// One try for the live mark of a claim: a flock on its own inode.
pub(crate) fn try_mark(claim: &impl AsFd) -> io::Result<Tried> {
    try_flock(claim, Mode::Exclusive)
}

/// Give it up.
pub(crate) fn unmark(claim: &impl AsFd) -> io::Result<()> {
    unflock(claim)
}

/// The first bytes of a file, from its beginning.
pub(crate) fn read_start(fd: &impl AsFd, most: usize) -> io::Result<Vec<u8>> {
    let mut content = vec![0; most];
    let read = rustix::io::pread(fd, &mut content[..], 0)?;
    content.truncate(read);
    Ok(content)
}

/// Replace the whole content of a small record. Truncated last and only if need be: ext4 takes "truncate to nothing, write, close" for a careless
/// replacement and writes to the disk at once (auto_da_alloc), which costs a millisecond.
pub(crate) fn write_record(fd: &impl AsFd, record: &[u8]) -> io::Result<()> {
    let mut written = 0;
    while written < record.len() {
        written += rustix::io::pwrite(fd, &record[written..], written as u64)?;
    }
    if fstat(fd)?.st_size > record.len() as i64 {
        ftruncate(fd, record.len() as u64)?;
    }
    Ok(())
}

/// Make a new file that is to take the place of another one, with its permissions: at no moment may anybody open it who may not open that one. None: with the usual
/// ones. `AlreadyExists` if something stands there.
pub(crate) fn make_like(path: &Path, other: Option<Permissions>) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let bits = if other.is_some() { 0o600 } else { 0o666 };
    let file = File::from(open(path, flags, Bits::from_raw_mode(bits))?);
    if let Some(permissions) = other {
        file.set_permissions(permissions)?;
    }
    Ok(file)
}

/// Set its times to now.
pub(crate) fn touch(fd: &impl AsFd) -> io::Result<()> {
    let now = rustix::fs::Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    };
    let times = Timestamps {
        last_access: now,
        last_modification: now,
    };
    Ok(futimens(fd, &times)?)
}

/// What an error of the operating system means for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A symbolic link, or not the kind that the call works on.
    WrongKind,
    /// The file system or the kernel cannot do it.
    Unsupported,
    /// Not allowed.
    NoPermission,
    /// A folder on the way is missing or is no folder.
    NoParent,
    /// Read-only, full, out of descriptors or of quota; the name is too long.
    CannotCreate,
    /// The descriptor must be open for writing (network file systems).
    WantsWrite,
    /// Anything else.
    Other,
}

/// Sort an error.
pub(crate) fn meaning(error: &io::Error) -> Meaning {
    let error = error.raw_os_error().map(Errno::from_raw_os_error);
    match error {
        Some(own) if filesystem::is_link_there(own) => Meaning::WrongKind,
        Some(Errno::LOOP | Errno::NXIO | Errno::ISDIR | Errno::NODEV) => Meaning::WrongKind,
        Some(Errno::NOTSUP | Errno::NOSYS | Errno::NOLCK | Errno::INVAL) => Meaning::Unsupported,
        Some(Errno::ACCESS | Errno::PERM) => Meaning::NoPermission,
        Some(Errno::NOENT | Errno::NOTDIR) => Meaning::NoParent,
        Some(
            Errno::ROFS
            | Errno::NOSPC
            | Errno::DQUOT
            | Errno::MFILE
            | Errno::NFILE
            | Errno::NAMETOOLONG
            | Errno::MLINK,
        ) => Meaning::CannotCreate,
        Some(Errno::BADF | Errno::IO) => Meaning::WantsWrite,
        _ => Meaning::Other,
    }
}
