//! Which file a path is on the kernel's list of locks, and which file systems are mounted where.
//!
//! `stat` and the list agree on the numbers of a file, except where a file system hands out numbers of its own to `stat` (btrfs: a device for each subvolume; overlayfs: inodes of the
//! layers). The descriptor's fdinfo tells the kernel's own: `ino:` (since Linux 5.14), and by `mnt_id:` the device in mountinfo.

use crate::inspect::KernelInode;
use rustix::fd::AsRawFd;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat, major, minor, openat, statat};
use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The file systems of our mount namespace.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    by_device: HashMap<(u32, u32), Mount>,
}

#[derive(Debug)]
struct Mount {
    point: PathBuf,
    kind: String,
}

impl Mounts {
    /// As they are now. None are known where /proc is not mounted.
    pub(crate) fn now() -> Mounts {
        let mut mounts = Mounts::default();
        for mount in lines() {
            let device = mount.device;
            let mount = Mount {
                point: mount.point,
                kind: mount.kind,
            };
            // The first one, unless it is a part of the file system only: those come later.
            mounts.by_device.entry(device).or_insert(mount);
        }
        mounts
    }

    /// Where the file system of this inode is mounted.
    pub(crate) fn point(&self, inode: KernelInode) -> Option<&Path> {
        let mount = self.by_device.get(&(inode.major, inode.minor))?;
        Some(&mount.point)
    }

    /// Whether a look at a path there may take for ever: the answer comes from a server, or from a program.
    pub(crate) fn may_hang(&self, inode: KernelInode) -> bool {
        const ASKED: [&str; 8] = ["nfs", "cifs", "smb", "ceph", "fuse", "9p", "afs", "lustre"];
        let mount = self.by_device.get(&(inode.major, inode.minor));
        mount.is_some_and(|mount| ASKED.iter().any(|kind| mount.kind.starts_with(kind)))
    }
}

struct Line {
    id: u64,
    device: (u32, u32),
    point: PathBuf,
    kind: String,
}

/// `27 1 254:0 / / rw,relatime - ext4 /dev/vda rw`: id, parent, device, root, point, options …, a hyphen, kind.
fn lines() -> impl Iterator<Item = Line> {
    let text = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let lines: Vec<Line> = text.split(|byte| *byte == b'\n').filter_map(line).collect();
    lines.into_iter()
}

fn line(line: &[u8]) -> Option<Line> {
    let mut fields = line.split(|byte| *byte == b' ');
    let word = |field: Option<&[u8]>| String::from_utf8(field?.to_vec()).ok();
    let id = word(fields.next())?.parse().ok()?;
    let device = word(fields.nth(1))?;
    let (major, minor) = device.split_once(':')?;
    let device = (major.parse().ok()?, minor.parse().ok()?);
    let point = PathBuf::from(OsString::from_vec(unescaped(fields.nth(1)?)));
    let mut rest = fields.skip_while(|field| *field != b"-");
    let kind = word(rest.nth(1))?;
    Some(Line {
        id,
        device,
        point,
        kind,
    })
}

/// Blanks, line ends and backslashes are written as three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(field.len()), field);
    while let [first, more @ ..] = rest {
        let octal = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
        match more.get(..3).and_then(octal).filter(|_| *first == b'\\') {
            Some(byte) => {
                out.push(byte);
                rest = &more[3..];
            }
            None => {
                out.push(*first);
                rest = more;
            }
        }
    }
    out
}

/// Where a path that a process sees is to be found from here: in its mount namespace, if that is another one. None: it does not show that.
pub(crate) fn seen_by(pid: u32, path: &Path) -> Option<PathBuf> {
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    if namespace(&pid.to_string())? == namespace("self")? {
        return Some(path.to_owned());
    }
    let root = Path::new("/proc").join(pid.to_string()).join("root");
    Some(root.join(path.strip_prefix("/").ok()?))
}

/// Which file this path leads to, through a symbolic link at its end. Nothing is opened: the descriptor only names a place.
pub(crate) fn kernel_inode(path: &Path) -> io::Result<KernelInode> {
    let usual = of_stat(&statat(CWD, path, AtFlags::empty())?);
    // A device that has a number of its own has no other.
    if usual.major != 0 {
        return Ok(usual);
    }
    let place = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let info = std::fs::read(format!("/proc/self/fdinfo/{}", place.as_raw_fd()));
    Ok(of_descriptor(&info.unwrap_or_default()).unwrap_or(usual))
}

fn of_stat(stat: &Stat) -> KernelInode {
    KernelInode {
        major: major(stat.st_dev),
        minor: minor(stat.st_dev),
        number: stat.st_ino,
    }
}

/// The same of a descriptor, by what fdinfo says of it. None: the kernel is too old to say.
pub(super) fn of_descriptor(info: &[u8]) -> Option<KernelInode> {
    let info = String::from_utf8_lossy(info);
    let field = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse::<u64>().ok()
    };
    let (mount, number) = (field("mnt_id:")?, field("ino:")?);
    let (major, minor) = lines().find(|line| line.id == mount)?.device;
    Some(KernelInode {
        major,
        minor,
        number,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_read_whatever_its_path() {
        let mount = line(b"36 35 98:0 /mnt1 /my\\040disk\\134 rw,noatime master:1 - ext3 /dev/root rw,errors=continue");
        let mount = mount.expect("a mount");
        assert_eq!((mount.id, mount.device), (36, (98, 0)));
        assert_eq!(mount.point, Path::new("/my disk\\"));
        assert_eq!(mount.kind, "ext3");
        assert!(line(b"").is_none());
    }
}
