//! A thread that no signal reaches: signals belong to the program's own threads.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::thread::Builder;

/// Start one. It is never waited for.
pub(crate) fn spawn_deaf(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut all = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises the set it is given.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: initialised in the line above.
    let all: libc::sigset_t = unsafe { all.assume_init() };
    let mut before = all;
    // SAFETY: both sets are valid; a thread may always change its own mask.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before) };
    // The new thread starts with this mask, so there is no moment at which a signal could reach it.
    let spawned = Builder::new().name(name.to_owned()).spawn(work);
    // SAFETY: a valid set, the one that was in force; the old one is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut()) };
    spawned.map(drop)
}
