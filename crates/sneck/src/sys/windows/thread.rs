//! Threads. None is ever chosen to run a signal handler: what the console sends runs in a thread of the system's own.

use std::io;
use std::thread::Builder;

/// Start one. It is never waited for.
pub(crate) fn spawn_deaf(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    Builder::new().name(name.to_owned()).spawn(work).map(drop)
}
