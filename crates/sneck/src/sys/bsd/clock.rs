//! A monotonic clock that goes on during suspend, where there is one.
//!
//! macOS: CLOCK_MONOTONIC_RAW (mach_continuous_time) does. CLOCK_MONOTONIC does too, but is the wall clock less the time of boot, and CLOCK_UPTIME_RAW, which
//! `std::time::Instant` is, stops. FreeBSD has none: CLOCK_MONOTONIC, CLOCK_BOOTTIME and CLOCK_UPTIME all stop (as of 14).

use std::mem::MaybeUninit;
use std::time::Duration;

#[cfg(target_os = "macos")]
const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC_RAW;
#[cfg(target_os = "freebsd")]
const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;

/// Time since boot, suspend included on macOS.
pub(crate) fn since_boot() -> Duration {
    let mut now = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the pointer is valid for the call. The clock exists on every version that Rust supports, so it does not fail.
    unsafe { libc::clock_gettime(CLOCK, now.as_mut_ptr()) };
    // SAFETY: two integers, for which the zeroes above are valid too.
    let now = unsafe { now.assume_init() };
    Duration::new(
        now.tv_sec.unsigned_abs(),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}
