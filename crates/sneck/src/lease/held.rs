//! A holding on lease, as the rest of the library sees it: [`Leased`].

use super::{Lease, Outcome, Tenure, Terms, Watch};
use crate::error::{Error, ErrorKind, Result};
use crate::protocol::{Borrowed, Clean, Descriptor, Held, Standing, Unshared};
use crate::sys::file::lend;
use crate::timeout::Moment;

/// What an engine gives for a lock that was granted.
#[derive(Debug)]
pub struct Leased {
    /// None: released.
    lease: Option<Lease>,
    token: Option<u64>,
    found: Clean,
    carried: Option<Unshared<Descriptor>>,
}

impl Leased {
    /// Granted, with this token. `said`: when the last word that the server has heard was *sent*.
    pub fn new(terms: Terms, said: Moment, tenure: Box<dyn Tenure>, token: Option<u64>) -> Leased {
        Leased::of(Lease::begin(terms, said, tenure), token)
    }

    /// The same, on a lease that is kept already.
    pub fn of(lease: Lease, token: Option<u64>) -> Leased {
        Leased {
            lease: Some(lease),
            token,
            found: Clean::Unknown,
            carried: None,
        }
    }

    /// A copy of the connection that the stay is tied to: whoever inherits it keeps the stay after our end, as long as the server goes without a word.
    #[must_use]
    pub fn carried(mut self, connection: Descriptor) -> Leased {
        self.carried = Some(Unshared::new(connection));
        self
    }

    /// What the server tells of the holder before.
    #[must_use]
    pub fn found(mut self, found: Clean) -> Leased {
        self.found = found;
        self
    }
}

impl Held for Leased {
    /// What was lost is given back too, if the server has it still, so that nobody waits for it. Lost it is all the same.
    fn release(&mut self) -> Result<()> {
        let Some(lease) = self.lease.take() else {
            return Ok(());
        };
        self.carried = None;
        let standing = lease.standing();
        let released = lease.end();
        match standing {
            Standing::Lost(why) => {
                let what = format!("the lock was lost while it was held: {why}");
                Err(Error::new(ErrorKind::Lost, "release", what)
                    .advise("what it guards may have been used by two at once: check the fencing token there"))
            }
            _ => released,
        }
    }

    fn standing(&self) -> Standing {
        self.lease
            .as_ref()
            .map_or(Standing::Released, Lease::standing)
    }

    fn carry(&self) -> Vec<Borrowed<'_>> {
        let carried = self.carried.iter().filter(|copy| copy.is_ours());
        carried.filter_map(|copy| lend(copy)).collect()
    }

    fn token(&self) -> Option<u64> {
        self.token
    }

    fn found(&self) -> Clean {
        self.found
    }

    fn watch(&self) -> Option<Watch> {
        match &self.lease {
            Some(lease) => Some(lease.watch()),
            None => {
                let over = Watch::new();
                over.end(Outcome::Released);
                Some(over)
            }
        }
    }

    fn expires(&self) -> Option<Moment> {
        self.lease.as_ref().map(Lease::expires)
    }
}
