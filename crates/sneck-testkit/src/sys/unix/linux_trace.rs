//! A forked child that stands still before and after each of its system calls, and can be killed there.
//!
//! Not strace: that counts the calls of a whole life, in which the start of a program makes some more or fewer; this one begins where it is told to. Its
//! threads, if it starts any, run freely and die with it.

use super::{Fork, fork};
use rustix::process::{Signal, WaitOptions, kill_process, waitpid};
use std::io;
use std::ptr;

// From linux/ptrace.h: libc has them for glibc alone.
const GET_SYSCALL_INFO: u32 = 0x420e;
const ENTRY: u8 = 1;

/// What the kernel tells of a call that is about to be made.
#[repr(C)]
#[derive(Debug, Default)]
struct SyscallInfo {
    what: u8,
    processor: u32,
    instruction: u64,
    stack: u64,
    number: u64,
    arguments: [u64; 7],
}

/// A call that a traced process recognisably makes and that does nothing.
pub fn mark() {
    let _ = rustix::process::getppid();
}

/// A traced process stands still at a system call.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    number: u64,
    /// Whether it is about to make the call; else it has made it, and does not know yet.
    pub entering: bool,
}

/// A forked child that stands still before and after each of its system calls. Killed and reaped when dropped.
#[derive(Debug)]
pub struct Traced {
    fork: Fork,
    /// The call that it is in.
    inside: Option<u64>,
}

/// Fork, run this in the child, and have it stand still at every system call. To be driven by this very thread, as the kernel wants it.
///
/// # Panics
/// If that cannot be had.
pub fn trace(work: impl FnOnce() -> i32) -> Traced {
    let fork = fork(|| {
        let none = ptr::null_mut::<libc::c_void>();
        // SAFETY: PTRACE_TRACEME reads none of its arguments.
        let done = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, none, none) };
        assert_eq!(done, 0, "ptrace: {}", io::Error::last_os_error());
        // SAFETY: raise(3) takes a number. Here the parent takes over.
        unsafe { libc::raise(libc::SIGSTOP) };
        work()
    });
    let mut traced = Traced { fork, inside: None };
    let stopped = traced.wait();
    assert_eq!(stopped, Some(libc::SIGSTOP), "the child stops at first");
    // Killed with us; stops at calls are told from those at signals by the high bit.
    let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD;
    // SAFETY: the child is stopped and ours; the address is not used and the data is a number.
    let done = unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, traced.raw(), 0, options) };
    assert_eq!(done, 0, "ptrace: {}", io::Error::last_os_error());
    traced
}

impl Traced {
    fn raw(&self) -> libc::pid_t {
        self.fork.pid.map_or(0, |pid| pid.as_raw_nonzero().get())
    }

    /// The signal at which it stands still now. None: it has ended, and is reaped.
    fn wait(&mut self) -> Option<i32> {
        let pid = self.fork.pid?;
        loop {
            match waitpid(Some(pid), WaitOptions::empty()) {
                Ok(Some((_, status))) => {
                    if let Some(signal) = status.stopping_signal() {
                        return Some(signal);
                    }
                    self.fork.pid = None;
                    let died = status.terminating_signal();
                    let killed = died.is_none_or(|s| s == libc::SIGKILL);
                    assert!(killed, "the traced child died of signal {died:?}");
                    let bad = status.exit_status().filter(|&s| s != 0);
                    assert_eq!(bad, None, "the traced child failed");
                    return None;
                }
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("waitpid: {error}"),
            }
        }
    }

    /// Let it run to the next side of a system call. None: it has ended well.
    ///
    /// # Panics
    /// If it has failed.
    pub fn step(&mut self) -> Option<Call> {
        let mut signal = 0;
        loop {
            // SAFETY: the child is stopped and ours; the address is not used and the data is a signal's number or none.
            let done = unsafe { libc::ptrace(libc::PTRACE_SYSCALL, self.raw(), 0, signal) };
            assert_eq!(done, 0, "ptrace: {}", io::Error::last_os_error());
            signal = self.wait()?;
            if signal == libc::SIGTRAP | 0x80 {
                return Some(self.call());
            }
        }
    }

