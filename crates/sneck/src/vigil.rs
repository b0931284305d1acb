//! Waiting until nobody holds a lock, without taking it, not even for an instant: look, arm what may end what was seen, look again, sleep.
//!
//! Nobody who tries meanwhile is refused because of a look: it takes nothing, makes nothing and stands in no line. So it gives nothing either: by
//! the time it ends, another may hold the lock. Not for: acquiring (`acquire.rs`), and looking (each protocol's `inspect`).

use crate::claim::Mode;
use crate::error::{Error, ErrorKind, Result};
use crate::holder::Holder;
use crate::lock::{Handle, Reentry};
use crate::observer::{Event, Interrupt, Observer};
use crate::place::Place;
use crate::protocol::{Ground, Modes, Protocol, Reach, Sighting, Standing};
use crate::queue::{self, Acquirer};
use crate::stale::{Judge, Stale, Verdict};
use crate::sys::Nap;
use crate::timeout::{Deadline, Moment};
use crate::wait::{self, Armed, Backoff, Trust, Waiting};
use crate::{breaking, stale};
use std::sync::Arc;
use std::time::Duration;

/// Naming the holders of some locks means reading all of /proc. Between two looks this many times as long as the last look took is slept, so that
/// those who wait cost the machine no more than a part of one processor.
const REST: u32 = 4;
/// A look that took longer than this (a server that is slow to answer, say) counts as this long.
const LONG: Duration = Duration::from_millis(100);

/// Waits until one look found the lock free: all of its parts, where it has several.
pub(crate) struct Vigil<'a> {
    handle: &'a Handle,
    acquirer: Acquirer,
    deadline: Deadline,
    /// The place, or what it consists of; and in which mode it is wanted.
    ways: Vec<(Arc<dyn Protocol>, Mode)>,
    told: Option<(Place, Vec<Holder>)>,
    polls: Polls,
}

/// Whether it was said that the usual way to wait is not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Polls {
    Unsaid,
    Said,
}

/// What one look found in the way.
struct InTheWay {
    way: Arc<dyn Protocol>,
    seen: Sighting,
}

