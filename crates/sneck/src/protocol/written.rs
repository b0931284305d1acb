//! What claim stands at an entry of a folder, whatever its protocol: known by kind and content, as each protocol knows its own.
//!
//! For: whoever finds claims without asking for one protocol's (`inspect/`), and whoever finds another one's in its way (`stranger.rs`). Not for: whether a file is *meant* as a claim, which
//! takes more than its content (`inspect/claims.rs`), or judging its holder.
//!
//! Nothing larger than a claim is read, nothing but regular files and directories is opened, and no link is followed.

use super::form::{Form, Found, Seen};
use super::record::{self, Reading};
use super::{file, labm8, mkdir, symlink};
use crate::holder::Holder;
use crate::sys::file::{Kind, Look};
use crate::text;
use std::ffi::OsStr;
use std::io;

pub(crate) use super::form::{CHANGING, Spot, unchanged};

/// What a look at an entry gave.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "one lives at a time, for an instant"
)]
pub(crate) enum Sight {
    /// No claim.
    None,
    /// It is not what was looked at any more.
    Changed,
    /// A claim, or what may be one.
    Claim(Written),
}

/// A claim that stands there.
#[derive(Debug)]
pub(crate) struct Written {
    /// By which protocol. `pidfile` stands for all whose claims look the same.
    pub(crate) protocol: &'static str,
    /// What it says.
    pub(crate) says: Says,
    /// How sure its form alone makes it that it is one.
    pub(crate) form: Likeness,
}

/// What a claim says.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "one lives at a time, for an instant"
)]
pub(crate) enum Says {
    /// Who holds.
    Holder(Holder),
    /// That somebody does, or, of a directory of ours, that it is half made or half removed.
    Nobody,
    /// It makes no sense (yet).
    Damaged(String),
}

/// How much like a claim something looks, name and times aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Likeness {
    /// It begins like one: so does much else.
    Loose,
    /// A bare number.
    Number,
    /// It says more than a number, in a form that nothing else has.
    Form,
}

/// What stands at the name, which was looked at just now. A file that is locked and empty, or has other content, is no claim.
pub(crate) fn see(spot: &Spot, look: &Look) -> io::Result<Sight> {
    match look.kind {
        Kind::Regular if (1..=file::LONGEST as u64).contains(&look.size) => see_file(spot, look),
        Kind::Symlink => see_link(spot, look),
        Kind::Directory => see_folder(spot, look),
        _ => Ok(Sight::None),
    }
}

fn see_file(spot: &Spot, look: &Look) -> io::Result<Sight> {
    let Some(content) = file::content(spot, look)? else {
        return Ok(Sight::Changed);
    };
    if content.is_empty() || content.len() > file::LONGEST {
        return Ok(Sight::None);
    }
    let (protocol, reading) = read(&content);
    let says = match reading {
        Reading::Holder(holder) => Says::Holder(holder),
        Reading::Nobody => Says::Nobody,
        Reading::Impossible => {
            let shown = text::clean(&String::from_utf8_lossy(&content[..content.len().min(40)]));
            Says::Damaged(format!("`{shown}` is no process number"))
        }
        Reading::Other => return Ok(Sight::None),
    };
    let form = match (&says, protocol) {
        (Says::Holder(holder), "labm8") => labm8::likeness(&content, holder),
        _ => record::likeness(&content),
    };
    Ok(Sight::Claim(Written {
        protocol,
        says,
        form,
    }))
}

/// What a content means, in the protocol that has most to say of it.
pub(super) fn read(content: &[u8]) -> (&'static str, Reading) {
    match labm8::read(content) {
        Reading::Other => ("pidfile", record::read(content)),
        reading => ("labm8", reading),
    }
}

fn see_link(spot: &Spot, look: &Look) -> io::Result<Sight> {
    let Some(seen) = symlink::Symlink.see(spot, look)? else {
        return Ok(Sight::Changed);
    };
    Ok(match seen {
        Seen::Claim(found) => {
            // A claim dangles. A link to a file that is called `12` is a link.
            let target = text_of(&found.content);
            let dangles = target.is_none_or(|t| !matches!(spot.folder.look(t), Ok(Some(_))));
            let form = if dangles {
                Likeness::Form
            } else {
                Likeness::Loose
            };
            claim("symlink", Says::Holder(found.holder), form)
        }
        Seen::Damaged(what, _) => claim("symlink", Says::Damaged(what), Likeness::Loose),
        _ => Sight::None,
    })
}

fn text_of(content: &[u8]) -> Option<&OsStr> {
    std::str::from_utf8(content).ok().map(OsStr::new)
}

fn see_folder(spot: &Spot, look: &Look) -> io::Result<Sight> {
    let Some(seen) = mkdir::Mkdir.see(spot, look)? else {
        return Ok(Sight::Changed);
    };
    Ok(match seen {
        Seen::Claim(Found { content, .. }) if content.is_empty() => {
            claim("mkdir", Says::Nobody, Likeness::Loose)
        }
        Seen::Claim(found) => claim("mkdir", Says::Holder(found.holder), Likeness::Form),
        _ => Sight::None,
    })
}

fn claim(protocol: &'static str, says: Says, form: Likeness) -> Sight {
    Sight::Claim(Written {
        protocol,
        says,
        form,
    })
}
