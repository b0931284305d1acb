//! Who a process is. From kill(2) and sysctl(3); what they hide is None or unknown, never guessed.

use super::fork::PerProcess;
use super::sysctl;
use crate::sys::unix::user::user_name;
pub(crate) use crate::sys::unix::user::{host_name, own_pid};
use crate::sys::{Namespace, Presence};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use std::time::{Duration, SystemTime};

/// What the kernel's table says of a process.
pub(super) struct Entry {
    /// It waits to be reaped.
    ended: bool,
    /// When it started: on macOS by the wall clock of then, on FreeBSD by that of now (a step of the clock moves it).
    started: Duration,
    /// The effective user.
    uid: u32,
    /// The beginning of the program's name.
    name: String,
    /// Its jail, on FreeBSD; 0 outside of all.
    jail: u64,
}

/// Whether a process is there. A thread's number is never a process's here.
pub(crate) fn presence(pid: u32) -> Presence {
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Presence::Absent;
    };
    match test_kill_process(number) {
        // Both succeed for a process that only waits to be reaped.
        Ok(()) | Err(Errno::PERM) => match entry(pid) {
            Some(entry) if entry.ended => Presence::Ended,
            _ => Presence::Alive,
        },
        Err(Errno::SRCH) if hides_processes() => Presence::Unknown,
        Err(Errno::SRCH) => Presence::Absent,
        Err(_) => Presence::Unknown,
    }
}

/// Whether this is a part of the kernel, which claims nothing: 0 is; what else is one is not told apart here.
pub(crate) fn is_of_the_kernel(pid: u32) -> bool {
    pid == 0
}

/// The wall time at which a process started.
pub(crate) fn started(pid: u32) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(entry(pid)?.started)
}

/// The name (or number) of the user that a process runs as.
pub(crate) fn user(pid: u32) -> Option<String> {
    let uid = entry(pid)?.uid;
    Some(user_name(uid).unwrap_or_else(|| uid.to_string()))
}

/// The command line of a process, arguments apart by blanks; in brackets the mere name, where the kernel does not tell more (macOS: of another user's process).
pub(crate) fn command(pid: u32) -> Option<String> {
    let line = platform::arguments(pid).filter(|line| !line.is_empty());
    line.or_else(|| Some(format!("[{}]", entry(pid)?.name)))
}

/// Nothing more is known here.
pub(crate) fn status(_: u32) -> crate::sys::Status {
    crate::sys::Status::default()
}

/// Whether this process sees every process of the machine.
pub(crate) fn sees_all_pids() -> bool {
    !hides_processes() && entry(own_pid()).is_some_and(|own| own.jail == 0)
}

/// The number of our jail, in which other processes' numbers mean nothing outside; there is no namespace of time. Not kept: a process may enter one.
pub(crate) fn namespace(kind: Namespace) -> Option<u64> {
    match kind {
        Namespace::Pid if cfg!(target_os = "freebsd") => Some(entry(own_pid())?.jail),
        Namespace::Pid | Namespace::Time => None,
    }
}

/// When a process started, as a number that no step of the clock changes: microseconds, since 1970 on macOS (filelock's SoftFileLock writes the same) and since boot on FreeBSD.
pub(crate) fn start_ticks(pid: u32) -> Option<u64> {
    let started = platform::unmoved_start(pid)?;
    u64::try_from(started.as_micros()).ok()
}

/// The same of this process: asked once.
pub(crate) fn own_start_ticks() -> Option<u64> {
    static KNOWN: PerProcess<Option<u64>> = PerProcess::new();
    *KNOWN.get(|| start_ticks(own_pid()))
}

/// The boot id of this machine: another one after each start.
pub(crate) fn boot_id() -> Option<u128> {
    static KNOWN: PerProcess<Option<u128>> = PerProcess::new();
    *KNOWN.get(platform::boot_id)
}

fn entry(pid: u32) -> Option<Entry> {
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0)?;
    let name = [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PID, pid];
    platform::read_entry(&sysctl::by_number(&name).ok()?)
}

pub(crate) use platform::hides_processes;

/// The text before the first zero.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(target_os = "macos")]
mod platform {
    use super::*;

    /// How long a `kinfo_proc` is, and what stands in it where. sys/sysctl.h declares it; 64-bit systems have had this one since 10.5.
    const LENGTH: usize = 648;
    const STARTED: usize = 0;
    const STATUS: usize = 36;
    const NAME: std::ops::Range<usize> = 243..260;
    const EFFECTIVE_UID: usize = 420;

    fn four(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
        bytes.get(at..at + 4)?.try_into().ok()
    }

    /// None: another form, or no such process, for which the answer is empty.
    pub(super) fn read_entry(bytes: &[u8]) -> Option<Entry> {
        if bytes.len() != LENGTH {
            return None;
        }
        let seconds = bytes.get(STARTED..STARTED + 8)?.try_into().ok()?;
        let seconds = u64::try_from(i64::from_ne_bytes(seconds)).ok()?;
        let micros = u32::from_ne_bytes(four(bytes, STARTED + 8)?);
        Some(Entry {
            ended: u32::from(bytes[STATUS]) == libc::SZOMB,
            started: Duration::new(seconds, micros.checked_mul(1000)?),
            uid: u32::from_ne_bytes(four(bytes, EFFECTIVE_UID)?),
            name: text(&bytes[NAME]),
            jail: 0,
        })
    }

