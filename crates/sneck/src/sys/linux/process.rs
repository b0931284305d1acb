//! Who a process is. From pidfds and /proc; what /proc hides (hidepid, another namespace) is None, never guessed.

use super::fork::PerProcess;
use crate::inspect::Pace;
use crate::sys::unix::user::user_name;
pub(crate) use crate::sys::unix::user::{host_name, own_pid};
use crate::sys::{Namespace, Presence, Status};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process};
use rustix::time::Timespec;
use std::fs;
use std::time::{Duration, SystemTime};

fn number(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

/// A handle on a process that becomes readable when its last thread is gone.
pub(crate) fn open(pid: u32) -> Result<OwnedFd, Presence> {
    let Some(pid) = number(pid) else {
        return Err(Presence::Absent);
    };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => Ok(handle),
        Err(Errno::SRCH) => Err(Presence::Absent),
        // INVAL before Linux 6.9 and NOENT since: the number is a thread's, not a process's.
        Err(Errno::INVAL | Errno::NOENT) => Err(Presence::MereThread),
        // No pidfd to be had (old kernel, seccomp, no descriptors left): the old question. PERM means somebody is there.
        Err(_) => Err(match test_kill_process(pid) {
            Ok(()) | Err(Errno::PERM) => Presence::Alive,
            Err(Errno::SRCH) => Presence::Absent,
            Err(_) => Presence::Unknown,
        }),
    }
}

/// Whether a process is there.
pub(crate) fn presence(pid: u32) -> Presence {
    let handle = match open(pid) {
        Ok(handle) => handle,
        Err(presence) => return presence,
    };
    let mut fds = [PollFd::new(&handle, PollFlags::IN)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    match poll(&mut fds, Some(&at_once)) {
        Ok(0) => Presence::Alive,
        Ok(_) => Presence::Ended,
        Err(_) => Presence::Unknown,
    }
}

/// The clock ticks since boot at which a process started.
pub(crate) fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The command's name stands in parentheses and may hold any byte: count fields after the last one.
    let after = stat.iter().rposition(|&b| b == b')')? + 1;
    let text = std::str::from_utf8(&stat[after..]).ok()?;
    text.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Whether this is a thread of the kernel, which claims nothing: PF_KTHREAD in include/linux/sched.h.
pub(crate) fn is_of_the_kernel(pid: u32) -> bool {
    const PF_KTHREAD: u64 = 0x0020_0000;
    let flags = || {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let after = stat.iter().rposition(|&b| b == b')')? + 1;
        let text = std::str::from_utf8(&stat[after..]).ok()?;
        text.split_ascii_whitespace().nth(6)?.parse::<u64>().ok()
    };
    flags().is_some_and(|flags| flags & PF_KTHREAD != 0)
}

/// The wall time at which a process started. Only as good as the clock: a step moves it.
pub(crate) fn started(pid: u32) -> Option<SystemTime> {
    let ticks = start_ticks(pid)?;
    let per_second = rustix::param::clock_ticks_per_second();
    let after_boot = Duration::from_millis(ticks.checked_mul(1000)? / per_second);
    let age = super::clock::since_boot().checked_sub(after_boot)?;
    SystemTime::now().checked_sub(age)
}

/// The command line of a process, arguments apart by blanks.
pub(crate) fn command(pid: u32) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let line = line.strip_suffix(&[0]).unwrap_or(&line);
    if line.is_empty() {
        let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
        let name = String::from_utf8_lossy(&name);
        return Some(format!("[{}]", name.trim_end()));
    }
    Some(String::from_utf8_lossy(line).replace('\0', " "))
}

/// The name (or number) of the user that a process runs as.
pub(crate) fn user(pid: u32) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("Uid:"))?;
    let uid: u32 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(user_name(uid).unwrap_or_else(|| uid.to_string()))
}

/// What /proc says about a process. What it does not say is left out.
pub(crate) fn status(pid: u32) -> Status {
    let text = fs::read(format!("/proc/{pid}/status")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let number = |name: &str| field(name)?.trim().parse().ok();
    let inner = || {
        field("NSpid:")?
            .split_ascii_whitespace()
            .nth_back(0)?
            .parse()
            .ok()
    };
    let state = field("State:").and_then(|state| state.trim().chars().next());
    let threads = number("Threads:");
    Status {
        inner_pid: inner(),
        parent: number("PPid:"),
        threads,
        pace: match state {
            Some('T' | 't') => Pace::Stopped,
            // The state is the first thread's: others may live on.
            Some('Z' | 'X') if threads.is_none_or(|threads| threads <= 1) => Pace::Ended,
            _ => Pace::Runs,
        },
        groups: fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default(),
    }
}

/// Whether /proc hides the processes of other users (mounted with `hidepid`). What is hidden cannot be found by looking, so init is looked for, which is always there.
pub(crate) fn hides_processes() -> bool {
    fs::metadata("/proc/1").is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// Whether this process sees every process of the machine.
pub(crate) fn sees_all_pids() -> bool {
    // PROC_PID_INIT_INO in include/linux/proc_ns.h: the first pid namespace has this number since Linux 3.8. Not kept: a forked child can live
    // in another namespace.
    fs::read_link("/proc/self/ns/pid").is_ok_and(|l| l.as_os_str() == "pid:[4026531836]")
}

/// The number of one of our namespaces. Not kept: a thread may move to another one.
pub(crate) fn namespace(kind: Namespace) -> Option<u64> {
    let path = match kind {
        Namespace::Pid => "/proc/self/ns/pid",
        Namespace::Time => "/proc/self/ns/time",
    };
    let link = fs::read_link(path).ok()?;
    let number = link.to_str()?.split_once('[')?.1;
    number.strip_suffix(']')?.parse().ok()
}

/// The boot id of this machine: another one after each start.
pub(crate) fn boot_id() -> Option<u128> {
    static KNOWN: PerProcess<Option<u128>> = PerProcess::new();
    *KNOWN.get(|| {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        u128::from_str_radix(&id.trim().replace('-', ""), 16).ok()
    })
}

/// The ticks at which this process started: asked once.
pub(crate) fn own_start_ticks() -> Option<u64> {
    static KNOWN: PerProcess<Option<u64>> = PerProcess::new();
    *KNOWN.get(|| start_ticks(own_pid()))
}
