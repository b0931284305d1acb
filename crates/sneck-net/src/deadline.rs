//! Until when a server must have answered. Not for: how long somebody waits for a lock ([`sneck::Timeout`]).

use sneck::Moment;
use std::io;
use std::time::Duration;

/// Until when the network must have done something: computed once, so that no step of many starts the time anew. It is on the clock of the
/// library, which goes on while the machine is suspended.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Moment,
    allowed: Duration,
}

impl Deadline {
    /// This long from now. Zero has passed at once.
    #[must_use]
    pub fn after(allowed: Duration) -> Deadline {
        // A limit that no clock can hold is as good as a year.
        let year = Duration::from_secs(365 * 24 * 3600);
        let now = Moment::now();
        Deadline {
            at: now.after(allowed.min(year)).unwrap_or(now),
            allowed,
        }
    }

    /// The time that is left; none is an error that says how long was allowed ([`io::ErrorKind::TimedOut`]). What is left is never zero, which to sockets means for ever.
    ///
    /// # Errors
    /// It has passed.
    pub fn left(&self) -> io::Result<Duration> {
        match self.at.until() {
            Duration::ZERO => Err(self.missed()),
            left => Ok(left),
        }
    }

    /// Whether it has passed.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        self.at.until().is_zero()
    }

    /// That it has passed, as an error.
    #[must_use]
    pub fn missed(&self) -> io::Error {
        let text = format!("no answer within {:?}", self.allowed);
        io::Error::new(io::ErrorKind::TimedOut, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_too_large_for_the_clock_is_no_panic() {
        assert!(Deadline::after(Duration::MAX).left().is_ok());
        assert!(Deadline::after(Duration::ZERO).left().is_err());
        assert!(Deadline::after(Duration::ZERO).has_passed());
    }
}
