//! Lock files and directory entries. No child inherits a handle, and what is a reparse point at the last name is opened as such, never followed.
//!
//! Not for: locking, reading and writing what is open (`bytes.rs`), names in a folder (`folder.rs`).

pub(crate) use super::bytes::{
    Asleep, RECORD_PREFIX, Tried, flock, read_start, try_flock, try_mark, unflock, unmark,
    write_record,
};

use super::handle::{done, error, is, is_device, owned, verbatim, wide};
use std::fs::{File, Permissions};
use std::io;
use std::os::windows::io::{
    AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle, OwnedSocket,
};
use std::path::Path;
use std::ptr;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};
use windows_sys::Win32::Foundation as win;
use windows_sys::Win32::Foundation::{GENERIC_READ, GENERIC_WRITE, HANDLE};
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, CREATE_NEW, CreateFileW, FILE_ATTRIBUTE_DIRECTORY,
    FILE_ATTRIBUTE_REPARSE_POINT, FILE_BASIC_INFO, FILE_FLAG_BACKUP_SEMANTICS,
    FILE_FLAG_OPEN_REPARSE_POINT, FILE_FLAG_OVERLAPPED, FILE_ID_INFO, FILE_INFO_BY_HANDLE_CLASS,
    FILE_READ_ATTRIBUTES, FILE_REMOTE_PROTOCOL_INFO, FILE_SHARE_DELETE, FILE_SHARE_READ,
    FILE_SHARE_WRITE, FileBasicInfo, FileIdInfo, FileRemoteProtocolInfo,
    GetFileInformationByHandle, GetFileInformationByHandleEx, OPEN_EXISTING,
    SetFileInformationByHandle,
};
use windows_sys::Win32::System::SystemInformation::GetSystemTimePreciseAsFileTime;

/// Something open: a file, a directory or a socket.
#[derive(Debug)]
pub struct Descriptor {
    open: Open,
    /// What goes with a lock that this handle has: how others learn of it, or the live mark of a directory, which cannot be locked itself.
    beside: Mutex<Option<OwnedHandle>>,
}

#[derive(Debug)]
enum Open {
    File(OwnedHandle),
    Folder(OwnedHandle),
    Socket(OwnedSocket),
}

/// A borrowed handle.
pub type Borrowed<'a> = BorrowedHandle<'a>;

impl Descriptor {
    fn new(open: Open) -> Descriptor {
        Descriptor {
            open,
            beside: Mutex::new(None),
        }
    }

    pub(super) fn of_folder(handle: OwnedHandle) -> Descriptor {
        Descriptor::new(Open::Folder(handle))
    }

    pub(super) fn raw(&self) -> HANDLE {
        match &self.open {
            Open::File(handle) | Open::Folder(handle) => handle.as_raw_handle(),
            Open::Socket(socket) => {
                use std::os::windows::io::AsRawSocket;
                socket.as_raw_socket() as HANDLE
            }
        }
    }

    pub(super) fn is_folder(&self) -> bool {
        matches!(self.open, Open::Folder(_))
    }

    /// What was there before.
    pub(super) fn put_beside(&self, handle: Option<OwnedHandle>) -> Option<OwnedHandle> {
        let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *beside, handle)
    }
}

impl From<OwnedHandle> for Descriptor {
    fn from(handle: OwnedHandle) -> Descriptor {
        Descriptor::new(Open::File(handle))
    }
}

impl From<OwnedSocket> for Descriptor {
    fn from(socket: OwnedSocket) -> Descriptor {
        Descriptor::new(Open::Socket(socket))
    }
}

impl AsHandle for Descriptor {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        // SAFETY: open for as long as it is borrowed; a socket is a handle too.
        unsafe { BorrowedHandle::borrow_raw(self.raw()) }
    }
}

impl From<Descriptor> for OwnedHandle {
    /// Of a file or a directory; of a socket, the handle that it is.
    fn from(descriptor: Descriptor) -> OwnedHandle {
        match descriptor.open {
            Open::File(handle) | Open::Folder(handle) => handle,
            Open::Socket(socket) => {
                use std::os::windows::io::IntoRawSocket;
                let raw = socket.into_raw_socket() as HANDLE;
                // SAFETY: taken out of its owner in the line above.
                unsafe { OwnedHandle::from_raw_handle(raw) }
            }
        }
    }
}

