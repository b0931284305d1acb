//! An alarm on a clock of the kernel's. Not for: when it is to ring.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Rings once, on the clock that goes on while the machine is suspended (that of `sneck::Moment`).
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: OwnedFd,
}

impl Alarm {
    pub(crate) fn new() -> io::Result<Alarm> {
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?;
        Ok(Alarm { timer })
    }

    /// To ring this long from now, and not when it was to ring before; None: not at all.
    pub(crate) fn set(&self, wait: Option<Duration>) -> io::Result<()> {
        let nothing = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let value = match wait {
            None => nothing,
            // Zero would mean never.
            Some(wait) => Timespec::try_from(wait.max(Duration::from_nanos(1)))
                .map_err(|_| io::Error::from(Errno::INVAL))?,
        };
        let once = Itimerspec {
            it_interval: nothing,
            it_value: value,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    /// Waits until there is something to read or the alarm rings, and says whether there is something to read.
    pub(crate) fn wait(&self, stream: impl AsFd) -> io::Result<bool> {
        let mut both = [
            PollFd::new(&stream, PollFlags::IN),
            PollFd::new(&self.timer, PollFlags::IN),
        ];
        retry_on_intr(|| poll(&mut both, None))?;
        Ok(!both[0].revents().is_empty())
    }
}
