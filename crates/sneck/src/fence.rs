//! Checking fencing tokens at the resource: what makes a lock with a lease safe.
//!
//! A lock can be lost while its holder believes to hold it: its process was stopped, its network fell silent. Whoever comes next has a higher token
//! ([`crate::Guard::token`]); a resource that refuses lower ones than it has seen refuses the one who came before. No lock can do that from outside.
//!
//! - [`Register`]: the highest token seen, in a server's memory.
//! - [`replace`]: a file that is replaced as a whole, and only by whoever has the highest token.
//! - In SQL it is one condition, in the statement that changes the data: `UPDATE job SET state = $1, fence = $2 WHERE id = $3 AND fence <= $2`, and no row changed means stale.
//!   PROTOCOLS.md has this, and the same for data in etcd and Redis.
//!
//! For: resources that see every change. Not for: getting tokens; a resource that cannot compare them (then the lock saves work, and no more).
//!
//! ```
//! use sneck::fence::Register;
//! let register = Register::default();
//! assert!(register.admit(33).is_ok()); // one holder
//! assert!(register.admit(34).is_ok()); // the next one
//! assert!(register.admit(33).is_err()); // the first one, late
//! ```

#![allow(clippy::disallowed_methods)] // a file of the user's, written here, is no lock's

use crate::error::{Error, ErrorKind, Result};
use crate::hidden;
use crate::lock::{Lock, LockBuilder};
use crate::place::Place;
use crate::sys::file::make_like;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The highest token that a resource has seen, as long as the resource's process lives. One that may be restarted keeps the number with its data.
#[derive(Debug, Default)]
pub struct Register {
    highest: AtomicU64,
}

impl Register {
    /// One that has seen this token already: kept with the data from before a restart.
    pub const fn new(highest: u64) -> Register {
        Register {
            highest: AtomicU64::new(highest),
        }
    }

    /// Let in whoever has this token, unless somebody with a higher one was here. The same holder may come as often as it likes.
    ///
    /// What is changed afterwards must not overlap with what another one changes: let them in and make the change under one mutex, or in one transaction.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`]: a later holder was here.
    pub fn admit(&self, token: u64) -> Result<()> {
        match self.highest.fetch_max(token, Ordering::AcqRel) {
            highest if highest > token => Err(stale(token, highest)),
            _ => Ok(()),
        }
    }

    /// The highest token seen.
    pub fn highest(&self) -> u64 {
        self.highest.load(Ordering::Acquire)
    }
}

fn stale(token: u64, highest: u64) -> Error {
    let what = format!("the token {token} is stale: a holder with {highest} was here already");
    Error::new(ErrorKind::Lost, "check the token", what)
        .advise("the lock was lost while it was held; acquire it again, and begin again")
}

/// Replace a file as a whole, for whoever has this token, unless somebody with a higher one was here: nobody ever sees half of it, and it survives a crash of the machine.
///
/// Beside it stand `NAME.fence`, a lock file (`flock`), and `NAME.token`, the highest token so far: remove neither. All writers have to come this way. The token is
/// on disk before the content: after a crash between the two the file is as before, and only whoever has that token or a higher one may replace it. What a crash
/// leaves on its way in (`.NAME.sneck-draft`) is removed by the next one.
///
/// The path names the file itself: a symbolic link there is replaced, and two names of one file are two files here. It keeps its permissions and gets a new owner, whoever writes.
///
/// Works where flock(2) excludes all writers: on one machine, and on network file systems that pass it on. Waits while another one writes, for ever if that one is
/// stopped in the middle: [`replace_by`] has a timeout.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("state.json");
/// use sneck::fence;
/// fence::replace(&path, 7, b"{\"by\": \"the holder of 7\"}")?;
/// fence::replace(&path, 9, b"{}")?;
/// let late = fence::replace(&path, 7, b"late").unwrap_err();
/// assert_eq!(late.kind(), sneck::ErrorKind::Lost);
/// assert_eq!(std::fs::read(&path)?, b"{}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Lost`]: a later holder was here, and nothing was changed. [`ErrorKind::Damaged`]: `NAME.token` holds no number, or `NAME.fence` was removed meanwhile.
/// [`ErrorKind::Usage`]: the path names no file. [`ErrorKind::Foreign`]: a directory stands there. Otherwise what the operating system said; then the file is as before or replaced, and never half.
pub fn replace(path: impl AsRef<Path>, token: u64, content: &[u8]) -> Result<()> {
    replace_by(Lock::builder(), path, token, content)
}