    fn call(&mut self) -> Call {
        if let Some(number) = self.inside.take() {
            return Call {
                number,
                entering: false,
            };
        }
        let mut info = SyscallInfo::default();
        let size = size_of::<SyscallInfo>();
        // SAFETY: the child is stopped and ours; the kernel writes at most `size` bytes to `info`, which has as many and is plain numbers.
        let got = unsafe { libc::ptrace(GET_SYSCALL_INFO as _, self.raw(), size, &raw mut info) };
        assert!(got > 0, "ptrace: {}", io::Error::last_os_error());
        assert_eq!(info.what, ENTRY, "calls alternate");
        let number = info.number;
        self.inside = Some(number);
        Call {
            number,
            entering: true,
        }
    }

    /// `kill -9` where it stands (a call that it is about to make is not made), and reap: its number is nobody's then.
    ///
    /// # Panics
    /// If that is not possible.
    pub fn kill(&mut self) {
        if let Some(pid) = self.fork.pid {
            kill_process(pid, Signal::KILL).expect("one's own child can be killed");
            while self.wait().is_some() {}
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The calls that locks are made of.
const CALLS: &[(libc::c_long, &str)] = &[
    (libc::SYS_getppid, "getppid"),
    (libc::SYS_openat, "openat"),
    (libc::SYS_close, "close"),
    (libc::SYS_read, "read"),
    (libc::SYS_pread64, "pread64"),
    (libc::SYS_write, "write"),
    (libc::SYS_pwrite64, "pwrite64"),
    (libc::SYS_ftruncate, "ftruncate"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_flock, "flock"),
    (libc::SYS_fcntl, "fcntl"),
    (libc::SYS_linkat, "linkat"),
    (libc::SYS_symlinkat, "symlinkat"),
    (libc::SYS_readlinkat, "readlinkat"),
    (libc::SYS_unlinkat, "unlinkat"),
    (libc::SYS_mkdirat, "mkdirat"),
    (libc::SYS_renameat2, "renameat2"),
    (libc::SYS_getdents64, "getdents64"),
    (libc::SYS_statx, "statx"),
    (libc::SYS_fstat, "fstat"),
    (libc::SYS_newfstatat, "newfstatat"),
    (libc::SYS_fstatfs, "fstatfs"),
    (libc::SYS_statfs, "statfs"),
    (libc::SYS_utimensat, "utimensat"),
    (libc::SYS_fchmod, "fchmod"),
    (libc::SYS_getpid, "getpid"),
    (libc::SYS_pidfd_open, "pidfd_open"),
    (libc::SYS_kill, "kill"),
    (libc::SYS_ppoll, "ppoll"),
    (libc::SYS_futex, "futex"),
    (libc::SYS_mmap, "mmap"),
    (libc::SYS_munmap, "munmap"),
    (libc::SYS_mprotect, "mprotect"),
    (libc::SYS_brk, "brk"),
    (libc::SYS_getrandom, "getrandom"),
    (libc::SYS_clock_nanosleep, "clock_nanosleep"),
    (libc::SYS_rt_sigprocmask, "rt_sigprocmask"),
    (libc::SYS_clone3, "clone3"),
    (libc::SYS_sched_yield, "sched_yield"),
    (libc::SYS_prctl, "prctl"),
    (libc::SYS_uname, "uname"),
    (libc::SYS_geteuid, "geteuid"),
    // Younger machines have only those above.
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, "open"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_link, "link"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_readlink, "readlink"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, "unlink"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rename, "rename"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, "mkdir"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rmdir, "rmdir"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_poll, "poll"),
];

impl Call {
    /// The call's name, or its number.
    pub fn name(&self) -> String {
        let known = CALLS
            .iter()
            .find(|(number, _)| u64::try_from(*number) == Ok(self.number));
        known.map_or_else(|| self.number.to_string(), |(_, name)| (*name).to_owned())
    }

    /// Whether it is what [`mark`] does.
    pub fn is_mark(&self) -> bool {
        self.name() == "getppid"
    }
}
