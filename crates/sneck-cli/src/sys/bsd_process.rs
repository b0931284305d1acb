//! Who bears a process number, and who is in a group, by sysctl(3). Not for: who it is.

use super::super::Bearer;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use std::ffi::CStr;
use std::io;
use std::path::PathBuf;
use std::ptr;

/// More are rarely open.
const MANY: i32 = 1024;

/// What the kernel's table says of a process.
struct Entry {
    pid: i32,
    /// It waits to be reaped.
    ended: bool,
}

/// Who bears this number right now. A thread's number is never a process's here.
pub(crate) fn bearer(pid: u32) -> Bearer {
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Bearer::Nobody;
    };
    let raw = number.as_raw_nonzero().get();
    let known = entries(libc::KERN_PROC_PID, raw).unwrap_or_default();
    match known.iter().find(|entry| entry.pid == raw) {
        Some(entry) if entry.ended => return Bearer::Nobody,
        Some(_) => return Bearer::Process,
        None => {}
    }
    match test_kill_process(number) {
        Ok(()) | Err(Errno::PERM) => Bearer::Process,
        // FreeBSD can be told to hide other users' processes, and a jail hides all outside.
        Err(Errno::SRCH) if cfg!(target_os = "macos") => Bearer::Nobody,
        Err(_) => Bearer::Unknown,
    }
}

/// What this process executes.
pub(super) fn own_program() -> io::Result<PathBuf> {
    std::env::current_exe()
}

/// Only Linux has a short name that can be changed.
pub(super) fn name_ourselves(_: &CStr) {}

/// What this process may have open: /dev/fd lists all on macOS, and on FreeBSD only with fdescfs.
pub(super) fn open_descriptors() -> Vec<i32> {
    (0..MANY).collect()
}

/// Who is left in a group, but for this one (its leader, say); None: it cannot be told.
pub(super) fn others_in_group(group: i32, but: Option<i32>) -> Option<Vec<i32>> {
    let all = entries(libc::KERN_PROC_PGRP, group).ok()?;
    let others = all.iter().filter(|one| Some(one.pid) != but && !one.ended);
    Some(others.map(|one| one.pid).collect())
}

/// Those whom the table lists by this.
fn entries(by: libc::c_int, number: libc::c_int) -> io::Result<Vec<Entry>> {
    // Nothing is written here: macOS declares it as from before `const`.
    let mut name = [libc::CTL_KERN, libc::KERN_PROC, by, number];
    let mut table: Vec<u8> = Vec::new();
    loop {
        let mut length = table.len();
        let value = match length {
            0 => ptr::null_mut::<u8>(),
            _ => table.as_mut_ptr(),
        };
        // SAFETY: `name` has so many numbers; `value` is null or has room for `length` bytes; no new value is set.
        let done = unsafe {
            libc::sysctl(
                name.as_mut_ptr(),
                name.len() as libc::c_uint,
                value.cast(),
                &raw mut length,
                ptr::null_mut(),
                0,
            )
        };
        if done == 0 && !value.is_null() {
            return Ok(table[..length]
                .chunks_exact(LENGTH)
                .filter_map(read)
                .collect());
        }
        let error = io::Error::last_os_error();
        if done != 0 && error.raw_os_error() == Some(libc::ESRCH) {
            return Ok(Vec::new());
        }
        if done != 0 && error.raw_os_error() != Some(libc::ENOMEM) {
            return Err(error);
        }
        // It may grow before it is asked for again.
        table = vec![0_u8; length.max(table.len()) + 16 * LENGTH];
    }
}

/// A `kinfo_proc`, as sys/sysctl.h has declared it for 64-bit systems since 10.5.
#[cfg(target_os = "macos")]
const LENGTH: usize = 648;

#[cfg(target_os = "macos")]
fn read(entry: &[u8]) -> Option<Entry> {
    Some(Entry {
        pid: i32::from_ne_bytes(entry.get(40..44)?.try_into().ok()?),
        ended: u32::from(*entry.get(36)?) == libc::SZOMB,
    })
}

#[cfg(target_os = "freebsd")]
const LENGTH: usize = size_of::<libc::kinfo_proc>();

#[cfg(target_os = "freebsd")]
fn read(entry: &[u8]) -> Option<Entry> {
    if entry.len() < LENGTH {
        return None;
    }
    // SAFETY: there are as many bytes as it has, all initialised; it is made of integers and of pointers that are never followed. Nothing asks for an alignment.
    let entry: libc::kinfo_proc = unsafe { ptr::read_unaligned(entry.as_ptr().cast()) };
    if usize::try_from(entry.ki_structsize) != Ok(LENGTH) {
        return None;
    }
    Some(Entry {
        pid: entry.ki_pid,
        ended: entry.ki_stat == libc::SZOMB,
    })
}
