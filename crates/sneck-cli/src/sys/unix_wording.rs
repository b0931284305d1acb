//! What is said otherwise on Unix than on Windows: in `--help`, on manual pages, in advice. Not for: what is true everywhere (`args.rs`).

/// How a LOCK is written.
pub(crate) const PLACES: &str = "\
LOCK is a place:
  PATH               flock(2) on the file; excludes flock(1), setlock, cargo, uv …
  fcntl:PATH         fcntl(2) on the file; excludes lckdo, with-lock-ex, runlock, apt …
  flock+fcntl:PATH   both at once; excludes the programs of both
  pidfile:PATH       a file with the holder's pid, as daemons make it
  shlock:PATH        the same, as shlock(1), INN and UUCP make it
  dotlock:PATH       the lock file of mailboxes: dotlockfile, lockfile-create, mutt
  labm8:PATH         a file with pid and time, as labm8 makes it
  mkdir:PATH         a directory: pylockfile, proper-lockfile, shell scripts
  symlink:PATH       a symbolic link to the holder's pid, as Twisted makes it
  postgres://HOST/NAME or postgres://USER@HOST:PORT/DATABASE/NAME
                     an advisory lock of a PostgreSQL server
  etcd://HOST/NAME or etcds://USER:PASSWORD@HOST:PORT,HOST:PORT/NAME
                     a key on a lease in etcd; excludes etcdctl lock NAME
  redis://HOST/NAME or rediss://USER:PASSWORD@HOST:PORT/DATABASE/NAME
                     a key with a lease of a Redis or Valkey server
Protocols are joined by +: flock or fcntl or both lock PATH itself, and one of those that make
something of their own stands beside it at PATH.lock, as in fcntl+dotlock:/var/mail/ada";

/// Until when `run` holds the lock.
pub(crate) const HOLDING: &str = "The lock is held until COMMAND has ended, even if sneck itself is killed, and under flock until the last process \
    that inherited it has ended.";

/// What `run --max-hold` does.
pub(crate) const LIMIT: &str = "With --max-hold COMMAND leads a process group of its own, and all of that group is ended, what it started in the background too. Not reached are \
    processes that left the group (setsid, the jobs of an interactive shell), nor background processes of a COMMAND that ended in time. \
    The time counts from the moment the lock is held. Only sneck ends the group: not while it is stopped itself (Ctrl-Z), nor after it was killed.";

/// What `run` does at a server.
pub(crate) const LEASE: &str = "At a server the lock has a lease, which sneck renews. When it is lost (the server is not heard for --ttl, or says so), COMMAND's process group gets TERM, and KILL \
    --kill-after later, before the server lets anybody else in; sneck ends with 76, whatever COMMAND ended with. A small process beside sneck, its keeper, does the same when sneck is killed, or stopped (Ctrl-Z) for longer than the lease. \
    COMMAND leads a process group of its own there, with the terminal; the lock is held until nobody is left in that group, unless -o is given. Not reached are processes that left the group, and nobody is ended if both sneck and its keeper are killed.";

pub(crate) const CLOSE: &str = "Do not let COMMAND inherit the lock: it is freed when sneck ends, even if COMMAND still runs. Gives up the promise that no second command starts \
    before the first has ended. (flock, fcntl, postgres; file protocols name COMMAND's pid either way)";
pub(crate) const MAX_HOLD: &str = "End COMMAND when it has held the lock for this long: TERM to its process group, then KILL. sneck ends with 124";
pub(crate) const KILL_AFTER: &str = "How long after TERM the KILL follows. Usual: 10s; at a server half of the lock delay, and never as long as that";

/// How a script writes its own number.
pub(crate) const OWN_PID: &str = "in a shell script, its own process is `--pid $$`";

/// A word as it is typed in a shell.
pub(crate) fn quoted(shown: &str) -> String {
    let plain =
        |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | ':' | '+' | ',' | '@');
    if !shown.is_empty() && shown.chars().all(plain) {
        return shown.to_owned();
    }
    format!("'{}'", shown.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_same() {
        assert_eq!(quoted("pidfile:/run/a-b_1.lock"), "pidfile:/run/a-b_1.lock");
        assert_eq!(quoted("my lock"), "'my lock'");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "''");
    }
}
