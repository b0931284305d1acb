//! What two readings that do not agree mean: the list says that a process holds a lock, and the process does not show it.
//!
//! Not for: putting together what is known (`locked.rs`).

use super::{Key, OfFile, Seen};
use crate::inspect::found::KernelInode;
use crate::sys::{Bearing, Listed, Presence, Rank, locks, process};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Why one who took a lock does not show that he has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// He is no more.
    Ended,
    /// He shows nothing.
    Hides,
    /// He lives, and had it not, in so many rounds one after the other.
    HasNot(usize),
}

/// So often the list is read before it is said that who took a lock has it no more; and so often he is looked at before each. One who locks and unlocks in a loop is missed in half of the looks.
pub(super) const ROUNDS: usize = 8;
const LOOKS: usize = 4;

impl Seen {
    /// A lock whose taker does not show it may have been released, and taken anew, between two readings:
    ///
    /// 1. we read the list: P holds it
    /// 2. P unlocks
    /// 3. we read what P has open: no lock
    /// 4. P locks again
    /// 5. we read the list once more: P holds it still, and seems to have handed its descriptor on.
    ///
    /// So who took it is looked at again, then the list, until it is known how it is, or came out so each time. The last list counts: of a lock that is handed from one to the next,
    /// none of the earlier holders may be left, and it was never free.
    pub(super) fn settle(&mut self, wanted: &dyn Fn(&KernelInode) -> bool) {
        for _ in 0..ROUNDS {
            let doubtful = self.doubtful();
            let moves = |(inode, file): (&KernelInode, &OfFile)| file.moves().then_some(*inode);
            let moving = self.by_file.iter().filter_map(moves);
            let doubted = doubtful.values().flatten().map(|(inode, _)| *inode);
            let files: HashSet<KernelInode> = doubted.chain(moving).collect();
            if files.is_empty() {
                return;
            }
            for (taker, those) in &doubtful {
                self.look_again(*taker, those);
            }
            let Ok(again) = locks::listed(&|lock| wanted(&lock.inode)) else {
                return;
            };
            let mut now: HashMap<KernelInode, (HashSet<Key>, Vec<Listed>)> = HashMap::new();
            for lock in again.locks().iter().filter(|l| files.contains(&l.inode)) {
                let (held, waits) = now.entry(lock.inode).or_default();
                match lock.rank {
                    Rank::Held => drop(held.insert(Key::of(lock))),
                    Rank::Waits(_) => waits.push(*lock),
                }
            }
            let mut still = HashSet::new();
            for inode in files {
                let (held, waits) = now.remove(&inode).unwrap_or_default();
                let file = self.by_file.entry(inode).or_default();
                let hides = |key| self.absent.get(&(inode, key)) == Some(&Absent::Hides);
                let all: Vec<Key> = file.held.keys().chain(&held).copied().collect();
                file.held.retain(|key, kept| {
                    // What was seen, and nothing speaks against it: a list can miss one.
                    let known = !kept.is_empty() || hides(*key);
                    let mut others = all.iter().filter(|other| *other != key);
                    held.contains(key) || known && !others.any(|other| other.excludes(key))
                });
                for key in held {
                    file.held.entry(key).or_default();
                    still.insert((inode, key));
                }
                file.waits = waits;
            }
            // Who has let go of it meanwhile, and perhaps takes it anew, has not handed it on.
            self.absent
                .retain(|one, absent| still.contains(one) || !matches!(absent, Absent::HasNot(_)));
            self.by_file
                .retain(|_, file| !file.held.is_empty() || !file.waits.is_empty());
            if self.doubtful().is_empty() {
                return;
            }
        }
    }

    /// Locks whose taker was not seen to have them, and is not known to have ended; by taker. None: those without one that nobody has.
    fn doubtful(&self) -> BTreeMap<Option<u32>, HashSet<(KernelInode, Key)>> {
        let mut doubtful: BTreeMap<Option<u32>, HashSet<_>> = BTreeMap::new();
        for (inode, file) in &self.by_file {
            for (key, kept) in &file.held {
                let taker = key.taker();
                let is_missed = match taker {
                    Some(taker) => kept.iter().all(|(pid, _)| *pid != taker),
                    None => kept.is_empty(),
                };
                let known = self.absent.get(&(*inode, *key));
                if is_missed && matches!(known, None | Some(Absent::HasNot(_))) {
                    doubtful.entry(taker).or_default().insert((*inode, *key));
                }
            }
        }
        doubtful
    }

    /// What became of one who took these, or of who has those that nobody took.
    fn look_again(&mut self, taker: Option<u32>, those: &HashSet<(KernelInode, Key)>) {
        let wanted = |lock: &Listed| those.contains(&(lock.inode, Key::of(lock)));
        let mut absent = None;
        let mut bearing = Vec::new();
        for _ in 0..LOOKS {
            let looked = match taker {
                None => Some(locks::opened(&wanted, &|_| false).bearing),
                Some(taker) if process::presence(taker) != Presence::Alive => {
                    absent = Some(Absent::Ended);
                    break;
                }
                Some(taker) if self.hidden.contains(&taker) => None,
                Some(taker) => locks::bearing(taker, &wanted),
            };
            let Some(looked) = looked else {
                absent = Some(Absent::Hides);
                break;
            };
            bearing.extend(looked);
            let seen = bearing.iter().flat_map(|bearing| &bearing.locks);
            let seen: HashSet<_> = seen.map(|lock| (lock.inode, Key::of(lock))).collect();
            if seen.len() == those.len() {
                break;
            }
        }
        for one in those {
            let before = match self.absent.get(one) {
                Some(Absent::HasNot(rounds)) => *rounds,
                _ => 0,
            };
            let absent = absent.unwrap_or(Absent::HasNot(before + 1));
            self.absent.insert(*one, absent);
        }
        for Bearing {
            pid,
            descriptor,
            locks,
            ..
        } in bearing
        {
            for lock in locks {
                let file = self.by_file.get_mut(&lock.inode);
                let kept = file.and_then(|file| file.held.get_mut(&Key::of(&lock)));
                if let Some(kept) = kept.filter(|kept| !kept.contains(&(pid, descriptor))) {
                    kept.push((pid, descriptor));
                }
            }
        }
    }
}
