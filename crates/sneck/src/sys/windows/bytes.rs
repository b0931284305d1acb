//! Locks on bytes, and reading and writing beside them.
//!
//! A lock of LockFileEx is mandatory: it keeps others from writing the bytes that it lies on, and an exclusive one from reading them. So that of the protocol `flock`
//! lies on the one byte at which others lock (msvcrt.locking, locket, PEAK) or begin to (filelock, portalocker, Rust's std), and the live mark of a claim far behind
//! any content. Not for: who else is told (`named.rs`).

use super::file::{Descriptor, look_at, tell};
use super::handle::{Came, Event, done, is, last_error, wait_for, wide};
use super::{console, named};
use crate::Mode;
use crate::timeout::{Deadline, Moment};
use std::io;
use std::ptr;
use std::thread;
use std::time::Duration;
use windows_sys::Win32::Foundation as win;
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Storage::FileSystem::{
    FILE_END_OF_FILE_INFO, FileEndOfFileInfo, LOCKFILE_EXCLUSIVE_LOCK, LOCKFILE_FAIL_IMMEDIATELY,
    LockFileEx, ReadFile, UnlockFileEx, WriteFile,
};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};

/// Where the lock of the protocol `flock` lies: one byte.
const LOCK: u64 = 0;
/// Where the live mark of a claim lies: one byte far behind any content.
const MARK: u64 = 1 << 62;
/// What stands before a number in a record: the byte that is locked, which nobody else can read as long as it is.
pub(crate) const RECORD_PREFIX: &str = " ";

/// How one try for a kernel lock went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tried {
    Locked,
    Busy,
}

/// Whoever sleeps in the kernel's queue, and what ends it.
#[derive(Debug)]
pub(crate) struct Asleep<'a> {
    /// Set by whoever wants it to end.
    pub(crate) stop: Option<&'a Event>,
    /// Until when.
    pub(crate) deadline: Deadline,
}

impl Asleep<'_> {
    /// Until one of these is signalled (its number), or the sleep is to end: `ErrorKind::Interrupted`.
    pub(super) fn wait(&self, handles: &[HANDLE], until: Deadline) -> io::Result<Came> {
        let console = Event::new()?;
        let sleeper = console::Sleeper::on_event(&console);
        let mut all = handles.to_vec();
        all.push(console.raw());
        all.extend(self.stop.map(Event::raw));
        let until = match (self.deadline, until) {
            (Deadline::At(one), Deadline::At(other)) => Deadline::At(one.min(other)),
            (Deadline::Never, until) | (until, Deadline::Never) => until,
            (Deadline::Once, _) | (_, Deadline::Once) => Deadline::Once,
        };
        match wait_for(&all, until)? {
            Came::First(number) if number < handles.len() => Ok(Came::First(number)),
            Came::TimedOut if !self.deadline.has_passed() => Ok(Came::TimedOut),
            _ => {
                drop(sleeper);
                Err(io::ErrorKind::Interrupted.into())
            }
        }
    }
}

/// Where an operation happens.
fn at(offset: u64, event: Option<&Event>) -> OVERLAPPED {
    let mut overlapped = OVERLAPPED::default();
    overlapped.Anonymous.Anonymous.Offset = offset as u32;
    overlapped.Anonymous.Anonymous.OffsetHigh = (offset >> 32) as u32;
    overlapped.hEvent = event.map_or(ptr::null_mut(), Event::raw);
    overlapped
}

/// How an operation ended that was begun with this; waits for it if it has not.
fn finish(file: HANDLE, begun: i32, overlapped: &OVERLAPPED) -> io::Result<u32> {
    if begun == 0 {
        let error = last_error();
        if !is(&error, win::ERROR_IO_PENDING) {
            return Err(error);
        }
    }
    let mut moved = 0;
    // SAFETY: an open handle, the structure of an operation that was begun on it, a valid place to write to.
    done(unsafe { GetOverlappedResult(file, overlapped, &raw mut moved, 1) })?;
    Ok(moved)
}

fn flags(mode: Mode) -> u32 {
    match mode {
        Mode::Exclusive => LOCKFILE_EXCLUSIVE_LOCK,
        Mode::Shared => 0,
    }
}

