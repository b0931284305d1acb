//! There is no fork(2): what a process opens is its own. Handles are made so that no child inherits them.

use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;

/// How many forks lie between this process and the one that loaded the library: none.
pub(crate) fn generation() -> u32 {
    0
}

/// Something with a handle that belongs to this process alone, which is every handle that no child inherits.
#[derive(Debug)]
pub struct Unshared<T>(T);

impl<T> Unshared<T> {
    /// Take charge of a handle.
    pub fn new(inner: T) -> Self {
        Unshared(inner)
    }

    /// Take it back, to be closed or passed on by the caller.
    pub fn into_inner(self) -> Option<T> {
        Some(self.0)
    }

    /// Whether this is the process that opened it: always.
    pub fn is_ours(&self) -> bool {
        true
    }
}

impl<T> Deref for Unshared<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Unshared<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// A value of this process. No child can be forked in the middle of its making, so it may be made once for all threads.
pub(crate) struct PerProcess<T: 'static>(OnceLock<T>);

impl<T: Send + Sync> PerProcess<T> {
    pub(crate) const fn new() -> PerProcess<T> {
        PerProcess(OnceLock::new())
    }

    /// The value, made now if there is none yet.
    pub(crate) fn get(&'static self, make: impl Fn() -> T) -> &'static T {
        self.0.get_or_init(make)
    }
}
