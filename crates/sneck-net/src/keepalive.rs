//! How long a peer that says nothing is believed to be there: [`Keepalive`].
//!
//! Not for: how a system is told (`sys/`).

use std::time::Duration;

/// When the system asks whether a silent peer is there, and when it counts the connection as lost. What was sent and not taken note of for as long as all of this has the same end,
/// where the system can be told so (Linux, Windows).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// After this long without a word it asks …
    pub idle: Duration,
    /// … and asks again this often …
    pub interval: Duration,
    /// … this many times.
    pub count: u32,
}

impl Keepalive {
    /// Half a minute in all: what a connection begins with.
    pub const USUAL: Keepalive = Keepalive {
        idle: Duration::from_secs(15),
        interval: Duration::from_secs(5),
        count: 3,
    };

    /// One that never ends a connection before this much silence, nor more than 4 s after it. In whole seconds, as systems count.
    #[must_use]
    pub fn at_least(silence: Duration) -> Keepalive {
        let count = Keepalive::USUAL.count;
        let millis = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
        let whole = millis.div_ceil(1000);
        // Linux takes no more than 32767 for any of them: a day fits.
        let idle = (whole / 2).clamp(1, 7200);
        let rest = whole.saturating_sub(idle);
        let interval = rest.div_ceil(u64::from(count)).clamp(1, 32_767);
        Keepalive {
            idle: Duration::from_secs(idle),
            interval: Duration::from_secs(interval),
            count,
        }
    }

    /// How long a peer may be silent altogether.
    #[must_use]
    pub const fn silence(self) -> Duration {
        self.idle
            .saturating_add(self.interval.saturating_mul(self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_given_up_before_the_time_is_over_nor_long_after() {
        for millis in [
            0, 1, 999, 1000, 1100, 1999, 20_000, 65_500, 3_600_000, 86_400_000,
        ] {
            let silence = Duration::from_millis(millis);
            let keepalive = Keepalive::at_least(silence);
            let given_up = keepalive.silence();
            assert!(given_up >= silence, "{silence:?}: {given_up:?}");
            assert!(
                given_up <= silence + Duration::from_secs(4),
                "{silence:?}: {given_up:?}"
            );
            let most = Duration::from_secs(32_767);
            assert!(keepalive.idle <= most && keepalive.interval <= most);
        }
    }
}
