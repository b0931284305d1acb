//! A process whose kernel refuses what some file systems cannot do, so that ways around it are tested on any file system.
//!
//! By a seccomp filter: for the rest of the process's life, and that of its children. Not for file systems that fail in other ways.

use std::io;

/// What is not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// Nothing: all is there.
    Nothing,
    /// Files without a name (O_TMPFILE).
    NamelessFiles,
    /// Those, and hard links.
    Links,
}

/// Where in `seccomp_data` the lower half of an argument lies; the call's number lies at 0.
const fn argument(number: u32) -> u32 {
    let lower = if cfg!(target_endian = "big") { 4 } else { 0 };
    16 + 8 * number + lower
}

/// From now on this is refused, to this thread and to those that it starts.
///
/// # Panics
/// If the system does not take the filter.
pub fn lack(what: Lack) {
    if what == Lack::Nothing {
        return;
    }
    let stop = |code: u32, value: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k: value,
    };
    // Over so many of the next lines, if it is not so.
    let unless = |test: u32, value: u32, over: u8| libc::sock_filter {
        jf: over,
        ..stop(libc::BPF_JMP | test | libc::BPF_K, value)
    };
    let load = |at: u32| stop(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at);
    let give = |answer: u32| stop(libc::BPF_RET | libc::BPF_K, answer);
    let refuse = |error: i32| give(libc::SECCOMP_RET_ERRNO | error.unsigned_abs());
    let call = |number: libc::c_long| u32::try_from(number).unwrap_or(u32::MAX);
    let links = if what == Lack::Links {
        libc::SYS_linkat
    } else {
        -1
    };
    // O_TMPFILE contains O_DIRECTORY; the other bit is its own.
    let nameless = (libc::O_TMPFILE & !libc::O_DIRECTORY).unsigned_abs();
    let mut filter = [
        load(0),
        unless(libc::BPF_JEQ, call(links), 1),
        refuse(libc::EPERM),
        unless(libc::BPF_JEQ, call(libc::SYS_openat), 3),
        load(argument(2)),
        unless(libc::BPF_JSET, nameless, 1),
        refuse(libc::EOPNOTSUPP),
        give(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: takes numbers. Without it only root may set a filter.
    let quiet = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: the program points to `len` instructions that live through the call; the kernel copies and checks them.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) };
    assert_eq!(
        (quiet, set),
        (0, 0),
        "seccomp: {}",
        io::Error::last_os_error()
    );
}
