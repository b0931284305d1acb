//! The exit codes, all in one place.
//!
//! For: what each end of `sneck` tells the shell, and the table that `--help` shows. Not for: which error means which
//! end; that is decided where the error is met.
//!
//! The numbers from 64 on are those of sysexits.h where it has a fitting one, so that they do not collide with what most
//! commands use for themselves; 126, 127 and 128+n are what shells do.

use std::process::ExitCode;

use crate::sys::Ended;

/// How the command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: all went well; for `status`, every lock is free.
    Ok,
    /// The command's own status.
    Command(i32),
    /// 128+n: signal n ended the command.
    Signal(i32),
    /// 1, from `status` only: a lock is held.
    StatusHeld,
    /// 2, from `status` only: a lock is stale or damaged, and somebody should look.
    StatusStale,
    /// 64: the command line makes no sense.
    Usage,
    /// 66: what is there is not a lock of that protocol, or is damaged.
    NotALock,
    /// 69: the server that keeps the lock cannot be reached.
    Unreachable,
    /// 73: the lock cannot be created.
    CannotCreate,
    /// 74: input or output failed.
    Io,
    /// Held by somebody else, and still so when the time was over. 75 ([`Exit::HELD`]) unless `-E` says otherwise.
    Held(u8),
    /// 76: the lock was lost while the command ran.
    Lost,
    /// 77: no permission.
    NoPermission,
    /// 126: the command is there but cannot be executed.
    CannotExecute,
    /// 127: there is no such command.
    NotFound,
}

/// For `--help`.
pub(crate) const TABLE: &str = "\
Exit status:
    0  the command's own status, if it was run; status: every lock is free
    1  status: a lock is held
    2  status: a lock is stale or damaged
   64  usage: the command line makes no sense
   66  not a lock, or a damaged one
   69  the server cannot be reached
   73  the lock cannot be created
   74  input or output failed
   75  the lock is held, or still was when the time was over (-E changes this code)
   76  the lock was lost while the command ran, though the command ended with 0
   77  no permission
  126  the command is there but cannot be executed
  127  there is no such command
128+n  signal n ended the command";

impl Exit {
    /// Held, without `-E`.
    pub(crate) const HELD: Exit = Exit::Held(75);

    /// What the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            // A status has eight bits, and a signal number seven.
            Exit::Command(status) => status as u8,
            Exit::Signal(number) => 128_u8.wrapping_add(number as u8),
            Exit::StatusHeld => 1,
            Exit::StatusStale => 2,
            Exit::Usage => 64,
            Exit::NotALock => 66,
            Exit::Unreachable => 69,
            Exit::CannotCreate => 73,
            Exit::Io => 74,
            Exit::Held(code) => code,
            Exit::Lost => 76,
            Exit::NoPermission => 77,
            Exit::CannotExecute => 126,
            Exit::NotFound => 127,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

impl From<Ended> for Exit {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Code(status) => Exit::Command(status),
            Ended::Signal(number) => Exit::Signal(number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_in_the_table_and_stands_for_one_thing() {
        let listed: Vec<&str> = TABLE
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().next().unwrap())
            .collect();
        let ours = [
            Exit::Ok,
            Exit::StatusHeld,
            Exit::StatusStale,
            Exit::Usage,
            Exit::NotALock,
            Exit::Unreachable,
            Exit::CannotCreate,
            Exit::Io,
            Exit::HELD,
            Exit::Lost,
            Exit::NoPermission,
            Exit::CannotExecute,
            Exit::NotFound,
        ];
        let mut expected: Vec<String> = ours.iter().map(|exit| exit.code().to_string()).collect();
        expected.push("128+n".to_owned());
        assert_eq!(listed, expected);
    }

    #[test]
    fn the_commands_end_is_ours() {
        assert_eq!(Exit::from(Ended::Code(0)).code(), 0);
        assert_eq!(Exit::from(Ended::Code(255)).code(), 255);
        assert_eq!(Exit::from(Ended::Signal(9)).code(), 137);
        assert_eq!(Exit::from(Ended::Signal(64)).code(), 192);
        assert_eq!(Exit::Held(11).code(), 11);
    }
}
