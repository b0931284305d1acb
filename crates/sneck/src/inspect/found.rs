//! What an inspection says: files, the holdings on them, who keeps and who awaits them.
//!
//! Not for: how it is found out (the files beside this one), nor how a terminal shows it.

use super::odd::{Limit, Oddity};
use crate::claim::Mode;
use crate::error::Error;
use crate::holder::Holder;
use crate::stale::Verdict;
use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

/// Everything that is known of the holdings on one file, or at one path.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Inspection {
    /// Which file.
    pub file: File,
    /// All holdings on it, of every kind: those that exclude each other and those that do not.
    pub holdings: Vec<Holding>,
    /// Who waits: of each kind first the one who is next.
    pub waiters: Vec<Waiter>,
    /// What is odd about it.
    pub oddities: Vec<Oddity>,
    /// What could not be seen, and why. Empty: this is all there is.
    pub limits: Vec<Limit>,
}

/// A file, as its path or as the kernel names it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct File {
    /// Its path. Of a file that was found by its locks: as a process that has it open sees it. Bytes of any kind: [`crate::text::clean`] makes the text of it safe to print.
    pub path: Option<PathBuf>,
    /// Whether the path leads there.
    pub name: Name,
    /// Device (major, minor) and inode, as the kernel's list has them. None: there is no such file, or the system has no such list.
    pub inode: Option<KernelInode>,
    /// Where its file system is mounted, if no better path is known.
    pub mount: Option<PathBuf>,
}

/// A file as the kernel's list of locks names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct KernelInode {
    /// The device's major number.
    pub major: u32,
    /// The device's minor number.
    pub minor: u32,
    /// The inode's number.
    pub number: u64,
}

impl KernelInode {
    /// None has this number.
    pub(super) const NONE: KernelInode = KernelInode {
        major: 0,
        minor: 0,
        number: 0,
    };
}

/// How good the path of a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Name {
    /// It leads to this file.
    Leads,
    /// It did, and the file has no name any more: it was deleted.
    Deleted,
    /// It was made without a name, in the folder that is the path, and has none: a claim on its way, or one that was removed. Nobody else can come to it.
    Nameless,
    /// It did, and now leads to another file.
    Replaced,
    /// It does for a process in another mount namespace: there it is a path, here it is not.
    Elsewhere(u32),
    /// Nothing is there: nobody holds anything.
    Nothing,
    /// There is no path: nobody who can be seen has it open.
    Unknown,
}

/// One way in which a file is held.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Holding {
    /// By what.
    pub kind: Kind,
    /// Exclusive or shared.
    pub mode: Mode,
    /// Which bytes. Claims and flocks are on the whole file.
    pub range: Range,
    /// What is known of it.
    pub state: State,
    /// The process that took it, as the kernel or the claim says; it may be gone, or have handed it on. None: nobody says.
    pub taker: Option<u32>,
    /// Who keeps it up now: all processes that have the descriptor, or the one that a claim names.
    pub keepers: Vec<Keeper>,
    /// Since when. Only claims say so.
    pub since: Option<SystemTime>,
    /// Where the claim stands, if not at the path itself (`path.lock`).
    pub beside: Option<PathBuf>,
}

/// By what a file is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// flock(2).
    Flock,
    /// fcntl(2), F_SETLK: of a process.
    Posix,
    /// fcntl(2), F_OFD_SETLK: of an open file.
    Ofd,
    /// fcntl(2), F_SETLEASE: who opens the file is made to wait until it is given back. Excludes no lock.
    Lease,
    /// A claim that is written down, by this protocol. `pidfile` stands for `shlock` and `dotlock` also, whose claims look the same.
    Claim(&'static str),
}

/// Which bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Range {
    /// The first.
    pub start: u64,
    /// The last. None: the end of the file, wherever it will be.
    pub end: Option<u64>,
}

/// What is known of a holding.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It stands: the kernel says so, or nothing speaks against the claim. Of claims with what is known of the holder.
    Held(Option<Verdict>),
    /// The claim's holder is proved gone, on these grounds.
    Stale(Verdict),
    /// A claim that makes no sense (yet).
    Damaged(String),
}

/// A process that keeps a holding up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Keeper {
    /// Who.
    pub holder: Holder,
    /// By what right.
    pub how: How,
    /// Its descriptors that hold it.
    pub descriptors: Vec<u32>,
    /// Where and how it lives.
    pub life: Life,
}

/// How a process came to a holding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum How {
    /// It took it, and has it still.
    Took,
    /// It has the descriptor, and another process took the lock: inherited, or passed on.
    Inherited,
    /// It has the descriptor, and the kernel does not say who took it.
    Has,
    /// The kernel names it, and nobody can see whether it has the descriptor still.
    Listed,
    /// A claim names it.
    Named,
}

