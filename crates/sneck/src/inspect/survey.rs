//! The machine, or what is in folders: all that is held and claimed there, and who waits for whom.
//!
//! The kernel's list is read once for all of it, and each process is looked up once.
//!
//! Not for: one path (`one.rs`).

use super::claims::{Asked, Claims, Kernel, failed};
use super::cycles;
use super::found::{Cycle, File, Holding, Inspection, KernelInode, Kind, Link, Name, Survey};
use super::locked::{Locked, Seen};
use super::names::Names;
use super::odd::{Limit, Oddity};
use super::people::People;
use super::walk::{self, Met};
use super::whole;
use crate::error::{Error, Result};
use crate::sys::file;
use crate::sys::locks::Mounts;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Where lock files stand by custom (FHS 3.0, 5.9 and 3.15).
const CUSTOMARY: &str = "/run/lock";

/// What is known of all of it.
struct Known {
    read: SystemTime,
    seen: Seen,
    names: Names,
    people: People,
    limits: Vec<Limit>,
}

/// All of the machine.
pub(super) fn machine() -> Result<Survey> {
    let mut known = Known::now()?;
    let folder = PathBuf::from(CUSTOMARY);
    let (met, errors) = match folder.is_dir() {
        true => known.walk(&[folder]),
        false => (Vec::new(), Vec::new()),
    };
    let files = known.files(met);
    Ok(known.survey(files, errors, |_| true))
}

/// What is in these folders and below, and at these paths.
pub(super) fn under(paths: &[PathBuf]) -> Result<Survey> {
    let mut known = Known::now()?;
    let (met, errors) = known.walk(paths);
    let inodes: HashSet<KernelInode> = met.iter().map(|met| known.kernel_of(met)).collect();
    // A file that was deleted is met by nobody, and is held all the same.
    let roots: Vec<PathBuf> = paths
        .iter()
        .filter_map(|path| path.canonicalize().ok())
        .collect();
    let files = known.files(met);
    let is_here = |file: &Inspection| {
        let gone = matches!(
            file.file.name,
            Name::Deleted | Name::Nameless | Name::Replaced
        );
        let below = |path: &PathBuf| roots.iter().any(|root| path.starts_with(root));
        let was_here = gone && file.file.path.as_ref().is_some_and(below);
        was_here || file.file.inode.is_none_or(|inode| inodes.contains(&inode))
    };
    Ok(known.survey(files, errors, is_here))
}

