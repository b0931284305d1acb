//! Breaking and forcing: judge the claim that is in the way, ask the policy, remove exactly that claim, tell the observer.
//!
//! The one place where a claim of somebody else's is removed. Not for: what counts as dead (`stale.rs`), how a claim is removed (each protocol).

use crate::error::Result;
use crate::holder::{Holder, Source};
use crate::observer::{Event, Observer};
use crate::protocol::{LiveMark, Mark, Protocol, Removal, Right, Sighting};
use crate::stale::{self, Grounds, Judge, Stale, Verdict};
use crate::sys::{Nap, Presence, process};
use crate::timeout::Moment;
use crate::wait;
use std::time::{Duration, SystemTime};

/// How often, and how long between two looks, a claim is looked at whose process has ended and is not reaped.
const RELEASES: usize = 50;
const RELEASE: Duration = Duration::from_millis(2);
/// And no longer than this, where a look takes long: whoever acquires has a deadline.
const LONGEST: Duration = Duration::from_millis(500);

/// What came of looking at a claim in order to remove it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cleared {
    /// Nothing stood there.
    Free,
    /// A claim was removed, by this call.
    Removed {
        /// Whose it was.
        holder: Holder,
        /// What was known of the holder.
        verdict: Verdict,
    },
    /// What stands there was left alone.
    Left {
        /// What it is.
        seen: Sighting,
        /// What is known of its holder, where it names one.
        verdict: Option<Verdict>,
        /// Why a removal that the policy allows did not happen. None: the policy does not allow one.
        removal: Option<Removal>,
    },
}

/// A claim that may be removed, and on what grounds.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) holder: Holder,
    pub(crate) mark: Mark,
    pub(crate) verdict: Verdict,
}

/// What stands in the way, judged. None: it is of a kind that is never removed.
pub(crate) fn candidate(protocol: &dyn Protocol, seen: &Sighting, by: Judge) -> Option<Candidate> {
    match seen {
        Sighting::Held {
            holders,
            mark: Some(mark),
        } => {
            // Readers at a server have one mark: as old as the youngest of them, and gone when all are.
            let holder = holders.iter().max_by_key(|holder| holder.since)?;
            let ground = protocol.ground();
            let judge = |holder| stale::judge(holder, Some(mark), ground, by);
            let alive = holders.iter().map(judge).find(|verdict| !verdict.is_gone());
            Some(Candidate {
                holder: holder.clone(),
                mark: mark.clone(),
                verdict: alive.unwrap_or_else(|| judge(holder)),
            })
        }
        Sighting::Damaged {
            mark: Some(mark), ..
        } => {
            let changed = u64::try_from(mark.changed.max(0)).unwrap_or(u64::MAX);
            Some(Candidate {
                holder: Holder {
                    since: Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(changed)),
                    ..Holder::unknown(Source::Record)
                },
                mark: mark.clone(),
                verdict: Verdict::Unknown("the claim makes no sense"),
            })
        }
        _ => None,
    }
}

impl Candidate {
    pub(crate) fn may_go(&self, policy: Stale) -> bool {
        policy.allows(&self.verdict, self.holder.since)
    }

    /// Remove it. The policy allows that.
    pub(crate) fn remove(
        &self,
        protocol: &dyn Protocol,
        policy: Stale,
        observer: Option<&dyn Observer>,
    ) -> Result<Removal> {
        // What is proved is broken as such, so that a live mark can still prove it wrong.
        let right = match (policy, &self.verdict) {
            (Stale::Force, _) => Right::Force,
            (_, Verdict::Gone(_) | Verdict::Younger { .. }) => Right::Stale,
            _ => Right::Force,
        };
        if right == Right::Stale && self.is_being_released(protocol) {
            return Ok(self.told(protocol, Removal::Changed, observer));
        }
        self.remove_by(right, protocol, observer)
    }

    /// Remove it by this right, and tell.
    pub(crate) fn remove_by(
        &self,
        right: Right,
        protocol: &dyn Protocol,
        observer: Option<&dyn Observer>,
    ) -> Result<Removal> {
        let removal = protocol.remove(&self.mark, right)?;
        Ok(self.told(protocol, removal, observer))
    }

    fn told(
        &self,
        protocol: &dyn Protocol,
        removal: Removal,
        observer: Option<&dyn Observer>,
    ) -> Removal {
        if let Some(observer) = observer {
            observer.notice(&Event::Breaking {
                place: protocol.place(),
                holder: &self.holder,
                mark: &self.mark,
                verdict: &self.verdict,
                removal,
            });
        }
        removal
    }

    /// Whether what stands there goes by itself: 1. A command ends whose number a claim bears; its parent is about to release the claim, and to reap it. 2. We
    /// see that it has ended, and break the claim. 3. The parent finds its claim gone, and says that the lock was lost. A live mark would have told; where
    /// there is none, a process that is not reaped yet gets a moment.
    fn is_being_released(&self, protocol: &dyn Protocol) -> bool {
        let unreaped = self.verdict == Verdict::Gone(Grounds::Ended);
        if !unreaped || protocol.capabilities().mark == LiveMark::Yes {
            return false;
        }
        let begun = Moment::now();
        for _ in 0..RELEASES {
            if begun.elapsed() > LONGEST {
                break;
            }
            // Not broken before the moment is over: whoever goes on after the signal comes here again.
            if wait::moment(RELEASE) == Nap::Interrupted {
                return true;
            }
            let reaped = |pid| process::presence(pid) != Presence::Ended;
            if self.holder.pid.is_none_or(reaped) {
                return false;
            }
            match protocol.inspect() {
                Ok(Sighting::Held {
                    mark: Some(mark), ..
                }) if mark == self.mark => {}
                _ => return true,
            }
        }
        false
    }
}
