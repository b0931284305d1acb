//! What tests need of Unix: forks, signals, limits, other users. What children are told that only Unix can do: `commands.rs`. What each system does in its
//! own way: `linux.rs`, `bsd.rs`. Processes that stand still at each of their system calls: `linux_trace.rs`; systems that lack something: `linux_lack.rs`.

mod commands;
#[cfg(target_os = "linux")]
#[path = "linux_lack.rs"]
mod lack;
#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod system;
#[cfg(not(target_os = "linux"))]
#[path = "bsd.rs"]
mod system;
#[cfg(target_os = "linux")]
#[path = "linux_trace.rs"]
mod trace;
#[cfg(not(target_os = "linux"))]
use system::{lack, trace};

pub(crate) use commands::obey;
pub use lack::{Lack, lack};
use system::make_node;
pub use system::{
    NO_PROCESS, count_descriptors, count_threads, count_watches, exhaust_inotify, no_timers,
    resident_kib, runs, sees_all_processes, signal_state, signal_thread, sleeps, thread_number,
    until_ended, zombie_leader,
};
pub use trace::{Call, Traced, mark, trace};

/// The conformance functions that want what only Unix has.
#[macro_export]
#[doc(hidden)]
macro_rules! each_function_of_this_system {
    ($waiting:ident) => {
        $crate::each_conformance_function! { $waiting:
            a_forked_child_cannot_release_what_its_parent_holds
            a_forked_child_that_lives_on_keeps_nothing
            a_forked_child_acquires_whatever_other_threads_were_doing
            a_signal_handler_interrupts_a_wait_for_another_process
            a_signal_handler_interrupts_a_wait_for_another_thread
            a_signal_handler_interrupts_a_wait_until_it_is_free
        }
    };
}

use crate::PATIENCE;
use crate::planted::{Plant, Thing, thing};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::time::{ClockId, clock_gettime};
use std::fmt::Display;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::mem::{MaybeUninit, zeroed};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::ptr;

/// Nanoseconds on a clock that all processes of the machine share.
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let nanos = now.tv_sec * 1_000_000_000 + now.tv_nsec;
    u64::try_from(nanos).unwrap_or(0)
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

fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set it is given.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised in the line above.
    unsafe { set.assume_init() }
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

/// Block [`SIGNAL`] in this thread, and have one wait to be delivered.
///
/// # Panics
/// If the system refuses.
pub fn block_and_raise() {
    let mut set = empty_set();
    // SAFETY: an initialised set and a valid signal number.
    unsafe { libc::sigaddset(&raw mut set, SIGNAL) };
    // SAFETY: a valid set; a thread may change its own mask.
    let done = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
    assert_eq!(done, 0);
    signal_thread(thread_number());
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
    // SAFETY: takes a number: of root it changes the real, the effective and the saved one. The C library tells all threads.
    let group = unsafe { libc::setgid(uid) };
    // SAFETY: as above.
    let user = unsafe { libc::setuid(uid) };
    assert_eq!(
        (groups, group, user),
        (0, 0, 0),
        "{}",
        io::Error::last_os_error()
    );
}

/// Let a process stand still.
///
/// # Panics
/// If there is no such process.
pub fn stop(pid: u32) {
    signal_process(pid, Signal::STOP);
}

/// Let a process that stands still go on.
///
/// # Panics
/// If there is no such process.
pub fn go_on(pid: u32) {
    signal_process(pid, Signal::CONT);
}

/// Send a signal by number to a process.
///
/// # Panics
/// If there is no such process.
pub fn signal_process(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process number"), signal).expect("the process is there");
}

/// The name of this machine.
pub fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// What tells this file from all others of its file system, a link not followed. None: nothing stands there.
pub fn file_number(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|m| m.ino())
}

/// Remove a folder with all that is in it, as far as that is possible.
pub fn remove_all(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
}

