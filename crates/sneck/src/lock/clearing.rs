//! Removing claims without taking the lock: stale ones, any by force, those left in somebody's name.
//!
//! Not for: what may be removed (`stale.rs`, `breaking.rs`); the claims that an acquisition finds in its way (`acquire/clearing.rs`).

use super::Lock;
use crate::breaking::{self, Cleared};
use crate::claim::Party;
use crate::error::{Error, ErrorKind, Result};
use crate::holder::Holder;
use crate::protocol::{Removable, Removal, Right, Sighting};
use crate::stale::Stale;
use crate::wait::{self, Backoff};

/// How often a breaker that is at work in the same folder is waited for, briefly.
const BREAKERS: u32 = 16;

impl Lock {
    /// Remove the claim that stands there, if the policy ([`crate::LockBuilder::stale`]) allows: by default one whose holder is proved gone. Takes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Foreign`]: no claim stands there, but something else, which was left alone. [`ErrorKind::Unsupported`]: this protocol has no claims
    /// that could be removed, and somebody holds it. Otherwise as [`Lock::holder`]. That a claim was left alone is no error: see [`Cleared::Left`].
    pub fn break_stale(&self) -> Result<Cleared> {
        self.clear(self.handle.settings.stale)
    }

    /// Remove the claim that stands there, **whoever holds it**. The robbed holder is told by [`crate::Guard::standing`] and [`crate::Guard::release`].
    ///
    /// # Errors
    /// As [`Lock::break_stale`].
    pub fn force_release(&self) -> Result<Cleared> {
        self.clear(Stale::Force)
    }

    /// Remove the claim that was left in the name of this party ([`crate::Guard::leave`]), and no other.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`]: nothing stands there, or another's claim. [`ErrorKind::Busy`]: the claim belongs to a running program that keeps it locked.
    /// Otherwise as [`Lock::break_stale`].
    pub fn release_for(&self, party: Party) -> Result<()> {
        let parts = self.parts();
        // All of them, before any is removed.
        let mut claims = Vec::with_capacity(parts.len());
        for part in &parts {
            claims.push((part, part.claim_of(party)?));
        }
        let mut released = Ok(());
        for (part, claim) in claims {
            released = released.and(part.release_claim(&claim, party));
        }
        released
    }

    /// The claim that stands there in the name of this party.
    fn claim_of(&self, party: Party) -> Result<breaking::Candidate> {
        let seen = self.removable()?;
        let claim = breaking::candidate(&*self.handle.protocol, &seen, self.judge());
        let is_its =
            |c: &breaking::Candidate| c.holder.pid == Some(party.pid()) && c.holder.host.is_none();
        claim
            .filter(is_its)
            .ok_or_else(|| self.not_held_by(party, seen.holders().to_vec()))
    }

    fn not_held_by(&self, party: Party, holders: Vec<Holder>) -> Error {
        let what = format!("process {} does not hold it", party.pid());
        Error::new(ErrorKind::Lost, "release", what)
            .at(self.place())
            .held_by(holders)
            .advise("nothing was removed")
    }

    fn release_claim(&self, claim: &breaking::Candidate, party: Party) -> Result<()> {
        let holders = || vec![claim.holder.clone()];
        match self.remove(claim)? {
            Removal::Removed => Ok(()),
            Removal::Changed => Err(self.not_held_by(party, holders())),
            Removal::NotAllowed => Err(Error::new(
                ErrorKind::NoPermission,
                "release",
                "there is no right to remove the claim here",
            )
            .at(self.place())),
            removal => Err(Error::new(ErrorKind::Busy, "release", removal.to_string())
                .at(self.place())
                .held_by(holders())
                .advise("the program that took it releases it")),
        }
    }

    /// A breaker at work is done in an instant.
    fn remove(&self, claim: &breaking::Candidate) -> Result<Removal> {
        let mut backoff = Backoff::polling();
        let observer = self.handle.settings.observer.as_deref();
        for _ in 0..BREAKERS {
            match claim.remove_by(Right::Stale, &*self.handle.protocol, observer)? {
                Removal::BreakerBusy => wait::pause(backoff.step()),
                removal => return Ok(removal),
            };
        }
        Ok(Removal::BreakerBusy)
    }

    /// What stands there, if it may be removed at all.
    fn removable(&self) -> Result<Sighting> {
        let seen = self.holder()?;
        if let Sighting::Foreign { what } = &seen {
            return Err(Error::foreign("look", what, self.place()));
        }
        if self.capabilities().removal == Removable::No && seen != Sighting::Free {
            let scheme = self.place().scheme();
            let what = format!("a lock of protocol {scheme} cannot be removed from outside");
            return Err(Error::new(ErrorKind::Unsupported, "break", what)
                .at(self.place())
                .held_by(seen.holders().to_vec())
                .advise("it ends with its holder: end that process"));
        }
        Ok(seen)
    }

    fn clear(&self, policy: Stale) -> Result<Cleared> {
        if self.handle.parts.is_empty() {
            return self.clear_one(policy);
        }
        let parts = self.parts();
        let (claims, kernel): (Vec<Lock>, Vec<Lock>) = parts
            .into_iter()
            .partition(|part| part.capabilities().removal == Removable::Yes);
        // Force frees all or nothing: a claim that is removed while its holder keeps the rest frees nobody and robs somebody.
        if claims.is_empty() || policy == Stale::Force {
            for part in &kernel {
                part.removable()?;
            }
        }
        let (mut removed, mut left) = (None, None);
        for part in claims {
            match part.clear_one(policy)? {
                Cleared::Free => {}
                cleared @ Cleared::Removed { .. } => removed = removed.or(Some(cleared)),
                cleared @ Cleared::Left { .. } => left = left.or(Some(cleared)),
            }
        }
        for part in kernel {
            match part.holder()? {
                Sighting::Free => {}
                Sighting::Foreign { what } => {
                    return Err(Error::foreign("look", &what, part.place()));
                }
                seen => {
                    left = left.or(Some(Cleared::Left {
                        seen,
                        verdict: None,
                        removal: None,
                    }));
                }
            }
        }
        Ok(left.or(removed).unwrap_or(Cleared::Free))
    }

    fn clear_one(&self, policy: Stale) -> Result<Cleared> {
        let mut backoff = Backoff::polling();
        for tries in 0.. {
            let seen = self.removable()?;
            if seen == Sighting::Free {
                return Ok(Cleared::Free);
            }
            let candidate = breaking::candidate(&*self.handle.protocol, &seen, self.judge());
            let Some(candidate) = candidate.filter(|c| c.may_go(policy)) else {
                let verdict = self.verdict(&seen);
                return Ok(Cleared::Left {
                    seen,
                    verdict,
                    removal: None,
                });
            };
            let observer = self.handle.settings.observer.as_deref();
            match candidate.remove(&*self.handle.protocol, policy, observer)? {
                Removal::Removed => {
                    return Ok(Cleared::Removed {
                        holder: candidate.holder,
                        verdict: candidate.verdict,
                    });
                }
                Removal::Changed if tries < BREAKERS => {}
                Removal::BreakerBusy if tries < BREAKERS => {
                    wait::pause(backoff.step());
                }
                removal => {
                    return Ok(Cleared::Left {
                        seen,
                        verdict: Some(candidate.verdict),
                        removal: Some(removal),
                    });
                }
            }
        }
        Ok(Cleared::Free)
    }
}
