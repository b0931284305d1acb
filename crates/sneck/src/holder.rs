//! Who holds: what a record, the kernel or a server says about it, and what /proc adds.
//!
//! Not for: judging whether the holder is alive (that is `stale.rs`).

use crate::claim::Mode;
use crate::sys::{Namespace, Presence, process};
use crate::text;
use std::fmt;
use std::time::SystemTime;

/// Where a fact about a holder comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// The lock file itself.
    Record,
    /// The kernel's list of locks.
    Kernel,
    /// A lock server.
    Server,
    /// This process's own list.
    Process,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Record => "the lock file",
            Source::Kernel => "the kernel",
            Source::Server => "the server",
            Source::Process => "this process",
        })
    }
}

/// Who holds a lock, as far as it is known. Strings are as foreign programs wrote them: pass them through
/// [`text::clean`] before a terminal sees them; `Display` does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Where this comes from.
    pub source: Source,
    /// Exclusive or shared, if known.
    pub mode: Option<Mode>,
    /// The process, if it is one of this machine.
    pub pid: Option<u32>,
    /// The machine, if the record names one.
    pub host: Option<String>,
    /// The user.
    pub user: Option<String>,
    /// The command line.
    pub command: Option<String>,
    /// A word of its own for those who look ([`crate::LockBuilder::label`]).
    pub label: Option<String>,
    /// Its fencing token, where those who look can see it.
    pub token: Option<u64>,
    /// Since when it holds.
    pub since: Option<SystemTime>,
    /// Since when the process runs, where since when it holds is not known.
    pub started: Option<SystemTime>,
    /// The protocol whose claim it is, if that is not the protocol of the lock that was looked at.
    pub protocol: Option<&'static str>,
    /// What the record says to tell this process from others of its number.
    pub birth: Birth,
}

/// Facts in a record that tell one bearer of a process number from the next. None: the record does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Birth {
    /// When it started, in clock ticks since boot.
    pub ticks: Option<u64>,
    /// The boot id of the machine.
    pub boot: Option<u128>,
    /// The number of its pid namespace.
    pub pid_namespace: Option<u64>,
    /// The number of its time namespace, in which its ticks were counted.
    pub time_namespace: Option<u64>,
    /// Who keeps the claim locked.
    pub mark: Marked,
}

/// What a record says of its live mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Marked {
    /// Nothing.
    #[default]
    Unsaid,
    /// The holder itself keeps the claim locked as long as it lives: one that is not locked has no holder any more, whatever can be seen of its number.
    ByHolder,
}

impl Birth {
    /// What is known of a process of this machine.
    pub(crate) fn of(pid: u32) -> Birth {
        Birth {
            ticks: if pid == process::own_pid() {
                process::own_start_ticks()
            } else {
                process::start_ticks(pid)
            },
            boot: process::boot_id(),
            pid_namespace: process::namespace(Namespace::Pid),
            time_namespace: process::namespace(Namespace::Time),
            mark: Marked::Unsaid,
        }
    }
}

impl Holder {
    /// A holder of whom nothing but the source is known.
    pub fn unknown(source: Source) -> Holder {
        Holder {
            source,
            mode: None,
            pid: None,
            host: None,
            user: None,
            command: None,
            label: None,
            token: None,
            since: None,
            started: None,
            protocol: None,
            birth: Birth::default(),
        }
    }

    /// A holder of whom the process number is known.
    pub fn process(source: Source, pid: u32) -> Holder {
        Holder {
            pid: Some(pid),
            ..Holder::unknown(source)
        }
    }

    /// Its number, if it is another process of this machine that we can wait for.
    pub(crate) fn neighbour(&self) -> Option<u32> {
        self.here().filter(|pid| *pid != process::own_pid())
    }

    /// Its number, if it is one of this machine and of our pid namespace.
    pub(crate) fn here(&self) -> Option<u32> {
        let here = self.host.is_none() && self.source != Source::Server && !self.is_elsewhere();
        self.pid.filter(|_| here)
    }

    /// Whether this is still that holder. When a process started is counted back from now, and comes out a little different each time.
    pub(crate) fn is(&self, other: &Holder) -> bool {
        let timeless = |holder: &Holder| Holder {
            started: None,
            ..holder.clone()
        };
        timeless(self) == timeless(other)
    }

    /// Whether the record says that its number is one of another pid namespace.
    fn is_elsewhere(&self) -> bool {
        let theirs = self.birth.pid_namespace;
        theirs.is_some_and(|n| process::namespace(Namespace::Pid).is_some_and(|ours| ours != n))
    }

    /// Add what this machine knows about the process: user, command, start. Facts already there stay. What a server tells of may be any machine's process, and is left as it is.
    #[must_use]
    pub fn described(mut self) -> Holder {
        let Some(pid) = self.here() else {
            return self;
        };
        if process::presence(pid) == Presence::Alive {
            self.user = self.user.or_else(|| process::user(pid));
            self.command = self.command.or_else(|| process::command(pid));
            self.started = self.started.or_else(|| process::started(pid));
        }
        self
    }
}

impl fmt::Display for Holder {
    /// `pid 812 (make -j4), user ada, since 2026-11-21T04:00:00Z (2m 5s ago)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, &self.host) {
            (Some(pid), _) => write!(f, "pid {pid}")?,
            (None, Some(_)) => f.write_str("a process")?,
            (None, None) => f.write_str("an unknown process")?,
        }
        if let Some(command) = &self.command {
            write!(f, " ({})", text::clean(command))?;
        }
        if let Some(label) = &self.label {
            write!(f, ", {}", text::clean(label))?;
        }
        if let Some(user) = &self.user {
            write!(f, ", user {}", text::clean(user))?;
        }
        if let Some(host) = &self.host {
            write!(f, ", host {}", text::clean(host))?;
        }
        if let Some(protocol) = self.protocol {
            write!(f, ", by protocol {protocol}")?;
        }
        if let Some(since) = self.since {
            write!(f, ", since {}", ago(since))?;
        } else if let Some(started) = self.started {
            write!(f, ", running since {}", ago(started))?;
        }
        Ok(())
    }
}

fn ago(point: SystemTime) -> String {
    match point.elapsed() {
        Ok(age) => format!("{} ({} ago)", text::time(point), text::span(age)),
        Err(_) => text::time(point),
    }
}

/// Several holders in one clause.
pub(crate) fn list(holders: &[Holder]) -> String {
    const SHOWN: usize = 3;
    let mut words: Vec<String> = holders.iter().take(SHOWN).map(Holder::to_string).collect();
    if holders.len() > SHOWN {
        words.push(format!("{} more", holders.len() - SHOWN));
    }
    words.join("; ")
}
