//! First in the process: one line per lock, first come, first served; a run of readers enters together.
//!
//! This is fairness and nothing else. Exclusion never rests on it: whoever has the turn still has to get the lock from its
//! protocol, and a lock is never handed over inside the process.
//!
//! Several locks that are taken as one stand in a line of their own, and not in those of its parts: whoever waits for several must not keep the place at one of them while
//! another one is held by who knows whom. Once they are held they are inside at each part's line too, so that those who stand there know.

use crate::claim::{Claim, Mode};
use crate::guard::Holding;
use crate::protocol::Standing;
use crate::sys::Nap;
use crate::sys::fork::{PerProcess, generation};
use crate::wait::Nudge;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::Waker;
use std::thread::ThreadId;
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

/// Who acquires, as far as re-entry goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acquirer {
    Thread(ThreadId),
    /// All who use one handle.
    Handle(u64),
    /// Whoever the program calls so.
    Named(u64),
    /// A task: one thread runs many of them, and nobody can tell which one this is.
    SomeTask,
}

impl Acquirer {
    fn is(self, other: Acquirer) -> bool {
        self == other && self != Acquirer::SomeTask
    }
}

/// Who stands in line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who {
    pub(crate) acquirer: Acquirer,
    /// The handle that is used.
    pub(crate) handle: u64,
}

/// Those who have the turn at one lock, and those behind them.
#[derive(Debug, Default)]
struct Line {
    inside: Vec<Inside>,
    /// In the order in which they came. Thousands of tasks may stand here, and leave from the middle.
    behind: BTreeMap<u64, Behind>,
    /// The place of the next one who comes.
    next: u64,
}

#[derive(Debug)]
struct Inside {
    claim: u64,
    mode: Mode,
    who: Who,
    holding: Slot,
    /// Of what it holds this lock is one part, this one.
    part: Option<usize>,
}

/// A lock that is held as part of another one.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) lock: Arc<str>,
    pub(crate) mode: Mode,
}

impl Inside {
    /// What it holds; None: it is still trying.
    fn holding(&self) -> Option<Arc<Holding>> {
        self.holding.get()?.upgrade()
    }

    fn holds(&self) -> bool {
        self.holding.get().is_some_and(|h| h.strong_count() > 0)
    }

    /// Neither does it hold, nor will it.
    fn is_over(&self) -> bool {
        self.holding.get().is_some_and(|h| h.strong_count() == 0)
    }
}

/// What a claim holds; empty while it is still trying. Shared between the line and the ticket, which fills it in without looking for the line
/// again: that would lie on the way of a hand-over.
pub(crate) type Slot = Arc<OnceLock<Weak<Holding>>>;

#[derive(Debug)]
struct Behind {
    inside: Inside,
    turn: Arc<Nudge>,
}

impl Line {
    fn admits(&self, mode: Mode) -> bool {
        self.inside.is_empty()
            || (mode == Mode::Shared && self.inside.iter().all(|i| i.mode == Mode::Shared))
    }

    fn is_at(&self, place: u64, claim: u64) -> bool {
        let behind = self.behind.get(&place);
        behind.is_some_and(|b| b.inside.claim == claim)
    }

    /// Let in whoever is next: those to be called once the mutex is free.
    #[must_use]
    fn advance(&mut self) -> Vec<Arc<Nudge>> {
        let mut called = Vec::new();
        while let Some((_, next)) = self.behind.first_key_value() {
            if !self.admits(next.inside.mode) {
                break;
            }
            let Some((_, next)) = self.behind.pop_first() else {
                break;
            };
            self.inside.push(next.inside);
            next.turn.mark();
            called.push(next.turn);
        }
        called
    }
}

/// A place in the line, or the turn. Dropping it lets the next one in.
#[derive(Debug)]
pub(crate) struct Ticket {
    lock: Arc<str>,
    claim: u64,
    /// None: it was one's turn at once.
    turn: Option<Arc<Nudge>>,
    /// Where one stands behind the turn.
    place: u64,
    /// How many stood behind the turn when we came.
    before: u32,
    holding: Slot,
    /// The lines of its parts, once they are held.
    parts: Vec<Arc<str>>,
    generation: u32,
}

