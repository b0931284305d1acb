//! Whoever holds a lock and acquires it again: another guard of the same holding, or an error rather than a wait that never ends.
//!
//! Of several locks that are taken as one, holding a part counts: at the lines of its parts a stack is inside as well (`queue.rs`).
//!
//! Not for: those who wait their turn (`queue.rs`).

use crate::claim::Mode;
use crate::error::{Error, ErrorKind, Result};
use crate::guard::{Guard, Holding};
use crate::lock::Handle;
use crate::place::Place;
use crate::queue::{self, Acquirer};
use std::sync::Arc;

/// Another guard of what this acquirer holds. None: it holds nothing of it, or nothing that is in its own way.
pub(super) fn enter(handle: &Handle, acquirer: Acquirer) -> Result<Option<Guard>> {
    let asked = handle.settings.mode;
    if handle.parts.is_empty() {
        let Some((holding, mode)) = queue::held_by(&handle.identity, acquirer) else {
            return Ok(None);
        };
        suffices(mode, asked)?;
        return Ok(holding.enter_again());
    }
    let held: Vec<Option<(Arc<Holding>, Mode)>> = handle
        .parts
        .iter()
        .map(|part| queue::held_by(&part.lock, acquirer))
        .collect();
    if let Some(holding) = one_for_all(&held) {
        for (part, held) in handle.parts.iter().zip(&held) {
            let mode = held.as_ref().map_or(part.mode, |(_, mode)| *mode);
            suffices(mode, part.mode)?;
        }
        return Ok(holding.enter_again());
    }
    match stands_in_its_own_way(handle, acquirer) {
        None => Ok(None),
        Some(place) => {
            let what = "its owner (usually this thread) holds this one of several locks already: the others cannot be added to that holding, and waiting would never end";
            Err(Error::new(ErrorKind::Reentrant, "acquire", what)
                .at(&place)
                .advise("release the first guard, or acquire all of them at once to begin with"))
        }
    }
}

/// The holding that all of them are parts of.
fn one_for_all(held: &[Option<(Arc<Holding>, Mode)>]) -> Option<&Arc<Holding>> {
    let (first, _) = held.first()?.as_ref()?;
    let same = |held: &Option<(Arc<Holding>, Mode)>| {
        held.as_ref().is_some_and(|(h, _)| Arc::ptr_eq(h, first))
    };
    held.iter().all(same).then_some(first)
}

fn suffices(held: Mode, asked: Mode) -> Result<()> {
    if asked == Mode::Exclusive && held == Mode::Shared {
        let what = "it is held shared already, by the same owner, and asked for exclusively";
        return Err(Error::new(ErrorKind::Reentrant, "acquire", what)
            .advise("release the shared guard first"));
    }
    Ok(())
}

/// The part that this acquirer holds, and for which it would wait. Of a lock that is one, the line knows.
pub(super) fn stands_in_its_own_way(handle: &Handle, acquirer: Acquirer) -> Option<Place> {
    let own = |part: &queue::Part| queue::keeps_out(&part.lock, acquirer, part.mode);
    let index = handle.parts.iter().position(own)?;
    Some(handle.protocol.parts().get(index)?.place().clone())
}

/// Waiting for it would never end.
pub(super) fn reentrant() -> Error {
    let what =
        "its owner (usually this thread) holds the lock already: waiting for it would never end";
    Error::new(ErrorKind::Reentrant, "acquire", what)
        .advise("release it first, or choose the policy `wait` or `idempotent` for re-entry")
}
