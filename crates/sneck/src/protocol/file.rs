//! Claims that are regular files: what `pidfile`, `shlock`, `labm8` and `dotlock` have in common.
//!
//! Bytes: what the [`Format`] says, mode 0644 less umask, owned by the maker. The file is made without a name (O_TMPFILE), locked (the live mark), written, and
//! then linked to its name, so it is never seen half-written and a crash before that leaves nothing. Where the file system
//! has no nameless files: a hidden file beside it, `.NAME.sneck-PID-N`, linked or (where there are no links) renamed without replacing; what a crash
//! leaves of those is swept by the next one who comes this way. On Windows it is always that, renamed, and locked far behind its content.

use super::form::{CHANGING, Descriptor, Form, Found, Made, Seen, Spot, Unshared, too_fast};
use super::{litter, record, stranger};
use crate::claim::Claim;
use crate::hidden;
use crate::holder::{Holder, Marked, Source};
use crate::sys::file::{
    self, Kind, Look, Meaning, Tried, look_at_descriptor, meaning, read_start, try_mark,
    write_record,
};
use crate::sys::folder::has_no_links;
use crate::sys::process;
use crate::text;
use record::Reading;
use std::ffi::OsStr;
use std::fmt::Debug;
use std::io;
use std::time::Duration;

/// No claim is longer.
pub(super) const LONGEST: usize = 4096;

/// What stands in a claim.
pub(super) trait Format: Debug + Clone + Send + Sync + 'static {
    fn scheme(&self) -> &'static str;

    /// What to write for this claim, now. By whom it is kept locked: nobody, if it cannot be locked here.
    fn write(&self, claim: &Claim, mark: Marked) -> String {
        let _ = mark;
        format!("{}\n", claim.party().pid())
    }

    /// What a content means here.
    fn read(&self, content: &[u8]) -> Reading {
        record::read(content)
    }

    /// What is made of a claim that names nobody (empty, or the number 0).
    fn nobody(&self) -> Nobody {
        Nobody::Damaged
    }

    /// How often a claim must be touched.
    fn renewal(&self) -> Option<Duration> {
        None
    }
}

/// What an anonymous claim is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nobody {
    /// Damaged, or just being written.
    Damaged,
    /// Held by somebody who does not say who.
    Holds,
}

/// The form of claims that are regular files.
#[derive(Debug, Clone)]
pub(super) struct File<T>(pub(super) T);

/// A claim without a name yet, kept from try to try.
#[derive(Debug, Default)]
pub(super) enum Draft {
    #[default]
    None,
    Ready(Unshared<Descriptor>, file::Inode, Marked),
    /// This file system has no nameless files; what others left of theirs was swept.
    Hidden,
}

