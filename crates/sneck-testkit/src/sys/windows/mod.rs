//! What tests need of Windows: processes that stand still or have ended, files that several write to, handles and threads counted, the other programs' ways
//! with a lock file. There are no forks, signals, traces and limits here.
//!
//! Where wine differs it says so; nothing here is for wine alone.

mod lines;
pub use lines::{LINES_IN_TURN, Lines};

use super::Halfway;
use crate::PATIENCE;
use crate::child::Session;
use crate::claims;
use crate::planted::{Plant, Thing, thing};
use sneck::Mode;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::fs::{self, File};
use std::io;
use std::mem::zeroed;
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::os::windows::fs::{MetadataExt, OpenOptionsExt, symlink_dir};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::Path;
use std::time::Duration;
use windows_sys::Win32::Foundation::{
    ERROR_LOCK_VIOLATION, GetHandleInformation, HANDLE, INVALID_HANDLE_VALUE, WAIT_OBJECT_0,
    WAIT_TIMEOUT,
};
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT,
    GetFileInformationByHandle, LOCKFILE_EXCLUSIVE_LOCK, LOCKFILE_FAIL_IMMEDIATELY, LockFileEx,
    UnlockFile,
};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW, TH32CS_SNAPPROCESS,
    TH32CS_SNAPTHREAD, THREADENTRY32, Thread32First, Thread32Next,
};
use windows_sys::Win32::System::IO::OVERLAPPED;
use windows_sys::Win32::System::Performance::{QueryPerformanceCounter, QueryPerformanceFrequency};
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::SystemInformation::{
    ComputerNamePhysicalDnsHostname, GetComputerNameExW,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetCurrentThreadId, GetProcessHandleCount, INFINITE, OpenProcess,
    PROCESS_SUSPEND_RESUME, PROCESS_SYNCHRONIZE, WaitForSingleObject,
};

/// The conformance functions that want what only Unix has: none of them here.
#[macro_export]
#[doc(hidden)]
macro_rules! each_function_of_this_system {
    ($waiting:ident) => {};
}

/// There are no commands that only this system has.
pub(crate) fn obey(_: &mut Session, _: &[&str]) -> bool {
    false
}

#[track_caller]
fn owned(handle: HANDLE) -> OwnedHandle {
    let good = !handle.is_null() && handle != INVALID_HANDLE_VALUE;
    assert!(good, "{}", io::Error::last_os_error());
    // SAFETY: a valid handle that the call above this one has made, and that nobody else closes.
    unsafe { OwnedHandle::from_raw_handle(handle) }
}

#[track_caller]
fn done(result: i32) {
    assert!(result != 0, "{}", io::Error::last_os_error());
}

/// Nanoseconds on a clock that all processes of the machine share.
pub fn now() -> u64 {
    let (mut ticks, mut a_second) = (0, 0);
    // SAFETY: writes one number, as is the next one.
    done(unsafe { QueryPerformanceCounter(&raw mut ticks) });
    // SAFETY: as above.
    done(unsafe { QueryPerformanceFrequency(&raw mut a_second) });
    let nanos = i128::from(ticks) * 1_000_000_000 / i128::from(a_second);
    u64::try_from(nanos).unwrap_or(0)
}

/// The number of this thread.
pub fn thread_number() -> u32 {
    // SAFETY: has no preconditions.
    unsafe { GetCurrentThreadId() }
}

/// A number that no process has and none will ever get: the kernel gives away smaller ones only, and multiples of four.
pub const NO_PROCESS: u32 = 0x7fff_fffc;

fn open_process(pid: u32, rights: u32) -> Option<OwnedHandle> {
    // SAFETY: takes numbers.
    let handle = unsafe { OpenProcess(rights, 0, pid) };
    (!handle.is_null()).then(|| owned(handle))
}

fn has_ended(process: HANDLE, patience: u32) -> bool {
    // SAFETY: a handle that its owner keeps open, with the right to wait for it.
    match unsafe { WaitForSingleObject(process, patience) } {
        WAIT_OBJECT_0 => true,
        WAIT_TIMEOUT => false,
        _ => panic!("a process: {}", io::Error::last_os_error()),
    }
}