/// Let all users look into a folder.
///
/// # Panics
/// If it is not ours.
pub fn let_others_in(folder: &Path) {
    fs::set_permissions(folder, Permissions::from_mode(0o755))
        .expect("the mode of one's own folder can be changed");
}

/// Whoever stands still in the middle of adding to [`Lines`] keeps nobody else from it: each line is one write at the end.
pub const LINES_IN_TURN: bool = false;

/// A file that several processes write to at once, line by line.
#[derive(Debug)]
pub struct Lines(File);

impl Lines {
    /// Open it, or begin it.
    ///
    /// # Panics
    /// If the file system does not let us.
    pub fn open(path: &Path) -> Lines {
        let file = File::options().append(true).create(true).open(path);
        Lines(file.expect("a file of a test's own can be opened"))
    }

    /// Write one. One write of a file opened for appending: lines of several processes do not mix.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn add(&self, line: &str) {
        let written = (&self.0).write_all(line.as_bytes());
        written.expect("a file of a test's own can be written");
    }
}

/// Make the claim that `symlink` makes.
///
/// # Errors
/// `AlreadyExists`, or what the file system says.
pub fn make_link(pid: impl Display, path: &Path) -> io::Result<()> {
    symlink(pid.to_string(), path)
}

/// What stands in a claim of `symlink`.
pub fn read_link(path: &Path) -> Option<String> {
    Some(fs::read_link(path).ok()?.to_str()?.to_owned())
}

/// Remove a claim of `symlink`, by its name.
///
/// # Errors
/// What the file system says.
pub fn remove_link(path: &Path) -> io::Result<()> {
    fs::remove_file(path)
}

/// Make another program's directory look as one of this library.
///
/// # Errors
/// What the file system says.
pub fn sign_folder(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o1755))
}

/// A process that always lives.
pub fn somebody() -> u32 {
    1
}

/// The ways in which other programs lock a whole file here, that are flock's family.
pub const WAYS_TO_LOCK: &[&str] = &["flock"];

/// A file that is locked as other programs do it. It is unlocked when this goes.
#[derive(Debug)]
pub struct Strange {
    file: File,
}

impl Strange {
    /// Lock it in this way. None: somebody else has it.
    ///
    /// # Panics
    /// If that does not work otherwise.
    pub fn try_lock(_: &str, path: &Path, mode: sneck::Mode) -> Option<Strange> {
        let how = match mode {
            sneck::Mode::Exclusive => FlockOperation::NonBlockingLockExclusive,
            sneck::Mode::Shared => FlockOperation::NonBlockingLockShared,
        };
        let file = lockable(path);
        match flock(&file, how) {
            Ok(()) => Some(Strange { file }),
            Err(rustix::io::Errno::WOULDBLOCK) => None,
            Err(error) => panic!("flock: {error}"),
        }
    }

    /// Lock it in this way, and sleep until that is done.
    ///
    /// # Panics
    /// If that does not work.
    pub fn lock(_: &str, path: &Path, mode: sneck::Mode) -> Strange {
        let how = match mode {
            sneck::Mode::Exclusive => FlockOperation::LockExclusive,
            sneck::Mode::Shared => FlockOperation::LockShared,
        };
        let file = lockable(path);
        flock(&file, how).expect("it is waited for");
        Strange { file }
    }
}

impl Strange {
    /// Unlock it, and keep it open.
    ///
    /// # Panics
    /// If that does not work.
    pub fn unlock(self) -> File {
        flock(&self.file, FlockOperation::Unlock).expect("it is locked");
        self.file
    }
}

/// Wait until so many stand in the kernel's queue for this file.
///
/// # Panics
/// If they do not come to.
pub fn until_queued(path: &Path, count: usize) {
    let inode = file_number(path).expect("it is there");
    let file = format!(":{inode}");
    crate::block::until("they stand in the queue", || {
        let list = fs::read_to_string("/proc/locks").expect("/proc is there");
        let waits = |line: &&str| {
            let place = line.split_whitespace().find(|w| w.contains(&file));
            line.contains("->") && place.is_some_and(|p| p.ends_with(&file))
        };
        list.lines().filter(waits).count() == count
    });
}

