//! How long a lease lasts: [`Terms`].

use crate::error::{Error, ErrorKind, Result};
use crate::text;
use std::time::Duration;

/// How long a holding lasts without a word from its holder, and how much longer the server keeps others out.
///
/// ```
/// use sneck::lease::Terms;
/// use std::time::Duration;
/// let terms = Terms::new(Duration::from_secs(10), Duration::from_secs(3))?;
/// assert_eq!(terms.on_server(), Duration::from_secs(13));
/// # Ok::<(), sneck::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Terms {
    ttl: Duration,
    delay: Duration,
}

/// Less is no lease: a busy machine lets a thread wait for so long.
const SHORTEST: Duration = Duration::from_millis(100);

/// More is no lease either, and servers count in small numbers.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

impl Terms {
    /// 15 seconds, and 5 more.
    pub const USUAL: Terms = Terms {
        ttl: Duration::from_secs(15),
        delay: Duration::from_secs(5),
    };

    /// `ttl`: how long the holder may believe to hold since it last spoke. `delay`: how much longer the server waits before it lets in the next one, so that a holder that
    /// lost it has time to stop. A clean release waits for neither.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`]: a `ttl` under 100 ms, or more than a day in all.
    pub fn new(ttl: Duration, delay: Duration) -> Result<Terms> {
        let usage = |what: String| Err(Error::new(ErrorKind::Usage, "read the settings", what));
        if ttl < SHORTEST {
            return usage(format!(
                "a lease of {} is too short to be renewed in time: at least {}",
                text::span(ttl),
                text::span(SHORTEST)
            ));
        }
        if ttl.saturating_add(delay) > LONGEST {
            return usage(format!(
                "a lease of {} and {} is too long: at most {} in all",
                text::span(ttl),
                text::span(delay),
                text::span(LONGEST)
            ));
        }
        Ok(Terms { ttl, delay })
    }

    /// How long the holder may believe to hold since it last spoke.
    pub fn ttl(self) -> Duration {
        self.ttl
    }

    /// How much longer the server keeps others out.
    pub fn delay(self) -> Duration {
        self.delay
    }

    /// What the server is told: both.
    pub fn on_server(self) -> Duration {
        self.ttl + self.delay
    }

    /// How often it is renewed, and how long one word may take: three fit into a lease.
    pub fn pace(self) -> Duration {
        self.ttl / 3
    }
}

impl Default for Terms {
    fn default() -> Terms {
        Terms::USUAL
    }
}
