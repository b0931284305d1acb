//! No events and no interruptible kernel waits: tries at growing intervals.

use super::{Ended, Trust, pause};
use crate::protocol::Wake;
use crate::sys::Nap;
use crate::timeout::Deadline;
use std::io;
use std::time::Duration;

/// Nothing can be armed.
#[derive(Debug)]
pub(crate) struct Armed;

impl Armed {
    pub(crate) fn new(_: Vec<Wake>) -> Armed {
        Armed
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::Polling
    }

    pub(crate) fn sleep(&mut self, longest: Duration) -> Nap {
        pause(longest)
    }
}

/// There is no way to end a blocked call in time; without a deadline there is no need to.
pub(crate) fn in_kernel<T>(
    deadline: Deadline,
    call: impl FnOnce() -> io::Result<T>,
) -> io::Result<Ended<T>> {
    match deadline {
        Deadline::Never => call().map(Ended::Done),
        Deadline::Once | Deadline::At(_) => Ok(Ended::NoTimer),
    }
}
