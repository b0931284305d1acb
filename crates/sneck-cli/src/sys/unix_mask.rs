//! Signals that are kept from threads. Not for: what is done with those that come.

use super::{all_signals, change_mask, set_of};
use std::io;
use std::thread::{Builder, JoinHandle};

/// Keeps these signals from this thread; they wait in the kernel.
pub(super) fn block(signals: &[i32]) -> io::Result<()> {
    change_mask(libc::SIG_BLOCK, Some(&set_of(signals)));
    Ok(())
}

/// Lets this thread receive these signals, whatever mask the process was started with.
pub(super) fn unblock(signals: &[i32]) -> io::Result<()> {
    change_mask(libc::SIG_UNBLOCK, Some(&set_of(signals)));
    Ok(())
}

/// A thread to which no signal is ever delivered: they belong to the thread that waits for them.
pub(crate) fn spawn_without_signals(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    // The new thread starts with the mask of this one, so there is no moment at which it could get one.
    let before = change_mask(libc::SIG_SETMASK, Some(&all_signals()));
    let thread = Builder::new().name(name.to_owned()).spawn(work);
    change_mask(libc::SIG_SETMASK, Some(&before));
    thread
}