/// There is one family only.
pub(crate) const FAMILIES: crate::sys::Families = crate::sys::Families::Apart;

/// The protocols that this system cannot speak: what it lacks, and what to use instead.
pub(crate) const UNSPOKEN: [(&str, &str, &str); 3] = [
    (
        "fcntl",
        "Windows has no second family of kernel locks",
        "use `flock`, which is excluded by every lock of LockFile on the file's first byte",
    ),
    (
        "shlock",
        "nobody speaks it on Windows",
        "use `pidfile`, which has the same bytes",
    ),
    (
        "dotlock",
        "nobody speaks it on Windows",
        "use `pidfile` or `mkdir`",
    ),
];

/// What a command started under a kernel lock must inherit: nothing helps. A lock of LockFileEx belongs to the process that took it, and goes when that
/// process closes the file, whoever inherited the handle.
pub(crate) fn lend(_: &Descriptor) -> Option<Borrowed<'_>> {
    None
}

/// Which file: volume and number.
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
    /// What Twisted makes on Windows instead of a symbolic link: a directory with a file `symlink`, which holds the target. Told by [`super::folder::Directory::look`] only.
    Symlink,
    /// A symbolic link of NTFS, a junction, a mount point, a file kept elsewhere.
    ReparsePoint,
    Device,
}

impl Kind {
    /// As a message says it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Kind::Regular => "a regular file",
            Kind::Directory => "a directory",
            Kind::Symlink => "a directory that stands for a symbolic link",
            Kind::ReparsePoint => "a symbolic link or another reparse point",
            Kind::Device => "a device",
        }
    }
}

/// What a look at a name or a handle gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) inode: Inode,
    pub(crate) kind: Kind,
    pub(crate) size: u64,
    /// How many names it has.
    pub(crate) links: u64,
    /// Never: a directory of ours comes and goes in one step, so there is none that is half made or half removed.
    pub(crate) is_ours: bool,
    /// Change time, in nanoseconds since 1970: no program sets it back by mistake.
    pub(crate) changed: i128,
    /// The time of the last write, in the same units.
    pub(super) written: i128,
}

impl Look {
    /// Change time as wall time.
    pub(crate) fn changed_at(&self) -> SystemTime {
        let nanos = u64::try_from(self.changed.max(0)).unwrap_or(u64::MAX);
        SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
    }

    fn at_device() -> Look {
        Look {
            inode: Inode {
                device: 0,
                number: 0,
            },
            kind: Kind::Device,
            size: 0,
            links: 1,
            is_ours: false,
            changed: 0,
            written: 0,
        }
    }
}

/// From 100 ns since 1601 to nanoseconds since 1970.
pub(super) fn since_1970(time: i64) -> i128 {
    (i128::from(time) - 116_444_736_000_000_000) * 100
}

pub(super) const SHARE_ALL: u32 = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
/// Directories too, and what stands there itself.
pub(super) const ANYTHING: u32 = FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT;

/// How often, and at which intervals, what somebody else has open without leave to remove it, or removes just now, is tried again.
const TRIES: usize = 100;
const BETWEEN: Duration = Duration::from_millis(2);

/// Try again while somebody is in the way who most likely is not for long: whoever reads a claim with a library that shares no right to delete it (Python's
/// `open`, say), whoever removes it and has it open still, whoever looks at a scanner's behest.
pub(super) fn patiently<T>(
    mut call: impl FnMut() -> io::Result<T>,
    also: impl Fn(&io::Error) -> bool,
) -> io::Result<T> {
    for _ in 0..TRIES {
        match call() {
            Err(error) if is(&error, win::ERROR_SHARING_VIOLATION) || also(&error) => {
                thread::sleep(BETWEEN);
            }
            other => return other,
        }
    }
    call()
}

