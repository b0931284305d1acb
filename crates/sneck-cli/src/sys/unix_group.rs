//! Process groups, and the terminal that one of them at a time has. Not for: when any of it is wanted.

use super::{HeldCommand, exchange_action, is_ignored, set_ignored};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr, tcsetpgrp};
use std::io;
use std::os::fd::OwnedFd;

// ---- the command's group -----------------------------------------------------------------------------------------------

impl HeldCommand {
    /// Makes the process the leader of a group of its own. To be called before it is let go: afterwards the kernel refuses.
    pub(crate) fn lead_group(&self) -> io::Result<()> {
        match rustix::process::setpgid(Some(self.pid), Some(self.pid)) {
            // It was ended while it was held, which letting it go will tell.
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a signal to all of the group that the command leads; does nothing once the command was reaped, since then the number may be another group's.
    pub(crate) fn signal_group(&self, signal: i32) -> io::Result<()> {
        if self.ended.get().is_some() {
            return Ok(());
        }
        kill(-self.pid(), signal)
    }

    /// The signal that stopped the command, if one did and it has not been continued; each stop is told once.
    pub(crate) fn stopped_by(&self) -> io::Result<Option<i32>> {
        if self.ended.get().is_some() {
            return Ok(None);
        }
        let look = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        let seen = retry_on_intr(|| waitid(WaitId::Pid(self.pid), look))?;
        Ok(seen.and_then(|status| status.stopping_signal()))
    }
}

/// The group that a process belongs to; None: there is no such process here.
pub(crate) fn group_of(pid: i32) -> Option<i32> {
    // SAFETY: getpgid takes a number and returns one.
    let group = unsafe { libc::getpgid(pid) };
    (group >= 0).then_some(group)
}

// ---- our own group -----------------------------------------------------------------------------------------------------

/// Sends our whole group a signal that stops, as the terminal would; returns once we were continued, or at once if the kernel says that nobody could do
/// that, or if we were started with this signal ignored.
pub(crate) fn stop_group(signal: i32) -> io::Result<()> {
    // The handler of one of them ignores it for all.
    if signal == libc::SIGTSTP && super::original().ignores_sigtstp {
        return Ok(());
    }
    if is_ignored(signal) {
        return Ok(());
    }
    let Some(handler) = set_ignored(signal, false) else {
        return Err(io::Error::last_os_error());
    };
    let mask = super::change_mask(libc::SIG_UNBLOCK, Some(&super::set_of(&[signal])));
    // It goes to this thread, the only one that does not block it, before kill returns: there we stop.
    let sent = kill(0, signal);
    super::change_mask(libc::SIG_SETMASK, Some(&mask));
    exchange_action(signal, Some(&handler));
    sent
}

/// Sends our own group a signal that we handle.
pub(crate) fn signal_own_group(signal: i32) -> io::Result<()> {
    kill(0, signal)
}

fn kill(whom: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill touches no memory. The number is our own group's or that of a child that is not reaped, so it is nobody else's.
    match unsafe { libc::kill(whom, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether this process leads its session: then the kernel tells it, and only it, when the terminal hangs up.
pub(crate) fn leads_session() -> bool {
    // Not rustix's getsid: it takes for granted that the number is above 0 (1.1). In a pid namespace whose session began outside it is 0.
    // SAFETY: getsid takes a number and returns one.
    let leader = unsafe { libc::getsid(0) };
    leader == rustix::process::getpid().as_raw_nonzero().get()
}

/// Does what SIGTSTP does to a process that does not handle it: stops this one until SIGCONT, unless nobody could
/// continue it (the kernel knows) or it was started with SIGTSTP ignored. A handler that was installed is back when
/// this returns.
pub(crate) fn stop_as_asked() -> io::Result<()> {
    if super::original().ignores_sigtstp {
        return Ok(());
    }
    let Some(handler) = set_ignored(libc::SIGTSTP, false) else {
        return Err(io::Error::last_os_error());
    };
    // SAFETY: the disposition is the default: no handler runs. It goes to this thread, which stops before it returns.
    let raised = unsafe { libc::raise(libc::SIGTSTP) };
    exchange_action(libc::SIGTSTP, Some(&handler));
    match raised {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

// ---- the terminal ------------------------------------------------------------------------------------------------------

/// The terminal of our session, which one of its groups at a time may read from.
#[derive(Debug)]
pub(crate) struct Terminal {
    line: OwnedFd,
    own_group: Pid,
    /// How it was set when it was found.
    modes: Option<Termios>,
}

impl Terminal {
    /// None: the session has none, or our group has no number here (it began outside our pid namespace), so that nobody could give it back to us.
    pub(crate) fn of_session() -> Option<Terminal> {
        // SAFETY: getpgrp takes nothing, returns a number and cannot fail.
        let own_group = Pid::from_raw(unsafe { libc::getpgrp() })?;
        let options = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let line = rustix::fs::open("/dev/tty", options, Mode::empty()).ok()?;
        let modes = tcgetattr(&line).ok();
        Some(Terminal {
            line,
            own_group,
            modes,
        })
    }

    /// Whether our group has it.
    pub(crate) fn is_ours(&self) -> bool {
        tcgetpgrp(&self.line) == Ok(self.own_group)
    }

    /// Whether this group has it.
    pub(crate) fn is_of(&self, group: i32) -> bool {
        tcgetpgrp(&self.line).is_ok_and(|has| has.as_raw_nonzero().get() == group)
    }

    pub(crate) fn give(&self, group: i32) -> io::Result<()> {
        let group = Pid::from_raw(group).ok_or(Errno::INVAL)?;
        Ok(tcsetpgrp(&self.line, group)?)
    }

    /// SIGTTOU must be blocked: whoever takes the terminal does not have it.
    pub(crate) fn take_back(&self) -> io::Result<()> {
        Ok(tcsetpgrp(&self.line, self.own_group)?)
    }

    /// Sets it as it was when it was found.
    pub(crate) fn set_back(&self) {
        if let Some(modes) = &self.modes {
            // There is nothing to be done if that fails.
            let _ = tcsetattr(&self.line, OptionalActions::Drain, modes);
        }
    }
}

/// Whether stderr is this session's terminal, and this process among those that may draw on it now.
pub(crate) fn in_foreground() -> bool {
    // As with getsid above: our group, too, is 0 when it is not of this pid namespace.
    // SAFETY: getpgrp takes nothing, returns a number and cannot fail.
    let ours = unsafe { libc::getpgrp() };
    rustix::termios::tcgetpgrp(rustix::stdio::stderr())
        .is_ok_and(|group| group.as_raw_nonzero().get() == ours)
}

/// Whether the terminal can erase what was written, by what it is said to be.
pub(crate) fn can_erase() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term != "dumb" && !term.is_empty())
}
