//! Linux. Kernel 5.3 or newer is assumed for pidfds; what an older one lacks is answered with *unknown*, not guessed.

pub(crate) mod clock;
pub(crate) mod filesystem;
pub(crate) mod futex;
pub(crate) mod locks;
pub(crate) mod ofd;
pub(crate) mod process;

pub(crate) use super::unix::{file, folder, fork, text, thread};