impl Ticket {
    /// Stand in line. It may be one's turn at once.
    pub(crate) fn take(lock: Arc<str>, claim: &Claim, who: Who, holding: Slot) -> Ticket {
        let generation = generation();
        let inside = Inside {
            claim: claim.id(),
            mode: claim.mode(),
            who,
            holding: holding.clone(),
            part: None,
        };
        let mut lines = lines();
        let line = lines.entry(lock.clone()).or_default();
        let mut place = 0;
        let before = u32::try_from(line.behind.len()).unwrap_or(u32::MAX);
        let turn = if before == 0 && line.admits(claim.mode()) {
            line.inside.push(inside);
            None
        } else {
            let turn = Arc::new(Nudge::default());
            place = line.next;
            line.next += 1;
            let behind = Behind {
                inside,
                turn: turn.clone(),
            };
            line.behind.insert(place, behind);
            Some(turn)
        };
        drop(lines);
        Ticket {
            lock,
            claim: claim.id(),
            turn,
            place,
            before,
            holding,
            parts: Vec::new(),
            generation,
        }
    }

    /// All parts are held: inside at the line of each from now on, whoever else may be trying there.
    pub(crate) fn enter(&mut self, parts: &[Part], who: Who) {
        if parts.is_empty() {
            return;
        }
        let mut lines = lines();
        for (index, part) in parts.iter().enumerate() {
            let line = lines.entry(part.lock.clone()).or_default();
            line.inside.push(Inside {
                claim: self.claim,
                mode: part.mode,
                who,
                holding: self.holding.clone(),
                part: Some(index),
            });
            self.parts.push(part.lock.clone());
        }
    }

    /// How many stood behind the turn when this one came.
    pub(crate) fn came_after(&self) -> u32 {
        self.before
    }

    /// Whether it is one's turn.
    pub(crate) fn has_turn(&self) -> bool {
        self.turn.as_ref().is_none_or(|turn| turn.is_given())
    }

    /// Sleep until it may be.
    pub(crate) fn sleep(&self, longest: Duration) -> Nap {
        self.turn
            .as_ref()
            .map_or(Nap::Woken, |turn| turn.sleep(longest))
    }

    /// Wake this task when it is its turn. True: it is already.
    pub(crate) fn wakes(&self, task: &Waker) -> bool {
        self.turn.as_ref().is_none_or(|turn| turn.wakes(task))
    }

    /// From now on this holding is what has the turn.
    pub(crate) fn hold(&self, holding: &Arc<Holding>) {
        // One claim becomes one holding: the slot was empty.
        let _ = self.holding.set(Arc::downgrade(holding));
    }

    /// The mode of the first of this process that holds it, if one does.
    pub(crate) fn ahead(&self) -> Option<Mode> {
        let lines = lines();
        let mut inside = lines.get(&self.lock)?.inside.iter();
        inside.find(|i| i.holds()).map(|i| i.mode)
    }

    /// Whether this very acquirer has the turn that this ticket waits for.
    pub(crate) fn waits_for(&self, acquirer: Acquirer) -> bool {
        let lines = lines();
        lines.get(&self.lock).is_some_and(|l| {
            l.inside
                .iter()
                .any(|i| i.who.acquirer.is(acquirer) && i.claim != self.claim && !i.is_over())
        })
    }

    /// A holding that was lost (its file removed, its link taken) keeps nobody waiting: what it held is gone. Looked at outside the mutex,
    /// since it asks the file system.
    pub(crate) fn pass_the_lost(&self) {
        let ahead: Vec<_> = {
            let lines = lines();
            let inside = lines.get(&self.lock).into_iter().flat_map(|l| &l.inside);
            inside
                .filter_map(|i| Some((i.holding()?, i.part)))
                .collect()
        };
        for (holding, part) in ahead {
            if matches!(holding.standing_of(part), Standing::Lost(_)) {
                leave([&self.lock], holding.claim_id(), None);
            }
        }
    }
}

/// Whoever has this slot has given up. It may take a moment until that one is out of the line.
// 1. A task's acquisition has the turn, and a thread sleeps in the kernel's queue for it. 2. The task drops it. 3. It acquires again, before that thread is out.
// 4. It would find itself ahead of itself, and be refused as one who waits for himself.
pub(crate) fn forsake(slot: &Slot) {
    let _ = slot.set(Weak::new());
}

