//! Who holds what, found out without touching it.
//!
//! Not for: trying locks, or judging whether a holder is dead.

use crate::claim::Mode;
use crate::holder::{Holder, Source};
use crate::protocol::Sighting;
use crate::sys::file::Inode;
use crate::sys::{KernelFamily, KernelLock, Presence, locks, process};
use std::io;

/// The holders of kernel locks on a file, as the kernel lists them. A lock whose taker has ended lives on in whoever inherited the descriptor, and an
/// OFD lock belongs to no process: those who have the descriptor are looked for in /proc.
pub(crate) fn kernel_holders(file: Inode, family: KernelFamily) -> io::Result<Sighting> {
    let listed = locks::held_on(file, family)?;
    if listed.is_empty() && locks::lists_all(file) {
        if process::sees_all_pids() {
            return Ok(Sighting::Free);
        }
        let why = "this process lives in a pid namespace: the kernel hides the locks of processes outside it".into();
        return Ok(match keepers(file, family) {
            found if found.is_empty() => Sighting::Unknown { why },
            holders => Sighting::Held {
                holders,
                mark: None,
            },
        });
    }
    let mut holders = Vec::new();
    let mut heirs = listed.is_empty();
    for lock in &listed {
        match u32::try_from(lock.pid) {
            Ok(pid) if pid > 0 && process::presence(pid) == Presence::Alive => {
                holders.push(holder(*lock, pid))
            }
            _ => heirs = true,
        }
    }
    if heirs {
        for heir in keepers(file, family) {
            if holders.iter().all(|h| h.pid != heir.pid) {
                holders.push(heir);
            }
        }
    }
    if holders.is_empty() {
        if listed.is_empty() {
            return Ok(Sighting::Free);
        }
        let mode = listed
            .iter()
            .map(|l| l.mode)
            .find(|m| *m == Mode::Exclusive)
            .unwrap_or(Mode::Shared);
        holders.push(Holder {
            mode: Some(mode),
            ..Holder::unknown(Source::Kernel)
        });
    }
    Ok(Sighting::Held {
        holders,
        mark: None,
    })
}

fn keepers(file: Inode, family: KernelFamily) -> Vec<Holder> {
    let kept = locks::keepers(file, family).into_iter();
    kept.filter_map(|lock| Some(holder(lock, u32::try_from(lock.pid).ok()?)))
        .collect()
}

fn holder(lock: KernelLock, pid: u32) -> Holder {
    Holder {
        mode: Some(lock.mode),
        ..Holder::process(Source::Kernel, pid)
    }
    .described()
}
