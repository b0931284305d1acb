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

/// A longer name is cut short, so that what is beside it has room in the 255 bytes or characters that names have.
const LONGEST: usize = 180;

/// What all those beside a name begin with.
pub(crate) fn prefix(name: &OsStr) -> OsString {
    let mut prefix = OsString::from(".");
    if text::bytes(name).len() > LONGEST {
        prefix.push(cut_short(name));
    } else {
        prefix.push(name);
    }
    prefix.push(text::from_bytes(INFIX));
    prefix
}

/// The beginning of a name, and what tells it from others that begin so (FNV-1a, which stays the same from version to version).
fn cut_short(name: &OsStr) -> String {
    let bytes = text::bytes(name).iter();
    let sum = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let shown = name.to_string_lossy();
    let fits = |(at, c): &(usize, char)| at + c.len_utf8() <= LONGEST - 17;
    let beginning: String = shown
        .char_indices()
        .take_while(fits)
        .map(|(_, c)| c)
        .collect();
    format!("{beginning}~{sum:016x}")
}

/// Beside which name a hidden one stands. None: it is not hidden.
fn whose(hidden: &OsStr) -> Option<OsString> {
    let bytes = text::bytes(hidden);
    let end = bytes.windows(INFIX.len()).rposition(|part| part == INFIX)?;
    let name = bytes.get(1..end).filter(|_| bytes.starts_with(b"."))?;
    Some(text::from_bytes(name).to_os_string())
}

/// Whether a name is one of those.
pub(crate) fn is_hidden(name: &OsStr) -> bool {
    let bytes = text::bytes(name);
    let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let infix = bytes.windows(INFIX.len()).rposition(|part| part == INFIX);
    let rest = infix.map(|at| bytes[at + INFIX.len()..].splitn(2, |b| *b == b'-'));
    bytes.starts_with(b".") && rest.is_some_and(|parts| parts.filter(|p| digits(p)).count() == 2)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_leaves_room_for_what_is_beside_it_and_its_makers_number() {
        for name in ["x".repeat(255), "\u{e9}".repeat(127), "lock".into()] {
            let other = format!("{}y", &name[..name.len() - 2]);
            let (name, other) = (OsStr::new(&name), OsStr::new(&other));
            let hidden = name_beside(name);
            assert!(text::bytes(&hidden).len() < 240, "{hidden:?}");
            assert_eq!(maker(name, &hidden), Some(process::own_pid()));
            assert!(is_hidden(&hidden) && !is_hidden(name), "{hidden:?}");
            assert_eq!(maker(other, &hidden), None);
            assert_ne!(prefix(name), prefix(other));
        }
        for own in [".a.sneck-", ".a.sneck-1", ".a.sneck-1-x", "a.sneck-1-2"] {
            assert!(!is_hidden(OsStr::new(own)), "{own}");
        }
    }
}
