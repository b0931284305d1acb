//! How long to wait: [`Timeout`] as asked, [`Deadline`] as computed once, [`Moment`] as the clock tells it.
//!
//! Not for: sleeping (that is `wait/`).

use crate::sys::clock;
use std::fmt;
use std::time::Duration;

/// How long an acquisition may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Timeout {
    /// Try once, do not wait.
    Once,
    /// Wait at most this long. Zero is the same as [`Timeout::Once`].
    After(Duration),
    /// Wait as long as it takes.
    #[default]
    Forever,
}

impl From<Duration> for Timeout {
    fn from(wait: Duration) -> Timeout {
        if wait.is_zero() {
            Timeout::Once
        } else {
            Timeout::After(wait)
        }
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Timeout::Once => f.write_str("no wait"),
            Timeout::After(wait) => write!(f, "{}", crate::text::span(*wait)),
            Timeout::Forever => f.write_str("for ever"),
        }
    }
}

/// A point in time on a clock that never steps and that goes on while the machine is suspended (CLOCK_BOOTTIME;
/// `std::time::Instant` stops there). FreeBSD has no such clock: there it stops, too.
///
/// ```
/// use sneck::Moment;
/// use std::time::Duration;
/// let start = Moment::now();
/// assert!(start.elapsed() < Duration::from_secs(3600));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(Duration);

impl Moment {
    /// Now.
    pub fn now() -> Moment {
        Moment(clock::since_boot())
    }

    /// This much later; None if no clock gets there.
    pub fn after(self, wait: Duration) -> Option<Moment> {
        self.0.checked_add(wait).map(Moment)
    }

    /// How long ago that was; zero if it is still to come.
    pub fn elapsed(self) -> Duration {
        clock::since_boot().saturating_sub(self.0)
    }

    /// How long until then; zero if it is past.
    pub fn until(self) -> Duration {
        self.0.saturating_sub(clock::since_boot())
    }

    /// The time on that clock: to tell another process of this machine, which has the same clock (unless it is in another time namespace of Linux).
    pub fn since_boot(self) -> Duration {
        self.0
    }

    /// What another process told so.
    ///
    /// ```
    /// let now = sneck::Moment::now();
    /// assert_eq!(sneck::Moment::from_boot(now.since_boot()), now);
    /// ```
    pub fn from_boot(time: Duration) -> Moment {
        Moment(time)
    }
}

/// When an acquisition gives up: computed once, so that no stage of the wait starts the clock anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// After the first try.
    Once,
    /// At this moment.
    At(Moment),
    /// Never.
    Never,
}

impl Deadline {
    /// Whether the time is over.
    pub fn has_passed(self) -> bool {
        match self {
            Deadline::Once => true,
            Deadline::At(moment) => moment.until().is_zero(),
            Deadline::Never => false,
        }
    }

    /// What is left of it, but no more than `most`.
    pub fn remaining(self, most: Duration) -> Duration {
        match self {
            Deadline::Once => Duration::ZERO,
            Deadline::At(moment) => moment.until().min(most),
            Deadline::Never => most,
        }
    }
}

impl From<Timeout> for Deadline {
    fn from(timeout: Timeout) -> Deadline {
        match timeout {
            Timeout::Once => Deadline::Once,
            // A wait too long for the clock is for ever.
            Timeout::After(wait) => Moment::now()
                .after(wait)
                .map_or(Deadline::Never, Deadline::At),
            Timeout::Forever => Deadline::Never,
        }
    }
}

impl From<Moment> for Deadline {
    fn from(moment: Moment) -> Deadline {
        Deadline::At(moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_one_try_and_forever_is_forever() {
        assert_eq!(Timeout::from(Duration::ZERO), Timeout::Once);
        assert_eq!(
            Deadline::from(Timeout::After(Duration::MAX)),
            Deadline::Never
        );
        assert!(Deadline::from(Timeout::After(Duration::ZERO)).has_passed());
        assert!(!Deadline::Never.has_passed());
    }

    #[test]
    fn what_remains_never_exceeds_the_cap() {
        let hour = Deadline::from(Timeout::After(Duration::from_secs(3600)));
        assert_eq!(
            hour.remaining(Duration::from_secs(1)),
            Duration::from_secs(1)
        );
        assert_eq!(
            Deadline::Once.remaining(Duration::from_secs(1)),
            Duration::ZERO
        );
    }
}
