//! Stale claims: what is known of a holder ([`Verdict`]), and what may be done about it ([`Stale`]).
//!
//! Rules, not steps: the acquisition loop asks, a protocol removes. A claim is stale only when its holder is *proved* gone; whatever cannot be
//! known (another user's process hidden from us, another machine, another pid namespace, a number that makes no sense) counts as alive.

use crate::claim::Party;
use crate::holder::{Holder, Marked, Source};
use crate::protocol::{Ground, Mark, Sighting};
use crate::sys::{Namespace, Presence, locks, process};
use crate::text;
use std::fmt;
use std::time::{Duration, SystemTime};

/// Which claims of others may be removed in order to acquire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stale {
    /// None.
    Never,
    /// Those whose holder is proved gone.
    #[default]
    Dead,
    /// Also those whose number now belongs to a process that started later than the claim was made. Evidence, not proof: a stepped clock or
    /// a touched file can look the same.
    Likely,
    /// Also those older than this, **whoever holds them**: force by age. It can rob the living.
    After(Duration),
    /// The one that is in the way, **whoever holds it**, but no other that comes after it.
    Force,
}

/// What is known of the holder of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It lives, or nothing speaks against it.
    Alive,
    /// It lives, whatever its number says: a process keeps the claim itself locked.
    Marked,
    /// Proved gone.
    Gone(Grounds),
    /// The process that now bears the number started after the claim was made.
    Younger {
        /// When that process started.
        started: SystemTime,
        /// When the claim was made.
        claimed: SystemTime,
    },
    /// It cannot be known here; counts as alive.
    Unknown(&'static str),
}

/// Why a holder is proved gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Grounds {
    /// No process bears the number.
    Absent,
    /// The process has ended and waits to be reaped.
    Ended,
    /// The number names a thread, not a process.
    MereThread,
    /// The record names another process, another start of the machine, or a pid namespace that is not ours and a live mark that is not there.
    Replaced,
    /// It is our own number (or that of the process in whose name we would claim), we do not hold it, and the process started after the claim was made.
    Predecessor,
}

/// A process must be this much younger than a claim: clocks are coarse, and claims are made while processes start.
pub(crate) const CLEARLY_YOUNGER: Duration = Duration::from_secs(2);

/// Who judges. In a container that was started again over a kept folder, the old claim bears the very number that we have now, or that the
/// command has that we would claim for: we must not wait for ourselves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judge {
    /// In whose name we would claim.
    pub(crate) party: Party,
    /// Whether this process holds the lock.
    pub(crate) holds: bool,
}

/// What a judgement asks of the system. Whoever judges many claims may answer from memory what stays true of a living process.
pub(crate) trait Witness {
    fn presence(&mut self, pid: u32) -> Presence {
        process::presence(pid)
    }

    fn start_ticks(&mut self, pid: u32) -> Option<u64> {
        process::start_ticks(pid)
    }

    fn started(&mut self, pid: u32) -> Option<SystemTime> {
        process::started(pid)
    }

    fn namespace(&mut self, kind: Namespace) -> Option<u64> {
        process::namespace(kind)
    }

    /// Whether somebody has a flock on the claim itself: by device and inode.
    fn is_flocked(&mut self, claim: (u64, u64)) -> bool {
        locks::is_flocked(claim)
    }
}

/// It asks anew each time.
#[derive(Debug)]
struct Now;

impl Witness for Now {}

/// Judge the holder that a claim names. `mark` is the claim itself.
pub(crate) fn judge(holder: &Holder, mark: Option<&Mark>, ground: Ground, judge: Judge) -> Verdict {
    judge_by(holder, mark.map(|m| m.inode), ground, judge, &mut Now)
}

/// The same, with what this witness says.
pub(crate) fn judge_by(
    holder: &Holder,
    claim: Option<(u64, u64)>,
    ground: Ground,
    judge: Judge,
    witness: &mut dyn Witness,
) -> Verdict {
    let verdict = judge_process(holder, ground, judge, witness);
    let dead = matches!(verdict, Verdict::Gone(_) | Verdict::Younger { .. });
    if dead && claim.is_some_and(|claim| witness.is_flocked(claim)) {
        return Verdict::Marked;
    }
    verdict
}

