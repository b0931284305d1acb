//! What a protocol is: how holding is written down at one place, and how to make *one* try for it.
//!
//! A protocol does not count time, retry or judge staleness: the acquisition loop does, for all of them. It says what it
//! saw and what may end the contention. The contract, in full, is checked by the conformance functions of `sneck-testkit`.
//!
//! - [`Protocol::contend`] may open or connect; it takes nothing. Dropping a [`Contender`] withdraws: no queue entry is left behind, and a
//!   grant that comes late is given back.
//! - [`Contender::attempt`] never waits for a holder. It may talk to a server, within a bound of its own.
//! - [`Held::release`] gives up this very holding and nothing else; if somebody forced it away, it says so and touches
//!   nothing. *Dropping* a [`Held`] only closes: what a command inherited goes on holding.
//! - What is seen at the place and is not a claim of this protocol is an error ([`crate::ErrorKind::Foreign`]) and is left alone. What
//!   might be a claim that another program is just writing is [`Sighting::Damaged`].

mod capabilities;
mod dotlock;
mod entry;
mod fcntl;
mod file;
pub(crate) mod flock;
mod form;
mod kernel;
mod labm8;
mod litter;
pub(crate) mod memory;
mod mkdir;
mod pidfile;
mod record;
mod requirement;
mod shlock;
pub(crate) mod stack;
mod stranger;
mod symlink;
pub(crate) mod written;

pub use crate::sys::file::{Borrowed, Descriptor};
pub use crate::sys::fork::Unshared;

use crate::claim::Claim;
use crate::error::{Error, ErrorKind, Result};
use crate::holder::Holder;
use crate::lease::{Terms, Watch};
use crate::place::{Place, Registry};
use crate::sys::file as sys_file;
use crate::timeout::{Deadline, Moment};
use crate::wait::{self, Stopper};
use std::fmt::{self, Debug};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use crate::wait::Bell;
pub use capabilities::{
    Capabilities, Consistency, Crash, Ground, Leasing, LiveMark, Modes, Order, Reach, Removable,
    Restart, Tokens,
};
pub use flock::Record;
pub use requirement::{Requirement, UnknownRequirement};
pub use stack::Stack;

/// How holding is written down at one place.
pub trait Protocol: Debug + Send + Sync {
    /// The place, as it is shown to people.
    fn place(&self) -> &Place;

    /// A name that is the same for every way of writing this place: for the queue inside the process. Exclusion never rests on it.
    fn identity(&self) -> String;

    /// What it can and cannot promise.
    fn capabilities(&self) -> Capabilities;

    /// How long a holding at this place lasts without a word from its holder, unless the program says so: a place may name it. Of no meaning where nothing is leased.
    fn terms(&self) -> Terms {
        Terms::USUAL
    }

    /// What kind of ground the place lies on.
    fn ground(&self) -> Ground {
        Ground::Local
    }

    /// What it consists of, if it is several locks taken as one. Empty: it is one.
    fn parts(&self) -> Vec<Arc<dyn Protocol>> {
        Vec::new()
    }

    /// Start one claimant's state: open, connect. Takes nothing.
    fn contend(&self, claim: &Arc<Claim>) -> Result<Box<dyn Contender>>;

    /// Look, without side effects, and name the holders.
    fn inspect(&self) -> Result<Sighting>;

    /// Who waits for it, in the order in which they will be served, as far as the place itself shows them. Without side effects.
    fn waiters(&self) -> Result<Vec<Holder>> {
        Ok(Vec::new())
    }

    /// What may end what was seen, for one who only looks ([`crate::Lock::until_free`]). Usual: the ends of the processes that hold it.
    fn wakes(&self, seen: &Sighting) -> Vec<Wake> {
        exits(seen)
    }

    /// Remove exactly the claim that was seen. Never waits. Not called for claims judged alive, unless by force.
    fn remove(&self, seen: &Mark, right: Right) -> Result<Removal> {
        let _ = (seen, right);
        Ok(Removal::Unsupported)
    }
}

/// One claimant: a descriptor, a connection, a lease.
pub trait Contender: Debug + Send {
    /// Try once.
    fn attempt(&mut self) -> Result<Attempt>;

    /// Sleep in the kernel's own queue until held or stopped. Those that have none leave this as it is.
    fn block(&mut self, stop: &Stop) -> Result<Blocked> {
        let _ = stop;
        Ok(Blocked::NoQueue)
    }
}

/// Holding, until released. Dropping it closes and nothing more.
pub trait Held: Debug + Send {
    /// Give it up. A second call does nothing.
    fn release(&mut self) -> Result<()>;

    /// Whether it still holds. Cheap: may look at the local file system, never waits for a server.
    fn standing(&self) -> Standing;

