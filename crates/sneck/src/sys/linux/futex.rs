//! One word to sleep on. Condvar and `park` hide signals; a futex wait returns when a handler ran.

use crate::sys::Nap;
use rustix::io::Errno;
use rustix::thread::futex::{Flags, wait as futex_wait, wake as futex_wake};
use rustix::time::Timespec;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Sleep while `word` is `expected`, at most `longest`.
pub(crate) fn wait(word: &AtomicU32, expected: u32, longest: Duration) -> Nap {
    let longest = Timespec {
        tv_sec: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(longest.subsec_nanos()),
    };
    match futex_wait(word, Flags::PRIVATE, expected, Some(&longest)) {
        Err(Errno::TIMEDOUT) => Nap::TimedOut,
        Err(Errno::INTR) => Nap::Interrupted,
        // AGAIN: the word had changed already. Anything else: look again rather than sleep wrongly.
        Ok(()) | Err(_) => Nap::Woken,
    }
}

/// Wake whoever sleeps on `word`.
pub(crate) fn wake(word: &AtomicU32) {
    let _ = futex_wake(word, Flags::PRIVATE, u32::MAX >> 1);
}
