//! The kernel's own list of locks, read without touching the files: /proc/locks, and the `lock:` lines of /proc/PID/fdinfo.

use super::file::Inode;
use crate::Mode;
use crate::sys::{KernelFamily, KernelLock};
use rustix::fs::{major, minor};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// How often a list that came in several pieces is read before it is believed that a lock is not in it.
const LOOKS: usize = 8;

/// The kernel's list, and in how many pieces it came. A piece is as long as the buffer, at most a page, and whole in itself; a lock that ends between two
/// of them shifts the rest, and one is missed. So no `read_to_string`, which begins with a few bytes.
fn read_list() -> io::Result<(String, usize)> {
    let mut list = fs::File::open("/proc/locks")?;
    let (mut text, mut piece, mut pieces) = (String::new(), vec![0; 1 << 16], 0);
    loop {
        match list.read(&mut piece) {
            Ok(0) => return Ok((text, pieces)),
            Ok(length) => text.push_str(&String::from_utf8_lossy(&piece[..length])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        pieces += 1;
    }
}

impl KernelFamily {
    /// Whether the kernel's word for a lock means one of this family.
    fn has(self, word: &str) -> bool {
        match self {
            KernelFamily::Flock => word == "FLOCK",
            KernelFamily::Fcntl => word == "POSIX" || word == "OFDLCK",
        }
    }
}

/// The locks of a family that are held (not waited for) on any part of a file. Only what this process may see: a pid namespace hides the rest.
pub(crate) fn held_on(
    _: Option<&Path>,
    file: Inode,
    family: KernelFamily,
) -> io::Result<Vec<KernelLock>> {
    let exact = format!(
        "{:02x}:{:02x}:{}",
        major(file.device),
        minor(file.device),
        file.number
    );
    for _ in 0..LOOKS {
        let (text, pieces) = read_list()?;
        let lines = text
            .lines()
            .filter_map(|line| held_line(line, &exact, family));
        let found: Vec<KernelLock> = lines.collect();
        if !found.is_empty() || pieces <= 1 {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// Whether somebody has a flock on the inode of this device and number, as far as this process may see.
pub(crate) fn is_flocked((device, number): (u64, u64)) -> bool {
    let file = Inode { device, number };
    held_on(None, file, KernelFamily::Flock).is_ok_and(|found| !found.is_empty())
}

/// Whether this process has a POSIX lock on a file: closing any descriptor of the file would drop it.
pub(crate) fn has_own_posix_lock(file: Inode) -> bool {
    let exact = format!(":{:02x}:{}", minor(file.device), file.number);
    let own = std::process::id().to_string();
    let is_it = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().skip(1).take(5).collect();
        matches!(fields[..], ["POSIX", _, _, pid, place] if pid == own && place.ends_with(&exact))
    };
    read_list().is_ok_and(|(list, _)| list.lines().any(is_it))
}

/// `1: FLOCK  ADVISORY  WRITE 2034 fd:00:13241 0 EOF`; a waiter has `->` after the number.
fn held_line(line: &str, file: &str, family: KernelFamily) -> Option<KernelLock> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    if !family.has(fields.next()?) {
        return None;
    }
    let mode = mode_of(fields.nth(1)?);
    let pid = fields.next()?.parse().ok()?;
    (fields.next()? == file).then_some(KernelLock { mode, pid })
}

fn mode_of(word: &str) -> Mode {
    match word {
        "WRITE" => Mode::Exclusive,
        _ => Mode::Shared,
    }
}

/// Whether /proc/locks names files on this device as stat(2) does. Devices without a number of their own may differ (btrfs, overlayfs).
pub(crate) fn lists_all(file: Inode) -> bool {
    major(file.device) != 0
}

/// The processes that have a lock of a family on this file through one of their descriptors, inherited ones included. Slow: it walks /proc.
pub(crate) fn keepers(file: Inode, family: KernelFamily) -> Vec<KernelLock> {
    let mut found = Vec::new();
    let Ok(processes) = fs::read_dir("/proc") else {
        return found;
    };
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    for pid in pids {
        found.extend(kept_by(pid, file, family).map(|mode| KernelLock { mode, pid }));
    }
    found
}

/// How a process keeps a lock on this file, if it does.
fn kept_by(pid: i32, file: Inode, family: KernelFamily) -> Option<Mode> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    for descriptor in descriptors.flatten() {
        // A look through the magic link: it tells the file's true numbers even where /proc/locks has others (btrfs, overlayfs).
        let Ok(status) = fs::metadata(descriptor.path()) else {
            continue;
        };
        if (status.dev(), status.ino()) != (file.device, file.number) {
            continue;
        }
        let name = descriptor.file_name();
        let Ok(info) = fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", name.to_string_lossy()))
        else {
            continue;
        };
        let held = info.lines().filter_map(|l| l.strip_prefix("lock:"));
        // The same line as in the list. Its numbers of the file are not compared: they may be others (btrfs, overlayfs).
        let mut held = held.filter_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            family.has(fields.next()?).then(|| fields.nth(1))?
        });
        if let Some(mode) = held.next() {
            return Some(mode_of(mode));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "fd:00:13241";

    #[test]
    fn a_waiter_and_another_family_are_no_holders() {
        let flock = |line: &str| held_line(line, FILE, KernelFamily::Flock);
        let fcntl = |line: &str| held_line(line, FILE, KernelFamily::Fcntl);
        let (mode, pid) = (Mode::Exclusive, 2034);
        let held = "1: FLOCK  ADVISORY  WRITE 2034 fd:00:13241 0 EOF";
        assert_eq!(flock(held), Some(KernelLock { mode, pid }));
        assert_eq!(fcntl(held), None);
        let other_file = held_line(held, "fd:00:1324", KernelFamily::Flock);
        assert_eq!(other_file, None);
        let posix = "2: POSIX  ADVISORY  WRITE 2034 fd:00:13241 5 9";
        assert_eq!(fcntl(posix), Some(KernelLock { mode, pid }));
        assert_eq!(flock(posix), None);
        let (mode, pid) = (Mode::Shared, -1);
        let ofd = "3: OFDLCK ADVISORY  READ -1 fd:00:13241 0 EOF";
        assert_eq!(fcntl(ofd), Some(KernelLock { mode, pid }));
        assert_eq!(flock(ofd), None);
        for waiter in ["FLOCK ", "POSIX ", "OFDLCK"] {
            let line = format!("1: -> {waiter} ADVISORY  WRITE 2035 fd:00:13241 0 EOF");
            assert_eq!((flock(&line), fcntl(&line)), (None, None), "{line}");
        }
        assert_eq!((flock("garbage"), fcntl("")), (None, None));
    }
}