/// Whether the process is there, and has not ended.
pub fn runs(pid: u32) -> bool {
    let process = open_process(pid, PROCESS_SYNCHRONIZE);
    process.is_some_and(|p| !has_ended(p.as_raw_handle(), 0))
}

/// Wait until one's own child is dead. Its number stays its own as long as there is a handle on it.
///
/// # Panics
/// If it does not die.
pub fn until_ended(child: &std::process::Child) {
    let patience = u32::try_from(PATIENCE.as_millis()).unwrap_or(INFINITE);
    assert!(
        has_ended(child.as_raw_handle(), patience),
        "it does not die"
    );
}

// Undocumented, and what every tool that stops processes calls. Win32 has only SuspendThread, which misses the thread that is being made.
#[link(name = "ntdll")]
// SAFETY: as all versions of Windows have them, and wine.
unsafe extern "system" {
    fn NtSuspendProcess(process: HANDLE) -> i32;
    fn NtResumeProcess(process: HANDLE) -> i32;
}

/// Let a process stand still.
///
/// # Panics
/// If there is no such process.
pub fn stop(pid: u32) {
    let process = open_process(pid, PROCESS_SUSPEND_RESUME).expect("the process is there");
    // SAFETY: a handle that is open, with the right to do this.
    let status = unsafe { NtSuspendProcess(process.as_raw_handle()) };
    assert!(status >= 0, "NtSuspendProcess: {status:#x}");
}

/// Let a process that stands still go on.
///
/// # Panics
/// If there is no such process.
pub fn go_on(pid: u32) {
    let process = open_process(pid, PROCESS_SUSPEND_RESUME).expect("the process is there");
    // SAFETY: a handle that is open, with the right to do this.
    let status = unsafe { NtResumeProcess(process.as_raw_handle()) };
    assert!(status >= 0, "NtResumeProcess: {status:#x}");
}

/// A process that always lives: the parent of all services.
///
/// # Panics
/// If there is none.
pub fn somebody() -> u32 {
    // SAFETY: takes numbers.
    let snapshot = owned(unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0) });
    // SAFETY: a plain C struct for which all zeroes is a value.
    let mut entry: PROCESSENTRY32W = unsafe { zeroed() };
    entry.dwSize = size_of::<PROCESSENTRY32W>() as u32;
    // SAFETY: a snapshot that is open, and a struct that says how large it is.
    let mut more = unsafe { Process32FirstW(snapshot.as_raw_handle(), &raw mut entry) };
    while more != 0 {
        let name = OsString::from_wide(&entry.szExeFile);
        if name.to_string_lossy().starts_with("services.exe\0") {
            return entry.th32ProcessID;
        }
        // SAFETY: as above.
        more = unsafe { Process32NextW(snapshot.as_raw_handle(), &raw mut entry) };
    }
    panic!("services.exe does not run");
}

/// How many handles this process has open.
///
/// # Panics
/// If the system does not say.
pub fn count_descriptors() -> usize {
    let mut count = 0;
    // SAFETY: the handle of this process itself is always good; writes one number.
    done(unsafe { GetProcessHandleCount(GetCurrentProcess(), &raw mut count) });
    // wine 8 says 0.
    if count == 0 {
        return try_all_handles();
    }
    count as usize
}

/// Handles are multiples of four, and given away from the smallest on. Behind so many that are not open there are none.
const NO_MORE: usize = 1024;

fn try_all_handles() -> usize {
    let (mut open, mut closed) = (0, 0);
    for number in (4..).step_by(4) {
        let mut flags = 0;
        // SAFETY: asks about a number, which need not be a handle; writes one number.
        let known = unsafe { GetHandleInformation(number as HANDLE, &raw mut flags) };
        (open, closed) = match known {
            0 => (open, closed + 1),
            _ => (open + 1, 0),
        };
        if closed == NO_MORE {
            break;
        }
    }
    open
}

