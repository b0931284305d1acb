//! Taking a lock, as `sneck run` and `sneck acquire` do: the wait, the line that is shown meanwhile, and what is worth saying ([`Teller`], `sneck wait` too).
//!
//! Not for: what is done with the lock afterwards.

use crate::exit::Exit;
use crate::plan::Taking;
use crate::waiting::{Verbosity, WaitingLine, tell};
use sneck::protocol::Removal;
use sneck::{Error, Event, Guard, Lock, Party, Registry, Verdict};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Acquire it in the name of this party.
pub(crate) fn take(taking: &Taking, party: Party, registry: &Registry) -> Result<Guard, Error> {
    let builder = || {
        Lock::builder()
            .registry(registry)
            .mode(taking.mode)
            .timeout(taking.timeout)
            .stale(taking.stale)
    };
    let teller = Teller::new(taking.verbosity, builder().at(&taking.place)?);
    let lock = builder()
        .party(party)
        .observer(teller.observer())
        .at(&taking.place)?;
    let result = lock.acquire();
    teller.end();
    result
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
    onlooker: Lock,
    said: Mutex<Said>,
}

#[derive(Default)]
struct Said {
    line: Option<WaitingLine>,
    /// The claim whose removal was told last, and how that went: a claim that cannot be removed is tried again and again.
    removal: Option<((u64, u64), Removal)>,
}

impl Teller {
    /// `onlooker` is asked who holds it.
    pub(crate) fn new(verbosity: Verbosity, onlooker: Lock) -> Arc<Teller> {
        Arc::new(Teller {
            verbosity,
            onlooker,
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
            Event::Waiting { place, .. } if said.line.is_none() => {
                let onlooker = self.onlooker.clone();
                let line = WaitingLine::new(self.verbosity, place.to_string(), move || {
                    holders(&onlooker)
                });
                said.line = Some(line);
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
