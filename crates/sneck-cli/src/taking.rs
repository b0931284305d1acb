//! Taking a lock, as `sneck run` and `sneck acquire` do: the wait, the line that is shown meanwhile, and what is worth saying ([`Teller`], `sneck wait` too).
//!
//! Not for: what is done with the lock afterwards.

use crate::exit::Exit;
use crate::plan::{LeaseWish, Taking};
use crate::waiting::{Verbosity, WaitingLine, tell};
use sneck::protocol::Removal;
use sneck::{
    Error, Event, Guard, Lock, LockBuilder, Mode, Party, Place, Registry, Requirement, Verdict,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Acquire it in the name of this party.
pub(crate) fn take(taking: &Taking, party: Party, registry: &Registry) -> Result<Guard, Error> {
    let builder = || Lock::builder().timeout(taking.timeout).stale(taking.stale);
    let lock = |builder: LockBuilder| {
        let each = (taking.mode, &taking.required);
        all(&taking.locks, each, taking.lease, registry, builder)
    };
    let teller = Teller::new(taking.verbosity, lock(builder())?);
    let result = lock(builder().party(party).observer(teller.observer()))?.acquire();
    teller.end();
    result
}

/// The locks at these places as one: each in this mode and able to promise this, the whole leased for so long.
pub(crate) fn all(
    places: &[Place],
    (mode, required): (Mode, &Vec<Requirement>),
    lease: LeaseWish,
    registry: &Registry,
    mut whole: LockBuilder,
) -> Result<Lock, Error> {
    let made = |place: &Place| {
        let one = Lock::builder().mode(mode).require(required.iter().copied());
        one.registry(registry).at(place)
    };
    let locks: Vec<Lock> = places.iter().map(made).collect::<Result<_, _>>()?;
    if let Some(ttl) = lease.ttl {
        whole = whole.ttl(ttl);
    }
    if let Some(delay) = lease.delay {
        whole = whole.lock_delay(delay);
    }
    whole.all(locks)
}

/// It was not acquired: say why, as far as anybody wants to know.
pub(crate) fn refused(taking: &Taking, error: &Error) -> Exit {
    if !error.is_held() {
        tell(&format!("sneck: {error}"));
        return Exit::from(error);
    }
    if taking.verbosity != Verbosity::Quiet {
        tell(&format!("sneck: {error}"));
    }
    taking.held
}

/// Tells people what happens on the way to the lock.
pub(crate) struct Teller {
    verbosity: Verbosity,
    /// All that can be in the way: each part, and the whole.
    onlookers: Vec<Lock>,
    /// The one that is.
    way: Arc<Mutex<Place>>,
    said: Mutex<Said>,
}

#[derive(Default)]
struct Said {
    line: Option<WaitingLine>,
    /// The claim whose removal was told last, and how that went: a claim that cannot be removed is tried again and again.
    removal: Option<((u64, u64), Removal)>,
}

impl Teller {
    /// `whole` is asked who holds it, and each of its parts.
    pub(crate) fn new(verbosity: Verbosity, whole: Lock) -> Arc<Teller> {
        let way = whole.place().clone();
        Arc::new(Teller {
            verbosity,
            onlookers: whole.parts().into_iter().chain([whole]).collect(),
            way: Arc::new(Mutex::new(way)),
            said: Mutex::default(),
        })
    }

    /// What tells it what happens.
    pub(crate) fn observer(self: &Arc<Teller>) -> impl Fn(&Event<'_>) + Send + Sync + 'static {
        let teller = self.clone();
        move |event| teller.hear(event)
    }

    /// The wait is over: stderr belongs to others.
    pub(crate) fn end(&self) {
        drop(self.said().line.take());
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, event: &Event<'_>) {
        let mut said = self.said();
        match event {
            Event::Waiting { place, .. } => {
                locked(&self.way).clone_from(place);
                let (way, onlookers) = (self.way.clone(), self.onlookers.clone());
                let look = move || {
                    let way = locked(&way).clone();
                    let onlooker = onlookers.iter().find(|lock| *lock.place() == way);
                    let holders = onlooker.map(holders).unwrap_or_default();
                    (way.to_string(), holders)
                };
                let new = || WaitingLine::new(self.verbosity, look);
                said.line.get_or_insert_with(new);
            }
            Event::Breaking { mark, removal, .. } => {
                let this = Some((mark.inode, *removal));
                if std::mem::replace(&mut said.removal, this) == this {
                    return;
                }
            }
            _ => {}
        }
        if let Some(news) = news(event, self.verbosity) {
            match &said.line {
                Some(line) => line.note(news),
                None => tell(&news),
            }
        }
    }
}

fn locked(way: &Mutex<Place>) -> MutexGuard<'_, Place> {
    way.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who holds it, for the line that is shown while waiting.
fn holders(lock: &Lock) -> String {
    let seen = lock.holder();
    let holders = seen.as_ref().map(|s| s.holders()).unwrap_or_default();
    holders
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// What is worth a line of its own.
fn news(event: &Event<'_>, verbosity: Verbosity) -> Option<String> {
    match event {
        // Its holder is just releasing it, or another one breaks it. If that does not end, the refusal says so.
        Event::Breaking {
            removal: Removal::Changed | Removal::BreakerBusy,
            ..
        } if verbosity != Verbosity::Verbose => None,
        Event::Breaking {
            place,
            holder,
            verdict,
            removal,
            ..
        } if verbosity != Verbosity::Quiet => {
            let (stale, by_force) = match (is_robbery(verdict), removal) {
                (true, Removal::Removed) => ("", " by force"),
                (true, _) => ("", ""),
                (false, _) => ("stale ", ""),
            };
            Some(format!(
                "sneck: {place}: {stale}claim of {holder}, {verdict}: {removal}{by_force}"
            ))
        }
        Event::Polling { place, why } if verbosity != Verbosity::Quiet => Some(format!(
            "sneck: {place}: {why}; trying again and again instead"
        )),
        Event::Waiting { place, .. } if verbosity == Verbosity::Verbose => {
            Some(format!("sneck: {place}: held by somebody else, waiting"))
        }
        Event::Acquired { place, .. } if verbosity == Verbosity::Verbose => {
            Some(format!("sneck: {place}: acquired"))
        }
        _ => None,
    }
}

/// Whether a claim so judged is removed for its age or by force, and not because it is stale.
pub(crate) fn is_robbery(verdict: &Verdict) -> bool {
    !matches!(verdict, Verdict::Gone(_) | Verdict::Younger { .. })
}
