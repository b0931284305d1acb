//! What may stand where a lock should be, and what each protocol has to make of it: one table, for the tests of the library and of the
//! command.
//!
//! For: planting such things ([`things`]), what must come of them ([`Thing::met_by`]), and telling whether anybody touched them
//! ([`state`]). Not for: file systems, permissions and limits, which are not things that stand somewhere; nor for claims whose
//! holder is gone, which are judged and broken.
//!
//! All claims here are those of a process that always lives: [`sys::somebody`].

use crate::sys;
use std::fmt::Display;
use std::fs::{self, File};
use std::path::Path;

pub use sys::state;

/// The protocols that keep their claims in files, as far as this system has them.
pub fn protocols() -> Vec<&'static str> {
    ALL.to_vec()
}

/// Of these protocols, those that this system has, at least one.
///
/// # Panics
/// If it has none of them.
pub fn of_these(schemes: &[&'static str]) -> Vec<&'static str> {
    let mut here = schemes.to_vec();
    here.retain(|s| *s == "memory" || s.split('+').all(|part| ALL.contains(&part)));
    assert!(!here.is_empty(), "none of {schemes:?} is there");
    here
}

const ALL: &[&str] = sys::PROTOCOLS;
/// Those that lock a regular file in the kernel, whatever it holds.
const KERNEL: [&str; 2] = ["flock", "fcntl"];

/// Those whose claims name a process, so that they can be left behind by a dead one.
pub fn protocols_with_numbers() -> Vec<&'static str> {
    let mut all = protocols();
    all.retain(|scheme| !KERNEL.contains(scheme));
    all
}

/// Put a claim of this process there, as the other programs that speak the protocol write it: pid and nothing else where that is the custom, and no live
/// mark.
///
/// # Panics
/// If something stands there.
pub fn claim_of(scheme: &str, path: &Path, pid: impl Display) {
    assert!(
        fs::symlink_metadata(path).is_err(),
        "something stands there"
    );
    crate::claims::make(scheme, path, pid).expect("our own folder");
}

/// Something that stands at a lock's path.
#[derive(Debug)]
pub struct Thing {
    /// For messages of the tests.
    pub name: &'static str,
    plant: Plant,
    /// Whose claim it is. The first is what others call it.
    claim_of: &'static [&'static str],
    /// Who takes it for a claim of its own that makes no sense (yet).
    damage_to: &'static [&'static str],
    /// Who takes it for a claim of its own that names nobody. To the others it is no claim.
    anonymous_to: &'static [&'static str],
}

/// How it gets there.
#[derive(Debug)]
pub(crate) enum Plant {
    Folder,
    FolderWith(&'static str),
    File(&'static [u8]),
    /// Nothing but a hole, so large.
    Sparse(u64),
    /// What `symlink` would make, were its holder so called.
    Link(&'static str),
    /// A file that names a process.
    Number(fn(u32) -> Vec<u8>),
    /// A folder with one that does.
    FolderOf(fn(u32) -> String),
    /// A link to one.
    LinkTo,
    /// What only this system has.
    Special(fn(&Path)),
}

/// What must come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    /// It can be locked; its content is nobody's business.
    Lockable,
    /// No lock at all: refused at once, whoever waits.
    Foreign,
    /// Makes no sense yet: waited for, and an error at the deadline.
    Damaged,
    /// A claim of one of these protocols: busy.
    Busy(&'static [&'static str]),
    /// What a crash can leave: busy for a moment, then nothing.
    Remains,
}

impl Thing {
    /// What a protocol has to make of it.
    pub fn met_by(&self, scheme: &str) -> Met {
        let file = matches!(
            self.plant,
            Plant::File(_) | Plant::Sparse(_) | Plant::Number(_)
        );
        if KERNEL.contains(&scheme) && file {
            Met::Lockable
        } else if matches!(self.plant, Plant::Folder)
            && sys::EMPTY_FOLDERS_REMAIN_OF.contains(&scheme)
        {
            Met::Remains
        } else if self.damage_to.contains(&scheme) {
            Met::Damaged
        } else if self.anonymous_to.contains(&scheme) {
            Met::Busy(self.anonymous_to)
        } else if !self.claim_of.is_empty() {
            Met::Busy(self.claim_of)
        } else {
            Met::Foreign
        }
    }

