//! Kernel locks as holdings: the kernel's list and what processes have open, put together.
//!
//! The list names who *took* a lock; it does not say who keeps it up. A lock lives as long as any process has the descriptor, so a child that inherited it, or a daemon that it was sent to, holds it
//! after its taker is gone, and OFD locks have no taker at all. What processes have open says the rest, as far as they show it.
//!
//! The two are read one after the other, and processes come and go meanwhile: what looks odd because of that is looked at again before it is said (`settle.rs`).
//!
//! Not for: claims (`claims.rs`), nor what is odd about a file as a whole (`oddities` in `whole.rs`).

mod settle;

use super::found::{Holding, How, Keeper, KernelInode, Kind, Range, State, Waiter, Waits};
use super::names::DELETED;
use super::odd::{Limit, Oddity};
use super::people::People;
use crate::claim::Mode;
use crate::holder::{Holder, Source};
use crate::sys::file::{Inode, look_through};
use crate::sys::locks::Mounts;
use crate::sys::{
    Asleep, Bearing, Listed, Opened, Rank, Reading, Watching, are_apart, locks, process, text,
};
use settle::{Absent, ROUNDS};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::PathBuf;

/// What the kernel says, and what processes show.
#[derive(Debug, Default)]
pub(super) struct Seen {
    by_file: BTreeMap<KernelInode, OfFile>,
    hidden: HashSet<u32>,
    watching: Vec<Watching>,
    /// Those who took a lock and do not show that they have it.
    absent: HashMap<(KernelInode, Key), Absent>,
    /// Files that `stat` numbers otherwise than the list does.
    aliases: HashMap<(u64, u64), KernelInode>,
    /// Who holds a file that had the path which was asked for, and was deleted.
    pub(super) former: Vec<u32>,
    /// What could not be seen of all of it.
    pub(super) limits: Vec<Limit>,
}

/// A path, and the device of its folder: files that were deleted there still bear it, with a word after it.
#[derive(Debug)]
pub(super) struct Former {
    pub(super) path: PathBuf,
    pub(super) device: (u32, u32),
}

impl Former {
    fn is_of(&self, bearing: &Bearing) -> bool {
        let here = |lock: &Listed| (lock.inode.major, lock.inode.minor) == self.device;
        let name = bearing
            .path
            .as_ref()
            .map(|path| text::bytes(path.as_os_str()));
        let stem = name.and_then(|name| name.strip_suffix(DELETED));
        stem == Some(text::bytes(self.path.as_os_str())) && bearing.locks.iter().any(here)
    }
}

/// What is known of one file.
#[derive(Debug, Default)]
struct OfFile {
    held: BTreeMap<Key, Vec<(u32, u32)>>,
    waits: Vec<Listed>,
    /// As processes see it.
    paths: Vec<Sight>,
}

impl OfFile {
    /// Whether it goes from one to the next: somebody waits, or two were seen to hold it who cannot at once. (Not all such pairs are found, but one if only exclusive locks are there.)
    fn moves(&self) -> bool {
        let next = self.held.keys().skip(1);
        let mut pairs = self.held.keys().zip(next);
        !self.waits.is_empty() || pairs.any(|(one, other)| one.excludes(other))
    }
}

/// A path of a file as a process sees it, and the descriptor that it has open there.
#[derive(Debug, Clone)]
pub(super) struct Sight {
    pub(super) path: PathBuf,
    pub(super) pid: u32,
    pub(super) descriptor: u32,
}

/// What tells a lock from others on the file. Of OFD locks several can have one: they have no taker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    kind: Kind,
    range: Range,
    exclusive: bool,
    taker: i32,
}

impl Key {
    fn of(lock: &Listed) -> Key {
        Key {
            kind: lock.kind,
            range: lock.range,
            exclusive: lock.mode == Mode::Exclusive,
            taker: lock.pid,
        }
    }

    fn mode(&self) -> Mode {
        if self.exclusive {
            Mode::Exclusive
        } else {
            Mode::Shared
        }
    }

    /// Whether both cannot be at once.
    fn excludes(&self, other: &Key) -> bool {
        let of = |key: &Key| (key.kind, key.mode(), key.range, key.taker);
        are_apart(of(self), of(other))
    }

    fn taker(&self) -> Option<u32> {
        u32::try_from(self.taker).ok().filter(|pid| *pid > 0)
    }
}

