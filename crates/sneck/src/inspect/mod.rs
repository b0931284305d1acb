//! Who holds what, since when, and who waits: of one path, or of the whole machine.
//!
//! Looking harms nothing: no file that might be locked is opened, no lock is tried for, and nothing is followed or changed. What the kernel hides from this process is
//! said to be unknown ([`Limit`]), never to be free; [`Probe::Try`] finds out by asking for the lock.
//!
//! ```
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("app.lock");
//! let guard = sneck::Lock::new(&path)?.acquire()?;
//! let seen = sneck::inspect::Inspector::new().path(&path)?;
//! # if cfg!(target_os = "linux") {
//! assert_eq!(seen.holdings[0].keepers[0].holder.pid, Some(std::process::id()));
//! # }
//! # drop(guard);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Platforms: the kernel's list of locks, and what processes have open, are read from /proc, so all of it is for Linux. Elsewhere claims are found as everywhere, and of kernel locks what the
//! system tells ([`Limit::NoList`]).
//!
//! Not for: whether one lock, by its own protocol, is free to be had: that is [`crate::Lock::holder`].

mod claims;
mod cycles;
mod found;
pub(crate) mod kernel;
mod locked;
mod names;
mod odd;
mod one;
mod people;
mod probe;
mod survey;
mod walk;
mod whole;

pub use found::{
    Certainty, Cycle, File, Holding, How, Inspection, Keeper, KernelInode, Kind, Life, Link, Name,
    Pace, Range, State, Survey, Waiter, Waits,
};
pub use odd::{Limit, Oddity};

use crate::error::Result;
use std::path::{Path, PathBuf};

/// The folder that a path is in.
fn folder_of(path: &Path) -> &Path {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Whether a lock may be asked for in order to find out whether it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Probe {
    /// No: what cannot be seen is unknown.
    #[default]
    Never,
    /// Yes, where it cannot be seen otherwise. A flock that nobody has is held for an instant by that: somebody who tries for it without waiting at that very moment is refused.
    Try,
}

/// One who looks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inspector {
    probe: Probe,
}

impl Inspector {
    /// One who only looks.
    pub fn new() -> Inspector {
        Inspector::default()
    }

    /// Whether it may ask for a lock that it cannot see.
    #[must_use]
    pub fn probe(self, probe: Probe) -> Inspector {
        Inspector { probe }
    }

    /// All that is held at one path: kernel locks on the file there, a claim that stands there, and one that stands beside it (`path.lock`).
    ///
    /// The path may be missing: nobody holds it then. A symbolic link at the path is looked at itself, as a claim, and as what it leads to.
    ///
    /// # Errors
    /// The path cannot be looked at (a folder of it is closed or missing).
    pub fn path(&self, path: impl AsRef<Path>) -> Result<Inspection> {
        one::look(path.as_ref(), self.probe)
    }

    /// All kernel locks of the machine, with the claims that stand in those files, and the claims in the folder of locks (`/run/lock`).
    ///
    /// # Errors
    /// The kernel's list cannot be read.
    pub fn machine(&self) -> Result<Survey> {
        survey::machine()
    }

    /// All locks in these folders and below, and those at these paths: files that are locked, and claims by their content, whatever their names. Folders that cannot be read, and paths that are missing, are in
    /// [`Survey::errors`].
    ///
    /// # Errors
    /// The kernel's list cannot be read.
    pub fn under(&self, paths: &[PathBuf]) -> Result<Survey> {
        survey::under(paths)
    }
}