/// One try for a lock on one byte.
fn try_byte(file: HANDLE, offset: u64, mode: Mode) -> io::Result<Tried> {
    let event = Event::new()?;
    let mut overlapped = at(offset, Some(&event));
    let how = flags(mode) | LOCKFILE_FAIL_IMMEDIATELY;
    // SAFETY: an open handle, and a structure that lives until `finish` has seen the end of it.
    let begun = unsafe { LockFileEx(file, how, 0, 1, 0, &raw mut overlapped) };
    if begun != 0 {
        return Ok(Tried::Locked);
    }
    match finish(file, begun, &overlapped) {
        Ok(_) => Ok(Tried::Locked),
        Err(error) if is(&error, win::ERROR_LOCK_VIOLATION) => Ok(Tried::Busy),
        Err(error) => Err(error),
    }
}

fn unlock_byte(file: HANDLE, offset: u64) -> io::Result<()> {
    let event = Event::new()?;
    let mut overlapped = at(offset, Some(&event));
    // SAFETY: an open handle, and a structure that lives until `finish` has seen the end of it.
    let begun = unsafe { UnlockFileEx(file, 0, 1, 0, &raw mut overlapped) };
    if begun != 0 {
        return Ok(());
    }
    finish(file, begun, &overlapped).map(drop)
}

/// How often a try is repeated that may have met somebody who only felt for the lock.
const FEELERS: usize = 100;

