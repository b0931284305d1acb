//! No events and no interruptible kernel waits: tries at growing intervals.

use super::reactor::Unarmed;
use super::{Ended, Nudge, Trust, pause};
use crate::protocol::{Descriptor, Stop, Wake};
use crate::sys::Nap;
use crate::sys::file::Asleep;
use crate::timeout::{Deadline, Moment};
use std::convert::Infallible;
use std::io;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Why there are no events.
pub(crate) const NO_EVENTS: &str = "this system gives no events";

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
    stop: &Stop,
    call: impl FnOnce(&Asleep<'_>) -> io::Result<T>,
) -> io::Result<Ended<T>> {
    match stop.deadline {
        Deadline::Never if stop.by.is_none() => call(&Asleep(PhantomData)).map(Ended::Done),
        _ => Ok(Ended::NoTimer),
    }
}

/// Nobody gets into a call that would have to be stopped.
#[derive(Debug, Default)]
pub(crate) struct Stopper;

impl Stopper {
    pub(crate) fn stop(&self) {}
}

pub(crate) fn choose_signal() {}

/// There is none: tasks are woken by the clock.
#[derive(Debug)]
pub(super) struct Poller(Infallible);

#[derive(Debug)]
pub(super) struct Hint(Infallible);

impl Poller {
    pub(super) fn new() -> io::Result<Poller> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn entry(&self, _: &Path, _: &Arc<Nudge>) -> Result<Hint, Unarmed> {
        match self.0 {}
    }

    pub(super) fn closed(&self, _: &Path, _: &Arc<Nudge>) -> Result<Hint, Unarmed> {
        match self.0 {}
    }

    pub(super) fn exit(&self, _: u32, _: &Arc<Nudge>) -> Result<Hint, Unarmed> {
        match self.0 {}
    }

    pub(super) fn ready(&self, _: Descriptor, _: &Arc<Nudge>) -> Result<Hint, Unarmed> {
        match self.0 {}
    }

    pub(super) fn forget(&self, hint: Hint, _: &Arc<Nudge>) {
        match hint.0 {}
    }

    pub(super) fn alarm(&self, _: Moment) {
        match self.0 {}
    }

    pub(super) fn wait(&self) {
        match self.0 {}
    }
}
