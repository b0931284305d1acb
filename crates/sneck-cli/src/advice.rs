//! What to do about a lock that is in the way: the command to type next.
//!
//! Not for: what an error of the library advises.

use crate::sys::quoted;
use sneck::inspect::Probe;
use sneck::{Place, Sighting, Verdict, text};
use std::ffi::OsStr;

/// What whoever looks at this lock, or failed to break it, can do about it. None: wait for its holder.
pub(crate) fn about(place: &Place, seen: &Sighting, verdict: Option<&Verdict>) -> Option<String> {
    let lock = typed(place);
    match seen {
        Sighting::Held { holders, .. } => {
            if let Some(protocol) = holders.iter().find_map(|h| h.protocol) {
                let there = typed(&Place::file(protocol, place.rest()));
                return Some(format!(
                    "every party must use the same protocol; look with `sneck status {there}`"
                ));
            }
            match verdict? {
                Verdict::Gone(_) => Some(format!(
                    "whoever acquires it next removes this claim; to remove it now: `sneck break {lock}`"
                )),
                Verdict::Younger { .. } => Some(format!(
                    "if that process does not use it: `sneck break --stale likely {lock}`"
                )),
                Verdict::Unknown(_) => Some(format!(
                    "if you know that nobody uses it: `sneck break --force {lock}`"
                )),
                _ => None,
            }
        }
        Sighting::Damaged { mark: Some(_), .. } => Some(format!(
            "if no program uses it: `sneck break --force {lock}`"
        )),
        Sighting::Damaged { mark: None, .. } => {
            Some("if no program uses it, remove it by hand".into())
        }
        _ => None,
    }
}

/// How to find out what cannot be seen.
pub(crate) fn to_find_out(place: &Place, seen: &Sighting, probe: Probe) -> Option<String> {
    let asks = matches!(seen, Sighting::Unknown { .. }) && probe == Probe::Never;
    let lock = typed(place);
    asks.then(|| format!("`sneck status --probe {lock}` finds out by asking for it"))
}

/// The place as it is typed in a shell.
pub(crate) fn typed(place: &Place) -> String {
    match place.rest().to_str() {
        // What had to be changed to be shown means something else when it is typed.
        Some(rest) if text::clean(rest) == rest => quoted(&place.to_string()),
        _ => "LOCK".into(),
    }
}

/// A word as it is typed in a shell; where that cannot be shown, made safe.
pub(crate) fn word(word: &OsStr) -> String {
    quoted(&text::clean(&word.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_so_that_a_shell_reads_the_same() {
        let typed = |rest: &str| typed(&Place::file("pidfile", rest));
        assert_eq!(typed("/run/a-b_1.lock"), "pidfile:/run/a-b_1.lock");
        assert_eq!(typed("my lock"), quoted("pidfile:my lock"));
        assert_eq!(typed("a\nb"), "LOCK");
        assert_eq!(typed("\u{1b}[31m"), "LOCK");
    }
}
