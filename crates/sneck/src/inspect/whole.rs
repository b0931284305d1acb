//! One file as a whole: its path, all holdings on it, and what is odd about them together.
//!
//! Not for: how each kind is found (`locked.rs`, `claims.rs`).

use super::found::{
    File, Holding, Inspection, KernelInode, Kind, Name, Pace, State, Waiter, Waits,
};
use super::locked::{Locked, Seen};
use super::odd::Oddity;
use super::people::People;
use crate::claim::Mode;
use crate::holder::{Holder, Source};
use crate::stale::Verdict;
use std::collections::BTreeSet;
use std::path::Path;

/// The file at a path that somebody named.
pub(super) fn named(path: &Path, inode: Option<KernelInode>) -> File {
    let there = inode.is_some() || std::fs::symlink_metadata(path).is_ok();
    File {
        path: Some(path.to_owned()),
        name: if there { Name::Leads } else { Name::Nothing },
        inode,
        mount: None,
    }
}

/// All of it, put together. `claims` stand at the path, or beside it.
pub(super) fn inspection(
    file: File,
    seen: &Seen,
    locked: Locked,
    claims: Vec<(Holding, Option<KernelInode>)>,
    people: &mut People,
) -> Inspection {
    let Locked {
        mut holdings,
        mut waiters,
        mut oddities,
        ..
    } = locked;
    match file.name {
        Name::Deleted => oddities.push(Oddity::Deleted),
        Name::Replaced => oddities.push(Oddity::Replaced),
        _ => {}
    }
    if let Some(inode) = file.inode {
        let at = |kind| holdings.iter().position(|holding| holding.kind == kind);
        // Where it waits for a kernel lock by events: a task that found no thread to sleep in the kernel's queue.
        if let (true, Some(index)) = (claims.is_empty(), at(Kind::Flock).or_else(|| at(Kind::Ofd)))
        {
            let watchers = watchers(seen, inode, &holdings[index], index, &waiters, people);
            waiters.extend(watchers);
        }
    }
    for (claim, inode) in claims {
        let index = holdings.len();
        let own = inode.or(file.inode.filter(|_| claim.beside.is_none()));
        if let Some(inode) = own {
            let watchers = watchers(seen, inode, &claim, index, &waiters, people);
            waiters.extend(watchers);
        }
        holdings.push(claim);
    }
    oddities.extend(together(&holdings, people));
    for waiter in &waiters {
        let Some(pid) = waiter.holder.here() else {
            continue;
        };
        let own = |at: &usize| {
            let keepers = holdings.get(*at).into_iter().flat_map(|h| &h.keepers);
            keepers.filter_map(|k| k.holder.here()).any(|k| k == pid)
        };
        if waiter.behind.iter().any(own) {
            oddities.push(Oddity::WaitsForItself { pid });
        }
    }
    for keeper in holdings.iter().flat_map(|holding| &holding.keepers) {
        if let (Pace::Stopped, Some(pid)) = (keeper.life.pace, keeper.holder.here()) {
            oddities.push(Oddity::Stopped { pid });
        }
    }
    let mut told = Vec::new();
    oddities.retain(|oddity| {
        let new = !told.contains(oddity);
        told.push(oddity.clone());
        new
    });
    Inspection {
        file,
        holdings,
        waiters,
        oddities,
        limits: Vec::new(),
    }
}

/// Those who watch the file as sneck's own waiters do, unless they hold it or stand in the kernel's queue.
fn watchers(
    seen: &Seen,
    inode: KernelInode,
    holding: &Holding,
    index: usize,
    queued: &[Waiter],
    people: &mut People,
) -> Vec<Waiter> {
    let known = |pid: u32| {
        let queued = queued.iter().any(|waiter| waiter.holder.pid == Some(pid));
        let keeps = |keeper: &super::Keeper| keeper.holder.pid == Some(pid);
        queued || holding.keepers.iter().any(keeps)
    };
    let mut watchers = Vec::new();
    for pid in seen.watchers(inode).into_iter().filter(|pid| !known(*pid)) {
        let (holder, life) = people.describe(Holder::process(Source::Kernel, pid));
        watchers.push(Waiter {
            holder,
            kind: holding.kind,
            mode: Mode::Exclusive,
            range: holding.range,
            waits: Waits::Watches,
            behind: vec![index],
            life,
        });
    }
    watchers
}

/// What is odd about holdings that are there at once.
fn together(holdings: &[Holding], people: &mut People) -> Vec<Oddity> {
    let mut odd = Vec::new();
    let of = |which: &dyn Fn(&Holding) -> bool| -> BTreeSet<u32> {
        let those = holdings.iter().filter(|holding| which(holding));
        let keepers = those.flat_map(|holding| &holding.keepers);
        keepers.filter_map(|keeper| keeper.holder.pid).collect()
    };
    let flock = |holding: &Holding| holding.kind == Kind::Flock;
    let fcntl = |holding: &Holding| holding.kind.sees(Kind::Posix);
    let exclusive = |holding: &Holding| holding.mode == Mode::Exclusive;
    let there = |which: &dyn Fn(&Holding) -> bool| holdings.iter().any(which);
    // One who holds it by both excludes both, and so do those who inherited from it; one who cannot be named may.
    let nameless = |holding: &Holding| holding.keepers.iter().any(|k| k.holder.pid.is_none());
    if there(&flock)
        && !there(&|h| nameless(h) && (flock(h) || fcntl(h)))
        && there(&fcntl)
        && there(&|h| exclusive(h) && (flock(h) || fcntl(h)))
        && of(&flock).is_disjoint(&of(&fcntl))
    {
        odd.push(Oddity::TwoFamilies);
    }
    let locked = of(&|h| exclusive(h) && (flock(h) || fcntl(h)));
    for claim in holdings {
        let Kind::Claim(protocol) = claim.kind else {
            continue;
        };
        let named = claim.keepers.first().map(|keeper| &keeper.holder);
        if let Some(host) = named.and_then(|holder| holder.host.clone()) {
            odd.push(Oddity::OtherHost(host));
        }
        let alive = claim.state == State::Held(Some(Verdict::Alive));
        let pid = named.and_then(Holder::here);
        let Some(pid) = pid.filter(|_| alive && !locked.is_empty()) else {
            continue;
        };
        // `sneck run` keeps the claim of its command locked.
        let mut akin = |other: &u32| {
            *other == pid || people.is_forefather(*other, pid) || people.is_forefather(pid, *other)
        };
        if !locked.iter().any(&mut akin) {
            odd.push(Oddity::ClaimAndLock { protocol });
        }
    }
    odd
}