/// The same, waiting for other writers as this builder says: with a timeout, with an observer.
///
/// # Errors
/// As [`replace`], and as [`Lock::acquire`].
pub fn replace_by(
    lock: LockBuilder,
    path: impl AsRef<Path>,
    token: u64,
    content: &[u8],
) -> Result<()> {
    let path = path.as_ref();
    let place = Place::file("file", path);
    must_name_a_file(path, &place)?;
    let guard = lock.file("flock", beside(path, ".fence"))?.acquire()?;
    let failed = |doing: &'static str, path: &Path| {
        let place = Place::file("file", path);
        move |error: io::Error| Error::os(doing, &error).at(&place).because(error)
    };
    let number = beside(path, ".token");
    let highest = match fs::read_to_string(&number) {
        Ok(text) => text.trim().parse().map_err(|_| {
            let what = "it should hold the highest token so far, and holds no number";
            Error::new(ErrorKind::Damaged, "check the token", what)
                .at(&Place::file("file", &number))
                .advise("write a number into it that is higher than any token so far")
        })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(failed("read", &number)(error)),
    };
    if token < highest {
        return Err(stale(token, highest).at(&place));
    }
    // 1. A has a lower token, and comes late. 2. B replaces the file. 3. The machine crashes before B's token is on disk. 4. A is let in, and B's work is gone. So
    // the token goes first.
    if token > highest {
        put(&number, format!("{token}\n").as_bytes()).map_err(failed("write", &number))?;
    }
    guard.ensure_held().map_err(|error| unlocked(&error))?;
    put(path, content).map_err(failed("write", path))?;
    guard.release().map_err(|error| unlocked(&error))
}

/// Before anything is made beside it.
fn must_name_a_file(path: &Path, place: &Place) -> Result<()> {
    let named = path.file_name().is_some_and(|name| {
        // What ends in a slash names a folder, whatever `file_name` reads.
        path.as_os_str()
            .as_encoded_bytes()
            .ends_with(name.as_encoded_bytes())
    });
    if !named {
        let what = "the path does not end in a file name";
        return Err(Error::new(ErrorKind::Usage, "write", what).at(place));
    }
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => {
            let what = "a directory stands there, which is not replaced";
            Err(Error::new(ErrorKind::Foreign, "write", what).at(place))
        }
        _ => Ok(()),
    }
}

/// Not [`ErrorKind::Lost`], which says that the token is stale.
fn unlocked(error: &Error) -> Error {
    let what = "its lock file was removed or replaced meanwhile: another one may have written too";
    let unlocked = Error::new(ErrorKind::Damaged, "write", what);
    match error.place() {
        Some(place) => unlocked.at(place),
        None => unlocked,
    }
    .advise("find out who removed it, and look at the file")
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = path.into();
    name.push(ending);
    name.into()
}

