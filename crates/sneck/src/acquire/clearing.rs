//! What one acquisition did about the claims in its way: removed, tried to, forced.
//!
//! Not for: what counts as stale (`stale.rs`), and the removing itself (`breaking.rs`).

use crate::breaking;
use crate::error::Result;
use crate::holder::Holder;
use crate::observer::{Event, Observer};
use crate::place::Place;
use crate::protocol::{Mark, Protocol, Removal, Sighting};
use crate::stale::{Judge, Stale};
use crate::wait::Backoff;

#[derive(Debug, Default)]
pub(super) struct Clearing {
    /// Whose claims were removed.
    pub(super) broken: Vec<Holder>,
    /// Why a stale claim could not be removed.
    pub(super) obstacle: Option<String>,
    /// What came of the last attempt to remove one, which is told once.
    met: Option<(Mark, Removal)>,
    /// While somebody is about to remove the claim in the way, or keeps it from being removed. No event says when they are done, so this is polled for, without harm
    /// to the steps of the sleep before and after.
    // 1. A finds a dead claim that B is about to remove: it looks again soon. 2. B removes it and makes its own, which lives. 3. A sleeps as if it had
    // seen no B: in steps of polling if it polls, and not in those of the net below events, each ten times as long as the last.
    pub(super) obstructed: Option<Backoff>,
    /// Where a claim was forced away under [`Stale::Force`].
    forced: Vec<Place>,
}

impl Clearing {
    /// Whether a claim at this place was forced away already.
    pub(super) fn has_forced(&self, place: &Place) -> bool {
        self.forced.contains(place)
    }

    /// Remove a stale claim, if it is one and the policy allows. True: try again.
    pub(super) fn clear(
        &mut self,
        way: &dyn Protocol,
        seen: &Sighting,
        (policy, judge): (Stale, Judge),
        observer: Option<&dyn Observer>,
    ) -> Result<bool> {
        self.obstacle = None;
        let (met, obstructed) = (self.met.take(), self.obstructed.take());
        let Some(candidate) = breaking::candidate(way, seen, judge) else {
            return Ok(false);
        };
        let policy = match policy {
            // Only the claim that was in the way is forced, not whoever gets in after it.
            Stale::Force if self.has_forced(way.place()) => Stale::Dead,
            policy => policy,
        };
        if !candidate.may_go(policy) {
            return Ok(false);
        }
        let tell = |event: &Event<'_>| {
            let again = match (event, &met) {
                (Event::Breaking { mark, removal, .. }, Some(met)) => {
                    (*mark, removal) == (&met.0, &met.1)
                }
                _ => false,
            };
            if let (Some(observer), false) = (observer, again) {
                observer.notice(event);
            }
        };
        let removal = candidate.remove(way, policy, Some(&tell))?;
        if matches!(removal, Removal::BreakerBusy | Removal::Marked) {
            self.obstructed = Some(obstructed.unwrap_or_else(Backoff::polling));
        }
        self.met = Some((candidate.mark.clone(), removal));
        let stale = "its claim is stale, and";
        self.obstacle = match removal {
            Removal::Removed => {
                if policy == Stale::Force {
                    self.forced.push(way.place().clone());
                }
                self.broken.push(candidate.holder);
                return Ok(true);
            }
            Removal::Changed => return Ok(true),
            Removal::BreakerBusy => Some(format!(
                "{stale} somebody else is removing it or keeps the folder locked"
            )),
            Removal::Marked => Some(
                "its number is a dead process's, but a living one keeps the claim locked".into(),
            ),
            Removal::NotAllowed => Some(format!(
                "{stale} there is no right to remove it here; ask the owner of the folder"
            )),
            Removal::Unsupported => Some(format!("{stale} it cannot be removed from here")),
        };
        Ok(false)
    }
}