impl<T: Format> File<T> {
    /// Publish the nameless file. `Unsupported`: there are none here, or they cannot be linked.
    fn publish_nameless(
        &self,
        spot: &Spot,
        claim: &Claim,
        draft: &mut Draft,
    ) -> io::Result<Option<Made>> {
        if !matches!(draft, Draft::Ready(..)) {
            let file = spot.folder.unnamed()?;
            let inode = look_at_descriptor(&file)?.inode;
            let marked = mark(&file, claim)?;
            *draft = Draft::Ready(Unshared::new(file), inode, marked);
        }
        let Draft::Ready(file, inode, marked) = draft else {
            return Ok(None);
        };
        // Anew before each try: the time in it, and its own times, are to be those of the claim.
        let content = self.0.write(claim, *marked).into_bytes();
        write_record(&**file, &content)?;
        match spot.folder.name_it(&**file, &spot.name) {
            Ok(()) => {
                let inode = *inode;
                let Draft::Ready(file, ..) = std::mem::take(draft) else {
                    return Ok(None);
                };
                Ok(Some(Made {
                    inode,
                    content,
                    mark: Some(file),
                }))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn publish_hidden(&self, spot: &Spot, claim: &Claim) -> io::Result<Option<Made>> {
        let Spot { folder, name } = spot;
        // Making a file for each try would be a lot of writing for nothing.
        if folder.look(name)?.is_some() {
            return Ok(None);
        }
        let hidden = hidden::name_beside(name);
        let file = folder.make_file(&hidden)?;
        let inode = look_at_descriptor(&file)?.inode;
        let published = mark(&file, claim).and_then(|marked| {
            let content = self.0.write(claim, marked).into_bytes();
            write_record(&file, &content)?;
            Ok((name_hidden(spot, &file, &hidden)?, content))
        });
        if !matches!(published, Ok((Published::Renamed, _))) {
            // What is published stays published, whether or not the other name goes: the next one sweeps it.
            let _ = folder.remove(&hidden);
        }
        match published? {
            (Published::No, _) => Ok(None),
            (Published::Linked | Published::Renamed, content) => Ok(Some(Made {
                inode: file::inode_after(&file, inode)?,
                content,
                mark: Some(Unshared::new(file)),
            })),
        }
    }
}

/// Lock the claim's own inode: the live mark. Nobody else knows the file yet.
fn mark(file: &Descriptor, claim: &Claim) -> io::Result<Marked> {
    let own = claim.party().pid() == process::own_pid();
    match try_mark(file) {
        Ok(Tried::Locked) if own => Ok(Marked::ByHolder),
        // The number is that of another process, which can outlive this one and the lock.
        Ok(Tried::Locked) => Ok(Marked::Unsaid),
        // A sweeper has it for the moment: it will be gone, and this try with it.
        Ok(Tried::Busy) => Err(io::ErrorKind::NotFound.into()),
        // Without locks there is no live mark, and the number must do.
        Err(error) if meaning(&error) == Meaning::Unsupported => Ok(Marked::Unsaid),
        Err(error) => Err(error),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Published {
    No,
    Linked,
    Renamed,
}

fn name_hidden(spot: &Spot, file: &Descriptor, hidden: &OsStr) -> io::Result<Published> {
    let Spot { folder, name } = spot;
    match folder.second_name(hidden, name) {
        Ok(()) => Ok(Published::Linked),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // NFS: the server made the link, its answer was lost, and the question was sent again.
            Ok(if look_at_descriptor(file)?.links == 2 {
                Published::Linked
            } else {
                Published::No
            })
        }
        Err(error) if has_no_links(&error) => match folder.rename(hidden, name) {
            Ok(()) => Ok(Published::Renamed),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Published::No),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    }
}

impl<T: Format> Form for File<T> {
    const KIND: Kind = Kind::Regular;

    type Draft = Draft;

    fn scheme(&self) -> &'static str {
        self.0.scheme()
    }

    fn needs(&self) -> (&'static str, &'static str) {
        (
            "this file system can neither link nor rename without replacing",
            "protocol `mkdir` may work here, if every party uses it",
        )
    }

    fn publish(&self, spot: &Spot, claim: &Claim, draft: &mut Draft) -> io::Result<Option<Made>> {
        if !matches!(draft, Draft::Hidden) {
            match self.publish_nameless(spot, claim, draft) {
                Err(error) if has_no_nameless(&error) => {
                    if !file::is_network_descriptor(spot.folder.descriptor()) {
                        litter::sweep(spot);
                    }
                    *draft = Draft::Hidden;
                }
                other => return other,
            }
        }
        for _ in 0..CHANGING {
            match self.publish_hidden(spot, claim) {
                // Somebody swept the hidden file, or the folder is gone: then making it says so.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound
                        && spot
                            .folder
                            .look(OsStr::new("."))?
                            .is_some_and(|f| f.links > 0) => {}
                other => return other,
            }
        }
        Err(too_fast())
    }

    fn see(&self, spot: &Spot, look: &Look) -> io::Result<Option<Seen>> {
        let content = match content(spot, look) {
            Ok(Some(content)) => content,
            Ok(None) => return Ok(None),
            // mutt makes its claims unreadable, others hide theirs from other users: somebody holds, and does not say who.
            Err(error) if meaning(&error) == Meaning::NoPermission => {
                let nobody = Holder::unknown(Source::Record);
                return Ok(Some(Seen::Claim(found(*look, Vec::new(), nobody))));
            }
            Err(error) => return Err(error),
        };
        self.make_sense(*look, content).map(Some)
    }

    fn stands(&self, spot: &Spot, made: &Made) -> io::Result<bool> {
        let there = spot.folder.look(&spot.name)?;
        let Some(mark) = made
            .mark
            .as_ref()
            .filter(|_| there.is_some_and(|l| l.inode == made.inode))
        else {
            return Ok(false);
        };
        // labm8 forces a claim away by writing over it.
        Ok(read_start(&**mark, LONGEST + 1)? == made.content)
    }

    fn open_claim(&self, spot: &Spot) -> io::Result<Option<Descriptor>> {
        spot.folder.file(&spot.name)
    }

    fn take_down(&self, spot: &Spot, _: &[u8]) -> io::Result<()> {
        spot.folder.remove(&spot.name)
    }

    fn renewal(&self) -> Option<Duration> {
        self.0.renewal()
    }

    fn renew(&self, made: &Made) {
        if let Some(mark) = made.mark.as_ref().filter(|m| m.is_ours()) {
            // What cannot be touched is not renewed; whoever then takes it for abandoned is found out by `standing`.
            let _ = file::touch(&**mark);
        }
    }
}

impl<T: Format> File<T> {
    fn make_sense(&self, look: Look, content: Vec<u8>) -> io::Result<Seen> {
        let shown = text::clean(&String::from_utf8_lossy(&content[..content.len().min(40)]));
        let reading = if content.len() > LONGEST {
            Reading::Other
        } else {
            self.0.read(&content)
        };
        let nobody = |look| found(look, content.clone(), Holder::unknown(Source::Record));
        Ok(match reading {
            Reading::Holder(holder) => Seen::Claim(found(look, content, holder)),
            Reading::Nobody if self.0.nobody() == Nobody::Holds => Seen::Claim(nobody(look)),
            Reading::Nobody | Reading::Impossible => match stranger::locked(&look)? {
                Some(stranger) => stranger,
                None if content.is_empty() => {
                    let what = "it is empty: its maker is just writing it, or died before";
                    Seen::Damaged(what.to_owned(), nobody(look))
                }
                None => Seen::Damaged(format!("`{shown}` is no process number"), nobody(look)),
            },
            Reading::Other => stranger::see_content(&look, &content)?
                .unwrap_or_else(|| Seen::Foreign(format!("a file with other content (`{shown}`)"))),
        })
    }
}

/// What stands in the file that was looked at, as far as a claim goes: of more there is one byte more. None: it is not that file any more.
pub(super) fn content(spot: &Spot, look: &Look) -> io::Result<Option<Vec<u8>>> {
    let file = match spot.folder.file(&spot.name) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(None),
        Err(error) if meaning(&error) == Meaning::WrongKind => return Ok(None),
        Err(error) => return Err(error),
    };
    if look_at_descriptor(&file)?.inode != look.inode {
        return Ok(None);
    }
    read_start(&file, LONGEST + 1).map(Some)
}

fn found(look: Look, content: Vec<u8>, holder: Holder) -> Found {
    Found {
        look,
        content,
        holder,
    }
}

/// Whether the nameless way is closed here. NotFound: /proc is not mounted.
fn has_no_nameless(error: &io::Error) -> bool {
    has_no_links(error)
        || error.kind() == io::ErrorKind::NotFound
        || matches!(meaning(error), Meaning::Unsupported | Meaning::WrongKind)
}
