//! What is odd about a holding ([`Oddity`]), and what could not be seen ([`Limit`]), each with its words.

use crate::text;
use std::fmt;

/// What whoever looks after a machine would want to know about a file that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Oddity {
    /// The file has no name any more, and is held: who opens the path makes a new one, and locks that.
    Deleted,
    /// The path names another file by now: those who lock that do not exclude those who hold this one.
    Replaced,
    /// A process holds another file, which had this path and was deleted.
    Former {
        /// Which.
        pid: u32,
    },
    /// It is held by flock(2) and by fcntl(2), by different processes: neither keeps the other out.
    TwoFamilies,
    /// It is locked by one process, and a claim at the same path names another one: neither keeps the other out.
    ClaimAndLock {
        /// The claim's protocol.
        protocol: &'static str,
    },
    /// The claim was made on another machine, which alone can say whether its holder lives.
    OtherHost(String),
    /// Who took the lock has ended; those who inherited the descriptor keep it.
    TakerEnded {
        /// Who took it.
        taker: u32,
    },
    /// Who took the lock lives and has the descriptor no more: it was passed on.
    PassedOn {
        /// Who took it.
        taker: u32,
    },
    /// It is held, and no process has the descriptor: it is on its way through a socket, or those who have it are outside of what can be seen.
    Nobody,
    /// Who holds it is stopped, and will not release it before it is continued.
    Stopped {
        /// Who is.
        pid: u32,
    },
    /// A process waits for a lock that it holds itself.
    WaitsForItself {
        /// Which.
        pid: u32,
    },
}

/// What could not be seen, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// This process lives in a pid namespace: the kernel hides locks that processes outside of it took.
    PidNamespace,
    /// Of so many processes of other users nobody may see what they have open: who inherited a lock, and where files are that only they have open, is not known.
    HiddenDescriptors {
        /// How many processes.
        processes: usize,
    },
    /// /proc hides the processes of other users.
    HiddenProcesses,
    /// The file lies on a network file system: what other machines hold there is not shown here.
    NetworkFiles,
    /// This system does not tell which files are locked, nor by whom.
    NoList,
    /// The kernel's list changed each time that it was read.
    TooFast,
    /// A file could not be looked at by asking for its lock (`--probe`).
    NotProbed {
        /// Why not.
        why: String,
    },
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Oddity::Deleted => f.write_str(
                "the file was deleted while it is held: who comes next makes a new one, and is not kept out",
            ),
            Oddity::Replaced => f.write_str(
                "the path names another file by now: who locks that one is not kept out",
            ),
            Oddity::Former { pid } => write!(
                f,
                "pid {pid} holds a file that had this path and was deleted: it does not keep out who locks the path now"
            ),
            Oddity::TwoFamilies => f.write_str(
                "different processes hold it by flock and by fcntl, and these do not see each other",
            ),
            Oddity::ClaimAndLock { protocol } => write!(
                f,
                "one process has it locked and a {protocol} claim names another one: neither keeps the other out"
            ),
            Oddity::OtherHost(host) => write!(
                f,
                "the claim is of host {}: only there can be seen whether its holder lives",
                text::clean(host)
            ),
            Oddity::TakerEnded { taker } => write!(
                f,
                "pid {taker}, which took it, has ended: who inherited the descriptor keeps it"
            ),
            Oddity::PassedOn { taker } => write!(
                f,
                "pid {taker}, which took it, passed the descriptor on and has it no more"
            ),
            Oddity::Nobody => f.write_str(
                "no process that can be seen has it open: the descriptor may be on its way through a socket",
            ),
            Oddity::Stopped { pid } => write!(
                f,
                "pid {pid} is stopped and will not release it; `kill -CONT {pid}` continues it"
            ),
            Oddity::WaitsForItself { pid } => {
                write!(f, "pid {pid} waits for a lock that it holds itself")
            }
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::PidNamespace => f.write_str(
                "this process lives in a pid namespace: the kernel hides the locks of processes outside it",
            ),
            Limit::HiddenDescriptors { processes } => write!(
                f,
                "{processes} {} not show what {} open: who inherited a lock, and the paths of files that only they have open, may be missing here",
                if *processes == 1 { "process does" } else { "processes of other users do" },
                if *processes == 1 { "it has" } else { "they have" }
            ),
            Limit::HiddenProcesses => f.write_str(
                "/proc hides the processes of other users (mounted with hidepid): what they hold is known by number only",
            ),
            Limit::NetworkFiles => f.write_str(
                "the file lies on a network file system: what other machines hold there is not shown here",
            ),
            Limit::NoList => {
                f.write_str("this system does not tell which files are locked, nor by whom")
            }
            Limit::TooFast => f.write_str("locks came and went faster than they can be listed"),
            Limit::NotProbed { why } => write!(f, "it could not be probed: {}", text::clean(why)),
        }
    }
}
