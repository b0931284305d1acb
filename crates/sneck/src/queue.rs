//! First in the process: one line per lock, first come, first served; a run of readers enters together.
//!
//! This is fairness and nothing else. Exclusion never rests on it: whoever has the turn still has to get the lock from its
//! protocol, and a lock is never handed over inside the process.

use crate::claim::{Claim, Mode};
use crate::guard::Holding;
use crate::protocol::Standing;
use crate::sys::fork::{PerProcess, generation};
use crate::sys::{Nap, futex};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{self, ThreadId};
use std::time::Duration;

type Lines = HashMap<Arc<str>, Line>;

static LINES: PerProcess<Mutex<Lines>> = PerProcess::new();

fn lines() -> MutexGuard<'static, Lines> {
    // Nothing here runs code of others under the mutex, so a poisoned one holds a whole state.
    LINES
        .get(|| Mutex::new(HashMap::new()))
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// Those who have the turn at one lock, and those behind them.
#[derive(Debug, Default)]
struct Line {
    inside: Vec<Inside>,
    behind: VecDeque<Behind>,
}

#[derive(Debug)]
struct Inside {
    claim: u64,
    mode: Mode,
    thread: ThreadId,
    holding: Slot,
}

/// What a claim holds; empty while it is still trying. Shared between the line and the ticket, which fills it in without looking for the line
/// again: that would lie on the way of a hand-over.
type Slot = Arc<OnceLock<Weak<Holding>>>;

#[derive(Debug)]
struct Behind {
    claim: u64,
    mode: Mode,
    thread: ThreadId,
    holding: Slot,
    seat: Arc<Seat>,
}

/// What one waits on: 1 once it is one's turn.
#[derive(Debug, Default)]
struct Seat {
    turn: AtomicU32,
}

impl Line {
    fn admits(&self, mode: Mode) -> bool {
        self.inside.is_empty()
            || (mode == Mode::Shared && self.inside.iter().all(|i| i.mode == Mode::Shared))
    }

    /// Let in whoever is next.
    fn advance(&mut self) {
        while let Some(next) = self.behind.front() {
            if !self.admits(next.mode) {
                return;
            }
            let Some(next) = self.behind.pop_front() else {
                return;
            };
            self.inside.push(Inside {
                claim: next.claim,
                mode: next.mode,
                thread: next.thread,
                holding: next.holding,
            });
            next.seat.turn.store(1, Ordering::Release);
            futex::wake(&next.seat.turn);
        }
    }
}

/// A place in the line, or the turn. Dropping it lets the next one in.
#[derive(Debug)]
pub(crate) struct Ticket {
    lock: Arc<str>,
    claim: u64,
    /// None: it was one's turn at once.
    seat: Option<Arc<Seat>>,
    holding: Slot,
    generation: u32,
}

impl Ticket {
    /// Stand in line. It may be one's turn at once.
    pub(crate) fn take(lock: Arc<str>, claim: &Claim) -> Ticket {
        let (id, mode, thread) = (claim.id(), claim.mode(), thread::current().id());
        let generation = generation();
        let holding = Slot::default();
        let mut lines = lines();
        let line = lines.entry(lock.clone()).or_default();
        let seat = if line.behind.is_empty() && line.admits(mode) {
            line.inside.push(Inside {
                claim: id,
                mode,
                thread,
                holding: holding.clone(),
            });
            None
        } else {
            let seat = Arc::new(Seat::default());
            line.behind.push_back(Behind {
                claim: id,
                mode,
                thread,
                holding: holding.clone(),
                seat: seat.clone(),
            });
            Some(seat)
        };
        drop(lines);
        Ticket {
            lock,
            claim: id,
            seat,
            holding,
            generation,
        }
    }

    /// Whether it is one's turn.
    pub(crate) fn has_turn(&self) -> bool {
        self.seat
            .as_ref()
            .is_none_or(|s| s.turn.load(Ordering::Acquire) == 1)
    }

