//! What an acquisition that ran out of time says: who is in the way, and what helps.
//!
//! Not for: when it gives up (`acquire.rs`).

use crate::error::{Error, ErrorKind};
use crate::holder::Holder;
use crate::protocol::{Modes, Protocol, Sighting};
use crate::stale::{self, Judge, Verdict};
use crate::timeout::Deadline;

/// The same sighting with the holders looked up. That the look found the lock free says only that it was too late.
pub(super) fn named(way: &dyn Protocol, seen: Sighting) -> Sighting {
    match &seen {
        Sighting::Held { holders, .. } if holders.is_empty() => match way.inspect() {
            Ok(looked @ Sighting::Held { .. }) => looked,
            _ => seen,
        },
        Sighting::Held { holders, mark } => {
            let holders = holders.iter().cloned().map(Holder::described).collect();
            Sighting::Held {
                holders,
                mark: mark.clone(),
            }
        }
        _ => seen,
    }
}

/// Asked for shared, where some part of it has only exclusive.
pub(super) fn no_shared_mode(protocol: &dyn Protocol) -> Error {
    let parts = protocol.parts();
    let only_exclusive =
        |part: &&std::sync::Arc<dyn Protocol>| part.capabilities().modes == Modes::Exclusive;
    let part = parts.iter().find(only_exclusive);
    Error::no_shared_mode(part.map_or(protocol.place(), |part| part.place()))
}

/// `seen` is in the way, and the time is over.
pub(super) fn refused(
    way: &dyn Protocol,
    seen: &Sighting,
    deadline: Deadline,
    obstacle: Option<&str>,
    judge: Judge,
) -> Error {
    if let Sighting::Damaged { what, .. } = seen {
        return Error::new(
            ErrorKind::Damaged,
            "acquire",
            format!("damaged claim: {what}"),
        )
        .at(way.place())
        .advise("if no program uses this lock, remove it by hand or by force");
    }
    let error = match deadline {
        Deadline::Once => Error::new(ErrorKind::Busy, "acquire", "busy"),
        _ => Error::new(ErrorKind::TimedOut, "acquire", "timed out"),
    };
    let error = error.at(way.place()).held_by(seen.holders().to_vec());
    if let Some(protocol) = seen.holders().iter().find_map(|h| h.protocol) {
        return error.advise(format!(
            "the claim that stands there is of protocol {protocol}: every party must use the same one"
        ));
    }
    let verdict = stale::judge_sighting(seen, way.ground(), judge)
        .filter(|v| matches!(v, Verdict::Gone(_) | Verdict::Younger { .. }));
    match (obstacle, verdict) {
        (Some(obstacle), _) => error.advise(obstacle),
        (None, Some(verdict)) => error.advise(format!(
            "its claim looks stale ({verdict}), but the policy does not allow removing it"
        )),
        (None, None) => error,
    }
}
