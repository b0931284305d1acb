//! What a protocol can promise: said by each protocol for itself, compared with what is asked for (`requirement.rs`), shown by `sneck protocols`.
//!
//! Not for: keeping any of it.

use std::time::Duration;

/// What a protocol can promise at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Exclusive only, or shared too.
    pub modes: Modes,
    /// In which order waiting processes get it.
    pub order: Order,
    /// Who is excluded.
    pub reach: Reach,
    /// What a crash of the holder leaves.
    pub crash: Crash,
    /// Whether a claim can be removed from outside.
    pub removal: Removable,
    /// Whether a claim of ours shows that its maker lives.
    pub mark: LiveMark,
    /// What its fencing tokens are worth.
    pub tokens: Tokens,
    /// Whether a holder that falls silent loses it.
    pub lease: Leasing,
    /// What a restart of the server leaves.
    pub restart: Restart,
    /// Whether all see the same.
    pub consistency: Consistency,
}

impl Capabilities {
    /// The least: exclusive, unordered, this machine, stale after a crash, no removal, no tokens. Set what is better.
    pub const LEAST: Capabilities = Capabilities {
        modes: Modes::Exclusive,
        order: Order::None,
        reach: Reach::Machine,
        crash: Crash::Stale,
        removal: Removable::No,
        mark: LiveMark::No,
        tokens: Tokens::None,
        lease: Leasing::None,
        restart: Restart::NoServer,
        consistency: Consistency::Linearizable,
    };
}

/// What kind of ground a place lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// This machine's own file system, or a server that speaks for itself.
    Local,
    /// A network file system: it raises no events for what other machines do, and the process numbers written there may be
    /// another machine's.
    NetworkFiles,
}

/// Which modes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modes {
    /// Exclusive only.
    Exclusive,
    /// Exclusive and shared.
    SharedToo,
}

/// In which order waiting processes get the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Whoever tries at the right moment.
    None,
    /// First come, first served among exclusive claims; readers that overlap can keep a writer out.
    ExclusiveFifo,
    /// First come, first served.
    Fifo,
}

/// Who is excluded: the fewest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Threads of this process.
    Process,
    /// Processes of this machine.
    Machine,
    /// Every machine that uses the server.
    Network,
}

/// What a crash of the holder leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// A free lock, at once.
    Free,
    /// A stale claim that the next one breaks.
    Stale,
}

/// Whether a claim can be removed from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removable {
    /// It cannot.
    No,
    /// It can, exactly as seen.
    Yes,
}

/// Whether a claim of ours shows, beside its number, that its maker lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveMark {
    /// It does not.
    No,
    /// Its maker keeps the claim itself locked.
    Yes,
}

/// Whether a holder that falls silent loses the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leasing {
    /// It does not: the lock is held until it is released, or its holder is proved gone.
    None,
    /// After its lease. The shortest that the server takes, and in which steps.
    Leased {
        /// The shortest.
        shortest: Duration,
        /// What it is rounded up to.
        step: Duration,
    },
}

/// What a restart of the server leaves of the locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// There is no server.
    NoServer,
    /// They are held as before.
    Survives,
    /// They are free, and their holders have lost them.
    Freed,
}

/// Whether all see the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// What one sees, all see, whatever happens to single servers.
    Linearizable,
    /// After a fail-over the new server may know less than the old one.
    UntilFailover,
}

/// What fencing tokens are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tokens {
    /// There are none.
    None,
    /// They grow, unless the server loses data.
    BestEffort,
    /// They grow, whatever happens to the server short of restoring an old backup.
    Durable,
}