pub(super) fn create(
    path: &Path,
    access: u32,
    share: u32,
    how: u32,
    flags: u32,
) -> io::Result<OwnedHandle> {
    if is_device(path) {
        return Err(error(win::ERROR_CANT_ACCESS_FILE));
    }
    let path = wide(path);
    // SAFETY: a path that ends with zero, no security attributes (no child inherits it), no template. The handle is ours.
    unsafe {
        owned(CreateFileW(
            path.as_ptr(),
            access,
            share,
            ptr::null(),
            how,
            flags,
            ptr::null_mut(),
        ))
    }
}

/// Nothing there, or something that is as good as gone.
pub(super) fn is_absent(error: &io::Error) -> bool {
    [
        win::ERROR_FILE_NOT_FOUND,
        win::ERROR_PATH_NOT_FOUND,
        win::ERROR_DELETE_PENDING,
    ]
    .into_iter()
    .any(|code| is(error, code))
}

pub(super) fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What stands at this path; a reparse point is looked at, not through. None: nothing.
pub(crate) fn look(path: &Path) -> io::Result<Option<Look>> {
    look_verbatim(&verbatim(path))
}

pub(super) fn look_verbatim(path: &Path) -> io::Result<Option<Look>> {
    if is_device(path) {
        return Ok(Some(Look::at_device()));
    }
    // This right alone conflicts with nobody who has it open.
    let opened = create(
        path,
        FILE_READ_ATTRIBUTES,
        SHARE_ALL,
        OPEN_EXISTING,
        ANYTHING,
    );
    let Some(opened) = absent_is_none(opened)? else {
        return Ok(None);
    };
    let look = look_at(opened.as_raw_handle())?;
    Ok((look.links > 0).then_some(look))
}

/// What this handle is.
pub(crate) fn look_at_descriptor(file: &Descriptor) -> io::Result<Look> {
    look_at(file.raw())
}

pub(super) fn look_at(file: HANDLE) -> io::Result<Look> {
    let mut info = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: an open handle, and a valid place to write to.
    done(unsafe { GetFileInformationByHandle(file, &raw mut info) })?;
    let mut basic = FILE_BASIC_INFO::default();
    ask(file, FileBasicInfo, &mut basic)?;
    let attributes = info.dwFileAttributes;
    let kind = if attributes & FILE_ATTRIBUTE_REPARSE_POINT != 0 {
        Kind::ReparsePoint
    } else if attributes & FILE_ATTRIBUTE_DIRECTORY != 0 {
        Kind::Directory
    } else {
        Kind::Regular
    };
    let short = Inode {
        device: u64::from(info.dwVolumeSerialNumber),
        number: u64::from(info.nFileIndexHigh) << 32 | u64::from(info.nFileIndexLow),
    };
    Ok(Look {
        inode: long_inode(file).unwrap_or(short),
        kind,
        size: u64::from(info.nFileSizeHigh) << 32 | u64::from(info.nFileSizeLow),
        links: u64::from(info.nNumberOfLinks),
        is_ours: false,
        changed: since_1970(basic.ChangeTime),
        written: since_1970(basic.LastWriteTime),
    })
}

/// Which file this is that was another name's before: on FAT, whose numbers are those of entries, it has another one now.
/// wine 8 forgets the volume of a file that was renamed.
pub(crate) fn inode_after(file: &Descriptor, before: Inode) -> io::Result<Inode> {
    let after = look_at_descriptor(file)?.inode;
    Ok(if after.device == 0 { before } else { after })
}

/// Where there is a number of 128 bits (ReFS), that of 64 is not one of its own. NTFS leaves the upper half empty; elsewhere it is folded in, which keeps two files
/// apart as well as any number of 64 bits does.
fn long_inode(file: HANDLE) -> Option<Inode> {
    let mut id = FILE_ID_INFO::default();
    ask(file, FileIdInfo, &mut id).ok()?;
    let whole = u128::from_le_bytes(id.FileId.Identifier);
    let (low, high) = (whole as u64, (whole >> 64) as u64);
    Some(Inode {
        device: id.VolumeSerialNumber,
        number: low ^ high.rotate_left(32),
    })
}

fn ask<T>(file: HANDLE, what: FILE_INFO_BY_HANDLE_CLASS, answer: &mut T) -> io::Result<()> {
    // SAFETY: an open handle and a structure of that kind and length to write to: callers here name both.
    done(unsafe {
        GetFileInformationByHandleEx(
            file,
            what,
            ptr::from_mut(answer).cast(),
            size_of::<T>() as u32,
        )
    })
}

