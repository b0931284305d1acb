//! What is said otherwise on Windows than on Unix: in `--help`, on manual pages, in advice. Not for: what is true everywhere (`args.rs`).

/// How a LOCK is written.
pub(crate) const PLACES: &str = "\
LOCK is a place:
  PATH               LockFileEx on the file's first byte; excludes locket, PEAK, whatever locks that byte
  pidfile:PATH       a file with the holder's pid, as daemons make it
  labm8:PATH         a file with pid and time, as labm8 makes it
  mkdir:PATH         a directory: pylockfile, proper-lockfile, scripts
  symlink:PATH       a directory with the holder's pid, as Twisted makes it on Windows
  postgres://HOST/NAME or postgres://USER@HOST:PORT/DATABASE/NAME
                     an advisory lock of a PostgreSQL server
  etcd://HOST/NAME or etcds://USER:PASSWORD@HOST:PORT,HOST:PORT/NAME
                     a key on a lease in etcd; excludes etcdctl lock NAME
  redis://HOST/NAME or rediss://USER:PASSWORD@HOST:PORT/DATABASE/NAME
                     a key with a lease of a Redis or Valkey server
Not on Windows are fcntl:PATH, shlock:PATH and dotlock:PATH. Protocols are joined by +: flock locks
PATH itself, and one of those that make something of their own stands beside it at PATH.lock, as in
flock+pidfile:job";

/// Until when `run` holds the lock.
pub(crate) const HOLDING: &str = "The lock is held until COMMAND and all that it has started have ended: sneck waits for that, and then ends with COMMAND's status, all 32 bits \
    of it. If sneck is killed, all of them are ended with it. Windows frees the lock in the same moment: a system call that one of them is in may be finished \
    after somebody else has got the lock.\n\n\
    Ctrl-C during the wait for the lock ends sneck (0xC000013A), and nothing is held; while COMMAND runs it is COMMAND's. COMMAND is looked for by PATH and, without \
    an end to its name, by PATHEXT (.com, .exe, .bat, .cmd). File protocols name sneck's own pid.";

/// What `run --max-hold` does.
pub(crate) const LIMIT: &str = "With --max-hold COMMAND leads a process group of its own. When the time is over that group gets Ctrl-Break, and --kill-after later COMMAND and all that it \
    has started are ended, even if COMMAND itself has ended in time. What is on another console, or on none, is not told before. Windows sends no Ctrl-C to such a \
    group: sneck passes it on as Ctrl-Break. The time counts from the moment the lock is held.";

/// What `run` does at a server.
pub(crate) const LEASE: &str = "At a server the lock has a lease, which sneck renews. When it is lost (the server is not heard for --ttl, or says so), COMMAND's process group gets Ctrl-Break, and --kill-after later COMMAND and \
    all that it has started are ended, before the server lets anybody else in; sneck ends with 76, whatever COMMAND ended with. If sneck is killed they end with it. Nobody ends them while sneck is suspended.";

pub(crate) const CLOSE: &str = "Do not bind COMMAND to the lock: sneck waits for COMMAND alone and not for what it has started, and if sneck is killed COMMAND runs on. Gives up the promise \
    that no second command starts before the first has ended";
pub(crate) const MAX_HOLD: &str = "End COMMAND when it has held the lock for this long: Ctrl-Break to its process group, then the end of all that it has started. sneck ends with 124";
pub(crate) const KILL_AFTER: &str = "How long after Ctrl-Break the end follows. Usual: 10s; at a server half of the lock delay, and never as long as that";

/// How a script writes its own number.
pub(crate) const OWN_PID: &str = "in PowerShell, its own process is `--pid $PID`";

/// A word as it is typed in cmd.exe and in PowerShell. No file there has a quotation mark in its name.
pub(crate) fn quoted(shown: &str) -> String {
    let plain = |c: char| {
        c.is_alphanumeric() || matches!(c, '/' | '\\' | '.' | '_' | '-' | ':' | '+' | '@')
    };
    if !shown.is_empty() && shown.chars().all(plain) {
        return shown.to_owned();
    }
    format!("\"{shown}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_same() {
        assert_eq!(quoted(r"pidfile:C:\a-b_1.lock"), r"pidfile:C:\a-b_1.lock");
        assert_eq!(quoted("my lock"), "\"my lock\"");
        assert_eq!(quoted(""), "\"\"");
    }
}