    /// The same of one part, by its number in [`Protocol::parts`]: one that is lost leaves the others as they are.
    fn standing_of(&self, part: usize) -> Standing {
        let _ = part;
        self.standing()
    }

    /// What a command started under the lock must inherit, so that the lock lives as long as it does.
    fn carry(&self) -> Vec<Borrowed<'_>> {
        Vec::new()
    }

    /// The fencing token. Local protocols give none.
    fn token(&self) -> Option<u64> {
        None
    }

    /// The same of one part, by its number in [`Protocol::parts`].
    fn token_of(&self, part: usize) -> Option<u64> {
        let _ = part;
        self.token()
    }

    /// Whether the last holder ended without releasing, as far as the place itself shows it.
    fn found(&self) -> Clean {
        Clean::Unknown
    }

    /// Keep it fresh, if that is due; when it is due next. None: it needs no tending.
    fn tend(&mut self) -> Option<Duration> {
        None
    }

    /// For whoever wants to be told when it is lost. None: nothing tells; it is found out by asking.
    fn watch(&self) -> Option<Watch> {
        None
    }

    /// Until when it surely holds, if nothing more is heard of the server. None: no clock ends it.
    fn expires(&self) -> Option<Moment> {
        None
    }

    /// Let go without releasing: what is written down goes on, in the name of its party. No: nothing would go on, and it is still held.
    fn leave(&mut self) -> Endures {
        Endures::No
    }
}

/// What one try gave.
#[derive(Debug)]
pub enum Attempt {
    /// It is held.
    Held(Box<dyn Held>),
    /// Somebody else holds it. A value, not an error.
    Busy(Busy),
}

/// What is in the way, and what may end it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Busy {
    /// What was seen. Holders may be left out where naming them costs more than the try.
    pub seen: Sighting,
    /// Hints when to try again; never proof.
    pub wakes: Vec<Wake>,
    /// Whether [`Contender::block`] has a queue to sleep in.
    pub queue: Queue,
    /// Which one of several is in the way, where the place has parts ([`Protocol::parts`]): what was seen is about this one.
    pub part: Option<Arc<dyn Protocol>>,
    /// Whether parts that were had already were given back for it.
    pub gave: Gave,
}

impl Busy {
    /// Seen so, to be ended by these; no queue to sleep in, and the place is one.
    pub fn new(seen: Sighting, wakes: Vec<Wake>) -> Busy {
        Busy {
            seen,
            wakes,
            queue: Queue::None,
            part: None,
            gave: Gave::Nothing,
        }
    }
}

/// Whether there is a queue to sleep in: [`Contender::block`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// There is none for what is in the way.
    None,
    /// The kernel's.
    Kernel,
}

/// What one who takes several gave back because another one of them was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gave {
    /// It had nothing yet.
    Nothing,
    /// It had some, for so long.
    Parts(Duration),
}

/// How a sleep in the kernel's queue ended.
#[derive(Debug)]
pub enum Blocked {
    /// It is held.
    Held(Box<dyn Held>),
    /// The file was replaced meanwhile: try again.
    Again,
    /// One of several was had, another one was not, and all were given back after so long: pause, and try again.
    GaveBack(Duration),
    /// The deadline came.
    Stopped,
    /// A signal handler ran in this thread.
    Interrupted,
    /// This protocol has no queue to sleep in.
    NoQueue,
    /// There is one, but no way to wake from it in time (no timers or signals to be had).
    NoTimer,
}

/// When a sleep in the kernel must end.
#[derive(Debug, Clone)]
pub struct Stop {
    pub(crate) deadline: Deadline,
    /// Who may end it before.
    pub(crate) by: Option<Arc<Stopper>>,
}

impl Stop {
    /// At this deadline.
    pub(crate) fn at(deadline: Deadline) -> Stop {
        Stop { deadline, by: None }
    }

    /// The same, or when this one is asked.
    pub(crate) fn or_by(self, stopper: &Arc<Stopper>) -> Stop {
        Stop {
            by: Some(stopper.clone()),
            ..self
        }
    }

    /// Until when.
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }
}

/// What may end the contention: a hint, never proof.
#[derive(Debug)]
pub enum Wake {
    /// The directory entry goes, is replaced, or what it names is written. Looking at it raises nothing, so that those who wait do not wake each other.
    Entry(PathBuf),
    /// The same, or somebody closes the file: a kernel lock may have gone with it. Not for a protocol that opens the file with each try.
    Closed(PathBuf),
    /// The process ends.
    Exit(u32),
    /// The descriptor has something to read.
    Ready(Descriptor),
    /// The moment comes.
    At(Moment),
    /// The bell is rung: [`Bell::listen`].
    Rung(Bell, u32),
}

/// Give a server a moment in the middle of a try: at most so long, and no longer than until a signal handler runs in this thread, of which the loop is told afterwards.
pub fn moment(length: Duration) {
    let _ = wait::moment(length);
}