impl Known {
    fn now() -> Result<Known> {
        let read = SystemTime::now();
        let mounts = Mounts::now();
        let (mut seen, mut limits) = match Seen::look(&|_| true, None) {
            Ok(seen) => (seen, Vec::new()),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                (Seen::default(), vec![Limit::NoList])
            }
            Err(error) => return Err(failed(Path::new("/proc/locks"), error)),
        };
        seen.learn(&mounts);
        limits.extend(seen.limits.iter().cloned());
        if seen.hidden() > 0 {
            let processes = seen.hidden();
            limits.push(Limit::HiddenDescriptors { processes });
        }
        Ok(Known {
            read,
            seen,
            names: Names::new(mounts),
            people: People::default(),
            limits,
        })
    }

    fn claims<T>(&mut self, look: impl FnOnce(&mut Claims<'_>, &Seen) -> T) -> T {
        let seen = &self.seen;
        let flocked = |inode| seen.is_flocked(seen.kernel_of(inode));
        let untouchable = |inode| seen.must_not_open(seen.kernel_of(inode));
        let kernel = Kernel {
            read: self.read,
            flocked: &flocked,
            untouchable: &untouchable,
        };
        look(&mut Claims::new(kernel, &mut self.people), seen)
    }

    fn walk(&mut self, paths: &[PathBuf]) -> (Vec<Met>, Vec<Error>) {
        let mut all = Vec::new();
        let errors = self.claims(|claims, seen| {
            let locked = |look: &file::Look| {
                seen.is_locked(seen.kernel_of((look.inode.device, look.inode.number)))
            };
            walk::walk(paths, claims, &locked, &mut |met| all.push(met))
        });
        (all, errors)
    }

    fn kernel_of(&self, met: &Met) -> KernelInode {
        let inode = met.look.inode;
        self.seen.kernel_of((inode.device, inode.number))
    }

    /// Every file that is locked, and every claim that was met: each once, by path.
    fn files(&mut self, met: Vec<Met>) -> Vec<Inspection> {
        let (mut looks, mut inodes) = (HashSet::new(), HashSet::new());
        let mut files = Vec::new();
        for met in met {
            // Another name of the same file says nothing new.
            if !looks.insert(met.look.inode) {
                continue;
            }
            let inode = Some(self.kernel_of(&met)).filter(|inode| *inode != KernelInode::NONE);
            inodes.extend(inode);
            let file = File {
                path: Some(met.path),
                name: Name::Leads,
                inode,
                mount: None,
            };
            let locked = match inode {
                Some(inode) => self.seen.locked(inode, &mut self.people),
                None => Locked::default(),
            };
            files.push(self.whole(file, locked, met.claim));
        }
        let mut others = Vec::new();
        for inode in self.seen.files() {
            if !inodes.contains(&inode) {
                let locked = self.seen.locked(inode, &mut self.people);
                let file = self.names.of(inode, &locked.paths);
                others.push((file, locked));
            }
        }
        for ((file, locked), claim) in self.with_claims(others) {
            files.push(self.whole(file, locked, claim));
        }
        tell_of_former(&mut files);
        files.sort_by(|a, b| order(a).cmp(&order(b)));
        files
    }

    /// Claims of ours are flocked, and so are the lock files that bear a number: what do they say?
    fn with_claims(
        &mut self,
        files: Vec<(File, Locked)>,
    ) -> Vec<((File, Locked), Option<Holding>)> {
        let paths: Vec<Option<PathBuf>> = files
            .iter()
            .map(|(file, locked)| self.may_bear_a_claim(file, locked))
            .collect();
        let claims: Vec<Option<Holding>> = self.claims(|claims, _| {
            let mut at = |path: Option<PathBuf>| claims.at(&path?, Asked::No).ok()?;
            paths.into_iter().map(&mut at).collect()
        });
        files.into_iter().zip(claims).collect()
    }

    fn may_bear_a_claim(&self, file: &File, locked: &Locked) -> Option<PathBuf> {
        let path = file.path.as_ref().filter(|_| file.name == Name::Leads)?;
        let inode = file.inode?;
        let flocked = locked.holdings.iter().any(|h| h.kind == Kind::Flock);
        if !flocked || self.names.may_hang(inode) || self.seen.must_not_open(inode) {
            return None;
        }
        // Most lock files are empty.
        let look = file::look(path).ok()??;
        let is_empty = look.kind == file::Kind::Regular && look.size == 0;
        (!is_empty).then(|| path.clone())
    }

    fn whole(&mut self, file: File, locked: Locked, claim: Option<Holding>) -> Inspection {
        let claims = claim.map(|claim| (claim, file.inode)).into_iter().collect();
        whole::inspection(file, &self.seen, locked, claims, &mut self.people)
    }

    /// Those that are wanted, and those that are in a cycle with them.
    fn survey(
        mut self,
        files: Vec<Inspection>,
        errors: Vec<Error>,
        wanted: impl Fn(&Inspection) -> bool,
    ) -> Survey {
        let mut keep: BTreeSet<usize> = (0..files.len()).filter(|at| wanted(&files[*at])).collect();
        let mut cycles = cycles::find(&files, &mut self.people);
        let touches = |cycle: &Cycle| cycle.links.iter().any(|link| keep.contains(&link.file));
        cycles.retain(touches);
        keep.extend(cycles.iter().flat_map(|c| &c.links).map(|link| link.file));
        let places: HashMap<usize, usize> = keep
            .iter()
            .enumerate()
            .map(|(new, old)| (*old, new))
            .collect();
        for cycle in &mut cycles {
            for link in &mut cycle.links {
                *link = Link {
                    file: places[&link.file],
                    ..*link
                };
            }
        }
        let kept = |(at, file)| keep.contains(&at).then_some(file);
        Survey {
            files: files.into_iter().enumerate().filter_map(kept).collect(),
            cycles,
            limits: self.limits,
            errors,
        }
    }
}

/// At a path that led to another file before: who holds that one.
fn tell_of_former(files: &mut [Inspection]) {
    let replaced = files.iter().filter(|file| file.file.name == Name::Replaced);
    let former: Vec<(PathBuf, u32)> = replaced
        .filter_map(|file| {
            let keepers = file.holdings.iter().flat_map(|h| &h.keepers);
            let pid = keepers.filter_map(|keeper| keeper.holder.pid).min()?;
            Some((file.file.path.clone()?, pid))
        })
        .collect();
    for (path, pid) in former {
        let leads = |file: &&mut Inspection| {
            file.file.name == Name::Leads && file.file.path.as_ref() == Some(&path)
        };
        if let Some(file) = files.iter_mut().find(leads) {
            file.oddities.push(Oddity::Former { pid });
        }
    }
}

/// By path; those that have none come last.
fn order(file: &Inspection) -> (bool, Option<&PathBuf>, Option<KernelInode>) {
    let path = file.file.path.as_ref();
    (path.is_none(), path, file.file.inode)
}
