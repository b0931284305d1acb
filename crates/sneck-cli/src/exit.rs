//! The exit codes, all in one place.
//!
//! For: what each end of `sneck` tells the shell, which end an error of the library means, which of several ends counts, and
//! the table that `--help` shows.
//!
//! The numbers from 64 on are those of sysexits.h where it has a fitting one, so that they do not collide with what most
//! commands use for themselves; 126, 127 and 128+n are what shells do.

use crate::sys::Ended;
use sneck::{Error, ErrorKind};

/// How the command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(sneck_unsupported, allow(dead_code))]
pub(crate) enum Exit {
    /// 0: all went well; for `status`, `wait` and `break`, every lock is free.
    Ok,
    /// The command's own status.
    Command(i32),
    /// 128+n: signal n ended the command.
    Signal(i32),
    /// 1, from `status` only: a lock is held.
    StatusHeld,
    /// 2, from `status` only: a lock is stale or damaged, and somebody should look.
    StatusStale,
    /// 64: another command line is needed: it makes no sense, or the protocol cannot do what it asks for.
    Usage,
    /// 66: what is there is not a lock of that protocol, or is damaged. It was left alone.
    NotALock,
    /// 69: the server that keeps the lock cannot be reached.
    Unreachable,
    /// 73: the lock cannot be created.
    CannotCreate,
    /// 74: input or output failed.
    Io,
    /// Held by somebody else, and still so when the time was over; for `break`, a claim was left. 75 ([`Exit::HELD`]) unless `-E` says otherwise.
    Held(u8),
    /// 76: the lock was lost while the command ran; for `release`, the process does not hold it.
    Lost,
    /// 77: no permission.
    NoPermission,
    /// 124: the command held the lock for longer than `--max-hold` and was ended, as timeout(1) says it.
    HeldTooLong,
    /// 126: the command is there but cannot be executed.
    CannotExecute,
    /// 127: there is no such command.
    NotFound,
}

/// For `--help`.
pub(crate) const TABLE: &str = "\
Exit status:
    0  the command's own status, if it was run; acquire: it is held now; release: it was released;
       break, status, wait: every lock is free
    1  status: a lock is held
    2  status: a lock is stale or damaged
   64  usage: the command line makes no sense, or the protocol cannot do it
   66  not a lock, or a damaged one; it was left alone
   69  the server cannot be reached
   73  the lock cannot be created
   74  input or output failed
   75  the lock is held, or still was when the time was over (-E changes this code);
       break: a claim was left; release: a running program keeps the claim locked
   76  the lock was lost while the command ran, though the command ended with 0
       (at a server whatever it ended with); release: PID does not hold it
   77  no permission
  124  the command held the lock for longer than --max-hold, and was ended for it
  126  the command is there but cannot be executed
  127  there is no such command
128+n  signal n ended the command
Of several locks the worst counts: 0, 1, 75, 2, 66, 64, 77, 73, 69, 74, the last being the worst.";

impl Exit {
    /// Held, without `-E`.
    pub(crate) const HELD: Exit = Exit::Held(75);

    /// Of several ends the one that counts.
    pub(crate) fn worst(exits: impl IntoIterator<Item = Exit>) -> Exit {
        let worst = exits.into_iter().max_by_key(|exit| exit.gravity());
        worst.unwrap_or(Exit::Ok)
    }

    /// How bad it is, by what helps: nothing is needed, waiting, looking at the lock, another command line, other rights, a mended system.
    fn gravity(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::StatusHeld => 1,
            Exit::Held(_) => 2,
            Exit::StatusStale => 3,
            Exit::NotALock => 4,
            Exit::Usage => 5,
            Exit::NoPermission => 6,
            Exit::CannotCreate => 7,
            Exit::Unreachable => 8,
            Exit::Io => 9,
            // These end a verb that has one lock only.
            Exit::Command(_)
            | Exit::Signal(_)
            | Exit::Lost
            | Exit::HeldTooLong
            | Exit::CannotExecute
            | Exit::NotFound => 10,
        }
    }

    /// What the shell sees. On Unix eight bits of it, and no command there has more.
    pub(crate) fn code(self) -> i32 {
        match self {
            Exit::Ok => 0,
            Exit::Command(status) => status,
            Exit::Signal(number) => 128 + number,
            Exit::StatusHeld => 1,
            Exit::StatusStale => 2,
            Exit::Usage => 64,
            Exit::NotALock => 66,
            Exit::Unreachable => 69,
            Exit::CannotCreate => 73,
            Exit::Io => 74,
            Exit::Held(code) => i32::from(code),
            Exit::Lost => 76,
            Exit::NoPermission => 77,
            Exit::HeldTooLong => 124,
            Exit::CannotExecute => 126,
            Exit::NotFound => 127,
        }
    }
}

/// The end that an error of the library means.
impl From<&Error> for Exit {
    fn from(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Busy | ErrorKind::TimedOut => Exit::HELD,
            ErrorKind::Foreign | ErrorKind::Damaged => Exit::NotALock,
            // Another protocol, or another mode, has to be asked for.
            ErrorKind::Usage | ErrorKind::Unsupported => Exit::Usage,
            ErrorKind::Unreachable => Exit::Unreachable,
            ErrorKind::CannotCreate => Exit::CannotCreate,
            ErrorKind::NoPermission => Exit::NoPermission,
            ErrorKind::Lost => Exit::Lost,
            _ => Exit::Io,
        }
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
            .filter(|line| !line.starts_with("       ") && !line.starts_with("Of several"))
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
            Exit::HeldTooLong,
            Exit::CannotExecute,
            Exit::NotFound,
        ];
        let mut expected: Vec<String> = ours.iter().map(|exit| exit.code().to_string()).collect();
        expected.push("128+n".to_owned());
        assert_eq!(listed, expected);
    }

    #[test]
    fn the_worst_is_the_one_that_the_table_names_last() {
        let order = [
            Exit::Ok,
            Exit::StatusHeld,
            Exit::HELD,
            Exit::StatusStale,
            Exit::NotALock,
            Exit::Usage,
            Exit::NoPermission,
            Exit::CannotCreate,
            Exit::Unreachable,
            Exit::Io,
        ];
        let codes = order.map(|exit| exit.code().to_string()).join(", ");
        assert!(TABLE.contains(&codes), "{codes}");
        for (at, worse) in order.iter().enumerate() {
            for milder in &order[..at] {
                assert_eq!(Exit::worst([*worse, *milder]), *worse);
                assert_eq!(Exit::worst([*milder, *worse]), *worse);
            }
        }
        assert_eq!(Exit::worst([]), Exit::Ok);
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
