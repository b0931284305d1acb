//! The two families of kernel locks on one file, flock(2) and fcntl(2): neither sees the other, so whoever looks at a lock by one of them is told who holds the
//! file by the other.
//!
//! Not for: locking by both (`flock+fcntl:`), and who holds a lock by its own protocol.

use crate::advice;
use sneck::{Holder, Lock, Place, Registry, Sighting};

/// The name under which both are taken as one.
const BOTH: &str = "flock+fcntl";

/// Those who hold the file by the other family alone.
#[derive(Debug)]
pub(crate) struct Unseen {
    family: &'static str,
    other: &'static str,
    holders: Vec<Holder>,
    both: Place,
}

/// None: nobody does, as far as can be seen, or the place is no kernel lock.
pub(crate) fn unseen(place: &Place, seen: &Sighting, registry: &Registry) -> Option<Unseen> {
    let (family, other) = match place.scheme() {
        "flock" => ("flock", "fcntl"),
        "fcntl" => ("fcntl", "flock"),
        _ => return None,
    };
    let there = Place::file(other, place.rest());
    // What cannot be seen of the other family changes nothing about the lock that was asked for.
    let there = Lock::builder().registry(registry).at(&there).ok()?;
    let there = there.holder().ok()?;
    let others = there.holders().iter().filter(|h| h.protocol.is_none());
    // One who holds it by both excludes both, and so do those who inherited from it what holds the lock: of these the kernel names some by one family only.
    let has_both = |holder: &Holder| {
        let same = |own: &Holder| own.pid.is_some() && own.pid == holder.pid;
        seen.holders().iter().any(same)
    };
    if others.clone().any(has_both) {
        return None;
    }
    let holders: Vec<Holder> = others
        .cloned()
        .map(|mut holder| {
            holder.protocol = Some(other);
            holder
        })
        .collect();
    (!holders.is_empty()).then(|| Unseen {
        family,
        other,
        holders,
        both: Place::file(BOTH, place.rest()),
    })
}

impl Unseen {
    /// Who, each with the protocol.
    pub(crate) fn holders(&self) -> &[Holder] {
        &self.holders
    }

    /// Who, and what that means.
    pub(crate) fn words(&self) -> String {
        let names = self.holders.iter().map(Holder::to_string);
        format!(
            "the same file is locked by {}: {} and {} locks do not see each other",
            names.collect::<Vec<_>>().join("; "),
            self.family,
            self.other
        )
    }

    /// What to do about it.
    pub(crate) fn advice(&self) -> String {
        format!("`{}` excludes both", advice::typed(&self.both))
    }
}