fn judge_process(
    holder: &Holder,
    ground: Ground,
    judge: Judge,
    witness: &mut dyn Witness,
) -> Verdict {
    // It ends the claims of those that fall silent, and would not show this one otherwise.
    if holder.source == Source::Server {
        return Verdict::Alive;
    }
    if holder.host.is_some() {
        return Verdict::Unknown("the claim is of another host");
    }
    if holder.protocol.is_some() {
        return Verdict::Unknown("the claim is of another protocol");
    }
    let birth = holder.birth;
    let boot = birth.boot.and_then(|b| Some(b == process::boot_id()?));
    if ground == Ground::NetworkFiles && boot != Some(true) {
        return Verdict::Unknown("on a network file system a process number may be another host's");
    }
    if boot == Some(false) {
        return Verdict::Gone(Grounds::Replaced);
    }
    if differs(birth.pid_namespace, || witness.namespace(Namespace::Pid)) {
        return match birth.mark {
            // Whether it is locked is looked at next, and once more by whoever removes it, where no namespace hides it.
            Marked::ByHolder => Verdict::Gone(Grounds::Replaced),
            Marked::Unsaid => Verdict::Unknown("the claim is of another pid namespace"),
        };
    }
    let Some(pid) = holder.pid else {
        return Verdict::Unknown("the claim names no process");
    };
    let own = pid == process::own_pid() || pid == judge.party.pid();
    match witness.presence(pid) {
        Presence::Absent => return Verdict::Gone(Grounds::Absent),
        Presence::Ended => return Verdict::Gone(Grounds::Ended),
        Presence::MereThread => return Verdict::Gone(Grounds::MereThread),
        Presence::Unknown if !own => {
            return Verdict::Unknown("the kernel does not tell whether the process lives");
        }
        Presence::Unknown | Presence::Alive => {}
    }
    // In another time namespace the same start is another number of ticks.
    let same_clock = !differs(birth.time_namespace, || witness.namespace(Namespace::Time));
    if same_clock && differs(birth.ticks, || witness.start_ticks(pid)) {
        return Verdict::Gone(Grounds::Replaced);
    }
    let mut younger = || {
        let (started, claimed) = (witness.started(pid)?, holder.since?);
        (started > claimed + CLEARLY_YOUNGER).then_some(Verdict::Younger { started, claimed })
    };
    match younger() {
        Some(_) if own && !judge.holds => Verdict::Gone(Grounds::Predecessor),
        Some(verdict) if !own => verdict,
        _ => Verdict::Alive,
    }
}

/// Both are known, and they differ.
fn differs<T: PartialEq>(recorded: Option<T>, ours: impl FnOnce() -> Option<T>) -> bool {
    recorded.is_some_and(|recorded| ours().is_some_and(|ours| recorded != ours))
}

/// Judge what was seen at a place. None where the kernel or a server vouches for the holder.
pub(crate) fn judge_sighting(seen: &Sighting, ground: Ground, by: Judge) -> Option<Verdict> {
    match seen {
        Sighting::Held {
            holders,
            mark: Some(mark),
        } => Some(judge(holders.first()?, Some(mark), ground, by)),
        _ => None,
    }
}

impl Stale {
    /// Whether a claim so judged, made at this time, may be removed.
    pub(crate) fn allows(self, verdict: &Verdict, claimed: Option<SystemTime>) -> bool {
        match (self, verdict) {
            (Stale::Never, _) => false,
            (Stale::Force, _)
            | (_, Verdict::Gone(_))
            | (Stale::Likely, Verdict::Younger { .. }) => true,
            (Stale::After(limit), _) => claimed
                .and_then(|c| c.elapsed().ok())
                .is_some_and(|age| age > limit),
            _ => false,
        }
    }
}