/// Where and how a process lives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Life {
    /// The container it lives in, as its control group is called (`docker 3f4e…`).
    pub container: Option<String>,
    /// Its number in the innermost pid namespace, where that is another one.
    pub inner_pid: Option<u32>,
    /// Whether it runs.
    pub pace: Pace,
    /// How many threads it has. None: not known.
    pub threads: Option<u32>,
}

/// Whether a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Pace {
    /// It does, or sleeps; or it is not known.
    #[default]
    Runs,
    /// It is stopped, by a signal or a debugger.
    Stopped,
    /// It has ended and was not reaped.
    Ended,
}

/// One who waits.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Waiter {
    /// Who. A pid is missing where the kernel does not tell.
    pub holder: Holder,
    /// For what kind of holding.
    pub kind: Kind,
    /// Exclusive or shared.
    pub mode: Mode,
    /// Which bytes.
    pub range: Range,
    /// How.
    pub waits: Waits,
    /// The holdings that keep it out, as indexes of [`Inspection::holdings`].
    pub behind: Vec<usize>,
    /// Where and how it lives.
    pub life: Life,
}

/// How somebody waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waits {
    /// In the kernel's queue: so many turns of its kind are before it. Readers who get in together are one turn.
    Queued(usize),
    /// In the kernel's queue, at a place that the kernel does not tell: somebody waits there, and this process is one of those who do.
    Somewhere,
    /// It watches the claim, to be told when it goes: as sneck waits. It may only be curious.
    Watches,
}

/// What was found on the machine, or under folders.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Survey {
    /// Each file that is held or claimed, by path; those without one come last.
    pub files: Vec<Inspection>,
    /// Processes that wait for each other.
    pub cycles: Vec<Cycle>,
    /// What could not be seen of the whole, and why.
    pub limits: Vec<Limit>,
    /// Folders and files that could not be read.
    pub errors: Vec<Error>,
}

/// Processes each of which waits for a lock that the next one holds, the last one for the first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cycle {
    /// Each wait. At least one: a process can wait for itself.
    pub links: Vec<Link>,
    /// How sure it is that it will not end by itself.
    pub certainty: Certainty,
}

/// One wait of a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// Who waits.
    pub waiter: u32,
    /// For which file: an index of [`Survey::files`].
    pub file: usize,
    /// For whom: the next link's waiter.
    pub holder: u32,
}

/// How sure it is that a cycle is a deadlock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Certainty {
    /// Each process in it has one thread, which waits without end, or nothing says otherwise.
    Deadlock,
    /// A process in it has other threads, or somebody who is not in it keeps the lock as well: either could end it.
    Perhaps,
}

impl Inspection {
    /// Whether anybody holds it, as far as can be seen: a stale claim does not count.
    pub fn is_held(&self) -> bool {
        let held = |holding: &Holding| matches!(holding.state, State::Held(_));
        self.holdings.iter().any(held)
    }

    /// Whether a claim on it is stale.
    pub fn is_stale(&self) -> bool {
        let stale = |holding: &Holding| matches!(holding.state, State::Stale(_));
        self.holdings.iter().any(stale)
    }
}

impl Kind {
    /// Whether locks of both kinds keep each other out: flock(2) locks do, and POSIX and OFD locks do, but not the ones the others. Claims do within their protocol, leases never.
    ///
    /// ```
    /// use sneck::inspect::Kind;
    /// assert!(Kind::Posix.sees(Kind::Ofd) && !Kind::Flock.sees(Kind::Ofd));
    /// ```
    pub fn sees(self, other: Kind) -> bool {
        let fcntl = |kind: Kind| matches!(kind, Kind::Posix | Kind::Ofd);
        match self {
            Kind::Lease => false,
            kind => kind == other || fcntl(kind) && fcntl(other),
        }
    }
}

impl Range {
    /// All of it.
    pub const WHOLE: Range = Range {
        start: 0,
        end: None,
    };

    /// Whether both have a byte in common.
    pub fn overlaps(&self, other: &Range) -> bool {
        let reaches = |end: Option<u64>, start: u64| end.is_none_or(|end| end >= start);
        reaches(self.end, other.start) && reaches(other.end, self.start)
    }
}

impl fmt::Display for Range {
    /// `0-99`, `100-`, or nothing for the whole file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            range if *range == Range::WHOLE => Ok(()),
            Range { start, end: None } => write!(f, "{start}-"),
            Range {
                start,
                end: Some(end),
            } => write!(f, "{start}-{end}"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Flock => "flock",
            Kind::Posix => "posix",
            Kind::Ofd => "ofd",
            Kind::Lease => "lease",
            Kind::Claim(protocol) => protocol,
        })
    }
}
