//! macOS and FreeBSD. Where they differ from Linux they mostly agree with each other; where they do not, a `target_os` says so.
//!
//! None of it was run: no machine of either was at hand. It is checked by the compiler, and against the manual pages and the sources of the kernels.

pub(crate) mod clock;
pub(crate) mod filesystem;
pub(crate) mod futex;
pub(crate) mod locks;
pub(crate) mod ofd;
pub(crate) mod process;
pub(crate) mod queue;
mod sysctl;

pub(crate) use super::unix::{file, folder, fork, text, thread};
