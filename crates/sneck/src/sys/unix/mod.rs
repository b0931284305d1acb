//! What Linux, macOS and FreeBSD have in common: POSIX, by way of rustix. What each does in its own way is asked of `platform`.

pub(crate) mod file;
pub(crate) mod folder;
pub(crate) mod fork;
pub(crate) mod text;
pub(crate) mod thread;
pub(crate) mod user;