    /// What was written down at the start stays.
    pub(super) fn unmoved_start(pid: u32) -> Option<Duration> {
        entry(pid).map(|entry| entry.started)
    }

    /// KERN_PROCARGS2: how many, the path, zeros, then the arguments, each with a zero behind it, then the environment.
    pub(super) fn arguments(pid: u32) -> Option<String> {
        let pid = i32::try_from(pid).ok()?;
        let all = sysctl::by_number_within(
            &[libc::CTL_KERN, libc::KERN_PROCARGS2, pid],
            // ARG_MAX.
            1 << 20,
        )
        .ok()?;
        let count = usize::try_from(i32::from_ne_bytes(four(&all, 0)?)).ok()?;
        let rest = &all[4..];
        let path = rest.iter().position(|&b| b == 0)?;
        let first = rest[path..].iter().position(|&b| b != 0)?;
        let arguments = rest[path + first..].split(|&b| b == 0).take(count);
        let arguments: Vec<_> = arguments.map(String::from_utf8_lossy).collect();
        Some(arguments.join(" "))
    }

    /// kill(2) tells of every process.
    pub(crate) fn hides_processes() -> bool {
        false
    }

    pub(super) fn boot_id() -> Option<u128> {
        let id = text(&sysctl::by_name(c"kern.bootsessionuuid").ok()?);
        u128::from_str_radix(&id.trim().replace('-', ""), 16).ok()
    }
}

#[cfg(target_os = "freebsd")]
mod platform {
    use super::*;
    use std::ptr;

    /// How often the two times that belong together are read before it is given up: the clock would have to be stepped in between.
    const READS: usize = 8;

    /// None: another form than this program was built for.
    pub(super) fn read_entry(bytes: &[u8]) -> Option<Entry> {
        let length = size_of::<libc::kinfo_proc>();
        if bytes.len() < length {
            return None;
        }
        // SAFETY: there are as many bytes as it has, all initialised; it is made of integers and of pointers that are never followed. Nothing asks for an alignment.
        let entry: libc::kinfo_proc = unsafe { ptr::read_unaligned(bytes.as_ptr().cast()) };
        if usize::try_from(entry.ki_structsize) != Ok(length) {
            return None;
        }
        let name: Vec<u8> = entry.ki_comm.iter().map(|&c| c as u8).collect();
        Some(Entry {
            ended: entry.ki_stat == libc::SZOMB,
            started: time(entry.ki_start)?,
            uid: entry.ki_uid,
            name: text(&name),
            jail: u64::try_from(entry.ki_jid).ok()?,
        })
    }

    fn time(value: libc::timeval) -> Option<Duration> {
        let micros = u32::try_from(value.tv_usec).ok()?;
        Some(Duration::new(
            u64::try_from(value.tv_sec).ok()?,
            micros.checked_mul(1000)?,
        ))
    }

    /// The kernel counts from boot, and adds the wall time of boot when it is asked. A step of the clock moves both.
    pub(super) fn unmoved_start(pid: u32) -> Option<Duration> {
        for _ in 0..READS {
            let before = booted()?;
            let started = entry(pid)?.started;
            if booted()? == before {
                return started.checked_sub(before);
            }
        }
        None
    }

    fn booted() -> Option<Duration> {
        let bytes = sysctl::by_name(c"kern.boottime").ok()?;
        if bytes.len() != size_of::<libc::timeval>() {
            return None;
        }
        // SAFETY: there are as many bytes as it has, all initialised; it is made of integers. Nothing asks for an alignment.
        time(unsafe { ptr::read_unaligned(bytes.as_ptr().cast()) })
    }

    /// Each argument has a zero behind it.
    pub(super) fn arguments(pid: u32) -> Option<String> {
        let pid = i32::try_from(pid).ok()?;
        let name = [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_ARGS, pid];
        let line = sysctl::by_number_within(&name, 1 << 18).ok()?;
        let line = line.strip_suffix(&[0]).unwrap_or(&line);
        Some(String::from_utf8_lossy(line).replace('\0', " "))
    }

    /// With these settings kill(2) says of other users' processes that there are none, unless root asks.
    pub(crate) fn hides_processes() -> bool {
        let is_off = |name| sysctl::by_name(name).is_ok_and(|value| value.iter().all(|&b| b == 0));
        let settings = [
            c"security.bsd.see_other_uids",
            c"security.bsd.see_other_gids",
            c"security.bsd.see_jail_proc",
        ];
        !rustix::process::geteuid().is_root() && settings.into_iter().any(is_off)
    }

    /// There since FreeBSD 13.
    pub(super) fn boot_id() -> Option<u128> {
        let id = sysctl::by_name(c"kern.boot_id").ok()?;
        id.try_into().ok().map(u128::from_be_bytes)
    }
}
