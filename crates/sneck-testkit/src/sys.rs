//! What tests need of the operating system and the standard library does not give: forks, signals, limits, other users. The only `unsafe` of
//! the tests.

use crate::PATIENCE;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions, kill_process, waitpid};
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::io;
use std::mem::{MaybeUninit, zeroed};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::ptr;
use std::time::{Duration, Instant};

/// Nanoseconds on a clock that all processes of the machine share.
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let nanos = now.tv_sec * 1_000_000_000 + now.tv_nsec;
    u64::try_from(nanos).unwrap_or(0)
}

/// This thread, as no other thread of the machine is called.
pub fn own_name() -> String {
    format!("{}.{}", std::process::id(), thread_number())
}

/// The number of this thread.
pub fn thread_number() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// A child made by fork(2), without exec. Killed and reaped when dropped, unless it has been waited for.
#[derive(Debug)]
pub struct Fork {
    pid: Option<Pid>,
}

/// Fork, and run this in the child; what it returns is the child's exit status. A child that panics ends with 101, one that hangs is
/// ended by SIGALRM.
///
/// # Panics
/// If there can be no fork.
pub fn fork(work: impl FnOnce() -> i32) -> Fork {
    // SAFETY: the child is one thread of a program that may have had several. It runs `work`, whose business it is to do only what the C library
    // allows there (its allocator is fork-safe), and leaves by _exit: no destructors or handlers of the parent run.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // Before the test itself runs out of patience.
        let seconds = u32::try_from(PATIENCE.as_secs() / 3).unwrap_or(20);
        // SAFETY: alarm(2) has no preconditions.
        unsafe { libc::alarm(seconds) };
        let status = catch_unwind(AssertUnwindSafe(work)).unwrap_or(101);
        // SAFETY: ends this process at once.
        unsafe { libc::_exit(status) }
    }
    let pid = Pid::from_raw(pid).filter(|_| pid > 0);
    assert!(pid.is_some(), "fork: {}", io::Error::last_os_error());
    Fork { pid }
}

impl Fork {
    /// Its number.
    ///
    /// # Panics
    /// If it has been waited for.
    pub fn pid(&self) -> u32 {
        let pid = self.pid.expect("the fork has not been waited for");
        pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Wait for its end: the exit status, or 128 and the signal.
    ///
    /// # Panics
    /// If it cannot be waited for.
    pub fn wait(mut self) -> i32 {
        let pid = self.pid.take().expect("a fork is waited for once");
        wait_for(pid)
    }

    /// Let it live on when this goes.
    pub fn leave(mut self) -> u32 {
        let pid = self.pid();
        self.pid = None;
        pid
    }
}

impl Drop for Fork {
    fn drop(&mut self) {
        if let Some(pid) = self.pid.take() {
            let _ = kill_process(pid, Signal::KILL);
            wait_for(pid);
        }
    }
}

fn wait_for(pid: Pid) -> i32 {
    loop {
        match waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => {
                let signal = status.terminating_signal().map(|s| 128 + s);
                return status.exit_status().or(signal).unwrap_or(-1);
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("waitpid: {error}"),
        }
    }
}

/// Sleep until nobody holds the other end of our standard input any more, for as long as that takes.
pub fn until_hangup() {
    // SAFETY: alarm(2) has no preconditions. It takes back the one that `fork` set.
    unsafe { libc::alarm(0) };
    let input = io::stdin();
    loop {
        let mut fds = [PollFd::new(&input, PollFlags::empty())];
        let _ = poll(&mut fds, None);
        if fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) {
            return;
        }
    }
}

fn full_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises the set it is given.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: initialised in the line above.
    unsafe { set.assume_init() }
}

/// The command starts with every signal blocked.
pub fn block_all_signals(command: &mut Command) {
    let all = full_set();
    let block = move || {
        // SAFETY: a valid set; the old mask is not asked for; async-signal-safe, as is wanted between fork and exec.
        match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut()) } {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    };
    // SAFETY: `block` calls one async-signal-safe function and touches nothing that the parent's threads may have locked.
    unsafe { command.pre_exec(block) };
}

/// The signal that tests send: its usual action ends the process, so a test that forgets [`handle_signal`] notices.
pub const SIGNAL: i32 = libc::SIGUSR1;

extern "C" fn nothing(_: libc::c_int) {}

/// From now on [`SIGNAL`] runs a handler, without SA_RESTART: it interrupts system calls.
///
/// # Panics
/// If the system refuses.
pub fn handle_signal() {
    // SAFETY: sigaction is a plain C struct for which all zeroes is a value.
    let mut action: libc::sigaction = unsafe { zeroed() };
    action.sa_sigaction = nothing as *const () as libc::sighandler_t;
    // SAFETY: the handler has the right type and does nothing; the action is valid; the old one is not asked for.
    let done = unsafe { libc::sigaction(SIGNAL, &raw const action, ptr::null_mut()) };
    assert_eq!(done, 0, "sigaction: {}", io::Error::last_os_error());
}

