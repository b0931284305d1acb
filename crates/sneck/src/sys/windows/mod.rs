//! Windows 10 or newer, through documented calls of Win32. What an older one lacks, and what wine lacks, is answered with
//! *unknown*, done in another way or polled for; each place says so.

mod bytes;
pub(crate) mod clock;
pub(crate) mod console;
pub(crate) mod file;
pub(crate) mod folder;
pub(crate) mod fork;
pub(crate) mod futex;
pub(crate) mod handle;
pub(crate) mod locks;
pub(crate) mod named;
pub(crate) mod ofd;
pub(crate) mod port;
pub(crate) mod process;
pub(crate) mod text;
pub(crate) mod thread;
pub(crate) mod watch;