/// Whoever holds one of these loses it when the file is removed.
pub const LOST_WHEN_REMOVED: &[&str] = &["flock", "pidfile"];

fn lockable(path: &Path) -> File {
    let mut options = File::options();
    let file = options.read(true).write(true).create(true).truncate(false);
    file.open(path).expect("a lock file can be opened")
}

/// The protocols of files that this system has.
pub(crate) const PROTOCOLS: &[&str] = &[
    "flock", "fcntl", "symlink", "pidfile", "shlock", "labm8", "dotlock", "mkdir",
];

/// To these an empty folder is what a crash left of a claim. The library's own look otherwise (`sign_folder`), and others have none.
pub(crate) const EMPTY_FOLDERS_REMAIN_OF: &[&str] = &[];

/// What a process of this library that was killed can leave behind beside a whole claim, state by state: a directory without what is inside. All else comes and goes
/// in one step (where the file system has files without a name).
pub fn halfway(scheme: &str) -> &'static [super::Halfway] {
    match scheme {
        "mkdir" => &[("a directory on its way in or out", |lock, _| {
            fs::create_dir(lock).expect("our own folder");
            sign_folder(lock).expect("our own folder");
        })],
        _ => &[],
    }
}

/// Paths of devices.
pub const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/tty"];

/// So many tasks are many.
pub const A_CROWD: usize = 1000;

/// Kibibytes of memory that the system itself takes for the first who wait.
pub const SET_UP_KIB: usize = 0;

/// Threads of the system's own that wait for us: it has none.
pub const POOL_THREADS: usize = 0;

/// Kibibytes of memory for one waiting task, with all that the runtime needs for it. A thread for each would need more than this for its stack alone.
pub const KIB_EACH: usize = 8;

/// What may be said of a name that is too long.
pub const NAME_TOO_LONG: &[sneck::ErrorKind] = &[sneck::ErrorKind::CannotCreate];

/// What can stand at a lock's path here alone.
pub(crate) fn things() -> &'static [Thing] {
    THINGS
}

/// What only a system call of its own makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Fifo,
    /// The device that reads as nothing at all.
    Device,
}

const THINGS: &[Thing] = &[
    thing("a FIFO", Plant::Special(|p| make_node(p, Node::Fifo))),
    // The name stays when the listener goes.
    thing(
        "a socket",
        Plant::Special(|p| drop(UnixListener::bind(p).expect("a socket"))),
    ),
    thing("a device", Plant::Special(|p| make_node(p, Node::Device))),
    thing("a link to a file", Plant::Link("/etc/passwd")),
    thing("a link to its folder", Plant::Link(".")),
    thing("a link to itself", Plant::Link("lock")),
];

/// Everything about a name that a careless opener changes. Not the time of access, which looking changes.
///
/// # Panics
/// If nothing stands there.
pub fn state(path: &Path) -> String {
    let look = fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    // Root reads what others cannot, and nobody reads a gigabyte of nothing.
    let content = if look.is_file() && look.len() < 1 << 20 {
        format!("{:?}", fs::read(path).ok())
    } else if look.is_dir() {
        let names = fs::read_dir(path).map(|all| all.flatten().map(|e| e.file_name()));
        let mut names: Vec<_> = names.into_iter().flatten().collect();
        names.sort();
        format!("{names:?}")
    } else {
        format!("{:?}", fs::read_link(path).ok())
    };
    format!(
        "{:?} {} {} {:o} {}:{} {} {} {} {}.{} {}.{} {content}",
        look.file_type(),
        look.dev(),
        look.ino(),
        look.mode(),
        look.uid(),
        look.gid(),
        look.nlink(),
        look.size(),
        look.blocks(),
        look.mtime(),
        look.mtime_nsec(),
        look.ctime(),
        look.ctime_nsec(),
    )
}