impl Verdict {
    /// Whether the holder is proved gone.
    pub fn is_gone(&self) -> bool {
        matches!(self, Verdict::Gone(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Alive => f.write_str("alive"),
            Verdict::Marked => f.write_str("alive: a process keeps the claim itself locked"),
            Verdict::Gone(Grounds::Absent) => f.write_str("gone: no such process"),
            Verdict::Gone(Grounds::Ended) => {
                f.write_str("gone: the process has ended and waits to be reaped")
            }
            Verdict::Gone(Grounds::MereThread) => {
                f.write_str("gone: the number now names a thread of another process")
            }
            Verdict::Gone(Grounds::Replaced) => f.write_str(
                "gone: the process that made the claim is no more, whoever has its number now",
            ),
            Verdict::Gone(Grounds::Predecessor) => {
                f.write_str("gone: an earlier process had this number, which now is our own")
            }
            Verdict::Younger { started, claimed } => write!(
                f,
                "likely gone: the process of that number started {}, the claim is of {}",
                text::time(*started),
                text::time(*claimed)
            ),
            Verdict::Unknown(why) => write!(f, "unknown: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY: Judge = Judge {
        party: Party::this_process(),
        holds: false,
    };

    fn claim_of(pid: u32, since: SystemTime) -> Holder {
        Holder {
            since: Some(since),
            ..Holder::process(Source::Record, pid)
        }
    }

    #[test]
    fn what_cannot_be_known_counts_as_alive() {
        let now = SystemTime::now();
        let absent = claim_of(u32::MAX >> 1, now);
        assert_eq!(
            judge(&absent, None, Ground::Local, BY),
            Verdict::Gone(Grounds::Absent)
        );
        assert!(!judge(&absent, None, Ground::NetworkFiles, BY).is_gone());
        let elsewhere = Holder {
            host: Some("else".into()),
            ..absent
        };
        assert!(!judge(&elsewhere, None, Ground::Local, BY).is_gone());
        let vouched_for = Holder {
            source: Source::Server,
            ..claim_of(u32::MAX >> 1, now)
        };
        assert_eq!(judge(&vouched_for, None, Ground::Local, BY), Verdict::Alive);
        assert!(!judge(&Holder::unknown(Source::Record), None, Ground::Local, BY).is_gone());
        // Nobody bears that number on Windows.
        #[cfg(unix)]
        assert_eq!(
            judge(&claim_of(1, now), None, Ground::Local, BY),
            Verdict::Alive
        );
    }

    #[test]
    fn our_own_number_is_dead_only_if_we_do_not_hold_it_and_are_younger() {
        let own = process::own_pid();
        let before_us = SystemTime::UNIX_EPOCH;
        assert_eq!(
            judge(&claim_of(own, before_us), None, Ground::Local, BY),
            Verdict::Gone(Grounds::Predecessor)
        );
        assert_eq!(
            judge(
                &claim_of(own, before_us),
                None,
                Ground::Local,
                Judge { holds: true, ..BY }
            ),
            Verdict::Alive
        );
        assert_eq!(
            judge(&claim_of(own, SystemTime::now()), None, Ground::Local, BY),
            Verdict::Alive
        );
    }

    // What starts it is known to have started it.
    #[cfg(unix)]
    #[test]
    fn neither_does_anybody_wait_for_the_process_in_whose_name_it_would_claim() {
        let party = std::os::unix::process::parent_id();
        let old = claim_of(party, SystemTime::UNIX_EPOCH);
        let in_its_name = Judge {
            party: Party::process(party),
            ..BY
        };
        let verdict = judge(&old, None, Ground::Local, in_its_name);
        assert_eq!(verdict, Verdict::Gone(Grounds::Predecessor));
        let verdict = judge(&old, None, Ground::Local, BY);
        assert!(matches!(verdict, Verdict::Younger { .. }), "{verdict}");
        let new = claim_of(party, SystemTime::now());
        let verdict = judge(&new, None, Ground::Local, in_its_name);
        assert_eq!(verdict, Verdict::Alive);
    }

    #[test]
    fn a_policy_allows_no_more_than_it_says() {
        let old = Some(SystemTime::UNIX_EPOCH);
        let gone = Verdict::Gone(Grounds::Absent);
        let younger = Verdict::Younger {
            started: SystemTime::now(),
            claimed: SystemTime::UNIX_EPOCH,
        };
        let hour = Stale::After(Duration::from_secs(3600));
        let table = [
            (Stale::Never, [false, false, false]),
            (Stale::Dead, [true, false, false]),
            (Stale::Likely, [true, true, false]),
            (hour, [true, true, true]),
            (Stale::Force, [true, true, true]),
        ];
        for (policy, expected) in table {
            let allowed = [gone, younger, Verdict::Alive].map(|v| policy.allows(&v, old));
            assert_eq!(allowed, expected, "{policy:?}");
        }
        assert!(!hour.allows(&Verdict::Alive, Some(SystemTime::now())));
        assert!(!hour.allows(&Verdict::Alive, None));
    }
}