/// The kernel locks of one file.
#[derive(Debug, Default)]
pub(super) struct Locked {
    pub(super) holdings: Vec<Holding>,
    pub(super) waiters: Vec<Waiter>,
    pub(super) oddities: Vec<Oddity>,
    pub(super) paths: Vec<Sight>,
}

impl Seen {
    /// Look at all locks of which this is true, and at who holds what was deleted at that path. `Unsupported`: this system has no list.
    pub(super) fn look(
        wanted: &dyn Fn(&KernelInode) -> bool,
        former: Option<&Former>,
    ) -> io::Result<Seen> {
        let reading = locks::listed(&|lock| wanted(&lock.inode))?;
        let mut limits = Vec::new();
        if !process::sees_all_pids() {
            limits.push(Limit::PidNamespace);
        }
        if process::hides_processes() {
            limits.push(Limit::HiddenProcesses);
        }
        if let Reading::Shifting(_) = reading {
            limits.push(Limit::TooFast);
        }
        let mut by_file: BTreeMap<KernelInode, OfFile> = BTreeMap::new();
        for lock in reading.locks() {
            let file = by_file.entry(lock.inode).or_default();
            match lock.rank {
                Rank::Held => {
                    file.held.entry(Key::of(lock)).or_default();
                }
                Rank::Waits(_) => file.waits.push(*lock),
            }
        }
        let all = former.is_some();
        let mut opened = locks::opened(&|lock| all || wanted(&lock.inode), &|watch| {
            wanted(&watch.inode) && locks::is_ours(watch)
        });
        let mut holds_former = BTreeMap::new();
        opened.bearing.retain_mut(|bearing| {
            if former.is_some_and(|former| former.is_of(bearing)) {
                // Of those who inherited it, one stands for all.
                holds_former
                    .entry(bearing.locks[0].inode)
                    .or_insert(bearing.pid);
            }
            bearing.locks.retain(|lock| wanted(&lock.inode));
            !bearing.locks.is_empty()
        });
        let mut seen = Seen {
            by_file,
            hidden: HashSet::new(),
            watching: Vec::new(),
            aliases: HashMap::new(),
            absent: HashMap::new(),
            former: holds_former.into_values().collect(),
            limits,
        };
        seen.add(opened);
        seen.settle(wanted);
        seen.name_ofd_waiters();
        Ok(seen)
    }

    fn add(&mut self, opened: Opened) {
        self.hidden = opened.hidden.into_iter().collect();
        self.watching = opened.watching;
        for bearing in opened.bearing {
            let Bearing {
                pid,
                descriptor,
                locks,
                path,
            } = bearing;
            let mut file = None;
            for lock in &locks {
                let of_file = self.by_file.entry(lock.inode).or_default();
                of_file
                    .held
                    .entry(Key::of(lock))
                    .or_default()
                    .push((pid, descriptor));
                file = Some(lock.inode);
            }
            // A descriptor is of one file.
            let Some(of_file) = file.and_then(|file| self.by_file.get_mut(&file)) else {
                continue;
            };
            let Some(path) = path else {
                continue;
            };
            if of_file.paths.iter().all(|known| known.path != path) {
                of_file.paths.push(Sight {
                    path,
                    pid,
                    descriptor,
                });
            }
        }
    }

    /// The list has -1 for them. Each is the process that sleeps for these very bytes; where some do not show for which, and all of the rest wait for the same, it makes no difference.
    fn name_ofd_waiters(&mut self) {
        let nameless = |lock: &Listed| lock.kind == Kind::Ofd && lock.pid <= 0;
        let mut files = self.by_file.values();
        if !files.any(|file| file.waits.iter().any(nameless)) {
            return;
        }
        let mut found: HashMap<KernelInode, Vec<Asleep>> = HashMap::new();
        for asleep in locks::ofd_waiters() {
            found.entry(asleep.inode).or_default().push(asleep);
        }
        for (inode, file) in &mut self.by_file {
            let mut asleep = found.remove(inode).unwrap_or_default();
            let mut rest = Vec::new();
            for lock in file.waits.iter_mut().filter(|lock| nameless(lock)) {
                let wants = Some((lock.mode, lock.range));
                match asleep.iter().position(|asleep| asleep.wants == wants) {
                    Some(at) => lock.pid = asleep.remove(at).pid.try_into().unwrap_or(-1),
                    None => rest.push(lock),
                }
            }
            let bytes = |lock: &Listed| (lock.mode, lock.range);
            if rest.windows(2).any(|two| bytes(two[0]) != bytes(two[1])) {
                continue;
            }
            let unsure = asleep.iter().filter(|asleep| asleep.wants.is_none());
            for (lock, asleep) in rest.into_iter().zip(unsure) {
                lock.pid = asleep.pid.try_into().unwrap_or(-1);
            }
        }
    }