/// Send [`SIGNAL`] to one thread of this process.
///
/// # Panics
/// If there is no such thread.
pub fn signal_thread(thread: i32) {
    let own = libc::pid_t::try_from(std::process::id()).unwrap_or(0);
    // SAFETY: tgkill takes three numbers.
    let done = unsafe { libc::syscall(libc::SYS_tgkill, own, thread, SIGNAL) };
    assert_eq!(done, 0, "tgkill: {}", io::Error::last_os_error());
}

/// Block [`SIGNAL`] in this thread, and have one wait to be delivered.
///
/// # Panics
/// If the system refuses.
pub fn block_and_raise() {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set it is given.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised in the line above.
    let mut set = unsafe { set.assume_init() };
    // SAFETY: an initialised set and a valid signal number.
    unsafe { libc::sigaddset(&raw mut set, SIGNAL) };
    // SAFETY: a valid set; a thread may change its own mask.
    let done = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
    assert_eq!(done, 0);
    signal_thread(thread_number());
}

/// The signals that this thread blocks and that wait for it or its process, as the kernel writes them.
///
/// # Panics
/// If /proc is not there.
pub fn signal_state() -> String {
    let status = fs::read_to_string("/proc/thread-self/status").expect("/proc is there");
    let wanted = ["SigBlk", "SigPnd", "ShdPnd"];
    let lines = status
        .lines()
        .filter(|l| wanted.iter().any(|w| l.starts_with(w)));
    lines
        .map(|l| l.split_whitespace().collect::<Vec<_>>().join(""))
        .collect::<Vec<_>>()
        .join(",")
}

/// No more signals may be queued, which a timer needs.
///
/// # Panics
/// If the system refuses.
pub fn no_timers() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Sigpending, none).expect("a limit can be lowered");
}

/// How many descriptors this process has open.
///
/// # Panics
/// If /proc is not there.
pub fn count_descriptors() -> usize {
    let open = fs::read_dir("/proc/self/fd").expect("/proc is there");
    open.count()
}

/// How many threads this process has.
///
/// # Panics
/// If /proc is not there.
pub fn count_threads() -> usize {
    fs::read_dir("/proc/self/task")
        .expect("/proc is there")
        .count()
}

/// Whether this process may do everything.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Nobody's number.
pub const NOBODY: u32 = 65534;

/// Become a user without rights, for good. Whoever is no root is one already.
///
/// # Panics
/// If the system refuses.
pub fn become_user(uid: u32) {
    if !is_root() {
        return;
    }
    // SAFETY: no groups at all: the pointer is not read.
    let groups = unsafe { libc::setgroups(0, ptr::null()) };
    // SAFETY: takes numbers. The C library tells all threads.
    let group = unsafe { libc::setresgid(uid, uid, uid) };
    // SAFETY: as above.
    let user = unsafe { libc::setresuid(uid, uid, uid) };
    assert_eq!(
        (groups, group, user),
        (0, 0, 0),
        "{}",
        io::Error::last_os_error()
    );
}

/// Take inotify instances until there are no more for this user. They are held until the process ends.
pub fn exhaust_inotify() -> usize {
    let mut taken = 0;
    while let Ok(instance) = rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC) {
        std::mem::forget(instance);
        taken += 1;
    }
    taken
}

/// Send a signal by number to a process.
///
/// # Panics
/// If there is no such process.
pub fn signal_process(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process number"), signal).expect("the process is there");
}

/// Whether the process is there, and no zombie.
pub fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|s| !s.contains(") Z "))
}

/// Whether the process sleeps in the kernel, waiting for something.
pub fn sleeps(pid: u32, thread: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{thread}/stat")).unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after.trim_start().starts_with('S')
}

/// Run a command and wait for it at most this long; then it is killed.
///
/// # Panics
/// If it cannot be started or waited for.
pub fn run_within(command: &mut Command, patience: Duration) -> Option<std::process::ExitStatus> {
    let start = Instant::now();
    let mut child = command
        .spawn()
        .unwrap_or_else(|e| panic!("{:?}: {e}", command.get_program()));
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Some(status);
        }
        if start.elapsed() > patience {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A number that no process has and none will ever get: the kernel gives away smaller ones only.
pub const NO_PROCESS: u32 = 4_194_304;

/// The name of this machine.
pub fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
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
        let mut info = MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
        let size = size_of::<libc::ptrace_syscall_info>();
        let request = libc::PTRACE_GET_SYSCALL_INFO;
        // SAFETY: the child is stopped and ours; the kernel writes at most `size` bytes to `info`, which has as many.
        let got = unsafe { libc::ptrace(request, self.raw(), size, info.as_mut_ptr()) };
        assert!(got > 0, "ptrace: {}", io::Error::last_os_error());
        // SAFETY: all zeroes is a value of this plain C struct, and the kernel has written over some of it.
        let info = unsafe { info.assume_init() };
        assert_eq!(info.op, libc::PTRACE_SYSCALL_INFO_ENTRY, "calls alternate");
        // SAFETY: at an entry the kernel has filled in this side of the union; it is plain numbers.
        let number = unsafe { info.u.entry }.nr;
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
