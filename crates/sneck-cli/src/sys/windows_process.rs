//! Processes by their numbers. Not for: who they are.

use std::io;
use std::mem::size_of;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};

use windows_sys::Win32::Foundation::{
    ERROR_INVALID_PARAMETER, ERROR_NO_MORE_FILES, INVALID_HANDLE_VALUE, WAIT_OBJECT_0, WAIT_TIMEOUT,
};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, TH32CS_SNAPTHREAD, THREADENTRY32, Thread32First, Thread32Next,
};
use windows_sys::Win32::System::Threading::{
    GetProcessId, OpenProcess, OpenThread, PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE,
    ResumeThread, THREAD_SUSPEND_RESUME, WaitForSingleObject,
};

use super::super::Bearer;
use super::job::{check, owned};

/// Who bears this number right now.
pub(crate) fn bearer(pid: u32) -> Bearer {
    // SAFETY: takes numbers.
    let process = unsafe {
        OpenProcess(
            PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE,
            0,
            pid,
        )
    };
    let process = match owned(process) {
        Ok(process) => process,
        Err(error) if error.raw_os_error() == Some(ERROR_INVALID_PARAMETER as i32) => {
            return Bearer::Nobody;
        }
        // Whoever may not be asked is there.
        Err(_) => return Bearer::Unknown,
    };
    // Windows numbers processes in fours and takes 5 for 4.
    // SAFETY: the handle is open.
    if unsafe { GetProcessId(process.as_raw_handle()) } != pid {
        return Bearer::Nobody;
    }
    // One that has ended has its number as long as somebody has it open.
    // SAFETY: the handle is open.
    match unsafe { WaitForSingleObject(process.as_raw_handle(), 0) } {
        WAIT_OBJECT_0 => Bearer::Nobody,
        WAIT_TIMEOUT => Bearer::Process,
        _ => Bearer::Unknown,
    }
}

/// Lets a process run that was started suspended. The caller has it open, so the number is its own.
///
/// The thread's own handle, which the system gave when it was started, the standard library keeps for itself: it is looked up.
pub(super) fn resume(pid: u32) -> io::Result<()> {
    // SAFETY: takes numbers.
    let threads = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0) };
    if threads == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and nobody else has a copy.
    let threads = unsafe { OwnedHandle::from_raw_handle(threads) };
    let mut entry = THREADENTRY32 {
        dwSize: size_of::<THREADENTRY32>() as u32,
        ..THREADENTRY32::default()
    };
    let mut resumed = 0;
    // SAFETY: the handle is open; `entry` is as large as it says.
    let mut more = unsafe { Thread32First(threads.as_raw_handle(), &mut entry) };
    while more != 0 {
        if entry.th32OwnerProcessID == pid {
            // SAFETY: takes numbers.
            let thread = unsafe { OpenThread(THREAD_SUSPEND_RESUME, 0, entry.th32ThreadID) };
            let thread = owned(thread)?;
            // SAFETY: the handle is open.
            let before = unsafe { ResumeThread(thread.as_raw_handle()) };
            check(i32::from(before != u32::MAX))?;
            resumed += 1;
        }
        // SAFETY: as above.
        more = unsafe { Thread32Next(threads.as_raw_handle(), &mut entry) };
    }
    match io::Error::last_os_error() {
        _ if resumed > 0 => Ok(()),
        end if end.raw_os_error() == Some(ERROR_NO_MORE_FILES as i32) => {
            Err(io::Error::other("the command has no thread"))
        }
        error => Err(error),
    }
}
