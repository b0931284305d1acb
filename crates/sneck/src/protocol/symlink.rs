//! `symlink`: a symbolic link whose target is the holder's process number.
//!
//! Downsides. The link outlives its holder: a crash leaves a stale claim, and only the number tells whose it was, so one host and one pid
//! namespace are presumed. There is no room for more, and a link has no inode that could be locked, so there is no live mark. No queue: waiters
//! race. Exclusive only.
//!
//! Bytes: the link's target is the decimal number, no line end, nothing else (Twisted reads ` +12 ` as 12, so this does too). Made by one
//! symlink(2), so it is never seen half-written; removed at release. The link dangles by design.
//!
//! On Windows: a directory with one file `symlink`, whose content is the number, made elsewhere and renamed to its name in one step, and away in one step; `sys/windows/folder.rs`
//! shows it as the link that it stands for.
//!
//! Also spoken by Twisted's `FilesystemLock` and `DeferredFilesystemLock`. Twisted breaks stale links in a race of its own: beside it, a claim can still
//! be lost, and `standing()` tells.

use super::LiveMark;
use super::form::{Descriptor, Form, Found, Made, Seen, Spot, bytes, unchanged};
use super::litter;
use super::record::{Number, number};
use crate::claim::Claim;
use crate::holder::{Holder, Source};
use crate::sys::file::{Kind, Look, Meaning, meaning};
use crate::sys::folder::links_leave_litter;
use crate::text;
use std::ffi::OsString;
use std::io;

#[derive(Debug, Clone)]
pub(super) struct Symlink;

impl Form for Symlink {
    const KIND: Kind = Kind::Symlink;

    const MARK: LiveMark = LiveMark::No;

    type Draft = ();

    fn scheme(&self) -> &'static str {
        "symlink"
    }

    fn needs(&self) -> (&'static str, &'static str) {
        (
            "this file system cannot do symbolic links",
            "another protocol may work here, `flock:` for instance, if every party uses it",
        )
    }

    fn publish(&self, spot: &Spot, claim: &Claim, (): &mut ()) -> io::Result<Option<Made>> {
        let content = OsString::from(claim.party().pid().to_string());
        let make = || spot.folder.make_link(&content, &spot.name);
        let made = match make() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !spot.folder.remove_remains(&spot.name)? {
                    return Ok(None);
                }
                make()
            }
            other => other,
        };
        match made {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            Err(error) => return Err(spot.folder.link_refused(error)),
        }
        if links_leave_litter() {
            litter::sweep(spot);
        }
        // Gone again: somebody forced it away before we held it.
        let look = spot.folder.look(&spot.name)?;
        Ok(look.map(|look| Made {
            inode: look.inode,
            content: bytes(&content),
            mark: None,
        }))
    }

    fn see(&self, spot: &Spot, look: &Look) -> io::Result<Option<Seen>> {
        let target = match spot.folder.link_target(&spot.name) {
            Ok(Some(target)) => target,
            // Gone, or replaced by something else than a link, between the two looks.
            Ok(None) => return Ok(None),
            Err(error) if meaning(&error) == Meaning::Unsupported => return Ok(None),
            Err(error) => return Err(error),
        };
        if !unchanged(spot, look)? {
            return Ok(None);
        }
        let shown = text::clean(&target.to_string_lossy());
        let found = |holder| Found {
            look: *look,
            content: bytes(&target),
            holder,
        };
        Ok(Some(match target.to_str().map_or(Number::No, number) {
            Number::Pid(pid) => Seen::Claim(found(Holder::process(Source::Record, pid))),
            Number::Zero | Number::Impossible => Seen::Damaged(
                format!("the link's target `{shown}` is no process number"),
                found(Holder::unknown(Source::Record)),
            ),
            Number::No => Seen::Foreign(format!("a symbolic link to `{shown}`")),
        }))
    }

    /// Where a directory stands for a link, Twisted empties it before it removes it. It may just be doing so: what is younger than `remove_remains` wants is waited for.
    fn see_remains(&self, spot: &Spot, look: &Look) -> io::Result<Option<Seen>> {
        if !links_leave_litter() || look.kind != Kind::Directory {
            return Ok(None);
        }
        let Some(inside) = spot.folder.folder(&spot.name)? else {
            return Ok(None);
        };
        if !inside.names(1)?.is_empty() {
            return Ok(None);
        }
        let what = "an empty directory: a link that is being removed, or was to be".to_owned();
        let found = Found {
            look: *look,
            content: Vec::new(),
            holder: Holder::unknown(Source::Record),
        };
        Ok(Some(Seen::Damaged(what, found)))
    }

    fn stands(&self, spot: &Spot, made: &Made) -> io::Result<bool> {
        let there = spot.folder.look(&spot.name)?;
        if !there.is_some_and(|l| l.kind == Kind::Symlink && l.inode == made.inode) {
            return Ok(false);
        }
        let target = spot.folder.link_target(&spot.name)?;
        Ok(target.is_some_and(|t| bytes(&t) == made.content))
    }

    fn open_claim(&self, _: &Spot) -> io::Result<Option<Descriptor>> {
        Ok(None)
    }

    fn take_down(&self, spot: &Spot, _: &[u8]) -> io::Result<()> {
        spot.folder.remove(&spot.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_twisted_reads_them_but_impossible_ones_are_nobody() {
        let pids = ["12", " +12 ", "0012\n"].map(number);
        assert_eq!(pids, [const { Number::Pid(12) }; 3]);
        assert_eq!(number("0"), Number::Zero);
        let impossible = ["-5", "99999999999999999999"].map(number);
        assert_eq!(impossible, [const { Number::Impossible }; 2]);
        let none = ["", "12a", "/etc/passwd", "1 2", "+"].map(number);
        assert_eq!(none, [const { Number::No }; 5]);
    }
}