impl<'a> Vigil<'a> {
    pub(crate) fn new(
        handle: &'a Handle,
        acquirer: Acquirer,
        deadline: Deadline,
    ) -> Result<Vigil<'a>> {
        let protocol = &handle.protocol;
        let parts = protocol.parts().into_iter().zip(&handle.parts);
        let mut ways: Vec<_> = parts.map(|(way, part)| (way, part.mode)).collect();
        if ways.is_empty() {
            ways.push((protocol.clone(), handle.settings.mode));
        }
        for (way, mode) in &ways {
            if *mode == Mode::Shared && way.capabilities().modes == Modes::Exclusive {
                let what = format!("protocol {} has no shared mode", way.place().scheme());
                return Err(Error::new(ErrorKind::Unsupported, DOING, what)
                    .at(way.place())
                    .advise("wait for it exclusively"));
            }
        }
        Ok(Vigil {
            handle,
            acquirer,
            deadline,
            ways,
            told: None,
            polls: Polls::Unsaid,
        })
    }

    /// Wait.
    pub(crate) fn keep(mut self) -> Result<()> {
        let mut backoff: Option<Backoff> = None;
        let mut armed: Option<(Vec<u64>, Armed)> = None;
        // What came before this wait is none of its business.
        let _ = wait::heard();
        loop {
            let start = Moment::now();
            let Some(found) = self.look()? else {
                return Ok(());
            };
            let took = start.elapsed().min(LONG);
            // Before the time is asked for: a look can take longer than there is. Without any there is nothing to be refused for.
            if self.deadline != Deadline::Once {
                self.must_not_be_ours(&found)?;
            }
            if self.deadline.has_passed() {
                return Err(self.refused(&found));
            }
            if wait::heard() {
                self.woke(Nap::Interrupted)?;
            }
            self.tell_waiting(&found);
            let steps = backoff.get_or_insert_with(|| self.steps(&*found.way));
            if self.handle.settings.waiting != Waiting::Polling {
                let wakes = found.way.wakes(&found.seen);
                let signature = wait::signature(&wakes);
                // What no event can end is looked at again and again, which is the usual way there.
                if !wakes.is_empty() && armed.as_ref().is_none_or(|(s, _)| *s != signature) {
                    // Take the old ones down first: what they lend is used again.
                    drop(armed.take());
                    let (_, new) = armed.insert((signature, Armed::new(wakes)));
                    if new.trust() == Trust::Polling && self.polls == Polls::Unsaid {
                        self.polls = Polls::Said;
                        *steps = Backoff::polling();
                        self.tell_polling(&*found.way);
                    }
                    // What was armed may have ended before it was armed. Once only: holders that change with each look (readers that overlap) are
                    // slept on all the same, or it would be arming and looking without end.
                    match self.look()? {
                        None => return Ok(()),
                        Some(now) if now.is(&found) => {}
                        Some(_) => steps.reset(),
                    }
                }
            }
            let longest = self.deadline.remaining(steps.step().max(took * REST));
            self.ask(|observer| observer.about_to_sleep())?;
            let nap = match &mut armed {
                Some((_, armed)) => armed.sleep(longest),
                None => wait::pause(longest),
            };
            self.woke(nap)?;
            if nap == Nap::Woken {
                steps.reset();
                // What woke us may have named another file or process: arm anew.
                drop(armed.take());
                // An event can come a little before the lock is free, and many can come from those who only try.
                self.woke(wait::pause(self.deadline.remaining(took)))?;
            }
        }
    }

    /// The net below the events. They alone would not do: a holder that unlocks and keeps the file open raises none, nor does one that leaves
    /// a lock to be shared, and a server's locks end without a word to those who only look.
    fn steps(&self, way: &dyn Protocol) -> Backoff {
        let far =
            way.ground() == Ground::NetworkFiles || way.capabilities().reach == Reach::Network;
        match self.handle.settings.waiting {
            _ if far => Backoff::network(),
            Waiting::Polling => Backoff::polling(),
            Waiting::Best | Waiting::Events => Backoff::looks(),
        }
    }

    /// One look at all. The first that is in the way; None: none is.
    fn look(&self) -> Result<Option<InTheWay>> {
        for (way, mode) in &self.ways {
            let placed = |e: Error| e.at(way.place());
            let seen = way.inspect().map_err(placed)?;
            match &seen {
                Sighting::Foreign { what } => {
                    return Err(Error::foreign("look", what, way.place()));
                }
                Sighting::Unknown { why } => return Err(placed(unseen(why))),
                _ if self.is_free(&**way, *mode, &seen) => {}
                _ => {
                    let way = way.clone();
                    return Ok(Some(InTheWay { way, seen }));
                }
            }
        }
        Ok(None)
    }

    /// Whether one who tried now would get it, by the settings of this lock.
    fn is_free(&self, way: &dyn Protocol, mode: Mode, seen: &Sighting) -> bool {
        let settings = &self.handle.settings;
        let reader = |holder: &Holder| holder.mode == Some(Mode::Shared);
        match seen {
            Sighting::Free => true,
            Sighting::Held { holders, .. }
                if mode == Mode::Shared && !holders.is_empty() && holders.iter().all(reader) =>
            {
                true
            }
            _ => {
                // By force everything is free at any time: nothing to wait for.
                let policy = match settings.stale {
                    Stale::Force => Stale::Dead,
                    policy => policy,
                };
                let claim = breaking::candidate(way, seen, self.judge(way));
                claim.is_some_and(|claim| claim.may_go(policy))
            }
        }
    }

    fn identity(&self, way: &dyn Protocol) -> String {
        if way.place() == self.handle.protocol.place() {
            self.handle.identity.as_ref().to_owned()
        } else {
            way.identity()
        }
    }

    fn judge(&self, way: &dyn Protocol) -> Judge {
        Judge {
            party: self.handle.settings.party,
            holds: queue::held_in_this_process(&self.identity(way)),
        }
    }

    /// Whoever waits for what it holds itself would wait for ever.
    fn must_not_be_ours(&self, found: &InTheWay) -> Result<()> {
        let ours = |lock: &str| {
            let holding = queue::held_by(lock, self.acquirer);
            holding.is_some_and(|(h, _)| !matches!(h.standing(), Standing::Lost(_)))
        };
        if self.handle.settings.reentry == Reentry::Wait
            || !(ours(&self.identity(&*found.way)) || ours(&self.handle.identity))
        {
            return Ok(());
        }
        let what = "its owner (usually this thread) holds the lock: waiting for it to be free would never end";
        Err(Error::new(ErrorKind::Reentrant, DOING, what)
            .at(found.way.place())
            .advise("release it first, or choose the policy `wait` for re-entry"))
    }

    fn woke(&self, nap: Nap) -> Result<()> {
        match nap {
            Nap::Interrupted => self.ask(|observer| observer.interrupted()),
            _ => Ok(()),
        }
    }

    fn ask(&self, question: impl FnOnce(&dyn Observer) -> Interrupt) -> Result<()> {
        let observer = self.handle.settings.observer.as_deref();
        if observer.map(question).unwrap_or_default() == Interrupt::Resume {
            return Ok(());
        }
        let what = "a signal ended the wait for the lock to be free";
        Err(Error::new(ErrorKind::Interrupted, DOING, what).at(self.handle.protocol.place()))
    }

    fn refused(&self, found: &InTheWay) -> Error {
        let (way, seen) = (&found.way, &found.seen);
        if let Sighting::Damaged { what, .. } = seen {
            let what = format!("damaged claim: {what}");
            return Error::new(ErrorKind::Damaged, DOING, what)
                .at(way.place())
                .advise("if no program uses this lock, remove it by hand or by force");
        }
        let error = match self.deadline {
            Deadline::Once => Error::new(ErrorKind::Busy, DOING, "not free"),
            _ => Error::new(ErrorKind::TimedOut, DOING, "still not free"),
        };
        let error = error.at(way.place()).held_by(seen.holders().to_vec());
        let verdict = stale::judge_sighting(seen, way.ground(), self.judge(&**way));
        match verdict.filter(|v| matches!(v, Verdict::Gone(_) | Verdict::Younger { .. })) {
            Some(verdict) => error.advise(format!(
                "its claim looks stale ({verdict}), but the policy does not count it as free"
            )),
            None => error,
        }
    }

    fn tell_waiting(&mut self, found: &InTheWay) {
        let (place, holders) = (found.way.place(), found.seen.holders());
        let Some(observer) = &self.handle.settings.observer else {
            return;
        };
        let told = self.told.as_ref();
        if told.is_some_and(|(p, h)| p == place && same(h, holders)) {
            return;
        }
        observer.notice(&Event::Waiting {
            place,
            seen: &found.seen,
        });
        self.told = Some((place.clone(), holders.to_vec()));
    }

    fn tell_polling(&self, way: &dyn Protocol) {
        if let Some(observer) = &self.handle.settings.observer {
            observer.notice(&Event::Polling {
                place: way.place(),
                why: wait::NO_EVENTS,
            });
        }
    }
}

const DOING: &str = "wait";

impl InTheWay {
    /// Whether this is the same obstacle.
    fn is(&self, other: &InTheWay) -> bool {
        self.way.place() == other.way.place() && same(self.seen.holders(), other.seen.holders())
    }
}

fn same(some: &[Holder], others: &[Holder]) -> bool {
    some.len() == others.len() && some.iter().zip(others).all(|(one, other)| one.is(other))
}

/// Whoever cannot see whether it is held must not be told that it is free.
fn unseen(why: &str) -> Error {
    let what = format!("whether it is free cannot be seen from here: {why}");
    Error::new(ErrorKind::Unsupported, DOING, what)
        .advise("acquire it instead, or look from where all processes can be seen")
}
