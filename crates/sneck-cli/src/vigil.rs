//! `sneck wait`: until locks are free, without taking them.
//!
//! Not for: the waiting itself (`sneck::Lock::until_free`), and what is said meanwhile (`taking.rs`).

use crate::exit::Exit;
use crate::plan::Wait;
use crate::taking::Teller;
use crate::waiting::{Verbosity, tell};
use sneck::{Deadline, Error, ErrorKind, Lock, Place, Registry, Timeout};
use std::sync::Arc;

/// One of the locks.
struct Waited {
    lock: Lock,
    teller: Arc<Teller>,
}

/// Wait until one look found them all free; messages have been given.
pub(crate) fn wait(plan: &Wait, registry: &Registry) -> Exit {
    let locks = plan.locks.iter().map(|place| waited(plan, place, registry));
    let locks = match locks.collect::<Result<Vec<_>, _>>() {
        Ok(locks) => locks,
        Err(error) => return refused(plan, &[error]),
    };
    // One deadline, however many locks and rounds.
    let deadline = Deadline::from(plan.timeout);
    loop {
        let mut held = Vec::new();
        let mut errors = Vec::new();
        for waited in &locks {
            if let Err(error) = waited.lock.until_free(Timeout::Once) {
                held.push(waited);
                errors.push(error);
            }
        }
        if errors.is_empty() {
            if plan.verbosity == Verbosity::Verbose {
                plan.locks
                    .iter()
                    .for_each(|place| tell(&format!("sneck: {place}: free")));
            }
            return Exit::Ok;
        }
        // What no waiting helps is said at once, however long others are held.
        if plan.timeout == Timeout::Once || !errors.iter().all(may_pass) {
            return refused(plan, &errors);
        }
        for (at, waited) in held.iter().enumerate() {
            let free = waited.lock.until_free(deadline);
            waited.teller.end();
            if let Err(error) = free {
                // The time is over. The others that are still in the way are named too, those behind it as they are now.
                let others = held[at + 1..].iter();
                let others = others.filter_map(|o| o.lock.until_free(Timeout::Once).err());
                return refused(
                    plan,
                    &std::iter::once(error).chain(others).collect::<Vec<_>>(),
                );
            }
        }
        // Those that were waited for first may be held again by now: another look at all of them.
    }
}

fn waited(plan: &Wait, place: &Place, registry: &Registry) -> Result<Waited, Error> {
    let builder = || {
        let builder = Lock::builder().registry(registry).mode(plan.mode);
        builder.require(plan.required.iter().copied())
    };
    let teller = Teller::new(plan.verbosity, builder().at(place)?);
    let lock = builder().observer(teller.observer()).at(place)?;
    Ok(Waited { lock, teller })
}

/// Whether waiting helps. A claim that makes no sense may just be being written.
fn may_pass(error: &Error) -> bool {
    error.is_held() || error.kind() == ErrorKind::Damaged
}

fn refused(plan: &Wait, errors: &[Error]) -> Exit {
    for error in errors {
        if plan.verbosity != Verbosity::Quiet || !error.is_held() {
            tell(&format!("sneck: {error}"));
        }
    }
    Exit::worst(errors.iter().map(Exit::from))
}
