//! `pidfile`: a file that exists while the lock is held and says whose process it is.
//!
//! Downsides. A crash leaves the file, and by the number alone nobody can tell whose it was: one host and one pid namespace are
//! presumed, and a process that happens to get a dead holder's number keeps the lock (unless `Stale::Likely` is allowed to look at ages). No queue:
//! waiters race. Exclusive only. caterpillar and pylockfile never break a stale claim, so beside them it blocks until sneck does.
//!
//! Bytes: `pid\n`, mode 0644 less umask. Removed at release. See `file.rs` for how it is published, `record.rs` for what is read.
//!
//! Also spoken by caterpillar's `PIDLockFile` (which adds `.lock` to its path), pylockfile's `PIDLockFile`, filelock's `SoftFileLock` (which adds host and
//! start, and breaks what has a dead number), daemons, `start-stop-daemon`.

use super::file::Format;

#[derive(Debug, Clone)]
pub(super) struct Pidfile;

impl Format for Pidfile {
    fn scheme(&self) -> &'static str {
        "pidfile"
    }
}
