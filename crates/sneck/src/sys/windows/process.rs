//! Who a process is. Numbers are the machine's (there are no namespaces), and a process is told from a later one of its number by the time of its making.

use super::fork::PerProcess;
use super::handle::{Came, is, owned, wait_for};
use crate::sys::{Namespace, Presence};
use crate::timeout::Deadline;
use std::ffi::OsString;
use std::io;
use std::os::windows::ffi::OsStringExt;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr;
use std::time::{Duration, SystemTime};
use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_INVALID_PARAMETER, FILETIME};
use windows_sys::Win32::Security::{
    GetTokenInformation, LookupAccountSidW, TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::System::SystemInformation::{ComputerNameDnsHostname, GetComputerNameExW};
use windows_sys::Win32::System::Threading::{
    GetProcessId, GetProcessTimes, OpenProcess, OpenProcessToken, PROCESS_NAME_WIN32,
    PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE, QueryFullProcessImageNameW,
};

/// From 1601 to 1970, in the units of a FILETIME.
const UNIX_EPOCH: u64 = 116_444_736_000_000_000;

/// A handle on a process that is signalled when it has ended.
pub(crate) fn open(pid: u32) -> Result<OwnedHandle, Presence> {
    let rights = PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE;
    // SAFETY: takes numbers only, no child inherits the handle, which is ours.
    let handle = match unsafe { owned(OpenProcess(rights, 0, pid)) } {
        Ok(handle) => handle,
        // Another user's, or a protected one.
        Err(error) if is(&error, ERROR_ACCESS_DENIED) => return Err(Presence::Alive),
        Err(error) if is(&error, ERROR_INVALID_PARAMETER) => return Err(Presence::Absent),
        Err(_) => return Err(Presence::Unknown),
    };
    // SAFETY: an open handle of a process.
    let number = unsafe { GetProcessId(handle.as_raw_handle()) };
    // Numbers are multiples of four, and Windows leaves the two lowest bits of what it is asked for out of account.
    if number != 0 && number != pid {
        return Err(Presence::Absent);
    }
    Ok(handle)
}

/// Whether a process has ended whose handle this is.
pub(crate) fn has_ended(process: &OwnedHandle) -> io::Result<bool> {
    let came = wait_for(&[process.as_raw_handle()], Deadline::Once)?;
    Ok(came != Came::TimedOut)
}

/// Whether a process is there.
pub(crate) fn presence(pid: u32) -> Presence {
    let handle = match open(pid) {
        Ok(handle) => handle,
        Err(presence) => return presence,
    };
    match has_ended(&handle) {
        Ok(true) => Presence::Ended,
        Ok(false) => Presence::Alive,
        Err(_) => Presence::Unknown,
    }
}

/// Our own number.
pub(crate) fn own_pid() -> u32 {
    std::process::id()
}

/// Whether this is a part of the kernel, which claims nothing: the idle process is 0, `System` is 4.
pub(crate) fn is_of_the_kernel(pid: u32) -> bool {
    pid <= 4
}

/// When a process was made, in 100 ns since 1601.
pub(crate) fn start_ticks(pid: u32) -> Option<u64> {
    let process = open(pid).ok()?;
    let mut times = [FILETIME::default(); 4];
    let [made, ended, kernel, user] = &mut times;
    // SAFETY: an open handle, and four valid places to write to.
    let known = unsafe { GetProcessTimes(process.as_raw_handle(), made, ended, kernel, user) };
    (known != 0).then(|| ticks(&times[0]))
}

pub(super) fn ticks(time: &FILETIME) -> u64 {
    u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime)
}

/// The wall time at which a process started. Only as good as the clock was then.
pub(crate) fn started(pid: u32) -> Option<SystemTime> {
    let since = start_ticks(pid)?.checked_sub(UNIX_EPOCH)?;
    let since = Duration::new(since / 10_000_000, (since % 10_000_000) as u32 * 100);
    SystemTime::UNIX_EPOCH.checked_add(since)
}