/// How many threads this process has.
///
/// # Panics
/// If the system does not say.
pub fn count_threads() -> usize {
    // SAFETY: takes numbers.
    let snapshot = owned(unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0) });
    // SAFETY: a plain C struct for which all zeroes is a value.
    let mut entry: THREADENTRY32 = unsafe { zeroed() };
    entry.dwSize = size_of::<THREADENTRY32>() as u32;
    let mut count = 0;
    // SAFETY: a snapshot that is open, and a struct that says how large it is.
    let mut more = unsafe { Thread32First(snapshot.as_raw_handle(), &raw mut entry) };
    while more != 0 {
        count += usize::from(entry.th32OwnerProcessID == std::process::id());
        // SAFETY: as above.
        more = unsafe { Thread32Next(snapshot.as_raw_handle(), &raw mut entry) };
    }
    count
}

/// Kibibytes of memory that this process has in use.
///
/// # Panics
/// If the system does not say.
pub fn resident_kib() -> usize {
    // SAFETY: a plain C struct for which all zeroes is a value.
    let mut counters: PROCESS_MEMORY_COUNTERS = unsafe { zeroed() };
    let size = size_of::<PROCESS_MEMORY_COUNTERS>() as u32;
    // SAFETY: the handle of this process itself is always good; writes one struct of that size.
    done(unsafe { K32GetProcessMemoryInfo(GetCurrentProcess(), &raw mut counters, size) });
    counters.WorkingSetSize / 1024
}

/// How many files and folders this process watches. None: nobody can tell.
pub fn count_watches() -> Option<usize> {
    None
}

/// Whether the system shows this process all others: always.
pub fn sees_all_processes() -> bool {
    true
}

/// The name of this machine.
///
/// # Panics
/// If it has none.
pub fn host_name() -> String {
    let mut name = [0; 256];
    let mut length = name.len() as u32;
    let kind = ComputerNamePhysicalDnsHostname;
    // SAFETY: the buffer has as many characters as `length` says, and gets no more.
    done(unsafe { GetComputerNameExW(kind, name.as_mut_ptr(), &raw mut length) });
    let name = OsString::from_wide(&name[..length as usize]);
    name.to_string_lossy().into_owned()
}

/// What tells this file from all others of its volume, a reparse point not followed. None: nothing stands there.
pub fn file_number(path: &Path) -> Option<u64> {
    let flags = FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT;
    let file = File::options()
        .access_mode(0)
        .custom_flags(flags)
        .open(path);
    let file = file.ok()?;
    // SAFETY: a plain C struct for which all zeroes is a value.
    let mut info: BY_HANDLE_FILE_INFORMATION = unsafe { zeroed() };
    // SAFETY: a file that is open; writes one such struct.
    done(unsafe { GetFileInformationByHandle(file.as_raw_handle(), &raw mut info) });
    Some(u64::from(info.nFileIndexHigh) << 32 | u64::from(info.nFileIndexLow))
}

/// Remove a folder with all that is in it, as far as that is possible. The standard library's way never ends under wine 8 while this process has a removed file open:
/// there its name stays until it is closed.
pub fn remove_all(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_all(&path);
        } else {
            // A reparse point to a folder goes like a folder; what it leads to is not looked into.
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        }
    }
    let _ = fs::remove_dir(folder);
}

/// Let all users look into a folder: tests do not become other users here.
pub fn let_others_in(_: &Path) {}

fn wide(text: &OsStr) -> Vec<u16> {
    text.encode_wide().chain([0]).collect()
}

/// In Twisted's directory that plays the link: the file whose content is the target.
const INNER: &str = "symlink";

/// Make the claim that `symlink` makes here: Twisted's directory, in two steps.
///
/// # Errors
/// `AlreadyExists`, or what the file system says.
pub fn make_link(pid: impl Display, path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::write(path.join(INNER), pid.to_string())
}

/// What stands in a claim of `symlink`.
pub fn read_link(path: &Path) -> Option<String> {
    fs::read_to_string(path.join(INNER)).ok()
}

/// Remove a claim of `symlink`, by its name.
///
/// # Errors
/// What the file system says.
pub fn remove_link(path: &Path) -> io::Result<()> {
    fs::remove_file(path.join(INNER))?;
    fs::remove_dir(path)
}

