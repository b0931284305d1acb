//! Leases that are too young for a thread of their own: most locks are released within milliseconds, and then there was nothing to renew.
//!
//! One thread looks at them [`OFTEN`], and gives each that is older than that a keeper. So a lock that is held for a moment only costs no thread and wakes none; what a server says in the
//! first moments of a longer one is noticed that much later. The thread ends when there was nothing to look at for a while.
//!
//! Not for: anything that is due; the first word is said long after.

use super::keeper::Keeper;
use crate::sys::fork::PerProcess;
use crate::sys::thread;
use crate::wait;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long one is young, and how often they are looked at.
const OFTEN: Duration = Duration::from_millis(10);

/// What is due before this many looks is not left to chance.
const EARLY: u32 = 10;

/// After so many looks at nothing the thread ends.
const PATIENCE: u32 = 50;

/// A forked child has none of the threads, and none of the leases.
static NURSERY: PerProcess<Mutex<Nursery>> = PerProcess::new();

#[derive(Default)]
struct Nursery {
    /// Which came since the last look, and which before.
    new: Vec<Keeper>,
    older: Vec<Keeper>,
    watched: Watched,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Watched {
    #[default]
    No,
    Yes,
}

fn nursery() -> MutexGuard<'static, Nursery> {
    NURSERY
        .get(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// Sees to it that this one is renewed in time.
///
/// # Errors
/// There is no thread to be had.
pub(super) fn take(keeper: Keeper) -> io::Result<()> {
    if keeper.leisure() < OFTEN * EARLY {
        return raise(keeper);
    }
    let mut nursery = nursery();
    if nursery.watched == Watched::No {
        thread::spawn_deaf("sneck-leases", watch)?;
        nursery.watched = Watched::Yes;
    }
    nursery.new.push(keeper);
    Ok(())
}

/// A thread of its own.
fn raise(keeper: Keeper) -> io::Result<()> {
    thread::spawn_deaf("sneck-lease", move || keeper.run())
}

fn watch() {
    let mut idle = 0;
    loop {
        wait::moment(OFTEN);
        let mut nursery = nursery();
        let grown = std::mem::take(&mut nursery.older);
        nursery.older = std::mem::take(&mut nursery.new);
        nursery.older.retain(Keeper::is_needed);
        idle = if grown.is_empty() && nursery.older.is_empty() {
            idle + 1
        } else {
            0
        };
        if idle > PATIENCE {
            // Whoever comes from now on finds that nobody watches: both sides hold the mutex.
            nursery.watched = Watched::No;
            return;
        }
        drop(nursery);
        for keeper in grown {
            if !keeper.is_needed() {
                continue;
            }
            let shared = keeper.shared();
            if let Err(error) = raise(keeper) {
                shared.is_not_renewed(&error);
            }
        }
    }
}
