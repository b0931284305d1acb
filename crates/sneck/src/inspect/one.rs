//! One path: everything that is held there, whatever the protocol.
//!
//! Not for: the machine (`survey.rs`).

use super::claims::{Asked, Claims, Kernel, failed};
use super::found::{Holding, Inspection, KernelInode, Kind};
use super::locked::{Former, Locked, Seen};
use super::odd::{Limit, Oddity};
use super::people::People;
use super::{Probe, folder_of, kernel, probe, whole};
use crate::claim::Mode;
use crate::error::Result;
use crate::protocol::{Ground, Sighting, ground_of};
use crate::sys::file::{self, Meaning, meaning};
use crate::sys::{KernelFamily, locks};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub(super) fn look(path: &Path, asks: Probe) -> Result<Inspection> {
    let mut people = People::default();
    let read = SystemTime::now();
    // None: nothing is there, a link leads nowhere (a claim, perhaps), or this system has no list.
    let inode = there(path).map_err(|e| failed(path, e))?;
    let beside = beside(path);
    let inode_beside = there(&beside).ok().flatten();
    let stat = |path: &Path| file::look(path).ok().flatten();
    let (named, named_beside) = (stat(path), stat(&beside));
    // A link is a claim itself, and leads elsewhere.
    let own = match named.filter(|look| look.kind == file::Kind::Symlink) {
        Some(link) => locks::of_stat(link.inode),
        None => inode,
    };
    let places = [inode, inode_beside, own];
    let wanted = |there: &KernelInode| places.contains(&Some(*there));
    let mut seen = match Seen::look(&wanted, former(path).as_ref()) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Seen::default(),
        seen => seen.map_err(|e| failed(path, e))?,
    };
    for (stat, kernel) in [(named, own), (named_beside, inode_beside)] {
        if let (Some(stat), Some(kernel)) = (stat, kernel) {
            seen.also(stat.inode, kernel);
        }
    }
    let mut locked = match inode {
        Some(inode) => seen.locked(inode, &mut people),
        None => Locked::default(),
    };
    // What the kernel hides is of no matter where there is nothing to lock.
    let mut limits = match inode {
        Some(_) => seen.limits.clone(),
        None => Vec::from_iter(told(path, &mut locked, &mut people)?),
    };
    // Whose locks there are the list tells all the same: that there are none is sure.
    if locked.holdings.is_empty() {
        limits.retain(|limit| *limit != Limit::HiddenProcesses);
    } else if seen.hidden() > 0 {
        let processes = seen.hidden();
        limits.push(Limit::HiddenDescriptors { processes });
    }
    if ground_of(path) == Ground::NetworkFiles {
        limits.push(Limit::NetworkFiles);
    }
    if asks == Probe::Try {
        ask(path, inode, &seen, &mut locked, &mut limits, &mut people);
    }
    let claims = claims(path, &beside, read, &seen, &places, &mut people)?;
    let file = whole::named(path, inode);
    let mut found = whole::inspection(file, &seen, locked, claims, &mut people);
    let former = seen.former.iter().map(|pid| Oddity::Former { pid: *pid });
    found.oddities.extend(former);
    found.limits = limits;
    Ok(found)
}

/// What a file that was deleted here is still called. None: there is no such folder, or no list.
fn former(path: &Path) -> Option<Former> {
    let (name, folder) = (path.file_name()?, folder_of(path));
    let there = locks::kernel_inode(folder).ok()?;
    Some(Former {
        path: folder.canonicalize().ok()?.join(name),
        device: (there.major, there.minor),
    })
}

/// Which file a path leads to. None: to nothing.
fn there(path: &Path) -> io::Result<Option<KernelInode>> {
    match locks::kernel_inode(path) {
        Ok(inode) => Ok(Some(inode)),
        Err(error) => match meaning(&error) {
            Meaning::NoParent | Meaning::WrongKind | Meaning::Unsupported => Ok(None),
            // Windows has no such list either.
            _ if error.kind() == io::ErrorKind::Unsupported => Ok(None),
            _ => Err(error),
        },
    }
}

/// Where mail software and stacks of locks put a claim for this path.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(".lock");
    PathBuf::from(name)
}

/// The claims at the path and beside it, each with the file it stands in.
fn claims(
    path: &Path,
    beside: &Path,
    read: SystemTime,
    seen: &Seen,
    [_, inode_beside, own]: &[Option<KernelInode>; 3],
    people: &mut People,
) -> Result<Vec<(Holding, Option<KernelInode>)>> {
    let flocked = |inode| seen.is_flocked(seen.kernel_of(inode));
    let untouchable = |inode| seen.must_not_open(seen.kernel_of(inode));
    let kernel = Kernel {
        read,
        flocked: &flocked,
        untouchable: &untouchable,
    };
    let mut claims = Claims::new(kernel, people);
    let mut found = Vec::new();
    if let Some(claim) = claims.at(path, Asked::ByName)? {
        found.push((claim, *own));
    }
    // What is wrong beside it is not what was asked for.
    if let Ok(Some(mut claim)) = claims.at(beside, Asked::No) {
        claim.beside = Some(beside.to_owned());
        found.push((claim, *inode_beside));
    }
    Ok(found)
}

/// What a system tells that has no list: by each family, who says that he holds it.
fn told(path: &Path, locked: &mut Locked, people: &mut People) -> Result<Option<Limit>> {
    let look = file::look(path).map_err(|e| failed(path, e))?;
    let Some(look) = look.filter(|look| look.kind == file::Kind::Regular) else {
        return Ok(None);
    };
    for (family, kind) in [
        (KernelFamily::Flock, Kind::Flock),
        (KernelFamily::Fcntl, Kind::Posix),
    ] {
        let seen = kernel::holders(Some(path), look.inode, family);
        match seen.map_err(|e| failed(path, e))? {
            Sighting::Held { holders, .. } => {
                let held = holders
                    .into_iter()
                    .map(|holder| Holding::told(kind, holder, people));
                locked.holdings.extend(held);
            }
            Sighting::Unknown { .. } => return Ok(Some(Limit::NoList)),
            _ => {}
        }
    }
    Ok(None)
}

/// Ask for what cannot be seen.
fn ask(
    path: &Path,
    inode: Option<KernelInode>,
    seen: &Seen,
    locked: &mut Locked,
    limits: &mut Vec<Limit>,
    people: &mut People,
) {
    let veils = |limit: &Limit| {
        matches!(
            limit,
            Limit::PidNamespace | Limit::NetworkFiles | Limit::NoList
        )
    };
    if !limits.iter().any(veils) {
        return;
    }
    let not = |why: String| Limit::NotProbed { why };
    if inode.is_some_and(|inode| seen.must_not_open(inode)) {
        limits.push(not(
            "opening it would drop a lock of this process, or break a lease".into(),
        ));
        return;
    }
    match probe::probe(path, people) {
        Ok(found) => {
            // Readers answer as one, and those that are seen hide the others.
            let shared = |holding: &Holding| {
                let asked = holding.kind.sees(Kind::Flock) || holding.kind.sees(Kind::Posix);
                asked && holding.mode == Mode::Shared
            };
            if !found.iter().chain(&locked.holdings).any(shared) {
                limits.retain(|limit| !veils(limit));
            }
            // What can be seen is known better.
            let new =
                |holding: &Holding| locked.holdings.iter().all(|known| !known.covers(holding));
            let new: Vec<Holding> = found.into_iter().filter(new).collect();
            locked.holdings.extend(new);
        }
        Err(error) => limits.push(not(error.to_string())),
    }
}
