//! An alarm that whoever waits for it looks at. Not for: when it is to ring.
//!
//! macOS has no descriptor of a clock. Its sleep is counted by a clock that stops during suspend: it may be late by so much, and looks at the right clock then.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use sneck::Moment;
use std::cell::Cell;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// No single sleep is longer: after it the clock is looked at again.
const LONGEST: Duration = Duration::from_secs(10);

/// Rings once.
#[derive(Debug)]
pub(crate) struct Alarm {
    rings: Cell<Option<Moment>>,
}

impl Alarm {
    pub(crate) fn new() -> io::Result<Alarm> {
        Ok(Alarm {
            rings: Cell::new(None),
        })
    }

    /// To ring this long from now, and not when it was to ring before; None: not at all.
    pub(crate) fn set(&self, wait: Option<Duration>) -> io::Result<()> {
        self.rings
            .set(wait.and_then(|wait| Moment::now().after(wait)));
        Ok(())
    }

    /// Waits until there is something to read or the alarm rings, and says whether there is something to read.
    pub(crate) fn wait(&self, stream: impl AsFd) -> io::Result<bool> {
        loop {
            let left = self.rings.get().map(Moment::until);
            let step = left.map_or(LONGEST, |left| left.min(LONGEST));
            let step = Timespec::try_from(step).map_err(|_| io::Error::from(Errno::INVAL))?;
            let mut one = [PollFd::new(&stream, PollFlags::IN)];
            match poll(&mut one, Some(&step)) {
                Ok(0) if left.is_some_and(|left| left <= LONGEST) => return Ok(false),
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
