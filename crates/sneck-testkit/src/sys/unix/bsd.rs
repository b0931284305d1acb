//! What tests need of macOS and FreeBSD, asked of ps(1) where a test can wait for it. Type-checked, never run.
//!
//! Not for: what every Unix does (`mod.rs`). Tests that stop a process at each of its system calls, or take some of them away, are Linux's: they fail here, and say so.

use super::{Fork, Node, SIGNAL, empty_set};
use rustix::fd::BorrowedFd;
use rustix::io::fcntl_getfd;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// A thread by its POSIX name.
struct Thread(libc::pthread_t);

// SAFETY: a name, by which any thread of the process may signal it; tests keep the threads alive that they signal.
unsafe impl Send for Thread {}

static THREADS: Mutex<Option<HashMap<i32, Thread>>> = Mutex::new(None);

/// The number of this thread.
pub fn thread_number() -> i32 {
    thread_local! {
        static OWN: i32 = {
            let mut threads = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
            let threads = threads.get_or_insert_default();
            let number = i32::try_from(threads.len()).unwrap_or(i32::MAX) + 1;
            // SAFETY: pthread_self has no preconditions.
            threads.insert(number, Thread(unsafe { libc::pthread_self() }));
            number
        };
    }
    OWN.with(|own| *own)
}

/// Send [`SIGNAL`] to one thread of this process.
///
/// # Panics
/// If there is no such thread.
pub fn signal_thread(thread: i32) {
    let threads = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
    let thread = threads.as_ref().and_then(|all| all.get(&thread));
    let thread = thread.expect("a thread that has asked for its number").0;
    // SAFETY: the thread lives, see `Thread`.
    let error = unsafe { libc::pthread_kill(thread, SIGNAL) };
    assert_eq!(error, 0, "{}", io::Error::from_raw_os_error(error));
}

/// A process whose first thread is gone while another one lives on: here that is no zombie to anybody.
///
/// # Panics
/// Always.
pub fn zombie_leader() -> Fork {
    panic!("the first thread of a process is like any other here");
}

/// The signals that this thread blocks and that wait for it.
pub fn signal_state() -> String {
    let (mut blocked, mut pending) = (empty_set(), empty_set());
    // SAFETY: asks only; the pointer is valid.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut blocked) };
    // SAFETY: the pointer is valid.
    unsafe { libc::sigpending(&raw mut pending) };
    let members = |set: &libc::sigset_t| -> Vec<i32> {
        // SAFETY: an initialised set and valid signal numbers.
        let is_in = |signal: &i32| unsafe { libc::sigismember(set, *signal) == 1 };
        (1..32).filter(is_in).collect()
    };
    format!("{:?},{:?}", members(&blocked), members(&pending))
}

/// No more threads may be started, which a timer needs.
///
/// # Panics
/// If the system refuses.
pub fn no_timers() {
    let none = rustix::process::Rlimit {
        current: Some(1),
        maximum: Some(1),
    };
    let limited = rustix::process::setrlimit(rustix::process::Resource::Nproc, none);
    limited.expect("a limit can be lowered");
}

/// How many descriptors this process has open.
pub fn count_descriptors() -> usize {
    let is_open = |number: &i32| {
        // SAFETY: only asked whether it is one.
        let maybe = unsafe { BorrowedFd::borrow_raw(*number) };
        fcntl_getfd(maybe).is_ok()
    };
    (0..4096).filter(is_open).count()
}

/// What ps(1) says of a process, without the heading.
fn ps(options: &[&str], pid: u32) -> String {
    let output = Command::new("ps")
        .args(options)
        .arg(pid.to_string())
        .output();
    let output = output.expect("ps is there");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// How many threads this process has.
pub fn count_threads() -> usize {
    let each = if cfg!(target_os = "macos") {
        "-M"
    } else {
        "-H"
    };
    ps(&[each, "-p"], std::process::id())
        .lines()
        .skip(1)
        .count()
}

/// Kibibytes of memory that this process has in use.
///
/// # Panics
/// If ps(1) does not say.
pub fn resident_kib() -> usize {
    let kib = ps(&["-o", "rss=", "-p"], std::process::id());
    kib.parse().expect("a number")
}

/// How many files this process watches. None: nobody can tell.
pub fn count_watches() -> Option<usize> {
    None
}

/// There is no inotify: nothing to take.
pub fn exhaust_inotify() -> usize {
    0
}

fn state(pid: u32) -> String {
    ps(&["-o", "stat=", "-p"], pid)
}

/// Whether the process is there, and no zombie.
pub fn runs(pid: u32) -> bool {
    let state = state(pid);
    !state.is_empty() && !state.starts_with('Z')
}

/// Wait until one's own child is dead altogether, which nobody has waited for.
///
/// # Panics
/// If it does not die.
pub fn until_ended(child: &std::process::Child) {
    crate::block::until("the child is a zombie", || {
        state(child.id()).starts_with('Z')
    });
}

/// Whether the process sleeps in the kernel, waiting for something: its first thread, whichever is asked for.
pub fn sleeps(pid: u32, _: i32) -> bool {
    state(pid).starts_with(['S', 'I'])
}

/// A number that no process has and none will ever get: the kernels give away smaller ones only.
pub const NO_PROCESS: u32 = 4_194_304;

/// Whether the kernel shows this process all others.
pub fn sees_all_processes() -> bool {
    !state(1).is_empty()
}

/// FreeBSD makes devices in /dev alone: there one is not to be had.
pub(super) fn make_node(path: &Path, what: Node) {
    let mut command = match what {
        Node::Fifo => Command::new("mkfifo"),
        Node::Device => Command::new("mknod"),
    };
    command.arg(path);
    if what == Node::Device {
        command.args(["c", "3", "2"]);
    }
    let made = command.status().is_ok_and(|status| status.success());
    assert!(made, "{command:?} (a device takes root)");
}

/// Systems that lack something.
pub(super) mod lack {
    /// What is not to be had.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Lack {
        /// Nothing: all is there.
        Nothing,
        /// Files without a name.
        NamelessFiles,
        /// Those, and hard links.
        Links,
    }

    /// From now on this process lacks something.
    ///
    /// # Panics
    /// Always, but for nothing.
    pub fn lack(what: Lack) {
        assert_eq!(what, Lack::Nothing, "calls can be taken away on Linux only");
    }
}

/// Processes that stand still at each of their system calls.
pub(super) mod trace {
    use std::convert::Infallible;

    /// A call by which a traced process says where it is.
    pub fn mark() {
        let _ = rustix::process::getppid();
    }

    /// A call that a traced process is about to make, or has made.
    #[derive(Debug, Clone, Copy)]
    pub struct Call {
        /// Whether it is about to make the call.
        pub entering: bool,
        never: Infallible,
    }

    impl Call {
        /// What it is called.
        pub fn name(&self) -> String {
            match self.never {}
        }

        /// Whether it is a mark.
        pub fn is_mark(&self) -> bool {
            match self.never {}
        }
    }

    /// A traced process; here there is never one.
    #[derive(Debug)]
    pub struct Traced(Infallible);

    impl Traced {
        /// Let it run to the next side of a system call.
        pub fn step(&mut self) -> Option<Call> {
            match self.0 {}
        }

        /// `kill -9` where it stands.
        pub fn kill(&mut self) {
            match self.0 {}
        }
    }

    /// Run this in a forked child that stops at its system calls.
    ///
    /// # Panics
    /// Always.
    pub fn trace(_: impl FnOnce() -> i32) -> Traced {
        panic!("processes are stopped at their system calls on Linux only");
    }
}
