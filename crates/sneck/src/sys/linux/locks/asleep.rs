//! Who sleeps in fcntl(F_OFD_SETLKW), and for which bytes: the list has -1 for all of them.
//!
//! /proc/PID/task/TID/syscall tells the call that a thread is in and its arguments; the third is the address of the bytes that it wants, in its own memory. Nothing is stopped or traced for that, but the
//! right to trace is asked for.
//!
//! Not for: those who wait for a flock or a POSIX lock, whom the list names.

use super::open::{FOLDER, ROOM, numbers, read};
use crate::Mode as LockMode;
use crate::inspect::Range;
use crate::sys::Asleep;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::ffi::CString;
use std::fs::File;
use std::mem::{offset_of, size_of};
use std::os::unix::fs::FileExt;

/// All of them, as far as they show it.
pub(crate) fn ofd_waiters() -> Vec<Asleep> {
    let mut found = Vec::new();
    let Ok(processes) = openat(CWD, "/proc", FOLDER, Mode::empty()) else {
        return found;
    };
    let mut text = Vec::with_capacity(ROOM);
    numbers(processes.as_fd(), &mut |pid, name| {
        let process = openat(&processes, name, FOLDER, Mode::empty());
        let threads = process.and_then(|p| openat(&p, "task", FOLDER, Mode::empty()));
        let Ok(threads) = threads else {
            return;
        };
        numbers(threads.as_fd(), &mut |_, name| {
            if let Ok(thread) = openat(&threads, name, FOLDER, Mode::empty()) {
                found.extend(waiter(&thread, pid, &mut text));
            }
        });
    });
    found
}

fn waiter(thread: &OwnedFd, pid: u32, text: &mut Vec<u8>) -> Option<Asleep> {
    read(thread.as_fd(), c"syscall", text).ok()?;
    let (descriptor, address) = awaited(text)?;
    let info = CString::new(format!("fdinfo/{descriptor}")).ok()?;
    read(thread.as_fd(), &info, text).ok()?;
    let inode = super::mounts::of_descriptor(text)?;
    Some(Asleep {
        pid,
        inode,
        wants: wants(thread, address),
    })
}

/// `72 0x3 0x26 0x7ffe96729390 …`: the call's number and arguments. The descriptor, and where the bytes are written, if it waits for an OFD lock.
fn awaited(text: &[u8]) -> Option<(u32, u64)> {
    let mut words = std::str::from_utf8(text).ok()?.split_ascii_whitespace();
    let call: i64 = words.next()?.parse().ok()?;
    let mut argument = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let (descriptor, command, address) = (argument()?, argument()?, argument()?);
    #[allow(clippy::unnecessary_cast)] // 32 bits elsewhere
    let waits = call == libc::SYS_fcntl as i64 && command == libc::F_OFD_SETLKW as u64;
    let descriptor = u32::try_from(descriptor).ok().filter(|_| waits)?;
    Some((descriptor, address))
}

/// Which bytes are asked for, and how: a `struct flock64` in its memory. None: it does not show it, or counts from where the file ends.
fn wants(thread: &OwnedFd, address: u64) -> Option<(LockMode, Range)> {
    let options = OFlags::RDONLY | OFlags::CLOEXEC;
    let memory = openat(thread, "mem", options, Mode::empty()).ok()?;
    let mut asked = [0; size_of::<libc::flock64>()];
    File::from(memory).read_exact_at(&mut asked, address).ok()?;
    of_flock64(&asked)
}

fn of_flock64(asked: &[u8]) -> Option<(LockMode, Range)> {
    let short = |at: usize| Some(i16::from_ne_bytes(asked.get(at..at + 2)?.try_into().ok()?));
    let long = |at: usize| Some(i64::from_ne_bytes(asked.get(at..at + 8)?.try_into().ok()?));
    let mode = match i32::from(short(offset_of!(libc::flock64, l_type))?) {
        libc::F_WRLCK => LockMode::Exclusive,
        libc::F_RDLCK => LockMode::Shared,
        _ => return None,
    };
    if i32::from(short(offset_of!(libc::flock64, l_whence))?) != libc::SEEK_SET {
        return None;
    }
    let start = long(offset_of!(libc::flock64, l_start))?;
    let (start, end) = match long(offset_of!(libc::flock64, l_len))? {
        0 => (start, None),
        length if length > 0 => (start, Some(start.checked_add(length - 1)?)),
        // So many before the start.
        length => (start.checked_add(length)?, Some(start - 1)),
    };
    let range = Range {
        start: u64::try_from(start).ok()?,
        end: match end {
            // As the list has it.
            Some(i64::MAX) | None => None,
            Some(end) => Some(u64::try_from(end).ok()?),
        },
    };
    Some((mode, range))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_waits_for_an_ofd_lock_is_one() {
        let call = libc::SYS_fcntl;
        let text = format!("{call} 0x3 0x26 0x7ffe96729390 0x0 0x0 0x0 0x7ffe 0x7f12\n");
        assert_eq!(awaited(text.as_bytes()), Some((3, 0x7ffe_9672_9390)));
        for other in [
            format!("{call} 0x3 0x7 0x7ffe96729390 0x0"),
            format!("{} 0x3 0x26 0x7ffe96729390 0x0", call + 1),
            "running\n".into(),
            String::new(),
        ] {
            assert_eq!(awaited(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn the_bytes_that_are_asked_for_are_read_as_the_list_has_them() {
        let asked = |kind: i32, whence: i32, start: i64, length: i64| {
            let mut bytes = [0; size_of::<libc::flock64>()];
            let mut put = |at: usize, value: &[u8]| {
                bytes[at..at + value.len()].copy_from_slice(value);
            };
            let short = |value: i32| i16::try_from(value).expect("small").to_ne_bytes();
            put(offset_of!(libc::flock64, l_type), &short(kind));
            put(offset_of!(libc::flock64, l_whence), &short(whence));
            put(offset_of!(libc::flock64, l_start), &start.to_ne_bytes());
            put(offset_of!(libc::flock64, l_len), &length.to_ne_bytes());
            of_flock64(&bytes)
        };
        let range = |start, end| Range { start, end };
        let (write, set) = (libc::F_WRLCK, libc::SEEK_SET);
        let exclusive = |range| Some((LockMode::Exclusive, range));
        assert_eq!(asked(write, set, 0, 0), exclusive(Range::WHOLE));
        assert_eq!(asked(write, set, 5, 10), exclusive(range(5, Some(14))));
        assert_eq!(asked(write, set, 15, -10), exclusive(range(5, Some(14))));
        assert_eq!(asked(write, set, 1, i64::MAX), exclusive(range(1, None)));
        assert_eq!(
            asked(libc::F_RDLCK, set, 5, 0),
            Some((LockMode::Shared, range(5, None)))
        );
        for none in [
            asked(write, libc::SEEK_END, 0, 0),
            asked(libc::F_UNLCK, set, 0, 0),
            asked(write, set, 5, -10),
            asked(write, set, i64::MAX, i64::MAX),
        ] {
            assert_eq!(none, None);
        }
    }
}
