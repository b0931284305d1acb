//! QueryPerformanceCounter: monotonic, and it goes on during sleep and hibernation (so its documentation).

use std::time::Duration;
use windows_sys::Win32::System::Performance::{QueryPerformanceCounter, QueryPerformanceFrequency};

/// Time since boot, suspend included.
pub(crate) fn since_boot() -> Duration {
    let (mut ticks, mut per_second) = (0_i64, 1_i64);
    // SAFETY: writes one number through a valid pointer; neither call fails since Windows XP.
    unsafe { QueryPerformanceCounter(&raw mut ticks) };
    // SAFETY: as above. Fixed at boot, and read from memory: not worth keeping.
    unsafe { QueryPerformanceFrequency(&raw mut per_second) };
    let (ticks, per_second) = (ticks.unsigned_abs(), per_second.unsigned_abs().max(1));
    let nanos = u128::from(ticks % per_second) * 1_000_000_000 / u128::from(per_second);
    Duration::new(ticks / per_second, nanos as u32)
}