    /// Put it there.
    ///
    /// # Panics
    /// If that does not work.
    pub fn plant(&self, path: &Path) {
        match self.plant {
            Plant::Folder => fs::create_dir(path).expect("our own folder"),
            Plant::FolderWith(name) => {
                fs::create_dir(path).expect("our own folder");
                fs::write(path.join(name), "").expect("our own folder");
            }
            Plant::File(content) => fs::write(path, content).expect("our own folder"),
            Plant::Sparse(size) => {
                let file = File::create(path).expect("our own folder");
                file.set_len(size).expect("a hole costs nothing");
            }
            Plant::Link(target) => sys::make_link(target, path).expect("our own folder"),
            Plant::Number(content) => {
                fs::write(path, content(sys::somebody())).expect("our own folder");
            }
            Plant::FolderOf(name) => {
                fs::create_dir(path).expect("our own folder");
                fs::write(path.join(name(sys::somebody())), "").expect("our own folder");
            }
            Plant::LinkTo => sys::make_link(sys::somebody(), path).expect("our own folder"),
            Plant::Special(make) => make(path),
        }
    }
}

pub(crate) const fn thing(name: &'static str, plant: Plant) -> Thing {
    Thing {
        name,
        plant,
        claim_of: &[],
        damage_to: &[],
        anonymous_to: &[],
    }
}

const fn claim(name: &'static str, plant: Plant, claim_of: &'static [&'static str]) -> Thing {
    Thing {
        claim_of,
        ..thing(name, plant)
    }
}

const fn damage(name: &'static str, plant: Plant, damage_to: &'static [&'static str]) -> Thing {
    Thing {
        damage_to,
        ..thing(name, plant)
    }
}

/// All of them.
pub fn things() -> impl Iterator<Item = &'static Thing> {
    THINGS.iter().chain(sys::things())
}

const THINGS: &[Thing] = &[
    // What is no lock of anybody.
    thing("a folder with a file in it", Plant::FolderWith("precious")),
    thing("a link to nothing", Plant::Link("nowhere")),
    thing("a link to a number and more", Plant::Link("1a")),
    thing("a link to two numbers", Plant::Link("1 2")),
    thing("a link to a host and a number", Plant::Link("host:1")),
    thing("words", Plant::File(b"somebody's precious content\n")),
    thing("a number and more", Plant::File(b"1a\n")),
    thing(
        "a picture",
        Plant::File(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0"),
    ),
    thing("bytes that are no text", Plant::File(&[0xff; 300])),
    thing("a long line of digits", Plant::File(&[b'1'; 5000])),
    thing("a gigabyte of nothing", Plant::Sparse(1 << 30)),
    thing("a line end", Plant::File(b"\n")),
    thing("four zeros", Plant::File(&[0; 4])),
    // What somebody may just be writing, or has written wrongly.
    Thing {
        anonymous_to: &["dotlock"],
        ..damage("nothing", Plant::File(b""), &["pidfile", "shlock", "labm8"])
    },
    Thing {
        anonymous_to: &["dotlock"],
        ..damage("a zero", Plant::File(b"0\n"), &["pidfile", "shlock"])
    },
    Thing {
        anonymous_to: &["mkdir"],
        ..thing("an empty folder", Plant::Folder)
    },
    damage(
        "a number below zero",
        Plant::File(b"-5\n"),
        &["pidfile", "shlock", "dotlock"],
    ),
    damage(
        "a number that is too large",
        Plant::File(b"99999999999999999999\n"),
        &["pidfile", "shlock", "dotlock"],
    ),
    damage("a zero and a time", Plant::File(b"0 1.5\n"), &["labm8"]),
    damage("a link to zero", Plant::Link("0"), &["symlink"]),
    damage(
        "a link to a negative number",
        Plant::Link("-1"),
        &["symlink"],
    ),
    // Claims.
    claim("a link to a number", Plant::LinkTo, &["symlink"]),
    claim(
        "a number",
        Plant::Number(|pid| format!("{pid}\n").into()),
        NUMBERS,
    ),
    claim(
        "a number without a line end",
        Plant::Number(|pid| pid.to_string().into()),
        NUMBERS,
    ),
    claim(
        "a number after blanks",
        Plant::Number(|pid| format!("{pid:>10}\n").into()),
        NUMBERS,
    ),
    claim(
        "a number in four bytes",
        Plant::Number(|pid| pid.to_ne_bytes().into()),
        NUMBERS,
    ),
    claim(
        "a number and more lines",
        Plant::Number(|pid| format!("{pid}\nmore\nand more\n").into()),
        NUMBERS,
    ),
    claim(
        "a number and a time",
        Plant::Number(|pid| format!("{pid} 1795226671.5779793\n").into()),
        &["labm8"],
    ),
    claim(
        "an inner file with a number",
        Plant::FolderOf(|pid| format!("elsewhere.{pid}")),
        &["mkdir"],
    ),
];

/// Those whose claim is a number in a file. They cannot be told apart.
const NUMBERS: &[&str] = &["pidfile", "shlock", "dotlock"];
