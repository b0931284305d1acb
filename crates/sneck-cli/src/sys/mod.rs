//! The seam to the operating system: the only `unsafe` and the only `cfg` of the command, with the same names on
//! every platform.
//!
//! For: a command that is prepared early and held back; what stands beside it while it runs, and ends it in time (`Relay` and `Leash`: signals,
//! process groups and terminals on Unix, which other systems have not); the few facts about processes and terminals that need system calls. Not
//! for: rules about locks. When the command is let go, what is shown and which end counts is decided by the files beside this folder.

#[cfg(all(
    any(target_os = "linux", target_os = "macos", target_os = "freebsd"),
    not(sneck_unsupported)
))]
#[path = "unix.rs"]
mod platform;
#[cfg(all(windows, not(sneck_unsupported)))]
#[path = "windows.rs"]
mod platform;
#[cfg(not(all(
    any(
        target_os = "linux",
        target_os = "macos",
        target_os = "freebsd",
        windows
    ),
    not(sneck_unsupported)
)))]
#[path = "unsupported.rs"]
mod platform;

pub(crate) use platform::{
    HeldCommand, Keeper, Leash, Relay, bearer, can_erase, in_foreground, is_program, keep,
    spawn_without_signals,
};

#[cfg(not(windows))]
#[path = "unix_wording.rs"]
mod wording;
#[cfg(windows)]
#[path = "windows_wording.rs"]
mod wording;
pub(crate) use wording::{
    CLOSE, HOLDING, KILL_AFTER, LEASE, LIMIT, MAX_HOLD, OWN_PID, PLACES, quoted,
};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(windows, sneck_unsupported), allow(dead_code))]
pub(crate) enum Ended {
    /// It left with this status.
    Code(i32),
    /// A signal with this number ended it.
    Signal(i32),
}

/// Who bears a process number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code)] // only Linux knows them all
pub(crate) enum Bearer {
    /// A process that runs.
    Process,
    /// A thread that is no process of its own.
    Thread,
    /// Nobody, or a process that has ended and was not reaped yet.
    Nobody,
    /// It cannot be told.
    Unknown,
}

/// What became of a held command when it was let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(windows, sneck_unsupported), allow(dead_code))]
pub(crate) enum LetGo {
    /// The program runs.
    Started,
    /// There is no such program (the error number says what was missing). The process is gone and reaped.
    NotFound(i32),
    /// The program is there but cannot be executed (the error number says why). The process is gone and reaped.
    CannotExecute(i32),
    /// Somebody ended the process while it was held; nothing was executed. `wait` says how it ended.
    Died,
}

/// Shared by the tests of this folder and of its neighbours: jobs that run in a process of their own.
#[cfg(test)]
#[cfg_attr(windows, allow(dead_code))]
pub(crate) mod testing {
    #![allow(clippy::disallowed_methods, reason = "a test may sleep as it likes")]

    use std::path::Path;
    use std::process::Command;
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::time::{Duration, Instant};

    /// Far more than anything here takes; only a failing test waits for so long.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A program by its name and by its path, and a folder.
    #[cfg(not(windows))]
    pub(crate) const PROGRAM: [&str; 3] = ["sh", "/bin/sh", "/bin"];
    #[cfg(windows)]
    pub(crate) const PROGRAM: [&str; 3] = ["cmd", r"C:\windows\system32\cmd.exe", r"C:\windows"];

    static ALONE: Mutex<()> = Mutex::new(());

    /// One test at a time holds commands: a command that is held inherits the socket ends of others that are held,
    /// which the program itself, with one command, never meets.
    pub(crate) fn alone() -> MutexGuard<'static, ()> {
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The arguments that make this test binary run nothing but the ignored test `path` (which does a job). The
    /// harness keeps a thread of its own beside it.
    pub(crate) fn job_arguments(path: &str) -> Vec<String> {
        let flags = ["--exact", "--ignored", "--nocapture", "--test-threads=1"];
        std::iter::once(path)
            .chain(flags)
            .map(String::from)
            .collect()
    }

    /// `wrapper` (such as `env` with options, or nothing) around this test binary, which does the job `path`.
    pub(crate) fn job(wrapper: &[&str], path: &str) -> Command {
        let me = std::env::current_exe().expect("the test binary has a path");
        let mut command = match wrapper.split_first() {
            Some((program, options)) => {
                let mut command = Command::new(program);
                command.args(options).arg(me);
                command
            }
            None => Command::new(me),
        };
        command.args(job_arguments(path));
        command
    }

    /// Looks again and again until `seen` answers something.
    pub(crate) fn until<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(answer) = seen() {
                return answer;
            }
            assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether a process bears this number and is not a zombie.
    pub(crate) fn lives(pid: i32) -> bool {
        let status = Path::new("/proc").join(pid.to_string()).join("status");
        std::fs::read_to_string(status)
            .is_ok_and(|text| !text.lines().any(|line| line.starts_with("State:\tZ")))
    }
}
