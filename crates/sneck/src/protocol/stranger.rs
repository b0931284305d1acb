//! Whose claim it is that stands at the path, when it is none of the protocol that was asked: recognised by kind and content, reported as held by that
//! protocol, never removed.
//!
//! Not for: what is no claim of any protocol, which is foreign and refused.

use super::form::{self, Seen, Spot};
use super::record::Reading;
use super::{file, mkdir, symlink, written};
use crate::holder::Holder;
use crate::inspect;
use crate::protocol::Sighting;
use crate::sys::KernelFamily;
use crate::sys::file::{Kind, Look, look_at_descriptor, read_start};
use crate::sys::folder::Directory;
use crate::wait;
use std::io;
use std::path::Path;
use std::time::Duration;

/// How often an empty directory is looked at, and how long between two looks.
const REMOVALS: usize = 5;
const REMOVAL: Duration = Duration::from_millis(2);

/// What stands at the name, for a protocol whose own claims are of another kind.
pub(super) fn see(spot: &Spot, look: &Look) -> io::Result<Seen> {
    match look.kind {
        Kind::Symlink => Ok(rename("symlink", form::see(&symlink::Symlink, spot)?, look)),
        Kind::Directory => see_folder(spot, look),
        Kind::Regular => see_file(spot),
        _ => Ok(foreign(look)),
    }
}

/// A holder removes the file inside first and then the directory: an empty one is looked at again a moment later before it is taken for just a directory.
fn see_folder(spot: &Spot, look: &Look) -> io::Result<Seen> {
    for _ in 0..REMOVALS {
        match form::see(&mkdir::Mkdir, spot)? {
            Seen::Claim(found) if found.content.is_empty() && !found.look.is_ours => {
                wait::moment(REMOVAL);
            }
            seen => return Ok(rename("mkdir", seen, look)),
        }
    }
    Ok(foreign(look))
}

fn foreign(look: &Look) -> Seen {
    Seen::Foreign(look.kind.words().to_owned())
}

/// What its own protocol saw, as another one says it. A directory that names nobody is most likely just a directory, unless it is one of ours: half made.
fn rename(protocol: &'static str, seen: Seen, look: &Look) -> Seen {
    match seen {
        Seen::Claim(found) if found.holder.pid.is_some() || !found.content.is_empty() => {
            held(protocol, found.holder, look)
        }
        Seen::Claim(found) if found.look.is_ours => held(protocol, found.holder, look),
        Seen::Claim(_) | Seen::Damaged(..) => foreign(look),
        other => other,
    }
}

fn see_file(spot: &Spot) -> io::Result<Seen> {
    let (file, look) = match spot.folder.file(&spot.name) {
        Ok(Some(file)) => {
            let look = look_at_descriptor(&file)?;
            (file, look)
        }
        Ok(None) => return Ok(Seen::Nothing),
        Err(_) => return Ok(Seen::Foreign(Kind::Regular.words().to_owned())),
    };
    let content = read_start(&file, file::LONGEST + 1)?;
    Ok(see_content(&look, &content)?.unwrap_or_else(|| foreign(&look)))
}

/// A regular file with this content: a claim of another protocol, or somebody's lock file.
pub(super) fn see_content(look: &Look, content: &[u8]) -> io::Result<Option<Seen>> {
    if content.len() <= file::LONGEST {
        if let (protocol, Reading::Holder(holder)) = written::read(content) {
            return Ok(Some(held(protocol, holder, look)));
        }
    }
    locked(look)
}

/// A file that is no claim may be somebody's lock file: it is, if somebody has it locked.
pub(super) fn locked(look: &Look) -> io::Result<Option<Seen>> {
    for (family, protocol) in [
        (KernelFamily::Flock, "flock"),
        (KernelFamily::Fcntl, "fcntl"),
    ] {
        if let Sighting::Held { holders, .. } = inspect::kernel::holders(None, look.inode, family)?
        {
            if let Some(holder) = holders.into_iter().next() {
                return Ok(Some(held(protocol, holder, look)));
            }
        }
    }
    Ok(None)
}

fn held(protocol: &'static str, mut holder: Holder, look: &Look) -> Seen {
    holder.protocol = Some(protocol);
    holder.since = holder.since.or(Some(look.changed_at()));
    Seen::Other(holder)
}

/// What stands where a kernel lock's file should be, and is no regular file.
#[derive(Debug)]
pub(super) enum Stranger {
    /// A claim: a link to a number, a directory that names its holder.
    Claim(Box<Holder>),
    /// It was there.
    Gone,
    /// No claim at all.
    None,
}

/// Look at it.
pub(super) fn at(path: &Path, look: &Look) -> io::Result<Stranger> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(Stranger::None);
    };
    if !matches!(look.kind, Kind::Symlink | Kind::Directory) {
        return Ok(Stranger::None);
    }
    let spot = Spot {
        folder: Directory::open_unlisted(folder)?,
        name: name.to_owned(),
    };
    Ok(match see(&spot, look)? {
        Seen::Other(holder) => Stranger::Claim(Box::new(holder)),
        Seen::Nothing => Stranger::Gone,
        _ => Stranger::None,
    })
}
