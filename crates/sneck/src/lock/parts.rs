//! Several locks as one: made ([`Lock::all`]), and taken apart ([`Lock::parts`]).
//!
//! Not for: taking them (`protocol/stack.rs`).

use super::{Lock, LockBuilder};
use crate::claim::Mode;
use crate::error::{Error, ErrorKind, Result};
use crate::place::Place;
use crate::protocol::stack::{Part, PartMode, Stack};
use crate::queue;
use std::borrow::Borrow;
use std::sync::Arc;

impl Lock {
    /// Several locks as one: all of them are had, or none. Everything else is as usual; see [`LockBuilder::all`].
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # std::env::set_current_dir(&folder)?;
    /// use sneck::Lock;
    /// let (from, to) = (Lock::new("from.lock")?, Lock::new("to.lock")?);
    /// let guard = Lock::all([&from, &to])?.acquire()?;
    /// assert!(from.is_held_in_this_process() && to.is_held_in_this_process());
    /// guard.release()?; // both
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`LockBuilder::all`].
    pub fn all(locks: impl IntoIterator<Item: Borrow<Lock>>) -> Result<Lock> {
        Lock::builder().all(locks)
    }

    /// What it consists of, each as a lock of its own with the same settings; itself, if it is one.
    pub fn parts(&self) -> Vec<Lock> {
        if self.handle.parts.is_empty() {
            return vec![self.clone()];
        }
        let protocols = self.handle.protocol.parts();
        let parts = protocols.into_iter().zip(&self.handle.parts);
        let part = |(protocol, part): (_, &queue::Part)| {
            let mut builder = Lock::builder();
            builder.settings = self.handle.settings.clone();
            builder.mode(part.mode).of(protocol)
        };
        parts.map(part).collect()
    }
}

impl LockBuilder {
    /// These locks as one: all of them are had, or none. While one of them is held by somebody else, none is held: no order in which programs name them makes two
    /// of them wait for each other.
    ///
    /// Each is taken in the mode that it was made with. Everything else is this builder's: how long to wait, what to do about stale claims, who
    /// acquires, who is told.
    ///
    /// There is no order among those who wait for several: whoever wants only one of them may get in before. See also PROTOCOLS.md.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`]: no lock at all, the same one twice, or two that cannot stand at the same path. [`ErrorKind::Unsupported`]: flock and fcntl of one
    /// path on a network file system.
    pub fn all(mut self, locks: impl IntoIterator<Item: Borrow<Lock>>) -> Result<Lock> {
        let locks: Vec<Lock> = locks.into_iter().map(|l| l.borrow().clone()).collect();
        let shared = |lock: &Lock| lock.handle.settings.mode == Mode::Shared;
        // Of several that are shared in part, the whole excludes as an exclusive one does.
        self.settings.mode = if locks.iter().all(shared) {
            Mode::Shared
        } else {
            Mode::Exclusive
        };
        match locks.as_slice() {
            [] => {
                let what = "there is no lock to take";
                return Err(Error::new(ErrorKind::Usage, "read the places", what)
                    .advise("name one at least"));
            }
            [one] => {
                let handle = &one.handle;
                self.fit(&*handle.protocol)?;
                return Ok(self.made(handle.protocol.clone(), handle.parts.clone()));
            }
            _ => {}
        }
        let (mut parts, mut lines) = (Vec::new(), Vec::new());
        for part in locks.iter().flat_map(Lock::parts) {
            let (handle, mode) = (&part.handle, part.handle.settings.mode);
            parts.push(Part {
                protocol: handle.protocol.clone(),
                mode: PartMode::Own(mode),
            });
            lines.push(queue::Part {
                lock: handle.identity.clone(),
                mode,
            });
        }
        let place = Place::joined(locks.iter().map(Lock::place));
        let stack = Arc::new(Stack::of(place, parts)?);
        self.fit(&*stack)?;
        Ok(self.made(stack, lines))
    }
}