/// One try for the lock. 1. A feels whether it is locked, and so locks it. 2. B tries, and finds it locked. 3. A unlocks it. So B looks whether somebody feels just now, and
/// tries again if so, and once more in any case: A may have gone before B looked.
pub(crate) fn try_flock(file: &Descriptor, mode: Mode) -> io::Result<Tried> {
    let mut in_vain = 0;
    for _ in 0..FEELERS {
        if try_byte(file.raw(), LOCK, mode)? == Tried::Locked {
            say(file, mode);
            return Ok(Tried::Locked);
        }
        if named::is_felt_for(look_at(file.raw())?.inode) {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        in_vain += 1;
        if in_vain == 2 {
            break;
        }
    }
    Ok(Tried::Busy)
}

/// Whether it could be locked, found out by locking it for an instant. Whoever does says so all the while: [`named::say_felt_for`].
pub(super) fn touch_lock(file: &Descriptor, mode: Mode) -> io::Result<Tried> {
    let tried = try_byte(file.raw(), LOCK, mode)?;
    if tried == Tried::Locked {
        unlock_byte(file.raw(), LOCK)?;
    }
    Ok(tried)
}

/// Let others know who holds it. Without that they do not, and nothing else is worse.
fn say(file: &Descriptor, mode: Mode) {
    let said = look_at(file.raw()).and_then(|look| named::say_held(look.inode, mode));
    file.put_beside(said.ok());
}

/// Sleep in the kernel's queue. Ended before it was had: `ErrorKind::Interrupted`.
pub(crate) fn flock(file: &Descriptor, mode: Mode, asleep: &Asleep<'_>) -> io::Result<()> {
    if is_wine() {
        return flock_by_tries(file, mode, asleep);
    }
    let event = Event::new()?;
    let mut overlapped = at(LOCK, Some(&event));
    // SAFETY: an open handle, and a structure that lives until the end of the operation, which every way out of here waits for.
    let begun = unsafe { LockFileEx(file.raw(), flags(mode), 0, 1, 0, &raw mut overlapped) };
    if begun == 0 {
        let error = last_error();
        if !is(&error, win::ERROR_IO_PENDING) {
            return Err(error);
        }
        let ended = asleep.wait(&[event.raw()], Deadline::Never);
        if ended.is_err() {
            // SAFETY: as above. If it has ended already there is nothing to cancel, and the next line tells how.
            unsafe { CancelIoEx(file.raw(), &raw const overlapped) };
        }
        match finish(file.raw(), 1, &overlapped) {
            // A grant that came first is kept.
            Ok(_) => {}
            Err(error) if is(&error, win::ERROR_OPERATION_ABORTED) => {
                return Err(match ended {
                    Err(error) => error,
                    Ok(_) => error,
                });
            }
            Err(error) => return Err(error),
        }
    }
    say(file, mode);
    Ok(())
}

/// wine 8 leaves an overlapped lock pending for ever ("Async I/O lock wait not implemented"), and one that is not overlapped nobody can call
/// out. So there the queue is left to chance.
fn flock_by_tries(file: &Descriptor, mode: Mode, asleep: &Asleep<'_>) -> io::Result<()> {
    let mut pause = Duration::from_millis(1);
    loop {
        if try_flock(file, mode)? == Tried::Locked {
            return Ok(());
        }
        let until = Moment::now()
            .after(pause)
            .map_or(Deadline::Once, Deadline::At);
        asleep.wait(&[], until)?;
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// Whether this is wine, which says so by exporting a name.
fn is_wine() -> bool {
    let ntdll = wide("ntdll.dll");
    // SAFETY: a name that ends with zero. Every process has this module for as long as it lives.
    let module = unsafe { GetModuleHandleW(ntdll.as_ptr()) };
    if module.is_null() {
        return false;
    }
    // SAFETY: a module that stays, and a name that ends with zero. Looked up and not called.
    unsafe { GetProcAddress(module, c"wine_get_version".as_ptr().cast()) }.is_some()
}

/// Give up the lock.
pub(crate) fn unflock(file: &Descriptor) -> io::Result<()> {
    let held = file.put_beside(None);
    let unlocked = unlock_byte(file.raw(), LOCK);
    // After it: whoever is woken finds it free.
    held.into_iter().for_each(named::say_given_up);
    unlocked
}

/// One try for the live mark of a claim: of a file by a lock far behind its content, so that all can read it; of a directory, which cannot be locked, by name.
pub(crate) fn try_mark(claim: &Descriptor) -> io::Result<Tried> {
    if !claim.is_folder() {
        return try_byte(claim.raw(), MARK, Mode::Exclusive);
    }
    let Some(mark) = named::mark(look_at(claim.raw())?.inode)? else {
        return Ok(Tried::Busy);
    };
    claim.put_beside(Some(mark));
    Ok(Tried::Locked)
}

/// Give it up.
pub(crate) fn unmark(claim: &Descriptor) -> io::Result<()> {
    if !claim.is_folder() {
        return unlock_byte(claim.raw(), MARK);
    }
    claim.put_beside(None);
    Ok(())
}

fn read_at(file: HANDLE, offset: u64, content: &mut [u8]) -> io::Result<usize> {
    let event = Event::new()?;
    let mut overlapped = at(offset, Some(&event));
    let room = content.len() as u32;
    // SAFETY: an open handle, a buffer of that length and a structure, which both live until `finish` has seen the end of it.
    let begun = unsafe {
        ReadFile(
            file,
            content.as_mut_ptr(),
            room,
            ptr::null_mut(),
            &raw mut overlapped,
        )
    };
    match finish(file, begun, &overlapped) {
        Ok(read) => Ok(read as usize),
        Err(error) if is(&error, win::ERROR_HANDLE_EOF) => Ok(0),
        Err(error) => Err(error),
    }
}

/// Whether somebody's lock keeps us from reading where the lock of a lock file lies.
pub(super) fn is_kept_from_reading(file: &Descriptor) -> bool {
    let read = read_at(file.raw(), LOCK, &mut [0]);
    read.is_err_and(|error| is(&error, win::ERROR_LOCK_VIOLATION))
}

/// The first bytes of a file, from its beginning; from the second one if somebody has the first one locked.
pub(crate) fn read_start(file: &Descriptor, most: usize) -> io::Result<Vec<u8>> {
    let mut content = vec![0; most];
    let read = match read_at(file.raw(), 0, &mut content) {
        Err(error) if is(&error, win::ERROR_LOCK_VIOLATION) => {
            read_at(file.raw(), LOCK + 1, &mut content)?
        }
        other => other?,
    };
    content.truncate(read);
    Ok(content)
}

fn write_at(file: HANDLE, offset: u64, content: &[u8]) -> io::Result<()> {
    let event = Event::new()?;
    let mut overlapped = at(offset, Some(&event));
    let length = content.len() as u32;
    // SAFETY: an open handle, a buffer of that length and a structure, which both live until `finish` has seen the end of it.
    let begun = unsafe {
        WriteFile(
            file,
            content.as_ptr(),
            length,
            ptr::null_mut(),
            &raw mut overlapped,
        )
    };
    match finish(file, begun, &overlapped)? {
        written if written == length => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// Replace the whole content of a small record.
pub(crate) fn write_record(file: &Descriptor, record: &[u8]) -> io::Result<()> {
    match (record, write_at(file.raw(), 0, record)) {
        // Shared, the first byte is locked against ourselves too. It stays what it is, a zero if it is new.
        ([_, rest @ ..], Err(error)) if is(&error, win::ERROR_LOCK_VIOLATION) => {
            write_at(file.raw(), LOCK + 1, rest)?;
        }
        ([], _) => {}
        (_, written) => written?,
    }
    let end = FILE_END_OF_FILE_INFO {
        EndOfFile: record.len() as i64,
    };
    if look_at(file.raw())?.size > record.len() as u64 {
        tell(file.raw(), FileEndOfFileInfo, &end)?;
    }
    Ok(())
}
