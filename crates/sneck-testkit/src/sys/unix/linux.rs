//! What tests need of Linux: what it tells in /proc, and system calls that no other has. Not for: what every Unix does (`mod.rs`).

use super::{Fork, Node, SIGNAL, fork};
use crate::PATIENCE;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::process::{Resource, Rlimit};
use std::fs;
use std::io;
use std::path::Path;

/// The number of this thread.
pub fn thread_number() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// A process whose first thread is gone while another one lives on: a zombie to whoever looks at its state, and alive. Ended when dropped.
///
/// # Panics
/// If there can be no fork.
pub fn zombie_leader() -> Fork {
    let fork = fork(|| {
        std::thread::spawn(|| {
            loop {
                std::thread::sleep(PATIENCE);
            }
        });
        // SAFETY: exit(2), the bare system call, ends this thread alone and takes one number. Nothing that lives on refers to this thread's stack.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
        1
    });
    let process = format!("/proc/{}", fork.pid());
    crate::block::until("the first thread is gone and another one lives", || {
        let stat = fs::read_to_string(format!("{process}/stat"));
        let threads = fs::read_dir(format!("{process}/task"));
        stat.is_ok_and(|s| s.contains(") Z ")) && threads.is_ok_and(|t| t.count() == 2)
    });
    fork
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

/// Take inotify instances until there are no more for this user. They are held until the process ends.
pub fn exhaust_inotify() -> usize {
    let mut taken = 0;
    while let Ok(instance) = rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC) {
        std::mem::forget(instance);
        taken += 1;
    }
    taken
}

/// Whether the process is there, and no zombie.
pub fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|s| !s.contains(") Z "))
}

/// Wait until one's own child is dead altogether, which nobody has waited for: a zombie without threads.
///
/// # Panics
/// If it does not die.
pub fn until_ended(child: &std::process::Child) {
    let process = format!("/proc/{}", child.id());
    crate::block::until("the child is a zombie, all its threads gone", || {
        let stat = fs::read_to_string(format!("{process}/stat"));
        let threads = fs::read_dir(format!("{process}/task"));
        stat.is_ok_and(|s| s.contains(") Z ")) && threads.is_ok_and(|t| t.count() == 1)
    });
}

/// Whether the process sleeps in the kernel, waiting for something.
pub fn sleeps(pid: u32, thread: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{thread}/stat")).unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after.trim_start().starts_with('S')
}

/// Whether the kernel shows this process all others, and their locks: not in a pid namespace of its own.
pub fn sees_all_processes() -> bool {
    // PROC_PID_INIT_INO: the number of the machine's own pid namespace.
    let own = fs::read_link("/proc/self/ns/pid");
    own.is_ok_and(|l| l.as_os_str() == "pid:[4026531836]")
}

/// A number that no process has and none will ever get: the kernel gives away smaller ones only.
pub const NO_PROCESS: u32 = 4_194_304;

pub(super) fn make_node(path: &Path, what: Node) {
    let kind = match what {
        Node::Fifo => FileType::Fifo,
        Node::Device => FileType::CharacterDevice,
    };
    let made = mknodat(CWD, path, kind, Mode::from_raw_mode(0o666), makedev(1, 3));
    assert!(
        made.is_ok(),
        "mknod of a {what:?}: {made:?} (a device takes root, in a machine that allows it)"
    );
}

/// Kibibytes of memory that this process has in use.
///
/// # Panics
/// If /proc is not there.
pub fn resident_kib() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is there");
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let number = line.and_then(|l| l.split_whitespace().next());
    number.and_then(|n| n.parse().ok()).expect("a number")
}

/// How many files the inotify instances of this process watch. None: nobody can tell.
///
/// # Panics
/// If /proc is not there.
pub fn count_watches() -> Option<usize> {
    let descriptors = fs::read_dir("/proc/self/fdinfo").expect("/proc is there");
    let texts = descriptors.map(|d| fs::read_to_string(d.expect("an entry").path()));
    let watches = |text: &str| text.lines().filter(|l| l.starts_with("inotify wd")).count();
    // The descriptor of this very look is closed by then.
    Some(texts.map(|text| watches(&text.unwrap_or_default())).sum())
}