pub(super) fn tell<T>(file: HANDLE, what: FILE_INFO_BY_HANDLE_CLASS, told: &T) -> io::Result<()> {
    // SAFETY: an open handle and a structure of that kind and length to read: callers name both.
    done(unsafe {
        SetFileInformationByHandle(
            file,
            what,
            ptr::from_ref(told).cast(),
            size_of::<T>() as u32,
        )
    })
}

/// Where a directory really is, for telling whether two paths mean one place.
pub(crate) fn look_through(path: &Path) -> io::Result<Look> {
    let opened = create(
        &verbatim(path),
        FILE_READ_ATTRIBUTES,
        SHARE_ALL,
        OPEN_EXISTING,
        FILE_FLAG_BACKUP_SEMANTICS,
    )?;
    look_at(opened.as_raw_handle())
}

/// What a lock file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// To lock it: the right to read it or to write it.
    Lock,
    /// To lock it and to write a record.
    Write,
    /// To read it and nothing else.
    ReadOnly,
    /// To write it and nothing else.
    WriteOnly,
}

/// How a lock file was come by.
#[derive(Debug)]
pub(crate) enum Opened {
    Existing(Descriptor),
    Created(Descriptor),
}

/// Open a lock file, making it if there is none. `ResourceBusy`: somebody has it open and shares it with nobody. Nobody can remove or replace it while it is open: FILE_SHARE_DELETE is not given.
pub(crate) fn open_lock_file(path: &Path, access: Access) -> io::Result<Opened> {
    let path = verbatim(path);
    let rights = match access {
        Access::Lock | Access::ReadOnly => GENERIC_READ,
        Access::WriteOnly => GENERIC_WRITE | FILE_READ_ATTRIBUTES,
        Access::Write => GENERIC_READ | GENERIC_WRITE,
    };
    let open = |rights, how| {
        let flags = FILE_FLAG_OVERLAPPED | FILE_FLAG_OPEN_REPARSE_POINT;
        let share = FILE_SHARE_READ | FILE_SHARE_WRITE;
        let never = |_: &io::Error| false;
        patiently(|| create(&path, rights, share, how, flags), never).map(Descriptor::from)
    };
    loop {
        let found = match open(rights, OPEN_EXISTING) {
            Err(error) if access == Access::Lock && is(&error, win::ERROR_ACCESS_DENIED) => {
                open(GENERIC_WRITE | FILE_READ_ATTRIBUTES, OPEN_EXISTING)
            }
            other => other,
        };
        match found {
            Err(error) if is(&error, win::ERROR_FILE_NOT_FOUND) => {}
            Err(error) if is(&error, win::ERROR_SHARING_VIOLATION) => {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, error));
            }
            Err(error) if is(&error, win::ERROR_DELETE_PENDING) => thread::sleep(BETWEEN),
            other => return other.map(Opened::Existing),
        }
        match open(GENERIC_READ | GENERIC_WRITE, CREATE_NEW) {
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists
                    || is(&error, win::ERROR_DELETE_PENDING) => {}
            other => return other.map(Opened::Created),
        }
    }
}

/// To read it, whoever has it open for whatever. None: nothing there.
pub(super) fn open_to_look(path: &Path) -> io::Result<Option<Descriptor>> {
    let path = verbatim(path);
    let opened = create(&path, GENERIC_READ, SHARE_ALL, OPEN_EXISTING, ANYTHING);
    Ok(absent_is_none(opened)?.map(Descriptor::from))
}

/// A claim to read and to lock; made anew, also to write. Without the right to delete, which would keep out those who share none (Python's `open`).
pub(super) fn open_claim(path: &Path, how: How) -> io::Result<Descriptor> {
    let opened = match how {
        How::Existing => create(path, GENERIC_READ, SHARE_ALL, OPEN_EXISTING, ANYTHING),
        How::New => create(
            path,
            GENERIC_READ | GENERIC_WRITE,
            SHARE_ALL,
            CREATE_NEW,
            FILE_FLAG_OPEN_REPARSE_POINT,
        ),
    };
    let claim = Descriptor::from(opened?);
    if look_at(claim.raw())?.kind != Kind::Regular {
        return Err(error(win::ERROR_CANT_ACCESS_FILE));
    }
    Ok(claim)
}

