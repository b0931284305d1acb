//! `mkdir`: a directory that exists while the lock is held.
//!
//! Downsides. Most speakers write down no holder (a script's plain `mkdir`, proper-lockfile), so when one dies nobody can tell: only `--stale DURATION` or force helps.
//! proper-lockfile takes a directory that was not touched for ten seconds for abandoned, so ours is touched every 2.5 s while this process lives
//! (and the file inside keeps its rmdir(2) from working). No queue. Exclusive only. It needs nothing of a file system but directories.
//!
//! Bytes: a directory, mode 1755 less umask, with one empty file named `HOST.PID`. The directory is locked with flock(2) while its maker lives (the live mark). Read: also
//! pylockfile's `HOST.-THREADPID` (its holder is then unknown); an empty directory is held by somebody unknown. A directory with anything else in it is just a directory.
//!
//! Made in steps: mkdir, lock, file inside, look whether it still stands there. The sticky bit (on a
//! directory that others cannot write to, where it is of no use) says that it is one of ours: an empty one that nobody has locked is half made or half
//! removed, nobody holds it, and whoever locks it first goes on with it. So a crash at any step leaves nothing that is in the way, and no litter. (On file systems that
//! know no sticky bit, FAT for instance, a crash between the steps leaves a directory that only force removes.)
//!
//! On Windows: made and filled elsewhere and renamed to its name in one step, and away in one step, so none is half made or half removed; the live mark is a kernel object.
//!
//! Also spoken by pylockfile's `MkdirLockFile` (which adds `.lock` to its path), proper-lockfile, shell scripts.

use super::form::{
    CHANGING, Descriptor, Form, Found, Made, Seen, Spot, bytes, too_fast, unchanged,
};
use super::litter;
use super::record::name_host;
use crate::claim::Claim;
use crate::holder::{Holder, Source};
use crate::sys::file::{
    Kind, Look, Meaning, Tried, inode_after, look_at_descriptor, meaning, touch, try_mark,
};
use crate::sys::folder::Directory;
use crate::sys::{Whole, process, text};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::time::Duration;

/// A quarter of what proper-lockfile takes for abandoned.
const RENEWAL: Duration = Duration::from_millis(2500);

#[derive(Debug, Clone)]
pub(super) struct Mkdir;

/// The name of the file inside, for a process of this machine.
fn inner_name(pid: u32) -> OsString {
    // A name with a slash would be a path.
    OsString::from(format!("{}.{pid}", process::host_name().replace('/', "_")))
}

/// `HOST.PID`, and pylockfile's `HOST.-THREADPID`.
fn read_inner(name: &OsStr) -> Option<Holder> {
    let (host, pid) = name.to_str()?.rsplit_once('.')?;
    let mut holder = match pid.strip_prefix('-') {
        // Where the thread's number (hexadecimal) ends and the process's begins nobody can tell.
        Some(both) if !both.is_empty() && both.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Holder::unknown(Source::Record)
        }
        _ => {
            let pid = pid.parse().ok();
            Holder::process(
                Source::Record,
                pid.filter(|p| (1..=i32::MAX.unsigned_abs()).contains(p))?,
            )
        }
    };
    if host != process::host_name().replace('/', "_") {
        name_host(&mut holder, host);
    }
    Some(holder)
}

/// The name of the file inside, from the folder.
fn inside_of(name: &OsStr, content: &[u8]) -> OsString {
    Path::new(name).join(text::from_bytes(content)).into()
}

impl Mkdir {
    /// In one step, where that can be had.
    fn publish_whole(&self, spot: &Spot, inner: &OsStr) -> io::Result<Whole<Made>> {
        let mark = |claim: &Descriptor| match try_mark(claim)? {
            Tried::Locked => Ok(look_at_descriptor(claim)?.inode),
            // A sweeper has it for the moment: it will be gone, and this try with it.
            Tried::Busy => Err(io::ErrorKind::NotFound.into()),
        };
        Ok(match spot.folder.make_whole(&spot.name, inner, mark)? {
            Whole::Done((inside, inode)) => Whole::Done(Made {
                inode: inode_after(inside.descriptor(), inode)?,
                content: bytes(inner),
                mark: Some(inside.into_descriptor()),
            }),
            Whole::Taken => Whole::Taken,
            Whole::InSteps => Whole::InSteps,
        })
    }

