//! The two families of kernel locks on one file, flock(2) and fcntl(2): neither sees the other, so whoever looks at a lock by one of them is told who holds the
//! file by the other.
//!
//! Not for: locking by both (`flock+fcntl:`), and who holds a lock by its own protocol.

use crate::advice;
use sneck::inspect::{Holding, Inspection, Kind};
use sneck::{Holder, Place, Sighting};

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

/// Whether a protocol locks by one of the two.
pub(crate) fn is_one(protocol: &str) -> bool {
    ["flock", "fcntl"].contains(&protocol)
}

/// Whether a holding is one of this protocol, of those two.
pub(crate) fn is_of(protocol: &str, kind: Kind) -> bool {
    match protocol {
        "flock" => kind == Kind::Flock,
        "fcntl" => kind.sees(Kind::Posix),
        _ => false,
    }
}

/// None: nobody does, as far as can be seen, or the place is no kernel lock.
pub(crate) fn unseen(place: &Place, seen: &Sighting, all: &Inspection) -> Option<Unseen> {
    let (family, other) = match place.scheme() {
        "flock" => ("flock", "fcntl"),
        "fcntl" => ("fcntl", "flock"),
        _ => return None,
    };
    // One who cannot be named may have both.
    let may_be_the_same = |holder: &Holder| holder.pid.is_none();
    let is_veiled = match seen {
        Sighting::Held { holders, .. } => holders.iter().any(may_be_the_same),
        Sighting::Unknown { .. } => true,
        _ => false,
    };
    if is_veiled {
        return None;
    }
    let by_the_other = |holding: &&Holding| is_of(other, holding.kind);
    let mut holders: Vec<Holder> = Vec::new();
    for holding in all.holdings.iter().filter(by_the_other) {
        for keeper in &holding.keepers {
            // One who holds it by both excludes both, and so do those who inherited from it what holds the lock.
            let same = |own: &Holder| own.pid.is_some() && own.pid == keeper.holder.pid;
            let is_held = !seen.holders().is_empty();
            if seen.holders().iter().any(same) || is_held && may_be_the_same(&keeper.holder) {
                return None;
            }
            if !holders.iter().any(same) {
                let mut holder = keeper.holder.clone();
                holder.protocol = Some(other);
                holders.push(holder);
            }
        }
    }
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