/// Make another program's directory look as one of this library. They look the same.
///
/// # Errors
/// None.
pub fn sign_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// The ways in which other programs lock a whole file here: its first byte, as LockFile is called by Python's msvcrt, locket, portalocker and filelock; all that it
/// can have, as the standard library's `File::lock` and what is built on it do.
pub const WAYS_TO_LOCK: &[&str] = &["first-byte", "all"];

/// A file that is locked as other programs do it. It is unlocked when this goes.
#[derive(Debug)]
pub struct Strange {
    file: File,
    bytes: (u32, u32),
}

impl Strange {
    /// Lock it in this way. None: somebody else has it.
    ///
    /// # Panics
    /// If that does not work otherwise.
    pub fn try_lock(way: &str, path: &Path, mode: Mode) -> Option<Strange> {
        Strange::begin(way, path, mode, LOCKFILE_FAIL_IMMEDIATELY)
    }

    /// Lock it in this way, and sleep until that is done.
    ///
    /// # Panics
    /// If that does not work.
    pub fn lock(way: &str, path: &Path, mode: Mode) -> Strange {
        Strange::begin(way, path, mode, 0).expect("it was waited for")
    }

    fn begin(way: &str, path: &Path, mode: Mode, more: u32) -> Option<Strange> {
        let bytes = match way {
            "first-byte" => (1, 0),
            _ => (u32::MAX, u32::MAX),
        };
        let flags = match mode {
            Mode::Exclusive => LOCKFILE_EXCLUSIVE_LOCK | more,
            Mode::Shared => more,
        };
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false);
        let file = file.open(path).expect("a lock file can be opened");
        let handle = file.as_raw_handle();
        // SAFETY: a plain C struct for which all zeroes is a value: from the first byte on, no event.
        let mut from: OVERLAPPED = unsafe { zeroed() };
        // SAFETY: a file that is open, and not for overlapped use, so that this returns when it is over.
        let locked = unsafe { LockFileEx(handle, flags, 0, bytes.0, bytes.1, &raw mut from) };
        if locked == 0 {
            let error = io::Error::last_os_error();
            let busy = error.raw_os_error() == Some(ERROR_LOCK_VIOLATION as i32);
            assert!(busy && more != 0, "{way}: {error}");
            return None;
        }
        Some(Strange { file, bytes })
    }
}

impl Strange {
    /// Unlock it, and keep it open.
    ///
    /// # Panics
    /// If that does not work.
    pub fn unlock(self) -> File {
        self.file.try_clone().expect("one more handle")
    }
}

impl Drop for Strange {
    fn drop(&mut self) {
        let (low, high) = self.bytes;
        // SAFETY: a file that is open. Closing it unlocks too, when the system comes to it.
        unsafe { UnlockFile(self.file.as_raw_handle(), 0, 0, low, high) };
    }
}

/// Wait until so many stand in the kernel's queue for this file. The system does not show it: for a while in which they come there.
pub fn until_queued(_: &Path, _: usize) {
    std::thread::sleep(Duration::from_millis(200));
}

/// Whoever holds one of these loses it when the claim is removed. The file of `flock` cannot be removed while somebody has it open; that of `pidfile` can,
/// but under wine 8 its name stays until it is closed.
pub const LOST_WHEN_REMOVED: &[&str] = &["symlink"];

/// The protocols of files that this system has.
pub(crate) const PROTOCOLS: &[&str] = &["flock", "symlink", "pidfile", "labm8", "mkdir"];

/// To these an empty folder is what a crash left of a claim: Twisted removes what is inside first.
pub(crate) const EMPTY_FOLDERS_REMAIN_OF: &[&str] = &["symlink"];

/// Paths of devices.
pub const DEVICES: &[&str] = &["NUL", "nul", "CON", r"\\.\NUL", r"\\.\pipe\sneck"];

/// So many tasks are many. Under wine each try is a hundred questions to one server.
pub const A_CROWD: usize = 100;

/// Kibibytes of memory that the system itself takes for the first who wait: a thread has its buffers. Under wine 8 two dozen threads take 18 MiB.
pub const SET_UP_KIB: usize = 24 * 1024;

/// Threads of the system's own pool, which wait for processes to end, 63 each, and call us.
pub const POOL_THREADS: usize = 16;