    /// One try. `Interrupted`: it was taken from under our hands; try again.
    fn begin(&self, spot: &Spot, inner: &OsStr) -> io::Result<Option<Made>> {
        let Spot { folder, name } = spot;
        let again = || Err(io::ErrorKind::Interrupted.into());
        let ours = match folder.make_folder(name) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let Some(look) = folder.look(name)? else {
                    return again();
                };
                if look.kind != Kind::Directory || !look.is_ours {
                    return Ok(None);
                }
                false
            }
            Err(error) => return Err(error),
        };
        let take_back = |error: io::Error| {
            if ours {
                let _ = folder.remove_folder(name);
            }
            error
        };
        let inside = match folder.folder(name) {
            Ok(Some(inside)) => inside,
            Ok(None) => return again(),
            Err(error)
                if !ours
                    && matches!(meaning(&error), Meaning::NoPermission | Meaning::WrongKind) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(take_back(error)),
        };
        let mine = match self.take_over(&inside, ours) {
            Ok(Some(look)) => look,
            Ok(None) => return Ok(None),
            Err(error) => return Err(take_back(error)),
        };
        match inside.make_file(inner) {
            Ok(_) => {}
            // 1. A removes the directory. 2. We, who opened it before, lock it. A removed directory takes no files.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return again(),
            Err(error) => return Err(take_back(error)),
        }
        // 1. A opens a half-made directory. 2. Somebody removes it, and B makes another. 3. A makes its file in the removed one.
        match folder.look(name) {
            Ok(there) if there.is_some_and(|l| l.inode == mine.inode) => {}
            looked => {
                let _ = inside.remove(inner);
                return looked.map_err(take_back).and(again());
            }
        }
        Ok(Some(Made {
            inode: mine.inode,
            content: bytes(inner),
            mark: Some(inside.into_descriptor()),
        }))
    }

    /// Lock the directory and see that it is empty. None: somebody else has it.
    fn take_over(&self, inside: &Directory, ours: bool) -> io::Result<Option<Look>> {
        let look = look_at_descriptor(inside.descriptor())?;
        // 1. We see a half-made directory, or make one. 2. Another one of ours goes on with it, and removes it. 3. A, who knows no sticky bit, makes another, still empty. 4. We open that.
        if !look.is_ours && (!ours || inside.keeps_ours()?) {
            return Ok(None);
        }
        // Not locked even for an instant if somebody holds it: who removes a claim that was left there would take our lock for a live mark.
        if !ours && !inside.names(1)?.is_empty() {
            return Ok(None);
        }
        match try_mark(inside.descriptor()) {
            Ok(Tried::Locked) => {}
            // Another one goes on with it, or holds it.
            Ok(Tried::Busy) => return Ok(None),
            // Where directories cannot be locked there is no live mark, and no telling a half-made one from a held one.
            Err(_) if ours => {}
            Err(_) => return Ok(None),
        }
        Ok(inside.names(1)?.is_empty().then_some(look))
    }
}

impl Form for Mkdir {
    const KIND: Kind = Kind::Directory;

    type Draft = ();