/// The program that a process runs. Its arguments are its own.
pub(crate) fn command(pid: u32) -> Option<String> {
    let process = open(pid).ok()?;
    let mut name = vec![0_u16; 32_768];
    let mut length = name.len() as u32;
    // SAFETY: an open handle, and a buffer of that length.
    let known = unsafe {
        QueryFullProcessImageNameW(
            process.as_raw_handle(),
            PROCESS_NAME_WIN32,
            name.as_mut_ptr(),
            &raw mut length,
        )
    };
    let name = OsString::from_wide(name.get(..length as usize)?);
    (known != 0).then(|| name.to_string_lossy().into_owned())
}

/// The name of the user that a process runs as.
pub(crate) fn user(pid: u32) -> Option<String> {
    let process = open(pid).ok()?;
    let mut token = ptr::null_mut();
    // SAFETY: an open handle, and a valid place to write to.
    let opened = unsafe { OpenProcessToken(process.as_raw_handle(), TOKEN_QUERY, &raw mut token) };
    if opened == 0 {
        return None;
    }
    // SAFETY: the handle that was written there, which is ours.
    let token = unsafe { owned(token) }.ok()?;
    // As words of eight bytes, which the structure is aligned to.
    let mut buffer = [0_u64; 32];
    let mut length = 0;
    // SAFETY: an open token, and a buffer of that length.
    let known = unsafe {
        GetTokenInformation(
            token.as_raw_handle(),
            TokenUser,
            buffer.as_mut_ptr().cast(),
            size_of_val(&buffer) as u32,
            &raw mut length,
        )
    };
    if known == 0 {
        return None;
    }
    // SAFETY: the call filled the structure in, at the beginning of a buffer that is aligned to it; its pointer leads into the buffer.
    let sid = unsafe { (*buffer.as_ptr().cast::<TOKEN_USER>()).User.Sid };
    let (mut name, mut domain) = ([0_u16; 257], [0_u16; 257]);
    let (mut name_length, mut domain_length) = (name.len() as u32, domain.len() as u32);
    let mut kind = 0;
    // SAFETY: a valid identifier in a buffer that lives, two buffers of these lengths, a place for the kind; this machine is asked.
    let known = unsafe {
        LookupAccountSidW(
            ptr::null(),
            sid,
            name.as_mut_ptr(),
            &raw mut name_length,
            domain.as_mut_ptr(),
            &raw mut domain_length,
            &raw mut kind,
        )
    };
    let name = String::from_utf16_lossy(name.get(..name_length as usize)?);
    (known != 0).then_some(name)
}

/// Nothing more is known here.
pub(crate) fn status(_: u32) -> crate::sys::Status {
    crate::sys::Status::default()
}

/// Nobody is hidden, or nobody knows.
pub(crate) fn hides_processes() -> bool {
    false
}

/// Whether this process sees every process of the machine: their numbers, always.
pub(crate) fn sees_all_pids() -> bool {
    true
}

/// There are none.
pub(crate) fn namespace(_: Namespace) -> Option<u64> {
    None
}

/// Windows has no number of its own for each start (the identifier of a boot entry stays the same).
pub(crate) fn boot_id() -> Option<u128> {
    None
}

/// When this process was made: asked once.
pub(crate) fn own_start_ticks() -> Option<u64> {
    static KNOWN: PerProcess<Option<u64>> = PerProcess::new();
    *KNOWN.get(|| start_ticks(own_pid()))
}

/// The name of this machine.
pub(crate) fn host_name() -> String {
    let mut name = [0_u16; 256];
    let mut length = name.len() as u32;
    // SAFETY: a buffer of that length, in words.
    let known =
        unsafe { GetComputerNameExW(ComputerNameDnsHostname, name.as_mut_ptr(), &raw mut length) };
    let name = name.get(..length as usize).filter(|_| known != 0);
    String::from_utf16_lossy(name.unwrap_or_default())
}
