//! One party's wish to hold: [`Claim`], its [`Mode`], and the [`Party`] in whose name it is made.

use crate::holder::{Holder, Source};
use crate::lease::Terms;
use crate::sys::process;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Alone, or together with other readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// At most one holder.
    #[default]
    Exclusive,
    /// Any number of shared holders, and no exclusive one.
    Shared,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Exclusive => "exclusive",
            Mode::Shared => "shared",
        })
    }
}

/// In whose name a claim is made: what a protocol writes down about the holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Party {
    /// None: this process, asked when it is written down. After a fork that is another one.
    pid: Option<u32>,
}

impl Party {
    /// This process.
    pub const fn this_process() -> Party {
        Party { pid: None }
    }

    /// Another process: the command that is to run under the lock, for instance. When that process ends, the claim of a file
    /// protocol is stale, whether or not the process that made it lives.
    pub fn process(pid: u32) -> Party {
        Party { pid: Some(pid) }
    }

    /// The process number that is written down.
    pub fn pid(&self) -> u32 {
        self.pid.unwrap_or_else(process::own_pid)
    }
}

/// One party's wish to hold one lock.
#[derive(Debug, Clone)]
pub struct Claim {
    id: u64,
    mode: Mode,
    party: Party,
    label: Option<String>,
    terms: Terms,
}

impl Claim {
    pub(crate) fn new(mode: Mode, party: Party, label: Option<String>, terms: Terms) -> Claim {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Claim {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            mode,
            party,
            label,
            terms,
        }
    }

    /// A number that no other claim of this process has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Exclusive or shared.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Who is written down as the holder.
    pub fn party(&self) -> Party {
        self.party
    }

    /// A word of the user's for those who look: "nightly backup".
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// Who claims, as a server is told for those who look: the process, its machine, user and command, the label. Looks into /proc or the like, which takes a while.
    pub fn holder(&self) -> Holder {
        // It is of this machine, which describes it; that a server tells of it is so only for those who look.
        let mut holder = Holder::process(Source::Process, self.party.pid()).described();
        holder.source = Source::Server;
        holder.host = Some(process::host_name());
        holder.mode = Some(self.mode);
        holder.label = self.label.clone();
        holder
    }

    /// How long it lasts without a word from the holder, where the place is leased.
    pub fn terms(&self) -> Terms {
        self.terms
    }
}
