//! Claims of the file protocols written, read and removed by hand, as simple programs do it: to plant dead ones, and for breakers that are to be caught.
//!
//! Knows the bytes of each protocol a second time, on purpose: what the library itself wrote would prove nothing. Not for locking: nothing here is
//! safe beside anybody else.

use crate::sys;
use std::fmt::Display;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::SystemTime;

/// The place of a lock of this protocol that is alone in a folder of its own, in this folder: in `locks`.
///
/// # Panics
/// If the folder cannot be made.
pub fn alone(scheme: &str, folder: &Path) -> String {
    let folder = folder.join("locks");
    fs::create_dir(&folder).expect("our own folder");
    format!("{scheme}:{}", folder.join("lock").display())
}

/// What stands in the folder when nobody holds a lock that is called `lock`. The files of kernel locks stay by design: removing one would split the lock in two.
pub fn rest(scheme: &str) -> &'static [&'static str] {
    match scheme {
        "flock" | "fcntl" => &["lock"],
        _ => &[],
    }
}

/// Make the claim of this process, as other programs do it, if nothing stands there.
///
/// # Errors
/// `AlreadyExists`, or what the file system says.
pub fn make(scheme: &str, path: &Path, pid: impl Display) -> io::Result<()> {
    match scheme {
        "symlink" => sys::make_link(pid, path),
        "mkdir" => {
            fs::create_dir(path)?;
            // pylockfile's MkdirLockFile(threaded=False): host.pid, empty.
            fs::write(path.join(format!("{}.{pid}", sys::host_name())), "")
        }
        _ => {
            let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let line = match scheme {
                "labm8" => format!("{pid} {:.7}\n", now.unwrap_or_default().as_secs_f64()),
                // INN's.
                "shlock" => format!("{:>10}\n", pid.to_string()),
                _ => format!("{pid}\n"),
            };
            file.write_all(line.as_bytes())
        }
    }
}

/// Make a claim one of this library, where that looks different: its directories have the sticky bit.
///
/// # Errors
/// What the file system says.
pub fn sign(scheme: &str, path: &Path) -> io::Result<()> {
    if scheme == "mkdir" {
        return sys::sign_folder(path);
    }
    Ok(())
}

/// The process whose claim it is. None: there is none, or it cannot be read.
pub fn read(scheme: &str, path: &Path) -> Option<u32> {
    match scheme {
        "symlink" => sys::read_link(path)?.parse().ok(),
        "mkdir" => {
            let inner = fs::read_dir(path).ok()?.next()?.ok()?.file_name();
            inner.to_str()?.rsplit_once('.')?.1.parse().ok()
        }
        _ => fs::read_to_string(path)
            .ok()?
            .split_whitespace()
            .next()?
            .parse()
            .ok(),
    }
}

/// Remove whatever stands there, by its name.
///
/// # Errors
/// What the file system says.
pub fn remove(scheme: &str, path: &Path) -> io::Result<()> {
    match scheme {
        "mkdir" => {}
        "symlink" => return sys::remove_link(path),
        _ => return fs::remove_file(path),
    }
    for inner in fs::read_dir(path)? {
        fs::remove_file(inner?.path())?;
    }
    fs::remove_dir(path)
}

/// The names in this folder, sorted.
///
/// # Panics
/// If it cannot be listed.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("our own folder");
    let mut names: Vec<String> = entries
        .map(|e| e.expect("our own folder").file_name())
        .map(|n| n.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Remove all that is in this folder.
///
/// # Panics
/// If it cannot be removed.
pub fn empty(folder: &Path) {
    for name in names(folder) {
        let path = folder.join(name);
        let removed = if path.is_dir() && !path.is_symlink() {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        };
        removed.expect("our own folder");
    }
}
