//! `sneck acquire`: a claim that is made in another process's name and left there, for scripts.
//!
//! The claim lasts until `sneck release` removes it or that process ends, whichever comes first; then it is stale and the next one removes it. Not for:
//! locks that end with whoever took them (kernel locks, servers). Those are refused before anything is taken.

use crate::advice;
use crate::exit::Exit;
use crate::plan::Acquire;
use crate::sys::{self, Bearer};
use crate::taking;
use sneck::protocol::{Crash, Removable};
use sneck::{Error, ErrorKind, Lock, Party, Place, Registry, Stale, Timeout, Verdict};

/// Acquire it and leave it; the exit code says how that went, and messages have been given.
pub(crate) fn acquire(plan: &Acquire, registry: &Registry) -> Exit {
    match take_and_leave(plan, registry) {
        Ok(()) => Exit::Ok,
        Err(error) => taking::refused(&plan.taking, &error),
    }
}

fn take_and_leave(plan: &Acquire, registry: &Registry) -> Result<(), Error> {
    let place = &plan.taking.place;
    let builder = Lock::builder().registry(registry);
    let builder = builder.require(plan.taking.required.iter().copied());
    let lock = builder.at(place)?;
    can_be_left(&lock)?;
    is_a_process(plan.pid, place)?;
    waits_for_another(plan, &lock)?;
    let guard = taking::take(&plan.taking, Party::process(plan.pid), registry)?;
    // It may have ended during the wait: then nobody is left to release it. Dropping the guard does.
    is_a_process(plan.pid, place)?;
    guard.ensure_held()?;
    guard.leave()
}

/// Whether a claim at this place outlives the process that makes it, and can be removed by another one.
pub(crate) fn can_be_left(lock: &Lock) -> Result<(), Error> {
    let ends = |part: &Lock| {
        let can = part.capabilities();
        can.crash == Crash::Free || can.removal == Removable::No
    };
    let Some(part) = lock.parts().into_iter().find(ends) else {
        return Ok(());
    };
    let what = format!(
        "a lock of protocol {} ends with the process that took it and cannot be left behind",
        part.place().scheme()
    );
    Err(Error::new(ErrorKind::Unsupported, "acquire", what)
        .at(lock.place())
        .advise(
            "run the work under it with `sneck run`, or use a file protocol such as `pidfile:`",
        ))
}

fn is_a_process(pid: u32, place: &Place) -> Result<(), Error> {
    let what = match sys::bearer(pid) {
        // Where it cannot be told, it is not for us to doubt it.
        Bearer::Process | Bearer::Unknown => return Ok(()),
        Bearer::Nobody => format!("there is no process {pid} to hold it"),
        Bearer::Thread => format!("{pid} is the number of a thread, not of a process"),
    };
    Err(Error::new(ErrorKind::Usage, "acquire", what)
        .at(place)
        .advise(format!("nothing was made; {}", sys::OWN_PID)))
}

/// A script that acquires twice would wait for itself.
fn waits_for_another(plan: &Acquire, lock: &Lock) -> Result<(), Error> {
    if plan.taking.timeout == Timeout::Once || plan.taking.stale == Stale::Force {
        return Ok(());
    }
    let seen = lock.holder()?;
    let own = seen
        .holders()
        .iter()
        .any(|h| h.pid == Some(plan.pid) && h.host.is_none() && h.protocol.is_none());
    if !own || lock.verdict(&seen) != Some(Verdict::Alive) {
        return Ok(());
    }
    let what = "busy: the process that is to hold it holds it already";
    Err(Error::new(ErrorKind::Busy, "acquire", what)
        .at(lock.place())
        .held_by(seen.holders().to_vec())
        .advise(format!(
            "waiting would never end; to release it: `sneck release --pid {} {}`",
            plan.pid,
            advice::typed(lock.place())
        )))
}