/// Replace it in one step, on disk when this returns.
fn put(path: &Path, content: &[u8]) -> io::Result<()> {
    // Under the lock there is one writer: what stands there an earlier one left. It is removed and not written over, since a link there leads elsewhere.
    let mut name = hidden::prefix(path.file_name().unwrap_or_default());
    name.push("draft");
    let draft = path.with_file_name(name);
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let before = fs::metadata(path).ok().map(|before| before.permissions());
    let mut file = make_like(&draft, before)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    drop(file);
    if let Err(error) = written.and_then(|()| fs::rename(&draft, path)) {
        // A full disk, say: what is of no use is not left there.
        let _ = fs::remove_file(&draft);
        return Err(error);
    }
    // The name, too. Where a folder cannot be opened (Windows) the file system sees to that itself.
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    match File::open(folder.unwrap_or(Path::new("."))) {
        Ok(folder) => folder.sync_all(),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeout::Timeout;
    use std::thread;

    #[test]
    fn of_many_who_come_in_any_order_nobody_is_let_in_after_a_higher_one() {
        let register = Register::new(5);
        assert!(register.admit(4).is_err());
        let admitted: Vec<u64> = (0..10_000_u64)
            .map(|n| n * 7919 % 10_007)
            .filter(|token| register.admit(*token).is_ok())
            .collect();
        assert!(admitted.is_sorted() && admitted.len() > 1, "{admitted:?}");
        assert_eq!(register.highest(), *admitted.last().expect("some"));
    }

    #[test]
    fn a_file_has_at_last_what_the_highest_token_wrote_and_was_never_half() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        thread::scope(|scope| {
            for writer in 0..4_u64 {
                let path = &path;
                scope.spawn(move || {
                    for round in 0..25_u64 {
                        let token = 1 + round * 4 + writer;
                        let content = format!("{token:05}").repeat(2000);
                        match replace(path, token, content.as_bytes()) {
                            Ok(()) => {}
                            Err(error) => assert_eq!(error.kind(), ErrorKind::Lost, "{error}"),
                        }
                        let seen = fs::read_to_string(path).expect("it is there");
                        assert_eq!(seen.len(), 10_000);
                        assert_eq!(seen, seen[..5].repeat(2000));
                    }
                });
            }
        });
        assert_eq!(fs::read_to_string(&path).expect("there")[..5], *"00100");
        let left: Vec<_> = fs::read_dir(folder.path()).expect("a folder").collect();
        assert_eq!(left.len(), 3, "{left:?}");
    }

    #[test]
    fn nothing_of_others_is_written_through_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        let others = folder.path().join("state.draft");
        fs::write(&others, "others").expect("it is ours");
        // What a crash left: not a file to write into.
        let draft = folder.path().join(".state.sneck-draft");
        fs::hard_link(&others, &draft).expect("a second name");
        replace(&path, 1, b"one").expect("it is the first");
        assert_eq!(fs::read_to_string(&others).expect("there"), "others");
        assert!(!draft.exists());
        // A folder is refused before anything is made beside it.
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).expect("it is ours");
        let kind = |path: &Path| replace(path, 1, b"").expect_err("no file").kind();
        assert_eq!(kind(&inner), ErrorKind::Foreign);
        assert_eq!(kind(&beside(&path, "/")), ErrorKind::Usage);
        assert_eq!(kind(Path::new("")), ErrorKind::Usage);
        let left = fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(left, 5);
    }

    #[test]
    fn whoever_waits_for_another_writer_may_give_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        let fence = Lock::new(beside(&path, ".fence")).expect("it can be read");
        let _writer = fence.acquire().expect("it is free");
        let busy = thread::scope(|scope| {
            let late = || replace_by(Lock::builder().timeout(Timeout::Once), &path, 1, b"");
            scope.spawn(late).join().expect("no panic")
        });
        assert!(busy.expect_err("somebody writes").is_held());
        assert!(!path.exists());
    }

    #[test]
    fn a_token_that_is_no_number_is_an_error_and_nothing_is_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        replace(&path, 3, b"three").expect("it is the first");
        fs::write(folder.path().join("state.token"), "xyz").expect("it is ours");
        let error = replace(&path, 4, b"four").expect_err("it makes no sense");
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        assert_eq!(fs::read(&path).expect("it is there"), b"three");
    }
}