    fn scheme(&self) -> &'static str {
        "mkdir"
    }

    fn needs(&self) -> (&'static str, &'static str) {
        (
            "this file system cannot make directories",
            "another protocol may work here, `pidfile:` for instance, if every party uses it",
        )
    }

    fn publish(&self, spot: &Spot, claim: &Claim, (): &mut ()) -> io::Result<Option<Made>> {
        let inner = inner_name(claim.party().pid());
        match self.publish_whole(spot, &inner)? {
            Whole::Done(made) => {
                litter::sweep(spot);
                return Ok(Some(made));
            }
            Whole::Taken => return Ok(None),
            Whole::InSteps => {}
        }
        for _ in 0..CHANGING {
            match self.begin(spot, &inner) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
        Err(too_fast())
    }

    fn see(&self, spot: &Spot, look: &Look) -> io::Result<Option<Seen>> {
        let found = |content, holder| {
            Seen::Claim(Found {
                look: *look,
                content,
                holder,
            })
        };
        let inside = match spot.folder.folder(&spot.name) {
            Ok(Some(inside)) => inside,
            Ok(None) => return Ok(None),
            Err(error) if meaning(&error) == Meaning::NoPermission => {
                return Ok(Some(found(Vec::new(), Holder::unknown(Source::Record))));
            }
            Err(error) if meaning(&error) == Meaning::WrongKind => return Ok(None),
            Err(error) => return Err(error),
        };
        let names = inside.names(2)?;
        let seen = match names.as_slice() {
            [] => found(Vec::new(), Holder::unknown(Source::Record)),
            [inner] => match (inside.look(inner)?, read_inner(inner)) {
                // Released between the two looks.
                (None, _) => return Ok(None),
                (Some(file), Some(mut holder)) if file.kind == Kind::Regular && file.size == 0 => {
                    // The directory itself is touched again and again.
                    holder.since = Some(file.changed_at());
                    found(bytes(inner), holder)
                }
                _ => Seen::Foreign("a directory with other things in it".into()),
            },
            _ => Seen::Foreign("a directory with other things in it".into()),
        };
        Ok(unchanged(spot, look)?.then_some(seen))
    }

    fn stands(&self, spot: &Spot, made: &Made) -> io::Result<bool> {
        let there = spot.folder.look(&spot.name)?;
        if there.is_none_or(|l| l.inode != made.inode) {
            return Ok(false);
        }
        // Through the path: it names our directory, which holds our file as long as nobody forces it away.
        let inner = inside_of(&spot.name, &made.content);
        Ok(spot.folder.look(&inner)?.is_some())
    }

    fn open_claim(&self, spot: &Spot) -> io::Result<Option<Descriptor>> {
        let inside = spot.folder.folder(&spot.name)?;
        Ok(inside.and_then(|i| i.into_descriptor().into_inner()))
    }

    fn take_down(&self, spot: &Spot, content: &[u8]) -> io::Result<()> {
        let inner = text::from_bytes(content);
        if let Whole::Done(()) = spot.folder.remove_whole(&spot.name, inner.as_ref())? {
            return Ok(());
        }
        if !content.is_empty() {
            // A crash after the next step is to leave what everybody can go on with, whoever made it. It may not be ours to change.
            if spot.folder.look(&spot.name)?.is_some_and(|l| !l.is_ours) {
                if let Some(inside) = spot.folder.folder(&spot.name)? {
                    let _ = inside.make_ours();
                }
            }
            match spot.folder.remove(&inside_of(&spot.name, content)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        spot.folder.remove_folder(&spot.name)
    }

    fn renewal(&self) -> Option<Duration> {
        Some(RENEWAL)
    }

    fn renew(&self, made: &Made) {
        if let Some(mark) = made.mark.as_ref().filter(|m| m.is_ours()) {
            // What cannot be touched is not renewed; whoever then takes it for abandoned is found out by `standing`.
            let _ = touch(&**mark);
        }
    }
}

// Elsewhere none is made in steps, and there is no sticky bit.
#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::error::Error;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_empty_directory_of_another_program_is_not_taken_over_and_keeps_its_mode()
    -> Result<(), Box<dyn Error>> {
        let temp = tempfile::tempdir()?;
        let theirs = temp.path().join("theirs");
        fs::create_dir(&theirs)?;
        fs::set_permissions(&theirs, fs::Permissions::from_mode(0o755))?;
        for ours in [false, true] {
            let inside = Directory::open(&theirs)?;
            assert_eq!(Mkdir.take_over(&inside, ours)?, None, "made by us: {ours}");
            assert!(!look_at_descriptor(inside.descriptor())?.is_ours);
            assert_eq!(fs::metadata(&theirs)?.permissions().mode() & 0o7777, 0o755);
        }
        Ok(())
    }
}
