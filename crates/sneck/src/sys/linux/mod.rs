//! Linux. Kernel 5.3 or newer is assumed for pidfds; what an older one lacks is answered with *unknown*, not guessed.

pub(crate) mod clock;
pub(crate) mod file;
pub(crate) mod folder;
pub(crate) mod fork;
pub(crate) mod futex;
pub(crate) mod locks;
pub(crate) mod ofd;
pub(crate) mod process;
pub(crate) mod text;
pub(crate) mod thread;
