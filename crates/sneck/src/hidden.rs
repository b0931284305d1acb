//! The names of what is on its way in or out: `.NAME.sneck-PID-N`, beside `NAME`. What a crash leaves of those is known by them, and whose it was.
//!
//! Not for: removing it (`protocol/litter.rs`).

use crate::sys::{process, text};
use std::ffi::{OsStr, OsString};
use std::sync::atomic::{AtomicU64, Ordering};

/// A name that nobody else has.
pub(crate) fn name_beside(name: &OsStr) -> OsString {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut hidden = prefix(name);
    hidden.push(format!("{}-{number}", process::own_pid()));
    hidden
}

/// What all those beside a name begin with.
pub(crate) fn prefix(name: &OsStr) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".sneck-");
    prefix
}

/// The process that made one of those.
pub(crate) fn maker(name: &OsStr, hidden: &OsStr) -> Option<u32> {
    let prefix = prefix(name);
    let rest = text::bytes(hidden).strip_prefix(text::bytes(&prefix))?;
    std::str::from_utf8(rest)
        .ok()?
        .split_once('-')?
        .0
        .parse()
        .ok()
}
