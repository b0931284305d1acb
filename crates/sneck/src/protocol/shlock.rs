//! `shlock`: a file made elsewhere and linked to its name, with the holder's process number: what shlock(1) gave to shell scripts.
//!
//! Downsides. Those of `pidfile`. Other speakers break stale claims in a race: two see the same dead number, and the second removes the first one's new claim
//! (PEAK; INN's shlock is the same). sneck's own part of that race is closed; beside such a breaker a claim can still be lost, and
//! `standing()` tells. PEAK deletes a claim at release without looking whose it is.
//!
//! Bytes: `pid\n`, mode 0644 less umask; what is read may also be `%10d\n` (INN 2) or four bytes in the machine's order (shlock -b, UUCP). Removed
//! at release. A shell that takes it with `shlock -p $$` holds it until it ends, also after exec, without any live mark.
//!
//! Not on Windows, where nobody speaks it.
//!
//! Also spoken by shlock(1) of INN 1 and 2, PEAK's `SHLockFile`, UUCP programs.

use super::file::Format;

#[derive(Debug, Clone)]
pub(super) struct Shlock;

impl Format for Shlock {
    fn scheme(&self) -> &'static str {
        "shlock"
    }
}
