//! How a stack is written: which locks may stand together, and what a `+` in a place means.
//!
//! `flock+fcntl:path`: both families of kernel locks lock PATH itself, which excludes every program of either. `fcntl+dotlock:path`,
//! `flock+pidfile:path`: a claim that comes and goes cannot stand at the very name of the file that is locked and stays. It stands at PATH.lock, as mail software
//! has it (the mailbox is locked, the dotlock is beside it) and pylockfile.
//!
//! Not for: taking them (`stack.rs`).

use super::{Part, Stack};
use crate::error::{Error, ErrorKind, Result};
use crate::place::{DEFAULT_SCHEME, Place, Registry};
use crate::protocol::{Ground, Protocol, Reach, Removable};
use crate::sys::Families;
use crate::sys::file::FAMILIES;
use std::ffi::OsString;
use std::sync::Arc;

/// Between the names of protocols in a place.
pub(crate) const LINK: char = '+';

const TWO_LOCKS: &str = "name each of them as a lock of its own: several LOCKs before `--` of `sneck run`, or `Lock::all`";

/// The stack at a place with a `+` in its protocol's name.
pub(crate) fn at(place: &Place, registry: &Registry) -> Result<Arc<dyn Protocol>> {
    let names: Vec<&str> = place.scheme().split(LINK).collect();
    let mut parts = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            let what = format!("protocol {name} is named twice");
            return Err(usage(place, what).advise("name it once"));
        }
        parts.push((*name, None));
    }
    // The usual one last: what is written for a server may hold a password, which messages of the others hide.
    parts.sort_by_key(|(name, _)| *name == DEFAULT_SCHEME);
    let made = |name: &str, rest: OsString| {
        let part = Place::file(name, rest);
        registry.protocol(&part).map_err(|e| e.at(place))
    };
    let (mut kernel, mut claim) = (None, None);
    for (name, protocol) in &mut parts {
        let made = made(name, place.rest().to_owned())?;
        let can = made.capabilities();
        if can.reach != Reach::Machine {
            let what = format!("a lock of protocol {name} does not stand at a path");
            return Err(usage(place, what).advise(TWO_LOCKS));
        }
        match can.removal {
            Removable::No => kernel = Some(*name),
            Removable::Yes => {
                if let Some(other) = claim.replace(*name) {
                    let what = format!("{other} and {name} would want the same name");
                    return Err(usage(place, what).advise(TWO_LOCKS));
                }
            }
        }
        *protocol = Some(made);
    }
    if let (Some(_), Some(claim)) = (kernel, claim) {
        let mut beside = place.rest().to_owned();
        beside.push(".lock");
        for (name, protocol) in parts.iter_mut().filter(|(name, _)| *name == claim) {
            *protocol = Some(made(name, beside.clone())?);
        }
    }
    parts.sort_by_key(|(name, _)| names.iter().position(|n| n == name));
    let parts = parts.into_iter().filter_map(|(_, protocol)| protocol);
    Ok(Arc::new(Stack::new(place.clone(), parts)?))
}

/// Whether these can be held at once. What cannot would wait for itself for ever.
pub(super) fn check(place: &Place, parts: &[Part]) -> Result<()> {
    let parts = flat(parts);
    if parts.is_empty() {
        return Err(usage(place, "there is no lock to take".into()).advise("name one at least"));
    }
    for (index, part) in parts.iter().enumerate() {
        let identity = part.identity();
        for other in &parts[..index] {
            let same = other.identity();
            if same == identity {
                let what = format!("{} and {} are the same lock", other.place(), part.place());
                return Err(usage(place, what).advise("name it once"));
            }
            if let (Some(name), Some(same)) = (
                name_in_folder(&**part, &identity),
                name_in_folder(&**other, &same),
            ) {
                if name == same {
                    can_share(place, &**other, &**part)?;
                }
            }
        }
    }
    Ok(())
}

/// Two of one path.
fn can_share(place: &Place, first: &dyn Protocol, second: &dyn Protocol) -> Result<()> {
    let claims = |part: &dyn Protocol| part.capabilities().removal == Removable::Yes;
    if claims(first) || claims(second) {
        let what = format!(
            "{} and {} would want the same name",
            first.place(),
            second.place()
        );
        return Err(usage(place, what).advise("give each of them a path of its own"));
    }
    // The second one would wait for the first.
    let (what, advice) = if FAMILIES == Families::AsOne {
        let what = "on this system flock(2) and fcntl(2) locks exclude each other: both would be one lock, which excludes itself";
        (
            what,
            "use `flock` alone: here it excludes the programs of both",
        )
    } else if first.ground() == Ground::NetworkFiles {
        let what = "on a network file system flock(2) is made of fcntl(2) locks: both would be one lock, which excludes itself";
        (what, "use `fcntl` alone there")
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Unsupported, "read the place", what)
        .at(place)
        .advise(advice))
}

/// The folder and name of a lock of this machine: its identity without the protocol's name.
fn name_in_folder<'a>(part: &dyn Protocol, identity: &'a str) -> Option<&'a str> {
    let (_, name) = identity.split_once(':')?;
    (part.capabilities().reach == Reach::Machine).then_some(name)
}

/// All parts, those of parts too.
pub(super) fn flat(parts: &[Part]) -> Vec<Arc<dyn Protocol>> {
    let mut all = Vec::with_capacity(parts.len());
    for part in parts {
        let within = part.protocol.parts();
        if within.is_empty() {
            all.push(part.protocol.clone());
        }
        all.extend(within);
    }
    all
}

fn usage(place: &Place, what: String) -> Error {
    Error::new(ErrorKind::Usage, "read the place", what).at(place)
}
