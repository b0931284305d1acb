//! CLOCK_BOOTTIME: monotonic, and it goes on during suspend (`std::time::Instant` is CLOCK_MONOTONIC, which stops).

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Time since boot, suspend included.
pub(crate) fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(
        now.tv_sec.unsigned_abs(),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}
