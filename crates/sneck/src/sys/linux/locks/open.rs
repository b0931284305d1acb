//! What processes have open, and which locks that holds: /proc/PID/fdinfo.
//!
//! A descriptor's `lock:` lines are the locks that it keeps up, whoever took them: that is how heirs are found. They are those of the list, with the same numbers; those who wait are not
//! among them. Reading them touches no file, so a dead server hangs nobody; only the path of a file that is locked is asked for (readlink, which does not look at the file either).
//!
//! Processes come and go meanwhile: what is gone is left out.

use super::list;
use crate::inspect::KernelInode;
use crate::sys::{Bearing, Listed, Opened, Watching};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, openat, readlinkat, statat};
use rustix::io::Errno;
use std::ffi::{CStr, OsString};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

/// Room for one descriptor's facts; longer ones are read in pieces.
pub(super) const ROOM: usize = 1 << 14;

/// All descriptors of all processes that keep up a lock of which this is true, and all watches of which that is true.
pub(crate) fn opened(
    wanted: &dyn Fn(&Listed) -> bool,
    watched: &dyn Fn(&Watching) -> bool,
) -> Opened {
    let mut found = Opened::default();
    let Ok(processes) = openat(CWD, "/proc", FOLDER, Mode::empty()) else {
        return found;
    };
    let mut text = Vec::with_capacity(ROOM);
    numbers(processes.as_fd(), &mut |pid, name| {
        let Ok(process) = openat(&processes, name, FOLDER, Mode::empty()) else {
            return;
        };
        match look(&process, pid, wanted, watched, &mut text, &mut found) {
            Err(Errno::ACCESS | Errno::PERM) if !has_nothing(&process) => found.hidden.push(pid),
            _ => {}
        }
    });
    found
}

/// The descriptors of one process that keep up such a lock. None: it does not show them, or is about to end: then it shows none although they are not closed yet.
pub(crate) fn bearing(pid: u32, wanted: &dyn Fn(&Listed) -> bool) -> Option<Vec<Bearing>> {
    let mut found = Opened::default();
    let process = openat(CWD, format!("/proc/{pid}"), FOLDER, Mode::empty()).ok()?;
    let mut text = Vec::with_capacity(ROOM);
    look(&process, pid, wanted, &|_| false, &mut text, &mut found).ok()?;
    // PF_EXITING of include/linux/sched.h.
    const ENDS: u64 = 0x4;
    if found.bearing.is_empty() && state(&process).is_ok_and(|(_, flags, _)| flags & ENDS != 0) {
        return None;
    }
    Some(found.bearing)
}

pub(super) const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// What one process has open. Where its first thread has ended (its state is Z then) and others live, that one shows nothing any more, and they do.
fn look(
    process: &OwnedFd,
    pid: u32,
    wanted: &dyn Fn(&Listed) -> bool,
    watched: &dyn Fn(&Watching) -> bool,
    text: &mut Vec<u8>,
    found: &mut Opened,
) -> Result<(), Errno> {
    let mut any = look_at_thread(process, pid, wanted, watched, text, found)?;
    if any {
        return Ok(());
    }
    let Ok(threads) = openat(process, "task", FOLDER, Mode::empty()) else {
        return Ok(());
    };
    numbers(threads.as_fd(), &mut |thread, name| {
        if any || thread == pid {
            return;
        }
        let thread = openat(&threads, name, FOLDER, Mode::empty());
        let looked = thread.and_then(|t| look_at_thread(&t, pid, wanted, watched, text, found));
        any = looked.unwrap_or(false);
    });
    Ok(())
}

/// The same of one thread, and whether it has anything open.
fn look_at_thread(
    thread: &OwnedFd,
    pid: u32,
    wanted: &dyn Fn(&Listed) -> bool,
    watched: &dyn Fn(&Watching) -> bool,
    text: &mut Vec<u8>,
    found: &mut Opened,
) -> Result<bool, Errno> {
    let descriptors = openat(thread, "fdinfo", FOLDER, Mode::empty())?;
    let mut any = false;
    numbers(descriptors.as_fd(), &mut |descriptor, name| {
        any = true;
        if read(descriptors.as_fd(), name, text).is_err() {
            return;
        }
        let mut locks = Vec::new();
        for line in text.split(|byte| *byte == b'\n') {
            if let Some(line) = line.strip_prefix(b"lock:") {
                let line = std::str::from_utf8(line).ok().and_then(list::line);
                locks.extend(line.filter(|lock| wanted(lock)));
            } else if line.starts_with(b"inotify wd:") {
                let watch = watch(line, pid);
                found.watching.extend(watch.filter(|watch| watched(watch)));
            }
        }
        if !locks.is_empty() {
            let mut link = b"fd/".to_vec();
            link.extend_from_slice(name.to_bytes());
            let path = readlinkat(thread, link, Vec::new()).ok();
            found.bearing.push(Bearing {
                pid,
                descriptor,
                locks,
                path: path.map(|path| PathBuf::from(OsString::from_vec(path.into_bytes()))),
            });
        }
    });
    Ok(any)
}