/// Kibibytes of memory for one waiting task, with all that the runtime needs for it: a buffer and handles of its own. Under wine 8 those take some 40.
pub const KIB_EACH: usize = 80;

/// What may be said of a name that is too long: to wine 8 a file that is to be called so is not there.
pub const NAME_TOO_LONG: &[sneck::ErrorKind] =
    &[sneck::ErrorKind::CannotCreate, sneck::ErrorKind::Io];

/// What can stand at a lock's path here alone.
pub(crate) fn things() -> &'static [Thing] {
    if makes_reparse_points() {
        THINGS
    } else {
        &THINGS[1..]
    }
}

const THINGS: &[Thing] = &[
    thing(
        "a reparse point to a folder",
        Plant::Special(|path| {
            let target = crate::Folder::new();
            symlink_dir(target.path(), path).expect("the right to make symbolic links");
        }),
    ),
    thing(
        "a folder with a link and more",
        Plant::Special(|path| {
            make_link("1", path).expect("our own folder");
            fs::write(path.join("more"), "").expect("our own folder");
        }),
    ),
];

/// wine 8 says that it has made a symbolic link, and has made none; it shows those that others made as what they lead to. There nothing can be said of them.
fn makes_reparse_points() -> bool {
    let folder = crate::Folder::new();
    let link = folder.join("link");
    let made = symlink_dir(folder.path(), &link);
    made.is_err() || fs::symlink_metadata(link).is_ok()
}

/// What a process of this library that was killed can leave behind beside a whole claim, state by state: on the way in a name beside the lock's own,
/// `.NAME.sneck-PID-N`, what is inside of it, and then the lock's name in one step; on the way out another such name in one step, then what is inside, then that.
pub fn halfway(scheme: &str) -> &'static [Halfway] {
    match scheme {
        "pidfile" | "labm8" => &[
            ("an empty file on its way in", |lock, pid| {
                fs::write(beside(lock, pid), "").expect("our own folder");
            }),
            ("a file on its way in or out", |lock, pid| {
                claims::make("pidfile", &beside(lock, pid), pid).expect("our own folder");
            }),
        ],
        "mkdir" => &[
            EMPTY_FOLDER,
            ("a directory on its way in or out", |lock, pid| {
                claims::make("mkdir", &beside(lock, pid), pid).expect("our own folder");
            }),
        ],
        "symlink" => &[
            EMPTY_FOLDER,
            ("a link without a target on its way in", |lock, pid| {
                make_link("", &beside(lock, pid)).expect("our own folder");
            }),
            ("a link on its way in or out", |lock, pid| {
                make_link(pid, &beside(lock, pid)).expect("our own folder");
            }),
            // Twisted's, between its last two steps.
            ("an empty directory", |lock, _| {
                fs::create_dir(lock).expect("our own folder");
            }),
        ],
        _ => &[],
    }
}

const EMPTY_FOLDER: Halfway = ("an empty directory on its way in or out", |lock, pid| {
    fs::create_dir(beside(lock, pid)).expect("our own folder");
});

fn beside(lock: &Path, pid: u32) -> std::path::PathBuf {
    let name = lock.file_name().expect("a name").to_string_lossy();
    lock.with_file_name(format!(".{name}.sneck-{pid}-1"))
}

/// Everything about a name that a careless opener changes. Not the time of access, which looking changes.
///
/// # Panics
/// If nothing stands there.
pub fn state(path: &Path) -> String {
    let look = fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    // Nobody reads a gigabyte of nothing.
    let content = if look.is_file() && look.len() < 1 << 20 {
        format!("{:?}", fs::read(path).ok())
    } else if look.is_dir() {
        let names = fs::read_dir(path).map(|all| all.flatten().map(|e| e.file_name()));
        let mut names: Vec<_> = names.into_iter().flatten().collect();
        names.sort();
        let inner = fs::read(path.join(INNER)).ok();
        format!("{names:?} {inner:?}")
    } else {
        String::new()
    };
    format!(
        "{:x} {:?} {} {} {} {content}",
        look.file_attributes(),
        file_number(path),
        look.creation_time(),
        look.last_write_time(),
        look.file_size(),
    )
}
