//! How long to sleep when an event may be missing, early, or not to be had at all. Lengths only; the sleeping is elsewhere.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// A length that grows with each sleep in vain.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    next: Duration,
    first: Duration,
    factor: u32,
    most: Duration,
    jitter: Jitter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Jitter {
    None,
    /// Between half and all of the length, so that those who poll do not stay in step.
    Half,
    /// Between nothing and all of the length.
    All,
}

impl Backoff {
    /// Beside events that are armed: a net below them. The first sleep is long, since a try was made after arming.
    pub(crate) fn net() -> Backoff {
        Backoff::new(
            Duration::from_millis(100),
            10,
            Duration::from_secs(10),
            Jitter::None,
        )
    }

    /// After an event that came a little before the lock was free.
    pub(crate) fn early() -> Backoff {
        Backoff::new(
            Duration::from_millis(1),
            10,
            Duration::from_secs(10),
            Jitter::None,
        )
    }

    /// Below the events of one who only looks: some ends raise none. A look is in nobody's way, so two or three a second cost nothing that anybody
    /// would notice, and whoever waits for hours learns of such an end half a second late at most.
    pub(crate) fn looks() -> Backoff {
        Backoff::new(
            Duration::from_millis(1),
            2,
            Duration::from_millis(500),
            Jitter::Half,
        )
    }

    /// No events on this machine's own file systems.
    pub(crate) fn polling() -> Backoff {
        Backoff::new(
            Duration::from_millis(1),
            2,
            Duration::from_millis(50),
            Jitter::Half,
        )
    }

    /// No events and a network between: every try costs the server something.
    pub(crate) fn network() -> Backoff {
        Backoff::new(
            Duration::from_millis(5),
            2,
            Duration::from_millis(500),
            Jitter::Half,
        )
    }

    /// After parts of a lock were given back because another one was held: so short, and so much left to chance, that two who do this to each other part. What is held
    /// for long is slept on and not paused for: a pause longer than a few tries only lets others pass.
    pub(crate) fn given_back() -> Backoff {
        Backoff::new(
            Duration::from_micros(100),
            2,
            Duration::from_millis(4),
            Jitter::All,
        )
    }

    fn new(first: Duration, factor: u32, most: Duration, jitter: Jitter) -> Backoff {
        Backoff {
            next: first,
            first,
            factor,
            most,
            jitter,
        }
    }

    /// The next length.
    pub(crate) fn step(&mut self) -> Duration {
        let length = self.next;
        self.next = (length * self.factor).min(self.most);
        match self.jitter {
            Jitter::None => length,
            Jitter::Half => length / 2 + (length / 2).mul_f64(chance()),
            Jitter::All => length.mul_f64(chance()),
        }
    }

    /// Let it grow to this at least.
    pub(crate) fn reach(&mut self, most: Duration) {
        self.most = self.most.max(most);
    }

    /// Begin again: something moved.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// From 0 to 1. The standard library's only source of chance; its keys differ from call to call.
fn chance() -> f64 {
    RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_grow_to_their_cap_and_five_seconds_take_at_most_five() {
        for mut backoff in [Backoff::net(), Backoff::early()] {
            let mut slept = Duration::ZERO;
            let sleeps = std::iter::repeat_with(|| backoff.step())
                .take_while(|length| {
                    let before = slept;
                    slept += *length;
                    before < Duration::from_secs(5)
                })
                .count();
            assert!(sleeps <= 5, "{sleeps}");
        }
        let mut polling = Backoff::polling();
        let longest = (0..100).map(|_| polling.step()).max();
        assert!(longest <= Some(Duration::from_millis(50)));
    }
}
