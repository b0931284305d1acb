//! Handles, events, errors and paths: what every file here needs of Win32.

use crate::timeout::{Deadline, Moment};
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::{Path, PathBuf};
use std::ptr;
use std::time::Duration;
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_DELETE_PENDING, GetLastError, HANDLE, INVALID_HANDLE_VALUE,
    WAIT_ABANDONED_0, WAIT_FAILED, WAIT_OBJECT_0, WAIT_TIMEOUT,
};
use windows_sys::Win32::System::Threading::{
    CreateEventW, INFINITE, ResetEvent, SetEvent, WaitForMultipleObjects,
};

const STATUS_DELETE_PENDING: i32 = 0xC000_0056_u32 as i32;

#[link(name = "ntdll")]
// SAFETY: the function has this type.
unsafe extern "system" {
    // SAFETY: takes nothing, reads a word of this thread's own.
    safe fn RtlGetLastNtStatus() -> i32;
}

/// Why the last call of this thread failed. A name whose file is about to go, since somebody who removed it has it open still, is told apart: Win32 calls
/// that access denied, too.
pub(crate) fn last_error() -> io::Error {
    // SAFETY: reads a word of this thread's own.
    let code = unsafe { GetLastError() };
    if code == ERROR_ACCESS_DENIED && RtlGetLastNtStatus() == STATUS_DELETE_PENDING {
        return error(ERROR_DELETE_PENDING);
    }
    error(code)
}

/// The error of this number.
pub(crate) fn error(code: u32) -> io::Error {
    io::Error::from_raw_os_error(code as i32)
}

/// Whether it is this one.
pub(crate) fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == Some(code as i32)
}

/// What a call gave that answers with nothing but success.
pub(crate) fn done(success: i32) -> io::Result<()> {
    if success == 0 {
        return Err(last_error());
    }
    Ok(())
}

/// Take charge of a handle that a call gave.
///
/// # Safety
/// It is null or invalid, or nobody else's.
pub(crate) unsafe fn owned(handle: HANDLE) -> io::Result<OwnedHandle> {
    if handle.is_null() || handle == INVALID_HANDLE_VALUE {
        return Err(last_error());
    }
    // SAFETY: a handle, and nobody else's: the caller says so.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// So many milliseconds, rounded up, as waits take them. Never for ever: whoever sleeps longer comes again, since these waits stop during
/// suspend while our clock goes on.
pub(crate) fn milliseconds(length: Duration) -> u32 {
    const LONGEST: u128 = 10_000;
    length.as_nanos().div_ceil(1_000_000).min(LONGEST) as u32
}

/// An event that stays set until it is reset.
#[derive(Debug)]
pub(crate) struct Event(OwnedHandle);

impl Event {
    pub(crate) fn new() -> io::Result<Event> {
        // SAFETY: no security attributes (no child inherits it), manual reset, not set, no name. The handle is ours.
        unsafe { owned(CreateEventW(ptr::null(), 1, 0, ptr::null())) }.map(Event)
    }

    pub(crate) fn set(&self) {
        // SAFETY: an event of ours, open.
        unsafe { SetEvent(self.raw()) };
    }

    pub(crate) fn reset(&self) {
        // SAFETY: an event of ours, open.
        unsafe { ResetEvent(self.raw()) };
    }

    pub(crate) fn raw(&self) -> HANDLE {
        self.0.as_raw_handle()
    }
}

/// Which of several came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// The one of this number.
    First(usize),
    TimedOut,
}

/// Sleep until one of these (64 at most) is signalled, until the deadline at most. A mutex whose owner has died counts as signalled.
pub(crate) fn wait_for(handles: &[HANDLE], deadline: Deadline) -> io::Result<Came> {
    loop {
        let longest = match deadline {
            Deadline::Once => 0,
            Deadline::Never => INFINITE,
            Deadline::At(moment) => milliseconds(Moment::until(moment)),
        };
        // SAFETY: the handles are open: whoever calls lends what they belong to.
        let came =
            unsafe { WaitForMultipleObjects(handles.len() as u32, handles.as_ptr(), 0, longest) };
        let first = |from: u32| (came - from) as usize;
        match came {
            WAIT_FAILED => return Err(last_error()),
            WAIT_TIMEOUT if deadline.has_passed() => return Ok(Came::TimedOut),
            WAIT_TIMEOUT => {}
            _ if came >= WAIT_ABANDONED_0 => return Ok(Came::First(first(WAIT_ABANDONED_0))),
            _ => return Ok(Came::First(first(WAIT_OBJECT_0))),
        }
    }
}

/// A path as system calls take it, of any length and with nothing in it replaced: `\\?\C:\…`, `\\?\UNC\server\share\…`.
pub(crate) fn verbatim(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let words: Vec<u16> = absolute.as_os_str().encode_wide().collect();
    let begins = |with: &str| {
        words
            .iter()
            .copied()
            .take(with.len())
            .eq(with.encode_utf16())
    };
    let prefix = if begins(r"\\?\") || begins(r"\\.\") || begins(r"\??\") {
        return absolute;
    } else if begins(r"\\") {
        r"\\?\UNC"
    } else {
        r"\\?\"
    };
    let mut whole = std::ffi::OsString::from(prefix);
    // Without the first of `\\server`.
    let rest = words.get(usize::from(begins(r"\\"))..).unwrap_or_default();
    whole.push(<std::ffi::OsString as std::os::windows::ffi::OsStringExt>::from_wide(rest));
    whole.into()
}

/// A path of a device (`NUL`, `COM1` and the like, in any folder): it names no file.
pub(crate) fn is_device(path: &Path) -> bool {
    crate::sys::text::bytes(path.as_os_str()).starts_with(br"\\.\")
}

/// With a zero at the end.
pub(crate) fn wide(text: impl AsRef<std::ffi::OsStr>) -> Vec<u16> {
    text.as_ref().encode_wide().chain([0]).collect()
}
