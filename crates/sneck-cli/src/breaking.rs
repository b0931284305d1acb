//! `sneck break`: removes stale claims, or by force any, and says whose and on what grounds.

use crate::advice;
use crate::exit::Exit;
use crate::plan::Break;
use crate::taking::is_robbery;
use crate::waiting::{Verbosity, tell};
use sneck::protocol::Removal;
use sneck::{Cleared, Error, Holder, Lock, Place, Registry, Sighting, Stale, Verdict};
use std::io::{self, Write};

/// Break each; the exit code is the worst of them, and messages have been given: on stdout what is free now, on stderr what is not.
pub(crate) fn break_locks(plan: &Break, registry: &Registry) -> Exit {
    let exits = plan.locks.iter().map(|place| {
        let cleared = Lock::builder()
            .registry(registry)
            .stale(plan.stale)
            .at(place)
            .and_then(|lock| lock.break_stale());
        report(plan, place, cleared)
    });
    Exit::worst(exits.collect::<Vec<_>>())
}

fn report(plan: &Break, place: &Place, cleared: Result<Cleared, Error>) -> Exit {
    let (words, exit) = match cleared {
        Ok(Cleared::Free) => ("is free".to_owned(), Exit::Ok),
        Ok(Cleared::Removed { holder, verdict }) => {
            let how = match is_robbery(&verdict) {
                true => "removed by force the claim",
                false => "removed the stale claim",
            };
            let words = format!("{how} of {holder}, {verdict}");
            (words, Exit::Ok)
        }
        Ok(Cleared::Left {
            seen,
            verdict,
            removal,
        }) => left(plan.stale, place, &seen, verdict.as_ref(), removal),
        Ok(_) => ("left alone".to_owned(), Exit::HELD),
        Err(error) => {
            // The error names the lock itself.
            tell(&format!("sneck: {error}"));
            return Exit::from(&error);
        }
    };
    let quiet = plan.verbosity == Verbosity::Quiet;
    match exit {
        Exit::Ok if quiet => {}
        // A reader that went away is no reason to leave the rest of the locks.
        Exit::Ok => drop(writeln!(io::stdout(), "{place}: {words}")),
        Exit::Held(_) if quiet => {}
        _ => tell(&format!("sneck: {place}: {words}")),
    }
    exit
}

/// Why it was left alone.
fn left(
    policy: Stale,
    place: &Place,
    seen: &Sighting,
    verdict: Option<&Verdict>,
    removal: Option<Removal>,
) -> (String, Exit) {
    let names = seen.holders().iter().map(Holder::to_string);
    let names = names.collect::<Vec<_>>().join("; ");
    let of = match names.as_str() {
        "" => String::new(),
        names => format!(" of {names}"),
    };
    let judged = match verdict {
        Some(verdict) => format!(", {verdict}"),
        None => String::new(),
    };
    let (words, exit) = match (seen, removal) {
        (_, Some(Removal::NotAllowed)) => {
            let words = format!(
                "left the claim{of}{judged}: there is no right to remove it here; ask the owner of the folder"
            );
            return (words, Exit::NoPermission);
        }
        (_, Some(removal)) => {
            let words = format!("left the claim{of}{judged}: {removal}; try again");
            return (words, Exit::HELD);
        }
        (Sighting::Damaged { what, .. }, None) => {
            (format!("left, damaged: {what}"), Exit::NotALock)
        }
        (Sighting::Unknown { why }, None) => {
            (format!("left, it cannot be seen: {why}"), Exit::HELD)
        }
        (_, None) if verdict.is_some_and(Verdict::is_gone) && policy == Stale::Never => {
            let words = format!("left the stale claim{of}{judged}: --stale never");
            return (words, Exit::HELD);
        }
        (_, None) => (format!("left, held by {names}{judged}"), Exit::HELD),
    };
    match advice::about(place, seen, verdict) {
        Some(advice) => (format!("{words}; {advice}"), exit),
        None => (words, exit),
    }
}
