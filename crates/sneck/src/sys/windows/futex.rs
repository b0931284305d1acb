//! One word to sleep on: WaitOnAddress, which what the console sends can end.

use super::console;
use super::handle::milliseconds;
use crate::sys::Nap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use windows_sys::Win32::System::Threading::{WaitOnAddress, WakeByAddressAll};

/// Sleep while `word` is `expected`, at most `longest`.
pub(crate) fn wait(word: &AtomicU32, expected: u32, longest: Duration) -> Nap {
    let started = super::clock::since_boot();
    let sleeper = console::Sleeper::on_word(word);
    loop {
        if sleeper.is_interrupted() {
            return Nap::Interrupted;
        }
        let left = longest.saturating_sub(super::clock::since_boot() - started);
        if word.load(Ordering::Acquire) != expected {
            return Nap::Woken;
        }
        if left.is_zero() {
            return Nap::TimedOut;
        }
        // SAFETY: both point to four bytes that live through the call. Woken without a reason, or by the console, we look again.
        let woken = unsafe {
            WaitOnAddress(
                word.as_ptr().cast(),
                (&raw const expected).cast(),
                size_of::<u32>(),
                milliseconds(left),
            )
        };
        // A futex(2) sleep that is woken may not find its word changed; callers look for themselves.
        if woken != 0 && !sleeper.is_interrupted() {
            return Nap::Woken;
        }
    }
}

/// Wake whoever sleeps on `word`.
pub(crate) fn wake(word: &AtomicU32) {
    // SAFETY: only the address counts.
    unsafe { WakeByAddressAll(word.as_ptr().cast()) };
}
