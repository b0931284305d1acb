//! The names of what is on its way in or out: `.NAME.sneck-PID-N`, beside `NAME`. What a crash leaves of those is known by them, and whose it was.
//!
//! Not for: removing it (`protocol/litter.rs`).

use crate::sys::{process, text};
use std::ffi::{OsStr, OsString};
use std::sync::atomic::{AtomicU64, Ordering};

const INFIX: &[u8] = b".sneck-";

/// A name that nobody else has.
pub(crate) fn name_beside(name: &OsStr) -> OsString {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // Beside a hidden one, it is to be found by the same name.
    let mut hidden = prefix(&whose(name).unwrap_or_else(|| name.to_owned()));
    hidden.push(format!("{}-{number}", process::own_pid()));
    hidden
}

/// What all those beside a name begin with.
pub(crate) fn prefix(name: &OsStr) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(text::from_bytes(INFIX));
    prefix
}

/// Beside which name a hidden one stands. None: it is not hidden.
fn whose(hidden: &OsStr) -> Option<OsString> {
    let bytes = text::bytes(hidden);
    let end = bytes.windows(INFIX.len()).rposition(|part| part == INFIX)?;
    let name = bytes.get(1..end).filter(|_| bytes.starts_with(b"."))?;
    Some(text::from_bytes(name).to_os_string())
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