/// What this acquirer holds at this lock, and in which mode, if it does.
pub(crate) fn held_by(lock: &str, acquirer: Acquirer) -> Option<(Arc<Holding>, Mode)> {
    let lines = lines();
    let mut inside = lines.get(lock)?.inside.iter();
    inside.find_map(|i| {
        let own = i.who.acquirer.is(acquirer);
        own.then(|| Some((i.holding()?, i.mode))).flatten()
    })
}

/// Whether this acquirer would wait for itself: it holds the lock, and in a way that does not go together with this mode.
pub(crate) fn keeps_out(lock: &str, acquirer: Acquirer, mode: Mode) -> bool {
    is_held(lock, |inside| {
        let apart = mode == Mode::Exclusive || inside.mode == Mode::Exclusive;
        apart && inside.who.acquirer.is(acquirer)
    })
}

/// Whether the lock is held through this handle.
pub(crate) fn held_by_handle(lock: &str, handle: u64) -> bool {
    is_held(lock, |inside| inside.who.handle == handle)
}

/// Whether this process holds the lock, through any handle and in any thread.
pub(crate) fn held_in_this_process(lock: &str) -> bool {
    is_held(lock, |_| true)
}

fn is_held(lock: &str, by: impl Fn(&Inside) -> bool) -> bool {
    let lines = lines();
    let mut inside = lines.get(lock).into_iter().flat_map(|line| &line.inside);
    inside.any(|i| by(i) && i.holds())
}

/// Leave these lines, and let in whoever is next. `place`: where one may still stand behind the turn.
fn leave<'a>(locks: impl IntoIterator<Item = &'a Arc<str>>, claim: u64, place: Option<u64>) {
    let mut lines = lines();
    let mut called = Vec::new();
    for lock in locks {
        let Some(line) = lines.get_mut(lock) else {
            continue;
        };
        line.inside.retain(|i| i.claim != claim);
        // Once a line is empty its numbers begin anew: the place may be somebody else's by now.
        if let Some(place) = place.filter(|p| line.is_at(*p, claim)) {
            line.behind.remove(&place);
        }
        let next = line.advance();
        if called.is_empty() {
            called = next;
        } else {
            called.extend(next);
        }
        if line.inside.is_empty() && line.behind.is_empty() {
            lines.remove(lock);
        }
    }
    drop(lines);
    called.iter().for_each(|turn| turn.rouse());
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // A forked child has a line of its own.
        if self.generation == generation() {
            let lines = std::iter::once(&self.lock).chain(&self.parts);
            leave(lines, self.claim, self.turn.is_some().then_some(self.place));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::Party;
    use crate::lease::Terms;

    fn stand(lock: &str, mode: Mode) -> Ticket {
        let who = Who {
            acquirer: Acquirer::Thread(std::thread::current().id()),
            handle: 0,
        };
        let claim = Claim::new(mode, Party::this_process(), None, Terms::USUAL);
        Ticket::take(lock.into(), &claim, who, Slot::default())
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
    fn whoever_was_forsaken_keeps_its_acquirer_from_nothing() {
        let first = stand("whoever_was_forsaken", Mode::Exclusive);
        let second = stand("whoever_was_forsaken", Mode::Exclusive);
        let me = Acquirer::Thread(std::thread::current().id());
        assert!(second.waits_for(me));
        forsake(&first.holding);
        assert!(!second.waits_for(me) && !second.has_turn());
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

    /// 1. B is passed, for it lost what it held; the line is empty, and forgotten. 2. D and E come; E stands where B once stood. 3. B goes.
    #[test]
    fn whoever_was_passed_takes_nobody_along() {
        let lock = "whoever_was_passed";
        let (a, b) = (stand(lock, Mode::Exclusive), stand(lock, Mode::Exclusive));
        drop(a);
        leave([&b.lock], b.claim, None);
        let (d, e) = (stand(lock, Mode::Exclusive), stand(lock, Mode::Exclusive));
        drop(b);
        drop(d);
        assert!(e.has_turn());
    }
}