    /// The files on which there is anything.
    pub(super) fn files(&self) -> Vec<KernelInode> {
        self.by_file.keys().copied().collect()
    }

    /// This file, as `stat` has it, is that one on the list.
    pub(super) fn also(&mut self, stat: Inode, kernel: KernelInode) {
        self.aliases.insert((stat.device, stat.number), kernel);
    }

    /// Which file on the list this one is, by device and inode as `stat` has them.
    pub(super) fn kernel_of(&self, (device, number): (u64, u64)) -> KernelInode {
        let alias = self.aliases.get(&(device, number)).copied();
        let usual = || locks::of_stat(Inode { device, number });
        alias.or_else(usual).unwrap_or(KernelInode::NONE)
    }

    /// Learn how `stat` numbers the files whose paths are known, where it may do it otherwise: on devices without a number of their own.
    pub(super) fn learn(&mut self, mounts: &Mounts) {
        let mut aliases = Vec::new();
        for (inode, file) in &self.by_file {
            if inode.major != 0 || mounts.may_hang(*inode) {
                continue;
            }
            for Sight { path, .. } in &file.paths {
                let there = locks::kernel_inode(path).is_ok_and(|there| there == *inode);
                if let (true, Ok(look)) = (there, look_through(path)) {
                    aliases.push((look.inode, *inode));
                    break;
                }
            }
        }
        for (stat, kernel) in aliases {
            self.also(stat, kernel);
        }
    }

    /// Whether somebody has a flock on this file.
    pub(super) fn is_flocked(&self, file: KernelInode) -> bool {
        self.has(file, |key| key.kind == Kind::Flock)
    }

    /// Whether the file may not be opened: that would drop a POSIX lock of our own, or break a lease.
    pub(super) fn must_not_open(&self, file: KernelInode) -> bool {
        let own = process::own_pid();
        self.has(file, |key| {
            key.kind == Kind::Lease || key.kind == Kind::Posix && key.taker() == Some(own)
        })
    }

    /// Whether there is any lock on this file.
    pub(super) fn is_locked(&self, file: KernelInode) -> bool {
        self.has(file, |_| true)
    }

    fn has(&self, file: KernelInode, which: impl Fn(&Key) -> bool) -> bool {
        let file = self.by_file.get(&file);
        file.is_some_and(|file| file.held.keys().any(which))
    }

    /// How many processes do not show what they have open.
    pub(super) fn hidden(&self) -> usize {
        self.hidden.len()
    }