/// Calls back for each name that is a number.
pub(super) fn numbers(folder: BorrowedFd<'_>, each: &mut dyn FnMut(u32, &CStr)) {
    let mut room = [MaybeUninit::<u8>::uninit(); 1 << 15];
    let mut names = RawDir::new(folder, &mut room);
    while let Some(Ok(entry)) = names.next() {
        let name = entry.file_name();
        let number = name.to_str().ok().and_then(|name| name.parse().ok());
        if let Some(number) = number {
            each(number, name);
        }
    }
}

/// What a file of /proc says. One that fits the room comes in one piece.
pub(super) fn read(folder: BorrowedFd<'_>, name: &CStr, text: &mut Vec<u8>) -> Result<(), Errno> {
    let options = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat(folder, name, options, Mode::empty())?;
    text.clear();
    loop {
        text.reserve(ROOM);
        let room = text.capacity() - text.len();
        let length = rustix::io::read(&file, rustix::buffer::spare_capacity(text))?;
        if length < room {
            return Ok(());
        }
    }
}

/// `inotify wd:1 ino:9e7e sdev:800013 mask:800afce ignored_mask:0 …`, all but the first in hexadecimal; the device as the kernel has it inside: 20 bits are the minor number.
fn watch(line: &[u8], pid: u32) -> Option<Watching> {
    let line = std::str::from_utf8(line).ok()?;
    let field = |name: &str| {
        let value = line.split(' ').find_map(|word| word.strip_prefix(name))?;
        u64::from_str_radix(value, 16).ok()
    };
    let device = u32::try_from(field("sdev:")?).ok()?;
    let inode = KernelInode {
        major: device >> 20,
        minor: device & 0xf_ffff,
        number: field("ino:")?,
    };
    let events = u32::try_from(field("mask:")?).ok()?;
    Some(Watching { pid, inode, events })
}

/// Whether it has nothing open, which is why it shows nobody what: a thread of the kernel (PF_KTHREAD of include/linux/sched.h), or one that has ended and was not reaped.
fn has_nothing(process: &OwnedFd) -> bool {
    const KERNEL_THREAD: u64 = 0x0020_0000;
    match state(process) {
        // /proc hides even that (`hidepid=1`).
        Err(Errno::ACCESS | Errno::PERM) => false,
        // It is gone.
        Err(_) => true,
        // Other threads of one whose first thread has ended live on.
        Ok((state, flags, threads)) => flags & KERNEL_THREAD != 0 || state == "Z" && threads <= 1,
    }
}

/// The state of a process, the kernel's own flags of it, and how many threads it has.
fn state(process: &OwnedFd) -> Result<(String, u64, u64), Errno> {
    let mut stat = Vec::new();
    read(process.as_fd(), c"stat", &mut stat)?;
    let after = stat
        .iter()
        .rposition(|byte| *byte == b')')
        .map_or(0, |at| at + 1);
    let text = String::from_utf8_lossy(&stat[after..]);
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let number = |at: usize| {
        fields
            .get(at)
            .and_then(|field| field.parse().ok())
            .unwrap_or(0)
    };
    let state = fields
        .first()
        .map_or(String::new(), |state| (*state).to_owned());
    Ok((state, number(6), number(17)))
}

/// Whether a process has a file of this number open, locked or not (on whatever device). False before Linux 5.14, which does not tell.
pub(crate) fn has_open(pid: u32, inode: KernelInode) -> bool {
    let descriptors = openat(CWD, format!("/proc/{pid}/fdinfo"), FOLDER, Mode::empty());
    let Ok(descriptors) = descriptors else {
        return false;
    };
    let line = format!("ino:\t{}", inode.number);
    let (mut has, mut text) = (false, Vec::with_capacity(ROOM));
    numbers(descriptors.as_fd(), &mut |_, name| {
        let is_it = |text: &[u8]| text.split(|b| *b == b'\n').any(|l| l == line.as_bytes());
        has = has || read(descriptors.as_fd(), name, &mut text).is_ok() && is_it(&text);
    });
    has
}

/// Whether the file that a process has open has a name anywhere. None: it cannot be seen.
pub(crate) fn has_name(pid: u32, descriptor: u32) -> Option<bool> {
    let link = format!("/proc/{pid}/fd/{descriptor}");
    let stat = statat(CWD, link, AtFlags::empty()).ok()?;
    Some(stat.st_nlink > 0)
}

/// What is in a folder, each with its number there.
pub(crate) fn numbered(folder: &Path) -> Vec<(u64, OsString)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| (entry.ino(), entry.file_name()))
        .collect()
}
