//! What a server's own errors mean for one who wants a lock, and what helps.
//!
//! Not for: connections that break (`session.rs`).

use super::{Failure, Heard, NAME_THE_PRIMARY, REPLICA};
use sneck::{ErrorKind, text};

const LOG_IN: &str =
    "write redis://user:password@host/name, or :password@ alone, or set REDISCLI_AUTH";
const RIGHTS: &str = "the user needs the keys NAME and sneck:{NAME}:*, the channels sneck:{NAME}:*, and the commands named in PROTOCOLS.md";
const LATER: &str = "try again later";

/// An answer that begins with a minus.
pub(super) fn refused(line: &str) -> Failure {
    let word = line.split(' ').next().unwrap_or_default();
    let (kind, what, advice) = match word {
        "NOAUTH" => (ErrorKind::NoPermission, "it wants a password", Some(LOG_IN)),
        "WRONGPASS" => (
            ErrorKind::NoPermission,
            "it does not take this user and password",
            Some(LOG_IN),
        ),
        "NOPERM" => (
            ErrorKind::NoPermission,
            "the user may not do this",
            Some(RIGHTS),
        ),
        "DENIED" => (
            ErrorKind::NoPermission,
            "it is in protected mode and speaks to its own machine only",
            Some("give it a password, or a bind address"),
        ),
        "READONLY" => (ErrorKind::Unsupported, REPLICA, Some(NAME_THE_PRIMARY)),
        "MOVED" | "ASK" | "CLUSTERDOWN" | "CROSSSLOT" => (
            ErrorKind::Unsupported,
            "this server is one of a cluster",
            None,
        ),
        "NOPROTO" => (ErrorKind::Unsupported, "it does not speak RESP3", Some(OLD)),
        "LOADING" => (
            ErrorKind::Unreachable,
            "it is still loading its data",
            Some(LATER),
        ),
        "BUSY" => (
            ErrorKind::Unreachable,
            "it is busy with somebody's script",
            Some("wait until that ends, or end it there: SCRIPT KILL"),
        ),
        "MASTERDOWN" | "TRYAGAIN" => (
            ErrorKind::Unreachable,
            "it has no connection to its own server",
            Some(LATER),
        ),
        "OOM" => (
            ErrorKind::CannotCreate,
            "it has no memory left (maxmemory)",
            Some("make room there"),
        ),
        "MISCONF" => (
            ErrorKind::CannotCreate,
            "it cannot save its data, and writes nothing until it can",
            Some("look at its log: a full disk?"),
        ),
        "NOREPLICAS" => (
            ErrorKind::CannotCreate,
            "it writes nothing without its replicas (min-replicas-to-write)",
            Some("look after its replicas"),
        ),
        "WRONGTYPE" => (
            ErrorKind::Foreign,
            "a key that this lock needs is of another kind",
            Some("use another name, or remove the keys sneck:{NAME}:* by hand"),
        ),
        _ if line.contains("unknown command") && line.to_lowercase().contains("hello") => {
            (ErrorKind::Unsupported, "it is too old", Some(OLD))
        }
        _ if line.contains("max number of clients") => (
            ErrorKind::Unreachable,
            "it has no room for another connection (maxclients)",
            Some(LATER),
        ),
        // What the user may not do inside a script: the words of 6 and of 7.
        _ if line.contains("can't run this command")
            || line.contains("can't access at least one of the keys")
            || line.contains("ACL failure") =>
        {
            (
                ErrorKind::NoPermission,
                "the user may not do this",
                Some(RIGHTS),
            )
        }
        _ => (ErrorKind::Io, "it refused", None),
    };
    Failure {
        kind,
        what: format!("{what} ({})", text::clean(line)),
        advice,
        heard: Heard::Refused,
    }
}

const OLD: &str = "it must be Redis 6 or newer, or Valkey";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_refuses_with_is_told_apart() {
        for (line, kind) in [
            ("NOAUTH Authentication required.", ErrorKind::NoPermission),
            (
                "ERR The user executing the script can't run this command or subcommand script: x",
                ErrorKind::NoPermission,
            ),
            (
                "ERR unknown command `HELLO`, with args beginning with: `3`, ",
                ErrorKind::Unsupported,
            ),
            ("READONLY You can't write", ErrorKind::Unsupported),
            ("MOVED 3999 127.0.0.1:6381", ErrorKind::Unsupported),
            ("LOADING Redis is loading", ErrorKind::Unreachable),
            ("BUSY Redis is busy", ErrorKind::Unreachable),
            ("ERR max number of clients reached", ErrorKind::Unreachable),
            ("OOM command not allowed", ErrorKind::CannotCreate),
            ("MISCONF Redis is configured", ErrorKind::CannotCreate),
            ("ERR something", ErrorKind::Io),
        ] {
            let failure = refused(line);
            assert_eq!(failure.kind, kind, "{line}");
            assert!(failure.what.contains(line), "{}", failure.what);
        }
    }
}
