//! Finding out whether a file is locked by asking for it, where it cannot be seen: in a pid namespace, on a network file system, on a system that keeps no list.
//!
//! For flock(2) that means to take the lock for an instant; for fcntl(2) the kernel answers without giving it (F_OFD_GETLK). The file is opened for reading and closed again, which drops the POSIX locks that
//! this process has on it and makes a holder of a lease give it back: where either is known, nothing is asked.
//!
//! Not for: whatever can be seen.

use super::folder_of;
use super::found::{Holding, How, Kind, Range, State};
use super::locked::by_the_kernel;
use super::people::People;
use crate::claim::Mode;
use crate::holder::Holder;
use crate::sys::file::{self, Descriptor, Kind as FileKind, Tried};
use crate::sys::folder::Directory;
use crate::sys::ofd;
use std::io;
use std::path::Path;

/// So many ranges of one file are asked for.
const RANGES: usize = 256;

/// The locks that are held on the file at a path, each kind once for each range. Who holds them stays unknown. An error if it cannot be asked: what is no regular file is not opened.
pub(super) fn probe(path: &Path, people: &mut People) -> io::Result<Vec<Holding>> {
    let not_a_file = || {
        Err(io::Error::other(
            "only a regular file is asked for its locks",
        ))
    };
    let Some(name) = path.file_name() else {
        return not_a_file();
    };
    let folder = Directory::open_unlisted(folder_of(path))?;
    let regular = |look: file::Look| look.kind == FileKind::Regular;
    if !folder.look(name)?.is_some_and(regular) {
        return not_a_file();
    }
    let Some(file) = folder.file(name)? else {
        return not_a_file();
    };
    let mut found = Vec::new();
    if let Some(mode) = flocked(&file)? {
        found.push(holding(Kind::Flock, mode, Range::WHOLE, None, people));
    }
    match ranges(&file) {
        Ok(ranges) => found.extend(ranges.into_iter().map(|(mode, range, pid)| {
            let kind = if pid == -1 { Kind::Ofd } else { Kind::Posix };
            let pid = u32::try_from(pid).ok().filter(|pid| *pid > 0);
            holding(kind, mode, range, pid, people)
        })),
        Err(error) if file::meaning(&error) == file::Meaning::Unsupported => {}
        Err(error) => return Err(error),
    }
    Ok(found)
}

fn holding(kind: Kind, mode: Mode, range: Range, pid: Option<u32>, people: &mut People) -> Holding {
    Holding {
        range,
        ..Holding::told(kind, by_the_kernel(pid, mode), people)
    }
}

impl Holding {
    /// Somebody says so, and nobody can see more.
    pub(super) fn told(kind: Kind, holder: Holder, people: &mut People) -> Holding {
        Holding {
            kind,
            mode: holder.mode.unwrap_or(Mode::Exclusive),
            range: Range::WHOLE,
            state: State::Held(None),
            taker: holder.pid,
            keepers: vec![people.keeper(holder, How::Listed, Vec::new())],
            since: None,
            beside: None,
        }
    }

    /// Whether another one, of which less is known, may be this one.
    pub(super) fn covers(&self, other: &Holding) -> bool {
        self.kind == other.kind && self.range.overlaps(&other.range)
    }
}

/// How it is flocked. What is had is given back at once, for every copy of the descriptor.
fn flocked(file: &Descriptor) -> io::Result<Option<Mode>> {
    // Exclusive is to be had: nobody holds it. Shared is, after exclusive was not: readers do.
    for (asked, then) in [(Mode::Exclusive, None), (Mode::Shared, Some(Mode::Shared))] {
        if file::try_flock(file, asked)? == Tried::Locked {
            file::unflock(file)?;
            return Ok(then);
        }
    }
    Ok(Some(Mode::Exclusive))
}

fn ranges(file: &Descriptor) -> io::Result<Vec<(Mode, Range, i32)>> {
    let (mut found, mut open) = (Vec::new(), vec![Range::WHOLE]);
    while let Some(range) = open.pop() {
        let Some((mode, there, pid)) = ofd::in_the_way(file, range)? else {
            continue;
        };
        found.push((mode, there, pid));
        if found.len() == RANGES {
            break;
        }
        // What lies before it and behind it, of what was asked for.
        if there.start > range.start {
            open.push(Range {
                start: range.start,
                end: Some(there.start - 1),
            });
        }
        let more = |end: &u64| range.end.is_none_or(|last| *end < last);
        if let Some(end) = there.end.filter(more) {
            open.push(Range {
                start: end + 1,
                end: range.end,
            });
        }
    }
    found.sort_by_key(|(_, range, _)| *range);
    Ok(found)
}
