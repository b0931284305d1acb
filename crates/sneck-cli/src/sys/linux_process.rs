//! Who bears a process number, asked through a pidfd. Not for: who it is.

use super::super::Bearer;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::Timespec;

/// Who bears this number right now, in our pid namespace.
pub(crate) fn bearer(pid: u32) -> Bearer {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Bearer::Nobody;
    };
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(Errno::SRCH) => return Bearer::Nobody,
        // INVAL before Linux 6.9 and NOENT since.
        Err(Errno::INVAL | Errno::NOENT) => return Bearer::Thread,
        Err(_) => return Bearer::Unknown,
    };
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // Readable: it has ended, and only waits to be reaped.
    match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&at_once)) {
        Ok(0) => Bearer::Process,
        Ok(_) => Bearer::Nobody,
        Err(_) => Bearer::Unknown,
    }
}