/// The ends of those who hold it, as far as they are processes of this machine, and others than this one.
fn exits(seen: &Sighting) -> Vec<Wake> {
    let others = seen.holders().iter().filter_map(Holder::neighbour);
    others.map(Wake::Exit).collect()
}

/// What a look at a place gave.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sighting {
    /// Nobody holds it.
    Free,
    /// Held. No holders named: they were not looked up, or cannot be seen.
    Held {
        /// Who.
        holders: Vec<Holder>,
        /// What would have to be removed to free it.
        mark: Option<Mark>,
    },
    /// A claim of this protocol that makes no sense (yet).
    Damaged {
        /// What is wrong with it.
        what: String,
        /// What would have to be removed to free the place; only ever by force.
        mark: Option<Mark>,
    },
    /// Something that is no claim of this protocol.
    Foreign {
        /// What stands there.
        what: String,
    },
    /// It cannot be seen from here.
    Unknown {
        /// Why not.
        why: String,
    },
}

impl Sighting {
    /// Held by somebody who was not looked up.
    pub fn held_by_somebody() -> Sighting {
        Sighting::Held {
            holders: Vec::new(),
            mark: None,
        }
    }

    /// Who holds it.
    pub fn holders(&self) -> &[Holder] {
        match self {
            Sighting::Held { holders, .. } => holders,
            _ => &[],
        }
    }
}

/// Evidence of one claim, exact enough that removing it can never hit another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Device and inode number.
    pub inode: (u64, u64),
    /// Status change time, in nanoseconds since 1970.
    pub changed: i128,
    /// What was written there.
    pub content: Vec<u8>,
}

/// By what right a claim is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Its holder was judged gone. A live mark on the claim proves the judgement wrong.
    Stale,
    /// Whoever holds it.
    Force,
}

/// Whether a holding outlives the process that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endures {
    /// It ends with its descriptors or its connection.
    No,
    /// What is written down stays until it is removed.
    Yes,
}

/// How a removal went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Removal {
    /// The claim is gone, by this call.
    Removed,
    /// What stands there is not what was seen.
    Changed,
    /// Another breaker is at work.
    BreakerBusy,
    /// The claim bears a live mark: a process keeps it locked.
    Marked,
    /// No right to remove it.
    NotAllowed,
    /// This protocol's claims cannot be removed.
    Unsupported,
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Removal::Removed => "removed",
            Removal::Changed => "not removed, it changed meanwhile",
            Removal::BreakerBusy => "not removed, somebody else is at it",
            Removal::Marked => "not removed, a living process keeps it locked",
            Removal::NotAllowed => "not removed, no permission",
            Removal::Unsupported => "not removed, the protocol cannot",
        })
    }
}

/// Whether a holding still stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Held,
    /// It ended behind the holder's back.
    Lost(String),
    /// It was released by the holder.
    Released,
}

/// How the last holder left the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clean {
    /// It released it.
    Yes,
    /// It died holding it: what the lock guards may be half done.
    No,
    /// This protocol leaves no trace to tell by.
    Unknown,
}

pub(crate) fn register_local(registry: &mut Registry) {
    registry.register("flock", |place| {
        Ok(Arc::new(flock::at(place.clone(), Record::None)?))
    });
    registry.register("fcntl", |place| Ok(Arc::new(fcntl::at(place.clone())?)));
    registry.register("memory", |place| {
        Ok(Arc::new(memory::Memory::new(place.clone())))
    });
    entry::register(registry, symlink::Symlink);
    entry::register(registry, mkdir::Mkdir);
    entry::register(registry, file::File(pidfile::Pidfile));
    entry::register(registry, file::File(shlock::Shlock));
    entry::register(registry, file::File(labm8::Labm8));
    entry::register(registry, file::File(dotlock::Dotlock));
    for (scheme, lacks, advice) in sys_file::UNSPOKEN {
        registry.register(scheme, move |place| {
            let what = format!("there is no protocol {scheme} on this system: {lacks}");
            let error = Error::new(ErrorKind::Unsupported, "read the place", what);
            Err(error.at(place).advise(advice))
        });
    }
}

/// One name for all the ways to write one path: the folder's device and number, and the last name. What follows the first colon is the same for every protocol: that is how
/// a stack finds out that two of its parts want one name.
fn file_identity(scheme: &str, path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match path.parent().map(sys_file::look_through) {
        Some(Ok(folder)) => format!(
            "{scheme}:{}:{}/{name}",
            folder.inode.device, folder.inode.number
        ),
        _ => format!("{scheme}:{}", path.display()),
    }
}

pub(crate) fn ground_of(path: &Path) -> Ground {
    match path.parent() {
        Some(folder) if sys_file::is_network(folder) => Ground::NetworkFiles,
        _ => Ground::Local,
    }
}