    /// Who watches this file as sneck's own waiters do.
    pub(super) fn watchers(&self, file: KernelInode) -> Vec<u32> {
        let here = self.watching.iter().filter(|watch| watch.inode == file);
        let mut pids: Vec<u32> = here.map(|watch| watch.pid).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// What is known of one file.
    pub(super) fn locked(&self, file: KernelInode, people: &mut People) -> Locked {
        let mut locked = Locked::default();
        let Some(of_file) = self.by_file.get(&file) else {
            return locked;
        };
        locked.paths.clone_from(&of_file.paths);
        for (key, kept) in &of_file.held {
            let holding = self.holding(file, key, kept, people, &mut locked);
            locked.holdings.push(holding);
        }
        locked.waiters = waiters(&of_file.waits, &locked.holdings, people);
        locked
    }

    fn holding(
        &self,
        inode: KernelInode,
        key: &Key,
        kept: &[(u32, u32)],
        people: &mut People,
        locked: &mut Locked,
    ) -> Holding {
        let mode = key.mode();
        let taker = key.taker();
        let mut by_pid: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (pid, descriptor) in kept {
            by_pid.entry(*pid).or_default().push(*descriptor);
        }
        let held_by = |pid: Option<u32>| by_the_kernel(pid, mode);
        let mut keepers: Vec<Keeper> = Vec::new();
        for (pid, descriptors) in by_pid {
            let how = match taker {
                Some(taker) if taker == pid => How::Took,
                Some(_) => How::Inherited,
                None => How::Has,
            };
            keepers.push(people.keeper(held_by(Some(pid)), how, descriptors));
        }
        // Who took it first.
        keepers.sort_by_key(|keeper| keeper.how != How::Took);
        let absent = taker.filter(|taker| keepers.iter().all(|k| k.holder.pid != Some(*taker)));
        if let Some(taker) = absent {
            let nobody = keepers.is_empty();
            match self.absent.get(&(inode, *key)) {
                // Who has the file open still locks and unlocks it, most likely, and was met each time when he had not locked it.
                Some(Absent::HasNot(ROUNDS..)) if !locks::has_open(taker, inode) => {
                    locked.oddities.push(match nobody {
                        true => Oddity::Nobody,
                        false => Oddity::PassedOn { taker },
                    });
                }
                // Or he took it only just now.
                Some(Absent::Hides | Absent::HasNot(_)) | None => {
                    keepers.insert(0, people.keeper(held_by(Some(taker)), How::Listed, vec![]));
                }
                Some(Absent::Ended) if nobody && self.hidden.is_empty() => {
                    locked.oddities.push(Oddity::Nobody);
                }
                Some(Absent::Ended) => locked.oddities.push(Oddity::TakerEnded { taker }),
            }
        }
        if keepers.is_empty() {
            let is_sure = matches!(
                self.absent.get(&(inode, *key)),
                Some(Absent::HasNot(ROUNDS..))
            );
            let all_is_seen = self.hidden.is_empty() && self.limits.is_empty();
            if taker.is_none() && is_sure && all_is_seen {
                locked.oddities.push(Oddity::Nobody);
            }
            keepers.push(people.keeper(held_by(None), How::Listed, vec![]));
        }
        Holding {
            kind: key.kind,
            mode,
            range: key.range,
            state: State::Held(None),
            taker,
            keepers,
            since: None,
            beside: None,
        }
    }
}

/// One whom the kernel names, or somebody whom it does not.
pub(super) fn by_the_kernel(pid: Option<u32>, mode: Mode) -> Holder {
    let holder = match pid {
        Some(pid) => Holder::process(Source::Kernel, pid),
        None => Holder::unknown(Source::Kernel),
    };
    Holder {
        mode: Some(mode),
        ..holder
    }
}

/// Those who wait, of each kind first the one who is next.
fn waiters(waits: &[Listed], holdings: &[Holding], people: &mut People) -> Vec<Waiter> {
    let mut waits: Vec<(usize, &Listed)> = waits
        .iter()
        .map(|lock| match lock.rank {
            Rank::Waits(before) => (before, lock),
            Rank::Held => (0, lock),
        })
        .collect();
    // Those who wait at one depth stand in the order of their coming.
    waits.sort_by_key(|(before, lock)| (lock.kind, *before));
    // The list does not tell them from each other.
    let alike = |lock: &Listed| {
        let same = |other: &&(usize, &Listed)| {
            let other = other.1;
            other.kind == Kind::Ofd && (other.mode, other.range) == (lock.mode, lock.range)
        };
        lock.kind == Kind::Ofd && waits.iter().filter(same).count() > 1
    };
    waits
        .iter()
        .map(|(before, lock)| {
            let pid = u32::try_from(lock.pid).ok().filter(|pid| *pid > 0);
            let (holder, life) = people.describe(by_the_kernel(pid, lock.mode));
            let in_the_way = |(_, holding): &(usize, &Holding)| keeps_out(holding, lock);
            Waiter {
                holder,
                kind: lock.kind,
                mode: lock.mode,
                range: lock.range,
                waits: if alike(lock) {
                    Waits::Somewhere
                } else {
                    Waits::Queued(*before)
                },
                behind: holdings
                    .iter()
                    .enumerate()
                    .filter(in_the_way)
                    .map(|(index, _)| index)
                    .collect(),
                life,
            }
        })
        .collect()
}

/// Whether a holding keeps out one who waits: flock(2) and fcntl(2) do not see each other, and POSIX locks of one process do not exclude each other.
fn keeps_out(holding: &Holding, waiter: &Listed) -> bool {
    let exclusive = holding.mode == Mode::Exclusive || waiter.mode == Mode::Exclusive;
    let own = holding.kind == Kind::Posix
        && waiter.kind == Kind::Posix
        && holding.taker == u32::try_from(waiter.pid).ok();
    match waiter.kind {
        Kind::Lease => holding.kind == Kind::Lease,
        kind => {
            holding.kind.sees(kind) && exclusive && !own && holding.range.overlaps(&waiter.range)
        }
    }
}