/// Whether there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Existing,
    New,
}

/// Make a new file that is to take the place of another one. Rights come from the folder; a file that is only to be read could not be replaced the next time.
pub(crate) fn make_like(path: &Path, _: Option<Permissions>) -> io::Result<File> {
    File::create_new(path)
}

/// Set the time of its last writing to now.
pub(crate) fn touch(file: &Descriptor) -> io::Result<()> {
    let mut now = win::FILETIME::default();
    // SAFETY: a valid place to write to.
    unsafe { GetSystemTimePreciseAsFileTime(&raw mut now) };
    let times = FILE_BASIC_INFO {
        LastWriteTime: super::process::ticks(&now) as i64,
        // Zero: as it is.
        ..FILE_BASIC_INFO::default()
    };
    tell(file.raw(), FileBasicInfo, &times)
}

/// Whether a path lies on a file system that other machines write to. Events and numbers of processes mean nothing there.
pub(crate) fn is_network(path: &Path) -> bool {
    let path = verbatim(path);
    let opened = create(
        &path,
        FILE_READ_ATTRIBUTES,
        SHARE_ALL,
        OPEN_EXISTING,
        FILE_FLAG_BACKUP_SEMANTICS,
    );
    opened.is_ok_and(|folder| is_network_handle(folder.as_raw_handle()))
}

/// The same of a handle.
pub(crate) fn is_network_descriptor(file: &Descriptor) -> bool {
    is_network_handle(file.raw())
}

/// A local file has no such information.
fn is_network_handle(file: HANDLE) -> bool {
    let mut remote = FILE_REMOTE_PROTOCOL_INFO::default();
    ask(file, FileRemoteProtocolInfo, &mut remote).is_ok()
}

/// What an error of the operating system means for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A reparse point, or not the kind that the call works on.
    WrongKind,
    /// The file system or the system cannot do it.
    Unsupported,
    /// Not allowed.
    NoPermission,
    /// A folder on the way is missing or is no folder.
    NoParent,
    /// Read-only, full, out of handles; the name is too long or makes no sense.
    CannotCreate,
    /// Only elsewhere.
    #[allow(dead_code, reason = "the names are the seam's")]
    WantsWrite,
    /// Anything else.
    Other,
}

/// Sort an error.
pub(crate) fn meaning(error: &io::Error) -> Meaning {
    let Some(code) = error.raw_os_error() else {
        return match error.kind() {
            io::ErrorKind::Unsupported => Meaning::Unsupported,
            io::ErrorKind::PermissionDenied => Meaning::NoPermission,
            io::ErrorKind::NotFound => Meaning::NoParent,
            _ => Meaning::Other,
        };
    };
    match code as u32 {
        win::ERROR_CANT_ACCESS_FILE | win::ERROR_DIRECTORY | win::ERROR_STOPPED_ON_SYMLINK => {
            Meaning::WrongKind
        }
        win::ERROR_NOT_SUPPORTED
        | win::ERROR_INVALID_FUNCTION
        | win::ERROR_INVALID_PARAMETER
        | win::ERROR_CALL_NOT_IMPLEMENTED => Meaning::Unsupported,
        win::ERROR_ACCESS_DENIED | win::ERROR_PRIVILEGE_NOT_HELD => Meaning::NoPermission,
        win::ERROR_FILE_NOT_FOUND
        | win::ERROR_PATH_NOT_FOUND
        | win::ERROR_INVALID_DRIVE
        | win::ERROR_BAD_NETPATH
        | win::ERROR_BAD_NET_NAME => Meaning::NoParent,
        win::ERROR_WRITE_PROTECT
        | win::ERROR_DISK_FULL
        | win::ERROR_HANDLE_DISK_FULL
        | win::ERROR_DISK_QUOTA_EXCEEDED
        | win::ERROR_TOO_MANY_OPEN_FILES
        | win::ERROR_FILENAME_EXCED_RANGE
        | win::ERROR_INVALID_NAME => Meaning::CannotCreate,
        _ => Meaning::Other,
    }
}
