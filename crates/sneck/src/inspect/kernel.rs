//! The quick answer, for errors, for those who wait and for [`crate::Lock::holder`]: who holds a file by one family. The taker, if it has the lock still; all of /proc is looked through only if it has not.
//!
//! Not for: everything that can be said (`one.rs`), trying locks, or judging whether a holder is dead.

use crate::claim::Mode;
use crate::holder::{Holder, Source};
use crate::protocol::Sighting;
use crate::sys::file::Inode;
use crate::sys::{KernelFamily, KernelLock, Presence, locks, process};
use std::io;
use std::path::Path;

/// The holders of kernel locks on a file, as the kernel lists them. A lock whose taker has ended lives on in whoever inherited the descriptor, and an
/// OFD lock belongs to no process: those who have the descriptor are looked for in /proc.
///
/// Where the kernel keeps no list, locks of other programs are looked for at the path, if one is told.
pub(crate) fn holders(
    path: Option<&Path>,
    file: Inode,
    family: KernelFamily,
) -> io::Result<Sighting> {
    let listed = match locks::held_on(path, file, family) {
        // macOS, FreeBSD.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            let why = "this system does not tell which files are locked, nor by whom".into();
            return Ok(Sighting::Unknown { why });
        }
        listed => listed?,
    };
    if listed.is_empty() && locks::lists_all(file) && process::sees_all_pids() {
        return Ok(Sighting::Free);
    }
    let mut holders: Vec<Holder> = Vec::new();
    // The strictest lock of those that the list has no living process for.
    let mut heirs = None;
    for lock in &listed {
        // It may have locked many ranges.
        let known =
            |holder: &&mut Holder| i64::from(holder.pid.unwrap_or(0)) == i64::from(lock.pid);
        if let Some(holder) = holders.iter_mut().find(known) {
            if lock.mode == Mode::Exclusive {
                holder.mode = Some(Mode::Exclusive);
            }
            continue;
        }
        match u32::try_from(lock.pid) {
            // It may have passed its descriptor on, and live.
            Ok(pid)
                if pid > 0
                    && process::presence(pid) == Presence::Alive
                    && locks::keeps(pid, path, file, family) != Some(false) =>
            {
                holders.push(holder(*lock, pid))
            }
            _ => heirs = heirs.filter(|m| *m == Mode::Exclusive).or(Some(lock.mode)),
        }
    }
    if heirs.is_some() || listed.is_empty() {
        for heir in keepers(path, file, family) {
            if holders.iter().all(|h| h.pid != heir.pid) {
                holders.push(heir);
            }
        }
    }
    // Nor did /proc show who has it (another user's process, or one outside of our pid namespace).
    let hidden = |mode: &Mode| {
        let known = |h: &Holder| h.mode == Some(Mode::Exclusive) || h.mode == Some(*mode);
        !holders.iter().any(known)
    };
    if let Some(mode) = heirs.filter(hidden) {
        holders.push(Holder {
            mode: Some(mode),
            ..Holder::unknown(Source::Kernel)
        });
    }
    if holders.is_empty() {
        if process::sees_all_pids() {
            return Ok(Sighting::Free);
        }
        let why = "this process lives in a pid namespace: the kernel hides the locks of processes outside it".into();
        return Ok(Sighting::Unknown { why });
    }
    Ok(Sighting::Held {
        holders,
        mark: None,
    })
}

fn keepers(path: Option<&Path>, file: Inode, family: KernelFamily) -> Vec<Holder> {
    let kept = locks::keepers(path, file, family).into_iter();
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
