//! What is seen at several places at once, as one sighting.
//!
//! Not for: acting on it. What one part shows is judged and removed as that part's; this is for people who look.

use super::Part;
use crate::error::Result;
use crate::holder::Holder;
use crate::protocol::{Mark, Sighting};

/// Look at all. What keeps the whole from being taken is not hidden by what is free: something that is no lock comes first, since
/// that does not end by waiting, then whoever holds, then what makes no sense, then what cannot be seen.
pub(super) fn all(parts: &[Part]) -> Result<Sighting> {
    let mut seen = Vec::with_capacity(parts.len());
    for part in parts {
        let place = part.protocol.place();
        let sighting = part.protocol.inspect().map_err(|e| e.at(place))?;
        seen.push((place.to_string(), sighting));
    }
    Ok(merged(seen))
}

/// What was seen at each place, as it is shown.
pub(super) fn merged(seen: Vec<(String, Sighting)>) -> Sighting {
    let (mut foreign, mut damaged, mut unknown) = (None, None, None);
    let (mut held, mut marks) = (None::<Vec<Holder>>, Vec::new());
    for (place, sighting) in seen {
        match sighting {
            Sighting::Free => {}
            Sighting::Foreign { what } => {
                foreign.get_or_insert(Sighting::Foreign {
                    what: format!("{what} at {place}"),
                });
            }
            Sighting::Held { holders, mark } => {
                let all = held.get_or_insert_default();
                holders.into_iter().for_each(|holder| add(all, holder));
                marks.push(mark);
            }
            Sighting::Damaged { what, mark } => {
                // The whole is freed by removing it only if nothing else is in the way.
                let mark = mark.filter(|_| damaged.is_none());
                damaged = Some(Sighting::Damaged {
                    what: format!("{place}: {what}"),
                    mark,
                });
            }
            Sighting::Unknown { why } => {
                unknown.get_or_insert(Sighting::Unknown {
                    why: format!("{place}: {why}"),
                });
            }
        }
    }
    let held = held.map(|holders| Sighting::Held {
        mark: only(&holders, marks),
        holders,
    });
    foreign
        .or(held)
        .or(damaged)
        .or(unknown)
        .unwrap_or(Sighting::Free)
}

/// The one claim that would have to be removed, if there is one and its holder is the only one.
fn only(holders: &[Holder], marks: Vec<Option<Mark>>) -> Option<Mark> {
    let mut marks = marks.into_iter().flatten();
    let mark = marks.next().filter(|_| holders.len() == 1)?;
    marks.next().is_none().then_some(mark)
}

/// One more holder. The same process at several parts is one, and what tells more of it counts.
fn add(all: &mut Vec<Holder>, holder: Holder) {
    let is_same = |other: &&mut Holder| {
        other.pid.is_some()
            && (other.pid, &other.host, other.protocol)
                == (holder.pid, &holder.host, holder.protocol)
    };
    match all.iter_mut().find(is_same) {
        Some(known) if known.since.is_none() && holder.since.is_some() => *known = holder,
        Some(_) => {}
        None => all.push(holder),
    }
}