    /// Sleep until it may be.
    pub(crate) fn sleep(&self, longest: Duration) -> Nap {
        self.seat
            .as_ref()
            .map_or(Nap::Woken, |s| futex::wait(&s.turn, 0, longest))
    }

    /// From now on this holding is what has the turn.
    pub(crate) fn hold(&self, holding: &Arc<Holding>) {
        // One claim becomes one holding: the slot was empty.
        let _ = self.holding.set(Arc::downgrade(holding));
    }

    /// The holdings of this process that are in the way.
    pub(crate) fn ahead(&self) -> Vec<Arc<Holding>> {
        let lines = lines();
        let inside = lines
            .get(&self.lock)
            .map(|l| l.inside.as_slice())
            .unwrap_or_default();
        inside
            .iter()
            .filter_map(|i| i.holding.get()?.upgrade())
            .collect()
    }

    /// Whether the calling thread itself has the turn that this ticket waits for.
    pub(crate) fn waits_for_own_thread(&self) -> bool {
        let own = thread::current().id();
        let lines = lines();
        lines.get(&self.lock).is_some_and(|l| {
            l.inside
                .iter()
                .any(|i| i.thread == own && i.claim != self.claim)
        })
    }

    /// A holding that was lost (its file removed, its link taken) keeps nobody waiting: what it held is gone. Looked at outside the mutex,
    /// since it asks the file system.
    pub(crate) fn pass_the_lost(&self) {
        for holding in self.ahead() {
            if matches!(holding.standing(), Standing::Lost(_)) {
                leave(&self.lock, holding.claim_id());
            }
        }
    }
}

/// The holding of the calling thread at this lock, if it has one.
pub(crate) fn held_by_this_thread(lock: &str) -> Option<Arc<Holding>> {
    let own = thread::current().id();
    let lines = lines();
    let mut inside = lines.get(lock)?.inside.iter().filter(|i| i.thread == own);
    inside.find_map(|i| i.holding.get()?.upgrade())
}

/// Whether this process holds the lock, through any handle and in any thread.
pub(crate) fn held_in_this_process(lock: &str) -> bool {
    lines().get(lock).is_some_and(|l| {
        l.inside
            .iter()
            .any(|i| i.holding.get().is_some_and(|h| h.strong_count() > 0))
    })
}

fn leave(lock: &Arc<str>, claim: u64) {
    let mut lines = lines();
    let Some(line) = lines.get_mut(lock) else {
        return;
    };
    line.inside.retain(|i| i.claim != claim);
    line.behind.retain(|b| b.claim != claim);
    line.advance();
    if line.inside.is_empty() && line.behind.is_empty() {
        lines.remove(lock);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // A forked child has a line of its own.
        if self.generation == generation() {
            leave(&self.lock, self.claim);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::Party;

    fn stand(lock: &str, mode: Mode) -> Ticket {
        Ticket::take(lock.into(), &Claim::new(mode, Party::this_process(), None))
    }

    #[test]
    fn readers_enter_together_but_not_past_a_waiting_writer() {
        let lock = "readers_enter_together";
        let first = stand(lock, Mode::Shared);
        let second = stand(lock, Mode::Shared);
        let writer = stand(lock, Mode::Exclusive);
        let late = stand(lock, Mode::Shared);
        let turns = || [&first, &second, &writer, &late].map(Ticket::has_turn);
        assert_eq!(turns(), [true, true, false, false]);
        drop(first);
        assert!(!writer.has_turn());
        drop(second);
        assert!(writer.has_turn() && !late.has_turn());
        drop(writer);
        assert!(late.has_turn());
    }

    #[test]
    fn whoever_gives_up_leaves_the_line() {
        let lock = "whoever_gives_up";
        let first = stand(lock, Mode::Exclusive);
        let second = stand(lock, Mode::Exclusive);
        let third = stand(lock, Mode::Exclusive);
        drop(second);
        drop(first);
        assert!(third.has_turn());
        drop(third);
        assert!(!lines().contains_key(lock));
    }
}
