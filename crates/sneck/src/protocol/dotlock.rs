//! `dotlock`: the lock file of mailboxes, `mbox.lock`, made by linking. The place names the lock file itself.
//!
//! Downsides. Many speakers write no number (`0`, or nothing): when such a holder dies, nobody can tell, and only `--stale DURATION` or force removes the claim.
//! Others take any claim older than five minutes for abandoned (dotlockfile without -p; lockfile(1) with -l), so ours is touched every minute while this
//! process lives; a stopped process, or a claim that was left behind, can be robbed by them. No queue. Exclusive only.
//!
//! Bytes: `pid\n`, mode 0644 less umask. Removed at release. Read: also `0`, `0\n` and empty, of any mode: held by somebody unknown.
//!
//! Not on Windows, where nobody speaks it.
//!
//! Also spoken by dotlockfile, lockfile-create, lockfile(1), mutt_dotlock, pylockfile's `LinkLockFile`. The protocol that works on NFS.

use super::file::{Format, Nobody};
use std::time::Duration;

/// As often as lockfile-touch does it.
const RENEWAL: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub(super) struct Dotlock;

impl Format for Dotlock {
    fn scheme(&self) -> &'static str {
        "dotlock"
    }

    fn nobody(&self) -> Nobody {
        Nobody::Holds
    }

    fn renewal(&self) -> Option<Duration> {
        Some(RENEWAL)
    }
}
