//! The kernel's own list of locks, read without touching the files: /proc/locks, and the `lock:` lines of /proc/PID/fdinfo.

use super::file::Inode;
use crate::Mode;
use crate::sys::KernelLock;
use rustix::fs::{major, minor};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

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

/// The flocks that are held (not waited for) on a file. Only what this process may see: a pid namespace hides the rest.
pub(crate) fn flocks_on(file: Inode) -> io::Result<Vec<KernelLock>> {
    let exact = format!(
        "{:02x}:{:02x}:{}",
        major(file.device),
        minor(file.device),
        file.number
    );
    for _ in 0..LOOKS {
        let (text, pieces) = read_list()?;
        let lines = text.lines().filter_map(|line| flock_line(line, &exact));
        let found: Vec<KernelLock> = lines.collect();
        if !found.is_empty() || pieces <= 1 {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// Whether somebody has a flock on the inode of this device and number, as far as this process may see.
pub(crate) fn is_flocked((device, number): (u64, u64)) -> bool {
    flocks_on(Inode { device, number }).is_ok_and(|found| !found.is_empty())
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
fn flock_line(line: &str, file: &str) -> Option<KernelLock> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    if fields.next()? != "FLOCK" {
        return None;
    }
    let mode = match fields.nth(1)? {
        "WRITE" => Mode::Exclusive,
        _ => Mode::Shared,
    };
    let pid = fields.next()?.parse().ok()?;
    (fields.next()? == file).then_some(KernelLock { mode, pid })
}

/// Whether /proc/locks names files on this device as stat(2) does. Devices without a number of their own may differ (btrfs, overlayfs).
pub(crate) fn lists_all(file: Inode) -> bool {
    major(file.device) != 0
}

/// The processes that have a flock on this file through one of their descriptors, inherited ones included. Slow: it walks /proc.
pub(crate) fn flock_keepers(file: Inode) -> Vec<KernelLock> {
    let mut found = Vec::new();
    let Ok(processes) = fs::read_dir("/proc") else {
        return found;
    };
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    for pid in pids {
        found.extend(kept_by(pid, file).map(|mode| KernelLock { mode, pid }));
    }
    found
}

/// How a process keeps a flock on this file, if it does.
pub(crate) fn kept_by(pid: i32, file: Inode) -> Option<Mode> {
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
        let held = info
            .lines()
            .filter_map(|l| l.strip_prefix("lock:"))
            .find(|l| l.contains(" FLOCK "));
        if let Some(line) = held {
            return Some(if line.contains(" WRITE ") {
                Mode::Exclusive
            } else {
                Mode::Shared
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_and_another_family_are_no_holders() {
        let held = "1: FLOCK  ADVISORY  WRITE 2034 fd:00:13241 0 EOF";
        let expected = KernelLock {
            mode: Mode::Exclusive,
            pid: 2034,
        };
        assert_eq!(flock_line(held, "fd:00:13241"), Some(expected));
        assert_eq!(flock_line(held, "fd:00:1324"), None);
        assert_eq!(
            flock_line(
                "1: -> FLOCK  ADVISORY  WRITE 2035 fd:00:13241 0 EOF",
                "fd:00:13241"
            ),
            None
        );
        assert_eq!(
            flock_line(
                "2: OFDLCK ADVISORY  WRITE -1 fd:00:13241 0 EOF",
                "fd:00:13241"
            ),
            None
        );
        assert_eq!(flock_line("garbage", "fd:00:13241"), None);
    }
}
